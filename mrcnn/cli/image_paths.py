"""The folder for the results of a command."""

from __future__ import annotations

import os
from pathlib import Path


def prepare_folder(folder: Path, name: str) -> None:
    """Make a folder for results, and check that files can be written there.

    Args:
        folder: the folder.
        name: what the folder is called in an error, such as "--output".

    Raises:
        ValueError: it is a file, or nothing can be written there.
    """
    from mrcnn.files.atomic import remove_stale

    probe = folder / f".tmp-{os.getpid()}-probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_stale(folder)
        probe.touch()
        probe.unlink()
    except FileExistsError as error:
        raise ValueError(f"{name} is {folder}, which is a file; it must be a folder") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ValueError(f"{name} is {folder} ({reason}); it must be a writable folder") from error
