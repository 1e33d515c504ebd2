"""Training targets of the heads made outside the network, in NumPy.

In training, the network makes them (`mrcnn.layers.detection_targets`). The functions here
serve to inspect the targets, and to train the heads on random boxes (`USE_RPN_ROIS = False`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.geometry.boxes import box_refinement, compute_overlaps
from mrcnn.geometry.images import resize
from mrcnn.loading.randomness import RandomSource, check_rng, integers, sample

# IoU with an object above which a ROI is positive, below which negative.
FOREGROUND_IOU = 0.5
# Share of the random ROIs drawn around objects; the others lie anywhere.
SHARE_NEAR_OBJECTS = 0.9


def generate_random_rois(
    image_shape: Any,
    count: int,
    gt_class_ids: Any,
    gt_boxes: np.ndarray,
    rng: RandomSource = None,
) -> np.ndarray:
    """Return random boxes, nine in ten of them around the objects.

    Those lie within the box of an object, enlarged by its own height and width on every
    side. Objects without area are left out; without objects all boxes lie anywhere.

    Args:
        image_shape: (height, width, ...).
        count: number of boxes.
        gt_class_ids: not used; part of Matterport's signature.
        gt_boxes: [N, (y1, x1, y2, x2)] pixels.
        rng: source of the draws: None (`np.random`), a RandomState or a Generator.

    Returns:
        [count, (y1, x1, y2, x2)] int32 pixels, each at least 1 high and wide.

    Raises:
        ValueError: the image is less than 2 pixels high or wide, or `count` is negative.
    """
    del gt_class_ids
    check_rng(rng)
    height, width = (int(side) for side in image_shape[:2])
    if height < 2 or width < 2:
        raise ValueError(f"image_shape is {tuple(image_shape)}; it must be at least 2 x 2 pixels")
    if count < 0:
        raise ValueError(f"count is {count}; it must be at least 0")
    gt_boxes = np.asarray(gt_boxes).reshape(-1, 4)
    has_area = (gt_boxes[:, 2] > gt_boxes[:, 0]) & (gt_boxes[:, 3] > gt_boxes[:, 1])
    gt_boxes = gt_boxes[has_area]

    rois = np.zeros((count, 4), np.int32)
    rois_per_box = int(SHARE_NEAR_OBJECTS * count / len(gt_boxes)) if len(gt_boxes) else 0
    for index, (y1, x1, y2, x2) in enumerate(gt_boxes.tolist()):
        box_height, box_width = y2 - y1, x2 - x1
        rows = max(y1 - box_height, 0), min(y2 + box_height, height)
        columns = max(x1 - box_width, 0), min(x2 + box_width, width)
        start = index * rois_per_box
        rois[start : start + rois_per_box] = _random_boxes(rng, rois_per_box, rows, columns)
    start = rois_per_box * len(gt_boxes)
    rois[start:] = _random_boxes(rng, count - start, (0, height), (0, width))
    return rois


def _random_boxes(
    rng: RandomSource, count: int, rows: tuple[int, int], columns: tuple[int, int]
) -> np.ndarray:
    """Return [count, (y1, x1, y2, x2)] with an area and corners in the half-open ranges."""
    while count > 0:
        # Twice as many as needed: the few without extent are left out. Too few: draw again.
        y1y2 = integers(rng, *rows, (count * 2, 2))
        x1x2 = integers(rng, *columns, (count * 2, 2))
        y1y2 = y1y2[y1y2[:, 0] != y1y2[:, 1]][:count]
        x1x2 = x1x2[x1x2[:, 0] != x1x2[:, 1]][:count]
        if len(y1y2) == count == len(x1x2):
            y1y2, x1x2 = np.sort(y1y2, axis=1), np.sort(x1x2, axis=1)
            return np.stack([y1y2[:, 0], x1x2[:, 0], y1y2[:, 1], x1x2[:, 1]], axis=1)
    return np.zeros((0, 4), np.int32)


def build_detection_targets(
    rpn_rois: np.ndarray,
    gt_class_ids: np.ndarray,
    gt_boxes: np.ndarray,
    gt_masks: np.ndarray,
    config: Any,
    rng: RandomSource = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sample ROIs and give each its class, box deltas and mask.

    A ROI is positive when its IoU with an object is above 0.5. At most
    `ROI_POSITIVE_RATIO` of the sample is positive; where there are too few negatives,
    some repeat. Crowds and class 0 are no objects. Without objects every ROI is negative.

    Args:
        rpn_rois: [R, (y1, x1, y2, x2)] pixels, R at least 1.
        gt_class_ids: [N] int.
        gt_boxes: [N, (y1, x1, y2, x2)] pixels.
        gt_masks: [height, width, N] bool: of the size of the image, or mini masks where
            `config.USE_MINI_MASK`.
        config: TRAIN_ROIS_PER_IMAGE, ROI_POSITIVE_RATIO, NUM_CLASSES, BBOX_STD_DEV,
            MASK_SHAPE, USE_MINI_MASK and IMAGE_SHAPE are read.
        rng: source of the draws: None (`np.random`), a RandomState or a Generator.

    Returns:
        rois: [TRAIN_ROIS_PER_IMAGE, (y1, x1, y2, x2)] pixels.
        class_ids: [TRAIN_ROIS_PER_IMAGE] int32. 0 for the negatives.
        bboxes: [TRAIN_ROIS_PER_IMAGE, NUM_CLASSES, (dy, dx, log(dh), log(dw))] float32,
            divided by BBOX_STD_DEV, in the row of the class; zeros elsewhere.
        masks: [TRAIN_ROIS_PER_IMAGE, height, width, NUM_CLASSES] float32 in [0, 1]: the
            part of the mask inside the ROI, interpolated, in the channel of the class.

    Raises:
        ValueError: there are no ROIs, or the ground truth arrays do not fit together.
    """
    check_rng(rng)
    rpn_rois, gt_class_ids = np.asarray(rpn_rois), np.asarray(gt_class_ids)
    gt_boxes, gt_masks = np.asarray(gt_boxes), np.asarray(gt_masks)
    if rpn_rois.ndim != 2 or rpn_rois.shape[1] != 4 or len(rpn_rois) == 0:
        raise ValueError(
            f"rpn_rois has the shape {rpn_rois.shape}; it must be [R, 4] with at least one ROI"
        )
    num_gt = len(gt_class_ids)
    if len(gt_boxes) != num_gt or gt_masks.ndim != 3 or gt_masks.shape[2] != num_gt:
        raise ValueError(
            f"gt_class_ids {gt_class_ids.shape}, gt_boxes {gt_boxes.shape} and gt_masks "
            f"{gt_masks.shape} must have one class id, one box and one mask for each instance"
        )
    is_object = np.flatnonzero(gt_class_ids > 0)
    gt_class_ids, gt_boxes = gt_class_ids[is_object], gt_boxes[is_object].reshape(-1, 4)

    keep, num_positive, assigned = _sample_rois(rpn_rois, gt_boxes, config, rng)
    rois = rpn_rois[keep]
    gt_ids = assigned[keep[:num_positive]]
    class_ids = np.zeros(len(keep), np.int32)
    class_ids[:num_positive] = gt_class_ids[gt_ids]

    bboxes = np.zeros((len(keep), config.NUM_CLASSES, 4), np.float32)
    masks = np.zeros((len(keep), *config.MASK_SHAPE[:2], config.NUM_CLASSES), np.float32)
    if num_positive:
        deltas = box_refinement(rois[:num_positive], gt_boxes[gt_ids])
        positive = np.arange(num_positive)
        bboxes[positive, class_ids[:num_positive]] = deltas / np.asarray(config.BBOX_STD_DEV)
    for index, gt_id in enumerate(gt_ids):
        gt_mask = gt_masks[:, :, is_object[gt_id]]
        masks[index, :, :, class_ids[index]] = _roi_mask(
            gt_mask, gt_boxes[gt_id], rois[index], config
        )
    return rois, class_ids, bboxes, masks


def _sample_rois(
    rois: np.ndarray, gt_boxes: np.ndarray, config: Any, rng: RandomSource
) -> tuple[np.ndarray, int, np.ndarray]:
    """Choose TRAIN_ROIS_PER_IMAGE ROIs.

    Returns:
        keep: numbers of the ROIs, the positives first.
        num_positive: number of positives among them.
        assigned: [R] the object that each ROI overlaps most.
    """
    count = config.TRAIN_ROIS_PER_IMAGE
    if len(gt_boxes):
        overlaps = compute_overlaps(rois, gt_boxes)
        assigned, best = overlaps.argmax(axis=1), overlaps.max(axis=1)
    else:
        assigned, best = np.zeros(len(rois), np.intp), np.zeros(len(rois))
    positive = np.flatnonzero(best > FOREGROUND_IOU)
    max_positive = int(count * config.ROI_POSITIVE_RATIO)
    if len(positive) > max_positive:
        positive = sample(rng, positive, max_positive)
    negative = np.flatnonzero(best < FOREGROUND_IOU)
    if len(negative) > count - len(positive):
        negative = sample(rng, negative, count - len(positive))
    keep = np.concatenate([positive, negative])
    missing = count - len(keep)
    if missing > 0:
        # Repeat negatives; where there are none, positives.
        spare = negative if len(negative) else positive
        if len(spare) == 0:
            raise ValueError(
                "rpn_rois has only ROIs of an IoU of exactly 0.5 with an object; one must be above "
                "or below"
            )
        extra = sample(rng, spare, missing, replace=True)
        keep = np.concatenate([keep, extra])
        if len(negative) == 0:
            return keep, len(keep), assigned
    return keep, len(positive), assigned


def _roi_mask(gt_mask: np.ndarray, gt_box: np.ndarray, roi: np.ndarray, config: Any) -> np.ndarray:
    """Return the part of an object's mask inside a ROI: [MASK_SHAPE] floats in [0, 1]."""
    if config.USE_MINI_MASK:
        # Expand the mini mask to its box in the image.
        y1, x1, y2, x2 = (int(side) for side in gt_box)
        full = np.zeros(tuple(config.IMAGE_SHAPE[:2]), bool)
        full[y1:y2, x1:x2] = np.round(resize(gt_mask, (y2 - y1, x2 - x1))).astype(bool)
        gt_mask = full
    y1, x1, y2, x2 = (int(side) for side in roi)
    return resize(gt_mask[y1:y2, x1:x2], tuple(config.MASK_SHAPE[:2]))
