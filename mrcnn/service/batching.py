"""Batching: images of several requests go through the model in one call."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

# From images and the options they share to a result or an exception for each image.
Run = Callable[[Sequence[Any], Any], Sequence[Any]]


@dataclass(eq=False)
class _Waiting:
    """An image that waits for the model."""

    image: Any
    options: Hashable
    result: asyncio.Future[Any]
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Collects images and runs them in one thread, one batch after the other.

    A batch begins when the thread is free and an image waits. It takes the images with the options
    of the first one: `batch_size` of them, or those that have come when the first one has waited
    for `wait_seconds`.

    Args:
        run: called in the thread with the images of a batch and their options.
        batch_size: most images in a batch.
        wait_seconds: longest time that an image waits for others while the thread is free.
    """

    def __init__(self, run: Run, batch_size: int, wait_seconds: float) -> None:
        self._run = run
        self._batch_size = batch_size
        self._wait_seconds = wait_seconds
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "mrcnn-detect")
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return the number of images that wait."""
        return len(self._waiting)

    async def start(self) -> None:
        """Begin to run batches; called in the event loop that submits images."""
        self._task = asyncio.create_task(self._run_batches())

    async def close(self) -> None:
        """End after the batch in progress; images that wait get no result."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def submit(self, image: Any, options: Hashable) -> Any:
        """Return the result of an image; an exception that `run` returns for it is raised.

        Args:
            image: passed to `run`.
            options: what `run` takes; only images with equal options share a batch.
        """
        one = _Waiting(image, options, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        self._arrived.set()
        try:
            return await one.result
        finally:
            if not one.result.done() or one.result.cancelled():
                with contextlib.suppress(ValueError):  # it may be in a batch already
                    self._waiting.remove(one)

    async def _run_batches(self) -> None:
        while True:
            batch = await self._collect()
            if not batch:
                continue
            images, options = [one.image for one in batch], batch[0].options
            work = asyncio.get_running_loop().run_in_executor(
                self._thread, self._run, images, options
            )
            try:
                results: Sequence[Any] = await work
            except Exception as error:  # `run` returns errors; this one is its own
                results = [error] * len(batch)
            for one, result in zip(batch, results):
                if one.result.done():  # the request has ended
                    continue
                if isinstance(result, BaseException):
                    one.result.set_exception(result)
                else:
                    one.result.set_result(result)

    async def _collect(self) -> list[_Waiting]:
        """Wait for images and return those of the next batch."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        first = self._waiting[0]
        deadline = first.since + self._wait_seconds
        while len(self._of_batch(first)) < self._batch_size:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._arrived.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left)
        batch = self._of_batch(first)
        for one in batch:
            self._waiting.remove(one)
        return batch

    def _of_batch(self, first: _Waiting) -> list[_Waiting]:
        """Return the images that wait with the options of the first one, at most `batch_size`."""
        alike = [one for one in self._waiting if one.options == first.options]
        return alike[: self._batch_size]
