"""Detections inside of the graph: from the network's coordinates to the pixels of the image.

These are `mrcnn.detection.molding.detection_rows` and `mrcnn.geometry.masks.paste_masks` on
tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from mrcnn.layers.boxes import denorm_boxes_graph, norm_boxes_graph
from mrcnn.layers.types import Tensor

# Side in pixels of the squares in which masks are pasted.
_TILE = 64


def image_boxes(detections: Tensor, window: tuple[Any, ...], side: int, size: Any) -> Tensor:
    """Convert the boxes of detections to pixels of the image.

    Args:
        detections: `[batch, N, 6]`, boxes normalized to the network's input.
        window: `(y1, x1, y2, x2)`, see `Molded`.
        side: side of the network's input in pixels.
        size: `(height, width)` of the images.

    Returns:
        `[batch, N, (y1, x1, y2, x2)]` int32, lower right corner outside the box.
    """
    corners = ops.cast(ops.stack(window), "float32")
    y1, x1, y2, x2 = ops.unstack(norm_boxes_graph(corners, ops.convert_to_tensor([side, side])))
    shift = ops.stack([y1, x1, y1, x1])
    extent = ops.stack([y2 - y1, x2 - x1, y2 - y1, x2 - x1])
    # In normalized coordinates a window of one pixel has no extent: the side is there as a whole.
    is_flat = extent <= 0.0
    boxes = (detections[..., :4] - shift) / ops.where(is_flat, 1.0, extent)
    boxes = ops.where(is_flat, ops.convert_to_tensor([0.0, 0.0, 1.0, 1.0]), boxes)
    return denorm_boxes_graph(boxes, ops.stack([ops.cast(n, "float32") for n in size]))


def paste(masks: Tensor, boxes: Tensor, size: Any) -> Tensor:
    """Put masks into frames of the size of the images.

    Only square tiles of a frame that meet the box of its object are computed; all others are one
    tile of zeros.

    Args:
        masks: `[batch, N, h, w]` probabilities.
        boxes: `[batch, N, (y1, x1, y2, x2)]` int32 in pixels.
        size: `(height, width)` of the images.

    Returns:
        `[batch, N, height, width]` uint8, 1 inside of the object.
    """
    import tensorflow as tf

    batch_size, count = ops.shape(masks)[:2]
    height, width = size
    masks = ops.reshape(masks, (-1, *masks.shape[2:]))
    boxes = ops.reshape(boxes, (-1, 4))
    down, right = ((side + _TILE - 1) // _TILE for side in size)
    meets = ops.logical_and(
        ops.expand_dims(_meets(boxes[:, 0], boxes[:, 2], down), 2),
        ops.expand_dims(_meets(boxes[:, 1], boxes[:, 3], right), 1),
    )
    # Object, row and column of each tile that is computed. The first is outside of any image.
    places = ops.cast(tf.where(meets), "int32")
    places = ops.concatenate([np.array([[0, -1, -1]], np.int32), places])
    lines = ops.reshape(_tiles(masks, boxes, places), (-1, _TILE))
    # The line of pixels that each object has at each row of the image and column of tiles.
    is_computed = ops.cast(meets, "int32")
    number = ops.reshape(ops.cumsum(ops.reshape(is_computed, (-1,))), ops.shape(meets))
    first = ops.expand_dims(is_computed * number * _TILE, 2)
    line = first + np.arange(_TILE, dtype=np.int32)[:, None]
    line = ops.reshape(line, (-1, down * _TILE, right))[:, :height]
    pasted = ops.take(lines, line, axis=0)
    return ops.reshape(pasted, (batch_size, count, height, right * _TILE))[..., :width]


def _meets(low: Tensor, high: Tensor, count: Any) -> Tensor:
    """Return which tiles along one axis have a pixel of each box.

    Args:
        low: `[N]` int32, where each box begins.
        high: `[N]` int32, where each box ends.
        count: number of tiles along the axis.

    Returns:
        `[N, count]` bool.
    """
    begin = ops.arange(count, dtype="int32") * _TILE
    low, high = ops.expand_dims(low, 1), ops.expand_dims(high, 1)
    return ops.logical_and(ops.maximum(begin, low) < ops.minimum(begin + _TILE, high), low < high)


def _tiles(masks: Tensor, boxes: Tensor, places: Tensor) -> Tensor:
    """Compute tiles of the frames.

    Args:
        masks: `[N, h, w]` probabilities.
        boxes: `[N, (y1, x1, y2, x2)]` int32 in pixels.
        places: `[tiles, (object, row, column)]` int32, row and column in tiles.

    Returns:
        `[tiles, _TILE, _TILE]` uint8.
    """
    # Pixels at the edge of the box fade to the zeros outside, but not below the lowest value.
    lowest = ops.min(masks, axis=(1, 2), keepdims=True)
    masks, lowest = (ops.take(values, places[:, 0], axis=0) for values in (masks, lowest))
    boxes = ops.take(boxes, places[:, 0], axis=0)
    y1, x1, y2, x2 = (boxes[:, i] for i in range(4))
    rows, in_rows = _weights(y1, y2, places[:, 1], masks.shape[1])
    columns, in_columns = _weights(x1, x2, places[:, 2], masks.shape[2])
    # A product of matrices for each axis: [_TILE, h] x [h, w] x [w, _TILE].
    tiles = ops.matmul(ops.matmul(rows, masks), ops.transpose(columns, (0, 2, 1)))
    in_mask = ops.logical_or(tiles >= 0.5, lowest >= 0.5)
    in_box = ops.logical_and(ops.expand_dims(in_rows, 2), ops.expand_dims(in_columns, 1))
    return ops.cast(ops.logical_and(in_mask, in_box), "uint8")


def _weights(low: Tensor, high: Tensor, place: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the matrices that enlarge one axis of masks, and the pixels inside of the boxes.

    Args:
        low: `[tiles]` int32, where the box of each begins.
        high: `[tiles]` int32, where the box of each ends.
        place: `[tiles]` int32, row or column in tiles.
        count: values of a mask along the axis.

    Returns:
        `[tiles, _TILE, count]` float32 and `[tiles, _TILE]` bool.
    """
    pixel = ops.expand_dims(place * _TILE, 1) + np.arange(_TILE, dtype=np.int32)
    pixel, low, high = (
        ops.cast(x, "float32") for x in (pixel, ops.expand_dims(low, 1), ops.expand_dims(high, 1))
    )
    extent = ops.maximum(high - low, 1.0)
    position = (pixel - low + 0.5) * count / extent - 0.5
    values = ops.arange(count, dtype="float32")
    weights = ops.maximum(1.0 - ops.abs(ops.expand_dims(position, -1) - values), 0.0)
    return weights, ops.logical_and(pixel >= low, pixel < high)
