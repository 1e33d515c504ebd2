"""Anchors: the boxes that the region proposal network scores and refines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mrcnn.geometry.boxes import norm_boxes

if TYPE_CHECKING:
    from mrcnn.config import Config


def compute_backbone_shapes(config: Config, image_shape: Sequence[int] | np.ndarray) -> np.ndarray:
    """Compute the height and width of each level of the feature pyramid.

    Args:
        config: `BACKBONE_STRIDES` is read, or `COMPUTE_BACKBONE_SHAPE` where `BACKBONE` is a
            function.
        image_shape: (height, width, ...) of the network's input in pixels.

    Returns:
        [levels, (height, width)] int64 in cells, the finest level first.
    """
    if callable(config.BACKBONE):
        return np.asarray(config.COMPUTE_BACKBONE_SHAPE(image_shape))
    height, width = image_shape[:2]
    return np.array(
        [[math.ceil(height / s), math.ceil(width / s)] for s in config.BACKBONE_STRIDES]
    )


def anchors_for_image(config: Config, image_shape: Sequence[int] | np.ndarray) -> np.ndarray:
    """Generate the anchors of a network input, in the order of the RPN's outputs.

    Args:
        config: `RPN_ANCHOR_SCALES`, `RPN_ANCHOR_RATIOS`, `RPN_ANCHOR_STRIDE`, `BACKBONE_STRIDES`
            and what `compute_backbone_shapes` reads. Where there are fewer scales than pyramid
            levels, the coarsest levels have no anchors.
        image_shape: (height, width, ...) of the network's input in pixels.

    Returns:
        [anchors, (y1, x1, y2, x2)] float64 pixels.
    """
    return generate_pyramid_anchors(
        config.RPN_ANCHOR_SCALES,
        config.RPN_ANCHOR_RATIOS,
        compute_backbone_shapes(config, image_shape),
        config.BACKBONE_STRIDES,
        config.RPN_ANCHOR_STRIDE,
    )


def normalized_anchors(
    config: Config, image_shape: Sequence[int] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Generate the anchors of a network input.

    Args:
        config: `Config`.
        image_shape: `(height, width, ...)` of the network's input in pixels.

    Returns:
        `(pixel anchors, normalized anchors)`, both `[anchors, (y1, x1, y2, x2)]`.
    """
    anchors = anchors_for_image(config, image_shape)
    return anchors, norm_boxes(anchors, image_shape[:2])


def roi_levels_of(config: Config) -> slice:
    """Return which of P2 to P5 the heads pool from: all, or the one of `ROI_LEVEL`."""
    first, last = (2, 5) if config.ROI_LEVEL is None else (config.ROI_LEVEL, config.ROI_LEVEL)
    return slice(first - 2, last - 1)


def generate_anchors(
    scales: float | Sequence[float],
    ratios: Sequence[float],
    shape: Sequence[int],
    feature_stride: float,
    anchor_stride: int,
) -> np.ndarray:
    """Generate the anchors of one feature map.

    Args:
        scales: side of a square anchor in pixels; one or several.
        ratios: width / height of the anchors.
        shape: (height, width) of the feature map in cells.
        feature_stride: pixels of the image that a cell covers.
        anchor_stride: 1 for anchors at every cell, 2 for every second one, ...

    Returns:
        [rows * columns * ratios * scales, (y1, x1, y2, x2)] float64 pixels. The scale varies
        fastest, then ratio, column, row. Centers are the upper left corners of the cells.
    """
    ratio_roots = np.sqrt(np.asarray(ratios, np.float64))[:, None]
    sides = np.atleast_1d(np.asarray(scales, np.float64))[None, :]
    sizes = np.stack([sides / ratio_roots, sides * ratio_roots], axis=-1).reshape(-1, 2)
    ys = np.arange(0, shape[0], anchor_stride) * feature_stride
    xs = np.arange(0, shape[1], anchor_stride) * feature_stride
    centers = np.stack(np.meshgrid(ys, xs, indexing="ij"), axis=-1)[:, :, None, :]
    return np.concatenate([centers - 0.5 * sizes, centers + 0.5 * sizes], axis=-1).reshape(-1, 4)


def generate_pyramid_anchors(
    scales: Sequence[float],
    ratios: Sequence[float],
    feature_shapes: Sequence[Sequence[int]] | np.ndarray,
    feature_strides: Sequence[float],
    anchor_stride: int,
) -> np.ndarray:
    """Generate the anchors of all pyramid levels, the finest level first (FPN, section 4.1).

    Args:
        scales: anchor side in pixels, one for each level. Levels beyond the last scale have no
            anchors, as in Matterport's package.
        ratios: width / height, the same on each level.
        feature_shapes: [levels, (height, width)] in cells.
        feature_strides: pixels that a cell covers, one for each level.
        anchor_stride: 1 for anchors at every cell, 2 for every second one, ...

    Returns:
        [anchors, (y1, x1, y2, x2)] float64 pixels.

    Raises:
        ValueError: there are more scales than shapes or strides.
    """
    num_levels = len(scales)
    if num_levels > min(len(feature_shapes), len(feature_strides)):
        raise ValueError(
            f"scales is {list(scales)!r}; it must have at most one value for each of the "
            f"{len(feature_shapes)} feature_shapes and {len(feature_strides)} feature_strides"
        )
    levels = zip(scales, feature_shapes[:num_levels], feature_strides[:num_levels], strict=True)
    return np.concatenate(
        [
            generate_anchors(scale, ratios, shape, stride, anchor_stride)
            for scale, shape, stride in levels
        ]
    )


def best_anchor_overlaps(
    config: Config, boxes: np.ndarray, image_shape: Sequence[int] | np.ndarray
) -> np.ndarray:
    """Compute the overlap of each box with the anchor that overlaps it most.

    As large as the greatest value of each column of `compute_overlaps(anchors, boxes)`, but without
    all anchors: of the anchors of one shape, the one with the nearest center is the best.

    Args:
        config: as for `anchors_for_image`.
        boxes: [N, (y1, x1, y2, x2)] in pixels of the network's input.
        image_shape: (height, width, ...) of the network's input in pixels.

    Returns:
        [N] float64, intersection over union from 0 to 1.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = sides.prod(axis=1)
    best = np.zeros(len(boxes))
    shapes = compute_backbone_shapes(config, image_shape)
    for scale, shape, stride in zip(config.RPN_ANCHOR_SCALES, shapes, config.BACKBONE_STRIDES):
        step = stride * config.RPN_ANCHOR_STRIDE
        last = (np.asarray(shape) - 1) // config.RPN_ANCHOR_STRIDE
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        centers = np.clip(np.rint(centers / step), 0, last) * step
        for anchor in generate_anchors(scale, config.RPN_ANCHOR_RATIOS, (1, 1), stride, 1):
            low = np.maximum(boxes[:, :2], centers + anchor[:2])
            high = np.minimum(boxes[:, 2:], centers + anchor[2:])
            shared = np.maximum(high - low, 0).prod(axis=1)
            union = areas + (anchor[2:] - anchor[:2]).prod() - shared
            np.maximum(best, shared / union, out=best)
    return best
