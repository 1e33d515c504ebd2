"""Evenly spaced whole numbers: which images to take of many, where tiles begin."""

from __future__ import annotations

import numpy as np


def evenly_spaced(last: int, count: int) -> list[int]:
    """Choose whole numbers from 0 to `last`, spread as evenly as they can be.

    Args:
        last: the largest one, at least 0.
        count: how many, at least 0. More than `last + 1` repeat some.

    Returns:
        `count` numbers that do not fall: 0 first and `last` last, only 0 for a count of 1.
    """
    return np.linspace(0, last, count).round().astype(int).tolist()
