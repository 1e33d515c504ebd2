"""Batches of images and true boxes for the training of a YOLO network."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.family.training import ImageBatches
from mrcnn.family.yolo.images import fit_image
from mrcnn.geometry.boxes import extract_bboxes
from mrcnn.geometry.images import as_rgb
from mrcnn.loading.augmentation import apply_augmentation

# Largest number of objects of an image that are trained on.
MAX_OBJECTS = 100


class YoloBatches(ImageBatches):
    """Batches `(images [B, size, size, 3] in 0..1, boxes [B, M, (class, x, y, w, h)])`.

    Class ids start at 0 (the dataset's 1); rows of padding have the class -1. Crowds are left out.
    Each pass over the dataset has an order of its own; order and augmentation follow from `seed`.

    Args:
        dataset: a prepared Dataset.
        size: side of the network's input in pixels.
        batch_size: images per batch.
        keep_shape: whether images are fitted in with gray borders; False stretches them.
        **options: further arguments of `ImageBatches`.
    """

    def __init__(
        self,
        dataset: Any,
        size: int,
        batch_size: int,
        *,
        keep_shape: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(dataset, batch_size, **options)
        self.size = size
        self.keep_shape = keep_shape

    def make_batch(self, examples: list[Any]) -> tuple[Any, ...]:
        """Return images and boxes of the examples."""
        # A constant number of rows, since every other shape would be compiled.
        boxes = np.zeros((len(examples), MAX_OBJECTS, 5), np.float32)
        boxes[..., 0] = -1
        for row, (_, found) in enumerate(examples):
            boxes[row, : len(found)] = found
        return np.stack([image for image, _ in examples]), boxes

    def make_example(self, image_id: int, rng: np.random.Generator) -> tuple[Any, ...]:
        """Return one image and its boxes `[N, 5]`."""
        image = as_rgb(self.dataset.load_image(image_id))
        masks, class_ids = self.dataset.load_mask(image_id)
        if self.augmentation is not None:
            image, masks = apply_augmentation(self.augmentation, image.copy(), masks, rng)
        fitted, (height, width) = fit_image(image, self.size, self.keep_shape)
        corners = extract_bboxes(masks).astype(np.float32)
        is_object = (class_ids > 0) & (corners[:, 2] > corners[:, 0])
        corners, class_ids = corners[is_object][:MAX_OBJECTS], class_ids[is_object][:MAX_OBJECTS]
        scale = np.array([height / image.shape[0], width / image.shape[1]] * 2) / self.size
        offset = np.array([self.size - height, self.size - width] * 2) / (2 * self.size)
        low, high = np.split(corners * scale + offset, 2, axis=1)
        centers, sizes = (low + high)[:, ::-1] / 2, (high - low)[:, ::-1]
        return fitted, np.concatenate(
            [class_ids[:, None] - 1, centers, sizes], axis=1, dtype=np.float32
        )
