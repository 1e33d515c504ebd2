"""MaskRCNN: images of every kind, weight files, log folders, looking inside, errors."""

import gc
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
import types
import weakref

import keras
import numpy as np
import pytest

from mrcnn import model as modellib
from mrcnn import utils
from mrcnn.checkpoints.description import describe_weights
from mrcnn.config import Config
from mrcnn.detection import DetectionResult, molding
from mrcnn.detection.detector import _with_mask_scores
from mrcnn.geometry.images import compose_image_meta
from mrcnn.geometry.rle import decode_rle
from mrcnn.model import MaskRCNN, log
from mrcnn.training import log_folders
from tests.tiny import randomize, tiny_config
from tests.weight_files import write_weight_file


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    model = MaskRCNN("inference", tiny_config(), str(tmp_path_factory.mktemp("logs")))
    randomize(model.keras_model)
    return model


def picture(height=50, width=60, channels=3, dtype=np.uint8, seed=0):
    shape = (height, width, channels) if channels else (height, width)
    top = np.iinfo(dtype).max
    return np.random.RandomState(seed).randint(0, top, shape, dtype=dtype)


def check(result, height, width):
    """Ranks, types and ranges of one result; returns the number of objects."""
    count = len(result["rois"])
    shapes = {"rois": (count, 4), "class_ids": (count,), "scores": (count,)}
    shapes["masks"] = (height, width, count)
    types = {"rois": "int32", "class_ids": "int32", "scores": "float32", "masks": "bool"}
    assert {k: v.shape for k, v in result.items()} == shapes
    assert {k: str(v.dtype) for k, v in result.items()} == types
    assert (result["rois"] >= 0).all() and (result["rois"] <= [height, width] * 2).all()
    assert set(result["class_ids"]) <= {1, 2}
    assert (np.diff(result["scores"]) <= 0).all()
    return count


def same(first, second):
    assert first.keys() == second.keys()
    np.testing.assert_array_equal(first["class_ids"], second["class_ids"])
    np.testing.assert_allclose(first["scores"], second["scores"], atol=1e-4)
    np.testing.assert_allclose(first["rois"], second["rois"], atol=1)
    assert first["masks"].shape == second["masks"].shape
    # Not the mean, which is nan where nothing was found.
    assert (first["masks"] != second["masks"]).sum() <= 0.01 * first["masks"].size


# ---- detect ------------------------------------------------------------------------------------


def test_images_of_every_kind(model):
    rgb = picture()
    images = {
        "rgb": rgb,
        "rgba": np.dstack([rgb, picture(channels=0)]),
        "16 bit": rgb.astype(np.uint16) * 257,
        "float": rgb / 255.0,
        "read only view": rgb[::-1][::-1],
    }
    results = model.detect(list(images.values()))
    assert check(results[0], 50, 60) > 1
    for result in results[1:]:
        same(result, results[0])
    grey, one_channel, triple = picture(channels=0), picture(channels=1), picture(channels=0)
    results = model.detect([grey, grey[..., None], np.dstack([triple] * 3)])
    assert one_channel.shape == (50, 60, 1)
    same(results[0], results[1])
    same(results[0], results[2])


def test_images_of_different_and_odd_sizes(model):
    sizes = [(50, 60), (1, 1), (33, 7), (131, 257), (64, 64)]
    results = model.detect([picture(*size) for size in sizes])
    counts = [check(result, *size) for result, size in zip(results, sizes, strict=True)]
    assert counts[0] > 0 and counts[3] > 0


def test_results_depend_neither_on_the_batch_size_nor_on_the_order(model):
    images = [picture(50, 60, seed=1), picture(90, 40, seed=2), picture(64, 64, seed=3)]
    each = [model.detect([image])[0] for image in images]
    for results in (model.detect(images), model.detect(images[::-1])[::-1]):
        for first, second in zip(each, results, strict=True):
            same(first, second)


def test_one_image_and_a_batch_as_an_array(model):
    image = picture()
    alone = model.detect(image)
    assert len(alone) == 1
    results = model.detect(np.stack([image, image]))
    assert len(results) == 2
    for result in (*results, *model.detect(iter([image]))):
        same(result, alone[0])


@pytest.mark.parametrize("images", [[], np.zeros((0, 64, 64, 3), np.uint8)])
def test_no_images(model, images):
    assert model.detect(images) == []


def test_nothing_found(model, monkeypatch):
    # Engines say "nothing" with zero rows and no masks.
    class Blind:
        def run(self, images, metas, anchors):
            return np.zeros((len(images), 6, 6), np.float32), np.zeros((len(images), 0, 28, 28))

    monkeypatch.setattr(model, "_engine", Blind())
    (result,) = model.detect([picture()])
    assert check(result, 50, 60) == 0
    (result,) = model.detect([picture()], mask_probabilities=True)
    assert result["mask_probs"].shape == (50, 60, 0)


def test_mask_probabilities(model):
    image = picture()
    (plain,) = model.detect([image])
    (result,) = model.detect([image], mask_probabilities=True)
    probs = result.pop("mask_probs")
    assert probs.dtype == np.float32 and probs.shape == result["masks"].shape
    assert probs.min() >= 0 and probs.max() <= 1
    np.testing.assert_array_equal(probs >= 0.5, result["masks"])
    same(result, plain)


def test_run_lengths(model):
    (plain,) = model.detect([picture()])
    (result,) = model.detect([picture()], rle=True)
    assert "masks" not in result
    np.testing.assert_array_equal(decode_rle(result["rles"]), plain["masks"])
    np.testing.assert_array_equal(result["rois"], plain["rois"])


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_stream_finds_what_detect_finds(model, batch_size, monkeypatch):
    monkeypatch.setattr(model, "_engine", model._engine if batch_size == 1 else None)
    images = [picture(50, 60, seed=1), picture(90, 40, seed=2), picture(64, 64, seed=3)]
    results = list(model.detect_stream(images, batch_size))
    assert len(results) == 3
    for found, expected in zip(results, model.detect(images), strict=True):
        same(found, expected)


@pytest.mark.parametrize("rle", [False, True])
def test_results_know_the_classes_and_the_image(model, monkeypatch, tmp_path, rle):
    image = picture(90, 70)
    monkeypatch.setattr(model, "class_names", ["BG", "bright", "dark"])
    streamed = list(model.detect_stream([image], rle=rle))
    (molded,), metas, _ = model.mold_inputs([image])
    found = [
        *model.detect([image], rle=rle),
        *streamed,
        model.detect_tiled(image, 64, rle=rle),
        *model.detect_molded([molded], metas),
    ]
    for number, result in enumerate(found):
        assert type(result) is DetectionResult and type(dict(result)) is dict
        kind = "rles" if rle and number < 3 else "masks"
        assert list(result) == ["rois", "class_ids", "scores", kind]
        assert len(result) == len(result["rois"]) > 0
        assert result.class_names == ["BG", "bright", "dark"]
        assert result.masks.shape == (*((90, 70) if number < 3 else molded.shape[:2]), len(result))
        assert re.match(r"\d+ detections? in \d+ x \d+: \d+ (bright|dark) \(", repr(result))
    for number, result in enumerate(found[:3]):
        assert result.image_size == (90, 70)
        assert result.save(tmp_path / f"{number}.png").stat().st_size > 0
    with pytest.raises(ValueError, match="image is None; it must be the image"):
        found[3].save(tmp_path / "molded.png")


def test_results_do_not_keep_images_in_memory(model):
    image = picture()
    watched = weakref.ref(image)
    results = [*model.detect([image]), *model.detect_stream([image]), model.detect_tiled(image, 64)]
    del image
    gc.collect()
    assert watched() is None
    assert [result.image_size for result in results] == [(50, 60)] * 3


def test_a_stream_says_what_was_wrong(model):
    results = model.detect_stream(["no.jpg", picture()], errors="return", with_images=True)
    (none, error), (image, result) = results
    assert none is None and isinstance(error, FileNotFoundError)
    assert image.shape == (50, 60, 3) and check(result, 50, 60) > 0
    for options in ({"batch_size": 0}, {"ahead": 1.5}, {"errors": "ignore"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            model.detect_stream([picture()], **options)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_one_image_that_fails_does_not_end_a_stream(model, batch_size, monkeypatch):
    items = [picture(), picture(5000, 4), "no.jpg", np.zeros((4, 4, 9), np.uint8), picture(seed=1)]
    found = list(model.detect_stream(items, batch_size, errors="return"))
    check(found[1], 5000, 4)
    assert check(found[0], 50, 60) > 0 and check(found[4], 50, 60) > 0
    assert isinstance(found[2], FileNotFoundError)
    assert str(found[3]).startswith("images[3]: image has 9 channels")
    # One that the network cannot take leaves the others of its batch alone.
    run = model.engine.run

    def refuse(images, metas, anchors):
        if (metas[:, 1] == 70).any():
            raise RuntimeError("out of memory")
        return run(images, metas, anchors)

    monkeypatch.setattr(model.engine, "run", refuse)
    items = [picture(), picture(70, 60), picture(seed=1)]
    failed = []
    results = list(model.detect_stream(items, batch_size, errors=lambda *e: failed.append(e)))
    assert [(index, str(error)) for index, _, error in failed] == [(1, "out of memory")]
    for result, expected in zip(results, model.detect(items[::2]), strict=True):
        same(result, expected)


def test_a_tile_that_fails_is_named(model, monkeypatch, tmp_path):
    import cv2

    path = tmp_path / "wide.png"
    cv2.imwrite(str(path), picture(64, 150)[..., ::-1])
    same(model.detect_tiled(path), model.detect_tiled(picture(64, 150)))

    def fail(*arguments):
        raise IndexError("inner")

    monkeypatch.setattr(model, "_result", fail)
    with pytest.raises(ValueError, match=r"^tile \[0, 0, 64, 64\] of .*wide\.png: inner"):
        model.detect_tiled(path)
    with pytest.raises(ValueError, match="image is list; it must be an array"):
        model.detect_tiled([picture()])


def warned_lines(caught):
    """Files that warnings of this package point to; backends have warnings of their own."""
    return [warning.filename for warning in caught if "molded before" in str(warning.message)]


def test_an_image_that_was_molded_before(model):
    image = picture()
    molded = np.expand_dims(modellib.mold_image(image, model.config), 0)
    with pytest.warns(UserWarning, match=r"images\[0\] has negative values") as caught:
        (result,) = model.detect(molded)
    assert warned_lines(caught) == [__file__]
    check(result, 50, 60)
    (pixels,), metas, _ = model.mold_inputs(molded)
    output = model._infer([pixels], metas, 1)[0]
    same(molding.unmold(*output, molding.places_of(metas[0])), result)
    with pytest.warns(UserWarning, match="negative values") as caught:
        results = list(model.detect_stream([*molded] * 3))
    assert warned_lines(caught) == [__file__]
    same(results[2], result)
    # A refiner gets the image with its mean.
    thinner = Thinner()
    with pytest.warns(UserWarning, match="negative values"):
        model.detect(molded, refiner=thinner)
    assert thinner.given[0][:2] == ((50, 60, 3), np.uint8)


def test_detection_inside_of_a_graph(model):
    tf = pytest.importorskip("tensorflow")
    if modellib.keras.backend.backend() != "tensorflow":
        pytest.skip("a tf.Graph is TensorFlow's")
    image = picture()
    (expected,) = model.detect([image])
    with tf.Graph().as_default():
        same(model.detect([image])[0], expected)
        same(next(model.detect_stream([image])), expected)
        rois = model.run_graph([image], [("rois", model.keras_model.get_layer("ROI").output)])
        assert rois["rois"].shape == (1, 24, 4)
        assert not tf.executing_eagerly()
    with tf.compat.v1.Session(graph=tf.Graph()):
        same(model.detect([image])[0], expected)


@pytest.mark.parametrize("engine", ["keras", "openvino"])
def test_a_model_made_inside_of_a_graph(engine, tmp_path):
    tf = pytest.importorskip("tensorflow")
    if modellib.keras.backend.backend() != "tensorflow":
        pytest.skip("a tf.Graph is TensorFlow's")
    if engine == "openvino":
        pytest.importorskip("openvino")
    with tf.Graph().as_default():
        model = MaskRCNN("inference", tiny_config(), str(tmp_path), engine=engine)
        (result,) = model.detect([picture()])
    check(result, 50, 60)
    same(model.detect([picture()])[0], result)


def test_the_habits_of_servers(model):
    assert model.keras_model._make_predict_function() is None
    molded, metas, _ = model.mold_inputs([picture(), picture(seed=1)])
    anchors = np.stack([model.get_anchors(molded[0].shape)] * 2)
    outputs = model.keras_model.predict([molded, metas, anchors], verbose=0)
    assert [len(output) for output in outputs] == [2] * 7
    values = model.run_graph(
        molded, [("d", model.keras_model.get_layer("mrcnn_detection").output)], image_metas=metas
    )
    np.testing.assert_allclose(outputs[0], values["d"], atol=1e-4)


def test_a_model_from_a_file_detects_by_itself(model, tmp_path):
    images = [picture(), picture(100, 40, seed=1)]
    expected = model.detect(images)
    model.keras_model.save(tmp_path / "whole.keras")
    other = MaskRCNN("inference", model.config, tmp_path)
    built = other.keras_model
    other.keras_model = keras.saving.load_model(tmp_path / "whole.keras")
    found = other.detect(images)
    assert sum(len(result["rois"]) for result in expected) > 0
    for a, b in zip(found, expected, strict=True):
        same(a, b)
    other.keras_model = built  # with its own weights again
    built.set_weights(model.keras_model.get_weights())
    same(other.detect(images)[0], expected[0])


def test_a_build_of_the_users_own(model, tmp_path):
    class Own(MaskRCNN):
        def build(self, mode, config):
            built = super().build(mode, config)
            return keras.Model(built.inputs, built.outputs, name="mask_rcnn")  # a plain Keras model

    own = Own("inference", model.config, tmp_path)
    path = tmp_path / "weights.h5"
    model.keras_model.save_weights(path)
    head = own.keras_model.get_layer("mrcnn_class_logits").get_weights()[0]
    report = own.load_weights(path, by_name=True, exclude=["mrcnn_class_logits"])
    assert "mrcnn_class_logits" not in report.loaded and len(report.loaded) > 10
    np.testing.assert_array_equal(
        own.keras_model.get_layer("mrcnn_class_logits").get_weights()[0], head
    )
    own.load_weights(path, by_name=True)
    same(own.detect([picture()])[0], model.detect([picture()])[0])


@pytest.mark.parametrize("count", [1, 7])
def test_a_model_that_cannot_detect_is_refused(model, tmp_path, count):
    other = MaskRCNN("inference", model.config, tmp_path)
    inputs = other.keras_model.inputs if count == 1 else other.keras_model.inputs[:1]
    other.keras_model = keras.Model(inputs, [keras.ops.mean(inputs[0])] * count)
    with pytest.raises(ValueError, match=rf"keras_model has \d inputs and {count} outputs"):
        other.detect([np.zeros((64, 64, 3), np.uint8)])


def test_eight_threads_on_one_model(model):
    from concurrent.futures import ThreadPoolExecutor

    images = [picture(seed=seed) for seed in range(16)]
    serial = [model.detect([image])[0] for image in images]
    with ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(lambda image: model.detect([image])[0], images))
    for found, expected in zip(threaded, serial, strict=True):
        same(found, expected)


def test_an_image_of_one_tile_is_found_as_it_is(model):
    (expected,) = model.detect([picture()])
    result = model.detect_tiled(picture(), tile=100)
    assert (
        result["class_ids"].tolist()
        == expected["class_ids"][expected["masks"].any((0, 1))].tolist()
    )
    calls = []
    result = model.detect_tiled(picture(128, 150), progress=lambda *numbers: calls.append(numbers))
    assert check(result, 128, 150) > 0
    assert calls == [(number, len(calls)) for number in range(1, len(calls) + 1)] and len(calls) > 1
    with pytest.raises(ValueError, match="overlap is 64"):
        model.detect_tiled(picture(), overlap=64)


class Thinner:
    """Stands in for a refiner: halves the probabilities and remembers what it was given."""

    def __init__(self):
        self.given = []

    def refine(self, image, mask_probs):
        self.given.append((image.shape, image.dtype, mask_probs))
        return mask_probs / 2


def test_refiner(model):
    images = [picture(), picture(70, 64, 4), picture(90, 40, 1, np.uint16)]
    plain = model.detect(images, mask_probabilities=True)
    thinner = Thinner()
    refined = model.detect(images, mask_probabilities=True, refiner=thinner)
    assert sum(len(result["rois"]) for result in plain) > 0
    for before, after, image, given in zip(plain, refined, images, thinner.given):
        assert given[:2] == ((*image.shape[:2], 3), np.uint8)
        np.testing.assert_array_equal(given[2], before["mask_probs"])
        np.testing.assert_array_equal(after["mask_probs"], before["mask_probs"] / 2)
        np.testing.assert_array_equal(after["masks"], before["mask_probs"] >= 1)
        for key in ("rois", "class_ids", "scores"):
            np.testing.assert_array_equal(after[key], before[key])
    (result,) = model.detect(images[:1], refiner=thinner)
    assert "mask_probs" not in result
    with pytest.raises(FileNotFoundError, match="refiner not found: nothing"):
        model.detect([], refiner="nothing.h5")


def test_the_refiner_of_the_model_is_used_unless_another_is_given(model, monkeypatch):
    own, other, image = Thinner(), Thinner(), picture()
    monkeypatch.setattr(model, "refiner", own)
    for detect in (
        lambda **options: model.detect([image], **options),
        lambda **options: list(model.detect_stream([image], **options)),
        lambda **options: model.detect_tiled(image, 64, **options),
    ):
        detect()
        assert (len(own.given), len(other.given)) == (1, 0)
        detect(refiner=None)
        assert (len(own.given), len(other.given)) == (1, 0)
        detect(refiner=other)
        assert (len(own.given), len(other.given)) == (1, 1)
        own.given.clear()
        other.given.clear()


def test_refined_run_lengths_are_made_in_groups(model, monkeypatch):
    image = picture()
    (whole,) = model.detect([image], refiner=Thinner(), rle=True)
    assert len(whole) > 1
    for pixels, size in ((1, 1), (2 * image[..., 0].size, 2)):
        monkeypatch.setattr("mrcnn.detection.detector._MASK_PIXELS", pixels)
        thinner = Thinner()
        (result,) = model.detect([image], refiner=thinner, rle=True)
        groups = [given[2].shape[2] for given in thinner.given]
        assert (sum(groups), max(groups)) == (len(whole), size)
        assert result["rles"] == whole["rles"]
        for key in ("rois", "class_ids", "scores"):
            np.testing.assert_array_equal(result[key], whole[key])
            assert result[key].dtype == whole[key].dtype
    (empty,) = model.detect([image], refiner=Thinner(), rle=True, min_confidence=1.0)
    assert len(empty) == 0 and empty["rles"] == [] and empty["rois"].shape == (0, 4)


@pytest.mark.parametrize("value", ["0.5", None, 50, -1, float("nan"), True])
def test_min_confidence_is_a_share(model, value):
    with pytest.raises(ValueError, match=r"min_confidence is .*; it must be a number from 0 to 1"):
        model.detect([np.zeros((64, 64, 3), np.uint8)], min_confidence=value)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 4, 3), np.uint8), r"images is one array \(4, 4, 3\); it must be an iterable"),
        ("photo.jpg", "images is 'photo.jpg'; it must be an iterable of arrays, paths"),
        (None, "images is None; it must be an iterable"),
    ],
)
def test_a_stream_is_of_several_images(model, images, message):
    with pytest.raises(ValueError, match=message):
        next(iter(model.detect_stream(images)))


@pytest.mark.parametrize("rle", [False, True])
def test_min_confidence_leaves_out_the_detections_below(model, rle):
    (whole,) = model.detect([picture()], rle=rle)
    scores = np.sort(whole["scores"])
    for threshold in (0.0, float(scores[0]), float(scores[-1]), 1.0):
        (result,) = model.detect([picture()], rle=rle, min_confidence=threshold)
        expected = whole[whole["scores"] >= threshold]
        for key in whole:
            np.testing.assert_array_equal(result[key], expected[key])


def test_scores_of_masks(model, monkeypatch):
    """They change scores and order, drop what falls below the threshold, and nothing else."""
    (plain,) = model.detect([picture()], mask_probabilities=True)
    monkeypatch.setattr(model.config, "MASK_SCORES", True)
    (scored,) = model.detect([picture()], mask_probabilities=True)
    assert len(plain["rois"]) >= len(scored["rois"]) >= 2
    assert (np.diff(scored["scores"]) <= 0).all()
    assert scored["scores"].min() >= model.config.DETECTION_MIN_CONFIDENCE
    for i, box in enumerate(scored["rois"]):
        (row,) = np.flatnonzero(
            (plain["rois"] == box).all(axis=1) & (plain["class_ids"] == scored["class_ids"][i])
        )
        factor = scored["scores"][i] / plain["scores"][row]
        assert 0.5 <= factor < 1
        np.testing.assert_array_equal(scored["masks"][..., i], plain["masks"][..., row])
        inside = plain["mask_probs"][..., row][plain["masks"][..., row]]
        np.testing.assert_allclose(factor, inside.mean(), atol=0.05)  # of pixels, not of cells


def test_rows_with_the_scores_of_their_masks():
    detections = np.zeros((4, 6), np.float32)
    detections[:3, 4], detections[:3, 5] = [1, 2, 3], [0.9, 0.8, 0.5]
    masks = np.array([[[0.5, 0.1]], [[1.0, 0.0]], [[0.6, 0.6]]], np.float32)
    rows, kept = _with_mask_scores(detections, masks, 0.4)
    np.testing.assert_allclose(rows[:, 4:], [[2, 0.8], [1, 0.45]], atol=1e-6)
    np.testing.assert_array_equal(kept, masks[[1, 0]])
    np.testing.assert_allclose(detections[:3, 5], [0.9, 0.8, 0.5])


def test_verbose_prints_shapes(model, capsys):
    model.detect([picture()], verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Processing 1 images"
    words = [line.split()[0] for line in lines[1:4]]
    assert words == ["image", "molded_images", "image_metas"]
    assert "shape: (50, 60, 3)" in lines[1] and "shape: (64, 64, 3)" in lines[2]


@pytest.mark.parametrize(
    "images, words",
    [
        (None, "images is NoneType"),
        ([picture(), "cat.jpg"], r"images\[1\] is str"),
        ([np.zeros((2, 3, 4, 5, 6))], r"images\[0\] is shape \(2, 3, 4, 5, 6\)"),
        ([picture(channels=0)[0]], r"images\[0\] is shape \(60,\)"),
    ],
)
def test_what_is_no_image(model, images, words):
    with pytest.raises(ValueError, match=words):
        model.detect(images)


def test_a_size_that_the_network_cannot_take(model, monkeypatch):
    monkeypatch.setattr(model.config, "IMAGE_RESIZE_MODE", "none")
    (result,) = model.detect([picture(128, 64)])
    check(result, 128, 64)
    with pytest.raises(ValueError, match=r"images\[1\].* 100 x 64 pixels.*multiples of 64"):
        model.detect([picture(64, 64), picture(100, 64)])


# ---- molded images ----------------------------------------------------------------------------


def test_mold_inputs(model):
    molded, metas, windows = model.mold_inputs([picture(50, 60), picture(32, 64)])
    assert molded.shape == (2, 64, 64, 3) and metas.shape == (2, 15)
    # 60 -> 64 wide, 50 -> 53 high, so (64 - 53) // 2 rows above.
    assert windows.tolist() == [[5, 0, 58, 64], [16, 0, 48, 64]]
    np.testing.assert_allclose(molded[0, 0, 0], -model.config.MEAN_PIXEL, rtol=1e-5)
    np.testing.assert_allclose(metas[0], [0, 50, 60, 3, 64, 64, 3, 5, 0, 58, 64, 64 / 60, 0, 0, 0])


def test_detect_molded_answers_in_molded_pixels(model):
    image = picture(64, 64)
    molded, metas, _ = model.mold_inputs([image])
    before = metas.copy()
    metas[0, 1:4], metas[0, 7:11] = (30, 30, 3), (8, 8, 40, 40)
    (result,) = model.detect_molded(molded, metas)
    check(result, 64, 64)
    same(result, model.detect([image])[0])
    assert metas[0, 1] == 30 and before[0, 1] == 64  # the caller's rows stay as they were


@pytest.mark.parametrize(
    "shape, rows, words",
    [
        ((2, 64, 64, 3), 1, "image_metas has 1 rows; it must have one for each of the 2 molded"),
        ((1, 64, 100, 3), 1, r"molded_images\[0\] has 64 x 100 pixels"),
    ],
)
def test_detect_molded_refuses(model, shape, rows, words):
    meta = compose_image_meta(0, shape[1:], shape[1:], (0, 0, 64, 64), 1, [0] * 3)
    with pytest.raises(ValueError, match=words):
        model.detect_molded(np.zeros(shape, np.float32), np.stack([meta] * rows))


def test_unmold_detections(model):
    # The image, 32 x 64, fills rows 16 to 48 of a 64 x 64 frame.
    def normalised(y1, x1, y2, x2):
        return [y1 / 63, x1 / 63, (y2 - 1) / 63, (x2 - 1) / 63]

    detections = np.zeros((4, 6))
    detections[0] = [*normalised(16, 0, 48, 32), 2, 0.9]
    detections[1] = [*normalised(20, 10, 20, 20), 1, 0.8]  # no pixel
    detections[2] = [*normalised(24, 32, 40, 64), 1, 0.7]
    masks = np.zeros((4, 28, 28, 3))
    masks[0, ..., 2], masks[2, :14, :, 1] = 1, 1
    boxes, class_ids, scores, found = model.unmold_detections(
        detections, masks, (32, 64, 3), (64, 64, 3), (16, 0, 48, 64)
    )
    assert boxes.tolist() == [[0, 0, 32, 32], [8, 32, 24, 64]]
    assert class_ids.tolist() == [2, 1]
    np.testing.assert_allclose(scores, [0.9, 0.7], rtol=1e-6)
    assert found.shape == (32, 64, 2)
    assert found[:, :32, 0].all() and not found[:, 32:, 0].any()
    assert found[8:15, 32:, 1].all() and not found[17:, :, 1].any()


def test_anchors_are_kept_but_not_without_end(model):
    anchors = model.get_anchors((64, 64, 3))
    assert model.get_anchors(np.array([64, 64, 3])) is anchors
    pixels = model.anchors
    assert pixels.shape == anchors.shape and pixels.max() > 32
    for i in range(1, 20):
        model.get_anchors((64, 64 * i, 3))
    assert len(model._anchor_cache) == 16
    model.get_anchors((64, 64, 3))
    np.testing.assert_array_equal(model.anchors, pixels)


# ---- weights and log folders ---------------------------------------------------------------------


@pytest.fixture
def logs(model, tmp_path, monkeypatch):
    """The model with an empty `model_dir`; its log folder is put back afterwards."""
    for name in ("model_dir", "log_dir", "epoch", "checkpoint_path"):
        monkeypatch.setattr(model, name, getattr(model, name))
    model.model_dir = str(tmp_path)
    return tmp_path


@pytest.mark.parametrize("ending", [".h5", ".weights.h5"])
def test_weights_round_trip(model, logs, ending):
    path = str(logs / f"tiny{ending}")
    before = model.keras_model.get_weights()
    model.keras_model.save_weights(path)
    randomize(model.keras_model, seed=1)
    model.load_weights(path, by_name=ending == ".h5")
    for old, new in zip(before, model.keras_model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_excluded_layers_keep_their_weights(model, logs):
    path = str(logs / "tiny.h5")
    before = model.keras_model.get_weights()
    model.keras_model.save_weights(path)
    randomize(model.keras_model, seed=1)
    logits = model.keras_model.get_layer("mrcnn_class_logits")
    kept = logits.get_weights()
    report = model.load_weights(path, by_name=True, exclude=["mrcnn_class_logits"])
    assert report.excluded == ("mrcnn_class_logits",)
    np.testing.assert_array_equal(logits.get_weights()[0], kept[0])
    model.load_weights(path, by_name=True)
    for old, new in zip(before, model.keras_model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_new_log_folder(model, logs):
    model.config.NAME = "Tiny"
    model.set_log_dir()
    assert model.epoch == 0
    name = os.path.basename(model.log_dir)
    assert name.startswith("tiny20") and len(name) == len("tiny20260102T0304")
    assert os.path.dirname(model.log_dir) == str(logs)
    path = model.checkpoint_path.format(epoch=7)
    assert path == os.path.join(model.log_dir, "mask_rcnn_tiny_0007.h5")
    model.config.NAME = "tiny"


@pytest.mark.parametrize(
    "path, epoch, folder",
    [
        ("/logs/tiny20260102T0304/mask_rcnn_tiny_0012.h5", 12, "tiny20260102T0304"),
        (r"C:\logs\tiny20260102T0304\mask_rcnn_tiny_0012.h5", 12, "tiny20260102T0304"),
        ("tiny20260102T0304/mask_rcnn_tiny_0012.h5", 12, "tiny20260102T0304"),
        ("/logs/tiny20260102T0304/mask_rcnn_tiny_12345.h5", 12345, "tiny20260102T0304"),
        # Another training's epoch is counted on, as in Matterport's package, in a folder of ours.
        ("/logs/my cats 220260102T0304/mask_rcnn_my cats 2_0003.h5", 3, "tiny20260102T0304"),
        ("/logs/tiny20260102T0304/best.h5", 0, None),
        ("/weights/mask_rcnn_coco.h5", 0, None),
    ],
)
def test_epoch_and_folder_of_a_checkpoint(model, logs, path, epoch, folder):
    model.set_log_dir(path)
    assert model.epoch == epoch
    if folder is not None:
        assert model.log_dir == os.path.join(str(logs), folder)
    else:
        assert "20260102" not in model.log_dir


@pytest.mark.parametrize("name, goes_on", [("tiny", True), ("other", False)])
def test_an_existing_folder_goes_on_for_its_own_name_only(model, logs, name, goes_on):
    path = logs / "elsewhere" / f"{name}20260102T0304" / f"mask_rcnn_{name}_0002.h5"
    path.parent.mkdir(parents=True)
    model.set_log_dir(path)
    assert (model.log_dir == str(path.parent)) == goes_on


def test_two_trainings_of_one_minute(model, logs):
    model.set_log_dir()
    first = model.log_dir
    assert log_folders.claim_folder(first) == first  # another process begins
    model._open_log_dir(["BG", "bright", "dark"])
    assert model.log_dir > first and len(model.log_dir) == len(first)
    assert os.path.dirname(model.checkpoint_path) == model.log_dir
    assert sorted(os.listdir(logs)) == [os.path.basename(first), os.path.basename(model.log_dir)]
    assert json.loads((logs / model.log_dir / "config.json").read_text())["class_names"][0] == "BG"
    second = model.log_dir
    model._open_log_dir(["BG"])  # the second stage of this training
    assert model.log_dir == second
    model.set_log_dir(model.checkpoint_path.format(epoch=1))
    model._open_log_dir(["BG"])
    assert model.log_dir == second


def test_find_last(model, logs):
    words = "no checkpoint of a training 'tiny' in .* begins with"
    with pytest.raises(FileNotFoundError, match=words):
        model.find_last()
    for folder, files in {
        "tiny20260101T0000": ["mask_rcnn_tiny_0009.h5"],
        "tiny20260102T0000": ["mask_rcnn_tiny_0001.h5", "mask_rcnn_tiny_0002.h5", "best.h5"],
        "tinytoo20270101T0000": ["mask_rcnn_tinytoo_0001.h5"],
    }.items():
        for file in files:
            write_weight_file(logs / folder / file)
    found = model.find_last()
    assert found == str(logs / "tiny20260102T0000" / "mask_rcnn_tiny_0002.h5")
    model.set_log_dir(found)
    assert (model.epoch, model.log_dir) == (2, os.path.dirname(found))
    (logs / "tiny20260103T0000").mkdir()
    assert model.find_last() == found  # that training had no time to write one


def test_find_last_without_a_log_folder(model, logs):
    model.model_dir = str(logs / "nowhere")
    with pytest.raises(FileNotFoundError, match="no checkpoint of a training 'tiny'"):
        model.find_last()


# ---- a model from a weight file ------------------------------------------------------------------


class PetsConfig(Config):
    NAME = "pets"
    BACKBONE = "squeezenet"
    NUM_CLASSES = 3
    IMAGES_PER_GPU = 4
    IMAGE_RESIZE_MODE = "crop"
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    TOP_DOWN_PYRAMID_SIZE = 16
    FPN_CLASSIF_FC_LAYERS_SIZE = 16


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """A weight file with its settings and class names beside it."""
    path = tmp_path_factory.mktemp("pets") / "mask_rcnn_pets_0001.h5"
    model = MaskRCNN("training", PetsConfig(), path.parent)
    model.keras_model.save_weights(path)
    model.write_description(path, ["BG", "cat", "dog"])
    return path


def test_a_model_from_a_weight_file(pets, tmp_path):
    model = MaskRCNN.from_weights(pets, model_dir=tmp_path)
    assert (model.mode, model.class_names) == ("inference", ["BG", "cat", "dog"])
    # One whole image at a time.
    assert (model.config.BATCH_SIZE, model.config.IMAGE_RESIZE_MODE) == (1, "pad64")
    result = model.detect([picture()])[0]
    assert result["masks"].shape == (50, 60, len(result["rois"]))
    with_settings = modellib.load(str(pets), config={"DETECTION_MIN_CONFIDENCE": 0.25})
    assert with_settings.config.DETECTION_MIN_CONFIDENCE == 0.25
    described = describe_weights(str(pets))
    assert MaskRCNN.from_weights(described, config=PetsConfig()).class_names[2] == "dog"
    training = MaskRCNN.from_weights(pets, "training", model_dir=tmp_path)
    assert (training.mode, training.config.BATCH_SIZE) == ("training", 4)


def test_settings_for_a_weight_file(pets, tmp_path):
    with pytest.raises(ValueError, match="config has the entry 'DETECTION_CONFIDENCE'; it must"):
        MaskRCNN.from_weights(pets, config={"DETECTION_CONFIDENCE": 0.5})
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"DETECTION_MAX_INSTANCES": 7}))
    assert MaskRCNN.from_weights(pets, config=settings).config.DETECTION_MAX_INSTANCES == 7
    with pytest.raises(ValueError, match="it must be None or a mapping"):
        MaskRCNN.from_weights(describe_weights(str(pets)), config=settings)


def test_weights_that_lack_layers_do_not_detect(pets, monkeypatch):
    report = types.SimpleNamespace(missing_in_file=("mrcnn_mask", "mrcnn_bbox_fc"))
    monkeypatch.setattr(MaskRCNN, "load_weights", lambda *_, **__: report)
    with pytest.raises(ValueError, match=r"lacks the weights of 2 layers \(mrcnn_mask, mrcnn_bbox"):
        MaskRCNN.from_weights(pets)


def test_the_small_model_is_ready_without_a_network(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("no connection is needed")

    monkeypatch.setattr("socket.socket.connect", refuse)
    model = modellib.load("small", engine="keras")
    assert model.class_names[0] == "BG" and len(model.class_names) == model.config.NUM_CLASSES


# ---- building ------------------------------------------------------------------------------------


def test_errors_at_the_door(tmp_path):
    with pytest.raises(ValueError, match="mode is 'predict'; it must be \"training\" or"):
        MaskRCNN("predict", tiny_config(), str(tmp_path))
    with pytest.raises(ValueError, match="IMAGE_MAX_DIM is 100;"):
        MaskRCNN("inference", tiny_config(IMAGE_MAX_DIM=100), str(tmp_path))


def test_a_model_for_training_without_a_name_detects_and_sees_new_weights(tmp_path):
    model = MaskRCNN("training", tiny_config(NAME=None), tmp_path)
    assert os.path.basename(model.log_dir).startswith("mrcnn20")
    randomize(model.keras_model, seed=0)
    image = picture()
    (first,) = model.detect([image])
    randomize(model.keras_model, seed=1)
    (second,) = model.detect([image])
    randomize(model.keras_model, seed=0)
    (third,) = model.detect([image])
    same(first, third)
    assert not np.array_equal(first["scores"], second["scores"])
    with pytest.raises(ValueError, match='run_graph needs mode="inference"; this model has'):
        model.run_graph([image], [("rpn_class", model.keras_model.get_layer("rpn_class").output)])


@pytest.mark.parametrize("action", ["train", "compile"])
def test_an_inference_model_does_not_train(model, action):
    arguments = (None, None, 0.1, 1, "all") if action == "train" else (0.1, 0.9)
    with pytest.raises(ValueError, match=f'{action} needs a model built with mode="training"'):
        getattr(model, action)(*arguments)


def test_trainable_layers(model, capsys):
    names = [layer.name for layer in model.get_trainable_layers()]
    assert {"res1a", "rpn_conv_shared", "mrcnn_mask"} <= set(names)
    model.set_trainable("mrcnn_mask")
    assert capsys.readouterr().out.split() == ["Selecting", "layers", "to", "train", "mrcnn_mask"]
    assert [v.path.split("/")[0] for v in model.keras_model.trainable_variables] == [
        "mrcnn_mask"
    ] * 2
    model.set_trainable(".*", verbose=0)
    assert capsys.readouterr().out == ""


# ---- looking inside ----------------------------------------------------------------------------


def test_ancestor(model):
    graph = model.keras_model
    masks = graph.get_layer("mrcnn_mask").output
    for name in ("ROI", "ROI:0", "res1a", "res1a/Relu:0", "rpn_class/concat:0"):
        layer = graph.get_layer(name.split("/")[0].split(":")[0])
        assert model.ancestor(masks, name) is layer.output
    assert model.ancestor(masks, "proposal_targets") is None
    assert model.ancestor(graph.get_layer("res1a").output, "mrcnn_mask") is None


# As the notebooks write them, with the ends that versions of TensorFlow gave the last one.
INNER_NAMES = {
    "pre_nms_anchors": "ROI/pre_nms_anchors:0",
    "refined_anchors": "ROI/refined_anchors:0",
    "refined_anchors_clipped": "ROI/refined_anchors_clipped:0",
    "top": "ROI/top_anchors:1",
    "kept": "ROI/rpn_non_max_suppression:0",
    "kept_v2": "ROI/rpn_non_max_suppression/NonMaxSuppressionV2:0",
    "kept_v3": "ROI/rpn_non_max_suppression/NonMaxSuppressionV3:0",
    "kept_of_second": "ROI/rpn_non_max_suppression_1/NonMaxSuppressionV3:0",
    "rpn_nms_keep": "ROI/rpn_nms_keep:0",
}


def test_inner_tensors_of_the_notebooks(model):
    pillar = model.keras_model.get_layer("ROI").output
    layer = model.keras_model.get_layer
    outputs = [(key, model.ancestor(pillar, name)) for key, name in INNER_NAMES.items()]
    outputs += [(name, layer(name).output) for name in ("rpn_class", "rpn_bbox", "ROI")]
    values = model.run_graph([picture(seed=1), picture(seed=2)], outputs)
    anchors = model.get_anchors((64, 64, 3))
    order, scores = values["top"], values["rpn_class"][..., 1]
    # Equal scores come in any order.
    assert order.dtype == np.int32 and (np.sort(order) == np.arange(len(anchors))).all()
    np.testing.assert_array_equal(np.take_along_axis(scores, order, 1), -np.sort(-scores))
    np.testing.assert_allclose(values["pre_nms_anchors"], anchors[order], atol=1e-6)
    for i, kept in enumerate((values["kept"], values["kept_of_second"])):
        deltas = values["rpn_bbox"][i][order[i]] * model.config.RPN_BBOX_STD_DEV
        refined = utils.apply_box_deltas(anchors[order[i]], deltas)
        np.testing.assert_allclose(values["refined_anchors"][i], refined, atol=1e-5)
        clipped = values["refined_anchors_clipped"][i]
        np.testing.assert_allclose(clipped, np.clip(refined, 0, 1), atol=1e-5)
        # As the notebooks use them: indices into the boxes of one image.
        assert kept.dtype == np.int32 and kept.ndim == 1 and 0 < len(kept) <= 24
        np.testing.assert_allclose(clipped[kept], values["ROI"][i][: len(kept)], atol=1e-6)
        assert not values["ROI"][i][len(kept) :].any()
    for key in ("kept_v2", "kept_v3", "rpn_nms_keep"):
        np.testing.assert_array_equal(values[key], values["kept"])


@pytest.mark.parametrize(
    "name, words",
    [
        ("ROI/strided_slice:0", "must be 'ROI' for .*'ROI/pre_nms_anchors', .*ROI/rpn_non_max_sup"),
        ("ROI/top_anchors:0", "must be .*'ROI/top_anchors:1'"),
        (
            "mrcnn_detection/map/while:0",
            "must be 'mrcnn_detection' for .* no inner tensor is known",
        ),
        ("res1a/convolution:0", "must be 'res1a' for .* no inner tensor is known"),
    ],
)
def test_unknown_inner_tensors_are_an_error(model, name, words):
    with pytest.raises(ValueError, match=f"name is '{name}'; it {words}"):
        model.ancestor(model.keras_model.get_layer("mrcnn_detection").output, name)


def test_run_graph(model, capsys):
    image = picture()
    layer = model.keras_model.get_layer
    outputs = [("rois", layer("ROI").output), ("detections", layer("mrcnn_detection").output)]
    values = model.run_graph([image], outputs)
    assert list(values) == ["rois", "detections"]
    assert values["rois"].shape == (1, 24, 4) and values["detections"].shape == (1, 6, 6)
    assert capsys.readouterr().out.startswith("rois                     shape: (1, 24, 4)")
    molded, metas, _ = model.mold_inputs([image])
    again = model.run_graph(molded, outputs[:1], image_metas=metas)
    np.testing.assert_allclose(again["rois"], values["rois"], atol=1e-5)
    with pytest.raises(ValueError, match="output 'rois' is None"):
        model.run_graph([image], [("rois", None)])


def test_log(capsys):
    log("text")
    log("mask", np.array([True, False]))
    log("empty", np.zeros((0, 4), np.int32))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "text"
    assert "min:    0.00000  max:    1.00000  bool" in lines[1]
    assert "shape: (0, 4)" in lines[2] and "int32" in lines[2]


# What Matterport's modules imported, and scripts use from there.
IMPORTED = {
    "model": "K KL KE KM tf keras np os re random math datetime logging multiprocessing "
    "OrderedDict",
    "utils": "tf np os sys random math scipy skimage urllib shutil warnings",
    "parallel_model": "tf K KL KM",
    "config": "np",
}


@pytest.mark.parametrize("module", IMPORTED)
def test_names_that_matterports_modules_imported(module):
    module = importlib.import_module(f"mrcnn.{module}")
    names = IMPORTED[module.__name__.removeprefix("mrcnn.")].split()
    if importlib.util.find_spec("tensorflow") is None:  # Keras on JAX or torch alone
        names = [name for name in names if name != "tf"]
    for name in names:
        assert getattr(module, name) is getattr(module, name)
    with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'nil'"):
        _ = module.nil


def test_what_scripts_do_with_these_names():
    assert utils.skimage.io.imread and utils.skimage.transform.resize and utils.skimage.color
    assert utils.urllib.request.urlretrieve
    assert issubclass(modellib.ProposalLayer, modellib.KE.Layer)
    assert modellib.KL is modellib.keras.layers and modellib.KM.Model is modellib.keras.Model
    assert modellib.K.int_shape(modellib.keras.Input((3,))) == (None, 3)
    assert callable(modellib.K.clear_session)


def test_the_functions_of_keras_2s_backend():
    pytest.importorskip("tensorflow")
    assert float(modellib.K.mean(modellib.K.constant([1.0, 3.0]))) == 2.0


def test_xml_is_there_as_a_side_effect():
    code = (
        "import sys\nfrom mrcnn.utils import Dataset\nimport xml.etree\n"
        "print(xml.etree.ElementTree.fromstring('<a><b/></a>').find('b').tag)\n"
        "print([m for m in ('tensorflow', 'keras', 'skimage') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["b", "[]"]


def test_blocks_of_the_resnets():
    inputs = modellib.keras.Input((16, 16, 8))
    x = modellib.conv_block(inputs, 3, [4, 4, 16], stage=3, block="a", train_bn=False)
    x = modellib.identity_block(x, 3, [4, 4, 16], stage=3, block="b", use_bias=False)
    model = modellib.keras.Model(inputs, x)
    assert x.shape == (None, 8, 8, 16)
    names = [layer.name for layer in model.layers]
    assert {"res3a_branch1", "bn3a_branch2c", "res3b_branch2b", "res3b_out"} <= set(names)
    assert "res3b_branch1" not in names
    assert len(model.get_layer("res3b_branch2a").weights) == 1
    # As the blocks of `resnet_graph`.
    resnet = modellib.keras.Model(
        (image := modellib.keras.Input((64, 64, 3))), modellib.resnet_graph(image, "resnet50")[2]
    )
    x = modellib.keras.Input((16, 16, 256))
    block = modellib.conv_block(x, 3, [128, 128, 512], stage=3, block="a", train_bn=True)
    for layer in modellib.keras.Model(x, block).layers[1:]:
        if layer.weights:
            other = resnet.get_layer(layer.name)
            assert [w.shape for w in layer.weights] == [w.shape for w in other.weights]


def test_detection_targets_of_one_image(model):
    config = tiny_config(TRAIN_ROIS_PER_IMAGE=4, USE_MINI_MASK=False)
    box = [0.25, 0.25, 0.75, 0.75]
    proposals = np.float32([box, [0.0, 0.0, 0.2, 0.2], [0] * 4])
    masks = np.zeros((64, 64, 1), bool)
    masks[16:48, 16:48] = True
    rois, class_ids, deltas, targets = map(
        modellib.keras.ops.convert_to_numpy,
        modellib.detection_targets_graph(
            proposals, np.int32([2]), np.float32([box]), masks, config
        ),
    )
    assert rois.shape == (4, 4) and class_ids.tolist() == [2, 0, 0, 0]
    np.testing.assert_allclose(rois[:2], proposals[:2])
    np.testing.assert_allclose(deltas, 0, atol=1e-6)
    assert targets.shape == (4, 28, 28) and targets[0].mean() > 0.9 and not targets[1:].any()


def test_every_name_of_matterports_module_is_there():
    assert all(hasattr(modellib, name) for name in modellib.__all__)


@pytest.mark.slow
def test_importing_the_model_is_silent():
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", "import mrcnn.model"],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_for_each_image_keeps_the_order_and_raises_the_first_error():
    def slow_first(i):
        time.sleep(0.02 if i == 0 else 0)
        if i in (2, 3):
            raise ValueError(f"number {i}")
        return 10 * i

    assert molding.for_each_image(slow_first, [0, 1, 4]) == [0, 10, 40]
    assert molding.for_each_image(slow_first, [1]) == [10]
    assert molding.for_each_image(slow_first, []) == []
    with pytest.raises(ValueError, match="number 2"):
        molding.for_each_image(slow_first, [0, 1, 2, 3])
