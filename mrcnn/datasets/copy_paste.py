"""Copy-paste augmentation: objects of some images pasted into others.

From few images a network learns where their objects are as much as what they look like. Pasting
each object at other places, in other sizes and on other backgrounds counters that (Ghiasi et al.,
"Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation", 2021).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import cv2
import numpy as np

from mrcnn.datasets.dataset import Dataset
from mrcnn.datasets.views import DatasetView, shown_classes
from mrcnn.geometry.boxes import mask_box
from mrcnn.geometry.masks import sized_masks

# Square root of a pasted object's area, as a share of the scene's longer side.
SMALLEST, LARGEST = 0.08, 0.6
# Objects of which less than this share, or fewer pixels, stay visible are removed.
LEAST_LEFT, LEAST_PIXELS = 0.25, 64
# Random change of brightness, so that a network does not learn the seam.
_GAIN = 0.2
_CACHED_SCENES = 8


class CopyPasteDataset(DatasetView):
    """A prepared dataset of scenes: images of another dataset with objects pasted in.

    A scene is determined by the seed and its number; nothing is stored. Train on scenes together
    with the images themselves: `merge([dataset, CopyPasteDataset(dataset, 500)])`, and with
    `cache=True`, as composing a scene reads several images.
    """

    def __init__(
        self,
        dataset: Dataset,
        count: int,
        *,
        max_objects: int = 3,
        max_side: int = 640,
        seed: int = 0,
    ) -> None:
        """Choose a background for each scene; scenes are composed when they are loaded.

        Args:
            dataset: a prepared dataset, of which at least one image has objects.
            count: number of scenes.
            max_objects: the most objects that are pasted into a scene; the least is one.
            max_side: longer side of a scene in pixels; larger images are shrunk to it.
            seed: whole number of at least 0.

        Raises:
            ValueError: an argument breaks its rule, or there is no object to paste.
        """
        for name, value, least in (
            ("count", count, 1),
            ("max_objects", max_objects, 1),
            ("max_side", max_side, 64),
            ("seed", seed, 0),
        ):
            if value < least:
                raise ValueError(f"{name} is {value}: it must be at least {least}")
        self._donors = self._find_donors(dataset)
        self._seed, self._max_objects, self._max_side = seed, max_objects, max_side
        backgrounds = np.random.default_rng(seed).choice(dataset.image_ids, count)
        super().__init__(
            [(dataset, int(number)) for number in backgrounds],
            shown_classes(dataset),
            dataset._class_aliases,
            dataset._joined_classes,
            {id(dataset): np.arange(dataset.num_classes)},
        )
        self._scene = functools.lru_cache(_CACHED_SCENES)(self._compose)

    @staticmethod
    def _find_donors(dataset: Dataset) -> dict[int, list[tuple[int, int]]]:
        """Map each class number to (image, instance) of each object, without crowds.

        Labels of a weight below 1 and instances with a box alone are left out, unless there are
        no others.
        """
        for class_ids_of in (_certain_class_ids, _all_class_ids):
            donors: dict[int, list[tuple[int, int]]] = {}
            for number in dataset.image_ids:
                for instance, class_id in enumerate(class_ids_of(dataset, number)):
                    if class_id > 0:
                        donors.setdefault(int(class_id), []).append((int(number), instance))
            if donors:
                return donors
        raise ValueError("the dataset has no objects: there is nothing to paste")

    def load_image(self, image_id: int) -> np.ndarray:
        """Return the scene, [height, width, channels] uint8."""
        return self._scene(image_id)[0].copy()

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the visible parts, [height, width, instances] bool, and class ids."""
        _, masks, class_ids, _ = self._scene(image_id)
        return masks.copy(), class_ids.copy()

    def load_label_weights(self, image_id: int) -> np.ndarray:
        """Return the weights of the background's labels, and 1 for pasted objects."""
        return self._scene(image_id)[3].copy()

    def image_has_masks(self, image_id: int) -> None:
        """Return None: to see what is left of the background's objects takes a whole scene."""
        return None

    def load_proposals(self, image_id: int) -> np.ndarray:
        """Raise ValueError: the proposals of the background do not know the pasted objects."""
        raise ValueError(
            f"image {image_id} is a copy-paste scene, which has no proposals; training without RPN "
            "needs a dataset of photographs"
        )

    def image_size(self, image_id: int) -> tuple[int, int]:
        """See `Dataset.image_size`."""
        return self._scene(image_id)[0].shape[:2]

    def image_class_ids(self, image_id: int) -> np.ndarray:
        """See `Dataset.image_class_ids`."""
        return self._scene(image_id)[2].copy()

    def image_reference(self, image_id: int) -> str:
        """Return the origin of the background and the number of the scene."""
        return f"{super().image_reference(image_id)} (copy-paste scene {image_id})"

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_scene"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._scene = functools.lru_cache(_CACHED_SCENES)(self._compose)

    def _compose(self, image_id: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        dataset, number = self.origins[image_id]
        rng = np.random.default_rng([self._seed, 1, image_id])
        image, masks, class_ids = dataset.load_image(number), *dataset.load_mask(number)
        masks = sized_masks(masks, image.shape)
        weights = dataset.load_label_weights(number)
        weights = np.ones((len(class_ids), 2), np.float32) if weights is None else weights
        image, masks = _shrink(image, masks, self._max_side)
        # Only classes that the source labels: its own objects of others are not annotated.
        active = dataset.source_class_ids[dataset.image_info[number]["source"]]
        classes = sorted(set(self._donors) & {int(c) for c in active})
        whole = masks.sum((0, 1))
        for _ in range(int(rng.integers(1, self._max_objects + 1)) if classes else 0):
            class_id = int(rng.choice(classes))
            donor, instance = self._donors[class_id][rng.integers(len(self._donors[class_id]))]
            cutout = _cut_out(dataset, donor, instance, class_id, image.shape[2])
            if cutout is None:
                continue
            image, placed = _paste(image, *cutout, rng)
            masks = np.dstack([masks & ~placed[..., None], placed])
            class_ids = np.append(class_ids, np.int32(class_id))
            whole = np.append(whole, placed.sum())
            weights = np.append(weights, np.ones((1, 2), np.float32), axis=0)
        left = masks.sum((0, 1))
        keep = (left >= np.maximum(LEAST_LEFT * whole, LEAST_PIXELS)) | (class_ids < 0)
        return image, masks[..., keep], class_ids[keep].astype(np.int32), weights[keep]


def _all_class_ids(dataset: Dataset, image_id: int) -> np.ndarray:
    return dataset.image_class_ids(image_id)


def _certain_class_ids(dataset: Dataset, image_id: int) -> np.ndarray:
    """Return the class numbers of `load_mask`'s instances, 0 for those not to be pasted."""
    weights = dataset.load_label_weights(image_id)
    if weights is None:
        return dataset.image_class_ids(image_id)
    _, class_ids = dataset.load_mask(image_id)
    return np.where((weights >= 1).all(axis=1), class_ids, 0)


def _shrink(image: np.ndarray, masks: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return image and masks, shrunk where the longer side is above `side`."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image, masks.astype(bool)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)
    small = np.zeros((*image.shape[:2], masks.shape[2]), bool)
    for i in range(masks.shape[2]):
        mask = np.ascontiguousarray(masks[..., i], np.uint8) * 255
        small[..., i] = cv2.resize(mask, size, interpolation=cv2.INTER_AREA) > 127
    return image, small


def _cut_out(
    dataset: Dataset, image_id: int, instance: int, class_id: int, channels: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the pixels of an object's box and its mask in it; None where it has no pixel."""
    masks, class_ids = dataset.load_mask(image_id)
    # The annotations may list more instances than there are masks: those without a pixel.
    if instance >= len(class_ids) or class_ids[instance] != class_id:
        of_class = np.flatnonzero(np.asarray(class_ids) == class_id)
        if not len(of_class):
            return None
        instance = int(of_class[instance % len(of_class)])
    mask = masks[..., instance].astype(bool)
    image, box = dataset.load_image(image_id), mask_box(mask)
    if box is None or image.shape[2] != channels:
        return None
    y1, x1, y2, x2 = box
    return image[y1:y2, x1:x2], mask[y1:y2, x1:x2]


def _paste(
    image: np.ndarray, pixels: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the image with an object at a random place in a random size, and its mask."""
    height, width = image.shape[:2]
    side = math.exp(rng.uniform(math.log(SMALLEST), math.log(LARGEST))) * max(height, width)
    scale = side / math.sqrt(mask.sum())
    # Enlarged at most twice, and not larger than the scene.
    scale = min(scale, 2.0, 1.2 * height / mask.shape[0], 1.2 * width / mask.shape[1])
    flip = -1.0 if rng.random() < 0.5 else 1.0
    angle = math.radians(rng.uniform(-10, 10))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = turn @ np.diag([flip * scale, scale])
    # The object's center may lie anywhere in the scene: it is cut off at the border.
    place = rng.uniform(0.05, 0.95, 2) * (width, height)
    center = (np.array(mask.shape[::-1]) - 1) / 2
    matrix = np.hstack([linear, (place - linear @ center)[:, None]])
    if scale < 0.5:  # warping alone would leave out pixels
        smooth = (0, 0), 0.4 / scale
        pixels = cv2.GaussianBlur(pixels, *smooth).reshape(pixels.shape)
    alpha = cv2.warpAffine(mask.astype(np.float32), matrix, (width, height))
    pixels = cv2.warpAffine(
        pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ).reshape(image.shape)
    pixels = np.clip(pixels * rng.uniform(1 - _GAIN, 1 + _GAIN), 0, 255)
    soft = cv2.GaussianBlur(alpha, (3, 3), 0)[..., None]
    blended = image + soft * (pixels - image.astype(np.float32))
    return np.rint(blended).astype(np.uint8), alpha >= 0.5
