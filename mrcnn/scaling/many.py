"""`detect_many`: detection on any number of images, in several processes, that can be continued."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcnn.detection.files import class_numbers
from mrcnn.files.atomic import remove_stale
from mrcnn.files.locking import try_to_lock
from mrcnn.files.names import printable
from mrcnn.scaling.model_source import ModelSource
from mrcnn.scaling.packages import check_packages

if TYPE_CHECKING:
    from mrcnn.scaling.plan import Plan, ShardCount
    from mrcnn.scaling.shards import ShardOutcome

# A shard whose files do not fit its images is made again; it is made this many times at most.
_PASSES = 3
# Temporary files of this age belong to no worker that is still writing one.
_STALE_SECONDS = 600


@dataclass(frozen=True)
class DetectionSummary:
    """The results in a folder.

    Attributes:
        output: path or address of the folder.
        num_images: number of all images.
        num_done: images in which objects were looked for.
        num_failed: images that could not be read or detected on.
        num_objects: objects that were found.
    """

    output: str
    num_images: int
    num_done: int
    num_failed: int
    num_objects: int


class ManyRun:
    """A run over many images: made, or continued.

    The arguments are those of `detect_many`.

    Attributes:
        described: the weights.
        plan: the plan.
        num_before: images with a result of an earlier run.

    Raises:
        As `detect_many`.
    """

    def __init__(
        self,
        sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        output: str | os.PathLike[str],
        source: ModelSource,
        *,
        recursive: bool = False,
        column: str | None = None,
        classes: str | Iterable[str] | None = None,
        batch_size: int = 1,
        shard_size: int | None = None,
        retry_failed: bool = False,
    ) -> None:
        check_packages()
        from mrcnn.scaling.listing import list_images
        from mrcnn.scaling.places import ResultFolder
        from mrcnn.scaling.plan import open_plan

        check_counts(batch_size=batch_size, shard_size=shard_size)
        self.described = source.describe()
        self.classes = class_numbers(classes, self.described.class_names)
        self.batch_size = batch_size
        words = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
        folder = ResultFolder(output)
        images, column = list_images(
            [os.fspath(word) for word in words],
            recursive=recursive,
            column=column,
            leave_out=folder.place,
        )
        self._lock = _lock(folder.place) if folder.is_local else None
        kept = None if self.classes is None else sorted(self.classes)
        settings = {**source.identity(self.described), "classes": kept}
        self.source = source.pinned(self.described)
        try:
            self.plan: Plan = open_plan(folder, images, column, settings, shard_size)
            self.counts: dict[int, ShardCount] = self.plan.counts()
            if retry_failed:
                self.counts = {k: count for k, count in self.counts.items() if not count.failed}
            self._clean()
        except BaseException:
            self.close()
            raise
        self.num_before = sum(count.images + count.failed for count in self.counts.values())

    def _clean(self) -> None:
        """Remove what earlier runs have left of the shards that are not done."""
        from mrcnn.scaling.plan import ATTEMPTS, FAILED, IMAGES, OBJECTS, shard_file

        folder = self.plan.folder
        if folder.is_local:
            for kind in (IMAGES, OBJECTS, FAILED, ATTEMPTS):
                remove_stale(folder.path_of(kind), before=time.time() - _STALE_SECONDS)
        unfinished = {shard_file(shard) for shard in self.remaining}
        for kind in (
            IMAGES,
            FAILED,
            ATTEMPTS,
        ):  # in this order: a kill between them leaves a shard undone
            for name in unfinished & folder.names(kind):
                folder.remove(f"{kind}/{name}")

    @property
    def remaining(self) -> list[int]:
        """Numbers of the shards that are not done."""
        return [shard for shard in range(self.plan.num_shards) if shard not in self.counts]

    def process(
        self,
        *,
        workers: int | None = None,
        threads: int | None = None,
        gpus: float = 0.0,
        address: str | None = None,
        on_start: Callable[[Any], Any] | None = None,
    ) -> Iterator[ShardOutcome]:
        """Detect on what is left; yield what each shard gave, as soon as it is done.

        Args:
            workers: as for `detect_many`.
            threads: as for `detect_many`.
            gpus: as for `detect_many`.
            address: as for `detect_many`.
            on_start: called with the `Pool` of worker processes.
        """
        from mrcnn.scaling.ray_pool import Job, connected, run_shards

        check_counts(workers=workers, threads=threads)
        if not (isinstance(gpus, int | float) and math.isfinite(gpus) and gpus >= 0):
            raise ValueError(f"gpus is {gpus}; it must be a number of GPUs from 0")
        if not self.remaining:
            return
        job = Job(self.plan, self.source, self.classes, self.batch_size)
        with connected(address, workers, threads, gpus) as pool:
            if on_start is not None:
                on_start(pool)
            for _ in range(_PASSES):
                yield from run_shards(job, self.remaining, pool)
                self.counts = self.plan.counts()
                if not self.remaining:
                    return
        raise RuntimeError(
            f"the files of shard {self.remaining[0]} in {printable(self.plan.folder.place)} do not "
            "fit its images; does another process write there?"
        )

    def summary(self) -> DetectionSummary:
        """Return what the folder holds."""
        counts = self.counts.values()
        return DetectionSummary(
            self.plan.folder.place,
            self.plan.num_images,
            sum(count.images for count in counts),
            sum(count.failed for count in counts),
            sum(count.objects for count in counts),
        )

    def failures(self, limit: int) -> list[tuple[str, str]]:
        """Return source and reason of the first images that failed, at most `limit`."""
        from mrcnn.scaling.results import read_failures

        return read_failures(self.plan, self.counts, limit)

    def write_coco(self) -> list[str]:
        """Write `detections.json` and `images.json` of all images; return their addresses."""
        from mrcnn.scaling.results import write_coco

        return write_coco(self.plan, self.described.class_names)

    def close(self) -> None:
        """Let other processes write the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def detect_many(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] = "small",
    engine: str = "auto",
    precision: str | None = None,
    config: str | os.PathLike[str] | None = None,
    min_confidence: float | None = None,
    refiner: str | os.PathLike[str] | None = "auto",
    workers: int | None = None,
    threads: int | None = None,
    gpus: float = 0.0,
    address: str | None = None,
    coco: bool = False,
    progress: bool = True,
    **options: Any,
) -> DetectionSummary:
    """Detect on any number of images in several processes, and write Parquet files.

    A run that was interrupted, at any moment, is continued by the same call. Call it from the
    main part of a script, or from a notebook.

    Args:
        sources: what to detect on, or one of them: images, folders, patterns, lists (`.txt`),
            Parquet files of paths or encoded images; paths, or addresses that fsspec reads.
        output: path or address of the folder for the results; it is made.
        weights: a known name, or the path of a weight file. On a cluster every machine must have
            the file.
        engine: "auto", "keras" or "openvino".
        precision: "float32", "bfloat16" or "int8"; None takes that of the settings.
        config: JSON file with settings that override those of the weights.
        min_confidence: least score of an object, 0..1; None takes that of the settings.
        refiner: sharpens every mask: the name or the path of a refiner. "auto" is the one that
            belongs to the weights, as to "small"; None leaves the masks as they are.
        workers: number of worker processes, each with a model; None takes as many as the cores
            allow.
        threads: CPU threads of each; None shares the cores.
        gpus: GPUs of each worker; 0.5 lets two share one.
        address: address of a Ray cluster, such as "auto"; None runs on this machine.
        coco: also write `detections.json` and `images.json` at the end, as `mrcnn detect` does.
        progress: show a progress bar with the time left.
        **options: `recursive` (look in the folders of a folder too), `column` (of Parquet files),
            `classes` (names to keep, or a text that separates them by commas), `batch_size`
            (images that go into the network together), `shard_size` (images of a shard) and
            `retry_failed` (detect again on the shards in which an image failed).

    Returns:
        What the folder holds: the results of this and of earlier runs.

    Raises:
        FileNotFoundError: a source or the weights do not exist.
        ValueError: a source holds no images, an option has no valid value, or `output` holds
            results of another source or of other settings.
        ImportError: a package of the extra "ray" is missing.

    Example:
        >>> detect_many("photos", "found", workers=4)  # doctest: +SKIP
    """
    source = ModelSource(
        os.fspath(weights),
        config=None if config is None else os.fspath(config),
        engine=engine,
        precision=precision,
        min_confidence=min_confidence,
        refiner=None if refiner is None else os.fspath(refiner),
    )
    run = ManyRun(sources, output, source, **options)
    try:
        outcomes = run.process(workers=workers, threads=threads, gpus=gpus, address=address)
        for _ in with_bar(run, outcomes, None if progress else True):
            pass
        if coco:
            run.write_coco()
        return run.summary()
    finally:
        run.close()


def with_bar(
    run: ManyRun, outcomes: Iterator[ShardOutcome], disable: bool | None
) -> Iterator[ShardOutcome]:
    """Pass on outcomes and show a progress bar; `disable` as for `tqdm`."""
    from tqdm import tqdm

    total, done = run.plan.num_images, run.num_before
    with tqdm(total=total, initial=done, unit="image", disable=disable, leave=False) as bar:
        for outcome in outcomes:
            bar.update(outcome.images + outcome.failed)
            yield outcome


def check_counts(**counts: int | None) -> None:
    """Raise ValueError for a number that is neither None nor a whole number of at least 1."""
    for name, value in counts.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")


def _lock(folder: str) -> int:
    """Lock the folder of the results until the descriptor is closed; make it where it is missing.

    Raises:
        ValueError: another process has locked it, or it is a file.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ValueError(
            f"output is {printable(folder)}, which is a file; it must be a folder"
        ) from error
    descriptor = os.open(folder, os.O_RDONLY)
    if not try_to_lock(descriptor):
        os.close(descriptor)
        raise ValueError(
            f"output is {printable(folder)}, into which another process writes; it must end first"
        )
    return descriptor
