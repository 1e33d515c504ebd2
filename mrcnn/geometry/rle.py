"""Masks as COCO's run lengths: pixels column by column, runs of zeros and ones in turn.

A mask is encoded from the part of the picture where it can have pixels, its box for instance;
pixels of the frame around it are never looked at and need not exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mrcnn.geometry.boxes import extract_bboxes


def encode_rle(mask: np.ndarray, compressed: bool = True) -> Any:
    """Masks as COCO's run lengths: column by column, beginning with zeros.

    Args:
        mask: [height, width], or [height, width, instances].
        compressed: Runs packed into a string (through pycocotools) or a list of lengths.

    Returns:
        ``{"size": [height, width], "counts": str or list of int}``, ready for JSON; a list
        of these, one for each instance, where the mask has three axes.

    Raises:
        ValueError: The mask has neither two nor three axes.
    """
    mask = np.asarray(mask)
    if mask.ndim not in (2, 3):
        raise ValueError(
            f"mask has shape {mask.shape}: must be [height, width] or [height, width, instances]."
        )
    masks = mask if mask.ndim == 3 else mask[..., None]
    rles = []
    for index, (y1, x1, y2, x2) in enumerate(extract_bboxes(masks).tolist()):
        part = masks[y1:y2, x1:x2, index]
        rles.append(encode_part(part, (y1, x1), masks.shape[:2], compressed))
    return rles if mask.ndim == 3 else rles[0]


def encode_masks(masks: np.ndarray) -> list[dict[str, Any]]:
    """Run-length encode the masks of one picture as ``pycocotools.mask.encode`` does.

    Args:
        masks: ``[H, W, N]`` bool (anything else is compared with zero).

    Returns:
        N dicts ``{"size": [H, W], "counts": bytes}``, equal to those of pycocotools.

    Raises:
        ValueError: If ``masks`` has another rank.
    """
    masks = np.asarray(masks)
    if masks.ndim != 3:
        raise ValueError(f"masks must be [H, W, N], got shape {masks.shape}")
    return [rle | {"counts": rle["counts"].encode()} for rle in encode_rle(masks)]


def encode_part(
    part: np.ndarray, corner: tuple[int, int], size: tuple[int, int], compressed: bool = True
) -> dict[str, Any]:
    """The run lengths of a mask of which only a part is at hand.

    Args:
        part: [rows, columns], zero is outside; may be empty.
        corner: (y, x) of its upper left pixel in the frame.
        size: (height, width) of the frame, zero around the part.
        compressed: As in encode_rle.

    Returns:
        As encode_rle.
    """
    height, width = int(size[0]), int(size[1])
    ends = _changes(part, corner, height)
    total = height * width
    if len(ends) and ends[-1] == total:
        ends = ends[:-1]
    counts = np.diff(ends, prepend=0, append=total)
    if not compressed:
        return {"size": [height, width], "counts": counts.tolist()}
    from pycocotools import mask as coco_mask

    runs = {"size": [height, width], "counts": counts.astype(np.uint32)}
    packed = coco_mask.frPyObjects(runs, height, width)
    return {"size": [height, width], "counts": packed["counts"].decode("ascii")}


def _changes(part: np.ndarray, corner: tuple[int, int], height: int) -> np.ndarray:
    """Where runs of ones begin and end, in turn, in a frame read column by column."""
    import cv2  # here: evaluation reads run lengths without it

    rows, columns = part.shape
    if part.size == 0:
        return np.zeros(0, np.int64)
    part = np.ascontiguousarray(part)
    part = part.view(np.uint8) if part.dtype == bool else (part != 0).view(np.uint8)
    # A zero above each column, and one at the very end, keep the runs of columns apart.
    line = np.zeros(columns * (rows + 1) + 1, np.uint8)
    line[:-1].reshape(columns, rows + 1)[:, 1:] = cv2.transpose(part).reshape(columns, rows)
    column, row = np.divmod(np.flatnonzero(line[1:] != line[:-1]), rows + 1)
    ends = (int(corner[1]) + column) * height + int(corner[0]) + row
    if rows == height:
        # From the foot of one column the run goes on at the head of the next.
        joined = np.flatnonzero(ends[1:-1:2] == ends[2::2]) * 2 + 1
        ends = np.delete(ends, np.concatenate([joined, joined + 1]))
    return ends


def decode_rle(rle: Any) -> np.ndarray:
    """Undo encode_rle.

    Args:
        rle: ``{"size": [height, width], "counts": ...}`` with counts a string or bytes
            (compressed) or a list of lengths; or a sequence of these of one size.

    Returns:
        [height, width] bool; [height, width, instances] for a sequence.

    Raises:
        ValueError: The lengths do not add up to the size, or there is nothing to decode.
    """
    if not isinstance(rle, Mapping):
        if len(rle) == 0:
            raise ValueError("rle is an empty sequence: the size of its masks is not known.")
        return np.stack([decode_rle(one) for one in rle], axis=-1)
    height, width = (int(side) for side in rle["size"])
    counts = rle["counts"]
    if isinstance(counts, str | bytes):
        from pycocotools import mask as coco_mask

        packed = counts.encode() if isinstance(counts, str) else counts
        return coco_mask.decode({"size": [height, width], "counts": packed}).astype(bool)
    counts = np.asarray(counts, np.int64)
    if counts.sum() != height * width or (counts < 0).any():
        raise ValueError(
            f"rle counts add up to {counts.sum()} pixels: must be {height} x {width} "
            f"= {height * width}, without negative lengths."
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape((height, width), order="F")


def rle_area(rles: list[dict[str, Any]]) -> np.ndarray:
    """Pixels of each mask, [N] int64, without decoding any."""
    from pycocotools import mask as coco_mask

    # One at a time: some builds of pycocotools count the masks of a list in 8 bits.
    return np.array([coco_mask.area(rle) for rle in rles], np.int64)


class RleMasks:
    """Run lengths that can be cut like masks [height, width, N]: `masks[y1:y2, x1:x2, index]`.

    One frame exists at a time, and only while it is cut.
    """

    def __init__(self, rles: list[dict[str, Any]], size: tuple[int, int]) -> None:
        self.rles = rles
        self.shape = (*(rles[0]["size"] if rles else size), len(rles))
        self.ndim = 3

    def __getitem__(self, where: tuple[slice, slice, int]) -> np.ndarray:
        rows, columns, index = where
        return decode_rle(self.rles[index])[rows, columns]
