"""Import of the package `openvino` without its telemetry."""

from __future__ import annotations

import contextlib
from types import ModuleType


def import_openvino() -> ModuleType:
    """Return the module `openvino`, with its telemetry switched off.

    It would report every import and conversion to its maker's statistics, and fork this process to
    do so, with TensorFlow's threads running.

    Raises:
        ImportError: OpenVINO is not installed.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from openvino_telemetry.utils.sender import TelemetrySender

        TelemetrySender.send = _send_nothing
    import openvino

    return openvino


def _send_nothing(self: object, *message: object, **options: object) -> None:
    """Replace `TelemetrySender.send`."""
