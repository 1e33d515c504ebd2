"""Synthetic squares, circles and triangles, drawn on request.

As in Matterport's train_shapes sample: a dataset that needs no files and trains in minutes. Every
image is drawn from a seed, so that it is the same each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.datasets.reader import DatasetReader

if TYPE_CHECKING:
    from typing_extensions import Self

CLASSES = ("square", "circle", "triangle")
MIN_SIDE = 32
_MAX_SHAPES = 4
# How much of the smaller of two shapes' boxes the other may hide. Three others then leave
# something of every shape.
_MAX_HIDDEN = 0.25
_MIN_CONTRAST = 120  # summed over the three channels
_SUBSET_SEEDS = {None: 0, "train": 0, "val": 1, "test": 2}


@dataclass(frozen=True)
class Shape:
    """One shape.

    Attributes:
        kind: one of `CLASSES`.
        color: RGB, 0..255.
        center: (x, y) in pixels.
        half_size: half its width and height in pixels; a circle's radius.
    """

    kind: str
    color: tuple[int, int, int]
    center: tuple[int, int]
    half_size: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(y1, x1, y2, x2) in pixels, lower right corner exclusive."""
        (x, y), s = self.center, self.half_size
        return y - s, x - s, y + s + 1, x + s + 1


class ShapesDataset(DatasetReader):
    """Images of one to four shapes on a plain background. Later shapes hide earlier ones.

    Example:
        >>> dataset = ShapesDataset()
        >>> dataset.load_shapes(3, 64, 96)
        >>> dataset.prepare()
        >>> dataset.load_image(0).shape
        (64, 96, 3)
    """

    format_name = "shapes"

    def load_shapes(self, count: int, height: int, width: int, seed: int = 0) -> None:
        """Choose the shapes of images; nothing is drawn yet.

        Args:
            count: number of images.
            height: their height in pixels, at least 32.
            width: their width in pixels, at least 32.
            seed: another seed gives other images; use another one for validation.

        Raises:
            ValueError: `count` is negative or the size too small.
        """
        if count < 0:
            raise ValueError(f"count is {count}; it must not be negative")
        if min(height, width) < MIN_SIDE:
            raise ValueError(
                f"height, width are {height}, {width}; both must be at least {MIN_SIDE}"
            )
        for number, name in enumerate(CLASSES, start=1):
            self.add_class("shapes", number, name)
        for number in range(count):
            # A generator for each image: image 7 is the same however many there are.
            rng = np.random.default_rng([seed, number])
            background, shapes = random_shapes(rng, height, width)
            self.add_image(
                "shapes",
                number,
                None,
                width=width,
                height=height,
                bg_color=background,
                shapes=shapes,
            )

    @classmethod
    def from_path(
        cls,
        path: str | int | Path,
        subset: str | None = None,
        classes: Sequence[str] | None = None,
        *,
        height: int = 128,
        width: int = 128,
        seed: int | None = None,
        **options: Any,
    ) -> Self:
        """Open a dataset of shapes, prepared.

        Args:
            path: number of images.
            subset: "train", "val" or "test": other images for each.
            classes: must be None or all three names.
            height: height of the images in pixels, at least 32.
            width: width of the images in pixels, at least 32.
            seed: None takes the subset's.
            **options: further arguments of `load_shapes`.

        Raises:
            ValueError: `path` is no number, or another argument is out of its range.
        """
        try:
            count = int(str(path))
        except ValueError:
            raise ValueError(f"path is {str(path)!r}; it must be a number of images") from None
        if subset not in _SUBSET_SEEDS:
            raise ValueError(f"subset is {subset!r}; it must be train, val or test")
        if classes is not None and sorted(classes) != sorted(CLASSES):
            raise ValueError(f"classes is {classes!r}; it must be None or {', '.join(CLASSES)}")
        dataset = cls()
        seed = _SUBSET_SEEDS[subset] if seed is None else seed
        dataset.load_shapes(count, height, width, seed, **options)
        dataset.prepare()
        return dataset

    def load_image(self, image_id: int) -> np.ndarray:
        """Draw the image; see `Dataset.load_image`."""
        info = self.image_info[image_id]
        if info["source"] != "shapes":
            return super().load_image(image_id)
        image = np.empty((info["height"], info["width"], 3), np.uint8)
        image[:] = info["bg_color"]
        for shape in info["shapes"]:
            draw_shape(image, shape, shape.color)
        return image

    def image_size(self, image_id: int) -> tuple[int, int]:
        """Return the size without drawing; see `Dataset.image_size`."""
        return self._recorded_or_header_size(image_id)

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw the visible parts of the shapes; see `DatasetReader.load_mask`."""
        info = self.image_info[image_id]
        if info["source"] != "shapes":
            return super().load_mask(image_id)
        height, width = info["height"], info["width"]
        hidden = np.zeros((height, width), bool)
        masks = []
        for shape in reversed(info["shapes"]):
            mask = np.zeros((height, width), np.uint8)
            draw_shape(mask, shape, 1)
            mask = mask.astype(bool)
            masks.append(mask & ~hidden)
            hidden |= mask
        class_ids = self.image_class_ids(image_id)
        return self._stack_nonempty(image_id, masks[::-1], class_ids, height, width)

    def image_class_ids(self, image_id: int) -> np.ndarray:
        """Return class numbers without drawing; see `Dataset.image_class_ids`."""
        info = self.image_info[image_id]
        if info["source"] != "shapes":
            return super().image_class_ids(image_id)
        numbers = [
            self.map_source_class_id(f"shapes.{CLASSES.index(s.kind) + 1}") for s in info["shapes"]
        ]
        return np.array(numbers, np.int32)

    def image_reference(self, image_id: int) -> Any:
        """Return the list of the image's shapes."""
        info = self.image_info[image_id]
        return info["shapes"] if info["source"] == "shapes" else super().image_reference(image_id)


def random_shapes(
    rng: np.random.Generator, height: int, width: int
) -> tuple[tuple[int, int, int], list[Shape]]:
    """Return a background color, and one to four shapes that do not hide much of each other."""
    background = _random_color(rng)
    shapes: list[Shape] = []
    for _ in range(int(rng.integers(1, _MAX_SHAPES + 1))):
        shape = _random_shape(rng, height, width, background)
        if all(_overlap(shape.box, other.box) <= _MAX_HIDDEN for other in shapes):
            shapes.append(shape)
    return background, shapes


def draw_shape(canvas: np.ndarray, shape: Shape, color: int | tuple[int, int, int]) -> None:
    """Draw a shape into [height, width] or [height, width, 3] uint8, in place."""
    import cv2

    (x, y), s = shape.center, shape.half_size
    if shape.kind == "square":
        cv2.rectangle(canvas, (x - s, y - s), (x + s, y + s), color, -1)
    elif shape.kind == "circle":
        cv2.circle(canvas, (x, y), s, color, -1)
    else:
        corners = np.array([[x, y - s], [x - s, y + s], [x + s, y + s]], np.int32)
        cv2.fillPoly(canvas, [corners], color)


def _random_shape(
    rng: np.random.Generator, height: int, width: int, background: tuple[int, int, int]
) -> Shape:
    kind = CLASSES[int(rng.integers(len(CLASSES)))]
    color = background
    while sum(abs(a - b) for a, b in zip(color, background, strict=True)) < _MIN_CONTRAST:
        color = _random_color(rng)
    side = min(height, width)
    half_size = int(rng.integers(max(side // 12, 3), side // 4 + 1))
    x = int(rng.integers(half_size, width - half_size))
    y = int(rng.integers(half_size, height - half_size))
    return Shape(kind, color, (x, y), half_size)


def _random_color(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue


def _overlap(box: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Return the intersection of two boxes over the smaller one's area."""
    rows = min(box[2], other[2]) - max(box[0], other[0])
    columns = min(box[3], other[3]) - max(box[1], other[1])
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return max(rows, 0) * max(columns, 0) / min(areas)
