"""Small generated datasets, for notebooks where the real photographs are not at hand.

`write_balloons` writes images of balloons with VIA annotations, `write_nuclei` images of nuclei
with a mask file each: the layouts that the samples `balloon` and `nucleus` read. Every image
follows from its seed.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH = 360, 480
COLORS = ((214, 40, 50), (28, 110, 200), (250, 190, 40), (60, 150, 70), (150, 70, 170))


def draw_balloons(seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Draw balloons before a sky.

    Args:
        seed: number of the image.

    Returns:
        image: [360, 480, 3] uint8, RGB.
        outlines: [points, (x, y)] int for each balloon; later ones lie before earlier ones.
    """
    rng = np.random.default_rng(seed)
    image = _sky(rng)
    outlines = []
    for _ in range(rng.integers(2, 5)):
        radius = rng.uniform(25, 75)
        axes = np.array([radius, radius * rng.uniform(1.1, 1.35)])
        x, y = rng.uniform(axes, np.array([WIDTH, HEIGHT * 0.85]) - axes)
        tilt = rng.uniform(-15, 15)
        ellipse = ((round(x), round(y)), tuple(np.rint(axes).astype(int).tolist()), round(tilt))
        outline = cv2.ellipse2Poly(*ellipse, 0, 360, 8)
        if any((fill(outline) * fill(one)).sum() > 0.2 * fill(one).sum() for one in outlines):
            continue  # it would hide another one
        _paint_balloon(image, outline, np.array(COLORS[rng.integers(len(COLORS))]), rng)
        outlines.append(outline)
    return image, outlines


def _sky(rng: np.random.Generator) -> np.ndarray:
    """Return a sky with clouds over a dark ground."""
    height = np.linspace(0, 1, HEIGHT)[:, None, None]
    sky = (1 - height) * (96, 150, 210) + height * (205, 222, 235)
    clouds = cv2.GaussianBlur(rng.normal(size=(HEIGHT, WIDTH)).astype(np.float32), (0, 0), 28)
    clouds = np.clip(clouds / clouds.std(), 0, 2)[..., None] * 22
    image = np.broadcast_to(sky, (HEIGHT, WIDTH, 3)) + clouds
    ground = HEIGHT * 0.9 + cv2.GaussianBlur(rng.normal(size=(1, WIDTH)) * 60, (0, 0), 20)[0]
    image[np.arange(HEIGHT)[:, None] > ground] = (58, 74, 48)
    return np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def _paint_balloon(
    image: np.ndarray, outline: np.ndarray, color: np.ndarray, rng: np.random.Generator
) -> None:
    """Paint a shaded balloon with a highlight and a string."""
    mask = fill(outline) > 0
    (x1, y1), (x2, y2) = outline.min(axis=0), outline.max(axis=0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    v, u = (y - (y1 + y2) / 2) / (y2 - y1), (x - (x1 + x2) / 2) / (x2 - x1)
    shade = np.clip(1.12 - 1.5 * ((u + 0.12) ** 2 + (v + 0.15) ** 2), 0.3, 1.1)
    light = np.exp(-((u + 0.2) ** 2 + (v + 0.22) ** 2) / 0.008) * 150
    lower = outline[outline[:, 1].argmax()]
    end = (int(lower[0] + rng.integers(-12, 13)), int(min(lower[1] + 90, HEIGHT - 1)))
    cv2.line(image, tuple(map(int, lower)), end, (90, 90, 90), 1, cv2.LINE_AA)
    painted = np.clip(shade[..., None] * color + light[..., None], 0, 255).astype(np.uint8)
    image[mask] = painted[mask]


def fill(outline: np.ndarray) -> np.ndarray:
    """Return the mask of an outline, [360, 480] uint8 of 0 and 1."""
    return cv2.fillPoly(np.zeros((HEIGHT, WIDTH), np.uint8), [outline.astype(np.int32)], 1)


def write_balloons(folder: str | Path, train: int = 6, val: int = 3) -> Path:
    """Write images of balloons: FOLDER/train and FOLDER/val, each with via_region_data.json.

    Returns:
        The folder.
    """
    for subset, seeds in (("train", range(train)), ("val", range(100, 100 + val))):
        place = Path(folder) / subset
        place.mkdir(parents=True, exist_ok=True)
        entries = {}
        for seed in seeds:
            name = f"{seed:03}.jpg"
            image, outlines = draw_balloons(seed)
            cv2.imwrite(str(place / name), image[..., ::-1])
            regions = [
                {
                    "shape_attributes": {
                        "name": "polygon",
                        "all_points_x": outline[:, 0].tolist(),
                        "all_points_y": outline[:, 1].tolist(),
                    },
                    "region_attributes": {},
                }
                for outline in outlines
            ]
            entries[name] = {"filename": name, "regions": regions, "file_attributes": {}}
        (place / "via_region_data.json").write_text(json.dumps(entries))
    return Path(folder)


def draw_nuclei(seed: int, side: int = 256) -> tuple[np.ndarray, list[np.ndarray]]:
    """Draw bright nuclei on a dark ground; some touch each other.

    Args:
        seed: number of the image.
        side: height and width of the image in pixels.

    Returns:
        image: [side, side, 3] uint8.
        masks: [side, side] bool for each nucleus; they do not overlap.
    """
    rng = np.random.default_rng(seed)
    image = rng.normal(14, 3, (side, side))
    taken = np.zeros((side, side), bool)
    masks = []
    for _ in range(rng.integers(15, 35)):
        axes = rng.integers(5, 14, 2)
        x, y = rng.integers(8, side - 8, 2)
        canvas = np.zeros((side, side), np.uint8)
        center, half = (int(x), int(y)), (int(axes[0]), int(axes[1]))
        cv2.ellipse(canvas, center, half, float(rng.integers(180)), 0, 360, 1, -1)
        mask = (canvas > 0) & ~taken
        if mask.sum() < 0.75 * canvas.sum():
            continue
        taken |= mask
        masks.append(mask)
        texture = cv2.GaussianBlur(rng.normal(0, 25, (side, side)), (0, 0), 2)
        image[mask] += (rng.uniform(60, 150) + texture * 2)[mask]
    image = cv2.GaussianBlur(image, (0, 0), 0.8)
    gray = np.clip(image, 0, 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2), masks


def write_nuclei(folder: str | Path, count: int = 4) -> Path:
    """Write images of nuclei: FOLDER/stage1_train/ID/images and masks.

    Returns:
        The folder.
    """
    for seed in range(count):
        name = f"nuclei{seed:02}"
        place = Path(folder) / "stage1_train" / name
        for part in ("images", "masks"):
            (place / part).mkdir(parents=True, exist_ok=True)
        image, masks = draw_nuclei(seed)
        cv2.imwrite(str(place / "images" / f"{name}.png"), image[..., ::-1])
        for number, mask in enumerate(masks):
            cv2.imwrite(str(place / "masks" / f"{number:03}.png"), mask.astype(np.uint8) * 255)
    return Path(folder)
