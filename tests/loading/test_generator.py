from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest

from mrcnn.loading.broken_images import BrokenImageError
from mrcnn.loading.generator import data_generator
from tests.loading.toys import ToyConfig, ToyDataset

BOXES = [[(i, 2 * i, i + 20, 2 * i + 24), (5, 5, 25, 30)] for i in range(5)]


def ids_of(batches: Any, count: int) -> list[list[int]]:
    return [inputs[1][:, 0].astype(int).tolist() for inputs, _ in islice(batches, count)]


def test_endless_and_in_order() -> None:
    batches = data_generator(ToyDataset(BOXES), ToyConfig(), shuffle=False, batch_size=2)
    assert ids_of(batches, 5) == [[0, 1], [2, 3], [4, 0], [1, 2], [3, 4]]


def test_shuffles_every_pass_with_numpys_global_generator() -> None:
    class Everything(ToyConfig):
        # No anchors are left out, so shuffling is the only draw.
        RPN_TRAIN_ANCHORS_PER_IMAGE = 10000

    np.random.seed(7)
    found = ids_of(data_generator(ToyDataset(BOXES), Everything(), batch_size=5), 3)
    np.random.seed(7)
    order, expected = np.arange(5), []
    for _ in range(3):
        np.random.shuffle(order)
        expected.append(order.tolist())
    assert found == expected


def test_random_rois_and_detection_targets() -> None:
    batches = data_generator(
        ToyDataset(BOXES), ToyConfig(), random_rois=40, batch_size=3, detection_targets=True
    )
    inputs, outputs = next(batches)
    assert [array.shape for array in inputs[7:]] == [(3, 40, 4), (3, 12, 4)]
    assert [array.shape for array in outputs] == [(3, 12, 1), (3, 12, 4, 4), (3, 12, 14, 14, 4)]
    assert [str(array.dtype) for array in outputs] == ["int32", "float32", "float32"]
    assert outputs[0].any() and outputs[2].any()
    # Deltas and masks only in the place of the class.
    for image, roi in np.argwhere(outputs[0][..., 0] == 0):
        assert not outputs[1][image, roi].any() and not outputs[2][image, roi].any()


def test_negative_images_are_part_of_it() -> None:
    batches = data_generator(ToyDataset([[], BOXES[0]]), ToyConfig(), shuffle=False)
    (first, _), (second, _) = islice(batches, 2)
    assert not first[4].any() and second[4].any()
    assert first[6].shape == second[6].shape


class Broken(ToyDataset):
    def load_mask(self, image_id: int) -> Any:
        if image_id == 1:
            raise OSError("no such mask")
        return super().load_mask(image_id)


def test_broken_images_are_logged_once_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    batches = data_generator(Broken(BOXES[:2]), ToyConfig(), shuffle=False)
    assert ids_of(batches, 20) == [[0]] * 20
    assert [record.getMessage() for record in caplog.records] == [
        "Skipped image 1 (source 'toy', id 'img1', path '/pictures/1.png'): OSError: no such mask"
    ]


def test_the_first_broken_image_raises_on_request() -> None:
    batches = data_generator(Broken(BOXES[:2]), ToyConfig(), shuffle=False, on_error="raise")
    assert ids_of(batches, 1) == [[0]]
    with pytest.raises(BrokenImageError, match=r"^image 1 .*: OSError: no such mask$") as caught:
        next(batches)
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("num_images", "broken", "message"),
    [
        # Six in a row.
        (40, range(3, 9), r"^image 8 .*: OSError: no such mask \(6 images in a row failed\)$"),
        # The sixth of less than thirty images, in no row.
        (29, range(0, 29, 2), r"^image 10 .* \(6 of 29 images failed\)$"),
        # More than a fifth of a larger dataset.
        (35, range(0, 35, 2), r"^image 14 .* \(8 of 35 images failed\)$"),
    ],
)
def test_too_many_broken_images(num_images: int, broken: range, message: str) -> None:
    dataset = ToyDataset([BOXES[0]] * num_images)
    load_mask = dataset.load_mask

    def fail(image_id: int) -> Any:
        if image_id in broken:
            raise OSError("no such mask")
        return load_mask(image_id)

    dataset.load_mask = fail  # type: ignore[method-assign]
    with pytest.raises(BrokenImageError, match=message):
        ids_of(data_generator(dataset, ToyConfig(), shuffle=False), 60)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"augmentation": 5}, "augmentation is 5"),
        ({"dataset": ToyDataset([])}, "dataset has no images"),
    ],
)
def test_wrong_arguments_raise_at_once(settings: dict[str, Any], message: str) -> None:
    arguments = {"dataset": ToyDataset(BOXES), "config": ToyConfig()} | settings
    with pytest.raises(ValueError, match=message):
        data_generator(**arguments)
