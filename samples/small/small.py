"""
The small model that ships with the package: balloons, motorcycles and people.

A SqueezeNet backbone, a narrow pyramid and 384-pixel pictures: 3.6 million weights that learn from
some 170 photographs on two CPU cores, and detect in a fraction of a second.

Usage: run from the command line as such:

    # Train it as it was trained
    python3 small.py train --data=/path/to/data --backbone=/path/to/squeezenet1_1_imagenet_notop.h5

    # Leave a part of the motorcycles and people out, and measure on that part
    python3 small.py train --data=... --backbone=... --fold=0 --folds=2
    python3 small.py evaluate --data=... --weights=last --fold=0 --folds=2

    # The mean of two trainings of which the second went on from the first
    python3 small.py average --weights first.h5 second.h5 --output=mean.h5

    # Write the file that ships, in half precision, with its settings beside it
    python3 small.py export --weights=last --output=weights/mask_rcnn_small.h5

The data folder holds `balloon/` (VIA, train and val), `motorcycles/val/` (images and masks) and
`penn_fudan/` (PNGImages and PedMasks); with `--everyday` also `coco_tiny/`, `coco128_seg/` and
`kangaroo/`.
"""

import argparse
import json
import math
import os
import re
import resource
import sys
import time

import cv2
import numpy as np

ROOT_DIR = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.append(ROOT_DIR)  # To find a local version of the library

from mrcnn import checkpoints
from mrcnn.config import Config
from mrcnn.config_rules import PRECISIONS
from mrcnn.datasets import CopyPasteDataset, Dataset, MaskImageDataset, ViaDataset, open_dataset
from mrcnn.datasets.views import merge
from mrcnn.evaluation.coco import evaluate_coco
from mrcnn.evaluation.instances import evaluate_single_object

CLASSES = ("balloon", "motorcycle", "person")
# SqueezeNet's layers that ImageNet weights exist for: fire10 and fire11 are ours.
PRETRAINED = re.compile(r"squeeze_conv1|fire[2-9]_")
DEFAULT_LOGS_DIR = os.path.join(ROOT_DIR, "logs")


class SmallConfig(Config):
    """Settings of the small model. Pictures are 384 x 384, so anchors run from 24 to 384."""

    NAME = "small"
    BACKBONE = "squeezenet"
    NUM_CLASSES = 1 + len(CLASSES)
    IMAGES_PER_GPU = 2
    IMAGE_MIN_DIM = 384
    IMAGE_MAX_DIM = 384
    TOP_DOWN_PYRAMID_SIZE = 96
    # Even objects that fill the picture are cut from P4: the stages of stride 32 are learnt from
    # a few pictures, those of stride 16 come from ImageNet.
    CANONICAL_BOX_SIZE = 320
    RPN_CHANNELS = 96
    MASK_CHANNELS = 128
    FPN_CLASSIF_FC_LAYERS_SIZE = 256
    RPN_ANCHOR_SCALES = (24, 48, 96, 192, 384)
    RPN_TRAIN_ANCHORS_PER_IMAGE = 128
    PRE_NMS_LIMIT = 2000
    POST_NMS_ROIS_TRAINING = 500
    POST_NMS_ROIS_INFERENCE = 300
    TRAIN_ROIS_PER_IMAGE = 64
    MAX_GT_INSTANCES = 40
    DETECTION_MIN_CONFIDENCE = 0.6
    DETECTION_NMS_THRESHOLD = 0.5
    STEPS_PER_EPOCH = 200
    VALIDATION_STEPS = 1


def load_data(folder, subset, fold=0, folds=0, everyday=False, scenes=0):
    """The three sets as one, and each by itself.

    Args:
        folder: where `balloon/`, `motorcycles/` and `penn_fudan/` lie.
        subset: "train" or "val". Motorcycles and people have one set each: with `folds`, every
            `folds`-th picture belongs to "val" and the others to "train"; without, all belong to
            both.
        fold: which pictures are left out.
        folds: number of parts, 0 for none.
        everyday: whether "all" also holds pictures of everyday scenes, see `load_everyday`. The
            three sets then come twice, so that most pictures are still theirs.
        scenes: number of pictures with objects of others pasted in, that "all" also holds.

    Returns:
        dict of prepared data sets: "balloon", "motorcycle", "person" and "all".
    """
    parts = {
        "balloon": ViaDataset(),
        "motorcycle": MaskImageDataset(),
        "person": MaskImageDataset(),
    }
    parts["balloon"].load_via(
        os.path.join(folder, "balloon"), subset, classes=["balloon"], source="balloon"
    )
    parts["motorcycle"].load_masks(
        os.path.join(folder, "motorcycles"), "val", "motorcycle", source="motorcycle"
    )
    parts["person"].load_masks(os.path.join(folder, "penn_fudan"), None, "person", source="person")
    for name, dataset in parts.items():
        dataset.prepare()
        if folds and name != "balloon":
            is_val = np.arange(dataset.num_images) % folds == fold
            parts[name] = dataset.subset(np.where(is_val == (subset == "val"))[0])
    more = [*parts.values(), *load_everyday(folder)] if everyday else []
    merged = merge([*parts.values(), *more])
    # Nobody marked the people in some of the sets, so there a person costs nothing. But a
    # motorcycle or a balloon found where none is marked is wrong in every picture.
    for name in {info["source"] for info in merged.image_info}:
        people = [3] if name in ("person", "coco", "yolo") else []
        merged.source_class_ids[name] = [0, 1, 2, *people]
    # The parts with the numbers that the classes have in the whole.
    sources = np.array([info["source"] for info in merged.image_info])
    parts = {name: merged.subset(np.where(sources == name)[0]) for name in CLASSES}
    if scenes:
        active = merged.source_class_ids
        merged = merge([merged, CopyPasteDataset(merged, scenes, seed=fold)])
        merged.source_class_ids = active
    return {**parts, "all": merged}


class Negatives(Dataset):
    """Pictures without objects."""

    def load_mask(self, image_id):
        height, width = self.image_size(image_id)
        return np.zeros((height, width, 0), bool), np.zeros(0, np.int32)


def load_everyday(folder):
    """COCO's motorcycles and people, pictures with neither, and animals that fill the picture:
    without these the model takes every large object for a motorcycle.
    """
    classes = ["motorcycle", "person"]
    animals = open_dataset(os.path.join(folder, "kangaroo"), classes=["kangaroo"])
    negatives = Negatives()
    for info in animals.image_info[::2]:
        negatives.add_image("kangaroo", image_id=info["id"], path=info["path"])
    negatives.prepare()
    return [
        open_dataset(os.path.join(folder, "coco_tiny"), subset="train", classes=classes),
        open_dataset(os.path.join(folder, "coco_tiny"), subset="val", classes=classes),
        open_dataset(os.path.join(folder, "coco128_seg"), classes=classes),
        negatives,
    ]


def augment(image, mask):
    """Mirror, turn, zoom, shift and recolour a picture `[H, W, 3]` uint8 and its masks
    `[H, W, N]`.
    """
    rng = np.random.default_rng()
    height, width = image.shape[:2]
    zoom = math.exp(rng.uniform(math.log(0.7), math.log(1.4)))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    # About the centre, then shifted by up to a tenth of the side.
    shift = rng.uniform(-0.1, 0.1, 2) * (width, height)
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    angle = math.radians(rng.uniform(-10, 10))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    stretch = math.exp(rng.uniform(-0.1, 0.1))
    linear = turn @ np.diag([flip * zoom * stretch, zoom / stretch])
    matrix = np.hstack([linear, (center + shift - linear @ center)[:, None]])
    image = cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(124, 117, 104)
    )
    masks = [
        cv2.warpAffine(channel.astype(np.uint8), matrix, (width, height), flags=cv2.INTER_NEAREST)
        for channel in np.moveaxis(mask, -1, 0)
    ]
    mask = np.stack(masks, -1).astype(bool) if masks else mask
    gain = rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, 3)
    image = np.clip(image * gain + rng.uniform(-20, 20), 0, 255).astype(np.uint8)
    return image, mask


def make_optimizer(config, peak, steps, backbone_rate=0.1):
    """AdamW (Loshchilov and Hutter 2019), whose rate rises for up to 200 steps to `peak` and then
    follows half a cosine down to zero. The mask head gains most: after 600 steps its loss was 0.34
    where it was 0.44 with SGD at 0.008.

    What comes from ImageNet learns at `backbone_rate` of that: AdamW takes steps of one size for
    every weight, and at the rate that the heads need it would wash ImageNet's features out.
    """
    import keras

    class SlowBackbone(keras.optimizers.AdamW):
        def build(self, variables):
            super().build(variables)
            self._is_pretrained = tuple(bool(PRETRAINED.match(v.path)) for v in variables)

        def update_step(self, gradient, variable, learning_rate):
            if self._is_pretrained[self._get_variable_index(variable)]:
                learning_rate = learning_rate * backbone_rate
            super().update_step(gradient, variable, learning_rate)

    warmup = min(200, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        peak / 20, steps - warmup, warmup_target=peak, warmup_steps=warmup, alpha=0.001
    )
    return SlowBackbone(schedule, weight_decay=0.01, global_clipnorm=config.GRADIENT_CLIP_NORM)


def train(model, data, args):
    """Train the layers asked for. The first ones know edges and colours already."""
    started, cpu = time.time(), _cpu_seconds()
    model.config.STEPS_PER_EPOCH = min(model.config.STEPS_PER_EPOCH, args.steps)
    epochs = args.steps // model.config.STEPS_PER_EPOCH
    model.train(
        data["all"],
        None,
        learning_rate=args.learning_rate,
        optimizer=make_optimizer(model.config, args.learning_rate, args.steps, args.backbone_rate),
        epochs=model.epoch + epochs,
        layers=args.layers,
        augmentation=augment,
        cache=True,
        seed=args.seed,
        verbose=2,
    )
    minutes, core_minutes = (time.time() - started) / 60, (_cpu_seconds() - cpu) / 60
    print(f"{args.steps} steps in {minutes:.1f} minutes ({core_minutes:.1f} core minutes)")


def _cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def evaluate(model, data):
    """Print COCO's figures for each set, and the mean IoU of the motorcycles; return them."""
    figures = {}
    for name in CLASSES:
        report = evaluate_coco(model, data[name], progress=False)
        figures[name] = {
            "images": int(data[name].num_images),
            **{
                f"{kind}_{key}": round(float(getattr(getattr(report, kind), key)), 4)
                for kind in ("box", "mask")
                for key in ("AP", "AP50", "AP75")
            },
        }
        if name == "motorcycle":
            single = evaluate_single_object(model, data[name], class_id=2, progress=False)
            figures[name]["mean_iou"] = round(single.mean("iou"), 4)
        print(name, json.dumps(figures[name]))
    return figures


def average(model, paths):
    """Give the model the mean of weights of one training at different times (Izmailov et al. 2018,
    "Averaging weights leads to wider optima and better generalization").
    """
    total = [0.0 for _ in model.keras_model.weights]
    for path in paths:
        model.load_weights(path, by_name=True)
        total = [t + w.numpy() / len(paths) for t, w in zip(total, model.keras_model.weights)]
    for weight, value in zip(model.keras_model.weights, total):
        weight.assign(value)


def main():
    parser = argparse.ArgumentParser(description="Train the small model that ships.")
    parser.add_argument("command", choices=("train", "evaluate", "average", "export"))
    parser.add_argument("--data", help="folder of the three data sets")
    parser.add_argument("--backbone", help="ImageNet weights of SqueezeNet 1.1 (.h5)")
    parser.add_argument(
        "--weights", nargs="+", help="a weight file to go on from, or 'last'; for average several"
    )
    parser.add_argument("--logs", default=DEFAULT_LOGS_DIR)
    parser.add_argument(
        "--output", help="for export and average: the file; for evaluate: a JSON of figures"
    )
    parser.add_argument("--everyday", action="store_true", help="train on everyday scenes too")
    parser.add_argument(
        "--scenes", type=int, default=0, help="train on so many scenes of pasted objects too"
    )
    parser.add_argument("--steps", type=int, default=3000, help="of two pictures each")
    parser.add_argument("--learning-rate", type=float, default=3e-4, help="at its peak")
    parser.add_argument(
        "--backbone-rate", type=float, default=0.1, help="of that, what ImageNet's layers learn at"
    )
    parser.add_argument("--layers", default="3+", help="what learns: heads, 5+, 4+ or 3+")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="of the training's arithmetic; bfloat16 is faster where the CPU has it",
    )
    parser.add_argument("--mask-weight", type=float, default=1.0, help="factor of the mask loss")
    parser.add_argument("--box-weight", type=float, default=1.0, help="of the box head's loss")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    from mrcnn.model import MaskRCNN

    config = SmallConfig()
    if args.command == "train":
        config.PRECISION = args.precision
    config.LOSS_WEIGHTS = {
        **config.LOSS_WEIGHTS,
        "mrcnn_mask_loss": args.mask_weight,
        "mrcnn_bbox_loss": args.box_weight,
    }
    if args.command == "evaluate":
        # Average precision needs the uncertain detections too.
        config.DETECTION_MIN_CONFIDENCE = 0.05
    model = MaskRCNN("training" if args.command == "train" else "inference", config, args.logs)
    if args.backbone:
        model.load_weights(args.backbone, by_name=True)
    if args.command == "average":
        average(model, args.weights)
    elif args.weights:
        path = model.find_last() if args.weights == ["last"] else args.weights[0]
        print(f"Weights: {path}")
        model.load_weights(path, by_name=True)

    if args.command == "train":
        parts = (args.fold, args.folds, args.everyday, args.scenes)
        train(model, load_data(args.data, "train", *parts), args)
    elif args.command == "evaluate":
        figures = evaluate(model, load_data(args.data, "val", args.fold, args.folds))
        if args.output:
            with open(args.output, "w") as file:
                json.dump(figures, file, indent=1)
    elif args.command == "average":
        model.keras_model.save_weights(args.output)
    else:
        description = {"config": config.to_dict(), "class_names": ["BG", *CLASSES]}
        checkpoints.save_weights(model.keras_model, args.output, dtype="float16")
        with open(os.path.splitext(args.output)[0] + ".json", "w") as file:
            json.dump(description, file, indent=1)
        print(f"Wrote {args.output}, {os.path.getsize(args.output) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
