"""Box arithmetic in NumPy against the Keras layers."""

import numpy as np
import pytest

from mrcnn.engines.box_arithmetic import BoxArithmetic
from mrcnn.geometry.anchors import normalized_anchors
from mrcnn.geometry.image_meta import compose_image_meta
from mrcnn.layers.detections import DetectionLayer, JointScores
from mrcnn.layers.proposals import ProposalLayer
from tests.tiny import tiny_config


def softmax(logits):
    values = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (values / values.sum(axis=-1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("limit, count", [(100, 30), (100_000, 1000), (50, 200)])
@pytest.mark.parametrize("levels_of_score", [None, 8])
def test_proposals(limit, count, levels_of_score):
    config = tiny_config(PRE_NMS_LIMIT=limit, POST_NMS_ROIS_INFERENCE=count)
    anchors = normalized_anchors(config, (64, 64, 3))[1]
    random = np.random.RandomState(0)
    rpn_class = softmax(random.randn(len(anchors), 2))
    if levels_of_score:  # many equal ones
        rpn_class = np.round(rpn_class * levels_of_score) / np.float32(levels_of_score)
    rpn_bbox = random.randn(len(anchors), 4).astype(np.float32)
    boxes, scores = BoxArithmetic(config).proposals(rpn_class, rpn_bbox, anchors)
    layer = ProposalLayer(count, config.RPN_NMS_THRESHOLD, config, return_scores=True)
    expected = layer([x[None] for x in (rpn_class, rpn_bbox, anchors)])
    assert boxes.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(boxes, np.asarray(expected[0])[0], atol=1e-6)
    np.testing.assert_array_equal(scores, np.asarray(expected[1])[0])
    assert (boxes != 0).any(axis=1).sum() > 10


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("min_confidence", [0.0, 0.4])
def test_detections(joint, min_confidence):
    config = tiny_config(
        JOINT_SCORES=joint, DETECTION_MIN_CONFIDENCE=min_confidence, DETECTION_MAX_INSTANCES=20
    )
    random = np.random.RandomState(1)
    count, classes = 60, config.NUM_CLASSES
    corners = random.uniform(0, 0.6, (count, 2))
    rois = np.concatenate([corners, corners + random.uniform(0.05, 0.4, (count, 2))], axis=1)
    rois[-5:] = 0  # padding
    rois = rois.astype(np.float32)
    probs = softmax(2 * random.randn(count, classes))
    deltas = random.randn(count, classes, 4).astype(np.float32)
    scores = random.uniform(0.2, 1, (count, 1)).astype(np.float32)
    meta = compose_image_meta(0, (40, 60, 3), (64, 64, 3), (11, 0, 53, 64), 1, [0] * classes)
    meta = meta.astype(np.float32)
    found = BoxArithmetic(config).detections(rois, scores, probs, deltas, meta)
    ranking = JointScores()([probs[None], scores[None]]) if joint else probs[None]
    expected = DetectionLayer(config)([rois[None], ranking, deltas[None], meta[None]])
    expected = np.asarray(expected)[0]
    assert found.dtype == np.float32 and 5 < (found[:, 4] > 0).sum() <= 20
    np.testing.assert_allclose(found[:, :4], expected[:, :4], atol=1e-6)
    np.testing.assert_array_equal(found[:, 4:], expected[:, 4:])


def test_later_changes_of_the_settings_have_no_effect():
    config = tiny_config(POST_NMS_ROIS_INFERENCE=7)
    arithmetic = BoxArithmetic(config)
    config.POST_NMS_ROIS_INFERENCE = 3
    anchors = normalized_anchors(config, (64, 64, 3))[1]
    zeros = np.zeros((len(anchors), 4), np.float32)
    assert arithmetic.proposals(zeros[:, :2], zeros, anchors)[0].shape == (7, 4)
