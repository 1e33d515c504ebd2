"""Images on their way into the network: size, channels and mean."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.geometry.image_meta import compose_image_meta, parse_image_meta
from mrcnn.geometry.interpolation import resize_linear, resize_linear_uint8

if TYPE_CHECKING:
    from mrcnn.config import Config

__all__ = [
    "as_rgb",
    "compose_image_meta",
    "mold_image",
    "molded_floats",
    "parse_image_meta",
    "resize",
    "resize_image",
    "unmold_image",
]

Padding = list[tuple[int, int]]
Crop = tuple[int, int, int, int]

# Weights of red, green and blue in brightness (ITU-R BT.601).
_LUMINANCE = np.array([0.299, 0.587, 0.114])


def resize(
    image: np.ndarray,
    output_shape: Sequence[int],
    order: int = 1,
    mode: str = "constant",
    cval: float = 0,
    clip: bool = True,
    preserve_range: bool = False,
    anti_aliasing: bool = False,
    anti_aliasing_sigma: float | None = None,
) -> np.ndarray:
    """Resize as `skimage.transform.resize` does, with Matterport's defaults.

    Bilinear interpolation without smoothing and with zeros outside is computed here; any other
    choice is left to scikit-image.

    Args:
        image: [height, width] or [height, width, channels].
        output_shape: (height, width), or with the same number of channels.
        order: order of the spline: 0 nearest, 1 bilinear, ...
        mode: what lies outside the image.
        cval: value outside the image with mode "constant".
        clip: keep the result within the range of the image's values.
        preserve_range: keep the scale of values; otherwise integers are brought to 0..1.
        anti_aliasing: smooth before making the image smaller.
        anti_aliasing_sigma: standard deviation of that smoothing.

    Returns:
        Float image: float32 for float32, else float64.
    """
    image = np.asarray(image)
    shape = tuple(int(side) for side in output_shape)
    height, width = shape[:2]
    same_channels = shape[2:] == image.shape[2:] or len(shape) == 2
    plain = order == 1 and mode == "constant" and cval == 0 and not anti_aliasing
    if not (plain and image.ndim in (2, 3) and same_channels and image.size and min(shape) > 0):
        from skimage.transform import resize as skimage_resize

        return skimage_resize(
            image, shape, order=order, mode=mode, cval=cval, clip=clip,
            preserve_range=preserve_range, anti_aliasing=anti_aliasing,
            anti_aliasing_sigma=anti_aliasing_sigma,
        )  # fmt: skip
    if not preserve_range:
        image = _as_float(image)
    result = resize_linear(image, (height, width))
    if clip:
        np.clip(result, image.min(), image.max(), out=result)
    return result.astype(np.float32, copy=False) if image.dtype == np.float32 else result


def _as_float(image: np.ndarray) -> np.ndarray:
    """Scale unsigned integers and bool to 0..1; return floats as they are."""
    if image.dtype.kind == "u":
        return image / np.iinfo(image.dtype).max
    if image.dtype.kind in "bf":
        return image if image.dtype.kind == "f" else image.astype(np.float64)
    from skimage.util import img_as_float

    return img_as_float(image)


def resize_image(
    image: np.ndarray,
    min_dim: int | None = None,
    max_dim: int | None = None,
    min_scale: float | None = None,
    mode: str = "square",
    rng: random.Random | None = None,
) -> tuple[np.ndarray, tuple[int, int, int, int], float, Padding, Crop | None]:
    """Bring an image to the size the network takes, keeping its proportions.

    Args:
        image: [height, width, channels] (or [height, width]) of any dtype.
        min_dim: scale up so that the shorter side has this many pixels.
        max_dim: scale so that the longer side has at most this many; only in "square".
        min_scale: scale up at least by this factor, even where min_dim asks for less.
        mode: "none": return the image unchanged.
            "square": pad with zeros to [max_dim, max_dim].
            "pad64": pad with zeros to multiples of 64; needs a min_dim that is one.
            "crop": cut a part of [min_dim, min_dim] at a random place.
        rng: where "crop" draws from; Python's `random` when None.

    Returns:
        image: of the same dtype; integers are rounded down.
        window: (y1, x1, y2, x2), where the image lies within the padded one.
        scale: the factor; the int 1 where the image kept its size.
        padding: [(top, bottom), (left, right), (0, 0)].
        crop: (y, x, height, width) within the scaled image, or None.

    Raises:
        ValueError: an unknown mode, or a size that the mode needs is missing or wrong.
    """
    _check_resize(image, min_dim, max_dim, mode)
    height, width = image.shape[:2]
    unpadded: Padding = [(0, 0), (0, 0), (0, 0)]
    if mode == "none":
        return image, (0, 0, height, width), 1, unpadded, None
    scale, height, width = _scaled(height, width, min_dim, max_dim, min_scale, mode)
    if mode == "crop" and min_dim is not None:
        draw = rng or random
        top, left = draw.randint(0, height - min_dim), draw.randint(0, width - min_dim)
        crop = (top, left, min_dim, min_dim)
        part = np.empty((min_dim, min_dim, *image.shape[2:]), image.dtype)
        _resize_into(part, image, (height, width), crop)
        return part, (0, 0, min_dim, min_dim), scale, unpadded, crop
    padding = _padding(height, width, max_dim if mode == "square" else None)
    (top, bottom), (left, right) = padding[:2]
    padded = np.zeros((top + height + bottom, left + width + right, *image.shape[2:]), image.dtype)
    window = (top, left, top + height, left + width)
    _resize_into(padded[top : window[2], left : window[3]], image, (height, width))
    return padded, window, scale, padding, None


def resized_window(
    height: int,
    width: int,
    min_dim: int | None = None,
    max_dim: int | None = None,
    min_scale: float | None = None,
    mode: str = "square",
) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """Return where `resize_image` puts an image of a size; in mode "crop", before the cut.

    Args:
        height: height of the image in pixels.
        width: width of the image in pixels.
        min_dim: as for `resize_image`.
        max_dim: as for `resize_image`.
        min_scale: as for `resize_image`.
        mode: as for `resize_image`.

    Returns:
        window: (y1, x1, y2, x2), where the image lies within the resized one.
        shape: (height, width) of the resized image with its padding.
    """
    if mode == "none":
        return (0, 0, height, width), (height, width)
    _, height, width = _scaled(height, width, min_dim, max_dim, min_scale, mode)
    if mode == "crop":
        return (0, 0, height, width), (height, width)
    padding = _padding(height, width, max_dim if mode == "square" else None)
    (top, bottom), (left, right) = padding[:2]
    window = (top, left, top + height, left + width)
    return window, (top + height + bottom, left + width + right)


def _check_resize(image: np.ndarray, min_dim: Any, max_dim: Any, mode: str) -> None:
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(
            f"image has shape {image.shape}; it must be [height, width, channels], none of them 0"
        )
    if mode not in ("none", "square", "pad64", "crop"):
        raise ValueError(f"mode is {mode!r}; it must be 'none', 'square', 'pad64' or 'crop'")
    if mode == "square" and not max_dim:
        raise ValueError(f"max_dim is {max_dim!r}; it must be a number of pixels in mode 'square'")
    if mode == "pad64" and (not min_dim or min_dim % 64):
        raise ValueError(f"min_dim is {min_dim!r}; it must be a multiple of 64 in mode 'pad64'")
    if mode == "crop" and not min_dim:
        raise ValueError(f"min_dim is {min_dim!r}; it must be a number of pixels in mode 'crop'")


def _scaled(
    height: int,
    width: int,
    min_dim: int | None,
    max_dim: int | None,
    min_scale: float | None,
    mode: str,
) -> tuple[float, int, int]:
    """Return the factor by which to scale, and the height and width after it."""
    scale = _scale(height, width, min_dim, max_dim if mode == "square" else None, min_scale)
    if scale != 1:
        # A side of 5000 x 4 pixels would round to 0.
        height, width = max(1, round(height * scale)), max(1, round(width * scale))
    return scale, height, width


def _scale(
    height: int, width: int, min_dim: int | None, max_dim: int | None, min_scale: float | None
) -> float:
    """Return the factor by which to scale: never down, except to stay within max_dim."""
    scale: float = 1
    if min_dim:
        scale = max(1, min_dim / min(height, width))
    if min_scale and scale < min_scale:
        scale = min_scale
    if max_dim and round(max(height, width) * scale) > max_dim:
        scale = max_dim / max(height, width)
    return scale


def _padding(height: int, width: int, side: int | None) -> Padding:
    """Return the padding to a square, or to multiples of 64; an odd pixel goes below and right."""
    padding = []
    for size in (height, width):
        total = side - size if side else -size % 64
        padding.append((total // 2, total - total // 2))
    return [*padding, (0, 0)]


def _resize_into(
    target: np.ndarray, image: np.ndarray, shape: tuple[int, int], crop: Crop | None = None
) -> None:
    """Write the resized image, or the crop of it, to an array of the image's dtype."""
    y, x, height, width = crop or (0, 0, *shape)
    if shape == image.shape[:2]:
        target[...] = image[y : y + height, x : x + width]
    elif image.dtype == np.uint8:
        channels = (image if image.ndim == 3 else image[..., None], shape, crop)
        resize_linear_uint8(*channels, out=target if image.ndim == 3 else target[..., None])
    else:
        resized = resize(image, shape, preserve_range=True)[y : y + height, x : x + width]
        if image.dtype.kind in "ui":
            # Rounding can leave whole sums just below the whole number.
            resized = np.floor(resized + 1e-9)
        target[...] = resized.astype(image.dtype)


def mold_image(images: np.ndarray, config: Config, out: np.ndarray | None = None) -> np.ndarray:
    """Subtract the mean pixel.

    Args:
        images: [..., height, width, channels] RGB, values 0..255.
        config: `MEAN_PIXEL`.
        out: where to write, contiguous float32 of the same shape.

    Returns:
        `out`, or a new float32 array of the same shape.
    """
    images = np.asarray(images)
    if out is None:
        out = np.empty(images.shape, np.float32)
    # NumPy broadcasts one mean pixel along a row slowly, three numbers at a time.
    row = np.broadcast_to(np.asarray(config.MEAN_PIXEL, np.float32), images.shape[-2:]).ravel()
    flat = (*images.shape[:-2], len(row))
    np.subtract(images.reshape(flat), row, out=out.reshape(flat), dtype=np.float32)
    return out


def molded_floats(images: np.ndarray, config: Config) -> np.ndarray:
    """Subtract the mean pixel from images of 8 bits; others have lost it already.

    Args:
        images: [..., height, width, channels], uint8 as they are or the result of `mold_image`.
        config: `MEAN_PIXEL`.

    Returns:
        float32 array of the same shape; `images` itself where it is one.
    """
    if images.dtype == np.uint8:
        return mold_image(images, config)
    return images.astype(np.float32, copy=False)


def unmold_image(normalized_images: np.ndarray, config: Config) -> np.ndarray:
    """Add the mean pixel: undo `mold_image`.

    Args:
        normalized_images: [..., height, width, channels] with the mean pixel subtracted.
        config: `MEAN_PIXEL`.

    Returns:
        uint8 array of the same shape.
    """
    return (normalized_images + np.asarray(config.MEAN_PIXEL)).astype(np.uint8)


def as_rgb(image: np.ndarray, channels: int = 3) -> np.ndarray:
    """Convert an image of any common kind to 8 bits and the wanted number of channels.

    Args:
        image: [height, width] or [height, width, 1] gray, 2 channels gray and alpha,
            3 RGB, 4 RGB and alpha. uint8; other unsigned integers of full range; bool;
            floats of 0..1, or of 0..255 where any is above 1; signed integers of 0..255.
        channels: wanted number. 1 takes the brightness of a color image; a number other than 1
            and 3 must be what the image has.

    Returns:
        [height, width, channels] uint8. Alpha is left out, not blended. An image that is
        right already is returned itself.

    Raises:
        ValueError: the shape, the number of channels or the values do not fit.
    """
    image = np.asarray(image)
    if image.ndim not in (2, 3) or image.dtype.kind not in "buif":
        raise ValueError(
            f"image has shape {image.shape} and dtype {image.dtype}; it must be numbers of shape "
            "[height, width] or [height, width, channels]"
        )
    image = _as_uint8(image[..., None] if image.ndim == 2 else image)
    found = image.shape[2]
    if found == channels:
        return image
    if channels not in (1, 3) or found not in (1, 2, 3, 4):
        raise ValueError(
            f"image has {found} channels; it must have {channels}, or 1 to 4 where 1 or 3 are "
            "wanted"
        )
    if found in (1, 2):
        return np.repeat(image[..., :1], channels, axis=2)
    if channels == 3:
        return np.ascontiguousarray(image[..., :3])
    return np.rint(image[..., :3] @ _LUMINANCE).astype(np.uint8)[..., None]


def _as_uint8(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    if image.dtype == bool:
        return image.astype(np.uint8) * 255
    if image.dtype.kind == "u":
        # 257 takes 65535 to 255: the same white.
        return np.rint(image / (np.iinfo(image.dtype).max // 255)).astype(np.uint8)
    if image.size == 0:
        return image.astype(np.uint8)
    minimum, maximum = image.min(), image.max()
    if not (minimum >= 0 and maximum <= 255):  # also when any is nan
        raise ValueError(
            f"image has {image.dtype} values from {minimum} to {maximum}; they must lie within "
            "0..255, or 0..1 for floats"
        )
    if image.dtype.kind == "f" and maximum <= 1:
        image = image * 255
    return np.rint(image).astype(np.uint8)
