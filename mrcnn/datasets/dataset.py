"""`Dataset`: images and instance masks under one numbering of images and classes.

The base class of every reader in this package and of the datasets that users write. It has
Matterport's names and behavior; `check`, `summary`, `subset`, `split` and `merge` are additions.
No image is decoded before `load_image`.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.datasets import image_files

if TYPE_CHECKING:
    from mrcnn.datasets.report import DatasetReport
    from mrcnn.datasets.summary import DatasetSummary
    from mrcnn.datasets.views import DatasetView

logger = logging.getLogger("mrcnn.datasets")

BACKGROUND = {"source": "", "id": 0, "name": "BG"}


class Dataset:
    """Images, classes and instance masks of one or several sources.

    A source is a short name such as "coco"; image ids and class ids are unique inside their
    source. After `prepare()` images are numbered 0..num_images-1 and classes 0..num_classes-1,
    where class 0 is the background.

    Subclass it: call `add_class` and `add_image` in a `load_...` method, and override
    `load_mask` (and `load_image` where images are not files).

    Attributes:
        image_info: list of dicts with "id", "source", "path" and what `add_image` was given.
        class_info: list of dicts with "source", "id", "name"; entry 0 is the background.
        source_class_ids: source -> class numbers it can label, background included.
        proposals: for networks without RPN, the boxes [N, (y1, x1, y2, x2)] of each image that may
            hold objects, in pixels, by "source.id": see `mrcnn.datasets.read_proposals` and
            `mrcnn.family.find_proposals`. None where there are none.
        exif_orientation: whether `load_image` turns images upright as their EXIF tag says.
            False, as in Matterport: pixels come as stored, and so must the masks. Set it on the
            class or the object when the labeling tool showed the images turned.

    Example:
        >>> dataset = Dataset()
        >>> dataset.add_class("toy", 1, "cat, kitten")
        >>> dataset.add_image("toy", image_id="a", path="a.png")
        >>> dataset.prepare()
        >>> dataset.class_names, dataset.image_ids.tolist()
        (['BG', 'cat'], [0])
    """

    proposals: Mapping[str, Any] | None = None
    exif_orientation: bool = False
    # Whether `class_names` hold the part before the first comma, as in Matterport's package.
    cut_names: bool = True

    # Set by `prepare`.
    num_classes: int
    class_ids: np.ndarray
    class_names: list[str]
    num_images: int
    class_from_source_map: dict[str, int]
    image_from_source_map: dict[str, int]
    sources: list[str]

    def __init__(self, class_map: Mapping[str, str] | None = None):
        """Start with the background class and no image.

        Args:
            class_map: classes that are the same thing under two names, see `prepare`. Anything
                but a mapping is ignored with a warning: Matterport's package ignored this
                argument, and scripts pass other things, `super().__init__(self)` for instance.
        """
        if class_map is not None and not isinstance(class_map, Mapping):
            warnings.warn(
                f"class_map is a value of the type {type(class_map).__name__}; it must map "
                "'source.id' to 'source.id', or be None, and is ignored",
                stacklevel=2,
            )
            class_map = None
        self._image_ids: Any = []
        self.image_info: list[dict[str, Any]] = []
        self.class_info: list[dict[str, Any]] = [dict(BACKGROUND)]
        self.source_class_ids: dict[str, list[int]] = {}
        # Classes that `prepare(class_map)` joined to another: key -> key, and their entries.
        self._class_aliases: dict[str, str] = {}
        self._joined_classes: dict[str, dict[str, Any]] = {}
        self.class_map = class_map

    # Building

    def add_class(self, source: str, class_id: Hashable, class_name: str) -> None:
        """Add a class; adding the same source and id again changes nothing.

        Args:
            source: name of the dataset that defines the class, without a dot.
            class_id: its id there.
            class_name: its name.

        Raises:
            ValueError: the source name holds a dot, which separates source and id in the keys
                of `class_from_source_map`.
        """
        if "." in source:
            raise ValueError(f"source is {source!r}: a source name cannot contain a dot")
        known = [*self.class_info, *self._joined_classes.values()]
        if any(c["source"] == source and c["id"] == class_id for c in known):
            return
        self.class_info.append({"source": source, "id": class_id, "name": class_name})

    def add_image(self, source: str, image_id: Hashable, path: Any, **kwargs: Any) -> None:
        """Add an image.

        Args:
            source: name of the dataset it belongs to.
            image_id: its id there.
            path: its file, or None when `load_image` makes it.
            **kwargs: stored in the image's entry of `image_info`. "height" and "width" are
                understood as the size in pixels. `exhaustive=False` states that the image has
                objects that are not annotated: with `Config.PARTIAL_LABELS` nothing in it is
                learned as background.
        """
        self.image_info.append({"id": image_id, "source": source, "path": path, **kwargs})

    def append_data(
        self, class_info: Iterable[Mapping[str, Any]], image_info: Iterable[Mapping[str, Any]]
    ) -> None:
        """Append the classes and images of another dataset's `class_info` and `image_info`.

        Only the entries are taken over; `load_mask` of this object must understand them. To
        join datasets of different formats use `merge`. Call `prepare()` afterwards.
        """
        for info in class_info:
            if info["source"]:
                self.add_class(info["source"], info["id"], info["name"])
        self.image_info.extend(dict(info) for info in image_info)

    def prepare(self, class_map: Mapping[str, str] | None = None) -> None:
        """Number images and classes; call it after loading and before use. May be repeated.

        Args:
            class_map: {"source.id": "other_source.id"}: the class on the left is the same as
                the one on the right and gets its number, so two sources share it.

        Raises:
            ValueError: `class_map` names an unknown class.
        """
        self._apply_class_map(self.class_map)
        self._apply_class_map(class_map)

        self.num_classes = len(self.class_info)
        self.class_ids = np.arange(self.num_classes)
        self.class_names = self._names_to_show()
        self.num_images = len(self.image_info)
        self._image_ids = np.arange(self.num_images)

        self.class_from_source_map = {
            f"{c['source']}.{c['id']}": number for number, c in enumerate(self.class_info)
        }
        owners = [{c["source"]} for c in self.class_info]
        for alias, key in self._class_aliases.items():
            number = self.class_from_source_map[key]
            self.class_from_source_map[alias] = number
            owners[number].add(self._joined_classes[alias]["source"])
        self.image_from_source_map = {
            f"{info['source']}.{info['id']}": number for number, info in enumerate(self.image_info)
        }

        every_class = [*self.class_info, *self._joined_classes.values()]
        self.sources = list(dict.fromkeys(c["source"] for c in every_class))
        # The background belongs to every source: no image is without it.
        self.source_class_ids = {
            source: [n for n, names in enumerate(owners) if n == 0 or source in names]
            for source in self.sources
        }

    def _names_to_show(self) -> list[str]:
        """Return the names of all classes; cut at the comma where that leaves them distinct."""
        names = [str(info["name"]) for info in self.class_info]
        if not self.cut_names:
            return names
        cut = [clean_class_name(name) for name in names]
        same = Counter(cut)
        # "bolt, short" and "bolt, long" would both be "bolt".
        return [n if same[c] > 1 else c for n, c in zip(names, cut, strict=True)]

    def _apply_class_map(self, class_map: Mapping[str, str] | None) -> None:
        """Move the left classes of `class_map` out of `class_info`, and record them as aliases."""
        if class_map is None:
            return
        if not isinstance(class_map, Mapping):
            raise ValueError(
                f"class_map is {class_map!r}: it must map 'source.id' to 'source.id', or be None"
            )
        for alias, key in class_map.items():
            if self._class_aliases.get(alias) == key:
                continue
            known = {f"{c['source']}.{c['id']}": c for c in self.class_info}
            for name in (alias, key):
                if name not in known:
                    raise ValueError(
                        f"class_map names the class {name!r}: the classes are {sorted(known)}"
                    )
            if alias == key or known[alias] is self.class_info[0]:
                raise ValueError(f"class_map has {alias!r} -> {key!r}: these cannot be joined")
            self.class_info.remove(known[alias])
            self._joined_classes[alias] = known[alias]
            self._class_aliases[alias] = key
            # Aliases of the removed class are now aliases of its target.
            for other, target in self._class_aliases.items():
                if target == alias:
                    self._class_aliases[other] = key

    # Looking up

    @property
    def image_ids(self) -> Sequence[int]:
        """The image numbers, 0..num_images-1; empty before `prepare()`."""
        return self._image_ids

    def map_source_class_id(self, source_class_id: str) -> int:
        """Return the class number of "source.id", for instance "coco.12".

        Raises:
            KeyError: there is no such class, or `prepare()` was not called.
        """
        table = getattr(self, "class_from_source_map", None)
        if table is None:
            raise KeyError(f"class {source_class_id!r}: call prepare() before asking for classes")
        if source_class_id not in table:
            raise KeyError(f"no class {source_class_id!r}; the classes are {sorted(table)}")
        return table[source_class_id]

    def get_source_class_id(self, class_id: int, source: str) -> Hashable:
        """Return the id that class number `class_id` has in `source`.

        Raises:
            ValueError: the class does not belong to that source.
        """
        info = self.class_info[class_id]
        if info["source"] == source:
            return info["id"]
        key = f"{info['source']}.{info['id']}"
        for alias, target in self._class_aliases.items():
            joined = self._joined_classes[alias]
            if target == key and joined["source"] == source:
                return joined["id"]
        raise ValueError(
            f"source is {source!r}: class {class_id} ({info['name']!r}) belongs to "
            f"{info['source']!r}"
        )

    def image_reference(self, image_id: int) -> str:
        """Return a link or path where the image can be looked up; "" here, override it."""
        return ""

    def source_image_link(self, image_id: int) -> Any:
        """Return the path or URL of the image."""
        return self.image_info[image_id]["path"]

    # Images and masks

    def load_image(self, image_id: int) -> np.ndarray:
        """Read the image.

        Gray images are repeated to three channels, an alpha channel is dropped and 16-bit
        images are converted to 8 bits. The EXIF orientation is ignored unless
        `exif_orientation` is set.

        Returns:
            [height, width, 3] uint8, RGB.

        Raises:
            FileNotFoundError: its file is missing.
            ValueError: the image has no path, or its file cannot be decoded.
        """
        return image_files.read_image(self._path(image_id), self.exif_orientation)

    def image_size(self, image_id: int) -> tuple[int, int]:
        """Return (height, width) in pixels, without decoding the image where that is possible.

        Taken from the image's "height" and "width" entries or else from the file's header; the
        result is stored in the entry. A subclass with its own `load_image` is asked for the
        image, because its size may differ from the file's.
        """
        if type(self).load_image is not Dataset.load_image:
            height, width = self.load_image(image_id).shape[:2]
            return int(height), int(width)
        return self._recorded_or_header_size(image_id)

    def _recorded_or_header_size(self, image_id: int) -> tuple[int, int]:
        info = self.image_info[image_id]
        if info.get("height") is None or info.get("width") is None:
            info["height"], info["width"] = image_files.read_image_size(
                self._path(image_id), self.exif_orientation
            )
        return int(info["height"]), int(info["width"])

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Load the instance masks of an image; override it.

        Returns:
            masks: [height, width, instances] bool.
            class_ids: [instances] int32, class numbers; negative for a crowd.

            Here no instance: shapes [0, 0, 0] and [0].
        """
        logger.warning(
            "%s has no load_mask(): image %s has no instances", type(self).__name__, image_id
        )
        return np.empty([0, 0, 0], bool), np.empty([0], np.int32)

    def load_label_weights(self, image_id: int) -> np.ndarray | None:
        """Return how much each instance counts in training with `Config.PARTIAL_LABELS`.

        Override it for labels that are uncertain, such as those that another model has found, and
        for instances with a box but no mask: `load_mask` gives the filled box as their mask.

        Returns:
            [instances, (label, mask)] float32 of at least 0, in the order of `load_mask`: the
            factor of the class, box and mask loss of the instance, and a further one of its mask
            loss. 0 leaves it out. None, as here, where every instance counts 1.
        """
        return None

    def image_has_masks(self, image_id: int) -> np.ndarray | None:
        """Return which of the annotated instances have a mask, and not only a box.

        Readers answer from the annotations, in the order of `image_class_ids`.

        Returns:
            [instances] bool, or None, as here, where every instance has one.
        """
        return None

    def load_proposals(self, image_id: int) -> np.ndarray | None:
        """Return boxes that may hold objects, for networks without RPN (`Config.USE_RPN`).

        Here those in `proposals`; override it where they come from elsewhere.

        Returns:
            [N, (y1, x1, y2, x2)] in pixels of `load_image`, the most likely first; N may be 0. None
            where they are not known.
        """
        if self.proposals is None:
            return None
        info = self.image_info[image_id]
        return self.proposals.get(f"{info['source']}.{info['id']}")

    def image_class_ids(self, image_id: int) -> np.ndarray:
        """Return class numbers of the image's annotated instances, [instances] int32.

        Negative for a crowd. Readers answer from the annotations without drawing masks, so
        instances that turn out to have no pixel are counted here and missing in `load_mask`.
        """
        return np.asarray(self.load_mask(image_id)[1], np.int32)

    def _path(self, image_id: int) -> Any:
        info = self.image_info[image_id]
        if info["path"] is None:
            raise ValueError(
                f"image {image_id} ('{info['source']}.{info['id']}') has no path: "
                f"{type(self).__name__} must override load_image()"
            )
        return info["path"]

    def _image_file(self, image_id: int) -> Any:
        """Return the file whose pixels `load_image` returns; None where it does something else."""
        is_inherited = type(self).load_image is Dataset.load_image
        return self.image_info[image_id]["path"] if is_inherited else None

    # Views and reports

    def subset(self, image_ids: Iterable[int]) -> DatasetView:
        """Return a prepared view of some images, with the same classes.

        Args:
            image_ids: image numbers in the order wanted; a number may occur twice.

        Raises:
            ValueError: a number is not one of `image_ids`.
        """
        from mrcnn.datasets.views import subset

        return subset(self, image_ids)

    def split(self, fraction: float = 0.2, seed: int = 0) -> tuple[DatasetView, DatasetView]:
        """Return two prepared views, for training and a random `fraction` for validation.

        The same images, fraction and seed give the same split everywhere.

        Raises:
            ValueError: `fraction` is not between 0 and 1, or there are fewer than two images.
        """
        from mrcnn.datasets.views import split

        return split(self, fraction, seed)

    @staticmethod
    def merge(datasets: Sequence[Dataset]) -> DatasetView:
        """Join datasets; classes of the same name become one. See `mrcnn.datasets.merge`."""
        from mrcnn.datasets.views import merge

        return merge(datasets)

    def check(self, max_images: int | None = None) -> DatasetReport:
        """Find problems that would spoil training: files, sizes, masks and class numbers.

        Args:
            max_images: look at this many images, evenly spaced; None looks at all.

        Returns:
            A report; print it, or read its `problems`.
        """
        from mrcnn.datasets.report import check_dataset

        return check_dataset(self, max_images)

    def summary(self) -> DatasetSummary:
        """Count images, instances and images without instances, in all and per class."""
        from mrcnn.datasets.summary import summarize_dataset

        return summarize_dataset(self)


def clean_class_name(name: str) -> str:
    """Return the part before the first comma: "cat" for "cat, kitten"."""
    return name.split(",", 1)[0]
