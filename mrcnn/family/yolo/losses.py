"""The losses of YOLO v1, v2 and v3, as sums over the boxes of an image.

True boxes are `[B, M, (class, x, y, w, h)]`: class ids from 0, -1 for padding; center and size as
shares of the input, between 0 and 1. The losses are sums per image, as in Darknet, not means.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from mrcnn.family.yolo.decoding import Grids, decode_boxes, split_v1, v1_boxes, v1_cells
from mrcnn.layers.indexing import take_along_axis
from mrcnn.layers.types import Tensor

_EPSILON = 1e-9


@dataclass(frozen=True)
class LossWeights:
    """Weights of the parts of a YOLO loss, and the IoU from which a box is not background.

    Attributes:
        coordinates: weight of centers and sizes.
        objects: weight of the objectness of responsible boxes.
        background: weight of the objectness of boxes without an object.
        classes: weight of the classes.
        ignore_iou: boxes that overlap an object by more, without being responsible for it, are no
            background; not used by v1.
    """

    coordinates: float
    objects: float
    background: float
    classes: float
    ignore_iou: float = 1.0


# Values of the published configuration files; the background's weight is lambda_noobj in v1's
# paper.
LOSS_WEIGHTS = {
    1: LossWeights(5, 1, 0.5, 1),
    2: LossWeights(1, 5, 1, 1, ignore_iou=0.6),
    3: LossWeights(1, 1, 1, 1, ignore_iou=0.7),
}


def iou_of_centered(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Compute the IoU of boxes (x, y, w, h); the leading axes broadcast."""
    low = ops.maximum(boxes1[..., :2] - boxes1[..., 2:] / 2, boxes2[..., :2] - boxes2[..., 2:] / 2)
    high = ops.minimum(boxes1[..., :2] + boxes1[..., 2:] / 2, boxes2[..., :2] + boxes2[..., 2:] / 2)
    sides = ops.maximum(high - low, 0.0)
    common = sides[..., 0] * sides[..., 1]
    areas = boxes1[..., 2] * boxes1[..., 3] + boxes2[..., 2] * boxes2[..., 3]
    return common / (areas - common + _EPSILON)


def responsible_rows(truth: Tensor, grids: Grids) -> Tensor:
    """Return the row of the box that is responsible for each true box.

    It is in the cell that holds the center, with the anchor of the most similar shape among those
    of all grids.

    Args:
        truth: `[B, M, 5]`.
        grids: the cells and anchors.

    Returns:
        `[B, M]` int32; any row for padding.
    """
    shapes, sides, starts, places, counts = _anchor_tables(grids)
    anchors, truth = ops.convert_to_tensor(shapes), ops.convert_to_tensor(truth)
    sizes = truth[:, :, None, 3:5]
    common = ops.prod(ops.minimum(sizes, anchors), axis=-1)
    union = ops.prod(sizes, axis=-1) + ops.prod(anchors, axis=-1) - common
    best = ops.argmax(common / (union + _EPSILON), axis=-1)

    def of_best(table: np.ndarray) -> Tensor:
        return ops.take(ops.convert_to_tensor(table.astype(np.int32)), best)

    side = of_best(sides)
    cells = ops.cast(truth[:, :, 1:3] * ops.cast(side[..., None], truth.dtype), "int32")
    cells = ops.clip(cells, 0, side[..., None] - 1)
    cell = cells[..., 1] * side + cells[..., 0]
    return of_best(starts) + cell * of_best(counts) + of_best(places)


def _anchor_tables(grids: Grids) -> tuple[np.ndarray, ...]:
    """Return, for every anchor of every grid: its size, cells per side, first row, place, count."""
    ends = (*grids.starts[1:], len(grids.cells))
    rows = []
    for start, end in zip(grids.starts, ends):
        side = int(grids.sizes[start])
        count = (end - start) // side**2
        rows += [
            (*grids.anchors[start + place], side, start, place, count) for place in range(count)
        ]
    table = np.array(rows, np.float64)
    return (table[:, :2].astype(np.float32), *(table[:, column] for column in range(2, 6)))


@keras.saving.register_keras_serializable(package="mrcnn")
class AnchorLoss(keras.losses.Loss):
    """Loss of YOLOv2 and v3.

    The responsible box of each object learns its center, size, objectness and class; all other
    boxes learn that they are background, unless they overlap an object by more than `ignore_iou`.
    Errors of center and size of small boxes weigh up to twice as much as those of large ones.

    v2 (Redmon and Farhadi 2016) takes squares for centers and objectness, whose target is the IoU
    of the predicted box, and softmax cross entropy for classes. v3 (2018) takes binary cross
    entropy for all three. Darknet's pull of all boxes towards their anchors in the first 12,800
    images is left out.

    Args:
        version: 2 or 3.
        grids: the cells and anchors of the network's rows.
        weights: weights of the parts; None takes the published ones.
    """

    def __init__(self, version: int, grids: Grids, weights: LossWeights | None = None) -> None:
        super().__init__(name=f"yolov{version}_loss", reduction="sum_over_batch_size")
        if version not in (2, 3):
            raise ValueError(f"version is {version}; it must be 2 or 3")
        self.version = version
        self.grids = grids
        self.weights = LOSS_WEIGHTS[version] if weights is None else weights

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Compute the losses `[B]` of true boxes `[B, M, 5]` and raw outputs `[B, N, 5 + C]`."""
        truth, raw = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        real = ops.cast(truth[..., 0] >= 0, "float32")
        rows = responsible_rows(truth, self.grids)
        predicted = take_along_axis(raw, rows[..., None], axis=1)
        boxes = ops.stop_gradient(decode_boxes(raw, self.grids))
        iou = ops.stop_gradient(
            iou_of_centered(take_along_axis(boxes, rows[..., None], axis=1), truth[..., 1:])
        )
        per_object = (
            self.weights.coordinates * self._coordinate_loss(predicted, truth, rows)
            + self.weights.objects * self._object_loss(predicted, iou)
            + self.weights.classes * self._class_loss(predicted, truth)
        )
        background = self._background_loss(raw, boxes, truth, rows, real)
        return ops.sum(real * per_object, axis=-1) + self.weights.background * background

    def _coordinate_loss(self, predicted: Tensor, truth: Tensor, rows: Tensor) -> Tensor:
        """Return the losses `[B, M]` of centers and sizes."""
        sides = ops.take(ops.convert_to_tensor(self.grids.sizes.astype(np.float32)), rows)
        anchors = ops.take(ops.convert_to_tensor(self.grids.anchors), rows, axis=0)
        position = truth[..., 1:3] * sides[..., None]
        center = position - ops.floor(position)
        size = ops.log(ops.maximum(truth[..., 3:5], _EPSILON) / anchors)
        if self.version == 2:
            center_loss = ops.square(ops.sigmoid(predicted[..., :2]) - center) / 2
        else:
            center_loss = _logistic_loss(center, predicted[..., :2])
        size_loss = ops.square(predicted[..., 2:4] - size) / 2
        weight = 2 - truth[..., 3] * truth[..., 4]
        return weight * ops.sum(center_loss + size_loss, axis=-1)

    def _object_loss(self, predicted: Tensor, iou: Tensor) -> Tensor:
        """Return the losses `[B, M]` of the objectness of responsible boxes."""
        if self.version == 2:
            return ops.square(ops.sigmoid(predicted[..., 4]) - iou) / 2
        return _logistic_loss(1.0, predicted[..., 4])

    def _class_loss(self, predicted: Tensor, truth: Tensor) -> Tensor:
        """Return the losses `[B, M]` of the classes."""
        logits = predicted[..., 5:]
        wanted = ops.one_hot(ops.cast(ops.maximum(truth[..., 0], 0), "int32"), logits.shape[-1])
        if self.version == 2:
            return -ops.sum(wanted * ops.log_softmax(logits, axis=-1), axis=-1)
        return ops.sum(_logistic_loss(wanted, logits), axis=-1)

    def _background_loss(
        self, raw: Tensor, boxes: Tensor, truth: Tensor, rows: Tensor, real: Tensor
    ) -> Tensor:
        """Return the losses `[B]` of the objectness of boxes without an object."""
        overlaps = iou_of_centered(boxes[:, :, None], truth[:, None, :, 1:]) * real[:, None]
        ignored = ops.max(overlaps, axis=-1) > self.weights.ignore_iou
        taken = ops.max(ops.one_hot(rows, raw.shape[1]) * real[..., None], axis=1) > 0
        background = ops.cast(ops.logical_not(ops.logical_or(ignored, taken)), "float32")
        objectness = raw[..., 4]
        if self.version == 2:
            loss = ops.square(ops.sigmoid(objectness)) / 2
        else:
            loss = _logistic_loss(0.0, objectness)
        return ops.sum(background * loss, axis=-1)


@keras.saving.register_keras_serializable(package="mrcnn")
class CellLoss(keras.losses.Loss):
    """Loss of YOLOv1 (Redmon et al. 2015, equation 3).

    Of the boxes in the cell that holds an object's center, the one with the largest IoU is
    responsible. Of several objects in one cell only the first counts, since a cell predicts one
    class.

    Args:
        num_classes: C.
        num_boxes: boxes per cell.
        side: cells per side.
        weights: weights of the parts; None takes the published ones.
    """

    def __init__(
        self,
        num_classes: int,
        num_boxes: int = 2,
        side: int = 7,
        weights: LossWeights | None = None,
    ) -> None:
        super().__init__(name="yolov1_loss", reduction="sum_over_batch_size")
        self.num_classes = num_classes
        self.num_boxes = num_boxes
        self.side = side
        self.weights = LOSS_WEIGHTS[1] if weights is None else weights

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Compute the losses `[B]` of true boxes `[B, M, 5]` and output vectors `[B, ...]`."""
        truth, raw = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        cell_truth, occupied = self._truth_by_cell(truth)
        classes, confidences, coordinates = split_v1(
            raw, self.num_classes, self.num_boxes, self.side
        )
        boxes = v1_boxes(coordinates, self.side)
        iou = ops.stop_gradient(iou_of_centered(boxes, cell_truth[:, :, None, 1:]))
        responsible = ops.one_hot(ops.argmax(iou, axis=-1), self.num_boxes) * occupied[..., None]

        center = cell_truth[..., 1:3] * self.side - v1_cells(self.side)
        wanted = ops.concatenate([center, ops.sqrt(cell_truth[..., 3:5])], axis=-1)
        coordinate = ops.sum(ops.square(coordinates - wanted[:, :, None]), axis=-1)
        class_wanted = ops.one_hot(ops.cast(cell_truth[..., 0], "int32"), self.num_classes)
        class_loss = ops.sum(ops.square(classes - class_wanted), axis=-1)
        return (
            self.weights.coordinates * ops.sum(responsible * coordinate, axis=(1, 2))
            + self.weights.objects
            * ops.sum(responsible * ops.square(confidences - iou), axis=(1, 2))
            + self.weights.background
            * ops.sum((1 - responsible) * ops.square(confidences), axis=(1, 2))
            + self.weights.classes * ops.sum(occupied * class_loss, axis=1)
        )

    def _truth_by_cell(self, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first true box `[B, S * S, 5]` of each cell, and 1 where there is one."""
        cell = ops.clip(ops.cast(truth[..., 1:3] * self.side, "int32"), 0, self.side - 1)
        index = cell[..., 1] * self.side + cell[..., 0]
        index = ops.where(truth[..., 0] >= 0, index, -1)
        cells = ops.arange(self.side**2, dtype="int32")
        inside = ops.cast(ops.equal(index[:, None], cells[:, None]), "float32")
        occupied = ops.max(inside, axis=-1)
        # argmax finds the first object of the cell; where there is none, its values are cleared.
        first = ops.argmax(inside, axis=-1)
        return take_along_axis(truth, first[..., None], axis=1) * occupied[..., None], occupied


def _logistic_loss(target: Tensor | float, logits: Tensor) -> Tensor:
    """Compute the binary cross entropy of logits, element by element."""
    return ops.maximum(logits, 0.0) - logits * target + ops.log1p(ops.exp(-ops.abs(logits)))
