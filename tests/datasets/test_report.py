"""check() and summary()."""

import json

import numpy as np
import pytest
from PIL import Image

from mrcnn.datasets import Dataset, require_learnable
from mrcnn.datasets.problems import Problem
from mrcnn.datasets.report import check_dataset, summarize_dataset
from tests.datasets.made_up import box, write_picture


class Made(Dataset):
    """One image a case: masks and class ids, or an error to raise."""

    def add(self, path, masks=None, class_ids=None, **kwargs):
        answer = masks if isinstance(masks, Exception) else (masks, np.array(class_ids, np.int32))
        self.add_image("toy", len(self.image_info), str(path), answer=answer, **kwargs)

    def load_mask(self, image_id):
        answer = self.image_info[image_id]["answer"]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def dataset(tmp_path):
    dataset = Made()
    dataset.add_class("toy", 1, "cat")
    dataset.add_class("toy", 2, "dog")
    dataset.folder = tmp_path
    write_picture(tmp_path / "a.png")  # 8 x 10
    return dataset


GOOD = np.stack([box(8, 10, 1, 1, 5, 5), box(8, 10, 0, 0, 8, 10)], -1)
CASES = [
    ("good", "a.png", GOOD, [1, 2], {}, set()),
    ("crowd", "a.png", GOOD, [1, -2], {}, set()),
    ("all crowds", "a.png", GOOD, [-1, -2], {}, {"error nothing_to_learn"}),
    ("missing", "gone.png", GOOD, [1, 2], {}, {"error missing_file"}),
    ("broken", "broken.png", GOOD, [1, 2], {}, {"error undecodable"}),
    ("recorded size", "a.png", GOOD, [1, 2], {"height": 8, "width": 9}, {"error size_mismatch"}),
    ("failing", "a.png", RuntimeError("no"), None, {}, {"error mask_failed"}),
    ("flat", "a.png", GOOD[..., 0], [1], {}, {"error mask_format"}),
    ("size", "a.png", GOOD[:, :9], [1, 2], {}, {"error mask_size"}),
    ("count", "a.png", GOOD, [1], {}, {"error mask_count"}),
    ("background id", "a.png", GOOD, [0, 1], {}, {"error class_id"}),
    ("high id", "a.png", GOOD, [3, 1], {}, {"error class_id"}),
    ("empty mask", "a.png", GOOD & False, [1, 2], {}, {"error empty_mask"}),
    ("line", "a.png", box(8, 10, 0, 0, 1, 10)[..., None], [1], {}, {"warning small_box"}),
    ("negative", "a.png", GOOD[..., :0], [], {}, {"note negative", "warning no_instances"}),
    ("dropped", "a.png", GOOD, [1, 2], {"dropped": 3}, {"warning dropped"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "file", "masks", "class_ids", "extra", "expected"), CASES, ids=[c[0] for c in CASES]
)
def test_problems(dataset, name, file, masks, class_ids, extra, expected):
    (dataset.folder / "broken.png").write_bytes(b"\x89PNG broken")
    dataset.add(dataset.folder / file, masks, class_ids, **extra)
    dataset.prepare()
    report = dataset.check()
    found = {f"{p.severity} {p.kind}" for p in report.problems} - {"note unused_classes"}
    assert found == expected
    assert report.ok == (not any(e.startswith("error") for e in expected))
    for problem in report.problems:
        if problem.image_id is not None:
            assert problem.image_id == 0
            assert problem.reference == str(dataset.folder / file)


def test_tables(dataset):
    dataset.add_class("toy", 3, "cat")
    dataset.add_class("other", 1, "bird")
    dataset.add_image("toy", 5, str(dataset.folder / "a.png"), answer=(GOOD, np.array([1, 4])))
    dataset.add_image("toy", 5, str(dataset.folder / "a.png"), answer=(GOOD, np.array([1, 2])))
    dataset.add_image("odd", 5, str(dataset.folder / "a.png"), answer=(GOOD, np.array([1, 2])))
    dataset.prepare()
    report = dataset.check()
    assert [(p.severity, p.kind, p.image_id) for p in report.problems] == [
        ("warning", "duplicate_class", None),
        ("error", "source_without_classes", None),
        ("warning", "duplicate_image", None),
        ("error", "inactive_class", 0),  # a bird of the other source on an image of "toy"
        ("note", "unused_classes", None),
    ]
    assert "1 class has no instance: cat" in report.problems[-1].message


def test_nothing_at_all():
    report = Dataset().check()
    assert [p.kind for p in report.problems] == ["no_images", "no_classes"]
    assert not report.ok and report.num_checked == 0


def test_orientation_is_reported_unless_followed(dataset):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = dataset.folder / "turned.png"
    Image.new("RGB", (10, 8)).save(path, exif=exif)
    dataset.add(path, GOOD, [1, 2])
    dataset.prepare()
    assert [p.kind for p in dataset.check().problems] == ["orientation"]
    assert [p.kind for p in dataset.subset([0]).check().problems] == ["orientation"]
    dataset.exif_orientation = True
    assert [p.kind for p in dataset.check().problems] == ["mask_size"]


def test_max_images_are_spread(dataset):
    for _ in range(10):
        dataset.add(dataset.folder / "gone.png", GOOD, [1, 2])
    dataset.prepare()
    report = dataset.check(max_images=3)
    assert (report.num_images, report.num_checked) == (10, 3)
    assert [p.image_id for p in report.problems if p.kind == "missing_file"] == [0, 4, 9]
    assert dataset.check(max_images=99).num_checked == 10
    with pytest.raises(ValueError, match="max_images is 0"):
        dataset.check(max_images=0)


def test_report_as_text_and_json(dataset):
    dataset.add(dataset.folder / "a.png", GOOD, [1, 2])
    dataset.prepare()
    report = dataset.check()
    assert str(report) == "1 of 1 image checked, 2 instances: no problem"
    dataset.add(dataset.folder / "gone.png", GOOD, [1, 2])
    report = dataset.check()
    assert str(report).splitlines()[0] == "2 of 2 images checked, 4 instances: 1 error"
    assert "gone.png: the image is missing [missing_file]" in str(report)
    content = json.loads(json.dumps(report.to_dict()))
    assert content["ok"] is False and content["problems"][0]["kind"] == "missing_file"


def test_summary(dataset):
    dataset.add(dataset.folder / "a.png", GOOD, [1, 1])
    dataset.add(dataset.folder / "a.png", GOOD, [1, -2])
    dataset.add(dataset.folder / "a.png", GOOD[..., :0], [])
    dataset.prepare()
    summary = dataset.summary()
    assert summary.to_dict() == {
        "num_images": 3,
        "num_negatives": 1,
        "num_instances": 4,
        "num_crowds": 1,
        "classes": {
            "cat": {"instances": 3, "images": 2},
            "dog": {"instances": 1, "images": 1},
        },
    }
    assert str(summary) == (
        "3 images, 1 without instances; 4 instances, 1 of them crowds\n"
        "class  instances  images\n"
        "cat            3       2\n"
        "dog            1       1"
    )


def test_something_to_learn(dataset):
    dataset.prepare()
    with pytest.raises(ValueError, match="no instance to learn from: none of 0 images has one"):
        require_learnable(dataset)
    dataset.add(dataset.folder / "a.png", GOOD, [-1, -2])
    dataset.add(dataset.folder / "a.png", ValueError("broken"))
    dataset.prepare()
    with pytest.raises(ValueError, match="no instance to learn from: 2 of 2 are crowds"):
        require_learnable(dataset)
    assert dataset.summary().num_unreadable == 1
    assert "2 images, 0 without instances, 1 unreadable; 2 instances" in str(dataset.summary())
    dataset.add(dataset.folder / "a.png", GOOD, [-1, 2])
    dataset.prepare()
    require_learnable(dataset)


def test_classes_of_one_name_stay_apart_in_the_summary(dataset):
    dataset.add_class("toy", 3, "cat")
    dataset.add_class("other", 1, "dog")
    dataset.add(dataset.folder / "a.png", GOOD, [1, 3])
    dataset.prepare()
    counts = {name: count.instances for name, count in dataset.summary().classes.items()}
    assert counts == {"cat (toy.1)": 1, "dog (toy)": 0, "cat (toy.3)": 1, "dog (other)": 0}


def test_problems_are_printable():
    text = str(Problem("error", "kind", "\x1b[2J", reference="a\x07.png"))
    assert text == "error: a\\x07.png: \\x1b[2J [kind]"


def rectangles(count):
    masks = np.zeros((16, 8 * count, count), bool)
    for number in range(count):
        masks[2:10, 8 * number : 8 * number + 5, number] = True
    return masks


@pytest.mark.parametrize(
    ("filled", "total", "expected"),
    [(9, 9, None), (10, 10, "warning"), (11, 20, "warning"), (10, 20, "note"), (0, 20, None)],
)
def test_masks_made_from_boxes(dataset, filled, total, expected):
    write_picture(dataset.folder / "wide.png", 16, 8 * total)
    masks = rectangles(total)
    masks[2, :, filled:] = False
    masks[2, ::2, filled:] = rectangles(total)[3, ::2, filled:]  # every second pixel of a row
    dataset.add(dataset.folder / "wide.png", masks, [1] * total)
    dataset.prepare()
    report = dataset.check()
    assert report.num_rectangles == report.to_dict()["num_rectangles"] == filled
    found = [p for p in report.problems if p.kind == "rectangles"]
    assert [p.severity for p in found] == ([expected] if expected else [])
    if found:
        assert found[0].message.startswith(f"{filled} of {total} masks fill their boxes")


def test_crowds_and_tiny_masks_are_no_rectangles(dataset):
    masks = np.stack([box(8, 10, 0, 0, 3, 5), box(8, 10, 0, 0, 8, 10)], -1)  # 15 pixels; a crowd
    dataset.add(dataset.folder / "a.png", masks, [1, -1])
    dataset.prepare()
    report = dataset.check()
    assert report.num_rectangles == 0
    assert report.boxes.tolist() == [[0, 0, 3, 5]]
    assert report.box_image_sizes.tolist() == [[8, 10]]


def test_boxes_of_all_images(dataset):
    dataset.add(dataset.folder / "a.png", GOOD, [1, 2])
    dataset.add(dataset.folder / "a.png", GOOD[..., :0], [])
    dataset.add(dataset.folder / "a.png", GOOD[..., :1], [1])
    dataset.prepare()
    report = dataset.check()
    assert report.boxes.tolist() == [[1, 1, 5, 5], [0, 0, 8, 10], [1, 1, 5, 5]]
    assert report.box_image_sizes.tolist() == [[8, 10]] * 3


def test_similar_classes(dataset):
    for number, name in enumerate(["Cat", "motorcycle", "motorcylce"], start=3):
        dataset.add_class("toy", number, name)
    dataset.add(dataset.folder / "a.png", GOOD, [1, 2])
    dataset.prepare()
    found = [p for p in dataset.check().problems if p.kind == "similar_classes"]
    assert [(p.severity, p.message) for p in found] == [
        ("warning", "the classes 'cat' and 'Cat' may be one: they differ by case or spaces"),
        ("note", "the classes 'motorcycle' and 'motorcylce' may be one: they differ by one letter"),
    ]


@pytest.mark.parametrize(
    ("cats", "expected"), [(21, ["1 class has fewer than 10 instances: dog 1"]), (20, [])]
)
def test_rare_classes(dataset, cats, expected):
    dataset.add(dataset.folder / "a.png", np.repeat(GOOD[..., :1], cats + 1, 2), [1] * cats + [2])
    dataset.prepare()
    found = [p.message for p in dataset.check().problems if p.kind == "rare_classes"]
    assert found == expected


BROKEN_FILES = {
    "cut.jpg": lambda data: data[:-40],
    "cut.png": lambda data: data[:-40],
    "damaged.png": lambda data: data[:60] + bytes(9) + data[69:],
    "cut.bmp": lambda data: data[:-40],
    "cut.webp": lambda data: data[:-40],
    "text.jpg": lambda data: b"no image",
    "empty.png": lambda data: b"",
}


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("name", BROKEN_FILES)
def test_broken_files_are_found_with_and_without_decoding(dataset, name, decode):
    path = dataset.folder / name
    noise = np.random.default_rng(0).integers(0, 255, (8, 10, 3), np.uint8)
    Image.fromarray(noise).save(path)
    dataset.add(path, GOOD, [1, 2])
    dataset.prepare()
    assert check_dataset(dataset, decode=decode).problems == []
    path.write_bytes(BROKEN_FILES[name](path.read_bytes()))
    report = check_dataset(dataset, decode=decode)
    assert [p.kind for p in report.problems] == ["undecodable"]
    assert str(report.problems[0]).startswith(f"error: {path}: it is not an image that can be ")


def test_without_decoding_only_custom_images_are_loaded(dataset, monkeypatch):
    dataset.add(dataset.folder / "a.png", GOOD, [1, 2])
    dataset.prepare()
    loaded = []
    monkeypatch.setattr("mrcnn.datasets.image_files.read_image", lambda *a, **k: loaded.append(a))
    assert check_dataset(dataset, decode=False).ok
    assert check_dataset(dataset.subset([0]), decode=False).ok
    assert loaded == []

    class Painted(Made):
        def load_image(self, image_id):
            loaded.append(image_id)
            return np.zeros((8, 10, 3), np.uint8)

    painted = Painted()
    painted.add_class("toy", 1, "cat")
    painted.add("no file", GOOD[..., :1], [1])
    painted.prepare()
    report = check_dataset(painted, decode=False)
    assert report.ok and report.digests == {} and loaded == [0]


def test_digests_tell_files_apart(dataset):
    write_picture(dataset.folder / "b.png")
    Image.new("RGB", (10, 8)).save(dataset.folder / "c.png")
    for name in ("a.png", "b.png", "c.png"):
        dataset.add(dataset.folder / name, GOOD, [1, 2])
    dataset.prepare()
    a, b, c = dataset.check().digests.values()
    assert a == b != c


def test_progress_passes_the_numbers_on(dataset):
    for _ in range(5):
        dataset.add(dataset.folder / "a.png", GOOD, [1, 2])
    dataset.prepare()
    seen = []

    def progress(numbers):
        for number in numbers:
            seen.append(number)
            yield number

    assert check_dataset(dataset, 3, progress=progress).num_checked == 3
    assert seen == [0, 2, 4]
    assert summarize_dataset(dataset, progress).num_images == 5
    assert seen[3:] == [0, 1, 2, 3, 4]


def test_classes_without_instances_are_one_line(dataset):
    for number in range(3, 30):
        dataset.add_class("toy", number, f"thing {number}")
    dataset.add(dataset.folder / "a.png", GOOD, [1, 1])
    dataset.prepare()
    lines = str(dataset.summary()).splitlines()
    assert lines[:3] == [
        "1 image, 0 without instances; 2 instances",
        "class  instances  images",
        "cat            2       1",
    ]
    assert lines[3].startswith("28 classes without instances: dog, thing 3, thing 4,")
    assert lines[3].endswith(", thing 21, ...") and len(lines) == 4
