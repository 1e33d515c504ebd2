"""Apply an augmentation of one of three kinds to an image and its masks.

imgaug augmenters, as Matterport's package takes them; Albumentations transforms; and
plain functions `f(image, mask) -> (image, mask)`.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np

from mrcnn.loading.imgaug_numpy2 import import_imgaug
from mrcnn.loading.randomness import RandomSource, check_rng, seed_from

# imgaug augmenters that move pixels, and those that contain such. Only these are applied to
# masks: blurring or brightening a mask would change its shape. The first nine are
# Matterport's list; subclasses count too (Rotate is an Affine, Crop a CropAndPad).
MASK_AUGMENTERS = frozenset(
    {
        "Sequential",
        "SomeOf",
        "OneOf",
        "Sometimes",
        "Fliplr",
        "Flipud",
        "CropAndPad",
        "Affine",
        "PiecewiseAffine",
        "ElasticTransformation",
        "Jigsaw",
        "PerspectiveTransform",
        "Rot90",
        "WithPolarWarping",
    }
)


def apply_augmentation(
    augmentation: Any, image: np.ndarray, mask: np.ndarray, rng: RandomSource = None
) -> tuple[np.ndarray, np.ndarray]:
    """Augment an image, and its masks in the same way.

    Args:
        augmentation: an imgaug augmenter; an Albumentations transform, single or composed;
            or a function `f(image, mask) -> (image, mask)` with arrays as below. A
            function with a parameter named `rng` receives `rng`.
        image: [height, width, channels], uint8.
        mask: [height, width, instances] bool. The augmentation may write to both arrays.
        rng: a Generator or RandomState makes the result reproducible, in whichever thread it
            is computed in. None leaves the random draws to the library.

    Returns:
        image: the augmented image, of the same shape and type.
        mask: [height, width, instances] bool. An instance may have become empty.

    Raises:
        ValueError: the augmentation is of no known kind, or changes the shape or type of
            the image or the shape of the mask.
    """
    check_rng(rng)
    kind = _kind_of(augmentation)
    if kind == "imgaug":
        new_image, new_mask = _apply_imgaug(augmentation, image, mask, rng)
    elif kind == "albumentations":
        new_image, new_mask = _apply_albumentations(augmentation, image, mask, rng)
    else:
        new_image, new_mask = _apply_function(augmentation, image, mask, rng)
    _check_unchanged(augmentation, image, mask, new_image, new_mask)
    return np.ascontiguousarray(new_image), np.asarray(new_mask).astype(bool, copy=False)


def check_augmentation(augmentation: Any) -> None:
    """Raise ValueError unless `augmentation` is None or of a known kind."""
    if augmentation is not None:
        _kind_of(augmentation)


def _kind_of(augmentation: Any) -> str:
    # By module name, so that neither library is imported without need.
    for base in type(augmentation).__mro__:
        library = base.__module__.partition(".")[0]
        if library in ("imgaug", "albumentations"):
            return library
    if callable(augmentation) and not isinstance(augmentation, type):
        return "function"
    raise ValueError(
        f"augmentation is {augmentation!r}; it must be an imgaug augmenter, an Albumentations "
        "transform or a function f(image, mask) -> (image, mask)"
    )


def _apply_imgaug(
    augmentation: Any, image: np.ndarray, mask: np.ndarray, rng: RandomSource
) -> tuple[np.ndarray, np.ndarray]:
    imgaug = import_imgaug()
    # A copy that makes the same draws for the masks as for the image.
    fixed = augmentation.to_deterministic()
    if rng is not None:
        fixed.seed_(seed_from(rng), deterministic_too=True)
    # Lists of one: a single array with many channels makes imgaug warn that it may be a batch.
    (image,) = fixed.augment_images([image])
    if mask.shape[2] == 0:
        return image, mask
    zero = imgaug.parameters.Deterministic(0)
    for augmenter in (fixed, *fixed.get_all_children(flat=True)):
        # Pixels that come into view belong to no instance, of any color.
        for name in ("cval", "pad_cval"):
            if hasattr(augmenter, name) and _moves_masks(augmenter):
                setattr(augmenter, name, zero)

    def is_active(images: Any, augmenter: Any, parents: Any, default: bool) -> bool:
        return default and _moves_masks(augmenter)

    hooks = imgaug.HooksImages(activator=is_active)
    (mask,) = fixed.augment_images([mask.view(np.uint8)], hooks=hooks)
    return image, mask


def _moves_masks(augmenter: Any) -> bool:
    return any(base.__name__ in MASK_AUGMENTERS for base in type(augmenter).__mro__)


def _apply_albumentations(
    augmentation: Any, image: np.ndarray, mask: np.ndarray, rng: RandomSource
) -> tuple[np.ndarray, np.ndarray]:
    if rng is not None and hasattr(augmentation, "set_random_seed"):
        # Transforms hold their generator: a copy for this image, seeded for it.
        augmentation = copy.deepcopy(augmentation)
        augmentation.set_random_seed(seed_from(rng))
    # Each mask contiguous, as resize_mask makes them: often no copy.
    masks = list(np.ascontiguousarray(mask.transpose(2, 0, 1)).view(np.uint8))
    if not masks:
        return augmentation(image=image)["image"], mask
    result = augmentation(image=image, masks=masks)
    return result["image"], np.stack(list(result["masks"])).transpose(1, 2, 0)


def _apply_function(
    augmentation: Any, image: np.ndarray, mask: np.ndarray, rng: RandomSource
) -> tuple[np.ndarray, np.ndarray]:
    try:
        wants_rng = "rng" in inspect.signature(augmentation).parameters
    except (TypeError, ValueError):  # some builtins have no signature
        wants_rng = False
    result = augmentation(image, mask, rng=rng) if wants_rng else augmentation(image, mask)
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise ValueError(
            f"augmentation {_name(augmentation)} returned {type(result).__name__}; it must "
            "return (image, mask)"
        )
    return result[0], result[1]


def _check_unchanged(
    augmentation: Any, image: np.ndarray, mask: np.ndarray, new_image: Any, new_mask: Any
) -> None:
    for what, old, new in (("image", image, new_image), ("mask", mask, new_mask)):
        if np.shape(new) != old.shape:
            raise ValueError(
                f"augmentation {_name(augmentation)} changed the shape of the {what} from "
                f"{old.shape} to {np.shape(new)}; it must keep it. Crops and resizes must pad "
                "back to the size that they received."
            )
    if np.asarray(new_image).dtype != image.dtype:
        raise ValueError(
            f"augmentation {_name(augmentation)} changed the type of the image from "
            f"{image.dtype} to {np.asarray(new_image).dtype}; it must keep it. Leave out "
            "normalization, which follows later."
        )


def _name(augmentation: Any) -> str:
    return getattr(augmentation, "__name__", type(augmentation).__name__)
