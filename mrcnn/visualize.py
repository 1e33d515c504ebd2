"""Figures of images, masks, boxes and results, with the names of Matterport's `visualize`.

Functions that open a figure of their own show it (`plt.show()`); given an `ax` they draw into
it and leave showing to the caller. To write pictures to files without matplotlib, see
`draw_instances` and `save_instances`.
"""

from __future__ import annotations

import colorsys
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.drawing.figures import as_canvas, connect, frame, outline, rectangle, show, window, write
from mrcnn.drawing.rendering import Color, draw_instances, fixed_colors, save_instances
from mrcnn.drawing.tables import display_table, display_weight_stats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "apply_mask",
    "display_differences",
    "display_images",
    "display_instances",
    "display_table",
    "display_top_masks",
    "display_weight_stats",
    "draw_box",
    "draw_boxes",
    "draw_instances",
    "draw_rois",
    "fixed_colors",
    "plot_overlaps",
    "plot_precision_recall",
    "random_colors",
    "save_instances",
]

NO_INSTANCES = "\n*** No instances to display *** \n"
NO_INSTANCES_HINT = (
    "If you expected some: lower config.DETECTION_MIN_CONFIDENCE, train longer, and make sure\n"
    "that the trained weights were loaded without exclude=[...], which leaves heads random.\n"
)


def __getattr__(name: str) -> Any:
    """Hand out what scripts take from here: plt, patches, lines, Polygon, find_contours.

    They load on first use, because matplotlib and scikit-image are slow to import.
    """
    if name == "plt":
        import matplotlib.pyplot as value
    elif name == "patches":
        from matplotlib import patches as value
    elif name == "lines":
        from matplotlib import lines as value
    elif name == "Polygon":
        from matplotlib.patches import Polygon as value
    elif name == "find_contours":
        from skimage.measure import find_contours as value
    else:
        raise AttributeError(f"module 'mrcnn.visualize' has no attribute {name!r}")
    globals()[name] = value
    return value


def display_images(
    images: Sequence[np.ndarray],
    titles: Sequence[str] | None = None,
    cols: int = 4,
    cmap: Any = None,
    norm: Any = None,
    interpolation: str | None = None,
) -> None:
    """Show images side by side in one figure.

    Args:
        images: Arrays [H, W] or [H, W, 3]; uint8, or anything `imshow` takes.
        titles: One title an image.
        cols: Images in a row.
        cmap: Colour map for [H, W] arrays.
        norm: matplotlib's normalisation of values.
        interpolation: matplotlib's interpolation.
    """
    import matplotlib.pyplot as plt

    titles = [""] * len(images) if titles is None else titles
    rows = max(1, -(-len(images) // cols))
    plt.figure(figsize=(14, max(1, 14 * rows // cols)))
    for k, (image, title) in enumerate(zip(images, titles, strict=False), start=1):
        ax = plt.subplot(rows, cols, k)
        ax.set_title(title, fontsize=9)
        ax.axis("off")
        image = np.asarray(image)
        if image.dtype == bool or (image.ndim == 3 and image.size and image.max() > 1):
            image = image.astype(np.uint8)
        ax.imshow(image, cmap=cmap, norm=norm, interpolation=interpolation)
    show()


def random_colors(N: int, bright: bool = True) -> list[Color]:
    """Return N visually distinct colours in random order.

    Args:
        N: How many.
        bright: Full brightness, else 70 %.

    Returns:
        RGB tuples of floats in 0..1. `fixed_colors` gives the same ones every time.
    """
    brightness = 1.0 if bright else 0.7
    colors = [colorsys.hsv_to_rgb(i / N, 1, brightness) for i in range(N)]
    random.shuffle(colors)
    return colors


def apply_mask(image: np.ndarray, mask: np.ndarray, color: Color, alpha: float = 0.5) -> np.ndarray:
    """Blend a colour into the masked pixels of an image, in place.

    Args:
        image: [H, W, 3] with values in 0..255; changed.
        mask: [H, W], bool or 0 and 1.
        color: RGB floats in 0..1.
        alpha: Opacity of the colour, 0..1.

    Returns:
        The image given.
    """
    rows, columns = window(mask)
    region = image[rows, columns]
    inside = np.asarray(mask)[rows, columns] > 0.5
    tint = np.asarray(color[:3], dtype=np.float64) * (255 * alpha)
    region[inside] = (region[inside] * (1 - alpha) + tint).astype(image.dtype)
    return image


def display_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    masks: np.ndarray,
    class_ids: np.ndarray,
    class_names: Sequence[str],
    scores: np.ndarray | None = None,
    title: str = "",
    figsize: tuple[float, float] = (16, 16),
    ax: Axes | None = None,
    show_mask: bool = True,
    show_bbox: bool = True,
    colors: Sequence[Color] | None = None,
    captions: Sequence[str] | None = None,
    *,
    color_by: str = "instance",
) -> None:
    """Show an image with its instances: masks, outlines, boxes, names and scores.

    Args:
        image: [H, W, 3] with values in 0..255; grey and RGBA pictures are converted.
        boxes: [N, (y1, x1, y2, x2)] in pixels. All-zero boxes are skipped.
        masks: [H, W, N] bool.
        class_ids: [N] int.
        class_names: Names by class id, the background first.
        scores: [N] float in 0..1, or None.
        title: Figure title.
        figsize: Figure size in inches, when no `ax` is given.
        ax: Where to draw. Without it a figure is made and shown.
        show_mask: Fill the masks; their outlines are always drawn.
        show_bbox: Draw the boxes.
        colors: One RGB tuple of floats in 0..1 an instance.
        captions: One text an instance, in place of name and score.
        color_by: Without `colors`: "instance" tells instances apart, "class" gives every
            class its colour in every picture.

    Raises:
        ValueError: if boxes, masks and class_ids differ in number.
    """
    import matplotlib.pyplot as plt

    boxes, class_ids = np.asarray(boxes), np.asarray(class_ids)
    count = len(boxes)
    if count == 0:
        print(NO_INSTANCES + NO_INSTANCES_HINT)
    elif not count == np.shape(masks)[-1] == len(class_ids):
        raise ValueError(
            "boxes, masks and class_ids must describe the same instances, got "
            f"{count} boxes, {np.shape(masks)[-1]} masks and {len(class_ids)} class_ids"
        )
    if colors is None:
        colors = _palette(class_ids, color_by, count)
    owns_figure = ax is None
    if owns_figure:
        _, ax = plt.subplots(1, figsize=figsize)
    canvas = as_canvas(image)
    frame(ax, canvas.shape, margin=10, title=title)
    for i in range(count):
        if not np.any(boxes[i]):
            continue
        mask = np.asarray(masks[:, :, i])
        if show_mask:
            apply_mask(canvas, mask, colors[i])
        if show_bbox:
            rectangle(ax, boxes[i], colors[i], alpha=0.7, style="dashed")
        outline(ax, mask, colors[i])
        if captions is not None:
            caption = captions[i]
        else:
            caption = class_names[class_ids[i]]
            if scores is not None:
                caption = f"{caption} {scores[i]:.3f}"
        y1, x1 = boxes[i][:2]
        write(ax, x1, y1, caption, colors[i])
    ax.imshow(canvas)
    if owns_figure:
        show()


def display_differences(
    image: np.ndarray,
    gt_box: np.ndarray,
    gt_class_id: np.ndarray,
    gt_mask: np.ndarray,
    pred_box: np.ndarray,
    pred_class_id: np.ndarray,
    pred_score: np.ndarray,
    pred_mask: np.ndarray,
    class_names: Sequence[str],
    title: str = "",
    ax: Axes | None = None,
    show_mask: bool = True,
    show_box: bool = True,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.5,
) -> None:
    """Show ground truth (green) and predictions (red) on one image.

    Args:
        image: [H, W, 3] with values in 0..255.
        gt_box: [M, (y1, x1, y2, x2)] in pixels; likewise `gt_class_id` [M] and
            `gt_mask` [H, W, M].
        gt_class_id: See `gt_box`.
        gt_mask: See `gt_box`.
        pred_box: [N, (y1, x1, y2, x2)] in pixels; likewise `pred_class_id` [N],
            `pred_score` [N] and `pred_mask` [H, W, N].
        pred_class_id: See `pred_box`.
        pred_score: See `pred_box`.
        pred_mask: See `pred_box`.
        class_names: Names by class id.
        title: Figure title; a legend where it is empty.
        ax: Where to draw. Without it a figure is made and shown.
        show_mask: Fill the masks.
        show_box: Draw the boxes.
        iou_threshold: Mask IoU from which a prediction matches.
        score_threshold: Predictions below it match nothing.
    """
    from mrcnn.evaluation.matching import compute_matches

    _, pred_match, overlaps = compute_matches(
        gt_box,
        gt_class_id,
        gt_mask,
        pred_box,
        pred_class_id,
        pred_score,
        pred_mask,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
    )
    # compute_matches drops zero padding and sorts by score; captions follow its order.
    used = np.any(np.asarray(pred_box), axis=1) if len(pred_box) else np.zeros(0, dtype=bool)
    order = np.flatnonzero(used)
    order = order[np.argsort(np.asarray(pred_score)[order])[::-1]]
    pred_box, pred_class_id = np.asarray(pred_box)[order], np.asarray(pred_class_id)[order]
    pred_score, pred_mask = np.asarray(pred_score)[order], np.asarray(pred_mask)[..., order]
    captions = [""] * len(gt_box)
    for i, match in enumerate(pred_match):
        row = overlaps[i]
        best = row[int(match)] if match > -1 else row.max() if row.size else 0.0
        captions.append(f"{pred_score[i]:.2f} / {best:.2f}")
    display_instances(
        image,
        np.concatenate([np.reshape(gt_box, (-1, 4)), pred_box.reshape(-1, 4)]),
        np.concatenate([gt_mask, pred_mask], axis=-1),
        np.concatenate([gt_class_id, pred_class_id]),
        class_names,
        title=title or "Ground truth (green) and detections (red)\ncaptions: score / IoU",
        ax=ax,
        show_mask=show_mask,
        show_bbox=show_box,
        colors=[(0.0, 1.0, 0.0)] * len(gt_box) + [(1.0, 0.0, 0.0)] * len(pred_box),
        captions=captions,
    )


def draw_rois(
    image: np.ndarray,
    rois: np.ndarray,
    refined_rois: np.ndarray,
    mask: np.ndarray,
    class_ids: np.ndarray,
    class_names: Sequence[str],
    limit: int = 10,
) -> None:
    """Show regions of interest, their refined boxes and their target masks.

    Args:
        image: [H, W, 3] with values in 0..255.
        rois: [N, (y1, x1, y2, x2)] in pixels, as proposed.
        refined_rois: [N, (y1, x1, y2, x2)] after the box deltas.
        mask: [N, h, w], the masks inside the rois.
        class_ids: [N] int; 0 is a negative region, drawn grey.
        class_names: Names by class id.
        limit: Show at most so many, chosen at random.
    """
    import matplotlib.pyplot as plt

    from mrcnn.geometry.masks import unmold_mask

    canvas = as_canvas(image)
    rois, class_ids = np.asarray(rois), np.asarray(class_ids)
    chosen = np.random.permutation(len(rois))[:limit]
    _, ax = plt.subplots(1, figsize=(12, 12))
    title = f"Showing {limit} random ROIs out of {len(rois)}" if len(rois) > limit else ""
    frame(ax, canvas.shape, margin=20, title=title)
    for i, color in zip(chosen, random_colors(len(chosen)), strict=True):
        positive = class_ids[i] > 0
        rectangle(ax, rois[i], color if positive else "gray", alpha=1.0, style="dashed")
        if not positive:
            continue
        rectangle(ax, refined_rois[i], color, alpha=1.0)
        connect(ax, rois[i], refined_rois[i], color)
        ry1, rx1 = refined_rois[i][:2]
        write(ax, rx1, ry1, class_names[class_ids[i]], color)
        full = unmold_mask(mask[i], rois[i][:4].astype(np.int32), canvas.shape)
        apply_mask(canvas, full, color)
    ax.imshow(canvas)
    positives = int(np.sum(class_ids > 0))
    print("Positive ROIs: ", positives)
    print("Negative ROIs: ", len(class_ids) - positives)
    print(f"Positive Ratio: {positives / max(1, len(class_ids)):.2f}")
    show()


def draw_box(image: np.ndarray, box: Sequence[int], color: Any) -> np.ndarray:
    """Draw a box two pixels wide into an image, in place.

    Args:
        image: [H, W, 3]; changed.
        box: (y1, x1, y2, x2) in pixels.
        color: Three values in the image's own range.

    Returns:
        The image given.
    """
    y1, x1, y2, x2 = (max(0, int(v)) for v in box)
    image[y1 : y1 + 2, x1:x2] = color
    image[y2 : y2 + 2, x1:x2] = color
    image[y1:y2, x1 : x1 + 2] = color
    image[y1:y2, x2 : x2 + 2] = color
    return image


def display_top_masks(
    image: np.ndarray,
    mask: np.ndarray,
    class_ids: np.ndarray,
    class_names: Sequence[str],
    limit: int = 4,
) -> None:
    """Show an image beside the masks of the classes that cover most of it.

    Args:
        image: [H, W, 3].
        mask: [H, W, N] bool.
        class_ids: [N] int.
        class_names: Names by class id.
        limit: How many classes.
    """
    mask, class_ids = np.asarray(mask), np.asarray(class_ids)
    pictures = [image]
    titles = [f"H x W={image.shape[0]}x{image.shape[1]}"]
    areas = {k: mask[:, :, class_ids == k].sum() for k in np.unique(class_ids)}
    top = sorted((k for k in areas if areas[k] > 0), key=lambda k: areas[k], reverse=True)
    for k in top[:limit]:
        of_class = mask[:, :, class_ids == k]
        # One grey level an instance.
        pictures.append((of_class * np.arange(1, of_class.shape[-1] + 1)).sum(axis=-1))
        titles.append(class_names[k])
    while len(pictures) <= limit:
        pictures.append(np.zeros(image.shape[:2], dtype=np.int64))
        titles.append("-")
    display_images(pictures, titles=titles, cols=limit + 1, cmap="Blues_r")


def plot_precision_recall(AP: float, precisions: np.ndarray, recalls: np.ndarray) -> None:
    """Draw a precision-recall curve.

    Args:
        AP: Average precision at IoU 0.5, for the title.
        precisions: Values in 0..1.
        recalls: Values in 0..1, as many.
    """
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(1)
    ax.set_title(f"Precision-Recall Curve. AP@50 = {AP:.3f}")
    ax.set(xlabel="Recall", ylabel="Precision", xlim=(0, 1.1), ylim=(0, 1.1))
    ax.plot(recalls, precisions)


def plot_overlaps(
    gt_class_ids: np.ndarray,
    pred_class_ids: np.ndarray,
    pred_scores: np.ndarray,
    overlaps: np.ndarray,
    class_names: Sequence[str],
    threshold: float = 0.5,
) -> None:
    """Draw a grid of predictions against ground truth, with the IoU of each pair.

    Args:
        gt_class_ids: [M] int.
        pred_class_ids: [N] int.
        pred_scores: [N] float.
        overlaps: [N, M] IoU in 0..1.
        class_names: Names by class id.
        threshold: Pairs above it are marked "match" or "wrong", by their classes.
    """
    import matplotlib.pyplot as plt

    gt_class_ids = np.asarray(gt_class_ids)[np.asarray(gt_class_ids) != 0]
    pred_class_ids = np.asarray(pred_class_ids)[np.asarray(pred_class_ids) != 0]
    _, ax = plt.subplots(1, figsize=(12, 10))
    ax.imshow(overlaps, interpolation="nearest", cmap="Blues")
    names = [f"{class_names[int(k)]} ({pred_scores[i]:.2f})" for i, k in enumerate(pred_class_ids)]
    ax.set_yticks(np.arange(len(names)), names)
    ticks = np.arange(len(gt_class_ids))
    ax.set_xticks(ticks, [class_names[int(k)] for k in gt_class_ids], rotation=90)
    middle = np.max(overlaps) / 2 if np.size(overlaps) else 0.5
    for i, pred_id in enumerate(pred_class_ids):
        for j, gt_id in enumerate(gt_class_ids):
            verdict = ""
            if overlaps[i, j] > threshold:
                verdict = "match" if gt_id == pred_id else "wrong"
            ax.text(
                j,
                i,
                f"{overlaps[i, j]:.3f}\n{verdict}",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if overlaps[i, j] > middle else "black",
            )
    ax.set(xlabel="Ground Truth", ylabel="Predictions")
    plt.tight_layout()


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray | None = None,
    refined_boxes: np.ndarray | None = None,
    masks: np.ndarray | None = None,
    captions: Sequence[str] | None = None,
    visibilities: Sequence[int] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> None:
    """Show boxes with their refined versions, masks and captions: anchors, proposals.

    Args:
        image: [H, W, 3] with values in 0..255.
        boxes: [N, (y1, x1, y2, x2)] in pixels, drawn dashed when there are refined ones.
        refined_boxes: [N, (y1, x1, y2, x2)], drawn solid and joined to `boxes`.
        masks: [H, W, N] bool.
        captions: N texts.
        visibilities: N times 0 (grey, faint), 1 (coloured, dotted) or 2 (solid).
        title: Figure title.
        ax: Where to draw. Without it a figure is made and shown.

    Raises:
        ValueError: if neither `boxes` nor `refined_boxes` is given.
    """
    import matplotlib.pyplot as plt

    if boxes is None and refined_boxes is None:
        raise ValueError("draw_boxes needs boxes or refined_boxes")
    count = len(boxes) if boxes is not None else len(refined_boxes)
    owns_figure = ax is None
    if owns_figure:
        _, ax = plt.subplots(1, figsize=(12, 12))
    canvas = as_canvas(image)
    frame(ax, canvas.shape, margin=canvas.shape[0] // 10, title=title)
    for i, bright in enumerate(random_colors(count)):
        visibility = 1 if visibilities is None else visibilities[i]
        color, style, alpha = {
            0: ("gray", "dotted", 0.5),
            1: (bright, "dotted", 1.0),
            2: (bright, "solid", 1.0),
        }[int(visibility)]
        corner = None
        if boxes is not None and np.any(boxes[i]):
            corner = boxes[i][:2]
            rectangle(ax, boxes[i], color, alpha=alpha, style=style)
        if refined_boxes is not None and visibility > 0:
            rectangle(ax, np.asarray(refined_boxes[i]).astype(np.int32), color, alpha=1.0)
            if corner is not None:
                connect(ax, boxes[i], refined_boxes[i], color)
            corner = refined_boxes[i][:2]
        if captions is not None and corner is not None:
            write(ax, corner[1], corner[0], captions[i], bright)
        if masks is not None:
            mask = np.asarray(masks[:, :, i])
            apply_mask(canvas, mask, bright)
            outline(ax, mask, bright)
    ax.imshow(canvas)
    if owns_figure:
        show()


def _palette(class_ids: np.ndarray, color_by: str, count: int) -> list[Color]:
    """Return one stable colour an instance."""
    if color_by == "instance":
        return fixed_colors(count)
    if color_by == "class":
        palette = fixed_colors(max([1, *(int(k) for k in class_ids)]))
        return [palette[max(0, int(k) - 1)] for k in class_ids]
    raise ValueError(f"color_by must be 'class' or 'instance', got {color_by!r}")
