"""The graphs: inputs, outputs, names of layers, shared weights, precision."""

import keras
import numpy as np
import pytest

from mrcnn import graphs
from mrcnn.config_rules import LOSS_NAMES
from mrcnn.geometry.boxes import denorm_boxes
from mrcnn.geometry.image_meta import compose_image_meta
from mrcnn.loading.batches import TrainingBatches
from tests.layers.arrays import numpy
from tests.tiny import Squares, randomize, tiny_config, tiny_shapes


@pytest.fixture(scope="module")
def shared():
    shared = graphs.SharedLayers(tiny_config())
    shared.training = graphs.training_graph(shared)
    shared.inference = graphs.inference_graph(shared)
    randomize(shared.training)
    return shared


# What Matterport's samples and notebooks ask `keras_model.get_layer` for.
LAYERS = {
    "rpn_class": (None, None, 2),
    "rpn_bbox": (None, None, 4),
    "ROI": (None, 24, 4),
    "roi_align_classifier": (None, 24, 7, 7, 8),
    "mrcnn_class": (None, 24, 3),
    "mrcnn_bbox": (None, 24, 3, 4),
    "mrcnn_detection": (None, 6, 6),
    "roi_align_mask": (None, 6, 14, 14, 8),
    "mrcnn_mask": (None, 6, 28, 28, 3),
    "fpn_p2": (None, None, None, 8),
    "fpn_p6": (None, None, None, 8),
}


@pytest.fixture(scope="module")
def inference():
    """A graph of its own: a layer's `output` is that of its first call."""
    return graphs.inference_graph(graphs.SharedLayers(tiny_config()))


@pytest.mark.parametrize("name", LAYERS)
def test_layers_by_name(inference, name):
    assert tuple(inference.get_layer(name).output.shape) == LAYERS[name]


def test_inputs_and_outputs_of_inference(shared):
    names = [x.name for x in shared.inference.inputs]
    assert names == ["input_image", "input_image_meta", "input_anchors"]
    shapes = [tuple(x.shape[1:]) for x in shared.inference.outputs]
    expected = [(6, 6), (24, 3), (24, 3, 4), (6, 28, 28, 3), (24, 4), (None, 2), (None, 4)]
    assert shapes == expected


def test_joint_scores():
    shared = graphs.SharedLayers(tiny_config(JOINT_SCORES=True, DETECTION_MIN_CONFIDENCE=0))
    model = graphs.inference_graph(shared)
    randomize(model)
    assert tuple(model.get_layer("ROI").output.shape) == (None, 24, 4)
    parts = [model.get_layer(name).output for name in ("mrcnn_class", "mrcnn_detection")]
    scores = model.get_layer("ROI_with_scores").output[1]
    config = shared.config
    image = np.random.RandomState(0).uniform(-100, 100, (1, *config.IMAGE_SHAPE))
    shape, active = config.IMAGE_SHAPE, [1] * config.NUM_CLASSES
    meta = compose_image_meta(0, shape, shape, (0, 0, *shape[:2]), 1.0, active)
    anchors = graphs.normalized_anchors(config, config.IMAGE_SHAPE)[1]
    inputs = [image, meta[None], anchors[None]]
    found = keras.Model(model.inputs, [scores, *parts])([np.float32(x) for x in inputs])
    objectness, probs, detections = (numpy(x)[0] for x in found)
    joint = np.sqrt(probs * objectness)
    for *_, class_id, score in detections[detections[:, 4] > 0]:
        assert np.isclose(joint[:, int(class_id)], score, atol=1e-6).any()
    assert (detections[:, 4] > 0).any()


def test_inputs_and_outputs_of_training(shared):
    names = [x.name for x in shared.training.inputs]
    assert names == [
        *("input_image", "input_image_meta", "input_rpn_match", "input_rpn_bbox"),
        *("input_gt_class_ids", "input_gt_boxes", "input_gt_masks"),
    ]
    assert len(shared.training.outputs) == 14
    assert [tuple(x.shape) for x in shared.training.outputs[-5:]] == [()] * 5
    losses = [x._keras_history.operation.name for x in shared.training.outputs[-5:]]
    assert tuple(losses) == LOSS_NAMES


def test_training_on_given_rois_and_whole_masks():
    config = tiny_config(USE_RPN_ROIS=False, USE_MINI_MASK=False)
    model = graphs.training_graph(graphs.SharedLayers(config))
    assert model.inputs[-1].name == "input_roi"
    assert tuple(model.inputs[-1].shape) == (None, 24, 4)
    assert tuple(model.inputs[6].shape) == (None, 64, 64, 4)


@pytest.mark.parametrize("use_rpn_rois", [True, False])
def test_training_on_partial_labels_has_weights_as_the_eighth_input(use_rpn_rois):
    config = tiny_config(PARTIAL_LABELS=True, USE_RPN_ROIS=use_rpn_rois)
    model = graphs.training_graph(graphs.SharedLayers(config))
    assert [x.name for x in model.inputs[6:8]] == ["input_gt_masks", "input_gt_weights"]
    assert tuple(model.inputs[7].shape) == (None, 4, 2)
    assert [x.name for x in model.inputs[8:]] == ([] if use_rpn_rois else ["input_roi"])
    assert len(model.outputs) == 14


@pytest.mark.parametrize(
    "weights, boxes, masks",
    [(None, 1, 1), ([1, 1], 1, 1), ([1, 0], 1, 0), ([0.5, 1], 0.5, 0.5), ([0, 1], 0, 0)],
)
def test_losses_of_weighted_labels(weights, boxes, masks):
    """Losses relative to those without weights, of a batch with objects of one weight."""
    keras.utils.set_random_seed(0)
    plain = tiny_config(USE_RPN_ROIS=False)
    partial = tiny_config(USE_RPN_ROIS=False, PARTIAL_LABELS=True)

    class Weighted(Squares):
        def load_label_weights(self, image_id):
            return None if weights is None else [weights] * 2

    losses = []
    shared = graphs.SharedLayers(plain)
    for config in (plain, partial):
        shared.config = config
        model = graphs.training_graph(shared)
        layer = model.get_layer("proposal_targets")
        layer.seed_generator.state.assign(np.array([0, 1], "uint32"))
        (batch,) = TrainingBatches(Weighted(), config, seed=0, random_rois=24)[0]
        batch[-1][:, :2] = batch[5][:, :2]  # two ROIs on the objects
        losses.append([float(numpy(x)) for x in model(list(batch))[-5:]])
    (_, _, _, box, mask), (_, _, _, found_box, found_mask) = losses
    assert losses[0][:2] == pytest.approx(losses[1][:2])
    assert box > 0 and mask > 0
    assert found_box == pytest.approx(box * boxes, rel=1e-4)
    assert found_mask == pytest.approx(mask * masks, rel=1e-4)


@pytest.mark.parametrize(
    "train_bn, mask_rois, expected",
    [
        (False, None, 3),  # int(12 * 0.33) can be positive
        (None, None, 12),  # batch statistics over all, as in Matterport's package
        (True, None, 12),
        (None, 3, 3),
        (None, 5, 5),
        (False, 12, 12),
        (False, 200, 12),
    ],
)
def test_rois_that_the_mask_head_sees_in_training(train_bn, mask_rois, expected):
    config = tiny_config(TRAIN_BN=train_bn, MASK_ROIS_PER_IMAGE=mask_rois)
    model = graphs.training_graph(graphs.SharedLayers(config))
    assert model.get_layer("roi_align_mask").output.shape[1] == expected
    masks = model.outputs[6]  # zero rows where the head did not run
    assert tuple(masks.shape) == (None, 12, 28, 28, 3)


def test_training_and_inference_share_every_weight(shared):
    assert {id(w) for w in shared.training.weights} == {id(w) for w in shared.inference.weights}
    parts = [graphs.detection_graph(shared), graphs.mask_graph(shared)]
    found = {id(w) for part in parts for w in part.weights}
    assert found == {id(w) for w in shared.inference.weights}


def test_two_part_detection_equals_the_inference_graph(shared):
    image = np.random.RandomState(0).normal(0, 60, (1, 64, 128, 3)).astype(np.float32)
    meta = np.array([[0, 64, 128, 3, 64, 128, 3, 0, 0, 64, 128, 1, 0, 0, 0]], np.float32)
    _, anchors = graphs.normalized_anchors(shared.config, (64, 128, 3))
    inputs = [image, meta, anchors[None].astype(np.float32)]
    whole = [numpy(x) for x in shared.inference(inputs, training=False)]
    detections, *pyramid = graphs.detection_graph(shared)(inputs, training=False)
    inputs = [detections, keras.ops.convert_to_tensor(meta), *pyramid]
    masks = numpy(graphs.mask_graph(shared)(inputs, training=False))
    np.testing.assert_allclose(numpy(detections), whole[0], atol=1e-5)
    found = np.where(whole[0][0, :, 4] > 0)[0]
    assert len(found) > 1
    class_ids = whole[0][0, found, 4].astype(int)
    np.testing.assert_allclose(masks[0, found], whole[3][0, found, :, :, class_ids], atol=1e-5)


def test_normalized_anchors_cover_the_image():
    pixels, normalized = graphs.normalized_anchors(tiny_config(), (64, 128, 3))
    cells = 16 * 32 + 8 * 16 + 4 * 8 + 2 * 4 + 1 * 2
    assert pixels.shape == normalized.shape == (cells * 3, 4)
    np.testing.assert_array_equal(denorm_boxes(normalized, (64, 128)), np.rint(pixels))


@pytest.mark.parametrize("precision, dtype", [("bfloat16", "bfloat16"), ("float32", "float32")])
def test_precision(precision, dtype):
    before = keras.config.dtype_policy()
    shared = graphs.SharedLayers(tiny_config(PRECISION=precision))
    model = graphs.inference_graph(shared)
    assert keras.config.dtype_policy() == before
    assert all(level.dtype == dtype for level in shared.pyramid)
    assert all(w.dtype == "float32" for w in model.weights)
    assert all(x.dtype == "float32" for x in model.outputs)


@pytest.mark.parametrize("mode", ["training", "inference"])
def test_weight_files_have_matterports_order_for_a_resnet_only(mode, shared):
    assert shared.inference.file_layer_names is None
    names = graphs._file_layer_names(tiny_config(BACKBONE="resnet50"), mode)
    assert ("proposal_targets" in names) == (mode == "training")


@pytest.mark.parametrize("shapes", [lambda s: tiny_shapes(s) + 1, lambda s: tiny_shapes(s)[:4]])
def test_backbone_and_its_shapes_must_agree(shapes):
    config = tiny_config(COMPUTE_BACKBONE_SHAPE=shapes)
    with pytest.raises(
        ValueError, match=r"COMPUTE_BACKBONE_SHAPE is .* must give .*\[\(16, 16\), \("
    ):
        graphs.SharedLayers(config)


def test_anchors_beside_their_cells():
    config = tiny_config(BACKBONE_STRIDES=[8, 16, 32, 64, 128])
    with pytest.warns(UserWarning, match=r"covers \[4.0, 8.0, 16.0, 32.0, 64.0\] pixels"):
        graphs.SharedLayers(config)


def test_shapes_are_compared_at_sides_that_the_network_takes():
    graphs.SharedLayers(tiny_config(IMAGE_RESIZE_MODE="none", IMAGE_MAX_DIM=100))


@pytest.mark.parametrize("channels, by_hand", [(1, False), (4, False), (4, True)])
def test_images_of_other_channels(channels, by_hand):
    config = tiny_config(MEAN_PIXEL=np.zeros(channels))
    if by_hand:  # as scripts for versions without IMAGE_CHANNEL_COUNT do
        config.IMAGE_SHAPE = np.array([64, 64, channels])
    else:
        config.IMAGE_CHANNEL_COUNT = channels
    shared = graphs.SharedLayers(config)
    for model in (graphs.training_graph(shared), graphs.inference_graph(shared)):
        assert tuple(model.inputs[0].shape) == (None, None, None, channels)


@pytest.mark.parametrize("scales", [(8, 16, 24, 32, 64), [8, 16, 24, 32], np.array([8, 16])])
def test_one_anchor_for_each_row_of_the_rpn(scales):
    config = tiny_config(RPN_ANCHOR_SCALES=scales)
    shared = graphs.SharedLayers(config)
    model = keras.Model(shared.image, shared.rpn_class)
    rows = model(np.zeros((1, 64, 128, 3), np.float32)).shape[1]
    assert rows == len(graphs.normalized_anchors(config, (64, 128, 3))[0])
