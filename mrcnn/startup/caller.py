"""Warnings that point at the line of the user's own code."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

_PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"


def warn_caller(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning that names the first line outside this package that led here.

    `stacklevel` counts frames, and their number depends on which public function was called;
    `skip_file_prefixes` exists from Python 3.12 on only.

    Args:
        message: the text of the warning.
        category: its class.
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
