"""The stage of the everyday recipe that trains the mask head alone, and the figures of outlines."""

import numpy as np
import pytest

from mrcnn.datasets import Dataset
from mrcnn.model import MaskRCNN
from samples.small import everyday, mask_head, outlines


class Discs(Dataset):
    """Images with a bright disc and a small one; the third has no objects."""

    def __init__(self, count=3):
        super().__init__()
        self.add_class("discs", 1, "disc")
        for number in range(count):
            self.add_image("discs", number, None)
        self.prepare()

    def load_mask(self, image_id):
        rows, columns = np.mgrid[:96, :96]
        large = (rows - 40) ** 2 + (columns - 40 - 6 * image_id) ** 2 < 900
        small = (rows - 85) ** 2 + (columns - 85) ** 2 < 2
        masks = np.stack([large, small], axis=-1)[..., : 0 if image_id == 2 else 2]
        return masks, np.ones(masks.shape[2], np.int32)

    def load_image(self, image_id):
        masks, _ = self.load_mask(image_id)
        return np.where(masks.any(axis=2)[..., None], 220, 30).astype(np.uint8).repeat(3, axis=2)


def unchanged(image, masks, rng):
    return image, masks


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    config = everyday.EverydayConfig()
    config.ENGINE, config.IMAGES_PER_GPU = "keras", 1
    config.IMAGE_MIN_DIM = config.IMAGE_MAX_DIM = 128
    config.DETECTION_MIN_CONFIDENCE = 0.0
    config.MASK_SCORES = False  # the order of detections stays as it is when the masks change
    return MaskRCNN("inference", config, str(tmp_path_factory.mktemp("logs")))


@pytest.mark.parametrize(
    "box, expected",
    [
        ((0, 0, 4, 4), [[1, 0], [1, 0]]),
        ((0, 1, 4, 3), [[1, 0], [1, 0]]),
        ((0, 0, 4, 3), [[1, 0.33], [1, 0.33]]),
    ],
)
def test_the_covered_share_of_cells(box, expected):
    mask = np.zeros((4, 4), np.float32)
    mask[:, :2] = 1
    # The mask is sampled between its pixels, so that its edges are one pixel wide.
    np.testing.assert_allclose(mask_head.cover(mask, box, 2), expected, atol=0.13)
    assert mask_head.cover(np.ones((8, 8), np.float32), (1, 1, 7, 7), 28).min() == 1


def test_moved_sides_stay_in_the_image():
    rng = np.random.default_rng(0)
    boxes = np.array([mask_head.move_sides([0, 10, 40, 50], (40, 80, 1), rng) for _ in range(50)])
    assert boxes[:, 0].min() == 0 and boxes[:, 2].max() == 40
    assert np.abs(boxes - [0, 10, 40, 50]).max() <= 10 and boxes.std(axis=0).min() > 0.5


def test_boxes_of_large_objects_and_what_the_model_finds_there():
    masks = np.zeros((60, 60, 3), bool)
    masks[10:40, 10:40, 0] = True
    masks[50:54, 50:54, 1] = True  # too small
    found = np.array([[11.0, 10, 40, 41], [0, 0, 8, 8]])
    chosen = mask_head.choose_boxes(masks, found, 1.0, np.random.default_rng(0))
    assert [i for i, _ in chosen] == [0, 0]
    np.testing.assert_array_equal(chosen[1][1], found[0])
    assert len(mask_head.choose_boxes(masks, found, 2.0, np.random.default_rng(0))) == 4
    assert len(mask_head.choose_boxes(masks, found[:0], 1.0, np.random.default_rng(0))) == 2


@pytest.mark.long
def test_only_the_mask_head_is_trained_on_features_that_are_kept(model, tmp_path, capsys):
    stage = mask_head.MaskHeadStage(passes=2, steps=4, batch_size=3)
    parts = {"masked": Discs(), "single": Discs(1)}
    before = {w.path: np.array(w) for w in model.keras_model.weights}
    image = parts["masked"].load_image(0)
    found = model.detect([image])[0]
    mask_head.train_mask_head(model, parts, unchanged, str(tmp_path), stage)
    assert "step 4, loss" in capsys.readouterr().out
    changed = {
        path for path, value in before.items() if not np.array_equal(value, _now(model, path))
    }
    assert changed and all("mrcnn_mask" in path for path in changed)
    np.testing.assert_array_equal(model.detect([image])[0]["rois"], found["rois"])
    with np.load(tmp_path / "features_1.npz") as file:
        features, targets, factors = (file[f"arr_{i}"] for i in range(3))
    assert features.shape == (6, 14, 14, 160) and features.dtype == np.float16
    assert targets.shape == (6, 28, 28) and targets[:, 14, 14].min() == 255
    assert factors.tolist() == [1, 1, 1, 1, 1.5, 1.5]
    # The second time the images are not needed.
    mask_head.train_mask_head(model, {}, unchanged, str(tmp_path), stage)


def test_the_weights_are_the_mean_of_those_before_and_after(model, tmp_path, monkeypatch):
    layer = model.keras_model.get_layer("mrcnn_mask_conv2")
    before = layer.get_weights()

    def add_two(network, *_):
        network.get_layer(layer.name).set_weights([w + 2 for w in before])

    monkeypatch.setattr(mask_head, "fit", add_two)
    stage = mask_head.MaskHeadStage(passes=1)
    mask_head.train_mask_head(model, {"masked": Discs(1)}, unchanged, str(tmp_path), stage)
    for old, new in zip(before, layer.get_weights()):
        np.testing.assert_allclose(new, old + 1.5, rtol=1e-5)


def _now(model, path):
    return next(np.array(w) for w in model.keras_model.weights if w.path == path)


def test_the_loss_of_masks():
    true = np.zeros((1, 2, 28, 28), np.float32)
    true[0, 0, :14] = 1
    assert float(mask_head.mask_loss(true, true)) == pytest.approx(0, abs=1e-4)
    half = float(mask_head.mask_loss(true, np.full_like(true, 0.5)))
    # Dice coefficients: (2 * 196 + 1) / (392 + 196 + 1) and 1 / 197.
    assert half == pytest.approx(np.log(2) + 1 - (393 / 589 + 1 / 197) / 2, abs=1e-4)


class Found:
    """A model that finds the large disc of `Discs`, two rows too high, and a disc elsewhere."""

    def __init__(self):
        self.refiners = []

    def detect(self, images, refiner):
        self.refiners.append(refiner)
        rows, columns = np.mgrid[:96, :96]
        masks = np.zeros((96, 96, 2), bool)
        masks[..., 0] = (rows - 38) ** 2 + (columns - 40) ** 2 < 900
        masks[:9, 80:, 1] = True
        rois = np.array([[9, 11, 68, 70], [0, 80, 9, 96]])
        return [{"rois": rois, "class_ids": np.array([1, 1]), "masks": masks}]


def test_outlines_of_the_objects_that_are_found():
    model = Found()
    figures = outlines.outline_figures(model, Discs(1), "general")
    assert model.refiners == ["general"]
    assert figures["found"] == 1
    assert 0.4 < figures["boundary_IoU"] < figures["mask_IoU"] < 0.95
    assert outlines.outline_figures(model, Discs(3).subset([2])) == {
        "found": 0, "mask_IoU": 0.0, "boundary_IoU": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "class_ids, expected", [([1, 1], [(0, 0), (1, 1)]), ([2, 1], [(1, 1)]), ([-1, 1], [(1, 1)])]
)
def test_objects_are_matched_by_class_and_box(class_ids, expected):
    boxes = np.array([[0, 0, 10, 10], [20, 20, 40, 40]])
    result = {"rois": np.array([[0, 0, 10, 9], [21, 20, 40, 40]]), "class_ids": np.array([1, 1])}
    assert outlines.matches(boxes, np.array(class_ids), result) == expected
