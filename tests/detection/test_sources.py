"""Files, folders, patterns, lists and addresses; what is refused before anything is loaded."""

import io
import os
from pathlib import Path

import pytest

from mrcnn.detection.sources import Source, find_sources

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


@pytest.fixture
def folder(tmp_path):
    for name in ("b.JPG", "a.png", ".hidden.jpg", "sub/c.jpg", "sub/deep/d.jpg", ".git/e.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.touch()
    (tmp_path / "clip.mp4").touch()
    (tmp_path / "image_without_suffix").write_bytes(PNG)
    (tmp_path / "notes.pdf").write_bytes(b"%PDF-1.4")
    return tmp_path


def found(*words, **options):
    return [Path(source.path) for source in find_sources([str(w) for w in words], **options)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["."], ["a.png", "b.JPG"]),
        (["a.png"], ["a.png"]),
        (["image_without_suffix"], ["image_without_suffix"]),
        (["*.png"], ["a.png"]),
        (["*"], ["a.png", "b.JPG", "clip.mp4"]),
        (["**/*.jpg"], ["sub/c.jpg", "sub/deep/d.jpg"]),
        (["b.JPG", ".", "sub"], ["b.JPG", "a.png", "sub/c.jpg"]),
        (["sub/../a.png", "a.png"], ["sub/../a.png"]),
    ],
    ids=["folder", "file", "content", "pattern", "videos", "deep", "each once", "one place"],
)
def test_find_sources(folder, words, expected):
    assert found(*(folder / w for w in words)) == [folder / name for name in expected]


def test_folders_of_a_folder(folder):
    sources = find_sources([str(folder)], recursive=True)
    assert [s.file_name for s in sources] == ["a.png", "b.JPG", "sub/c.jpg", "sub/deep/d.jpg"]
    assert [s.stem for s in sources] == ["a", "b", "c", "d"]
    assert found(folder, recursive=True, leave_out=folder / "sub") == [
        folder / "a.png",
        folder / "b.JPG",
    ]
    # The folder of the results itself is read where it is given.
    assert len(found(folder, recursive=True, leave_out=folder)) == 4


def test_a_loop_of_folders_ends(folder):
    (folder / "sub" / "loop").symlink_to(folder)
    assert len(found(folder, recursive=True)) == 4


@pytest.mark.parametrize(
    ("word", "error", "message"),
    [
        ("none.jpg", FileNotFoundError, "image is .*none.jpg: no such file or folder"),
        ("*.gif", FileNotFoundError, "no such file or folder"),
        ("empty", FileNotFoundError, "image is .*empty: a folder without images$"),
        ("outer", FileNotFoundError, "without images .its folders are searched with --recursive.$"),
        ("notes.pdf", ValueError, "image is .*notes.pdf, whose type is unknown; it must be an im"),
        ("clip.mp4.part", ValueError, "whose type is unknown"),
        ("pipe.jpg", ValueError, "it must be a regular file or a folder"),
        ("empty.txt", FileNotFoundError, "empty.txt is an empty list; it must name at least one"),
        ("bad.txt", FileNotFoundError, "line 2 of .*bad.txt: image is nowhere.jpg: no such file"),
        ("other.txt", ValueError, "line 1 of .*other.txt: image is notes.pdf, whose type|unknown"),
        ("nested.txt", ValueError, "line 1 of .*nested.txt: image is .*bad.txt, whose type is unk"),
    ],
)
def test_words_that_are_refused(folder, word, error, message):
    for name in ("empty", "outer/inner"):
        (folder / name).mkdir(parents=True)
    (folder / "clip.mp4.part").write_bytes(b"0")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "empty.txt").write_text("\n  \n")
    (folder / "bad.txt").write_text("a.png\nnowhere.jpg\n")
    (folder / "other.txt").write_text("notes.pdf\n")
    (folder / "nested.txt").write_text("bad.txt\n")
    with pytest.raises(error, match=message):
        find_sources([str(folder / "a.png"), str(folder / word)])


@pytest.mark.parametrize("word", ["rtsp://camera/1", "ftp://host/a.jpg", "file:///etc/passwd"])
def test_other_addresses_are_refused(word):
    with pytest.raises(ValueError, match="an address must start with http:// or https://"):
        find_sources([word])


@pytest.mark.parametrize(
    ("address", "kind", "name", "stem"),
    [
        ("https://host/dir/cat.jpg?size=2", "image", "cat.jpg", "cat"),
        ("http://host/clip.MP4", "video", "clip.MP4", "clip"),
        ("http://host/", "image", "image", "image"),
        ("HTTP://host/a%2Fb%00.png", "image", "b.png", "b"),
    ],
)
def test_addresses(address, kind, name, stem):
    (source,) = find_sources([address])
    assert source == Source(kind, address, name)
    assert (source.stem, source.place, source.is_local) == (stem, address, False)


def test_a_list_names_files_from_here_or_from_its_own_folder(folder, monkeypatch):
    (folder / "list.txt").write_bytes(b"\xef\xbb\xbfa.png\r\n\nsub\nhttp://host/x.jpg\nsub/*.jpg\n")
    expected = ["a.png", "c.jpg", "x.jpg"]
    assert [s.file_name for s in find_sources([str(folder / "list.txt")])] == expected
    monkeypatch.chdir(folder)
    assert [s.file_name for s in find_sources(["list.txt"])] == expected
    monkeypatch.setattr("sys.stdin", io.StringIO("a.png\nb.JPG\n"))
    assert [s.file_name for s in find_sources(["-"])] == ["a.png", "b.JPG"]


def test_a_list_may_hold_names_that_are_not_utf8(folder, monkeypatch):
    name = os.fsdecode(b"caf\xe9.png")
    (folder / name).touch()
    (folder / "list.txt").write_bytes(b"caf\xe9.png\n")
    assert [s.file_name for s in find_sources([str(folder / "list.txt")])] == [name]
    path = os.fsencode(folder / name)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(path + b"\n"), encoding="ascii"))
    assert [s.file_name for s in find_sources(["-"])] == [name]


def test_webcams_and_files_that_are_called_like_one(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (source,) = find_sources(["0"])
    assert source == Source("webcam", "0", "webcam 0") and source.place == "webcam 0"
    Path("0").mkdir()
    Path("0/x.png").touch()
    assert [s.file_name for s in find_sources(["0"])] == ["x.png"]


def test_places_are_the_same_from_any_folder(folder, monkeypatch):
    (there,) = find_sources([str(folder / "a.png")])
    monkeypatch.chdir(folder)
    (here,) = find_sources(["a.png"])
    assert here.path == "a.png" and here.place == there.place == str(folder / "a.png")


def test_the_bytes_of_an_image_on_the_standard_input(monkeypatch):
    stream = io.BufferedReader(io.BytesIO(PNG * 100))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stream))
    (source,) = find_sources(["-"])
    assert (source.kind, source.file_name, source.stem) == ("image", "stdin", "stdin")
    assert Path(source.path).read_bytes() == PNG * 100
    Path(source.path).unlink()  # otherwise done at the end of the process
