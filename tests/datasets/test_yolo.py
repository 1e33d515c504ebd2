"""YOLO text labels."""

import json

import numpy as np
import pytest

from mrcnn.datasets import YoloDataset, open_dataset
from mrcnn.datasets.yolo import read_labels
from tests.datasets.made_up import box, write_json, write_picture

# On an image of 8 x 10 pixels (height, width): rows 2..6, columns 1..5.
POLYGON = "3 0.1 0.25 0.5 0.25 0.5 0.75 0.1 0.75"
BOX = "8 0.3 0.5 0.4 0.5"
NAMES = {"3": "cat", "8": "dog"}


def write(folder, text=POLYGON, name="a", images="images", labels="labels"):
    write_picture(folder / images / f"{name}.png")
    path = folder / labels / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    if text is not None:
        path.write_text(text)
    return folder


def test_polygons_and_boxes(tmp_path):
    write(tmp_path, f"{POLYGON}\n\n{BOX}\n")
    write_json(tmp_path / "names.json", NAMES)
    dataset = open_dataset(tmp_path)
    assert isinstance(dataset, YoloDataset)
    assert dataset.class_names == ["BG", "cat", "dog"]
    assert dataset.map_source_class_id("yolo.8") == 2
    masks, class_ids = dataset.load_mask(0)
    assert class_ids.tolist() == [1, 2]
    for number in (0, 1):
        np.testing.assert_array_equal(masks[..., number], box(8, 10, 2, 1, 6, 5))


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images/{}", "labels/{}"),
        ("{}/images", "{}/labels"),
        ("images/{}2017", "labels/{}2017"),
    ],
)
def test_subsets(tmp_path, images, labels):
    for subset in ("train", "val"):
        write(tmp_path, name=subset, images=images.format(subset), labels=labels.format(subset))
    dataset = open_dataset(tmp_path, subset="val", names=NAMES)
    assert [info["id"] for info in dataset.image_info] == ["val"]
    with pytest.raises(ValueError, match="choose one"):
        open_dataset(tmp_path, names=NAMES)


def test_flat_folder_and_negatives(tmp_path):
    write(tmp_path, images="", labels="")
    write(tmp_path, text="", name="b", images="", labels="")
    write(tmp_path, text=None, name="c", images="", labels="")
    (tmp_path / "classes.txt").write_text("zero\none\ntwo\nthree\n")
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ["BG", "zero", "one", "two", "three"]
    assert dataset.summary().num_negatives == 2
    assert dataset.load_mask(0)[1].tolist() == [4]
    assert dataset.load_mask(2)[0].shape == (8, 10, 0)


@pytest.mark.parametrize(
    "names", ["{3: cat, 8: dog}", "\n  3: cat\n  8: dog", "[a, b, c, cat, e, f, g, h, dog]"]
)
def test_names_in_yaml(tmp_path, names):
    pytest.importorskip("yaml")
    write(tmp_path)
    (tmp_path / "data.yaml").write_text(f"train: images\nnames: {names}\n")
    dataset = open_dataset(tmp_path)
    assert dataset.class_names[dataset.load_mask(0)[1][0]] == "cat"
    (tmp_path / "data.yaml").write_text("train: images\n")
    with pytest.raises(ValueError, match='no "names"'):
        open_dataset(tmp_path)


def test_choosing_classes(tmp_path):
    write(tmp_path, f"{POLYGON}\n{BOX}")
    both = open_dataset(tmp_path, names=NAMES, classes=["dog", "cat"])
    assert both.class_names == ["BG", "dog", "cat"]
    assert both.load_mask(0)[1].tolist() == [2, 1]
    assert open_dataset(tmp_path, names=NAMES, classes="dog").load_mask(0)[1].tolist() == [1]
    with pytest.raises(ValueError, match="classes is"):
        open_dataset(tmp_path, names=NAMES, classes=["cow"])
    # Without any file of names, `classes` names the ids 0, 1, ...
    nine = open_dataset(tmp_path, classes=list("abcdefghi"))
    assert [nine.class_names[n] for n in nine.load_mask(0)[1]] == ["d", "i"]


def test_names_are_needed(tmp_path):
    write(tmp_path)
    with pytest.raises(ValueError, match="names is None"):
        open_dataset(tmp_path)
    with pytest.raises(ValueError, match="class id 3 has no name"):
        open_dataset(tmp_path, names={8: "dog"})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cat 0.1 0.1 0.2 0.2", "line 2: a class id and numbers"),
        ("1 0.1 0.1 0.2 x", "line 2: a class id and numbers"),
        ("1 0.1 0.1 0.2", "it has 3 numbers"),
        ("1 0.1 0.1 0.2 0.2 0.3", "it has 5 numbers"),
        ("1 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "it has 7 numbers"),
        ("1 12 40 200 100", "from 0 to 1; they reach from 12.0 to 200.0"),
        ("1 nan 0.1 0.2 0.2", "from 0 to 1"),
    ],
)
def test_broken_lines(tmp_path, line, message):
    (tmp_path / "a.txt").write_text(f"{BOX}\n{line}\n")
    with pytest.raises(ValueError, match=message):
        read_labels(tmp_path / "a.txt")


def test_coco128(data_dir):
    dataset = open_dataset(data_dir / "coco128_seg")
    assert isinstance(dataset, YoloDataset)
    summary = dataset.summary()
    assert (summary.num_images, summary.num_instances) == (80, 639)
    assert dataset.num_classes == 81
    names = json.loads((data_dir / "coco128_seg" / "category_ids.json").read_text())
    for class_id in (1, 44, 90):
        number = dataset.map_source_class_id(f"yolo.{class_id}")
        assert dataset.class_names[number] == names[str(class_id)]
    loaded = sum(dataset.load_mask(i)[0].shape[2] for i in dataset.image_ids)
    assert loaded == 639
    assert dataset.check(max_images=5).ok
