"""One video on its way through a run: frames, tracks, and the annotated video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mrcnn.detection.sources import Source
from mrcnn.detection.tracking import Tracker
from mrcnn.detection.video import VideoReader, VideoWriter

if TYPE_CHECKING:
    import numpy as np

    from mrcnn.detection.results import Detections

# Frames per second of webcams that do not state theirs; frames keep their own time stamps.
_WEBCAM_FPS = 25.0


class VideoWork:
    """A video that is read, and what is made of it.

    Args:
        source: a video or webcam.
        target: path of the annotated video; None writes none.
        track: number its objects.

    Attributes:
        reader: yields the frames.
        target: path of the annotated video; None writes none.
        num_frames: frames that were recorded.
        is_whole: whether all frames were read and none has failed.
        notes: sentences for the user about what the annotated video lacks.

    Raises:
        ValueError: it cannot be decoded, or the webcam gives no image.
        OSError: it cannot be read or fetched.
    """

    def __init__(self, source: Source, target: Path | None, track: bool) -> None:
        self.reader = VideoReader(_place_to_read(source))
        self.target = target
        self.num_frames = 0
        self.is_whole = True
        self._tracker = Tracker() if track else None
        self._writer: VideoWriter | None = None
        if target is not None:
            fps = self.reader.fps or _WEBCAM_FPS
            self._writer = VideoWriter(target, like=self.reader, fps=fps)

    @property
    def notes(self) -> list[str]:
        """See the class."""
        return [] if self._writer is None else self._writer.notes

    def track(self, found: Detections) -> list[int] | None:
        """Return the numbers of the objects of the next frame; None without tracks."""
        return None if self._tracker is None else self._tracker.update(found).tolist()

    def write(self, frame: np.ndarray, seconds: float) -> None:
        """Add a frame [height, width, 3] uint8 RGB to the annotated video."""
        if self._writer is not None:
            self._writer.write(frame, seconds)

    def close(self) -> None:
        """Finish the annotated video and close the source; further calls have no effect."""
        try:
            if self._writer is not None:
                self._writer.close()
        finally:
            self.reader.close()


def check_webcam(source: Source) -> None:
    """Raise ValueError unless a webcam gives images."""
    VideoReader(int(source.path)).close()


def _place_to_read(source: Source) -> str | int:
    """Return the path of a video, fetched where it is an address, or the number of a webcam."""
    if source.kind == "webcam":
        return int(source.path)
    if source.is_local:
        return source.path
    from mrcnn.files.fetch import fetch_to_cache

    return str(fetch_to_cache(source.path, "videos", Path(source.file_name).suffix))
