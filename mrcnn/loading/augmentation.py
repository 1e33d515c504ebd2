"""Apply an augmentation of one of three kinds to an image and its masks.

imgaug augmenters, as Matterport's package takes them; Albumentations transforms; and
plain functions `f(image, mask) -> (image, mask)`. All but functions without a parameter for them
move boxes as well, for networks whose proposals come from outside.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np

from mrcnn.geometry.proposals import box_corners, boxes_around
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
    return _apply(augmentation, image, mask, None, rng)[:2]


def apply_with_boxes(
    augmentation: Any,
    image: np.ndarray,
    mask: np.ndarray,
    boxes: np.ndarray,
    rng: RandomSource = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Augment an image, and its masks and boxes in the same way.

    Args:
        augmentation: as for `apply_augmentation`. A function must have a parameter named `boxes`:
            `f(image, mask, boxes) -> (image, mask, boxes)`.
        image: as for `apply_augmentation`.
        mask: as for `apply_augmentation`.
        boxes: [N, (y1, x1, y2, x2)] float32 pixels.
        rng: as for `apply_augmentation`.

    Returns:
        image: as of `apply_augmentation`.
        mask: as of `apply_augmentation`.
        boxes: [N, 4] float32, the smallest boxes around the moved ones, which may reach beyond the
            image.

    Raises:
        ValueError: as for `apply_augmentation`, or the augmentation cannot move boxes.
    """
    new_image, new_mask, new_boxes = _apply(augmentation, image, mask, boxes, rng)
    new_boxes = np.asarray(new_boxes, np.float32)
    if new_boxes.shape != boxes.shape or not np.isfinite(new_boxes).all():
        raise ValueError(
            f"augmentation {_name(augmentation)} changed the boxes from the shape {boxes.shape} to "
            f"{new_boxes.shape}; it must return a box of finite numbers for each"
        )
    return new_image, new_mask, new_boxes


def _apply(
    augmentation: Any,
    image: np.ndarray,
    mask: np.ndarray,
    boxes: np.ndarray | None,
    rng: RandomSource,
) -> tuple[np.ndarray, np.ndarray, Any]:
    check_rng(rng)
    apply = {
        "imgaug": _apply_imgaug,
        "albumentations": _apply_albumentations,
        "function": _apply_function,
    }[_kind_of(augmentation)]
    new_image, new_mask, new_boxes = apply(augmentation, image, mask, boxes, rng)
    _check_unchanged(augmentation, image, mask, new_image, new_mask)
    image, mask = np.ascontiguousarray(new_image), np.asarray(new_mask).astype(bool, copy=False)
    return image, mask, new_boxes


def check_augmentation(augmentation: Any, with_boxes: bool = False) -> None:
    """Raise ValueError unless `augmentation` is None or of a known kind.

    Args:
        augmentation: see `apply_augmentation`.
        with_boxes: whether it must be able to move boxes, see `apply_with_boxes`.
    """
    if augmentation is None:
        return
    if _kind_of(augmentation) == "function" and with_boxes and not _takes(augmentation, "boxes"):
        raise ValueError(_no_boxes(augmentation))


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


def _takes(function: Any, name: str) -> bool:
    """Return whether a function has a parameter of this name."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # some builtins have no signature
        return False


def _no_boxes(augmentation: Any) -> str:
    return (
        f"augmentation is {_name(augmentation)}; it must have a parameter named boxes where "
        "USE_RPN is False, f(image, mask, boxes) -> (image, mask, boxes): proposals move with the "
        "image"
    )


def _apply_imgaug(
    augmentation: Any,
    image: np.ndarray,
    mask: np.ndarray,
    boxes: np.ndarray | None,
    rng: RandomSource,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    imgaug = import_imgaug()
    # A copy that makes the same draws for the masks as for the image.
    fixed = augmentation.to_deterministic()
    if rng is not None:
        fixed.seed_(seed_from(rng), deterministic_too=True)
    # Lists of one: a single array with many channels makes imgaug warn that it may be a batch.
    shape = image.shape
    (image,) = fixed.augment_images([image])
    if boxes is not None:
        found = imgaug.KeypointsOnImage.from_xy_array(box_corners(boxes), shape=shape)
        (found,) = fixed.augment_keypoints([found])
        boxes = boxes_around(found.to_xy_array())
    if mask.shape[2] == 0:
        return image, mask, boxes
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
    return image, mask, boxes


def _moves_masks(augmenter: Any) -> bool:
    return any(base.__name__ in MASK_AUGMENTERS for base in type(augmenter).__mro__)


def _apply_albumentations(
    augmentation: Any,
    image: np.ndarray,
    mask: np.ndarray,
    boxes: np.ndarray | None,
    rng: RandomSource,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    if boxes is not None:
        augmentation = _with_keypoints(augmentation)
    if rng is not None and hasattr(augmentation, "set_random_seed"):
        # Transforms hold their generator: a copy for this image, seeded for it.
        augmentation = copy.deepcopy(augmentation)
        augmentation.set_random_seed(seed_from(rng))
    # Each mask contiguous, as resize_mask makes them: often no copy.
    masks = list(np.ascontiguousarray(mask.transpose(2, 0, 1)).view(np.uint8))
    given = {"image": image, **({"masks": masks} if masks else {})}
    if boxes is not None:
        given["keypoints"] = box_corners(boxes) - 0.5
    result = augmentation(**given)
    if boxes is not None:
        boxes = boxes_around(np.asarray(result["keypoints"], float) + 0.5)
    if masks:
        mask = np.stack(list(result["masks"])).transpose(1, 2, 0)
    return result["image"], mask, boxes


def _with_keypoints(augmentation: Any) -> Any:
    """Return an Albumentations transform that moves keypoints, also those outside of the image."""
    import albumentations

    parameters = albumentations.KeypointParams(format="xy", remove_invisible=False)
    return albumentations.Compose([augmentation], keypoint_params=parameters)


def _apply_function(
    augmentation: Any,
    image: np.ndarray,
    mask: np.ndarray,
    boxes: np.ndarray | None,
    rng: RandomSource,
) -> tuple[np.ndarray, np.ndarray, Any]:
    arguments: dict[str, Any] = {"rng": rng} if _takes(augmentation, "rng") else {}
    names = ["image", "mask"]
    if boxes is not None:
        if not _takes(augmentation, "boxes"):
            raise ValueError(_no_boxes(augmentation))
        arguments["boxes"] = boxes
        names.append("boxes")
    result = augmentation(image, mask, **arguments)
    if not isinstance(result, tuple | list) or len(result) != len(names):
        raise ValueError(
            f"augmentation {_name(augmentation)} returned {type(result).__name__}; it must "
            f"return ({', '.join(names)})"
        )
    return result[0], result[1], result[2] if boxes is not None else None


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
