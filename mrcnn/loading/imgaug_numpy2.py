"""Make imgaug 0.4, its last version, importable with NumPy 2.

Of what NumPy 2.0 removed, imgaug reads `np.sctypes` alone.
"""

from __future__ import annotations

import sys
from types import ModuleType


def allow_imgaug() -> None:
    """Add `np.sctypes`, the table of scalar types, where NumPy lacks it."""
    import numpy as np

    if not hasattr(np, "sctypes"):
        types = {
            "int": [np.int8, np.int16, np.int32, np.int64],
            "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
            "float": [np.float16, np.float32, np.float64],
            "complex": [np.complex64, np.complex128],
            "others": [bool, object, bytes, str, np.void],
        }
        setattr(np, "sctypes", types)  # noqa: B010 - NumPy's type stubs do not know it


class _ImgaugWatcher:
    """Import hook that finds no module, but is called for every first import."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """Prepare NumPy when imgaug is about to be imported."""
        if name == "imgaug":
            allow_imgaug()


def watch_for_imgaug() -> None:
    """Call `allow_imgaug` before `import imgaug` from now on, also in a user's script.

    Nothing is imported until then.
    """
    if _ImgaugWatcher not in sys.meta_path:
        sys.meta_path.insert(0, _ImgaugWatcher)


def import_imgaug() -> ModuleType:
    """Return the imgaug module.

    Raises:
        ImportError: imgaug is not installed.
    """
    allow_imgaug()
    try:
        import imgaug
        import imgaug.augmenters
    except ImportError as error:
        raise ImportError(
            "Augmentation with imgaug needs the package: pip install imgaug. "
            "Albumentations transforms and plain functions are accepted as well."
        ) from error
    return imgaug
