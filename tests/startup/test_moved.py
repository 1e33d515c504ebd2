"""The module paths of version 3.0 still import, as the same modules, with a warning."""

import importlib
import sys

import pytest

from mrcnn.startup.moved import MOVED


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_old_path_is_the_new_module(old, new, monkeypatch):
    monkeypatch.delitem(sys.modules, old, raising=False)
    module = importlib.import_module(new)
    spec = module.__spec__
    with pytest.warns(DeprecationWarning, match=f"{old} is now {new}; .* version 4") as warned:
        __import__(old)
    assert sys.modules[old] is module
    # Imported packages may warn as well.
    (own,) = [warning for warning in warned if old in str(warning.message)]
    assert own.filename == __file__
    assert module.__spec__ is spec
    assert module.__name__ == new
