"""Figures about the service for Prometheus."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The folder in which several worker processes add up their figures, as prometheus-client reads it.
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """Counters of one worker process; with several, each returns the sums of all.

    Attributes:
        requests: answers by path and status.
        seconds: time of a request by path, upload included.
        detect_seconds: time of one call of `detect`.
        batch_images: number of images in one call of `detect`.
        objects: objects that were returned.
        under_way: uploads that are received, wait or are processed.
    """

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.requests = Counter("mrcnn_requests", "Answers.", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "mrcnn_request_seconds",
            "Time of a request, with its upload.",
            ["path"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.detect_seconds = Histogram(
            "mrcnn_detect_seconds", "Time of a batch.", buckets=_SECONDS, registry=registry
        )
        self.batch_images = Histogram(
            "mrcnn_batch_images",
            "Number of images in a batch.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=registry,
        )
        self.objects = Counter("mrcnn_objects", "Objects in answers.", registry=registry)
        self.under_way = Gauge(
            "mrcnn_uploads_under_way",
            "Uploads that are received, wait or are processed.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._registry = registry
        if FOLDER_VARIABLE in os.environ:
            self._registry = CollectorRegistry()
            MultiProcessCollector(self._registry)
        else:
            ProcessCollector(registry=registry)

    def text(self) -> tuple[bytes, str]:
        """Return the figures in Prometheus's text format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def close(self) -> None:
        """Take the gauges of this worker process out of the sums."""
        if FOLDER_VARIABLE in os.environ:
            mark_process_dead(os.getpid())

    def timed(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function `(images, options)` that also counts its batches and their time."""

        def measured(images: Any, options: Any) -> Any:
            begun = time.perf_counter()
            try:
                return run(images, options)
            finally:
                self.batch_images.observe(len(images))
                self.detect_seconds.observe(time.perf_counter() - begun)

        return measured


class CountRequests:
    """ASGI middleware that counts answers and their time.

    Args:
        app: the application.
        metrics: what counts.
        paths: paths with a count of their own; those of all others are "other".
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Collection[str]) -> None:
        self.app, self.metrics, self.paths = app, metrics, frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count its answer; one that fails counts as 500."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, begun = 500, time.perf_counter()
        path = scope["path"] if scope["path"] in self.paths else "other"

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_counted)
        finally:
            self.metrics.requests.labels(path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - begun)
