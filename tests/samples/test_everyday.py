"""The datasets and the settings of the everyday recipe."""

import json
import types

import cv2
import keras
import numpy as np
import pytest

from mrcnn.checkpoints import load_weights, save_weights
from mrcnn.geometry.boxes import compute_overlaps
from mrcnn.geometry.rle import encode_rle
from mrcnn.graphs import SharedLayers, training_graph
from mrcnn.layers.backbones.nanodet import nanodet_raw_graph
from mrcnn.model import MaskRCNN
from samples.small import everyday, everyday_data
from samples.small.training import make_optimizer
from tests.tools.scripts import import_script


@pytest.fixture(scope="module")
def started():
    """The training graph and its class head, as the training starts."""
    shared = SharedLayers(everyday.EverydayConfig())
    model = training_graph(shared)
    everyday.start_from_detector(model, shared.config)
    pooled = keras.Input((None, 7, 7, 160))
    return model, keras.Model(pooled, shared.classifier.classify(pooled)[1])


def detection(bbox, score, category_id=1):
    return {"bbox": bbox, "score": score, "category_id": category_id}


PERSON = {"bbox": [10, 10, 20, 40], "category_id": 1}


@pytest.mark.parametrize(
    "found, persons, scores",
    [
        ([detection([0, 0, 10, 10], 0.25)], [], [0.4]),
        ([detection([0, 0, 10, 10], 0.5), detection([50, 0, 10, 10], 0.9)], [], [1.0, 0.8]),
        # A worse box of the same object, also of another class, is left out.
        ([detection([0, 0, 10, 10], 0.5), detection([0, 0, 10, 9], 0.3, 3)], [], [0.8]),
        ([detection([0, 0, 10, 10], 0.5), detection([0, 0, 10, 5], 0.3)], [], [0.8, 0.48]),
        # A detected person is replaced by the true one; IoU 0.5 suffices.
        ([detection([10, 10, 20, 20], 0.5)], [PERSON], []),
        ([detection([10, 10, 20, 20], 0.5, 3)], [PERSON], [0.8]),
        ([detection([10, 10, 20, 17], 0.5)], [PERSON], [0.8]),
    ],
)
def test_boxes_to_learn_from(found, persons, scores):
    kept = everyday_data.choose_boxes(found, persons)
    assert [box["score"] for box in kept] == pytest.approx(scores)


@pytest.fixture
def everyday_photo(tmp_path):
    """A folder of one photograph with three detected boxes and one true mask of a person."""
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "5.jpg"), np.full((60, 80, 3), 90, np.uint8))
    content = {
        "images": {
            "images": [{"id": 5, "file_name": "5.jpg", "height": 60, "width": 80}],
            "categories": [{"id": 3, "name": "car"}, {"id": 1, "name": "person"}],
        },
        "nanodet_boxes": [
            {"image_id": 5, **detection([10, 10, 20, 38], 0.9)},
            {"image_id": 5, **detection([40, 10, 20, 20], 0.5, 3)},
            {"image_id": 5, **detection([60, 40, 10, 10], 0.3, 3)},
        ],
        "persons": {
            "annotations": [
                {**PERSON, "image_id": 5, "segmentation": [[10, 10, 30, 10, 30, 50, 10, 50]]}
            ]
        },
    }
    for name, value in content.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    return tmp_path


def test_pseudo_labels(everyday_photo):
    dataset = everyday_data.PseudoLabels()
    dataset.load_everyday(everyday_photo)
    dataset.prepare()
    assert dataset.class_names == ["BG", "person", "car"]
    assert dataset.load_mask(0)[1].tolist() == [1, 2, -2]  # the last one scores below 0.35
    np.testing.assert_allclose(dataset.load_label_weights(0), [[1, 1], [0.8, 0], [0.48, 0]])
    assert everyday.only_with_masks(dataset).num_images == 1


@pytest.mark.parametrize("predicted, weights", [(0.8, [0.8, 1]), (0.79, [0.8, 0])])
def test_masks_of_pseudo_labels(everyday_photo, predicted, weights):
    mask = np.zeros((60, 80), bool)
    mask[12:28, 44:56] = True
    drawn = {
        "image_id": 5,
        **detection([40, 10, 20, 20], 0.8, 3),
        "segmentation": encode_rle(mask),
        "predicted_iou": predicted,
    }
    path = everyday_photo / "box_masks.json"
    path.write_text(json.dumps({"annotations": [drawn]}))
    dataset = everyday_data.PseudoLabels()
    dataset.load_everyday(everyday_photo, path)
    dataset.prepare()
    np.testing.assert_allclose(dataset.load_label_weights(0)[1], weights)
    found = dataset.load_mask(0)[0][..., 1]
    assert (found == mask).all() == (predicted >= 0.8)


def test_the_images_to_measure_on():
    names = everyday_data.read_measuring()
    sets = [name.rsplit("/", 1)[0] for name in names]
    assert len(names) == everyday_data.NUM_MEASURING
    assert {name: sets.count(name) for name in sorted(set(sets))} == {
        "coco128_seg": 16,
        "coco_mini": 17,
        "coco_tiny/train": 10,
        "coco_tiny/val": 17,
    }


def test_augmented_boxes_stay_boxes():
    mask = np.zeros((40, 60, 2), bool)
    mask[10:25, 15:40, 0] = True
    image = np.full((40, 60, 3), 100, np.uint8)
    for seed in range(10):
        new_image, new_mask = everyday.augment(image, mask, np.random.default_rng(seed))
        assert new_image.shape == image.shape and new_image.dtype == np.uint8
        rows, columns = new_mask[..., 0].any(axis=1), new_mask[..., 0].any(axis=0)
        np.testing.assert_array_equal(new_mask[..., 0], rows[:, None] & columns)
        assert rows.any() and not new_mask[..., 1].any()
    no_mask = np.zeros((40, 60, 0), bool)
    assert everyday.augment(image, no_mask, np.random.default_rng(0))[1].shape == (40, 60, 0)


def test_settings_and_stages():
    config = everyday.EverydayConfig()
    config.validate()
    assert config.NUM_CLASSES == 82
    options = {"stage": None, "steps": None, "learning_rate": None, "box_masks": None}
    stages = everyday.chosen_stages(types.SimpleNamespace(**options))
    assert [stage.name for stage in stages] == ["masks", "boxes", "large"]
    stages = everyday.chosen_stages(types.SimpleNamespace(**{**options, "box_masks": "b.json"}))
    assert [stage.name for stage in stages] == ["masks", "boxes", "large", "drawn"]
    options.update(stage="masks", steps=7, learning_rate=0.5)
    (stage,) = everyday.chosen_stages(types.SimpleNamespace(**options))
    assert (stage.name, stage.steps, stage.peak, stage.mask_weight) == ("masks", 7, 0.5, 2.0)


@pytest.mark.parametrize(
    "stage, expected",
    [
        (None, ["stages from b.h5", "masks from detector.h5"]),
        ("large", ["stages from b.h5"]),
        ("mask_head", ["masks from b.h5"]),
    ],
)
def test_the_mask_head_is_trained_last(monkeypatch, stage, expected):
    done = []
    monkeypatch.setattr(
        everyday, "train_stages", lambda a, c, w: done.append(f"stages from {w}") or "detector.h5"
    )
    monkeypatch.setattr(everyday, "train_masks", lambda a, c, w: done.append(f"masks from {w}"))
    everyday.train(types.SimpleNamespace(stage=stage, weights=None, backbone="b.h5"), None)
    assert done == expected


def test_the_model_starts_from_the_detections_of_its_backbone(tmp_path, shared_dir):
    """Two original photographs: the proposals and classes are those of NanoDet alone."""
    folder = shared_dir / "weights" / "nanodet_g"
    if not folder.is_dir():
        pytest.skip(f"NanoDet-g not found at {folder}")
    convert, detector = import_script("convert_nanodet"), import_script("nanodet_detector")
    weights = tmp_path / "nanodet_pan.h5"
    values = convert.read_nanodet(folder / "nanodet.json")
    save_weights(convert.build(values), weights)
    config = everyday.EverydayConfig()
    config.ENGINE, config.DETECTION_MIN_CONFIDENCE = "keras", 0.4
    config.MASK_SCORES = False  # of a mask head with random weights
    config.IMAGE_MIN_DIM = config.IMAGE_MAX_DIM = 384
    model = MaskRCNN("inference", config, str(tmp_path))
    model.load_weights(weights, by_name=True)
    everyday.start_from_detector(model.keras_model, config)
    pixels = keras.Input((None, None, 3))
    alone = keras.Model(pixels, nanodet_raw_graph(pixels))
    load_weights(alone, weights)
    agree = []
    for name in ("7933423348_c30bd9bd4e_z.jpg", "8053677163_d4c8f416be_z.jpg"):
        image = cv2.imread(str(shared_dir / "data" / "matterport_images" / name))[..., ::-1]
        found = model.detect([image])[0]
        for label, _, (x1, y1, x2, y2) in detector.detect(alone, image, 0.5, side=384):
            overlaps = compute_overlaps(np.array([[y1, x1, y2, x2]]), found["rois"].astype(float))
            agree.append(((overlaps[0] > 0.8) & (found["class_ids"] == label + 1)).any())
    # Objects that overlap objects of other classes are not proposed twice, if they score lower.
    assert len(agree) >= 5 and all(agree)


def test_started_weights(started):
    model, _ = started
    for level, channels in ((2, 64), (3, 341), (4, 469), (5, 725)):
        kernel = model.get_layer(f"fpn_c{level}p{level}").kernel.numpy()[0, 0]
        assert kernel.shape == (channels, 160)
        expected = [] if level == 2 else [[channels - 85 + k, k] for k in range(85)]
        assert np.argwhere(kernel[:, :85]).tolist() == expected
        assert kernel[:, 85:].all()  # the others stay random
    assert not np.any(model.get_layer("mrcnn_bbox_fc").kernel)
    with pytest.raises(ValueError, match="layer is 'nothing'; it must be one of the model"):
        everyday.change_weights(model, "nothing", print)


@pytest.mark.parametrize(
    ("label", "evidence", "expected"), [(0, 7, 1), (79, 7, 80), (5, 3.1, 6), (5, 2.9, 0), (5, 0, 0)]
)
def test_the_class_head_starts_from_the_detector(started, label, evidence, expected):
    _, classify = started
    pooled = np.zeros((1, 1, 7, 7, 160), np.float32)
    pooled[..., label] = evidence
    assert classify.predict(pooled, verbose=0)[0, 0].argmax() == expected


def test_started_pyramid(started):
    model, _ = started
    for level in (2, 3, 4, 5):
        kernel, bias = model.get_layer(f"fpn_p{level}").get_weights()
        assert np.argwhere(kernel[..., :85]).tolist() == [[1, 1, k, k] for k in range(85)]
        assert (kernel[1, 1, range(85), range(85)] == 1).all() and not bias.any()
    # No object is proposed from the finest level.
    bias = model.get_layer("fpn_c2p2").bias.numpy()
    assert np.argwhere(bias).tolist() == [[84]] and bias[84] == -20


@pytest.mark.parametrize(
    ("evidence", "code", "logit", "deltas"),
    [
        # Half a cell is a tenth of an anchor's side, one standard deviation of its center.
        (0, (0, 0, 0, 0), -7, (1, 1, 0, 0)),
        (9, (0.1, -0.2, 0.3, -0.4), 2, (2, -1, 1.5, -2)),
    ],
)
def test_the_rpn_starts_from_the_boxes_of_the_detector(started, evidence, code, logit, deltas):
    model, _ = started
    level = np.zeros((1, 3, 3, 160), np.float32)
    level[0, 1, 1, 80:84], level[0, 1, 1, 84] = code, evidence
    logits, _, found = model.get_layer("rpn_model").predict(level, verbose=0)
    np.testing.assert_allclose(logits[0, 4], [0, logit], atol=1e-4)
    np.testing.assert_allclose(found[0, 4], deltas, atol=1e-4)
    np.testing.assert_allclose(found[0, 0], [1, 1, 0, 0], atol=1e-4)  # its neighbors say nothing


def test_started_class_head(started):
    model, _ = started
    kernel = model.get_layer("mrcnn_class_conv1").kernel.numpy()
    found = np.argwhere(kernel[..., :80])
    middle = [[y, x, k, k] for y in (2, 3, 4) for x in (2, 3, 4) for k in range(80)]
    assert found.tolist() == middle and set(kernel[tuple(found.T)]) == {np.float32(1 / 9)}
    kernel = model.get_layer("mrcnn_class_conv2").kernel.numpy()[0, 0]
    np.testing.assert_array_equal(kernel[:, :80], np.eye(len(kernel), 80))
    kernel, bias = model.get_layer("mrcnn_class_logits").get_weights()
    np.testing.assert_array_equal(kernel, np.eye(len(kernel), 82, 1) * (np.arange(82) < 81))
    # The background at a probability of 2 %, absent classes at 0.1 %, and balloon.
    assert bias.tolist() == [-4, *[-7] * 80, -5]


def test_logits_at_the_end(monkeypatch):
    monkeypatch.setattr(everyday, "LOGIT_SCALE", 2.0)
    monkeypatch.setattr(everyday, "NEW_CLASS_LOGIT", -3.0)
    kernel, bias = np.full((3, 82), 0.5), np.arange(82.0)
    everyday.sharpen(kernel, bias)
    assert (kernel == 1).all()
    assert bias.tolist() == [*range(0, 162, 2), 159]  # balloon: 162 - 3


def test_boxes_of_the_classes_with_many_true_boxes_are_kept(monkeypatch):
    monkeypatch.setattr(everyday, "BOX_CLASSES", (1, 3))
    kernel, bias = np.ones((2, 20)), np.arange(1.0, 21.0)
    everyday.keep_well_known(kernel, bias)
    kept = [0, 0, 0, 0, 5, 6, 7, 8, 0, 0, 0, 0, 13, 14, 15, 16, 0, 0, 0, 0]
    assert bias.tolist() == kept
    np.testing.assert_array_equal(kernel, np.tile(np.array(kept) > 0, (2, 1)))


def test_learning_rates_by_layer():
    patterns = {r"nano": 0.03, r"fpn_": everyday.from_column(2)}
    x = inputs = keras.Input((1,))
    for name in ("nano1", "fpn_p2", "mask"):
        x = keras.layers.Dense(3, use_bias=False, name=name)(x)
    model = keras.Model(inputs, x)
    model.set_weights([np.zeros(weight.shape) for weight in model.weights])
    optimizer = make_optimizer(everyday.EverydayConfig(), 0.01, 1, patterns, beta_1=0.0)
    optimizer.build(model.trainable_variables)
    optimizer.apply([keras.ops.ones(weight.shape) for weight in model.weights])
    nano, fpn, mask = (weight[0] / model.get_weights()[2][0, 0] for weight in model.get_weights())
    np.testing.assert_allclose(nano, [0.03] * 3, rtol=2e-3)
    np.testing.assert_allclose(fpn, [0, 0, 1], rtol=2e-3)
    np.testing.assert_allclose(mask, [1, 1, 1], rtol=2e-3)


def test_weights_with_a_factor_do_not_decay():
    x = inputs = keras.Input((1,))
    for name in ("nano1", "mask"):
        x = keras.layers.Dense(1, use_bias=False, name=name)(x)
    model = keras.Model(inputs, x)
    model.set_weights([np.ones((1, 1))] * 2)
    optimizer = make_optimizer(everyday.EverydayConfig(), 0.01, 1, {"nano": 0.5})
    optimizer.build(model.trainable_variables)
    optimizer.apply([keras.ops.zeros((1, 1))] * 2)
    nano, mask = np.ravel(model.get_weights())
    assert nano == 1 and mask < 1
