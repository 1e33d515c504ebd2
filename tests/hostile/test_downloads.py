"""Servers that answer wrongly, slowly or for ever, on 127.0.0.1.

A fetched file is the whole file or none; only the documented errors come out, in bounded time and
space. `MRCNN_MUTATIONS` sets the number of seeded mutations.
"""

import contextlib
import hashlib
import os
import random
import socket
import threading
import time
import urllib.request

import pytest

from mrcnn.files import fetch as fetching
from mrcnn.files.fetch import ChecksumError, FetchError, fetch
from mrcnn.files.http_client import _Redirects
from tests.counts import num_mutations

COUNT = num_mutations(100)
CONTENT = random.Random(0).randbytes(20_000)
SHA = hashlib.sha256(CONTENT).hexdigest()
QUICK = {"timeout": 0.4, "backoff": 0.001, "retries": 1}
PAGE = b"<html>sign in</html>"


class RawServer:
    """Answers every connection with what `answer(socket, request, number)` sends."""

    def __init__(self, answer):
        self.answer, self.requests = answer, []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.closing = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closing.set()
        self._socket.close()

    def url(self, path="a.bin"):
        return f"http://127.0.0.1:{self.port}/{path}"

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(
                    target=self._one, args=(self._socket.accept()[0],), daemon=True
                ).start()

    def _one(self, connection):
        with connection, contextlib.suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                got = connection.recv(65536)
                if not got:
                    return
                request += got
            self.requests.append(request.decode("latin-1"))
            self.answer(self, connection, len(self.requests) - 1)

    def drip(self, connection, data, pause):
        for byte in data:
            connection.sendall(bytes([byte]))
            if self.closing.wait(pause):
                return


def response(body=CONTENT, status="200 OK", length=True, **headers):
    lines = [f"HTTP/1.1 {status}"]
    if length is not None and length is not False:
        lines.append(f"Content-Length: {len(body) if length is True else length}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def sends(*answers):
    """The answers in turn, the last one for ever."""
    return lambda server, connection, number: connection.sendall(
        answers[min(number, len(answers) - 1)]
    )


def chunked(*parts):
    return b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts)


def refused(server, path, match=None, error=FetchError, **options):
    with pytest.raises(error, match=match) as caught:
        fetch(server.url(), path, **{**QUICK, **options})
    assert not path.exists()
    return caught.value


@pytest.mark.parametrize("status", [201, 202, 203, 204, 205, 206, 226, 299])
def test_other_statuses_than_200_are_no_file(tmp_path, status):
    with RawServer(sends(response(PAGE, f"{status} Fine"))) as server:
        error = refused(server, tmp_path / "a.bin")
    assert error.status == status


@pytest.mark.parametrize("extra", [b"x", CONTENT])
def test_a_content_length_that_is_too_small(tmp_path, extra):
    with RawServer(sends(response(CONTENT + extra, length=len(CONTENT)))) as server:
        refused(server, tmp_path / "a.bin", "Content-Length is 20000, but the server sends more")


def test_a_connection_that_stays_open_after_the_body(tmp_path):
    def answer(server, connection, number):
        connection.sendall(response())
        server.closing.wait(5)

    with RawServer(answer) as server:
        began = time.monotonic()
        assert fetch(server.url(), tmp_path / "a.bin", **QUICK).size == len(CONTENT)
        assert time.monotonic() - began < 2


def test_a_body_whose_end_cannot_be_told_from_a_cut(tmp_path):
    with RawServer(sends(response(CONTENT[:5000], length=None))) as server:
        refused(server, tmp_path / "a.bin", "it must send Content-Length")
        refused(server, tmp_path / "a.bin", error=ChecksumError, checksum=SHA)
        refused(server, tmp_path / "a.bin", "5,000 bytes, expected 20,000", size=len(CONTENT))
    with RawServer(sends(response(length=None))) as server:
        assert fetch(server.url(), tmp_path / "a.bin", checksum=SHA, **QUICK).digest == SHA


def test_chunked_bodies(tmp_path):
    whole = response(chunked(CONTENT, b""), length=None, Transfer_Encoding="chunked")
    with RawServer(sends(whole)) as server:
        assert fetch(server.url(), tmp_path / "a.bin", **QUICK).size == len(CONTENT)
    cut = response(chunked(CONTENT), length=None, Transfer_Encoding="chunked")
    with RawServer(sends(cut)) as server:
        refused(server, tmp_path / "b.bin", "IncompleteRead")


def slow_body(server, connection, number):
    connection.sendall(response(b"", length=10_000))
    server.drip(connection, bytes(10_000), 0.1)


def slow_headers(server, connection, number):
    server.drip(connection, b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000, 0.1)


def slow_status_line(server, connection, number):
    server.drip(connection, b"HTTP/1.1 200 " + b"O" * 10_000, 0.1)


def silence(server, connection, number):
    server.closing.wait(20)


def slow_redirects(server, connection, number):
    server.closing.wait(0.15)
    connection.sendall(response(b"", "302 Found", Location=server.url(f"{number}")))


def slow_chunks(server, connection, number):
    connection.sendall(response(b"", length=None, Transfer_Encoding="chunked"))
    while not server.closing.wait(0.1):
        connection.sendall(b"1\r\nx\r\n")


@pytest.mark.parametrize(
    "answer",
    [slow_body, slow_headers, slow_status_line, silence, slow_redirects, slow_chunks],
    ids=lambda answer: answer.__name__,
)
def test_a_slow_server_is_given_up(tmp_path, answer):
    began = time.monotonic()
    with RawServer(answer) as server:
        refused(server, tmp_path / "a.bin", "no answer in 0.4 s|slower than 1000 bytes per second")
        assert len(server.requests) >= 2
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("head", [b"X: y\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"x"])
def test_headers_that_never_end(tmp_path, head):
    def answer(server, connection, number):
        connection.sendall(b"HTTP/1.1 200 OK\r\n" if head[:1] == b"X" else b"")
        while not server.closing.is_set():
            connection.sendall(head * 1000)

    began = time.monotonic()
    with RawServer(answer) as server:
        refused(server, tmp_path / "a.bin")
    assert time.monotonic() - began < 3


def endless(head):
    def answer(server, connection, number):
        connection.sendall(head)
        block = chunked(bytes(2**16)) if b"chunked" in head else bytes(2**16)
        while not server.closing.is_set():
            connection.sendall(block)

    return answer


@pytest.mark.parametrize(
    ("head", "options"),
    [
        (response(b"", length=None, Transfer_Encoding="chunked"), {}),
        (response(b"", length=None), {"checksum": SHA}),
        (response(b"", length=None), {"size": 20_000}),
        (response(b"", length=None, Transfer_Encoding="chunked"), {"size": 20_000}),
    ],
)
def test_endless_bodies_are_cut_off(tmp_path, monkeypatch, head, options):
    monkeypatch.setattr(fetching, "MAX_UNKNOWN_SIZE", 2**20)
    with RawServer(endless(head)) as server:
        refused(server, tmp_path / "a.bin", "is longer than", **options)
    assert list(tmp_path.iterdir()) == []


def test_endless_bodies_of_other_answers_are_not_read(tmp_path):
    for status, more in (("302 Found", {"Location": "/b.bin"}), ("404 Not Found", {}),
                         ("500 Error", {}), ("203 Fine", {})):  # fmt: skip
        head = response(b"", status, length=None, **more)
        began = time.monotonic()
        with RawServer(endless(head)) as server:
            refused(server, tmp_path / "a.bin")
        assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("length", "options"),
    [(10**15, {}), (30_000, {"size": 20_000}), (5, {"size": 20_000})],
)
def test_another_size_is_refused_before_the_body(tmp_path, length, options):
    with RawServer(sends(response(length=length))) as server:
        refused(server, tmp_path / "a.bin", r"it has [\d,]+ bytes", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", ["-5", "abc", "\xb2", "9" * 5000, "", "1e4", "20000, 20000"])
def test_lengths_that_are_no_numbers(tmp_path, length):
    with RawServer(sends(response(length=length))) as server:
        refused(server, tmp_path / "a.bin")


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "http://[::1", "//", "/a.bin", ""],
)
def test_redirects_that_lead_nowhere(tmp_path, location):
    with RawServer(sends(response(b"", "302 Found", Location=location))) as server:
        refused(server, tmp_path / "a.bin")


def test_redirects_to_the_file_and_away_from_https(tmp_path):
    moved = response(b"", "302 Found", Location="/b.bin")
    with RawServer(sends(moved, response())) as server:
        assert fetch(server.url(), tmp_path / "a.bin", **QUICK).size == len(CONTENT)
    request = urllib.request.Request("https://example.org/a")
    for target, allowed in (("https://example.net/b", True), ("http://example.org/a", False)):
        call = (request, open(os.devnull, "rb"), 302, "Found", {}, target)
        if allowed:
            assert _Redirects().redirect_request(*call).full_url == target
        else:
            with pytest.raises(FetchError, match="must not lead from https to http"):
                _Redirects().redirect_request(*call)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content_Range": "bytes 0-19999/20000"}, CONTENT),
        ({"Content_Range": "bytes 5001-19999/20000"}, CONTENT[5001:]),
        ({"Content_Range": "bytes 5000-19999/30000"}, CONTENT[5000:]),
        ({"Content_Range": "bytes 5000-9999/20000"}, CONTENT[5000:10000]),
        ({"Content_Range": "bytes 19999-5000/20000"}, CONTENT[5000:]),
        ({"Content_Range": "bytes 5000-19999/20000"}, CONTENT[5000:6000]),
        ({"Content_Range": "items 5000-19999/20000"}, CONTENT[5000:]),
        ({}, CONTENT[5000:]),
        ({"Content_Range": "bytes 5000-19999/20000", "ETag": '"other"'}, CONTENT[:15000]),
        ({"Content_Range": f"bytes {'9' * 5000}-1/2"}, CONTENT[5000:]),
    ],
)
def test_parts_that_do_not_continue_the_file(tmp_path, headers, body):
    """They are thrown away, and the whole file is fetched."""
    first = response(CONTENT[:5000], length=20_000, ETag='"own"')
    rest = response(body, "206 Partial Content", **{"ETag": '"own"', **headers})
    with RawServer(sends(first, rest, response(ETag='"own"'))) as server:
        fetch(server.url(), tmp_path / "a.bin", **{**QUICK, "retries": 3})
        assert "Range: bytes=5000-" in server.requests[1]
        assert 'If-Range: "own"' in server.requests[1]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_server_that_brings_a_byte_at_a_time_is_given_up(tmp_path):
    def answer(server, connection, number):
        ranged = "Range: bytes=" in server.requests[number]
        start = int(server.requests[number].split("bytes=")[1].split("-")[0]) if ranged else 0
        status = "206 Partial Content" if ranged else "200 OK"
        content_range = {"Content_Range": f"bytes {start}-19999/20000"} if ranged else {}
        connection.sendall(
            response(
                CONTENT[start:][:1], status, length=20_000 - start, ETag='"a"', **content_range
            )
        )

    with RawServer(answer) as server:
        refused(server, tmp_path / "a.bin", "connection closed at byte", retries=4)
        assert len(server.requests) < 10


def test_escape_codes_of_a_server_do_not_reach_the_message(tmp_path):
    with RawServer(sends(response(b"", "404 \x1b[2Jgone"))) as server:
        assert "\x1b" not in str(refused(server, tmp_path / "a.bin", "x1b"))


def mutated(rng):
    valid = [
        response(ETag='"a"'),
        response(chunked(CONTENT, b""), length=None, Transfer_Encoding="chunked"),
        response(CONTENT[500:], "206 Partial Content", Content_Range="bytes 500-19999/20000"),
        response(b"", "302 Found", Location="/b"),
    ]
    data = bytearray(rng.choice(valid))
    for _ in range(rng.choice([0, 1, 3, 10])):
        data[rng.randrange(min(len(data), rng.choice([120, 20_000])))] = rng.randrange(256)
    if rng.random() < 0.3:
        del data[rng.randrange(len(data)) :]
    return bytes(data)


def test_mutated_answers(tmp_path):
    path = tmp_path / "a.bin"
    options = {**QUICK, "timeout": 0.2, "retries": 2}
    for seed in range(COUNT):
        rng = random.Random(seed)
        answers = [mutated(rng) for _ in range(rng.randint(1, 3))]
        began = time.monotonic()
        with RawServer(sends(*answers)) as server:
            with contextlib.suppress(FetchError):
                fetch(server.url(), path, checksum=SHA, **options)
                assert path.read_bytes() == CONTENT, seed
        assert time.monotonic() - began < 5, seed
        for entry in tmp_path.iterdir():
            entry.unlink()
