"""`detect_many` and `mrcnn detect-many`: runs that are continued, and their errors. Without Ray."""

import importlib.util
import json
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrcnn.scaling import DetectionSummary, detect_many, many, packages, ray_pool
from mrcnn.scaling.plan import shard_file
from mrcnn.scaling.ray_pool import check_workers, share_cores
from tests.fake_model import describe
from tests.scaling.conftest import BROKEN, COUNT


def rows(output, name):
    return pq.read_table(output / name).to_pylist()


def sources(output):
    """The images of the results, sorted: those of images/ and of failed/."""
    found = rows(output, "images")
    found += rows(output, "failed") if os.listdir(output / "failed") else []
    return sorted(row["file_name"] for row in found)


ALL = [f"p{number}.jpg" for number in range(COUNT)]


def test_a_run_and_its_summary(folder, weights, here, tmp_path):
    output = tmp_path / "out"
    options = {"weights": weights, "shard_size": 3, "progress": False, "coco": True}
    summary = detect_many(folder, output, workers=3, threads=1, gpus=0.5, **options)
    assert summary == DetectionSummary(str(output), COUNT, COUNT - 1, 1, 2 * (COUNT - 1))
    assert (here.pool.workers, here.pool.gpus) == (3, 0.5)
    assert here.shards == [0, 1, 2] and sources(output) == ALL
    entries = json.loads((output / "detections.json").read_text())
    assert entries[0] == {
        "image_id": 1, "file_name": "p0.jpg", "category_id": 1, "category_name": "cat",
        "bbox": [0, 0, 30, 20], "score": 0.9, "area": 600,
        "segmentation": rows(output, "objects")[0]["segmentation"],
    }  # fmt: skip
    images = json.loads((output / "images.json").read_text())
    assert [image["id"] for image in images["images"]] == [1, 2, 3, 5, 6, 7]
    assert [image["file_name"] for image in images["failed"]] == [f"p{BROKEN}.jpg"]
    again = detect_many(folder, output, **options)
    assert again == summary and here.shards == [0, 1, 2]  # nothing was left


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_a_run_that_died_is_continued(folder, weights, here, tmp_path, stop):
    output = tmp_path / "out"
    here.stop_after = stop
    with pytest.raises(KeyboardInterrupt):
        detect_many(folder, output, weights=weights, shard_size=3, progress=False)
    here.stop_after = None
    summary = detect_many(folder, output, weights=weights, shard_size=3, progress=False)
    assert here.shards == [0, 1, 2] and summary.num_done + summary.num_failed == COUNT
    assert sources(output) == ALL


@pytest.mark.parametrize("moment", ["objects", "failed", "images"])
def test_a_kill_between_the_files_of_a_shard(
    folder, weights, here, tmp_path, monkeypatch, moment
):  # fmt: skip
    """Each image has one row, wherever between two files the process ended."""
    from mrcnn.scaling.places import ResultFolder

    output, whole = tmp_path / "out", ResultFolder.writing
    written = []

    def dies(self, name):
        if written and written[-1] == f"{moment}/{shard_file(1)}":
            raise KeyboardInterrupt
        written.append(name)
        return whole(self, name)

    monkeypatch.setattr(ResultFolder, "writing", dies)
    with pytest.raises(KeyboardInterrupt):
        detect_many(folder, output, weights=weights, shard_size=3, progress=False)
    monkeypatch.setattr(ResultFolder, "writing", whole)
    (folder / f"p{BROKEN}.jpg").write_bytes(b"no image")
    detect_many(folder, output, weights=weights, progress=False)
    assert sources(output) == ALL
    assert len(rows(output, "objects")) == 2 * (COUNT - 1)


def test_retry_failed_repeats_the_shards_with_failures(folder, weights, here, tmp_path):
    output, options = tmp_path / "out", {"weights": weights, "progress": False}
    path = folder / f"p{BROKEN}.jpg"
    good = (folder / "p1.jpg").read_bytes()
    path.write_bytes(good[:200] + b"\0" * (len(good) - 200))
    path.write_bytes(b"x" * len(good))
    assert detect_many(folder, output, shard_size=3, **options).num_failed == 1
    path.write_bytes(good)  # of the same size
    assert detect_many(folder, output, **options).num_failed == 1
    summary = detect_many(folder, output, retry_failed=True, **options)
    assert (summary.num_done, summary.num_failed) == (COUNT, 0)
    assert here.shards == [0, 1, 2, 1] and sources(output) == ALL
    assert os.listdir(output / "failed") == []


def test_files_that_do_not_fit_are_made_again_and_then_an_error(
    folder, weights, here, tmp_path, monkeypatch
):  # fmt: skip
    monkeypatch.setattr("mrcnn.scaling.plan.Plan.counts", lambda plan: {})
    with pytest.raises(RuntimeError, match=r"the files of shard 0 in .* do not fit its images"):
        detect_many(folder, tmp_path / "out", weights=weights, progress=False)
    assert here.shards == [0] * 3


def test_old_temporary_files_are_removed(folder, weights, here, tmp_path):
    old, new = (tmp_path / "out" / "images" / f".tmp-{name}.parquet" for name in "ab")
    old.parent.mkdir(parents=True)
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (0, 0))
    detect_many(folder, tmp_path / "out", weights=weights, progress=False)
    assert not old.exists() and new.exists()
    assert len(rows(tmp_path / "out", "images")) == COUNT - 1  # hidden files are not read


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers is 0; it must be a whole number of at least 1"),
        ({"workers": 1.5}, "workers is 1.5; it must be"),
        ({"threads": -1}, "threads is -1; it must be"),
        ({"threads": True}, "threads is True; it must be"),
        ({"gpus": -1}, "gpus is -1; it must be a number of GPUs from 0"),
        ({"gpus": float("nan")}, "gpus is nan; it must be"),
        ({"batch_size": 0}, "batch_size is 0; it must be"),
        ({"shard_size": 0}, "shard_size is 0; it must be"),
        ({"classes": "horse"}, "classes is 'horse'; it must name classes of the weights: cat, dog"),
        ({"column": "image"}, "column is image; it must not be given where no Parquet file"),
        ({"engine": "abacus"}, "engine is 'abacus'; it must be"),
        ({"refiner": "small"}, "refiner not found: small"),
        ({"precision": "float8"}, "precision is 'float8'; it must be"),
    ],
)
def test_bad_options(folder, weights, here, tmp_path, options, message):
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        detect_many(folder, tmp_path / "out", weights=weights, progress=False, **options)
    assert message in str(raised.value)


def test_another_confidence_and_other_weights_are_refused(
    folder, weights, here, tmp_path
):  # fmt: skip
    output = tmp_path / "out"
    detect_many(folder, output, weights=weights, progress=False)
    with pytest.raises(
        ValueError, match=r"other settings \(DETECTION_MIN_CONFIDENCE was .* 0\.3\)"
    ):
        detect_many(folder, output, weights=weights, min_confidence=0.3, progress=False)
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=r"other settings \(weights was '.*' and is '.*'\)"):
        detect_many(folder, output, weights=weights, progress=False)


def test_other_weights_on_a_machine_of_the_cluster_are_refused(weights):
    source = many.ModelSource(str(weights))
    pinned = source.pinned(source.describe())
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=r"has another content on this machine; it must be the"):
        pinned.load()


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, "general"), ({"refiner": None}, None), ({"refiner": "REFINER"}, "REFINER")],
)
def test_masks_are_refined_as_detect_refines_them(
    folder, weights, here, tmp_path, options, expected
):  # fmt: skip
    from tests.fake_model import FakeMaskRCNN

    refiner = tmp_path / "sharp.h5"
    refiner.write_bytes(b"x")
    options = {k: v and str(refiner) for k, v in options.items()}
    detect_many(folder, tmp_path / "out", weights="small", progress=False, **options)
    assert FakeMaskRCNN.built[-1].refiner == (str(refiner) if expected == "REFINER" else expected)
    detect_many(folder, tmp_path / "others", weights=weights, progress=False)
    assert FakeMaskRCNN.built[-1].refiner is None


def test_a_refiner_is_one_of_the_settings(folder, weights, here, tmp_path, monkeypatch):
    output, refiner = tmp_path / "out", tmp_path / "sharp.h5"
    refiner.write_bytes(b"x")
    options = {"weights": weights, "progress": False, "refiner": refiner}
    detect_many(folder, output, **options)
    with pytest.raises(ValueError, match=r"other settings \(refiner was '.*' and is nothing\)"):
        detect_many(folder, output, weights=weights, progress=False)
    monkeypatch.chdir(tmp_path)
    detect_many(folder, output, weights=weights, progress=False, refiner="sharp.h5")
    source = many.ModelSource(str(weights), refiner="sharp.h5")
    pinned = source.pinned(source.describe())
    assert pinned.refiner == str(refiner)
    refiner.write_bytes(b"y")
    with pytest.raises(ValueError, match=r"other settings \(refiner was '.*' and is '.*'\)"):
        detect_many(folder, output, **options)
    with pytest.raises(ValueError, match=r"sharp\.h5 has another content on this machine"):
        pinned.load()


def test_weights_that_find_no_objects(folder, weights, here, tmp_path):
    with pytest.raises(ValueError, match=r"must be a weight file, not an exported model"):
        path = tmp_path / "model.onnx"
        path.write_bytes(b"x")
        detect_many(folder, tmp_path / "out", weights=path, progress=False)
    with pytest.raises(FileNotFoundError, match="weight file not found"):
        detect_many(folder, tmp_path / "out", weights="gone.h5", progress=False)


def test_the_folder_of_another_process_and_a_file(folder, weights, here, tmp_path):
    source = many.ModelSource(str(weights))
    first = many.ManyRun(folder, tmp_path / "out", source)
    with pytest.raises(ValueError, match="into which another process writes; it must end first"):
        many.ManyRun(folder, tmp_path / "out", source)
    first.close()
    many.ManyRun(folder, tmp_path / "out", source).close()
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ValueError, match="which is a file; it must be a folder"):
        many.ManyRun(folder, tmp_path / "file", source)


@pytest.mark.parametrize(
    ("cores", "workers", "threads", "expected"),
    [
        (16, None, None, (8, 2)),
        (1, None, None, (1, 1)),
        (16, 3, None, (3, 5)),
        (16, None, 5, (3, 5)),
        (2, None, 8, (1, 8)),
        (2, 4, None, (4, 1)),
        (2, 4, 3, (4, 3)),
    ],
)
def test_workers_share_the_cores(cores, workers, threads, expected):
    assert share_cores(cores, workers, threads) == expected


def test_far_more_workers_than_cores():
    check_workers(None, 2)
    check_workers(16, 2)
    check_workers(256, 64)
    with pytest.raises(ValueError) as raised:
        check_workers(17, 2)
    assert str(raised.value) == (
        "workers is 17; it must be at most 16 on this machine, which has 2 CPU cores: each takes a "
        "core and over 1 GB of memory"
    )


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "ray" or None)
    with pytest.raises(ImportError) as raised:
        packages.check_packages()
    assert str(raised.value) == (
        "detection in several processes requires pyarrow, fsspec: pip install 'mrcnn-keras3[ray]'"
    )


def test_the_error_of_a_worker_comes_out_of_what_ray_wraps_it_in():
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    cause = FileNotFoundError(2, "No such file", "weights.h5")
    error = ray.exceptions.RayTaskError("work", "Traceback ...", cause).as_instanceof_cause()
    with pytest.raises(FileNotFoundError) as raised:
        ray_pool._raise_cause(error)
    assert raised.value is cause
    with pytest.raises(ray.exceptions.RayError, match="lost"):
        ray_pool._raise_cause(ray.exceptions.RayError("lost"))


# ---- the command ---------------------------------------------------------------------------------


def test_the_command(folder, weights, here, run, tmp_path):
    words = ["detect-many", folder, "--output", tmp_path / "out", "--weights", weights]
    words += ["--workers", 2, "--shard-size", 3, "--coco", "--classes", "dog"]
    code, out, err = run(*words)
    assert code == 1
    lines = out.splitlines()
    assert lines[0].startswith(f"Weights  {weights}")
    assert lines[1] == "Images   7 in 3 shards of up to 3 images"
    assert "Workers  2 processes with 1 thread each on this machine" in lines
    assert "6 images, 6 objects, 1 failed" in lines
    assert f"Results  {tmp_path}/out/objects, {tmp_path}/out/images" in lines
    assert f"Results  {tmp_path}/out/detections.json" in lines
    assert err.splitlines()[0] == "1 of 7 images failed:"
    assert f"{folder}/p{BROKEN}.jpg: not an image that can be decoded" in err
    code, out, _ = run(*words)
    assert code == 1 and "Skipped  7 with a result" in out
    (folder / f"p{BROKEN}.jpg").unlink()
    code, out, err = run(*words)
    assert code == 2 and f"1 file is gone ({folder}/p{BROKEN}.jpg)" in err


def test_the_command_names_the_refiner(folder, here, run, tmp_path):
    line = "Refiner  general (--no-refine leaves it out)"
    words = ["detect-many", folder, "--output", tmp_path / "out"]
    assert run(*words)[1].splitlines()[1] == line
    words = ["detect-many", folder, "--output", tmp_path / "plain", "--no-refine"]
    assert "Refiner" not in run(*words)[1]
    code, _, err = run(*words, "--refine", "general")
    assert code == 2 and "--refine is general; it must not be given together with" in err


def test_the_command_without_failures_is_quiet(folder, weights, here, run, tmp_path):
    (folder / f"p{BROKEN}.jpg").unlink()
    words = ["detect-many", folder, "--output", tmp_path / "out", "--weights", weights, "-q"]
    assert run(*words) == (0, "", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone"], "source is gone: no such file or folder"),
        (["PHOTOS", "--workers", "0"], "should be greater than or equal to 1"),
        (["PHOTOS", "--column", "image"], "column is image; it must not be given"),
        (["PHOTOS", "--config", "gone.json"], "settings file not found: gone.json"),
        (["nonsense://x"], "source is nonsense://x; it must be a path, or an address"),
        (["PHOTOS", "--model", "yolov3"], "--weights is small; it must be a weight file of yolov3"),
    ],
)
def test_bad_words(folder, here, run, tmp_path, words, message):
    words = [str(folder) if word == "PHOTOS" else word for word in words]
    code, _, err = run("detect-many", *words, "--output", tmp_path / "out")
    text = " ".join(err.replace("│", " ").split())
    # As typer 0.16 says it.
    text = text.replace("is not in the range x>=1", "should be greater than or equal to 1")
    assert code == 2 and message in text


def test_progress_without_a_terminal(folder, weights, here, run, tmp_path, monkeypatch):
    monkeypatch.setattr("mrcnn.cli.detect_many._LINE_SECONDS", -1.0)
    words = ["detect-many", folder, "--output", tmp_path / "out", "--weights", weights]
    _, out, _ = run(*words, "--shard-size", 4)
    (line,) = [line for line in out.splitlines() if "left" in line]
    assert line.startswith("4 of 7 images  ") and line.endswith(" s left")


def test_rows_of_a_parquet_file_that_failed_are_named(
    folder, weights, here, run, tmp_path
):  # fmt: skip
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"jpg": [(folder / "p1.jpg").read_bytes(), b"x"]}), path)
    words = ["detect-many", path, "--output", tmp_path / "out", "--weights", weights]
    code, _, err = run(*words, "--column", "jpg")
    assert code == 1 and f"{path}#1: row 1 of" in err


def test_settings_that_were_overridden_are_those_of_the_workers(
    folder, weights, here, tmp_path
):  # fmt: skip
    describe(tmp_path / "more.json", DETECTION_MAX_INSTANCES=7)
    from tests.fake_model import FakeMaskRCNN

    options = {"config": tmp_path / "more.json", "min_confidence": 0.25, "progress": False}
    detect_many(folder, tmp_path / "out", weights=weights, **options)
    (model,) = FakeMaskRCNN.built
    assert model.config.DETECTION_MAX_INSTANCES == 7
    assert model.config.DETECTION_MIN_CONFIDENCE == 0.25
    assert "ray" not in sys.modules or importlib.util.find_spec("ray")
