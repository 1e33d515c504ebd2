"""R-CNN from scratch: an ImageNet classifier on every region, without any training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mrcnn.detection.results import Detections
from mrcnn.family.rcnn.imagenet_names import IMAGENET_CLASS_NAMES
from mrcnn.family.rcnn.networks import NUM_IMAGENET_CLASSES, build_region_network
from mrcnn.family.rcnn.regions import given_or_proposed, predict_regions, show_progress
from mrcnn.family.rcnn.settings import RCNNConfig
from mrcnn.family.suppression import suppress_in_classes
from mrcnn.geometry.images import as_rgb

__all__ = ["RegionClassifier"]


class RegionClassifier:
    """Finds ImageNet's 1,000 classes: the probabilities of a classifier for every region.

    Args:
        config: an `RCNNConfig`; BACKBONE names the classifier, and regions whose best class has a
            probability of less than DETECTION_MIN_CONFIDENCE are dropped. None takes the defaults
            and 0.9.

    Attributes:
        keras_model: regions to class probabilities.
        class_names: names by class id, the background first.

    Raises:
        ValueError: there is no such network, or it has no classifier.

    Example:
        detector = RegionClassifier()
        detector.load_imagenet("efficientnet_lite0.h5")
        before = detector.detect([image], suppress=False)[0]
        after = detector.suppress(before)
    """

    def __init__(self, config: RCNNConfig | None = None) -> None:
        if config is None:
            config = RCNNConfig()
            config.NUM_CLASSES = 1 + NUM_IMAGENET_CLASSES
            config.DETECTION_MIN_CONFIDENCE = 0.9
        self.config = config
        self._network = build_region_network(config)
        if self._network.probabilities is None:
            raise ValueError(
                f"BACKBONE is {self._network.name}; it must be a network with a classifier, "
                "efficientnet_lite0 or one of keras.applications"
            )
        self.keras_model = keras.Model(self._network.image, [self._network.probabilities])
        self.class_names = list(IMAGENET_CLASS_NAMES)

    def load_imagenet(self, path: str | os.PathLike[str] | None = None) -> None:
        """Set the values trained on ImageNet; see `RCNN.load_imagenet`."""
        self._network.load(path)

    def detect(
        self,
        images: Sequence[Any],
        proposals: Sequence[np.ndarray] | None = None,
        *,
        suppress: bool = True,
        verbose: int = 0,
    ) -> list[dict[str, Any]]:
        """Find objects in images.

        Args:
            images: images of any size: gray, RGB or RGBA.
            proposals: regions [N, (y1, x1, y2, x2)] of each image; None for selective search.
            suppress: drop detections that overlap a better one of their class.
            verbose: 1 shows a progress bar.

        Returns:
            A dict for each image: `rois` [N, (y1, x1, y2, x2)] int32 in pixels, `class_ids` [N]
            int32 and `scores` [N] float32 in 0..1, best first. There are no masks.

        Raises:
            ValueError: the proposals do not fit the images.
        """
        pixels = [as_rgb(image) for image in images]
        results = []
        for index, image in enumerate(show_progress(pixels, verbose, "Detecting")):
            boxes = given_or_proposed(pixels, proposals, index, self.config)
            (probabilities,) = predict_regions(
                self.keras_model, image, boxes, self._network.preprocess, self.config
            )
            best = probabilities.max(axis=1, initial=0)
            rows = np.flatnonzero(best >= self.config.DETECTION_MIN_CONFIDENCE)
            rows = rows[np.argsort(-best[rows], kind="stable")]
            class_ids = 1 + probabilities[rows].argmax(axis=1)
            found = Detections(np.rint(boxes[rows]), class_ids, best[rows])
            results.append(self.suppress(found.to_result()) if suppress else found.to_result())
        return results

    def suppress(self, result: dict[str, Any]) -> dict[str, Any]:
        """Drop detections of a result that overlap a better one of their class too much.

        Args:
            result: of `detect` with `suppress=False`.
        """
        return suppress_in_classes(
            Detections.from_result(result),
            self.config.DETECTION_NMS_THRESHOLD,
            self.config.DETECTION_MAX_INSTANCES,
        ).to_result()
