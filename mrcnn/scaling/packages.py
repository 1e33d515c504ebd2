"""The packages of the extra "ray"."""

from __future__ import annotations

import importlib.util

_PACKAGES = ("ray", "pyarrow", "fsspec")


def check_packages() -> None:
    """Raise an error that names the extra if a package for many images is missing.

    Raises:
        ImportError: a package is not installed.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"detection in several processes requires {', '.join(missing)}: pip install "
            "'mrcnn-keras3[ray]'"
        )
