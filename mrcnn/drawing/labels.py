"""Labels of instances: places where they do not cover each other, and their letters."""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.files.names import printable

_LIGHT = (255, 255, 255)
_DARK = (16, 18, 22)
# Steps of the search around a box, along each of its sides.
_STEPS = 12
# Share of an instance's box from which a label would hide it.
_MOST_COVERED = 0.7


def class_label(class_id: int, class_names: Sequence[str] | None) -> str:
    """Return the name of a class in printable characters, "class 7" where it is unknown."""
    if class_names is None or not 0 <= class_id < len(class_names):
        return f"class {class_id}"
    return printable(class_names[class_id])


def instance_captions(
    class_ids: np.ndarray | None,
    class_names: Sequence[str] | None,
    scores: np.ndarray | None,
    count: int,
) -> list[str]:
    """Return `count` texts "name score"; what is None is left out."""
    names = (
        [""] * count if class_ids is None else [class_label(int(k), class_names) for k in class_ids]
    )
    if scores is None:
        return names
    return [f"{name} {float(score):.2f}".lstrip() for name, score in zip(names, scores)]


class LabelPlacer:
    """Finds a place for one label after the other; none covers an earlier one.

    Args:
        boxes: [N, (y1, x1, y2, x2)] of all instances; labels avoid covering them.
        frame: (y1, x1, y2, x2) that holds the labels, in the units of the boxes.
    """

    def __init__(self, boxes: Sequence[Any] | np.ndarray, frame: Sequence[float]) -> None:
        sides = np.asarray(boxes, float).reshape(-1, 4)
        self._boxes = sides[(sides[:, 2:] > sides[:, :2]).all(axis=1)]
        self._areas = (self._boxes[:, 2:] - self._boxes[:, :2]).prod(axis=1)
        self._frame = np.asarray(frame, float)
        self._taken = np.zeros((0, 4))

    def place(
        self, box: Sequence[float] | np.ndarray, height: float, width: float
    ) -> tuple[float, float] | None:
        """Return the upper left corner (y, x) of a label, None where there is no room for it.

        The corners of the box come first, outside and inside, in order of preference; then places
        along its sides and across it. The least share of instances is covered.

        Args:
            box: (y1, x1, y2, x2) of the instance.
            height: height of the label.
            width: width of the label.
        """
        limits = np.tile(self._frame.reshape(2, 2), 2)
        box = np.clip(np.asarray(box, float), limits[0], limits[1])
        y1, x1, y2, x2 = (float(value) for value in box)
        reach = (y1 - 2 * height, x1 - width - height, y2 + 2 * height, x2 + width + height)
        near = _touching(self._boxes, reach)
        boxes, areas = self._boxes[near], self._areas[near]
        taken = self._taken[_touching(self._taken, reach)]
        for candidates in (_corners, _around):
            corners = candidates(box, height, width)
            room = np.maximum(self._frame[2:] - (height, width), self._frame[:2])
            corners = np.clip(corners, self._frame[:2], room)
            tags = np.concatenate([corners, corners + np.array([height, width])], axis=1)
            hidden = _intersections(tags, taken).sum(axis=1)
            covered = _intersections(tags, boxes) / areas
            free = (hidden <= 0) & (covered.max(axis=1, initial=0) <= _MOST_COVERED)
            if free.any():
                preference = 0.01 * np.arange(len(tags))
                cost = np.where(free, covered.sum(axis=1) + preference, np.inf)
                best = int(np.argmin(cost))
                self._taken = np.vstack([self._taken, tags[best]])
                return float(corners[best, 0]), float(corners[best, 1])
        return None


def _touching(boxes: np.ndarray, area: Sequence[float]) -> np.ndarray:
    """Return which boxes [N, 4] share pixels with an area: in a crowd, few."""
    y1, x1, y2, x2 = area
    return np.flatnonzero(
        (boxes[:, 0] < y2) & (boxes[:, 2] > y1) & (boxes[:, 1] < x2) & (boxes[:, 3] > x1)
    )


def _corners(box: Sequence[float] | np.ndarray, height: float, width: float) -> np.ndarray:
    """Return places at the corners of a box, [9, (y, x)], in order of preference."""
    y1, x1, y2, x2 = (float(value) for value in box)
    right = x2 - width
    places = [(y1 - height, x1), (y1 - height, right), (y1, x1), (y2, x1), (y2, right)]
    places += [(y2 - height, x1), (y2 - height, right), (y1, x2), (y1, x1 - width)]
    return np.array(places)


def _around(box: Sequence[float] | np.ndarray, height: float, width: float) -> np.ndarray:
    """Return places around and in a box, up to the height of a label away, nearest first."""
    y1, x1, y2, x2 = (float(value) for value in box)
    ys = np.linspace(y1 - 2 * height, y2 + height, _STEPS + 1)
    xs = np.linspace(x1 - width - height, x2 + height, _STEPS + 1)
    places = np.stack(np.meshgrid(ys, xs, indexing="ij"), axis=-1).reshape(-1, 2)
    away = np.abs(places - (y1 - height, x1)).sum(axis=1)
    return places[np.argsort(away, kind="stable")]


def _intersections(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """Return the common area in pixels of every pair, [N1, N2]."""
    low = np.maximum(boxes1[:, None, :2], boxes2[None, :, :2])
    high = np.minimum(boxes1[:, None, 2:], boxes2[None, :, 2:])
    return np.maximum(high - low, 0).prod(axis=2)


def label_image(text: str, size: int, color: tuple[int, int, int]) -> np.ndarray:
    """Return a label as an image: letters on `color`, dark or light for the higher contrast."""
    letters = _letters(text, size)
    padding = max(2, round(size * 0.25))
    ink = _LIGHT if np.dot(color, (0.299, 0.587, 0.114)) < 140 else _DARK
    coverage = np.pad(letters, ((padding // 2, padding // 2), (padding, padding)))[..., None]
    background = np.array(color, np.float32)
    tag = background + coverage * (np.array(ink, np.float32) - background)
    return np.rint(tag).astype(np.uint8)


@functools.lru_cache(maxsize=512)
def _letters(text: str, size: int) -> np.ndarray:
    """Return the coverage of a text, [height, width] float32 in 0..1, in letters of `size` pixels.

    The font is DejaVu Sans Bold, which matplotlib includes: Latin, Greek and Cyrillic letters.
    Other scripts use a font that is installed. The height depends on `size` alone, so that all
    labels have the same height.
    """
    from PIL import Image, ImageDraw

    ascent, descent = _font(_plain_face(), size).getmetrics()
    missing = frozenset() if text.isascii() else _characters(text) - _glyphs_of(_plain_face())
    font = _font(_face_with(missing), size)
    width = max(1, int(np.ceil(font.getlength(text))))
    image = Image.new("L", (width, ascent + descent), 0)
    ImageDraw.Draw(image).text((0, ascent), text, fill=255, font=font, anchor="ls")
    return np.asarray(image, dtype=np.float32) / 255


@functools.lru_cache(maxsize=32)
def _font(face: str, size: int) -> Any:
    """Load a font file at `size` pixels."""
    from PIL import ImageFont

    return ImageFont.truetype(face, size)


@functools.cache
def _plain_face() -> str:
    """Return the font file for labels."""
    place = Path("fonts", "ttf", "DejaVuSans-Bold.ttf")
    package = importlib.util.find_spec("matplotlib")
    if package is not None and package.origin is not None:
        face = Path(package.origin).parent / "mpl-data" / place
        if face.is_file():  # without the import, which takes longer than to draw an image
            return str(face)
    import matplotlib

    return str(Path(matplotlib.get_data_path(), place))


def _characters(text: str) -> frozenset[int]:
    """Return the code points of a text without its blanks."""
    return frozenset(ord(letter) for letter in text if not letter.isspace())


@functools.lru_cache(maxsize=2)
def _glyphs_of(face: str) -> frozenset[int]:
    """Return the code points that a font file has glyphs for; none if it cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(face).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


@functools.lru_cache(maxsize=256)
def _face_with(missing: frozenset[int]) -> str:
    """Return the first installed font with these characters and digits, or the plain one."""
    if not missing:
        return _plain_face()
    from matplotlib import font_manager

    wanted = missing | _characters("0123456789.")
    for face in sorted({font.fname for font in font_manager.fontManager.ttflist}):
        # LastResort has a glyph for every character: a box with the name of its script.
        if "LastResort" not in face and wanted <= _glyphs_of(face):
            return face
    warnings.warn(
        f"no installed font has {''.join(map(chr, sorted(missing)))!r}: labels show boxes instead. "
        "Install one (for Chinese, Japanese and Korean: fonts-noto-cjk).",
        stacklevel=2,
    )
    return _plain_face()
