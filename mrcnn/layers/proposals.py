"""ProposalLayer: from the RPN's scores and deltas to the boxes that the heads look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mrcnn.layers.boxes import apply_box_deltas_graph, clip_boxes_graph
from mrcnn.layers.nms import gather_rows, non_max_suppression_graph
from mrcnn.layers.types import Shape, Tensor


@keras.saving.register_keras_serializable(package="mrcnn")
class ProposalLayer(keras.layers.Layer):
    """Apply the RPN's deltas to the best anchors, clip, and keep the best boxes that differ.

    Args:
        proposal_count: boxes to return for each image; missing ones are zero rows.
        nms_threshold: IoU above which the worse of two boxes is dropped.
        config: `Config`, read for the two following arguments where they are None.
        bbox_std_dev: standard deviations of the deltas, `RPN_BBOX_STD_DEV`; four numbers.
        pre_nms_limit: number of best scored anchors that are considered, `PRE_NMS_LIMIT`.
        return_scores: whether to return `[boxes, scores]`.
        **kwargs: as for `keras.layers.Layer`.

    Call with `[rpn_class, rpn_bbox, anchors]`: `rpn_class` `[batch, anchors, (bg, fg)]`
    probabilities, `rpn_bbox` `[batch, anchors, (dy, dx, log(dh), log(dw))]` in standard
    deviations, `anchors` `[batch, anchors, (y1, x1, y2, x2)]` normalized. Returns
    `[batch, proposal_count, (y1, x1, y2, x2)]` normalized, best first; with `return_scores` also
    the probabilities of an object, `[batch, proposal_count, 1]`.
    """

    def __init__(
        self,
        proposal_count: int,
        nms_threshold: float,
        config: Any = None,
        *,
        bbox_std_dev: Sequence[float] | None = None,
        pre_nms_limit: int | None = None,
        return_scores: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        if bbox_std_dev is None:
            bbox_std_dev = getattr(config, "RPN_BBOX_STD_DEV", (0.1, 0.1, 0.2, 0.2))
        if pre_nms_limit is None:
            pre_nms_limit = getattr(config, "PRE_NMS_LIMIT", 6000)
        self.proposal_count = int(proposal_count)
        self.nms_threshold = float(nms_threshold)
        self.bbox_std_dev = tuple(float(v) for v in bbox_std_dev)
        self.pre_nms_limit = int(pre_nms_limit)
        self.return_scores = bool(return_scores)

    def call(self, inputs: Sequence[Tensor]) -> Tensor | list[Tensor]:
        steps = self.steps(inputs)
        if self.return_scores:
            return [steps["proposals"], steps["proposal_scores"]]
        return steps["proposals"]

    def steps(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        """Compute the proposals and every step on the way, by the names of Matterport's graph.

        Args:
            inputs: as for the call of the layer.

        Returns:
            Tensors by name; A is the number of anchors considered, at most `pre_nms_limit`:
                top_anchors: `[batch, A]` int32 rows of the best anchors, by falling score.
                pre_nms_anchors: `[batch, A, 4]`, these anchors.
                refined_anchors: `[batch, A, 4]`, with the deltas applied.
                refined_anchors_clipped: `[batch, A, 4]`, clipped to the image.
                rpn_non_max_suppression: `[batch, proposal_count]` int32 rows of the boxes above
                    that are kept, by falling score, padded with -1.
                proposals: `[batch, proposal_count, 4]`, these boxes, padded with zero rows.
                proposal_scores: `[batch, proposal_count, 1]`, their probabilities of an object.
        """
        scores = inputs[0][:, :, 1]
        deltas, anchors = inputs[1], inputs[2]
        limit = self.pre_nms_limit
        if anchors.shape[1] is not None:
            limit = min(limit, anchors.shape[1])
        else:
            limit = ops.minimum(limit, ops.shape(anchors)[1])
        scores, best = ops.top_k(scores, limit)
        best = ops.cast(best, "int32")
        deltas = gather_rows(deltas, best) * ops.convert_to_tensor(self.bbox_std_dev, "float32")
        pre_nms_anchors = gather_rows(anchors, best)
        refined = apply_box_deltas_graph(pre_nms_anchors, deltas)
        clipped = clip_boxes_graph(refined, np.array([0, 0, 1, 1], np.float32))
        kept = non_max_suppression_graph(
            ops.stop_gradient(clipped),
            ops.stop_gradient(scores),
            self.proposal_count,
            self.nms_threshold,
        )
        return {
            "top_anchors": best,
            "pre_nms_anchors": pre_nms_anchors,
            "refined_anchors": refined,
            "refined_anchors_clipped": clipped,
            "rpn_non_max_suppression": kept,
            "proposals": gather_rows(clipped, kept),
            "proposal_scores": gather_rows(ops.expand_dims(scores, -1), kept),
        }

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape | list[Shape]:
        boxes: Shape = (input_shape[0][0], self.proposal_count, 4)
        return [boxes, (*boxes[:2], 1)] if self.return_scores else boxes

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "proposal_count": self.proposal_count,
            "nms_threshold": self.nms_threshold,
            "bbox_std_dev": self.bbox_std_dev,
            "pre_nms_limit": self.pre_nms_limit,
            "return_scores": self.return_scores,
        }


@keras.saving.register_keras_serializable(package="mrcnn")
class ProposalSteps(ProposalLayer):
    """A `ProposalLayer` that returns the dictionary of `ProposalLayer.steps`.

    `ProposalSteps.of(layer)` on the inputs of a `ProposalLayer` shows what that layer computes.
    """

    @classmethod
    def of(cls, layer: ProposalLayer) -> ProposalSteps:
        """Make a layer with the settings of `layer`."""
        return cls.from_config({**layer.get_config(), "name": f"{layer.name}_steps"})

    def call(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        return self.steps(inputs)

    def compute_output_spec(self, inputs: Sequence[Tensor]) -> dict[str, keras.KerasTensor]:
        batch_size = inputs[0].shape[0]
        considered = inputs[2].shape[1]
        if considered is not None:
            considered = min(self.pre_nms_limit, considered)
        boxes = (batch_size, considered, 4)
        return {
            "top_anchors": keras.KerasTensor((batch_size, considered), dtype="int32"),
            "pre_nms_anchors": keras.KerasTensor(boxes, dtype="float32"),
            "refined_anchors": keras.KerasTensor(boxes, dtype="float32"),
            "refined_anchors_clipped": keras.KerasTensor(boxes, dtype="float32"),
            "rpn_non_max_suppression": keras.KerasTensor(
                (batch_size, self.proposal_count), dtype="int32"
            ),
            "proposals": keras.KerasTensor((batch_size, self.proposal_count, 4), dtype="float32"),
            "proposal_scores": keras.KerasTensor(
                (batch_size, self.proposal_count, 1), dtype="float32"
            ),
        }
