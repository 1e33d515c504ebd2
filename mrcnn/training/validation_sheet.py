"""A sheet of validation images: predictions beside the ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.drawing.comparison import side_by_side
from mrcnn.evaluation.coco import CocoEvaluator
from mrcnn.geometry.spacing import evenly_spaced

# Pixels: the longer side of each image, and the space between pairs.
MAX_SIDE = 480
_GAP = 8
# Predictions that score lower are left out: a network at its beginning finds a hundred of them.
_MIN_SCORE = 0.5


def choose_images(evaluator: CocoEvaluator, count: int) -> list[Any]:
    """Return the ids of up to `count` images, evenly spread over those that show an object."""
    with_objects = [i for i in evaluator.image_ids if evaluator.truth.load(i).objects]
    ids = with_objects or evaluator.image_ids
    if count >= len(ids):
        return ids
    return [ids[place] for place in evenly_spaced(len(ids) - 1, count)]


def draw_pairs(
    evaluator: CocoEvaluator, dataset: Any, image_ids: Sequence[Any]
) -> list[np.ndarray]:
    """Draw the detections that an evaluator has collected beside the ground truth.

    Args:
        evaluator: holds the detections of the images.
        dataset: gives the images and the class names.
        image_ids: the images.

    Returns:
        One [H, W, 3] uint8 RGB image for each, as `side_by_side` draws it.
    """
    pairs = []
    for image_id in image_ids:
        found = evaluator.detections(image_id)
        found = found[found.scores >= _MIN_SCORE]
        prediction: dict[str, Any] = {
            "rois": found.boxes,
            "class_ids": found.class_ids,
            "scores": found.scores,
        }
        objects = evaluator.truth.load(image_id).objects
        boxes = np.array([one["bbox"] for one in objects], float).reshape(-1, 4)
        truth: dict[str, Any] = {
            "rois": np.concatenate([boxes[:, 1::-1], boxes[:, 1::-1] + boxes[:, :1:-1]], axis=1),
            "class_ids": [one["class_id"] for one in objects],
        }
        if evaluator.masks:
            prediction["rles"] = found.rles or []
            truth["rles"] = [one["segmentation"] for one in objects]
        image = dataset.load_image(image_id)
        pairs.append(side_by_side(image, prediction, truth, dataset.class_names, max_side=MAX_SIDE))
    return pairs


def stack(pairs: Sequence[np.ndarray]) -> np.ndarray:
    """Return images [H, W, 3] uint8 one below the other on a white ground."""
    width = max(pair.shape[1] for pair in pairs)
    rows = [
        np.pad(pair, ((0, _GAP), (0, width - pair.shape[1]), (0, 0)), constant_values=255)
        for pair in pairs
    ]
    return np.vstack(rows)
