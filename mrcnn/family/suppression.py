"""Non-maximum suppression within each class, as all detectors of the family end."""

from __future__ import annotations

import numpy as np

from mrcnn.detection.results import Detections
from mrcnn.geometry.boxes import non_max_suppression

__all__ = ["suppress_in_classes"]


def suppress_in_classes(
    detections: Detections, threshold: float, max_instances: int | None = None
) -> Detections:
    """Drop detections that overlap a better one of their class too much.

    Args:
        detections: of one image.
        threshold: IoU above which two detections of a class count as one.
        max_instances: most detections to return; None for all.

    Returns:
        The others, best first.
    """
    kept = [np.zeros(0, np.int64)]
    for class_id in np.unique(detections.class_ids):
        rows = np.flatnonzero(detections.class_ids == class_id)
        scores = detections.scores[rows]
        kept.append(rows[non_max_suppression(detections.boxes[rows], scores, threshold)])
    order = np.concatenate(kept)
    order = order[np.argsort(-detections.scores[order], kind="stable")]
    return detections[order[:max_instances]]
