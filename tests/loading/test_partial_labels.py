"""Labels with weights, instances without masks, and images that are not exhaustively annotated."""

import logging

import numpy as np
import pytest

from mrcnn.loading.batches import TrainingBatches, make_batches
from mrcnn.loading.cache import CachedDataset
from mrcnn.loading.examples import ExampleSettings, anchors_of, make_example, stack_examples
from mrcnn.loading.image_gt import load_ground_truth, load_image_gt
from mrcnn.loading.rpn_targets import build_rpn_targets
from tests.loading.toys import ToyConfig, ToyDataset

BOXES = [[(8, 8, 32, 32), (30, 40, 46, 60)], [(4, 20, 40, 56)]]


class Partial(ToyConfig):
    PARTIAL_LABELS = True


class Weighted(ToyDataset):
    """Two images with weights, the second not exhaustively annotated."""

    weights = ([[0.25, 1], [0.5, 0]], [[1, 0]])

    def __init__(self, boxes=BOXES):
        super().__init__(boxes)
        self.image_info[1]["exhaustive"] = False

    def load_label_weights(self, image_id):
        return np.array(self.weights[image_id])


def test_weights_follow_the_visible_instances():
    def shift(image, mask):  # the second instance leaves the image
        return image, np.roll(mask, -40, axis=0) & (np.arange(64) < 24)[:, None, None]

    everything = load_ground_truth(Weighted(), Partial(), 0)
    assert everything[5].tolist() == [[0.25, 1], [0.5, 0]] and everything[5].dtype == np.float32
    gone = load_ground_truth(Weighted([[(0, 0, 8, 8), (40, 8, 48, 16)]] * 2), Partial(), 0,
                             augmentation=shift)  # fmt: skip
    assert gone[2].tolist() == [2] and gone[5].tolist() == [[0.5, 0]]
    assert len(load_image_gt(Weighted(), Partial(), 0)) == 5


@pytest.mark.parametrize("config", [ToyConfig(), Partial()])
def test_weights_are_1_without_the_setting_or_the_method(config):
    dataset = ToyDataset(BOXES) if config.PARTIAL_LABELS else Weighted()
    assert load_ground_truth(dataset, config, 0)[5].tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize(
    "weights, message",
    [
        ([[1, 1]], r"image 0 .*load_label_weights gave the shape \(1, 2\); it must be \(2, 2\)"),
        ([1, 1], r"gave the shape \(2,\)"),
        ([[1, 1], [1, -0.5]], "gave -0.5 to 1; weights must be finite numbers of at least 0"),
        ([[1, 1], [np.nan, 1]], "gave nan to nan; weights must be finite"),
        ([[1, 1], [np.inf, 1]], "gave 1 to inf"),
    ],
)
def test_wrong_weights(weights, message):
    dataset = Weighted()
    dataset.weights = [weights]
    with pytest.raises(ValueError, match=message):
        load_ground_truth(dataset, Partial(), 0)


def example(image_id, config=None):
    config = config or Partial()
    rng = np.random.default_rng(0)
    return make_example(Weighted(), config, image_id, anchors_of(config), ExampleSettings(), rng)


def test_nothing_is_background_where_not_everything_is_annotated():
    found = example(1)
    assert found.class_ids.tolist() == [-1, 1]
    assert found.boxes[0].tolist() == [-64, -64, 128, 128]  # also the anchors beyond the image
    assert not found.masks[..., 0].any() and found.weights.tolist() == [[1, 1], [1, 0]]
    assert (found.rpn_match == 1).any() and not (found.rpn_match == -1).any()
    # Without the setting it is an image as any other.
    plain = example(1, ToyConfig())
    assert plain.class_ids.tolist() == [1] and (plain.rpn_match == -1).any()
    # An exhaustive image has its negatives.
    assert (example(0).rpn_match == -1).any() and example(0).class_ids.tolist() == [1, 2]


def test_the_ignored_box_stays_where_there_are_too_many_instances():
    class Two(Partial):
        MAX_GT_INSTANCES = 2

    dataset = Weighted([[], [(y, x, y + 6, x + 6) for y in (0, 20) for x in (0, 20, 40)]])
    dataset.weights = [[], [[i, 1] for i in range(6)]]
    config = Two()
    for seed in range(5):
        found = make_example(
            dataset, config, 1, anchors_of(config), ExampleSettings(), np.random.default_rng(seed)
        )
        assert found.class_ids[0] == -1 and len(found.class_ids) == 2
        # The weight of the other one is its own: instance i has the class i % 3 + 1.
        assert found.class_ids[1] == found.weights[1, 0] % 3 + 1


def test_batches_have_the_weights_as_the_eighth_input():
    examples = [example(0), example(1)]
    inputs, outputs = stack_examples(examples, Partial())
    assert len(inputs) == 8 and outputs == []
    assert inputs[7].shape == (2, 5, 2) and inputs[7].dtype == np.float32
    assert inputs[7][0].tolist() == [[0.25, 1], [0.5, 0], [0, 0], [0, 0], [0, 0]]
    assert len(stack_examples([example(0, ToyConfig())], ToyConfig())[0]) == 7
    (batch,) = TrainingBatches(Weighted(), Partial(), random_rois=3, seed=0)[0]
    assert len(batch) == 9 and batch[7].shape == (2, 5, 2) and batch[8].shape == (2, 3, 4)


def test_cache_keeps_the_weights():
    calls = []

    class Counted(Weighted):
        def load_label_weights(self, image_id):
            calls.append(image_id)
            return None if image_id else super().load_label_weights(image_id)

    cached = CachedDataset(Counted())
    for _ in range(2):
        assert cached.load_label_weights(0).tolist() == [[0.25, 1], [0.5, 0]]
        assert cached.load_label_weights(1) is None
    assert calls == [0, 1]


@pytest.mark.parametrize(
    "anchor, matterport, partial",
    [
        ([20, 20, 30, 30], 0, 0),  # inside of the box to be ignored
        ([16, 20, 26, 30], 0, 0),  # by six tenths of its area
        ([14, 20, 24, 30], 0, -1),  # by four tenths
        ([0, 0, 50, 50], 0, -1),  # holds it, and most of it is outside
        ([0, 0, 10, 10], -1, -1),
    ],
)
def test_anchors_on_an_ignored_box(anchor, matterport, partial):
    anchors, box = np.array([anchor], float), np.array([[20, 20, 40, 40]])
    for config, expected in ((ToyConfig(), matterport), (Partial(), partial)):
        match, _ = build_rpn_targets((64, 64), anchors, np.array([-2]), box, config)
        assert match.tolist() == [expected]


def test_an_anchor_on_an_object_and_an_ignored_box_is_positive():
    anchors, boxes = np.array([[20.0, 20, 40, 40]]), np.array([[20, 20, 40, 40]] * 2)
    match, _ = build_rpn_targets((64, 64), anchors, np.array([-2, 1]), boxes, Partial())
    assert match.tolist() == [1]


def test_warning_where_the_setting_is_missing(caplog):
    arguments = {
        "epoch": 0,
        "augmentation": None,
        "no_augmentation_sources": None,
        "workers": 0,
        "seed": 0,
        "cache": False,
        "on_error": "raise",
    }
    with caplog.at_level(logging.WARNING, "mrcnn"):
        make_batches(Weighted(), None, Partial(), **arguments)
        assert not caplog.records
        make_batches(Weighted(), None, ToyConfig(), **arguments)
    (record,) = caplog.records
    assert "1 of 2 images are marked as not exhaustively annotated" in record.getMessage()
