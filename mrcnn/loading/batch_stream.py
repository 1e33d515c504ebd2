"""A stream of images in batches: loaded in threads, the same for the same seed."""

from __future__ import annotations

import contextlib
import functools
import math
import queue
import threading
from typing import Any

import keras
import numpy as np

from mrcnn.loading.broken_images import MAX_BROKEN_IMAGES, BrokenImages
from mrcnn.loading.cache import DEFAULT_LIMIT, CachedDataset
from mrcnn.loading.image_gt import describe_image

# Purposes of streams of random numbers: no two streams are the same.
_ORDER, _IMAGE = 0, 1


class BatchStream(keras.utils.PyDataset):
    """Batches of the images of a dataset, for `fit`.

    All passes over the dataset make one long stream of images, each pass in an order of
    its own; batch `i` of epoch `e` takes the next `batch_size` images at
    `(e * steps + i) * batch_size`. A whole training thus sees every image equally often,
    whatever the number of steps of an epoch. What a batch holds follows from `seed` and its place
    in the stream alone: not from the thread, nor from what was loaded before.

    Subclasses define `make_example` and `make_batch`. Call `fit` with `shuffle=False`: the order
    of the batches is decided here.

    Args:
        dataset: a prepared Dataset.
        batch_size: number of images in a batch.
        steps: number of batches in an epoch; a fraction of a step means the step that holds it.
        shuffle: draw a new order of the images for every pass.
        seed: whole number of at least 0; drawn from `np.random` when None.
        epoch_offset: epoch to begin with, when training resumes.
        workers: number of threads that load. With 0 or 1, the calling thread loads.
        max_queue_size: largest number of batches loaded ahead.
        on_error: "raise" makes an image that cannot be loaded an error. "skip" logs it, once,
            and the next image of the stream takes its place. More than 5 in a row are an error
            nevertheless, and so are more than 5 different ones that are over a fifth of the
            dataset.
        cache: keep decoded images and masks in memory. True for up to 2 GiB; or the largest
            number of bytes to hold.
        share: `(part, parts)`: load only this part of each batch, for the training on several
            hosts that `mrcnn.training.hosts` describes. The images of the whole batch stay the
            same.

    Attributes:
        epoch: number of the current epoch, counted from 0.

    Raises:
        ValueError: an argument breaks its rule.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        batch_size: int,
        steps: float,
        shuffle: bool = True,
        seed: int | None = None,
        epoch_offset: int = 0,
        workers: int = 2,
        max_queue_size: int = 4,
        on_error: str = "raise",
        cache: bool | int = False,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(workers=workers, max_queue_size=max_queue_size)
        self.batch_size = batch_size
        self.steps = math.ceil(steps)
        check_at_least(1, batch_size=self.batch_size, steps=self.steps)
        check_at_least(0, epoch_offset=epoch_offset, seed=seed or 0)
        self._part, parts = share
        if batch_size % parts:
            raise ValueError(
                f"batch_size is {batch_size}; it must be a multiple of the {parts} processes that "
                "share each batch"
            )
        self._part_size = batch_size // parts
        self._broken = BrokenImages(dataset, on_error)
        if cache:
            dataset = CachedDataset(dataset, DEFAULT_LIMIT if cache is True else cache)
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = int(np.random.randint(2**31 - 1)) if seed is None else int(seed)
        self.epoch = epoch_offset
        # The first exception that loading a batch has raised, and its cause.
        self._failure: tuple[Exception, BaseException | None] | None = None
        self._image_ids = np.array(dataset.image_ids)
        # Images that took the place of a broken one, by place in the stream.
        self._substitutes: dict[int, int] = {}

    def make_example(self, image_id: int, rng: np.random.Generator) -> Any:
        """Load one image with what is to be learned about it; `rng` decides what is random."""
        raise NotImplementedError

    def make_batch(self, examples: list[Any]) -> tuple[Any, ...]:
        """Return what `fit` takes of the examples of a batch."""
        raise NotImplementedError

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.steps

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Load batch `index` of the current epoch; see `make_batch`.

        Raises:
            BrokenImageError: an image, or too many, cannot be loaded; the message names it.
            IndexError: there is no such batch.
        """
        if not 0 <= index < self.steps:
            raise IndexError(f"index is {index}; an epoch has batches 0 to {self.steps - 1}")
        try:
            start = self._part * self._part_size
            slots = self._slots(index, self.epoch)[start : start + self._part_size]
            return self.make_batch([self._load(slot) for slot in slots])
        except Exception as error:
            self._failure = self._failure or (error, error.__cause__)
            raise

    def on_epoch_end(self) -> None:
        """Advance to the next epoch; Keras calls this."""
        self.epoch += 1

    def stop_threads(self) -> None:
        """End the threads that load, and free what they have loaded ahead.

        Keras does so at the end of an epoch, but not if `fit` is ended by an exception, be it
        `KeyboardInterrupt`.
        """
        for thread in threading.enumerate():
            # Keras gives no access to its `PyDatasetEnqueuer`, which runs in this thread.
            enqueuer = getattr(getattr(thread, "_target", None), "__self__", None)
            if enqueuer is not None and getattr(enqueuer, "py_dataset", None) is self:
                enqueuer.stop(drain_queue_and_join=False)
                while thread.is_alive():  # it may wait for a place in this queue
                    with contextlib.suppress(queue.Empty):
                        enqueuer.future_queue.get(timeout=0.05)

    def raise_failure(self) -> None:
        """Raise the first exception that loading a batch has raised, if there was one.

        TensorFlow's input pipeline replaces it by an error of its own, and Keras removes its
        cause.
        """
        if self._failure is not None:
            error, cause = self._failure
            raise error from cause

    def image_ids_of_batch(self, index: int, epoch: int | None = None) -> list[int]:
        """Return the numbers of the images in a batch, without loading it.

        Where a broken image was skipped, that of the image that took its place is given, once
        the batch has been loaded.

        Args:
            index: number of the batch in its epoch.
            epoch: number of the epoch; the current one when None.
        """
        slots = self._slots(index, self.epoch if epoch is None else epoch)
        return [self._substitutes.get(slot, self._image_id(slot)) for slot in slots]

    def references_of_batch(self, index: int, epoch: int | None = None) -> list[str]:
        """Describe the images of a batch: number, source, id and file.

        Args:
            index: number of the batch in its epoch.
            epoch: number of the epoch; the current one when None.
        """
        ids = self.image_ids_of_batch(index, epoch)
        return [describe_image(self.dataset, image_id) for image_id in ids]

    def _slots(self, index: int, epoch: int) -> range:
        """Return the places in the stream of images that a batch takes."""
        start = (epoch * self.steps + index) * self.batch_size
        return range(start, start + self.batch_size)

    def _image_id(self, slot: int) -> int:
        number, place = divmod(slot, len(self._image_ids))
        if not self.shuffle:
            return int(self._image_ids[place])
        return int(self._image_ids[_order(self.seed, number, len(self._image_ids))[place]])

    def _load(self, slot: int) -> Any:
        """Return the example at a place of the stream; with "skip", the next that can be loaded."""
        # After one more than the limit, `BrokenImages.add` raises.
        for num_broken in range(MAX_BROKEN_IMAGES + 1):
            place = slot + num_broken
            image_id = self._image_id(place)
            rng = np.random.default_rng([self.seed, _IMAGE, slot, place])
            try:
                example = self.make_example(image_id, rng)
            except Exception as error:
                self._broken.add(image_id, error, num_broken + 1)
                continue
            if num_broken:
                self._substitutes[slot] = image_id
            return example
        raise RuntimeError("BrokenImages.add has not raised")


@functools.lru_cache(maxsize=8)
def _order(seed: int, number: int, count: int) -> np.ndarray:
    """Return the order [count] of the images in pass `number` over the dataset."""
    return np.random.default_rng([seed, _ORDER, number]).permutation(count)


def check_at_least(least: int, **values: Any) -> None:
    """Raise ValueError for an argument that is no whole number of at least `least`."""
    for name, value in values.items():
        if isinstance(value, bool) or int(value) != value or value < least:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}")
