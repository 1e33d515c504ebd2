"""The mask refiner: a small patch network that sharpens a detection's mask.

Importing a name loads what it needs; Keras is loaded when a refiner is built.
"""

from __future__ import annotations

from mrcnn.startup.lazy import lazy_names

_HOMES = {
    "Augmentation": ".recipes",
    "MaskPair": ".pairs",
    "RECIPES": ".recipes",
    "Recipe": ".recipes",
    "Refiner": ".refiner",
    "Scale": ".recipes",
    "Snap": ".recipes",
    "build_patch_set": ".trainer",
    "crop_pair": ".pairs",
    "cross_validate": ".trainer",
    "evaluate_refiner": ".trainer",
    "get_recipe": ".recipes",
    "load_motorcycle_pairs": ".pairs",
    "mask_iou": ".pairs",
    "measure": ".trainer",
    "open_refiner": ".results",
    "pairs_from_dataset": ".pairs",
    "refine_result": ".results",
    "summarize": ".trainer",
    "train_refiner": ".trainer",
}
__all__ = sorted(_HOMES)
# `summarise` is the name of earlier versions.
__getattr__, __dir__ = lazy_names(__name__, {**_HOMES, "summarise": ".trainer"})
