"""Files of results: instance ids, outlines, tables, and lists of images."""

import csv
import importlib.util
import json

import cv2
import numpy as np
import pytest

from mrcnn.detection import writers
from mrcnn.detection.results import Detections
from mrcnn.detection.writers import check_save, write_joined, write_masks, write_polygons

NAMES = ["BG", "cat", "dog"]


@pytest.fixture
def found():
    """A frame with a hole, a cat over its corner with a higher score, and two separate parts."""
    masks = np.zeros((20, 30, 3), bool)
    masks[2:12, 2:12, 0] = True
    masks[5:8, 5:9, 0] = False
    masks[10:14, 10:16, 1] = True
    masks[0:3, 20:24, 2] = masks[17:20, 25:30, 2] = True
    boxes = [[2, 2, 12, 12], [10, 10, 14, 16], [0, 20, 20, 30]]
    return Detections(boxes, [2, 1, 2], [0.6, 0.9, 0.5], masks)


def entries_of(found, **more):
    return [{**entry, **more} for entry in found.to_coco(1, "a.jpg", NAMES)]


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("save", "kinds"),
    [
        ("image", ("image",)),
        (" CSV, coco ,csv", ("coco", "csv")),
        (["masks", "image"], ("image", "masks")),
    ],
)
def test_check_save(save, kinds):
    assert check_save(save) == kinds


@pytest.mark.parametrize("save", ["", "png", "coco,", "coco,xml", [], ["\x1b[2J"]])
def test_unknown_kinds(save):
    with pytest.raises(
        ValueError, match=r"--save is '.*'; it must name some of image, coco, csv,"
    ) as e:
        check_save(save, "--save")
    assert "\x1b" not in str(e.value)


def test_parquet_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs the package pyarrow: .*mrcnn-keras3\[parquet\]"):
        check_save("parquet")
    assert check_save("coco") == ("coco",)


def test_masks_are_instance_ids(tmp_path, found):
    write_masks(tmp_path / "masks" / "a.b", found, entries_of(found), (20, 30))
    ids = cv2.imread(str(tmp_path / "masks" / "a.b.png"), cv2.IMREAD_UNCHANGED)
    assert ids.dtype == np.uint16 and ids.shape == (20, 30)
    expected = np.zeros((20, 30), int)
    expected[found.masks[..., 2]] = 3
    expected[found.masks[..., 0]] = 1
    expected[found.masks[..., 1]] = 2  # the higher score
    np.testing.assert_array_equal(ids, expected)
    index = read_json(tmp_path / "masks" / "a.b.json")
    assert (index["height"], index["width"]) == (20, 30)
    first = index["objects"][0]
    assert first["id"] == 1 and first["category_name"] == "dog" and "segmentation" not in first
    assert [o["visible_area"] for o in index["objects"]] == [100 - 12 - 4, 24, 12 + 15]
    assert [o["area"] for o in index["objects"]] == [100 - 12, 24, 12 + 15]


def test_equal_scores_and_boxes_without_masks(tmp_path, found):
    same = Detections(found.boxes, found.class_ids, [0.5] * 3, found.masks)
    write_masks(tmp_path / "a", same, entries_of(same), (20, 30))
    assert [o["visible_area"] for o in read_json(tmp_path / "a.json")["objects"]] == [88, 20, 27]
    boxes = Detections(found.boxes, found.class_ids, found.scores)
    write_masks(tmp_path / "b", boxes, entries_of(boxes), (20, 30))
    assert [o["visible_area"] for o in read_json(tmp_path / "b.json")["objects"]] == [0, 0, 0]


@pytest.mark.parametrize("size", [(1, 1), (20, 30)])
def test_files_of_an_image_without_objects(tmp_path, size):
    nothing = Detections(np.zeros((0, 4)), [], [], None)
    write_masks(tmp_path / "a", nothing, [], size)
    write_polygons(tmp_path / "p.json", nothing, [], size, "a.jpg", 1.0)
    ids = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert ids.shape == size and not ids.any()
    assert read_json(tmp_path / "a.json")["objects"] == []
    assert read_json(tmp_path / "p.json")["shapes"] == []


def test_more_objects_than_16_bits_hold(tmp_path):
    count = 2**16
    many = Detections(np.zeros((count, 4)), [1] * count, [0.5] * count)
    with pytest.raises(ValueError, match="found has 65536 objects; it must have at most 65535"):
        write_masks(tmp_path / "a", many, [], (4, 4))


def test_polygons_have_parts_and_holes(tmp_path, found):
    write_polygons(tmp_path / "a.json", found, entries_of(found, track_id=7), (20, 30), "a.jpg", 0)
    content = read_json(tmp_path / "a.json")
    assert content["imagePath"] == "a.jpg"
    assert (content["imageHeight"], content["imageWidth"]) == (20, 30)
    shapes = content["shapes"]
    assert [(s["label"], s["group_id"]) for s in shapes] == [
        ("dog", 1),
        ("cat", 2),
        ("dog", 3),
        ("dog", 3),
    ]
    assert {s["track_id"] for s in shapes} == {7}
    assert sorted(shapes[1]["points"]) == [[10, 10], [10, 14], [16, 10], [16, 14]]
    assert [len(s["holes"]) for s in shapes] == [1, 0, 0, 0]
    assert sorted(shapes[0]["holes"][0]) == [[5, 5], [5, 8], [9, 5], [9, 8]]


def test_the_package_reads_its_polygons_as_a_dataset(tmp_path, found):
    from mrcnn.datasets import open_dataset

    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 30, 3), np.uint8))
    write_polygons(tmp_path / "a.json", found, entries_of(found), (20, 30), "a.png", 0)
    dataset = open_dataset(tmp_path, format="labelme")
    masks, class_ids = dataset.load_mask(0)
    assert [dataset.class_names[k] for k in class_ids] == ["dog", "cat", "dog"]
    np.testing.assert_array_equal(masks[..., 1:], found.masks[..., 1:])


def test_tolerance_leaves_out_corners(tmp_path):
    rows, columns = np.ogrid[:100, :100]
    disk = ((rows - 50) ** 2 + (columns - 50) ** 2 < 1600)[..., None]
    found = Detections([[10, 10, 91, 91]], [1], [0.9], disk)

    def corners(tolerance):
        path = tmp_path / "a.json"
        write_polygons(path, found, entries_of(found), (100, 100), "a.jpg", tolerance)
        return len(read_json(path)["shapes"][0]["points"])

    assert corners(0) > 100 > 40 > corners(1) > corners(5) >= 4


# ---- files for all images ----------------------------------------------------------------------

CATEGORIES = [{"id": 1, "name": "cat"}]


@pytest.fixture
def records(found):
    base = {"source": "/p/a.jpg", "width": 30, "height": 20}
    names = ["a.jpg", "caf\udce9\n.jpg"]
    objects = [found.to_coco(i, name, NAMES) for i, name in enumerate(names)]
    listed = [
        {**base, "image_id": 0, "file_name": names[0], "objects": objects[0]},
        {**base, "image_id": 1, "file_name": names[1], "objects": objects[1]},
        {**base, "image_id": 2, "file_name": "c.jpg", "objects": []},
        {"source": "/d.jpg", "image_id": 3, "file_name": "d.jpg", "error": "no image"},
    ]
    return lambda: iter(listed)


def test_joined_files(tmp_path, records):
    pytest.importorskip("pyarrow")
    paths = write_joined(
        tmp_path, ["coco", "csv", "parquet", "masks"], records, CATEGORIES, segmentation="rle"
    )
    assert [path.name for path in paths] == [
        "detections.json",
        "images.json",
        "detections.csv",
        "detections.parquet",
    ]
    entries = [entry for record in records() for entry in record.get("objects", ())]
    assert read_json(tmp_path / "detections.json") == entries and len(entries) == 6
    images = read_json(tmp_path / "images.json")
    assert [image["id"] for image in images["images"]] == [0, 1, 2]
    assert images["images"][2] == {
        **{"id": 2, "file_name": "c.jpg", "width": 30, "height": 20, "source": "/p/a.jpg"}
    }
    assert images["failed"][0]["error"] == "no image" and images["categories"] == CATEGORIES
    with open(tmp_path / "detections.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["image_id"] for row in rows] == list("000111")
    assert rows[3]["file_name"] == "caf\\udce9\n.jpg"


def test_json_is_written_as_save_json_writes_it(tmp_path, records):
    from mrcnn.detection.results import save_json

    write_joined(tmp_path, ["coco"], records, CATEGORIES, segmentation="rle")
    entries = [entry for record in records() for entry in record.get("objects", ())]
    save_json(tmp_path / "whole.json", entries)
    assert (tmp_path / "detections.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    write_joined(tmp_path, ["coco"], lambda: [], CATEGORIES, segmentation="rle")
    assert (tmp_path / "detections.json").read_text() == "[]\n"
    assert read_json(tmp_path / "images.json")["images"] == []


def test_pycocotools_reads_both_files(tmp_path, records, capsys):
    from pycocotools.coco import COCO

    categories = [*CATEGORIES, {"id": 2, "name": "dog"}]
    write_joined(tmp_path, ["coco"], records, categories, segmentation="rle")
    results = COCO(str(tmp_path / "images.json")).loadRes(str(tmp_path / "detections.json"))
    assert len(results.anns) == 6 and sorted(results.imgs) == [0, 1, 2]
    assert results.annToMask(results.anns[1]).sum() == 88


@pytest.mark.parametrize("segmentation", ["rle", "polygon", "none"])
@pytest.mark.parametrize("rows_per_group", [1, 10_000])
def test_parquet(tmp_path, found, segmentation, rows_per_group, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(writers, "_ROWS_PER_GROUP", rows_per_group)
    entries = found.to_coco(2**40, "caf\udce9.mp4", NAMES, segmentation=segmentation)
    entries[0] |= {"frame": 3, "seconds": 0.25, "track_id": 9}
    record = {"image_id": 2**40, "objects": entries}
    columns = ["frame", "seconds", "track_id"]
    write_joined(
        tmp_path, ["parquet"], lambda: [record], [], segmentation=segmentation, columns=columns
    )
    rows = parquet.read_table(tmp_path / "detections.parquet").to_pylist()
    assert [row["category_name"] for row in rows] == ["dog", "cat", "dog"]
    assert rows[0]["image_id"] == 2**40 and rows[0]["file_name"] == "caf\\udce9.mp4"
    assert (rows[0]["x"], rows[1]["width"], rows[1]["area"]) == (2, 6, 24)
    assert [rows[i]["track_id"] for i in range(2)] == [9, None]
    if segmentation == "none":
        assert "segmentation" not in rows[0]
    else:
        assert rows[1]["segmentation"] == entries[1]["segmentation"]


def test_an_empty_table(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_joined(tmp_path, ["parquet", "csv"], lambda: [], [], segmentation="rle")
    assert parquet.read_table(tmp_path / "detections.parquet").num_rows == 0
    assert (tmp_path / "detections.csv").read_text().startswith("image_id,file_name,category_id,")


def test_a_file_that_cannot_be_written_is_named(tmp_path, records):
    (tmp_path / "detections.csv").mkdir()
    with pytest.raises(OSError, match=r"detections\.csv"):
        write_joined(tmp_path, ["csv"], records, CATEGORIES, segmentation="rle")
    assert [path.name for path in tmp_path.iterdir()] == ["detections.csv"]
