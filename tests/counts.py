"""Sizes of the seeded tests: few by default, more by two environment variables.

`MRCNN_KILLS` is the number of processes that each test of kills kills, `MRCNN_MUTATIONS` the number
of inputs that each test of `tests/hostile` mutates. A larger number repeats the smaller one first.
"""

import os


def num_kills(default: int) -> int:
    """Return the number of kills that a test tries."""
    return int(os.environ.get("MRCNN_KILLS", default))


def num_mutations(default: int) -> int:
    """Return the number of mutations that a test tries."""
    return int(os.environ.get("MRCNN_MUTATIONS", default))
