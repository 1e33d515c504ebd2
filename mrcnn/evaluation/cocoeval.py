"""pycocotools' evaluation of annotations made in memory, and its figures as `CocoMetrics`."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from typing import Any

import numpy as np

from mrcnn.evaluation.report import CocoMetrics


def coco_index(annotations: Iterable[dict[str, Any]], class_ids: set[int], num_images: int) -> Any:
    """Return a `pycocotools.coco.COCO` of annotations made in memory.

    Args:
        annotations: in COCO's form, without ids; masks are compressed run lengths.
        class_ids: the ids of the categories.
        num_images: images have the ids 0 to `num_images` - 1.
    """
    from pycocotools.coco import COCO

    index = COCO()
    index.dataset = {
        "images": [{"id": position} for position in range(num_images)],
        "categories": [{"id": class_id} for class_id in sorted(class_ids)],
        # From 1: COCOeval takes a match with id 0 for no match.
        "annotations": [{**one, "id": number} for number, one in enumerate(annotations, 1)],
    }
    # Segmentations are compressed already, so COCO never asks for heights and widths.
    index.createIndex()
    index.annToRLE = lambda annotation: annotation["segmentation"]
    return index


def total_metrics(evaluation: Any) -> CocoMetrics:
    """Return the figures over all classes of an accumulated `COCOeval`."""
    if not len(evaluation.params.catIds):
        return CocoMetrics()
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.summarize()
    # pycocotools writes -1 where a figure is not defined.
    return CocoMetrics(*(float(v) if v > -1 else float("nan") for v in evaluation.stats))


def class_metrics(evaluation: Any) -> dict[int, CocoMetrics]:
    """Return the figures of each class of an accumulated `COCOeval`, by class id.

    It must have been run with COCO's own IoU thresholds, areas and numbers of detections.
    """
    if not len(evaluation.params.catIds):
        return {}
    # [IoU threshold, recall, class, area, most detections], and the same without recall. The
    # areas are all, small, medium and large; the numbers of detections 1, 10 and 100.
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    at_75 = int(np.argmin(np.abs(evaluation.params.iouThrs - 0.75)))
    return {
        int(class_id): CocoMetrics(
            _mean(precision[:, :, k, 0, 2]),
            _mean(precision[0, :, k, 0, 2]),
            _mean(precision[at_75, :, k, 0, 2]),
            *(_mean(precision[:, :, k, area, 2]) for area in (1, 2, 3)),
            *(_mean(recall[:, k, 0, most]) for most in (0, 1, 2)),
            *(_mean(recall[:, k, area, 2]) for area in (1, 2, 3)),
        )
        for k, class_id in enumerate(evaluation.params.catIds)
    }


def _mean(values: np.ndarray) -> float:
    """Return the mean of what is defined, nan where nothing is."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else float("nan")
