"""New classes for the detector in the backbone `nanodet_pan`.

A detector that knows 80 classes says much about the objects of another one: a kangaroo looks like a
dog, a horse and a giraffe, and not like a couch. The log-odds of a new class start as a weighted
sum of those of the known classes, by logistic regression over all locations of some images. It
takes the place of a class that the dataset does not have. Proposals, classes and their scores then
follow, as for the classes that the detector was trained on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from mrcnn.config import Config
from mrcnn.geometry.boxes import apply_box_deltas, compute_overlaps
from mrcnn.layers.backbones.nanodet import ABSENT, NUM_COCO_CLASSES, OBJECT_CELLS
from mrcnn.loading.batches import TrainingBatches
from mrcnn.training.first_look import fit_log_odds

# Readings of the detector and their strides; the last is that of the image at half its size.
LEVELS = {
    "nano_head3_readings": 8,
    "nano_head4_readings": 16,
    "nano_head5_readings": 32,
    "nano_half_readings": 64,
}
# Layers that end in the log-odds of the classes.
OUTPUT_LAYERS = ("nano_head3_out", "nano_head4_out", "nano_head5_out")
# Each of a few images is looked at this often, changed by `AUGMENTATION`; of many, this many.
VIEWS_OF_IMAGE, MAX_VIEWS = 4, 96
AUGMENTATION = "light"
# Locations whose boxes overlap no object by this are many; of these, this share is looked at.
LEAST_OVERLAP, SHARE_OF_BACKGROUND = 0.3, 0.25
# The target is 0 for a box that overlaps an object by the first, and 1 by the second and more: the
# scores then rank boxes by how well they fit. On two halves of 40 images of kangaroos, each started
# from the other, the box AP is 0.470 and 0.417 so. With targets of 0 and 1, below and above an
# overlap of 0.6, it was 0.491 and 0.200, and 0.207 in the first with a tenth of the penalty.
NO_FIT, GOOD_FIT = 0.5, 0.8
# See `fit_log_odds`.
PENALTY = 0.01
# Boxes that fit an object, at least, for a class to be started: together at least as many.
LEAST_FIT = 3.0
# Factor of the evidence for a class in its logit, for the classes that the small model knows.
EVIDENCE_FACTOR = 2.0


@dataclass(frozen=True)
class Locations:
    """What the detector says at locations of images to be trained on.

    Attributes:
        log_odds: [N, 80] of its classes.
        overlaps: [N] IoU of its box with the best object.
        class_ids: [N] true class of that object, 0 where there is none.
        weights: [N] how many locations each stands for.
    """

    log_odds: np.ndarray
    overlaps: np.ndarray
    class_ids: np.ndarray
    weights: np.ndarray


def look_at_locations(model: keras.Model, dataset: Any, config: Config, seed: int = 0) -> Locations:
    """Apply the detector to images.

    Args:
        model: the training graph, with the backbone `nanodet_pan`.
        dataset: a prepared dataset.
        config: the settings of the graph.
        seed: of the choice of images and locations.
    """
    layers = [model.get_layer(name) for name in LEVELS if has_layer(model, name)]
    image = model.inputs[0]
    outputs = [tensor for layer in layers for tensor in (layer.input, layer.output)]
    part = keras.Model(image, outputs, name="locations")
    steps = math.ceil(min(VIEWS_OF_IMAGE * dataset.num_images, MAX_VIEWS) / config.BATCH_SIZE)
    batches = TrainingBatches(
        dataset, config, steps=steps, seed=seed, augmentation=AUGMENTATION, on_error="skip"
    )
    rng = np.random.default_rng(seed)
    found = []
    for number in range(steps):
        (inputs,) = batches[number]
        maps = [np.asarray(value, np.float32) for value in part.predict_on_batch(inputs[0])]
        class_ids, boxes = inputs[4], inputs[5]
        for layer, raw, readings in zip(layers, maps[::2], maps[1::2]):
            stride = LEVELS[layer.name]
            for one in zip(raw, readings, class_ids, boxes):
                found.append(_choose_locations(*one, stride, rng))
    return Locations(*(np.concatenate(part) for part in zip(*found)))


def has_layer(model: keras.Model, name: str) -> bool:
    """Return whether a model has a layer of this name."""
    return any(layer.name == name for layer in model.layers)


def _choose_locations(
    raw: np.ndarray,
    readings: np.ndarray,
    class_ids: np.ndarray,
    gt_boxes: np.ndarray,
    stride: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the attributes of `Locations` for a level of an image.

    Args:
        raw: [h, w, 80 + 44] what the detector's head returns.
        readings: [h, w, 85] `NanoDetReadings` of it.
        class_ids: [G] of the objects; below 0 for a crowd, 0 for padding.
        gt_boxes: [G, (y1, x1, y2, x2)] pixels.
        stride: of the level in pixels.
        rng: of the choice.
    """
    height, width = readings.shape[:2]
    side = OBJECT_CELLS * stride
    y, x = (np.mgrid[:height, :width] + 0.5) * stride
    anchors = np.stack([y, x, y, x], axis=-1) + np.array([-0.5, -0.5, 0.5, 0.5]) * side
    code = readings[..., NUM_COCO_CLASSES : NUM_COCO_CLASSES + 4]
    boxes = apply_box_deltas(anchors.reshape(-1, 4), code.reshape(-1, 4).astype(np.float64))
    boxes = boxes.clip(0, [height * stride, width * stride] * 2)
    is_real = class_ids != 0
    best, ids = np.zeros(len(boxes)), np.zeros(len(boxes), int)
    if is_real.any():
        overlaps = compute_overlaps(boxes, gt_boxes[is_real].astype(np.float64))
        best, ids = overlaps.max(axis=1), class_ids[is_real][overlaps.argmax(axis=1)]
    is_near = best >= LEAST_OVERLAP
    # What lies on a crowd is neither an object nor background.
    is_drawn = rng.random(len(best)) < SHARE_OF_BACKGROUND
    chosen = (ids >= 0) & (is_near | is_drawn)
    weights = np.where(is_near, 1.0, 1 / SHARE_OF_BACKGROUND)
    log_odds = raw[..., :NUM_COCO_CLASSES].reshape(len(boxes), -1)
    return log_odds[chosen], best[chosen], ids[chosen], weights[chosen]


def start_in_detector(
    model: keras.Model,
    locations: Locations,
    class_ids: Sequence[int],
    known_ids: Sequence[int],
) -> list[int]:
    """Set what the detector and the class head have for new classes.

    Args:
        model: a graph with the backbone `nanodet_pan`. The first 80 features of its class head must
            be the evidence for the classes of the detector, as in the small model.
        locations: from `look_at_locations`.
        class_ids: the new classes.
        known_ids: the other classes of the graph but the background; what they read stays.

    Returns:
        The classes that were set: those with boxes that fit, as long as there are places.
    """
    logits = model.get_layer("mrcnn_class_logits")
    kernel, bias = (np.array(weight) for weight in logits.get_weights())
    places = evidence_features(model)
    taken = {int(kernel[:NUM_COCO_CLASSES, one].argmax()) for one in known_ids}
    log_odds = locations.log_odds.astype(np.float64)
    new: dict[int, tuple[np.ndarray, float]] = {}
    started = []
    for class_id in class_ids:
        fit = (locations.overlaps - NO_FIT) / (GOOD_FIT - NO_FIT)
        target = np.where(locations.class_ids == class_id, fit.clip(0, 1), 0.0)
        free = [one for one in places if one not in taken]
        if target.sum() < LEAST_FIT or not free:
            continue
        slope, offset = fit_log_odds(log_odds, target, locations.weights, PENALTY)
        # The place of the class that it is most like.
        influence = slope * log_odds.std(axis=0)
        place = max(free, key=lambda one: influence[one])
        taken.add(place)
        new[place] = slope, offset
        kernel[:, class_id], kernel[place, class_id] = 0, EVIDENCE_FACTOR
        bias[class_id] = EVIDENCE_FACTOR * ABSENT
        started.append(class_id)
    logits.set_weights([kernel, bias])
    _set_log_odds(model, new)
    return started


def evidence_features(model: keras.Model) -> list[int]:
    """Return which of the first 80 features of the class head are the evidence for a class.

    In the small model all are: `mrcnn_class_conv1` averages each, `mrcnn_class_conv2` passes it on.
    """
    first = np.array(model.get_layer("mrcnn_class_conv1").get_weights()[0]).sum(axis=(0, 1))
    second = np.array(model.get_layer("mrcnn_class_conv2").get_weights()[0])[0, 0]
    passed_on = (np.diagonal(first) > 0.5) & (np.diagonal(second)[: min(first.shape)] > 0.5)
    return np.flatnonzero(passed_on[:NUM_COCO_CLASSES]).tolist()


def _set_log_odds(model: keras.Model, new: Mapping[int, tuple[np.ndarray, float]]) -> None:
    """Let classes of the detector become weighted sums of what its classes are now."""
    for name in OUTPUT_LAYERS:
        layer = model.get_layer(name)
        kernel, bias = (np.array(weight) for weight in layer.get_weights())
        old_kernel, old_bias = kernel[..., :NUM_COCO_CLASSES].copy(), bias[:NUM_COCO_CLASSES].copy()
        for place, (slope, offset) in new.items():
            kernel[..., place] = old_kernel @ slope
            bias[place] = old_bias @ slope + offset
        layer.set_weights([kernel, bias])
