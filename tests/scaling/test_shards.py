"""The files of a shard, from images of every kind of source, and folders that fsspec writes."""

import os

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrcnn.geometry.rle import decode_rle
from mrcnn.scaling.images import planned_images
from mrcnn.scaling.listing import list_images
from mrcnn.scaling.places import ResultFolder
from mrcnn.scaling.plan import open_plan, shard_file
from mrcnn.scaling.shards import detect_shard
from tests.local_server import LocalServer
from tests.scaling.conftest import BROKEN, COUNT


def detect(model, words, output, size=100, **options):
    """Detect on all shards; return the rows of images, objects and failed."""
    folder = ResultFolder(output)
    images, column = list_images([str(word) for word in words])
    plan = open_plan(folder, images, column, {}, size)
    for shard in range(plan.num_shards):
        detect_shard(model, plan, shard, **options)

    def rows(name):
        files = [file for file in sorted(folder.names(name)) if not file.startswith(".")]
        tables = [pq.read_table(folder.open(f"{name}/{file}")) for file in files]
        return [row for table in tables for row in table.to_pylist()]

    return rows("images"), rows("objects"), rows("failed")


def test_rows_of_images_objects_and_failures(folder, model, tmp_path):
    images, objects, failed = detect(model, [folder], tmp_path / "out", size=3, batch_size=2)
    good = [number for number in range(COUNT) if number != BROKEN]
    assert images == [
        {"image_id": number + 1, "source": str(folder / f"p{number}.jpg"), "row": None,
         "file_name": f"p{number}.jpg", "width": 60, "height": 40, "num_objects": 2}
        for number in good
    ]  # fmt: skip
    assert [row["image_id"] for row in objects] == [n + 1 for n in good for _ in range(2)]
    cat = objects[0]
    assert (cat["category_name"], cat["x"], cat["y"], cat["width"], cat["height"]) == (
        "cat", 0, 0, 30, 20,
    )  # fmt: skip
    assert cat["score"] == pytest.approx(0.9) and cat["area"] == 600
    assert decode_rle(cat["segmentation"]).sum() == 600
    (broken,) = failed
    assert (broken["image_id"], broken["file_name"]) == (BROKEN + 1, f"p{BROKEN}.jpg")
    assert broken["error"].startswith("not an image that can be decoded")
    assert os.listdir(tmp_path / "out" / "failed") == [shard_file(1)]


def test_classes(folder, model, tmp_path):
    images, objects, _ = detect(model, [folder], tmp_path / "out", classes=[2])
    assert {row["num_objects"] for row in images} == {1}
    assert {row["category_name"] for row in objects} == {"dog"}


@pytest.mark.parametrize("group", [1, 3, 100])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_rows_of_parquet_files_across_row_groups_and_shards(folder, tmp_path, group, size):
    data = [(folder / f"p{number}.jpg").read_bytes() for number in range(COUNT)]
    for name in ("a", "b"):
        pq.write_table(pa.table({"jpg": data}), tmp_path / f"{name}.parquet", row_group_size=group)
    images, column = list_images([str(tmp_path / "*.parquet")], column="jpg")
    plan = open_plan(ResultFolder(tmp_path / "out"), images, column, {}, size)
    values = []
    for shard in range(plan.num_shards):
        for planned in planned_images(plan.read_shard(shard), plan.column):
            try:
                values.append((planned.file_name, round(planned.read().mean() / 20)))
            except ValueError as error:
                assert f"row {BROKEN} of" in str(error)
                values.append((planned.file_name, None))
    assert values == [
        (f"{name}.parquet#{row}", None if row == BROKEN else row)
        for name in ("a", "b")
        for row in range(COUNT)
    ]


def test_a_parquet_file_that_has_gone_or_shrunk_fails_its_rows(folder, model, tmp_path):
    path, data = tmp_path / "a.parquet", (folder / "p1.jpg").read_bytes()
    pq.write_table(pa.table({"image": [data, None, data]}), path)
    images, column = list_images([str(path), str(folder / "p2.jpg")])
    plan = open_plan(ResultFolder(tmp_path / "out"), images, column, {}, 10)
    outcome = detect_shard(model, plan, 0)
    assert (outcome.images, outcome.failed) == (3, 1)
    pq.write_table(pa.table({"image": [data]}), path)
    outcome = detect_shard(model, plan, 0)
    assert (outcome.images, outcome.failed) == (2, 2)
    path.unlink()
    outcome = detect_shard(model, plan, 0)
    assert (outcome.images, outcome.failed, outcome.objects) == (1, 3, 2)
    failed = pq.read_table(tmp_path / "out" / "failed" / shard_file(0)).to_pylist()
    assert [row["row"] for row in failed] == [0, 1, 2]
    assert all("No such file" in row["error"] for row in failed)


def test_an_image_that_came_back_leaves_the_failures(folder, model, tmp_path):
    images, column = list_images([str(folder)])
    plan = open_plan(ResultFolder(tmp_path / "out"), images, column, {}, 10)
    assert detect_shard(model, plan, 0).failed == 1
    (folder / f"p{BROKEN}.jpg").write_bytes((folder / "p1.jpg").read_bytes())
    assert detect_shard(model, plan, 0).failed == 0
    assert os.listdir(tmp_path / "out" / "failed") == []


def test_an_error_of_the_network_is_that_of_one_image(folder, model, tmp_path):
    whole = model._detect

    def detect_one(image):
        if abs(float(image.mean()) - 40) < 2:
            raise RuntimeError("the third image")
        return whole(image)

    model._detect = detect_one
    _, _, failed = detect(model, [folder], tmp_path / "out", batch_size=4)
    assert [row["image_id"] for row in failed] == [3, 4]
    assert failed[0]["error"] == "RuntimeError: the third image"


def test_addresses(folder, model, tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/a.jpg", (folder / "p1.jpg").read_bytes())
    memory.pipe_file("/bucket/b.jpg", b"no image")
    try:
        with LocalServer({"c.jpg": (folder / "p2.jpg").read_bytes()}) as server:
            words = ["memory://bucket", server.url("c.jpg"), server.url("gone.jpg")]
            images, objects, failed = detect(model, words, "memory://results/out", size=3)
        assert [row["file_name"] for row in images] == ["a.jpg", "c.jpg"]
        assert [row["file_name"] for row in failed] == ["b.jpg", "gone.jpg"]
        assert len(objects) == 4
        assert sorted(memory.ls("/results/out", detail=False)) == [
            f"/results/out/{name}"
            for name in ("failed", "images", "objects", "plan.json", "plan.parquet")
        ]
        assert memory.ls("/results/out/images", detail=False) == [
            f"/results/out/images/{shard_file(shard)}" for shard in (0, 1)
        ]
    finally:
        for name in ("/bucket", "/results"):
            memory.rm(name, recursive=True)


@pytest.mark.parametrize("place", ["memory://results/x", "local"])
def test_a_file_that_is_not_finished_does_not_appear(place, tmp_path):
    folder = ResultFolder(tmp_path if place == "local" else place)
    with folder.writing("images/a") as path:
        path.write_bytes(b"old")
    with pytest.raises(KeyError), folder.writing("images/a") as path:
        path.write_bytes(b"new")
        raise KeyError
    assert folder.names("images") == {"a"}
    with folder.open("images/a") as file:
        assert file.read() == b"old"
    folder.remove("images/a")
    folder.remove("images/a")
    assert folder.names("images") == set() and not folder.exists("images/a")
