"""Parts of matplotlib figures for `mrcnn.visualize`: boxes, outlines and captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# (y1, x1, y2, x2) in pixels.
Box = Sequence[int] | np.ndarray


def as_canvas(image: np.ndarray) -> np.ndarray:
    """Return an [H, W, 3] uint8 copy of an image to draw into, clipped to 0..255."""
    from mrcnn.geometry.images import as_rgb

    image = np.asarray(image)
    if image.dtype.kind in "if":
        image = np.clip(image, 0, 255)
    return np.array(as_rgb(image))


def window(mask: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns that hold the mask."""
    inside = np.asarray(mask) > 0.5
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def frame(ax: Axes, shape: Sequence[int], margin: int, title: str) -> None:
    """Add a margin around the image for boxes and captions that extend over its edge."""
    ax.set_ylim(shape[0] + margin, -margin)
    ax.set_xlim(-margin, shape[1] + margin)
    ax.axis("off")
    ax.set_title(title)


def rectangle(ax: Axes, box: Box, color: Any, alpha: float, style: str = "-") -> None:
    """Draw one box."""
    from matplotlib.patches import Rectangle

    y1, x1, y2, x2 = box[:4]
    ax.add_patch(
        Rectangle(
            (x1, y1),
            x2 - x1,
            y2 - y1,
            linewidth=2,
            alpha=alpha,
            linestyle=style,
            edgecolor=color,
            facecolor="none",
        )
    )


def connect(ax: Axes, box: Box, refined: Box, color: Any) -> None:
    """Join the upper left corners of a box and its refined version."""
    from matplotlib.lines import Line2D

    ax.add_line(Line2D([box[1], refined[1]], [box[0], refined[0]], color=color))


def outline(ax: Axes, mask: np.ndarray, color: Any) -> None:
    """Draw the outline of a mask."""
    from matplotlib.patches import Polygon
    from skimage.measure import find_contours

    rows, columns = window(mask)
    # A frame of zeros closes the outline of masks that touch the edge of the image.
    padded = np.pad(mask[rows, columns] > 0.5, 1).astype(np.float32)
    if padded.shape[0] < 3:
        return
    for contour in find_contours(padded, 0.5):
        points = contour[:, ::-1] + (columns.start - 1, rows.start - 1)
        ax.add_patch(Polygon(points, facecolor="none", edgecolor=color))


def write(ax: Axes, x: float, y: float, text: str, color: Any) -> None:
    """Write a caption on a background of the color of its instance."""
    if not text:
        return
    dark = np.dot(color[:3], (0.299, 0.587, 0.114)) > 0.55
    ax.text(
        x,
        y,
        text,
        color="black" if dark else "white",
        size=11,
        va="bottom",
        bbox={"facecolor": color, "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
    )


def show() -> None:
    """Show the open figures, without a warning where there is no display."""
    import warnings

    import matplotlib.pyplot as plt

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*non-interactive.*")
        plt.show()
