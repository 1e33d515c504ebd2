"""One HTML page about an evaluation: `save_page`.

The page holds its figures and images itself and refers to nothing outside, so it opens from disk
and can be sent to others. Names from datasets are escaped by the template.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.evaluation.coco import CocoEvaluator
from mrcnn.evaluation.content import describe_content
from mrcnn.evaluation.curves import (
    ConfusionMatrix,
    OperatingPoint,
    PrecisionRecallCurve,
    confusion_matrix,
    overall_curve,
    precision_recall_curves,
)
from mrcnn.evaluation.html import (
    DRAWING_SIDE,
    MAX_CONFUSIONS,
    MAX_LISTED,
    MAX_MATRIX_CLASSES,
    PAGE_NAME,
    all_facts,
    check_folder,
    find_template,
    image_uri,
)
from mrcnn.evaluation.pairs import ImageScore, image_scores
from mrcnn.evaluation.report import CocoMetrics, CocoReport
from mrcnn.files.atomic import write_text
from mrcnn.files.names import printable

__all__ = ["PAGE_NAME", "save_page"]

# Lowest score that counts where no detection is correct, so that none is best.
DEFAULT_THRESHOLD = 0.5
# With fewer objects the page says that the best score threshold is uncertain.
FEW_OBJECTS = 30
# A color in the plots that becomes that of the page's text, light or dark.
_INK = "#010203"


@dataclass(frozen=True)
class Drawing:
    """One image with prediction and ground truth.

    Attributes:
        name: name of the file.
        score: how well its objects were found.
        source: the drawing as a data URI; empty where it could not be made.
        problem: why it could not be made.
    """

    name: str
    score: ImageScore
    source: str = ""
    problem: str = ""


def save_page(
    evaluator: CocoEvaluator,
    folder: str | os.PathLike[str],
    report: CocoReport | None = None,
    *,
    facts: Mapping[str, object] | None = None,
    settings: Mapping[str, object] | None = None,
    notes: Sequence[str] = (),
    iou_threshold: float = 0.5,
    num_worst: int = 8,
    num_best: int = 4,
) -> Path:
    """Write a page about an evaluation: tables, curves, confusion matrix and images.

    Images are ranked by F1 at the score threshold that has the best F1 over all classes; the
    worst and the best are loaded again from the dataset and drawn beside the ground truth.

    Args:
        evaluator: detections and true objects, after `evaluate_coco` for example.
        folder: where `report.html` is written; made if it is missing.
        report: the figures; None computes them.
        facts: what was measured, as names and values: weights, dataset, command. Date, machine and
            versions are added.
        settings: settings of the model, shown in a list that opens on a click.
        notes: sentences for the top of the page.
        iou_threshold: overlap from which a detection is correct in curves, confusion matrix and
            images, 0..1.
        num_worst: images with the lowest F1 that are shown.
        num_best: images with the highest F1 that are shown.

    Returns:
        The path of the page.

    Raises:
        ValueError: `folder` is a file, or `iou_threshold` is out of range.

    Example:
        >>> from mrcnn.datasets import open_dataset
        >>> dataset = open_dataset("2", format="shapes", height=64, width=64)
        >>> evaluator = CocoEvaluator(dataset)  # evaluate_coco(model, dataset, evaluator=evaluator)
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_page(evaluator, folder).name
        'report.html'
    """
    check_folder(folder)
    if report is None:
        report = evaluator.summarize()
    kinds = ("mask", "box") if evaluator.masks else ("box",)
    curves = {kind: precision_recall_curves(evaluator, iou_threshold, kind) for kind in kinds}
    overall = overall_curve(curves[kinds[0]], evaluator)
    best = _best(overall)
    threshold = float(np.clip(best.score_threshold, 0, 1)) if best else DEFAULT_THRESHOLD
    matrix = confusion_matrix(evaluator, iou_threshold, threshold, kinds[0]).present()
    ranked = image_scores(evaluator, iou_threshold, threshold, kinds[0])
    worst, best_images = ranked[:num_worst], ranked[max(num_worst, len(ranked) - num_best) :][::-1]
    draw = _Drawer(evaluator, threshold)
    html = find_template("page.html").render(
        report=report,
        tables=[(kind, getattr(report, kind)) for kind in kinds],
        metric_names=CocoMetrics.names(),
        classes=[entry for entry in report.classes if entry.num_objects],
        without_objects=[entry for entry in report.classes if not entry.num_objects],
        thresholds=[(curve, curve.best()) for curve in curves[kinds[0]].values()],
        overall=overall,
        few_objects=overall is not None and overall.num_objects < FEW_OBJECTS,
        best=best,
        threshold=threshold,
        kind=kinds[0],
        iou=iou_threshold,
        curves=_plots(curves, overall),
        matrix=_matrix_table(matrix),
        num_matrix_classes=len(matrix.class_names) - 1,
        confusions=_confusions(matrix),
        worst_images=[draw(score) for score in worst],
        best_images=[draw(score) for score in best_images],
        num_ranked=len(ranked),
        content=describe_content(evaluator),
        unreadable=_unreadable(evaluator),
        notes=[printable(note) for note in notes],
        facts=all_facts(facts or {}),
        settings={printable(key): printable(value) for key, value in (settings or {}).items()},
    )
    path = Path(folder) / PAGE_NAME
    write_text(path, html)
    return path


def _best(overall: PrecisionRecallCurve | None) -> OperatingPoint | None:
    """Return the score threshold of the highest F1, None where no detection is correct."""
    best = overall.best() if overall else None
    return best if best and best.f1 > 0 else None


def _plots(
    curves: Mapping[str, Mapping[int, PrecisionRecallCurve]], overall: PrecisionRecallCurve | None
) -> dict[str, Any]:
    """Return the plots of the page as SVG by name; none without true objects or detections."""
    from mrcnn.evaluation.plots import plot_precision_recall_curves, plot_scores, plot_thresholds

    if overall is None or not overall.scores.size:
        return {}
    plots = {kind: _svg(plot_precision_recall_curves, of_kind) for kind, of_kind in curves.items()}
    return {
        **plots,
        "thresholds": _svg(plot_thresholds, overall),
        "scores": _svg(plot_scores, overall),
    }


def _svg(plot: Callable[..., Any], values: Any) -> Any:
    """Return what a function draws as inline SVG in the colors of the page."""
    import matplotlib
    from markupsafe import Markup
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK
    )
    with matplotlib.rc_context({**settings, "svg.fonttype": "none", "font.size": 11}):
        figure = Figure(figsize=(8.5, 4.4), layout="constrained")
        ax = plot(values, ax=figure.add_subplot())
        ax.set_title("")  # the page has headings
        file = io.StringIO()
        with warnings.catch_warnings():  # the browser has the letters that this font lacks
            warnings.filterwarnings("ignore", message="Glyph ")
            figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    return Markup(text[text.index("<svg") :].replace(_INK, "currentColor"))


def _matrix_table(matrix: ConfusionMatrix) -> dict[str, Any]:
    """Return the rows of the confusion matrix, the background last, with the share of each cell."""
    part = matrix.most_errors(MAX_MATRIX_CLASSES)
    order = [*range(1, len(part.class_names)), 0]
    counts = part.counts[np.ix_(order, order)]
    # Shares of all objects of a class, also where some columns are not shown.
    totals = {k: int(total) for k, total in zip(matrix.class_ids, matrix.counts.sum(axis=1))}
    names = [printable(part.class_names[k]) for k in order[:-1]]
    rows = []
    for place, k in enumerate(order):
        total = max(1, totals[part.class_ids[k]])
        cells = [
            {"count": int(count), "share": int(count) / total, "right": place == column}
            for column, count in enumerate(counts[place])
        ]
        rows.append({"name": names[place] if k else "", "cells": cells, "total": total})
    return {"names": names, "rows": rows}


def _confusions(matrix: ConfusionMatrix) -> list[dict[str, Any]]:
    """Return the classes that were confused most often."""
    return [
        {
            "true": printable(matrix.class_names[row]),
            "detected": printable(matrix.class_names[column]),
            "count": int(matrix.counts[row, column]),
            "share": float(matrix.counts[row, column] / matrix.counts[row].sum()),
        }
        for row, column in matrix.confusions()[:MAX_CONFUSIONS]
    ]


class _Drawer:
    """Draws images of an evaluation with what was found and what is there.

    Args:
        evaluator: detections and true objects; images are drawn where it has a `Dataset`.
        score_threshold: lowest score of a detection that is drawn.
    """

    def __init__(self, evaluator: CocoEvaluator, score_threshold: float) -> None:
        self.evaluator, self.score_threshold = evaluator, score_threshold
        self.dataset = getattr(evaluator.truth, "dataset", None)

    def __call__(self, score: ImageScore) -> Drawing:
        """Return the drawing of one image."""
        name = printable(image_name(self.evaluator, score.image_id))
        if self.dataset is None:
            return Drawing(name, score, problem="The images are not at hand.")
        try:
            image = self.dataset.load_image(score.image_id)
            return Drawing(name, score, source=self._draw(image, score.image_id))
        except Exception as error:  # whatever a dataset raises; the page is made without the image
            return Drawing(name, score, problem=f"Cannot be drawn: {printable(error)}")

    def _draw(self, image: np.ndarray, image_id: Any) -> str:
        from mrcnn.drawing.comparison import side_by_side

        found = self.evaluator.detections(image_id)
        found = found[found.scores >= self.score_threshold]
        objects = self.evaluator.objects(image_id)
        boxes = np.array([one["bbox"] for one in objects], float).reshape(-1, 4)
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        truth = {
            "rois": corners[:, [1, 0, 3, 2]],
            "class_ids": [one["class_id"] * (-1 if one["iscrowd"] else 1) for one in objects],
        }
        if self.evaluator.masks:
            truth["rles"] = [one["segmentation"] for one in objects]
        last = max([*self.evaluator.class_names, *found.class_ids.tolist()], default=0)
        names = ["", *(self.evaluator.truth.class_name(k) for k in range(1, last + 1))]
        return image_uri(
            side_by_side(image, found.to_result(), truth, names, max_side=DRAWING_SIDE)
        )


def image_name(evaluator: CocoEvaluator, image_id: Any) -> str:
    """Return the file name of an image of an evaluation, its id where there is no file."""
    dataset = getattr(evaluator.truth, "dataset", None)
    path = dataset.image_info[image_id].get("path") if dataset is not None else None
    return Path(path).name if path else str(evaluator.truth.source_image_ids[image_id])


def _unreadable(evaluator: CocoEvaluator) -> dict[str, Any]:
    listed = [
        (printable(image_name(evaluator, image_id)), printable(reason))
        for image_id, reason in list(evaluator.unreadable.items())[:MAX_LISTED]
    ]
    return {"listed": listed, "rest": len(evaluator.unreadable) - len(listed)}
