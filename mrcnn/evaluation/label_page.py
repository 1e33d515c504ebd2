"""One HTML page about an evaluation of label maps: `save_label_page`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.datasets.semantic import load_label_map
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
from mrcnn.evaluation.label_maps import LabelReport
from mrcnn.files.atomic import write_text
from mrcnn.files.names import printable

__all__ = ["save_label_page"]


@dataclass(frozen=True)
class LabelDrawing:
    """One image with predicted and true labels.

    Attributes:
        name: name of the file.
        report: its scores.
        source: the drawing as a data URI; empty where it could not be made.
        problem: why it could not be made.
    """

    name: str
    report: LabelReport
    source: str = ""
    problem: str = ""


def save_label_page(
    report: LabelReport,
    images: Mapping[int, LabelReport],
    dataset: Any,
    predict: Callable[[np.ndarray], np.ndarray],
    folder: str | os.PathLike[str],
    *,
    facts: Mapping[str, object] | None = None,
    settings: Mapping[str, object] | None = None,
    notes: Sequence[str] = (),
    failures: Sequence[tuple[str, str]] = (),
    num_worst: int = 8,
    num_best: int = 4,
) -> Path:
    """Write a page about the label maps of a model: tables, confusion matrix and images.

    Args:
        report: scores over all images.
        images: scores of each image, by its id in the dataset.
        dataset: the dataset.
        predict: returns the label map [H, W] of an image, with the class numbers of the report; it
            is called for the images that are shown.
        folder: where `report.html` is written; made if it is missing.
        facts: what was measured, as names and values. Date, machine and versions are added.
        settings: settings of the model, shown in a list that opens on a click.
        notes: sentences for the top of the page.
        failures: (image, reason) of those that could not be read.
        num_worst: images of the lowest mean IoU that are shown.
        num_best: images of the highest mean IoU that are shown.

    Returns:
        The path of the page.

    Raises:
        ValueError: `folder` is a file.
    """
    check_folder(folder)
    # Void images have no score, and no place.
    ranked = sorted(
        (i for i, one in images.items() if not np.isnan(one.mean_iou)),
        key=lambda i: images[i].mean_iou,
    )
    best = ranked[max(num_worst, len(ranked) - num_best) :][::-1]

    def draw(image_id: int) -> LabelDrawing:
        return _draw(image_id, images[image_id], dataset, predict)

    html = find_template("labels.html").render(
        report=report,
        classes=_class_rows(report),
        matrix=_matrix_rows(report),
        confusions=_confusions(report),
        num_images=len(images),
        worst_images=[draw(image_id) for image_id in ranked[:num_worst]],
        best_images=[draw(image_id) for image_id in best],
        num_ranked=len(ranked),
        notes=[printable(note) for note in notes],
        failures=[(printable(name), printable(why)) for name, why in failures[:MAX_LISTED]],
        num_failures=len(failures),
        facts=all_facts(facts or {}),
        settings={printable(key): printable(value) for key, value in (settings or {}).items()},
    )
    path = Path(folder) / PAGE_NAME
    write_text(path, html)
    return path


def _class_rows(report: LabelReport) -> list[dict[str, Any]]:
    """Return the scores of each class, and its share of the true pixels."""
    shares = report.counts.sum(axis=1) / max(1, int(report.counts.sum()))
    return [
        {
            "name": printable(name),
            "share": float(shares[k]),
            "accuracy": float(report.class_accuracy[k]),
            "iou": float(report.class_iou[k]),
            "dice": float(report.class_dice[k]),
        }
        for k, name in enumerate(report.class_names)
    ]


def _matrix_rows(report: LabelReport) -> dict[str, Any]:
    """Return shares of the true pixels of a class, for the classes with the most errors."""
    counts = report.counts
    errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    present = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    shown = np.sort(present[np.argsort(-errors[present], kind="stable")][:MAX_MATRIX_CLASSES])
    totals = np.maximum(counts.sum(axis=1), 1)
    names = [printable(report.class_names[k]) for k in shown]
    rows = [
        {
            "name": name,
            "cells": [
                {"share": float(counts[k, column] / totals[k]), "right": k == column}
                for column in shown
            ],
        }
        for k, name in zip(shown, names)
    ]
    return {"names": names, "rows": rows, "num_classes": len(present)}


def _confusions(report: LabelReport) -> list[dict[str, Any]]:
    """Return the pairs of classes with the most wrong pixels."""
    wrong = report.counts.copy()
    np.fill_diagonal(wrong, 0)
    totals = report.counts.sum(axis=1)
    rows, columns = np.unravel_index(np.argsort(-wrong, axis=None, kind="stable"), wrong.shape)
    return [
        {
            "true": printable(report.class_names[row]),
            "predicted": printable(report.class_names[column]),
            "share": float(wrong[row, column] / totals[row]),
            "share_of_errors": float(wrong[row, column] / wrong.sum()),
        }
        for row, column in zip(rows[:MAX_CONFUSIONS], columns[:MAX_CONFUSIONS])
        if wrong[row, column]
    ]


def _draw(
    image_id: int, report: LabelReport, dataset: Any, predict: Callable[[np.ndarray], np.ndarray]
) -> LabelDrawing:
    """Return the drawing of one image."""
    from mrcnn.drawing.label_maps import labels_side_by_side

    info = dataset.image_info[image_id]
    name = printable(Path(info["path"]).name if info.get("path") else info["id"])
    try:
        image, true = dataset.load_image(image_id), load_label_map(dataset, image_id)
        names = list(dataset.class_names)
        drawn = labels_side_by_side(image, predict(image), true, names, max_side=DRAWING_SIDE)
    except Exception as error:  # whatever a dataset raises; the page is made without the image
        return LabelDrawing(name, report, problem=f"Cannot be drawn: {printable(error)}")
    return LabelDrawing(name, report, source=image_uri(drawn))
