"""Images as Darknet's networks take them, and boxes back to the pixels of the image."""

from __future__ import annotations

import numpy as np

# Gray of the borders that make an image square.
BORDER = 0.5


def resize_aligned(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize by linear interpolation between the corner pixels' centers, as Darknet does.

    Args:
        image: [H, W, channels] float32.
        height: rows of the result.
        width: columns of the result.

    Returns:
        [height, width, channels] float32.
    """
    for axis, count in ((1, width), (0, height)):
        size = image.shape[axis]
        # In float32, like Darknet: a position just below a whole number changes the weights by 1.
        scale = np.float32(size - 1) / np.float32(max(count - 1, 1))
        positions = np.arange(count, dtype=np.float32) * scale
        positions[-1] = size - 1
        lower = np.minimum(positions.astype(int), size - 1)
        shape = [1, 1, 1]
        shape[axis] = count
        part = (positions - lower).reshape(shape).astype(np.float32)
        upper = np.minimum(lower + 1, size - 1)
        image = (1 - part) * image.take(lower, axis) + part * image.take(upper, axis)
    return image


def letterbox(image: np.ndarray, size: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Fit an image into a square and fill the borders with gray.

    Args:
        image: [H, W, 3] float32 in 0..1.
        size: side of the square in pixels.

    Returns:
        [size, size, 3] float32 with the image in its middle, and the (height, width) that it takes.
    """
    height, width = image.shape[:2]
    if size * height < size * width:
        new_height, new_width = max(size * height // width, 1), size
    else:
        new_height, new_width = size, max(size * width // height, 1)
    top, left = (size - new_height) // 2, (size - new_width) // 2
    square = np.full((size, size, image.shape[2]), BORDER, np.float32)
    resized = resize_aligned(image, new_height, new_width)
    square[top : top + new_height, left : left + new_width] = resized
    return square, (new_height, new_width)


def fit_image(
    image: np.ndarray, size: int, keep_shape: bool = True
) -> tuple[np.ndarray, tuple[int, int]]:
    """Make the network's input of an image.

    Args:
        image: [H, W, 3] uint8 RGB.
        size: side of the input in pixels.
        keep_shape: whether the image is fitted in with gray borders, as from YOLOv2 on; False
            stretches it to a square, as YOLOv1 did.

    Returns:
        [size, size, 3] float32 in 0..1, and the (height, width) that the image takes in its middle.
    """
    values = image.astype(np.float32) / 255
    if keep_shape:
        return letterbox(values, size)
    return resize_aligned(values, size, size), (size, size)


def to_image_boxes(
    boxes: np.ndarray, content: tuple[int, int], size: int, shape: tuple[int, int]
) -> np.ndarray:
    """Convert network boxes to pixels of the image.

    Args:
        boxes: [N, (x, y, w, h)] as shares of the network's input.
        content: (height, width) of the image in the middle of the input, in pixels.
        size: side of the input in pixels.
        shape: (height, width) of the image in pixels.

    Returns:
        [N, (y1, x1, y2, x2)] float32, not clipped to the image.
    """
    extent = np.array(content[::-1], np.float32) / size
    offset = (1 - extent) / 2
    pixels = np.array(shape[::-1], np.float32)
    centers = (boxes[:, :2] - offset) / extent * pixels
    half = boxes[:, 2:] / extent * pixels / 2
    return np.concatenate([(centers - half)[:, ::-1], (centers + half)[:, ::-1]], axis=1)
