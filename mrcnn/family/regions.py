"""Selective search: regions of an image that may be objects (Uijlings et al. 2013).

An image is divided into small regions by the method of Felzenszwalb and Huttenlocher (2004). The
two neighbors that are most similar in color, texture, size and fill are merged, again and again,
until one region is left. The bounding box of every region that existed is a proposal. Several
color spaces, measures of similarity and fineness of the first regions give a diverse set.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from mrcnn.geometry.images import as_rgb

__all__ = [
    "STRATEGIES",
    "Hierarchy",
    "draw_regions",
    "merge_regions",
    "selective_search",
]

_COLOR_BINS = 25
_TEXTURE_BINS = 10
_DIRECTIONS = 8
# Standard deviation of the smoothing before the first regions, in pixels.
_SIGMA = 0.8
# Similarities by letter: color, texture, size, fill.
_ALL = "CTSF"


@dataclass(frozen=True)
class Strategy:
    """What is varied to get a diverse set of regions; table 5 of the paper.

    Attributes:
        colors: color spaces, keys of `COLOR_SPACES`.
        measures: sets of similarities that are added, letters of "CTSF".
        scales: the k of Felzenszwalb and Huttenlocher, and the least pixels of a region.
    """

    colors: tuple[str, ...]
    measures: tuple[str, ...]
    scales: tuple[int, ...]


STRATEGIES = {
    "single": Strategy(("hsv",), (_ALL,), (100,)),
    "fast": Strategy(("hsv", "lab"), (_ALL, "TSF"), (50, 100)),
    "quality": Strategy(
        ("hsv", "lab", "rgi", "hue", "intensity"), (_ALL, "TSF", "F", "S"), (50, 100, 150, 300)
    ),
}


def _rgi(image: np.ndarray) -> np.ndarray:
    """Return the red and green shares and the intensity, uint8."""
    sums = image.sum(axis=2, dtype=np.float32)
    shares = image[..., :2] * (255 / np.maximum(sums, 1))[..., None]
    return np.dstack([shares, sums / 3]).astype(np.uint8)


COLOR_SPACES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "hsv": lambda image: cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL),
    "lab": lambda image: cv2.cvtColor(image, cv2.COLOR_RGB2LAB),
    "rgi": _rgi,
    "hue": lambda image: cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)[..., :1],
    "intensity": lambda image: cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None],
}


def selective_search(
    image: np.ndarray,
    strategy: Literal["single", "fast", "quality"] = "fast",
    *,
    seed: int = 0,
    min_side: int = 20,
    max_side: int | None = None,
    engine: Literal["mrcnn", "opencv"] = "mrcnn",
) -> np.ndarray:
    """Propose boxes that may hold objects.

    The time grows faster than the number of pixels: on one core "fast" takes about 2 s for an image
    of 500 x 400 pixels and 100 s for one of 2000 x 1300.

    Args:
        image: gray, RGB or RGBA.
        strategy: "single", "fast" (8 hierarchies) or "quality" (80 hierarchies).
        seed: whole number of at least 0; boxes are ordered by their place in the hierarchy times a
            random number.
        min_side: smallest height and width of a box in pixels of the image that is searched.
        max_side: a larger image is reduced to this side in pixels before the search; None for
            never.
        engine: "mrcnn", or "opencv" for `cv2.ximgproc`, which `opencv-contrib-python-headless` has.

    Returns:
        [N, (y1, x1, y2, x2)] int32 without duplicates, the lower right corner outside, the most
        likely first. N is 0 for an image that is smaller than `min_side`.

    Raises:
        ValueError: an argument breaks its rule.
        ImportError: OpenCV is asked for and has no `ximgproc`.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy is {strategy!r}; it must be one of {', '.join(STRATEGIES)}")
    if engine not in ("mrcnn", "opencv"):
        raise ValueError(f"engine is {engine!r}; it must be mrcnn or opencv")
    if max_side is not None and max_side < 1:
        raise ValueError(f"max_side is {max_side}; it must be at least 1 or None")
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed is {seed!r}; it must be a whole number of at least 0")
    if not min_side >= 1:
        raise ValueError(f"min_side is {min_side}; it must be at least 1")
    image = as_rgb(image)
    if not image.size:
        raise ValueError(f"image has the shape {image.shape}; it must have at least one pixel")
    image, scales = _reduced(image, max_side)
    if engine == "opencv":
        boxes = _opencv_boxes(image, strategy)
    else:
        boxes = _ranked_boxes(image, STRATEGIES[strategy], np.random.default_rng(seed))
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= min_side]
    return _distinct(np.rint(boxes * scales))


def _reduced(image: np.ndarray, max_side: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the image, at most `max_side` large, and what its boxes are multiplied by."""
    sides = np.array(image.shape[:2])
    if max_side is not None and sides.max() > max_side:
        height, width = np.maximum(np.rint(sides * max_side / sides.max()), 1).astype(int).tolist()
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return image, np.tile(sides / image.shape[:2], 2)


def _ranked_boxes(image: np.ndarray, strategy: Strategy, rng: np.random.Generator) -> np.ndarray:
    """Return the boxes of all hierarchies, in the order of section 3.3 of the paper."""
    boxes, ranks = [], []
    for color in strategy.colors:
        converted = np.ascontiguousarray(COLOR_SPACES[color](image))
        for scale in strategy.scales:
            start = _Regions.of_image(converted, scale)
            for measure in strategy.measures:
                hierarchy = merge_regions(start, measure)
                count = len(hierarchy.boxes)
                boxes.append(hierarchy.boxes)
                # The whole image has place 1; random numbers keep large regions from coming first.
                ranks.append(rng.random(count) * np.arange(count, 0, -1))
    return np.concatenate(boxes)[np.argsort(np.concatenate(ranks), kind="stable")]


def _distinct(boxes: np.ndarray) -> np.ndarray:
    """Return the boxes without later copies, in their order."""
    _, first = np.unique(boxes, axis=0, return_index=True)
    return boxes[np.sort(first)].astype(np.int32)


def _opencv_boxes(image: np.ndarray, strategy: str) -> np.ndarray:
    """Return the boxes of OpenCV's implementation."""
    ximgproc: Any = getattr(cv2, "ximgproc", None)
    if ximgproc is None:
        raise ImportError(
            "engine is opencv, but this OpenCV has no ximgproc; install "
            "opencv-contrib-python-headless in place of opencv-python-headless"
        )
    search = ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(image[:, :, ::-1]))
    {
        "single": search.switchToSingleStrategy,
        "fast": search.switchToSelectiveSearchFast,
        "quality": search.switchToSelectiveSearchQuality,
    }[strategy]()
    x, y, width, height = np.asarray(search.process()).reshape(-1, 4).T
    return np.stack([y, x, y + height, x + width], axis=1)


@dataclass
class _Regions:
    """The first regions of an image with their features.

    Attributes:
        labels: [H, W] number of each pixel's region.
        sizes: [N] pixels.
        boxes: [N, (y1, x1, y2, x2)].
        colors: [N, bins] histograms with the sum 1.
        textures: [N, bins] histograms with the sum 1.
        neighbors: [M, 2] pairs of regions that touch, the smaller number first.
    """

    labels: np.ndarray
    sizes: np.ndarray
    boxes: np.ndarray
    colors: np.ndarray
    textures: np.ndarray
    neighbors: np.ndarray

    @classmethod
    def of_image(cls, image: np.ndarray, scale: int) -> _Regions:
        """Segment an image `[H, W, channels]` uint8 and compute the features."""
        # Here, since the import takes a tenth of a second.
        from skimage.segmentation import felzenszwalb

        values = image.astype(np.float64) / 255
        labels = felzenszwalb(values, scale, _SIGMA, min_size=scale, channel_axis=2)
        count = int(labels.max()) + 1
        return cls(
            labels,
            np.bincount(labels.ravel(), minlength=count),
            _boxes_of(labels, count),
            _histograms(labels, count, image.astype(np.float32) / 256, _COLOR_BINS),
            _histograms(labels, count, _texture(image), _TEXTURE_BINS),
            _touching(labels, count),
        )


@dataclass(frozen=True)
class Hierarchy:
    """All regions of one hierarchy, the first ones and then one for each merge.

    Attributes:
        labels: [H, W] number of each pixel's first region.
        boxes: [N, (y1, x1, y2, x2)] of all regions.
        merges: [M, 2] the two regions that became region `N - M + row`.
    """

    labels: np.ndarray
    boxes: np.ndarray
    merges: np.ndarray

    def labels_at(self, num_regions: int) -> np.ndarray:
        """Return the regions `[H, W]` at the stage with a number of regions, numbered from 0.

        Args:
            num_regions: at least 1; more than there were at first gives the first stage.
        """
        if num_regions < 1:
            raise ValueError(f"num_regions is {num_regions}; it must be at least 1")
        first = len(self.boxes) - len(self.merges)
        parent = np.arange(len(self.boxes))
        for row in range(max(first - num_regions, 0)):
            parent[self.merges[row]] = first + row
        # A parent has a larger number than its parts, so one pass from the end finds the last one.
        for region in range(len(parent) - 1, -1, -1):
            parent[region] = parent[parent[region]]
        return np.unique(parent[self.labels], return_inverse=True)[1].reshape(self.labels.shape)


def merge_regions(regions: _Regions | np.ndarray, measure: str = _ALL) -> Hierarchy:
    """Merge the most similar neighbors until one region is left (algorithm 1 of the paper).

    Args:
        regions: an image [H, W, channels] uint8 in the color space to use.
        measure: the similarities to add: C (color), T (texture), S (size), F (fill).

    Raises:
        ValueError: `measure` is empty or has another letter, or the image has another shape or
            type.
    """
    if isinstance(regions, np.ndarray) and (regions.ndim != 3 or regions.dtype != np.uint8):
        raise ValueError(
            f"the image has shape {regions.shape} and type {regions.dtype}; it must be "
            "[height, width, channels] uint8"
        )
    if not measure or set(measure) - set(_ALL):
        raise ValueError(f"measure is {measure!r}; it must consist of the letters C, T, S and F")
    if not isinstance(regions, _Regions):
        regions = _Regions.of_image(regions, 100)
    grouping = _Grouping(regions, measure)
    merges = list(grouping.run())
    return Hierarchy(
        regions.labels,
        grouping.boxes[: grouping.count],
        np.array(merges, np.int64).reshape(-1, 2),
    )


class _Grouping:
    """The arrays of a hierarchy while it grows: rows of the first regions, then of merged ones."""

    def __init__(self, regions: _Regions, measure: str) -> None:
        self.count = len(regions.sizes)
        self.measure = measure
        self.num_pixels = regions.labels.size
        self.sizes = _with_room(regions.sizes.astype(np.float64))
        self.boxes = _with_room(regions.boxes)
        # One array, so that one minimum and one sum serve both.
        parts = [
            part
            for letter, part in (("C", regions.colors), ("T", regions.textures))
            if letter in measure
        ]
        self.histograms = _with_room(np.concatenate(parts, axis=1)) if parts else None
        self.neighbors: list[set[int]] = [set() for _ in range(2 * self.count)]
        for first, second in regions.neighbors.tolist():
            self.neighbors[first].add(second)
            self.neighbors[second].add(first)
        pairs = regions.neighbors
        values = self._similarity(pairs[:, 0], pairs[:, 1]) if len(pairs) else np.zeros(0)
        self.queue = list(zip((-values).tolist(), *pairs.T.tolist())) if len(pairs) else []
        heapq.heapify(self.queue)
        self.is_alive = np.zeros(2 * self.count, bool)
        self.is_alive[: self.count] = True

    def run(self) -> Iterator[tuple[int, int]]:
        """Merge, and yield the two regions of each merge."""
        while self.queue:
            _, first, second = heapq.heappop(self.queue)
            if self.is_alive[first] and self.is_alive[second]:
                self._merge(first, second)
                yield first, second

    def _merge(self, first: int, second: int) -> None:
        new = self.count
        self.count += 1
        sizes = self.sizes[[first, second]]
        self.sizes[new] = sizes.sum()
        self.boxes[new] = _union(self.boxes[first], self.boxes[second])
        if self.histograms is not None:
            self.histograms[new] = sizes @ self.histograms[[first, second]] / sizes.sum()
        self.is_alive[[first, second]] = False
        self.is_alive[new] = True
        around = (self.neighbors[first] | self.neighbors[second]) - {first, second}
        self.neighbors[first] = self.neighbors[second] = set()
        if not around:
            return
        others = np.fromiter(around, np.int64, len(around))
        others = others[self.is_alive[others]]
        self.neighbors[new] = set(others.tolist())
        for other, value in zip(others.tolist(), self._similarity(new, others).tolist()):
            self.neighbors[other].add(new)
            heapq.heappush(self.queue, (-value, other, new))

    def _similarity(self, first: Any, second: Any) -> np.ndarray:
        """Return the sums of the similarities, equations 1 to 4 of the paper."""
        total = np.zeros(np.broadcast(first, second).shape)
        if self.histograms is not None:
            total += np.minimum(self.histograms[first], self.histograms[second]).sum(axis=-1)
        sizes = self.sizes[first] + self.sizes[second]
        if "S" in self.measure:
            total += 1 - sizes / self.num_pixels
        if "F" in self.measure:
            box = _union(self.boxes[first], self.boxes[second])
            area = (box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1])
            total += 1 - (area - sizes) / self.num_pixels
        return total


def _with_room(array: np.ndarray) -> np.ndarray:
    """Return the array with as many free rows again, enough for all merges."""
    return np.concatenate([array, np.zeros_like(array)])


def _union(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """Return the smallest boxes around pairs of boxes."""
    low = np.minimum(boxes1[..., :2], boxes2[..., :2])
    return np.concatenate([low, np.maximum(boxes1[..., 2:], boxes2[..., 2:])], axis=-1)


def _boxes_of(labels: np.ndarray, count: int) -> np.ndarray:
    """Return the boxes `[count, (y1, x1, y2, x2)]` of labels 0 to count - 1."""
    from scipy import ndimage

    slices = ndimage.find_objects(labels + 1, count)
    return np.array([(y.start, x.start, y.stop, x.stop) for y, x in slices], np.int64)


def _touching(labels: np.ndarray, count: int) -> np.ndarray:
    """Return the pairs `[M, 2]` of labels that share an edge between two pixels."""
    pairs = [(labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])]
    low = np.concatenate([np.minimum(a, b)[a != b] for a, b in pairs])
    high = np.concatenate([np.maximum(a, b)[a != b] for a, b in pairs])
    return np.stack(np.divmod(np.unique(low.astype(np.int64) * count + high), count), axis=1)


def _texture(image: np.ndarray) -> np.ndarray:
    """Return the rise of each channel in each of eight directions, `[H, W, channels * 8]` in 0..1.

    The derivatives are those of a Gaussian of standard deviation 1.
    """
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1).reshape(image.shape)
    dy, dx = np.gradient(smooth, axis=(0, 1)) if min(image.shape[:2]) > 1 else (0 * smooth,) * 2
    angles = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    rises = [np.maximum(np.cos(a) * dx + np.sin(a) * dy, 0) for a in angles.astype(np.float32)]
    texture = np.concatenate(rises, axis=2)
    # Just under 1, so that the largest value falls into the last bin.
    return texture * (0.999 / max(float(texture.max()), 1e-6))


def _histograms(labels: np.ndarray, count: int, values: np.ndarray, bins: int) -> np.ndarray:
    """Return a histogram of every channel for every region, `[count, channels * bins]`, sum 1.

    Args:
        labels: [H, W].
        count: number of labels.
        values: [H, W, channels] in 0..1, 1 excluded.
        bins: bins per channel.
    """
    start = labels.ravel().astype(np.int64) * bins
    parts = [
        np.bincount(start + (channel.ravel() * bins).astype(np.int64), minlength=count * bins)
        for channel in np.moveaxis(values, 2, 0)
    ]
    table = np.concatenate([part.reshape(count, bins) for part in parts], axis=1)
    return (table / table.sum(axis=1, keepdims=True)).astype(np.float32)


def draw_regions(image: np.ndarray, hierarchy: Hierarchy, num_regions: int) -> np.ndarray:
    """Draw the regions at one stage of the merging, each in the mean color of its pixels.

    Args:
        image: [H, W, 3] uint8 RGB, the image of the hierarchy.
        hierarchy: of `merge_regions`.
        num_regions: the number of regions of the stage.

    Returns:
        [H, W, 3] uint8 RGB with white borders between the regions.
    """
    from skimage.color import label2rgb
    from skimage.segmentation import find_boundaries

    labels = hierarchy.labels_at(num_regions)
    drawn = label2rgb(labels, image, kind="avg", bg_label=-1).astype(np.uint8)
    drawn[find_boundaries(labels, mode="inner")] = 255
    return drawn
