"""Label maps: tables of numbers and colors, folders, instances, weights of classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrcnn.datasets import (
    Dataset,
    LabelImageDataset,
    ShapesDataset,
    load_label_map,
    merge,
    open_dataset,
)
from mrcnn.datasets.semantic import (
    CAMVID_CLASSES,
    VOID,
    LabelTable,
    find_label_problem,
    median_frequency_weights,
    paint_instances,
    require_masks,
)
from mrcnn.datasets.voc_colors import color_map


def write(path: Path, pixels, palette=None, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, np.uint8), mode)
    if palette is not None:
        image = image.convert("P") if image.mode != "P" else image
        image.putpalette(palette)
    image.save(path)
    return path


def write_palette(path, indices):
    image = Image.fromarray(np.asarray(indices, np.uint8), "L")
    paletted = Image.new("P", image.size)
    paletted.putdata(list(np.asarray(indices).ravel()))
    paletted.putpalette(color_map().ravel().tolist())
    paletted.save(path)
    return path


NUMBERS = [[0, 2, 255], [1, 0, 2]]


def test_numbers_of_a_gray_image_and_of_a_palette(tmp_path):
    table = LabelTable(["a", "b", "c"])
    assert table.names == ["a", "b", "c"]
    for path in (
        write(tmp_path / "gray.png", NUMBERS),
        write_palette(tmp_path / "palette.png", NUMBERS),
        write(tmp_path / "rgb.png", np.repeat(np.array(NUMBERS)[..., None], 3, axis=2)),
        write(tmp_path / "colors.png", color_map()[NUMBERS]),
    ):
        labels = table.read(path)
        assert labels.dtype == np.uint8
        assert labels.tolist() == NUMBERS, path


@pytest.mark.parametrize(
    "classes, pixels, names, expected",
    [
        ({0: "membrane", 255: "cell"}, [[0, 255]], ["membrane", "cell"], [[0, 1]]),
        ({7: "road", 8: "road", 3: "void", 11: "car"}, [[8, 3, 11, 7]], ["road", "car"],
         [[0, VOID, 1, 0]]),
        ({1: "a", 0: "Unlabeled"}, [[0, 1, 255]], ["a"], [[VOID, 0, VOID]]),
        ("camvid", [[0, 10, 11]], list(CAMVID_CLASSES), [[0, 10, VOID]]),
    ],
)  # fmt: skip
def test_mappings_of_numbers(tmp_path, classes, pixels, names, expected):
    table = LabelTable(classes)
    assert table.names == names
    assert table.read(write(tmp_path / "a.png", pixels)).tolist() == expected


def test_colors_of_camvid_and_voc(tmp_path):
    # SegNet's pavement and the original's sidewalk are one class; lane markings are road.
    colors = [[[128, 128, 128], [60, 40, 222], [0, 0, 192], [128, 0, 192], [0, 0, 0]]]
    camvid = LabelTable("camvid")
    assert len(camvid.names) == 11
    assert camvid.read(write(tmp_path / "a.png", colors)).tolist() == [[0, 4, 4, 3, VOID]]
    voc = LabelTable("voc")
    assert (len(voc.names), voc.names[0], voc.names[20]) == (21, "background", "tvmonitor")
    colors = [[[0, 0, 0], [128, 128, 128], [0, 64, 128], [224, 224, 192]]]
    assert voc.read(write(tmp_path / "b.png", colors)).tolist() == [[0, 7, 20, VOID]]
    own = LabelTable({(255, 0, 0): "red", (0, 0, 9): "void", (1, 2, 3): "other"})
    colors = [[[1, 2, 3], [0, 0, 9], [255, 0, 0]]]
    assert own.read(write(tmp_path / "c.png", colors)).tolist() == [[1, VOID, 0]]


@pytest.mark.parametrize(
    "classes, pixels, message",
    [
        (["a", "b"], [[0, 1], [1, 2]],
         r"a.png: the label at row 1, column 1 is 2; it must be 0 to 1 \(2 classes\), or 255"),
        ({0: "a", 255: "b"}, [[0, 3]], "is 3; it must be one of 0, 255"),
        ("camvid", [[[9, 9, 1]]], r"color at row 0, column 0 is \[9, 9, 1\]; it must be one of"),
        ({0: "a"}, [[[9, 9, 1]]], "the color at .* it must be a number"),
    ],
)  # fmt: skip
def test_labels_of_no_class(tmp_path, classes, pixels, message):
    path = write(tmp_path / "a.png", pixels)
    with pytest.raises(ValueError, match=message):
        LabelTable(classes).read(path)


@pytest.mark.parametrize(
    "classes, message",
    [
        (["a", "b", "a"], "classes has 'a' more than once"),
        ([], "classes has 0 names; it must have 1 to 255"),
        ({0: "void"}, "classes has 0 names"),
        ([str(k) for k in range(256)], "classes has 256 names"),
        ("cityscapes", "classes is 'cityscapes'; it must be camvid, voc, a list"),
        ({"a": "b"}, "classes has the entry 'a'; it must be a number"),
        ({(0, 0, 256): "b"}, "must be a number from 0 to 65535 or a color"),
        ({-1: "b"}, "classes has the entry -1"),
    ],
)
def test_tables_that_make_no_sense(classes, message):
    with pytest.raises(ValueError, match=message):
        LabelTable(classes)


LAYOUTS = {
    "camvid": ("train", "train/{}.png", "trainannot/{}.png"),
    "parts": ("train", "train/images/{}.png", "train/labels/{}.png"),
    "folders": ("train", "images/train/{}.png", "labels/train/{}_label.png"),
    "whole": (None, "images/{}.png", "masks/{}_mask.png"),
    "voc": ("train", "JPEGImages/{}.png", "SegmentationClass/{}.png"),
}


def _dataset(root, image="images/{}.png", label="labels/{}.png", names=("a", "b")):
    for name in names:
        write(root / image.format(name), np.zeros((2, 3, 3)))
        write(root / label.format(name), NUMBERS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout):
    subset, image, label = LAYOUTS[layout]
    _dataset(tmp_path, image, label)
    count = 2
    if layout == "voc":
        (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
        (tmp_path / "ImageSets/Segmentation/train.txt").write_text("b\n")
        count = 1
    dataset = LabelImageDataset.from_path(tmp_path, subset, ["x", "y", "z"])
    assert (dataset.num_images, dataset.class_names) == (count, ["x", "y", "z"])
    assert dataset.image_info[-1]["id"] == "b"
    assert load_label_map(dataset, 0).tolist() == NUMBERS
    masks, class_ids = dataset.load_mask(0)
    assert class_ids.tolist() == [1, 2]
    assert masks[..., 1].tolist() == [[False, True, False], [False, False, True]]


def test_folders_that_are_given(tmp_path):
    _dataset(tmp_path, "raw/{}.png", "gt/{}_L.png")
    dataset = LabelImageDataset.from_path(
        tmp_path, classes=["x", "y", "z"], image_dir="raw", label_dir="gt"
    )
    assert dataset.num_images == 2
    part = dataset.subset([1])
    assert load_label_map(part, 0).tolist() == NUMBERS


def test_merged_datasets_have_labels_of_both_numberings(tmp_path):
    _dataset(tmp_path / "one")
    _dataset(tmp_path / "two")
    one = LabelImageDataset.from_path(tmp_path / "one", classes=["x", "y", "z"])
    two = LabelImageDataset.from_path(tmp_path / "two", classes=["z", "w", "x"])
    both = merge([one, two])
    assert both.class_names == ["x", "y", "z", "w"]
    assert load_label_map(both, 0).tolist() == NUMBERS
    assert load_label_map(both, 2).tolist() == [[2, 0, 255], [3, 2, 0]]


def _without(name):
    return lambda root: (root / name).unlink()


@pytest.mark.parametrize(
    "change, options, error, message",
    [
        (_without("labels/a.png"), {}, ValueError, "labels has no file for 'a'; it must have one"),
        (_without("images/a.png"), {}, ValueError, "images has no image for the label .*a.png;"),
        (lambda root: write(root / "labels/a.png", [[0]]), {}, ValueError,
         "a.png has 1 x 1 pixels; it must have as many as its image, 3 x 2"),
        (lambda root: (root / "labels/a.png").rename(root / "labels/a.jpg"), {}, ValueError,
         "a.jpg may have lost exact values; label images must be PNG"),
        (lambda root: write(root / "images/a.bmp", [[0]]), {}, ValueError,
         "images has a.bmp and a.png; it must have one file of a name"),
        (lambda root: (root / "labels").rename(root / "things"), {}, ValueError,
         "no folder of images and folder of label images; they must be called"),
        (lambda root: None, {"subset": "val"}, ValueError, "for the part 'val'"),
        (lambda root: None, {"classes": None}, ValueError, "classes is None; it must name the"),
        (lambda root: None, {"image_dir": "images"}, ValueError, "must be given together"),
        (lambda root: None, {"image_dir": "images", "label_dir": "none"}, FileNotFoundError,
         "label_dir is .*none; it must be a folder"),
    ],
)  # fmt: skip
def test_folders_that_do_not_fit(tmp_path, change, options, error, message):
    _dataset(tmp_path)
    change(tmp_path)
    options = {"classes": ["x", "y", "z"], **options}
    with pytest.raises(error, match=message):
        load_label_map(LabelImageDataset.from_path(tmp_path, **options), 0)


def test_a_missing_folder_or_list(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"dataset_dir is .*none; it must be a folder"):
        LabelImageDataset.from_path(tmp_path / "none", classes=["a"])
    _dataset(tmp_path, "JPEGImages/{}.png", "SegmentationClass/{}.png")
    with pytest.raises(FileNotFoundError, match=r"train.txt is missing; it must list the images"):
        LabelImageDataset.from_path(tmp_path, "train", "voc")


@pytest.mark.parametrize(
    "content, expected",
    [
        (b"my cat.1\r\n\r\n", ["my cat.1"]),  # a space in a name, Windows's ends of lines
        (b"\xef\xbb\xbfdog\n", ["dog"]),  # a byte order mark
        (b"d\xf6g\n", "train.txt: byte 1 is b'\\xf6', which is not UTF-8"),
        (b"cow\n", "has no file for 'cow'; it must have one"),
    ],
)
def test_lists_of_voc(tmp_path, content, expected):
    for name in ("my cat.1", "dog"):
        write(tmp_path / "JPEGImages" / f"{name}.png", [[0]])
        write(tmp_path / "SegmentationClass" / f"{name}.png", [[0]])
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_bytes(content)
    if isinstance(expected, list):
        dataset = LabelImageDataset.from_path(tmp_path, "train")
        assert [info["id"] for info in dataset.image_info] == expected
    else:
        with pytest.raises(ValueError) as raised:
            LabelImageDataset.from_path(tmp_path, "train")
        assert expected in str(raised.value)


def test_smaller_instances_cover_larger_ones_and_crowds_are_void():
    masks = np.zeros((1, 6, 5), bool)
    masks[0, :2, 0] = True  # covered by the next one in one pixel
    masks[0, 1, 1] = True
    masks[0, 1:5, 2] = True  # the largest
    masks[0, 4:, 3] = True  # a crowd
    masks[0, :2, 4] = True  # as large as the first, later
    labels = paint_instances(masks, np.array([3, 2, 1, -1, 4]))
    assert labels.tolist() == [[4, 2, 1, 1, 1, VOID]]
    assert paint_instances(masks[..., :0], np.zeros(0, int)).tolist() == [[0] * 6]


class Empty(Dataset):
    def load_image(self, image_id):
        return np.zeros((2, 3, 3), np.uint8)


def test_any_dataset_has_label_maps():
    shapes = ShapesDataset()
    shapes.load_shapes(2, 64, 48)
    shapes.prepare()
    masks, class_ids = shapes.load_mask(1)
    labels = load_label_map(shapes, 1)
    assert labels.shape == (64, 48)
    for mask, class_id in zip(masks.transpose(2, 0, 1), class_ids, strict=True):
        assert (labels[mask] == class_id).all()  # these shapes do not overlap
    np.testing.assert_array_equal(load_label_map(shapes.subset([1]), 0), labels)

    empty = Empty()
    empty.add_image("x", 0, None)
    empty.prepare()
    assert load_label_map(empty, 0).tolist() == [[0] * 3] * 2


@pytest.mark.parametrize(
    "lines, expected",
    [
        (["0 0.5 0.5 0.5 0.5"], {0: 12, VOID: 4}),  # a box alone
        (["0 0 0 1 0 1 1 0 1"], {1: 16}),  # a polygon
        # A polygon is seen where it lies on a box, on which nothing else is known.
        (["0 0.5 0.5 0.5 0.5", "1 0 0 0.5 0 0.5 1 0 1"], {0: 6, 2: 8, VOID: 2}),
    ],
)
def test_pixels_of_boxes_without_masks_are_void(tmp_path, lines, expected):
    write(tmp_path / "images" / "a.png", np.zeros((4, 4)))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("\n".join(lines))
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    dataset = open_dataset(tmp_path)
    for one in (dataset, dataset.subset([0])):
        labels, counts = np.unique(load_label_map(one, 0), return_counts=True)
        assert dict(zip(labels.tolist(), counts.tolist(), strict=True)) == expected
        problem = find_label_problem(one)
        if expected.keys() & {1, 2}:
            assert problem is None
            require_masks(one)
            continue
        assert problem.startswith("dataset has boxes and no masks; it must have a mask of each")
        with pytest.raises(ValueError) as raised:
            require_masks(one, [0])
        assert str(raised.value) == problem
        require_masks(one, [])


def test_weights_of_rare_classes(tmp_path):
    write(tmp_path / "images/a.png", np.zeros((1, 4, 3)))
    write(tmp_path / "labels/a.png", [[0, 0, 0, 1]])
    write(tmp_path / "images/b.png", np.zeros((1, 4, 3)))
    write(tmp_path / "labels/b.png", [[0, 0, 2, 255]])
    dataset = LabelImageDataset.from_path(tmp_path, classes=list("abcd"))
    # Frequencies 5/7, 1/4 and 1/3.
    np.testing.assert_allclose(median_frequency_weights(dataset), [7 / 15, 4 / 3, 1, 0])
    write(tmp_path / "labels/a.png", [[255] * 4])
    write(tmp_path / "labels/b.png", [[255] * 4])
    with pytest.raises(ValueError, match="no labeled pixel"):
        median_frequency_weights(dataset)


def test_half_size_camvid_and_isbi(shared_dir):
    camvid = LabelImageDataset.from_path(shared_dir / "data/camvid", "val", "camvid")
    assert (camvid.num_images, camvid.num_classes) == (101, 11)
    labels = load_label_map(camvid, 0)
    assert labels.shape == (180, 240)
    assert set(np.unique(labels)) <= {*range(11), VOID}
    isbi = LabelImageDataset.from_path(
        shared_dir / "data/isbi2012", classes={0: "membrane", 255: "cell"}
    )
    assert (isbi.num_images, load_label_map(isbi, 3).shape) == (30, (512, 512))


@pytest.mark.parametrize("dtype, expected", [(np.uint16, [[0, 1]]), (bool, [[0, 1]])])
def test_other_depths(tmp_path, dtype, expected):
    Image.fromarray(np.array([[0, 1]], dtype)).save(tmp_path / "a.png")
    assert LabelTable(["a", "b"]).read(tmp_path / "a.png").tolist() == expected


def test_label_images_hold_whole_numbers(tmp_path):
    Image.fromarray(np.array([[0, 1.5]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a.tif holds float32 values; .* whole numbers"):
        LabelTable(["a", "b"]).read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "values, classes, expected",
    [
        ([[[0, 255]], [[0, 255]]], "a\nb\n", "a and void alone; it must have pixels of b:"),
        ([[[255, 255]]], "a\nb\nc\n", "a and void alone; it must have pixels of b, c:"),
        ([[[0, 255]]], "0 a\n255 b\n", None),  # 255 is a class
        ([[[0, 255]], [[0, 1]]], "a\nb\n", None),  # void is void
        ([[[0, 9]], [[0, 1]]], "a\nb\n", None),  # a damaged one beside a good one
        ([[[0, 0]]], "a\nb\n", None),  # no object, and nothing that could be one
        ([[[0, 255]]], "a\n", None),  # one class alone
    ],
)
def test_label_images_in_which_void_takes_the_place_of_a_class(tmp_path, values, classes, expected):
    for number, labels in enumerate(values):
        write(tmp_path / "images" / f"{number}.png", np.zeros_like(labels))
        write(tmp_path / "labels" / f"{number}.png", labels)
    (tmp_path / "classes.txt").write_text(classes)
    dataset = LabelImageDataset.from_path(str(tmp_path))
    problem = find_label_problem(dataset)
    errors = [p.message for p in dataset.check().problems if p.kind == "nothing_to_learn"]
    if expected is None:
        assert problem is None and not errors
    else:
        assert expected in problem and errors == [problem]
        assert 'classes.txt must say so, as in the lines "0 a" and "255 b"' in problem


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_masks_of_zeros_and_ones_are_masks(dtype):
    masks = np.zeros((3, 4, 1), dtype)
    masks[1, 2:, 0] = 1
    assert paint_instances(masks, np.array([5])).tolist() == [[0] * 4, [0, 0, 5, 5], [0] * 4]


def test_a_view_has_too_many_classes_as_its_parts_together():
    parts = []
    for source in "ab":
        part = Empty()
        for number in range(1, 200):
            part.add_class(source, number, f"{source}{number}")
        part.add_image(source, 0, None)
        part.prepare()
        parts.append(part)
    with pytest.raises(ValueError, match="dataset has 399 classes; it must have at most 255"):
        load_label_map(merge(parts), 1)
