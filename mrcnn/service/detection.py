"""The model that the service runs, with its threshold and its refiner."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.files.names import printable
from mrcnn.refinement.results import precision_for, refine_result

if TYPE_CHECKING:
    from mrcnn.detection.result_dict import DetectionResult
    from mrcnn.refinement.refiner import Refiner

logger = logging.getLogger("mrcnn.service")

# Detections of a lower score are not returned, whatever a request asks for: they are noise, and
# each costs the time of its mask.
LOWEST_THRESHOLD = 0.05


class ServedModel:
    """A model with the facts that the service says about it.

    Args:
        model: a `MaskRCNN`, or any object with its `detect` and `class_names`. Its
            `DETECTION_MIN_CONFIDENCE` should be `LOWEST_THRESHOLD`, or requests cannot ask for
            lower scores.
        name: what the page calls it.
        threshold: score from which objects are returned where a request names none, 0..1.
        refiner: sharpens the masks, unless a request leaves it out; None if none can.
        refiner_name: what the page calls the refiner.
        lowest: score below which the model finds nothing, 0..1.

    Attributes:
        class_names: names by class id, the background first.

    Raises:
        ValueError: `threshold` is out of range.
    """

    def __init__(
        self,
        model: Any,
        name: str,
        threshold: float = 0.5,
        refiner: Refiner | None = None,
        refiner_name: str | None = None,
        lowest: float = LOWEST_THRESHOLD,
    ) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}; it must be a number from 0 to 1")
        self._model = model
        self.name = printable(name)
        self.threshold, self.lowest = float(threshold), float(lowest)
        self.refiner = refiner
        self.refiner_name = None if refiner is None else printable(refiner_name or "refiner")
        self.class_names = [str(one) for one in model.class_names or ["BG"]]

    @property
    def _without_refiner(self) -> dict[str, Any]:
        """The argument of `detect` by which a model's own refiner does not run."""
        return {} if getattr(self._model, "refiner", None) is None else {"refiner": None}

    def warm_up(self) -> None:
        """Detect on an empty image, so that the first request is as fast as the others."""
        blank = np.zeros((64, 64, 3), np.uint8)
        self._model.detect([blank], rle=True, **self._without_refiner)
        if self.refiner is not None:
            probabilities = np.zeros((64, 64, 1), np.float32)
            probabilities[16:48, 16:48] = 1
            result = {"mask_probs": probabilities}
            refine_result(blank, result, self.refiner, precision=precision_for(self._model))

    def detect(
        self, images: Sequence[np.ndarray], refine_from: float | None = None
    ) -> list[DetectionResult | Exception]:
        """Detect in one call; an image that fails does not fail the others.

        Args:
            images: [height, width, 3] uint8 RGB each.
            refine_from: refine the masks and leave out detections below this score; None does
                neither.

        Returns:
            A result with run lengths for each image, or the exception that it caused.
        """
        options: dict[str, Any] = {"rle": True, **self._without_refiner}
        if refine_from is not None:
            options |= {"refiner": self.refiner, "min_confidence": refine_from}
        try:
            return list(self._model.detect(list(images), **options))
        except Exception as error:  # anything; it is the answer to one of the images
            if len(images) == 1:
                return [error]
        logger.warning("a batch of %d images failed; they are detected one by one", len(images))
        return [result for image in images for result in self.detect([image], refine_from)]
