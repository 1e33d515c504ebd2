"""A model that starts from the cache: the same to the last bit, and only where nothing changed."""

import importlib.util
import json
import shutil

import keras
import numpy as np
import pytest

if importlib.util.find_spec("openvino") is None:
    pytest.skip("needs openvino: pip install openvino nncf", allow_module_level=True)
if keras.backend.backend() != "tensorflow":
    pytest.skip("OpenVINO reads Keras on TensorFlow", allow_module_level=True)

from mrcnn.detection.files import weights_digest
from mrcnn.engines import conversion, model_cache, stored_network
from mrcnn.engines.openvino_engine import OpenVINOEngine
from mrcnn.engines.stored_network import StoredEngine, StoredNetwork
from mrcnn.model import MaskRCNN
from tests.tiny import randomize, tiny_config


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        # The tiny backbone is a function, whose code may change: not cached otherwise.
        patch.setattr(conversion, "is_cacheable", lambda config: True)
        patch.setenv("MRCNN_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory, home):
    """A weight file whose converted network is in the cache."""
    path = tmp_path_factory.mktemp("weights") / "tiny.h5"
    model = MaskRCNN("inference", tiny_config(), str(path.parent), engine="openvino")
    randomize(model.keras_model)
    model.keras_model.save_weights(str(path))
    model._note_origin(path)
    assert not StoredNetwork(path, tiny_config(), "float32").find()
    assert isinstance(model.engine, OpenVINOEngine)
    assert StoredNetwork(path, tiny_config(), "float32").find()
    return path


def start(weights, config=None):
    """Return a model as `from_weights` starts it from the cache, or None."""
    model = MaskRCNN.__new__(MaskRCNN)
    config = config or tiny_config()
    model._prepare("inference", config, str(weights.parent), "openvino", None, None)
    return model if model._start_from_cache(weights) else None


def built(weights):
    """Return a model with a Keras model from the start."""
    model = MaskRCNN("inference", tiny_config(), str(weights.parent), engine="openvino")
    model.load_weights(weights)
    return model


def images():
    sizes = ((50, 60), (64, 64), (90, 40))
    return [
        np.random.RandomState(i).randint(0, 256, (*size, 3)).astype(np.uint8)
        for i, size in enumerate(sizes)
    ]


def assert_equal(found, expected):
    assert sum(len(result["rois"]) for result in expected) > 5
    for one, other in zip(found, expected, strict=True):
        for name in ("rois", "class_ids", "scores", "masks", "mask_probs"):
            np.testing.assert_array_equal(one[name], other[name])


def detect(model):
    return model.detect(images(), mask_probabilities=True)


def test_results_are_the_same_to_the_last_bit_and_keras_is_not_built(weights, monkeypatch):
    expected = detect(built(weights))
    monkeypatch.setattr(MaskRCNN, "build", lambda *args, **options: pytest.fail("built"))
    model = start(weights)
    assert_equal(detect(model), expected)
    assert isinstance(model.engine, StoredEngine) and model.engine.precision == "float32"
    assert str(model.engine).startswith("OpenVINO 20") and str(model.engine).endswith("float32")
    molded, metas, _ = model.mold_inputs(images())
    assert_equal(model.detect_molded(molded, metas, mask_probabilities=True)[1:2], expected[1:2])


def test_the_digest_of_the_weights_needs_no_keras_model(weights, monkeypatch):
    model, expected = start(weights), weights_digest(built(weights))
    monkeypatch.setattr(MaskRCNN, "build", lambda *args, **options: pytest.fail("built"))
    assert weights_digest(model) == expected
    monkeypatch.undo()
    logits = model.keras_model.get_layer("mrcnn_class_logits")
    logits.set_weights([2 * values for values in logits.get_weights()])
    assert weights_digest(model) != expected


def test_the_keras_model_is_there_when_it_is_asked_for(weights):
    model = start(weights)
    expected = detect(model)
    logits = model.keras_model.get_layer("mrcnn_class_logits")
    assert model.keras_model is model._built_model and model._shared is not None
    assert isinstance(model.engine, OpenVINOEngine)
    assert_equal(detect(model), expected)
    kernel, bias = logits.get_weights()
    logits.set_weights([kernel[:, [0, 2, 1]], bias[[0, 2, 1]]])
    assert detect(model)[1]["class_ids"].tolist() != expected[1]["class_ids"].tolist()


def test_a_replaced_keras_model_runs_itself(weights):
    model = start(weights)
    model.engine  # noqa: B018
    model.keras_model = keras.Model(model.keras_model.inputs, model.keras_model.outputs)
    assert model.engine.name == "keras" and model.engine.model is model.keras_model


def test_images_of_another_size_than_the_networks(weights):
    image = np.random.RandomState(5).randint(0, 256, (128, 192, 3)).astype(np.uint8)
    results = []
    for model in (start(weights), built(weights)):
        model.engine  # noqa: B018
        model.config.IMAGE_RESIZE_MODE = "none"
        results += model.detect([image], mask_probabilities=True)
    assert len(results[0]["rois"]) > 0
    assert_equal([results[0]] * 6, [results[1]] * 6)


OTHER_NETWORK = [
    lambda patch: patch.setattr(stored_network, "__version__", "0.0"),
    lambda patch: patch.setattr("openvino.__version__", "2020.1"),
    lambda patch: patch.setattr(stored_network, "_cpu_name", lambda: "another"),
    lambda patch: patch.setattr(model_cache, "source_digest", lambda: "another"),
    lambda patch: patch.setattr(stored_network, "_version", lambda name: f"{name} 0.1"),
    lambda patch: patch.setattr(stored_network, "keras_settings", lambda: {"epsilon": 0.1}),
    lambda patch: patch.setattr(stored_network, "computes_in_float32", lambda name: False),
]


@pytest.fixture
def fresh_environment():
    stored_network.environment.cache_clear()
    yield
    stored_network.environment.cache_clear()


@pytest.mark.usefixtures("fresh_environment")
@pytest.mark.parametrize("change", OTHER_NETWORK)
def test_with_another_version_cpu_or_setting_it_is_not_used(change, weights, monkeypatch):
    change(monkeypatch)
    assert start(weights) is None


@pytest.mark.parametrize(
    ("setting", "value", "is_used"),
    [
        ("DETECTION_MIN_CONFIDENCE", 0.9, True),
        ("LEARNING_RATE", 0.5, True),
        ("NAME", "another", True),
        ("RPN_ANCHOR_SCALES", (8, 16, 32, 64, 65), False),
        ("MEAN_PIXEL", [1.0, 2.0, 3.0], False),
        ("CANONICAL_BOX_SIZE", 100, False),
    ],
)
def test_which_settings_count(setting, value, is_used, weights):
    assert (start(weights, tiny_config(**{setting: value})) is not None) == is_used


def test_a_setting_that_the_network_does_not_depend_on_has_its_effect(weights):
    model = start(weights, tiny_config(DETECTION_MAX_INSTANCES=2))
    assert max(len(result["rois"]) for result in detect(model)) == 2


def test_other_weights_under_the_same_name_are_not_taken_for_those_in_the_cache(weights, tmp_path):
    path = tmp_path / "tiny.h5"
    shutil.copy(weights, path)
    model = start(path)  # the same content
    detect(model)
    other = MaskRCNN("inference", tiny_config(), str(tmp_path), engine="keras")
    other.keras_model.save_weights(str(path))
    assert start(path) is None
    with pytest.raises(ValueError, match=r"tiny\.h5 has changed since the model was loaded"):
        model.keras_model  # noqa: B018
    assert len(detect(model)) == 3  # as before


def test_weights_that_were_changed_before_the_conversion_are_not_remembered(tmp_path):
    path = tmp_path / "tiny.h5"
    model = MaskRCNN("inference", tiny_config(), str(tmp_path), engine="openvino")
    randomize(model.keras_model)
    bias = model.keras_model.get_layer("mrcnn_class_logits").bias
    bias.assign([0.5, 0, 0])
    model.keras_model.save_weights(str(path))
    model._note_origin(path)
    bias.assign([0, 0.5, 0])
    assert isinstance(model.engine, OpenVINOEngine) and model.engine.network_key
    assert start(path) is None


@pytest.mark.parametrize("damage", ["removed", "cut", "unreadable"])
def test_a_damaged_cache_is_made_again(damage, weights, monkeypatch):
    model, expected = start(weights), detect(built(weights))
    folder = model._stored.folder
    if damage == "removed":
        shutil.rmtree(folder)
    elif damage == "cut":
        (folder / "trunk.xml").unlink()
    else:
        (folder / "trunk.xml").write_text("<net")
        contents = json.loads((folder / "contents.json").read_text())
        contents["files"]["trunk.xml"] = model_cache._checksum(folder / "trunk.xml")
        (folder / "contents.json").write_text(json.dumps(contents))
    assert_equal(detect(model), expected)
    assert isinstance(model.engine, OpenVINOEngine)
    again = start(weights)
    assert_equal(detect(again), expected)
    assert isinstance(again.engine, StoredEngine)


def test_only_openvino_in_float_starts_from_the_cache(weights, tmp_path):
    for engine, precision in (("keras", None), ("openvino", "int8")):
        model = MaskRCNN.__new__(MaskRCNN)
        model._prepare("inference", tiny_config(), str(tmp_path), engine, precision, None)
        assert model._start_from_cache(weights) is False
    assert start(tmp_path) is None  # a folder, as of a SavedModel
