"""Take over the weights of single classes into a model of other classes.

Three layers have numbers of their own for every class. A model that shares classes with the file
takes those over, at any position, and only its other classes start from initial values: a model
for motorcycles alone detects them with COCO's weights before any training.

Where the masks are the same for all classes (`CLASS_AGNOSTIC_MASK`), every class of the model
takes them over.
"""

from __future__ import annotations

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
_MASK = "mrcnn_mask"


def load_class_rows(
    model: Any,
    path: str | os.PathLike[str],
    stored_names: Sequence[str],
    names: Sequence[str],
    class_agnostic_mask: bool = False,
) -> list[str]:
    """Set those parts of the class layers that belong to classes of the same name.

    The other classes keep the values they have. Letter case is ignored.

    Args:
        model: a Keras model with Matterport's layer names.
        path: the weight file; its class layers have the inputs of the model's.
        stored_names: its class names, the background first.
        names: the model's class names, the background first.
        class_agnostic_mask: `CLASS_AGNOSTIC_MASK` of the file: all classes of the model take over
            its masks.

    Returns:
        The names that both have, as the model spells them, without the background. If there is
        none, no row is set, except for masks that do not depend on the class.

    Raises:
        ValueError: the names are not as many as the classes of the file or of the model, the
            layers do not fit, or the file cannot be read. Nothing is set then.
    """
    places = {name.lower(): i for i, name in enumerate(stored_names)}
    shared = [i for i, name in enumerate(names) if i and places.get(name.lower(), 0)]
    if not shared and not class_agnostic_mask:
        return []
    # The background is class 0 of every model, under any name.
    to = np.array([0, *shared] if shared else [], int)
    of = np.array([0, *(places[names[i].lower()] for i in shared)] if shared else [], int)
    layers = model_weights(model)
    new = []
    with open_weights(path) as file:
        for layer, per_class in ROWS.items():
            for weight, source in _class_weights(file, layers, layer):
                _check_shapes(file.path, layer, weight, source, per_class, stored_names, names)
                value, found = weight.numpy().copy(), read_value(file.path, layer, weight, source)
                by_class = value.reshape(*value.shape[:-1], len(names), per_class)
                rows = found.reshape(*found.shape[:-1], len(stored_names), per_class)
                if class_agnostic_mask and layer == _MASK:
                    by_class[:] = rows[..., :1, :]
                by_class[..., to, :] = rows[..., of, :]
                new.append((weight.variable, by_class.reshape(value.shape)))
    for variable, value in new:
        variable.assign(value)
    return [names[i] for i in shared]


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
