"""SqueezeNet 1.1 (Iandola et al. 2016): a small backbone for CPUs and small datasets."""

from __future__ import annotations

from keras import layers

from mrcnn.checkpoints.names import SQUEEZENET_INPUT_SCALE
from mrcnn.layers.types import Tensor


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
