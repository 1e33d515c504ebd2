"""From molded pixels, which lack `MEAN_PIXEL`, to those that a backbone was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import layers

from mrcnn.layers.types import Tensor


@dataclass(frozen=True)
class PixelRange:
    """The pixels that a backbone expects: those of 0 .. 255 minus a mean, over a deviation.

    Attributes:
        mean: (R, G, B).
        deviation: (R, G, B).
    """

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    def apply(self, image: Tensor, mean_pixel: Any, name: str) -> Tensor:
        """Change the range of an image by a layer of this name.

        Images of other than three channels are divided by the mean deviation only.

        Args:
            image: `[batch, height, width, channels]` minus `mean_pixel`.
            mean_pixel: `Config.MEAN_PIXEL`; None if it is this mean.
            name: of the layer.
        """
        if image.shape[-1] != 3:
            return layers.Rescaling(1.0 / float(np.mean(self.deviation)), name=name)(image)
        scale = 1.0 / np.array(self.deviation)
        offset: Sequence[float] = (0.0, 0.0, 0.0)
        if mean_pixel is not None:
            offset = ((np.asarray(mean_pixel, np.float64) - self.mean) * scale).tolist()
        return layers.Rescaling(scale.tolist(), offset, name=name)(image)
