"""One place through which every module of this package imports Keras.

Whichever module is the first to execute `import keras`, the finder below loads Keras inside
`mrcnn.startup.backend.backend_startup`. An `import keras` in a user's own module is left alone.
This module is part of `import mrcnn` and so imports little itself.
"""

from __future__ import annotations

import sys

# Known to type checkers; `typing` itself would be a third of the time of `import mrcnn`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

_PACKAGE = __name__.partition(".")[0]


class _KerasLoader:
    """Runs another loader inside `backend_startup`."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        from mrcnn.startup.backend import backend_startup

        # Other code must find the module's own loader in it.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        with backend_startup():
            self._loader.exec_module(module)


class _KerasFinder:
    """Finds only `keras`, and only where a module of this package imports it."""

    @staticmethod
    def find_spec(
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != "keras" or _importer().partition(".")[0] != _PACKAGE:
            return None
        for finder in sys.meta_path:
            if finder is not _KerasFinder:
                spec = finder.find_spec(fullname, path, target)
                if spec is not None and spec.loader is not None:
                    spec.loader = _KerasLoader(spec.loader)  # type: ignore[assignment]
                    return spec
        return None


def prepare_keras_imports() -> None:
    """Let modules of this package import Keras inside `backend_startup`."""
    if _KerasFinder not in sys.meta_path:
        sys.meta_path.insert(0, _KerasFinder)


def _importer() -> str:
    """Return the name of the module whose import statement is being executed."""
    frame = sys._getframe(2)
    while frame.f_back is not None and _module(frame).startswith("importlib"):
        frame = frame.f_back
    return _module(frame)


def _module(frame: Any) -> str:
    return frame.f_globals.get("__name__") or ""
