"""Evenly spaced whole numbers."""

import pytest

from mrcnn.geometry.spacing import evenly_spaced


@pytest.mark.parametrize(
    "last, count, expected",
    [
        (9, 4, [0, 3, 6, 9]),
        (9, 1, [0]),
        (9, 0, []),
        (0, 1, [0]),
        (4, 5, [0, 1, 2, 3, 4]),
        (10, 4, [0, 3, 7, 10]),
        (1, 4, [0, 0, 1, 1]),
    ],
)
def test_evenly_spaced(last, count, expected):
    assert evenly_spaced(last, count) == expected
