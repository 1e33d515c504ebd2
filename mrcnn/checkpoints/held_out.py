"""Which images a training held out of a dataset, so that a measurement can use exactly those."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

from mrcnn.files.names import printable, shown

ImageKey = int | str


@dataclass(frozen=True)
class HeldOut:
    """The images that `mrcnn train` held out of a dataset by itself, to validate on.

    Stored with the weights. Where it was the dataset's own validation part, or another dataset,
    there is no such record.

    Attributes:
        dataset: path of the dataset as it was given, or the number of images of "shapes".
        path: the same as an absolute path, on the machine of the training.
        format: name of the format; None where it was recognized.
        part: part of the dataset that was split, such as "train"; None for one in one piece.
        val_fraction: share of the images that was asked for, 0..1.
        ids: the held-out images: their `id` in `Dataset.image_info`, such as a file name or COCO's
            number.
        identified_by: "id", or "path" where several images of the dataset have one id: `ids` are
            then paths relative to the dataset's folder, with forward slashes.
    """

    dataset: str
    path: str
    format: str | None
    part: str | None
    val_fraction: float
    ids: tuple[ImageKey, ...]
    identified_by: str = "id"

    @classmethod
    def of_split(
        cls,
        whole: Any,
        val: Any,
        *,
        dataset: str,
        format: str | None = None,
        part: str | None = None,
        val_fraction: float,
    ) -> HeldOut:
        """Record a split.

        Args:
            whole: the `Dataset` that was split.
            val: the part of it that is held out.
            dataset: path of the dataset as it was given.
            format: as in `HeldOut`.
            part: as in `HeldOut`.
            val_fraction: as in `HeldOut`.
        """
        path = absolute(dataset)
        is_unique = max(Counter(_ids(whole)).values(), default=1) == 1
        ids = _ids(val) if is_unique else _paths(val, path)
        return cls(
            *(dataset, path, format, part, val_fraction, tuple(ids)), "id" if is_unique else "path"
        )

    def numbers_in(self, dataset: Any, path: str | os.PathLike[str] | None = None) -> list[int]:
        """Return the numbers of the images of a dataset that were held out, in ascending order.

        Args:
            dataset: a `Dataset`, usually the one that was split. It may have been moved, and have
                gained or lost images.
            path: its folder or annotation file, if it is not the one of the training any more.
        """
        wanted = set(self.ids)
        place = self.path if path is None else os.path.abspath(path)
        keys = _ids(dataset) if self.identified_by == "id" else _paths(dataset, place)
        return [number for number, key in enumerate(keys) if key in wanted]

    def to_dict(self) -> dict[str, Any]:
        """Return the record as values that `json.dump` accepts."""
        return {**asdict(self), "ids": list(self.ids)}

    @classmethod
    def from_dict(cls, values: Any) -> HeldOut:
        """Return the record that `to_dict` gave; names of other entries are ignored.

        Raises:
            ValueError: an entry is missing or of another type; the message names it.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"held_out is {shown(values, 60)}; it must be an object")
        fraction: Any = values.get("val_fraction")
        ids: Any = values.get("ids")
        by = values.get("identified_by", "id")
        if type(fraction) not in (int, float) or not 0 <= fraction <= 1:
            raise ValueError(
                f"held_out.val_fraction is {shown(fraction, 60)}; it must be a number from 0 to 1"
            )
        if not isinstance(ids, list) or not all(type(key) in (int, str) for key in ids):
            raise ValueError(
                f"held_out.ids is {shown(ids, 60)}; it must be a list of names or whole numbers"
            )
        if by not in ("id", "path"):
            raise ValueError(f"held_out.identified_by is {shown(by, 60)}; it must be id or path")
        return cls(
            dataset=_text(values, "dataset"),
            path=_text(values, "path"),
            format=_text(values, "format", optional=True),
            part=_text(values, "part", optional=True),
            val_fraction=fraction,
            ids=tuple(ids),
            identified_by=by,
        )


def absolute(dataset: str) -> str:
    """Return the path of a dataset as `HeldOut.path` has it; "500" of "shapes" is no path."""
    return os.path.abspath(dataset) if os.path.exists(dataset) else dataset


def _ids(dataset: Any) -> list[ImageKey]:
    """Return the id of each image, as JSON can hold it."""
    ids = (info["id"] for info in dataset.image_info)
    return [int(i) if isinstance(i, Integral) else str(i) for i in ids]


def _paths(dataset: Any, place: str) -> list[ImageKey]:
    """Return the path of each image relative to the folder of a dataset."""
    folder = place if os.path.isdir(place) else os.path.dirname(place)
    paths = (os.path.abspath(str(info["path"])) for info in dataset.image_info)
    return [Path(os.path.relpath(path, folder)).as_posix() for path in paths]


def _text(values: Mapping[str, Any], name: str, optional: bool = False) -> Any:
    value = values.get(name)
    if isinstance(value, str) or (optional and value is None):
        return value
    must = "a text or null" if optional else "a text"
    raise ValueError(f"held_out.{printable(name)} is {shown(value, 60)}; it must be {must}")
