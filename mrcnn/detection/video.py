"""Video: frames with their time stamps from files and webcams, and video files with sound.

With the package PyAV (`av`), a written video keeps the time stamps and the sound track of its
source. Without it OpenCV reads and writes: at a constant frame rate, without sound.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np

from mrcnn.detection import video_av, video_opencv
from mrcnn.files.atomic import atomic_path
from mrcnn.files.names import printable

__all__ = ["VIDEO_SUFFIXES", "VideoReader", "VideoWriter"]

# Containers that `VideoWriter` writes.
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")
_EXTRA = "pip install 'mrcnn-keras3[video]'"


class VideoReader:
    """Frames of a video file or a webcam, one at a time.

    Rotated video (as phones record it) is returned upright.

    Args:
        source: path of a video file, or the number of a webcam, from 0.

    Attributes:
        name: the file's name, or "webcam 0", for messages.
        fps: frames per second, an average where the rate varies; None if unknown.
        size: (height, width) of the frames in pixels.
        count: number of frames as the file states it, an estimate where it states its duration
            only; None if unknown, as for webcams.
        finished: whether an iteration has reached the end of the video.
        num_damaged: parts of the file that could not be decoded and were skipped; PyAV only.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no video, or has no frame that can be decoded; the webcam does not
            exist or gives no image.

    Example:
        >>> with VideoReader("clip.mp4") as video:  # doctest: +SKIP
        ...     for index, seconds, frame in video:
        ...         print(index, seconds, frame.shape)
    """

    def __init__(self, source: str | os.PathLike[str] | int) -> None:
        self.finished = False
        self._frames: Generator[tuple[float, np.ndarray], None, None] | None = None
        self._decoder: _Decoder
        self.path: Path | None = None
        if isinstance(source, int | np.integer):
            self.name = f"webcam {source}"
            self._decoder = video_opencv.WebcamDecoder(int(source), self.name)
        else:
            self.path = Path(os.fspath(source))
            self.name = printable(self.path)
            if not self.path.is_file():
                raise FileNotFoundError(f"video is {self.name}; there is no such file")
            library = video_av if video_av.is_installed() else video_opencv
            self._decoder = library.FileDecoder(self.path, self.name)
        self.fps: float | None = self._decoder.fps
        self.size: tuple[int, int] = self._decoder.size
        self.count: int | None = self._decoder.count

    @property
    def num_damaged(self) -> int:
        """See the class."""
        return self._decoder.num_damaged

    @property
    def time_base(self) -> Fraction | None:
        """The unit of the file's time stamps in seconds; None if unknown."""
        return self._decoder.time_base

    def __iter__(self) -> Iterator[tuple[int, float, np.ndarray]]:
        """Yield the frames; each iteration of a file starts at its first frame.

        Yields:
            (index from 0, seconds since the beginning of the video or the first frame of a webcam,
            [height, width, 3] uint8 RGB).
        """
        self.finished = False
        frames = self._frames = self._decoder.frames()
        for index, (seconds, frame) in enumerate(frames):
            yield index, seconds, frame
        self.finished = True

    def close(self) -> None:
        """Close the file or the webcam."""
        if self._frames is not None:
            self._frames.close()
        self._decoder.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class VideoWriter:
    """Write frames to a video file: H.264 with PyAV (the extra `video`), otherwise MPEG-4 Part 2.

    The file appears under its name when the writer is closed. Closing by `with` keeps the frames
    that were written before an exception, such as a KeyboardInterrupt, as a shorter video; call
    `discard` instead to leave none. A writer without frames leaves no file.

    H.264 stores even numbers of rows and columns: the last row or column of odd frames is repeated.

    Args:
        path: the file; its suffix is one of `VIDEO_SUFFIXES`. Missing folders are made.
        like: the reader of the source: its sound tracks are copied, its frame rate and the unit of
            its time stamps are used.
        fps: frames per second where `like` is not given or does not know it, and the time between
            frames that are written without time stamps.

    Attributes:
        num_frames: frames written.
        notes: sentences for the user about what the file lacks. They are complete when the
            first frame is written.

    Raises:
        ValueError: the suffix or `fps` is not valid, or no frame rate is known.

    Example:
        >>> with VideoReader("in.mp4") as video, VideoWriter("out.mp4", video) as out:
        ...     for _, seconds, frame in video:  # doctest: +SKIP
        ...         out.write(frame, seconds)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        like: VideoReader | None = None,
        fps: float | None = None,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in VIDEO_SUFFIXES:
            raise ValueError(
                f"path is {printable(self.path)}; it must end in {', '.join(VIDEO_SUFFIXES)}"
            )
        if fps is not None and not 0 < fps <= 1000:
            raise ValueError(f"fps is {fps}; it must be above 0 and at most 1000")
        rate = fps or (like.fps if like else None)
        if rate is None:
            raise ValueError("fps is None; it must be given where the source does not know it")
        self.fps = float(rate)
        self.num_frames = 0
        self.notes: list[str] = []
        self._like = like
        self._size: tuple[int, int] | None = None
        self._encoder: _Encoder | None = None
        self._file = contextlib.ExitStack()
        self._closed = False

    def write(self, frame: np.ndarray, seconds: float | None = None) -> None:
        """Write one frame.

        Args:
            frame: [height, width, 3] uint8 RGB, of the same size for all frames.
            seconds: when it is shown, as a `VideoReader` yields it; None for a constant rate. It
                is raised where it is not later than the frame before.

        Raises:
            ValueError: the frame's shape or type is not valid, or the writer is closed.
        """
        if self._closed:
            raise ValueError(f"the writer of {printable(self.path)} is closed")
        frame = np.asarray(frame)
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
            raise ValueError(
                f"frame has shape {frame.shape} and type {frame.dtype}; it must be "
                "[height, width, 3] uint8"
            )
        if self._size is None:
            self._size = frame.shape[:2]
        if frame.shape[:2] != self._size:
            raise ValueError(
                f"frame {self.num_frames} has the size {frame.shape[:2]}; it must be that of the "
                f"first one, {self._size}"
            )
        even = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), "edge")
        if self._encoder is None:
            with self._named_errors():
                self._encoder = self._start(even.shape[0], even.shape[1])
        if seconds is None or not math.isfinite(seconds):
            seconds = self.num_frames / self.fps
        with self._named_errors():
            self._encoder.write(even, seconds)
        self.num_frames += 1

    def close(self) -> None:
        """Finish the file; without a frame there is none. Further calls have no effect.

        Raises:
            OSError: the end of the file could not be written; nothing is left of it.
        """
        if self._closed:
            return
        self._closed = True
        if self._encoder is None:
            return
        with self._named_errors(), self._file:
            self._encoder.close(whole=self._like is not None and self._like.finished)

    def discard(self) -> None:
        """Leave no file; one of the same name from before stays."""
        if self._closed:
            return
        self._closed = True
        if self._encoder is not None:
            with contextlib.suppress(_Discarded), self._file:
                with contextlib.suppress(Exception):  # the file is removed
                    self._encoder.close(whole=False)
                raise _Discarded

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Let errors of the disk name the video instead of its temporary file."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(error.errno or errno.EIO, reason, str(self.path)) from error

    def _start(self, height: int, width: int) -> _Encoder:
        """Create the file and its encoder."""
        with contextlib.ExitStack() as file:
            temporary = file.enter_context(atomic_path(self.path))
            encoder: _Encoder
            if video_av.is_installed():
                source = self._like.path if self._like else None
                time_base = self._like.time_base if self._like else None
                encoder = video_av.Encoder(temporary, (height, width), self.fps, time_base, source)
            else:
                encoder = video_opencv.Encoder(temporary, (height, width), self.fps)
                self.notes.append(
                    "the video has a constant frame rate and no sound, as the package PyAV is not "
                    f"installed: {_EXTRA}"
                )
            self.notes += encoder.notes
            self._file = file.pop_all()
        return encoder


class _Discarded(Exception):
    """Ends the block of `atomic_path` without a file."""


class _Decoder(Protocol):
    """What reads frames for `VideoReader`."""

    fps: float | None
    size: tuple[int, int]
    count: int | None
    time_base: Fraction | None
    num_damaged: int

    def frames(self) -> Generator[tuple[float, np.ndarray], None, None]:
        """Yield (seconds, [height, width, 3] uint8 RGB)."""
        ...

    def close(self) -> None:
        """Release what is open."""
        ...


class _Encoder(Protocol):
    """What writes frames for `VideoWriter`."""

    notes: list[str]

    def write(self, frame: np.ndarray, seconds: float) -> None:
        """Write a [height, width, 3] uint8 RGB frame of even size."""
        ...

    def close(self, whole: bool) -> None:
        """Finish the file, with the rest of the sound if `whole`, else as much as of the video."""
        ...
