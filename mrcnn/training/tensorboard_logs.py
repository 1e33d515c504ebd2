"""TensorBoard logs on every backend: TensorBoard's own package writes them, not TensorFlow."""

from __future__ import annotations

import importlib.util
import os
import socket
import time
from typing import Any

import keras
import numpy as np

from mrcnn.training.callbacks import ValidationAP
from mrcnn.training.history import as_numbers

HINT = 'TensorBoard logs need `pip install "mrcnn-keras3[tensorboard]"`'


def is_installed() -> bool:
    """Return whether TensorBoard is installed."""
    return importlib.util.find_spec("tensorboard") is not None


class EventFile:
    """An event file of TensorBoard, to which scalars and images are added.

    Args:
        folder: the log folder; the file `events.out.tfevents...` is made in it.
        first_step: TensorBoard drops what earlier files hold from this step on: the epochs that a
            resumed training repeats.
    """

    def __init__(self, folder: str, first_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        # Unlike all other files this one grows: TensorBoard reads it while it is written.
        self._writer = RecordWriter(open(os.path.join(folder, name), "wb"))
        self._write(Event(file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._write(Event(step=first_step, session_log=start))

    def add_scalars(self, values: dict[str, float], step: int) -> None:
        """Add numbers by their tags."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._add([Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()], step)

    def add_images(self, images: dict[str, np.ndarray], step: int) -> None:
        """Add [H, W, 3] uint8 RGB images by their tags."""
        import cv2
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = []
        for tag, image in images.items():
            _, data = cv2.imencode(".jpg", image[..., ::-1])
            height, width = image.shape[:2]
            encoded = Summary.Image(
                height=height, width=width, colorspace=3, encoded_image_string=data.tobytes()
            )
            values.append(Summary.Value(tag=tag, image=encoded))
        self._add(values, step)

    def _add(self, values: list[Any], step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        if values:
            self._write(Event(step=step, summary=Summary(value=values)))

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._writer.write(event.SerializeToString())
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class TensorBoardLogs(keras.callbacks.Callback):
    """Write the figures of every epoch and the validation images for TensorBoard.

    Tags are `train/loss`, `train/rpn_class_loss`, `validation/loss`, `validation/mask_ap`,
    `learning_rate`, `wait` and so on; the step is the number of the epoch, from 1.

    Args:
        folder: the log folder.
        validation: its predictions beside the ground truth are written as images; None for none.
    """

    def __init__(self, folder: str, validation: ValidationAP | None = None) -> None:
        super().__init__()
        self.folder = folder
        self.validation = validation
        self._file: EventFile | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the figures of this epoch."""
        step = epoch + 1
        if self._file is None:
            self._file = EventFile(self.folder, step)
        values = {_tag(name): value for name, value in as_numbers(logs).items()}
        self._file.add_scalars({t: v for t, v in values.items() if np.isfinite(v)}, step)
        pairs = self.validation.pairs if self.validation and "val_box_ap" in (logs or {}) else []
        self._file.add_images({f"validation/{i}": pair for i, pair in enumerate(pairs)}, step)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _tag(name: str) -> str:
    """Return TensorBoard's name of a figure; what stands before the slash is its group."""
    if name.startswith("val_"):
        return f"validation/{name.removeprefix('val_')}"
    return f"train/{name}" if name.endswith("loss") else name
