"""Uploads: the bytes of an image from the body of a request, kept in memory and limited.

Starlette's `request.form()` writes parts of more than a megabyte to temporary files. Here the body
is collected in memory, which the limit of bytes bounds, and python-multipart parses it there.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from mrcnn.files.names import printable, shown
from mrcnn.service.limits import Limits, Refusal

# Part of a form that holds the image; without it the first part that is a file is taken.
FIELD = "image"
# Headers and boundaries of a form, beside the image.
_FORM_BYTES = 1 << 16
_MAX_NAME = 255
# What a client still sends after it was refused is read so long and so far: a connection that is
# closed earlier shows most clients an error of the network instead of the answer.
_DISCARD_SECONDS, _DISCARD_BYTES = 5.0, 1 << 28


@dataclass(frozen=True)
class Upload:
    """An uploaded file.

    Attributes:
        data: its content.
        file_name: its name without folders; None if the request has none.
    """

    data: bytes
    file_name: str | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return printable(self.file_name or "upload")


async def read_upload(request: Request, limits: Limits) -> Upload:
    """Receive the image of a request: a form with a file, or the bytes themselves.

    Args:
        request: the request. Its content type decides only whether the body is a form.
        limits: limits of bytes and time.

    Raises:
        Refusal: it is too large (413), too slow (503), or has no image (422).
        ClientDisconnect: the client has gone.
    """
    body = await _read_body(request, limits)
    kind, options = parse_options_header(request.headers.get("content-type"))
    upload = Upload(body)
    if kind == b"multipart/form-data":
        upload = _image_of_form(body, options.get(b"boundary", b""))
    if len(upload.data) > limits.max_bytes:
        raise _too_large(len(upload.data), limits)
    if not upload.data:
        raise Refusal(
            422, f"{FIELD} is empty; it must be the content of an image file, as body or in a form"
        )
    return upload


async def discard(request: Request) -> None:
    """Read what a client still sends, without keeping it, for a few seconds at most."""
    if "expect" in request.headers:  # it waits for the answer before it sends
        return

    async def read() -> None:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > _DISCARD_BYTES:
                return

    with contextlib.suppress(asyncio.TimeoutError, ClientDisconnect, RuntimeError):
        await asyncio.wait_for(read(), _DISCARD_SECONDS)


def _too_large(size: int, limits: Limits) -> Refusal:
    return Refusal(413, f"upload is {size:,} bytes; it must be at most {limits.max_bytes:,}")


async def _read_body(request: Request, limits: Limits) -> bytes:
    """Return the body of a request that is within the limits."""
    limit = limits.max_bytes + _FORM_BYTES
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(int(declared), limits)
    chunks: list[bytes] = []

    async def read() -> None:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise _too_large(size, limits)
            chunks.append(chunk)

    try:
        await asyncio.wait_for(read(), limits.upload_seconds)
    except asyncio.TimeoutError:
        raise Refusal(
            503,
            f"upload is incomplete after {limits.upload_seconds:g} s; it must arrive within that "
            "time",
            {"Connection": "close"},
        ) from None
    return b"".join(chunks)


class _Form:
    """The parts of a form: name, file name and content of each."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, str | None, list[bytes]]] = []
        self.is_complete = False
        self._header: list[bytes] = [b"", b""]
        self._disposition = ""

    def callbacks(self) -> dict[str, object]:
        """Return what python-multipart calls."""
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._add_to_header(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._add_to_header(1, data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": lambda data, start, end: self.parts[-1][2].append(data[start:end]),
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._disposition = ""

    def _add_to_header(self, place: int, data: bytes) -> None:
        self._header[place] += data

    def _end_header(self) -> None:
        if self._header[0].strip().lower() == b"content-disposition":
            self._disposition = self._header[1].decode("latin-1")
        self._header = [b"", b""]

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        # Browsers write names in UTF-8, which the parser holds as Latin-1.
        texts = {key: value.decode("utf-8", "replace") for key, value in options.items()}
        self.parts.append((texts.get(b"name", ""), texts.get(b"filename"), []))

    def _end(self) -> None:
        self.is_complete = True


def _image_of_form(body: bytes, boundary: bytes) -> Upload:
    """Return the image in a form of the type multipart/form-data."""
    form = _Form()
    try:
        if not boundary:
            raise FormParserError("its content type names no boundary")
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
        if not form.is_complete:
            raise FormParserError("its end is missing")
    except FormParserError as error:
        raise Refusal(
            422, f"body is no form of the type multipart/form-data: {shown(str(error))}"
        ) from None
    files = [part for part in form.parts if part[0] == FIELD]
    files = files or [part for part in form.parts if part[1] is not None]
    if len(files) != 1:
        names = ", ".join(part[0] for part in form.parts) or "no fields"
        raise Refusal(
            422,
            f"form has {len(files)} images ({shown(names)}); it must have one, in the field "
            f"{FIELD!r}",
        )
    _, name, chunks = files[0]
    return Upload(b"".join(chunks), _base_name(name))


def _base_name(name: str | None) -> str | None:
    """Return the name of a file without its folders; None if nothing is left."""
    last = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    return last[:_MAX_NAME] or None
