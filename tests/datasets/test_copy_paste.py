"""Scenes with objects of other images pasted in."""

import pickle

import numpy as np
import pytest

from mrcnn.datasets import CopyPasteDataset, Dataset, merge

GREY, RED, BLUE = (100, 100, 100), (200, 0, 0), (0, 0, 200)


class Squares(Dataset):
    """Gray images of 80 x 120; the source "a" has red squares (class 1), "b" blue ones (2)."""

    def __init__(self, sources, empty=False):
        super().__init__()
        self.empty = empty
        for source in dict.fromkeys(sources):
            self.add_class(source, 1, {"a": "red", "b": "blue"}[source])
        for number, source in enumerate(sources):
            self.add_image(source, number, path=None)
        self.prepare()

    def load_image(self, image_id):
        image = np.full((80, 120, 3), GREY, np.uint8)
        if not self.empty:
            color = RED if self.image_info[image_id]["source"] == "a" else BLUE
            image[20:50, 30:60] = color
        return image

    def load_mask(self, image_id):
        mask = np.zeros((80, 120, 0 if self.empty else 1), bool)
        mask[20:50, 30:60] = True
        source = self.image_info[image_id]["source"]
        return mask, np.full(mask.shape[2], self.map_source_class_id(f"{source}.1"), np.int32)


def test_masks_are_where_the_pasted_pixels_are():
    scenes = CopyPasteDataset(Squares("aa"), 20, seed=3)
    assert scenes.num_images == 20 and scenes.class_names == ["BG", "red"]
    counts = set()
    for number in scenes.image_ids:
        image, (masks, class_ids) = scenes.load_image(number), scenes.load_mask(number)
        assert image.shape == (80, 120, 3) and image.dtype == np.uint8
        assert masks.shape == (80, 120, len(class_ids)) and masks.dtype == bool
        assert (class_ids == 1).all() and scenes.image_size(number) == (80, 120)
        assert (masks.sum(-1) <= 1).all()  # what lies above hides what lies below
        reddish = image[..., 0].astype(int) - image[..., 1] > 20
        both = (reddish & masks.any(-1)).sum()
        assert both / masks.any(-1).sum() > 0.97  # no mask without its object
        counts.add(len(class_ids))
    assert len(counts) > 1 and max(counts) <= 4


def test_a_scene_follows_from_seed_and_number():
    first, again, other = (CopyPasteDataset(Squares("ab"), 12, seed=s) for s in (1, 1, 2))
    order = [5, 0, 11, 5]
    pictures = [first.load_image(i) for i in order]
    assert all((again.load_image(i) == p).all() for i, p in zip(reversed(order), pictures[::-1]))
    assert any((other.load_image(i) != p).any() for i, p in zip(order, pictures))
    copy = pickle.loads(pickle.dumps(first))
    assert (copy.load_mask(5)[0] == first.load_mask(5)[0]).all()
    image = first.load_image(5)
    image[:] = 0  # a caller's own
    assert (first.load_image(5) == pictures[0]).all()


def test_only_classes_that_the_source_has_labeled_are_pasted():
    dataset = Squares("ab")
    scenes = CopyPasteDataset(dataset, 30)
    for number in scenes.image_ids:
        allowed = 1 if scenes.image_info[number]["source"] == "a" else 2
        assert set(scenes.load_mask(number)[1]) == {allowed}
    dataset.source_class_ids["a"] = [0, 1, 2]
    fresh = CopyPasteDataset(dataset, 30)
    in_a = [i for i in fresh.image_ids if fresh.image_info[i]["source"] == "a"]
    assert {c for i in in_a for c in fresh.load_mask(i)[1]} == {1, 2}


def test_with_the_pictures_themselves():
    dataset = Squares("ab")
    both = merge([dataset, CopyPasteDataset(dataset, 3)])
    assert both.num_images == 5 and both.class_names == dataset.class_names
    assert "copy-paste scene 2" in both.image_reference(4)


def test_large_pictures_are_made_smaller():
    scenes = CopyPasteDataset(Squares("a"), 2, max_side=64)
    assert scenes.load_image(0).shape == (43, 64, 3)
    assert scenes.load_mask(0)[0].shape[:2] == (43, 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count is 0: it must be at least 1"),
        ({"count": 1, "max_objects": 0}, "max_objects is 0"),
        ({"count": 1, "max_side": 10}, "max_side is 10: it must be at least 64"),
        ({"count": 1, "seed": -1}, "seed is -1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        CopyPasteDataset(Squares("a"), **arguments)


def test_nothing_to_paste():
    with pytest.raises(ValueError, match="no objects: there is nothing to paste"):
        CopyPasteDataset(Squares("a", empty=True), 5)


class Fewer(Squares):
    """Lists a red object that has no pixel before the blue one, as COCO files may."""

    def image_class_ids(self, image_id):
        return np.array([1, 2], np.int32)

    def load_mask(self, image_id):
        mask = np.zeros((80, 120, 1), bool)
        mask[20:50, 30:60] = True
        return mask, np.array([2], np.int32)


def test_annotations_without_a_pixel_are_not_pasted():
    dataset = Fewer("a")
    dataset.add_class("a", 2, "blue")
    dataset.prepare()
    scenes = CopyPasteDataset(dataset, 20)
    pasted = 0
    for number in scenes.image_ids:
        masks, class_ids = scenes.load_mask(number)
        assert masks.shape == (80, 120, len(class_ids)) and set(class_ids.tolist()) <= {2}
        pasted += len(class_ids) > 1
    assert pasted > 5


class Shapeless(Squares):
    """Returns what `Dataset.load_mask` does for its first image, which has no object."""

    def load_mask(self, image_id):
        if image_id == 0:
            return np.empty((0, 0, 0), bool), np.empty(0, np.int32)
        return super().load_mask(image_id)

    def image_class_ids(self, image_id):
        return self.load_mask(image_id)[1]


def test_a_background_whose_masks_have_no_size():
    scenes = CopyPasteDataset(Shapeless("aa"), 20)
    for number in scenes.image_ids:
        masks, class_ids = scenes.load_mask(number)
        assert masks.shape == (80, 120, len(class_ids)) and len(class_ids)
