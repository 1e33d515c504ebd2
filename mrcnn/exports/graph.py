"""The graph that is exported: from raw images to boxes, classes, scores and masks.

    molding -> network -> detections -> boxes in pixels -> masks

Everything that `detect` does with NumPy is a part of it, so it takes nothing but images.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from mrcnn import graphs
from mrcnn.exports.formats import INPUT, OUTPUTS
from mrcnn.exports.molding_graph import mold
from mrcnn.exports.pasting_graph import image_boxes, paste
from mrcnn.layers.nms import gather_rows
from mrcnn.layers.portable_nms import portable_nms
from mrcnn.layers.rpn import rpn_suits_winograd
from mrcnn.layers.types import Tensor
from mrcnn.layers.winograd import KERNEL_BASIS, winograd

# Anchors are exported as whole numbers of this part of the image: float16 would move them by half a
# pixel.
_ANCHOR_UNITS = float(1 << 24)


class ExportGraph:
    """The weights of a model and the function that is exported.

    Args:
        shared: `mrcnn.graphs.SharedLayers`.
        masks: "image" or "box", see `outputs`.
        half: whether the weights are stored in float16. Sums are computed in float32.

    Attributes:
        outputs: names of the outputs.
        module: `tf.Module` that holds the weights.
        signature: `tf.TensorSpec` of the images.
        rpn_suits_winograd: whether the RPN's 3x3 convolution may be computed by Winograd's
            algorithm, see `mrcnn.layers.winograd`.
    """

    def __init__(self, shared: Any, masks: str = "image", half: bool = False) -> None:
        import tensorflow as tf

        self._config = shared.config
        self._masks = masks
        self._models = [graphs.detection_graph(shared)]
        self.rpn_suits_winograd = rpn_suits_winograd(self._models[0])
        self.outputs = [name for name in OUTPUTS if name != "masks"]
        if getattr(self._config, "USE_MASK", True):
            self._models.append(graphs.mask_graph(shared))
            self.outputs.append("masks")
        _, anchors = graphs.normalized_anchors(self._config, self._config.IMAGE_SHAPE)
        self._anchors = np.rint(anchors * _ANCHOR_UNITS).astype(np.int32)
        unique = {id(v): v for model in self._models for v in model.variables}
        self._variables = list(unique.values())
        # Variables of TensorFlow's own, so that a SavedModel needs no Keras to be loaded.
        self.module = tf.Module()
        self.module.weights = [tf.Variable(_stored(v, half)) for v in self._variables]
        channels = int(self._config.IMAGE_SHAPE[2])
        self.signature = tf.TensorSpec([None, None, None, channels], tf.uint8, name=INPUT)

    def function(self, portable: bool, by_winograd: bool = False) -> Any:
        """Return a `tf.function` of images `[batch, height, width, channels]` uint8.

        Args:
            portable: use only operations that other runtimes have.
            by_winograd: with `portable`, compute 3x3 convolutions by Winograd's algorithm, see
                `mrcnn.layers.winograd`.
        """
        import tensorflow as tf

        def run(images: Tensor) -> dict[str, Tensor]:
            values = [tf.cast(weight, tf.float32) for weight in self.module.weights]
            with keras.StatelessScope(state_mapping=list(zip(self._variables, values))):
                if not portable:
                    return self._outputs(images)
                basis = KERNEL_BASIS + ops.cast(_unknown_zero(images), "float32")
                with portable_nms(), winograd(by_winograd, basis):
                    return self._outputs(images)

        return tf.function(run, input_signature=[self.signature], autograph=False)

    def _outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name.

        N is the largest number of detections of an image of the batch, at least 1.

            num_detections: `[batch]` int32; the rows of an image after these are zeros.
            boxes: `[batch, N, (y1, x1, y2, x2)]` int32, in pixels of the image.
            class_ids: `[batch, N]` int32.
            scores: `[batch, N]` float32 in 0..1, falling.
            masks: `[batch, N, height, width]` uint8, 1 inside of the object. With masks "box":
                `[batch, N, mask height, mask width]` float32 probabilities within the box.
        """
        batch_size, height, width = ops.shape(images)[:3]
        molded = mold(images, self._config)
        # Converters would otherwise compute the floats, to round them.
        anchors = ops.cast(self._anchors + _unknown_zero(images), "float32") / _ANCHOR_UNITS
        anchors = ops.broadcast_to(anchors[None], (batch_size, *self._anchors.shape))
        inputs = [molded.images, molded.image_meta, anchors]
        detections, *pyramid = self._models[0](inputs, training=False)
        side = int(self._config.IMAGE_MAX_DIM)
        boxes = image_boxes(detections, molded.window, side, (height, width))
        rows, num_detections = _rows_with_pixels(detections, boxes)
        detections, boxes = gather_rows(detections, rows), gather_rows(boxes, rows)
        outputs = {
            "num_detections": num_detections,
            "boxes": boxes,
            "class_ids": ops.cast(detections[..., 4], "int32"),
            "scores": detections[..., 5],
        }
        if "masks" in self.outputs:
            masks = self._models[1]([detections, molded.image_meta, *pyramid], training=False)
            if self._config.MASK_SCORES:
                outputs, masks = self._with_mask_scores(outputs, masks)
                boxes = outputs["boxes"]
            if self._masks == "image":
                masks = paste(masks, boxes, (height, width))
            else:
                present = ops.cast(outputs["class_ids"] > 0, "float32")
                masks = masks * present[:, :, None, None]
            outputs["masks"] = masks
        import tensorflow as tf

        return {name: tf.identity(outputs[name], name=name) for name in self.outputs}

    def _with_mask_scores(
        self, outputs: dict[str, Tensor], masks: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the outputs and the masks `[batch, N, h, w]` as `MASK_SCORES` has them."""
        scores = outputs["scores"] * _mask_scores(masks)
        least = float(self._config.DETECTION_MIN_CONFIDENCE or 0)
        kept = ops.logical_and(outputs["class_ids"] > 0, scores >= least)
        rows, num_detections = _first_rows(ops.where(kept, scores, -1.0))
        outputs = {**outputs, "scores": scores}
        changed = {
            name: gather_rows(outputs[name], rows) for name in ("boxes", "class_ids", "scores")
        }
        return {"num_detections": num_detections, **changed}, gather_rows(masks, rows)


def _unknown_zero(images: Tensor) -> Tensor:
    """Return 0, int32, as a tensor of which converters cannot compute the value."""
    return ops.minimum(ops.shape(images)[0], 0)


def _stored(variable: Any, half: bool) -> np.ndarray:
    """Return the value of a variable in the type in which it is exported."""
    value = np.asarray(ops.convert_to_numpy(variable), np.float32)
    # Biases and statistics are few, and some are beyond the range of float16.
    return value.astype(np.float16) if half and value.ndim >= 2 else value


def _rows_with_pixels(detections: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows `[batch, N]` of detections with a pixel, -1 at the end, and their number."""
    has_pixels = ops.logical_and(boxes[..., 2] > boxes[..., 0], boxes[..., 3] > boxes[..., 1])
    present = ops.logical_and(detections[..., 4] > 0.0, has_pixels)
    in_order = np.arange(detections.shape[1], 0, -1, dtype=np.float32)
    return _first_rows(ops.where(present, in_order, -1.0))


def _mask_scores(masks: Tensor) -> Tensor:
    """Return `mrcnn.geometry.masks.mask_scores` of masks `[batch, N, h, w]`: `[batch, N]`."""
    inside = ops.cast(masks >= 0.5, "float32")
    count = ops.maximum(ops.sum(inside, axis=(2, 3)), 1.0)
    return ops.sum(inside * masks, axis=(2, 3)) / count


def _first_rows(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of scores `[batch, N]` of at least 0, best first and -1 at the end.

    Also returns their number `[batch]`.
    """
    count = ops.shape(scores)[1]
    ranked, rows = ops.top_k(scores, count)
    rows = ops.where(ranked >= 0.0, ops.cast(rows, "int32"), -1)
    num_detections = ops.sum(ops.cast(scores >= 0.0, "int32"), axis=1)
    return rows[:, : ops.maximum(ops.max(num_detections), 1)], num_detections
