"""The weights of a model by layer name, for models of any Keras version."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcnn.checkpoints.weights_info import WeightsInfo, describe_layers
from mrcnn.files.names import printable

# The order in which Keras 2 listed a layer's weights.
WEIGHT_ORDER = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")


@dataclass(frozen=True)
class ModelWeight:
    """A variable of the model.

    Attributes:
        name: relative to its layer: "kernel", or "rpn_conv_shared/kernel" in a nested model.
        variable: anything with `assign`, `dtype` and `numpy`.
        shape: its shape.
    """

    name: str
    variable: Any
    shape: tuple[int, ...]

    @property
    def is_floating(self) -> bool:
        """True if the variable holds floating-point numbers, bfloat16 included."""
        return "float" in str(self.variable.dtype)

    def numpy(self) -> np.ndarray:
        """Return the values, in a type that HDF5 can store."""
        variable = self.variable
        value = np.asarray(variable.numpy() if hasattr(variable, "numpy") else variable)
        # bfloat16 has a kind of its own.
        return value if value.dtype.kind in "fiub" else value.astype(np.float32)


def model_weights(model: Any) -> dict[str, list[ModelWeight]]:
    """Return weights by the name of the model's layer, an empty list for a layer without any.

    Raises:
        ValueError: two layers with weights have the same name.
    """
    found: dict[str, list[ModelWeight]] = {}
    # Matterport's multi-GPU wrapper keeps the real model in `inner_model`.
    for layer in getattr(model, "inner_model", model).layers:
        weights = _layer_weights(layer)
        if layer.name in found and (weights or found[layer.name]):
            raise ValueError(f"the model has two layers named {layer.name!r}")
        found[layer.name] = weights
    return found


def describe_model(layers: Mapping[str, list[ModelWeight]]) -> WeightsInfo:
    """Return the same as `verify` for the weights of a model."""
    shapes = {name: [(w.name, w.shape) for w in weights] for name, weights in layers.items()}
    return describe_layers(shapes, "the model")


def some(names: Collection[str], limit: int = 6) -> str:
    """Return the first few names, without control characters, and how many more there are."""
    names = [printable(name) for name in names]
    rest = f", ... {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest


def _layer_weights(layer: Any, prefix: str = "") -> list[ModelWeight]:
    if hasattr(layer, "layers"):  # a nested model
        parts = (_layer_weights(inner, f"{prefix}{inner.name}/") for inner in layer.layers)
        return list(itertools.chain.from_iterable(parts))
    variables = list(layer.weights)
    names = _names_in_layer(layer.name, variables)
    weights = [
        ModelWeight(prefix + name, variable, tuple(int(side) for side in variable.shape))
        for name, variable in zip(names, variables, strict=True)
    ]
    if all(name in WEIGHT_ORDER for name in names):
        weights.sort(key=lambda weight: WEIGHT_ORDER.index(weight.name.split("/")[-1]))
    return weights


def _names_in_layer(layer_name: str, variables: list[Any]) -> list[str]:
    names = [variable.name.split("/")[-1].split(":")[0] for variable in variables]
    if len(set(names)) < len(names):  # a layer made of layers
        paths = [getattr(variable, "path", variable.name).split(":")[0] for variable in variables]
        names = [path.split(f"{layer_name}/")[-1].replace("/", "_") for path in paths]
    if len(set(names)) < len(names):
        names = [f"{name}_{number}" for number, name in enumerate(names)]
    return names
