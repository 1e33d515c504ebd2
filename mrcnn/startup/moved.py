"""Module paths of version 3.0 that moved: they work until version 4, with a warning."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "mrcnn.allocation": "mrcnn.startup.allocation",
    "mrcnn.checkpoints.files": "mrcnn.checkpoints.weight_file",
    "mrcnn.cli.image_paths": "mrcnn.cli.output_folder",
    "mrcnn.cli.lean_start": "mrcnn.startup.lean_start",
    "mrcnn.cli.weights": "mrcnn.checkpoints.description",
    "mrcnn.datasets.coco_names": "mrcnn.checkpoints.coco_names",
    "mrcnn.datasets.open_images_download": "mrcnn.datasets.open_images.download",
    "mrcnn.datasets.open_images_tables": "mrcnn.datasets.open_images.tables",
    "mrcnn.detecting": "mrcnn.detection.molding",
    "mrcnn.downloads": "mrcnn.checkpoints.known",
    "mrcnn.engines.choose": "mrcnn.engines.selection",
    "mrcnn.evaluation.rle": "mrcnn.geometry.rle",
    "mrcnn.fetch": "mrcnn.files.fetch",
    "mrcnn.figure_parts": "mrcnn.drawing.figures",
    "mrcnn.quiet": "mrcnn.startup.backend",
    "mrcnn.rendering": "mrcnn.drawing.rendering",
    "mrcnn.results": "mrcnn.detection.results",
    "mrcnn.streaming": "mrcnn.detection.streaming",
    "mrcnn.tables": "mrcnn.drawing.tables",
    "mrcnn.tiling": "mrcnn.detection.tiling",
}


class _MovedModules:
    """Find a module of `MOVED` under its old path; both paths name the same module object."""

    @staticmethod
    def find_spec(
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname not in MOVED:
            return None
        # A loader by its methods; the base class would be a slow import.
        return ModuleSpec(fullname, _MovedModules())  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new_name = MOVED[spec.name]
        # `warnings` skips the frames of importlib, so that this is the caller's import statement.
        warnings.warn(
            f"{spec.name} is now {new_name}; the old path will be removed in version 4",
            DeprecationWarning,
            stacklevel=2,
        )
        module = importlib.import_module(new_name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Restore what the import statement replaced: the module has been executed."""
        module.__spec__ = self._spec


def keep_old_paths() -> None:
    """Let the paths of `MOVED` be imported."""
    if _MovedModules not in sys.meta_path:
        sys.meta_path.append(_MovedModules)
