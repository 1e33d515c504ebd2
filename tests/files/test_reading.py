import os

import pytest

from mrcnn.files.reading import check_regular_file, read_json_object


def test_kinds_of_paths(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    os.mkfifo(tmp_path / "pipe")
    for name in ("a", "link"):
        check_regular_file(tmp_path / name)
    for path, message in ((tmp_path, "is a folder"), (tmp_path / "pipe", "is a pipe"),
                          ("/dev/null", "is a pipe"), ("a\0b", "must be the path")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            check_regular_file(path)
    for path in (tmp_path / "none", tmp_path / "a" / "b"):
        with pytest.raises(FileNotFoundError, match="table not found"):
            check_regular_file(path, "table")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "is not valid JSON"),
        (b"[1]", "holds a JSON list; it must hold an object"),
        (b'{"a": "\xff"}', "is not UTF-8 text"),
        (b'{"a":' * 50_000, "is not valid JSON"),
        (b"", "is not valid JSON"),
    ],
)
def test_files_that_are_not_json_objects(tmp_path, text, message):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        read_json_object(tmp_path / "a.json")


def test_objects(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": [1, "\xc3\xa4"]}')
    assert read_json_object(tmp_path / "a.json") == {"a": [1, "\xe4"]}
