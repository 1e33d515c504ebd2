"""Views: subset, split and merge."""

import numpy as np
import pytest

from mrcnn.datasets import Dataset, merge, open_dataset


class Memory(Dataset):
    """Keeps its images in lists of its own, as some scripts do."""

    def __init__(self, source, names, images):
        super().__init__()
        for number, name in enumerate(names, start=1):
            self.add_class(source, number, name)
        self.kept = images
        for number, (image_id, _) in enumerate(images):
            self.add_image(source, image_id, path=None, position=number)

    def load_image(self, image_id):
        return np.full((4, 5, 3), image_id, np.uint8)

    def load_mask(self, image_id):
        names = self.kept[image_id][1]
        class_ids = [
            self.map_source_class_id(f"{self.image_info[0]['source']}.{abs(n)}") for n in names
        ]
        class_ids = np.sign(names).astype(np.int32) * np.array(class_ids, np.int32)
        return np.ones((4, 5, len(names)), bool), class_ids

    def image_reference(self, image_id):
        return f"picture {image_id}"


def numbered(count):
    return Memory("toy", ["cat"], [(f"i{n}", [1]) for n in range(count)])


def test_subset():
    dataset = numbered(5)
    view = dataset.subset([3, 1, 3])
    assert view.image_ids.tolist() == [0, 1, 2]
    assert [info["id"] for info in view.image_info] == ["i3", "i1", "i3"]
    assert view.load_image(0)[0, 0, 0] == 3
    assert view.load_mask(1)[1].tolist() == [1]
    assert view.image_size(1) == (4, 5)
    assert view.image_reference(1) == "picture 1"
    assert view.image_info[0] is dataset.image_info[3]
    assert view.class_names == ["BG", "cat"] and view.source_class_ids["toy"] == [0, 1]
    again = view.subset(np.array([1]))
    assert again.load_image(0)[0, 0, 0] == 1


@pytest.mark.parametrize("image_ids", [[5], [-1], [0, 99]])
def test_subset_refuses(image_ids):
    with pytest.raises(ValueError, match="image_ids holds"):
        numbered(5).subset(image_ids)


@pytest.mark.parametrize(
    ("count", "fraction", "sizes"),
    [(10, 0.2, (8, 2)), (10, 0.25, (8, 2)), (2, 0.01, (1, 1)), (3, 0.99, (1, 2))],
)
def test_split_sizes(count, fraction, sizes):
    train, val = numbered(count).split(fraction)
    assert (train.num_images, val.num_images) == sizes
    ids = [info["id"] for part in (train, val) for info in part.image_info]
    assert sorted(ids) == sorted(f"i{n}" for n in range(count))


def test_split_depends_on_the_seed_alone():
    def chosen(seed):
        return [info["id"] for info in numbered(20).split(0.25, seed)[1].image_info]

    assert chosen(0) == chosen(0)
    assert chosen(0) != chosen(1)
    assert chosen(0) == ["i1", "i8", "i10", "i18", "i19"]


@pytest.mark.parametrize(
    ("count", "fraction", "message"),
    [(5, 0, "fraction is 0"), (5, 1, "fraction is 1"), (1, 0.5, "1 images")],
)
def test_split_refuses(count, fraction, message):
    with pytest.raises(ValueError, match=message):
        numbered(count).split(fraction)


def test_merge_by_name():
    coco = Memory("coco", ["person", "cat"], [(1, [1, 2]), (2, [])])
    mine = Memory("via", ["cat", "cow"], [("a", [1, -2])])
    both = merge([coco, mine])
    assert both.class_names == ["BG", "person", "cat", "cow"]
    assert both.num_images == 3
    assert both.load_mask(0)[1].tolist() == [1, 2]
    assert both.load_mask(2)[1].tolist() == [2, -3]
    assert both.load_mask(2)[1].dtype == np.int32
    assert both.load_image(2)[0, 0, 0] == 0  # the first image of the second part
    # Images of each source train the classes that the source knows.
    assert both.source_class_ids == {"": [0], "coco": [0, 1, 2], "via": [0, 2, 3]}
    assert both.get_source_class_id(2, "via") == 1
    assert both.image_from_source_map == {"coco.1": 0, "coco.2": 1, "via.a": 2}
    both.prepare()
    assert both.class_names == ["BG", "person", "cat", "cow"]


def test_merge_with_one_source_and_clashing_ids():
    cats = Memory("via", ["cat"], [("a", [1])])
    dogs = Memory("via", ["dog"], [("b", [1])])
    both = Dataset.merge([cats, dogs])
    assert both.class_names == ["BG", "cat", "dog"]
    assert both.load_mask(0)[1].tolist() == [1]
    assert both.load_mask(1)[1].tolist() == [2]
    assert both.map_source_class_id("via.1") == 1
    assert both.map_source_class_id("via.2") == 2


def test_merge_of_views_and_joined_classes():
    part = Memory("toy", ["cat", "kitten", "dog"], [("a", [1, 2, 3])])
    part.prepare(class_map={"toy.2": "toy.1"})
    assert part.load_mask(0)[1].tolist() == [1, 1, 2]
    both = merge([Memory("other", ["dog"], [("x", [1])]), part.subset([0])])
    assert both.class_names == ["BG", "dog", "cat"]
    assert both.load_mask(1)[1].tolist() == [2, 2, 1]
    assert both.map_source_class_id("toy.2") == 2


def test_merge_nothing():
    with pytest.raises(ValueError, match="datasets is empty"):
        merge([])


def test_a_view_cannot_grow():
    view = numbered(2).subset([0])
    with pytest.raises(ValueError, match="cannot be added to a view"):
        view.add_image("toy", "z", None)
    with pytest.raises(ValueError, match="use merge"):
        view.append_data([], [])


def test_merge_of_real_data(data_dir):
    coco = open_dataset(data_dir / "coco_tiny", subset="val")
    people = open_dataset(data_dir / "penn_fudan", classes=["person"])
    balloons = open_dataset(data_dir / "balloon", subset="val", classes=["balloon"])
    both = merge([coco, people, balloons])
    assert both.num_classes == 82
    assert both.num_images == 17 + 44 + 13
    summary = both.summary()
    assert summary.num_instances == 170 + 126 + 50
    assert summary.num_crowds == 2
    assert summary.classes["balloon"].instances == 50
    in_coco = coco.summary().classes["person"].instances
    assert summary.classes["person"].instances == in_coco + 126
    assert set(both.load_mask(20)[1].tolist()) == {1}
    # On a COCO image the balloon is unknown, not absent.
    assert 81 not in both.source_class_ids["coco"]


def test_a_class_map_renumbers_the_classes_of_a_view():
    view = merge(
        [Memory("a", ["cat"], [("i", [1])]), Memory("b", ["dog", "cow"], [("j", [2, -1])])]
    )
    assert view.load_mask(1)[1].tolist() == [3, -2]
    view.prepare({"b.1": "a.1"})
    assert view.class_names == ["BG", "cat", "cow"]
    assert [view.load_mask(i)[1].tolist() for i in (0, 1)] == [[1], [2, -1]]
    view.prepare()
    assert view.load_mask(1)[1].tolist() == [2, -1]
