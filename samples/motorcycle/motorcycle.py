"""Mask R-CNN: fine-tune on motorcycles, and refine their masks.

The dataset is one of two:

* a folder of `mrcnn download open-images --classes Motorcycle --split validation,test
  --output FOLDER`. Its train split, or test where there is no train, is used for training, and
  validation for evaluation.
* a folder with train/ and val/, each with images images/ID_image.jpg of one motorcycle and
  masks/ID_mask.png (or correct_masks/) of the same size.

Import the module, or run it from the command line:

    # Train as the study did: COCO weights, all 80 classes kept, heads only, 3 x 100 steps
    python3 motorcycle.py train --dataset=/path/to/motorcycles --weights=coco

    # Train longer, with augmentation, and more layers
    python3 motorcycle.py train --dataset=/path/to/motorcycles --weights=coco --recipe=better

    # Train a two-class model, or start from the small model, or continue the last training
    python3 motorcycle.py train --dataset=/path/to/motorcycles --weights=coco --no-keep-classes
    python3 motorcycle.py train --dataset=/path/to/motorcycles --weights=small --recipe=small
    python3 motorcycle.py train --dataset=/path/to/motorcycles --weights=last

    # Measure
    python3 motorcycle.py evaluate --dataset=/path/to/motorcycles --weights=last

    # Color splash: turn everything but motorcycles gray
    python3 motorcycle.py splash --weights=last --image=<URL or path to file>
    python3 motorcycle.py splash --weights=last --video=<path to file>

    # Train a mask refiner on the model's own masks; then the splash with refined masks
    python3 motorcycle.py refine --dataset=/path/to/motorcycles --weights=last
    python3 motorcycle.py refine --weights=last --image=<URL or path to file>

    # Compare mean IoU before fine-tuning, after it, and with refined masks
    python3 motorcycle.py table --dataset=/path/to/motorcycles --weights=small --tuned=last \
        --min-confidence=0.3

The scores of the small model are low: use it with --min-confidence=0.3.

The refiner is that of --refiner, else the one that `refine` has trained, else the one of the
package. For an unbiased measurement, neither the weights nor the refiner may have been trained on
the images of --subset: of the val images of the study, the small model and the refiner of the
package were trained on every second.

The study: github.com/AlternatingSum/Image-segmentation.
"""

import argparse
import datetime
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT_DIR = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.append(ROOT_DIR)  # to find a local version of the library

from mrcnn import refinement
from mrcnn.checkpoints.coco_names import COCO_CLASS_NAMES
from mrcnn.cli import INPUT, NETWORK, start_model, weights_class_names
from mrcnn.config import Config
from mrcnn.datasets import MaskImageDataset, OpenImagesDataset
from mrcnn.evaluation.coco import evaluate_coco
from mrcnn.evaluation.instances import evaluate_single_object
from mrcnn.files.atomic import write_json
from mrcnn.geometry.images import as_rgb

DEFAULT_LOGS_DIR = os.path.join(ROOT_DIR, "logs")
NAME = "motorcycle"
REFINER_FILE = "mask_refiner_motorcycle.h5"


############################################################
#  Configurations
############################################################


class MotorcycleConfig(Config):
    """Settings of the study; the others are the defaults."""

    NAME = NAME
    IMAGES_PER_GPU = 2
    NUM_CLASSES = len(COCO_CLASS_NAMES)
    STEPS_PER_EPOCH = 100
    LEARNING_RATE = 0.001
    DETECTION_MIN_CONFIDENCE = 0.9


class Stage(NamedTuple):
    """One call of `train`: the layers, the last epoch and the learning rate."""

    layers: str
    epochs: int
    learning_rate: float


# Stages, and whether images are augmented.
RECIPES = {
    "study": ([Stage("heads", 3, 0.001)], False),
    "better": ([Stage("heads", 4, 0.001), Stage("4+", 12, 0.0002)], True),
    # The proposals of the small model are those of a detector, which stay as they are.
    "small": ([Stage("roi_heads", 3, 0.001)], True),
}


def augment(image, mask, rng):
    """Mirror with a probability of one half, and change contrast and brightness a little."""
    if rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    contrast, brightness = rng.uniform(0.8, 1.2), rng.uniform(-20, 20)
    changed = (image.astype(np.float32) - 128) * contrast + 128 + brightness
    return np.clip(changed, 0, 255).astype(np.uint8), mask


############################################################
#  Dataset
############################################################


class MotorcycleDataset(MaskImageDataset, OpenImagesDataset):
    """Motorcycles, as the only class or as class 4 of COCO's 80."""

    def load_motorcycle(self, dataset_dir, subset, class_names=COCO_CLASS_NAMES):
        """Load and prepare a subset.

        With several classes, only motorcycle and background are active for Open Images: objects
        of the other classes are in the images, but their masks are not loaded.

        Args:
            dataset_dir: folder of one of the two kinds described above.
            subset: train or val; a folder of crops may have others, such as test.
            class_names: class names of the model, the background first: COCO's, whose number 4
                is the motorcycle, or others such as ("BG", "motorcycle").
        """
        names = list(class_names[1:])
        if not OpenImagesDataset.recognizes(Path(dataset_dir)):
            self.load_masks(
                dataset_dir, subset, class_name=NAME, classes=names, mode="binary", source=NAME
            )
            return self.prepare()
        for number, name in enumerate(names, 1):
            self.add_class(NAME, number, name)
        self.load_open_images(dataset_dir, split_of(dataset_dir, subset), ["Motorcycle"])
        same = f"{NAME}.{names.index(NAME) + 1}"
        return self.prepare({"open_images./m/04_sv": same})


def split_of(dataset_dir, subset):
    """Return the Open Images split to use as train or val."""
    there = OpenImagesDataset.subsets(Path(dataset_dir))
    wanted = {"train": ["train", "test"], "val": ["validation"]}.get(subset, [subset])
    found = [split for split in wanted if split in there]
    if not found:
        raise ValueError(
            f"dataset is {dataset_dir} with the splits {there}; for {subset} it must have "
            f"{' or '.join(wanted)}: mrcnn download open-images --split {','.join(wanted)} ..."
        )
    return found[0]


############################################################
#  Weights
############################################################


def build_model(mode, args, weights=None):
    """Return a model with the weights of the command line, and its class names.

    The image size is that of the weights, so that the small model stays fast. The classes are
    those of the weights if a motorcycle is among them; with --no-keep-classes, or if there is none,
    they are ("BG", "motorcycle"), and the weights' rows for motorcycles are loaded.
    """
    weights = weights or args.weights
    known = weights_class_names(weights, args.logs, NAME)
    if known is None and args.keep_classes:
        known = list(COCO_CLASS_NAMES)
    has_motorcycle = known is not None and NAME in known
    keep = has_motorcycle if args.keep_classes is None else args.keep_classes
    if not has_motorcycle and (keep or mode == "inference"):
        raise ValueError(
            f"weights is {weights} with the classes {known}; {NAME!r} must be one of them"
        )
    names = known if keep or mode == "inference" else ["BG", NAME]
    config = MotorcycleConfig()
    config.NUM_CLASSES = len(names)
    config.STEPS_PER_EPOCH = args.steps
    config.VALIDATION_STEPS = min(config.VALIDATION_STEPS, args.steps)
    config.DETECTION_MIN_CONFIDENCE = args.min_confidence
    if mode == "inference":
        config.IMAGES_PER_GPU = 1
    if weights == "imagenet":
        config.BACKBONE = "resnet50"
    model = start_model(mode, config, weights, args.logs, follow=(*NETWORK, *INPUT), names=names)
    return model, names


def open_dataset(args, subset, class_names):
    """Return a prepared subset of --dataset."""
    dataset = MotorcycleDataset()
    dataset.load_motorcycle(args.dataset, subset, class_names)
    return dataset


def find_refiner(args):
    """Return the refiner of --refiner, else the one trained here, else that of the package."""
    own = Path(args.logs, REFINER_FILE)
    return refinement.open_refiner(args.refiner or (own if own.is_file() else "general"))


############################################################
#  Commands
############################################################


def train(args):
    """Train the model in the stages of the recipe."""
    model, names = build_model("training", args)
    if args.weights != "last":
        model.set_log_dir()  # a new training, also from a checkpoint of another
    dataset_train = open_dataset(args, "train", names)
    dataset_val = open_dataset(args, "val", names)
    stages, augmented = RECIPES[args.recipe]
    for stage in stages:
        print(f"Training {stage.layers} up to epoch {stage.epochs}")
        model.train(
            dataset_train,
            dataset_val,
            learning_rate=stage.learning_rate,
            epochs=stage.epochs,
            layers=stage.layers,
            augmentation=augment if augmented else None,
        )


def evaluate(args):
    """Print the figures for a subset, with refined masks if --refiner is given.

    Images of one motorcycle: the IoU of the largest detection. Open Images: COCO's AP.
    """
    model, names = build_model("inference", args)
    dataset = open_dataset(args, args.subset, names)
    refiner = find_refiner(args) if args.refiner else None
    if OpenImagesDataset.recognizes(Path(args.dataset)):
        print(evaluate_coco(model, dataset, refiner=refiner))
    else:
        class_id = names.index(NAME)
        print(evaluate_single_object(model, dataset, class_id, refiner=refiner))


def table(args):
    """Print mean IoU before fine-tuning, after it, and with refined masks; write it as JSON.

    Each image has one motorcycle, and the mask of the largest detection is compared. An image
    without a detection counts as 0; the second mean is over the images with a detection in every
    step.
    """
    steps = {"before": (args.weights, None), "fine-tuned": (args.tuned, None)}
    refiner = find_refiner(args)
    steps["refined"] = (args.tuned, refiner)
    reports, models = {}, {}
    for step, (weights, step_refiner) in steps.items():
        if weights not in models:
            models = {weights: build_model("inference", args, weights)}
        model, names = models[weights]
        dataset = open_dataset(args, args.subset, names)
        reports[step] = evaluate_single_object(
            model, dataset, names.index(NAME), refiner=step_refiner
        )
    rows = step_rows(reports)
    print("\n" + format_steps(rows))
    if args.json:
        content = {"weights": args.weights, "tuned": args.tuned, "subset": args.subset}
        content["steps"] = rows
        content["images"] = {step: r.to_dict()["images"] for step, r in reports.items()}
        write_json(args.json, content)
        print(f"Written to {args.json}")


def step_rows(reports):
    """Return one dict per step from `{step: SingleObjectReport}` over the same images."""
    ious = {step: np.array([one.iou for one in r.images]) for step, r in reports.items()}
    found = {step: np.array([one.found for one in r.images]) for step, r in reports.items()}
    common = np.logical_and.reduce(list(found.values()))
    rows, last = [], None
    for step, values in ious.items():
        row = {
            "step": step,
            "images": len(values),
            "found": int(found[step].sum()),
            "mean_iou": float(values.mean()),
            "found_in_all": int(common.sum()),
            "mean_iou_found_in_all": float(values[common].mean()) if common.any() else None,
        }
        if last is not None:
            row["improved"] = int((values > last).sum())
            row["worsened"] = int((values < last).sum())
        rows.append(row)
        last = values
    return rows


def format_steps(rows):
    """Return `step_rows` as a Markdown table; better and worse compare with the row above."""
    lines = [
        "| step | images | found | mean IoU | mean IoU, found in all steps | better | worse |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        everywhere = row["mean_iou_found_in_all"]
        shared = "" if everywhere is None else f"{everywhere:.4f} ({row['found_in_all']})"
        lines.append(
            f"| {row['step']} | {row['images']} | {row['found']} | {row['mean_iou']:.4f} "
            f"| {shared} | {row.get('improved', '')} | {row.get('worsened', '')} |"
        )
    return "\n".join(lines)


def color_splash(image, mask):
    """Turn everything outside the masks gray.

    Args:
        image: [height, width, 3] uint8, RGB.
        mask: [height, width, instances].

    Returns:
        An image of the same shape.
    """
    gray = image @ np.array([0.2125, 0.7154, 0.0721])
    return np.where(mask.any(axis=-1)[..., None], image, gray[..., None]).astype(np.uint8)


def motorcycle_masks(model, class_id, image, refiner=None):
    """Return the masks of the motorcycles in an image, [height, width, instances] bool."""
    result = model.detect([image], refiner=refiner)[0]
    return result["masks"][..., result["class_ids"] == class_id]


def splash(args, refiner=None):
    """Write a color splash of an image or a video."""
    model, names = build_model("inference", args)
    class_id = names.index(NAME)
    stem = f"splash_{datetime.datetime.now():%Y%m%dT%H%M%S}"
    if args.image:
        import skimage.io

        image = as_rgb(skimage.io.imread(args.image))
        masks = motorcycle_masks(model, class_id, image, refiner)
        skimage.io.imsave(f"{stem}.png", color_splash(image, masks))
        print(f"{masks.shape[-1]} motorcycles; saved to {stem}.png")
        return
    import cv2

    capture, writer, count = cv2.VideoCapture(args.video), None, 0
    if not capture.isOpened():
        raise ValueError(f"video is {args.video!r}; it must be a file that OpenCV can open")
    rate = capture.get(cv2.CAP_PROP_FPS) or 25
    while (frame := capture.read()[1]) is not None:
        if writer is None:
            code = cv2.VideoWriter_fourcc(*"MJPG")
            writer = cv2.VideoWriter(f"{stem}.avi", code, rate, frame.shape[1::-1])
        image = frame[..., ::-1]
        masks = motorcycle_masks(model, class_id, image, refiner)
        writer.write(np.ascontiguousarray(color_splash(image, masks)[..., ::-1]))
        count += 1
    capture.release()
    if writer is not None:
        writer.release()
    print(f"{count} frames; saved to {stem}.avi")


def refine(args):
    """Train a refiner on the dataset and measure it, or write a splash with refined masks."""
    if args.image or args.video:
        return splash(args, find_refiner(args))
    model, names = build_model("inference", args)
    pairs = {
        subset: refinement.pairs_from_dataset(open_dataset(args, subset, names), model)
        for subset in ("train", "val")
    }
    if not pairs["train"]:
        raise ValueError(
            f"weights is {args.weights}; it must detect motorcycles in the train images of "
            f"{args.dataset} with a score of {args.min_confidence} or more, and detects none"
        )
    recipe = "study" if args.recipe == "study" else "default"
    start = None if recipe == "study" else "general"
    refiner = refinement.train_refiner(pairs["train"], recipe, start=start, verbose=2)
    path = Path(args.logs, REFINER_FILE)
    refiner.save(path)
    if pairs["val"]:
        print(refinement.summarize(refinement.evaluate_refiner(refiner, pairs["val"])))
    print(f"Saved to {path}")


############################################################
#  Command line
############################################################

COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "splash": splash,
    "refine": refine,
    "table": table,
}


def main(words=None):
    """Run the command line; `words` are those of the process by default."""
    parser = argparse.ArgumentParser(description="Motorcycles with Mask R-CNN.")
    parser.add_argument("command", choices=COMMANDS, metavar="<command>", help=", ".join(COMMANDS))
    parser.add_argument("--dataset", metavar="/path/to/motorcycles/", help="the dataset")
    parser.add_argument(
        "--weights",
        default="coco",
        metavar="/path/to/weights.h5",
        help="path of weights, or coco, imagenet, small, last",
    )
    parser.add_argument(
        "--logs",
        default=DEFAULT_LOGS_DIR,
        metavar="/path/to/logs/",
        help="folder of weights and logs",
    )
    parser.add_argument("--image", metavar="path or URL", help="image for splash or refine")
    parser.add_argument("--video", metavar="path", help="video for splash or refine")
    parser.add_argument("--recipe", choices=RECIPES, default="study", help="how to train")
    parser.add_argument(
        "--keep-classes",
        "--keep-coco-classes",
        action=argparse.BooleanOptionalAction,
        help="keep the classes of the weights (COCO's 80) and train the motorcycle among them, "
        "or train a model of one class (default: keep them if a motorcycle is among them)",
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=MotorcycleConfig.STEPS_PER_EPOCH,
        help="training steps per epoch (%(default)s)",
    )
    parser.add_argument(
        "--min-confidence",
        type=float,
        default=MotorcycleConfig.DETECTION_MIN_CONFIDENCE,
        help="smallest score of detections (%(default)s)",
    )
    parser.add_argument(
        "--subset", default="val", help="subset for evaluate and table (%(default)s)"
    )
    parser.add_argument("--tuned", default="last", help="weights after fine-tuning, for table")
    parser.add_argument(
        "--refiner",
        metavar="path or name",
        help="refiner for evaluate, refine and table: motorcycle, start or a path",
    )
    parser.add_argument("--json", metavar="path", help="file for the figures of table")
    args = parser.parse_args(words)
    if args.command in ("train", "evaluate", "table") and not args.dataset:
        parser.error(f"--dataset is required for {args.command}")
    if args.command == "splash" and not (args.image or args.video):
        parser.error("--image or --video is required for splash")
    if args.command == "refine" and not (args.dataset or args.image or args.video):
        parser.error("--dataset, --image or --video is required for refine")
    print("Command:", args.command)
    print("Weights:", args.weights)
    print("Dataset:", args.dataset)
    print("Logs:   ", args.logs)
    COMMANDS[args.command](args)


if __name__ == "__main__":
    main()
