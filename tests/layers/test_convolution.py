"""`Conv2D` against Keras's own."""

import keras
import numpy as np
import pytest
from keras import layers

from mrcnn.layers.convolution import Conv2D
from tests.layers.arrays import numpy


@pytest.mark.parametrize(
    "size, options",
    [
        (1, {}),
        (3, {"padding": "same"}),
        ((3, 1), {"padding": "same", "dilation_rate": 2}),
        (2, {"padding": "same"}),
        (3, {"padding": "same", "strides": 2}),
        (3, {"strides": 2, "activation": "relu"}),
        (3, {"padding": "same", "groups": 2}),
    ],
)
def test_the_results_are_those_of_keras(size, options):
    pair = [cls(4, size, name="conv", **options) for cls in (Conv2D, layers.Conv2D)]
    random = np.random.RandomState(0)
    maps = random.rand(2, 9, 7, 6).astype(np.float32)
    ours, theirs = (layer(maps) for layer in pair)
    assert ours.shape == theirs.shape
    values = [random.rand(*v.shape).astype(np.float32) for v in pair[0].weights]
    for layer in pair:
        layer.set_weights(values)
    ours, theirs = (numpy(layer(maps)) for layer in pair)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert [v.path for v in pair[0].weights] == [v.path for v in pair[1].weights]


def test_models_with_it_can_be_saved(tmp_path):
    maps = keras.Input((None, None, 3))
    model = keras.Model(maps, Conv2D(2, 3, padding="same")(maps))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again.layers[1]) is Conv2D
