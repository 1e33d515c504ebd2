"""Log folders, `<NAME><date>T<hour and minute>`, and the checkpoints in them.

Matterport's package reads time and epoch from the names of folders and files. A training whose
minute is taken by another training therefore gets the name of the next free minute, not a suffix.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import secrets
import time
import warnings
from collections.abc import Iterator

from mrcnn.files.atomic import remove_stale, write_text
from mrcnn.files.locking import try_to_lock
from mrcnn.files.names import printable

TIME_FORMAT = "%Y%m%dT%H%M"
DESCRIPTION_FILE = "config.json"
# <log folder: name and time>/mask_rcnn_<name>_<epoch>.h5, or of another model <name>_<epoch>.h5,
# written on any system.
_CHECKPOINT = re.compile(
    r"(?:.*[/\\])?(?P<name>[^/\\]+)(?P<time>\d{8}T\d{4})[/\\]"
    r"(?:mask_rcnn_[^/\\]*?|(?P=name)_)(?P<epoch>\d{4,})\.h5"
)
_TIME = re.compile(r"\d{8}T\d{4}")
_WITH_TIME = re.compile(r"(?P<start>.*)(?P<time>\d{8}T\d{4})", re.DOTALL)
_EPOCH = re.compile(r"_(\d{4,})\.h5$")
# Temporary files that were last written before this process began belong to processes that ended.
_PROCESS_START = time.time()


def choose_folder(
    model_dir: str, name: str, model_path: str | os.PathLike[str] | None = None
) -> tuple[str, int, bool]:
    """Choose where a training writes.

    Args:
        model_dir: folder of log folders.
        name: `NAME` in lower case.
        model_path: the weights it starts from. A checkpoint's time and epoch are continued, and
            its folder too if it is of this name.

    Returns:
        `(folder, epoch, is_continued)`; `is_continued` is True if `model_path` is a checkpoint.
    """
    match = _CHECKPOINT.fullmatch(os.fspath(model_path)) if model_path else None
    if model_path is None or not match:
        folder = os.path.join(model_dir, f"{name}{datetime.datetime.now():{TIME_FORMAT}}")
        return free_folder(folder), 0, False
    folder = os.path.join(model_dir, f"{name}{match['time']}")
    if match["name"] == name and os.path.isdir(os.path.dirname(model_path)):
        folder = os.path.dirname(os.fspath(model_path))
    return folder, int(match["epoch"]), True


def newest_checkpoint(model_dir: str | os.PathLike[str], name: str) -> str:
    """Return the path of the newest complete checkpoint of a name.

    The newest training that has one counts. Trainings without a checkpoint (stopped before their
    first epoch ended) are passed over; so are damaged files, with a warning.

    Args:
        model_dir: folder of log folders.
        name: `NAME`, in any case. Folders `<name><time>` count; where there are none, as in
            Matterport's package, all that begin with the name.

    Raises:
        FileNotFoundError: there is no complete checkpoint.
    """
    model_dir, name = os.fspath(model_dir), name.lower()
    folders = _folders_of(model_dir, name)
    if not folders:
        raise FileNotFoundError(
            f"no checkpoint of a training {printable(name)!r} in {printable(model_dir)!r}: no "
            "folder there begins with this name"
        )
    for folder in reversed(folders):
        for path in _checkpoints_in(folder):
            if is_complete(path):
                return path
            warnings.warn(
                f"{printable(path)} is not a complete weight file; it is passed over",
                stacklevel=2,
            )
    raise FileNotFoundError(
        f"no checkpoint of a training {printable(name)!r} in {printable(model_dir)!r}: no complete "
        f"weight file mask_rcnn*.h5 in {', '.join(printable(folder) for folder in folders)}"
    )


def _folders_of(model_dir: str, name: str) -> list[str]:
    """Return the log folders of a name, the newest last."""
    if not os.path.isdir(model_dir):
        return []
    begin = sorted(f for f in os.listdir(model_dir) if f.lower().startswith(name))
    # A training named "cat" is not one named "catfish".
    exact = [f for f in begin if _TIME.fullmatch(f[len(name) :])]
    paths = [os.path.join(model_dir, f) for f in exact or begin]
    return [path for path in paths if os.path.isdir(path)]


def _checkpoints_in(folder: str) -> list[str]:
    """Return the weight files of a log folder, that of the last epoch first."""

    def epoch(file: str) -> tuple[int, str]:
        match = _EPOCH.search(file)
        return (int(match[1]) if match else -1), file

    name = _TIME.sub("", os.path.basename(folder))
    starts = ("mask_rcnn", f"{name}_") if name else "mask_rcnn"
    files = [f for f in os.listdir(folder) if f.startswith(starts) and f.endswith(".h5")]
    return [os.path.join(folder, f) for f in sorted(files, key=epoch, reverse=True)]


def remove_older_checkpoints(folder: str, keep: int) -> None:
    """Remove the checkpoints of a log folder but those of the last epochs; others stay.

    Args:
        folder: the log folder.
        keep: number of checkpoints that stay, at least 1.
    """
    numbered = [path for path in _checkpoints_in(folder) if _EPOCH.search(path)]
    for path in numbered[keep:]:
        with contextlib.suppress(OSError):
            os.unlink(path)


def is_complete(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is an HDF5 file that can be read to its end and holds something.

    A copy that was cut short, or a file that a full disk left empty, is not.
    """
    import h5py

    if not os.path.isfile(path):
        return False
    try:
        # HDF5 compares the length with the one that it noted when the file was closed.
        with h5py.File(path, "r") as file:
            return len(file) > 0
    except Exception:  # h5py has no exception of its own: OSError, RuntimeError, ValueError ...
        return False


def is_taken(folder: str) -> bool:
    """Return whether a training has written to this folder."""
    try:
        files = os.listdir(folder)
    except OSError:
        return False
    return any(f == DESCRIPTION_FILE or f.startswith(("mask_rcnn", "events.out")) for f in files)


def free_folder(folder: str) -> str:
    """Return this folder, or that of the first later minute which no training has."""
    while is_taken(folder):
        match = _WITH_TIME.fullmatch(folder)
        if not match:
            return folder  # named by the user
        try:
            minute = datetime.datetime.strptime(match["time"], TIME_FORMAT)
        except ValueError:
            return folder
        minute += datetime.timedelta(minutes=1)
        folder = f"{match['start']}{minute:{TIME_FORMAT}}"
    return folder


def claim_folder(folder: str, description: str = "{}\n") -> str:
    """Make the folder of a new training, a later minute's if another training has it.

    Args:
        folder: the path wanted.
        description: the content of `config.json`. The file is written atomically, and of
            several processes only one can make it: this reserves the folder.

    Returns:
        The path of the folder made.
    """
    while True:
        folder = free_folder(folder)
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, DESCRIPTION_FILE)
        try:
            _create(path, description)
            return folder
        except FileExistsError:
            # Another process was quicker since `free_folder` looked; or the user named the folder.
            if free_folder(folder) == folder:
                write_text(path, description)
                return folder


def _create(path: str, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
        FileExistsError: it exists already, perhaps since another process has just made it.
    """
    temporary = os.path.join(os.path.dirname(path), f".tmp-{secrets.token_hex(8)}.json")
    try:
        write_text(temporary, text)
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


@contextlib.contextmanager
def reserved(folder: str) -> Iterator[None]:
    """Reserve a log folder for the block: two trainings would replace each other's files.

    Raises:
        ValueError: another training is running there.
    """
    os.makedirs(folder, exist_ok=True)
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        yield
        return
    try:
        if not try_to_lock(handle):
            raise ValueError(
                f"{printable(folder)} is the log folder of a training that is running; it must end "
                "first"
            )
        yield
    finally:
        os.close(handle)


def remove_leftovers(folder: str) -> None:
    """Remove the temporary files that a killed training left in its log folder."""
    remove_stale(folder, before=_PROCESS_START)
