"""Matterport's measures for one image: matches, average precision, recall of boxes.

`compute_ap` is the average precision of a single image over all its classes together.
Averaged over images it is the mAP of Matterport's samples; it is not COCO's, for which see
`mrcnn.evaluation.coco`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mrcnn.geometry.boxes import compute_overlaps, compute_overlaps_masks


def trim_zeros(x: np.ndarray) -> np.ndarray:
    """Remove the rows that consist of zeros, as padding does.

    Args:
        x: [rows, columns].

    Returns:
        [rows kept, columns].

    Raises:
        ValueError: `x` has not two axes.
    """
    if np.ndim(x) != 2:
        raise ValueError(f"x has shape {np.shape(x)}; it must be [rows, columns].")
    return x[(x != 0).any(axis=1)]


def compute_matches(
    gt_boxes: np.ndarray,
    gt_class_ids: np.ndarray,
    gt_masks: np.ndarray,
    pred_boxes: np.ndarray,
    pred_class_ids: np.ndarray,
    pred_scores: np.ndarray,
    pred_masks: np.ndarray,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pair predictions with ground truth instances.

    By falling score each prediction takes, among the instances not yet taken whose masks
    overlap it enough, the one of its class with the largest overlap.

    Args:
        gt_boxes: [M, (y1, x1, y2, x2)]; rows of zeros are padding.
        gt_class_ids: [M].
        gt_masks: [height, width, M] bool.
        pred_boxes: [N, (y1, x1, y2, x2)]; rows of zeros are padding.
        pred_class_ids: [N].
        pred_scores: [N].
        pred_masks: [height, width, N] bool.
        iou_threshold: least mask IoU of a pair.
        score_threshold: instances whose IoU is below this are not looked at. (Despite its
            name it is not compared with scores: this is Matterport's behavior.)

    Returns:
        gt_match: [M] float64, for each instance the index of its prediction or -1.
        pred_match: [N] float64, for each prediction, by falling score, the index of its
            instance or -1.
        overlaps: [N, M] mask IoU, predictions by falling score.
        M and N do not count padding.
    """
    gt_ids, gt_masks = _without_padding(gt_boxes, gt_class_ids, gt_masks)
    pred_ids, pred_masks = _by_score(pred_boxes, pred_class_ids, pred_scores, pred_masks)
    overlaps = compute_overlaps_masks(pred_masks, gt_masks)
    gt_match, pred_match = _match(overlaps, gt_ids, pred_ids, iou_threshold, score_threshold)
    return gt_match, pred_match, overlaps


def _without_padding(
    boxes: np.ndarray, class_ids: np.ndarray, masks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return class IDs [M] and masks [height, width, M] of the boxes that are not all zeros."""
    real = _real_rows(boxes)
    masks = np.asarray(masks)
    if real.all() and masks.shape[-1] == len(real):
        return np.asarray(class_ids), masks
    return np.asarray(class_ids)[: len(real)][real], masks[..., : len(real)][..., real]


def _by_score(
    boxes: np.ndarray, class_ids: np.ndarray, scores: np.ndarray, masks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return class IDs and masks of the real predictions, the best first."""
    real = np.flatnonzero(_real_rows(boxes))
    # Stable: predictions of equal score keep one order on every machine.
    order = real[np.argsort(np.asarray(scores)[real], kind="stable")[::-1]]
    return np.asarray(class_ids)[order], np.asarray(masks)[..., order]


def _real_rows(boxes: np.ndarray) -> np.ndarray:
    # Empty results come in several shapes: (0, 4), (0,).
    return (np.asarray(boxes).reshape(-1, 4) != 0).any(axis=1)


def _match(
    overlaps: np.ndarray,
    gt_class_ids: np.ndarray,
    pred_class_ids: np.ndarray,
    iou_threshold: float,
    score_threshold: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return gt_match and pred_match from overlaps [predictions by falling score, instances]."""
    gt_match = np.full(len(gt_class_ids), -1.0)
    pred_match = np.full(len(pred_class_ids), -1.0)
    if overlaps.size == 0:
        return gt_match, pred_match
    overlaps = np.nan_to_num(overlaps)  # nan: both masks are empty
    for i, candidates in enumerate(np.argsort(overlaps, axis=1, kind="stable")[:, ::-1]):
        for j in candidates:
            if overlaps[i, j] < max(iou_threshold, score_threshold):
                break
            if gt_match[j] < 0 and pred_class_ids[i] == gt_class_ids[j]:
                gt_match[j], pred_match[i] = i, j
                break
    return gt_match, pred_match


def compute_ap(
    gt_boxes: np.ndarray,
    gt_class_ids: np.ndarray,
    gt_masks: np.ndarray,
    pred_boxes: np.ndarray,
    pred_class_ids: np.ndarray,
    pred_scores: np.ndarray,
    pred_masks: np.ndarray,
    iou_threshold: float = 0.5,
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Return the average precision of one image at one mask IoU.

    Args:
        gt_boxes: ground truth, as for `compute_matches`.
        gt_class_ids: as for `compute_matches`.
        gt_masks: as for `compute_matches`.
        pred_boxes: predictions, as for `compute_matches`.
        pred_class_ids: as for `compute_matches`.
        pred_scores: as for `compute_matches`.
        pred_masks: as for `compute_matches`.
        iou_threshold: least mask IoU of a hit.

    Returns:
        mAP: area below the curve of precision over recall; 0 where there are no
            instances or no predictions.
        precisions: [N + 2] non-increasing, with 0 at the end.
        recalls: [N + 2] from 0 to 1.
        overlaps: [N, M] mask IoU, predictions by falling score.
    """
    gt_match, pred_match, overlaps = compute_matches(
        gt_boxes, gt_class_ids, gt_masks,
        pred_boxes, pred_class_ids, pred_scores, pred_masks,
        iou_threshold,
    )  # fmt: skip
    return (*_average_precision(gt_match, pred_match), overlaps)


def _average_precision(
    gt_match: np.ndarray, pred_match: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return (AP, precisions, recalls) from the matches of predictions by falling score."""
    hits = np.cumsum(pred_match > -1)
    precisions = hits / (np.arange(len(hits)) + 1)
    # float32 as in the original, so that the numbers equal it to the last digit.
    recalls = hits.astype(np.float32) / max(len(gt_match), 1)
    precisions = np.concatenate([[0], precisions, [0]])
    recalls = np.concatenate([[0], recalls, [1]])
    # Precision at a recall is the best at this recall or a higher one (PASCAL VOC).
    precisions = np.maximum.accumulate(precisions[::-1])[::-1]
    steps = np.flatnonzero(recalls[:-1] != recalls[1:]) + 1
    average = np.sum((recalls[steps] - recalls[steps - 1]) * precisions[steps])
    return average, precisions, recalls


def compute_ap_range(
    gt_box: np.ndarray,
    gt_class_id: np.ndarray,
    gt_mask: np.ndarray,
    pred_box: np.ndarray,
    pred_class_id: np.ndarray,
    pred_score: np.ndarray,
    pred_mask: np.ndarray,
    iou_thresholds: Iterable[float] | None = None,
    verbose: int = 1,
) -> float:
    """Return the average precision of one image, averaged over several mask IoU.

    Args:
        gt_box: ground truth, as `gt_boxes` of `compute_matches`.
        gt_class_id: as `gt_class_ids` there.
        gt_mask: as `gt_masks` there.
        pred_box: predictions, as `pred_boxes` there.
        pred_class_id: as `pred_class_ids` there.
        pred_score: as `pred_scores` there.
        pred_mask: as `pred_masks` there.
        iou_thresholds: IoU of a hit; None for 0.5, 0.55, ... 0.95.
        verbose: 1 to print the precision at each threshold, 0 for no output.

    Returns:
        The mean.

    Raises:
        ValueError: iou_thresholds is empty.
    """
    thresholds = np.arange(0.5, 1.0, 0.05) if iou_thresholds is None else list(iou_thresholds)
    if len(thresholds) == 0:
        raise ValueError("iou_thresholds is empty; it must hold at least one IoU.")
    # Overlaps do not depend on the threshold.
    gt_ids, gt_masks = _without_padding(gt_box, gt_class_id, gt_mask)
    pred_ids, pred_masks = _by_score(pred_box, pred_class_id, pred_score, pred_mask)
    overlaps = compute_overlaps_masks(pred_masks, gt_masks)
    averages = []
    for threshold in thresholds:
        matches = _match(overlaps, gt_ids, pred_ids, threshold)
        averages.append(_average_precision(*matches)[0])
        if verbose:
            print(f"AP @{threshold:.2f}:\t {averages[-1]:.3f}")
    mean = np.array(averages).mean()
    if verbose:
        print(f"AP @{thresholds[0]:.2f}-{thresholds[-1]:.2f}:\t {mean:.3f}")
    return mean


def compute_recall(
    pred_boxes: np.ndarray, gt_boxes: np.ndarray, iou: float
) -> tuple[float, np.ndarray]:
    """Return the share of ground truth boxes that predicted boxes find.

    Args:
        pred_boxes: [N, (y1, x1, y2, x2)].
        gt_boxes: [M, (y1, x1, y2, x2)] in the same units.
        iou: least IoU of boxes that belong together.

    Returns:
        recall: 0 to 1; 0 where either set is empty.
        positive_ids: indices of the predicted boxes that overlap a ground truth box enough.
    """
    if len(pred_boxes) == 0 or len(gt_boxes) == 0:
        return 0.0, np.zeros(0, np.int64)
    overlaps = np.nan_to_num(compute_overlaps(pred_boxes, gt_boxes))
    positive_ids = np.flatnonzero(overlaps.max(axis=1) >= iou)
    found = np.unique(overlaps.argmax(axis=1)[positive_ids])
    return len(found) / len(gt_boxes), positive_ids
