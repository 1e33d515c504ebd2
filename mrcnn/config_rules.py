"""The rules that settings must keep, each with what to say when it is broken."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mrcnn.config import Config

BACKBONES = ("resnet50", "resnet101", "squeezenet")
RESIZE_MODES = ("none", "square", "pad64", "crop")
PRECISIONS = ("float32", "bfloat16", "float16")
# The pyramid halves the image six times (P6), so its sides must divide by this.
SIDE_MULTIPLE = 2**6
# P2 .. P6: one anchor scale and one stride for each.
PYRAMID_LEVELS = 5
# What the built-in backbones and the pyramid on top of them give.
BUILT_IN_STRIDES = [4, 8, 16, 32, 64]
LOSS_NAMES = (
    "rpn_class_loss",
    "rpn_bbox_loss",
    "mrcnn_class_loss",
    "mrcnn_bbox_loss",
    "mrcnn_mask_loss",
)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= 1


def _numbers(value: Any) -> list[Any] | None:
    """The items of a flat sequence of finite numbers, or None for anything else."""
    if not isinstance(value, list | tuple | np.ndarray) or getattr(value, "ndim", 1) != 1:
        return None
    items = list(value)
    return items if all(_is_number(item) for item in items) else None


_COUNT = (_is_count, "must be a whole number of at least 1")
_SHARE = (lambda v: _is_number(v) and 0 <= v <= 1, "must lie between 0 and 1")
_POSITIVE = (lambda v: _is_number(v) and v > 0, "must be a number above 0")
_NOT_NEGATIVE = (lambda v: _is_number(v) and v >= 0, "must be a number of at least 0")
_FOUR = (
    lambda v: len(_numbers(v) or ()) == 4 and min(_numbers(v)) > 0,
    "must be four numbers above 0: (dy, dx, log dh, log dw)",
)


def _or_none(rule: tuple[Callable[[Any], bool], str]) -> tuple[Callable[[Any], bool], str]:
    check, text = rule
    return (lambda v: v is None or check(v)), f"{text}, or be None"


def _one_of(*choices: Any) -> tuple[Callable[[Any], bool], str]:
    return (
        lambda v: any(v is choice or (isinstance(v, str) and v == choice) for choice in choices),
        "must be one of " + ", ".join(repr(choice) for choice in choices),
    )


# Rules on one setting alone: (test, what to say when it fails).
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "NAME": (
        lambda v: v is None or (isinstance(v, str) and not set(v) & set("/\\")),
        "must be a string without slashes: log folders and weight files are named after it",
    ),
    "GPU_COUNT": _COUNT,
    "IMAGES_PER_GPU": _COUNT,
    # A fraction of a step, from a division, means the step that holds it.
    "STEPS_PER_EPOCH": _POSITIVE,
    "VALIDATION_STEPS": _or_none(_NOT_NEGATIVE),
    "FPN_CLASSIF_FC_LAYERS_SIZE": _COUNT,
    "TOP_DOWN_PYRAMID_SIZE": _COUNT,
    "RPN_CHANNELS": _COUNT,
    "MASK_CHANNELS": _COUNT,
    "CANONICAL_BOX_SIZE": _POSITIVE,
    "NUM_CLASSES": (
        lambda v: _is_count(v) and v >= 2,
        "must be a whole number of at least 2: the background counts as a class",
    ),
    "RPN_ANCHOR_STRIDE": _COUNT,
    "RPN_NMS_THRESHOLD": _SHARE,
    "RPN_TRAIN_ANCHORS_PER_IMAGE": (
        lambda v: _is_count(v) and v >= 2,
        "must be a whole number of at least 2: half of them may be positive",
    ),
    "PRE_NMS_LIMIT": _COUNT,
    "POST_NMS_ROIS_TRAINING": _COUNT,
    "POST_NMS_ROIS_INFERENCE": _COUNT,
    "IMAGE_RESIZE_MODE": _one_of(*RESIZE_MODES),
    "IMAGE_MIN_SCALE": _or_none(_NOT_NEGATIVE),
    "IMAGE_CHANNEL_COUNT": _COUNT,
    "TRAIN_ROIS_PER_IMAGE": _COUNT,
    "ROI_POSITIVE_RATIO": (
        lambda v: _is_number(v) and 0 < v <= 1,
        "must lie above 0 and be at most 1",
    ),
    "MASK_ROIS_PER_IMAGE": _or_none(_COUNT),
    "POOL_SIZE": _COUNT,
    "MASK_POOL_SIZE": _COUNT,
    "MAX_GT_INSTANCES": _COUNT,
    "RPN_BBOX_STD_DEV": _FOUR,
    "BBOX_STD_DEV": _FOUR,
    "DETECTION_MAX_INSTANCES": _COUNT,
    "DETECTION_MIN_CONFIDENCE": _or_none(_SHARE),
    "DETECTION_NMS_THRESHOLD": _SHARE,
    "LEARNING_RATE": _NOT_NEGATIVE,
    "LEARNING_MOMENTUM": (
        lambda v: _is_number(v) and 0 <= v < 1,
        "must be at least 0 and below 1",
    ),
    "WEIGHT_DECAY": _NOT_NEGATIVE,
    "LOSS_WEIGHTS": (
        lambda v: isinstance(v, Mapping) and all(_is_number(w) and w >= 0 for w in v.values()),
        "must map names of losses to numbers of at least 0",
    ),
    "TRAIN_BN": _one_of(None, False, True),
    "GRADIENT_CLIP_NORM": _or_none(_POSITIVE),
    "ACCUMULATE_STEPS": _COUNT,
    "PRECISION": _one_of(*PRECISIONS),
}


def find_problems(config: Config) -> list[str]:
    """Every broken rule as "SETTING = value: rule"; empty for a sound configuration."""
    problems = [
        f"{name} = {getattr(config, name)!r}: {text}."
        for name, (check, text) in _RULES.items()
        if not check(getattr(config, name))
    ]
    for check_together in (
        _batch_size,
        _backbone,
        _anchors,
        _image_size,
        _mean_pixel,
        _mask_shapes,
        _positive_rois,
    ):
        problems.extend(check_together(config))
    return problems


def _batch_size(config: Config) -> list[str]:
    if not (_is_count(config.GPU_COUNT) and _is_count(config.IMAGES_PER_GPU)):
        return []  # already reported, and nothing to compute it from
    if _is_count(config.BATCH_SIZE):
        return []
    return [f"BATCH_SIZE = {config.BATCH_SIZE!r}: {_COUNT[1]}."]


def _backbone(config: Config) -> list[str]:
    backbone, shapes = config.BACKBONE, config.COMPUTE_BACKBONE_SHAPE
    if callable(backbone):
        if callable(shapes):
            return []
        return [
            f"COMPUTE_BACKBONE_SHAPE = {shapes!r}: must be a function image_shape -> shapes "
            "of the pyramid levels when BACKBONE is a function."
        ]
    if backbone in BACKBONES:
        return []
    names = ", ".join(repr(name) for name in BACKBONES)
    return [f"BACKBONE = {backbone!r}: must be one of {names} or a function."]


def _anchors(config: Config) -> list[str]:
    problems = []
    for name in ("BACKBONE_STRIDES", "RPN_ANCHOR_SCALES", "RPN_ANCHOR_RATIOS"):
        items = _numbers(getattr(config, name))
        if not items or min(items) <= 0:
            problems.append(
                f"{name} = {getattr(config, name)!r}: must be a sequence of numbers above 0."
            )
    if problems:
        return problems
    strides, scales = config.BACKBONE_STRIDES, config.RPN_ANCHOR_SCALES
    if len(strides) != PYRAMID_LEVELS:
        problems.append(
            f"BACKBONE_STRIDES = {strides!r}: must have {PYRAMID_LEVELS} values, "
            "one for each pyramid level P2 to P6."
        )
    if len(scales) != len(strides):
        problems.append(
            f"RPN_ANCHOR_SCALES = {scales!r}: has {len(scales)} values but BACKBONE_STRIDES "
            f"has {len(strides)}; there must be one scale for each stride."
        )
    # Other strides would put the anchors beside the cells that they belong to.
    if config.BACKBONE in BACKBONES and list(strides) != BUILT_IN_STRIDES and not problems:
        problems.append(
            f"BACKBONE_STRIDES = {strides!r}: must be {BUILT_IN_STRIDES} with BACKBONE "
            f"{config.BACKBONE!r}; other strides need a BACKBONE function."
        )
    return problems


def _image_size(config: Config) -> list[str]:
    mode = config.IMAGE_RESIZE_MODE
    problems = []
    # In "square" 0 or None leaves the image to IMAGE_MAX_DIM; in "none" it has no use.
    if config.IMAGE_MIN_DIM not in (None, 0) and not _POSITIVE[0](config.IMAGE_MIN_DIM):
        problems.append(f"IMAGE_MIN_DIM = {config.IMAGE_MIN_DIM!r}: {_POSITIVE[1]}.")
    if mode in ("pad64", "crop") and not _divides(config.IMAGE_MIN_DIM):
        problems.append(
            f"IMAGE_MIN_DIM = {config.IMAGE_MIN_DIM!r}: must be a multiple of {SIDE_MULTIPLE} "
            f"with IMAGE_RESIZE_MODE {mode!r}."
        )
    if mode == "square" and not _divides(config.IMAGE_MAX_DIM):
        problems.append(
            f"IMAGE_MAX_DIM = {config.IMAGE_MAX_DIM!r}: must be a multiple of {SIDE_MULTIPLE} "
            f"(256, 320, 384, 512, 1024, ...): the network halves the image six times."
        )
    if problems:
        return problems
    shape = _numbers(config.IMAGE_SHAPE)
    if not shape or len(shape) != 3 or shape[2] != config.IMAGE_CHANNEL_COUNT:
        problems.append(
            f"IMAGE_SHAPE = {config.IMAGE_SHAPE!r}: must be (height, width, "
            f"IMAGE_CHANNEL_COUNT = {config.IMAGE_CHANNEL_COUNT!r})."
        )
    elif mode in ("square", "crop") and not all(_divides(side) for side in shape[:2]):
        problems.append(
            f"IMAGE_SHAPE = {config.IMAGE_SHAPE!r}: height and width must be multiples of "
            f"{SIDE_MULTIPLE} with IMAGE_RESIZE_MODE {mode!r}."
        )
    return problems


def _divides(side: Any) -> bool:
    return _is_count(side) and side % SIDE_MULTIPLE == 0


def _mean_pixel(config: Config) -> list[str]:
    values = _numbers(np.atleast_1d(config.MEAN_PIXEL))
    if values is None or len(values) not in (1, config.IMAGE_CHANNEL_COUNT):
        return [
            f"MEAN_PIXEL = {config.MEAN_PIXEL!r}: must have one number for each of the "
            f"IMAGE_CHANNEL_COUNT = {config.IMAGE_CHANNEL_COUNT!r} channels."
        ]
    return []


def _mask_shapes(config: Config) -> list[str]:
    problems = []
    if config.USE_MINI_MASK:
        sides = _numbers(config.MINI_MASK_SHAPE)
        if sides is None or len(sides) != 2 or not all(_is_count(side) for side in sides):
            problems.append(
                f"MINI_MASK_SHAPE = {config.MINI_MASK_SHAPE!r}: must be (height, width) in "
                "whole pixels."
            )
    if _is_count(config.MASK_POOL_SIZE):
        expected = [2 * config.MASK_POOL_SIZE] * 2
        if _numbers(config.MASK_SHAPE) != expected:
            problems.append(
                f"MASK_SHAPE = {config.MASK_SHAPE!r}: must be {expected}, twice "
                f"MASK_POOL_SIZE = {config.MASK_POOL_SIZE}: the mask head doubles its input."
            )
    return problems


def _positive_rois(config: Config) -> list[str]:
    count, ratio = config.TRAIN_ROIS_PER_IMAGE, config.ROI_POSITIVE_RATIO
    if not (_is_count(count) and _RULES["ROI_POSITIVE_RATIO"][0](ratio)):
        return []  # already reported
    if int(count * ratio) >= 1:
        return []
    return [
        f"TRAIN_ROIS_PER_IMAGE = {count!r}: times ROI_POSITIVE_RATIO = {ratio!r} must be at least "
        "1, or no ROI is positive and the heads learn nothing."
    ]
