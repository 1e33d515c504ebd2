"""Mask R-CNN: train on synthetic shapes, which need no dataset.

Import the module, or run it from the command line:

    # Train, starting from the small weights of the package, ImageNet's, or random values
    python3 shapes.py train
    python3 shapes.py train --weights=imagenet --epochs=10
    python3 shapes.py train --weights=none --steps=200 --epochs=20

    # Continue the last training
    python3 shapes.py train --weights=last --epochs=12

    # COCO's average precision on images that were not trained on
    python3 shapes.py evaluate --weights=last

    # Write images with their detections
    python3 shapes.py detect --weights=last --output=shapes_output
"""

import argparse
import os
import sys

ROOT_DIR = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.append(ROOT_DIR)  # to find a local version of the library

from mrcnn import datasets
from mrcnn.cli import start_model
from mrcnn.config import Config
from mrcnn.drawing import save_instances
from mrcnn.evaluation.coco import evaluate_coco

DEFAULT_LOGS_DIR = os.path.join(ROOT_DIR, "logs")
# Each set has other images.
SEEDS = {"train": 0, "val": 1, "test": 2}
COUNTS = {"train": 500, "val": 50, "test": 100}


############################################################
#  Configurations
############################################################


class ShapesConfig(Config):
    """Settings for small images with few objects."""

    NAME = "shapes"
    GPU_COUNT = 1
    IMAGES_PER_GPU = 8
    NUM_CLASSES = 1 + 3  # background + square, circle, triangle
    BACKBONE = "resnet50"
    IMAGE_MIN_DIM = 128
    IMAGE_MAX_DIM = 128
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    TRAIN_ROIS_PER_IMAGE = 32
    STEPS_PER_EPOCH = 100
    VALIDATION_STEPS = 5


class InferenceConfig(ShapesConfig):
    """One image at a time."""

    IMAGES_PER_GPU = 1


############################################################
#  Dataset
############################################################


class ShapesDataset(datasets.ShapesDataset):
    """Images of shapes: `load_shapes(count, height, width)`."""


def load(subset, config):
    """Return a prepared dataset: "train", "val" or "test"."""
    height, width = config.IMAGE_SHAPE[:2].tolist()
    dataset = ShapesDataset()
    dataset.load_shapes(COUNTS[subset], height, width, SEEDS[subset])
    dataset.prepare()
    return dataset


def flip(image, mask, rng):
    """Mirror an image and its masks left to right, with a probability of one half."""
    return (image[:, ::-1], mask[:, ::-1]) if rng.random() < 0.5 else (image, mask)


############################################################
#  Commands
############################################################


def make_optimizer(config, peak, steps):
    """Return AdamW with a warm-up of up to 100 steps to `peak` and a cosine decay.

    benchmarks/shapes_from_scratch.py compares it with SGD.
    """
    import keras

    warmup = min(100, steps // 4)
    schedule = keras.optimizers.schedules.CosineDecay(
        peak / 20, max(steps - warmup, 1), warmup_target=peak, warmup_steps=warmup, alpha=0.001
    )
    return keras.optimizers.AdamW(
        schedule, weight_decay=1e-4, global_clipnorm=config.GRADIENT_CLIP_NORM
    )


def train(model, epochs, learning_rate):
    """Train every layer: shapes differ from everything that other weights were trained on."""
    steps = max(epochs - model.epoch, 1) * model.config.STEPS_PER_EPOCH
    model.train(
        load("train", model.config),
        load("val", model.config),
        learning_rate=learning_rate,
        optimizer=make_optimizer(model.config, learning_rate, steps),
        epochs=epochs,
        layers="all",
        augmentation=flip,
        cache=True,
    )


def evaluate(model):
    """Print and return COCO's figures on images that were not trained on."""
    report = evaluate_coco(model, load("test", model.config))
    print(report)
    return report


def enlarged(image, result, times=4):
    """Return an image and its result, enlarged: labels would cover a small image."""
    image, masks = (x.repeat(times, axis=0).repeat(times, axis=1) for x in (image, result["masks"]))
    return image, {**result, "rois": result["rois"] * times, "masks": masks}


def detect(model, output, count):
    """Write images with their detections, four times as large."""
    dataset = load("test", model.config)
    os.makedirs(output, exist_ok=True)
    for image_id in dataset.image_ids[:count]:
        image = dataset.load_image(image_id)
        result = model.detect([image])[0]
        path = os.path.join(output, f"{image_id:04d}.png")
        save_instances(path, *enlarged(image, result), class_names=dataset.class_names)
        found = ", ".join(
            f"{dataset.class_names[c]} {s:.2f}"
            for c, s in zip(result["class_ids"], result["scores"])
        )
        print(f"{path}: {found or 'nothing'}")


############################################################
#  Command line
############################################################


def main(words=None):
    """Run the command line; `words` are those of the process by default."""
    parser = argparse.ArgumentParser(description="Mask R-CNN on synthetic shapes.")
    commands = ("train", "evaluate", "detect")
    parser.add_argument("command", choices=commands, metavar="<command>", help=", ".join(commands))
    parser.add_argument(
        "--weights",
        metavar="/path/to/weights.h5",
        help="path of weights, or small (default of train), last (default of the others), coco, "
        "imagenet, none",
    )
    parser.add_argument(
        "--logs",
        default=DEFAULT_LOGS_DIR,
        metavar="/path/to/logs/",
        help="folder of weights and logs",
    )
    parser.add_argument("--epochs", type=int, default=10, help="number of the last epoch")
    parser.add_argument("--steps", type=int, help="steps per epoch (default 100)")
    parser.add_argument(
        "--learning-rate", type=float, default=5e-4, help="peak of the learning rate"
    )
    parser.add_argument("--output", default="shapes_output", help="folder for the images of detect")
    parser.add_argument("--count", type=int, default=10, help="number of images for detect")
    args = parser.parse_args(words)
    weights = args.weights or ("small" if args.command == "train" else "last")
    print("Weights:", weights)
    print("Logs:   ", args.logs)

    if args.command == "train":
        config = ShapesConfig()
        config.STEPS_PER_EPOCH = args.steps or config.STEPS_PER_EPOCH
        train(start_model("training", config, weights, args.logs), args.epochs, args.learning_rate)
        return
    config = InferenceConfig()
    if args.command == "evaluate":
        # Average precision also counts detections of a low score.
        config.DETECTION_MIN_CONFIDENCE = 0.05
    model = start_model("inference", config, weights, args.logs)
    if args.command == "evaluate":
        evaluate(model)
    else:
        detect(model, args.output, args.count)


if __name__ == "__main__":
    main()
