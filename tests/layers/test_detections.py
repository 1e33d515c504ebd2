"""DetectionLayer: refine, filter, suppress by class, pad."""

import numpy as np
import pytest

from mrcnn.layers.detections import DetectionLayer, JointScores, refine_detections_graph
from tests.layers.arrays import image_meta, numpy, tensor
from tests.tiny import tiny_config

ROIS = [[0.1, 0.1, 0.3, 0.3], [0.1, 0.1, 0.3, 0.31], [0.5, 0.5, 0.9, 0.9]]


def detections(probs, deltas=None, rois=ROIS, window=(0, 0, 1, 1), **settings):
    deltas = np.zeros((len(rois), 3, 4)) if deltas is None else deltas
    config = tiny_config(**{"DETECTION_MAX_INSTANCES": 4, **settings})
    return numpy(
        refine_detections_graph(tensor(rois), tensor(probs), tensor(deltas), tensor(window), config)
    )


def test_best_first_and_overlap_within_a_class_dropped():
    found = detections([[0.1, 0.6, 0.3], [0.1, 0.8, 0.1], [0.0, 0.1, 0.9]])
    np.testing.assert_allclose(
        found, [[*ROIS[2], 2, 0.9], [*ROIS[1], 1, 0.8], [0] * 6, [0] * 6], atol=1e-6
    )


def test_overlap_between_classes_stays():
    found = detections([[0.1, 0.2, 0.7], [0.1, 0.8, 0.1], [0.9, 0.1, 0.0]])
    np.testing.assert_allclose(found[:, 4], [1, 2, 0, 0])


def test_all_background_gives_zero_rows():
    assert not detections([[0.9, 0.1, 0]] * 3).any()


@pytest.mark.parametrize("limit, count", [(0.8, 2), (0.81, 1), (0.95, 0), (0, 3), (None, 3)])
def test_least_confidence(limit, count):
    probs = [[0.2, 0, 0.8], [0.4, 0.6, 0], [0.1, 0.9, 0]]
    found = detections(probs, DETECTION_MIN_CONFIDENCE=limit)
    assert (found[:, 4] > 0).sum() == count


def test_deltas_of_the_own_class_in_standard_deviations_then_clipped():
    deltas = np.zeros((1, 3, 4))
    deltas[0, 1] = [5, 0, 0, 0]  # 5 * 0.1 * height 0.4 down
    deltas[0, 2] = [-9, -9, 3, 3]
    found = detections([[0, 0.9, 0.1]], deltas, ROIS[2:], window=(0, 0, 0.95, 0.8))
    np.testing.assert_allclose(found[0], [0.7, 0.5, 0.95, 0.8, 1, 0.9], atol=1e-6)


def test_no_more_than_the_limit():
    rois = [[0, i / 10, 0.1, (i + 1) / 10] for i in range(8)]
    found = detections([[0, 0.5 + i / 100, 0] for i in range(8)], rois=rois)
    np.testing.assert_allclose(found[:, 5], [0.57, 0.56, 0.55, 0.54], rtol=1e-6)


def test_layer_takes_the_window_of_each_image():
    meta = numpy(image_meta(64, 64, batch=2))
    meta[1, 7:11] = 0, 0, 33, 64  # the lower part of the second frame is padding
    layer = DetectionLayer(tiny_config(DETECTION_MAX_INSTANCES=1))
    one_roi, probs = [ROIS[2:]] * 2, [[[0, 0.9, 0.1]]] * 2
    inputs = [one_roi, probs, np.zeros((2, 1, 3, 4)), meta]
    found = numpy(layer([tensor(x) for x in inputs]))
    assert found.shape == (2, 1, 6) == layer.compute_output_shape([(2, 1, 4)] * 4)
    np.testing.assert_allclose(found[0, 0, :4], ROIS[2], rtol=1e-6)
    np.testing.assert_allclose(found[1, 0, :4], [0.5, 0.5, 32 / 63, 0.9], rtol=1e-5)


def test_joint_scores():
    probs = [[[0.1, 0.9, 0], [0.36, 0.25, 0.39]]]
    found = numpy(JointScores()([tensor(probs), tensor([[[0.4], [1.0]]])]))
    np.testing.assert_allclose(found, [[[0.2, 0.6, 0], [0.6, 0.5, 0.39**0.5]]], atol=1e-6)
