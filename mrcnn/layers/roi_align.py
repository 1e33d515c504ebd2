"""PyramidROIAlign: a fixed-size grid of features for each box, from the right pyramid level.

The four levels are laid end to end in one table of feature rows, and every sample of every box
becomes four row numbers and four weights: one gather and one blend for the whole batch, where
Matterport's package cropped level by level and sorted the pieces back into order. The samples are
those of TensorFlow's `crop_and_resize`: the first and the last lie on the box's edges, and a sample
outside the map is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mrcnn.layers.boxes import parse_image_meta_graph
from mrcnn.layers.types import Shape, Tensor

# Samples of a box that ends on the map's border lie on the last row up to rounding. This part of a
# cell beyond the border still counts as inside, so that rounding cannot make such samples zero.
_EDGE = 1e-4


def log2_graph(x: Tensor) -> Tensor:
    """Compute the logarithm to the base 2."""
    return ops.log(x) / np.log(2.0).astype(np.float32)


def roi_levels(boxes: Tensor, image_area: Tensor, canonical_box_size: float = 224) -> Tensor:
    """Choose the pyramid level of each box by equation 1 of the FPN paper (Lin et al. 2017).

    Args:
        boxes: `[batch, N, (y1, x1, y2, x2)]` normalized.
        image_area: height times width of the network's input in pixels, scalar or `[batch, 1]`.
        canonical_box_size: side in pixels of the boxes in the middle of P4; 224 in the paper.

    Returns:
        `[batch, N]` int32 in 2..5, rounded half to even; boxes without area belong to level 2.
    """
    height = boxes[..., 2] - boxes[..., 0]
    width = boxes[..., 3] - boxes[..., 1]
    area = height * width
    side = ops.sqrt(ops.maximum(area, 0.0)) / (float(canonical_box_size) / ops.sqrt(image_area))
    level = 4.0 + ops.round(log2_graph(ops.maximum(side, 1e-12)))
    level = ops.where(area > 0.0, ops.clip(level, 2.0, 5.0), 2.0)
    return ops.cast(level, "int32")


def _sample_positions(
    low: Tensor, high: Tensor, size: Tensor, count: int, slack: float
) -> tuple[Tensor, Tensor]:
    """Compute where the samples of one axis lie, in feature rows, and which are inside the map."""
    last = ops.cast(size, "float32") - 1.0
    if count == 1:
        positions = ops.expand_dims(0.5 * (low + high) * last, -1)
    else:
        # In this order: a sample on the map's last row must not fall outside by rounding.
        step = ops.expand_dims((high - low) * last / (count - 1), -1)
        positions = ops.expand_dims(low * last, -1) + ops.arange(count, dtype="float32") * step
    last = ops.expand_dims(last, -1)
    inside = ops.logical_and(positions >= -slack, positions <= last + slack)
    return ops.clip(positions, 0.0, ops.maximum(last, 0.0)), inside


def bilinear_crops(
    table: Tensor,
    first_row: Tensor,
    heights: Tensor,
    widths: Tensor,
    boxes: Tensor,
    crop_shape: Sequence[int],
    slack: float = 0.0,
    step: Any = 1,
) -> Tensor:
    """Cut boxes out of maps that lie row by row in one table, as `crop_and_resize` would.

    Args:
        table: `[rows, channels]`; a map of `h x w` takes `h * w` rows in reading order.
        first_row: `[...]` int32, the table row where the map of each box begins.
        heights: `[...]` int32, rows of that map.
        widths: `[...]` int32, columns of that map.
        boxes: `[..., (y1, x1, y2, x2)]`, 0..1 from the map's first to its last row or column.
        crop_shape: `(height, width)` of a crop.
        slack: how far past the map's border, in rows, a sample still counts as inside.
        step: table rows from one element of a map to the next; above 1 for interleaved maps.

    Returns:
        `[..., crop height, crop width, channels]`, in the table's type (float32 for a bool table).
    """
    y, y_inside = _sample_positions(boxes[..., 0], boxes[..., 2], heights, crop_shape[0], slack)
    x, x_inside = _sample_positions(boxes[..., 1], boxes[..., 3], widths, crop_shape[1], slack)
    top, left = ops.floor(y), ops.floor(x)
    y_weight = ops.expand_dims(y - top, -1)
    x_weight = ops.expand_dims(x - left, -2)
    inside = ops.logical_and(ops.expand_dims(y_inside, -1), ops.expand_dims(x_inside, -2))
    inside = ops.cast(inside, "float32")

    top, left = ops.cast(top, "int32"), ops.cast(left, "int32")
    bottom = ops.minimum(top + 1, ops.expand_dims(heights, -1) - 1)
    right = ops.minimum(left + 1, ops.expand_dims(widths, -1) - 1)
    stride = ops.expand_dims(widths, -1) * step
    first_row = ops.expand_dims(first_row, -1)
    upper = ops.expand_dims(first_row + top * stride, -1)
    lower = ops.expand_dims(first_row + bottom * stride, -1)
    left, right = ops.expand_dims(left, -2) * step, ops.expand_dims(right, -2) * step

    dtype = keras.backend.standardize_dtype(table.dtype)
    dtype = "float32" if dtype in ("bool", "uint8") else dtype

    if keras.backend.backend() == "jax" and dtype in ("bfloat16", "float16"):
        # The gradient adds up rows of the table in the table's type: in 16 bits sums of many boxes
        # lose their small terms, and GPUs have no fast atomic addition for it. TensorFlow's CPU
        # code is 1.5 times as slow with the copy.
        table = ops.cast(table, "float32")

    def corner(rows: Tensor, columns: Tensor) -> Tensor:
        return ops.cast(ops.take(table, rows + columns, axis=0), dtype)

    def blend(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
        # This order of operations is `crop_and_resize`'s, to the last bit.
        return first + (second - first) * ops.cast(ops.expand_dims(weight, -1), dtype)

    above = blend(corner(upper, left), corner(upper, right), x_weight)
    below = blend(corner(lower, left), corner(lower, right), x_weight)
    return blend(above, below, y_weight) * ops.cast(ops.expand_dims(inside, -1), dtype)


def pyramid_table(feature_maps: Sequence[Tensor]) -> Tensor:
    """Concatenate maps `[batch, h, w, channels]` as rows: `[batch, rows, channels]`."""
    batch_size, channels = ops.shape(feature_maps[0])[0], feature_maps[0].shape[-1]
    rows = [ops.reshape(m, (batch_size, -1, channels)) for m in feature_maps]
    return ops.concatenate(rows, axis=1)


def roi_align(
    boxes: Tensor,
    image_meta: Tensor,
    table: Tensor,
    heights: Sequence[Tensor] | Tensor,
    widths: Sequence[Tensor] | Tensor,
    pool_shape: Sequence[int],
    canonical_box_size: float = 224,
) -> Tensor:
    """Apply ROIAlign to the table of a pyramid.

    Args:
        boxes: `[batch, N, (y1, x1, y2, x2)]` float32, normalized.
        image_meta: `[batch, 12 + num_classes]`, of which the size of the network's input is used.
        table: `[batch, rows, channels]`, see `pyramid_table`.
        heights: of P2..P5 in rows, four numbers or an int32 tensor `[4]`; one for a table of one
            map, from which all boxes are cut.
        widths: of P2..P5 in columns, likewise.
        pool_shape: `(pool height, pool width)`.
        canonical_box_size: see `roi_levels`.

    Returns:
        `[batch, N, pool height, pool width, channels]`.
    """
    num_levels = heights.shape[0] if hasattr(heights, "shape") else len(heights)
    if num_levels == 1:
        level = ops.zeros(ops.shape(boxes)[:2], "int32")
    else:
        image_shape = parse_image_meta_graph(image_meta)["image_shape"]
        image_area = ops.cast(image_shape[:, 0:1] * image_shape[:, 1:2], "float32")
        level = roi_levels(boxes, image_area, canonical_box_size) - 2

    offsets = [0]
    for i in range(num_levels - 1):
        offsets.append(offsets[-1] + heights[i] * widths[i])
    rows_per_image = offsets[-1] + heights[num_levels - 1] * widths[num_levels - 1]

    def per_level(values: Any) -> Tensor:
        return ops.take(ops.convert_to_tensor(values, dtype="int32"), level, axis=0)

    image = ops.expand_dims(ops.arange(ops.shape(boxes)[0], dtype="int32"), -1)
    first_row = image * rows_per_image + per_level(offsets)
    return bilinear_crops(
        ops.reshape(table, (-1, table.shape[-1])),
        first_row,
        per_level(heights),
        per_level(widths),
        boxes,
        pool_shape,
        slack=_EDGE,
    )


@keras.saving.register_keras_serializable(package="mrcnn")
class PyramidROIAlign(keras.layers.Layer):
    """ROIAlign (He et al. 2017) over a feature pyramid.

    Args:
        pool_shape: `[pool height, pool width]` of the result, usually `[7, 7]` or `[14, 14]`.
        canonical_box_size: side in pixels of the boxes that P4 serves, see `roi_levels`.
        **kwargs: as for `keras.layers.Layer`.

    Call with the list `[boxes, image_meta, P2, P3, P4, P5]`: boxes `[batch, N, (y1, x1, y2, x2)]`
    normalized, `image_meta` `[batch, 12 + num_classes]`, maps `[batch, h, w, channels]`; a single
    map serves all boxes. Returns `[batch, N, pool height, pool width, channels]`. Boxes receive no
    gradient.
    """

    def __init__(
        self, pool_shape: Sequence[int], canonical_box_size: float = 224, **kwargs: Any
    ) -> None:
        # Feature maps stay in the type that the backbone computes in, boxes stay float32.
        super().__init__(autocast=False, **kwargs)
        self.pool_shape = tuple(pool_shape)
        self.canonical_box_size = canonical_box_size

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        boxes = ops.stop_gradient(ops.cast(inputs[0], "float32"))
        maps = inputs[2:]
        sizes = [ops.shape(feature_map)[1:3] for feature_map in maps]
        return roi_align(
            boxes,
            inputs[1],
            pyramid_table(maps),
            [size[0] for size in sizes],
            [size[1] for size in sizes],
            self.pool_shape,
            self.canonical_box_size,
        )

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        return (*input_shape[0][:2], *self.pool_shape, input_shape[2][-1])

    def compute_output_spec(self, inputs: Sequence[Tensor]) -> keras.KerasTensor:
        shape = self.compute_output_shape([x.shape for x in inputs])
        return keras.KerasTensor(shape, dtype=inputs[2].dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_shape": self.pool_shape,
            "canonical_box_size": self.canonical_box_size,
        }


@keras.saving.register_keras_serializable(package="mrcnn")
class PyramidTable(keras.layers.Layer):
    """P2..P5, or one of them, as a table of feature rows, see `pyramid_table`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def call(self, feature_maps: Sequence[Tensor]) -> Tensor:
        return pyramid_table(feature_maps)

    def compute_output_spec(self, feature_maps: Sequence[Tensor]) -> keras.KerasTensor:
        shape = (feature_maps[0].shape[0], None, feature_maps[0].shape[-1])
        return keras.KerasTensor(shape, dtype=feature_maps[0].dtype)


@keras.saving.register_keras_serializable(package="mrcnn")
class TableROIAlign(PyramidROIAlign):
    """`PyramidROIAlign` for engines that keep the pyramid as a table from one call to the next.

    Call with the list `[boxes, image_meta, table, sizes]`: sizes `[1, levels, (height, width)]`
    int32 are those of P2..P5, the others as for `roi_align`.
    """

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        boxes, image_meta, table, sizes = inputs
        heights, widths = sizes[0, :, 0], sizes[0, :, 1]
        return roi_align(
            boxes, image_meta, table, heights, widths, self.pool_shape, self.canonical_box_size
        )
