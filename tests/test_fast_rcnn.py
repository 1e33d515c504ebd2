"""Fast and Faster R-CNN: the graphs, detection and training without RPN or mask head."""

from pathlib import Path

import keras
import numpy as np
import pytest

from mrcnn import graphs
from mrcnn.checkpoints.description import written_description
from mrcnn.config import MODEL_SETTINGS, model_name
from mrcnn.detection.given_model import GivenModelEngine
from mrcnn.engines.selection import check_choice
from mrcnn.evaluation import CocoEvaluator, evaluate_coco
from mrcnn.evaluation.detection_pass import measures_masks
from mrcnn.geometry.boxes import compute_overlaps
from mrcnn.loading.batches import TrainingBatches
from mrcnn.model import MaskRCNN
from mrcnn.training.training_model import build_training_model
from mrcnn.visualize import draw_instances
from tests.layers.arrays import numpy
from tests.tiny import Squares, randomize, tiny_config

BOXES = np.array([[8, 8, 32, 32], [36, 30, 56, 50], [0, 0, 64, 64], [4, 6, 40, 44]])
SHAPES = {
    "fast_rcnn": [(6, 6), (None, 3), (None, 3, 4), (None, 4)],
    "faster_rcnn": [(6, 6), (24, 3), (24, 3, 4), (24, 4), (None, 2), (None, 4)],
}


def config_of(name, **settings):
    return tiny_config(**{**MODEL_SETTINGS[name], **settings})


def squares():
    dataset = Squares()
    dataset.proposals = {f"squares.picture{i}": BOXES for i in range(2)}
    return dataset


@pytest.fixture(scope="module")
def models():
    """Models with random weights by name; without suppression all boxes are detections."""
    made = {}
    for name in ("fast_rcnn", "faster_rcnn"):
        config = config_of(name, DETECTION_NMS_THRESHOLD=1, DETECTION_MAX_INSTANCES=8)
        made[name] = MaskRCNN("inference", config, "logs")
        randomize(made[name].keras_model)
        # No box is background.
        logits = made[name].keras_model.get_layer("mrcnn_class_logits")
        logits.bias.assign(np.array([-100, 0, 0], np.float32))
    return made


@pytest.fixture
def fast(models):
    model = models["fast_rcnn"]
    model.propose = None
    return model


def image(number=0):
    return Squares().load_image(number)


# The settings


def test_names_of_models():
    assert [model_name(config_of(name)) for name in MODEL_SETTINGS] == list(MODEL_SETTINGS)
    assert model_name(tiny_config(USE_RPN=False)) == "mask_rcnn"
    for name in MODEL_SETTINGS:
        config_of(name).validate()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ROI_POOLING": "max"}, "ROI_LEVEL is None; it must be the level of one map with"),
        ({"ROI_POOLING": "mean"}, "ROI_POOLING is 'mean'; it must be one of 'align', 'max'"),
        ({"ROI_LEVEL": 6}, "ROI_LEVEL is 6; it must be a whole number of at least 2 and at most 5"),
        ({"ROI_LEVEL": 1}, "ROI_LEVEL is 1; it must be"),
        ({"ROI_LEVEL": 4.0}, "ROI_LEVEL is 4.0; it must be"),
        ({"USE_RPN": "no"}, "USE_RPN is 'no'; it must be True or False"),
        ({"USE_MASK": None}, "USE_MASK is None; it must be True or False"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(**settings).validate()


# The graphs


@pytest.mark.parametrize("name", SHAPES)
def test_inference_graph(name):
    shared = graphs.SharedLayers(config_of(name))
    model = graphs.inference_graph(shared)
    assert [tuple(x.shape[1:]) for x in model.outputs] == SHAPES[name]
    last = "input_anchors" if name == "faster_rcnn" else "input_proposals"
    assert [x.name for x in model.inputs] == ["input_image", "input_image_meta", last]
    layers = {layer.name for layer in model.layers}
    assert not [layer for layer in layers if "mask" in layer]
    assert ("rpn_model" in layers) == (name == "faster_rcnn")
    # One map: those below it are not computed.
    assert ("fpn_p2" in layers) == (name == "faster_rcnn")
    with pytest.raises(ValueError, match="USE_MASK is False; it must be True for a graph of masks"):
        graphs.mask_graph(shared)


@pytest.mark.parametrize(
    ("name", "inputs", "losses"),
    [
        (
            "fast_rcnn",
            ["image", "image_meta", "gt_class_ids", "gt_boxes", "roi"],
            ["mrcnn_class_loss", "mrcnn_bbox_loss"],
        ),
        (
            "faster_rcnn",
            ["image", "image_meta", "rpn_match", "rpn_bbox", "gt_class_ids", "gt_boxes"],
            ["rpn_class_loss", "rpn_bbox_loss", "mrcnn_class_loss", "mrcnn_bbox_loss"],
        ),
    ],
)
def test_training_graph(name, inputs, losses):
    model = build_training_model(graphs.SharedLayers(config_of(name)))
    assert [x.name for x in model.inputs] == [f"input_{one}" for one in inputs]
    assert model.loss_names == losses
    assert [tuple(x.shape) for x in model.outputs[-len(losses) :]] == [()] * len(losses)
    names = {layer.name for layer in model.layers}
    assert ("rpn_model" in names) == (name == "faster_rcnn")
    assert model.file_layer_names is None


def test_a_mask_model_without_rpn():
    config = tiny_config(USE_RPN=False, PARTIAL_LABELS=True)
    model = build_training_model(graphs.SharedLayers(config))
    assert model.loss_names == ["mrcnn_class_loss", "mrcnn_bbox_loss", "mrcnn_mask_loss"]
    (inputs,) = TrainingBatches(squares(), config, seed=0)[0]
    outputs = model([keras.ops.convert_to_tensor(x) for x in inputs])
    assert all(np.isfinite(numpy(x)).all() for x in outputs)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("mode", ["inference", "training"])
def test_saved_and_cloned(name, mode, tmp_path):
    config = config_of(name)
    shared = graphs.SharedLayers(config)
    if mode == "inference":
        model = graphs.inference_graph(shared)
    else:
        model = build_training_model(shared)
    randomize(model)
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "w.h5")
    clone = keras.models.clone_model(model)
    clone.load_weights(tmp_path / "w.h5")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    if mode == "inference":
        inputs = [np.zeros((1, 64, 64, 3)), np.array([[0, 64, 64, 3, 64, 64, 3, 0, 0, 64, 64, 1]])]
        inputs[1] = np.concatenate([inputs[1], np.ones((1, 3))], axis=1)
        anchors = (
            BOXES / 64 if name == "fast_rcnn" else graphs.normalized_anchors(config, (64, 64))[1]
        )
        inputs.append(anchors[None])
    else:
        (inputs,) = TrainingBatches(squares(), config, seed=0)[0]
    inputs = [keras.ops.convert_to_tensor(np.asarray(x, np.float32)) for x in inputs]
    expected = model(inputs, training=False)
    # The choice of ROIs in training is random; the outputs before it are not.
    count = len(expected) if mode == "inference" else 3 if name == "faster_rcnn" else 0
    for copy in (clone, loaded):
        found = copy(inputs, training=False)
        assert len(found) == len(expected)
        for one, other in zip(found[:count], expected[:count]):
            np.testing.assert_allclose(numpy(one), numpy(other), rtol=1e-5, atol=1e-5)
        if mode == "training":
            assert copy.loss_names == model.loss_names
    if mode == "training":
        loaded.compile("sgd")
        history = loaded.fit(TrainingBatches(squares(), config, seed=0), verbose=0).history
        assert set(history) == {"loss", *model.loss_names}


@pytest.mark.parametrize("pooling", ["align", "max"])
def test_masks_from_one_level(pooling):
    """`ROI_LEVEL` is of the mask head as well, in one graph as in two."""
    config = tiny_config(ROI_LEVEL=3, ROI_POOLING=pooling)
    model = MaskRCNN("inference", config, "logs")
    randomize(model.keras_model)
    (result,) = model.detect([image()])
    model._engine = GivenModelEngine(model.keras_model)
    (given,) = model.detect([image()])
    assert len(result) > 0 and np.array_equal(result["rois"], given["rois"])
    assert np.array_equal(result["masks"], given["masks"])
    assert model.keras_model.get_layer("roi_align_mask").output.shape[2:4] == (14, 14)


# Detection


def test_proposals_become_detections(fast):
    results = fast.detect([image(), image(1)], proposals=[BOXES, BOXES[:2]])
    assert [len(result) for result in results] == [4, 2]
    for result in results:
        assert list(result) == ["rois", "class_ids", "scores"]
        assert result.masks is None and result.rles is None


def test_images_of_a_batch_do_not_depend_on_each_other(fast):
    """Fewer proposals than another image are padded, and padding is never detected."""
    together = fast.detect([image(), image(1)], proposals=[BOXES[:1], BOXES])
    alone = [fast.detect([image()], proposals=[BOXES[:1]])[0]]
    alone += fast.detect([image(1)], proposals=[BOXES])
    for one, other in zip(together, alone):
        assert np.array_equal(one["rois"], other["rois"])
        np.testing.assert_allclose(one["scores"], other["scores"], rtol=1e-5)


@pytest.mark.parametrize("none", [[], np.zeros((0, 4))])
def test_no_proposals_are_no_detections(fast, none):
    results = fast.detect([image(), image()], proposals=[none, BOXES])
    assert [len(result) for result in results] == [0, 4]
    assert results[0]["rois"].shape == (0, 4) and "masks" not in results[0]
    assert [len(result) for result in fast.detect([image()], proposals=[none])] == [0]
    assert fast.detect([], proposals=[]) == []


def test_proposals_are_pixels_of_the_image(fast):
    """An image of another size is scaled and padded, and its proposals with it."""
    wide = np.repeat(np.repeat(image(), 2, axis=0), 4, axis=1)[:96]  # 96 x 256, scaled by 1/4
    seen = []
    fast.propose = lambda given: seen.append(given.shape) or [[0, 0, 96, 256], [20, 60, 80, 124]]
    resized = fast.detect([wide])[0]
    assert seen == [(96, 256, 3)] and len(resized) == 2
    run = fast.engine.run
    boxes = []
    fast._engine.run = lambda images, metas, given: boxes.append(given) or run(images, metas, given)
    try:
        fast.detect([wide])
    finally:
        del fast._engine.run
    # 24 x 64 in 64 x 64, 20 rows above: pixels y 20 to 43, x 0 to 63.
    np.testing.assert_allclose(boxes[0][0, 0] * 63, [20, 0, 43, 63], atol=1e-4)
    np.testing.assert_allclose(boxes[0][0, 1] * 63, [25, 15, 39, 30], atol=1e-4)


def test_streams_and_tiles_ask_for_proposals(fast):
    with pytest.raises(ValueError, match="proposals is None; it must hold the boxes of each image"):
        fast.detect([image()])
    with pytest.raises(ValueError, match=r"images\[0\].*proposals is None"):
        list(fast.detect_stream([image()]))
    fast.propose = lambda given: BOXES
    given = fast.detect([image()], proposals=[BOXES])[0]
    for result in [*fast.detect_stream([image()] * 3, batch_size=2), *fast.detect([image()])]:
        assert np.array_equal(result["rois"], given["rois"])
    large = np.tile(image(), (2, 2, 1))
    tiled = fast.detect_tiled(large, tile=64, overlap=0)
    assert "masks" not in tiled and len(tiled) == 4 * len(given)
    assert tiled["rois"].max() == 128
    fast.propose = lambda given: [[0, 0, 1000, 9]]
    with pytest.raises(
        ValueError, match=r"proposals of images\[0\]\[0\] is .*lie within the image"
    ):
        list(fast.detect_stream([image()]))


@pytest.mark.parametrize(
    ("proposals", "message"),
    [
        ([BOXES], "proposals has 1 entries; it must have one array .* for each of the 2 images"),
        ([BOXES] * 3, "proposals has 3 entries"),
        (BOXES, "proposals has 4 entries"),
        (5, "proposals is int; it must be a list of an array"),
        ([BOXES, [[0, 0, 65, 9]]], r"proposals\[1\]\[0\] is \[0, 0, 65, 9\]; it must lie within"),
        ([BOXES, [0, 0, 9, 9]], r"proposals\[1\] has the shape \(4,\)"),
        ([BOXES, [[0, np.nan, 9, 9]]], r"proposals\[1\]\[0\] .* must hold finite numbers"),
        ([BOXES, None], "proposals is None; it must hold the boxes of each image"),
    ],
)
def test_wrong_proposals(fast, proposals, message):
    with pytest.raises(ValueError, match=message):
        fast.detect([image(), image()], proposals=proposals)


def test_a_network_with_rpn_takes_none(models):
    with pytest.raises(ValueError, match="proposals is given; it must be None where USE_RPN is"):
        models["faster_rcnn"].detect([image()], proposals=[BOXES])


def test_what_needs_an_rpn_says_so(fast):
    with pytest.raises(ValueError, match="detect_molded needs USE_RPN = True"):
        fast.detect_molded([np.zeros((64, 64, 3))], np.zeros((1, 15)))
    with pytest.raises(ValueError, match="run_graph needs USE_RPN = True"):
        fast.run_graph([image()], [("x", fast.keras_model.outputs[0])])


def test_without_masks(models):
    model = models["faster_rcnn"]
    for options in ({}, {"rle": True}):
        (result,) = model.detect([image()], **options)
        assert list(result) == ["rois", "class_ids", "scores"] and len(result) > 0
    molded, metas, _ = model.mold_inputs([image()])
    assert list(model.detect_molded(molded, metas)[0]) == ["rois", "class_ids", "scores"]
    tiled = model.detect_tiled(np.tile(image(), (1, 2, 1)), tile=64, overlap=0, rle=True)
    assert list(tiled) == ["rois", "class_ids", "scores"]
    for options in ({"refiner": "general"}, {"mask_probabilities": True}):
        with pytest.raises(ValueError, match=r"it must not be given where USE_MASK is False"):
            model.detect([image()], **options)
        with pytest.raises(ValueError, match=r"it must not be given where USE_MASK is False"):
            model.detect_stream([image()], **options)
    assert draw_instances(image(), result).shape == (64, 64, 3)
    entry = result.to_coco(image_id=1)[0]
    y1, x1, y2, x2 = result["rois"][0].tolist()
    assert entry["area"] == (y2 - y1) * (x2 - x1) and "segmentation" not in entry


@pytest.mark.parametrize("name", SHAPES)
def test_a_loaded_keras_model_detects(models, name, tmp_path):
    model = models[name]
    options = {"proposals": [BOXES[:3]]} if name == "fast_rcnn" else {}
    expected = model.detect([image()], **options)[0]
    model.keras_model.save(tmp_path / "m.keras")
    other = MaskRCNN("inference", model.config, "logs")
    other.keras_model = keras.saving.load_model(tmp_path / "m.keras")
    found = other.detect([image()], **options)[0]
    assert isinstance(other.engine, GivenModelEngine)
    assert np.array_equal(found["rois"], expected["rois"]) and list(found) == list(expected)


def test_engines(monkeypatch):
    monkeypatch.delenv("MRCNN_ENGINE", raising=False)
    fast, faster = config_of("fast_rcnn"), config_of("faster_rcnn")
    assert check_choice("auto", None, "inference", fast) == "keras"
    with pytest.raises(ValueError, match="engine is 'openvino'; it needs a network with RPN"):
        check_choice("openvino", None, "inference", fast)
    with pytest.raises(ValueError, match="precision is 'int8'; it needs a network with RPN"):
        check_choice("auto", "int8", "inference", fast)
    pooled = tiny_config(ROI_POOLING="max", ROI_LEVEL=4)
    with pytest.raises(ValueError, match="engine is 'openvino'; it needs ROI_POOLING 'align'"):
        check_choice("openvino", None, "inference", pooled)
    assert check_choice("keras", None, "inference", faster) == "keras"


# Evaluation


def test_evaluation_of_boxes_alone(models, fast):
    report = evaluate_coco(models["faster_rcnn"], squares(), progress=False)
    assert report.mask is None and "mask_AP" not in report.metrics()
    assert "mask" not in str(report)
    # The proposals of the dataset count, though the model could make some.
    fast.propose = lambda image: []
    report = evaluate_coco(fast, squares(), progress=False)
    assert report.num_detections == 8 and report.mask is None
    report = evaluate_coco(fast, Squares(), progress=False)
    assert report.num_detections == 0
    evaluator = CocoEvaluator(squares())
    with pytest.raises(ValueError, match="has no masks; it must have masks or rles"):
        evaluator.add(0, fast.detect([image()], proposals=[BOXES])[0])
    assert not measures_masks(fast, squares()) and measures_masks(None, squares())


# Training


@pytest.mark.parametrize("name", ["fast_rcnn", pytest.param("faster_rcnn", marks=pytest.mark.long)])
def test_a_training_with_ap(name, tmp_path, capsys):
    config = config_of(name, STEPS_PER_EPOCH=1)
    model = MaskRCNN("training", config, tmp_path)
    history = model.train(
        squares(), squares(), 0.001, 1, "all", "strong", ["ap", "best"], seed=0, verbose=2
    ).history
    assert {"val_box_ap", "val_box_ap50", "val_loss"} < set(history)
    assert not [key for key in history if "mask" in key]
    assert np.isfinite(history["loss"]).all()
    assert "AP 0." in capsys.readouterr().out
    assert (tmp_path / model.log_dir / "best.h5").is_file()
    assert (tmp_path / model.log_dir / "curves.png").is_file()
    # The weight file says which network it is, and another model loads it.
    settings = written_description(Path(model.find_last())).settings
    assert {key: settings[key] for key in MODEL_SETTINGS[name]} == MODEL_SETTINGS[name]
    found = MaskRCNN("inference", config_of(name), tmp_path)
    report = found.load_weights(model.find_last())
    assert report.missing_in_file == report.unused_in_file == ()
    found.propose = lambda image: BOXES
    assert list(found.detect([image()])[0]) == ["rois", "class_ids", "scores"]


def by_heart(name, steps, tmp_path, **settings):
    """Train two images until they are known, and return the detections of the first."""
    keras.utils.set_random_seed(0)
    config = config_of(
        name,
        TOP_DOWN_PYRAMID_SIZE=16,
        FPN_CLASSIF_FC_LAYERS_SIZE=32,
        POST_NMS_ROIS_TRAINING=200,
        TRAIN_ROIS_PER_IMAGE=32,
        WEIGHT_DECAY=0.0,
        DETECTION_MIN_CONFIDENCE=0.5,
        STEPS_PER_EPOCH=steps,
        VALIDATION_STEPS=0,
        **settings,
    )
    dataset = squares()
    corners = np.sort(np.random.default_rng(0).integers(0, 33, (300, 2, 2)) * 2, axis=1)
    boxes = corners.reshape(-1, 4)
    boxes = np.concatenate([boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)], BOXES])
    dataset.proposals = {f"squares.picture{i}": boxes for i in range(2)}
    model = MaskRCNN("training", config, tmp_path)
    optimizer = keras.optimizers.Adam(0.003)
    model.train(dataset, None, 0.003, 1, "all", optimizer=optimizer, verbose=0, seed=1)
    options = {"proposals": [boxes]} if name == "fast_rcnn" else {}
    return model.detect([image()], **options)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "steps", "settings"),
    # 16 x 16 cells, so that RoIPool moves boxes by at most two pixels.
    [
        ("fast_rcnn", 200, {"ROI_LEVEL": 2}),
        pytest.param("faster_rcnn", 250, {}, marks=pytest.mark.long),
    ],
)
def test_two_images_are_learned_by_heart(name, steps, settings, tmp_path):
    result = by_heart(name, steps, tmp_path, **settings)
    for class_id, box in ((1, BOXES[0]), (2, BOXES[1])):
        found = result[result["class_ids"] == class_id]["rois"]
        assert len(found) > 0, result
        assert compute_overlaps(found[:1], box[None])[0, 0] >= 0.6, (class_id, found)
