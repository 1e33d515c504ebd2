"""Mean IoU of label maps on validation images after an epoch, and a sheet of them."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from mrcnn.datasets.semantic import load_label_map, require_masks
from mrcnn.drawing.label_maps import labels_side_by_side
from mrcnn.evaluation.label_maps import LabelReport, evaluate_labels
from mrcnn.geometry.spacing import evenly_spaced
from mrcnn.training.validation import Validation
from mrcnn.training.validation_sheet import MAX_SIDE


class ValidationLabels(Validation):
    """Segment validation images after an epoch and add the scores to its logs.

    The logs get `val_mean_iou`, `val_mean_pixel_accuracy` and `val_pixel_accuracy`, each 0..1.

    Args:
        model: the `SemanticModel` that is trained.
        dataset: a prepared Dataset.
        max_images: largest number of images to use, evenly spread over the dataset; None for all.
        sheet_images: number of images that are drawn, predictions beside the ground truth, into
            `validation_0001.jpg` and so on in the model's log folder. 0 for no such file.
        measure_first: measure before the first epoch, too.
        verbose: 0 silent, 1 a line of figures, 2 a table.

    Attributes:
        report: the last `LabelReport`, or None.

    Raises:
        ValueError: the objects of these images have boxes alone.
    """

    monitor = "val_mean_iou"
    label = "mean IoU"

    def __init__(
        self,
        model: Any,
        dataset: Any,
        max_images: int | None = None,
        sheet_images: int = 4,
        measure_first: bool = False,
        verbose: int = 1,
    ) -> None:
        super().__init__(verbose=verbose, measure_first=measure_first)
        self.measured = self.semantic_model = model
        self.dataset = dataset
        ids = np.asarray(dataset.image_ids)
        if max_images is not None and max_images < len(ids):
            ids = ids[evenly_spaced(len(ids) - 1, max_images)]
        self.image_ids = ids.tolist()
        require_masks(dataset, self.image_ids)
        self.sheet_images = min(sheet_images, len(self.image_ids))
        self.report: LabelReport | None = None

    def measure(self, finished: int, draw: bool = True) -> tuple[LabelReport, dict[str, float]]:
        """Measure after a number of finished epochs, and draw the sheet."""
        begun = time.perf_counter()
        model = self.semantic_model
        report = self.report = evaluate_labels(
            model.segment,
            self.dataset,
            batch_size=model.config.BATCH_SIZE,
            image_ids=self.image_ids,
            keep_going=True,
        )
        if draw:
            self._write_sheet(finished)
        self.seconds = self.expected = time.perf_counter() - begun
        return report, {
            self.monitor: report.mean_iou,
            "val_mean_pixel_accuracy": report.mean_pixel_accuracy,
            "val_pixel_accuracy": report.pixel_accuracy,
        }

    def _draw_pairs(self) -> list[np.ndarray]:
        chosen = evenly_spaced(len(self.image_ids) - 1, self.sheet_images)
        return [self._pair(self.image_ids[place]) for place in chosen]

    def _pair(self, image_id: int) -> np.ndarray:
        image = self.dataset.load_image(image_id)
        labels = self.semantic_model.segment([image])[0]["labels"]
        truth = load_label_map(self.dataset, image_id)
        names = self.dataset.class_names
        return labels_side_by_side(image, labels, truth, names, max_side=MAX_SIDE)
