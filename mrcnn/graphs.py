"""Puts the layers together: one set of weights, several graphs.

`SharedLayers` holds everything that has weights. From it grow the inference graph with Matterport's
inputs and outputs, the training graph, and the two pieces that `detect` runs: pictures to
detections, then masks for the detections that exist.
"""

import contextlib
import re
import warnings

import keras
import numpy as np
from keras import layers

from mrcnn.checkpoints.keras_model import NamedWeightsModel
from mrcnn.checkpoints.names import matterport_layer_names
from mrcnn.config_rules import SIDE_MULTIPLE
from mrcnn.geometry.anchors import anchors_for_image, compute_backbone_shapes
from mrcnn.geometry.boxes import norm_boxes
from mrcnn.layers.adapters import ActiveClassIds, Anchors, ClassMasks, NormBoxes
from mrcnn.layers.backbones import backbone_graph
from mrcnn.layers.detection_targets import DetectionTargetLayer, max_positives
from mrcnn.layers.detections import DetectionLayer
from mrcnn.layers.fpn import fpn_graph
from mrcnn.layers.heads import ClassifierHead, FirstRois, MaskHead, PadRois
from mrcnn.layers.losses import (
    LossLayer,
    mrcnn_bbox_loss_graph,
    mrcnn_class_loss_graph,
    mrcnn_mask_loss_graph,
    rpn_bbox_loss_graph,
    rpn_class_loss_graph,
)
from mrcnn.layers.proposals import ProposalLayer
from mrcnn.layers.rpn import build_rpn_model

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@contextlib.contextmanager
def precision_policy(precision):
    """Layers made inside compute in `precision` ("float32", "bfloat16" or "float16") and keep their
    weights in float32.
    """
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(_POLICIES[precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)


def normalized_anchors(config, image_shape):
    """The anchors of an image of this size.

    Args:
        config: `Config`.
        image_shape: `(height, width, ...)` of the network's input in pixels.

    Returns:
        `(pixel anchors, normalized anchors)`, both `[anchors, (y1, x1, y2, x2)]`.
    """
    anchors = anchors_for_image(config, image_shape)
    return anchors, norm_boxes(anchors, image_shape[:2])


def _check_pyramid(config, image, levels):
    """A `BACKBONE` function and its `COMPUTE_BACKBONE_SHAPE` must mean the same maps: an anchor
    stands for a cell.
    """
    side = [-(-int(n) // SIDE_MULTIPLE) * SIDE_MULTIPLE for n in config.IMAGE_SHAPE[:2]]
    shapes = keras.Model(image, levels).compute_output_shape((1, *side, image.shape[-1]))
    made = [tuple(shape[1:3]) for shape in shapes]
    image_shape = np.array([*side, image.shape[-1]])
    told = [tuple(map(int, shape)) for shape in compute_backbone_shapes(config, image_shape)]
    if any(None in shape for shape in made):
        return  # a layer that does not know its shape in advance
    if made != told:
        raise ValueError(
            f"COMPUTE_BACKBONE_SHAPE = {config.COMPUTE_BACKBONE_SHAPE!r}: for a picture of {side} "
            f"it gives {told}, but P2 to P6 of BACKBONE {config.BACKBONE!r} are {made}; they must "
            "be the same."
        )
    strides = [round(side[0] / height, 3) for height, _ in made]
    if any(abs(stride - own) > 1e-3 for stride, own in zip(strides, config.BACKBONE_STRIDES)):
        warnings.warn(
            f"BACKBONE_STRIDES = {config.BACKBONE_STRIDES!r}: a cell of P2 to P6 of BACKBONE "
            f"{config.BACKBONE!r} covers {strides} pixels. Anchors will lie beside their cells.",
            stacklevel=2,
        )


class SharedLayers:
    """Everything with weights, built once: backbone, pyramid, RPN and heads.

    Attributes:
        image: the input, `[batch, height, width, channels]`, mean subtracted.
        pyramid: `[P2, P3, P4, P5]`, what the heads look at.
        rpn_class_logits, rpn_class, rpn_bbox: RPN outputs over all levels, `[batch, anchors, ...]`.
        classifier: `ClassifierHead`.
        mask: `MaskHead`.
    """

    def __init__(self, config):
        self.config = config
        with precision_policy(config.PRECISION):
            self.image = keras.Input((None, None, config.IMAGE_SHAPE[2]), name="input_image")
            stages = backbone_graph(self.image, config)
            *self.pyramid, p6 = fpn_graph(stages, config.TOP_DOWN_PYRAMID_SIZE)
            if callable(config.BACKBONE):
                _check_pyramid(config, self.image, [*self.pyramid, p6])
            rpn = build_rpn_model(
                config.RPN_ANCHOR_STRIDE,
                len(config.RPN_ANCHOR_RATIOS),
                config.TOP_DOWN_PYRAMID_SIZE,
                config.RPN_CHANNELS,
            )
            outputs_per_level = [rpn(level) for level in (*self.pyramid, p6)]
            names = ("rpn_class_logits", "rpn_class", "rpn_bbox")
            self.rpn_class_logits, self.rpn_class, self.rpn_bbox = (
                layers.Concatenate(axis=1, dtype="float32", name=name)(list(parts))
                for name, parts in zip(names, zip(*outputs_per_level))
            )
            self.classifier = ClassifierHead(
                config.POOL_SIZE,
                config.NUM_CLASSES,
                config.TRAIN_BN,
                config.FPN_CLASSIF_FC_LAYERS_SIZE,
                config.CANONICAL_BOX_SIZE,
            )
            self.mask = MaskHead(
                config.MASK_POOL_SIZE,
                config.NUM_CLASSES,
                config.TRAIN_BN,
                config.MASK_CHANNELS,
                config.CANONICAL_BOX_SIZE,
            )

    def proposals(self, anchors, count):
        """The layer `ROI` on the RPN's outputs: `[batch, count, 4]` normalised."""
        layer = ProposalLayer(count, self.config.RPN_NMS_THRESHOLD, config=self.config, name="ROI")
        return layer([self.rpn_class, self.rpn_bbox, anchors])


def _model(inputs, outputs, name, config, mode, model_class=NamedWeightsModel):
    """A model that knows the order of layers in its weight file."""
    model = model_class(inputs, outputs, name=name)
    if not callable(config.BACKBONE) and re.fullmatch(r"resnet\d+", config.BACKBONE):
        model.file_layer_names = matterport_layer_names(config.BACKBONE, mode)
    return model


def _meta_input(config):
    return keras.Input((config.IMAGE_META_SIZE,), name="input_image_meta")


def _detect(shared):
    """The part that the inference graphs have in common: inputs, and tensors by name."""
    config = shared.config
    image_meta = _meta_input(config)
    anchors = keras.Input((None, 4), name="input_anchors")
    rois = shared.proposals(anchors, config.POST_NMS_ROIS_INFERENCE)
    _, probs, deltas = shared.classifier(rois, shared.pyramid, image_meta)
    layer = DetectionLayer(config, name="mrcnn_detection")
    detections = layer([rois, probs, deltas, image_meta])
    return [shared.image, image_meta, anchors], detections, probs, deltas, rois


def _detection_boxes(detections):
    """The normalised boxes `[batch, N, 4]` of detections `[batch, N, 6]`."""
    shape = (detections.shape[1], 4)
    return layers.Lambda(lambda x: x[..., :4], output_shape=shape, dtype="float32")(detections)


def inference_graph(shared):
    """Matterport's inference model.

    Inputs: `[image, image_meta, anchors]`. Outputs: `[detections, mrcnn_class, mrcnn_bbox,
    mrcnn_mask, rpn_rois, rpn_class, rpn_bbox]`. The masks of all `DETECTION_MAX_INSTANCES` rows are
    computed; `detection_graph` and `mask_graph` do only what is needed.
    """
    config = shared.config
    with precision_policy(config.PRECISION):
        inputs, detections, probs, deltas, rois = _detect(shared)
        masks = shared.mask(_detection_boxes(detections), shared.pyramid, inputs[1])
    outputs = [detections, probs, deltas, masks, rois, shared.rpn_class, shared.rpn_bbox]
    return _model(inputs, outputs, "mask_rcnn", config, "inference")


def detection_graph(shared):
    """Pictures to detections: `[image, image_meta, anchors]` to `[detections, P2, P3, P4, P5]`."""
    with precision_policy(shared.config.PRECISION):
        inputs, detections, *_ = _detect(shared)
    return keras.Model(inputs, [detections, *shared.pyramid], name="mask_rcnn_detections")


def mask_graph(shared):
    """Masks for given detections: `[detections [batch, N, 6], image_meta, P2, P3, P4, P5]` to
    `[batch, N, mask height, mask width]` probabilities of each detection's class.
    """
    config = shared.config
    image_meta = _meta_input(config)
    detections = keras.Input((None, 6), name="input_detections")
    pyramid = [
        keras.Input((None, None, level.shape[-1]), dtype=level.dtype, name=f"input_p{i}")
        for i, level in enumerate(shared.pyramid, start=2)
    ]
    with precision_policy(config.PRECISION):
        boxes = _detection_boxes(detections)
        class_ids = layers.Lambda(lambda x: x[..., 4], output_shape=(None,), dtype="float32")(
            detections
        )
        masks = ClassMasks()([shared.mask(boxes, pyramid, image_meta), class_ids])
    return keras.Model([detections, image_meta, *pyramid], masks, name="mask_rcnn_masks")


def _training_inputs(config):
    """The ground-truth inputs, in Matterport's order."""
    height, width = config.MINI_MASK_SHAPE if config.USE_MINI_MASK else config.IMAGE_SHAPE[:2]
    num_objects = config.MAX_GT_INSTANCES
    return [
        _meta_input(config),
        keras.Input((None, 1), dtype="int32", name="input_rpn_match"),
        keras.Input((config.RPN_TRAIN_ANCHORS_PER_IMAGE, 4), name="input_rpn_bbox"),
        keras.Input((num_objects,), dtype="int32", name="input_gt_class_ids"),
        keras.Input((num_objects, 4), name="input_gt_boxes"),
        keras.Input((height, width, num_objects), dtype="bool", name="input_gt_masks"),
    ]


def training_graph(shared, model_class=NamedWeightsModel):
    """Matterport's training model: its seven inputs (eight without `USE_RPN_ROIS`) and 14 outputs,
    of which the last five are the losses in the order of `LOSS_NAMES`, unweighted.
    """
    config = shared.config
    inputs = [shared.image, *_training_inputs(config)]
    image, image_meta, rpn_match, rpn_bbox_target, gt_class_ids, gt_boxes, gt_masks = inputs
    with precision_policy(config.PRECISION):
        normalized_gt_boxes = NormBoxes(name="gt_boxes_normalized")([gt_boxes, image])
        if config.USE_RPN_ROIS:
            _, anchors = normalized_anchors(config, config.IMAGE_SHAPE)
            anchors = Anchors(anchors, name="anchors")(image)
            proposals = shared.proposals(anchors, config.POST_NMS_ROIS_TRAINING)
        else:
            input_rois = keras.Input((config.POST_NMS_ROIS_TRAINING, 4), name="input_roi")
            inputs.append(input_rois)
            proposals = NormBoxes(name="rois_normalized")([input_rois, image])
        rois, target_class_ids, target_bbox, target_mask = DetectionTargetLayer(
            config, name="proposal_targets"
        )([proposals, gt_class_ids, normalized_gt_boxes, gt_masks])
        logits, probs, deltas = shared.classifier(rois, shared.pyramid, image_meta)
        masks, mask_loss = _train_masks(shared, rois, image_meta, target_mask, target_class_ids)
        active_class_ids = ActiveClassIds(dtype="float32")(image_meta)
        losses = [
            LossLayer(rpn_class_loss_graph, name="rpn_class_loss")(
                [rpn_match, shared.rpn_class_logits]
            ),
            LossLayer(lambda *tensors: rpn_bbox_loss_graph(config, *tensors), name="rpn_bbox_loss")(
                [rpn_bbox_target, rpn_match, shared.rpn_bbox]
            ),
            LossLayer(mrcnn_class_loss_graph, name="mrcnn_class_loss")(
                [target_class_ids, logits, active_class_ids]
            ),
            LossLayer(mrcnn_bbox_loss_graph, name="mrcnn_bbox_loss")(
                [target_bbox, target_class_ids, deltas]
            ),
            mask_loss,
        ]
    rpn_outputs = [shared.rpn_class_logits, shared.rpn_class, shared.rpn_bbox]
    outputs = [*rpn_outputs, logits, probs, deltas, masks, proposals, rois, *losses]
    return _model(inputs, outputs, "mask_rcnn", config, "training", model_class)


def _train_masks(shared, rois, image_meta, target_mask, target_class_ids):
    """Masks `[batch, T, h, w, num_classes]` and their loss.

    Only positives enter the loss, and positives come first, so the head (a GFLOP a box) runs on the
    rows that can be positive and zeros fill the rest. When batch statistics are taken
    (`TRAIN_BN` is not False) every row counts, as in Matterport's package, unless
    `MASK_ROIS_PER_IMAGE` says how many.
    """
    config = shared.config
    loss = LossLayer(mrcnn_mask_loss_graph, name="mrcnn_mask_loss")
    limit = config.MASK_ROIS_PER_IMAGE
    if limit is None:
        limit = max_positives(config) if config.TRAIN_BN is False else config.TRAIN_ROIS_PER_IMAGE
    if limit >= config.TRAIN_ROIS_PER_IMAGE:
        masks = shared.mask(rois, shared.pyramid, image_meta)
        return masks, loss([target_mask, target_class_ids, masks])
    first = [
        FirstRois(limit, name=f"{name}_positive")(tensor)
        for name, tensor in (
            ("rois", rois),
            ("target_mask", target_mask),
            ("target_class_ids", target_class_ids),
        )
    ]
    masks = shared.mask(first[0], shared.pyramid, image_meta)
    padded = PadRois(config.TRAIN_ROIS_PER_IMAGE, name="mrcnn_mask_padded")(masks)
    return padded, loss([first[1], first[2], masks])
