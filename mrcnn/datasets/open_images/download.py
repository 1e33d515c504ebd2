"""Download of Open Images: the tables, and the masks and images of some classes.

`download_open_images` fills a folder that `OpenImagesDataset` reads; its layout is described
at `tables.OpenImagesFolder`. What it does, in this order:

1. The class table and the official list of classes with masks; unknown names end here.
2. The mask table of each split, and on request its box and image table.
3. Of each split the mask archives that hold a needed mask (one archive for each first digit of
   the image ids), out of which the needed masks are taken, and the needed images.

It may be interrupted at any moment. What is finished is never fetched again: `manifest.jsonl`
lists images and tables with their sizes, masks have their final names, and a transfer that was
cut is resumed (`mrcnn.files.fetch`). An archive is deleted when its last mask is unpacked.

Checksums: the server of the tables and archives publishes an MD5 in `x-goog-hash`, that of the
images the MD5 as ETag; what is sent is verified. (`OriginalMD5` in the image table is that of the
photograph its author uploaded; the bucket holds a smaller copy of it.) Mirrors may publish
nothing, so the content is checked as well: a table must have its columns, whole lines and a row
for each image that another table names; archives and the mask table must agree. What fails is
deleted, fetched once more, and reported if it fails again.

Names and ids in the tables are checked for form before they become parts of paths.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mrcnn.datasets import image_files, image_headers
from mrcnn.datasets.open_images import tables
from mrcnn.datasets.open_images.archives import extract_members, files_beginning, member_names
from mrcnn.datasets.open_images.manifest import Manifest
from mrcnn.files.atomic import write_text
from mrcnn.files.fetch import FetchError, FetchStopped, fetch

BASE_URL = "https://storage.googleapis.com/openimages/"
IMAGE_BASE_URL = "https://open-images-dataset.s3.amazonaws.com/"
MASK_ARCHIVE = "v5/{split}-masks/{split}-masks-{first}.zip"
IMAGE = "{split}/{image_id}.jpg"

# A single image can be missing from the bucket; this many in a row mean that the server is down.
MAX_FAILURES_IN_A_ROW = 32

# (stage, units done, units in all or None): "NAME.csv" and "NAME.zip" count bytes, "SPLIT masks"
# counts archives and "SPLIT images" images. Called from several threads, one at a time.
Progress = Callable[[str, int, int | None], None]


@dataclass
class DownloadReport:
    """The content of the folder after a finished run.

    Attributes:
        images: images of each split.
        masks: masks of each split.
        transferred: bytes that came over the network in this run.
        failures: a line for each image that could not be fetched and each table or archive
            that is incomplete; the next run tries again.
        absent: a line for each mask that the table names and the archive does not have. The
            reader leaves out the images of these masks.
    """

    images: dict[str, int] = field(default_factory=dict)
    masks: dict[str, int] = field(default_factory=dict)
    transferred: int = 0
    failures: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """True if everything requested is in the folder."""
        return not self.failures and not self.absent


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
    """Download images and masks of some classes; call it again to resume.

    Args:
        output: the folder to fill. Existing files are kept, also of other classes.
        classes: class names (`Motorcycle`) or ids (`/m/04_sv`).
        splits: of "train", "validation" and "test".
        max_images: at most this many images of each split, chosen at random, for a trial.
        seed: seed of that choice; the same seed chooses the same images.
        boxes: fetch the box tables too (2 GB for train).
        box_only_images: also fetch the images that have a box of the classes but no mask.
        image_table: fetch the image tables, which give author, license and rotation of each
            image (0.6 GB for train).
        keep_archives: leave the mask archives in the folder.
        workers: files fetched at the same time.
        retries: see `mrcnn.files.fetch.fetch`.
        timeout: see there.
        backoff: see there.
        base_url: where the tables and archives are, with the same layout below it.
        image_base_url: where the images are.
        progress: see `Progress`.

    Returns:
        A DownloadReport. Images and masks that could not be fetched are listed there; the rest
        of the folder is usable.

    Raises:
        ValueError: an unknown class or split, a class without masks, a wrong argument, or a
            table with a row of another form.
        BlockingIOError: another download is filling the folder.
        FetchError: a table or archive could not be fetched or is not what it should be, or
            many images in a row could not be fetched.
    """
    for split in splits:
        if split not in tables.SPLITS:
            raise ValueError(f"split is {split!r}; it must be one of {', '.join(tables.SPLITS)}")
    for name, value in (("max_images", max_images), ("workers", workers)):
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    folder = tables.OpenImagesFolder(output)
    folder.root.mkdir(parents=True, exist_ok=True)
    with _lock(folder.root), Manifest(folder) as manifest:
        for place in (folder.root, *(folder.masks(split) for split in splits)):
            _remove_leftovers(place)
        patience = _Patience(retries, timeout, backoff)
        run = _Run(folder, manifest, (base_url, image_base_url), workers, patience, progress)
        found = run.classes(classes, box_only_images)
        needed = [tables.MASK_TABLES]
        needed += [tables.BOX_TABLES] if boxes or box_only_images else []
        needed += [tables.IMAGE_TABLES] if image_table else []
        run.tables([addresses[split] for split in splits for addresses in needed])
        for split in dict.fromkeys(splits):
            with run.discards_broken(tables.MASK_TABLES[split]):
                chosen = choose_images(folder, split, found, False, None)
            for addresses in needed[1:]:
                run.check_rows(addresses[split], chosen, found)
            if box_only_images or max_images is not None:
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
    """Return ids of the images with a mask (or only a box) of the classes, at most `max_images`."""
    table = folder.find_table(tables.MASK_TABLES[split])
    found = {row.image_id for row in tables.iter_masks(table, class_ids)}
    if box_only:
        table = folder.find_table(tables.BOX_TABLES[split])
        found.update(row.image_id for row in tables.iter_boxes(table, class_ids))
    if max_images is not None and max_images < len(found):
        found = set(random.Random(seed).sample(sorted(found), max_images))
    return found


@dataclass(frozen=True)
class _Patience:
    """Arguments of `fetch`."""

    retries: int
    timeout: float
    backoff: float


class _Run:
    """One call of `download_open_images`: its folder, its threads and its report."""

    def __init__(
        self,
        folder: tables.OpenImagesFolder,
        manifest: Manifest,
        base_urls: tuple[str, str],
        workers: int,
        patience: _Patience,
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
        self._incomplete: set[Path] = set()
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def classes(self, wanted: Iterable[str], box_only: bool) -> dict[str, str]:
        """Fetch the class lists; return {id: name} of the classes, noted in classes.csv."""
        lists = [tables.CLASS_TABLE, tables.MASK_CLASSES]
        self.tables(lists)
        for attempt in range(2):
            lacking = self._unnamed_classes()
            if not lacking or all(self._is_verified(self.folder.table(name)) for name in lists):
                break
            for address in lists:
                self.manifest.forget(self.folder.table(address))
            if not attempt:
                self.tables(lists)
        else:
            raise FetchError(
                self._base_url + tables.CLASS_TABLE,
                f"it lacks {len(lacking)} of the classes with masks in {tables.MASK_CLASSES} "
                f"({min(lacking)})",
            )
        table = tables.read_class_table(self.folder.table(tables.CLASS_TABLE))
        found = tables.resolve_classes(wanted, table)
        with_masks = set(tables.read_class_ids(self.folder.table(tables.MASK_CLASSES)))
        without = [name for class_id, name in found.items() if class_id not in with_masks]
        if without and not box_only:
            raise ValueError(
                f"classes has {', '.join(without)}: Open Images has no masks of it; with "
                "box_only_images its images and boxes can be fetched"
            )
        known = {}
        if self.folder.classes.is_file():
            known = tables.read_class_table(self.folder.classes)
        lines = "".join(f'{i},"{name}"\n' for i, name in (known | found).items())
        write_text(self.folder.classes, lines)
        return found

    def tables(self, addresses: list[str]) -> None:
        """Fetch tables that are not there yet, or are not what they should be."""
        self._together(partial(self._table, address) for address in addresses)

    @contextlib.contextmanager
    def discards_broken(self, address: str) -> Iterator[None]:
        """Delete a table that the block cannot read, so that the next run fetches it again."""
        try:
            yield
        except ValueError:
            self.manifest.forget(self.folder.table(address))
            raise

    def check_rows(
        self, address: str, image_ids: Collection[str], class_ids: Collection[str]
    ) -> None:
        """Check that a box or image table has all images of the mask table, once for each file.

        A table that was cut at the end of a line looks complete by itself.
        """
        path = self.folder.table(address)
        if self.manifest.fact(path, "checked"):
            return
        for attempt in range(2):
            try:
                lacking = set(image_ids) - tables.image_ids_of(path, address, class_ids)
                problem = f"it lacks {len(lacking)} images of the mask table"
                problem += f" ({min(lacking)})" if lacking else ""
            except ValueError as error:
                lacking, problem = set(image_ids), str(error)
            if not lacking:
                self.manifest.add(path, checked=True)
                return
            # A table with the checksum that the server publishes would come back the same.
            is_verified = self._is_verified(path)
            if not is_verified:
                self.manifest.forget(path)
            if attempt or is_verified:
                break
            self._table(address)
        self.report.failures.append(f"{path.name}: the table is incomplete, {problem}")

    def split(
        self, split: str, class_ids: Collection[str], chosen: set[str], keep_archives: bool
    ) -> None:
        """Fetch the masks and images of the chosen image ids."""
        self.folder.images(split).mkdir(parents=True, exist_ok=True)
        self.folder.masks(split).mkdir(parents=True, exist_ok=True)
        self.report.images[split] = self.report.masks[split] = 0
        digits = sorted({image_id[0] for image_id in chosen})
        masks = _Counter(self._show, f"{split} masks", len(digits))
        images = _Counter(self._show, f"{split} images", len(chosen))

        def jobs() -> Iterator[Callable[[], None]]:
            # Archives first: each is one long transfer, and images fill the gaps.
            for first in digits:
                job = partial(self._masks, split, first, class_ids, chosen, keep_archives)
                yield partial(masks.after, job)
            for image_id in sorted(chosen):
                yield partial(images.after, partial(self._image, split, image_id))

        self._together(jobs())
        for table in self._incomplete:
            if table.parent == self.folder.root / "tables":  # others are the user's own
                self.manifest.forget(table)
        with contextlib.suppress(OSError):  # not there, or archives are kept in it
            self.folder.archive(split, "0").parent.rmdir()

    def _unnamed_classes(self) -> set[str]:
        """Return the classes with masks that the class table lacks: one of the files is cut."""
        named = tables.read_class_table(self.folder.table(tables.CLASS_TABLE))
        return set(tables.read_class_ids(self.folder.table(tables.MASK_CLASSES))) - named.keys()

    def _table(self, address: str) -> None:
        """Fetch a table unless it is there; a page stored in its place is replaced."""
        path, url = self.folder.table(address), self._base_url + address
        if self.manifest.is_done(path):
            try:
                tables.check_table(path, address)
                return
            except ValueError:
                self.manifest.forget(path)
        self._fetch(url, path)
        try:
            tables.check_table(path, address)
        except ValueError as error:
            self.manifest.forget(path)
            raise FetchError(url, f"the answer is not this table: {error}") from error

    def _image(self, split: str, image_id: str) -> None:
        path = self.folder.images(split) / f"{image_id}.jpg"
        if not self.manifest.is_done(path):
            url = self._image_base_url + IMAGE.format(split=split, image_id=image_id)
            try:
                self._fetch(url, path, is_image=True)
            except FetchError as error:
                self._count_failure(error)
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
        """Fetch the masks of the image ids that begin with `first`."""
        folder, archive = self.folder.masks(split), self.folder.archive(split, first)
        there = files_beginning(folder, first)
        table = self.folder.find_table(tables.MASK_TABLES[split])
        rows = list(tables.iter_masks(table, class_ids, first))
        names = {row.file_name for row in rows if row.image_id in chosen}
        absent = {name for name in names if self.manifest.is_absent(folder / name)}
        missing = names - there - absent
        if missing or (keep_archive and names and not self.manifest.is_done(archive)):
            url = self._base_url + MASK_ARCHIVE.format(split=split, first=first)
            absent |= self._extract(url, archive, folder, missing, keep_archive)
            if archive.is_file():
                names_in_table = {row.file_name for row in rows}
                self._compare_with_table(archive, table, names_in_table, class_ids)
        if not keep_archive and not self.manifest.is_done(archive):
            archive.unlink(missing_ok=True)
        with self._lock:
            self.report.masks[split] += len(names - absent)
            self.report.absent += [f"{archive.name} has no {name}" for name in sorted(absent)]

    def _extract(
        self, url: str, archive: Path, folder: Path, names: set[str], keep_record: bool
    ) -> set[str]:
        """Take masks out of an archive; it is fetched again once if it is damaged or lacks some.

        Returns:
            The names that the archive does not have.

        Raises:
            FetchError: it is damaged, or members of it are, which the message names.
        """
        for attempt in range(2):
            is_verified = self._is_verified(archive)
            if not self.manifest.is_done(archive):
                is_verified = self._fetch(url, archive, keep_record=keep_record)
            try:
                absent = extract_members(archive, folder, names, self._stop)
            except zipfile.BadZipFile as error:
                self.manifest.forget(archive)
                if attempt:
                    raise FetchError(url, f"not a sound zip archive: {error}") from error
                continue
            if not absent or attempt or is_verified:
                break
            self.manifest.forget(archive)
            names = absent
        if absent and not is_verified:
            self.manifest.forget(archive)
            with self._lock:
                self.report.failures.append(
                    f"{archive.name}: the archive lacks {len(absent)} masks of the table "
                    f"({min(absent)}); the next run fetches it again"
                )
        for name in absent if is_verified else ():
            self.manifest.add(folder / name, absent=True)
        return absent

    def _compare_with_table(
        self, archive: Path, table: Path, names: set[str], class_ids: Collection[str]
    ) -> None:
        """Report a mask table that lacks masks of its archive: it was cut at the end of a line."""
        if self._is_verified(table):
            return
        parts = {class_id.replace("/", "") for class_id in class_ids}
        lacking = {
            name
            for name in member_names(archive) - names
            if tables.is_mask_name(name) and name.split("_", 1)[1].rpartition("_")[0] in parts
        }
        if not lacking:
            return
        with self._lock:
            self.report.failures.append(
                f"{table.name}: the table is incomplete, it lacks {len(lacking)} masks of "
                f"{archive.name} ({min(lacking)}); the next run fetches it again"
            )
            self._incomplete.add(table)

    def _fetch(
        self, url: str, path: Path, is_image: bool = False, keep_record: bool = True
    ) -> bool:
        """Fetch a file and note it in the manifest; return whether a checksum was compared."""
        show = None if is_image else partial(self._show, path.name)  # images are counted
        fetched = fetch(
            url,
            path,
            etag_is_md5=True,
            retries=self._patience.retries,
            timeout=self._patience.timeout,
            backoff=self._patience.backoff,
            progress=show,
            stop=self._stop,
        )
        with self._lock:
            self.report.transferred += fetched.transferred
        if is_image and not _is_whole_jpeg(path):
            path.unlink()
            raise FetchError(url, "the answer is not a JPEG image")
        if keep_record:
            self.manifest.add(path, size=fetched.size, md5=fetched.digest, url=url)
        return fetched.digest is not None

    def _is_verified(self, path: Path) -> bool:
        """Return whether the file had the checksum that its server publishes."""
        return self.manifest.fact(path, "md5") is not None

    def _count_failure(self, error: FetchError) -> None:
        with self._lock:
            self.report.failures.append(str(error))
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
                raise error

    def _show(self, stage: str, done: int, total: int | None) -> None:
        if self._progress is not None:
            with self._lock:
                self._progress(stage, done, total)

    def _together(self, jobs: Iterable[Callable[[], None]]) -> None:
        """Run jobs in threads, a few of them queued ahead; end all at the first error."""
        waiting: set[Future[None]] = set()
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
                # Also Ctrl-C: threads stop at their next chunk and keep what they have.
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise


class _Counter:
    """Shows how many of a stage's jobs are done."""

    def __init__(self, show: Progress, stage: str, total: int):
        self._show, self._stage, self._total = show, stage, total
        self._done = 0
        self._lock = threading.Lock()
        show(stage, 0, total)

    def after(self, job: Callable[[], None]) -> None:
        """Run a job and count it."""
        job()
        with self._lock:
            self._done += 1
            self._show(self._stage, self._done, self._total)


def _is_whole_jpeg(path: Path) -> bool:
    try:
        image_files.read_image_size(path)
        data = path.read_bytes()
    except ValueError:
        return False
    return image_headers.find_image_format(data) == "JPEG" and image_headers.jpeg_has_end(data)


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files of killed runs; the lock ensures that no other run is writing."""
    for path in folder.glob(".tmp-*") if folder.is_dir() else ():
        path.unlink(missing_ok=True)


def _raise_first(done: set[Future[None]]) -> None:
    """Raise what a job raised; a FetchStopped only where no other error explains it."""
    errors = [error for future in done if (error := future.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, FetchStopped)):
        raise error


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keep a second download out of the folder; do nothing where there is no flock."""
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
