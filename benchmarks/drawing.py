"""Measure drawing and writing: seconds for many objects in a large image.

    python benchmarks/drawing.py                                  # 243 objects in 12000 x 9000
    python benchmarks/drawing.py --size 4000 3000 --objects 100 --masks --out drawn.jpg

The objects are ellipses; their masks are run lengths, or dense arrays with `--masks`.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measures import machine

from mrcnn.detection import DetectionResult
from mrcnn.drawing import draw_instances, write_image
from mrcnn.geometry.rle import encode_part


def scene(width: int, height: int, count: int, sides: tuple[int, int]) -> tuple[Any, Any]:
    """Return a noisy image [height, width, 3] and a result with `count` ellipses in it."""
    generator = np.random.default_rng(0)
    noise = generator.integers(60, 200, (max(1, height // 100), max(1, width // 100), 3), np.uint8)
    image = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    shapes = generator.integers(*sides, (count, 2))
    corners = generator.integers(0, np.maximum([height, width] - shapes, 1))
    rles = []
    for (y, x), (rows, columns) in zip(corners.tolist(), shapes.tolist(), strict=True):
        mask = np.zeros((rows, columns), np.uint8)
        center, axes = (columns // 2, rows // 2), (columns // 2 - 2, rows // 2 - 2)
        cv2.ellipse(mask, center, axes, 0, 0, 360, 1, -1)
        rles.append(encode_part(mask, (y, x), (height, width)))
    entries = {
        "rois": np.concatenate([corners, corners + shapes], axis=1).astype(np.int32),
        "class_ids": generator.integers(1, 81, count).astype(np.int32),
        "scores": generator.random(count).astype(np.float32),
        "rles": rles,
    }
    return image, DetectionResult(entries, image_size=(height, width))


def main() -> None:
    """Draw and write, and print the seconds as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=(12000, 9000), metavar=("W", "H"))
    parser.add_argument("--objects", type=int, default=243)
    parser.add_argument("--sides", type=int, nargs=2, default=(200, 700), metavar=("MIN", "MAX"))
    parser.add_argument("--masks", action="store_true", help="dense masks instead of run lengths")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where the drawn image is written")
    options = parser.parse_args()
    image, result = scene(*options.size, options.objects, tuple(options.sides))
    if options.masks:
        result["masks"] = result.masks
        del result["rles"]
    seconds: dict[str, list[float]] = {"draw": [], "write": []}
    with tempfile.TemporaryDirectory() as folder:
        path = options.out or Path(folder, "drawn.jpg")
        for _ in range(options.rounds):
            begun = time.perf_counter()
            drawn = draw_instances(image, result)
            seconds["draw"].append(time.perf_counter() - begun)
            write_image(path, drawn)
            seconds["write"].append(time.perf_counter() - begun - seconds["draw"][-1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    best = {name: round(min(values), 2) for name, values in seconds.items()}
    facts = machine(cv2.getNumThreads())
    print(json.dumps({**facts, "seconds": best, "peak_gigabytes": round(peak, 2)}, indent=1))


if __name__ == "__main__":
    main()
