"""Greedy non-maximum suppression in operations that every runtime has.

TensorFlow's own operations run on one image at a time, and the one that takes a matrix of overlaps
exists in TensorFlow only. Here all images of a batch are processed together by top-k, comparisons,
matrix products and a loop, which ONNX, OpenVINO and LiteRT have as well. The results equal those of
`mrcnn.layers.nms`.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

import numpy as np
from keras import ops

from mrcnn.layers.boxes import has_no_area, overlaps_graph
from mrcnn.layers.indexing import take_along_axis
from mrcnn.layers.types import Tensor

# Boxes taken at a time, in order of score: the overlaps of all pairs of 6000 would take 144 MB.
_TILE = 512

_is_on: contextvars.ContextVar[bool] = contextvars.ContextVar("portable_nms", default=False)


@contextlib.contextmanager
def portable_nms() -> Iterator[None]:
    """Use the portable suppression in everything traced inside the block."""
    token = _is_on.set(True)
    try:
        yield
    finally:
        _is_on.reset(token)


def is_portable() -> bool:
    """Return whether `portable_nms` is active."""
    return _is_on.get()


def suppress_portably(
    boxes: Tensor, scores: Tensor, max_outputs: int, iou_threshold: float, class_ids: Tensor | None
) -> Tensor:
    """Choose the best boxes of every image; see `mrcnn.layers.nms.non_max_suppression_graph`.

    The number of boxes must be known when the graph is built.
    """
    count = scores.shape[1]
    scores, order = ops.top_k(scores, count)
    order = ops.cast(order, "int32")
    boxes = take_along_axis(boxes, ops.expand_dims(order, -1), axis=1)
    classes = None if class_ids is None else take_along_axis(class_ids, order, axis=1)
    present = ops.cast(scores >= 0.0, "float32")
    # The places of the chosen boxes in the order of scores, as keys that fall; 0 for none.
    keys: Tensor | None = None
    for begin in range(0, count, _TILE):
        tile = slice(begin, min(begin + _TILE, count))
        mine = None if classes is None else classes[:, tile]
        free = present[:, tile]
        if keys is not None:
            places = _places(keys, count)
            rows = ops.maximum(places, 0)
            kept = take_along_axis(boxes, ops.expand_dims(rows, -1), axis=1)
            theirs = None if classes is None else take_along_axis(classes, rows, axis=1)
            rivals = _rivals(kept, boxes[:, tile], theirs, mine, iou_threshold)
            free = free * _unbeaten(ops.cast(places >= 0, "float32"), rivals)
        stays = _survivors(boxes[:, tile], mine, free, iou_threshold)
        # Whole numbers: of float16, in which an export may store constants, 2049 is none.
        numbers = np.arange(count - tile.start, count - tile.stop, -1, dtype=np.int32)
        mine_keys = ops.cast(stays, "int32") * numbers
        keys = mine_keys if keys is None else ops.concatenate([keys, mine_keys], axis=1)
        keys = ops.top_k(keys, min(max_outputs, keys.shape[1]))[0]
    places = _places(keys, count)
    chosen = take_along_axis(order, ops.maximum(places, 0), axis=1)
    chosen = ops.where(places >= 0, chosen, -1)
    missing = max_outputs - chosen.shape[1]
    return ops.pad(chosen, [[0, 0], [0, missing]], constant_values=-1) if missing else chosen


def _places(keys: Tensor, count: int) -> Tensor:
    """Return the places that keys `count, count - 1, ...` stand for; -1 for the key 0."""
    return ops.where(keys > 0, count - keys, -1)


def _rivals(
    boxes: Tensor,
    others: Tensor,
    classes: Tensor | None,
    other_classes: Tensor | None,
    iou_threshold: float,
) -> Tensor:
    """Return `[batch, M, N]` float32, 1 where a box, if it is chosen, suppresses another."""
    rivals = overlaps_graph(boxes, others) > iou_threshold
    if classes is not None and other_classes is not None:
        same_class = ops.equal(ops.expand_dims(classes, 2), ops.expand_dims(other_classes, 1))
        rivals = ops.logical_or(rivals, ops.expand_dims(has_no_area(boxes), 2))
        rivals = ops.logical_and(rivals, same_class)
    return ops.cast(rivals, "float32")


def _unbeaten(kept: Tensor, rivals: Tensor) -> Tensor:
    """Return `[batch, N]` float32, 1 where none of the kept `[batch, M]` is a rival."""
    beaten = ops.squeeze(ops.matmul(ops.expand_dims(kept, 1), rivals), axis=1)
    return ops.cast(beaten < 0.5, "float32")


def _survivors(boxes: Tensor, classes: Tensor | None, free: Tensor, iou_threshold: float) -> Tensor:
    """Return which boxes of a tile, in order of score, survive one another.

    Which boxes are dropped depends on which survive. The first is settled at once, and every round
    settles at least the next, until a round changes nothing.

    Args:
        boxes: `[batch, T, 4]`.
        classes: `[batch, T]` int32, or None.
        free: `[batch, T]` float32, 0 where a box is dropped in any case.
        iou_threshold: see `mrcnn.layers.nms.non_max_suppression_graph`.

    Returns:
        `[batch, T]` float32.
    """
    size = boxes.shape[1]
    earlier = np.triu(np.ones((size, size), np.float32), 1)
    rivals = _rivals(boxes, boxes, classes, classes, iou_threshold) * earlier

    def is_unsettled(changes: Tensor, stays: Tensor) -> Tensor:
        return changes > 0.5

    # The conversion to ONNX confuses states that a round passes on unchanged: there is none.
    def settle(changes: Tensor, stays: Tensor) -> tuple[Tensor, Tensor]:
        after = free * _unbeaten(stays, rivals)
        return ops.sum(ops.abs(after - stays)), after

    start = (ops.convert_to_tensor(1.0, "float32"), free)
    return ops.while_loop(is_unsettled, settle, start)[1]
