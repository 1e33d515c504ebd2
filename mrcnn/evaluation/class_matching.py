"""Evaluation of a model on a dataset whose classes have other numbers: matched by name."""

from __future__ import annotations

import difflib
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcnn.files.names import printable

# What readers call the only class of a dataset that names none.
NAMELESS = "object"


@dataclass(frozen=True)
class ClassMatch:
    """The classes of a model and those of a dataset that mean the same.

    Attributes:
        numbers: the dataset's class id for each class of the model, 0 for none.
        respelled: (name in the model, name in the dataset) of pairs that are spelled differently.
        not_in_model: names of the dataset's classes that the model lacks.
        not_in_data: names of the model's classes that the dataset lacks.
        by_number: whether names are unknown on one side and the order decided.
    """

    numbers: list[int]
    respelled: list[tuple[str, str]]
    not_in_model: list[str]
    not_in_data: list[str]
    by_number: bool = False

    @property
    def class_ids(self) -> list[int]:
        """The dataset's class ids that the model has, sorted."""
        return sorted({number for number in self.numbers if number})

    def notes(self) -> list[str]:
        """Return sentences for the user about all that is not matched by an equal name."""
        notes = []
        if self.by_number:
            notes.append("Classes are matched by their order, as one side has no names.")
        elif self.respelled:
            pairs = ", ".join(f"{model!r} is {data!r}" for model, data in self.respelled[:10])
            rest = f" and {len(self.respelled) - 10} more" if len(self.respelled) > 10 else ""
            notes.append(f"Classes whose names differ only in spelling: {pairs}{rest}.")
        if self.not_in_model:
            number = len(self.not_in_model) + len(self.class_ids)
            notes.append(
                f"Left out of all figures, as the model does not have them: "
                f"{len(self.not_in_model)} of the {number} classes of the dataset "
                f"({listed_names(self.not_in_model)})."
            )
        return notes


def match_classes(model_names: Sequence[str], data_names: Sequence[str]) -> ClassMatch:
    """Match the classes of a model with those of a dataset.

    Equal names belong together; then those that differ only in letter case, spaces, underscores
    and hyphens. Where the names of the model are unknown ("class 1"), or those of the dataset
    ("object", its only class), classes are matched by number if both have the same number of
    classes.

    Args:
        model_names: names by class id, the background first.
        data_names: the same of the dataset.

    Raises:
        ValueError: there is no class in common, or a name could be several of the other side.
    """
    model = [str(name) for name in model_names]
    data = [str(name) for name in data_names]
    numbers = _equal_names(model, data)
    respelled = _similar_names(model, data, numbers)
    by_number = not any(numbers) and _is_nameless(model, data)
    if by_number:
        numbers = list(range(len(model)))
    if not any(numbers):
        raise ValueError(_no_match(model[1:], data[1:]))
    return ClassMatch(
        numbers,
        respelled,
        [name for number, name in enumerate(data) if number and number not in numbers],
        [name for name, number in zip(model[1:], numbers[1:], strict=True) if not number],
        by_number,
    )


def listed_names(names: Sequence[str], limit: int = 8) -> str:
    """Return the first names, printable and separated by commas, and the number of the others."""
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(printable(name) for name in names[:limit]) + rest


def _equal_names(model: list[str], data: list[str]) -> list[int]:
    known = {name: number for number, name in reversed(list(enumerate(data))) if number}
    return [0, *(known.get(name, 0) for name in model[1:])]


def _similar_names(model: list[str], data: list[str], numbers: list[int]) -> list[tuple[str, str]]:
    """Match the names left over, in place; return the pairs."""
    left_in_data, left_in_model = defaultdict(list), defaultdict(list)
    for number, name in enumerate(data):
        if number and number not in numbers:
            left_in_data[_key(name)].append(number)
    for number, name in enumerate(model):
        if number and not numbers[number]:
            left_in_model[_key(name)].append(number)
    pairs = []
    for key, model_ids in left_in_model.items():
        data_ids = left_in_data.get(key, [])
        if not data_ids:
            continue
        if len(data_ids) > 1 or len(model_ids) > 1:
            ours = listed_names([model[number] for number in model_ids])
            theirs = listed_names([data[number] for number in data_ids])
            raise ValueError(
                f"the classes {ours} of the model and {theirs} of the dataset differ only in "
                "spelling; each must be like one name of the other side"
            )
        numbers[model_ids[0]] = data_ids[0]
        pairs.append((model[model_ids[0]], data[data_ids[0]]))
    return pairs


def _key(name: str) -> str:
    """Return what names that differ only in case, spaces, underscores and hyphens share."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in folded if letter not in "_-" and not letter.isspace())


def _is_nameless(model: list[str], data: list[str]) -> bool:
    numbered = all(name == f"class {k}" for k, name in enumerate(model[1:], start=1))
    return len(model) == len(data) and (numbered or data[1:] == [NAMELESS])


def _no_match(model: list[str], data: list[str]) -> str:
    """Return the message that both sides have no class in common."""
    text = (
        f"the classes of the model are {listed_names(model) or 'none'}; those of the dataset are "
        f"{listed_names(data) or 'none'}; they must have a name in common"
    )
    if data == [NAMELESS]:
        return (
            f"{text}. The only class of this dataset has no name: give it one with the reader's "
            "option class_name, on the command line for example --option "
            f"class_name={printable(model[0]) if model else 'NAME'}"
        )
    nearest = [
        f"{printable(name)} and {printable(close[0])}"
        for name in data[:100]
        if (close := difflib.get_close_matches(name, model, 1, 0.6))
    ]
    return f"{text} (the nearest: {', '.join(nearest[:3])})" if nearest else text


class RenumberedClasses:
    """A model whose class ids are those of a dataset; objects of other classes are dropped.

    Args:
        model: a `MaskRCNN`.
        numbers: the dataset's class id for each class of the model, 0 for none.
    """

    def __init__(self, model: Any, numbers: Sequence[int]) -> None:
        self.model = model
        self.config = model.config
        self.refiner = getattr(model, "refiner", None)
        self.numbers = np.asarray(numbers, dtype=np.int32)

    def detect(self, images: Sequence[Any], **options: Any) -> list[dict[str, Any]]:
        """Detect as `MaskRCNN.detect` does, with the dataset's class ids."""
        renumbered = []
        for result in self.model.detect(images, **options):
            class_ids = self.numbers[result["class_ids"]]
            kept = class_ids > 0
            one = {
                "rois": result["rois"][kept],
                "class_ids": class_ids[kept],
                "scores": result["scores"][kept],
            }
            if "masks" in result:
                one["masks"] = result["masks"][..., kept]
            renumbered.append(one)
        return renumbered
