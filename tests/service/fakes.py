"""A fake model for the service, images to upload, and a server in a process of its own.

As a program (`python -m tests.service.fakes WORDS`) it runs the command line with the fake model.
"""

from __future__ import annotations

import io
import os
import struct
import sys
import threading
import time
import zlib

import cv2
import numpy as np

from mrcnn.detection.result_dict import DetectionResult
from mrcnn.geometry.rle import encode_rle
from tests.fake_model import FakeMaskRCNN

NAMES = ["BG", "cat", "dog"]
# Of every image: (class id, score), in the upper left and the lower right quarter.
FOUND = ((1, 0.9), (2, 0.3))


def result_of(image, refined=False):
    """A cat in the upper left, a dog in the lower right; refined ones are one pixel smaller."""
    height, width = image.shape[:2]
    y, x = height // 2, width // 2
    boxes = np.array([[0, 0, y, x], [y, x, height, width]], np.int32)
    masks = np.zeros((height, width, 2), bool)
    for i, (y1, x1, y2, x2) in enumerate(boxes):
        masks[y1 : y2 - refined, x1:x2, i] = True
    entries = {
        "rois": boxes,
        "class_ids": np.array([k for k, _ in FOUND], np.int32),
        "scores": np.array([score for _, score in FOUND], np.float32),
        "rles": encode_rle(masks),
    }
    return DetectionResult(entries, class_names=NAMES, image=image)


class FakeModel:
    """Records its calls; `gate` holds them back, an image of 13 rows is an error."""

    class_names = NAMES

    def __init__(self):
        self.calls = []
        self.entered = 0
        self.gate = threading.Event()
        self.gate.set()

    def detect(self, images, *, rle, refiner=None, min_confidence=0.0):
        assert rle
        self.entered += 1
        self.gate.wait(20)
        self.calls.append((len(images), min_confidence))
        if any(len(image) == 13 for image in images):
            raise ValueError("images[0] has 13 rows; it must have another number")
        if any(len(image) == 17 for image in images):
            raise RuntimeError("the network is broken")
        results = [result_of(image, refiner is not None) for image in images]
        return [result[result["scores"] >= min_confidence] for result in results]


class FakeRefiner:
    """Anything that can refine."""

    def refine(self, image, mask_probs, boxes=None):
        return mask_probs


def photograph(height=40, width=60, suffix=".png"):
    """The content of an image file."""
    pixels = np.random.RandomState(0).randint(0, 255, (height, width, 3), np.uint8)
    return cv2.imencode(suffix, pixels)[1].tobytes()


def png_of_size(width, height):
    """A PNG file whose header states a size, with hardly any content."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 64)), (b"IEND", b""))
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, data in chunks:
        parts.append(struct.pack(">I", len(data)) + name + data)
        parts.append(struct.pack(">I", zlib.crc32(name + data)))
    return b"".join(parts)


def zip_file():
    """An archive, which users rename."""
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.txt", "text")
    return stream.getvalue()


class FakeNetwork(FakeMaskRCNN):
    """The fake model of the command line with results as the real one has."""

    def __init__(self, *arguments, **options):
        if "FAKE_BROKEN" in os.environ:
            raise ValueError("the network cannot be built")
        super().__init__(*arguments, **options)

    def detect(self, images, verbose=0, *, rle=False, refiner=None, min_confidence=0.0):
        time.sleep(float(os.environ.get("FAKE_SECONDS", 0)))
        return [result_of(image) for image in images]


if __name__ in ("__main__", "__mp_main__"):  # this process, or one of its workers
    import types

    from mrcnn.startup import lean_start

    module = types.ModuleType("mrcnn.model")
    module.MaskRCNN = FakeNetwork
    sys.modules["mrcnn.model"] = module
    lean_start.start_backend = lambda: None
    from mrcnn.service import server

    server.HEAD_SECONDS = float(os.environ.get("FAKE_HEAD_SECONDS", server.HEAD_SECONDS))

if __name__ == "__main__":
    from mrcnn.cli import main

    main()
