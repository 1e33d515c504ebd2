"""COCO's JSON files."""

import io
import json
import zipfile

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mrcnn.datasets import CocoDataset, coco_download, open_dataset
from mrcnn.files.fetch import FetchError
from tests.datasets.made_up import box, write_json, write_picture
from tests.local_server import LocalServer

# pycocotools 2.0.11 on NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

BOX = box(8, 10, 2, 1, 6, 5)
POLYGON = [[1, 2, 5, 2, 5, 6, 1, 6]]
# Column by column: runs of background and object in turn.
UNCOMPRESSED = {"size": [8, 10], "counts": [10, 4, 4, 4, 4, 4, 4, 4, 42]}
COMPRESSED = coco_mask.encode(np.asfortranarray(BOX.astype(np.uint8)))


def annotation(number, image=1, category=3, **kwargs):
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "iscrowd": 0,
        "bbox": [1, 2, 4, 4],
        "area": 16,
        **kwargs,
    }


def content(*annotations):
    return {
        "info": {"description": "made-up shapes"},
        "images": [
            {"id": 1, "file_name": "a.png", "height": 8, "width": 10},
            {"id": 2, "file_name": "b.png", "height": 8, "width": 10},
        ],
        "annotations": list(annotations),
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }


def whole(folder, *annotations, name="annotations.json"):
    for picture in ("a", "b"):
        write_picture(folder / "images" / f"{picture}.png")
    write_json(folder / name, content(*annotations))
    return folder


SEGMENTATIONS = [
    ("polygon", {"segmentation": POLYGON}, BOX),
    ("two polygons", {"segmentation": [[1, 2, 5, 2, 5, 4, 1, 4], [1, 4, 5, 4, 5, 6, 1, 6]]}, BOX),
    ("compressed", {"segmentation": {**COMPRESSED, "counts": COMPRESSED["counts"].decode()}}, BOX),
    ("uncompressed", {"segmentation": UNCOMPRESSED}, BOX),
    ("box only", {}, BOX),
    ("box only, empty list", {"segmentation": []}, BOX),
    ("cut off", {"segmentation": [[6, -4, 30, -4, 30, 30, 6, 30]]}, box(8, 10, 0, 6, 8, 10)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "extra", "expected"), SEGMENTATIONS, ids=[s[0] for s in SEGMENTATIONS]
)
def test_segmentations(tmp_path, name, extra, expected):
    dataset = open_dataset(whole(tmp_path, annotation(1, **extra)))
    masks, class_ids = dataset.load_mask(0)
    assert class_ids.tolist() == [1] and class_ids.dtype == np.int32
    np.testing.assert_array_equal(masks[..., 0], expected)


def test_classes_negatives_and_crowds(tmp_path):
    dataset = open_dataset(
        whole(
            tmp_path,
            annotation(1, segmentation=POLYGON, category=7),
            annotation(2, segmentation={"size": [8, 10], "counts": [0, 80]}, iscrowd=1),
        )
    )
    assert dataset.class_names == ["BG", "cat", "dog"]
    assert dataset.map_source_class_id("coco.7") == 2
    assert dataset.load_mask(0)[1].tolist() == [2, -1]
    assert dataset.load_mask(0)[0][..., 1].all()
    masks, class_ids = dataset.load_mask(1)
    assert masks.shape == (8, 10, 0) and class_ids.shape == (0,)


def test_crowd_of_another_size_covers_the_picture(tmp_path):
    crowd = {"size": [4, 4], "counts": [8, 8]}
    dataset = open_dataset(whole(tmp_path, annotation(1, segmentation=crowd, iscrowd=1)))
    assert dataset.load_mask(0)[0].all()
    dataset.image_info[0]["annotations"][0]["iscrowd"] = 0
    rule = r"annotation 1: .* \[4, 4\]; it must be the image's \[8, 10\]"
    with pytest.raises(ValueError, match=rule):
        dataset.load_mask(0)


def test_instances_without_area_are_dropped_once(tmp_path, caplog):
    dataset = open_dataset(
        whole(
            tmp_path,
            annotation(1, segmentation=[[1, 1, 5, 5]]),
            annotation(2, segmentation=POLYGON),
            annotation(3, segmentation=[[50, 50, 60, 50, 60, 60]]),
        )
    )
    for _ in range(2):
        masks, class_ids = dataset.load_mask(0)
        assert masks.shape == (8, 10, 1) and class_ids.tolist() == [1]
    assert caplog.text.count("1 of 2 instances have no pixel") == 1
    assert "a.png" in caplog.text
    assert "fewer than three points" in caplog.text
    assert "annotations.json, annotation 1)" in caplog.text
    kinds = [p.kind for p in dataset.check().problems if p.severity == "warning"]
    assert kinds == ["left_out", "dropped"]
    assert dataset.image_class_ids(0).tolist() == [1, 1]


def test_polygons_as_pycocotools_draws_them():
    rng = np.random.default_rng(2)
    dataset = CocoDataset()
    for _ in range(200):
        height, width = rng.integers(10, 60, 2).tolist()
        corners = rng.uniform(-0.3, 1.3, (2, 6, 2)) * [width, height]
        ann = {"segmentation": [p.round(2).ravel().tolist() for p in corners]}
        expected = coco_mask.decode(dataset.annToRLE(ann, height, width))
        np.testing.assert_array_equal(dataset.annToMask(ann, height, width), expected)


def test_stray_annotations_are_left_out(tmp_path, caplog):
    dataset = open_dataset(
        whole(tmp_path, annotation(1), annotation(2, image=99), annotation(3, category=99))
    )
    assert dataset.summary().num_instances == 1
    assert "2 annotations left out" in caplog.text


def test_choosing_classes(tmp_path, caplog):
    folder = whole(tmp_path, annotation(1), annotation(2, image=2, category=7))
    dogs = open_dataset(folder, classes=["dog"])
    assert dogs.class_names == ["BG", "dog"]
    assert [info["id"] for info in dogs.image_info] == [2]
    swapped = open_dataset(folder, classes=["dog", "cat"])
    assert swapped.class_names == ["BG", "dog", "cat"]
    assert swapped.load_mask(0)[1].tolist() == [2]
    assert caplog.text == ""
    open_dataset(folder, classes=["cats", "dog", "cow"])
    assert "classes has 'cats', which does not occur in" in caplog.text
    assert "did you mean 'cat'?" in caplog.text and "cow" not in caplog.text
    more = open_dataset(folder, classes=["cow", "dog", "cat"])
    assert more.class_names == ["BG", "cow", "dog", "cat"]
    assert [more.load_mask(i)[1].tolist() for i in more.image_ids] == [[3], [2]]
    for classes in (["cow"], []):
        with pytest.raises(ValueError, match="classes"):
            open_dataset(folder, classes=classes)


def test_zero_category_and_missing_size(tmp_path):
    """Other tools begin at category 0 and may leave the sizes out."""
    write_picture(tmp_path / "a.png")
    write_json(
        tmp_path / "_annotations.coco.json",
        {
            "images": [{"id": 0, "file_name": "C:\\pictures\\a.png"}],
            "annotations": [{"image_id": 0, "category_id": 0, "segmentation": POLYGON}],
            "categories": [{"id": 0, "name": "thing"}],
        },
    )
    dataset = open_dataset(tmp_path)
    masks, class_ids = dataset.load_mask(0)
    assert class_ids.tolist() == [1]
    np.testing.assert_array_equal(masks[..., 0], BOX)
    assert dataset.check().ok


@pytest.mark.parametrize(
    ("files", "subset", "picture"),
    [
        ("annotations/instances_{}2017.json", "val", "val2017/a.png"),
        ("annotations/instances_{}2014.json", "val", "images/val2014/a.png"),
        ("annotations/{}.json", "val", "images/val/a.png"),
        ("annotations/{}.json", "val", "images/a.png"),
        ("{}/_annotations.coco.json", "valid", "valid/a.png"),
        ("{}/annotations.json", "val", "val/images/a.png"),
        ("{}.json", "val", "val/a.png"),
        ("{}.json", "val", "images/a.png"),
    ],
)
def test_layouts(tmp_path, files, subset, picture):
    for name in ("train", subset):
        write_json(tmp_path / files.format(name), content(annotation(1)))
    (tmp_path / "annotations").mkdir(exist_ok=True)
    write_json(tmp_path / "annotations" / "captions_val2017.json", {"annotations": []})
    write_picture(tmp_path / picture)
    dataset = open_dataset(tmp_path, subset="val")
    assert dataset.image_info[0]["path"] == str(tmp_path / picture)
    assert len(CocoDataset.subsets(tmp_path)) == 2
    with pytest.raises(ValueError, match="subset is None"):
        open_dataset(tmp_path)
    with pytest.raises(ValueError, match="subset is 'test'"):
        open_dataset(tmp_path, subset="test")


@pytest.mark.parametrize("picture", ["images/a.png", "images/default/a.png"])
def test_a_single_part_needs_no_name(tmp_path, picture):
    """The layout that CVAT exports."""
    write_json(tmp_path / "annotations" / "instances_default.json", content(annotation(1)))
    write_picture(tmp_path / picture)
    dataset = open_dataset(tmp_path)
    assert dataset.image_info[0]["path"] == str(tmp_path / picture)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ('{"images": [', "not valid JSON"),
        ('{"images": [], "annotations": []}', "list 'categories'"),
        ('{"images": {}, "annotations": [], "categories": []}', "list 'images'"),
    ],
)
def test_broken_files(tmp_path, broken, message):
    (tmp_path / "annotations.json").write_text(broken)
    with pytest.raises(ValueError, match=message):
        open_dataset(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"gone\.json"):
        CocoDataset().load_annotations(tmp_path / "gone.json", tmp_path)


def test_load_coco_as_in_the_sample(data_dir):
    dataset = CocoDataset()
    coco = dataset.load_coco(data_dir / "coco_tiny", "val", year=2017, return_coco=True)
    dataset.prepare()
    assert dataset.num_images == len(coco.imgs) == 17
    assert dataset.num_classes == 81
    assert sum(len(info["annotations"]) for info in dataset.image_info) == len(coco.anns) == 170
    info = dataset.image_info[0]
    assert dataset.image_reference(0) == f"https://cocodataset.org/#explore?id={info['id']}"
    # COCO's category 90 is class 80; evaluation needs the way back.
    assert dataset.map_source_class_id("coco.90") == 80
    assert dataset.get_source_class_id(80, "coco") == 90


def test_load_coco_with_class_ids(data_dir):
    dataset = CocoDataset()
    dataset.load_coco(str(data_dir / "coco_tiny"), "train", class_ids=[18, 1])
    dataset.prepare()
    assert dataset.class_names == ["BG", "dog", "person"]
    summary = dataset.summary()
    assert summary.num_negatives == 0
    with pytest.raises(ValueError, match="class_ids holds 12"):
        CocoDataset().load_coco(data_dir / "coco_tiny", "train", class_ids=[12])
    with pytest.raises(FileNotFoundError, match="instances_test2017"):
        CocoDataset().load_coco(data_dir / "coco_tiny", "test")


@pytest.mark.parametrize(
    ("subset", "images", "instances", "crowds", "negatives"),
    [("train", 50, 470, 5, 1), ("val", 17, 170, 2, 0)],
)
def test_real_counts(data_dir, subset, images, instances, crowds, negatives):
    dataset = open_dataset(data_dir / "coco_tiny", subset=subset)
    summary = dataset.summary()
    assert (summary.num_images, summary.num_instances) == (images, instances)
    assert (summary.num_crowds, summary.num_negatives) == (crowds, negatives)
    loaded = [dataset.load_mask(i) for i in dataset.image_ids]
    assert sum(masks.shape[2] for masks, _ in loaded) == instances
    assert dataset.check(max_images=5).ok
    # The mask's area is COCO's own figure, up to the pixels on the outline.
    for (masks, class_ids), info in zip(loaded, dataset.image_info, strict=True):
        for index, ann in enumerate(info["annotations"]):
            if class_ids[index] > 0 and ann["area"] > 500:
                assert masks[..., index].sum() == pytest.approx(ann["area"], rel=0.1)


def archive(files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        for name, data in files.items():
            target.writestr(name, data)
    return stream.getvalue()


def test_auto_download(tmp_path, monkeypatch):
    picture = write_picture(tmp_path / "made" / "a.png")
    pictures = {"val2017/a.png": (tmp_path / "made" / "a.png").read_bytes()}
    annotations = {
        f"annotations/instances_{name}2017.json": json.dumps(content(annotation(1)))
        for name in ("train", "val")
    }
    site = {
        "zips/val2017.zip": archive(pictures),
        "annotations/annotations_trainval2017.zip": archive(annotations),
    }
    with LocalServer(site) as server:
        monkeypatch.setattr(coco_download, "COCO_URL", server.url().rstrip("/"))
        for _ in range(2):
            dataset = CocoDataset()
            dataset.load_coco(tmp_path / "coco", "val", auto_download=True)
            np.testing.assert_array_equal(dataset.load_image(0), picture)
        assert len([r for r in server.log if r.method == "GET"]) == 2  # not fetched again
    left = sorted(p.name for p in (tmp_path / "coco").iterdir())
    assert left == ["annotations", "val2017"]


@pytest.mark.parametrize(
    ("subset", "year", "message"),
    [("val", "2015", "year is '2015'"), ("minival", "2017", "subset is 'minival'")],
)
def test_nothing_of_that_name_to_download(tmp_path, subset, year, message):
    with pytest.raises(ValueError, match=message):
        coco_download.download_coco(tmp_path, subset, year)


def test_a_damaged_archive_is_fetched_again_and_named(tmp_path, monkeypatch, caplog):
    good = archive({"val2017/a.png": b"x" * 999})
    damaged = bytearray(good)
    damaged[60] ^= 0xFF
    with LocalServer({"zips/val2017.zip": bytes(damaged)}) as server:
        monkeypatch.setattr(coco_download, "COCO_URL", server.url().rstrip("/"))
        with pytest.raises(FetchError, match=r"val2017\.zip: .* damaged twice \(val2017/a\.png: "):
            coco_download.download_coco(tmp_path, "val", 2017)
        assert len([r for r in server.log if r.method == "GET"]) == 2
    assert list(tmp_path.iterdir()) == []
