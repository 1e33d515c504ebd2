"""Matterport's `mrcnn.utils`: every name it had, each from the module that defines it now.

Importing this module loads neither TensorFlow nor Keras. `box_refinement_graph` and `batch_slice`
work on tensors and import Keras when they are used.
"""

from __future__ import annotations

# Some scripts write `import xml.etree` and use `xml.etree.ElementTree`, which Matterport's module
# imported along with other packages. It takes 2 ms.
import xml.etree.ElementTree  # noqa: F401
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mrcnn.evaluation.matching import (
    compute_ap,
    compute_ap_range,
    compute_matches,
    compute_recall,
    trim_zeros,
)
from mrcnn.geometry.anchors import generate_anchors, generate_pyramid_anchors
from mrcnn.geometry.boxes import (
    apply_box_deltas,
    box_refinement,
    compute_iou,
    compute_overlaps,
    compute_overlaps_masks,
    denorm_boxes,
    extract_bboxes,
    non_max_suppression,
    norm_boxes,
)
from mrcnn.geometry.images import resize, resize_image
from mrcnn.geometry.masks import expand_mask, minimize_mask, resize_mask, unmold_mask
from mrcnn.startup.lazy import lazy_names
from mrcnn.startup.matterport_names import find_import

if TYPE_CHECKING:
    import numpy as np

    from mrcnn.checkpoints.known import COCO_MODEL_URL, download_trained_weights
    from mrcnn.config import Config
    from mrcnn.datasets.dataset import Dataset
    from mrcnn.layers.boxes import box_refinement_graph

# Imported when first asked for: they bring more along than plain array functions do.
_HOMES = {
    "COCO_MODEL_URL": "mrcnn.checkpoints.known",
    "Dataset": "mrcnn.datasets.dataset",
    "box_refinement_graph": "mrcnn.layers.boxes",
    "download_trained_weights": "mrcnn.checkpoints.known",
}

__all__ = [
    "COCO_MODEL_URL",
    "Dataset",
    "apply_box_deltas",
    "batch_slice",
    "box_refinement",
    "box_refinement_graph",
    "compute_ap",
    "compute_ap_range",
    "compute_iou",
    "compute_matches",
    "compute_overlaps",
    "compute_overlaps_masks",
    "compute_recall",
    "denorm_boxes",
    "download_trained_weights",
    "expand_mask",
    "extract_bboxes",
    "generate_anchors",
    "generate_pyramid_anchors",
    "minimize_mask",
    "mold_mask",
    "non_max_suppression",
    "norm_boxes",
    "resize",
    "resize_image",
    "resize_mask",
    "trim_zeros",
    "unmold_mask",
]

_find_own, __dir__ = lazy_names(__name__, _HOMES)


def __getattr__(name: str) -> Any:
    """Return a name of `__all__` that loads on first use, or what Matterport's module imported."""
    return _find_own(name) if name in _HOMES else find_import(__name__, name)


def mold_mask(mask: np.ndarray, config: Config) -> None:
    """Do nothing and return None, as the function of this name in Matterport's package.

    Args:
        mask: ignored.
        config: ignored.
    """
    del mask, config


def batch_slice(
    inputs: Any,
    graph_fn: Callable[..., Any],
    batch_size: int,
    names: Sequence[str] | None = None,
) -> Any:
    """Apply a function for one image to each image of a batch.

    Args:
        inputs: tensor, or list of tensors, with the batch as first axis.
        graph_fn: takes the tensors of one image and returns a tensor or several.
        batch_size: number of images.
        names: names of the results; ignored, kept for scripts written for Matterport's package.

    Returns:
        The results stacked along a new first axis: a tensor, or a list of them if `graph_fn`
        returns several.
    """
    from keras import ops

    inputs = inputs if isinstance(inputs, list | tuple) else [inputs]
    results = []
    for index in range(batch_size):
        result = graph_fn(*(tensor[index] for tensor in inputs))
        results.append(result if isinstance(result, list | tuple) else (result,))
    stacked = [ops.stack(parts, axis=0) for parts in zip(*results, strict=True)]
    return stacked[0] if len(stacked) == 1 else stacked
