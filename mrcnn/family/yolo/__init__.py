"""YOLO v1, v2 and v3 (Redmon et al. 2015 to 2018), trained or from Darknet's files.

Exports `Yolo`, `YoloConfig`, the table `NETWORKS` and `cluster_anchors`. Importing the package
loads none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrcnn.startup.lazy import lazy_names

if TYPE_CHECKING:
    from mrcnn.family.yolo.anchors import cluster_anchors
    from mrcnn.family.yolo.descriptions import NETWORKS
    from mrcnn.family.yolo.model import Yolo, YoloConfig

_HOMES = {
    "NETWORKS": ".descriptions",
    "Yolo": ".model",
    "YoloConfig": ".config",
    "cluster_anchors": ".anchors",
}

__all__ = ["NETWORKS", "Yolo", "YoloConfig", "cluster_anchors"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
