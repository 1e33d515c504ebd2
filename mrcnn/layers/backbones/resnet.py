"""ResNet-50 and ResNet-101 (He et al. 2015), with the layer names of Matterport's weight files."""

from __future__ import annotations

from keras import layers

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
