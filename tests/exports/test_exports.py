"""Each format with a tiny model: written, checked, opened, and run on batches of images."""

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("exports need Keras on TensorFlow", allow_module_level=True)

from mrcnn.exports import ExportError, agreement, export, formats, open_export, writing
from mrcnn.model import MaskRCNN
from tests.exports.conftest import NAMES, images, is_installed
from tests.tiny import randomize, tiny_config

SAMPLE = Path(__file__).resolve().parents[2] / "samples/deploy/onnx_without_mrcnn.py"


def assert_same(found, expected):
    result = agreement.compare(expected, found, "float32", 0)
    assert result.problem is None
    assert result.count >= 2


@pytest.mark.parametrize("name", NAMES)
def test_an_export_finds_what_detect_finds(model, exported, name):
    report = exported(name)
    assert report.agreement.problem is None and report.agreement.count >= 2
    assert report.num_bytes > 20_000 and report.milliseconds > 0
    reopened = open_export(report.path)
    assert reopened.class_names == ["BG", "bright", "dark"]
    # Batches of three and two of one file, and images of several sizes.
    reopened.config.IMAGES_PER_GPU = 3
    for batch in (images(3), images(2, (64, 64)), [*images(1), *images(1, (200, 31))]):
        assert_same(reopened.detect(batch), model.detect(batch))
    results = [*reopened.detect_stream(images(2), rle=True)]
    for one, other in zip(results, model.detect(images(2), rle=True), strict=True):
        assert one["class_ids"].tolist() == other["class_ids"].tolist()


@pytest.mark.parametrize("name", NAMES)
def test_threads_get_their_own_outputs(exported, name):
    runner = open_export(exported(name).path).engine
    inputs = [image[None] for image in images(2)]
    expected = [runner.run(one)["scores"].tolist() for one in inputs]
    assert expected[0] != expected[1]
    with ThreadPoolExecutor(2) as pool:
        found = [*pool.map(lambda i: runner.run(inputs[i % 2])["scores"].tolist(), range(40))]
    assert found == expected * 20


@pytest.mark.parametrize("name", NAMES)
def test_the_outputs(exported, name):
    runner = open_export(exported(name).path).engine
    outputs = runner.run(np.stack(images(2)))
    rows = outputs["boxes"].shape[1]
    assert {key: (value.shape, value.dtype.name) for key, value in outputs.items()} == {
        "num_detections": ((2,), "int32"),
        "boxes": ((2, rows, 4), "int32"),
        "class_ids": ((2, rows), "int32"),
        "scores": ((2, rows), "float32"),
        "masks": ((2, rows, 50, 81), "uint8"),
    }
    assert rows == outputs["num_detections"].max()
    assert (np.diff(outputs["scores"][0]) <= 0).all()


def test_the_sample_runs_without_the_package(exported, tmp_path):
    from PIL import Image

    path = exported("onnx").path
    Image.fromarray(images(1)[0]).save(tmp_path / "photo.png")
    # Not in the repository, from which Python would import the package.
    words = [sys.executable, "-I", str(SAMPLE), str(path), "photo.png", "--output", "found.png"]
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    found = open_export(path).detect(images(1))[0]
    lines = result.stdout.splitlines()
    assert len(lines) == len(found["scores"])
    assert lines[0].startswith(f"{['BG', 'bright', 'dark'][found['class_ids'][0]]} ")
    assert lines[0].endswith(f"{found['masks'][..., 0].sum()} pixels")
    assert Image.open(tmp_path / "found.png").size == (81, 50)
    lines = SAMPLE.read_text().splitlines()
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    assert "import onnxruntime" in imports and not any("mrcnn" in line for line in imports)


@pytest.mark.skipif(not is_installed("onnx"), reason="needs onnx, tf2onnx and onnxruntime")
def test_masks_in_boxes_half_precision_and_no_detections(model, tmp_path):
    path = tmp_path / "boxes.onnx"
    report = export(model, path, precision="float16", masks="box", image=images(1)[0])
    assert report.precision == "float16"
    reopened = open_export(path)
    found = reopened.detect(images(2), mask_probabilities=True)
    result = agreement.compare(model.detect(images(2)), found, "float16", 0)
    assert result.problem is None and result.count >= 2
    assert found[0]["mask_probs"].dtype == np.float32
    # A threshold can be raised until nothing is left.
    none = open_export(path, min_confidence=1.0).detect(images(1))[0]
    assert len(none["rois"]) == 0 and none["masks"].shape == (50, 81, 0)


def test_an_image_without_detections(model, tmp_path):
    path = tmp_path / "model"
    strict = model.with_min_confidence(0.9999)
    report = export(strict, path, "saved_model", image=images(1)[0])
    assert report.agreement.count == 0
    assert str(report.agreement) == "nothing found in the image by either of the two"
    outputs = open_export(path).engine.run(np.stack(images(2)))
    assert outputs["num_detections"].tolist() == [0, 0]
    assert outputs["boxes"].shape == (2, 1, 4) and not outputs["masks"].any()
    with pytest.raises(ValueError, match=r"DETECTION_MIN_CONFIDENCE is 0.5; it must be at least"):
        open_export(path, min_confidence=0.5)


@pytest.mark.parametrize(
    ("difference", "mask_scores", "is_allowed"),
    [(0.0005, False, True), (0.004, False, False), (0.004, True, True), (0.02, True, False)],
)
def test_a_cell_of_the_mask_may_move_a_score_that_counts_it(difference, mask_scores, is_allowed):
    def results(score):
        box, class_ids = np.array([[2, 2, 9, 9]]), np.array([1])
        return [{"rois": box, "class_ids": class_ids, "scores": np.array([score])}]

    args = (results(0.7), results(0.7 + difference), "float32", 0.4)
    assert (agreement.compare(*args, mask_scores).problem is None) == is_allowed


def test_an_export_that_disagrees_leaves_no_file(model, tmp_path, monkeypatch):
    wrong = agreement.Agreement(3, 9, 0.0, 1.0, "a box differs by 9 pixels; it must be at most 1")
    monkeypatch.setattr(writing, "compare", lambda *arguments: wrong)
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(ExportError, match="a box differs by 9 pixels"):
        export(model, tmp_path / "model", "saved_model", image=images(1)[0])
    assert [path.name for path in tmp_path.iterdir()] == ["keep.txt"]


@pytest.mark.skipif(not is_installed("onnx"), reason="needs onnx, tf2onnx and onnxruntime")
def test_a_conversion_that_fails_without_copies_is_repeated_with_them(monkeypatch):
    import tf2onnx
    from onnx import helper

    from mrcnn.exports import onnx_file

    seen = []

    def from_function(function, input_signature, opset):
        seen.append(os.environ.get("TF2ONNX_CATCH_ERRORS"))
        if len(seen) == 1:
            raise ValueError("an optimizer failed")
        return helper.make_model(helper.make_graph([], "g", [], [])), None

    monkeypatch.setattr(tf2onnx.convert, "from_function", from_function)
    assert onnx_file.convert(None, None).graph.name == "g"
    assert seen == ["FALSE", None] and "TF2ONNX_CATCH_ERRORS" not in os.environ


@pytest.mark.long
@pytest.mark.skipif(not is_installed("onnx"), reason="needs onnx, tf2onnx and onnxruntime")
def test_wide_convolutions_by_winograd_with_small_kernels_in_the_file(tmp_path):
    config = tiny_config(TOP_DOWN_PYRAMID_SIZE=128, RPN_CHANNELS=128)
    model = MaskRCNN("inference", config, str(tmp_path))
    randomize(model.keras_model)
    report = export(model, tmp_path / "wide.onnx", image=images(1)[0])
    assert report.agreement.count >= 2
    # In the basis of the algorithm, kernels take four times the memory: three times in all here.
    assert report.num_bytes < 1.3 * 4 * model.keras_model.count_params() + 2e6
    assert_same(open_export(report.path).detect(images(2)), model.detect(images(2)))


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file(exported, name, tmp_path):
    import shutil

    path = exported(name).path
    damaged = tmp_path / path.name
    if path.is_dir():
        shutil.copytree(path, damaged)
        (damaged / "saved_model.pb").write_bytes(b"no graph")
    else:
        damaged.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"{path.name} (cannot be read as|has no description)"):
        open_export(damaged)


@pytest.mark.skipif(not is_installed("openvino"), reason="needs openvino")
@pytest.mark.parametrize(
    "graph,weights,reason",
    [
        (slice(None), None, "m.bin is missing; it must lie beside it"),
        (slice(None), slice(1000), "Incorrect weights in bin file!"),
        (slice(2000), slice(None), ""),  # what is wrong depends on where it ends
        (slice(20), slice(None), "it must begin with <net>"),
    ],
)
def test_damaged_files_of_openvino(exported, tmp_path, graph, weights, reason):
    path = exported("openvino").path
    (tmp_path / "m.xml").write_bytes(path.read_bytes()[graph])
    if weights is not None:
        (tmp_path / "m.bin").write_bytes(path.with_suffix(".bin").read_bytes()[weights])
    with pytest.raises(ValueError) as raised:
        open_export(tmp_path / "m.xml")
    start = f"{tmp_path / 'm.xml'} cannot be read as OpenVINO: "
    message = str(raised.value)
    assert message.startswith(start + reason) and "\n" not in message
    assert "Exception from" not in message and len(message) > len(start)


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"format": "tensorrt"}, "format is 'tensorrt'; it must be one of saved_model, onnx"),
        ({"precision": "int8"}, "precision is 'int8'; it must be one of float32, float16"),
        ({"masks": "all"}, "masks is 'all'; it must be one of image, box"),
        ({"path": "m.h5", "format": "litert"}, "it must be a file that ends in .tflite"),
        ({"path": ".", "format": "saved_model"}, "which holds other files; it must be a new"),
    ],
)
def test_arguments_that_do_not_work(model, arguments, message, monkeypatch):
    monkeypatch.setattr(formats.ExportFormat, "check_packages", lambda self, writing=True: None)
    with pytest.raises(ValueError, match=message):
        export(model, **arguments)


@pytest.mark.parametrize(
    "settings,message",
    [
        ({"IMAGE_RESIZE_MODE": "pad64"}, "IMAGE_RESIZE_MODE is 'pad64'; it must be 'square'"),
        ({"PRECISION": "bfloat16"}, "PRECISION is 'bfloat16'; it must be 'float32'"),
    ],
)
def test_settings_that_do_not_work(settings, message, tmp_path):
    model = MaskRCNN("inference", tiny_config(**settings), str(tmp_path), engine="keras")
    with pytest.raises(ValueError, match=message):
        export(model, tmp_path / "model", "saved_model")


@pytest.mark.parametrize(
    "name,package", [("onnx", "tf2onnx"), ("openvino", "openvino"), ("litert", "ai_edge_litert")]
)
def test_a_missing_package_is_named_with_its_extra(model, name, package, monkeypatch):
    if not is_installed(name):
        pytest.skip(f"the packages of {name} are not installed")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda one, *rest: None if one == package else find(one, *rest)
    )
    hint = rf'pip install "mrcnn-keras3\[export\]", or pip install {package.replace("_", "-")}'
    with pytest.raises(ImportError, match=hint):
        export(model, format=name)


@pytest.mark.parametrize("path", ["nothing.onnx", "nothing.xml", "nothing.tflite"])
def test_a_missing_file(path, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"exported model not found: .*{path}"):
        open_export(tmp_path / path)
    with pytest.raises(ValueError, match=r"it must end in .onnx, .xml, .tflite, or be the folder"):
        open_export(tmp_path / "weights.h5")


@pytest.mark.skipif(not is_installed("openvino"), reason="needs openvino")
@pytest.mark.parametrize(
    "length,rows,different",
    # In the last, the keys of the sort are beyond 2**24, to which float32 has all whole numbers.
    [(500, 40, 30), (40, 40, 30), (300, 1, 30), (9000, 6000, 4000)],
)
def test_top_k_of_openvino_keeps_the_order_of_equal_values(length, rows, different):
    import openvino as ov
    from openvino import opset13 as ops

    from mrcnn.exports.openvino_file import _speed_up_top_k

    values = np.random.RandomState(0).randint(0, different, (2, length)).astype(np.float32)
    data = ops.parameter([-1, length], np.float32)
    node = ops.topk(data, np.int32(rows), -1, "max", "value", "i32", True)
    model = ov.Model([ops.result(node.output(0)), ops.result(node.output(1))], [data], "m")
    _speed_up_top_k(model)
    compiled = ov.Core().compile_model(model, "CPU")
    found = compiled(values)
    order = np.argsort(-values, axis=1, kind="stable")[:, :rows]
    np.testing.assert_array_equal(found[1], order)
    np.testing.assert_array_equal(found[0], np.take_along_axis(values, order, 1))


@pytest.fixture(scope="module")
def detected(tmp_path_factory):
    """Return a function that detects with weights on the command line, each only once."""
    import json

    import skimage.data

    from mrcnn.cli import main

    photo, found = str(Path(skimage.data.__file__).parent / "astronaut.png"), {}

    def get(weights):
        if weights not in found:
            output = tmp_path_factory.mktemp("detected")
            with pytest.raises(SystemExit) as end:
                main(["detect", photo, "--weights", weights, "--output", str(output), "--csv"])
            assert end.value.code in (0, None)
            found[weights] = json.loads((output / "detections.json").read_text())
        return found[weights]

    return get


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_the_small_model_from_the_command_line(name, detected, tmp_path, capsys):
    from mrcnn.cli import main

    if not is_installed(name):
        pytest.skip(f"the packages of {name} are not installed")
    path = tmp_path / NAMES[name]
    with pytest.raises(SystemExit) as end:
        main(["export", "small", "--format", name, "--output", str(path)])
    printed = capsys.readouterr().out
    assert end.value.code in (0, None), printed
    assert "detections, boxes within" in printed and "ms for an image with" in printed
    # What takes long is said before it begins.
    assert printed.index(f"Writing  {path}, and comparing it") < printed.index("Export   ")
    expected, found = detected("small"), detected(str(path))
    assert [one["category_name"] for one in found] == [one["category_name"] for one in expected]
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one["bbox"], other["bbox"], atol=1)
