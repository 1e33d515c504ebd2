"""Which engine runs for which arguments."""

import importlib.util

import pytest

from mrcnn.config import Config
from mrcnn.engines import selection

KERAS_ENGINE = "mrcnn.engines.keras_engine.KerasEngine"


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """OpenVINO is installed, unless a test sets the entry to False."""
    monkeypatch.delenv("MRCNN_ENGINE", raising=False)
    found = importlib.util.find_spec
    present = {"openvino": True}

    def find_spec(name, *args):
        return present["openvino"] or None if name == "openvino" else found(name, *args)

    monkeypatch.setattr(selection.importlib.util, "find_spec", find_spec)
    monkeypatch.setattr(selection, "backend_name", lambda: "tensorflow")
    return present


def check_choice(engine, precision=None, mode="inference", **settings):
    config = Config()
    for name, value in settings.items():
        setattr(config, name, value)
    return selection.check_choice(engine, precision, mode, config)


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


def test_the_precision_of_the_settings_counts():
    assert check_choice("auto", PRECISION="bfloat16", IMAGE_RESIZE_MODE="pad64") == "openvino"


def test_without_openvino(installed):
    installed["openvino"] = False
    assert check_choice("auto") == "keras"
    for arguments in (("openvino", None), ("auto", "int8")):
        with pytest.raises(ImportError, match="needs the package openvino: pip install openvino"):
            check_choice(*arguments)


def test_on_another_backend(monkeypatch):
    monkeypatch.setattr(selection, "backend_name", lambda: "jax")
    assert check_choice("auto") == "keras"
    with pytest.raises(ImportError, match="needs Keras on TensorFlow; this is Keras on jax"):
        check_choice("openvino")


@pytest.mark.parametrize(
    "engine, precision, words",
    [
        ("tensorrt", None, "engine is 'tensorrt'; it must be one of auto, keras, openvino"),
        ("auto", "fp8", "precision is 'fp8'; it must be one of"),
        ("keras", "int8", "precision is 'int8'; it must be another one for engine 'keras'"),
        (
            "openvino",
            "float16",
            "precision is 'float16'; it must be 'float32', 'bfloat16' or 'int8'",
        ),
    ],
)
def test_arguments_that_do_not_fit(engine, precision, words):
    with pytest.raises(ValueError, match=words):
        check_choice(engine, precision)


def test_the_environment_variable_replaces_auto(monkeypatch):
    monkeypatch.setenv("MRCNN_ENGINE", "keras")
    assert check_choice("auto") == "keras"
    assert check_choice("openvino") == "openvino"
    monkeypatch.setenv("MRCNN_ENGINE", "fast")
    with pytest.raises(ValueError, match="MRCNN_ENGINE is 'fast'"):
        check_choice("auto")


def test_what_counts_as_automatic(monkeypatch):
    assert selection.is_automatic("auto") and not selection.is_automatic("keras")
    monkeypatch.setenv("MRCNN_ENGINE", "keras")
    assert not selection.is_automatic("auto")


def test_an_automatic_choice_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(KERAS_ENGINE, lambda shared: "Keras on jax, float32")
    selection.make_engine("keras", None)
    assert capsys.readouterr().err == ""
    selection.make_engine("keras", None, fallback=True)
    assert capsys.readouterr().err == "Engine   Keras on jax, float32\n"


class UnknownError(Exception):
    """As a foreign library may define its own."""


ERRORS = [
    NameError("name 'tensorflow' is not defined"),
    ImportError("libopenvino.so: cannot open shared object file"),
    OSError("libtbb.so.12: cannot open shared object file"),
    RuntimeError("no plugin for this CPU\nat line 7"),
    PermissionError(13, "Permission denied"),
    UnknownError("\x1b[2J"),
    ValueError("vector::reserve"),
    MemoryError(),
]


@pytest.fixture(params=ERRORS, ids=lambda error: type(error).__name__)
def broken(request, monkeypatch):
    """OpenVINO's engine raises the error, at once or when it is prepared."""
    openvino_engine = pytest.importorskip("mrcnn.engines.openvino_engine")

    class Broken:
        def __init__(self, *args):
            if isinstance(request.param, ImportError):
                raise request.param

        def prepare(self):
            raise request.param

    monkeypatch.setattr(openvino_engine, "OpenVINOEngine", Broken)
    monkeypatch.setattr(KERAS_ENGINE, lambda shared: "Keras on tensorflow, float32")
    return request.param


def test_auto_falls_back_with_a_line_of_warning(broken, monkeypatch, capsys):
    engine = selection.make_engine("openvino", None, fallback=True)
    assert engine == "Keras on tensorflow, float32"
    warning, used = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"Warning  OpenVINO cannot start ({type(broken).__name__}: ")
    assert warning.endswith("); Keras runs instead") and warning.isprintable()
    assert used == "Engine   Keras on tensorflow, float32"
    monkeypatch.setenv("MRCNN_QUIET", "1")
    selection.make_engine("openvino", None, fallback=True)
    assert capsys.readouterr().err == ""


def test_an_engine_that_is_requested_by_name_raises(broken, capsys):
    kind = ImportError if isinstance(broken, ImportError) else RuntimeError
    with pytest.raises(kind, match="engine 'openvino' cannot start: ") as raised:
        selection.make_engine("openvino", None)
    assert raised.value.__cause__ is broken
    assert type(broken).__name__ in str(raised.value)
    assert capsys.readouterr().err == ""


def test_int8_has_no_substitute(broken):
    with pytest.raises((ImportError, RuntimeError, ValueError)):
        selection.make_engine("openvino", None, "int8", fallback=True)
