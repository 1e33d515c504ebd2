"""`mrcnn demo` with a fake model, on photographs of the installed libraries."""

import json
from pathlib import Path

import pytest
import skimage

from mrcnn.cli import demo

IMAGES = [
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "grace_hopper.jpg",
    "motorcycle_left.png",
]


def test_images_come_with_the_library():
    found, missing = demo.demo_images()
    assert sorted([*missing, *(path.name for path in found)]) == IMAGES
    assert all(path.is_file() for path in found)


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A scikit-image that has one of the images, in its cache, and a matplotlib without any."""
    import cv2
    import matplotlib
    import numpy as np
    import skimage.data

    package, cache = tmp_path / "skimage", tmp_path / "cache"
    package.mkdir()
    cache.mkdir()
    cv2.imwrite(str(cache / "chelsea.png"), np.full((20, 30), 90, np.uint8))
    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    monkeypatch.setattr(skimage.data, "__file__", str(package / "__init__.py"))
    monkeypatch.setattr(skimage.data, "data_dir", str(cache))
    return tmp_path


def test_demo_writes_what_detect_writes(run, fake_model, weights, library, monkeypatch):
    monkeypatch.chdir(library)
    code, out, err = run("demo", "--weights", weights)
    assert (code, err) == (0, "")
    assert "not found: motorcycle_left.png" in out and "not found: grace_hopper.jpg" in out
    assert "All on one sheet  demo_output/contact_sheet.jpg" in out
    assert "Results  demo_output" in out
    written = sorted(path.name for path in Path("demo_output").iterdir())
    assert written == [
        "chelsea.jpg",
        "contact_sheet.jpg",
        "detections.json",
        "detections.jsonl",
        "images.json",
    ]
    entries = json.loads(Path("demo_output/detections.json").read_text())
    assert [e["file_name"] for e in entries] == ["chelsea.png"] * 2


def test_demo_without_any_image(run, fake_model, weights, library, monkeypatch):
    monkeypatch.setattr(skimage.data, "data_dir", "nowhere")
    code, _, err = run("demo", "--weights", weights, "--output", library / "out")
    assert code == 2 and "without their sample photographs" in err
    assert fake_model.built == []
