"""BatchNorm: its three modes and Keras 2's running statistics."""

import keras
import numpy as np
import pytest

from mrcnn.layers.normalization import BatchNorm, normalize_by_batch, normalize_fused
from tests.layers.arrays import numpy, tensor

BATCHES = [np.array([[1.0, 10.0], [3.0, 30.0], [8.0, 20.0]]), np.array([[0.0, 1.0]] * 2 + [[6, 4]])]


def in_model(train_bn, **settings):
    """A model of one layer that was called with `training=train_bn`."""
    inputs = keras.Input((2,))
    layer = BatchNorm(name="bn", **settings)
    return keras.Model(inputs, layer(inputs, training=train_bn)), layer


@pytest.mark.parametrize(
    "train_bn, model_mode, uses_batch",
    [
        (False, True, False),
        (False, False, False),
        (None, True, True),
        (None, False, False),
        (True, True, True),
        (True, False, True),
    ],
)
def test_modes(train_bn, model_mode, uses_batch):
    model, layer = in_model(train_bn)
    batch = BATCHES[0]
    layer.set_weights([np.array(v, np.float32) for v in ([2, 2], [5, 5], [1, 10], [4, 25])])
    found = numpy(model(tensor(batch), training=model_mode))
    mean, variance = (batch.mean(0), batch.var(0)) if uses_batch else ([1, 10], np.array([4, 25]))
    expected = (batch - mean) / np.sqrt(variance + 1e-3) * 2 + 5
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    changed = not np.allclose(numpy(layer.moving_mean), [1, 10])
    assert changed == uses_batch


def corrected(batch):
    """A batch's variance with Keras 2's two corrections for its size."""
    n = len(batch)
    return batch.var(0) * n / (n - 1) * n / (n - 1 - 1e-3)


def test_running_statistics_over_three_steps():
    model, layer = in_model(None)
    np.testing.assert_array_equal(numpy(layer.moving_variance), [1, 1])
    means, variances = [], []
    for step in range(3):
        batch = BATCHES[step % 2] + step
        means.append(batch.mean(0))
        variances.append(corrected(batch))
        model(tensor(batch), training=True)
        # Averages weighted by 0.99 a step: the initial 0 and 1 do not take part.
        weights = 0.99 ** np.arange(step, -1, -1)
        for variable, values in ((layer.moving_mean, means), (layer.moving_variance, variances)):
            expected = np.average(values, axis=0, weights=weights)
            np.testing.assert_allclose(numpy(variable), expected, rtol=1e-4)
    assert float(numpy(layer.num_updates)) == 3


def test_frozen_layer_keeps_its_statistics():
    model, layer = in_model(None)
    layer.trainable = False
    model(tensor(BATCHES[0]), training=True)
    np.testing.assert_array_equal(numpy(layer.moving_mean), [0, 0])


def test_weights_are_the_four_of_a_file():
    model, layer = in_model(None)
    names = ["gamma", "beta", "moving_mean", "moving_variance"]
    assert [w.name for w in layer.weights] == names
    assert len(layer.get_weights()) == 4
    assert [w.name for w in model.weights] == names
    assert [w.name for w in layer.trainable_weights] == names[:2]
    # The count of updates is a variable all the same, or no backend would keep it.
    assert [v.name for v in model.variables if v.name not in names] == ["num_updates"]


def test_half_precision_counts_and_averages_in_float32():
    model, layer = in_model(None, dtype="mixed_bfloat16")
    layer.num_updates.assign(1000.0)  # bfloat16 cannot add 1 to it
    layer.moving_mean.assign(np.array([1.0, 1.0], np.float32))
    model(tensor(BATCHES[0]), training=True)
    assert float(numpy(layer.num_updates)) == 1001
    rate = 0.01 / (1 - 0.99**1001)
    np.testing.assert_allclose(
        numpy(layer.moving_mean), 1 + (BATCHES[0].mean(0) - 1) * rate, rtol=1e-5
    )


def test_one_value_a_channel_gives_finite_statistics():
    model, layer = in_model(True)
    assert np.isfinite(numpy(model(tensor([[3.0, 4.0]])))).all()
    assert np.isfinite(numpy(layer.moving_variance)).all()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's operation")
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 1, 2), (3, 1, 1, 2)])
def test_fused_equals_by_hand(shape):
    import tensorflow as tf

    random = np.random.default_rng(0)
    values = tf.constant(random.normal(3, 2, shape), tf.float32)
    gamma, beta = (tf.constant(random.normal(size=shape[-1]), tf.float32) for _ in range(2))
    weight = tf.constant(random.normal(size=shape), tf.float32)
    results = []
    for normalize in (normalize_by_batch, normalize_fused):
        with tf.GradientTape() as tape:
            tape.watch([values, gamma, beta])
            outputs, mean, variance = normalize(values, gamma, beta, 1e-3)
            loss = tf.reduce_sum(outputs * weight)
        results.append([outputs, mean, variance, *tape.gradient(loss, [values, gamma, beta])])
    for by_hand, fused in zip(*results, strict=True):
        np.testing.assert_allclose(fused, by_hand, rtol=1e-4, atol=1e-5)
