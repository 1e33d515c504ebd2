"""YOLO: sizes, Darknet's files and boxes, decoding, losses, training."""

from __future__ import annotations

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.datasets.shapes import ShapesDataset
from mrcnn.family.yolo import NETWORKS, Yolo, YoloConfig, cluster_anchors, decoding
from mrcnn.family.yolo.darknet_weights import (
    load_darknet_weights,
    read_header,
    save_darknet_weights,
)
from mrcnn.family.yolo.descriptions import YoloNetwork, parse_layers
from mrcnn.family.yolo.images import letterbox, resize_aligned, to_image_boxes
from mrcnn.family.yolo.losses import (
    AnchorLoss,
    CellLoss,
    LossWeights,
    iou_of_centered,
    responsible_rows,
)
from mrcnn.family.yolo.networks import Reorg, build_network
from tests.family import darknet_networks
from tests.tiny import shapes_only

THIN = YoloNetwork(
    "thin",
    3,
    """
    conv 8 3
    pool
    conv 8 3 /2
    conv 12 3 /2 as c3
    conv 16 3 /2
    detect
    from c3
    detect
    """,
    64,
    (16, 8),
    (((32, 16), (48, 48)), ((8, 8), (16, 12))),
    2,
)


@pytest.mark.parametrize(
    "name, num_classes, num_values, num_boxes, num_bytes",
    [
        ("yolov1", 20, 271_703_550, 98, None),
        ("yolov2", 80, 50_983_561, 845, 203_934_260),
        ("yolov3", 80, 62_001_757, 10_647, 248_007_048),
        ("yolov3-tiny", 80, 8_858_734, 2_535, 35_434_956),
    ],
)
def test_sizes_are_those_of_the_published_networks(
    name, num_classes, num_values, num_boxes, num_bytes
):
    network = NETWORKS[name]
    with shapes_only():
        model = build_network(network, num_classes)
    assert model.count_params() == num_values
    if network.version == 1:
        assert model.output_shape == (None, 7 * 7 * (20 + 2 * 5))
        boxes, _ = decoding.decode_v1(np.zeros((1, 1470), np.float32), 20)
        assert boxes.shape == (1, num_boxes, 4)
    else:
        assert model.output_shape == (None, num_boxes, 5 + num_classes)
        assert network.header_bytes + 4 * num_values == num_bytes


@pytest.mark.parametrize(
    "name, size, num_convolutions, num_dense, sides, boxes",
    [
        ("yolov1", 448, 24, 2, [7], [2]),
        ("yolov2", 416, 23, 0, [13], [5]),  # the 18 of Darknet-19 below its classifier and 5
        ("yolov3", 416, 75, 0, [13, 26, 52], [3, 3, 3]),  # the 52 of Darknet-53 and 23
        ("yolov3-tiny", 416, 13, 0, [13, 26], [3, 3]),
    ],
)
def test_layers_grids_and_anchors_are_those_of_the_papers(
    name, size, num_convolutions, num_dense, sides, boxes
):
    network = NETWORKS[name]
    kinds = [words[0] for words, _ in parse_layers(network.layers)]
    outputs = kinds.count("detect")
    is_dense = "dense" in kinds
    found = kinds.count("conv") + 2 * kinds.count("residual") + (0 if is_dense else outputs)
    assert (network.image_size, found) == (size, num_convolutions)
    assert kinds.count("dense") + (outputs if is_dense else 0) == num_dense
    assert [size // stride for stride in network.strides] == sides
    assert [network.num_boxes] * len(sides) == boxes
    if network.anchors is not None:
        assert [len(anchors) for anchors in network.anchors] == boxes


def test_yolov3_takes_the_published_number_of_operations():
    with shapes_only():
        model = build_network(NETWORKS["yolov3"], 80)
    operations = sum(
        2 * int(np.prod(layer.kernel.shape)) * int(np.prod(layer.output.shape[1:3]))
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
    )
    assert round(operations / 1e9, 3) == 65.864


def test_descriptions_repeat_and_store_layers():
    text = """
    conv 8 3 /2
    2 x [conv 4 1; conv 8 3] as c2
    detect
    """
    assert parse_layers(text) == [
        (["conv", "8", "3", "/2"], None),
        (["conv", "4", "1"], None),
        (["conv", "8", "3"], None),
        (["conv", "4", "1"], None),
        (["conv", "8", "3"], "c2"),
        (["detect"], None),
    ]


def _detect_with_seeded_values(name):
    num_classes = darknet_networks.NUM_CLASSES[name]

    class Settings(YoloConfig):
        NUM_CLASSES = 1 + num_classes
        IMAGE_MIN_DIM = IMAGE_MAX_DIM = darknet_networks.SIZES[name]
        DETECTION_MIN_CONFIDENCE = 0.005
        DETECTION_MAX_INSTANCES = 10**6

    yolo = Yolo(name, Settings())
    darknet_networks.set_seeded_values(yolo.keras_model, num_classes)
    for layer in yolo.keras_model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # On CPUs Darknet divides by sqrt(variance) + 1e-6, on GPUs by sqrt(variance + 1e-5).
            variance = np.asarray(layer.moving_variance)
            layer.moving_variance.assign((np.sqrt(variance) + 1e-6) ** 2 - layer.epsilon)
    return yolo


@pytest.mark.parametrize(
    "name",
    [
        "yolov1",
        "yolov3-tiny",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("yolov2", "yolov3")),
    ],
)
def test_boxes_equal_those_of_the_darknet_program(name, monkeypatch):
    monkeypatch.setattr(
        "mrcnn.family.yolo.model.find_network", lambda name: darknet_networks.network(name)
    )
    yolo = _detect_with_seeded_values(name)
    result = yolo.detect([darknet_networks.image(name)])[0]

    expected = np.array(json.loads(darknet_networks.BOXES.read_text())[name])
    for class_id, score, x1, y1, x2, y2 in expected:
        candidates = np.flatnonzero(
            (result["class_ids"] == class_id + 1) & (abs(result["scores"] - score) < 1e-3)
        )
        assert len(candidates), (class_id, score)
        # The corners of Darknet begin at 1 and are not rounded; ours are whole pixels.
        found = result["rois"][candidates][:, [1, 0, 3, 2]]
        distance = abs(found - (np.array([x1, y1, x2, y2]) - 1)).max(axis=1).min()
        assert distance < 1.1, (class_id, score)


def test_darknet_file_round_trip(tmp_path):
    model = build_network(THIN, 3)
    darknet_networks.set_seeded_values(model, 3)
    save_darknet_weights(model, tmp_path / "a.weights", num_seen=12)
    header = read_header(tmp_path / "a.weights")
    assert (header.version, header.num_seen, header.num_bytes) == ((0, 2, 0), 12, 20)

    other = build_network(THIN, 3)
    num_layers = load_darknet_weights(other, tmp_path / "a.weights")
    assert num_layers == 6
    for ours, theirs in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_order_of_values_in_a_darknet_file(tmp_path):
    model = build_network(replace(THIN, layers="conv 2 3\ndetect", strides=(1,)), 1, 2)
    # beta, gamma, mean, variance, then [filters, channels, rows, columns]; then bias and kernel.
    num_first, num_second = 2 * 3 * 9, 12 * 2
    values = np.arange(8 + num_first + 12 + num_second, dtype="<f4")
    (tmp_path / "a.weights").write_bytes(np.array([0, 1, 0, 5], "<i4").tobytes() + values.tobytes())
    load_darknet_weights(model, tmp_path / "a.weights")
    batch_norm = model.get_layer("conv_1_bn")
    assert np.asarray(batch_norm.beta).tolist() == [0, 1]
    assert np.asarray(batch_norm.gamma).tolist() == [2, 3]
    assert np.asarray(batch_norm.moving_mean).tolist() == [4, 5]
    assert np.asarray(batch_norm.moving_variance).tolist() == [6, 7]
    kernel = np.asarray(model.get_layer("conv_1").kernel)
    assert kernel[0, 1, 0, 0] == 9  # the column varies first, then the row, the channel, the filter
    assert kernel[1, 0, 0, 0] == 11
    assert kernel[0, 0, 1, 0] == 17
    assert kernel[0, 0, 0, 1] == 8 + 27
    assert np.asarray(model.get_layer("conv_2").bias)[0] == 8 + num_first


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "with 0 bytes; a Darknet file must begin"),
        (b"\x00" * 10, "10 bytes"),
        (
            np.array([0, 2, 0, 0, 0], "<i4").tobytes() + b"\x00" * 400,
            r"with 420 bytes; .* it must have \d+ bytes",
        ),
        (b"PK\x03\x04" + b"x" * 500, "must begin with its version"),
    ],
)
def test_other_files_are_refused_and_change_nothing(tmp_path, content, message):
    path = tmp_path / "a.weights"
    path.write_bytes(content)
    model = build_network(THIN, 3)
    before = [value.copy() for value in model.get_weights()]
    with pytest.raises(ValueError, match=message):
        load_darknet_weights(model, path)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_file_with_a_value_that_is_not_finite_is_refused(tmp_path):
    model = build_network(THIN, 3)
    save_darknet_weights(model, tmp_path / "a.weights")
    data = bytearray((tmp_path / "a.weights").read_bytes())
    data[20 + 4 * 5 : 20 + 4 * 6] = np.array(np.nan, "<f4").tobytes()
    (tmp_path / "a.weights").write_bytes(data)
    with pytest.raises(ValueError, match="value 5 is nan"):
        load_darknet_weights(model, tmp_path / "a.weights")


def test_file_of_the_first_layers_loads_partially(tmp_path):
    model = build_network(THIN, 3)
    darknet_networks.set_seeded_values(model, 3)
    save_darknet_weights(model, tmp_path / "a.weights")
    size = 20 + 4 * (4 * 8 + 27 * 8 + 4 * 8 + 72 * 8)
    (tmp_path / "a.weights").write_bytes((tmp_path / "a.weights").read_bytes()[:size])
    other = build_network(THIN, 3)
    with pytest.raises(ValueError, match=f"{size} bytes"):
        load_darknet_weights(other, tmp_path / "a.weights")
    assert load_darknet_weights(other, tmp_path / "a.weights", partial=True) == 2
    np.testing.assert_array_equal(
        np.asarray(other.get_layer("conv_2").kernel), np.asarray(model.get_layer("conv_2").kernel)
    )


def test_reorg_follows_darknets_arithmetic():
    height, width, channels = 4, 6, 8
    x = np.arange(height * width * channels, dtype=np.float32)
    x = x.reshape(1, channels, height, width)
    # Darknet's loop, written out: output index k, j, i reads from an array of C/4 channels.
    flat, out = x.ravel(), np.zeros(x.size, np.float32)
    for k in range(channels):
        for j in range(height):
            for i in range(width):
                offset, channel = divmod(k, channels // 4)
                column, row = i * 2 + offset % 2, j * 2 + offset // 2
                source = column + width * 2 * (row + height * 2 * channel)
                out[i + width * (j + height * k)] = flat[source]
    expected = out.reshape(1, 4 * channels, height // 2, width // 2).transpose(0, 2, 3, 1)
    found = ops.convert_to_numpy(Reorg()(x.transpose(0, 2, 3, 1)))
    np.testing.assert_array_equal(found, expected)


def test_boxes_and_scores_of_one_grid():
    grids = decoding.make_grids(replace(THIN, strides=(32,), anchors=(((32, 16),),)), 64)
    assert grids.cells.tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]
    raw = np.zeros((1, 4, 7), np.float32)
    raw[0, 2, 2:4] = np.log([2, 4])
    raw[0, 1, 4:] = [50, 0, np.log(3)]
    boxes = ops.convert_to_numpy(decoding.decode_boxes(raw, grids))[0]
    np.testing.assert_allclose(boxes[2], [0.25, 0.75, 1.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(boxes[1], [0.75, 0.25, 0.5, 0.25], rtol=1e-6)
    softmax = ops.convert_to_numpy(decoding.decode_scores(raw, 2))[0, 1]
    np.testing.assert_allclose(softmax, [0.25, 0.75], rtol=1e-6)
    logistic = ops.convert_to_numpy(decoding.decode_scores(raw, 3))[0, 1]
    np.testing.assert_allclose(logistic, [0.5, 0.75], rtol=1e-6)


def test_v1_reads_classes_then_confidences_then_coordinates():
    raw = np.zeros((1, 4 * (3 + 2 * 5)), np.float32)
    cell, box = 3, 1
    raw[0, cell * 3 + 2] = 0.8
    raw[0, 4 * 3 + cell * 2 + box] = 0.5
    start = 4 * 3 + 4 * 2 + (cell * 2 + box) * 4
    raw[0, start : start + 4] = [0.5, 0.25, 0.5, 0.3]
    boxes, scores = (
        ops.convert_to_numpy(value)[0] for value in decoding.decode_v1(raw, 3, 2, side=2)
    )
    np.testing.assert_allclose(boxes[cell * 2 + box], [0.75, 0.625, 0.25, 0.09], rtol=1e-6)
    np.testing.assert_allclose(scores[cell * 2 + box], [0, 0, 0.4], rtol=1e-6)
    assert scores.sum() == pytest.approx(0.4)


def test_images_are_fitted_in_and_boxes_return():
    image = np.zeros((30, 60, 3), np.float32)
    square, content = letterbox(image, 32)
    assert content == (16, 32)
    assert (square[:8] == 0.5).all() and (square[24:] == 0.5).all()
    assert not square[8:24].any()
    box = to_image_boxes(np.array([[0.5, 0.5, 0.5, 0.25]], np.float32), content, 32, (30, 60))
    np.testing.assert_allclose(box, [[7.5, 15, 22.5, 45]])


def test_resizing_maps_corner_pixels_to_corner_pixels():
    ramp = np.arange(5, dtype=np.float32)[None, :, None] * np.ones((2, 1, 1), np.float32)
    np.testing.assert_allclose(resize_aligned(ramp, 2, 9)[0, :, 0], np.arange(9) / 2)
    np.testing.assert_allclose(resize_aligned(ramp, 1, 3)[0, :, 0], [0, 2, 4])


def _thin_case():
    """Two objects, one row of padding, and raw outputs of zeros."""
    grids = decoding.make_grids(THIN, 64)
    truth = np.full((1, 3, 5), -1, np.float32)
    truth[0, 0] = [1, 0.30, 0.60, 0.5, 0.25]  # 32 x 16 pixels: the first anchor of the coarse grid
    truth[0, 1] = [0, 0.99, 0.01, 0.125, 0.125]  # 8 x 8: the first anchor of the fine grid
    return grids, truth


def test_responsible_boxes():
    grids, truth = _thin_case()
    rows = ops.convert_to_numpy(responsible_rows(truth, grids))[0]
    coarse = (2 * 4 + 1) * 2  # row 2, column 1 of 4 x 4 cells with two boxes each
    fine = 4 * 4 * 2 + (0 * 8 + 7) * 2
    assert rows[:2].tolist() == [coarse, fine]


def test_loss_of_v3_written_out():
    grids, truth = _thin_case()
    raw = np.zeros((1, len(grids.cells), 5 + 3), np.float32)
    rows = ops.convert_to_numpy(responsible_rows(truth, grids))[0][:2]
    loss = AnchorLoss(3, grids, LossWeights(2, 3, 0.5, 7, ignore_iou=2.0))
    log2 = np.log(2)
    # Every logistic is at 0.5, so each cross entropy is log 2, whatever its target. The sizes fit
    # exactly.
    coordinates = (2 - 0.125) * 2 * log2 + (2 - 1 / 64) * 2 * log2
    background = (len(grids.cells) - len(set(rows))) * log2
    expected = 2 * coordinates + 3 * 2 * log2 + 7 * 2 * 3 * log2 + 0.5 * background
    assert float(loss(truth, raw)) == pytest.approx(expected, rel=1e-5)


def test_loss_of_v2_written_out():
    grids = decoding.make_grids(replace(THIN, strides=(32,), anchors=(((32, 16), (8, 8)),)), 64)
    truth = np.array([[[2, 0.3, 0.6, 0.5, 0.5]]], np.float32)
    raw = np.zeros((1, 8, 5 + 3), np.float32)
    loss = AnchorLoss(2, grids, LossWeights(2, 3, 0.5, 7, ignore_iou=2.0))
    # Cell (0, 1): the center is (0.6, 0.2) within it. The predicted box is (0.25, 0.75, 0.5, 0.25).
    coordinates = (2 - 0.25) * (0.1**2 + 0.3**2 + np.log(2) ** 2) / 2
    common = 0.45 * (0.85 - 0.625)
    iou = common / (0.25 + 0.125 - common)
    expected = 2 * coordinates + 3 * (0.5 - iou) ** 2 / 2 + 7 * np.log(3) + 0.5 * 7 * 0.25 / 2
    assert float(loss(truth, raw)) == pytest.approx(expected, rel=1e-5)


def test_boxes_that_overlap_an_object_are_no_background():
    grids, truth = _thin_case()
    raw = np.zeros((1, len(grids.cells), 8), np.float32)
    boxes = decoding.decode_boxes(raw, grids)
    real = ops.convert_to_tensor(truth[:, None, :2, 1:])
    overlaps = ops.convert_to_numpy(iou_of_centered(boxes[:, :, None], real))
    rows = ops.convert_to_numpy(responsible_rows(truth, grids))[0][:2]
    ignored = set(np.flatnonzero(overlaps[0].max(axis=1) > 0.1)) - set(rows)
    assert len(ignored) > 2
    losses = [
        float(AnchorLoss(3, grids, LossWeights(0, 0, 1, 0, ignore_iou=iou))(truth, raw))
        for iou in (2.0, 0.1)
    ]
    assert losses[0] - losses[1] == pytest.approx(len(ignored) * np.log(2), rel=1e-4)


def test_loss_of_v1_written_out():
    truth = np.full((1, 2, 5), -1, np.float32)
    truth[0, 0] = [2, 0.75, 0.25, 0.25, 0.16]
    raw = np.zeros((1, 4 * (3 + 2 * 5)), np.float32)
    cell = 1
    raw[0, 4 * 3 + cell * 2 : 4 * 3 + cell * 2 + 2] = [0.2, 0.7]
    start = 4 * 3 + 4 * 2 + cell * 2 * 4
    raw[0, start : start + 8] = [0.5, 0.5, 0.1, 0.1, 0.5, 0.5, 0.5, 0.5]
    loss = CellLoss(3, 2, side=2, weights=LossWeights(5, 2, 0.5, 3))
    # The second box is responsible: (0.75, 0.25, 0.25, 0.25) has the IoU 0.64 with the object.
    expected = 5 * (0.5 - 0.4) ** 2 + 2 * (0.7 - 0.64) ** 2 + 0.5 * 0.2**2 + 3 * 1
    assert float(loss(truth, raw)) == pytest.approx(expected, rel=1e-5)


def test_loss_without_objects_is_that_of_the_background():
    grids, truth = _thin_case()
    truth[..., 0] = -1
    raw = np.zeros((1, len(grids.cells), 8), np.float32)
    assert float(AnchorLoss(3, grids)(truth, raw)) == pytest.approx(
        len(grids.cells) * np.log(2), rel=1e-5
    )
    vector = np.full((1, 4 * 13), 0.5, np.float32)
    assert float(CellLoss(3, 2, side=2)(truth, vector)) == pytest.approx(0.5 * 8 * 0.25)


def test_anchors_of_two_groups():
    sizes = [[10, 20], [12, 20], [11, 22], [80, 40], [84, 40]]
    anchors, mean_iou = cluster_anchors(np.array(sizes), 2)
    np.testing.assert_allclose(anchors, [[11, 62 / 3], [82, 40]])
    assert 0.9 < mean_iou < 1
    for count in (0, 6):
        with pytest.raises(ValueError, match=f"count is {count}"):
            cluster_anchors(np.array(sizes), count)
    with pytest.raises(ValueError, match="above 0"):
        cluster_anchors(np.array([[1, 0]]), 1)


class ThinConfig(YoloConfig):
    NUM_CLASSES = 4
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = 64
    IMAGES_PER_GPU = 4
    DETECTION_MIN_CONFIDENCE = 0.3


class UnlimitedConfig(ThinConfig):
    DETECTION_MAX_INSTANCES = 0


@pytest.fixture
def thin(monkeypatch):
    monkeypatch.setattr("mrcnn.family.yolo.model.find_network", lambda name: THIN)
    return Yolo("thin", ThinConfig())


def _shapes(count):
    dataset = ShapesDataset()
    dataset.load_shapes(count, 64, 64)
    dataset.prepare()
    return dataset


def test_training_lowers_the_loss_and_heads_alone_stay_heads(thin):
    dataset = _shapes(8)
    before = np.asarray(thin.keras_model.get_layer("conv_1").kernel).copy()
    head = np.asarray(thin.keras_model.get_layer("conv_5").kernel).copy()
    thin.train(dataset, learning_rate=1e-3, epochs=1, layers="heads", verbose=0)
    np.testing.assert_array_equal(np.asarray(thin.keras_model.get_layer("conv_1").kernel), before)
    assert (np.asarray(thin.keras_model.get_layer("conv_5").kernel) != head).any()

    history = thin.train(dataset, dataset, learning_rate=3e-3, epochs=12, verbose=0).history
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    assert len(history["val_loss"]) == 12
    assert thin.class_names == dataset.class_names


def test_weights_written_and_read_give_the_same_detections(thin, tmp_path, monkeypatch):
    darknet_networks.set_seeded_values(thin.keras_model, 3)
    images = [np.random.default_rng(i).integers(0, 255, (50, 70, 3), np.uint8) for i in range(5)]
    thin.config.DETECTION_MIN_CONFIDENCE = 0.1
    expected = thin.detect(images)
    assert sum(len(result["scores"]) for result in expected)
    assert "masks" not in expected[0]
    thin.save_weights(tmp_path / "a.h5")
    other = Yolo("thin", thin.config)
    other.load_weights(tmp_path / "a.h5")
    for ours, theirs in zip(other.detect(images), expected, strict=True):
        np.testing.assert_array_equal(ours["rois"], theirs["rois"])
        np.testing.assert_allclose(ours["scores"], theirs["scores"], rtol=1e-5)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_precision_is_of_the_layers_and_not_of_weights_and_outputs(thin, precision):
    class Rough(ThinConfig):
        PRECISION = precision

    rough = Yolo("thin", Rough())
    darknet_networks.set_seeded_values(thin.keras_model, 3)
    rough.keras_model.set_weights(thin.keras_model.get_weights())
    assert {w.dtype for w in rough.keras_model.weights} == {"float32"}
    types = {layer.name: layer.compute_dtype for layer in rough.keras_model.layers}
    assert types["conv_1"] == types["conv_4_bn"] == precision
    assert types["conv_5"] == types["conv_6"] == types["rows"] == "float32"  # the outputs
    image = np.random.default_rng(0).random((1, 64, 64, 3), np.float32)
    expected, found = (m.keras_model.predict_on_batch(image) for m in (thin, rough))
    assert found.dtype == np.float32
    assert 0 < abs(found - expected).max() < 0.05 * expected.std()
    # The first steps in float16 find how far the loss can be scaled, and change nothing.
    losses = rough.train(_shapes(4), learning_rate=1e-3, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_weights_of_another_number_of_classes_load_up_to_the_outputs(thin, tmp_path):
    source = build_network(THIN, 7)
    darknet_networks.set_seeded_values(source, 7)
    save_darknet_weights(source, tmp_path / "a.weights")
    with pytest.raises(ValueError, match=r"must have \d+ bytes"):
        thin.load_weights(tmp_path / "a.weights")
    head = np.asarray(thin.keras_model.get_layer("conv_5").kernel).copy()
    thin.load_weights(tmp_path / "a.weights", num_classes=7)
    np.testing.assert_array_equal(
        np.asarray(thin.keras_model.get_layer("conv_4").kernel),
        np.asarray(source.get_layer("conv_4").kernel),
    )
    np.testing.assert_array_equal(np.asarray(thin.keras_model.get_layer("conv_5").kernel), head)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Yolo("yolov4"), "model is 'yolov4'; it must be one of yolov1"),
        (lambda: build_network(NETWORKS["yolov1"], 20, 416), "image_size is 416; it must be 448"),
        (lambda: build_network(NETWORKS["yolov3"], 20, 400), "it must be a multiple of 32"),
        (lambda: build_network(NETWORKS["yolov3"], 0), "num_classes is 0"),
        (lambda: Yolo("yolov3-tiny", ThinConfig(), ["BG", "a"]), "class_names has 2 entries"),
        (lambda: Yolo("yolov3-tiny", UnlimitedConfig()), "DETECTION_MAX_INSTANCES is 0; it must"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_images_without_size_limits(thin):
    assert thin.detect([]) == []
    gray = np.zeros((1, 500), np.uint8)
    assert set(thin.detect([gray])[0]) == {"rois", "class_ids", "scores"}
