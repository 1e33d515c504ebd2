"""The graphs of Mask R-CNN: several models on one set of weights.

`SharedLayers` holds everything that has weights: backbone, pyramid, region proposal network and
heads. On it are built the inference graph with Matterport's inputs and outputs, the training graph,
and the two graphs that `detect` runs: images to detections, then masks for the detections found.

Without the mask head (`USE_MASK`) the graphs are those of Faster R-CNN, and without the region
proposal network (`USE_RPN`) as well, of Fast R-CNN, whose boxes are an input.

Shapes in this module: `N` is the number of ROIs or detections of an image, `T` that of its ROIs in
training (`TRAIN_ROIS_PER_IMAGE`).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from mrcnn.checkpoints.keras_model import NamedWeightsModel
from mrcnn.checkpoints.names import matterport_layer_names
from mrcnn.config import Config
from mrcnn.config_rules import SIDE_MULTIPLE
from mrcnn.geometry.anchors import compute_backbone_shapes, roi_levels_of
from mrcnn.geometry.anchors import normalized_anchors as normalized_anchors
from mrcnn.layers.adapters import (
    ActiveClassIds,
    Anchors,
    ClassMasks,
    DetectionBoxes,
    DetectionClassIds,
    NormBoxes,
    PaddingProbabilities,
)
from mrcnn.layers.backbones import backbone_graph
from mrcnn.layers.detection_targets import DetectionTargetLayer, max_positives
from mrcnn.layers.detections import DetectionLayer, JointScores
from mrcnn.layers.fpn import fpn_graph
from mrcnn.layers.heads import ClassifierHead, FirstRois, MaskHead, PadRois
from mrcnn.layers.losses import LossLayer
from mrcnn.layers.precision import precision_policy
from mrcnn.layers.proposals import ProposalLayer
from mrcnn.layers.rpn import build_rpn_model
from mrcnn.layers.types import Tensor


class SharedLayers:
    """Everything with weights, built once: backbone, pyramid, RPN and heads.

    Args:
        config: `Config`. Later changes of it have no effect on the graphs.

    Attributes:
        image: the input, `[batch, height, width, channels]`, mean subtracted.
        pyramid: `[P2, P3, P4, P5]`, from which the heads pool their features; with `ROI_LEVEL` this
            level alone.
        rpn: the outputs of the RPN, none without `USE_RPN`: `rpn_class_logits` over all levels,
            `[batch, anchors, (bg, fg)]`, `rpn_class`, its softmax, and `rpn_bbox`,
            `[batch, anchors, (dy, dx, log(dh), log(dw))]` in standard deviations.
        classifier: `ClassifierHead`.
        mask: `MaskHead`; None without `USE_MASK`.

    Raises:
        ValueError: the maps of a `BACKBONE` function are not those of `COMPUTE_BACKBONE_SHAPE`.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        with precision_policy(config.PRECISION):
            self.image = keras.Input((None, None, int(config.IMAGE_SHAPE[2])), name="input_image")
            stages = backbone_graph(self.image, config)
            levels = fpn_graph(stages, config.TOP_DOWN_PYRAMID_SIZE)
            self.pyramid = levels[roi_levels_of(config)]
            # One anchor scale for each level; with four the RPN does without P6.
            rpn_levels = levels[: len(config.RPN_ANCHOR_SCALES)]
            if callable(config.BACKBONE):
                _check_pyramid(config, self.image, rpn_levels)
            self.rpn = _rpn_outputs(config, rpn_levels) if config.USE_RPN else []
            self.classifier = ClassifierHead(
                config.POOL_SIZE,
                config.NUM_CLASSES,
                config.TRAIN_BN,
                config.FPN_CLASSIF_FC_LAYERS_SIZE,
                config.CANONICAL_BOX_SIZE,
                config.ROI_POOLING,
            )
            self.mask: MaskHead | None = None
            if config.USE_MASK:
                self.mask = MaskHead(
                    config.MASK_POOL_SIZE,
                    config.NUM_CLASSES,
                    config.TRAIN_BN,
                    config.MASK_CHANNELS,
                    config.CANONICAL_BOX_SIZE,
                    class_agnostic=config.CLASS_AGNOSTIC_MASK,
                    pooling=config.ROI_POOLING,
                )

    @property
    def rpn_class_logits(self) -> Tensor:
        """Logits of the anchors."""
        return self.rpn[0]

    @property
    def rpn_class(self) -> Tensor:
        """Probabilities of the anchors."""
        return self.rpn[1]

    @property
    def rpn_bbox(self) -> Tensor:
        """Box deltas of the anchors."""
        return self.rpn[2]

    def proposals(
        self, anchors: Tensor, count: int, return_scores: bool = False
    ) -> Tensor | list[Tensor]:
        """Apply the layer `ROI` to the RPN's outputs.

        Args:
            anchors: `[batch, anchors, (y1, x1, y2, x2)]` normalized.
            count: number of proposals for each image.
            return_scores: whether to return their scores as well.

        Returns:
            `[batch, count, (y1, x1, y2, x2)]` normalized; or a list of these and the scores
            `[batch, count, 1]`.
        """
        layer = ProposalLayer(
            count,
            self.config.RPN_NMS_THRESHOLD,
            config=self.config,
            return_scores=return_scores,
            name="ROI_with_scores" if return_scores else "ROI",
        )
        proposals = layer([self.rpn_class, self.rpn_bbox, anchors])
        if not return_scores:
            return proposals
        # The layer `ROI` has one output, as in Matterport's graph.
        boxes, scores = proposals
        return [layers.Identity(dtype="float32", name="ROI")(boxes), scores]


def _rpn_outputs(config: Config, levels: Sequence[Tensor]) -> list[Tensor]:
    """Apply one RPN to every level and concatenate: class logits, class probabilities, deltas."""
    rpn = build_rpn_model(
        config.RPN_ANCHOR_STRIDE,
        len(config.RPN_ANCHOR_RATIOS),
        config.TOP_DOWN_PYRAMID_SIZE,
        config.RPN_CHANNELS,
    )
    outputs_per_level = [rpn(level) for level in levels]
    names = ("rpn_class_logits", "rpn_class", "rpn_bbox")
    return [
        layers.Concatenate(axis=1, dtype="float32", name=name)(list(parts))
        for name, parts in zip(names, zip(*outputs_per_level))
    ]


def _check_pyramid(config: Config, image: Tensor, levels: Sequence[Tensor]) -> None:
    """Compare the levels of a `BACKBONE` function with `COMPUTE_BACKBONE_SHAPE`.

    Every anchor belongs to a cell, so the two must describe the same maps.
    """
    side = [-(-int(n) // SIDE_MULTIPLE) * SIDE_MULTIPLE for n in config.IMAGE_SHAPE[:2]]
    shapes = keras.Model(image, list(levels)).compute_output_shape((1, *side, image.shape[-1]))
    made = [tuple(shape[1:3]) for shape in shapes]
    image_shape = np.array([*side, image.shape[-1]])
    computed = [tuple(map(int, shape)) for shape in compute_backbone_shapes(config, image_shape)]
    if any(None in shape for shape in made):
        return  # a layer that does not know its shape in advance
    if made != computed[: len(made)]:
        raise ValueError(
            f"COMPUTE_BACKBONE_SHAPE is {config.COMPUTE_BACKBONE_SHAPE!r}, which gives {computed} "
            f"for an image of {side}; it must give the sizes of P2 to P6 of BACKBONE "
            f"{config.BACKBONE!r}, {made}"
        )
    strides = [round(side[0] / height, 3) for height, _ in made]
    if any(abs(stride - own) > 1e-3 for stride, own in zip(strides, config.BACKBONE_STRIDES)):
        warnings.warn(
            f"BACKBONE_STRIDES is {config.BACKBONE_STRIDES!r}, but a cell of P2 to P6 of BACKBONE "
            f"{config.BACKBONE!r} covers {strides} pixels: anchors will not lie on their cells.",
            stacklevel=2,
        )


# ---- inference -------------------------------------------------------------------------------


def inference_graph(shared: SharedLayers) -> NamedWeightsModel:
    """Build Matterport's inference model.

    Inputs: `[image, image_meta, anchors]`. Outputs: `[detections, mrcnn_class, mrcnn_bbox,
    mrcnn_mask, rpn_rois, rpn_class, rpn_bbox]`. It computes the masks of all
    `DETECTION_MAX_INSTANCES` rows; `detection_graph` and `mask_graph` compute only those needed.

    Without the RPN the last input is `[batch, N, 4]` normalized proposals, zero padded, which are
    `rpn_rois` as well, and the two last outputs are missing; without the mask head, `mrcnn_mask`.
    """
    config = shared.config
    with precision_policy(config.PRECISION):
        inputs, detections, probs, deltas, rois = _detect(shared)
        masks = []
        if shared.mask is not None:
            masks = [shared.mask(DetectionBoxes()(detections), shared.pyramid, inputs[1])]
    outputs = [detections, probs, deltas, *masks, rois, *shared.rpn[1:]]
    return NamedWeightsModel(
        inputs, outputs, name="mask_rcnn", file_layer_names=_file_layer_names(config, "inference")
    )


def detection_graph(shared: SharedLayers) -> keras.Model:
    """Build the first half of detection.

    Inputs: those of `inference_graph`. Outputs: `[detections [batch, N, 6], P2, P3, P4, P5]`, the
    latter as `SharedLayers.pyramid`, and none without the mask head, which alone needs them.
    """
    with precision_policy(shared.config.PRECISION):
        inputs, detections, *_ = _detect(shared)
    pyramid = shared.pyramid if shared.mask is not None else []
    return keras.Model(inputs, [detections, *pyramid], name="mask_rcnn_detections")


def mask_graph(shared: SharedLayers) -> keras.Model:
    """Build the second half of detection: masks for given detections.

    Inputs: `[detections [batch, N, 6], image_meta, P2, P3, P4, P5]`. Output:
    `[batch, N, mask height, mask width]` probabilities of each detection's class.

    Raises:
        ValueError: there is no mask head.
    """
    config = shared.config
    if shared.mask is None:
        raise ValueError("USE_MASK is False; it must be True for a graph of masks")
    image_meta = _meta_input(config)
    detections = keras.Input((None, 6), name="input_detections")
    pyramid = [
        keras.Input((None, None, level.shape[-1]), dtype=level.dtype, name=f"input_p{i}")
        for i, level in enumerate(shared.pyramid, start=config.ROI_LEVEL or 2)
    ]
    with precision_policy(config.PRECISION):
        all_masks = shared.mask(DetectionBoxes()(detections), pyramid, image_meta)
        masks = ClassMasks()([all_masks, DetectionClassIds()(detections)])
    return keras.Model([detections, image_meta, *pyramid], masks, name="mask_rcnn_masks")


def _detect(shared: SharedLayers) -> tuple[list[Tensor], Tensor, Tensor, Tensor, Tensor]:
    """Build the common part of the inference graphs.

    Returns:
        The inputs, the detections, class probabilities and deltas of the proposals, and these.
    """
    config = shared.config
    image_meta = _meta_input(config)
    scores: list[Tensor] = []
    if config.USE_RPN:
        boxes = keras.Input((None, 4), name="input_anchors")
        proposals = shared.proposals(boxes, config.POST_NMS_ROIS_INFERENCE, config.JOINT_SCORES)
        rois, *scores = proposals if config.JOINT_SCORES else [proposals]
    else:
        rois = boxes = keras.Input((None, 4), name="input_proposals")
    _, probs, deltas = shared.classifier(rois, shared.pyramid, image_meta)
    if not config.USE_RPN:
        probs = PaddingProbabilities(name="mrcnn_class_padded")([rois, probs])
    ranking = JointScores(name="joint_scores")([probs, *scores]) if scores else probs
    layer = DetectionLayer(config, name="mrcnn_detection")
    detections = layer([rois, ranking, deltas, image_meta])
    return [shared.image, image_meta, boxes], detections, probs, deltas, rois


def _meta_input(config: Config) -> Tensor:
    return keras.Input((config.IMAGE_META_SIZE,), name="input_image_meta")


def _file_layer_names(config: Config, mode: str) -> list[str] | None:
    """Return the order of layers in Matterport's weight files, which exist for ResNets only."""
    if callable(config.BACKBONE) or not re.fullmatch(r"resnet\d+", config.BACKBONE):
        return None
    if not (config.USE_RPN and config.USE_MASK):
        return None
    return matterport_layer_names(config.BACKBONE, mode)


# ---- training --------------------------------------------------------------------------------


def training_graph(
    shared: SharedLayers,
    model_class: Callable[..., NamedWeightsModel] = NamedWeightsModel,
    **arguments: Any,
) -> NamedWeightsModel:
    """Build Matterport's training model.

    Inputs: the seven of Matterport's model, the weights of the labels with `PARTIAL_LABELS`, and
    the ROIs without `USE_RPN_ROIS`. Outputs: 14, of which the last five are the losses in the
    order of `LOSS_NAMES`, unweighted.

    Without the RPN, its two inputs, three outputs and two losses are missing, and the last input is
    the proposals; without the mask head, the masks and their loss.

    Args:
        shared: the layers.
        model_class: class of the model.
        **arguments: further arguments of `model_class`.
    """
    config = shared.config
    truth = _ground_truth_inputs(config)
    image_meta = truth["image_meta"]
    with precision_policy(config.PRECISION):
        gt_boxes = NormBoxes(name="gt_boxes_normalized")([truth["gt_boxes"], shared.image])
        proposals = _training_proposals(shared, truth)
        given = [truth[name] for name in ("gt_masks", "gt_weights") if name in truth]
        rois, target_class_ids, target_bbox, *rest = DetectionTargetLayer(
            config, name="proposal_targets"
        )([proposals, truth["gt_class_ids"], gt_boxes, *given])
        target_mask = [rest.pop(0)] if shared.mask is not None else []
        weights = rest
        logits, probs, deltas = shared.classifier(rois, shared.pyramid, image_meta)
        active_class_ids = ActiveClassIds(dtype="float32")(image_meta)
        losses = _rpn_losses(shared, truth)
        losses += [
            LossLayer("mrcnn_class_loss")(
                [target_class_ids, logits, active_class_ids, *weights[:1]]
            ),
            LossLayer("mrcnn_bbox_loss")([target_bbox, target_class_ids, deltas, *weights[:1]]),
        ]
        masks = []
        if shared.mask is not None:
            targets = [*target_mask, target_class_ids, *weights[1:]]
            mask, mask_loss = _training_masks(shared, shared.mask, rois, image_meta, targets)
            masks, losses = [mask], [*losses, mask_loss]
    outputs = [*shared.rpn, logits, probs, deltas, *masks, proposals, rois, *losses]
    arguments = {"file_layer_names": _file_layer_names(config, "training"), **arguments}
    inputs = [shared.image, *truth.values()]
    return model_class(inputs, outputs, name="mask_rcnn", **arguments)


def _ground_truth_inputs(config: Config) -> dict[str, Tensor]:
    """Make the inputs that follow the image, in Matterport's order with the weights as the 8th."""
    height, width = config.MINI_MASK_SHAPE if config.USE_MINI_MASK else config.IMAGE_SHAPE[:2]
    num_objects = config.MAX_GT_INSTANCES
    inputs = {"image_meta": _meta_input(config)}

    def add(name: str, *shape: int | None, dtype: str | None = None) -> None:
        inputs[name] = keras.Input(shape, dtype=dtype, name=f"input_{name}")

    if config.USE_RPN:
        add("rpn_match", None, 1, dtype="int32")
        add("rpn_bbox", config.RPN_TRAIN_ANCHORS_PER_IMAGE, 4)
    add("gt_class_ids", num_objects, dtype="int32")
    add("gt_boxes", num_objects, 4)
    if config.USE_MASK:
        add("gt_masks", int(height), int(width), num_objects, dtype="bool")
    if config.PARTIAL_LABELS:
        add("gt_weights", num_objects, 2)
    if not (config.USE_RPN and config.USE_RPN_ROIS):
        add("roi", config.POST_NMS_ROIS_TRAINING, 4)
    return inputs


def _training_proposals(shared: SharedLayers, truth: Mapping[str, Tensor]) -> Tensor:
    """Return the proposals `[batch, POST_NMS_ROIS_TRAINING, 4]`, normalized.

    They come from the RPN, or from the last input without it or where `USE_RPN_ROIS` is False.
    """
    config = shared.config
    if "roi" in truth:
        return NormBoxes(name="rois_normalized")([truth["roi"], shared.image])
    anchors = Anchors.from_settings(config, name="anchors")(shared.image)
    return shared.proposals(anchors, config.POST_NMS_ROIS_TRAINING)


def _rpn_losses(shared: SharedLayers, truth: Mapping[str, Tensor]) -> list[Tensor]:
    """Build the losses of the RPN, none without it."""
    if not shared.rpn:
        return []
    match = truth["rpn_match"]
    return [
        LossLayer("rpn_class_loss")([match, shared.rpn_class_logits]),
        LossLayer("rpn_bbox_loss")([truth["rpn_bbox"], match, shared.rpn_bbox]),
    ]


def _training_masks(
    shared: SharedLayers,
    head: MaskHead,
    rois: Tensor,
    image_meta: Tensor,
    targets: Sequence[Tensor],
) -> tuple[Tensor, Tensor]:
    """Build the masks `[batch, T, h, w, num_classes]` and their loss.

    Only positives enter the loss, and positives come first, so the head (a GFLOP per box) runs on
    the rows that can be positive and zeros fill the rest. `targets` are the masks, the class ids
    and, with `PARTIAL_LABELS`, the weights of the masks.
    """
    config = shared.config
    loss = LossLayer("mrcnn_mask_loss")
    limit = _mask_rois_per_image(config)
    if limit >= config.TRAIN_ROIS_PER_IMAGE:
        masks = head(rois, shared.pyramid, image_meta)
        return masks, loss([*targets[:2], masks, *targets[2:]])
    names = ("rois", "target_mask", "target_class_ids", "target_mask_weights")
    first_rois, *first = (
        FirstRois(limit, name=f"{name}_positive")(tensor)
        for name, tensor in zip(names, (rois, *targets))
    )
    masks = head(first_rois, shared.pyramid, image_meta)
    padded = PadRois(config.TRAIN_ROIS_PER_IMAGE, name="mrcnn_mask_padded")(masks)
    return padded, loss([*first[:2], masks, *first[2:]])


def _mask_rois_per_image(config: Config) -> int:
    """Return on how many ROIs of an image the mask head is trained.

    When batch statistics are computed (`TRAIN_BN` is not False) every row counts, as in
    Matterport's package, unless `MASK_ROIS_PER_IMAGE` is set.
    """
    if config.MASK_ROIS_PER_IMAGE is not None:
        return config.MASK_ROIS_PER_IMAGE
    if config.TRAIN_BN is False:
        return max_positives(config.TRAIN_ROIS_PER_IMAGE, config.ROI_POSITIVE_RATIO)
    return config.TRAIN_ROIS_PER_IMAGE
