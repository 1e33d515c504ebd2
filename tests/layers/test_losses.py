"""The five losses by hand."""

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.layers import losses
from tests.layers.arrays import numpy, tensor

LOG2, LOG3 = np.log(2), np.log(3)


def test_smooth_l1():
    found = losses.smooth_l1_loss(tensor([0, 0, 0, 2]), tensor([0, 0.5, -1, 5]))
    np.testing.assert_allclose(numpy(found), [0, 0.125, 0.5, 2.5])


@pytest.mark.parametrize(
    "match, logits, expected",
    [
        ([1, -1], [[0, 0], [0, 0]], LOG2),
        ([1, 0], [[0, LOG3], [9, 9]], np.log(4 / 3)),  # the neutral one does not count
        ([-1, -1], [[0, LOG3], [LOG3, 0]], (np.log(4) + np.log(4 / 3)) / 2),
        ([0, 0], [[5, -5], [-5, 5]], 0),
        ([1, 0], [[1000, 0], [0, 0]], 1000),
    ],
)
def test_rpn_class(match, logits, expected):
    match = tensor(np.array(match)[None, :, None], "int32")
    found = losses.rpn_class_loss_graph(match, tensor([logits]))
    assert float(numpy(found)) == pytest.approx(expected, rel=1e-6)


def test_rpn_bbox_pairs_the_nth_target_with_the_nth_positive():
    match = tensor([[[-1], [1], [0], [1]], [[1], [-1], [-1], [-1]]], "int32")
    predicted = np.zeros((2, 4, 4))
    predicted[0, 1], predicted[0, 3], predicted[1, 0] = 1, 2, 3
    predicted[0, 0] = predicted[1, 2] = 99
    targets = np.zeros((2, 3, 4))
    targets[0, 0], targets[0, 1], targets[1, 0] = 1, 1, 1
    targets[0, 2] = 50  # padding
    found = losses.rpn_bbox_loss_graph(None, tensor(targets), match, tensor(predicted))
    assert float(numpy(found)) == pytest.approx((0 + 0.5 + 1.5) / 3)


def class_loss(labels, logits, active):
    return float(
        numpy(
            losses.mrcnn_class_loss_graph(tensor(labels, "int32"), tensor(logits), tensor(active))
        )
    )


def test_mrcnn_class():
    logits = [[[0, 0, LOG2], [0, LOG2, 0]]]
    found = class_loss([[2, 0]], logits, [[1, 1, 1]])
    assert found == pytest.approx((np.log(2) + np.log(4)) / 2)


def test_a_predicted_class_that_the_data_set_lacks_costs_nothing():
    logits = [[[0, 0, LOG2], [0, LOG2, 0]]]
    assert class_loss([[2, 0]], logits, [[1, 1, 0]]) == pytest.approx(np.log(4))
    assert class_loss([[2, 0]], logits, [[1, 0, 0]]) == 0


def test_each_image_has_its_own_classes():
    logits = [[[0, 0, LOG2]], [[0, 0, LOG2]]]
    assert class_loss([[2], [0]], logits, [[1, 1, 0], [1, 1, 1]]) == pytest.approx(np.log(4))


def test_mrcnn_bbox_takes_the_own_class_of_positives():
    predicted = np.full((1, 3, 3, 4), 77.0)
    predicted[0, 0, 1], predicted[0, 1, 2] = 1, 3
    targets = np.ones((1, 3, 4))
    found = losses.mrcnn_bbox_loss_graph(
        tensor(targets), tensor([[1, 2, 0]], "int32"), tensor(predicted)
    )
    assert float(numpy(found)) == pytest.approx((0 + 1.5) / 2)


def test_mrcnn_mask_takes_the_own_class_of_positives():
    predicted = np.full((1, 2, 2, 2, 3), 0.9)
    predicted[0, 0, ..., 2] = [[0.5, 0.25], [0.5, 0.5]]
    masks = np.zeros((1, 2, 2, 2))
    masks[0, 0] = [[1, 1], [0, 0]]
    found = losses.mrcnn_mask_loss_graph(
        tensor(masks), tensor([[2, 0]], "int32"), tensor(predicted)
    )
    assert float(numpy(found)) == pytest.approx((3 * LOG2 + np.log(4)) / 4, rel=1e-6)


def test_a_wrong_mask_costs_much_but_not_everything():
    found = losses.mrcnn_mask_loss_graph(
        tensor(np.ones((1, 1, 1, 1))), tensor([[1]], "int32"), tensor(np.zeros((1, 1, 1, 1, 2)))
    )
    assert float(numpy(found)) == pytest.approx(-np.log(1e-7), rel=1e-4)


# Predictions on which each loss is to be differentiated, and the other arguments; positive or not.
def cases(positive):
    ids = tensor([[positive, 0]], "int32")
    match = tensor([[[positive], [0]]], "int32")
    masks = tensor(np.full((1, 2, 2, 2), positive))
    return {
        "rpn_class": (np.zeros((1, 2, 2)), lambda p: losses.rpn_class_loss_graph(match, p)),
        "rpn_bbox": (
            np.zeros((1, 2, 4)),
            lambda p: losses.rpn_bbox_loss_graph(None, tensor(np.ones((1, 1, 4))), match, p),
        ),
        "mrcnn_bbox": (
            np.zeros((1, 2, 2, 4)),
            lambda p: losses.mrcnn_bbox_loss_graph(tensor(np.ones((1, 2, 4))), ids, p),
        ),
        "mrcnn_mask": (
            # Exactly 0 and 1: the worst values of a sigmoid.
            np.arange(16).reshape(1, 2, 2, 2, 2) % 2,
            lambda p: losses.mrcnn_mask_loss_graph(masks, ids, p),
        ),
    }


@pytest.mark.parametrize("name", ["rpn_class", "rpn_bbox", "mrcnn_bbox", "mrcnn_mask"])
def test_without_positives_the_loss_is_zero(name):
    predictions, loss = cases(0)[name]
    assert float(numpy(loss(tensor(predictions)))) == 0


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="takes TensorFlow's gradients")
@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("name", ["rpn_class", "rpn_bbox", "mrcnn_bbox", "mrcnn_mask"])
def test_gradients_are_finite(name, positive):
    import tensorflow as tf

    predictions, loss = cases(positive)[name]
    predictions = tensor(predictions)
    with tf.GradientTape() as tape:
        tape.watch(predictions)
        value = loss(predictions)
    gradient = numpy(tape.gradient(value, predictions))
    assert np.isfinite(gradient).all()
    assert gradient.any() == bool(positive and name != "mrcnn_mask")


def test_half_precision_predictions_give_float32_losses():
    logits = ops.cast(tensor([[[0, 0, LOG2]]]), "bfloat16")
    found = losses.mrcnn_class_loss_graph(tensor([[2]], "int32"), logits, tensor([[1, 1, 1]]))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    assert float(numpy(found)) == pytest.approx(LOG2, rel=1e-2)


def test_loss_layer_is_a_named_scalar_in_a_graph():
    match = keras.Input((None, 1), dtype="int32")
    logits = keras.Input((None, 2))
    layer = losses.LossLayer("rpn_class_loss")
    output = layer([match, logits])
    assert (layer.name, tuple(output.shape), output.dtype) == ("rpn_class_loss", (), "float32")


def head_losses(weights):
    """Class, box and mask loss of two positives of class 1 and a negative, with known parts."""
    labels = tensor([[1, 1, 0]], "int32")
    # -log p of the label: log 2, log 4, log 2
    logits = tensor([[[0, 0], [LOG3, 0], [0, 0]]])
    active = tensor([[1, 1]])
    deltas = np.zeros((1, 3, 2, 4), np.float32)
    deltas[0, :, 1] = [[1] * 4, [2] * 4, [9] * 4]  # losses 0.5, 1.5, and one that never counts
    masks = np.full((1, 3, 1, 1, 2), 0.25, np.float32)
    masks[0, 1] = 0.5
    truth = tensor(np.ones((1, 3, 1, 1)))  # losses log 4 and log 2
    last = [] if weights is None else [tensor([weights])]
    found = [
        losses.mrcnn_class_loss_graph(labels, logits, active, *last),
        losses.mrcnn_bbox_loss_graph(tensor(np.zeros((1, 3, 4))), labels, tensor(deltas), *last),
        losses.mrcnn_mask_loss_graph(truth, labels, tensor(masks), *last),
    ]
    return [float(numpy(loss)) for loss in found]


@pytest.mark.parametrize(
    "weights, expected",
    [
        (None, [(LOG2 + 2 * LOG2 + LOG2) / 3, 1.0, 1.5 * LOG2]),
        ([1, 1, 1], [(LOG2 + 2 * LOG2 + LOG2) / 3, 1.0, 1.5 * LOG2]),
        ([0.5, 1, 1], [(0.5 * LOG2 + 2 * LOG2 + LOG2) / 3, (0.25 + 1.5) / 2, (LOG2 + LOG2) / 2]),
        # Weight 0 does not count among those that are averaged, ...
        ([0, 1, 1], [(2 * LOG2 + LOG2) / 2, 1.5, LOG2]),
        ([0, 0, 1], [LOG2, 0, 0]),
        ([0, 0, 0], [0, 0, 0]),
        # ... and a small one does: labels of a low score teach little.
        ([0.5, 0.5, 0.5], [2 / 3 * LOG2, 0.5, 0.75 * LOG2]),
        ([2, 0, 0], [2 * LOG2, 1.0, 4 * LOG2]),
    ],
)
def test_weights_of_the_losses_of_the_heads(weights, expected):
    assert head_losses(weights) == pytest.approx(expected, rel=1e-6)
