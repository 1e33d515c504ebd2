"""Detection with a Keras model that the package has not built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

# `detections` and `mrcnn_mask` among the outputs of Matterport's inference model.
_NUM_INPUTS, _DETECTIONS, _MASKS, _NUM_OUTPUTS = 3, 0, 3, 4
# Axes of the masks. A network without a mask head has other outputs in their place.
_MASK_AXES = 5


class GivenModelEngine:
    """Run a model with Matterport's inputs and outputs as it is.

    Scripts load a whole model from a file or build one of their own and set it as `keras_model`.

    Args:
        model: Keras model with the inputs `[image, image_meta, anchors]`, whose first output is
            `[batch, N, (y1, x1, y2, x2, class_id, score)]` and whose fourth is
            `[batch, N, height, width, num_classes]`; without a mask head, the ROIs. Without RPN,
            proposals `[batch, N, 4]` take the place of the anchors.

    Attributes:
        model: as given.
        name: "keras".
        precision: "float32".

    Raises:
        ValueError: the model has another number of inputs, or too few outputs.
    """

    name = "keras"
    precision = "float32"

    def __init__(self, model: keras.Model) -> None:
        if len(model.inputs) != _NUM_INPUTS or len(model.outputs) < _NUM_OUTPUTS:
            raise ValueError(
                f"keras_model has {len(model.inputs)} inputs and {len(model.outputs)} outputs; for "
                "detection it must have those of Matterport's inference model: image, image_meta "
                "and anchors, and the masks as fourth output"
            )
        self.model = model

    def prepare(self) -> None:
        """Do nothing: the model is there."""

    def run(self, images: Any, image_metas: np.ndarray, anchors: np.ndarray) -> tuple[Any, Any]:
        """Return detections and the masks of their classes; see `mrcnn.engines.base.Engine`."""
        from keras import ops

        anchors = np.asarray(anchors)
        anchors = np.broadcast_to(anchors, (len(images), *anchors.shape[-2:]))
        inputs = [ops.convert_to_tensor(x, "float32") for x in (images, image_metas, anchors)]
        outputs = self.model(inputs, training=False)
        detections = ops.convert_to_numpy(outputs[_DETECTIONS])
        if len(outputs[_MASKS].shape) != _MASK_AXES:
            return detections, None
        masks = ops.convert_to_numpy(outputs[_MASKS])
        class_ids = detections[..., 4].astype(int)
        rows = np.arange(detections.shape[1])
        return detections, np.stack([one[rows, :, :, ids] for one, ids in zip(masks, class_ids)])
