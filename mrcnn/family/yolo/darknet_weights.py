"""Darknet's `.weights` files: a header, then the values of every layer in the order of the network.

Of a convolution the file holds its biases or, with batch normalization, beta, gamma, moving mean
and moving variance; then the kernel as `[filters, channels, rows, columns]`. Of a dense layer it
holds the biases and the matrix as `[outputs, inputs]`. All values are little-endian float32.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.files.atomic import atomic_path
from mrcnn.files.names import printable

# Above these, an old version of Darknet marked transposed matrices.
_MAX_VERSION = 1000
# The version that the header of written files states, as in the published files of YOLOv3.
_WRITTEN_VERSION = (0, 2, 0)


@dataclass(frozen=True)
class DarknetHeader:
    """The header of a `.weights` file.

    Attributes:
        version: (major, minor, revision).
        num_seen: images that the network was trained on.
        num_bytes: size of the header: 16 before version 0.2, 20 since.
    """

    version: tuple[int, int, int]
    num_seen: int
    num_bytes: int


def read_header(path: str | os.PathLike[str]) -> DarknetHeader:
    """Read the header of a `.weights` file.

    Raises:
        ValueError: the file is too short or states an impossible version.
    """
    with open(path, "rb") as file:
        start = file.read(20)
    if len(start) < 16:
        raise ValueError(
            f"weights is {printable(path)} with {len(start)} bytes; a Darknet file must begin with "
            "a header of 16 or 20 bytes"
        )
    major, minor, revision = np.frombuffer(start, "<i4", 3).tolist()
    if not (0 <= major < _MAX_VERSION and 0 <= minor < _MAX_VERSION and 0 <= revision < 2**16):
        raise ValueError(
            f"weights is {printable(path)} with the first values {major}, {minor}, {revision}; a "
            "Darknet file must begin with its version, such as 0, 2, 0"
        )
    is_long = 10 * major + minor >= 2
    if is_long and len(start) < 20:
        raise ValueError(
            f"weights is {printable(path)} with {len(start)} bytes; "
            "it must hold a header of 20 bytes"
        )
    num_seen = np.frombuffer(start, "<i8" if is_long else "<i4", 1, offset=12)[0]
    return DarknetHeader((major, minor, revision), int(num_seen), 20 if is_long else 16)


def load_darknet_weights(model: Any, path: str | os.PathLike[str], partial: bool = False) -> int:
    """Load a `.weights` file into a network of `build_network`.

    Args:
        model: the network.
        path: the file.
        partial: whether a file that ends after the last value of some layer, such as
            `darknet53.conv.74`, is accepted; the other layers keep their values.

    Returns:
        The number of layers that were loaded.

    Raises:
        ValueError: the file does not have the size of the network, or holds a value that is not
            finite. The model is unchanged.
    """
    path = Path(path)
    header = read_header(path)
    parts = list(_parts(model))
    num_values, rest = divmod(path.stat().st_size - header.num_bytes, 4)
    ends = np.cumsum([part.size for part in parts])
    num_loaded = int(np.searchsorted(ends, num_values, side="right"))
    fits = rest == 0 and num_loaded > 0 and ends[num_loaded - 1] == num_values
    if not fits or (num_loaded < len(parts) and not partial):
        raise ValueError(_size_message(model, path, header, int(ends[-1])))
    data = np.fromfile(path, "<f4", num_values, offset=header.num_bytes)
    if not np.isfinite(data).all():
        index = int(np.flatnonzero(~np.isfinite(data))[0])
        raise ValueError(
            f"weights is {printable(path)}, whose value {index} is {data[index]}; "
            "all must be finite"
        )
    for part, end in zip(parts[:num_loaded], ends):
        part.load(data[end - part.size : end])
    return num_loaded


def save_darknet_weights(model: Any, path: str | os.PathLike[str], num_seen: int = 0) -> None:
    """Write a network of `build_network` as a `.weights` file, whole or not at all.

    Args:
        model: the network.
        path: the file.
        num_seen: number of images trained on, for the header.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(np.array(_WRITTEN_VERSION, "<i4").tobytes())
        file.write(np.array(num_seen, "<i8").tobytes())
        for part in _parts(model):
            file.write(part.values().astype("<f4").tobytes())


@dataclass(frozen=True)
class _Part:
    """The variables of one Darknet layer, in the order of the file.

    Attributes:
        variables: vectors first, the kernel or matrix last.
    """

    variables: tuple[Any, ...]

    @property
    def size(self) -> int:
        return sum(int(np.prod(variable.shape)) for variable in self.variables)

    def load(self, data: np.ndarray) -> None:
        start = 0
        for variable in self.variables:
            shape = tuple(variable.shape)
            count = int(np.prod(shape))
            values = data[start : start + count]
            start += count
            # Reversed for a vector and a matrix; [filters, channels, rows, columns] for a kernel.
            stored = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]
            values = values.reshape(stored)
            variable.assign(values.transpose(2, 3, 1, 0) if len(shape) == 4 else values.T)

    def values(self) -> np.ndarray:
        arrays = [np.asarray(variable) for variable in self.variables]
        arrays[-1] = arrays[-1].transpose(3, 2, 0, 1) if arrays[-1].ndim == 4 else arrays[-1].T
        return np.concatenate([array.ravel() for array in arrays])


def _parts(model: Any) -> Iterator[_Part]:
    """Yield the parts of the network's convolutions and dense layers in Darknet's order."""
    named = {layer.name: layer for layer in model.layers}
    weighted = [layer for layer in model.layers if layer.name.startswith(("conv_", "dense_"))]
    weighted = [layer for layer in weighted if not layer.name.endswith("_bn")]
    # The graph's own order of layers differs where branches meet; the numbers are Darknet's order.
    for layer in sorted(weighted, key=lambda layer: int(layer.name.rpartition("_")[2])):
        batch_norm = named.get(f"{layer.name}_bn")
        if batch_norm is None:
            yield _Part((layer.bias, layer.kernel))
        else:
            yield _Part(
                (
                    batch_norm.beta,
                    batch_norm.gamma,
                    batch_norm.moving_mean,
                    batch_norm.moving_variance,
                    layer.kernel,
                )
            )


def _size_message(model: Any, path: Path, header: DarknetHeader, num_expected: int) -> str:
    expected = header.num_bytes + 4 * num_expected
    return (
        f"weights is {printable(path)} with {path.stat().st_size} bytes; for {model.name} with the "
        f"output shape {tuple(model.output_shape[1:])} it must have {expected} bytes "
        f"({num_expected} values after a header of {header.num_bytes} bytes)"
    )
