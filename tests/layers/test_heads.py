"""The heads: shapes, probabilities, and that two calls share their weights."""

import keras
import numpy as np
import pytest

from mrcnn.layers import heads
from tests.layers.arrays import image_meta, numpy, tensor


def inputs(batch=2, num_rois=3):
    random = np.random.RandomState(0)
    maps = [random.rand(batch, 64 // s, 64 // s, 4).astype(np.float32) for s in (4, 8, 16, 32)]
    corners = np.sort(random.rand(batch, num_rois, 2, 2), axis=2)
    return corners.reshape(batch, num_rois, 4), maps


def symbolic(num_rois=None):
    rois, meta = keras.Input((num_rois, 4)), keras.Input((15,))
    maps = [keras.Input((None, None, 4)) for _ in range(4)]
    return rois, maps, meta


def run(model, rois, maps):
    arrays = [tensor(rois), *map(tensor, maps), image_meta(64, 64, batch=len(rois))]
    outputs = model(arrays)
    return [numpy(x) for x in (outputs if isinstance(outputs, list | tuple) else [outputs])]


def test_classifier_shapes_and_probabilities():
    rois, maps, meta = symbolic()
    outputs = heads.fpn_classifier_graph(rois, maps, meta, 7, 3, False, 8)
    assert [tuple(x.shape[1:]) for x in outputs] == [(None, 3), (None, 3), (None, 3, 4)]
    model = keras.Model([rois, *maps, meta], list(outputs))
    logits, probs, deltas = run(model, *inputs())
    assert (logits.shape, deltas.shape) == ((2, 3, 3), (2, 3, 3, 4))
    np.testing.assert_allclose(probs.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(probs.argmax(-1), logits.argmax(-1))


def test_mask_shapes_and_probabilities():
    rois, maps, meta = symbolic()
    masks = heads.MaskHead(14, 3, False, 8)(rois, maps, meta)
    assert tuple(masks.shape[1:]) == (None, 28, 28, 3)
    (found,) = run(keras.Model([rois, *maps, meta], masks), *inputs())
    assert found.shape == (2, 3, 28, 28, 3) and 0 < found.min() and found.max() < 1
    assert found.std() > 0


def test_mask_graph_has_the_published_width():
    rois, maps, meta = symbolic()
    masks = heads.build_fpn_mask_graph(rois, maps, meta, 14, 3, train_bn=False)
    model = keras.Model([rois, *maps, meta], masks)
    assert model.get_layer("mrcnn_mask_conv4").kernel.shape == (3, 3, 256, 256)
    assert model.get_layer("mrcnn_mask").kernel.shape == (1, 1, 256, 3)


@pytest.mark.parametrize("kind", ["classifier", "mask"])
def test_two_calls_share_weights(kind):
    make = {"classifier": heads.ClassifierHead, "mask": heads.MaskHead}[kind]
    head = make({"classifier": 7, "mask": 14}[kind], 3, False, 8)
    models = []
    for num_rois in (None, 3):
        rois, maps, meta = symbolic(num_rois)
        outputs = head(rois, maps, meta)
        models.append(keras.Model([rois, *maps, meta], outputs))
    first, second = models
    assert {id(w) for w in first.weights} == {id(w) for w in second.weights}
    assert len(first.weights) == {"classifier": 16, "mask": 28}[kind]
    for a, b in zip(run(first, *inputs()), run(second, *inputs()), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_box_alone_gives_what_it_gives_among_others():
    rois, maps, meta = symbolic()
    head = heads.ClassifierHead(7, 3, False, 8)
    model = keras.Model([rois, *maps, meta], head(rois, maps, meta)[1])
    boxes, arrays = inputs()
    (together,) = run(model, boxes, arrays)
    (alone,) = run(model, boxes[1:, 2:], [m[1:] for m in arrays])
    np.testing.assert_allclose(alone[0, 0], together[1, 2], rtol=1e-4)


def test_first_and_padded_rows():
    rows = tensor(np.arange(12).reshape(1, 3, 4))
    first = heads.FirstRois(2)(rows)
    assert numpy(first).tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7]]]
    padded = numpy(heads.PadRois(3)(first))
    assert padded.tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7], [0, 0, 0, 0]]]


def test_the_sigmoid_of_masks_is_taken_in_float32():
    layer = heads.RoiMasks(2, 1, dtype="mixed_bfloat16")
    masks = layer(tensor(np.full((1, 2, 3, 3, 4), 0.5)))
    assert keras.backend.standardize_dtype(masks.dtype) == "float32"
    assert tuple(masks.shape) == (1, 2, 3, 3, 2)


@pytest.mark.parametrize("side", [1, 3])
def test_a_full_convolution_is_a_convolution(side):
    random = np.random.RandomState(side)
    x = tensor(random.rand(4, side, side, 5).astype(np.float32))
    full, plain = heads.FullConv2D(6, side), keras.layers.Conv2D(6, side)
    full.build(x.shape), plain.build(x.shape)
    weights = [random.rand(*w.shape).astype(np.float32) for w in plain.weights]
    full.set_weights(weights), plain.set_weights(weights)
    assert [w.name for w in full.weights] == ["kernel", "bias"]
    np.testing.assert_allclose(numpy(full(x)), numpy(plain(x)), rtol=1e-5)


def pair_of_transposed_convolutions(**options):
    random = np.random.RandomState(0)
    tiled = heads.TiledConv2DTranspose(6, 2, **options)
    plain = keras.layers.Conv2DTranspose(6, 2, strides=2, **options)
    tiled.build((None, 3, 4, 5)), plain.build((None, 3, 4, 5))
    weights = [random.randn(*w.shape).astype(np.float32) for w in plain.weights]
    tiled.set_weights(weights), plain.set_weights(weights)
    return tiled, plain


@pytest.mark.parametrize("activation", [None, "relu"])
def test_a_tiled_transposed_convolution_is_a_transposed_convolution(activation):
    tiled, plain = pair_of_transposed_convolutions(activation=activation)
    x = tensor(np.random.RandomState(1).randn(2, 3, 4, 5).astype(np.float32))
    assert [w.name for w in tiled.weights] == ["kernel", "bias"]
    assert tuple(tiled.compute_output_shape(x.shape)) == (2, 6, 8, 6)
    np.testing.assert_allclose(numpy(tiled(x)), numpy(plain(x)), rtol=1e-5, atol=1e-5)
    again = heads.TiledConv2DTranspose.from_config(tiled.get_config())
    assert (again.strides, again.filters, again.activation) == ((2, 2), 6, tiled.activation)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="differentiates TensorFlow")
def test_the_bias_of_a_tiled_transposed_convolution_learns_in_16_bits():
    import tensorflow as tf

    tiled, _ = pair_of_transposed_convolutions(dtype="mixed_bfloat16")
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.cast(tiled(tf.ones((100, 3, 4, 5))), tf.float32))
    gradient = tape.gradient(total, tiled.bias.value)
    np.testing.assert_allclose(gradient.numpy(), 100 * 6 * 8, rtol=0.01)


def agnostic_masks(**options):
    layer = heads.RoiMasks(3, 1, class_agnostic=True, **options)
    x = tensor(np.random.RandomState(0).randn(2, 2, 3, 3, 4).astype(np.float32))
    layer.build(x.shape)
    return layer, x


def test_class_agnostic_masks_are_those_of_the_mean_filter():
    layer, x = agnostic_masks()
    assert [w.name for w in layer.weights] == ["kernel", "bias"]
    kernel = numpy(layer.kernel)
    assert kernel.shape == (1, 1, 4, 3) and (kernel == kernel[..., :1]).all() and kernel.any()
    plain = heads.RoiMasks(3, 1)
    plain.build(x.shape)
    plain.set_weights(layer.get_weights())
    np.testing.assert_allclose(numpy(layer(x)), numpy(plain(x)), rtol=1e-5)

    kernel = np.arange(12, dtype=np.float32).reshape(1, 1, 4, 3) / 9
    layer.set_weights([kernel, np.array([0, 0.5, 1], np.float32)])
    plain.set_weights([np.repeat(kernel[..., 1:2], 3, axis=3), np.full(3, 0.5, np.float32)])
    masks = numpy(layer(x))
    assert masks.shape == (2, 2, 3, 3, 3) and (masks == masks[..., :1]).all()
    np.testing.assert_allclose(masks, numpy(plain(x)), rtol=1e-5)


def test_class_agnostic_masks_from_their_config():
    layer, x = agnostic_masks(name="mrcnn_mask")
    copy = heads.RoiMasks.from_config(layer.get_config())
    copy.build(x.shape)
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(numpy(copy(x)), numpy(layer(x)))
    assert not heads.RoiMasks.from_config(heads.RoiMasks(3, 1).get_config()).class_agnostic


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="its gradients")
def test_training_keeps_class_agnostic_filters_equal():
    import tensorflow as tf

    layer, x = agnostic_masks()
    optimizer = keras.optimizers.AdamW(0.1)
    before = numpy(layer.kernel).copy()
    for step in range(3):
        with tf.GradientTape() as tape:  # a loss on another class in each step
            loss = tf.reduce_mean(layer(x)[..., step])
        optimizer.apply(tape.gradient(loss, layer.trainable_variables), layer.trainable_variables)
    kernel = numpy(layer.kernel)
    assert (kernel != before).all() and (kernel == kernel[..., :1]).all()
