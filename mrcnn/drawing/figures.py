"""Parts of matplotlib figures for `mrcnn.visualize`: boxes, outlines and captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.drawing.colors import Color
from mrcnn.drawing.labels import LabelPlacer
from mrcnn.files.names import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

    from mrcnn.geometry.rle import RleMasks

# (y1, x1, y2, x2) in pixels.
Box = Sequence[int] | np.ndarray

# Points: letters in a figure of `_FULL_SIZE` inches or more, and the smallest that can be read.
_LETTERS, _LEGIBLE = 11.0, 4.0
_FULL_SIZE = 6.0
# Points around the letters of a caption.
_PAD = 1.5
# An image of larger sides is shrunk: matplotlib makes 16 bytes of each byte.
_MAX_SIDE = 4096
# Backends of matplotlib that write files only.
_FILE_BACKENDS = frozenset({"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"})


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


def apply_mask(image: np.ndarray, mask: np.ndarray, color: Color, alpha: float = 0.5) -> np.ndarray:
    """Blend a color into the masked pixels of an image, in place.

    Args:
        image: [H, W, 3] with values in 0..255; it is changed.
        mask: [H, W], bool or 0 and 1.
        color: RGB floats in 0..1.
        alpha: opacity of the color, 0..1.

    Returns:
        The same image.
    """
    rows, columns = window(mask)
    region = image[rows, columns]
    inside = np.asarray(mask)[rows, columns] > 0.5
    tint = np.asarray(color[:3], dtype=np.float64) * (255 * alpha)
    region[inside] = (region[inside] * (1 - alpha) + tint).astype(image.dtype)
    return image


def show_instances(
    ax: Axes,
    image: np.ndarray,
    boxes: np.ndarray,
    masks: np.ndarray | RleMasks | None,
    colors: Sequence[Any],
    captions: Sequence[str | None],
    *,
    title: str = "",
    show_mask: bool = True,
    show_bbox: bool = True,
) -> None:
    """Draw an image with its instances into axes.

    Args:
        ax: where to draw.
        image: [H, W, 3] with values in 0..255; gray and RGBA images are converted.
        boxes: [N, (y1, x1, y2, x2)] in pixels. Boxes of zeros are skipped.
        masks: [H, W, N] bool, also as run lengths; None for boxes only.
        colors: N colors.
        captions: N texts, None or "" for no caption.
        title: title of the axes.
        show_mask: fill the masks; their outlines are always drawn.
        show_bbox: draw the boxes.
    """
    canvas = as_canvas(image)
    frame(ax, canvas.shape, margin=10, title=title)
    used = [i for i in range(len(boxes)) if np.any(boxes[i])]
    for i in used:
        if show_bbox:
            rectangle(ax, boxes[i], colors[i], alpha=0.7, style="dashed")
        if masks is not None:
            part, corner = _cut(masks, i)
            outline(ax, part, colors[i], corner)
            if show_mask:
                region = canvas[corner[0] :, corner[1] :][: part.shape[0], : part.shape[1]]
                apply_mask(region, part, colors[i])
    show_image(ax, canvas)
    write(ax, [boxes[i] for i in used], [captions[i] for i in used], [colors[i] for i in used])


def _cut(masks: np.ndarray | RleMasks, index: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the part of a mask that holds all its pixels, and the (y, x) of its corner."""
    if isinstance(masks, np.ndarray):
        rows, columns = window(masks[:, :, index])
    else:
        from mrcnn.geometry.rle import rle_box

        y1, x1, y2, x2 = rle_box(masks.rles[index])
        rows, columns = slice(y1, y2), slice(x1, x2)
    return masks[rows, columns, index], (int(rows.start), int(columns.start))


def show_image(ax: Axes, canvas: np.ndarray) -> None:
    """Show an [H, W, 3] image in axes with its own coordinates."""
    height, width = canvas.shape[:2]
    shrink = -(-max(height, width) // _MAX_SIDE)
    if shrink > 1:
        import cv2

        size = (max(1, width // shrink), max(1, height // shrink))
        canvas = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
    ax.imshow(canvas, extent=(-0.5, width - 0.5, height - 0.5, -0.5))


def frame(ax: Axes, shape: Sequence[int], margin: int, title: str) -> None:
    """Add a margin around the image for boxes and captions that extend over its edge."""
    ax.set_ylim(shape[0] + margin, -margin)
    ax.set_xlim(-margin, shape[1] + margin)
    ax.set_aspect("equal")
    ax.axis("off")
    ax.set_title(title)


def _inches(ax: Axes) -> float:
    """Return the side in inches of a square of the area of the axes, as they will be shown."""
    ax.apply_aspect()
    extent = ax.get_window_extent()
    return float(np.sqrt(extent.width * extent.height)) / ax.figure.dpi


def _letters(ax: Axes) -> float:
    """Return the size of letters in points: smaller axes have smaller ones."""
    return float(np.clip(_LETTERS * _inches(ax) / _FULL_SIZE, _LEGIBLE, _LETTERS))


def _line(ax: Axes) -> float:
    """Return the width of lines in points."""
    return 2 * _letters(ax) / _LETTERS


def rectangle(ax: Axes, box: Box, color: Any, alpha: float, style: str = "-") -> None:
    """Draw one box."""
    from matplotlib.patches import Rectangle

    y1, x1, y2, x2 = box[:4]
    ax.add_patch(
        Rectangle(
            (x1, y1),
            x2 - x1,
            y2 - y1,
            linewidth=_line(ax),
            alpha=alpha,
            linestyle=style,
            edgecolor=color,
            facecolor="none",
        )
    )


def connect(ax: Axes, box: Box, refined: Box, color: Any) -> None:
    """Join the upper left corners of a box and its refined version."""
    from matplotlib.lines import Line2D

    ax.add_line(
        Line2D([box[1], refined[1]], [box[0], refined[0]], color=color, linewidth=_line(ax))
    )


def outline(ax: Axes, mask: np.ndarray, color: Any, corner: tuple[int, int] = (0, 0)) -> None:
    """Draw the outline of a mask whose upper left pixel is at (y, x)."""
    from matplotlib.patches import Polygon
    from skimage.measure import find_contours

    rows, columns = window(mask)
    # A frame of zeros closes the outline of masks that touch the edge of the image.
    padded = np.pad(mask[rows, columns] > 0.5, 1).astype(np.float32)
    if padded.shape[0] < 3:
        return
    for contour in find_contours(padded, 0.5):
        points = contour[:, ::-1] + (corner[1] + columns.start - 1, corner[0] + rows.start - 1)
        ax.add_patch(Polygon(points, facecolor="none", edgecolor=color, linewidth=_line(ax) / 2))


def write(
    ax: Axes, boxes: Sequence[Box], texts: Sequence[str | None], colors: Sequence[Any]
) -> None:
    """Write captions on the colors of their instances, so that none covers another.

    Where there is no room for a caption it is left out. Call this after `frame`.

    Args:
        ax: where to draw.
        boxes: N (y1, x1, y2, x2) in pixels.
        texts: N captions, None or "" for no caption.
        colors: N colors.
    """
    corners = np.asarray(boxes, float).reshape(-1, 4)
    left, right = sorted(ax.get_xlim())
    top, bottom = sorted(ax.get_ylim())
    placer = LabelPlacer(corners, (top, left, bottom, right))
    captions = {i: _caption(ax, text, colors[i]) for i, text in enumerate(texts) if text}
    sides = corners[:, 2:] - corners[:, :2]
    for i in sorted(captions, key=lambda index: -sides[index].prod()):
        if not _place(ax, captions[i], placer, corners[i]):
            captions[i].remove()


def _caption(ax: Axes, text: str, color: Any) -> Text:
    """Return a caption in the axes, its letters dark or light for the higher contrast."""
    from matplotlib.colors import to_rgb

    rgb = to_rgb(color)
    return ax.text(
        0,
        0,
        printable(text),
        color="black" if np.dot(rgb, (0.299, 0.587, 0.114)) > 0.55 else "white",
        va="top",
        ha="left",
        parse_math=False,  # the name of a class may hold dollars
        bbox={"facecolor": rgb, "edgecolor": "none", "alpha": 0.8, "pad": _PAD},
    )


def _place(ax: Axes, caption: Text, placer: LabelPlacer, box: np.ndarray) -> bool:
    """Move a caption to its box, in smaller letters where room is short."""
    letters = _letters(ax)
    dpi = ax.figure.dpi
    left, right = sorted(ax.get_xlim())
    units = (right - left) / ax.get_window_extent().width  # of the image, in a pixel of the figure
    pad = _PAD * dpi / 72 * units
    for size in sorted({max(_LEGIBLE, letters * share) for share in (1, 0.75, 0.5)}, reverse=True):
        caption.set_fontsize(size)
        extent = caption.get_window_extent()
        height, width = extent.height * units + 2 * pad, extent.width * units + 2 * pad
        place = placer.place(box, height, width)
        if place is not None:
            caption.set_position((place[1] + pad, place[0] + pad))
            return True
    return False


def axes_of_size(figsize: tuple[float, float]) -> Axes:
    """Make a figure of a size in inches and return its axes."""
    import matplotlib.pyplot as plt

    return plt.subplots(1, figsize=figsize)[1]


def has_display() -> bool:
    """Return whether the backend of matplotlib can show figures, in a window or a notebook."""
    import matplotlib.pyplot as plt

    return plt.get_backend().lower() not in _FILE_BACKENDS


def show() -> None:
    """Show the open figures, without a warning where there is no display."""
    import warnings

    import matplotlib.pyplot as plt

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*non-interactive.*")
        plt.show()
