"""LabelMe's JSON files."""

import base64

import cv2
import numpy as np
import pytest
from PIL import Image

from mrcnn.datasets import LabelmeDataset, open_dataset
from tests.datasets.made_up import art, box, write_json, write_picture

SQUARE = [[1, 2], [5, 2], [5, 6], [1, 6]]


def shape(label="cat", points=SQUARE, kind="polygon", **kwargs):
    return {"label": label, "points": points, "shape_type": kind, "flags": {}, **kwargs}


def write(folder, *shapes, name="a", size=True, picture=True, **kwargs):
    content = {"version": "5.4", "flags": {}, "shapes": list(shapes), "imagePath": f"{name}.png"}
    content["imageData"] = None
    if size:
        content.update(imageHeight=8, imageWidth=10)
    if picture:
        write_picture(folder / f"{name}.png")
    return write_json(folder / f"{name}.json", {**content, **kwargs}).parent


def encoded(mask):
    return base64.b64encode(cv2.imencode(".png", mask.astype(np.uint8) * 255)[1]).decode()


def mask_shape(x, y):
    """A mask shape with its upper left corner at (x, y)."""
    return shape(points=[[x, y], [x + 1, y + 2]], kind="mask", mask=encoded(PART))


DISK = art(
    """
    ..........
    ..........
    ....#.....
    ...###....
    ..#####...
    ...###....
    ....#.....
    ..........
    """
)
PART = art("##\n.#\n##")
SHAPES = [
    ("polygon", shape(), box(8, 10, 2, 1, 6, 5)),
    ("no type", {"label": "cat", "points": SQUARE}, box(8, 10, 2, 1, 6, 5)),
    ("rectangle", shape(points=[[5, 6], [1, 2]], kind="rectangle"), box(8, 10, 2, 1, 6, 5)),
    ("four corners", shape(kind="rectangle"), box(8, 10, 2, 1, 6, 5)),
    ("circle", shape(points=[[4.5, 4.5], [4.5, 6.5]], kind="circle"), DISK),
    ("mask", mask_shape(3, 2), np.pad(PART, ((2, 3), (3, 5)))),
    ("mask past the edge", mask_shape(9, 7), box(8, 10, 7, 9, 8, 10)),
    ("mask before the edge", mask_shape(-1, -2), box(8, 10, 0, 0, 1, 1)),
    ("past the edge", shape(points=[[8, 6], [99, 6], [8, 99]]), box(8, 10, 6, 8, 8, 10)),
]


@pytest.mark.parametrize(("name", "item", "expected"), SHAPES, ids=[s[0] for s in SHAPES])
def test_shapes(tmp_path, name, item, expected):
    dataset = open_dataset(write(tmp_path, item))
    assert isinstance(dataset, LabelmeDataset)
    np.testing.assert_array_equal(dataset.load_mask(0)[0][..., 0], expected)


def test_groups_are_one_instance(tmp_path):
    left, right = [[0, 0], [2, 0], [2, 8], [0, 8]], [[6, 0], [8, 0], [8, 8], [6, 8]]
    dataset = open_dataset(
        write(
            tmp_path,
            shape(points=left, group_id=1),
            shape("dog", group_id=1),
            shape(points=right, group_id=1),
            shape(group_id=None),
            shape(group_id=None),
        )
    )
    masks, class_ids = dataset.load_mask(0)
    assert class_ids.tolist() == [1, 2, 1, 1]
    np.testing.assert_array_equal(masks[..., 0], box(8, 10, 0, 0, 8, 2) | box(8, 10, 0, 6, 8, 8))


def test_shapes_without_area_are_left_out(tmp_path, caplog):
    dataset = open_dataset(write(tmp_path, shape(points=[[1, 1]], kind="point"), shape()))
    assert dataset.load_mask(0)[1].tolist() == [1]
    assert "(a.json shape 0: 'point')" in caplog.text


def test_negative_and_classes(tmp_path):
    write(tmp_path, shape("dog"), shape("cat"))
    write(tmp_path, name="b")
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ["BG", "cat", "dog"]
    assert dataset.load_mask(0)[1].tolist() == [2, 1]
    assert dataset.load_mask(1)[0].shape == (8, 10, 0)
    assert open_dataset(tmp_path, classes=["dog", "cat"]).load_mask(0)[1].tolist() == [1, 2]
    assert open_dataset(tmp_path, classes=["cat"]).load_mask(0)[1].tolist() == [1]


def test_size_from_the_header(tmp_path):
    dataset = open_dataset(write(tmp_path, shape(), size=False))
    assert dataset.image_size(0) == (8, 10)
    assert dataset.load_mask(0)[0].shape == (8, 10, 1)


@pytest.mark.parametrize("recorded", ["..\\elsewhere\\a.png", "old_name.png"])
def test_moved_picture(tmp_path, recorded):
    dataset = open_dataset(write(tmp_path, shape(), imagePath=recorded))
    assert dataset.image_info[0]["path"] == str(tmp_path / "a.png")


@pytest.mark.parametrize("size", [True, False])
def test_picture_inside_the_file(tmp_path, size):
    pixels = write_picture(tmp_path / "made.png")
    data = base64.b64encode((tmp_path / "made.png").read_bytes()).decode()
    folder = tmp_path / "set"
    write(folder, shape(), picture=False, size=size, imageData=data)
    dataset = open_dataset(folder)
    np.testing.assert_array_equal(dataset.load_image(0), pixels)
    assert dataset.load_mask(0)[0].shape == (8, 10, 1)
    assert dataset.check().ok


def test_pictures_are_read_upright_as_labelme_shows_them(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    write(tmp_path, shape(), imageHeight=8, imageWidth=10)
    Image.new("RGB", (8, 10)).save(tmp_path / "a.png", exif=exif)  # lies on its side
    dataset = open_dataset(tmp_path)
    assert dataset.load_image(0).shape == (8, 10, 3)
    assert dataset.check().problems == []


def test_subsets_share_their_classes(tmp_path):
    write(tmp_path / "train", shape("dog"))
    write(tmp_path / "val", shape("cat"), name="b")
    train, val = (open_dataset(tmp_path, subset=name) for name in ("train", "validation"))
    assert train.class_names == val.class_names == ["BG", "cat", "dog"]
    assert open_dataset(tmp_path / "val" / "b.json").class_names == ["BG", "cat"]
    with pytest.raises(ValueError, match="train, val; choose one"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"shapes": {}, "imagePath": "a.png"}, 'no list "shapes"'),
        ({"shapes": [{"label": "cat"}]}, "a.json, shape 0: points is missing; it must be given"),
        ({"shapes": [shape(kind="mask")]}, "a.json, shape 0: mask is missing; it must be given"),
    ],
)
def test_broken_files(tmp_path, content, message):
    write_json(tmp_path / "a.json", content)
    with pytest.raises(ValueError, match=message):
        open_dataset(tmp_path)
