"""What the pages about evaluations share: templates, images inside the page, and where they ran."""

from __future__ import annotations

import base64
import math
import os
import platform
from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.evaluation.report import format_figure
from mrcnn.files.names import counted, printable

# The file that a page is written to.
PAGE_NAME = "report.html"
# Longest side of each half of a drawing in pixels, and quality of the JPEG (percent).
DRAWING_SIDE, JPEG_QUALITY = 640, 85
# Classes in the confusion matrix, rows in the list of confusions, entries of other lists.
MAX_MATRIX_CLASSES = 20
MAX_CONFUSIONS = 15
MAX_LISTED = 20
# Their versions are on the page where they are installed.
_PACKAGES = (
    *("mrcnn-keras3", "keras", "tensorflow", "tensorflow-cpu", "torch", "jax"),
    *("openvino", "numpy", "pycocotools"),
)


def find_template(name: str) -> Any:
    """Return a template of this package, which escapes what is put into it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = format_figure
    environment.filters["threshold"] = format_threshold
    environment.filters["printable"] = printable
    environment.globals["counted"] = counted
    return environment.get_template(name)


def format_threshold(value: float) -> str:
    """Return a score threshold with three decimals, rounded down to keep its detections."""
    # The 0.7 of a float32 is 0.69999999.
    return f"{math.floor(value * 1000 + 1e-4) / 1000:.3f}"


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Raise ValueError where a page cannot be written to a folder."""
    if Path(folder).is_file():
        raise ValueError(f"folder is {printable(folder)}, which is a file; it must be a folder")


def image_uri(image: np.ndarray) -> str:
    """Return an image [H, W, 3] uint8 RGB as a data URI."""
    import cv2

    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def all_facts(facts: Mapping[str, object]) -> dict[str, str]:
    """Return what was measured, when, on which machine, and with which versions."""
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    known = {
        **facts,
        "Date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "Machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "Versions": ", ".join([f"Python {platform.python_version()}", *versions]),
    }
    return {printable(key): printable(value) for key, value in known.items()}
