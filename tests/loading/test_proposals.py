"""Proposals in training: they move with the image, and reach the network as its last input."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.geometry.boxes import extract_bboxes
from mrcnn.loading import data_generator
from mrcnn.loading.batches import TrainingBatches, make_batches
from mrcnn.loading.broken_images import BrokenImageError
from mrcnn.loading.cache import CachedDataset
from mrcnn.loading.image_gt import load_ground_truth
from tests.loading.toys import ToyConfig, ToyDataset

BOXES = [(4, 6, 20, 30), (24, 32, 44, 60)]


class FastConfig(ToyConfig):
    USE_RPN = False
    USE_MASK = False
    ROI_POOLING = "max"
    ROI_LEVEL = 4
    POST_NMS_ROIS_TRAINING = 6


def config_of(**settings):
    config = FastConfig()
    for name, value in settings.items():
        setattr(config, name, value)
    return config


def toys(proposals=BOXES, count=2, size=(48, 64)):
    dataset = ToyDataset([BOXES] * count, size)
    dataset.proposals = {f"toy.img{i}": np.array(proposals) for i in range(count)}
    return dataset


def loaded(config=None, dataset=None, **options):
    """(proposals, boxes of the objects) of image 0."""
    found = load_ground_truth(dataset or toys(), config or config_of(), 0, **options)
    return found[6], found[3]


def test_padding_moves_them():
    proposals, boxes = loaded()  # 48 x 64 in 64 x 64: 8 rows above
    assert proposals.dtype == np.float32
    assert proposals.tolist() == [[12, 6, 28, 30], [32, 32, 52, 60]] == boxes.tolist()


def test_scaling_moves_them():
    proposals, boxes = loaded(config_of(IMAGE_MAX_DIM=128, IMAGE_MIN_DIM=96))
    assert proposals.tolist() == [[24, 12, 56, 60], [64, 64, 104, 120]] == boxes.tolist()


def test_a_crop_cuts_them_off():
    config = config_of(IMAGE_RESIZE_MODE="crop", IMAGE_MIN_DIM=64)
    dataset = toys([[0, 0, 160, 240]], size=(160, 240))
    proposals, _ = loaded(config, dataset, rng=np.random.default_rng(0))
    assert proposals.tolist() == [[0, 0, 64, 64]]
    for seed in range(4):
        proposals, boxes = loaded(config, toys(size=(64, 96)), rng=np.random.default_rng(seed))
        assert proposals.astype(int).tolist() == boxes.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_a_flip_mirrors_them(seed):
    proposals, boxes = loaded(augment=True, rng=np.random.default_rng(seed))
    assert proposals.tolist() == boxes.tolist()


def named(name):
    from mrcnn.loading import find_augmentation

    return find_augmentation(name)


def imgaug():
    from mrcnn.loading.imgaug_numpy2 import allow_imgaug

    allow_imgaug()
    iaa = pytest.importorskip("imgaug.augmenters")
    return iaa.Sequential([iaa.Fliplr(0.5), iaa.Affine(translate_px=(-4, 4)), iaa.Rot90(1)])


def albumentations():
    library = pytest.importorskip("albumentations")
    return library.Compose([library.HorizontalFlip(p=0.5), library.Rotate((90, 90), p=1.0)])


def one_albumentation():
    return pytest.importorskip("albumentations").VerticalFlip(p=1.0)


def function(image, mask, boxes):
    """Upside down."""
    y1, x1, y2, x2 = boxes.T
    height = image.shape[0]
    return image[::-1], mask[::-1], np.stack([height - y2, x1, height - y1, x2], axis=1)


AUGMENTATIONS = {
    "flips": lambda: named("flips"),
    "light": lambda: named("light"),
    "strong": lambda: named("strong"),
    "imgaug": imgaug,
    "albumentations": albumentations,
    "one transform": one_albumentation,
    "function": lambda: function,
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_moves_them_as_the_objects(name):
    """Proposals that are the objects' boxes stay around the objects, within a pixel or two."""
    augmentation = AUGMENTATIONS[name]()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        proposals, boxes = loaded(augmentation=augmentation, rng=rng)
        assert len(proposals) == len(boxes) == 2
        assert np.abs(proposals - boxes).max() <= 1.6, (seed, proposals, boxes)


def test_augmentation_gives_the_same_image_as_without_boxes():
    for name in ("flips", "strong"):
        with_boxes = load_ground_truth(
            toys(), config_of(), 0, augmentation=named(name), rng=np.random.default_rng(3)
        )
        without = load_ground_truth(
            toys(), ToyConfig(), 0, augmentation=named(name), rng=np.random.default_rng(3)
        )
        assert np.array_equal(with_boxes[0], without[0])
        assert without[6] is None


def test_a_function_without_boxes_is_refused():
    def mirror(image, mask):
        return image[:, ::-1], mask[:, ::-1]

    message = "augmentation is mirror; it must have a parameter named boxes where USE_RPN is False"
    with pytest.raises(ValueError, match=message):
        TrainingBatches(toys(), config_of(), augmentation=mirror)
    with pytest.raises(ValueError, match=message):
        next(data_generator(toys(), config_of(), augmentation=mirror))
    with pytest.raises(ValueError, match=message):
        loaded(augmentation=mirror)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda i, m, b: (i, m), r"returned tuple; it must return \(image, mask, boxes\)"),
        (lambda i, m, b: (i, m, b[:1]), r"changed the boxes from the shape \(2, 4\) to \(1, 4\)"),
        (lambda i, m, b: (i, m, b * np.nan), "it must return a box of finite numbers for each"),
    ],
)
def test_what_a_function_returns_is_checked(result, message):
    def change(image, mask, boxes):
        return result(image, mask, boxes)

    with pytest.raises(ValueError, match=f"augmentation change .*{message}"):
        loaded(augmentation=change)


def test_batches():
    """The objects come first, then the proposals; the first pixel is padding."""
    dataset = toys([(0, 0, 48, 64), (1, 1, 9, 9)])
    ((images, metas, class_ids, boxes, rois),) = TrainingBatches(
        dataset, config_of(), shuffle=False, seed=0
    )[0]
    assert images.shape == (2, 64, 64, 3) and metas.dtype == np.float32
    assert class_ids.tolist() == [[1, 2, 0, 0, 0]] * 2 and boxes.shape == (2, 5, 4)
    objects = [[12, 6, 28, 30], [32, 32, 52, 60]]
    expected = [*objects, [8, 0, 56, 64], [9, 1, 17, 9], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert rois.dtype == np.float32 and rois.tolist() == [expected] * 2


def test_more_proposals_than_there_is_room_for():
    dataset = toys([(0, 0, n, n) for n in range(2, 22)])
    (inputs,) = TrainingBatches(dataset, config_of(), shuffle=False, seed=0)[0]
    assert inputs[-1][0, 2:].tolist() == [[8, 0, 8 + n, n] for n in range(2, 6)]


def test_crowds_are_no_proposals_of_their_own():
    class Crowd(ToyDataset):
        def load_mask(self, image_id):
            masks, class_ids = super().load_mask(image_id)
            return masks, class_ids * np.array([1, -1])

    dataset = Crowd([BOXES])
    dataset.proposals = {"toy.img0": np.array([(1, 1, 9, 9)])}
    (inputs,) = TrainingBatches(dataset, config_of(), batch_size=1, seed=0)[0]
    assert inputs[-1][0, :3].tolist() == [[12, 6, 28, 30], [9, 1, 17, 9], [0, 0, 1, 1]]


def test_with_masks_and_weights():
    config = config_of(USE_MASK=True, PARTIAL_LABELS=True)
    (inputs,) = TrainingBatches(toys(), config, seed=0)[0]
    assert [x.shape[1:] for x in inputs[2:]] == [(5,), (5, 4), (14, 14, 5), (5, 2), (6, 4)]


def test_without_masks_but_with_rpn():
    config = config_of(USE_RPN=True, ROI_POOLING="align", ROI_LEVEL=None)
    (inputs,) = TrainingBatches(ToyDataset([BOXES] * 2), config, seed=0)[0]
    assert [x.shape[1:] for x in inputs[2:]] == [(1023, 1), (32, 4), (5,), (5, 4)]


def test_matterports_generator_gives_the_same():
    inputs, outputs = next(data_generator(toys(), config_of(), shuffle=False, batch_size=2))
    (expected,) = TrainingBatches(toys(), config_of(), shuffle=False, seed=0)[0]
    assert outputs == [] and len(inputs) == 5
    for found, given in zip(inputs, expected, strict=True):
        assert np.array_equal(found, given)


def test_the_cache_passes_them_on():
    dataset = CachedDataset(toys())
    assert dataset.load_proposals(1).tolist() == np.array(BOXES).tolist()


@pytest.mark.parametrize(
    ("proposals", "message"),
    [
        (None, "load_proposals gave None; it must give boxes"),
        ([[0, 0, 49, 9]], r"load_proposals\[0\] is \[0, 0, 49, 9\]; it must lie within the image"),
        ([[0, 0, np.nan, 9]], "it must hold finite numbers"),
        ([[0, 0, 9]], r"load_proposals has the shape \(1, 3\)"),
    ],
)
def test_wrong_proposals_name_the_image(proposals, message):
    dataset = toys()
    dataset.proposals["toy.img0"] = None if proposals is None else np.array(proposals)
    with pytest.raises(ValueError, match=r"image 0 \(source 'toy', id 'img0'.*" + message):
        loaded(dataset=dataset)


def test_an_image_without_proposals_ends_a_training_or_is_skipped():
    dataset = toys()
    dataset.proposals = None
    with pytest.raises(BrokenImageError, match="load_proposals gave None"):
        TrainingBatches(dataset, config_of(), on_error="raise")[0]
    dataset = toys(count=12)
    del dataset.proposals["toy.img0"]
    batches = TrainingBatches(dataset, config_of(), on_error="skip", shuffle=False, seed=0)
    batches[0]
    assert batches.image_ids_of_batch(0) == [1, 1]


def test_an_image_of_no_proposals_has_its_objects():
    dataset = toys(np.zeros((0, 4)))
    (inputs,) = TrainingBatches(dataset, config_of(), seed=0)[0]
    assert inputs[-1][0, :3].tolist() == [[12, 6, 28, 30], [32, 32, 52, 60], [0, 0, 1, 1]]


def test_make_batches_needs_no_random_rois():
    options = {"augmentation": "flips", "no_augmentation_sources": None, "workers": 1, "seed": 0}
    config = config_of(USE_RPN_ROIS=False, VALIDATION_STEPS=0)
    batches, _ = make_batches(
        toys(), None, config, epoch=0, cache=False, on_error="raise", **options
    )
    assert len(batches[0][0]) == 5


def test_boxes_of_masks_are_those_of_proposals():
    """The toys themselves: the boxes of their masks are `BOXES`."""
    assert extract_bboxes(toys().load_mask(0)[0]).tolist() == np.array(BOXES).tolist()
