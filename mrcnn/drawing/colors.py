"""Colors of classes and instances: the same ones in every image and figure."""

from __future__ import annotations

import colorsys

import numpy as np

# RGB floats in 0..1.
Color = tuple[float, float, float]

# Saturated, mutually distinct, and visible on sky, skin, grass and asphalt.
_PALETTE = (
    "1f8fff ff7a1a 22c55e f43fb0 facc15 8b5cf6 14d3e0 ff3d4d a3e635 c084fc "
    "0fb89a ff9d8a 5b6cff d97706 7dd3fc e11d74 65a30d ffe08a b45bd6 2dd4a7"
).split()
_GOLDEN_RATIO = 0.61803398875


def fixed_colors(count: int) -> list[Color]:
    """Return the first `count` colors of a fixed palette.

    Unlike in `mrcnn.visualize.random_colors`, color k is the same in every call, for every `count`,
    so that a class has the same color in every image.

    Args:
        count: number of colors, at least 0. After the 20 chosen manually, hues follow the golden
            ratio, so that neighbors are far apart.

    Returns:
        RGB tuples of floats in 0..1, as matplotlib and `display_instances` accept them.

    Raises:
        ValueError: `count` is negative.
    """
    if count < 0:
        raise ValueError(f"count is {count}; it must be at least 0")
    colors: list[Color] = []
    for h in _PALETTE[:count]:
        colors.append((int(h[:2], 16) / 255, int(h[2:4], 16) / 255, int(h[4:], 16) / 255))
    for k in range(len(colors), count):
        hue = (k * _GOLDEN_RATIO) % 1.0
        saturation = (0.85, 0.6, 0.95)[k % 3]
        colors.append(colorsys.hsv_to_rgb(hue, saturation, (1.0, 0.85)[k % 2]))
    return colors


def instance_colors(class_ids: np.ndarray | None, color_by: str, count: int) -> list[Color]:
    """Return one color per instance, the same in every call.

    Args:
        class_ids: [count] int, or None where the classes are unknown.
        color_by: "class" or "instance": what gets a color of its own.
        count: number of instances.

    Returns:
        RGB tuples of floats in 0..1.

    Raises:
        ValueError: `color_by` is another word.
    """
    if color_by not in ("class", "instance"):
        raise ValueError(f"color_by is {color_by!r}; it must be 'class' or 'instance'")
    if color_by == "instance" or class_ids is None:
        return fixed_colors(count)
    # Class 0 is the background, so the first color belongs to class 1.
    palette = fixed_colors(max([1, *(int(k) for k in class_ids)]))
    return [palette[max(0, int(k) - 1)] for k in class_ids]
