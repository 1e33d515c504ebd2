"""`benchmarks/refinement.py apply`: a folder of images and saved masks, refined and measured."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mrcnn.refinement import load_motorcycle_pairs, train_refiner


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).parents[2] / "benchmarks/refinement.py"
    spec = importlib.util.spec_from_file_location("refinement_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Filler:
    """Stands in for a refiner: every mask becomes the left half of the image."""

    def refine(self, image, mask_probs):
        refined = np.full_like(mask_probs, 0.25)
        refined[:, : image.shape[1] // 2] = 0.75
        return refined


@pytest.fixture
def folder(tmp_path):
    """Three images of 8 x 8; "c" has no true mask, "b" no first mask."""
    for part in ("images", "masks", "float_masks", "first_masks"):
        (tmp_path / part).mkdir()
    truth = np.zeros((8, 8), np.uint8)
    truth[:, :4] = 255
    given = np.zeros((8, 8), np.uint8)
    given[:4, :4] = 255
    for name in "abc":
        cv2.imwrite(str(tmp_path / "images" / f"{name}_image.jpg"), np.zeros((8, 8, 3), np.uint8))
        cv2.imwrite(str(tmp_path / "float_masks" / f"{name}_.jpg"), given)
        if name != "c":
            cv2.imwrite(str(tmp_path / "masks" / f"{name}_mask.png"), truth)
        if name != "b":
            cv2.imwrite(str(tmp_path / "first_masks" / f"{name}_.jpg"), given)
    return tmp_path


def test_masks_and_figures_are_written(benchmark, folder, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "open_refiner", lambda name: Filler())
    out = folder / "out"
    arguments = benchmark.build_parser().parse_args(
        ["apply", "r.h5", str(folder), "--out", str(out)]
    )
    arguments.run(arguments)
    expected = np.repeat([[255] * 4 + [0] * 4], 8, axis=0)
    for name in "abc":
        mask = cv2.imread(str(out / "refined_masks" / f"{name}_mask.png"), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(mask, expected)
        grey = cv2.imread(str(out / "refined_float_masks" / f"{name}_.png"), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(grey, np.where(expected, 191, 64))
    content = json.loads((out / "refinement.json").read_text())
    summary = content["summary"]["all"]
    assert (summary["images"], summary["before"], summary["after"]) == (2, 0.5, 1.0)
    assert (summary["improved"], summary["worsened"]) == (2, 0)
    assert content["summary"]["with a first mask"]["images"] == 1
    assert [row["name"] for row in content["images"]] == ["a", "b"]
    assert "3 masks refined, 2 of them with a true mask" in capsys.readouterr().out


def test_without_true_masks(benchmark, folder, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "open_refiner", lambda name: Filler())
    for path in (folder / "masks").iterdir():
        path.unlink()
    (folder / "masks").rmdir()
    arguments = benchmark.build_parser().parse_args(
        ["apply", "r.h5", str(folder), "--out", str(folder / "out")]
    )
    arguments.run(arguments)
    assert len(list((folder / "out" / "refined_masks").iterdir())) == 3
    assert not (folder / "out" / "refinement.json").exists()
    assert "0 of them with a true mask" in capsys.readouterr().out
    with pytest.raises(ValueError, match="a: mask is None; it must be known"):
        train_refiner(load_motorcycle_pairs(folder, need_masks=False))
