"""Mask R-CNN for Keras 3 with the names, conventions and weight files of Matterport's mrcnn.

`import mrcnn` loads no deep learning library; the names below load on first use.

    load, train                     a model that is ready to detect; one trained on your data
    MaskRCNN                        building and training in single steps
    Config, Dataset                 settings and data, as in Matterport's package
    open_dataset, merge             datasets in common formats, and several as one
    evaluate_coco                   COCO's average precision of a model on a dataset
    Refiner                         sharper masks
    export, open_export             a model for another runtime; detection with it
    draw_instances, save_instances  results as images

Example:
    >>> import mrcnn
    >>> config = mrcnn.Config()
    >>> config.IMAGE_SHAPE.tolist()
    [1024, 1024, 3]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrcnn.loading.imgaug_numpy2 import watch_for_imgaug
from mrcnn.startup.keras_finder import prepare_keras_imports
from mrcnn.startup.lazy import lazy_names
from mrcnn.startup.moved import keep_old_paths

if TYPE_CHECKING:
    from mrcnn.config import Config
    from mrcnn.datasets.dataset import Dataset
    from mrcnn.datasets.registry import open_dataset
    from mrcnn.datasets.views import merge
    from mrcnn.drawing.rendering import draw_instances, save_instances
    from mrcnn.evaluation.coco import evaluate_coco
    from mrcnn.exports import export, open_export
    from mrcnn.model import MaskRCNN, load
    from mrcnn.model_training import train
    from mrcnn.refinement.refiner import Refiner

# The version of the package.
__version__ = "3.1.0"
__all__ = [
    "Config",
    "Dataset",
    "MaskRCNN",
    "Refiner",
    "__version__",
    "draw_instances",
    "evaluate_coco",
    "export",
    "load",
    "merge",
    "open_dataset",
    "open_export",
    "save_instances",
    "train",
]

_HOMES = {
    "Config": "mrcnn.config",
    "Dataset": "mrcnn.datasets.dataset",
    "MaskRCNN": "mrcnn.model",
    "Refiner": "mrcnn.refinement.refiner",
    "draw_instances": "mrcnn.drawing.rendering",
    "evaluate_coco": "mrcnn.evaluation.coco",
    "export": "mrcnn.exports.writing",
    "open_export": "mrcnn.exports.opening",
    "load": "mrcnn.model",
    "merge": "mrcnn.datasets.views",
    "open_dataset": "mrcnn.datasets.registry",
    "save_instances": "mrcnn.drawing.rendering",
    "train": "mrcnn.model_training",
}

# A script that trains with imgaug imports both packages; NumPy 2 needs help with the second.
watch_for_imgaug()
keep_old_paths()
prepare_keras_imports()
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
