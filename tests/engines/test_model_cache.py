"""The cache of converted networks: whole entries or none."""

import json
import os

import pytest

from mrcnn.engines import model_cache


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MRCNN_HOME", str(tmp_path))
    return tmp_path / "compiled"


def write(folder):
    (folder / "trunk.xml").write_text("<net/>")
    (folder / "trunk.bin").write_bytes(bytes(1000))


def test_what_is_stored_is_found_with_its_note(home):
    assert model_cache.load("k") is None
    assert model_cache.store("k", write, {"calibration": "abc"}) == home / "k"
    folder, note = model_cache.load("k")
    assert (folder / "trunk.xml").read_text() == "<net/>"
    assert note == {"calibration": "abc"}
    assert [p.name for p in home.iterdir()] == ["k"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "trunk.bin").write_bytes(bytes(999)),
        lambda folder: (folder / "trunk.bin").write_bytes(bytes(999) + b"1"),
        lambda folder: (folder / "trunk.xml").unlink(),
        lambda folder: (folder / "contents.json").unlink(),
        lambda folder: (folder / "contents.json").write_text("{"),
        lambda folder: (folder / "contents.json").write_text(json.dumps([1])),
    ],
)
def test_a_damaged_entry_is_removed(home, damage):
    damage(model_cache.store("k", write))
    assert model_cache.load("k") is None
    assert list(home.iterdir()) == []
    assert model_cache.store("k", write) and model_cache.load("k")


def test_where_nothing_can_be_written_there_is_no_entry(home):
    home.write_text("a file in the way")
    assert model_cache.store("k", write) is None


def test_a_full_disk_leaves_nothing_behind(home):
    def no_space(folder):
        write(folder)
        raise OSError("no space left on device")

    assert model_cache.store("k", no_space) is None
    assert list(home.iterdir()) == []


def test_what_was_used_longest_ago_goes_first(home, monkeypatch):
    monkeypatch.setattr(model_cache, "MAX_BYTES", 2500)
    for age, key in ((30, "a"), (20, "b")):
        folder = model_cache.store(key, write)
        os.utime(folder, (0, 1e9 - age))
    assert model_cache.load("a")  # used: now younger than b
    model_cache.store("c", write)
    assert sorted(p.name for p in home.iterdir()) == ["a", "c"]


def test_the_key_depends_on_every_part_and_on_where_it_ends():
    keys = {
        model_cache.cache_key(*parts)
        for parts in ([b"ab", b"c"], [b"a", b"bc"], [{"x": 1}], [{"x": 2}], [b"ab", "c"], [])
    }
    assert len(keys) == 6
    assert model_cache.cache_key({"a": 1, "b": 2}) == model_cache.cache_key({"b": 2, "a": 1})
