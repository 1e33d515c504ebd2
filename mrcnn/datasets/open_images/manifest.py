"""`manifest.jsonl`: what an Open Images download has finished."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from mrcnn.datasets.open_images.tables import OpenImagesFolder
from mrcnn.files.atomic import write_text


class Manifest:
    """A line for each finished table, image and kept archive.

    Lines are only appended, so that a killed process leaves at most half of the last line, which
    is dropped when the file is read again. The file is rewritten, sorted, at the end of a run.
    """

    def __init__(self, folder: OpenImagesFolder):
        """Read the manifest of a folder, where there is one.

        Args:
            folder: the folder of the download.
        """
        self._folder = folder
        self._lock = threading.Lock()
        self._records: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in folder.manifest.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                    record = json.loads(line)
                    self._records[str(record["path"])] = record

    def __enter__(self) -> Manifest:
        self.compact()  # also ends half a line, so that the next one begins a line of its own
        self._stream = open(self._folder.manifest, "a", encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stream.close()

    def is_done(self, path: Path) -> bool:
        """Return whether the file was finished and still has its size."""
        record = self._records.get(self._name(path))
        if record is None or "size" not in record:
            return False
        try:
            return path.stat().st_size == record["size"]
        except FileNotFoundError:
            return False

    def is_absent(self, path: Path) -> bool:
        """Return whether the server was found not to have the file."""
        return bool(self.fact(path, "absent"))

    def fact(self, path: Path, name: str) -> Any:
        """Return a fact that `add` noted of a file; None where there is none."""
        return self._records.get(self._name(path), {}).get(name)

    def add(self, path: Path, **facts: int | str | bool | None) -> None:
        """Add facts about a file; those that are None are ignored."""
        name = self._name(path)
        with self._lock:
            known = self._records.get(name, {})
            record = {"path": name, **known}
            record.update({name: fact for name, fact in facts.items() if fact is not None})
            if known != record:
                self._write(name, record)

    def forget(self, path: Path) -> None:
        """Delete a file and the facts about it."""
        path.unlink(missing_ok=True)
        name = self._name(path)
        with self._lock:
            if name in self._records:
                self._write(name, {"path": name})

    def compact(self) -> None:
        """Rewrite the file: a line for each path, sorted."""
        with self._lock:
            known = {name: record for name, record in self._records.items() if len(record) > 1}
            lines = [json.dumps(record) + "\n" for _, record in sorted(known.items())]
            write_text(self._folder.manifest, "".join(lines))

    def _write(self, name: str, record: dict[str, Any]) -> None:
        self._records[name] = record
        self._stream.write(json.dumps(record) + "\n")
        self._stream.flush()

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder.root).as_posix()
