"""Results as files: exact rows, round trips, empty results."""

import csv
import json

import numpy as np
import pytest

from mrcnn.checkpoints.coco_names import COCO_CATEGORY_IDS, COCO_CLASS_NAMES
from mrcnn.detection import results

NAMES = ["BG", "cat", "dog"]


def two_instances():
    """A cat of 2 x 3 pixels and a dog with a hole, in an 8 x 10 picture."""
    masks = np.zeros((8, 10, 2), dtype=bool)
    masks[1:3, 2:5, 0] = True
    masks[3:8, 4:10, 1] = True
    masks[5, 6, 1] = False
    return {
        "rois": np.array([[1, 2, 3, 5], [3, 4, 8, 10]], dtype=np.int32),
        "class_ids": np.array([1, 2], dtype=np.int32),
        "scores": np.array([0.9, 0.75], dtype=np.float32),
        "masks": masks,
    }


def no_instances():
    return {
        "rois": np.zeros((0, 4), np.int32),
        "class_ids": np.zeros(0, np.int32),
        "scores": np.zeros(0, np.float32),
        "masks": np.zeros((8, 10, 0), bool),
    }


def test_to_coco_writes_every_field():
    first = results.to_coco(two_instances(), 7, "a.jpg", NAMES)[0]
    outline = first.pop("segmentation")
    assert first == {
        "image_id": 7,
        "file_name": "a.jpg",
        "category_id": 1,
        "category_name": "cat",
        "bbox": [2, 1, 3, 2],
        "score": 0.9,
        "area": 6,
    }
    assert outline["size"] == [8, 10]


def test_to_coco_areas_count_mask_pixels_not_box_pixels():
    assert [e["area"] for e in results.to_coco(two_instances(), 0)] == [6, 29]


def test_to_coco_maps_class_ids_to_category_ids():
    result = {k: v[..., :1] if k == "masks" else v[:1] for k, v in two_instances().items()}
    result["class_ids"] = np.array([12])
    entry = results.to_coco(result, 0, None, COCO_CLASS_NAMES, COCO_CATEGORY_IDS)[0]
    assert (entry["category_id"], entry["category_name"]) == (13, "stop sign")
    assert "file_name" not in entry


def test_to_coco_without_masks_has_box_areas_and_no_segmentation():
    result = two_instances()
    del result["masks"]
    entries = results.to_coco(result, 0)
    assert [e["area"] for e in entries] == [6, 30]
    assert "segmentation" not in entries[0]


@pytest.mark.parametrize("kind", ["rle", "polygon"])
def test_round_trip_keeps_boxes_scores_and_masks(kind):
    given = two_instances()
    if kind == "polygon":
        given["masks"][5, 6, 1] = True  # polygons cannot hold the hole
    back = results.from_coco(results.to_coco(given, 1, segmentation=kind), (8, 10))
    for key in ("rois", "class_ids", "scores"):
        np.testing.assert_array_equal(back[key], given[key])
        assert back[key].dtype == given[key].dtype
    np.testing.assert_array_equal(back["masks"], given["masks"])


def test_pycocotools_reads_the_run_lengths():
    from pycocotools import mask as mask_utils

    given = two_instances()
    entries = json.loads(json.dumps(results.to_coco(given, 1)))
    decoded = mask_utils.decode([e["segmentation"] for e in entries])
    np.testing.assert_array_equal(decoded.astype(bool), given["masks"])


def test_segmentation_none_writes_no_outlines():
    assert "segmentation" not in results.to_coco(two_instances(), 1, segmentation="none")[0]


def test_empty_result_gives_valid_empty_files(tmp_path):
    entries = results.to_coco(no_instances(), 3, "b.jpg", NAMES)
    assert entries == []
    assert json.loads(results.save_json(tmp_path / "x" / "d.json", entries).read_text()) == []
    lines = results.save_csv(tmp_path / "d.csv", entries).read_text().splitlines()
    assert lines == [",".join(results.CSV_COLUMNS)]
    assert results.from_coco(entries, (8, 10))["masks"].shape == (8, 10, 0)


def test_save_json_round_trips_non_ascii_names(tmp_path):
    entries = results.to_coco(two_instances(), 1, "größe.jpg", ["BG", "кот", "dog"])
    path = results.save_json(tmp_path / "d.json", entries)
    assert json.loads(path.read_text(encoding="utf-8")) == entries
    assert [p.name for p in tmp_path.iterdir()] == ["d.json"]  # no partial file left


def test_save_csv_rows(tmp_path):
    entries = results.to_coco(two_instances(), 1, "a,b.jpg", NAMES)
    with results.save_csv(tmp_path / "d.csv", entries).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {
        "image_id": "1",
        "file_name": "a,b.jpg",
        "category_id": "2",
        "category_name": "dog",
        "score": "0.75",
        "x": "4",
        "y": "3",
        "width": "6",
        "height": "5",
        "area": "29",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": np.ones(3)}, r"scores must have one entry a roi \(2\), got 3"),
        ({"class_ids": np.array([1])}, r"class_ids must have one entry a roi \(2\), got 1"),
        ({"masks": np.zeros((8, 10, 1), bool)}, r"masks must have one entry a roi \(2\), got 1"),
        ({"class_ids": np.array([1, 5])}, "class_names must cover class id 5, got only 3"),
    ],
)
def test_bad_results_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        results.to_coco({**two_instances(), **change}, 1, None, NAMES)


def test_missing_keys_and_unknown_segmentation_are_refused():
    with pytest.raises(ValueError, match="must have \\['scores'\\]"):
        results.to_coco({"rois": [], "class_ids": []}, 1)
    with pytest.raises(ValueError, match="segmentation must be one of"):
        results.to_coco(two_instances(), 1, segmentation="mask")


def test_coco_names_are_the_81_classes_of_matterports_model():
    assert len(COCO_CLASS_NAMES) == len(COCO_CATEGORY_IDS) == 81
    assert COCO_CLASS_NAMES[0] == "BG"
    assert COCO_CLASS_NAMES[80] == "toothbrush"
    assert COCO_CATEGORY_IDS[80] == 90
    assert list(COCO_CATEGORY_IDS) == sorted(set(COCO_CATEGORY_IDS))
