"""The page about an evaluation of label maps."""

import re

import cv2
import numpy as np
import pytest

from mrcnn.datasets import LabelImageDataset, load_label_map
from mrcnn.evaluation.label_maps import LabelReport, count_pixels
from mrcnn.evaluation.label_page import save_label_page

NAMES = ["sky", "<b>road</b>", "car"]


@pytest.fixture
def dataset(tmp_path):
    """Three images of 20 x 20 pixels: half sky, half road; the last one is void."""
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for number in range(3):
        labels = np.zeros((20, 20), np.uint8)
        labels[10:] = 1
        labels[:] = 255 if number == 2 else labels
        cv2.imwrite(str(tmp_path / "data" / "images" / f"{number}.png"), labels)
        cv2.imwrite(str(tmp_path / "data" / "labels" / f"{number}.png"), labels)
    return LabelImageDataset.from_path(tmp_path / "data", classes=NAMES)


def predict(image):
    """Take a quarter of the sky for a car."""
    labels = np.zeros((20, 20), np.uint8)
    labels[10:] = 1
    labels[:5, :10] = 2
    return labels


def save(dataset, folder, predictor=predict, **options):
    images = {
        i: LabelReport(NAMES, count_pixels(predict(None), load_label_map(dataset, i), 3))
        for i in dataset.image_ids
    }
    counts = sum(one.counts for one in images.values())
    path = save_label_page(
        LabelReport(NAMES, counts), images, dataset, predictor, folder, **options
    )
    return path.read_text(encoding="utf-8")


def table(html, section):
    """Return the texts of the cells of the first table of a section."""
    part = html[html.index(f'<section id="{section}">') :]
    rows = re.findall(r"<tr[ >].*?</tr>", part[: part.index("</table>")], re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[re.sub("<[^>]*>", "", cell).strip() for cell in row] for row in cells]


def test_figures_of_classes_and_confusions(dataset, tmp_path):
    html = save(dataset, tmp_path / "page", facts={"Weights": "<unet>"}, settings={"NAME": "u"})
    road = "&lt;b&gt;road&lt;/b&gt;"
    assert table(html, "classes")[1:] == [
        ["sky", "50.0 %", "0.750", "0.750", "0.857"],
        [road, "50.0 %", "1.000", "1.000", "1.000"],
        ["car", "0.0 %", "-", "0.000", "0.000"],
        ["mean", "", "0.875", "0.583", "0.619"],
    ]
    matrix = table(html, "confusion")
    assert matrix[0][1:] == ["sky", road, "car"]
    assert matrix[1:] == [["sky", "75.0", "", "25.0"], [road, "", "100.0", ""], ["car", "", "", ""]]
    assert ">25.0 %</td><td>100.0 %</td>" in html  # of the class, and of all errors
    assert "<b>road" not in html and "<unet>" not in html
    assert "All 1 settings" in html or "settings of the model" in html


def test_images_are_ranked_and_void_ones_are_not(dataset, tmp_path):
    html = save(dataset, tmp_path, num_worst=1, num_best=1)
    assert html.count("data:image/jpeg") == 2
    assert html.index("<b>0.png</b>") < html.index("The best") < html.index("<b>1.png</b>")
    assert "2.png" not in html and "1 image of void pixels alone is not ranked" in html
    assert "mean IoU 0.583, pixel accuracy 0.875" in html
    assert "http" not in html.replace("http-equiv", "")


def test_what_cannot_be_drawn_or_read_is_said(dataset, tmp_path):
    def fail(image):
        raise ValueError("no <memory>")

    html = save(dataset, tmp_path, fail, failures=[("a.png", "cut")] * 25, notes=["few & old"])
    assert html.count("Cannot be drawn: no &lt;memory&gt;") == 2
    assert html.count("<b>a.png</b>: cut") == 20 and "and 5 more" in html
    assert "25 images could not be read and are in none of the figures" in html
    assert "few &amp; old" in html


def test_perfect_labels_have_no_confusions(dataset, tmp_path):
    report = LabelReport(NAMES, np.diag([5, 6, 0]))
    html = save_label_page(report, {}, dataset, predict, tmp_path).read_text()
    assert "Every pixel has its class." in html and "<figure" not in html


def test_a_file_is_no_folder(dataset, tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(ValueError, match=r"folder is .*, which is a file; it must be"):
        save_label_page(LabelReport(NAMES, np.zeros((3, 3), int)), {}, dataset, predict, path)
