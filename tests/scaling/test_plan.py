"""The plan: shards, ids, what is done, and what a continued run refuses."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrcnn.scaling.listing import SCHEMA, list_images
from mrcnn.scaling.places import ResultFolder
from mrcnn.scaling.plan import ShardCount, open_plan, shard_file
from mrcnn.scaling.shards import detect_shard

SETTINGS = {"weights": "abc", "settings": {"NAME": "x"}, "classes": [1]}


def images_of(names, sizes=None):
    sources = pa.array([os.fsencode(name) for name in names], pa.binary())
    sizes = pa.array(sizes or [1] * len(names), pa.int64())
    return pa.Table.from_arrays([sources, pa.nulls(len(names), pa.int64()), sizes], schema=SCHEMA)


@pytest.fixture
def output(tmp_path):
    return ResultFolder(tmp_path / "out")


def begin(output, images, column, settings, *size):
    """Make a plan, and let a shard be done."""
    plan = open_plan(output, images, column, settings, *size)
    with output.writing(f"images/{shard_file(0)}") as path:
        path.write_bytes(b"x")
    return plan


def ids(plan):
    return [[row["image_id"] for row in plan.read_shard(k)] for k in range(plan.num_shards)]


def test_shards_and_ids(output):
    plan = begin(output, images_of(["/a", "/b", "/c", "/d", "/e"]), None, SETTINGS, 2)
    assert (plan.num_images, plan.num_shards, plan.is_new) == (5, 3, True)
    assert [plan.size_of(shard) for shard in range(3)] == [2, 2, 1]
    assert ids(plan) == [[1, 2], [3, 4], [5]]
    again = open_plan(output, images_of(["/a", "/b", "/c", "/d", "/e"]), None, SETTINGS)
    assert (again.shard_size, again.is_new, ids(again)) == (2, False, ids(plan))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["/x/000000397133.jpg", "/y/000000000007.png"], [397133, 7]),
        (["/x/7.jpg", "/y/7.jpg"], [1, 2]),
        (["/x/7.jpg", "/y/a.jpg"], [1, 2]),
        (["https://example.org/12.jpg", "s3://bucket/3.png"], [12, 3]),
    ],
)
def test_ids_are_the_numbers_in_the_names_where_all_have_one(output, names, expected):
    assert ids(open_plan(output, images_of(names), None, SETTINGS)) == [expected]


@pytest.mark.parametrize(
    ("count", "size"), [(7, 50), (10_000, 50), (40_000, 200), (1_000_000, 1000)]
)
def test_the_size_of_shards_that_is_chosen(output, monkeypatch, count, size):
    monkeypatch.setattr("mrcnn.scaling.plan._write_table", lambda folder, images, size: None)
    images = pa.Table.from_arrays([pa.nulls(count, field.type) for field in SCHEMA], schema=SCHEMA)
    assert open_plan(output, images, None, {}).shard_size == size


def test_a_shard_is_done_when_its_rows_are_those_of_its_images(folder, tmp_path, model):
    output = ResultFolder(tmp_path / "out")
    images, column = list_images([str(folder)])
    plan = open_plan(output, images, column, {}, 3)
    assert plan.counts() == {}
    for shard in (0, 1):
        detect_shard(model, plan, shard)
    done = {0: ShardCount(3, 0, 6), 1: ShardCount(2, 1, 4)}
    assert plan.counts() == done
    path = tmp_path / "out" / "images" / shard_file(1)
    whole = path.read_bytes()
    for damage in (whole[:-5], b""):
        path.write_bytes(damage)
        assert plan.counts() == {0: done[0]}
    pq.write_table(pa.table({"image_id": [4]}), path)  # with the failed one, two rows of three
    assert plan.counts() == {0: done[0]}
    path.write_bytes(whole)
    assert plan.counts() == done
    os.unlink(tmp_path / "out" / "objects" / shard_file(0))
    assert plan.counts() == {1: done[1]}


OLD = ["/a.jpg", "/b.jpg", "/c.jpg"]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (images_of([*OLD, "/d.jpg", "/e.jpg"]), "2 files are new (/d.jpg)"),
        (images_of(OLD[1:]), "1 file is gone (/a.jpg)"),
        (images_of(["/b.jpg", "/x.jpg"]), "1 file is new (/x.jpg), 2 files are gone (/a.jpg)"),
        (images_of(OLD, [1, 2, 1]), "1 file has another size (/b.jpg)"),
        (images_of(OLD[::-1]), "the order or the number of its rows has changed"),
    ],
    ids=["more", "fewer", "others", "changed", "reordered"],
)
def test_another_source_is_refused(output, images, message):
    begin(output, images_of(OLD), None, SETTINGS)
    with pytest.raises(ValueError, match="which holds results of another source") as raised:
        open_plan(output, images, None, SETTINGS)
    assert message in str(raised.value) and "choose another folder" in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "def"}, "(weights was 'abc' and is 'def')"),
        ({"classes": None}, "(classes was [1] and is nothing)"),
        ({"settings": {"NAME": "y"}}, "(NAME was 'x' and is 'y')"),
    ],
)
def test_other_settings_are_refused(output, change, message):
    begin(output, images_of(OLD), None, SETTINGS)
    with pytest.raises(ValueError, match="which holds results of other settings") as raised:
        open_plan(output, images_of(OLD), None, {**SETTINGS, **change})
    assert message in str(raised.value)


def test_another_column_or_size_of_shards_is_refused(output):
    begin(output, images_of(OLD), "image", SETTINGS, 2)
    with pytest.raises(ValueError, match=r"column was 'image' and is 'bytes'"):
        open_plan(output, images_of(OLD), "bytes", SETTINGS)
    with pytest.raises(ValueError, match=r"shard_size is 3; it must be 2, as in .*plan\.json"):
        open_plan(output, images_of(OLD), "image", SETTINGS, 3)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 99, "settings": {}}', "\xff"])
def test_a_plan_of_something_else_is_refused(output, tmp_path, text):
    begin(output, images_of(OLD), None, SETTINGS)
    (tmp_path / "out" / "plan.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"is no plan of this version of mrcnn"):
        open_plan(output, images_of(OLD), None, SETTINGS)


def test_a_damaged_table_is_refused(output, tmp_path):
    begin(output, images_of(OLD), None, SETTINGS)
    (tmp_path / "out" / "plan.parquet").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"plan\.parquet cannot be read"):
        open_plan(output, images_of(OLD), None, SETTINGS)


def test_the_plan_is_written_after_the_table(output, monkeypatch, tmp_path):
    class Killed(BaseException):
        pass

    def kill(*arguments):
        raise Killed

    monkeypatch.setattr(json, "dumps", kill)
    with pytest.raises(Killed):
        open_plan(output, images_of(OLD), None, SETTINGS)
    monkeypatch.undo()
    assert not output.exists("plan.json")
    assert open_plan(output, images_of(OLD), None, SETTINGS).is_new


def test_a_plan_without_results_is_replaced(output, tmp_path):
    open_plan(output, images_of(OLD), None, SETTINGS, 1)
    for kind in ("objects", "failed"):  # of a shard that was not finished
        with output.writing(f"{kind}/{shard_file(2)}") as path:
            path.write_bytes(b"x")
    plan = open_plan(output, images_of(OLD[1:]), None, {"weights": "def"}, 2)
    assert (plan.is_new, plan.num_images, plan.num_shards) == (True, 2, 1)
    assert output.names("objects") == output.names("failed") == set()


def test_attempts_are_counted_until_the_work_ends(folder, tmp_path, model):
    images, column = list_images([str(folder)])
    plan = open_plan(ResultFolder(tmp_path / "out"), images, column, {}, 4)
    assert [plan.note_attempt(1) for _ in range(3)] == [0, 1, 2]
    assert plan.note_attempt(0) == 0
    detect_shard(model, plan, 1)
    assert os.listdir(tmp_path / "out" / "attempts") == [shard_file(0)]
    assert plan.note_attempt(1) == 0
