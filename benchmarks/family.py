"""Every detector of the family, and the semantic networks, after the same minutes of training.

    python benchmarks/family.py DATA ROWS.jsonl --weights LITE0.h5 [--minutes 10] [--only fast_rcnn]

DATA holds `balloon`, `motorcycles/val` and `penn_fudan`, on which the detectors are trained but for
every fourth image, and `camvid` and `isbi2012` for the semantic networks (see `semantic.py`).
Each row is written to ROWS.jsonl when it is done; rows that are there are not measured again.

R-CNN, Fast, Faster and Mask R-CNN have the same trunk with ImageNet's values, `--weights`: for
efficientnet_lite0 a file of `tools/convert_efficientnet_lite0.py --classifier`, for squeezenet one
of keras-squeezenet. YOLO is trained from random values.

R-CNN and Fast R-CNN get their regions from selective search on images reduced to `--side`. They are
found once and kept beside ROWS.jsonl; their time is a column of its own, as in the papers, and
counts neither as training nor as detection. Fast R-CNN takes `--regions` of an image. R-CNN would
need minutes for those of a few images, so it is trained and measured with the `--rcnn-regions` most
likely ones, on as many images as it can compute the features of in the minutes; its detection speed
is that with all `--regions`, as in the paper.

training: images a second, without the first step, which compiles. detection: images a second, two
at a time, without the first two. search s: seconds per image. values: of the network.

CamVid is licensed for non-commercial use (CC BY-NC): keep what is trained on it to yourself.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import semantic  # starts the backend

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
from measures import machine
from small_network import CLASSES, SmallConfig

from mrcnn.config import MODEL_SETTINGS, Config
from mrcnn.datasets import Dataset
from mrcnn.datasets.proposals import proposal_key, read_proposals, write_proposals
from mrcnn.evaluation.coco import CocoEvaluator, evaluate_coco
from mrcnn.family import selective_search
from mrcnn.family.rcnn import RCNN, RCNNConfig
from mrcnn.family.yolo import NETWORKS as YOLO_NETWORKS
from mrcnn.family.yolo import Yolo, YoloConfig
from mrcnn.files.atomic import write_text
from mrcnn.loading.named_augmentation import find_augmentation
from mrcnn.model import MaskRCNN
from samples.small.everyday_data import single_sets

PUBLISHED = {
    "rcnn": "VOC07 58.5 (AlexNet), 66.0 (VGG); 47 s",
    "fast_rcnn": "VOC07 66.9; 0.32 s",
    "faster_rcnn": "VOC07 69.9; 0.2 s",
    "mask_rcnn": "COCO box 38.2, mask 35.7; 0.195 s",
    "yolov1": "VOC07 63.4; 45 images/s",
    "yolov2": "VOC07 76.8; 67 images/s",
    "yolov3": "COCO AP 31.0 at 416; 29 ms",
    "yolov3-tiny": "COCO AP50 33.1; 220 images/s",
}
SEMANTIC_PUBLISHED = {
    "fcn32s": "VOC11 59.4",
    "fcn16s": "VOC11 62.4",
    "fcn8s": "VOC11 62.7",
}
SEMANTIC_ROWS = {
    **{network: "camvid" for network in ("fcn32s", "fcn16s", "fcn8s", "segnet", "unet")},
    "unet_isbi2012": "isbi2012",
}
DETECTORS = ("rcnn", *MODEL_SETTINGS, *YOLO_NETWORKS)
LEARNING_RATES = {"yolov1": 1e-4, "yolov2": 3e-4, "yolov3": 3e-4, "yolov3-tiny": 1e-3}
COLUMNS = (
    "detector", "trunk", "box AP50", "box AP", "mask AP", "training", "detection",
    "search s", "values", "published",
)  # fmt: skip


class Sets:
    """What is trained on and what is measured.

    Args:
        options: of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.train = Dataset.merge(list(single_sets(options.data, "train", folds=4).values()))
        measured = Dataset.merge(list(single_sets(options.data, "val", folds=4).values()))
        count = min(options.images or measured.num_images, measured.num_images)
        # From all three parts.
        chosen = np.unique(np.linspace(0, measured.num_images - 1, count).astype(int))
        self.test = measured.subset(chosen)
        self._path = options.rows.with_suffix(f".regions{options.side}.npz")
        self._side = options.side
        self.search_seconds = 0.0

    def search(self, num_regions: int) -> None:
        """Set the proposals of all images, kept in a file, and measure the time of the search."""
        known = read_proposals(self._path) if self._path.exists() else {}
        for dataset in (self.train, self.test):
            for image_id in dataset.image_ids:
                name = proposal_key(dataset.image_info[image_id])
                if name not in known:
                    known[name] = self._find(dataset.load_image(image_id))
                    # After each image: a run that is stopped is continued.
                    write_proposals(self._path, known)
            dataset.proposals = {name: boxes[:num_regions] for name, boxes in known.items()}
        images = [
            self.test.load_image(i)
            for i in self.test.image_ids[:: len(self.test.image_ids) // 8 or 1]
        ]
        begun = time.perf_counter()
        for image in images:
            self._find(image)
        self.search_seconds = (time.perf_counter() - begun) / len(images)

    def _find(self, image: np.ndarray) -> np.ndarray:
        return selective_search(image, "fast", min_side=10, max_side=self._side)


def flips() -> Any:
    """Return the augmentation of all detectors."""
    return find_augmentation("flips")


def small_settings(config: Config, options: argparse.Namespace) -> Config:
    """Return settings with the trunk and the image size of the command line."""
    config.BACKBONE = options.trunk
    config.IMAGE_MIN_DIM = config.IMAGE_MAX_DIM = options.side
    config.DETECTION_MIN_CONFIDENCE = 0.05
    config.STEPS_PER_EPOCH, config.VALIDATION_STEPS = 10**6, 0
    return config


def train_mask_rcnn(name: str, sets: Sets, options: argparse.Namespace) -> tuple[Any, float]:
    """Train Fast, Faster or Mask R-CNN, and return it with its images a second."""
    config = small_settings(SmallConfig(), options)
    for setting, value in MODEL_SETTINGS[name].items():
        setattr(config, setting, value)
    if not config.USE_RPN:
        sets.search(options.regions)
        config.POST_NMS_ROIS_TRAINING = config.POST_NMS_ROIS_INFERENCE = options.regions
    with tempfile.TemporaryDirectory() as logs:
        model = MaskRCNN("training", config, logs)
        model.load_weights(options.weights, by_name=True)
        rate = 5e-4
        timed = semantic.Timed(60 * options.minutes, rate)
        model.train(
            sets.train,
            None,
            learning_rate=rate,
            optimizer=keras.optimizers.Adam(rate, global_clipnorm=5.0),
            epochs=1,
            layers="all",
            augmentation=flips(),
            custom_callbacks=[timed],
            cache=True,
            seed=0,
            verbose=0,
        )
    return model, images_per_second(timed, config.BATCH_SIZE)


def train_yolo(name: str, sets: Sets, options: argparse.Namespace) -> tuple[Any, float]:
    """Train a YOLO from random values, and return it with its images a second."""
    config = YoloConfig()
    config.NUM_CLASSES = sets.train.num_classes
    config.IMAGES_PER_GPU = 4
    config.DETECTION_MIN_CONFIDENCE = 0.05
    # YOLOv1 ends in dense layers for one size.
    side = YOLO_NETWORKS[name].image_size if name == "yolov1" else options.side
    config.IMAGE_MIN_DIM = config.IMAGE_MAX_DIM = side
    config.USE_MASK = False
    yolo = Yolo(name, config, sets.train.class_names)
    rate = LEARNING_RATES[name]
    timed = semantic.Timed(60 * options.minutes, rate)
    yolo.train(
        sets.train,
        learning_rate=rate,
        epochs=10**6,
        augmentation=flips(),
        callbacks=[timed],
        verbose=0,
    )
    return yolo, images_per_second(timed, config.BATCH_SIZE)


def train_rcnn(name: str, sets: Sets, options: argparse.Namespace) -> tuple[Any, float]:
    """Train R-CNN on as many images as the minutes allow, and return it with images a second."""
    del name
    sets.search(options.rcnn_regions)
    config = RCNNConfig()
    config.NUM_CLASSES = sets.train.num_classes
    config.BACKBONE = options.trunk
    config.MAX_REGIONS = options.regions
    config.DETECTION_MIN_CONFIDENCE = 0.15  # a margin of -1.7
    rcnn = RCNN(config, sets.train.class_names)
    rcnn.load_imagenet(options.weights)
    # Shuffled, so that some images of every class come first.
    order = np.random.default_rng(0).permutation(sets.train.num_images)
    seconds = seconds_of_rcnn(rcnn, sets.test, options.rcnn_regions)
    # The machines and the refinement take the rest.
    count = int(np.clip(0.8 * 60 * options.minutes / seconds, len(CLASSES), len(order)))
    chosen = sets.train.subset(order[:count])
    chosen.proposals = sets.train.proposals
    with tempfile.TemporaryDirectory() as cache:
        begun = time.perf_counter()
        print(rcnn.train(chosen, cache=cache, verbose=0), flush=True)
        return rcnn, count / (time.perf_counter() - begun)


def seconds_of_rcnn(rcnn: RCNN, dataset: Dataset, num_regions: int) -> float:
    """Return the seconds for one image with some number of regions, wherever these are."""
    image = dataset.load_image(0)
    regions = np.tile([[0, 0, *image.shape[:2]]], (num_regions, 1))
    rcnn.detect([image], [regions[:1]])  # compiles
    begun = time.perf_counter()
    rcnn.detect([image], [regions])
    return time.perf_counter() - begun


def images_per_second(timed: semantic.Timed, batch_size: int) -> float:
    """Return the images a second of a training, without its first step."""
    return (timed.steps - 1) * batch_size / max(time.perf_counter() - timed.first, 1e-9)


TRAINERS: dict[str, Callable[[str, Sets, argparse.Namespace], tuple[Any, float]]] = {
    "rcnn": train_rcnn,
    **dict.fromkeys(MODEL_SETTINGS, train_mask_rcnn),
    **dict.fromkeys(YOLO_NETWORKS, train_yolo),
}


def measure_detector(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train and measure one detector."""
    keras.utils.set_random_seed(0)
    sets = Sets(options)
    model, training = TRAINERS[name](name, sets, options)
    has_masks = name == "mask_rcnn"
    evaluator = CocoEvaluator(sets.test, masks=has_masks)
    report = evaluate_coco(model, sets.test, batch_size=2, evaluator=evaluator, progress=False)
    print(f"\n{name}\n{report}", flush=True)
    seconds = report.seconds_per_image
    if name == "rcnn":
        seconds = seconds_of_rcnn(model, sets.test, options.regions)
    return {
        "kind": "detector",
        "trunk": "random" if name in YOLO_NETWORKS else options.trunk,
        "images": [int(sets.train.num_images), int(sets.test.num_images)],
        "box_AP50": report.box.AP50,
        "box_AP": report.box.AP,
        "mask_AP": report.mask.AP if report.mask is not None else None,
        "training": training,
        "detection": 1 / seconds,
        "search_seconds": sets.search_seconds or None,
        "values": model.keras_model.count_params(),
        "published": PUBLISHED[name],
    }


def measure_semantic(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train and measure one semantic network."""
    data = SEMANTIC_ROWS[name]
    settings = argparse.Namespace(
        data=options.data,
        minutes=options.minutes,
        width=options.width,
        batch=options.batch,
        crop=options.crop,
        images=options.images,
        vgg16=options.vgg16,
        drawings=None,
    )
    figures = semantic.measure(name.removesuffix("_isbi2012"), data, settings)
    published = semantic.PUBLISHED.get((figures["network"], data), SEMANTIC_PUBLISHED.get(name, ""))
    return {"kind": "semantic", **figures, "published": published}


def read_rows(path: Path) -> dict[str, dict[str, Any]]:
    """Return the rows that are done by their name."""
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row["row"]: row for row in rows}


def figure(value: float | None, digits: int = 3) -> str:
    """Return a number as text, a dash for none."""
    return "-" if value is None or np.isnan(value) else f"{value:.{digits}f}"


def print_tables(rows: dict[str, dict[str, Any]]) -> None:
    """Print the rows as tables, and what follows from them."""
    found = {name: row for name, row in rows.items() if row["kind"] == "detector"}
    if found:
        print_heading(COLUMNS, 2)
    for name, row in found.items():
        cells = [
            name,
            row["trunk"],
            *(figure(row[key]) for key in ("box_AP50", "box_AP", "mask_AP")),
            *(figure(row[key], 2) for key in ("training", "detection", "search_seconds")),
            f"{row['values']:,}",
            row["published"],
        ]
        print("| " + " | ".join(cells) + " |")
    print_order(found)
    maps = [row for row in rows.values() if row["kind"] == "semantic"]
    if maps:
        print_heading(semantic.COLUMNS, 2)
        print("\n".join(map(semantic.row, maps)))
        for row in maps:
            if row["network"] in SEMANTIC_PUBLISHED:
                print(f"{row['network']}, published mean IoU: {row['published']}")


def print_heading(columns: tuple[str, ...], num_texts: int) -> None:
    """Print the heading of a table, of which the first columns are texts."""
    print("\n| " + " | ".join(columns) + " |")
    print("|" + " --- |" * num_texts + " ---: |" * (len(columns) - num_texts))


def print_order(rows: dict[str, dict[str, Any]]) -> None:
    """Print how the detectors compare in speed, which the papers tell."""
    print()
    pairs = (("fast_rcnn", "rcnn"), ("faster_rcnn", "fast_rcnn"), ("mask_rcnn", "faster_rcnn"))
    for new, old in pairs:
        if new in rows and old in rows:
            network = rows[new]["detection"] / rows[old]["detection"]
            times = [
                1 / rows[n]["detection"] + (rows[n]["search_seconds"] or 0) for n in (old, new)
            ]
            print(
                f"{new} detects at {network:.2f} times the speed of {old}, "
                f"{times[0] / times[1]:.2f} times with the search for regions"
            )


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    names = [*DETECTORS, *SEMANTIC_ROWS]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder of the datasets")
    parser.add_argument("rows", type=Path, help="file of the rows (.jsonl), continued")
    parser.add_argument("--weights", type=Path, help="ImageNet values of the trunk")
    parser.add_argument("--trunk", default="efficientnet_lite0", help="or squeezenet")
    parser.add_argument("--minutes", type=float, default=1, help="of training for each row")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="ROW",
                        help=f"rows to measure, of {', '.join(names)}")  # fmt: skip
    parser.add_argument("--side", type=int, default=320, help="pixels of the images")
    parser.add_argument("--regions", type=int, default=2000, help="regions of an image")
    parser.add_argument("--rcnn-regions", type=int, default=300, help="the same for R-CNN's AP")
    parser.add_argument("--images", type=int, help="measure on this many images; default all")
    parser.add_argument("--width", type=int, default=64, help="filters of semantic networks")
    parser.add_argument("--crop", type=int, default=256, help="side of what these are trained on")
    parser.add_argument("--batch", type=int, default=2, help="crops that these take at once")
    parser.add_argument("--vgg16", type=Path, help="ImageNet values, of keras.applications.VGG16")
    options = parser.parse_args()
    needs_weights = {"rcnn", *MODEL_SETTINGS} & set(options.only)
    if needs_weights and options.weights is None:
        parser.error(f"--weights is missing; it must be a file for {', '.join(needs_weights)}")
    return options


def main() -> None:
    """Measure the rows that are missing and print the tables."""
    options = parse_options()
    rows = read_rows(options.rows)
    failed = []
    for name in options.only:
        if name in rows:
            continue
        print(f"{name} ...", flush=True)
        measure = measure_semantic if name in SEMANTIC_ROWS else measure_detector
        try:
            figures = measure(name, options)
        except Exception:
            traceback.print_exc()
            failed.append(name)
            continue
        rows[name] = {
            "row": name,
            "minutes": options.minutes,
            **figures,
            "machine": machine(os.cpu_count() or 1),
        }
        lines = [json.dumps(row, default=float) for row in rows.values()]
        write_text(options.rows, "\n".join(lines) + "\n")
        keras.backend.clear_session()
    print_tables(rows)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
