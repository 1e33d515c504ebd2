"""What the benchmarks make of the times they have measured."""

import argparse
import importlib
import json
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


def test_the_comparison_of_steps(benchmark, monkeypatch, capsys, tmp_path):
    module, stopped = benchmark("training"), []

    def stepper(name, seconds):
        class Steps:
            def __init__(self, *args):
                self.left = list(seconds)

            def __call__(self):
                return self.left.pop(0)

            def stop(self):
                stopped.append((name, self.left))

        return Steps

    monkeypatch.setattr(module, "OwnSteps", stepper("mrcnn", (9.0, 1.0, 1.5, 2.0)))
    monkeypatch.setattr(module, "PeerSteps", stepper("torchvision", (9.0, 2.0, 3.0, 4.0)))
    arguments = argparse.Namespace(
        warm_steps=1,
        steps=3,
        threads=2,
        precision=None,
        peer_python="python",
        json=tmp_path / "report.json",
    )
    module.compare(arguments)
    assert stopped == 2 * [("mrcnn", []), ("torchvision", [])]
    printed = capsys.readouterr().out
    assert "step 4 of 4: mrcnn float32 2.00 s, torchvision float32 4.00 s, mrcnn" in printed
    assert (
        "mrcnn float32              1.50 s, least   1.00; torchvision float32 takes 2.00" in printed
    )
    rows = json.loads((tmp_path / "report.json").read_text())["steps"]
    assert [row["torchvision bfloat16"] for row in rows] == [2.0, 1.0, 2.0, 1.0]


class FakeWorker:
    """Answers as a process that detects in turns."""

    def __init__(self, seconds):
        self.left = [*seconds, 0.25]  # the first answer only warms up

    def ask(self, do, **options):
        if do == "prepare":
            return {"objects": 10}
        seconds = self.left.pop()
        return {"decode": 0.001, "all": seconds, "bare": seconds / 2}


def test_the_table_of_detection_has_the_least(benchmark, monkeypatch, capsys, tmp_path):
    module = benchmark("inference")
    monkeypatch.setattr(module.os, "getloadavg", lambda: (4.0, 0.0, 0.0))
    arguments = argparse.Namespace(rounds=3, threads=2, json=None)
    tables = module.Benchmark(arguments, tmp_path)
    workers = {"keras:float32": FakeWorker((0.1, 0.3, 0.2))}
    rows = tables._measure(workers, {"photo": "photo.jpg"})
    tables._table("small", "small, milliseconds", rows)
    assert (rows[0]["seconds"]["all"], rows[0]["least_seconds"]) == (0.2, 0.1)
    heading, line, load, disturbed = capsys.readouterr().out.splitlines()[-4:]
    assert heading.split()[:3] == ["decode", "all", "least"]
    assert line.split()[:4] == ["keras:float32", "1.0", "200.0", "100.0"]
    assert load == "load average 4.0 to 4.0"
    assert disturbed == (
        "disturbed: load average 4.0 with 2 threads, keras:float32 2.00 times its least"
    )
    (run,) = tables.report["small"]["runs"]
    assert run["loads"] == 4 * [4.0] and len(run["disturbed"]) == 2


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


def test_refused_uploads_are_counted_with_their_sentences(benchmark, monkeypatch, capsys):
    serve = benchmark("serve")
    numbers = iter(range(40))

    def upload(address, data):
        refused = next(numbers) >= 32
        return (429, 0.5, "too many") if refused else (200, 2.0, "{}")

    monkeypatch.setattr(serve, "upload", upload)
    serve.measure_together("http://here/", b"", 40)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("40 at once       statuses {200: 32, 429: 8}, all in ")
    assert first.endswith("those with 200: median 2.00 s, longest 2.00 s")
    assert second == "    8 times 429: too many"


def test_the_photograph_of_the_service_has_a_common_size(benchmark):
    import cv2
    import numpy as np

    data = np.frombuffer(benchmark("serve").photograph(), np.uint8)
    assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape == (480, 640, 3)
