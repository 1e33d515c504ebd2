"""Open Images: instance masks of 350 classes on a million images.

The official files are read as `mrcnn download open-images` lays them out:

    DIR/tables/     the official CSV tables, under their own names
    DIR/images/SPLIT/IMAGEID.jpg
    DIR/masks/SPLIT/IMAGEID_CLASS_BOXID.png
    DIR/classes.csv the classes that were asked for

Images are read as they are stored. About 2.6 % of them are rotated and have a `Rotation` in the
image table; boxes and masks were drawn on the stored pixels, so that image, masks and boxes fit
together without turning. `load_credits` reads the rotation for users who want to turn all three.

A mask file covers the whole image and is resized to the image's size; zero is background. Only
objects larger than 40x80 pixels that are no group, no depiction and not seen from inside have a
mask. The others have boxes at most, see `load_open_images`.

Format: https://storage.googleapis.com/openimages/web/download_v7.html; Kuznetsova et al.,
"The Open Images Dataset V4", 2020; Benenson et al., "Large-scale interactive object
segmentation with human annotators", 2019.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.datasets import image_files
from mrcnn.datasets.open_images import tables
from mrcnn.datasets.rasterize import box_mask
from mrcnn.datasets.reader import DatasetReader, choose_subset
from mrcnn.files.names import counted

SOURCE = "open_images"
# Values of `box_only` and `group_of`.
BOX_RULES = ("skip", "ignore", "fill")
# A box of the box table and the box of a mask are the same object if no edge differs by more
# than this fraction of the image: the two tables are rounded differently.
_SAME_BOX = 2e-3

logger = logging.getLogger("mrcnn.datasets")


class OpenImagesDataset(DatasetReader):
    """Open Images images and masks of some classes.

    The classes get the numbers 1, 2, ... in the order they are named in; their source is
    "open_images" and their source id the Open Images id (`/m/04_sv`).
    """

    format_name = "open_images"
    looks_for = "a folder with SPLIT-annotations-object-segmentation.csv in it or in its tables/"

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Return whether the mask table of a split is in the folder."""
        return bool(_mask_tables(path))

    @classmethod
    def subsets(cls, path: Path) -> list[str]:
        """Return the splits whose mask table is in the folder."""
        return _mask_tables(path)

    @classmethod
    def from_path(
        cls,
        path: str | os.PathLike[str],
        subset: str | Sequence[str] | None = None,
        classes: Iterable[str] | None = None,
        *,
        split: str | Sequence[str] | None = None,
        **options: Any,
    ) -> OpenImagesDataset:
        """Open the dataset, prepared.

        Args:
            path: the folder.
            subset: "train", "validation" ("val") or "test", or several of them; None where
                the folder has only one.
            classes: see `load_open_images`.
            split: Open Images' name for `subset`.
            **options: further arguments of `load_open_images`.
        """
        if split is not None and subset is not None:
            raise ValueError(
                f"split is {split!r} and subset is {subset!r}; one of them must be None"
            )
        wanted = subset if split is None else split
        names = [wanted] if wanted is None or isinstance(wanted, str) else list(wanted)
        available = _mask_tables(Path(path))
        dataset = cls()
        splits = [choose_subset(Path(path), name, available) or "train" for name in names]
        dataset.load_open_images(path, splits, classes, **options)
        dataset.prepare()
        return dataset

    def load_open_images(
        self,
        dataset_dir: str | os.PathLike[str],
        split: str | Sequence[str] = "train",
        classes: Iterable[str] | None = None,
        *,
        box_only: str = "skip",
        group_of: str = "skip",
        images_dir: str | os.PathLike[str] | None = None,
        masks_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """Add the images that are on disk and have an object of the classes.

        The tables are streamed; only the rows of images on disk are kept. An image of which a
        mask file is missing is left out with a warning: an object without its label would be
        learned as background.

        Args:
            dataset_dir: the folder; tables may lie in `tables/` or in the folder itself.
            split: "train", "validation" or "test", or several of them.
            classes: class names or ids; None for those in classes.csv, which are the ones that
                were requested when the folder was downloaded.
            box_only: what to do with single objects that have a box and no mask: "skip" them;
                "ignore" makes the box a crowd region (negative class id), which is learned
                neither as object nor as background; "fill" takes the filled box as its mask.
                All but "skip" need the box table.
            group_of: the same for boxes around a group of objects, which never have masks.
            images_dir: where the images are, instead of images/SPLIT.
            masks_dir: where the masks are, instead of masks/SPLIT.

        Raises:
            ValueError: an unknown split, class or rule, a table with a row of another form, or
                no image found.
            FileNotFoundError: a table is missing.
        """
        splits = [split] if isinstance(split, str) else list(split)
        for name in splits:
            if name not in tables.SPLITS:
                raise ValueError(f"split is {name!r}; it must be one of {', '.join(tables.SPLITS)}")
        for argument, rule in (("box_only", box_only), ("group_of", group_of)):
            if rule not in BOX_RULES:
                raise ValueError(f"{argument} is {rule!r}; it must be one of {BOX_RULES}")
        folder = tables.OpenImagesFolder(dataset_dir)
        found = _classes(folder, classes)
        for class_id, name in found.items():
            self.add_class(SOURCE, class_id, name)
        before = len(self.image_info)
        for name in splits:
            images = Path(images_dir) if images_dir else folder.images(name)
            masks = Path(masks_dir) if masks_dir else folder.masks(name)
            self._add_split(folder, name, found, images, masks, (box_only, group_of))
        if len(self.image_info) == before:
            raise ValueError(
                f"no image of {', '.join(found.values())} in {folder.root} ({', '.join(splits)}); "
                "it must be downloaded for these classes and splits"
            )

    def _add_split(
        self,
        folder: tables.OpenImagesFolder,
        split: str,
        class_ids: Collection[str],
        images_dir: Path,
        masks_dir: Path,
        rules: tuple[str, str],
    ) -> None:
        on_disk = {name[:-4] for name in _file_names(images_dir) if name.endswith(".jpg")}
        masks_there = _file_names(masks_dir)
        annotations: dict[str, list[dict[str, Any]]] = {}
        incomplete: dict[str, str] = {}
        for row in tables.iter_masks(folder.find_table(tables.MASK_TABLES[split]), class_ids):
            if row.image_id not in on_disk:
                continue
            if row.file_name not in masks_there:
                incomplete.setdefault(row.image_id, row.file_name)
            path = os.path.join(masks_dir, row.file_name)
            annotation = {"class_id": row.class_id, "mask": path, "box": row.box}
            annotations.setdefault(row.image_id, []).append(annotation)
        if rules != ("skip", "skip"):
            table = folder.find_table(tables.BOX_TABLES[split])
            for box_row, rule in _unmasked_boxes(table, class_ids, annotations, rules):
                if box_row.image_id in on_disk:
                    annotations.setdefault(box_row.image_id, []).append(
                        {
                            "class_id": box_row.class_id,
                            "box": box_row.box,
                            "iscrowd": int(rule == "ignore"),
                        }
                    )
        for image_id in sorted(annotations.keys() - incomplete.keys()):
            path = os.path.join(images_dir, f"{image_id}.jpg")
            known = annotations[image_id]
            self.add_image(SOURCE, image_id, path, split=split, annotations=known)
        if incomplete:
            logger.warning(
                "%s: %s left out, as masks are missing in %s (the first: %s); "
                "`mrcnn download open-images` fetches the missing files",
                split,
                counted(len(incomplete), "image"),
                masks_dir,
                next(iter(incomplete.values())),
            )

    def draw_instance(
        self, annotation: dict[str, Any], height: int, width: int
    ) -> np.ndarray | None:
        """Return the mask file at the image's size, or the filled box; see `DatasetReader`."""
        if "mask" in annotation:
            stored = image_files.read_indices(annotation["mask"])
            return resize_frame_mask(stored, height, width)
        y1, x1, y2, x2 = annotation["box"]
        return box_mask(x1 * width, y1 * height, x2 * width, y2 * height, height, width)

    def load_credits(self, dataset_dir: str | os.PathLike[str]) -> None:
        """Read authors and licenses into `image_info`, for the credit that CC BY requires.

        Adds "landing_url", "license", "author", "title" and "rotation" (degrees
        counter-clockwise, or None) to the entries whose image is in the image table.

        Args:
            dataset_dir: the folder.

        Raises:
            FileNotFoundError: the image table is missing.
        """
        folder = tables.OpenImagesFolder(dataset_dir)
        by_split: dict[str, dict[str, dict[str, Any]]] = {}
        for info in self.image_info:
            if info["source"] == SOURCE:
                by_split.setdefault(info["split"], {})[info["id"]] = info
        for split, infos in by_split.items():
            for row in tables.iter_images(folder.find_table(tables.IMAGE_TABLES[split]), infos):
                infos[row.image_id].update(
                    landing_url=row.landing_url,
                    license=row.license,
                    author=row.author,
                    title=row.title,
                    rotation=row.rotation,
                )

    def image_reference(self, image_id: int) -> str:
        """Return the image's web page where `load_credits` was called, else its path."""
        info = self.image_info[image_id]
        return info.get("landing_url") or super().image_reference(image_id)


def resize_frame_mask(stored: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a mask file's pixels to the image's size.

    Args:
        stored: [any height, any width] or with channels; zero is background.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Returns:
        [height, width] bool: where at least half of a pixel's neighborhood is object. A mask
        that would vanish that way keeps its nearest pixels.
    """
    mask = stored != 0
    if mask.ndim == 3:
        mask = mask.any(axis=-1)
    if mask.shape == (height, width):
        return mask
    import cv2

    shrinks = height <= mask.shape[0] and width <= mask.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(mask.astype(np.float32), (width, height), interpolation=how) >= 0.5
    if mask.any() and not resized.any():
        ys, xs = np.nonzero(mask)
        resized[ys * height // mask.shape[0], xs * width // mask.shape[1]] = True
    return resized


def _classes(folder: tables.OpenImagesFolder, wanted: Iterable[str] | None) -> dict[str, str]:
    """Return the classes to load, {id: name}."""
    if wanted is not None:
        table = folder.find_table(tables.CLASS_TABLE, tables.CLASS_TABLE_V5)
        return tables.resolve_classes(wanted, tables.read_class_table(table))
    if not folder.classes.is_file():
        raise ValueError(
            f"classes is None; it must name the classes, as there is no {folder.classes}"
        )
    return tables.read_class_table(folder.classes)


def _file_names(folder: Path) -> set[str]:
    """Return the names of the nonempty files in a folder; none where there is no folder."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_file() and entry.stat().st_size}


def _unmasked_boxes(
    table: Path,
    class_ids: Collection[str],
    annotations: dict[str, list[dict[str, Any]]],
    rules: tuple[str, str],
) -> Iterator[tuple[tables.BoxRow, str]]:
    """Yield each box without a mask, and its rule; `rules` are for single objects and groups."""
    for row in tables.iter_boxes(table, class_ids):
        rule = rules[1] if row.is_group_of else rules[0]
        if rule == "skip":
            continue
        has_mask = any(
            "mask" in known and known["class_id"] == row.class_id and _alike(known["box"], row.box)
            for known in annotations.get(row.image_id, ())
        )
        if not has_mask:
            yield row, rule


def _alike(box: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(abs(a - b) <= _SAME_BOX for a, b in zip(box, other, strict=True))


def _mask_tables(path: Path) -> list[str]:
    """Return the splits whose mask table is in the folder."""
    folder = tables.OpenImagesFolder(path)
    found = []
    for split, address in tables.MASK_TABLES.items():
        try:
            folder.find_table(address)
            found.append(split)
        except FileNotFoundError:
            continue
    return found
