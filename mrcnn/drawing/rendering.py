"""Fast pictures of instances: masks, outlines, boxes and labels drawn straight into an array.

``mrcnn.visualize`` shows figures through matplotlib; this module draws with OpenCV into a
uint8 picture of the input's own size, for files, videos and servers without a display.
"""

from __future__ import annotations

import colorsys
import functools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.files.atomic import atomic_path

Color = tuple[float, float, float]

# Strong, mutually distinct, and visible on sky, skin, grass and asphalt alike.
_PALETTE = (
    "1f8fff ff7a1a 22c55e f43fb0 facc15 8b5cf6 14d3e0 ff3d4d a3e635 c084fc "
    "0fb89a ff9d8a 5b6cff d97706 7dd3fc e11d74 65a30d ffe08a b45bd6 2dd4a7"
).split()
_GOLDEN_RATIO = 0.61803398875

_LIGHT = (255, 255, 255)
_DARK = (16, 18, 22)


def fixed_colors(count: int) -> list[Color]:
    """Return the first `count` colours of a palette that never changes.

    Unlike `mrcnn.visualize.random_colors`, colour k is the same in every call, whatever
    `count` is, so that a class keeps its colour from one picture to the next.

    Args:
        count: How many colours, 0 or more. Past the 20 hand-picked ones, hues follow the
            golden ratio, so that neighbours stay far apart.

    Returns:
        RGB tuples of floats in 0..1, as matplotlib and `display_instances` take them.
    """
    if count < 0:
        raise ValueError(f"count must be 0 or more, got {count}")
    colors = [tuple(int(h[i : i + 2], 16) / 255 for i in (0, 2, 4)) for h in _PALETTE[:count]]
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
        image: [H, W, 3] uint8 RGB; grey, RGBA and 16-bit pictures are converted.
        result_or_boxes: One result of `MaskRCNN.detect` (a dict with `rois`, `masks` or `rles`,
            `class_ids`, `scores`), or boxes [N, (y1, x1, y2, x2)] in pixels with an exclusive
            lower right corner, or None for the boxes of the masks.
        masks: [H, W, N] bool. Only the part inside each box is drawn.
        class_ids: [N] int, into `class_names`.
        class_names: Names by class id, the background first. Without it the ids are written.
        scores: [N] float in 0..1, or None.
        colors: N RGB tuples of floats in 0..1; overrules `color_by`.
        color_by: "class" gives every class its colour in every picture; "instance" tells
            instances of one class apart.
        captions: N texts that replace name and score; None or "" draws no label.
        show_mask: Fill the masks and draw their outlines.
        show_bbox: Draw the boxes.
        show_label: Write the labels.
        alpha: Opacity of the mask's fill, 0..1.

    Returns:
        [H, W, 3] uint8 RGB, a new array. Line widths and letters follow the picture's size.

    Raises:
        ValueError: if the counts of boxes, masks, ids, scores, colours or captions differ,
            a mask's size is not the picture's, or an option is out of range.

    Example:
        >>> result = model.detect([image])[0]
        >>> picture = draw_instances(image, result, class_names=names)
    """
    import cv2

    from mrcnn.geometry.images import as_rgb

    canvas = np.array(as_rgb(image), dtype=np.uint8, order="C")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in 0..1, got {alpha}")
    shapes = _collect(result_or_boxes, masks, class_ids, scores, canvas.shape[:2])
    count = len(shapes.boxes)
    palette = _instance_colors(colors, color_by, shapes.class_ids, count)
    texts = _captions(captions, shapes, class_names, count)
    style = _Style.of(canvas.shape)

    # Large ones first: what lies in front of them, or inside, stays visible.
    boxes = shapes.boxes
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = [i for i in np.argsort(-areas, kind="stable") if areas[i] > 0]
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


def save_instances(
    path: str | Path,
    image: np.ndarray,
    result_or_boxes: Mapping[str, np.ndarray] | np.ndarray | None,
    *args: Any,
    quality: int = 92,
    **options: Any,
) -> Path:
    """Draw instances as `draw_instances` does and write the picture to a file.

    Args:
        path: Where to write; the suffix chooses the format (.jpg, .png, ...). Missing
            folders are made.
        image: As for `draw_instances`, and so are the arguments that follow.
        result_or_boxes: See `draw_instances`.
        *args: Masks, class ids, class names, scores.
        quality: JPEG and WebP quality, 1..100.
        **options: Keyword arguments of `draw_instances`.

    Returns:
        The path written.

    Raises:
        ValueError: if OpenCV cannot write the suffix's format.
    """
    return write_image(path, draw_instances(image, result_or_boxes, *args, **options), quality)


def write_image(path: str | Path, image: np.ndarray, quality: int = 92) -> Path:
    """Write an [H, W, 3] uint8 RGB array to a picture file and return its path."""
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
        raise ValueError(f"path must end in a picture format such as .jpg or .png, got {path}")
    # Not cv2.imwrite, which fails on non-ASCII paths on Windows.
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())
    return path


@dataclass(frozen=True)
class _Shapes:
    """Checked arrays of N instances; boxes are clipped to the picture."""

    boxes: np.ndarray
    masks: np.ndarray | None
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
        """Choose for a picture of `shape`."""
        side = float(np.sqrt(shape[0] * shape[1]))
        return cls(
            box_line=max(1, round(side * 0.0016)),
            outline=max(1, round(side * 0.0022)),
            # Nobody can read letters under 9 pixels.
            letters_min=max(9, round(side * 0.0115)),
            letters_max=max(9, round(side * 0.021)),
        )

    def letters_for(self, box: np.ndarray) -> int:
        """Return the letter height for one box: small instances get small labels."""
        extent = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
        return int(np.clip(round(extent * 0.12), self.letters_min, self.letters_max))


def _collect(
    result_or_boxes: Mapping[str, np.ndarray] | np.ndarray | None,
    masks: np.ndarray | None,
    class_ids: np.ndarray | None,
    scores: np.ndarray | None,
    size: tuple[int, int],
) -> _Shapes:
    """Bring the two ways of calling together and check that the counts agree."""
    from mrcnn.geometry.rle import RleMasks

    boxes = result_or_boxes
    if isinstance(result_or_boxes, Mapping):
        result = result_or_boxes
        if "rois" not in result:
            raise ValueError(f"a detect() result must have 'rois', got keys {sorted(result)}")
        boxes = result["rois"]
        if masks is None:
            rles = result.get("rles")
            masks = result.get("masks") if rles is None else RleMasks(list(rles), size)
        class_ids = result.get("class_ids") if class_ids is None else class_ids
        scores = result.get("scores") if scores is None else scores
    if masks is not None:
        masks = masks if isinstance(masks, RleMasks) else np.asarray(masks)
        if masks.ndim != 3 or tuple(masks.shape[:2]) != size:
            raise ValueError(f"masks must be [H, W, N] of the picture's {size}, got {masks.shape}")
    if boxes is None:
        from mrcnn.geometry.boxes import extract_bboxes

        boxes = np.zeros((0, 4)) if masks is None else extract_bboxes(masks)
    boxes = np.asarray(boxes)
    if boxes.size == 0:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must be [N, (y1, x1, y2, x2)], got shape {boxes.shape}")
    lengths = {"masks": None if masks is None else masks.shape[2]}
    lengths["class_ids"] = None if class_ids is None else len(class_ids)
    lengths["scores"] = None if scores is None else len(scores)
    for name, length in lengths.items():
        if length is not None and length != len(boxes):
            raise ValueError(f"{name} must have one entry a box ({len(boxes)}), got {length}")
    height, width = size
    boxes = np.clip(np.rint(boxes), 0, [height, width, height, width]).astype(np.int64)
    return _Shapes(
        boxes,
        masks,
        None if class_ids is None else np.asarray(class_ids),
        None if scores is None else np.asarray(scores),
    )


def _instance_colors(
    colors: Sequence[Color] | None, color_by: str, class_ids: np.ndarray | None, count: int
) -> list[tuple[int, int, int]]:
    """Return one 0..255 RGB tuple an instance."""
    if color_by not in ("class", "instance"):
        raise ValueError(f"color_by must be 'class' or 'instance', got {color_by!r}")
    if colors is None:
        if color_by == "class" and class_ids is not None and count:
            # Class 0 is the background, so the first colour goes to class 1.
            palette = fixed_colors(max(1, int(class_ids.max())))
            colors = [palette[max(0, int(c) - 1)] for c in class_ids]
        else:
            colors = fixed_colors(count)
    if len(colors) < count:
        raise ValueError(f"colors must have one entry a box ({count}), got {len(colors)}")
    return [tuple(round(255 * float(c)) for c in color[:3]) for color in colors[:count]]


def _captions(
    captions: Sequence[str | None] | None,
    shapes: _Shapes,
    class_names: Sequence[str] | None,
    count: int,
) -> list[str]:
    """Return one text an instance: its caption, or name and score."""
    if captions is not None:
        if len(captions) != count:
            raise ValueError(f"captions must have one entry a box ({count}), got {len(captions)}")
        return [caption or "" for caption in captions]
    texts = []
    for i in range(count):
        parts = []
        if shapes.class_ids is not None:
            k = int(shapes.class_ids[i])
            known = class_names is not None and 0 <= k < len(class_names)
            parts.append(str(class_names[k]) if known else f"class {k}")
        if shapes.scores is not None:
            parts.append(f"{float(shapes.scores[i]):.2f}")
        texts.append(" ".join(parts))
    return texts


def _paint_mask(
    canvas: np.ndarray,
    masks: np.ndarray,
    box: np.ndarray,
    index: int,
    color: tuple[int, int, int],
    alpha: float,
    style: _Style,
) -> None:
    """Blend one mask's fill inside its box and draw its outline."""
    import cv2

    y1, x1, y2, x2 = box
    crop = (masks[y1:y2, x1:x2, index] > 0.5).astype(np.uint8)
    region = canvas[y1:y2, x1:x2]
    # A colour matrix: keep 1 - alpha of each channel and add alpha of the colour.
    blend = np.hstack([np.eye(3) * (1 - alpha), alpha * np.float64(color)[:, None]])
    cv2.copyTo(cv2.transform(region, blend), crop, region)
    contours, _ = cv2.findContours(
        crop, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(int(x1), int(y1))
    )
    lines = [_smooth(contour) for contour in contours]
    cv2.polylines(canvas, lines, True, color, style.outline, cv2.LINE_AA, shift=4)


def _smooth(contour: np.ndarray) -> np.ndarray:
    """Average a closed pixel contour along itself, in 1/16 pixels: no staircase."""
    import cv2

    points = contour[:, 0, :].astype(np.float32)
    if len(points) >= 12:
        around = np.concatenate([points[-2:], points, points[:2]]).cumsum(axis=0)
        around = np.concatenate([np.zeros((1, 2), np.float32), around])
        points = (around[5:] - around[:-5]) / 5
        # Straight stretches need no points in between; drawing time goes by their number.
        points = cv2.approxPolyDP(points, 0.25, True)[:, 0, :]
    return np.rint(points * 16).astype(np.int32)[:, None]


def _paint_labels(
    canvas: np.ndarray,
    boxes: np.ndarray,
    texts: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
    order: Sequence[int],
    style: _Style,
) -> None:
    """Write the labels, each where it hides least of other labels and of the instances."""
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


def _tag(text: str, size: int, color: tuple[int, int, int]) -> np.ndarray:
    """Return a label as a picture: dark or light letters on `color`, whichever reads better."""
    letters = _letters(text, size)
    padding = max(2, round(size * 0.25))
    ink = _LIGHT if np.dot(color, (0.299, 0.587, 0.114)) < 140 else _DARK
    coverage = np.pad(letters, ((padding // 2, padding // 2), (padding, padding)))[..., None]
    tag = np.float32(color) + coverage * (np.float32(ink) - np.float32(color))
    return np.rint(tag).astype(np.uint8)


def _place(
    box: np.ndarray,
    height: int,
    width: int,
    shape: Sequence[int],
    taken: np.ndarray,
    boxes: np.ndarray,
) -> tuple[int, int] | None:
    """Choose the upper left corner of a label, None where the picture is too crowded for it.

    Corners of the box, outside and inside, in order of preference; the cost of each is the
    share of other labels under this one and the shares of instances it would hide.
    """
    y1, x1, y2, x2 = box
    right = x2 - width
    wishes = [(y1 - height, x1), (y1 - height, right), (y1, x1), (y2, x1), (y2, right)]
    wishes += [(y2 - height, x1), (y2 - height, right), (y1, x2), (y1, x1 - width)]
    room = (max(0, shape[0] - height), max(0, shape[1] - width))
    corners = np.clip(np.array(wishes), 0, room)
    tags = np.concatenate([corners, corners + np.array([height, width])], axis=1)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    hidden = _intersections(tags, taken).sum(axis=1) / (height * width)
    covered = (_intersections(tags, boxes) / areas).sum(axis=1)
    best = np.argmin(3 * hidden + covered + 0.01 * np.arange(len(tags)))
    # On top of another label neither could be read; over a whole neighbour it does harm.
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
    """Return a text's coverage, [height, width] float32 in 0..1, `size` pixels high letters.

    The face is DejaVu Sans Bold, which matplotlib carries: Latin, Greek, Cyrillic, no OpenCV
    stroke letters. Other scripts take a face that is installed. The height depends on `size`
    alone, so that all labels line up.
    """
    from PIL import Image, ImageDraw

    ascent, descent = _font(_plain_face(), size).getmetrics()
    missing = frozenset() if text.isascii() else _characters(text) - _glyphs_of(_plain_face())
    font = _font(_face_with(missing), size)
    width = max(1, int(np.ceil(font.getlength(text))))
    picture = Image.new("L", (width, ascent + descent), 0)
    ImageDraw.Draw(picture).text((0, ascent), text, fill=255, font=font, anchor="ls")
    return np.asarray(picture, dtype=np.float32) / 255


@functools.lru_cache(maxsize=32)
def _font(face: str, size: int) -> Any:
    """Load a face at `size` pixels."""
    from PIL import ImageFont

    return ImageFont.truetype(face, size)


@functools.cache
def _plain_face() -> str:
    """The file of the face for labels."""
    import matplotlib

    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf"))


def _characters(text: str) -> frozenset[int]:
    return frozenset(ord(letter) for letter in text if not letter.isspace())


@functools.lru_cache(maxsize=2)
def _glyphs_of(face: str) -> frozenset[int]:
    """The code points that a font file has letters for; none if it cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(face).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


@functools.lru_cache(maxsize=256)
def _face_with(missing: frozenset[int]) -> str:
    """The first installed face with these characters and with digits, or the plain one."""
    from matplotlib import font_manager

    if not missing:
        return _plain_face()
    wanted = missing | _characters("0123456789.")
    for face in sorted({font.fname for font in font_manager.fontManager.ttflist}):
        # This one has every character, each drawn as the name of its script.
        if "LastResort" not in face and wanted <= _glyphs_of(face):
            return face
    warnings.warn(
        f"no installed font has {''.join(map(chr, sorted(missing)))!r}: labels show boxes instead. "
        "Install one (for Chinese, Japanese and Korean: fonts-noto-cjk).",
        stacklevel=2,
    )
    return _plain_face()
