"""Models that process one list of images after the other, as streams of any length."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mrcnn.detection import streaming
from mrcnn.geometry.images import as_rgb

if TYPE_CHECKING:
    from typing_extensions import Self


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
            lambda image, name: as_rgb(image, self.config.IMAGE_CHANNEL_COUNT),
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

    def detect(self, images: Sequence[Any]) -> list[dict[str, Any]]:
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
        return self.detect(images)
