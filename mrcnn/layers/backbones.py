"""Backbones: an image in, feature maps C2 to C5 at strides 4, 8, 16 and 32 out.

`resnet50` and `resnet101` (He et al. 2015) carry the layer names of Matterport's weight files.
`squeezenet` (Iandola et al. 2016, version 1.1) is a small one for CPUs and small datasets.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from mrcnn.checkpoints.names import SQUEEZENET_INPUT_SCALE
from mrcnn.layers.normalization import BatchNorm
from mrcnn.layers.types import Tensor
from mrcnn.layers.winograd import WinogradConv2D

# Blocks in the fourth stage; the other stages are the same in both.
_STAGE4_BLOCKS = {"resnet50": 6, "resnet101": 23}


def _conv_bn(
    x: Tensor,
    filters: int,
    kernel_size: int,
    stage_block: str,
    branch: str,
    train_bn: bool | None,
    strides: int = 1,
) -> Tensor:
    """Apply a convolution and its batch normalization, named as in the weight files."""
    name = f"{stage_block}_branch{branch}"
    if kernel_size == 3:
        x = WinogradConv2D(filters, strides=strides, name=f"res{name}")(x)
    else:
        x = layers.Conv2D(filters, kernel_size, strides, name=f"res{name}")(x)
    return BatchNorm(name=f"bn{name}")(x, training=train_bn)


def _bottleneck(
    x: Tensor,
    filters: tuple[int, int],
    stage_block: str,
    train_bn: bool | None,
    strides: int = 1,
    project: bool = False,
) -> Tensor:
    """Apply a residual bottleneck. The first 1x1 convolution strides, as in the Caffe models."""
    middle, last = filters
    shortcut = x
    y = _conv_bn(x, middle, 1, stage_block, "2a", train_bn, strides)
    y = layers.Activation("relu")(y)
    y = _conv_bn(y, middle, 3, stage_block, "2b", train_bn)
    y = layers.Activation("relu")(y)
    y = _conv_bn(y, last, 1, stage_block, "2c", train_bn)
    if project:
        shortcut = _conv_bn(x, last, 1, stage_block, "1", train_bn, strides)
    y = layers.Add()([y, shortcut])
    return layers.Activation("relu", name=f"res{stage_block}_out")(y)


def resnet_graph(
    input_image: Tensor, architecture: str, stage5: bool = False, train_bn: bool | None = True
) -> list[Tensor]:
    """Build ResNet-50 or ResNet-101.

    Args:
        input_image: `[batch, height, width, channels]`, mean subtracted.
        architecture: "resnet50" or "resnet101".
        stage5: whether to build the fifth stage.
        train_bn: False freezes the batch statistics, None follows the model, True always trains.

    Returns:
        `[C1, C2, C3, C4, C5]`; C5 is None without `stage5`.

    Raises:
        ValueError: `architecture` is another one.
    """
    if architecture not in _STAGE4_BLOCKS:
        raise ValueError(
            f"architecture is {architecture!r}; it must be one of {sorted(_STAGE4_BLOCKS)}"
        )
    x = layers.ZeroPadding2D((3, 3))(input_image)
    x = layers.Conv2D(64, 7, 2, name="conv1")(x)
    x = BatchNorm(name="bn_conv1")(x, training=train_bn)
    x = layers.Activation("relu")(x)
    stages = [x := layers.MaxPooling2D(3, 2, padding="same")(x)]

    blocks_per_stage = {2: 3, 3: 4, 4: _STAGE4_BLOCKS[architecture], 5: 3}
    for stage, num_blocks in blocks_per_stage.items():
        if stage == 5 and not stage5:
            stages.append(None)
            break
        width = 64 * 2 ** (stage - 2)
        for block in range(num_blocks):
            x = _bottleneck(
                x,
                (width, 4 * width),
                f"{stage}{chr(ord('a') + block)}",
                train_bn,
                strides=2 if block == 0 and stage > 2 else 1,
                project=block == 0,
            )
        stages.append(x)
    return stages


def _fire(x: Tensor, name: str, squeeze: int, expand: int) -> Tensor:
    """Apply SqueezeNet's fire module: `squeeze` channels, then 1x1 and 3x3 to `expand` each."""
    options = {"padding": "same", "activation": "relu", "kernel_initializer": "he_uniform"}
    x = layers.Conv2D(squeeze, 1, name=f"{name}_squeeze1x1", **options)(x)
    small = layers.Conv2D(expand, 1, name=f"{name}_expand1x1", **options)(x)
    large = layers.Conv2D(expand, 3, name=f"{name}_expand3x3", **options)(x)
    return layers.Concatenate(name=f"{name}_concat")([small, large])


def squeezenet_graph(input_image: Tensor) -> list[Tensor]:
    """Build SqueezeNet 1.1 with two more fire modules, at stride 32, for large objects.

    Args:
        input_image: `[batch, height, width, channels]`, mean subtracted.

    Returns:
        `[C1, C2, C3, C4, C5]` with 64, 128, 256, 512 and 512 channels.
    """
    x = layers.Rescaling(1.0 / SQUEEZENET_INPUT_SCALE, name="squeeze_scale")(input_image)
    x = layers.Conv2D(64, 3, 2, padding="same", activation="relu", name="squeeze_conv1")(x)
    c1 = x = layers.MaxPooling2D(3, 2, padding="same", name="squeeze_pool1")(x)
    x = _fire(x, "fire2", 16, 64)
    c2 = x = _fire(x, "fire3", 16, 64)
    x = layers.MaxPooling2D(3, 2, padding="same", name="squeeze_pool3")(x)
    x = _fire(x, "fire4", 32, 128)
    c3 = x = _fire(x, "fire5", 32, 128)
    x = layers.MaxPooling2D(3, 2, padding="same", name="squeeze_pool5")(x)
    x = _fire(x, "fire6", 48, 192)
    x = _fire(x, "fire7", 48, 192)
    x = _fire(x, "fire8", 64, 256)
    c4 = x = _fire(x, "fire9", 64, 256)
    x = layers.MaxPooling2D(3, 2, padding="same", name="squeeze_pool9")(x)
    x = _fire(x, "fire10", 64, 256)
    c5 = _fire(x, "fire11", 64, 256)
    return [c1, c2, c3, c4, c5]


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
    elif config.BACKBONE == "squeezenet":
        stages = squeezenet_graph(input_image)
    else:
        stages = resnet_graph(input_image, config.BACKBONE, stage5=True, train_bn=config.TRAIN_BN)
    return list(stages[1:])
