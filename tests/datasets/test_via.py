"""VIA's JSON files."""

import json

import numpy as np
import pytest
import skimage.draw

from mrcnn.datasets import ViaDataset, open_dataset
from tests.datasets.made_up import art, box, write_json, write_picture

RECT = {"name": "rect", "x": 1, "y": 2, "width": 4, "height": 3}
POLYGON = {"name": "polygon", "all_points_x": [1, 5, 5, 1], "all_points_y": [2, 2, 4, 4]}
CIRCLE = {"name": "circle", "cx": 4, "cy": 4, "r": 2}
POINT = {"name": "point", "cx": 4, "cy": 4}


def region(shape, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


def entry(name, *regions, version=2):
    listed = list(regions) if version == 2 else {str(n): r for n, r in enumerate(regions)}
    return {"filename": name, "size": 5, "regions": listed, "file_attributes": {}}


def write(folder, *entries, name="via_region_data.json"):
    for item in entries:
        write_picture(folder / item["filename"])
    return write_json(folder / name, {f"{e['filename']}5": e for e in entries}).parent


@pytest.mark.parametrize("form", ["version 1", "version 2", "project", "list"])
def test_versions(tmp_path, form):
    entries = [
        entry("a.png", region(RECT), region(POLYGON), version=1 if form == "version 1" else 2),
        entry("b.png", version=1 if form == "version 1" else 2),
    ]
    write(tmp_path, *entries)
    content = json.loads((tmp_path / "via_region_data.json").read_text())
    if form == "project":
        content = {"_via_settings": {}, "_via_img_metadata": content, "_via_attributes": {}}
    elif form == "list":
        content = entries
    write_json(tmp_path / "via_region_data.json", content)

    dataset = open_dataset(tmp_path, classes=["thing"])
    assert isinstance(dataset, ViaDataset)
    assert dataset.class_names == ["BG", "thing"]
    assert [info["id"] for info in dataset.image_info] == ["a.png", "b.png"]
    masks, class_ids = dataset.load_mask(0)
    assert class_ids.tolist() == [1, 1]
    np.testing.assert_array_equal(masks[..., 0], box(8, 10, 2, 1, 5, 5))
    np.testing.assert_array_equal(masks[..., 1], box(8, 10, 2, 1, 5, 6))
    assert dataset.load_mask(1)[0].shape == (8, 10, 0)  # kept as a negative
    assert dataset.image_reference(0) == str(tmp_path / "a.png")


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
ELLIPSE = {"name": "ellipse", "cx": 4, "cy": 4, "rx": 3, "ry": 1}
LYING = box(8, 10, 4, 1, 5, 8) | box(8, 10, 3, 4, 6, 5)
STANDING = box(8, 10, 1, 4, 8, 5) | box(8, 10, 4, 3, 5, 6)
CORNER = {"name": "polygon", "all_points_x": [8, 10, 10, 8], "all_points_y": [6, 6, 9, 9]}
SHAPES = [
    ("polyline", {**POLYGON, "name": "polyline"}, box(8, 10, 2, 1, 5, 6)),
    ("circle", CIRCLE, DISK),
    ("ellipse", ELLIPSE, LYING),
    ("turned ellipse", {**ELLIPSE, "theta": np.pi / 2}, STANDING),
    ("past the edge", CORNER, box(8, 10, 6, 8, 8, 10)),
    ("rect past the edge", {**RECT, "x": -2, "y": -2}, box(8, 10, 0, 0, 1, 2)),
]


@pytest.mark.parametrize(("name", "shape", "expected"), SHAPES, ids=[s[0] for s in SHAPES])
def test_shapes(tmp_path, name, shape, expected):
    dataset = open_dataset(write(tmp_path, entry("a.png", region(shape))))
    np.testing.assert_array_equal(dataset.load_mask(0)[0][..., 0], expected)


@pytest.mark.parametrize("attributes", [{"kind": "cat"}, {"kind": {"cat": True, "dog": False}}])
def test_class_from_the_only_attribute(tmp_path, attributes):
    dataset = open_dataset(
        write(tmp_path, entry("a.png", region(RECT, **attributes), region(RECT, kind="bird")))
    )
    assert dataset.class_names == ["BG", "bird", "cat"]
    assert dataset.load_mask(0)[1].tolist() == [2, 1]


def test_several_attributes_need_a_choice(tmp_path):
    write(tmp_path, entry("a.png", region(RECT, kind="cat", color="red")))
    found = r"attributes 'color' \('red'\), 'kind' \('cat'\); name the one"
    with pytest.raises(ValueError, match=found):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path, attribute="kind").class_names == ["BG", "cat"]
    assert open_dataset(tmp_path, class_name="animal").class_names == ["BG", "animal"]


def test_what_is_left_out(tmp_path, caplog):
    regions = [region(RECT, kind="cat"), region(RECT, kind=""), region(POINT, kind="cat")]
    dataset = open_dataset(write(tmp_path, entry("a.png", *regions, region(RECT, kind="dog"))))
    assert dataset.load_mask(0)[1].tolist() == [1, 2]
    assert "attribute of the class has no value (a.png region 1)" in caplog.text
    assert "(a.png region 2: 'point')" in caplog.text
    cats = open_dataset(tmp_path, classes=["cat"])
    assert cats.load_mask(0)[1].tolist() == [1]
    with pytest.raises(ValueError, match="did you mean 'cat'"):
        open_dataset(tmp_path, classes=["cats"])


def test_regions_outside_the_picture_are_dropped(tmp_path, caplog):
    outside = {"name": "rect", "x": 50, "y": 50, "width": 4, "height": 4}
    dataset = open_dataset(write(tmp_path, entry("a.png", region(RECT), region(outside))))
    assert dataset.load_mask(0)[0].shape == (8, 10, 1)
    assert "a.png: 1 of 2 instances" in caplog.text


def test_subsets_share_their_classes(tmp_path):
    write(tmp_path / "train", entry("a.png", region(RECT, kind="cat")))
    write(tmp_path / "val", entry("b.png", region(RECT, kind="bird")))
    assert ViaDataset.subsets(tmp_path) == ["train", "val"]
    train = open_dataset(tmp_path, subset="train")
    val = open_dataset(tmp_path, subset="val")
    assert train.class_names == val.class_names == ["BG", "bird", "cat"]
    assert (train.load_mask(0)[1].tolist(), val.load_mask(0)[1].tolist()) == ([2], [1])
    for subset, message in ((None, "train, val; choose one"), ("test", "subset is 'test'")):
        with pytest.raises(ValueError, match=message):
            open_dataset(tmp_path, subset=subset)
    with pytest.raises(ValueError, match="subset is 'val'"):
        open_dataset(tmp_path / "train", subset="val")
    assert open_dataset(tmp_path / "val" / "via_region_data.json").num_images == 1


def test_loading_opens_no_picture(tmp_path, monkeypatch):
    """Thousands of entries load at once; a size is read when the first mask needs it."""
    entries = [entry(f"{n}.png", region(POLYGON)) for n in range(2000)]
    write(tmp_path, entries[0])
    write_json(tmp_path / "via_region_data.json", {e["filename"]: e for e in entries})
    with monkeypatch.context() as patch:
        for name in ("read_pixels", "read_image_size"):
            patch.setattr(f"mrcnn.datasets.image_files.{name}", None)
        dataset = open_dataset(tmp_path)
        assert dataset.summary().num_instances == 2000
    assert dataset.load_mask(0)[0].shape == (8, 10, 1)


def test_missing_picture_is_found_by_check(tmp_path):
    write(tmp_path, entry("a.png", region(RECT)))
    (tmp_path / "a.png").unlink()
    dataset = open_dataset(tmp_path)
    assert [p.kind for p in dataset.check().errors] == ["missing_file"]


@pytest.mark.parametrize(("subset", "images", "instances"), [("train", 61, 255), ("val", 13, 50)])
def test_balloons(data_dir, subset, images, instances):
    dataset = open_dataset(data_dir / "balloon", subset=subset, classes=["balloon"])
    summary = dataset.summary()
    assert (summary.num_images, summary.num_instances) == (images, instances)
    assert list(summary.classes) == ["balloon"]
    assert sum(dataset.load_mask(i)[0].shape[2] for i in dataset.image_ids) == instances


def test_balloons_as_matterports_sample_draws_them(data_dir):
    """Pixel for pixel where nothing is cut; a cut polygon keeps no pixels at the edge."""
    dataset = open_dataset(data_dir / "balloon", subset="val")
    for image_id in dataset.image_ids:
        height, width = dataset.image_size(image_id)
        masks, _ = dataset.load_mask(image_id)
        for index, item in enumerate(dataset.image_info[image_id]["annotations"]):
            shape = item["shape"]
            rows, columns = skimage.draw.polygon(
                shape["all_points_y"], shape["all_points_x"], (height, width)
            )
            expected = np.zeros((height, width), bool)
            expected[rows, columns] = True
            assert np.count_nonzero(masks[..., index] != expected) <= 1
