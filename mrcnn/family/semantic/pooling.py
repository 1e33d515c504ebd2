"""Max pooling that remembers where each maximum was, and its inverse (SegNet).

Badrinarayanan, Kendall, Cipolla: SegNet, 2017, section 3: "the locations of the maximum feature
value in each pooling window is memorized", and the decoder "upsamples its input feature map(s)
using the memorized max-pooling indices".
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from mrcnn.layers.types import Shape, Tensor


def _check_pool_size(pool_size: int) -> int:
    if not isinstance(pool_size, int) or pool_size < 1:
        raise ValueError(f"pool_size is {pool_size!r}; it must be a whole number of at least 1")
    return pool_size


@keras.saving.register_keras_serializable(package="mrcnn")
class MaxPoolWithIndices(layers.Layer):
    """Max pooling over windows that do not overlap, with the place of each maximum.

    Rows and columns that fill no whole window are pooled as well, as Caffe does. Of equal values
    the first counts, row by row.

    Args:
        pool_size: side of a window in pixels, k.

    Returns:
        The maxima `[B, ceil(H / k), ceil(W / k), C]`, and their places inside their windows, an
        int32 tensor of the same shape: row * k + column, from 0 to k * k - 1. (For k = 2 these are
        the 2 bits for each window of the paper.)
    """

    def __init__(self, pool_size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pool_size = _check_pool_size(pool_size)

    def call(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pool `[B, H, W, C]`."""
        size = self.pool_size
        _, height, width, channels = ops.shape(x)
        rows, columns = (height + size - 1) // size, (width + size - 1) // size
        # Padding of constant width, cut to whole windows: the sides may be unknown when traced.
        x = ops.pad(
            x, ((0, 0), (0, size - 1), (0, size - 1), (0, 0)), constant_values=-float("inf")
        )
        x = x[:, : rows * size, : columns * size]
        windows = ops.reshape(x, (-1, rows, size, columns, size, channels))
        windows = ops.transpose(windows, (0, 1, 3, 2, 4, 5))
        windows = ops.reshape(windows, (-1, rows, columns, size * size, channels))
        return ops.max(windows, axis=3), ops.cast(ops.argmax(windows, axis=3), "int32")

    def compute_output_spec(self, x: Any) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Return the shapes and types of the maxima and their places."""
        batch, height, width, channels = x.shape
        size = self.pool_size
        sides = (None if side is None else -(-side // size) for side in (height, width))
        shape = (batch, *sides, channels)
        return keras.KerasTensor(shape, x.dtype), keras.KerasTensor(shape, "int32")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "pool_size": self.pool_size}


@keras.saving.register_keras_serializable(package="mrcnn")
class MaxUnpool(layers.Layer):
    """Upsampling that puts each value where `MaxPoolWithIndices` found the maximum.

    All other values are 0.

    Args:
        pool_size: that of the pooling, k.
    """

    def __init__(self, pool_size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pool_size = _check_pool_size(pool_size)

    def call(self, inputs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Upsample.

        Args:
            inputs: values `[B, h, w, C]`, places of the same shape, and the tensor
                `[B, H, W, ...]` that was pooled, of which only the size matters.

        Returns:
            `[B, H, W, C]`.
        """
        x, places, pooled = inputs
        size = self.pool_size
        _, rows, columns, channels = ops.shape(x)
        _, height, width, _ = ops.shape(pooled)
        numbers = ops.reshape(ops.arange(size * size, dtype="int32"), (-1, 1))
        is_place = ops.equal(ops.expand_dims(places, 3), numbers)
        windows = ops.where(is_place, ops.expand_dims(x, 3), ops.cast(0, x.dtype))
        windows = ops.reshape(windows, (-1, rows, columns, size, size, channels))
        windows = ops.transpose(windows, (0, 1, 3, 2, 4, 5))
        whole = ops.reshape(windows, (-1, rows * size, columns * size, channels))
        return whole[:, :height, :width]

    def compute_output_shape(self, input_shape: tuple[Shape, Shape, Shape]) -> Shape:
        """Return `[B, H, W, C]`."""
        values, _, pooled = input_shape
        return (values[0], pooled[1], pooled[2], values[3])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "pool_size": self.pool_size}
