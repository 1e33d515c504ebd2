"""The training of an R-CNN in a log folder: machines and boxes, then AP on validation images."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcnn.files.names import counted, printable
from mrcnn.training import log_folders

if TYPE_CHECKING:
    from mrcnn.family.rcnn import RCNN

BEST_FILE = "best.h5"


def train_rcnn(plan: Any, output: Path, verbose: int) -> RCNN:
    """Train an R-CNN on what was planned, and write its weights to a new log folder.

    Args:
        plan: a `mrcnn.model_training.TrainingPlan`.
        output: the folder of log folders.
        verbose: 0 prints nothing.

    Returns:
        The detector; `log_dir` is the folder of its files.

    Raises:
        FileNotFoundError: the file of ImageNet's values does not exist.
        ValueError: it does not fit the network, or there is none to download.
        OSError: ImageNet's values cannot be downloaded, or a file cannot be written.
    """
    from mrcnn.family.rcnn import RCNN

    config, start = plan.start.config, plan.start
    _check_weights(start.weights, config.BACKBONE)
    model: Any = RCNN(config, list(plan.train.class_names))
    if start.weights is not None:
        is_word = start.weights.lower() == "imagenet"
        model.load_imagenet(None if is_word else start.weights)
    model.held_out = plan.held_out
    if verbose:
        print(f"Weights  of the network: {printable(start.weights or 'none: random values')}")
    summary = model.train(plan.train, seed=plan.options.seed or 0, verbose=verbose)
    folder, _, _ = log_folders.choose_folder(os.fspath(output), config.NAME or "rcnn")
    description = {"model": "rcnn", "class_names": model.class_names}
    model.log_dir = log_folders.claim_folder(folder, json.dumps(description, indent=1) + "\n")
    path = Path(model.log_dir) / BEST_FILE
    model.save_weights(path)
    if verbose:
        for name, count in summary.num_objects.items():
            pairs, negatives = summary.num_pairs[name], summary.num_hard_negatives[name]
            print(
                f"Class    {printable(name)}: {counted(count, 'object')}, "
                f"{counted(negatives, 'hard negative')}, {counted(pairs, 'box', 'boxes')} to refine"
            )
    if plan.val is not None and plan.options.ap and verbose:
        print(f"AP       {_box_ap_text(model, plan.val)}")
    return model


def _check_weights(weights: str | None, backbone: Any) -> None:
    """Raise ValueError for weights that no R-CNN starts from."""
    from mrcnn.checkpoints.known import weights_manifest
    from mrcnn.family.rcnn.networks import OWN_NETWORKS

    word = None if weights is None else weights.lower()
    rule = (
        "it must be a file of ImageNet's values for the network, or none for random values; those "
        "of a network of keras.applications are downloaded (--backbone MobileNetV2 --weights "
        "imagenet)"
    )
    if word == "imagenet" and (callable(backbone) or backbone in OWN_NETWORKS):
        title = getattr(backbone, "__name__", backbone)
        raise ValueError(
            f"weights is imagenet, and for {title} there is no download; {rule}. "
            "tools/convert_efficientnet_lite0.py --classifier writes a file for efficientnet_lite0"
        )
    if word != "imagenet" and word in weights_manifest():
        raise ValueError(f"weights is {printable(weights)}, which is no classifier; {rule}")


def _box_ap_text(model: Any, data: Any) -> str:
    """Measure box AP on a dataset and return it as text."""
    from mrcnn.evaluation.coco import CocoEvaluator, evaluate_coco

    evaluator = CocoEvaluator(data, masks=False)
    report = evaluate_coco(model, data, evaluator=evaluator, progress=False)
    figures = f"{report['box_AP']:.3f} (AP50 {report['box_AP50']:.3f})"
    return f"{figures} on {counted(data.num_images, 'image')}"
