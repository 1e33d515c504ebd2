"""What lower precision costs: average precision and detections of each engine beside float32's.

    python benchmarks/precision.py DATA [--weights small] [--runs ENGINE:PRECISION ...]

DATA holds `balloon/`, `motorcycles/val/` and `penn_fudan/`, see `samples/small/everyday_data.py`.
int8 is calibrated with twenty images of balloon's training part and of each of the other two sets.
AP is COCO's, at a confidence of 0.05; "loss" is in points of AP (hundredths) against the first;
"same" is the share of the first run's detections above a confidence of 0.7 that the run finds too:
of that class, with a mask of IoU 0.97 or more.

The weights may have seen some of these images. That makes AP high and leaves the losses as they
are: what is compared are two computations of one network.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from measures import machine

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "samples" / "small")]

RUNS = ("keras:float32", "openvino:float32", "openvino:bfloat16", "openvino:int8")
CONFIDENT, SAME_IOU = 0.7, 0.97


def main() -> None:
    """Measure every run and print a row for each set."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", default="small", help="a file, or a name of weights")
    parser.add_argument("--runs", nargs="+", default=RUNS, metavar="ENGINE:PRECISION")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    arguments = parser.parse_args()

    from mrcnn.startup.backend import import_backend

    import_backend()
    import small

    data = small.load_data(str(arguments.data), "val")
    report: dict[str, Any] = {"machine": machine(os.cpu_count()), "weights": arguments.weights}
    print(json.dumps(report["machine"]))
    print(f"{'':20}{'set':>12}{'box AP':>9}{'loss':>7}{'mask AP':>9}{'loss':>7}{'same':>7}")
    report["rows"], first = [], {}
    for run in arguments.runs:
        engine, _, precision = run.partition(":")
        model = open_model(arguments, engine, precision)
        for name in small.CLASSES:
            row = measure(model, data[name], first.get(name))
            first.setdefault(name, row)
            print_row(run, name, row, first[name])
            figures = {key: value for key, value in row.items() if key != "detections"}
            report["rows"].append({"run": run, "set": name, **figures})
        if arguments.json:
            arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def open_model(arguments, engine, precision):
    """Return the model of an engine and precision, calibrated for int8."""
    from mrcnn.checkpoints.description import describe_weights
    from mrcnn.model import MaskRCNN

    described = describe_weights(arguments.weights)
    described.config.DETECTION_MIN_CONFIDENCE = 0.05
    calibration = calibration_images(arguments.data) if precision == "int8" else None
    return MaskRCNN.from_weights(
        described, engine=engine, precision=precision, calibration=calibration
    )


def calibration_images(folder: Path) -> list[str]:
    """Return the paths of twenty images of each set, of balloon from its training part."""
    patterns = ("balloon/train/*.jpg", "motorcycles/val/images/*.jpg", "penn_fudan/PNGImages/*.png")
    return [str(path) for pattern in patterns for path in sorted(folder.glob(pattern))[:20]]


def measure(model, dataset, first) -> dict[str, Any]:
    """Return AP of boxes and masks, and the share of the first run's detections found again."""
    from mrcnn.evaluation.coco import evaluate_coco

    detections = []

    class Watched:
        """The model; its confident detections are recorded."""

        config = model.config

        def __getattr__(self, name):
            return getattr(model, name)

        def detect(self, images, **options):
            results = model.detect(images, **options)
            detections.extend(map(confident, results))
            return results

    report = evaluate_coco(Watched(), dataset, progress=False)
    row = {
        "images": int(dataset.num_images),
        "box_AP": float(report.box.AP),
        "mask_AP": float(report.mask.AP),
        "detections": detections,
    }
    if first is not None:
        shares = [found_again(a, b) for a, b in zip(first["detections"], detections, strict=True)]
        found, all_ = np.sum(shares, axis=0)
        row.update(same=float(found / max(all_, 1)), confident=int(all_))
    return row


def confident(result) -> tuple[np.ndarray, list[dict]]:
    """Return class ids and run lengths of the detections above CONFIDENT."""
    from mrcnn.geometry.rle import encode_masks

    keep = result["scores"] > CONFIDENT
    rles = result["rles"] if "rles" in result else encode_masks(result["masks"])
    return result["class_ids"][keep], [rles[i] for i in np.flatnonzero(keep)]


def found_again(reference, other) -> tuple[int, int]:
    """Return how many of the reference's detections the other has, and how many there are."""
    from pycocotools import mask as coco_masks

    (classes, masks), (other_classes, other_masks) = reference, other
    if not masks or not other_masks:
        return 0, len(masks)
    overlaps = coco_masks.iou(masks, other_masks, [0] * len(other_masks))
    overlaps = overlaps * (classes[:, None] == other_classes)
    return int((overlaps.max(axis=1) >= SAME_IOU).sum()), len(masks)


def print_row(run, name, row, first) -> None:
    """Print the figures of a run on a set."""
    box, mask = (100 * (first[key] - row[key]) for key in ("box_AP", "mask_AP"))
    same = f"{row['same']:7.3f}" if "same" in row else ""
    print(
        f"{run:20}{name:>12}{row['box_AP']:9.4f}{box:7.2f}{row['mask_AP']:9.4f}{mask:7.2f}{same}",
        flush=True,
    )


if __name__ == "__main__":
    main()
