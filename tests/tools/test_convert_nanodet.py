"""The converted NanoDet against its TensorFlow.js graph, and against boxes recorded from it."""

import json

import cv2
import keras
import numpy as np
import pytest

from mrcnn.checkpoints import load_weights, verify
from mrcnn.layers.backbones import nanodet_graph
from mrcnn.layers.backbones.nanodet import nanodet_raw_graph
from tests.tools.scripts import import_script

convert = import_script("convert_nanodet")
detector = import_script("nanodet_detector")

# Photographs of which the boxes were recorded at full size, and COCO's ids of them.
FULL_SIZE = {"7933423348_c30bd9bd4e_z.jpg": 538364, "8053677163_d4c8f416be_z.jpg": 460147}


@pytest.fixture(scope="module")
def graph(shared_dir):
    path = shared_dir / "weights" / "nanodet_g" / "nanodet.json"
    if not path.is_file():
        pytest.skip(f"NanoDet-g not found at {path}")
    return path


@pytest.fixture(scope="module")
def detector_model(graph):
    pixels = keras.Input((None, None, 3))
    outputs = nanodet_raw_graph(pixels)
    whole = keras.Model(pixels, outputs)
    stages = [whole.get_layer(f"nano{stage}_out").output for stage in (3, 4, 5)]
    model = keras.Model(pixels, [*stages, *outputs])
    values = convert.read_nanodet(graph)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(values[layer.name])
    return model


def run_graph(path, pixels):
    """Compute the nodes of the graph one by one, with TensorFlow.

    Args:
        path: `nanodet.json`.
        pixels: [1, 3, side, side], as the graph expects them.

    Returns:
        The outputs of all convolutions' biases by the number of the convolution, channels last.
    """
    tf = pytest.importorskip("tensorflow")
    constants = convert.read_constants(path)
    values = {"input_1": tf.constant(pixels)}
    sizes = {"ResizeBilinear": lambda x, size: tf.image.resize(x, size, "bilinear")}
    operations = {
        "Pad": tf.pad,
        "PadV2": lambda x, paddings, value: tf.pad(x, paddings, constant_values=float(value)),
        "Transpose": tf.transpose,
        "Add": tf.add,
        "LeakyRelu": lambda x: tf.nn.leaky_relu(x, 0.1),
        "ConcatV2": lambda a, b, axis: tf.concat([a, b], int(axis)),
        **sizes,
    }
    results = {}
    for node in json.loads(path.read_text())["modelTopology"]["node"]:
        name, op = node["name"], node["op"]
        inputs = [constants[i] if i in constants else values.get(i) for i in node.get("input", ())]
        if any(i is None for i in inputs) or op in ("Const", "Placeholder"):
            continue
        inputs = [
            i.astype(np.float32) if getattr(i, "dtype", 0) == np.float16 else i for i in inputs
        ]
        strides = node["attr"].get("strides", {}).get("list", {}).get("i")
        if op == "Conv2D":
            values[name] = tf.nn.conv2d(*inputs, [int(i) for i in strides], "VALID")
        elif op == "MaxPool":
            values[name] = tf.nn.max_pool2d(*inputs, 3, [int(i) for i in strides], "VALID")
        elif op in operations:
            values[name] = operations[op](*inputs)
        if op == "Add" and "/convolution" in node["input"][0]:
            number = node["input"][0].partition("convolution_")[2] or 0
            results[int(number)] = values[name].numpy()
    return results


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="computes with TensorFlow")
def test_equals_the_graph(graph, detector_model):
    rgb = np.random.RandomState(0).randint(0, 256, (416, 416, 3)).astype(np.float32)
    bgr = (rgb[..., ::-1] - [103.53, 116.28, 123.675]) / [57.375, 57.12, 58.395]
    expected = run_graph(graph, bgr.transpose(2, 0, 1)[None].astype(np.float32))
    assert len(expected) == 34
    outputs = [np.asarray(x) for x in detector_model((rgb - [123.675, 116.28, 103.53])[None])]
    for stage, raw, number, exit_number in zip(
        outputs[:3], outputs[3:], (29, 31, 33), (10, 16, 24)
    ):
        np.testing.assert_allclose(raw, expected[number], atol=2e-4)
        # The trunk's features, before the head, are larger by a constant.
        channels = expected[exit_number].shape[-1]
        features = np.where(expected[exit_number] > 0, 1, 0.1) * expected[exit_number]
        np.testing.assert_allclose(
            stage[..., :channels], features * (57.375 / 16), atol=1e-3, rtol=1e-4
        )


@pytest.mark.parametrize("name", FULL_SIZE)
def test_recorded_boxes(shared_dir, detector_model, name):
    everyday = shared_dir / "data" / "everyday"
    records = json.loads((everyday / "nanodet_boxes.json").read_text())
    about = json.loads((everyday / "images.json").read_text())
    (stored,) = (image for image in about["images"] if image["id"] == FULL_SIZE[name])
    image = cv2.imread(str(shared_dir / "data" / "matterport_images" / name))[..., ::-1]
    ratio = [stored["width"] / image.shape[1], stored["height"] / image.shape[0]] * 2

    raw = keras.Model(detector_model.input, detector_model.output[3:])
    found = detector.detect(raw, image)
    expected = [record for record in records if record["image_id"] == FULL_SIZE[name]]
    expected.sort(key=lambda record: -record["score"])
    assert len(found) == len(expected) > 15
    for (label, score, box), record in zip(found, expected):
        x, y, width, height = record["bbox"]
        assert about["categories"][label]["id"] == record["category_id"]
        assert score == pytest.approx(record["score"], abs=2e-3)
        np.testing.assert_allclose(box * ratio, [x, y, x + width, y + height], atol=0.5)


def test_file(graph, tmp_path, monkeypatch, capsys):
    for backbone, layers in (("nanodet", 25), ("nanodet_pan", 34)):
        path = tmp_path / f"{backbone}.h5"
        arguments = ["convert_nanodet.py", str(graph), str(path), "--backbone", backbone]
        monkeypatch.setattr("sys.argv", arguments)
        convert.main()
        info = verify(path)
        assert (info.backbone, len(info.layers), info.image_channels) == (backbone, layers, 3)
        assert f"{info.num_parameters:,} parameters of {backbone}" in capsys.readouterr().out
    # The file of the whole detector serves the trunk as well.
    image = keras.Input((None, None, 3))
    trunk = keras.Model(image, nanodet_graph(image)[1:])
    report = load_weights(trunk, tmp_path / "nanodet_pan.h5")
    assert len(report.loaded) == 25 and not report.missing_in_file


def write_graph(folder, dtype="float16", num_bytes=12, paths=("a.bin",)):
    entry = {
        "name": "kernel",
        "shape": [2, 3],
        "dtype": "float32",
        "quantization": {"dtype": dtype},
    }
    topology = {"node": []}
    path = folder / "graph.json"
    manifest = [{"paths": list(paths), "weights": [entry]}]
    path.write_text(json.dumps({"modelTopology": topology, "weightsManifest": manifest}))
    for name in paths:
        (folder / name).write_bytes(np.arange(6, dtype="<f2").tobytes().ljust(num_bytes, b"\0"))
    return path


def test_constants(tmp_path):
    (values,) = convert.read_constants(write_graph(tmp_path)).values()
    np.testing.assert_array_equal(values, [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dtype": "float32"}, "kernel of graph.json lies beyond the end of the values"),
        ({"num_bytes": 14}, "graph.json describes 12 bytes of values; 14 are there"),
    ],
)
def test_values_that_do_not_fit(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        convert.read_constants(write_graph(tmp_path, **options))


def test_another_graph(tmp_path):
    with pytest.raises(ValueError, match=r"graph\.json has 0 convolutions; NanoDet-g has 34"):
        convert.read_nanodet(write_graph(tmp_path))


def test_suppression_is_by_class():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10.0]])
    scores = np.array([[0.5, 0], [0.6, 0.1], [0, 0.9]])
    found = detector.suppress(boxes, scores, 0.25)
    assert [(label, score) for label, score, _ in found] == [(1, 0.9), (0, 0.6)]


def test_letterbox():
    square, scale, offset = detector.letterbox(np.full((20, 40, 3), 7, np.uint8), side=64)
    assert (square.shape, scale, offset) == ((64, 64, 3), 1.6, (16, 0))
    assert (square[16:48] == 7).all() and not square[:16].any() and not square[48:].any()


def test_printed_detections(graph, shared_dir, tmp_path, monkeypatch, capsys):
    weights, name = tmp_path / "w.h5", next(iter(FULL_SIZE))
    monkeypatch.setattr("sys.argv", ["convert", str(graph), str(weights)])
    convert.main()
    photo = shared_dir / "data" / "matterport_images" / name
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["detect", str(weights), str(photo), "missing.jpg"])
    detector.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [str(photo), "    person 0.785 at [43, 123, 88, 271]"]
    assert lines[-2:] == ["missing.jpg", "    cannot be read"]
