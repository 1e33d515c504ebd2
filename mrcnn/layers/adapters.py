"""Small layers that prepare the inputs of the large ones, or take parts of their outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mrcnn.geometry.anchors import compute_backbone_shapes, generate_pyramid_anchors
from mrcnn.geometry.boxes import norm_boxes
from mrcnn.geometry.image_meta import NUM_ATTRIBUTES
from mrcnn.layers.boxes import is_real_box, norm_boxes_graph, parse_image_meta_graph
from mrcnn.layers.indexing import take_along_axis
from mrcnn.layers.types import Tensor


@keras.saving.register_keras_serializable(package="mrcnn")
class Anchors(keras.layers.Layer):
    """The same anchors for every image of a batch; see `mrcnn.geometry.anchors`.

    Args:
        image_shape: (height, width, ...) of the images in pixels.
        scales: side of the anchors of each pyramid level in pixels.
        ratios: width / height of the anchors.
        feature_shapes: [levels, (height, width)] of the pyramid in cells.
        feature_strides: pixels that a cell of each level covers.
        anchor_stride: 1 for anchors at every cell, 2 for every second one, ...
        **kwargs: as for `keras.layers.Layer`.

    Call with a tensor whose first axis is the batch. Returns `[batch, anchors, (y1, x1, y2, x2)]`
    float32, normalized.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        scales: Sequence[float],
        ratios: Sequence[float],
        feature_shapes: Sequence[Sequence[int]] | np.ndarray,
        feature_strides: Sequence[float],
        anchor_stride: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **{"dtype": "float32", **kwargs})
        self._arguments = {
            "image_shape": tuple(int(side) for side in image_shape),
            "scales": tuple(float(scale) for scale in scales),
            "ratios": tuple(float(ratio) for ratio in ratios),
            "feature_shapes": tuple(tuple(int(side) for side in shape) for shape in feature_shapes),
            "feature_strides": tuple(float(stride) for stride in feature_strides),
            "anchor_stride": int(anchor_stride),
        }
        anchors = generate_pyramid_anchors(
            scales, ratios, feature_shapes, feature_strides, anchor_stride
        )
        self.anchors = norm_boxes(anchors, image_shape)

    @classmethod
    def from_settings(cls, config: Any, **kwargs: Any) -> Anchors:
        """Make the layer for the images of a `Config`, those of its `IMAGE_SHAPE`."""
        return cls(
            config.IMAGE_SHAPE,
            config.RPN_ANCHOR_SCALES,
            config.RPN_ANCHOR_RATIOS,
            compute_backbone_shapes(config, config.IMAGE_SHAPE),
            config.BACKBONE_STRIDES,
            config.RPN_ANCHOR_STRIDE,
            **kwargs,
        )

    def call(self, image: Tensor) -> Tensor:
        return ops.broadcast_to(
            ops.convert_to_tensor(self.anchors), (ops.shape(image)[0], *self.anchors.shape)
        )

    def compute_output_spec(self, image: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor((image.shape[0], *self.anchors.shape), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._arguments}


@keras.saving.register_keras_serializable(package="mrcnn")
class NormBoxes(keras.layers.Layer):
    """Pixel boxes to normalized ones, by the size of the image.

    Call with `[boxes [batch, N, 4], image [batch, height, width, channels]]`. Returns
    `[batch, N, (y1, x1, y2, x2)]` float32.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **{"dtype": "float32", **kwargs})

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        boxes, image = inputs
        height, width = ops.shape(image)[1:3]
        shape = ops.stack([ops.cast(height, "float32"), ops.cast(width, "float32")])
        return norm_boxes_graph(boxes, shape)

    def compute_output_spec(self, inputs: Sequence[Tensor]) -> keras.KerasTensor:
        return keras.KerasTensor(inputs[0].shape, dtype="float32")


@keras.saving.register_keras_serializable(package="mrcnn")
class ActiveClassIds(keras.layers.Layer):
    """The `active_class_ids` `[batch, num_classes]` of an `image_meta`."""

    def call(self, image_meta: Tensor) -> Tensor:
        return parse_image_meta_graph(image_meta)["active_class_ids"]

    def compute_output_spec(self, image_meta: Tensor) -> keras.KerasTensor:
        num_classes = image_meta.shape[1] - NUM_ATTRIBUTES
        return keras.KerasTensor((image_meta.shape[0], num_classes), dtype="float32")


@keras.saving.register_keras_serializable(package="mrcnn")
class DetectionBoxes(keras.layers.Layer):
    """The boxes `[batch, N, (y1, x1, y2, x2)]` of detections `[batch, N, 6]`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, detections: Tensor) -> Tensor:
        return detections[..., :4]

    def compute_output_spec(self, detections: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor((*detections.shape[:-1], 4), dtype="float32")


@keras.saving.register_keras_serializable(package="mrcnn")
class DetectionClassIds(keras.layers.Layer):
    """The class ids `[batch, N]` of detections `[batch, N, 6]`, float32."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, detections: Tensor) -> Tensor:
        return detections[..., 4]

    def compute_output_spec(self, detections: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor(detections.shape[:-1], dtype="float32")


@keras.saving.register_keras_serializable(package="mrcnn")
class ClassMasks(keras.layers.Layer):
    """The mask of each detection's own class.

    Call with `[masks [batch, N, h, w, num_classes], class_ids [batch, N]]`. Returns
    `[batch, N, h, w]` float32.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **{"dtype": "float32", **kwargs})

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        masks, class_ids = inputs
        index = ops.cast(class_ids, "int32")
        index = ops.reshape(index, (*ops.shape(index), 1, 1, 1))
        return ops.squeeze(take_along_axis(masks, index, axis=4), axis=4)

    def compute_output_spec(self, inputs: Sequence[Tensor]) -> keras.KerasTensor:
        return keras.KerasTensor(inputs[0].shape[:-1], dtype="float32")


@keras.saving.register_keras_serializable(package="mrcnn")
class PaddingProbabilities(keras.layers.Layer):
    """Class probabilities, in which the boxes that are padding are background.

    Call with `[boxes [batch, N, 4], probabilities [batch, N, num_classes]]`. Returns the
    probabilities in float32; those of boxes that are zero rows are 1 for class 0.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **{"dtype": "float32", **kwargs})

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        boxes, probabilities = inputs
        background = np.eye(1, probabilities.shape[-1], dtype=np.float32)[0]
        is_real = ops.expand_dims(is_real_box(boxes), -1)
        return ops.where(is_real, ops.cast(probabilities, "float32"), background)

    def compute_output_spec(self, inputs: Sequence[Tensor]) -> keras.KerasTensor:
        return keras.KerasTensor(inputs[1].shape, dtype="float32")
