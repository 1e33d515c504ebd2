"""The type of numbers that layers compute in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@contextlib.contextmanager
def precision_policy(precision: str) -> Iterator[None]:
    """Set what the layers built inside the block compute in; their weights stay float32.

    Args:
        precision: "float32", "bfloat16" or "float16".
    """
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(_POLICIES[precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)
