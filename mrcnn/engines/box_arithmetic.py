"""The steps of detection between the networks, in NumPy and float32.

They are `mrcnn.layers.proposals.ProposalLayer` and `mrcnn.layers.detections.DetectionLayer` for one
image, without a deep learning library.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.geometry.boxes import apply_box_deltas
from mrcnn.geometry.image_meta import IMAGE_SHAPE, WINDOW
from mrcnn.geometry.suppression import best_rows, choose_boxes


class BoxArithmetic:
    """Proposals from the RPN's outputs, and detections from those of the classifier.

    Args:
        config: `Config`. Later changes of it have no effect.
    """

    def __init__(self, config: Any) -> None:
        self._rpn_std_dev = np.asarray(config.RPN_BBOX_STD_DEV, np.float32)
        self._pre_nms_limit = int(config.PRE_NMS_LIMIT)
        self._num_proposals = int(config.POST_NMS_ROIS_INFERENCE)
        self._rpn_threshold = float(config.RPN_NMS_THRESHOLD)
        self._std_dev = np.asarray(config.BBOX_STD_DEV, np.float32)
        self._max_instances = int(config.DETECTION_MAX_INSTANCES)
        self._min_confidence = np.float32(config.DETECTION_MIN_CONFIDENCE or 0)
        self._threshold = float(config.DETECTION_NMS_THRESHOLD)
        self._joint_scores = bool(config.JOINT_SCORES)

    def proposals(
        self, rpn_class: np.ndarray, rpn_bbox: np.ndarray, anchors: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the boxes that the heads look at, and their scores.

        Args:
            rpn_class: `[anchors, (bg, fg)]` float32 probabilities.
            rpn_bbox: `[anchors, (dy, dx, log(dh), log(dw))]` float32 in standard deviations.
            anchors: `[anchors, (y1, x1, y2, x2)]` float32, normalized.

        Returns:
            `[POST_NMS_ROIS_INFERENCE, (y1, x1, y2, x2)]` float32, normalized and best first, and
            their scores `[POST_NMS_ROIS_INFERENCE, 1]` float32; zero rows at the end.
        """
        rows = best_rows(rpn_class[:, 1], self._pre_nms_limit)
        scores = rpn_class[rows, 1]
        boxes = apply_box_deltas(anchors[rows], rpn_bbox[rows] * self._rpn_std_dev)
        boxes = np.clip(boxes, np.float32(0), np.float32(1))
        kept = choose_boxes(boxes, scores, self._num_proposals, self._rpn_threshold)
        found = np.zeros((self._num_proposals, 4), np.float32)
        found_scores = np.zeros((self._num_proposals, 1), np.float32)
        found[: len(kept)], found_scores[: len(kept), 0] = boxes[kept], scores[kept]
        return found, found_scores

    def detections(
        self,
        rois: np.ndarray,
        roi_scores: np.ndarray,
        probabilities: np.ndarray,
        deltas: np.ndarray,
        image_meta: np.ndarray,
    ) -> np.ndarray:
        """Refine, filter and rank the classified boxes.

        Args:
            rois: `[N, (y1, x1, y2, x2)]` float32, normalized.
            roi_scores: `[N, 1]` float32, which count with `JOINT_SCORES`.
            probabilities: `[N, num_classes]` float32.
            deltas: `[N, num_classes, (dy, dx, log(dh), log(dw))]` float32 in standard deviations.
            image_meta: `[12 + num_classes]` float32.

        Returns:
            `[DETECTION_MAX_INSTANCES, (y1, x1, y2, x2, class_id, score)]` float32, boxes
            normalized, in order of falling score; zero rows at the end.
        """
        if self._joint_scores:
            probabilities = np.sqrt(probabilities * roi_scores)
        class_ids = probabilities.argmax(axis=-1)
        rows = np.arange(len(rois))
        scores = probabilities[rows, class_ids]
        boxes = apply_box_deltas(rois, deltas[rows, class_ids] * self._std_dev)
        y1, x1, y2, x2 = _normalized_window(image_meta)
        boxes = np.clip(boxes, (y1, x1, y1, x1), (y2, x2, y2, x2))
        wanted = class_ids > 0
        if self._min_confidence:
            wanted &= scores >= self._min_confidence
        ranking = np.where(wanted, scores, np.float32(-1))
        kept = choose_boxes(boxes, ranking, self._max_instances, self._threshold, class_ids)
        found = np.zeros((self._max_instances, 6), np.float32)
        found[: len(kept)] = np.column_stack([boxes, class_ids, scores])[kept]
        return found


def _normalized_window(image_meta: np.ndarray) -> np.ndarray:
    """Return the normalized window `[4]` float32 of an image in the network's input."""
    height, width = image_meta[IMAGE_SHAPE][:2] - np.float32(1)
    scale = np.array([height, width, height, width], np.float32)
    return (image_meta[WINDOW] - np.array([0, 0, 1, 1], np.float32)) / scale
