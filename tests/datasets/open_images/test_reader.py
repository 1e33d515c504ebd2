"""The Open Images tables and the dataset read from them."""

import logging
import os
import tracemalloc

import numpy as np
import pytest

from mrcnn.datasets.open_images import tables
from mrcnn.datasets.open_images.reader import OpenImagesDataset, resize_frame_mask
from tests.datasets.open_images.fake_site import (
    BOX_COLUMNS,
    CLASSES,
    IMAGE_COLUMNS,
    MASK_COLUMNS,
    jpeg,
    png,
    table,
)

MOTORCYCLE, CAR = "/m/04_sv", "/m/0k4j"
A, B, C, D = (f"{digit}{'0' * 15}" for digit in "abcd")


def mask_row(image_id, class_id, box_id, box=(0.0, 0.5, 0.0, 0.5)):
    name = f"{image_id}_{class_id.replace('/', '')}_{box_id}.png"
    return [name, image_id, class_id, box_id, *box, 0.8, "0.5 0.5 1;0.1 0.2 0"]


def box_row(image_id, class_id, box, group=0, flags=(0, 1)):
    return [image_id, "xclick", class_id, 1, *box, *flags, group, 0, -1]


# Images are 8 x 12 (B is turned on its side), masks 4 x 6.
MASKS = {
    mask_row(A, MOTORCYCLE, "00000001")[0]: np.pad(np.ones((2, 3)), ((0, 2), (0, 3))),
    mask_row(A, CAR, "00000002")[0]: np.pad(np.ones((2, 3)), ((2, 0), (3, 0))),
    mask_row(B, MOTORCYCLE, "00000003")[0]: np.ones((6, 4)),
    mask_row(C, CAR, "00000004")[0]: np.ones((4, 6)),
}
MASK_TABLE = table(
    MASK_COLUMNS,
    [
        mask_row(A, MOTORCYCLE, "00000001", (0.0, 0.5, 0.0, 0.5)),
        mask_row(A, CAR, "00000002", (0.5, 1.0, 0.5, 1.0)),
        mask_row(B, MOTORCYCLE, "00000003", (0.0, 1.0, 0.0, 1.0)),
        mask_row(C, CAR, "00000004", (0.0, 1.0, 0.0, 1.0)),
        mask_row(D, MOTORCYCLE, "00000005"),  # its image is not on disk
    ],
)
BOX_TABLE = table(
    BOX_COLUMNS,
    [
        box_row(A, MOTORCYCLE, (0.0005, 0.4999, 0.0, 0.5)),  # the one with a mask
        box_row(A, MOTORCYCLE, (0.5, 0.75, 0.0, 0.25)),
        box_row(A, MOTORCYCLE, (0.0, 1.0, 0.75, 1.0), group=1),
        box_row(A, CAR, (0.0005, 0.4999, 0.0, 0.5)),  # where a motorcycle has its mask
        box_row(C, MOTORCYCLE, (0.25, 0.5, 0.5, 1.0), group=-1),
        box_row(D, MOTORCYCLE, (0.0, 1.0, 0.0, 1.0)),
    ],
)


@pytest.fixture
def folder(tmp_path):
    def write(name, data):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    write(
        "tables/oidv7-class-descriptions-boxable.csv",
        table("LabelName,DisplayName", CLASSES.items()),
    )
    write("tables/validation-annotations-object-segmentation.csv", MASK_TABLE)
    write("tables/validation-annotations-bbox.csv", BOX_TABLE)
    write("classes.csv", b'/m/0k4j,"Car"\n/m/04_sv,"Motorcycle"\n')
    for image_id, size in ((A, (8, 12)), (B, (12, 8)), (C, (8, 12))):
        write(f"images/validation/{image_id}.jpg", jpeg(*size, seed=0))
    for name, mask in MASKS.items():
        write(f"masks/validation/{name}", png(mask))
    return tmp_path


def read(folder, classes=("Motorcycle",), **options):
    return OpenImagesDataset.from_path(folder, classes=classes, split="validation", **options)


# Tables


def test_published_samples_are_read(shared_dir):
    samples = shared_dir / "data" / "open_images_format"
    classes = tables.read_class_table(samples / "class-descriptions-boxable.csv")
    assert len(classes) == 11 and classes[MOTORCYCLE] == "Motorcycle"
    masks = list(tables.iter_masks(samples / "train-annotations-object-segmentation.csv"))
    assert [mask.class_id for mask in masks] == ["/m/04yx4", "/m/09j2d", "/m/04yx4", "/m/09j2d"]
    assert masks[0] == (
        "677c122b0eaa5d16_m04yx4_9a041d52.png",
        "677c122b0eaa5d16",
        "/m/04yx4",
        (0.454167, 0.8875, 0.720833, 0.960938),
    )
    boxes = list(tables.iter_boxes(samples / "validation-annotations-bbox.csv"))
    assert [box.is_group_of for box in boxes] == [False, True, False, False]
    assert [box.is_depiction for box in boxes] == [False, False, True, False]
    assert boxes[0].box == (0.07103825, 0.022673031, 0.80054647, 0.9642005)
    boxes = list(tables.iter_boxes(samples / "oidv6-train-annotations-bbox.csv"))
    assert [box.is_occluded for box in boxes] == [False, False, True]
    images = list(tables.iter_images(samples / "train-images-boxable-with-rotation.csv"))
    assert (images[1].author, images[1].rotation) == ("Karen", 0)
    images = list(tables.iter_images(samples / "validation-images-with-rotation.csv"))
    assert (images[0].image_id, images[0].rotation) == ("fe600639ac5f36c1", None)


@pytest.mark.parametrize("header", ["", "LabelName,DisplayName\n", "\ufeffLabelName,DisplayName\n"])
def test_class_table_with_or_without_header(tmp_path, header):
    path = tmp_path / "classes.csv"
    path.write_text(header + '/m/04_sv,Motorcycle\n/m/1,"Cat, tame"\n', encoding="utf-8")
    assert tables.read_class_table(path) == {MOTORCYCLE: "Motorcycle", "/m/1": "Cat, tame"}


def test_class_table_with_a_wrong_line(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text("/m/04_sv,Motorcycle\nMotorcycle,/m/04_sv\n")
    with pytest.raises(ValueError, match="line 2"):
        tables.read_class_table(path)


@pytest.mark.parametrize(
    "wanted, found",
    [
        (["Car"], [CAR]),
        (["/m/0k4j"], [CAR]),
        ([" motorcycle ", "CAR"], [MOTORCYCLE, CAR]),
        (["Car", "/m/04_sv"], [CAR, MOTORCYCLE]),
    ],
)
def test_classes_by_name_or_id_in_the_order_given(wanted, found):
    assert list(tables.resolve_classes(wanted, CLASSES)) == found


@pytest.mark.parametrize(
    "wanted, message",
    [
        (["Motorbike"], "did you mean Motorcycle"),
        (["/m/0"], "'/m/0'"),
        (["Car", "/m/0k4j"], "twice"),
        ([], "empty"),
        ("Car", "must be a list"),
    ],
)
def test_wrong_classes(wanted, message):
    with pytest.raises(ValueError, match=message):
        tables.resolve_classes(wanted, CLASSES)


@pytest.mark.parametrize(
    "class_ids, first, expected",
    [
        (None, "", ["00000001", "00000002", "00000003", "00000004", "00000005"]),
        ([CAR], "", ["00000002", "00000004"]),
        (None, "a", ["00000001", "00000002"]),
        ([MOTORCYCLE], "a", ["00000001"]),
        ([f"/m/{n}" for n in range(40)] + [CAR], "", ["00000002", "00000004"]),
        ([], "", []),
        (["/m/0k4"], "", []),
    ],
)
def test_masks_of_classes_and_first_digits(tmp_path, class_ids, first, expected):
    (tmp_path / "t.csv").write_bytes(MASK_TABLE)
    rows = tables.iter_masks(tmp_path / "t.csv", class_ids, first)
    assert [row.file_name[-12:-4] for row in rows] == expected


def test_column_order_does_not_matter(tmp_path):
    lines = [line.split(",") for line in MASK_TABLE.decode().splitlines()]
    (tmp_path / "t.csv").write_text("".join(",".join(line[::-1]) + "\n" for line in lines))
    rows = list(tables.iter_masks(tmp_path / "t.csv", [CAR]))
    assert rows[0] == (mask_row(A, CAR, "00000002")[0], A, CAR, (0.5, 0.5, 1.0, 1.0))


@pytest.mark.parametrize(
    "text, message",
    [
        ("MaskPath,ImageID,LabelName\n", "no column BoxYMin"),
        ("", "no column MaskPath"),
        (MASK_TABLE.decode().rsplit(",", 2)[0], "has 8 values; it must have 10"),
        (MASK_TABLE.decode().replace("_00000001.png", "_00000001.exe"), "MaskPath"),
        (MASK_TABLE.decode().replace(f",{A},", ",../x,"), "ImageID"),
        (MASK_TABLE.decode().replace(",0.5,0.0,", ",half,0.0,"), "it must be four fractions"),
    ],
)
def test_broken_mask_tables(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        list(tables.iter_masks(tmp_path / "t.csv"))


def test_large_table_is_streamed(tmp_path):
    clicks = "0.95498 0.65197 1;" * 30
    other = ",".join(map(str, mask_row(C, CAR, "00000004")[:-1])) + f",{clicks}\n"
    ours = ",".join(map(str, mask_row(A, MOTORCYCLE, "00000001"))) + "\n"
    path = tmp_path / "t.csv"
    with open(path, "w") as stream:
        stream.write(MASK_COLUMNS + "\n")
        for _ in range(20):
            stream.write(other * 500 + ours)
    assert os.path.getsize(path) > 5e6
    for class_ids, first, expected in (([MOTORCYCLE], "", 20), (None, "", 10_020), (None, "a", 20)):
        tracemalloc.start()
        count = sum(1 for _ in tables.iter_masks(path, class_ids, first))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == expected
        assert peak < 200_000


def test_picture_table(tmp_path):
    row = [
        A,
        "validation",
        "u",
        "page",
        "licence",
        "a",
        'Ng, "A"',
        "two\nlines",
        9,
        "md5==",
        "t",
        "90.0",
    ]
    (tmp_path / "t.csv").write_bytes(table(IMAGE_COLUMNS, [row, [B, *row[1:-1], ""]]))
    assert list(tables.iter_images(tmp_path / "t.csv")) == [
        (A, "page", "licence", 'Ng, "A"', "two\nlines", 90),
        (B, "page", "licence", 'Ng, "A"', "two\nlines", None),
    ]
    assert [row.image_id for row in tables.iter_images(tmp_path / "t.csv", {B})] == [B]


# Masks


def test_mask_of_the_same_size_is_kept():
    mask = np.random.default_rng(0).integers(0, 2, (5, 7))
    assert np.array_equal(resize_frame_mask(mask * 255, 5, 7), mask == 1)
    assert resize_frame_mask(mask * 255, 5, 7).dtype == bool


@pytest.mark.parametrize("factor, corners", [(2, 0), (3, 4)])
def test_mask_is_enlarged_as_a_frame(factor, corners):
    mask = np.zeros((4, 6), np.uint8)
    mask[1:3, 2:5] = 1
    resized = resize_frame_mask(mask, 4 * factor, 6 * factor)
    differs = resized != np.kron(mask, np.ones((factor, factor), bool))
    rows, columns = [factor, 3 * factor - 1], [2 * factor, 5 * factor - 1]
    # Between three times as many pixels the outline runs smoother: its corners are rounded.
    assert differs.sum() == differs[np.ix_(rows, columns)].sum() == corners


def test_mask_is_shrunk_by_area():
    mask = np.zeros((8, 8), np.uint8)
    mask[:4, :4] = 1
    mask[6:, 5] = 255
    assert resize_frame_mask(mask, 4, 4).astype(int).tolist() == [
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 1, 0],
    ]


def test_tiny_mask_does_not_vanish():
    mask = np.zeros((100, 100), np.uint8)
    mask[57, 31] = 1
    resized = resize_frame_mask(mask, 10, 20)
    assert np.argwhere(resized).tolist() == [[5, 6]]
    assert not resize_frame_mask(np.zeros((100, 100)), 10, 10).any()


def test_mask_with_channels():
    mask = np.zeros((2, 2, 3), np.uint8)
    mask[0, 1, 2] = 9
    assert resize_frame_mask(mask, 2, 2).tolist() == [[False, True], [False, False]]


# Dataset


def test_one_class(folder):
    dataset = read(folder)
    assert dataset.class_names == ["BG", "Motorcycle"]
    assert [info["id"] for info in dataset.image_info] == [A, B]
    assert dataset.map_source_class_id("open_images./m/04_sv") == 1
    masks, class_ids = dataset.load_mask(0)
    assert masks.shape == (8, 12, 1) and masks.dtype == bool
    assert class_ids.tolist() == [1] and class_ids.dtype == np.int32
    expected = np.zeros((8, 12), bool)
    expected[:4, :6] = True
    assert np.array_equal(masks[:, :, 0], expected)
    assert dataset.load_image(1).shape == (12, 8, 3)
    assert dataset.load_mask(1)[0].shape == (12, 8, 1) and dataset.load_mask(1)[0].all()


def test_classes_in_the_order_given(folder):
    dataset = read(folder, ["/m/0k4j", "motorcycle"])
    assert dataset.class_names == ["BG", "Car", "Motorcycle"]
    assert [info["id"] for info in dataset.image_info] == [A, B, C]
    assert dataset.load_mask(0)[1].tolist() == [2, 1]
    assert [dataset.image_class_ids(n).tolist() for n in range(3)] == [[2, 1], [2], [1]]


def test_classes_of_the_download(folder):
    assert read(folder, None).class_names == ["BG", "Car", "Motorcycle"]
    (folder / "classes.csv").unlink()
    with pytest.raises(ValueError, match="name the classes"):
        read(folder, None)


@pytest.mark.parametrize(
    "box_only, group_of, expected",
    [
        ("skip", "skip", {A: [1], B: [1]}),
        ("ignore", "skip", {A: [1, -1], B: [1], C: [-1]}),
        ("fill", "skip", {A: [1, 1], B: [1], C: [1]}),
        ("skip", "ignore", {A: [1, -1], B: [1]}),
        ("ignore", "fill", {A: [1, -1, 1], B: [1], C: [-1]}),
    ],
)
def test_boxes_without_mask_and_groups(folder, box_only, group_of, expected):
    dataset = read(folder, box_only=box_only, group_of=group_of)
    found = {i["id"]: dataset.load_mask(n)[1].tolist() for n, i in enumerate(dataset.image_info)}
    assert found == expected


def test_filled_box(folder):
    masks, _ = read(folder, box_only="fill").load_mask(0)
    expected = np.zeros((8, 12), bool)
    expected[0:2, 6:9] = True
    assert np.array_equal(masks[:, :, 1], expected)


def test_box_of_another_class_is_another_object(folder):
    dataset = read(folder, ["Car"], box_only="ignore")
    assert dataset.load_mask(0)[1].tolist() == [1, -1]


def test_picture_with_a_missing_mask_is_left_out(folder, caplog):
    (folder / "masks/validation" / mask_row(A, CAR, "00000002")[0]).unlink()
    with caplog.at_level(logging.WARNING):
        dataset = read(folder, ["Motorcycle", "Car"], box_only="ignore")
    assert [info["id"] for info in dataset.image_info] == [B, C]
    assert "1 image left out" in caplog.text and "00000002" in caplog.text
    assert [info["id"] for info in read(folder).image_info] == [A, B]


def test_tables_in_the_folder_itself_and_other_folders(folder):
    for path in (folder / "tables").iterdir():
        path.rename(folder / path.name)
    (folder / "oidv7-class-descriptions-boxable.csv").rename(
        folder / "class-descriptions-boxable.csv"
    )
    (folder / "images/validation").rename(folder / "pictures")
    (folder / "masks/validation").rename(folder / "png")
    dataset = read(folder, images_dir=folder / "pictures", masks_dir=folder / "png")
    assert dataset.load_mask(0)[0].shape == (8, 12, 1)


def test_several_splits(folder):
    for name in ("images", "masks"):
        (folder / name / "test").symlink_to(folder / name / "validation")
    (folder / "tables/test-annotations-object-segmentation.csv").write_bytes(MASK_TABLE)
    dataset = OpenImagesDataset.from_path(folder, ["val", "test"], ["Motorcycle"])
    assert [info["split"] for info in dataset.image_info] == ["validation"] * 2 + ["test"] * 2
    with pytest.raises(ValueError, match="choose one"):
        OpenImagesDataset.from_path(folder, classes=["Motorcycle"])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"classes": ["Motorbike"]}, "did you mean Motorcycle"),
        ({"classes": ["Person"]}, "no image of Person"),
        ({"box_only": "keep"}, "box_only is 'keep'"),
        ({"group_of": None}, "group_of is None"),
        ({"subset": "validation"}, "one of them must be None"),
    ],
)
def test_wrong_options(folder, options, message):
    with pytest.raises(ValueError, match=message):
        read(folder, **options)


def test_unknown_split(folder):
    with pytest.raises(ValueError, match="'train'"):
        OpenImagesDataset.from_path(folder, "train", ["Motorcycle"])
    with pytest.raises(ValueError, match="split is 'val'"):
        OpenImagesDataset().load_open_images(folder, "val", ["Motorcycle"])


def test_box_table_is_needed_only_for_boxes(folder):
    (folder / "tables/validation-annotations-bbox.csv").unlink()
    assert len(read(folder).image_info) == 2
    with pytest.raises(FileNotFoundError, match="validation-annotations-bbox"):
        read(folder, box_only="ignore")


def test_credits(folder):
    row = [A, "v", "u", "https://page", "CC BY", "a", "Ann", "title", 9, "md5", "t", "270.0"]
    path = folder / "tables/validation-images-with-rotation.csv"
    path.write_bytes(table(IMAGE_COLUMNS, [row]))
    dataset = read(folder)
    assert dataset.image_reference(0).endswith(f"{A}.jpg")
    dataset.load_credits(folder)
    assert dataset.image_reference(0) == "https://page"
    assert (dataset.image_info[0]["author"], dataset.image_info[0]["rotation"]) == ("Ann", 270)
    assert dataset.load_image(0).shape == (8, 12, 3)  # pixels stay as stored
    assert dataset.image_reference(1).endswith(f"{B}.jpg")


def test_recognised_by_its_tables(folder, tmp_path_factory):
    assert OpenImagesDataset.recognizes(folder)
    assert OpenImagesDataset.subsets(folder) == ["validation"]
    assert not OpenImagesDataset.recognizes(tmp_path_factory.mktemp("empty"))
