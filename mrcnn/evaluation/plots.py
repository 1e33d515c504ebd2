"""Plots of precision-recall curves, scores and the confusion matrix.

Text and frames have the colors of Matplotlib's settings. Names of classes are taken literally, also
where they look like formulas.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from mrcnn.evaluation.curves import ConfusionMatrix, PrecisionRecallCurve
from mrcnn.evaluation.report import short_name
from mrcnn.files.atomic import atomic_path

__all__ = [
    "plot_confusion_matrix",
    "plot_precision_recall_curves",
    "plot_scores",
    "plot_thresholds",
]

# Beyond this many, lines cannot be distinguished by color and counts do not fit their cells.
_MAX_NAMED_CURVES = 10
_MAX_COUNTED_CLASSES = 30


def plot_precision_recall_curves(
    curves: Mapping[int, PrecisionRecallCurve],
    path: str | os.PathLike[str] | None = None,
    ax: Any = None,
) -> Any:
    """Draw precision over recall, a line per class, and their mean.

    With more than ten classes the single lines are gray and the legend names the mean and
    the five best and five worst classes.

    Args:
        curves: what `precision_recall_curves` returns, not empty.
        path: write the plot there (the suffix chooses the format).
        ax: Matplotlib axes to draw into; None makes a figure.

    Returns:
        The axes.

    Raises:
        ValueError: if there is no curve.
    """
    if not curves:
        raise ValueError("curves is empty: there is no class with true objects")
    ax, figure = _axes(ax, (8.5, 5))
    ranked = sorted(curves.values(), key=lambda curve: -curve.average_precision)
    named = ranked if len(ranked) <= _MAX_NAMED_CURVES else ranked[:5] + ranked[-5:]
    for curve in ranked:
        if curve not in named:
            ax.plot(*_line(curve), color=_ink(), alpha=0.2, linewidth=0.8, zorder=1)
    for curve in named:
        label = _label(f"{short_name(curve.class_name)} {curve.average_precision:.3f}")
        ax.plot(*_line(curve), linewidth=1.4, label=label, zorder=2)
    if len(ranked) > 1:
        grid = np.linspace(0, 1, 101)
        mean = np.mean([_envelope(curve, grid) for curve in ranked], axis=0)
        mean_ap = np.mean([curve.average_precision for curve in ranked])
        label = f"mean of {len(ranked)} {mean_ap:.3f}"
        ax.plot(grid, mean, color=_ink(), linewidth=2.4, label=label, zorder=3)
    first = ranked[0]
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
    kind = {"box": "boxes", "mask": "masks"}[first.kind]
    ax.set_title(f"Precision and recall of {kind} at IoU {first.iou_threshold:g}")
    _grid(ax)
    legend = ax.legend(
        title="average precision", loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return _finish(ax, figure, path)


def plot_thresholds(
    curve: PrecisionRecallCurve, path: str | os.PathLike[str] | None = None, ax: Any = None
) -> Any:
    """Draw precision, recall and F1 over the score threshold, and mark the best F1.

    Args:
        curve: one class, or all of them: what `overall_curve` returns.
        path: write the plot there (the suffix chooses the format).
        ax: Matplotlib axes to draw into; None makes a figure.

    Returns:
        The axes.
    """
    ax, figure = _axes(ax, (7, 4))
    # No threshold separates detections of equal score; above the highest one there are none.
    ends = np.flatnonzero(np.append(curve.scores[1:] != curve.scores[:-1], True))
    ends = ends[: curve.scores.size]
    scores = curve.scores[ends]
    for name, values in (
        ("precision", curve.precision), ("recall", curve.recall), ("F1", curve.f1)
    ):  # fmt: skip
        width = 2.4 if name == "F1" else 1.4
        ax.plot(scores, values[ends], label=name, linewidth=width, drawstyle="steps-pre")
    best = curve.best()
    if curve.scores.size:
        label = f"best F1 {best.f1:.3f} at {best.score_threshold:.2f}"
        ax.axvline(best.score_threshold, color=_ink(), linestyle="--", linewidth=1, label=label)
    ax.set(xlabel="lowest score that counts", xlim=(0, 1.01), ylim=(0, 1.02))
    _grid(ax)
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
    return _finish(ax, figure, path)


def plot_scores(
    curve: PrecisionRecallCurve, path: str | os.PathLike[str] | None = None, ax: Any = None
) -> Any:
    """Draw how many correct and how many wrong detections have which score.

    Args:
        curve: one class, or all of them: what `overall_curve` returns.
        path: write the plot there (the suffix chooses the format).
        ax: Matplotlib axes to draw into; None makes a figure.

    Returns:
        The axes.
    """
    ax, figure = _axes(ax, (7, 4))
    parts = [curve.scores[curve.hits], curve.scores[~curve.hits]]
    labels = [f"{len(parts[0])} correct", f"{len(parts[1])} wrong"]
    colors = ["tab:green", "tab:red"]
    ax.hist(parts, bins=np.linspace(0, 1, 21).tolist(), stacked=True, label=labels, color=colors)
    ax.set(xlabel="score", ylabel="detections", xlim=(0, 1))
    ax.yaxis.get_major_locator().set_params(integer=True)
    _grid(ax)
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
    return _finish(ax, figure, path)


def plot_confusion_matrix(
    matrix: ConfusionMatrix, path: str | os.PathLike[str] | None = None, ax: Any = None
) -> Any:
    """Draw a confusion matrix: numbers are counts, colors are shares.

    The share is that of the true class's objects, in the top row (detections where there is
    nothing) that of the detected class's detections. Classes that neither occur nor were
    detected are left out; numbers are written for up to 30 classes.

    Args:
        matrix: what `confusion_matrix` returns.
        path: write the plot there (the suffix chooses the format).
        ax: Matplotlib axes to draw into; None makes a figure.

    Returns:
        The axes.
    """
    matrix = matrix.present()
    count = len(matrix.class_names)
    side = float(np.clip(2.5 + 0.42 * count, 4.5, 18))
    ax, figure = _axes(ax, (side + 0.8, side))
    shares = matrix.normalized()
    shares[0] = matrix.counts[0] / np.maximum(matrix.counts.sum(axis=0), 1)
    drawn = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = 10 if count <= 12 else 8
    ticks = range(count)
    names = [short_name(name) for name in matrix.class_names]
    ax.set_xticks(ticks, names, rotation=90, fontsize=size, parse_math=False)
    ax.set_yticks(ticks, names, fontsize=size, parse_math=False)
    ax.set(xlabel="detected class", ylabel="true class")
    ax.set_title(
        f"Detections of score {matrix.score_threshold:g} and more, IoU {matrix.iou_threshold:g}"
    )
    if count <= _MAX_COUNTED_CLASSES:
        for row, column in zip(*np.nonzero(matrix.counts), strict=True):
            color = "white" if shares[row, column] > 0.5 else "black"
            text = str(matrix.counts[row, column])
            ax.text(column, row, text, ha="center", va="center", color=color, fontsize=size)
    label = "share of the true class\n(top row: of the detected class)"
    ax.figure.colorbar(drawn, ax=ax, shrink=0.7, aspect=40, pad=0.02, label=label)
    return _finish(ax, figure, path)


def _line(curve: PrecisionRecallCurve) -> tuple[np.ndarray, np.ndarray]:
    """Return recall and interpolated precision, falling to zero where the recall ends."""
    recall = np.concatenate([[0.0], curve.recall, curve.recall[-1:]])
    envelope = np.maximum.accumulate(curve.precision[::-1])[::-1]
    start = envelope[:1] if envelope.size else np.zeros(1)
    end = np.zeros(min(1, envelope.size))
    return recall, np.concatenate([start, envelope, end])


def _envelope(curve: PrecisionRecallCurve, grid: np.ndarray) -> np.ndarray:
    """Return the best precision at each recall of `grid` or beyond, 0 where it is not reached."""
    envelope = np.append(np.maximum.accumulate(curve.precision[::-1])[::-1], 0.0)
    return envelope[np.searchsorted(curve.recall, grid, side="left")]


def _ink() -> str:
    """Return the color of text."""
    from matplotlib import rcParams

    return rcParams["text.color"]


def _grid(ax: Any) -> None:
    ax.grid(color=_ink(), alpha=0.12)
    ax.set_axisbelow(True)


def _label(text: str) -> str:
    """Return a text that Matplotlib shows in a legend: not one that begins with "_"."""
    return f"\u200a{text}" if text.startswith("_") else text


def _axes(ax: Any, size: tuple[float, float]) -> tuple[Any, Any]:
    """Return the axes to draw into and the figure if it was made here."""
    if ax is not None:
        return ax, None
    from matplotlib.figure import Figure

    # A figure without pyplot need not be closed and needs no window system.
    figure = Figure(figsize=size, layout="constrained")
    return figure.add_subplot(), figure


def _finish(ax: Any, figure: Any, path: str | os.PathLike[str] | None) -> Any:
    if path is not None:
        with atomic_path(path) as temporary:
            (figure or ax.figure).savefig(temporary, dpi=150, bbox_inches="tight")
    return ax
