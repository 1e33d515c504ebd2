"""Formats of image files, recognized by content, and their sizes, read before any decoding.

Suffixes are not trusted: a PostScript program under the name `photo.jpg` is not an image here.
"""

from __future__ import annotations

import importlib
import io
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

# The formats that are decoded, recognized by the first bytes. Every other content is "not an
# image": above all EPS and WMF, for which Pillow would start another program.
_SIGNATURES: dict[str, re.Pattern[bytes]] = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]"),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "BMP": re.compile(rb"BM"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "PPM": re.compile(rb"P[1-6]\s"),
    "JPEG2000": re.compile(rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n"),
    "AVIF": re.compile(rb"....ftypavi[fs]", re.DOTALL),
}
FORMATS = tuple(_SIGNATURES)
# Scientific formats that imageio reads, where the package named last is installed. The name of
# imageio's plugin is given, since its automatic choice would also try PostScript.
_SCIENTIFIC: dict[str, tuple[re.Pattern[bytes], str, str]] = {
    "NIfTI": (re.compile(rb".{344}n[+i]1\0", re.DOTALL), "ITK", "SimpleITK"),
    "NRRD": (re.compile(rb"NRRD000\d"), "ITK", "SimpleITK"),
    "MetaImage": (re.compile(rb"(ObjectType|NDims)\s*="), "ITK", "SimpleITK"),
    "DICOM": (re.compile(rb".{128}DICM", re.DOTALL), "DICOM", "imageio"),
    "FITS": (re.compile(rb"SIMPLE  ="), "FITS", "astropy"),
}
_GZIP = b"\x1f\x8b"
_HEAD_BYTES = 512

_PILLOW_CLASSES = {
    "JPEG": "PIL.JpegImagePlugin:JpegImageFile",
    "PNG": "PIL.PngImagePlugin:PngImageFile",
    "TIFF": "PIL.TiffImagePlugin:TiffImageFile",
    "WEBP": "PIL.WebPImagePlugin:WebPImageFile",
    "BMP": "PIL.BmpImagePlugin:BmpImageFile",
    "GIF": "PIL.GifImagePlugin:GifImageFile",
    "PPM": "PIL.PpmImagePlugin:PpmImageFile",
    "JPEG2000": "PIL.Jpeg2KImagePlugin:Jpeg2KImageFile",
    "AVIF": "PIL.AvifImagePlugin:AvifImageFile",
}

# TIFF tags, and the types whose values are whole numbers: type -> struct code.
_WIDTH, _HEIGHT, _BITS, _DESCRIPTION = 256, 257, 258, 270
_ORIENTATION, _SAMPLES, _SAMPLE_FORMAT = 274, 277, 339
_TIFF_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8,
               13: 4, 16: 8, 17: 8, 18: 8}  # fmt: skip
_MAX_VALUES = 4096
_MAX_PNG_SIDE = 2**31 - 1
_MAX_EXIF_BYTES = 1 << 20


@dataclass(frozen=True)
class ImageHeader:
    """The facts about an image that its header contains.

    Attributes:
        format: one of `FORMATS`.
        height: rows as stored, in pixels.
        width: columns as stored, in pixels.
        samples: values of a pixel; 0 where it was not looked up.
        tiff: facts about a TIFF file.
    """

    format: str
    height: int
    width: int
    samples: int = 0
    tiff: TiffFacts | None = None


@dataclass(frozen=True)
class TiffFacts:
    """The entries of the first directory of a TIFF file.

    Attributes:
        orientation: 1 (as stored) to 8.
        orientation_at: position of that value in the file; None without the tag.
        byte_order: "<" or ">".
        bits: bits of each sample.
        kind: SampleFormat: 1 unsigned, 2 signed, 3 float.
        has_more_pages: whether other images follow.
        description: the ImageDescription, empty without it.
    """

    orientation: int = 1
    orientation_at: int | None = None
    byte_order: str = "<"
    bits: tuple[int, ...] = (1,)
    kind: int = 1
    has_more_pages: bool = False
    description: bytes = b""


class NotAnImageError(ValueError):
    """The content is no image of a known format, or its header is damaged."""


def find_image_format(head: bytes) -> str | None:
    """Return the format of an image, one of `FORMATS`, from its first bytes; None if unknown."""
    return next((name for name, form in _SIGNATURES.items() if form.match(head)), None)


def find_scientific_format(head: bytes, name: str = "") -> tuple[str, str, str] | None:
    """Return (format, imageio's plugin, package that it needs) of a scientific image, or None.

    Args:
        head: the first bytes, 348 or more where there are as many.
        name: file name, by which compressed NIfTI files are recognized.
    """
    if head.startswith(_GZIP) and name.lower().endswith(".nii.gz"):
        return ("NIfTI", *_SCIENTIFIC["NIfTI"][1:])
    for name_of_format, (form, plugin, package) in _SCIENTIFIC.items():
        if form.match(head):
            return name_of_format, plugin, package
    return None


def read_header(stream: BinaryIO) -> ImageHeader:
    """Read format and size of an image; nothing is decoded.

    Args:
        stream: the file, open for reading; it is read from its start.

    Raises:
        NotAnImageError: it is no image of `FORMATS`, or its header is damaged.
    """
    stream.seek(0)
    found = find_image_format(stream.read(_HEAD_BYTES))
    if found is None:
        raise NotAnImageError(f"its content is none of {', '.join(FORMATS)}")
    stream.seek(0)
    try:
        header = _HEADER_READERS.get(found, _header_of_pillow)(stream, found)
    except NotAnImageError:
        raise
    # The parsers of Pillow raise about any exception on damaged headers.
    except Exception as error:
        raise NotAnImageError(f"the header of this {found} file is damaged ({error})") from error
    if header.height < 1 or header.width < 1:
        raise NotAnImageError(f"its size is {header.width} x {header.height}")
    return header


def open_with_pillow(stream: BinaryIO, image_format: str) -> Any:
    """Open a stream with Pillow's reader of one format, without its own limit of pixels."""
    module, _, name = _PILLOW_CLASSES[image_format].partition(":")
    return getattr(importlib.import_module(module), name)(stream)


def read_orientation(stream: BinaryIO, header: ImageHeader) -> int:
    """Read the EXIF orientation, 1 (as stored) to 8; 1 where there is none or it is damaged."""
    if header.tiff is not None:
        return header.tiff.orientation
    stream.seek(0)
    try:
        if header.format == "PNG":
            from PIL import Image

            exif = Image.Exif()
            exif.load(_png_start(stream)[1])
        else:
            exif = open_with_pillow(stream, header.format).getexif()
        orientation = exif.get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF data: Pillow raises many types
        return 1
    return orientation if orientation in range(1, 9) else 1


def png_is_sound(data: bytes) -> bool:
    """Return whether the chunks of a PNG file are complete and have the right checksums."""
    ended, view = False, memoryview(data)
    for name, start, stop in _png_chunks(data):
        checksum = data[stop - 4 : stop]
        if len(checksum) < 4 or zlib.crc32(view[start + 4 : stop - 4]) != int.from_bytes(
            checksum, "big"
        ):
            return False
        ended = name == b"IEND" and stop - start == 12
    return ended


def png_without_extras(data: bytes) -> bytes:
    """Return a PNG file with the chunks alone that are needed to decode it.

    Pillow refuses files with long text, and files with damage in a chunk that is not needed.
    """
    kept = [
        data[start:stop]
        for name, start, stop in _png_chunks(data)
        if name[:1].isupper() or name == b"tRNS"
    ]
    return b"".join([data[:8], *kept])


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of each chunk; the end of the last one may be cut off."""
    position, name = 8, b""
    while position + 8 <= len(data) and name != b"IEND":
        name = data[position + 4 : position + 8]
        stop = position + 12 + int.from_bytes(data[position : position + 4], "big")
        yield name, position, min(stop, len(data))
        position = stop


def jpeg_has_end(data: bytes) -> bool:
    """Return whether the end marker follows the start of a JPEG file's pixels."""
    position = _jpeg_segments(io.BytesIO(data))[1]
    return position is not None and data.find(b"\xff\xd9", position) >= 0


def webp_is_plain(data: bytes) -> bool:
    """Return whether a WebP file is complete and no animation."""
    complete = len(data) >= 8 + int.from_bytes(data[4:8], "little")
    return complete and not (data[12:16] == b"VP8X" and data[20] & 2)


def tiff_as_stored(data: bytes, facts: TiffFacts) -> bytes:
    """Return a TIFF file whose orientation is 1.

    Pillow and OpenCV turn the pixels of TIFF files by themselves, which of them when depends on
    their versions.
    """
    at = facts.orientation_at
    if at is None or facts.orientation == 1:
        return data
    return data[:at] + struct.pack(facts.byte_order + "H", 1) + data[at + 2 :]


def _header_of_jpeg(stream: BinaryIO, image_format: str) -> ImageHeader:
    frame, _ = _jpeg_segments(stream)
    if frame is None or len(frame) < 6:
        raise NotAnImageError("this JPEG file has no frame header")
    height, width, samples = struct.unpack_from(">HHB", frame, 1)
    return ImageHeader(image_format, height, width, samples)


def _jpeg_segments(stream: BinaryIO) -> tuple[bytes | None, int | None]:
    """Return the first frame header of a JPEG file, and where its pixels begin."""
    stream.seek(2)
    frame = None
    while byte := stream.read(1):
        if byte != b"\xff":
            continue
        while (marker := stream.read(1)) == b"\xff":
            pass
        if not marker or marker == b"\xd9":
            break
        code = marker[0]
        if code in (0x00, 0x01) or 0xD0 <= code <= 0xD8:  # markers without content
            continue
        length = int.from_bytes(stream.read(2), "big")
        if length < 2:
            break
        if code == 0xDA:
            return frame, stream.tell() + length - 2
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC) and frame is None:
            frame = stream.read(length - 2)
        else:
            stream.seek(length - 2, 1)
    return frame, None


def _header_of_png(stream: BinaryIO, image_format: str) -> ImageHeader:
    header, _ = _png_start(stream)
    if len(header) < 13:
        raise NotAnImageError("this PNG file does not begin with an IHDR chunk")
    width, height, _, color = struct.unpack_from(">IIBB", header)
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(color, 0)
    if not samples or max(width, height) > _MAX_PNG_SIDE:
        raise NotAnImageError(f"the IHDR chunk says {width} x {height} of color type {color}")
    return ImageHeader(image_format, height, width, samples)


def _png_start(stream: BinaryIO) -> tuple[bytes, bytes]:
    """Return the content of a PNG file's IHDR chunk, and of the eXIf chunk ahead of its pixels."""
    stream.seek(8)
    header = exif = b""
    while len(head := stream.read(8)) == 8:
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        if (name == b"IHDR") == bool(header) or name in (b"IDAT", b"IEND"):
            break
        if name in (b"IHDR", b"eXIf") and length <= _MAX_EXIF_BYTES:
            content = stream.read(length)
            stream.seek(4, io.SEEK_CUR)
            header, exif = (content, exif) if name == b"IHDR" else (header, content)
        else:
            stream.seek(length + 4, io.SEEK_CUR)
    return header, exif


def _header_of_tiff(stream: BinaryIO, image_format: str) -> ImageHeader:
    head = stream.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    entry_size, count_code, offset_code = (20, "Q", "Q") if big else (12, "H", "I")
    (at,) = struct.unpack_from(order + offset_code, head, 8 if big else 4)
    stream.seek(at)
    (count,) = struct.unpack(order + count_code, stream.read(struct.calcsize(count_code)))
    start = stream.tell()
    entries = stream.read(min(count, _MAX_VALUES) * entry_size)
    following = stream.read(struct.calcsize(offset_code))
    values: dict[int, list[int] | bytes] = {}
    places: dict[int, int] = {}
    for position in range(0, len(entries) - entry_size + 1, entry_size):
        tag, kind, number = struct.unpack_from(order + "HH" + offset_code, entries, position)
        size = _TIFF_SIZES.get(kind, 0) * number
        value_at = position + struct.calcsize("<HH" + offset_code)
        places[tag] = start + value_at
        if not size or number > _MAX_VALUES or tag in values:
            continue
        if size > struct.calcsize(offset_code):
            (places[tag],) = struct.unpack_from(order + offset_code, entries, value_at)
            stream.seek(places[tag])
            raw = stream.read(size)
        else:
            raw = entries[value_at : value_at + size]
        if kind in _TIFF_INTEGERS and len(raw) == size:
            values[tag] = list(struct.unpack(f"{order}{number}{_TIFF_INTEGERS[kind]}", raw))
        elif kind == 2:
            values[tag] = raw
    return _tiff_header(image_format, values, places, order, any(following))


def _tiff_header(
    image_format: str,
    values: dict[int, list[int] | bytes],
    places: dict[int, int],
    order: str,
    has_more_pages: bool,
) -> ImageHeader:
    def numbers(tag: int, default: int) -> list[int]:
        value = values.get(tag)
        return value if isinstance(value, list) and value else [default]

    orientation = numbers(_ORIENTATION, 1)[0]
    description = values.get(_DESCRIPTION, b"")
    bits = numbers(_BITS, 1)
    facts = TiffFacts(
        orientation=orientation if orientation in range(1, 9) else 1,
        orientation_at=places[_ORIENTATION] if orientation in range(2, 9) else None,
        byte_order=order,
        bits=tuple(bits),
        kind=numbers(_SAMPLE_FORMAT, 1)[0],
        has_more_pages=has_more_pages,
        description=description if isinstance(description, bytes) else b"",
    )
    samples = numbers(_SAMPLES, 1)[0]
    height, width = numbers(_HEIGHT, 0)[0], numbers(_WIDTH, 0)[0]
    return ImageHeader(image_format, height, width, samples, facts)


def _header_of_webp(stream: BinaryIO, image_format: str) -> ImageHeader:
    """Return the canvas of a WebP file: Pillow would allocate it when it opens the file."""
    head = stream.read(40)
    kind = head[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(head[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L" and len(head) >= 25:
        packed = int.from_bytes(head[21:25], "little")
        width, height = 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    elif kind == b"VP8 " and len(head) >= 30:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", head, 26))
    else:
        raise NotAnImageError("this WebP file has no image")
    return ImageHeader(image_format, height, width)


def _header_of_gif(stream: BinaryIO, image_format: str) -> ImageHeader:
    """Return the size of a GIF file's first frame and screen; Pillow has its own limit."""
    head = stream.read(13)
    width, height, flags = struct.unpack_from("<HHB", head, 6)
    if flags & 0x80:
        stream.seek(3 << (flags & 7) + 1, io.SEEK_CUR)
    while (block := stream.read(1)) == b"!":
        stream.seek(1, io.SEEK_CUR)
        while length := stream.read(1)[:1]:
            if length == b"\0":
                break
            stream.seek(length[0], io.SEEK_CUR)
    frame = stream.read(8)
    if block != b"," or len(frame) < 8:
        raise NotAnImageError("this GIF file has no frame")
    x, y, frame_width, frame_height = struct.unpack("<4H", frame)
    return ImageHeader(image_format, max(height, y + frame_height), max(width, x + frame_width))


def _header_of_pillow(stream: BinaryIO, image_format: str) -> ImageHeader:
    image = open_with_pillow(stream, image_format)
    width, height = image.size
    return ImageHeader(image_format, height, width)


_HEADER_READERS = {
    "JPEG": _header_of_jpeg,
    "PNG": _header_of_png,
    "TIFF": _header_of_tiff,
    "WEBP": _header_of_webp,
    "GIF": _header_of_gif,
}
