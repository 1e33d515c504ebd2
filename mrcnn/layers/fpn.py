"""Feature Pyramid Network (Lin et al. 2017): C2..C5 in, P2..P6 of equal width out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from mrcnn.layers.convolution import Conv2D
from mrcnn.layers.types import Tensor
from mrcnn.layers.winograd import WinogradConv2D


@keras.saving.register_keras_serializable(package="mrcnn")
class DoubleSides(layers.UpSampling2D):
    """Repeat every cell: `[batch, h, w, channels]` to `[batch, 2 h, 2 w, channels]`.

    On TensorFlow this is one resize operation, where Keras tiles and transposes. It takes half the
    time, forward and backward, and a network converted for OpenVINO keeps its memory layout.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(2, **kwargs)

    def call(self, x: Tensor) -> Tensor:
        if keras.backend.backend() != "tensorflow":
            return super().call(x)
        import tensorflow as tf

        return tf.image.resize(x, 2 * tf.shape(x)[1:3], method="nearest")

    def compute_output_spec(self, x: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(x.shape), dtype=x.dtype)

    def get_config(self) -> dict[str, Any]:
        # Without the arguments of `UpSampling2D`, which are fixed.
        return layers.Layer.get_config(self)


def fpn_graph(feature_maps: Sequence[Tensor], size: int) -> list[Tensor]:
    """Build the pyramid.

    Args:
        feature_maps: `[C2, C3, C4, C5]`.
        size: channels of every level, `TOP_DOWN_PYRAMID_SIZE`.

    Returns:
        `[P2, P3, P4, P5, P6]` at strides 4 to 64. P6 serves the RPN only.
    """
    c2, c3, c4, c5 = feature_maps
    merged = {5: Conv2D(size, 1, name="fpn_c5p5")(c5)}
    for level, lateral in ((4, c4), (3, c3), (2, c2)):
        above = DoubleSides(name=f"fpn_p{level + 1}upsampled")(merged[level + 1])
        lateral = Conv2D(size, 1, name=f"fpn_c{level}p{level}")(lateral)
        merged[level] = layers.Add(name=f"fpn_p{level}add")([above, lateral])
    pyramid = [
        WinogradConv2D(size, max_blocks=max_blocks, name=f"fpn_p{level}")(merged[level])
        for level, max_blocks in ((2, 4), (3, 1), (4, 1), (5, 1))
    ]
    pyramid.append(layers.MaxPooling2D(1, 2, name="fpn_p6")(pyramid[-1]))
    return pyramid
