"""Instances drawn into an array with OpenCV: masks, outlines, boxes and labels.

`mrcnn.visualize` shows figures with matplotlib; this module returns a uint8 image of the size of
the input, for files, videos and servers without a display.
"""

from __future__ import annotations

import colorsys
import functools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.files.atomic import atomic_path
from mrcnn.files.names import printable

if TYPE_CHECKING:
    from mrcnn.geometry.rle import RleMasks

Color = tuple[float, float, float]
# 0..255.
_Rgb = tuple[int, int, int]

# Saturated, mutually distinct, and visible on sky, skin, grass and asphalt.
_PALETTE = (
    "1f8fff ff7a1a 22c55e f43fb0 facc15 8b5cf6 14d3e0 ff3d4d a3e635 c084fc "
    "0fb89a ff9d8a 5b6cff d97706 7dd3fc e11d74 65a30d ffe08a b45bd6 2dd4a7"
).split()
_GOLDEN_RATIO = 0.61803398875

_LIGHT = (255, 255, 255)
_DARK = (16, 18, 22)


def fixed_colors(count: int) -> list[Color]:
    """Return the first `count` colors of a fixed palette.

    Unlike in `mrcnn.visualize.random_colors`, color k is the same in every call, for every `count`,
    so that a class has the same color in every image.

    Args:
        count: number of colors, at least 0. After the 20 chosen manually, hues follow the golden
            ratio, so that neighbors are far apart.

    Returns:
        RGB tuples of floats in 0..1, as matplotlib and `display_instances` accept them.

    Raises:
        ValueError: `count` is negative.
    """
    if count < 0:
        raise ValueError(f"count is {count}; it must be at least 0")
    colors: list[Color] = []
    for h in _PALETTE[:count]:
        colors.append((int(h[:2], 16) / 255, int(h[2:4], 16) / 255, int(h[4:], 16) / 255))
    for k in range(len(colors), count):
        hue = (k * _GOLDEN_RATIO) % 1.0
        saturation = (0.85, 0.6, 0.95)[k % 3]
        colors.append(colorsys.hsv_to_rgb(hue, saturation, (1.0, 0.85)[k % 2]))
    return colors


def draw_instances(
    image: np.ndarray,
    result_or_boxes: Mapping[str, np.ndarray] | np.ndarray | None,
    masks: np.ndarray | None = None,
    class_ids: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    scores: np.ndarray | None = None,
    *,
    colors: Sequence[Color] | None = None,
    color_by: str = "class",
    captions: Sequence[str | None] | None = None,
    show_mask: bool = True,
    show_bbox: bool = True,
    show_label: bool = True,
    alpha: float = 0.45,
) -> np.ndarray:
    """Draw instances into a copy of an image.

    Args:
        image: [H, W, 3] uint8 RGB; gray, RGBA and 16-bit images are converted.
        result_or_boxes: one result of `MaskRCNN.detect` (a dict with `rois`, `masks` or `rles`,
            `class_ids`, `scores`), or boxes [N, (y1, x1, y2, x2)] in pixels with an exclusive
            lower right corner, or None for the boxes of the masks.
        masks: [H, W, N] bool. Only the part inside each box is drawn.
        class_ids: [N] int, indices into `class_names`.
        class_names: names by class id, the background first. Without it the ids are written.
        scores: [N] float in 0..1, or None.
        colors: N RGB tuples of floats in 0..1, used instead of `color_by`.
        color_by: "class" gives every class the same color in every image; "instance" gives
            instances of one class different colors.
        captions: N texts that replace name and score; None or "" draws no label.
        show_mask: fill the masks and draw their outlines.
        show_bbox: draw the boxes.
        show_label: write the labels.
        alpha: opacity of the filled masks, 0..1.

    Returns:
        [H, W, 3] uint8 RGB, a new array. Line widths and letters follow the size of the image.

    Raises:
        ValueError: the numbers of boxes, masks, ids, scores, colors or captions differ, the size
            of the masks is not that of the image, or an option is out of range.

    Example:
        >>> image = np.zeros((64, 96, 3), np.uint8)
        >>> result = {
        ...     "rois": np.array([[20, 30, 40, 60]]),
        ...     "class_ids": np.array([1]),
        ...     "scores": np.array([0.9]),
        ... }
        >>> drawn = draw_instances(image, result, class_names=["BG", "cat"])
        >>> drawn.shape, bool((drawn != image).any())
        ((64, 96, 3), True)
    """
    import cv2

    from mrcnn.geometry.images import as_rgb

    canvas = np.array(as_rgb(image), dtype=np.uint8, order="C")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it must be in 0..1")
    shapes = _collect(result_or_boxes, masks, class_ids, scores, canvas.shape[:2])
    count = len(shapes.boxes)
    palette = _instance_colors(colors, color_by, shapes.class_ids, count)
    texts = _captions(captions, shapes, class_names, count)
    style = _Style.of(canvas.shape)
    boxes, order = shapes.boxes, _large_first(shapes.boxes)
    if show_mask and shapes.masks is not None:
        for i in order:
            _paint_mask(canvas, shapes.masks, boxes[i], i, palette[i], alpha, style)
    if show_bbox:
        for i in order:
            y1, x1, y2, x2 = (int(v) for v in boxes[i])
            cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), palette[i], style.box_line)
    if show_label:
        _paint_labels(canvas, boxes, texts, palette, order, style)
    return canvas


def _large_first(boxes: np.ndarray) -> list[int]:
    """Return the indices of the boxes that have an area: small ones are drawn over large ones."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return [int(i) for i in np.argsort(-areas, kind="stable") if areas[i] > 0]


def save_instances(
    path: str | Path,
    image: np.ndarray,
    result_or_boxes: Mapping[str, np.ndarray] | np.ndarray | None,
    *args: Any,
    quality: int = 92,
    **options: Any,
) -> Path:
    """Draw instances as `draw_instances` does and write the image to a file.

    Args:
        path: the file; its suffix chooses the format (.jpg, .png, ...). Missing folders are made.
        image: as for `draw_instances`.
        result_or_boxes: as for `draw_instances`.
        *args: masks, class ids, class names and scores, as for `draw_instances`.
        quality: JPEG and WebP quality, 1..100.
        **options: keyword arguments of `draw_instances`.

    Returns:
        The path.

    Raises:
        ValueError: the suffix names no format that OpenCV writes.
        OSError: the file cannot be written; an earlier file of that name stays as it was.
    """
    return write_image(path, draw_instances(image, result_or_boxes, *args, **options), quality)


def write_image(path: str | Path, image: np.ndarray, quality: int = 92) -> Path:
    """Write an [H, W, 3] uint8 RGB array to an image file, whole or not at all; return its path."""
    import cv2

    path = Path(path)
    keys = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY}
    keys[".jpeg"] = keys[".jpg"]
    flags = [keys[path.suffix.lower()], quality] if path.suffix.lower() in keys else []
    try:
        done, data = cv2.imencode(path.suffix or ".", image[..., ::-1], flags)
    except cv2.error:
        done = False
    if not done:
        raise ValueError(f"path is {path}; it must end in an image format such as .jpg or .png")
    # Not cv2.imwrite, which fails on non-ASCII paths on Windows.
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())
    return path


@dataclass(frozen=True)
class _Shapes:
    """Validated arrays of N instances; boxes are clipped to the image."""

    boxes: np.ndarray
    masks: np.ndarray | RleMasks | None
    class_ids: np.ndarray | None
    scores: np.ndarray | None


@dataclass(frozen=True)
class _Style:
    """Line widths and letter heights in pixels."""

    box_line: int
    outline: int
    letters_min: int
    letters_max: int

    @classmethod
    def of(cls, shape: Sequence[int]) -> _Style:
        """Choose sizes for an image of `shape`."""
        side = float(np.sqrt(shape[0] * shape[1]))
        return cls(
            box_line=max(1, round(side * 0.0016)),
            outline=max(1, round(side * 0.0022)),
            # Letters under 9 pixels cannot be read.
            letters_min=max(9, round(side * 0.0115)),
            letters_max=max(9, round(side * 0.021)),
        )

    def letters_for(self, box: np.ndarray) -> int:
        """Return the letter height for one box: small instances get small labels."""
        extent = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
        return int(np.clip(round(extent * 0.12), self.letters_min, self.letters_max))


def _collect(
    result_or_boxes: Mapping[str, Any] | np.ndarray | None,
    masks: np.ndarray | RleMasks | None,
    class_ids: np.ndarray | None,
    scores: np.ndarray | None,
    size: tuple[int, int],
) -> _Shapes:
    """Validate the instances of a result or of separate arrays, for an image of (height, width)."""
    boxes = result_or_boxes
    if isinstance(result_or_boxes, Mapping):
        result = result_or_boxes
        if "rois" not in result:
            raise ValueError(f"result has the keys {sorted(result)}; it must have 'rois'")
        boxes = result["rois"]
        masks = _masks_of(result, size) if masks is None else masks
        class_ids = result.get("class_ids") if class_ids is None else class_ids
        scores = result.get("scores") if scores is None else scores
    masks = _valid_masks(masks, size)
    boxes = _valid_boxes(boxes, masks, size)
    lengths = {
        "masks": None if masks is None else masks.shape[2],
        "class_ids": None if class_ids is None else len(class_ids),
        "scores": None if scores is None else len(scores),
    }
    for name, length in lengths.items():
        if length is not None and length != len(boxes):
            raise ValueError(
                f"{name} has {length} entries; it must have one per box ({len(boxes)})"
            )
    return _Shapes(
        boxes,
        masks,
        None if class_ids is None else np.asarray(class_ids),
        None if scores is None else np.asarray(scores),
    )


def _masks_of(result: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray | RleMasks | None:
    """Return the masks of a result, also where they are run lengths."""
    from mrcnn.geometry.rle import RleMasks

    rles = result.get("rles")
    return result.get("masks") if rles is None else RleMasks(list(rles), size)


def _valid_masks(
    masks: np.ndarray | RleMasks | None, size: tuple[int, int]
) -> np.ndarray | RleMasks | None:
    """Return masks [H, W, N] of the size of the image, or None."""
    from mrcnn.geometry.rle import RleMasks

    if masks is None:
        return None
    masks = masks if isinstance(masks, RleMasks) else np.asarray(masks)
    if masks.ndim != 3 or tuple(masks.shape[:2]) != size:
        raise ValueError(
            f"masks have the shape {tuple(masks.shape)}; it must be [H, W, N] with (H, W) of the "
            f"image, {size}"
        )
    return masks


def _valid_boxes(
    boxes: Any, masks: np.ndarray | RleMasks | None, size: tuple[int, int]
) -> np.ndarray:
    """Return boxes [N, 4] int64 clipped to the image; those of the masks where there are none."""
    from mrcnn.geometry.boxes import extract_bboxes

    if boxes is None:
        boxes = extract_bboxes(masks) if isinstance(masks, np.ndarray) else np.zeros((0, 4))
    boxes = np.asarray(boxes)
    if boxes.size == 0:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes have the shape {boxes.shape}; it must be [N, (y1, x1, y2, x2)]")
    height, width = size
    return np.clip(np.rint(boxes), 0, [height, width, height, width]).astype(np.int64)


def _instance_colors(
    colors: Sequence[Color] | None, color_by: str, class_ids: np.ndarray | None, count: int
) -> list[_Rgb]:
    """Return one 0..255 RGB tuple per instance."""
    if colors is None:
        colors = instance_colors(class_ids, color_by, count)
    if len(colors) < count:
        raise ValueError(f"colors has {len(colors)} entries; it must have one per box ({count})")
    return [
        (round(255 * float(c[0])), round(255 * float(c[1])), round(255 * float(c[2])))
        for c in colors[:count]
    ]


def instance_colors(class_ids: np.ndarray | None, color_by: str, count: int) -> list[Color]:
    """Return one color per instance, the same in every call.

    Args:
        class_ids: [count] int, or None where the classes are unknown.
        color_by: "class" or "instance": what gets a color of its own.
        count: number of instances.

    Returns:
        RGB tuples of floats in 0..1.

    Raises:
        ValueError: `color_by` is another word.
    """
    if color_by not in ("class", "instance"):
        raise ValueError(f"color_by is {color_by!r}; it must be 'class' or 'instance'")
    if color_by == "instance" or class_ids is None:
        return fixed_colors(count)
    # Class 0 is the background, so the first color belongs to class 1.
    palette = fixed_colors(max([1, *(int(k) for k in class_ids)]))
    return [palette[max(0, int(k) - 1)] for k in class_ids]


def _captions(
    captions: Sequence[str | None] | None,
    shapes: _Shapes,
    class_names: Sequence[str] | None,
    count: int,
) -> list[str]:
    """Return one text per instance: its caption, or name and score."""
    if captions is not None:
        if len(captions) != count:
            raise ValueError(
                f"captions has {len(captions)} entries; it must have one per box ({count})"
            )
        return [printable(caption or "") for caption in captions]
    texts = []
    for i in range(count):
        parts = []
        if shapes.class_ids is not None:
            parts.append(_class_name(int(shapes.class_ids[i]), class_names))
        if shapes.scores is not None:
            parts.append(f"{float(shapes.scores[i]):.2f}")
        texts.append(" ".join(parts))
    return texts


def _class_name(class_id: int, class_names: Sequence[str] | None) -> str:
    """Return the name of a class in printable characters, "class 7" where it is unknown."""
    if class_names is None or not 0 <= class_id < len(class_names):
        return f"class {class_id}"
    return printable(class_names[class_id])


def _paint_mask(
    canvas: np.ndarray,
    masks: np.ndarray | RleMasks,
    box: np.ndarray,
    index: int,
    color: _Rgb,
    alpha: float,
    style: _Style,
) -> None:
    """Fill one mask inside its box and draw its outline."""
    import cv2

    y1, x1, y2, x2 = box
    crop = (masks[y1:y2, x1:x2, index] > 0.5).astype(np.uint8)
    region = canvas[y1:y2, x1:x2]
    # A matrix that keeps 1 - alpha of each channel and adds alpha of the color.
    blend = np.hstack([np.eye(3) * (1 - alpha), alpha * np.array(color, np.float64)[:, None]])
    cv2.copyTo(cv2.transform(region, blend), crop, region)
    contours, _ = cv2.findContours(
        crop, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(int(x1), int(y1))
    )
    lines = [_smooth(contour) for contour in contours]
    cv2.polylines(canvas, lines, True, color, style.outline, cv2.LINE_AA, shift=4)


def _smooth(contour: np.ndarray) -> np.ndarray:
    """Smooth the steps of a closed pixel contour by a moving average, in 1/16 pixels."""
    import cv2

    points = contour[:, 0, :].astype(np.float32)
    if len(points) >= 12:
        around = np.concatenate([points[-2:], points, points[:2]]).cumsum(axis=0)
        around = np.concatenate([np.zeros((1, 2), np.float32), around])
        points = (around[5:] - around[:-5]) / 5
        # Straight stretches need no points in between: drawing time grows with their number.
        points = cv2.approxPolyDP(points, 0.25, True)[:, 0, :]
    return np.rint(points * 16).astype(np.int32)[:, None]


def _paint_labels(
    canvas: np.ndarray,
    boxes: np.ndarray,
    texts: Sequence[str],
    palette: Sequence[_Rgb],
    order: Sequence[int],
    style: _Style,
) -> None:
    """Write the labels, each where it hides as little as possible of labels and instances."""
    taken = np.zeros((0, 4), dtype=np.int64)
    shown = boxes[list(order)]
    for i in order:
        if not texts[i]:
            continue
        tag = _tag(texts[i], style.letters_for(boxes[i]), palette[i])
        height, width = tag.shape[:2]
        place = _place(boxes[i], height, width, canvas.shape, taken, shown)
        if place is None:
            continue
        y, x = place
        taken = np.vstack([taken, [y, x, y + height, x + width]])
        region = canvas[y : y + height, x : x + width]
        region[:] = tag[: region.shape[0], : region.shape[1]]


def _tag(text: str, size: int, color: _Rgb) -> np.ndarray:
    """Return a label as an image: letters on `color`, dark or light for the higher contrast."""
    letters = _letters(text, size)
    padding = max(2, round(size * 0.25))
    ink = _LIGHT if np.dot(color, (0.299, 0.587, 0.114)) < 140 else _DARK
    coverage = np.pad(letters, ((padding // 2, padding // 2), (padding, padding)))[..., None]
    background = np.array(color, np.float32)
    tag = background + coverage * (np.array(ink, np.float32) - background)
    return np.rint(tag).astype(np.uint8)


def _place(
    box: np.ndarray,
    height: int,
    width: int,
    shape: Sequence[int],
    taken: np.ndarray,
    boxes: np.ndarray,
) -> tuple[int, int] | None:
    """Return the upper left corner (y, x) of a label, None where there is no room for it.

    The candidates are at the corners of the box, outside and inside, in order of preference. The
    cost of each is the share of the label that would hide other labels, plus the shares of the
    instances that it would hide.
    """
    y1, x1, y2, x2 = box
    right = x2 - width
    candidates = [(y1 - height, x1), (y1 - height, right), (y1, x1), (y2, x1), (y2, right)]
    candidates += [(y2 - height, x1), (y2 - height, right), (y1, x2), (y1, x1 - width)]
    room = (max(0, shape[0] - height), max(0, shape[1] - width))
    corners = np.clip(np.array(candidates), 0, room)
    tags = np.concatenate([corners, corners + np.array([height, width])], axis=1)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    hidden = _intersections(tags, taken).sum(axis=1) / (height * width)
    covered = (_intersections(tags, boxes) / areas).sum(axis=1)
    best = np.argmin(3 * hidden + covered + 0.01 * np.arange(len(tags)))
    # Over another label neither could be read, and over a whole instance it hides too much.
    if hidden[best] > 0.3 or covered[best] > 1:
        return None
    y, x = corners[best]
    return int(y), int(x)


def _intersections(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """Return the common area in pixels of every pair, [N1, N2]."""
    low = np.maximum(boxes1[:, None, :2], boxes2[None, :, :2])
    high = np.minimum(boxes1[:, None, 2:], boxes2[None, :, 2:])
    return np.maximum(high - low, 0).prod(axis=2)


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
    import matplotlib

    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf"))


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
    from matplotlib import font_manager

    if not missing:
        return _plain_face()
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
