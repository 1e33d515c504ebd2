"""Anchors of a configuration against the objects of a dataset."""

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.datasets.anchor_fit import measure_anchors
from mrcnn.geometry.anchors import anchors_for_image, best_anchor_overlaps
from mrcnn.geometry.boxes import compute_overlaps
from mrcnn.geometry.images import resize_image, resized_window


def config(**values):
    made = Config()
    made.IMAGE_MIN_DIM = made.IMAGE_MAX_DIM = 128
    for name, value in values.items():
        setattr(made, name, value)
    return made


def random_boxes(count, height, width, seed=0):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 1, (count, 2, 2)) * (height, width)
    low, high = corners.min(axis=1), corners.max(axis=1)
    return np.concatenate([low, high + 1], axis=1)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("shape", [(128, 128), (128, 192), (100, 70)])
def test_best_overlaps_are_those_of_all_anchors(shape, stride):
    settings = config(RPN_ANCHOR_STRIDE=stride, RPN_ANCHOR_SCALES=(8, 16, 32, 64, 100))
    boxes = random_boxes(200, *shape)
    every = compute_overlaps(anchors_for_image(settings, shape), boxes).max(axis=0)
    np.testing.assert_allclose(best_anchor_overlaps(settings, boxes, shape), every, rtol=1e-12)


def test_best_overlaps_with_fewer_scales_than_levels():
    settings = config(RPN_ANCHOR_SCALES=(8, 16))
    boxes = random_boxes(50, 128, 128)
    every = compute_overlaps(anchors_for_image(settings, (128, 128)), boxes).max(axis=0)
    np.testing.assert_allclose(best_anchor_overlaps(settings, boxes, (128, 128)), every)


@pytest.mark.parametrize(
    ("mode", "values"),
    [
        ("square", (None, 128, None)),
        ("square", (100, 128, None)),
        ("square", (100, 128, 2)),
        ("pad64", (128, None, None)),
        ("pad64", (64, None, 1.5)),
        ("none", (None, None, None)),
    ],
)
@pytest.mark.parametrize("size", [(60, 80), (200, 150), (5, 300), (64, 64)])
def test_windows_are_those_of_resized_images(mode, values, size):
    image, window, *_ = resize_image(np.zeros((*size, 3), np.uint8), *values, mode=mode)
    assert resized_window(*size, *values, mode=mode) == (window, image.shape[:2])


def test_window_before_a_crop():
    assert resized_window(60, 80, 120, None, None, "crop") == ((0, 0, 120, 160), (120, 160))


def test_objects_that_fit():
    # 64 x 64 images are doubled; 32 x 32 at (16, 16) is then 64 x 64 around (64, 64), which is a
    # center of the level of 16 pixels.
    settings = config(RPN_ANCHOR_SCALES=(16, 32, 64, 96, 128))
    fit = measure_anchors(settings, np.array([[16, 16, 48, 48]]), np.array([[64, 64]]))
    assert fit.to_dict() == {
        "num_objects": 1,
        "image_shape": [128, 128],
        "scales": [16.0, 32.0, 64.0, 96.0, 128.0],
        "median_overlap": 1.0,
        "num_below": 0,
        "num_below_stride": 0,
        "min_stride": 4,
        "proposed_scales": None,
        "num_below_proposed": None,
        "are_fixed": False,
    }
    assert fit.problems() == []
    assert str(fit) == (
        "Anchors 16, 32, 64, 96, 128 at 128x128: good. These boxes, from which detection starts, "
        "fit 1 of 1 object (100%) by an IoU of 0.5 or more; median 1.00"
    )


def test_other_scales_are_proposed():
    boxes = np.array([[y, x, y + 8, x + 8] for y in range(0, 96, 24) for x in range(0, 96, 24)])
    sizes = np.tile([128, 128], (len(boxes), 1))
    fit = measure_anchors(config(RPN_ANCHOR_SCALES=(32, 64, 128, 256, 512)), boxes, sizes)
    assert (fit.num_objects, fit.num_below) == (16, 16)
    assert fit.proposed_scales[0] in (6, 8, 12) and fit.num_below_proposed == 0
    assert fit.proposed_scales == [fit.proposed_scales[0] * 2**level for level in range(5)]
    (problem,) = fit.problems()
    assert ": not good, see the warnings. " in str(fit) and "fit 0 of 16 objects (0%)" in str(fit)
    assert (problem.severity, problem.kind) == ("warning", "anchor_scales")
    assert "16 of 16 objects (100%) have an IoU of 0.5 with no anchor" in problem.message
    assert f"RPN_ANCHOR_SCALES = {tuple(fit.proposed_scales)} would leave 0 of 16" in (
        problem.message
    )


def test_elongated_objects_have_no_better_scales():
    boxes = np.array([[0, x, 120, x + 6] for x in range(0, 100, 10)])
    fit = measure_anchors(config(), boxes, np.tile([128, 128], (10, 1)))
    assert fit.num_below == 10 and fit.proposed_scales is None
    assert [problem.kind for problem in fit.problems()] == ["anchor_scales"]
    assert "RPN_ANCHOR_SCALES" not in fit.problems()[0].message


def test_objects_below_the_finest_stride():
    # 1024 pixels become 128: 24 pixels become 3.
    boxes = np.array([[0, 0, 24, 24], [100, 100, 500, 500]])
    fit = measure_anchors(config(), boxes, np.array([[1024, 1024], [1024, 1024]]))
    assert fit.num_below_stride == 1
    (problem,) = [p for p in fit.problems() if p.kind == "below_stride"]
    assert "1 of 2 objects (50%) are less than 4 pixels" in problem.message


@pytest.mark.parametrize("mode", ["square", "pad64"])
def test_boxes_are_moved_by_the_padding(mode):
    settings = config(IMAGE_RESIZE_MODE=mode, IMAGE_MIN_DIM=64 if mode == "pad64" else 100)
    size = (61, 37)
    image, (top, left, bottom, right), *_ = resize_image(
        np.zeros((*size, 3), np.uint8), settings.IMAGE_MIN_DIM, 128, mode=mode
    )
    assert top % 4 or left % 4
    scale = np.tile([(bottom - top) / 61, (right - left) / 37], 2)
    for box in random_boxes(20, *size):
        moved = box[None] * scale + (top, left, top, left)
        best = compute_overlaps(anchors_for_image(settings, image.shape), moved).max()
        fit = measure_anchors(settings, box[None], np.array([size]))
        assert fit.median_overlap == round(best, 4)
        assert fit.image_shape == list(image.shape[:2])


def test_images_of_several_sizes_are_resized_each():
    settings = config(RPN_ANCHOR_SCALES=(16, 32, 64, 96, 128))
    boxes = np.array([[16, 16, 48, 48], [64, 64, 192, 192], [0, 0, 128, 128]])
    fit = measure_anchors(settings, boxes, np.array([[64, 64], [256, 256], [128, 128]]))
    assert (fit.num_objects, fit.num_below, fit.median_overlap) == (3, 0, 1.0)


def test_without_objects():
    assert measure_anchors(config(), np.zeros((0, 4)), np.zeros((0, 2))) is None
