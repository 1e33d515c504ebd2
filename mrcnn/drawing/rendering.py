"""Instances drawn into an array with OpenCV: masks, outlines, boxes and labels.

`mrcnn.visualize` shows figures with matplotlib; this module returns a uint8 image of the size of
the input, for files, videos and servers without a display.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.drawing.colors import Color, instance_colors
from mrcnn.drawing.labels import LabelPlacer, instance_captions, label_image
from mrcnn.files.atomic import atomic_path
from mrcnn.files.names import printable

if TYPE_CHECKING:
    from mrcnn.geometry.rle import RleMasks

# RGB, 0..255.
_Rgb = tuple[int, int, int]
# Smaller letters cannot be read.
_LEGIBLE = 9


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
    max_label: float = math.inf,
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
        max_label: leave out labels that would have more than this share of the area of their box.

    Returns:
        [H, W, 3] uint8 RGB, a new array. Line widths and letters follow the sizes of the
            image and of the instances. Labels do not cover each other; where there is no room for
            one it is left out.

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
    style = _Style.of(canvas.shape, shapes.boxes)
    boxes, order = shapes.boxes, _large_first(shapes.boxes)
    if show_mask and shapes.masks is not None:
        for i in order:
            _paint_mask(
                canvas, shapes.masks, boxes[i], i, palette[i], alpha, style.outline_for(boxes[i])
            )
    if show_bbox:
        for i in order:
            y1, x1, y2, x2 = (int(v) for v in boxes[i])
            cv2.rectangle(
                canvas, (x1, y1), (x2 - 1, y2 - 1), palette[i], style.box_line_for(boxes[i])
            )
    if show_label:
        _paint_labels(canvas, boxes, texts, palette, order, style, max_label)
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
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        done, data = cv2.imencode(path.suffix or ".", bgr, flags)
    except cv2.error:
        done = False
    if not done:
        raise ValueError(f"path is {path}; it must end in an image format such as .jpg or .png")
    # Not cv2.imwrite, which fails on non-ASCII paths on Windows.
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.data)
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
    """Line widths and letter heights in pixels.

    In a photograph they follow the size of the image, so that they can be seen when it is shown
    whole. Where the objects are small for the image they follow the objects, which lines and
    labels made for the image would cover.
    """

    box_line: float
    outline: float
    letters_min: int
    letters_max: int

    @classmethod
    def of(cls, shape: Sequence[int], boxes: np.ndarray) -> _Style:
        """Choose sizes for an image of `shape` with these instances."""
        side = float(np.sqrt(shape[0] * shape[1]))
        extents = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
        typical = float(np.median(extents)) if len(boxes) else side
        return cls(
            box_line=side * 0.0016,
            outline=side * 0.0022,
            letters_min=max(_LEGIBLE, round(min(side * 0.0115, typical * 0.16))),
            letters_max=max(_LEGIBLE, round(side * 0.021)),
        )

    def letters_for(self, box: np.ndarray) -> list[int]:
        """Return letter heights for one box, the best first; smaller ones where room is short."""
        size = float(np.clip(_extent(box) * 0.12, self.letters_min, self.letters_max))
        return sorted(
            {max(_LEGIBLE, round(size * share)) for share in (1, 0.75, 0.5)}, reverse=True
        )

    def box_line_for(self, box: np.ndarray) -> int:
        """Return the width of the line around one box."""
        return max(1, round(min(self.box_line, _extent(box) * 0.012)))

    def outline_for(self, box: np.ndarray) -> int:
        """Return the width of the outline of one mask."""
        return max(1, round(min(self.outline, _extent(box) * 0.02)))


def _extent(box: np.ndarray) -> float:
    """Return the side of a square of the area of a box."""
    return float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))


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
    from mrcnn.geometry.masks import sized_masks
    from mrcnn.geometry.rle import RleMasks

    if masks is None:
        return None
    masks = masks if isinstance(masks, RleMasks) else sized_masks(masks, size)
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
    return instance_captions(shapes.class_ids, class_names, shapes.scores, count)


def _paint_mask(
    canvas: np.ndarray,
    masks: np.ndarray | RleMasks,
    box: np.ndarray,
    index: int,
    color: _Rgb,
    alpha: float,
    width: int,
) -> None:
    """Fill one mask inside its box and draw its outline, `width` pixels wide."""
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
    cv2.polylines(canvas, lines, True, color, width, cv2.LINE_AA, shift=4)


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
    max_label: float,
) -> None:
    """Write the labels, each where it hides as little as possible of the instances."""
    placer = LabelPlacer(boxes, (0, 0, *canvas.shape[:2]))
    for i in order:
        for size in style.letters_for(boxes[i]) if texts[i] else ():
            tag = label_image(texts[i], size, palette[i])
            if tag.shape[0] * tag.shape[1] > max_label * _extent(boxes[i]) ** 2:
                continue
            place = placer.place(boxes[i], *tag.shape[:2])
            if place is not None:
                y, x = (int(value) for value in place)
                region = canvas[y : y + tag.shape[0], x : x + tag.shape[1]]
                region[:] = tag[: region.shape[0], : region.shape[1]]
                break
