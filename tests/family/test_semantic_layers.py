"""Parts of the semantic networks: pooling with indices, bilinear kernels, losses, frames."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.family.semantic.bilinear import Bilinear, bilinear_kernel
from mrcnn.family.semantic.frames import Frame, windows
from mrcnn.family.semantic.losses import SemanticLoss
from mrcnn.family.semantic.pooling import MaxPoolWithIndices, MaxUnpool

numpy = ops.convert_to_numpy


def pool_by_loops(x, size):
    """Pool `[B, H, W, C]`; of equal values the first counts."""
    batch, height, width, channels = x.shape
    shape = (batch, -(-height // size), -(-width // size), channels)
    values, places = np.full(shape, -np.inf, np.float32), np.zeros(shape, np.int32)
    for b, y, x0, c in np.ndindex(*x.shape):
        cell = (b, y // size, x0 // size, c)
        if x[b, y, x0, c] > values[cell]:
            values[cell] = x[b, y, x0, c]
            places[cell] = (y % size) * size + x0 % size
    return values, places


def unpool_by_loops(values, places, size, height, width):
    out = np.zeros((len(values), height, width, values.shape[-1]), np.float32)
    for b, y, x, c in np.ndindex(*values.shape):
        dy, dx = divmod(int(places[b, y, x, c]), size)
        out[b, y * size + dy, x * size + dx, c] = values[b, y, x, c]
    return out


@pytest.mark.parametrize("size, height, width", [(2, 4, 6), (2, 5, 7), (3, 7, 8), (2, 1, 3)])
@pytest.mark.parametrize("levels", [1000, 3])
def test_pooling_and_unpooling_follow_the_loops(size, height, width, levels):
    # Few levels give many ties; negative values win over padding and over zeros.
    x = np.random.default_rng(0).integers(-levels, 0, (2, height, width, 3)).astype(np.float32)
    values, places = MaxPoolWithIndices(size)(x)
    expected, expected_places = pool_by_loops(x, size)
    np.testing.assert_array_equal(numpy(values), expected)
    np.testing.assert_array_equal(numpy(places), expected_places)
    whole = numpy(MaxUnpool(size)([values, places, x]))
    np.testing.assert_array_equal(
        whole, unpool_by_loops(expected, expected_places, size, height, width)
    )


def test_of_equal_values_the_first_counts():
    x = np.zeros((1, 2, 4, 1), np.float32)
    x[0, :, 2:, 0] = [[1, 5], [5, 5]]
    values, places = MaxPoolWithIndices()(x)
    assert numpy(values).ravel().tolist() == [0, 5]
    assert numpy(places).ravel().tolist() == [0, 1]
    whole = numpy(MaxUnpool()([np.array([[[[7], [8]]]], np.float32), places, x]))[0, ..., 0]
    assert whole.tolist() == [[7, 0, 0, 8], [0, 0, 0, 0]]


def test_pooling_layers_are_saved_with_their_arguments_and_take_sizes_unknown_before(tmp_path):
    image = keras.Input((None, None, 2))
    values, places = MaxPoolWithIndices(3)(image)
    model = keras.Model(image, MaxUnpool(3)([values * 2.0, places, image]))
    model.save(tmp_path / "a.keras")
    loaded = keras.saving.load_model(tmp_path / "a.keras")
    for height, width in ((5, 7), (6, 3), (8, 8)):
        x = np.random.default_rng(height).normal(size=(1, height, width, 2)).astype(np.float32)
        pooled, where = pool_by_loops(x, 3)
        expected = unpool_by_loops(2 * pooled, where, 3, height, width)
        np.testing.assert_array_equal(numpy(loaded.predict_on_batch(x)), expected)


@pytest.mark.parametrize("layer", [MaxPoolWithIndices, MaxUnpool])
@pytest.mark.parametrize("size", [0, 1.5, "2"])
def test_pool_size_must_be_a_whole_number(layer, size):
    with pytest.raises(ValueError, match=r"pool_size is .* whole number of at least 1"):
        layer(size)


def test_bilinear_kernel_of_stride_two_written_out():
    line = np.array([0.25, 0.75, 0.75, 0.25])
    np.testing.assert_allclose(bilinear_kernel(4), np.outer(line, line))
    kernel = numpy(Bilinear()((4, 4, 2, 2)))
    np.testing.assert_allclose(kernel[:, :, 1, 1], np.outer(line, line))
    assert not kernel[:, :, 0, 1].any()


@pytest.mark.parametrize("stride", [2, 8])
def test_bilinear_upsampling_keeps_constants_and_ramps_away_from_the_border(stride):
    layer = keras.layers.Conv2DTranspose(
        2, 2 * stride, strides=stride, padding="same", use_bias=False, kernel_initializer=Bilinear()
    )
    x = np.stack([np.ones((4, 4)), np.tile(np.arange(4.0), (4, 1))], axis=-1)[None]
    up = numpy(layer(x.astype(np.float32)))[0]
    inside = slice(stride // 2, -(stride // 2))
    np.testing.assert_allclose(up[inside, inside, 0], 1, rtol=1e-6)
    # The center of cell k is at the pixel (k + 0.5) * stride - 0.5.
    ramp = (np.arange(4 * stride) + 0.5) / stride - 0.5
    np.testing.assert_allclose(up[2 * stride, inside, 1], ramp[inside], atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 3, 2, 2), (4, 4, 2, 3)])
def test_bilinear_kernels_are_square_and_keep_the_channels(shape):
    with pytest.raises(ValueError, match=r"must be .side, side, channels, channels"):
        Bilinear()(shape)


# Two images of 1 x 3 pixels and 3 classes; the last pixel of the first is void.
LABELS = np.array([[[0, 1, 255]], [[2, 2, 2]]], np.int32)
PROBABILITIES = np.array(
    [[[[0.5, 0.25, 0.25], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8]]], [[[0.1, 0.1, 0.8]] * 3]], np.float32
)
CROSS_ENTROPY = [-(np.log(0.5) + np.log(0.6)) / 2, -np.log(0.8)]
DICE = [
    1 - (2 * 0.5 / (1 + 0.7) + 2 * 0.6 / (1 + 0.85)) / 2,
    1 - 2 * 2.4 / (3 + 2.4),
]


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("cross_entropy", CROSS_ENTROPY),
        ("dice", DICE),
        ("cross_entropy+dice", np.add(CROSS_ENTROPY, DICE)),
    ],
)
def test_losses_written_out(kind, expected):
    loss = SemanticLoss(3, kind)
    logits = np.log(PROBABILITIES) + 3
    np.testing.assert_allclose(numpy(loss.call(LABELS, logits)), expected, rtol=1e-5)
    assert float(loss(LABELS, logits)) == pytest.approx(np.mean(expected), rel=1e-5)
    again = SemanticLoss.from_config(loss.get_config())
    assert float(again(LABELS, logits)) == float(loss(LABELS, logits))


def test_class_weights_written_out():
    logits = np.log(PROBABILITIES)
    weights = [3, 1, 0]
    cross_entropy = numpy(SemanticLoss(3, "cross_entropy", weights).call(LABELS, logits))
    expected = -(3 * np.log(0.5) + np.log(0.6)) / 4
    np.testing.assert_allclose(cross_entropy, [expected, 0], atol=1e-6)
    dice = numpy(SemanticLoss(3, "dice", weights).call(LABELS, logits))
    first, second = 1 - 2 * 0.5 / 1.7, 1 - 2 * 0.6 / 1.85
    np.testing.assert_allclose(dice, [(3 * first + second) / 4, 0], atol=1e-6)


@pytest.mark.parametrize("kind", ["cross_entropy", "dice", "cross_entropy+dice"])
def test_void_pixels_do_not_count(kind):
    loss = SemanticLoss(3, kind)
    logits = np.log(PROBABILITIES)
    other = logits.copy()
    other[0, 0, 2] = [9, -9, 0]
    np.testing.assert_allclose(
        numpy(loss.call(LABELS, other)), numpy(loss.call(LABELS, logits)), rtol=1e-6
    )
    assert numpy(loss.call(np.full_like(LABELS, 255), logits)).tolist() == [0, 0]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((3, "focal"), "loss is 'focal'; it must be one of cross_entropy, dice"),
        ((3, "dice", [1, 1]), "class_weights is .*for each of the 3 classes"),
        ((2, "dice", [1, -1]), "number of at least 0"),
        ((2, "dice", [0, 0]), "one above 0"),
        ((2, "dice", [1, float("nan")]), "number of at least 0"),
    ],
)
def test_bad_arguments_of_losses(arguments, message):
    with pytest.raises(ValueError, match=message):
        SemanticLoss(*arguments)


@pytest.mark.parametrize(
    "frame, side, expected",
    [
        (Frame(32), 1, 32),
        (Frame(32), 32, 32),
        (Frame(32), 33, 64),
        (Frame(16, 92, 4), 1, 4),
        (Frame(16, 92, 4), 5, 20),
        (Frame(16, 92, 4), 388, 388),
    ],
)
def test_sides_that_a_network_takes(frame, side, expected):
    assert frame.output_side(side) == expected


def test_images_are_filled_up_with_zeros_or_continued_by_their_mirror_image():
    image = np.arange(6, dtype=np.float32).reshape(1, 6, 1)
    assert Frame(8).pad(image).shape == (8, 8, 1)
    assert Frame(8).pad(image)[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5, 0, 0]
    mirrored = Frame(4, margin=2, offset=4).pad(image, (4, 8))[:, :, 0]
    assert mirrored[0].tolist() == [2, 1, 0, 1, 2, 3, 4, 5, 4, 3, 2, 1]
    assert mirrored.shape == (8, 12)


@pytest.mark.parametrize("side, expected", [(1, 20), (20, 20), (21, 36), (100, 36)])
def test_tiles_cover_the_output_and_begin_where_poolings_begin(side, expected):
    frame = Frame(16, 92, 4)
    covered = np.zeros((52, 36), int)
    for rows, columns in frame.tiles(52, 36, side):
        assert columns.stop - columns.start == min(expected, 36)
        assert rows.start % 16 == 0 and columns.start % 16 == 0
        assert frame.output_side(rows.stop - rows.start) == rows.stop - rows.start
        covered[rows, columns] += 1
    assert covered.min() == 1
    assert frame.tiles(4, 4, side) == [(slice(0, 4), slice(0, 4))]


@pytest.mark.parametrize(
    "length, side, context, expected",
    [
        (5, 8, 2, [(0, 5, 0, 5)]),
        (8, 8, 2, [(0, 8, 0, 8)]),
        (20, 8, 2, [(0, 8, 0, 12), (8, 16, 6, 18), (16, 20, 8, 20)]),
        (17, 8, 0, [(0, 8, 0, 8), (8, 16, 8, 16), (16, 17, 9, 17)]),
    ],
)
def test_windows_have_one_length_and_hold_their_part(length, side, context, expected):
    found = windows(length, side, context)
    assert [(a.start, a.stop, b.start, b.stop) for a, b in found] == expected
