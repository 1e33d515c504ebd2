"""`mrcnn evaluate`: classes matched by name, figures written."""

import json

import numpy as np
import pytest


def coco_folder(folder):
    """Two images of 40 x 60 with the fake model's dog in them, and no cat."""
    import cv2

    images, annotations = [], []
    for number in (1, 2):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((40, 60, 3), 90, np.uint8))
        images.append({"id": number, "file_name": f"{number}.png", "height": 40, "width": 60})
        box = [30, 20, 30, 20]
        corners = [[30, 20, 60, 20, 60, 40, 30, 40]]
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 5,
                "bbox": box,
                "area": 600,
                "iscrowd": 0,
                "segmentation": corners,
            }
        )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 5, "name": "dog"}],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def test_perfect_detections_have_ap_1(run, fake_model, weights, tmp_path):
    data = tmp_path / "coco"
    data.mkdir()
    coco_folder(data)
    code, out, _ = run(
        *("evaluate", data, "--weights", weights),
        *("--output", tmp_path / "o" / "figures.json", "--results", tmp_path / "r" / "found.json"),
    )
    assert code == 0
    assert ": 2 images" in out
    assert fake_model.built[0].config.DETECTION_MIN_CONFIDENCE == 0.0
    figures = json.loads((tmp_path / "o" / "figures.json").read_text())
    assert figures["box_AP"] == pytest.approx(1.0)
    assert figures["mask_AP"] == pytest.approx(1.0)
    found = json.loads((tmp_path / "r" / "found.json").read_text())
    assert [(e["image_id"], e["category_id"]) for e in found] == [(1, 5), (2, 5)]


def test_limit(run, fake_model, weights, tmp_path):
    data = tmp_path / "coco"
    data.mkdir()
    coco_folder(data)
    code, out, _ = run("evaluate", data, "--weights", weights, "--limit", 1)
    assert code == 0
    assert "COCO evaluation: 1 images" in out


def test_refiner(run, fake_model, weights, tmp_path, monkeypatch):
    monkeypatch.setattr("mrcnn.refinement.open_refiner", lambda name: f"opened {name}")
    data = tmp_path / "coco"
    data.mkdir()
    coco_folder(data)
    code, out, _ = run("evaluate", data, "--weights", weights, "--refine", "motorcycle")
    assert code == 0 and "Refiner   motorcycle" in out.splitlines()
    assert fake_model.built[0].refiner == "opened motorcycle"
