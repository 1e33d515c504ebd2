"""Video files read and written by PyAV (FFmpeg), for `mrcnn.detection.video`."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

# Unit of time stamps in seconds where the source has none or a coarse one. It divides the
# milliseconds and the frame rates in use.
_TICK = Fraction(1, 90000)
_ENCODER = "libx264"
# x264's constant rate factor, near which its losses become hard to see.
_QUALITY = {"crf": "20", "preset": "veryfast"}
_BT709 = 1
# A file may name others, such as a playlist does; only files on this machine are read.
_OPTIONS = {"protocol_whitelist": "file"}


def is_installed() -> bool:
    """Return whether the package `av` can be imported."""
    return importlib.util.find_spec("av") is not None


def _av() -> Any:
    """Return the package `av`; its types change from release to release."""
    return importlib.import_module("av")


class FileDecoder:
    """Decodes a file for `VideoReader`; the attributes are described there."""

    def __init__(self, path: Path, name: str) -> None:
        self.num_damaged = 0
        self._path, self._name = path, name
        with self._open() as (container, stream):
            first = next(self._decoded(container, stream), None)
            if first is None:
                raise ValueError(f"video is {name}; it must hold a frame that can be decoded")
            self._coded_size = {"width": first.width, "height": first.height}
            height, width = self._upright(first).shape[:2]
            self.size: tuple[int, int] = (height, width)
            rate = stream.average_rate or stream.guessed_rate
            self.fps = float(rate) if rate else None
            self.time_base: Fraction | None = stream.time_base or None
            self.count = stream.frames or self._estimated_count(container, stream)
        self.num_damaged = 0

    def frames(self) -> Generator[tuple[float, np.ndarray], None, None]:
        """Yield (seconds, [height, width, 3] uint8 RGB) from the beginning of the file."""
        self.num_damaged = 0
        with self._open() as (container, stream):
            start = _start_seconds(container)
            step = 1 / (self.fps or 25)
            seconds = -step  # before the first frame
            for frame in self._decoded(container, stream):
                stated = -math.inf
                if frame.pts is not None and frame.time_base:
                    stated = float(frame.pts * frame.time_base) - start
                # Without a time stamp later than the last one: by the average rate.
                seconds = stated if stated > seconds else seconds + step
                yield seconds, self._upright(frame)

    def close(self) -> None:
        """Do nothing: `frames` closes its file."""

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple[Any, Any]]:
        """Open the file; yield the container and its video stream."""
        av = _av()
        try:
            container = av.open(str(self._path), options=_OPTIONS)
        except (av.error.FFmpegError, OSError) as error:
            if isinstance(error, PermissionError):
                raise
            raise ValueError(
                f"video is {self._name}; it must be a video file that FFmpeg can read, with its "
                "beginning and end"
            ) from error
        with container:
            stream = self._video_stream(container)
            stream.thread_type = "AUTO"
            yield container, stream

    def _video_stream(self, container: Any) -> Any:
        """Return the first video track; images and text are read by FFmpeg as video, too."""
        kind = container.format.name
        if kind == "image2" or kind.endswith("_pipe"):
            raise ValueError(f"video is {self._name}; it must hold video, not one image")
        # A cover image of a music file is a stream of one frame.
        cover = _av().stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & cover]
        if not streams or kind == "tty":
            raise ValueError(f"video is {self._name}; it must have a video track")
        if streams[0].codec_context is None:
            raise ValueError(
                f"video is {self._name}; it must be of a codec that this FFmpeg can decode"
            )
        return streams[0]

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Yield frames; what cannot be decoded is skipped and counted."""
        failure = _av().error.FFmpegError
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except failure:  # the file ends early
                self.num_damaged += 1
                packet = None
            try:
                frames = packet.decode() if packet else stream.codec_context.decode(None)
            except failure:
                # At the end the decoder has been flushed by the last packet, as a rule.
                self.num_damaged += packet is not None
                frames = []
            yield from frames
            if packet is None:
                return

    def _upright(self, frame: Any) -> np.ndarray:
        """Return a frame as [height, width, 3] uint8 RGB, turned as it is to be shown."""
        # The size is given for files that change it on the way. The color space, which RGB does
        # not have, makes releases before 17 take that of the frame into account.
        pixels = frame.to_ndarray(format="rgb24", dst_colorspace="ITU601", **self._coded_size)
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels

    def _estimated_count(self, container: Any, stream: Any) -> int | None:
        seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
        if not seconds and container.duration:
            seconds = container.duration / _av().time_base
        return round(seconds * self.fps) or None if self.fps else None


class Encoder:
    """Encodes a file for `VideoWriter`.

    Args:
        path: the file.
        size: (height, width) of the frames, even numbers.
        fps: frames per second, for the rate control of the encoder.
        time_base: unit of the source's time stamps in seconds; None if unknown.
        source: file whose sound tracks are copied; None for none.

    Attributes:
        notes: sentences for the user about what the file lacks.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        fps: float,
        time_base: Fraction | None,
        source: Path | None,
    ) -> None:
        av = _av()
        if _ENCODER not in av.codecs_available:
            raise ValueError(f"the encoder of the package av is missing; it must be {_ENCODER}")
        self.notes: list[str] = []
        self._av, self._size, self._fps = av, size, fps
        fine = time_base is not None and time_base < Fraction(1, 1000)
        self._time_base = time_base if fine and time_base else _TICK
        self._last = -1
        self._sound = _SoundTracks(source) if source else None
        try:
            self._open(path)
        except (av.error.FFmpegError, ValueError):
            if self._sound is None or not self._sound.streams:
                raise
            codecs = ", ".join(stream.codec_context.name for stream in self._sound.streams)
            self.notes.append(
                f"the sound ({codecs}) was left out, as {path.suffix} files cannot hold it; "
                ".mkv files can hold most kinds"
            )
            self._sound = None
            self._open(path)

    def _open(self, path: Path) -> None:
        """Create the file and write its header."""
        self._container = self._av.open(str(path), "w")
        try:
            rate = Fraction(self._fps).limit_denominator(1001)
            stream = self._container.add_stream(_ENCODER, rate=rate, options=_QUALITY)
            stream.height, stream.width = self._size
            stream.pix_fmt = "yuv420p"
            context = stream.codec_context
            context.time_base = self._time_base
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            self._stream = stream
            if self._sound is not None:
                self._sound.add_to(self._container)
            self._container.start_encoding()
        except BaseException:
            with contextlib.suppress(Exception):
                self._container.close()
            raise

    def write(self, frame: np.ndarray, seconds: float) -> None:
        """Write a [height, width, 3] uint8 RGB frame, and the sound up to it."""
        coded = self._av.VideoFrame.from_ndarray(frame, format="rgb24")
        coded = coded.reformat(format="yuv420p", dst_colorspace="ITU709")
        self._last = max(round(seconds / self._time_base), self._last + 1)
        coded.pts, coded.time_base = self._last, self._time_base
        self._container.mux(self._stream.encode(coded))
        if self._sound is not None:
            self._sound.copy(self._container, until=seconds)

    def close(self, whole: bool) -> None:
        """Finish the file, with the rest of the sound if `whole`, else as much as of the video."""
        with self._container:
            self._container.mux(self._stream.encode())
            if self._sound is not None:
                end = float(self._last * self._time_base) + 1 / self._fps
                self._sound.copy(self._container, until=None if whole else end)
                self._sound.close()


class _SoundTracks:
    """The sound tracks of a file, copied packet by packet without decoding."""

    def __init__(self, path: Path) -> None:
        self._input = _av().open(str(path), options=_OPTIONS)
        self.streams = list(self._input.streams.audio)
        self._start = _start_seconds(self._input)
        self._outputs: dict[int, Any] = {}
        self._packets = self._shifted()
        self._next: Any = next(self._packets, None) if self.streams else None

    def add_to(self, container: Any) -> None:
        """Add the tracks to the container that is written."""
        self._outputs = {s.index: container.add_stream_from_template(s) for s in self.streams}

    def copy(self, container: Any, until: float | None) -> None:
        """Copy the packets that begin before a time in seconds; all that are left for None."""
        while self._next is not None:
            packet = self._next
            if until is not None and float(packet.dts * packet.time_base) >= until:
                return
            packet.stream = self._outputs[packet.stream_index]
            container.mux(packet)
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Close the source."""
        self._input.close()

    def _shifted(self) -> Iterator[Any]:
        """Yield the packets with time stamps from the beginning of the file."""
        with contextlib.suppress(_av().error.FFmpegError):  # the file ends early
            for packet in self._input.demux(self.streams):
                if packet.dts is None:  # the mark of the end
                    continue
                ticks = round(self._start / packet.time_base)
                packet.dts -= ticks
                packet.pts = packet.dts if packet.pts is None else packet.pts - ticks
                yield packet


def _start_seconds(container: Any) -> float:
    """Return when the first stream of a file begins, in seconds.

    Sound may begin before 0: a player drops that part, with which an encoder begins.
    """
    return max(container.start_time or 0, 0) / _av().time_base
