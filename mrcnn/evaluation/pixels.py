"""Pixel scores of a predicted mask against the true one.

Every function takes one pair of masks `[H, W]` and returns a float, or N pairs stacked
as `[H, W, N]` (pair i is `[..., i]`, this package's layout of masks) and returns a
float64 array `[N]`. A mean over images is therefore `iou(predicted, true).mean()`
for stacked masks, or the mean of single calls where images differ in size.

With TP, FP, FN and TN the counts of pixels (predicted, true) = (1, 1), (1, 0), (0, 1) and
(0, 0), the scores are

======================= ==================================================== =================
pixel_accuracy          (TP + TN) / (H * W)                                  [1]
mean_pixel_accuracy     mean of TP / (TP + FN) and TN / (TN + FP)            [1]
iou                     TP / (TP + FP + FN), the Jaccard index               [2]
mean_iou                mean of iou and TN / (TN + FP + FN)                  [1]
dice_coefficient        2 TP / (2 TP + FP + FN), equal to F1                 [3]
soft_iou                sum(p * t) / sum(max(p, t)), p and t scaled to 1     [4]
======================= ==================================================== =================

Conventions for empty masks: where predicted and true mask are both empty they agree, and
iou, dice_coefficient and soft_iou are 1; where only one is empty they are 0. In the two
class means a class that does not occur (in the true mask for mean_pixel_accuracy, in
either mask for mean_iou) is left out of the mean.

[1] Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation,
    CVPR 2015, section 5: "pixel acc.", "mean acc." and "mean IU" for the two classes
    background and foreground.
[2] Jaccard: The Distribution of the Flora in the Alpine Zone, New Phytologist 11, 1912.
[3] Dice: Measures of the Amount of Ecologic Association Between Species, Ecology 26, 1945.
[4] The generalized Jaccard index (Ruzicka 1958) with the product in place of the minimum;
    equal to iou for masks that hold only 0 and their maximum.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "dice_coefficient",
    "iou",
    "mean_iou",
    "mean_pixel_accuracy",
    "pixel_accuracy",
    "soft_iou",
]


def pixel_accuracy(predicted: np.ndarray, true: np.ndarray) -> float | np.ndarray:
    """Return the share of pixels, background included, on which two masks agree.

    Args:
        predicted: `[H, W]` or `[H, W, N]`, bool, or integers that are 0 or one
            positive value (0/1, 0/255).
        true: the same shape.

    Returns:
        A float in 0..1, or `[N]` for stacked masks.

    Raises:
        ValueError: if the shapes differ, or a mask is not binary.
    """
    tp, fp, fn, tn = _counts(predicted, true)
    return _unwrap((tp + tn) / (tp + fp + fn + tn))


def mean_pixel_accuracy(predicted: np.ndarray, true: np.ndarray) -> float | np.ndarray:
    """Return the pixel accuracy within the true foreground and background, averaged over the two.

    Unlike `pixel_accuracy` it does not reward an empty prediction for a small object.
    Arguments, result and errors as for `pixel_accuracy`.
    """
    tp, fp, fn, tn = _counts(predicted, true)
    return _unwrap(_mean_of_defined(tp, tp + fn, tn, tn + fp))


def iou(predicted: np.ndarray, true: np.ndarray) -> float | np.ndarray:
    """Return the intersection over union of the foreground; 1 where both masks are empty.

    Arguments, result and errors as for `pixel_accuracy`.
    """
    tp, fp, fn, _ = _counts(predicted, true)
    return _unwrap(_ratio(tp, tp + fp + fn, empty=1.0))


def mean_iou(predicted: np.ndarray, true: np.ndarray) -> float | np.ndarray:
    """Return the mean of the foreground's and the background's intersection over union.

    This is the mean over *classes* of one image. The mean over *images* of the
    foreground is `numpy.mean` of `iou`. Arguments, result and errors as for
    `pixel_accuracy`.
    """
    tp, fp, fn, tn = _counts(predicted, true)
    return _unwrap(_mean_of_defined(tp, tp + fp + fn, tn, tn + fp + fn))


def dice_coefficient(predicted: np.ndarray, true: np.ndarray) -> float | np.ndarray:
    """Return twice the intersection over the sum of areas (F1); 1 where both masks are empty.

    Arguments, result and errors as for `pixel_accuracy`.
    """
    tp, fp, fn, _ = _counts(predicted, true)
    return _unwrap(_ratio(2 * tp, 2 * tp + fp + fn, empty=1.0))


def soft_iou(predicted: np.ndarray, true: np.ndarray) -> float | np.ndarray:
    """Return the intersection over union of grayscale masks, without a threshold.

    Each mask is divided by its maximum; then the sum of products is divided by the sum of
    the pixelwise maxima.

    Args:
        predicted: `[H, W]` or `[H, W, N]` of any non-negative number type: bool,
            probabilities 0..1, gray values 0..255.
        true: the same shape; the types may differ.

    Returns:
        A float in 0..1, or `[N]` for stacked masks; 1 where both masks are all zero.

    Raises:
        ValueError: if the shapes differ, or a value is negative or not finite.
    """
    p, t = _same_shape(predicted, true)
    p, t = _scaled_to_one(p, "predicted"), _scaled_to_one(t, "true")
    union = np.maximum(p, t).sum(axis=(0, 1))
    return _unwrap(_ratio((p * t).sum(axis=(0, 1)), union, empty=1.0))


def _same_shape(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predicted, true = np.asarray(predicted), np.asarray(true)
    if predicted.shape != true.shape:
        raise ValueError(
            f"the predicted mask has shape {predicted.shape}; it must be that of the true one, "
            f"{true.shape}"
        )
    if predicted.ndim not in (2, 3) or 0 in predicted.shape[:2]:
        raise ValueError(
            f"masks have shape {predicted.shape}; it must be [H, W] or [H, W, N] with pixels"
        )
    return predicted, true


def binary_mask(mask: np.ndarray, name: str) -> np.ndarray:
    """Return `mask` as bool; raise ValueError naming `name` where it is not binary."""
    if mask.dtype == bool:
        return mask
    foreground = mask > 0
    # A gray mask (probabilities, a lossy image file) needs a threshold that only the
    # caller can choose; taking "not zero" would silently grow it.
    if mask.size and not np.array_equal(foreground * mask.max(), mask):
        raise ValueError(
            f"the {name} mask is {mask.dtype} with several positive values; it must be bool or "
            "hold only 0 and one positive value: threshold it first, as by mask >= 128"
        )
    return foreground


def _counts(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return TP, FP, FN and TN as int64, each of the masks' shape after `[H, W]`."""
    predicted, true = _same_shape(predicted, true)
    predicted, true = binary_mask(predicted, "predicted"), binary_mask(true, "true")
    tp = np.asarray(np.count_nonzero(predicted & true, axis=(0, 1)))
    num_predicted = np.count_nonzero(predicted, axis=(0, 1))
    num_true = np.count_nonzero(true, axis=(0, 1))
    num_pixels = predicted.shape[0] * predicted.shape[1]
    return tp, num_predicted - tp, num_true - tp, num_pixels - num_predicted - num_true + tp


def _scaled_to_one(mask: np.ndarray, name: str) -> np.ndarray:
    scaled = mask.astype(np.float64)
    # "not (x >= 0)" is true for nan as well.
    if scaled.size and (not (scaled.min() >= 0) or not np.isfinite(scaled.max())):
        raise ValueError(
            f"the {name} mask holds negative or infinite values or NaN; it must hold values of at "
            "least 0"
        )
    maximum = scaled.max(axis=(0, 1), keepdims=True)
    return scaled / np.where(maximum > 0, maximum, 1.0)


def _ratio(numerator: np.ndarray, denominator: np.ndarray, empty: float) -> np.ndarray:
    """Return `numerator / denominator`, and `empty` where the denominator is zero."""
    denominator = np.asarray(denominator)
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1e-300), empty)


def _mean_of_defined(
    foreground: np.ndarray,
    foreground_total: np.ndarray,
    background: np.ndarray,
    background_total: np.ndarray,
) -> np.ndarray:
    """Return the mean of the two ratios, of only one of them where the other's total is zero."""
    total = _ratio(foreground, foreground_total, 0.0) + _ratio(background, background_total, 0.0)
    return total / ((np.asarray(foreground_total) > 0) + 1.0 * (np.asarray(background_total) > 0))


def _unwrap(values: np.ndarray) -> float | np.ndarray:
    values = np.asarray(values, np.float64)
    return float(values) if values.ndim == 0 else values
