"""`mrcnn check` and `mrcnn info` on small real files."""

import json

import cv2
import h5py
import numpy as np
import pytest

from mrcnn.checkpoints import HeldOut, save_weights
from mrcnn.checkpoints.known import resolve_weights
from mrcnn.config import Config
from tests.checkpoints.fakes import FakeModel, conv, small_mask_rcnn


@pytest.fixture
def via_folder(tmp_path):
    """A VIA dataset: a training part with two images, a validation part with one."""
    for part, names in {"train": ["a", "b"], "val": ["c"]}.items():
        folder = tmp_path / "data" / part
        folder.mkdir(parents=True)
        content = {}
        for name in names:
            cv2.imwrite(str(folder / f"{name}.png"), np.full((30, 40, 3), 90, np.uint8))
            outline = {
                "name": "polygon",
                "all_points_x": [5, 25, 25, 5],
                "all_points_y": [5, 5, 20, 20],
            }
            content[name] = {
                "filename": f"{name}.png",
                "regions": {"0": {"shape_attributes": outline, "region_attributes": {}}},
            }
        (folder / "via_region_data.json").write_text(json.dumps(content))
    return tmp_path / "data"


def test_check_looks_at_every_part(run, via_folder, tmp_path):
    code, out, err = run("check", via_folder, "--json", tmp_path / "x" / "report.json")
    assert (code, err) == (0, "")
    assert f"{via_folder} (train)\n2 images" in out
    assert f"{via_folder} (val)\n1 image" in out
    findings = json.loads((tmp_path / "x" / "report.json").read_text())
    assert findings["train"]["summary"]["num_instances"] == 2
    assert findings["val"]["check"]["ok"] is True


def test_check_fails_on_errors(run, via_folder):
    (via_folder / "train" / "b.png").write_bytes(b"no image")
    code, out, _ = run("check", via_folder, "--subset", "train")
    assert code == 1
    assert "b.png" in out
    assert "(val)" not in out


@pytest.mark.parametrize("name", ["coco", "imagenet", "Balloon"])
def test_check_downloads_no_weights(run, via_folder, monkeypatch, name):
    monkeypatch.setattr("mrcnn.checkpoints.known._download", None)
    code, out, err = run("check", via_folder, "--weights", name)
    assert (code, err) == (0, "")
    assert out == run("check", via_folder, "--weights", "none")[1]


def test_check_refuses_an_unknown_part(run, via_folder):
    code, _, err = run("check", via_folder, "--subset", "test")
    assert code == 2
    assert "test" in err


def test_check_names_classes(run, via_folder):
    _, out, _ = run("check", via_folder, "--subset", "val", "--classes", "balloon")
    assert "balloon" in out


def test_info_of_a_file_that_is_no_weight_file(run, tmp_path):
    path = tmp_path / "w.h5"
    path.write_text("<html>")
    code, _, err = run("info", path)
    assert code == 2
    assert str(path) in err


def test_info_of_a_refiner_says_what_it_is(run):
    path = resolve_weights("general", kind="refiner")
    code, _, err = run("info", path)
    assert code == 2
    assert err == f"mrcnn: error: {path} is a mask refiner: it is for --refine, not for weights\n"


def test_the_name_of_a_refiner_is_no_weight_file(run):
    code, _, err = run("info", "General")
    assert code == 2
    assert "general is the name of a mask refiner" in err
    assert "use it as --refine general, together with --weights small" in err


def test_info_counts_classes_as_the_other_commands_do(run):
    _, out, _ = run("info", "small")
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert rows["classes"] == "81 and the background"


@pytest.fixture
def trained(parity_dir):
    return parity_dir / "shapes_resnet50_trained.h5"


def test_info_of_a_trained_model(run, trained):
    code, out, _ = run("info", trained)
    rows = dict(line.split(maxsplit=1) for line in out.splitlines() if "  " in line)
    assert code == 0
    assert rows["backbone"] == "resnet50"
    assert rows["classes"] == "3 and the background"
    assert rows["complete"] == "yes, it can detect"


def test_info_as_json_with_layers(run, trained):
    _, out, err = run("info", trained, "--json", "--layers")
    content = json.loads(out)
    assert err.startswith(f"mrcnn: note: {trained} does not say which settings and class names it ")
    assert err.count("\n") == 1 and err.strip().endswith(content["guess"])
    assert content["backbone"] == "resnet50"
    assert content["class_names"] == ["BG", "class 1", "class 2", "class 3"]
    assert (content["num_classes"], content["image_size"]) == (4, [1024, 1024])
    assert (content["size_bytes"], content["complete"]) == (trained.stat().st_size, True)
    with h5py.File(trained) as file:
        stored = file["conv1/conv1/kernel:0"].shape
    assert tuple(content["layers"]["conv1"]["kernel"]) == stored


def test_info_of_a_backbone(run, shared_dir):
    path = shared_dir / "weights" / "squeezenet1_1_imagenet_notop.h5"
    code, out, _ = run("info", path)
    assert code == 0
    assert "no, it can start a training" in out
    content = json.loads(run("info", path, "--json")[1])
    assert (content["complete"], content["num_classes"], content["config"]) == (False, None, None)


def test_info_of_a_file_that_describes_itself(run, tmp_path):
    config = Config()
    config.NUM_CLASSES, config.BACKBONE, config.DETECTION_MIN_CONFIDENCE = 3, "resnet50", 0.25
    config.NAME = "pets"
    record = HeldOut("data", "/x/data", None, "train", 0.2, ("a.jpg", 7, "\x1b[2J", "d", "e"))
    description = {
        "config": config.to_dict(),
        "class_names": ["BG", "cat", "dog"],
        "epoch": 12,
        "held_out": record.to_dict(),
    }
    path = tmp_path / "w.h5"
    save_weights(small_mask_rcnn(num_classes=3), path, metadata=description)
    code, out, err = run("info", path)
    assert (code, err) == (0, "")
    rows = dict(line.split("  ", 1) for line in out.splitlines())
    rows = {key: value.strip() for key, value in rows.items()}
    assert rows["class names"] == "cat, dog"
    assert rows["settings"] == "in the file"
    assert rows["minimum confidence"] == "0.25"
    assert rows["trained"] == "12 epochs"
    assert rows["held out"] == "5 images of data, part train (20%): a.jpg, 7, \\x1b[2J, d, ..."
    content = json.loads(run("info", path, "--json")[1])
    assert {key: content[key] for key in ("epoch", "held_out", "config", "guess")} == {
        "epoch": 12,
        "held_out": record.to_dict(),
        "config": config.to_dict(),
        "guess": None,
    }


def test_info_shows_what_a_network_of_another_design_says(run, tmp_path):
    description = {
        "config": {"NUM_CLASSES": 3, "BACKBONE": "mine"},
        "class_names": ["BG", "a", "b"],
    }
    path = tmp_path / "w.h5"
    save_weights(FakeModel([conv("my_conv", (3, 3, 3, 2))]), path, metadata=description)
    code, out, _ = run("info", path)
    assert code == 0
    assert "class names  a, b\n" in out and "settings     in the file\n" in out
