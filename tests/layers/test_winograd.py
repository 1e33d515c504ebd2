"""Winograd's algorithm against the direct convolution."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from mrcnn.layers import winograd
from mrcnn.layers.winograd import WinogradConv2D, winograd_conv
from tests.layers.arrays import numpy, tensor

SHAPES = {
    "one tile": (1, 4, 4, 3, 2),
    "a cell": (1, 1, 1, 3, 2),
    "odd sides, two images": (2, 7, 10, 3, 5),
    "tall": (1, 150, 6, 2, 3),
}


def numbers(shape):
    """A map and a kernel of small whole numbers."""
    *map_shape, filters = shape
    rng = np.random.default_rng(0)
    inputs = rng.integers(-4, 5, map_shape).astype(np.float32)
    return inputs, rng.integers(-4, 5, (3, 3, map_shape[-1], filters)).astype(np.float32)


def slow_conv(inputs, kernel):
    """The sum, written out."""
    _, height, width, _ = inputs.shape
    padded = np.pad(inputs, [[0, 0], [1, 1], [1, 1], [0, 0]]).astype(np.float64)
    return sum(
        padded[:, y : y + height, x : x + width] @ kernel[y, x] for y in range(3) for x in range(3)
    )


def gradients(function, *arrays):
    """Of the sum of `function`'s output with respect to each array, on any backend."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        values = [tf.constant(x) for x in arrays]
        with tf.GradientTape() as tape:
            tape.watch(values)
            total = tf.reduce_sum(function(*values))
        return [x.numpy() for x in tape.gradient(total, values)]
    if backend == "jax":
        import jax

        by_all = jax.grad(lambda *x: function(*x).sum(), argnums=tuple(range(len(arrays))))
        return [np.asarray(x) for x in by_all(*arrays)]
    import torch

    values = [torch.tensor(x, requires_grad=True) for x in arrays]
    function(*values).sum().backward()
    return [x.grad.numpy() for x in values]


@pytest.mark.parametrize("max_blocks", [1, 3])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_it_is_the_convolution(shape, max_blocks):
    inputs, kernel = numbers(shape)
    outputs = numpy(winograd_conv(tensor(inputs), tensor(kernel), max_blocks))
    np.testing.assert_allclose(outputs, slow_conv(inputs, kernel), atol=2e-3)


@pytest.mark.parametrize("max_blocks", [1, 3])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_gradients_are_those_of_the_convolution(shape, max_blocks):
    inputs, kernel = numbers(shape)
    weights = np.random.default_rng(1).integers(-4, 5, (*inputs.shape[:3], shape[-1]))
    weights = tensor(weights)
    got = gradients(lambda x, k: weights * winograd_conv(x, k, max_blocks), inputs, kernel)
    wanted = gradients(lambda x, k: weights * ops.conv(x, k, padding="same"), inputs, kernel)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=5e-3, rtol=1e-4)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only there sizes are unknown")
@pytest.mark.parametrize("max_blocks", [1, 3])
def test_one_trace_serves_all_sizes(max_blocks):
    import tensorflow as tf

    _, kernel = numbers((1, 1, 1, 3, 2))
    signature = [tf.TensorSpec([None, None, None, 3])]
    trace = tf.function(
        lambda x: winograd_conv(x, tf.constant(kernel), max_blocks), input_signature=signature
    )
    for shape in SHAPES.values():
        inputs = numbers((*shape[:3], 3, 2))[0]
        np.testing.assert_allclose(trace(inputs), slow_conv(inputs, kernel), atol=2e-3)
    assert trace.experimental_get_tracing_count() == 1


def twins(**kwargs):
    """A `WinogradConv2D` and a `Conv2D` with the same weights."""
    ours = WinogradConv2D(128, name="conv", **kwargs)
    theirs = layers.Conv2D(128, 3, padding="same", name="conv", **kwargs)
    for layer in (ours, theirs):
        layer.build((None, None, None, 128))
    rng = np.random.default_rng(0)
    theirs.set_weights([rng.normal(size=w.shape) for w in theirs.get_weights()])
    ours.set_weights(theirs.get_weights())
    return ours, theirs


def test_layer_has_the_weights_bias_and_activation_of_conv2d():
    ours, theirs = twins(activation="relu")
    assert [w.path for w in ours.weights] == [w.path for w in theirs.weights]
    x = np.random.default_rng(2).normal(size=(1, 9, 6, 128)).astype(np.float32)
    with winograd.winograd(True):
        got = numpy(ours(x))
    wanted = numpy(theirs(x))
    assert (got == 0).any() and not np.array_equal(got, wanted)  # it did take the other way
    np.testing.assert_allclose(got, wanted, atol=1e-4 * wanted.max())
    with winograd.winograd(False):
        np.testing.assert_allclose(numpy(ours(x)), wanted, atol=1e-6 * wanted.max())


@pytest.mark.parametrize(
    ("filters", "channels", "options"),
    [(127, 128, {}), (64, 64, {}), (128, 128, {"strides": 2}), (128, 128, {"dtype": "bfloat16"})],
    ids=["narrow", "narrower", "strides", "bfloat16"],
)
def test_where_it_does_not_apply_the_layer_is_a_conv2d(filters, channels, options, monkeypatch):
    monkeypatch.setattr(winograd, "winograd_conv", lambda *_: pytest.fail("taken"))
    layer = WinogradConv2D(filters, **options)
    with winograd.winograd(True):
        assert layer(np.zeros((1, 8, 8, channels), np.float32)).shape[-1] == filters


def test_config_makes_the_same_layer():
    layer = WinogradConv2D(256, max_blocks=4, activation="relu", name="a")
    again = WinogradConv2D.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again.max_blocks == 4
