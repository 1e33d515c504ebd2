"""Detections of one picture, held as run lengths, and COCO's results format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcnn.evaluation.ground_truth import GroundTruth, open_ground_truth
from mrcnn.geometry.rle import encode_masks, segmentation_to_rle

__all__ = ["ImageDetections", "results_to_coco"]


@dataclass(frozen=True, eq=False)
class ImageDetections:
    """Detections of one picture.

    Attributes:
        class_ids: ``[N]`` int, from 1.
        scores: ``[N]`` float.
        boxes: ``[N, (x, y, width, height)]`` float in pixels.
        masks: N compressed run lengths, or None for boxes only.
    """

    class_ids: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    masks: list[dict[str, Any]] | None


def results_to_coco(
    dataset: Any, image_ids: Sequence[Any], results: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Results of ``MaskRCNN.detect`` in COCO's results format.

    Image and category ids are those of the source (for COCO its own), so the list can go
    to ``json.dump`` and to ``pycocotools.coco.COCO.loadRes``.

    Args:
        dataset: As for ``CocoEvaluator``.
        image_ids: Ids of the pictures in the data set.
        results: One result a picture; ``masks`` may be missing (boxes only).

    Returns:
        List of ``{"image_id", "category_id", "bbox": [x, y, width, height], "score",
        "segmentation": {"size": [H, W], "counts": str}}``.

    Raises:
        ValueError: If the lengths differ, an image id is not in the data set, or a class
            id is not.
    """
    if len(image_ids) != len(results):
        raise ValueError(f"got {len(image_ids)} image_ids but {len(results)} results")
    truth = open_ground_truth(dataset)
    entries: list[dict[str, Any]] = []
    for image_id, result in zip(image_ids, results, strict=True):
        image_id = image_id.item() if isinstance(image_id, np.generic) else image_id
        truth.check_image_id(image_id)
        masks = result.get("masks") is not None
        entries += detections_to_coco(
            truth, image_id, detections_from_result(result, None, masks, image_id)
        )
    return entries


def detections_from_result(
    result: Mapping[str, Any], size: tuple[int, int] | None, masks: bool, image_id: Any
) -> ImageDetections:
    """A checked result of ``detect`` with its masks as run lengths."""
    needed = ["rois", "class_ids", "scores"] + (["masks"] if masks else [])
    missing = [name for name in needed if result.get(name) is None]
    if missing:
        raise ValueError(f"result of picture {image_id!r} lacks {missing}")
    class_ids = np.asarray(result["class_ids"]).astype(int).reshape(-1)
    scores = np.asarray(result["scores"], float).reshape(-1)
    rois = np.asarray(result["rois"], float).reshape(-1, 4)
    count = len(class_ids)
    if len(scores) != count or len(rois) != count:
        raise ValueError(
            f"result of picture {image_id!r} has {count} class_ids, {len(scores)} scores and "
            f"{len(rois)} rois; they must be equally many"
        )
    if count and (class_ids.min() < 1 or not np.isfinite(scores).all()):
        raise ValueError(
            f"result of picture {image_id!r} must have class_ids from 1 (0 is the background) "
            "and finite scores"
        )
    rles = None
    if masks:
        array = np.asarray(result["masks"])
        if count == 0:
            rles = []
        elif array.ndim != 3 or array.shape[2] != count or (size and array.shape[:2] != size):
            raise ValueError(
                f"masks of picture {image_id!r} have shape {array.shape}; expected [H, W, N] = "
                f"{[*(size or ('H', 'W')), count]}"
            )
        else:
            rles = encode_masks(array)
    y1, x1, y2, x2 = rois.T
    return ImageDetections(class_ids, scores, np.stack([x1, y1, x2 - x1, y2 - y1], axis=1), rles)


def detections_to_coco(
    truth: GroundTruth, image_id: Any, found: ImageDetections
) -> list[dict[str, Any]]:
    """COCO results of one picture; ValueError for a class that the data set lacks."""
    entries = []
    for index, class_id in enumerate(found.class_ids.tolist()):
        if class_id not in truth.category_ids:
            raise ValueError(f"class id {class_id} of a detection is not in the data set")
        entry = {
            "image_id": truth.source_image_ids[image_id],
            "category_id": truth.category_ids[class_id],
            "bbox": found.boxes[index].tolist(),
            "score": float(found.scores[index]),
        }
        if found.masks:
            rle = found.masks[index]
            counts = rle["counts"]
            # Bytes are not json.
            counts = counts.decode("ascii") if isinstance(counts, bytes) else counts
            entry["segmentation"] = {"size": [int(n) for n in rle["size"]], "counts": counts}
        entries.append(entry)
    return entries


def detections_from_coco(
    truth: GroundTruth, image_id: Any, entries: Sequence[Mapping[str, Any]], masks: bool
) -> ImageDetections:
    """Detections from COCO results of one picture; ValueError names what is wrong."""
    from pycocotools import mask as mask_utils

    class_of = {category: class_id for class_id, category in truth.category_ids.items()}
    needed = {"category_id", "score"} | ({"segmentation"} if masks else {"bbox"})
    rles, boxes = [], []
    for entry in entries:
        if not needed <= entry.keys():
            raise ValueError(f"a COCO result lacks {sorted(needed - entry.keys())}: {entry}")
        if entry["category_id"] not in class_of:
            raise ValueError(f"category_id {entry['category_id']!r} is not in the data set")
        if masks:
            outline = entry["segmentation"]
            size = truth.load(image_id).size or outline["size"]
            rles.append(segmentation_to_rle(outline, *size))
        boxes.append(entry["bbox"] if "bbox" in entry else mask_utils.toBbox(rles[-1]))
    return ImageDetections(
        np.array([class_of[entry["category_id"]] for entry in entries]),
        np.array([entry["score"] for entry in entries], float),
        np.array(boxes, float),
        rles if masks else None,
    )
