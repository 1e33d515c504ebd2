"""Class names that may mean the same class."""

import pytest

from mrcnn.checkpoints.coco_names import COCO_CLASS_NAMES
from mrcnn.datasets.similar_names import similar_names

CASES = [
    ("Motorcycle", "motorcycle", "case or spaces"),
    ("motorcycle ", "motorcycle", "case or spaces"),
    ("traffic light", "traffic_light", "case or spaces"),
    ("traffic light", "trafficlight", "case or spaces"),
    ("T-shirt", "t shirt", "case or spaces"),
    ("motorbikes", "motorbike", "plural"),
    ("Trees", "tree", "plural"),
    ("boxes", "box", "plural"),
    ("berries", "berry", "plural"),
    ("leaves", "leaf", "plural"),
    ("bushes", "bush", "plural"),
    ("motorcycle", "motorcyle", "one letter"),
    ("motorcycle", "motorcylce", "one letter"),
    ("motorcycle", "motorcicle", "one letter"),
    ("motorcycle", "motorcyclee", "one letter"),
    ("strawberry", "stawberry", "one letter"),
    ("cat", "car", None),
    ("bus", "bush", None),
    ("table", "cable", None),
    ("grade 1", "grade 2", None),
    ("vehicle1", "vehicle11", None),
    ("vehicle", "vehicle2", None),
    ("type a", "type b", None),
    ("category a", "category b", None),
    ("glass", "glas", None),
    ("motorcycle", "bicycle", None),
    ("male", "female", None),
    ("", " ", None),
]


@pytest.mark.parametrize(("first", "second", "difference"), CASES)
def test_pairs(first, second, difference):
    expected = [(first, second, difference)] if difference else []
    assert similar_names([first, "other things", second]) == expected
    assert similar_names([second, first]) == [(b, a, how) for a, b, how in expected]


def test_coco_has_none():
    assert similar_names(COCO_CLASS_NAMES) == []


def test_equal_names_are_no_pair():
    assert similar_names(["cat", "cat"]) == []


def test_three_spellings_are_three_pairs():
    found = similar_names(["Wine Glass", "wine glass", "wineglass"])
    assert [how for _, _, how in found] == ["case or spaces"] * 3


def test_many_classes_are_compared_fast():
    names = [f"thing number {number}" for number in range(3000)]
    assert similar_names([*names, "Thing number 7"]) == [
        ("thing number 7", "Thing number 7", "case or spaces")
    ]
