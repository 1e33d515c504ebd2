"""Log folders: each training has its own, under a name that Matterport's package reads."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from mrcnn.training.log_folders import claim_folder, free_folder

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


def test_each_of_many_at_once_has_its_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(claim_folder, [path(tmp_path, "20261121T0958")] * 8))
    names = sorted(os.path.basename(folder) for folder in made)
    assert names == [f"cat20261121T{t}" for t in ("0958", "0959", *(f"100{i}" for i in range(6)))]
    assert sorted(os.listdir(tmp_path)) == names


@pytest.mark.parametrize("name", ["mine", "cat20261399T9999"])
def test_a_folder_without_a_time_is_the_users_choice(tmp_path, name):
    folder = str(tmp_path / name)
    assert [claim_folder(folder) for _ in range(2)] == [folder, folder]
