"""Shared fixtures: where the reference recordings lie, and a quiet environment."""

import os
import signal
import sys
from pathlib import Path

# Set before anything imports a backend or a plotting library.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
# Tests of OpenVINO ask for it by name; the others need not convert a network each.
os.environ.setdefault("MRCNN_ENGINE", "keras")
# OpenCV's FFmpeg reads its level once: the first test that opens a video would decide for all.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import pytest

# Under nohup and in the background of a script, SIGHUP and SIGINT are ignored, and processes that
# the tests start inherit that. The tests of signals need the usual handlers.
for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    number = getattr(signal, name, None)
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

REPOSITORY = Path(__file__).resolve().parents[1]
# Recordings of the original and small datasets; not part of the package.
SHARED = Path(os.environ.get("MRCNN_SHARED", REPOSITORY.parent / "shared"))

# `mrcnn` from this checkout, and `from tests.parity.reference import load_calls`.
if str(REPOSITORY) not in sys.path:
    sys.path.insert(0, str(REPOSITORY))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with the test fixtures that do not ship; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"test fixtures not found at {SHARED} (set MRCNN_SHARED)")
    return SHARED


@pytest.fixture(scope="session")
def parity_dir(shared_dir: Path) -> Path:
    """Folder with numbers recorded from Matterport's package; skips where absent."""
    folder = shared_dir / "parity"
    if not (folder / "functions.json").is_file():
        pytest.skip(f"recorded reference numbers not found at {folder}")
    return folder
