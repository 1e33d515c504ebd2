"""Every change of the weights is seen, and nothing else."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("OpenVINO reads Keras on TensorFlow", allow_module_level=True)

from mrcnn.engines.weights_watch import WeightsWatch


@pytest.fixture
def variables():
    return [keras.Variable(np.arange(6.0).reshape(2, 3)), keras.Variable([1.0, 2.0])]


@pytest.fixture
def watch(variables):
    watch = WeightsWatch(variables)
    assert watch.changed()
    assert not watch.changed()
    return watch


def set_one(variables):
    values = np.array(variables[0].numpy())
    values[1, 2] = 5.0000005
    variables[0].assign(values)


def step(variables):
    keras.optimizers.SGD(0.1).apply([keras.ops.ones(v.shape) for v in variables], variables)


@pytest.mark.parametrize(
    "change",
    [
        set_one,
        step,
        lambda variables: variables[1].assign([2.0, 1.0]),
        lambda variables: variables[1].assign_add([0.0, 1.0]),
    ],
    ids=["a bit", "a training step", "an exchange", "in place"],
)
def test_a_change_is_seen_once(variables, watch, change):
    change(variables)
    assert watch.changed()
    assert not watch.changed()


def test_the_same_values_again_are_no_change(variables, watch):
    variables[0].assign(np.array(variables[0].numpy()))
    assert not watch.changed()


def test_values_are_the_variables(variables, watch):
    for array, variable in zip(watch.arrays(), variables, strict=True):
        np.testing.assert_array_equal(array, variable.numpy())
