"""Only TensorFlow's chatter is dropped; warnings and tracebacks come through."""

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


@pytest.mark.slow
def test_importing_the_backend_prints_nothing():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from mrcnn.startup.backend import import_backend; import_backend()",
        ],
        capture_output=True,
        text=True,
        env=environment,
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
