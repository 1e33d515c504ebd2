"""The report as numbers, json and text."""

import json

import pytest

from mrcnn.evaluation.report import ClassReport, CocoMetrics, CocoReport

REPORT = CocoReport(
    box=CocoMetrics(AP=0.5, AP50=0.75),
    mask=CocoMetrics(AP=0.25),
    classes=[
        ClassReport(
            1, "wild\x1b[2J cat", 3, 4, CocoMetrics(AP=0.5, AP50=0.75), CocoMetrics(AP=0.25)
        ),
        ClassReport(2, "dog", 0, 1),
        ClassReport(3, "owl", 0, 2),
    ],
    num_images=2,
    num_objects=3,
    num_crowds=1,
    num_detections=7,
    seconds_per_image=0.1234,
)


def test_figures_by_name():
    assert REPORT["box_AP50"] == 0.75
    assert REPORT["mask_AP"] == REPORT.mask.AP == 0.25
    assert len(REPORT.metrics()) == 24
    with pytest.raises(KeyError, match="'AP' is not one of box_AP"):
        REPORT["AP"]


def test_json_holds_no_nan(tmp_path):
    REPORT.save(tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text())
    assert content == REPORT.to_dict()
    assert (content["box_AP"], content["box_AP75"], content["num_images"]) == (0.5, None, 2)
    assert content["classes"][0]["mask_AP50"] is None
    assert content["classes"][0]["box_AP50"] == 0.75
    assert len(content["classes"][1]) == 4 + 12  # no masks


def test_printed_table():
    assert str(REPORT).splitlines() == [
        "COCO evaluation: 2 images, 3 objects, 1 crowd, 7 detections, 0.123 s/image",
        "",
        "         AP   AP50  AP75  APs  APm  APl  AR1  AR10  AR100  ARs  ARm  ARl",
        "box   0.500  0.750     -    -    -    -    -     -      -    -    -    -",
        "mask  0.250      -     -    -    -    -    -     -      -    -    -    -",
        "",
        "class            objects  detections  box AP  box AP50  mask AP  mask AP50",
        r"wild\x1b[2J cat        3           4   0.500     0.750    0.250          -",
        "",
        "3 detections of 2 classes without a true object: owl 2, dog 1",
    ]


def test_long_names_are_cut():
    report = CocoReport(CocoMetrics(), None, [ClassReport(1, "x" * 99, 1, 0)])
    assert str(report).splitlines()[-1].split() == ["x" * 29 + "…", "1", "0", "-", "-"]


def test_printed_table_of_boxes_without_classes():
    assert str(CocoReport(box=CocoMetrics(), mask=None)).splitlines()[2:] == [
        "     AP  AP50  AP75  APs  APm  APl  AR1  AR10  AR100  ARs  ARm  ARl",
        "box   -     -     -    -    -    -    -     -      -    -    -    -",
    ]
