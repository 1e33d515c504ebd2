"""Boxes and mini masks of a resized image, without making its masks at that size.

Resizing a mask repeats or leaves out rows and columns (order 0, as `resize_mask`), so a
pixel of the result is a pixel of the original, given by two index vectors. Boxes and
mini masks are read through them, and the full array (20 MB for 20 instances at
1024x1024) is never made.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.geometry.boxes import occupied
from mrcnn.geometry.interpolation import linear_taps, nearest_indices

# Index of a row or column that is padding.
OUTSIDE = -1


class ResizedMasks:
    """Masks at the size of the resized image.

    Args:
        mask: [height, width, N] bool, before resizing.
        scale: as `resize_image` returned it for the image.
        padding: likewise.
        crop: likewise.
    """

    def __init__(self, mask: np.ndarray, scale: float, padding: Any, crop: Any) -> None:
        rows, columns = (nearest_indices(side, scale) for side in mask.shape[:2])
        if crop is not None:
            y, x, height, width = crop
            rows, columns = rows[y : y + height], columns[x : x + width]
        else:
            rows = np.pad(rows, padding[0], constant_values=OUTSIDE)
            columns = np.pad(columns, padding[1], constant_values=OUTSIDE)
        # Pixel (y, x) of the result is mask[rows[y], columns[x]].
        mask, self._rows = _only_used(mask, 0, rows)
        self._mask, self._columns = _only_used(mask, 1, columns)

    def flip(self) -> None:
        """Mirror the masks left to right."""
        self._columns = self._columns[::-1]

    def boxes(self) -> np.ndarray:
        """Return bounding boxes [N, (y1, x1, y2, x2)] int32; all zero for an empty mask."""
        boxes = np.zeros((self._mask.shape[2], 4), np.int32)
        if self._mask.size:
            rows, columns = occupied(self._mask)
            boxes[:, 0], boxes[:, 2] = _extent(rows, self._rows)
            boxes[:, 1], boxes[:, 3] = _extent(columns, self._columns)
        return boxes

    def minimized(
        self, instances: np.ndarray, boxes: np.ndarray, mini_shape: tuple[int, int]
    ) -> np.ndarray:
        """Return mini masks, the same as `minimize_mask` makes of the masks at full size.

        Only the four pixels around each sample are read, so this takes the same time for
        small and large instances.

        Args:
            instances: [M] numbers of masks that are not empty.
            boxes: [M, (y1, x1, y2, x2)] their boxes, from `boxes()`.
            mini_shape: (height, width).

        Returns:
            [*mini_shape, M] bool.
        """
        if not len(instances):
            return np.zeros((*mini_shape, 0), bool)
        height, width = mini_shape
        sizes = boxes[:, 2:] - boxes[:, :2]
        ys, xs = linear_taps(sizes[:, :1], height), linear_taps(sizes[:, 1:], width)
        rows = self._rows[boxes[:, :1] + np.concatenate([ys.lower, ys.upper], axis=1)]
        columns = self._columns[boxes[:, 1:2] + np.concatenate([xs.lower, xs.upper], axis=1)]
        # [M, 2 * height, 2 * width]: the lower tap of each sample, then the upper ones.
        taps = self._mask[rows[:, :, None], columns[:, None, :], instances[:, None, None]]
        across = _weigh(taps[:, :, :width], xs.lower_weight[:, None])
        across += _weigh(taps[:, :, width:], xs.upper_weight[:, None])
        sums = _weigh(across[:, :height], ys.lower_weight[:, :, None])
        sums += _weigh(across[:, height:], ys.upper_weight[:, :, None])
        # More than half of the weight: exactly half rounds to even, which is 0.
        inside = 2 * sums > ys.denominator * xs.denominator
        for index in np.flatnonzero(taps.all(axis=(1, 2)) & ~inside.all(axis=(1, 2))):
            # A mask that fills its box stays full; see minimize_mask.
            y1, x1, y2, x2 = boxes[index]
            part = np.ix_(self._rows[y1:y2], self._columns[x1:x2], instances[index : index + 1])
            inside[index] |= self._mask[part].all()
        return inside.transpose(1, 2, 0)


def _weigh(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return values * weights.astype(np.int32)


def _extent(hit: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and one past the last position whose `index` is a hit, for each column.

    Args:
        hit: [side, N] bool.
        index: [L] position to row of `hit`, or OUTSIDE.

    Returns:
        two arrays [N]; zeros where there is no hit.
    """
    seen = hit[index] & (index != OUTSIDE)[:, None]
    found = seen.any(axis=0)
    end = len(seen) - seen[::-1].argmax(axis=0)
    return np.where(found, seen.argmax(axis=0), 0), np.where(found, end, 0)


def _only_used(mask: np.ndarray, axis: int, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop the rows (columns) of `mask` that `index` does not use."""
    inside = index != OUTSIDE
    used, position = np.unique(index[inside], return_inverse=True)
    if len(used) == mask.shape[axis]:
        return mask, index
    compact = np.full(len(index), OUTSIDE)
    compact[inside] = position
    return np.take(mask, used, axis=axis), compact
