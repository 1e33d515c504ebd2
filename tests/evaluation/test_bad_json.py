"""COCO json files and results that are not what they should be are refused by name."""

import copy
import json
import os
import random

import pytest

from mrcnn.evaluation import CocoEvaluator
from mrcnn.evaluation.ground_truth import JsonTruth

SOUND = {
    "images": [{"id": 1, "height": 20, "width": 30}, {"id": 2, "height": 20, "width": 30}],
    "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [2, 3, 4, 5], "iscrowd": 0}],
}
RESULT = {"image_id": 1, "category_id": 7, "bbox": [2, 3, 4, 5], "score": 0.5}


def changed(place, value):
    content = copy.deepcopy(SOUND)
    part = content
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    return content


def evaluate(content):
    truth = JsonTruth(content, masks=False)
    for image_id in truth.image_ids:
        truth.load(image_id)
    return truth


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["images"], None, "images of the COCO json is None; it must be a list"),
        (["images"], {"1": {}}, "images of the COCO json is .*; it must be a list"),
        (["images", 0], 5, r"images\[0\] is 5; it must be an object"),
        (["images", 0], {"id": 1, "width": 3}, r"images\[0\]\['height'\] is missing; it must be"),
        (["images", 0, "height"], "20", r"images\[0\]\['height'\] is '20'; it must be a whole"),
        (["images", 0, "width"], 10**12, r"images\[0\]\['width'\] is 1000000000000; it must be"),
        (["images", 0, "id"], [1], r"images\[0\]\['id'\] is \[1\]; it must be"),
        (["categories", 0, "name"], None, r"categories\[0\]\['name'\] is None; it must be"),
        (["annotations", 0, "bbox"], [1, 2], r"annotations\[0\]\['bbox'\] is \[1, 2\]; it must"),
        (["annotations", 0, "bbox"], [1, 2, 3, 1e12], r"\['bbox'\] is .*; it must be four numbers"),
        (["annotations", 0, "bbox"], [1, 2, 3, float("nan")], "it must be four numbers"),
        (["annotations", 0, "category_id"], {}, r"\['category_id'\] is {}; it must be"),
    ],
)
def test_entries_are_checked(place, value, message):
    with pytest.raises(ValueError, match=message):
        evaluate(changed(place, value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "is not valid JSON"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"[]", "holds a JSON list; it must hold an object"),
    ],
)
def test_files_are_checked(tmp_path, text, message):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        JsonTruth(tmp_path / "a.json")


def test_pipes_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="it must be a COCO json"):
        JsonTruth(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), (1, 1), ("0", 0), ("1", 1), (False, 0), (True, 1), (None, 0), (1.0, 1), ("", 0)],
)
def test_crowds_in_every_spelling(value, expected):
    truth = evaluate(changed(["annotations", 0, "iscrowd"], value))
    assert truth.load(1).objects[0]["iscrowd"] == expected


@pytest.mark.parametrize("value", [None, "x", float("nan"), float("inf"), []])
def test_an_area_that_is_no_number_is_that_of_the_box(value):
    truth = evaluate(changed(["annotations", 0, "area"], value))
    assert truth.load(1).objects[0]["area"] == 20


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (5, r"results\[0\] is 5; it must be an object"),
        ({**RESULT, "image_id": [1]}, r"results\[0\] is .*; it must be an object with an image_id"),
        ({**RESULT, "category_id": 99}, "category_id is 99; it must be"),
        ({**RESULT, "score": "high"}, "score is 'high'; it must be"),
        ({**RESULT, "bbox": [1, 2]}, r"bbox is \[1, 2\]; it must be"),
        ({"image_id": 1, "score": 1.0}, "lacks"),
    ],
)
def test_results_are_checked(tmp_path, entry, message):
    evaluator = CocoEvaluator(SOUND, masks=False)
    path = tmp_path / "results.json"
    path.write_text(json.dumps([entry]))
    with pytest.raises(ValueError, match=message):
        evaluator.add_coco_results(path)


def test_mutated_entries():
    """Every entry replaced by every odd value: a ValueError or a truth, nothing else."""
    odd = [None, True, -1, 0, 10**18, 1e300, float("nan"), "", "x", [], [1], {}, [[1]], {"a": 1}]
    rng = random.Random(0)
    places = []

    def walk(part, place):
        keys = part.keys() if isinstance(part, dict) else range(len(part))
        for key in keys:
            places.append([*place, key])
            if isinstance(part[key], dict | list):
                walk(part[key], [*place, key])

    walk(SOUND, [])
    refused = 0
    for place in places:
        for value in rng.sample(odd, 8):
            try:
                evaluate(changed(place, value))
            except ValueError:
                refused += 1
    assert refused > len(places)
