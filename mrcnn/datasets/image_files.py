"""Image files: read one, read its size from the header, and find them in folders.

Files are recognized by their content, never by their suffix, and only the formats of
`image_headers.FORMATS` are decoded. The size in the header is compared with a limit before
anything is decoded; see `pixel_limit`.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import stat
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mrcnn.datasets import image_headers
from mrcnn.datasets.image_headers import ImageHeader, NotAnImageError
from mrcnn.files.names import printable

logger = logging.getLogger("mrcnn.datasets")

IMAGE_EXTENSIONS = frozenset(
    """.jpg .jpeg .jpe .jfif .png .bmp .dib .tif .tiff .webp .gif .jp2 .j2k .ppm .pgm .pbm .pnm
    .avif""".split()
)
# The limit of decoded pixels without an argument or MRCNN_MAX_PIXELS: 14000 x 14000, which
# takes 0.6 GB as RGB.
MAX_PIXELS = 200_000_000
# No encoding of the pixels that the limit admits takes more bytes than this for each of them.
_MAX_BYTES_A_PIXEL = 16
_MIN_FILE_LIMIT = 1 << 26
# Sides beyond this one are left to Pillow: OpenCV refuses them.
_MAX_OPENCV_SIDE = 1 << 20
# Images of this size are converted in parts.
_LARGE_BYTES = 1 << 26
# More channels than this are taken for the pages of a stack.
_MAX_CHANNELS = 64
_URL = re.compile(r"https?://", re.IGNORECASE)
# EXIF orientation -> (transpose first, then flip rows, then flip columns).
_UPRIGHT = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
# Formats that OpenCV decodes, and tests for files that it decodes without remarks on stderr.
_SOUND = {
    "JPEG": image_headers.jpeg_has_end,
    "PNG": image_headers.png_is_sound,
    "WEBP": image_headers.webp_is_plain,
}
_warned_of_depth = False
_fetched: dict[str, Path] = {}
_fetch_lock = threading.Lock()


def pixel_limit(max_pixels: int | None = None) -> int:
    """Return the largest number of pixels (height x width) that is decoded.

    Args:
        max_pixels: the limit; None takes the environment variable MRCNN_MAX_PIXELS, and
            `MAX_PIXELS` where that is not set.

    Raises:
        ValueError: the limit is not a positive whole number.
    """
    name, value = "max_pixels", max_pixels
    if value is None:
        text = os.environ.get("MRCNN_MAX_PIXELS", "").strip()
        if not text:
            return MAX_PIXELS
        name, value = "MRCNN_MAX_PIXELS", int(text) if text.isdecimal() else 0
        if not value:
            raise ValueError(f"{name} is {printable(text)!r}; it must be a positive whole number")
    if value < 1:
        raise ValueError(f"{name} is {value}; it must be a positive whole number")
    return value


def read_image(
    path: str | os.PathLike, exif_orientation: bool = False, *, max_pixels: int | None = None
) -> np.ndarray:
    """Decode an image file.

    Of files with several images the first one is read: the first frame of an animation, and
    with a warning the first page of a TIFF file. (`skimage.io.imread` returns a stack of
    pages, which no network takes for one image.)

    Args:
        path: a file of one of `image_headers.FORMATS`, or its http or https address. Scientific
            formats (NIfTI, NRRD, MetaImage, DICOM, FITS) are read where imageio can read them.
        exif_orientation: rotate the image by its EXIF orientation; otherwise return the
            pixels as stored.
        max_pixels: the limit of height x width; see `pixel_limit`.

    Returns:
        [height, width, 3] uint8, RGB. Gray is repeated, alpha dropped. 16-bit values are
        brought to 8 bits by the depth that the file states; where it states none, they are
        taken for 12-bit values if all are below 4096, and for 16-bit values otherwise. TIFF
        files with 5 or more channels keep all of them: [height, width, channels].

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the file may not be read or fetched.
        ValueError: it is not a regular file, not an image, damaged, or too large.
    """
    from mrcnn.geometry.images import as_rgb

    path = _local_path(path)
    with _opened(path) as stream:
        scientific = _scientific_format(stream, path)
        if scientific is not None:
            return as_rgb(_read_with_imageio(path, scientific, pixel_limit(max_pixels)))
        header = _checked_header(stream, max_pixels)
        return _as_rgb_8(_content(stream, max_pixels), header, path, exif_orientation)


def decode_image(
    data: bytes, name: str, exif_orientation: bool = False, *, max_pixels: int | None = None
) -> np.ndarray:
    """Decode an image in memory, such as an upload, without writing it to a file.

    Args:
        data: the content of a file of one of `image_headers.FORMATS`.
        name: what to call it in messages.
        exif_orientation: as for `read_image`.
        max_pixels: see `pixel_limit`.

    Returns:
        As `read_image`.

    Raises:
        ValueError: it cannot be decoded, or has too many pixels.
    """
    with _named_errors(name):
        header = _checked_header(io.BytesIO(data), max_pixels)
        return _as_rgb_8(data, header, name, exif_orientation)


def stored_size(data: bytes, name: str) -> tuple[int, int]:
    """Return (height, width) of an image in memory as its header states them; nothing is decoded.

    Args:
        data: as for `decode_image`.
        name: as for `decode_image`.

    Raises:
        ValueError: it is not an image.
    """
    with _named_errors(name):
        header = image_headers.read_header(io.BytesIO(data))
    return header.height, header.width


def _as_rgb_8(
    data: bytes, header: ImageHeader, path: str | os.PathLike, exif_orientation: bool
) -> np.ndarray:
    """Return [height, width, 3] uint8 RGB; stacks of 5 or more channels keep them."""
    from mrcnn.geometry.images import as_rgb

    pixels = _sixteen_to_eight_bits(_decode(data, header, path), header)
    channels = 3 if pixels.ndim == 2 or pixels.shape[2] <= 4 else pixels.shape[2]
    pixels = as_rgb(pixels, channels)
    if exif_orientation:
        pixels = upright(pixels, image_headers.read_orientation(io.BytesIO(data), header))
    return pixels


def read_pixels(path: str | os.PathLike, *, max_pixels: int | None = None) -> np.ndarray:
    """Decode the stored pixels of an image file, without bringing them to 8 bits.

    Returns:
        [height, width] or [height, width, 3 or 4], RGB(A); uint8 or uint16, and what else
        TIFF files hold.

    Raises:
        FileNotFoundError, OSError, ValueError: as `read_image`.
    """
    path = _local_path(path)
    with _opened(path) as stream:
        header = _checked_header(stream, max_pixels)
        return _decode(_content(stream, max_pixels), header, path)


def decode_pixels(data: bytes, name: str, *, max_pixels: int | None = None) -> np.ndarray:
    """Decode an image in memory, such as a copy inside an annotation file.

    Args:
        data: the content of an image file.
        name: what to call it in messages.
        max_pixels: see `pixel_limit`.

    Returns:
        As `read_pixels`.

    Raises:
        ValueError: it cannot be decoded, or has too many pixels.
    """
    with _named_errors(name):
        return _decode(data, _checked_header(io.BytesIO(data), max_pixels), name)


def read_indices(path: str | os.PathLike, *, max_pixels: int | None = None) -> np.ndarray:
    """Decode the stored numbers of a label image, without applying its palette.

    Returns:
        [height, width] for gray, 16-bit and palette images, else [height, width, channels].

    Raises:
        FileNotFoundError, OSError, ValueError: as `read_image`.
    """
    path = _local_path(path)
    with _opened(path) as stream:
        header = _checked_header(stream, max_pixels)
        return _decode(_content(stream, max_pixels), header, path, as_indices=True)


def read_image_size(
    path: str | os.PathLike, exif_orientation: bool = False, *, max_pixels: int | None = None
) -> tuple[int, int]:
    """Return (height, width) of an image from its header; nothing is decoded.

    Raises:
        FileNotFoundError, OSError, ValueError: as `read_image`.
    """
    path = _local_path(path)
    with _opened(path) as stream:
        scientific = _scientific_format(stream, path)
        if scientific is not None:
            image = _read_with_imageio(path, scientific, pixel_limit(max_pixels))
            return image.shape[0], image.shape[1]
        header = _checked_header(stream, max_pixels)
        shape = _stack_shape(header)
        if shape is not None:
            return shape[0], shape[1]
        turned = exif_orientation and image_headers.read_orientation(stream, header) >= 5
    return (header.width, header.height) if turned else (header.height, header.width)


def inspect_image(
    path: str | os.PathLike, exif_orientation: bool = False, *, max_pixels: int | None = None
) -> tuple[tuple[int, int], str]:
    """Read an image file without decoding it where its completeness can be tested otherwise.

    JPEG, PNG and WebP files that are complete are not decoded; others are.

    Returns:
        size: (height, width) in pixels.
        digest: the same text for files of the same content.

    Raises:
        FileNotFoundError, OSError, ValueError: as `read_image`.
    """
    import hashlib

    path = _local_path(path)
    with _opened(path) as stream:
        if _scientific_format(stream, path) is None:
            header = _checked_header(stream, max_pixels)
            data = _content(stream, max_pixels)
            test = _SOUND.get(header.format)
            if test is None or not test(data):
                _decode(data, header, path)
        else:  # its size needs the pixels
            stream.seek(0)
            data = stream.read()
    size = read_image_size(path, exif_orientation, max_pixels=max_pixels)
    return size, hashlib.blake2b(data, digest_size=16).hexdigest()


def read_orientation(path: str | os.PathLike) -> int:
    """Return the EXIF orientation, 1 (as stored) to 8; 1 where there is none."""
    try:
        with _opened(_local_path(path)) as stream:
            return image_headers.read_orientation(stream, image_headers.read_header(stream))
    except (ValueError, OSError):
        return 1


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn and mirror an image from its EXIF orientation to upright."""
    if orientation not in _UPRIGHT:
        return image
    transpose, flip_rows, flip_columns = _UPRIGHT[orientation]
    if transpose:
        image = np.swapaxes(image, 0, 1)
    if flip_rows:
        image = image[::-1]
    if flip_columns:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the image files of a folder by name; hidden files are left out."""
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.is_file() and not e.name.startswith("."))
    return [Path(folder, n) for n in names if Path(n).suffix.lower() in IMAGE_EXTENSIONS]


def first_folder(root: Path, names: Iterable[str]) -> Path | None:
    """Return the first of the folders `names` that exists, ignoring case; "" is `root` itself."""
    folders = {p.name.lower(): p for p in root.iterdir() if p.is_dir()} if root.is_dir() else {}
    for name in names:
        if not name:
            return root
        if name.lower() in folders:
            return folders[name.lower()]
    return None


def _local_path(path: str | os.PathLike) -> str | os.PathLike:
    """Return the path itself, or of an address the file it is downloaded to, once in a process."""
    if not (isinstance(path, str) and _URL.match(path)):
        return path
    from mrcnn.files.fetch import fetch_to_cache

    with _fetch_lock:
        if path not in _fetched:
            _fetched[path] = fetch_to_cache(path, "images")
        return _fetched[path]


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open an image file; a ValueError inside the block comes out with the name of the file."""
    with _named_errors(printable(os.fsdecode(path))), _open_regular(path) as stream:
        yield stream


@contextlib.contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Let a ValueError or MemoryError in the block come out with the name of an image."""
    try:
        yield
    except (ValueError, MemoryError) as error:
        reason = "there is not enough memory" if isinstance(error, MemoryError) else error
        raise ValueError(f"{name} is not an image that can be decoded: {reason}") from error


def _open_regular(path: str | os.PathLike) -> BinaryIO:
    """Open a regular file; a FIFO or device is refused instead of waited for."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise NotAnImageError(f"it is {kind}; it must be a regular file")
    return os.fdopen(descriptor, "rb")


def _scientific_format(stream: BinaryIO, path: str | os.PathLike) -> tuple[str, str, str] | None:
    head = stream.read(512)
    if image_headers.find_image_format(head) is not None:
        return None
    return image_headers.find_scientific_format(head, os.fspath(path))


def _checked_header(stream: BinaryIO, max_pixels: int | None) -> ImageHeader:
    """Read the header of an image that has no more pixels than the limit."""
    header, limit = image_headers.read_header(stream), pixel_limit(max_pixels)
    if header.height * header.width > limit:
        raise NotAnImageError(
            f"it has {header.width} x {header.height} pixels; it must have at most {limit} "
            "(max_pixels or MRCNN_MAX_PIXELS)"
        )
    return header


def _content(stream: BinaryIO, max_pixels: int | None) -> bytes:
    """Read the whole file, which the limit of pixels bounds too."""
    size = os.fstat(stream.fileno()).st_size
    limit = max(pixel_limit(max_pixels) * _MAX_BYTES_A_PIXEL, _MIN_FILE_LIMIT)
    if size > limit:
        raise NotAnImageError(f"it has {size} bytes; it must have at most {limit}")
    stream.seek(0)
    return stream.read(limit)


def _decode(
    data: bytes, header: ImageHeader, path: str | os.PathLike, as_indices: bool = False
) -> np.ndarray:
    """Decode the first image of a file, without rotation."""
    if header.tiff is not None:
        return _decode_tiff(data, header, path, as_indices)
    if not as_indices and max(header.height, header.width) <= _MAX_OPENCV_SIDE:
        # OpenCV decodes about 1.6 times faster than Pillow to the same values. Damaged files
        # are left to Pillow, whose error names the cause; OpenCV writes it to stderr.
        test = _SOUND.get(header.format)
        image = _decode_with_opencv(data) if test is not None and test(data) else None
        if image is not None and image.shape[:2] == (header.height, header.width):
            return image
    try:
        return _decode_with_pillow(data, header, as_indices)
    except NotAnImageError:
        if header.format != "PNG":
            raise
        return _decode_with_pillow(image_headers.png_without_extras(data), header, as_indices)


def _decode_tiff(
    data: bytes, header: ImageHeader, path: str | os.PathLike, as_indices: bool
) -> np.ndarray:
    shape = _stack_shape(header)
    if shape is not None:
        return _decode_stack(data, shape)
    facts = header.tiff
    if facts is None:
        raise NotAnImageError("it is not a TIFF file")
    if facts.has_more_pages or b"images=" in facts.description:
        logger.warning("%s has several pages; the first one is read", printable(os.fspath(path)))
    data = image_headers.tiff_as_stored(data, facts)
    # Pillow would drop half of the bits of 16-bit color, and cannot read color as floats.
    if header.samples >= 3 and max(facts.bits) > 8:
        image = _decode_with_opencv(data)
        if image is not None and image.shape[:2] == (header.height, header.width):
            return image
    return _decode_with_pillow(data, header, as_indices)


def _decode_with_opencv(data: bytes) -> np.ndarray | None:
    """Return RGB(A) or gray; None where OpenCV cannot decode the file."""
    import cv2

    try:
        # From bytes: on Windows OpenCV cannot open every file name.
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if image is None or image.ndim == 2:
        return image
    code = cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB
    if image.nbytes < _LARGE_BYTES:
        return cv2.cvtColor(image, code)
    for start in range(0, len(image), 256):  # a copy would take as much memory again
        rows = image[start : start + 256]
        rows[...] = cv2.cvtColor(rows, code)
    return image


def _decode_with_pillow(data: bytes, header: ImageHeader, as_indices: bool = False) -> np.ndarray:
    try:
        with image_headers.open_with_pillow(io.BytesIO(data), header.format) as image:
            if image.size != (header.width, header.height):
                raise NotAnImageError(f"its parts differ in size: {image.size}")
            image.load()
            if image.mode.startswith("I;16"):
                return np.asarray(image).astype(np.uint16)
            if as_indices or image.mode in ("L", "LA", "RGB", "RGBA", "I", "F"):
                pixels = np.array(image)
                # Pillow holds 16-bit files of some formats as 32-bit numbers.
                fits = pixels.dtype == np.int32 and 0 <= pixels.min() and pixels.max() < 1 << 16
                return pixels.astype(np.uint16) if fits else pixels
            if image.mode in ("La", "RGBa"):  # colors multiplied by alpha
                return np.asarray(image.convert(image.mode.upper()))
            if image.mode == "P" and image.palette is not None:
                colors = np.zeros((256, 3), np.uint8)
                colors[: len(image.getpalette("RGB")) // 3] = np.reshape(
                    image.getpalette("RGB"), (-1, 3)
                )
                return colors[np.asarray(image)]
            return np.asarray(image.convert("L" if image.mode == "1" else "RGB"))
    # Pillow's decoders raise about any exception on damaged files.
    except Exception as error:
        raise NotAnImageError(f"this {header.format} file is damaged ({error})") from error


def _stack_shape(header: ImageHeader) -> tuple[int, int, int] | None:
    """[height, width, channels] of a TIFF file with more than 4 channels, else None.

    `skimage.io.imsave` and `tifffile` write such an array as one page for each row, and its
    shape into the description.
    """
    if header.tiff is None:
        return None
    if header.samples > 4:
        return header.height, header.width, header.samples
    if not (header.tiff.has_more_pages and header.tiff.description.startswith(b'{"shape"')):
        return None
    try:
        rows, columns, channels = json.loads(header.tiff.description.rstrip(b"\0"))["shape"]
    except (ValueError, TypeError):
        return None
    fits = (columns, channels) == (header.height, header.width)
    if not fits or channels > _MAX_CHANNELS or channels >= min(rows, columns):
        return None
    return rows, columns, channels


def _decode_stack(data: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    limit = pixel_limit()
    if shape[0] * shape[1] > limit or shape[2] > _MAX_CHANNELS:
        raise NotAnImageError(
            f"it has {shape[1]} x {shape[0]} pixels of {shape[2]} channels; it must have at most "
            f"{limit} and {_MAX_CHANNELS}"
        )
    try:
        import tifffile

        with tifffile.TiffFile(io.BytesIO(data)) as file:
            series = file.series[0]
            if sorted(series.shape) != sorted(shape):
                raise NotAnImageError(f"its pages have the shape {series.shape}")
            pixels = series.asarray()
    # tifffile raises about any exception on damaged files.
    except Exception as error:
        raise NotAnImageError(f"this TIFF file is damaged ({error})") from error
    return pixels if pixels.shape == shape else np.moveaxis(pixels, 0, -1)


def _read_with_imageio(
    path: str | os.PathLike, scientific: tuple[str, str, str], limit: int
) -> np.ndarray:
    """[height, width] or [height, width, 3] uint8 of a scientific image.

    Values outside 0..255 are scaled so that the lowest becomes 0 and the highest 255.
    """
    name, plugin, package = scientific
    try:
        import imageio.v3 as imageio

        pixels = np.squeeze(np.asarray(imageio.imread(os.fspath(path), plugin=plugin)))
    except ImportError as error:
        raise NotAnImageError(f"it is {name}, which is read through {package}: {error}") from error
    # imageio's plugins raise about any exception on damaged files.
    except Exception as error:
        raise NotAnImageError(f"this {name} file cannot be read ({error})") from error
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise NotAnImageError(
            f"this {name} file has the shape {pixels.shape}; it must be one image. Save its "
            "slices as images of their own"
        )
    if pixels.shape[0] * pixels.shape[1] > limit:
        raise NotAnImageError(f"it has {pixels.shape[1]} x {pixels.shape[0]} pixels")
    if pixels.dtype == np.uint8:
        return pixels
    pixels = np.nan_to_num(pixels.astype(np.float64))
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 255:
        pixels = (pixels - low) * (255 / (high - low) if high > low else 0)
    return np.rint(pixels).astype(np.uint8)


def _sixteen_to_eight_bits(pixels: np.ndarray, header: ImageHeader) -> np.ndarray:
    """Bring 16-bit values to 8 bits; see `read_image`."""
    global _warned_of_depth
    if pixels.dtype != np.uint16:
        return pixels
    highest = int(pixels.max())
    if header.tiff is not None and max(header.tiff.bits) < 16:
        depth = max(header.tiff.bits)
    elif highest < 1 << 8:
        depth = 8
    else:
        depth = 12 if highest < 1 << 12 else 16
        if depth == 12 and not _warned_of_depth:
            _warned_of_depth = True
            logger.warning(
                "16-bit images with no value above 4095 are taken for 12-bit data and scaled "
                "to 0..255"
            )
    table = np.rint(np.arange(highest + 1) * (255 / ((1 << depth) - 1)))
    return np.minimum(table, 255).astype(np.uint8)[pixels]
