"""Mask images: the instances of an image in one label image, or each in a file of its own.

Penn-Fudan (Wang et al., "Object Detection Combining Recognition and Segmentation", 2007) is of
the first kind; so are folders of cut-out objects with one foreground mask each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mrcnn.datasets import image_files
from mrcnn.datasets.dataset import logger
from mrcnn.datasets.entries import normalize_name
from mrcnn.datasets.layout import visible_folders
from mrcnn.datasets.problems import Problem
from mrcnn.datasets.reader import DatasetReader, choose_subset
from mrcnn.datasets.voc_colors import packed_colors

DEFAULT_CLASS = "object"
IMAGE_FOLDERS = ("images", "PNGImages", "JPEGImages", "imgs", "image", "img")
MASK_FOLDERS = (
    "masks",
    "PedMasks",
    "correct_masks",
    "instance_masks",
    "mask",
    "labels",
    "label",
    "gt",
)
MODES = ("auto", "index", "binary")
_IMAGE_ENDING = re.compile(r"[_-](image|img)$", re.IGNORECASE)
_MASK_ENDING = re.compile(r"([_-](masks?|instances?|seg)|[_-])$", re.IGNORECASE)
_IMAGE_ENDINGS = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"))
_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif")
# A photograph taken for a label image has more values than this, and masks of many gigabytes.
_MAX_INSTANCES = 10_000
_MAX_MASK_BYTES = 1 << 33


class MaskImageDataset(DatasetReader):
    """Images with mask images beside them.

    For the image images/NAME.jpg or images/NAME_image.jpg the masks are

    * masks/NAME.png or masks/NAME_mask.png: all instances in one image, or
    * masks/NAME/*.png or masks/NAME_1.png, masks/NAME_2.png, ...: one instance in each file.

    A label image holds 0 for the background and k for the k-th instance (color images: a color
    for each instance). One that has a single value besides 0 is one instance. Transparent pixels
    are background.
    """

    format_name = "masks"
    looks_for = (
        f"image folders ({', '.join(IMAGE_FOLDERS)}) beside mask folders "
        f"({', '.join(MASK_FOLDERS)}) with image files of the same names"
    )
    loader = "load_masks"

    def load_masks(
        self,
        dataset_dir: str | Path,
        subset: str | None = None,
        class_name: str | None = None,
        classes: Sequence[str] | None = None,
        image_dir: str | Path | None = None,
        mask_dir: str | Path | None = None,
        mode: str = "auto",
        source: str = "masks",
    ) -> None:
        """Load a folder of images and a folder of masks.

        Images without a mask file are kept: they are negatives.

        Args:
            dataset_dir: folder with both folders, or the folder above the subsets.
            subset: sub-folder such as "train"; images/train with masks/train is also found.
            class_name: the class of all instances; None takes the only one of `classes`, or
                "object".
            classes: names of all classes in the order of their ids, when the model knows more
                than the one that occurs here.
            image_dir: the folder of images, relative to that of the subset; None looks for the
                usual names.
            mask_dir: the folder of masks, in the same way.
            mode: how the only mask file of an image is read. "index": value k is the k-th
                instance. "binary": what is not 0 (in a JPEG: at least 128) is one instance.
                "auto": "binary" for a JPEG, else "index"; a file that holds 255 among other
                values could be either and raises an error when it is read.
            source: name of the dataset.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: a folder or all masks are missing, or an argument is not understood.
        """
        if mode not in MODES:
            raise ValueError(f"mode is {mode!r}; it must be one of {', '.join(MODES)}")
        names, class_id = _class_choice(class_name, classes)
        images, masks = _find_folders(Path(dataset_dir), subset, image_dir, mask_dir)
        files = image_files.list_images(images)
        by_key = {_IMAGE_ENDING.sub("", file.stem): file for file in files}
        masks_of = match_masks(masks, by_key)
        if files and not masks_of:
            raise ValueError(f"{masks}: no file belongs to an image of {images} by its name")
        if len(masks_of) < len(by_key):
            lacking = [file.name for key, file in by_key.items() if key not in masks_of]
            logger.warning(
                "%d of %d images in %s have no mask and count as negatives (%s)",
                len(lacking),
                len(by_key),
                images,
                ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else ""),
            )
        for number, name in enumerate(names, start=1):
            self.add_class(source, number, name)
        for key, file in by_key.items():
            self.add_image(
                source,
                key,
                str(file),
                mask_paths=[str(path) for path in masks_of.get(key, [])],
                mask_mode=mode,
                class_id=class_id,
            )

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Return whether a folder has an image folder and a mask folder that belong together."""
        parts: list[str] | list[None] = cls.subsets(path) or [None]
        return path.is_dir() and any(_has_masks(path, name) for name in parts)

    @classmethod
    def subsets(cls, path: Path) -> list[str]:
        """Return the sub-folders with both folders in them, or found in both folders."""
        return _subset_names(path)

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Read the instance masks; see `DatasetReader.load_mask`.

        Raises:
            ValueError: a mask file cannot be read or understood, or has another size.
        """
        info = self.image_info[image_id]
        if "mask_paths" not in info:
            return super().load_mask(image_id)
        height, width = self.image_size(image_id)
        paths = info["mask_paths"]
        if len(paths) == 1:
            labels, values, transparent = _labels_and_values(paths[0], info["mask_mode"])
            masks = [labels == value for value in values]
        else:
            parts = [_foreground(path) for path in paths]
            masks = [mask for mask, _ in parts]
            transparent = any(flag for _, flag in parts)
        for number, mask in enumerate(masks):
            if mask.shape != (height, width):
                raise ValueError(
                    f"{paths[number if len(paths) > 1 else 0]}: the mask has "
                    f"{mask.shape[1]}x{mask.shape[0]} pixels; it must have those of the image "
                    f"{info['path']}, {width}x{height}"
                )
        if transparent and not any(problem.kind == "alpha" for problem in self.findings):
            message = "transparent pixels of the masks are read as background"
            self.findings.append(Problem("note", "alpha", message, reference=paths[0]))
        class_id = self.map_source_class_id(f"{info['source']}.{info['class_id']}")
        class_ids = np.full(len(masks), class_id, np.int32)
        return self._stack_nonempty(image_id, masks, class_ids, height, width)

    def image_class_ids(self, image_id: int) -> np.ndarray:
        """Return `Dataset.image_class_ids`; the only label image of an image is read for it."""
        info = self.image_info[image_id]
        if "mask_paths" not in info:
            return super().image_class_ids(image_id)
        paths = info["mask_paths"]
        if len(paths) == 1:
            count = _labels_and_values(paths[0], info["mask_mode"])[1].size
        else:
            count = len(paths)
        class_id = self.map_source_class_id(f"{info['source']}.{info['class_id']}")
        return np.full(count, class_id, np.int32)


def split_instances(path: str | Path, mode: str = "auto") -> list[np.ndarray]:
    """Return the instances of a label image, each [height, width] bool, by rising value.

    Args:
        path: the image file.
        mode: "index", "binary" or "auto"; see `MaskImageDataset.load_masks`.

    Raises:
        ValueError: `mode` is "auto" and 255 occurs among other values; or there are too many
            values for a label image.
    """
    labels, values, _ = _labels_and_values(path, mode)
    return [labels == value for value in values]


def _labels_and_values(path: str | Path, mode: str) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return the numbers of a label image, those of instances, and whether it is transparent."""
    path = Path(path)
    if mode == "binary" or (mode == "auto" and path.suffix.lower() in _LOSSY):
        foreground, transparent = _foreground(path)
        return foreground, np.array([True])[: int(foreground.any())], transparent
    pixels = image_files.read_indices(path)
    labels, transparent = _labels(pixels), _has_transparency(pixels)
    if labels.dtype in (np.uint8, np.uint16):  # counting is much faster than sorting
        values = np.flatnonzero(np.bincount(labels.ravel()))
    else:
        values = np.unique(labels)
    values = values[values != 0]
    highest = {1: 255, 2: 65535}.get(labels.dtype.itemsize)
    if mode == "auto" and len(values) > 1 and values[-1] == highest:
        raise ValueError(
            f"{path}: mode is 'auto', but {highest} occurs among {len(values)} values; say whether "
            "this is one object with soft edges (mode='binary') or a label image (mode='index')"
        )
    if len(values) > _MAX_INSTANCES or len(values) * labels.size > _MAX_MASK_BYTES:
        raise ValueError(
            f"{path}: it has {len(values)} values in {labels.shape[1]}x{labels.shape[0]} pixels; a "
            f"label image must have at most {_MAX_INSTANCES}, and one for each instance"
        )
    return labels, values, transparent


def read_foreground(path: str | Path) -> np.ndarray:
    """Return [height, width] bool: what is not 0 and not transparent, or in a JPEG at least 128.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not an image.
    """
    return _foreground(path)[0]


def _foreground(path: str | Path) -> tuple[np.ndarray, bool]:
    pixels = image_files.read_pixels(path)
    labels = _labels(pixels)
    mask = labels >= 128 if Path(path).suffix.lower() in _LOSSY else labels != 0
    return mask, _has_transparency(pixels)


def _labels(pixels: np.ndarray) -> np.ndarray:
    """Return one number for each pixel: gray unchanged, colors packed, transparent pixels 0."""
    if pixels.dtype == bool:
        return pixels.astype(np.uint8)
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] <= 2:  # gray and alpha
        labels = pixels[..., 0]
    else:
        red, green, blue = (pixels[..., channel] for channel in range(3))
        is_grey = np.array_equal(red, green) and np.array_equal(red, blue)
        labels = red if is_grey else packed_colors(pixels)
    if not _has_transparency(pixels):
        return labels
    opaque = _opaque(pixels[..., -1])
    if labels[opaque].any():
        return np.where(opaque, labels, 0)
    return opaque.astype(np.uint8)  # black on transparent ground


def _has_transparency(pixels: np.ndarray) -> bool:
    """Return whether some pixels are transparent and others are not."""
    if pixels.ndim != 3 or pixels.shape[2] not in (2, 4):
        return False
    opaque = _opaque(pixels[..., -1])
    return bool(opaque.any() and not opaque.all())


def _opaque(alpha: np.ndarray) -> np.ndarray:
    """Where alpha is at least half of full; of layers that are faint everywhere, not 0."""
    half = np.iinfo(alpha.dtype).max // 2 + 1
    return alpha >= half if (alpha >= half).any() else alpha > 0


def match_masks(mask_dir: Path, images: dict[str, Path]) -> dict[str, list[Path]]:
    """Return name of an image -> its mask files in order; images without one are left out.

    Args:
        mask_dir: the folder.
        images: the images by name, without ending.
    """
    found: dict[str, list[Path]] = {}
    parts: dict[str, list[Path]] = {}
    folded: dict[str, list[str]] = {}
    for name in images:
        folded.setdefault(name.lower(), []).append(name)
    for file in image_files.list_images(mask_dir):
        stem = file.stem if file.stem in images else _MASK_ENDING.sub("", file.stem)
        if stem not in images:
            # Some tools append an ending, "a.jpg.png", or write other letters.
            stem = Path(stem).stem if Path(stem).suffix.lower() in _IMAGE_ENDINGS else stem
            alike = folded.get(stem.lower(), [])
            stem = alike[0] if len(alike) == 1 and stem not in images else stem
        if stem in images:
            if stem in found and file.stem != stem:
                continue  # the file of the image's own name is all of it
            found[stem] = [file]
        elif owner := _owner(stem, images):
            parts.setdefault(owner, []).append(file)
    for folder in visible_folders(mask_dir):
        if folder.name not in images:
            continue
        parts.setdefault(folder.name, []).extend(image_files.list_images(folder))
    for name, files in parts.items():
        if files:  # a file of the image's own name is all of it
            found.setdefault(name, sorted(files, key=_natural_order))
    return found


def _owner(stem: str, images: dict[str, Path]) -> str | None:
    """Return the image that NAME_mask_3 or NAME-3 belongs to: the longest name that fits."""
    while match := re.search(r"[_-][^_-]*$", stem):
        stem = stem[: match.start()]
        if stem in images:
            return stem
    return None


def _natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Return a key that sorts NAME_2 before NAME_10."""
    pieces = re.findall(r"\d+|\D+", path.name)
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in pieces]


def _class_choice(class_name: str | None, classes: Sequence[str] | None) -> tuple[list[str], int]:
    """Return all class names, and the id of the one that the instances have."""
    given = [classes] if isinstance(classes, str) else list(classes or [])
    names = [normalize_name(name) for name in given]
    class_name = normalize_name(class_name) if class_name is not None else None
    if not names:
        names = [class_name or DEFAULT_CLASS]
    if class_name is None:
        if len(names) > 1:
            raise ValueError(
                f"class_name is None; it must say which of the {len(names)} classes the masks show"
            )
        class_name = names[0]
    if class_name not in names or len(set(names)) != len(names):
        raise ValueError(
            f"class_name is {class_name!r}; it must be one of classes, all different: {names}"
        )
    return names, names.index(class_name) + 1


def _subset_names(path: Path) -> list[str]:
    if not path.is_dir():
        return []
    images = image_files.first_folder(path, IMAGE_FOLDERS)
    masks = image_files.first_folder(path, MASK_FOLDERS)
    if images and masks:
        if image_files.list_images(images):
            return []
        shared = {p.name for p in visible_folders(images)}
        return sorted(shared & {p.name for p in visible_folders(masks)})
    return sorted(
        p.name
        for p in visible_folders(path)
        if image_files.first_folder(p, IMAGE_FOLDERS) and image_files.first_folder(p, MASK_FOLDERS)
    )


def _has_masks(path: Path, subset: str | None) -> bool:
    try:
        images, masks = _find_folders(path, subset, None, None)
    except ValueError:
        return False
    keys = {_IMAGE_ENDING.sub("", file.stem): file for file in image_files.list_images(images)}
    return bool(match_masks(masks, keys))


def _find_folders(
    root: Path, subset: str | None, image_dir: str | Path | None, mask_dir: str | Path | None
) -> tuple[Path, Path]:
    """Return the folder of images and the folder of masks."""
    if not root.is_dir():
        raise FileNotFoundError(f"dataset_dir is '{root}': no such folder")
    inner: str | None = None
    if image_dir is not None and mask_dir is not None:
        base = root / subset if subset else root
    else:
        names = _subset_names(root)
        chosen = choose_subset(root, subset, names) if names or subset else None
        base = root
        if chosen is not None and image_files.first_folder(root / chosen, IMAGE_FOLDERS):
            base = root / chosen
        else:
            inner = chosen
    folders = []
    for argument, value, usual in (
        ("image_dir", image_dir, IMAGE_FOLDERS),
        ("mask_dir", mask_dir, MASK_FOLDERS),
    ):
        folder = image_files.first_folder(base, usual) if value is None else base / value
        folder = folder / inner if folder is not None and inner and value is None else folder
        if folder is None or not folder.is_dir():
            looked = ", ".join(usual) if value is None else str(folder)
            raise ValueError(f"{argument} is {value!r}: {base} has no such folder ({looked})")
        folders.append(folder)
    return folders[0], folders[1]
