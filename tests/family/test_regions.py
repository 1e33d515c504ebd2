"""Selective search: features, merging, boxes, errors."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data

from mrcnn.family import regions as module
from mrcnn.family.regions import (
    COLOR_SPACES,
    STRATEGIES,
    draw_regions,
    merge_regions,
    selective_search,
)
from mrcnn.geometry.boxes import compute_overlaps


def _regions(labels, colors):
    """Regions with given color histograms and no texture."""
    labels = np.array(labels)
    count = len(colors)
    return module._Regions(
        labels,
        np.bincount(labels.ravel()),
        module._boxes_of(labels, count),
        np.array(colors, np.float32),
        np.ones((count, 1), np.float32),
        module._touching(labels, count),
    )


def test_touching_regions():
    labels = np.array([[0, 0, 1], [0, 2, 1], [3, 2, 1]])
    assert module._touching(labels, 4).tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [2, 3]]


def test_similarities_written_out():
    regions = _regions([[0, 0, 1, 1], [0, 2, 2, 1]], [[0.5, 0.5], [0.25, 0.75], [1, 0]])
    expected = {
        "C": [0.75, 0.5, 0.25],
        "S": [1 - 6 / 8, 1 - 5 / 8, 1 - 5 / 8],
        # Boxes around 0-1, 0-2 and 1-2: 8, 6 and 6 pixels, all but 2, 1 and 1 taken.
        "F": [1 - 2 / 8, 1 - 1 / 8, 1 - 1 / 8],
    }
    for measure in ("C", "S", "F", "CSF"):
        grouping = module._Grouping(regions, measure)
        found = grouping._similarity(*module._touching(regions.labels, 3).T)
        wanted = np.sum([expected[letter] for letter in measure], axis=0)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_most_similar_neighbors_merge_first():
    # 0 and 1 have one color, 2 and 3 nearly one; 0 and 3 have the same but do not touch.
    regions = _regions([[0, 1, 2, 3]], [[1, 0], [1, 0], [0.2, 0.8], [0.3, 0.7]])
    hierarchy = merge_regions(regions, "C")
    assert hierarchy.merges.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert hierarchy.boxes[4:].tolist() == [[0, 0, 1, 2], [0, 2, 1, 4], [0, 0, 1, 4]]
    assert hierarchy.labels_at(4).tolist() == [[0, 1, 2, 3]]
    assert hierarchy.labels_at(3).tolist() == [[2, 2, 0, 1]]
    assert hierarchy.labels_at(2).tolist() == [[0, 0, 1, 1]]
    assert hierarchy.labels_at(1).tolist() == [[0, 0, 0, 0]]
    with pytest.raises(ValueError, match="num_regions is 0"):
        hierarchy.labels_at(0)


def test_histograms_of_merged_regions_are_weighted_by_size():
    regions = _regions([[0, 0, 0, 1]], [[1, 0], [0, 1]])
    grouping = module._Grouping(regions, "C")
    list(grouping.run())
    np.testing.assert_allclose(grouping.histograms[2], [0.75, 0.25])


def test_texture_is_direction_of_rise():
    ramp = np.tile(np.arange(0, 200, 10, dtype=np.uint8), (20, 1))[..., None]
    texture = module._texture(ramp)[10, 10]
    angles = 2 * np.pi * np.arange(8) / 8
    np.testing.assert_allclose(texture, np.maximum(np.cos(angles), 0), atol=2e-3)


def test_objects_of_a_drawing_are_found():
    image = np.full((120, 160, 3), 230, np.uint8)
    cv2.rectangle(image, (20, 30), (59, 89), (200, 30, 30), -1)
    cv2.circle(image, (110, 60), 30, (30, 30, 200), -1)
    boxes = selective_search(image, "single")
    objects = np.array([[30, 20, 90, 60], [30, 80, 91, 141]], float)
    assert compute_overlaps(objects, boxes.astype(float)).max(axis=1).min() > 0.9
    assert [0, 0, 120, 160] in boxes.tolist()


def test_boxes_are_distinct_large_enough_and_repeatable():
    image = skimage.data.astronaut()[::3, ::3]
    boxes = selective_search(image, "fast", seed=1, min_side=12)
    assert len(np.unique(boxes, axis=0)) == len(boxes) > 100
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= 12
    assert boxes.dtype == np.int32
    np.testing.assert_array_equal(boxes, selective_search(image, "fast", seed=1, min_side=12))
    assert (boxes != selective_search(image, "fast", seed=2, min_side=12)).any()
    single = selective_search(image, "single", min_side=12)
    assert len(single) < len(boxes)


def test_a_large_image_is_reduced_and_its_boxes_are_not():
    image = np.full((240, 320, 3), 230, np.uint8)
    cv2.rectangle(image, (40, 60), (119, 179), (200, 30, 30), -1)
    boxes = selective_search(image, "single", max_side=80, min_side=20)
    assert boxes.max(axis=0).tolist()[2:] == [240, 320]
    assert compute_overlaps(np.array([[60, 40, 180, 120.0]]), boxes.astype(float)).max() > 0.85
    # 20 pixels of the reduced image.
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= 80
    whole = selective_search(image[:80, :80], "single", max_side=80)
    np.testing.assert_array_equal(whole, selective_search(image[:80, :80], "single"))


def test_shares_of_red_and_green():
    image = np.uint8([[[100, 50, 50], [200, 20, 10], [30, 30, 30], [255, 0, 0], [0, 0, 0]]])
    expected = [[127, 63, 66], [221, 22, 76], [85, 85, 30], [255, 0, 85], [0, 0, 0]]
    np.testing.assert_allclose(module.COLOR_SPACES["rgi"](image)[0], expected, atol=1)


def test_every_color_space_gives_bytes():
    image = skimage.data.astronaut()[::8, ::8]
    for convert in COLOR_SPACES.values():
        converted = convert(image)
        assert converted.dtype == np.uint8
        assert converted.shape[:2] == image.shape[:2] and converted.ndim == 3
    assert len(STRATEGIES["quality"].colors) * len(STRATEGIES["quality"].measures) * 4 == 80


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 40, 3), (40, 1), (30, 30, 4), (25, 25)])
def test_small_plain_and_gray_images(shape):
    boxes = selective_search(np.full(shape, 7, np.uint8), "single", min_side=1)
    assert boxes.tolist() == [[0, 0, shape[0], shape[1]]]
    assert selective_search(np.full(shape, 7, np.uint8), "single", min_side=50).shape == (0, 4)


def test_drawing_of_a_stage():
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = 200
    hierarchy = merge_regions(image)
    drawn = draw_regions(image, hierarchy, 2)
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    assert drawn[20, 5].tolist() == [0, 0, 0]
    assert drawn[20, 55].tolist() == [200, 200, 200]
    # The first regions are found after smoothing, so the border may lie a few pixels off.
    assert (drawn[20, 26:34] == 255).all(axis=1).any()


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"strategy": "slow"}, ValueError, "strategy is 'slow'; it must be one of single, fast"),
        ({"max_side": 0}, ValueError, "max_side is 0; it must be at least 1 or None"),
        ({"engine": "torch"}, ValueError, "engine is 'torch'; it must be mrcnn or opencv"),
        ({"seed": -1}, ValueError, "seed is -1; it must be a whole number of at least 0"),
        ({"seed": "a"}, ValueError, "seed is 'a'; it must be a whole number"),
        ({"min_side": 0}, ValueError, "min_side is 0; it must be at least 1"),
        (
            {"image": np.zeros((0, 5, 3))},
            ValueError,
            r"image has the shape \(0, 5, 3\); it must ha",
        ),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        selective_search(**{"image": np.zeros((30, 30, 3), np.uint8), **arguments})


def test_opencv_without_its_contributed_modules(monkeypatch):
    monkeypatch.delattr(cv2, "ximgproc", raising=False)
    with pytest.raises(ImportError, match="opencv-contrib-python-headless"):
        selective_search(np.zeros((30, 30, 3), np.uint8), engine="opencv")


def test_bad_measure():
    with pytest.raises(ValueError, match="measure is 'CX'"):
        merge_regions(np.zeros((30, 30, 3), np.uint8), "CX")


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32)], ids=["gray", "float"]
)
def test_merge_regions_names_an_image_of_another_kind(image):
    with pytest.raises(ValueError, match=r"it must be \[height, width, channels\] uint8"):
        merge_regions(image)
