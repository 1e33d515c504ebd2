"""Keras weight files of all versions, read as weights by layer name.

* Keras 1 and 2: groups listed in the attribute `layer_names`, at the root or, in a file with
  the whole model, under `model_weights`;
* keras.applications' ResNets and keras-squeezenet: the same with other names, translated here;
* Keras 3 `.weights.h5`: groups by class, the layer's own name in an attribute.

Nothing here needs a deep learning library. Type, shape and stored size of every array are checked
when the file is opened; its values are read later.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mrcnn.checkpoints.hdf5 import (
    HDF5ContentError,
    check_array,
    content_errors,
    open_hdf5,
    read_names,
    read_text_attribute,
)
from mrcnn.checkpoints.names import (
    SQUEEZENET_INPUT_SCALE,
    expects_weights,
    from_keras_applications,
    from_keras_squeezenet,
    is_keras_resnet,
    is_keras_squeezenet,
)
from mrcnn.checkpoints.weights_info import Shape, WeightsInfo, describe_layers
from mrcnn.files.names import printable
from mrcnn.files.reading import MAX_JSON_BYTES

# Our own optional array of bytes at the root: a JSON object with settings, class names and the
# like. Keras reads the groups that `layer_names` lists and no others. Earlier versions of this
# package wrote a text attribute of this name, which HDF5 limits to 64 KiB.
METADATA = "mrcnn_metadata"


@dataclass(frozen=True)
class StoredWeight:
    """One array of a file.

    Attributes:
        name: relative to its layer: "kernel", or "rpn_conv_shared/kernel" in a nested model.
        shape: convolution kernels are [kh, kw, in, out], transposed ones [kh, kw, out, in].
        dataset: the array in the file; readable while the file is open.
        reverse_inputs: a kernel for BGR pixels: its input channels are reversed on reading.
        divisor: the values are divided by this on reading.
    """

    name: str
    shape: Shape
    dataset: h5py.Dataset = field(repr=False)
    reverse_inputs: bool = False
    divisor: float = 1.0

    def read(self) -> np.ndarray:
        """Return the values; floating-point ones as float32, however they are stored."""
        if self.dataset.size and not self.dataset.id.get_storage_size():
            raise HDF5ContentError("the file holds the shape of this array, but no values")
        value = self.dataset[()]
        if np.issubdtype(value.dtype, np.floating):
            with np.errstate(over="ignore"):  # infinite values are reported, not computed with
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
        """Return what follows from names and shapes; names without control characters."""
        shapes = {
            printable(name): [(printable(weight.name), weight.shape) for weight in weights]
            for name, weights in self.layers.items()
        }
        return describe_layers(shapes, str(self.path), self.file_format, self.metadata)


def verify(path: str | os.PathLike[str]) -> WeightsInfo:
    """Open a weight file and return what it is, without reading its values.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a weight file, is damaged, or refers to other files; the message names
            the cause.
    """
    with open_weights(path) as file:
        return file.describe()


def non_finite_layers(path: str | os.PathLike[str]) -> list[str]:
    """Return the layers of a weight file that hold NaN or infinite values.

    All values are read, layer by layer; errors as for `verify`.
    """
    with open_weights(path) as file, content_errors(file.path):
        return [
            printable(name)
            for name, weights in file.layers.items()
            if not all(np.isfinite(weight.read()).all() for weight in weights)
        ]


@contextlib.contextmanager
def open_weights(path: str | os.PathLike[str]) -> Iterator[WeightsFile]:
    """Open a weight file of any known format; errors as for `verify`."""
    with open_hdf5(path) as file:
        path = Path(path).expanduser()
        with content_errors(path):
            opened = _read_structure(path, file)
        yield opened


def is_keras3_weights_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is of Keras 3's `model.save_weights("x.weights.h5")`.

    Errors as for `verify`.
    """
    with open_hdf5(path) as file, content_errors(Path(path).expanduser()):
        return _is_keras3(file)


def _read_structure(path: Path, file: h5py.File) -> WeightsFile:
    metadata = _read_metadata(path, file)
    if _is_keras3(file):
        layers = _read_keras3_layers(path, file["layers"])
        if layers:
            return WeightsFile(path, "keras3", layers, metadata)
        return WeightsFile(path, "keras3-unnamed", _read_all_groups(path, file["layers"]), metadata)
    root = file
    if "layer_names" not in _attribute_stems(file) and "model_weights" in file:
        root = file["model_weights"]
    if "layer_names" not in _attribute_stems(root):
        if "network0" in file:  # what `Refiner.save` writes
            raise HDF5ContentError(
                f"{printable(path)} is a mask refiner: it is for --refine, not for weights"
            )
        found = ", ".join(printable(name) for name in list(file)[:8]) or "nothing"
        raise HDF5ContentError(
            f"{printable(path)} is an HDF5 file but not a Keras weight file: it has no attribute "
            f"'layer_names' (its groups: {found})"
        )
    names = read_names(path, root, "layer_names")
    layers = {name: _read_group(path, root, name) for name in names}
    if is_keras_squeezenet(names):
        return WeightsFile(path, "keras-squeezenet", _as_squeezenet(layers), metadata)
    if is_keras_resnet(names):
        renamed = {from_keras_applications(name): weights for name, weights in layers.items()}
        return WeightsFile(path, "keras-applications", renamed, metadata)
    return WeightsFile(path, "keras", layers, metadata)


def _read_group(path: Path, root: h5py.Group, layer: str) -> list[StoredWeight]:
    """Return the weights of a layer of a Keras 1 or 2 file, in the order of its `weight_names`."""
    shown = printable(layer)
    if layer not in root:
        raise HDF5ContentError(
            f"{printable(path)}: layer {shown!r} is listed but has no group; the file is damaged"
        )
    group = root[layer]
    if not isinstance(group, h5py.Group):
        raise HDF5ContentError(
            f"{shown} of {printable(path)} is an array; it must be the group of a layer. The file "
            "is damaged"
        )
    weights = []
    for name in read_names(path, group, "weight_names"):
        if name not in group:
            raise HDF5ContentError(
                f"{printable(path)}: {shown}/{printable(name)} is listed but missing; the file is "
                "damaged"
            )
        array = check_array(path, f"{layer}/{name}", group[name])
        if expects_weights(layer) and array.dtype.kind != "f":
            raise HDF5ContentError(
                f"{shown}/{printable(name)} of {printable(path)} is of type {array.dtype}; it must "
                "be an array of floating-point numbers"
            )
        relative = name.removeprefix(f"{layer}/").split(":")[0]
        weights.append(StoredWeight(relative, array.shape, array))
    return weights


def _as_squeezenet(layers: Mapping[str, list[StoredWeight]]) -> dict[str, list[StoredWeight]]:
    """Rename the layers; the first kernel, trained by Caffe on BGR pixels, becomes one for RGB.

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
    if "layer_names" in _attribute_stems(file) or "model_weights" in file or "layers" not in file:
        return False
    layers = file["layers"]
    return isinstance(layers, h5py.Group) and any(
        isinstance(group, h5py.Group) and ("vars" in group or "layers" in group)
        for group in layers.values()
    )


def _read_keras3_layers(path: Path, container: h5py.Group) -> dict[str, list[StoredWeight]]:
    """Return the layers of a Keras 3 file by their own names; none where the file lacks them.

    Keras names the groups after classes and numbers; since 3.5 or so each states the layer's
    name too. Layers made of other layers, but for nested models, are not resolved.
    """
    layers: dict[str, list[StoredWeight]] = {}
    for group in container.values():
        name = read_text_attribute(path, group["vars"], "name") if "vars" in group else None
        if name is None:
            return {}
        weights = _read_keras3_variables(path, name, group["vars"])
        for key, part in group.items():
            if key == "layers":
                nested = _read_keras3_layers(path, part)
                if not nested and len(part):
                    return {}
                weights += [
                    StoredWeight(f"{inner}/{weight.name}", weight.shape, weight.dataset)
                    for inner, inner_weights in nested.items()
                    for weight in inner_weights
                ]
            elif key != "vars" and _holds_arrays(part):
                return {}
        layers[name] = weights
    return layers


def _read_keras3_variables(path: Path, layer: str, group: h5py.Group) -> list[StoredWeight]:
    """Return the numbered arrays of one layer."""
    if not all(key.isdecimal() for key in group):
        raise HDF5ContentError(
            f"the variables of layer {printable(layer)} of {printable(path)} are named "
            f"{', '.join(map(printable, group))}; the names must be numbers. The file is damaged"
        )
    keys = sorted(group, key=int)
    arrays = [check_array(path, f"{layer}/{key}", group[key]) for key in keys]
    names = _names_by_rank([array.shape for array in arrays])
    return [StoredWeight(name, array.shape, array) for name, array in zip(names, arrays)]


def _read_all_groups(path: Path, root: h5py.Group) -> dict[str, list[StoredWeight]]:
    """Return every array of a Keras 3 file under the group it is in."""
    groups: dict[str, list[StoredWeight]] = {}

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            group, _, number = name.rpartition("/")
            weight = StoredWeight(number, check_array(path, name, item).shape, item)
            groups.setdefault(group.removesuffix("/vars"), []).append(weight)

    root.visititems(add)
    return groups


def _names_by_rank(shapes: list[Shape]) -> list[str]:
    """Return names for a layer's arrays, which Keras 3 only numbers, by their count and rank."""
    ranks = [len(shape) for shape in shapes]
    if ranks == [1, 1, 1, 1]:
        return ["gamma", "beta", "moving_mean", "moving_variance"]
    if len(ranks) in (1, 2) and ranks[0] > 1 and ranks[1:] in ([], [1]):
        return ["kernel", "bias"][: len(ranks)]
    return [str(number) for number in range(len(ranks))]


def _holds_arrays(group: h5py.Group | h5py.Dataset) -> bool:
    if isinstance(group, h5py.Dataset):
        return True
    return any(_holds_arrays(part) for part in group.values())


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what `save_weights(metadata=...)` stored in a file, without looking at its weights.

    Args:
        path: the file.

    Returns:
        The JSON object; empty for files without one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not HDF5, is damaged, or what it holds is no JSON object.
    """
    with open_hdf5(path) as file:
        path = Path(path).expanduser()
        with content_errors(path):
            return _read_metadata(path, file)


def _read_metadata(path: Path, file: h5py.File) -> dict[str, Any]:
    text = _metadata_text(path, file)
    if text is None:
        return {}
    entry = f"{METADATA} of {printable(path)}"
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HDF5ContentError(f"{entry} is not JSON: {printable(error)}") from error
    if not isinstance(content, dict):
        raise HDF5ContentError(f"{entry} is a JSON {type(content).__name__}; it must be an object")
    return content


def _metadata_text(path: Path, file: h5py.File) -> str | bytes | None:
    if METADATA not in file:
        return read_text_attribute(path, file, METADATA)
    array = check_array(path, METADATA, file[METADATA])
    entry = f"{METADATA} of {printable(path)}"
    if array.dtype != np.uint8 or array.ndim != 1:
        raise HDF5ContentError(
            f"{entry} is of type {array.dtype} and shape {array.shape}; it must be a row of bytes"
        )
    if array.size > MAX_JSON_BYTES:
        raise HDF5ContentError(
            f"{entry} has {array.size:,} bytes; it must have at most {MAX_JSON_BYTES:,}"
        )
    return bytes(array[()])


def _attribute_stems(group: h5py.Group) -> set[str]:
    return {re.sub(r"\d+$", "", name) for name in group.attrs}
