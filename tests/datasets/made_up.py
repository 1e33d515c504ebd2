"""Tiny images and masks for the reader tests."""

import json
from pathlib import Path

import cv2
import numpy as np


def write_picture(path, height=8, width=10, seed=0):
    """Write a color image of noise and return its RGB pixels (exact for PNG)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    write_pixels(path, pixels[..., ::-1])
    return pixels


def write_pixels(path, pixels):
    """Write an array as OpenCV understands it (BGR)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imencode(path.suffix, np.ascontiguousarray(pixels))[1].tofile(path)
    return path


def write_json(path, content):
    """Write a JSON file and its folders."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def box(height, width, y1, x1, y2, x2):
    """A [height, width] mask of one box, lower right corner exclusive."""
    mask = np.zeros((height, width), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def art(text):
    """A mask from a drawing: one line per row, '#' is set."""
    return np.array([[c == "#" for c in line.strip()] for line in text.strip().splitlines()])
