"""Augmentations that have a name: `flips`, `light` and `strong`, or those of a Python file.

Each is a function `f(image, mask, rng) -> (image, mask)` as `mrcnn.loading.augmentation` applies
it, and needs OpenCV alone.
"""

from __future__ import annotations

import math
import os
import runpy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcnn.files.names import printable
from mrcnn.geometry.proposals import flip_boxes, move_boxes

Augmentation = Callable[..., tuple[np.ndarray, ...]]
AUGMENTATION_NAMES = ("none", "flips", "light", "strong")
# The name that a Python file must define.
VARIABLE = "augmentation"
# Pixels that come into view: close to Matterport's mean pixel, so nearly zero for the network.
_OUTSIDE = (124.0, 117.0, 104.0)
_GRAY = 115.0


def flip_left_right(
    image: np.ndarray, mask: np.ndarray, rng: Any = None, boxes: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """Mirror an image and its masks with a probability of one half.

    Args:
        image: [height, width, channels].
        mask: [height, width, instances].
        rng: a NumPy generator; None makes one.
        boxes: [N, (y1, x1, y2, x2)] pixels, or None.

    Returns:
        Views of both, mirrored together or not at all, and the boxes if there are any.
    """
    if rng is None:
        rng = np.random.default_rng()
    is_flipped = rng.random() < 0.5
    if is_flipped:
        image, mask = image[:, ::-1], mask[:, ::-1]
    if boxes is None:
        return image, mask
    return image, mask, flip_boxes(boxes, image.shape[1]) if is_flipped else boxes


@dataclass(frozen=True)
class RandomChange:
    """Mirror, move and recolor an image and its masks at random.

    Attributes:
        scale: largest factor of size; the factor is in 1 / `scale` .. `scale`.
        stretch: largest factor of width against height, likewise.
        rotation: largest angle in degrees.
        shift: largest shift as a share of each side.
        brightness: largest change of brightness as a share of the range, 0..1.
        contrast: largest factor of contrast, drawn likewise to `scale`.
        tint: largest factor of each channel alone, drawn likewise.
    """

    scale: float
    stretch: float
    rotation: float
    shift: float
    brightness: float
    contrast: float
    tint: float

    def __call__(
        self,
        image: np.ndarray,
        mask: np.ndarray,
        rng: Any = None,
        boxes: np.ndarray | None = None,
    ) -> tuple[np.ndarray, ...]:
        """Return a changed image and its masks.

        Args:
            image: [height, width, channels] uint8.
            mask: [height, width, instances] bool.
            rng: a NumPy generator; None makes one.
            boxes: [N, (y1, x1, y2, x2)] pixels, or None.

        Returns:
            Both in the same shape and type, and the moved boxes if there are any. What moves out
            of the image is lost.
        """
        if rng is None:
            rng = np.random.default_rng()
        matrix = self._draw_matrix(rng, image.shape)
        image, mask = self._recolor(_move(image, matrix), rng), _move_masks(mask, matrix)
        return (image, mask) if boxes is None else (image, mask, move_boxes(boxes, matrix))

    def _draw_matrix(self, rng: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Return the affine matrix [2, 3] from old to new pixels (x, y)."""
        height, width = shape[:2]
        flip = -1.0 if rng.random() < 0.5 else 1.0
        zoom, stretch = _factor(rng, self.scale), math.sqrt(_factor(rng, self.stretch))
        angle = math.radians(rng.uniform(-self.rotation, self.rotation))
        shift = rng.uniform(-self.shift, self.shift, 2) * (width, height)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        linear = turn @ np.diag([flip * zoom * stretch, zoom / stretch])
        center = np.array([(width - 1) / 2, (height - 1) / 2])
        return np.hstack([linear, (center + shift - linear @ center)[:, None]])

    def _recolor(self, image: np.ndarray, rng: Any) -> np.ndarray:
        """Return the image with another brightness, contrast and color."""
        gains = _factor(rng, self.contrast) * np.array(
            [_factor(rng, self.tint) for _ in range(image.shape[2])]
        )
        offset = 255 * rng.uniform(-self.brightness, self.brightness)
        # A table of the 256 values of each channel: faster than arithmetic on every pixel.
        values = np.arange(256)[:, None]
        table = np.clip(np.rint((values - 128) * gains + 128 + offset), 0, 255).astype(np.uint8)
        return np.stack([table[image[..., i], i] for i in range(image.shape[2])], axis=-1)


LIGHT = RandomChange(
    scale=1.25, stretch=1.0, rotation=0.0, shift=0.1, brightness=0.1, contrast=1.15, tint=1.0
)
STRONG = RandomChange(
    scale=1.6, stretch=1.15, rotation=15.0, shift=0.15, brightness=0.15, contrast=1.4, tint=1.15
)
_BY_NAME: dict[str, Augmentation | None] = {
    "none": None,
    "flips": flip_left_right,
    "light": LIGHT,
    "strong": STRONG,
}


def find_augmentation(name: str | os.PathLike[str]) -> Any:
    """Return the augmentation of a name or of a Python file.

    Args:
        name: `none`; `flips` (mirrored left to right, half of the images); `light` (flips, size
            by 1/1.25 to 1.25, shift by up to 10%, brightness and contrast by up to 10% and 15%);
            `strong` (flips, size by 1/1.6 to 1.6, width against height by up to 15%, rotation by
            up to 15 degrees, shift by up to 15%, stronger changes of brightness, contrast and
            color); or the path of a Python file that defines `augmentation`, as
            `MaskRCNN.train` takes it.

    Returns:
        A function, an augmenter or a transform; None for `none`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the name is unknown, or the file defines no augmentation.
    """
    from mrcnn.loading.augmentation import check_augmentation

    text = os.fspath(name)
    if text in _BY_NAME:
        return _BY_NAME[text]
    if not text.endswith(".py"):
        raise ValueError(
            f"augmentation is {printable(text)!r}; it must be {', '.join(AUGMENTATION_NAMES)} or "
            "the path of a Python file"
        )
    if not os.path.isfile(text):
        raise FileNotFoundError(f"augmentation is {printable(text)!r}; there is no such file")
    defined = runpy.run_path(text)
    if VARIABLE not in defined:
        raise ValueError(f"{printable(text)} defines no {VARIABLE!r}; it must define one")
    check_augmentation(defined[VARIABLE])
    return defined[VARIABLE]


def _factor(rng: Any, largest: float) -> float:
    """Return a random factor in 1 / largest .. largest, smaller and larger ones alike."""
    return math.exp(rng.uniform(-1, 1) * math.log(largest))


def _move(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return an image [H, W, channels] moved by an affine matrix."""
    import cv2

    height, width, channels = image.shape
    outside = _OUTSIDE if channels == 3 else (_GRAY,) * 4
    # OpenCV moves up to 4 channels at once.
    parts = [
        cv2.warpAffine(
            np.ascontiguousarray(image[..., first : first + 4]),
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderValue=outside,
        ).reshape(height, width, -1)
        for first in range(0, channels, 4)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)


def _move_masks(mask: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return masks [H, W, instances] moved by an affine matrix; outside of them there is none."""
    import cv2

    from mrcnn.geometry.masks import empty_masks

    height, width, count = mask.shape
    moved = empty_masks(height, width, count)
    for i in range(count):
        one = np.ascontiguousarray(mask[..., i]).view(np.uint8)
        cv2.warpAffine(
            one,
            matrix,
            (width, height),
            dst=moved[..., i].view(np.uint8),
            flags=cv2.INTER_NEAREST,
        )
    return moved
