"""Image files named on a command line, and the paths of their results."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

# The longest file name that common file systems allow, in bytes.
MAX_NAME_BYTES = 255
# Folders in archives made on a Mac: their files have the names of images and hold none.
_NO_IMAGES = "__MACOSX"


def find_images(words: Sequence[str]) -> list[Path]:
    """Return the image files that files, folders and patterns name, each once.

    Args:
        words: files (accepted with any suffix), folders (their images, sorted by name) and
            patterns such as `photos/*.jpg`, for shells that do not expand them. Folders and
            patterns do not find hidden files.

    Raises:
        FileNotFoundError: an argument names no file.
        ValueError: a word names something that is no regular file, such as a pipe or a device.
    """
    paths: list[Path] = []
    for word in words:
        path = Path(word).expanduser()
        if path.is_dir():
            found = _image_files(path.iterdir())
        elif path.is_file():
            found = [path]
        elif path.exists():
            raise ValueError(f"image is {word}; it must be a regular file or a folder")
        else:
            found = _image_files(Path(name) for name in glob.glob(str(path), recursive=True))
        if not found:
            reason = "a folder without images" if path.is_dir() else "no such file or folder"
            raise FileNotFoundError(f"image is {word}: {reason}")
        paths += found
    return list(dict.fromkeys(paths))


def plan_outputs(images: Sequence[Path], folder: Path, suffix: str = ".jpg") -> list[Path]:
    """Return a path in `folder` for the result of each image.

    No two results have the same path, and none has that of an image. Images of the same name get
    a number; a result that would overwrite its own image gets `_instances` after its name. Names
    that would be too long are cut.
    """
    sources = {os.path.realpath(path) for path in images}
    taken: set[Path] = set()
    planned = []
    for image in images:
        ending, number = "", 1
        target = _output(folder, image.stem, ending, suffix)
        if os.path.realpath(target) in sources:
            ending = "_instances"
            target = _output(folder, image.stem, ending, suffix)
        while target in taken or os.path.realpath(target) in sources:
            number += 1
            target = _output(folder, image.stem, f"{ending}_{number}", suffix)
        taken.add(target)
        planned.append(target)
    return planned


def _output(folder: Path, stem: str, ending: str, suffix: str) -> Path:
    """Return the path of a result, its stem cut to what a file name can hold."""
    room = MAX_NAME_BYTES - len(os.fsencode(ending + suffix))
    short = os.fsencode(stem)[:room]
    # Not in the middle of a character.
    while short and os.fsencode(stem) != short and not _is_whole(short, stem):
        short = short[:-1]
    return folder / f"{os.fsdecode(short)}{ending}{suffix}"


def _is_whole(start: bytes, stem: str) -> bool:
    return stem.startswith(os.fsdecode(start))


def image_numbers(images: Sequence[Path]) -> list[int]:
    """Return the ids to write: the files' own numbers (COCO's 000000397133.jpg), else 1, 2, ..."""
    if all(path.stem.isdecimal() for path in images):
        numbers = [int(path.stem) for path in images]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(1, len(images) + 1))


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


def _image_files(paths: Iterable[Path]) -> list[Path]:
    from mrcnn.datasets.image_files import IMAGE_EXTENSIONS

    return sorted(
        path
        for path in paths
        if path.suffix.lower() in IMAGE_EXTENSIONS
        and not path.name.startswith(".")
        and _NO_IMAGES not in path.parts
        and path.is_file()
    )
