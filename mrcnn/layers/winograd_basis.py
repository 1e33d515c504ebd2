"""The changes of basis of Winograd's algorithm, see `mrcnn.layers.winograd`; NumPy only."""

from __future__ import annotations

import numpy as np

# F(4x4, 3x3) with the interpolation points 0, 1, -1, 2, -2 and infinity: outputs = A (G k * B x).
_B = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_G = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_A = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
# Both directions together.
INPUT_BASIS, KERNEL_BASIS, OUTPUT_BASIS = (
    np.kron(np.array(m), np.array(m)).astype(np.float32) for m in (_B, _G, _A)
)
