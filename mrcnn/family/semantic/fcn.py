"""Fully convolutional networks on VGG-16 (Long, Shelhamer, Darrell, CVPR 2015)."""

from __future__ import annotations

import keras
from keras import layers

from mrcnn.family.semantic.bilinear import Bilinear
from mrcnn.family.semantic.vgg16 import BLOCKS
from mrcnn.layers.types import Tensor

DROPOUT = 0.5


def build_fcn(stride: int, num_classes: int, channels: int = 3, width: int = 64) -> keras.Model:
    """Build FCN-32s, FCN-16s or FCN-8s.

    The dense layers of VGG-16 are the convolutions `fc6` (7 x 7) and `fc7` (1 x 1). Scores of
    stride 32 are upsampled and added to those of pool4 and pool3. The transposed convolutions have
    no bias, mix the classes, and start as bilinear interpolation; the last one is not trained, as
    in the paper. The layers that score start at zero.

    The authors' Caffe model pads the image by 100 pixels, so that `fc6` has room in any image, and
    crops each sum to fit. Here `fc6` pads its input by 3 cells, and the image is padded to a
    multiple of 32: the same layers and values, with cells whose centers are exactly those of the
    pixels they are upsampled to (Caffe's are off by one pixel), and no computation on an empty
    border.

    Args:
        stride: 32, 16 or 8.
        num_classes: classes, those of background included.
        channels: of the image.
        width: filters of the first convolution; 64 is the published one.

    Returns:
        A model from images `[B, H, W, channels]`, H and W multiples of 32, to logits
        `[B, H, W, classes]`.

    Raises:
        ValueError: there is no such stride.
    """
    if stride not in (32, 16, 8):
        raise ValueError(f"stride is {stride}; it must be 32, 16 or 8")
    image = keras.Input((None, None, channels), name="image")
    x, pooled = image, []
    for block, (count, factor) in enumerate(BLOCKS, start=1):
        for number in range(1, count + 1):
            x = _convolution(x, factor * width, 3, f"block{block}_conv{number}")
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
        pooled.append(x)
    for name, side in (("fc6", 7), ("fc7", 1)):
        x = _convolution(x, 64 * width, side, name)
        x = layers.Dropout(DROPOUT, name=f"{name}_dropout")(x)
    x = _score(x, num_classes, "score_fr")
    if stride <= 16:
        x = _upsample(x, 2, "upscore2")
        x = layers.Add(name="fuse_pool4")([x, _score(pooled[3], num_classes, "score_pool4")])
    if stride == 8:
        x = _upsample(x, 2, "upscore_pool4")
        x = layers.Add(name="fuse_pool3")([x, _score(pooled[2], num_classes, "score_pool3")])
    x = _upsample(x, stride, f"upscore{stride}", is_trained=False)
    logits = layers.Activation("linear", dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=f"fcn{stride}s")


def _convolution(x: Tensor, filters: int, side: int, name: str) -> Tensor:
    return layers.Conv2D(
        filters,
        side,
        padding="same",
        activation="relu",
        kernel_initializer="he_normal",
        name=name,
    )(x)


def _score(x: Tensor, num_classes: int, name: str) -> Tensor:
    return layers.Conv2D(num_classes, 1, kernel_initializer="zeros", name=name)(x)


def _upsample(x: Tensor, factor: int, name: str, is_trained: bool = True) -> Tensor:
    return layers.Conv2DTranspose(
        x.shape[-1],
        2 * factor,
        strides=factor,
        padding="same",
        use_bias=False,
        kernel_initializer=Bilinear(),
        trainable=is_trained,
        name=name,
    )(x)
