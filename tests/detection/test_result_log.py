"""Records of a run: whole lines, whatever happens, and no mixture of options."""

import errno
import json
import sys

import pytest

from mrcnn.detection.result_log import LOG_NAME, ResultLog

OPTIONS = {"weights": "abc", "tile": None, "classes": [1, 2], "settings": {"A": 2}}


def record(name, image_id, **more):
    return {"source": f"/{name}", "image_id": image_id, "output": name, "objects": [], **more}


def write(folder, *records, options=OPTIONS, resume=False):
    log = ResultLog(folder, options, resume=resume)
    log.open()
    for one in records:
        log.append(one)
    log.close()
    return log


def read(folder):
    return list(ResultLog(folder, OPTIONS, resume=True).records())


def test_records_come_back(tmp_path):
    name = "caf\udce9 \n\u202e \\udc00"
    records = [record(name, 1), record("b", 2, error="no image")]
    assert list(write(tmp_path, *records).records()) == records
    assert len((tmp_path / LOG_NAME).read_bytes().split(b"\n")) == 4


def test_a_run_without_resume_starts_empty_when_it_is_opened(tmp_path):
    write(tmp_path, record("a", 1))
    log = ResultLog(tmp_path, {})
    assert len(list(log.records())) == 1
    log.open()
    assert list(log.records()) == [] and log.image_ids == {}
    log.close()


def test_resume_learns_what_is_done(tmp_path):
    write(tmp_path, record("a", 1), record("b", 7, width=3), record("c", 3, error="broken"))
    log = ResultLog(tmp_path, OPTIONS, resume=True)
    assert log.image_ids == {"/a": 1, "/b": 7}
    assert log.names == {"/a": "a", "/b": "b"} and log.last_id == 7
    assert [r["source"] for r in log.records()] == ["/a", "/b"]  # the failed one is dropped


def frame(name, image_id, number):
    return record(name, image_id, frame=number, seconds=0.1)


def test_frames_count_where_their_video_is_finished(tmp_path):
    end = {"source": "/v", "output": "v", "frames": 2}
    frames = [frame("v", 1, 0), frame("w", 2, 0), frame("v", 3, 1)]
    write(tmp_path, *frames, end)
    log = ResultLog(tmp_path, OPTIONS, resume=True)
    assert log.names == {"/v": "v"} and log.image_ids == {} and log.last_id == 3
    assert [r["image_id"] for r in log.records()] == [1, 3]


TAILS = {
    "nothing": b"",
    "cut line": b'{"source": "/b", "image_id"',
    "cut after a bracket": b'{"source":"/b","image_id":2,"output":"b"}',
    "zeros of a crash": b"\0" * 100,
    "zeros and a line break": b"\0" * 100 + b"\n",
    "another value": b"[1, 2]\n3\n",
    "other keys": b'{"source": 1, "image_id": 2, "output": "b"}\n{}\n',
    "not UTF-8": b'{"source": "\xff"}\n',
    "nested": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_what_a_kill_leaves_at_the_end_counts_as_nothing(tmp_path, tail):
    write(tmp_path, record("a", 1))
    with open(tmp_path / LOG_NAME, "ab") as file:
        file.write(tail)
    write(tmp_path, record("b", 2), resume=True)
    assert [r["source"] for r in read(tmp_path)] == ["/a", "/b"]
    assert len((tmp_path / LOG_NAME).read_bytes().split(b"\n")) == 4


def test_every_cut_of_the_file(tmp_path):
    write(tmp_path, record("a", 1), record("b", 2))
    content = (tmp_path / LOG_NAME).read_bytes()
    for length in range(len(content)):
        (tmp_path / LOG_NAME).write_bytes(content[:length])
        whole = max(content[:length].count(b"\n") - 1, 0)
        log = write(tmp_path, record("c", 3), resume=True)
        assert [r["source"] for r in log.records()] == [*["/a", "/b"][:whole], "/c"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({**OPTIONS, "weights": "xyz"}, "other options .weights was 'abc' and is 'xyz'.; continue"),
        ({**OPTIONS, "tile": 9, "classes": [1]}, "classes was .*; tile was nothing and is 9"),
        (
            {**OPTIONS, "settings": {"A": 1, "B": 4}},
            "options .A was 2 and is 1; B was the default a",
        ),
        ({**OPTIONS, "new": True}, "new was nothing and is True"),
    ],
)
def test_results_of_other_options_are_not_mixed(tmp_path, options, message):
    write(tmp_path, record("a", 1))
    before = (tmp_path / LOG_NAME).read_bytes()
    with pytest.raises(ValueError, match=message):
        ResultLog(tmp_path, options, resume=True)
    assert (tmp_path / LOG_NAME).read_bytes() == before


@pytest.mark.parametrize("content", [b'{"a": 1}\n', b'{"run": {"version": 2}}\n', b'{"run": 3}\n'])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / LOG_NAME).write_bytes(content)
    with pytest.raises(ValueError, match="is no file of this version of mrcnn; move it away"):
        ResultLog(tmp_path, OPTIONS, resume=True)


def test_tuples_are_lists_in_json(tmp_path):
    write(tmp_path, record("a", 1), options={"classes": (1, 2)})
    assert ResultLog(tmp_path, {"classes": (1, 2)}, resume=True).names == {"/a": "a"}


class FullDisk:
    """A file that takes some bytes, then no more."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        part = bytes(data)[: self.room]
        self.room -= len(part)
        return self.file.write(part)

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize("room", [0, 1, 30])
def test_a_line_that_does_not_fit_is_removed(tmp_path, room):
    log = ResultLog(tmp_path, OPTIONS)
    log.open()
    log.append(record("a", 1))
    before = log.path.read_bytes()
    file, log._file = log._file, FullDisk(log._file, room)
    with pytest.raises(OSError, match=f"No space left on device: '.*{LOG_NAME}'"):
        log.append(record("b", 2))
    assert log.path.read_bytes() == before
    log._file = file
    log.append(record("c", 3))
    assert [json.loads(line)["source"] for line in log.path.read_text().splitlines()[1:]] == [
        "/a",
        "/c",
    ]
    log.close()


def test_a_short_write_is_continued(tmp_path):
    log = ResultLog(tmp_path, OPTIONS)
    log.open()
    write_all = log._file

    class Slow(FullDisk):
        def write(self, data):
            return self.file.write(bytes(data)[:7])

    log._file = Slow(write_all, 0)
    log.append(record("a", 1))
    assert list(log.records()) == [record("a", 1)]
    log.close()


@pytest.mark.skipif(sys.platform == "win32", reason="files are not locked there")
@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_in_which_another_run_writes(tmp_path, resume):
    log = ResultLog(tmp_path, OPTIONS)
    log.open()
    with pytest.raises(ValueError, match="is being written by another process, which must end fir"):
        ResultLog(tmp_path, OPTIONS, resume=resume)
    log.append(record("a", 1))
    log.close()
    assert len(list(ResultLog(tmp_path, OPTIONS, resume=resume).records())) == 1
