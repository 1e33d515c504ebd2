"""The folder of what JAX has compiled, without JAX."""

import importlib.util
import sys
import types

import keras
import pytest

from mrcnn.detection import compiled_by_jax


class Settings:
    """Stands in for `jax.config`."""

    def __init__(self, folder):
        self.jax_compilation_cache_dir = folder

    def update(self, name, value):
        setattr(self, name, value)


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """A function that calls `keep_compiled` with a backend and a folder, for JAX's settings."""
    monkeypatch.setenv("MRCNN_HOME", str(tmp_path))

    def call(backend, folder=None, has_filelock=True):
        jax = types.SimpleNamespace(config=Settings(folder))
        monkeypatch.setitem(sys.modules, "jax", jax)
        monkeypatch.setattr(keras.backend, "backend", lambda: backend)
        found = object() if has_filelock else None
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
        compiled_by_jax.keep_compiled()
        return vars(jax.config)

    return call


def test_jax_keeps_what_it_compiles(settings, tmp_path):
    assert settings("jax") == {
        "jax_compilation_cache_dir": str(tmp_path / "jax"),
        "jax_compilation_cache_max_size": 1 << 30,
        "jax_persistent_cache_min_compile_time_secs": 0.1,
    }


@pytest.mark.parametrize(
    "backend, folder, has_filelock",
    [
        ("tensorflow", None, True),
        ("torch", None, True),
        ("jax", "/mine", True),
        ("jax", None, False),
    ],
)
def test_settings_that_stay(settings, backend, folder, has_filelock):
    assert settings(backend, folder, has_filelock) == {"jax_compilation_cache_dir": folder}
