"""Visible files, and the image that an annotation means."""

from pathlib import Path

import pytest

from mrcnn.datasets.layout import (
    ImageFinder,
    dataset_root,
    is_visible,
    visible_files,
    visible_folders,
)
from mrcnn.datasets.outline import json_outline


@pytest.fixture
def tree(tmp_path):
    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("name", "visible"),
    [("a.png", True), ("._a.png", False), (".DS_Store", False), ("Thumbs.db", False),
     ("__MACOSX", False), (".ipynb_checkpoints", False), ("_a.png", True), ("@eaDir", False)],
)  # fmt: skip
def test_visible_names(name, visible):
    assert is_visible(name) == visible


def test_visible_files_and_folders(tree):
    root = tree("b.JSON", "a.json", "c.txt", "._a.json", "x/y.json", ".git/z", "__MACOSX/a.json")
    assert [p.name for p in visible_files(root, ".json")] == ["a.json", "b.JSON"]
    assert [p.name for p in visible_files(root)] == ["a.json", "b.JSON", "c.txt"]
    assert [p.name for p in visible_folders(root)] == ["x"]
    assert visible_files(root / "gone") == visible_folders(root / "a.json") == []


@pytest.mark.parametrize(
    ("file", "root"),
    [("set/a.json", "set"), ("set/annotations/a.json", "set"), ("set/JSON/a.json", "set"),
     ("a.json", "."), ("set/train/a.json", "set/train")],
)  # fmt: skip
def test_dataset_root(file, root):
    assert dataset_root(Path(file)) == Path(root)


# Name, files, recorded name, the file found.
FOUND = [
    ("as recorded", ["s/a.png", "a.png"], "s/a.png", "s/a.png"),
    ("exact case first", ["A.png", "a.png"], "a.png", "a.png"),
    ("two cases, neither exact", ["A.png", "a.png"], "a.PNG", None),
    ("case of a folder", ["Images/a.png"], "images/A.PNG", "Images/a.png"),
    ("prefix of another computer", ["x/s/a.png", "x/t/a.png"], "D:\\old\\t\\a.png", "x/t/a.png"),
    ("composed letters", ["cafe\u0301.png"], "caf\u00e9.PNG", "cafe\u0301.png"),
    ("URL", ["s/a b.png"], "https://h.org:80/q/s/a%20b.png?w=1#x", "s/a b.png"),
    ("query", ["s/a.png"], "/data/local-files/?d=s%2Fa.png", "s/a.png"),
    ("no address", ["a.png"], "http://[", None),
    ("up and down", ["s/a.png"], "s/../s/a.png", "s/a.png"),
    ("up too far", ["a.png"], "../../a.png", "a.png"),
    ("a folder", ["a.png/b"], "a.png", None),
    ("another part", ["val/a.png"], "a.png", None),
    ("another part by name", ["val/a.png"], "val/a.png", "val/a.png"),
    ("NUL", ["a.png"], "a.png\0", None),
    ("nothing", ["a.png"], "///", None),
]


@pytest.mark.parametrize(("name", "files", "recorded", "place"), FOUND, ids=[c[0] for c in FOUND])
def test_finding(tree, name, files, recorded, place):
    root = tree(*(f"set/{file}" for file in files), "a.png", "b.png") / "set"
    finder = ImageFinder(root, other_parts=["val"])
    found = finder.find(recorded)
    assert (found and found.relative_to(root).as_posix()) == place
    assert root in finder.locate(recorded).parents


def test_folders_come_first(tree):
    root = tree("x/a.png", "y/a.png", "a.png")
    assert ImageFinder(root, [root / "y", root / "x"]).find("a.png") == root / "y" / "a.png"
    assert ImageFinder(root).find("gone.png", "a.png") == root / "a.png"


def test_long_and_odd_names_end_nowhere(tree):
    finder = ImageFinder(tree("a.png"))
    for name in ("a" * 5000, "a/" * 3000, "%", "%ff%fe", "..", ".", "~", "\udcff", "C:", "?d="):
        assert finder.find(name) is None
        assert finder.root in finder.locate(name).parents


@pytest.mark.parametrize(
    ("text", "keys", "inner"),
    [
        ('{"a": {"b": {"c": 1}}, "d": [{"e": 2}]}', {"a", "d"}, {"b"}),
        ('[{"a": {"b": 1}}, {"c": 1}]', set(), {"a", "c"}),
        ('\ufeff  {"a": "x\\": {y", "b": "}"}', {"a", "b"}, set()),
        ('{"imageData": "' + "A" * 1_000_000 + '", "shapes": []}', {"imageData", "shapes"}, set()),
        ('{"a": 1, "b": [', {"a", "b"}, set()),
        ('{"a" : 1, "b"\n: 2}', {"a", "b"}, set()),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_outline(tmp_path, text, keys, inner, encoding):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode(encoding))
    outline = json_outline(path)
    assert (outline.keys, outline.inner) == (keys, inner)
    assert outline.is_list == text.startswith("[")


@pytest.mark.parametrize("content", [b"", b"x", b"<a>", b"\x00\x05\x16\x07", b"\xff\xfe"])
def test_no_outline(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    assert json_outline(path) is None
    assert json_outline(tmp_path) is None
    assert json_outline(tmp_path / "gone.json") is None
