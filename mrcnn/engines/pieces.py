"""The inference graph in pieces, for engines that compute the network in low precision.

Coordinates never leave float32: in bfloat16, box decoding, suppression and sample positions are
wrong by pixels. So the network is cut where boxes go in or come out:

    trunk             picture -> pyramid, RPN outputs
    proposals         RPN outputs, anchors -> boxes                (box arithmetic)
    classifier_align  boxes, pyramid -> a square of features a box (box arithmetic)
    classifier        features -> class probabilities, deltas
    detections        boxes, probabilities, deltas -> detections   (box arithmetic)
    mask_align        boxes, pyramid -> a square of features a box (box arithmetic)
    mask              features -> masks of all classes
"""

import keras

from mrcnn.graphs import precision_policy
from mrcnn.layers.detections import DetectionLayer
from mrcnn.layers.proposals import ProposalLayer

# What holds weights, and is worth low precision.
NETWORKS = ("trunk", "classifier", "mask")
# What an engine computes beside them, in float32.
ALIGNERS = ("classifier_align", "mask_align")


def trunk_graph(shared):
    """`[batch, height, width, channels]` to `[P2, P3, P4, P5, rpn_class, rpn_bbox]`."""
    outputs = [*shared.pyramid, shared.rpn_class, shared.rpn_bbox]
    return keras.Model([shared.image], outputs, name="trunk")


def align_graph(shared, head, name):
    """`[boxes [batch, N, 4], image_meta, P2, P3, P4, P5]` to the features of each box,
    `[batch, N, side, side, channels]`.
    """
    boxes = keras.Input((None, 4), name="input_boxes")
    image_meta = keras.Input((shared.config.IMAGE_META_SIZE,), name="input_image_meta")
    pyramid = [
        keras.Input((None, None, level.shape[-1]), dtype=level.dtype, name=f"input_p{i}")
        for i, level in enumerate(shared.pyramid, start=2)
    ]
    inputs = [boxes, image_meta, *pyramid]
    return keras.Model(inputs, head.align(inputs), name=name)


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
