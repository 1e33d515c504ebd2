"""Draw the images of docs/how-it-works.md with the small model and a photograph of scikit-image.

    python tools/docs_images.py docs/images/how

The photograph is that of a motorcycle from the Middlebury Stereo dataset 2014.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("MRCNN_ENGINE", "keras")

import matplotlib.pyplot as plt
import numpy as np
import skimage.data
import skimage.io
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

import mrcnn
from mrcnn import utils
from mrcnn.config import Config
from mrcnn.datasets import ShapesDataset
from mrcnn.loading import build_rpn_targets, load_image_gt

PHOTO = Path(skimage.data.__file__).parent / "motorcycle_left.png"
GREEN, ORANGE, BLUE = "#2ecc40", "#ff8c1a", "#2f7fff"


def main(folder: Path) -> None:
    """Draw all images into a folder."""
    model = mrcnn.load("small", config={"DETECTION_MIN_CONFIDENCE": 0.6})
    image = skimage.io.imread(PHOTO)
    molded, _, _ = model.mold_inputs([image])
    # What the network sees, with the mean added again.
    seen = np.clip(molded[0] + model.config.MEAN_PIXEL, 0, 255).astype(np.uint8)
    values = inner_values(model, image)
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in {
        "input": draw_input(image, seen),
        "pyramid": draw_pyramid(seen, values),
        "anchors": draw_anchors(model, seen),
        "proposals": draw_proposals(model, seen, values),
        "heads": draw_heads(model, seen, values),
        "masks": draw_masks(model, image, values),
        "targets": draw_targets(),
    }.items():
        path = folder / f"{name}.jpg"
        figure.savefig(path, dpi=100, bbox_inches="tight", pil_kwargs={"quality": 88})
        plt.close(figure)
        print(f"{path}  {path.stat().st_size / 1e3:.0f} kB")


def inner_values(model: Any, image: np.ndarray) -> dict[str, np.ndarray]:
    """Return the tensors inside of the network for one image, without the batch's axis."""
    keras_model = model.keras_model
    roi = keras_model.get_layer("ROI").output
    names = ["fpn_p2", "fpn_p3", "fpn_p4", "fpn_p5", "rpn_class", "ROI", "mrcnn_class"]
    names += ["mrcnn_detection", "mrcnn_mask", "roi_align_mask"]
    outputs = [(name, keras_model.get_layer(name).output) for name in names]
    steps = ("pre_nms_anchors", "refined_anchors_clipped")
    outputs += [(step, model.ancestor(roi, f"ROI/{step}:0")) for step in steps]
    return {name: value[0] for name, value in model.run_graph([image], outputs).items()}


def panels(count: int, height: float = 3.4, width: float = 11) -> tuple[Any, list[Axes]]:
    """Return a figure with a row of axes without ticks."""
    figure, axes = plt.subplots(1, count, figsize=(width, height), layout="constrained")
    for ax in np.ravel(axes):
        ax.set_xticks([])
        ax.set_yticks([])
    return figure, list(np.ravel(axes))


def show(ax: Axes, image: np.ndarray, title: str, **options: Any) -> None:
    """Show an image with a title; the axes keep its extent."""
    ax.imshow(image, **options)
    ax.set_title(title, fontsize=10)
    ax.set_xlim(-0.5, image.shape[1] - 0.5)
    ax.set_ylim(image.shape[0] - 0.5, -0.5)


def draw_box(ax: Axes, box: np.ndarray, color: str, alpha: float = 0.9, width: float = 1.2) -> None:
    """Draw a box (y1, x1, y2, x2) in pixels."""
    y1, x1, y2, x2 = box
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=color, alpha=alpha, lw=width))


def draw_input(image: np.ndarray, seen: np.ndarray) -> Any:
    """Draw an image and what the network sees of it."""
    figure, axes = panels(2, 3, 8)
    show(axes[0], image, f"image, {image.shape[0]} x {image.shape[1]} pixels")
    show(axes[1], seen, f"input of the network, {seen.shape[0]} x {seen.shape[1]}")
    return figure


def draw_pyramid(seen: np.ndarray, values: dict[str, np.ndarray]) -> Any:
    """Draw the mean strength of the features of each level."""
    figure, axes = panels(5, 2.6)
    show(axes[0], seen, "input")
    for ax, level in zip(axes[1:], ("p2", "p3", "p4", "p5")):
        features = values[f"fpn_{level}"]
        strength = np.abs(features).mean(axis=-1)
        size = " x ".join(map(str, features.shape))
        show(ax, strength, f"{level.upper()}: {size}", cmap="magma")
    return figure


def draw_anchors(model: Any, seen: np.ndarray) -> Any:
    """Draw the anchors of the middle cell of each level, and the cells of one level."""
    figure, axes = panels(2, 4, 8.2)
    side = seen.shape[0]
    scales, strides = model.config.RPN_ANCHOR_SCALES, model.config.BACKBONE_STRIDES
    show(axes[0], seen, "anchors of one cell on each of the five levels")
    shades = ("#ffd400", GREEN, "#00d5ff", ORANGE, "#ff4fd8")
    for scale, color in zip(scales, shades):
        for ratio in model.config.RPN_ANCHOR_RATIOS:
            half = np.array([scale / np.sqrt(ratio), scale * np.sqrt(ratio)]) / 2
            middle = side / 2
            draw_box(axes[0], np.r_[middle - half, middle + half], color)
    show(axes[1], seen, f"centers of the anchors of {scales[2]} pixels, one every {strides[2]}")
    centers = np.arange(0, side, strides[2])
    x, y = np.meshgrid(centers, centers)
    axes[1].plot(x.ravel(), y.ravel(), ".", color="#00d5ff", ms=3)
    return figure


def draw_proposals(model: Any, seen: np.ndarray, values: dict[str, np.ndarray]) -> Any:
    """Draw where objects may be, and the best boxes in three steps."""
    figure, axes = panels(4, 3.1)
    side = seen.shape[0]
    cells = side // model.config.BACKBONE_STRIDES[3]
    ratios = len(model.config.RPN_ANCHOR_RATIOS)
    counts = [ratios * (side // stride) ** 2 for stride in model.config.BACKBONE_STRIDES]
    first = sum(counts[:3])
    scores = values["rpn_class"][first : first + counts[3], 1]
    best = scores.reshape(cells, cells, ratios).max(axis=-1)
    axes[0].imshow(seen)
    extent = (-0.5, side - 0.5, side - 0.5, -0.5)
    show_over = {"cmap": "magma", "alpha": 0.75, "extent": extent, "vmin": 0, "vmax": 1}
    axes[0].imshow(best, **show_over)
    axes[0].set_title("score of the best anchor of P5", fontsize=10)
    for ax, name, title, color in (
        (axes[1], "pre_nms_anchors", "the 40 best anchors", ORANGE),
        (axes[2], "refined_anchors_clipped", "moved and resized", BLUE),
        (axes[3], "ROI", "the 40 best after suppression", GREEN),
    ):
        show(ax, seen, title)
        for box in utils.denorm_boxes(values[name][:40], (side, side)):
            draw_box(ax, box, color, 0.7)
    return figure


def draw_heads(model: Any, seen: np.ndarray, values: dict[str, np.ndarray]) -> Any:
    """Draw proposals by their class, and the detections."""
    figure, axes = panels(2, 4, 8.2)
    side = seen.shape[0]
    classes = values["mrcnn_class"].argmax(axis=-1)
    colors = np.resize(["#ff4fd8", GREEN, "#ffd400", BLUE, ORANGE], model.config.NUM_CLASSES)
    colors[0] = "#bbbbbb"
    show(axes[0], seen, "100 proposals, colored by class")
    rois = utils.denorm_boxes(values["ROI"][:100], (side, side))
    for index in np.argsort(classes[:100] > 0, kind="stable"):
        is_object = classes[index] > 0
        draw_box(axes[0], rois[index], colors[classes[index]], 0.9 if is_object else 0.6)
    show(axes[1], seen, "detections: the best of each object")
    for row in values["mrcnn_detection"]:
        if row[4] > 0:
            (box,) = utils.denorm_boxes(row[None, :4], (side, side))
            draw_box(axes[1], box, colors[int(row[4])], width=2)
            text = f"{model.class_names[int(row[4])]} {row[5]:.2f}"
            label = {"fc": "black", "alpha": 0.6, "pad": 2, "lw": 0}
            axes[1].text(box[1] + 4, box[0] + 12, text, color="w", fontsize=9, bbox=label)
    return figure


def draw_masks(model: Any, image: np.ndarray, values: dict[str, np.ndarray]) -> Any:
    """Draw the features under a detection, its mask, the pasted mask and the refined one."""
    figure, axes = panels(4, 3)
    features = np.abs(values["roi_align_mask"][0]).mean(axis=-1)
    show(axes[0], features, f"features, {' x '.join(map(str, features.shape))}", cmap="magma")
    class_id = int(values["mrcnn_detection"][0, 4])
    mask = values["mrcnn_mask"][0, :, :, class_id]
    title = f"probability, {' x '.join(map(str, mask.shape))}"
    show(axes[1], mask, title, cmap="gray", vmin=0, vmax=1)
    titles = ("at the size of the box, from 0.5 on", "the same after refinement")
    for ax, refiner, title in zip(axes[2:], (None, "general"), titles):
        result = model.detect([image], refiner=refiner)[0][0]
        y1, x1, y2, x2 = result["rois"][0]
        drawn = mrcnn.draw_instances(image, result, captions=[""])
        show(ax, drawn[y1:y2, x1:x2], title)
    return figure


class TargetConfig(Config):
    """Settings of the image about training."""

    NAME = "targets"
    NUM_CLASSES = 4
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = 128
    RPN_ANCHOR_SCALES = (16, 24, 32, 48, 64)
    RPN_TRAIN_ANCHORS_PER_IMAGE = 60


def draw_targets() -> Any:
    """Draw a training image, its anchors with their labels, and its small masks."""
    dataset, config = ShapesDataset.from_path(8), TargetConfig()
    image, _, class_ids, boxes, masks = load_image_gt(dataset, config, 5, use_mini_mask=True)
    shapes = [[128 // stride] * 2 for stride in config.BACKBONE_STRIDES]
    anchors = utils.generate_pyramid_anchors(
        config.RPN_ANCHOR_SCALES, config.RPN_ANCHOR_RATIOS, shapes, config.BACKBONE_STRIDES, 1
    )
    np.random.seed(0)
    match, _ = build_rpn_targets(image.shape, anchors, class_ids, boxes, config)
    figure, axes = panels(4, 3.1)
    show(axes[0], image, "image with its true boxes")
    for box in boxes:
        draw_box(axes[0], box, "white", width=2)
    for ax, label, title, color in (
        (axes[1], 1, "positive anchors", GREEN),
        (axes[2], -1, "negative anchors, at random", ORANGE),
    ):
        show(ax, image, title)
        for box in anchors[match == label][:30]:
            draw_box(ax, box, color, 0.8)
    small = np.concatenate(list(np.moveaxis(masks, 2, 0)), axis=1)
    show(axes[3], small, f"masks in their boxes, {masks.shape[0]} x {masks.shape[1]}", cmap="gray")
    return figure


if __name__ == "__main__":
    main(Path(sys.argv[1]))
