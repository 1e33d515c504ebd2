"""3x3 convolutions with a quarter of the multiplications (Lavin and Gray 2015, "Fast Algorithms for
Convolutional Neural Networks"), where a CPU computes in float32.

A tile of 4x4 outputs depends on 6x6 inputs. In a certain basis the convolution of a tile is a
product number by number: 36 multiplications for each pair of channels instead of 144. The way into
that basis and back is linear and the same for every channel, so three matrix products hold it all:

    36 x 36      times  36 x (tiles * channels)         inputs into the basis
    36 products of  tiles x channels  times  channels x filters
    16 x 36      times  36 x (tiles * filters)          outputs back

On two cores the widest convolution of the network, the RPN's on P2, takes 0.28 s instead of 0.73.
The results differ from those of the direct sum by 1e-5 of the largest. cuDNN does this by itself,
and 16 bits are too few for the sums, so GPUs and bfloat16 keep the direct convolution.
"""

import contextlib
import contextvars

import keras
import numpy as np
from keras import layers, ops

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
# Both directions at once.
_INPUTS, _KERNEL, _OUTPUTS = (np.kron(m, m).astype(np.float32) for m in (_B, _G, _A))

# Narrower layers spend more on the change of basis than they save: channels * filters / (channels +
# filters), which is 64 for 128 and 128.
_LEAST_WIDTH = 64
# Tile rows that are computed at a time. In the basis a map takes 2.25 times its memory, inputs and
# outputs: for the RPN on P2 450 MB without such blocks.
_ROWS_AT_A_TIME = 16

_forced = contextvars.ContextVar("winograd", default=None)


@contextlib.contextmanager
def winograd(on):
    """What is traced inside uses Winograd's algorithm wherever it applies (`on`), or nowhere."""
    token = _forced.set(on)
    try:
        yield
    finally:
        _forced.reset(token)


class WinogradConv2D(layers.Conv2D):
    """`keras.layers.Conv2D` of 3x3 with "same" padding, by Winograd's algorithm where that is
    faster.

    Args:
        filters: channels of the output.
        max_blocks: into how many blocks of rows a large map is cut to save memory. Every block
            beyond the first makes the graph larger, also for small maps.
        **kwargs: as for `keras.layers.Conv2D`. With other strides than 1 it is one.

    Weights and their names are those of `keras.layers.Conv2D`.
    """

    def __init__(self, filters, max_blocks=1, **kwargs):
        kwargs.pop("kernel_size", None)
        kwargs.pop("padding", None)
        super().__init__(filters, 3, padding="same", **kwargs)
        self.max_blocks = max_blocks

    def convolution_op(self, inputs, kernel):
        if not self._is_faster(inputs, kernel):
            return super().convolution_op(inputs, kernel)
        return winograd_conv(inputs, kernel, self.max_blocks)

    def _is_faster(self, inputs, kernel):
        *_, channels, filters = kernel.shape
        if (
            keras.backend.standardize_dtype(inputs.dtype) != "float32"
            or self.strides != (1, 1)
            or self.dilation_rate != (1, 1)
            or self.groups != 1
            or self.data_format != "channels_last"
            or channels * filters < _LEAST_WIDTH * (channels + filters)
        ):
            return False
        forced = _forced.get()
        return _is_on_cpu(inputs) if forced is None else forced

    def get_config(self):
        return {**super().get_config(), "max_blocks": self.max_blocks}


def _is_on_cpu(tensor):
    """Whether the tensor's operations will run on a CPU."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return not tf.config.list_logical_devices("GPU")
    if backend == "jax":
        import jax

        return jax.default_backend() == "cpu"
    return tensor.device.type == "cpu"


def winograd_conv(inputs, kernel, max_blocks=1):
    """The convolution of maps with a 3x3 kernel, stride 1, "same" padding.

    Args:
        inputs: `[batch, height, width, channels]` float32.
        kernel: `[3, 3, channels, filters]` float32.
        max_blocks: see `WinogradConv2D`.

    Returns:
        `[batch, height, width, filters]` float32. Its gradients are computed in the same way.
    """

    @ops.custom_gradient
    def convolve(inputs, kernel):
        def gradient(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            # An output cell reaches the inputs around it through the kernel turned by half a turn.
            turned = ops.transpose(ops.flip(kernel, axis=0), (0, 2, 1))
            return (
                _convolve(upstream, turned, max_blocks),
                _kernel_gradient(inputs, upstream, max_blocks),
            )

        return _convolve(inputs, kernel, max_blocks), gradient

    # Reshaped, also because TensorFlow takes no variable here.
    return convolve(inputs, ops.reshape(kernel, (9, *kernel.shape[2:])))


def _convolve(inputs, kernel, max_blocks):
    batch_size, height, width, _ = ops.shape(inputs)
    kernel = _matmul(_KERNEL, kernel)
    inputs = _pad_to_tiles(inputs, border=1)
    blocks = []
    for first, rows, block_height in _blocks(height, max_blocks):
        tiles = _matmul(_INPUTS, _squares(inputs, 6, first, rows))
        tiles = _matmul(_OUTPUTS, ops.matmul(tiles, kernel))
        blocks.append(_assemble(tiles, (batch_size, block_height, width)))
    return ops.concatenate(blocks, axis=1) if len(blocks) > 1 else blocks[0]


def _kernel_gradient(inputs, upstream, max_blocks):
    height = ops.shape(inputs)[1]
    inputs, upstream = _pad_to_tiles(inputs, border=1), _pad_to_tiles(upstream, border=0)
    total = 0.0
    for first, rows, _ in _blocks(height, max_blocks):
        tiles = _matmul(_INPUTS, _squares(inputs, 6, first, rows))
        upstream_tiles = _matmul(_OUTPUTS.T, _squares(upstream, 4, first, rows))
        total += ops.matmul(ops.transpose(tiles, (0, 2, 1)), upstream_tiles)
    return _matmul(_KERNEL.T, total)


def _blocks(height, max_blocks):
    """Blocks of tile rows: the first, how many, and how many rows of the map they hold. Where the
    height is known only at run time, the later ones can be empty.
    """
    rows = -(-height // 4)
    if max_blocks == 1:
        return [(0, rows, height)]
    is_known = isinstance(rows, int)
    smaller, larger = (min, max) if is_known else (ops.minimum, ops.maximum)
    step = larger(-(-rows // max_blocks), _ROWS_AT_A_TIME)
    starts = [0, *(smaller(i * step, rows) for i in range(1, max_blocks + 1))]
    return [
        (first, last - first, smaller(4 * last, height) - smaller(4 * first, height))
        for first, last in zip(starts, starts[1:])
        if not is_known or first < last
    ]


def _pad_to_tiles(maps, border):
    """Zeros around, `border` wide, and after the last row and column until all tiles are whole."""
    _, height, width, _ = ops.shape(maps)
    return ops.pad(
        maps, [[0, 0], [border, border + -height % 4], [border, border + -width % 4], [0, 0]]
    )


def _squares(maps, side, first, rows):
    """Every tile of some tile rows with its surroundings: `[side * side, tiles, channels]`."""
    batch_size, height, width, channels = ops.shape(maps)
    columns = (width - side) // 4 + 1
    y, x, image, row, column = _open_grid(side, side, batch_size, rows, columns)
    index = (image * height + 4 * (first + row) + y) * width + 4 * column + x
    squares = ops.take(ops.reshape(maps, (-1, channels)), index, axis=0)
    return ops.reshape(squares, (side * side, -1, channels))


def _assemble(tiles, shape):
    """Maps `shape`, `(batch, height, width)`, from their tiles `[16, tiles, filters]`."""
    batch_size, height, width = shape
    rows, columns = -(-height // 4), -(-width // 4)
    image, y, x = _open_grid(*shape)
    tile = (image * rows + y // 4) * columns + x // 4
    index = (y % 4 * 4 + x % 4) * (batch_size * rows * columns) + tile
    return ops.take(ops.reshape(tiles, (-1, tiles.shape[-1])), index, axis=0)


def _open_grid(*sizes):
    """As `numpy.ogrid`: for each axis its numbers, along that axis."""
    ones = [1] * len(sizes)
    return [
        ops.reshape(ops.arange(size, dtype="int32"), (*ones[:i], -1, *ones[i + 1 :]))
        for i, size in enumerate(sizes)
    ]


def _matmul(matrix, x):
    """`matrix [n, m]` times `x [m, ...]`."""
    product = ops.matmul(ops.convert_to_tensor(matrix), ops.reshape(x, (len(matrix[0]), -1)))
    return ops.reshape(product, (len(matrix), *ops.shape(x)[1:]))
