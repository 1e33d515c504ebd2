"""Evaluation of a model on a dataset whose classes have other numbers: matched by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def match_classes(model_names: Sequence[str], data_names: Sequence[str]) -> list[int]:
    """Return the dataset's class id for each class of the model, 0 where there is none.

    Names are compared without letter case. Where the names of the model are unknown ("class 1"),
    or those of the dataset ("object", its only class), classes are matched by number if both
    have the same number of classes.

    Raises:
        ValueError: the model and the dataset have no class in common.
    """
    known = {str(name).lower(): number for number, name in enumerate(data_names) if number}
    numbers = [0, *(known.get(str(name).lower(), 0) for name in model_names[1:])]
    if any(numbers):
        return numbers
    nameless = all(name == f"class {k}" for k, name in enumerate(model_names[1:], start=1))
    nameless = nameless or list(data_names[1:]) == ["object"]
    if nameless and len(model_names) == len(data_names):
        return list(range(len(model_names)))
    hint = ""
    if list(data_names[1:]) == ["object"]:  # what readers call a class without a name
        hint = "; the option class_name=NAME gives that of the dataset a name"
    raise ValueError(
        f"the classes of the model are {_some(model_names[1:])}, those of the dataset are "
        f"{_some(data_names[1:])}; they must have a name in common{hint}"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(str, names[:5])) + (", ..." if len(names) > 5 else "")


class RenumberedClasses:
    """A model whose class ids are those of a dataset; objects of other classes are dropped.

    Args:
        model: a `MaskRCNN`.
        numbers: the dataset's class id for each class of the model, 0 for none.
    """

    def __init__(self, model: Any, numbers: Sequence[int]) -> None:
        self.model = model
        self.config = model.config
        self.numbers = np.asarray(numbers, dtype=np.int32)

    def detect(self, images: Sequence[Any], **options: Any) -> list[dict[str, Any]]:
        """Detect as `MaskRCNN.detect` does, with the dataset's class ids."""
        renumbered = []
        for result in self.model.detect(images, **options):
            class_ids = self.numbers[result["class_ids"]]
            kept = class_ids > 0
            renumbered.append(
                {
                    "rois": result["rois"][kept],
                    "class_ids": class_ids[kept],
                    "scores": result["scores"][kept],
                    "masks": result["masks"][..., kept],
                }
            )
        return renumbered
