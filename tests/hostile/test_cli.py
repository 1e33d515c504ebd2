"""The command line on hostile names and paths, under signals, kills and full disks."""

# ruff: noqa: F811 (fixtures are imported)

import errno
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.counts import num_kills
from tests.fake_model import describe, fake_model, run, weights  # noqa: F401

ROOT = Path(__file__).parents[2]
NUM_KILLS = num_kills(3)
# What every run of `mrcnn detect` writes, beside the files of single images.
FILES = ["detections.json", "detections.jsonl", "images.json"]
IMAGE = cv2.imencode(".png", np.full((40, 60, 3), 90, np.uint8))[1].tobytes()


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def acts_on_terminal(text):
    """Whether a text holds a character that a terminal acts on, line breaks aside."""
    return any(not c.isprintable() for c in text.replace("\n", ""))


# ---- names -----------------------------------------------------------------------------------

NAMES = {
    "newline": b"two\nlines.png",
    "escape code": b"\x1b[2J\x1b]0;title\x07.png",
    "not UTF-8": b"caf\xe9 \xff.png",
    "right to left": "a\u202egnp.png".encode(),
    "longest": b"x" * 251 + b".png",
    "longest, of two bytes a letter": "é".encode() * 125 + b"x.png",
    "leading dash": b"-rf.png",
    "blanks and quotes": b" 'a' \"b\" .png",
    "only digits, many": b"9" * 250 + b".png",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_any_file_name_gives_an_image_and_an_entry(run, fake_model, weights, tmp_path, name):
    folder = tmp_path / "photos"
    folder.mkdir()
    path = os.path.join(os.fsencode(folder), name)
    with open(path, "wb") as file:
        file.write(IMAGE)
    output = tmp_path / "out"
    code, out, err = run("detect", folder, "--weights", weights, "--output", output, "--csv")
    assert (code, err) == (0, "")
    assert not acts_on_terminal(out)
    assert len(out.splitlines()) == 12  # the name breaks no line
    entries = read_json(output / "detections.json")
    assert [os.fsencode(entry["file_name"]) for entry in entries] == [name, name]
    (drawn,) = output.glob("*.jpg")
    assert os.fsencode(drawn.name)[:9] == name.replace(b".png", b".jpg")[:9]
    assert cv2.imdecode(np.fromfile(drawn, np.uint8), cv2.IMREAD_COLOR).shape == (40, 60, 3)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_any_file_name_in_every_kind_of_file(run, fake_model, weights, tmp_path, name):
    pytest.importorskip("pyarrow")
    folder = tmp_path / "photos"
    folder.mkdir()
    with open(os.path.join(os.fsencode(folder), name), "wb") as file:
        file.write(IMAGE)
    (tmp_path / "list.txt").write_bytes(os.fsencode(folder))
    output = tmp_path / "out"
    words = ("detect", tmp_path / "list.txt", "--weights", weights, "--output", output)
    kinds = ("--save", "coco,csv,masks,polygons,parquet,image", "--json", "--skip-existing")
    code, out, err = run(*words, *kinds)
    assert code == 0 and not acts_on_terminal(out + err)
    record = json.loads(out)
    assert os.fsencode(record["file_name"]) == name
    for kind, number in (("masks", 2), ("polygons", 1), ("", 6)):
        assert len([path for path in (output / kind).iterdir() if path.is_file()]) == number
    (polygons,) = (output / "polygons").iterdir()
    path = output / "polygons" / read_json(polygons)["imagePath"]
    assert os.path.samefile(path, os.path.join(os.fsencode(folder), name))
    code, out, _ = run(*words, *kinds)  # the record is recognized
    assert (code, out) == (0, "")


@pytest.mark.parametrize("name", [b"\x1b[2J.jpg", b"\xff.jpg", b"a\nb.jpg"])
def test_the_name_of_a_broken_image_is_printable(run, fake_model, weights, tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), name)
    with open(path, "wb") as file:
        file.write(b"no image")
    words = ("--weights", weights, "--output", tmp_path / "out")
    code, out, err = run("detect", os.fsdecode(path), *words)
    assert code == 1
    assert not acts_on_terminal(out + err)
    assert len(err.splitlines()) == 2
    assert read_json(tmp_path / "out" / "detections.json") == []


def test_class_names_are_printable(run, fake_model, weights, tmp_path):
    describe(weights.with_suffix(".json"), ["BG", "cat\x1b[2J", "dog\u202e"])
    (tmp_path / "a.png").write_bytes(IMAGE)
    output = tmp_path / "out"
    code, out, _ = run("detect", tmp_path / "a.png", "--weights", weights, "--output", output)
    assert code == 0
    assert "cat\\x1b[2J 1" in out and not acts_on_terminal(out)
    assert read_json(output / "detections.json")[0]["category_name"] == r"cat\x1b[2J"
    words = ("detect", tmp_path / "a.png", "--weights", weights, "--classes", "owl")
    code, _, err = run(*words)
    assert code == 2 and "cat\\x1b[2J" in err and not acts_on_terminal(err)


# ---- paths -----------------------------------------------------------------------------------


def test_pipes_devices_and_loops_are_refused_at_once(run, fake_model, weights, tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    for path, message in (
        (tmp_path / "pipe.jpg", "it must be a regular file or a folder"),
        ("/dev/zero", "it must be a regular file or a folder"),
        (tmp_path / "loop.jpg", "no such file or folder"),
        ("x" * 5000, "File name too long"),
        (tmp_path, "a folder without images"),
    ):
        code, _, err = run("detect", path, "--weights", weights)
        assert code == 2 and message in err, path
    assert fake_model.built == []


def test_folders_and_patterns_pass_over_hidden_files(run, fake_model, weights, tmp_path):
    for name in ("a.png", "._a.png", ".DS_Store", "__MACOSX/b.png", "__MACOSX/._a.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(IMAGE if name == "a.png" else b"\0\5\26\7")
    for word in (tmp_path / "photos", tmp_path / "photos" / "**" / "*.png"):
        output = tmp_path / "out"
        code, out, err = run("detect", word, "--weights", weights, "--output", output)
        assert (code, err) == (0, "") and "[1/1] a.png" in out


@pytest.mark.parametrize("where", ["file", "file/below", "/proc/nowhere"])
@pytest.mark.parametrize("verb", ["detect", "evaluate", "train"])
def test_a_folder_for_results_that_cannot_be_is_refused_before_the_work(
    run, fake_model, weights, tmp_path, monkeypatch, verb, where
):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("kept")
    Path("a.png").write_bytes(IMAGE)
    words = {
        "detect": ["a.png", "--output", where],
        "evaluate": ["3", "--format", "shapes", "--output", f"{where}/figures.json"],
        "train": ["3", "--format", "shapes", "--output", where],
    }[verb]
    describe(weights.with_suffix(".json"), ["BG", "square", "circle", "triangle"])
    code, _, err = run(verb, *words, "--weights", weights)
    assert code == 2
    assert f"--output is {where}" in err and len(err.splitlines()) == 1
    assert fake_model.built == []
    assert Path("file").read_text() == "kept"


def test_results_beside_the_images_and_again(run, fake_model, weights, tmp_path):
    (tmp_path / "a.jpg").write_bytes(cv2.imencode(".jpg", np.full((40, 60), 9, np.uint8))[1])
    before = (tmp_path / "a.jpg").read_bytes()
    for _ in range(2):
        path = tmp_path / "a.jpg"
        assert run("detect", path, "--weights", weights, "--output", tmp_path)[0] == 0
        assert path.read_bytes() == before
        assert len(read_json(tmp_path / "detections.json")) == 2


# ---- errors of one image ---------------------------------------------------------------------


def test_whatever_one_image_does_the_others_go_on(run, fake_model, weights, tmp_path, monkeypatch):
    from mrcnn.datasets import image_files
    from mrcnn.drawing import rendering

    errors = {
        "a": ("read", MemoryError()),
        "c": ("detect", ZeroDivisionError("division by zero")),
        "d": ("draw", OSError(errno.ENOSPC, "No space left on device")),
        "e": ("draw", RuntimeError("font")),
    }
    for name in "abcdef":
        shade = np.full((40, 60, 3), ord(name), np.uint8)
        cv2.imwrite(str(tmp_path / f"{name}.png"), shade)

    def failing(stage, function, name_of):
        def call(*args, **options):
            at, error = errors.get(name_of(*args), (None, None))
            if at == stage:
                raise error
            return function(*args, **options)

        return call

    def shade_name(_, image):
        return chr(image[0, 0, 0])

    read = failing("read", image_files.read_image, lambda path: Path(path).stem)
    draw = failing("draw", rendering.save_instances, lambda path, *_: Path(path).stem)
    monkeypatch.setattr(image_files, "read_image", read)
    monkeypatch.setattr(rendering, "save_instances", draw)
    monkeypatch.setattr(fake_model, "_detect", failing("detect", fake_model._detect, shade_name))
    for words in ((), ("--tile", 128)):
        output = tmp_path / f"out{len(words)}"
        code, _, err = run("detect", tmp_path, "--weights", weights, "--output", output, *words)
        assert code == 1
        assert err.splitlines() == [
            "4 of 6 images failed:",
            f"  {tmp_path / 'a.png'}: MemoryError",
            f"  {tmp_path / 'c.png'}: ZeroDivisionError: division by zero",
            f"  {tmp_path / 'd.png'}: [Errno 28] No space left on device",
            f"  {tmp_path / 'e.png'}: RuntimeError: font",
        ]
        assert sorted(p.name for p in output.glob("*.jpg")) == ["b.jpg", "f.jpg"]
        found = {entry["file_name"] for entry in read_json(output / "detections.json")}
        assert found == {"b.png", "d.png", "e.png", "f.png"}  # found, if not drawn


def test_a_folder_with_hostile_images_goes_on(run, fake_model, weights, tmp_path):
    bomb = b"GIF89a" + (65535).to_bytes(2, "little") * 2 + b"\x80\0\0" + bytes(6) + b";"
    files = {
        "bomb.gif": bomb,
        "cut.png": IMAGE[:-30],
        "empty.jpg": b"",
        "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "thin.png": cv2.imencode(".png", np.zeros((5000, 4), np.uint8))[1].tobytes(),
        "good.png": IMAGE,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    begun = time.process_time()
    output = tmp_path / "out"
    code, _, err = run("detect", tmp_path, "--weights", weights, "--output", output)
    assert code == 1
    assert time.process_time() - begun < 5
    for name in ("bomb.gif", "cut.png", "empty.jpg", "postscript.jpg"):
        (line,) = [line for line in err.splitlines() if name in line]
        assert len(line) < 400 and "OpenCV" not in line
    found = {entry["file_name"] for entry in read_json(output / "detections.json")}
    assert found == {"good.png", "thin.png"}


def test_a_full_disk_leaves_no_half_file(weights, tmp_path):
    folder, output = make_photos(tmp_path, 3, side=300)

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))

    process = start("detect", folder, "--weights", weights, "--output", output, setup=small_files)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "3 of 3 images failed:" in err and "File too large" in err
    assert sorted(path.name for path in output.iterdir()) == FILES
    assert len(read_json(output / "detections.json")) == 6


# ---- signals and kills -----------------------------------------------------------------------


def start(*words, setup=None, seconds=0.0):
    """Start the command line with the fake model, which takes some seconds for each image."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "FAKE_SECONDS": str(seconds),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fake_model", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
        preexec_fn=setup,
    )


def make_photos(tmp_path, count, side=40):
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    for number in range(count):
        cv2.imwrite(str(folder / f"image{number:02}.png"), noise)
    return folder, tmp_path / "out"


def wait_for_line(process, start_of_line):
    for line in process.stdout:
        if line.startswith(start_of_line):
            return
    raise AssertionError(process.stderr.read())


def assert_no_half_files(output):
    """Every file under a final name is whole."""
    for path in output.iterdir() if output.exists() else ():
        if path.name.startswith(".tmp-"):
            continue
        if path.suffix == ".jpg":
            data = path.read_bytes()
            assert data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")
        elif path.suffix == ".jsonl":  # the last line may be cut
            assert all(json.loads(line) for line in path.read_bytes().split(b"\n")[:-1])
        else:
            read_json(path)


SIGNALS = [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]


@pytest.mark.parametrize(("number", "code"), SIGNALS, ids=["term", "hup", "int"])
def test_a_signal_leaves_the_results_so_far(weights, tmp_path, number, code):
    folder, output = make_photos(tmp_path, 50)
    process = start("detect", folder, "--weights", weights, "--output", output, seconds=0.1)
    wait_for_line(process, "[ 3/50]")
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert err.splitlines()[-1] == f"mrcnn: stopped by {signal.Signals(number).name}"
    drawn = sorted(path.stem for path in output.glob("*.jpg"))
    assert 3 <= len(drawn) < 20
    entries = read_json(output / "detections.json")
    assert sorted({Path(entry["file_name"]).stem for entry in entries}) == drawn
    assert len(entries) == 2 * len(drawn)
    assert sorted(path.name for path in output.iterdir() if path.suffix != ".jpg") == FILES
    assert_no_half_files(output)


def test_two_signals_at_once_as_service_managers_send_them(weights, tmp_path):
    folder, output = make_photos(tmp_path, 50)
    process = start("detect", folder, "--weights", weights, "--output", output, seconds=0.1)
    wait_for_line(process, "[ 3/50]")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=30)
    assert process.returncode in (143, 129)
    assert len(read_json(output / "detections.json")) >= 4
    assert_no_half_files(output)


def test_an_ignored_hangup_stays_ignored(weights, tmp_path):
    folder, output = make_photos(tmp_path, 4)

    def as_nohup():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    words = ("detect", folder, "--weights", weights, "--output", output)
    process = start(*words, setup=as_nohup, seconds=0.1)
    wait_for_line(process, "[1/4]")
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert len(read_json(output / "detections.json")) == 8


@pytest.mark.parametrize("verb", ["evaluate", "train"])
def test_sigterm_ends_other_verbs(weights, tmp_path, verb):
    describe(weights.with_suffix(".json"), ["BG", "square", "circle", "triangle"])
    figures = tmp_path / "figures.json"
    figures.write_text("[]")
    output = figures if verb == "evaluate" else tmp_path / "logs"
    words = (verb, 8, "--format", "shapes", "--weights", weights, "--output", output)
    process = start(*words, seconds=5)
    wait_for_line(process, "Dataset")
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143, err
    assert err.splitlines()[-1] == "mrcnn: stopped by SIGTERM"
    assert figures.read_text() == "[]"


def kill_at_random(start_of_line, check, *words, seconds, delay):
    """Kill a command `NUM_KILLS` times after a line, and call `check()` after each kill.

    Args:
        start_of_line: start of the line after which the work begins.
        check: called after every kill.
        words: the command.
        seconds: see `start`.
        delay: the longest time between the line and the kill.
    """
    chance = random.Random(0)
    kills = 0
    for _ in range(2 * NUM_KILLS + 10):  # some end before they are killed
        if kills == NUM_KILLS:
            return
        process = start(*words, seconds=seconds)
        wait_for_line(process, start_of_line)
        time.sleep(chance.uniform(0, delay))
        process.kill()
        process.communicate(timeout=60)
        kills += process.returncode == -signal.SIGKILL
        check()
    assert kills == NUM_KILLS


def test_kills_leave_no_half_file_under_a_final_name(weights, tmp_path):
    folder, output = make_photos(tmp_path, 20, side=200)
    output.mkdir()
    (output / "detections.json").write_text("[]\n")
    words = ("detect", folder, "--weights", weights, "--output", output)
    kill_at_random("Weights", lambda: assert_no_half_files(output), *words, seconds=0.01, delay=0.8)
    assert start(*words).wait(60) == 0
    assert len(list(output.glob("image*.jpg"))) == 20
    assert len(read_json(output / "detections.json")) == 40


def test_a_killed_run_is_continued_until_every_image_has_one_record(weights, tmp_path):
    folder, output = make_photos(tmp_path, 30)
    (folder / "broken.png").write_bytes(b"no image")
    words = ("detect", folder, "--weights", weights, "--skip-existing", "--output")
    assert start(*words, tmp_path / "whole").wait(60) == 1
    chance = random.Random(1)
    counts = []

    def num_results():
        log = output / "detections.jsonl"
        return log.read_bytes().count(b'"width"') if log.exists() else 0

    for _ in range(NUM_KILLS):
        process = start(*words, output, seconds=0.02)
        wait_for_line(process, "Weights")
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        process.communicate(timeout=60)
        assert_no_half_files(output)
        counts.append(num_results())
    assert start(*words, output).wait(60) == 1
    lines = (output / "detections.jsonl").read_text().splitlines()[1:]
    names = sorted(json.loads(line)["file_name"] for line in lines)
    assert names == sorted(path.name for path in folder.iterdir())
    assert counts == sorted(counts)
    for name in ("detections.json", "images.json"):
        assert read_json(output / name) == read_json(tmp_path / "whole" / name)


def test_a_full_disk_ends_the_run_and_keeps_the_records(weights, tmp_path):
    folder, output = make_photos(tmp_path, 40)

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))

    words = ("detect", folder, "--weights", weights, "--output", output, "--save", "coco")
    process = start(*words, setup=small_files)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "File too large" in err and "detections.jsonl" in err
    lines = (output / "detections.jsonl").read_bytes().split(b"\n")
    assert lines[-1] == b"" and 3 < len(lines) < 40
    assert start(*words, "--skip-existing").wait(60) == 0
    assert len(read_json(output / "detections.json")) == 80


def test_killed_evaluations_leave_the_old_files_or_the_new_ones(weights, tmp_path):
    describe(weights.with_suffix(".json"), ["BG", "square", "circle", "triangle"])
    figures, results = tmp_path / "out" / "figures.json", tmp_path / "out" / "results.json"
    words = ("evaluate", 6, "--format", "shapes", "--weights", weights)
    words += ("--output", figures, "--results", results)
    process = start(*words, seconds=0.02)
    wait_for_line(process, "Dataset")
    begin = time.monotonic()
    process.communicate(timeout=60)
    elapsed = time.monotonic() - begin

    def content(path):
        found = read_json(path)
        if path == figures and found:
            del found["seconds_per_image"]  # never the same
        return found

    new = {path: content(path) for path in (figures, results)}
    assert len(new[results]) == 12 and new[figures]["num_detections"] == 12

    def write_old():
        for path in new:
            path.write_text("[]")

    def check():
        for path, expected in new.items():
            assert content(path) in ([], expected)
        others = set(figures.parent.iterdir()) - set(new)
        assert all(path.name.startswith(".tmp-") for path in others)
        write_old()

    write_old()
    kill_at_random("Dataset", check, *words, seconds=0.02, delay=elapsed)
    assert start(*words, seconds=0.02).wait(60) == 0
    assert {path: content(path) for path in new} == new


def test_a_swallowed_signal_is_raised_again():
    from mrcnn.cli import signals

    with pytest.raises(signals.Stopped) as stopped, signals.raised():
        try:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
        except BaseException:  # as a library might
            pass
        signals.stop_if_asked()
    assert stopped.value.code == 129
    with signals.raised():
        signals.stop_if_asked()


# ---- delayed signals -------------------------------------------------------------------------


def test_a_signal_in_a_delayed_block_comes_after_it():
    from mrcnn.cli import signals

    done = []
    with pytest.raises(signals.Stopped) as stopped, signals.raised():
        with signals.delayed():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            done.append("written")
        done.append("not reached")
    assert done == ["written"]
    assert (stopped.value.code, stopped.value.signal_name) == (143, "SIGTERM")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_sigterm_ends_a_download_from_a_server_that_does_not_answer(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and stays silent
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        process = start(
            *("download", "open-images", "--classes", "Motorcycle", "--output", tmp_path / "data"),
            *("--base-url", address, "--image-base-url", address),
        )
        connection, _ = server.accept()
        with connection:
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            time.sleep(1.2)  # it waits for the server, up to 30 seconds
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=5)
    assert process.returncode == -signal.SIGTERM  # 143 in a shell


def test_sigterm_ends_a_download_when_the_server_hangs_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        process = start(
            *("download", "open-images", "--classes", "Motorcycle", "--output", tmp_path / "data"),
            *("--base-url", address, "--image-base-url", address, "--retries", 0),
        )
        connection, _ = server.accept()
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        connection.close()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143, err
    assert err.splitlines()[-2:] == [
        "Run the same command again to continue.",
        "mrcnn: stopped by SIGTERM",
    ]
