"""The samples of Matterport's names: datasets, settings, results and command lines."""

import csv
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from samples.balloon import balloon
from samples.coco import coco
from samples.nucleus import nucleus
from samples.shapes import shapes
from tests.fake_model import run_eagerly  # noqa: F401 (a fixture)

ROOT = Path(__file__).parents[2]
MODULES = {"balloon": balloon, "coco": coco, "nucleus": nucleus, "shapes": shapes}


class FakeModel:
    """Knows how it was built and trained, and finds what it is told to find."""

    def __init__(self, config=None, find=None):
        self.config, self.find, self.epoch, self.trained = config, find, 0, []

    def train(self, train_dataset, val_dataset, learning_rate, epochs, layers, **options):
        self.trained.append((layers, epochs, learning_rate))
        self.datasets, self.options, self.epoch = (train_dataset, val_dataset), options, epochs

    def detect(self, images, verbose=0):
        return [self.find(image) for image in images]


def result(masks, class_ids, scores):
    """A result of `detect` from masks [height, width, N]."""
    from mrcnn.utils import extract_bboxes

    masks = np.asarray(masks, bool)
    return {
        "rois": extract_bboxes(masks),
        "class_ids": np.array(class_ids, np.int32),
        "scores": np.array(scores, np.float32),
        "masks": masks,
    }


@pytest.fixture
def built(monkeypatch):
    """Put a fake where the samples build the real model; yields the calls."""
    calls = []

    def start_model(mode, config, weights, logs):
        calls.append((mode, type(config).__name__, weights))
        calls.model = FakeModel(config)
        return calls.model

    calls = type("Calls", (list,), {})()
    for module in MODULES.values():
        monkeypatch.setattr(module, "start_model", start_model)
    return calls


# ---- importing them, as users do -----------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_sys_path_import_needs_no_deep_learning_library(name, tmp_path):
    code = (
        f"import os, sys\nROOT_DIR = {str(ROOT)!r}\n"
        f"sys.path.append(os.path.join(ROOT_DIR, 'samples/{name}/'))\nimport {name}\n"
        f"print({name}.__file__, 'keras' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.split() == [str(ROOT / "samples" / name / f"{name}.py"), "False"]


@pytest.mark.parametrize("name", MODULES)
def test_a_copied_sample_needs_the_package_alone(name, tmp_path):
    copied = shutil.copy(ROOT / "samples" / name / f"{name}.py", tmp_path / "mine.py")
    done = subprocess.run(
        [sys.executable, str(copied), "--help"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--weights" in done.stdout or "--model" in done.stdout


# Settings that Matterport's samples set, as they set them.
SETTINGS = [
    (balloon.BalloonConfig, {"NAME": "balloon", "NUM_CLASSES": 2, "BATCH_SIZE": 2}),
    (balloon.BalloonConfig, {"STEPS_PER_EPOCH": 100, "DETECTION_MIN_CONFIDENCE": 0.9}),
    (coco.CocoConfig, {"NAME": "coco", "NUM_CLASSES": 81, "BATCH_SIZE": 2}),
    (coco.InferenceConfig, {"BATCH_SIZE": 1, "DETECTION_MIN_CONFIDENCE": 0}),
    (nucleus.NucleusConfig, {"NAME": "nucleus", "NUM_CLASSES": 2, "BATCH_SIZE": 6}),
    (nucleus.NucleusConfig, {"STEPS_PER_EPOCH": 105, "VALIDATION_STEPS": 4}),
    (nucleus.NucleusConfig, {"IMAGE_RESIZE_MODE": "crop", "BACKBONE": "resnet50"}),
    (nucleus.NucleusInferenceConfig, {"IMAGE_RESIZE_MODE": "pad64", "RPN_NMS_THRESHOLD": 0.7}),
    (nucleus.NucleusInferenceConfig, {"BATCH_SIZE": 1, "DETECTION_MAX_INSTANCES": 400}),
    (shapes.ShapesConfig, {"NAME": "shapes", "NUM_CLASSES": 4, "BATCH_SIZE": 8}),
    (shapes.ShapesConfig, {"IMAGE_MAX_DIM": 128, "TRAIN_ROIS_PER_IMAGE": 32}),
]


@pytest.mark.parametrize(("config", "expected"), SETTINGS)
def test_settings(config, expected):
    config = config()
    config.validate()
    assert {name: getattr(config, name) for name in expected} == expected


COMMANDS = [
    ("balloon", "train --dataset {d}", "required: --weights"),
    ("balloon", "train --weights coco", "--dataset is required"),
    ("balloon", "splash --weights coco", "--image or --video is required"),
    ("coco", "evaluate --dataset {d}", "required: --model"),
    ("coco", "train --dataset {d} --model coco --download perhaps", "it must be True or False"),
    ("nucleus", "detect --weights last --dataset {d}", "--subset is required"),
    ("shapes", "paint", "invalid choice"),
]


@pytest.mark.parametrize(("name", "words", "message"), COMMANDS)
def test_incomplete_commands(built, name, words, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        MODULES[name].main(words.format(d=tmp_path).split())
    assert message in capsys.readouterr().err
    assert built == []


# ---- balloon -------------------------------------------------------------------------------


@pytest.fixture
def balloons(tmp_path):
    """Two subsets of one image of 10 x 12 with one polygon, as VIA 1 writes it."""
    for subset in ("train", "val"):
        folder = tmp_path / subset
        folder.mkdir()
        cv2.imwrite(str(folder / f"{subset}.png"), np.full((10, 12, 3), 100, np.uint8))
        shape = {"name": "polygon", "all_points_x": [2, 5, 5, 2], "all_points_y": [3, 3, 7, 7]}
        region = {"shape_attributes": shape, "region_attributes": {}}
        entry = {"filename": f"{subset}.png", "size": 1, "regions": {"0": region}}
        (folder / "via_region_data.json").write_text(json.dumps({f"{subset}.png1": entry}))
    return tmp_path


def test_balloon_dataset(balloons):
    dataset = balloon.BalloonDataset()
    dataset.load_balloon(str(balloons), "val")
    dataset.prepare()
    assert dataset.class_names == ["BG", "balloon"]
    assert [info["id"] for info in dataset.image_info] == ["val.png"]
    masks, class_ids = dataset.load_mask(0)
    assert masks.shape == (10, 12, 1) and masks.sum() == 4 * 5
    assert masks[3:8, 2:6].all() and class_ids.tolist() == [1]
    assert dataset.image_reference(0) == str(balloons / "val" / "val.png")


def test_balloon_train(built, balloons):
    balloon.main(["train", "--dataset", str(balloons), "--weights", "coco"])
    assert built == [("training", "BalloonConfig", "coco")]
    assert built.model.trained == [("heads", 30, 0.001)]
    assert [d.image_info[0]["id"] for d in built.model.datasets] == ["train.png", "val.png"]


def test_color_splash():
    image = np.zeros((1, 2, 3), np.uint8)
    image[...] = 200, 10, 0
    masks = np.zeros((1, 2, 2), bool)
    masks[0, 1, 1] = True
    gray = [int(0.2125 * 200 + 0.7154 * 10)] * 3
    assert balloon.color_splash(image, masks).tolist() == [[gray, [200, 10, 0]]]
    assert (balloon.color_splash(image, masks[..., :0]) == gray[0]).all()


def test_splash_of_an_image_and_of_a_video(built, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)

    def find(image):
        masks = np.zeros((*image.shape[:2], 1), bool)
        masks[:8] = True
        return result(masks, [1], [0.9])

    model = FakeModel(find=find)
    image = np.full((16, 32, 3), (30, 60, 200), np.uint8)
    cv2.imwrite("in.png", image[..., ::-1])
    written = cv2.imread(balloon.detect_and_color_splash(model, image_path="in.png"))[..., ::-1]
    assert (written[:8] == image[:8]).all()
    assert (written[8:] == int(image[0, 0] @ [0.2125, 0.7154, 0.0721])).all()

    writer = cv2.VideoWriter("in.avi", cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 16))
    for _ in range(3):
        writer.write(np.ascontiguousarray(image[..., ::-1]))
    writer.release()
    capture = cv2.VideoCapture(balloon.detect_and_color_splash(model, video_path="in.avi"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    frame = capture.read()[1][..., ::-1].astype(int)
    # JPEG blurs colors across the border of the mask.
    assert np.ptp(frame[:4].mean(axis=(0, 1))) > 100 and np.ptp(frame[12:].mean(axis=(0, 1))) < 15
    with pytest.raises(ValueError, match="a file that OpenCV can open"):
        balloon.detect_and_color_splash(model, video_path="missing.avi")
    with pytest.raises(ValueError, match="one must be given"):
        balloon.detect_and_color_splash(model)


# ---- coco ----------------------------------------------------------------------------------


@pytest.fixture
def tiny_coco(tmp_path):
    """COCO's layout: two images of 20 x 24 in each part, one cat each."""
    (tmp_path / "annotations").mkdir()
    categories = [{"id": k, "name": f"c{k}"} for k in range(1, 80)] + [{"id": 90, "name": "cat"}]
    parts = [
        ("train2014", "train2014", 1),
        ("val2014", "valminusminival2014", 3),
        ("val2014", "minival2014", 5),
        ("train2017", "train2017", 7),
        ("val2017", "val2017", 9),
    ]
    for folder, name, first in parts:
        (tmp_path / folder).mkdir(exist_ok=True)
        images, annotations = [], []
        for image_id in (first, first + 1):
            file_name = f"{image_id:012}.png"
            cv2.imwrite(str(tmp_path / folder / file_name), np.zeros((20, 24, 3), np.uint8))
            images.append({"id": image_id, "file_name": file_name, "height": 20, "width": 24})
            polygon = [4, 2, 14, 2, 14, 12, 4, 12]
            annotations.append(
                {
                    "id": image_id,
                    "image_id": image_id,
                    "category_id": 90,
                    "segmentation": [polygon],
                    "bbox": [4, 2, 10, 10],
                    "area": 100,
                    "iscrowd": 0,
                }
            )
        content = {"images": images, "annotations": annotations, "categories": categories}
        path = tmp_path / "annotations" / f"instances_{name}.json"
        path.write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "train_ids", "val_ids"),
    [([], [1, 2, 3, 4], [5, 6]), (["--year=2017"], [7, 8], [9, 10])],
)
def test_coco_train(built, tiny_coco, words, train_ids, val_ids):
    coco.main(["train", "--dataset", str(tiny_coco), "--model", "imagenet", *words])
    assert built == [("training", "CocoConfig", "imagenet")]
    assert built.model.trained == [("heads", 40, 0.001), ("4+", 120, 0.001), ("all", 160, 0.0001)]
    for dataset, ids in zip(built.model.datasets, (train_ids, val_ids)):
        assert [info["id"] for info in dataset.image_info] == ids
        assert dataset.num_classes == 81


def find_the_cat(image):
    masks = np.zeros((*image.shape[:2], 1), bool)
    masks[2:12, 4:14] = True
    return result(masks, [80], [0.75])


@pytest.mark.parametrize(("words", "images"), [([], 2), (["--limit=1"], 1), (["--limit=0"], 2)])
def test_coco_evaluate_boxes_and_masks_of_all_images(
    built, tiny_coco, words, images, monkeypatch, capsys
):
    monkeypatch.setattr(
        FakeModel, "detect", lambda self, x, verbose=0: [find_the_cat(i) for i in x]
    )
    coco.main(["evaluate", "--dataset", str(tiny_coco), "--model=last", *words])
    assert built == [("inference", "InferenceConfig", "last")]
    out = capsys.readouterr().out
    assert f"evaluation on {images} images" in out
    report = coco.evaluate_coco(built.model, coco.load_validation(str(tiny_coco)), limit=images)
    assert report.num_images == images
    assert (report.box.AP, report.mask.AP) == pytest.approx((1, 1))
    plural = "s" if images > 1 else ""
    assert f"COCO evaluation: {images} image{plural}, {images} object{plural}" in out
    assert all(f"\n{kind} " in out for kind in ("box", "mask"))


@pytest.mark.parametrize(("eval_type", "name"), [("bbox", "box_AP50"), ("segm", "mask_AP50")])
def test_coco_evaluate_as_matterports_callers_do(tiny_coco, eval_type, name, capsys):
    dataset = coco.CocoDataset()
    index = dataset.load_coco(str(tiny_coco), "val", "2017", return_coco=True)
    dataset.prepare()
    report = coco.evaluate_coco(FakeModel(find=find_the_cat), dataset, index, eval_type, limit=1)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith("1.000")]
    assert any(line.startswith(name) for line in lines)
    assert len({line[:3] for line in lines}) == 1
    assert report[name] == pytest.approx(1)


def test_build_coco_results(tiny_coco):
    from pycocotools import mask as coco_mask

    dataset = coco.load_validation(str(tiny_coco), "2017")
    found = find_the_cat(np.zeros((20, 24, 3), np.uint8))
    (entry,) = coco.build_coco_results(
        dataset, [9], found["rois"], found["class_ids"], found["scores"], found["masks"]
    )
    rle = entry.pop("segmentation")
    assert entry == {"image_id": 9, "category_id": 90, "bbox": [4, 2, 10, 10], "score": 0.75}
    assert (coco_mask.decode(rle).astype(bool) == found["masks"][..., 0]).all()
    assert coco.build_coco_results(dataset, [9], None, [], [], None) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], False),
        (["--download"], True),
        (["--download=True"], True),
        (["--download=False"], False),
    ],
)
def test_coco_download(built, monkeypatch, words, expected):
    seen = []
    monkeypatch.setattr(coco, "train", lambda model, folder, year, download: seen.append(download))
    coco.main(["train", "--dataset=d", "--model=coco", *words])
    assert seen == [expected]


# ---- nucleus -------------------------------------------------------------------------------

# Pixels are counted from 1, down the columns.
RUNS = [
    ([[0, 1], [1, 1]], "2 3"),
    ([[1, 0], [0, 0]], "1 1"),
    ([[1, 1], [0, 0]], "1 1 3 1"),
    ([[0, 0, 0], [1, 0, 1]], "2 1 6 1"),
    ([[1, 1], [1, 1]], "1 4"),
    ([[0, 0], [0, 0]], ""),
]


@pytest.mark.parametrize(("mask", "runs"), RUNS)
def test_run_lengths(mask, runs):
    mask = np.array(mask, bool)
    assert nucleus.rle_encode(mask) == runs
    decoded = nucleus.rle_decode(runs, mask.shape)
    assert decoded.dtype == bool and (decoded == mask).all()


def test_run_lengths_round_trip():
    rng = np.random.default_rng(0)
    for height, width in ((1, 1), (3, 7), (8, 5)):
        mask = rng.random((height, width)) < 0.5
        assert (nucleus.rle_decode(nucleus.rle_encode(mask), mask.shape) == mask).all()


def test_pixels_go_to_the_best_mask():
    masks = np.zeros((2, 3, 3), bool)
    masks[:, :2, 0] = True
    masks[:, 1:, 1] = True
    masks[0, 0, 2] = True  # wholly behind the first
    lines = nucleus.mask_to_rle("a", masks, [0.5, 0.9, 0.1])
    assert lines == "a, 3 4\na, 1 2"
    assert nucleus.mask_to_rle("a", masks[..., :0], []) == "a,"


@pytest.fixture
def nuclei(tmp_path):
    """Ten images of 8 x 12 with two nuclei each, one of them of the validation set."""
    for name in ("0c2550a2", *(f"{k:08}" for k in range(9))):
        for part in ("images", "masks"):
            (tmp_path / "stage1_train" / name / part).mkdir(parents=True)
        folder = tmp_path / "stage1_train" / name
        cv2.imwrite(str(folder / "images" / f"{name}.png"), np.zeros((8, 12, 4), np.uint8))
        for k in range(2):
            mask = np.zeros((8, 12), np.uint8)
            mask[2:5, 1 + 6 * k : 4 + 6 * k] = 255
            cv2.imwrite(str(folder / "masks" / f"{k}.png"), mask)
    return tmp_path


def test_nucleus_train(built, nuclei):
    words = ["train", "--dataset", str(nuclei), "--subset", "train", "--weights", "imagenet"]
    nucleus.main(words)
    assert built == [("training", "NucleusConfig", "imagenet")]
    assert built.model.trained == [("heads", 20, 0.001), ("all", 40, 0.001)]
    assert [d.num_images for d in built.model.datasets] == [9, 1]
    assert built.model.datasets[1].image_info[0]["id"] == "0c2550a2"
    masks, class_ids = built.model.datasets[0].load_mask(0)
    assert masks.shape == (8, 12, 2) and class_ids.tolist() == [1, 1]


def test_nucleus_train_without_the_competitions_validation_set(built, nuclei):
    (nuclei / "stage1_train" / "0c2550a2").rename(nuclei / "stage1_train" / "00000009")
    nucleus.main(["train", f"--dataset={nuclei}", "--subset=train", "--weights=small"])
    train, val = built.model.datasets
    assert (train.num_images, val.num_images) == (9, 1)
    assert val.image_info[0]["id"] not in {info["id"] for info in train.image_info}


def test_nucleus_detect_writes_a_submission(built, nuclei, monkeypatch, tmp_path):
    monkeypatch.setattr(nucleus, "RESULTS_DIR", str(tmp_path / "results"))

    def find(image):
        masks = np.zeros((8, 12, 1), bool)
        masks[2:4, 1, 0] = True
        return result(masks, [1], [0.9])

    monkeypatch.setattr(FakeModel, "detect", lambda self, x: [find(image) for image in x])
    nucleus.main(["detect", f"--dataset={nuclei}", "--subset=stage1_train", "--weights=last"])
    assert built == [("inference", "NucleusInferenceConfig", "last")]
    (folder,) = (tmp_path / "results").iterdir()
    assert folder.name.startswith("submit_2")
    with (folder / "submit.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10 and rows[0] == {"ImageId": "00000000", "EncodedPixels": " 11 2"}
    assert len(list(folder.glob("*.png"))) == 10


@pytest.mark.parametrize("shape", [(12, 12), (10, 14)])
def test_nucleus_augmentation_moves_masks_with_the_image(shape):
    image = np.zeros((*shape, 3), np.uint8)
    image[:5, :4] = 120
    mask = image[..., :1] > 0
    seen = set()
    for seed in range(60):
        new, moved = nucleus.augment(image, mask, np.random.default_rng(seed))
        assert new.shape == image.shape and new.dtype == np.uint8
        assert moved.shape == mask.shape and moved.sum() == mask.sum()
        # Also when blurred, the nucleus is brighter than the rest.
        assert new[moved[..., 0]].mean() > 2 * new[~moved[..., 0]].mean()
        seen.add(moved.tobytes())
    assert len(seen) >= 4


# ---- shapes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "weights", "steps", "epochs", "rate"),
    [
        ([], "small", 100, 10, 5e-4),
        (["--weights=none", "--steps=7", "--epochs=1"], "none", 7, 1, 5e-4),
        (["--epochs=5", "--learning-rate=0.01"], "small", 100, 5, 0.01),
    ],
)
def test_shapes_train(built, words, weights, steps, epochs, rate):
    shapes.main(["train", *words])
    assert built == [("training", "ShapesConfig", weights)]
    model = built.model
    assert model.config.STEPS_PER_EPOCH == steps
    assert model.trained == [("all", epochs, rate)]
    schedule = model.options["optimizer"]._learning_rate
    warmup = min(100, steps * epochs // 4)
    assert float(schedule(warmup)) == pytest.approx(rate)
    assert float(schedule(steps * epochs)) == pytest.approx(rate / 1000)
    assert [d.num_images for d in model.datasets] == [500, 50]
    assert (model.datasets[0].load_image(0) != model.datasets[1].load_image(0)).any()


def test_shapes_evaluate_and_detect(built, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(shapes, "COUNTS", {"test": 3})
    truth = shapes.load("test", shapes.ShapesConfig())
    known = {truth.load_image(i).tobytes(): truth.load_mask(i) for i in truth.image_ids}

    def find(self, images, verbose=0):
        found = [known[image.tobytes()] for image in images]
        return [result(masks, ids, np.full(len(ids), 0.5)) for masks, ids in found]

    monkeypatch.setattr(FakeModel, "detect", find)
    assert shapes.evaluate(FakeModel(shapes.InferenceConfig())).mask.AP == pytest.approx(1)
    shapes.main(["detect", f"--output={tmp_path}", "--count=2"])
    assert built == [("inference", "InferenceConfig", "last")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000.png", "0001.png"]
    assert cv2.imread(str(tmp_path / "0000.png")).shape == (4 * 128, 4 * 128, 3)
    name = truth.class_names[truth.load_mask(0)[1][0]]
    assert f"{name} 0.50" in capsys.readouterr().out


# ---- with the real network -----------------------------------------------------------------


@pytest.mark.slow
def test_balloon_trains_resumes_and_splashes(balloons, monkeypatch, capsys, run_eagerly):  # noqa: F811
    monkeypatch.chdir(balloons)
    for name, value in {
        "BACKBONE": "squeezenet",
        "IMAGE_MIN_DIM": 64,
        "IMAGE_MAX_DIM": 64,
        "IMAGES_PER_GPU": 1,
        "STEPS_PER_EPOCH": 1,
        "VALIDATION_STEPS": 1,
        "POST_NMS_ROIS_TRAINING": 20,
        "TRAIN_ROIS_PER_IMAGE": 8,
    }.items():
        monkeypatch.setattr(balloon.BalloonConfig, name, value)
    monkeypatch.setattr(balloon, "EPOCHS", 1)
    train = ["train", "--dataset=.", "--logs=logs"]
    balloon.main([*train, "--weights=none"])
    monkeypatch.setattr(balloon, "EPOCHS", 2)
    balloon.main([*train, "--weights=last"])
    (folder,) = (balloons / "logs").iterdir()
    assert sorted(path.name for path in folder.glob("*.h5")) == [
        "mask_rcnn_balloon_0001.h5",
        "mask_rcnn_balloon_0002.h5",
    ]
    balloon.main(["splash", "--weights=last", "--logs=logs", "--image=val/val.png"])
    (path,) = balloons.glob("splash_*.png")
    assert cv2.imread(str(path)).shape == (10, 12, 3)


def test_each_sample_says_how_to_use_it():
    for name, module in MODULES.items():
        assert f"python3 {name}.py train" in module.__doc__
        assert importlib.import_module(f"samples.{name}.{name}") is module
        assert os.path.samefile(module.ROOT_DIR, ROOT)
