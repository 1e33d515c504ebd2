"""The networks that refine a patch: the study's regional U-Net and a SqueezeNet U-Net.

Both take `[batch, S, S, 4]` patches: RGB / 255, then the mask probability, all in 0..1, and
return the refined probability `[batch, S, S, 1]` in 0..1. Both are Keras functional models
made of `keras.layers` and `keras.ops` only, so they run on TensorFlow, JAX and torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from mrcnn.checkpoints import read_squeezenet
from mrcnn.checkpoints.names import SQUEEZENET_INPUT_SCALE

Tensor = Any
# Mean color (R, G, B) in 0..255 that SqueezeNet's training subtracted; a patch is padded with
# it outside the image, so that padding is exactly zero to the first convolution.
MEAN_RGB = (123.0, 117.0, 104.0)

# (name, squeeze filters, filters of each expand branch) of SqueezeNet 1.1.
FIRE_MODULES = (
    ("fire2", 16, 64),
    ("fire3", 16, 64),
    ("fire4", 32, 128),
    ("fire5", 32, 128),
    ("fire6", 48, 192),
    ("fire7", 48, 192),
    ("fire8", 64, 256),
    ("fire9", 64, 256),
)


def build_network(
    architecture: str,
    patch_size: int,
    filters: Sequence[int],
    dropout: float = 0.0,
) -> keras.Model:
    """Build a patch network by the name of its architecture.

    Args:
        architecture: "unet" (the study's) or "squeeze" (SqueezeNet encoder).
        patch_size: side S of the square patches, in pixels.
        filters: "unet": filters a level, top to bottom, S must be divisible by
            `2 ** (len(filters) - 1)`. "squeeze": decoder filters at stride 16, 8, 4 and 2,
            S must be divisible by 16.
        dropout: dropped share of the features, 0..1.

    Returns:
        A `keras.Model`, `[batch, S, S, 4]` to `[batch, S, S, 1]`.

    Raises:
        ValueError: unknown architecture, or a size that does not fit the levels.
    """
    builders = {"unet": build_unet, "squeeze": build_squeeze_unet}
    if architecture not in builders:
        raise ValueError(f"architecture is {architecture!r}; it must be one of {sorted(builders)}.")
    return builders[architecture](patch_size, filters, dropout)


def build_unet(
    patch_size: int = 64,
    filters: Sequence[int] = (16, 32, 64, 128, 256),
    dropout: float = 0.3,
) -> keras.Model:
    """Build the study's U-Net (Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597).

    Two 3x3 convolutions with ReLU (He normal) a level, batch normalization after each, dropout
    between the levels on the way down and at the bottom, transposed 2x2 convolutions on the way
    up, a 1x1 sigmoid at the end.

    Args:
        patch_size: side S of a patch in pixels, divisible by `2 ** (len(filters) - 1)`.
        filters: filters a level, top to bottom.
        dropout: dropped share of the features, 0..1.

    Returns:
        A `keras.Model`, `[batch, S, S, 4]` to `[batch, S, S, 1]`.
    """
    _check_patch_size(patch_size, 2 ** (len(filters) - 1))
    inputs = keras.Input((patch_size, patch_size, 4), name="patches")
    x, skips = inputs, []
    for level, width in enumerate(filters):
        x = _double_convolution(x, width, dropout, f"down{level}")
        if level < len(filters) - 1:
            skips.append(x)
            x = layers.MaxPooling2D(2, name=f"pool{level}")(x)
    for level in reversed(range(len(filters) - 1)):
        x = layers.Conv2DTranspose(filters[level], 2, strides=2, name=f"up{level}_transposed")(x)
        x = layers.Concatenate(name=f"up{level}_concat")([x, skips[level]])
        x = _double_convolution(x, filters[level], 0.0, f"up{level}")
    outputs = layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name="probability")(x)
    return keras.Model(inputs, outputs, name="regional_unet")


def _double_convolution(x: Tensor, width: int, dropout: float, name: str) -> Tensor:
    """Apply two 3x3 convolutions, each with ReLU and batch normalization, dropout in between."""
    for part in ("a", "b"):
        x = layers.Conv2D(
            width,
            3,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"{name}{part}_conv",
        )(x)
        x = layers.BatchNormalization(name=f"{name}{part}_bn")(x)
        if part == "a" and dropout:
            x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return x


def build_squeeze_unet(
    patch_size: int = 128,
    filters: Sequence[int] = (128, 96, 64, 32),
    dropout: float = 0.2,
) -> keras.Model:
    """Build a U-Net whose way down is SqueezeNet 1.1 (Iandola et al. 2016, arXiv 1602.07360).

    The mask probability enters the first convolution as a fourth channel and, pooled, every
    level of the way up. The way up ends at stride 2 and predicts a change of the probability's
    logit; the last kernel starts at zero, so an untrained network returns its input.

    Args:
        patch_size: side S of a patch in pixels, divisible by 16.
        filters: filters of the way up at stride 16, 8, 4 and 2.
        dropout: dropped share of the features at stride 16, 0..1.

    Returns:
        A `keras.Model`, `[batch, S, S, 4]` to `[batch, S, S, 1]`.
    """
    _check_patch_size(patch_size, 16)
    if len(filters) != 4:
        raise ValueError(f"filters has {len(filters)} entries; it must have 4 (stride 16 .. 2).")
    inputs = keras.Input((patch_size, patch_size, 4), name="patches")
    probability = inputs[..., 3:]
    # SqueezeNet's kernels expect 0..255 minus the mean; the probability gets the same range.
    offset = np.array((*MEAN_RGB, 127.5), "float32").reshape(1, 1, 1, 4)
    x = layers.Rescaling(255.0, name="pixel_range")(inputs)
    x = ops.subtract(x, offset)

    skips = _squeezenet(x)
    x = skips.pop()
    if dropout:
        x = layers.SpatialDropout2D(dropout, name="bottom_dropout")(x)
    x = _conv_bn(x, filters[0], 1, "up16")
    for stride, width in zip((8, 4, 2), filters[1:], strict=True):
        # Channels are reduced before the upsampling: the same map at a quarter of the cost.
        x = layers.Conv2D(width, 1, use_bias=False, name=f"up{stride}_reduce")(x)
        x = layers.UpSampling2D(2, interpolation="nearest", name=f"up{stride}_upsampling")(x)
        side = layers.Conv2D(width, 1, use_bias=False, name=f"up{stride}_skip")(skips.pop())
        x = layers.Add(name=f"up{stride}_add")([x, side])
        x = layers.BatchNormalization(momentum=0.9, name=f"up{stride}_add_bn")(x)
        x = layers.Activation("relu", name=f"up{stride}_add_relu")(x)
        pooled = layers.AveragePooling2D(stride, name=f"up{stride}_probability")(probability)
        x = layers.Concatenate(name=f"up{stride}_concat")([x, pooled])
        x = _conv_bn(x, width, 3, f"up{stride}")
    change = layers.Conv2D(1, 3, padding="same", kernel_initializer="zeros", name="logit_change")(x)
    change = layers.UpSampling2D(2, interpolation="bilinear", name="up1_upsampling")(change)
    clipped = ops.clip(ops.cast(probability, "float32"), 0.02, 0.98)
    logit = ops.log(clipped) - ops.log(1.0 - clipped)
    outputs = ops.sigmoid(ops.cast(change, "float32") + logit)
    return keras.Model(inputs, outputs, name="squeeze_unet")


def _squeezenet(x: Tensor) -> list[Tensor]:
    """Return SqueezeNet's features at stride 2, 4, 8 and 16."""
    # The fourth input channel starts with small random weights of the RGB kernels' size.
    x = layers.Conv2D(
        64,
        3,
        strides=2,
        padding="same",
        activation="relu",
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.05),
        name="conv1",
    )(x)
    features = []
    for name, squeeze, expand in FIRE_MODULES:
        if name in ("fire2", "fire4", "fire6"):
            features.append(x)
            x = layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}_pool")(x)
        x = _fire(x, squeeze, expand, name)
    return [*features, x]


def _fire(x: Tensor, squeeze: int, expand: int, name: str) -> Tensor:
    """Apply a fire module: a 1x1 convolution, then 1x1 and 3x3 side by side."""
    x = layers.Conv2D(squeeze, 1, activation="relu", name=f"{name}_squeeze1x1")(x)
    one = layers.Conv2D(expand, 1, activation="relu", name=f"{name}_expand1x1")(x)
    three = layers.Conv2D(expand, 3, padding="same", activation="relu", name=f"{name}_expand3x3")(x)
    return layers.Concatenate(name=f"{name}_concat")([one, three])


def _conv_bn(x: Tensor, width: int, kernel_size: int, name: str) -> Tensor:
    """Apply convolution, batch normalization, ReLU."""
    x = layers.Conv2D(
        width,
        kernel_size,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def load_squeezenet_weights(network: keras.Model, path: str | Path) -> None:
    """Fill a "squeeze" network's way down with ImageNet values.

    Args:
        network: what `build_squeeze_unet` returns.
        path: SqueezeNet 1.1 in Keras 1 layout (DeepCognition/keras-squeezenet): groups
            `conv1`, `fireN/squeeze1x1`, ..., kernels named `uniformN`, BGR input.

    Raises:
        ValueError: A layer of the network is missing in the file.
    """
    values = {
        "conv1" if name == "squeeze_conv1" else name: arrays
        for name, arrays in read_squeezenet(path).items()
    }
    names = ["conv1"] + [
        f"{name}_{part}"
        for name, _, _ in FIRE_MODULES
        for part in ("squeeze1x1", "expand1x1", "expand3x3")
    ]
    for name in names:
        if len(values.get(name, ())) != 2:
            raise ValueError(f"{path} has no layer {name}; it must be a SqueezeNet 1.1 file.")
        kernel, bias = values[name]
        layer = network.get_layer(name)
        if name == "conv1":
            own = np.array(layer.get_weights()[0])
            own[:, :, :3] = kernel
            kernel = own
        # A power of two, so that this gives the file's own values back exactly.
        layer.set_weights([kernel, bias * np.float32(SQUEEZENET_INPUT_SCALE)])


def _check_patch_size(patch_size: int, factor: int) -> None:
    """Raise where a patch cannot be halved down to the bottom level."""
    if patch_size < factor or patch_size % factor:
        raise ValueError(f"patch_size is {patch_size}; it must be a positive multiple of {factor}.")
