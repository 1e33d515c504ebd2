"""Which engine runs for which wish."""

import importlib.util

import pytest

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
    monkeypatch.setattr(choose, "_openvino_is_faster", lambda: True)
    return present


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
    assert choose.check_choice(engine, precision, mode) == chosen


def test_keras_where_openvino_is_slower(monkeypatch):
    monkeypatch.setattr(choose, "_openvino_is_faster", lambda: False)
    assert choose.check_choice("auto", None, "inference") == "keras"
    assert choose.check_choice("auto", "bfloat16", "inference") == "openvino"
    assert choose.check_choice("auto", "int8", "inference") == "openvino"
    assert choose.check_choice("openvino", None, "inference") == "openvino"


def test_without_openvino(installed):
    installed["openvino"] = False
    assert choose.check_choice("auto", None, "inference") == "keras"
    for wish in (("openvino", None), ("auto", "int8")):
        with pytest.raises(ImportError, match=r"pip install .*fast"):
            choose.check_choice(*wish, "inference")


def test_on_another_backend(monkeypatch):
    monkeypatch.setattr(choose.keras.backend, "backend", lambda: "jax")
    assert choose.check_choice("auto", None, "inference") == "keras"
    with pytest.raises(ImportError, match="needs Keras on TensorFlow; this is Keras on jax"):
        choose.check_choice("openvino", None, "inference")


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
        choose.check_choice(engine, precision, "inference")


def test_the_environment_says_what_auto_means(monkeypatch):
    monkeypatch.setenv("MRCNN_ENGINE", "keras")
    assert choose.check_choice("auto", None, "inference") == "keras"
    assert choose.check_choice("openvino", None, "inference") == "openvino"
    monkeypatch.setenv("MRCNN_ENGINE", "fast")
    with pytest.raises(ValueError, match="MRCNN_ENGINE is 'fast'"):
        choose.check_choice("auto", None, "inference")


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
