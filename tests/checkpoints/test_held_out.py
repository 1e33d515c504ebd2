"""The record of the images that a training held out."""

import json
import time

import h5py
import numpy as np
import pytest

from mrcnn.checkpoints import HeldOut, save_weights, verify
from mrcnn.checkpoints.weight_file import read_metadata
from mrcnn.datasets import Dataset
from tests.checkpoints.fakes import small_mask_rcnn


def dataset(*images):
    """A prepared dataset of `(id, path)`."""
    data = Dataset()
    data.add_class("x", 1, "cat")
    for image_id, path in images:
        data.add_image("x", image_id, path)
    data.prepare()
    return data


def split(data, folder, numbers):
    return HeldOut.of_split(data, data.subset(numbers), dataset=str(folder), val_fraction=0.2)


def test_ids_find_the_images_in_a_dataset_that_changed(tmp_path):
    data = dataset(("a", "a.png"), ("b", "b.png"), ("c", "c.png"), (np.int64(7), "d.png"))
    record = split(data, tmp_path, [1, 3])
    assert (record.ids, record.identified_by) == (("b", 7), "id")
    json.dumps(record.to_dict())
    assert (record.dataset, record.path) == (str(tmp_path), str(tmp_path))
    changed = dataset((7, "z.png"), ("new", "n.png"), ("7", "s.png"), ("b", "moved/b.png"))
    assert record.numbers_in(changed) == [0, 3]
    assert record.numbers_in(dataset(("new", "n.png"))) == []


def test_equal_ids_are_told_apart_by_their_paths(tmp_path):
    def data(folder):
        return dataset(*((1, str(folder / part / "1.png")) for part in ("a", "b", "ü\udcff")))

    record = split(data(tmp_path), tmp_path, [0, 2])
    assert (record.ids, record.identified_by) == (("a/1.png", "ü\udcff/1.png"), "path")
    assert record.numbers_in(data(tmp_path)) == [0, 2]
    moved = tmp_path / "moved"
    moved.mkdir()
    assert record.numbers_in(data(moved), moved) == [0, 2]
    assert record.numbers_in(data(moved)) == []
    # An annotation file counts as its folder.
    (moved / "instances.json").touch()
    assert record.numbers_in(data(moved), moved / "instances.json") == [0, 2]


@pytest.mark.parametrize("path", ["w.h5", "v.weights.h5"])
def test_odd_names_come_back_from_a_weight_file(tmp_path, path):
    ids = ("a\nb", "\x1b[2J", "\udcff.jpg", "日本", '"\\', "", 0, -5, 10**15)
    record = HeldOut("d", "/d", None, "train", 0.25, ids)
    save_weights(small_mask_rcnn(), tmp_path / path, metadata={"held_out": record.to_dict()})
    assert HeldOut.from_dict(verify(tmp_path / path).metadata["held_out"]) == record


def test_a_large_record_is_small_in_the_file_and_read_fast(tmp_path):
    ids = tuple(
        f"images/2024-05-{n % 28:02d}/IMG_{n * 7919 % 10**6:06d}.jpg" for n in range(20_000)
    )
    record = HeldOut("d", "/d", "coco", None, 0.2, ids).to_dict()
    save_weights(small_mask_rcnn(), tmp_path / "plain.h5")
    save_weights(small_mask_rcnn(), tmp_path / "w.h5", metadata={"held_out": record})
    added = (tmp_path / "w.h5").stat().st_size - (tmp_path / "plain.h5").stat().st_size
    assert added < 200_000 < len(json.dumps(record))
    began = time.process_time()
    assert HeldOut.from_dict(read_metadata(tmp_path / "w.h5")["held_out"]).ids == ids
    assert time.process_time() - began < 1
    with h5py.File(tmp_path / "w.h5") as file:
        assert "mrcnn_metadata" not in file.attrs


def test_metadata_that_could_not_be_read_again_are_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"metadata has .* bytes as JSON; it must have at most"):
        save_weights(small_mask_rcnn(), tmp_path / "w.h5", metadata={"x": "y" * 2**24})
    assert not (tmp_path / "w.h5").exists()
