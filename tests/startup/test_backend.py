"""Start-up messages are dropped; warnings and tracebacks still appear."""

import gc
import os
import subprocess
import sys

import pytest

from mrcnn.startup.backend import paused_collection

PROGRAM = """
import os, sys
from mrcnn.startup.backend import without_chatter
with without_chatter():
    os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written\\n")
    os.write(2, b"I0000 00:00:1795226249.820490   22513 port.cc:153] oneDNN is on.\\n")
    os.write(2, b"W0000 00:00:1795226249.820490   22513 a.cc:1] a warning\\n")
    print("from python", file=sys.stderr)
    if len(sys.argv) > 1:
        raise ValueError("stop")
os.write(2, b"I0000 00:00:1795226249.820490 afterwards\\n")
"""


def stderr_of(*words):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True
    ).stderr


def test_chatter_is_dropped_and_the_rest_comes_through():
    assert stderr_of().splitlines() == [
        "W0000 00:00:1795226249.820490   22513 a.cc:1] a warning",
        "from python",
        "I0000 00:00:1795226249.820490 afterwards",
    ]


def test_nothing_is_lost_when_the_import_fails():
    err = stderr_of("fail")
    assert "a warning" in err
    assert err.rstrip().endswith("ValueError: stop")


FAKE_KERAS = """
import gc, os
os.write(2, b"I0000 00:00:1795226249.820490   22513 port.cc:153] oneDNN is on.\\n")
os.write(2, b"2026-11-29 14:07:00.258393: I tensorflow/core/util/port.cc:153] oneDNN is on.\\n")
os.write(2, b"W0000 00:00:1795226249.820490   22513 a.cc:1] a warning\\n")
collects = gc.isenabled()
"""


@pytest.mark.parametrize(
    ("importer", "statement", "lines"),
    [
        ("mrcnn", "import keras", 1),
        ("mrcnn.layers.boxes", "from keras import collects", 1),
        ("mrcnn.layers.boxes", "import importlib; importlib.import_module('keras')", 1),
        ("mrcnn_of_a_user", "import keras", 3),
        ("__main__", "import keras", 3),
    ],
)
def test_only_this_packages_import_of_keras_is_quiet(importer, statement, lines, tmp_path):
    (tmp_path / "keras.py").write_text(FAKE_KERAS)
    program = (
        f"import sys, gc, mrcnn; sys.path.insert(0, {str(tmp_path)!r})\n"
        f"exec({statement!r}, {{'__name__': {importer!r}}})\n"
        "import keras\n"
        "print(keras.collects, gc.isenabled(), type(keras.__loader__).__name__,"
        " keras.__spec__.loader is keras.__loader__)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert len(done.stderr.splitlines()) == lines, done.stderr
    assert "a warning" in done.stderr
    assert done.stdout == f"{lines == 3} True SourceFileLoader True\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        "startup.backend",
        "layers.boxes",
        "graphs",
        "loading.batches",
        "refinement.unet",
        "engines.pieces",
    ],
)
def test_importing_a_module_prints_nothing(module):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    program = f"import mrcnn.{module}; from mrcnn.startup import import_backend; import_backend()"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("enabled", [True, False])
def test_collection_pauses_and_goes_on_as_it_was(enabled):
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(RuntimeError), paused_collection():
            assert not gc.isenabled()
            raise RuntimeError
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
