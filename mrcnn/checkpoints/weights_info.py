"""The settings that follow from the names and shapes of a network's weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mrcnn.checkpoints.names import RESNET_BLOCKS
from mrcnn.config_rules import APPLICATIONS, application_mark
from mrcnn.files.names import printable

Shape = tuple[int, ...]
# Layers that only one backbone has, the first that is found decides.
_SIGNS = {
    "fire2_squeeze1x1": "squeezenet",
    "nano_pan3": "nanodet_pan",
    "nano5_entry": "nanodet",
    "lite5_block5_project_conv": "efficientnet_lite0",
}
# The first convolutions of the backbones, whose inputs are the channels of the image.
_FIRST = ("squeeze_conv1", "nano1_conv", "lite1_stem_conv", "conv1")
HEADS = ("mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask")


@dataclass(frozen=True)
class WeightsInfo:
    """Facts about a network that the shapes of its weights determine.

    Settings that the weights do not determine are None.

    Attributes:
        path: the file, or "the model".
        file_format: see `WeightsFile`.
        backbone: the name of `Config.BACKBONE`, or "other".
        num_classes: NUM_CLASSES, background included.
        top_down_pyramid_size: TOP_DOWN_PYRAMID_SIZE, channels of P2 to P6.
        fpn_classif_fc_layers_size: FPN_CLASSIF_FC_LAYERS_SIZE, width of the class head.
        pool_size: POOL_SIZE of the class head.
        rpn_channels: RPN_CHANNELS, width of the RPN's shared convolution.
        mask_channels: MASK_CHANNELS, width of the mask head.
        anchors_per_location: how many RPN_ANCHOR_RATIOS there are.
        image_channels: IMAGE_CHANNEL_COUNT.
        backbone_channels: channels of C2 to C5, where there is a pyramid.
        has_rpn: whether there is a region proposal network.
        has_heads: whether class, box and mask heads are all there.
        num_parameters: all values, statistics of batch normalization included.
        layers: (layer, ((weight, shape), ...)) for each layer with weights, in file order.
        metadata: what `save_weights(metadata=...)` stored; see `WeightsFile`.
    """

    path: str
    file_format: str
    backbone: str
    num_classes: int | None
    top_down_pyramid_size: int | None
    fpn_classif_fc_layers_size: int | None
    pool_size: int | None
    rpn_channels: int | None
    mask_channels: int | None
    anchors_per_location: int | None
    image_channels: int | None
    backbone_channels: tuple[int, ...] | None
    has_rpn: bool
    has_heads: bool
    num_parameters: int
    layers: tuple[tuple[str, tuple[tuple[str, Shape], ...]], ...] = field(repr=False)
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def config_settings(self) -> dict[str, Any]:
        """Return the `Config` settings that follow from the weights, by name.

        Anchors are not among them: the weights know how many ratios there are, not which.
        """
        settings = {
            "BACKBONE": None if self.backbone == "other" else self.backbone,
            "NUM_CLASSES": self.num_classes,
            "TOP_DOWN_PYRAMID_SIZE": self.top_down_pyramid_size,
            "FPN_CLASSIF_FC_LAYERS_SIZE": self.fpn_classif_fc_layers_size,
            "POOL_SIZE": self.pool_size,
            "RPN_CHANNELS": self.rpn_channels,
            "MASK_CHANNELS": self.mask_channels,
            "IMAGE_CHANNEL_COUNT": self.image_channels,
        }
        return {name: value for name, value in settings.items() if value is not None}

    @property
    def is_complete(self) -> bool:
        """Whether the weights can detect: all parts are there that their settings ask for."""
        settings = self.metadata.get("config")
        settings = settings if isinstance(settings, Mapping) else {}
        with_mask, with_rpn = settings.get("USE_MASK", True), settings.get("USE_RPN", True)
        has_heads = self.has_heads or (not with_mask and self._has_layers(HEADS[:2]))
        return has_heads and (self.has_rpn or not with_rpn)

    def _has_layers(self, names: Sequence[str]) -> bool:
        return {name for name, _ in self.layers}.issuperset(names)

    def summary(self) -> str:
        """Return one line: file, backbone, classes, number of parameters."""
        parts = [f"{self.backbone} backbone"]
        if self.num_classes is not None:
            parts.append(f"{self.num_classes} classes with the background")
        if not self.has_heads:
            parts.append("no mask head" if self._has_layers(HEADS[:2]) else "no heads")
        parts.append(f"{self.num_parameters:,} parameters in {len(self.layers)} layers")
        return f"{printable(self.path)}: {', '.join(parts)}"


def describe_layers(
    layers: Mapping[str, Sequence[tuple[str, Shape]]],
    path: str,
    file_format: str = "keras",
    metadata: Mapping[str, Any] | None = None,
) -> WeightsInfo:
    """Read the architecture off names and shapes.

    Args:
        layers: `(weight name, shape)` of each weight, by layer name.
        path: where they come from, for messages.
        file_format: as in `WeightsInfo`.
        metadata: as in `WeightsInfo`.
    """

    def size(layer: str, axis: int, weight: str = "kernel") -> int | None:
        return _kernel_size(layers.get(layer) or (), axis, weight)

    logits = size("rpn_model", -1, "rpn_class_raw/kernel")
    laterals = [size(f"fpn_c{level}p{level}", 2) for level in (2, 3, 4, 5)]
    known = tuple(channels for channels in laterals if channels is not None)
    first = next((name for name in _FIRST if layers.get(name)), "")
    weighted = tuple((name, tuple(weights)) for name, weights in layers.items() if weights)
    return WeightsInfo(
        path=path,
        file_format=file_format,
        backbone=_guess_backbone(layers),
        num_classes=size("mrcnn_class_logits", -1),
        top_down_pyramid_size=size("fpn_c5p5", -1),
        fpn_classif_fc_layers_size=size("mrcnn_class_conv1", -1),
        pool_size=size("mrcnn_class_conv1", 0),
        rpn_channels=size("rpn_model", -1, "rpn_conv_shared/kernel"),
        mask_channels=size("mrcnn_mask_conv1", -1),
        anchors_per_location=None if logits is None else logits // 2,
        image_channels=size(first, 2),
        backbone_channels=known if len(known) == len(laterals) else None,
        has_rpn=bool(layers.get("rpn_model")),
        has_heads=all(layers.get(name) for name in HEADS),
        num_parameters=sum(math.prod(shape) for _, weights in weighted for _, shape in weights),
        layers=weighted,
        metadata=dict(metadata or {}),
    )


def _kernel_size(weights: Sequence[tuple[str, Shape]], axis: int, kernel: str) -> int | None:
    """Return the extent of a layer's kernel; the kernel is the first weight under any name."""
    named = [shape for name, shape in weights if name.split(":")[0] == kernel]
    shape = (named or [shape for _, shape in weights if "/" not in kernel] or [()])[0]
    return shape[axis] if len(shape) > (axis if axis >= 0 else -axis - 1) else None


def _guess_backbone(layers: Mapping[str, Sequence[Any]]) -> str:
    for layer, backbone in _SIGNS.items():
        if layers.get(layer):
            return backbone
    for backbone in APPLICATIONS:
        if application_mark(backbone) in layers:  # a layer without weights
            return backbone
    # The shallow and the deep ResNet differ in the number of blocks in stage 4 alone.
    num_blocks = sum(bool(layers.get(f"res4{chr(97 + i)}_branch2a")) for i in range(26))
    for name, blocks in RESNET_BLOCKS.items():
        if layers.get("res2a_branch2a") and num_blocks == blocks[2]:
            return name
    return "other"
