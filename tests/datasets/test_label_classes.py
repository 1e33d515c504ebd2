"""Folders of label images: found by themselves, and what their numbers mean."""

import cv2
import numpy as np
import pytest

from mrcnn.datasets import find_format, load_label_map, open_dataset
from mrcnn.datasets.label_classes import CLASS_FILES, read_class_file
from mrcnn.datasets.parts import subsets_of
from mrcnn.datasets.semantic import CAMVID_CLASSES
from mrcnn.training.parts import open_parts


def fill(folder, images, labels, values=(0, 1, 255), count=1, ending=""):
    """Write pairs of images and label images into two sub-folders."""
    for place in (images, labels):
        (folder / place).mkdir(parents=True, exist_ok=True)
    pixels = np.resize(np.array(values, np.uint8), (6, 8))
    for number in range(count):
        cv2.imwrite(str(folder / images / f"{number}.png"), np.zeros((6, 8, 3), np.uint8))
        cv2.imwrite(str(folder / labels / f"{number}{ending}.png"), pixels)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("sky\n road \n\n# note\n", ["sky", "road"]),
        ("0 membrane\n255 cell", {0: "membrane", 255: "cell"}),
        ("64 128 64\tAnimal\n192,0,128 Arch way", {(64, 128, 64): "Animal",
                                                   (192, 0, 128): "Arch way"}),
        ("7: seven", {7: "seven"}),
    ],
)  # fmt: skip
def test_lines_of_a_class_file(text, expected, tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text(text)
    assert read_class_file(path) == expected


def test_a_table_of_colors(tmp_path):
    path = tmp_path / "class_dict.csv"
    path.write_text("name, r, g, b\nroad, 128, 64, 128\nvoid, 0, 0, 0\n")
    assert read_class_file(path) == {(128, 64, 128): "road", (0, 0, 0): "void"}
    path.write_text("name,r,g\nroad,128,64\n")
    with pytest.raises(ValueError, match=r"line 2 is .*; it must have name, r, g and b"):
        read_class_file(path)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "names no class; it must have one per line"),
        ("sky\n1 road", "has lines with and without a number"),
    ],
)
def test_class_files_that_are_none(text, message, tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_class_file(path)


def test_camvid_is_found_with_its_parts(tmp_path):
    fill(tmp_path, "train", "trainannot", (0, 3, 11), count=2)
    fill(tmp_path, "val", "valannot", (0, 3, 11))
    assert find_format(tmp_path) == "labels"
    assert sorted(subsets_of(str(tmp_path), None)) == ["train", "val"]
    dataset = open_dataset(tmp_path, subset="train")
    assert list(dataset.class_names) == list(CAMVID_CLASSES) and dataset.num_images == 2
    assert np.unique(load_label_map(dataset, 0)).tolist() == [0, 3, 255]
    train, val, held_out = open_parts(str(tmp_path), None, None, 0.2)
    assert (train.num_images, val.num_images, held_out) == (2, 1, None)
    assert list(train.class_names) == list(val.class_names) == list(CAMVID_CLASSES)


@pytest.mark.parametrize("name", CLASS_FILES)
def test_a_file_of_classes_makes_folders_a_dataset(name, tmp_path):
    fill(tmp_path, "images", "labels")
    assert find_format(tmp_path) == "masks"  # nothing says that the numbers are classes
    text = "name,r,g,b\nwall,0,0,0\ndoor,1,1,1\n" if name.endswith("csv") else "wall\ndoor\n"
    (tmp_path / name).write_text(text)
    assert find_format(tmp_path) == "labels"
    dataset = open_dataset(tmp_path)
    assert list(dataset.class_names) == ["wall", "door"]
    if not name.endswith("csv"):
        assert np.unique(load_label_map(dataset, 0)).tolist() == [0, 1, 255]


@pytest.mark.parametrize("layout", ["{part}/images {part}/labels", "images/{part} labels/{part}"])
def test_parts_in_folders(layout, tmp_path):
    for part in ("train", "valid"):
        fill(tmp_path, *layout.format(part=part).split())
    (tmp_path / "classes.txt").write_text("a\nb\n")
    assert find_format(tmp_path) == "labels"
    assert sorted(subsets_of(str(tmp_path), None)) == ["train", "valid"]
    assert open_dataset(tmp_path, subset="val").num_images == 1
    with pytest.raises(ValueError, match=r"subset is None: .* has train, valid; choose one"):
        open_dataset(tmp_path, "labels")


def test_lists_of_voc(tmp_path):
    fill(tmp_path, "JPEGImages", "SegmentationClass", (0, 15, 255), count=3)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("0\n2\n")
    (lists / "val.txt").write_text("1\n")
    dataset = open_dataset(tmp_path, "labels", "train")
    assert dataset.num_images == 2 and dataset.class_names[15] == "person"


def test_classes_of_the_user_count_first(tmp_path):
    fill(tmp_path, "images", "labels", (0, 1, 2))
    with pytest.raises(ValueError, match="classes is None; it must name the classes"):
        open_dataset(tmp_path, "labels")
    dataset = open_dataset(tmp_path, "labels", classes=["a", "b", "c"])
    assert list(dataset.class_names) == ["a", "b", "c"]
    assert open_dataset(tmp_path, "labels", classes=["camvid"]).num_classes == 11
    with pytest.raises(ValueError, match=r"is 2; it must be 0 to 1 \(2 classes\), or 255 for void"):
        load_label_map(open_dataset(tmp_path, "labels", classes=["a", "b"]), 0)
