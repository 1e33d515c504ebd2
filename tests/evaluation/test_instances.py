"""The single-object protocol."""

import csv
import json

import numpy as np
import pytest

from mrcnn.evaluation.instances import evaluate_single_object, largest_object
from tests.evaluation.toys import HEIGHT, WIDTH, Detector, Rectangles, rectangles, result

BOX = (0, 0, 20, 20)


@pytest.mark.parametrize(
    "class_id, expected", [(4, 1), (2, 2), (9, None), (None, 2)], ids=["4", "2", "9", "any"]
)
def test_largest_object(class_id, expected):
    found = result(
        (4, 0.9, (0, 0, 5, 5)), (4, 0.2, (0, 0, 9, 9)), (2, 0.5, (0, 0, 30, 30)), (4, 0.1, BOX[:4])
    )
    found["rois"][3] = (0, 0, 9, 9)  # the first of equals is taken
    assert largest_object(found, class_id) == expected
    assert largest_object(result(), class_id) is None


def test_model_protocol():
    dataset = Rectangles([[(1, BOX)], [(1, (0, 0, 20, 10)), (1, (0, 10, 20, 20))], [(1, BOX)]])
    detector = Detector(
        [
            result((4, 0.6, (0, 0, 20, 10)), (2, 0.9, BOX), (4, 0.9, (0, 0, 4, 4))),
            result((4, 0.6, BOX)),  # the truth is in two parts
            result((2, 0.9, BOX)),
        ]
    )
    report = evaluate_single_object(detector, dataset, class_id=4, progress=False)
    assert [one.iou for one in report.images] == [0.5, 1.0, 0.0]
    assert [one.found for one in report.images] == [True, True, False]
    assert (report.num_images, report.num_found) == (3, 2)
    assert report.mean() == 0.5 and report.mean("iou", found_only=True) == 0.75
    assert report.median() == 0.5
    assert report.mean("dice") == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert report.images[2].pixel_accuracy == pytest.approx(1 - 400 / (HEIGHT * WIDTH))
    assert report.images[2].boundary_iou == 0.0 and report.images[1].boundary_iou == 1.0


def test_the_refiner_is_handed_to_the_model():
    class Refining:
        def detect(self, images, verbose=0, refiner=None):
            return [result((1, 0.9, refiner))]

    report = evaluate_single_object(
        Refining(), Rectangles([[(1, BOX)]]), progress=False, refiner=BOX
    )
    assert report.mean() == 1.0


def test_function_protocol_with_probabilities():
    mask = rectangles([BOX])[..., 0]
    answers = [0.8 * mask, None]
    dataset = Rectangles([[(1, BOX)], []])
    report = evaluate_single_object(
        lambda image: answers[image[0, 0, 0]], dataset, progress=False, image_ids=[1, 0]
    )
    assert [one.image_id for one in report.images] == [1, 0]
    assert [one.found for one in report.images] == [False, True]
    assert (report.images[1].iou, report.images[1].soft_iou) == (1.0, pytest.approx(1.0))


def test_report_files(tmp_path):
    dataset = Rectangles([[(1, BOX)]])
    report = evaluate_single_object(lambda image: None, dataset, progress=False)
    report.save_json(tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text())
    assert (content["mean_iou"], content["mean_iou_found"], content["num_found"]) == (0, None, 0)
    report.save_csv(tmp_path / "report.csv")
    with open(tmp_path / "report.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["image_id"], row["found"], row["iou"]) == ("0", "False", "0.0")
    assert str(report).splitlines()[0] == "1 images, object found in 0"
    assert str(report).splitlines()[2].split() == ["iou", "0.0000", "nan"]


@pytest.mark.parametrize(
    "mask, message",
    [
        (np.zeros((3, 3), bool), r"image 0 has shape \(3, 3\)"),
        (np.full((HEIGHT, WIDTH), 255), r"values 255\.\.255"),
        (np.full((HEIGHT, WIDTH), np.nan), "nan"),
    ],
)
def test_bad_predictions(mask, message):
    with pytest.raises(ValueError, match=message):
        evaluate_single_object(lambda image: mask, Rectangles([[(1, BOX)]]), progress=False)


def test_bad_arguments():
    dataset = Rectangles([[(1, BOX)]])
    with pytest.raises(ValueError, match="class_id is 4; it must be None with a function"):
        evaluate_single_object(lambda image: None, dataset, class_id=4)
    with pytest.raises(ValueError, match="refiner is 'motorcycle'; it must be None"):
        evaluate_single_object(lambda image: None, dataset, refiner="motorcycle")
    report = evaluate_single_object(lambda image: None, dataset, progress=False)
    with pytest.raises(ValueError, match="metric is 'mIoU'; it must be one of iou"):
        report.mean("mIoU")
