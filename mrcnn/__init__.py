"""Mask R-CNN for Keras 3 with the names, conventions and weight files of Matterport's mrcnn.

``import mrcnn`` loads no deep learning library; the names below load on first use.

Example:
    >>> import mrcnn
    >>> config = mrcnn.Config()
    >>> config.IMAGE_SHAPE.tolist()
    [1024, 1024, 3]
"""

from __future__ import annotations

from mrcnn.loading.imgaug_numpy2 import watch_for_imgaug
from mrcnn.startup.keras_finder import prepare_keras_imports
from mrcnn.startup.lazy import lazy_names
from mrcnn.startup.moved import keep_old_paths

__version__ = "3.0.0"
__all__ = ["Config", "Dataset", "MaskRCNN", "__version__"]

_HOMES = {
    "Config": "mrcnn.config",
    "Dataset": "mrcnn.datasets.dataset",
    "MaskRCNN": "mrcnn.model",
}

# A script that trains with imgaug imports both packages; NumPy 2 needs help with the second.
watch_for_imgaug()
keep_old_paths()
prepare_keras_imports()
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
