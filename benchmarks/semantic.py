"""What the semantic networks learn in the same time, beside the figures of their papers.

    python benchmarks/semantic.py DATA [--minutes 10] [--only unet segnet] [--precision bfloat16]
        [--json FILE]

DATA holds `camvid` (train, trainannot, test, testannot: SegNet's eleven classes) and `isbi2012`
(images, labels: 255 cell, 0 membrane). Every network is trained from random values, or with
`--vgg16` from ImageNet's, for the given minutes on CamVid's training images and scored on its test
images; U-Net is also trained on all but the last fifth of ISBI 2012 and scored on that. Both with
Adam, whose learning rate falls to zero, random flips, and on CamVid median frequency weights.

CamVid is licensed for non-commercial use (CC BY-NC): keep what is trained on it to yourself.

training: images, or crops of `--crop` pixels a side of larger ones, a second without the first
step, which compiles. segment: images a second one by one. class average: mean pixel accuracy.
published: pixel accuracy / class average / mean IoU of the paper on CamVid at 360 x 480, trained to
the end.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from measures import machine

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from mrcnn.startup.backend import import_backend

import_backend()

import keras  # noqa: E402

from mrcnn.datasets import Dataset, LabelImageDataset, load_label_map  # noqa: E402
from mrcnn.drawing import draw_labels, write_image  # noqa: E402
from mrcnn.evaluation import evaluate_labels  # noqa: E402
from mrcnn.family.semantic import NETWORKS, SemanticConfig, SemanticModel  # noqa: E402
from mrcnn.files.atomic import write_json  # noqa: E402
from mrcnn.geometry.images import as_rgb  # noqa: E402

PUBLISHED = {("segnet", "camvid"): "90.4 / 71.2 / 60.1"}
LEARNING_RATES = {"fcn32s": 1e-4, "fcn16s": 1e-4, "fcn8s": 1e-4, "segnet": 1e-3, "unet": 5e-4}
COLUMNS = (
    "network", "data", "values", "training", "segment", "pixel accuracy", "class average",
    "mean IoU", "mean Dice", "published",
)  # fmt: skip


class Timed(keras.callbacks.Callback):
    """Stops after some seconds; the learning rate falls to zero until then."""

    def __init__(self, seconds: float, learning_rate: float) -> None:
        super().__init__()
        self.seconds, self.learning_rate = seconds, learning_rate
        self.steps = 0
        self.begun = self.first = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count the step."""
        now = time.perf_counter()
        self.steps += 1
        if self.steps == 1:
            self.first = now
        left = 1 - (now - self.begun) / self.seconds
        self.model.optimizer.learning_rate = self.learning_rate * max(left, 0.0) ** 0.9
        self.model.stop_training = left <= 0


def flip(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Mirror half of the images."""
    return (image[:, ::-1], mask[:, ::-1]) if rng.random() < 0.5 else (image, mask)


def open_sets(data: Path, name: str) -> tuple[Dataset, Dataset]:
    """Return what is trained on and what is scored."""
    if name == "camvid":
        return tuple(
            LabelImageDataset.from_path(data / name, part, "camvid") for part in ("train", "test")
        )
    whole = LabelImageDataset.from_path(data / name, classes={0: "membrane", 255: "cell"})
    # The files are numbered without leading zeros.
    order = sorted(whole.image_ids, key=lambda i: int(whole.image_info[i]["id"]))
    first = len(order) - len(order) // 5
    return whole.subset(order[:first]), whole.subset(order[first:])


def measure(network: str, data: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train and score one network."""
    train_set, test_set = open_sets(options.data, data)
    gray = data == "isbi2012"

    class Config(SemanticConfig):
        NUM_CLASSES = train_set.num_classes
        BASE_WIDTH = options.width
        IMAGES_PER_GPU = options.batch
        IMAGE_CHANNEL_COUNT = 1 if gray else 3
        MEAN_PIXEL = np.array([127.0] if gray else [123.7, 116.8, 103.9])
        IMAGE_MAX_DIM = options.crop
        PRECISION = options.precision

    keras.utils.set_random_seed(0)
    model = SemanticModel(network, Config(), train_set.class_names)
    if options.vgg16 is not None and network != "unet":
        model.load_imagenet(options.vgg16)
    timed = Timed(60 * options.minutes, LEARNING_RATES[network])
    model.train(
        train_set,
        epochs=10**6,
        augmentation=flip,
        class_weights=None if gray else "median",
        optimizer=keras.optimizers.Adam(LEARNING_RATES[network], global_clipnorm=5.0),
        callbacks=[timed],
        verbose=0,
    )
    trained = (timed.steps - 1) * options.batch
    train_seconds = time.perf_counter() - timed.first
    # Not the first ones: they are frames of one video.
    count = min(options.images or test_set.num_images, test_set.num_images)
    scored = test_set.subset(np.linspace(0, test_set.num_images - 1, count).astype(int))
    model.segment([scored.load_image(0)])
    begun = time.perf_counter()
    report = evaluate_labels(model.segment, scored)
    segment_seconds = time.perf_counter() - begun
    print(f"\n{network}, {data}, {timed.steps} steps\n{report}", flush=True)
    if options.drawings is not None:
        draw(model, scored, options.drawings / f"{network}_{data}.png")
    return {
        "network": network,
        "data": data,
        "values": model.keras_model.count_params(),
        "training": trained / train_seconds,
        "segment": scored.num_images / segment_seconds,
        **report.to_dict(),
    }


def draw(model: SemanticModel, dataset: Dataset, path: Path) -> None:
    """Write an image: predicted labels above the true ones."""
    image = as_rgb(dataset.load_image(0))
    labels = [model.segment([image])[0]["labels"], load_label_map(dataset, 0)]
    drawn = [
        draw_labels(image, one, dataset.class_names, legend=is_last)
        for one, is_last in zip(labels, (False, True), strict=True)
    ]
    width = max(one.shape[1] for one in drawn)
    padded = [
        np.pad(one, ((0, 0), (0, width - one.shape[1]), (0, 0)), constant_values=255)
        for one in drawn
    ]
    write_image(path, np.vstack(padded))


def row(figures: dict[str, Any]) -> str:
    """Return one row of the table."""

    def percent(name: str) -> str:
        return "-" if figures[name] is None else f"{100 * figures[name]:.1f}"

    cells = [
        figures["network"],
        figures["data"],
        f"{figures['values']:,}",
        f"{figures['training']:.2f}",
        f"{figures['segment']:.2f}",
        *map(percent, ("pixel_accuracy", "mean_pixel_accuracy", "mean_iou", "mean_dice")),
        PUBLISHED.get((figures["network"], figures["data"]), ""),
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure the networks and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder that holds camvid and isbi2012")
    parser.add_argument("--minutes", type=float, default=10, help="of training for each network")
    parser.add_argument("--only", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--sets", nargs="+", default=["camvid", "isbi2012"])
    parser.add_argument("--width", type=int, default=64, help="filters of the first convolution")
    parser.add_argument("--crop", type=int, default=512, help="side of what is trained on")
    parser.add_argument("--batch", type=int, default=4, help="images in a batch")
    parser.add_argument("--images", type=int, help="score this many images; default all")
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        default="float32",
        help="of the arithmetic; weights stay in float32",
    )
    parser.add_argument("--vgg16", type=Path, help="ImageNet values, of keras.applications.VGG16")
    parser.add_argument("--drawings", type=Path, help="folder for an image of each network")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    cases = [
        (network, data)
        for data in options.sets
        for network in options.only
        if data == "camvid" or network == "unet"
    ]
    rows = [measure(network, data, options) for network, data in cases]
    print("\n| " + " | ".join(COLUMNS) + " |")
    print("|" + " --- |" * 2 + " ---: |" * (len(COLUMNS) - 2))
    print("\n".join(map(row, rows)))
    if options.json is not None:
        write_json(options.json, {"machine": machine(os.cpu_count() or 1), "rows": rows})


if __name__ == "__main__":
    main()
