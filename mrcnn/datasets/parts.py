"""The parts of a dataset, such as train and val: their names, and opening one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mrcnn.datasets.dataset import Dataset
from mrcnn.datasets.registry import dataset_folder, find_dataset, load_reader, open_dataset

TRAINING_NAMES = ("train", "training")
VALIDATION_NAMES = ("val", "valid", "validation")


def open_part(
    path: Any,
    format: str | None,
    subset: str | None,
    classes: list[str] | None = None,
    options: Mapping[str, Any] | None = None,
    keep_going: bool = False,
) -> Dataset:
    """Open one part of a dataset; an empty one is an error.

    Args:
        path: see `open_dataset`, as for what follows.
        format: name of the format; None finds it.
        subset: the part, such as "train"; None for a dataset in one piece.
        classes: names of the classes to load; None loads all.
        options: further arguments of the reader.
        keep_going: record broken annotation files; the dataset may then be empty.

    Raises:
        ValueError: the dataset holds no image.
    """
    more = {"keep_going": keep_going, **(options or {})}
    dataset = open_dataset(path, format=format, subset=subset, classes=classes, **more)
    if not dataset.num_images and not keep_going:
        raise ValueError(f"dataset is {path}{f' ({subset})' if subset else ''}; it holds no image")
    return dataset


def subsets_of(path: Any, format: str | None) -> list[str]:
    """Return the names of the parts of a dataset, an empty list where it is in one piece."""
    place: Any = path
    if format is None:
        format, place = find_dataset(path)
    place = Path(dataset_folder(place, format))
    is_open = place.is_dir() or place.suffix.lower() in (".yaml", ".yml")
    return list(load_reader(format).subsets(place)) if is_open else []


def find_part(parts: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the first part whose name is one of `names`, with or without a year (val2017)."""
    for part in parts:
        if part.rstrip("0123456789_.-") in names:
            return part
    return None
