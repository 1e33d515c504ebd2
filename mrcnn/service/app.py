"""The HTTP application: its addresses, and how errors are answered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from mrcnn import __version__
from mrcnn.datasets.image_files import decode_image, stored_size
from mrcnn.files.names import shown
from mrcnn.service import answers
from mrcnn.service.batching import Batcher
from mrcnn.service.detection import LOWEST_THRESHOLD, ServedModel
from mrcnn.service.limits import Admission, Limits, Refusal
from mrcnn.service.metrics import CountRequests, Metrics
from mrcnn.service.page import HEADERS, PageFile, page_files
from mrcnn.service.uploads import FIELD, Upload, discard, read_upload

logger = logging.getLogger("mrcnn.service")

# Threads that decode uploads and write answers.
_WORKERS = 2
# nginx's status for a client that has gone; it is not received, but the figures count it.
_CLIENT_GONE = 499
_DESCRIPTION = """Finds objects and their masks in photographs.

`curl -F image=@photo.jpg http://127.0.0.1:8000/detect` returns COCO's results format. Every error
is `{"error": "..."}`.
"""


class DetectOptions(BaseModel):
    """Options of a detection, in the query of its address."""

    model_config = ConfigDict(extra="forbid")

    threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Lowest score of the objects; the server's own if not given. Below "
        f"{LOWEST_THRESHOLD} there are none.",
    )
    refine: bool = Field(
        default=True, description="Sharpen the masks; false leaves them as the model makes them."
    )
    segmentation: Literal["rle", "polygon", "none"] = Field(
        default="rle", description="How the answer holds masks."
    )
    output: Literal["json", "png"] = Field(
        default="json", description="The objects, or the image with the objects drawn into it."
    )


def create_app(model: ServedModel, limits: Limits | None = None) -> FastAPI:
    """Make the application: `/detect`, `/healthz`, `/metrics`, `/openapi.json` and the page.

    Args:
        model: the model; requests use it in one thread.
        limits: limits of uploads, queue and time; None for the default ones.

    Returns:
        An ASGI application. It works between the start and the end of its lifespan.

    Example:
        >>> import types
        >>> served = ServedModel(types.SimpleNamespace(class_names=["BG", "cat"]), "cats")
        >>> sorted(route.path for route in create_app(served).routes)[:3]
        ['/', '/detect', '/healthz']
    """
    limits = limits or Limits()
    metrics = Metrics()
    endpoint = _Detection(model, limits, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await endpoint.start()
        try:
            yield
        finally:
            await endpoint.close()
            metrics.close()

    # Their own pages load scripts from other servers.
    app = FastAPI(
        title="mrcnn",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    _add_detect(app, endpoint)
    if model.refiner is None:
        _describe_no_refiner(app)
    _add_facts(app, model, metrics)
    for path, file in page_files(model, limits).items():
        app.add_api_route(path, _page(file), methods=["GET", "HEAD"], include_in_schema=False)
    paths = [route.path for route in app.routes if hasattr(route, "path")]
    _answer_errors(app, paths)
    app.add_middleware(CountRequests, metrics=metrics, paths=paths)
    return app


class _Detection:
    """What `/detect` does with an upload."""

    def __init__(self, model: ServedModel, limits: Limits, metrics: Metrics) -> None:
        self._model, self._limits, self._metrics = model, limits, metrics
        self._admission = Admission(limits.max_requests)

    async def start(self) -> None:
        """Start the threads."""
        run = self._metrics.timed(self._model.detect)
        self._batcher = Batcher(run, self._limits.batch_size, self._limits.batch_wait)
        # Decoded images are large: as many as the batch in progress and the next one have.
        self._slots = asyncio.Semaphore(2 * self._limits.batch_size)
        self._workers = ThreadPoolExecutor(_WORKERS, "mrcnn-uploads")
        await self._batcher.start()

    async def close(self) -> None:
        """End the threads after what they are doing."""
        await self._batcher.close()
        self._workers.shutdown(wait=True, cancel_futures=True)

    async def answer(self, request: Request, options: DetectOptions) -> Response:
        """Receive an upload and detect, within the limits.

        Raises:
            Refusal: a limit is exceeded, or the upload is no image.
            ClientDisconnect: the client has gone.
        """
        has_refiner = self._model.refiner is not None
        # Not `model_fields_set`, in which older releases of FastAPI have the default values too.
        if not has_refiner and options.refine and "refine" in request.query_params:
            raise Refusal(
                422, "refine is true; it must be false, since the server has no refiner (--refine)"
            )
        with self._admission.admitted(), self._metrics.under_way.track_inprogress():
            upload = await read_upload(request, self._limits)
            self._check_size(upload)
            options = options.model_copy(update={"refine": options.refine and has_refiner})
            return await self._within_time(request, self._detect(upload, options))

    def _check_size(self, upload: Upload) -> None:
        """Refuse what is no image, or has too many pixels by its header."""
        try:
            height, width = stored_size(upload.data, upload.name)
        except ValueError as error:
            raise Refusal(422, _one_line(error)) from None
        if height * width > self._limits.max_pixels:
            raise Refusal(
                422,
                f"{upload.name} has {width:,} x {height:,} pixels; it must have at most "
                f"{self._limits.max_pixels:,} in all",
            )

    async def _within_time(self, request: Request, work: Any) -> Response:
        """Return the answer that a coroutine makes, unless it takes too long or is not wanted."""
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(request.receive())  # answers when the client disconnects
        seconds = self._limits.answer_seconds
        try:
            done, _ = await asyncio.wait(
                (task, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if task in done:
                response: Response = task.result()
                return response
        finally:
            task.cancel()
            gone.cancel()
        if gone in done:
            raise ClientDisconnect
        raise Refusal(
            503,
            f"answer took more than {seconds:g} s; it must be ready within that time: try again "
            "later, or with a smaller image",
            {"Retry-After": "5"},
        )

    async def _detect(self, upload: Upload, options: DetectOptions) -> Response:
        begun = time.perf_counter()
        threshold = self._model.threshold if options.threshold is None else options.threshold
        refine_from = max(threshold, self._model.lowest) if options.refine else None
        async with self._slots:
            limit = self._limits.max_pixels
            try:
                image = await self._in_worker(
                    lambda: decode_image(upload.data, upload.name, True, max_pixels=limit)
                )
                result = await self._batcher.submit(image, refine_from)
            except ValueError as error:
                raise Refusal(422, _one_line(error)) from error
            result = answers.above(result, threshold)
            self._metrics.objects.inc(len(result))
            if options.output == "png":
                png = await self._in_worker(lambda: answers.annotated_png(image, result))
                return Response(png, media_type="image/png", headers={"Cache-Control": "no-store"})
            height, width = image.shape[:2]
        found = await self._in_worker(
            lambda: answers.objects_of(result, upload.file_name, options.segmentation)
        )
        content = {
            "model": self._model.name,
            "width": width,
            "height": height,
            "threshold": threshold,
            "refined": options.refine,
            "seconds": round(time.perf_counter() - begun, 4),
            "objects": found,
        }
        return JSONResponse(content, headers={"Cache-Control": "no-store"})

    async def _in_worker(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._workers, work)


def _add_detect(app: FastAPI, endpoint: _Detection) -> None:
    """Add the address that detects, and its description in OpenAPI."""
    problem = {"model": answers.Problem}
    content: dict[str, Any] = {"type": "string", "format": "binary"}
    form = {"type": "object", "properties": {FIELD: content}, "required": [FIELD]}

    async def detect(request: Request, options: Annotated[DetectOptions, Query()]) -> Response:
        """Find the objects in an image.

        The body is the content of an image file, or a form with the file in the field `image`.
        JPEG, PNG, WebP, TIFF, BMP, GIF, PPM, JPEG 2000 and AVIF are recognized by their content.
        """
        return await endpoint.answer(request, options)

    app.add_api_route(
        "/detect",
        detect,
        methods=["POST"],
        response_class=Response,
        responses={
            200: {
                "model": answers.Found,
                "content": {"image/png": {"schema": content}},
                "description": "The objects, or the annotated image.",
            },
            413: {**problem, "description": "The upload has too many bytes."},
            422: {**problem, "description": "No image, too many pixels, or a wrong option."},
            429: {**problem, "description": "Too many requests at the same time."},
            500: {**problem, "description": "An error of the server."},
            503: {**problem, "description": "The upload or the answer took too long."},
        },
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "multipart/form-data": {"schema": form},
                    "application/octet-stream": {"schema": content},
                },
            }
        },
    )


def _describe_no_refiner(app: FastAPI) -> None:
    """Let the OpenAPI description say that masks cannot be refined here."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        schema = describe()
        for parameter in schema["paths"]["/detect"]["post"]["parameters"]:
            if parameter["name"] == "refine":
                parameter["schema"] |= {"enum": [False], "default": False}
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI documents it


def _add_facts(app: FastAPI, model: ServedModel, metrics: Metrics) -> None:
    """Add the addresses that say what is running."""

    async def healthz() -> answers.Health:
        """Answer that the service is ready, and what it runs."""
        return answers.Health(
            status="ok",
            model=model.name,
            version=__version__,
            classes=model.class_names[1:],
            refiner=model.refiner_name,
        )

    async def figures() -> Response:
        """Return counters and times in Prometheus's text format."""
        text, content_type = metrics.text()
        return Response(text, headers={"Content-Type": content_type})

    app.add_api_route("/healthz", healthz, methods=["GET"])
    app.add_api_route(
        "/metrics",
        figures,
        methods=["GET"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )


def _page(file: PageFile) -> Callable[[], Any]:
    """Return what answers with one file of the page."""

    async def answer() -> Response:
        headers = {**HEADERS, "Content-Type": file.content_type}
        return Response(file.content, headers=headers)

    return answer


def _answer_errors(app: FastAPI, paths: list[str]) -> None:
    """Answer every error as `{"error": sentence}`."""

    async def refusal(request: Request, error: Any) -> Response:
        if error.status in (413, 429):
            await discard(request)
        return _problem(error.status, error.message, error.headers)

    async def invalid(request: Request, error: Any) -> Response:
        return _problem(422, _describe(error))

    async def http_error(request: Request, error: Any) -> Response:
        path, method = shown(request.url.path), shown(request.method)
        messages = {
            404: f"path is {path}; it must be one of {', '.join(sorted(paths))}",
            405: f"method is {method}; it must be {(error.headers or {}).get('Allow', 'another')}",
        }
        message = messages.get(error.status_code, str(error.detail))
        return _problem(error.status_code, message, error.headers)

    async def gone(request: Request, error: Any) -> Response:
        return Response(status_code=_CLIENT_GONE)

    async def failure(request: Request, error: Any) -> Response:
        # The server writes the traceback to its log.
        return _problem(500, f"{type(error).__name__}; the server's log says more")

    app.add_exception_handler(Refusal, refusal)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(Exception, failure)


def _problem(status: int, message: str, headers: Any = None) -> Response:
    return JSONResponse({"error": message}, status_code=status, headers=headers)


def _describe(error: RequestValidationError) -> str:
    """Return one sentence about the first option that is wrong."""
    first = error.errors()[0]
    name = shown(str(first["loc"][-1])).strip("'\"")
    if first["type"] == "extra_forbidden":
        known = ", ".join(DetectOptions.model_fields)
        return f"option is {name}; it must be one of {known}"
    rule = str(first["msg"]).removeprefix("Input should be ").partition(", unable to ")[0]
    return f"{name} is {shown(first['input'])}; it must be {rule}"


def _one_line(error: Exception) -> str:
    """Return the message of an error; the texts of C++ libraries have many lines."""
    return (str(error).splitlines() or [type(error).__name__])[0]
