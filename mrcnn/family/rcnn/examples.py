"""What one image teaches: features of its objects and proposals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from mrcnn.family.rcnn.feature_cache import FeatureCache
from mrcnn.family.rcnn.regions import predict_regions, propose
from mrcnn.family.rcnn.settings import RCNNConfig
from mrcnn.geometry.boxes import box_refinement, compute_overlaps, extract_bboxes
from mrcnn.geometry.images import as_rgb


@dataclass(frozen=True)
class ImageExamples:
    """The regions of one image, its objects first.

    Attributes:
        boxes: [R, (y1, x1, y2, x2)] in pixels.
        class_ids: [M] of the objects; negative for crowds.
        vectors: [R, D] float16 features.
        pairs: [P] regions that lie well on an object.
        pair_grids: [P, G] float16 features of these.
    """

    boxes: np.ndarray
    class_ids: np.ndarray
    vectors: np.ndarray
    pairs: np.ndarray
    pair_grids: np.ndarray

    @property
    def overlaps(self) -> np.ndarray:
        """IoU of the proposals with the objects, [R - M, M]."""
        count = len(self.class_ids)
        return compute_overlaps(self.boxes[count:], self.boxes[:count])

    def objects(self, class_id: int) -> np.ndarray:
        """Return the features of the objects of a class."""
        return self.vectors[: len(self.class_ids)][self.class_ids == class_id]

    def negatives(self, class_id: int, max_iou: float) -> np.ndarray:
        """Return the features of proposals that overlap no object of a class, crowds included."""
        of_class = self.overlaps[:, abs(self.class_ids) == class_id]
        return self.vectors[len(self.class_ids) :][(of_class < max_iou).all(axis=1)]

    def box_targets(self, class_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Return features [P, G] and deltas [P, 4] of proposals near objects of a class."""
        count = len(self.class_ids)
        nearest = _without_crowds(self.overlaps, self.class_ids).argmax(axis=1)[self.pairs - count]
        chosen = self.class_ids[nearest] == class_id
        boxes = self.boxes[self.pairs[chosen]]
        return self.pair_grids[chosen], box_refinement(boxes, self.boxes[nearest[chosen]])


class ExampleReader:
    """Reads the examples of a dataset, from the cache where they are in it.

    Args:
        dataset: a prepared Dataset.
        model: gives the vector and the grid of features.
        preprocess: makes the model's input of pixels.
        config: settings of regions and features.
        cache: of features.
    """

    def __init__(
        self,
        dataset: Any,
        model: keras.Model,
        preprocess: Callable[[np.ndarray], np.ndarray],
        config: RCNNConfig,
        cache: FeatureCache,
    ) -> None:
        self.dataset, self.model, self.preprocess = dataset, model, preprocess
        self.config, self.cache = config, cache
        settings = (
            *(
                "REGION_STRATEGY",
                "REGION_MAX_SIDE",
                "MAX_REGIONS",
                "REGION_CONTEXT",
                "REFINED_MIN_IOU",
            ),
            *("BACKBONE", "MEAN_PIXEL"),
        )
        values = [str(getattr(config, name)) for name in settings]
        self._network = FeatureCache.key([*values, *model.get_weights(), model.input_shape])

    def read(self, image_ids: Iterable[int]) -> Iterator[ImageExamples]:
        """Yield the examples of images that have any region."""
        for image_id in image_ids:
            examples = self._read(image_id)
            if len(examples.boxes):
                yield examples

    def _read(self, image_id: int) -> ImageExamples:
        image = as_rgb(self.dataset.load_image(image_id))
        masks, class_ids = self.dataset.load_mask(image_id)
        corners = extract_bboxes(masks)
        has_area = (corners[:, 2:] > corners[:, :2]).all(axis=1)
        objects, class_ids = corners[has_area], np.asarray(class_ids)[has_area]
        given = self.dataset.load_proposals(image_id)
        key = FeatureCache.key([self._network, image, objects, class_ids, given])
        found = self.cache.get(key)
        if found is None:
            proposals = propose(image, self.config) if given is None else given
            found = self._compute(image, objects, class_ids, proposals)
            self.cache.put(key, found)
        return ImageExamples(class_ids=class_ids, **found)

    def _compute(
        self, image: np.ndarray, objects: np.ndarray, class_ids: np.ndarray, proposals: np.ndarray
    ) -> dict[str, np.ndarray]:
        boxes = np.concatenate([objects, proposals])
        outputs = predict_regions(self.model, image, boxes, self.preprocess, self.config)
        largest = np.finfo(np.float16).max
        vectors, grids = (np.clip(x, -largest, largest).astype(np.float16) for x in outputs)
        overlaps = compute_overlaps(boxes[len(objects) :], objects)
        best = _without_crowds(overlaps, class_ids).max(axis=1, initial=0)
        pairs = len(objects) + np.flatnonzero(best > self.config.REFINED_MIN_IOU)
        return {"boxes": boxes, "vectors": vectors, "pairs": pairs, "pair_grids": grids[pairs]}


def _without_crowds(overlaps: np.ndarray, class_ids: np.ndarray) -> np.ndarray:
    """Return overlaps [R, M] with zeros for crowds."""
    return np.where(class_ids > 0, overlaps, 0)
