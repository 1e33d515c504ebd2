"""The motorcycle sample: its datasets, its splash, its command line."""

import argparse
import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mrcnn.checkpoints.coco_names import COCO_CLASS_NAMES
from mrcnn.datasets.open_images import tables
from mrcnn.datasets.open_images.download import download_open_images
from mrcnn.evaluation.instances import SingleObjectReport, SingleObjectScores
from mrcnn.refinement import MaskPair, Recipe, Refiner
from tests.datasets.open_images.fake_site import IMAGES, jpeg, make_site, png
from tests.local_server import LocalServer


@pytest.fixture(scope="module")
def sample():
    path = Path(__file__).parents[2] / "samples/motorcycle/motorcycle.py"
    spec = importlib.util.spec_from_file_location("motorcycle", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def crops(tmp_path):
    """The layout of images with one motorcycle each."""
    for subset, masks in (("train", "correct_masks"), ("val", "masks")):
        for folder in ("images", masks):
            (tmp_path / subset / folder).mkdir(parents=True)
        for name in ("t_1", "v_2"):
            mask = np.zeros((8, 10))
            mask[2:5, 3:9] = 1
            (tmp_path / subset / "images" / f"{name}_image.jpg").write_bytes(jpeg(8, 10, 0))
            (tmp_path / subset / masks / f"{name}_mask.png").write_bytes(png(mask))
    return tmp_path


@pytest.fixture(scope="module")
def open_images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open_images")
    with LocalServer(make_site()) as server:
        download_open_images(
            folder,
            ["Motorcycle", "Car"],
            ["validation", "test"],
            base_url=server.url(),
            image_base_url=server.url(IMAGES),
        )
    return folder


CLASS_NAMES = pytest.mark.parametrize(
    "names, number",
    [(COCO_CLASS_NAMES, 4), (["BG", "motorcycle"], 1), (["BG", "balloon", "motorcycle"], 2)],
    ids=["coco", "alone", "of the weights"],
)


@CLASS_NAMES
def test_crops(sample, crops, names, number):
    for subset in ("train", "val"):
        dataset = sample.MotorcycleDataset()
        dataset.load_motorcycle(crops, subset, names)
        assert (dataset.num_images, dataset.class_names) == (2, list(names))
        assert dataset.class_names[number] == "motorcycle"
        masks, class_ids = dataset.load_mask(1)
        assert masks.shape == (8, 10, 1) and masks.sum() == 18
        assert class_ids.tolist() == dataset.image_class_ids(1).tolist() == [number]
        # As in the study, all classes are trained.
        assert dataset.source_class_ids["motorcycle"] == list(range(len(names)))


@CLASS_NAMES
def test_open_images(sample, open_images, names, number):
    for subset in ("train", "val"):
        dataset = sample.MotorcycleDataset()
        dataset.load_motorcycle(open_images, subset, names)
        assert dataset.num_images > 3 and dataset.class_names == list(names)
        masks, class_ids = dataset.load_mask(0)
        assert set(class_ids.tolist()) == {number} and masks.shape[2] == len(class_ids)
        assert dataset.image_info[0]["split"] == {"train": "test", "val": "validation"}[subset]
        # Cars in these images have no mask here: their class must not be taught as absent.
        assert dataset.source_class_ids["open_images"] == [0, number]


def test_open_images_without_the_split(sample, tmp_path):
    (tmp_path / Path(tables.MASK_TABLES["validation"]).name).write_text("MaskPath\n")
    assert sample.split_of(tmp_path, "val") == "validation"
    with pytest.raises(ValueError, match="train or test"):
        sample.split_of(tmp_path, "train")


def test_study_recipe(sample):
    config = sample.MotorcycleConfig()
    config.validate()
    assert (config.NUM_CLASSES, config.BATCH_SIZE, config.STEPS_PER_EPOCH) == (81, 2, 100)
    assert (config.DETECTION_MIN_CONFIDENCE, config.BACKBONE) == (0.9, "resnet101")
    assert config.IMAGE_SHAPE.tolist() == [1024, 1024, 3]
    assert sample.RECIPES["study"] == ([("heads", 3, 0.001)], False)
    assert sample.RECIPES["small"] == ([("roi_heads", 3, 0.001)], True)


def test_augmentation_moves_masks_with_the_image(sample):
    image = np.full((4, 6, 3), 100, np.uint8)
    image[:, 0] = 200
    mask = (image[..., :1] == 200).copy()
    flipped = 0
    for seed in range(20):
        new, moved = sample.augment(image, mask, np.random.default_rng(seed))
        assert new.dtype == np.uint8 and new.shape == image.shape and moved.shape == mask.shape
        assert new[moved[..., 0]].min() > new[~moved[..., 0]].max()
        flipped += bool(moved[0, -1, 0])
    assert 0 < flipped < 20


def test_color_splash(sample):
    image = np.zeros((2, 2, 3), np.uint8)
    image[...] = 250, 100, 0
    masks = np.zeros((2, 2, 2), bool)
    masks[0, 0, 0] = masks[1, 1, 1] = True
    gray = [int(0.2125 * 250 + 0.7154 * 100)] * 3
    assert sample.color_splash(image, masks).tolist() == [
        [[250, 100, 0], gray],
        [gray, [250, 100, 0]],
    ]
    assert (sample.color_splash(image, masks[..., :0]) == gray[0]).all()


class FakeModel:
    """Finds a motorcycle (4) in the upper half and a car (3) in the lower one."""

    def __init__(self, config=None):
        self.config, self.calls = config, []

    def train(self, train_dataset, val_dataset, learning_rate, epochs, layers, augmentation):
        self.calls.append((layers, epochs, learning_rate, augmentation))

    def set_log_dir(self):
        self.calls.append("new log dir")

    def detect(self, images, verbose=0, mask_probabilities=False, refiner=None):
        height, width = images[0].shape[:2]
        masks = np.zeros((height, width, 2), bool)
        masks[: height // 2, :, 0] = masks[height // 2 :, :, 1] = True
        boxes = np.array([[0, 0, height // 2, width], [height // 2, 0, height, width]], np.int32)
        result = {
            "rois": boxes,
            "class_ids": np.array([4, 3]),
            "scores": np.ones(2),
            "masks": masks,
        }
        if refiner is not None:
            result["masks"] = refiner.refine(images[0], masks * np.float32(1)) >= 0.5
        return [result | ({"mask_probs": masks * np.float32(1)} if mask_probabilities else {})]


ROW = {"name": "a", "before": 0.5, "after": 0.75}


class LowerHalf:
    """Stands in for a refiner: every mask becomes the lower half of the image."""

    def refine(self, image, mask_probs):
        refined = np.zeros_like(mask_probs)
        refined[image.shape[0] // 2 :] = 1
        return refined


@pytest.fixture
def fake_model(sample, monkeypatch, tmp_path):
    """Builds the fake instead of a model; yields the working directory."""

    def start_model(mode, config, weights, logs, follow, names):
        assert len(names) == config.NUM_CLASSES
        assert "IMAGE_MAX_DIM" in follow and "BACKBONE" in follow
        config.validate()
        built.append((mode, weights, FakeModel(config)))
        return built[-1][2]

    built = []
    monkeypatch.setattr(sample, "start_model", start_model)
    monkeypatch.setattr(FakeModel, "built", built, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "known, keep, mode, names",
    [
        (COCO_CLASS_NAMES, None, "training", list(COCO_CLASS_NAMES)),
        (COCO_CLASS_NAMES, False, "training", ["BG", "motorcycle"]),
        (COCO_CLASS_NAMES, False, "inference", list(COCO_CLASS_NAMES)),
        (["BG", "motorcycle", "person"], None, "training", ["BG", "motorcycle", "person"]),
        (["BG", "balloon"], None, "training", ["BG", "motorcycle"]),
        (["BG", "balloon"], True, "training", None),
        (["BG", "balloon"], None, "inference", None),
        (None, None, "training", ["BG", "motorcycle"]),
        (None, True, "training", list(COCO_CLASS_NAMES)),
        (None, None, "inference", None),
    ],
)
def test_classes_are_kept_or_replaced(sample, fake_model, monkeypatch, known, keep, mode, names):
    monkeypatch.setattr(
        sample, "weights_class_names", lambda *words: None if known is None else list(known)
    )
    args = argparse.Namespace(
        weights="w.h5", logs="logs", keep_classes=keep, steps=5, min_confidence=0.5
    )
    if names is None:
        with pytest.raises(ValueError, match="'motorcycle' must be one of them"):
            sample.build_model(mode, args)
        return
    model, found = sample.build_model(mode, args)
    assert (list(found), model.config.NUM_CLASSES) == (names, len(names))
    assert (model.config.STEPS_PER_EPOCH, model.config.DETECTION_MIN_CONFIDENCE) == (5, 0.5)
    assert model.config.VALIDATION_STEPS == 5
    assert model.config.BATCH_SIZE == (2 if mode == "training" else 1)


@pytest.mark.parametrize("channels", [3, 4, 1])
def test_splash_of_an_image(sample, fake_model, channels, capsys):
    image = np.random.default_rng(0).integers(0, 256, (8, 6, channels), np.uint8)
    cv2.imwrite("in.png", image)
    sample.main(["splash", "--image", "in.png"])
    (path,) = fake_model.glob("splash_*.png")
    written = cv2.imread(str(path))
    expected = np.repeat(image, 3, axis=-1) if channels == 1 else image[..., :3]
    assert np.array_equal(written[:4], expected[:4])
    assert (written[4:] == written[4:, :, :1]).all()
    assert "1 motorcycles" in capsys.readouterr().out


def test_splash_of_a_video(sample, fake_model, capsys):
    writer = cv2.VideoWriter("in.avi", cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 24))
    for _ in range(3):
        writer.write(np.full((24, 32, 3), (200, 50, 50), np.uint8))
    writer.release()
    sample.main(["splash", "--video", "in.avi"])
    (path,) = fake_model.glob("splash_*.avi")
    frame = cv2.VideoCapture(str(path)).read()[1].astype(int)
    assert frame.shape == (24, 32, 3)
    assert np.ptp(frame[:10].mean(axis=(0, 1))) > 100 and np.ptp(frame[14:].mean(axis=(0, 1))) < 12
    assert "3 frames" in capsys.readouterr().out


def test_video_that_is_none(sample, fake_model):
    with pytest.raises(ValueError, match="a file that OpenCV can open"):
        sample.main(["splash", "--video", "missing.avi"])


def test_refined_masks_are_those_of_the_motorcycles(sample):
    image = np.zeros((8, 6, 3), np.uint8)
    masks = sample.motorcycle_masks(FakeModel(), 4, image, LowerHalf())
    assert masks.shape == (8, 6, 1) and masks[4:].all() and not masks[:4].any()


def test_train_on_crops(sample, fake_model, crops):
    sample.main(["train", "--dataset", str(crops), "--recipe", "better", "--steps", "3"])
    mode, weights, model = FakeModel.built[0]
    assert (mode, weights, model.config.STEPS_PER_EPOCH) == ("training", "coco", 3)
    assert model.calls == [
        "new log dir",
        ("heads", 4, 0.001, sample.augment),
        ("4+", 12, 0.0002, sample.augment),
    ]


def test_evaluate_on_crops(sample, fake_model, crops, monkeypatch, capsys):
    monkeypatch.setattr(sample.refinement, "open_refiner", lambda refiner: LowerHalf())
    # The true 3 x 6 shares 2 x 6 with the upper half of 8 x 10 pixels, 1 x 6 with the lower.
    for words, shared in (([], 12), (["--refiner", "any"], 6)):
        sample.main(["evaluate", "--dataset", str(crops), *words])
        assert f"{shared / (40 + 18 - shared):.4f}" in capsys.readouterr().out


def test_table(sample, fake_model, crops, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(
        sample.refinement, "open_refiner", lambda refiner: opened.append(refiner) or LowerHalf()
    )
    sample.main(
        ["table", "--dataset", str(crops), "--tuned", "coco", "--logs", "logs", "--json", "t.json"]
    )
    # Without one trained in the logs, the package's refiner; the two weights are one model here.
    assert opened == ["general"] and len(FakeModel.built) == 1
    upper, lower = 12 / (40 + 18 - 12), 6 / (40 + 18 - 6)
    out = capsys.readouterr().out
    assert f"| before | 2 | 2 | {upper:.4f} | {upper:.4f} (2) |  |  |" in out
    assert f"| refined | 2 | 2 | {lower:.4f} | {lower:.4f} (2) | 0 | 2 |" in out
    content = json.loads(Path("t.json").read_text())
    assert [row["mean_iou"] for row in content["steps"]] == pytest.approx([upper, upper, lower])
    assert len(content["images"]["refined"]) == 2


def test_rows_count_images_without_a_detection_as_0(sample):
    def report(*ious):
        scores = [
            SingleObjectScores(i, iou is not None, iou or 0.0, 0.0, 0.0, 0.0, 0.0)
            for i, iou in enumerate(ious)
        ]
        return SingleObjectReport(scores)

    first, second = sample.step_rows({"a": report(0.5, None, 0.2), "b": report(0.25, 0.5, 0.2)})
    assert first == {
        "step": "a",
        "images": 3,
        "found": 2,
        "mean_iou": pytest.approx(0.7 / 3),
        "found_in_all": 2,
        "mean_iou_found_in_all": pytest.approx(0.35),
    }
    assert (second["found"], second["improved"], second["worsened"]) == (3, 1, 1)
    assert second["mean_iou_found_in_all"] == pytest.approx(0.225)


def test_refine_trains_a_refiner_and_finds_it_again(sample, fake_model, crops, monkeypatch):
    trained = []

    def train_refiner(pairs, recipe, start, verbose):
        trained.append((len(pairs), recipe, start))
        return Refiner(Recipe(patch_size=16, filters=(4, 4, 4, 4)))

    monkeypatch.setattr(sample.refinement, "train_refiner", train_refiner)
    monkeypatch.setattr(
        sample.refinement,
        "pairs_from_dataset",
        lambda data, model: [MaskPair("a", data.load_image(0), np.ones((8, 10), bool), None)],
    )
    monkeypatch.setattr(sample.refinement, "evaluate_refiner", lambda *words: [ROW])
    sample.main(["refine", "--dataset", str(crops), "--logs", "logs", "--recipe", "study"])
    assert trained == [(1, "study", None)]
    args = argparse.Namespace(logs="logs", refiner=None)
    assert sample.find_refiner(args).recipe.patch_size == 16


@pytest.mark.parametrize(
    "words, message",
    [
        (["train"], "--dataset is required"),
        (["table"], "--dataset is required"),
        (["splash"], "--image or --video is required"),
        (["refine"], "--dataset, --image or --video"),
        (["paint"], "invalid choice"),
    ],
)
def test_incomplete_commands(sample, words, message, capsys):
    with pytest.raises(SystemExit):
        sample.main(words)
    assert message in capsys.readouterr().err
