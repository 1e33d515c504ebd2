"""How long one training image takes to load, and its RPN targets to make, on one core.

    OMP_NUM_THREADS=1 python benchmarks/loading.py

A 640x480 image with 20 ellipses in memory, resized to 1024x1024, mini masks, 261,888
anchors. Prints the median and the best CPU time of each part in milliseconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mrcnn.config import Config
from mrcnn.datasets.dataset import Dataset
from mrcnn.loading.examples import ExampleSettings, anchors_of, make_example, stack_examples
from mrcnn.loading.image_gt import load_image_gt
from mrcnn.loading.rpn_targets import build_rpn_targets


class Ellipses(Dataset):
    """One image of noise with ellipses as instances, in memory."""

    def __init__(self, num_instances: int) -> None:
        super().__init__()
        random = np.random.RandomState(0)
        y, x = np.mgrid[:480, :640]
        self.image = random.randint(0, 256, (480, 640, 3)).astype(np.uint8)
        self.mask = np.zeros((480, 640, num_instances), bool)
        for index in range(num_instances):
            (cy, cx), (ry, rx) = random.randint(40, (440, 600)), random.randint(10, 120, 2)
            self.mask[:, :, index] = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
        for class_id in range(1, 81):
            self.add_class("ellipses", class_id, f"class {class_id}")
        self.add_image("ellipses", 0, path=None)
        self.prepare()

    def load_image(self, image_id: int) -> np.ndarray:
        """Return the one image."""
        return self.image

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Return its masks, with one of 80 classes each."""
        return self.mask, np.arange(self.mask.shape[2], dtype=np.int32) % 80 + 1


class CocoConfig(Config):
    """The default settings with the 81 classes of COCO."""

    NUM_CLASSES = 81


def measure(what: str, call: Callable[[], Any], repeats: int) -> None:
    """Print the CPU time of a call: median and best of some repeats."""
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        call()
        times.append(1000 * (time.thread_time() - start))
    print(f"{what:40} median {np.median(times):6.1f} ms   best {min(times):6.1f} ms")


def main() -> None:
    """Measure the parts and the whole."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=25)
    arguments = parser.parse_args()
    dataset, config = Ellipses(arguments.instances), CocoConfig()
    anchors = anchors_of(config)
    _, _, class_ids, boxes, _ = load_image_gt(dataset, config, 0)
    rng = np.random.default_rng(0)

    def both() -> None:
        image, _, ids, gt_boxes, _ = load_image_gt(dataset, config, 0, use_mini_mask=True)
        build_rpn_targets(image.shape, anchors, ids, gt_boxes, config)

    def targets(source: Any) -> Callable[[], Any]:
        return lambda: build_rpn_targets(None, anchors, class_ids, boxes, config, source)

    def batch() -> None:
        example = make_example(dataset, config, 0, anchors, ExampleSettings(), rng)
        stack_examples([example], config)

    parts = {
        "load_image_gt, mini masks": lambda: load_image_gt(dataset, config, 0, use_mini_mask=True),
        "load_image_gt, full masks": lambda: load_image_gt(dataset, config, 0),
        "build_rpn_targets, np.random": targets(None),
        "build_rpn_targets, Generator": targets(rng),
        "load_image_gt + build_rpn_targets": both,
        "batch of one, as TrainingBatches": batch,
    }
    for what, call in parts.items():
        measure(what, call, arguments.repeats)


if __name__ == "__main__":
    main()
