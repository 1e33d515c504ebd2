"""The inference graph in pieces, for engines that compute the network in low precision.

Coordinates stay in float32: in bfloat16, box decoding, suppression and sample positions are wrong
by pixels. So the network is cut where boxes go in or come out:

    trunk             image -> table of the pyramid, RPN outputs
    proposals         RPN outputs, anchors -> boxes                (box arithmetic)
    classifier_align  boxes, table -> a square of features a box   (box arithmetic)
    classifier        features -> class probabilities, deltas
    detections        boxes, probabilities, deltas -> detections   (box arithmetic)
    mask_align        boxes, table -> a square of features a box   (box arithmetic)
    mask              features -> masks of all classes

The last two are missing without a mask head. The pyramid goes from piece to piece as the table of
rows that ROIAlign reads, so that it is laid out once, and a thousand boxes can be cut from it some
at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from mrcnn.engines.base import Tensor
from mrcnn.geometry.anchors import compute_backbone_shapes
from mrcnn.graphs import precision_policy, roi_levels_of
from mrcnn.layers.detections import DetectionLayer, JointScores
from mrcnn.layers.proposals import ProposalLayer
from mrcnn.layers.roi_align import PyramidTable, TableROIAlign

# The pieces that hold weights; the precision of an engine applies to them.
NETWORKS = ("trunk", "classifier", "mask")
# The parts that an engine computes beside them, in float32.
ALIGNERS = ("classifier_align", "mask_align")


def build_pieces(shared: Any) -> dict[str, keras.Model]:
    """Return all pieces of the graph on the weights of a `mrcnn.graphs.SharedLayers`.

    Returns:
        Keras models by the names in the module's description.
    """
    classifier, mask = shared.classifier, shared.mask

    def classify(pooled: Tensor) -> list[Tensor]:
        _, probabilities, deltas = classifier.classify(pooled)
        return [probabilities, deltas]

    with precision_policy(shared.config.PRECISION):
        models = {
            "trunk": trunk_piece(shared),
            "proposals": proposal_piece(shared),
            "classifier_align": align_piece(shared, classifier, "classifier_align"),
            "classifier": head_piece(shared, classifier, classify, "classifier"),
            "detections": detection_piece(shared),
        }
        if mask is not None:
            models["mask_align"] = align_piece(shared, mask, "mask_align")
            models["mask"] = head_piece(shared, mask, mask.predict_masks, "mask")
    return models


def trunk_piece(shared: Any) -> keras.Model:
    """Return a model of `[batch, height, width, channels]` to `[table, rpn_class, rpn_bbox]`."""
    outputs = [PyramidTable()(shared.pyramid), shared.rpn_class, shared.rpn_bbox]
    return keras.Model([shared.image], outputs, name="trunk")


def align_piece(shared: Any, head: Any, name: str) -> keras.Model:
    """Return a model of boxes and the pyramid's table to the features of each box.

    Inputs: boxes `[batch, N, 4]`, image_meta, table `[batch, rows, channels]`, sizes
    `[1, levels, 2]`.
    Output: `[batch, N, side, side, channels]`.
    """
    level = shared.pyramid[0]
    inputs = [
        keras.Input((None, 4), name="input_boxes"),
        keras.Input((shared.config.IMAGE_META_SIZE,), name="input_image_meta"),
        keras.Input((None, level.shape[-1]), dtype=level.dtype, name="input_table"),
        keras.Input((len(shared.pyramid), 2), dtype="int32", name="input_sizes"),
    ]
    align = TableROIAlign(head.align.pool_shape, head.align.canonical_box_size)
    return keras.Model(inputs, align(inputs), name=name)


def pyramid_sizes(config: Any, image_shape: Sequence[int]) -> np.ndarray:
    """Return the `sizes` that `align_piece` takes, `[1, levels, (height, width)]` int32.

    Args:
        config: `Config`.
        image_shape: `(height, width, ...)` of the molded image.
    """
    shapes = compute_backbone_shapes(config, image_shape)[roi_levels_of(config)]
    return shapes[None].astype(np.int32)


def head_piece(
    shared: Any, head: Any, compute: Callable[[Tensor], Tensor], name: str
) -> keras.Model:
    """Return a model of `compute`, a method of `head`, on `[batch, N, side, side, channels]`."""
    side = head.align.pool_shape
    level = shared.pyramid[0]
    pooled = keras.Input((None, *side, level.shape[-1]), dtype=level.dtype, name="input_pooled")
    return keras.Model([pooled], compute(pooled), name=name)


def proposal_piece(shared: Any) -> keras.Model:
    """Return a model of `[rpn_class, rpn_bbox, anchors]` to proposals.

    Output: the boxes `[batch, POST_NMS_ROIS_INFERENCE, 4]`; with `JOINT_SCORES` a list of these and
    the scores `[batch, POST_NMS_ROIS_INFERENCE, 1]`.
    """
    config = shared.config
    layer = ProposalLayer(
        config.POST_NMS_ROIS_INFERENCE,
        config.RPN_NMS_THRESHOLD,
        config=config,
        return_scores=config.JOINT_SCORES,
    )
    inputs = [
        keras.Input((None, size), name=f"input_{name}")
        for name, size in (("rpn_class", 2), ("rpn_bbox", 4), ("anchors", 4))
    ]
    return keras.Model(inputs, layer(inputs), name="proposals")


def detection_piece(shared: Any) -> keras.Model:
    """Return a model of `[boxes, probabilities, deltas, image_meta]` to detections.

    With `JOINT_SCORES` the scores of the proposals are the fifth input. Output:
    `[batch, DETECTION_MAX_INSTANCES, 6]`.
    """
    config = shared.config
    inputs = [
        keras.Input((None, 4), name="input_boxes"),
        keras.Input((None, config.NUM_CLASSES), name="input_class"),
        keras.Input((None, config.NUM_CLASSES, 4), name="input_bbox"),
        keras.Input((config.IMAGE_META_SIZE,), name="input_image_meta"),
    ]
    boxes, probs, deltas, image_meta = inputs
    if config.JOINT_SCORES:
        inputs.append(keras.Input((None, 1), name="input_scores"))
        probs = JointScores()([probs, inputs[-1]])
    detections = DetectionLayer(config)([boxes, probs, deltas, image_meta])
    return keras.Model(inputs, detections, name="detections")
