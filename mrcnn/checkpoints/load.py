"""Sets the weights of a model from a file: everything is checked first, then assigned."""

from __future__ import annotations

import itertools
import json
import os
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.checkpoints.files import StoredWeight, WeightsFile, WeightsInfo, open_weights
from mrcnn.checkpoints.model_weights import ModelWeight, describe_model, model_weights, some
from mrcnn.checkpoints.names import RESNET_BLOCKS, matterport_layer_names

# The roles of weights in a layer under their names through the ages of Keras.
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
COCO_CLASSES = 81
MAX_TABLE_ROWS = 20


@dataclass(frozen=True)
class LoadReport:
    """What `load_weights` did; layer names, in model order.

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
        """One line for people."""
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
        return f"{self.path}: {', '.join(parts)}"


@dataclass
class _Plan:
    """What will be assigned, found out before anything is."""

    pairs: list[tuple[str, ModelWeight, StoredWeight, bool]] = field(default_factory=list)
    # layer, weight, shape in the file, shape in the model
    mismatches: list[tuple[str, str, Any, Any]] = field(default_factory=list)

    def loaded_layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(layer for layer, *_ in self.pairs))

    def mismatched_layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(layer for layer, *_ in self.mismatches))


def load_weights(
    model: Any,
    path: str | os.PathLike,
    by_name: bool = True,
    exclude: Collection[str] | None = None,
    skip_mismatch: bool = False,
    adapt_channels: bool = True,
    keras_loader: Callable[..., Any] | None = None,
) -> LoadReport:
    """Sets a model's weights from a file. Where anything is wrong nothing is set.

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
            image with N equal channels then gives what the grey image gave.
        keras_loader: what reads a Keras 3 file that does not name its layers, called with
            (path, skip_mismatch=...). Default: `model.load_weights`; a model whose own
            `load_weights` calls this function passes its base class's.

    Returns:
        A LoadReport.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no weight file, or of another model; the message lists all
            differences and what to do.
    """
    layers = {name: weights for name, weights in model_weights(model).items() if weights}
    excluded = _check_exclude(exclude, layers)
    with open_weights(path) as file:
        if file.file_format == "keras3-unnamed":
            loader = keras_loader or model.load_weights
            return _load_through_keras(loader, file.path, layers, excluded, skip_mismatch)
        stored = {name: weights for name, weights in file.layers.items() if weights}
        wanted = {name: layers[name] for name in layers if name not in excluded}
        sources = _match_layers(file, wanted, stored, by_name, excluded)
        plan = _make_plan(wanted, sources, adapt_channels)
        if plan.mismatches and not skip_mismatch:
            raise ValueError(_mismatch_message(file, layers, plan, excluded))
        if not plan.pairs:
            raise ValueError(_no_overlap_message(file, layers, stored, excluded, plan))
        _warn_of_little_use(file, layers, plan)
        values = [read_value(file.path, *pair) for pair in plan.pairs]
    for (_, weight, _, _), value in zip(plan.pairs, values, strict=True):
        weight.variable.assign(value)
    return LoadReport(
        path=str(file.path),
        loaded=plan.loaded_layers(),
        missing_in_file=tuple(name for name in wanted if name not in sources),
        unused_in_file=tuple(name for name in stored if by_name and name not in layers),
        mismatched=plan.mismatched_layers(),
        excluded=tuple(name for name in layers if name in excluded),
        adapted=tuple(layer for layer, _, _, adapt in plan.pairs if adapt),
    )


def read_squeezenet(path: str | os.PathLike) -> dict[str, list[np.ndarray]]:
    """Values of a keras-squeezenet file (SqueezeNet v1.1, Iandola et al. 2016), for RGB pixels,
    biases divided by `SQUEEZENET_INPUT_SCALE` as our network expects.

    The file's first kernel is for BGR; its input channels come back reversed. Pixels are
    0..255 minus the mean (123, 117, 104).

    Returns:
        [kernel [h, w, in, out], bias [out]] by our layer name: `squeeze_conv1`,
        `fire2_squeeze1x1`, `fire2_expand1x1`, `fire2_expand3x3`, ... `fire9_expand3x3`.

    Raises:
        ValueError: it is not such a file.
    """
    with open_weights(path) as file:
        if file.file_format != "keras-squeezenet":
            raise ValueError(f"{file.path} is not a keras-squeezenet file: it has no fire modules")
        return {
            name: [weight.read() for weight in weights]
            for name, weights in file.layers.items()
            if weights
        }


def _check_exclude(exclude: Collection[str] | None, layers: Mapping[str, Any]) -> set[str]:
    if isinstance(exclude, str):
        raise ValueError(f"exclude is {exclude!r}: it must be a list of layer names")
    excluded = set(exclude or ())
    unknown = excluded - set(layers) - set(matterport_layer_names("resnet101", "training"))
    if unknown:
        warnings.warn(
            f"exclude names layers that the model lacks: {some(sorted(unknown))}", stacklevel=3
        )
    return excluded


def _match_layers(
    file: WeightsFile,
    wanted: Mapping[str, list[ModelWeight]],
    stored: Mapping[str, list[StoredWeight]],
    by_name: bool,
    excluded: Collection[str],
) -> dict[str, list[StoredWeight]]:
    """The file's weights for each layer of the model that it serves."""
    in_file = [name for name in stored if name not in excluded]
    common = {name: stored[name] for name in wanted if name in stored}
    if by_name or len(common) == len(wanted) == len(in_file):
        return common
    if not common and len(wanted) == len(in_file):
        return {name: stored[source] for name, source in zip(wanted, in_file, strict=True)}
    missing = [name for name in wanted if name not in common]
    unused = [name for name in in_file if name not in common]
    raise ValueError(
        f"{file.path} and the model do not have the same layers, as by_name=False demands. "
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
                pairs.append((layer, weight, source, adapt))
            else:
                mismatches.append((layer, weight.name, source.shape, weight.shape))
        plan.mismatches += mismatches
        if not mismatches:  # a layer is loaded whole or not at all
            plan.pairs += pairs
    return plan


def match_weights(weights: list[ModelWeight], stored: list[StoredWeight]) -> list[StoredWeight]:
    """A layer's stored weights in the model's order: by name, by role, or else as they stand."""
    depth = weights[0].name.count("/") + 1
    for key in (str, lambda name: _role(name, depth)):
        by_key = {key(source.name): source for source in stored}
        keys = [key(weight.name) for weight in weights]
        if None not in keys and len(by_key) == len(stored) and set(keys) == set(by_key):
            return [by_key[item] for item in keys]
    return stored


def _role(name: str, depth: int) -> str | None:
    """What a weight is, under the nested layers it is in; None for a name nobody knows.

    Example:
        >>> _role("bn_conv1_running_std_1", depth=1)
        'moving_variance'
    """
    *scope, leaf = name.split("/")[-depth:]
    found = _ROLE.fullmatch(leaf)
    return "/".join([*scope, _ROLES.get(found[1], found[1])]) if found else None


def _differs_in_channels(weight: ModelWeight, source: StoredWeight) -> bool:
    """Whether these are the same image convolution, for another number of channels than 3."""
    model, stored = weight.shape, source.shape
    if len(model) != 4 or len(stored) != 4 or model == stored:
        return False
    return stored[2] == 3 and model[:2] == stored[:2] and model[3] == stored[3]


def read_value(
    path: str | os.PathLike,
    layer: str,
    weight: ModelWeight,
    source: StoredWeight,
    adapt: bool = False,
) -> np.ndarray:
    """A stored weight, float32 if it is of a floating type; an error if it cannot be used."""
    try:
        value = source.read()
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"{path}: the values of {layer}/{weight.name} cannot be read; the file is damaged, "
            f"fetch it again. Nothing was loaded. (HDF5 says: {error})"
        ) from error
    if not np.all(np.isfinite(value)):
        raise ValueError(
            f"{path}: {layer}/{weight.name} holds values that are not finite, as after a training "
            f"that diverged; use an earlier checkpoint. Nothing was loaded"
        )
    if adapt:
        channels = weight.shape[2]
        value = np.repeat(value.mean(axis=2, keepdims=True), channels, axis=2) * (3 / channels)
    return value.astype(np.float32) if value.dtype.kind == "f" else value


def _load_through_keras(
    loader: Callable[..., Any],
    path: Path,
    layers: Mapping[str, list[ModelWeight]],
    excluded: Collection[str],
    skip_mismatch: bool,
) -> LoadReport:
    """Leaves a Keras 3 file that does not name its layers to Keras; on errors all is restored."""
    if not path.name.endswith(".weights.h5"):
        raise ValueError(
            f"{path} holds Keras 3 weights without layer names; Keras reads them only from a name "
            f"that ends in .weights.h5. Rename it"
        )
    before = {
        name: [(weight.variable, weight.numpy().copy()) for weight in weights]
        for name, weights in layers.items()
    }
    try:
        loader(str(path), skip_mismatch=skip_mismatch)
    except Exception as error:
        _restore(before)
        raise ValueError(f"{path}: Keras cannot load it into this model: {error}") from error
    _restore({name: before[name] for name in layers if name in excluded})
    loaded = tuple(name for name in layers if name not in excluded)
    return LoadReport(str(path), loaded, excluded=tuple(n for n in layers if n in excluded))


def _restore(values: Mapping[str, list[tuple[Any, np.ndarray]]]) -> None:
    for variable, value in itertools.chain.from_iterable(values.values()):
        variable.assign(value)


def _mismatch_message(
    file: WeightsFile,
    layers: Mapping[str, list[ModelWeight]],
    plan: _Plan,
    excluded: Collection[str],
) -> str:
    """All differing shapes, what they come from, and the `exclude` that would load the rest."""
    rows = [
        (f"{layer}/{weight}".rstrip("/"), str(in_file), str(in_model))
        for layer, weight, in_file, in_model in plan.mismatches
    ]
    header, shown = ("layer", "in the file", "in the model"), rows[:MAX_TABLE_ROWS]
    widths = [max(len(row[i]) for row in [header, *shown]) for i in (0, 1)]
    table = [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in [header, *shown]]
    if len(rows) > len(shown):
        table.append(f"  ... and {len(rows) - len(shown)} more")
    found, model = file.describe(), describe_model(layers)
    names = plan.mismatched_layers()
    remedy = [*sorted(set(excluded) & set(layers)), *names]
    lines = [
        f"{file.path}: {len(names)} layers have another shape in the file than in the model. "
        f"Nothing was loaded.",
        *table,
        *_differing_settings(found, model),
        "To train the differing layers anew and load the rest:",
        f"  exclude={json.dumps(remedy)}",
    ]
    if found.num_classes == 2 and model.num_classes == COCO_CLASSES:
        lines.append(
            "If COCO weights were meant: mask_rcnn_balloon.h5, of Matterport's release v2.1, has "
            "2 classes; mask_rcnn_coco.h5 is in release v2.0 (the name 'coco' fetches it)."
        )
    return "\n".join(lines)


def _differing_settings(found: WeightsInfo, model: WeightsInfo) -> list[str]:
    in_file, in_model = found.config_settings(), model.config_settings()
    lines = [
        f"  {name} = {in_file[name]!r} (the model has {in_model[name]!r})"
        for name in in_file
        if name in in_model and in_file[name] != in_model[name]
    ]
    if found.anchors_per_location and model.anchors_per_location:
        if found.anchors_per_location != model.anchors_per_location:
            lines.append(
                f"  {found.anchors_per_location} RPN_ANCHOR_RATIOS "
                f"(the model has {model.anchors_per_location})"
            )
    return ["To use all of the file, build the model with its settings:", *lines] if lines else []


def _no_overlap_message(
    file: WeightsFile,
    layers: Mapping[str, list[ModelWeight]],
    stored: Mapping[str, list[StoredWeight]],
    excluded: Collection[str],
    plan: _Plan,
) -> str:
    start = f"{file.path}: nothing to load. "
    if not stored:
        return start + "The file holds no weights"
    if plan.mismatches:
        return start + "All layers shared with the model have other shapes there"
    if any(name in layers for name in stored):
        return (
            start + f"exclude leaves out all layers shared with the model: {some(sorted(excluded))}"
        )
    return start + (
        f"No layer of the file has the name of a layer of the model: the file has "
        f"{len(stored)} layers with weights ({some(list(stored))}), the model {len(layers)} "
        f"({some(list(layers))}). It belongs to another network; weights for this one have "
        f"Matterport's layer names, such as mask_rcnn_coco.h5 (the name 'coco' fetches it)"
    )


def _warn_of_little_use(
    file: WeightsFile, layers: Mapping[str, list[ModelWeight]], plan: _Plan
) -> None:
    """What loads without an error, by name, and still is not what was meant."""
    found, model = file.describe(), describe_model(layers)
    loaded = len(plan.loaded_layers())
    both = {found.backbone, model.backbone}
    if len(both) == 2 and both <= set(RESNET_BLOCKS):
        rest = "keep their initial values" if model.backbone == "resnet101" else "are ignored"
        warnings.warn(
            f"{file.path} has the backbone {found.backbone}, the model {model.backbone}: the "
            f"blocks that only the deeper one has {rest}",
            stacklevel=3,
        )
    elif loaded < len(layers) / 2 and loaded < len(found.layers) / 2:
        warnings.warn(
            f"{file.path} shares only {loaded} layers ({some(plan.loaded_layers())}) with the "
            f"model, of {len(found.layers)} and {len(layers)}; is it of another network?",
            stacklevel=3,
        )
