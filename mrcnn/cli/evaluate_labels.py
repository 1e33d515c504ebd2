"""`mrcnn evaluate` of a semantic network: pixel scores in total and per class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcnn.files.names import counted, printable

if TYPE_CHECKING:
    import numpy as np

    from mrcnn.checkpoints.description import DescribedWeights
    from mrcnn.evaluation import LabelReport


@dataclass(frozen=True)
class LabelEvaluation:
    """What a semantic network found on a dataset.

    Attributes:
        report: the scores over all images.
        images: those of each image, by its id.
        predict: returns the label map of an image, with the class numbers of the dataset.
        failures: (image, reason) of those that cannot be read.
    """

    report: LabelReport
    images: Mapping[int, LabelReport]
    predict: Callable[[np.ndarray], np.ndarray]
    failures: Sequence[tuple[str, str]]


def match_numbers(model_names: Sequence[str], data_names: Sequence[str]) -> list[int] | None:
    """Return the number of each class of the model in the dataset; None where all are equal.

    The background ("BG", "background") is one class under any name.

    Raises:
        ValueError: the dataset lacks a class of the model, or the other way round.
    """
    ours, theirs = ([_plain(name) for name in names] for names in (model_names, data_names))
    if sorted(ours) != sorted(theirs):
        raise ValueError(
            f"the dataset has the classes {_listed(data_names)}; they must be those of the model: "
            f"{_listed(model_names)}"
        )
    return None if ours == theirs else [theirs.index(name) for name in ours]


def _plain(name: str) -> str:
    folded = name.strip().lower().replace("_", " ").replace("-", " ")
    return "background" if folded == "bg" else folded


def _listed(names: Sequence[str]) -> str:
    return printable(", ".join(names[:12])) + (", ..." if len(names) > 12 else "")


def evaluate_label_maps(
    described: DescribedWeights,
    data: Any,
    image_ids: Sequence[int],
    progress: Any,
) -> LabelEvaluation:
    """Segment images of a dataset and compare with its label maps.

    Args:
        described: the weights.
        data: the dataset.
        image_ids: its images to measure.
        progress: called with the number of images done and of all images.

    Raises:
        ValueError: the classes differ, or no image can be read.
    """
    import numpy as np

    from mrcnn.cli.models import load_family_model
    from mrcnn.datasets.semantic import load_label_map
    from mrcnn.evaluation.label_maps import LabelReport, count_pixels

    numbers = match_numbers(described.class_names, data.class_names)
    table = None if numbers is None else np.array(numbers, np.uint8)
    model = load_family_model(described)
    names, images, failures = list(data.class_names), {}, []

    def predict(image: np.ndarray) -> np.ndarray:
        labels = model.segment([image])[0]["labels"]
        return labels if table is None else table[labels]

    for done, image_id in enumerate(image_ids, start=1):
        info = data.image_info[image_id]
        try:
            image, true = data.load_image(image_id), load_label_map(data, image_id)
        except Exception as error:  # whatever a file makes a reader raise
            failures.append((str(info["path"] or info["id"]), str(error) or type(error).__name__))
            continue
        images[image_id] = LabelReport(names, count_pixels(predict(image), true, len(names)))
        progress(done, len(image_ids))
    if len(failures) == len(image_ids):
        raise ValueError(
            f"none of the {counted(len(failures), 'image')} can be read; the first: "
            f"{printable(failures[0][1])}"
        )
    counts = np.sum([one.counts for one in images.values()], axis=0)
    return LabelEvaluation(LabelReport(names, counts), images, predict, failures)


def report_content(found: LabelEvaluation, facts: Mapping[str, str]) -> dict[str, Any]:
    """Return all figures as JSON holds them."""
    unreadable = [{"image": Path(name).name, "reason": reason} for name, reason in found.failures]
    named = {name.lower(): value for name, value in facts.items()}
    return {**named, "unreadable": unreadable, **found.report.to_dict()}
