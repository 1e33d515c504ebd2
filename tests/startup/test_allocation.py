"""Freed memory stays with the process, unless the user says otherwise."""

import os
import platform
import subprocess
import sys

import pytest

from mrcnn.startup.allocation import keep_freed_memory

# Faults of large arrays that are made and freed over and over, in the main thread and in another.
PROGRAM = """
import resource, threading
import numpy as np
from mrcnn.startup.allocation import keep_freed_memory

def work():
    for _ in range(20):
        np.ones(50_000_000, np.uint8)

print(keep_freed_memory())
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    work()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""


def done_and_faults(**settings):
    names = ("MALLOC_", "GLIBC_TUNABLES", "MRCNN_KEEP_MEMORY")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(names)}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**environment, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    done, faults = run.stdout.split()
    return done == "True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_memory_is_kept_unless_the_user_says_otherwise():
    done, faults = done_and_faults()
    assert done
    for setting in (
        {"MRCNN_KEEP_MEMORY": "0"},
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"},
    ):
        done, usual_faults = done_and_faults(**setting)
        assert not done
        # 50 MB have 24 large pages or 12,207 small ones, taken forty times or never.
        assert usual_faults > 900 and faults < usual_faults / 20


def test_another_system_or_c_library_is_left_alone(monkeypatch):
    for name in [n for n in os.environ if n.startswith(("MALLOC_", "GLIBC_", "MRCNN_KEEP"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("mrcnn.startup.allocation.ctypes.CDLL", lambda name: object())
    assert not keep_freed_memory()
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("mrcnn.startup.allocation.ctypes.CDLL", None)
    assert not keep_freed_memory()
