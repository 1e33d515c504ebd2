"""The records of a run, one line of JSON for each image, written while it runs.

    {"run": {"version": 1, "options": {...}}}
    {"source": "/photos/a.jpg", "image_id": 1, "file_name": "a.jpg", "output": "a", "width": ...}

A process that is killed leaves whole lines and at most one that is cut, which counts as none. The
options come first, so that a continued run cannot mix results of different ones.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mrcnn.files.atomic import atomic_path
from mrcnn.files.locking import try_to_lock
from mrcnn.files.names import printable, shown

LOG_NAME = "detections.jsonl"
_VERSION = 1


@dataclass(frozen=True)
class _Line:
    """Where a record lies in the file, and what decides whether it is kept."""

    start: int
    end: int
    record: dict[str, Any]


class ResultLog:
    """The file of records in a folder of results.

    Args:
        folder: the folder; it exists.
        options: what the results depend on, as JSON holds it.
        resume: keep the records of an earlier run with the same options. Those of images that
            failed are dropped, and those of videos that were not finished. Otherwise the file
            starts empty.

    Attributes:
        path: the file.
        image_ids: `image_id` by place, of each image that has a record.
        names: names of the result files by place, of each image and video that has a record.
        last_id: the largest `image_id`, 0 without records.

    Raises:
        ValueError: another process writes the file; with `resume`, it was written with other
            options, or is of another kind.
        OSError: it cannot be read or written.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any], *, resume: bool = False) -> None:
        self.path = folder / LOG_NAME
        self.image_ids: dict[str, int] = {}
        self.names: dict[str, str] = {}
        self.last_id = 0
        self._file: io.FileIO | None = None
        if self.path.exists():
            with open(self.path, "rb") as file:
                self._lock(file)
        self._header = {"run": {"version": _VERSION, "options": dict(options)}}
        kept = self._kept(dict(options)) if resume and self.path.exists() else None
        self._is_new = kept is None
        if kept is not None:
            self._compact(kept)

    def open(self) -> None:
        """Begin to append; a file that is not continued is replaced now.

        Raises:
            OSError: the file cannot be written.
        """
        if self._is_new:
            with atomic_path(self.path) as temporary:
                temporary.write_bytes(as_line(self._header))
        self._file = io.FileIO(self.path, "a")
        self._lock(self._file)

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record; a line that does not fit on the disk is removed again.

        Raises:
            OSError: the disk is full, for example; the message has the path of the file.
        """
        if self._file is None:
            raise ValueError(f"{printable(self.path)} is not open")
        line = memoryview(as_line(record))
        size = os.fstat(self._file.fileno()).st_size
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            self._file.truncate(size)
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the records of images and frames, in the order of the file."""
        for _, _, record in _lines(self.path):
            if "image_id" in record:
                yield record

    def close(self) -> None:
        """Close the file; further calls have no effect."""
        if self._file is not None:
            self._file.close()

    def _lock(self, file: IO[bytes]) -> None:
        """Lock the file until it is closed; refuse one that another process has locked."""
        if not try_to_lock(file):
            raise ValueError(
                f"{printable(self.path)} is being written by another process, which must end first"
            )

    def _kept(self, options: dict[str, Any]) -> list[_Line] | None:
        """Return the header and the records to keep; None if the file has no whole line."""
        lines = [_Line(start, end, _head(record)) for start, end, record in _lines(self.path)]
        if not lines:
            return None
        header = lines[0].record.get("run")
        if not isinstance(header, dict) or header.get("version") != _VERSION:
            raise ValueError(
                f"{printable(self.path)} is no file of this version of mrcnn; move it away, or "
                "choose another folder"
            )
        _check_options(header.get("options"), json.loads(json.dumps(options)), self.path)
        finished = {line.record["source"] for line in lines[1:] if "frames" in line.record}
        by_image: dict[tuple[str, Any], _Line] = {}
        for line in lines[1:]:
            record = line.record
            is_whole = "frame" not in record or record["source"] in finished
            if "error" not in record and is_whole:
                by_image[record["source"], record.get("frame")] = line
        return [lines[0], *by_image.values()]

    def _compact(self, kept: list[_Line]) -> None:
        """Leave only these lines in the file, and learn what they record."""
        for line in kept[1:]:
            record = line.record
            self.names[record["source"]] = record["output"]
            self.last_id = max(self.last_id, record.get("image_id", 0))
            if "frame" not in record and "image_id" in record:
                self.image_ids[record["source"]] = record["image_id"]
        if sum(line.end - line.start for line in kept) == self.path.stat().st_size:
            return
        with atomic_path(self.path) as temporary, open(self.path, "rb") as old:
            with open(temporary, "wb") as new:
                for line in kept:
                    old.seek(line.start)
                    new.write(old.read(line.end - line.start))
            shutil.copymode(self.path, temporary)


def as_line(record: Mapping[str, Any]) -> bytes:
    """Return a record as one line of JSON.

    Surrogates, with which Python holds file names that are not UTF-8, become escapes.
    """
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _lines(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield (start, end, value) of every whole line that holds a JSON object."""
    start = 0
    with open(path, "rb") as file:
        for line in file:
            end = start + len(line)
            if line.endswith(b"\n"):
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError):
                    record = None
                if isinstance(record, dict) and (start == 0 or _is_record(record)):
                    yield start, end, record
            start = end


def _head(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without the objects, which take the memory."""
    return {key: value for key, value in record.items() if key != "objects"}


def _is_record(record: dict[str, Any]) -> bool:
    """Return whether a line is the record of an image, a frame or a finished video."""
    of_image = isinstance(record.get("image_id"), int) or isinstance(record.get("frames"), int)
    return of_image and isinstance(record.get("source"), str) and "output" in record


def _check_options(old: Any, new: dict[str, Any], path: Path) -> None:
    """Refuse to mix the results of two sets of options."""
    different = list(differences(old if isinstance(old, dict) else {}, new))
    if different:
        raise ValueError(
            f"{printable(path)} holds results of other options ({'; '.join(different)}); continue "
            "with the same options, choose another folder, or start again without skipping "
            "existing results"
        )


def differences(
    old: dict[str, Any], new: dict[str, Any], missing: str = "nothing"
) -> Iterator[str]:
    """Yield what differs between two sets of options, those of inner sets one by one.

    Args:
        old: options of an earlier run, as JSON holds them.
        new: those of this one.
        missing: what an option that is not there is called.
    """
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from differences(before, after, "the default")
        elif before != after:
            was, now = (missing if value is None else shown(value, 60) for value in (before, after))
            yield f"{name} was {was} and is {now}"
