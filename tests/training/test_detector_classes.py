"""A new class starts as a weighted sum of what the detector in the backbone says."""

from types import SimpleNamespace

import numpy as np
import pytest

from mrcnn.checkpoints.description import describe_weights
from mrcnn.checkpoints.weight_file import open_weights
from mrcnn.config import Config
from mrcnn.graphs import SharedLayers, training_graph
from mrcnn.layers.backbones.nanodet import ABSENT, NUM_COCO_CLASSES, NUM_READINGS
from mrcnn.training import detector_classes
from mrcnn.training.detector_classes import (
    EVIDENCE_FACTOR,
    LEVELS,
    OUTPUT_LAYERS,
    Locations,
    evidence_features,
    look_at_locations,
    start_in_detector,
)
from mrcnn.training.first_look import fit_log_odds
from tests.tiny import Squares

RAW = NUM_COCO_CLASSES + 44


class Layers:
    """A model that is a dictionary of lists of weights."""

    def __init__(self, weights):
        self.weights = weights

    def get_layer(self, name):
        def set_weights(values):
            self.weights[name] = values

        return SimpleNamespace(get_weights=lambda: self.weights[name], set_weights=set_weights)


def make_model(num_classes):
    """Class 1 reads the detector's class 7, the others nothing."""
    rng = np.random.default_rng(0)
    kernel = np.zeros((90, num_classes))
    kernel[7, 1] = 2
    average = np.zeros((3, 3, 96, 90))
    average[:, :, np.arange(90), np.arange(90)] = 1 / 9
    weights = {
        "mrcnn_class_logits": [kernel, np.zeros(num_classes)],
        "mrcnn_class_conv1": [average, np.zeros(90)],
        "mrcnn_class_conv2": [np.eye(90)[None, None], np.zeros(90)],
    }
    for name in OUTPUT_LAYERS:
        weights[name] = [rng.normal(size=(1, 1, 4, RAW)), rng.normal(size=RAW)]
    return Layers(weights)


def make_locations(class_ids, overlaps):
    """The detector's class 7 is high where class 2 is, a little less so its class 30."""
    class_ids, overlaps = np.array(class_ids), np.array(overlaps, float)
    log_odds = np.random.default_rng(1).normal(-6, 0.1, (len(class_ids), NUM_COCO_CLASSES))
    log_odds[:, 7] += 3 * (class_ids == 2)
    log_odds[:, 30] += 2 * (class_ids == 2)
    log_odds[:, 50] += 2 * (class_ids == 3)
    return Locations(log_odds, overlaps, class_ids, np.ones(len(class_ids)))


FIT = make_locations([0] * 20 + [2] * 4 + [3] * 4, [0] * 20 + [0.8, 0.9, 0.9, 0.65] + [0.8] * 4)


def test_places_and_weights():
    model = make_model(4)
    before = {name: [array.copy() for array in model.weights[name]] for name in OUTPUT_LAYERS}
    assert start_in_detector(model, FIT, [2, 3], [1]) == [2, 3]
    kernel, bias = model.weights["mrcnn_class_logits"]
    # The place of class 7 is taken by the known class; 30 and 50 are the next that fit.
    expected = np.zeros((90, 4))
    expected[[7, 30, 50], [1, 2, 3]] = 2
    np.testing.assert_array_equal(kernel, expected)
    np.testing.assert_array_equal(bias, [0, 0, 2 * ABSENT, 2 * ABSENT])
    # Boxes that overlap by 0.5 or less are background, those of 0.8 and more the class.
    for place, target in ((30, [0] * 20 + [1, 1, 1, 0.5] + [0] * 4), (50, [0] * 24 + [1] * 4)):
        slope, offset = fit_log_odds(
            FIT.log_odds, np.array(target), FIT.weights, detector_classes.PENALTY
        )
        for name in OUTPUT_LAYERS:
            (old, old_bias), (new, new_bias) = before[name], model.weights[name]
            np.testing.assert_allclose(new[..., place], old[..., :80] @ slope)
            assert new_bias[place] == pytest.approx(old_bias[:80] @ slope + offset)
            others = np.delete(np.arange(RAW), [30, 50])
            np.testing.assert_array_equal(new[..., others], old[..., others])
            np.testing.assert_array_equal(new_bias[others], old_bias[others])


@pytest.mark.parametrize(
    ("overlaps", "started"),
    [
        ([0.8, 0.8, 0.8], [2]),  # three that fit
        ([0.8, 0.8, 0.79], []),
        ([0.65] * 6, [2]),  # six halves
        ([0.65] * 5, []),
        ([0.5] * 50, []),
    ],
)
def test_classes_without_boxes_that_fit_are_not_started(overlaps, started):
    locations = make_locations([0] * 9 + [2] * len(overlaps), [0] * 9 + overlaps)
    model = make_model(3)
    before = [array.copy() for name in OUTPUT_LAYERS for array in model.weights[name]]
    assert start_in_detector(model, locations, [2], [1]) == started
    after = [array for name in OUTPUT_LAYERS for array in model.weights[name]]
    same = all(np.array_equal(old, new) for old, new in zip(before, after, strict=True))
    assert same is not bool(started)


@pytest.mark.parametrize(("layer", "place"), [("mrcnn_class_conv1", 30), ("mrcnn_class_conv2", 7)])
def test_features_that_were_trained_to_be_another_are_no_places(layer, place):
    model = make_model(3)
    assert start_in_detector(model, FIT, [2], []) == [2]
    assert model.weights["mrcnn_class_logits"][0][7, 2] == 2
    model = make_model(3)
    model.weights[layer][0][..., place, place] = 0
    assert evidence_features(model) == [one for one in range(80) if one != place]
    assert start_in_detector(model, FIT, [2], []) == [2]
    assert model.weights["mrcnn_class_logits"][0][30 if place == 7 else 7, 2] == 2


def test_a_head_of_other_features_has_no_place():
    model = make_model(3)
    model.weights["mrcnn_class_conv2"][0][:] = 0.1
    assert evidence_features(model) == []
    assert start_in_detector(model, FIT, [2], [1]) == []


def test_there_are_80_places():
    num_classes = 83
    ids = np.repeat(np.arange(num_classes), 3)
    locations = make_locations(ids, np.where(ids > 0, 0.9, 0.0))
    model = make_model(num_classes)
    assert start_in_detector(model, locations, range(2, 83), [1]) == list(range(2, 81))
    kernel, _ = model.weights["mrcnn_class_logits"]
    assert (kernel[:80, 1:81].sum(axis=0) == 2).all() and (kernel[:80].sum(axis=1) == 2).all()


def test_locations_of_a_level(monkeypatch):
    """Boxes of 5 cells in the middle of each of 2 x 2 cells of 8 pixels, but for one that moved."""
    monkeypatch.setattr(detector_classes, "SHARE_OF_BACKGROUND", 1.0)
    raw = np.arange(4 * RAW, dtype=np.float32).reshape(2, 2, RAW)
    readings = np.zeros((2, 2, NUM_READINGS), np.float32)
    # 8 x 8 pixels in the middle of the last cell, (12, 12).
    readings[1, 1, 82:84] = np.log(1 / 5)
    rng = np.random.default_rng(0)

    def choose(class_ids, boxes):
        return detector_classes._choose_locations(
            raw, readings, np.array(class_ids), np.array(boxes), 8, rng
        )

    # The other boxes are clipped to the map, of 16 x 16 pixels.
    log_odds, overlaps, ids, weights = choose([2, 5, 0], [[8, 8, 16, 12], [0, 0, 16, 8], [0] * 4])
    np.testing.assert_array_equal(log_odds, raw[..., :80].reshape(4, 80))
    assert overlaps == pytest.approx([0.5, 0.5, 0.5, 0.5])
    assert ids.tolist() == [5, 5, 5, 2] and weights.tolist() == [1, 1, 1, 1]
    # On a crowd, below 0, nothing is known; without objects all is background.
    _, overlaps, ids, _ = choose([-1, 2], [[0, 0, 16, 16], [8, 8, 16, 16]])
    assert overlaps.tolist() == [1] and ids.tolist() == [2]
    _, overlaps, ids, _ = choose([0], [[0] * 4])
    assert overlaps.tolist() == [0] * 4 and ids.tolist() == [0] * 4


def test_background_is_thinned_out():
    raw, readings = np.zeros((40, 40, RAW)), np.zeros((40, 40, NUM_READINGS))
    *_, weights = detector_classes._choose_locations(
        raw, readings, np.array([0]), np.zeros((1, 4)), 8, np.random.default_rng(0)
    )
    assert 320 < len(weights) < 480
    assert set(weights) == {4.0}


def test_a_look_at_the_locations_of_images():
    config = Config.from_dict(
        {
            "BACKBONE": "nanodet_pan",
            "NUM_CLASSES": 3,
            "IMAGES_PER_GPU": 2,
            "IMAGE_MIN_DIM": 64,
            "IMAGE_MAX_DIM": 64,
            "TOP_DOWN_PYRAMID_SIZE": 96,
            "RPN_ANCHOR_SCALES": [20, 40, 80, 160, 160],
            "RPN_ANCHOR_RATIOS": [1],
            "USE_MASK": False,
        }
    )
    model = training_graph(SharedLayers(config))
    before = [np.array(weight) for weight in model.get_weights()]
    found = look_at_locations(model, Squares(), config)
    cells = sum((64 // stride) ** 2 for stride in LEVELS.values())
    assert found.log_odds.shape == (len(found.weights), NUM_COCO_CLASSES)
    assert len(found.weights) == len(found.overlaps) == len(found.class_ids)
    assert found.weights.sum() == pytest.approx(8 * cells, rel=0.3)  # 2 images, 4 times each
    assert set(found.class_ids) <= {0, 1, 2} and 0 <= found.overlaps.min()
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_small_model_has_all_places():
    with open_weights(describe_weights("small").path) as file:
        layers = {
            name: sorted((w.read() for w in file.layers[name]), key=np.ndim, reverse=True)
            for name in ("mrcnn_class_conv1", "mrcnn_class_conv2", "mrcnn_class_logits")
        }
    assert evidence_features(Layers(layers)) == list(range(NUM_COCO_CLASSES))
    kernel, bias = layers["mrcnn_class_logits"]
    # A dog, as the new classes: see `start_in_detector`.
    assert kernel[16, 17] == EVIDENCE_FACTOR and bias[17] == EVIDENCE_FACTOR * ABSENT
