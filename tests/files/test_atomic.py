"""Files are written whole or not at all."""

import json
import os
import stat
import time

import pytest

from mrcnn.files.atomic import atomic_path, remove_stale, write_json, write_text


def test_the_target_appears_at_the_end_with_its_suffix_and_mode(tmp_path):
    path = tmp_path / "new" / "a.png"
    with atomic_path(path, durable=True) as temporary:
        assert temporary.suffix == ".png" and temporary.parent == path.parent
        temporary.write_bytes(b"1")
        assert not path.exists()
    assert path.read_bytes() == b"1"
    assert os.listdir(path.parent) == ["a.png"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_link_is_followed(tmp_path):
    target, link = tmp_path / "disk" / "a.txt", tmp_path / "a.txt"
    target.parent.mkdir()
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink() and target.read_text() == "new"


def test_names_that_are_not_utf_8_are_escaped(tmp_path):
    write_text(tmp_path / "a.txt", "caf\udce9")
    assert (tmp_path / "a.txt").read_bytes() == b"caf\\udce9"
    write_json(tmp_path / "a.json", {"file": "caf\udce9"})
    assert json.loads((tmp_path / "a.json").read_text()) == {"file": "caf\udce9"}


def test_only_old_temporary_files_are_removed(tmp_path):
    old, new, other = (tmp_path / name for name in (".tmp-1.h5", ".tmp-2.h5", "kept.h5"))
    for file in (old, new, other):
        file.touch()
    day_ago = time.time() - 25 * 3600
    for file in (old, other):
        os.utime(file, (day_ago, day_ago))
    remove_stale(tmp_path)
    remove_stale(tmp_path / "missing")
    assert sorted(os.listdir(tmp_path)) == [".tmp-2.h5", "kept.h5"]
