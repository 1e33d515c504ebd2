"""Values of annotation files: what is accepted, and what the error says."""

import json
import math

import pytest

from mrcnn.datasets.entries import (
    AnnotationError,
    Entry,
    as_flag,
    as_identifier,
    as_integer,
    as_name,
    as_number,
    as_text,
    normalize_name,
    read_json,
)

WHERE = "a.json, annotation 12"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, True), (0, False), ("1", True), ("0", False), (1.0, True), (0.0, False), ("0.0", False),
     ("true", True), ("False", False), (True, True), ("no", False), ("", False), (" 1 ", True)],
)  # fmt: skip
def test_flags(value, expected):
    assert as_flag(value, WHERE, "iscrowd") is expected


@pytest.mark.parametrize("value", ["2", 2, -1, math.nan, [], {}, "maybe"])
def test_no_flags(value):
    with pytest.raises(AnnotationError, match=r"annotation 12: iscrowd is .*; it must be true or"):
        as_flag(value, WHERE, "iscrowd")


@pytest.mark.parametrize(
    ("value", "expected"), [(7, 7), (7.0, 7), ("7", 7), ("7.0", 7), (" 7", 7), ("-7", -7)]
)
def test_integers(value, expected):
    assert as_integer(value, WHERE, "id") == expected


@pytest.mark.parametrize(
    "value",
    [True, math.nan, math.inf, -math.inf, 1e12, 10**400, "1e400", "nan", "1,5", "", [], {}, "x"],
)
def test_no_numbers(value):
    with pytest.raises(AnnotationError, match=r"annotation 12: x is .*; it must be a"):
        as_number(value, WHERE, "x")
    with pytest.raises(AnnotationError, match=r"annotation 12: x is .*; it must be a whole number"):
        as_integer(value, WHERE, "x")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, 1), (1.0, 1), ("1", 1), ("1.0", 1), ("a7", "a7"), ("007", "007"), ("0", 0),
     (900100002157, 900100002157), ("-3", -3), ("", ""), ("1.5", "1.5"), ("²", "²")],
)  # fmt: skip
def test_identifiers(value, expected):
    result = as_identifier(value, WHERE, "id")
    assert (result, type(result)) == (expected, type(expected))


@pytest.mark.parametrize("value", [True, 1.5, math.nan, math.inf, [], {}, 10**30])
def test_no_identifiers(value):
    with pytest.raises(AnnotationError, match="id is "):
        as_identifier(value, WHERE, "id")


def test_texts():
    assert as_text(7, WHERE, "name") == as_text(7.0, WHERE, "name") == "7"
    assert as_text(" cat ", WHERE, "name") == "cat"
    for value in (["cat"], {}, "\ud800"):
        with pytest.raises(AnnotationError, match="name is "):
            as_text(value, WHERE, "name")
    with pytest.raises(AnnotationError, match="not empty"):
        as_name(" \t", WHERE, "name")


@pytest.mark.parametrize("name", ["cat toy", "cat  toy ", "\tcat\u00a0toy", "\ufeffcat toy"])
def test_names_that_look_the_same_are_equal(name):
    assert normalize_name(name) == "cat toy"


def test_composed_and_decomposed_letters_are_one_name():
    assert normalize_name("cafe\u0301") == normalize_name("caf\u00e9")


def test_an_entry_names_place_key_value_and_rule():
    entry = Entry({"bbox": [1, 2], "name": None, "size": "9"}, "dir/a.json, annotation 12")
    with pytest.raises(AnnotationError) as error:
        entry.numbers("bbox", count=4)
    assert str(error.value) == (
        "dir/a.json, annotation 12: bbox is [1, 2]; it must be a list of 4 numbers"
    )
    with pytest.raises(AnnotationError, match="name is null; it must be given"):
        entry.name("name")
    with pytest.raises(AnnotationError, match="id is missing; it must be given"):
        entry.identifier("id")
    with pytest.raises(AnnotationError, match=r"bbox\[1\] is 2; it must be a number from 5"):
        Entry({"bbox": [6, 2]}, "a").numbers("bbox", low=5)
    with pytest.raises(AnnotationError, match="size is '9'; it must be a whole number from 0 to 5"):
        entry.integer("size", 0, 5)
    assert entry.flag("iscrowd", default=False) is False
    assert "name" not in entry
    assert "bbox" in entry


def test_lists_of_objects():
    entry = Entry({"annotations": [{"id": 4}, {}, 7]}, "a.json")
    found = entry.entries("annotations", "annotation")
    assert [next(found).where, next(found).where] == [
        "a.json, annotation 4", "a.json, annotation 1"
    ]  # fmt: skip
    with pytest.raises(AnnotationError, match=r"annotation 2: is 7; it must be an object"):
        next(found)
    with pytest.raises(AnnotationError, match=r"a.json: is \[\]; it must be an object"):
        Entry([], "a.json")


def test_error_texts_are_short_and_printable():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, "x" * 10**6, {"a": deep}, "\x1b[2J"):
        with pytest.raises(AnnotationError) as error:
            Entry({"n": value}, "a\x1b.json").number("n")
        assert len(str(error.value)) < 250
        assert "\x1b" not in str(error.value)


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_encodings(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps({"name": "Käse"}, ensure_ascii=False).encode(encoding))
    assert read_json(path) == {"name": "Käse"}


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ('{"name": "Käse"}'.encode("latin-1"), "byte 11 is b'.xe4', which is not UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a": ', "not valid JSON"),
        (b"", "not valid JSON"),
        (b"[" + b"1" * 5000 + b"]", "not valid JSON"),
    ],
)
def test_broken_json_names_the_file(tmp_path, content, rule):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=rf"a\.json: .*{rule}"):
        read_json(path)


def test_json_that_is_no_file(tmp_path):
    for path in (tmp_path, tmp_path / "b.json"):
        with pytest.raises(FileNotFoundError, match="no such file"):
            read_json(path)
