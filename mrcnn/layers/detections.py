"""DetectionLayer: from classified proposals to the final detections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.layers.boxes import (
    apply_box_deltas_graph,
    clip_boxes_graph,
    norm_boxes_graph,
    parse_image_meta_graph,
)
from mrcnn.layers.indexing import last_argmax, take_along_axis
from mrcnn.layers.nms import gather_rows, non_max_suppression_graph
from mrcnn.layers.types import Shape, Tensor


def refine_detections_batch(
    rois: Tensor,
    probs: Tensor,
    deltas: Tensor,
    windows: Tensor,
    *,
    bbox_std_dev: Sequence[float],
    max_instances: int,
    min_confidence: float,
    nms_threshold: float,
) -> Tensor:
    """Refine, filter and rank the classified boxes of a batch.

    Args:
        rois: `[batch, N, (y1, x1, y2, x2)]` normalized.
        probs: `[batch, N, num_classes]` class probabilities.
        deltas: `[batch, N, num_classes, (dy, dx, log(dh), log(dw))]` in standard deviations.
        windows: `[batch, (y1, x1, y2, x2)]` normalized, the part that holds the image.
        bbox_std_dev: four standard deviations of the deltas.
        max_instances: rows to return for each image.
        min_confidence: probability below which a box is dropped, 0..1.
        nms_threshold: IoU, 0..1, above which the worse of two boxes of one class is dropped.

    Returns:
        `[batch, max_instances, (y1, x1, y2, x2, class_id, score)]`, boxes normalized, in order of
        falling score, padded with zero rows.
    """
    class_ids = last_argmax(probs)
    scores = ops.max(probs, axis=-1)
    index = ops.expand_dims(ops.expand_dims(class_ids, -1), -1)
    class_deltas = ops.squeeze(take_along_axis(deltas, index, axis=2), axis=2)
    std_dev = ops.convert_to_tensor(bbox_std_dev, "float32")
    boxes = apply_box_deltas_graph(rois, class_deltas * std_dev)
    boxes = clip_boxes_graph(boxes, windows)

    wanted = class_ids > 0
    if min_confidence:
        wanted = ops.logical_and(wanted, scores >= min_confidence)
    chosen = non_max_suppression_graph(
        boxes,
        ops.where(wanted, scores, -1.0),
        max_instances,
        nms_threshold,
        class_ids=class_ids,
    )
    rows = ops.concatenate(
        [
            boxes,
            ops.expand_dims(ops.cast(class_ids, "float32"), -1),
            ops.expand_dims(scores, -1),
        ],
        axis=-1,
    )
    return gather_rows(rows, chosen)


def _detection_settings(config: Any) -> dict[str, Any]:
    """Return the keyword arguments of `refine_detections_batch` from a `Config`."""
    return {
        "bbox_std_dev": tuple(float(v) for v in config.BBOX_STD_DEV),
        "max_instances": int(config.DETECTION_MAX_INSTANCES),
        "min_confidence": float(config.DETECTION_MIN_CONFIDENCE or 0),
        "nms_threshold": float(config.DETECTION_NMS_THRESHOLD),
    }


def refine_detections_graph(
    rois: Tensor, probs: Tensor, deltas: Tensor, window: Tensor, config: Any
) -> Tensor:
    """Refine, filter and rank the classified boxes of one image.

    Args:
        rois: `[N, (y1, x1, y2, x2)]` normalized.
        probs: `[N, num_classes]` class probabilities.
        deltas: `[N, num_classes, (dy, dx, log(dh), log(dw))]` in standard deviations.
        window: `[(y1, x1, y2, x2)]` normalized, the part that holds the image.
        config: `Config`, read for `BBOX_STD_DEV` and the `DETECTION_*` settings.

    Returns:
        `[DETECTION_MAX_INSTANCES, (y1, x1, y2, x2, class_id, score)]`, see
        `refine_detections_batch`.
    """
    tensors = (ops.expand_dims(ops.convert_to_tensor(x), 0) for x in (rois, probs, deltas, window))
    return refine_detections_batch(*tensors, **_detection_settings(config))[0]


@keras.saving.register_keras_serializable(package="mrcnn")
class JointScores(keras.layers.Layer):
    """Compute the geometric mean of class probabilities and the scores of the proposals.

    The RPN knows how well a proposal fits its object, the classifier which object it is. CenterNet2
    (Zhou et al. 2021, "Probabilistic two-stage detection") ranks by both.

    Call with `[mrcnn_class [batch, N, num_classes], scores [batch, N, 1]]`; returns
    `[batch, N, num_classes]` in 0..1. The most probable class of each box stays the same.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        probs, scores = inputs
        return ops.sqrt(probs * scores)

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        return input_shape[0]


@keras.saving.register_keras_serializable(package="mrcnn")
class DetectionLayer(keras.layers.Layer):
    """The last step of detection: suppression within each class, over refined proposals.

    Args:
        config: `Config`, read for the four following arguments; they are ignored then.
        bbox_std_dev: `BBOX_STD_DEV`, four standard deviations of the deltas.
        max_instances: `DETECTION_MAX_INSTANCES`, rows to return for each image.
        min_confidence: `DETECTION_MIN_CONFIDENCE`, 0..1.
        nms_threshold: `DETECTION_NMS_THRESHOLD`, 0..1.
        **kwargs: as for `keras.layers.Layer`.

    Call with `[rois, mrcnn_class, mrcnn_bbox, image_meta]`; see `refine_detections_batch`.
    """

    def __init__(
        self,
        config: Any = None,
        *,
        bbox_std_dev: Sequence[float] = (0.1, 0.1, 0.2, 0.2),
        max_instances: int = 100,
        min_confidence: float = 0.7,
        nms_threshold: float = 0.3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        if config is not None:
            self._settings = _detection_settings(config)
        else:
            self._settings = {
                "bbox_std_dev": tuple(bbox_std_dev),
                "max_instances": max_instances,
                "min_confidence": min_confidence,
                "nms_threshold": nms_threshold,
            }

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        rois, probs, deltas, image_meta = inputs
        meta = parse_image_meta_graph(image_meta)
        # All images of a batch have the same padded shape.
        windows = norm_boxes_graph(meta["window"], meta["image_shape"][0, :2])
        return refine_detections_batch(rois, probs, deltas, windows, **self._settings)

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        return (input_shape[0][0], self._settings["max_instances"], 6)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._settings}
