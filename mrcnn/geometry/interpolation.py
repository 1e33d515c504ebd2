"""Resampling in exact arithmetic: where each output pixel looks, and with what weight.

Bilinear: pixel centers lie at half integers, nothing is smoothed, and outside the image is
zero. That is `skimage.transform.resize(order=1, mode="constant", anti_aliasing=False)`.
Positions and weights are fractions of whole numbers, so sums are exact and truncating or
thresholding them gives the same answer on every machine.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

# Output rows worked on at a time, so that intermediate results stay in the cache.
_BLOCK_ROWS = 32


class Taps(NamedTuple):
    """The two input samples that make each output sample along one axis.

    Attributes:
        lower, upper: [..., outputs] indices into the input, always within it.
        lower_weight, upper_weight: [..., outputs] whole numbers; the weight of a sample is
            this over `denominator`. 0 marks a sample outside the input.
        denominator: sum of both weights where neither is outside.
    """

    lower: np.ndarray
    upper: np.ndarray
    lower_weight: np.ndarray
    upper_weight: np.ndarray
    denominator: int

    def part(self, outputs: slice) -> Taps:
        """Return the taps of some of the outputs."""
        return Taps(
            self.lower[..., outputs],
            self.upper[..., outputs],
            self.lower_weight[..., outputs],
            self.upper_weight[..., outputs],
            self.denominator,
        )

    def faded(self) -> tuple[slice, slice]:
        """Return the outputs at both ends that have a tap outside the input; for one input."""
        whole = self.lower_weight + self.upper_weight == self.denominator
        count = len(whole)
        if not whole.any():
            return slice(0, count), slice(count, count)
        return slice(0, int(whole.argmax())), slice(count - int(whole[::-1].argmax()), count)


def linear_taps(size: int | np.ndarray, output_size: int) -> Taps:
    """Compute the taps of linear interpolation.

    Args:
        size: number of input samples, or an array [N, 1] for N inputs together.
        output_size: number of output samples.

    Returns:
        Taps of shape [outputs] or [N, outputs].
    """
    size = np.asarray(size, np.int64)
    divisor = int(np.gcd(size, output_size)) if size.ndim == 0 else 1
    # Position (o + 1/2) * size / output_size - 1/2, times 2 * output_size, in lowest terms.
    reduced_size, reduced_output = size // divisor, output_size // divisor
    denominator = 2 * reduced_output
    position = (2 * np.arange(output_size) + 1) * reduced_size - reduced_output
    lower = position // denominator
    upper_weight = position - lower * denominator
    lower_weight = denominator - upper_weight
    upper = lower + 1
    return Taps(
        np.maximum(lower, 0),
        np.minimum(upper, size - 1),
        np.where(lower < 0, 0, lower_weight),
        np.where(upper >= size, 0, upper_weight),
        denominator,
    )


def nearest_indices(size: int, scale: float) -> np.ndarray:
    """Compute the input index of each output sample of `scipy.ndimage.zoom(order=0)`.

    There the first and last samples of input and output coincide.

    Args:
        size: number of input samples.
        scale: zoom factor; the output has `round(size * scale)` samples, at least one of any.

    Returns:
        [outputs] int64 indices, not falling.
    """
    output_size = max(1, round(size * scale)) if size else 0
    step = (size - 1) / (output_size - 1) if output_size > 1 else 1.0
    indices = np.floor(np.arange(output_size) * step + 0.5).astype(np.int64)
    return np.minimum(indices, size - 1)


def resize_linear(image: np.ndarray, output_shape: tuple[int, int]) -> np.ndarray:
    """Resize bilinearly, in float64.

    Args:
        image: [height, width] or [height, width, channels] of any real dtype.
        output_shape: (height, width).

    Returns:
        float64 array; values near the border fade toward the zeros outside.
    """
    ys, xs = (linear_taps(image.shape[axis], output_shape[axis]) for axis in (0, 1))
    flat = image.reshape(*image.shape[:2], -1).astype(np.float64)
    across = _blend(flat, xs, axis=1) / xs.denominator
    result = _blend(across, ys, axis=0) / ys.denominator
    return result.reshape(*output_shape, *image.shape[2:])


def _blend(values: np.ndarray, taps: Taps, axis: int) -> np.ndarray:
    """Sum both taps along an axis by their weights, not yet divided by the denominator."""
    shape = [1] * values.ndim
    shape[axis] = -1
    dtype = values.dtype
    blended = values.take(taps.lower, axis) * taps.lower_weight.astype(dtype).reshape(shape)
    blended += values.take(taps.upper, axis) * taps.upper_weight.astype(dtype).reshape(shape)
    return blended


def resize_linear_uint8(
    image: np.ndarray,
    output_shape: tuple[int, int],
    crop: tuple[int, int, int, int] | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Resize images of 8 bits bilinearly, rounded down.

    Args:
        image: [height, width, channels] uint8.
        output_shape: (height, width) of the whole result.
        crop: (y, x, height, width) of the part of the result wanted; None for all of it.
        out: where to write, [height, width, channels] uint8.

    Returns:
        `out`, or a new array. Values are at least the smallest of the image, as in
        scikit-image, which clips the result to the range of the image.
    """
    y, x, height, width = crop or (0, 0, *output_shape)
    ys = linear_taps(image.shape[0], output_shape[0]).part(slice(y, y + height))
    xs = linear_taps(image.shape[1], output_shape[1]).part(slice(x, x + width))
    if out is None:
        out = np.empty((height, width, image.shape[2]), np.uint8)
    divisor = ys.denominator * xs.denominator
    dtype = _sum_dtype(255 * divisor)
    # Only the input rows that are used; they are few when an image is made smaller.
    rows_used, places = np.unique(np.concatenate([ys.lower, ys.upper]), return_inverse=True)
    lower, upper = places[:height], places[height:]
    across = _blend_columns(image[rows_used], xs, dtype)
    lower_weight = ys.lower_weight.astype(dtype)[:, None]
    upper_weight = ys.upper_weight.astype(dtype)[:, None]
    sums = np.empty((min(_BLOCK_ROWS, height), across.shape[1]), dtype)
    scratch = np.empty_like(sums)
    for start in range(0, height, _BLOCK_ROWS):
        rows = slice(start, min(start + _BLOCK_ROWS, height))
        part, other = sums[: rows.stop - start], scratch[: rows.stop - start]
        # mode="clip" writes straight into `out`; the default goes through a copy.
        np.take(across, lower[rows], axis=0, out=part, mode="clip")
        part *= lower_weight[rows]
        np.take(across, upper[rows], axis=0, out=other, mode="clip")
        other *= upper_weight[rows]
        part += other
        part //= divisor
        out[rows] = part.reshape(-1, width, image.shape[2])
    minimum = image.min()
    if minimum > 0:
        # Elsewhere no value can be below it.
        edges = [out[rows] for rows in ys.faded()] + [out[:, cols] for cols in xs.faded()]
        for edge in edges:
            np.maximum(edge, minimum, out=edge)
    return out


def _blend_columns(image: np.ndarray, taps: Taps, dtype: type[Any]) -> np.ndarray:
    """Compute the columns of the result for every input row: [rows, outputs * channels]."""
    rows, _, channels = image.shape
    lower = np.take(image, taps.lower, axis=1).reshape(rows, -1)
    upper = np.take(image, taps.upper, axis=1).reshape(rows, -1)
    lower_weight = np.repeat(taps.lower_weight, channels).astype(dtype)
    upper_weight = np.repeat(taps.upper_weight, channels).astype(dtype)
    sums = np.empty(lower.shape, dtype)
    scratch = np.empty((min(_BLOCK_ROWS, rows), lower.shape[1]), dtype)
    for start in range(0, rows, _BLOCK_ROWS):
        block = slice(start, min(start + _BLOCK_ROWS, rows))
        part = scratch[: block.stop - start]
        np.multiply(lower[block], lower_weight, out=sums[block])
        np.multiply(upper[block], upper_weight, out=part)
        sums[block] += part
    return sums


def _sum_dtype(largest: int) -> type[Any]:
    """Return the smallest integer type that holds the sums: smaller ones are faster."""
    for dtype in (np.uint16, np.int32):
        if largest <= np.iinfo(dtype).max:
            return dtype
    return np.int64
