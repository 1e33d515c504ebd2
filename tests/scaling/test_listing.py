"""What folders, patterns, lists, Parquet files and addresses name."""

import os
import sys

import cv2
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrcnn.scaling.listing import list_images
from mrcnn.scaling.places import canonical_address


def names(words, **options):
    """The names of the images, `name#row` for rows, and the column."""
    words = [words] if isinstance(words, str | os.PathLike) else words
    table, column = list_images([os.fspath(word) for word in words], **options)
    rows = table.to_pylist()
    found = [(os.path.basename(os.fsdecode(row["source"])), row["row"]) for row in rows]
    return [name if row is None else f"{name}#{row}" for name, row in found], column


ALL = [f"p{number}.jpg" for number in range(7)]


def test_a_folder_gives_its_images_sorted_with_their_sizes(folder):
    (folder / ".hidden.jpg").write_bytes(b"x")
    (folder / "notes.md").write_bytes(b"x")
    (folder / "inner").mkdir()
    (folder / "inner" / "q.PNG").write_bytes(b"four")
    assert names(folder) == (ALL, None)
    assert names(folder, recursive=True) == (["q.PNG", *ALL], None)
    table, _ = list_images([str(folder)], recursive=True)
    assert table["size"][0].as_py() == 4
    assert table["source"][1].as_py() == os.fsencode(folder / "p0.jpg")


def test_a_pattern_an_image_and_a_link(folder):
    os.symlink(folder / "p1.jpg", folder / "z.jpg")
    assert names(folder / "p[56].jpg")[0] == ["p5.jpg", "p6.jpg"]
    assert names([folder / "p5.jpg", folder / "p1.jpg"])[0] == ["p5.jpg", "p1.jpg"]
    assert names(folder)[0] == [*ALL, "z.jpg"]


def test_each_image_once_at_its_first_place(folder):
    assert names([folder / "p5.jpg", folder, folder / "p1.jpg"])[0] == [
        "p5.jpg", *[name for name in ALL if name != "p5.jpg"],
    ]  # fmt: skip


def test_a_list_has_paths_of_its_folder_absolute_ones_and_addresses(folder, monkeypatch, tmp_path):
    lines = [
        "\ufeffp1.jpg",
        "",
        str(folder / "p2.jpg"),
        "https://example.org/a.jpg?x=1",
        "gone.jpg",
    ]
    (folder / "list.txt").write_text("\r\n".join(lines), encoding="utf-8")
    table, _ = list_images([str(folder / "list.txt")])
    assert [os.fsdecode(source) for source in table["source"].to_pylist()] == [
        str(folder / "p1.jpg"), str(folder / "p2.jpg"), "https://example.org/a.jpg?x=1",
        str(folder / "gone.jpg"),
    ]  # fmt: skip
    monkeypatch.chdir(folder)
    (tmp_path / "list.txt").write_text("p1.jpg\n")  # of the working folder
    assert list_images(["../list.txt"])[0]["source"].to_pylist() == [os.fsencode(folder / "p1.jpg")]


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8")
def test_names_of_any_bytes_can_be_opened_again(folder):
    os.rename(os.fsencode(folder / "p0.jpg"), os.fsencode(folder) + b"/\xff.jpg")
    table, _ = list_images([str(folder)])
    assert os.path.exists(table["source"].to_pylist()[-1])


BYTES = {"image": [b"a", b"b", b"c"], "label": [1, 2, 3]}


@pytest.mark.parametrize(
    ("columns", "column", "expected"),
    [
        (BYTES, None, ["t.parquet#0", "t.parquet#1", "t.parquet#2"]),
        ({"jpg": [b"a"]}, "jpg", ["t.parquet#0"]),
        ({"image": [{"bytes": b"a", "path": "x"}]}, None, ["t.parquet#0"]),
        ({"path": ["p2.jpg", "p1.jpg", "p2.jpg"]}, None, ["p2.jpg", "p1.jpg"]),
        ({"place": pa.array(["p2.jpg"]).dictionary_encode()}, "place", ["p2.jpg"]),
    ],
    ids=["bytes", "a column that is named", "a struct", "paths", "a dictionary of paths"],
)
def test_parquet_files(folder, columns, column, expected):
    path = folder / "t.parquet"
    pq.write_table(pa.table(columns), path)
    found, used = names([path, path], column=column)
    assert found == expected
    assert used == (None if expected[0].endswith("jpg") else column or "image")


def test_a_folder_of_parquet_files(tmp_path):
    for name in ("b.parquet", "a.parquet"):
        pq.write_table(pa.table({"bytes": [b"x"]}), tmp_path / name)
    assert names(tmp_path) == (["a.parquet#0", "b.parquet#0"], "bytes")


def test_the_results_are_left_out(folder):
    (folder / "out").mkdir()
    (folder / "out" / "p9.jpg").write_bytes(b"x")
    leave_out = str(folder / "out")
    assert names(folder, recursive=True, leave_out=leave_out)[0] == ALL


def test_other_file_systems(folder):
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/photos/b.jpg", b"x")
    memory.pipe_file("/bucket/photos/a.jpg", b"xy")
    memory.pipe_file("/bucket/list.txt", b"photos/b.jpg\n")
    try:
        table, _ = list_images(["memory://bucket/photos"])
        assert table.to_pylist() == [
            {"source": b"memory:///bucket/photos/a.jpg", "row": None, "size": 2},
            {"source": b"memory:///bucket/photos/b.jpg", "row": None, "size": 1},
        ]
        assert names("memory://bucket/photos/b*")[0] == ["b.jpg"]
        table, _ = list_images(["memory://bucket/list.txt"])
        assert table["source"].to_pylist() == [b"memory:///bucket/photos/b.jpg"]
    finally:
        memory.rm("/bucket", recursive=True)


class Bucket(fsspec.get_filesystem_class("memory")):
    """A store in memory whose addresses have two schemes, as those of s3fs."""

    protocol = ("s3", "s3a")
    store, pseudo_dirs = {}, [""]

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + str(path).partition("://")[2].strip("/") if "://" in str(path) else path

    def unstrip_protocol(self, name):
        return f"s3://{name.lstrip('/')}"


def test_two_schemes_of_one_store_name_an_image_once(folder, monkeypatch):
    for scheme in Bucket.protocol:
        monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, scheme, Bucket)
    files = Bucket(skip_instance_cache=True)
    files.pipe_file("/photos/a.jpg", b"x")
    listed = list_images(["s3://photos"])[0]["source"].to_pylist()
    (folder / "list.txt").write_text("s3a://photos/a.jpg\n" + os.fsdecode(listed[0]))
    found = list_images(["s3a://photos", str(folder / "list.txt")])[0]
    assert found["source"].to_pylist() == listed


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("s3a://b/x", "s3://b/x"),
        ("GCS://b/x", "gs://b/x"),
        ("az://b/x", "abfs://b/x"),
        ("abfss://b/x", "abfs://b/x"),
        ("s3://b/s3a://x", "s3://b/s3a://x"),
        ("http://host/x", "http://host/x"),
        ("a/b", "a/b"),
    ],
)
def test_canonical_address(place, expected):
    assert canonical_address(place) == expected


def write_bad(folder, name):
    """Write the file or folder of a case of bad input; return the word for it."""
    path = folder / name
    if name == "empty":
        path.mkdir()
    elif name == "empty.txt":
        path.write_text("\n\n")
    elif name == "odd.txt":
        path.write_text("nonsense://x\n")
    elif name == "mixed":
        path.mkdir()
        (path / "a.jpg").write_bytes(b"x")
        pq.write_table(pa.table(BYTES), path / "a.parquet")
    elif name == "no.parquet":
        path.write_bytes(b"no Parquet")
    elif name == "rows.parquet":
        pq.write_table(pa.table({"image": pa.array([], pa.binary())}), path)
    elif name == "null.parquet":
        pq.write_table(pa.table({"path": ["a.jpg", None]}), path)
    elif name == "number.parquet":
        pq.write_table(pa.table({"image": [1]}), path)
    elif name == "damaged.parquet":
        pq.write_table(pa.table({"path": [f"{number}.jpg" for number in range(3000)]}), path)
        data = bytearray(path.read_bytes())
        data[100:400] = bytes(range(100)) * 3
        path.write_bytes(data)
    elif name == "other.parquet":
        pq.write_table(pa.table({"label": [1], "split": ["x"]}), path)
    elif name == "clip.mp4":
        path.write_bytes(b"x")
    elif name == "pipe":
        os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    ("name", "column", "error", "message"),
    [
        ("gone", None, FileNotFoundError, "gone: no such file or folder"),
        ("x*.jpg", None, FileNotFoundError, "a pattern without images or Parquet files"),
        ("empty", None, FileNotFoundError, "a folder without images or Parquet files (its folders"),
        ("empty.txt", None, FileNotFoundError, "empty list; it must name at least one image"),
        ("odd.txt", None, ValueError, "source is nonsense://x; it must be a path, or an address"),
        ("mixed", None, ValueError, "which holds images and Parquet files; it must name one kind"),
        ("no.parquet", None, ValueError, "no.parquet is not a Parquet file that can be read"),
        ("rows.parquet", None, FileNotFoundError, "has no rows; it must hold at least one image"),
        ("null.parquet", None, ValueError, "has no path in row 1 of the column path"),
        ("number.parquet", None, ValueError, "column is image, of type int64 in"),
        ("damaged.parquet", None, ValueError, "damaged.parquet is not a Parquet file that can be"),
        ("other.parquet", None, ValueError, "which has label, split"),
        ("other.parquet", "jpg", ValueError, "column is jpg; it must be a column of"),
        ("p1.jpg", "jpg", ValueError, "it must not be given where no Parquet file is read"),
        ("clip.mp4", None, ValueError, "whose type is unknown; it must be an image, a folder"),
        ("pipe", None, ValueError, "it must be a regular file or a folder"),
    ],
)  # fmt: skip
def test_bad_sources(folder, name, column, error, message):
    with pytest.raises(error) as raised:
        list_images([str(write_bad(folder, name))], column=column)
    assert message in str(raised.value)


def test_images_of_files_in_other_columns(tmp_path):
    pq.write_table(pa.table({"image": [b"x"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"bytes": [b"x"]}), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"in the column bytes, other files in image; column must"):
        list_images([str(tmp_path)])


def test_many_names_are_listed_in_parts(folder, monkeypatch):
    monkeypatch.setattr("mrcnn.scaling.listing._CHUNK", 2)
    (folder / "list.txt").write_text("\n".join(ALL))
    assert names(folder / "list.txt")[0] == ALL
    image = cv2.imread(str(folder / "p1.jpg"))
    assert np.abs(image.astype(int) - 20).max() <= 2  # the fixture is what it says


def test_an_address_whose_package_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ImportError, match="source is s3://bucket/a; such addresses need another"):
        list_images(["s3://bucket/a"])
