"""Models that process one list of images after the other, as streams of any length."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.detection import streaming
from mrcnn.detection.molding import as_list
from mrcnn.geometry.images import as_rgb

if TYPE_CHECKING:
    from typing_extensions import Self

    from mrcnn.detection.result_dict import DetectionResult


def as_images(images: Any, channels: int = 3) -> list[np.ndarray]:
    """Return images as the networks of the family take them.

    Args:
        images: any number of images; a single array may come without a list around it.
        channels: as for `as_rgb`.

    Returns:
        [height, width, channels] uint8 each.

    Raises:
        ValueError: an element is no image; the message has its number.
    """
    return [_as_image(image, channels, f"images[{i}]") for i, image in enumerate(as_list(images))]


def _as_image(image: Any, channels: int, name: str) -> np.ndarray:
    """Return an image of `channels` channels and 8 bits; `name` is for error messages."""
    if isinstance(image, str | bytes | os.PathLike) or np.ndim(image) not in (2, 3):
        got = f"shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(
            f"{name} is {got}; it must be an array [height, width] or [height, width, channels]"
        )
    try:
        pixels = as_rgb(image, channels)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if not pixels.size:
        raise ValueError(f"{name} has the shape {pixels.shape}; it must have at least one pixel")
    return pixels


class ImageStream:
    """Gives a model what `mrcnn detect` needs: a stream of results; the base of the family.

    Attributes:
        name: its name in `mrcnn.family.MODELS`.
        config: its settings.
    """

    name: str
    config: Any

    def _predict_images(self, images: Sequence[Any]) -> list[dict[str, Any]]:
        """Return a result for each image; subclasses define it."""
        raise NotImplementedError

    def detect_stream(
        self,
        images: Iterable[Any],
        batch_size: int = 1,
        *,
        ahead: int = 4,
        errors: streaming.ErrorHandling = "raise",
        with_images: bool = False,
        refiner: None = None,
        rle: bool = False,
        on_stage: streaming.OnStage | None = None,
    ) -> Iterator[Any]:
        """Process any number of images, one after the other.

        Args:
            images: iterable of images, of paths, or of callables that return an image.
            batch_size: number of images that go into the network together.
            ahead: number of batches that may be under way.
            errors: as for `MaskRCNN.detect_stream`.
            with_images: yield `(image, result)`; the image is None if it could not be read.
            refiner: None; there are no masks to refine.
            rle: without effect; there are no masks.
            on_stage: as for `MaskRCNN.detect_stream`.

        Yields:
            A result for each image, in their order.
        """
        del rle
        if refiner is not None:
            raise ValueError(f"refiner must be None for {self.name}, which has no instance masks")
        results = streaming.stream(
            images,
            lambda image, name: _as_image(image, self.config.IMAGE_CHANNEL_COUNT, name),
            self._predict_images,
            lambda image, result: result,
            batch_size=batch_size,
            ahead=ahead,
            errors=errors,
            on_stage=on_stage,
        )
        return results if with_images else (result for _, result in results)


class BoxStream(ImageStream):
    """A model of the family that detects objects: `detect`, and a least score of its config."""

    def detect(self, images: Sequence[Any]) -> list[DetectionResult]:
        """Return a result for each image; subclasses define it."""
        raise NotImplementedError

    def with_min_confidence(self, min_confidence: float) -> Self:
        """Return a model of the same network that leaves out other detections.

        Args:
            min_confidence: `DETECTION_MIN_CONFIDENCE` of the copy, 0..1.
        """
        twin = copy.copy(self)
        twin.config = copy.copy(self.config)
        twin.config.DETECTION_MIN_CONFIDENCE = min_confidence
        return twin

    def _predict_images(self, images: Sequence[Any]) -> list[dict[str, Any]]:
        return list(self.detect(images))
