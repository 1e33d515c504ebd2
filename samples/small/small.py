"""Train the small model of the package before 2026-11-29: balloons, motorcycles and people.

The present one is made by `everyday.py`.

It has a SqueezeNet backbone, a narrow pyramid and 384-pixel images: 3.6 million weights that are
trained with about 170 photographs on two CPU cores, and detect in a fraction of a second.

Run it from the command line:

    # Train with the settings of today
    python3 small.py train --data=/path/to/data --backbone=/path/to/squeezenet1_1_imagenet_notop.h5

    # Hold out a part of the motorcycles and people, and measure on that part
    python3 small.py train --data=... --backbone=... --fold=0 --folds=2
    python3 small.py evaluate --data=... --weights=last --fold=0 --folds=2

    # Average two trainings of which the second continued the first
    python3 small.py average --weights first.h5 second.h5 --output=mean.h5

    # Write the file of the package, in half precision, with its settings beside it
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
from mrcnn.files.atomic import write_json

CLASSES = ("balloon", "motorcycle", "person")
# Pretrained layers of SqueezeNet (fire10 and fire11 are additions of this package) and NanoDet.
PRETRAINED = r"squeeze_conv1|fire[2-9]_"
DEFAULT_LOGS_DIR = os.path.join(ROOT_DIR, "logs")


class SmallConfig(Config):
    """Settings of the small model. Images are 384 x 384, so anchors run from 24 to 384."""

    NAME = "small"
    BACKBONE = "squeezenet"
    NUM_CLASSES = 1 + len(CLASSES)
    IMAGES_PER_GPU = 2
    IMAGE_MIN_DIM = 384
    IMAGE_MAX_DIM = 384
    TOP_DOWN_PYRAMID_SIZE = 96
    # Objects that fill the image are pooled from P4: the stages of stride 16 come from ImageNet,
    # those of stride 32 are trained with a few images only.
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
    """Return the three sets as one, and each by itself.

    Args:
        folder: folder of `balloon/`, `motorcycles/` and `penn_fudan/`.
        subset: "train" or "val". Motorcycles and people have one set each: with `folds`, every
            `folds`-th image belongs to "val" and the others to "train"; without, all belong to
            both.
        fold: which part of the images is held out.
        folds: number of parts, 0 for none.
        everyday: whether "all" includes images of everyday scenes, see `load_everyday`. The three
            sets are then included twice, so that most images are still theirs.
        scenes: number of images with pasted objects that "all" includes.

    Returns:
        A dict of prepared datasets: "balloon", "motorcycle", "person" and "all".
    """
    parts = single_sets(folder, subset, fold, folds)
    more = [*parts.values(), *load_everyday(folder)] if everyday else []
    merged = merge([*parts.values(), *more])
    # Some of the sets have people without annotations, so there the class person is not active.
    # But a motorcycle or balloon detected where none is annotated is wrong in every image.
    for name in {info["source"] for info in merged.image_info}:
        people = [3] if name in ("person", "coco", "yolo") else []
        merged.source_class_ids[name] = [0, 1, 2, *people]
    # The parts, with the class ids of the whole.
    sources = np.array([info["source"] for info in merged.image_info])
    parts = {name: merged.subset(np.where(sources == name)[0]) for name in CLASSES}
    if scenes:
        active = merged.source_class_ids
        merged = merge([merged, CopyPasteDataset(merged, scenes, seed=fold)])
        merged.source_class_ids = active
    return {**parts, "all": merged}


def single_sets(folder, subset, fold=0, folds=0, person_source="person", exhaustive=True):
    """Return the sets of one class each: balloons, motorcycles and people.

    Args:
        folder: folder of `balloon/`, `motorcycles/` and `penn_fudan/`.
        subset: "train" or "val".
        fold: which part of the motorcycles and people is held out.
        folds: number of parts; 0 for none, and all images are in both.
        person_source: the source of the people.
        exhaustive: whether images have no other objects without annotation.
    """
    sets = {
        "balloon": ViaDataset(),
        "motorcycle": MaskImageDataset(),
        "person": MaskImageDataset(),
    }
    sets["balloon"].load_via(
        os.path.join(folder, "balloon"), subset, classes=["balloon"], source="balloon"
    )
    sets["motorcycle"].load_masks(
        os.path.join(folder, "motorcycles"), "val", "motorcycle", source="motorcycle"
    )
    people = os.path.join(folder, "penn_fudan")
    sets["person"].load_masks(people, None, "person", source=person_source)
    for name, dataset in sets.items():
        dataset.prepare()
        for info in dataset.image_info:
            info["exhaustive"] = exhaustive
        if folds and name != "balloon":
            is_val = np.arange(dataset.num_images) % folds == fold
            sets[name] = dataset.subset(np.where(is_val == (subset == "val"))[0])
    return sets


class Negatives(Dataset):
    """Images without objects."""

    def load_mask(self, image_id):
        """Return no mask and no class id."""
        height, width = self.image_size(image_id)
        return np.zeros((height, width, 0), bool), np.zeros(0, np.int32)


def load_everyday(folder):
    """Return COCO's motorcycles and people, images with neither, and images filled by an animal.

    Without these the model detects every large object as a motorcycle.
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
    """Mirror, rotate, scale, shift and recolor an image and its masks at random.

    Args:
        image: [H, W, 3] uint8.
        mask: [H, W, N].
    """
    rng = np.random.default_rng()
    height, width = image.shape[:2]
    zoom = math.exp(rng.uniform(math.log(0.7), math.log(1.4)))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    # Around the center, then shifted by up to a tenth of the side.
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


def make_optimizer(config, peak, steps, rates, **options):
    """Return AdamW with a warm-up of up to 200 steps to `peak` and a cosine decay to zero.

    AdamW is by Loshchilov and Hutter (2019). The mask head gains most: after 600 steps its loss was
    0.34, and 0.44 with SGD at 0.008.

    AdamW's steps have the same size for every weight, and the rate of new layers would destroy what
    pretrained ones have learned.

    Args:
        config: settings of the model.
        peak: largest learning rate.
        steps: number of steps.
        rates: pattern of the paths of weights -> factor of their learning rate, a number or a
            function of the shape that returns an array; the first that matches counts, and 1 where
            none does. Weights with a factor do not decay.
        **options: further arguments of `keras.optimizers.AdamW`.
    """
    import keras

    class RatesByLayer(keras.optimizers.AdamW):
        def build(self, variables):
            factors = []
            for variable in variables:
                found = (
                    rate for pattern, rate in rates.items() if re.match(pattern, variable.path)
                )
                factor = next(found, None)
                factors.append(factor(variable.shape) if callable(factor) else factor)
            self._factors = tuple(factors)
            slow = [v for v, factor in zip(variables, self._factors) if factor is not None]
            self.exclude_from_weight_decay(var_list=slow)
            super().build(variables)

        def update_step(self, gradient, variable, learning_rate):
            factor = self._factors[self._get_variable_index(variable)]
            if factor is not None:
                learning_rate = learning_rate * factor
            super().update_step(gradient, variable, learning_rate)

    warmup = min(200, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        peak / 20, steps - warmup, warmup_target=peak, warmup_steps=warmup, alpha=0.001
    )
    return RatesByLayer(
        schedule, weight_decay=0.01, global_clipnorm=config.GRADIENT_CLIP_NORM, **options
    )


def train(model, data, args):
    """Train the layers of --layers; the first layers, from ImageNet, stay as they are."""
    started, cpu = time.time(), cpu_seconds()
    model.config.STEPS_PER_EPOCH = min(model.config.STEPS_PER_EPOCH, args.steps)
    epochs = args.steps // model.config.STEPS_PER_EPOCH
    model.train(
        data["all"],
        None,
        learning_rate=args.learning_rate,
        optimizer=make_optimizer(
            model.config, args.learning_rate, args.steps, {PRETRAINED: args.backbone_rate}
        ),
        epochs=model.epoch + epochs,
        layers=args.layers,
        augmentation=augment,
        cache=True,
        seed=args.seed,
        verbose=2,
    )
    minutes, core_minutes = (time.time() - started) / 60, (cpu_seconds() - cpu) / 60
    print(f"{args.steps} steps in {minutes:.1f} minutes ({core_minutes:.1f} core minutes)")


def cpu_seconds():
    """Return the time that all threads of this process have computed."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def evaluate(model, data):
    """Print and return COCO's figures for each set, and the mean IoU of the motorcycles."""
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
    """Set the weights of the model to the mean of several checkpoints of one training.

    See Izmailov et al. (2018), "Averaging weights leads to wider optima and better generalization".
    """
    total = [0.0 for _ in model.keras_model.weights]
    for path in paths:
        model.load_weights(path, by_name=True)
        total = [t + w.numpy() / len(paths) for t, w in zip(total, model.keras_model.weights)]
    for weight, value in zip(model.keras_model.weights, total):
        weight.assign(value)


def main():
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Train the small model of the package.")
    parser.add_argument("command", choices=("train", "evaluate", "average", "export"))
    parser.add_argument("--data", help="folder of the three datasets")
    parser.add_argument("--backbone", help="ImageNet weights of SqueezeNet 1.1 (.h5)")
    parser.add_argument(
        "--weights", nargs="+", help="weight file to start from, or 'last'; several for average"
    )
    parser.add_argument("--logs", default=DEFAULT_LOGS_DIR)
    parser.add_argument(
        "--output", help="for export and average: the file; for evaluate: a JSON file"
    )
    parser.add_argument("--everyday", action="store_true", help="train on everyday scenes too")
    parser.add_argument("--scenes", type=int, default=0, help="number of scenes of pasted objects")
    parser.add_argument(
        "--steps", type=int, default=3000, help="number of steps, of two images each"
    )
    parser.add_argument(
        "--learning-rate", type=float, default=3e-4, help="peak of the learning rate"
    )
    parser.add_argument(
        "--backbone-rate", type=float, default=0.1, help="factor for layers from ImageNet"
    )
    parser.add_argument("--layers", default="3+", help="layers to train: heads, 5+, 4+ or 3+")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="precision of the training; bfloat16 is faster on CPUs that have it",
    )
    parser.add_argument("--mask-weight", type=float, default=1.0, help="factor of the mask loss")
    parser.add_argument(
        "--box-weight", type=float, default=1.0, help="factor of the loss of the box head"
    )
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
        # Average precision also counts detections of a low score.
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
            write_json(args.output, figures)
    elif args.command == "average":
        model.keras_model.save_weights(args.output)
    else:
        description = {"config": config.to_dict(), "class_names": ["BG", *CLASSES]}
        checkpoints.save_weights(
            model.keras_model, args.output, dtype="float16", metadata=description
        )
        # The same beside the file, for versions that do not look into it.
        write_json(os.path.splitext(args.output)[0] + ".json", description)
        print(f"Wrote {args.output}, {os.path.getsize(args.output) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
