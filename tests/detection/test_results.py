"""Results as files: exact rows, round trips, empty results."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from mrcnn.checkpoints.coco_names import COCO_CATEGORY_IDS, COCO_CLASS_NAMES
from mrcnn.detection import results
from mrcnn.detection.results import Detections
from mrcnn.geometry.rle import decode_rle, encode_rle

NAMES = ["BG", "cat", "dog"]


def two_instances():
    """A cat of 2 x 3 pixels and a dog with a hole, in an 8 x 10 image."""
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
    entries = results.to_coco(given, 1, segmentation=kind)
    found = results.Detections.from_coco(entries, (8, 10))
    back = found.to_result()
    for key in ("rois", "class_ids", "scores"):
        np.testing.assert_array_equal(back[key], given[key])
        assert back[key].dtype == given[key].dtype
    np.testing.assert_array_equal(decode_rle(back["rles"]), given["masks"])


def test_pycocotools_reads_the_run_lengths():
    from pycocotools import mask as mask_utils

    given = two_instances()
    entries = json.loads(json.dumps(results.to_coco(given, 1)))
    decoded = mask_utils.decode([e["segmentation"] for e in entries])
    np.testing.assert_array_equal(decoded.astype(bool), given["masks"])


def test_polygons_are_simplified_to_a_tolerance():
    mask = np.zeros((40, 40, 1), bool)
    for row in range(30):
        mask[row + 5, 5 : 6 + row, 0] = True  # a triangle with steps of one pixel
    result = {"rois": [[5, 5, 35, 35]], "class_ids": [1], "scores": [0.5], "masks": mask}
    (exact,) = results.to_coco(result, 1, segmentation="polygon")[0]["segmentation"]
    (simple,) = results.to_coco(result, 1, segmentation="polygon", tolerance=1)[0]["segmentation"]
    assert (len(exact) > 100, len(simple) <= 10) == (True, True)
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"tolerance is .*; it must be a number of pixels"):
            results.to_coco(result, 1, tolerance=wrong)


def test_segmentation_none_writes_no_outlines():
    assert "segmentation" not in results.to_coco(two_instances(), 1, segmentation="none")[0]


def test_empty_result_gives_valid_empty_files(tmp_path):
    entries = results.to_coco(no_instances(), 3, "b.jpg", NAMES)
    assert entries == []
    assert json.loads(results.save_json(tmp_path / "x" / "d.json", entries).read_text()) == []
    lines = results.save_csv(tmp_path / "d.csv", entries).read_text().splitlines()
    assert lines == [",".join(results.CSV_COLUMNS)]
    empty = results.Detections.from_coco(entries, (8, 10))
    assert (len(empty), empty.masks, empty.boxes.shape) == (0, [], (0, 4))


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
        ({"scores": np.ones(3)}, "scores has 3 entries; it must have one for each of the 2 rois"),
        ({"class_ids": np.array([1])}, "class_ids has 1 entries; it must have"),
        ({"masks": np.zeros((8, 10, 1), bool)}, "masks has 1 entries; it must have"),
        (
            {"class_ids": np.array([1, 5])},
            "class_ids has 5; it must be a class of class_names, which has 3",
        ),
    ],
)
def test_bad_results_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        results.to_coco({**two_instances(), **change}, 1, None, NAMES)


def test_missing_keys_and_unknown_segmentation_are_refused():
    with pytest.raises(ValueError, match=r"result lacks \['scores'\]"):
        results.to_coco({"rois": [], "class_ids": []}, 1)
    with pytest.raises(ValueError, match="segmentation is 'mask'; it must be one of"):
        results.to_coco(two_instances(), 1, segmentation="mask")


def test_a_file_name_that_is_not_utf_8_is_written(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    entries = results.to_coco(two_instances(), 1, name, NAMES)
    path = results.save_json(tmp_path / "d.json", entries)
    assert json.loads(path.read_text(encoding="utf-8")) == entries
    assert os.fsencode(json.loads(path.read_bytes())[0]["file_name"]) == b"caf\xe9.jpg"
    assert "caf\\udce9.jpg" in results.save_csv(tmp_path / "d.csv", entries).read_text("utf-8")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.csv", "d.json"]


def test_scores_are_written_without_loss():
    scores = np.array([0.9, 1 / 3], np.float32)
    entries = results.to_coco({**two_instances(), "scores": scores}, 1)
    assert [e["score"] for e in entries] == [0.9, 0.33333334]
    assert (np.float32([e["score"] for e in entries]) == scores).all()


# ---- Detections --------------------------------------------------------------------------------


@pytest.mark.parametrize("rle", [False, True])
@pytest.mark.parametrize(
    "selection, rows",
    [
        ([True, False], [0]),
        (np.array([1, 0]), [1, 0]),
        (slice(1, None), [1]),
        (np.zeros(2, bool), []),
        ([], []),
    ],
)
def test_choosing_detections(rle, selection, rows):
    given = two_instances()
    masks = given.pop("masks")
    given |= {"rles": encode_rle(masks)} if rle else {"masks": masks}
    found = Detections.from_result(given)[selection]
    assert len(found) == len(rows)
    assert found.class_ids.tolist() == [given["class_ids"][i] for i in rows]
    np.testing.assert_array_equal(found.boxes, given["rois"][rows].reshape(-1, 4))
    assert found.rles == [encode_rle(masks)[i] for i in rows]
    if rows:
        assert found.size == (8, 10)
    result = found.to_result()
    assert ("rles" in result, "masks" in result) == (rle, not rle)
    if not rle:
        np.testing.assert_array_equal(result["masks"], masks[..., rows])


@pytest.mark.parametrize("wanted, count", [(None, 2), ([2], 1), ({1, 7}, 1), ([], 0)])
def test_detections_of_some_classes(wanted, count):
    assert len(Detections.from_result(two_instances()).of_classes(wanted)) == count


def test_a_single_detection_is_no_selection():
    with pytest.raises(IndexError, match="selection is 0; it must select a list"):
        Detections.from_result(two_instances())[0]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"rois": np.zeros((2, 5))}, r"boxes has shape \(2, 5\); it must be \[N, 4\]"),
        ({"rois": [[0, 0, 1, 1], [0, 0, np.inf, 1]]}, r"boxes\[1\] is \[0.0, 0.0, inf, 1.0\]; it"),
        ({"scores": ["a", "b"]}, r"scores\[0\] is 'a'; it must hold finite numbers"),
        ({"class_ids": [1.5, 1]}, "class_ids is .*; it must hold whole numbers from 1"),
        ({"class_ids": [0, 1]}, "class_ids is .*; it must hold whole numbers from 1"),
        ({"class_ids": [[1], [2]]}, r"class_ids has shape \(2, 1\); it must be \[N\]"),
        ({"masks": np.zeros((8, 2))}, r"masks has shape \(8, 2\); it must be .* 2\]"),
        ({"rles": [{"size": [8, 10]}] * 2}, r"rles\[0\] has \['size'\]; it must have size and"),
        ({"rles": []}, "rles has 0 entries; it must have one for each of the 2 rois"),
    ],
)
def test_detections_are_checked(changes, message):
    with pytest.raises(ValueError, match="^image 3: " + message):
        Detections.from_result({**two_instances(), **changes}, "image 3")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"category_id": 9}, r"category_id 9 is not in the dataset; it must be one of \[13, 17\]"),
        ({"segmentation": [[0, 0, 1, 1]]}, "at least 3 points"),
    ],
)
def test_bad_coco_entries(changes, message):
    entries = results.to_coco(two_instances(), 1, category_ids=[0, 13, 17])
    classes = {13: 1, 17: 2}
    assert Detections.from_coco(entries, None, classes).class_ids.tolist() == [1, 2]
    with pytest.raises(ValueError, match=message):
        Detections.from_coco([{**entries[0], **changes}], (8, 10), classes)
    del entries[1]["score"]
    with pytest.raises(ValueError, match=r"entry 1 of the COCO results lacks \['score'\]"):
        Detections.from_coco(entries, None, classes)


def test_polygons_need_the_size_of_the_image():
    entry = {"category_id": 1, "score": 1, "segmentation": [[0, 0, 4, 0, 4, 4]]}
    with pytest.raises(
        ValueError, match=r"size is None; it must be \(height, width\): the outline"
    ):
        Detections.from_coco([entry])
    assert len(Detections.from_coco([entry], (8, 10))) == 1


def test_boxes_come_from_masks_where_there_are_none():
    entries = results.to_coco(two_instances(), 1)
    for entry in entries:
        del entry["bbox"]
    assert Detections.from_coco(entries).boxes.tolist() == [[1, 2, 3, 5], [3, 4, 8, 10]]


def test_results_import_no_tensorflow():
    code = (
        "import sys, mrcnn.detection.results\n"
        "print(sorted({'keras', 'tensorflow', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_coco_names_are_the_81_classes_of_matterports_model():
    assert len(COCO_CLASS_NAMES) == len(COCO_CATEGORY_IDS) == 81
    assert COCO_CLASS_NAMES[0] == "BG"
    assert COCO_CLASS_NAMES[80] == "toothbrush"
    assert COCO_CATEGORY_IDS[80] == 90
    assert list(COCO_CATEGORY_IDS) == sorted(set(COCO_CATEGORY_IDS))
