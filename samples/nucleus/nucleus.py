"""Mask R-CNN: train on nuclei (the 2018 Data Science Bowl), and write a submission.

Import the module, or run it from the command line:

    # Train, starting from ImageNet's weights or the small weights of the package
    python3 nucleus.py train --dataset=/path/to/dataset --subset=train --weights=imagenet
    python3 nucleus.py train --dataset=/path/to/dataset --subset=train --weights=small

    # Continue the last training, on all images of stage 1
    python3 nucleus.py train --dataset=/path/to/dataset --subset=stage1_train --weights=last

    # Write results/nucleus/submit_<time>/submit.csv and the images with their detections
    python3 nucleus.py detect --dataset=/path/to/dataset --subset=stage1_test --weights=last

The dataset: https://www.kaggle.com/c/data-science-bowl-2018
"""

import datetime
import os
import sys
from pathlib import Path

import cv2
import numpy as np

ROOT_DIR = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.append(ROOT_DIR)  # to find a local version of the library

from mrcnn import datasets
from mrcnn.cli import sample_parser, start_model
from mrcnn.config import Config
from mrcnn.datasets.nucleus import SUBSETS, VAL_IDS
from mrcnn.drawing import save_instances

DEFAULT_LOGS_DIR = os.path.join(ROOT_DIR, "logs")
RESULTS_DIR = os.path.join(ROOT_DIR, "results", "nucleus")
NUM_TRAIN = 657 - len(VAL_IDS)  # the competition's images of stage 1 that are not held out

# Stages of training: layers, last epoch.
SCHEDULE = [("heads", 20), ("all", 40)]


############################################################
#  Configurations
############################################################


class NucleusConfig(Config):
    """Settings for many small objects: enlarged images, small anchors, many proposals."""

    NAME = "nucleus"
    IMAGES_PER_GPU = 6
    NUM_CLASSES = 1 + 1  # background + nucleus
    STEPS_PER_EPOCH = NUM_TRAIN // IMAGES_PER_GPU
    VALIDATION_STEPS = max(1, len(VAL_IDS) // IMAGES_PER_GPU)
    # The score of the competition hardly punishes detections of a low score.
    DETECTION_MIN_CONFIDENCE = 0
    BACKBONE = "resnet50"

    # Random crops of 512 x 512 from images scaled up by 2.
    IMAGE_RESIZE_MODE = "crop"
    IMAGE_MIN_DIM = 512
    IMAGE_MAX_DIM = 512
    IMAGE_MIN_SCALE = 2.0
    MEAN_PIXEL = np.array([43.53, 39.56, 48.22])

    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    # Nuclei touch each other: keep more proposals than usual.
    RPN_NMS_THRESHOLD = 0.9
    POST_NMS_ROIS_TRAINING = 1000
    POST_NMS_ROIS_INFERENCE = 2000
    RPN_TRAIN_ANCHORS_PER_IMAGE = 64

    USE_MINI_MASK = True
    MINI_MASK_SHAPE = (56, 56)
    TRAIN_ROIS_PER_IMAGE = 128
    MAX_GT_INSTANCES = 200
    DETECTION_MAX_INSTANCES = 400


class NucleusInferenceConfig(NucleusConfig):
    """Whole images of any size, one at a time."""

    GPU_COUNT = 1
    IMAGES_PER_GPU = 1
    IMAGE_RESIZE_MODE = "pad64"
    RPN_NMS_THRESHOLD = 0.7


############################################################
#  Dataset
############################################################


class NucleusDataset(datasets.NucleusDataset):
    """Images ID/images/ID.png with a mask file for each nucleus: `load_nucleus`."""


def augment(image, mask, rng):
    """Apply up to two of: mirroring, rotation by right angles, brightness, blur."""
    changes = [_mirror, _upside_down, _turn, _brighten, _blur]
    for i in rng.permutation(len(changes))[: rng.integers(0, 3)]:
        image, mask = changes[i](image, mask, rng)
    return image, mask


def _mirror(image, mask, rng):
    return (image[:, ::-1], mask[:, ::-1]) if rng.random() < 0.5 else (image, mask)


def _upside_down(image, mask, rng):
    return (image[::-1], mask[::-1]) if rng.random() < 0.5 else (image, mask)


def _turn(image, mask, rng):
    # A rotation by 90 degrees would change the shape of an image that is not square.
    turns = int(rng.integers(1, 4)) if image.shape[0] == image.shape[1] else 2
    return np.rot90(image, turns), np.rot90(mask, turns)


def _brighten(image, mask, rng):
    return np.clip(image * rng.uniform(0.8, 1.5), 0, 255).astype(np.uint8), mask


def _blur(image, mask, rng):
    sigma = max(rng.uniform(0.0, 5.0), 0.01)  # 0 would let OpenCV choose
    return cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), sigma), mask


############################################################
#  Run lengths
############################################################


def rle_encode(mask):
    """Return the competition's run lengths of a mask: "start length start length ...".

    Args:
        mask: [height, width] bool. Pixels are numbered from 1, column by column.
    """
    pixels = np.concatenate([[0], np.asarray(mask, bool).T.ravel(), [0]])
    edges = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    edges[1::2] -= edges[::2]
    return " ".join(map(str, edges.tolist()))


def rle_decode(rle, shape):
    """Return the mask, bool of `shape` (height, width), of the competition's run lengths."""
    starts, lengths = np.array(rle.split(), int).reshape(-1, 2).T
    pixels = np.zeros(shape[0] * shape[1], bool)
    for start, length in zip(starts - 1, lengths):
        pixels[start : start + length] = True
    return pixels.reshape(shape[1], shape[0]).T


def mask_to_rle(image_id, mask, scores):
    """Return the lines of a submission for one image.

    The masks of a submission must not overlap: a pixel belongs to its mask of the highest score.
    A mask without pixels is left out.

    Args:
        image_id: the id of the image.
        mask: [height, width, instances] bool.
        scores: [instances].

    Returns:
        Lines "id, run lengths"; "id," if there is no mask.
    """
    taken = np.zeros(mask.shape[:2], bool)
    lines = []
    for i in np.argsort(-np.asarray(scores), kind="stable"):
        own = mask[:, :, i] & ~taken
        taken |= own
        if own.any():
            lines.append(f"{image_id}, {rle_encode(own)}")
    return "\n".join(lines) if lines else f"{image_id},"


############################################################
#  Commands
############################################################


def train(model, dataset_dir, subset):
    """Train the heads, then all layers."""
    dataset_train = NucleusDataset()
    dataset_train.load_nucleus(dataset_dir, subset)
    dataset_train.prepare()

    if "val" in NucleusDataset.subsets(Path(dataset_dir)):
        dataset_val = NucleusDataset()
        dataset_val.load_nucleus(dataset_dir, "val")
        dataset_val.prepare()
    else:  # not the images of the competition: hold out a part
        dataset_train, dataset_val = dataset_train.split(0.1)

    for layers, epochs in SCHEDULE:
        print(f"Training {layers} up to epoch {epochs}")
        model.train(
            dataset_train,
            dataset_val,
            learning_rate=model.config.LEARNING_RATE,
            epochs=epochs,
            augmentation=augment,
            layers=layers,
        )


def detect(model, dataset_dir, subset):
    """Write a submission, and each image with its detections.

    Returns:
        The folder, results/nucleus/submit_<time>.
    """
    print(f"Running on {dataset_dir}")
    dataset = NucleusDataset()
    dataset.load_nucleus(dataset_dir, subset)
    dataset.prepare()

    submit_dir = os.path.join(RESULTS_DIR, f"submit_{datetime.datetime.now():%Y%m%dT%H%M%S}")
    os.makedirs(submit_dir)
    file_path = os.path.join(submit_dir, "submit.csv")
    with open(file_path, "w") as file:
        file.write("ImageId,EncodedPixels\n")
        for image_id in dataset.image_ids:
            image = dataset.load_image(image_id)
            result = model.detect([image])[0]
            source_id = dataset.image_info[image_id]["id"]
            file.write(mask_to_rle(source_id, result["masks"], result["scores"]) + "\n")
            output_path = os.path.join(submit_dir, f"{source_id}.png")
            # Hundreds of labels "nucleus" would cover the nuclei.
            save_instances(
                output_path,
                image,
                result,
                class_names=dataset.class_names,
                color_by="instance",
                show_label=False,
            )
    print("Saved to", submit_dir)
    return submit_dir


############################################################
#  Command line
############################################################


def main(words=None):
    """Run the command line; `words` are those of the process by default."""
    parser = sample_parser("Mask R-CNN for nuclei.", ("train", "detect"), DEFAULT_LOGS_DIR)
    parser.add_argument("--subset", metavar="<subset>", help=", ".join(SUBSETS))
    args = parser.parse_args(words)
    for option in ("dataset", "subset"):
        if not getattr(args, option):
            parser.error(f"--{option} is required for {args.command}")
    print("Weights:", args.weights)
    print("Dataset:", args.dataset)
    print("Subset: ", args.subset)
    print("Logs:   ", args.logs)

    if args.command == "train":
        model = start_model("training", NucleusConfig(), args.weights, args.logs)
        train(model, args.dataset, args.subset)
    else:
        model = start_model("inference", NucleusInferenceConfig(), args.weights, args.logs)
        detect(model, args.dataset, args.subset)


if __name__ == "__main__":
    main()
