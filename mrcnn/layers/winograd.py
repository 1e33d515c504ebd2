"""3x3 convolutions with a quarter of the multiplications, for float32 on CPUs.

The algorithm is Winograd's, after Lavin and Gray 2015, "Fast Algorithms for Convolutional Neural
Networks". A tile of 4x4 outputs depends on 6x6 inputs. In a certain basis the convolution of a tile
is an element-wise product: 36 multiplications for each pair of channels instead of 144. The changes
of basis are linear and the same for every channel, so three matrix products compute all of it:

    36 x 36      times  36 x (tiles * channels)         inputs into the basis
    36 products of  tiles x channels  times  channels x filters
    16 x 36      times  36 x (tiles * filters)          outputs back

On two cores with AVX-512 the widest convolution, the RPN's on P2, takes 0.28 s instead of 0.73, and
ResNet-101's network has half the operations (benchmarks/README.md). The results differ from those
of the direct sum by 1e-5 of the largest. cuDNN does this itself, and 16 bits are too few for the
sums, so GPUs and bfloat16 keep the direct convolution.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from mrcnn.layers.convolution import Conv2D
from mrcnn.layers.types import Tensor
from mrcnn.layers.winograd_basis import INPUT_BASIS, KERNEL_BASIS, OUTPUT_BASIS

# The least channels * filters / (channels + filters), which is 64 for 128 and 128: narrower layers
# spend more on the change of basis than they save.
_LEAST_WIDTH = 64
# Tile rows that are computed at a time. In the basis a map takes 2.25 times its memory, inputs and
# outputs: for the RPN on P2 450 MB without such blocks.
_ROWS_AT_A_TIME = 16

# Set by `winograd`: whether to use the algorithm (None: where it is faster), and the matrix that
# brings kernels into the basis.
_forced: contextvars.ContextVar[tuple[bool | None, Tensor]] = contextvars.ContextVar(
    "winograd", default=(None, KERNEL_BASIS)
)


@contextlib.contextmanager
def winograd(on: bool, kernel_basis: Tensor = KERNEL_BASIS) -> Iterator[None]:
    """Force the choice of the algorithm for everything traced inside the block.

    Args:
        on: whether Winograd's algorithm is used wherever it suits, or nowhere.
        kernel_basis: the value of `KERNEL_BASIS`, as a tensor that compilers do not know in
            advance. They would otherwise store the kernels in the basis, where these take four
            times the memory.
    """
    token = _forced.set((on, kernel_basis))
    try:
        yield
    finally:
        _forced.reset(token)


@keras.saving.register_keras_serializable(package="mrcnn")
class WinogradConv2D(Conv2D):
    """A 3x3 `keras.layers.Conv2D` with "same" padding, by Winograd's algorithm where it is faster.

    Args:
        filters: channels of the output.
        max_blocks: into how many blocks of rows a large map is cut to save memory. Every block
            beyond the first makes the graph larger, also for small maps.
        **kwargs: as for `keras.layers.Conv2D`, without `kernel_size` and `padding`.

    Weights and their names are those of `keras.layers.Conv2D`.
    """

    def __init__(self, filters: int, max_blocks: int = 1, **kwargs: Any) -> None:
        super().__init__(filters, 3, padding="same", **kwargs)
        self.max_blocks = max_blocks

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        on, _ = _forced.get()
        if self.suits_winograd and (_is_faster_here() if on is None else on):
            return winograd_conv(inputs, kernel, self.max_blocks)
        return super().convolution_op(inputs, kernel)

    @property
    def suits_winograd(self) -> bool:
        """True if the algorithm can compute this layer and is faster on a CPU.

        It needs float32, stride 1, channels last and enough channels. The layer must be built.
        """
        *_, channels, filters = self.kernel.shape
        return (
            self.compute_dtype == "float32"
            and self.strides == self.dilation_rate == (1, 1)
            and self.groups == 1
            and self.data_format == "channels_last"
            and channels * filters >= _LEAST_WIDTH * (channels + filters)
        )

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "max_blocks": self.max_blocks}
        del config["kernel_size"], config["padding"]
        return config


def _is_faster_here() -> bool:
    """Return whether the backend computes on a CPU, and slower by the direct sum.

    Torch's direct convolution takes 0.7 to 1.15 times as long as this (benchmarks/README.md).
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return not tf.config.list_logical_devices("GPU")
    if backend == "jax":
        import jax

        return jax.default_backend() == "cpu"
    return False


def winograd_conv(inputs: Tensor, kernel: Tensor, max_blocks: int = 1) -> Tensor:
    """Convolve maps with a 3x3 kernel, stride 1, "same" padding.

    Args:
        inputs: `[batch, height, width, channels]` float32.
        kernel: `[3, 3, channels, filters]` float32.
        max_blocks: see `WinogradConv2D`.

    Returns:
        `[batch, height, width, filters]` float32. The gradients use the same algorithm.
    """

    @ops.custom_gradient
    def convolve(inputs: Tensor, kernel: Tensor) -> tuple[Tensor, Any]:
        def gradient(*args: Tensor, upstream: Tensor | None = None) -> tuple[Tensor, Tensor]:
            if upstream is None:
                (upstream,) = args
            # The gradient of the inputs is the convolution with the kernel turned by 180 degrees.
            turned = ops.transpose(ops.flip(kernel, axis=0), (0, 2, 1))
            return (
                _convolve(upstream, turned, max_blocks),
                _kernel_gradient(inputs, upstream, max_blocks),
            )

        return _convolve(inputs, kernel, max_blocks), gradient

    # Reshaped also because TensorFlow accepts no variable here.
    return convolve(inputs, ops.reshape(kernel, (9, *kernel.shape[2:])))


def _convolve(inputs: Tensor, kernel: Tensor, max_blocks: int) -> Tensor:
    _, kernel_basis = _forced.get()
    kernel = _matmul(kernel_basis, kernel)
    tiling = _Tiling(inputs, max_blocks)
    return tiling.assemble(
        _matmul(OUTPUT_BASIS, ops.matmul(_matmul(INPUT_BASIS, squares), kernel))
        for squares in tiling.squares(inputs, border=1)
    )


def _kernel_gradient(inputs: Tensor, upstream: Tensor, max_blocks: int) -> Tensor:
    tiling = _Tiling(inputs, max_blocks)
    total: Tensor = 0.0
    for squares, tiles in zip(tiling.squares(inputs, border=1), tiling.squares(upstream, border=0)):
        squares = ops.transpose(_matmul(INPUT_BASIS, squares), (0, 2, 1))
        total += ops.matmul(squares, _matmul(OUTPUT_BASIS.T, tiles))
    return _matmul(KERNEL_BASIS.T, total)


def _matmul(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply `matrix [n, m]` by `x [m, ..., channels]`: `[n, k, channels]`."""
    rows, columns = matrix.shape
    product = ops.matmul(ops.convert_to_tensor(matrix), ops.reshape(x, (columns, -1)))
    return ops.reshape(product, (rows, -1, x.shape[-1]))


class _Tiling:
    """The division of maps `[batch, height, width, ...]` into 4x4 tiles, and of these into blocks.

    Sizes are numbers, or tensors where they are known only at run time.
    """

    def __init__(self, maps: Tensor, max_blocks: int) -> None:
        self._batch_size, self._height, self._width = ops.shape(maps)[:3]
        self._rows, self._columns = (self._height + 3) // 4, (self._width + 3) // 4
        self._blocks = self._cut(max_blocks)

    def _cut(self, max_blocks: int) -> list[tuple[Any, Any]]:
        """Return where each block begins and ends, in tile rows.

        Where sizes are not known, blocks can be empty.
        """
        rows = self._rows
        if max_blocks == 1:
            return [(0, rows)]
        smaller: Any = min if _is_known(rows) else ops.minimum
        larger: Any = max if _is_known(rows) else ops.maximum
        step = larger((rows + max_blocks - 1) // max_blocks, _ROWS_AT_A_TIME)
        ends = [0, *(smaller(i * step, rows) for i in range(1, max_blocks)), rows]
        blocks = itertools.pairwise(ends)
        return [(first, last) for first, last in blocks if not _is_known(rows) or first < last]

    def squares(self, maps: Tensor, border: int) -> Iterator[Tensor]:
        """Yield the tiles of each block, each with the `border` cells around it.

        Their shape is `[cells, batch, rows, columns, channels]`.
        """
        side, channels = 4 + 2 * border, maps.shape[-1]
        height, width = 4 * self._rows + 2 * border, 4 * self._columns + 2 * border
        below, right = height - self._height - border, width - self._width - border
        maps = ops.pad(maps, [[0, 0], [border, below], [border, right], [0, 0]])
        table = ops.reshape(maps, (-1, channels))
        y, x = np.divmod(np.arange(side * side, dtype=np.int32), side)
        index = _along(y * width + x, 0)
        index = index + _along(_multiples(height * width, self._batch_size), 1)
        index = index + (
            _along(_multiples(4 * width, self._rows), 2) + _along(_multiples(4, self._columns), 3)
        )
        for first, last in self._blocks:
            is_all = len(self._blocks) == 1
            yield _take_rows(table, index if is_all else index[:, :, first:last])

    def assemble(self, blocks: Iterable[Tensor]) -> Tensor:
        """Put the tiles of each block, `[16, tiles, channels]`, together to maps."""
        maps = []
        for tiles, (first, last) in zip(blocks, self._blocks):
            size, channels = (self._batch_size, last - first, self._columns), tiles.shape[-1]
            tiles = ops.transpose(ops.reshape(tiles, (4, 4, *size, channels)), (2, 3, 0, 4, 1, 5))
            maps.append(ops.reshape(tiles, (size[0], 4 * size[1], 4 * size[2], channels)))
        maps = ops.concatenate(maps, axis=1) if len(maps) > 1 else maps[0]
        if _is_known(self._height, self._width) and self._height % 4 == self._width % 4 == 0:
            return maps
        return maps[:, : self._height, : self._width]


def _is_known(*sizes: Any) -> bool:
    return all(isinstance(size, int) for size in sizes)


def _multiples(step: Any, count: Any) -> Tensor:
    """Return the `count` numbers `0, step, 2 * step, ...`, as an array where both are known."""
    if _is_known(step, count):
        return step * np.arange(count, dtype=np.int32)
    return step * ops.arange(count, dtype="int32")


def _along(numbers: Tensor, axis: int) -> Tensor:
    """Reshape a row of numbers to four axes, along this one."""
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    return (np if isinstance(numbers, np.ndarray) else ops).reshape(numbers, shape)


def _take_rows(table: Tensor, index: Tensor) -> Tensor:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Without the operations by which Keras supports negative indices.
        return tf.gather(table, index)
    return ops.take(table, index, axis=0)
