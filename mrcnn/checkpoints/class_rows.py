"""Take over the weights of single classes into a model of other classes.

Three layers have numbers of their own for every class. A model that shares classes with the file
takes those over, at any position: a model for motorcycles alone detects them with COCO's weights
before any training. A class that the file does not know starts with the mean over the classes
that it does know, since what those have in common (how an outline follows from the features) holds
for most objects: see `MEAN_ROWS`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.checkpoints.load import match_weights, read_value
from mrcnn.checkpoints.model_weights import ModelWeight, model_weights
from mrcnn.checkpoints.weight_file import StoredWeight, WeightsFile, open_weights
from mrcnn.files.names import printable

# Layer -> numbers of a class in the last axis of its weights, class after class.
ROWS = {"mrcnn_class_logits": 1, "mrcnn_bbox_fc": 4, "mrcnn_mask": 1}
# Layers in which a new class starts with the mean over the classes of the file. For classification
# it keeps its random row beside the file's row of the background, which tells objects from
# background at once; the mean of the other classes' rows gives every object a low score. Measured
# on 24 images from the small model, one seed, mask AP50 after 20 and 40 steps of the heads:
#              random rows    this         mean for classification, too
#   kangaroo   0.13  0.28     0.20  0.41   0.08  0.30
#   nucleus    0.08  0.36     0.35  0.45   0.26  0.48
MEAN_ROWS = ("mrcnn_bbox_fc", "mrcnn_mask")
MASK_LAYER = "mrcnn_mask"
MAX_LISTED = 12


def match_class_names(
    stored_names: Sequence[str],
    names: Sequence[str],
    rename: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Find the classes of a model that weights know.

    Args:
        stored_names: the class names of the weights, the background first.
        names: the model's class names, the background first.
        rename: class of the model -> class of the weights that it continues. Other classes continue
            that of their own name; letter case counts only where two names differ in nothing else.

    Returns:
        Class of the model -> class of the weights, for those that the weights know, in the order of
        `names` and without the background.

    Raises:
        ValueError: `rename` has a class that the model or the weights do not have; the message has
            the nearest name.
    """
    given = {}
    for own, stored in (rename or {}).items():
        key = _find(own, names[1:])
        if key is None:
            raise ValueError(_not_a_class(own, "the dataset", names))
        value = _find(stored, stored_names[1:])
        if value is None:
            raise ValueError(_not_a_class(stored, "the weights", stored_names))
        given[key] = value
    found = {name: given.get(name) or _find(name, stored_names[1:]) for name in names[1:]}
    return {name: stored for name, stored in found.items() if stored is not None}


def _find(name: str, names: Sequence[str]) -> str | None:
    """Return the entry that is this name, or else differs from it in letter case only."""
    if name in names:
        return name
    return next((other for other in names if other.casefold() == name.casefold()), None)


def _not_a_class(name: str, owner: str, names: Sequence[str]) -> str:
    folded = {other.casefold(): other for other in names[1:]}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    nearest = f"; the nearest is '{printable(folded[near[0]])}'" if near else ""
    return (
        f"rename has '{printable(name)}'; it must be a class of {owner}: "
        f"{_listed(names[1:])}{nearest}"
    )


def describe_class_match(names: Sequence[str], known: Mapping[str, str]) -> list[str]:
    """Return lines about which classes continue those of weights, and which are new.

    Args:
        names: the model's class names, the background first.
        known: from `match_class_names`.
    """
    same = [name for name, stored in known.items() if name == stored]
    other = [f"{name} (in the weights: {known[name]})" for name in known if name not in same]
    new = [name for name in names[1:] if name not in known]
    return [
        f"{title}: {_listed(listed)}"
        for title, listed in (
            ("known to the weights", same),
            ("known under another name", other),
            ("new to the weights", new),
        )
        if listed
    ]


def _listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > MAX_LISTED else ""
    return printable(", ".join(names[:MAX_LISTED])) + more


def load_class_rows(
    model: Any,
    path: str | os.PathLike[str],
    stored_names: Sequence[str],
    names: Sequence[str],
    rename: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Set the weights of each class: those of this class in a file, or the mean over its classes.

    Box and mask weights of a class that the file does not know become the mean over all classes of
    the file but the background; its weights for classification keep the values they have.

    Args:
        model: a Keras model with Matterport's layer names.
        path: the weight file; its class layers have the inputs of the model's.
        stored_names: its class names, the background first.
        names: the model's class names, the background first.
        rename: see `match_class_names`.

    Returns:
        What `match_class_names` returns.

    Raises:
        ValueError: the names are not as many as the classes of the file or of the model, the
            layers do not fit, the file cannot be read, or `rename` has an unknown class. Nothing is
            set then.
    """
    known = match_class_names(stored_names, names, rename)
    # The background is class 0 of every model, under any name.
    of = [0, *(stored_names.index(known[n], 1) if n in known else -1 for n in names[1:])]
    layers = model_weights(model)
    new = []
    with open_weights(path) as file:
        for layer, per_class in ROWS.items():
            if layer == MASK_LAYER and not (layers.get(layer) and file.layers.get(layer)):
                continue  # one of the two has no mask head
            for weight, source in _class_weights(file, layers, layer):
                _check_shapes(file.path, layer, weight, source, per_class, stored_names, names)
                found = read_value(file.path, layer, weight, source)
                value = _rows(
                    weight.numpy().copy(), found, np.array(of), per_class, layer in MEAN_ROWS
                )
                new.append((weight.variable, value))
    for variable, value in new:
        variable.assign(value)
    return known


def _rows(
    value: np.ndarray, stored: np.ndarray, of: np.ndarray, per_class: int, take_mean: bool
) -> np.ndarray:
    """Return a weight of the model with the numbers of the file's classes in it.

    Args:
        value: the weight, [..., classes * per_class].
        stored: that of the file, [..., stored classes * per_class].
        of: the file's class for each class of the model, -1 for none.
        per_class: numbers of a class in the last axis.
        take_mean: whether classes without one get the mean over the file's, without the background.
    """
    by_class = value.reshape(*value.shape[:-1], -1, per_class)
    known = stored.reshape(*stored.shape[:-1], -1, per_class)
    by_class[..., of >= 0, :] = known[..., of[of >= 0], :]
    if take_mean and known.shape[-2] > 1:
        by_class[..., of < 0, :] = known[..., 1:, :].mean(axis=-2, keepdims=True)
    return by_class.reshape(value.shape)


def _class_weights(
    file: WeightsFile, layers: Mapping[str, list[ModelWeight]], layer: str
) -> list[tuple[ModelWeight, StoredWeight]]:
    """Return the weights of a layer in the model and in the file, in pairs."""
    own, stored = layers.get(layer) or [], file.layers.get(layer) or []
    if not own or len(own) != len(stored):
        raise ValueError(
            f"layer {layer!r} has {len(stored)} weights in {printable(file.path)} and {len(own)} "
            "in the model; it must have as many, and some"
        )
    return list(zip(own, match_weights(own, stored)))


def _check_shapes(
    path: Path,
    layer: str,
    weight: ModelWeight,
    source: StoredWeight,
    per_class: int,
    stored_names: Sequence[str],
    names: Sequence[str],
) -> None:
    """Raise unless both sides have a number for each class name, and else the same shape."""
    for shape, class_names, what in (
        (weight.shape, names, "the model"),
        (source.shape, stored_names, "the file"),
    ):
        if shape[-1:] != (len(class_names) * per_class,):
            raise ValueError(
                f"{printable(path)}: {layer}/{weight.name} of {what} has the shape {shape}; its "
                f"last axis must be {len(class_names) * per_class}, for {len(class_names)} class "
                "names"
            )
    if weight.shape[:-1] != source.shape[:-1]:
        raise ValueError(
            f"{printable(path)}: {layer}/{weight.name} is {source.shape} in the file and "
            f"{weight.shape} in the model; only the last axis may differ"
        )
