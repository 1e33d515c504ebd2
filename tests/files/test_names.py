"""Names reach the terminal without control characters."""

import pytest

from mrcnn.files.names import printable, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dog", "dog"),
        ("Hündin 犬", "Hündin 犬"),
        ("cat\x1b[31m\x07", "cat\\x1b[31m\\x07"),
        ("a\nb\x85", "a\\nb\\x85"),
        ("evil\u202egnp.exe", "evil\\u202egnp.exe"),
        ("caf\udce9", "caf\\udce9"),
        (7, "7"),
    ],
)
def test_printable(text, expected):
    assert printable(text) == expected


class Unshowable:
    def __repr__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, "5"),
        ("a\x1b", "'a\\x1b'"),
        ([1] * 100, "[1, 1, 1, ..."),
        (10**5000, "of type in..."),
        (Unshowable(), "of type Un..."),
    ],
    ids=["number", "control", "long", "huge", "broken"],
)
def test_shown(value, expected):
    assert shown(value, 10) == expected
