"""Detection on files: read, detect, draw, write, and continue a run that was interrupted.

sources -> detect_stream -> draw and write (threads) -> one record for each image, in order
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from mrcnn.detection.image_results import ImageResults
from mrcnn.detection.result_log import ResultLog
from mrcnn.detection.result_names import image_numbers, plan_names, without_results
from mrcnn.detection.run_options import RunOptions
from mrcnn.detection.sources import Source
from mrcnn.detection.writers import TRACK_COLUMN, VIDEO_COLUMNS

if TYPE_CHECKING:
    from mrcnn.detection.label_results import LabelResults
    from mrcnn.detection.video_run import VideoWork

# Threads that draw and write images. OpenCV releases the interpreter in them.
WRITERS = 2
# Images that wait to be written; more would only fill the memory.
MAX_PENDING = 4
# Letters of an error in the list of failures.
MAX_REASON = 300


@dataclass(frozen=True)
class ImageOutcome:
    """The outcome for one image or frame.

    Attributes:
        source: where it came from.
        record: what was written about it: `source`, `image_id`, `file_name`, `width`, `height`,
            `milliseconds` and `objects` (entries of `Detections.to_coco`); of a frame `frame` and
            `seconds`; `error` if it failed.
        class_ids: [instances] class ids found, of the wanted classes.
    """

    source: Source
    record: Mapping[str, Any]
    class_ids: Sequence[int] = ()

    @property
    def path(self) -> str:
        """Path, address or webcam number as it was given."""
        return self.source.path

    @property
    def kind(self) -> str:
        """What it is: "image", "frame", or "video" for one that could not be opened."""
        if self.source.kind == "image":
            return "image"
        return "frame" if "frame" in self.record else "video"

    @property
    def error(self) -> str | None:
        """Why the image failed; None if it did not."""
        return self.record.get("error")

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) in pixels; None if the image could not be read or detected on."""
        return (self.record["height"], self.record["width"]) if "width" in self.record else None


@dataclass(frozen=True)
class _Planned:
    """A source that is still to be processed; `image_id` is None for those with frames."""

    source: Source
    output: str
    image_id: int | None = None


@dataclass
class _Job:
    """One image or frame on its way.

    Attributes:
        planned: its source.
        image_id: its id.
        read: returns the image.
        frame: index and time of a frame, as its record has them.
        video: the video that a frame is of.
        network: seconds that it took in the network.
        track_ids: [instances] numbers of the tracks.
    """

    planned: _Planned
    image_id: int
    read: Callable[[], np.ndarray]
    frame: Mapping[str, Any] = field(default_factory=dict)
    video: VideoWork | None = None
    network: float = 0.0
    track_ids: Sequence[int] | None = None


@dataclass(frozen=True)
class _End:
    """The end of a video, behind its frames."""

    planned: _Planned
    video: VideoWork


class DetectionRun:
    """A pass over images and videos whose results are written while it runs.

    Whatever is wrong with one image becomes an entry of `failures`, and the others continue.

    Args:
        sources: images and videos; see `mrcnn.detection.sources.find_sources`.
        class_names: names by class id, the background first.
        options: how to detect, draw and write. The folder must exist.
        identity: what the results depend on besides the options, such as the weights; JSON.
        skip_existing: continue the run in the folder: images with a result are skipped.
        results: makes records and files of what the model finds; None for instances.

    Attributes:
        results: as given.
        num_skipped: number of images and videos that have results already.
        failures: (path, reason) of every image that could not be read, detected, drawn or
            written.
        seconds: wall time by stage: "first image", "detect", "read", "masks" and "draw, write".
        notes: sentences for the user about what a written video lacks.
        num_seen: numbers of "image"s, "frame"s and "video"s (that cannot be opened) with an
            outcome.
        num_done: images and frames in which objects were looked for.
        num_frames: frames among them.
        num_timed: those of them that count for the stage "detect".
        num_objects: objects found in them.
        num_with_objects: images with at least one.
        num_files: numbers of files for single images and frames, by kind: "image", "masks",
            "polygons", "labels".
        frame_counts: numbers of frames of the videos that were opened, by place; None where the
            file does not tell.

    Raises:
        ValueError: a webcam gives no images; `skip_existing`, and there is a webcam, or the folder
            holds results of other options.
        OSError: nothing can be written.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        class_names: Sequence[str],
        options: RunOptions,
        *,
        identity: Mapping[str, Any] | None = None,
        skip_existing: bool = False,
        results: ImageResults | LabelResults | None = None,
    ) -> None:
        self._check_webcams(sources, skip_existing)
        self.class_names = class_names
        self.options = options
        self.failures: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.num_seen: Counter[str] = Counter()
        self.num_done = self.num_frames = self.num_timed = 0
        self.num_objects = self.num_with_objects = 0
        self.num_files: Counter[str] = Counter()
        self.frame_counts: dict[str, int | None] = {}
        influence = {**options.influence(), **(identity or {})}
        self.log = ResultLog(options.output, influence, resume=skip_existing)
        sources = without_results(sources, options.output, self.log.names)
        self._has_videos = any(source.kind != "image" for source in sources)
        self._planned = self._plan(sources)
        self.num_skipped = len(sources) - len(self._planned)
        self.results: Any = results or ImageResults(class_names, options)
        self._pending: deque[Future[ImageOutcome | None]] = deque()
        self._drawers = ThreadPoolExecutor(WRITERS, "mrcnn-write")
        self._recorder = ThreadPoolExecutor(1, "mrcnn-record")
        self._lock = threading.Lock()
        self._network: dict[int, float] = {}
        self._videos: list[VideoWork] = []
        self._found: Any = None
        self._on_tile: Callable[[int, int], Any] | None = None

    def _check_webcams(self, sources: Sequence[Source], skip_existing: bool) -> None:
        """Raise ValueError for a webcam that cannot be used."""
        for source in sources:
            if source.kind == "webcam":
                if skip_existing:
                    raise ValueError(
                        "source is a webcam; it must be a file or an address to skip existing"
                    )
                from mrcnn.detection.video_run import check_webcam

                check_webcam(source)

    @property
    def remaining(self) -> list[Source]:
        """Images and videos that the run processes."""
        return [planned.source for planned in self._planned]

    @property
    def video_files(self) -> list[Path]:
        """Annotated videos that were written."""
        return [v.target for v in self._videos if v.target is not None and v.target.exists()]

    @property
    def num_expected(self) -> int | None:
        """Number of images and frames; None while it is not known."""
        num_videos = sum(source.kind != "image" for source in self.remaining)
        counts = [video.reader.count for video in self._videos]
        if len(counts) < num_videos or None in counts:
            return None
        return len(self._planned) - num_videos + sum(count or 0 for count in counts)

    def _plan(self, sources: Sequence[Source]) -> list[_Planned]:
        """Return what is left to do, with image ids and names of result files."""
        log = self.log
        images = [source for source in sources if source.kind == "image"]
        ids = dict(zip((s.place for s in images), image_numbers(images, log.image_ids)))
        names = plan_names(sources, self.options.output, log.names)
        self._last_id = max([log.last_id, *ids.values()])
        planned = [_Planned(s, name, ids.get(s.place)) for s, name in zip(sources, names)]
        return [one for one in planned if one.source.place not in log.names]

    # ---- the work --------------------------------------------------------------------------------

    def process(
        self, model: Any, on_tile: Callable[[int, int], Any] | None = None
    ) -> Generator[ImageOutcome, None, None]:
        """Detect on the images; call `close` afterwards, also when an exception ended the loop.

        Args:
            model: a `MaskRCNN` for inference.
            on_tile: called with the numbers of done and of all tiles of an image, with
                `options.tile`.

        Yields:
            One outcome for each image and frame, in order, after its files and its record were
            written.

        Raises:
            OSError: a record cannot be written: the disk is full.
        """
        self.log.open()
        self._on_tile = on_tile
        self._found = self._detected(model)
        for job, image, result in self._found:
            started = self._start(job, image, result)
            self._pending.append(self._recorder.submit(self._finish, job, started))
            yield from self._outcomes(MAX_PENDING)
        yield from self._outcomes(0)

    def close(self) -> None:
        """Stop detecting, and wait until what was found is drawn, written and recorded."""
        with contextlib.ExitStack() as stack:  # the last one first, whatever fails
            stack.callback(self.log.close)
            for video in self._videos:
                stack.callback(video.close)
            stack.callback(self._recorder.shutdown)
            stack.callback(self._drawers.shutdown)
            if self._found is not None:
                self._found.close()
            for _ in self._outcomes(0):
                pass

    def join(self) -> list[Path]:
        """Write the files that hold the results of all images; return their paths.

        Raises:
            OSError: a file cannot be written; the records stay.
        """
        columns = [*VIDEO_COLUMNS] if self._has_videos else []
        columns += [TRACK_COLUMN] if self.options.track else []
        return self.results.join(self.log.records, columns)

    def _outcomes(self, allowed: int) -> Iterator[ImageOutcome]:
        """Yield the outcomes that are ready, and wait until at most `allowed` are not."""
        while self._pending and (len(self._pending) > allowed or self._pending[0].done()):
            outcome = self._pending.popleft().result()
            if outcome is None:
                continue
            self.num_seen[outcome.kind] += 1
            if outcome.error is not None:
                self.failures.append((outcome.path, outcome.error))
            else:
                kinds = set(self.results.file_kinds)
                self.num_files.update(kinds.intersection(self.options.kinds_of(outcome.source)))
            if outcome.size is not None:
                self.num_done += 1
                self.num_frames += "frame" in outcome.record
                self.num_objects += len(outcome.class_ids)
                self.num_with_objects += len(outcome.class_ids) > 0
            yield outcome

    def _jobs(self) -> Iterator[_Job | _End]:
        """Yield a job for each image and frame, and the end of each video."""
        from mrcnn.datasets import image_files

        for planned in self._planned:
            if planned.image_id is None:
                yield from self._frames(planned)
            else:
                read = partial(image_files.read_image, planned.source.path, exif_orientation=True)
                yield _Job(planned, planned.image_id, read)

    def _frames(self, planned: _Planned) -> Iterator[_Job | _End]:
        """Yield a job for each frame of a video, then its end."""
        from mrcnn.detection.video_run import VideoWork

        options, video, count = self.options, None, 0
        try:
            target = None
            if "video" in options.kinds_of(planned.source):
                target = options.output / f"{planned.output}.mp4"
            video = VideoWork(planned.source, target, options.track)
            self._videos.append(video)
            self.frame_counts[planned.source.place] = video.reader.count
            for index, seconds, frame in video.reader:
                count = index + 1
                fields = {"frame": index, "seconds": round(seconds, 6)}
                yield _Job(planned, self._next_id(), partial(_given, frame), fields, video)
        except Exception as error:  # anything: the other sources must be processed
            if video is not None:
                video.is_whole = False
            fields = {} if video is None else {"frame": count}
            yield _Job(planned, self._next_id(), partial(_raise, error), fields, video)
        if video is not None:
            yield _End(planned, video)

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _detected(self, model: Any) -> Iterator[tuple[_Job | _End, np.ndarray | None, Any]]:
        """Yield (job, image, result), or the exception in place of the result."""
        waiting: deque[_Job | _End] = deque()

        def items() -> Iterator[Callable[[], np.ndarray]]:
            for job in self._jobs():
                waiting.append(job)
                if isinstance(job, _Job):
                    yield job.read

        detect = self._detect_tiled if self.options.tile else self._detect_whole
        with contextlib.closing(detect(model, items())) as results:
            for index, (image, result) in enumerate(results):
                while isinstance(job := waiting.popleft(), _End):
                    yield job, None, None
                with self._lock:
                    job.network = self._network.pop(index, 0.0)
                yield job, image, result
        yield from ((end, None, None) for end in waiting)

    def _detect_whole(self, model: Any, items: Iterator[Any]) -> Any:
        """Detect on whole images: `(image, result)`, or the exception in place of the result."""
        return model.detect_stream(
            items,
            self.options.batch_size,
            errors="return",
            with_images=True,
            refiner=self.options.refiner,
            rle=True,
            on_stage=self._note,
        )

    def _detect_tiled(self, model: Any, items: Iterator[Any]) -> Any:
        """Detect as `_detect_whole`, each image in tiles."""
        options = self.options
        for index, read in enumerate(items):
            image = None
            try:
                with self._timed(index, "read"):
                    image = read()
                with self._timed(index, "network"):
                    result = model.detect_tiled(
                        image,
                        options.tile,
                        batch_size=options.batch_size,
                        refiner=options.refiner,
                        rle=True,
                        progress=self._on_tile,
                    )
            except Exception as error:  # anything: the other images must be processed
                result = error
            yield image, result

    @contextlib.contextmanager
    def _timed(self, index: int, stage: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._note(index, stage, time.perf_counter() - begun)

    def _note(self, index: int, stage: str, seconds: float) -> None:
        """Add up the time of a stage; called in any thread."""
        with self._lock:
            if stage == "network":
                self._network[index] = seconds
                # The first call builds and compiles the network; it would spoil the average.
                stage = "detect" if index >= self.options.batch_size else "first image"
                self.num_timed += stage == "detect"
            self.seconds[stage] += seconds

    # ---- one image -------------------------------------------------------------------------------

    def _start(self, job: _Job | _End, image: Any, result: Any) -> Future[Any] | None:
        """Start to draw and write what was found in an image; None at the end of a video."""
        if isinstance(job, _End):
            return None
        if not isinstance(result, Exception):
            try:
                result = self.results.read(result)
                if job.video is not None:
                    job.track_ids = job.video.track(result)
            except Exception as error:  # anything: the other images must be processed
                result = error
        return self._drawers.submit(self._write, job, image, result)

    def _write(
        self, job: _Job, image: np.ndarray | None, found: Any
    ) -> tuple[ImageOutcome, np.ndarray | None]:
        """Write the files of one image; errors become part of its outcome.

        Returns:
            The outcome, and the annotated frame for a video.
        """
        begun = time.perf_counter()
        source = job.planned.source
        record: dict[str, Any] = {
            "source": source.place,
            "image_id": job.image_id,
            "file_name": source.file_name,
            "output": job.planned.output,
            **job.frame,
        }
        class_ids: Sequence[int] = ()
        drawn = image
        try:
            if isinstance(found, Exception):
                raise found
            if image is None:
                raise ValueError("the model returned no image")
            height, width = image.shape[:2]
            record |= {"width": width, "height": height}
            record["milliseconds"] = round(job.network * 1e3, 1)
            fields, class_ids = self.results.fields(
                found, job.image_id, source.file_name, job.frame, job.track_ids
            )
            record |= fields
            frame = job.frame.get("frame")
            output = job.planned.output
            drawn = self.results.write(source, output, image, found, fields, frame)
        except Exception as error:  # anything: the other images must be processed
            record["error"] = describe_failure(source.path, error)
        with self._lock:
            self.seconds["draw, write"] += time.perf_counter() - begun
        return ImageOutcome(source, record, class_ids), drawn

    def _finish(self, job: _Job | _End, started: Future[Any] | None) -> ImageOutcome | None:
        """Record the outcome of one image; this runs in one thread, in the order of the images."""
        if isinstance(job, _End) or started is None:
            return self._finish_video(job.planned, job.video)
        outcome, drawn = started.result()
        if job.video is not None:
            outcome = self._add_frame(job.video, outcome, drawn)
        self.log.append(outcome.record)
        return outcome

    def _add_frame(
        self, video: VideoWork, outcome: ImageOutcome, drawn: np.ndarray | None
    ) -> ImageOutcome:
        """Add a frame to the annotated video; an error becomes part of the outcome."""
        try:
            if drawn is not None:
                video.write(drawn, outcome.record["seconds"])
        except Exception as error:  # anything: the other frames must be processed
            reason = describe_failure(outcome.path, error)
            outcome = replace(outcome, record={**outcome.record, "error": reason})
        video.num_frames += 1
        video.is_whole &= outcome.error is None
        return outcome

    def _finish_video(self, planned: _Planned, video: VideoWork | None) -> ImageOutcome | None:
        """Complete a video; without failures it is recorded as finished."""
        source = planned.source
        record = {
            "source": source.place,
            "file_name": source.file_name,
            "output": planned.output,
        }
        if video is None:
            return None
        try:
            video.close()
        except Exception as error:  # anything: the other sources must be processed
            return ImageOutcome(source, {**record, "error": describe_failure(source.path, error)})
        self.notes += video.notes
        if video.is_whole:
            self.log.append({**record, "frames": video.num_frames})
        return None


def describe_failure(path: str, error: Exception) -> str:
    """Return the cause of an image's failure as one line, without the path."""
    reason = str(error).removeprefix(f"{path}: ").removeprefix(f"{path} is ").strip()
    if not reason:
        return type(error).__name__
    # The texts of C++ libraries have many lines, the first of which names the cause.
    reason = reason.splitlines()[0]
    if len(reason) > MAX_REASON:
        reason = f"{reason[:MAX_REASON]}..."
    return (
        reason if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {reason}"
    )


def _given(image: np.ndarray) -> np.ndarray:
    return image


def _raise(error: Exception) -> NoReturn:
    raise error
