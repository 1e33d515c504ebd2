"""Numbers for objects that last from frame to frame of a video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from mrcnn.detection.results import Detections
from mrcnn.geometry.boxes import compute_overlaps

__all__ = ["Tracker"]


@dataclass
class _Track:
    """An object seen before.

    Attributes:
        number: what the object is called, from 1.
        class_id: the class it was first seen as.
        box: [(y1, x1, y2, x2)] float64 pixels where it was last seen.
        velocity: [(dy, dx)] pixels a frame; None while it has been seen once.
        missed: frames since then in which it was not found.
    """

    number: int
    class_id: int
    box: np.ndarray
    velocity: np.ndarray | None = None
    missed: int = 0

    def predicted(self) -> np.ndarray:
        """Return the box that a constant velocity gives for the next frame."""
        if self.velocity is None:
            return self.box
        return self.box + np.tile(self.velocity * (self.missed + 1), 2)

    def see(self, box: np.ndarray) -> None:
        """Take over the box found in the next frame."""
        shift = (box[:2] + box[2:] - self.box[:2] - self.box[2:]) / 2 / (self.missed + 1)
        # The mean of old and new velocity, as single boxes are some pixels off.
        self.velocity = shift if self.velocity is None else (self.velocity + shift) / 2
        self.box, self.missed = box, 0


class Tracker:
    """Give the objects of a video numbers that last.

    The boxes of a frame are assigned to those of the frames before so that the sum of their
    overlaps is the greatest. Objects are expected to move on at a constant velocity, as in SORT
    (Bewley et al. 2016, Simple Online and Realtime Tracking), also while they are hidden for a
    few frames. A box without a counterpart gets the next number.

    Args:
        min_iou: intersection over union from which two boxes may be the same object, above 0.
        max_missed: frames in a row in which an object may be missing before its number ends.
        class_aware: whether an object keeps its class. If not, it may change.

    Attributes:
        num_objects: numbers given so far.

    Raises:
        ValueError: `min_iou` or `max_missed` is out of range.

    Example:
        >>> tracker = Tracker()
        >>> tracker.update(Detections([[0, 0, 9, 9], [20, 0, 29, 9]], [1, 1], [0.9, 0.8]))
        array([1, 2])
        >>> tracker.update(Detections([[21, 0, 30, 9], [0, 1, 9, 10]], [1, 1], [0.9, 0.8]))
        array([2, 1])
    """

    def __init__(
        self, min_iou: float = 0.3, max_missed: int = 15, class_aware: bool = True
    ) -> None:
        if not 0 < min_iou <= 1:
            raise ValueError(f"min_iou is {min_iou}; it must be above 0 and at most 1")
        if not max_missed >= 0:
            raise ValueError(f"max_missed is {max_missed}; it must be 0 or more")
        self.min_iou = min_iou
        self.max_missed = max_missed
        self.class_aware = class_aware
        self.num_objects = 0
        self._tracks: list[_Track] = []

    def update(self, detections: Detections) -> np.ndarray:
        """Number the objects of the next frame; call it for frames without objects as well.

        Args:
            detections: what was found in the frame. Boxes and classes are used.

        Returns:
            [N] int64 numbers from 1, all different.
        """
        boxes = detections.boxes.astype(np.float64)
        numbers = np.zeros(len(boxes), np.int64)
        found = set()
        for row, column in self._matches(boxes, detections.class_ids):
            track = self._tracks[row]
            track.see(boxes[column])
            numbers[column] = track.number
            found.add(track.number)
        for track in self._tracks:
            track.missed += track.number not in found
        self._tracks = [track for track in self._tracks if track.missed <= self.max_missed]
        for column in np.flatnonzero(numbers == 0).tolist():
            self.num_objects += 1
            numbers[column] = self.num_objects
            class_id = int(detections.class_ids[column])
            self._tracks.append(_Track(self.num_objects, class_id, boxes[column]))
        return numbers

    def _matches(self, boxes: np.ndarray, class_ids: np.ndarray) -> list[tuple[int, int]]:
        """Return (index of the track, index of the box) of the same objects."""
        if not self._tracks or not len(boxes):
            return []
        predicted = np.stack([track.predicted() for track in self._tracks])
        overlaps = compute_overlaps(predicted, boxes)
        possible = overlaps >= self.min_iou
        if self.class_aware:
            known = np.array([track.class_id for track in self._tracks])
            possible &= known[:, None] == class_ids[None, :]
        # Or a pair that is none could decide about the others; without an area it is nan.
        overlaps[~possible] = 0
        rows, columns = linear_sum_assignment(overlaps, maximize=True)
        return [(int(r), int(c)) for r, c in zip(rows, columns) if possible[r, c]]
