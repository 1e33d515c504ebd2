"""open_dataset: finding out the format."""

import pytest

from mrcnn.datasets import READERS, Dataset, find_format, open_dataset, register_reader
from mrcnn.datasets.reader import choose_subset, class_table
from tests.datasets.made_up import write_json


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("balloon", "via"),
        ("balloon/train", "via"),
        ("balloon/val/via_region_data.json", "via"),
        ("coco_tiny", "coco"),
        ("coco_tiny/annotations/instances_val2017.json", "coco"),
        ("coco128_seg", "yolo"),
        ("kangaroo", "voc"),
        ("motorcycles", "masks"),
        ("motorcycles/val", "masks"),
        ("nucleus", "nucleus"),
        ("nucleus/stage1_train", "nucleus"),
        ("penn_fudan", "masks"),
    ],
)
def test_formats_of_real_data(data_dir, path, expected):
    assert find_format(data_dir / path) == expected


def test_pictures_alone_are_no_data_set(data_dir):
    with pytest.raises(ValueError, match="no known format was recognized") as error:
        find_format(data_dir / "matterport_images")
    for name in READERS:
        if name != "shapes":
            assert f"  {name}: " in str(error.value)
    assert "via_region_data.json" in str(error.value)


def test_refusals(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        open_dataset(tmp_path / "gone")
    with pytest.raises(ValueError, match="format is 'kitti'"):
        open_dataset(tmp_path, format="kitti")
    with pytest.raises(ValueError, match="no known format"):
        open_dataset(tmp_path)
    write_json(tmp_path / "notes.json", {"a": 1})
    with pytest.raises(ValueError, match="no known format"):
        open_dataset(tmp_path)
    for name in READERS:
        if name not in ("shapes",):
            with pytest.raises((ValueError, FileNotFoundError), match=str(tmp_path)):
                open_dataset(tmp_path, format=name)


def test_own_reader(tmp_path, monkeypatch):
    monkeypatch.setattr("mrcnn.datasets.registry.READERS", dict(READERS))
    register_reader("mine", f"{__name__}:MyReader")
    assert find_format(tmp_path) == "mine"
    assert open_dataset(tmp_path).class_names == ["BG", "thing"]
    with pytest.raises(ValueError, match="location is"):
        register_reader("other", "no_colon")


class MyReader(Dataset):
    looks_for = "anything"

    @classmethod
    def recognises(cls, path):
        return True

    @classmethod
    def from_path(cls, path, subset=None, classes=None):
        dataset = cls()
        dataset.add_class("mine", 1, "thing")
        dataset.prepare()
        return dataset


@pytest.mark.parametrize(
    ("subset", "available", "expected"),
    [
        (None, [], None),
        (None, ["train2017"], "train2017"),
        ("train", ["train", "train_extra"], "train"),
        ("train", ["train2017", "val2017"], "train2017"),
        ("train", ["train_extra", "training"], "training"),
        ("val", ["train", "valid"], "valid"),
        ("validation", ["train", "val"], "val"),
        ("night", ["day", "night"], "night"),
    ],
)
def test_choose_subset(tmp_path, subset, available, expected):
    assert choose_subset(tmp_path, subset, available) == expected


@pytest.mark.parametrize(
    ("subset", "available", "message"),
    [
        (None, ["a", "b"], "subset is None: .* has a, b"),
        ("train", [], "has no subset"),
        ("train", ["train_extra"], "subset is 'train'"),
        ("train", ["train2014", "train2017"], "subset is 'train'"),
    ],
)
def test_choose_subset_refuses(tmp_path, subset, available, message):
    with pytest.raises(ValueError, match=message):
        choose_subset(tmp_path, subset, available)


@pytest.mark.parametrize(
    ("found", "classes", "expected"),
    [
        (["dog", "cat", "dog"], None, {"cat": 1, "dog": 2}),
        (["dog", "cat"], ["dog"], {"dog": 1}),
        (["dog"], ["cat", "dog"], {"cat": 1, "dog": 2}),
        ([], ["cat"], {"cat": 1}),
        (["dog"], "dog", {"dog": 1}),
    ],
)
def test_class_table(found, classes, expected):
    assert class_table(found, classes, "here") == expected


@pytest.mark.parametrize("classes", [[], ["cat", "cat"], ["cow"]])
def test_class_table_refuses(classes):
    with pytest.raises(ValueError, match="classes is"):
        class_table(["cat"], classes, "here")
