"""Snapping to colors: the doubtful pixels only, and nothing where nothing is sure."""

import numpy as np
import pytest

from mrcnn.refinement import RECIPES, Recipe, Snap
from mrcnn.refinement.snap import snap_to_colors


def scene():
    """A red square of 40 pixels on blue, and a mask that is doubtful 6 pixels around its edge."""
    rng = np.random.default_rng(0)
    image = np.zeros((80, 90, 3), np.uint8)
    image[..., 2], image[20:60, 30:70] = 200, (200, 0, 0)
    image += rng.integers(0, 20, image.shape, np.uint8)
    probability = np.zeros((80, 90), np.float32)
    probability[10:70, 20:80] = 0.15
    probability[14:66, 24:76] = 0.55
    probability[26:54, 36:64] = 0.9
    truth = np.zeros((80, 90), bool)
    truth[20:60, 30:70] = True
    return image, probability, truth


def test_doubtful_pixels_follow_the_colours():
    image, probability, truth = scene()
    snapped = snap_to_colors(image, probability, Snap(share=1.0))
    np.testing.assert_array_equal(snapped >= 0.5, truth)
    mixed = snap_to_colors(image, probability, Snap(share=0.25))
    np.testing.assert_allclose(mixed[7:73, 17:83], (0.75 * probability + 0.25 * truth)[7:73, 17:83])
    np.testing.assert_array_equal(mixed[:7], probability[:7])
    assert mixed.dtype == np.float32


def test_a_large_object_is_snapped_at_a_lower_resolution():
    image, probability, truth = (np.repeat(np.repeat(a, 4, 0), 4, 1) for a in scene())
    snapped = snap_to_colors(image, probability, Snap(share=1.0, side=64)) >= 0.5
    # A pixel that GrabCut sees is four of the image; the mask given has an IoU of 0.59.
    assert (snapped & truth).sum() / (snapped | truth).sum() > 0.9


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0], ids=["empty", "nothing sure", "full"])
def test_without_sure_pixels_nothing_changes(value):
    probability = np.full((40, 50), value, np.float32)
    image = scene()[0][:40, :50]
    np.testing.assert_array_equal(snap_to_colors(image, probability, Snap()), probability)


@pytest.mark.parametrize(
    "setting, value", [("share", 0.0), ("side", 8), ("band", 0.5), ("iterations", 0)]
)
def test_settings_that_cannot_work(setting, value):
    with pytest.raises(ValueError, match=f"{setting} is {value}; it must be"):
        Snap(**{setting: value})


def test_recipes():
    assert RECIPES["study"].snap is None
    assert Recipe.from_dict(RECIPES["default"].to_dict()) == RECIPES["default"]
    assert RECIPES["default"].snap == Snap()
