"""Bilinear interpolation as the start of a transposed convolution."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from mrcnn.layers.types import Shape, Tensor


def bilinear_kernel(size: int) -> np.ndarray:
    """Return the kernel that upsamples by `size / 2` (Long et al. 2015, section 3.3).

    Args:
        size: its side; even, twice the stride.

    Returns:
        [size, size] float32. The weights that one output pixel takes add up to 1.
    """
    factor = (size + 1) // 2
    center = factor - 1 if size % 2 else factor - 0.5
    line = 1 - np.abs(np.arange(size) - center) / factor
    return np.outer(line, line).astype(np.float32)


@keras.saving.register_keras_serializable(package="mrcnn")
class Bilinear(keras.initializers.Initializer):
    """Kernel of a `Conv2DTranspose` that upsamples each channel by itself, bilinearly."""

    def __call__(self, shape: Shape, dtype: Any = None, **kwargs: Any) -> Tensor:
        """Return the kernel.

        Args:
            shape: [side, side, output channels, input channels], of as many outputs as inputs.
            dtype: type of the values.
            **kwargs: not used.

        Raises:
            ValueError: the kernel is not square or changes the number of channels.
        """
        height, width, outputs, inputs = shape
        if height is None or height != width or outputs != inputs or outputs is None:
            raise ValueError(
                f"shape is {tuple(shape)}; it must be [side, side, channels, channels]"
            )
        kernel = np.zeros((height, height, outputs, outputs), np.float32)
        channels = np.arange(outputs)
        kernel[:, :, channels, channels] = bilinear_kernel(height)[:, :, None]
        return ops.convert_to_tensor(kernel, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        """Return no arguments."""
        return {}
