"""Figures of images, masks, boxes and results, with the names of Matterport's `visualize`.

Functions that make a figure show it (`plt.show()`). Given an `ax` they draw into it, and the caller
shows it. `draw_instances` and `save_instances` draw into arrays and files without matplotlib.
"""

from __future__ import annotations

import colorsys
import importlib
import random
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.drawing.colors import Color, fixed_colors, instance_colors
from mrcnn.drawing.figures import (
    apply_mask,
    as_canvas,
    axes_of_size,
    connect,
    frame,
    outline,
    rectangle,
    show,
    show_image,
    show_instances,
    write,
)
from mrcnn.drawing.rendering import draw_instances, save_instances
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
    "If you expected some: lower config.DETECTION_MIN_CONFIDENCE, train longer, and load the\n"
    "trained weights without exclude=[...], which leaves the values of heads random.\n"
)
# Colors of `display_differences`: objects that were found and missed, predictions that match and
# that do not.
_FOUND, _MISSED = (0.13, 0.77, 0.37), (1.0, 0.75, 0.1)
_MATCH, _WRONG = (0.12, 0.45, 1.0), (0.9, 0.1, 0.15)
_DIFFERENCES = (
    "Objects: green found, orange missed. Detections: blue correct, red wrong\n"
    "captions: score / IoU"
)

# Modules and names that scripts take from Matterport's `visualize`, which imported them: module,
# and the name in it or None for the module. They are imported on first use.
_SIDE_IMPORTS = {
    "IPython": ("IPython.display", None),
    "Polygon": ("matplotlib.patches", "Polygon"),
    "cv2": ("cv2", None),
    "find_contours": ("skimage.measure", "find_contours"),
    "itertools": ("itertools", None),
    "lines": ("matplotlib.lines", None),
    "os": ("os", None),
    "patches": ("matplotlib.patches", None),
    "plt": ("matplotlib.pyplot", None),
    "skimage": ("skimage.measure", None),
    "sys": ("sys", None),
    "utils": ("mrcnn.utils", None),
}


def __getattr__(name: str) -> Any:
    """Return a name that Matterport's `visualize` had as a side effect of its imports."""
    if name not in _SIDE_IMPORTS:
        raise AttributeError(f"module 'mrcnn.visualize' has no attribute {name!r}")
    module_name, attribute = _SIDE_IMPORTS[name]
    value: Any = importlib.import_module(module_name)
    if attribute is not None:
        value = getattr(value, attribute)
    elif name in ("IPython", "skimage"):  # the package, with its submodule imported
        value = sys.modules[name]
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
        images: arrays [H, W] or [H, W, 3]; uint8, or anything that `imshow` accepts.
        titles: one title per image; those that are missing are empty.
        cols: number of images in a row.
        cmap: color map for [H, W] arrays.
        norm: matplotlib's normalization of values.
        interpolation: matplotlib's interpolation.
    """
    import matplotlib.pyplot as plt

    titles = [*(titles or []), *[""] * len(images)][: len(images)]
    rows = max(1, -(-len(images) // cols))
    plt.figure(figsize=(14, max(1, 14 * rows // cols)))
    for k, (image, title) in enumerate(zip(images, titles, strict=True), start=1):
        ax = plt.subplot(rows, cols, k)
        ax.set_title(title, fontsize=9)
        ax.axis("off")
        image = np.asarray(image)
        if image.dtype == np.uint16 and image.ndim == 3 and image.size:
            image = as_canvas(image)
        elif image.dtype == bool or (image.ndim == 3 and image.size and image.max() > 1):
            image = image.astype(np.uint8)
        ax.imshow(image, cmap=cmap, norm=norm, interpolation=interpolation)
    show()


def random_colors(N: int, bright: bool = True) -> list[Color]:
    """Return N visually distinct colors in random order.

    Args:
        N: number of colors.
        bright: full brightness, else 70 %.

    Returns:
        RGB tuples of floats in 0..1. `fixed_colors` returns the same colors in every call.
    """
    brightness = 1.0 if bright else 0.7
    colors = [colorsys.hsv_to_rgb(i / N, 1, brightness) for i in range(N)]
    random.shuffle(colors)
    return colors


def display_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    masks: np.ndarray | None,
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
    color_by: str | None = None,
) -> None:
    """Show an image with its instances: masks, outlines, boxes, names and scores.

    Args:
        image: [H, W, 3] with values in 0..255; gray and RGBA images are converted.
        boxes: [N, (y1, x1, y2, x2)] in pixels. Boxes of zeros are skipped.
        masks: [H, W, N] bool; None for boxes alone.
        class_ids: [N] int.
        class_names: names by class id, the background first.
        scores: [N] float in 0..1, or None.
        title: title of the figure.
        figsize: size of the figure in inches, if no `ax` is given.
        ax: where to draw. Without it a figure is made and shown.
        show_mask: fill the masks; their outlines are always drawn.
        show_bbox: draw the boxes.
        colors: one RGB tuple of floats in 0..1 per instance.
        captions: one text per instance, in place of name and score.
        color_by: used without `colors`: "class" gives every class the same color in every image,
            "instance" gives instances different colors. None is "class" where `class_names` has
            several classes, and "instance" where it has one.

    Labels do not cover each other and shrink with the axes; where there is no room for one it is
    left out.

    Raises:
        ValueError: boxes, masks, class_ids, scores, colors or captions differ in number, or
            `color_by` is another word.
    """
    boxes, class_ids = np.asarray(boxes), np.asarray(class_ids)
    count = len(boxes)
    if count == 0:
        print(NO_INSTANCES + NO_INSTANCES_HINT)
    elif not count == len(class_ids) == (count if masks is None else np.shape(masks)[-1]):
        parts = "" if masks is None else f", masks {np.shape(masks)[-1]}"
        raise ValueError(
            f"boxes has {count} entries{parts} and class_ids {len(class_ids)}; they must describe "
            "the same instances"
        )
    for name, values in (("scores", scores), ("colors", colors), ("captions", captions)):
        if values is not None and len(values) < count:
            raise ValueError(
                f"{name} has {len(values)} entries; it must have {count}, as boxes has"
            )
    if colors is None:
        several = class_names is not None and len(class_names) > 2  # the first is the background
        colors = instance_colors(class_ids, color_by or ("class" if several else "instance"), count)
    if captions is None:
        captions = _captions(class_ids, class_names, scores)
    axes, owns_figure = _axes(ax, figsize)
    show_instances(
        axes,
        image,
        boxes,
        None if masks is None else np.asarray(masks),
        colors,
        captions,
        title=title,
        show_mask=show_mask,
        show_bbox=show_bbox,
    )
    if owns_figure:
        show()


def _axes(ax: Axes | None, figsize: tuple[float, float]) -> tuple[Axes, bool]:
    """Return where to draw, and whether a figure was made for it, which is to be shown."""
    return (axes_of_size(figsize), True) if ax is None else (ax, False)


def _captions(
    class_ids: np.ndarray, class_names: Sequence[str], scores: np.ndarray | None
) -> list[str]:
    """Return the name of each instance, and its score where there are scores."""
    names = []
    for k in class_ids:
        try:
            names.append(str(class_names[int(k)]))
        except (IndexError, KeyError):
            raise ValueError(
                f"class_ids holds {k}; it must be an index of class_names, which has "
                f"{len(class_names)} names"
            ) from None
    if scores is None:
        return names
    return [f"{name} {score:.3f}" for name, score in zip(names, scores)]


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
    """Show ground truth and predictions on one image, matches in other colors than misses.

    Objects that were found are green, missed ones orange; predictions that match an object are
    blue, those that match none red.

    Args:
        image: [H, W, 3] with values in 0..255.
        gt_box: [M, (y1, x1, y2, x2)] in pixels.
        gt_class_id: [M] int.
        gt_mask: [H, W, M] bool.
        pred_box: [N, (y1, x1, y2, x2)] in pixels.
        pred_class_id: [N] int.
        pred_score: [N] float in 0..1.
        pred_mask: [H, W, N] bool.
        class_names: names by class id.
        title: title of the figure; a legend if it is empty.
        ax: where to draw. Without it a figure is made and shown.
        show_mask: fill the masks.
        show_box: draw the boxes.
        iou_threshold: mask IoU from which a prediction matches.
        score_threshold: predictions of a lower score are ignored.
    """
    from mrcnn.evaluation.matching import compute_matches
    from mrcnn.geometry.masks import sized_masks

    predictions = (pred_box, pred_class_id, pred_score, pred_mask)
    gt_match, pred_match, overlaps = compute_matches(
        gt_box,
        gt_class_id,
        gt_mask,
        *predictions,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
    )
    pred_box, pred_class_id, pred_score, pred_mask = _in_order_of_matches(*predictions)
    real = np.flatnonzero(np.reshape(gt_box, (-1, 4)).any(axis=1))
    gt_box, gt_class_id = np.reshape(gt_box, (-1, 4))[real], np.asarray(gt_class_id)[real]
    size = np.shape(image)[:2]
    gt_mask = sized_masks(np.asarray(gt_mask)[..., real], size)
    pred_mask = sized_masks(pred_mask, size)
    captions = [""] * len(gt_box)
    for score, match, row in zip(pred_score, pred_match, overlaps):
        best = row[int(match)] if match > -1 else row.max() if row.size else 0.0
        captions.append(f"{score:.2f} / {best:.2f}")
    colors = [_FOUND if match > -1 else _MISSED for match in gt_match]
    colors += [_MATCH if match > -1 else _WRONG for match in pred_match]
    display_instances(
        image,
        np.concatenate([gt_box, pred_box.reshape(-1, 4)]),
        np.concatenate([gt_mask, pred_mask], axis=-1),
        np.concatenate([gt_class_id, pred_class_id]),
        class_names,
        title=title or _DIFFERENCES,
        ax=ax,
        show_mask=show_mask,
        show_bbox=show_box,
        colors=colors,
        captions=captions,
    )


def _in_order_of_matches(
    boxes: np.ndarray, class_ids: np.ndarray, scores: np.ndarray, masks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Drop zero padding and sort by score, as `compute_matches` does."""
    boxes, scores = np.asarray(boxes), np.asarray(scores)
    used = np.flatnonzero(boxes.any(axis=1)) if len(boxes) else np.zeros(0, dtype=np.intp)
    order = used[np.argsort(scores[used], kind="stable")[::-1]]
    return boxes[order], np.asarray(class_ids)[order], scores[order], np.asarray(masks)[..., order]


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
        refined_rois: [N, (y1, x1, y2, x2)] in pixels, after the box deltas.
        mask: [N, h, w], the masks inside the rois.
        class_ids: [N] int; 0 is a negative region, drawn gray.
        class_names: names by class id.
        limit: largest number of regions to show, chosen at random.
    """
    from mrcnn.geometry.masks import unmold_mask

    canvas = as_canvas(image)
    rois, class_ids = np.asarray(rois), np.asarray(class_ids)
    chosen = np.random.permutation(len(rois))[:limit]
    names = [
        _captions(class_ids[[i]], class_names, None)[0] if class_ids[i] > 0 else "" for i in chosen
    ]
    ax = axes_of_size((12, 12))
    title = f"Showing {limit} random ROIs out of {len(rois)}" if len(rois) > limit else ""
    frame(ax, canvas.shape, margin=20, title=title)
    colors = random_colors(len(chosen))
    for i, color in zip(chosen, colors, strict=True):
        positive = class_ids[i] > 0
        rectangle(ax, rois[i], color if positive else "gray", alpha=1.0, style="dashed")
        if not positive:
            continue
        rectangle(ax, refined_rois[i], color, alpha=1.0)
        connect(ax, rois[i], refined_rois[i], color)
        full = unmold_mask(mask[i], rois[i][:4].astype(np.int32), canvas.shape)
        apply_mask(canvas, full, color)
    show_image(ax, canvas)
    write(ax, [refined_rois[i][:4] for i in chosen], names, colors)
    positives = int(np.sum(class_ids > 0))
    print("Positive ROIs: ", positives)
    print("Negative ROIs: ", len(class_ids) - positives)
    print(f"Positive Ratio: {positives / max(1, len(class_ids)):.2f}")
    show()


def draw_box(image: np.ndarray, box: Sequence[int], color: Any) -> np.ndarray:
    """Draw a box two pixels wide into an image, in place.

    Args:
        image: [H, W, 3]; it is changed.
        box: (y1, x1, y2, x2) in pixels.
        color: three values in the range of the image.

    Returns:
        The same image.
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
        class_names: names by class id.
        limit: number of classes.
    """
    mask, class_ids = np.asarray(mask), np.asarray(class_ids)
    images = [image]
    titles = [f"H x W={image.shape[0]}x{image.shape[1]}"]
    areas = {k: mask[:, :, class_ids == k].sum() for k in np.unique(class_ids)}
    top = sorted((k for k in areas if areas[k] > 0), key=lambda k: areas[k], reverse=True)
    for k in top[:limit]:
        of_class = mask[:, :, class_ids == k]
        # One gray level per instance.
        images.append((of_class * np.arange(1, of_class.shape[-1] + 1)).sum(axis=-1))
        titles += _captions(np.array([k]), class_names, None)
    while len(images) <= limit:
        images.append(np.zeros(image.shape[:2], dtype=np.int64))
        titles.append("-")
    display_images(images, titles=titles, cols=limit + 1, cmap="Blues_r")


def plot_precision_recall(AP: float, precisions: np.ndarray, recalls: np.ndarray) -> None:
    """Draw a precision-recall curve.

    Args:
        AP: average precision at IoU 0.5, for the title.
        precisions: [K] values in 0..1.
        recalls: [K] values in 0..1.
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
        class_names: names by class id.
        threshold: pairs of a higher IoU are marked "match" or "wrong", by their classes.
    """
    import matplotlib.pyplot as plt

    gt_class_ids = np.asarray(gt_class_ids)[np.asarray(gt_class_ids) != 0]
    pred_class_ids = np.asarray(pred_class_ids)[np.asarray(pred_class_ids) != 0]
    names = [
        f"{name} ({score:.2f})"
        for name, score in zip(
            _captions(pred_class_ids, class_names, None), pred_scores, strict=False
        )
    ]
    true_names = _captions(gt_class_ids, class_names, None)
    _, ax = plt.subplots(1, figsize=(12, 10))
    ax.imshow(overlaps, interpolation="nearest", cmap="Blues")
    ax.set_yticks(np.arange(len(names)), names)
    ticks = np.arange(len(gt_class_ids))
    ax.set_xticks(ticks, true_names, rotation=90)
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
        boxes: [N, (y1, x1, y2, x2)] in pixels, or None.
        refined_boxes: [N, (y1, x1, y2, x2)] in pixels, drawn solid and joined to `boxes`, or None.
        masks: [H, W, N] bool.
        captions: N texts.
        visibilities: N times 0 (gray, faint), 1 (colored, dotted) or 2 (colored, solid).
        title: title of the figure.
        ax: where to draw. Without it a figure is made and shown.

    Raises:
        ValueError: neither `boxes` nor `refined_boxes` is given.
    """
    if boxes is None and refined_boxes is None:
        raise ValueError("boxes and refined_boxes are None; one of them must be given")
    count = len(boxes if boxes is not None else refined_boxes)  # type: ignore[arg-type]
    axes, owns_figure = _axes(ax, (12, 12))
    canvas = as_canvas(image)
    frame(axes, canvas.shape, margin=canvas.shape[0] // 10, title=title)
    colors = random_colors(count)
    corners: list[np.ndarray] = []
    labeled: list[int] = []
    for i, bright in enumerate(colors):
        visibility = 1 if visibilities is None else int(visibilities[i])
        box = None if boxes is None or not np.any(boxes[i]) else boxes[i]
        refined = None
        if refined_boxes is not None and visibility > 0:
            refined = np.asarray(refined_boxes[i]).astype(np.int32)
        shown = _draw_box_pair(axes, box, refined, visibility, bright)
        if captions is not None and shown is not None:
            corners.append(shown)
            labeled.append(i)
        if masks is not None:
            mask = np.asarray(masks[:, :, i])
            apply_mask(canvas, mask, bright)
            outline(axes, mask, bright)
    show_image(axes, canvas)
    if captions is not None:
        write(axes, corners, [captions[i] for i in labeled], [colors[i] for i in labeled])
    if owns_figure:
        show()


def _draw_box_pair(
    ax: Axes, box: np.ndarray | None, refined: np.ndarray | None, visibility: int, bright: Color
) -> np.ndarray | None:
    """Draw a box and its refined version; return the one that the caption belongs to."""
    styles: dict[int, tuple[Any, str, float]] = {
        0: ("gray", "dotted", 0.5),
        1: (bright, "dotted", 1.0),
        2: (bright, "solid", 1.0),
    }
    color, style, alpha = styles[visibility]
    if box is not None:
        rectangle(ax, box, color, alpha=alpha, style=style)
    if refined is None:
        return box
    rectangle(ax, refined, color, alpha=1.0)
    if box is not None:
        connect(ax, box, refined, color)
    return refined
