from __future__ import annotations

import random
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from mrcnn.loading.image_gt import describe_image, load_image_gt
from tests.loading.toys import ToyConfig, ToyDataset, blobs

BOXES = [[(0, 0, 10, 10), (20, 30, 40, 60)]]


class GivenMasks(ToyDataset):
    """One image with the masks and class ids of the test."""

    def __init__(self, mask: Any, class_ids: Any, size: tuple[int, int] = (48, 64)) -> None:
        super().__init__([[]], size)
        self.given = mask, class_ids

    def load_mask(self, image_id: int) -> Any:
        return self.given


def same(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image, mask


def test_square_up_scaled_and_padded() -> None:
    # 48x64 fits 64x64 without scaling: 8 rows of padding above and below.
    image, meta, class_ids, boxes, mask = load_image_gt(ToyDataset(BOXES), ToyConfig(), 0)
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8
    assert boxes.tolist() == [[8, 0, 18, 10], [28, 30, 48, 60]] and boxes.dtype == np.int32
    assert class_ids.tolist() == [1, 2] and class_ids.dtype == np.int32
    assert mask.shape == (64, 64, 2) and mask.dtype == bool
    assert mask.sum(axis=(0, 1)).tolist() == [100, 600]
    # id, original shape, shape, window, scale, active classes
    assert meta.tolist() == [0, 48, 64, 3, 64, 64, 3, 8, 0, 56, 64, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("mode", "size", "min_dim", "max_dim"),
    [
        ("square", (48, 64), 64, 64),
        ("square", (100, 37), 64, 64),
        ("square", (31, 200), 128, 192),
        ("pad64", (40, 90), 64, 64),
        ("crop", (50, 80), 64, 64),
        ("crop", (100, 70), 32, 32),
        ("none", (64, 128), 64, 128),
    ],
)
@pytest.mark.parametrize("flip", [False, True])
def test_mini_masks_are_those_of_the_full_masks(
    mode: str, size: tuple[int, int], min_dim: int, max_dim: int, flip: bool
) -> None:
    class Settings(ToyConfig):
        IMAGE_RESIZE_MODE = mode
        IMAGE_MIN_DIM = min_dim
        IMAGE_MAX_DIM = max_dim

    mask = blobs(12, size, seed=sum(size))
    mask[:, :, 3] = False
    mask[:, :, 4] = True
    dataset = GivenMasks(mask, np.arange(12) % 3 + 1, size)

    def load(augmentation: Any) -> Any:
        random.seed(1)
        return load_image_gt(
            dataset, Settings(), 0, augment=flip, augmentation=augmentation, use_mini_mask=True
        )

    for direct, through_full in zip(load(None), load(same), strict=True):
        assert direct.dtype == through_full.dtype
        np.testing.assert_array_equal(direct, through_full)


@pytest.mark.parametrize("use_mini_mask", [False, True])
@pytest.mark.parametrize("shape", [(0, 0, 0), (48, 64, 0)])
@pytest.mark.parametrize("augmentation", [None, same])
def test_image_without_instances(
    use_mini_mask: bool, shape: tuple[int, ...], augmentation: Any
) -> None:
    # (0, 0, 0) is what Dataset.load_mask and Matterport's COCO reader give (M#1124).
    dataset = GivenMasks(np.zeros(shape), np.zeros(0, np.int32))
    _, meta, class_ids, boxes, mask = load_image_gt(
        dataset, ToyConfig(), 0, use_mini_mask=use_mini_mask, augmentation=augmentation
    )
    assert class_ids.shape == (0,) and class_ids.dtype == np.int32
    assert boxes.shape == (0, 4) and boxes.dtype == np.int32
    assert mask.shape == ((14, 14, 0) if use_mini_mask else (64, 64, 0)) and mask.dtype == bool
    assert len(meta) == ToyConfig().IMAGE_META_SIZE


@pytest.mark.parametrize("use_mini_mask", [False, True])
def test_empty_masks_are_left_out_with_their_class_ids(use_mini_mask: bool) -> None:
    mask = np.zeros((48, 64, 3), np.uint8)
    mask[10:20, 10:20, 1] = 255
    # An empty mask of class 0 is a common way to say "nothing here": no error either.
    dataset = GivenMasks(mask, [0, 2, 1])
    _, _, class_ids, boxes, mini = load_image_gt(
        dataset, ToyConfig(), 0, use_mini_mask=use_mini_mask
    )
    assert class_ids.tolist() == [2]
    assert boxes.tolist() == [[18, 10, 28, 20]]
    assert mini.shape[2] == 1 and mini.dtype == bool


def test_instance_that_shrinks_to_nothing_is_left_out() -> None:
    mask = np.zeros((256, 256, 2), bool)
    mask[2, 2, 0] = True  # Between the rows that order 0 keeps.
    mask[50:90, 50:90, 1] = True
    dataset = GivenMasks(mask, [1, 2], (256, 256))
    for augmentation in (None, same):
        _, _, class_ids, boxes, _ = load_image_gt(
            dataset, ToyConfig(), 0, augmentation=augmentation, use_mini_mask=True
        )
        assert class_ids.tolist() == [2]
        assert len(boxes) == 1


@pytest.mark.parametrize(
    ("mask", "class_ids", "message"),
    [
        (np.ones((48, 64, 2), bool), [1, 4], r"class ids \[4\] are out of range"),
        (np.ones((48, 64, 2), bool), [-4, 1], r"class ids \[-4\] are out of range"),
        (np.ones((48, 64, 1), bool), [0], r"class ids \[0\] .* 0 is the background"),
        (np.ones((64, 48, 1), bool), [1], r"shape \(64, 48, 1\).* \(48, 64\)"),
        (np.ones((48, 64), bool), [1], r"shape \(48, 64\).*\[height, width, instances\]"),
        (np.ones((48, 64, 2), bool), [1], r"2 masks and class ids of the shape \(1,\)"),
    ],
)
def test_errors_name_the_image(mask: np.ndarray, class_ids: Any, message: str) -> None:
    # M#2273, M#159: a class id out of range made the losses nan.
    named = r"image 0 \(source 'toy', id 'img0', path '/pictures/0.png'\): .*"
    with pytest.raises(ValueError, match=named + message):
        load_image_gt(GivenMasks(mask, class_ids), ToyConfig(), 0)


@pytest.mark.parametrize(
    ("shape", "dtype", "channels", "expected"),
    [
        ((48, 64, 3), np.uint8, 1, 200),
        ((48, 64), np.uint8, 1, 200),
        ((48, 64, 2), np.uint8, 1, 200),  # gray and alpha
        ((48, 64, 4), np.uint8, 3, 200),
        ((48, 64), np.uint8, 3, 200),
        ((48, 64), np.uint16, 3, 200),
        ((48, 64, 4), np.uint8, 4, 200),  # as it is
        ((48, 64, 3), np.float32, 3, 200),  # as it is
    ],
)
def test_channels_are_converted_as_for_detection(
    shape: tuple[int, ...], dtype: Any, channels: int, expected: int
) -> None:
    class Other(ToyConfig):
        IMAGE_CHANNEL_COUNT = channels
        IMAGE_RESIZE_MODE = "none"

    dataset = ToyDataset([[(0, 0, 9, 9)]])
    value = 200 * 257 if dtype is np.uint16 else 200
    dataset.load_image = lambda image_id: np.full(shape, value, dtype)  # type: ignore[method-assign]
    image, *_ = load_image_gt(dataset, Other(), 0)
    assert image.shape == (48, 64, channels) and (image == expected).all()
    assert image.dtype == (np.float32 if dtype is np.float32 else np.uint8)


@pytest.mark.parametrize("shape", [(48, 64, 7), (48, 64, 0), (64,), (1, 48, 64, 3)])
def test_images_that_cannot_be_converted(shape: tuple[int, ...]) -> None:
    dataset = ToyDataset([[(0, 0, 9, 9)]])
    dataset.load_image = lambda image_id: np.zeros(shape, np.uint8)  # type: ignore[method-assign]
    words = rf"^image 0 \(source 'toy'.*: load_image gave the shape {re.escape(str(shape))}"
    with pytest.raises(ValueError, match=words):
        load_image_gt(dataset, ToyConfig(), 0)


def test_source_without_classes() -> None:
    dataset = ToyDataset(BOXES)
    dataset.image_info[0]["source"] = "other"
    with pytest.raises(ValueError, match=r"source 'other'.*no class .* \['', 'toy'\]"):
        load_image_gt(dataset, ToyConfig(), 0)


def test_crowds_keep_their_sign() -> None:
    dataset = GivenMasks(np.ones((48, 64, 1), bool), [-2])
    assert load_image_gt(dataset, ToyConfig(), 0)[2].tolist() == [-2]


def test_augment_flips_half_of_the_time() -> None:
    dataset = ToyDataset(BOXES)
    plain = load_image_gt(dataset, ToyConfig(), 0, use_mini_mask=True)
    flips = 0
    for seed in range(40):
        random.seed(seed)
        image, _, _, boxes, mask = load_image_gt(
            dataset, ToyConfig(), 0, augment=True, use_mini_mask=True
        )
        if np.array_equal(image, plain[0]):
            np.testing.assert_array_equal(boxes, plain[3])
            continue
        flips += 1
        np.testing.assert_array_equal(image, plain[0][:, ::-1])
        # The image is 64 wide.
        np.testing.assert_array_equal(boxes[:, [1, 3]], 64 - plain[3][:, [3, 1]])
        np.testing.assert_array_equal(mask, plain[4][:, ::-1])
    assert 10 < flips < 30


@pytest.mark.parametrize("make_rng", [np.random.default_rng, np.random.RandomState])
def test_rng_decides_crop_and_flip(make_rng: Any) -> None:
    class Crop(ToyConfig):
        IMAGE_RESIZE_MODE = "crop"
        IMAGE_MIN_DIM = 64

    dataset = ToyDataset(BOXES, size=(80, 200))
    images = [
        load_image_gt(dataset, Crop(), 0, augment=True, rng=make_rng(seed))[0] for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_augmentation_does_not_write_to_the_dataset() -> None:
    class Keep(ToyConfig):
        IMAGE_RESIZE_MODE = "none"

    class InMemory(ToyDataset):
        source = np.full((64, 64, 3), 7, np.uint8)

        def load_image(self, image_id: int) -> np.ndarray:
            return self.source

    def blacken(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        image[:] = 0
        return image, mask

    dataset = InMemory(BOXES, size=(64, 64))
    image = load_image_gt(dataset, Keep(), 0, augmentation=blacken)[0]
    assert not image.any()
    assert (dataset.source == 7).all()


def test_describe_image_without_a_path() -> None:
    dataset = ToyDataset(BOXES)
    dataset.image_info[0]["path"] = None
    assert describe_image(dataset, 0) == "image 0 (source 'toy', id 'img0')"


def test_needs_no_deep_learning_library() -> None:
    code = """
import sys
import mrcnn.loading.image_gt, mrcnn.loading.generator, mrcnn.loading.rpn_targets
sys.exit(any(n in sys.modules for n in ("keras", "tensorflow", "imgaug", "albumentations")))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
