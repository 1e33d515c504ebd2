"""R-CNN from scratch: an ImageNet classifier on every region, without any training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mrcnn.detection.results import Detections
from mrcnn.family.rcnn.detector import RegionDetector
from mrcnn.family.rcnn.imagenet_names import IMAGENET_CLASS_NAMES
from mrcnn.family.rcnn.networks import NUM_IMAGENET_CLASSES, build_region_network
from mrcnn.family.rcnn.settings import SETTINGS, RCNNConfig
from mrcnn.family.training import check_settings

__all__ = ["RegionClassifier"]


class RegionClassifier(RegionDetector):
    """Finds ImageNet's 1,000 classes: the probabilities of a classifier for every region.

    Args:
        config: an `RCNNConfig`; BACKBONE names the classifier, and regions whose best class has a
            probability of less than DETECTION_MIN_CONFIDENCE are dropped. None takes the defaults
            and 0.9.

    Attributes:
        keras_model: regions to class probabilities.
        class_names: names by class id, the background first.

    Raises:
        ValueError: a setting breaks its rule, or the network has no classifier.

    Example:
        detector = RegionClassifier()
        detector.load_imagenet("efficientnet_lite0.h5")
        before = detector.detect([image], suppress=False)[0]
        after = detector.suppress(before)
    """

    name = "region_classifier"

    def __init__(self, config: RCNNConfig | None = None) -> None:
        if config is None:
            config = RCNNConfig()
            config.NUM_CLASSES = 1 + NUM_IMAGENET_CLASSES
            config.DETECTION_MIN_CONFIDENCE = 0.9
        check_settings(config, SETTINGS)
        self.config = config
        self._network = build_region_network(config)
        if self._network.probabilities is None:
            raise ValueError(
                f"BACKBONE is {self._network.name}; it must be a network with a classifier, "
                "efficientnet_lite0 or one of keras.applications"
            )
        self.keras_model = keras.Model(self._network.image, [self._network.probabilities])
        self.class_names = list(IMAGENET_CLASS_NAMES)

    def _select(
        self, boxes: np.ndarray, outputs: Sequence[np.ndarray], shape: tuple[int, ...]
    ) -> Detections:
        del shape
        (probabilities,) = outputs
        best = probabilities.max(axis=1, initial=0)
        rows = np.flatnonzero(best >= self.config.DETECTION_MIN_CONFIDENCE)
        class_ids = 1 + probabilities[rows].argmax(axis=1)
        return Detections(np.rint(boxes[rows]), class_ids, best[rows])

    def _predict_images(self, images: Sequence[Any]) -> list[dict[str, Any]]:
        """Return results that also hold what was there before suppression, as `before`."""
        found = self.detect(images, suppress=False)
        return [{**self.suppress(before), "before": before} for before in found]
