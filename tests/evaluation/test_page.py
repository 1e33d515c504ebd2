"""The page of an evaluation: its numbers are those of the report, its names are harmless."""

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from mrcnn.evaluation.coco import CocoEvaluator, evaluate_coco
from mrcnn.evaluation.html import format_threshold
from mrcnn.evaluation.page import save_page
from mrcnn.evaluation.report import CocoMetrics
from tests.evaluation.toys import HEIGHT, WIDTH, Detector, Rectangles, result

BOX, OTHER, THIRD = (0, 0, 20, 20), (10, 30, 30, 50), (30, 0, 40, 10)


class Page(HTMLParser):
    """The tables, texts, images and tags of a page."""

    def __init__(self, path):
        super().__init__()
        self.tables, self.images, self.tags, self.text = [], [], set(), ""
        self.in_cell = False
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.in_cell = True
        self.images += [value for name, value in attributes if tag == "img" and name == "src"]
        assert not [name for name, _ in attributes if name.startswith("on")]

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.in_cell = False

    def handle_data(self, data):
        self.text += data
        if self.in_cell:
            self.tables[-1][-1][-1] += data.strip()

    def table(self, *first):
        """The rows of the table whose heading begins so, by the first cell."""
        (found,) = [t for t in self.tables if tuple(t[0][: len(first)]) == first][:1]
        return {row[0]: row[1:] for row in found}


@pytest.fixture
def evaluator():
    """Cats: .9 right, .8 wrong, .7 right; of 3. A dog found as a cat. A crowd of cows."""
    dataset = Rectangles([[(1, BOX), (1, OTHER), (2, THIRD)], [(1, BOX), (-3, OTHER)], []])
    evaluator = CocoEvaluator(dataset)
    found = [(1, 0.9, BOX), (1, 0.8, BOX), (1, 0.7, OTHER), (1, 0.65, THIRD), (2, 0.6, THIRD)]
    evaluator.add(0, result(*found))
    return evaluator


def test_figures_are_those_of_the_report(evaluator, tmp_path):
    report = evaluator.summarize()
    page = Page(save_page(evaluator, tmp_path / "new" / "folder", report))
    masks, boxes = [t for t in page.tables if t[0][:3] == ["class", "objects", "detections"]]
    assert masks[0][3:] == CocoMetrics.names()
    for kind, table in (("mask", masks), ("box", boxes)):
        rows = {row[0]: row[1:] for row in table}
        values = [report[f"{kind}_{name}"] for name in CocoMetrics.names()]
        shown = ["-" if np.isnan(value) else f"{value:.3f}" for value in values]
        assert rows["mean of 2 classes"] == ["4", "5", *shown]
        assert rows["cat"][2] == f"{getattr(report.classes[0], kind).AP:.3f}"
        assert rows["dog"][:2] == ["1", "1"]
    assert f"{report.mask.AP:.3f}AP of masks" in re.sub(r"\s*\n\s*", "", page.text)


def test_best_thresholds_by_hand(evaluator, tmp_path):
    page = Page(save_page(evaluator, tmp_path))
    rows = page.table("class", "objects", "AP50", "best threshold")
    # Cats: 2 of 3 correct and 2 of 3 found above .65; all: 3 of 5 and 3 of 4.
    assert rows["cat"] == ["3", "0.554", "0.675", "0.667", "0.667", "0.667"]
    assert rows["dog"] == ["1", "1.000", "0.300", "1.000", "1.000", "1.000"]
    assert rows["all classes"] == ["4", "0.777", "0.300", "0.600", "0.750", "0.667"]
    assert "--min-confidence 0.300" in page.text
    assert "only 4 objects to choose it on" in page.text


@pytest.mark.parametrize("count, is_few", [(29, True), (30, False)])
def test_few_objects_make_the_threshold_uncertain(tmp_path, count, is_few):
    evaluator = CocoEvaluator(Rectangles([[(1, BOX)]] * count))
    for image_id in range(count):
        evaluator.add(image_id, result((1, 0.9, BOX)))
    page = Page(save_page(evaluator, tmp_path, num_worst=0, num_best=0))
    assert ("only 29 objects to choose it on" in page.text) == is_few
    assert ("on others it may be a little worse" in page.text) != is_few


def test_confusion_matrix_by_hand(evaluator, tmp_path):
    page = Page(save_page(evaluator, tmp_path))
    rows = page.table("true \\ detected")
    assert rows["true \\ detected"] == ["cat", "dog", "missed"]
    assert rows["cat"] == ["2", "", "1"]
    assert rows["dog"] == ["1", "", ""]  # the cat of a higher score took its place
    assert rows["nothing there"] == ["1", "1", ""]
    assert page.table("true class", "taken for")["dog"] == ["cat", "1", "100.0 %"]


def test_images_are_inlined_and_ranked(evaluator, tmp_path):
    page = Page(save_page(evaluator, tmp_path, num_worst=1))
    assert len(page.images) == 2  # the third shows nothing
    assert page.text.index("101") < page.text.index("2 of 3 objects found, 3 wrong detections")
    data = base64.b64decode(page.images[0].removeprefix("data:image/jpeg;base64,"))
    drawn = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape[0] > HEIGHT and drawn.shape[1] >= 2 * WIDTH
    assert "1 image with neither objects nor detections is not ranked" in page.text


def test_images_are_enlarged_without_a_script(evaluator, tmp_path):
    source = Page(save_page(evaluator, tmp_path)).source
    ids = re.findall(r'id="([^"]+)"', source)
    assert all(ids.count(f"worst-1{end}") == 1 for end in ("", "-large"))
    assert {"worst-1", "worst-1-large", "worst-2-large"} <= set(ids)
    links = re.findall(r'href="#([^"]+)"', source)
    assert {"worst-1", "worst-1-large"} <= set(links)


def test_the_page_needs_nothing_else(evaluator, tmp_path):
    page = Page(save_page(evaluator, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert not page.tags & {"script", "link", "iframe", "object", "base"}
    assert all(image.startswith("data:") for image in page.images)
    links = re.findall(r"""(?:href|src)="([^"]{1,40})""", page.source)
    assert links and all(link.startswith(("#", "data:")) for link in links)
    assert "url(http" not in page.source and "@import" not in page.source


NAMES = [
    *("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7*7 }}", "_x", r"$\frac{"),
    *("名前", "a\x1b[2J", "&lt;b&gt;", "x" * 500, "</style><b>", "]]>-->"),
]


class Named(Rectangles):
    """One image for each class."""

    def __init__(self, names):
        super().__init__([[(number, BOX)] for number in range(1, len(names) + 1)])
        for number in range(4, len(names) + 1):
            self.add_class("toy", 100 + number, "")
        for info, name in zip(self.class_info[1:], names, strict=True):
            info["name"] = name
        self.prepare()


@pytest.mark.filterwarnings("ignore:no installed font")
def test_names_are_harmless(tmp_path):
    dataset = Named(NAMES)
    for info, name in zip(dataset.image_info, NAMES, strict=True):
        info["path"] = f"/photos/{name.replace('/', '')}.jpg"
    evaluator = CocoEvaluator(dataset)
    for image_id in range(len(NAMES)):
        evaluator.add(image_id, result((image_id % 7 + 1, 0.9, BOX)))
    evaluator.leave_out(10, NAMES[0])
    facts = {"Weights": NAMES[0], NAMES[1]: NAMES[2]}
    path = save_page(evaluator, tmp_path, notes=NAMES, facts=facts, settings={NAMES[0]: NAMES[1]})
    page = Page(path)
    assert not page.tags & {"script", "b>", "x"}
    assert len(page.images) == 10
    rows = page.table("class", "objects", "detections")
    shown = [name.replace("\x1b", "\\x1b") for name in NAMES[:10]]
    assert list(rows)[1:-1] == shown
    for name in shown:
        assert page.text.count(name) >= 3
    assert page.table(NAMES[0]) == {NAMES[0]: [NAMES[1]]}


@pytest.mark.parametrize(
    ("pictures", "results", "expected"),
    [
        ([[], []], {}, "No image shows an object of the evaluated classes"),
        ([[], []], {0: [(1, 0.9, BOX)]}, "No image shows an object of the evaluated classes"),
        ([[(1, BOX)]], {}, "There is none, as no detection is correct"),
        ([[(1, BOX)]], {0: [(1, 0.9, OTHER)]}, "There is none, as no detection is correct"),
        ([[(-1, BOX)]], {}, "There are neither objects nor detections"),
        ([[(1, BOX)]], {0: [(1, 0.9, BOX)]}, "F1 1.000"),
    ],
    ids=["nothing", "no objects", "no detections", "all wrong", "a crowd", "perfect"],
)
def test_few_or_no_objects(tmp_path, pictures, results, expected):
    evaluator = CocoEvaluator(Rectangles(pictures))
    for image_id, found in results.items():
        evaluator.add(image_id, result(*found))
    page = Page(save_page(evaluator, tmp_path))
    assert expected in page.text
    has_objects = any(class_id > 0 for objects in pictures for class_id, _ in objects)
    assert ("svg" in page.tags) == (has_objects and bool(results))


def test_boxes_only(tmp_path):
    evaluator = CocoEvaluator(Rectangles([[(1, BOX)]]), masks=False)
    evaluator.add(0, result((1, 0.9, BOX)))
    page = Page(save_page(evaluator, tmp_path))
    assert "AP of boxes" in page.text and "AP of masks" not in page.text
    assert len(page.images) == 1


def test_many_classes_show_those_with_errors(tmp_path):
    evaluator = CocoEvaluator(Named([f"class {number}" for number in range(1, 101)]))
    for image_id in range(100):
        right = image_id != 40
        evaluator.add(image_id, result((image_id + 1 if right else 7, 0.9, BOX)))
    page = Page(save_page(evaluator, tmp_path))
    rows = page.table("true \\ detected")
    assert len(rows) == 1 + 20 + 1
    assert {"class 7", "class 41"} <= rows.keys()
    assert "Shown are the 20 of 100 classes with the most errors" in page.text
    assert len(page.table("class", "objects", "detections")) == 1 + 100 + 1
    assert len(page.images) == 12


def test_images_that_are_gone(evaluator, tmp_path):
    def fail(image_id):
        raise OSError("no such file <b>")

    evaluator.truth.dataset.load_image = fail
    page = Page(save_page(evaluator, tmp_path))
    assert page.images == [] and page.text.count("Cannot be drawn: no such file <b>") == 2


def test_ground_truth_without_images(tmp_path):
    images = [{"id": 7, "width": 60, "height": 40}]
    one = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 20, 20], "area": 400}
    content = {"images": images, "categories": [{"id": 1, "name": "cat"}], "annotations": [one]}
    page = Page(save_page(CocoEvaluator(content), tmp_path))
    assert "The images are not at hand" in page.text


def test_unreadable_images_and_facts_are_listed(evaluator, tmp_path):
    evaluator.leave_out(2, "truncated file")
    report = evaluator.summarize()
    facts = {"Weights": "best.h5", "Command": "mrcnn evaluate photos"}
    page = Page(save_page(evaluator, tmp_path, report, facts=facts, settings={"NAME": "pets"}))
    assert "1 image could not be read and is in none of the figures" in page.text
    assert "102: truncated file" in page.text
    rows = page.table("Weights")
    assert rows["Command"] == ["mrcnn evaluate photos"]
    assert re.search(r"numpy \d", rows["Versions"][0]) and "cores" in rows["Machine"][0]
    assert page.table("NAME") == {"NAME": ["pets"]}


def test_the_folder_is_a_file(evaluator, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="which is a file; it must be a folder"):
        save_page(evaluator, tmp_path / "file")
    with pytest.raises(ValueError, match="iou_threshold is 0"):
        save_page(evaluator, tmp_path, iou_threshold=0)


def test_a_page_of_an_evaluated_model(tmp_path):
    dataset = Rectangles([[(1, BOX)], [(2, OTHER)]])
    evaluator = CocoEvaluator(dataset)
    model = Detector({0: result((1, 0.9, BOX)), 1: result()})
    report = evaluate_coco(model, dataset, evaluator=evaluator, progress=False)
    page = Page(save_page(evaluator, tmp_path, report))
    assert "per image" in page.text and "0.500AP" in re.sub(r"\s*\n\s*", "", page.text)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.6, "0.600"), (0.6999, "0.699"), (np.float32(0.7), "0.700"), (1.0, "1.000"), (0.0, "0.000")],
)
def test_thresholds_are_rounded_down(value, text):
    assert format_threshold(value) == text
