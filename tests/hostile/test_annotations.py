"""Mutated annotation files: documented errors only, no crash, no hang, little memory.

`MRCNN_MUTATIONS` is the number of mutations; 3000 take about two minutes.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.counts import num_mutations
from tests.hostile.annotations import DATASETS, mutate

MUTATIONS = num_mutations(300)
SECONDS_EACH = 20
MAX_MEMORY = 1_000_000_000  # bytes, beyond what the imports take
ROOT = Path(__file__).resolve().parents[2]


class TookTooLong(BaseException):
    """A mutation that hangs."""


def write(folder, files, mutated=None):
    for number, (name, content) in enumerate(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if number == 0 and mutated is not None:
            content = mutated
        elif isinstance(content, str):
            content = content.encode()
        elif not isinstance(content, bytes):
            content = json.dumps(content).encode()
        path.write_bytes(content)


def documented(error, folder):
    """Whether an error is one that users are told about, with the place."""
    from mrcnn.datasets.entries import AnnotationError

    known = type(error) in (ValueError, AnnotationError, FileNotFoundError)
    message = str(error)
    return known and len(message) < 3000 and "\x1b" not in message and str(folder) in message


class Attempts:
    """Calls functions, and keeps what is wrong with how they fail."""

    def __init__(self, folder):
        self.folder, self.wrong = folder, []

    def __call__(self, name, function, *args, **kwargs):
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if not documented(error, self.folder):
                self.wrong.append(f"{name}: {''.join(traceback.format_exception(error)[-2:])}")
        return None


def use(folder, format):
    """Open a dataset in every way; return what is wrong with how it fails."""
    from mrcnn.datasets import open_dataset
    from mrcnn.datasets.registry import load_reader

    attempt = Attempts(folder)
    attempt("recognize", open_dataset, folder)
    for part in (attempt("parts", load_reader(format).subsets, folder) or [None])[:2]:
        attempt("open", open_dataset, folder, format, part)
        dataset = attempt("keep", open_dataset, folder, format, part, keep_going=True)
        if dataset is not None:
            use_dataset(dataset, attempt)
    return attempt.wrong


def use_dataset(dataset, attempt):
    """Ask an open dataset for everything it has."""
    for number in dataset.image_ids:
        first = attempt("mask", dataset.load_mask, number)
        if first is not None and not np.array_equal(first[0], dataset.load_mask(number)[0]):
            attempt.wrong.append("masks differ from call to call")
        attempt("image", dataset.load_image, number)
    report = attempt("check", dataset.check)
    if report is not None:
        attempt("check as JSON", lambda: json.dumps(report.to_dict()))
        attempt("check as text", str, report)
    attempt("summary", lambda: str(dataset.summary()))


def run(first, count, progress):
    """Try mutations first..first+count-1; print a JSON line for each that is wrong."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")

    def too_long(*_):
        raise TookTooLong

    signal.signal(signal.SIGALRM, too_long)
    names = list(DATASETS)
    base = None
    for seed in range(first, first + count):
        rng = np.random.default_rng(seed)
        name = names[seed % len(names)]
        format, files = DATASETS[name]
        folder = Path(tempfile.mkdtemp())
        write(folder, files, mutate(next(iter(files.values())), rng))
        progress.write_text(f"{seed} {name}")
        signal.alarm(SECONDS_EACH)
        try:
            wrong = use(folder, format)
        except TookTooLong:
            wrong = [f"took longer than {SECONDS_EACH} s: {traceback.format_exc()[-600:]}"]
        signal.alarm(0)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        base = base or memory
        if memory - base > MAX_MEMORY:
            wrong.append(f"{memory - base} bytes")
            base = memory
        shutil.rmtree(folder)
        if wrong:
            print(json.dumps({"seed": seed, "dataset": name, "wrong": wrong}), flush=True)


@pytest.mark.parametrize("name", DATASETS)
def test_the_datasets_are_valid(tmp_path, name):
    from mrcnn.datasets import open_dataset

    format, files = DATASETS[name]
    write(tmp_path, files)
    subset = "train" if name in ("coco parts", "voc list") else None
    dataset = open_dataset(tmp_path, format, subset)
    assert dataset.num_images >= 1
    assert dataset.load_mask(0)[0].any()
    assert dataset.check().ok


def test_mutations_end_in_documented_errors(tmp_path):
    progress = tmp_path / "progress"
    code = (
        "from pathlib import Path; from tests.hostile.test_annotations import run;"
        f"run(0, {MUTATIONS}, Path({str(progress)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60 + MUTATIONS,
    )
    last = progress.read_text() if progress.is_file() else "none"
    assert done.returncode == 0, f"mutation {last} ended the process: {done.stderr[-2000:]}"
    assert done.stdout == ""
