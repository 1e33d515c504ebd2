"""The formats of exports: their files, their packages, and how each is opened."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from mrcnn.files.names import printable


@dataclass(frozen=True)
class ExportFormat:
    """A format of exports.

    Attributes:
        name: as `mrcnn export --format` takes it.
        title: as users know it.
        suffix: with which the name of the file ends; that of a folder may end as it likes.
        module: of `mrcnn.exports`, with `write` and `Runner`.
        writes_with: packages that write it, as they are imported.
        runs_with: the package that runs it.
    """

    name: str
    title: str
    suffix: str
    module: str
    writes_with: tuple[str, ...]
    runs_with: str

    def implementation(self) -> ModuleType:
        """Return the module that writes and runs the format."""
        return importlib.import_module(f"mrcnn.exports.{self.module}")

    def check_packages(self, writing: bool = True) -> None:
        """Raise ImportError if a package is missing that runs the format, or also that writes it.

        Args:
            writing: whether those that write it are needed.
        """
        for package in (*(self.writes_with if writing else ()), self.runs_with):
            if importlib.util.find_spec(package) is None:
                raise ImportError(
                    f"format is {self.name!r}; it needs the package {_DISTRIBUTIONS[package]}: "
                    f'pip install "mrcnn-keras3[export]", or pip install {_DISTRIBUTIONS[package]}'
                )

    def default_path(self, stem: str) -> Path:
        """Return the path of an export in the current folder."""
        return Path(f"{stem}{self.suffix}" if self.suffix else f"{stem}_saved_model")

    def size(self, path: Path) -> int:
        """Return the number of bytes of an export."""
        files = path.rglob("*") if path.is_dir() else _files_of(path)
        return sum(file.stat().st_size for file in files if file.is_file())


class RunnerBase:
    """What the `Runner` of every format has.

    Attributes:
        description: the text that was written with the export; None where there is none.
        version: name and version of the runtime.
    """

    description: str | None
    version: str

    def __str__(self) -> str:
        return self.version


# Name of the input.
INPUT = "images"
# Names of the outputs; without a mask head the last one is missing.
OUTPUTS = ("num_detections", "boxes", "class_ids", "scores", "masks")
# Values of `masks`: frames of the size of the image, or the network's own masks within the boxes.
MASKS = ("image", "box")
# Values of `precision`.
PRECISIONS = ("float32", "float16")
# How lines of OpenVINO's messages begin that name a place in its source.
_PLACES_IN_SOURCE = ("Exception from ", "Check '")
_DISTRIBUTIONS = {
    "tensorflow": "tensorflow",
    "onnx": "onnx",
    "tf2onnx": "tf2onnx",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "ai_edge_litert": "ai-edge-litert",
}
FORMATS = {
    one.name: one
    for one in (
        ExportFormat("saved_model", "SavedModel", "", "saved_model", ("tensorflow",), "tensorflow"),
        ExportFormat("onnx", "ONNX", ".onnx", "onnx_file", ("onnx", "tf2onnx"), "onnxruntime"),
        ExportFormat("openvino", "OpenVINO", ".xml", "openvino_file", ("openvino",), "openvino"),
        ExportFormat(
            "litert", "LiteRT", ".tflite", "litert_file", ("tensorflow",), "ai_edge_litert"
        ),
    )
}


def format_named(name: str, option: str = "format") -> ExportFormat:
    """Return the format of a name; `option` is what it is called in the error.

    Raises:
        ValueError: there is none.
    """
    check_choice(option, name, FORMATS)
    return FORMATS[name]


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raise ValueError unless the value of an argument is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} is {printable(value)!r}; it must be one of {', '.join(choices)}")


def check_path(path: Path, export_format: ExportFormat, name: str = "path") -> None:
    """Raise ValueError unless an export may be written to a path without loss of other files.

    Args:
        path: the path.
        export_format: its format.
        name: what the path is called in the error.
    """
    if export_format.suffix:
        if path.suffix.lower() != export_format.suffix or path.is_dir():
            raise ValueError(
                f"{name} is {printable(path)}; it must be a file that ends in "
                f"{export_format.suffix} for format {export_format.name!r}"
            )
    elif path.exists() and format_of(path) != export_format:
        raise ValueError(
            f"{name} is {printable(path)}, which holds other files; it must be a new folder or "
            "that of an earlier export"
        )


def format_of(path: str | os.PathLike[str]) -> ExportFormat | None:
    """Return the format of what lies at a path, by its name; None for anything else."""
    path = Path(path).expanduser()
    if (path / "saved_model.pb").is_file():
        return FORMATS["saved_model"]
    suffix = path.suffix.lower()
    return next((one for one in FORMATS.values() if one.suffix and one.suffix == suffix), None)


def open_runner(path: Path, export_format: ExportFormat) -> Any:
    """Load an export in its own runtime.

    Args:
        path: the file or folder.
        export_format: its format.

    Returns:
        The `Runner` of the format: `run(images)` gives the outputs by name; `description` is the
        text that was written with the export, and `version` names the runtime.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: the runtime is not installed.
        ValueError: the runtime cannot read the file.
    """
    if not path.exists():
        raise FileNotFoundError(f"exported model not found: {printable(path)}")
    export_format.check_packages(writing=False)
    module = export_format.implementation()
    try:
        return module.Runner(path)
    except Exception as error:  # of any library: each has its own exceptions
        raise ValueError(
            f"{printable(path)} cannot be read as {export_format.title}: {_reason_of(error)}"
        ) from error


def _reason_of(error: Exception) -> str:
    """Return the line of a library's message that says what is wrong, not where in its source."""
    lines = [line for line in map(str.strip, str(error).splitlines()) if line]
    telling = [line for line in lines if not line.startswith(_PLACES_IN_SOURCE)]
    return printable((telling or lines or [type(error).__name__])[0])


def _files_of(path: Path) -> list[Path]:
    """Return the file of an export and, for OpenVINO, that of its weights."""
    beside = path.with_suffix(".bin") if path.suffix == ".xml" else path
    return sorted({path, beside})


def weights_file(path: Path) -> Path:
    """Return the file with the weights of an export; any other path unchanged."""
    export_format = format_of(path)
    if export_format is None:
        return path
    if export_format.name == "saved_model":
        return path / "variables" / "variables.data-00000-of-00001"
    return _files_of(path)[0]
