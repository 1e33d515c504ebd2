"""Detection with an exported model, as with the model that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.detection.detector import Detector
from mrcnn.detection.molding import ResizedImage
from mrcnn.exports.description import DescribedExport
from mrcnn.geometry.boxes import norm_boxes
from mrcnn.geometry.image_meta import compose_image_meta
from mrcnn.geometry.images import as_rgb


class ExportedModel(Detector):
    """`detect`, `detect_stream` and `detect_tiled` with an exported model.

    Its graph resizes the images, so `config` describes it and changes nothing, except
    `DETECTION_MIN_CONFIDENCE`, which can be raised.

    Args:
        described: see `mrcnn.exports.describe_export`.

    Raises:
        ValueError: `DETECTION_MIN_CONFIDENCE` is lower than that of the export.
    """

    def __init__(self, described: DescribedExport) -> None:
        super().__init__("inference", described.config, engine="keras")
        wanted = described.config.DETECTION_MIN_CONFIDENCE or 0
        if wanted < described.min_confidence:
            raise ValueError(
                f"DETECTION_MIN_CONFIDENCE is {wanted:g}; it "
                f"must be at least {described.min_confidence:g}, below which this exported model "
                "leaves out detections (mrcnn export --min-confidence makes another)"
            )
        self.class_names = list(described.class_names)
        self._runner = described.runner
        self._masks = described.masks

    @property
    def engine(self) -> Any:
        """The runner of the exported model; see `mrcnn.exports.formats.open_runner`."""
        return self._runner

    def _resize_input(self, image: Any, name: str) -> ResizedImage:
        """Return the image as it is, in 8 bits: the graph resizes it."""
        if not isinstance(image, np.ndarray):
            raise ValueError(
                f"{name} is {type(image).__name__}; it must be an array [height, width] or "
                "[height, width, channels]"
            )
        try:
            pixels = as_rgb(image, channels=int(self.config.IMAGE_SHAPE[2]))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        if 0 in pixels.shape:
            raise ValueError(f"{name} has shape {image.shape}; none of its sides must be 0")
        window = (0, 0, *pixels.shape[:2])
        active = [0] * self.config.NUM_CLASSES
        meta = compose_image_meta(0, pixels.shape, pixels.shape, window, 1, active)
        return ResizedImage(pixels, meta, window)

    def _infer(
        self, inputs: Sequence[np.ndarray], metas: np.ndarray, batch_size: int, *others: Any
    ) -> list[tuple[np.ndarray, Any]]:
        """Run the exported model; images of equal shape run together."""
        del others
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for i, image in enumerate(inputs):
            by_shape.setdefault(image.shape, []).append(i)
        outputs: list[Any] = [None] * len(inputs)
        for indices in by_shape.values():
            for start in range(0, len(indices), batch_size):
                batch = indices[start : start + batch_size]
                found = self._runner.run(np.stack([inputs[i] for i in batch]))
                for row, i in enumerate(batch):
                    outputs[i] = self._of_one_image(found, row, inputs[i].shape[:2])
        return outputs

    def _of_one_image(
        self, outputs: dict[str, np.ndarray], row: int, size: tuple[int, ...]
    ) -> tuple[np.ndarray, Any]:
        """Return detections `[n, 6]`, normalized to the image, and the masks in their boxes."""
        count = int(outputs["num_detections"][row])
        boxes, scores = outputs["boxes"][row, :count], outputs["scores"][row, :count]
        columns = (norm_boxes(boxes, size), outputs["class_ids"][row, :count], scores)
        detections = np.column_stack(columns)
        kept = scores >= (self.config.DETECTION_MIN_CONFIDENCE or 0)
        if "masks" not in outputs:
            return detections[kept], None
        masks: Any = outputs["masks"][row, :count]
        if self._masks == "image":
            # The parts within the boxes, each of a size of its own.
            parts = np.empty(count, object)
            for i, (y1, x1, y2, x2) in enumerate(boxes.tolist()):
                parts[i] = masks[i, y1:y2, x1:x2].astype(np.float32)
            masks = parts
        return detections[kept], masks[kept]

    def _result(self, output: Any, meta: Any, image: Any, *options: Any) -> Any:
        mask_probabilities, refiner, _ = options
        if self._masks == "image" and (mask_probabilities or refiner is not None):
            raise ValueError(
                "masks of the exported model is 'image'; it must be 'box' for mask probabilities "
                "and for a refiner (mrcnn export --masks box)"
            )
        return super()._result(output, meta, image, *options)
