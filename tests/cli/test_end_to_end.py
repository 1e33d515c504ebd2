"""The command line with the real network: recorded results, then train, resume and detect."""

import json

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.slow
NUM_IMAGES = 10


@pytest.fixture
def recorded(parity_dir):
    """What Matterport's package found in ten images with these weights."""
    return np.load(parity_dir / "shapes_trained_10_images.npz")


def test_detect_finds_what_matterports_package_found(run, parity_dir, recorded, tmp_path):
    weights = tmp_path / "shapes.h5"
    weights.symlink_to(parity_dir / "shapes_resnet50_trained.h5")
    settings = json.loads(str(recorded["config_json"]))
    names = ["BG", "square", "circle", "triangle"]
    description = {"config": settings, "class_names": names}
    weights.with_suffix(".json").write_text(json.dumps(description))
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(NUM_IMAGES):
        cv2.imwrite(str(photos / f"{i}.png"), recorded[f"image_{i}"][..., ::-1])

    code, out, _ = run("detect", photos, "--weights", weights, "--output", tmp_path / "out")

    assert code == 0, out
    entries = json.loads((tmp_path / "out" / "detections.json").read_text())
    for i in range(NUM_IMAGES):
        found = [e for e in entries if e["image_id"] == i]
        y1, x1, y2, x2 = recorded[f"detect_rois_{i}"].T
        expected = np.stack([x1, y1, x2 - x1, y2 - y1], axis=1)
        found_ids = [e["category_id"] for e in found]
        assert sorted(found_ids) == sorted(recorded[f"detect_class_ids_{i}"].tolist())
        # Scores that are almost equal may change places.
        boxes = np.array(sorted(e["bbox"] for e in found))
        np.testing.assert_allclose(boxes, sorted(expected.tolist()), atol=1)
        scores = sorted(e["score"] for e in found)
        np.testing.assert_allclose(scores, np.sort(recorded[f"detect_scores_{i}"]), atol=2e-3)


def test_train_resume_and_detect(run, tmp_path, monkeypatch, run_eagerly):
    monkeypatch.chdir(tmp_path)
    train = (
        *("train", "6", "--format", "shapes", "--image-size", 64, "--steps", 1),
        *("--batch-size", 1, "--seed", 1),
    )
    code, out, err = run(
        *train, "--weights", "none", "--backbone", "squeezenet", "--epochs", 1, "--layers", "all"
    )
    assert code == 0, err
    code, out, err = run(*train, "--resume", "--epochs", 2)
    assert code == 0, err
    assert "Continuing from" in out
    (folder,) = (tmp_path / "logs").iterdir()
    written = {path.name for path in folder.iterdir()}
    assert {"mask_rcnn_shapes_0002.h5", "best.h5", "config.json"} <= written
    assert "mask_rcnn_shapes_0001.h5" not in written  # --keep 1

    cv2.imwrite("a.png", np.zeros((50, 70, 3), np.uint8))
    checkpoint = folder / "mask_rcnn_shapes_0002.h5"
    code, out, err = run("detect", "a.png", "--weights", checkpoint, "--min-confidence", 0)
    assert code == 0, err
    assert "squeezenet, 3 classes, 64x64" in out
    assert (tmp_path / "detections" / "a.jpg").exists()
    assert (tmp_path / "detections" / "detections.json").exists()
