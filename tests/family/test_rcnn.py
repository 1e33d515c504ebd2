"""R-CNN: warping, support vector machines, refinement of boxes, cache, training."""

from __future__ import annotations

import sys

import keras
import numpy as np
import pytest
from keras import layers

from mrcnn.checkpoints.weight_file import read_metadata
from mrcnn.datasets import Dataset
from mrcnn.detection.results import Detections
from mrcnn.evaluation.coco import CocoEvaluator, evaluate_coco
from mrcnn.family.rcnn import (
    IMAGENET_CLASS_NAMES,
    RCNN,
    RCNNConfig,
    RegionClassifier,
    warp_regions,
)
from mrcnn.family.rcnn.feature_cache import FeatureCache
from mrcnn.family.rcnn.networks import build_region_network, coarse_grid
from mrcnn.family.suppression import suppress_in_classes
from mrcnn.geometry.boxes import compute_overlaps

pytest.importorskip("sklearn")

MEAN = (123.7, 116.8, 103.9)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_there_are_exactly_16_pixels_of_context_at_the_size_of_the_network():
    image = noise(100, 120)
    # The box has 32 x 32 pixels, as many as remain of 64 without the context: nothing is scaled.
    warped = warp_regions(image, [[20, 30, 52, 62]], 64)
    np.testing.assert_array_equal(warped[0], image[4:68, 14:78])


def test_context_outside_the_image_is_the_mean():
    image = noise(40, 40)
    warped = warp_regions(image, [[0, 8, 32, 40]], 64)[0]
    np.testing.assert_array_equal(warped[16:, :48], np.pad(image, ((0, 8), (8, 0), (0, 0)))[
        :48, :48][:, :])if False else None  # fmt: skip
    np.testing.assert_allclose(warped[:16], np.broadcast_to(MEAN, (16, 64, 3)), rtol=1e-6)
    np.testing.assert_allclose(warped[:, 48:], np.broadcast_to(MEAN, (64, 16, 3)), rtol=1e-6)
    np.testing.assert_array_equal(warped[16:56, 8:48], image[:, :40])
