"""U-Net (Ronneberger, Fischer, Brox, MICCAI 2015)."""

from __future__ import annotations

import keras
from keras import layers

from mrcnn.layers.types import Tensor

LEVELS = 4
DROPOUT = 0.5
# Pixels that the valid convolutions take from each side of the image: 572 become 388.
VALID_MARGIN = 92


def build_unet(
    num_classes: int, channels: int = 1, width: int = 64, padding: str = "same"
) -> keras.Model:
    """Build U-Net.

    Args:
        num_classes: classes, those of background included.
        channels: of the image.
        width: filters of the first convolution; 64 is the published one.
        padding: "same" keeps the size of the image; "valid" is the paper's, whose convolutions do
            not pad. The values are the same in number and kind.

    Returns:
        A model from images `[B, H, W, channels]` to logits `[B, H, W, classes]`. H and W must be
        multiples of 16 with "same" padding. With "valid" they must be 188, 204, 220, ..., and the
        logits are 184 pixels smaller.

    Raises:
        ValueError: the padding is another word.
    """
    if padding not in ("same", "valid"):
        raise ValueError(f"padding is {padding!r}; it must be 'same' or 'valid'")
    image = keras.Input((None, None, channels), name="image")
    x, skips = image, []
    for level in range(LEVELS):
        x = _two_convolutions(x, width << level, padding, f"down{level + 1}")
        skips.append(x)
        if level == LEVELS - 1:
            x = layers.Dropout(DROPOUT, name=f"down{level + 1}_dropout")(x)
            skips[-1] = x
        x = layers.MaxPooling2D(2, name=f"pool{level + 1}")(x)
    x = _two_convolutions(x, width << LEVELS, padding, "bottom")
    x = layers.Dropout(DROPOUT, name="bottom_dropout")(x)
    # Pixels that the levels below take from each side: two convolutions take 2 on the way down and
    # 2 on the way up, and one pixel of a lower level is two of this one.
    margin = 2
    for level in range(LEVELS - 1, -1, -1):
        x = layers.Conv2DTranspose(
            width << level, 2, strides=2, kernel_initializer="he_normal", name=f"up{level + 1}"
        )(x)
        skip = skips[level]
        if padding == "valid":
            skip = layers.Cropping2D(2 * margin, name=f"up{level + 1}_crop")(skip)
        margin = 2 * margin + 4
        x = layers.Concatenate(name=f"up{level + 1}_concat")([skip, x])
        x = _two_convolutions(x, width << level, padding, f"up{level + 1}")
    logits = layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name="unet")


def _two_convolutions(x: Tensor, filters: int, padding: str, name: str) -> Tensor:
    for number in (1, 2):
        x = layers.Conv2D(
            filters,
            3,
            padding=padding,
            activation="relu",
            kernel_initializer="he_normal",
            name=f"{name}_conv{number}",
        )(x)
    return x
