"""Results of `MaskRCNN.detect` in the ids of a dataset's source, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mrcnn.detection.results import Detections
from mrcnn.evaluation.ground_truth import (
    GroundTruth,
    is_box,
    is_finite,
    is_id,
    open_ground_truth,
)
from mrcnn.files.names import shown

__all__ = ["results_to_coco"]


def results_to_coco(
    dataset: Any, image_ids: Sequence[Any], results: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return results of `MaskRCNN.detect` in COCO's results format.

    Image and category ids are those of the source (for COCO its own), so the list can go
    to `json.dump` and to `pycocotools.coco.COCO.loadRes`.

    Args:
        dataset: as for `CocoEvaluator`.
        image_ids: ids of the images in the dataset.
        results: one result for each image; `masks` may be missing (boxes only).

    Returns:
        A list of `{"image_id", "category_id", "bbox": [x, y, width, height], "score", "area",
        "segmentation": {"size": [height, width], "counts": str}}`.

    Raises:
        ValueError: the lengths differ, or an image id or a class id is not in the dataset.
    """
    if len(image_ids) != len(results):
        raise ValueError(
            f"image_ids has {len(image_ids)} entries; it must have one for each of the "
            f"{len(results)} results"
        )
    truth = open_ground_truth(dataset)
    entries: list[dict[str, Any]] = []
    for image_id, result in zip(image_ids, results, strict=True):
        image_id = image_id.item() if isinstance(image_id, np.generic) else image_id
        truth.check_image_id(image_id)
        found = Detections.from_result(result, f"result of image {image_id!r}")
        entries += detections_to_coco(truth, image_id, found)
    return entries


def check_detections(
    result: Mapping[str, Any], size: tuple[int, int] | None, masks: bool, image_id: Any
) -> Detections:
    """Return a checked result with its masks as run lengths.

    Args:
        result: result of `MaskRCNN.detect`.
        size: (height, width) that masks must have; None if unknown.
        masks: whether masks are evaluated; False drops them.
        image_id: id of the image, for error messages.

    Raises:
        ValueError: the result is invalid, lacks masks, or they are of another size.
    """
    found = Detections.from_result(result, f"result of image {image_id!r}")
    if not masks:
        return replace(found, masks=None)
    if found.masks is None:
        raise ValueError(f"result of image {image_id!r} has no masks; it must have masks or rles")
    if len(found) and size and found.size != tuple(size):
        raise ValueError(
            f"masks of image {image_id!r} are of {found.size} (height, width); they must be of "
            f"{tuple(size)}"
        )
    return replace(found, masks=found.rles)


def detections_to_coco(
    truth: GroundTruth, image_id: Any, found: Detections
) -> list[dict[str, Any]]:
    """Return COCO results of one image; ValueError for a class that the dataset lacks."""
    return found.to_coco(truth.source_image_ids[image_id], category_ids=truth.category_ids)


def _check_result(entry: Mapping[str, Any], categories: Mapping[Any, int]) -> None:
    """Raise ValueError for values of a COCO result that cannot be used."""
    category, score, box = (entry.get(name) for name in ("category_id", "score", "bbox"))
    rules = (
        ("category_id", is_id(category) and category in categories, "a category of the dataset"),
        ("score", is_finite(score), "a finite number"),
        ("bbox", is_box(box), "four numbers: x, y, width, height"),
    )
    for name, is_sound, rule in rules:
        if name in entry and not is_sound:
            raise ValueError(f"{name} is {shown(entry[name])}; it must be {rule}")


def detections_from_coco(
    truth: GroundTruth, image_id: Any, entries: Sequence[Mapping[str, Any]], masks: bool
) -> Detections:
    """Return detections from COCO results of one image; a bad entry raises ValueError."""
    class_of = {category: class_id for class_id, category in truth.category_ids.items()}
    for entry in entries:
        _check_result(entry, class_of)
    size = truth.load(image_id).size if masks else None
    return Detections.from_coco(entries, size, class_of, masks)
