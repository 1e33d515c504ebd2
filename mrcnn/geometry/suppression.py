"""The best rows of an image, and the best boxes that differ: what the layers choose, in NumPy.

`mrcnn.layers.nms` has the same on tensors, and says what becomes of ties and of boxes without area.
"""

from __future__ import annotations

import numpy as np

# Boxes taken at a time, in order of score: most lists are full long before their end.
_TILE = 256


def best_rows(scores: np.ndarray, count: int) -> np.ndarray:
    """Return the rows `[min(count, N)]` of the largest of `scores [N]`, best first.

    Equal scores are in the order of their rows.
    """
    count = min(count, len(scores))
    if not 0 < count < len(scores):
        return np.argsort(-scores, kind="stable")[:count]
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    above = np.flatnonzero(scores > least)
    equal = np.flatnonzero(scores == least)[: count - len(above)]
    rows = np.sort(np.concatenate([above, equal]))
    return rows[np.argsort(-scores[rows], kind="stable")]


def choose_boxes(
    boxes: np.ndarray,
    scores: np.ndarray,
    max_outputs: int,
    iou_threshold: float,
    class_ids: np.ndarray | None = None,
) -> np.ndarray:
    """Choose the best boxes of an image, none overlapping a better one too much.

    Args:
        boxes: `[N, (y1, x1, y2, x2)]` float32.
        scores: `[N]` float32; a negative score marks a row that does not take part.
        max_outputs: most boxes to choose.
        iou_threshold: overlap in 0..1 above which the worse box is dropped.
        class_ids: `[N]` int; boxes of different classes do not suppress each other. With None all
            boxes compete.

    Returns:
        `[kept]` rows in order of falling score; ties go to the lower row.
    """

    def suppressed(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return `[len(rows), len(others)]` bool: which of the others each of the rows drops."""
        drops = _overlaps(boxes[rows], boxes[others]) > np.float32(iou_threshold)
        if class_ids is None:
            return drops
        # A box without area ends the list of its class.
        drops |= _has_no_area(boxes[rows])[:, None]
        return drops & (class_ids[rows][:, None] == class_ids[others])

    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= 0]
    chosen = order[:0]
    for start in range(0, len(order), _TILE):
        if len(chosen) >= max_outputs:
            break
        tile = order[start : start + _TILE]
        tile = tile[~suppressed(chosen, tile).any(axis=0)]
        drops = np.triu(suppressed(tile, tile), 1)
        stays = np.ones(len(tile), bool)
        for row in np.flatnonzero(drops.any(axis=1)):
            if stays[row]:
                stays &= ~drops[row]
        chosen = np.concatenate([chosen, tile[stays]])
    return chosen[:max_outputs]


def _overlaps(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """Return the intersection over union `[N, M]` of every pair, 0 for one without area.

    In the order of operations of `mrcnn.layers.boxes.overlaps_graph`, in the type of the boxes.
    """
    y1, x1, y2, x2 = boxes1.T[:, :, None]
    other_y1, other_x1, other_y2, other_x2 = boxes2.T
    height = np.minimum(y2, other_y2) - np.maximum(y1, other_y1)
    width = np.minimum(x2, other_x2) - np.maximum(x1, other_x1)
    intersection = np.maximum(height, 0) * np.maximum(width, 0)
    union = (y2 - y1) * (x2 - x1) + (other_y2 - other_y1) * (other_x2 - other_x1) - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def _has_no_area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
