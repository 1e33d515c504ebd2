"""ProposalLayer: the best anchors, moved by their deltas, clipped, without doubles."""

import keras
import numpy as np

from mrcnn.config import Config
from mrcnn.layers.proposals import ProposalLayer, ProposalSteps
from tests.layers.arrays import numpy, tensor

ANCHORS = [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0.01, 0.5, 0.51], [0.8, 0.8, 1.2, 1.2]]


def proposals(scores, deltas=None, count=4, **settings):
    """Boxes of one image for the four anchors."""
    deltas = np.zeros((len(scores), 4)) if deltas is None else deltas
    probs = [[1 - s, s] for s in scores]
    layer = ProposalLayer(count, 0.5, **settings)
    anchors = ANCHORS[: len(scores)]
    return numpy(layer([tensor([probs]), tensor([deltas]), tensor([anchors])]))[0]


def test_best_first_doubles_dropped_and_clipped():
    found = proposals([0.5, 0.6, 0.4, 0.9])
    expected = [[0.8, 0.8, 1, 1], [0.5, 0.5, 1, 1], [0, 0, 0.5, 0.5], [0, 0, 0, 0]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_scores():
    layer = ProposalLayer(4, 0.5, return_scores=True)
    probs = [[1 - s, s] for s in (0.5, 0.6, 0.4, 0.9)]
    inputs = [tensor([probs]), tensor(np.zeros((1, 4, 4))), tensor([ANCHORS])]
    boxes, scores = layer(inputs)
    np.testing.assert_allclose(numpy(scores)[0, :, 0], [0.9, 0.6, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(numpy(boxes)[0], proposals([0.5, 0.6, 0.4, 0.9]))
    shapes = layer.compute_output_shape([(2, 9, 2), (2, 9, 4), (2, 9, 4)])
    assert shapes == [(2, 4, 4), (2, 4, 1)]
    assert ProposalLayer.from_config(layer.get_config()).return_scores


def test_deltas_count_in_standard_deviations():
    # dy 1.0 * 0.1 of the height 0.5; log height 5 * 0.2 = 1
    found = proposals([0.9], [[1, 0, 0, 0]], count=1)
    np.testing.assert_allclose(found, [[0.05, 0, 0.55, 0.5]], atol=1e-6)
    config = Config()
    config.RPN_BBOX_STD_DEV = np.array([0.2, 0.1, 0.2, 0.2])
    found = proposals([0.9], [[1, 0, 0, 0]], count=1, config=config)
    np.testing.assert_allclose(found, [[0.1, 0, 0.6, 0.5]], atol=1e-6)


def test_only_the_best_anchors_take_part():
    config = Config()
    config.PRE_NMS_LIMIT = 1
    found = proposals([0.5, 0.6, 0.4], config=config)
    np.testing.assert_allclose(found, [[0.5, 0.5, 1, 1], *[[0] * 4] * 3], atol=1e-6)


def test_images_of_a_batch_do_not_mix():
    layer = ProposalLayer(1, 0.5)
    probs = [[[0.9, 0.1], [0.1, 0.9]], [[0.1, 0.9], [0.9, 0.1]]]
    anchors = [ANCHORS[:2]] * 2
    found = numpy(layer([tensor(probs), tensor(np.zeros((2, 2, 4))), tensor(anchors)]))
    np.testing.assert_allclose(found[:, 0], [ANCHORS[1], ANCHORS[0]])


def test_config_round_trip():
    layer = ProposalLayer(7, 0.6, config=Config(), name="ROI")
    again = ProposalLayer.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.proposal_count, again.nms_threshold) == (7, 0.6)
    assert (again.bbox_std_dev, again.pre_nms_limit) == ((0.1, 0.1, 0.2, 0.2), 6000)


def step_inputs():
    """The first anchor is best, the third nearly equals it, the fourth leaves the image."""
    scores = [0.9, 0.5, 0.8, 0.6]
    deltas = np.zeros((1, 4, 4))
    deltas[0, 3] = [-1, 0, 0, 0]  # 0.1 of the height 0.4 upwards
    return [[[1 - s, s] for s in scores]], deltas, [ANCHORS]


STEPS = {
    "top_anchors": [0, 2, 3],
    "pre_nms_anchors": [ANCHORS[0], ANCHORS[2], ANCHORS[3]],
    "refined_anchors": [ANCHORS[0], ANCHORS[2], [0.76, 0.8, 1.16, 1.2]],
    "refined_anchors_clipped": [ANCHORS[0], ANCHORS[2], [0.76, 0.8, 1, 1]],
    "rpn_non_max_suppression": [0, 2, -1, -1],
    "proposals": [ANCHORS[0], [0.76, 0.8, 1, 1], [0] * 4, [0] * 4],
    "proposal_scores": [[0.9], [0.6], [0], [0]],
}


def test_the_steps_by_name():
    layer = ProposalLayer(4, 0.5, pre_nms_limit=3)
    steps = layer.steps([tensor(x) for x in step_inputs()])
    assert list(steps) == list(STEPS)
    for name, expected in STEPS.items():
        np.testing.assert_allclose(numpy(steps[name])[0], expected, atol=1e-6, err_msg=name)


def test_a_layer_of_the_steps_in_a_model():
    layer = ProposalLayer(4, 0.5, pre_nms_limit=3, name="ROI")
    inputs = [keras.Input((None, size)) for size in (2, 4, 4)]
    steps = ProposalSteps.of(layer)(inputs)
    assert steps["rpn_non_max_suppression"].dtype == "int32"
    assert tuple(steps["refined_anchors"].shape) == (None, None, 4)
    found = keras.Model(inputs, steps)([tensor(x) for x in step_inputs()])
    for name, expected in STEPS.items():
        np.testing.assert_allclose(numpy(found[name])[0], expected, atol=1e-6, err_msg=name)
