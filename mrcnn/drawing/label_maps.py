"""Label maps drawn over their image, with a legend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrcnn.drawing.colors import Color, fixed_colors
from mrcnn.drawing.labels import class_label, label_image

_BACKGROUND_NAMES = ("bg", "background")
_VOID = 255
_VOID_COLOR = (0, 0, 0)
_PAPER = 255


def draw_labels(
    image: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    *,
    colors: Sequence[Color] | None = None,
    alpha: float = 0.6,
    legend: bool = True,
) -> np.ndarray:
    """Draw a label map over its image in the colors of its classes.

    Args:
        image: [H, W, channels]: gray, RGB or RGBA.
        labels: [H, W] class numbers; 255 is void and drawn in black.
        class_names: names by class number. Where the first is "BG" or "background", its pixels are
            left as they are.
        colors: an RGB tuple of floats in 0..1 for each class; None takes those that
            `draw_instances` gives to the classes.
        alpha: opacity, 0..1.
        legend: draw the colors and names of the classes that occur at the right of the image.

    Returns:
        [height, width, 3] uint8 RGB, of the size of the image without a legend.

    Raises:
        ValueError: the labels do not fit the image or the names, or an option is out of range.
    """
    from mrcnn.geometry.images import as_rgb

    image, labels = as_rgb(image), np.asarray(labels)
    if labels.shape != image.shape[:2]:
        raise ValueError(f"labels have shape {labels.shape}; it must be {image.shape[:2]}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it must be in 0..1")
    count = len(class_names)
    found = [int(number) for number in np.unique(labels)]
    unknown = [number for number in found if not 0 <= number < count and number != _VOID]
    if unknown:
        raise ValueError(
            f"labels hold {unknown[0]}; they must be 0 to {count - 1}, or 255 for void"
        )
    table = _color_table(class_names, colors)
    covers = np.full(256, alpha, np.float32)
    if _has_background(class_names):
        covers[0] = 0
    share = covers[labels][..., None]
    drawn = np.rint(image * (1 - share) + table[labels] * share).astype(np.uint8)
    if not legend:
        return drawn
    return _beside(drawn, _legend_of(found, class_names, colors))


def _legend_of(
    found: Sequence[int], class_names: Sequence[str], colors: Sequence[Color] | None = None
) -> np.ndarray:
    """Return the legend of the class numbers that occur; the background has no color."""
    table = _color_table(class_names, colors)
    first = int(_has_background(class_names))
    count = len(class_names)
    return _legend(
        [
            ("void" if number >= count else class_label(number, class_names), table[number])
            for number in found
            if number >= first
        ]
    )


def labels_side_by_side(
    image: np.ndarray,
    labels: np.ndarray,
    truth: np.ndarray,
    class_names: Sequence[str],
    *,
    max_side: int = 640,
) -> np.ndarray:
    """Draw predicted labels at the left and the true ones at the right, with titles and a legend.

    Args:
        image: [H, W, channels].
        labels: [H, W] predicted class numbers.
        truth: [H, W] true class numbers, and 255 for void.
        class_names: names by class number.
        max_side: larger images are shrunk to this side in pixels, smaller ones are enlarged by the
            largest whole factor that stays within it.

    Returns:
        [height, width, 3] uint8 RGB.
    """
    import cv2

    from mrcnn.drawing.comparison import columns_with_titles, fitting_size
    from mrcnn.geometry.images import as_rgb

    image = as_rgb(image)
    size = fitting_size(image.shape[:2], max_side)
    method = cv2.INTER_AREA if size[0] < image.shape[0] else cv2.INTER_LINEAR
    image = cv2.resize(image, size[::-1], interpolation=method)
    drawn = [
        draw_labels(
            image,
            cv2.resize(np.asarray(one, np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST),
            class_names,
            legend=False,
        )
        for one in (labels, truth)
    ]
    found = sorted({*np.unique(labels).tolist(), *np.unique(truth).tolist()})
    return _beside(columns_with_titles(drawn), _legend_of(found, class_names))


def label_palette(class_names: Sequence[str]) -> np.ndarray:
    """Return the colors [256, 3] uint8 of label images, those of `draw_labels`.

    The background and numbers without a class are black.
    """
    return np.rint(_color_table(class_names, None)).astype(np.uint8)


def _has_background(class_names: Sequence[str]) -> bool:
    return bool(class_names) and class_names[0].lower() in _BACKGROUND_NAMES


def _color_table(class_names: Sequence[str], colors: Sequence[Color] | None) -> np.ndarray:
    """Return [256, 3] float32 in 0..255."""
    count = len(class_names)
    if colors is None:
        first = int(_has_background(class_names))
        colors = [(0.0, 0.0, 0.0)] * first + fixed_colors(count - first)
    if len(colors) < count:
        raise ValueError(f"colors has {len(colors)} entries; it must have one per class ({count})")
    table = np.tile(np.array(_VOID_COLOR, np.float32), (256, 1))
    table[:count] = np.array(colors[:count], np.float32).reshape(-1, 3) * 255
    return table


def _legend(entries: Sequence[tuple[str, np.ndarray]], size: int = 14) -> np.ndarray:
    """Return rows of a square of the color and the name, [height, width, 3] uint8."""
    rows = []
    for name, color in entries:
        text = label_image(name, size, (_PAPER,) * 3)
        square = np.full((size, size, 3), np.rint(color), np.uint8)
        height = max(len(text), size) + 4
        row = np.full((height, size + text.shape[1] + 18, 3), _PAPER, np.uint8)
        top = (height - size) // 2
        row[top : top + size, 6 : 6 + size] = square
        top = (height - len(text)) // 2
        row[top : top + len(text), size + 12 : size + 12 + text.shape[1]] = text
        rows.append(row)
    width = max((row.shape[1] for row in rows), default=0)
    padded = [_to_size(row, len(row), width) for row in rows]
    return np.concatenate(padded) if padded else np.zeros((0, 0, 3), np.uint8)


def _beside(image: np.ndarray, legend: np.ndarray) -> np.ndarray:
    height = max(len(image), len(legend))
    return np.hstack([_to_size(part, height, part.shape[1]) for part in (image, legend)])


def _to_size(part: np.ndarray, height: int, width: int) -> np.ndarray:
    """Fill up an image with white below and at the right."""
    extra = ((0, height - part.shape[0]), (0, width - part.shape[1]), (0, 0))
    return np.pad(part, extra, constant_values=_PAPER)
