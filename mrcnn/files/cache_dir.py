"""The folder of downloads and converted networks."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder of the environment variable MRCNN_HOME, else `~/.mrcnn`."""
    home = os.environ.get("MRCNN_HOME")
    return Path(home).expanduser() if home else Path.home() / ".mrcnn"
