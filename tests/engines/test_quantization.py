"""Whether a network in 8 bits still finds the objects of its calibration images."""

import numpy as np
import pytest

from mrcnn.engines.quantization import check_same_objects

A = [0.1, 0.1, 0.5, 0.5, 1, 0.9]
B = [0.5, 0.5, 0.9, 0.9, 2, 0.8]
NEAR_A = [0.1, 0.1, 0.5, 0.4, 1, 0.4]  # IoU 0.75
FAR_FROM_A = [0.1, 0.1, 0.5, 0.25, 1, 0.9]  # IoU 0.375
OTHER_CLASS = [0.1, 0.1, 0.5, 0.5, 2, 0.9]


def rows(*detections):
    return np.array([*detections, [0] * 6], np.float32)


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ([[A, B]], [[A, B]]),
        ([[A, B]], [[NEAR_A]]),  # half is enough
        ([[A], [B]], [[NEAR_A], []]),
        ([[]], [[A]]),  # nothing to lose
    ],
)
def test_networks_that_find_half_of_the_objects(expected, found):
    check_same_objects([rows(*x) for x in expected], [rows(*x) for x in found])


@pytest.mark.parametrize(
    ("found", "count"), [([], 0), ([FAR_FROM_A], 0), ([OTHER_CLASS], 0), ([B], 1), ([B, B], 1)]
)
def test_networks_that_lose_objects(found, count):
    with pytest.raises(ValueError, match=f"'int8'; it must be .* of 3 objects .* finds {count}$"):
        check_same_objects([rows(A, A, B)], [rows(*found)])
