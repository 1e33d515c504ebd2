"""Backbones: an image in, feature maps C2 to C5 at strides 4, 8, 16 and 32 out.

One module for each family: ResNet with Matterport's layer names; SqueezeNet, NanoDet and
EfficientNet-Lite for CPUs and small datasets; and the networks of `keras.applications`.
"""

from __future__ import annotations

from typing import Any

from mrcnn.config_rules import APPLICATIONS
from mrcnn.layers.backbones.efficientnet_lite import efficientnet_lite0_graph
from mrcnn.layers.backbones.nanodet import nanodet_graph, nanodet_pan_graph
from mrcnn.layers.backbones.resnet import resnet_graph
from mrcnn.layers.backbones.squeezenet import squeezenet_graph
from mrcnn.layers.types import Tensor

__all__ = [
    "backbone_graph",
    "efficientnet_lite0_graph",
    "nanodet_graph",
    "nanodet_pan_graph",
    "resnet_graph",
    "squeezenet_graph",
]


def backbone_graph(input_image: Tensor, config: Any) -> list[Tensor]:
    """Build the backbone that `config.BACKBONE` names, or the user's own.

    Args:
        input_image: `[batch, height, width, channels]`, mean subtracted.
        config: `Config`. A callable `BACKBONE` is called as Matterport's package called it,
            `BACKBONE(input_image, stage5=True, train_bn=config.TRAIN_BN)`, and returns C1 to C5.

    Returns:
        `[C2, C3, C4, C5]`.

    Raises:
        ValueError: a callable returned another number of feature maps.
    """
    if not callable(config.BACKBONE):
        return _named_stages(input_image, config.BACKBONE, config)
    stages = config.BACKBONE(input_image, stage5=True, train_bn=config.TRAIN_BN)
    if len(stages) != 5:
        raise ValueError(
            f"BACKBONE {config.BACKBONE!r} returned {len(stages)} feature maps; it must return "
            "five, C1 to C5 (C1 may be None)"
        )
    return list(stages[1:])


def _named_stages(input_image: Tensor, name: str, config: Any) -> list[Tensor]:
    """Return C2 to C5 of a backbone of this package or of `keras.applications`."""
    if name in APPLICATIONS:
        from mrcnn.layers.backbones.applications import application_graph

        return application_graph(input_image, name, config.MEAN_PIXEL, config.TRAIN_BN)
    if name == "squeezenet":
        stages = squeezenet_graph(input_image)
    elif name == "nanodet":
        stages = nanodet_graph(input_image, config.MEAN_PIXEL)
    elif name == "nanodet_pan":
        stages = nanodet_pan_graph(input_image, config.MEAN_PIXEL)
    elif name == "efficientnet_lite0":
        stages = efficientnet_lite0_graph(input_image, config.MEAN_PIXEL, config.TRAIN_BN)
    else:
        stages = resnet_graph(input_image, name, stage5=True, train_bn=config.TRAIN_BN)
    return list(stages[1:])
