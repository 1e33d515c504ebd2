"""Several images on one sheet, in rows of equal width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_GAP = 8


def contact_sheet(images: Sequence[np.ndarray], columns: int = 3, width: int = 1280) -> np.ndarray:
    """Lay images out in rows, those of a row scaled to the same height.

    Args:
        images: at least one, each [H, W, 3] uint8 RGB.
        columns: images of a row, at least 1; the last row may have fewer.
        width: of the sheet in pixels, at least 64.

    Returns:
        [height, width, 3] uint8 RGB, white between the images.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> contact_sheet([np.zeros((60, 80, 3), np.uint8)] * 4, columns=2, width=168).shape
        (128, 168, 3)
    """
    import cv2

    if not images:
        raise ValueError("images is empty; it must hold at least one image")
    if columns < 1:
        raise ValueError(f"columns is {columns}; it must be at least 1")
    if width < 64:
        raise ValueError(f"width is {width}; it must be at least 64 pixels")
    rows = []
    for first in range(0, len(images), columns):
        some = list(images[first : first + columns])
        ratios = [image.shape[1] / image.shape[0] for image in some]
        # A last row with fewer images gets no larger ones.
        share = len(some) / columns
        room = round((width - _GAP * (columns - 1)) * share)
        height = max(1, round(room / sum(ratios)))
        row = np.full((height, width, 3), 255, np.uint8)
        left = 0
        for image, ratio in zip(some, ratios):
            right = min(left + max(1, round(height * ratio)), width)
            row[:, left:right] = cv2.resize(
                image, (right - left, height), interpolation=cv2.INTER_AREA
            )
            left = right + _GAP
        rows += [row, np.full((_GAP, width, 3), 255, np.uint8)]
    return np.vstack(rows[:-1])
