"""A model run over the images of an evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mrcnn.evaluation.coco import CocoEvaluator


def measures_masks(model: Any, dataset: Any) -> bool:
    """Return whether masks can be evaluated: the model has some, and the dataset too.

    Args:
        model: a `MaskRCNN`, or its description; what has no `config` is taken to have masks.
        dataset: a prepared `Dataset`. Where all its objects have a box alone, their masks are
            rectangles that no model should match.
    """
    if not getattr(getattr(model, "config", None), "USE_MASK", True):
        return False
    has_masks_of = getattr(dataset, "image_has_masks", None)
    if has_masks_of is None:
        return True
    flags = [has_masks_of(image_id) for image_id in dataset.image_ids]
    return not flags or any(one is None or one.any() for one in flags)


def refiner_options(model: Any, refiner: Any) -> dict[str, Any]:
    """Return the arguments of `model.detect` by which `refiner` and no other sharpens the masks.

    None leaves them as they are. A model of another class may lack the argument, and gets it only
    where it makes a difference.
    """
    is_default = refiner is None and getattr(model, "refiner", None) is None
    return {} if is_default else {"refiner": refiner}


class DetectionPass:
    """Fills an evaluator with the detections of a model.

    One thread loads the next images and encodes the last results while the model works; only
    one, so that the dataset need not be safe for threads.

    Args:
        model: a `MaskRCNN`.
        dataset: a prepared `Dataset`.
        evaluator: where the detections go; it says which images are looked at.
        keep_going: leave images out that cannot be read, instead of raising their error.
        options: further arguments of `detect`.
    """

    def __init__(
        self,
        model: Any,
        dataset: Any,
        evaluator: CocoEvaluator,
        keep_going: bool,
        options: Mapping[str, Any],
    ) -> None:
        self.model, self.dataset, self.evaluator = model, dataset, evaluator
        self.keep_going, self.options = keep_going, options
        self._with_proposals = not getattr(getattr(model, "config", None), "USE_RPN", True)

    def run(self, batch_size: int, progress: bool | Callable[[int, int], None]) -> float:
        """Detect on every image and return the seconds spent in `detect` per image.

        The first batch is not counted if there are others: the network is compiled for it.

        Args:
            batch_size: images per call of `detect`.
            progress: show a progress bar, or a function that is called with the number of images
                done and of all images after each batch.

        Raises:
            ValueError: no image can be read.
        """
        ids = list(self.evaluator.image_ids)
        bar = _Bar()
        show = progress if callable(progress) else bar if progress else _show_nothing
        try:
            seconds = self._run(ids, batch_size, show)
        finally:
            bar.close()
        if ids and not self.evaluator.image_ids:
            reason = self.evaluator.unreadable[ids[0]]
            raise ValueError(f"none of the {len(ids)} images can be read; the first: {reason}")
        return seconds

    def _run(self, ids: Sequence[Any], batch_size: int, show: Callable[[int, int], None]) -> float:
        batches = [ids[start : start + batch_size] for start in range(0, len(ids), batch_size)]
        times: list[tuple[float, int]] = []
        storing, done = None, 0
        loading: Future[dict[Any, tuple[np.ndarray, Any]]]
        with ThreadPoolExecutor(1) as worker:
            if batches:
                loading = worker.submit(self._load, batches[0])
            for position, batch in enumerate(batches):
                images = loading.result()
                if position + 1 < len(batches):
                    loading = worker.submit(self._load, batches[position + 1])
                results: Sequence[Mapping[str, Any]] = []
                if images:
                    start = time.perf_counter()
                    results = self._detect(list(images.values()))
                    times.append((time.perf_counter() - start, len(images)))
                # Waiting for the store before bounds the masks in memory to two batches.
                if storing is not None:
                    storing.result()
                storing = worker.submit(self._store, list(images), results)
                done += len(batch)
                show(done, len(ids))
            if storing is not None:
                storing.result()
        counted = times[1:] or times
        return sum(seconds for seconds, _ in counted) / max(1, sum(n for _, n in counted))

    def _detect(self, batch: Sequence[tuple[np.ndarray, Any]]) -> Sequence[Mapping[str, Any]]:
        """Return the results of images with their proposals, which only some models take."""
        options = dict(self.options)
        if any(proposals is not None for _, proposals in batch):
            options["proposals"] = [proposals for _, proposals in batch]
        results: Sequence[Mapping[str, Any]] = self.model.detect(
            [image for image, _ in batch], verbose=0, **options
        )
        return results

    def _load(self, batch: Sequence[Any]) -> dict[Any, tuple[np.ndarray, Any]]:
        """Return image and proposals by id; images that cannot be read are left out.

        The proposals are None with an RPN, and where the dataset has none.
        """
        images = {}
        for image_id in batch:
            try:
                image = self.dataset.load_image(image_id)
                proposals = self.dataset.load_proposals(image_id) if self._with_proposals else None
                self.evaluator.truth.load(image_id)
            # Whatever a dataset of the user's own raises is the failure of one image.
            except Exception as error:
                if not self.keep_going:
                    raise
                self.evaluator.leave_out(image_id, str(error) or type(error).__name__)
            else:
                images[image_id] = image, proposals
        return images

    def _store(self, image_ids: Sequence[Any], results: Sequence[Mapping[str, Any]]) -> None:
        for image_id, result in zip(image_ids, results, strict=True):
            try:
                self.evaluator.add(image_id, result)
            except ValueError as error:  # the annotations are for an image of another size
                if not self.keep_going:
                    raise
                self.evaluator.leave_out(image_id, str(error))


class _Bar:
    """A progress bar that appears after the first batch, below what the model says at its start."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, initial=done, desc="Evaluating", unit="image", leave=False
            )
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _show_nothing(done: int, total: int) -> None:
    del done, total
