"""Webcams, and video files without PyAV, through OpenCV, for `mrcnn.detection.video`."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

# Rates beyond this are a sign that the file does not state its rate.
_MAX_FPS = 1000
# OpenCV's LOG_LEVEL_SILENT.
_SILENT = 0


class FileDecoder:
    """Decodes a file for `VideoReader`; the attributes are described there."""

    time_base: Fraction | None = None
    num_damaged = 0

    def __init__(self, path: Path, name: str) -> None:
        import cv2

        self._path = path
        # OpenCV's FFmpeg reads images and text as videos of one frame.
        if cv2.haveImageReader(str(path)):
            raise ValueError(f"video is {name}; it must hold video, not one image")
        with open(path, "rb") as file:
            is_text = b"\0" not in file.read(4096)
        capture = self._open()
        try:
            frame = _read(capture) if capture.isOpened() and not is_text else None
            if frame is None:
                raise ValueError(
                    f"video is {name}; it must be a video file that OpenCV can read, with a frame "
                    "that can be decoded"
                )
            height, width = frame.shape[:2]
            self.size: tuple[int, int] = (height, width)
            self.fps = _rate(capture)
            count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            self.count = round(count) if 0 < count < 1e9 else None
        finally:
            capture.release()

    def frames(self) -> Generator[tuple[float, np.ndarray], None, None]:
        """Yield (seconds, [height, width, 3] uint8 RGB) from the beginning of the file."""
        import cv2

        capture = self._open()
        try:
            while (frame := _read(capture)) is not None:
                yield capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, frame
        finally:
            capture.release()

    def close(self) -> None:
        """Do nothing: `frames` closes its file."""

    def _open(self) -> Any:
        import cv2

        with _quiet():
            return cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)


class WebcamDecoder:
    """Reads a webcam for `VideoReader`; the attributes are described there."""

    time_base: Fraction | None = None
    count: int | None = None
    num_damaged = 0

    def __init__(self, number: int, name: str) -> None:
        import cv2

        with _quiet():
            self._capture = cv2.VideoCapture(number) if number >= 0 else None
        frame = _read(self._capture) if self._capture and self._capture.isOpened() else None
        if frame is None:
            self.close()
            raise ValueError(
                f"video is {name}; it must be the number of a connected webcam, from 0, that no "
                "other program uses"
            )
        height, width = frame.shape[:2]
        self.size: tuple[int, int] = (height, width)
        self.fps = _rate(self._capture)

    def frames(self) -> Generator[tuple[float, np.ndarray], None, None]:
        """Yield (seconds since the first frame, [height, width, 3] uint8 RGB) until it stops."""
        begun = None
        while (frame := _read(self._capture)) is not None:
            now = time.perf_counter()
            begun = now if begun is None else begun
            yield now - begun, frame

    def close(self) -> None:
        """Release the webcam."""
        if self._capture is not None:
            self._capture.release()


class Encoder:
    """Encodes a file at a constant rate, as MPEG-4, for `VideoWriter`."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        import cv2

        self.notes: list[str] = []
        self._path, self._num_frames = path, 0
        code = cv2.VideoWriter.fourcc(*"mp4v")
        with _quiet():
            self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, fps, size[::-1])
        if not self._writer.isOpened():
            raise OSError(f"OpenCV cannot write the video {path.name} of {size[1]} x {size[0]}")

    def write(self, frame: np.ndarray, seconds: float) -> None:
        """Write a [height, width, 3] uint8 RGB frame; `seconds` is not used."""
        with _quiet():
            self._writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
        self._num_frames += 1

    def close(self, whole: bool) -> None:
        """Finish the file.

        Raises:
            OSError: it lacks frames. OpenCV reports no errors of the disk.
        """
        import cv2

        with _quiet():
            self._writer.release()
            capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT) if capture.isOpened() else 0
        capture.release()
        if abs(count - self._num_frames) > 1:  # an estimate in Matroska files
            written = max(round(count), 0)
            raise OSError(f"OpenCV wrote {written} of {self._num_frames} frames; is the disk full?")


def _read(capture: Any) -> np.ndarray | None:
    """Return the next frame as [height, width, 3] uint8 RGB; None at the end."""
    import cv2

    read, frame = capture.read()
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) if read else None


def _rate(capture: Any) -> float | None:
    """Return the frames per second; None if unknown."""
    import cv2

    rate = float(capture.get(cv2.CAP_PROP_FPS))
    return rate if 0 < rate <= _MAX_FPS else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV and its FFmpeg from printing about files that cannot be opened.

    FFmpeg takes its level from the environment when OpenCV opens a video for the first time in the
    process: where that was before, the level stays as it is.
    """
    import cv2

    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    logs = getattr(cv2.utils, "logging", cv2)  # OpenCV 5 has its functions there
    level = logs.getLogLevel()
    logs.setLogLevel(_SILENT)
    try:
        yield
    finally:
        logs.setLogLevel(level)
