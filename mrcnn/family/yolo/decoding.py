"""From the raw outputs of a YOLO network to boxes and class scores.

`B` images, `N` boxes of all grids, `C` classes. Boxes are (x, y, w, h): center and size as shares
of the network's input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from keras import ops

from mrcnn.family.yolo.descriptions import YoloNetwork
from mrcnn.layers.types import Tensor


@dataclass(frozen=True)
class Grids:
    """The cell and the anchor of every box, in the order of the network's rows.

    Attributes:
        cells: [N, 2] int, column and row.
        sizes: [N] int, cells per side of the box's grid.
        anchors: [N, 2] float32, width and height as shares of the input.
        starts: first row of each grid.
    """

    cells: np.ndarray
    sizes: np.ndarray
    anchors: np.ndarray
    starts: tuple[int, ...]


def make_grids(network: YoloNetwork, image_size: int) -> Grids:
    """Enumerate the boxes of a network with anchors.

    Args:
        network: YOLOv2 or later.
        image_size: side of the input in pixels.

    Raises:
        ValueError: the network has no anchors.
    """
    if network.anchors is None:
        raise ValueError(f"network is {network.name}; it must have anchors")
    cells, sizes, anchors, starts, total = [], [], [], [], 0
    for stride, in_grid in zip(network.strides, network.anchors):
        side, count = image_size // stride, len(in_grid)
        rows, columns = np.divmod(np.repeat(np.arange(side * side), count), side)
        cells.append(np.stack([columns, rows], axis=1))
        sizes.append(np.full(len(rows), side))
        anchors.append(np.tile(np.array(in_grid, np.float32) / image_size, (side * side, 1)))
        starts.append(total)
        total += len(rows)
    return Grids(
        np.concatenate(cells), np.concatenate(sizes), np.concatenate(anchors), tuple(starts)
    )


def decode_boxes(raw: Tensor, grids: Grids) -> Tensor:
    """Decode the boxes of YOLOv2 and v3 (Redmon and Farhadi 2016, figure 3).

    Args:
        raw: `[B, N, 5 + C]` raw outputs.
        grids: the cells and anchors.

    Returns:
        `[B, N, 4]`.
    """
    sizes, cells, anchors = (
        ops.convert_to_tensor(x, "float32")
        for x in (grids.sizes[:, None], grids.cells, grids.anchors)
    )
    centers = (ops.sigmoid(raw[..., :2]) + cells) / sizes
    return ops.concatenate([centers, ops.exp(raw[..., 2:4]) * anchors], axis=-1)


def decode_scores(raw: Tensor, version: int) -> Tensor:
    """Compute objectness times class probability: softmax in v2, one logistic per class in v3.

    Args:
        raw: `[B, N, 5 + C]` raw outputs.
        version: 2 or 3.

    Returns:
        `[B, N, C]` in 0..1.
    """
    classes = raw[..., 5:]
    probabilities = ops.softmax(classes, axis=-1) if version == 2 else ops.sigmoid(classes)
    return ops.sigmoid(raw[..., 4:5]) * probabilities


def split_v1(raw: Tensor, num_classes: int, num_boxes: int, side: int) -> tuple[Tensor, ...]:
    """Split the output vector of YOLOv1 into its three parts, cells in row order.

    Args:
        raw: `[B, S * S * (C + 5 * num_boxes)]`.
        num_classes: C.
        num_boxes: boxes per cell.
        side: S, cells per side.

    Returns:
        class probabilities `[B, S * S, C]`, confidences `[B, S * S, num_boxes]` and coordinates
        `[B, S * S, num_boxes, 4]`: the center within the cell, the square roots of width and
        height.
    """
    cells = side * side
    first, second = cells * num_classes, cells * (num_classes + num_boxes)
    return (
        ops.reshape(raw[:, :first], (-1, cells, num_classes)),
        ops.reshape(raw[:, first:second], (-1, cells, num_boxes)),
        ops.reshape(raw[:, second:], (-1, cells, num_boxes, 4)),
    )


def v1_boxes(coordinates: Tensor, side: int) -> Tensor:
    """Convert coordinates of `split_v1` to boxes `[B, S * S, num_boxes, 4]`."""
    centers = (coordinates[..., :2] + v1_cells(side)[:, None]) / side
    return ops.concatenate([centers, ops.square(coordinates[..., 2:])], axis=-1)


def v1_cells(side: int) -> Tensor:
    """Return column and row `[S * S, 2]` float32 of the cells of YOLOv1."""
    rows, columns = np.divmod(np.arange(side * side), side)
    return ops.convert_to_tensor(np.stack([columns, rows], axis=1), "float32")


def decode_v1(
    raw: Tensor, num_classes: int, num_boxes: int = 2, side: int = 7
) -> tuple[Tensor, Tensor]:
    """Decode the output of YOLOv1 (Redmon et al. 2015).

    Returns:
        boxes `[B, S * S * num_boxes, 4]` and scores `[B, S * S * num_boxes, C]`.
    """
    classes, confidences, coordinates = split_v1(raw, num_classes, num_boxes, side)
    scores = confidences[..., None] * classes[:, :, None]
    count = side * side * num_boxes
    boxes = ops.reshape(v1_boxes(coordinates, side), (-1, count, 4))
    return boxes, ops.reshape(scores, (-1, count, num_classes))
