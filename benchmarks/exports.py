"""Exports beside `detect`: agreement, size and milliseconds of each format and precision.

    python benchmarks/exports.py [--weights small resnet50] [--formats onnx ...] [--image PHOTO]

`resnet50` is a network of the default settings with random weights: its size and times are those
of COCO's weights, and it finds nothing. An export that disagrees with `detect` is an error. Times
are the median of three runs with one image after a first one; `detect` runs on Keras.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from measures import machine

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

FORMATS = ("saved_model", "onnx", "openvino", "litert")
PRECISIONS = ("float32", "float16")


def main() -> None:
    """Export every model in every format and precision, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", nargs="+", default=["small", "resnet50"])
    parser.add_argument("--formats", nargs="+", default=FORMATS)
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS)
    parser.add_argument("--image", help="photograph; one of scikit-image if not given")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["MRCNN_QUIET"] = "1"

    from mrcnn.exports import export
    from mrcnn.exports.formats import format_named

    print(json.dumps(machine(os.cpu_count())))
    print("| model | format | weights | MB | ms | ms `detect` | agreement |")
    print("| --- | --- | --- | ---: | ---: | ---: | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.weights:
            model = open_model(name)
            for title in arguments.formats:
                for precision in arguments.precisions:
                    path = Path(folder) / format_named(title).default_path(f"m_{precision}")
                    report = export(model, path, title, precision=precision, image=arguments.image)
                    print_row(name, report)


def open_model(name: str) -> Any:
    """Return the model of weights, or one of the default settings with random weights."""
    from mrcnn import Config, MaskRCNN

    if name != "resnet50":
        return MaskRCNN.from_weights(name, engine="keras")
    config = Config()
    config.NAME, config.BACKBONE, config.NUM_CLASSES = "resnet50", "resnet50", 81
    config.IMAGES_PER_GPU = 1
    return MaskRCNN("inference", config, "logs", engine="keras")


def print_row(name: str, report: Any) -> None:
    """Print a row of the table."""
    print(
        f"| {name} | {report.export_format.title} | {report.precision} "
        f"| {report.num_bytes / 1e6:.1f} | {report.milliseconds:.0f} "
        f"| {report.detect_milliseconds:.0f} | {report.agreement} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
