"""Check of one image with its masks, for `mrcnn.datasets.report`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mrcnn.datasets import image_files
from mrcnn.datasets.dataset import Dataset
from mrcnn.datasets.entries import AnnotationError
from mrcnn.datasets.problems import Problem
from mrcnn.files.names import printable
from mrcnn.geometry.boxes import extract_bboxes

__all__ = ["ImageCheck", "describe_error"]

# A box narrower than this has lost its shape after any resizing, and its deltas,
# log(width / anchor width), are far from all others.
MIN_BOX_SIDE = 2
# Masks of fewer pixels are not counted as rectangles: most of that size are.
_MIN_RECTANGLE = 16


@dataclass
class ImageCheck:
    """Checks one image of a prepared dataset.

    Attributes:
        dataset: the dataset.
        image_id: the number of the image.
        decode: whether images in files are decoded; else it is tested whether JPEG, PNG and WebP
            files are complete, and others are decoded.
        problems: what was found.
        class_ids: class numbers of the instances, negative for crowds.
        boxes: [N, (y1, x1, y2, x2)] in pixels, of the instances that are no crowds.
        size: (height, width) of the masks in pixels; None where they could not be read.
        num_rectangles: instances whose mask fills its box, as masks made from boxes do.
        digest: of the content of the image file; None without a file that can be read.
    """

    dataset: Dataset
    image_id: int
    decode: bool = True
    problems: list[Problem] = field(default_factory=list)
    class_ids: list[int] = field(default_factory=list)
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.int32))
    size: tuple[int, int] | None = None
    num_rectangles: int = 0
    digest: str | None = None

    def __post_init__(self) -> None:
        self.info = self.dataset.image_info[self.image_id]
        self.reference = str(self.info.get("path") or f"{self.info['source']}.{self.info['id']}")

    def run(self) -> ImageCheck:
        """Check the image and set the attributes; return the object."""
        shape = self._check_image()
        try:
            masks, class_ids = self.dataset.load_mask(self.image_id)
        except Exception as error:  # any exception of a user's own code is a finding
            # Without the image load_mask often fails for the same reason.
            if shape is not None or isinstance(error, AnnotationError):
                self._add("error", "mask_failed", self._cause("load_mask", error))
            return self
        masks, class_ids = np.asarray(masks), np.asarray(class_ids)
        if self.info.get("dropped"):
            message = f"{self.info['dropped']} instances without a pixel were left out"
            self._add("warning", "dropped", message)
        self._check_class_ids(class_ids)
        self._check_masks(masks, class_ids, shape)
        self.class_ids = class_ids.ravel().tolist()
        return self

    def _add(self, severity: str, kind: str, message: str) -> None:
        self.problems.append(Problem(severity, kind, message, self.image_id, self.reference))

    def _cause(self, method: str, error: Exception) -> str:
        """Return why a method failed; errors about files say it all, less the image's name."""
        if isinstance(error, AnnotationError):
            return str(error)
        text, name = str(error), printable(self.reference)
        if text.startswith(f"{name} is"):
            return f"it{text.removeprefix(name)}"
        return f"{method} failed: {describe_error(error)}"

    def _check_image(self) -> tuple[int, int] | None:
        """Read the image; return its (height, width), None when that is not possible."""
        dataset = self._origin()
        file = self.dataset._image_file(self.image_id)
        shape: tuple[int, ...]
        try:
            if file is not None:
                shape, self.digest = image_files.inspect_image(file, dataset.exif_orientation)
            if self.decode or file is None:
                shape = self._loaded_shape()
        except FileNotFoundError:
            self._add("error", "missing_file", "the image is missing")
            return None
        except Exception as error:
            self._add("error", "undecodable", self._cause("load_image", error))
            return None
        if len(shape) < 2:
            return None
        height, width = self.info.get("height"), self.info.get("width")
        if height is not None and width is not None and (height, width) != tuple(shape[:2]):
            message = f"recorded as {width}x{height}, but is {shape[1]}x{shape[0]}"
            self._add("error", "size_mismatch", message)
        self._check_orientation(dataset)
        return shape[0], shape[1]

    def _loaded_shape(self) -> tuple[int, ...]:
        """Load the image, check its type, and return its shape."""
        image = self.dataset.load_image(self.image_id)
        shape: tuple[int, ...] = getattr(image, "shape", ())
        if len(shape) != 3 or shape[2] != 3 or image.dtype != np.uint8:
            dtype = getattr(image, "dtype", type(image).__name__)
            message = f"the image is {list(shape)} {dtype}: it must be [height, width, 3] uint8"
            self._add("error", "image_format", message)
        return shape

    def _origin(self) -> Dataset:
        """Return the dataset that loads the image; for a view it is another one."""
        dataset, number = self.dataset, self.image_id
        while hasattr(dataset, "origins"):
            dataset, number = dataset.origins[number]
        return dataset

    def _check_orientation(self, dataset: Dataset) -> None:
        path = self.info.get("path")
        if dataset.exif_orientation or not path or not Path(path).is_file():
            return
        orientation = image_files.read_orientation(path)
        if orientation != 1:
            message = (
                f"EXIF orientation {orientation} is not followed: the masks must fit the pixels "
                "as stored (else set exif_orientation)"
            )
            self._add("warning", "orientation", message)

    def _check_class_ids(self, class_ids: np.ndarray) -> None:
        active = self.dataset.source_class_ids.get(self.info["source"], [])
        for class_id in np.unique(np.abs(class_ids)).tolist():
            if not 1 <= class_id < self.dataset.num_classes:
                limit = self.dataset.num_classes - 1
                self._add("error", "class_id", f"class number {class_id} is not in 1..{limit}")
            elif active and class_id not in active:
                message = f"class number {class_id} is not a class of source {self.info['source']}"
                self._add("error", "inactive_class", message)

    def _check_masks(
        self, masks: np.ndarray, class_ids: np.ndarray, shape: tuple[int, int] | None
    ) -> None:
        if masks.ndim != 3:
            message = f"masks are {list(masks.shape)}: they must be [height, width, instances]"
            self._add("error", "mask_format", message)
            return
        count = masks.shape[2]
        if count != class_ids.size:
            message = f"{count} masks but {class_ids.size} class ids"
            self._add("error", "mask_count", message)
        if count == 0:
            self._add("note", "negative", "no object")
            return
        if shape is not None and masks.shape[:2] != tuple(shape):
            message = (
                f"masks are {masks.shape[1]}x{masks.shape[0]}, the image is {shape[1]}x{shape[0]}"
            )
            self._add("error", "mask_size", message)
        boxes = extract_bboxes(masks)
        sides = boxes[:, 2:] - boxes[:, :2]
        for number, (height, width) in enumerate(sides.tolist()):
            if not height:
                self._add("error", "empty_mask", f"instance {number} has no pixel")
            elif min(height, width) < MIN_BOX_SIDE:
                message = f"instance {number} is only {width}x{height} pixels"
                self._add("warning", "small_box", message)
        self.size = masks.shape[:2]
        is_object = sides[:, 0] > 0
        if count == class_ids.size:
            is_object &= class_ids.ravel() > 0
        self.boxes = boxes[is_object]
        self.num_rectangles = sum(
            bool(masks[y1:y2, x1:x2, number].all())
            for number, (y1, x1, y2, x2) in enumerate(boxes.tolist())
            if is_object[number] and sides[number].prod() >= _MIN_RECTANGLE
        )


def describe_error(error: Exception) -> str:
    """Return type and message of an error in one line."""
    return f"{type(error).__name__}: {error}"
