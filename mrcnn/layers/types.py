"""Names for types that annotations of the layers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

# A tensor of the Keras backend, a `keras.KerasTensor`, or a NumPy array where one is accepted.
# The backends share no class.
Tensor: TypeAlias = Any

# The shape of a tensor; None marks a size that is known at run time only.
Shape: TypeAlias = Sequence[int | None]
