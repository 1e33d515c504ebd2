"""Datasets made of others: some images of one, or several joined."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mrcnn.datasets.dataset import Dataset


class DatasetView(Dataset):
    """A prepared dataset whose images are those of other datasets.

    Images and masks are loaded by the dataset an image came from, so every subclass of `Dataset`
    can be viewed. The entries of `image_info` are the same objects as there.

    Attributes:
        origins: for each image, (dataset, its number there).
    """

    # Names are taken as the viewed datasets show them.
    cut_names = False

    def __init__(
        self,
        origins: Sequence[tuple[Dataset, int]],
        class_info: Sequence[dict[str, Any]],
        class_aliases: dict[str, str],
        joined_classes: dict[str, dict[str, Any]],
        class_numbers: dict[int, np.ndarray],
    ):
        """Create a view; use `subset`, `split` and `merge` instead.

        Args:
            origins: see above.
            class_info: the classes, as in `Dataset`.
            class_aliases: keys of classes that were joined to others, as in `Dataset`.
            joined_classes: the entries of these classes.
            class_numbers: `id()` of a dataset -> [its classes] class numbers here.
        """
        super().__init__()
        self.origins = list(origins)
        self.class_info = [dict(info) for info in class_info]
        self._class_aliases = dict(class_aliases)
        self._joined_classes = dict(joined_classes)
        self._class_numbers = class_numbers
        self.image_info = [dataset.image_info[number] for dataset, number in self.origins]
        self.prepare()

    def prepare(self, class_map: Mapping[str, str] | None = None) -> None:
        """See `Dataset.prepare`."""
        former = [f"{info['source']}.{info['id']}" for info in self.class_info]
        super().prepare(class_map)
        if class_map:
            now = np.array([self.class_from_source_map[key] for key in former])
            self._class_numbers = {key: now[table] for key, table in self._class_numbers.items()}

    def add_image(self, source: str, image_id: Hashable, path: Any, **kwargs: Any) -> None:
        """Raise ValueError: a view's images are those of other datasets."""
        raise ValueError(f"image {image_id!r} cannot be added to a view: add it to its dataset")

    def append_data(self, class_info: Any, image_info: Any) -> None:
        """Raise ValueError: a view's images are those of other datasets."""
        raise ValueError("data cannot be appended to a view: use merge")

    def load_image(self, image_id: int) -> np.ndarray:
        """See `Dataset.load_image`."""
        dataset, number = self.origins[image_id]
        return dataset.load_image(number)

    def _image_file(self, image_id: int) -> Any:
        dataset, number = self.origins[image_id]
        return dataset._image_file(number)

    def image_size(self, image_id: int) -> tuple[int, int]:
        """See `Dataset.image_size`."""
        dataset, number = self.origins[image_id]
        return dataset.image_size(number)

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Dataset.load_mask`; class numbers are this view's."""
        dataset, number = self.origins[image_id]
        masks, class_ids = dataset.load_mask(number)
        return masks, self._renumber(dataset, class_ids)

    def load_label_weights(self, image_id: int) -> np.ndarray | None:
        """See `Dataset.load_label_weights`."""
        dataset, number = self.origins[image_id]
        return dataset.load_label_weights(number)

    def image_has_masks(self, image_id: int) -> np.ndarray | None:
        """See `Dataset.image_has_masks`."""
        dataset, number = self.origins[image_id]
        return dataset.image_has_masks(number)

    def load_proposals(self, image_id: int) -> np.ndarray | None:
        """See `Dataset.load_proposals`; `proposals` of the view come before those of its parts."""
        if self.proposals is not None:
            return super().load_proposals(image_id)
        dataset, number = self.origins[image_id]
        return dataset.load_proposals(number)

    def image_class_ids(self, image_id: int) -> np.ndarray:
        """See `Dataset.image_class_ids`; class numbers are this view's."""
        dataset, number = self.origins[image_id]
        return self._renumber(dataset, dataset.image_class_ids(number))

    def image_reference(self, image_id: int) -> str:
        """See `Dataset.image_reference`."""
        dataset, number = self.origins[image_id]
        return dataset.image_reference(number)

    def source_image_link(self, image_id: int) -> Any:
        """See `Dataset.source_image_link`."""
        dataset, number = self.origins[image_id]
        return dataset.source_image_link(number)

    def _renumber(self, dataset: Dataset, class_ids: np.ndarray) -> np.ndarray:
        """Return class numbers of `dataset` as this view's; the sign of a crowd stays."""
        class_ids = np.asarray(class_ids, np.int32)
        numbers = self._class_numbers[id(dataset)]
        if class_ids.size and np.abs(class_ids).max() >= len(numbers):
            return class_ids  # out of range there already: `check` reports it
        return (np.sign(class_ids) * numbers[np.abs(class_ids)]).astype(np.int32)


def subset(dataset: Dataset, image_ids: Iterable[int]) -> DatasetView:
    """Return a prepared view of some images of a dataset; see `Dataset.subset`."""
    _prepared(dataset)
    numbers = [int(number) for number in image_ids]
    for number in numbers:
        if not 0 <= number < dataset.num_images:
            raise ValueError(
                f"image_ids holds {number}: image numbers are 0 to {dataset.num_images - 1}"
            )
    return DatasetView(
        [(dataset, number) for number in numbers],
        shown_classes(dataset),
        dataset._class_aliases,
        dataset._joined_classes,
        {id(dataset): np.arange(dataset.num_classes)},
    )


def split(dataset: Dataset, fraction: float, seed: int) -> tuple[DatasetView, DatasetView]:
    """Return prepared views for training and validation; see `Dataset.split`."""
    if not 0 < fraction < 1:
        raise ValueError(f"fraction is {fraction}: it must lie between 0 and 1")
    _prepared(dataset)
    count = dataset.num_images
    if count < 2:
        raise ValueError(f"the dataset has {count} images: a split needs two")
    num_val = min(max(round(count * fraction), 1), count - 1)
    # The legacy generator's stream is frozen: the split is the same with every NumPy.
    order = np.random.RandomState(seed).permutation(count)
    return (
        subset(dataset, sorted(order[num_val:].tolist())),
        subset(dataset, sorted(order[:num_val].tolist())),
    )


def merge(datasets: Sequence[Dataset]) -> DatasetView:
    """Join datasets into one, prepared.

    Classes of the same name become one class, in the order in which they first occur; every
    source that has the class has it among its active classes. Two datasets may use the
    same source with other classes (two folders of VIA files): a class id that is taken by
    another name gets a new id in its source.

    Args:
        datasets: the parts. Their images follow each other in this order.

    Raises:
        ValueError: there is no part.

    Example:
        >>> cats, dogs = Dataset(), Dataset()
        >>> cats.add_class("pets", 1, "cat")
        >>> dogs.add_class("pets", 1, "dog")
        >>> merge([cats, dogs]).class_names
        ['BG', 'cat', 'dog']
    """
    parts = list(datasets)
    if not parts:
        raise ValueError("datasets is empty: there is nothing to merge")
    table = _MergedClasses()
    class_numbers = {}
    for part in parts:
        _prepared(part)
        class_numbers[id(part)] = np.array([table.add(info) for info in shown_classes(part)])
    for part in parts:
        for alias, joined in part._joined_classes.items():
            number = part.class_from_source_map[alias]
            table.join(joined, class_numbers[id(part)][number])
    return DatasetView(
        [(part, number) for part in parts for number in range(part.num_images)],
        table.class_info,
        table.aliases,
        table.joined,
        class_numbers,
    )


class _MergedClasses:
    """The classes of a merged dataset while parts are added."""

    def __init__(self) -> None:
        self.class_info: list[dict[str, Any]] = []
        self.aliases: dict[str, str] = {}
        self.joined: dict[str, dict[str, Any]] = {}
        self._numbers: dict[str, int] = {}
        self._taken: dict[tuple[str, Hashable], int] = {}

    def add(self, info: dict[str, Any]) -> int:
        """Add a class, or find the one of its name; return its number."""
        name = info["name"]
        if name in self._numbers:
            self.join(info, self._numbers[name])
            return self._numbers[name]
        number = len(self.class_info)
        self._numbers[name] = number
        self.class_info.append({**info, "id": self._free_id(info)})
        self._taken[info["source"], self.class_info[-1]["id"]] = number
        return number

    def join(self, info: dict[str, Any], number: int) -> None:
        """Make a source's class another key of class `number`."""
        if self._taken.get((info["source"], info["id"])) == number:
            return
        joined = {**info, "id": self._free_id(info)}
        self._taken[info["source"], joined["id"]] = number
        alias = f"{info['source']}.{joined['id']}"
        target = self.class_info[number]
        self.joined[alias] = joined
        self.aliases[alias] = f"{target['source']}.{target['id']}"

    def _free_id(self, info: dict[str, Any]) -> Hashable:
        """Return the class's own id, or an unused number where another class has it."""
        if (info["source"], info["id"]) not in self._taken:
            return info["id"]
        used = {key for source, key in self._taken if source == info["source"]}
        return next(number for number in range(1, len(used) + 2) if number not in used)


def shown_classes(dataset: Dataset) -> list[dict[str, Any]]:
    """Return the `class_info` of a prepared dataset with the names of its `class_names`."""
    return [
        {**info, "name": name}
        for info, name in zip(dataset.class_info, dataset.class_names, strict=True)
    ]


def _prepared(dataset: Dataset) -> None:
    """Prepare a dataset that was not, or to which images or classes were added since."""
    if getattr(dataset, "num_images", None) != len(dataset.image_info) or getattr(
        dataset, "num_classes", None
    ) != len(dataset.class_info):
        dataset.prepare()
