"""Pixel scores of label maps."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mrcnn.datasets.shapes import ShapesDataset
from mrcnn.evaluation import LabelReport, evaluate_labels, pixels
from mrcnn.evaluation.label_maps import count_pixels


def test_scores_written_out():
    true = np.array([[0, 0, 0, 1], [1, 2, 2, 255]])
    found = np.array([[0, 0, 1, 1], [2, 2, 2, 0]])
    counts = count_pixels(found, true, 4)
    assert counts.tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 2, 0], [0, 0, 0, 0]]
    report = LabelReport(["a", "b", "c", "d"], counts)
    assert report.pixel_accuracy == pytest.approx(5 / 7)
    np.testing.assert_allclose(report.class_accuracy, [2 / 3, 1 / 2, 1, np.nan])
    np.testing.assert_allclose(report.class_iou, [2 / 3, 1 / 3, 2 / 3, np.nan])
    np.testing.assert_allclose(report.class_dice, [4 / 5, 1 / 2, 4 / 5, np.nan])
    assert report.mean_pixel_accuracy == pytest.approx(13 / 18)
    assert report.mean_iou == pytest.approx(5 / 9)
    assert report.mean_dice == pytest.approx(0.7)
    assert json.loads(json.dumps(report.to_dict()))["classes"][3]["iou"] is None
    assert str(report).splitlines() == [
        "class         accuracy    IoU   Dice",
        "a                0.667  0.667  0.800",
        "b                0.500  0.333  0.500",
        "c                1.000  0.667  0.800",
        "d                    -      -      -",
        "mean             0.722  0.556  0.700",
        "all pixels       0.714",
    ]


@pytest.mark.parametrize("seed", range(3))
def test_two_classes_score_as_one_mask_does(seed):
    rng = np.random.default_rng(seed)
    true, found = rng.random((2, 8, 9)) < 0.4
    report = LabelReport(["a", "b"], count_pixels(found.astype(int), true.astype(int), 2))
    assert report.pixel_accuracy == pytest.approx(pixels.pixel_accuracy(found, true))
    assert report.mean_pixel_accuracy == pytest.approx(pixels.mean_pixel_accuracy(found, true))
    assert report.mean_iou == pytest.approx(pixels.mean_iou(found, true))
    assert report.class_iou[1] == pytest.approx(pixels.iou(found, true))
    assert report.class_dice[1] == pytest.approx(pixels.dice_coefficient(found, true))


def test_nothing_to_count():
    report = LabelReport(["a"], count_pixels(np.zeros((1, 2), int), np.full((1, 2), 255), 1))
    assert np.isnan([report.pixel_accuracy, report.mean_iou, report.mean_dice]).all()
    assert "-" in str(report)


@pytest.mark.parametrize(
    "found, true, message",
    [
        (np.zeros((2, 2)), np.zeros((2, 3)), r"shape \(2, 2\); it must be .* \(2, 3\)"),
        (np.full((1, 1), 3), np.zeros((1, 1)), "the predicted labels are 3 to 3; .* 0 to 2"),
        (np.zeros((1, 1)), np.full((1, 1), 3), "the true labels are 3 to 3"),
        (np.full((1, 1), -1), np.zeros((1, 1)), "the predicted labels are -1"),
    ],
)
def test_labels_that_do_not_fit(found, true, message):
    with pytest.raises(ValueError, match=message):
        count_pixels(found, true, 3)


def all_background():
    """Return a function that finds background alone, after the list of its batches' sizes."""
    sizes = []

    def segment(images):
        sizes.append(len(images))
        return [{"labels": np.zeros(image.shape[:2], np.uint8)} for image in images]

    return sizes, segment


def test_images_of_a_dataset():
    dataset = ShapesDataset()
    dataset.load_shapes(3, 64, 64)
    dataset.prepare()
    sizes, segment = all_background()
    report = evaluate_labels(segment, dataset, batch_size=2)
    assert sizes == [2, 1]
    assert report.counts.sum() == 3 * 64 * 64
    assert report.class_accuracy[0] == 1
    assert report.class_names == ["BG", "square", "circle", "triangle"]


class BoxesAlone(ShapesDataset):
    """Shapes of which the boxes are known in the first images, and the masks in the last one."""

    def image_has_masks(self, image_id):
        return np.full(len(self.image_class_ids(image_id)), image_id == 2)


def test_images_with_boxes_alone_are_not_scored():
    dataset = BoxesAlone()
    dataset.load_shapes(3, 64, 64)
    dataset.prepare()
    calls, segment = all_background()
    with pytest.raises(ValueError, match="dataset has boxes and no masks; it must have a mask of"):
        evaluate_labels(segment, dataset, image_ids=[0, 1])
    assert not calls
    assert evaluate_labels(segment, dataset).pixel_accuracy > 0 and calls == [1, 1, 1]


def test_images_that_cannot_be_read():
    dataset = ShapesDataset()
    dataset.load_shapes(3, 64, 64)
    dataset.prepare()
    whole = dataset.load_image
    broken = set()

    def load_image(image_id):
        if image_id in broken:
            raise OSError(f"image {image_id} is gone")
        return whole(image_id)

    dataset.load_image = load_image
    _, segment = all_background()
    broken.add(1)
    with pytest.raises(OSError, match="image 1 is gone"):
        evaluate_labels(segment, dataset)
    for batch_size in (1, 3):
        found = evaluate_labels(segment, dataset, batch_size=batch_size, keep_going=True)
        assert found.counts.sum() == 2 * 64 * 64
    broken |= {0, 2}
    with pytest.raises(OSError, match="image 2 is gone"):
        evaluate_labels(segment, dataset, keep_going=True)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_has_an_image(batch_size):
    dataset = ShapesDataset.from_path(1, height=32, width=32)
    with pytest.raises(ValueError, match=f"batch_size is {batch_size}; it must be at least 1"):
        evaluate_labels(all_background()[1], dataset, batch_size=batch_size)
