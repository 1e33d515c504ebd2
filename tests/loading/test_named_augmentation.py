"""Augmentations by name: what they do to an image and its masks."""

import numpy as np
import pytest

from mrcnn.loading import find_augmentation
from mrcnn.loading.augmentation import apply_augmentation
from mrcnn.loading.named_augmentation import LIGHT, STRONG, RandomChange, flip_left_right

STILL = {"scale": 1.0, "stretch": 1.0, "rotation": 0.0, "shift": 0.0,
         "brightness": 0.0, "contrast": 1.0, "tint": 1.0}  # fmt: skip


class Highest:
    """Draw the upper end of every range, and no flip unless asked for."""

    def __init__(self, flip=False):
        self.flip = flip

    def random(self):
        return 0.0 if self.flip else 0.9

    def uniform(self, low, high, size=None):
        return high if size is None else np.full(size, high)


def square(shape=(40, 60, 3)):
    """An image with a bright square at rows 10..19 and columns 20..29, and its mask."""
    image = np.full(shape, 100, np.uint8)
    image[10:20, 20:30] = 200
    mask = np.zeros((*shape[:2], 1), bool)
    mask[10:20, 20:30, 0] = True
    return image, mask


def box(mask):
    rows, columns = np.nonzero(mask)
    return [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]


@pytest.mark.parametrize(
    "changes, rng, expected",
    [
        ({}, Highest(), [10, 20, 20, 30]),
        ({}, Highest(flip=True), [10, 30, 20, 40]),
        ({"shift": 0.1}, Highest(), [14, 26, 24, 36]),
        # About the center (19.5, 29.5).
        ({"scale": 2.0}, Highest(), [0, 10, 20, 30]),
        ({"stretch": 4.0}, Highest(), [15, 10, 20, 30]),
    ],
)
def test_pixels_and_masks_move_together(changes, rng, expected):
    image, mask = square()
    moved, moved_mask = RandomChange(**{**STILL, **changes})(image, mask, rng)
    assert moved.shape == image.shape and moved.dtype == np.uint8
    assert moved_mask.dtype == bool and moved_mask.shape == mask.shape
    assert np.abs(np.subtract(box(moved_mask[..., 0]), expected)).max() <= 1
    bright = moved[..., 0] > 150
    assert (bright ^ moved_mask[..., 0]).sum() < 0.35 * moved_mask.sum()
    assert (image == square()[0]).all() and (mask == square()[1]).all()


@pytest.mark.parametrize(
    "changes, values",
    [
        ({"brightness": 0.1}, (126, 226)),
        ({"contrast": 1.5}, (86, 236)),
        ({"tint": 2.0}, (72, 255)),
    ],
)
def test_colors(changes, values):
    image, mask = square()
    changed, same = RandomChange(**{**STILL, **changes})(image, mask, Highest())
    assert (same == mask).all()
    assert (changed[0, 0] == values[0]).all() and (changed[15, 25] == values[1]).all()


@pytest.mark.parametrize("augmentation", [LIGHT, STRONG])
@pytest.mark.parametrize("shape", [(40, 60, 3), (40, 60, 1), (40, 60, 4), (40, 60, 7)])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_any_image_and_any_number_of_masks(augmentation, shape, count):
    image, mask = square(shape)
    masks = np.repeat(mask, count, axis=2)
    results = [
        apply_augmentation(augmentation, image, masks, np.random.default_rng(seed))
        for seed in (0, 0, 1)
    ]
    for changed, moved in results:
        assert changed.shape == shape and changed.dtype == np.uint8
        assert moved.shape == (40, 60, count) and moved.dtype == bool
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert (results[0][0] != results[2][0]).any()
    assert augmentation(image, masks)[0].shape == shape  # without a generator


def test_names():
    assert find_augmentation("none") is None
    assert find_augmentation("flips") is flip_left_right
    assert (find_augmentation("light"), find_augmentation("strong")) == (LIGHT, STRONG)


def test_a_python_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def augmentation(image, mask):\n    return image[::-1], mask[::-1]\n")
    image, mask = square()
    flipped, _ = apply_augmentation(find_augmentation(path), image, mask)
    np.testing.assert_array_equal(flipped, image[::-1])


@pytest.mark.parametrize(
    "name, text, error, message",
    [
        ("colors", None, ValueError, "augmentation is 'colors'; it must be none, flips, light, st"),
        ("no.py", None, FileNotFoundError, "no.py'; there is no such file"),
        ("a.py", "augment = 1", ValueError, "a.py defines no 'augmentation'; it must define one"),
        ("a.py", "augmentation = 1", ValueError, "augmentation is 1; it must be an imgaug"),
        ("a.py", "1 / 0", ZeroDivisionError, "division by zero"),
    ],
)
def test_what_is_no_augmentation(tmp_path, name, text, error, message):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=message):
        find_augmentation(name if name == "colors" else path)


def test_flip_mirrors_image_and_masks_together():
    image = np.arange(12).reshape(2, 2, 3)
    mask = np.array([[[True], [False]], [[False], [False]]])
    flipped, moved = flip_left_right(image, mask, Highest(flip=True))
    np.testing.assert_array_equal(flipped, image[:, ::-1])
    np.testing.assert_array_equal(moved[0, :, 0], [False, True])
    assert flip_left_right(image, mask, Highest())[0] is image
    assert flip_left_right(image, mask)[0].shape == image.shape
