"""Nuclei: the 2018 Data Science Bowl, a folder for each image, a mask file for each nucleus.

Caicedo et al., "Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl",
Nature Methods 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.datasets import image_files
from mrcnn.datasets.layout import visible_files, visible_folders
from mrcnn.datasets.mask_png import read_foreground
from mrcnn.datasets.reader import DatasetReader, choose_subset

STAGES = ("stage1_train", "stage1_test", "stage2_test")
SUBSETS = ("train", "val", *STAGES)
# The competition has no validation set. Matterport's sample holds out these 25 images of
# stage1_train, here by the first eight digits of their ids, so that results can be compared.
VAL_IDS = frozenset(
    """
    0c2550a2 0ea22171 1b44d226 1e488c42 3ab9cab6 4193474b 60cb7187 8e507d58 8ecdb935
    92f31f59 947c0d94 97126a97 9ebcfaf2 a4c44fc5 bb61fc17 c901794d cab48752 cbca32da
    da5f98f2 e1bcb583 e81c758e ebc18868 f29fd9c5 f4c4db3d f73e3795
    """.split()
)


class NucleusDataset(DatasetReader):
    """Images ID/images/ID.png with a mask ID/masks/*.png for each nucleus."""

    format_name = "nucleus"
    looks_for = f"{', '.join(STAGES)}, or folders ID/images/ID.png with ID/masks/"

    def load_nucleus(
        self, dataset_dir: str | Path, subset: str, class_name: str = "nucleus"
    ) -> None:
        """Load a part of the dataset; the arguments are those of Matterport's sample.

        Args:
            dataset_dir: folder with stage1_train/ and the like.
            subset: "stage1_train", "stage1_test" or "stage2_test"; "val": the 25 images of
                stage1_train that are held out, as far as they are there; "train": its others.
            class_name: name of the class.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: the subset is another one, or has no image.
        """
        if subset not in SUBSETS:
            raise ValueError(f"subset is {subset!r}; it must be one of {', '.join(SUBSETS)}")
        folder = Path(dataset_dir) / ("stage1_train" if subset in ("train", "val") else subset)
        self.load_folder(folder, subset, class_name)

    def load_folder(
        self, folder: str | Path, subset: str | None = None, class_name: str = "nucleus"
    ) -> None:
        """Load a folder of image folders; "train" and "val" as in `load_nucleus`."""
        folder = Path(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder")
        names = [p.name for p in visible_folders(folder) if (p / "images").is_dir()]
        if subset in ("train", "val"):
            names = [n for n in names if (n[:8] in VAL_IDS) == (subset == "val")]
        if not names:
            hint = "; use split() to hold out others" if subset == "val" else ""
            raise ValueError(f"subset is {subset!r}: {folder} has no folder ID/images/ of it{hint}")
        self.add_class("nucleus", 1, class_name)
        for name in names:
            self.add_image("nucleus", name, str(_image(folder / name)))

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Return whether a folder holds the stages, or image folders."""
        return path.is_dir() and (bool(_stages(path)) or _holds_images(path))

    @classmethod
    def subsets(cls, path: Path) -> list[str]:
        """Return "train", "val" and the stages that are there."""
        stages = _stages(path)
        if "stage1_train" not in stages:
            return stages
        held_out = any(p.name[:8] in VAL_IDS for p in visible_folders(path / "stage1_train"))
        return ["train", *(["val"] if held_out else []), *stages]

    @classmethod
    def from_path(
        cls,
        path: str | Path,
        subset: str | None = None,
        classes: Sequence[str] | None = None,
        **options: Any,
    ) -> NucleusDataset:
        """Open the dataset, prepared.

        Args:
            path: folder of the stages, or of one stage.
            subset: as for `load_nucleus`; None takes the only stage there is.
            classes: the name of the one class; None is "nucleus".
            **options: further arguments of `load_folder`.
        """
        path = Path(path)
        if classes is not None:
            names = [classes] if isinstance(classes, str) else list(classes)
            if len(names) != 1:
                raise ValueError(
                    f"classes is {names}; it must be the name of the one class, or None"
                )
            options["class_name"] = names[0]
        dataset = cls()
        stages = _stages(path)
        if stages and subset in ("train", "val"):
            dataset.load_nucleus(path, subset, **options)
        elif stages:
            stage = choose_subset(path, subset, stages) or stages[0]
            dataset.load_folder(path / stage, **options)
        else:
            dataset.load_folder(path, subset, **options)
        dataset.prepare()
        return dataset

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Read the instance masks; see `DatasetReader.load_mask`."""
        info = self.image_info[image_id]
        if info["source"] != "nucleus":
            return super().load_mask(image_id)
        height, width = self.image_size(image_id)
        paths = _mask_files(info["path"])
        masks = [read_foreground(path) for path in paths]
        for path, mask in zip(paths, masks, strict=True):
            if mask.shape != (height, width):
                raise ValueError(
                    f"{path}: the mask has {mask.shape[1]}x{mask.shape[0]} pixels; it must have "
                    f"those of the image, {width}x{height}"
                )
        return self._stack_nonempty(image_id, masks, self.image_class_ids(image_id), height, width)

    def image_class_ids(self, image_id: int) -> np.ndarray:
        """Return a number for each mask file; see `Dataset.image_class_ids`."""
        info = self.image_info[image_id]
        if info["source"] != "nucleus":
            return super().image_class_ids(image_id)
        class_id = self.map_source_class_id("nucleus.1")
        return np.full(len(_mask_files(info["path"])), class_id, np.int32)

    def image_reference(self, image_id: int) -> str:
        """Return the id of the image."""
        info = self.image_info[image_id]
        return info["id"] if info["source"] == "nucleus" else super().image_reference(image_id)


def _mask_files(image: str) -> list[Path]:
    """Return the mask files of an image; none in the test stages."""
    folder = Path(image).parent.parent / "masks"
    return image_files.list_images(folder) if folder.is_dir() else []


def _image(folder: Path) -> Path:
    """Return ID/images/ID.png, or the first image in that folder."""
    usual = folder / "images" / f"{folder.name}.png"
    if usual.is_file():
        return usual
    return next(iter(image_files.list_images(folder / "images")), usual)


def _stages(path: Path) -> list[str]:
    return [name for name in STAGES if _holds_images(path / name)]


def _holds_images(path: Path) -> bool:
    """Return whether the folder has folders ID with images/ and, unless for tests, masks/."""
    test = path.name in STAGES
    return any(
        (test or (folder / "masks").is_dir())
        and any(file.stem == folder.name for file in visible_files(folder / "images"))
        for folder in visible_folders(path)
    )
