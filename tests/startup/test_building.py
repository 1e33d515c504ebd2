"""How JAX compiles while a network is built, without JAX."""

import sys
import types

import pytest

from mrcnn.startup import building

SETTING = "jax_disable_most_optimizations"


class Settings(dict):
    """Stands in for `jax.config`."""

    read = dict.__getitem__

    def update(self, name, value):
        self[name] = value


@pytest.mark.parametrize("before", [False, True])
def test_nothing_is_optimized_inside(before, monkeypatch):
    settings = Settings({SETTING: before})
    monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace(config=settings))
    monkeypatch.setattr(building, "backend_name", lambda: "jax")
    with pytest.raises(KeyError), building.compiled_quickly():
        assert settings[SETTING]
        raise KeyError
    assert settings == {SETTING: before}


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_other_backends_need_no_jax(backend, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)  # an import would fail
    monkeypatch.setattr(building, "backend_name", lambda: backend)
    with building.compiled_quickly():
        pass
