"""Layer names of Mask R-CNN weight files, derived from the architecture.

Matterport's files list every layer of the Keras 2 model they were saved from, layers without
weights included, in Keras' order: by distance from the outputs. Training and inference graphs
differ behind the region proposal network, and so do their lists; the layers with weights and
their paths are the same in both.
"""

import re
from collections.abc import Collection

# Residual blocks in the stages 2 to 5 (He et al. 2015, "Deep Residual Learning", table 1).
RESNET_BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
MODES = ("inference", "training")

# Layers of Matterport's graphs that hold weights; a file without them is not a checkpoint.
_WEIGHTED = re.compile(
    r"conv1|bn_conv1|(res|bn)[2-5][a-w]_branch(1|2[abc])"
    r"|fpn_c[2-5]p[2-5]|fpn_p[2-5]|rpn_model"
    r"|mrcnn_class_(conv|bn)[12]|mrcnn_class_logits|mrcnn_bbox_fc"
    r"|mrcnn_mask_(conv|bn)[1-4]|mrcnn_mask_deconv|mrcnn_mask"
    r"|squeeze_conv1|fire[2-9]_(squeeze1x1|expand1x1|expand3x3)"
    r"|nano1_conv|nano[2-5]_(entry|exit|block[1-3]_conv[12])|nano_(pan[3-5]|head[3-5]_(conv|out))"
    r"|lite1_stem_(conv|bn)|lite[1-5]_block[1-6]_(expand|depthwise|project)_(conv|bn)"
)
_APPLICATIONS_BLOCK = re.compile(r"conv([2-5])_block(\d+)_([0-3])_(conv|bn)")
_SQUEEZENET_FIRE = re.compile(r"(fire[2-9])[/_](squeeze1x1|expand1x1|expand3x3)")

# The original SqueezeNet sees pixels of -128..151 and its features reach several hundred, too much
# for layers that start from random weights. Ours sees the pixels divided by this.
SQUEEZENET_INPUT_SCALE = 32.0


def matterport_layer_names(backbone: str, mode: str, stage5: bool = True) -> list[str]:
    """Return the attribute `layer_names` of a file that Matterport's package would write.

    Args:
        backbone: "resnet50" or "resnet101".
        mode: "inference" or "training", the graph the file is saved from.
        stage5: whether the backbone has its fifth stage, as every FPN model has.

    Returns:
        Layer names in file order, layers without weights included.

    Raises:
        ValueError: another backbone or mode. Files of other backbones have no recorded
            order; they list the model's own layers.
    """
    if backbone not in RESNET_BLOCKS:
        raise ValueError(
            f"backbone is {backbone!r}; it must be one of {', '.join(map(repr, RESNET_BLOCKS))}"
        )
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; it must be 'inference' or 'training'")
    names = ["input_image", "zero_padding2d_1", "conv1", "bn_conv1", "activation_1"]
    names += ["max_pooling2d_1", *_residual_stages(RESNET_BLOCKS[backbone][: 4 if stage5 else 3])]
    names += _feature_pyramid()
    # Keras 2 numbered unnamed layers through the whole graph. After the backbone come the
    # class head's two activations, the softmax inside `mrcnn_class`, the mask head's four.
    last = sum(name.startswith("activation_") for name in names)
    classifier = _classifier_head(last + 1)
    mask = _mask_head(last + 4)
    return names + (_inference if mode == "inference" else _training)(classifier, mask)


def expects_weights(name: str) -> bool:
    """Return whether a layer of this name holds weights in Matterport's graphs."""
    return _WEIGHTED.fullmatch(name) is not None


def from_keras_applications(name: str) -> str:
    """Translate a layer name of ResNet-50 or 101 of keras.applications; others are kept.

    Example:
        >>> from_keras_applications("conv4_block6_2_bn")
        'bn4f_branch2b'
    """
    if name in ("conv1_conv", "conv1_bn"):
        return {"conv1_conv": "conv1", "conv1_bn": "bn_conv1"}[name]
    found = _APPLICATIONS_BLOCK.fullmatch(name)
    if not found:
        return name
    stage, block, position, kind = found.groups()
    branch = ("1", "2a", "2b", "2c")[int(position)]
    return f"{'res' if kind == 'conv' else 'bn'}{stage}{chr(96 + int(block))}_branch{branch}"


def is_keras_resnet(names: Collection[str]) -> bool:
    """Return whether these are the layer names of ResNet-50 or ResNet-101 of keras.applications.

    ResNetV2 and DenseNet have names of the same form for other layers.
    """
    return "conv1_conv" in names and not {"conv2_block1_preact_bn", "pool2_bn"} & set(names)


def from_keras_squeezenet(name: str) -> str:
    """Translate a layer name of keras-squeezenet; others are returned unchanged.

    Example:
        >>> from_keras_squeezenet("fire2/squeeze1x1"), from_keras_squeezenet("conv1")
        ('fire2_squeeze1x1', 'squeeze_conv1')
    """
    if name == "conv1":
        return "squeeze_conv1"
    found = _SQUEEZENET_FIRE.fullmatch(name)
    return f"{found[1]}_{found[2]}" if found else name


def is_keras_squeezenet(names: list[str]) -> bool:
    """Return whether these are the layer names of a keras-squeezenet file (ours have no slash)."""
    return any("/" in name and _SQUEEZENET_FIRE.fullmatch(name) for name in names)


def _residual_stages(blocks_per_stage: tuple[int, ...]) -> list[str]:
    """Return the names of stages 2 to 5; a stage's first block alone has a shortcut convolution."""
    names: list[str] = []
    activation = 1
    additions = 0
    for stage, num_blocks in enumerate(blocks_per_stage, start=2):
        for index in range(num_blocks):
            block = f"{stage}{chr(ord('a') + index)}"
            for branch in ("2a", "2b"):
                activation += 1
                names += [f"res{block}_branch{branch}", f"bn{block}_branch{branch}"]
                names.append(f"activation_{activation}")
            shortcut = index == 0
            names += [f"res{block}_branch2c"] + [f"res{block}_branch1"] * shortcut
            names += [f"bn{block}_branch2c"] + [f"bn{block}_branch1"] * shortcut
            additions += 1
            names += [f"add_{additions}", f"res{block}_out"]
    return names


def _feature_pyramid() -> list[str]:
    names = ["fpn_c5p5"]
    for level in (5, 4, 3):
        names += [f"fpn_p{level}upsampled", f"fpn_c{level - 1}p{level - 1}", f"fpn_p{level - 1}add"]
    return [*names, "fpn_p5", "fpn_p2", "fpn_p3", "fpn_p4", "fpn_p6"]


def _classifier_head(activation: int) -> list[str]:
    names = ["roi_align_classifier"]
    for i in (1, 2):
        names += [f"mrcnn_class_conv{i}", f"mrcnn_class_bn{i}", f"activation_{activation + i - 1}"]
    return [*names, "pool_squeeze"]


def _mask_head(activation: int) -> list[str]:
    names = ["roi_align_mask"]
    for i in (1, 2, 3, 4):
        names += [f"mrcnn_mask_conv{i}", f"mrcnn_mask_bn{i}", f"activation_{activation + i - 1}"]
    return names


def _inference(classifier: list[str], mask: list[str]) -> list[str]:
    """Return the names after the pyramid in the inference graph, where masks come last."""
    return [
        *("rpn_model", "rpn_class", "rpn_bbox", "input_anchors", "ROI", "input_image_meta"),
        *classifier,
        *("mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_class", "mrcnn_bbox"),
        *("mrcnn_detection", "lambda_3"),
        *mask,
        *("mrcnn_mask_deconv", "mrcnn_mask"),
    ]


def _training(classifier: list[str], mask: list[str]) -> list[str]:
    """Return the names after the pyramid in the training graph: the two heads side by side."""
    # Sorted by distance from the losses: the longer mask head starts first, then they alternate.
    boxes = [*classifier, "mrcnn_bbox_fc"]
    lead = len(mask) - len(boxes)
    heads = mask[:lead]
    for pair in zip(mask[lead:], boxes, strict=True):
        heads += pair
    return [
        *("rpn_model", "rpn_class", "rpn_bbox", "anchors", "input_gt_boxes", "ROI"),
        *("input_gt_class_ids", "lambda_1", "input_gt_masks", "proposal_targets"),
        "input_image_meta",
        *heads,
        *("mrcnn_mask_deconv", "rpn_class_logits", "mrcnn_class_logits"),
        *("mrcnn_bbox", "mrcnn_mask", "input_rpn_match", "input_rpn_bbox", "lambda_4"),
        *("mrcnn_class", "output_rois", "rpn_class_loss", "rpn_bbox_loss"),
        *("mrcnn_class_loss", "mrcnn_bbox_loss", "mrcnn_mask_loss"),
    ]
