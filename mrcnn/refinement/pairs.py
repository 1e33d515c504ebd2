"""Images with a true mask and the mask a model gave: what the refiner learns from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mrcnn.geometry.boxes import mask_box
from mrcnn.geometry.images import as_rgb


@dataclass(frozen=True)
class MaskPair:
    """One object of one image.

    Attributes:
        name: of the image (and object), for tables.
        image: `[H, W, 3]` uint8 RGB.
        mask: `[H, W]` bool, the true mask; None where it is not known, to refine only.
        probability: `[H, W]` float32 in 0..1, the model's; None where there is none.
    """

    name: str
    image: np.ndarray
    mask: np.ndarray | None
    probability: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = self.image.shape[:2]
        if self.image.ndim != 3 or self.image.shape[2] != 3:
            raise ValueError(
                f"{self.name}: image has shape {self.image.shape}; it must be [H, W, 3]."
            )
        if self.mask is not None and self.mask.shape != shape:
            raise ValueError(f"{self.name}: mask has shape {self.mask.shape}; it must be {shape}.")
        if self.probability is not None and self.probability.shape != shape:
            raise ValueError(
                f"{self.name}: probability has shape {self.probability.shape}; it must be {shape}."
            )


def mask_iou(first: np.ndarray, second: np.ndarray) -> float:
    """Return the IoU of two bool masks `[H, W]`; 1 where both are empty."""
    union = np.logical_or(first, second).sum()
    return float(np.logical_and(first, second).sum() / union) if union else 1.0


def load_motorcycle_pairs(
    folder: str | Path,
    masks: str | None = None,
    probabilities: str = "float_masks",
    soften: float = 0.0,
    need_masks: bool = True,
) -> list[MaskPair]:
    """Read images, true masks and saved probabilities in the motorcycle study's layout.

    Args:
        folder: holds `images/ID_image.jpg`, `masks/ID_mask.png` and `float_masks/ID_.jpg`
            (probability x 255).
        masks: folder of the true masks; None takes `masks` or `correct_masks`.
        probabilities: folder of the probabilities; binary masks (`first_masks`,
            `tuned_masks`) are read alike.
        soften: blurs binary masks into something like probabilities: the standard deviation
            in cells of a 28 x 28 grid on the image; 0 leaves them.
        need_masks: False also takes images without a true mask, as pairs whose mask is None.

    Returns:
        One pair for each image that has the files, sorted by name.

    Raises:
        FileNotFoundError: A folder is missing, or no image has the files.
        ValueError: A file cannot be read, or sizes differ.
    """
    folder = Path(folder)
    if masks is None:
        masks = "masks" if (folder / "masks").is_dir() else "correct_masks"
    for part in ("images", probabilities, *([masks] if need_masks else [])):
        if not (folder / part).is_dir():
            raise FileNotFoundError(f"{folder} has no folder {part!r}.")
    pairs = []
    for path in sorted((folder / "images").glob("*_image.jpg")):
        name = path.name.removesuffix("_image.jpg")
        mask_path = folder / masks / f"{name}_mask.png"
        probability_path = folder / probabilities / f"{name}_.jpg"
        has_mask = mask_path.is_file()
        if not probability_path.is_file() or (need_masks and not has_mask):
            continue
        image = _read(path, cv2.IMREAD_COLOR)[..., ::-1]
        mask = _read(mask_path, cv2.IMREAD_GRAYSCALE) >= 128 if has_mask else None
        probability = _read(probability_path, cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
        if soften > 0:
            sigma = soften * max(probability.shape) / 28
            probability = np.clip(cv2.GaussianBlur(probability, (0, 0), sigma), 0, 1)
        pairs.append(MaskPair(name, np.ascontiguousarray(image), mask, probability))
    if not pairs:
        wanted = "a mask and a probability" if need_masks else "a probability"
        raise FileNotFoundError(f"{folder} has no image with {wanted}.")
    return pairs


def _read(path: Path, mode: int) -> np.ndarray:
    """Read an image file; raise ValueError naming it where it is broken."""
    image = cv2.imread(str(path), mode)
    if image is None:
        raise ValueError(f"{path} is not a readable image.")
    return image


def pairs_from_dataset(
    dataset: Any,
    model: Any = None,
    *,
    image_ids: Sequence[int] | None = None,
    min_size: int = 32,
    min_iou: float = 0.3,
) -> list[MaskPair]:
    """Make pairs of a dataset's objects.

    Args:
        dataset: A prepared `mrcnn` `Dataset`.
        model: `MaskRCNN` in inference mode: its detections are matched with the true objects
            of their class, and their probabilities become the pairs'. None: pairs without a
            probability, for recipes that make their own coarse masks.
        image_ids: images to use, None for all.
        min_size: objects whose longest side is shorter, in pixels, are left out.
        min_iou: A detection belongs to a true mask from this IoU on.

    Returns:
        One pair for each object that has a mask (see `Dataset.load_label_weights`).
    """
    pairs: list[MaskPair] = []
    # A model of another class may lack the argument.
    unrefined = {} if getattr(model, "refiner", None) is None else {"refiner": None}
    for image_id in dataset.image_ids if image_ids is None else image_ids:
        image = as_rgb(np.asarray(dataset.load_image(image_id)))
        masks, class_ids = dataset.load_mask(image_id)
        masks = np.asarray(masks, bool)
        weights = dataset.load_label_weights(image_id)
        keep = [
            i
            for i in range(masks.shape[2])
            if _longest_side(masks[..., i]) >= min_size and (weights is None or weights[i, 1] > 0)
        ]
        if model is None:
            found: list[tuple[int, np.ndarray | None]] = [
                (i, None) for i in keep if class_ids[i] > 0
            ]
        else:
            result = model.detect([image], verbose=0, mask_probabilities=True, **unrefined)[0]
            found = [*_match(masks, np.asarray(class_ids), keep, result, min_iou)]
        pairs += [
            MaskPair(f"{image_id}/{i}", image, masks[..., i].copy(), probability)
            for i, probability in found
        ]
    return pairs


def crop_pair(pair: MaskPair, margin: float = 0.0, max_side: int = 200) -> MaskPair:
    """Cut a pair down to its true object, and shrink it.

    Args:
        pair: the image and its masks.
        margin: surroundings that stay on each side, as a share of the object's longer side; 0
            cuts at the object's box.
        max_side: the object's longer side afterwards, in pixels, at most.

    Returns:
        The smaller pair, with the same name.

    Raises:
        ValueError: the true mask is empty.
    """
    mask = np.zeros((0, 0), bool) if pair.mask is None else pair.mask
    box = mask_box(mask)
    if box is None:
        raise ValueError(f"{pair.name}: mask is empty; it must hold an object.")
    y1, x1, y2, x2 = box
    longest = max(y2 - y1, x2 - x1)
    reach = int(longest * margin)
    window = (
        slice(max(0, y1 - reach), y2 + reach),
        slice(max(0, x1 - reach), x2 + reach),
    )
    parts = [pair.image[window], mask[window].astype(np.float32)]
    if pair.probability is not None:
        parts.append(pair.probability[window].astype(np.float32))
    factor = max_side / longest
    if factor < 1:
        height, width = parts[0].shape[:2]
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        parts = [cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in parts]
    probability = parts[2] if len(parts) > 2 else None
    return MaskPair(pair.name, np.ascontiguousarray(parts[0]), parts[1] > 0.5, probability)


def _match(
    masks: np.ndarray, class_ids: np.ndarray, keep: Sequence[int], result: dict, min_iou: float
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (true object, probability of the best detection of its class)."""
    probabilities = np.asarray(result["mask_probs"], np.float32)
    for i in keep:
        candidates = np.flatnonzero(np.asarray(result["class_ids"]) == class_ids[i])
        overlaps = [mask_iou(probabilities[..., j] >= 0.5, masks[..., i]) for j in candidates]
        if overlaps and max(overlaps) >= min_iou:
            # A view would keep the probabilities of all detections of the image in memory.
            yield i, probabilities[..., candidates[int(np.argmax(overlaps))]].copy()


def _longest_side(mask: np.ndarray) -> int:
    """Return the longer side of a mask's box in pixels, 0 where it is empty."""
    y1, x1, y2, x2 = mask_box(mask) or (0, 0, 0, 0)
    return max(y2 - y1, x2 - x1)
