"""What the benchmarks make of the times they have measured."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    """Return a function that imports a benchmark by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.mark.parametrize(
    "loads, seconds, expected",
    [
        ([1.0, 2.9], (1.0, 1.0), []),
        ([1.0, 3.0], (1.0, 1.0), ["load average 3.0 with 2 threads"]),
        ([0.5], (1.16, 1.0), ["keras:float32 1.16 times its least"]),
        ([0.5], (1.15, 1.0), []),
        ([9.0], (3, 2), ["load average 9.0 with 2 threads", "keras:float32 1.50 times its least"]),
    ],
)
def test_a_disturbed_run_is_recognized(benchmark, loads, seconds, expected):
    median, least = seconds
    rows = [{"engine": "keras:float32", "seconds": {"all": median}, "least_seconds": least}]
    assert benchmark("inference").disturbances(rows, loads, threads=2) == expected


def test_steps_are_compared_turn_by_turn(benchmark):
    seconds = {
        "mrcnn float32": [50, 1, 2, 4],
        "mrcnn bfloat16": [50, 1, 1, 1],
        "torchvision float32": [9, 2, 6, 4],
        "torchvision bfloat16": [9, 3, 3, 8],
    }
    first, second, peer, _ = benchmark("training").compared_rows(seconds, warm_steps=1)
    assert (first["name"], first["seconds"], first["least"]) == ("mrcnn float32", 2, 1)
    assert (first["torchvision float32"], first["torchvision bfloat16"]) == (2, 2)
    assert (second["torchvision float32"], second["torchvision bfloat16"]) == (4, 3)
    assert peer["torchvision float32"] == 1


def test_datasets_of_many_images(benchmark, monkeypatch, tmp_path):
    module = benchmark("large_dataset")
    monkeypatch.setattr(module, "LINKS", 2)
    module.write_dataset(tmp_path, 5)
    files = sorted((tmp_path / "images").iterdir())
    assert [file.stat().st_nlink for file in files] == [2, 2, 2, 2, 1]
    dataset = importlib.import_module("mrcnn.datasets").open_dataset(tmp_path)
    assert (dataset.num_images, dataset.num_classes) == (5, 3)
    masks, class_ids = dataset.load_mask(4)
    assert masks.shape == (60, 80, 2) and sorted(class_ids) == [1, 2]
