from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from mrcnn.loading.augmentation import apply_augmentation, check_augmentation
from mrcnn.loading.imgaug_numpy2 import allow_imgaug

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
allow_imgaug()
iaa = pytest.importorskip("imgaug.augmenters")
albumentations = pytest.importorskip("albumentations")
# imgaug's PiecewiseAffine calls scikit-image as it was.
pytestmark = pytest.mark.filterwarnings("ignore:`estimate` is deprecated:FutureWarning")


def picture(size: tuple[int, int] = (64, 64), count: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """White rectangles on black, and their masks: the mask says where the image is white."""
    random = np.random.RandomState(0)
    mask = np.zeros((*size, count), bool)
    for index in range(count):
        y, x = random.randint(8, size[0] - 28), random.randint(8, size[1] - 28)
        mask[y : y + 16, x : x + 20, index] = True
    image = np.zeros((*size, 3), np.uint8)
    image[mask.any(axis=2)] = 255
    return image, mask


def agreement(image: np.ndarray, mask: np.ndarray) -> float:
    """Share of pixels where the union of the masks is where the image is white."""
    return float(((image.mean(axis=2) > 127) == mask.any(axis=2)).mean())


IMGAUG = {
    "flips": lambda: iaa.Sequential([iaa.Fliplr(1.0), iaa.Flipud(1.0)]),
    "affine": lambda: iaa.Affine(rotate=(-30, 30), scale=(0.8, 1.2), translate_px=(-5, 5)),
    "some_of": lambda: iaa.SomeOf((1, 2), [iaa.Fliplr(0.5), iaa.Affine(rotate=90)]),
    "one_of": lambda: iaa.OneOf([iaa.Flipud(1.0), iaa.Affine(shear=8)]),
    "sometimes": lambda: iaa.Sometimes(0.7, iaa.Affine(rotate=45)),
    "crop_and_pad": lambda: iaa.CropAndPad(percent=(-0.1, 0.1)),
    "piecewise": lambda: iaa.PiecewiseAffine(scale=0.02),
    # These are no more than subclasses or newer than Matterport's list.
    "rotate": lambda: iaa.Rotate(30),
    "crop": lambda: iaa.Crop(px=(0, 10)),
    "perspective": lambda: iaa.PerspectiveTransform(scale=0.05),
    "rot90": lambda: iaa.Rot90(1),
    # Photometric ones leave masks alone, wherever they stand.
    "photometric": lambda: iaa.Sequential(
        [iaa.Fliplr(0.5), iaa.GaussianBlur(0.5), iaa.Multiply((0.9, 1.1)), iaa.Affine(rotate=20)],
        random_order=True,
    ),
}


@pytest.mark.parametrize("name", IMGAUG)
@pytest.mark.parametrize("seed", [None, 1], ids=["global", "own"])
def test_imgaug_moves_masks_with_the_image(name: str, seed: Any) -> None:
    image, mask = picture()
    rng = None if seed is None else np.random.default_rng(seed)
    moved = 0
    for _ in range(8):
        new_image, new_mask = apply_augmentation(IMGAUG[name](), image, mask, rng)
        assert new_image.shape == image.shape and new_image.dtype == np.uint8
        assert new_mask.shape == mask.shape and new_mask.dtype == bool
        assert agreement(new_image, new_mask) > 0.96
        moved += not np.array_equal(new_mask, mask)
    assert moved


def test_imgaug_photometric_keeps_masks() -> None:
    image, mask = picture()
    augmenter = iaa.Sequential([iaa.GaussianBlur(3.0), iaa.Add(40), iaa.CoarseDropout(0.5, 2)])
    new_image, new_mask = apply_augmentation(augmenter, image, mask)
    np.testing.assert_array_equal(new_mask, mask)
    assert not np.array_equal(new_image, image)


@pytest.mark.parametrize(
    "make",
    [
        lambda: iaa.Affine(scale=0.5, cval=255),
        lambda: iaa.Sequential([iaa.Sometimes(1.0, iaa.Affine(translate_px=20, cval=(100, 255)))]),
        lambda: iaa.CropAndPad(px=12, pad_cval=255, keep_size=True),
    ],
)
def test_imgaug_new_ground_belongs_to_no_instance(make: Any) -> None:
    # Matterport hands the colour of the new ground to the masks as well: all True there.
    image, mask = picture(count=1)
    new_image, new_mask = apply_augmentation(make(), image, mask)
    assert new_image[0, 0].min() >= 100
    assert not new_mask[0, :].any() and not new_mask[:, 0].any()
    assert 0 < new_mask.sum() <= mask.sum()


ALBUMENTATIONS = {
    "single": lambda: albumentations.HorizontalFlip(p=1.0),
    "compose": lambda: albumentations.Compose(
        [
            albumentations.VerticalFlip(p=1.0),
            albumentations.Affine(rotate=(-20, 20), p=1.0),
            albumentations.RandomBrightnessContrast(0.1, 0.1),
        ]
    ),
    "one_of": lambda: albumentations.OneOf([albumentations.Transpose(p=1.0)], p=1.0),
}


@pytest.mark.parametrize("name", ALBUMENTATIONS)
def test_albumentations_moves_masks_with_the_image(name: str) -> None:
    image, mask = picture()
    for rng in (None, np.random.default_rng(1)):
        new_image, new_mask = apply_augmentation(ALBUMENTATIONS[name](), image, mask, rng)
        assert new_mask.shape == mask.shape and new_mask.dtype == bool
        assert not np.array_equal(new_mask, mask)
        assert agreement(new_image, new_mask) > 0.96


@pytest.mark.parametrize(
    "augmentation",
    [
        iaa.Sequential([iaa.Fliplr(0.5), iaa.Affine(rotate=(-90, 90))]),
        albumentations.Compose(
            [albumentations.HorizontalFlip(), albumentations.Affine(rotate=(-90, 90), p=1.0)]
        ),
    ],
    ids=["imgaug", "albumentations"],
)
def test_seeded_results_do_not_depend_on_threads(augmentation: Any) -> None:
    image, mask = picture()

    def augment(seed: int) -> np.ndarray:
        return apply_augmentation(augmentation, image, mask, np.random.default_rng(seed))[0]

    first = [augment(seed) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(augment, range(12)))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({result.tobytes() for result in first}) > 8


def test_unseeded_results_differ() -> None:
    image, mask = picture()
    augmenter = iaa.Affine(rotate=(-90, 90))
    results = {apply_augmentation(augmenter, image, mask)[0].tobytes() for _ in range(6)}
    assert len(results) > 4


@pytest.mark.parametrize(
    "augmentation", [iaa.Fliplr(1.0), albumentations.HorizontalFlip(p=1.0)], ids=["ia", "al"]
)
def test_no_instances(augmentation: Any) -> None:
    image, _ = picture()
    new_image, new_mask = apply_augmentation(augmentation, image, np.zeros((64, 64, 0), bool))
    np.testing.assert_array_equal(new_image, image[:, ::-1])
    assert new_mask.shape == (64, 64, 0) and new_mask.dtype == bool


def test_functions() -> None:
    image, mask = picture()

    def mirror(image: np.ndarray, mask: np.ndarray) -> Any:
        return image[:, ::-1], mask[:, ::-1].astype(np.float32)

    new_image, new_mask = apply_augmentation(mirror, image, mask)
    np.testing.assert_array_equal(new_image, image[:, ::-1])
    np.testing.assert_array_equal(new_mask, mask[:, ::-1])
    assert new_mask.dtype == bool and new_image.flags.c_contiguous


def test_function_with_rng() -> None:
    def shift(image: np.ndarray, mask: np.ndarray, rng: Any) -> Any:
        step = rng.integers(1, 30)
        return np.roll(image, step, axis=1), np.roll(mask, step, axis=1)

    image, mask = picture()
    results = [
        apply_augmentation(shift, image, mask, np.random.default_rng(seed))[1] for seed in (0, 0, 5)
    ]
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        (iaa.CropToFixedSize(32, 32), r"CropToFixedSize changed the shape of the image"),
        (albumentations.Resize(32, 32), r"Resize changed the shape of the image from .64, 64, 3."),
        (lambda image, mask: (image, mask[:, :, :1]), "changed the shape of the mask"),
        (lambda image, mask: (image / 255, mask), "type of the image from uint8 to float64"),
        (lambda image, mask: image, r"returned ndarray; it must return \(image, mask\)"),
        ("flip", "augmentation is 'flip'; it must be an imgaug augmenter, an Albumentations"),
        ([iaa.Fliplr(1.0)], "must be an imgaug augmenter"),
        (iaa.Fliplr, "must be an imgaug augmenter"),
    ],
)
def test_errors(augmentation: Any, message: str) -> None:
    image, mask = picture()
    with pytest.raises(ValueError, match=message):
        apply_augmentation(augmentation, image, mask)


def test_check_augmentation() -> None:
    check_augmentation(None)
    check_augmentation(iaa.Fliplr(0.5))
    with pytest.raises(ValueError, match="augmentation is 3"):
        check_augmentation(3)


def test_scripts_may_import_imgaug_themselves() -> None:
    code = """
import sys
from mrcnn.loading.imgaug_numpy2 import watch_for_imgaug
watch_for_imgaug(), watch_for_imgaug()
assert "numpy" not in sys.modules and len([f for f in sys.meta_path if "Imgaug" in str(f)]) == 1
import imgaug.augmenters
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
