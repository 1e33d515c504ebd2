"""The mask refiner: a small patch network that sharpens a detection's mask.

Light to import: Keras is loaded when a refiner is built.
"""

from mrcnn.refinement.pairs import (
    MaskPair,
    crop_pair,
    load_motorcycle_pairs,
    mask_iou,
    pairs_from_dataset,
)
from mrcnn.refinement.recipes import RECIPES, Augmentation, Recipe, Scale, Snap, get_recipe
from mrcnn.refinement.refiner import Refiner
from mrcnn.refinement.results import open_refiner, refine_result
from mrcnn.refinement.trainer import (
    build_patch_set,
    cross_validate,
    evaluate_refiner,
    measure,
    summarise,
    train_refiner,
)

__all__ = [
    "RECIPES",
    "Augmentation",
    "MaskPair",
    "Recipe",
    "Refiner",
    "Scale",
    "Snap",
    "build_patch_set",
    "crop_pair",
    "cross_validate",
    "evaluate_refiner",
    "get_recipe",
    "load_motorcycle_pairs",
    "mask_iou",
    "measure",
    "open_refiner",
    "pairs_from_dataset",
    "refine_result",
    "summarise",
    "train_refiner",
]
