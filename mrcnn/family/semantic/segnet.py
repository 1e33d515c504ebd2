"""SegNet (Badrinarayanan, Kendall, Cipolla, 2017)."""

from __future__ import annotations

import keras
from keras import layers

from mrcnn.family.semantic.pooling import MaxPoolWithIndices, MaxUnpool
from mrcnn.family.semantic.vgg16 import BLOCKS
from mrcnn.layers.types import Tensor


def build_segnet(num_classes: int, channels: int = 3, width: int = 64) -> keras.Model:
    """Build SegNet: VGG-16's 13 convolutions, and their mirror image as the decoder.

    Each pooling of the encoder hands its indices to the upsampling of the same level; every
    convolution but the last has batch normalization and ReLU.

    Args:
        num_classes: classes, those of background included.
        channels: of the image.
        width: filters of the first convolution; 64 is the published one.

    Returns:
        A model from images `[B, H, W, channels]` to logits `[B, H, W, classes]`, of any size.
    """
    image = keras.Input((None, None, channels), name="image")
    x, levels = image, []
    for block, (count, factor) in enumerate(BLOCKS, start=1):
        for number in range(1, count + 1):
            x = _convolution(x, factor * width, f"block{block}_conv{number}")
        pooled = x
        x, places = MaxPoolWithIndices(name=f"block{block}_pool")(x)
        levels.append((places, pooled))
    for block in range(len(BLOCKS), 0, -1):
        count, factor = BLOCKS[block - 1]
        x = MaxUnpool(name=f"decoder{block}_unpool")([x, *levels[block - 1]])
        for number in range(count, 1, -1):
            x = _convolution(x, factor * width, f"decoder{block}_conv{number}")
        if block > 1:
            x = _convolution(x, BLOCKS[block - 2][1] * width, f"decoder{block}_conv1")
    x = layers.Conv2D(
        num_classes, 3, padding="same", kernel_initializer="he_normal", name="decoder1_conv1"
    )(x)
    logits = layers.Activation("linear", dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name="segnet")


def _convolution(x: Tensor, filters: int, name: str) -> Tensor:
    x = layers.Conv2D(filters, 3, padding="same", kernel_initializer="he_normal", name=name)(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)
