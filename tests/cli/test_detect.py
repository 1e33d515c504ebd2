"""`mrcnn detect` with a fake model: files, messages and exit codes."""

import csv
import importlib
import io
import itertools
import json
import os
import re
import signal
from collections import defaultdict
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mrcnn.cli import signals
from mrcnn.detection.files import class_numbers
from mrcnn.detection.video import VideoWriter
from tests.weight_files import write_weight_file

detect_command = importlib.import_module("mrcnn.cli.detect")

# What every run writes, beside the files of single images.
FILES = ["detections.json", "detections.jsonl", "images.json"]


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_folder_with_a_broken_image(run, fake_model, weights, photos, tmp_path):
    output = tmp_path / "out"
    code, out, err = run("detect", photos, "--weights", weights, "--output", output)
    assert code == 1
    assert sorted(p.name for p in output.iterdir()) == ["a.jpg", "c.jpg", *FILES]
    lines = out.splitlines()
    assert lines[1].startswith("[1/3] a.jpg  60x40  cat 1, dog 1  ")
    assert lines[2].startswith("[2/3] b.jpg  failed: not an image that can be decoded")
    assert lines[3].startswith("[3/3] c.png  32x32  cat 1, dog 1  ")
    assert "2 images, 4 objects in 2 of them" in lines
    assert f"Results  {output}/  2 annotated images, detections.json, images.json" in lines
    assert err.startswith("1 of 3 images failed:\n")
    assert f"  {photos / 'b.jpg'}: not an image that can be decoded" in err
    entries = read_json(output / "detections.json")
    assert [(e["image_id"], e["file_name"], e["category_name"]) for e in entries] == [
        (1, "a.jpg", "cat"),
        (1, "a.jpg", "dog"),
        (3, "c.png", "cat"),
        (3, "c.png", "dog"),
    ]
    assert entries[0]["bbox"] == [0, 0, 30, 20]
    assert entries[0]["segmentation"]["size"] == [40, 60]
    drawn = cv2.imread(str(output / "a.jpg"))
    assert drawn.shape == (40, 60, 3)
    assert (drawn != 90).any()


def test_good_images_give_exit_code_0_and_a_timing_table(
    run, fake_model, weights, photos, tmp_path
):
    code, out, err = run(
        "detect", photos / "a.jpg", photos / "c.png", "--weights", weights, "--output", tmp_path
    )
    assert (code, err) == (0, "")
    for row in ("load model", "first image", "detect", "read", "draw, write", "all"):
        assert any(line.startswith(row) for line in out.splitlines())


def test_options_reach_the_model_and_the_files(run, fake_model, weights, photos, tmp_path):
    output = tmp_path / "out"
    code, out, _ = run(
        *("detect", photos / "a.jpg", "--weights", weights, "--output", output),
        *("--min-confidence", 0.25, "--classes", "DOG", "--csv", "--no-draw"),
        *("--segmentation", "polygon", "--batch-size", 2),
        *("--engine", "openvino", "--precision", "int8", "--calibration", photos),
    )
    assert code == 0
    assert fake_model.built[0].batch_size == 2
    options = {"engine": "openvino", "precision": "int8", "calibration": photos}
    assert fake_model.built[0].options == options
    assert fake_model.built[0].config.DETECTION_MIN_CONFIDENCE == 0.25
    assert "60x40  dog 1  " in out
    assert sorted(p.name for p in output.iterdir()) == ["detections.csv", *FILES]
    (entry,) = read_json(output / "detections.json")
    assert entry["category_name"] == "dog"
    assert isinstance(entry["segmentation"], list)
    with (output / "detections.csv").open() as file:
        assert [row["category_name"] for row in csv.DictReader(file)] == ["dog"]


def test_tiles(run, fake_model, weights, photos, tmp_path):
    output = tmp_path / "out"
    code, out, _ = run("detect", photos, "--weights", weights, "--output", output, "--tile", 128)
    assert code == 1
    assert fake_model.built[0].tile == 128
    assert "[2/3] b.jpg  failed: " in out and "[3/3] c.png  32x32  cat 1, dog 1" in out


def test_nothing_found_writes_an_empty_list(
    run, fake_model, weights, photos, tmp_path, monkeypatch
):
    empty = {
        "rois": np.zeros((0, 4), np.int32),
        "class_ids": np.zeros(0, np.int32),
        "scores": np.zeros(0, np.float32),
        "masks": np.zeros((40, 60, 0), bool),
    }
    monkeypatch.setattr(fake_model, "_detect", lambda self, image: empty)
    code, out, _ = run("detect", photos / "a.jpg", "--weights", weights, "--output", tmp_path)
    assert code == 0
    assert "60x40  nothing  " in out
    assert read_json(tmp_path / "detections.json") == []


def test_an_interrupted_run_says_where_its_results_are(
    run, fake_model, weights, photos, tmp_path, monkeypatch
):
    def stop():
        raise signals.Stopped(signal.SIGINT)

    monkeypatch.setattr(signals, "stop_if_asked", stop)
    code, out, err = run("detect", photos, "--weights", weights, "--output", tmp_path)
    assert code == 130
    last = out.splitlines()[-1]
    assert last.startswith(f"Results so far  {tmp_path}/  ")
    assert last.endswith(" detections.json, images.json")
    assert err == "mrcnn: stopped by SIGINT\n"
    found = {e["file_name"] for e in read_json(tmp_path / "detections.json")}
    assert "a.jpg" in found  # c.png as well, if the model was fast


@pytest.mark.parametrize("word", ["--no-draw", "--no-pictures", "--no-images"])
def test_drawing_can_be_left_out(run, fake_model, weights, photos, tmp_path, word):
    run("detect", photos / "a.jpg", "--weights", weights, "--output", tmp_path / "out", word)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == FILES


def test_a_run_without_a_readable_image_counts_no_objects(
    run, fake_model, weights, photos, tmp_path
):
    code, out, _ = run("detect", photos / "b.jpg", "--weights", weights, "--output", tmp_path)
    assert code == 1
    assert "0 images" in out.splitlines() and "objects" not in out


def test_an_image_on_which_the_model_fails_is_reported_and_the_others_go_on(
    run, fake_model, weights, photos, tmp_path, monkeypatch
):
    find = fake_model._detect

    def fails_on_one(self, image):
        if image.shape[0] == 32:
            raise ValueError("out of order")
        return find(self, image)

    monkeypatch.setattr(fake_model, "_detect", fails_on_one)
    code, out, err = run(
        "detect", photos / "c.png", photos / "a.jpg", "--weights", weights, "--output", tmp_path
    )
    assert (code, err) == (1, f"1 of 2 images failed:\n  {photos / 'c.png'}: out of order\n")
    assert "[1/2] c.png  failed: out of order" in out
    assert [e["file_name"] for e in read_json(tmp_path / "detections.json")] == ["a.jpg", "a.jpg"]


def test_results_in_the_folder_of_the_images_overwrite_none(
    run, fake_model, weights, photos, tmp_path
):
    before = (photos / "a.jpg").read_bytes()
    assert run("detect", photos / "a.jpg", "--weights", weights, "--output", photos)[0] == 0
    assert (photos / "a.jpg").read_bytes() == before
    assert (photos / "a_instances.jpg").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.jpg"], "image is nowhere.jpg: no such file or folder"),
        (
            ["a.jpg", "--classes", "owl"],
            "--classes is 'owl'; it must name classes of the weights: cat, dog",
        ),
        (["a.jpg", "--config", "none.json"], "none.json"),
        (["a.jpg", "--refine", "small"], "refiner not found: small"),
        (["a.jpg", "--refine", "c.png"], "is not an HDF5 refiner file"),
    ],
)
def test_wrong_words_stop_before_a_model_is_built(
    run, fake_model, weights, photos, monkeypatch, words, message
):
    monkeypatch.chdir(photos)
    code, _, err = run("detect", *words, "--weights", weights, "--output", photos / "out")
    assert code == 2
    assert message in err
    assert fake_model.built == []
    assert not (photos / "out").exists()


def test_a_refiner_reaches_the_model(run, fake_model, weights, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("mrcnn.refinement.open_refiner", lambda name: f"opened {name}")
    words = ("detect", photos / "a.jpg", "--weights", weights, "--output", tmp_path)
    code, out, _ = run(*words, "--refine", "general")
    assert code == 0 and "Refiner  general" in out.splitlines()
    assert fake_model.built[0].refiner == "opened general"
    assert run(*words)[0] == 0
    assert fake_model.built[1].refiner is None


def test_the_small_model_is_refined_unless_it_is_declined(
    run, fake_model, photos, tmp_path, monkeypatch
):
    monkeypatch.setattr("mrcnn.refinement.open_refiner", lambda name: f"opened {name}")
    words = ("detect", photos / "a.jpg", "--weights", "small", "--output")
    code, out, _ = run(*words, tmp_path / "1")
    assert code == 0 and "Refiner  general (--no-refine leaves it out)" in out.splitlines()
    assert fake_model.built[0].refiner == "opened general"
    code, out, _ = run(*words, tmp_path / "2", "--no-refine")
    assert code == 0 and "Refiner" not in out
    assert fake_model.built[1].refiner is None
    code, out, _ = run(*words, tmp_path / "3", "--refine", "general")
    assert code == 0 and fake_model.built[2].refiner == "opened general"
    code, _, err = run(*words, tmp_path / "4", "--refine", "general", "--no-refine")
    assert code == 2
    assert "--refine is general; it must not be given together with --no-refine" in err
    code, _, err = run(*words, tmp_path / "2", "--skip-existing")
    assert code == 2 and "refine" in err  # the run there was without


@pytest.mark.parametrize("save", ["image", "masks", "image,polygons", "coco", "csv,masks"])
def test_the_folder_of_the_results_is_said(run, fake_model, weights, photos, tmp_path, save):
    words = ("--weights", weights, "--output", tmp_path / "out", "--save", save)
    last = run("detect", photos / "a.jpg", *words)[1].splitlines()[-1]
    files = {
        "image": "1 annotated image",
        "masks": "masks/ (1 image)",
        "image,polygons": "1 annotated image, polygons/ (1 file)",
        "coco": "detections.json, images.json",
        "csv,masks": "detections.csv, masks/ (1 image)",
    }
    assert last == f"Results  {tmp_path / 'out'}/  {files[save]}"


def test_class_numbers():
    names = ["BG", "Cat", "hot dog"]
    assert class_numbers("hot dog, cat", names) == [2, 1]
    assert class_numbers(None, names) is None
    assert class_numbers(["CAT"], names) == [1]
    assert class_numbers("cat,Cat,CAT", ["BG", "Cat", "cat"]) == [2, 1, 1]
    assert class_numbers("1, bg", ["BG", "bg", "1"]) == [2, 1]
    for words in ("", "BG", "bird", []):
        with pytest.raises(ValueError, match="classes of the weights: Cat, hot dog"):
            class_numbers(words, names)


# ---- output of the command ---------------------------------------------------------------------


def test_json_lines_on_stdout_and_messages_on_stderr(run, fake_model, weights, photos, tmp_path):
    words = ("detect", photos, "--weights", weights, "--output", tmp_path / "out", "--json")
    code, out, err = run(*words)
    assert code == 1
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["file_name"] for record in records] == ["a.jpg", "b.jpg", "c.png"]
    assert [len(record.get("objects", ())) for record in records] == [2, 0, 2]
    assert records[1]["error"].startswith("not an image that can be decoded")
    assert (
        records == [json.loads(line) for line in (tmp_path / "out" / "detections.jsonl").open()][1:]
    )
    assert "Weights  " in err and "2 images, 4 objects in 2 of them" in err
    assert out.isascii()


def test_quiet(run, fake_model, weights, photos, tmp_path):
    words = ("--weights", weights, "--output", tmp_path / "out", "--quiet")
    assert run("detect", photos / "a.jpg", *words) == (0, "", "")
    code, out, err = run("detect", photos, *words)
    assert (code, out) == (1, "") and err.startswith("1 of 3 images failed:\n")
    code, out, err = run("detect", photos / "a.jpg", *words, "--json")
    assert (code, len(out.splitlines()), err) == (0, 1, "")


def test_threads_reach_the_libraries(run, fake_model, weights, photos, tmp_path, monkeypatch):
    from mrcnn.startup import threads

    for name in threads._VARIABLES:
        monkeypatch.setenv(name, "5")
    counts = []
    monkeypatch.setattr(cv2, "setNumThreads", counts.append)
    words = ("detect", photos / "a.jpg", "--weights", weights, "--output", tmp_path)
    assert run(*words)[0] == 0 and counts == []
    assert run(*words, "--threads", 2)[0] == 0
    assert counts == [2]
    assert {os.environ[name] for name in threads._VARIABLES} == {"2"}
    assert run(*words, "--threads", 0)[0] == 2


@pytest.mark.parametrize(
    ("side", "words", "hints"),
    [(191, (), 0), (192, (), 1), (640, (), 1), (640, ("--tile", 128), 0)],
)
def test_a_hint_at_tiles_for_a_large_image(run, fake_model, weights, tmp_path, side, words, hints):
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((20, side), np.uint8))
    images = (tmp_path / "a.png", tmp_path / "b.png")
    code, out, _ = run("detect", *images, "--weights", weights, "--output", tmp_path, *words)
    found = [line for line in out.splitlines() if line.startswith("Hint")]
    assert code == 0 and len(found) == hints  # once, not for each image
    if side == 640:
        for line in found:
            assert "a.png is 10 times larger than the network's input" in line
            assert "fewer than about 160 pixels may be missed. --tile 64 detects them" in line


def test_a_run_is_continued(run, fake_model, weights, photos, tmp_path):
    words = ("--weights", weights, "--output", tmp_path / "out", "--skip-existing")
    assert run("detect", photos / "a.jpg", *words)[0] == 0
    code, out, _ = run("detect", photos, *words)
    assert code == 1
    assert "Skipped  1 image with a result" in out.splitlines()
    assert "[1/2] b.jpg  failed: " in out and "[2/2] c.png  32x32  cat 1, dog 1" in out
    (photos / "b.jpg").unlink()
    built = len(fake_model.built)
    (tmp_path / "out" / "detections.json").unlink()  # as after a kill
    code, out, err = run("detect", photos, *words)
    assert (code, err, len(fake_model.built)) == (0, "", built)  # there is nothing to load it for
    assert "Skipped  2 images with a result" in out.splitlines()
    assert [e["image_id"] for e in read_json(tmp_path / "out" / "detections.json")] == [1, 1, 3, 3]


def test_other_weights_and_options_are_not_mixed(run, fake_model, weights, photos, tmp_path):
    words = ("detect", photos / "a.jpg", "--output", tmp_path / "out", "--skip-existing")
    assert run(*words, "--weights", weights)[0] == 0
    for more, message in (
        (("--min-confidence", 0.2), "DETECTION_MIN_CONFIDENCE was the default and is 0.2"),
        (("--precision", "int8"), "precision was nothing and is 'int8'"),
        (("--csv",), "save was 'image,coco,video' and is 'image,coco,csv,video'"),
    ):
        code, _, err = run(*words, "--weights", weights, *more)
        assert code == 2 and message in err and "without skipping existing results" in err
    write_weight_file(weights, value=2.0)  # trained further
    code, _, err = run(*words, "--weights", weights)
    assert code == 2 and "weights was" in err
    assert len(fake_model.built) == 1


def test_a_model_that_cannot_be_built_leaves_the_results_of_before(
    run, fake_model, weights, photos, tmp_path, monkeypatch
):
    words = ("detect", photos / "a.jpg", "--weights", weights, "--output", tmp_path / "out")
    assert run(*words)[0] == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def broken(*args, **options):
        raise ValueError("engine is 'none'; it must be auto, keras or openvino")

    monkeypatch.setattr(fake_model, "from_weights", broken)
    assert run(*words)[0] == 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_list_on_the_standard_input(run, fake_model, weights, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{photos / 'c.png'}\n{photos / 'a.jpg'}\n"))
    code, out, _ = run("detect", "-", "--weights", weights, "--output", tmp_path)
    assert code == 0 and "[1/2] c.png" in out and "[2/2] a.jpg" in out


def test_a_video_gets_one_line(run, fake_model, weights, tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", fps=10) as video:
        for _ in range(4):
            video.write(np.zeros((32, 48, 3), np.uint8))
    words = ("detect", tmp_path / "clip.mp4", "--weights", weights, "--output", tmp_path / "out")
    code, out, err = run(*words, "--track")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert "[1/1] clip.mp4  4 frames  tracks: cat 1, dog 1  detections: cat 4, dog 4" in lines
    assert "4 frames, 8 objects in 4 of them" in lines
    assert any(line.endswith("per frame") for line in lines)
    assert lines[-1] == f"Results  {tmp_path / 'out'}/  clip.mp4, detections.json, images.json"
    assert (tmp_path / "out" / "clip.mp4").exists()
    code, out, _ = run(*words, "--no-draw")
    assert code == 0 and "[1/1] clip.mp4  4 frames  cat 4, dog 4" in out.splitlines()


def test_frames_are_counted_with_their_speed(run, fake_model, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(detect_command, "_VIDEO_LINE_SECONDS", -1.0)
    ticks = itertools.count(step=0.5)
    monkeypatch.setattr(detect_command.time, "monotonic", lambda: next(ticks))
    with VideoWriter(tmp_path / "clip.mp4", fps=10) as video:
        for _ in range(3):
            video.write(np.zeros((32, 48, 3), np.uint8))
    words = ("--weights", weights, "--output", tmp_path / "out", "--no-draw")
    lines = run("detect", tmp_path / "clip.mp4", *words)[1].splitlines()
    frames = [re.sub(r"[\d.]+ ms", "MS", line) for line in lines if "  frame " in line]
    start = "[1/1] clip.mp4  frame"
    assert frames[0] == f"{start} 1/3  48x32  cat 1, dog 1  MS"
    assert re.fullmatch(
        rf"{re.escape(start)} 2/3  48x32  cat 1, dog 1  MS  [\d.]+ frames/s  \d+ s left", frames[1]
    )


def test_the_table_of_one_image_has_its_detection(run, fake_model, weights, photos, tmp_path):
    words = ("--weights", weights, "--output", tmp_path / "out")
    lines = run("detect", photos / "a.jpg", *words)[1].splitlines()
    rows = {line[:14].strip(): line[14:] for line in lines}
    assert rows["detect"].endswith(" ms") and "first image" not in rows


@pytest.mark.parametrize("seconds, note", [(2.9, "  (some run at the same time)"), (3.1, "")])
def test_the_table_says_that_stages_overlap(seconds, note):
    run = SimpleNamespace(
        num_done=2, num_frames=1, num_timed=1, num_objects=0, num_with_objects=0, notes=[],
        results=SimpleNamespace(noun="object"),
    )  # fmt: skip
    run.seconds = defaultdict(float, {"detect": 1.0, "first image": 2.0})
    lines = detect_command.report(run, seconds).splitlines()
    assert lines[1] == "1 image and 1 frame, 0 objects in 0 of them"
    assert lines[-1] == f"{'all':14}{seconds:>7.2f} s{note}"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_tiles_are_counted_on_a_terminal(capsys, is_terminal):
    with detect_command._TileLine(None if not is_terminal else False) as line:
        for done in (1, 2):
            line(done, 3)
    shown = capsys.readouterr().err
    assert ("tile 1/3  ? left" in shown) == is_terminal
    assert is_terminal or not shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["notes.md"], "image is notes.md, whose type is unknown; it must be an image"),
        (["a.jpg", "--save", "jpeg"], "--save is 'jpeg'; it must name some of image, coco, csv"),
        (["a.jpg", "--color-by", "track"], "'track'; it must be auto, class or instance"),
        (["list.txt"], "line 1 of list.txt: image is gone.jpg: no such file or folder"),
        (["77"], "webcam 77; it must be the number of a connected webcam"),
        (["0", "--skip-existing"], "source is a webcam; it must be a file or an address"),
    ],
)
def test_words_that_are_refused_before_a_model_is_built(
    run, fake_model, weights, photos, tmp_path, monkeypatch, words, message
):
    monkeypatch.chdir(photos)
    (photos / "notes.md").write_text("# notes")
    (photos / "list.txt").write_text("gone.jpg\n")
    code, _, err = run("detect", *words, "--weights", weights, "--output", tmp_path / "out")
    assert code == 2 and message in err
    assert fake_model.built == []
