"""Pixel scores: small masks counted by hand, conventions, and recorded figures."""

import numpy as np
import pytest

from mrcnn.evaluation import pixels

# 2 x 4 pixels: TP 2, FP 1, FN 2, TN 3.
PREDICTED = np.array([[1, 1, 1, 0], [0, 0, 0, 0]], bool)
TRUE = np.array([[1, 1, 0, 0], [1, 1, 0, 0]], bool)
EMPTY = np.zeros((2, 4), bool)
FULL = np.ones((2, 4), bool)
BINARY_SCORES = (
    pixels.pixel_accuracy,
    pixels.mean_pixel_accuracy,
    pixels.iou,
    pixels.mean_iou,
    pixels.dice_coefficient,
)


@pytest.mark.parametrize(
    "score, expected",
    [
        (pixels.pixel_accuracy, 5 / 8),
        (pixels.mean_pixel_accuracy, (2 / 4 + 3 / 4) / 2),
        (pixels.iou, 2 / 5),
        (pixels.mean_iou, (2 / 5 + 3 / 6) / 2),
        (pixels.dice_coefficient, 4 / 7),
        (pixels.soft_iou, 2 / 5),
    ],
)
def test_counted_by_hand(score, expected):
    value = score(PREDICTED, TRUE)
    assert isinstance(value, float)
    assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "score, both_empty, missed, invented, both_full",
    [
        (pixels.pixel_accuracy, 1, 0.5, 0.5, 1),
        (pixels.mean_pixel_accuracy, 1, 0.5, 0.5, 1),
        (pixels.iou, 1, 0, 0, 1),
        (pixels.mean_iou, 1, 0.25, 0.25, 1),
        (pixels.dice_coefficient, 1, 0, 0, 1),
        (pixels.soft_iou, 1, 0, 0, 1),
    ],
)
def test_conventions_for_empty_masks(score, both_empty, missed, invented, both_full):
    assert score(EMPTY, EMPTY) == both_empty
    assert score(EMPTY, TRUE) == missed
    assert score(TRUE, EMPTY) == invented
    assert score(FULL, FULL) == both_full


@pytest.mark.parametrize("score", [*BINARY_SCORES, pixels.soft_iou])
def test_stacked_masks_equal_single_ones(score):
    rng = np.random.default_rng(0)
    predicted, true = rng.random((2, 5, 6, 7)) > 0.6
    predicted[..., 0] = true[..., 0] = False
    stacked = score(predicted, true)
    assert stacked.shape == (7,)
    np.testing.assert_allclose(
        stacked, [score(predicted[..., i], true[..., i]) for i in range(7)], rtol=1e-12
    )
    assert score(predicted[..., :0], true[..., :0]).shape == (0,)


def test_binary_masks_of_other_types():
    assert pixels.iou(PREDICTED.astype(np.uint8) * 255, TRUE.astype(np.float32)) == 2 / 5


@pytest.mark.parametrize("score", BINARY_SCORES)
def test_grey_masks_need_a_threshold(score):
    with pytest.raises(
        ValueError, match="predicted mask is uint8 with several positive values; it must be bool"
    ):
        score(np.array([[0, 3, 255, 255]], np.uint8), np.ones((1, 4), bool))


@pytest.mark.parametrize(
    "predicted, true, message",
    [
        (
            np.zeros((2, 3)),
            np.zeros((3, 2)),
            r"\(2, 3\); it must be that of the true one, \(3, 2\)",
        ),
        (np.zeros(3), np.zeros(3), r"\[H, W\]"),
        (np.zeros((0, 4)), np.zeros((0, 4)), "with pixels"),
    ],
)
def test_shapes_are_checked(predicted, true, message):
    for score in (*BINARY_SCORES, pixels.soft_iou):
        with pytest.raises(ValueError, match=message):
            score(predicted, true)


def test_soft_iou_scales_each_mask_by_its_maximum():
    grey = np.array([[100.0, 50.0], [0.0, 0.0]])  # 1, 1/2 after scaling
    true = np.array([[255, 255], [255, 0]], np.uint8)
    assert pixels.soft_iou(grey, true) == pytest.approx(1.5 / 3)


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf])
def test_soft_iou_refuses_senseless_values(value):
    with pytest.raises(ValueError, match="true mask holds negative or infinite values or NaN"):
        pixels.soft_iou(np.ones((2, 2)), np.array([[0.5, value], [0, 0]]))


def test_motorcycle_figures(shared_dir):
    """The means recorded with the dataset, of masks before and after fine-tuning."""
    cv2 = pytest.importorskip("cv2")
    folder = shared_dir / "data" / "motorcycles" / "val"
    scores = {"first": {}, "tuned": {}}
    for path in sorted((folder / "masks").glob("*.png")):
        name = path.name.removesuffix("_mask.png")
        true = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) >= 128
        for kind, found in scores.items():
            mask = cv2.imread(str(folder / f"{kind}_masks" / f"{name}_.jpg"), 0)
            if mask is not None:
                found[name] = pixels.iou(mask >= 128, true)
    first, tuned = scores["first"], scores["tuned"]
    assert (len(first), len(tuned)) == (54, 70)
    assert np.mean(list(first.values())) == pytest.approx(0.68115, abs=5e-6)
    assert np.mean(list(tuned.values())) == pytest.approx(0.65156, abs=5e-6)
    assert np.mean([tuned[name] for name in first]) == pytest.approx(0.67264, abs=5e-6)
