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
        OSError: ImageNet's values cannot be downloaded, or a file cannot be written.
    """
    from mrcnn.family.rcnn import RCNN

    config, start = plan.start.config, plan.start
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


def _box_ap_text(model: Any, data: Any) -> str:
    """Measure box AP on a dataset and return it as text."""
    from mrcnn.evaluation.coco import CocoEvaluator, evaluate_coco

    evaluator = CocoEvaluator(data, masks=False)
    report = evaluate_coco(model, data, evaluator=evaluator, progress=False)
    figures = f"{report['box_AP']:.3f} (AP50 {report['box_AP50']:.3f})"
    return f"{figures} on {counted(data.num_images, 'image')}"
