"""Detections inside of the graph: from the network's coordinates to the pixels of the image.

These are `mrcnn.detection.molding.detection_rows` and `mrcnn.geometry.masks.paste_masks` on
tensors.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from mrcnn.layers.boxes import denorm_boxes_graph, norm_boxes_graph
from mrcnn.layers.types import Tensor


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

    Args:
        masks: `[batch, N, h, w]` probabilities.
        boxes: `[batch, N, (y1, x1, y2, x2)]` int32 in pixels.
        size: `(height, width)` of the images.

    Returns:
        `[batch, N, height, width]` uint8, 1 inside of the object.
    """
    y1, x1, y2, x2 = (ops.cast(boxes[..., i], "float32") for i in range(4))
    rows, in_rows = _weights(y1, y2, size[0], masks.shape[2])
    columns, in_columns = _weights(x1, x2, size[1], masks.shape[3])
    # A product of matrices for each axis: [H, h] x [h, w] x [w, W].
    pasted = ops.matmul(ops.matmul(rows, masks), ops.transpose(columns, (0, 1, 3, 2)))
    # Pixels at the edge of the box fade to the zeros outside, but not below the lowest value.
    lowest = ops.min(masks, axis=(2, 3), keepdims=True)
    in_mask = ops.logical_or(pasted >= 0.5, lowest >= 0.5)
    in_box = ops.logical_and(ops.expand_dims(in_rows, 3), ops.expand_dims(in_columns, 2))
    return ops.cast(ops.logical_and(in_mask, in_box), "uint8")


def _weights(low: Tensor, high: Tensor, size: Any, count: int) -> tuple[Tensor, Tensor]:
    """Return the matrix that enlarges one axis of masks, and the pixels inside of the boxes.

    Args:
        low: `[batch, N]` float32, where each box begins.
        high: `[batch, N]` float32, where each box ends.
        size: pixels of the image along the axis.
        count: values of a mask along the axis.

    Returns:
        `[batch, N, size, count]` float32 and `[batch, N, size]` bool.
    """
    pixel = ops.cast(ops.arange(size, dtype="int32"), "float32")
    low, high = ops.expand_dims(low, -1), ops.expand_dims(high, -1)
    extent = ops.maximum(high - low, 1.0)
    position = (pixel - low + 0.5) * count / extent - 0.5
    values = ops.arange(count, dtype="float32")
    weights = ops.maximum(1.0 - ops.abs(ops.expand_dims(position, -1) - values), 0.0)
    return weights, ops.logical_and(pixel >= low, pixel < high)
