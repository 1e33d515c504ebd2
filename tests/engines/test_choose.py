"""Which engine runs for which wish."""

import importlib.util

import pytest

from mrcnn.config import Config
from mrcnn.engines import choose


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """OpenVINO is installed; the fixture's value takes it away."""
    monkeypatch.delenv("MRCNN_ENGINE", raising=False)
    found = importlib.util.find_spec
    present = {"openvino": True}

    def find_spec(name, *args):
        return present["openvino"] or None if name == "openvino" else found(name, *args)

    monkeypatch.setattr(choose.importlib.util, "find_spec", find_spec)
    monkeypatch.setattr(choose.keras.backend, "backend", lambda: "tensorflow")
    monkeypatch.setattr(choose, "import_openvino", lambda: None)
    return present


def check_choice(engine, precision=None, mode="inference", **settings):
    config = Config()
    for name, value in settings.items():
        setattr(config, name, value)
    return choose.check_choice(engine, precision, mode, config)


@pytest.mark.parametrize(
    "engine, precision, mode, chosen",
    [
        ("auto", None, "inference", "openvino"),
        ("auto", "bfloat16", "inference", "openvino"),
        ("auto", "float16", "inference", "keras"),
        ("auto", None, "training", "keras"),
        ("auto", "int8", "training", "openvino"),
        ("keras", "bfloat16", "inference", "keras"),
        ("openvino", None, "training", "openvino"),
    ],
)
def test_the_fastest_that_fits(engine, precision, mode, chosen):
    assert check_choice(engine, precision, mode) == chosen


@pytest.mark.parametrize("settings", [{"IMAGE_RESIZE_MODE": "pad64"}, {"PRECISION": "float16"}])
def test_keras_where_openvino_is_slower(settings):
    assert check_choice("auto", **settings) == "keras"
    assert check_choice("auto", "bfloat16", **settings) == "openvino"
    assert check_choice("auto", "int8", **settings) == "openvino"
    assert check_choice("openvino", **settings) == "openvino"


@pytest.mark.parametrize("error", [ImportError, RuntimeError])
def test_keras_where_openvino_is_installed_and_does_not_run(error, monkeypatch):
    def fail():
        raise error

    monkeypatch.setattr(choose, "import_openvino", fail)
    assert check_choice("auto") == check_choice("auto", "bfloat16") == "keras"


def test_the_precision_of_the_settings_counts():
    assert check_choice("auto", PRECISION="bfloat16", IMAGE_RESIZE_MODE="pad64") == "openvino"


def test_without_openvino(installed):
    installed["openvino"] = False
    assert check_choice("auto") == "keras"
    for wish in (("openvino", None), ("auto", "int8")):
        with pytest.raises(ImportError, match=r"pip install .*fast"):
            check_choice(*wish)


def test_on_another_backend(monkeypatch):
    monkeypatch.setattr(choose.keras.backend, "backend", lambda: "jax")
    assert check_choice("auto") == "keras"
    with pytest.raises(ImportError, match="needs Keras on TensorFlow; this is Keras on jax"):
        check_choice("openvino")


@pytest.mark.parametrize(
    "engine, precision, words",
    [
        ("tensorrt", None, r"engine is 'tensorrt'; it must be one of \('auto', 'keras', 'openvi"),
        ("auto", "fp8", "precision is 'fp8'; it must be one of"),
        ("keras", "int8", "only engine .openvino. has it"),
        ("openvino", "float16", "float32, bfloat16 and int8"),
    ],
)
def test_wishes_that_cannot_be_met(engine, precision, words):
    with pytest.raises(ValueError, match=words):
        check_choice(engine, precision)


def test_the_environment_says_what_auto_means(monkeypatch):
    monkeypatch.setenv("MRCNN_ENGINE", "keras")
    assert check_choice("auto") == "keras"
    assert check_choice("openvino") == "openvino"
    monkeypatch.setenv("MRCNN_ENGINE", "fast")
    with pytest.raises(ValueError, match="MRCNN_ENGINE is 'fast'"):
        check_choice("auto")


def test_what_counts_as_a_free_choice(monkeypatch):
    assert choose.is_free("auto") and not choose.is_free("keras")
    monkeypatch.setenv("MRCNN_ENGINE", "keras")
    assert not choose.is_free("auto")


def test_a_free_choice_is_told(monkeypatch, capsys):
    monkeypatch.setattr(choose, "KerasEngine", lambda shared: "Keras on jax, float32")
    choose.make_engine("keras", None)
    assert capsys.readouterr().err == ""
    choose.make_engine("keras", None, free=True)
    assert capsys.readouterr().err == "Engine   Keras on jax, float32\n"


def test_auto_falls_back_and_says_so(monkeypatch, capsys):
    class Broken:
        def __init__(self, *args):
            raise RuntimeError("no plugin for this CPU\nat line 7")

    openvino_engine = pytest.importorskip("mrcnn.engines.openvino_engine")
    monkeypatch.setattr(openvino_engine, "OpenVINOEngine", Broken)
    monkeypatch.setattr(choose, "KerasEngine", lambda shared: "keras engine")
    assert choose.make_engine("openvino", None, free=True) == "keras engine"
    assert capsys.readouterr().err == (
        "Engine   Keras, as OpenVINO fails here: no plugin for this CPU\n"
    )
    monkeypatch.setenv("MRCNN_QUIET", "1")
    choose.make_engine("openvino", None, free=True)
    assert capsys.readouterr().err == ""
    with pytest.raises(RuntimeError):
        choose.make_engine("openvino", None)
