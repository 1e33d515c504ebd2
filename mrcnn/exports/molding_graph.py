"""Molding inside of the graph: from a batch of images of any size to the network's input.

This is `mrcnn.geometry.images.resize_image` in mode "square" on tensors. Sizes and positions are
whole numbers, as there, and each pixel of the network's input is looked up in the image, so the
result has the same shape for every image. LiteRT plans its memory by that.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from keras import ops

from mrcnn.layers.types import Tensor

if TYPE_CHECKING:
    from mrcnn.config import Config

# Added before rounding down: the sums of float32 can lie just below a whole number.
_ROUNDING = 1e-4


class Molded(NamedTuple):
    """A batch that the network takes.

    Attributes:
        images: `[batch, side, side, channels]` float32, mean subtracted.
        image_meta: `[batch, 12 + num_classes]` float32.
        window: `(y1, x1, y2, x2)`, int32 scalars: the image within the padding, in pixels.
    """

    images: Tensor
    image_meta: Tensor
    window: tuple[Tensor, Tensor, Tensor, Tensor]


def mold(images: Tensor, config: Config) -> Molded:
    """Resize images of one size to the network's size, pad them and subtract the mean pixel.

    Args:
        images: `[batch, height, width, channels]` uint8.
        config: `Config` with `IMAGE_RESIZE_MODE` "square".
    """
    side = int(config.IMAGE_MAX_DIM)
    batch_size, height, width, channels = ops.shape(images)
    scaled_height, scaled_width = _scaled(height, width, config)
    rows = _taps(height, scaled_height, side)
    columns = _taps(width, scaled_width, side)
    # A row of pixels is one axis, [batch, row, pixel * channels]: ONNX Runtime takes ten times as
    # long where the last axis has only the channels.
    lines = ops.reshape(images, (batch_size, height, width * channels))
    lowest = ops.min(ops.cast(lines, "float32"), axis=(1, 2), keepdims=True)
    lines = _weighted(
        *(
            ops.cast(ops.take(lines, place, axis=1), "float32")
            for place in (rows.lower, rows.upper)
        ),
        *(ops.expand_dims(weight, 1) for weight in (rows.lower_weight, rows.upper_weight)),
    )
    pixels = ops.reshape(lines, (batch_size, side, width, channels))
    shape = (batch_size, side, side * channels)
    lines = _weighted(
        *(
            ops.reshape(ops.take(pixels, place, axis=2), shape)
            for place in (columns.lower, columns.upper)
        ),
        *(_each(weight, channels) for weight in (columns.lower_weight, columns.upper_weight)),
    )
    lines = ops.floor(lines + _ROUNDING)
    # Near the border the image fades to the zeros outside, as far as its own range allows.
    inside = ops.expand_dims(rows.inside, 1) * _each(columns.inside, channels)
    lines = ops.maximum(lines, lowest) * inside
    lines = lines - np.tile(np.asarray(config.MEAN_PIXEL, np.float32), side)
    window = (rows.start, columns.start, rows.start + scaled_height, columns.start + scaled_width)
    molded = ops.reshape(lines, (batch_size, side, side, channels))
    return Molded(molded, _image_meta(images, window, config), window)


def _scaled(height: Any, width: Any, config: Config) -> tuple[Any, Any]:
    """Return the height and width of the image in the network's input, in pixels."""
    shorter, longer = ops.minimum(height, width), ops.maximum(height, width)
    # The factor as a fraction of whole numbers.
    above, below = ops.ones_like(shorter), ops.ones_like(shorter)
    if config.IMAGE_MIN_DIM:
        is_small = shorter < int(config.IMAGE_MIN_DIM)
        above = ops.where(is_small, int(config.IMAGE_MIN_DIM), above)
        below = ops.where(is_small, shorter, below)
    if config.IMAGE_MIN_SCALE:
        least = Fraction(float(config.IMAGE_MIN_SCALE)).limit_denominator(100)
        is_less = above * least.denominator < below * least.numerator
        above = ops.where(is_less, least.numerator, above)
        below = ops.where(is_less, least.denominator, below)
    side = int(config.IMAGE_MAX_DIM)
    is_too_large = _rounded(longer * above, below) > side
    above = ops.where(is_too_large, side, above)
    below = ops.where(is_too_large, longer, below)
    sides = (ops.maximum(_rounded(n * above, below), 1) for n in (height, width))
    return tuple(ops.minimum(n, side) for n in sides)


def _rounded(numerator: Any, denominator: Any) -> Any:
    """Return a quotient of positive whole numbers, rounded half to even as Python's `round`."""
    result = (2 * numerator + denominator) // (2 * denominator)
    is_tie = ops.equal(2 * numerator + denominator, result * 2 * denominator)
    is_odd = ops.equal(result - result // 2 * 2, 1)
    return result - ops.cast(ops.logical_and(is_tie, is_odd), "int32")


class _Taps(NamedTuple):
    """The two rows (or columns) of the image that make each row of the network's input.

    Attributes:
        lower, upper: `[side]` int32, rows of the image.
        lower_weight, upper_weight: `[side]` float32; 0 for a row outside the image.
        inside: `[side]` float32, 1 in the window and 0 in the padding.
        start: first row of the window.
    """

    lower: Tensor
    upper: Tensor
    lower_weight: Tensor
    upper_weight: Tensor
    inside: Tensor
    start: Tensor


def _taps(size: Any, scaled: Any, side: int) -> _Taps:
    """Compute `mrcnn.geometry.interpolation.linear_taps` for a padded axis."""
    start = (side - scaled) // 2
    place = np.arange(side, dtype=np.int32) - start
    inside = ops.logical_and(place >= 0, place < scaled)
    place = ops.clip(place, 0, scaled - 1)
    # Position (place + 1/2) * size / scaled - 1/2, times 2 * scaled; all terms from 0 up.
    denominator = 2 * scaled
    position = (2 * place + 1) * size + scaled
    lower = position // denominator - 1
    fraction = ops.cast(position - (lower + 1) * denominator, "float32")
    fraction = fraction / ops.cast(denominator, "float32")
    upper_weight = ops.where(lower + 1 < size, fraction, 0.0)
    lower_weight = ops.where(lower >= 0, 1.0 - fraction, 0.0)
    return _Taps(
        ops.maximum(lower, 0),
        ops.minimum(lower + 1, size - 1),
        lower_weight,
        upper_weight,
        ops.cast(inside, "float32"),
        start,
    )


def _weighted(lower: Tensor, upper: Tensor, lower_weight: Tensor, upper_weight: Tensor) -> Tensor:
    return lower * lower_weight + upper * upper_weight


def _each(numbers: Tensor, channels: int) -> Tensor:
    """Repeat each of `[side]` for the channels of its pixel: `[side * channels]`."""
    return ops.reshape(ops.repeat(ops.expand_dims(numbers, 1), channels, axis=1), (-1,))


def _image_meta(images: Tensor, window: tuple[Any, ...], config: Config) -> Tensor:
    """Return `[batch, 12 + num_classes]`, see `mrcnn.geometry.image_meta`."""
    batch_size, height, width, channels = ops.shape(images)
    side = int(config.IMAGE_MAX_DIM)
    # The scale is not used by the network.
    row = [0, height, width, channels, side, side, channels, *window, 1]
    numbers = ops.stack([ops.cast(value, "float32") for value in row])
    numbers = ops.concatenate([numbers, np.zeros(config.NUM_CLASSES, np.float32)])
    return ops.broadcast_to(numbers[None], (batch_size, numbers.shape[0]))
