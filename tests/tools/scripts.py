"""Import of the scripts in `tools/`, which are no package."""

import importlib
import sys
from pathlib import Path

FOLDER = str(Path(__file__).resolve().parents[2] / "tools")


def import_script(name):
    """Return the module of a script, which may import its neighbors."""
    sys.path.insert(0, FOLDER)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(FOLDER)
