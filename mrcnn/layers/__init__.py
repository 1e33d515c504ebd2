"""The Keras layers and graph functions of Mask R-CNN, one concept per module."""

from __future__ import annotations

from mrcnn.startup.lazy import lazy_names

_HOMES = {
    "Anchors": ".adapters",
    "BatchNorm": ".normalization",
    "ClassifierHead": ".heads",
    "DetectionLayer": ".detections",
    "DetectionTargetLayer": ".detection_targets",
    "LossLayer": ".losses",
    "MaskHead": ".heads",
    "ProposalLayer": ".proposals",
    "ProposalSteps": ".proposals",
    "PyramidROIAlign": ".roi_align",
    "WinogradConv2D": ".winograd",
    "backbone_graph": ".backbones",
    "build_rpn_model": ".rpn",
    "efficientnet_lite0_graph": ".backbones",
    "fpn_graph": ".fpn",
    "nanodet_graph": ".backbones",
    "nanodet_pan_graph": ".backbones",
    "resnet_graph": ".backbones",
    "squeezenet_graph": ".backbones",
}

__all__ = list(_HOMES)

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
