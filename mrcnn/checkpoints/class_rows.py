"""Take over the weights of single classes into a model of other classes.

Three layers have numbers of their own for every class. A model that shares classes with the file
takes those over, at any position, and only its other classes start from initial values: a model
for motorcycles alone detects them with COCO's weights before any training.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.checkpoints.weight_file import open_weights
from mrcnn.checkpoints.load import match_weights, read_value
from mrcnn.checkpoints.model_weights import model_weights

# Layer -> numbers of a class in the last axis of its weights, class after class.
ROWS = {"mrcnn_class_logits": 1, "mrcnn_bbox_fc": 4, "mrcnn_mask": 1}


def load_class_rows(
    model: Any, path: str | os.PathLike, stored_names: Sequence[str], names: Sequence[str]
) -> list[str]:
    """Set those parts of the class layers that belong to classes of the same name.

    The other classes keep the values they have. Upper and lower case are the same.

    Args:
        model: a Keras model with Matterport's layer names.
        path: weight file; its class layers have the inputs of the model's.
        stored_names: its class names, the background first.
        names: the model's class names, the background first.

    Returns:
        The names that both have, as the model spells them, without the background. Where there is
        none nothing is set.

    Raises:
        ValueError: the names are not as many as the classes of the file or of the model, or the
            layers do not fit.
    """
    places = {name.lower(): i for i, name in enumerate(stored_names)}
    shared = [i for i, name in enumerate(names) if i and places.get(name.lower(), 0)]
    if not shared:
        return []
    # The background is class 0 of every model, whatever its name.
    to = np.array([0, *shared])
    of = np.array([0, *(places[names[i].lower()] for i in shared)])
    layers = model_weights(model)
    new = []
    with open_weights(path) as file:
        for layer, per_class in ROWS.items():
            if not file.layers.get(layer) or not layers.get(layer):
                raise ValueError(
                    f"{path}: layer {layer!r} is not both in the file and in the model"
                )
            stored = match_weights(layers[layer], file.layers[layer])
            for weight, source in zip(layers[layer], stored, strict=True):
                value, found = weight.numpy().copy(), read_value(path, layer, weight, source)
                _check(path, layer, weight.name, value, len(names) * per_class, "the model")
                _check(path, layer, weight.name, found, len(stored_names) * per_class, "the file")
                if value.shape[:-1] != found.shape[:-1]:
                    raise ValueError(
                        f"{path}: {layer}/{weight.name} is {found.shape} in the file and "
                        f"{value.shape} in the model: only the last axis may differ"
                    )
                by_class = value.reshape(*value.shape[:-1], len(names), per_class)
                by_class[..., to, :] = found.reshape(
                    *found.shape[:-1], len(stored_names), per_class
                )[..., of, :]
                new.append((weight.variable, by_class.reshape(value.shape)))
    for variable, value in new:
        variable.assign(value)
    return [names[i] for i in shared]


def _check(path: Any, layer: str, weight: str, value: np.ndarray, size: int, what: str) -> None:
    if value.shape[-1] != size:
        raise ValueError(
            f"{path}: {layer}/{weight} of {what} has {value.shape[-1]} numbers in its last axis; "
            f"its class names ask for {size}"
        )
