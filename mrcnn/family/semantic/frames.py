"""Images of any size in the sizes that a network takes, and its outputs cut back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Frame:
    """Which sizes a network takes.

    Its outputs have sides `offset`, `offset + multiple`, `offset + 2 * multiple`, ... and its input
    is larger by `margin` on each side.

    Attributes:
        multiple: step of the sizes in pixels.
        margin: pixels that convolutions without padding take from each side.
        offset: see above; 0 stands for `multiple`.
    """

    multiple: int
    margin: int = 0
    offset: int = 0

    def output_side(self, side: int) -> int:
        """Return the smallest side of an output that holds `side` pixels."""
        steps = -(-(side - self.offset) // self.multiple)
        return max(self.offset + steps * self.multiple, self.offset or self.multiple)

    def pad(self, image: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
        """Make the network's input of an image.

        With a margin the image is continued by its mirror image on all sides, as the paper of U-Net
        does. Otherwise the bottom and the right are filled with zeros.

        Args:
            image: [H, W, channels] float32, zero where it is the mean.
            size: (height, width) of the output that it is for, at least (H, W); None takes the
                smallest.

        Returns:
            [height + 2 * margin, width + 2 * margin, channels] float32.
        """
        height, width = image.shape[:2]
        rows, columns = size or (self.output_side(height), self.output_side(width))
        extra = (
            (self.margin, self.margin + rows - height),
            (self.margin, self.margin + columns - width),
            (0, 0),
        )
        return np.pad(image, extra, mode="reflect" if self.margin else "constant")

    def tiles(self, height: int, width: int, side: int) -> list[tuple[slice, slice]]:
        """Cut an output into overlapping tiles that cover it.

        The network gives the same values for a tile as for the whole: tiles begin at multiples of
        `multiple`, where its poolings begin as well.

        Args:
            height: of the output in pixels, a side that the network gives.
            width: likewise.
            side: wanted side of a tile in pixels; the next one that the network gives is taken.

        Returns:
            (rows, columns) of each tile.
        """
        side = max(self.output_side(side), self.offset + self.multiple)
        ranges = []
        for length in (height, width):
            extent = min(length, side)
            step = side // self.multiple * self.multiple
            starts = {min(start, length - extent) for start in range(0, length, step)}
            ranges.append([slice(start, start + extent) for start in sorted(starts)])
        return [(rows, columns) for rows in ranges[0] for columns in ranges[1]]


def windows(length: int, side: int, context: int) -> list[tuple[slice, slice]]:
    """Divide an axis into parts, each within a window that has pixels around it as well.

    All windows have one length. Where that and `length` are multiples of what a network needs, so
    are their starts.

    Args:
        length: of the axis in pixels.
        side: of a part.
        context: pixels of a window on both sides of its part, where the axis has them.

    Returns:
        (part, window) pairs; the parts cover the axis and do not overlap.

    Example:
        >>> windows(5, 3, 1)
        [(slice(0, 3, None), slice(0, 5, None)), (slice(3, 5, None), slice(0, 5, None))]
    """
    extent = min(length, side + 2 * context)
    pairs = []
    for start in range(0, length, side):
        first = min(max(start - context, 0), length - extent)
        pairs.append((slice(start, min(start + side, length)), slice(first, first + extent)))
    return pairs
