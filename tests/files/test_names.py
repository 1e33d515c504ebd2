"""Names reach the terminal without control characters."""

import pytest

from mrcnn.files.names import printable


@pytest.mark.parametrize(
    ("text", "shown"),
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
def test_printable(text, shown):
    assert printable(text) == shown
