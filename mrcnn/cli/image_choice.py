"""The images that `mrcnn evaluate` measures: a part, or what the training held out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mrcnn.checkpoints.held_out import HeldOut
    from mrcnn.datasets import Dataset

# The word for the whole dataset in `--subset`.
ALL = "all"


@dataclass(frozen=True)
class ImageChoice:
    """The images of a dataset that are measured.

    Attributes:
        image_ids: their numbers.
        part: name of the part of the dataset; None for a dataset in one piece.
        reason: why these images; empty where they are all images of the part.
        warnings: what to consider about the figures.
        limit: only this many are measured, the first ones; None for all.
    """

    image_ids: list[int]
    part: str | None = None
    reason: str = ""
    warnings: tuple[str, ...] = ()
    limit: int | None = None

    def __str__(self) -> str:
        from mrcnn.files.names import counted

        part = f" ({self.part})" if self.part else ""
        reason = f" {self.reason}" if self.reason else ""
        count = len(self.image_ids)
        is_cut = self.limit is not None and self.limit < count
        first = f", of which the first {self.limit}" if is_cut else ""
        return f"{part}: {counted(count, 'image')}{reason}{first}"

    @property
    def measured(self) -> list[int]:
        """The images that are measured."""
        return self.image_ids[: self.limit]


def open_images(
    path: str,
    format: str | None,
    subset: str | None,
    classes: list[str] | None,
    options: Sequence[str] | None,
    held_out: HeldOut | None,
) -> tuple[Dataset, ImageChoice]:
    """Open the data to measure on, and choose its images.

    Args:
        path: folder or annotation file of the dataset.
        format: name of the format; None finds it.
        subset: the part; `all` for all images of all parts; None for the validation part or, where
            there is none, for the images that the training held out, or all.
        classes: names of the classes to load; None loads all.
        options: options of the reader.
        held_out: what the training of the weights held out.
    """
    from mrcnn.cli.data import open_data
    from mrcnn.datasets import merge
    from mrcnn.datasets.parts import VALIDATION_NAMES, find_part, subsets_of

    parts = subsets_of(path, format)
    if subset == ALL and ALL not in parts:
        all_parts: list[str | None] = [*parts] or [None]
        opened = [open_data(path, format, part, classes, options) for part in all_parts]
        data = opened[0] if len(opened) == 1 else merge(opened)
        part = ", ".join(parts) or None
        return data, choose_images(data, path, part, held_out, everything=True)
    part = subset or find_part(parts, VALIDATION_NAMES)
    if part is None and held_out is not None and held_out.part in parts:
        part = held_out.part
    data = open_data(path, format, part, classes, options)
    return data, choose_images(data, path, part, held_out, everything=subset is not None)


def choose_images(
    data: Dataset, path: str, part: str | None, held_out: HeldOut | None, everything: bool
) -> ImageChoice:
    """Return the images that the training held out of this dataset, or all with a warning.

    The record of the training applies to the dataset of the same path, and to one of the same
    name elsewhere that has all of the images.

    Args:
        data: the opened part.
        path: path of the dataset as the user gave it.
        part: name of the part.
        held_out: what the training held out; None where it is not known.
        everything: take all images also where some were held out.
    """
    from mrcnn.files.names import counted

    every = [int(image_id) for image_id in data.image_ids]
    if held_out is None or not _has_part(held_out, part):
        return ImageChoice(every, part)
    numbers = held_out.numbers_in(data, path)
    num_held_out = len(held_out.ids)
    same_path = os.path.realpath(path) == os.path.realpath(held_out.path)
    same_name = Path(os.path.abspath(path)).name == Path(held_out.path).name
    has_all = len(numbers) == num_held_out
    if not same_path and not (same_name and has_all):
        # A dataset of this size, split alike; numbers as ids occur in any.
        is_as_large = abs(len(every) * held_out.val_fraction - num_held_out) < 1
        is_copy = has_all and bool(numbers) and is_as_large
        warnings = (_copy_warning(held_out, len(numbers)),) if is_copy else ()
        return ImageChoice(every, part, warnings=warnings)
    if not numbers:
        missing = f"the {counted(num_held_out, 'image')} that the training held out"
        warning = f"{missing} are not in this dataset any more; the training may have used all."
        return ImageChoice(every, part, warnings=(warning[0].upper() + warning[1:],))
    if everything:
        used = len(every) - len(numbers)
        warning = f"The training used {used} of these {counted(len(every), 'image')}."
        return ImageChoice(every, part, warnings=(warning,) if used else ())
    reason = f"of {len(every)}, those that the training held out"
    warnings = ()
    if len(numbers) < num_held_out:
        gone = num_held_out - len(numbers)
        warnings = (f"{gone} of the {num_held_out} held-out images are not in it any more.",)
    return ImageChoice(numbers, part, reason, warnings)


def _copy_warning(held_out: HeldOut, num_held_out: int) -> str:
    """Return what to consider about a dataset of another name that has all held-out images."""
    from mrcnn.files.names import counted, printable

    name = printable(Path(held_out.path).name)
    return (
        f"The images include all that the training held out of {name} "
        f"({counted(num_held_out, 'image')}). If this is a copy of {name}, the training used the "
        f"others; in a folder of the same name, only the held-out ones are measured."
    )


def _has_part(held_out: HeldOut, part: str | None) -> bool:
    """Return whether images of a part, or of the parts in a list, may have been held out."""
    return held_out.part is None or part is None or held_out.part in part.split(", ")
