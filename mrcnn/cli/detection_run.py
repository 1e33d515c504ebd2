"""One pass over image files: detect, draw, and collect the results."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

# Images waiting to be drawn and written; more would only fill the memory.
MAX_PENDING = 3
# Letters of an error in the list of failures.
MAX_REASON = 300


@dataclass(frozen=True)
class RunOptions:
    """Settings of detecting, drawing and writing.

    Attributes:
        output: folder of the annotated images.
        wanted: ids of the classes to keep; None keeps all.
        color_by: "class" or "instance": what gets a color of its own.
        segmentation: "rle", "polygon" or "none": how masks are written.
        draw: whether to write annotated images.
        batch_size: images that go into the network together.
        tile: side of the tiles in pixels; None detects on whole images.
        refiner: a mask refiner, or None.
    """

    output: Path
    wanted: Sequence[int] | None = None
    color_by: str = "class"
    segmentation: str = "rle"
    draw: bool = True
    batch_size: int = 1
    tile: int | None = None
    refiner: Any = None


@dataclass(frozen=True)
class ImageOutcome:
    """The outcome for one image.

    Attributes:
        path: the file.
        seconds: time that the network's results took to arrive.
        size: (height, width) in pixels; None if the image failed.
        class_ids: [instances] class ids found, of the wanted classes.
        error: why the image failed; None if it did not.
    """

    path: Path
    seconds: float
    size: tuple[int, int] | None = None
    class_ids: Sequence[int] = ()
    error: str | None = None


class DetectionRun:
    """A pass over images; a thread draws and writes while the model detects on the next image.

    Whatever goes wrong with one image becomes an entry of `failures`, and the others continue.

    Args:
        model: a `MaskRCNN` for inference.
        class_names: names by class id, the background first.
        options: how to detect, draw and write.

    Attributes:
        entries: what was found, in COCO's results format, in the order of the images.
        failures: (path, reason) of every image that could not be read, detected, drawn or
            written.
        seconds: wall time by stage: "first image", "detect", "read" and "draw, write".
        num_done: images that the model has seen.
    """

    def __init__(self, model: Any, class_names: Sequence[str], options: RunOptions) -> None:
        self.model = model
        self.class_names = class_names
        self.options = options
        self.entries: list[dict[str, Any]] = []
        self.failures: list[tuple[Path, str]] = []
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.num_done = 0
        self._pending: deque[Future[_Written]] = deque()
        self._writer = ThreadPoolExecutor(1, "mrcnn-write")
        self._found: Any = None

    def process(self, paths: Sequence[Path]) -> Iterator[ImageOutcome]:
        """Detect on the images; call `close` afterwards, also when an exception ended the loop.

        Yields:
            One outcome per image, in order. Drawing and writing may still be running, and their
            errors appear in `failures` alone.
        """
        from mrcnn.cli.image_paths import image_numbers, plan_outputs
        from mrcnn.detection.results import Detections

        targets = plan_outputs(paths, self.options.output)
        numbers = image_numbers(paths)
        self._found = self._detect_tiled(paths) if self.options.tile else self._detect_whole(paths)
        for path, target, number in zip(paths, targets, numbers):
            begun = time.perf_counter()
            image, result = next(self._found)
            seconds = time.perf_counter() - begun
            if isinstance(result, Exception):
                reason = describe_failure(path, result)
                self.failures.append((path, reason))
                yield ImageOutcome(path, seconds, error=reason)
                continue
            # The first call builds and compiles the network; it would spoil the average.
            self.seconds["detect" if self.num_done else "first image"] += seconds
            self.num_done += 1
            found = Detections.from_result(result).of_classes(self.options.wanted)
            result = found.to_result()
            write = partial(self._draw_and_write, path, image, result, target, number)
            self._pending.append(self._writer.submit(write))
            self._collect(MAX_PENDING)
            yield ImageOutcome(path, seconds, image.shape[:2], result["class_ids"].tolist())

    def close(self) -> None:
        """Stop detecting, wait until all results are drawn and written, and collect them."""
        if self._found is not None:
            self._found.close()
        self._collect(0)
        self._writer.shutdown()

    def _collect(self, allowed: int) -> None:
        """Take the results of written images until at most `allowed` are pending."""
        while len(self._pending) > allowed:
            written = self._pending.popleft().result()
            self.entries += written.entries
            if written.error is not None:
                self.failures.append((written.path, describe_failure(written.path, written.error)))

    def _detect_whole(self, paths: Sequence[Path]) -> Iterator[tuple[np.ndarray | None, Any]]:
        """Detect on whole images: `(image, result)`, or the exception in place of the result."""
        return self.model.detect_stream(
            [partial(self._read, path) for path in paths],
            self.options.batch_size,
            errors="return",
            with_images=True,
            refiner=self.options.refiner,
            rle=True,
        )

    def _detect_tiled(self, paths: Sequence[Path]) -> Iterator[tuple[np.ndarray | None, Any]]:
        """Detect as `_detect_whole`, each image in tiles."""
        options = self.options
        for path in paths:
            image = None
            try:
                image = self._read(path)
                result = self.model.detect_tiled(
                    image,
                    options.tile,
                    batch_size=options.batch_size,
                    refiner=options.refiner,
                    rle=True,
                )
            except Exception as error:  # anything: the other images must be processed
                result = error
            yield image, result

    def _read(self, path: Path) -> np.ndarray:
        """Read one image, upright."""
        from mrcnn.datasets.image_files import read_image

        begun = time.perf_counter()
        image = read_image(path, exif_orientation=True)
        self.seconds["read"] += time.perf_counter() - begun
        return image

    def _draw_and_write(
        self, path: Path, image: np.ndarray, result: dict[str, Any], target: Path, number: int
    ) -> _Written:
        """Write one annotated image and return its COCO entries; errors become part of these."""
        begun = time.perf_counter()
        written = _Written(path, [])
        try:
            written.entries = self._coco_entries(path, result, number)
            if self.options.draw:
                self._draw(image, result, target)
        except Exception as error:  # anything: the other images must be processed
            written.error = error
        self.seconds["draw, write"] += time.perf_counter() - begun
        return written

    def _coco_entries(
        self, path: Path, result: dict[str, Any], number: int
    ) -> list[dict[str, Any]]:
        from mrcnn.checkpoints.coco_names import COCO_CATEGORY_IDS, COCO_CLASS_NAMES
        from mrcnn.detection import results

        is_coco = tuple(self.class_names) == COCO_CLASS_NAMES
        category_ids = COCO_CATEGORY_IDS if is_coco else None
        return results.to_coco(
            result, number, path.name, self.class_names, category_ids, self.options.segmentation
        )

    def _draw(self, image: np.ndarray, result: dict[str, Any], target: Path) -> None:
        from mrcnn.drawing.rendering import save_instances

        color_by = self.options.color_by
        save_instances(target, image, result, class_names=self.class_names, color_by=color_by)


@dataclass
class _Written:
    """The COCO entries of one image, and the error that ended its drawing or writing."""

    path: Path
    entries: list[dict[str, Any]]
    error: Exception | None = None


def describe_failure(path: Path, error: Exception) -> str:
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
