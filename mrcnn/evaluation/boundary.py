"""Boundary IoU: how well the outline of a mask fits.

For large objects the pixel counts of the inside hide errors along the edge; Boundary IoU
compares only a band along the outline, as wide as a fixed share of the image's diagonal.

Cheng, Girshick, Dollar, Berg, Kirillov: Boundary IoU: Improving Object-Centric Image
Segmentation Evaluation, CVPR 2021, https://arxiv.org/abs/2103.16562.
"""

from __future__ import annotations

import numpy as np

from mrcnn.evaluation.pixels import binary_mask, iou

__all__ = ["boundary_iou", "mask_to_boundary"]

# Channels an OpenCV array may have: 512 up to version 4, 128 from version 5.
_MAX_CHANNELS = 64


def mask_to_boundary(mask: np.ndarray, dilation_ratio: float = 0.02) -> np.ndarray:
    """Return the pixels of a mask within a distance of its outline.

    A pixel belongs to the boundary if the mask ends (or the image does) at most `d`
    pixels from it in any of the eight directions; `d = round(dilation_ratio *
    sqrt(H^2 + W^2))`, at least 1.

    Args:
        mask: `[H, W]` or `[H, W, N]`, bool or 0 and one positive value.
        dilation_ratio: width of the band as a share of the diagonal; the paper uses 0.02
            (COCO, LVIS) and 0.005 for Cityscapes.

    Returns:
        Bool array of the same shape.

    Raises:
        ValueError: if the mask is not binary, has another rank, or the ratio is not
            positive.
    """
    import cv2

    mask = np.asarray(mask)
    if mask.ndim not in (2, 3) or 0 in mask.shape[:2]:
        raise ValueError(f"mask has shape {mask.shape}; it must be [H, W] or [H, W, N] with pixels")
    if not dilation_ratio > 0:
        raise ValueError(f"dilation_ratio is {dilation_ratio}; it must be above 0")
    mask = binary_mask(mask, "given")
    height, width = mask.shape[:2]
    distance = max(1, round(float(dilation_ratio * np.hypot(height, width))))
    stacked = mask.reshape(height, width, -1)
    if stacked.shape[2] == 0:
        return np.zeros(mask.shape, bool)
    # One ring of background makes the image's border an outline. It is enough: in
    # OpenCV, pixels beyond the array never erode.
    padded = np.pad(stacked.view(np.uint8), ((1, 1), (1, 1), (0, 0)))
    # One erosion by a square of 2d + 1 equals d erosions by a square of 3.
    square = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * distance + 1, 2 * distance + 1))
    inside = np.concatenate(
        [
            cv2.erode(np.ascontiguousarray(chunk), square).reshape(chunk.shape)
            for chunk in np.split(padded, range(_MAX_CHANNELS, padded.shape[2], _MAX_CHANNELS), 2)
        ],
        axis=2,
    )[1:-1, 1:-1]
    return (stacked & (inside == 0)).reshape(mask.shape)


def boundary_iou(
    predicted: np.ndarray, true: np.ndarray, dilation_ratio: float = 0.02
) -> float | np.ndarray:
    """Return the intersection over union of the boundaries of two masks.

    Args:
        predicted: `[H, W]` or `[H, W, N]`, bool or 0 and one positive value.
        true: the same shape.
        dilation_ratio: as for `mask_to_boundary`.

    Returns:
        A float in 0..1, or `[N]` for stacked masks; 1 where both masks are empty, 0
        where only one is.

    Raises:
        ValueError: as for `mask_to_boundary`, or if the shapes differ.
    """
    predicted, true = np.asarray(predicted), np.asarray(true)
    if predicted.shape != true.shape:
        raise ValueError(
            f"the predicted mask has shape {predicted.shape}; it must be that of the true one, "
            f"{true.shape}"
        )
    return iou(mask_to_boundary(predicted, dilation_ratio), mask_to_boundary(true, dilation_ratio))
