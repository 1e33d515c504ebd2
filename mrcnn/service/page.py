"""The page of the service: one HTML file with its style and its script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jinja2

from mrcnn import __version__
from mrcnn.drawing.colors import fixed_colors
from mrcnn.service.detection import ServedModel
from mrcnn.service.limits import Limits

_FOLDER = Path(__file__).parent / "page"
# Colors of instances: more objects than this repeat them.
_INSTANCE_COLORS = 100
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class PageFile:
    """One file of the page.

    Attributes:
        content: its text.
        content_type: its type.
    """

    content: str
    content_type: str


def page_files(model: ServedModel, limits: Limits) -> dict[str, PageFile]:
    """Return the files of the page by the path of their address.

    Args:
        model: what the page says about the model.
        limits: what the page checks before it uploads.
    """
    count = max(_INSTANCE_COLORS, len(model.class_names))
    settings = {
        "classes": model.class_names,
        "colors": ["#{:02x}{:02x}{:02x}".format(*_bytes(color)) for color in fixed_colors(count)],
        "threshold": max(model.threshold, model.lowest),
        "lowest": model.lowest,
        "maxBytes": limits.max_bytes,
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("page.html").render(
        model=model, settings=settings, limits=limits, version=__version__
    )
    return {
        "/": PageFile(html, "text/html; charset=utf-8"),
        "/page.css": PageFile(_text("page.css"), "text/css; charset=utf-8"),
        "/page.js": PageFile(_text("page.js"), "text/javascript; charset=utf-8"),
    }


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _bytes(color: tuple[float, float, float]) -> tuple[int, ...]:
    return tuple(round(255 * value) for value in color)
