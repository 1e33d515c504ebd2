"""The interface of an engine."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

# Arguments of `Engine.run` for one image.
Inputs = tuple[np.ndarray, np.ndarray, np.ndarray]
# A tensor of Keras's backend or of OpenVINO.
Tensor = Any

# The pieces that hold weights; the precision of an engine applies to them.
NETWORKS = ("trunk", "classifier", "mask")
# The parts that an engine computes beside them, in float32.
ALIGNERS = ("classifier_align", "mask_align")


class Engine(Protocol):
    """Detection on the current weights of a `mrcnn.graphs.SharedLayers`.

    Attributes:
        name: "keras" or "openvino".
        precision: "float32", "bfloat16", "float16" or "int8".
    """

    name: str
    precision: str

    def prepare(self) -> None:
        """Do now what would otherwise be done at the first call of `run`."""

    def run(
        self, images: np.ndarray, image_metas: np.ndarray, anchors: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the detections of a batch of images and their masks.

        Args:
            images: `[batch, height, width, channels]` float32, mean subtracted.
            image_metas: `[batch, 12 + num_classes]`.
            anchors: `[anchors, (y1, x1, y2, x2)]`, normalized. Without RPN the proposals of each
                image, `[batch, N, (y1, x1, y2, x2)]`, zero padded.

        Returns:
            detections: `[batch, DETECTION_MAX_INSTANCES, (y1, x1, y2, x2, class_id, score)]`
                float32 in order of falling score, boxes normalized, padded with zero rows.
            masks: `[batch, largest number of detections, mask height, mask width]` float32
                probabilities in 0..1 of each detection's class; None without a mask head.
        """
        ...


def max_detections(detections: np.ndarray) -> int:
    """Return the largest number of detections in an image of `[batch, N, 6]`, zero rows last."""
    return int((detections[..., 4] > 0).sum(axis=1).max(initial=0))
