"""Random draws of the loader, from a given generator or from NumPy's global one.

Every function that draws takes `rng`:

* None: `np.random`, with the draws of Matterport's package.
* `np.random.RandomState`: the same draws, from a state of its own.
* `np.random.Generator`: cheaper; training uses one per image.
"""

from __future__ import annotations

from typing import Any

import numpy as np

RandomSource = np.random.Generator | np.random.RandomState | None


def _legacy(rng: np.random.RandomState | None) -> Any:
    return np.random if rng is None else rng


def check_rng(rng: Any) -> None:
    """Raise ValueError unless `rng` is one of the three sources."""
    if not (rng is None or isinstance(rng, np.random.Generator | np.random.RandomState)):
        raise ValueError(
            f"rng is {rng!r}; it must be None, a numpy.random.Generator or a "
            "numpy.random.RandomState"
        )


def integers(rng: RandomSource, low: int, high: int, size: Any = None) -> Any:
    """Return random whole numbers in [low, high)."""
    if isinstance(rng, np.random.Generator):
        return rng.integers(low, high, size)
    return _legacy(rng).randint(low, high, size)


def sample(rng: RandomSource, ids: np.ndarray, count: int, replace: bool = False) -> np.ndarray:
    """Return `count` of `ids` at random, in random order."""
    source = rng if isinstance(rng, np.random.Generator) else _legacy(rng)
    return source.choice(ids, count, replace=replace)


def keep_some(rng: RandomSource, ids: np.ndarray, count: int) -> np.ndarray:
    """Return the `count` of `ids` that remain when the others are dropped at random.

    With the legacy sources the dropped ones are those that
    `choice(ids, len(ids) - count, replace=False)` picks, and the state afterwards is the
    same, too. A Generator draws only those that remain.

    Args:
        rng: source of the draws.
        ids: [n] numbers.
        count: how many remain, at most n.

    Returns:
        [count], in no particular order.
    """
    if isinstance(rng, np.random.Generator):
        return ids[rng.choice(len(ids), count, replace=False, shuffle=False)]
    # The legacy choice without replacement takes the head of a permutation.
    return ids[_legacy(rng).permutation(len(ids))[len(ids) - count :]]


def seed_from(rng: RandomSource) -> int:
    """Return a seed in [0, 2**31 - 1) for a library with a generator of its own."""
    return int(integers(rng, 0, 2**31 - 1))
