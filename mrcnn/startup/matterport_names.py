"""Names that Matterport's modules imported at their top, and that scripts take from there.

`modellib.K`, `utils.skimage` and the like were not meant as an interface, but public scripts
use them. Each module's `__getattr__` asks `find_import`, so a name is imported on first use only.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

_COMMON = {"os": "os", "random": "random", "np": "numpy", "logging": "logging"}
_KERAS = {"tf": "tensorflow", "keras": "keras", "KL": "keras.layers", "KM": "keras.models"}

# By module and name: the module that the name refers to, or `module:attribute`. `K` and `KE`,
# which Keras 3 does not have, are made by functions below.
IMPORTS: Mapping[str, Mapping[str, str]] = {
    "mrcnn.config": {"np": "numpy"},
    "mrcnn.model": {
        **_COMMON,
        **_KERAS,
        "datetime": "datetime",
        "re": "re",
        "math": "math",
        "multiprocessing": "multiprocessing",
        "itertools": "itertools",
        "json": "json",
        "scipy": "scipy",
        "skimage": "skimage",
        "OrderedDict": "collections:OrderedDict",
        "LooseVersion": "packaging.version:Version",
    },
    "mrcnn.parallel_model": _KERAS,
    "mrcnn.utils": {
        **_COMMON,
        "sys": "sys",
        "math": "math",
        "tf": "tensorflow",
        "scipy": "scipy",
        "skimage": "skimage",
        "urllib": "urllib",
        "shutil": "shutil",
        "warnings": "warnings",
        "LooseVersion": "packaging.version:Version",
    },
}

# Submodules that came along: `utils.skimage.io` and `utils.urllib.request` worked.
_SUBMODULES = {
    "skimage": ("skimage.color", "skimage.io", "skimage.transform"),
    "scipy": ("scipy.ndimage",),
    "urllib": ("urllib.request",),
}


def find_import(module: str, name: str) -> Any:
    """Return the object of a name in one of Matterport's modules, and store it in the module.

    Args:
        module: name of the module, such as "mrcnn.utils".
        name: name that the module does not define itself.

    Raises:
        AttributeError: Matterport's module had no such name, or it needs a package that is not
            installed.
    """
    known = IMPORTS.get(module, {})
    try:
        if name == "K" and "KL" in known:
            value: Any = _backend()
        elif name == "KE" and module == "mrcnn.model":
            value = _engine()
        elif name in known:
            value = _load(known[name])
        else:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
    except ImportError as error:
        raise AttributeError(f"module {module!r} has no attribute {name!r}: {error}") from error
    setattr(importlib.import_module(module), name, value)
    return value


def _load(target: str) -> Any:
    """Import `module` or `module:attribute`."""
    path, _, attribute = target.partition(":")
    module = importlib.import_module(path)
    for submodule in _SUBMODULES.get(path, ()):
        importlib.import_module(submodule)
    return getattr(module, attribute) if attribute else module


def _backend() -> ModuleType:
    """Return `keras.backend` with the functions of Keras 2 (`K.mean`, `K.int_shape`, ...)."""
    try:
        # The module behind `tf.keras.backend`: Keras keeps the old functions there.
        return importlib.import_module("keras._tf_keras.keras.backend")
    except ImportError:
        return importlib.import_module("keras.backend")


def _engine() -> ModuleType:
    """Return a module with the names of `keras.engine` of Keras 2 that scripts derive from."""
    import keras

    engine = ModuleType("keras.engine", "Names of Keras 2's keras.engine.")
    engine.__dict__.update(
        Input=keras.Input,
        InputLayer=keras.layers.InputLayer,
        InputSpec=keras.InputSpec,
        Layer=keras.layers.Layer,
        Model=keras.Model,
        Network=keras.Model,
        Sequential=keras.Sequential,
    )
    return engine
