"""True objects from masks, from a Dataset's annotations and from a json agree."""

import json

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from mrcnn.datasets.dataset import Dataset
from mrcnn.evaluation.ground_truth import DatasetTruth, JsonTruth, open_ground_truth
from tests.evaluation.toys import HEIGHT, WIDTH, Rectangles, rectangles


def coco_json():
    """Two categories, of which the second sorts first; one image without objects."""
    return {
        "images": [
            {"id": 7, "height": HEIGHT, "width": WIDTH, "file_name": "a.jpg"},
            {"id": 3, "height": HEIGHT, "width": WIDTH, "file_name": "b.jpg"},
        ],
        "categories": [{"id": 44, "name": "dog"}, {"id": 5, "name": "cat"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 44,
                "bbox": [2.5, 4, 10, 6],
                "area": 59.5,
                "iscrowd": 0,
                "segmentation": [[2, 4, 12, 4, 12, 10, 2, 10]],
            }
        ],
    }


def annotated_dataset(content):
    dataset = Dataset()
    for category in content["categories"]:
        dataset.add_class("coco", category["id"], category["name"])
    for image in content["images"]:
        dataset.add_image(
            "coco",
            image["id"],
            None,
            height=HEIGHT,
            width=WIDTH,
            annotations=[a for a in content["annotations"] if a["image_id"] == image["id"]],
        )
    dataset.prepare()
    return dataset


def test_objects_from_masks():
    dataset = Rectangles([[(1, (4, 2, 10, 12)), (-3, (0, 0, 40, 60)), (2, (5, 5, 5, 9))], []])
    truth = DatasetTruth(dataset)
    assert truth.class_names == {1: "cat", 2: "dog", 3: "cow"}
    assert truth.category_ids == {1: 10, 2: 20, 3: 30}
    assert truth.source_image_ids == {0: 100, 1: 101}

    cat, crowd = truth.load(0).objects  # the third has no pixel
    assert (cat["class_id"], cat["bbox"], cat["area"], cat["iscrowd"]) == (1, [2, 4, 10, 6], 60, 0)
    np.testing.assert_array_equal(
        mask_utils.decode(cat["segmentation"]), rectangles([(4, 2, 10, 12)])[..., 0]
    )
    assert (crowd["class_id"], crowd["area"], crowd["iscrowd"]) == (3, 2400, 1)
    assert truth.load(0).size == truth.load(1).size == (HEIGHT, WIDTH)
    assert truth.load(1).objects == []
    truth.load(0)
    assert dataset.masks_loaded == 2  # each image once


def test_size_of_an_empty_picture_may_be_unknown():
    assert DatasetTruth(Rectangles([[]], with_size=False)).load(0).size is None


def test_json_keeps_areas_boxes_and_sorts_categories():
    truth = JsonTruth(coco_json())
    assert truth.class_names == {1: "cat", 2: "dog"}
    assert truth.category_ids == {1: 5, 2: 44}
    assert truth.sorted_image_ids([7, 3]) == [3, 7]
    (dog,) = truth.load(7).objects
    assert (dog["class_id"], dog["bbox"], dog["area"]) == (2, [2.5, 4, 10, 6], 59.5)
    assert mask_utils.area(dog["segmentation"]) == 60
    assert truth.load(3).objects == []


def test_json_file_and_dataset_with_annotations_agree(tmp_path):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(coco_json()))
    (from_file,) = open_ground_truth(path).load(7).objects
    dataset = annotated_dataset(coco_json())
    (from_dataset,) = open_ground_truth(dataset).load(0).objects
    # The json sorts its categories, the dataset numbers them as they were added.
    assert (from_file.pop("class_id"), from_dataset.pop("class_id")) == (2, 1)
    assert from_file == from_dataset
    assert "segmentation" not in DatasetTruth(dataset, masks=False).load(0).objects[0]


def test_views_keep_the_meaning_of_category_ids():
    """Category 44 is another class in each part of a merged dataset."""
    first, second = coco_json(), coco_json()
    second["categories"] = [{"id": 44, "name": "bird"}]
    merged = Dataset.merge([annotated_dataset(first), annotated_dataset(second)])
    truth = DatasetTruth(merged)
    names = [truth.class_name(truth.load(i).objects[0]["class_id"]) for i in (0, 2)]
    assert names == ["dog", "bird"]


def test_annotations_of_other_kinds_are_not_taken():
    """`annotations` is a common name; only COCO's fields count (load_mask otherwise)."""
    dataset = Rectangles([[(1, (4, 2, 10, 12))]])
    for annotations in ([{"polygon": [1, 2, 3]}], [{"bbox": [0, 0, 1, 1], "category_id": 99}]):
        dataset.image_info[0]["annotations"] = annotations
        assert DatasetTruth(dataset).load(0).objects[0]["area"] == 60
        with pytest.raises(ValueError, match=r"use_annotations is True, but image_info\[0\]"):
            DatasetTruth(dataset, use_annotations=True).load(0)
    dataset.image_info[0]["annotations"] = [{"bbox": [0, 0, 3, 3], "category_id": 20}]
    assert DatasetTruth(dataset).load(0).objects[0]["area"] == 9
    assert DatasetTruth(dataset, use_annotations=False).load(0).objects[0]["area"] == 60


@pytest.mark.parametrize(
    "changes, area",
    [
        ({}, 60),
        ({"segmentation": []}, 60),  # the box
        ({"segmentation": [[0, 0, 5, 5]]}, None),  # two points enclose nothing
        ({"segmentation": [[0, 0, 5, 5], [0, 0, 4, 0, 4, 4, 0, 4]]}, 16),
        ({"segmentation": {"size": [2, 2], "counts": [0, 4]}, "iscrowd": 1}, HEIGHT * WIDTH),
    ],
)
def test_odd_segmentations(changes, area):
    content = coco_json()
    annotation = content["annotations"][0]
    del annotation["area"]
    annotation.update(changes)
    areas = [one["area"] for one in JsonTruth(content).load(7).objects]
    assert areas == ([] if area is None else [area])


def test_errors_name_what_is_wrong():
    content = coco_json()
    content["annotations"][0]["segmentation"] = {"size": [2, 2], "counts": [0, 4]}
    with pytest.raises(ValueError, match=r"annotation 1: segmentation size is \[2, 2\]"):
        JsonTruth(content).load(7)
    with pytest.raises(ValueError, match="image_id 8 is not one of the dataset's 2"):
        JsonTruth(content).load(8)
    with pytest.raises(
        ValueError, match=r"annotations of the COCO json is None; it must be a list"
    ):
        JsonTruth({"images": [], "categories": []})
    with pytest.raises(ValueError, match=r"prepare\(\)"):
        DatasetTruth(Dataset())
    dataset = Rectangles([[(1, (4, 2, 10, 12))]])
    dataset.load_mask = lambda image_id: (rectangles([(0, 0, 5, 5)]), np.array([1, 2]))
    with pytest.raises(ValueError, match=r"image 100 returned masks .* and 2 class ids"):
        DatasetTruth(dataset).load(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segmentation": [[1, 2, "x", 4, 5, 6]]}, "annotation 1: segmentation holds"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [5]}}, "annotation 1: .* 5 pixels"),
    ],
)
def test_a_broken_annotation_is_named(change, message):
    content = coco_json()
    content["annotations"][0] |= change
    with pytest.raises(ValueError, match=message):
        JsonTruth(content).load(7)


@pytest.mark.parametrize(
    "change",
    [
        {"iscrowd": "0", "image_id": "7", "category_id": 44.0},
        {"segmentation": [2, 4, 12, 4, 12, 10, 2, 10]},
        {"segmentation": [[[2, 4], [12, 4], [12, 10], [2, 10]]], "bbox": ["2.5", 4, 10, 6]},
    ],
)
def test_other_spellings_mean_the_same(change):
    content = coco_json()
    expected = JsonTruth(content).load(7)
    content["annotations"][0] |= change
    assert JsonTruth(content).load(7) == expected


def test_broken_files_are_named(tmp_path):
    path = tmp_path / "a.json"
    for text, message in (("[1", "not valid JSON"), ("[]", "must hold an object")):
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"a\.json.* {message}"):
            JsonTruth(path)
