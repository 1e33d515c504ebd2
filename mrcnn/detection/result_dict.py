"""The result of one image: Matterport's dictionary, with methods to select, show and convert it."""

from __future__ import annotations

import os
import warnings
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.detection.results import Detections
from mrcnn.drawing.labels import class_label, instance_captions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What selects detections; any other key is one of the dictionary.
_SELECTION = (int, np.integer, slice, list, range, np.ndarray)
# Entries [height, width, N]. The instances of all others are on the first axis.
_LAST_AXIS = ("masks", "mask_probs")
# Classes that `repr` counts one by one.
_MAX_CLASSES = 8


class DetectionResult(dict[str, Any]):
    """The detections in one image. N may be 0.

    This is Matterport's dictionary with `rois` [N, (y1, x1, y2, x2)] int32 in pixels, `class_ids`
    [N] int32, `scores` [N] float32 and `masks` [height, width, N] bool, or `rles` as run lengths.
    String keys, `in`, `keys()`, `items()`, `dict(result)`, `**result` and iteration, which yields
    the keys, work as for any dictionary, and a result is true even where nothing was found. Entries
    may be changed, added and removed; the methods use what the dictionary holds at the time.

    In two respects it is a sequence of detections: `len(result)` is their number, not that of the
    keys, and an integer, slice, list or array selects some of them. `result.instances` iterates.

    The image itself is not kept, or a list of results would fill the memory. `plot` and `save` find
    it as long as the array given to `detect` exists elsewhere; afterwards give it to them.

    Args:
        entries: mapping, or pairs of key and value.
        class_names: names by class id, the background first.
        image: the image of the detections.
        image_size: (height, width) in pixels; None takes the image's, or that of the masks.

    Attributes:
        class_names: as given; None where the names are unknown.
        image_size: (height, width) of the image in pixels; None where it is unknown.

    Example:
        >>> rois, scores = np.array([[0, 0, 2, 3], [1, 1, 4, 4]]), np.array([0.9, 0.4])
        >>> entries = {"rois": rois, "class_ids": np.array([1, 2]), "scores": scores}
        >>> result = DetectionResult(entries, class_names=["BG", "cat", "dog"], image_size=(4, 6))
        >>> result
        2 detections in 4 x 6: 1 cat (0.90), 1 dog (0.40)
        >>> result[result["scores"] > 0.5]["rois"].tolist()
        [[0, 0, 2, 3]]
    """

    __slots__ = ("_image", "class_names", "image_size")

    def __init__(
        self,
        entries: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        *,
        class_names: Sequence[str] | None = None,
        image: Any = None,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(entries)
        self.class_names = class_names
        self._image: weakref.ref[np.ndarray] | None = None
        self.image_size = image_size
        if isinstance(image, np.ndarray):
            self._image = weakref.ref(image)
            self.image_size = image_size or (image.shape[0], image.shape[1])
        elif image_size is None:
            self.image_size = _size_of_masks(self)

    # ---- a dictionary ----------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        """Return the entry of a key, or the detections that an index selects.

        Args:
            key: a key; or an integer, a slice, a list or array of indices, or an array [N] bool.

        Raises:
            KeyError: there is no such entry.
            IndexError: a detection with this number does not exist.
        """
        if not isinstance(key, str) and isinstance(key, _SELECTION):
            return self._select(key)
        return dict.__getitem__(self, key)

    def __missing__(self, key: Any) -> Any:
        if key in ("masks", "rles") and ("masks" in self or "rles" in self):
            raise KeyError(f"{key}: this result has {list(self)}; result.{key} converts the masks")
        raise KeyError(key)

    def __bool__(self) -> bool:
        return super().__len__() > 0

    def __len__(self) -> int:
        """Return the number of detections."""
        return next((len(self[key]) for key in ("rois", "class_ids", "scores") if key in self), 0)

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"class_names": self.class_names, "image_size": self.image_size}
        return type(self), (dict(self),), (None, state)

    def copy(self) -> DetectionResult:
        """Return a result with the same entries, as `dict.copy` does."""
        return self._with(self)

    __copy__ = copy

    def _with(self, entries: Mapping[str, Any]) -> DetectionResult:
        """Return a result for the same image and classes."""
        other = DetectionResult(entries, class_names=self.class_names, image_size=self.image_size)
        other._image = self._image
        return other

    # ---- a sequence of detections ----------------------------------------------------------------

    @property
    def instances(self) -> list[DetectionResult]:
        """A result of one detection for each of them."""
        return [self[i] for i in range(len(self))]

    def _select(self, selection: Any) -> DetectionResult:
        """Return some of the detections; slices and integers share memory with this result."""
        count = len(self)
        rows = np.arange(count)[selection]
        if rows.ndim == 0:
            selection = slice(int(rows), int(rows) + 1)
            rows = rows[None]
        if rows.ndim != 1:
            raise IndexError(f"selection is {selection!r}; it must select a list of detections")
        where = selection if isinstance(selection, slice) else rows
        entries = {}
        for key, value in self.items():
            if isinstance(value, np.ndarray) and key in _LAST_AXIS:
                value = value[..., where]
            elif isinstance(value, np.ndarray) and value.ndim and len(value) == count:
                value = value[where]
            elif isinstance(value, list | tuple) and len(value) == count:
                value = type(value)(value[row] for row in rows)
            entries[key] = value
        return self._with(entries)

    # ---- views and conversions -------------------------------------------------------------------

    @property
    def detections(self) -> Detections:
        """The same as the checked type that evaluation and files use.

        Raises:
            ValueError: an entry is missing or does not fit the others.
        """
        return Detections.from_result(self)

    @property
    def masks(self) -> np.ndarray | None:
        """[height, width, N] bool; None without masks. Run lengths are decoded at every call."""
        return self.detections.dense_masks(self.image_size)

    @property
    def rles(self) -> list[dict[str, Any]] | None:
        """N compressed run lengths; None without masks. Masks are encoded at every call."""
        return self.detections.rles

    def __repr__(self) -> str:
        """Return number, image size, and per class the number and the best score."""
        class_ids, scores = self.get("class_ids"), self.get("scores")
        if class_ids is None or scores is None or not len(class_ids) == len(scores) == len(self):
            return super().__repr__()
        count = len(self)
        text = f"{count or 'no'} detection{'' if count == 1 else 's'}"
        if self.image_size is not None:
            text += " in {} x {}".format(*self.image_size)
        best: dict[int, list[float]] = {}
        for class_id, score in zip(class_ids, scores, strict=True):
            best.setdefault(int(class_id), []).append(float(score))
        order = sorted(best, key=lambda k: (-len(best[k]), -max(best[k])))
        parts = [
            f"{len(best[k])} {class_label(k, self.class_names)} ({max(best[k]):.2f})" for k in order
        ]
        if len(parts) > _MAX_CLASSES:
            parts[_MAX_CLASSES - 1 :] = [f"{len(parts) - _MAX_CLASSES + 1} other classes"]
        return f"{text}: {', '.join(parts)}" if parts else text

    def to_coco(
        self,
        image_id: int | str = 0,
        file_name: str | None = None,
        category_ids: Sequence[int] | Mapping[int, int] | None = None,
        segmentation: str = "rle",
        tolerance: float = 0.0,
    ) -> list[dict[str, Any]]:
        """Return the detections in COCO's results format.

        Args:
            image_id: as for `Detections.to_coco`; give each image of a dataset its own.
            file_name: as for `Detections.to_coco`.
            category_ids: category ids by class id. None takes COCO's own where the classes are the
                80 of COCO, else the class ids.
            segmentation: as for `Detections.to_coco`.
            tolerance: as for `Detections.to_coco`.

        Returns:
            As `Detections.to_coco`, with `category_name` where the class names are known.

        Raises:
            ValueError: a class id has no name or category, an option is invalid, or an entry does
                not fit the others.
        """
        from mrcnn.checkpoints.coco_names import coco_category_ids

        if category_ids is None:
            category_ids = coco_category_ids(self.class_names or ())
        return self.detections.to_coco(
            image_id, file_name, self.class_names, category_ids, segmentation, tolerance
        )

    def to_supervision(self) -> Any:
        """Return the detections as `supervision.Detections`, with masks and `class_name`.

        Raises:
            ImportError: the package supervision is not installed.
            ValueError: an entry is missing or does not fit the others.
        """
        try:
            import supervision
        except ImportError as error:
            raise ImportError(
                f"to_supervision needs the package supervision (pip install supervision): {error}"
            ) from error
        found, masks = self.detections, self.masks
        names = np.array(
            [class_label(k, self.class_names) for k in found.class_ids.tolist()], dtype=str
        )
        return supervision.Detections(
            xyxy=found.boxes[:, [1, 0, 3, 2]].astype(np.float32),
            mask=None if masks is None else masks.transpose(2, 0, 1),
            confidence=found.scores.astype(np.float32),
            class_id=found.class_ids,
            data={"class_name": names},
        )

    # ---- images ----------------------------------------------------------------------------------

    def plot(
        self,
        image: np.ndarray | None = None,
        *,
        ax: Axes | None = None,
        figsize: tuple[float, float] = (12, 12),
        color_by: str = "class",
        title: str = "",
    ) -> None:
        """Show the image with its detections: masks, outlines, boxes, names and scores.

        Args:
            image: the image that `detect` was given; it may be left out as long as it exists.
            ax: matplotlib axes to draw into. Without them a figure is made and shown; where there
                is no display, a warning says so.
            figsize: size of that figure in inches.
            color_by: "class" gives every class the same color in every image, "instance" gives
                instances different colors.
            title: title of the figure.

        Raises:
            ValueError: the image is gone or of another size, an entry does not fit the others, or
                `color_by` is another word.
        """
        from mrcnn.drawing import figures
        from mrcnn.drawing.colors import instance_colors
        from mrcnn.geometry.rle import RleMasks

        image = self._given_or_known(image)
        found = self.detections
        given = found.masks
        masks = RleMasks(given, image.shape[:2]) if isinstance(given, list) else given
        captions = instance_captions(found.class_ids, self.class_names, found.scores, len(found))
        colors = instance_colors(found.class_ids, color_by, len(found))
        axes = figures.axes_of_size(figsize) if ax is None else ax
        figures.show_instances(axes, image, found.boxes, masks, colors, captions, title=title)
        if ax is None:
            figures.show()
            if not figures.has_display():
                warnings.warn(
                    "plot has shown nothing: matplotlib has no display here. Write the image to a "
                    "file with save(path).",
                    stacklevel=2,
                )

    def save(
        self, path: str | os.PathLike[str], image: np.ndarray | None = None, **options: Any
    ) -> Path:
        """Write the image with its detections to a file.

        Args:
            path: the file; its suffix chooses the format (.jpg, .png, ...).
            image: the image that `detect` was given; it may be left out as long as it exists.
            **options: keyword arguments of `mrcnn.visualize.save_instances`: `color_by`,
                `captions`, `quality`, ...

        Returns:
            The path.

        Raises:
            ValueError: the image is gone or of another size, or the suffix names no format.
            OSError: the file cannot be written.
        """
        from mrcnn.drawing.rendering import save_instances

        image = self._given_or_known(image)
        return save_instances(
            Path(path), image, self, **{"class_names": self.class_names, **options}
        )

    def _given_or_known(self, image: np.ndarray | None) -> np.ndarray:
        """Return the image of the detections; ValueError if it is gone or of another size."""
        if image is None and self._image is not None:
            image = self._image()
        if image is None:
            raise ValueError(
                "image is None; it must be the image of these detections, as in plot(image): a "
                "result does not keep it in memory, and the array given to detect is gone"
            )
        image = np.asarray(image)
        if self.image_size is not None and image.shape[:2] != tuple(self.image_size):
            raise ValueError(
                f"image has the shape {image.shape}; it must be the image of these detections, of "
                f"{self.image_size[0]} x {self.image_size[1]} pixels (height x width)"
            )
        return image


def _size_of_masks(result: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return (height, width) of the masks or run lengths in a result, None without any."""
    masks, rles = result.get("masks"), result.get("rles")
    if isinstance(masks, np.ndarray) and masks.ndim == 3:
        return masks.shape[0], masks.shape[1]
    if rles:
        height, width = rles[0]["size"]
        return int(height), int(width)
    return None
