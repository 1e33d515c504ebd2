"""What both R-CNNs share: a network sees every region of an image by itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mrcnn.detection.result_dict import DetectionResult
from mrcnn.detection.results import Detections
from mrcnn.family.image_stream import BoxStream, as_images
from mrcnn.family.rcnn.networks import RegionNetwork
from mrcnn.family.rcnn.regions import given_or_proposed, predict_regions, show_progress
from mrcnn.family.rcnn.settings import RCNNConfig
from mrcnn.family.suppression import suppress_in_classes


class RegionDetector(BoxStream):
    """Detects by classifying regions; subclasses define `_select`.

    Attributes:
        config: an `RCNNConfig`.
        class_names: names by class id, the background first.
        keras_model: the network on regions, with any number of outputs.
    """

    config: RCNNConfig
    class_names: list[str]
    keras_model: keras.Model
    _network: RegionNetwork

    def load_imagenet(self, path: str | os.PathLike[str] | None = None) -> None:
        """Set the network's values to those trained on ImageNet.

        Args:
            path: for a network of keras.applications its weight file, with the classifier; None
                downloads it. For efficientnet_lite0 a file of
                `tools/convert_efficientnet_lite0.py --classifier`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is of another network, or is needed.
            OSError: the values cannot be downloaded.
        """
        self._network.load(path)

    def detect(
        self,
        images: Sequence[Any],
        proposals: Sequence[np.ndarray] | None = None,
        *,
        suppress: bool = True,
        verbose: int = 0,
    ) -> list[DetectionResult]:
        """Find the objects in images.

        Args:
            images: images of any size: gray, RGB or RGBA.
            proposals: regions [N, (y1, x1, y2, x2)] of each image in pixels; None for selective
                search.
            suppress: drop detections that overlap a better one of their class; False returns all
                regions above DETECTION_MIN_CONFIDENCE.
            verbose: 1 shows a progress bar.

        Returns:
            A dict for each image: `rois` [N, (y1, x1, y2, x2)] int32 in pixels, `class_ids` [N]
            int32 and `scores` [N] float32 in 0..1, best first. There are no masks. It has the
            methods of `DetectionResult`.

        Raises:
            ValueError: an element of `images` is no image, or the proposals do not fit the images.
        """
        pixels = as_images(images)
        results = []
        regions = given_or_proposed(pixels, proposals, self.config)
        for image, boxes in zip(show_progress(pixels, verbose, "Detecting"), regions):
            outputs = predict_regions(
                self.keras_model, image, boxes, self._network.preprocess, self.config
            )
            found = self._select(boxes, outputs, image.shape[:2])
            result = found[np.argsort(-found.scores, kind="stable")].to_result()
            entries = self.suppress(result) if suppress else result
            results.append(DetectionResult(entries, class_names=self.class_names, image=image))
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

    def _select(
        self, boxes: np.ndarray, outputs: Sequence[np.ndarray], shape: tuple[int, ...]
    ) -> Detections:
        """Return the regions that are objects.

        Args:
            boxes: [N, (y1, x1, y2, x2)] of the regions.
            outputs: those of the network, [N, ...] each.
            shape: (height, width) of the image.
        """
        raise NotImplementedError
