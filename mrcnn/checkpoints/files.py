"""Opens Keras weight files, says what they hold, and says what is wrong with the others.

Nothing here needs a deep learning library. A file is read as layers by name, each a list of
stored weights, whatever wrote it:

* Keras 1 and 2: groups listed in the attribute `layer_names`, at the root or, in a file with
  the whole model, under `model_weights`;
* keras.applications' ResNets and keras-squeezenet: the same with other names, translated here;
* Keras 3 `.weights.h5`: groups by class, the layer's own name in an attribute.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mrcnn.checkpoints.names import (
    RESNET_BLOCKS,
    SQUEEZENET_INPUT_SCALE,
    from_keras_applications,
    from_keras_squeezenet,
    is_keras_squeezenet,
)

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Our own optional root attribute: a JSON object with class names, settings and the like.
METADATA_ATTRIBUTE = "mrcnn_metadata"


@dataclass(frozen=True)
class StoredWeight:
    """One array of a file.

    Attributes:
        name: relative to its layer: "kernel", or "rpn_conv_shared/kernel" in a nested model.
        shape: convolution kernels are [kh, kw, in, out], transposed ones [kh, kw, out, in].
        dataset: where the values lie; readable while the file is open.
        reverse_inputs: a kernel for BGR pixels: its input channels are reversed on reading.
        divisor: the values are divided by this on reading.
    """

    name: str
    shape: tuple[int, ...]
    dataset: h5py.Dataset = field(repr=False)
    reverse_inputs: bool = False
    divisor: float = 1.0

    def read(self) -> np.ndarray:
        """The values; floating-point ones as float32, however they are stored."""
        value = self.dataset[()]
        if np.issubdtype(value.dtype, np.floating):
            value = value.astype(np.float32)
        if self.reverse_inputs:
            value = value[:, :, ::-1]
        return value / np.float32(self.divisor) if self.divisor != 1.0 else value


@dataclass(frozen=True)
class WeightsFile:
    """An open file.

    Attributes:
        path: where it is.
        file_format: "keras", "keras-applications", "keras-squeezenet", "keras3", or
            "keras3-unnamed" where `layers` are the file's groups, not the model's layers.
        layers: weights by layer name, in file order, layers without weights included.
        metadata: what `save_weights(metadata=...)` put in; empty for other files.
    """

    path: Path
    file_format: str
    layers: Mapping[str, list[StoredWeight]]
    metadata: Mapping[str, Any]

    def describe(self) -> WeightsInfo:
        shapes = {
            name: [(weight.name, weight.shape) for weight in weights]
            for name, weights in self.layers.items()
        }
        return describe_layers(shapes, str(self.path), self.file_format, self.metadata)


@dataclass(frozen=True)
class WeightsInfo:
    """What the shapes of a file's (or a model's) weights say about it.

    Settings that the weights do not determine are None.

    Attributes:
        path: the file, or a word for the model.
        file_format: see `WeightsFile`.
        backbone: "resnet50", "resnet101", "squeezenet" or "other".
        num_classes: NUM_CLASSES, background included.
        top_down_pyramid_size: TOP_DOWN_PYRAMID_SIZE, channels of P2 to P6.
        fpn_classif_fc_layers_size: FPN_CLASSIF_FC_LAYERS_SIZE, width of the class head.
        pool_size: POOL_SIZE of the class head.
        rpn_channels: RPN_CHANNELS, width of the RPN's shared convolution.
        mask_channels: MASK_CHANNELS, width of the mask head.
        anchors_per_location: how many RPN_ANCHOR_RATIOS there are.
        image_channels: IMAGE_CHANNEL_COUNT.
        backbone_channels: channels of C2 to C5, where there is a pyramid.
        has_rpn: whether there is a region proposal network.
        has_heads: whether class, box and mask heads are all there.
        num_parameters: all values, statistics of batch normalisation included.
        layers: (layer, ((weight, shape), ...)) for each layer with weights, in file order.
        metadata: what the file says of itself.
    """

    path: str
    file_format: str
    backbone: str
    num_classes: int | None
    top_down_pyramid_size: int | None
    fpn_classif_fc_layers_size: int | None
    pool_size: int | None
    rpn_channels: int | None
    mask_channels: int | None
    anchors_per_location: int | None
    image_channels: int | None
    backbone_channels: tuple[int, ...] | None
    has_rpn: bool
    has_heads: bool
    num_parameters: int
    layers: tuple[tuple[str, tuple[tuple[str, tuple[int, ...]], ...]], ...] = field(repr=False)
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def config_settings(self) -> dict[str, Any]:
        """The `Config` attributes that follow from the weights, by name.

        Anchors are not among them: the weights know how many ratios there are, not which.
        """
        settings = {
            "BACKBONE": None if self.backbone == "other" else self.backbone,
            "NUM_CLASSES": self.num_classes,
            "TOP_DOWN_PYRAMID_SIZE": self.top_down_pyramid_size,
            "FPN_CLASSIF_FC_LAYERS_SIZE": self.fpn_classif_fc_layers_size,
            "POOL_SIZE": self.pool_size,
            "RPN_CHANNELS": self.rpn_channels,
            "MASK_CHANNELS": self.mask_channels,
            "IMAGE_CHANNEL_COUNT": self.image_channels,
        }
        return {name: value for name, value in settings.items() if value is not None}

    def summary(self) -> str:
        """One line for people."""
        parts = [f"{self.backbone} backbone"]
        if self.num_classes is not None:
            parts.append(f"{self.num_classes} classes with the background")
        if not self.has_heads:
            parts.append("no heads")
        parts.append(f"{self.num_parameters:,} parameters in {len(self.layers)} layers")
        return f"{self.path}: {', '.join(parts)}"


def verify(path: str | os.PathLike) -> WeightsInfo:
    """Opens a weight file and says what it is, without loading its values.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a weight file, or it is cut short; the message says what it is.
    """
    with open_weights(path) as file:
        return file.describe()


@contextlib.contextmanager
def open_weights(path: str | os.PathLike) -> Iterator[WeightsFile]:
    """Opens a weight file of any known format; errors as for `verify`."""
    path = Path(path).expanduser()
    check_is_hdf5(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(_unreadable(path, error)) from error
    with file:
        try:
            opened = _read_structure(path, file)
        except (OSError, RuntimeError, KeyError) as error:
            raise ValueError(_unreadable(path, error)) from error
        yield opened


def check_is_hdf5(path: Path) -> None:
    """Raises with what the file is instead, judged by its first bytes, unless it is HDF5."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder; a weight file (.h5) is needed")
    if not path.exists():
        raise FileNotFoundError(f"weight file not found: {path}")
    if reason := why_not_hdf5(path):
        size = path.stat().st_size
        raise ValueError(f"{path} ({size:,} bytes) is not an HDF5 weight file: {reason}")


def why_not_hdf5(path: Path) -> str | None:
    """What a file is instead of HDF5, as the end of a sentence; None if it is HDF5."""
    with open(path, "rb") as stream:
        start = stream.read(1024)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(HDF5_SIGNATURE):
        return None
    if not start:
        return "it is empty"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return (
            "it is a web page saved under that name, as happens when a link leads to a download "
            "page or a login; fetch the file itself"
        )
    if text.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file; run `git lfs pull`"
    if start.startswith(b"PK\x03\x04"):
        return (
            "it is a zip archive; a .keras model is loaded with keras.saving.load_model, and its "
            "weights saved to a .h5 file"
        )
    return f"it starts with {start[:12]!r}"


def is_keras3_weights_file(path: str | os.PathLike) -> bool:
    """Whether this is the format of Keras 3's `model.save_weights("x.weights.h5")`."""
    path = Path(path).expanduser()
    check_is_hdf5(path)
    try:
        with h5py.File(path, "r") as file:
            return _is_keras3(file)
    except OSError as error:
        raise ValueError(_unreadable(path, error)) from error


def describe_layers(
    layers: Mapping[str, Sequence[tuple[str, tuple[int, ...]]]],
    path: str,
    file_format: str = "keras",
    metadata: Mapping[str, Any] | None = None,
) -> WeightsInfo:
    """Reads the architecture off (weight, shape) pairs by layer name."""

    def size(layer: str, axis: int, weight: str = "kernel") -> int | None:
        """The extent of a layer's kernel; the kernel is the first weight under any name."""
        weights = layers.get(layer) or ()
        named = [shape for name, shape in weights if name.split(":")[0] == weight]
        shape = (named or [shape for _, shape in weights if "/" not in weight] or [()])[0]
        return shape[axis] if len(shape) > (axis if axis >= 0 else -axis - 1) else None

    logits = size("rpn_model", -1, "rpn_class_raw/kernel")
    laterals = [size(f"fpn_c{level}p{level}", 2) for level in (2, 3, 4, 5)]
    heads = ("mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask")
    first = "squeeze_conv1" if layers.get("squeeze_conv1") else "conv1"
    weighted = tuple((name, tuple(weights)) for name, weights in layers.items() if weights)
    return WeightsInfo(
        path=path,
        file_format=file_format,
        backbone=_guess_backbone(layers),
        num_classes=size("mrcnn_class_logits", -1),
        top_down_pyramid_size=size("fpn_c5p5", -1),
        fpn_classif_fc_layers_size=size("mrcnn_class_conv1", -1),
        pool_size=size("mrcnn_class_conv1", 0),
        rpn_channels=size("rpn_model", -1, "rpn_conv_shared/kernel"),
        mask_channels=size("mrcnn_mask_conv1", -1),
        anchors_per_location=None if logits is None else logits // 2,
        image_channels=size(first, 2),
        backbone_channels=None if None in laterals else tuple(laterals),
        has_rpn=bool(layers.get("rpn_model")),
        has_heads=all(layers.get(name) for name in heads),
        num_parameters=sum(int(np.prod(shape)) for _, weights in weighted for _, shape in weights),
        layers=weighted,
        metadata=dict(metadata or {}),
    )


def _guess_backbone(layers: Mapping[str, Sequence]) -> str:
    if layers.get("fire2_squeeze1x1"):
        return "squeezenet"
    # The shallow and the deep ResNet differ in the number of blocks in stage 4 alone.
    num_blocks = sum(bool(layers.get(f"res4{chr(97 + i)}_branch2a")) for i in range(26))
    for name, blocks in RESNET_BLOCKS.items():
        if layers.get("res2a_branch2a") and num_blocks == blocks[2]:
            return name
    return "other"


def _read_structure(path: Path, file: h5py.File) -> WeightsFile:
    metadata = _read_metadata(path, file)
    if _is_keras3(file):
        layers = _read_keras3_layers(file["layers"])
        if layers:
            return WeightsFile(path, "keras3", layers, metadata)
        return WeightsFile(path, "keras3-unnamed", _read_all_groups(file["layers"]), metadata)
    root = file
    if "layer_names" not in _attribute_stems(file) and "model_weights" in file:
        root = file["model_weights"]
    if "layer_names" not in _attribute_stems(root):
        found = ", ".join(list(file)[:8]) or "nothing"
        raise ValueError(
            f"{path} is an HDF5 file but not a Keras weight file: it has no attribute "
            f"'layer_names' (its groups: {found})"
        )
    names = read_text_attribute(root, "layer_names")
    layers = {name: _read_group(path, root, name) for name in names}
    if is_keras_squeezenet(names):
        return WeightsFile(path, "keras-squeezenet", _as_squeezenet(layers), metadata)
    if "conv1_conv" in layers:
        renamed = {from_keras_applications(name): weights for name, weights in layers.items()}
        return WeightsFile(path, "keras-applications", renamed, metadata)
    return WeightsFile(path, "keras", layers, metadata)


def _read_group(path: Path, root: h5py.Group, layer: str) -> list[StoredWeight]:
    """One layer of a Keras 1 or 2 file, in the order of its `weight_names`."""
    if layer not in root:
        raise ValueError(f"{path}: layer {layer!r} is listed but has no group; the file is damaged")
    group = root[layer]
    weights = []
    for name in read_text_attribute(group, "weight_names"):
        if name not in group:
            raise ValueError(f"{path}: {layer}/{name} is listed but missing; the file is damaged")
        relative = name.removeprefix(f"{layer}/").split(":")[0]
        weights.append(StoredWeight(relative, group[name].shape, group[name]))
    return weights


def _as_squeezenet(layers: Mapping[str, list[StoredWeight]]) -> dict[str, list[StoredWeight]]:
    """Our names; the first kernel, trained by Caffe on BGR pixels, is turned to RGB on reading.

    Our network divides the pixels by `SQUEEZENET_INPUT_SCALE` first. ReLU networks are homogeneous:
    with the biases divided alike, every feature is the original's over that number.
    """
    renamed = {}
    for file_name, weights in layers.items():
        name = from_keras_squeezenet(file_name)
        renamed[name] = [
            StoredWeight(
                weight.name,
                weight.shape,
                weight.dataset,
                reverse_inputs=name == "squeeze_conv1" and len(weight.shape) == 4,
                divisor=SQUEEZENET_INPUT_SCALE if len(weight.shape) == 1 else 1.0,
            )
            for weight in weights
        ]
    return renamed


def _is_keras3(file: h5py.File) -> bool:
    stems = _attribute_stems(file)
    if "layer_names" in stems or "model_weights" in file or "layers" not in file:
        return False
    layers = file["layers"]
    return isinstance(layers, h5py.Group) and any(
        isinstance(group, h5py.Group) and ("vars" in group or "layers" in group)
        for group in layers.values()
    )


def _read_keras3_layers(container: h5py.Group) -> dict[str, list[StoredWeight]]:
    """The layers of a Keras 3 file by their own names; empty where the file does not say them.

    Keras names the groups after classes and numbers; since 3.5 or so each states the layer's
    name too. Layers made of other layers, but for nested models, are not resolved.
    """
    layers: dict[str, list[StoredWeight]] = {}
    for group in container.values():
        name = group["vars"].attrs.get("name") if "vars" in group else None
        if name is None:
            return {}
        variables = group["vars"]
        datasets = [variables[key] for key in sorted(variables, key=int)]
        shapes = [dataset.shape for dataset in datasets]
        names = _variable_names(shapes)
        weights = [StoredWeight(*item) for item in zip(names, shapes, datasets, strict=True)]
        for key, part in group.items():
            if key == "layers":
                nested = _read_keras3_layers(part)
                if not nested and len(part):
                    return {}
                weights += [
                    StoredWeight(f"{inner}/{weight.name}", weight.shape, weight.dataset)
                    for inner, inner_weights in nested.items()
                    for weight in inner_weights
                ]
            elif key != "vars" and _holds_datasets(part):
                return {}
        layers[_text(name)] = weights
    return layers


def _read_all_groups(root: h5py.Group) -> dict[str, list[StoredWeight]]:
    """Every array of a Keras 3 file under the group it is in."""
    groups: dict[str, list[StoredWeight]] = {}

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            group, _, number = name.rpartition("/")
            weight = StoredWeight(number, item.shape, item)
            groups.setdefault(group.removesuffix("/vars"), []).append(weight)

    root.visititems(add)
    return groups


def _variable_names(shapes: list[tuple[int, ...]]) -> list[str]:
    """Names for a layer's arrays, which Keras 3 only numbers, by their count and rank."""
    ranks = [len(shape) for shape in shapes]
    if ranks == [1, 1, 1, 1]:
        return ["gamma", "beta", "moving_mean", "moving_variance"]
    if len(ranks) in (1, 2) and ranks[0] > 1 and ranks[1:] in ([], [1]):
        return ["kernel", "bias"][: len(ranks)]
    return [str(number) for number in range(len(ranks))]


def _holds_datasets(group: h5py.Group | h5py.Dataset) -> bool:
    if isinstance(group, h5py.Dataset):
        return True
    return any(_holds_datasets(part) for part in group.values())


def _read_metadata(path: Path, file: h5py.File) -> dict[str, Any]:
    text = file.attrs.get(METADATA_ATTRIBUTE)
    if text is None:
        return {}
    try:
        return dict(json.loads(_text(text)))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: its attribute {METADATA_ATTRIBUTE} is not JSON: {error}"
        ) from error


def _attribute_stems(group: h5py.Group) -> set[str]:
    return {re.sub(r"\d+$", "", name) for name in group.attrs}


def read_text_attribute(group: h5py.Group, name: str) -> list[str]:
    """A list of names, as bytes or text, in one attribute or split over NAME0, NAME1, ..."""
    if name in group.attrs:
        return [_text(item) for item in np.atleast_1d(group.attrs[name])]
    items: list[str] = []
    for number in range(len(group.attrs)):
        if f"{name}{number}" not in group.attrs:
            break
        items += [_text(item) for item in group.attrs[f"{name}{number}"]]
    return items


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _unreadable(path: Path, error: Exception) -> str:
    if "truncated" in str(error):
        what = (
            "is cut short, as by a download or a copy that was interrupted; delete it and fetch "
            "it again"
        )
    elif "unable to lock" in str(error):
        what = "cannot be locked; another program writes it, or set HDF5_USE_FILE_LOCKING=FALSE"
    else:
        what = "is damaged; delete it and fetch it again"
    return f"{path} ({path.stat().st_size:,} bytes) {what}. (HDF5 says: {error})"
