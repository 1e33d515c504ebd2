"""ROIMaxPool: RoIPool of Fast R-CNN (Girshick 2015), the maximum of the cells in each bin of a box.

The maximum over a range of n cells is that of two windows of 2^k cells, the largest power of 2 that
is at most n, one at each end of the range. So the maxima over all windows of 1, 2, 4, ... rows and
columns are computed once for the map, and each bin of each box reads four cells of that table, as
many as RoIAlign.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.config_rules import MAX_SIDE
from mrcnn.layers.boxes import parse_image_meta_graph
from mrcnn.layers.types import Shape, Tensor

# Pixels from normalized float32 coordinates are off by some 1e-4, and the cells 0.5 and 0.49999 are
# rounded to different numbers. So pixels are first rounded to this part of one.
_PARTS_OF_A_PIXEL = 256.0


def round_half_away(x: Tensor) -> Tensor:
    """Round to whole numbers, halves away from zero as C's `round` does: 0.5 to 1, -0.5 to -1.

    `ops.round` rounds halves to the even number.
    """
    return ops.sign(x) * ops.floor(ops.abs(x) + 0.5)


def pool_bins(low: Tensor, high: Tensor, count: int, size: Tensor) -> tuple[Tensor, Tensor]:
    """Divide boxes into bins along one axis.

    A box takes the cells from `round(low)` to `round(high)`, both included and at least one. Bin i
    of n begins at `floor(i * cells / n)` and ends at `ceil((i + 1) * cells / n)`, so that
    neighbors may share a cell.

    Args:
        low: `[..., N]` first cell of each box, a fraction as `pixel * scale`.
        high: `[..., N]` last cell of each box, likewise.
        count: number of bins.
        size: number of cells of the map.

    Returns:
        `(starts, ends)` `[..., N, count]` int32 in 0..size; bins with `ends <= starts` are empty.
    """
    start = ops.cast(round_half_away(low), "int32")
    cells = ops.maximum(ops.cast(round_half_away(high), "int32") - start + 1, 1)
    # In whole numbers: i * (cells / count) may lie just above or below the whole number it is.
    bins = ops.arange(count, dtype="int32")
    start, cells = ops.expand_dims(start, -1), ops.expand_dims(cells, -1)
    starts = start + bins * cells // count
    ends = start + ((bins + 1) * cells + count - 1) // count
    return ops.clip(starts, 0, size), ops.clip(ends, 0, size)


def _windows(size: Any, count: int) -> list[tuple[int, Any]]:
    """Return `(window, cells)` for windows of 1, 2, 4, ... cells up to the longest bin.

    Where the size of the map is not known when the graph is built, the list is as long as the
    largest image needs, and windows above the longest bin have 0 cells: they cost nothing.
    """
    longest = -(-(size + 1) // count) + 1
    is_known = isinstance(size, int)
    limit = min(longest, size) if is_known else MAX_SIDE // 4
    windows = [(2**k, size) for k in range(int(limit).bit_length())]
    if is_known:
        return windows
    longest = ops.minimum(longest, size)
    return [(window, ops.where(window <= longest, size, 0)) for window, _ in windows]


def _window_maxima(x: Tensor, axis: int, windows: Sequence[tuple[int, Any]]) -> Tensor:
    """Concatenate the maxima over windows of 1, 2, 4, ... cells along an axis of `[b, h, w, c]`.

    Position i of a part is the maximum of the cells i to i + window - 1; where these leave the map
    it has no meaning.
    """

    def part(begin: Any, end: Any) -> Tensor:
        return x[:, begin:end] if axis == 1 else x[:, :, begin:end]

    parts = [x]
    for window, cells in windows[1:]:
        half = window // 2
        x = ops.maximum(x, ops.concatenate([part(half, None), part(None, half)], axis=axis))
        x = part(None, cells)
        parts.append(x)
    return ops.concatenate(parts, axis=axis)


def roi_max_pool(
    feature_map: Tensor, boxes: Tensor, scales: tuple[Any, Any], pool_shape: Sequence[int]
) -> Tensor:
    """Apply RoIPool to one map.

    Args:
        feature_map: `[batch, h, w, channels]`.
        boxes: `[batch, N, (y1, x1, y2, x2)]` float32 pixels of the image; y2 and x2 are the last
            pixels inside. Parts outside of the image are cut off before a box is divided.
        scales: cells of the map for each pixel, vertically and horizontally: 1/16 for a stride of
            16 pixels.
        pool_shape: `(pool height, pool width)`.

    Returns:
        `[batch, N, pool height, pool width, channels]` in the map's type, 0 in empty bins.
    """
    batch_size, height, width = ops.shape(feature_map)[:3]
    channels = feature_map.shape[-1]
    dtype = keras.backend.standardize_dtype(feature_map.dtype)
    if keras.backend.backend() == "jax" and dtype in ("bfloat16", "float16"):
        # See `bilinear_crops`: sums of gradients need float32.
        feature_map = ops.cast(feature_map, "float32")
    tables: list[Any] = []
    for axis, size in ((0, height), (1, width)):
        # The last pixels of an image are rounded to the cell behind the last one.
        limit = ops.cast(size, "float32")
        low, high = (
            ops.clip(boxes[..., corner] * scales[axis], 0.0, limit) for corner in (axis, axis + 2)
        )
        starts, ends = pool_bins(low, high, pool_shape[axis], size)
        windows = _windows(size, pool_shape[axis])
        feature_map = _window_maxima(feature_map, 1 + axis, windows)
        length = ends - starts
        level = ops.zeros_like(length)
        for window, _ in windows[1:]:
            level = level + ops.cast(length >= window, "int32")
        window = 2**level
        # Row or column of the table at which the windows at both ends of the bin begin.
        offset = level * size
        first = offset + ops.clip(starts, 0, size - 1)
        last = offset + ops.maximum(ends - window, 0)
        tables.append((first, last, length > 0))
    rows, columns = ops.shape(feature_map)[1:3]
    table = ops.reshape(feature_map, (-1, channels))
    image = ops.reshape(ops.arange(batch_size, dtype="int32") * rows, (-1, 1, 1, 1))
    (top, bottom, has_rows), (left, right, has_columns) = tables

    def cells(y: Tensor, x: Tensor) -> Tensor:
        index = (image + ops.expand_dims(y, -1)) * columns + ops.expand_dims(x, -2)
        return ops.take(table, index, axis=0)

    pooled = ops.maximum(
        ops.maximum(cells(top, left), cells(top, right)),
        ops.maximum(cells(bottom, left), cells(bottom, right)),
    )
    is_filled = ops.logical_and(ops.expand_dims(has_rows, -1), ops.expand_dims(has_columns, -2))
    pooled = ops.where(ops.expand_dims(is_filled, -1), pooled, ops.zeros_like(pooled))
    return ops.cast(pooled, dtype)


@keras.saving.register_keras_serializable(package="mrcnn")
class ROIMaxPool(keras.layers.Layer):
    """RoIPool (Girshick 2015) on one map.

    Args:
        pool_shape: `[pool height, pool width]` of the result, `[7, 7]` in the paper.
        **kwargs: as for `keras.layers.Layer`.

    Call with the list `[boxes, image_meta, map]`: boxes `[batch, N, (y1, x1, y2, x2)]` normalized,
    `image_meta` `[batch, 12 + num_classes]`, map `[batch, h, w, channels]`. Returns
    `[batch, N, pool height, pool width, channels]`. Boxes are rounded to cells and receive no
    gradient.
    """

    def __init__(self, pool_shape: Sequence[int], **kwargs: Any) -> None:
        # As for `PyramidROIAlign`.
        super().__init__(autocast=False, **kwargs)
        self.pool_shape = tuple(pool_shape)

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        boxes, image_meta, feature_map = inputs
        # All images of a batch have the same padded shape.
        sides = ops.cast(parse_image_meta_graph(image_meta)["image_shape"][0, :2], "float32")
        height, width = ops.shape(feature_map)[1:3]
        last_pixels = ops.concatenate([sides, sides]) - 1.0
        boxes = ops.stop_gradient(ops.cast(boxes, "float32")) * last_pixels
        boxes = ops.round(boxes * _PARTS_OF_A_PIXEL) / _PARTS_OF_A_PIXEL
        scales = ops.cast(height, "float32") / sides[0], ops.cast(width, "float32") / sides[1]
        return roi_max_pool(feature_map, boxes, scales, self.pool_shape)

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        return (*input_shape[0][:2], *self.pool_shape, input_shape[2][-1])

    def compute_output_spec(self, inputs: Sequence[Tensor]) -> keras.KerasTensor:
        shape = self.compute_output_shape([x.shape for x in inputs])
        return keras.KerasTensor(shape, dtype=inputs[2].dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pool_shape": self.pool_shape}
