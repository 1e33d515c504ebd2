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
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mrcnn.detection.results import Detections
from mrcnn.evaluation.cocoeval import class_metrics, coco_index, total_metrics
from mrcnn.evaluation.detection_pass import DetectionPass, measures_masks, refiner_options
from mrcnn.evaluation.detections import (
    check_detections,
    detections_from_coco,
    detections_to_coco,
    results_to_coco,
)
from mrcnn.evaluation.ground_truth import GroundTruth, open_ground_truth
from mrcnn.evaluation.report import ClassReport, CocoMetrics, CocoReport
from mrcnn.files.atomic import write_json
from mrcnn.files.names import printable, shown
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
        class_ids: classes to evaluate; None (the default) for all. True objects and detections
            of other classes are left out of everything.

    Attributes:
        image_ids: the images that are evaluated.
        unreadable: reason by image id of the images that `leave_out` removed.

    Raises:
        ValueError: if an image id or a class id is not in the dataset.
    """

    def __init__(
        self,
        dataset: Any,
        image_ids: Sequence[Any] | None = None,
        masks: bool = True,
        use_annotations: bool | None = None,
        class_ids: Sequence[int] | None = None,
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
        self.unreadable: dict[Any, str] = {}
        self._chosen = set(self.image_ids)
        self._class_ids = None if class_ids is None else {int(class_id) for class_id in class_ids}
        unknown = sorted((self._class_ids or set()) - self.truth.class_names.keys())
        if unknown:
            raise ValueError(f"class_ids has {unknown[0]}; it must hold classes of the dataset")
        self._detections: dict[Any, Detections] = {}

    @property
    def class_names(self) -> dict[int, str]:
        """Names of the evaluated classes by class id, without the background."""
        names = self.truth.class_names
        return {
            k: name for k, name in names.items() if self._class_ids is None or k in self._class_ids
        }

    def objects(self, image_id: Any) -> list[dict[str, Any]]:
        """Return the true objects of the evaluated classes, as in `ImageTruth.objects`."""
        found = self.truth.load(image_id).objects
        if self._class_ids is None:
            return found
        return [one for one in found if one["class_id"] in self._class_ids]

    def leave_out(self, image_id: Any, reason: str) -> None:
        """Evaluate without an image, because it cannot be read; see `unreadable`."""
        self.image_ids.remove(image_id)
        self._chosen.remove(image_id)
        self._detections.pop(image_id, None)
        self.unreadable[image_id] = reason

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
        found = check_detections(result, size, self.masks, image_id)
        self._detections[image_id] = found.of_classes(self._class_ids)

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
            if not isinstance(entry, Mapping) or not isinstance(
                entry.get("image_id"), int | str | np.integer
            ):
                raise ValueError(
                    f"results[{number}] is {shown(entry)}; it must be an object with an image_id"
                )
            by_image.setdefault(entry["image_id"], []).append(entry)
        for image_id in self.image_ids:
            found = by_image.get(self.truth.source_image_ids[image_id])
            if found:
                read = detections_from_coco(self.truth, image_id, found, self.masks)
                self._detections[image_id] = read.of_classes(self._class_ids)

    def reset(self) -> None:
        """Remove all detections and keep the true objects, for the next evaluation."""
        self._detections = {}

    def detections(self, image_id: Any) -> Detections:
        """Return the detections added for an image, or empty ones."""
        if image_id in self._detections:
            return self._detections[image_id]
        return Detections(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0), [])

    def to_coco(self) -> list[dict[str, Any]]:
        """Return all detections in COCO's results format, ready for `json.dump`.

        Those of classes that the dataset lacks are left out, as they are from the figures.
        """
        entries = []
        for image_id in self.image_ids:
            found = self.detections(image_id).of_classes(self.truth.category_ids)
            entries += detections_to_coco(self.truth, image_id, found)
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
            for one in self.objects(image_id):
                crowds += one["iscrowd"]
                objects[one["class_id"]] += 1 - one["iscrowd"]
        detected = Counter(
            int(class_id)
            for image_id in self.image_ids
            for class_id in self.detections(image_id).class_ids
        )
        per_class = {kind: class_metrics(run) for kind, run in evaluations.items()}
        classes = [
            ClassReport(
                class_id,
                self.truth.class_name(class_id),
                objects[class_id],
                detected[class_id],
                per_class["box"].get(class_id, CocoMetrics()),
                per_class["mask"].get(class_id, CocoMetrics()) if self.masks else None,
            )
            for class_id in sorted(objects.keys() | detected.keys())
        ]
        return CocoReport(
            box=total_metrics(evaluations["box"]),
            mask=total_metrics(evaluations["mask"]) if self.masks else None,
            classes=classes,
            num_images=len(self.image_ids),
            num_objects=sum(objects.values()),
            num_crowds=crowds,
            num_detections=sum(detected.values()),
            num_unreadable=len(self.unreadable),
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
        class_ids = {one["class_id"] for i in image_ids for one in self.objects(i)}
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(
                coco_index(self._true_annotations(image_ids), class_ids, len(image_ids)),
                coco_index(
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
            for one in self.objects(image_id):
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
    progress: bool | Callable[[int, int], None] = True,
    evaluator: CocoEvaluator | None = None,
    results_path: str | os.PathLike[str] | None = None,
    refiner: Any = None,
    keep_going: bool = False,
) -> CocoReport:
    """Detect on every image of a dataset and compute COCO's figures, boxes and masks.

    Only boxes are evaluated where the model has no mask head (`USE_MASK`), or the dataset has boxes
    alone. Without RPN, the proposals are those of `dataset.load_proposals`, or else of the model's
    `propose`.

    Args:
        model: A `MaskRCNN` in any mode (its `detect` is called).
        dataset: A prepared `Dataset` that can load its images.
        image_ids: images to evaluate; None for all.
        batch_size: images per call of `detect`; None for `model.config.BATCH_SIZE`.
        limit: evaluate only the first `limit` images; None or 0 for all.
        progress: show a progress bar; or a function that is called with the number of images
            done and of all images after each batch.
        evaluator: take this evaluator (and its images) instead of a new one; its
            detections are removed first. `mrcnn.evaluation.save_page` makes a page of it.
        results_path: write the detections there as a COCO results json.
        refiner: sharpens the masks: what `MaskRCNN.detect` takes as `refiner`.
        keep_going: evaluate without the images that cannot be read instead of raising their
            error; they are in `evaluator.unreadable`.

    Returns:
        The figures; `print` shows a table.

    Raises:
        ValueError: if `batch_size` or `limit` is negative, an image id unknown, images are
            chosen beside an `evaluator`, `results_path` is a folder, or no image can be read.
    """
    if limit is not None and limit < 0:
        raise ValueError(f"limit is {limit}; it must be at least 0")
    if batch_size is None:
        batch_size = int(getattr(getattr(model, "config", None), "BATCH_SIZE", 1))
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    if evaluator is not None and (limit or image_ids is not None):
        name = "limit" if limit else "image_ids"
        raise ValueError(f"{name} is given; it must not be, as the evaluator has its own images")
    if results_path is not None and os.path.isdir(results_path):
        raise ValueError(f"results_path is {printable(results_path)}, a folder; it must be a file")
    if evaluator is None:
        chosen = list(dataset.image_ids if image_ids is None else image_ids)
        chosen = chosen[:limit] if limit else chosen
        evaluator = CocoEvaluator(dataset, chosen, masks=measures_masks(model, dataset))
    evaluator.reset()
    options = refiner_options(model, refiner)
    seconds = DetectionPass(model, dataset, evaluator, keep_going, options).run(
        batch_size, progress
    )
    if results_path is not None:
        evaluator.save_results(results_path)
    return replace(evaluator.summarize(), seconds_per_image=seconds)
