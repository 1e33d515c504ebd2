"""`mrcnn check` on small made-up datasets."""

import json

import cv2
import numpy as np
import pytest


def write_image(path, seed=0, height=30, width=40):
    path.parent.mkdir(parents=True, exist_ok=True)
    color = np.random.default_rng(seed).integers(0, 255, 3)
    cv2.imwrite(str(path), np.broadcast_to(color, (height, width, 3)).astype(np.uint8))


def write_labelme(path, label="cat", points=((5, 5), (25, 5), (5, 20)), image=None):
    shape = {"label": label, "points": [list(p) for p in points], "shape_type": "polygon"}
    content = {"shapes": [shape] if points else [], "imagePath": image or f"{path.stem}.png"}
    path.write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path):
    """A LabelMe dataset of four different images."""
    place = tmp_path / "data"
    for number, name in enumerate("abcd"):
        write_image(place / f"{name}.png", number)
        write_labelme(place / f"{name}.json")
    return place


@pytest.fixture
def parts(tmp_path):
    """A LabelMe dataset with two images to train on and one to validate on."""
    place = tmp_path / "data"
    for number, name in enumerate(["train/a", "train/b", "val/c"]):
        write_image(place / f"{name}.png", number)
        write_labelme(place / f"{name}.json")
    return place


def test_what_is_printed_without_findings(run, folder):
    code, out, err = run("check", folder)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        str(folder),
        "4 images, 0 without instances; 4 instances",
        "class  instances  images",
        "cat            4       4",
        "",
        "4 of 4 images checked, 4 instances: no problem",
        "Anchors 20, 40, 80, 160, 160 at 512x512: those of the detector in the weights, which must "
        "stay. It finds boxes of any shape; the line Layers of a training says how many of the "
        "objects it proposes",
        "",
    ]


def test_inspect_is_another_name(run, folder):
    assert run("inspect", folder) == run("check", folder)
    assert "inspect" not in run("--help")[1]


def test_a_broken_annotation_file_is_one_finding(run, folder):
    (folder / "b.json").write_text('{"shapes": [')
    code, out, err = run("check", folder)
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[1] == "3 of 3 images checked, 3 instances: 1 error"
    assert "b.json: not valid JSON" in lines[2] and lines[2].endswith("[broken_file]")
    # Counts that may mislead follow their cause.
    assert lines[3] == "What could be read: 3 images, 0 without instances; 3 instances"
    assert "1 image file in" in out and "is not in the dataset: b.png" in out


@pytest.mark.parametrize("name", ["b.png", "b.jpg"])
@pytest.mark.parametrize("options", [[], ["--decode"]], ids=["headers", "decode"])
def test_a_broken_image_is_one_finding(run, folder, name, options):
    write_image(folder / name, 1)
    write_labelme(folder / "b.json", image=name)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    code, out, _ = run("check", folder, *options)
    assert code == 1
    assert "4 of 4 images checked, 4 instances: 1 error" in out
    assert f"error: {folder / name}: it is not an image that can be decoded" in out


def test_near_equal_class_names(run, folder):
    write_labelme(folder / "a.json", "motorbike")
    write_labelme(folder / "b.json", "Motorbike")
    write_labelme(folder / "c.json", "motorbikes")
    code, out, _ = run("check", folder)
    assert code == 0
    assert "warning: the classes 'Motorbike' and 'motorbike' may be one: they differ by case" in out
    assert "'motorbike' and 'motorbikes' may be one: they differ by plural" in out


def test_images_without_annotation(run, folder):
    write_image(folder / "lone.png", 9)
    write_labelme(folder / "a.json", points=())
    code, out, _ = run("check", folder)
    assert code == 0
    assert "4 images, 1 without instances; 3 instances" in out
    assert f"note: {folder / 'a.png'}: no object [negative]" in out
    assert f"{folder} as a whole: 1 note" in out
    assert (
        f"note: 1 image file in {folder} has no annotation and is not in the dataset: lone.png "
        "[unannotated_files]"
    ) in out


def test_chosen_classes_leave_other_images_unmentioned(run, folder):
    write_image(folder / "lone.png", 9)
    assert "lone.png" not in run("check", folder, "--classes", "cat")[1]


def test_copies_in_a_part_and_between_parts(run, parts, tmp_path):
    for copy in ("train/b.png", "val/c.png"):
        (parts / copy).write_bytes((parts / "train/a.png").read_bytes())
    code, out, _ = run("check", parts, "--json", tmp_path / "found.json")
    assert code == 0
    a, b, c = (parts / name for name in ("train/a.png", "train/b.png", "val/c.png"))
    assert f"warning: 1 image is a copy of another: {b} = {a} [same_content]" in out
    assert f"{parts} as a whole: 1 warning" in out
    assert f"warning: 1 image of val is also in train: {c} = {b} [shared_between_parts]" in out
    found = json.loads((tmp_path / "found.json").read_text())
    assert list(found) == ["train", "val", "whole dataset"]
    assert [p["kind"] for p in found["whole dataset"]["problems"]] == ["shared_between_parts"]
    assert "as a whole" not in run("check", parts, "--subset", "train")[1]


def test_a_part_whose_only_file_is_broken(run, parts):
    (parts / "val" / "c.json").write_text('{"shapes": [{"label": "cat"}], "imagePath": ""}')
    code, out, err = run("check", parts)
    assert (code, err) == (1, "")
    # The classes of all parts are read with each.
    assert f"{parts} (train)\n2 of 2 images checked, 2 instances: 1 error" in out
    rest = "no image: 1 error\n  1 more listed above, with another part\n\n"
    assert out.endswith(f"{parts} (val)\n{rest}")


def test_the_same_images_as_another_part(run, tmp_path):
    for number in range(2):
        image = tmp_path / "stage1_train" / f"id{number}" / "images" / f"id{number}.png"
        write_image(image, number)
        mask = image.parent.parent / "masks" / "m.png"
        mask.parent.mkdir()
        cv2.imwrite(str(mask), cv2.circle(np.zeros((30, 40), np.uint8), (20, 15), 9, 255, -1))
    code, out, _ = run("check", tmp_path, "--json", tmp_path / "found.json")
    assert code == 0
    assert out.endswith(f"{tmp_path} (stage1_train)\nthe same images as train\n\n")
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["stage1_train"] == {"same_images_as": ["train"]}


def test_an_error_in_an_option_is_reported_once(run, parts):
    code, out, err = run("check", parts, "--option", "nope=1")
    assert (code, out) == (2, "")
    assert err.count("--option is 'nope=1'") == 1


def test_what_readers_log_is_not_printed_beside_the_finding(run, folder, caplog):
    write_labelme(folder / "a.json", points=((1, 1), (2, 2)))
    _, out, err = run("check", folder)
    assert out.count("1 annotation left out") == 1 and err == ""
    assert caplog.text == ""


ANCHORS = [
    ([], "Anchors 20, 40, 80, 160, 160 at 512x512: those of the detector in the weights, which"),
    (["--image-size", 128], "Anchors 20, 40, 80, 160, 160 at 128x128"),
    (["--config", "settings.json"], "Anchors 8, 16, 32, 64, 128 at 256x256"),
    (["--config", "settings.json", "--image-size", 64], "Anchors 8, 16, 32, 64, 128 at 64x64"),
    (
        ["--weights", "coco"],
        "Anchors 32, 64, 128, 256, 512 at 1024x1024: good. These boxes, from which detection "
        "starts, fit 4 of 4 objects (100%) by an IoU of 0.5 or more; median 0.71",
    ),
    (["--weights", "small"], "Anchors 20, 40, 80, 160, 160 at 512x512"),
]


@pytest.mark.parametrize(("options", "text"), ANCHORS)
def test_anchors_of_a_configuration(run, folder, tmp_path, monkeypatch, options, text):
    monkeypatch.chdir(tmp_path)
    settings = {
        "IMAGE_MIN_DIM": 256,
        "IMAGE_MAX_DIM": 256,
        "RPN_ANCHOR_SCALES": [8, 16, 32, 64, 128],
    }
    (tmp_path / "settings.json").write_text(json.dumps({"config": settings}))
    code, out, err = run("check", folder, *options)
    assert (code, err) == (0, "")
    assert text in out


def test_better_scales_are_proposed(run, folder, tmp_path):
    options = ("--weights", "coco", "--image-size", 64, "--json", tmp_path / "found.json")
    code, out, _ = run("check", folder, *options)
    assert code == 0
    assert "with no anchor" not in out  # 32 x 24 pixels fit an anchor of 32
    for name in "abcd":
        write_labelme(folder / f"{name}.json", points=((5, 5), (12, 5), (12, 12), (5, 12)))
    code, out, _ = run("check", folder, *options)
    assert code == 0
    assert "warning: 4 of 4 objects (100%) have an IoU of 0.5 with no anchor; RPN_ANCHOR" in out
    anchors = json.loads((tmp_path / "found.json").read_text())["all"]["anchors"]
    assert anchors["num_objects"] == anchors["num_below"] == 4
    assert anchors["num_below_proposed"] == 0
    assert isinstance(anchors["median_overlap"], float)
    assert all(isinstance(scale, int) for scale in anchors["proposed_scales"])


def test_scales_of_a_detector_stay(run, folder, tmp_path):
    for name in "abcd":
        write_labelme(folder / f"{name}.json", points=((5, 5), (8, 5), (8, 60), (5, 60)))
    found = tmp_path / "found.json"
    _, out, _ = run("check", folder, "--json", found, "--weights", "coco", "--image-size", 64)
    assert "have an IoU of 0.5 with no anchor" in out
    code, out, _ = run("check", folder, "--json", found)
    assert code == 0 and "no anchor" not in out and "RPN_ANCHOR_SCALES" not in out
    anchors = json.loads(found.read_text())["all"]["anchors"]
    assert anchors["are_fixed"] and anchors["proposed_scales"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--image-size", 100], "--image-size is 100; it must be a multiple of 64"),
        (["--config", "absent.json"], "absent.json"),
        (["--weights", "absent.h5"], "absent.h5"),
        (["--images", "data/a.png"], "--images is data/a.png, which is a file"),
        (["--limit", 0], "--limit"),
    ],
)
def test_options_that_are_refused(run, folder, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("check", folder, *options)
    assert (code, out) == (2, "")
    assert message in err


def test_drawn_annotations(run, folder, tmp_path):
    write_labelme(folder / "c.json", points=())
    code, out, _ = run("check", folder, "--images", tmp_path / "drawn", "--limit", 3)
    assert code == 0
    assert f"3 images drawn in {tmp_path / 'drawn'}; those with findings come first: 1" in out
    drawn = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert drawn == ["1_c.jpg", "2_a.jpg", "3_b.jpg"]
    image = cv2.imread(str(folder / "a.png"))
    result = cv2.imread(str(tmp_path / "drawn" / "2_a.jpg"))
    assert result.shape == image.shape
    changed = np.abs(result.astype(int) - image).mean(axis=2)
    assert changed[8:14, 7:14].mean() > changed[22:, 28:].mean() + 10  # inside the object
    same = cv2.imread(str(tmp_path / "drawn" / "1_c.jpg"))
    assert np.abs(same.astype(int) - cv2.imread(str(folder / "c.png"))).max() <= 3


def test_each_part_is_drawn_into_a_folder(run, parts, tmp_path):
    (parts / "train" / "b.png").write_bytes(b"no image")
    code, out, _ = run("check", parts, "--images", tmp_path / "drawn")
    assert code == 1
    drawn = sorted(p.relative_to(tmp_path).as_posix() for p in (tmp_path / "drawn").rglob("*.jpg"))
    assert drawn == ["drawn/train/2_a.jpg", "drawn/val/1_c.jpg"]
    assert f"1 image drawn in {tmp_path / 'drawn' / 'train'}" in out


def test_images_without_a_file_are_drawn(run, tmp_path):
    code, _, _ = run("check", 3, "--format", "shapes", "--images", tmp_path / "drawn")
    assert code == 0
    assert len(list((tmp_path / "drawn").iterdir())) == 3
