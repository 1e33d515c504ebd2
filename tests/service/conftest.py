"""Fixtures of the service: applications with a fake model, and a server process."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from tests.fake_model import weights  # noqa: F401
from tests.service.fakes import FakeModel

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def model():
    """A fake model that is free to run."""
    fake = FakeModel()
    yield fake
    fake.gate.set()


@pytest.fixture
def make_app(model):
    """Return what makes an application of the fake model with these limits."""
    from mrcnn.service import Limits, ServedModel, create_app

    def make(refiner=None, **limits):
        served = ServedModel(model, "pets", 0.5, refiner, "sharp")
        return create_app(served, Limits(**{"batch_wait": 0.0, **limits}))

    return make


@pytest.fixture
def client(make_app):
    """Return what opens a client of an application with these limits."""
    with warnings.catch_warnings():  # about the package that it uses
        warnings.simplefilter("ignore")
        from starlette.testclient import TestClient

    with contextlib.ExitStack() as stack:

        def open_client(refiner=None, **limits):
            app = make_app(refiner, **limits)
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield open_client


class Server:
    """`mrcnn serve` in a process; `address` ends in a slash."""

    def __init__(self, *words, module="tests.service.fakes", **variables):
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "serve", "--port", "0", *map(str, words)],
            cwd=ROOT,
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line)
            if match := re.match(r"Serving +(http://[^ ]+:(\d+)/)", line):
                self.address, self.port = match[1], int(match[2])
                return
        raise AssertionError(self.process.communicate())

    def stop(self, number=signal.SIGTERM):
        """End it; returns exit code, stdout and stderr."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, "".join(self.lines) + out, err


@pytest.fixture
def start_server(weights):  # noqa: F811
    """Return what starts a server with the fake model and these options."""
    servers = []

    def start(*words, **variables):
        servers.append(Server("--weights", weights, *words, **variables))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            os.killpg(server.process.pid, signal.SIGKILL)
        server.process.communicate()
