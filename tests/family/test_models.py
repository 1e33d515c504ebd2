"""All models by name, and what a weight file is."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from mrcnn import checkpoints
from mrcnn.checkpoints.coco_names import COCO_CLASS_NAMES
from mrcnn.checkpoints.description import describe_weights
from mrcnn.checkpoints.save import write_metadata
from mrcnn.family import MODELS, build, describe, find_model, load, read_names
from mrcnn.family.image_stream import as_images
from mrcnn.family.semantic import SemanticConfig
from mrcnn.family.starting import choose_model, default_weights
from mrcnn.family.weights import model_of
from mrcnn.family.yolo import NETWORKS, YoloConfig
from mrcnn.family.yolo.darknet_weights import save_darknet_weights
from mrcnn.family.yolo.descriptions import count_values, find_by_values
from tests.tiny import tiny_config

NAMES = ["BG", "square", "circle"]


def unet_config(**settings):
    config = SemanticConfig()
    for name, value in {"NUM_CLASSES": 3, "BASE_WIDTH": 2, **settings}.items():
        setattr(config, name, value)
    return config


def tiny_yolo_config(num_classes=2, side=64):
    config = YoloConfig()
    config.NUM_CLASSES = 1 + num_classes
    config.IMAGE_MIN_DIM = config.IMAGE_MAX_DIM = side
    return config


def darknet_file(path, name, num_classes, header=20, extra=0):
    """Write a sparse file of the size of a network's weights."""
    version = (0, 2, 0) if header == 20 else (0, 1, 0)
    with open(path, "wb") as file:
        file.write(np.array(version, "<i4").tobytes())
        file.write(np.array(32013312, "<i8" if header == 20 else "<i4").tobytes())
        file.truncate(header + 4 * count_values(NETWORKS[name], num_classes) + extra)
    return path


@pytest.mark.parametrize(
    "name, expected",
    [("unet", "unet"), ("U-Net", "unet"), ("FasterRCNN", "faster_rcnn"), ("YOLOv3", "yolov3"),
     ("yolov3_tiny", "yolov3-tiny"), ("Mask-RCNN", "mask_rcnn")],
)  # fmt: skip
def test_names_in_any_spelling(name, expected):
    assert find_model(name).name == expected


@pytest.mark.parametrize(
    "name, near", [("unett", "unet"), ("yolo3", "yolov3"), ("segnt", "segnet"), ("fcn8", "fcn8s"),
                   ("maskrcn", "mask_rcnn")]
)  # fmt: skip
def test_an_unknown_name_gets_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"^model is '{name}'; .*; did you mean {near}\\?$"):
        find_model(name)


def test_a_name_like_none_gets_the_list():
    with pytest.raises(ValueError, match=r"^model is 'x.*1b'; it must be one of .*, yolov3-tiny$"):
        find_model("x\x1b")


def test_every_entry_has_a_class_and_settings():
    for name, model in MODELS.items():
        config = model.make_config()
        assert model.name == name
        assert config.USE_MASK == (model.finds == "masks") or model.finds == "labels"
    assert MODELS["fast_rcnn"].make_config().USE_RPN is False


def test_the_registry_needs_no_keras():
    script = (
        "import sys, mrcnn.family as f; f.find_model('unet').make_config(); f.describe; "
        "assert not {'keras', 'tensorflow', 'torch', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    "name, num_classes, num_values, header, num_bytes",
    [
        ("yolov1", 20, 271_703_550, 16, None),
        ("yolov2", 80, 50_983_561, 16, 203_934_260),
        ("yolov3", 80, 62_001_757, 20, 248_007_048),
        ("yolov3-tiny", 80, 8_858_734, 20, 35_434_956),
    ],
)
def test_published_files_are_told_apart_by_their_size(
    name, num_classes, num_values, header, num_bytes, tmp_path
):
    assert count_values(NETWORKS[name], num_classes) == num_values
    found = find_by_values(num_values)
    assert [(network.name, count) for network, count in found] == [(name, num_classes)]
    path = darknet_file(tmp_path / "some.weights", name, num_classes, header)
    assert num_bytes is None or path.stat().st_size == num_bytes
    assert model_of(str(path)) == name
    described = describe(str(path))
    assert (described.model, described.config.NUM_CLASSES) == (name, 1 + num_classes)
    assert described.config.IMAGE_MAX_DIM == NETWORKS[name].image_size
    if num_classes == 80:
        assert described.class_names == list(COCO_CLASS_NAMES) and "COCO's" in described.guess
    else:
        assert described.class_names[1] == "aeroplane" and "VOC's" in described.guess


def test_names_of_a_darknet_file(tmp_path):
    path = str(darknet_file(tmp_path / "own.weights", "yolov3-tiny", 2))
    numbered = describe(path)
    assert numbered.class_names == ["BG", "class 1", "class 2"] and "numbers" in numbered.guess
    names = tmp_path / "own.names"
    names.write_text(" cat\n\ndog \n", encoding="utf-8")
    described = describe(path, names_path=names)
    assert (described.class_names, described.guess) == (["BG", "cat", "dog"], None)
    assert str(described) == f"{path}: YOLOv3-tiny, 2 classes, 416x416 (Darknet 0.2.0)"
    names.write_text("cat\n")
    with pytest.raises(ValueError, match=r"own\.names: class_names has 2 entries; .* = 3 of"):
        describe(path, names_path=names)
    names.write_text("\n")
    with pytest.raises(ValueError, match="with 0 names; it must have 1 to"):
        read_names(names)
    with pytest.raises(FileNotFoundError):
        read_names(tmp_path / "no.names")


def test_darknet_files_that_are_none(tmp_path):
    path = darknet_file(tmp_path / "cut.weights", "yolov3-tiny", 2, extra=-4)
    with pytest.raises(ValueError, match=r"it is cut short, or of another network$"):
        describe(str(path))
    path = darknet_file(tmp_path / "other.weights", "yolov3-tiny", 2)
    with pytest.raises(ValueError, match=r"^model is yolov3; it must be yolov3-tiny with the wei"):
        describe(str(path), "yolov3")
    path = tmp_path / "text.weights"
    path.write_text("not weights at all")
    with pytest.raises(ValueError, match="must begin with its version"):
        describe(str(path))
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="a header of 16 or 20 bytes"):
        describe(str(path))


def test_a_unet_says_all_of_itself(tmp_path):
    model = build("unet", unet_config(MEAN_PIXEL=np.array([1.0, 2.0, 3.0])), NAMES)
    path = str(tmp_path / "model.h5")
    model.save_weights(path)
    assert model_of(path) == "unet" == choose_model(None, path).name
    described = describe(path)
    assert described.class_names == NAMES and described.config.BASE_WIDTH == 2
    assert described.config.MEAN_PIXEL.tolist() == [1, 2, 3]
    assert "RPN_ANCHOR_SCALES" not in checkpoints.verify(path).metadata["config"]
    again = load(path)
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    one, other = (m.segment([image])[0]["probabilities"] for m in (model, again))
    np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="holds the model unet; it must hold a Mask R-CNN"):
        describe_weights(path)
    with pytest.raises(ValueError, match="model is segnet; it must be unet with the weights"):
        describe(path, "segnet")


def test_a_yolo_says_all_of_itself(tmp_path):
    model = build("yolov3-tiny", tiny_yolo_config(), NAMES)
    path = str(tmp_path / "model.h5")
    model.save_weights(path)
    described = describe(path)
    assert (described.model, described.class_names) == ("yolov3-tiny", NAMES)
    assert described.config.IMAGE_MAX_DIM == 64
    again = load(described)
    images = [np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)]
    for one in (model, again):
        one.config.DETECTION_MIN_CONFIDENCE = 0.1
    (one,), (other,) = model.detect(images), again.detect(images)
    assert len(one["scores"]) and one["rois"].tolist() == other["rois"].tolist()
    save_darknet_weights(model.keras_model, tmp_path / "model.weights")
    assert describe(str(tmp_path / "model.weights")).config.NUM_CLASSES == 3


@pytest.mark.parametrize(
    "change, message",
    [
        ({"config": {"NUM_CLASSES": "many"}}, "NUM_CLASSES is 'many'; it must be a whole number"),
        ({"config": {"NUM_CLASSES": 3, "BASE_WIDTH": -1}}, "BASE_WIDTH is -1; it must be"),
        ({"config": {"NUM_CLASSES": 3, "PADDING": "odd"}}, "PADDING is 'odd'; it must be one of"),
        ({"class_names": ["BG"]}, "class_names has 1 entries; it must have NUM_CLASSES = 3"),
        ({"model": "resnet"}, "model is 'resnet'; it must be one of"),
        ({"model": 7}, "model of the metadata of .* is 7; it must be a name"),
        ({"config": {}}, "has no settings; it must state its NUM_CLASSES"),
    ],
)
def test_damaged_descriptions(change, message, tmp_path):
    path = tmp_path / "model.h5"
    metadata = {"model": "unet", "class_names": NAMES, "config": {"NUM_CLASSES": 3}}
    with h5py.File(path, "w") as file:
        write_metadata(file, {**metadata, **change})
    with pytest.raises(ValueError, match=message):
        describe(str(path))


def test_settings_from_a_file_count(tmp_path):
    path = tmp_path / "model.h5"
    build("unet", unet_config(), NAMES).save_weights(path)
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"TILE_SIDE": 64}))
    assert describe(str(path), config_path=settings).config.TILE_SIDE == 64
    settings.write_text(json.dumps({"TILE_SIZE": 64}))
    with pytest.raises(ValueError, match="has the entry 'TILE_SIZE'; it must be the name"):
        describe(str(path), config_path=settings)


def test_mask_rcnn_stays_the_model_of_files_that_name_none():
    assert model_of("weights/mask_rcnn_small.h5") == "mask_rcnn"
    assert choose_model(None, "small").name == choose_model(None, None).name == "mask_rcnn"


@pytest.mark.parametrize(
    ("model", "backbone", "weights"),
    [
        ("mask_rcnn", None, "small"),
        ("faster_rcnn", None, "small"),
        ("fast_rcnn", None, "coco"),
        ("rcnn", None, "imagenet"),
        ("unet", None, "none"),
        ("yolov3", None, "none"),
        ("mask_rcnn", "resnet50", "imagenet"),
        ("faster_rcnn", "mobilenet_v2", "imagenet"),
        ("rcnn", "MobileNetV2", "imagenet"),
        ("yolov3", "resnet50", "none"),
    ],
)
def test_what_a_training_starts_from(model, backbone, weights):
    assert default_weights(find_model(model), backbone) == weights
    described = describe("small")
    assert described.model == "mask_rcnn"
    faster = describe("small", "faster_rcnn")
    assert faster.config.USE_MASK is False
    assert (described.refiner, faster.refiner) == ("general", None)  # it has no masks to refine
    with pytest.raises(ValueError, match="model is unet; it must be mask_rcnn with the weights"):
        describe("small", "unet")


@pytest.mark.parametrize(("name", "side"), [("yolov1", 448), ("yolov3", 416)])
def test_build_takes_the_side_of_a_yolo(name, side, monkeypatch):
    def network(name, config, class_names, model_dir):
        return config

    monkeypatch.setattr(type(find_model(name)), "load_class", lambda self: network)
    config = build(name, class_names=["BG", "cat"])
    assert (config.IMAGE_MAX_DIM, config.NUM_CLASSES) == (side, 2)


def test_build_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="class_names has 2 entries; it must have NUM_CLASSES"):
        build("unet", unet_config(), ["BG", "square"])
    with pytest.raises(ValueError, match="did you mean unet"):
        build("unets")


def test_settings_without_masks_leave_out_the_refiner(tmp_path):
    settings = tmp_path / "boxes.json"
    settings.write_text('{"USE_MASK": false}')
    assert describe_weights("small", settings).refiner is None


IMAGE = np.zeros((8, 6, 3), np.uint8)


@pytest.mark.parametrize(
    "images, shapes",
    [
        (IMAGE, [(8, 6, 3)]),  # one without a list around it, which has no 8 images
        (IMAGE[..., 0], [(8, 6, 3)]),
        ([IMAGE, IMAGE[:1]], [(8, 6, 3), (1, 6, 3)]),
        (np.stack([IMAGE, IMAGE]), [(8, 6, 3)] * 2),
        ((image for image in [IMAGE]), [(8, 6, 3)]),
        ([], []),
    ],
)
def test_images_of_the_family(images, shapes):
    assert [image.shape for image in as_images(images)] == shapes


@pytest.mark.parametrize(
    "images, message",
    [
        ([IMAGE, IMAGE[:0]], r"images\[1\] has the shape \(0, 6, 3\); it must have at least one"),
        ([IMAGE, "a.jpg"], r"images\[1\] is str; it must be an array \[height, width\]"),
        ([None], r"images\[0\] is NoneType; it must be an array"),
        ([IMAGE[None]], r"images\[0\] is shape \(1, 8, 6, 3\); it must be an array"),
        ([IMAGE[0, 0]], r"images\[0\] is shape \(3,\); it must be an array"),
        ([np.full((2, 2), np.nan)], r"images\[0\]: image has float64 values from nan"),
        ([np.zeros((2, 2, 5), np.uint8)], r"images\[0\]: image has 5 channels"),
        (7, "images is int; it must be a list of arrays"),
    ],
)
def test_what_is_no_image(images, message):
    with pytest.raises(ValueError, match=message):
        as_images(images)


def test_build_leaves_the_config_as_it_is():
    config = tiny_config()
    model = build("faster_rcnn", config, ["BG", "square"])
    assert (model.config.NUM_CLASSES, model.config.USE_MASK) == (2, False)
    assert (config.NUM_CLASSES, config.USE_MASK) == (3, True)
