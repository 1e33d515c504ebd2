"""Comparison of what an export finds with what `detect` finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcnn.files.names import counted
from mrcnn.geometry.boxes import compute_overlaps

# By precision: what boxes (pixels), scores and masks may differ by.
TOLERANCES = {"float32": (1, 1e-3, 0.01), "float16": (3, 0.02, 0.03)}
# What scores may differ by at least where they count the mask (`MASK_SCORES`): rounding can move a
# cell across the probability of 0.5, and with it the mean over the cells inside of the mask. One
# cell of a mask of 70 moves a score by up to 0.007, of the photograph of the check by 0.001.
MASK_SCORES_TOLERANCE = 0.007


@dataclass(frozen=True)
class Agreement:
    """How far two lists of detections of one image agree.

    Attributes:
        count: number of detections of the model.
        box_difference: largest difference of a side of a box in pixels.
        score_difference: largest difference of a score.
        mask_iou: smallest intersection over union of two masks, 0..1.
        problem: the first rule that is broken, in words; None if there is none.
    """

    count: int
    box_difference: int
    score_difference: float
    mask_iou: float
    problem: str | None

    def __str__(self) -> str:
        if not self.count:
            return "nothing found in the image by either of the two"
        return (
            f"{counted(self.count, 'detection')}, boxes within {self.box_difference} px, scores "
            f"within {self.score_difference:.1g}, masks with IoU {self.mask_iou:.4f} or more"
        )


def compare(
    expected: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
    precision: str,
    min_confidence: float,
    mask_scores: bool = False,
) -> Agreement:
    """Compare two lists of results of `detect` for the same images.

    Args:
        expected: the results of the model.
        found: the results of the export.
        precision: a key of `TOLERANCES`.
        min_confidence: score at which either leaves out detections: a detection that is as close to
            it as scores may differ may be missing.
        mask_scores: `MASK_SCORES` of the model.
    """
    box_limit, score_limit, mask_limit = TOLERANCES[precision]
    if mask_scores:
        score_limit = max(score_limit, MASK_SCORES_TOLERANCE)
    limits = (box_limit, score_limit, mask_limit)
    rows = [_compare_one(*pair, limits, min_confidence) for pair in zip(expected, found)]
    return Agreement(
        sum(row.count for row in rows),
        max(row.box_difference for row in rows),
        max(row.score_difference for row in rows),
        min(row.mask_iou for row in rows),
        next((row.problem for row in rows if row.problem), None),
    )


def _compare_one(
    expected: Mapping[str, Any],
    found: Mapping[str, Any],
    limits: tuple[int, float, float],
    min_confidence: float,
) -> Agreement:
    """Compare two results for one image."""
    box_limit, score_limit, mask_limit = limits
    pairs = _pairs(expected, found)
    lost = np.concatenate([_unpaired(expected, pairs, 0), _unpaired(found, pairs, 1)])
    missing = int((lost > min_confidence + score_limit).sum())
    boxes, scores, ious, problems = [0], [0.0], [1.0], []
    if missing:
        problems.append(f"{counted(missing, 'detection')} found by one of the two only")
    for i, k in pairs:
        boxes.append(int(np.abs(expected["rois"][i] - found["rois"][k]).max()))
        scores.append(float(abs(expected["scores"][i] - found["scores"][k])))
        if "masks" in expected:
            iou, is_same = _compare_masks(expected, found, i, k, mask_limit)
            ious.append(iou)
            if not is_same:
                problems.append(f"a mask has IoU {iou:.4f}; it must be at least {1 - mask_limit}")
    if max(boxes) > box_limit:
        problems.append(f"a box differs by {max(boxes)} pixels; it must be at most {box_limit}")
    if max(scores) > score_limit:
        problems.append(f"a score differs by {max(scores):.4f}; it must be at most {score_limit}")
    problem = problems[0] if problems else None
    return Agreement(len(expected["rois"]), max(boxes), max(scores), min(ious), problem)


def _pairs(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return the indices of detections of equal class that overlap most, each at most once."""
    overlaps = compute_overlaps(first["rois"].astype(float), second["rois"].astype(float))
    overlaps = overlaps * (first["class_ids"][:, None] == second["class_ids"][None, :])
    pairs = []
    for _ in range(min(overlaps.shape)):
        i, k = np.unravel_index(overlaps.argmax(), overlaps.shape)
        if overlaps[i, k] < 0.5:
            break
        pairs.append((int(i), int(k)))
        overlaps[i], overlaps[:, k] = 0, 0
    return pairs


def _unpaired(result: Mapping[str, Any], pairs: list[tuple[int, int]], which: int) -> np.ndarray:
    """Return the scores of the detections of a result that are in no pair."""
    return np.delete(result["scores"], [pair[which] for pair in pairs])


def _compare_masks(
    expected: Mapping[str, Any], found: Mapping[str, Any], i: int, k: int, limit: float
) -> tuple[float, bool]:
    """Return the IoU of two masks, and whether they are equal within the limit.

    A box that is one pixel larger moves the outline of its mask, which is much of a small one.
    """
    one, other = expected["masks"][..., i], found["masks"][..., k]
    union = int((one | other).sum())
    differing = int((one ^ other).sum())
    box, other_box = expected["rois"][i], found["rois"][k]
    moved = int(np.abs(box - other_box).sum()) * int((box[2:] - box[:2]).max())
    return 1 - differing / max(union, 1), differing <= limit * union + moved + 2
