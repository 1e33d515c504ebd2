"""DetectionLayer: from classified proposals to the final detections."""

import keras
from keras import ops

from mrcnn.layers.boxes import (
    apply_box_deltas_graph,
    clip_boxes_graph,
    norm_boxes_graph,
    parse_image_meta_graph,
)
from mrcnn.layers.indexing import take_along_axis
from mrcnn.layers.nms import gather_rows, non_max_suppression


def refine_detections_batch(rois, probs, deltas, windows, config):
    """Refine, filter and rank the classified boxes of a batch.

    Args:
        rois: `[batch, N, (y1, x1, y2, x2)]` normalised.
        probs: `[batch, N, num_classes]` class probabilities.
        deltas: `[batch, N, num_classes, (dy, dx, log(dh), log(dw))]` in standard deviations.
        windows: `[batch, (y1, x1, y2, x2)]` normalised, the part that holds the picture.
        config: `Config` with `BBOX_STD_DEV` and the `DETECTION_*` settings.

    Returns:
        `[batch, DETECTION_MAX_INSTANCES, (y1, x1, y2, x2, class_id, score)]`, boxes normalised, in
        order of falling score, padded with zero rows.
    """
    class_ids = ops.cast(ops.argmax(probs, axis=-1), "int32")
    scores = ops.max(probs, axis=-1)
    index = ops.expand_dims(ops.expand_dims(class_ids, -1), -1)
    class_deltas = ops.squeeze(take_along_axis(deltas, index, axis=2), axis=2)
    std_dev = ops.convert_to_tensor(config.BBOX_STD_DEV, "float32")
    boxes = apply_box_deltas_graph(rois, class_deltas * std_dev)
    boxes = clip_boxes_graph(boxes, windows)

    wanted = class_ids > 0
    if config.DETECTION_MIN_CONFIDENCE:
        wanted = ops.logical_and(wanted, scores >= config.DETECTION_MIN_CONFIDENCE)
    chosen = non_max_suppression(
        boxes,
        ops.where(wanted, scores, -1.0),
        config.DETECTION_MAX_INSTANCES,
        config.DETECTION_NMS_THRESHOLD,
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


def refine_detections_graph(rois, probs, deltas, window, config):
    """`refine_detections_batch` for one picture: the arguments without the batch axis.

    Returns:
        `[DETECTION_MAX_INSTANCES, (y1, x1, y2, x2, class_id, score)]`.
    """
    tensors = (ops.expand_dims(ops.convert_to_tensor(x), 0) for x in (rois, probs, deltas, window))
    return refine_detections_batch(*tensors, config)[0]


class DetectionLayer(keras.layers.Layer):
    """The last step of detection: class-wise non-maximum suppression over refined proposals.

    Call with `[rois, mrcnn_class, mrcnn_bbox, image_meta]`; see `refine_detections_batch`.
    """

    def __init__(self, config=None, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.config = config

    def call(self, inputs):
        rois, probs, deltas, image_meta = inputs
        meta = parse_image_meta_graph(image_meta)
        # All pictures of a batch have the same padded shape.
        windows = norm_boxes_graph(meta["window"], meta["image_shape"][0, :2])
        return refine_detections_batch(rois, probs, deltas, windows, self.config)

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0], self.config.DETECTION_MAX_INSTANCES, 6)
