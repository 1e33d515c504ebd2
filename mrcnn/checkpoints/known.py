"""Weight files by name.

`coco`, `imagenet` and `balloon` are downloaded once; `small` comes with the package, as does the
mask refiner `general`.

`weights/manifest.json` describes each of them. A download continues where an earlier one
was cut, is compared with the published checksum, is opened to see that it holds what it
should, and only then gets its name: a file with the final name is never half a file.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mrcnn.files.cache_dir import cache_dir
from mrcnn.files.fetch import Progress, fetch, file_digest
from mrcnn.files.names import printable

COCO_MODEL_URL = "https://github.com/matterport/Mask_RCNN/releases/download/v2.0/mask_rcnn_coco.h5"
PACKAGE = Path(__file__).resolve().parents[1]
# In an installed wheel, and in a source checkout or an editable install.
WEIGHT_FOLDERS = (PACKAGE / "_weights", PACKAGE.parent / "weights")
# Attempts in a row without new bytes before a download is given up.
RETRIES = 3


class DownloadError(OSError):
    """A weight file could not be downloaded; the message says how to do it manually."""


@dataclass(frozen=True)
class KnownWeights:
    """One entry of the manifest.

    Attributes:
        name: what users write instead of a path.
        description: one line of text.
        file: its file name.
        kind: "model", or "refiner" for a mask refiner.
        url: where it is published; None for a file that comes with the package.
        size: bytes, None where unknown.
        md5: published MD5, None where there is none.
        sha256: published SHA-256, None where there is none.
        expect: attributes that `checkpoints.verify` must find.
        class_names: names by class id, the background first, of a file that does not hold them;
            None for COCO's and for files that do.
        refiner: name of the refiner that sharpens the masks of this model by default.
    """

    name: str
    description: str
    file: str
    url: str | None = None
    size: int | None = None
    md5: str | None = None
    sha256: str | None = None
    kind: str = "model"
    expect: Mapping[str, Any] = field(default_factory=dict)
    class_names: Sequence[str] | None = None
    refiner: str | None = None


def resolve_weights(
    name_or_path: str | os.PathLike[str], verbose: int = 1, kind: str = "model"
) -> str:
    """Return the path of a file by its known name, downloaded where needed; keep paths.

    Args:
        name_or_path: a name of the manifest, in any case, the path of a weight file, or that of a
            log folder, which means its best.h5, or else its last weights.
        verbose: 0 is silent.
        kind: whose names are meant: those of a "model" or of a "refiner".

    Returns:
        The path of a file that exists.

    Raises:
        FileNotFoundError: no such file, and no known name.
        DownloadError: the file of that name cannot be downloaded.
    """
    text = os.fspath(name_or_path)
    names = {name: entry for name, entry in weights_manifest().items() if entry.kind == kind}
    known = names.get(text.lower())
    if known is None:
        path = Path(text).expanduser()
        if kind == "model" and path.is_dir() and (inner := _weights_in_log_folder(path)):
            if verbose:
                print(f"Weights of the log folder {printable(path)}: {inner.name}", file=sys.stderr)
            return str(inner)
        if path.exists():
            return str(path)
        file = "weight file" if kind == "model" else kind
        hint = _other_kind_hint(text.lower())
        raise FileNotFoundError(
            f"{file} not found: {path} (known names instead of a path: {', '.join(names)}){hint}"
        )
    if known.name == "imagenet":
        return get_imagenet_weights(verbose)
    if known.url is None:
        return str(_packaged(known.file))
    path = cache_dir() / known.file
    if not path.exists():
        _download(known, path, verbose)
    return str(path)


def _weights_in_log_folder(folder: Path) -> Path | None:
    """Return the best weights of a training's log folder, else the last ones, else None."""
    if (folder / "best.h5").is_file():
        return folder / "best.h5"
    files = folder.glob("*.h5")
    epochs = ((re.search(r"_(\d{4,})\.h5$", path.name), path) for path in files)
    numbered = [(int(match[1]), path) for match, path in epochs if match]
    return max(numbered)[1] if numbered else None


def _other_kind_hint(name: str) -> str:
    """Return how a name is used that is known, but of the other kind; "" for other names."""
    entry = weights_manifest().get(name)
    if entry is None:
        return ""
    if entry.kind == "model":
        return f"; {name} is the name of a model: use it as --weights {name}"
    return (
        f"; {name} is the name of a mask refiner, which sharpens the masks of a model: use it as "
        f"--refine {name}, together with --weights small, for example"
    )


def download_trained_weights(coco_model_path: str | os.PathLike[str], verbose: int = 1) -> None:
    """Download Matterport's COCO weights (246 MB) to a path.

    Args:
        coco_model_path: the file to write; it is replaced only by a complete one.
        verbose: 0 is silent.

    Raises:
        DownloadError: it cannot be downloaded, or something else arrives; a file already at
            the path is left as it was.
    """
    path = Path(coco_model_path).expanduser()
    if path.is_dir():
        raise ValueError(
            f"coco_model_path is {path}, a folder; it must be the path of the file to write"
        )
    if verbose > 0:
        print(f"Downloading pretrained model to {path} ...")
    _download(weights_manifest()["coco"], path, verbose)
    if verbose > 0:
        print("... done downloading pretrained model!")


def get_imagenet_weights(verbose: int = 1) -> str:
    """Return the path of ResNet-50's ImageNet weights, downloaded where needed.

    Returns:
        The path, in Keras' own cache: `~/.keras/models`, or below `KERAS_HOME`.

    Raises:
        DownloadError: the file cannot be downloaded.
    """
    known = weights_manifest()["imagenet"]
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    path = Path(home) / "models" / known.file
    if not path.exists() or _checksum_problem(path, known):
        _download(known, path, verbose)
    return str(path)


@functools.cache
def weights_manifest() -> dict[str, KnownWeights]:
    """Return all known weight files by name."""
    with open(_packaged("manifest.json"), encoding="utf-8") as stream:
        entries = json.load(stream)
    return {name: KnownWeights(name=name, **entry) for name, entry in entries.items()}


def _packaged(file: str) -> Path:
    """Return the path of a file that comes with the package."""
    for folder in WEIGHT_FOLDERS:
        if (folder / file).is_file():
            return folder / file
    places = " or ".join(str(folder) for folder in WEIGHT_FOLDERS)
    raise FileNotFoundError(f"{file}, which comes with mrcnn, is not in {places}; reinstall mrcnn")


def _download(known: KnownWeights, path: Path, verbose: int) -> None:
    """Download the file, check it, and only then replace `path`."""
    before = _stamp(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(path):
            if _stamp(path) != before:
                return  # another process downloaded it while this one waited
            staged = path.with_name(f"{path.name}.download")
            _fetch_checked(known, staged, verbose)
            os.replace(staged, path)
    except OSError as error:
        reason = str(error).removeprefix(f"{known.url}: ")
        raise DownloadError(
            f"cannot download {known.file}\n"
            f"  from    {known.url}\n"
            f"  reason  {reason}\n"
            f"To do it manually, fetch that address on any machine and put the file at\n"
            f"  {path}\n"
            'The model small needs no download: --weights small, or weights="small" in Python'
        ) from error


def _fetch_checked(known: KnownWeights, staged: Path, verbose: int) -> None:
    """Fetch to `staged`, which is removed if it is not the file it should be."""
    for attempt in (1, 2):
        with _progress_bar(known.file, verbose) as progress:
            fetch(known.url or "", staged, retries=RETRIES, progress=progress)
        damage = _checksum_problem(staged, known)
        problem = _content_problem(staged, known, damage)
        if not problem:
            return
        staged.unlink()
        # Bytes that changed on the way, or in a part left from before, may come right.
        if problem != damage or attempt == 2:
            raise OSError(problem)


def _checksum_problem(path: Path, known: KnownWeights) -> str | None:
    size = path.stat().st_size
    if known.size and size != known.size:
        return f"it has {size:,} bytes, expected {known.size:,}"
    for algorithm, expected in (("sha256", known.sha256), ("md5", known.md5)):
        if expected and (found := file_digest(path, algorithm)) != expected:
            return f"its {algorithm} is {found}, expected {expected}"
    return None


def _content_problem(path: Path, known: KnownWeights, damage: str | None) -> str | None:
    """Return why the downloaded file is not the wanted one, the most informative reason first."""
    # Imported here: h5py is not needed to find a path.
    from mrcnn.checkpoints.hdf5 import why_not_hdf5
    from mrcnn.checkpoints.weight_file import verify

    if reason := why_not_hdf5(path):
        return f"what arrived is not a weight file: {reason}"
    if damage:
        return damage
    try:
        info = verify(path)
    except ValueError as error:
        return str(error)
    for name, expected in known.expect.items():
        if (found := getattr(info, name)) != expected:
            return f"another file arrived: its {name} is {found!r}, expected {expected!r}"
    return None


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return the values that change when a file is replaced; None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Hold a lock beside `path`, so that processes that want the same file wait for one."""
    try:
        import fcntl
    except ImportError:  # Windows: the last one to finish wins
        yield
        return
    lock = path.with_name(f".{path.name}.lock")
    while True:
        with open(lock, "w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX)
            except OSError:  # a file system without locks
                pass
            # Its previous holder may have removed the file: then this lock has no effect.
            if not _same_file(stream.fileno(), lock):
                continue
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _progress_bar(title: str, verbose: int) -> Iterator[Progress | None]:
    """Show a progress bar if the output is a terminal."""
    if verbose <= 0:
        yield None
        return
    from tqdm import tqdm

    # disable=None: only on a terminal.
    with tqdm(desc=title, unit="B", unit_scale=True, unit_divisor=1024, disable=None) as bar:

        def show(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
