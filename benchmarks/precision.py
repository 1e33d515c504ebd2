"""What lower precision costs and gains: average precision and time of each engine beside float32's.

    python benchmarks/precision.py DATA [--weights small] [--runs ENGINE:PRECISION ...]
    python benchmarks/precision.py DATA --sets coco held_out balloon motorcycle people

DATA holds the folders that `samples/small/everyday.py` describes. Sets: `coco`, all 227 images with
masks of COCO's 80 classes; `held_out`, the 60 of them that the small model was not trained on; and
`balloon`, `motorcycle` and `people`. int8 is calibrated with 60 images of `everyday/`, which are in
none of these. AP is COCO's, at a confidence of 0.05; "loss" is in points of AP (hundredths) against
the first run; "same" is the share of the first run's detections above a confidence of 0.7 that the
run finds too: of that class, with a mask of IoU 0.97 or more.

First all models detect in the same photographs, taking turns at each of them: milliseconds of
the network and of `detect` as a whole, and how many times as fast as the first run each is.

The weights may have seen some of these images. That makes AP high and leaves the losses as they
are: what is compared are two computations of one network.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from measures import machine

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

RUNS = ("keras:float32", "openvino:float32", "openvino:bfloat16", "openvino:int8")
SETS = ("coco", "held_out", "balloon", "motorcycle", "people")
CONFIDENT, SAME_IOU = 0.7, 0.97
NUM_CALIBRATION = 60


def main() -> None:
    """Measure every run and print a row for each set."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", default="small", help="a file, or a name of weights")
    parser.add_argument("--runs", nargs="+", default=RUNS, metavar="ENGINE:PRECISION")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=("coco", "held_out"))
    parser.add_argument("--photos", type=int, default=30, help="timed in turns; 0: no times")
    parser.add_argument("--limit", type=int, help="images of each set; to try out")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    arguments = parser.parse_args()

    from mrcnn.startup.backend import import_backend

    import_backend()
    sets = open_sets(arguments)
    report: dict[str, Any] = {"machine": machine(os.cpu_count()), "weights": arguments.weights}
    print(json.dumps(report["machine"]))
    models = {run: open_model(arguments, *run.split(":")) for run in arguments.runs}
    if arguments.photos:
        report["times"] = measure_times(models, next(iter(sets.values())), arguments.photos)
    print(f"{'':20}{'set':>12}{'box AP':>9}{'loss':>7}{'mask AP':>9}{'loss':>7}{'same':>7}")
    report["rows"], first = [], {}
    for run, model in models.items():
        for name, dataset in sets.items():
            row = measure(model, dataset, first.get(name))
            first.setdefault(name, row)
            print_row(run, name, row, first[name])
            figures = {key: value for key, value in row.items() if key != "detections"}
            report["rows"].append({"run": run, "set": name, **figures})
    report["machine"]["load_at_the_end"] = os.getloadavg()[0]
    print(f"load average at the end {report['machine']['load_at_the_end']:.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def open_sets(arguments) -> dict[str, Any]:
    """Return the datasets of the command line by name."""
    from samples.small.everyday_data import class_table, join, masked_sets, measuring_parts

    folder = str(arguments.data)
    parts = measuring_parts(folder)
    parts["held_out"] = parts.pop("everyday")
    parts["coco"] = join([class_table(folder), *masked_sets(folder).values()])
    chosen = {name: parts[name] for name in arguments.sets}
    if arguments.limit:
        chosen = {name: part.subset(range(arguments.limit)) for name, part in chosen.items()}
    return chosen


def open_model(arguments, engine, precision):
    """Return the model of an engine and precision, calibrated for int8."""
    from mrcnn.checkpoints.description import describe_weights
    from mrcnn.model import MaskRCNN

    described = describe_weights(arguments.weights)
    described.config.DETECTION_MIN_CONFIDENCE = 0.05
    calibration = None
    if precision == "int8":
        images = sorted((arguments.data / "everyday" / "images").glob("*.jpg"))
        calibration = list(map(str, images[:NUM_CALIBRATION]))
    return MaskRCNN.from_weights(
        described, engine=engine, precision=precision, calibration=calibration
    )


def measure_times(models, dataset, count) -> dict[str, dict[str, float]]:
    """Time the models in turns on some images; print and return a row for each.

    Detections are those above the confidence of the weights' own settings.
    """
    from mrcnn.detection import molding

    models = {run: model.with_min_confidence(0.5) for run, model in models.items()}
    seconds: dict[str, list[tuple[float, float]]] = {run: [] for run in models}
    for number in range(-1, count):  # the first turn compiles
        image = dataset.load_image(dataset.image_ids[max(number, 0)])
        for run, model in models.items():
            (molded,), metas, _ = molding.mold_inputs([image], model.config)
            anchors = model.get_anchors(molded.shape)
            begun = time.perf_counter()
            model.engine.run(molded[None], metas, anchors)
            ended = time.perf_counter()
            model.detect([image])
            if number >= 0:
                seconds[run].append((ended - begun, time.perf_counter() - ended))
    first = np.array(next(iter(seconds.values())))
    print(f"{'':20}{'network ms':>12}{'times':>8}{'detect ms':>12}{'times':>8}")
    rows = {}
    for run, values in seconds.items():
        network, detect = 1e3 * np.median(values, axis=0)
        faster = np.median(first / np.array(values), axis=0)
        rows[run] = {"network_ms": network, "detect_ms": detect}
        rows[run].update(network_times=float(faster[0]), detect_times=float(faster[1]))
        print(f"{run:20}{network:12.1f}{faster[0]:8.2f}{detect:12.1f}{faster[1]:8.2f}", flush=True)
    return rows


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
