"""The last stage of `everyday.py`: the mask head alone, on features that are computed once.

The rest of the network stays as it is, and with it boxes, classes and scores. Before, the head was
trained with cross-entropy on masks cut out with ROIAlign's samples, the first and last of which lie
on the box's edges. Here the target is the share of each cell that the object covers, which is what
pasting a mask means, and the loss has a Dice term, which a small mask of a large box can lower too.

The weights at the end are a mean of those before and after the training (Wortsman et al. 2022,
Robust fine-tuning of zero-shot models). With the masks that `box_masks.py` draws, the mean mask IoU
on images to measure on is 0.643 before, 0.663 after, and 0.666 with three quarters of the trained
weights. Without them there are only about 2,500 masks, which the head learns by heart: it gains as
much from the mean with one half alone, and nothing from the trained weights themselves.
"""

import os
from dataclasses import dataclass
from functools import partial

import cv2
import keras
import numpy as np
from keras import ops

from mrcnn.engines.keras_engine import compile_inference
from mrcnn.files.atomic import atomic_path
from mrcnn.geometry.boxes import compute_overlaps, extract_bboxes
from mrcnn.layers.heads import MaskHead
from mrcnn.layers.precision import precision_policy
from mrcnn.training.start_average import mean_weights
from samples.small.training import make_optimizer

# The layers that the mask head pools from.
LEVELS = tuple(f"fpn_p{level}" for level in (2, 3, 4, 5))
# Samples of a mask along each side of a cell.
SAMPLES = 4
# Standard deviations of a box's sides, as shares of them: what the detector's boxes are off by.
DEVIATIONS = (0.04, 0.08, 0.13)
# Objects whose box or mask is smaller in the network's input (pixels, square pixels) are left out.
LEAST_SIDE, LEAST_AREA = 6, 60
# Masks that cover less of their box say nothing.
LEAST_SHARE = 0.02
# Of the trained weights in the average with those of before.
TRAINED_SHARE = 0.75
# How often objects of the sets of one class are drawn, relative to the others.
SINGLE_FACTOR = 1.5


@dataclass(frozen=True)
class MaskHeadStage:
    """Settings of the stage.

    Attributes:
        passes: over all images, each time changed in another way.
        steps: of the training.
        batch_size: boxes of a step.
        peak: largest learning rate.
    """

    passes: int = 2
    steps: int = 7000
    batch_size: int = 32
    peak: float = 1e-3


def cover(mask, box, side):
    """Return the share of each cell of a box that a mask covers.

    Args:
        mask: [H, W] float32 of 0 and 1.
        box: (y1, x1, y2, x2) in pixels, which may be fractions.
        side: number of cells along each side.

    Returns:
        [side, side] in 0..1.
    """
    y1, x1, y2, x2 = box
    places = (np.arange(side * SAMPLES) + 0.5) / (side * SAMPLES)
    xs, ys = np.meshgrid(x1 + places * (x2 - x1) - 0.5, y1 + places * (y2 - y1) - 0.5)
    places = xs.astype(np.float32), ys.astype(np.float32)
    found = cv2.remap(mask, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(side, SAMPLES, side, SAMPLES).mean(axis=(1, 3))


def move_sides(box, shape, rng):
    """Move the sides of a box at random, within an image of a shape."""
    height, width = box[2] - box[0], box[3] - box[1]
    shares = np.clip(rng.normal(0, rng.choice(DEVIATIONS), 4), -0.25, 0.25)
    return np.clip(box + shares * ([height, width] * 2), 0, [*shape[:2]] * 2)


class Pooling:
    """The frozen part of a model: detections, and the features that its mask head reads."""

    def __init__(self, model):
        self._model, network = model, model.keras_model
        outputs = [network.get_layer(name).output for name in ("mrcnn_detection", *LEVELS)]
        self._detect = compile_inference(keras.Model(network.inputs, outputs))
        boxes = keras.Input((None, 4))
        meta = keras.Input(network.inputs[1].shape[1:])
        levels = [keras.Input(output.shape[1:]) for output in outputs[1:]]
        pooled = network.get_layer("roi_align_mask")([boxes, meta, *levels])
        self._pool = compile_inference(keras.Model([boxes, meta, *levels], pooled))

    def detect(self, image):
        """Return boxes [N, 4] in pixels of the image, and a function that pools boxes like them."""
        molded, metas, windows = self._model.mold_inputs([image])
        anchors = self._model.get_anchors(molded[0].shape)[None]
        inputs = [np.asarray(one, np.float32) for one in (molded, metas, anchors)]
        detections, *levels = self._detect(inputs)
        detections = ops.convert_to_numpy(detections)[0]
        corner, size = np.tile(windows[0][:2], 2), molded.shape[1] - 1
        scale = (windows[0][2] - windows[0][0]) / image.shape[0]
        found = detections[detections[:, 4] > 0, :4] * size + [0, 0, 1, 1]

        def pool(boxes):
            boxes = (np.array(boxes) * scale + corner - [0, 0, 1, 1]) / size
            pooled = self._pool([boxes[None].astype(np.float32), inputs[1], *levels])
            return ops.convert_to_numpy(pooled)[0].astype(np.float16)

        return (found - corner) / scale, scale, pool


def collect(model, parts, augment, seed):
    """Pool the features of the objects with a mask, of each image once.

    Each object gives two boxes: its own with moved sides, and one that the model finds there, or
    else its own once more.

    Args:
        model: a model in inference mode.
        parts: the datasets, see `training_parts`.
        augment: changes an image and its masks, see `everyday.augment`.
        seed: of the random choices.

    Returns:
        features [N, 14, 14, channels] float16, targets [N, 28, 28] uint8 (255 is covered), factors
        [N] of how often each is drawn.
    """
    rng, pooling = np.random.default_rng(seed), Pooling(model)
    side = model.config.MASK_SHAPE[0]
    features, targets, factors = [], [], []
    for name, dataset in parts.items():
        for image_id in dataset.image_ids:
            image, (masks, class_ids) = dataset.load_image(image_id), dataset.load_mask(image_id)
            weights, keep = dataset.load_label_weights(image_id), class_ids > 0
            if weights is not None:
                keep &= (weights > 0).all(axis=1)
            if not keep.any():
                continue
            image, masks = augment(image, masks[..., keep], rng)
            found, scale, pool = pooling.detect(image)
            chosen = choose_boxes(masks, found, scale, rng)
            if not chosen:
                continue
            features.append(pool([box for _, box in chosen]))
            planes = masks.astype(np.float32)
            shares = [cover(np.ascontiguousarray(planes[..., i]), box, side) for i, box in chosen]
            targets.append(np.round(np.stack(shares) * 255).astype(np.uint8))
            factors += [SINGLE_FACTOR if name == "single" else 1.0] * len(chosen)
    return np.concatenate(features), np.concatenate(targets), np.array(factors)


def choose_boxes(masks, found, scale, rng):
    """Return (number of the object, box) for two boxes of each object that is large enough."""
    own = extract_bboxes(masks).astype(float)
    overlaps = compute_overlaps(found, own) if len(found) else np.zeros((0, len(own)))
    chosen = []
    for i, box in enumerate(own):
        sides = (box[2:] - box[:2]) * scale
        if min(sides) < LEAST_SIDE or masks[..., i].sum() * scale**2 < LEAST_AREA:
            continue
        chosen.append((i, move_sides(box, masks.shape, rng)))
        best = np.argsort(-overlaps[:, i])[:2]
        best = [j for j in best if overlaps[j, i] > 0.5 and overlaps[j].argmax() == i]
        other = found[rng.choice(best)] if best else move_sides(box, masks.shape, rng)
        chosen.append((i, other))
    return chosen


def mask_loss(y_true, y_pred):
    """Return cross-entropy plus one minus the Dice coefficient (Milletari et al. 2016)."""
    y_pred = ops.clip(y_pred, 1e-6, 1 - 1e-6)
    entropy = -(y_true * ops.log(y_pred) + (1 - y_true) * ops.log(1 - y_pred))
    both = ops.sum(y_true * y_pred, axis=(-1, -2))
    squares = ops.sum(y_true**2, axis=(-1, -2)) + ops.sum(y_pred**2, axis=(-1, -2))
    dice = (2 * both + 1) / (squares + 1)
    return ops.mean(entropy) + ops.mean(1 - dice)


def layers_of(head):
    """Return the layers of a mask head that have weights."""
    return [*head.convs, *head.bns, head.deconv, head.masks]


def train_mask_head(model, parts, augment, folder, stage=None, seed=0):
    """Train the mask head of a model, in bfloat16, and average its weights with those of before.

    Features that lie in the folder are used again.

    Args:
        model: a model in inference mode; its mask head is changed.
        parts: as for `collect`.
        augment: as for `collect`.
        folder: where the features are kept, 1.6 GB for each pass with drawn masks, else 0.3 GB.
        stage: a `MaskHeadStage`; None for the default one.
        seed: of the random choices.
    """
    stage, config = stage or MaskHeadStage(), model.config
    os.makedirs(folder, exist_ok=True)
    collected = []
    for number in range(stage.passes):
        path = os.path.join(folder, f"features_{number}.npz")
        if not os.path.exists(path):
            arrays = collect(model, parts, augment, seed + number)
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, *arrays)
            print(f"{path}: {len(arrays[0])} boxes", flush=True)
        with np.load(path) as file:
            collected.append([file[f"arr_{i}"] for i in range(3)])
    features, targets, factors = (np.concatenate(part) for part in zip(*collected))
    factors[(targets > 127).mean(axis=(1, 2)) < LEAST_SHARE] = 0
    with precision_policy("bfloat16"):
        head = MaskHead(
            config.MASK_POOL_SIZE,
            config.NUM_CLASSES,
            False,
            config.MASK_CHANNELS,
            class_agnostic=config.CLASS_AGNOSTIC_MASK,
        )
        pooled = keras.Input((None, *features.shape[1:]), dtype="float32")
        network = keras.Model(pooled, head.predict_masks(pooled)[..., 0])
    get_layer = model.keras_model.get_layer
    for layer in layers_of(head):
        layer.set_weights(get_layer(layer.name).get_weights())
    fit(network, config, features, targets, factors, stage, seed)
    for layer in layers_of(head):
        before = get_layer(layer.name)
        mean = mean_weights(before.get_weights(), layer.get_weights(), TRAINED_SHARE)
        before.set_weights(mean)


def fit(network, config, features, targets, factors, stage, seed):
    """Train a network from features to masks; its weights at the end are a moving average."""
    optimizer = make_optimizer(
        config, stage.peak, stage.steps, {}, use_ema=True, ema_momentum=0.998
    )
    network.compile(optimizer=optimizer, loss=mask_loss, jit_compile=False)
    shares = factors / factors.sum()
    draw = partial(np.random.default_rng(seed).choice, len(features), stage.batch_size, p=shares)
    losses = []
    for step in range(1, stage.steps + 1):
        rows = draw()
        boxes, masks = (
            features[rows][None].astype(np.float32),
            targets[rows][None] / np.float32(255),
        )
        losses.append(float(network.train_on_batch(boxes, masks)))
        if step % 500 == 0 or step == stage.steps:
            print(f"mask head: step {step}, loss {np.mean(losses):.4f}", flush=True)
            losses = []
    optimizer.finalize_variable_values(network.trainable_variables)
