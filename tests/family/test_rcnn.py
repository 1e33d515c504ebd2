"""R-CNN: warping, support vector machines, refinement of boxes, cache, training."""

from __future__ import annotations

import os
import sys

import keras
import numpy as np
import pytest
from keras import layers

from mrcnn.checkpoints.weight_file import read_metadata
from mrcnn.datasets import Dataset
from mrcnn.detection.results import Detections
from mrcnn.evaluation.coco import evaluate_coco
from mrcnn.family.models import find_model
from mrcnn.family.rcnn import (
    IMAGENET_CLASS_NAMES,
    RCNN,
    RCNNConfig,
    RegionClassifier,
    warp_regions,
)
from mrcnn.family.rcnn.box_regression import fit_box_regression
from mrcnn.family.rcnn.feature_cache import FeatureCache
from mrcnn.family.rcnn.networks import build_region_network, coarse_grid
from mrcnn.family.rcnn.svm import HardNegativeSvm
from mrcnn.family.suppression import suppress_in_classes

pytest.importorskip("sklearn")

MEAN = (123.7, 116.8, 103.9)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_settings_are_those_of_the_paper():
    config = RCNNConfig()
    assert (config.REGION_CONTEXT, config.MAX_REGIONS, config.REGION_STRATEGY) == (16, 2000, "fast")
    assert (config.NEGATIVE_MAX_IOU, config.REFINED_MIN_IOU, config.BOX_RIDGE) == (0.3, 0.6, 1000)
    assert config.DETECTION_NMS_THRESHOLD == 0.3
    # From scratch, as tutorials show it, regions count from 90 %.
    assert find_model("region_classifier").make_config().DETECTION_MIN_CONFIDENCE == 0.9


def test_there_are_exactly_16_pixels_of_context_at_the_size_of_the_network():
    image = noise(100, 120)
    # The box has 32 x 32 pixels, as many as remain of 64 without the context: nothing is scaled.
    warped = warp_regions(image, [[20, 30, 52, 62]], 64)
    np.testing.assert_array_equal(warped[0], image[4:68, 14:78])


def test_boxes_of_any_shape_fill_the_square():
    image = np.zeros((80, 80, 3), np.uint8)
    image[20:30, 40:80] = 200
    # 10 x 40 pixels to 40 x 40: rows are scaled by 4, columns by 1; 10 pixels of context.
    warped = warp_regions(image, [[20, 40, 30, 80]], 60, 10, fill=(7, 8, 9))[0]
    assert (warped[12:48, 10:50] == 200).all()
    assert not warped[:8, :50].any() and not warped[:, :10].any() and not warped[52:, :50].any()
    np.testing.assert_array_equal(warped[:, 50:], np.broadcast_to([7, 8, 9], (60, 10, 3)))


def test_context_outside_the_image_is_the_mean():
    image = noise(40, 40)
    warped = warp_regions(image, [[0, 8, 32, 40]], 64)[0]
    np.testing.assert_allclose(warped[:16], np.broadcast_to(MEAN, (16, 64, 3)), rtol=1e-6)
    np.testing.assert_allclose(warped[:, 48:], np.broadcast_to(MEAN, (64, 16, 3)), rtol=1e-6)
    np.testing.assert_array_equal(warped[16:56, 8:48], image)
    np.testing.assert_array_equal(warped[16:56, 8:48], image[:, :40])


@pytest.mark.parametrize(
    "boxes, size, context, message",
    [
        ([[0, 0, 5, 0]], 64, 16, r"boxes\[0\] is \[0.0, 0.0, 5.0, 0.0\]; it must have an area"),
        ([[0, 0, 5, 5]], 32, 16, "context is 16; it must be 0 to less than half of size = 32"),
        ([[0, 0, 5, 5]], 32, -1, "context is -1"),
    ],
)
def test_bad_regions(boxes, size, context, message):
    with pytest.raises(ValueError, match=message):
        warp_regions(noise(9, 9), boxes, size, context)


def test_no_regions():
    assert warp_regions(noise(9, 9), np.zeros((0, 4)), 64).shape == (0, 64, 64, 3)


def test_suppression_is_within_classes():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [20, 20, 30, 30]]
    found = Detections(boxes, [1, 1, 2, 1], [0.6, 0.9, 0.5, 0.7])
    kept = suppress_in_classes(found, 0.3)
    assert kept.scores.tolist() == [0.9, 0.7, 0.5]
    assert kept.class_ids.tolist() == [1, 1, 2]
    assert suppress_in_classes(found, 0.3, 2).scores.tolist() == [0.9, 0.7]
    assert len(suppress_in_classes(found[[]], 0.3)) == 0


def test_support_vector_machine_keeps_hard_negatives_only():
    random = np.random.default_rng(0)
    machine = HardNegativeSvm(np.array([[20.0, 0.0]] * 5), penalty=1.0)
    machine.offer(np.stack([random.uniform(-60, -10, 2000), random.normal(0, 1, 2000)], axis=1))
    assert machine.weights is not None  # 2,000 negatives are enough for a first training
    assert len(machine.negatives) < 200
    margin = np.array([[20, 0], [-10, 0]]) @ machine.weights + machine.bias
    assert margin[0] > 0.9 and margin[1] < -0.9

    before = len(machine.negatives)
    machine.offer(np.array([[5.0, 0.0], [-30.0, 0.0]]))
    assert len(machine.negatives) == before + 1
    machine.train()
    assert np.array([5, 0]) @ machine.weights + machine.bias < 0
    assert np.array([20, 0]) @ machine.weights + machine.bias > 0


def test_refinement_is_ridge_regression_with_a_free_constant():
    features = np.array([[1.0], [2.0], [6.0]])
    targets = np.array([[1.0, 0, 0, 0], [3.0, 0, 0, 0], [8.0, 0, 0, 4.0]])
    coefficients, constants = fit_box_regression(features, targets, ridge=1000.0)
    centered = features[:, 0] - 3
    expected = centered @ (targets - targets.mean(axis=0)) / (centered @ centered + 1000)
    np.testing.assert_allclose(coefficients[0], expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(constants, targets.mean(axis=0) - 3 * expected, rtol=1e-5, atol=1e-9)


def test_cache_of_bounded_size(tmp_path):
    entry = {"vectors": np.arange(1000, dtype=np.float16)}
    cache = FeatureCache(tmp_path / "features", 7000)
    assert cache.get("a") is None
    for age, key in enumerate("abc"):
        cache.put(key, entry)
        os.utime(tmp_path / "features" / f"{key}.npz", (1000 + age, 1000 + age))
    np.testing.assert_array_equal(cache.get("a")["vectors"], entry["vectors"])
    cache.put("d", entry)  # each takes about 2,300 bytes; "b" is the least recently used one
    assert [key for key in "abcd" if cache.get(key)] == ["a", "c", "d"]

    (tmp_path / "features" / "c.npz").write_bytes(b"PK\x03\x04 damaged")
    assert cache.get("c") is None
    FeatureCache(tmp_path / "none", 0).put("a", entry)
    assert not (tmp_path / "none").exists()


def test_key_depends_on_values_shapes_and_types():
    zeros = np.zeros(4, np.float32)
    parts = [zeros, zeros.reshape(2, 2), zeros.astype(np.int32), zeros + 1, "a", "b", 1, 2.5]
    assert len({FeatureCache.key([part]) for part in parts}) == len(parts)
    assert FeatureCache.key([zeros]) == FeatureCache.key([zeros.copy()])


@pytest.mark.parametrize("side, cells", [(1, 1), (2, 4), (3, 9), (7, 9), (8, 9), (10, 9)])
def test_coarse_grid(side, cells):
    values = np.arange(side * side, dtype=np.float32).reshape(1, side, side, 1)
    grid = keras.ops.convert_to_numpy(coarse_grid(values))
    assert grid.shape == (1, cells)
    if side == 7:  # cells of 3 x 3 that share a row and a column
        assert grid[0, :2].tolist() == [values[0, :3, :3].mean(), values[0, :3, 2:5].mean()]
    if side == 8:
        assert grid[0, -1] == values[0, 4:, 4:].mean()


def mean_colors(image, stage5=True, train_bn=None):
    """A backbone without weights: the mean color of 4 x 4 pixels."""
    return [None] * 4 + [layers.AveragePooling2D(4)(image)]


class ColorConfig(RCNNConfig):
    NUM_CLASSES = 3
    BACKBONE = staticmethod(mean_colors)
    COMPUTE_BACKBONE_SHAPE = staticmethod(lambda shape: shape)
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = 24
    REGION_CONTEXT = 4
    REGIONS_PER_BATCH = 16
    SVM_PENALTY = 0.1
    BOX_RIDGE = 1.0


class Squares(Dataset):
    """Red and green squares on gray."""

    def __init__(self, count, kinds=(1, 2)):
        super().__init__()
        self.add_class("squares", 1, "red")
        self.add_class("squares", 2, "green")
        random = np.random.default_rng(count)
        for i in range(count):
            y, x = random.integers(0, 50, 2)
            box = (y, x, *(np.array([y, x]) + random.integers(26, 46, 2)))
            kind = kinds[i % len(kinds)] if kinds else 0
            self.add_image("squares", i, path=None, box=box, kind=kind)
        self.prepare()

    def load_image(self, image_id):
        info = self.image_info[image_id]
        image = np.full((96, 96, 3), 120, np.uint8)
        image[::2] += 5
        if info["kind"]:
            y1, x1, y2, x2 = info["box"]
            image[y1:y2, x1:x2] = [(220, 30, 30), (30, 220, 30)][info["kind"] - 1]
        return image

    def load_mask(self, image_id):
        info = self.image_info[image_id]
        mask = np.zeros((96, 96, int(info["kind"] > 0)), bool)
        y1, x1, y2, x2 = info["box"]
        mask[y1:y2, x1:x2] = True
        return mask, np.array([info["kind"]] if info["kind"] else [], np.int32)


def stripes(image):
    """Regions on a grid, some of them on the square."""
    del image
    sides = np.array([(20, 20), (30, 30), (30, 40), (40, 30), (45, 45), (60, 60)])
    places = np.stack(np.meshgrid(range(0, 60, 5), range(0, 60, 5)), -1).reshape(-1, 2)
    low = np.repeat(places, len(sides), axis=0)
    boxes = np.concatenate([low, low + np.tile(sides, (len(places), 1))], axis=1)
    return boxes[(boxes[:, 2:] <= 96).all(axis=1)].astype(np.int32)


@pytest.fixture
def grid_regions(monkeypatch):
    monkeypatch.setattr("mrcnn.family.rcnn.regions.propose", lambda image, config: stripes(image))
    monkeypatch.setattr("mrcnn.family.rcnn.examples.propose", lambda image, config: stripes(image))


@pytest.fixture
def trained(grid_regions, tmp_path):
    rcnn = RCNN(ColorConfig())
    summary = rcnn.train(Squares(8), cache=tmp_path / "features", verbose=0)
    return rcnn, summary


def test_training_finds_squares_and_refines_them(trained):
    rcnn, summary = trained
    assert rcnn.class_names == ["BG", "red", "green"]
    assert summary.num_objects == {"red": 4, "green": 4}
    assert min(summary.num_pairs.values()) > 4
    test_set = Squares(6)
    result = rcnn.detect([test_set.load_image(0)])[0]
    assert list(result) == ["rois", "class_ids", "scores"]
    assert (np.diff(result["scores"]) <= 0).all() and result["scores"].min() > 0.5
    refined = box_figures(rcnn, test_set)
    rcnn._deltas.set_weights([0 * value for value in rcnn._deltas.get_weights()])
    raw = box_figures(rcnn, test_set)
    assert refined.AP50 > 0.9 and raw.AP50 > 0.2
    assert refined.AP > 0.7 and raw.AP < 0.3


def box_figures(rcnn, dataset):
    report = evaluate_coco(rcnn, dataset, progress=False)
    assert report.mask is None
    return report.box


def test_all_regions_before_suppression(trained):
    rcnn, _ = trained
    image = Squares(5).load_image(0)
    after, before = (rcnn.detect([image], suppress=flag)[0] for flag in (True, False))
    assert len(before["scores"]) > len(after["scores"]) > 0
    assert before["scores"][0] == after["scores"][0]


def test_file_holds_everything(trained, tmp_path):
    rcnn, _ = trained
    rcnn.save_weights(tmp_path / "rcnn.h5")
    metadata = read_metadata(tmp_path / "rcnn.h5")
    assert (metadata["model"], metadata["network"]) == ("rcnn", "mean_colors")
    assert metadata["class_names"] == ["BG", "red", "green"]
    other = RCNN(ColorConfig())
    other.load_weights(tmp_path / "rcnn.h5")
    image = Squares(5).load_image(1)
    for key, value in rcnn.detect([image])[0].items():
        np.testing.assert_array_equal(other.detect([image])[0][key], value)
    config = ColorConfig()
    config.NUM_CLASSES = 5
    with pytest.raises(ValueError, match="rcnn_"):
        RCNN(config).load_weights(tmp_path / "rcnn.h5")
    with pytest.raises(FileNotFoundError):
        other.load_weights(tmp_path / "absent.h5")


def test_features_come_from_the_cache_the_second_time(trained, tmp_path, monkeypatch):
    rcnn, summary = trained

    def fail(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr("mrcnn.family.rcnn.examples.predict_regions", fail)
    other = RCNN(ColorConfig())
    assert other.train(Squares(8), cache=tmp_path / "features", verbose=0) == summary
    for ours, theirs in zip(other.keras_model.get_weights(), rcnn.keras_model.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    other.config.REGION_CONTEXT = 2
    with pytest.raises(AssertionError, match="computed again"):
        other.train(Squares(8), cache=tmp_path / "features", verbose=0)


def test_training_takes_the_proposals_of_the_dataset(tmp_path, monkeypatch):
    monkeypatch.setattr("mrcnn.family.rcnn.examples.propose", lambda *_: pytest.fail("searched"))
    dataset = Squares(8)
    dataset.proposals = {f"squares.{i}": stripes(None) for i in range(8)}
    summary = RCNN(ColorConfig()).train(dataset, cache=tmp_path, verbose=0)
    assert min(summary.num_pairs.values()) > 4


def test_class_without_objects_is_not_detected(grid_regions, tmp_path):
    rcnn = RCNN(ColorConfig())
    with pytest.warns(UserWarning, match="no objects of green, or no other regions; these classes"):
        summary = rcnn.train(Squares(4, kinds=(1,)), cache=tmp_path, verbose=0)
    assert summary.num_objects == {"red": 4, "green": 0}
    rcnn.config.DETECTION_MIN_CONFIDENCE = 1e-6
    result = rcnn.detect([Squares(4).load_image(1)])[0]
    assert 2 not in result["class_ids"]


def test_bad_input(grid_regions, tmp_path, monkeypatch):
    rcnn = RCNN(ColorConfig())
    with pytest.raises(ValueError, match="train_dataset has 0 objects; it must have at least 1"):
        rcnn.train(Squares(2, kinds=()), cache=tmp_path, verbose=0)
    config = ColorConfig()
    config.NUM_CLASSES = 4
    with pytest.raises(ValueError, match="train_dataset has 3 classes; it must have NUM_CLASSES"):
        RCNN(config).train(Squares(2), cache=tmp_path, verbose=0)
    with pytest.raises(ValueError, match="class_names has 2 entries; it must have NUM_CLASSES = 3"):
        RCNN(ColorConfig(), ["BG", "red"])
    with pytest.raises(ValueError, match="path is None; it must be a file with the values of mean"):
        rcnn.load_imagenet()
    for name, value in (
        *(("NUM_CLASSES", 1), ("REGIONS_PER_BATCH", 0), ("MAX_REGIONS", 0), ("SVM_PENALTY", 0)),
        *(("REGION_STRATEGY", "slow"), ("REGION_MAX_SIDE", 0), ("NEGATIVE_MAX_IOU", 2)),
    ):
        wrong = type("Wrong", (ColorConfig,), {name: value})()
        with pytest.raises(ValueError, match=f"{name} is {value!r}; it must "):
            RCNN(wrong)
    config.BACKBONE = "vgg17"
    with pytest.raises(ValueError, match="BACKBONE is 'vgg17'; it must be one of efficientnet"):
        RCNN(config)
    with pytest.raises(ValueError, match="BACKBONE is mean_colors; it must be a network with a cl"):
        RegionClassifier(ColorConfig())
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(ImportError, match=r"pip install 'mrcnn-keras3\[family\]'"):
        rcnn.train(Squares(2), cache=tmp_path, verbose=0)


@pytest.mark.parametrize(
    "proposals, message",
    [
        ([], "proposals has 0 entries; it must have one for each of the 1 images"),
        (7, r"proposals is int; it must be a list of an array \[N, 4\] for each image"),
        (iter([]), "proposals has 0 entries; it must have one"),
        ([[1, 2, 3, 4]], r"proposals\[0\] has the shape \(4,\); it must be \[N, "),
        ([[[0, 0, np.nan, 5]]], "finite"),
        ([[[0, 0, 9, 9], [30, 30, 41, 40]]], r"proposals\[0\]\[1\] is .*; it must lie within"),
    ],
)
def test_bad_proposals(proposals, message):
    with pytest.raises(ValueError, match=message):
        RCNN(ColorConfig()).detect([noise(40, 40)], proposals)


def test_images_without_regions_have_no_detections():
    rcnn = RCNN(ColorConfig())
    rcnn.config.DETECTION_MIN_CONFIDENCE = 0.0
    tiny, gray = noise(8, 8), np.full((50, 50), 7, np.uint8)
    for result in [*rcnn.detect([tiny, gray], [[], np.zeros((0, 4))]), *rcnn.detect([tiny])]:
        assert result["rois"].shape == (0, 4)
        assert len(result["class_ids"]) == len(result["scores"]) == 0
    assert rcnn.detect([]) == []


def test_classes_of_imagenet():
    assert len(IMAGENET_CLASS_NAMES) == 1001
    assert [IMAGENET_CLASS_NAMES[1 + i] for i in (0, 281, 504, 999)] == [
        *("tench", "tabby", "coffee mug", "toilet tissue")
    ]


@pytest.fixture(scope="module")
def mobilenet():
    config = RCNNConfig()
    config.BACKBONE = "mobilenet_v3_small"
    config.REGIONS_PER_BATCH = 2
    config.DETECTION_MIN_CONFIDENCE = 0.9
    return RegionClassifier(config)


def test_classifier_of_keras_applications(mobilenet):
    network = mobilenet._network
    assert (network.name, network.size) == ("MobileNetV3Small", 224)
    # Ends in convolutions: the features are the mean of its last map, 7 x 7 x 576.
    assert (network.vector.shape[1], network.grid.shape[1]) == (576, 9 * 576)
    assert mobilenet.detect([noise(50, 50)], [[[0, 0, 30, 30]] * 3])[0]["scores"].size == 0


def test_regions_of_one_class_are_suppressed(mobilenet, monkeypatch):
    probabilities = np.zeros((4, 1000), np.float32)
    probabilities[[0, 1, 2, 3], [504, 504, 967, 504]] = [0.91, 0.95, 0.93, 0.89]
    monkeypatch.setattr("mrcnn.family.rcnn.detector.predict_regions", lambda *_: [probabilities])
    boxes = [[0, 0, 20, 20], [0, 0, 20, 19], [0, 0, 20, 20], [30, 30, 50, 50]]
    before = mobilenet.detect([noise(50, 50)], [boxes], suppress=False)[0]
    assert before["class_ids"].tolist() == [505, 968, 505]
    np.testing.assert_allclose(before["scores"], [0.95, 0.93, 0.91], rtol=1e-6)
    after = mobilenet.detect([noise(50, 50)], [boxes])[0]
    assert after["rois"].tolist() == [[0, 0, 20, 19], [0, 0, 20, 20]]
    assert mobilenet.suppress(before)["scores"].tolist() == after["scores"].tolist()


def test_vgg_ends_in_dense_layers_and_other_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(
        keras.applications, "VGG16", _small_vgg(keras.applications.VGG16), raising=True
    )
    config = RCNNConfig()
    config.BACKBONE = "VGG16"
    network = build_region_network(config)
    assert network.vector.shape[1] == 6  # what the last dense layer reads, the paper's fc7
    (tmp_path / "a.h5").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"a\.h5 is not a weight file of VGG16 with its class"):
        network.load(tmp_path / "a.h5")
    with pytest.raises(FileNotFoundError, match="it must be an existing file"):
        network.load(tmp_path / "b.h5")
    with pytest.raises(OSError, match="values of VGG16 cannot be downloaded"):
        network.load(None)


def _small_vgg(original):
    def VGG16(weights="imagenet"):
        if weights == "imagenet":
            raise RuntimeError("no network")
        image = keras.Input((32, 32, 3))
        x = layers.Conv2D(4, 3, 16, padding="same", name="block5_pool")(image)
        x = layers.Dense(6, name="fc2")(layers.Flatten()(x))
        model = keras.Model(image, layers.Dense(1000, activation="softmax")(x))
        if weights:
            model.load_weights(weights)
        return model

    VGG16.__module__ = original.__module__
    return VGG16
