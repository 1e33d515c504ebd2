"""Train the everyday model of the package: the 80 classes of COCO, and balloons.

It learns from 167 images with masks of all classes, 118 with masks of one class, and 2,360 with
boxes that a small detector found, see `everyday_data.py`. Masks do not depend on the class: every
class learns from every mask.

Run it from the command line:

    # Train. A training that was interrupted continues when the same command is run again
    python3 everyday.py train --data=/path/to/data --backbone=/path/to/nanodet_pan.h5 \
        --output=/path/to/folder

    # Measure on images that were not trained on
    python3 everyday.py evaluate --data=... --weights=/path/to/folder/everyday.h5

    # Train the refiner of its masks
    python3 everyday.py refiner --data=... --weights=/path/to/folder/everyday.h5 \
        --encoder=/path/to/squeezenet1_1_imagenet_notop.h5 --output=mask_refiner_general.h5

    # Write the file of the package, in half precision, with its settings beside it
    python3 everyday.py export --weights=... --output=weights/mask_rcnn_small.h5

The data folder holds `everyday/`, `coco_tiny/`, `coco_mini/`, `coco128_seg/`, `balloon/`,
`motorcycles/val/` and `penn_fudan/`.
"""

import argparse
import json
import math
import os
import sys
import time
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

ROOT_DIR = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.append(ROOT_DIR)  # To find a local version of the library

from mrcnn import checkpoints
from mrcnn.config import Config
from mrcnn.config_rules import PRECISIONS
from mrcnn.datasets import CopyPasteDataset
from mrcnn.evaluation.coco import evaluate_coco
from mrcnn.evaluation.instances import evaluate_single_object
from mrcnn.files.atomic import atomic_path, write_json
from mrcnn.layers.backbones.nanodet import ABSENT, NUM_COCO_CLASSES, NUM_READINGS, OBJECT_CELLS
from mrcnn.refinement.recipes import Scale, get_recipe
from samples.small.everyday_data import (
    BOX_MASKS,
    choose_measuring,
    is_val2017,
    join,
    measuring_parts,
    training_parts,
)
from samples.small.mask_head import MaskHeadStage, train_mask_head
from samples.small.outlines import outline_figures
from samples.small.training import cpu_seconds, make_optimizer

STEPS_PER_EPOCH = 250
# Of the background, at the start. A class that the detector gives 2 % in the middle of a proposal
# is as probable; low scores decide the order of detections only together with the RPN's.
BACKGROUND_LOGIT = -4.0
# Factor of the logits at the end, see `sharpen`. With 1, 1.5 and 2 the box AP is 0.228, 0.226 and
# 0.233, the mask AP 0.163, 0.164 and 0.166.
LOGIT_SCALE = 2.0
# Added to the logits of the classes that the detector does not know. They were trained beside few
# objects of other classes, and took cups for balloons.
NEW_CLASS_LOGIT = -4.0
# Classes whose boxes are refined: person, motorcycle, balloon. Refined boxes of all classes, which
# are learned from few true boxes, gave a box AP of 0.220, none 0.229.
BOX_CLASSES = (1, 4, 81)
# How often the images with masks occur for each time that those with pseudo labels do.
MASKED_TIMES, SINGLE_TIMES = 6, 3
CACHE_BYTES = 6 << 30


@dataclass(frozen=True)
class Stage:
    """A part of the training.

    Attributes:
        name: of its folder and its file of weights.
        layers: to train, see `MaskRCNN.train`.
        steps: number of steps.
        peak: largest learning rate.
        side: of the images in pixels.
        mask_weight: factor of the mask loss.
        box_masks: whether the masks of `box_masks.py` are learned from.
    """

    name: str
    layers: str
    steps: int
    peak: float
    side: int
    mask_weight: float = 2.0
    box_masks: bool = False


def from_column(first):
    """Return a function of the shape of weights to the factors of their learning rates.

    They are 1 from the column `first` of the last axis on, and 0 before.
    """

    def factors(shape):
        return np.broadcast_to(np.arange(shape[-1]) >= first, shape).astype(np.float32)

    return factors


STAGES = (
    Stage("masks", r"(fpn_.*)|(mrcnn_mask.*)|(mrcnn_class.*)", 4500, 1e-3, side=384),
    Stage("boxes", r"(fpn_.*)|(mrcnn_.*)", 1200, 3e-4, side=512),
    Stage("large", r"(fpn_.*)|(mrcnn_.*)", 1500, 5e-4, side=512, mask_weight=4.0),
    Stage("drawn", r"(fpn_.*)|(mrcnn_.*)", 3000, 5e-4, side=512, mask_weight=4.0, box_masks=True),
)
# The last stage, see `mask_head.py`.
MASK_HEAD = "mask_head"
# What repeats the detector stays as it is: the columns before these.
RATES = {
    r"fpn_": from_column(NUM_READINGS),
    r"mrcnn_class_(conv|bn)": from_column(NUM_COCO_CLASSES),
    r"mrcnn_class_logits": from_column(1 + NUM_COCO_CLASSES),
}


# The refiner learns from objects whose longer side has at least this many pixels.
LEAST_OBJECT = 20
# One patch of each object, and its mirror image: fast enough to refine by default.
REFINER = get_recipe("default").replace(
    name="general",
    patch_size=128,
    scales=(Scale(object_size=112, centers="object"),),
    original_weight=0.5,
    patch_weight=1.0,
    snap=None,
    learning_rate=1e-3,
    patches_per_image=1,
)


class EverydayConfig(Config):
    """Settings of the everyday model. Images are 512 x 512.

    The backbone looks for objects of about 40, 80 and 160 pixels at strides of 8, 16 and 32, and
    from there for those of 320 pixels too, see `LargerObjects`. Boxes are pooled from two levels
    finer than that, about 20 cells wide, for the sake of the masks.
    """

    NAME = "everyday"
    BACKBONE = "nanodet_pan"
    NUM_CLASSES = 1 + 80 + 1
    IMAGES_PER_GPU = 4
    IMAGE_MIN_DIM = 512
    IMAGE_MAX_DIM = 512
    MEAN_PIXEL = np.array([123.675, 116.28, 103.53])
    CANONICAL_BOX_SIZE = 320
    TOP_DOWN_PYRAMID_SIZE = 160
    RPN_CHANNELS = 128
    MASK_CHANNELS = 128
    FPN_CLASSIF_FC_LAYERS_SIZE = 256
    # P6 repeats every second cell of P5, so that its anchors find what those of P5 do.
    RPN_ANCHOR_SCALES = (20, 40, 80, 160, 160)
    RPN_ANCHOR_RATIOS = (1,)
    RPN_TRAIN_ANCHORS_PER_IMAGE = 128
    PRE_NMS_LIMIT = 2000
    POST_NMS_ROIS_TRAINING = 500
    POST_NMS_ROIS_INFERENCE = 300
    TRAIN_ROIS_PER_IMAGE = 96
    MASK_ROIS_PER_IMAGE = 24
    MAX_GT_INSTANCES = 100
    PARTIAL_LABELS = True
    CLASS_AGNOSTIC_MASK = True
    JOINT_SCORES = True
    MASK_SCORES = True
    DETECTION_MIN_CONFIDENCE = 0.4
    DETECTION_NMS_THRESHOLD = 0.5
    STEPS_PER_EPOCH = STEPS_PER_EPOCH
    VALIDATION_STEPS = 0


def augment(image, mask, rng):
    """Mirror, scale, shift and recolor an image and its masks at random.

    There is no rotation: most masks are filled boxes, and those of the rotated boxes would be
    too large.

    Args:
        image: [H, W, 3] uint8.
        mask: [H, W, N].
        rng: a NumPy generator.
    """
    height, width = image.shape[:2]
    zoom = math.exp(rng.uniform(math.log(0.6), math.log(1.5)))
    stretch = math.exp(rng.uniform(-0.1, 0.1))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    shift = rng.uniform(-0.15, 0.15, 2) * (width, height)
    linear = np.diag([flip * zoom * stretch, zoom / stretch])
    matrix = np.hstack([linear, (center + shift - linear @ center)[:, None]])
    image = cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(124, 117, 104)
    )
    if mask.shape[2]:
        planes = np.ascontiguousarray(mask.transpose(2, 0, 1), np.uint8)
        moved = [
            cv2.warpAffine(p, matrix, (width, height), flags=cv2.INTER_NEAREST) for p in planes
        ]
        mask = np.stack(moved, axis=-1).astype(bool)
    gain = rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, 3)
    image = np.clip(image * gain + rng.uniform(-20, 20), 0, 255).astype(np.uint8)
    return image, mask


def parts_of(args, box_masks=True, step=1):
    """Return the parts to train on, see `training_parts`.

    Args:
        args: of the command line.
        box_masks: whether to read the masks of `args.box_masks`.
        step: use every `step`-th image with pseudo labels.
    """
    drawn = args.box_masks if box_masks else None
    parts = training_parts(args.data, args.fold, args.folds, args.leave_out, drawn)
    parts["pseudo"] = only_with_masks(parts["pseudo"], step)
    return parts


def training_dataset(args, box_masks):
    """Return what is trained on in a stage, prepared."""
    parts = parts_of(args, box_masks)
    pseudo, masked, single = parts["pseudo"], parts["masked"], parts["single"]
    pieces = [pseudo, *[masked] * MASKED_TIMES, *[single] * SINGLE_TIMES]
    if args.scenes:
        donors = join([pseudo, masked, single])
        pieces.append(CopyPasteDataset(donors, args.scenes, max_side=448, seed=args.seed))
    return join(pieces)


def only_with_masks(pseudo, step=1):
    """Return every `step`-th image with pseudo labels that has a mask as well."""
    has_mask = [
        any("segmentation" in annotation for annotation in info["annotations"])
        for info in pseudo.image_info
    ]
    return pseudo.subset(np.flatnonzero(has_mask)[::step])


def train(args, config):
    """Run the stages that are not finished."""
    weights = args.weights or args.backbone
    if args.stage != MASK_HEAD:
        weights = train_stages(args, config, weights)
    if args.stage in (None, MASK_HEAD):
        train_masks(args, config, weights)


def train_stages(args, config, weights):
    """Run the stages before that of the mask head; one continues from its last checkpoint.

    Returns:
        The file of the weights, `detector.h5`.
    """
    from mrcnn.model import MaskRCNN

    for stage in chosen_stages(args):
        finished = os.path.join(args.output, stage.name + ".h5")
        if not os.path.exists(finished):
            import keras

            keras.utils.set_random_seed(args.seed)
            config.IMAGE_MIN_DIM = config.IMAGE_MAX_DIM = stage.side
            config.LOSS_WEIGHTS = {**Config.LOSS_WEIGHTS, "mrcnn_mask_loss": stage.mask_weight}
            dataset = training_dataset(args, stage.box_masks)
            print(f"{dataset.num_images} images, {dataset.num_classes - 1} classes", flush=True)
            model = MaskRCNN("training", config, os.path.join(args.output, stage.name))
            run_stage(model, dataset, stage, weights, args.backbone, args.seed)
            with atomic_path(finished) as temporary:
                model.keras_model.save_weights(temporary)
        weights = finished
    model = MaskRCNN("inference", config, args.output)
    model.load_weights(weights, by_name=True)
    change_weights(model.keras_model, "mrcnn_class_logits", sharpen)
    change_weights(model.keras_model, "mrcnn_bbox_fc", keep_well_known)
    weights = os.path.join(args.output, "detector.h5")
    with atomic_path(weights) as temporary:
        model.keras_model.save_weights(temporary)
    return weights


def train_masks(args, config, weights):
    """Train the mask head alone, from the weights of the other stages; writes `everyday.h5`."""
    from mrcnn.model import MaskRCNN

    config.IMAGE_MIN_DIM = config.IMAGE_MAX_DIM = EverydayConfig.IMAGE_MAX_DIM
    config.IMAGES_PER_GPU = 1
    config.DETECTION_MIN_CONFIDENCE = 0.05
    model = MaskRCNN("inference", config, args.output, precision="float32")
    model.load_weights(weights, by_name=True)
    parts = parts_of(args)
    stage, changed = MaskHeadStage(), {"steps": args.steps, "peak": args.learning_rate}
    stage = replace(stage, **{name: value for name, value in changed.items() if value})
    started, cpu = time.time(), cpu_seconds()
    folder = os.path.join(args.output, MASK_HEAD)
    train_mask_head(model, parts, augment, folder, stage, args.seed)
    with atomic_path(os.path.join(args.output, "everyday.h5")) as temporary:
        model.keras_model.save_weights(temporary)
    print_time(f"{MASK_HEAD}: {stage.steps} steps, in this run", started, cpu)


def print_time(what, started, cpu):
    """Print how long something took: since the time `started` and the CPU time `cpu`."""
    minutes, core_minutes = (time.time() - started) / 60, (cpu_seconds() - cpu) / 60
    print(f"{what} {minutes:.1f} minutes ({core_minutes:.1f} core minutes)", flush=True)


def sharpen(kernel, bias):
    """Multiply the logits of the classes: 80 classes that are absent share much of the probability.

    The score at which half of the detections are right is 0.5 then, and was 0.3.
    """
    kernel *= LOGIT_SCALE
    bias *= LOGIT_SCALE
    bias[1 + NUM_COCO_CLASSES :] += NEW_CLASS_LOGIT


def keep_well_known(kernel, bias):
    """Keep the deltas of the classes with many true boxes; the others keep the detector's boxes."""
    few = ~np.isin(np.arange(len(bias)) // 4, BOX_CLASSES)
    kernel[:, few], bias[few] = 0, 0


def chosen_stages(args):
    """Return the stages of the command line."""
    stages = [stage for stage in STAGES if args.stage in (None, stage.name)]
    if not args.box_masks:
        stages = [stage for stage in stages if not stage.box_masks]
    if args.steps:
        stages = [replace(stage, steps=args.steps) for stage in stages]
    if args.learning_rate:
        stages = [replace(stage, peak=args.learning_rate) for stage in stages]
    return stages


def run_stage(model, dataset, stage, weights, backbone, seed):
    """Train one stage, from its last checkpoint or else from `weights`.

    If these are those of the backbone, the class head starts from the scores of its detector. The
    weights at the end are an exponential moving average.
    """
    try:
        weights = model.find_last()
        print(f"{stage.name}: continues from {weights}", flush=True)
    except FileNotFoundError:
        print(f"{stage.name}: starts from {weights}", flush=True)
    model.load_weights(weights, by_name=True)
    if weights == backbone and model.config.BACKBONE == "nanodet_pan":
        start_from_detector(model.keras_model, model.config)
    model.config.STEPS_PER_EPOCH = min(STEPS_PER_EPOCH, stage.steps)
    epochs = math.ceil(stage.steps / model.config.STEPS_PER_EPOCH)
    started, cpu = time.time(), cpu_seconds()
    model.train(
        dataset,
        None,
        learning_rate=stage.peak,
        optimizer=make_optimizer(
            model.config,
            stage.peak,
            epochs * model.config.STEPS_PER_EPOCH,
            RATES,
            use_ema=True,
            ema_momentum=0.999,
        ),
        epochs=epochs,
        layers=stage.layers,
        augmentation=augment,
        cache=CACHE_BYTES,
        seed=seed,
        verbose=2,
    )
    print_time(f"{stage.name}: {stage.steps} steps, in this run", started, cpu)


def start_from_detector(model, config):
    """Set initial weights by which the model repeats the detections of its backbone's detector.

    The first 85 channels of the pyramid are what the detector says at each location, see
    `nanodet_pan_graph`. The RPN proposes its boxes, with its largest class score as objectness. The
    class head reads the evidence for each class in the middle of a proposal. The box head changes
    nothing. All other weights stay random, for training to use.

    From random weights alone, training has to find the evidence among hundreds of channels: after
    750 steps the box AP was 0.01.

    Args:
        model: a Keras model with the backbone `nanodet_pan`, for COCO's classes in their order.
        config: an `EverydayConfig`.
    """
    readings, classes = np.arange(NUM_READINGS), np.arange(NUM_COCO_CLASSES)
    change = partial(change_weights, model)

    def pass_readings(kernel, bias):
        kernel[..., readings] = 0
        if kernel.shape[2] > NUM_READINGS:  # C2 has none
            kernel[0, 0, kernel.shape[2] - NUM_READINGS + readings, readings] = 1

    def pass_middle(kernel, bias):
        kernel[..., readings] = 0
        kernel[1, 1, readings, readings] = 1

    for level in (2, 3, 4, 5):
        change(f"fpn_c{level}p{level}", pass_readings)
        change(f"fpn_p{level}", pass_middle)
    objectness = NUM_READINGS - 1
    # The finest level repeats what was found one level coarser, for which its anchors are too small
    change("fpn_c2p2", lambda kernel, bias: bias.__setitem__(objectness, -20))

    # The RPN's first convolution ends in a ReLU: the positive and negative parts of a code.
    parts = [(objectness, 1)] + [(NUM_COCO_CLASSES + i, sign) for i in range(4) for sign in (1, -1)]

    def pass_parts(kernel, bias):
        kernel[..., : len(parts)] = 0
        for unit, (channel, sign) in enumerate(parts):
            kernel[1, 1, channel, unit] = sign

    def score(kernel, bias):
        kernel[:], bias[:] = 0, 0
        kernel[0, 0, 0, 1], bias[1] = 1, ABSENT

    def code(kernel, bias):
        kernel[:], bias[:] = 0, 0
        for i, deviation in enumerate(config.RPN_BBOX_STD_DEV):
            kernel[0, 0, 1 + 2 * i, i], kernel[0, 0, 2 + 2 * i, i] = 1 / deviation, -1 / deviation
            if i < 2:  # anchors lie on the corners of the cells, the detector's in the middle
                bias[i] = 0.5 / OBJECT_CELLS / deviation

    change("rpn_conv_shared", pass_parts)
    change("rpn_class_raw", score)
    change("rpn_bbox_pred", code)

    def average(kernel, bias):
        kernel[..., classes] = 0
        kernel[2:5, 2:5, classes, classes] = 1 / 9

    def pass_classes(kernel, bias):
        kernel[..., classes] = 0
        kernel[0, 0, classes, classes] = 1

    def classify(kernel, bias):
        kernel[:], bias[:] = 0, 0
        kernel[classes, 1 + classes] = 1
        bias[0], bias[1:] = BACKGROUND_LOGIT, ABSENT
        bias[1 + NUM_COCO_CLASSES :] = BACKGROUND_LOGIT - 1  # classes that it does not know

    change("mrcnn_class_conv1", average)
    change("mrcnn_class_conv2", pass_classes)
    change("mrcnn_class_logits", classify)
    change("mrcnn_bbox_fc", lambda kernel, bias: kernel.fill(0))


def change_weights(model, layer, change):
    """Call `change(kernel, bias)` on arrays of a layer's weights, and set them."""
    for part in (model, *(one for one in model.layers if hasattr(one, "layers"))):
        if any(one.name == layer for one in part.layers):
            found = part.get_layer(layer)
            kernel, bias = (np.array(weight) for weight in found.get_weights())
            change(kernel, bias)
            found.set_weights([kernel, bias])
            return
    raise ValueError(f"layer is {layer!r}; it must be one of the model")


def evaluate(args, config):
    """Measure on images that were not trained on: COCO's figures for each set."""
    from mrcnn.model import MaskRCNN

    # Average precision also counts detections of a low score.
    config.DETECTION_MIN_CONFIDENCE = 0.05
    # The card's precision; otherwise the CPU would decide.
    model = MaskRCNN("inference", config, args.output or ".", precision="float32")
    model.load_weights(args.weights, by_name=True)
    parts = measuring_parts(args.data, args.fold, args.folds)
    if args.sets:
        parts = {name: parts[name] for name in args.sets}
    figures = {}
    for name, dataset in parts.items():
        figures[name] = coco_figures(model, dataset, args.refine)
        if name == "everyday":
            val = [i for i, info in enumerate(dataset.image_info) if is_val2017(info)]
            key = "everyday, val2017"
            figures[key] = coco_figures(model, dataset.subset(val), args.refine)
            print(key, json.dumps(figures[key]), flush=True)
        if name == "motorcycle":
            single = evaluate_single_object(
                model,
                dataset,
                class_id=dataset.class_names.index("motorcycle"),
                refiner=args.refine,
                progress=False,
            )
            figures[name]["mean_iou"] = round(single.mean("iou"), 4)
        figures[name].update(outline_figures(model, dataset, args.refine))
        print(name, json.dumps(figures[name]), flush=True)
    if args.output:
        write_json(os.path.join(args.output, "figures.json"), figures)
    return figures


def coco_figures(model, dataset, refiner=None):
    """Return the number of images, AP, AP50 and AP75 of boxes and masks, and AP of persons."""
    report = evaluate_coco(model, dataset, progress=False, refiner=refiner)
    figures = {"images": int(dataset.num_images)}
    for kind in ("box", "mask"):
        for key in ("AP", "AP50", "AP75"):
            figures[f"{kind}_{key}"] = round(float(getattr(getattr(report, kind), key)), 4)
    for one in report.classes:
        if one.name == "person" and one.num_objects:
            figures["person"] = [round(one.box_AP, 4), round(one.mask_AP, 4)]
    return figures


def train_refiner(args, config):
    """Train a refiner of the model's masks, for objects of any class.

    It learns from the masks of the objects that the model finds, and from true masks that are made
    coarse at random.
    """
    from mrcnn import refinement
    from mrcnn.model import MaskRCNN

    config.DETECTION_MIN_CONFIDENCE = 0.2
    model = MaskRCNN("inference", config, ".")
    model.load_weights(args.weights, by_name=True)
    parts = parts_of(args, step=args.person_step)
    pairs = []
    for name, times in (("masked", 2), ("single", 1), ("pseudo", 1)):
        found = cropped_pairs(parts[name], model)
        true = cropped_pairs(parts[name])
        print(f"{name}: {len(true)} masks, the model finds {len(found)}", flush=True)
        pairs += times * [*found, *(true if name != "pseudo" else [])]
    started, cpu = time.time(), cpu_seconds()
    recipe = replace(REFINER, epochs=args.epochs)
    refiner = refinement.train_refiner(
        pairs, recipe, start=args.start, encoder_weights=args.encoder, seed=args.seed, verbose=2
    )
    refiner.save(args.output)
    print_time(f"{args.output}:", started, cpu)


def cropped_pairs(dataset, model=None):
    """Return the pairs of all images, cut to their objects: whole images would fill the memory."""
    from mrcnn import refinement

    return [
        refinement.crop_pair(pair, margin=0.6)
        for image_id in dataset.image_ids
        for pair in refinement.pairs_from_dataset(
            dataset, model, image_ids=[image_id], min_size=LEAST_OBJECT
        )
    ]


def export(args, config):
    """Write the weights in half precision, and the settings and classes beside them."""
    from mrcnn.model import MaskRCNN

    model = MaskRCNN("inference", config, ".")
    model.load_weights(args.weights, by_name=True)
    config.PARTIAL_LABELS = False
    class_names = measuring_parts(args.data)["everyday"].class_names
    checkpoints.save_weights(model.keras_model, args.output, dtype="float16")
    write_json(
        os.path.splitext(args.output)[0] + ".json",
        {"config": config.to_dict(), "class_names": class_names},
    )
    print(f"Wrote {args.output}, {os.path.getsize(args.output) / 1e6:.1f} MB")


def parse_arguments():
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description="Train the everyday model of the package.")
    commands = ("train", "evaluate", "refiner", "export", "split")
    parser.add_argument("command", choices=commands)
    parser.add_argument("--data", required=True, help="folder of the datasets")
    parser.add_argument("--backbone", help="weights of the backbone (.h5)")
    parser.add_argument("--trunk", default=EverydayConfig.BACKBONE, help="BACKBONE of the model")
    parser.add_argument("--weights", help="weight file to start from, to measure or to export")
    parser.add_argument("--output", help="folder of the training or the figures; file of export")
    stages = [*(stage.name for stage in STAGES), MASK_HEAD]
    parser.add_argument(
        "--box-masks",
        default=BOX_MASKS,
        help="masks of the pseudo labels, a file of box_masks.py; '' for none",
    )
    parser.add_argument("--stage", choices=stages, help="run only this stage")
    parser.add_argument("--steps", type=int, help="number of steps of a stage")
    parser.add_argument("--learning-rate", type=float, help="peak of the learning rate")
    parser.add_argument("--scenes", type=int, default=1200, help="scenes with pasted objects")
    parser.add_argument("--sets", nargs="+", help="for evaluate: only these sets")
    parser.add_argument(
        "--leave-out", nargs="+", default=(), help="sets of one class that are not trained on"
    )
    parser.add_argument("--encoder", help="for refiner: SqueezeNet's weights")
    parser.add_argument("--start", help="for refiner: a refiner to continue from")
    parser.add_argument("--epochs", type=int, default=12, help="for refiner: number of epochs")
    parser.add_argument(
        "--person-step",
        type=int,
        default=2,
        help="for refiner: use one of this many images with pseudo labels",
    )
    parser.add_argument("--refine", help="for evaluate: a refiner")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=PRECISIONS, default="bfloat16", help="of training")
    parser.add_argument(
        "--set", nargs="+", default=(), metavar="NAME=VALUE", help="settings to try, as JSON"
    )
    return parser.parse_args()


def main():
    """Run the command line."""
    args = parse_arguments()
    config = EverydayConfig()
    config.BACKBONE = args.trunk
    for setting in args.set:
        name, value = setting.split("=", 1)
        setattr(config, name, json.loads(value))
    if args.command == "split":
        print("\n".join(choose_measuring(args.data)))
    elif args.command == "train":
        config.PRECISION = args.precision
        train(args, config)
    else:
        commands = {"evaluate": evaluate, "refiner": train_refiner, "export": export}
        commands[args.command](args, config)


if __name__ == "__main__":
    main()
