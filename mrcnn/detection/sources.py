"""Images, videos and webcams that files, folders, patterns, lists and addresses name."""

from __future__ import annotations

import atexit
import glob
import io
import os
import re
import shutil
import sys
import tempfile
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mrcnn.datasets import image_headers
from mrcnn.datasets.image_files import IMAGE_EXTENSIONS
from mrcnn.files.names import printable

# Suffixes by which videos are recognized; FFmpeg reads them all.
VIDEO_EXTENSIONS = frozenset(
    """.mp4 .m4v .mov .mkv .avi .webm .mpg .mpeg .wmv .flv .3gp .ogv .m2ts .mts""".split()
)
LIST_EXTENSION = ".txt"
STDIN = "-"

_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
# Folders in archives made on a Mac: their files have the names of images and hold none.
_NO_IMAGES = "__MACOSX"
_HEAD_BYTES = 512


@dataclass(frozen=True)
class Source:
    """One image, video or webcam.

    Attributes:
        kind: "image", "video" or "webcam".
        path: path or address as it was given; the number of a webcam.
        file_name: its name; for a file in a subfolder the path from the folder that was given.
    """

    kind: str
    path: str
    file_name: str

    @property
    def place(self) -> str:
        """Absolute path, address, or "webcam 0": the same in the next run, from any folder."""
        if self.kind == "webcam":
            return f"webcam {self.path}"
        return self.path if _ADDRESS.match(self.path) else os.path.abspath(self.path)

    @property
    def stem(self) -> str:
        """The name of the file without its suffix."""
        return PurePosixPath(self.file_name.replace(os.sep, "/")).stem or "image"

    @property
    def is_local(self) -> bool:
        """Whether it is a file on this machine."""
        return self.kind != "webcam" and not _ADDRESS.match(self.path)


def find_sources(
    words: Sequence[str], *, recursive: bool = False, leave_out: Path | None = None
) -> list[Source]:
    """Return what words of a command line name, each file once.

    Args:
        words: image files; videos; folders (their images, sorted by name); patterns such as
            `photos/*.jpg`, for shells that do not expand them; lists (`.txt`, one of these a line);
            `-` for a list or the bytes of an image on the standard input; http and https addresses;
            numbers of webcams. Folders and patterns do not find hidden files.
        recursive: look in the folders of a folder too.
        leave_out: a folder in which nothing is looked for, unless it is one of `words`: that of the
            results.

    Raises:
        FileNotFoundError: a word names no file, or a folder or list holds none.
        ValueError: a word names a file that is neither image, video nor list, or no regular file.
    """
    finder = _Finder(recursive, leave_out)
    found: dict[str, Source] = {}
    for word in words:
        for source in finder.find(word):
            found.setdefault(source.place, source)
    return list(found.values())


class _Finder:
    """The arguments of `find_sources`."""

    def __init__(self, recursive: bool, leave_out: Path | None) -> None:
        self.recursive = recursive
        self.leave_out = None if leave_out is None else os.path.realpath(leave_out)

    def find(self, word: str, base: Path | None = None) -> list[Source]:
        """Return what a word names.

        Args:
            word: see `find_sources`.
            base: folder of the list that holds the word; None for a word of the command line.
        """
        if word == STDIN and base is None:
            image = _image_on_stdin()
            return [image] if image else self._find_listed("the standard input", sys.stdin, Path())
        if _ADDRESS.match(word):
            return [_from_address(word)]
        if _OTHER_SCHEME.match(word):
            raise ValueError(
                f"image is {printable(word)}; an address must start with http:// or https://"
            )
        path = Path(word).expanduser()
        if base is not None and not path.exists() and (base / path).exists():
            path = base / path
        if path.is_dir():
            return self._find_in_folder(path)
        if path.is_file():
            return self._find_file(path, in_list=base is not None)
        if path.exists():
            raise ValueError(f"image is {printable(word)}; it must be a regular file or a folder")
        if word.isdecimal() and base is None:
            return [Source("webcam", str(int(word)), f"webcam {int(word)}")]
        found = _match(path)
        if not found and base is not None:
            found = _match(base / path)
        if not found:
            raise FileNotFoundError(f"image is {printable(word)}: no such file or folder")
        return found

    def _find_file(self, path: Path, in_list: bool) -> list[Source]:
        """Return the source of one file; those in a list."""
        if path.suffix.lower() == LIST_EXTENSION and not in_list:
            # Names may be of any bytes, as Python holds them in paths.
            with open(path, encoding="utf-8-sig", errors="surrogateescape") as lines:
                return self._find_listed(printable(path), lines, path.parent)
        kind = _kind_of(path)
        if kind is None and _has_image_content(path):
            kind = "image"
        if kind is None:
            raise ValueError(
                f"image is {printable(path)}, whose type is unknown; it must be an image, a video, "
                f"a folder or a list of them ({LIST_EXTENSION})"
            )
        return [Source(kind, str(path), path.name)]

    def _find_listed(self, name: str, lines: Iterable[str], base: Path) -> list[Source]:
        """Return what the lines of a list name; relative paths may start at the list's folder."""
        found = []
        for number, line in enumerate(lines, start=1):
            word = line.rstrip("\r\n")
            if not word.strip():
                continue
            try:
                found += self.find(word, base)
            except (ValueError, OSError) as error:
                kind = ValueError if isinstance(error, ValueError) else FileNotFoundError
                raise kind(f"line {number} of {name}: {error}") from error
        if not found:
            raise FileNotFoundError(f"{name} is an empty list; it must name at least one image")
        return found

    def _find_in_folder(self, folder: Path) -> list[Source]:
        """Return the images of a folder."""
        found = []
        for path in self._walk(folder) if self.recursive else folder.iterdir():
            if _kind_of(path) == "image" and _is_wanted(path):
                found.append(Source("image", str(path), str(path.relative_to(folder))))
        if not found:
            has_folders = not self.recursive and any(path.is_dir() for path in folder.iterdir())
            hint = " (its folders are searched with --recursive)" if has_folders else ""
            raise FileNotFoundError(f"image is {printable(folder)}: a folder without images{hint}")
        return sorted(found, key=lambda source: Path(source.path))

    def _walk(self, folder: Path) -> Iterator[Path]:
        """Yield the files of a folder and of its folders, without hidden ones."""
        for name, folders, files in os.walk(folder):
            folders[:] = [
                f
                for f in folders
                if not f.startswith(".")
                and f != _NO_IMAGES
                and os.path.realpath(os.path.join(name, f)) != self.leave_out
            ]
            yield from (Path(name, file) for file in files)


def _kind_of(path: Path) -> str | None:
    """Return "image" or "video" by the suffix, None for others."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_EXTENSIONS:
        return "image"
    return "video" if suffix in VIDEO_EXTENSIONS else None


def _has_image_content(path: Path) -> bool:
    """Return whether the first bytes of a file are those of an image."""
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    known = image_headers.find_image_format(head)
    return (known or image_headers.find_scientific_format(head, path.name)) is not None


def _image_on_stdin() -> Source | None:
    """Return the image whose bytes are on the standard input; None where it has a list."""
    if not isinstance(sys.stdin, io.TextIOWrapper):
        return None
    sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")  # names may be of any bytes
    stream = sys.stdin.buffer
    head = stream.peek(_HEAD_BYTES)[:_HEAD_BYTES] if isinstance(stream, io.BufferedReader) else b""
    if image_headers.find_image_format(head) is None:
        return None
    with tempfile.NamedTemporaryFile(prefix="mrcnn-", delete=False) as file:
        atexit.register(Path(file.name).unlink, missing_ok=True)
        shutil.copyfileobj(stream, file)
    return Source("image", file.name, "stdin")


def _from_address(address: str) -> Source:
    """Return the image or video at an address; without a known suffix it is an image."""
    path = urllib.parse.unquote(urllib.parse.urlsplit(address).path)
    name = PurePosixPath(path).name.replace("\0", "").replace(os.sep, "") or "image"
    return Source(_kind_of(Path(name)) or "image", address, name)


def _match(pattern: Path) -> list[Source]:
    """Return the images and videos among the files that a pattern names."""
    paths = sorted(Path(name) for name in glob.glob(str(pattern), recursive=True))
    found = ((path, _kind_of(path)) for path in paths if _is_wanted(path))
    return [Source(kind, str(path), path.name) for path, kind in found if kind is not None]


def _is_wanted(path: Path) -> bool:
    """Return whether a file is neither hidden nor a leftover of an archive."""
    return not path.name.startswith(".") and _NO_IMAGES not in path.parts and path.is_file()
