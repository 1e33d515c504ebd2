"""What weights know of a new dataset decides what new classes start from, and what is trained."""

import copy
import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest

from mrcnn import model_training
from mrcnn.config import Config
from mrcnn.geometry.boxes import compute_overlaps
from mrcnn.graphs import SharedLayers, training_graph
from mrcnn.model_training import TrainingPlan
from mrcnn.training import detector_classes, first_look
from mrcnn.training.first_look import FirstLook, choose_layers, fit_log_odds, start_classes
from mrcnn.training.options import TrainOptions
from mrcnn.training.starting import StartingPoint
from tests.tiny import Squares, tiny_config


@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (100, 7)])
def test_log_odds_of_two_groups(monkeypatch, scale, shift):
    """Of the first group a fourth are of the class, of the second three fourths."""
    monkeypatch.setattr(first_look, "PENALTY", 0.0)
    group, is_class = np.repeat([0.0, 1.0], 4), np.array([1, 0, 0, 0, 1, 1, 1, 0], bool)
    features = np.column_stack([group * scale + shift, np.full(8, 5.0)])
    slope, offset = fit_log_odds(features, is_class)
    assert slope == pytest.approx([2 * math.log(3) / scale, 0])  # a constant tells nothing
    assert offset + shift * slope[0] == pytest.approx(-math.log(3))


def test_log_odds_of_groups_that_differ_in_everything_stay_finite():
    features = np.repeat([[0.0, 1.0], [1.0, 0.0]], 5, axis=0)
    slope, offset = fit_log_odds(features, np.arange(10) < 5)
    odds = features @ slope + offset
    assert (odds[:5] > 2).all() and (odds[5:] < -2).all() and np.abs(odds).max() < 20
    assert slope[0] == pytest.approx(-slope[1])


def test_weights_and_probabilities_stand_for_repeated_examples():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(12, 3))
    targets = np.array([0, 0.25, 1] * 4)
    weights = np.array([4.0, 4, 8] * 4)
    # Each four times, or eight, and of four with 0.25 one is of the class.
    rows = np.repeat(np.arange(12), weights.astype(int))
    is_class = np.array(([0] * 4 + [1, 0, 0, 0] + [1] * 8) * 4, bool)
    slope, offset = fit_log_odds(features, targets, weights, penalty=0.1)
    scale, mean = features.std(axis=0), features.mean(axis=0)
    x = np.column_stack([(features - mean) / scale, np.ones(12)])
    # At the optimum the gradient over the repeated examples is that of the penalty.
    odds = features[rows] @ slope + offset
    residual = 1 / (1 + np.exp(-odds)) - is_class
    gradient = x[rows].T @ residual / len(rows)
    np.testing.assert_allclose(gradient, [*(-0.1 * slope * scale), 0], atol=1e-9)


def test_steps_that_are_too_long_are_shortened():
    """Newton's own steps end far away: a few large values, and targets near 0 for all others."""
    features = np.exp(0.75 * np.random.default_rng(1).normal(size=(300, 1)))
    targets = 1 / (1 + np.exp(6 - features[:, 0]))
    slope, offset = fit_log_odds(features, targets, penalty=0.01)
    mean, scale = features.mean(), features.std()
    residual = 1 / (1 + np.exp(-(features @ slope + offset))) - targets
    gradient = ((features[:, 0] - mean) / scale * residual).mean() + 0.01 * slope[0] * scale
    assert abs(residual.mean()) < 1e-9 and abs(gradient) < 1e-9


class OneLayer:
    """A model whose only layer has 2 features and 4 classes, the numbers 0 to 3."""

    def __init__(self):
        self.weights = [np.tile(np.arange(4.0), (2, 1)), np.arange(4.0)]

    def get_layer(self, name):
        assert name == "mrcnn_class_logits"
        return self

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = weights


def test_only_new_classes_with_examples_start_from_log_odds():
    features = np.array([[0.0, 1], [0, 2], [1, 1], [1, 2]])
    look = FirstLook(features, np.array([0, 0, 2, 2]), 1.0)
    model = OneLayer()
    assert start_classes(model, look, [2, 3]) == [2]
    slope, offset = fit_log_odds(features, look.class_ids == 2)
    kernel, bias = model.weights
    np.testing.assert_allclose(kernel, [[0, 1, slope[0], 3], [0, 1, slope[1], 3]])
    np.testing.assert_allclose(bias, [0, 1, offset, 3])
    # Without background there is nothing to tell the class from.
    assert start_classes(model, FirstLook(features, np.full(4, 2), 1.0), [2]) == []


@pytest.mark.parametrize(
    ("found", "chosen"),
    [(1, ("roi_heads", 0.01)), (0.9, ("roi_heads", 0.01)), (0.89, ("heads", 1)), (0, ("heads", 1))],
)
def test_proposals_that_find_the_objects_are_kept(found, chosen):
    look = FirstLook(np.zeros((0, 2)), np.zeros(0), found)
    assert choose_layers(look) == chosen
    # With means of the weights before and after, larger steps lose nothing.
    assert choose_layers(look, with_means=True) == {0.01: ("roi_heads", 0.1)}.get(chosen[1], chosen)


def test_a_look_at_images():
    """The proposals are those of the ground truth, by a network whose RPN is left out."""
    config = tiny_config(USE_RPN_ROIS=True)
    dataset = Squares()
    model = training_graph(SharedLayers(config))
    before = [np.array(weight) for weight in model.get_weights()]
    look = first_look.look_at(model, dataset, config)
    assert look.features.shape[1] == config.FPN_CLASSIF_FC_LAYERS_SIZE
    assert len(look.features) == len(look.class_ids) <= 2 * config.TRAIN_ROIS_PER_IMAGE
    assert set(look.class_ids) <= {0, 1, 2}
    assert 0 <= look.found <= 1
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_share_of_objects_that_are_found(monkeypatch):
    """In every image the first object is proposed as it is, the second by less than a half."""
    dataset, config = Squares(), tiny_config(MAX_GT_INSTANCES=3)
    true = np.array([[8, 8, 32, 32], [36, 30, 56, 50], [0, 0, 0, 0]]) / 64
    proposed = np.array([[8, 8, 32, 32], [36, 30, 56, 39], [0, 0, 0, 0]]) / 64
    assert 0.4 < compute_overlaps(true[1:2], proposed[1:2])[0, 0] < 0.5

    class Part:
        def predict_on_batch(self, inputs):
            def two(values):
                return np.stack([values] * 2)

            rois = np.array([[0, 0, 0.5, 0.5], [0, 0, 0, 0]])
            return [
                two(np.array([[1.0, 2], [0, 0]])),
                two(rois),
                two(np.array([1, 0])),
                two(proposed),
                two(np.array([1, 2, 0])),
                two(true),
            ]

    monkeypatch.setattr(first_look.keras, "Model", lambda *arguments, **options: Part())
    layer = SimpleNamespace(input=[None] * 3, output=[None] * 2)
    model = SimpleNamespace(get_layer=lambda name: layer, inputs=[])
    look = first_look.look_at(model, dataset, config)
    assert look.found == 0.5
    assert look.features.tolist() == [[1, 2], [1, 2]]  # rows of zeros are padding
    assert look.class_ids.tolist() == [1, 1]


def make_plan(layers=None, rate=None, resumed=False, **settings):
    """A plan for a class that is known and a new one."""
    config = Config.from_dict({"BACKBONE": "nanodet_pan", "STEPS_PER_EPOCH": 5, **settings})
    given = {field.name: None for field in dataclasses.fields(TrainOptions)}
    given.update(layers=layers, learning_rate=rate, optimizer="sgd", schedule="constant", warmup=0)
    options = TrainOptions(**given)
    start = StartingPoint(config, "w.h5", ["BG", "cat"], resumed)
    data = SimpleNamespace(class_names=["BG", "cat", "gnu"])
    plan_rate, is_given = options.learning_rate_of(config), rate is not None
    return TrainingPlan(start, data, None, None, {}, options, plan_rate, is_given)


KNOWN = {"cat": "cat"}


@pytest.mark.parametrize(
    ("plan", "known", "layers", "rate", "started"),
    [
        (make_plan(), KNOWN, "roi_heads", 0.00001, [2]),
        (make_plan(rate=0.02), KNOWN, "roi_heads", 0.02, [2]),
        (make_plan(layers="5+"), KNOWN, "5+", 0.001, [2]),
        (make_plan(), None, "roi_heads", 0.00001, []),  # all classes are those of the weights
        (make_plan(layers="heads"), None, "heads", 0.001, None),
        (make_plan(layers="heads", resumed=True), KNOWN, "heads", 0.001, None),
        (make_plan(layers="heads", USE_RPN=False), KNOWN, "heads", 0.001, None),
        (make_plan(layers="heads", USE_RPN_ROIS=False), KNOWN, "heads", 0.001, None),
    ],
)
@pytest.mark.parametrize("in_detector", [[], [2]])
def test_when_a_look_is_taken(monkeypatch, plan, known, layers, rate, started, in_detector):
    plan, asked, looked = copy.deepcopy(plan), plan.options.layers, []
    monkeypatch.setattr(detector_classes, "look_at_locations", lambda *given: "locations")

    def start_in_detector(model, locations, new, known_ids):
        assert (locations, new, known_ids) == ("locations", [2], [1])
        return in_detector

    monkeypatch.setattr(detector_classes, "start_in_detector", start_in_detector)
    monkeypatch.setattr(
        first_look, "look_at", lambda *given: FirstLook(np.zeros((0, 2)), np.zeros(0), 0.97)
    )

    def start_classes(model, look, new):
        looked.append(new)
        return new

    monkeypatch.setattr(first_look, "start_classes", start_classes)
    found = model_training._look_first(SimpleNamespace(keras_model=None), plan, known)
    assert plan.options.layers == layers
    assert plan.rate == plan.options.learning_rate == pytest.approx(rate)
    # The class that starts in the detector needs no other start.
    rest = [k for k in started or [] if k not in in_detector]
    assert looked == ([] if started is None else [rest])
    assert plan.knows_classes is (started is not None)
    line = f"Layers   roi_heads, learning rate {rate:g}: 97 % of the objects are proposed already"
    assert found == ([line] if asked is None else [])


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (make_plan(), "learning rate to be chosen, augmentation flips"),
        (make_plan(rate=0.02), "learning rate 0.02, augmentation flips"),
        (make_plan(layers="5+"), "layers 5+, sgd, learning rate 0.001, augmentation flips"),
        (make_plan(BACKBONE="squeezenet"), "learning rate 0.001, augmentation flips"),
    ],
)
def test_what_is_said_before_the_look(plan, text):
    plan.options.augment = "flips"
    plan.train.num_images = 3
    (line,) = (x for x in model_training.describe_training(plan).split("\n") if "Training" in x)
    assert line.endswith(text)


@pytest.mark.parametrize(
    ("backbone", "class_names", "use_rpn", "repeats"),
    [
        ("nanodet_pan", ["BG", "cat"], True, True),
        ("nanodet_pan", ["BG", "cat"], False, False),
        ("nanodet_pan", None, True, False),
        ("squeezenet", ["BG", "cat"], True, False),
    ],
)
def test_weights_that_repeat_a_detector(backbone, class_names, use_rpn, repeats):
    config = Config.from_dict({"BACKBONE": backbone, "USE_RPN": use_rpn})
    assert StartingPoint(config, "w.h5", class_names).repeats_a_detector is repeats
