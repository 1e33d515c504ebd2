"""`mrcnn serve` in a process of its own: clients as they are, signals, several workers."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from tests.fake_model import weights  # noqa: F401
from tests.service.conftest import ROOT
from tests.service.fakes import photograph

pytestmark = pytest.mark.slow

PNG = photograph()
HEAD = "POST /detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {}\r\n{}\r\n"


def post(server, data=PNG, query=""):
    """Status and JSON of an upload."""
    request = urllib.request.Request(f"{server.address}detect{query}", data)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def get(server, path):
    with urllib.request.urlopen(server.address + path, timeout=30) as answer:
        return answer.read().decode()


def raw(server, *parts, pause=0.0):
    """Send bytes with pauses between them; returns what the server answers until it closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        for i, part in enumerate(parts):
            if i:
                time.sleep(pause)
            connection.sendall(part)
        received = b""
        while data := connection.recv(1 << 16):
            received += data
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


def test_slow_and_large_clients_are_refused_politely(start_server):
    server = start_server(
        "--upload-timeout", "0.5", "--max-mb", "1", FAKE_HEAD_SECONDS="1"
    )  # fmt: skip
    assert post(server)[0] == 200
    head = HEAD.format(len(PNG), "").encode()
    begun = time.monotonic()
    slow = raw(server, head + PNG[:50])
    assert slow == (503, "upload is incomplete after 0.5 s; it must arrive within that time")
    assert time.monotonic() - begun < 5
    message = "request is incomplete after 1 s; it must begin within that time"
    assert raw(server, head[:20]) == (503, message)
    assert raw(server, b"") == (503, message)
    # A client that sends everything before it reads gets the answer, no broken connection.
    large = HEAD.format(30_000_000, "Connection: close\r\n").encode() + b"\0" * 30_000_000
    message = "upload is 30,000,000 bytes; it must be at most 1,000,000"
    assert raw(server, large) == (413, message)
    # One that asks before it sends is answered at once.
    asked = HEAD.format(30_000_000, "Connection: close\r\nExpect: 100-continue\r\n").encode()
    begun = time.monotonic()
    assert raw(server, asked) == (413, message)
    assert time.monotonic() - begun < 2
    assert post(server)[0] == 200
    code, out, err = server.stop()
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "Stopped"


def test_a_client_that_goes_away_is_counted(start_server):
    server = start_server("--batch-wait", "0", FAKE_SECONDS="0.3")
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(HEAD.format(len(PNG), "").encode() + PNG)
    end = time.monotonic() + 10
    while 'status="499"' not in get(server, "metrics"):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "mrcnn_uploads_under_way 0.0" in get(server, "metrics")
    assert post(server)[0] == 200


@pytest.mark.parametrize(
    "number, host, where",
    [
        (signal.SIGTERM, "127.0.0.1", ""),
        # The address is one that a browser on this machine can open.
        (signal.SIGINT, "0.0.0.0", " to all that reach this machine"),
    ],
)
def test_requests_under_way_are_answered_before_the_end(start_server, number, host, where):
    server = start_server("--host", host, FAKE_SECONDS="1")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(post(server)))
    thread.start()
    end = time.monotonic() + 10
    while "mrcnn_uploads_under_way 1.0" not in get(server, "metrics"):
        assert time.monotonic() < end
        time.sleep(0.02)
    code, out, err = server.stop(number)
    thread.join()
    assert [status for status, _ in answers] == [200]
    assert (code, err) == (0, "")
    assert out.startswith("Weights  ")
    assert f"\nServing  http://127.0.0.1:{server.port}/{where}  (Ctrl-C stops)\n" in out


def test_several_workers_add_up_their_figures(start_server):
    server = start_server("--workers", "2")
    assert [post(server)[0] for _ in range(8)] == [200] * 8
    assert 'mrcnn_requests_total{path="/detect",status="200"} 8.0' in get(server, "metrics")
    assert json.loads(get(server, "healthz"))["classes"] == ["cat", "dog"]
    code, out, err = server.stop()
    assert (code, err) == (0, "")
    assert "Starting 2 processes\nServing  http://" in out and out.endswith("Stopped\n")


def test_workers_that_cannot_start_end_the_command(weights):  # noqa: F811
    words = ("serve", "--port", "0", "--workers", "2", "--weights", str(weights))
    done = subprocess.run(
        [sys.executable, "-m", "tests.service.fakes", *words],
        cwd=ROOT,
        env={**os.environ, "FAKE_BROKEN": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert "mrcnn: error in a process: the network cannot be built" in lines
    assert lines[-1] == "mrcnn: error: the processes ended before one of them was ready"
