"""CVAT's "Segmentation mask 1.1": class and instance masks in VOC's folders, without XML files.

CVAT writes SegmentationClass/NAME.png and SegmentationObject/NAME.png with the colors of
labelmap.txt, whose lines are `label:red,green,blue:parts:actions`. VOC itself lays its masks out
in the same way, with the 20 classes of its own color map.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mrcnn.datasets import image_files
from mrcnn.datasets.entries import AnnotationError, as_name
from mrcnn.datasets.layout import visible_files
from mrcnn.datasets.reader import DatasetReader, choose_subset, class_table
from mrcnn.datasets.voc import IMAGE_FOLDERS, list_files, listed, read_list
from mrcnn.datasets.voc_colors import color_map, packed_colors
from mrcnn.datasets.yolo import read_text
from mrcnn.files.names import printable, shown

LABEL_MAP = "labelmap.txt"
CLASS_FOLDER = "SegmentationClass"
OBJECT_FOLDER = "SegmentationObject"
VOC_CLASSES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor"
).split()
_MAX_INSTANCES = 10_000
_BACKGROUND = "background"
_BLACK = 0
# The outline between objects in VOC's masks, number 255 of its color map.
_VOID = int(packed_colors(color_map()[255]))


class CvatMaskDataset(DatasetReader):
    """Images with a mask of the classes and a mask of the instances.

    Each color of the instance mask besides black is one instance; its class is the one that most
    of its pixels have in the class mask.
    """

    format_name = "cvat"
    looks_for = f"{CLASS_FOLDER}/ and {OBJECT_FOLDER}/ with masks, and {LABEL_MAP} if not VOC's own"
    loader = "load_cvat_masks"

    def load_cvat_masks(
        self,
        dataset_dir: str | Path,
        subset: str | None = None,
        classes: Sequence[str] | None = None,
        source: str = "cvat",
    ) -> None:
        """Load an export "Segmentation mask 1.1".

        Args:
            dataset_dir: folder with SegmentationClass/, SegmentationObject/ and the images.
            subset: a list in ImageSets/Segmentation; None takes all images with masks.
            classes: names of the classes to load, in the order of their ids; None takes all of
                the label map in its order.
            source: name of the dataset.

        Raises:
            FileNotFoundError: there is no such folder.
            AnnotationError: the label map is not understood.
            ValueError: there are no masks, or the subset or a class does not exist.
        """
        root = Path(dataset_dir)
        if not root.is_dir():
            raise FileNotFoundError(f"dataset_dir is '{root}': no such folder")
        class_masks, object_masks = (_files_by_stem(root, n) for n in (CLASS_FOLDER, OBJECT_FOLDER))
        if not class_masks or not object_masks:
            raise ValueError(f"{root}: looked for {self.looks_for}")
        colors = read_label_map(root)
        names = list(dict.fromkeys(colors.values()))
        if classes is None:
            table = {name: number for number, name in enumerate(names, start=1)}
        else:
            table = class_table(names, classes, root)
        for name, number in table.items():
            self.add_class(source, number, name)
        lacking: list[str] = []
        for stem, image in _images(root, subset, {**object_masks, **class_masks}).items():
            if stem in object_masks and stem not in class_masks:
                raise ValueError(f"{root}: {CLASS_FOLDER} has no mask {stem}, {OBJECT_FOLDER} has")
            if stem in class_masks and stem not in object_masks:
                lacking.append(stem)
            masks = (
                {"masks": (str(class_masks[stem]), str(object_masks[stem]))}
                if stem in object_masks
                else {}
            )
            self.add_image(
                source,
                stem,
                str(image),
                colors={color: table[n] for color, n in colors.items() if n in table},
                known_colors=set(colors),
                **masks,
            )
        self.leave_out(f"{OBJECT_FOLDER} has no mask of theirs", lacking, noun="class masks")

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Return whether a folder holds both kinds of masks."""
        return path.is_dir() and bool(
            _files_by_stem(path, CLASS_FOLDER) and _files_by_stem(path, OBJECT_FOLDER)
        )

    @classmethod
    def subsets(cls, path: Path) -> list[str]:
        """Return the lists in ImageSets."""
        return sorted(list_files(path)) if path.is_dir() else []

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Read the instance masks; see `DatasetReader.load_mask`.

        Raises:
            ValueError: a mask cannot be read, has another size, or a color without a class.
        """
        info = self.image_info[image_id]
        if "colors" not in info:
            return super().load_mask(image_id)
        height, width = self.image_size(image_id)
        masks, class_ids = [], []
        for mask, class_id in self._instances(image_id):
            if mask.shape != (height, width):
                raise ValueError(
                    f"{info['masks'][1]}: the mask has {mask.shape[1]}x{mask.shape[0]} pixels; it "
                    f"must have those of the image, {width}x{height}"
                )
            masks.append(mask)
            class_ids.append(class_id)
        return self._stack_nonempty(image_id, masks, np.array(class_ids, np.int32), height, width)

    def image_class_ids(self, image_id: int) -> np.ndarray:
        """Return `Dataset.image_class_ids`; the masks are read for it."""
        if "colors" not in self.image_info[image_id]:
            return super().image_class_ids(image_id)
        return np.array([number for _, number in self._instances(image_id)], np.int32)

    def _instances(self, image_id: int) -> list[tuple[np.ndarray, int]]:
        """Return mask and class number of each instance, by rising color."""
        info = self.image_info[image_id]
        if "masks" not in info:
            return []
        class_path, object_path = info["masks"]
        classes, objects = _read_colors(class_path), _read_colors(object_path)
        if classes.shape != objects.shape:
            raise ValueError(
                f"{object_path}: the mask has {objects.shape[1]}x{objects.shape[0]} pixels; it "
                f"must have those of {class_path}, {classes.shape[1]}x{classes.shape[0]}"
            )
        colors = np.unique(objects)
        if len(colors) > _MAX_INSTANCES:
            raise ValueError(
                f"{object_path}: it has {len(colors)} colors; it must have at most {_MAX_INSTANCES}"
            )
        found = []
        for color in colors:
            if color in (_BLACK, _VOID):
                continue
            mask = objects == color
            values, counts = np.unique(classes[mask], return_counts=True)
            class_color = int(values[counts.argmax()])
            if class_color in (_BLACK, _VOID):
                continue
            if class_color not in info["known_colors"]:
                rgb = [class_color >> shift & 255 for shift in (16, 8, 0)]
                raise ValueError(
                    f"{class_path}: a color is {rgb}; it must be one of those in {LABEL_MAP}"
                )
            if class_color in info["colors"]:
                class_id = info["colors"][class_color]
                found.append((mask, self.map_source_class_id(f"{info['source']}.{class_id}")))
        return found


def read_label_map(root: Path) -> dict[int, str]:
    """Return color -> class name of labelmap.txt, or of VOC itself where there is no such file.

    Args:
        root: the folder of the dataset.

    Returns:
        Names by red * 65536 + green * 256 + blue, without the background.

    Raises:
        AnnotationError: a line is not `label:red,green,blue:...`, or a color has two names.
    """
    file = next((f for f in visible_files(root, ".txt") if f.name.lower() == LABEL_MAP), None)
    if file is None:
        return dict(zip(packed_colors(color_map()[1:21]).tolist(), VOC_CLASSES, strict=True))
    found: dict[int, str] = {}
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = f"{printable(file)} line {number}"
        fields = line.rsplit(":", 3)
        parts = fields[1].split(",") if len(fields) == 4 else []
        if not (len(parts) == 3 and all(p.strip().isdecimal() and int(p) < 256 for p in parts)):
            raise AnnotationError(
                f"{where}: it is {shown(line)}; it must be label:red,green,blue:parts:actions"
            )
        red, green, blue = map(int, parts)
        color, name = red << 16 | green << 8 | blue, as_name(fields[0], where, "label")
        if name.lower() == _BACKGROUND or color == _BLACK:
            continue
        if found.setdefault(color, name) != name:
            raise AnnotationError(
                f"{where}: the color {fields[1]} is that of {shown(name)}; it must not be that of "
                f"{shown(found[color])} too"
            )
    return found


def _read_colors(path: str) -> np.ndarray:
    """[height, width] numbers of the colors of a mask; palettes are applied."""
    pixels = image_files.read_pixels(path)
    if pixels.ndim == 2:  # numbers, as VOC's palettes count them
        return packed_colors(color_map())[np.minimum(pixels, 255)]
    return packed_colors(pixels)


def _files_by_stem(root: Path, name: str) -> dict[str, Path]:
    folder = image_files.first_folder(root, [name])
    files = image_files.list_images(folder) if folder is not None else []
    return {file.stem: file for file in files}


def _images(root: Path, subset: str | None, masks: dict[str, Path]) -> dict[str, Path]:
    """Return the images of the part by name, without ending."""
    images: dict[str, Path] = {}
    for name in IMAGE_FOLDERS:
        folder = image_files.first_folder(root, [name])
        for file in image_files.list_images(folder) if folder is not None else []:
            images.setdefault(file.stem, file)
    lists = list_files(root)
    if subset is None:
        stems = sorted(masks)
    else:
        chosen = choose_subset(root, subset, sorted(lists))
        file = lists[chosen] if chosen is not None else root
        stems = listed(read_list(file), images, file, "image")
    return {stem: images.get(stem, root / "JPEGImages" / f"{stem}.jpg") for stem in stems}
