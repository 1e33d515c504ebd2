"""PASCAL VOC's XML files."""

import numpy as np
import pytest

from mrcnn.datasets import VocDataset, open_dataset
from tests.datasets.made_up import box, write_picture, write_pixels


def xml(*objects, folder="mine", name="a.png"):
    items = "".join(
        f"<object><name>{label}</name><difficult>{int(difficult)}</difficult>{edges}</object>"
        for label, edges, difficult in objects
    )
    return f"<annotation><folder>{folder}</folder><filename>{name}</filename>{items}</annotation>"


def item(label, *edges, difficult=False):
    x1, y1, x2, y2 = edges or (2, 3, 6, 5)
    text = f"<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>"
    return label, text, difficult


def write(folder, name="a", content=None, annotations="Annotations", images="JPEGImages"):
    write_picture(folder / images / f"{name}.png")
    path = folder / annotations / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if content is not None else xml(item("cat")))
    return folder


@pytest.mark.parametrize(
    ("annotations", "images"),
    [("Annotations", "JPEGImages"), ("annots", "images"), ("xml", ""), ("", "")],
)
def test_layouts(tmp_path, annotations, images):
    write(tmp_path, annotations=annotations, images=images)
    dataset = open_dataset(tmp_path)
    assert isinstance(dataset, VocDataset)
    assert dataset.image_info[0]["path"] == str(tmp_path / images / "a.png")
    masks, class_ids = dataset.load_mask(0)
    assert class_ids.tolist() == [1]
    # As in the scripts for such sets: rows ymin up to and without ymax.
    np.testing.assert_array_equal(masks[..., 0], box(8, 10, 3, 2, 5, 6))


@pytest.mark.parametrize(
    ("folder", "one_based", "expected"),
    [
        ("VOC2012", None, box(8, 10, 2, 1, 5, 6)),
        ("mine", None, box(8, 10, 3, 2, 5, 6)),
        ("mine", True, box(8, 10, 2, 1, 5, 6)),
        ("VOC2012", False, box(8, 10, 3, 2, 5, 6)),
    ],
)
def test_first_pixel(tmp_path, folder, one_based, expected):
    write(tmp_path, content=xml(item("cat"), folder=folder))
    dataset = open_dataset(tmp_path, one_based=one_based)
    np.testing.assert_array_equal(dataset.load_mask(0)[0][..., 0], expected)


def test_classes_difficult_and_empty(tmp_path):
    write(tmp_path, "a", xml(item("dog"), item("cat", 0, 0, 4.4, 4), item("dog", difficult=True)))
    write(tmp_path, "b", xml())
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ["BG", "cat", "dog"]
    assert dataset.load_mask(0)[1].tolist() == [2, 1, 2]
    assert dataset.load_mask(1)[0].shape == (8, 10, 0)
    assert open_dataset(tmp_path, skip_difficult=True).load_mask(0)[1].tolist() == [2, 1]
    assert open_dataset(tmp_path, classes=["dog"]).load_mask(0)[1].tolist() == [1, 1]


def test_boxes_outside_are_dropped(tmp_path, caplog):
    write(tmp_path, content=xml(item("cat"), item("cat", 20, 20, 30, 30), item("cat", 4, 4, 4, 6)))
    dataset = open_dataset(tmp_path)
    assert dataset.load_mask(0)[0].shape == (8, 10, 1)
    assert "2 of 3 instances" in caplog.text


def test_segmentation_masks(tmp_path):
    write(tmp_path, "a", xml(item("dog"), item("cat"), folder="VOC2012"))
    write(tmp_path, "b", xml(item("cat"), folder="VOC2012"))
    labels = np.zeros((8, 10), np.uint8)
    labels[0:3, 0:3] = 2
    labels[4:8, 4:9] = 1
    labels[3, :] = 255  # void
    write_pixels(tmp_path / "SegmentationObject" / "a.png", labels)
    dataset = open_dataset(tmp_path)
    masks, class_ids = dataset.load_mask(0)
    assert class_ids.tolist() == [2, 1]
    np.testing.assert_array_equal(masks[..., 0], labels == 1)
    np.testing.assert_array_equal(masks[..., 1], labels == 2)
    np.testing.assert_array_equal(dataset.load_mask(1)[0][..., 0], box(8, 10, 2, 1, 5, 6))
    cats = open_dataset(tmp_path, classes=["cat"])
    np.testing.assert_array_equal(cats.load_mask(0)[0][..., 0], labels == 2)
    write_pixels(tmp_path / "SegmentationObject" / "a.png", labels[:, :9])
    with pytest.raises(ValueError, match=r"a\.png: its shape is"):
        dataset.load_mask(0)


def test_lists_of_names(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path, name, xml(item(f"class {name}"), name=f"{name}.png"))
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nc\n")
    (lists / "val.txt").write_text("b 1\n")
    (lists / "aeroplane_train.txt").write_text("a -1\n")
    assert VocDataset.subsets(tmp_path) == ["train", "val"]
    train = open_dataset(tmp_path, subset="train")
    assert [info["id"] for info in train.image_info] == ["a", "c"]
    assert train.num_classes == 4  # also the class of val
    assert open_dataset(tmp_path).num_images == 3
    (lists / "val.txt").write_text("b\nmissing\n")
    with pytest.raises(ValueError, match=r"1 names have no XML file \(missing\)"):
        open_dataset(tmp_path, subset="val")


def test_folders_as_subsets(tmp_path):
    write(tmp_path / "train", "a", images="", annotations="")
    write(tmp_path / "valid", "b", xml(item("dog")), images="", annotations="")
    assert open_dataset(tmp_path, subset="val").class_names == ["BG", "cat", "dog"]
    with pytest.raises(ValueError, match="train, valid; choose one"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotation><object>", "not valid XML"),
        ("<other/>", "outermost element is <other>"),
        (
            "<annotation><object><name> </name></object></annotation>",
            "object 1: name is null; it must be given",
        ),
    ],
)
def test_broken_files(tmp_path, content, message):
    write(tmp_path, content=content)
    with pytest.raises(ValueError, match=message):
        open_dataset(tmp_path, format="voc")


def test_objects_without_a_box(tmp_path, caplog):
    write(tmp_path, content=xml(("cat", "", False), item("cat")))
    assert open_dataset(tmp_path).image_class_ids(0).tolist() == [1]
    assert "a.xml object 1" in caplog.text


def test_kangaroos(data_dir):
    dataset = open_dataset(data_dir / "kangaroo")
    summary = dataset.summary()
    assert (summary.num_images, summary.num_instances) == (40, 66)
    assert dataset.class_names == ["BG", "kangaroo"]
    masks, _ = dataset.load_mask(0)
    assert masks.shape == (319, 450, 2)
    np.testing.assert_array_equal(masks[..., 0], box(319, 450, 89, 233, 262, 386))
    assert [problem.kind for problem in dataset.check().problems] == ["rectangles"]
