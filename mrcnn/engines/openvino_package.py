"""The package `openvino`, imported so that it keeps to itself."""

import contextlib


def import_openvino():
    """Import OpenVINO without its telemetry.

    It reports every import and conversion to its maker's statistics unless told otherwise, and does
    so by forking this process, TensorFlow's threads included. Nobody here was asked.

    Raises:
        ImportError: it is not installed.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from openvino_telemetry.utils.sender import TelemetrySender

        TelemetrySender.send = _send_nothing
    import openvino

    return openvino


def _send_nothing(self, *message, **options):
    """In the place of `TelemetrySender.send`."""
