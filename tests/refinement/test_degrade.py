"""Augmentation: identity cases, ranges, and that coarse masks are coarse but related."""

import numpy as np
import pytest

from mrcnn.refinement import degrade
from mrcnn.refinement.pairs import mask_iou
from mrcnn.refinement.recipes import Augmentation

OFF = Augmentation(flip=False, rotation=0, zoom=0, aspect=0, shift=0, color=0, perturb=0, degrade=0)


@pytest.fixture
def disc() -> np.ndarray:
    rows, columns = np.mgrid[0:64, 0:64]
    return (np.hypot(rows - 32, columns - 32) < 20).astype(np.float32)


def test_affine_without_changes_is_a_plain_cut():
    picture = np.random.default_rng(0).random((40, 50, 3)).astype(np.float32)
    for settings in (None, OFF):
        matrix = degrade.random_affine(np.random.default_rng(0), (20, 25), 16, settings)
        cut = degrade.warp(picture, matrix, 16, (0, 0, 0))
        np.testing.assert_allclose(cut, picture[12:28, 17:33], atol=1e-6)


def test_affine_mirror_keeps_the_centre():
    picture = np.zeros((32, 32, 1), np.float32)
    picture[16, 16], picture[16, 18] = 1.0, 0.5
    settings = Augmentation(flip=True, rotation=0, zoom=0, aspect=0, shift=0)
    seen = set()
    for seed in range(12):
        matrix = degrade.random_affine(np.random.default_rng(seed), (16, 16), 16, settings)
        row = degrade.warp(picture, matrix, 16, (0,))[8]
        assert row[8] == 1.0
        seen.add(int(np.flatnonzero(row == 0.5)[0]))
    assert seen == {6, 10}


def test_colour_jitter_leaves_the_padding_alone():
    rng = np.random.default_rng(1)
    patch = rng.random((16, 16, 3)).astype(np.float32)
    inside = np.zeros((16, 16), np.float32)
    inside[:, 8:] = 1
    changed = degrade.jitter_colors(rng, patch, inside, 0.3)
    assert (changed[:, :8] == patch[:, :8]).all()
    assert np.abs(changed[:, 8:] - patch[:, 8:]).mean() > 0.005
    assert 0 <= changed.min() and changed.max() <= 1
    assert degrade.jitter_colors(rng, patch, inside, 0.0) is patch


def test_coarse_probability_is_coarse_but_related(disc):
    overlaps = []
    for seed in range(40):
        probability = degrade.coarse_probability(np.random.default_rng(seed), disc)
        assert probability.shape == disc.shape and probability.dtype == np.float32
        assert 0 <= probability.min() and probability.max() <= 1
        overlaps.append(mask_iou(probability >= 0.5, disc > 0.5))
    assert 0.5 < np.mean(overlaps) < 0.95
    assert np.std(overlaps) > 0.03


def test_coarse_probability_of_an_empty_patch_is_defined():
    probability = degrade.coarse_probability(
        np.random.default_rng(0), np.zeros((32, 32), "float32")
    )
    assert np.isfinite(probability).all()


def test_perturb_keeps_empty_regions_empty(disc):
    assert degrade.perturb_probability(np.random.default_rng(0), disc, 0.0) is disc
    changed = degrade.perturb_probability(np.random.default_rng(0), disc * 0.9, 0.5)
    assert changed[:6].max() < 0.05
    assert mask_iou(changed >= 0.5, disc > 0.5) > 0.6
