"""Exports beside `detect`: agreement, size and milliseconds of each format and precision.

    python benchmarks/exports.py [--weights small resnet50] [--formats onnx ...] [--image PHOTO]

`resnet50` is a network of the default settings with random weights, made as for
`benchmarks/inference.py`: its size and times are those of COCO's weights, and the ten best of its
detections are kept. `--side` is the side of its input in pixels. Times are the median of three runs
with one image after a first one; `detect` runs on Keras. An export that disagrees with `detect` has
a row that says so, and no times.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from measures import machine, separate_scores, tame_weights

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

FORMATS = ("saved_model", "onnx", "openvino", "litert")
PRECISIONS = ("float32", "float16")


def main() -> None:
    """Export every model in every format and precision, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", nargs="+", default=["small", "resnet50"])
    parser.add_argument("--formats", nargs="+", default=FORMATS)
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS)
    parser.add_argument("--side", type=int, default=1024, help="of the input of resnet50")
    parser.add_argument("--image", help="photograph; one of scikit-image if not given")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["MRCNN_QUIET"] = "1"

    from mrcnn.exports import ExportError, export
    from mrcnn.exports.formats import format_named

    print(json.dumps(machine(os.cpu_count())))
    print("| model | format | weights | MB | ms | ms `detect` | agreement |")
    print("| --- | --- | --- | ---: | ---: | ---: | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.weights:
            model = open_model(name, arguments.side)
            for title in arguments.formats:
                for precision in arguments.precisions:
                    path = Path(folder) / format_named(title).default_path(f"m_{precision}")
                    try:
                        report = export(
                            model, path, title, precision=precision, image=arguments.image
                        )
                    except ExportError as error:
                        print(f"| {name} | {title} | {precision} | | | | {error} |", flush=True)
                    else:
                        print_row(name, report)


def open_model(name: str, side: int) -> Any:
    """Return the model of weights, or one of the default settings with random weights."""
    from mrcnn import Config, MaskRCNN

    if name != "resnet50":
        return MaskRCNN.from_weights(name, engine="keras")
    config = Config()
    config.NAME, config.BACKBONE, config.NUM_CLASSES = "resnet50", "resnet50", 81
    config.IMAGES_PER_GPU = 1
    config.IMAGE_MIN_DIM = min(config.IMAGE_MIN_DIM, side)
    config.IMAGE_MAX_DIM = side
    config.DETECTION_MIN_CONFIDENCE, config.DETECTION_MAX_INSTANCES = 0, 10
    model = MaskRCNN("inference", config, "logs", engine="keras")
    tame_weights(model.keras_model)
    separate_scores(model.keras_model)
    return model


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
