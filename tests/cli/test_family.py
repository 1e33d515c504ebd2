"""The subcommands with other models than Mask R-CNN: small networks, trained for a step or two."""

import csv
import json
import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mrcnn.datasets import open_dataset, read_proposals, write_proposals
from mrcnn.detection.video import VideoWriter
from mrcnn.family import build
from mrcnn.family.semantic import SemanticConfig
from mrcnn.family.yolo import YoloConfig
from mrcnn.model_training import MODEL, add_proposals
from tests.family.test_models import darknet_file

NAMES = ["BG", "square", "circle"]


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    config = SemanticConfig()
    config.NUM_CLASSES, config.BASE_WIDTH = 3, 2
    path = tmp_path_factory.mktemp("unet") / "unet.h5"
    build("unet", config, NAMES).save_weights(path)
    return path


@pytest.fixture(scope="module")
def yolo(tmp_path_factory):
    config = YoloConfig()
    config.NUM_CLASSES = 3
    config.IMAGE_MIN_DIM = config.IMAGE_MAX_DIM = 64
    path = tmp_path_factory.mktemp("yolo") / "tiny.h5"
    build("yolov3-tiny", config, NAMES).save_weights(path)
    return path


@pytest.fixture
def label_folder(tmp_path):
    """Six images with a bright square on the left or right, and their label images."""
    folder = tmp_path / "cells"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for number in range(6):
        labels = np.zeros((32, 32), np.uint8)
        labels[8:20, 2 + number : 14 + number] = 1
        labels[0] = 255
        cv2.imwrite(str(folder / "images" / f"{number}.png"), labels % 255 * 200)
        cv2.imwrite(str(folder / "labels" / f"{number}.png"), labels)
    (folder / "classes.txt").write_text("background\ncell\n")
    return folder


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mrcnn.startup.lean_start.start_backend", lambda: None)
    return tmp_path


def test_a_unet_from_its_data_to_its_figures(run, run_eagerly, label_folder, tmp_path):
    (tmp_path / "thin.json").write_text('{"BASE_WIDTH": 2, "IMAGES_PER_GPU": 2}')
    words = ("train", "cells", "--model", "unet", "--config", "thin.json", "--seed", 1)
    words += ("--val-fraction", 0.34, "--class-weights", "median", "--loss", "cross_entropy+dice")
    code, out, err = run(*words, "--epochs", 1)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "Dataset  4 images to train on, 2 to validate on, classes: cell"
    assert lines[1] == "Model    U-Net, images up to 512x512, batches of 2, 2 steps per epoch"
    assert "Weights  none: random values" in lines
    assert "mean IoU 0." in out and "AP" not in out
    (log_dir,) = (tmp_path / "logs").iterdir()
    assert log_dir.name.startswith("unet_cells2")
    names = {path.name for path in log_dir.iterdir()}
    assert {"best.h5", "unet_cells_0001.h5", "config.json", "history.csv", "curves.png",
            "training.json", "validation_0001.jpg"} <= names  # fmt: skip
    assert lines[-1] == (
        f"Next: mrcnn evaluate cells --weights logs/{log_dir.name}/best.h5 --report report"
    )
    assert json.loads((log_dir / "config.json").read_text())["model"] == "unet"
    with open(log_dir / "history.csv") as file:
        (row,) = csv.DictReader(file)
    assert {"loss", "val_loss", "val_mean_iou", "val_pixel_accuracy"} <= row.keys()

    code, out, err = run("train", "cells", "--model", "unet", "--resume", "--epochs", 2)
    assert (code, err) == (0, "")
    assert f"Continuing from logs/{log_dir.name}/unet_cells_0001.h5" in out
    assert "Continuing from epoch 1 with the optimizer's state." in out
    assert (log_dir / "unet_cells_0002.h5").exists()

    code, out, err = run("evaluate", "cells", "--weights", log_dir, "--json", "--output", "f.json")
    assert code == 0
    content = json.loads(out)
    assert content == json.loads((tmp_path / "f.json").read_text())
    assert 0 <= content["mean_iou"] <= 1 and [c["name"] for c in content["classes"]] == [
        "background", "cell"]  # fmt: skip
    assert "cells: 2 images of 6, those that the training held out" in err

    code, out, _ = run("evaluate", "cells", "--weights", log_dir, "--report", "report")
    assert code == 0 and "Report   report/report.html" in out
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("data:image/jpeg") == 2 and log_dir.name in page

    code, out, _ = run("detect", "cells/images", "--weights", log_dir, "--csv")
    assert code == 0 and "6 annotated images, labels.json, labels.csv, labels/ (6 images)" in out
    code, out, _ = run("info", log_dir)
    # Of the best weights, which are those of one of the two epochs.
    assert code == 0 and "U-Net" in out and ("1 epoch" in out or "2 epochs" in out)


@pytest.fixture(scope="module")
def imagenet_file(tmp_path_factory):
    """The values of EfficientNet-Lite0 with its classifier, random ones."""
    from mrcnn import checkpoints
    from mrcnn.family.rcnn import RCNNConfig, RegionClassifier

    config = RCNNConfig()
    config.IMAGE_MAX_DIM, config.REGION_CONTEXT = 32, 2
    path = tmp_path_factory.mktemp("lite") / "lite.h5"
    checkpoints.save_weights(RegionClassifier(config).keras_model, path)
    return path


def test_regions_before_and_after_suppression(run, imagenet_file, photos, tmp_path):
    settings = {"IMAGE_MAX_DIM": 32, "REGION_CONTEXT": 2, "REGIONS_PER_BATCH": 4, "MAX_REGIONS": 4}
    (tmp_path / "small.json").write_text(json.dumps(settings))
    words = ("detect", photos / "a.jpg", "--model", "region_classifier", "--weights", imagenet_file)
    words += ("--config", "small.json", "--min-confidence", 0, "--output")
    code, out, err = run(*words, "out")
    assert (code, err) == (0, "")
    assert "Region classifier, 1000 classes, on efficientnet_lite0" in out
    assert "1 annotated image, detections.json, images.json, before/ (1 image)" in out
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"a.jpg", "before"}
    assert cv2.imread(str(tmp_path / "out" / "before" / "a.jpg")).shape == (40, 60, 3)
    entries = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert len({entry["category_id"] for entry in entries}) == len(entries) >= 1

    assert run(*words, "bare", "--no-draw")[0] == 0
    assert not list((tmp_path / "bare").glob("**/*.jpg"))
    assert run(*words, "one", "--save", "before")[0] == 0
    assert (tmp_path / "one" / "before" / "a.jpg").exists()
    assert not (tmp_path / "one" / "a.jpg").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (("detect", "PHOTO", "--model", "region_classifier"), "a file of ImageNet's values with"),
        (("train", "6", "--format", "shapes", "--model", "region_classifier"), "classes of ImageN"),
        (("detect", "PHOTO", "--model", "region_classifier", "--weights", "a.h5"), "a.h5"),
        (
            ("detect", "PHOTO", "--model", "unet", "--weights", "a.h5", "--save", "before"),
            "a.h5",
        ),
        (
            ("detect", "PHOTO", "--model", "region_classifier", "--weights", "x", "--track"),
            "--track is given; it must not be given with the model region_classifier",
        ),
    ],
)
def test_what_a_region_classifier_is_not(run, photos, tmp_path, words, message):
    (tmp_path / "x").write_bytes(b"")
    code, _, err = run(*(photos / "a.jpg" if word == "PHOTO" else word for word in words))
    assert code == 2 and message in err and err.count("\n") <= 2


@pytest.mark.slow
def test_a_yolo_from_its_data_to_its_figures(run, run_eagerly, yolo, tmp_path):
    words = ("train", 6, "--format", "shapes", "--weights", yolo, "--image-size", 64)
    words += ("--batch-size", 2, "--steps", 1, "--epochs", 1, "--layers", "heads", "--seed", 1)
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert "Model    YOLOv3-tiny, 64x64, batches of 2, 1 step per epoch" in lines
    assert any(line.startswith(f"Weights  {yolo}: the layers that do not") for line in lines)
    (log_dir,) = (tmp_path / "logs").iterdir()
    assert log_dir.name.startswith("yolov3-tiny_shapes2")
    code, out, _ = run("evaluate", 6, "--format", "shapes", "--weights", log_dir)
    assert code == 0 and "YOLOv3-tiny, 3 classes, 64x64" in out and "box" in out.lower()


def test_detecting_boxes_with_names_of_its_own(run, yolo, photos, tmp_path):
    words = ("detect", photos / "a.jpg", "--weights", yolo, "--output", "out")
    assert run(*words, "--min-confidence", 0.1, "--save", "coco,image")[0] == 0
    entries = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert entries and entries[0]["category_name"] in NAMES and "segmentation" not in entries[0]
    assert (tmp_path / "out" / "a.jpg").exists()


def test_label_files(run, unet, photos, tmp_path):
    code, out, err = run("detect", photos, "--weights", unet, "--output", "out")
    assert code == 1 and err.startswith("1 of 3 images failed:\n")
    assert "3 images" not in out and "objects" not in out
    folder = tmp_path / "out"
    labels = cv2.imread(str(folder / "labels" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape[:2] == (40, 60)
    entries = {
        entry["file_name"]: entry for entry in json.loads((folder / "labels.json").read_text())
    }
    assert entries.keys() == {"a.jpg", "c.png"}
    classes = entries["a.jpg"]["classes"]
    assert sum(one["pixels"] for one in classes) == 40 * 60
    assert sum(one["share"] for one in classes) == pytest.approx(1, abs=1e-5)
    assert (folder / "a.jpg").exists() and not (folder / "detections.json").exists()
    code, out, _ = run(
        "detect", photos, "--weights", unet, "--output", "out", "--skip-existing", "--json"
    )
    assert code == 1 and len(out.splitlines()) == 1  # the broken one is tried again


def test_a_video_of_label_maps(run, unet, tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", fps=10) as video:
        for _ in range(3):
            video.write(np.zeros((32, 48, 3), np.uint8))
    code, out, err = run("detect", "clip.mp4", "--weights", unet, "--output", "out")
    assert (code, err) == (0, "")
    assert "[1/1] clip.mp4  3 frames" in out.splitlines()
    assert (tmp_path / "out" / "clip.mp4").exists()
    assert len(list((tmp_path / "out" / "labels" / "clip").iterdir())) == 3


@pytest.mark.parametrize(
    "words, message",
    [
        (("--refine", "motorcycle"), "--refine is motorcycle; it must not be given with the model "
         "unet, which has no instance masks"),
        (("--min-confidence", "0.5"), "--min-confidence is 0.5; it must not be given with"),
        (("--track",), "--track is given; it must not be given with the model unet"),
        (("--classes", "square"), "--classes is square; it must not be given"),
        (("--tile", "64"), "--tile is 64; it must not be given"),
        (("--engine", "openvino"), "which runs in Keras alone"),
        (("--names", "x.names"), "x.names: no such file"),
        (("--precision", "int8"), "precision is int8; it must be one of float32, bfloat16"),
        (("--save", "coco"), "--save with the model unet is 'coco'; it must name some of image, "
         "labels, csv, video"),
        (("--save", "nothing"), "--save is 'nothing'; it must name some of image, coco, csv"),
        (("--model", "segnet"), "model is segnet; it must be unet with the weights"),
        (("--model", "unett"), "did you mean unet?"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_for_a_unet(run, unet, photos, words, message):
    code, _, err = run("detect", photos, "--weights", unet, *words)
    assert code == 2 and message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "words, message",
    [
        (("--save", "masks"), "--save with the model yolov3-tiny is 'masks'; it must name some of"),
        (("--tolerance", "2"), "--tolerance is 2.0; it must not be given with the model yolov3-t"),
        (("--model", "yolov3"), "model is yolov3; it must be yolov3-tiny with the weights"),
    ],
)
def test_options_that_make_no_sense_for_a_yolo(run, yolo, photos, words, message):
    code, _, err = run("detect", photos, "--weights", yolo, *words)
    assert code == 2 and message in err


@pytest.mark.parametrize(
    "words, message",
    [
        (("--model", "unet", "--layers", "heads"), "--layers is heads; it must not be given with"),
        (("--model", "unet", "--rename", "a=b"), "--rename is given; it must not be given with"),
        (("--model", "unet", "--backbone", "resnet50"), "whose network is fixed by its name"),
        (("--model", "yolov3", "--loss", "dice"), "--loss is dice; it must not be given with"),
        (("--loss", "dice"), "--loss is dice; it must not be given with the model mask_rcnn"),
        (("--model", "rcnn", "--precision", "bfloat16"), "--precision is bfloat16; it must not be"),
        (("--model", "unet", "--precision", "int8"), "PRECISION is 'int8'; it must be one of"),
        (("--model", "unet", "--loss", "l1"), "loss is 'l1'; it must be cross_entropy, dice or"),
        (("--model", "unet", "--class-weights", "x"), "class_weights is 'x'; it must be none or"),
        (("--model", "yolov3", "--weights", "imagenet"), "weights is imagenet; it must be"),
        (("--model", "yolov3-tiny", "--image-size", 100), "must be a multiple of 32"),
        (("--model", "mask_rcnn", "--proposals", "x.npz"), "whose RPN makes its own"),
        (("--model", "rcnn"), "and for efficientnet_lite0 there is no download"),
        (("--model", "rcnn", "--weights", "small"), "weights is small, which is no classifier"),
        (("--learning-rate", "inf"), "--learning-rate is inf; it must be a finite number"),
    ],
)
def test_options_that_make_no_sense_for_a_training(run, words, message):
    code, _, err = run("train", 4, "--format", "shapes", *words)
    assert code == 2 and message in err and "Traceback" not in err


def test_masks_of_two_values_in_which_the_second_would_be_void(run, label_folder):
    for path in (label_folder / "labels").iterdir():
        cv2.imwrite(str(path), (cv2.imread(str(path), 0) == 1) * np.uint8(255))
    code, _, err = run("train", "cells", "--model", "unet", "--epochs", 1)
    assert code == 2 and "pixels of background and void alone; it must have pixels of cell" in err
    assert run("check", "cells")[0] == 1
    (label_folder / "classes.txt").write_text("0 background\n255 cell\n")
    code, out, _ = run("check", "cells")
    assert code == 0 and "cell           6       6" in out


def test_a_model_without_weights_says_how_to_get_some(run, photos):
    code, _, err = run("detect", photos, "--model", "segnet")
    assert code == 2 and "mrcnn train DATASET --model segnet" in err
    code, _, err = run("detect", photos, "--model", "yolov3")
    assert code == 2 and "Darknet's .weights" in err


@pytest.mark.parametrize("words", [("detect", "photos"), ("evaluate", "photos"), ("info",)])
def test_a_darknet_file_that_was_cut(run, photos, tmp_path, words):
    path = darknet_file(tmp_path / "yolov3.weights", "yolov3", 80, extra=-1024)
    options = (path,) if words == ("info",) else ("--weights", path)
    code, _, err = run(*words, *options)
    assert code == 2 and "it is cut short, or of another network" in err
    assert "248,006,024 bytes" in err and err.count("\n") == 1


def test_info_of_a_darknet_file(run, tmp_path):
    path = darknet_file(tmp_path / "yolov2.weights", "yolov2", 80, header=16)
    code, out, err = run("info", path)
    rows = dict(line.split(maxsplit=1) for line in out.splitlines() if not line.startswith("image"))
    assert code == 0 and rows["model"] == "YOLOv2" and rows["parameters"] == "50,983,561"
    assert rows["format"] == "Darknet 0.1.0, header of 16 bytes"
    assert "images seen         32,013,312" in out and "COCO's are taken" in err
    facts = json.loads(run("info", path, "--json")[1])
    assert (facts["model"], facts["num_classes"], facts["header_bytes"]) == ("yolov2", 81, 16)
    assert run("info", path, "--layers")[0] == 2


def test_info_lists_the_layers_of_a_unet(run, unet):
    code, out, _ = run("info", unet, "--layers")
    assert code == 0 and "down1_conv1" in out and "base width      2" in out


def test_evaluation_with_other_classes(run, unet, label_folder):
    code, _, err = run("evaluate", "cells", "--weights", unet)
    assert code == 2
    assert "the dataset has the classes background, cell; they must be those of the model" in err


def test_evaluation_matches_classes_by_name(run, unet, tmp_path, label_folder):
    """The labels of the model in another order are the same classes."""
    (label_folder / "classes.txt").write_text("0 circle\n1 BG\n2 square\n")
    code, out, err = run("evaluate", "cells", "--weights", unet, "--limit", 2)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[4:7]] == ["circle", "BG", "square"]


def test_unreadable_label_images_are_listed(run, unet, label_folder):
    (label_folder / "classes.txt").write_text("BG\nsquare\ncircle\n")
    cv2.imwrite(str(label_folder / "labels" / "3.png"), np.full((32, 32), 7, np.uint8))
    code, out, err = run("evaluate", "cells", "--weights", unet)
    assert code == 1 and "1 of 6 images failed:" in err
    assert "is 7; it must be 0 to 2 (3 classes), or 255 for void" in err and "mean" in out


def test_check_finds_label_images_by_itself(run, label_folder):
    code, out, err = run("check", "cells")
    assert (code, err) == (0, "") and "cell" in out and "6 of 6 images checked" in out
    cv2.imwrite(str(label_folder / "labels" / "3.png"), np.full((32, 32), 7, np.uint8))
    cv2.imwrite(str(label_folder / "labels" / "4.png"), np.zeros((8, 8), np.uint8))
    code, out, err = run("check", "cells")
    assert code == 1 and "it must be 0 to 1 (2 classes), or 255 for void" in out
    assert "has 8 x 8 pixels; it must have as many as its image, 32 x 32" in out


def test_failed_frames_are_called_frames(run, unet, tmp_path, monkeypatch):
    with VideoWriter(tmp_path / "clip.mp4", fps=10) as video:
        for _ in range(2):
            video.write(np.zeros((32, 48, 3), np.uint8))
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 100)
    from mrcnn.detection.label_results import LabelResults

    def fail(*arguments):
        raise ValueError("out of order")

    monkeypatch.setattr(LabelResults, "fields", fail)
    code, _, err = run("detect", "clip.mp4", "broken.mp4", "--weights", unet, "--output", "out")
    assert code == 1 and err.startswith("3 of 3 (2 frames, 1 video) failed:\n")


@pytest.fixture
def boxes_alone(tmp_path):
    """Four images with a YOLO box each: class names and no masks."""
    folder = tmp_path / "boxes"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(4):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), np.full((32, 48, 3), 90, np.uint8))
        (folder / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.4 0.4\n1 0.2 0.2 0.1 0.1\n")
    (folder / "classes.txt").write_text("square\ncircle\n")
    return folder


def test_a_semantic_network_is_not_measured_on_boxes(run, unet, boxes_alone, monkeypatch):
    monkeypatch.setattr("mrcnn.family.weights.load", lambda *a: pytest.fail("the model is built"))
    code, out, err = run("evaluate", "boxes", "--weights", unet)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert "dataset has boxes and no masks; it must have a mask of each object, or label im" in err


def test_a_note_where_the_measured_images_show_void_alone(run, unet, label_folder):
    (label_folder / "classes.txt").write_text("BG\nsquare\ncircle\n")
    for path in (label_folder / "labels").iterdir():
        cv2.imwrite(str(path), (cv2.imread(str(path), 0) == 1) * np.uint8(255))
    code, out, err = run("evaluate", "cells", "--weights", unet, "--limit", 2)
    assert (code, err) == (0, "")
    assert "Note     the dataset has pixels of BG and void alone; it must have pixels of" in out


@pytest.fixture
def plans(tmp_path, monkeypatch):
    """The trainings that would have begun."""
    begun = []

    def note(plan, output, verbose):
        begun.append(plan)
        return SimpleNamespace(log_dir=str(tmp_path))

    monkeypatch.setattr("mrcnn.model_training.run_training", note)
    return begun


def test_validation_images_with_boxes_alone(run, label_folder, boxes_alone, plans):
    (label_folder / "classes.txt").write_text("BG\nsquare\ncircle\n")
    words = ("train", "cells", "--model", "unet", "--val", "boxes")
    code, _, err = run(*words, "--early-stopping")
    assert code == 2 and not plans
    assert (
        "early stopping needs mean IoU; it cannot be measured: boxes and no masks in 4 val" in err
    )
    assert run(*words)[0] == 0
    assert plans[0].options.ap is False
    assert plans[0].notes == [
        "mean IoU cannot be measured: boxes and no masks in 4 validation images"
    ]


def test_precision_of_a_network(run, unet, label_folder, photos, plans, tmp_path, monkeypatch):
    (label_folder / "classes.txt").write_text("BG\nsquare\ncircle\n")
    words = ("train", "cells", "--weights", unet, "--precision", "bfloat16")
    assert run(*words)[0] == 0
    assert plans[0].start.config.PRECISION == "bfloat16"
    (tmp_path / "rough.json").write_text('{"PRECISION": "bfloat16"}')
    found = []

    def load(described):
        found.append(described.config.PRECISION)
        raise ValueError("enough")

    monkeypatch.setattr("mrcnn.family.weights.load", load)
    words = ("detect", photos / "a.jpg", "--weights", unet, "--config", "rough.json")
    for options in ((), ("--precision", "float32"), ("--precision", "float16")):
        run(*words, *options)
        run("evaluate", "cells", "--weights", unet, *options)
    assert found == ["bfloat16", "float32", "float32", "float32", "float16", "float16"]


GOOD = [[0, 0, 9, 9]]


@pytest.mark.parametrize(
    "boxes, message",
    [
        ([[0, 0, 129, 9]], "is [0, 0, 129, 9]; it must lie within the image of 128 x 128 pixels"),
        ([[900, 0, 999, 9]], "it must lie within the image of 128 x 128 pixels"),
        ([[9, 0, 5, 9]], "is [9, 0, 5, 9]; it must have y1 < y2 and x1 < x2"),
        ([[0, 0, 0.5, 0.5]], "it must hold pixels, not shares of height and width"),
        ([[-1, 0, 5, 9]], "is [-1, 0, 5, 9]; it must lie within the image"),
    ],
)
@pytest.mark.parametrize("number", [0, 4])  # of five images, one is validated on
def test_wrong_proposals_stop_before_a_model_is_built(
    run, tmp_path, plans, monkeypatch, boxes, message, number
):
    monkeypatch.setattr("mrcnn.family.proposals.propose", lambda *a: pytest.fail("searched"))
    found = {f"shapes.{i}": boxes if i == number else GOOD for i in range(5)}
    write_proposals(tmp_path / "p.npz", found)
    before = (tmp_path / "p.npz").read_bytes()
    words = ("train", 5, "--format", "shapes", "--model", "fast_rcnn", "--weights", "none")
    code, out, err = run(*words, "--proposals", "p.npz")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert f"p.npz: proposals['shapes.{number}'][0] is " in err and message in err
    assert not plans and (tmp_path / "p.npz").read_bytes() == before


def test_images_keep_the_proposals_that_they_have(monkeypatch):
    monkeypatch.setattr("mrcnn.family.proposals.propose", lambda *a: np.array(GOOD, np.int32))
    dataset = open_dataset("3", format="shapes")
    own = [[1, 2, 30, 40]]
    dataset.proposals = {"shapes.1": own}
    config = SimpleNamespace(USE_RPN=False)
    plan = SimpleNamespace(
        start=SimpleNamespace(config=config),
        entry=SimpleNamespace(family=MODEL),
        train=dataset,
        val=None,
    )
    add_proposals(plan, None, None)
    found = [np.asarray(dataset.load_proposals(i)).tolist() for i in dataset.image_ids]
    assert found == [GOOD, own, GOOD]


def test_proposals_of_other_images_are_named(run, tmp_path, plans, monkeypatch):
    monkeypatch.setattr("mrcnn.family.proposals.propose", lambda *a: np.array(GOOD, np.int32))
    write_proposals(tmp_path / "p.npz", {"coco.1": GOOD, "shapes.2": GOOD})
    words = ("train", 5, "--format", "shapes", "--model", "fast_rcnn", "--weights", "none")
    assert run(*words, "--proposals", "p.npz")[0] == 0
    assert plans[0].notes == [
        "p.npz has the proposals of 1 of 5 images; selective search finds the others, and they are "
        "added"
    ]
    assert len(read_proposals(tmp_path / "p.npz")) == 6
    wrong = {
        "p.txt": "proposals is p.txt; it must end in .npz",
        "p.npz/q.npz": "the folder of --proposals is p.npz, which is a file",
    }
    for name, message in wrong.items():
        code, _, err = run(*words, "--proposals", name)
        assert code == 2 and message in err


@pytest.mark.parametrize("broken", ["label", "file", "image"])
def test_one_broken_validation_image_does_not_end_a_training(
    run, run_eagerly, label_folder, tmp_path, broken
):
    (tmp_path / "thin.json").write_text('{"BASE_WIDTH": 2, "IMAGES_PER_GPU": 2}')
    shutil.copytree(label_folder, tmp_path / "val")
    if broken == "label":
        cv2.imwrite(str(tmp_path / "val" / "labels" / "2.png"), np.full((32, 32), 9, np.uint8))
    else:
        folder = "labels" if broken == "file" else "images"
        (tmp_path / "val" / folder / "2.png").write_bytes(b"no image")
    words = ("train", "cells", "--model", "unet", "--config", "thin.json", "--val", "val")
    code, out, err = run(*words, "--epochs", 1, "--steps", 1)
    assert code == 0 and "mean IoU 0." in out
    assert err.count("\n") <= 1
    (log_dir,) = (tmp_path / "logs").iterdir()
    assert (log_dir / "best.h5").is_file()
