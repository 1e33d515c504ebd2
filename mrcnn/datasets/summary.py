"""Counts of what a dataset holds (`summary`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.files.names import counted, printable

if TYPE_CHECKING:
    from mrcnn.datasets.dataset import Dataset

__all__ = ["ClassCount", "DatasetSummary", "summarize_dataset"]

_MAX_NAMES = 20
# Passes numbers of images on, such as `tqdm`.
Progress = Callable[[Iterable[int]], Iterable[int]]


@dataclass
class ClassCount:
    """Counts of a class: instances (crowds too), and images with at least one."""

    instances: int = 0
    images: int = 0


@dataclass
class DatasetSummary:
    """The result of `summary`.

    Attributes:
        num_images: all images.
        num_negatives: images without an instance.
        num_instances: all instances, crowds included.
        num_crowds: instances that mark a crowd.
        classes: class name -> counts, in the order of the class numbers, no background.
        num_unreadable: images whose instances could not be read; `check` gives the cause.
    """

    num_images: int
    num_negatives: int
    num_instances: int
    num_crowds: int
    classes: dict[str, ClassCount]
    num_unreadable: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        values = asdict(self)
        if not self.num_unreadable:
            del values["num_unreadable"]
        return values

    def __str__(self) -> str:
        crowds = f", {self.num_crowds} of them crowds" if self.num_crowds else ""
        unreadable = f", {self.num_unreadable} unreadable" if self.num_unreadable else ""
        lines = [
            f"{counted(self.num_images, 'image')}, {self.num_negatives} without instances"
            f"{unreadable}; {counted(self.num_instances, 'instance')}{crowds}"
        ]
        shown = {name: count for name, count in self.classes.items() if count.instances}
        if shown:
            width = max(5, *(len(name) for name in shown))
            lines.append(f"{'class':<{width}}  instances  images")
            lines += [
                f"{printable(name):<{width}}  {count.instances:9d}  {count.images:6d}"
                for name, count in shown.items()
            ]
        if empty := [name for name in self.classes if name not in shown]:
            number = counted(len(empty), "class", "classes")
            lines.append(f"{number} without instances: {listed_names(empty)}")
        return "\n".join(lines)


def listed_names(names: Sequence[str]) -> str:
    """Return names with commas, printable; after the first ones an ellipsis."""
    return printable(", ".join(names[:_MAX_NAMES])) + (", ..." if len(names) > _MAX_NAMES else "")


def summarize_dataset(dataset: Dataset, progress: Progress = iter) -> DatasetSummary:
    """Count what a prepared dataset holds; see `Dataset.summary`.

    Args:
        dataset: the dataset.
        progress: called with the numbers of the images, which it passes on, such as `tqdm`.
    """
    counts = [ClassCount() for _ in range(dataset.num_classes)]
    negatives = instances = crowds = unreadable = 0
    for image_id in progress(dataset.image_ids):
        try:
            class_ids = dataset.image_class_ids(image_id)
        except Exception:  # whatever a dataset of the user's own raises
            unreadable += 1
            continue
        negatives += class_ids.size == 0
        instances += class_ids.size
        crowds += int(np.sum(class_ids < 0))
        for class_id, count in Counter(np.abs(class_ids).tolist()).items():
            if class_id < len(counts):  # `check` reports the others
                counts[class_id].instances += count
                counts[class_id].images += 1
    return DatasetSummary(
        num_images=dataset.num_images,
        num_negatives=int(negatives),
        num_instances=int(instances),
        num_crowds=crowds,
        classes=dict(zip(_class_labels(dataset)[1:], counts[1:], strict=True)),
        num_unreadable=unreadable,
    )


def _class_labels(dataset: Dataset) -> list[str]:
    """Return the class names, with source and id where several classes have one name."""
    names = list(dataset.class_names)
    with_source = [
        f"{name} ({info['source']})" if names.count(name) > 1 else name
        for name, info in zip(names, dataset.class_info, strict=True)
    ]
    return [
        f"{name} ({info['source']}.{info['id']})" if with_source.count(label) > 1 else label
        for name, label, info in zip(names, with_source, dataset.class_info, strict=True)
    ]
