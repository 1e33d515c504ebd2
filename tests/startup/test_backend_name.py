"""The backend and the settings of Keras, known without importing it."""

import contextlib
import json
import sys
import types

import pytest

from mrcnn.startup import backend


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A process without Keras, whose settings file is in a folder of its own."""
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("content", "variable", "name"),
    [
        (None, None, "tensorflow"),
        ('{"backend": "jax"}', None, "jax"),
        ('{"backend": "jax"}', "torch", "torch"),
        ('{"backend": "jax"}', "", "jax"),
        ('{"floatx": "float32"}', None, "tensorflow"),
        ("{", None, "tensorflow"),
        ("[1]", None, "tensorflow"),
    ],
)
def test_the_name_of_the_backend(content, variable, name, home, monkeypatch):
    if content is not None:
        (home / "keras.json").write_text(content)
    if variable is not None:
        monkeypatch.setenv("KERAS_BACKEND", variable)
    assert backend.backend_name() == name


def test_an_imported_keras_knows_its_backend(home, monkeypatch):
    keras = types.ModuleType("keras")
    monkeypatch.setitem(sys.modules, "keras", keras)
    assert backend.backend_name() == "tensorflow"  # while it is being imported
    keras.backend = types.SimpleNamespace(backend=lambda: "torch")
    assert backend.backend_name() == "torch"


def test_settings_without_a_variable_are_in_the_users_folder(home, monkeypatch):
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(home))
    (home / ".keras").mkdir()
    (home / ".keras" / "keras.json").write_text(json.dumps({"epsilon": 0.5}))
    assert backend.keras_settings() == {"epsilon": 0.5}


def test_an_import_happens_inside_the_contexts_that_were_asked_for(monkeypatch):
    events = []

    @contextlib.contextmanager
    def context():
        events.append("begin")
        yield
        events.append("end")

    monkeypatch.setattr(backend, "_around_import", [])
    backend.import_inside(context)
    backend.import_inside(context)
    with backend.backend_startup():
        events.append("import")
    assert events == ["begin", "import", "end"]
