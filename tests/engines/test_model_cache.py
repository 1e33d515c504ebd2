"""The cache of converted networks: whole entries or none."""

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import mrcnn
from mrcnn.engines import model_cache
from tests.counts import num_kills


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MRCNN_HOME", str(tmp_path))
    return tmp_path / "compiled"


def write(folder):
    (folder / "trunk.xml").write_text("<net/>")
    (folder / "trunk.bin").write_bytes(bytes(1000))


def test_what_is_stored_is_found_with_its_note(home):
    assert model_cache.find_entry("k") is None
    assert model_cache.store("k", write, {"calibration": "abc"}) == home / "k"
    folder, note = model_cache.find_entry("k")
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
    assert model_cache.find_entry("k") is None
    assert list(home.iterdir()) == []
    assert model_cache.store("k", write) and model_cache.find_entry("k")


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
    assert model_cache.find_entry("a")  # used: now younger than b
    model_cache.store("c", write)
    assert sorted(p.name for p in home.iterdir()) == ["a", "c"]


def test_the_key_depends_on_every_part_and_on_where_it_ends():
    keys = {
        model_cache.cache_key(*parts)
        for parts in ([b"ab", b"c"], [b"a", b"bc"], [{"x": 1}], [{"x": 2}], [b"ab", "c"], [])
    }
    assert len(keys) == 6
    assert model_cache.cache_key({"a": 1, "b": 2}) == model_cache.cache_key({"b": 2, "a": 1})


def test_without_a_home_folder_there_is_no_entry(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(model_cache, "cache_dir", no_home)
    assert model_cache.store("k", write) is None
    assert model_cache.find_entry("k") is None


@pytest.mark.parametrize("function", ["tempfile.mkdtemp", "os.replace", "Path.mkdir"])
def test_a_folder_that_cannot_be_written_gives_no_entry(home, function, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(f"mrcnn.engines.model_cache.{function}", refuse)
    assert model_cache.store("k", write) is None
    assert model_cache.find_entry("k") is None


def test_an_error_of_the_writer_leaves_nothing_behind(home):
    def fail(folder):
        write(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model_cache.store("k", fail)
    assert list(home.iterdir()) == []


def test_the_digest_covers_everything_that_builds_the_networks():
    package = Path(mrcnn.__file__).parent
    seen, waiting = set(), ["mrcnn.graphs", "mrcnn.engines.pieces", "mrcnn.engines.conversion"]
    while waiting:
        name = waiting.pop()
        file = package.parent.joinpath(*name.split(".")).with_suffix(".py")
        if name in seen or not file.is_file():
            continue
        seen.add(name)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mrcnn."):
                waiting.append(node.module)
                waiting += [f"{node.module}.{alias.name}" for alias in node.names]
    covered = {
        ".".join(file.relative_to(package.parent).with_suffix("").parts)
        for file in model_cache.source_files()
    }
    assert "mrcnn.layers.heads" in seen
    assert sorted(seen - covered) == []


# Stores entries of changing content, each file of one byte value that the note repeats.
STORING = """
import sys
from mrcnn.engines import model_cache

def write(folder):
    for name in ("trunk.bin", "mask.bin"):
        (folder / name).write_bytes(bytes([number % 256]) * 3_000_000)

print(flush=True)
for number in range(10_000):
    model_cache.store(f"k{number % 2}", write, {"number": number})
"""


def test_a_kill_leaves_whole_entries_or_none(home):
    """`MRCNN_KILLS` sets how many processes are killed."""
    random = np.random.RandomState(7)
    home.mkdir()  # the first process may be killed before it makes the folder
    for _ in range(num_kills(4)):
        child = subprocess.Popen([sys.executable, "-c", STORING], stdout=subprocess.PIPE)
        child.stdout.readline()
        time.sleep(random.uniform(0, 0.1))
        child.kill()
        child.communicate()
        entries = [path.name for path in home.iterdir() if path.name[0] != "."]
        for key in entries:
            folder, note = model_cache.find_entry(key)
            for name in ("trunk.bin", "mask.bin"):
                content = (folder / name).read_bytes()
                assert content == bytes([note["number"] % 256]) * 3_000_000
    for path in home.iterdir():
        os.utime(path, (0, 0))
    assert model_cache.store("k0", write)
    assert {path.name for path in home.iterdir()} <= {"k0", "k1"}
