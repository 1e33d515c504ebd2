"""Measures of a result: average precision, matching, curves, pixel and boundary scores."""

from __future__ import annotations

from mrcnn.startup.lazy import lazy_names

_HOMES = {
    "CocoEvaluator": ".coco",
    "CocoReport": ".report",
    "ConfusionMatrix": ".curves",
    "LabelReport": ".label_maps",
    "PrecisionRecallCurve": ".curves",
    "SingleObjectReport": ".instances",
    "boundary_iou": ".boundary",
    "compute_ap": ".matching",
    "compute_ap_range": ".matching",
    "compute_matches": ".matching",
    "compute_recall": ".matching",
    "confusion_matrix": ".curves",
    "describe_content": ".content",
    "dice_coefficient": ".pixels",
    "evaluate_coco": ".coco",
    "evaluate_labels": ".label_maps",
    "evaluate_single_object": ".instances",
    "image_scores": ".pairs",
    "iou": ".pixels",
    "mean_iou": ".pixels",
    "mean_pixel_accuracy": ".pixels",
    "overall_curve": ".curves",
    "pixel_accuracy": ".pixels",
    "plot_confusion_matrix": ".plots",
    "plot_precision_recall_curves": ".plots",
    "plot_scores": ".plots",
    "plot_thresholds": ".plots",
    "precision_recall_curves": ".curves",
    "results_to_coco": ".detections",
    "save_curves_csv": ".curves",
    "save_label_page": ".label_page",
    "save_page": ".page",
    "soft_iou": ".pixels",
}
__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
