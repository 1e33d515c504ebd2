"""Small layers that bring inputs and outputs of the large ones into shape."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from mrcnn.layers.boxes import norm_boxes_graph, parse_image_meta_graph
from mrcnn.layers.indexing import take_along_axis


class Anchors(keras.layers.Layer):
    """The same anchors for every picture of a batch: `[batch, anchors, 4]`, normalised.

    Args:
        anchors: `[anchors, (y1, x1, y2, x2)]` normalised.
    """

    def __init__(self, anchors, **kwargs):
        super().__init__(autocast=False, **{"dtype": "float32", **kwargs})
        self.anchors = np.asarray(anchors, np.float32)

    def call(self, image):
        return ops.broadcast_to(
            ops.convert_to_tensor(self.anchors), (ops.shape(image)[0], *self.anchors.shape)
        )

    def compute_output_spec(self, image):
        return keras.KerasTensor((image.shape[0], *self.anchors.shape), dtype="float32")


class NormBoxes(keras.layers.Layer):
    """Pixel boxes to normalised ones, by the size of the picture: call with `[boxes, image]`."""

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **{"dtype": "float32", **kwargs})

    def call(self, inputs):
        boxes, image = inputs
        height, width = ops.shape(image)[1:3]
        shape = ops.stack([ops.cast(height, "float32"), ops.cast(width, "float32")])
        return norm_boxes_graph(boxes, shape)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs[0].shape, dtype="float32")


class ActiveClassIds(keras.layers.Layer):
    """The `active_class_ids` out of `image_meta`."""

    def call(self, image_meta):
        return parse_image_meta_graph(image_meta)["active_class_ids"]

    def compute_output_spec(self, image_meta):
        return keras.KerasTensor((image_meta.shape[0], image_meta.shape[1] - 12), dtype="float32")


class ClassMasks(keras.layers.Layer):
    """The mask of each detection's own class: `[batch, N, h, w]` from
    `[masks [batch, N, h, w, num_classes], class_ids [batch, N]]`.
    """

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **{"dtype": "float32", **kwargs})

    def call(self, inputs):
        masks, class_ids = inputs
        index = ops.cast(class_ids, "int32")
        index = ops.reshape(index, (*ops.shape(index), 1, 1, 1))
        return ops.squeeze(take_along_axis(masks, index, axis=4), axis=4)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs[0].shape[:-1], dtype="float32")
