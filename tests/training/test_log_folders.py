"""Log folders: each training has its own, under a name that Matterport's package reads."""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from mrcnn.training import log_folders
from mrcnn.training.log_folders import claim_folder, free_folder, newest_checkpoint
from tests.weight_files import write_weight_file

TAKEN = ["config.json", "mask_rcnn_cat_0001.h5", "events.out.tfevents.1.host"]


def path(folder, time):
    return os.path.join(folder, f"cat{time}")


@pytest.mark.parametrize("file", TAKEN)
def test_the_next_minute_when_a_training_has_written_there(tmp_path, file):
    folder = path(tmp_path, "20261231T2359")
    assert free_folder(folder) == folder
    os.makedirs(folder)
    assert free_folder(folder) == folder
    open(os.path.join(folder, "users.csv"), "w").close()
    assert free_folder(folder) == folder
    open(os.path.join(folder, file), "w").close()
    assert free_folder(folder) == path(tmp_path, "20270101T0000")


@pytest.fixture(params=["hard links", "no hard links"])
def file_system(request, monkeypatch):
    """One that has hard links, and one that has not."""

    def link(source, target):
        raise OSError("not supported")

    if request.param == "no hard links":
        monkeypatch.setattr(log_folders.os, "link", link)


def test_each_of_many_at_once_has_its_own(tmp_path, file_system):
    with ThreadPoolExecutor(8) as pool:
        wanted = [path(tmp_path, "20261121T0958")] * 8
        made = list(pool.map(claim_folder, wanted, map(str, range(8))))
    names = sorted(os.path.basename(folder) for folder in made)
    assert names == [f"cat20261121T{t}" for t in ("0958", "0959", *(f"100{i}" for i in range(6)))]
    assert sorted(os.listdir(tmp_path)) == names
    for number, folder in enumerate(made):
        assert os.listdir(folder) == ["config.json"]
        with open(os.path.join(folder, "config.json")) as file:
            assert file.read() == str(number)


@pytest.mark.parametrize("name", ["mine", "cat20261399T9999"])
def test_a_folder_without_a_time_is_the_users_choice(tmp_path, name):
    folder = str(tmp_path / name)
    assert [claim_folder(folder, text) for text in ("one", "two")] == [folder, folder]
    assert (tmp_path / name / "config.json").read_text() == "two"
    assert os.listdir(folder) == ["config.json"]


def checkpoint(folder, run, epoch, name="cat"):
    """Write a small weight file."""
    return write_weight_file(folder / run / f"mask_rcnn_{name}_{epoch:04d}.h5")


def test_newest_checkpoint(tmp_path):
    checkpoint(tmp_path, "cat20260101T0000", 9)
    checkpoint(tmp_path, "cat20260102T0000", 1)
    checkpoint(tmp_path, "cat20260102T0000", 9999)
    newest = checkpoint(tmp_path, "cat20260102T0000", 10000)
    (tmp_path / "cat20260102T0000" / "best.h5").touch()
    (tmp_path / "cat20260102T0000" / ".tmp-0123456789abcdef.h5").touch()
    (tmp_path / "cat20260102T0000" / ".mask_rcnn_cat_10001.h5.abc.tmp").touch()
    checkpoint(tmp_path, "catfish20270101T0000", 3, "catfish")
    # Killed before the first epoch ended: nothing, or an empty description.
    (tmp_path / "cat20260103T0000").mkdir()
    (tmp_path / "cat20260104T0000").mkdir()
    (tmp_path / "cat20260104T0000" / "config.json").touch()
    (tmp_path / "cat20260105T0000").touch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert newest_checkpoint(tmp_path, "Cat") == str(newest)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


def fill_with_zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [truncate, empty, fill_with_zeros])
@pytest.mark.parametrize("run", ["cat20260101T0000", "cat20260102T0000"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, damage, run):
    complete = checkpoint(tmp_path, "cat20260101T0000", 2)
    damaged = checkpoint(tmp_path, run, 3)
    damage(damaged)
    with pytest.warns(UserWarning, match="0003.h5 is not a complete weight file; it is passed"):
        assert newest_checkpoint(tmp_path, "cat") == str(complete)


def test_other_folders_that_begin_with_the_name_count_where_none_has_a_time(tmp_path):
    found = checkpoint(tmp_path, "cat_by_hand", 2)
    assert newest_checkpoint(tmp_path, "cat") == str(found)


def test_no_checkpoint(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match="no checkpoint of a training 'cat' in"):
            newest_checkpoint(folder, "cat")
    (tmp_path / "cat20260103T0000").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no complete weight file .*cat20260103T0000"):
        newest_checkpoint(tmp_path, "cat")


def test_leftovers_of_a_killed_training_go(tmp_path):
    for name in (".tmp-0123456789abcdef.npz", ".tmp-now.h5", "config.json"):
        (tmp_path / name).touch()
    os.utime(tmp_path / ".tmp-0123456789abcdef.npz", (1e9, 1e9))
    os.utime(tmp_path / "config.json", (1e9, 1e9))
    log_folders.remove_leftovers(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == [".tmp-now.h5", "config.json"]


def test_a_folder_is_reserved_for_one_training(tmp_path):
    pytest.importorskip("fcntl")
    folder = str(tmp_path / "cat20260101T1200")
    with log_folders.reserved(folder):
        with pytest.raises(ValueError, match=r"T1200 is the log folder of a training that is run"):
            with log_folders.reserved(folder):
                pass
        with log_folders.reserved(str(tmp_path / "cat20260101T1201")):
            pass
    with pytest.raises(KeyError), log_folders.reserved(folder):
        raise KeyError
    with log_folders.reserved(folder):
        assert os.listdir(folder) == []


def test_folders_that_cannot_be_locked_are_used_without(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError("no locks")

    with log_folders.reserved(str(tmp_path)):
        monkeypatch.setattr("fcntl.flock", refuse)
        with log_folders.reserved(str(tmp_path)):
            pass
        monkeypatch.setattr(os, "open", refuse)  # as on Windows
        with log_folders.reserved(str(tmp_path)):
            pass


def test_older_checkpoints_are_removed_by_their_epoch(tmp_path):
    names = ["mask_rcnn_cat_0009.h5", "mask_rcnn_cat_0010.h5", "mask_rcnn_cat_10000.h5"]
    others = ["best.h5", "mask_rcnn_coco.h5", "training_state_0001.npz", "cat_0001.h5"]
    for name in names + others:
        (tmp_path / name).touch()
    log_folders.remove_older_checkpoints(str(tmp_path), 2)
    assert sorted(os.listdir(tmp_path)) == sorted(names[1:] + others)
    log_folders.remove_older_checkpoints(str(tmp_path), 9)
    assert sorted(os.listdir(tmp_path)) == sorted(names[1:] + others)
