"""A dataset in memory and a small configuration, for the tests of the loader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.config import Config
from mrcnn.datasets.dataset import Dataset


class ToyConfig(Config):
    NAME = "toy"
    NUM_CLASSES = 4
    IMAGES_PER_GPU = 2
    STEPS_PER_EPOCH = 4
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    MINI_MASK_SHAPE = (14, 14)
    MAX_GT_INSTANCES = 5
    RPN_ANCHOR_SCALES = (8, 16, 24, 32, 64)
    RPN_TRAIN_ANCHORS_PER_IMAGE = 32
    TRAIN_ROIS_PER_IMAGE = 12
    MASK_SHAPE = [14, 14]  # noqa: RUF012


class ToyDataset(Dataset):
    """Images of noise with rectangles as instances.

    Args:
        boxes: for each image its boxes (y1, x1, y2, x2), also the masks.
        size: (height, width) of all images.
    """

    def __init__(self, boxes: Sequence[Any], size: tuple[int, int] = (48, 64)) -> None:
        super().__init__()
        self.size = size
        for class_id, name in enumerate(("cat", "dog", "cow"), start=1):
            self.add_class("toy", class_id, name)
        for number, image_boxes in enumerate(boxes):
            self.add_image("toy", f"img{number}", f"/pictures/{number}.png", boxes=image_boxes)
        self.prepare()

    def load_image(self, image_id: int) -> np.ndarray:
        noise = np.random.RandomState(image_id)
        return noise.randint(0, 256, (*self.size, 3)).astype(np.uint8)

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        boxes = self.image_info[image_id]["boxes"]
        mask = np.zeros((*self.size, len(boxes)), bool)
        for index, (y1, x1, y2, x2) in enumerate(boxes):
            mask[y1:y2, x1:x2, index] = True
        return mask, np.arange(len(boxes), dtype=np.int32) % 3 + 1


def blobs(count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """`count` random ellipses, [height, width, count] bool; some reach over the border."""
    random = np.random.RandomState(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    centers = random.uniform(0, 1, (count, 2)) * size
    radii = random.uniform(1, max(size) / 3, (count, 2))
    parts = [
        ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1
        for (cy, cx), (ry, rx) in zip(centers, radii, strict=True)
    ]
    return np.stack(parts, axis=-1)
