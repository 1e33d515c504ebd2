"""Download of Open Images: the tables, and the masks and pictures of some classes.

`download_open_images` fills a folder that `OpenImagesDataset` reads; its layout is described
at `open_images_tables.OpenImagesFolder`. What it does, in this order:

1. The class table and the official list of classes with masks; unknown names end here.
2. The mask table of each split, where asked for also the box and the picture table.
3. Of each split the mask archives that hold a needed mask (one archive for each first digit of
   the image ids), out of which the needed masks are taken, and the needed pictures.

It may be interrupted at any moment. What is finished is never fetched again: pictures and
tables stand in `manifest.jsonl` with their sizes, masks have their final names, and a file that
was cut goes on where it was cut (`mrcnn.files.fetch`). An archive is deleted when the last mask is
out of it.

Checksums: the server of the tables and archives publishes an MD5 in `x-goog-hash`, that of the
pictures the MD5 as ETag; what is sent is verified. `OriginalMD5` in the picture table cannot be:
it is that of the photograph its author uploaded, while the bucket holds a smaller copy of it.

Nothing is unpacked by the paths in an archive: a member is looked up by the name of a mask that
the table lists, and written under that name. Names and ids in the tables are checked for form.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from mrcnn.datasets.open_images import tables
from mrcnn.files.fetch import FetchError, FetchStopped, fetch

BASE_URL = "https://storage.googleapis.com/openimages/"
IMAGE_BASE_URL = "https://open-images-dataset.s3.amazonaws.com/"
MASK_ARCHIVE = "v5/{split}-masks/{split}-masks-{first}.zip"
IMAGE = "{split}/{image_id}.jpg"

# A mask of 1024 pixels has some ten kilobytes; what claims to be far larger is no mask.
MAX_MASK_BYTES = 64 << 20
# A picture can be gone from the bucket; so many in a row mean that the server is.
MAX_FAILURES_IN_A_ROW = 32
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8"

# (stage, units done, units in all or None): "NAME.csv" and "NAME.zip" count bytes, "SPLIT masks"
# counts archives and "SPLIT pictures" pictures. Called from several threads, one at a time.
Progress = Callable[[str, int, int | None], None]


@dataclass
class DownloadReport:
    """What a finished run left in the folder.

    Attributes:
        images: pictures of each split.
        masks: masks of each split.
        transferred: bytes that came over the network in this run.
        failures: a line for each picture that could not be had; the next run tries again.
        absent: a line for each mask the table names and the archive does not have. The reader
            leaves these pictures out.
    """

    images: dict[str, int] = field(default_factory=dict)
    masks: dict[str, int] = field(default_factory=dict)
    transferred: int = 0
    failures: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


def download_open_images(
    output: str | os.PathLike,
    classes: Iterable[str],
    splits: Sequence[str] = ("validation",),
    *,
    max_images: int | None = None,
    seed: int = 0,
    boxes: bool = False,
    box_only_images: bool = False,
    image_table: bool = True,
    keep_archives: bool = False,
    workers: int = 8,
    retries: int = 5,
    timeout: float = 30.0,
    backoff: float = 0.5,
    base_url: str = BASE_URL,
    image_base_url: str = IMAGE_BASE_URL,
    progress: Progress | None = None,
) -> DownloadReport:
    """Downloads pictures and masks of some classes; call it again to go on after a cut.

    Args:
        output: the folder to fill. What is there already is kept, also of other classes.
        classes: class names (`Motorcycle`) or ids (`/m/04_sv`).
        splits: of "train", "validation" and "test".
        max_images: at most so many pictures of each split, chosen at random, for a trial.
        seed: of that choice; the same seed chooses the same pictures.
        boxes: fetch the box tables too (2 GB for train).
        box_only_images: also fetch the pictures that have a box of the classes but no mask.
        image_table: fetch the picture tables, which say who took each picture under which
            licence and how it lies (0.6 GB for train).
        keep_archives: leave the mask archives in the folder.
        workers: files fetched at the same time.
        retries, timeout, backoff: as for `mrcnn.files.fetch.fetch`.
        base_url: where the tables and archives are, with the same layout below it.
        image_base_url: where the pictures are.
        progress: see `Progress`.

    Returns:
        A DownloadReport. Pictures and masks that could not be had are listed there; the rest of
        the folder is usable.

    Raises:
        ValueError: an unknown class or split, a class without masks, or a wrong argument.
        BlockingIOError: another download is filling the folder.
        FetchError: a table or archive could not be fetched, or picture after picture.
    """
    for split in splits:
        if split not in tables.SPLITS:
            raise ValueError(f"split is {split!r}: it must be one of {', '.join(tables.SPLITS)}")
    for name, value in (("max_images", max_images), ("workers", workers)):
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}: it must be at least 1")
    folder = tables.OpenImagesFolder(output)
    folder.root.mkdir(parents=True, exist_ok=True)
    with _lock(folder.root), Manifest(folder) as manifest:
        patience = {"retries": retries, "timeout": timeout, "backoff": backoff}
        run = _Run(folder, manifest, (base_url, image_base_url), workers, patience, progress)
        found = run.classes(classes, box_only_images)
        needed = [tables.MASK_TABLES]
        needed += [tables.BOX_TABLES] if boxes or box_only_images else []
        needed += [tables.IMAGE_TABLES] if image_table else []
        run.tables([addresses[split] for split in splits for addresses in needed])
        for split in dict.fromkeys(splits):
            chosen = choose_images(folder, split, found, box_only_images, max_images, seed)
            run.split(split, found, chosen, keep_archives)
        manifest.compact()
    return run.report


def choose_images(
    folder: tables.OpenImagesFolder,
    split: str,
    class_ids: Collection[str],
    box_only: bool = False,
    max_images: int | None = None,
    seed: int = 0,
) -> set[str]:
    """Ids of the pictures with a mask (or only a box) of the classes, at most `max_images`."""
    table = folder.find_table(tables.MASK_TABLES[split])
    found = {row.image_id for row in tables.iter_masks(table, class_ids)}
    if box_only:
        table = folder.find_table(tables.BOX_TABLES[split])
        found.update(row.image_id for row in tables.iter_boxes(table, class_ids))
    if max_images is not None and max_images < len(found):
        found = set(random.Random(seed).sample(sorted(found), max_images))
    return found


class Manifest:
    """`manifest.jsonl`: a line for each finished table, picture and kept archive.

    Lines are only appended, so a cut leaves at most half a last line, which is dropped when
    the file is read again. The file is written anew, sorted, at the end of a run.
    """

    def __init__(self, folder: tables.OpenImagesFolder):
        self._folder = folder
        self._lock = threading.Lock()
        self._records: dict[str, dict] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in folder.manifest.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    record = json.loads(line)
                    self._records[record["path"]] = record

    def __enter__(self) -> Manifest:
        self.compact()  # also ends a half line, so that the next one starts a line of its own
        self._stream = open(self._folder.manifest, "a", encoding="utf-8")
        return self

    def __exit__(self, *_) -> None:
        self._stream.close()

    def is_done(self, path: Path) -> bool:
        """Whether the file was finished and still has its size."""
        record = self._records.get(self._name(path))
        if record is None or "size" not in record:
            return False
        try:
            return path.stat().st_size == record["size"]
        except FileNotFoundError:
            return False

    def is_absent(self, path: Path) -> bool:
        """Whether the server was found not to have the file."""
        return self._records.get(self._name(path), {}).get("absent", False)

    def add(self, path: Path, **facts: int | str | bool | None) -> None:
        """Notes a file; facts that are None are left out."""
        record = {"path": self._name(path)}
        record.update({name: fact for name, fact in facts.items() if fact is not None})
        with self._lock:
            if self._records.get(record["path"]) != record:
                self._records[record["path"]] = record
                self._stream.write(json.dumps(record) + "\n")
                self._stream.flush()

    def compact(self) -> None:
        """Writes the file anew: a line a path, sorted."""
        lines = [json.dumps(record) + "\n" for _, record in sorted(self._records.items())]
        with self._lock:
            write_atomically(self._folder.manifest, "".join(lines).encode())

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder.root).as_posix()


class _Run:
    """One call of `download_open_images`: its folder, its threads and its report."""

    def __init__(
        self,
        folder: tables.OpenImagesFolder,
        manifest: Manifest,
        base_urls: tuple[str, str],
        workers: int,
        patience: dict[str, float],
        progress: Progress | None,
    ):
        self.folder = folder
        self.manifest = manifest
        self.report = DownloadReport()
        self._base_url, self._image_base_url = (url.rstrip("/") + "/" for url in base_urls)
        self._workers = workers
        self._patience = patience
        self._failures_in_a_row = 0
        self._progress = progress
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def classes(self, wanted: Iterable[str], box_only: bool) -> dict[str, str]:
        """Fetches the class lists; {id: name} of the classes wanted, noted in classes.csv."""
        self.tables([tables.CLASS_TABLE, tables.MASK_CLASSES])
        table = tables.read_class_table(self.folder.table(tables.CLASS_TABLE))
        found = tables.resolve_classes(wanted, table)
        with_masks = set(tables.read_class_ids(self.folder.table(tables.MASK_CLASSES)))
        without = [name for class_id, name in found.items() if class_id not in with_masks]
        if without and not box_only:
            raise ValueError(
                f"classes has {', '.join(without)}: Open Images has no masks of it; with "
                "box_only_images its pictures and boxes can be had"
            )
        known = {}
        if self.folder.classes.is_file():
            known = tables.read_class_table(self.folder.classes)
        lines = "".join(f'{i},"{name}"\n' for i, name in (known | found).items())
        write_atomically(self.folder.classes, lines.encode())
        return found

    def tables(self, addresses: list[str]) -> None:
        """Fetches tables that are not there yet."""
        self._together(lambda address=address: self._table(address) for address in addresses)

    def split(
        self, split: str, class_ids: Collection[str], chosen: set[str], keep_archives: bool
    ) -> None:
        """Fetches the masks and pictures of the chosen image ids."""
        self.folder.images(split).mkdir(parents=True, exist_ok=True)
        self.folder.masks(split).mkdir(parents=True, exist_ok=True)
        self.report.images[split] = self.report.masks[split] = 0
        digits = sorted({image_id[0] for image_id in chosen})
        masks = _Counter(self._tell, f"{split} masks", len(digits))
        pictures = _Counter(self._tell, f"{split} pictures", len(chosen))

        def jobs() -> Iterator[Callable[[], None]]:
            # Archives first: each is one long transfer, and pictures fill the gaps.
            for first in digits:
                yield lambda first=first: masks.after(
                    self._masks, split, first, class_ids, chosen, keep_archives
                )
            for image_id in sorted(chosen):
                yield lambda image_id=image_id: pictures.after(self._picture, split, image_id)

        self._together(jobs())
        with contextlib.suppress(OSError):  # not there, or archives are kept in it
            self.folder.archive(split, "0").parent.rmdir()

    def _table(self, address: str) -> None:
        path = self.folder.table(address)
        if not self.manifest.is_done(path):
            self._fetch(self._base_url + address, path)

    def _picture(self, split: str, image_id: str) -> None:
        path = self.folder.images(split) / f"{image_id}.jpg"
        if not self.manifest.is_done(path):
            url = self._image_base_url + IMAGE.format(split=split, image_id=image_id)
            try:
                self._fetch(url, path, _JPEG_SIGNATURE)
            except FetchError as error:
                self._failed(error)
                return
        with self._lock:
            self._failures_in_a_row = 0
            self.report.images[split] += 1

    def _masks(
        self,
        split: str,
        first: str,
        class_ids: Collection[str],
        chosen: set[str],
        keep_archive: bool,
    ) -> None:
        """Brings the masks of the image ids that begin with `first`."""
        folder, archive = self.folder.masks(split), self.folder.archive(split, first)
        there = files_beginning(folder, first)
        table = self.folder.find_table(tables.MASK_TABLES[split])
        rows = tables.iter_masks(table, class_ids, first)
        names = {row.file_name for row in rows if row.image_id in chosen}
        absent = {name for name in names if self.manifest.is_absent(folder / name)}
        missing = names - there - absent
        if missing or (keep_archive and names and not self.manifest.is_done(archive)):
            url = self._base_url + MASK_ARCHIVE.format(split=split, first=first)
            if not self.manifest.is_done(archive):
                self._fetch(url, archive, keep_record=keep_archive)
            absent |= self._extract(url, archive, folder, missing, keep_archive)
        if not keep_archive and not self.manifest.is_done(archive):
            archive.unlink(missing_ok=True)
        with self._lock:
            self.report.masks[split] += len(names - absent)
            self.report.absent += [f"{archive.name} has no {name}" for name in sorted(absent)]

    def _extract(
        self, url: str, archive: Path, folder: Path, names: set[str], keep_record: bool
    ) -> set[str]:
        """Takes masks out of an archive, which is fetched anew once if it is damaged."""
        try:
            absent = extract_members(archive, folder, names, self._stop)
        except zipfile.BadZipFile:
            archive.unlink()
            self._fetch(url, archive, keep_record=keep_record)
            try:
                absent = extract_members(archive, folder, names, self._stop)
            except zipfile.BadZipFile as error:
                archive.unlink()
                raise FetchError(url, f"not a sound zip archive: {error}") from error
        for name in absent:
            self.manifest.add(folder / name, absent=True)
        return absent

    def _fetch(
        self, url: str, path: Path, signature: bytes = b"", keep_record: bool = True
    ) -> None:
        """Fetches a file and notes it in the manifest."""
        show = None
        if not signature:  # pictures are counted, not measured

            def show(done: int, total: int | None) -> None:
                self._tell(path.name, done, total)

        fetched = fetch(
            url, path, etag_is_md5=True, progress=show, stop=self._stop, **self._patience
        )
        with self._lock:
            self.report.transferred += fetched.transferred
        with open(path, "rb") as stream:
            if stream.read(len(signature)) != signature:
                path.unlink()
                raise FetchError(url, "the answer is not a JPEG picture")
        if keep_record:
            self.manifest.add(path, size=fetched.size, md5=fetched.digest, url=url)

    def _failed(self, error: FetchError) -> None:
        with self._lock:
            self.report.failures.append(str(error))
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
                raise error

    def _tell(self, stage: str, done: int, total: int | None) -> None:
        if self._progress is not None:
            with self._lock:
                self._progress(stage, done, total)

    def _together(self, jobs: Iterable[Callable[[], None]]) -> None:
        """Runs jobs in threads, a few of them handed out ahead; ends all at the first error."""
        waiting: set[Future] = set()
        with ThreadPoolExecutor(self._workers, thread_name_prefix="open-images") as pool:
            try:
                for job in jobs:
                    if len(waiting) >= 2 * self._workers:
                        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                        _raise_first(done)
                    waiting.add(pool.submit(job))
                while waiting:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    _raise_first(done)
            except BaseException:
                # Also Ctrl-C: threads stop at their next chunk, and leave what they have.
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise


class _Counter:
    """Tells how many of a stage's jobs are done."""

    def __init__(self, tell: Progress, stage: str, total: int):
        self._tell, self._stage, self._total = tell, stage, total
        self._done = 0
        self._lock = threading.Lock()
        tell(stage, 0, total)

    def after(self, job: Callable, *args) -> None:
        job(*args)
        with self._lock:
            self._done += 1
            self._tell(self._stage, self._done, self._total)


def extract_members(
    archive: str | os.PathLike,
    folder: str | os.PathLike,
    names: Collection[str],
    stop: threading.Event | None = None,
) -> set[str]:
    """Takes PNG files out of a zip archive, each under its own name and no other.

    Only members whose full name is one of `names` are looked at; paths in the archive play no
    part. Each file appears complete, by a rename.

    Args:
        archive: the zip file.
        folder: where to; must exist.
        names: plain file names.
        stop: when set, FetchStopped is raised between two files.

    Returns:
        The names the archive does not have (or has as something that is no PNG file).

    Raises:
        ValueError: a name is not a plain file name.
        zipfile.BadZipFile: the archive or a member is damaged.
    """
    for name in names:
        if name != os.path.basename(name) or name in ("", ".", ".."):
            raise ValueError(f"names has {name!r}: it must be a plain file name")
    absent = set()
    with zipfile.ZipFile(archive) as stored:
        sizes = {member.filename: member.file_size for member in stored.infolist()}
        for name in sorted(names):
            if stop is not None and stop.is_set():
                raise FetchStopped
            data = b""
            if sizes.get(name, MAX_MASK_BYTES) < MAX_MASK_BYTES:
                try:
                    data = stored.read(name)
                except (zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
                    raise zipfile.BadZipFile(f"{name}: {error}") from error
            if data.startswith(_PNG_SIGNATURE):
                write_atomically(Path(folder, name), data)
            else:
                absent.add(name)
    return absent


def files_beginning(folder: Path, first: str) -> set[str]:
    """Names of the PNG files in a folder that begin so and are not empty."""
    with os.scandir(folder) as entries:
        return {
            entry.name
            for entry in entries
            if entry.name.startswith(first) and entry.name.endswith(".png") and entry.stat().st_size
        }


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file that is either the old or the new one, whenever the process ends."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)


def _raise_first(done: set[Future]) -> None:
    """Raises what a job raised; a stopped one only where nothing else tells why."""
    errors = [future.exception() for future in done if future.exception() is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, FetchStopped)):
        raise error


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keeps a second download out of the folder; does nothing where there is no flock."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(f"another download is filling {folder}") from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)
