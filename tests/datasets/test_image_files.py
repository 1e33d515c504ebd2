"""Reading images of every kind."""

import io
import os
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from mrcnn.datasets import image_files
from tests.datasets.made_up import write_picture, write_pixels

RNG = np.random.default_rng(0)
RGBA = RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)
GREY = RGBA[..., 0]


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("rgb.png", Image.fromarray(RGBA[..., :3].copy()), RGBA[..., :3]),
        ("rgb.bmp", Image.fromarray(RGBA[..., :3].copy()), RGBA[..., :3]),
        ("rgb.tif", Image.fromarray(RGBA[..., :3].copy()), RGBA[..., :3]),
        ("rgba.png", Image.fromarray(RGBA), RGBA[..., :3]),
        ("grey.png", Image.fromarray(GREY), np.stack([GREY] * 3, -1)),
        ("grey_alpha.png", Image.fromarray(GREY).convert("LA"), np.stack([GREY] * 3, -1)),
        ("bits.png", Image.fromarray(GREY > 99), np.stack([(GREY > 99) * np.uint8(255)] * 3, -1)),
        ("deep.png", Image.fromarray(GREY.astype(np.uint16) * 257), np.stack([GREY] * 3, -1)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_read_image(tmp_path, name, image, expected):
    image.save(tmp_path / name)
    pixels = image_files.read_image(tmp_path / name)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)
    assert image_files.read_image_size(tmp_path / name) == (5, 7)


def test_sixteen_bit_colour(tmp_path):
    write_pixels(tmp_path / "deep.png", RGBA[..., 2::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(image_files.read_image(tmp_path / "deep.png"), RGBA[..., :3])


def test_palette_and_its_indices(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    image.putpalette([9, 9, 9, 255, 0, 0, 0, 0, 255])
    image.save(tmp_path / "palette.png")
    expected = [[[9, 9, 9], [255, 0, 0]], [[0, 0, 255], [255, 0, 0]]]
    np.testing.assert_array_equal(image_files.read_image(tmp_path / "palette.png"), expected)
    indices = image_files.read_indices(tmp_path / "palette.png")
    np.testing.assert_array_equal(indices, [[0, 1], [2, 1]])


def test_cmyk_jpeg_is_rgb(tmp_path):
    Image.new("CMYK", (6, 4), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=100)
    pixels = image_files.read_image(tmp_path / "red.jpg").astype(int)
    assert pixels.shape == (4, 6, 3)
    assert np.abs(pixels - [255, 0, 0]).max() < 8


def test_name_outside_ascii(tmp_path):
    pixels = write_picture(tmp_path / "bäum 树.png")
    np.testing.assert_array_equal(image_files.read_image(tmp_path / "bäum 树.png"), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_as_pillow_turns_it(tmp_path, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray(RGBA[..., :3].copy()).save(path, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert image_files.read_orientation(path) == orientation
    np.testing.assert_array_equal(image_files.read_image(path), RGBA[..., :3])
    assert image_files.read_image_size(path) == (5, 7)
    np.testing.assert_array_equal(image_files.read_image(path, exif_orientation=True), upright)
    assert image_files.read_image_size(path, exif_orientation=True) == upright.shape[:2]
    # The same from memory.
    data = path.read_bytes()
    np.testing.assert_array_equal(image_files.decode_image(data, "a", True), upright)
    np.testing.assert_array_equal(image_files.decode_image(data, "a"), RGBA[..., :3])
    assert image_files.stored_size(data, "a") == (5, 7)


def test_images_in_memory_that_cannot_be_decoded(tmp_path):
    write_picture(tmp_path / "a.png", 5, 7)
    data = (tmp_path / "a.png").read_bytes()
    with pytest.raises(ValueError, match=r"^a is not an image that can be decoded: it has 7 x 5 "):
        image_files.decode_image(data, "a", max_pixels=34)
    for read in (image_files.decode_image, image_files.stored_size):
        for damaged in (b"", b"text", data[:20]):
            with pytest.raises(ValueError, match=r"^a is not an image that can be decoded: "):
                read(damaged, "a")


@pytest.mark.parametrize(
    "read",
    [
        image_files.read_image,
        image_files.read_image_size,
        image_files.read_indices,
    ],
)
def test_broken_and_missing_files(tmp_path, read):
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(ValueError, match=r"text\.png is not an image"):
        read(tmp_path / "text.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match=r"empty\.png"):
        read(tmp_path / "empty.png")
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        read(tmp_path / "gone.png")


def test_list_images_and_first_folder(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "Masks").mkdir()
    assert [p.name for p in image_files.list_images(tmp_path)] == ["a.jpg", "b.PNG"]
    assert image_files.first_folder(tmp_path, ["images", "masks"]) == tmp_path / "Masks"
    assert image_files.first_folder(tmp_path, ["images", ""]) == tmp_path
    assert image_files.first_folder(tmp_path, ["images"]) is None


def encoded(image, image_format, **options):
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "PPM"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".dat"])
def test_formats_are_recognized_by_content(tmp_path, image_format, suffix):
    options = {"lossless": True} if image_format == "WEBP" else {}
    path = tmp_path / f"image{suffix}"
    path.write_bytes(encoded(Image.new("RGB", (7, 5), (255, 0, 0)), image_format, **options))
    pixels = image_files.read_image(path).astype(int)
    assert pixels.shape == (5, 7, 3)
    assert np.abs(pixels - [255, 0, 0]).max() <= 2
    assert image_files.read_image_size(path) == (5, 7)
    assert image_files.read_indices(path).shape[:2] == (5, 7)


POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 10 10
(PATH) (w) file (written) writestring
"""


@pytest.mark.parametrize(
    "content",
    [
        POSTSCRIPT,
        b"\xc5\xd0\xd3\xc6" + struct.pack("<6I", 32, len(POSTSCRIPT), 0, 0, 0, 0) + b"\0" * 4,
        b"\xd7\xcd\xc6\x9a" + b"\0" * 100,  # a placeable WMF
        b"%PDF-1.4",
        b"8BPS\0\1" + b"\0" * 50,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
    ids=["eps", "binary eps", "wmf", "pdf", "psd", "svg"],
)
@pytest.mark.parametrize("name", ["photo.jpg", "photo.eps", "photo.png"])
def test_other_formats_are_not_images(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content.replace(b"PATH", str(tmp_path / "written").encode()))
    for read in (image_files.read_image, image_files.read_pixels, image_files.read_indices):
        with pytest.raises(ValueError, match="not an image"):
            read(path)
    with pytest.raises(ValueError, match="not an image"):
        image_files.read_image_size(path)
    assert image_files.read_orientation(path) == 1
    assert not (tmp_path / "written").exists()


def png_header(width, height):
    content = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + content
        + struct.pack(">I", zlib.crc32(content))
    )  # fmt: skip


def with_size(data, old, new):
    assert data.count(old) == 1
    return data.replace(old, new)


def bombs():
    small = Image.new("RGB", (123, 117))
    jpeg = with_size(
        encoded(small, "JPEG"), struct.pack(">HH", 117, 123), struct.pack(">HH", 30000, 30000)
    )
    gif = bytearray(encoded(small.convert("P"), "GIF"))
    frame = gif.index(b"\x2c" + struct.pack("<4H", 0, 0, 123, 117))
    gif[frame + 5 : frame + 9] = struct.pack("<HH", 60000, 60000)
    webp = encoded(small, "WEBP", lossless=True)
    packed = struct.pack("<I", 16382 | 16382 << 14)
    tiff = bytearray(encoded(small, "TIFF"))
    for tag, value in ((256, 40000), (257, 40000)):
        at = tiff.index(struct.pack("<HHI", tag, 4, 1)) + 8
        tiff[at : at + 4] = struct.pack("<I", value)
    bmp = bytearray(encoded(small, "BMP"))
    bmp[18:26] = struct.pack("<ii", 40000, 40000)
    return {
        "jpeg": jpeg,
        "gif": bytes(gif),
        "webp": webp[:21] + packed + webp[25:],
        "tiff": bytes(tiff),
        "bmp": bytes(bmp),
        "png": png_header(30000, 30000),
        "ppm": b"P6 30000 30000 255\n",
    }


@pytest.mark.parametrize(("name", "data"), bombs().items())
def test_size_is_checked_before_decoding(tmp_path, monkeypatch, name, data):
    path = tmp_path / f"{name}.png"
    path.write_bytes(data)
    for function in ("_decode", "_decode_with_pillow", "_decode_with_opencv"):
        monkeypatch.setattr(image_files, function, None)
    for read in (
        image_files.read_image,
        image_files.read_pixels,
        image_files.read_indices,
        image_files.read_image_size,
    ):
        with pytest.raises(ValueError, match=r"x \d+ pixels; it must have at most 200000000"):
            read(path)


def test_limit_of_pixels(tmp_path, monkeypatch):
    write_picture(tmp_path / "a.png", 5, 7)
    with pytest.raises(ValueError, match="7 x 5 pixels; it must have at most 34 "):
        image_files.read_image(tmp_path / "a.png", max_pixels=34)
    assert image_files.read_image(tmp_path / "a.png", max_pixels=35).shape == (5, 7, 3)
    monkeypatch.setenv("MRCNN_MAX_PIXELS", "34")
    with pytest.raises(ValueError, match="at most 34 "):
        image_files.read_indices(tmp_path / "a.png")
    assert image_files.read_image_size(tmp_path / "a.png", max_pixels=35) == (5, 7)
    for wrong in ("many", "0", "-5", "1e9"):
        monkeypatch.setenv("MRCNN_MAX_PIXELS", wrong)
        with pytest.raises(ValueError, match=f"MRCNN_MAX_PIXELS is '{wrong}'; it must be"):
            image_files.pixel_limit()
    with pytest.raises(ValueError, match="max_pixels is 0; it must be"):
        image_files.pixel_limit(0)


def test_images_above_the_limit_of_pillow(tmp_path):
    # Pillow refuses 179 million pixels; here they are within the limit.
    path = tmp_path / "large.pbm"
    path.write_bytes(b"P4 14000 13000\n")
    assert image_files.read_image_size(path) == (13000, 14000)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_of_tiff(tmp_path, orientation, depth, channels, order):
    tifffile = pytest.importorskip("tifffile")
    pixels = RGBA[..., :channels] if channels > 1 else GREY
    stored = pixels.astype(f"{order}u2") * 257 if depth == 16 else pixels
    path = tmp_path / "turned.tif"
    options = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    tifffile.imwrite(
        path,
        stored,
        byteorder=order,
        photometric="rgb" if channels > 1 else "minisblack",
        extratags=[(274, "H", 1, orientation, True)],
        **options,
    )
    plain = RGBA[..., :3] if channels > 1 else np.stack([GREY] * 3, -1)
    assert image_files.read_orientation(path) == orientation
    np.testing.assert_array_equal(image_files.read_image(path), plain)
    assert image_files.read_image_size(path) == (5, 7)
    upright = image_files.upright(plain, orientation)
    np.testing.assert_array_equal(image_files.read_image(path, exif_orientation=True), upright)
    assert image_files.read_image_size(path, exif_orientation=True) == upright.shape[:2]
    if depth == 8:
        indices = image_files.read_indices(path)
        np.testing.assert_array_equal(indices, pixels)


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP", "PNG"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation_in_exif(tmp_path, image_format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.bin"
    path.write_bytes(encoded(Image.fromarray(RGBA[..., :3].copy()), image_format, exif=exif))
    stored = image_files.read_image(path)
    assert stored.shape == (5, 7, 3)
    np.testing.assert_array_equal(
        image_files.read_image(path, exif_orientation=True),
        image_files.upright(stored, orientation),
    )


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
@pytest.mark.parametrize("image_format", ["TIFF", "PNG", "WEBP"])
def test_color_below_alpha_stays(tmp_path, kind, image_format):
    pixels = np.full((4, 6, 4), (200, 100, 40, 100), np.uint8)
    path = tmp_path / "alpha.bin"
    if image_format == "TIFF":
        tifffile = pytest.importorskip("tifffile")
        if kind == "assocalpha":  # stored multiplied by alpha
            pixels[..., :3] = np.rint(pixels[..., :3] * (100 / 255))
        tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=[kind])
    else:
        options = {"lossless": True, "exact": True} if image_format == "WEBP" else {}
        path.write_bytes(encoded(Image.fromarray(pixels), image_format, **options))
    assert np.abs(image_files.read_image(path).astype(int) - [200, 100, 40]).max() <= 2
    assert (image_files.read_pixels(path)[..., 3] == 100).all()


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (1, 1), (2_000_000, 1)])
@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "BMP"])
def test_thin_images(tmp_path, size, image_format):
    path = tmp_path / "thin.bin"
    path.write_bytes(encoded(Image.new("L", size, 7), image_format))
    pixels = image_files.read_image(path)
    assert pixels.shape == (size[1], size[0], 3)
    assert (pixels == 7).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_png_with_long_text(tmp_path, mode):
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("long", "x" * 5_000_000, zip=True)
    text.add_text("plain", "y" * 100_000)
    image = Image.new(mode, (7, 5), 3 if mode != "RGB" else (3, 3, 3))
    image.save(tmp_path / "a.png", pnginfo=text)
    assert image_files.read_image_size(tmp_path / "a.png") == (5, 7)
    assert image_files.read_image(tmp_path / "a.png").shape == (5, 7, 3)
    # Pillow leaves out unused colors of the palette, which makes 3 another index.
    assert mode == "P" or (image_files.read_indices(tmp_path / "a.png") == 3).all()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "PPM"])
def test_truncated_files_are_errors(tmp_path, capfd, image_format):
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), image_format)
    for part in (0.3, 0.6, 0.9):
        path = tmp_path / "cut.jpg"
        path.write_bytes(data[: int(len(data) * part)])
        for read in (image_files.read_image, image_files.read_pixels, image_files.read_indices):
            with pytest.raises(ValueError, match=r"cut\.jpg is not an image that can be decoded"):
                read(path)
    assert capfd.readouterr() == ("", "")


def test_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    paths = [tmp_path / "pipe.jpg", tmp_path, "/dev/zero", "/dev/null"]
    reads = (
        image_files.read_image,
        image_files.read_pixels,
        image_files.read_indices,
        image_files.read_image_size,
    )
    for path in paths:
        for read in reads:
            with pytest.raises(ValueError, match="it must be a regular file"):
                read(path)
        assert image_files.read_orientation(path) == 1


@pytest.mark.parametrize(
    ("highest", "depth"), [(200, 8), (255, 8), (256, 12), (4095, 12), (4096, 16), (65535, 16)]
)
@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_depth_of_sixteen_bit_images(tmp_path, highest, depth, image_format):
    values = np.linspace(0, highest, 40).astype(np.uint16).reshape(5, 8)
    path = tmp_path / "deep.bin"
    path.write_bytes(encoded(Image.fromarray(values), image_format))
    expected = np.rint(values * (255 / (2**depth - 1))).astype(np.uint8)
    np.testing.assert_array_equal(image_files.read_image(path)[..., 0], expected)
    np.testing.assert_array_equal(image_files.read_pixels(path), values)  # as stored
    np.testing.assert_array_equal(image_files.read_indices(path), values)


@pytest.mark.parametrize("highest", [4095, 65535])
def test_sixteen_bit_pgm(tmp_path, highest):
    values = np.linspace(0, highest, 40).astype(np.uint16).reshape(5, 8)
    header = f"P5 8 5 {highest}\n".encode()
    (tmp_path / "deep.pgm").write_bytes(header + values.astype(">u2").tobytes())
    pixels = image_files.read_image(tmp_path / "deep.pgm")
    assert np.abs(pixels[..., 0] - values * (255 / highest)).max() <= 1


def test_pages_of_tiff(tmp_path, caplog):
    first, second = Image.fromarray(GREY), Image.fromarray(255 - GREY)
    first.save(tmp_path / "pages.tif", save_all=True, append_images=[second])
    pixels = image_files.read_image(tmp_path / "pages.tif")
    np.testing.assert_array_equal(pixels, np.stack([GREY] * 3, -1))
    assert "pages.tif has several pages; the first one is read" in caplog.text


@pytest.mark.parametrize("channels", [5, 8])
@pytest.mark.parametrize("how", ["rows", "contig", "separate"])
def test_tiff_with_many_channels(tmp_path, channels, how):
    tifffile = pytest.importorskip("tifffile")
    values = np.random.default_rng(0).integers(0, 256, (40, 30, channels), dtype=np.uint8)
    path = tmp_path / "channels.tif"
    if how == "rows":  # as skimage.io.imsave writes it
        tifffile.imwrite(path, values)
    else:
        stored = np.moveaxis(values, -1, 0) if how == "separate" else values
        tifffile.imwrite(path, stored, photometric="minisblack", planarconfig=how)
    np.testing.assert_array_equal(image_files.read_image(path), values)
    assert image_files.read_image_size(path) == (40, 30)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("1", 1, (255, 255, 255)),
        ("LA", (90, 5), (90, 90, 90)),
        ("P", 9, (9, 9, 9)),
        ("F", 12.0, (12, 12, 12)),
        ("I", 12, (12, 12, 12)),
    ],
)
def test_modes_of_tiff(tmp_path, mode, color, expected):
    path = tmp_path / "mode.tif"
    image = Image.new(mode, (7, 5), color)
    if mode == "P":
        image.putpalette(list(np.repeat(np.arange(256), 3)))
    path.write_bytes(encoded(image, "TIFF"))
    assert np.abs(image_files.read_image(path).astype(int) - expected).max() <= 1


def dicom(values, bits_stored=12):
    """A minimal DICOM file of one gray 16-bit image, explicit little-endian."""

    def element(group, number, kind, content):
        content += b" " * (len(content) % 2) if kind != b"OW" else b""
        long = kind in (b"OB", b"OW", b"UN")
        length = struct.pack("<HI", 0, len(content)) if long else struct.pack("<H", len(content))
        return struct.pack("<HH", group, number) + kind + length + content

    syntax = element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1\0")
    body = b"".join(
        element(0x28, number, b"US", struct.pack("<H", value))
        for number, value in (
            (2, 1), (0x10, values.shape[0]), (0x11, values.shape[1]), (0x100, 16),
            (0x101, bits_stored), (0x102, bits_stored - 1), (0x103, 0),
        )
    )  # fmt: skip
    body = element(8, 0x60, b"CS", b"MR") + element(0x20, 0x13, b"IS", b"1 ") + body
    return (
        b"\0" * 128 + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(syntax))) + syntax
        + body + element(0x7FE0, 0x10, b"OW", values.astype("<u2").tobytes())
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:The legacy `DICOM` plugin:DeprecationWarning")
def test_dicom_through_imageio(tmp_path):
    pytest.importorskip("imageio")
    values = np.linspace(0, 4095, 80).astype(np.uint16).reshape(8, 10)
    (tmp_path / "scan.dcm").write_bytes(dicom(values))
    pixels = image_files.read_image(tmp_path / "scan.dcm")
    assert pixels.shape == (8, 10, 3)
    np.testing.assert_array_equal(pixels[..., 0], np.rint(values * (255 / 4095)))
    assert image_files.read_image_size(tmp_path / "scan.dcm") == (8, 10)


def test_nifti_says_what_it_needs(tmp_path, monkeypatch):
    import sys

    for module in ("SimpleITK", "itk"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "scan.nii").write_bytes(
        struct.pack("<I", 348) + b"\0" * 340 + b"n+1\0" + b"\0" * 99
    )
    with pytest.raises(ValueError, match=r"scan\.nii is not an image .*NIfTI.*ITK"):
        image_files.read_image(tmp_path / "scan.nii")


def test_address(tmp_path, monkeypatch):
    import functools
    import http.server

    monkeypatch.setenv("MRCNN_HOME", str(tmp_path / "home"))
    site = tmp_path / "site"
    pixels = write_picture(site / "a.png")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=site)
    handler.func.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/a.png"
        np.testing.assert_array_equal(image_files.read_image(url), pixels)
        server.shutdown()
        thread.join()
    assert image_files.read_image_size(url) == (8, 10)  # from the copy


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_inspected_images_have_the_size_of_decoded_ones(tmp_path, image_format):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    options = {"exif": exif} if image_format in ("PNG", "JPEG", "WEBP", "TIFF") else {}
    noise = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    digests = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.{image_format.lower()}"
        Image.fromarray(noise).save(path, image_format, **options)
        for follow in (False, True):
            size, digest = image_files.inspect_image(path, follow)
            assert size == image_files.read_image(path, follow).shape[:2]
            digests.append(digest)
    assert len(set(digests)) == 1
    other = tmp_path / f"c.{image_format.lower()}"
    Image.fromarray(noise[::-1]).save(other, image_format, **options)
    assert image_files.inspect_image(other)[1] != digests[0]


def test_inspected_images_that_are_too_large_or_missing(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (30, 20)).save(path)
    with pytest.raises(ValueError, match="30 x 20 pixels"):
        image_files.inspect_image(path, max_pixels=599)
    with pytest.raises(FileNotFoundError):
        image_files.inspect_image(tmp_path / "gone.png")
    with pytest.raises(ValueError, match="a folder"):
        image_files.inspect_image(tmp_path)


def test_a_scientific_image_of_one_value(monkeypatch, tmp_path):
    imageio = pytest.importorskip("imageio.v3")
    monkeypatch.setattr(imageio, "imread", lambda *a, **o: np.full((5, 5), -1024, np.int16))
    pixels = image_files._read_with_imageio(tmp_path / "a.dcm", ("DICOM", "DICOM", "pydicom"), 100)
    assert pixels.tolist() == [[0] * 5] * 5 and pixels.dtype == np.uint8
