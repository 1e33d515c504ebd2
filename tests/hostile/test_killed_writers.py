"""A process that is killed while it writes weights or fetches a file leaves the old file or the
new one, and what it leaves beside it does no harm.

`MRCNN_KILLS` sets the number of kills of each kind.
"""

import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mrcnn.checkpoints import load_weights
from mrcnn.files.fetch import fetch
from tests.checkpoints.fakes import FakeModel, conv
from tests.counts import num_kills
from tests.local_server import LocalServer

COUNT = num_kills(4)
ROOT = Path(__file__).parents[2]

SAVE = """
import itertools, sys
from mrcnn.checkpoints import save_weights
from tests.checkpoints.fakes import FakeModel, conv
for fill in itertools.count(int(sys.argv[2])):
    model = FakeModel([conv("conv1", (7, 7, 64, 64), float(fill)), conv("fpn_p2", (9, 9), fill)])
    save_weights(model, sys.argv[1])
    print(fill, flush=True)
"""
FETCH = """
import sys
from mrcnn.files.fetch import fetch
print("start", flush=True)
fetch(sys.argv[2], sys.argv[1], checksum=sys.argv[3], backoff=0.01)
"""


def killed(code, delay, *arguments):
    """Run code, kill it `delay` seconds after its first line; return the lines."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    first = process.stdout.readline()
    time.sleep(delay)
    process.kill()
    return [first.strip(), *process.communicate()[0].split("\n")[:-1]]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_while_saving_weights(tmp_path):
    path, rng = tmp_path / "w.h5", random.Random(0)
    last = 0
    for _ in range(COUNT):
        lines = killed(SAVE, rng.uniform(0, 0.1), path, last + 1)
        done = int(lines[-1])
        model = FakeModel([conv("conv1", (7, 7, 64, 64)), conv("fpn_p2", (9, 9))])
        load_weights(model, path)
        last = int(model.value("conv1").flat[0])
        assert last in (done, done + 1)
        assert np.all(model.value("conv1") == last) and np.all(model.value("fpn_p2") == last)
        assert all(p == path or p.name.startswith(".tmp-") for p in tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_while_fetching(tmp_path):
    content = random.Random(1).randbytes(3_000_000)
    sha = hashlib.sha256(content).hexdigest()
    path, rng = tmp_path / "a.bin", random.Random(2)
    with LocalServer({"a.bin": content}) as server:
        server.fault = lambda *_: time.sleep(0.02)
        for _ in range(COUNT):
            path.unlink(missing_ok=True)
            killed(FETCH, rng.uniform(0, 0.08), path, server.url("a.bin"), sha)
            assert not path.exists() or path.read_bytes() == content
            allowed = {"a.bin", "a.bin.part", "a.bin.part.json"}
            assert {entry.name for entry in tmp_path.iterdir()} <= allowed
            fetch(server.url("a.bin"), path, checksum=sha, backoff=0.01)
            assert path.read_bytes() == content
            assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]
