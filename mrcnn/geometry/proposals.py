"""Proposals: boxes from outside the network that may hold objects.

Boxes are `[N, (y1, x1, y2, x2)]` in pixels; y2 and x2 lie just outside of a box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def check_proposals(boxes: Any, image_shape: Sequence[int], name: str) -> np.ndarray:
    """Return the proposals of an image as an array, after a check.

    Args:
        boxes: `[N, (y1, x1, y2, x2)]` in pixels of the image; N may be 0.
        image_shape: `(height, width, ...)` of the image.
        name: what to call the proposals in messages, such as "proposals[0]".

    Returns:
        `[N, 4]` float32.

    Raises:
        ValueError: they are no numbers `[N, 4]`, a box is not finite, has no area, or does not lie
            within the image, or all are shares of its sides.
    """
    try:
        array = np.asarray(boxes)
    except ValueError as error:  # lists of several lengths
        raise ValueError(f"{name} is a list of unequal rows; it must be an array [N, 4]") from error
    if array.size == 0 and (array.ndim == 1 or array.shape[-1:] == (4,)):
        return np.zeros((0, 4), np.float32)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{name} has the shape {array.shape}; it must be [N, (y1, x1, y2, x2)]")
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} has the type {array.dtype}; it must hold numbers")
    height, width = (int(side) for side in image_shape[:2])
    is_finite = np.isfinite(array).all(axis=1)
    _raise_for(array, ~is_finite, name, "it must hold finite numbers")
    has_area = (array[:, 2:] > array[:, :2]).all(axis=1)
    _raise_for(array, ~has_area, name, "it must have y1 < y2 and x1 < x2")
    is_share = array.max() <= 1 and (array % 1 > 0).any()
    text = "it must hold pixels, not shares of height and width"
    _raise_for(array, [is_share], name, text)
    is_inside = (array[:, :2] >= 0).all(axis=1) & (array[:, 2:] <= (height, width)).all(axis=1)
    text = f"it must lie within the image of {height} x {width} pixels (height x width)"
    _raise_for(array, ~is_inside, name, text)
    return array.astype(np.float32)


def _raise_for(boxes: np.ndarray, is_wrong: Any, name: str, rule: str) -> None:
    """Raise ValueError for the first of the boxes that are wrong."""
    rows = np.flatnonzero(is_wrong)
    if len(rows):
        raise ValueError(f"{name}[{rows[0]}] is {boxes[rows[0]].tolist()}; {rule}")


def move_proposals(
    boxes: np.ndarray,
    image_shape: Sequence[int],
    resized_shape: Sequence[int],
    offset: Sequence[float] = (0, 0),
) -> np.ndarray:
    """Move the boxes of an image to where they are after it has been resized.

    Args:
        boxes: `[N, 4]` pixels of the image.
        image_shape: `(height, width, ...)` of the image.
        resized_shape: `(height, width, ...)` that it has been resized to, without padding.
        offset: `(y, x)` of its corner in the new image: positive by padding, negative by a crop.

    Returns:
        `[N, 4]` float32 pixels of the new image, which may lie outside of it.
    """
    factors = np.array(resized_shape[:2], float) / np.array(image_shape[:2], float)
    moved = np.asarray(boxes, float) * np.tile(factors, 2) + np.tile(offset, 2)
    return moved.astype(np.float32)


def clip_proposals(
    boxes: np.ndarray, image_shape: Sequence[int], min_side: float = 1.0
) -> np.ndarray:
    """Cut boxes off at the border of the image, and leave out those of which nothing is left.

    Args:
        boxes: `[N, 4]` pixels.
        image_shape: `(height, width, ...)` of the image.
        min_side: least height and width in pixels of the boxes that are kept.

    Returns:
        `[M, 4]`, in their order.
    """
    limits = np.array([*image_shape[:2], *image_shape[:2]], boxes.dtype)
    clipped = np.clip(boxes, 0, limits)
    return clipped[((clipped[:, 2:] - clipped[:, :2]) >= min_side).all(axis=1)]


def box_corners(boxes: np.ndarray) -> np.ndarray:
    """Return the corners [4 N, (x, y)] of boxes [N, 4]."""
    y1, x1, y2, x2 = boxes.T
    return np.stack([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]).transpose(2, 0, 1).reshape(-1, 2)


def boxes_around(corners: np.ndarray) -> np.ndarray:
    """Return the smallest boxes [N, (y1, x1, y2, x2)] around corners [4 N, (x, y)]."""
    points = corners.reshape(-1, 4, 2)[..., ::-1]
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)


def move_boxes(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the smallest boxes around boxes that an affine matrix has moved.

    Args:
        boxes: [N, (y1, x1, y2, x2)] pixels.
        matrix: [2, 3], from old to new pixels (x, y), whose centers have whole coordinates.

    Returns:
        [N, 4] float32.
    """
    # The edge of pixel 0 lies at -0.5 then.
    corners = (box_corners(boxes) - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5
    return boxes_around(corners).astype(np.float32)


def flip_boxes(boxes: np.ndarray, width: int) -> np.ndarray:
    """Return the boxes [N, 4] of an image of that width after it has been mirrored."""
    y1, x1, y2, x2 = boxes.T
    return np.stack([y1, width - x2, y2, width - x1], axis=1)
