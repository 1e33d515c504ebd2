"""Files of proposals, and the proposals and masks that datasets say they have."""

import json

import cv2
import numpy as np
import pytest

from mrcnn.datasets import (
    CopyPasteDataset,
    merge,
    open_dataset,
    read_proposals,
    write_proposals,
)
from mrcnn.datasets.dataset import Dataset
from mrcnn.evaluation.detection_pass import measures_masks
from mrcnn.family import find_proposals
from mrcnn.family.proposals import check_known
from mrcnn.loading.batches import TrainingBatches
from tests.tiny import Squares, tiny_config

BOXES = {
    "a.1": np.array([[0, 1, 2, 3], [4, 5, 6, 7]]),
    "b.x y": np.zeros((0, 4)),
    "c.ü": [[1, 2, 3, 4.5]],
}


def test_round_trip(tmp_path):
    path = tmp_path / "p.npz"
    write_proposals(path, BOXES)
    found = read_proposals(path)
    assert list(found) == list(BOXES)
    for name, boxes in found.items():
        assert boxes.shape[1:] == (4,) and boxes.tolist() == np.asarray(BOXES[name]).tolist()
    write_proposals(path, {})
    assert read_proposals(path) == {}
    assert [one.name for one in tmp_path.iterdir()] == ["p.npz"]


def test_whole_pixels_stay_whole(tmp_path):
    write_proposals(tmp_path / "p.npz", {"a": np.array([[0, 1, 2, 3]], np.int64)})
    assert read_proposals(tmp_path / "p.npz")["a"].dtype == np.int32


@pytest.mark.parametrize(
    ("path", "proposals", "message"),
    [
        ("p.npy", {}, r"proposals is .*p\.npy; it must end in \.npz"),
        ("p.npz", {"a": [1, 2, 3, 4]}, r"proposals\['a'\] has the shape \(4,\); it must be"),
        ("p.npz", {"a": [[0, 0, np.nan, 9]]}, r"proposals\['a'\] has values that are no finite"),
        ("p.npz", {"a": [["b"] * 4]}, r"proposals\['a'\] has values that are no finite"),
    ],
)
def test_what_cannot_be_written(path, proposals, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_proposals(tmp_path / path, proposals)
    assert list(tmp_path.iterdir()) == []


def arrays(**changed):
    return {"names": np.array(["a"]), "counts": [1], "boxes": [[0, 0, 1, 1]], **changed}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read; it must be an .npz file with the arrays names, counts, boxes"),
        (b"no zip file", "cannot be read; it must be an .npz file"),
        (b"PK\x03\x04 cut off", "boxes: it is no zip archive$"),
        (b"\x93NUMPY\x01\x00", "boxes: it is no zip archive$"),
        ({"names": ["a"]}, "cannot be read; it must be an .npz file with the arrays"),
        (arrays(names=[1]), "names has the type int64; it must be a list of text"),
        (arrays(names=[object()]), "cannot be read; it must be an .npz file"),
        (arrays(counts=[1, 2]), r"counts has the shape \(2,\); it must have a whole number"),
        (arrays(counts=[-1]), "counts has the shape .* of at least 0 for each of the 1 names"),
        (arrays(counts=[0.5]), "it must have a whole number of at least 0"),
        (arrays(counts=[3]), "boxes has 1 rows; it must have 3, the sum of counts"),
        (arrays(boxes=[[1, 2, 3]]), r"boxes has the shape \(1, 3\); it must be"),
        (arrays(boxes=[[np.inf] * 4]), "boxes has values that are no finite numbers"),
        (arrays(boxes=[[0j] * 4]), "boxes has values that are no finite numbers"),
        (arrays(boxes=[[True] * 4]), "boxes has values that are no finite numbers"),
        # As int32, these would be the box [0, 0, 1, 1].
        (arrays(boxes=[[0, 2**40, 1, 2**40 + 1]]), "boxes has values from 0 to 1099511627777; th"),
        (arrays(boxes=[[0, 0, 1, 3e38]]), "boxes has values from 0.0 to 3e.38; they must be pix"),
        (arrays(names=["a", "a"], counts=[1, 0]), "names holds an image twice"),
    ],
)
def test_files_that_are_refused(content, message, tmp_path):
    path = tmp_path / "p.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **{name: np.array(value) for name, value in content.items()})
    with pytest.raises(ValueError, match=message):
        read_proposals(path)


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"proposals is .*; it must be an existing file"):
        read_proposals(tmp_path / "p.npz")
    with pytest.raises(FileNotFoundError):
        read_proposals(tmp_path)


def test_of_a_dataset_and_of_views_of_it():
    dataset = Squares()
    assert dataset.load_proposals(0) is None
    dataset.proposals = {"squares.picture1": np.array([[1, 2, 3, 4]])}
    assert dataset.load_proposals(0) is None
    assert dataset.load_proposals(1).tolist() == [[1, 2, 3, 4]]
    part = dataset.subset([1])
    joined = merge([Squares(), dataset])
    assert part.load_proposals(0).tolist() == [[1, 2, 3, 4]]
    assert [joined.load_proposals(i) is None for i in range(4)] == [True, True, True, False]
    part.proposals = {"squares.picture1": np.zeros((0, 4))}
    assert part.load_proposals(0).shape == (0, 4) and len(dataset.load_proposals(1)) == 1


def test_copy_paste_scenes_have_none():
    dataset = CopyPasteDataset(Squares(), 2)
    with pytest.raises(ValueError, match="image 1 is a copy-paste scene, which has no proposals"):
        dataset.load_proposals(1)


def test_selective_search_over_a_dataset(tmp_path, monkeypatch):
    path, calls = tmp_path / "p.npz", []
    found = find_proposals(Squares(), path, "single", progress=lambda *done: calls.append(done))
    assert calls == [(1, 2), (2, 2)]
    assert list(found) == ["squares.picture0", "squares.picture1"]
    dataset = Squares()
    dataset.proposals = found
    boxes = dataset.load_proposals(0)
    assert [8, 8, 32, 32] in boxes.tolist() and boxes.max() <= 64
    read = read_proposals(path)
    assert all(np.array_equal(read[name], found[name]) for name in found)

    def search(image, strategy, max_side):
        calls.append((strategy, max_side))
        return np.array([[0, 0, n, n] for n in range(30, 64)], np.int32)

    monkeypatch.setattr("mrcnn.family.proposals.selective_search", search)
    calls.clear()
    more = merge([Squares(), Squares(((),) * 3)])
    again = find_proposals(more, path, "quality", max_boxes=5)
    assert calls == [("quality", 640)]  # picture2 alone is new
    assert len(again["squares.picture2"]) == 5 and len(read_proposals(path)) == 3
    with pytest.raises(ValueError, match="max_boxes is 0; it must be a whole number of at least 1"):
        find_proposals(dataset, max_boxes=0)


OUTSIDE = r"\[0, 0, 65, 9\]; it must lie within the image of 64 x 64 pixels"


def test_known_boxes_are_checked_before_any_is_searched(tmp_path, monkeypatch):
    path = tmp_path / "p.npz"
    good = np.array([[0, 0, 64, 9]])
    train, val = Squares(), Squares(((),) * 3)
    assert check_known([train, val]) == check_known([train, val], path) == (0, 5)
    write_proposals(path, {"squares.picture1": good, "other.7": good + 99})
    assert check_known([train, val], path) == (2, 5)
    write_proposals(path, {"squares.picture2": [[0, 0, 65, 9]]})
    assert check_known([train], path) == (0, 2)
    place = r"^.*p\.npz: proposals\['squares\.picture2'\]\[0\] is "
    for call in (lambda: check_known([train, val], path), lambda: find_proposals(val, path)):
        monkeypatch.setattr("mrcnn.family.proposals.propose", lambda *a: pytest.fail("searched"))
        with pytest.raises(ValueError, match=place + OUTSIDE):
            call()
    train.proposals = {"squares.picture0": good * 0.5, "squares.picture1": [[0, 0, 65, 9]]}
    with pytest.raises(ValueError, match=r"^proposals\['squares.picture1'\]\[0\] is " + OUTSIDE):
        check_known([train], path)
    for call in (check_known, lambda datasets, path: find_proposals(datasets[0], path)):
        with pytest.raises(ValueError, match=r"proposals is p\.txt; it must end in \.npz"):
            call([val], "p.txt")


def test_images_that_cannot_be_read_are_left_to_the_training(monkeypatch):
    dataset = Squares()
    dataset.proposals = {f"squares.picture{i}": [[0, 0, 9, 9]] for i in range(2)}
    monkeypatch.setattr(dataset, "image_size", lambda i: (_ for _ in ()).throw(OSError("gone")))
    assert check_known([dataset]) == (0, 2)


def test_every_instance_of_a_dataset_of_ones_own_has_a_mask():
    assert Squares().image_has_masks(0) is None
    assert Dataset().proposals is None


def write_voc(folder):
    (folder / "Annotations").mkdir()
    objects = "".join(
        f"<object><name>cat</name><bndbox><xmin>{x}</xmin><ymin>5</ymin><xmax>{x + 9}</xmax>"
        "<ymax>24</ymax></bndbox></object>"
        for x in (3, 30)
    )
    size = "<size><width>60</width><height>40</height><depth>3</depth></size>"
    (folder / "Annotations/a.xml").write_text(
        f"<annotation><filename>a.png</filename>{size}{objects}</annotation>"
    )
    (folder / "JPEGImages").mkdir()
    cv2.imwrite(str(folder / "JPEGImages/a.png"), np.full((40, 60, 3), 90, np.uint8))
    return folder, [[4, 2, 24, 12], [4, 29, 24, 39]]


def write_yolo(folder):
    for name in ("images", "labels"):
        (folder / name).mkdir()
    cv2.imwrite(str(folder / "images/a.png"), np.full((40, 60, 3), 90, np.uint8))
    # The center and the sides of (y, x) 10..20, 6..18 and 0..40, 30..60.
    (folder / "labels/a.txt").write_text("0 0.2 0.375 0.2 0.25\n0 0.75 0.5 0.5 1\n")
    (folder / "data.yaml").write_text("names: [cat]\n")
    return folder, [[10, 6, 20, 18], [0, 30, 40, 60]]


def write_coco(folder):
    cv2.imwrite(str(folder / "a.png"), np.full((40, 60, 3), 90, np.uint8))
    boxes = ([2, 3, 10, 20], [30, 5, 9, 8])
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": 60, "height": 40}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [
            {"id": i, "image_id": 7, "category_id": 3, "iscrowd": 0, "bbox": box, "area": 9}
            for i, box in enumerate(boxes)
        ],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder, [[3, 2, 23, 12], [5, 30, 13, 39]]


def write_open_images(folder):
    (folder / "images/train").mkdir(parents=True)
    image = np.full((40, 60, 3), 90, np.uint8)
    cv2.imwrite(str(folder / "images/train/00000000000000aa.jpg"), image)
    names = "LabelName,DisplayName\n/m/01yrx,Cat\n"
    (folder / "oidv7-class-descriptions-boxable.csv").write_text(names)
    header = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,"
    rows = ["00000000000000aa,xclick,/m/01yrx,1,0.1,0.4,0.25,0.5,0,0,0,0,0"]
    table = [f"{header}IsGroupOf,IsDepiction,IsInside", *rows]
    (folder / "oidv6-train-annotations-bbox.csv").write_text("\n".join(table) + "\n")
    masks = "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks"
    (folder / "train-annotations-object-segmentation.csv").write_text(f"{masks}\n")
    return folder, [[10, 6, 20, 24]]


FORMATS = {
    "voc": (write_voc, {}),
    "yolo": (write_yolo, {}),
    "coco": (write_coco, {}),
    "open_images": (write_open_images, {"box_only": "fill", "classes": ["Cat"]}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_datasets_of_boxes_alone(name, tmp_path):
    """The boxes that a Faster R-CNN is trained on are those of the file, and no mask is claimed."""
    write, options = FORMATS[name]
    folder, boxes = write(tmp_path)
    dataset = open_dataset(folder, format=name, **options)
    assert dataset.class_names == ["BG", "Cat" if name == "open_images" else "cat"]
    assert dataset.image_has_masks(0).tolist() == [False] * len(boxes)
    assert dataset.subset([0]).image_has_masks(0).tolist() == [False] * len(boxes)
    assert not measures_masks(None, dataset)
    config = tiny_config(USE_MASK=False, NUM_CLASSES=2, IMAGES_PER_GPU=1)
    (inputs,) = TrainingBatches(dataset, config, seed=0)[0]
    assert len(inputs) == 6  # image, meta, two of the RPN, class ids and boxes
    assert inputs[4].tolist() == [[1] * len(boxes) + [0] * (4 - len(boxes))]
    # 40 x 60 in 64 x 64: scaled by 64 / 60, with 10 or 11 rows above.
    scaled = np.array(boxes) * 64 / 60 + [10.5, 0, 10.5, 0]
    assert np.abs(inputs[5][0, : len(boxes)] - scaled).max() <= 1.5
