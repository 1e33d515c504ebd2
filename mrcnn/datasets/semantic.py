"""Label maps: the class of every pixel, from any dataset or from folders of label images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.datasets import image_files
from mrcnn.datasets.cvat import VOC_CLASSES
from mrcnn.datasets.dataset import Dataset
from mrcnn.datasets.entries import read_text
from mrcnn.datasets.label_classes import CLASS_FILES, choose_classes, find_class_file
from mrcnn.datasets.layout import visible_files, visible_folders
from mrcnn.datasets.reader import DatasetReader, choose_subset
from mrcnn.datasets.views import DatasetView
from mrcnn.datasets.voc_colors import color_map, packed_colors
from mrcnn.files.names import printable, shown

__all__ = [
    "CAMVID_CLASSES",
    "VOID",
    "LabelImageDataset",
    "LabelTable",
    "find_label_problem",
    "load_label_map",
    "median_frequency_weights",
    "paint_instances",
    "require_masks",
]

# The label of pixels that are not scored and not learned from.
VOID = 255
MAX_CLASSES = 255

# Numbers of the classes in SegNet's label images; 11 is void there.
CAMVID_CLASSES = (
    "sky building pole road pavement tree sign_symbol fence car pedestrian bicyclist".split()
)
# The eleven colors of SegNet, and the 32 of the original label images in its groups of classes.
_CAMVID_COLORS = """
sky         808080
building    800000 c00080 008040 400040 40c000
pole        c0c080 c0c0c0 000040
road        804080 8000c0 c00040
pavement    3c28de 0000c0 40c080 8080c0
tree        808000 c0c000
sign_symbol c08080 808040 004040
fence       404080
car         400080 4080c0 c080c0 c04080 804040
pedestrian  404000 c08040 4000c0 408040
bicyclist   0080c0 c000c0
void        000000
"""
_VOID_NAMES = ("void", "unlabeled", "unlabelled", "ignore")
_LABEL_SUFFIXES = (".png", ".bmp", ".gif", ".tif", ".tiff")
# Endings by which a label image differs from the name of its image.
_LABEL_ENDINGS = ("", "_L", "_label", "_labels", "_mask", "_seg", "_gt")
_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "JPEGImages", "701_StillsRaw_full")
_VOC_LISTS = Path("ImageSets", "Segmentation")
_LABEL_FOLDERS = (
    "labels",
    "label",
    "masks",
    "annotations",
    "SegmentationClass",
    "LabeledApproved_full",
)


class LabelTable:
    """What the numbers and colors of label images mean.

    Args:
        classes: names of the classes, whose numbers are 0, 1, ...; colors are those of VOC's map.
            Or a mapping from numbers, or colors (red, green, blue), to names: the classes are
            numbered in the order of their first names, and "void" stands for no class. Or "camvid"
            or "voc" for those datasets.

    Attributes:
        names: the names of the classes by number.

    Raises:
        ValueError: there is no class or more than 255, or an entry is no number, color or name.

    Example:
        >>> LabelTable({0: "membrane", 255: "cell"}).names
        ['membrane', 'cell']
    """

    def __init__(self, classes: str | Sequence[str] | Mapping[Any, str]) -> None:
        values: dict[Any, str]
        if classes == "camvid":
            values = dict(enumerate([*CAMVID_CLASSES, "void"]))
            for line in _CAMVID_COLORS.split("\n")[1:-1]:
                name, *colors = line.split()
                values |= {tuple(bytes.fromhex(color)): name for color in colors}
        elif classes == "voc":
            values = _numbered(["background", *VOC_CLASSES])
        elif isinstance(classes, Mapping):
            values = dict(classes)
        elif isinstance(classes, str):
            raise ValueError(
                f"classes is {shown(classes)}; it must be camvid, voc, a list of names, or a "
                "mapping from numbers or colors to names"
            )
        else:
            twice = [name for name in classes if list(classes).count(name) > 1]
            if twice:
                raise ValueError(f"classes has {shown(twice[0])} more than once; it must not")
            values = _numbered(list(classes))
        is_void = {key: str(name).lower() in _VOID_NAMES for key, name in values.items()}
        self.names = list(dict.fromkeys(str(n) for key, n in values.items() if not is_void[key]))
        if not 1 <= len(self.names) <= MAX_CLASSES:
            raise ValueError(f"classes has {len(self.names)} names; it must have 1 to 255")
        self._numbers: dict[int, int] = {}
        self._colors: dict[int, int] = {}
        for key, name in values.items():
            number = VOID if is_void[key] else self.names.index(str(name))
            table, value = self._place(key)
            table[value] = number
        self._numbers.setdefault(VOID, VOID)

    def _place(self, key: Any) -> tuple[dict[int, int], int]:
        """Return the table that an entry belongs to, and its key there."""
        if isinstance(key, int | np.integer) and 0 <= key < 1 << 16:
            return self._numbers, int(key)
        color = np.array(key) if isinstance(key, tuple | list) else np.zeros(0)
        if (
            color.shape != (3,)
            or color.dtype.kind not in "iu"
            or not ((0 <= color) & (color <= 255)).all()
        ):
            raise ValueError(
                f"classes has the entry {shown(key)}; it must be a number from 0 to 65535 or a "
                "color (red, green, blue)"
            )
        return self._colors, int(packed_colors(color))

    def read(self, path: str | Path) -> np.ndarray:
        """Return the label map of a label image.

        Args:
            path: a palette, gray or color image; a palette's colors are not looked at.

        Returns:
            [H, W] uint8: class numbers, and VOID.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not an image, or a number or color belongs to no class.
        """
        pixels = image_files.read_indices(path)
        if pixels.dtype.kind not in "bui":
            raise ValueError(
                f"{printable(path)} holds {pixels.dtype} values; a label image must hold whole "
                "numbers"
            )
        if pixels.ndim == 3 and pixels.shape[2] <= 2:
            pixels = pixels[..., 0]
        if pixels.ndim == 2:
            return self._look_up(pixels.astype(np.int64), self._numbers, pixels, path)
        packed = packed_colors(pixels)
        is_gray = (pixels[..., :3] == pixels[..., :1]).all()
        if is_gray and not np.isin(packed, list(self._colors)).all():
            return self._look_up(pixels[..., 0].astype(np.int64), self._numbers, pixels, path)
        return self._look_up(packed, self._colors, pixels, path)

    def _look_up(
        self, values: np.ndarray, table: Mapping[int, int], pixels: np.ndarray, path: str | Path
    ) -> np.ndarray:
        known = np.array(sorted(table), np.int64)
        at = np.searchsorted(known, values).clip(0, max(len(known) - 1, 0))
        is_known = known[at] == values if len(known) else np.zeros(values.shape, bool)
        if not is_known.all():
            row, column = np.argwhere(~is_known)[0]
            kind = "label" if table is self._numbers else "color"
            value = values[row, column] if kind == "label" else pixels[row, column, :3].tolist()
            raise ValueError(
                f"{printable(path)}: the {kind} at row {row}, column {column} is {value}; it must "
                f"be {self._listed(table)}"
            )
        return np.array([table[int(value)] for value in known], np.uint8)[at]

    def _listed(self, table: Mapping[int, int]) -> str:
        """Return what is allowed, for a message."""
        if table is self._colors:
            return f"one of the {len(table)} colors of the classes" if table else "a number"
        numbers = sorted(value for value, number in table.items() if number != VOID)
        void = sorted(value for value, number in table.items() if number == VOID)
        is_range = numbers == list(range(len(numbers)))
        text = f"0 to {numbers[-1]}" if is_range else ", ".join(map(str, numbers[:20]))
        text = text if is_range else f"one of {text}"
        return f"{text} ({len(self.names)} classes), or {' or '.join(map(str, void))} for void"


def _numbered(names: Sequence[str]) -> dict[Any, str]:
    """Return numbers and colors of VOC's map -> names."""
    colors = color_map()
    values: dict[Any, str] = dict(enumerate(names))
    values |= {tuple(colors[k].tolist()): name for k, name in enumerate(names[:VOID])}
    return values | {tuple(colors[VOID].tolist()): "void"}


class LabelImageDataset(DatasetReader):
    """Images with a label image each, of the same name.

    Class 0 is the first class of the table, background or not. `load_label_map` reads the labels;
    `load_mask` returns each class that occurs, but the first one, as one instance.

    Example:
        dataset = LabelImageDataset.from_path("camvid", "train", "camvid")
    """

    format_name = "labels"
    looks_for = (
        "folders NAME and NAMEannot (SegNet's CamVid), or a folder of images and a folder of label "
        f"images of the same names, with {' or '.join(CLASS_FILES)} that lists the classes"
    )
    loader = "load_label_images"
    maps_every_pixel = True

    table: LabelTable

    def load_label_images(
        self,
        dataset_dir: str | Path,
        subset: str | None = None,
        classes: str | Sequence[str] | Mapping[Any, str] | None = None,
        *,
        image_dir: str | Path | None = None,
        label_dir: str | Path | None = None,
        source: str = "labels",
    ) -> None:
        """Load a folder of images and a folder of label images.

        Found are the folders SUBSET and SUBSETannot (SegNet's CamVid), SUBSET/images and
        SUBSET/labels, images/SUBSET and labels/SUBSET, images and labels, and JPEGImages and
        SegmentationClass with the list ImageSets/Segmentation/SUBSET.txt (VOC).

        Args:
            dataset_dir: folder of the dataset.
            subset: the part to load, such as "train"; None for a dataset in one piece.
            classes: what the labels mean, see `LabelTable`; None reads `classes.txt` or
                another file in the folder, see `mrcnn.datasets.label_classes`, and takes the
                classes of CamVid and VOC where the folders are theirs.
            image_dir: folder of the images in `dataset_dir`; given, nothing is looked for.
            label_dir: folder of the label images, to be given with `image_dir`.
            source: name of the dataset.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: the folders are not found, an image has no label image or the other way
                round, or an argument breaks its rule.
        """
        root = Path(dataset_dir)
        if not root.is_dir():
            raise FileNotFoundError(f"dataset_dir is {printable(root)}; it must be a folder")
        self.table = LabelTable(choose_classes(root, classes, _layout(root)))
        if image_dir is None and label_dir is None:
            names_of_parts = self.subsets(root)
            if names_of_parts:
                subset = choose_subset(root, subset, names_of_parts)
        if (image_dir is None) != (label_dir is None):
            raise ValueError("image_dir and label_dir must be given together")
        if image_dir is not None and label_dir is not None:
            images, labels = root / image_dir, root / label_dir
            for name, folder in (("image_dir", images), ("label_dir", labels)):
                if not folder.is_dir():
                    raise FileNotFoundError(f"{name} is {printable(folder)}; it must be a folder")
        else:
            images, labels = _find_folders(root, subset)
        names = _listed_names(root, subset) if images.name == "JPEGImages" else None
        self.class_info = [
            {"source": source, "id": number, "name": name}
            for number, name in enumerate(self.table.names)
        ]
        for image, label in _pairs(images, labels, names):
            self.add_image(source, image.stem, str(image), label_path=str(label))

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Return whether a folder has images and label images, and says what the labels mean."""
        if not path.is_dir() or (_layout(path) is None and find_class_file(path) is None):
            return False
        parts: list[str] | list[None] = cls.subsets(path) or [None]
        try:
            images, labels = _find_folders(path, parts[0])
        except ValueError:
            return False
        return bool(image_files.list_images(images) and image_files.list_images(labels))

    @classmethod
    def subsets(cls, path: Path) -> list[str]:
        """Return the names of the parts: of folders, or of VOC's lists."""
        names = [folder.name for folder in visible_folders(path)]
        annotated = [name for name in names if f"{name}annot" in names]
        if annotated:
            return annotated
        images = image_files.first_folder(path, _IMAGE_FOLDERS)
        labels = image_files.first_folder(path, _LABEL_FOLDERS)
        if images is None or labels is None:
            return [name for name in names if _has_folders(path / name)]
        if images.name == "JPEGImages":
            return sorted(file.stem for file in visible_files(path / _VOC_LISTS, ".txt"))
        shared = {folder.name for folder in visible_folders(labels)}
        return [f.name for f in visible_folders(images) if f.name in shared]

    def load_labels(self, image_id: int) -> np.ndarray:
        """Return the label map of an image; see `load_label_map`.

        Raises:
            ValueError: the label image has another size than the image, or a label is of no class.
        """
        path = self.image_info[image_id]["label_path"]
        labels = self.table.read(path)
        size = self.image_size(image_id)
        if labels.shape != size:
            raise ValueError(
                f"{printable(path)} has {labels.shape[1]} x {labels.shape[0]} pixels; it must have "
                f"as many as its image, {size[1]} x {size[0]}"
            )
        return labels

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the region of each class but the first one; see `Dataset.load_mask`."""
        labels = self.load_labels(image_id)
        found = np.unique(labels)
        found = found[(found > 0) & (found != VOID)]
        return labels[..., None] == found, found.astype(np.int32)


def load_label_map(dataset: Dataset, image_id: int) -> np.ndarray:
    """Return the class of every pixel of an image.

    Args:
        dataset: any prepared dataset. Of instances `paint_instances` makes a label map; the boxes
            of those without a mask are void.
        image_id: number of the image.

    Returns:
        [H, W] uint8: class numbers, and VOID.

    Raises:
        ValueError: the dataset has too many classes, or the labels do not fit the image.
    """
    if isinstance(dataset, LabelImageDataset):
        return dataset.load_labels(image_id)
    if dataset.num_classes > MAX_CLASSES:
        raise ValueError(f"dataset has {dataset.num_classes} classes; it must have at most 255")
    if isinstance(dataset, DatasetView):
        origin, number = dataset.origins[image_id]
        table = np.full(VOID + 1, VOID, np.uint8)
        numbers = dataset._class_numbers[id(origin)]
        table[: len(numbers)] = numbers
        return table[load_label_map(origin, number)]
    masks, class_ids = dataset.load_mask(image_id)
    if not len(class_ids):
        return np.zeros(dataset.image_size(image_id), np.uint8)
    if dataset.image_has_masks(image_id) is not None:
        weights = dataset.load_label_weights(image_id)
        if weights is not None:  # which pixels of a box are the object's is not known: void
            class_ids = np.where(weights[:, 1] > 0, class_ids, -np.abs(class_ids))
    return paint_instances(masks, class_ids)


def paint_instances(masks: np.ndarray, class_ids: np.ndarray) -> np.ndarray:
    """Make a label map of instances.

    Where instances overlap, the one of fewer pixels is seen, and of two of the same number the
    later one. Crowds (negative class ids) are void where no other instance is.

    Args:
        masks: [H, W, N] bool, or 0 and 1.
        class_ids: [N] class numbers.

    Returns:
        [H, W] uint8: class numbers, 0 where there is no instance, and VOID.
    """
    masks = np.asarray(masks, bool)
    labels = np.zeros(masks.shape[:2], np.uint8)
    areas = np.count_nonzero(masks, axis=(0, 1))
    # Crowds first, then from the largest to the smallest; `lexsort` keeps the order of equals.
    for index in np.lexsort((-areas, np.asarray(class_ids) >= 0)):
        class_id = int(class_ids[index])
        labels[masks[..., index]] = VOID if class_id < 0 else class_id
    return labels


def require_masks(dataset: Dataset, image_ids: Sequence[int] | None = None) -> None:
    """Refuse images whose objects have boxes alone: their label maps show only the background.

    The annotations are looked at, not the pixels.

    Args:
        dataset: any prepared dataset.
        image_ids: its images that count; None for all.

    Raises:
        ValueError: there are objects, and none of them has a mask.
    """
    ids = dataset.image_ids if image_ids is None else image_ids
    has_boxes = False
    for image_id in ids:
        has_mask = dataset.image_has_masks(image_id)
        if has_mask is None or has_mask.any():
            return
        has_boxes = has_boxes or len(has_mask) > 0
    if has_boxes:
        raise ValueError(
            "dataset has boxes and no masks; it must have a mask of each object, or label images, "
            "for a semantic network (faster_rcnn and YOLO learn from boxes)"
        )


def find_label_problem(dataset: Dataset) -> str | None:
    """Return why nothing can be learned from the label maps of a dataset; None if something can.

    So it is where objects have boxes alone, and where void takes the place of the classes: in label
    images of 0 and 255, and a list of class names, 255 is void. Label maps are read until one has a
    class other than the first; those that cannot be read are passed over.

    Args:
        dataset: any prepared dataset.
    """
    try:
        require_masks(dataset)
    except ValueError as error:
        return str(error)
    num_void = 0
    for image_id in dataset.image_ids if dataset.num_classes > 1 else ():
        try:
            counts = np.bincount(load_label_map(dataset, image_id).ravel(), minlength=VOID + 1)
        except (OSError, ValueError):
            continue
        if counts[1:VOID].any():
            return None
        num_void += bool(counts[VOID])
    if not num_void:
        return None
    first, *others = (printable(name) for name in dataset.class_names)
    return (
        f"dataset has pixels of {first} and void alone; it must have pixels of {', '.join(others)}:"
        f" where 255 stands for a class and not for void, {CLASS_FILES[0]} must say so, as in the "
        f'lines "0 {first}" and "255 {others[0]}"'
    )


def median_frequency_weights(dataset: Dataset) -> np.ndarray:
    """Return a weight for each class that is larger the rarer it is (Eigen and Fergus 2015).

    The frequency of a class is its share of the pixels, void left out, of those images in which it
    occurs; its weight is the median frequency over its own. All label maps are read.

    Returns:
        [classes] float64; 0 for a class that does not occur.
    """
    pixels, totals = np.zeros(dataset.num_classes), np.zeros(dataset.num_classes)
    for image_id in dataset.image_ids:
        labels = load_label_map(dataset, image_id)
        counts = np.bincount(labels[labels != VOID], minlength=dataset.num_classes)
        pixels += counts
        totals += np.where(counts > 0, counts.sum(), 0)
    occurs = pixels > 0
    if not occurs.any():
        raise ValueError("dataset has no labeled pixel; it must have some")
    frequencies = pixels[occurs] / totals[occurs]
    weights = np.zeros(dataset.num_classes)
    weights[occurs] = np.median(frequencies) / frequencies
    return weights


def _layout(root: Path) -> str | None:
    """Return the dataset whose folders these are, "camvid" or "voc", or None."""
    names = {folder.name for folder in visible_folders(root)}
    if "LabeledApproved_full" in names or any(f"{name}annot" in names for name in names):
        return "camvid"
    return "voc" if {"JPEGImages", "SegmentationClass"} <= names else None


def _has_folders(folder: Path) -> bool:
    return all(
        image_files.first_folder(folder, usual) for usual in (_IMAGE_FOLDERS, _LABEL_FOLDERS)
    )


def _find_folders(root: Path, subset: str | None) -> tuple[Path, Path]:
    """Return the folders of images and labels."""
    parents = [root]
    if subset is not None:
        if (root / subset).is_dir() and (root / f"{subset}annot").is_dir():
            return root / subset, root / f"{subset}annot"
        parents.insert(0, root / subset)
    for parent in parents:
        images = image_files.first_folder(parent, _IMAGE_FOLDERS)
        labels = image_files.first_folder(parent, _LABEL_FOLDERS)
        if images is None or labels is None:
            continue
        if subset is None or parent != root or images.name == "JPEGImages":
            return images, labels
        if (images / subset).is_dir() and (labels / subset).is_dir():
            return images / subset, labels / subset
    part = "" if subset is None else f" for the part {shown(subset)}"
    raise ValueError(
        f"{printable(root)} has no folder of images and folder of label images{part}; they must be "
        "called images and labels, or be given as image_dir and label_dir"
    )


def _listed_names(root: Path, subset: str | None) -> list[str] | None:
    """Return the names in VOC's list of a part; None without a part."""
    if subset is None:
        return None
    file = root / _VOC_LISTS / f"{subset}.txt"
    if not file.is_file():
        raise FileNotFoundError(f"{printable(file)} is missing; it must list the images")
    return [line.strip() for line in read_text(file).splitlines() if line.strip()]


def _by_stem(folder: Path) -> dict[str, Path]:
    """Return the images of a folder by their names without suffix."""
    found: dict[str, Path] = {}
    for file in image_files.list_images(folder):
        other = found.setdefault(file.stem, file)
        if other is not file:
            raise ValueError(
                f"{printable(folder)} has {printable(other.name)} and {printable(file.name)}; it "
                "must have one file of a name, since images and label images are matched by name"
            )
    return found


def _pairs(images: Path, labels: Path, names: list[str] | None) -> list[tuple[Path, Path]]:
    """Return the images and their label images, by name."""
    image_of, label_of = _by_stem(images), _by_stem(labels)
    pairs, used = [], set()
    for name in image_of if names is None else names:
        label = next((name + end for end in _LABEL_ENDINGS if name + end in label_of), None)
        if name not in image_of or label is None:
            lacking = images if name not in image_of else labels
            raise ValueError(
                f"{printable(lacking)} has no file for {shown(name)}; it must have one, since each "
                "image must have a label image of its name"
            )
        if label_of[label].suffix.lower() not in _LABEL_SUFFIXES:
            raise ValueError(
                f"{printable(label_of[label])} may have lost exact values; label images must be "
                "PNG or another format without loss"
            )
        pairs.append((image_of[name], label_of[label]))
        used.add(label)
    unused = sorted(set(label_of) - used)
    if names is None and unused:
        raise ValueError(
            f"{printable(images)} has no image for the label image {printable(label_of[unused[0]])}"
            f"{f' and {len(unused) - 1} others' if len(unused) > 1 else ''}; each must have one"
        )
    if not pairs:
        raise ValueError(f"{printable(images)} has 0 images; it must have at least 1")
    return pairs
