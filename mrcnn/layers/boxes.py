"""Box arithmetic on tensors: deltas, clipping, overlaps, normalized coordinates.

`mrcnn.geometry.boxes` has the same in NumPy. Every function takes any number of leading axes,
works in float32 and runs on each Keras backend. Boxes are `(y1, x1, y2, x2)`; deltas are
`(dy, dx, log(dh), log(dw))` as in R-CNN (Girshick et al. 2014, appendix C).
"""

from __future__ import annotations

import numpy as np
from keras import ops

from mrcnn.geometry.image_meta import FIELDS
from mrcnn.layers.types import Tensor

# The sides of a box without height or width count as this, far below the size of any real box in
# normalized coordinates, so that their logarithms stay finite.
_SMALLEST_SIDE = 1e-7


def _split(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the four columns of `[..., 4]`, each `[...]`."""
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]


def apply_box_deltas_graph(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Move and scale boxes.

    Args:
        boxes: `[..., (y1, x1, y2, x2)]`, pixels or normalized.
        deltas: `[..., (dy, dx, log(dh), log(dw))]`, already multiplied by the standard deviations.

    Returns:
        `[..., (y1, x1, y2, x2)]` in the units of `boxes`.
    """
    y1, x1, y2, x2 = _split(boxes)
    dy, dx, log_dh, log_dw = _split(deltas)
    height = y2 - y1
    width = x2 - x1
    center_y = y1 + 0.5 * height + dy * height
    center_x = x1 + 0.5 * width + dx * width
    height = height * ops.exp(log_dh)
    width = width * ops.exp(log_dw)
    y1 = center_y - 0.5 * height
    x1 = center_x - 0.5 * width
    return ops.stack([y1, x1, y1 + height, x1 + width], axis=-1)


def clip_boxes_graph(boxes: Tensor, window: Tensor) -> Tensor:
    """Clip boxes to a window.

    Args:
        boxes: `[..., N, (y1, x1, y2, x2)]`.
        window: `[(y1, x1, y2, x2)]`, or one window for each batch entry: `[..., 4]`.

    Returns:
        The clipped boxes, same shape as `boxes`.
    """
    window = ops.convert_to_tensor(window, dtype="float32")
    if len(window.shape) > 1:
        window = ops.expand_dims(window, -2)
    lower = ops.concatenate([window[..., :2], window[..., :2]], axis=-1)
    upper = ops.concatenate([window[..., 2:], window[..., 2:]], axis=-1)
    return ops.maximum(ops.minimum(boxes, upper), lower)


def overlaps_graph(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Compute the intersection over union of every pair.

    Args:
        boxes1: `[..., N, (y1, x1, y2, x2)]`.
        boxes2: `[..., M, (y1, x1, y2, x2)]`.

    Returns:
        `[..., N, M]` float32 in 0..1. A pair without area gives 0 (Matterport's graph gave nan).
    """
    y1, x1, y2, x2 = (ops.expand_dims(side, -1) for side in _split(boxes1))
    other_y1, other_x1, other_y2, other_x2 = (ops.expand_dims(side, -2) for side in _split(boxes2))
    height = ops.minimum(y2, other_y2) - ops.maximum(y1, other_y1)
    width = ops.minimum(x2, other_x2) - ops.maximum(x1, other_x1)
    intersection = ops.maximum(height, 0.0) * ops.maximum(width, 0.0)
    union = (y2 - y1) * (x2 - x1) + (other_y2 - other_y1) * (other_x2 - other_x1) - intersection
    return ops.where(union > 0.0, intersection / ops.where(union > 0.0, union, 1.0), 0.0)


def box_refinement_graph(box: Tensor, gt_box: Tensor) -> Tensor:
    """Compute the deltas that turn `box` into `gt_box`: undo `apply_box_deltas_graph`.

    Args:
        box: `[..., (y1, x1, y2, x2)]`.
        gt_box: the same shape, in the same units.

    Returns:
        `[..., (dy, dx, log(dh), log(dw))]`, not yet divided by the standard deviations.
    """
    y1, x1, y2, x2 = _split(ops.cast(box, "float32"))
    gt_y1, gt_x1, gt_y2, gt_x2 = _split(ops.cast(gt_box, "float32"))
    height = ops.maximum(y2 - y1, _SMALLEST_SIDE)
    width = ops.maximum(x2 - x1, _SMALLEST_SIDE)
    gt_height = ops.maximum(gt_y2 - gt_y1, _SMALLEST_SIDE)
    gt_width = ops.maximum(gt_x2 - gt_x1, _SMALLEST_SIDE)
    dy = (gt_y1 + 0.5 * gt_height - (y1 + 0.5 * height)) / height
    dx = (gt_x1 + 0.5 * gt_width - (x1 + 0.5 * width)) / width
    return ops.stack([dy, dx, ops.log(gt_height / height), ops.log(gt_width / width)], axis=-1)


def _scale_and_shift(shape: Tensor) -> tuple[Tensor, Tensor]:
    """Return `(h - 1, w - 1, h - 1, w - 1)` and `(0, 0, 1, 1)` as float32 tensors."""
    shape = ops.cast(shape, "float32")
    height, width = shape[..., 0], shape[..., 1]
    scale = ops.stack([height, width, height, width], axis=-1) - 1.0
    return scale, ops.convert_to_tensor(np.array([0, 0, 1, 1], np.float32))


def norm_boxes_graph(boxes: Tensor, shape: Tensor) -> Tensor:
    """Convert pixel boxes (lower right corner outside) to normalized ones (corner inside).

    Args:
        boxes: `[..., (y1, x1, y2, x2)]` in pixels.
        shape: `[(height, width)]` in pixels.

    Returns:
        `[..., (y1, x1, y2, x2)]` float32, 0..1 inside the image.
    """
    scale, shift = _scale_and_shift(shape)
    return (ops.cast(boxes, "float32") - shift) / scale


def denorm_boxes_graph(boxes: Tensor, shape: Tensor) -> Tensor:
    """Convert normalized boxes to pixel boxes, rounded half to even: undo `norm_boxes_graph`.

    Args:
        boxes: `[..., (y1, x1, y2, x2)]` normalized.
        shape: `[(height, width)]` in pixels.

    Returns:
        `[..., (y1, x1, y2, x2)]` int32 in pixels, lower right corner outside the box.
    """
    scale, shift = _scale_and_shift(shape)
    return ops.cast(ops.round(boxes * scale + shift), "int32")


def has_no_area(boxes: Tensor) -> Tensor:
    """Return `[..., N]` bool: which rows of `[..., N, 4]` have no height or no width."""
    return ops.logical_or(boxes[..., 2] <= boxes[..., 0], boxes[..., 3] <= boxes[..., 1])


def is_real_box(boxes: Tensor) -> Tensor:
    """Return `[..., N]` bool: which rows of `[..., N, 4]` are not zero padding."""
    return ops.any(ops.not_equal(boxes, 0), axis=-1)


def trim_zeros_graph(boxes: Tensor, name: str = "trim_zeros") -> tuple[Tensor, Tensor]:
    """Drop the zero rows that pad a list of boxes.

    The shape of the result depends on the data, so this is for use outside compiled graphs;
    inside, use `is_real_box`.

    Args:
        boxes: `[N, 4]`.
        name: unused; part of Matterport's signature.

    Returns:
        `(boxes [M, 4], non_zeros [N] bool)`.
    """
    del name
    non_zeros = is_real_box(boxes)
    return ops.take(boxes, ops.where(non_zeros)[0], axis=0), non_zeros


def batch_pack_graph(x: Tensor, counts: Tensor, num_rows: int) -> Tensor:
    """Take the first `counts[i]` rows of each batch entry, one after the other.

    Args:
        x: `[batch, rows, ...]`.
        counts: `[batch]` int.
        num_rows: length of `counts`.

    Returns:
        `[sum(counts), ...]`; eager use only, since its shape depends on the data.
    """
    counts = np.asarray(ops.convert_to_numpy(counts))
    return ops.concatenate([x[i, : int(counts[i])] for i in range(num_rows)], axis=0)


def parse_image_meta_graph(meta: Tensor) -> dict[str, Tensor]:
    """Split the vectors of `mrcnn.geometry.image_meta.compose_image_meta` into attributes.

    Args:
        meta: `[batch, 12 + num_classes]` float32.

    Returns:
        Tensors by name: `image_id` `[batch]`, `original_image_shape` `[batch, (h, w, c)]`,
        `image_shape` `[batch, (h, w, c)]` of the network's input, `window`
        `[batch, (y1, x1, y2, x2)]` of the image within it in pixels, `scale` `[batch]`,
        `active_class_ids` `[batch, num_classes]`.
    """
    return {name: meta[:, index] for name, index in FIELDS.items()}
