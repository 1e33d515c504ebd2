"""R-CNN (Girshick et al. 2014), two ways: trained as in the paper, or with an ImageNet classifier.

Exports `RCNN` and `RCNNConfig`, the detector with a support vector machine for each class;
`RegionClassifier`, which detects without training; `warp_regions` and `IMAGENET_CLASS_NAMES`.
Importing the package loads none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrcnn.startup.lazy import lazy_names

if TYPE_CHECKING:
    from mrcnn.family.rcnn.classifier import RegionClassifier
    from mrcnn.family.rcnn.imagenet_names import IMAGENET_CLASS_NAMES
    from mrcnn.family.rcnn.model import RCNN
    from mrcnn.family.rcnn.settings import RCNNConfig
    from mrcnn.family.rcnn.warping import warp_regions

_HOMES = {
    "IMAGENET_CLASS_NAMES": ".imagenet_names",
    "RCNN": ".model",
    "RCNNConfig": ".settings",
    "RegionClassifier": ".classifier",
    "warp_regions": ".warping",
}

__all__ = ["IMAGENET_CLASS_NAMES", "RCNN", "RCNNConfig", "RegionClassifier", "warp_regions"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
