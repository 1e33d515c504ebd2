"""Scores of predicted label maps against the true ones, over all images of a dataset.

With n_ij the number of pixels of class i that were predicted to be of class j, over all images,
t_i the pixels of class i and p_i those predicted to be of class i (Long et al. 2015, section 5):

=================== =================================================
pixel accuracy      sum n_ii / sum t_i
mean pixel accuracy mean of n_ii / t_i, "class average" in SegNet's paper
mean IoU            mean of n_ii / (t_i + p_i - n_ii)
mean Dice           mean of 2 n_ii / (t_i + p_i)
=================== =================================================

Void pixels do not count. A class without a true pixel is left out of the mean pixel accuracy, and
one without a true and a predicted pixel of the other means. For the two classes of one mask these
are the scores of `mrcnn.evaluation.pixels`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcnn.datasets.semantic import VOID, load_label_map, require_masks
from mrcnn.evaluation.report import format_figure, short_name
from mrcnn.files.names import printable

__all__ = ["LabelReport", "count_pixels", "evaluate_labels"]


@dataclass(frozen=True)
class LabelReport:
    """Pixel scores of a dataset, each 0..1, or nan where no pixel defines it; print it.

    Attributes:
        class_names: names by class number.
        counts: [classes, classes] int64, pixels by true (rows) and predicted class.
    """

    class_names: Sequence[str]
    counts: np.ndarray

    @property
    def pixel_accuracy(self) -> float:
        """Share of the pixels whose class was found."""
        return float(_ratio(np.trace(self.counts), self.counts.sum()))

    @property
    def mean_pixel_accuracy(self) -> float:
        """Mean of `class_accuracy`."""
        return _mean(self.class_accuracy)

    @property
    def mean_iou(self) -> float:
        """Mean of `class_iou`."""
        return _mean(self.class_iou)

    @property
    def mean_dice(self) -> float:
        """Mean of `class_dice`."""
        return _mean(self.class_dice)

    @property
    def class_accuracy(self) -> np.ndarray:
        """[classes] share of a class's pixels that was found."""
        return _ratio(np.diag(self.counts), self.counts.sum(axis=1))

    @property
    def class_iou(self) -> np.ndarray:
        """[classes] intersection over union."""
        common = np.diag(self.counts)
        return _ratio(common, self.counts.sum(axis=0) + self.counts.sum(axis=1) - common)

    @property
    def class_dice(self) -> np.ndarray:
        """[classes] twice the intersection over the sum of both."""
        total = self.counts.sum(axis=0) + self.counts.sum(axis=1)
        return _ratio(2 * np.diag(self.counts), total)

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as values that `json.dump` accepts; None where nothing defines one."""
        names = ("pixel_accuracy", "mean_pixel_accuracy", "mean_iou", "mean_dice")
        rows = zip(self.class_names, self.class_accuracy, self.class_iou, self.class_dice)
        return {
            **{name: _plain(getattr(self, name)) for name in names},
            "classes": [
                {"name": n, "accuracy": _plain(a), "iou": _plain(i), "dice": _plain(d)}
                for n, a, i, d in rows
            ],
        }

    def __str__(self) -> str:
        names = [short_name(printable(name)) for name in self.class_names]
        width = max(12, *map(len, names))
        lines = [f"{'class':<{width}}  accuracy    IoU   Dice"]
        values = [self.class_accuracy, self.class_iou, self.class_dice]
        means = [self.mean_pixel_accuracy, self.mean_iou, self.mean_dice]
        for name, *figures in [*zip(names, *values), ("mean", *means)]:
            cells = [format_figure(float(value)) for value in figures]
            lines.append(f"{name:<{width}}  {cells[0]:>8} {cells[1]:>6} {cells[2]:>6}")
        accuracy = format_figure(self.pixel_accuracy)
        return "\n".join([*lines, f"{'all pixels':<{width}}  {accuracy:>8}"])


def count_pixels(predicted: np.ndarray, true: np.ndarray, num_classes: int) -> np.ndarray:
    """Count the pixels of each pair of a true and a predicted class.

    Args:
        predicted: [H, W] class numbers.
        true: [H, W] class numbers, and VOID (255), which is not counted.
        num_classes: number of classes.

    Returns:
        [classes, classes] int64, true classes in rows.

    Raises:
        ValueError: the shapes differ, or a number is of no class.
    """
    if predicted.shape != true.shape:
        raise ValueError(
            f"the predicted labels have shape {predicted.shape}; it must be that of the true ones, "
            f"{true.shape}"
        )
    counted = true != VOID
    found, wanted = predicted[counted].astype(np.int64), true[counted].astype(np.int64)
    for name, values in (("predicted", found), ("true", wanted)):
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            raise ValueError(
                f"the {name} labels are {values.min()} to {values.max()}; they must be 0 to "
                f"{num_classes - 1}"
            )
    pairs = np.bincount(wanted * num_classes + found, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def evaluate_labels(
    segment: Callable[[list[np.ndarray]], Sequence[dict[str, Any]]],
    dataset: Any,
    *,
    batch_size: int = 1,
    image_ids: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    keep_going: bool = False,
) -> LabelReport:
    """Segment all images of a dataset and compare with its label maps.

    Args:
        segment: such as `SemanticModel.segment`: a list of images to dicts with `labels` [H, W].
        dataset: a prepared Dataset, see `mrcnn.datasets.semantic.load_label_map`.
        batch_size: images given to `segment` at once.
        image_ids: images to segment; None for all.
        progress: called with the number of images done and of all images after each batch.
        keep_going: leave images out that cannot be read, instead of raising their error.

    Returns:
        A LabelReport.

    Raises:
        ValueError: `batch_size` is below 1, the objects of these images have boxes alone, or no
            image can be read.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    counts = np.zeros((dataset.num_classes, dataset.num_classes), np.int64)
    ids = list(dataset.image_ids if image_ids is None else image_ids)
    require_masks(dataset, ids)
    num_read = 0
    for start in range(0, len(ids), batch_size):
        pairs = []
        for image_id in ids[start : start + batch_size]:
            try:
                pairs.append((dataset.load_image(image_id), load_label_map(dataset, image_id)))
            except Exception:  # whatever a dataset of the user's own raises
                if not keep_going or (image_id == ids[-1] and not num_read + len(pairs)):
                    raise
        num_read += len(pairs)
        results = segment([image for image, _ in pairs]) if pairs else []
        for (_, true), result in zip(pairs, results, strict=True):
            counts += count_pixels(result["labels"], true, dataset.num_classes)
        if progress is not None:
            progress(min(start + batch_size, len(ids)), len(ids))
    return LabelReport(list(dataset.class_names), counts)


def _ratio(numerator: Any, denominator: Any) -> np.ndarray:
    """Return the ratio, nan where the denominator is 0."""
    denominator = np.asarray(denominator, np.float64)
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), np.nan)


def _mean(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
