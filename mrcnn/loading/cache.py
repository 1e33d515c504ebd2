"""Keep decoded images and masks in memory, for datasets that are small enough."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

# Largest size of the cache in bytes.
DEFAULT_LIMIT = 2 << 30


class CachedDataset:
    """A dataset that decodes each image and its masks only once.

    All other attributes are those of the dataset. Masks are kept at one bit per pixel. Images
    that do not fit under the limit are loaded each time. Threads may share it.

    Args:
        dataset: a prepared dataset.
        limit: largest number of bytes held.
    """

    def __init__(self, dataset: Any, limit: int = DEFAULT_LIMIT) -> None:
        self._dataset = dataset
        self._limit = limit
        self._images: dict[int, np.ndarray] = {}
        self._masks: dict[int, tuple[np.ndarray, tuple[int, ...], np.ndarray]] = {}
        self._weights: dict[int, np.ndarray | None] = {}
        self._lock = threading.Lock()
        self.num_bytes = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            # While unpickling, before there is a dataset.
            raise AttributeError(name)
        return getattr(self._dataset, name)

    def load_image(self, image_id: int) -> np.ndarray:
        """Return the image, as the dataset gives it; the array cannot be written to."""
        image = self._images.get(image_id)
        if image is None:
            image = np.array(self._dataset.load_image(image_id))
            image.flags.writeable = False
            if self._reserve(image.nbytes):
                self._images[image_id] = image
        return image

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the masks [height, width, instances] bool, and the class ids [instances]."""
        known = self._masks.get(image_id)
        if known is not None:
            bits, shape, class_ids = known
            flat = np.unpackbits(bits, count=int(np.prod(shape)))
            return flat.view(bool).reshape(shape), class_ids.copy()
        mask, class_ids = self._dataset.load_mask(image_id)
        mask, class_ids = np.asarray(mask), np.array(class_ids)
        bits = np.packbits(mask.astype(bool, copy=False))
        if self._reserve(bits.nbytes + class_ids.nbytes):
            self._masks[image_id] = bits, mask.shape, class_ids
        return mask, class_ids.copy()

    def load_label_weights(self, image_id: int) -> np.ndarray | None:
        """Return the weights [instances, 2], or None; they are few and do not count as memory."""
        if image_id not in self._weights:
            self._weights[image_id] = self._dataset.load_label_weights(image_id)
        return self._weights[image_id]

    def load_proposals(self, image_id: int) -> np.ndarray | None:
        """Return the proposals as the dataset gives them; they are not kept here."""
        proposals: np.ndarray | None = self._dataset.load_proposals(image_id)
        return proposals

    def _reserve(self, num_bytes: int) -> bool:
        with self._lock:
            if self.num_bytes + num_bytes > self._limit:
                return False
            self.num_bytes += num_bytes
            return True

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        # A lock cannot be sent to another process.
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
