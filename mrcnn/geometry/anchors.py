"""Anchors: the boxes the region proposal network scores and refines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mrcnn.config import Config


def compute_backbone_shapes(config: Config, image_shape: Sequence[int]) -> np.ndarray:
    """Height and width of each level of the feature pyramid.

    Args:
        config: ``BACKBONE_STRIDES``, or ``COMPUTE_BACKBONE_SHAPE`` for a backbone function.
        image_shape: (height, width, ...) of the network's input in pixels.

    Returns:
        [levels, (height, width)] int64.
    """
    if callable(config.BACKBONE):
        return np.asarray(config.COMPUTE_BACKBONE_SHAPE(image_shape))
    height, width = image_shape[:2]
    return np.array(
        [[math.ceil(height / s), math.ceil(width / s)] for s in config.BACKBONE_STRIDES]
    )


def generate_anchors(
    scales: float | Sequence[float],
    ratios: Sequence[float],
    shape: Sequence[int],
    feature_stride: int,
    anchor_stride: int,
) -> np.ndarray:
    """Anchors of one feature map.

    Args:
        scales: Side of a square anchor in pixels; one or several.
        ratios: Width / height of the anchors.
        shape: (height, width) of the feature map in cells.
        feature_stride: Pixels of the image a cell covers.
        anchor_stride: 1 for anchors at every cell, 2 for every second, ...

    Returns:
        [rows * columns * ratios * scales, (y1, x1, y2, x2)] float64 pixels. The scale
        varies fastest, then ratio, column, row. Centres are the upper left corners of
        the cells.
    """
    ratio_roots = np.sqrt(np.asarray(ratios, np.float64))[:, None]
    scales = np.atleast_1d(np.asarray(scales, np.float64))[None, :]
    sizes = np.stack([scales / ratio_roots, scales * ratio_roots], axis=-1).reshape(-1, 2)
    ys = np.arange(0, shape[0], anchor_stride) * feature_stride
    xs = np.arange(0, shape[1], anchor_stride) * feature_stride
    centers = np.stack(np.meshgrid(ys, xs, indexing="ij"), axis=-1)[:, :, None, :]
    return np.concatenate([centers - 0.5 * sizes, centers + 0.5 * sizes], axis=-1).reshape(-1, 4)


def generate_pyramid_anchors(
    scales: Sequence[float],
    ratios: Sequence[float],
    feature_shapes: Sequence[Sequence[int]],
    feature_strides: Sequence[int],
    anchor_stride: int,
) -> np.ndarray:
    """Anchors of all pyramid levels, the finest level first (FPN, section 4.1).

    Args:
        scales: Anchor side in pixels, one for each level; levels beyond the last have no anchors.
        ratios: Width / height, the same on each level.
        feature_shapes: [levels, (height, width)] in cells.
        feature_strides: Pixels a cell covers, one for each level.
        anchor_stride: 1 for anchors at every cell, 2 for every second, ...

    Returns:
        [anchors, (y1, x1, y2, x2)] float64 pixels.

    Raises:
        ValueError: There are more scales than shapes, or the numbers of shapes and strides differ.
    """
    if not len(scales) <= len(feature_shapes) == len(feature_strides):
        raise ValueError(
            f"{len(scales)} scales, {len(feature_shapes)} feature_shapes and "
            f"{len(feature_strides)} feature_strides: there must be one of each for a level."
        )
    levels = zip(scales, feature_shapes, feature_strides)
    return np.concatenate(
        [
            generate_anchors(scale, ratios, shape, stride, anchor_stride)
            for scale, shape, stride in levels
        ]
    )
