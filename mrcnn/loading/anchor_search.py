"""Find the anchors that can overlap a box, without comparing all of them.

A 1024x1024 image has 261,888 anchors, and an object of it overlaps a few hundred of them
enough to matter. Anchors of a pyramid come in order (level, row, column, ratio), so a run
of neighbors covers a small region with anchors of about one size: the anchors are split
into such runs, and a run is skipped when its hull misses the box or its areas do not fit.
Anchors in another order give the same results, more slowly.
"""

from __future__ import annotations

import threading

import numpy as np

RUN_LENGTH = 64
# The hulls are kept in float32 and compared with a margin, so that no anchor is lost by
# rounding. Relative to the largest coordinate and to the area.
_SPARE = 1e-5


def iou_with_box(coordinates: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the IoU of boxes, [4, ...] of y1, x1, y2 and x2, with one `box` [4] that has an area.

    The order of operations is that of Matterport's `compute_iou`: ties between anchors
    decide which of them become positive, so the last bit counts.
    """
    y1, x1, y2, x2 = coordinates
    height = np.maximum(np.minimum(box[2], y2) - np.maximum(box[0], y1), 0)
    width = np.maximum(np.minimum(box[3], x2) - np.maximum(box[1], x1), 0)
    intersection = width * height
    box_area = (box[2] - box[0]) * (box[3] - box[1])
    return intersection / (box_area + (y2 - y1) * (x2 - x1) - intersection)


class AnchorSearch:
    """Anchors cut into runs, each with its hull and its smallest and largest area.

    Args:
        anchors: [A, (y1, x1, y2, x2)] pixels.
    """

    def __init__(self, anchors: np.ndarray) -> None:
        self.anchors = anchors
        num_runs = -(-len(anchors) // RUN_LENGTH)
        # [4, runs, RUN_LENGTH]: each coordinate contiguous. The last run is padded with
        # copies of the last anchor, which `overlapping` leaves out.
        columns = np.empty((4, num_runs * RUN_LENGTH), anchors.dtype)
        columns[:, : len(anchors)] = anchors.T
        columns[:, len(anchors) :] = anchors[-1:].T
        self._runs = columns.reshape(4, num_runs, RUN_LENGTH)
        y1, x1, y2, x2 = self._runs.astype(np.float32)
        area = (y2 - y1) * (x2 - x1)
        self._low = y1.min(axis=1), x1.min(axis=1)
        self._high = y2.max(axis=1), x2.max(axis=1)
        self._area = area.min(axis=1), area.max(axis=1)
        self._spare = float(_SPARE * (1 + np.abs([*self._low, *self._high]).max(initial=0)))

    def overlapping(self, box: np.ndarray, min_iou: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Return every anchor with an IoU of at least `min_iou` with `box`, and some others.

        Args:
            box: [(y1, x1, y2, x2)] pixels, of positive area.
            min_iou: 0..1. With 0, every anchor that intersects the box is found.

        Returns:
            ids: [M] numbers of the anchors, ascending.
            iou: [M] IoU of each with the box.
        """
        # Python floats: a NumPy scalar would make the float32 comparisons float64 ones.
        y1, x1, y2, x2 = (float(side) for side in box)
        # An intersection of min_iou times the area needs that share of height and of width.
        margin_y = min_iou * (y2 - y1) - self._spare
        margin_x = min_iou * (x2 - x1) - self._spare
        hit = self._low[0] <= y2 - margin_y
        hit &= self._low[1] <= x2 - margin_x
        hit &= self._high[0] >= y1 + margin_y
        hit &= self._high[1] >= x1 + margin_x
        if min_iou > 0:
            # IoU <= smaller area / larger area.
            area = (y2 - y1) * (x2 - x1)
            hit &= self._area[1] >= min_iou * area - self._spare * (y2 - y1 + x2 - x1 + 1)
            hit &= self._area[0] <= area / min_iou * (1 + 1e-3)
        runs = np.flatnonzero(hit)
        iou = iou_with_box(self._runs[:, runs], box).ravel()
        ids = (runs[:, None] * RUN_LENGTH + np.arange(RUN_LENGTH)).ravel()
        if len(ids) and ids[-1] >= len(self.anchors):
            inside = ids < len(self.anchors)
            return ids[inside], iou[inside]
        return ids, iou


_lock = threading.Lock()
_recent: list[AnchorSearch] = []
_MAX_RECENT = 4


def search_of(anchors: np.ndarray) -> AnchorSearch:
    """Return the AnchorSearch of `anchors`; those of the last few sets of anchors are kept.

    Anchors are the same for a whole training. Equal values count as the same set; an array
    that cannot be written to is recognized without comparing its values.
    """
    with _lock:
        recent = list(_recent)
    for search in recent:
        known = search.anchors
        if known is anchors or (
            known.shape == anchors.shape
            and known.dtype == anchors.dtype
            and np.array_equal(known, anchors)
        ):
            return search
    own = anchors
    if anchors.flags.writeable or anchors.base is not None:
        # A copy that no other code can change.
        own = anchors.copy()
        own.flags.writeable = False
    search = AnchorSearch(own)
    with _lock:
        _recent.insert(0, search)
        del _recent[_MAX_RECENT:]
    return search
