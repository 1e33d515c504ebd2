"""Copies of images, images in two parts, and files without annotation."""

import pytest

from mrcnn.datasets.between_parts import (
    find_copies,
    find_shared,
    find_unannotated,
    parts_in_order,
    shared_with,
)


def lines(problems):
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("digests", "expected"),
    [
        ({}, []),
        ({"a": "1", "b": "2"}, []),
        ({"a": "1", "b": "1"}, ["1 image is a copy of another: b = a"]),
        ({"a": "1", "b": "1", "c": "1"}, ["2 images are copies of another: b = a; c = a"]),
        (
            {str(n): "1" for n in range(9)},
            ["8 images are copies of another: 1 = 0; 2 = 0; 3 = 0; 4 = 0; 5 = 0; ..."],
        ),
    ],
    ids=["none", "different", "one", "three alike", "many"],
)
def test_copies(digests, expected):
    assert lines(find_copies(digests)) == [f"warning: {e} [same_content]" for e in expected]


@pytest.mark.parametrize(
    ("digests", "expected"),
    [
        ({"train": {"a": "1"}}, []),
        ({"train": {"a": "1"}, "val": {"b": "2"}}, []),
        ({"train": {"a": "1"}, "val": {"a": "1"}}, ["1 image of val is also in train: a"]),
        (
            {"train": {"a": "1", "b": "2"}, "val": {"c": "1", "d": "2", "e": "3"}},
            ["2 images of val are also in train: c = a; d = b"],
        ),
        (
            {"train": {"a": "1"}, "val": {"b": "1"}, "test": {"c": "1"}},
            [
                "1 image of val is also in train: b = a",
                "1 image of test is also in train: c = a",
                "1 image of test is also in val: c = b",
            ],
        ),
    ],
    ids=["one part", "different", "same file", "copies", "three parts"],
)
def test_shared_between_parts(digests, expected):
    found = lines(find_shared(digests))
    assert found == [f"warning: {e} [shared_between_parts]" for e in expected]


def test_unannotated_files(tmp_path):
    for name in ("a.png", "b.png", "c.JPG", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    (found,) = find_unannotated([str(tmp_path / "a.png")])
    assert (found.severity, found.kind) == ("note", "unannotated_files")
    assert found.message == (
        f"2 image files in {tmp_path} have no annotation and are not in the dataset: b.png, c.JPG"
    )
    paths = [str(tmp_path / name) for name in ("a.png", "b.png", "c.JPG")]
    assert find_unannotated(paths) == []
    assert find_unannotated([]) == find_unannotated(["https://example.org/a.png"]) == []


def test_shared_with():
    others = {"train": {1, 2}, "val": {3}}
    assert shared_with({1, 2}, others) == ["train"]
    assert shared_with({2}, others) == ["train"]
    assert shared_with({1, 3}, others) == ["train", "val"]
    assert shared_with({1, 4}, others) == []
    assert shared_with({1}, {}) == []


def test_joined_parts_come_last():
    assert parts_in_order(["train", "trainval", "val"]) == ["train", "val", "trainval"]
