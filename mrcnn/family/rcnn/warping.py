"""Regions of an image, warped to the input of a network with context around them.

R-CNN, appendix A: the tight box is dilated so that there are exactly 16 pixels of the image around
it after warping; what lies outside the image is filled with the mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mrcnn.geometry.images import as_rgb

__all__ = ["warp_regions"]

# Mean of ImageNet's pixels, RGB.
_MEAN = (123.7, 116.8, 103.9)


def warp_regions(
    image: np.ndarray,
    boxes: np.ndarray,
    size: int = 224,
    context: int = 16,
    fill: Sequence[float] | np.ndarray = _MEAN,
) -> np.ndarray:
    """Warp boxes to squares of one size, whatever their shape.

    Args:
        image: gray, RGB or RGBA.
        boxes: [N, (y1, x1, y2, x2)] in pixels, the lower right corner outside; they may reach
            beyond the image.
        size: side of the result in pixels.
        context: pixels around the box after warping.
        fill: (R, G, B) of what lies outside the image.

    Returns:
        [N, size, size, 3] float32 in 0..255. The box takes the middle `size - 2 * context` pixels.

    Raises:
        ValueError: a box has no area, or `size` leaves no pixels for it.
    """
    image = as_rgb(image)
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if context < 0 or size <= 2 * context:
        raise ValueError(f"context is {context}; it must be 0 to less than half of size = {size}")
    if (boxes[:, 2:] <= boxes[:, :2]).any():
        row = int((boxes[:, 2:] <= boxes[:, :2]).any(axis=1).argmax())
        raise ValueError(f"boxes[{row}] is {boxes[row].tolist()}; it must have an area")
    warped = np.empty((len(boxes), size, size, 3), np.float32)
    for target, box in zip(warped, boxes):
        _warp(image, box, size, context, fill, target)
    return warped


def _warp(
    image: np.ndarray,
    box: np.ndarray,
    size: int,
    context: int,
    fill: Sequence[float] | np.ndarray,
    target: np.ndarray,
) -> None:
    """Write one warped box `[size, size, 3]`."""
    scale = (box[2:] - box[:2]) / (size - 2 * context)
    start = box[:2] - context * scale
    # Centers of pixels are at halves: those of the result in the coordinates of the image.
    rows, columns = (start[axis] + (np.arange(size) + 0.5) * scale[axis] for axis in (0, 1))
    matrix = np.array([[scale[1], 0, columns[0] - 0.5], [0, scale[0], rows[0] - 0.5]])
    # Without smoothing, as in the paper's software.
    target[:] = cv2.warpAffine(
        image,
        matrix,
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    target[(rows < 0) | (rows >= image.shape[0])] = fill
    target[:, (columns < 0) | (columns >= image.shape[1])] = fill
