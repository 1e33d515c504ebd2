"""The color map of PASCAL VOC, by which tools write instance and class numbers as colors."""

from __future__ import annotations

import os

import numpy as np

from mrcnn.files.names import printable


def color_map(size: int = 256) -> np.ndarray:
    """Return VOC's colors, [size, 3] uint8: 0 is black, 1 (128, 0, 0), 2 (0, 128, 0), ..."""
    numbers = np.arange(size)
    colors = np.zeros((size, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= ((numbers >> (3 * bit + channel)) & 1).astype(np.uint8) << 7 - bit
    return colors


def packed_colors(pixels: np.ndarray) -> np.ndarray:
    """Return one number for each pixel, red * 65536 + green * 256 + blue, of RGB or RGBA."""
    red, green, blue = (pixels[..., channel].astype(np.int64) for channel in range(3))
    return red << 16 | green << 8 | blue


def palette_indices(pixels: np.ndarray, path: str | os.PathLike[str]) -> np.ndarray:
    """Return the numbers that a label image encodes.

    Args:
        pixels: [height, width] numbers, or [height, width, 3 or 4] colors of VOC's map, as
            CVAT and labelme write them.
        path: the file, for the error message.

    Returns:
        [height, width] numbers.

    Raises:
        ValueError: a color is not in VOC's map.
    """
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] == 2:
        return pixels[..., 0]
    colors = packed_colors(pixels)
    known = packed_colors(color_map())
    order = np.argsort(known)
    at = np.searchsorted(known, colors, sorter=order).clip(0, len(known) - 1)
    indices = order[at]
    if not np.array_equal(known[indices], colors):
        row, column = np.argwhere(known[indices] != colors)[0]
        raise ValueError(
            f"{printable(os.fspath(path))}: the color at row {row}, column {column} is "
            f"{pixels[row, column, :3].tolist()}; it must be one of VOC's color map"
        )
    return indices
