"""Measure recall and time of selective search, ours and OpenCV's, on the objects of a dataset.

    python benchmarks/selective_search.py coco_tiny --subset train --limit 50

"at its count" takes from each image only as many of our boxes as OpenCV proposes. OpenCV needs
`opencv-contrib-python-headless` and is left out without it. Times are CPU seconds per image, both
engines in turn on the same image.
"""

from __future__ import annotations

import argparse
import time

import cv2
import numpy as np

from mrcnn.datasets import open_dataset
from mrcnn.family.regions import STRATEGIES, selective_search
from mrcnn.geometry.boxes import compute_overlaps, extract_bboxes


def main() -> None:
    """Print one row for each engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="folder of a dataset")
    parser.add_argument("--subset", default=None, help="part of the dataset")
    parser.add_argument("--strategy", default="fast", choices=STRATEGIES)
    parser.add_argument("--limit", type=int, default=50, help="number of images")
    parser.add_argument("--min-side", type=int, default=8, help="smallest side of a box in pixels")
    arguments = parser.parse_args()

    dataset = open_dataset(arguments.dataset, subset=arguments.subset)
    engines = ["opencv", "mrcnn"] if hasattr(cv2, "ximgproc") else ["mrcnn"]
    found = {engine: [] for engine in engines}
    for image_id in range(min(arguments.limit, dataset.num_images)):
        image = dataset.load_image(image_id)
        masks, class_ids = dataset.load_mask(image_id)
        objects = extract_bboxes(masks)[class_ids > 0].astype(float)
        for engine in engines:
            begun = time.process_time()
            boxes = selective_search(
                image, arguments.strategy, engine=engine, min_side=arguments.min_side
            )
            found[engine].append((objects, boxes.astype(float), time.process_time() - begun))

    print("| engine | boxes | seconds | mean best IoU | recall at IoU 0.5 | objects |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for engine in engines:
        print(_row(engine, found[engine]))
    if len(engines) == 2:
        counts = [len(boxes) for _, boxes, _ in found["opencv"]]
        limited = [(o, b[:count], s) for (o, b, s), count in zip(found["mrcnn"], counts)]
        print(_row("mrcnn, at its count", limited))


def _row(name: str, found: list[tuple[np.ndarray, np.ndarray, float]]) -> str:
    best = np.concatenate([compute_overlaps(o, b).max(axis=1) for o, b, _ in found if len(o)])
    boxes = np.mean([len(b) for _, b, _ in found])
    seconds = np.mean([s for *_, s in found])
    return (
        f"| {name} | {boxes:.0f} | {seconds:.2f} | {best.mean():.3f} | {(best >= 0.5).mean():.3f} "
        f"| {len(best)} |"
    )


if __name__ == "__main__":
    main()
