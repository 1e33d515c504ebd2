"""The true objects of a dataset in the form that COCO's evaluation takes.

They come from any `Dataset` through `load_mask`, or, without a detour through pixels,
from original COCO annotations: those a COCO `Dataset` keeps, or a json file. The detour
would change areas (COCO's are polygon areas) and boxes (COCO's have fractions of pixels),
and with them AP in the third decimal.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcnn.files.names import shown
from mrcnn.files.reading import read_json_object
from mrcnn.geometry.rle import encode_masks, read_polygons, read_size, segmentation_to_rle

__all__ = ["DatasetTruth", "GroundTruth", "ImageTruth", "JsonTruth", "open_ground_truth"]


@dataclass(frozen=True)
class ImageTruth:
    """The true objects of one image.

    Attributes:
        size: `(height, width)` in pixels, or None where only masks determine it and the
            image has none.
        objects: one dict per object: `class_id` (this package's, from 1), `bbox`
            `[x, y, width, height]` in pixels, `area` in pixels, `iscrowd` 0 or 1,
            and `segmentation` (compressed RLE) unless only boxes were asked for.
    """

    size: tuple[int, int] | None
    objects: list[dict[str, Any]]


class GroundTruth:
    """True objects image by image, read once and kept as run lengths.

    Attributes:
        image_ids: ids of all images, as `add` and `load` take them.
        class_names: class id -> name, without the background.
        category_ids: class id -> id of the class in its source (COCO's 1..90).
        source_image_ids: image id -> id of the image in its source.
        masks: whether objects carry a segmentation.
    """

    def __init__(
        self,
        class_names: Mapping[int, str],
        category_ids: Mapping[int, Any],
        source_image_ids: Mapping[Any, Any],
        masks: bool = True,
    ) -> None:
        self.class_names = dict(class_names)
        self.category_ids = dict(category_ids)
        self.source_image_ids = dict(source_image_ids)
        self.image_ids = list(self.source_image_ids)
        self.masks = masks
        self._loaded: dict[Any, ImageTruth] = {}

    def load(self, image_id: Any) -> ImageTruth:
        """Return the true objects of one image; ValueError where `image_id` is not known."""
        if image_id not in self._loaded:
            self.check_image_id(image_id)
            self._loaded[image_id] = self._read(image_id)
        return self._loaded[image_id]

    def check_image_id(self, image_id: Any) -> None:
        """Raise ValueError unless the dataset has an image `image_id`."""
        if image_id not in self.source_image_ids:
            raise ValueError(
                f"image_id {image_id!r} is not one of the dataset's "
                f"{len(self.source_image_ids)} images"
            )

    def class_name(self, class_id: int) -> str:
        """Return the name of a class; `class_7` for an id that the dataset does not list."""
        return self.class_names.get(class_id, f"class_{class_id}")

    def sorted_image_ids(self, image_ids: Sequence[Any]) -> list[Any]:
        """Return `image_ids` in the order of their source ids, COCO's order.

        Detections of equal score are ranked by image; the same order gives the same
        figures as COCO's own tools. Sources without such an order keep the given one.
        """
        source_ids = [self.source_image_ids[image_id] for image_id in image_ids]
        if len(set(source_ids)) != len(source_ids) or len({type(i) for i in source_ids}) > 1:
            return list(image_ids)
        return sorted(image_ids, key=lambda image_id: self.source_image_ids[image_id])

    def _read(self, image_id: Any) -> ImageTruth:
        raise NotImplementedError


class DatasetTruth(GroundTruth):
    """True objects of a `Dataset`.

    Negative class ids are crowds, as in Matterport's loaders. Objects without a pixel are
    left out. The area of an object is its number of mask pixels, its box the tight one.

    Args:
        dataset: A prepared `Dataset`.
        masks: False keeps boxes only.
        use_annotations: True takes boxes, areas and outlines from the COCO annotations in
            `image_info[image_id]["annotations"]`, False from `load_mask`. None (the
            default) takes annotations where every one of the image's has COCO's fields
            and a category that the dataset lists.
    """

    def __init__(
        self, dataset: Any, masks: bool = True, use_annotations: bool | None = None
    ) -> None:
        if getattr(dataset, "image_ids", None) is None or len(dataset.image_ids) == 0:
            raise ValueError("dataset has no images; was dataset.prepare() called?")
        classes = dict(enumerate(dataset.class_info))
        classes.pop(0, None)
        super().__init__(
            {class_id: str(dataset.class_names[class_id]) for class_id in classes},
            {class_id: info["id"] for class_id, info in classes.items()},
            {int(i): _plain_id(dataset.image_info[int(i)]["id"]) for i in dataset.image_ids},
            masks,
        )
        self.dataset = dataset
        self.use_annotations = use_annotations

    def _read(self, image_id: int) -> ImageTruth:
        info = self.dataset.image_info[image_id]
        if self.use_annotations is not False:
            class_ids = _annotated_class_ids(self.dataset, image_id)
            if class_ids is not None:
                size = (info.get("height"), info.get("width"))
                if None in size:
                    size = self.dataset.image_size(image_id)
                size = (int(size[0]), int(size[1]))
                return _from_annotations(info["annotations"], class_ids, size, self.masks)
            if self.use_annotations:
                raise ValueError(
                    f"use_annotations is True, but image_info[{image_id}] has no COCO "
                    "annotations with boxes and categories of the dataset"
                )
        masks, class_ids = self.dataset.load_mask(image_id)
        return _from_masks(np.asarray(masks), np.asarray(class_ids), info, self.masks)


class JsonTruth(GroundTruth):
    """True objects of a COCO json file; no images are needed.

    Class ids are the positions of the categories sorted by id, from 1 on: for COCO the
    1..80 of Matterport's weights. Image ids are the file's own.

    Args:
        source: path of the json, or its content as a dict.
        masks: False keeps boxes only.
    """

    def __init__(self, source: str | os.PathLike[str] | dict[str, Any], masks: bool = True) -> None:
        content = (
            source if isinstance(source, dict) else read_json_object(source, "COCO json", None)
        )
        categories = sorted(
            _entries(content, "categories", ("name",)), key=lambda category: str(category["id"])
        )
        with contextlib.suppress(TypeError):  # ids of several types have no other order
            categories.sort(key=lambda category: category["id"])
        images = _entries(content, "images", ("height", "width"))
        super().__init__(
            {index: str(category["name"]) for index, category in enumerate(categories, 1)},
            {index: category["id"] for index, category in enumerate(categories, 1)},
            {image["id"]: image["id"] for image in images},
            masks,
        )
        self._images = {image["id"]: image for image in images}
        self._class_ids = {category: index for index, category in self.category_ids.items()}
        self._annotations: dict[Any, list[dict[str, Any]]] = {key: [] for key in self._images}
        for annotation in _entries(content, "annotations", ("image_id", "category_id", "bbox")):
            if annotation["image_id"] in self._annotations:
                self._annotations[annotation["image_id"]].append(annotation)

    def _read(self, image_id: Any) -> ImageTruth:
        image = self._images[image_id]
        annotations = [
            a for a in self._annotations[image_id] if a["category_id"] in self._class_ids
        ]
        class_ids = [self._class_ids[annotation["category_id"]] for annotation in annotations]
        size = (image["height"], image["width"])
        return _from_annotations(annotations, class_ids, size, self.masks)


def _entries(content: dict[str, Any], part: str, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return a list of a COCO json after checking each entry.

    Args:
        content: the COCO json.
        part: the name of the list.
        keys: the entries that are needed besides `id`, which annotations may lack.
    """
    entries = content.get(part)
    if not isinstance(entries, list):
        raise ValueError(f"{part} of the COCO json is {shown(entries)}; it must be a list")
    if part == "annotations":
        return _read_annotations(entries)
    needed = ["id", *keys]
    for number, entry in enumerate(entries):
        where = f"{part}[{number}]"
        if not isinstance(entry, dict):
            raise ValueError(f"{where} is {shown(entry)}; it must be an object")
        for key in needed:
            if not _RULES[key][0](entry.get(key)):
                value = shown(entry[key]) if key in entry else "missing"
                raise ValueError(f"{where}[{key!r}] is {value}; it must be {_RULES[key][1]}")
    return entries


def _read_annotations(entries: list[Any]) -> list[dict[str, Any]]:
    """Return annotations in COCO's own form; numbers and flags may be written as text."""
    from mrcnn.datasets.coco_file import is_plain, normalize_annotation

    annotations = []
    for number, entry in enumerate(entries):
        name = entry.get("id", number) if isinstance(entry, dict) else number
        if not is_plain(entry):
            entry = normalize_annotation(entry, f"annotation {shown(name)}")
        if not is_box(entry.get("bbox")):
            value = shown(entry["bbox"]) if "bbox" in entry else "missing"
            rule = _RULES["bbox"][1]
            raise ValueError(f"annotation {shown(name)}: bbox is {value}; it must be {rule}")
        annotations.append(entry)
    return annotations


def is_finite(value: Any) -> bool:
    """Return whether a value is a number of at most `MAX_COORDINATE` either way."""
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return bool(is_number and -MAX_COORDINATE < value < MAX_COORDINATE)


def is_id(value: Any) -> bool:
    """Return whether a value can be an id: a whole number or a text."""
    return isinstance(value, int | str | np.integer) and not isinstance(value, bool)


def is_box(value: Any) -> bool:
    """Return whether a value is four finite numbers."""
    is_four = isinstance(value, list | tuple | np.ndarray) and len(value) == 4
    return is_four and all(is_finite(number) for number in value)


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_SIDE


MAX_SIDE = 2**17
MAX_COORDINATE = 1e9
_ID = (is_id, "a whole number or a text")
_SIDE = (_is_side, f"a whole number from 1 to {MAX_SIDE}")
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "id": _ID,
    "image_id": _ID,
    "category_id": _ID,
    "name": (lambda value: isinstance(value, int | str), "a text"),
    "height": _SIDE,
    "width": _SIDE,
    "bbox": (is_box, "four numbers: x, y, width, height"),
}


def open_ground_truth(
    source: Any, masks: bool = True, use_annotations: bool | None = None
) -> GroundTruth:
    """Return the ground truth of a `Dataset`, a COCO json path, or a COCO dict.

    Args:
        source: one of the three, or a `GroundTruth`, which is returned unchanged.
        masks: False keeps boxes only.
        use_annotations: as for `DatasetTruth`.
    """
    if isinstance(source, GroundTruth):
        return source
    if isinstance(source, str | os.PathLike | dict):
        return JsonTruth(source, masks)
    return DatasetTruth(source, masks, use_annotations)


def _plain_id(value: Any) -> Any:
    """Return a NumPy integer as int, so that it can be sorted, compared and written as json."""
    return int(value) if isinstance(value, np.integer) else value


def _annotated_class_ids(dataset: Any, image_id: int) -> list[int] | None:
    """Return the class ids of an image's COCO annotations, or None where it has no usable ones."""
    if hasattr(dataset, "origins"):
        # A view of other datasets: category ids are those of the parts.
        part, number = dataset.origins[image_id]
        class_ids = _annotated_class_ids(part, number)
        return None if class_ids is None else dataset._renumber(part, class_ids).tolist()
    info = dataset.image_info[image_id]
    annotations = info.get("annotations")
    if not isinstance(annotations, list):
        return None
    known = getattr(dataset, "class_from_source_map", {})
    class_ids = []
    for annotation in annotations:
        if not isinstance(annotation, dict) or not {"bbox", "category_id"} <= annotation.keys():
            return None
        class_id = known.get(f"{info.get('source')}.{annotation['category_id']}")
        if not class_id:
            return None
        class_ids.append(int(class_id))
    return class_ids


def _from_annotations(
    annotations: Sequence[dict], class_ids: Sequence[int], size: tuple[int, int], masks: bool
) -> ImageTruth:
    from pycocotools import mask as mask_utils

    objects = []
    for annotation, class_id in zip(annotations, class_ids, strict=True):
        if not is_box(annotation["bbox"]):
            raise ValueError(
                f"bbox of annotation {annotation.get('id')} is {shown(annotation['bbox'])}; it "
                "must be four numbers: x, y, width, height"
            )
        x, y, width, height = (float(value) for value in annotation["bbox"])
        area = annotation.get("area")
        one: dict[str, Any] = {
            "class_id": class_id,
            "bbox": [x, y, width, height],
            "area": width * height if area is None or not is_finite(area) else float(area),
            # Some tools write a text: "0" is no crowd.
            "iscrowd": int(str(annotation.get("iscrowd") or 0) in ("1", "1.0", "True", "true")),
        }
        if masks:
            one["segmentation"] = _outline(annotation, size)
            if one["segmentation"] is None:
                continue
            if not is_finite(area):
                one["area"] = float(mask_utils.area(one["segmentation"]))
        objects.append(one)
    return ImageTruth(size, objects)


def _outline(annotation: dict, size: tuple[int, int]) -> dict[str, Any] | None:
    """Return the run lengths of an annotation, or None where its polygons are empty.

    Odd annotations mean what they mean to the COCO `Dataset`: without a segmentation the
    box is the mask, and a crowd recorded for another size is the whole image.
    """
    segmentation = annotation.get("segmentation")
    if not segmentation:
        x, y, width, height = annotation["bbox"]
        segmentation = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    elif isinstance(segmentation, list):
        try:
            # pycocotools would take four numbers for a box.
            polygons = [p for p in read_polygons(segmentation) if len(p) >= 3]
        except ValueError as error:
            raise ValueError(f"annotation {annotation.get('id')}: {error}") from error
        segmentation = [polygon.ravel().tolist() for polygon in polygons]
        if not segmentation:
            return None
    try:
        if isinstance(segmentation, Mapping) and annotation.get("iscrowd"):
            if read_size(segmentation) != size:
                return encode_masks(np.ones((*size, 1), bool))[0]
        return segmentation_to_rle(segmentation, *size)
    except ValueError as error:
        raise ValueError(f"annotation {annotation.get('id')}: {error}") from error


def _from_masks(
    masks: np.ndarray, class_ids: np.ndarray, info: Mapping[str, Any], keep_masks: bool
) -> ImageTruth:
    from pycocotools import mask as mask_utils

    if class_ids.size == 0:
        known = info.get("height") and info.get("width")
        size = (int(info["height"]), int(info["width"])) if known else None
        return ImageTruth(size, [])
    if masks.ndim != 3 or masks.shape[2] != class_ids.size:
        raise ValueError(
            f"load_mask of image {info.get('id')!r} returned masks {masks.shape} and "
            f"{class_ids.size} class ids; masks must be [H, W, N] with one class id each"
        )
    objects = []
    for rle, class_id in zip(encode_masks(masks), class_ids.tolist(), strict=True):
        area = float(mask_utils.area(rle))
        if area == 0 or class_id == 0:
            continue
        one = {
            "class_id": abs(int(class_id)),
            "bbox": mask_utils.toBbox(rle).tolist(),
            "area": area,
            "iscrowd": int(class_id < 0),
        }
        if keep_masks:
            one["segmentation"] = rle
        objects.append(one)
    return ImageTruth((masks.shape[0], masks.shape[1]), objects)
