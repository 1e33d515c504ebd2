"""Shared fixtures: where the reference recordings lie, and a quiet environment.

Every test must leave the process as it found it, and memory that models have left is returned.
"""

import ctypes
import gc
import importlib.util
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
# Several processes share the cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
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

# Folders whose tests need packages of an extra: (extra, packages).
NEEDED = {"scaling": ("ray", ("pyarrow", "fsspec")), "service": ("serve", ("fastapi",))}


class SkippedFolder(pytest.Package):
    """A folder of tests that is skipped without an import of its files."""

    reason = ""

    def collect(self):
        pytest.skip(self.reason, allow_module_level=True)


def pytest_collect_directory(path, parent):
    """Skip folders whose packages are missing. A skip in their `conftest.py` is a usage error."""
    extra, packages = NEEDED.get(path.name, ("", ()))
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if not missing or path.parent != REPOSITORY / "tests":
        return None
    folder = SkippedFolder.from_parent(parent, path=path)
    folder.reason = f"{', '.join(missing)} not installed: the extra {extra}"
    return folder


def pytest_collection_modifyitems(items):
    """Count the long tests among the slow ones."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")


# What decides how later tests compute: a variable that stays set has failed tests elsewhere.
# tf2onnx sets TF_CPP_MIN_LOG_LEVEL, which changes no result.
WATCHED = ("KERAS_", "MRCNN_", "TF_", "OMP_", "XLA_", "JAX_", "CUDA_", "MPL", "PYTHON")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _is_watched(name):
    return name.startswith(WATCHED) and name != "TF_CPP_MIN_LOG_LEVEL"


def state_of_process():
    """What a test must not leave changed, by name."""
    state = {name: os.environ[name] for name in os.environ if _is_watched(name)}
    state["working directory"] = os.getcwd()
    state["garbage collection"] = gc.isenabled()
    state.update({number.name: signal.getsignal(number) for number in SIGNALS})
    # Only where a test has imported it: most folders need no backend.
    if (keras := sys.modules.get("keras")) and hasattr(keras, "config"):
        state["dtype policy"] = keras.config.dtype_policy().name
        state["float type"] = keras.config.floatx()
    return state


def restore(before, after):
    """Undo the changes that can be undone."""
    for name in filter(_is_watched, before | after):
        if name in before:
            os.environ[name] = before[name]
        else:
            os.environ.pop(name, None)
    os.chdir(before["working directory"])
    (gc.enable if before["garbage collection"] else gc.disable)()
    for number in SIGNALS:
        if before[number.name] is not None:
            signal.signal(number, before[number.name])
    if "dtype policy" in before:
        sys.modules["keras"].config.set_dtype_policy(before["dtype policy"])


@pytest.fixture(autouse=True)
def leaves_the_process_as_it_was():
    """Fail a test after which the environment, the signals or Keras's settings differ."""
    before = state_of_process()
    yield
    after = state_of_process()
    changed = {
        name: (before.get(name), after.get(name))
        for name in before | after
        if before.get(name) != after.get(name)
        and (name in before or name not in ("dtype policy", "float type"))
    }
    if changed:
        restore(before, after)
    assert not changed, f"left changed, (before, after): {changed}"


# Models are cycles of objects with large arrays, of which Python's collector sees a few small
# objects only, and `mrcnn.startup.allocation` lets the C library keep what they have left.
GROWTH = 300 * 2**20
_size_after_collection = 0


def resident_bytes():
    """The memory of this process; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@pytest.hookimpl(trylast=True)
def pytest_runtest_logfinish():
    """Return the memory of models that no test needs any longer, where it has grown."""
    global _size_after_collection
    if resident_bytes() - _size_after_collection < GROWTH:
        return
    gc.collect()
    if hasattr(trim := ctypes.CDLL(None), "malloc_trim"):
        trim.malloc_trim(0)
    _size_after_collection = resident_bytes()


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
