"""Training: patch sets, losses, learning on a toy problem, cross-validation, readers."""

import dataclasses

import cv2
import numpy as np
import pytest

from mrcnn import refinement
from mrcnn.refinement import (
    Augmentation,
    MaskPair,
    Recipe,
    Refiner,
    Scale,
    build_patch_set,
    crop_pair,
    cross_validate,
    get_recipe,
    load_motorcycle_pairs,
    pairs_from_dataset,
    summarize,
    train_refiner,
)
from mrcnn.refinement import trainer as training
from mrcnn.refinement.trainer import PatchSampler

TINY = Recipe(
    name="tiny",
    patch_size=32,
    filters=(8, 8, 8, 8),
    dropout=0.0,
    scales=(Scale(object_size=24, centers="object"),),
    epochs=30,
    batch_size=8,
    patches_per_image=4,
    learning_rate=3e-3,
    augmentation=Augmentation(rotation=0, zoom=0.05, aspect=0, shift=0.02, color=0.05),
)

# Without an encoder: compiles in a fraction of the time.
SMALL_UNET = TINY.replace(architecture="unet", filters=(6, 12))


def toy_pairs(count: int, probability: bool = True) -> list[MaskPair]:
    """Bright discs on dark ground; the given probability is the disc moved aside."""
    rng, pairs = np.random.default_rng(0), []
    rows, columns = np.mgrid[0:48, 0:48]
    for i in range(count):
        y, x = rng.uniform(20, 28, 2)
        mask = np.hypot(rows - y, columns - x) < 13
        image = np.where(mask[..., None], 220, 30) + rng.integers(-20, 20, (48, 48, 3))
        moved = np.hypot(rows - y, columns - x - 6) < 13
        given = cv2.GaussianBlur(moved.astype(np.float32), (0, 0), 2) if probability else None
        pairs.append(MaskPair(f"toy{i}", image.astype(np.uint8), mask, given))
    return pairs


def test_study_patch_set_fills_up_with_zero_patches():
    pair = toy_pairs(1)[0]
    full = np.ones((48, 48), np.float32)
    full[:1, :20] = 0.0
    pairs = [pair, MaskPair("full", pair.image, pair.mask, full)]
    x, y = build_patch_set(pairs, "study")
    assert x.shape == (100, 64, 64, 4) and y.shape == (100, 64, 64, 2)
    assert x.dtype == y.dtype == np.float32
    assert x[:50].reshape(50, -1).any(axis=1).all()
    # The row of twenty zeros has 20 pixels, 20 neighbors below and 1 to the right.
    empty = ~x[50:].reshape(50, -1).any(axis=1)
    assert empty.sum() == 50 - 41
    # Image, probability and true mask are padded with ones.
    assert (x[50, 0, 32] == 1).all() and y[50, 0, 32].tolist() == [1, 1]


def test_patches_are_centred_on_the_boundary():
    x, _ = build_patch_set(toy_pairs(2), get_recipe("study").replace(fill_patches=False))
    foreground = x[:, 30:35, 30:35, 3] >= 0.5
    share = foreground.reshape(len(x), -1).mean(axis=1)
    assert ((share > 0) & (share < 1)).all()


def test_sampler_repeats_itself_for_the_same_seed():
    sampler = PatchSampler(toy_pairs(2), TINY)
    first = sampler.draw(1, np.random.default_rng(5))
    again = sampler.draw(1, np.random.default_rng(5))
    other = sampler.draw(1, np.random.default_rng(6))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert np.abs(first[0] - other[0]).max() > 0.05
    assert first[0].shape == (32, 32, 4) and first[1].shape == (32, 32, 2)


def test_sampler_makes_probabilities_where_none_is_given():
    patch, target = PatchSampler(toy_pairs(1, probability=False), TINY).draw(
        0, np.random.default_rng(0)
    )
    mask = target[..., 0] > 0.5
    assert patch[..., 3][mask].mean() > 0.5 > patch[..., 3][~mask].mean()
    assert np.abs(patch[..., 3] - target[..., 0]).max() > 0.1


def test_losses_by_hand():
    pytest.importorskip("keras")
    mask = np.zeros((1, 2, 2, 2), np.float32)
    mask[0, 0, 0, 0] = 1
    mask[0, :, :, 1] = [[1, 1], [1, 0]]  # the last pixel lies outside the image
    predicted = np.array([[[[0.8], [0.4]], [[0.1], [0.9]]]], np.float32)
    squared = float(training.patch_loss("mse")(mask, predicted)[0])
    assert squared == pytest.approx((0.04 + 0.16 + 0.01) / 4, rel=1e-5)
    entropy = -(np.log(0.8) + np.log(0.6) + np.log(0.9)) / 4
    soft_iou = (0.8 + 1) / (1 + 0.4 + 0.1 + 1)
    value = float(training.patch_loss("bce_iou")(mask, predicted)[0])
    assert value == pytest.approx(entropy + 1 - soft_iou, rel=1e-5)
    assert float(training.patch_iou(mask, predicted)[0]) == pytest.approx(1.0)


def test_cross_validation_never_measures_a_training_picture(monkeypatch):
    class Copy:
        def predict_on_batch(self, patches):
            return patches[..., 3:]

    trained_on, done = [], []

    def remember(pairs, recipe, *, seed, verbose=0):
        trained_on.append([pair.name for pair in pairs])
        return Refiner(recipe, [Copy()])

    monkeypatch.setattr(training, "train_refiner", remember)
    rows = cross_validate(
        toy_pairs(7), TINY, folds=3, on_fold=lambda fold, part: done.append((fold, len(part)))
    )
    assert done == [(0, 3), (1, 2), (2, 2)]
    assert sorted(row["name"] for row in rows) == [f"toy{i}" for i in range(7)]
    for row in rows:
        assert row["name"] not in trained_on[row["fold"]]
        assert row["after"] == pytest.approx(row["before"], abs=0.06)
    trained_on.clear()
    pairs = toy_pairs(7)
    rows = cross_validate(pairs, TINY, folds=3, only_folds=[1], extra=[*pairs, *toy_pairs(8)[7:]])
    held = {row["name"] for row in rows}
    assert len(held) == 2 and not held & set(trained_on[0])
    # The five others twice, and the one that only the extra pairs have.
    assert len(trained_on[0]) == 11 and "toy7" in trained_on[0]


@pytest.mark.slow
def test_training_repairs_moved_discs():
    pytest.importorskip("keras")
    rows = cross_validate(toy_pairs(8), TINY, folds=2)
    summary = summarize(rows)
    assert summary["after"] > summary["before"] + 0.1
    assert summary["images"] == 8 and summary["improved"] >= 6


def test_training_continues_from_a_refiner():
    pytest.importorskip("keras")
    recipe = SMALL_UNET.replace(epochs=1, learning_rate=1e-9)
    start = Refiner(recipe)
    start.networks[0].get_layer("probability").set_weights(
        [np.full((1, 1, 6, 1), 0.5), np.array([0.1])]
    )
    again = train_refiner(toy_pairs(2), recipe, start=start)
    kernel, _ = again.networks[0].get_layer("probability").get_weights()
    np.testing.assert_allclose(kernel, 0.5, atol=1e-4)
    assert again.notes["images"] == 2


def test_study_recipe_trains():
    pytest.importorskip("keras")
    recipe = get_recipe("study").replace(
        patch_size=16, filters=(4, 4), epochs=1, patches_per_image=4, batch_size=4
    )
    pairs = toy_pairs(2)
    refined = train_refiner(pairs, recipe).refine(pairs[0].image, pairs[0].probability[..., None])
    assert refined.shape == (48, 48, 1) and 0 <= refined.min() and refined.max() <= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: train_refiner([], TINY), "pairs is empty"),
        (lambda: train_refiner(toy_pairs(2, False), "study"), "2 of 2 pairs have no probability"),
        (lambda: cross_validate(toy_pairs(3), TINY, folds=4), "folds is 4; it must be 2 to 3"),
        (lambda: cross_validate(toy_pairs(3), TINY, folds=1), "folds is 1; it must be 2 to 3"),
    ],
)
def test_impossible_trainings_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_summary_counts():
    rows = [
        {"name": "a", "before": 0.5, "after": 0.7},
        {"name": "b", "before": 0.6, "after": 0.5},
        {"name": "c", "before": 0.1, "after": 0.1},
    ]
    summary = summarize(rows)
    assert (summary["improved"], summary["worsened"], summary["images"]) == (1, 1, 3)
    assert summary["before"] == pytest.approx(0.4) and summary["median_after"] == 0.5


def test_pairs_check_their_shapes():
    with pytest.raises(ValueError, match=r"x: mask has shape \(3, 4\)"):
        MaskPair("x", np.zeros((4, 4, 3), np.uint8), np.zeros((3, 4), bool))


def test_load_motorcycle_pairs(shared_dir):
    pairs = load_motorcycle_pairs(shared_dir / "data" / "motorcycles" / "val")
    assert len(pairs) == 70
    overlaps = [training.mask_iou(pair.probability >= 128 / 255, pair.mask) for pair in pairs]
    assert np.mean(overlaps) == pytest.approx(0.65160, abs=2e-4)


def test_binary_masks_can_be_softened(tmp_path):
    for name in ("images", "masks", "first_masks"):
        (tmp_path / name).mkdir()
    mask = np.zeros((56, 56), np.uint8)
    mask[:, 28:] = 255
    cv2.imwrite(str(tmp_path / "images" / "a_image.jpg"), np.zeros((56, 56, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "masks" / "a_mask.png"), mask)
    cv2.imwrite(str(tmp_path / "first_masks" / "a_.jpg"), mask)
    hard = load_motorcycle_pairs(tmp_path, probabilities="first_masks")[0]
    soft = load_motorcycle_pairs(tmp_path, probabilities="first_masks", soften=1.0)[0]
    assert hard.probability[10, 26] < 0.02 and hard.probability[10, 29] > 0.98
    # One standard deviation is two pixels: column 26 lies 1.5 pixels before the edge.
    assert soft.probability[10, 26] == pytest.approx(0.23, abs=0.02)
    assert ((soft.probability >= 0.5) == hard.mask).all()


def test_load_motorcycle_pairs_names_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no folder 'images'"):
        load_motorcycle_pairs(tmp_path)
    for name in ("images", "masks", "float_masks"):
        (tmp_path / name).mkdir()
    with pytest.raises(FileNotFoundError, match="no image with a mask"):
        load_motorcycle_pairs(tmp_path)


@pytest.mark.parametrize(
    ("margin", "max_side", "shape", "object_box"),
    [
        (0.0, 100, (20, 40), (0, 0, 20, 40)),
        (0.25, 100, (40, 60), (10, 10, 30, 50)),  # 10 pixels a side
        (0.25, 20, (20, 30), (5, 5, 15, 25)),  # half the size
        (9.0, 100, (80, 90), (30, 20, 50, 60)),  # the whole image
    ],
)
def test_crop_pair(margin, max_side, shape, object_box):
    mask = np.zeros((80, 90), bool)
    mask[30:50, 20:60] = True
    image = np.repeat(mask[..., None] * np.uint8(200), 3, axis=2)
    cropped = crop_pair(MaskPair("x", image, mask, mask * np.float32(0.75)), margin, max_side)
    y1, x1, y2, x2 = object_box
    expected = np.zeros(shape, bool)
    expected[y1:y2, x1:x2] = True
    assert (cropped.mask == expected).all()
    assert (cropped.image[..., 0] == expected * 200).all()
    np.testing.assert_allclose(cropped.probability, expected * 0.75)


def test_crop_pair_needs_an_object():
    empty = MaskPair("void", np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), bool))
    with pytest.raises(ValueError, match="void: mask is empty"):
        crop_pair(empty)


class ToyDataset:
    """Two images; the second has one object too small and one of the background class."""

    image_ids = (0, 1)
    label_weights = None

    def load_label_weights(self, image_id):
        return self.label_weights

    def load_image(self, image_id):
        return np.zeros((50, 50, 3), np.uint8)

    def load_mask(self, image_id):
        masks = np.zeros((50, 50, 2), bool)
        masks[5:45, 5:45, 0] = True
        masks[:4, :4, 1] = True
        return masks, np.array([2, 1])


class ToyModel:
    def detect(self, images, verbose=0, mask_probabilities=False):
        probabilities = np.zeros((50, 50, 3), np.float32)
        probabilities[5:45, 5:45, 0] = 0.9  # right place, wrong class
        probabilities[5:45, 5:30, 1] = 0.8  # best of its class
        probabilities[5:10, 5:10, 2] = 0.8
        return [{"class_ids": np.array([1, 2, 2]), "mask_probs": probabilities}]


def test_pairs_from_a_dataset_and_a_model():
    bare = pairs_from_dataset(ToyDataset(), min_size=10)
    assert [(pair.name, pair.probability) for pair in bare] == [("0/0", None), ("1/0", None)]
    pairs = pairs_from_dataset(ToyDataset(), ToyModel(), image_ids=[1], min_size=10)
    assert len(pairs) == 1 and pairs[0].probability.sum() == pytest.approx(0.8 * 40 * 25)


@pytest.mark.parametrize(
    "image",
    [
        np.full((50, 50), 51, np.uint8),
        np.full((50, 50), 51 * 257, np.uint16),
        np.full((50, 50, 4), 0.2, np.float32),
    ],
)
def test_pairs_of_any_kind_of_image(image, monkeypatch):
    monkeypatch.setattr(ToyDataset, "load_image", lambda self, image_id: image)
    (pair,) = pairs_from_dataset(ToyDataset(), image_ids=[1], min_size=10)
    assert pair.image.shape == (50, 50, 3) and pair.image.dtype == np.uint8
    assert (pair.image == 51).all()


def test_a_filled_box_is_no_true_mask():
    dataset = ToyDataset()
    dataset.label_weights = np.array([[1, 0], [1, 1]], np.float32)
    assert pairs_from_dataset(dataset, min_size=10) == []
    assert [pair.name for pair in pairs_from_dataset(dataset, min_size=3)] == ["0/1", "1/1"]


def test_the_former_name_of_summarize():
    assert refinement.summarise is refinement.summarize is summarize
    assert "summarise" not in refinement.__all__


def test_objects_of_one_image_share_a_fold(monkeypatch):
    trained_on = []

    def remember(pairs, recipe, **options):
        trained_on.append({pair.name.partition("/")[0] for pair in pairs})

    monkeypatch.setattr(training, "train_refiner", remember)
    monkeypatch.setattr(
        training, "evaluate_refiner", lambda refiner, held: [{"name": pair.name} for pair in held]
    )
    objects = [
        dataclasses.replace(pair, name=f"{number}/{part}")
        for number, pair in enumerate(toy_pairs(3))
        for part in range(4)
    ]
    rows = cross_validate(objects, TINY, folds=3, extra=objects)
    assert len(rows) == 12 and sorted(map(len, trained_on)) == [2, 2, 2]
    assert all(row["name"].partition("/")[0] not in trained_on[row["fold"]] for row in rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 4}, r"folds is 4; it must be 2 to 3 \(the images\)"),
        ({"folds": 3, "only_folds": [3]}, "only_folds holds 3; it must hold numbers of 0 to 2"),
    ],
)
def test_impossible_folds_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        cross_validate(toy_pairs(3), TINY, **options)


def test_pairs_without_probability_are_named_before_training():
    with pytest.raises(ValueError, match="toy0: probability is None; it must be given"):
        cross_validate(toy_pairs(3, probability=False), TINY, folds=3)
