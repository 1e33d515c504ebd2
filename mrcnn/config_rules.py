"""The rules that settings must keep, each with the text of its error."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.files.names import printable, shown
from mrcnn.value_types import is_integer, is_number

if TYPE_CHECKING:
    from mrcnn.config import Config

BACKBONES = (
    "resnet50",
    "resnet101",
    "squeezenet",
    "nanodet",
    "nanodet_pan",
    "efficientnet_lite0",
)
# Backbones out of keras.applications, and Keras' names for them. Left out are those whose maps are
# not exactly a quarter to a thirty-second of the image (Inception, Xception, NASNet), and those
# whose weights are for BGR pixels (VGG, ResNet-152; for ResNet-50 and ResNet-101 see `BACKBONES`).
APPLICATIONS = {
    "mobilenet": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_small": "MobileNetV3Small",
    "mobilenet_v3_large": "MobileNetV3Large",
    **{f"efficientnet_b{i}": f"EfficientNetB{i}" for i in range(8)},
    **{
        f"efficientnet_v2_{size.lower()}": f"EfficientNetV2{size}"
        for size in ("B0", "B1", "B2", "B3", "S", "M", "L")
    },
    **{f"resnet{i}v2": f"ResNet{i}V2" for i in (50, 101, 152)},
    **{f"densenet{i}": f"DenseNet{i}" for i in (121, 169, 201)},
    **{
        f"convnext_{size.lower()}": f"ConvNeXt{size}"
        for size in ("Tiny", "Small", "Base", "Large", "XLarge")
    },
}
ROI_POOLINGS = ("align", "max")
RESIZE_MODES = ("none", "square", "pad64", "crop")
PRECISIONS = ("float32", "bfloat16", "float16")
# The pyramid halves the image six times (P6), so its sides must divide by this.
SIDE_MULTIPLE = 2**6
# P2 .. P6: one stride for each, and at most one anchor scale.
PYRAMID_LEVELS = 5
# The strides of the built-in backbones and of the pyramid on top of them.
BUILT_IN_STRIDES = [4, 8, 16, 32, 64]
LOSS_NAMES = (
    "rpn_class_loss",
    "rpn_bbox_loss",
    "mrcnn_class_loss",
    "mrcnn_bbox_loss",
    "mrcnn_mask_loss",
)
# The losses that a model has only with a part of the network.
RPN_LOSSES = LOSS_NAMES[:2]
MASK_LOSSES = LOSS_NAMES[4:]
# Upper bounds that no sensible network reaches. Settings may come from a file beside downloaded
# weights: without bounds one number in it takes all memory.
MAX_SIDE = 2**14
MAX_CHANNELS = 2**12
MAX_BOXES = 10**6
MAX_PARAMETERS = 2**30
MAX_NAME_LENGTH = 100


def application_mark(name: str) -> str:
    """Return the name of the layer by which a model or file with this backbone is recognized."""
    return f"{name}_pixels"


Rule = tuple[Callable[[Any], bool], str]


def _is_count(value: Any) -> bool:
    return is_integer(value) and int(value) >= 1


def _numbers(value: Any) -> list[Any] | None:
    """Return the items of a flat sequence of finite numbers, None for anything else."""
    if not isinstance(value, list | tuple | np.ndarray) or getattr(value, "ndim", 1) != 1:
        return None
    items = list(value)
    return items if all(is_number(item) for item in items) else None


def _is_name(value: Any) -> bool:
    return (
        isinstance(value, str)
        and len(value.encode("utf-8", "replace")) <= MAX_NAME_LENGTH
        and not set(value) & set("/\\")
        and value not in (".", "..")
        and printable(value) == value
    )


def _count(maximum: int, minimum: int = 1) -> Rule:
    return (
        lambda v: _is_count(v) and minimum <= v <= maximum,
        f"must be a whole number of at least {minimum} and at most {maximum}",
    )


def _in_order(low: float, high: float) -> Rule:
    return lambda v: is_number(v) and low <= v <= high, f"must lie between {low} and {high}"


_SHARE = _in_order(0, 1)
_POSITIVE: Rule = (lambda v: is_number(v) and v > 0, "must be a number above 0")
_NOT_NEGATIVE: Rule = (lambda v: is_number(v) and v >= 0, "must be a number of at least 0")
_FOUR: Rule = (
    lambda v: len(_numbers(v) or ()) == 4 and min(_numbers(v) or [0]) > 0,
    "must be four numbers above 0: (dy, dx, log dh, log dw)",
)


def _or_none(rule: Rule) -> Rule:
    check, text = rule
    return (lambda v: v is None or check(v)), f"{text}, or be None"


def _one_of(*choices: Any) -> Rule:
    return (
        lambda v: any(v is choice or (isinstance(v, str) and v == choice) for choice in choices),
        "must be one of " + ", ".join(repr(choice) for choice in choices),
    )


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


_SWITCH: Rule = (
    lambda v: _is_switch(v) or (is_number(v) and v in (0, 1)),
    "must be True or False",
)


# Rules on one setting alone: (test, the end of the sentence "NAME is VALUE; it ...").
_RULES: dict[str, Rule] = {
    "NAME": _or_none(
        (
            _is_name,
            f"must be a string of at most {MAX_NAME_LENGTH} bytes without slashes and control "
            "characters, and not '.' or '..': log folders and weight files are named after it",
        )
    ),
    "GPU_COUNT": _count(1024),
    "IMAGES_PER_GPU": _count(4096),
    # A fraction of a step, from a division, means the step that holds it.
    "STEPS_PER_EPOCH": _POSITIVE,
    "VALIDATION_STEPS": _or_none(_NOT_NEGATIVE),
    "FPN_CLASSIF_FC_LAYERS_SIZE": _count(2**16),
    "TOP_DOWN_PYRAMID_SIZE": _count(MAX_CHANNELS),
    "RPN_CHANNELS": _count(MAX_CHANNELS),
    "MASK_CHANNELS": _count(MAX_CHANNELS),
    "CANONICAL_BOX_SIZE": _POSITIVE,
    "NUM_CLASSES": (
        lambda v: _is_count(v) and 2 <= v <= MAX_BOXES,
        f"must be a whole number of at least 2 and at most {MAX_BOXES}: the background counts as "
        "a class",
    ),
    "RPN_ANCHOR_STRIDE": _count(1024),
    "RPN_NMS_THRESHOLD": _SHARE,
    "RPN_TRAIN_ANCHORS_PER_IMAGE": (
        lambda v: _is_count(v) and 2 <= v <= MAX_BOXES,
        f"must be a whole number of at least 2 and at most {MAX_BOXES}: half of them may be "
        "positive",
    ),
    "PRE_NMS_LIMIT": _count(MAX_BOXES),
    "POST_NMS_ROIS_TRAINING": _count(MAX_BOXES),
    "POST_NMS_ROIS_INFERENCE": _count(MAX_BOXES),
    "IMAGE_RESIZE_MODE": _one_of(*RESIZE_MODES),
    "IMAGE_MIN_SCALE": _or_none(_in_order(0, 64)),
    "IMAGE_CHANNEL_COUNT": _count(MAX_CHANNELS),
    "IMAGE_META_SIZE": _count(2 * MAX_BOXES),
    "USE_MINI_MASK": _SWITCH,
    "PARTIAL_LABELS": _SWITCH,
    "CLASS_AGNOSTIC_MASK": _SWITCH,
    "JOINT_SCORES": _SWITCH,
    "MASK_SCORES": _SWITCH,
    "USE_RPN_ROIS": _SWITCH,
    "USE_RPN": _SWITCH,
    "USE_MASK": _SWITCH,
    "ROI_POOLING": _one_of(*ROI_POOLINGS),
    "ROI_LEVEL": _or_none(
        (
            lambda v: _is_count(v) and 2 <= v <= 5,
            "must be a whole number of at least 2 and at most 5, a level of the pyramid",
        )
    ),
    "TRAIN_ROIS_PER_IMAGE": _count(MAX_BOXES),
    "ROI_POSITIVE_RATIO": (
        lambda v: is_number(v) and 0 < v <= 1,
        "must lie above 0 and be at most 1",
    ),
    "MASK_ROIS_PER_IMAGE": _or_none(_count(MAX_BOXES)),
    "POOL_SIZE": _count(256),
    "MASK_POOL_SIZE": _count(1024),
    "MAX_GT_INSTANCES": _count(MAX_BOXES),
    "RPN_BBOX_STD_DEV": _FOUR,
    "BBOX_STD_DEV": _FOUR,
    "DETECTION_MAX_INSTANCES": _count(MAX_BOXES),
    "DETECTION_MIN_CONFIDENCE": _or_none(_SHARE),
    "DETECTION_NMS_THRESHOLD": _SHARE,
    "LEARNING_RATE": _NOT_NEGATIVE,
    "LEARNING_MOMENTUM": (
        lambda v: is_number(v) and 0 <= v < 1,
        "must be at least 0 and below 1",
    ),
    "WEIGHT_DECAY": _NOT_NEGATIVE,
    "LOSS_WEIGHTS": (
        lambda v: isinstance(v, Mapping) and all(is_number(w) and w >= 0 for w in v.values()),
        "must map names of losses to numbers of at least 0",
    ),
    "TRAIN_BN": (
        lambda v: v is None or _is_switch(v),
        "must be one of None, False, True",
    ),
    "GRADIENT_CLIP_NORM": _or_none(_POSITIVE),
    "ACCUMULATE_STEPS": _count(MAX_BOXES),
    "PRECISION": _one_of(*PRECISIONS),
}


# Rules of the settings that other models have, or of which they ask less.
_FAMILY_RULES: dict[str, Rule] = {
    "IMAGE_MIN_DIM": _count(MAX_SIDE),
    "IMAGE_MAX_DIM": _count(MAX_SIDE),
    "BASE_WIDTH": _count(MAX_CHANNELS),
    "TILE_SIDE": _count(MAX_SIDE),
    "PADDING": _one_of("same", "valid"),
    "MEAN_PIXEL": (lambda v: bool(_numbers(v)), "must be a sequence of numbers"),
    # Of R-CNN.
    "REGIONS_PER_BATCH": _count(MAX_BOXES),
    "REGION_STRATEGY": _one_of("single", "fast", "quality"),
    "REGION_MAX_SIDE": _count(MAX_SIDE),
    "MAX_REGIONS": _count(MAX_BOXES),
    "REGION_CONTEXT": _NOT_NEGATIVE,
    "NEGATIVE_MAX_IOU": _SHARE,
    "SVM_PENALTY": _POSITIVE,
    "REFINED_MIN_IOU": _SHARE,
    "BOX_RIDGE": _NOT_NEGATIVE,
}


def find_problems(config: Config) -> list[str]:
    """Return every broken rule as "NAME is VALUE; it must ..."; none for a valid configuration.

    The values may be anything: those that break a rule alone are not used to compute others.
    """
    broken = {name for name, (check, _) in _RULES.items() if _breaks(config, name, check)}
    problems = [
        _problem(config, name, text) for name, (_, text) in _RULES.items() if name in broken
    ]
    for needed, check_together in _CHECKS_TOGETHER:
        if not broken & set(needed):
            problems.extend(check_together(config))
    return problems


def find_own_problems(config: Config, names: Collection[str]) -> list[str]:
    """Return the broken rules on some settings alone, for models of another kind.

    Sides of images need be no multiples of 64 there. Names without a rule are passed over.
    """
    rules = {**_RULES, **_FAMILY_RULES}
    return [
        _problem(config, name, text)
        for name, (check, text) in rules.items()
        if name in names and not check(getattr(config, name))
    ]


def _breaks(config: Config, name: str, check: Callable[[Any], bool]) -> bool:
    if name == "IMAGE_META_SIZE" and not _is_count(config.NUM_CLASSES):
        return False  # computed from it
    return not check(getattr(config, name))


def _problem(config: Config, name: str, text: str) -> str:
    return f"{name} is {shown(getattr(config, name))}; it {text}."


def _batch_size(config: Config) -> list[str]:
    check, text = _count(2**20)
    return [] if check(config.BATCH_SIZE) else [_problem(config, "BATCH_SIZE", text)]


def _backbone(config: Config) -> list[str]:
    backbone, shapes = config.BACKBONE, config.COMPUTE_BACKBONE_SHAPE
    if callable(backbone):
        if callable(shapes):
            return []
        text = (
            "must be a function image_shape -> shapes of the pyramid levels when BACKBONE is a "
            "function"
        )
        return [_problem(config, "COMPUTE_BACKBONE_SHAPE", text)]
    if isinstance(backbone, str) and backbone in BACKBONES:
        return []
    if isinstance(backbone, str) and backbone in APPLICATIONS:
        if config.IMAGE_CHANNEL_COUNT == 3:
            return []
        return [_problem(config, "IMAGE_CHANNEL_COUNT", f"must be 3 with BACKBONE {backbone!r}")]
    names = ", ".join(repr(name) for name in BACKBONES)
    text = (
        f"must be one of {names}, a network of keras.applications such as 'mobilenet_v2', or a "
        f"function{_nearest_backbones(backbone)}"
    )
    return [_problem(config, "BACKBONE", text)]


def _nearest_backbones(name: Any) -> str:
    """Return the end of a sentence with the known names that are closest; empty without any."""
    if not isinstance(name, str) or len(name) > MAX_NAME_LENGTH:
        return ""
    near = difflib.get_close_matches(name.lower(), (*BACKBONES, *APPLICATIONS), n=3)
    return f"; nearest are {', '.join(map(repr, near))}" if near else ""


def _anchors(config: Config) -> list[str]:
    names = ("BACKBONE_STRIDES", "RPN_ANCHOR_SCALES", "RPN_ANCHOR_RATIOS")
    problems = [
        _problem(config, name, f"must be a sequence of up to 100 numbers above 0 and up to {2**20}")
        for name in names
        if not _are_positive(getattr(config, name))
    ]
    if problems:
        return problems
    strides, scales = config.BACKBONE_STRIDES, config.RPN_ANCHOR_SCALES
    if len(strides) != PYRAMID_LEVELS:
        text = f"must have {PYRAMID_LEVELS} values, one for each pyramid level P2 to P6"
        problems.append(_problem(config, "BACKBONE_STRIDES", text))
    elif len(scales) > len(strides):
        # Fewer scales mean, as in Matterport's package, that the last levels have no anchors.
        text = f"must have at most {len(strides)} values, one for each of BACKBONE_STRIDES"
        problems.append(_problem(config, "RPN_ANCHOR_SCALES", text))
    # Other strides would put the anchors beside the cells that they belong to.
    elif isinstance(config.BACKBONE, str) and list(strides) != BUILT_IN_STRIDES:
        text = (
            f"must be {BUILT_IN_STRIDES} with BACKBONE {config.BACKBONE!r}; other strides need a "
            "BACKBONE function"
        )
        problems.append(_problem(config, "BACKBONE_STRIDES", text))
    return problems


def _are_positive(value: Any) -> bool:
    items = _numbers(value)
    return bool(items) and len(items or ()) <= 100 and all(0 < i <= 2**20 for i in items or ())


def _image_size(config: Config) -> list[str]:
    mode, problems = config.IMAGE_RESIZE_MODE, []
    # In "square" 0 or None leaves the image to IMAGE_MAX_DIM; in "none" it has no use.
    if not _is_side(config.IMAGE_MIN_DIM) and config.IMAGE_MIN_DIM is not None:
        text = f"must be a number of at least 0 and at most {MAX_SIDE}"
        problems.append(_problem(config, "IMAGE_MIN_DIM", text))
    if mode in ("pad64", "crop") and not _divides(config.IMAGE_MIN_DIM):
        text = f"must be a multiple of {SIDE_MULTIPLE} with IMAGE_RESIZE_MODE {mode!r}"
        problems.append(_problem(config, "IMAGE_MIN_DIM", text))
    if mode == "square" and not _divides(config.IMAGE_MAX_DIM):
        text = (
            f"must be a multiple of {SIDE_MULTIPLE} (256, 320, 384, 512, 1024, ...), as the "
            f"network halves the image six times, and at most {MAX_SIDE}"
        )
        problems.append(_problem(config, "IMAGE_MAX_DIM", text))
    elif config.IMAGE_MAX_DIM is not None and not _is_side(config.IMAGE_MAX_DIM):
        text = f"must be a number of at least 0 and at most {MAX_SIDE}"
        problems.append(_problem(config, "IMAGE_MAX_DIM", text))
    return problems or _image_shape(config)


def _image_shape(config: Config) -> list[str]:
    mode, shape = config.IMAGE_RESIZE_MODE, _numbers(config.IMAGE_SHAPE)
    if not shape or len(shape) != 3 or shape[2] != config.IMAGE_CHANNEL_COUNT:
        text = f"must be (height, width, IMAGE_CHANNEL_COUNT = {config.IMAGE_CHANNEL_COUNT!r})"
        return [_problem(config, "IMAGE_SHAPE", text)]
    if not all(_is_side(side) for side in shape[:2]):
        text = f"must have sides of at most {MAX_SIDE} pixels"
        return [_problem(config, "IMAGE_SHAPE", text)]
    if mode in ("square", "crop") and not all(_divides(side) for side in shape[:2]):
        text = (
            f"must have a height and width that are multiples of {SIDE_MULTIPLE} with "
            f"IMAGE_RESIZE_MODE {mode!r}"
        )
        return [_problem(config, "IMAGE_SHAPE", text)]
    return []


def _is_side(value: Any) -> bool:
    return is_number(value) and 0 <= value <= MAX_SIDE


def _divides(side: Any) -> bool:
    return _is_count(side) and side % SIDE_MULTIPLE == 0 and side <= MAX_SIDE


def _mean_pixel(config: Config) -> list[str]:
    mean = config.MEAN_PIXEL
    values = _numbers(mean.reshape(1) if getattr(mean, "shape", None) == () else mean)
    values = [mean] if is_number(mean) else values
    if values is not None and len(values) in (1, config.IMAGE_CHANNEL_COUNT):
        return []
    text = (
        f"must have one number for each of the IMAGE_CHANNEL_COUNT = "
        f"{config.IMAGE_CHANNEL_COUNT!r} channels"
    )
    return [_problem(config, "MEAN_PIXEL", text)]


def _mask_shapes(config: Config) -> list[str]:
    problems = []
    sides = _numbers(config.MINI_MASK_SHAPE) or []
    if config.USE_MINI_MASK and not (
        len(sides) == 2 and all(_is_count(side) and side <= MAX_SIDE for side in sides)
    ):
        text = f"must be (height, width) in whole pixels, at most {MAX_SIDE}"
        problems.append(_problem(config, "MINI_MASK_SHAPE", text))
    expected = [2 * config.MASK_POOL_SIZE] * 2
    if _numbers(config.MASK_SHAPE) != expected:
        text = (
            f"must be {expected}, twice MASK_POOL_SIZE = {config.MASK_POOL_SIZE}: the mask head "
            "doubles its input"
        )
        problems.append(_problem(config, "MASK_SHAPE", text))
    return problems


def _positive_rois(config: Config) -> list[str]:
    ratio = config.ROI_POSITIVE_RATIO
    if int(config.TRAIN_ROIS_PER_IMAGE * ratio) >= 1:
        return []
    text = (
        f"must be at least 1 after multiplication by ROI_POSITIVE_RATIO = {ratio!r}, or no ROI is "
        "positive and the heads learn nothing"
    )
    return [_problem(config, "TRAIN_ROIS_PER_IMAGE", text)]


def _roi_level(config: Config) -> list[str]:
    if config.ROI_POOLING != "max" or config.ROI_LEVEL is not None:
        return []
    text = "must be the level of one map with ROI_POOLING 'max', such as 4 (a stride of 16 pixels)"
    return [_problem(config, "ROI_LEVEL", text)]


def _joint_scores(config: Config) -> list[str]:
    if not config.JOINT_SCORES or config.USE_RPN:
        return []
    return [_problem(config, "JOINT_SCORES", "must be False where USE_RPN is, without RPN scores")]


_WIDTHS = (
    "TOP_DOWN_PYRAMID_SIZE",
    "FPN_CLASSIF_FC_LAYERS_SIZE",
    "RPN_CHANNELS",
    "MASK_CHANNELS",
    "POOL_SIZE",
    "NUM_CLASSES",
)


def _network_size(config: Config) -> list[str]:
    pyramid, dense, rpn, mask, pool, classes = (int(getattr(config, name)) for name in _WIDTHS)
    parameters = (
        4 * 9 * pyramid**2
        + 9 * pyramid * rpn
        + pool**2 * pyramid * dense
        + dense**2
        + 5 * dense * classes
        + 9 * pyramid * mask
        + 31 * mask**2
        + mask * classes
    )
    if parameters <= MAX_PARAMETERS:
        return []
    settings = ", ".join(f"{name} = {getattr(config, name)}" for name in _WIDTHS)
    return [
        f"the number of parameters of pyramid and heads is about {parameters:.2g}; it must be at "
        f"most {MAX_PARAMETERS:.2g}. It follows from {settings}."
    ]


# Rules on several settings, and the settings that must be valid before each is checked.
_CHECKS_TOGETHER: tuple[tuple[tuple[str, ...], Callable[[Config], list[str]]], ...] = (
    (("GPU_COUNT", "IMAGES_PER_GPU"), _batch_size),
    ((), _backbone),
    ((), _anchors),
    (("IMAGE_RESIZE_MODE", "IMAGE_CHANNEL_COUNT"), _image_size),
    (("IMAGE_CHANNEL_COUNT",), _mean_pixel),
    (("MASK_POOL_SIZE",), _mask_shapes),
    (("TRAIN_ROIS_PER_IMAGE", "ROI_POSITIVE_RATIO"), _positive_rois),
    (("ROI_POOLING", "ROI_LEVEL"), _roi_level),
    (("JOINT_SCORES", "USE_RPN"), _joint_scores),
    (_WIDTHS, _network_size),
)
