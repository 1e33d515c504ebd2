"""The total loss: weight decay, weights of the parts, logs."""

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.config_rules import LOSS_NAMES
from mrcnn.training.training_model import TrainingModel, weight_decay


def variable(values, name):
    return keras.Variable(np.array(values, np.float32), name=name)


def test_weight_decay_is_the_mean_square_of_each_weight():
    variables = [variable([[1, 2], [3, 4]], "kernel"), variable([2], "bias")]
    assert float(weight_decay(variables, 0.1)) == pytest.approx(0.1 * (30 / 4 + 4))


def test_weight_decay_leaves_batch_normalisation_out():
    variables = [variable([3], "gamma"), variable([3], "beta"), variable([3], "kernel")]
    assert float(weight_decay(variables, 1.0)) == pytest.approx(9)
    assert float(weight_decay(variables[:2], 1.0)) == 0
    assert float(weight_decay([], 1.0)) == 0


def model_of_five_losses():
    """Its losses are the scale `w` (at first 1) times 1, 2, 3, 4 and 5 times the mean input."""
    inputs = keras.Input((2,))
    scaled = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="scale")(inputs)
    losses = [
        keras.layers.Lambda(lambda x, k=k: ops.mean(x) * k, output_shape=(), name=name)(scaled)
        for k, name in enumerate(LOSS_NAMES, start=1)
    ]
    return TrainingModel(inputs, [scaled, *losses])


@pytest.mark.parametrize(
    "weights, total",
    [({}, 15), ({"mrcnn_mask_loss": 0.0}, 10), ({name: 2.0 for name in LOSS_NAMES}, 30)],
)
def test_total_and_parts(weights, total):
    model = model_of_five_losses()
    model.configure(weights, 0.5)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    logs = model.train_on_batch(np.full((3, 2), 0.5, np.float32), return_dict=True)
    parts = {name: float(logs[name]) for name in LOSS_NAMES}
    assert parts == pytest.approx(dict(zip(LOSS_NAMES, (1, 2, 3, 4, 5), strict=True)))
    assert float(logs["loss"]) == pytest.approx(total + 0.5 * 1)  # the kernel is (1, 1)
    # A frozen layer does not decay, and a second configuration counts nothing twice.
    model.get_layer("scale").trainable = False
    model.configure(weights, 0.5)
    model.reset_metrics()  # Keras 3.8 averages over both batches
    logs = model.test_on_batch(np.full((3, 2), 0.5, np.float32), return_dict=True)
    assert float(logs["loss"]) == pytest.approx(total)
    assert [m.name for m in model.metrics] == ["loss", *LOSS_NAMES]


def test_the_compiled_step_takes_a_single_batch():
    model = model_of_five_losses()
    model.configure({}, 0.0)
    model.compile(keras.optimizers.SGD(0.0))
    logs = model.train_on_batch(np.full((3, 2), 0.5, np.float32), return_dict=True)
    assert float(logs["loss"]) == pytest.approx(15)
