"""Patches of an image and its mask: choosing their places, cutting them out, merging them.

NumPy and OpenCV only. Points and centers are `(y, x)` integer pixels; a patch of side S on a
center covers rows `y - S // 2` to `y - S // 2 + S - 1`, columns likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mrcnn.geometry.boxes import mask_box
from mrcnn.refinement.recipes import Scale

# Probabilities under this are background noise (JPEG artifacts, tails of the resampling).
SUPPORT_THRESHOLD = 0.1


def boundary_pixels(mask: np.ndarray, outside: bool | None = None) -> np.ndarray:
    """Find the pixels whose left, right, upper or lower neighbor differs.

    Args:
        mask: `[H, W]` bool.
        outside: value beyond the image: True or False make a mask's edge on the
            image's border a boundary; None ignores the border.

    Returns:
        `[n, 2]` int32 `(y, x)`, sorted by row, then column.
    """
    mask = np.asarray(mask, bool)
    if outside is None:
        padded = np.pad(mask, 1, mode="edge")
    else:
        padded = np.pad(mask, 1, constant_values=bool(outside))
    center = padded[1:-1, 1:-1]
    differs = (
        (center != padded[:-2, 1:-1])
        | (center != padded[2:, 1:-1])
        | (center != padded[1:-1, :-2])
        | (center != padded[1:-1, 2:])
    )
    return np.argwhere(differs).astype(np.int32)


def thin_points(points: np.ndarray, stride: int, max_points: int | None = None) -> np.ndarray:
    """Keep about one point per `stride` x `stride` cell, widening the cells until few enough.

    Args:
        points: `[n, 2]` `(y, x)`.
        stride: side of a cell in pixels; 1 keeps every point.
        max_points: largest number of pixels returned, None for no limit.

    Returns:
        `[m, 2]`, the point next to the middle of each occupied cell.
    """
    points = np.asarray(points)
    kept = _one_point_a_cell(points, stride)
    while max_points is not None and len(kept) > max_points:
        # The count falls with the cell's side; a step of 10 % overshoots by little.
        stride = max(stride + 1, int(stride * 1.1))
        kept = _one_point_a_cell(points, stride)
    return kept


def _one_point_a_cell(points: np.ndarray, stride: int) -> np.ndarray:
    """Return the point nearest to the middle of each occupied cell."""
    if stride <= 1 or len(points) == 0:
        return points
    cells = points // stride
    distance = np.abs(points - cells * stride - (stride - 1) / 2).sum(axis=1)
    order = np.lexsort((distance, cells[:, 1], cells[:, 0]))
    ordered = cells[order]
    first = np.ones(len(points), bool)
    first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return points[order[first]]


def extract_patches(
    image: np.ndarray,
    centers: np.ndarray,
    patch_size: int,
    pad_value: float | Sequence[float] = 0.0,
) -> np.ndarray:
    """Cut square patches out of an image.

    Args:
        image: `[H, W, C]`.
        centers: `[n, 2]` `(y, x)`, inside the image or at most `patch_size` outside.
        patch_size: side S in pixels.
        pad_value: value outside the image, one number or one a channel.

    Returns:
        `[n, S, S, C]`, the image's dtype.
    """
    centers = np.asarray(centers, np.int64).reshape(-1, 2)
    height, width, channels = image.shape
    pad = 2 * patch_size
    padded = np.empty((height + 2 * pad, width + 2 * pad, channels), image.dtype)
    padded[:] = np.asarray(pad_value, image.dtype)
    padded[pad : pad + height, pad : pad + width] = image
    windows = np.lib.stride_tricks.sliding_window_view(padded, (patch_size, patch_size), (0, 1))
    corners = centers - patch_size // 2 + pad
    if len(corners) and (
        corners.min() < 0 or (corners.max(axis=0) >= np.array(windows.shape[:2])).any()
    ):
        raise ValueError(f"centers lie more than {patch_size} pixels outside the image.")
    return np.ascontiguousarray(np.moveaxis(windows[corners[:, 0], corners[:, 1]], 1, -1))


def patch_weights(patch_size: int, decay: float) -> np.ndarray:
    """Return `exp(-r / decay)`, r the distance from the patch center: `[S, S]` float32."""
    offset = np.arange(patch_size, dtype=np.float32) - patch_size // 2
    distance = np.hypot(offset[:, None], offset[None, :])
    return np.exp(-distance / decay).astype(np.float32)


def sum_patches(
    predictions: np.ndarray,
    centers: np.ndarray,
    weights: np.ndarray,
    shape: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Add overlapping patches up.

    Args:
        predictions: `[n, S, S]`.
        centers: `[n, 2]` `(y, x)`.
        weights: `[S, S]`, see `patch_weights`.
        shape: `(height, width)` of the image; what falls outside is dropped.

    Returns:
        `[height, width]` float32 sum of weighted predictions, and sum of weights.
    """
    size, pad = weights.shape[0], 2 * weights.shape[0]
    height, width = shape
    total = np.zeros((height + 2 * pad, width + 2 * pad), np.float32)
    weight = np.zeros_like(total)
    corners = np.asarray(centers).reshape(-1, 2) - size // 2 + pad
    for prediction, (y, x) in zip(predictions, corners.tolist(), strict=True):
        total[y : y + size, x : x + size] += prediction * weights
        weight[y : y + size, x : x + size] += weights
    inner = (slice(pad, pad + height), slice(pad, pad + width))
    return total[inner], weight[inner]


def blend(
    original: np.ndarray,
    total: np.ndarray,
    weight: np.ndarray,
    original_weight: float,
    patch_weight: float,
) -> np.ndarray:
    """Average the given probability with the patches'.

    `(original * original_weight + total * patch_weight) / (original_weight + weight *
    patch_weight)`; the original where no patch lies.

    Args:
        original: `[H, W]` probability.
        total: `[H, W]` sum of weighted predictions.
        weight: `[H, W]` sum of weights.
        original_weight: weight of the original.
        patch_weight: factor of the patches' weights.

    Returns:
        `[H, W]` float32.
    """
    # A tiny share of the original keeps the quotient defined where no patch lies.
    share = max(original_weight, 1e-6)
    mixed = (original * share + total * patch_weight) / (share + weight * patch_weight)
    return mixed.astype(np.float32)


def object_box(probability: np.ndarray) -> tuple[int, int, int, int] | None:
    """Return the box `(y1, x1, y2, x2)` of a probability mask, None where it is empty.

    The box holds every pixel of at least `SUPPORT_THRESHOLD`, which is about the box in which
    Mask R-CNN predicted the mask.
    """
    return mask_box(probability >= SUPPORT_THRESHOLD)


@dataclass(frozen=True)
class View:
    """The surroundings of one object at one scale.

    Attributes:
        region: `(y1, x1, y2, x2)` pixels of the image that it shows.
        factor: view pixels per image pixel.
        shape: `(height, width)` in view pixels.
        box_center: `(y, x)` of the object's box in view pixels.
    """

    region: tuple[int, int, int, int]
    factor: float
    shape: tuple[int, int]
    box_center: tuple[int, int]

    @classmethod
    def around(
        cls,
        box: Sequence[float],
        image_shape: Sequence[int],
        scale: Scale,
        patch_size: int,
        margin: float = 0.0,
    ) -> View:
        """Place a view on an object.

        Args:
            box: `(y1, x1, y2, x2)` pixels.
            image_shape: `(H, W, ...)`.
            scale: what magnification.
            patch_size: side of a patch: the view holds every patch that can touch the box.
            margin: additional surroundings as a share of the patch size.
        """
        y1, x1, y2, x2 = (float(value) for value in box)
        height, width = image_shape[:2]
        longest = max(y2 - y1, x2 - x1, 1.0)
        factor = 1.0 if scale.object_size is None else scale.object_size / longest
        reach = patch_size * (0.5 + margin) / factor
        if scale.object_size is None:
            # The whole image: the study looks for boundaries on all of its border.
            region = (0.0, 0.0, float(height), float(width))
        elif scale.centers == "object":
            cy, cx = (y1 + y2) / 2, (x1 + x2) / 2
            region = (cy - reach, cx - reach, cy + reach, cx + reach)
        else:
            region = (y1 - reach, x1 - reach, y2 + reach, x2 + reach)
        top, left = max(0, int(np.floor(region[0]))), max(0, int(np.floor(region[1])))
        bottom = min(height, int(np.ceil(region[2])))
        right = min(width, int(np.ceil(region[3])))
        shape = (
            max(1, round((bottom - top) * factor)),
            max(1, round((right - left) * factor)),
        )
        center = (
            round(((y1 + y2) / 2 - top) * factor),
            round(((x1 + x2) / 2 - left) * factor),
        )
        return cls((top, left, bottom, right), factor, shape, center)

    def crop(self, image: np.ndarray) -> np.ndarray:
        """Return the region of `[H, W]` or `[H, W, C]`, resampled to the view's shape."""
        top, left, bottom, right = self.region
        return resample(image[top:bottom, left:right], self.shape)

    def restore(self, values: np.ndarray) -> np.ndarray:
        """Resample `[h, w]` values of the view to the region's size in image pixels."""
        top, left, bottom, right = self.region
        return resample(values, (bottom - top, right - left))


def resample(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize to `(height, width)`: area average downwards, bilinear upwards."""
    if image.shape[:2] == tuple(shape):
        return image
    shrinks = shape[0] * shape[1] < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(image), (shape[1], shape[0]), interpolation=method)


def patch_centers(
    view: View,
    probability: np.ndarray,
    scale: Scale,
    threshold: float = 0.5,
    pad_is_boundary: bool = False,
) -> np.ndarray:
    """Choose where the patches of a view lie.

    Args:
        view: the view.
        probability: `[h, w]` of the view.
        scale: its centers, stride and bound.
        threshold: A pixel is foreground from this probability on.
        pad_is_boundary: the padding counts as foreground.

    Returns:
        `[n, 2]` int `(y, x)` in view pixels.
    """
    if scale.centers == "object":
        return np.array([view.box_center], np.int32)
    outside = True if pad_is_boundary else None
    points = boundary_pixels(probability >= threshold, outside=outside)
    return thin_points(points, scale.stride, scale.max_patches)
