"""Tests of the types of values that users and JSON files give; imports no NumPy.

NumPy's scalars are registered as `numbers.Real` and `numbers.Integral`, its bool as neither.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any


def is_number(value: Any) -> bool:
    """Return whether a value is a finite real number, and no bool."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the largest float
        return False


def is_integer(value: Any) -> bool:
    """Return whether a value is of an integer type, and no bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def has_type(value: Any, annotation: str) -> bool:
    """Return whether a value has a type written as "int", "float | None" or the like.

    The types are bool, str, int, float (any finite number) and None; another matches nothing.
    """
    tests = {
        "None": lambda: value is None,
        "bool": lambda: isinstance(value, bool),
        "str": lambda: isinstance(value, str),
        "int": lambda: is_integer(value),
        "float": lambda: is_number(value),
    }
    return any(tests[kind]() for kind in annotation.split(" | ") if kind in tests)
