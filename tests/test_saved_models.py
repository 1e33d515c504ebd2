"""Whole models through Keras's own files, copies and JSON, and trained by a user's own hand."""

import json
import os
import warnings

import keras
import numpy as np
import pytest

from mrcnn import graphs
from mrcnn.config_rules import LOSS_NAMES
from mrcnn.layers.normalization import BatchNorm
from mrcnn.loading.generator import data_generator
from mrcnn.training.training_model import TrainingModel, build_training_model
from tests.tiny import Squares, randomize, tiny_config

SETTINGS = {
    # Every optional branch of the graphs is taken by one of these.
    "plain": {},
    "own": {
        "RPN_ANCHOR_SCALES": (8, 16, 32, 64),
        "TRAIN_BN": None,
        "USE_RPN_ROIS": False,
        "USE_MINI_MASK": False,
        "DETECTION_MIN_CONFIDENCE": None,
        "BBOX_STD_DEV": [0.2, 0.1, 0.3, 0.1],
        "LOSS_WEIGHTS": {"mrcnn_mask_loss": 2},
    },
    "frozen_bn": {"TRAIN_BN": False},
    "bfloat16": {"PRECISION": "bfloat16"},
    "one_channel": {"IMAGE_CHANNEL_COUNT": 1, "MEAN_PIXEL": np.array([100.0])},
    "squeezenet": {"BACKBONE": "squeezenet"},
    "resnet50": {"BACKBONE": "resnet50"},
    "resnet101": {"BACKBONE": "resnet101"},
}
MARKS = {"resnet50": [pytest.mark.slow], "resnet101": [pytest.mark.long]}
CASES = [
    pytest.param(name, mode, marks=MARKS.get(name, []))
    for name in SETTINGS
    for mode in ("inference", "training")
]


def build(mode, settings):
    shared = graphs.SharedLayers(tiny_config(**settings))
    model = graphs.inference_graph(shared) if mode == "inference" else build_training_model(shared)
    if not str(settings.get("BACKBONE")).startswith("resnet"):  # too deep: values would overflow
        randomize(model)
    return model


def batch(model, seed=0):
    """Inputs of the shapes and kinds that the model takes."""
    random = np.random.RandomState(seed)
    arrays = []
    for tensor in model.inputs:
        shape = [2] + [64 if size is None else size for size in tensor.shape[1:]]
        name = tensor.name
        if name == "input_image":
            array = random.normal(0, 60, shape)
        elif name == "input_image_meta":
            array = np.tile([0, 64, 64, 3, 64, 64, 3, 0, 0, 64, 64, 1, 1, 1, 1], (2, 1))
        elif name == "input_gt_class_ids":
            array = np.array([[1, 2, 0, 0]] * 2)
        elif name == "input_gt_boxes":
            array = np.array([[[4, 4, 40, 40], [20, 20, 60, 64], [0] * 4, [0] * 4]] * 2)
        elif name == "input_gt_masks":
            array = np.ones(shape)
        elif name == "input_rpn_match":
            array = random.randint(-1, 2, (2, num_anchors(model), 1))
        elif name == "input_anchors":
            array = anchors_for(model, shape[0])
        else:
            array = random.uniform(0, 1, shape)
        arrays.append(array.astype(tensor.dtype))
    return arrays


def num_anchors(model):
    if any(layer.name == "anchors" for layer in model.layers):
        return model.get_layer("anchors").anchors.shape[0]
    return 3 * (256 + 64 + 16 + 4)


def anchors_for(model, batch_size):
    levels = len(model.get_layer("rpn_class").input)
    config = tiny_config(RPN_ANCHOR_SCALES=(8, 16, 24, 32, 64)[:levels])
    _, anchors = graphs.normalized_anchors(config, (64, 64, 3))
    return np.tile(anchors, (batch_size, 1, 1))


def outputs(model):
    inputs = [keras.ops.convert_to_tensor(x) for x in batch(model)]
    return [keras.ops.convert_to_numpy(x) for x in model(inputs, training=False)]


def assert_equal_models(found, model):
    """Equal outputs, except for the random choice of ROIs in training."""
    assert type(found) is type(model)
    assert found.file_layer_names == model.file_layer_names
    assert [layer.name for layer in found.layers] == [layer.name for layer in model.layers]
    modes = [[n._train_bn for n in m.layers if isinstance(n, BatchNorm)] for m in (found, model)]
    assert modes[0] == modes[1]
    deterministic = 7 if len(model.outputs) == 7 else 3
    for a, b in zip(outputs(found)[:deterministic], outputs(model)[:deterministic], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    if deterministic == 3:
        assert (found.loss_weights, found.weight_decay_rate) == (
            model.loss_weights,
            model.weight_decay_rate,
        )
        # The RPN's losses and the number of proposals do not depend on the choice.
        for i in (7, 9, 10):
            np.testing.assert_allclose(outputs(found)[i], outputs(model)[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings, mode", CASES)
def test_save_and_load(settings, mode, tmp_path):
    model = build(mode, SETTINGS[settings])
    model.save(tmp_path / "model.keras")
    assert os.listdir(tmp_path) == ["model.keras"]
    keras.backend.clear_session()
    found = keras.saving.load_model(tmp_path / "model.keras")
    assert_equal_models(found, model)


def loses_axes(path):
    """Whether this Keras forgets the axis of every layer when it loads an `.h5` model, as 3.8."""
    inputs = keras.Input((2, 3))
    keras.Model(inputs, keras.layers.Concatenate(axis=1)([inputs, inputs])).save(path)
    return keras.saving.load_model(path).layers[-1].axis != 1


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_save_and_load_in_keras_2s_format(mode, tmp_path):
    if loses_axes(tmp_path / "axis.h5"):
        pytest.skip(f"Keras {keras.version()} loses the axes of layers in .h5 files")
    model = build(mode, {})
    model.save(tmp_path / "model.h5")
    assert_equal_models(keras.saving.load_model(tmp_path / "model.h5"), model)


@pytest.fixture(scope="module", params=["inference", "training"])
def model(request):
    return build(request.param, SETTINGS["plain"])


def test_clone(model):
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    if isinstance(model, TrainingModel):  # Keras does not copy arguments of the model's own
        with pytest.raises(ValueError, match="weight_decay_rate is None; it must be set"):
            clone.compile("sgd")
        clone.configure(model.loss_weights, model.weight_decay_rate)
    assert_equal_models(clone, model)


def test_the_losses_belong_to_what_a_clone_is_compiled_with(training):
    _, model = training
    model.compile(keras.optimizers.SGD(0.25))
    clone = keras.models.clone_model(model)
    clone.compile_from_config(
        model.get_compile_config()
    )  # later versions of Keras do so themselves
    assert clone.compiled and float(clone.optimizer.learning_rate) == 0.25
    assert (clone.loss_weights, clone.weight_decay_rate) == ({"rpn_class_loss": 3.0}, 0.5)


def test_json(model):
    text = model.to_json()
    json.loads(text)
    found = keras.models.model_from_json(text)
    found.set_weights(model.get_weights())
    assert_equal_models(found, model)


def test_no_layer_holds_a_function(model):
    assert not [layer.name for layer in model.layers if isinstance(layer, keras.layers.Lambda)]
    assert "__lambda__" not in model.to_json()


def test_the_order_of_layers_in_weight_files_is_saved(tmp_path):
    model = build("inference", {})
    model.file_layer_names = ["mrcnn_class_logits", "rpn_model"]
    model.save(tmp_path / "model.keras")
    found = keras.saving.load_model(tmp_path / "model.keras")
    assert found.file_layer_names == ["mrcnn_class_logits", "rpn_model"]


@keras.saving.register_keras_serializable(package="tests")
class Unsaveable(keras.layers.Layer):
    """A layer of a user's backbone that cannot be saved."""

    def call(self, x):
        return x

    def get_config(self):
        raise NotImplementedError("no get_config")


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_failed_save_leaves_what_was_there(name, tmp_path):
    image = keras.Input((8,))
    model = graphs.NamedWeightsModel(image, Unsaveable()(image))
    path = tmp_path / name
    for expected in ([], [name]):
        with pytest.raises(NotImplementedError, match="no get_config"):
            model.save(path)
        assert os.listdir(tmp_path) == expected
        path.write_bytes(b"earlier")
    assert path.read_bytes() == b"earlier"


def test_a_name_that_keras_refuses_leaves_nothing(tmp_path, model):
    with pytest.raises(ValueError, match=r"model\.pb"):
        model.save(tmp_path / "model.pb")
    assert os.listdir(tmp_path) == []


# ---- compile and fit by hand -------------------------------------------------------------------


@pytest.fixture
def training():
    config = tiny_config(LOSS_WEIGHTS={"rpn_class_loss": 3.0}, WEIGHT_DECAY=0.5)
    return config, build_training_model(graphs.SharedLayers(config))


def decay(model):
    return 0.5 * sum(
        float(np.mean(np.square(keras.ops.convert_to_numpy(w))))
        for w in model.trainable_variables
        if w.name not in ("gamma", "beta")
    )


@pytest.mark.parametrize("loss", [{}, {"loss": None}, {"loss": [None] * 14}])
def test_compiled_by_hand_it_has_the_losses_of_its_config(training, loss):
    _, model = training
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True, **loss)
    expected = decay(model)
    logs = model.train_on_batch(batch(model), return_dict=True)
    parts = [logs[name] for name in LOSS_NAMES]
    assert logs["loss"] == pytest.approx(sum(parts) + 2 * parts[0] + expected, rel=1e-5)


@pytest.mark.parametrize("loss", ["mse", ["mse"] * 14, {"rpn_class_loss": "mse"}])
def test_a_loss_that_would_be_ignored_is_an_error(training, loss):
    with pytest.raises(ValueError, match=r"loss is .*; it must be None: the graph computes"):
        training[1].compile("sgd", loss=loss)


@pytest.mark.parametrize("eagerly", [True, False])
def test_fit_by_hand_with_matterports_generator(training, eagerly):
    config, model = training
    model.compile(keras.optimizers.SGD(1e-4, momentum=0.9), run_eagerly=eagerly)
    batches = [data_generator(Squares(), config, batch_size=2) for _ in range(3)]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The structure of")
        history = model.fit(
            batches[0], steps_per_epoch=2, epochs=2, verbose=0,
            validation_data=batches[1], validation_steps=1,
        ).history  # fmt: skip
        losses = model.evaluate(batches[2], steps=1, verbose=0, return_dict=True)
    assert set(losses) == {"loss", *LOSS_NAMES}
    assert set(history) == {f"{val}{name}" for name in losses for val in ("", "val_")}
    assert np.isfinite(list(history.values())).all()
    assert history["rpn_class_loss"][0] > 0 and losses["rpn_class_loss"] > 0


@pytest.mark.parametrize(
    "arguments, expected",
    [({}, False), ({"shuffle": True}, True), ({"workers": 4, "max_queue_size": 9}, False)],
)
def test_fit_keeps_the_order_of_batches(training, monkeypatch, arguments, expected):
    seen = []
    monkeypatch.setattr(keras.Model, "fit", lambda self, x, **kwargs: seen.append(kwargs))
    training[1].fit([], use_multiprocessing=True, **arguments)
    assert seen == [{"shuffle": expected}]


def test_a_training_goes_on_from_a_saved_model(training, tmp_path):
    _, model = training
    model.compile(keras.optimizers.SGD(1e-4, momentum=0.9), run_eagerly=True)
    model.train_on_batch(batch(model))
    model.save(tmp_path / "model.keras")
    found = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(found, TrainingModel) and found.compiled
    assert float(found.optimizer.momentum) == 0.9
    states = [m.optimizer.variables for m in (found, model)]
    assert len(states[0]) == len(states[1]) > 10
    for a, b in zip(*states):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (a, b)))
    found.train_on_batch(batch(found))


def test_predict_by_hand():
    model = build("inference", {})
    expected = outputs(model)
    for a, b in zip(model.predict(batch(model), verbose=0), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
