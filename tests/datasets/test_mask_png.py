"""Mask images beside images."""

import numpy as np
import pytest
from PIL import Image

from mrcnn.datasets import MaskImageDataset, open_dataset
from mrcnn.datasets.mask_png import match_masks, split_instances
from tests.datasets.made_up import box, write_picture, write_pixels

LABELS = np.zeros((8, 10), np.uint8)
LABELS[1:4, 1:4] = 1
LABELS[5:8, 2:9] = 2


def test_label_picture_as_in_penn_fudan(tmp_path):
    write_picture(tmp_path / "PNGImages" / "a.png")
    write_pixels(tmp_path / "PedMasks" / "a_mask.png", LABELS)
    dataset = open_dataset(tmp_path, classes=["person"])
    assert isinstance(dataset, MaskImageDataset)
    assert dataset.class_names == ["BG", "person"]
    masks, class_ids = dataset.load_mask(0)
    assert class_ids.tolist() == [1, 1] and class_ids.dtype == np.int32
    np.testing.assert_array_equal(masks[..., 0], box(8, 10, 1, 1, 4, 4))
    np.testing.assert_array_equal(masks[..., 1], box(8, 10, 5, 2, 8, 9))
    assert dataset.image_class_ids(0).tolist() == [1, 1]


def test_one_instance_as_in_the_motorcycles(tmp_path):
    write_picture(tmp_path / "images" / "t_1_image.jpg")
    write_pixels(tmp_path / "masks" / "t_1_mask.png", box(8, 10, 2, 2, 6, 8) * np.uint8(255))
    dataset = open_dataset(tmp_path)
    assert [info["id"] for info in dataset.image_info] == ["t_1"]
    masks, class_ids = dataset.load_mask(0)
    assert class_ids.tolist() == [1]
    np.testing.assert_array_equal(masks[..., 0], box(8, 10, 2, 2, 6, 8))


@pytest.mark.parametrize("pattern", ["a_{}.png", "a_mask_{}.png", "a-{}.png", "a/{}.png"])
def test_a_file_an_instance(tmp_path, pattern):
    write_picture(tmp_path / "images" / "a.png")
    for number in (1, 2, 10):
        mask = box(8, 10, 0, 0, 2, number)
        write_pixels(tmp_path / "masks" / pattern.format(number), mask * np.uint8(255))
    dataset = open_dataset(tmp_path)
    masks, class_ids = dataset.load_mask(0)
    assert class_ids.tolist() == [1, 1, 1]
    areas = masks.sum((0, 1)).tolist()
    assert areas == [2, 4, 20] if "/" not in pattern else sorted(areas) == [2, 4, 20]
    assert dataset.image_class_ids(0).tolist() == [1, 1, 1]


def test_whose_mask_it_is(tmp_path):
    names = ["a.png", "a_1.png", "a_1_2.png", "b_mask.png", "c_.png", "stray.png"]
    for name in names:
        write_pixels(tmp_path / name, LABELS)
    images = {key: tmp_path for key in ("a", "a_1", "b", "c", "d")}
    found = match_masks(tmp_path, images)
    assert {key: [p.name for p in files] for key, files in found.items()} == {
        "a": ["a.png"],
        "a_1": ["a_1.png"],  # its own file, not instance 1 of "a"
        "b": ["b_mask.png"],
        "c": ["c_.png"],
    }


def test_pictures_without_masks_are_negatives(tmp_path, caplog):
    write_picture(tmp_path / "images" / "a.png")
    write_picture(tmp_path / "images" / "b.png")
    write_picture(tmp_path / "images" / "c.png")
    write_pixels(tmp_path / "masks" / "a.png", LABELS)
    write_pixels(tmp_path / "masks" / "c.png", LABELS * 0)
    dataset = open_dataset(tmp_path)
    assert dataset.summary().num_negatives == 2
    assert dataset.load_mask(1)[0].shape == dataset.load_mask(2)[0].shape == (8, 10, 0)
    assert "1 of 3 images" in caplog.text and "(b.png)" in caplog.text


SPLITS = [
    ("labels", LABELS, "auto", [9, 21]),
    ("gaps", LABELS * 7, "auto", [9, 21]),
    ("foreground", LABELS, "binary", [30]),
    ("one value", (LABELS > 0) * np.uint8(255), "auto", [30]),
    ("nothing", LABELS * 0, "auto", []),
    ("nothing, binary", LABELS * 0, "binary", []),
    ("void as a label", np.where(LABELS == 2, 255, LABELS).astype(np.uint8), "index", [9, 21]),
    ("sixteen bits", LABELS.astype(np.uint16) * 300, "auto", [9, 21]),
    ("colours", np.dstack([LABELS * 50, LABELS * 0, LABELS * 9]), "auto", [9, 21]),
    ("grey as colours", np.dstack([LABELS] * 3), "auto", [9, 21]),
]


@pytest.mark.parametrize(("name", "pixels", "mode", "areas"), SPLITS, ids=[s[0] for s in SPLITS])
def test_split_instances(tmp_path, name, pixels, mode, areas):
    path = write_pixels(tmp_path / "m.png", pixels)
    assert [int(mask.sum()) for mask in split_instances(path, mode)] == areas


def test_palette_and_bit_pictures(tmp_path):
    palette = Image.fromarray(LABELS, "P")
    palette.putpalette([0, 0, 0, 200, 0, 0, 200, 0, 0])  # one color twice: the index counts
    palette.save(tmp_path / "palette.png")
    assert len(split_instances(tmp_path / "palette.png")) == 2
    Image.fromarray(LABELS > 0).save(tmp_path / "bits.png")
    assert [m.sum() for m in split_instances(tmp_path / "bits.png")] == [30]


def test_soft_edges_need_a_choice(tmp_path):
    soft = np.where(LABELS == 2, 255, LABELS * 90).astype(np.uint8)
    path = write_pixels(tmp_path / "m.png", soft)
    with pytest.raises(ValueError, match="mode is 'auto', but 255"):
        split_instances(path)


def test_jpeg_masks_are_thresholded(tmp_path):
    write_picture(tmp_path / "images" / "a.png", 64, 64)
    mask = box(64, 64, 10, 10, 50, 40)
    write_pixels(tmp_path / "masks" / "a_.jpg", mask * np.uint8(255))
    loaded = open_dataset(tmp_path).load_mask(0)[0]
    assert loaded.shape == (64, 64, 1)
    assert np.count_nonzero(loaded[..., 0] != mask) <= 20


def test_sizes_must_agree(tmp_path):
    write_picture(tmp_path / "images" / "a.png")
    write_pixels(tmp_path / "masks" / "a.png", LABELS[:, :9])
    dataset = open_dataset(tmp_path)
    with pytest.raises(ValueError, match="9x8 pixels"):
        dataset.load_mask(0)
    assert [p.kind for p in dataset.check().errors] == ["mask_failed"]


@pytest.mark.parametrize(
    ("options", "names", "class_id"),
    [
        ({}, ["BG", "object"], 1),
        ({"class_name": "dog"}, ["BG", "dog"], 1),
        ({"classes": ["cat", "dog"], "class_name": "dog"}, ["BG", "cat", "dog"], 2),
    ],
)
def test_classes(tmp_path, options, names, class_id):
    write_picture(tmp_path / "images" / "a.png")
    write_pixels(tmp_path / "masks" / "a.png", LABELS)
    dataset = open_dataset(tmp_path, **options)
    assert dataset.class_names == names
    assert dataset.load_mask(0)[1].tolist() == [class_id] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["cat", "dog"]}, "class_name is None"),
        ({"classes": ["cat"], "class_name": "dog"}, "class_name is 'dog'"),
        ({"mode": "soft"}, "mode is 'soft'"),
        ({"mask_dir": "nowhere"}, "mask_dir is 'nowhere'"),
        ({"mask_dir": "others"}, "no file belongs to an image"),
        ({"subset": "train"}, "subset is 'train'"),
    ],
)
def test_refusals(tmp_path, options, message):
    write_picture(tmp_path / "images" / "a.png")
    write_pixels(tmp_path / "masks" / "a.png", LABELS)
    write_pixels(tmp_path / "others" / "z.png", LABELS)
    with pytest.raises(ValueError, match=message):
        open_dataset(tmp_path, format="masks", **options)


@pytest.mark.parametrize(
    ("images", "masks"), [("{}/images", "{}/correct_masks"), ("images/{}", "masks/{}")]
)
def test_subsets(tmp_path, images, masks):
    for subset in ("train", "val"):
        write_picture(tmp_path / images.format(subset) / f"{subset}.png")
        write_pixels(tmp_path / masks.format(subset) / f"{subset}.png", LABELS)
    dataset = open_dataset(tmp_path, subset="val")
    assert [info["id"] for info in dataset.image_info] == ["val"]
    assert dataset.load_mask(0)[0].shape == (8, 10, 2)
    with pytest.raises(ValueError, match="train, val; choose one"):
        open_dataset(tmp_path)


def test_penn_fudan(data_dir):
    dataset = open_dataset(data_dir / "penn_fudan", classes=["person"])
    summary = dataset.summary()
    assert (summary.num_images, summary.num_instances) == (44, 126)
    # Annotation/FudanPed00001.txt: 559 x 536 pixels, boxes from 1, corners inclusive.
    first = dataset.image_from_source_map["masks.FudanPed00001"]
    masks, _ = dataset.load_mask(first)
    assert masks.shape == (536, 559, 2)
    columns = np.flatnonzero(masks[..., 0].any(0))
    rows = np.flatnonzero(masks[..., 0].any(1))
    edges = np.array([columns[0], rows[0], columns[-1], rows[-1]]) + 1
    assert np.abs(edges - [160, 182, 302, 431]).max() <= 1


@pytest.mark.parametrize(("subset", "count"), [("train", 3), ("val", 70)])
def test_motorcycles(data_dir, subset, count):
    dataset = open_dataset(data_dir / "motorcycles", subset=subset, class_name="motorcycle")
    summary = dataset.summary()
    assert (summary.num_images, summary.num_instances) == (count, count)
    assert summary.num_negatives == 0
    if subset == "val":
        coverage = [dataset.load_mask(i)[0].mean() for i in dataset.image_ids]
        assert np.mean(coverage) == pytest.approx(0.43524, abs=1e-5)


def test_motorcycle_predictions(data_dir):
    """Masks saved as JPEG by a model; it found a motorcycle in 54 of the 70 images."""
    dataset = open_dataset(data_dir / "motorcycles", subset="val", mask_dir="first_masks")
    assert dataset.summary().num_instances == 54
