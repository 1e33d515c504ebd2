"""Mask quality on images of one object each.

The protocol of a small study: every image shows one object with a known mask; the
prediction is the detection of one class with the largest box; the figures are means over
images. Nothing is matched, so it also measures what is not a detector (a refinement
stage, masks from files).
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mrcnn.evaluation.boundary import boundary_iou
from mrcnn.evaluation.detection_pass import refiner_options
from mrcnn.evaluation.pixels import dice_coefficient, iou, pixel_accuracy, soft_iou
from mrcnn.files.atomic import atomic_path, write_json

__all__ = ["SingleObjectReport", "SingleObjectScores", "evaluate_single_object", "largest_object"]


@dataclass(frozen=True)
class SingleObjectScores:
    """Scores of one image, each 0..1; all but pixel_accuracy are 0 where nothing was found.

    Attributes:
        image_id: id of the image in the dataset.
        found: whether there was a prediction.
        iou: `pixels.iou` of the mask (probabilities thresholded at 0.5).
        soft_iou: `pixels.soft_iou`, of the probabilities where they were given.
        dice: `pixels.dice_coefficient`.
        boundary_iou: `boundary.boundary_iou`.
        pixel_accuracy: `pixels.pixel_accuracy` (of the empty mask where nothing was found).
    """

    image_id: int
    found: bool
    iou: float
    soft_iou: float
    dice: float
    boundary_iou: float
    pixel_accuracy: float


_METRICS = ("iou", "soft_iou", "dice", "boundary_iou", "pixel_accuracy")


@dataclass(frozen=True)
class SingleObjectReport:
    """Result of `evaluate_single_object`.

    Attributes:
        images: scores image by image.
    """

    images: list[SingleObjectScores]

    @property
    def num_images(self) -> int:
        """Number of images evaluated."""
        return len(self.images)

    @property
    def num_found(self) -> int:
        """Number of images with a prediction."""
        return sum(one.found for one in self.images)

    def mean(self, metric: str = "iou", found_only: bool = False) -> float:
        """Return the mean of a score over images; nan over none.

        Args:
            metric: `iou`, `soft_iou`, `dice`, `boundary_iou` or `pixel_accuracy`.
            found_only: True leaves out images without a prediction instead of counting
                them as 0.
        """
        values = self._values(metric, found_only)
        return float(np.mean(values)) if values else float("nan")

    def median(self, metric: str = "iou", found_only: bool = False) -> float:
        """Return the median of a score over images; arguments as for `mean`."""
        values = self._values(metric, found_only)
        return float(np.median(values)) if values else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Return counts, means (over all images and over the found ones) and every image."""
        content: dict[str, Any] = {"num_images": self.num_images, "num_found": self.num_found}
        for suffix, found_only in (("", False), ("_found", True)):
            for metric in _METRICS:
                mean = self.mean(metric, found_only)
                content[f"mean_{metric}{suffix}"] = None if np.isnan(mean) else mean
        return {**content, "images": [asdict(one) for one in self.images]}

    def save_json(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict` as json."""
        write_json(path, self.to_dict(), indent=2)

    def save_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one line per image."""
        with (
            atomic_path(path) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, ["image_id", "found", *_METRICS])
            writer.writeheader()
            writer.writerows(asdict(one) for one in self.images)

    def __str__(self) -> str:
        lines = [
            f"{self.num_images} images, object found in {self.num_found}",
            f"{'':14}  all images  found only",
        ]
        for metric in _METRICS:
            both = f"{self.mean(metric):10.4f}  {self.mean(metric, True):10.4f}"
            lines.append(f"{metric:14}  {both}")
        return "\n".join(lines)

    def _values(self, metric: str, found_only: bool) -> list[float]:
        if metric not in _METRICS:
            raise ValueError(f"metric is {metric!r}; it must be one of {', '.join(_METRICS)}")
        return [getattr(one, metric) for one in self.images if one.found or not found_only]


def largest_object(result: Mapping[str, Any], class_id: int | None = None) -> int | None:
    """Return the index of the detection of a class whose box is largest.

    Args:
        result: one entry of what `MaskRCNN.detect` returns.
        class_id: the model's class id; None for any class.

    Returns:
        Index into the result (the first among equals), or None where there is no such
        detection.
    """
    y1, x1, y2, x2 = np.asarray(result["rois"], np.int64).reshape(-1, 4).T
    areas = (y2 - y1) * (x2 - x1)
    if class_id is not None:
        areas = np.where(np.asarray(result["class_ids"]) == class_id, areas, -1)
    if areas.size == 0 or areas.max() < 0:
        return None
    return int(np.argmax(areas))


def evaluate_single_object(
    predictor: Any,
    dataset: Any,
    class_id: int | None = None,
    image_ids: Sequence[int] | None = None,
    progress: bool = True,
    refiner: Any = None,
) -> SingleObjectReport:
    """Compare one predicted mask with the one true mask of each image.

    Args:
        predictor: A `MaskRCNN` (its largest detection of `class_id` is taken, see
            `largest_object`), or a function of the image `[H, W, 3]` uint8 that
            returns a mask `[H, W]` (bool, or probabilities 0..1), or None.
        dataset: A prepared `Dataset`. The true mask of an image is the union of its
            masks, so an object in several parts is one object.
        class_id: class id of the *model* (with COCO's weights 4 is the motorcycle); None
            for any. Used only with a model.
        image_ids: images to evaluate; None for all.
        progress: show a progress bar.
        refiner: sharpens the masks of a model: what `MaskRCNN.detect` takes as `refiner`.

    Returns:
        Scores of every image and their means.

    Raises:
        ValueError: if `class_id` or `refiner` is given with a function, a model has no masks, a
            predicted mask has another size than its image, or holds values outside 0..1.
    """
    from tqdm import tqdm

    if not hasattr(predictor, "detect") and class_id is not None:
        raise ValueError(
            f"class_id is {class_id}; it must be None with a function, which returns the mask"
        )
    if not hasattr(predictor, "detect") and refiner is not None:
        raise ValueError(
            f"refiner is {refiner!r}; it must be None with a function, which returns the mask"
        )
    predict = _mask_predictor(predictor, class_id, refiner)
    ids = [int(i) for i in (dataset.image_ids if image_ids is None else image_ids)]
    scores = []
    for image_id in tqdm(ids, desc="Evaluating", unit="image", disable=not progress):
        image = dataset.load_image(image_id)
        masks = np.asarray(dataset.load_mask(image_id)[0]).astype(bool)
        # load_mask of an image without objects may give [0, 0, 0].
        true = np.zeros(image.shape[:2], bool)
        if masks.size:
            true = np.asarray(masks.any(axis=2))
        scores.append(_score(image_id, predict(image), true))
    return SingleObjectReport(scores)


def _mask_predictor(
    predictor: Any, class_id: int | None, refiner: Any
) -> Callable[[np.ndarray], np.ndarray | None]:
    if not hasattr(predictor, "detect"):
        return predictor

    options = refiner_options(predictor, refiner)

    def predict(image: np.ndarray) -> np.ndarray | None:
        result = predictor.detect([image], verbose=0, **options)[0]
        index = largest_object(result, class_id)
        if "masks" not in result:
            raise ValueError("predictor returned no masks; it must be a model with a mask head")
        return None if index is None else np.asarray(result["masks"])[:, :, index]

    return predict


def _score(image_id: int, predicted: np.ndarray | None, true: np.ndarray) -> SingleObjectScores:
    if predicted is None:
        accuracy = float(pixel_accuracy(np.zeros_like(true), true))
        return SingleObjectScores(image_id, False, 0.0, 0.0, 0.0, 0.0, accuracy)
    predicted = np.asarray(predicted)
    if predicted.shape != true.shape:
        raise ValueError(
            f"predicted mask of image {image_id} has shape {predicted.shape}, "
            f"the true one {true.shape}"
        )
    if predicted.size and not (predicted.min() >= 0 and predicted.max() <= 1):
        raise ValueError(
            f"predicted mask of image {image_id} has values {predicted.min()}..{predicted.max()}; "
            "it must be bool or probabilities 0..1"
        )
    binary = predicted >= 0.5
    return SingleObjectScores(
        image_id,
        True,
        float(iou(binary, true)),
        float(soft_iou(predicted, true)),
        float(dice_coefficient(binary, true)),
        float(boundary_iou(binary, true)),
        float(pixel_accuracy(binary, true)),
    )
