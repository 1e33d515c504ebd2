"""Images that cannot be loaded: which to pass over, and when to stop."""

from __future__ import annotations

import logging
import threading
from typing import Any

from mrcnn.files.names import printable
from mrcnn.loading.image_gt import describe_image

logger = logging.getLogger("mrcnn.loading")

# Matterport's limit. In a large dataset more may be broken: its own balloons have 7 of 61.
MAX_BROKEN_IMAGES = 5
MAX_BROKEN_SHARE = 0.2
ON_ERROR = ("skip", "raise")


class BrokenImageError(ValueError):
    """An image of a dataset cannot be trained on; the message names the image and the cause."""


class BrokenImages:
    """Decides, for one dataset, whether an image that cannot be loaded is passed over.

    With "skip" each such image is logged once. The limits are 5 images in a row, and 5 different
    images or a fifth of the dataset, whichever is more; one more is an error. Threads may share it.

    Args:
        dataset: the dataset.
        on_error: "skip", or "raise" to make the first one an error.

    Raises:
        ValueError: another word.
    """

    def __init__(self, dataset: Any, on_error: str) -> None:
        if on_error not in ON_ERROR:
            raise ValueError(f'on_error is {on_error!r}; it must be "skip" or "raise"')
        self._dataset = dataset
        self._on_error = on_error
        self._limit = max(MAX_BROKEN_IMAGES, int(MAX_BROKEN_SHARE * len(dataset.image_ids)))
        self._known: set[int] = set()
        self._lock = threading.Lock()

    def add(self, image_id: int, error: Exception, num_in_a_row: int) -> None:
        """Log an image that cannot be loaded.

        Args:
            image_id: number of the image.
            error: what was raised.
            num_in_a_row: images that could not be loaded since the last that could, this one
                included.

        Raises:
            BrokenImageError: `on_error` is "raise", or one of the limits is exceeded.
        """
        text = _sentence(self._dataset, image_id, error)
        if self._on_error == "raise":
            raise BrokenImageError(text) from error
        with self._lock:
            is_new = image_id not in self._known
            self._known.add(image_id)
            num_known = len(self._known)
        if num_in_a_row > MAX_BROKEN_IMAGES:
            raise BrokenImageError(f"{text} ({num_in_a_row} images in a row failed)") from error
        if num_known > self._limit:
            num_images = len(self._dataset.image_ids)
            raise BrokenImageError(f"{text} ({num_known} of {num_images} images failed)") from error
        if is_new:
            logger.warning("Skipped %s", text)

    def __getstate__(self) -> dict[str, Any]:
        # A lock cannot be sent to another process.
        return {**self.__dict__, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def _sentence(dataset: Any, image_id: int, error: Exception) -> str:
    """Return image and cause in one line; an error that names the image is not repeated."""
    description = describe_image(dataset, image_id)
    text = " ".join(printable(str(error)).removeprefix(f"{description}: ").split())
    is_own = type(error) is ValueError or type(error).__module__.startswith("mrcnn.")
    kind = "" if is_own else type(error).__name__
    return f"{description}: {': '.join(part for part in (kind, text) if part)}"
