"""The web service: an HTTP API and a page for detection with one model.

    app.py  -> uploads.py   bytes of a request, in memory and limited
            -> batching.py  images of several requests in one call of `detect`
            -> detection.py the model, its threshold and its refiner
            -> answers.py   JSON in COCO's results format, annotated images
            -> page.py      the page; metrics.py: figures for Prometheus

FastAPI and uvicorn are imported with the first name that needs them (the extra `serve`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrcnn.startup.lazy import lazy_names

if TYPE_CHECKING:
    from mrcnn.service.app import create_app
    from mrcnn.service.detection import ServedModel
    from mrcnn.service.limits import Limits
    from mrcnn.service.server import run_server

_HOMES = {
    "Limits": ".limits",
    "ServedModel": ".detection",
    "create_app": ".app",
    "run_server": ".server",
}

__all__ = ["Limits", "ServedModel", "create_app", "run_server"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
