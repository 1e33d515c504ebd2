"""Refiners from files run with OpenVINO, from the cache where it has their networks."""

import importlib.util

import keras
import numpy as np
import pytest

if importlib.util.find_spec("openvino") is None:
    pytest.skip("needs openvino: pip install openvino nncf", allow_module_level=True)
if keras.backend.backend() != "tensorflow":
    pytest.skip("OpenVINO reads Keras on TensorFlow", allow_module_level=True)

from mrcnn.engines import model_cache
from mrcnn.engines.compiled_network import has_bfloat16
from mrcnn.engines.patch_networks import PatchNetwork
from mrcnn.refinement import Recipe, Refiner, Scale
from mrcnn.refinement import refiner as module

RECIPE = Recipe(
    architecture="unet",
    patch_size=32,
    filters=(4, 4),
    networks=2,
    scales=(Scale(object_size=28, centers="object"),),
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MRCNN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MRCNN_ENGINE", raising=False)


@pytest.fixture
def path(tmp_path):
    keras.utils.set_random_seed(0)
    Refiner(RECIPE, notes={"number": 1}).save(tmp_path / "refiner.h5")
    return tmp_path / "refiner.h5"


def patches(count=3):
    return np.random.RandomState(0).rand(count, 32, 32, 4).astype(np.float32)


def no_keras(*args):
    pytest.fail("Keras builds a network")


@pytest.mark.parametrize("architecture, filters", [("unet", (4, 4)), ("squeeze", (8, 8, 8, 8))])
def test_it_computes_what_keras_computes(architecture, filters, tmp_path):
    recipe = RECIPE.replace(architecture=architecture, filters=filters)
    Refiner(recipe).save(tmp_path / "refiner.h5")
    refiner = Refiner.load(tmp_path / "refiner.h5")
    found = refiner.predict(patches())
    assert [type(one) for one in refiner._compiled] == [PatchNetwork] * 2
    assert len(refiner.networks) == 2 and refiner._compiled is None
    expected = refiner.predict(patches())
    assert expected.shape == (3, 32, 32) and expected.std() > 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_bfloat16(path):
    """On a CPU that does not multiply in it, float32 is computed."""
    refiner = Refiner.load(path)
    expected = refiner.predict(patches())
    found = refiner.predict(patches(), "bfloat16")
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert np.array_equal(found, expected) != has_bfloat16()
    (first, _) = refiner._compiled
    assert set(first._requests) == ({"f32", "bf16"} if has_bfloat16() else {"f32"})


def test_where_openvino_fails_keras_computes(path, monkeypatch):
    expected = Refiner.load(path).predict(patches())
    refiner = Refiner.load(path)  # from the cache
    monkeypatch.setattr("mrcnn.engines.patch_networks.compile_network", lambda *args: 1 / 0)
    np.testing.assert_allclose(refiner.predict(patches()), expected, atol=1e-5)
    assert refiner._compiled is None


def test_a_second_start_builds_nothing_and_computes_the_same(path, monkeypatch):
    expected = Refiner.load(path).predict(patches())
    monkeypatch.setattr(module, "build_from_recipe", no_keras)
    again = Refiner.load(path)
    assert again.notes == {"number": 1} and again.recipe == RECIPE
    np.testing.assert_array_equal(again.predict(patches()), expected)
    for count in (1, 9):  # less and more than a batch
        assert again.predict(patches(count)).shape == (count, 32, 32)


def test_the_keras_networks_are_there_when_they_are_asked_for(path, tmp_path):
    expected = Refiner.load(path).predict(patches())
    refiner = Refiner.load(path)
    assert refiner._keras_networks is None
    np.testing.assert_allclose(refiner.predict(patches()), expected, atol=0)
    last = refiner.networks[0].layers[-1]
    np.testing.assert_allclose(refiner.predict(patches()), expected, atol=1e-5)
    last.set_weights([kernel + 1 for kernel in last.get_weights()])
    assert np.abs(refiner.predict(patches()) - expected).max() > 0.01
    refiner.save(tmp_path / "copy.h5")
    copied = Refiner.load(tmp_path / "copy.h5").predict(patches())
    np.testing.assert_allclose(copied, refiner.predict(patches()), atol=2e-3)  # float16


def test_another_file_under_the_name_is_read_anew(path):
    expected = Refiner.load(path).predict(patches())
    refiner = Refiner.load(path)
    Refiner(RECIPE).save(path)
    assert np.abs(Refiner.load(path).predict(patches()) - expected).max() > 1e-4
    with pytest.raises(ValueError, match=r"refiner\.h5 has changed since it was loaded"):
        refiner.networks  # noqa: B018


@pytest.mark.parametrize("change", ["another version", "no cache", "Keras is asked for", "broken"])
def test_where_the_cache_is_not_used(change, path, monkeypatch):
    expected = Refiner.load(path).predict(patches())
    if change == "another version":
        monkeypatch.setattr("mrcnn.engines.patch_networks.environment", lambda: {"mrcnn": "0.0"})
    elif change == "no cache":
        monkeypatch.setattr(model_cache, "find_entry", lambda key: None)
        monkeypatch.setattr(model_cache, "store", lambda *args: None)
    elif change == "Keras is asked for":
        monkeypatch.setenv("MRCNN_ENGINE", "keras")
    else:
        monkeypatch.setattr(model_cache, "find_entry", lambda key: None)
        monkeypatch.setattr("mrcnn.engines.conversion.convert", lambda *args, **how: 1 / 0)
    refiner = Refiner.load(path)
    assert len(refiner._keras_networks) == 2
    np.testing.assert_allclose(refiner.predict(patches()), expected, atol=1e-5)
    compiles = change in ("another version", "no cache")
    assert (refiner._compiled is not None) == compiles
