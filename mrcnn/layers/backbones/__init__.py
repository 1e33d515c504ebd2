"""Backbones: an image in, feature maps C2 to C5 at strides 4, 8, 16 and 32 out.

One module for each family: ResNet with Matterport's layer names, SqueezeNet 1.1 and NanoDet-g for
CPUs and small datasets.
"""

from __future__ import annotations

from typing import Any

from mrcnn.layers.backbones.nanodet import nanodet_graph, nanodet_pan_graph
from mrcnn.layers.backbones.resnet import resnet_graph
from mrcnn.layers.backbones.squeezenet import squeezenet_graph
from mrcnn.layers.types import Tensor

__all__ = [
    "backbone_graph",
    "nanodet_graph",
    "nanodet_pan_graph",
    "resnet_graph",
    "squeezenet_graph",
]

# Backbones without batch normalization.
_PLAIN = {
    "nanodet": nanodet_graph,
    "nanodet_pan": nanodet_pan_graph,
    "squeezenet": squeezenet_graph,
}


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
    if callable(config.BACKBONE):
        stages = config.BACKBONE(input_image, stage5=True, train_bn=config.TRAIN_BN)
        if len(stages) != 5:
            raise ValueError(
                f"BACKBONE {config.BACKBONE!r} returned {len(stages)} feature maps; it must return "
                "five, C1 to C5 (C1 may be None)"
            )
    elif config.BACKBONE in _PLAIN:
        stages = _PLAIN[config.BACKBONE](input_image)
    else:
        stages = resnet_graph(input_image, config.BACKBONE, stage5=True, train_bn=config.TRAIN_BN)
    return list(stages[1:])
