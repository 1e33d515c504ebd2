"""What the images of an evaluation show: numbers and sizes of objects and images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcnn.evaluation.coco import CocoEvaluator

__all__ = ["ClassContent", "Content", "Spread", "describe_content"]

# COCO's limits between small, medium and large objects, in pixels of area.
SMALL, LARGE = 32**2, 96**2


@dataclass(frozen=True)
class Spread:
    """Least, median and greatest of some values."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """Return the spread of values, None where there are none."""
        array = np.fromiter(values, float)
        if not array.size:
            return None
        return cls(float(array.min()), float(np.median(array)), float(array.max()))


@dataclass(frozen=True)
class ClassContent:
    """Objects of one class; crowds are counted as `num_crowds` only.

    Attributes:
        name: name of the class.
        num_images: images with such an object or crowd.
        num_objects: objects.
        num_crowds: crowds.
        num_small: objects of an area below 32^2 pixels.
        num_medium: objects between.
        num_large: objects of an area above 96^2 pixels.
        side: square root of the areas, in pixels; None without objects.
    """

    name: str
    num_images: int
    num_objects: int
    num_crowds: int
    num_small: int
    num_medium: int
    num_large: int
    side: Spread | None


@dataclass(frozen=True)
class Content:
    """Images and objects of an evaluation.

    Attributes:
        num_images: images.
        num_empty: images without an object of the evaluated classes.
        width: widths of the images in pixels; None where no size is known.
        height: heights of the images in pixels; None where no size is known.
        objects_per_image: objects of each image; None without images.
        classes: classes with objects or crowds, by class id.
    """

    num_images: int
    num_empty: int
    width: Spread | None
    height: Spread | None
    objects_per_image: Spread | None
    classes: list[ClassContent]


def describe_content(evaluator: CocoEvaluator) -> Content:
    """Count and measure the true objects and the images of an evaluator."""
    by_class: dict[int, list[dict[str, Any]]] = defaultdict(list)
    images_with: dict[int, int] = defaultdict(int)
    counts, sizes = [], []
    for image_id in evaluator.image_ids:
        objects = evaluator.objects(image_id)
        counts.append(sum(not one["iscrowd"] for one in objects))
        sizes.append(evaluator.truth.load(image_id).size)
        for one in objects:
            by_class[one["class_id"]].append(one)
        for class_id in {one["class_id"] for one in objects}:
            images_with[class_id] += 1
    known = [size for size in sizes if size is not None]
    return Content(
        num_images=len(counts),
        num_empty=counts.count(0),
        width=Spread.of(width for _, width in known),
        height=Spread.of(height for height, _ in known),
        objects_per_image=Spread.of(counts),
        classes=[
            _of_class(evaluator.truth.class_name(class_id), images_with[class_id], objects)
            for class_id, objects in sorted(by_class.items())
        ],
    )


def _of_class(name: str, num_images: int, objects: list[dict[str, Any]]) -> ClassContent:
    areas = np.array([one["area"] for one in objects if not one["iscrowd"]], float)
    return ClassContent(
        name,
        num_images,
        len(areas),
        len(objects) - len(areas),
        int((areas < SMALL).sum()),
        int(((areas >= SMALL) & (areas <= LARGE)).sum()),
        int((areas > LARGE).sum()),
        Spread.of(np.sqrt(areas)),
    )
