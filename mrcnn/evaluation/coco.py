"""COCO's average precision and recall of a model on any dataset.

The figures are pycocotools' own. `evaluate_coco` runs a model over a dataset;
`CocoEvaluator` takes detections from anywhere, one image at a time, and keeps them as
run lengths, so a whole dataset fits into memory.

Lin et al.: Microsoft COCO: Common Objects in Context, ECCV 2014,
https://arxiv.org/abs/1405.0312; https://cocodataset.org/#detection-eval.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from mrcnn.detection.results import Detections
from mrcnn.evaluation.detections import (
    check_detections,
    detections_from_coco,
    detections_to_coco,
    results_to_coco,
)
from mrcnn.evaluation.ground_truth import GroundTruth, open_ground_truth
from mrcnn.evaluation.report import ClassReport, CocoMetrics, CocoReport
from mrcnn.files.atomic import write_json
from mrcnn.files.names import shown
from mrcnn.files.reading import read_json

__all__ = ["CocoEvaluator", "evaluate_coco", "results_to_coco"]

# The name of a kind of overlap in this package, and in pycocotools.
IOU_TYPES = {"box": "bbox", "mask": "segm"}


class CocoEvaluator:
    """Collects detections and compares them with the true objects as COCO does.

    Example:
        The true objects as detections:

        >>> from mrcnn.datasets import open_dataset
        >>> from mrcnn.geometry.boxes import extract_bboxes
        >>> dataset = open_dataset("2", format="shapes", height=64, width=64)
        >>> evaluator = CocoEvaluator(dataset)
        >>> for image_id in dataset.image_ids:
        ...     masks, class_ids = dataset.load_mask(image_id)
        ...     result = {"rois": extract_bboxes(masks), "masks": masks, "class_ids": class_ids}
        ...     evaluator.add(image_id, {**result, "scores": np.ones(len(class_ids))})
        >>> round(evaluator.summarize()["mask_AP"], 3)
        1.0

    Args:
        dataset: A prepared `Dataset`, the path of a COCO json, its content as a dict, or
            a `GroundTruth`. With a json the class ids of detections are the positions of
            its categories sorted by id (from 1) and image ids are the json's.
        image_ids: images to evaluate; None (the default) for all. An image for which
            nothing was added counts as one without detections.
        masks: False evaluates boxes only, for models and datasets without masks.
        use_annotations: whether a Dataset's own COCO annotations are the truth (True), or
            `load_mask` (False); None decides image by image (see `DatasetTruth`).

    Raises:
        ValueError: if an image id is not in the dataset.
    """

    def __init__(
        self,
        dataset: Any,
        image_ids: Sequence[Any] | None = None,
        masks: bool = True,
        use_annotations: bool | None = None,
    ) -> None:
        self.truth: GroundTruth = open_ground_truth(dataset, masks, use_annotations)
        if masks and not self.truth.masks:
            raise ValueError("masks is True, but the ground truth was opened without masks")
        self.masks = masks
        chosen = self.truth.image_ids if image_ids is None else image_ids
        plain_ids = (i.item() if isinstance(i, np.generic) else i for i in chosen)
        self.image_ids = list(dict.fromkeys(plain_ids))
        for image_id in self.image_ids:
            self.truth.check_image_id(image_id)
        self._chosen = set(self.image_ids)
        self._detections: dict[Any, Detections] = {}

    def add(self, image_id: Any, result: Mapping[str, Any]) -> None:
        """Add the detections of one image; a second call for an image replaces the first.

        Args:
            image_id: id of the image in the dataset.
            result: one entry of what `MaskRCNN.detect` returns: `rois` `[N, (y1, x1,
                y2, x2)]` in pixels, `class_ids` `[N]`, `scores` `[N]` and, unless
                only boxes are evaluated, `masks` `[H, W, N]` bool.

        Raises:
            ValueError: if the image is not evaluated, or the result does not fit it.
        """
        image_id = image_id.item() if isinstance(image_id, np.generic) else image_id
        if image_id not in self._chosen:
            self.truth.check_image_id(image_id)
            raise ValueError(f"image_id {image_id!r} is not one of the chosen image_ids")
        size = self.truth.load(image_id).size
        self._detections[image_id] = check_detections(result, size, self.masks, image_id)

    def add_coco_results(
        self, results: Sequence[Mapping[str, Any]] | str | os.PathLike[str]
    ) -> None:
        """Add detections in COCO's results format (ids are those of the source).

        Args:
            results: list of `{"image_id", "category_id", "bbox", "score",
                "segmentation"}`, or the path of a json with it. Entries of images that
                are not evaluated are skipped.

        Raises:
            ValueError: if an entry lacks a field or has an unknown category.
        """
        entries: Any = results
        if isinstance(results, str | os.PathLike):
            entries = read_json(results, "file of COCO results", None)
        if not isinstance(entries, Sequence) or isinstance(entries, str):
            raise ValueError(f"results is {shown(entries, 60)}; it must be a list of objects")
        by_image: dict[Any, list[Mapping[str, Any]]] = {}
        for number, entry in enumerate(entries):
            if not isinstance(entry, Mapping) or not isinstance(entry.get("image_id"), int | str):
                raise ValueError(
                    f"results[{number}] is {shown(entry)}; it must be an object with an image_id"
                )
            by_image.setdefault(entry["image_id"], []).append(entry)
        for image_id in self.image_ids:
            found = by_image.get(self.truth.source_image_ids[image_id])
            if found:
                self._detections[image_id] = detections_from_coco(
                    self.truth, image_id, found, self.masks
                )

    def reset(self) -> None:
        """Remove all detections and keep the true objects, for the next evaluation."""
        self._detections = {}

    def detections(self, image_id: Any) -> Detections:
        """Return the detections added for an image, or empty ones."""
        if image_id in self._detections:
            return self._detections[image_id]
        return Detections(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0), [])

    def to_coco(self) -> list[dict[str, Any]]:
        """Return all detections in COCO's results format, ready for `json.dump`."""
        entries = []
        for image_id in self.image_ids:
            entries += detections_to_coco(self.truth, image_id, self.detections(image_id))
        return entries

    def save_results(self, path: str | os.PathLike[str]) -> None:
        """Write `to_coco` as json, the file that COCO's server takes."""
        write_json(path, self.to_coco(), indent=None)

    def summarize(self) -> CocoReport:
        """Compute the figures over all chosen images.

        Areas of detections are box areas for boxes and mask areas for masks. (Tools that
        give pycocotools boxes together with masks rank masks by the area of the box, which
        moves APs, APm and APl of masks slightly.)
        """
        evaluations = {
            kind: self.run(kind) for kind in (("box", "mask") if self.masks else ("box",))
        }
        objects: Counter[int] = Counter()
        crowds = 0
        for image_id in self.image_ids:
            for one in self.truth.load(image_id).objects:
                crowds += one["iscrowd"]
                objects[one["class_id"]] += 1 - one["iscrowd"]
        detected = Counter(
            int(class_id)
            for image_id in self.image_ids
            for class_id in self.detections(image_id).class_ids
        )
        per_class = {kind: _average_precisions(run) for kind, run in evaluations.items()}
        classes = [
            ClassReport(
                class_id,
                self.truth.class_name(class_id),
                objects[class_id],
                detected[class_id],
                *per_class["box"].get(class_id, (np.nan, np.nan)),
                *per_class.get("mask", {}).get(class_id, (np.nan, np.nan)),
            )
            for class_id in sorted(objects.keys() | detected.keys())
        ]
        return CocoReport(
            box=_metrics(evaluations["box"]),
            mask=_metrics(evaluations["mask"]) if self.masks else None,
            classes=classes,
            num_images=len(self.image_ids),
            num_objects=sum(objects.values()),
            num_crowds=crowds,
            num_detections=sum(detected.values()),
        )

    def run(self, kind: str = "mask", iou_thresholds: Sequence[float] | None = None) -> Any:
        """Return the evaluated and accumulated `pycocotools.cocoeval.COCOeval`.

        Its image ids are positions in `truth.sorted_image_ids`; its category ids are
        class ids, only those that have true objects.

        Args:
            kind: `"box"` or `"mask"`: what overlaps are computed from.
            iou_thresholds: IoU thresholds; None for COCO's 0.50, 0.55 .. 0.95.

        Raises:
            ValueError: if `kind` is neither, or masks were not collected.
        """
        from pycocotools.cocoeval import COCOeval

        if kind not in IOU_TYPES:
            raise ValueError(f"kind is {kind!r}; it must be 'box' or 'mask'")
        if kind == "mask" and not self.masks:
            raise ValueError("kind is 'mask'; it must be 'box' where the evaluator has masks=False")
        image_ids = self.truth.sorted_image_ids(self.image_ids)
        class_ids = {o["class_id"] for i in image_ids for o in self.truth.load(i).objects}
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(
                _coco_index(self._true_annotations(image_ids), class_ids, len(image_ids)),
                _coco_index(
                    self._detected_annotations(image_ids, kind, class_ids),
                    class_ids,
                    len(image_ids),
                ),
                IOU_TYPES[kind],
            )
            if iou_thresholds is not None:
                evaluation.params.iouThrs = np.asarray(iou_thresholds, float)
            evaluation.evaluate()
            evaluation.accumulate()
        return evaluation

    def _true_annotations(self, image_ids: Sequence[Any]) -> Iterator[dict[str, Any]]:
        for position, image_id in enumerate(image_ids):
            for one in self.truth.load(image_id).objects:
                yield {**one, "image_id": position, "category_id": one["class_id"]}

    def _detected_annotations(
        self, image_ids: Sequence[Any], kind: str, class_ids: set[int]
    ) -> Iterator[dict[str, Any]]:
        from pycocotools import mask as mask_utils

        for position, image_id in enumerate(image_ids):
            found = self.detections(image_id)
            rles = found.rles or []
            for index, class_id in enumerate(found.class_ids.tolist()):
                # A class without true objects has no AP; pycocotools leaves it out as well.
                if class_id not in class_ids:
                    continue
                y1, x1, y2, x2 = found.boxes[index].tolist()
                one = {
                    "image_id": position,
                    "category_id": class_id,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "score": float(found.scores[index]),
                    "iscrowd": 0,
                }
                if kind == "mask":
                    one["segmentation"] = rles[index]
                    one["area"] = float(mask_utils.area(one["segmentation"]))
                yield one


def evaluate_coco(
    model: Any,
    dataset: Any,
    image_ids: Sequence[int] | None = None,
    batch_size: int | None = None,
    limit: int | None = None,
    progress: bool = True,
    evaluator: CocoEvaluator | None = None,
    results_path: str | os.PathLike[str] | None = None,
    refiner: Any = None,
) -> CocoReport:
    """Detect on every image of a dataset and compute COCO's figures, boxes and masks.

    Args:
        model: A `MaskRCNN` in any mode (its `detect` is called).
        dataset: A prepared `Dataset` that can load its images.
        image_ids: images to evaluate; None for all.
        batch_size: images per call of `detect`; None for `model.config.BATCH_SIZE`.
        limit: evaluate only the first `limit` images; None or 0 for all.
        progress: show a progress bar.
        evaluator: take this evaluator (and its images) instead of a new one; its
            detections are removed first.
        results_path: write the detections there as a COCO results json.
        refiner: sharpens the masks: what `MaskRCNN.detect` takes as `refiner`.

    Returns:
        The figures; `print` shows a table.

    Raises:
        ValueError: if `batch_size` or `limit` is negative or an image id unknown.
    """
    if limit is not None and limit < 0:
        raise ValueError(f"limit is {limit}; it must be at least 0")
    if batch_size is None:
        batch_size = int(getattr(getattr(model, "config", None), "BATCH_SIZE", 1))
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    if evaluator is None:
        chosen = list(dataset.image_ids if image_ids is None else image_ids)
        evaluator = CocoEvaluator(dataset, chosen[:limit] if limit else chosen)
    evaluator.reset()
    # Passed only when given: a model of another class may lack the argument.
    options = {} if refiner is None else {"refiner": refiner}
    seconds = _detect_all(model, dataset, evaluator, batch_size, progress, options)
    if results_path is not None:
        evaluator.save_results(results_path)
    return replace(
        evaluator.summarize(), seconds_per_image=seconds / max(1, len(evaluator.image_ids))
    )


def _detect_all(
    model: Any,
    dataset: Any,
    evaluator: CocoEvaluator,
    batch_size: int,
    progress: bool,
    options: Mapping[str, Any],
) -> float:
    """Fill the evaluator, with `options` of `detect`; return the seconds spent in `detect`.

    One thread loads the next images and encodes the last results while the model works;
    only one, so that the dataset need not be safe for threads.
    """
    from tqdm import tqdm

    ids = evaluator.image_ids
    batches = [ids[start : start + batch_size] for start in range(0, len(ids), batch_size)]

    def load(batch: Sequence[Any]) -> list[np.ndarray]:
        return [dataset.load_image(image_id) for image_id in batch]

    def store(batch: Sequence[Any], results: Sequence[Mapping[str, Any]]) -> None:
        for image_id, result in zip(batch, results, strict=True):
            evaluator.add(image_id, result)

    seconds, storing = 0.0, None
    loading: Future[list[np.ndarray]]
    bar = tqdm(total=len(ids), desc="Evaluating", unit="image", disable=not progress)
    with bar, ThreadPoolExecutor(1) as worker:
        if batches:
            loading = worker.submit(load, batches[0])
        for position, batch in enumerate(batches):
            images = loading.result()
            if position + 1 < len(batches):
                loading = worker.submit(load, batches[position + 1])
            start = time.perf_counter()
            results = model.detect(images, verbose=0, **options)
            seconds += time.perf_counter() - start
            # Waiting for the store before bounds the masks in memory to two batches.
            if storing is not None:
                storing.result()
            storing = worker.submit(store, batch, results)
            bar.update(len(batch))
        if storing is not None:
            storing.result()
    return seconds


def _coco_index(annotations: Iterator[dict[str, Any]], class_ids: set[int], num_images: int) -> Any:
    """Return a `pycocotools.coco.COCO` of annotations made in memory."""
    from pycocotools.coco import COCO

    index = COCO()
    index.dataset = {
        "images": [{"id": position} for position in range(num_images)],
        "categories": [{"id": class_id} for class_id in sorted(class_ids)],
        # From 1: COCOeval takes a match with id 0 for no match.
        "annotations": [{**one, "id": number} for number, one in enumerate(annotations, 1)],
    }
    # Segmentations are compressed already, so COCO never asks for heights and widths.
    index.createIndex()
    index.annToRLE = lambda annotation: annotation["segmentation"]
    return index


def _metrics(evaluation: Any) -> CocoMetrics:
    if not len(evaluation.params.catIds):
        return CocoMetrics()
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.summarize()
    # pycocotools writes -1 where a figure is not defined.
    return CocoMetrics(*(float(v) if v > -1 else float("nan") for v in evaluation.stats))


def _average_precisions(evaluation: Any) -> dict[int, tuple[float, float]]:
    """Return class id -> (AP over all thresholds, AP at the first one, 0.50)."""
    values: dict[int, tuple[float, float]] = {}
    if not len(evaluation.params.catIds):
        return values
    precision = evaluation.eval["precision"]
    for index, class_id in enumerate(evaluation.params.catIds):
        # [threshold, recall] for all areas and the largest number of detections.
        of_class = precision[:, :, index, 0, -1]
        if (of_class > -1).any():
            values[int(class_id)] = (float(of_class.mean()), float(of_class[0].mean()))
    return values
