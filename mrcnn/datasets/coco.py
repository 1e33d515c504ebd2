"""COCO: one JSON file with images, categories and annotations, and a folder of images.

Reads COCO itself in its own layout, and what labeling tools export as "COCO JSON".

COCO: Lin et al., "Microsoft COCO: Common Objects in Context", https://arxiv.org/abs/1405.0312
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.datasets import coco_download
from mrcnn.datasets.coco_file import (
    ClassRow,
    CocoFile,
    annotation_files,
    common_classes,
    id_order,
    image_folders,
    is_plain,
    normalize_annotation,
    part_classes,
)
from mrcnn.datasets.entries import AnnotationError, Entry, marks_no_object
from mrcnn.datasets.layout import ImageFinder, dataset_root
from mrcnn.datasets.rasterize import box_mask
from mrcnn.datasets.reader import (
    DatasetReader,
    choose_subset,
    class_table,
    recorded_size,
)
from mrcnn.geometry.rle import (
    decode_rle,
    polygons_to_mask,
    read_counts,
    read_polygons,
    read_size,
    segmentation_to_rle,
)

DEFAULT_DATASET_YEAR = "2017"
_MINIVAL_SUBSETS = ("minival", "valminusminival")


class CocoDataset(DatasetReader):
    """COCO's instances, and files of the same form.

    Masks are polygons, compressed and uncompressed run lengths, drawn as pycocotools does. An
    annotation without a segmentation gets its box as mask. Crowds have negative class ids. A
    "score", as in results of a model that serve as annotations, is the weight of the label in
    training with `Config.PARTIAL_LABELS`.

    All parts of one dataset ("train", "val") have the same classes in the same order: categories
    are brought together by name, equal names are one class, and a category 0 without instances,
    as some tools add it, is left out.
    """

    format_name = "coco"
    looks_for = (
        "annotations/instances_*.json, annotations.json or _annotations.coco.json with "
        '"images", "annotations" and "categories"'
    )

    def load_coco(
        self,
        dataset_dir: str | Path,
        subset: str,
        year: str | int = DEFAULT_DATASET_YEAR,
        class_ids: Sequence[int] | None = None,
        class_map: Mapping[str, str] | None = None,
        return_coco: bool = False,
        auto_download: bool = False,
    ) -> Any:
        """Load a part of COCO in its own layout, as Matterport's sample does.

        Args:
            dataset_dir: folder with annotations/instances_{subset}{year}.json and the images
                in {subset}{year}/.
            subset: "train", "val", or the 2014 parts "minival" (the 5,000 images on which the
                first papers report) and "valminusminival" (the rest of val).
            year: "2014" or "2017".
            class_ids: COCO category ids to load, with the images that have one of them; None
                loads all categories and all images, also those without an instance.
            class_map: see `Dataset.prepare`.
            return_coco: also build pycocotools' COCO object.
            auto_download: fetch and unpack missing files (about 19 GB for train 2017).

        Returns:
            The `pycocotools.coco.COCO` object if `return_coco`, else None.

        Raises:
            FileNotFoundError: the annotations are not there.
            ValueError: the file is not COCO's, or a class id is not in it.
        """
        root = Path(dataset_dir)
        year = str(year)
        if auto_download:
            self.auto_download(root, subset, year)
        image_subset = "val" if subset in _MINIVAL_SUBSETS else subset
        return self.load_annotations(
            root / "annotations" / f"instances_{subset}{year}.json",
            root / f"{image_subset}{year}",
            class_ids=class_ids,
            class_map=class_map,
            return_coco=return_coco,
        )

    def load_annotations(
        self,
        annotation_file: str | Path,
        image_dir: str | Path,
        class_ids: Sequence[int] | None = None,
        class_map: Mapping[str, str] | None = None,
        return_coco: bool = False,
        source: str = "coco",
    ) -> Any:
        """Load any COCO-style JSON file with the images in `image_dir`.

        Args:
            annotation_file: the JSON file.
            image_dir: folder that the "file_name" entries are relative to.
            class_ids: as for `load_coco`.
            class_map: as for `load_coco`.
            return_coco: as for `load_coco`.
            source: name of the dataset.

        Returns:
            As `load_coco`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not COCO's, or a class id is not in it.
        """
        content = CocoFile(Path(annotation_file))
        rows = _listed_classes(content, class_ids)
        self._add_classes(rows, class_map, source)
        finder = ImageFinder(Path(image_dir))
        self._add_images(content, rows, bool(class_ids), finder, source)
        return _coco_object(content.data) if return_coco else None

    def _add_classes(
        self, rows: Iterable[ClassRow], class_map: Mapping[str, str] | None, source: str
    ) -> None:
        """Add classes; those of equal names become one."""
        same_names = {}
        first_ids: dict[str, Hashable] = {}
        for class_id, name in rows:
            self.add_class(source, class_id, name)
            first = first_ids.setdefault(name, class_id)
            if first != class_id:
                same_names[f"{source}.{class_id}"] = f"{source}.{first}"
        if class_map is not None or same_names:
            self.class_map = {**(self.class_map or {}), **same_names, **(class_map or {})}

    def _add_images(
        self,
        content: CocoFile,
        rows: Sequence[ClassRow],
        only_with_objects: bool,
        finder: ImageFinder,
        source: str,
    ) -> None:
        """Add the images of a file with their annotations of the wanted classes."""
        images: dict[int, tuple[int | str, str, int | None, int | None]] = {}
        names: dict[int | str, str] = {}
        repeated = []
        for position, data in enumerate(content.data["images"]):
            with self.tolerate(content.path):
                entry = Entry(data, content.place("image", data, position))
                image_id, name = entry.identifier("id"), entry.file_name("file_name")
                size = recorded_size(entry)
                if image_id not in names:
                    names[image_id] = name
                    images[position] = (image_id, name, *size)
                elif names[image_id] == name:
                    repeated.append(entry.where)
                else:
                    raise entry.error("id", f"an id that no other image has, as {names[image_id]}")
        self.leave_out("they are listed before", repeated, noun="images")
        annotations = self._annotations_by_image(
            content, {image[0] for image in images.values()}, {class_id for class_id, _ in rows}
        )
        paths = finder.locate_all([name for _, name, _, _ in images.values()])
        for (image_id, _, height, width), path in zip(images.values(), paths, strict=True):
            found = annotations.get(image_id, [])
            if found or not only_with_objects:
                self.add_image(
                    source,
                    image_id=image_id,
                    path=str(path),
                    width=width,
                    height=height,
                    annotations=found,
                    annotation_file=str(content.path),
                )

    def _annotations_by_image(
        self, content: CocoFile, image_ids: set[int | str], wanted: set[int | str]
    ) -> dict[int | str, list[dict[str, Any]]]:
        """Map each image id to its annotations of the wanted categories, "class_id" added."""
        categories = {class_id for class_id, _ in content.categories}
        by_image = defaultdict(list)
        strays, short, ignored = [], [], []
        no_objects = {class_id for class_id, name in content.categories if marks_no_object(name)}
        for position, annotation in enumerate(content.data["annotations"]):
            if not is_plain(annotation):
                place = content.place("annotation", annotation, position)
                plain = None
                with self.tolerate(content.path):
                    plain = normalize_annotation(annotation, place)
                if plain is None:
                    continue
                annotation = plain
                if _has_short_polygons(annotation["segmentation"]):
                    short.append(place)
                    continue
            category = annotation["category_id"]
            if annotation["image_id"] not in image_ids or category not in categories:
                strays.append(content.place("annotation", annotation, position))
            elif category in no_objects and category not in wanted:
                ignored.append(content.place("annotation", annotation, position))
            elif category in wanted:
                annotation["class_id"] = category
                by_image[annotation["image_id"]].append(annotation)
        self.leave_out("their image or category is not in the file", strays)
        self.leave_out("their category marks no object", ignored, "note")
        self.leave_out("their polygons have fewer than three points", short)
        return by_image

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Return whether `path` is, or holds, a COCO-style JSON file."""
        return bool(annotation_files(path))

    @classmethod
    def subsets(cls, path: Path) -> list[str]:
        """Return the names of the parts: "train2017", ... or of the folders with a file each."""
        return sorted(name for name in annotation_files(path) if name is not None)

    @classmethod
    def from_path(
        cls,
        path: str | Path,
        subset: str | None = None,
        classes: Sequence[str] | None = None,
        *,
        image_dir: str | Path | None = None,
        keep_going: bool = False,
        **options: Any,
    ) -> CocoDataset:
        """Open a COCO-style dataset, prepared.

        Args:
            path: the JSON file, or a folder with it: annotations/instances_{subset}*.json,
                {subset}/_annotations.coco.json, annotations.json and the like.
            subset: "train", "val", ...
            classes: names of the categories to load, with the images that have one of them; None
                loads all. Names that no part has become classes without instances.
            image_dir: the folder of the images; None looks for them.
            keep_going: see `DatasetReader.from_path`.
            **options: class_ids, class_map and source as for `load_annotations`.

        Raises:
            FileNotFoundError: there is nothing at `path`.
            ValueError: the file is not COCO's, or a class or part is not in it.
        """
        dataset = cls()
        dataset.keep_going = keep_going
        with dataset.tolerate(path):
            dataset._load_path(Path(path), subset, classes, image_dir, **options)
        dataset.prepare()
        return dataset

    def _load_path(
        self,
        path: Path,
        subset: str | None,
        classes: Sequence[str] | None,
        image_dir: str | Path | None,
        class_ids: Sequence[int] | None = None,
        class_map: Mapping[str, str] | None = None,
        source: str = "coco",
    ) -> None:
        """Load one part of a dataset; arguments as for `from_path` and `load_annotations`."""
        if not path.exists():
            raise FileNotFoundError(f"path is '{path}'; there is no such file or folder")
        files: dict[str | None, Path] = {None: path} if path.is_file() else annotation_files(path)
        if not files:
            raise ValueError(f"{path}: looked for {self.looks_for}")
        names = [name for name in files if name is not None]
        chosen = choose_subset(path, subset, sorted(names)) if names or subset else None
        content = CocoFile(files[chosen], is_part=len(files) > 1)
        others = []
        for file in (file for name, file in files.items() if name != chosen):
            with self.tolerate(file):
                others.append(CocoFile.table_only(file))
        table = common_classes([content, *others])
        wanted = list(table) if classes is None else list(class_table(table, classes, path))
        if class_ids:
            rows, only_with_objects = _listed_classes(content, class_ids), True
        else:
            rows = part_classes(content, table, wanted)
            only_with_objects = not set(table).issubset(wanted)
        self._add_classes(rows, class_map, source)
        finder = _image_finder(content.path, path, image_dir)
        self._add_images(content, rows, only_with_objects, finder, source)

    def auto_download(self, dataDir: str | Path, dataType: str, dataYear: str | int) -> None:
        """Fetch a part of COCO; Matterport's name for `coco_download.download_coco`."""
        coco_download.download_coco(dataDir, dataType, dataYear)

    def draw_instance(
        self, annotation: dict[str, Any], height: int, width: int
    ) -> np.ndarray | None:
        """See `DatasetReader.draw_instance`."""
        return self.annToMask(annotation, height, width)

    def has_mask(self, annotation: dict[str, Any]) -> bool:
        """Return whether there is a segmentation; see `DatasetReader.has_mask`."""
        return bool(annotation.get("segmentation"))

    def annToRLE(self, ann: dict[str, Any], height: int, width: int) -> dict[str, Any] | None:
        """Return the annotation's segmentation as compressed run lengths, None without one.

        Args:
            ann: an annotation as in a COCO file.
            height: height of the image in pixels.
            width: width of the image in pixels.

        Raises:
            AnnotationError: the segmentation is broken, or of another size than the image.
        """
        segmentation = ann.get("segmentation")
        if not segmentation:
            return None
        with _naming(ann):
            if isinstance(segmentation, list):
                polygons = [p for p in read_polygons(segmentation) if len(p) >= 3]
                segmentation = [polygon.ravel().tolist() for polygon in polygons]
            return segmentation_to_rle(segmentation, height, width) if segmentation else None

    def annToMask(self, ann: dict[str, Any], height: int, width: int) -> np.ndarray | None:
        """Return the annotation's mask, [height, width] bool; None when it has no area.

        Without a segmentation it is the box; run lengths recorded for another size than the
        image's cover the whole image when they mark a crowd, as in Matterport's sample.

        Args:
            ann: an annotation as in a COCO file.
            height: height of the image in pixels.
            width: width of the image in pixels.

        Raises:
            AnnotationError: a value is broken, or a single object's run lengths have another size
                than the image.
        """
        entry = Entry(ann, _place(ann))
        segmentation = ann.get("segmentation") or []
        if isinstance(segmentation, list):
            with _naming(ann):
                polygons = read_polygons(segmentation)
                if polygons:
                    polygons = [polygon for polygon in polygons if len(polygon) >= 3]
                    return polygons_to_mask(polygons, height, width)
            x, y, box_width, box_height = entry.numbers("bbox", count=4)
            return box_mask(x, y, x + box_width, y + box_height, height, width)
        if not isinstance(segmentation, dict):
            raise entry.error("segmentation", "a list of polygons or run lengths")
        with _naming(ann):
            other_size = read_size(segmentation) != (height, width)
            if other_size and entry.flag("iscrowd", default=False):
                read_counts(segmentation)  # they must at least add up to their own size
                return np.ones((height, width), bool)
            return decode_rle(segmentation_to_rle(segmentation, height, width))

    def image_reference(self, image_id: int) -> str:
        """Return COCO's page of the image; the path when its name is not a COCO id."""
        info = self.image_info[image_id]
        if info["source"] == "coco" and Path(info["path"]).stem.lstrip("0") == str(info["id"]):
            return f"https://cocodataset.org/#explore?id={info['id']}"
        return super().image_reference(image_id)


def _place(annotation: Mapping[str, Any]) -> str:
    return f"annotation {annotation.get('id')}"


@contextmanager
def _naming(annotation: Mapping[str, Any]) -> Iterator[None]:
    """Put the annotation in front of what is wrong with its segmentation."""
    try:
        yield
    except AnnotationError:
        raise
    except ValueError as error:
        raise AnnotationError(f"{_place(annotation)}: {error}") from error


def _listed_classes(content: CocoFile, class_ids: Sequence[int] | None) -> list[ClassRow]:
    """Return the classes of a file by their ids; all of them, in the order of the ids, for None."""
    names = dict(content.categories)
    wanted = list(class_ids) if class_ids else sorted(names, key=id_order)
    for class_id in wanted:
        if class_id not in names:
            raise ValueError(f"class_ids holds {class_id}: {content.path} has {list(names)}")
    return [(class_id, names[class_id]) for class_id in wanted]


def _image_finder(file: Path, path: Path, image_dir: str | Path | None) -> ImageFinder:
    """Return the search for the images of an annotation file; `path` is what was opened."""
    root = dataset_root(file) if path.is_file() else path
    parts = annotation_files(root)
    others = [name for name, other in parts.items() if name is not None and other != file]
    if image_dir is not None:
        return ImageFinder(Path(image_dir))
    if file.parent.name in others:
        others.remove(file.parent.name)
    return ImageFinder(root, image_folders(file, root), others)


def _has_short_polygons(segmentation: Any) -> bool:
    """Return whether there are polygons, none of which has three points."""
    return (
        isinstance(segmentation, list)
        and len(segmentation) > 0
        and all(
            isinstance(polygon, list)
            and len(polygon) < 6
            and all(isinstance(number, float) for number in polygon)
            for polygon in segmentation
        )
    )


def _coco_object(content: dict[str, Any]) -> Any:
    """Return pycocotools' COCO object of the parsed file."""
    import contextlib
    import io

    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        coco.createIndex()
    return coco
