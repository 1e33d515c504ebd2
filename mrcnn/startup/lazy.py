"""Public names of a package that are imported on first use (PEP 562)."""

from __future__ import annotations

import importlib
import sys

# Known to type checkers; `typing` itself would be a third of the time of `import mrcnn`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the `__getattr__` and `__dir__` of a package.

    Args:
        package: `__name__` of the package.
        homes: the module that defines each public name, absolute ("mrcnn.config") or relative to
            the package (".config").

    Returns:
        `(__getattr__, __dir__)`. A name is stored in the package when it is first used, so that
        later uses are plain attribute access.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(homes[name], package), name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return __getattr__, __dir__
