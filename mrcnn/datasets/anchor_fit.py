"""How well the anchors of a configuration fit the objects of a dataset."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.datasets.problems import Problem
from mrcnn.files.names import counted
from mrcnn.geometry.anchors import best_anchor_overlaps
from mrcnn.geometry.images import resized_window

if TYPE_CHECKING:
    from mrcnn.config import Config

__all__ = ["MIN_OVERLAP", "AnchorFit", "measure_anchors"]

# An object that no anchor overlaps by this much gives the region proposal network a single
# positive example, its best anchor, with deltas that are hard to learn.
MIN_OVERLAP = 0.5
# Shares of objects from which `problems` has a finding: where other scales are better, and where
# not. At Matterport's settings 12 to 20 % of COCO's objects are such.
_MANY, _TOO_MANY = 0.1, 0.3
# The smallest of the scales that are tried; the others are its multiples by 2, 4, 8, ...
_BASES = (4, 6, 8, 12, 16, 24, 32, 48, 64)


@dataclass
class AnchorFit:
    """The anchors of a configuration compared with the objects of a dataset.

    Attributes:
        num_objects: objects compared.
        image_shape: [height, width] of the network's input, for the first image.
        scales: `RPN_ANCHOR_SCALES`.
        median_overlap: median over the objects of the best intersection over union with an anchor.
        num_below: objects whose best one is below `MIN_OVERLAP`.
        num_below_stride: objects with a side below the finest stride, in pixels of the input.
        min_stride: that stride.
        proposed_scales: scales that fit clearly better; None where the given ones are good.
        num_below_proposed: `num_below` with these; None without them.
        are_fixed: whether the anchors belong to the weights and must not be changed.
    """

    num_objects: int
    image_shape: list[int]
    scales: list[float]
    median_overlap: float
    num_below: int
    num_below_stride: int
    min_stride: int
    proposed_scales: list[int] | None = None
    num_below_proposed: int | None = None
    are_fixed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        height, width = self.image_shape
        if self.are_fixed:
            return (
                f"Anchors {_listed(self.scales)} at {width}x{height}: those of the detector in the "
                "weights, which must stay. It finds boxes of any shape; the line Layers of a "
                "training says how many of the objects it proposes"
            )
        verdict = "not good, see the warnings" if self.problems() else "good"
        fitting = _share(self.num_objects - self.num_below, self.num_objects)
        return (
            f"Anchors {_listed(self.scales)} at {width}x{height}: {verdict}. These boxes, from "
            f"which detection starts, fit {fitting} by an IoU of {MIN_OVERLAP} or more; median "
            f"{self.median_overlap:.2f}"
        )

    def problems(self) -> list[Problem]:
        """Return what to change: kinds anchor_scales and below_stride, both warnings."""
        found = []
        limit = _TOO_MANY if self.proposed_scales is None else _MANY
        if self.num_below > limit * self.num_objects and not self.are_fixed:
            message = (
                f"{_share(self.num_below, self.num_objects)} have an IoU of {MIN_OVERLAP} with no "
                "anchor"
            )
            if self.proposed_scales is not None and self.num_below_proposed is not None:
                message += (
                    f"; RPN_ANCHOR_SCALES = {tuple(self.proposed_scales)} would leave "
                    f"{_share(self.num_below_proposed, self.num_objects)}"
                )
            found.append(Problem("warning", "anchor_scales", message))
        if self.num_below_stride > _MANY * self.num_objects:
            height, width = self.image_shape
            message = (
                f"{_share(self.num_below_stride, self.num_objects)} are less than "
                f"{self.min_stride} pixels, the finest stride, wide or high at {width}x{height}: "
                "use larger images, or tiles"
            )
            found.append(Problem("warning", "below_stride", message))
        return found


def measure_anchors(
    config: Config, boxes: np.ndarray, sizes: np.ndarray, are_fixed: bool = False
) -> AnchorFit | None:
    """Compare the anchors of a configuration with the objects of a dataset.

    Args:
        config: settings of anchors, strides and image size.
        boxes: [N, (y1, x1, y2, x2)] of the objects, in pixels of their images.
        sizes: [N, (height, width)] of their images in pixels.
        are_fixed: whether the anchors belong to the weights, as where the RPN repeats a detector:
            no other scales are proposed then.

    Returns:
        The comparison; None without objects.
    """
    if not len(boxes):
        return None
    groups = list(_resized(config, np.asarray(boxes, np.float64), np.asarray(sizes)))
    overlaps = _overlaps(config, groups)
    num_below = int((overlaps < MIN_OVERLAP).sum())
    stride = int(min(config.BACKBONE_STRIDES))
    sides = np.concatenate([inner[:, 2:] - inner[:, :2] for inner, _ in groups])
    fit = AnchorFit(
        num_objects=len(boxes),
        image_shape=list(groups[0][1]),
        scales=[float(scale) for scale in config.RPN_ANCHOR_SCALES],
        median_overlap=round(float(np.median(overlaps)), 4),
        num_below=num_below,
        num_below_stride=int((sides.min(axis=1) < stride).sum()),
        min_stride=stride,
        are_fixed=are_fixed,
    )
    if are_fixed:
        return fit
    scales, below = _best_scales(config, groups)
    # A change costs the anchors that the weights were trained with.
    if below * 2 <= num_below and num_below > _MANY * len(boxes):
        fit.proposed_scales, fit.num_below_proposed = scales, below
    return fit


def _resized(
    config: Config, boxes: np.ndarray, sizes: np.ndarray
) -> Iterable[tuple[np.ndarray, tuple[int, int]]]:
    """Yield boxes in pixels of the network's input with its (height, width), by input size."""
    placed: dict[tuple[int, int], list[np.ndarray]] = {}
    unique, members = np.unique(sizes, axis=0, return_inverse=True)
    for number, (height, width) in enumerate(unique.tolist()):
        (y1, x1, y2, x2), shape = resized_window(
            height,
            width,
            config.IMAGE_MIN_DIM,
            config.IMAGE_MAX_DIM,
            config.IMAGE_MIN_SCALE,
            config.IMAGE_RESIZE_MODE,
        )
        factors = np.tile([(y2 - y1) / height, (x2 - x1) / width], 2)
        inner = boxes[members.ravel() == number] * factors + (y1, x1, y1, x1)
        placed.setdefault(shape, []).append(inner)
    for shape, parts in placed.items():
        yield np.concatenate(parts), shape


def _overlaps(config: Config, groups: Sequence[tuple[np.ndarray, tuple[int, int]]]) -> np.ndarray:
    return np.concatenate([best_anchor_overlaps(config, boxes, shape) for boxes, shape in groups])


def _best_scales(
    config: Config, groups: Sequence[tuple[np.ndarray, tuple[int, int]]]
) -> tuple[list[int], int]:
    """Return the doubling scales with the fewest objects below `MIN_OVERLAP`, and their number."""
    tried = copy.copy(config)
    found = []
    for base in _BASES:
        scales = [base * 2**level for level in range(len(config.RPN_ANCHOR_SCALES))]
        tried.RPN_ANCHOR_SCALES = tuple(scales)
        found.append((int((_overlaps(tried, groups) < MIN_OVERLAP).sum()), scales))
    below, scales = min(found)
    return scales, below


def _share(number: int, total: int) -> str:
    """Return "3 of 60 objects (5.0%)"."""
    share = number / total
    percent = f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"
    return f"{number} of {counted(total, 'object')} ({percent})"


def _listed(scales: Sequence[float]) -> str:
    return ", ".join(f"{scale:g}" for scale in scales)
