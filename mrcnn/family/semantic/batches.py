"""Batches of images and label maps for the training of a semantic network."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.datasets.semantic import VOID, load_label_map
from mrcnn.family.semantic.frames import Frame
from mrcnn.family.training import ImageBatches
from mrcnn.files.names import printable
from mrcnn.geometry.images import as_rgb
from mrcnn.loading.augmentation import apply_augmentation


class SemanticBatches(ImageBatches):
    """Batches `(images [B, H', W', channels], labels [B, H, W])`.

    All batches have one size: that of the largest image, in the next size that the network takes.
    Smaller images are padded, with the label VOID. Images larger than `max_side` are cut at a place
    that changes from pass to pass. Order, places and augmentation follow from `seed`.

    Args:
        dataset: a prepared Dataset.
        frame: the sizes that the network takes.
        batch_size: images per batch.
        mean: [channels] subtracted from the images.
        scale: factor after that.
        max_side: largest side of an image in pixels.
        **options: further arguments of `ImageBatches`.
    """

    def __init__(
        self,
        dataset: Any,
        frame: Frame,
        batch_size: int,
        *,
        mean: np.ndarray,
        scale: float = 1.0,
        max_side: int = 512,
        **options: Any,
    ) -> None:
        super().__init__(dataset, batch_size, **options)
        self.frame = frame
        self.mean = np.asarray(mean, np.float32)
        self.scale = scale
        sizes = np.array(_known_sizes(dataset))
        self.limits = [int(min(side, max_side)) for side in sizes.max(axis=0)]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the labels of each batch in pixels."""
        return self.frame.output_side(self.limits[0]), self.frame.output_side(self.limits[1])

    def make_batch(self, examples: list[Any]) -> tuple[Any, ...]:
        """Return images and labels of the examples."""
        return np.stack([e[0] for e in examples]), np.stack([e[1] for e in examples])

    def make_example(self, image_id: int, rng: np.random.Generator) -> tuple[Any, ...]:
        """Return one image, and its labels as int32."""
        image = as_rgb(self.dataset.load_image(image_id), len(self.mean))
        labels = load_label_map(self.dataset, image_id)
        if labels.shape != image.shape[:2]:
            raise ValueError(
                f"the labels of image {printable(self.dataset.image_info[image_id]['id'])} have "
                f"the size {labels.shape}; it must be that of the image, {image.shape[:2]}"
            )
        if self.augmentation is not None:
            image, labels = augment(self.augmentation, image, labels, rng)
        rows, columns = (
            slice(start, start + limit)
            for start, limit in (
                (int(rng.integers(max(side - limit, 0) + 1)), limit)
                for side, limit in zip(labels.shape, self.limits, strict=True)
            )
        )
        image, labels = image[rows, columns], labels[rows, columns]
        framed = np.full(self.size, VOID, np.int32)
        framed[: labels.shape[0], : labels.shape[1]] = labels
        return self.frame.pad((image - self.mean) * np.float32(self.scale), self.size), framed


def _known_sizes(dataset: Any) -> list[tuple[int, int]]:
    """Return the sizes of the images; those that cannot be read are skipped in the training."""
    sizes, failure = [], None
    for image_id in dataset.image_ids:
        try:
            sizes.append(dataset.image_size(image_id))
        except (OSError, ValueError) as error:
            failure = failure or error
    if failure is not None and not sizes:
        raise failure
    return sizes


def augment(
    augmentation: Any, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Augment an image and its label map in the same way.

    Each label that occurs, VOID included, is a mask for the augmentation. Pixels that none of them
    covers afterwards are VOID.

    Args:
        augmentation: as for `MaskRCNN.train`.
        image: [H, W, channels] uint8.
        labels: [H, W] uint8.
        rng: source of random numbers.

    Returns:
        The image and the labels, of the same shapes and types.
    """
    found = np.unique(labels)
    new_image, masks = apply_augmentation(
        augmentation, image.copy(), labels[..., None] == found, rng
    )
    new_labels = found[masks.argmax(axis=-1)]
    return new_image, np.where(masks.any(axis=-1), new_labels, np.uint8(VOID))
