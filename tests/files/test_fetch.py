"""The resumable download of one file."""

import hashlib
import random
import threading

import pytest

from mrcnn.files import fetch as fetching
from mrcnn.files.fetch import (
    ChecksumError,
    FetchError,
    FetchStopped,
    content_digest,
    fetch,
    parse_checksum,
)
from tests.local_server import Fault, LocalServer

CONTENT = random.Random(0).randbytes(30_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
FAST = {"backoff": 0.001, "timeout": 5.0}


@pytest.fixture
def server():
    with LocalServer({"a.bin": CONTENT}) as running:
        yield running


def faults(*listed):
    """The first requests fail as listed, all others succeed."""
    return lambda method, path, number: listed[number] if number < len(listed) else None


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_fetches_whole_file_and_makes_folders(server, tmp_path):
    seen = []
    result = fetch(
        server.url("a.bin"), tmp_path / "x/y/a.bin", progress=lambda *now: seen.append(now)
    )
    assert (tmp_path / "x/y/a.bin").read_bytes() == CONTENT
    assert (result.size, result.transferred, result.digest) == (30_000, 30_000, None)
    assert seen[-1] == (30_000, 30_000)
    assert names(tmp_path / "x/y") == ["a.bin"]


@pytest.mark.parametrize("published", ["etag", "goog", "date"])
@pytest.mark.parametrize("reset", [False, True])
def test_dropped_connection_goes_on_at_the_byte(tmp_path, published, reset):
    with LocalServer({"a.bin": CONTENT}, published) as server:
        server.fault = faults(Fault(drop_after=10_000), Fault(drop_after=5_000, reset=reset))
        result = fetch(server.url("a.bin"), tmp_path / "a.bin", etag_is_md5=True, **FAST)
        assert (tmp_path / "a.bin").read_bytes() == CONTENT
        assert result.digest == (None if published == "date" else MD5)
        starts = [request.start for request in server.log]
        assert starts[:2] == [0, 10_000]
        assert reset or starts == [0, 10_000, 15_000]
        assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("ranges, published", [(False, "etag"), (True, "none")])
def test_server_without_ranges_or_validator_starts_over(tmp_path, ranges, published):
    with LocalServer({"a.bin": CONTENT}, published) as server:
        server.ranges = ranges
        server.fault = faults(Fault(drop_after=20_000))
        fetch(server.url("a.bin"), tmp_path / "a.bin", **FAST)
        assert (tmp_path / "a.bin").read_bytes() == CONTENT
        assert [request.start for request in server.log] == [0, 0]


def test_later_call_resumes_what_an_earlier_one_left(server, tmp_path):
    server.fault = faults(Fault(drop_after=12_345), Fault(status=404))
    with pytest.raises(FetchError) as caught:
        fetch(server.url("a.bin"), tmp_path / "a.bin", **FAST)
    assert caught.value.status == 404
    assert names(tmp_path) == ["a.bin.part", "a.bin.part.json"]
    result = fetch(server.url("a.bin"), tmp_path / "a.bin", **FAST)
    assert result.transferred == 30_000 - 12_345
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_changed_file_is_not_glued_to_the_old_part(server, tmp_path):
    newer = CONTENT[::-1]
    server.fault = faults(Fault(drop_after=9_000), Fault(status=404))
    with pytest.raises(FetchError):
        fetch(server.url("a.bin"), tmp_path / "a.bin", **FAST)
    server.files["a.bin"] = newer
    assert fetch(server.url("a.bin"), tmp_path / "a.bin", **FAST).transferred == 30_000
    assert (tmp_path / "a.bin").read_bytes() == newer


def test_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    server.fault = faults(Fault(drop_after=9_000), Fault(status=404))
    with pytest.raises(FetchError):
        fetch(server.url("a.bin"), tmp_path / "a.bin", **FAST)
    with open(tmp_path / "a.bin.part", "ab") as stream:
        stream.write(bytes(40_000))
    fetch(server.url("a.bin"), tmp_path / "a.bin", **FAST)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("record", ["", "{", "[]", '{"url": 1}', '{"size": 3}'])
def test_unreadable_record_of_a_part_starts_over(server, tmp_path, record):
    (tmp_path / "a.bin.part").write_bytes(b"rubbish")
    (tmp_path / "a.bin.part.json").write_text(record)
    fetch(server.url("a.bin"), tmp_path / "a.bin", **FAST)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert names(tmp_path) == ["a.bin"]


def test_complete_part_is_renamed_without_another_byte(server, tmp_path, monkeypatch):
    def killed(part, path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fetching._PartFile, "finish", killed)
        fetch(server.url("a.bin"), tmp_path / "a.bin", **FAST)
    assert fetch(server.url("a.bin"), tmp_path / "a.bin", **FAST).transferred == 0
    assert server.paths() == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_corrupt_body_is_fetched_again_once(server, tmp_path):
    server.fault = faults(Fault(corrupt=True))
    result = fetch(server.url("a.bin"), tmp_path / "a.bin", etag_is_md5=True, **FAST)
    assert (result.digest, result.transferred) == (MD5, 60_000)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_wrong_checksum_leaves_nothing_behind(server, tmp_path):
    with pytest.raises(ChecksumError, match="expected 0000"):
        fetch(server.url("a.bin"), tmp_path / "a.bin", checksum="md5:" + "0" * 32, **FAST)
    assert names(tmp_path) == []


def test_existing_file_with_checksum_needs_no_network(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(CONTENT)
    sha = hashlib.sha256(CONTENT).hexdigest()
    for checksum in (sha, f"sha256:{sha.upper()}", f"md5:{MD5}"):
        assert fetch(server.url("a.bin"), tmp_path / "a.bin", checksum=checksum).transferred == 0
    assert server.log == []


@pytest.mark.parametrize("content, again", [(CONTENT, 0), (CONTENT[:-1], 1), (CONTENT[::-1], 1)])
def test_existing_file_without_checksum_is_compared_with_the_server(
    server, tmp_path, content, again
):
    (tmp_path / "a.bin").write_bytes(content)
    (tmp_path / "a.bin.part.json").write_text("{}")
    fetch(server.url("a.bin"), tmp_path / "a.bin", etag_is_md5=True)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.paths("HEAD") == ["a.bin"] and server.paths() == ["a.bin"] * again
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("status, requests", [(404, 1), (403, 1), (500, 3), (503, 3)])
def test_final_answers_are_not_repeated(server, tmp_path, status, requests):
    server.fault = lambda *_: Fault(status=status)
    with pytest.raises(FetchError) as caught:
        fetch(server.url("a.bin"), tmp_path / "a.bin", retries=2, **FAST)
    assert caught.value.status == status
    assert len(server.log) == requests


def test_attempts_that_bring_bytes_do_not_count(server, tmp_path):
    server.fault = faults(*[Fault(drop_after=1_000)] * 20)
    assert fetch(server.url("a.bin"), tmp_path / "a.bin", retries=1, **FAST).transferred == 30_000
    assert len(server.log) == 21


def test_attempts_in_vain_end(server, tmp_path):
    server.ranges = False
    server.fault = lambda *_: Fault(drop_after=1_000)
    with pytest.raises(FetchError, match="byte 1000 of 30000"):
        fetch(server.url("a.bin"), tmp_path / "a.bin", retries=3, **FAST)
    assert len(server.log) == 4


def test_stop_keeps_what_came(server, tmp_path):
    stop = threading.Event()
    with pytest.raises(FetchStopped):
        fetch(server.url("a.bin"), tmp_path / "a.bin", stop=stop, progress=lambda *now: stop.set())
    kept = (tmp_path / "a.bin.part").stat().st_size
    assert kept > 0 and not (tmp_path / "a.bin").exists()
    assert fetch(server.url("a.bin"), tmp_path / "a.bin").transferred == 30_000 - kept


def test_empty_file(tmp_path):
    with LocalServer({"empty": b""}) as server:
        assert fetch(server.url("empty"), tmp_path / "empty").size == 0
    assert (tmp_path / "empty").read_bytes() == b""


def test_unreachable_server(tmp_path):
    with LocalServer({}) as server:
        url = server.url("a.bin")
    with pytest.raises(FetchError, match="attempt 2 of 2"):
        fetch(url, tmp_path / "a.bin", retries=1, **FAST)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "a.bin", "ftp://host/a"])
def test_other_schemes_are_refused(tmp_path, url):
    with pytest.raises(ValueError, match="must start with http"):
        fetch(url, tmp_path / "a.bin")


@pytest.mark.parametrize("checksum", ["abc", "md5:abc", "crc:" + "0" * 32, "sha256:" + "g" * 64])
def test_unknown_checksum_forms_are_refused(checksum):
    with pytest.raises(ValueError, match="checksum is"):
        parse_checksum(checksum)


def test_the_digest_of_a_content(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    assert content_digest(path) == hashlib.sha256(b"1").hexdigest()[:16]
