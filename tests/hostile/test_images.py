"""Seeded mutations of small image files: an array or a documented error, and nothing else.

`MRCNN_MUTATIONS` is the number of files that are tried (default 1500).
"""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from mrcnn.datasets import image_files
from tests.counts import num_mutations

COUNT = num_mutations(1500)
# Small, so that a mutated size costs neither time nor memory in the suite.
LIMIT = 4_000_000
NOISE = np.random.default_rng(0).integers(0, 256, (24, 20, 4), dtype=np.uint8)


def encoded(image, image_format, **options):
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def samples():
    """Small files of each format and of several kinds."""
    rgb, rgba = Image.fromarray(NOISE[..., :3].copy()), Image.fromarray(NOISE)
    grey, palette = Image.fromarray(NOISE[..., 0].copy()), rgb.quantize(16)
    deep = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 200)
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        encoded(rgb, "JPEG", exif=exif),
        encoded(rgb, "JPEG", progressive=True),
        encoded(grey, "JPEG"),
        encoded(rgb.convert("CMYK"), "JPEG"),
        encoded(rgb, "PNG", exif=exif),
        encoded(palette, "PNG"),
        encoded(deep, "PNG"),
        encoded(rgba, "PNG"),
        encoded(rgb, "TIFF", tiffinfo={274: 6}),
        encoded(deep, "TIFF"),
        encoded(rgba, "TIFF", compression="tiff_lzw"),
        encoded(rgb, "TIFF", compression="jpeg"),
        encoded(grey, "TIFF", save_all=True, append_images=[grey]),
        encoded(rgb, "WEBP"),
        encoded(rgba, "WEBP", lossless=True),
        encoded(rgb, "BMP"),
        encoded(palette, "BMP"),
        encoded(palette, "GIF"),
        encoded(palette, "GIF", save_all=True, append_images=[grey.convert("P")]),
        encoded(rgb, "PPM"),
        encoded(grey, "PPM"),
        encoded(rgb, "JPEG2000"),
    ]


def mutate(data, rng):
    """One mutation: bytes or bits changed, cut, repeated, inserted, or a number in the header."""
    data = bytearray(data)
    kind = rng.integers(6)
    at = int(rng.integers(len(data)))
    if kind == 0:
        for position in rng.integers(len(data), size=int(rng.integers(1, 8))):
            data[position] = rng.integers(256)
    elif kind == 1:
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        del data[at:]
    elif kind == 3:
        data[at:at] = data[at : at + int(rng.integers(1, 40))]
    elif kind == 4:
        at = int(rng.integers(min(len(data), 64)))
        data[at] = rng.integers(256)
    else:
        at = int(rng.integers(min(len(data), 200)))
        number = int(rng.choice([0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
        form = str(rng.choice(["<I", ">I", "<H", ">H"]))
        data[at : at + 4] = struct.pack(form, number & (2 ** (8 * struct.calcsize(form)) - 1))
    return bytes(data)


READS = (
    lambda path: image_files.read_image(path, exif_orientation=True),
    image_files.read_image,
    image_files.read_pixels,
    image_files.read_indices,
)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_mutated_images(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MRCNN_MAX_PIXELS", str(LIMIT))
    files, decoded = samples(), 0
    for number in range(COUNT):
        rng = np.random.default_rng([7, number])
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(mutate(files[number % len(files)], rng))
        kind = int(rng.integers(len(READS)))
        read = READS[kind]
        try:
            image = read(path)
        except ValueError as error:
            assert str(error).startswith(f"{path} is not an image that can be decoded: ")
            assert "DecompressionBomb" not in str(error)
            assert "OpenCV" not in str(error)
            continue
        decoded += 1
        assert image.ndim in (2, 3)
        assert 0 < image.shape[0] * image.shape[1] <= LIMIT
        if kind < 2:
            assert image.ndim == 3
            assert image.dtype == np.uint8
        if kind == 1:
            assert image.shape[:2] == image_files.read_image_size(path)
        assert image_files.read_orientation(path) in range(1, 9)
        path.unlink()
    assert COUNT // 10 < decoded < COUNT
    written = capfd.readouterr()
    assert written.out == ""
    # The remarks of libjpeg, libpng and libtiff on damaged pixels cannot be turned off.
    assert "OpenCV" not in written.err


@pytest.mark.parametrize("length", [0, 1, 7, 8, 12, 40, 300])
@pytest.mark.parametrize(
    "signature",
    [
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"II*\0",
        b"MM\0*",
        b"II+\0",
        b"RIFF\0\0\0\0WEBP",
        b"BM",
        b"GIF89a",
        b"P6 ",
        b"\xff\x4f\xff\x51",
        b"\0\0\0\x20ftypavif",
        b"\x1f\x8b",
        b"SIMPLE  =",
        b"NRRD0004",
    ],
)
@pytest.mark.parametrize("filling", [b"\0", b"\xff", b"random"])
def test_signatures_alone(tmp_path, capfd, signature, length, filling):
    path = tmp_path / "a.nii.gz"
    noise = np.random.default_rng(length).bytes(length)
    path.write_bytes(signature + (noise if filling == b"random" else filling * length))
    for read in (*READS, image_files.read_image_size):
        with pytest.raises(ValueError, match="not an image that can be decoded"):
            read(path)
    assert capfd.readouterr() == ("", "")
