"""`mrcnn serve`: a page and an HTTP API for detection with one model."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrcnn.cli import signals
from mrcnn.cli.options import (
    Calibration,
    ConfigFile,
    Engine,
    NoRefine,
    Precision,
    Refine,
    Weights,
    load_model,
)
from mrcnn.cli.terminal import echo
from mrcnn.files.names import printable

if TYPE_CHECKING:
    from fastapi import FastAPI

    from mrcnn.service.limits import Limits

# Package -> the module that it is imported as.
_PACKAGES = {
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "python-multipart": "python_multipart",
    "prometheus-client": "prometheus_client",
}
# How worker processes receive what `worker_app` needs.
_VARIABLE = "MRCNN_SERVE"


def serve(
    weights: Weights = "small",
    host: Annotated[
        str, typer.Option(help="Address to serve on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Score from which objects are returned where a request names none; as in the "
            "settings of the weights if not given.",
        ),
    ] = None,
    refine: Refine = None,
    no_refine: NoRefine = False,
    workers: Annotated[
        int, typer.Option(min=1, help="Number of processes, each with a copy of the model.")
    ] = 1,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Most images that are detected in one call.")
    ] = 4,
    batch_wait: Annotated[
        float,
        typer.Option(min=0.0, help="Milliseconds that an image waits for others to join its call."),
    ] = 10.0,
    max_mb: Annotated[
        float, typer.Option(min=0.001, help="Largest upload in megabytes (else 413).")
    ] = 20.0,
    max_megapixels: Annotated[
        float, typer.Option(min=0.001, help="Largest image in million pixels (else 422).")
    ] = 50.0,
    max_requests: Annotated[
        int,
        typer.Option(
            min=1, help="Most uploads of a process that are received or wait at a time (else 429)."
        ),
    ] = 32,
    upload_timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds that an upload may take (else 503).")
    ] = 60.0,
    timeout: Annotated[
        float,
        typer.Option(min=0.001, help="Seconds from an upload to its answer (else 503)."),
    ] = 60.0,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads of each process; the cores shared if not given."),
    ] = None,
    engine: Engine = "auto",
    precision: Precision = None,
    calibration: Calibration = None,
    config: ConfigFile = None,
) -> None:
    """Serve a page and an HTTP API for detection.

    The page shows the objects of a photograph that is dropped on it. The API takes images at
    /detect and describes itself at /openapi.json; /healthz and /metrics are for operators. Uploads
    stay in memory. Ctrl-C stops the server after the requests under way. It has no passwords and no
    encryption: behind a public address, put a reverse proxy in front of it.

    Example: `mrcnn serve --weights small --threshold 0.6`

    Then: `curl -F image=@photo.jpg http://127.0.0.1:8000/detect`
    """
    check_packages()
    from mrcnn.cli.detect import chosen_refiner
    from mrcnn.service.limits import Limits

    limits = Limits(
        max_bytes=max(1, round(max_mb * 1e6)),
        max_pixels=max(1, round(max_megapixels * 1e6)),
        max_requests=max_requests,
        upload_seconds=upload_timeout,
        answer_seconds=timeout,
        batch_size=batch_size,
        batch_wait=batch_wait / 1e3,
    )
    if threads is None and workers > 1:
        threads = max(1, (os.cpu_count() or 1) // workers)
    if threads is not None:
        from mrcnn.startup.threads import limit_threads

        limit_threads(threads)
    options = {
        "weights": weights,
        "config": None if config is None else str(config),
        "engine": engine,
        "precision": precision,
        "calibration": None if calibration is None else str(calibration),
        "refine": refine,
        "no_refine": no_refine,
        "threshold": threshold,
    }
    # Errors of the files come before the slow start.
    described = _describe(options, starts_backend=workers == 1)
    check_threshold(described, threshold)
    refine = chosen_refiner(refine, no_refine, described)
    if refine is not None:
        from mrcnn.checkpoints.known import resolve_weights

        resolve_weights(refine, kind="refiner")
    echo(printable(f"Weights  {described}"))
    app: FastAPI | str
    if workers == 1:
        echo("Starting the network")
        app = make_app(options, limits, described)
    else:
        del described  # an exported model takes memory, and each process loads its own
        os.environ[_VARIABLE] = json.dumps({"options": options, "limits": asdict(limits)})
        echo(f"Starting {workers} processes")
        app = f"{__name__}:worker_app"
    from mrcnn.service.server import ANY_HOST, run_server

    where = " to all that reach this machine" if host in ANY_HOST else ""
    try:
        run_server(
            app,
            host,
            port,
            workers=workers,
            grace_seconds=timeout,
            on_ready=lambda address: echo(f"Serving  {address}{where}  (Ctrl-C stops)"),
        )
    except signals.Stopped:  # after the requests under way, as it should be
        pass
    echo("Stopped")


def check_packages() -> None:
    """Raise an error that names the extra if a package that serving requires is missing.

    Raises:
        ImportError: a package is not installed.
    """
    missing = [name for name, module in _PACKAGES.items() if not importlib.util.find_spec(module)]
    if missing:
        raise ImportError(
            f"mrcnn serve requires {', '.join(missing)}: pip install 'mrcnn-keras3[serve]'"
        )


def worker_app() -> FastAPI:
    """Make the application of one of several worker processes."""
    from mrcnn.service.limits import Limits
    from mrcnn.service.server import STARTUP_FAILURE

    given = json.loads(os.environ[_VARIABLE])
    try:
        return make_app(given["options"], Limits(**given["limits"]))
    except Exception as error:  # anything: the same would happen again
        echo(f"mrcnn: error in a process: {error or type(error).__name__}", err=True)
        # At once: while Python ends in order, the process is alive but does not answer the
        # supervisor, which then waits for a minute.
        sys.stderr.flush()
        os._exit(STARTUP_FAILURE)


def make_app(options: dict[str, Any], limits: Limits, described: Any = None) -> FastAPI:
    """Load the model that the options of the command line describe, and make its application.

    Args:
        options: the options, as `serve` writes them.
        limits: limits of uploads, queue and time.
        described: what `_describe` has returned for the options; None if it was not called.
    """
    from mrcnn.cli.detect import chosen_refiner, find_refiner
    from mrcnn.service.app import create_app
    from mrcnn.service.detection import LOWEST_THRESHOLD, ServedModel
    from mrcnn.startup.lean_start import start_backend

    start_backend()
    if described is None:
        described = _describe(options, starts_backend=True)
    threshold = options["threshold"]
    if threshold is None:
        threshold = described.config.DETECTION_MIN_CONFIDENCE or 0.0
    lowest = max(LOWEST_THRESHOLD, getattr(described, "min_confidence", 0.0))
    described.config.DETECTION_MIN_CONFIDENCE = lowest
    calibration = options["calibration"]
    model = load_model(
        described,
        options["engine"],
        options["precision"],
        None if calibration is None else Path(calibration),
    )
    # The images of a batch go through the network together, not one after the other.
    model.config.IMAGES_PER_GPU = limits.batch_size
    refine = chosen_refiner(options["refine"], options["no_refine"], described)
    names = [Path(text or "").name for text in (options["weights"], refine)]
    model.refiner = None  # each request chooses
    refiner = find_refiner(refine, described)
    served = ServedModel(model, names[0], threshold, refiner, names[1], lowest)
    served.warm_up()
    return create_app(served, limits)


def _describe(options: dict[str, Any], starts_backend: bool) -> Any:
    """Return the description of the weights; `starts_backend` as for `describe_exported`."""
    from mrcnn.exports.formats import format_of

    weights, path = options["weights"], options["config"]
    export_format = format_of(weights)
    if export_format is not None:
        from mrcnn.cli.models import describe_exported

        return describe_exported(weights, export_format, {"--config": path}, starts_backend)
    from mrcnn.checkpoints.description import describe_weights

    return describe_weights(weights, None if path is None else Path(path))


def check_threshold(described: Any, threshold: float | None) -> None:
    """Raise ValueError for a threshold below which an exported model leaves out detections."""
    least = getattr(described, "min_confidence", 0.0)
    if threshold is not None and threshold < least:
        raise ValueError(
            f"--threshold is {threshold:g}; it must be at least {least:g}, below which this "
            "exported model leaves out detections (mrcnn export --min-confidence makes another)"
        )
