"""Detection on many pictures: while one is in the network, the next are read and the last pasted.

Three stages on threads of their own, and never more than a few pictures between them:

    read, mold (two threads) -> network (one thread) -> masks (one thread)

The iterable is advanced only in the caller's thread, so a generator or a video needs no lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

from mrcnn.detection import molding

READERS = 2


def stream(
    items: Iterable[Any],
    mold: Callable[[Any], Any],
    infer: Callable[[list[Any]], list[Any]],
    finish: Callable[[Any, Any], Any],
    *,
    batch_size: int,
    ahead: int,
    errors: Any,
) -> Iterator[tuple[Any, Any]]:
    """Run items through the stages; see `MaskRCNN.detect_stream`.

    Args:
        items: pictures, paths, or callables that give a picture.
        mold: picture to whatever `infer` takes.
        infer: list of molded pictures to a list of outputs.
        finish: `(molded, output)` to a result.
        batch_size: pictures that go into the network together.
        ahead: batches that may be on their way.
        errors: "raise", "return" or a callable `(index, item, exception)`.

    Yields:
        `(picture, result)` in the order of the items; with `errors="return"`, `(picture or None,
        exception)` for those that failed. Those given to a callable are left out.
    """
    items = enumerate(items)
    readers = ThreadPoolExecutor(READERS, "mrcnn-read")
    network = ThreadPoolExecutor(1, "mrcnn-network")
    pasting = ThreadPoolExecutor(1, "mrcnn-paste")
    waiting: deque[tuple[int, Any, _Slot]] = deque()
    exhausted, failure = False, None
    try:
        while True:
            while not exhausted and len(waiting) < ahead * batch_size:
                batch = []
                try:
                    batch.extend(islice(items, batch_size))
                except Exception as error:  # of the iterable; what came before it is finished
                    failure = error
                exhausted = len(batch) < batch_size
                slots = [_Slot(readers.submit(_read, item, mold)) for _, item in batch]
                if slots:
                    done = network.submit(_infer, slots, infer)
                for i, ((index, item), slot) in enumerate(zip(batch, slots)):
                    slot.result = pasting.submit(_finish, slot, done, i, finish)
                    waiting.append((index, item, slot))
            if not waiting:
                if failure:
                    raise failure
                return
            index, item, slot = waiting.popleft()
            image, result = slot.result.result()
            if isinstance(result, Exception):
                if callable(errors):
                    errors(index, item, result)
                    continue
                if errors == "raise":
                    raise result
            yield image, result
    finally:
        # Also when the caller stops early: what has not begun is dropped, nobody is waited for
        # but the stage at work.
        for executor in (readers, network, pasting):
            executor.shutdown(wait=False, cancel_futures=True)
        for executor in (readers, network, pasting):
            executor.shutdown(wait=True)


class _Slot:
    """A picture on its way: the future of `(picture, molded or exception)`, then of the result."""

    def __init__(self, molded: Future) -> None:
        self.molded = molded
        self.result: Future | None = None


def _read(item, mold):
    image = None
    try:
        image = item() if callable(item) else molding.read_if_path(item)
        return image, mold(image)
    except Exception as error:  # whatever a broken file makes a decoder raise
        return image, error


def _infer(slots, infer):
    """The outputs of a batch, None for pictures that could not be read; or the exception."""
    molded = [slot.molded.result()[1] for slot in slots]
    good = [i for i, value in enumerate(molded) if not isinstance(value, Exception)]
    outputs = [None] * len(slots)
    if good:
        try:
            found = infer([molded[i] for i in good])
        except Exception as error:
            found = [error] * len(good)
        for i, output in zip(good, found):
            outputs[i] = output
    return outputs


def _finish(slot, done, i, finish):
    output = done.result()[i]
    image, molded = slot.molded.result()
    for value in (molded, output):
        if isinstance(value, Exception):
            return image, value
    try:
        return image, finish(molded, output)
    except Exception as error:
        return image, error
