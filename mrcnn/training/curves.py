"""Curves of a training: losses by part, learning rate and validation AP over the epochs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mrcnn.config_rules import LOSS_NAMES
from mrcnn.files.atomic import atomic_path

# Label of each part of the loss, and of each AP in the logs.
_PART_LABELS = {
    "rpn_class_loss": "RPN objects",
    "rpn_bbox_loss": "RPN boxes",
    "mrcnn_class_loss": "classes",
    "mrcnn_bbox_loss": "boxes",
    "mrcnn_mask_loss": "masks",
}
_AP_LABELS = {
    "val_mask_ap": "mask AP",
    "val_mask_ap50": "mask AP50",
    "val_box_ap": "box AP",
    "val_box_ap50": "box AP50",
}
# With more epochs than this, a mark at each would cover the line.
_MAX_MARKED = 40


def draw_curves(rows: Sequence[dict[str, float]], path: str | os.PathLike[str]) -> None:
    """Draw the figures of the epochs and write them as a PNG file.

    Args:
        rows: for each epoch its figures by their names in the logs, and its number as `epoch`.
        path: the file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels: list[Callable[[Any, Sequence[dict[str, float]]], None]] = [_losses, _loss_parts]
    if _values(rows, "learning_rate"):
        panels.append(_learning_rate)
    if any(_values(rows, name) for name in _AP_LABELS):
        panels.append(_average_precision)
    # A figure without pyplot need not be closed and needs no window system.
    figure = Figure(figsize=(11, 4 * ((len(panels) + 1) // 2)), layout="constrained")
    FigureCanvasAgg(figure)
    for number, draw in enumerate(panels, start=1):
        axes = figure.add_subplot((len(panels) + 1) // 2, 2, number)
        draw(axes, rows)
        _finish(axes, rows)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def _values(rows: Sequence[dict[str, float]], name: str) -> list[tuple[float, float]]:
    """Return (epoch, value) of the epochs that have a figure."""
    pairs = [(row["epoch"], row[name]) for row in rows if name in row]
    return [pair for pair in pairs if np.isfinite(pair[1])]


def _plot(axes: Any, rows: Sequence[dict[str, float]], name: str, **style: Any) -> None:
    points = _values(rows, name)
    if points:
        style.setdefault("marker", "o" if len(points) <= _MAX_MARKED else None)
        axes.plot(*zip(*points), markersize=4, **style)


def _losses(axes: Any, rows: Sequence[dict[str, float]]) -> None:
    axes.set_title("Loss")
    _plot(axes, rows, "loss", label="training", color="C0")
    _plot(axes, rows, "val_loss", label="validation", color="C1")


def _loss_parts(axes: Any, rows: Sequence[dict[str, float]]) -> None:
    is_validated = any(_values(rows, f"val_{name}") for name in LOSS_NAMES)
    axes.set_title("Parts of the loss" + (" (dashed: validation)" if is_validated else ""))
    for number, name in enumerate(LOSS_NAMES):
        _plot(axes, rows, name, label=_PART_LABELS[name], color=f"C{number}")
        _plot(axes, rows, f"val_{name}", color=f"C{number}", linestyle="--", marker=None)


def _learning_rate(axes: Any, rows: Sequence[dict[str, float]]) -> None:
    axes.set_title("Learning rate at the end of the epoch")
    _plot(axes, rows, "learning_rate", color="C0")


def _average_precision(axes: Any, rows: Sequence[dict[str, float]]) -> None:
    axes.set_title("AP on validation images")
    for number, (name, label) in enumerate(_AP_LABELS.items()):
        _plot(axes, rows, name, label=label, color=f"C{number}")
    measured = _values(rows, "val_mask_ap") or _values(rows, "val_box_ap")
    trained = [point for point in measured if point[0] >= 1]
    best = max(trained, key=lambda point: point[1], default=None)
    if best is not None:
        axes.axvline(best[0], color="0.6", linestyle=":", label=f"best, epoch {best[0]:.0f}")
    # The whole range: differences near zero mean nothing.
    axes.dataLim.update_from_data_y([1.0], ignore=False)


def _finish(axes: Any, rows: Sequence[dict[str, float]]) -> None:
    """Set axes that begin at zero, whole epochs, a grid, and a legend where lines have names."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(rows[0]["epoch"] - 0.5, rows[-1]["epoch"] + 0.5)
    top = axes.dataLim.ymax
    axes.set_ylim(0, 1.05 * top if np.isfinite(top) and top > 0 else 1)
    axes.grid(color="0.9")
    if axes.get_legend_handles_labels()[0]:
        # Beside the axes, where it covers no line.
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
