"""The inference graph in pieces, for engines that compute the network in low precision.

Coordinates never leave float32: in bfloat16, box decoding, suppression and sample positions are
wrong by pixels. So the network is cut where boxes go in or come out:

    trunk             picture -> table of the pyramid, RPN outputs
    proposals         RPN outputs, anchors -> boxes                (box arithmetic)
    classifier_align  boxes, table -> a square of features a box   (box arithmetic)
    classifier        features -> class probabilities, deltas
    detections        boxes, probabilities, deltas -> detections   (box arithmetic)
    mask_align        boxes, table -> a square of features a box   (box arithmetic)
    mask              features -> masks of all classes

The pyramid goes from piece to piece as the table of rows that ROIAlign reads, so that it is laid
out once, and a thousand boxes can be cut from it some at a time.
"""

import keras
import numpy as np

from mrcnn.geometry.anchors import compute_backbone_shapes
from mrcnn.graphs import precision_policy
from mrcnn.layers.detections import DetectionLayer
from mrcnn.layers.proposals import ProposalLayer
from mrcnn.layers.roi_align import PyramidTable, TableROIAlign

# What holds weights, and is worth low precision.
NETWORKS = ("trunk", "classifier", "mask")
# What an engine computes beside them, in float32.
ALIGNERS = ("classifier_align", "mask_align")


def trunk_graph(shared):
    """`[batch, height, width, channels]` to `[table, rpn_class, rpn_bbox]`."""
    outputs = [PyramidTable()(shared.pyramid), shared.rpn_class, shared.rpn_bbox]
    return keras.Model([shared.image], outputs, name="trunk")


def align_graph(shared, head, name):
    """`[boxes [batch, N, 4], image_meta, table [batch, rows, channels], sizes [1, 4, 2]]` to the
    features of each box, `[batch, N, side, side, channels]`.
    """
    level = shared.pyramid[0]
    inputs = [
        keras.Input((None, 4), name="input_boxes"),
        keras.Input((shared.config.IMAGE_META_SIZE,), name="input_image_meta"),
        keras.Input((None, level.shape[-1]), dtype=level.dtype, name="input_table"),
        keras.Input((4, 2), dtype="int32", name="input_sizes"),
    ]
    align = TableROIAlign(head.align.pool_shape, head.align.canonical_box_size)
    return keras.Model(inputs, align(inputs), name=name)


def pyramid_sizes(config, image_shape):
    """The `sizes` of P2..P5 that `align_graph` takes, `[1, 4, (height, width)]` int32."""
    return compute_backbone_shapes(config, image_shape)[None, :4].astype(np.int32)


def head_graph(shared, head, compute, name):
    """`compute`, a method of `head`, on `[batch, N, side, side, channels]` features."""
    side = head.align.pool_shape
    level = shared.pyramid[0]
    pooled = keras.Input((None, *side, level.shape[-1]), dtype=level.dtype, name="input_pooled")
    return keras.Model([pooled], compute(pooled), name=name)


def proposal_graph(shared):
    """`[rpn_class, rpn_bbox, anchors]` to boxes `[batch, POST_NMS_ROIS_INFERENCE, 4]`."""
    config = shared.config
    layer = ProposalLayer(config.POST_NMS_ROIS_INFERENCE, config.RPN_NMS_THRESHOLD, config=config)
    inputs = [
        keras.Input((None, size), name=f"input_{name}")
        for name, size in (("rpn_class", 2), ("rpn_bbox", 4), ("anchors", 4))
    ]
    return keras.Model(inputs, layer(inputs), name="proposals")


def detection_graph(shared):
    """`[boxes, probabilities, deltas, image_meta]` to detections
    `[batch, DETECTION_MAX_INSTANCES, 6]`.
    """
    config = shared.config
    inputs = [
        keras.Input((None, 4), name="input_boxes"),
        keras.Input((None, config.NUM_CLASSES), name="input_class"),
        keras.Input((None, config.NUM_CLASSES, 4), name="input_bbox"),
        keras.Input((config.IMAGE_META_SIZE,), name="input_image_meta"),
    ]
    return keras.Model(inputs, DetectionLayer(config)(inputs), name="detections")


def pieces(shared):
    """All pieces of the graph on the weights of a `mrcnn.graphs.SharedLayers`.

    Returns:
        dict of Keras models by the names in the module's description.
    """
    classifier, mask = shared.classifier, shared.mask

    def classify(pooled):
        _, probabilities, deltas = classifier.classify(pooled)
        return [probabilities, deltas]

    with precision_policy(shared.config.PRECISION):
        return {
            "trunk": trunk_graph(shared),
            "proposals": proposal_graph(shared),
            "classifier_align": align_graph(shared, classifier, "classifier_align"),
            "classifier": head_graph(shared, classifier, classify, "classifier"),
            "detections": detection_graph(shared),
            "mask_align": align_graph(shared, mask, "mask_align"),
            "mask": head_graph(shared, mask, mask.predict_masks, "mask"),
        }
