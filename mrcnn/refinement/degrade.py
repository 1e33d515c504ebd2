"""Random changes of training patches: geometry, color, and coarse masks made from true ones.

NumPy and OpenCV only. Patches are `[S, S, ...]` float32, values in 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mrcnn.geometry.boxes import mask_box
from mrcnn.refinement.recipes import Augmentation


def random_affine(
    rng: np.random.Generator, center: np.ndarray, patch_size: int, settings: Augmentation | None
) -> np.ndarray:
    """Draw how patch pixels map to view pixels.

    Args:
        rng: source of the random numbers.
        center: `(y, x)` of the patch's center in the view.
        patch_size: side S of the patch.
        settings: largest changes; None for a plain cut.

    Returns:
        `[2, 3]` float64, `(x, y)` of the patch to `(x, y)` of the view.
    """
    half = patch_size // 2
    linear, offset = np.eye(2), np.zeros(2)
    if settings is not None:
        angle = np.deg2rad(rng.uniform(-1, 1) * settings.rotation)
        zoom = np.exp(-rng.uniform(-1, 1) * settings.zoom)
        stretch = np.exp(rng.uniform(-1, 1) * settings.aspect / 2)
        mirror = -1.0 if settings.flip and rng.random() < 0.5 else 1.0
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = turn @ np.diag([mirror * zoom * stretch, zoom / stretch])
        offset = rng.uniform(-1, 1, 2) * settings.shift * patch_size
    target = np.asarray(center, float)[::-1] + offset
    return np.column_stack([linear, target - linear @ np.array([half, half])])


def warp(
    image: np.ndarray, matrix: np.ndarray, patch_size: int, pad_value: Sequence[float]
) -> np.ndarray:
    """Cut a `[S, S, C]` patch (C at most 4) with a matrix from `random_affine`."""
    return cv2.warpAffine(
        image,
        matrix,
        (patch_size, patch_size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=tuple(float(value) for value in pad_value),
    )


def jitter_colors(
    rng: np.random.Generator, patch: np.ndarray, inside: np.ndarray, strength: float
) -> np.ndarray:
    """Change brightness, contrast, gamma and the mix of the channels inside the image.

    Args:
        rng: source of the random numbers.
        patch: `[S, S, 3]` RGB in 0..1.
        inside: `[S, S]`, 1 where the image is; the padding keeps its color.
        strength: 0 changes nothing, 0.2 is moderate.

    Returns:
        `[S, S, 3]` in 0..1.
    """
    if strength <= 0:
        return patch
    mix = np.eye(3) * (1 + rng.uniform(-1, 1) * strength) + rng.normal(0, strength / 4, (3, 3))
    mix *= 1 + rng.uniform(-1, 1) * strength
    mean = patch.mean(axis=(0, 1))
    offset = mean - mix @ mean + rng.uniform(-1, 1) * strength / 2
    changed = cv2.transform(patch, np.column_stack([mix, offset]))
    changed = cv2.pow(np.clip(changed, 0, 1), float(np.exp(rng.uniform(-1, 1) * strength)))
    if rng.random() < 0.1:
        changed = np.repeat(changed.mean(axis=2, keepdims=True), 3, axis=2)
    return np.where(inside[..., None] > 0.5, changed, patch).astype(np.float32)


def smooth_noise(rng: np.random.Generator, patch_size: int, cells: int) -> np.ndarray:
    """Return `[S, S]` normal noise that varies over `patch_size / cells` pixels."""
    coarse = rng.normal(size=(cells, cells)).astype(np.float32)
    return cv2.resize(coarse, (patch_size, patch_size), interpolation=cv2.INTER_CUBIC)


def displace(
    rng: np.random.Generator, mask: np.ndarray, amount: float, cells: int = 5
) -> np.ndarray:
    """Move the parts of `[S, S]` smoothly by about `amount` pixels."""
    size = mask.shape[0]
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    rows += smooth_noise(rng, size, cells) * amount
    columns += smooth_noise(rng, size, cells) * amount
    return cv2.remap(mask, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def coarse_probability(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """Make what a mask head might have predicted for a true mask.

    The mask is displaced, blurred to the coarse grid of a 28 x 28 head, its logit is scaled
    down and noise of several sizes is added: parts go missing and others are invented.

    Args:
        rng: source of the random numbers.
        mask: `[S, S]` true mask in 0..1.

    Returns:
        `[S, S]` float32 probability.
    """
    size = mask.shape[0]
    severity = rng.uniform(0.2, 1.2)
    moved = displace(rng, mask, severity * size * 0.05)
    sigma = size * rng.uniform(0.012, 0.02 + 0.05 * severity)
    blurred = cv2.GaussianBlur(moved, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    logit = (blurred - rng.uniform(0.35, 0.55)) * rng.uniform(5.0, 12.0)
    logit += smooth_noise(rng, size, int(rng.integers(3, 6))) * severity * 2.2
    logit += smooth_noise(rng, size, int(rng.integers(7, 14))) * severity * 1.2
    probability = 1.0 / (1.0 + np.exp(-logit))
    # Far from the object there is no box, and a mask head predicts nothing outside its box.
    return (probability * box_window(rng, mask)).astype(np.float32)


def box_window(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """Return `[S, S]`, 1 inside a jittered box of the mask, 0 outside."""
    window = np.zeros_like(mask)
    box = mask_box(mask > 0.5)
    if box is None:
        return window + 1.0
    y1, x1, y2, x2 = box
    height, width = y2 - y1, x2 - x1
    jitter = rng.normal(0.03, 0.06, 4) * (height, width, height, width)
    top, left = max(0, round(y1 - jitter[0])), max(0, round(x1 - jitter[1]))
    bottom, right = round(y2 + jitter[2]), round(x2 + jitter[3])
    window[top : max(bottom, top + 4), left : max(right, left + 4)] = 1.0
    return window


def perturb_probability(
    rng: np.random.Generator, probability: np.ndarray, strength: float
) -> np.ndarray:
    """Shift, distort, sharpen or soften a given probability `[S, S]`, and add smooth noise."""
    if strength <= 0:
        return probability
    size = probability.shape[0]
    moved = displace(rng, probability, strength * rng.random() * size * 0.03)
    clipped = np.clip(moved, 0.005, 0.995)
    logit = np.log(clipped / (1 - clipped)) * np.exp(rng.uniform(-1, 1) * strength * 0.7)
    logit += rng.normal() * strength * 0.5
    noise = smooth_noise(rng, size, int(rng.integers(3, 9)))
    changed = 1 / (1 + np.exp(-(logit + noise * strength * rng.random())))
    return np.where(moved < 0.02, moved, changed).astype(np.float32)
