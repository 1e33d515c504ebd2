"""Detect objects with NanoDet-g alone, from the weights of the backbone "nanodet_pan".

This is how the conversion is checked: the scores and boxes must be NanoDet's own detections.

Usage:
    python tools/nanodet_detector.py nanodet_pan.h5 photo.jpg ...
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import cv2
import keras
import numpy as np

from mrcnn.checkpoints import load_weights
from mrcnn.checkpoints.coco_names import COCO_CLASS_NAMES
from mrcnn.layers.backbones.nanodet import (
    NANODET_PIXELS,
    NUM_COCO_CLASSES,
    box_distances,
    nanodet_raw_graph,
)

STRIDES = (8, 16, 32)
SIDE = 416
# Detections of a class that overlap a better one by more than this IoU are dropped.
NMS_THRESHOLD = 0.6


def letterbox(image: np.ndarray, side: int = SIDE) -> tuple[np.ndarray, float, tuple[int, int]]:
    """Scale an image to fit a square, and center it on black.

    Args:
        image: `[height, width, (R, G, B)]` uint8.
        side: of the square in pixels.

    Returns:
        `(square [side, side, 3], scale, (top, left))`.
    """
    height, width = image.shape[:2]
    scale = min(side / height, side / width)
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (side - height) // 2, (side - width) // 2
    square = np.zeros((side, side, 3), image.dtype)
    square[top : top + height, left : left + width] = cv2.resize(image, (width, height))
    return square, scale, (top, left)


def decode(outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Read scores and boxes off the outputs of one image.

    Args:
        outputs: those of `nanodet_raw_graph`, each `[h, w, 80 + 44]`.

    Returns:
        `(boxes [locations, (x1, y1, x2, y2)] in pixels, scores [locations, 80])`.
    """
    boxes, scores = [], []
    for output, stride in zip(outputs, STRIDES):
        distances = box_distances(output[..., NUM_COCO_CLASSES:])
        distances = keras.ops.convert_to_numpy(distances).reshape(-1, 4) * stride
        y, x = np.mgrid[: output.shape[0], : output.shape[1]].reshape(2, -1)
        centers = (np.stack([x, y, x, y], axis=1) + 0.5) * stride
        boxes.append(centers + distances * [-1, -1, 1, 1])
        logits = output[..., :NUM_COCO_CLASSES].reshape(-1, NUM_COCO_CLASSES)
        scores.append(1 / (1 + np.exp(-logits)))
    return np.concatenate(boxes), np.concatenate(scores)


def suppress(
    boxes: np.ndarray, scores: np.ndarray, min_score: float
) -> list[tuple[int, float, np.ndarray]]:
    """Keep the best boxes of each class, and return `(class, score, box)`, best first."""
    found = []
    for label in np.unique(np.nonzero(scores >= min_score)[1]):
        chosen = np.flatnonzero(scores[:, label] >= min_score)
        order = chosen[np.argsort(-scores[chosen, label], kind="stable")]
        while len(order):
            best, order = order[0], order[1:]
            found.append((int(label), float(scores[best, label]), boxes[best]))
            order = order[_ious(boxes[best], boxes[order]) <= NMS_THRESHOLD]
    return sorted(found, key=lambda item: -item[1])


def _ious(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    intersection = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    return intersection / np.maximum(areas - intersection, 1e-9)


def detect(
    model: Any, image: np.ndarray, min_score: float = 0.25, side: int = SIDE
) -> list[tuple[int, float, np.ndarray]]:
    """Detect the objects of one image.

    Args:
        model: an image to the outputs of `nanodet_raw_graph`.
        image: `[height, width, (R, G, B)]` uint8.
        min_score: least score.
        side: of the square that the image is scaled to.

    Returns:
        `(class, score, box (x1, y1, x2, y2) in pixels of the image)` with classes from 0, best
        first.
    """
    square, scale, (top, left) = letterbox(image, side)
    outputs = model((square - np.array(NANODET_PIXELS.mean, np.float32))[None])
    boxes, scores = decode([keras.ops.convert_to_numpy(output)[0] for output in outputs])
    boxes = (boxes - [left, top, left, top]) / scale
    boxes = np.clip(boxes, 0, [*image.shape[1::-1], *image.shape[1::-1]])
    return suppress(boxes, scores, min_score)


def main() -> None:
    """Print the detections in each photograph: class, score and box (x1, y1, x2, y2)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", help="file that tools/convert_nanodet.py wrote")
    parser.add_argument("images", nargs="+")
    arguments = parser.parse_args()
    pixels = keras.Input((None, None, 3))
    model = keras.Model(pixels, nanodet_raw_graph(pixels))
    load_weights(model, arguments.weights)
    for path in arguments.images:
        print(path)
        image = cv2.imread(path)
        if image is None:
            print("    cannot be read")
            continue
        for label, score, box in detect(model, image[..., ::-1]):
            place = box.round().astype(int).tolist()
            print(f"    {COCO_CLASS_NAMES[label + 1]} {score:.3f} at {place}")


if __name__ == "__main__":
    main()
