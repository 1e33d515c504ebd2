"""Training targets of the region proposal network: matches and deltas of the anchors.

After section 3.1.2 of Faster R-CNN (Ren et al. 2015, arXiv:1506.01497).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.geometry.boxes import compute_overlaps
from mrcnn.loading.anchor_search import search_of
from mrcnn.loading.randomness import RandomSource, check_rng, keep_some

# An anchor is positive at this IoU with an object, negative below the second with all.
POSITIVE_IOU = 0.7
NEGATIVE_IOU = 0.3
# An anchor that overlaps a crowd by this much is never negative.
CROWD_IOU = 0.001
# With `PARTIAL_LABELS`: share of an anchor's area inside of an ignored box from which on it is
# never negative.
IGNORED_SHARE = 0.5


def build_rpn_targets(
    image_shape: Any,
    anchors: np.ndarray,
    gt_class_ids: np.ndarray,
    gt_boxes: np.ndarray,
    config: Any,
    rng: RandomSource = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Match anchors with objects, and compute the deltas of the positive ones.

    An anchor is positive when its IoU with an object is at least 0.7, or is the largest
    any anchor has with that object (all anchors that share it). It is negative when its
    IoU with every object is below 0.3 and with every crowd below 0.001. With `PARTIAL_LABELS` a
    negative class id marks any box to be ignored: an anchor is not negative when half of its area
    lies inside. At most half of `RPN_TRAIN_ANCHORS_PER_IMAGE` stay positive; negatives fill up to
    that number.

    Boxes without area and boxes that no anchor touches make no anchor positive: there is no
    delta for them. Without objects, all sampled anchors are negative.

    Args:
        image_shape: not used; part of Matterport's signature.
        anchors: [A, (y1, x1, y2, x2)] pixels.
        gt_class_ids: [N] int. Negative for a crowd.
        gt_boxes: [N, (y1, x1, y2, x2)] pixels.
        config: `RPN_TRAIN_ANCHORS_PER_IMAGE`, `RPN_BBOX_STD_DEV` and `PARTIAL_LABELS` are read.
        rng: source of the draws: None (`np.random`), a RandomState or a Generator.

    Returns:
        rpn_match: [A] int32. 1 positive, -1 negative, 0 neutral.
        rpn_bbox: [RPN_TRAIN_ANCHORS_PER_IMAGE, (dy, dx, log(dh), log(dw))] float64,
            divided by RPN_BBOX_STD_DEV: the positive anchors in order, then zeros.

    Raises:
        ValueError: an argument has the wrong shape.
    """
    del image_shape
    check_rng(rng)
    anchors = _checked(anchors, "anchors")
    gt_boxes = _checked(gt_boxes, "gt_boxes")
    gt_class_ids = np.asarray(gt_class_ids)
    if gt_class_ids.shape != (len(gt_boxes),):
        raise ValueError(
            f"gt_class_ids has the shape {gt_class_ids.shape} and gt_boxes {gt_boxes.shape}; "
            "there must be one class id for each box"
        )
    objects, crowds = _objects_and_crowds(gt_class_ids, gt_boxes)
    rpn_match = _match(anchors, objects, crowds, bool(getattr(config, "PARTIAL_LABELS", False)))
    _subsample(rpn_match, config.RPN_TRAIN_ANCHORS_PER_IMAGE, rng)

    rpn_bbox = np.zeros((config.RPN_TRAIN_ANCHORS_PER_IMAGE, 4))
    positive = np.flatnonzero(rpn_match == 1)
    if len(positive):
        deltas = _deltas(anchors[positive], objects)
        rpn_bbox[: len(positive)] = deltas / np.asarray(config.RPN_BBOX_STD_DEV)
    return rpn_match, rpn_bbox


def _checked(boxes: Any, name: str) -> np.ndarray:
    boxes = np.asarray(boxes)
    if boxes.ndim == 2 and boxes.shape[1] == 4:
        return boxes
    if boxes.size == 0:
        return boxes.reshape(0, 4)
    raise ValueError(f"{name} has the shape {boxes.shape}; it must be [N, (y1, x1, y2, x2)]")


def _objects_and_crowds(class_ids: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes of the objects and of the crowds, without those that have no area."""
    has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    is_crowd = class_ids < 0
    # Padding (class 0) is left out only where there is a crowd as well: Matterport's rule.
    is_object = class_ids > 0 if is_crowd.any() else ~is_crowd
    return boxes[is_object & has_area], boxes[is_crowd & has_area]


def _match(
    anchors: np.ndarray, objects: np.ndarray, crowds: np.ndarray, partial_labels: bool
) -> np.ndarray:
    """Return the match [A] int32 before sampling."""
    rpn_match = np.full(len(anchors), -1, np.int32)
    if len(anchors) == 0 or len(objects) + len(crowds) == 0:
        return rpn_match
    search = search_of(anchors)
    for crowd in crowds:
        ids, iou = search.overlapping(crowd)
        if partial_labels:
            # intersection = IoU * union and union = areas / (1 + IoU)
            areas = _areas(anchors[ids])
            share = iou / (1 + iou) * (areas + _areas(crowd)) / areas
            rpn_match[ids[share >= IGNORED_SHARE]] = 0
        else:
            rpn_match[ids[iou >= CROWD_IOU]] = 0
    positive = []
    for box in objects:
        ids, iou = search.overlapping(box, NEGATIVE_IOU)
        rpn_match[ids[iou >= NEGATIVE_IOU]] = 0
        best = iou.max(initial=0)
        if best < NEGATIVE_IOU:
            # Not necessarily the best of all: compare every anchor that touches the box.
            ids, iou = search.overlapping(box)
            best = iou.max(initial=0)
        if best > 0:
            positive.append(ids[(iou >= POSITIVE_IOU) | (iou == best)])
    for ids in positive:
        rpn_match[ids] = 1
    return rpn_match


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _subsample(rpn_match: np.ndarray, num_anchors: int, rng: RandomSource) -> None:
    """Make positives and negatives beyond `num_anchors` neutral, in place."""
    for value, limit in ((1, num_anchors // 2), (-1, num_anchors)):
        ids = np.flatnonzero(rpn_match == value)
        if value == -1:
            limit -= np.count_nonzero(rpn_match == 1)
        if len(ids) > limit:
            kept = keep_some(rng, ids, limit)
            rpn_match[ids] = 0
            rpn_match[kept] = value


def _deltas(anchors: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Return deltas [P, (dy, dx, log(dh), log(dw))] of anchors [P, 4] to their best objects."""
    gt = objects[compute_overlaps(anchors, objects).argmax(axis=1)]
    gt_size = gt[:, 2:] - gt[:, :2]
    size = anchors[:, 2:] - anchors[:, :2]
    shift = (gt[:, :2] + 0.5 * gt_size) - (anchors[:, :2] + 0.5 * size)
    return np.concatenate([shift / size, np.log(gt_size / size)], axis=1)
