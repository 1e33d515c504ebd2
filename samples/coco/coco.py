"""Mask R-CNN: train and evaluate on MS COCO.

Import the module, or run it from the command line:

    # Train, starting from ImageNet's weights, from COCO's, or from a file
    python3 coco.py train --dataset=/path/to/coco/ --model=imagenet
    python3 coco.py train --dataset=/path/to/coco/ --model=coco
    python3 coco.py train --dataset=/path/to/coco/ --model=/path/to/weights.h5

    # Continue the last training
    python3 coco.py train --dataset=/path/to/coco/ --model=last

    # COCO's average precision of boxes and masks on the validation set
    python3 coco.py evaluate --dataset=/path/to/coco/ --model=last
    python3 coco.py evaluate --dataset=/path/to/coco/ --year=2017 --model=coco --limit=500

The dataset: https://cocodataset.org, or --download=True.
"""

import argparse
import os
import sys

import numpy as np

ROOT_DIR = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.append(ROOT_DIR)  # to find a local version of the library

from mrcnn import datasets
from mrcnn.cli import start_model
from mrcnn.config import Config
from mrcnn.evaluation import coco as coco_evaluation

DEFAULT_LOGS_DIR = os.path.join(ROOT_DIR, "logs")
DEFAULT_DATASET_YEAR = "2014"


############################################################
#  Configurations
############################################################


class CocoConfig(Config):
    """Settings for training on COCO; the others are the defaults."""

    NAME = "coco"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 80


class InferenceConfig(CocoConfig):
    """Settings for evaluation: one image at a time, and detections of any score."""

    GPU_COUNT = 1
    IMAGES_PER_GPU = 1
    DETECTION_MIN_CONFIDENCE = 0


# Stages of training: layers, last epoch, share of LEARNING_RATE.
SCHEDULE = [("heads", 40, 1.0), ("4+", 120, 1.0), ("all", 160, 0.1)]


############################################################
#  Dataset
############################################################


class CocoDataset(datasets.CocoDataset):
    """COCO, by default of the year 2014."""

    def load_coco(
        self,
        dataset_dir,
        subset,
        year=DEFAULT_DATASET_YEAR,
        class_ids=None,
        class_map=None,
        return_coco=False,
        auto_download=False,
    ):
        """Load a subset; see `mrcnn.datasets.CocoDataset.load_coco`."""
        return super().load_coco(
            dataset_dir, subset, year, class_ids, class_map, return_coco, auto_download
        )


############################################################
#  Evaluation
############################################################


def build_coco_results(dataset, image_ids, rois, class_ids, scores, masks):
    """Return the detections of one image in COCO's results format.

    Args:
        dataset: prepared dataset with COCO's classes.
        image_ids: COCO's id of the image, in a list.
        rois: [N, (y1, x1, y2, x2)] in pixels.
        class_ids: [N] class ids.
        scores: [N].
        masks: [height, width, N].

    Returns:
        A list of dicts, one for each detection and image id.
    """
    from mrcnn.geometry.rle import encode_masks

    if rois is None:
        return []
    entries = []
    for image_id in image_ids:
        for roi, class_id, score, rle in zip(rois, class_ids, scores, encode_masks(masks)):
            y1, x1, y2, x2 = np.around(roi, 1).tolist()
            entries.append(
                {
                    "image_id": image_id,
                    "category_id": dataset.get_source_class_id(class_id, "coco"),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": float(score),
                    "segmentation": rle,
                }
            )
    return entries


def evaluate_coco(model, dataset, coco=None, eval_type=None, limit=0, image_ids=None):
    """Detect on the images of a dataset and print COCO's figures.

    Args:
        model: a `MaskRCNN` for inference.
        dataset: prepared dataset.
        coco: not used; for callers of Matterport's function.
        eval_type: "bbox" or "segm" prints the figures of boxes or masks; None prints both.
        limit: number of images, 0 for all.
        image_ids: evaluate these images only.

    Returns:
        A `CocoReport` with both.
    """
    del coco
    report = coco_evaluation.evaluate_coco(model, dataset, image_ids=image_ids, limit=limit)
    if eval_type is None:
        print(report)
    else:
        kind = {"bbox": "box", "segm": "mask"}[eval_type]
        for name, value in report.metrics().items():
            if name.startswith(kind):
                print(f"{name:10} {value:.3f}")
    return report


############################################################
#  Commands
############################################################


def train(model, dataset_dir, year=DEFAULT_DATASET_YEAR, download=False):
    """Train in three stages: heads, then from stage 4 up, then everything.

    As for Matterport's weights, the images of val 2014 outside the 5,000 of minival are trained on
    as well.
    """
    dataset_train = CocoDataset()
    dataset_train.load_coco(dataset_dir, "train", year=year, auto_download=download)
    if year == "2014":
        dataset_train.load_coco(dataset_dir, "valminusminival", year=year, auto_download=download)
    dataset_train.prepare()
    dataset_val = load_validation(dataset_dir, year, download)

    for layers, epochs, share in SCHEDULE:
        print(f"Training {layers} up to epoch {epochs}")
        model.train(
            dataset_train,
            dataset_val,
            learning_rate=model.config.LEARNING_RATE * share,
            epochs=epochs,
            layers=layers,
            augmentation=flip,
        )


def flip(image, mask, rng):
    """Mirror an image and its masks left to right, with a probability of one half."""
    return (image[:, ::-1], mask[:, ::-1]) if rng.random() < 0.5 else (image, mask)


def load_validation(dataset_dir, year=DEFAULT_DATASET_YEAR, download=False):
    """Return the prepared validation set: minival of 2014, val of 2017."""
    dataset = CocoDataset()
    subset = "minival" if year == "2014" else "val"
    dataset.load_coco(dataset_dir, subset, year=year, auto_download=download)
    dataset.prepare()
    return dataset


############################################################
#  Command line
############################################################


def yes_or_no(word):
    """Return True for "True", as in --download=True, and False for "False"."""
    answers = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if word.lower() not in answers:
        raise argparse.ArgumentTypeError(f"value is {word!r}; it must be True or False")
    return answers[word.lower()]


def main(words=None):
    """Run the command line; `words` are those of the process by default."""
    parser = argparse.ArgumentParser(description="Train and evaluate Mask R-CNN on MS COCO.")
    parser.add_argument(
        "command",
        choices=("train", "evaluate"),
        metavar="<command>",
        help="'train' or 'evaluate'",
    )
    parser.add_argument(
        "--dataset", required=True, metavar="/path/to/coco/", help="folder of MS COCO"
    )
    parser.add_argument(
        "--year",
        default=DEFAULT_DATASET_YEAR,
        metavar="<year>",
        help=f"year of the dataset, 2014 or 2017 (default {DEFAULT_DATASET_YEAR})",
    )
    parser.add_argument(
        "--model",
        required=True,
        metavar="/path/to/weights.h5",
        help="path of weights, or coco, imagenet, small, last, none",
    )
    parser.add_argument(
        "--logs",
        default=DEFAULT_LOGS_DIR,
        metavar="/path/to/logs/",
        help="folder of weights and logs",
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=0,
        metavar="<image count>",
        help="number of images to evaluate (default 0: all)",
    )
    parser.add_argument(
        "--download",
        type=yes_or_no,
        nargs="?",
        const=True,
        default=False,
        metavar="<True|False>",
        help="download and unpack what is missing of the dataset",
    )
    args = parser.parse_args(words)
    print("Command:", args.command)
    print("Model:  ", args.model)
    print("Dataset:", args.dataset)
    print("Year:   ", args.year)
    print("Logs:   ", args.logs)
    print("Download:", args.download)

    if args.command == "train":
        model = start_model("training", CocoConfig(), args.model, args.logs)
        train(model, args.dataset, args.year, args.download)
    else:
        model = start_model("inference", InferenceConfig(), args.model, args.logs)
        dataset = load_validation(args.dataset, args.year, args.download)
        print(f"Running COCO evaluation on {args.limit or dataset.num_images} images.")
        evaluate_coco(model, dataset, limit=args.limit)


if __name__ == "__main__":
    main()
