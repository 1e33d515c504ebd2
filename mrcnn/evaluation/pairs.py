"""Detections paired with the true objects of an image, whatever their classes.

COCO compares within one class; here a dog that is taken for a cat is one confusion instead of a
missed dog and a false cat. The confusion matrix and the scores of single images come from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcnn.detection.results import Detections
from mrcnn.evaluation.coco import CocoEvaluator

__all__ = ["ImageScore", "Pair", "image_scores", "pair_objects"]


@dataclass(frozen=True)
class Pair:
    """A true object and the detection that covers it.

    Attributes:
        true_class: class id of the object, 0 where a detection meets none.
        detected_class: class id of the detection, 0 where an object was missed.
        iou: their overlap, 0 where one of them is missing.
    """

    true_class: int
    detected_class: int
    iou: float = 0.0

    @property
    def is_right(self) -> bool:
        """Whether the object was found as what it is."""
        return self.true_class == self.detected_class


def require_kind(evaluator: CocoEvaluator, kind: str) -> None:
    """Raise ValueError unless objects of the evaluator can be compared by a kind of overlap."""
    if kind not in ("box", "mask") or (kind == "mask" and not evaluator.masks):
        raise ValueError(
            f"kind is {kind!r}; it must be 'box', or 'mask' where masks were collected"
        )


def pair_objects(
    evaluator: CocoEvaluator,
    image_id: Any,
    iou_threshold: float,
    score_threshold: float,
    kind: str,
) -> list[Pair]:
    """Return every object and every detection of one image, paired or alone.

    Detections take, from the highest score down, the free object with the highest overlap, of any
    class. A detection that fits no free object but lies in a crowd (that share of its own area
    reaches the threshold) is left out; crowds are never missed.

    Args:
        evaluator: detections and true objects.
        image_id: one of its images.
        iou_threshold: overlap from which a detection belongs to an object, 0..1.
        score_threshold: lowest score of a detection that counts.
        kind: `"mask"` or `"box"` overlap.
    """
    objects = evaluator.objects(image_id)
    found = evaluator.detections(image_id)
    order = [
        i for i in np.argsort(-found.scores, kind="stable") if found.scores[i] >= score_threshold
    ]
    crowd = np.array([bool(one["iscrowd"]) for one in objects], bool)
    overlaps = _overlaps(objects, found, order, kind)
    # An overlap equal to the threshold counts, as in COCO.
    close = overlaps >= min(iou_threshold, 1 - 1e-10)
    free = ~crowd
    pairs = []
    for row, index in enumerate(order):
        candidates = np.flatnonzero(close[row] & free)
        class_id = int(found.class_ids[index])
        if candidates.size:
            best = candidates[np.argmax(overlaps[row, candidates])]
            free[best] = False
            pairs.append(Pair(objects[best]["class_id"], class_id, float(overlaps[row, best])))
        elif not (close[row] & crowd).any():
            pairs.append(Pair(0, class_id))
    pairs += [Pair(objects[index]["class_id"], 0) for index in np.flatnonzero(free)]
    return pairs


@dataclass(frozen=True)
class ImageScore:
    """How well the objects of one image were found.

    Attributes:
        image_id: id of the image in the dataset.
        num_objects: true objects that are not crowds.
        num_detections: detections that count.
        num_right: objects found as what they are.
        mean_iou: mean overlap of those with their detections, 0..1; nan without any.
    """

    image_id: Any
    num_objects: int
    num_detections: int
    num_right: int
    mean_iou: float

    @property
    def f1(self) -> float:
        """2 right / (objects + detections), 0..1; nan where there is neither."""
        total = self.num_objects + self.num_detections
        return 2 * self.num_right / total if total else float("nan")


def image_scores(
    evaluator: CocoEvaluator,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.5,
    kind: str = "mask",
) -> list[ImageScore]:
    """Return the score of every image with objects or detections, the worst first.

    Images are ordered by F1, among equals by the mean overlap of what was found, then by the
    number of errors.

    Args:
        evaluator: detections and true objects.
        iou_threshold: as for `pair_objects`.
        score_threshold: as for `pair_objects`.
        kind: as for `pair_objects`.

    Raises:
        ValueError: `kind` is another word, or masks were not collected.
    """
    require_kind(evaluator, kind)
    scores = []
    for image_id in evaluator.image_ids:
        pairs = pair_objects(evaluator, image_id, iou_threshold, score_threshold, kind)
        overlaps = [pair.iou for pair in pairs if pair.is_right]
        score = ImageScore(
            image_id,
            sum(pair.true_class > 0 for pair in pairs),
            sum(pair.detected_class > 0 for pair in pairs),
            len(overlaps),
            float(np.mean(overlaps)) if overlaps else float("nan"),
        )
        if pairs:
            scores.append(score)
    return sorted(scores, key=_rank)


def _rank(score: ImageScore) -> tuple[float, float, int]:
    errors = score.num_objects + score.num_detections - 2 * score.num_right
    return score.f1, score.mean_iou if score.num_right else 0.0, -errors


def _overlaps(
    objects: list[dict[str, Any]], found: Detections, order: list[int], kind: str
) -> np.ndarray:
    """Return `[detections, objects]` IoU; for a crowd the share of the detection inside it."""
    from pycocotools import mask as mask_utils

    if not objects or not order:
        return np.zeros((len(order), len(objects)))
    crowd = [one["iscrowd"] for one in objects]
    if kind == "mask":
        rles = found.rles or []
        detected = [rles[index] for index in order]
        return mask_utils.iou(detected, [one["segmentation"] for one in objects], crowd)
    boxes = np.array([one["bbox"] for one in objects], float)
    return mask_utils.iou(found.boxes[order].astype(float), boxes, crowd)
