"""Anchors that suit the objects of a dataset: k-means on IoU.

The method is that of section 2 of Redmon and Farhadi 2016.
"""

from __future__ import annotations

import numpy as np

MAX_ROUNDS = 300


def shape_iou(sizes1: np.ndarray, sizes2: np.ndarray) -> np.ndarray:
    """Compute the IoU `[N, K]` of boxes (width, height) `[N, 2]` and `[K, 2]` with one center."""
    common = np.minimum(sizes1[:, None], sizes2).prod(axis=2)
    return common / (sizes1.prod(axis=1)[:, None] + sizes2.prod(axis=1) - common)


def cluster_anchors(sizes: np.ndarray, count: int, seed: int = 0) -> tuple[np.ndarray, float]:
    """Find the anchors that the boxes of a dataset are most similar to.

    Args:
        sizes: [N, (width, height)] of the boxes, above 0, in any unit.
        count: number of anchors.
        seed: of the first choice.

    Returns:
        [count, 2] anchors by rising area, and the mean IoU of each box and its nearest anchor.

    Raises:
        ValueError: there are fewer different boxes than anchors, or a side is not above 0.
    """
    sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise ValueError("sizes holds a side that is not above 0; all sides must be above 0")
    distinct = np.unique(sizes, axis=0)
    if not 1 <= count <= len(distinct):
        raise ValueError(
            f"count is {count}; it must be between 1 and the number of different boxes, "
            f"{len(distinct)}"
        )
    rng = np.random.default_rng(seed)
    # The first centers lie far from each other, as in k-means++, which k-means on IoU needs as
    # well.
    centers = distinct[rng.integers(len(distinct))][None]
    while len(centers) < count:
        distance = 1 - shape_iou(distinct, centers).max(axis=1)
        chosen = rng.choice(len(distinct), p=distance / distance.sum())
        centers = np.concatenate([centers, distinct[chosen][None]])
    nearest = np.full(len(sizes), -1)
    for _ in range(MAX_ROUNDS):
        previous, nearest = nearest, shape_iou(sizes, centers).argmax(axis=1)
        if (previous == nearest).all():
            break
        for index in np.unique(nearest):
            centers[index] = sizes[nearest == index].mean(axis=0)
    mean_iou = float(shape_iou(sizes, centers).max(axis=1).mean())
    return centers[np.argsort(centers.prod(axis=1))], mean_iou
