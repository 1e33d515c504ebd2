"""The OpenVINO engine against the Keras engine, on a small network."""

import importlib.util
import shutil
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

if importlib.util.find_spec("openvino") is None:
    pytest.skip("needs openvino: pip install openvino nncf", allow_module_level=True)
if keras.backend.backend() != "tensorflow":
    pytest.skip("OpenVINO reads Keras on TensorFlow", allow_module_level=True)

from mrcnn.engines import conversion, model_cache, openvino_engine
from mrcnn.engines.keras_engine import KerasEngine
from mrcnn.model import MaskRCNN
from tests.tiny import randomize, tiny_config


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        # The tiny backbone is a function, whose code may change: not cached otherwise.
        patch.setattr(conversion, "is_cacheable", lambda config: True)
        patch.setenv("MRCNN_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def model(tmp_path_factory, home):
    config = tiny_config()
    model = MaskRCNN("inference", config, str(tmp_path_factory.mktemp("logs")), engine="openvino")
    randomize(model.keras_model)
    return model


@pytest.fixture(scope="module")
def keras_engine(model):
    return KerasEngine(model._shared)


def images():
    sizes = ((50, 60), (64, 64), (90, 40))
    return [
        np.random.RandomState(i).randint(0, 256, (*size, 3)).astype(np.uint8)
        for i, size in enumerate(sizes)
    ]


def detect_with(model, engine):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "_engine", engine)
        return model.detect(images())


def assert_same(found, expected):
    assert sum(len(result["rois"]) for result in expected) > 5
    for one, other in zip(found, expected, strict=True):
        assert one["class_ids"].tolist() == other["class_ids"].tolist()
        np.testing.assert_allclose(one["rois"], other["rois"], atol=1)
        np.testing.assert_allclose(one["scores"], other["scores"], atol=1e-3)
        assert (one["masks"] != other["masks"]).mean() < 1e-3


def test_it_finds_what_keras_finds_also_after_the_weights_have_changed(model, keras_engine):
    assert_same(model.detect(images()), detect_with(model, keras_engine))
    assert model.engine.name == "openvino"
    before = model.detect(images())
    logits = model.keras_model.get_layer("mrcnn_class_logits")
    kernel, bias = logits.get_weights()
    # The two classes change places: the sum over all weights stays what it was.
    swapped = [0, 2, 1]
    logits.set_weights([kernel[:, swapped], bias[swapped]])
    try:
        after = model.detect(images())
        assert_same(after, detect_with(model, keras_engine))
        assert after[1]["class_ids"].tolist() != before[1]["class_ids"].tolist()
    finally:
        logits.set_weights([kernel, bias])


def test_other_sizes_than_the_first(model, keras_engine, monkeypatch):
    monkeypatch.setattr(model.config, "IMAGE_RESIZE_MODE", "none")
    sizes = (128, 192), (64, 64), (192, 128)
    images = [np.random.RandomState(5).randint(0, 256, (*s, 3)).astype(np.uint8) for s in sizes]
    found = [model.detect([image])[0] for image in images]
    monkeypatch.setattr(model, "_engine", keras_engine)
    assert_same(found, [model.detect([image])[0] for image in images])


def test_the_trunk_has_the_size_of_all_images_if_there_is_one():
    config = tiny_config()
    assert conversion.fixed_sides(config) == (64, 64)
    config.IMAGE_RESIZE_MODE = "pad64"
    assert conversion.fixed_sides(config) is None


@pytest.mark.parametrize("mode", ["square", "pad64"])
def test_sizes_of_the_converted_trunk(mode, model, monkeypatch):
    engine = openvino_engine.OpenVINOEngine(model._shared)
    monkeypatch.setattr(engine, "_sides", (64, 64) if mode == "square" else None)
    trunk = engine._convert("trunk", engine._sides)
    sides = "64,64" if mode == "square" else "?,?"
    assert str(trunk.input(0).partial_shape) == f"[1,{sides},3]"


@pytest.mark.parametrize("stride, rpn_channels", [(1, 128), (1, 8), (2, 128)])
def test_a_network_that_is_wide_enough_for_winograds_algorithm(stride, rpn_channels, tmp_path):
    config = tiny_config()
    config.TOP_DOWN_PYRAMID_SIZE = config.MASK_CHANNELS = 128
    config.RPN_ANCHOR_STRIDE, config.RPN_CHANNELS = stride, rpn_channels
    model = MaskRCNN("inference", config, str(tmp_path), engine="openvino")
    randomize(model.keras_model)
    molded, metas, _ = model.mold_inputs(images())
    anchors = model.get_anchors((64, 64, 3))
    engine = model.engine
    found = engine.run(molded, metas, anchors)
    is_wide = [
        any("kernel_basis" in tensor.names for tensor in request.get_compiled_model().inputs)
        for request in (engine._requests["trunk"], engine._requests["mask"])
    ]
    assert is_wide == [(stride, rpn_channels) == (1, 128), True]
    (detections, masks), expected = found, KerasEngine(model._shared).run(molded, metas, anchors)
    np.testing.assert_allclose(detections, expected[0], atol=1e-3)
    is_one = detections[:, : masks.shape[1], 4] > 0
    assert is_one.sum() > 5
    np.testing.assert_allclose(masks[is_one], expected[1][is_one], atol=1e-3)


def test_joint_scores(tmp_path):
    config = tiny_config(JOINT_SCORES=True, DETECTION_MIN_CONFIDENCE=0.01)
    model = MaskRCNN("inference", config, str(tmp_path), engine="openvino")
    randomize(model.keras_model)
    molded, metas, _ = model.mold_inputs(images())
    anchors = model.get_anchors((64, 64, 3))
    found = model.engine.run(molded, metas, anchors)[0]
    expected = KerasEngine(model._shared).run(molded, metas, anchors)[0]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert (found[..., 4] > 0).any()


def test_nothing_found(model, monkeypatch):
    engine = model.engine
    monkeypatch.setattr(engine._boxes, "detections", lambda *inputs: np.zeros((6, 6), np.float32))
    (result,) = model.detect(images()[:1])
    assert result["rois"].shape == (0, 4) and result["masks"].shape == (50, 60, 0)


def test_a_second_start_converts_nothing_unless_the_cache_is_damaged(model, home, monkeypatch):
    expected = model.detect(images())
    converted = []
    convert = conversion.convert

    def counting(part, *how):
        converted.append(part.name)
        return convert(part, *how)

    monkeypatch.setattr(conversion, "convert", counting)
    again = openvino_engine.OpenVINOEngine(model._shared)
    assert_same(detect_with(model, again), expected)
    assert converted == []
    for file in (home / "compiled").glob("*/trunk.bin"):
        damaged = file.with_suffix(".damaged")  # moved there: the file itself may be mapped
        damaged.write_bytes(file.read_bytes()[:-8] + bytes(8))
        damaged.replace(file)
    again = openvino_engine.OpenVINOEngine(model._shared)
    assert_same(detect_with(model, again), expected)
    assert "trunk" in converted
    shutil.rmtree(home / "compiled")


def test_an_entry_that_openvino_cannot_read_is_converted_again(model, keras_engine):
    def write(folder):
        for name in ("trunk", "classifier", "mask", "classifier_align", "mask_align"):
            (folder / f"{name}.xml").write_text("<net")
            (folder / f"{name}.bin").write_bytes(b"12345678" if name != "mask" else b"")

    engine = openvino_engine.OpenVINOEngine(model._shared)
    assert model_cache.store(engine._key(), write)
    assert_same(detect_with(model, engine), detect_with(model, keras_engine))
    folder, _ = model_cache.find_entry(engine._key())
    assert (folder / "mask.bin").stat().st_size > 0


def test_without_a_cache_it_runs_from_memory(model, keras_engine, monkeypatch):
    monkeypatch.setattr(model_cache, "store", lambda *args: None)
    monkeypatch.setattr(model_cache, "find_entry", lambda key: None)
    engine = openvino_engine.OpenVINOEngine(model._shared)
    assert_same(detect_with(model, engine), detect_with(model, keras_engine))
    assert engine._mapped == []


def test_conversion_does_not_depend_on_openvinos_search_for_the_framework(model, monkeypatch):
    import openvino

    def convert_model(*args, **options):
        raise NameError("name 'tensorflow' is not defined")  # as on Python 3.13

    monkeypatch.setattr(openvino, "convert_model", convert_model)
    mask = model.engine._models["mask"]
    features = np.random.RandomState(0).randn(1, 2, *mask.inputs[0].shape[2:]).astype(np.float32)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    converted = openvino.Core().compile_model(conversion.convert(mask), "CPU", settings)
    np.testing.assert_allclose(converted(features)[0], mask([features]), atol=1e-5)


@pytest.mark.parametrize("name", ["openvino", "keras"])
def test_eight_threads_on_one_engine_find_what_one_finds(name, model, keras_engine):
    engine = model.engine if name == "openvino" else keras_engine
    molded, metas, _ = model.mold_inputs(images())
    anchors = model.get_anchors((64, 64, 3))
    inputs = [(molded[i : i + 1], metas[i : i + 1], anchors) for i in range(3)] * 8
    serial = [engine.run(*one) for one in inputs]
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(lambda one: engine.run(*one), inputs))
    for one, other in zip(serial, parallel, strict=True):
        for array, expected in zip(one, other, strict=True):
            np.testing.assert_array_equal(array, expected)


def test_files_of_former_weights_are_released(model):
    engine = openvino_engine.OpenVINOEngine(model._shared)
    engine.prepare()
    files = list(engine._mapped)
    bias = model.keras_model.get_layer("mrcnn_class_logits").bias
    before = bias.numpy()
    bias.assign(before + 1)
    engine.prepare()
    bias.assign(before)
    assert len(engine._mapped) == len(files) > 0
    assert not set(map(id, files)) & set(map(id, engine._mapped))


def test_int8_needs_images(model, monkeypatch):
    monkeypatch.setattr(model.engine, "precision", "int8")
    with pytest.raises(ValueError, match="calibration is None; it must name some typical images"):
        model.engine._prepare()


def test_int8_is_calibrated_once(model, keras_engine, monkeypatch):
    if importlib.util.find_spec("nncf") is None:
        pytest.skip("needs nncf: pip install openvino nncf")
    anchors = model.get_anchors((64, 64, 3))
    molded, metas, _ = model.mold_inputs(images())
    inputs = [(molded[i : i + 1], metas[i : i + 1], anchors) for i in range(3)]
    engine = model.engine
    monkeypatch.setattr(engine, "precision", "int8")
    monkeypatch.setattr(engine, "_calibration", lambda: inputs)
    engine._prepare()
    detections, _ = engine.run(molded, metas, anchors)
    expected, _ = keras_engine.run(molded, metas, anchors)
    # Eight bits of random weights: close, and not the same.
    assert 0 < np.abs(detections[..., 5] - expected[..., 5]).max() < 0.2
    # From the cache now: also without images, but not for other ones.
    monkeypatch.setattr("mrcnn.engines.quantization.quantized", None)
    for calibration in (lambda: inputs, None):
        monkeypatch.setattr(engine, "_calibration", calibration)
        engine._prepare()
        np.testing.assert_array_equal(engine.run(molded, metas, anchors)[0], detections)
    monkeypatch.setattr(engine, "_calibration", lambda: inputs[:2])
    with pytest.raises(TypeError):
        engine._prepare()
    monkeypatch.undo()
    engine._prepare()


def test_a_precision_that_it_does_not_have(model):
    with pytest.raises(ValueError, match="precision is 'float16'"):
        openvino_engine.OpenVINOEngine(model._shared, "float16")


def test_transposes_that_cancel_are_bypassed():
    import openvino as ov
    from openvino import opset13 as ops

    x = ops.parameter([2, 3, 4, 5], np.float32, name="x")
    last = ops.transpose(x, [0, 2, 3, 1])  # an output, so it stays
    first = ops.transpose(last, [0, 3, 1, 2])
    other = ops.transpose(last, [0, 2, 1, 3])
    outputs = [last, ops.relu(first), other]
    model = ov.Model([ops.result(node) for node in outputs], [x], "pairs")
    values = np.random.RandomState(0).randn(2, 3, 4, 5).astype(np.float32)
    conversion.drop_transpose_pairs(model)
    found = ov.Core().compile_model(model, "CPU")(values)
    kinds = [op.get_type_name() for op in model.get_ordered_ops()]
    assert kinds.count("Transpose") == 2
    channels_last = values.transpose(0, 2, 3, 1)
    expected = channels_last, np.maximum(values, 0), channels_last.transpose(0, 2, 1, 3)
    for i, array in enumerate(expected):
        np.testing.assert_array_equal(found[i], array)
