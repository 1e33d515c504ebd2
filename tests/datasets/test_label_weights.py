"""What datasets say of labels that are uncertain and of instances without a mask."""

import json

import cv2
import numpy as np
import pytest

from mrcnn.datasets import CocoDataset, CopyPasteDataset, Dataset, open_dataset
from mrcnn.datasets.entries import AnnotationError
from mrcnn.datasets.views import merge

POLYGON = [[2, 2, 12, 2, 12, 12, 2, 12]]


def write_coco(folder, annotations):
    cv2.imwrite(str(folder / "a.png"), np.full((40, 60, 3), 90, np.uint8))
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": 60, "height": 40}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [
            {"id": i, "image_id": 7, "category_id": 3, "iscrowd": 0, **annotation}
            for i, annotation in enumerate(annotations)
        ],
    }
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return path


def test_coco_scores_and_boxes_without_masks(tmp_path):
    path = write_coco(
        tmp_path,
        [
            {"bbox": [2, 2, 10, 10], "segmentation": POLYGON},
            {"bbox": [90, 90, 5, 5], "score": 0.9},  # outside: load_mask leaves it out
            {"bbox": [20, 5, 10, 20]},
            {"bbox": [30, 5, 10, 20], "score": 0.5},
            {"bbox": [2, 2, 10, 10], "segmentation": POLYGON, "score": 0.75},
        ],
    )
    dataset = open_dataset(path)
    weights = dataset.load_label_weights(0)
    assert weights.dtype == np.float32
    assert weights.tolist() == [[1, 1], [1, 0], [0.5, 0], [0.75, 1]]
    assert dataset.load_mask(0)[0].shape == (40, 60, 4)
    view = merge([dataset.subset([0])])
    assert view.load_label_weights(0).tolist() == weights.tolist()


def test_masks_without_scores_have_no_weights(tmp_path):
    dataset = open_dataset(write_coco(tmp_path, [{"bbox": [2, 2, 9, 9], "segmentation": POLYGON}]))
    assert dataset.load_label_weights(0) is None
    assert Dataset().load_label_weights(0) is None


def test_scores_below_a_limit_are_ignored(tmp_path):
    path = write_coco(tmp_path, [{"bbox": [2, 2, 9, 9], "score": s} for s in (0.25, 0.4, 0.9)])
    dataset = CocoDataset.from_path(path)
    assert dataset.load_mask(0)[1].tolist() == [1, 1, 1]
    dataset.ignore_below = 0.4
    assert dataset.load_mask(0)[1].tolist() == [-1, 1, 1]
    assert dataset.image_class_ids(0).tolist() == [-1, 1, 1]


@pytest.mark.parametrize("score", [-0.5, "high", None])
def test_a_broken_score(tmp_path, score):
    dataset = open_dataset(write_coco(tmp_path, [{"bbox": [2, 2, 9, 9], "score": score}]))
    for call in (dataset.load_label_weights, dataset.load_mask):
        with pytest.raises(AnnotationError, match=r"annotations\.json, annotation 0: score is"):
            call(0)


def image(folder, name="a.png"):
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / name), np.full((40, 60, 3), 90, np.uint8))


def write_yolo(root):
    image(root / "images")
    (root / "labels").mkdir()
    lines = "0 0.5 0.5 0.2 0.2\n0 0.1 0.1 0.4 0.1 0.4 0.4\n"
    (root / "labels" / "a.txt").write_text(lines)
    (root / "data.yaml").write_text("names: [cat]\n")


def write_voc(root):
    image(root / "images")
    (root / "annots").mkdir()
    box = "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"
    polygon = "<polygon><x1>5</x1><y1>5</y1><x2>20</x2><y2>5</y2><x3>20</x3><y3>20</y3></polygon>"
    (root / "annots" / "a.xml").write_text(
        "<annotation><filename>a.png</filename><size><width>60</width><height>40</height>"
        f"<depth>3</depth></size><object><name>cat</name>{box}</object>"
        f"<object><name>cat</name>{box}{polygon}</object></annotation>"
    )


def write_via(root):
    image(root)
    shapes = [
        {"name": "rect", "x": 5, "y": 5, "width": 10, "height": 10},
        {"name": "polygon", "all_points_x": [5, 20, 20], "all_points_y": [5, 5, 20]},
    ]
    regions = [{"shape_attributes": shape, "region_attributes": {}} for shape in shapes]
    content = {"a.png": {"filename": "a.png", "regions": regions, "file_attributes": {}}}
    (root / "via_region_data.json").write_text(json.dumps(content))


def write_labelme(root):
    image(root)
    shapes = [
        {"label": "cat", "shape_type": "rectangle", "points": [[5, 5], [15, 15]]},
        {"label": "cat", "shape_type": "polygon", "points": [[5, 5], [20, 5], [20, 20]]},
    ]
    content = {"imagePath": "a.png", "imageHeight": 40, "imageWidth": 60, "shapes": shapes}
    (root / "a.json").write_text(json.dumps(content))


@pytest.mark.parametrize("write", [write_yolo, write_voc, write_via, write_labelme])
def test_boxes_and_polygons_of_other_formats(tmp_path, write):
    write(tmp_path)
    dataset = open_dataset(tmp_path)
    assert dataset.load_mask(0)[1].tolist() == [1, 1]
    assert dataset.load_label_weights(0).tolist() == [[1, 0], [1, 1]]


def test_only_certain_objects_with_masks_are_pasted(tmp_path):
    path = write_coco(
        tmp_path,
        [
            {"bbox": [2, 2, 10, 10], "segmentation": POLYGON},
            {"bbox": [20, 5, 10, 20]},
            {"bbox": [2, 2, 10, 10], "segmentation": POLYGON, "score": 0.5},
        ],
    )
    dataset = open_dataset(path)
    scenes = CopyPasteDataset(dataset, 5, max_objects=2)
    assert scenes._donors == {1: [(0, 0)]}
    for number in scenes.image_ids:
        weights, (masks, _) = scenes.load_label_weights(number), scenes.load_mask(number)
        assert weights.shape == (masks.shape[2], 2)
        assert weights[-1].tolist() == [1, 1]  # pasted


def test_boxes_are_pasted_where_there_is_nothing_else(tmp_path):
    dataset = open_dataset(write_coco(tmp_path, [{"bbox": [20, 5, 10, 20]}]))
    assert CopyPasteDataset(dataset, 1)._donors == {1: [(0, 0)]}
