"""Matterport's Dataset: names, numbering and defaults."""

import logging
import subprocess
import sys

import numpy as np
import pytest

from mrcnn.datasets import Dataset, merge
from tests.datasets.made_up import write_picture
from tests.parity.reference import load_calls


def toy():
    dataset = Dataset()
    dataset.add_class("toy", 1, "cat")
    dataset.add_class("toy", 2, "dog, puppy")
    dataset.add_class("other", 1, "car")
    dataset.add_image("toy", image_id="a", path="a.png", note=5)
    dataset.add_image("other", image_id=7, path="b.png", height=4, width=6)
    dataset.prepare()
    return dataset


def test_before_prepare():
    dataset = Dataset()
    assert list(dataset.image_ids) == []
    assert dataset.image_info == []
    assert dataset.class_info == [{"source": "", "id": 0, "name": "BG"}]
    with pytest.raises(KeyError, match="prepare"):
        dataset.map_source_class_id("toy.1")


def test_prepare():
    dataset = toy()
    assert dataset.num_classes == 4
    assert dataset.class_ids.tolist() == [0, 1, 2, 3]
    assert dataset.class_names == ["BG", "cat", "dog", "car"]
    assert dataset.num_images == 2
    assert dataset.image_ids.tolist() == dataset._image_ids.tolist() == [0, 1]
    assert dataset.class_from_source_map == {".0": 0, "toy.1": 1, "toy.2": 2, "other.1": 3}
    assert dataset.image_from_source_map == {"toy.a": 0, "other.7": 1}
    assert dataset.sources == ["", "toy", "other"]
    assert dataset.source_class_ids == {"": [0], "toy": [0, 1, 2], "other": [0, 3]}
    assert dataset.image_info[0] == {"id": "a", "source": "toy", "path": "a.png", "note": 5}


def test_prepare_again_after_adding():
    dataset = toy()
    dataset.add_class("toy", 3, "cow")
    dataset.add_image("toy", "c", "c.png")
    dataset.prepare()
    assert (dataset.num_classes, dataset.num_images) == (5, 3)
    assert dataset.source_class_ids["toy"] == [0, 1, 2, 4]


@pytest.mark.parametrize("call", load_calls("dataset"))
def test_tables_as_recorded(call):
    dataset = Dataset()
    for number, name in enumerate(("cat", "dog", "cow"), start=1):
        dataset.add_class("toy", number, name)
    dataset.add_class("other", 1, "car")
    dataset.prepare()
    assert dataset.class_names == call.out["class_names"]
    assert dataset.source_class_ids == call.out["source_class_ids"]
    assert dataset.num_classes == call.out["num_classes"]


def test_adding_a_class_twice_changes_nothing():
    dataset = toy()
    dataset.add_class("toy", 1, "another name")
    assert len(dataset.class_info) == 4


def test_source_with_a_dot():
    with pytest.raises(ValueError, match=r"source is 'my\.set'"):
        Dataset().add_class("my.set", 1, "cat")


def test_class_lookup():
    dataset = toy()
    assert dataset.map_source_class_id("other.1") == 3
    assert dataset.get_source_class_id(3, "other") == 1
    with pytest.raises(KeyError, match=r"toy\.9"):
        dataset.map_source_class_id("toy.9")
    with pytest.raises(ValueError, match="belongs to 'other'"):
        dataset.get_source_class_id(3, "toy")


def test_references_and_links():
    dataset = toy()
    assert dataset.image_reference(0) == ""
    assert dataset.source_image_link(1) == "b.png"


def test_default_mask_is_empty(caplog):
    with caplog.at_level(logging.WARNING, logger="mrcnn.datasets"):
        masks, class_ids = toy().load_mask(0)
    assert masks.shape == (0, 0, 0)
    assert class_ids.shape == (0,) and class_ids.dtype == np.int32
    assert "load_mask" in caplog.text


def test_load_image(tmp_path):
    pixels = write_picture(tmp_path / "a.png")
    dataset = Dataset()
    dataset.add_image("toy", "a", str(tmp_path / "a.png"))
    dataset.add_image("toy", "b", None)
    dataset.add_image("toy", "c", str(tmp_path / "c.png"))
    np.testing.assert_array_equal(dataset.load_image(0), pixels)
    with pytest.raises(ValueError, match=r"image 1 \('toy\.b'\) has no path"):
        dataset.load_image(1)
    with pytest.raises(FileNotFoundError, match=r"c\.png"):
        dataset.load_image(2)


def test_image_size_from_entry_header_and_override(tmp_path, monkeypatch):
    write_picture(tmp_path / "a.png", 8, 10)
    dataset = toy()
    dataset.add_image("toy", "real", str(tmp_path / "a.png"))
    with monkeypatch.context() as patch:
        patch.setattr("mrcnn.datasets.image_files.read_pixels", None)  # decoding would fail
        assert dataset.image_size(1) == (4, 6)
        assert dataset.image_size(2) == (8, 10)
    assert dataset.image_info[2]["height"] == 8  # kept

    class Halved(Dataset):
        def load_image(self, image_id):
            return super().load_image(image_id)[::2, ::2]

    halved = Halved()
    halved.add_image("toy", "a", str(tmp_path / "a.png"), height=8, width=10)
    assert halved.image_size(0) == (4, 5)


def test_a_script_for_matterport_runs(tmp_path):
    """The shape of most public scripts: super(self.__class__, self), ones for one class."""
    write_picture(tmp_path / "a.png")

    class Balloons(Dataset):
        def load_balloons(self, folder):
            self.add_class("balloon", 1, "balloon")
            self.add_image("balloon", image_id="a.png", path=f"{folder}/a.png", width=10, height=8)

        def load_mask(self, image_id):
            if self.image_info[image_id]["source"] != "balloon":
                return super(self.__class__, self).load_mask(image_id)
            return np.ones([8, 10, 2], bool), np.ones([2], dtype=np.int32)

        def image_reference(self, image_id):
            info = self.image_info[image_id]
            if info["source"] == "balloon":
                return info["path"]
            return super(self.__class__, self).image_reference(image_id)

    dataset = Balloons()
    dataset.load_balloons(tmp_path)
    dataset.add_image("elsewhere", "b", "b.png")
    dataset.prepare()
    assert dataset.image_reference(0) == f"{tmp_path}/a.png"
    assert dataset.image_reference(1) == ""
    assert dataset.load_mask(0)[0].shape == (8, 10, 2)
    assert dataset.load_mask(1)[0].shape == (0, 0, 0)
    assert dataset.image_class_ids(0).tolist() == [1, 1]


def test_class_map_joins_classes():
    dataset = Dataset(class_map={"via.1": "coco.18"})
    dataset.add_class("coco", 17, "cat")
    dataset.add_class("coco", 18, "dog")
    dataset.add_class("via", 1, "my dog")
    dataset.add_class("via", 2, "my cow")
    for _ in range(2):  # preparing again changes nothing
        dataset.prepare()
        assert dataset.class_names == ["BG", "cat", "dog", "my cow"]
        assert dataset.map_source_class_id("via.1") == dataset.map_source_class_id("coco.18") == 2
        assert dataset.source_class_ids == {"": [0], "coco": [0, 1, 2], "via": [0, 2, 3]}
        assert dataset.get_source_class_id(2, "via") == 1
        assert dataset.get_source_class_id(2, "coco") == 18
    dataset.add_class("via", 1, "my dog")
    assert len(dataset.class_info) == 4
    dataset.prepare(class_map={"via.2": "coco.18"})
    assert dataset.class_names == ["BG", "cat", "dog"]
    assert dataset.source_class_ids["via"] == [0, 2]


@pytest.mark.parametrize(
    ("class_map", "message"),
    [
        ({"toy.9": "toy.1"}, r"'toy\.9'"),
        ({"toy.1": "toy.9"}, r"'toy\.9'"),
        ({"toy.1": "toy.1"}, "cannot be joined"),
        ({".0": "toy.1"}, "cannot be joined"),
        (["toy.1"], "class_map is"),
    ],
)
def test_class_map_refuses(class_map, message):
    dataset = toy()
    with pytest.raises(ValueError, match=message):
        dataset.prepare(class_map=class_map)


def test_append_data():
    first, second = toy(), Dataset()
    second.add_class("toy", 1, "cat")
    second.add_class("third", 1, "tree")
    second.add_image("third", "x", "x.png")
    first.append_data(second.class_info, second.image_info)
    first.prepare()
    assert first.class_names == ["BG", "cat", "dog", "car", "tree"]
    assert first.image_from_source_map["third.x"] == 2
    first.image_info[2]["path"] = "changed"
    assert second.image_info[0]["path"] == "x.png"


def test_importing_is_light():
    """No TensorFlow, no Keras and no reader comes with the package."""
    code = (
        "import sys, mrcnn.datasets as d; d.open_dataset\n"
        "heavy = {'tensorflow', 'keras', 'torch', 'jax', 'cv2', 'skimage', 'matplotlib', "
        "'pycocotools', 'mrcnn.datasets.coco'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_readers_load_no_framework():
    code = (
        "import sys\n"
        "from mrcnn.datasets.registry import READERS, load_reader\n"
        "for name in READERS: load_reader(name)\n"
        "from mrcnn.datasets import open_dataset\n"
        "open_dataset(1, format='shapes').check()\n"
        "heavy = {'tensorflow', 'keras', 'torch', 'jax', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class PassesItself(Dataset):
    """A habit of scripts for Matterport's package, which ignored the argument."""

    def __init__(self):
        super().__init__(self)


@pytest.mark.parametrize("make", [PassesItself, lambda: Dataset(8), lambda: Dataset("x")])
def test_first_argument_that_is_no_class_map_is_ignored(make):
    with pytest.warns(UserWarning, match=r"class_map is a value of the type \w+; it must map"):
        dataset = make()
    dataset.add_class("toy", 1, "cat")
    dataset.prepare()
    assert dataset.class_names == ["BG", "cat"]


def test_names_are_cut_at_the_comma_where_they_stay_distinct():
    dataset = Dataset()
    for number, name in enumerate(["cat, kitten", "bolt, short", "bolt, long"], start=1):
        dataset.add_class("toy", number, name)
    dataset.prepare()
    names = ["BG", "cat", "bolt, short", "bolt, long"]
    assert dataset.class_names == names
    assert merge([dataset]).class_names == names
    assert dataset.subset([]).class_names == names


def test_a_summary_counts_images_whose_loader_fails():
    class Broken(Dataset):
        def load_mask(self, image_id):
            raise KeyError("polygons")

    dataset = Broken()
    dataset.add_image("x", 0, None)
    dataset.prepare()
    assert dataset.summary().num_unreadable == 1
