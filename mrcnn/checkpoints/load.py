"""Set the weights of a model from a file: everything is checked first, then assigned."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.checkpoints.hdf5 import HDF5ContentError, content_errors
from mrcnn.checkpoints.load_messages import (
    Mismatch,
    mismatch_message,
    no_overlap_message,
    warn_of_little_use,
)
from mrcnn.checkpoints.model_weights import ModelWeight, model_weights, some
from mrcnn.checkpoints.names import matterport_layer_names
from mrcnn.checkpoints.weight_file import StoredWeight, WeightsFile, open_weights
from mrcnn.files.names import printable
from mrcnn.startup.caller import warn_caller

# The roles of weights in a layer under their names in all versions of Keras.
_ROLE = re.compile(
    r"(?:.*_)?(kernel|W|bias|b|gamma|beta|moving_mean|running_mean"
    r"|moving_variance|running_variance|running_std)(?:_\d+)?"
)
_ROLES = {
    "W": "kernel",
    "b": "bias",
    "running_mean": "moving_mean",
    # Keras 1 called it a deviation, but kept the variance in it.
    "running_std": "moving_variance",
    "running_variance": "moving_variance",
}
# A Keras 3 file may also hold the state of an optimizer, at most three values per weight.
MAX_UNNAMED_RATIO = 8


@dataclass(frozen=True)
class LoadReport:
    """Result of `load_weights`: layer names, in model order.

    Attributes:
        path: the file.
        loaded: layers that got the file's values.
        missing_in_file: layers with weights that kept their values, as the file lacks them.
        unused_in_file: layers of the file that the model lacks.
        mismatched: layers skipped for their shapes (`skip_mismatch`).
        excluded: layers left alone because of `exclude`.
        adapted: layers whose kernel was adapted to another number of image channels.
    """

    path: str
    loaded: tuple[str, ...] = ()
    missing_in_file: tuple[str, ...] = ()
    unused_in_file: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()

    def summary(self) -> str:
        """Return one line: numbers and names of layers."""
        parts = [f"{len(self.loaded)} layers loaded"]
        for title, names in (
            ("not in the file", self.missing_in_file),
            ("not in the model", self.unused_in_file),
            ("of another shape", self.mismatched),
            ("excluded", self.excluded),
            ("adapted to the image channels", self.adapted),
        ):
            if names:
                parts.append(f"{len(names)} {title} ({some(names)})")
        return f"{printable(self.path)}: {', '.join(parts)}"


@dataclass(frozen=True)
class _Pair:
    """A variable of the model and the array that it gets."""

    layer: str
    weight: ModelWeight
    source: StoredWeight
    adapt: bool


@dataclass
class _Plan:
    """The weights to assign, determined before the first assignment."""

    pairs: list[_Pair] = field(default_factory=list)
    mismatches: list[Mismatch] = field(default_factory=list)

    def loaded_layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(pair.layer for pair in self.pairs))

    def mismatched_layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(layer for layer, *_ in self.mismatches))


def load_weights(
    model: Any,
    path: str | os.PathLike[str],
    by_name: bool = True,
    exclude: Collection[str] | None = None,
    skip_mismatch: bool = False,
    adapt_channels: bool = True,
    keras_loader: Callable[..., Any] | None = None,
) -> LoadReport:
    """Set a model's weights from a file. If anything is wrong, no weight is set.

    A warning names the layers that get NaN or infinite values.

    Args:
        model: a Keras model with Matterport's layer names.
        path: a file of Matterport's package, of `save_weights`, of Keras 1 to 3, or of
            keras-squeezenet.
        by_name: load the layers that model and file have in common. False demands that they
            have the same ones; if the names all differ, it goes by order.
        exclude: names of layers to leave alone.
        skip_mismatch: leave layers of another shape alone instead of raising.
        adapt_channels: where the file's first convolution is for 3 image channels and the
            model's for N, use the mean over the 3 as every channel's kernel, times 3 / N. An
            image with N equal channels then gives what the grayscale image gave.
        keras_loader: what reads a Keras 3 file that does not name its layers, called with
            (path, skip_mismatch=...). Default: `model.load_weights`; a model whose own
            `load_weights` calls this function passes its base class's.

    Returns:
        A LoadReport.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no weight file, refers to other files, or is of another model; the
            message lists all differences and what to do.
    """
    layers = {name: weights for name, weights in model_weights(model).items() if weights}
    excluded = _check_exclude(exclude, layers)
    with open_weights(path) as file:
        if file.file_format == "keras3-unnamed":
            loader = keras_loader or model.load_weights
            return _load_through_keras(loader, file, layers, excluded, skip_mismatch)
        stored = {name: weights for name, weights in file.layers.items() if weights}
        wanted = {name: layers[name] for name in layers if name not in excluded}
        sources = _match_layers(file, wanted, stored, by_name, excluded)
        plan = _make_plan(wanted, sources, adapt_channels)
        if plan.mismatches and not skip_mismatch:
            raise ValueError(mismatch_message(file, layers, plan.mismatches, excluded))
        if not plan.pairs:
            raise ValueError(
                no_overlap_message(file, layers, stored, excluded, bool(plan.mismatches))
            )
        values = [
            read_value(file.path, pair.layer, pair.weight, pair.source, pair.adapt)
            for pair in plan.pairs
        ]
        warn_of_little_use(file, layers, plan.loaded_layers())
    _warn_of_non_finite(file.path, plan.pairs, values)
    for pair, value in zip(plan.pairs, values):
        pair.weight.variable.assign(value)
    return LoadReport(
        path=str(file.path),
        loaded=plan.loaded_layers(),
        missing_in_file=tuple(name for name in wanted if name not in sources),
        unused_in_file=tuple(name for name in stored if by_name and name not in layers),
        mismatched=plan.mismatched_layers(),
        excluded=tuple(name for name in layers if name in excluded),
        adapted=tuple(pair.layer for pair in plan.pairs if pair.adapt),
    )


def read_squeezenet(path: str | os.PathLike[str]) -> dict[str, list[np.ndarray]]:
    """Return the values of a keras-squeezenet file as our network expects them.

    The file is of SqueezeNet v1.1 (Iandola et al. 2016). Its first kernel is for BGR pixels: its
    input channels come back reversed, for RGB. Biases are divided by `SQUEEZENET_INPUT_SCALE`.
    Pixels are 0..255 minus the mean (123, 117, 104).

    Args:
        path: the file.

    Returns:
        [kernel [h, w, in, out], bias [out]] by our layer name: `squeeze_conv1`,
        `fire2_squeeze1x1`, `fire2_expand1x1`, `fire2_expand3x3`, ... `fire9_expand3x3`.

    Raises:
        ValueError: it is not such a file.
    """
    with open_weights(path) as file, content_errors(file.path):
        if file.file_format != "keras-squeezenet":
            raise HDF5ContentError(
                f"{printable(file.path)} is not a keras-squeezenet file: it has no fire modules"
            )
        return {
            name: [weight.read() for weight in weights]
            for name, weights in file.layers.items()
            if weights
        }


def _check_exclude(exclude: Collection[str] | None, layers: Mapping[str, Any]) -> set[str]:
    if isinstance(exclude, str):
        raise ValueError(f"exclude is {exclude!r}; it must be a list of layer names")
    excluded = set(exclude or ())
    unknown = excluded - set(layers) - set(matterport_layer_names("resnet101", "training"))
    if unknown:
        warn_caller(f"exclude names layers that the model lacks: {some(sorted(unknown))}")
    return excluded


def _match_layers(
    file: WeightsFile,
    wanted: Mapping[str, list[ModelWeight]],
    stored: Mapping[str, list[StoredWeight]],
    by_name: bool,
    excluded: Collection[str],
) -> dict[str, list[StoredWeight]]:
    """Return the file's weights for each layer of the model that it has weights for."""
    in_file = [name for name in stored if name not in excluded]
    common = {name: stored[name] for name in wanted if name in stored}
    if by_name or len(common) == len(wanted) == len(in_file):
        return common
    if not common and len(wanted) == len(in_file):
        return {name: stored[source] for name, source in zip(wanted, in_file, strict=True)}
    missing = [name for name in wanted if name not in common]
    unused = [name for name in in_file if name not in common]
    raise ValueError(
        f"{printable(file.path)} and the model do not have the same layers, as by_name=False "
        "demands. "
        f"Not in the file: {some(missing)}. Not in the model: {some(unused)}. "
        f"Nothing was loaded; by_name=True loads the {len(common)} layers they share"
    )


def _make_plan(
    wanted: Mapping[str, list[ModelWeight]],
    sources: Mapping[str, list[StoredWeight]],
    adapt_channels: bool,
) -> _Plan:
    plan = _Plan()
    first = next(iter(wanted), None)
    for layer, stored in sources.items():
        weights = wanted[layer]
        if len(stored) != len(weights):
            counts = (f"{len(stored)} weights", f"{len(weights)} weights")
            plan.mismatches.append((layer, "", *counts))
            continue
        pairs, mismatches = [], []
        for weight, source in zip(weights, match_weights(weights, stored), strict=True):
            adapt = adapt_channels and layer == first and _differs_in_channels(weight, source)
            if weight.shape == source.shape or adapt:
                pairs.append(_Pair(layer, weight, source, adapt))
            else:
                mismatches.append((layer, weight.name, source.shape, weight.shape))
        plan.mismatches += mismatches
        if not mismatches:  # a layer is loaded whole or not at all
            plan.pairs += pairs
    return plan


def match_weights(weights: list[ModelWeight], stored: list[StoredWeight]) -> list[StoredWeight]:
    """Return a layer's stored weights in the model's order: by name, by role, else unchanged."""
    depth = weights[0].name.count("/") + 1
    for key in (str, lambda name: _role(name, depth)):
        by_key = {key(source.name): source for source in stored}
        keys = [key(weight.name) for weight in weights]
        if None not in keys and len(by_key) == len(stored) and set(keys) == set(by_key):
            return [by_key[item] for item in keys]
    return stored


def _role(name: str, depth: int) -> str | None:
    """Return what a weight is, under the nested layers it is in; None for an unknown name.

    Example:
        >>> _role("bn_conv1_running_std_1", depth=1)
        'moving_variance'
    """
    *scope, leaf = name.split("/")[-depth:]
    found = _ROLE.fullmatch(leaf)
    return "/".join([*scope, _ROLES.get(found[1], found[1])]) if found else None


def _differs_in_channels(weight: ModelWeight, source: StoredWeight) -> bool:
    """Return whether these are one image convolution, for 3 and for another number of channels."""
    model, stored = weight.shape, source.shape
    if len(model) != 4 or len(stored) != 4 or model == stored:
        return False
    return stored[2] == 3 and model[:2] == stored[:2] and model[3] == stored[3]


def read_value(
    path: Path,
    layer: str,
    weight: ModelWeight,
    source: StoredWeight,
    adapt: bool = False,
) -> np.ndarray:
    """Return a stored weight for a variable of the model, float32 if it is of a floating type.

    Args:
        path: the file, for messages.
        layer: the layer's name, for messages.
        weight: the variable.
        source: the array in the file; its shape has been compared.
        adapt: spread the mean over the stored input channels over those of the variable.

    Raises:
        ValueError: the values cannot be read, or are of another kind than the variable's.
    """
    entry = f"{layer}/{weight.name} of {printable(path)}"
    if weight.is_floating and source.dataset.dtype.kind != "f":
        raise ValueError(
            f"{entry} is of type {source.dataset.dtype}; it must be an array of floating-point "
            "numbers. Nothing was loaded"
        )
    try:
        value = source.read()
    except (OSError, RuntimeError, TypeError, ValueError, MemoryError) as error:
        raise ValueError(
            f"{printable(path)}: the values of {layer}/{weight.name} cannot be read; the file is "
            f"damaged, fetch it again. Nothing was loaded. (HDF5 says: {printable(error)})"
        ) from error
    if adapt:
        channels = weight.shape[2]
        value = np.repeat(value.mean(axis=2, keepdims=True), channels, axis=2) * (3 / channels)
    return value.astype(np.float32) if value.dtype.kind == "f" else value


def _warn_of_non_finite(path: Path, pairs: list[_Pair], values: list[np.ndarray]) -> None:
    """Warn of values that make every result useless; Matterport's package loads them as well."""
    layers = dict.fromkeys(
        pair.layer for pair, value in zip(pairs, values) if not np.isfinite(value).all()
    )
    if layers:
        warn_caller(
            f"{printable(path)} holds values that are not finite in {len(layers)} layers "
            f"({some(layers)}), as after a training that diverged; such a model detects nothing"
        )


def _load_through_keras(
    loader: Callable[..., Any],
    file: WeightsFile,
    layers: Mapping[str, list[ModelWeight]],
    excluded: Collection[str],
    skip_mismatch: bool,
) -> LoadReport:
    """Load a Keras 3 file that does not name its layers with Keras; on errors restore all."""
    path = file.path
    if not path.name.endswith(".weights.h5"):
        raise ValueError(
            f"{printable(path)} holds Keras 3 weights without layer names; Keras reads them only "
            f"from a name that ends in .weights.h5. Rename it"
        )
    own = sum(math.prod(weight.shape) for weights in layers.values() for weight in weights)
    there = file.describe().num_parameters
    if there > MAX_UNNAMED_RATIO * own:
        raise ValueError(
            f"{printable(path)} holds {there:,} values; for a model of {own:,} parameters it must "
            f"hold at most {MAX_UNNAMED_RATIO * own:,}. Nothing was loaded"
        )
    before = {
        name: [(weight.variable, weight.numpy().copy()) for weight in weights]
        for name, weights in layers.items()
    }
    try:
        loader(str(path), skip_mismatch=skip_mismatch)
    except Exception as error:
        _restore(before)
        raise ValueError(
            f"{printable(path)}: Keras cannot load it into this model: {printable(error)}"
        ) from error
    _restore({name: before[name] for name in layers if name in excluded})
    loaded = tuple(name for name in layers if name not in excluded)
    return LoadReport(str(path), loaded, excluded=tuple(n for n in layers if n in excluded))


def _restore(values: Mapping[str, list[tuple[Any, np.ndarray]]]) -> None:
    for variable, value in itertools.chain.from_iterable(values.values()):
        variable.assign(value)
