"""Detection on many images: while one is in the network, others are read and masks are pasted.

Three stages run in threads of their own and hold only a few images between them:

    read, mold (two threads) -> network (one thread) -> masks (one thread)

The iterable is advanced in the caller's thread only, so a generator or a video needs no lock.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

from mrcnn.detection import molding
from mrcnn.files.names import printable

READERS = 2

# "raise", "return", or a callable `(index, item, exception)`.
ErrorHandling = str | Callable[[int, Any, Exception], Any]

# `(index, stage, seconds)`: the time that one image took in "read" (with resizing), "network" (the
# time of its batch over the number of its images) or "masks". Called in the threads of the stages.
OnStage = Callable[[int, str, float], Any]


class ImageError(ValueError):
    """One image could not be processed; the message begins with its name.

    The error that occurred is the `__cause__`.
    """


def stream(
    items: Iterable[Any],
    mold: Callable[[Any, str], Any],
    infer: Callable[[list[Any]], list[Any]],
    finish: Callable[[Any, Any], Any],
    *,
    batch_size: int,
    ahead: int,
    errors: ErrorHandling,
    name_of: Callable[[int, Any], str] | None = None,
    on_stage: OnStage | None = None,
) -> Generator[tuple[Any, Any], None, None]:
    """Pass items through the stages; see `Detector.detect_stream`.

    An image that fails in a batch does not fail the others: they go through the network again, one
    by one.

    Args:
        items: images, paths, or callables that return an image.
        mold: from an image and its name to what `infer` takes.
        infer: from a list of molded images to a list of outputs.
        finish: from `(molded, output)` to a result.
        batch_size: number of images that go into the network together.
        ahead: number of batches that may be under way.
        errors: "raise", "return" or a callable `(index, item, exception)`.
        name_of: from `(index, item)` to the name for error messages; `image_name` by default.
        on_stage: called with the time of each image in each stage; see `OnStage`.

    Yields:
        `(image, result)` in the order of the items; with `errors="return"`, `(image or None,
        exception)` for those that failed. Failures given to a callable are left out.

    Raises:
        Exception: with `errors="raise"`, the error of the first image that failed; an error of the
            iterable, after the results of the items before it.
    """
    pipeline = _Pipeline(mold, infer, finish, batch_size, name_of or image_name, on_stage)
    try:
        for index, item, future in _ahead(enumerate(items), pipeline, ahead * batch_size):
            image, result = future.result()
            if not isinstance(result, Exception) or errors == "return":
                yield image, result
            elif callable(errors):
                errors(index, item, result)
            else:
                raise result
    finally:
        pipeline.close()


def image_name(index: int, item: Any) -> str:
    """Return the name of an item for error messages: its path, or its number."""
    if isinstance(item, str | os.PathLike):
        return printable(os.fsdecode(item))
    return f"images[{index}]"


def _ahead(
    items: Iterator[tuple[int, Any]], pipeline: _Pipeline, limit: int
) -> Iterator[tuple[int, Any, Future[Any]]]:
    """Yield `(index, item, future of (image, result))`, with `limit` items or fewer under way."""
    waiting: deque[tuple[int, Any, Future[Any]]] = deque()
    failure: Exception | None = None
    exhausted = False
    while True:
        while not exhausted and len(waiting) < limit:
            batch: list[tuple[int, Any]] = []
            try:
                batch.extend(islice(items, pipeline.batch_size))
            except Exception as error:  # of the iterable; the items before it are finished first
                failure = error
            exhausted = len(batch) < pipeline.batch_size
            waiting.extend(pipeline.submit(batch))
        if not waiting:
            break
        yield waiting.popleft()
    if failure:
        raise failure


class _Pipeline:
    """The three stages and their threads."""

    def __init__(
        self,
        mold: Callable[[Any, str], Any],
        infer: Callable[[list[Any]], list[Any]],
        finish: Callable[[Any, Any], Any],
        batch_size: int,
        name_of: Callable[[int, Any], str],
        on_stage: OnStage | None,
    ) -> None:
        self.batch_size = batch_size
        self._mold, self._infer, self._finish = mold, infer, finish
        self._name_of = name_of
        self._on_stage = on_stage or (lambda index, stage, seconds: None)
        self._readers = ThreadPoolExecutor(READERS, "mrcnn-read")
        self._network = ThreadPoolExecutor(1, "mrcnn-network")
        self._pasting = ThreadPoolExecutor(1, "mrcnn-paste")

    def submit(self, batch: list[tuple[int, Any]]) -> list[tuple[int, Any, Future[Any]]]:
        """Start the work on a batch of `(index, item)`; it may be empty."""
        if not batch:
            return []
        names = [self._name_of(index, item) for index, item in batch]
        read = [
            self._readers.submit(self._timed, index, "read", self._read, item, name)
            for (index, item), name in zip(batch, names)
        ]
        outputs = self._network.submit(self._run_network, read, [index for index, _ in batch])
        return [
            (index, item, self._pasting.submit(self._paste, read[i], outputs, i, index, names[i]))
            for i, (index, item) in enumerate(batch)
        ]

    def close(self) -> None:
        """Drop what has not begun and wait for the work in progress."""
        executors = (self._readers, self._network, self._pasting)
        for executor in executors:
            executor.shutdown(wait=False, cancel_futures=True)
        for executor in executors:
            executor.shutdown(wait=True)

    def _timed(self, index: int, stage: str, work: Callable[..., Any], *arguments: Any) -> Any:
        """Return what `work` does, and report the time that it took."""
        begun = time.perf_counter()
        try:
            return work(*arguments)
        finally:
            self._on_stage(index, stage, time.perf_counter() - begun)

    def _read(self, item: Any, name: str) -> tuple[Any, Any]:
        """Return the image and its molded form, or the exception in place of the latter."""
        image = None
        try:
            image = item() if callable(item) else molding.read_if_path(item)
        except Exception as error:  # any exception that a decoder raises for a broken file
            return None, error
        try:
            return image, self._mold(image, name)
        except Exception as error:
            return image, _named(error, name)

    def _run_network(self, read: list[Future[Any]], indices: list[int]) -> list[Any]:
        """Return the outputs of a batch, None for each image that had failed before.

        An exception replaces each that fails in the network.
        """
        molded = [future.result()[1] for future in read]
        good = [i for i, value in enumerate(molded) if not isinstance(value, Exception)]
        outputs: list[Any] = [None] * len(read)
        begun = time.perf_counter()
        found = self._outputs([molded[i] for i in good])
        seconds = time.perf_counter() - begun
        for i, output in zip(good, found):
            outputs[i] = output
            self._on_stage(indices[i], "network", seconds / len(good))
        return outputs

    def _outputs(self, molded: list[Any]) -> list[Any]:
        """Return the outputs of the network, or exceptions; after one, image by image."""
        if not molded:
            return []
        try:
            return self._infer(molded)
        except Exception as error:
            if len(molded) == 1:
                return [error]
        return [output for one in molded for output in self._outputs([one])]

    def _paste(
        self, read: Future[Any], outputs: Future[Any], i: int, index: int, name: str
    ) -> tuple[Any, Any]:
        """Return the image and its result, or the exception in place of the latter."""
        output = outputs.result()[i]
        image, molded = read.result()
        if isinstance(molded, Exception):
            return image, molded
        if isinstance(output, Exception):
            # Not an `ImageError`: callers handle the network's own errors by their type.
            if hasattr(output, "add_note"):  # Python 3.11
                output.add_note(f"while detecting objects in {name}")
            return image, output
        try:
            return image, self._timed(index, "masks", self._finish, molded, output)
        except Exception as error:
            return image, _named(error, name)


def _named(error: Exception, name: str) -> Exception:
    """Return the error itself where it names the image, else an `ImageError` that does."""
    text = str(error)
    if text.startswith(name) and isinstance(error, ValueError):
        return error
    named = ImageError(f"{name}: {text or type(error).__name__}")
    named.__cause__ = error
    return named
