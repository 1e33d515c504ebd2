"""EfficientNet-Lite0 (Tan and Le 2019; the Lite models of 2020): ImageNet 75.1 %, for CPUs.

EfficientNet-B0 without squeeze-and-excitation and with ReLU6. Weights come from
`tools/convert_efficientnet_lite0.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import layers

from mrcnn.layers.backbones.pixels import PixelRange
from mrcnn.layers.normalization import BatchNorm
from mrcnn.layers.types import Tensor

LITE_PIXELS = PixelRange(mean=(127.0, 127.0, 127.0), deviation=(128.0, 128.0, 128.0))


class _Group(NamedTuple):
    """Blocks of one width; the first has the stride."""

    num_blocks: int
    kernel_size: int
    stride: int
    expansion: int
    channels: int


# Groups of blocks of each stage, C1 to C5.
_STAGES: dict[int, tuple[_Group, ...]] = {
    1: (_Group(1, 3, 1, 1, 16),),
    2: (_Group(2, 3, 2, 6, 24),),
    3: (_Group(2, 5, 2, 6, 40),),
    4: (_Group(3, 3, 2, 6, 80), _Group(3, 5, 1, 6, 112)),
    5: (_Group(4, 5, 2, 6, 192), _Group(1, 3, 1, 6, 320)),
}


def _conv_bn(
    x: Tensor, convolution: layers.Layer, name: str, train_bn: bool | None, activate: bool = True
) -> Tensor:
    x = BatchNorm(name=f"{name}_bn")(convolution(x), training=train_bn)
    return layers.ReLU(6.0)(x) if activate else x


def _block(x: Tensor, group: _Group, stride: int, name: str, train_bn: bool | None) -> Tensor:
    """Apply an inverted residual block (Sandler et al. 2018)."""
    options: dict[str, Any] = {"padding": "same", "use_bias": False}
    channels = x.shape[-1]
    y = x
    if group.expansion > 1:
        expand = layers.Conv2D(channels * group.expansion, 1, name=f"{name}_expand_conv", **options)
        y = _conv_bn(y, expand, f"{name}_expand", train_bn)
    depthwise = layers.DepthwiseConv2D(
        group.kernel_size, stride, name=f"{name}_depthwise_conv", **options
    )
    y = _conv_bn(y, depthwise, f"{name}_depthwise", train_bn)
    project = layers.Conv2D(group.channels, 1, name=f"{name}_project_conv", **options)
    y = _conv_bn(y, project, f"{name}_project", train_bn, activate=False)
    if stride == 1 and channels == group.channels:
        y = layers.Add(name=f"{name}_add")([y, x])
    return y


def efficientnet_lite0_graph(
    input_image: Tensor, mean_pixel: Any = None, train_bn: bool | None = True
) -> list[Tensor]:
    """Build EfficientNet-Lite0 without its classifier.

    Args:
        input_image: `[batch, height, width, channels]`, mean subtracted.
        mean_pixel: `Config.MEAN_PIXEL`; None for (127, 127, 127), the network's own.
        train_bn: False freezes the batch statistics, None follows the model, True always trains.

    Returns:
        `[C1, C2, C3, C4, C5]` at strides 2 to 32 with 16, 24, 40, 112 and 320 channels.
    """
    x = LITE_PIXELS.apply(input_image, mean_pixel, "lite_pixels")
    stem = layers.Conv2D(32, 3, 2, padding="same", use_bias=False, name="lite1_stem_conv")
    x = _conv_bn(x, stem, "lite1_stem", train_bn)
    stages = []
    for stage, groups in _STAGES.items():
        number = 0
        for group in groups:
            for i in range(group.num_blocks):
                number += 1
                stride = group.stride if i == 0 else 1
                x = _block(x, group, stride, f"lite{stage}_block{number}", train_bn)
        stages.append(x)
    return stages


def efficientnet_lite0_head(
    features: Tensor, num_classes: int = 1000, train_bn: bool | None = False
) -> tuple[Tensor, Tensor]:
    """Build the classifier of EfficientNet-Lite0.

    Args:
        features: `[batch, height, width, 320]`, C5.
        num_classes: number of classes.
        train_bn: as for `efficientnet_lite0_graph`.

    Returns:
        features `[batch, 1280]` and class probabilities `[batch, num_classes]`.
    """
    convolution = layers.Conv2D(1280, 1, use_bias=False, name="lite_head_conv")
    x = _conv_bn(features, convolution, "lite_head", train_bn)
    x = layers.GlobalAveragePooling2D(name="lite_head_pool")(x)
    return x, layers.Dense(num_classes, activation="softmax", name="lite_classifier")(x)
