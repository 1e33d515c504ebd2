"""The data of a training: what is trained on, what is validated on, and what is held out."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mrcnn.files.names import shown

if TYPE_CHECKING:
    from mrcnn.checkpoints import HeldOut
    from mrcnn.datasets import Dataset


def open_parts(
    dataset: Any,
    format: str | None,
    val: Any,
    val_fraction: float,
    classes: list[str] | None = None,
    options: Any = None,
    earlier: HeldOut | None = None,
    resumed: bool = False,
    open_part: Callable[..., Dataset] | None = None,
) -> tuple[Dataset, Dataset | None, HeldOut | None]:
    """Open the data to train and to validate on.

    Validation is, in this order: `val`; the part of the dataset with such a name; a random share
    of the images, which is the same in every call. Only that share has a record, the third value,
    and only if the dataset is given by its path.

    Args:
        dataset: path of the dataset, or a prepared `Dataset`.
        format: name of the format; None finds it.
        val: path of the dataset to validate on, a prepared one, or None.
        val_fraction: share of the images, 0 or more and below 1.
        classes: names of the classes to load; None loads all.
        options: the options of the reader, as `open_part` takes them.
        earlier: see `mrcnn.training.starting.hold_out`.
        resumed: see there.
        open_part: another function than `mrcnn.datasets.parts.open_part`, with its arguments.

    Raises:
        ValueError: the dataset has parts, and none of them is called train.
    """
    from mrcnn.datasets import parts
    from mrcnn.training.starting import hold_out

    open_part = open_part or parts.open_part
    _check_data("dataset", dataset)
    if val is not None:
        _check_data("val", val)
    if not is_path(dataset):
        data, train_part, val_part = dataset, None, None
    else:
        dataset = os.fspath(dataset)
        names_of_parts = parts.subsets_of(dataset, format)
        train_part = parts.find_part(names_of_parts, parts.TRAINING_NAMES)
        val_part = parts.find_part(names_of_parts, parts.VALIDATION_NAMES)
        if names_of_parts and train_part is None:
            listed = ", ".join(names_of_parts)
            raise ValueError(f"dataset is {dataset} with the parts {listed}; one must be train")
        data = open_part(dataset, format, train_part, classes, options)
    # Of label images, all parts have the classes of one table.
    is_table = getattr(data, "maps_every_pixel", False)
    names = classes if is_table else list(data.class_names[1:])
    if val is not None and not is_path(val):
        return data, val, None
    if val is not None:
        part = parts.find_part(parts.subsets_of(val, format), parts.VALIDATION_NAMES)
        val_data = open_part(val, format, part, classes, options)
        if not is_table and set(val_data.class_names[1:]) < set(names or ()):
            # It lacks some of the classes; with the names of all it numbers its own alike.
            val_data = open_part(val, format, part, names, options)
        return data, val_data, None
    if val_part is not None:
        return data, open_part(dataset, format, val_part, names, options), None
    if val_fraction == 0 or data.num_images < 2:
        return data, None, None
    if not is_path(dataset):
        return (*data.split(val_fraction), None)
    return hold_out(
        *(data, val_fraction),
        dataset=dataset,
        format=format,
        part=train_part,
        earlier=earlier,
        resumed=resumed,
    )


def _check_data(name: str, data: Any) -> None:
    if not is_path(data) and not hasattr(data, "class_names"):
        raise ValueError(
            f"{name} is {shown(data)}; it must be a path, or a Dataset after its prepare()"
        )


def is_path(dataset: Any) -> bool:
    """Return whether a dataset is given by its path, not as a `Dataset`."""
    return isinstance(dataset, str | os.PathLike)
