"""Precision-recall curves and the confusion matrix of collected detections.

Both start from a `CocoEvaluator`. Images of them are in `mrcnn.evaluation.plots`.
"""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO

import numpy as np

from mrcnn.evaluation.coco import CocoEvaluator
from mrcnn.evaluation.pairs import pair_objects, require_kind
from mrcnn.files.atomic import atomic_path

__all__ = [
    "ConfusionMatrix",
    "OperatingPoint",
    "PrecisionRecallCurve",
    "confusion_matrix",
    "overall_curve",
    "precision_recall_curves",
    "save_curves_csv",
]


@dataclass(frozen=True)
class OperatingPoint:
    """Scores of the detections of at least `score_threshold`, each 0..1."""

    score_threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, eq=False)
class PrecisionRecallCurve:
    """Precision and recall of one class while the score threshold falls.

    Entry i is for the i + 1 detections of highest score; precision is the measured one,
    not the non-increasing envelope that average precision is computed from.

    Attributes:
        class_id: class id.
        class_name: name of the class.
        kind: `"box"` or `"mask"`.
        iou_threshold: overlap from which a detection counts as correct.
        scores: `[N]` scores, falling. Detections that hit crowds are left out.
        precision: `[N]` correct detections over all detections so far, 0..1.
        recall: `[N]` objects found so far over all objects, 0..1.
        num_objects: True objects that are not crowds, at least 1.
        average_precision: COCO's (101 recall values) at `iou_threshold`.
    """

    class_id: int
    class_name: str
    kind: str
    iou_threshold: float
    scores: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    num_objects: int
    average_precision: float

    @property
    def f1(self) -> np.ndarray:
        """`[N]` harmonic mean of precision and recall (0 where both are 0)."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / np.where(total > 0, total, 1.0)

    @property
    def hits(self) -> np.ndarray:
        """`[N]` whether each detection is correct."""
        found = np.rint(self.recall * self.num_objects).astype(np.int64)
        return np.diff(found, prepend=0) > 0

    def at(self, score_threshold: float) -> OperatingPoint:
        """Return precision, recall and F1 of the detections of at least this score.

        Without any, precision is 1 by convention (none of them is wrong), recall and F1
        are 0.
        """
        count = int(np.count_nonzero(self.scores >= score_threshold))
        if count == 0:
            return OperatingPoint(float(score_threshold), 1.0, 0.0, 0.0)
        return OperatingPoint(
            float(score_threshold),
            float(self.precision[count - 1]),
            float(self.recall[count - 1]),
            float(self.f1[count - 1]),
        )

    def best(self) -> OperatingPoint:
        """Return the score threshold of the highest F1.

        All thresholds between two scores give the same detections: it is the middle between the
        lowest score that counts and the next lower one, or 0. Of equal F1 the highest threshold is
        returned.
        """
        if self.scores.size == 0:
            return OperatingPoint(1.0, 1.0, 0.0, 0.0)
        # No threshold separates detections of equal score.
        last_of_equals = np.append(self.scores[1:] != self.scores[:-1], True)
        index = int(np.argmax(np.where(last_of_equals, self.f1, -1.0)))
        score = float(self.scores[index])
        below = float(self.scores[index + 1]) if index + 1 < self.scores.size else 0.0
        middle = (score + below) / 2
        return self.at(middle if middle > below else score)


def precision_recall_curves(
    evaluator: CocoEvaluator, iou_threshold: float = 0.5, kind: str = "mask"
) -> dict[int, PrecisionRecallCurve]:
    """Return the precision-recall curve of every class that has true objects.

    Matching is COCO's: in each image detections take, from the highest score down, the
    free object of their class with the highest overlap; at most 100 detections of a class
    in an image; detections matched to crowds count neither for nor against.

    Args:
        evaluator: detections and true objects.
        iou_threshold: overlap from which a detection counts as correct, 0..1.
        kind: `"mask"` or `"box"` overlap.

    Returns:
        Class id -> curve.

    Raises:
        ValueError: if the threshold is not in (0, 1] or the kind not available.
    """
    _check_iou_threshold(iou_threshold)
    evaluation = evaluator.run(kind, [iou_threshold])
    class_ids = [int(class_id) for class_id in evaluation.params.catIds]
    num_images = len(evaluation.params.imgIds)
    curves = {}
    for position, class_id in enumerate(class_ids):
        # Entries are ordered by class, area range (the first is "all"), image.
        start = position * len(evaluation.params.areaRng) * num_images
        entries = [e for e in evaluation.evalImgs[start : start + num_images] if e]
        num_objects = sum(int(np.count_nonzero(e["gtIgnore"] == 0)) for e in entries)
        if num_objects == 0:
            continue
        counted = [~e["dtIgnore"][0].astype(bool) for e in entries]
        scores = [np.array(e["dtScores"])[keep] for e, keep in zip(entries, counted, strict=True)]
        hits = [e["dtMatches"][0][keep] > 0 for e, keep in zip(entries, counted, strict=True)]
        curves[class_id] = _curve(
            class_id,
            evaluator.truth.class_name(class_id),
            kind,
            float(iou_threshold),
            np.concatenate(scores),
            np.concatenate(hits),
            num_objects,
            float(evaluation.eval["precision"][0, :, position, 0, -1].mean()),
        )
    return curves


def overall_curve(
    curves: Mapping[int, PrecisionRecallCurve], evaluator: CocoEvaluator
) -> PrecisionRecallCurve | None:
    """Return one curve over the detections of all classes together.

    A class without true objects has no curve of its own; its detections are wrong ones here.

    Args:
        curves: what `precision_recall_curves` returns for `evaluator`.
        evaluator: the detections.

    Returns:
        A curve of class id 0, whose `average_precision` is the mean over the classes; None where
        there is no true object.
    """
    if not curves:
        return None
    wrong = [
        found.scores[~np.isin(found.class_ids, list(curves))]
        for found in map(evaluator.detections, evaluator.image_ids)
    ]
    parts = list(curves.values())
    scores = np.concatenate([*(part.scores for part in parts), *wrong])
    num_wrong = len(scores) - sum(len(part.scores) for part in parts)
    hits = np.concatenate([*(part.hits for part in parts), np.zeros(num_wrong, bool)])
    num_objects = sum(part.num_objects for part in parts)
    mean = float(np.mean([part.average_precision for part in parts]))
    first = parts[0]
    return _curve(
        0, "all classes", first.kind, first.iou_threshold, scores, hits, num_objects, mean
    )


def _curve(
    class_id: int,
    name: str,
    kind: str,
    iou_threshold: float,
    scores: np.ndarray,
    hits: np.ndarray,
    num_objects: int,
    average_precision: float,
) -> PrecisionRecallCurve:
    """Return the curve of detections in any order, of which `hits` are correct."""
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(hits[order])
    return PrecisionRecallCurve(
        class_id,
        name,
        kind,
        iou_threshold,
        scores[order],
        found / np.arange(1, len(found) + 1),
        found / num_objects,
        num_objects,
        average_precision,
    )


@contextlib.contextmanager
def _csv_file(path: str | os.PathLike[str]) -> Iterator[IO[str]]:
    """Open a CSV file that is written whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        yield file


def save_curves_csv(
    curves: Mapping[int, PrecisionRecallCurve], path: str | os.PathLike[str]
) -> None:
    """Write curves as a table, one line per detection: class, score, precision, recall, F1."""
    with _csv_file(path) as file:
        writer = csv.writer(file)
        writer.writerow(["class_id", "class", "score", "precision", "recall", "f1"])
        for curve in curves.values():
            columns = (curve.scores, curve.precision, curve.recall, curve.f1)
            for values in zip(*columns, strict=True):
                writer.writerow([curve.class_id, curve.class_name, *(f"{v:.6g}" for v in values)])


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Numbers of objects of each class by the class that was detected.

    Attributes:
        counts: `[C, C]` int64. Row: true class; column: detected class; index 0 is the
            background. `counts[i, 0]` objects of class i were missed and `counts[0, j]`
            detections of class j met no object (or a second detection of one).
        class_ids: `[C]` class id of each row and column, from 0, the background.
        class_names: C names.
        iou_threshold: overlap from which a detection belongs to an object.
        score_threshold: detections below it were left out.
    """

    counts: np.ndarray
    class_ids: list[int]
    class_names: list[str]
    iou_threshold: float
    score_threshold: float

    @property
    def precision(self) -> np.ndarray:
        """`[C]` share of each class's detections that are right; nan without detections."""
        return self._share(self.counts.sum(axis=0))

    @property
    def recall(self) -> np.ndarray:
        """`[C]` share of each class's objects found as such; nan without objects."""
        return self._share(self.counts.sum(axis=1))

    @property
    def f1(self) -> np.ndarray:
        """`[C]` `2 TP / (objects + detections)`; nan where there is neither."""
        return 2 * self._share(self.counts.sum(axis=0) + self.counts.sum(axis=1))

    def normalized(self) -> np.ndarray:
        """Return `[C, C]` counts as shares of their row (of the true class); 0 in empty rows."""
        return self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)

    def present(self) -> ConfusionMatrix:
        """Return the matrix without the classes that neither occur nor were detected."""
        occurs = self.counts.sum(axis=0) + self.counts.sum(axis=1) > 0
        occurs[0] = True
        return self._part(np.flatnonzero(occurs))

    def confusions(self) -> list[tuple[int, int]]:
        """Return (row, column) of every two classes that were confused, the most often first."""
        counts = self._errors()
        counts[0], counts[:, 0] = 0, 0
        pairs = [(int(row), int(column)) for row, column in zip(*np.nonzero(counts), strict=True)]
        return sorted(pairs, key=lambda pair: -counts[pair])

    def most_errors(self, limit: int) -> ConfusionMatrix:
        """Return the part of at most `limit` classes with the most errors, in their old order.

        The classes that are confused most often come first, both of each pair; then those that
        are missed or detected where there is nothing. The background is kept and not counted.
        """
        errors = self._errors()
        with_background = errors[0] + errors[:, 0]
        order = [index for pair in self.confusions() for index in pair]
        order += (np.argsort(-with_background[1:], kind="stable") + 1).tolist()
        chosen = list(dict.fromkeys(order))[:limit]
        return self._part(np.array([0, *sorted(chosen)]))

    def _errors(self) -> np.ndarray:
        """Return the counts without those on the diagonal."""
        return self.counts - np.diag(np.diag(self.counts))

    def _part(self, keep: np.ndarray) -> ConfusionMatrix:
        """Return the rows and columns `keep`."""
        return ConfusionMatrix(
            self.counts[np.ix_(keep, keep)],
            [self.class_ids[index] for index in keep],
            [self.class_names[index] for index in keep],
            self.iou_threshold,
            self.score_threshold,
        )

    def save_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the counts as a table with class names: one row per true class."""
        with _csv_file(path) as file:
            writer = csv.writer(file)
            writer.writerow(["true \\ detected", *self.class_names])
            for name, row in zip(self.class_names, self.counts.tolist(), strict=True):
                writer.writerow([name, *row])

    def _share(self, totals: np.ndarray) -> np.ndarray:
        right = np.diag(self.counts).astype(float)
        shares = np.where(totals > 0, right / np.maximum(totals, 1), np.nan)
        # A background cannot be detected correctly.
        shares[0] = np.nan
        return shares


def confusion_matrix(
    evaluator: CocoEvaluator,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.5,
    kind: str = "mask",
) -> ConfusionMatrix:
    """Return the confusion matrix over all images of an evaluator.

    Detections and objects are paired as by `mrcnn.evaluation.pairs.pair_objects`.

    Args:
        evaluator: detections and true objects.
        iou_threshold: overlap from which a detection belongs to an object, 0..1.
        score_threshold: lowest score of a detection that counts, 0..1.
        kind: `"mask"` or `"box"` overlap.

    Returns:
        The matrix over the background and all evaluated classes.

    Raises:
        ValueError: if a threshold is out of range or the kind not available.
    """
    _check_iou_threshold(iou_threshold)
    if not 0 <= score_threshold <= 1:
        raise ValueError(f"score_threshold is {score_threshold}; it must be in 0..1")
    require_kind(evaluator, kind)
    pairs = [
        (pair.true_class, pair.detected_class)
        for image_id in evaluator.image_ids
        for pair in pair_objects(evaluator, image_id, iou_threshold, score_threshold, kind)
    ]
    class_ids = sorted({0, *evaluator.class_names, *(i for pair in pairs for i in pair)})
    index_of = {class_id: index for index, class_id in enumerate(class_ids)}
    counts = np.zeros((len(class_ids), len(class_ids)), np.int64)
    for true_class, detected_class in pairs:
        counts[index_of[true_class], index_of[detected_class]] += 1
    names = ["background", *(evaluator.truth.class_name(class_id) for class_id in class_ids[1:])]
    return ConfusionMatrix(counts, class_ids, names, float(iou_threshold), float(score_threshold))


def _check_iou_threshold(iou_threshold: float) -> None:
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"iou_threshold is {iou_threshold}; it must be above 0 and at most 1")
