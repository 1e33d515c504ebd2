"""Options of readers on the command line, class tables and datasets without anything to learn."""

import json

import cv2
import numpy as np
import pytest

from mrcnn.cli.data import parse_options, reader_options
from mrcnn.datasets import READERS

OUTLINE = {"name": "polygon", "all_points_x": [5, 25, 25, 5], "all_points_y": [5, 5, 20, 20]}


def via_file(folder, attributes):
    """A VIA dataset of one image with a region for each dict of attributes."""
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "a.png"), np.full((30, 40, 3), 90, np.uint8))
    regions = [{"shape_attributes": OUTLINE, "region_attributes": a} for a in attributes]
    content = {"a.png1": {"filename": "a.png", "size": 1, "regions": regions}}
    (folder / "via_region_data.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("format", "words", "expected"),
    [
        ("via", ["attribute=kind", "class-name=x=y"], {"attribute": "kind", "class_name": "x=y"}),
        ("via", ["attribute=7"], {"attribute": "7"}),
        ("masks", ["mode=binary", "image_dir=a b"], {"mode": "binary", "image_dir": "a b"}),
        ("coco", ["image_dir=photos"], {"image_dir": "photos"}),
        ("shapes", ["height=64", "width=128", "seed=3"], {"height": 64, "width": 128, "seed": 3}),
        ("voc", ["skip_difficult=True", "one_based=false"], None),
        ("yolo", ["names=cat, dog"], {"names": ["cat", "dog"]}),
    ],
)
def test_parse_options(format, words, expected):
    expected = expected or {"skip_difficult": True, "one_based": False}
    assert parse_options(format, words) == expected


@pytest.mark.parametrize(
    ("format", "word", "rule"),
    [
        ("via", "color=red", "an option of the format via: class_name, attribute"),
        ("via", "attribute", "must be name=value"),
        ("via", "classes=cat", "must be name=value"),
        ("shapes", "height=tall", "its value must be of type int"),
    ],
)
def test_wrong_options(format, word, rule):
    with pytest.raises(ValueError, match=rule) as error:
        parse_options(format, [word])
    assert f"--option is {word!r}; " in str(error.value)


def test_every_reader_tells_its_options():
    for format in READERS:
        assert not {"path", "subset", "classes", "self", "cls"} & set(reader_options(format))


def test_options_reach_check_train_and_evaluate(run, fake_model, weights, tmp_path):
    data = via_file(tmp_path / "via", [{"kind": "cat", "size": "big"}])
    option = ("--option", "attribute=kind")
    code, out, _ = run("check", data)
    assert code == 1 and "name the one that holds the class with the option attribute" in out
    code, out, _ = run("check", data, *option)
    assert code == 0 and "cat" in out
    code, out, _ = run("evaluate", data, "--weights", weights, *option)
    assert code == 0 and "1 image" in out
    code, out, _ = run("train", data, "--weights", "none", "--output", tmp_path / "logs", *option)
    assert code == 0 and "classes: cat" in out
    code, _, err = run("check", data, "--option", "color=red")
    assert code == 2 and "--option is 'color=red'; it must be name=value" in err


def test_a_broken_part_does_not_end_check(run, tmp_path, monkeypatch):
    from mrcnn.cli import data

    for part in ("train", "val"):
        via_file(tmp_path / "data" / part, [{"kind": "cat"}])
    open_data = data.open_data

    def fails_on_train(path, format, subset, *args, **options):
        if subset == "train":
            raise ValueError("via_region_data.json: not valid JSON")
        return open_data(path, format, subset, *args, **options)

    monkeypatch.setattr(data, "open_data", fails_on_train)
    findings = tmp_path / "findings.json"
    code, out, err = run("check", tmp_path / "data", "--json", findings)
    assert (code, err) == (1, "")
    assert "(train)\nerror: via_region_data.json: not valid JSON\n" in out
    assert "(val)\n1 image" in out
    content = json.loads(findings.read_text())
    assert content["train"] == {"error": "via_region_data.json: not valid JSON"}
    assert content["val"]["check"]["ok"] is True
    code, _, err = run("check", tmp_path / "data", "--subset", "train")
    assert (code, err) == (2, "mrcnn: error: via_region_data.json: not valid JSON\n")


def test_check_asks_the_reader_to_go_on_after_a_broken_file(run, tmp_path, monkeypatch):
    from mrcnn.datasets.via import ViaDataset

    data = via_file(tmp_path / "via", [{"kind": "cat"}])
    seen = []

    class Reader(ViaDataset):
        @classmethod
        def from_path(cls, path, subset=None, classes=None, keep_going=False, **options):
            seen.append(keep_going)
            return ViaDataset.from_path(path, subset, classes, **options)

    monkeypatch.setattr("mrcnn.datasets.registry.load_reader", lambda format: Reader)
    assert run("check", data)[0] == 0
    assert seen == [True]


def test_train_refuses_other_classes_in_validation(run, fake_model, weights, tmp_path):
    train = via_file(tmp_path / "one", [{"kind": "cat"}, {"kind": "dog"}])
    val = via_file(tmp_path / "two", [{"kind": "cat"}, {"kind": "owl"}])
    words = ("train", train, "--weights", "none", "--output", tmp_path / "logs")
    code, _, err = run(*words, "--val", val)
    assert code == 2
    assert "validation dataset are 1 cat, 2 owl; they must be those of the training" in err
    assert "1 cat, 2 dog" in err
    assert fake_model.built == []
    part = via_file(tmp_path / "three", [{"kind": "dog"}])
    assert run(*words, "--val", part)[0] == 0
    assert fake_model.built[0].trained[0][1].class_names == ["BG", "cat", "dog"]
    code, _, _ = run(*words, "--val", val, "--classes", "cat")
    assert code == 0


def crowd_file(folder, flags):
    """A COCO dataset of one image with an annotation for each value of `iscrowd`."""
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.full((48, 64, 3), 90, np.uint8))
    annotation = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 30, 20], "area": 600}
    annotation["segmentation"] = {"counts": [490, 20, 28, 20, 2514], "size": [48, 64]}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": [{**annotation, "id": n, "iscrowd": f} for n, f in enumerate(flags, 1)],
        "categories": [{"id": 1, "name": "cow"}],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([1], "no instance to learn from: 1 of 1 are crowds"),
        ([1, 1, 1], "no instance to learn from: 3 of 3 are crowds"),
        ([], "no instance to learn from: none of 1 image has one"),
        ([1, 0], None),
    ],
)
def test_train_needs_an_instance_to_learn_from(run, fake_model, weights, tmp_path, flags, message):
    data = crowd_file(tmp_path / "coco", flags)
    words = ("train", data, "--weights", weights, "--output", tmp_path / "logs")
    code, _, err = run(*words)
    if message is None:
        assert (code, err) == (0, "")
        return
    assert code == 2 and message in err
    assert fake_model.built == []
