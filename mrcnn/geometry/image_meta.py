"""The `image_meta` vector: the attributes of an image that the network and the results need.

| positions | entry                                                                 |
| --------- | --------------------------------------------------------------------- |
| 0         | `image_id`: number of the image within its dataset                     |
| 1 to 3    | `original_image_shape`: (height, width, channels) before resizing      |
| 4 to 6    | `image_shape`: (height, width, channels) after resizing and padding    |
| 7 to 10   | `window`: (y1, x1, y2, x2) of the image within the padding, in pixels  |
| 11        | `scale`: factor by which the image was resized                         |
| from 12   | `active_class_ids`: 1 for each class that the dataset labels, else 0   |
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Indices along the last axis, for NumPy arrays and tensors alike.
IMAGE_ID = 0
ORIGINAL_IMAGE_SHAPE = slice(1, 4)
IMAGE_SHAPE = slice(4, 7)
WINDOW = slice(7, 11)
SCALE = 11
NUM_ATTRIBUTES = 12
ACTIVE_CLASS_IDS = slice(NUM_ATTRIBUTES, None)

FIELDS: dict[str, int | slice] = {
    "image_id": IMAGE_ID,
    "original_image_shape": ORIGINAL_IMAGE_SHAPE,
    "image_shape": IMAGE_SHAPE,
    "window": WINDOW,
    "scale": SCALE,
    "active_class_ids": ACTIVE_CLASS_IDS,
}


def image_meta_size(num_classes: int) -> int:
    """Return the length of an `image_meta` vector for this number of classes."""
    return NUM_ATTRIBUTES + num_classes


def compose_image_meta(
    image_id: int,
    original_image_shape: Sequence[int],
    image_shape: Sequence[int],
    window: Sequence[float],
    scale: float,
    active_class_ids: Sequence[int],
) -> np.ndarray:
    """Put the attributes of an image into one vector.

    Args:
        image_id: number of the image within its dataset.
        original_image_shape: (height, width, channels) before resizing.
        image_shape: (height, width, channels) after resizing and padding.
        window: (y1, x1, y2, x2) of the image within the padding, in pixels.
        scale: factor by which the image was resized.
        active_class_ids: [classes], 1 for a class that the image's dataset labels, else 0.
            Datasets that are trained on together may have different classes.

    Returns:
        [12 + classes] float64.
    """
    return np.array(
        [image_id, *original_image_shape, *image_shape, *window, scale, *active_class_ids]
    )


def parse_image_meta(meta: np.ndarray) -> dict[str, np.ndarray]:
    """Split the vectors of `compose_image_meta` into their attributes.

    Args:
        meta: [batch, 12 + classes].

    Returns:
        `image_id` [batch], `original_image_shape` and `image_shape` [batch, 3], `window`
        [batch, 4] and `active_class_ids` [batch, classes], all int32; `scale` [batch] float32.
    """
    return {
        name: meta[:, index].astype(np.float32 if name == "scale" else np.int32)
        for name, index in FIELDS.items()
    }
