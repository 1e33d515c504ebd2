"""`ParallelModel` around an ordinary model, and around the training graph."""

import keras
import numpy as np
import pytest

from mrcnn.config_rules import LOSS_NAMES
from mrcnn.parallel_model import ParallelModel

pytestmark = pytest.mark.filterwarnings("ignore:GPU_COUNT")  # here is one device


def small_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,), name="x")
    hidden = keras.layers.Dense(4, activation="relu", name="hidden")(inputs)
    return keras.Model(inputs, keras.layers.Dense(1, name="out")(hidden))


@pytest.mark.parametrize("gpu_count", [1, 4])
def test_trains_the_weights_of_the_inner_model(gpu_count):
    # As scripts use it: wrap, compile, fit, with a batch that no number of devices divides.
    x = np.random.default_rng(0).normal(size=(7, 3)).astype("float32")
    y = x.sum(axis=1, keepdims=True)
    alone, inner = small_model(), small_model()
    model = ParallelModel(inner, gpu_count)
    assert (model.gpu_count, model.inner_model) == (gpu_count, inner)
    histories = []
    for one in (alone, model):
        one.compile(keras.optimizers.SGD(0.1), loss="mse")
        histories.append(one.fit(x, y, batch_size=7, epochs=3, shuffle=False, verbose=0).history)
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-6)
    assert histories[1]["loss"][2] < histories[1]["loss"][0]
    for expected, found in zip(alone.get_weights(), inner.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert len(model.weights) == len(inner.weights)
    assert [layer.name for layer in model.layers] == [layer.name for layer in inner.layers]


def test_weight_files_load_with_and_without_it(tmp_path):
    source = small_model()
    source.set_weights([np.full_like(w, i + 1) for i, w in enumerate(source.get_weights())])
    path = str(tmp_path / "a.h5")
    ParallelModel(source, 2).save_weights(path)
    target = small_model()
    ParallelModel(target, 3).load_weights(path, by_name=True)
    assert [w.flat[0] for w in target.get_weights()] == [1, 2, 3, 4]
    from mrcnn import checkpoints

    alone = small_model()
    checkpoints.load_weights(alone, path, by_name=True)
    assert [w.flat[0] for w in alone.get_weights()] == [1, 2, 3, 4]


def test_save_and_load(tmp_path):
    model = ParallelModel(small_model(), 2)
    model.compile(keras.optimizers.SGD(0.1), loss="mse")
    x, y = np.ones((2, 3), np.float32), np.ones((2, 1), np.float32)
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    found = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(found, ParallelModel) and found.gpu_count == 2
    assert found.compiled and found.loss == "mse"
    for a, b in zip(found.inner_model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("gpu_count", [0, -1, 1.5, True, None])
def test_gpu_count(gpu_count):
    with pytest.raises(ValueError, match="gpu_count is"):
        ParallelModel(small_model(), gpu_count)


def test_the_training_graph_keeps_its_losses():
    from mrcnn.training.training_model import TrainingModel

    inputs = keras.Input((2,), name="x")
    scaled = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="d")(inputs)
    losses = [
        keras.layers.Identity(name=name)(keras.ops.mean(scaled) * (k + 1))
        for k, name in enumerate(LOSS_NAMES)
    ]
    model = ParallelModel(TrainingModel(inputs, [scaled, *losses]), 2)
    model.configure({LOSS_NAMES[0]: 10.0}, 0.5)
    model.compile(keras.optimizers.SGD(0.0))
    x = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    logs = model.fit(x, batch_size=2, verbose=0).history
    # The mean of 3 and 7, times 1 .. 5, the first ten times over, and half the mean square of 1.
    assert logs["loss"] == [5 * (10 + 2 + 3 + 4 + 5) + 0.5]
    assert [logs[name][0] for name in LOSS_NAMES] == [5, 10, 15, 20, 25]
