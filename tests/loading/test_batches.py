from __future__ import annotations

import logging
import pickle
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

from mrcnn.loading import examples
from mrcnn.loading.batches import BrokenImageError, TrainingBatches
from mrcnn.loading.cache import CachedDataset
from tests.loading.toys import ToyConfig, ToyDataset

BOXES = [[(i, 2 * i, i + 20, 2 * i + 24), (5, 5, 25, 30)] for i in range(7)]


class BrokenDataset(ToyDataset):
    """Some images cannot be read."""

    broken: tuple[int, ...] = (2,)

    def load_image(self, image_id: int) -> np.ndarray:
        if image_id in self.broken:
            raise OSError("truncated file")
        return super().load_image(image_id)


def some_noise(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Any:
    return image + rng.integers(0, 9, image.shape, np.uint8), mask


def make(dataset: Any = None, config: Any = None, **settings: Any) -> TrainingBatches:
    if dataset is None:
        dataset = ToyDataset(BOXES)
    return TrainingBatches(dataset, config or ToyConfig(), **({"seed": 5} | settings))


def assert_equal_batches(one: Any, other: Any) -> None:
    for arrays, others in zip(one, other, strict=True):
        for array, twin in zip(arrays, others, strict=True):
            np.testing.assert_array_equal(array, twin)


def test_arrays() -> None:
    batches = make()
    assert len(batches) == 4
    (inputs,) = batches[1]
    assert isinstance(inputs, tuple)  # TensorFlow takes a list for a ragged array.
    num_anchors = 3 * (16**2 + 8**2 + 4**2 + 2**2 + 1)
    shapes = [
        (2, 64, 64, 3), (2, 16), (2, num_anchors, 1), (2, 32, 4), (2, 5), (2, 5, 4), (2, 14, 14, 5),
    ]  # fmt: skip
    dtypes = ["float32", "float32", "int32", "float32", "int32", "int32", "bool"]
    assert [array.shape for array in inputs] == shapes
    assert [str(array.dtype) for array in inputs] == dtypes
    images, metas, rpn_match, rpn_bbox, class_ids, boxes, masks = inputs
    for index, image_id in enumerate(batches.image_ids_of_batch(1)):
        assert metas[index, 0] == image_id
        expected = np.add(BOXES[image_id], [8, 0, 8, 0])  # Padding above.
        np.testing.assert_array_equal(boxes[index, :2], expected)
        expected_image = batches.dataset.load_image(image_id) - ToyConfig.MEAN_PIXEL
        np.testing.assert_allclose(images[index, 8:56], expected_image, atol=1e-4)
    assert class_ids.tolist() == [[1, 2, 0, 0, 0]] * 2
    assert not boxes[:, 2:].any() and masks[..., :2].any() and not masks[..., 2:].any()
    num_positive = (rpn_match == 1).sum(axis=(1, 2))
    assert ((rpn_match != 0).sum(axis=(1, 2)) == 32).all() and (num_positive > 0).all()
    assert (rpn_bbox.any(axis=2).sum(axis=1) == num_positive).all()


def test_the_seed_decides_everything() -> None:
    settings = {"augmentation": some_noise, "random_rois": 20, "detection_targets": True}
    one, other = make(**settings), make(**settings)
    # Neither the order nor the thread of the calls matters, nor the global generators.
    expected = [one[index] for index in range(4)]
    np.random.seed(0)
    random.seed(0)
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip((3, 1, 0, 2), pool.map(other.__getitem__, (3, 1, 0, 2)), strict=True))
    for index in range(4):
        assert_equal_batches(expected[index], found[index])
    assert not np.array_equal(expected[0][0][0], make(**(settings | {"seed": 6}))[0][0][0])
    assert not np.array_equal(expected[0][0][0], expected[1][0][0])


def test_without_a_seed_numpy_decides() -> None:
    np.random.seed(3)
    one, two = make(seed=None), make(seed=None)
    np.random.seed(3)
    assert make(seed=None).seed == one.seed != two.seed


def test_every_image_equally_often_in_changing_order() -> None:
    # 4 steps of 2 on 7 images: an epoch ends in the middle of a pass.
    batches = make()
    seen = [
        image_id
        for epoch in range(7)
        for index in range(4)
        for image_id in batches.image_ids_of_batch(index, epoch)
    ]
    passes = [seen[start : start + 7] for start in range(0, 56, 7)]
    assert all(sorted(one_pass) == list(range(7)) for one_pass in passes)
    assert len({tuple(one_pass) for one_pass in passes}) == 8


def test_without_shuffling() -> None:
    batches = make(shuffle=False)
    ids = [batches.image_ids_of_batch(index) for index in range(4)]
    assert ids == [[0, 1], [2, 3], [4, 5], [6, 0]]


def test_epochs_advance_and_resume() -> None:
    batches = make(augmentation=some_noise)
    first = batches[0]
    batches.on_epoch_end()
    assert batches.epoch == 1
    second = batches[0]
    assert not np.array_equal(first[0][0], second[0][0])
    assert_equal_batches(second, make(augmentation=some_noise, epoch_offset=1)[0])
    assert batches.image_ids_of_batch(0) == second[0][1][:, 0].tolist()


def test_through_keras_in_threads() -> None:
    batches = make(augmentation=some_noise, workers=3, max_queue_size=2)
    adapter = PyDatasetAdapter(batches)
    reference = make(augmentation=some_noise)
    for epoch in range(2):
        adapter.on_epoch_begin()
        found = list(adapter.get_numpy_iterator())
        adapter.on_epoch_end()
        assert len(found) == 4
        for index, batch in enumerate(found):
            assert_equal_batches(batch, reference[index])
        assert batches.epoch == epoch + 1
        reference.on_epoch_end()


def test_negative_images_are_kept() -> None:
    # M#330 and others: Matterport left them out.
    batches = make(ToyDataset([[], BOXES[0]]), shuffle=False)
    (inputs,) = batches[0]
    _, metas, rpn_match, rpn_bbox, class_ids, boxes, masks = inputs
    assert metas[:, 0].tolist() == [0, 1]
    assert not class_ids[0].any() and not boxes[0].any() and not masks[0].any()
    assert (rpn_match[0] == -1).sum() == 32 and not (rpn_match[0] == 1).any()
    assert not rpn_bbox[0].any()
    assert class_ids[1, 0] == 1


def test_only_negative_images_with_random_rois() -> None:
    inputs, outputs = make(ToyDataset([[]]), random_rois=20, detection_targets=True)[0]
    assert inputs[7].shape == (2, 20, 4) and inputs[8].shape == (2, 12, 4)
    assert [array.shape for array in outputs] == [(2, 12, 1), (2, 12, 4, 4), (2, 12, 14, 14, 4)]
    assert not any(array.any() for array in outputs)


def test_random_rois_alone_are_an_input() -> None:
    (inputs,) = make(random_rois=20)[0]
    assert len(inputs) == 8 and inputs[7].shape == (2, 20, 4)


def test_more_instances_than_fit() -> None:
    boxes = [(4 * i, 4 * i, 4 * i + 8, 4 * i + 8) for i in range(9)]
    batches = make(ToyDataset([boxes]), batch_size=1)
    picks = set()
    for index in range(4):
        _, _, _, _, class_ids, gt_boxes, masks = batches[index][0]
        assert class_ids.all() and masks.any(axis=(1, 2)).all()
        rows = [(y1 - 8) // 4 for y1 in gt_boxes[0, :, 0]]
        # Class ids stay with their boxes.
        assert [row % 3 + 1 for row in rows] == class_ids[0].tolist()
        assert len(set(rows)) == 5
        picks.add(tuple(sorted(rows)))
    assert len(picks) > 1


def test_no_augmentation_sources() -> None:
    dataset = ToyDataset(BOXES[:2])
    dataset.add_class("plain", 1, "cat")
    dataset.class_info.pop()
    dataset.image_info[1]["source"] = "plain"
    dataset.source_class_ids["plain"] = [0, 1]

    def blacken(image: np.ndarray, mask: np.ndarray) -> Any:
        return np.zeros_like(image), mask

    for sources in (["plain"], "plain"):
        batches = make(
            dataset, augmentation=blacken, no_augmentation_sources=sources, shuffle=False
        )
        images = batches[0][0][0]
        assert (images[0, 30] < 0).all() and (images[1, 30] > 0).any()


def test_broken_image_raises_with_its_name() -> None:
    batches = make(BrokenDataset(BOXES), shuffle=False)
    batches[0]
    with pytest.raises(BrokenImageError) as caught:
        batches[1]
    assert str(caught.value) == (
        "image 2 (source 'toy', id 'img2', path '/pictures/2.png'): OSError: truncated file"
    )
    assert isinstance(caught.value.__cause__, OSError)


def test_broken_masks_raise_with_the_name_once() -> None:
    dataset = ToyDataset([[(0, 0, 9, 9)]])
    dataset.load_mask = lambda image_id: (np.ones((48, 64, 1), bool), [77])
    with pytest.raises(BrokenImageError, match=r"^image 0 \([^()]*\): class ids \[77\]"):
        make(dataset)[0]


def test_broken_image_stops_keras() -> None:
    adapter = PyDatasetAdapter(make(BrokenDataset(BOXES), workers=2))
    adapter.on_epoch_begin()
    with pytest.raises(BrokenImageError, match="truncated file"):
        list(adapter.get_numpy_iterator())


def test_broken_image_skipped(caplog: pytest.LogCaptureFixture) -> None:
    batches = make(BrokenDataset(BOXES), shuffle=False, on_error="skip")
    with caplog.at_level(logging.WARNING, "mrcnn.loading"):
        for _ in range(2):
            metas = batches[1][0][1]
            assert metas[:, 0].tolist() == [3, 3]  # The next one, and the one that was due.
    assert [record.message for record in caplog.records] == [
        "Skipped image 2 (source 'toy', id 'img2', path '/pictures/2.png'): OSError: truncated file"
    ]


@pytest.mark.parametrize(("num_broken", "is_fatal"), [(5, False), (6, True)])
def test_too_many_broken_images_in_a_row(num_broken: int, is_fatal: bool) -> None:
    dataset = BrokenDataset(BOXES)
    dataset.broken = tuple(range(num_broken))
    batches = make(dataset, shuffle=False, on_error="skip", batch_size=1)
    if is_fatal:
        with pytest.raises(BrokenImageError, match="truncated file"):
            batches[0]
    else:
        assert batches[0][0][1][0, 0] == 5


def test_images_of_another_shape_than_the_model() -> None:
    class Pad(ToyConfig):
        IMAGE_RESIZE_MODE = "pad64"

    batches = make(ToyDataset([BOXES[0]], size=(64, 128)), Pad())
    with pytest.raises(BrokenImageError, match=r"\(64, 128, 3\).*'pad64'.*'square' and 'crop'"):
        batches[0]


def test_cache_loads_once() -> None:
    class Counting(ToyDataset):
        def __init__(self, boxes: Any) -> None:
            super().__init__(boxes)
            self.calls: Counter[str] = Counter()

        def load_image(self, image_id: int) -> np.ndarray:
            self.calls["image"] += 1
            return super().load_image(image_id)

        def load_mask(self, image_id: int) -> Any:
            self.calls["mask"] += 1
            return super().load_mask(image_id)

    dataset = Counting([*BOXES[:2], []])
    batches = make(dataset, cache=True, augmentation=some_noise)
    plain = make(ToyDataset([*BOXES[:2], []]), augmentation=some_noise)
    for _ in range(3):
        for index in range(4):
            assert_equal_batches(batches[index], plain[index])
    assert dataset.calls == {"image": 3, "mask": 3}


def test_cache_keeps_to_its_limit() -> None:
    image_bytes, mask_bytes = 48 * 64 * 3, 48 * 64 * 2 // 8 + 2 * 4
    cached = CachedDataset(ToyDataset(BOXES), limit=2 * image_bytes + mask_bytes)
    for image_id in (0, 1, 2, 0):
        np.testing.assert_array_equal(
            cached.load_image(image_id), ToyDataset(BOXES).load_image(image_id)
        )
    assert cached.num_bytes == 2 * image_bytes
    for _ in range(2):
        for image_id in (0, 1):
            mask, class_ids = cached.load_mask(image_id)
            expected = ToyDataset(BOXES).load_mask(image_id)
            np.testing.assert_array_equal(mask, expected[0])
            np.testing.assert_array_equal(class_ids, expected[1])
    assert cached.num_bytes == 2 * image_bytes + mask_bytes
    assert cached.num_classes == 4 and not hasattr(cached, "nonsense")


def test_travels_to_another_process() -> None:
    batches = make(cache=True)
    expected = batches[2]
    assert_equal_batches(pickle.loads(pickle.dumps(batches))[2], expected)


def test_references() -> None:
    assert make(shuffle=False).references_of_batch(1) == [
        "image 2 (source 'toy', id 'img2', path '/pictures/2.png')",
        "image 3 (source 'toy', id 'img3', path '/pictures/3.png')",
    ]


def test_defaults_of_the_configuration() -> None:
    class Settings(ToyConfig):
        STEPS_PER_EPOCH = 7 / 2  # As `num_images / batch_size` gives.
        IMAGES_PER_GPU = 3

    batches = make(config=Settings())
    assert (len(batches), batches.batch_size) == (4, 3)
    with pytest.raises(IndexError, match="batches 0 to 3"):
        batches[4]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; it must be a whole number of at least 1"),
        ({"steps": 0}, "steps is 0"),
        ({"random_rois": -1}, "random_rois is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"on_error": "ignore"}, 'on_error is .ignore.; it must be "skip" or "raise"'),
        ({"augmentation": "flip"}, "augmentation is 'flip'"),
        ({"dataset": ToyDataset([])}, "dataset has no images"),
        (
            {"config": type("Two", (ToyConfig,), {"NUM_CLASSES": 2})()},
            "NUM_CLASSES is 2; it must be 4, .* of other classes: mrcnn.train",
        ),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_more_instances_than_the_limit_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    examples._warn_of_left_out.cache_clear()
    config = ToyConfig()
    config.MAX_GT_INSTANCES = 1
    batches = make(config=config)
    with caplog.at_level(logging.WARNING, "mrcnn.loading"):
        (first,), (second,) = batches[0], batches[1]
    assert (first[4] > 0).sum(axis=1).tolist() == (second[4] > 0).sum(axis=1).tolist() == [1, 1]
    assert [record.getMessage()[:21] for record in caplog.records] == ["MAX_GT_INSTANCES is 1"]
