"""Text for the terminal: names from files cannot act on it."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import typer

from mrcnn.files.names import printable


def printable_lines(text: object) -> str:
    """Return a text with its line breaks kept and everything else as `printable` writes it.

    Names that are part of the text go through `printable` first: their line breaks are escaped.
    """
    return "\n".join(printable(line) for line in str(text).split("\n"))


def echo(text: object = "", *, err: bool = False) -> None:
    """Print a text to stdout or stderr, as `printable_lines` returns it."""
    typer.echo(printable_lines(text), err=err)


def duration_text(seconds: float) -> str:
    """Return "90 s", or "7 min" from two minutes on."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def accept_any_text() -> None:
    """Let stdout and stderr escape what their encoding lacks instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(ValueError, OSError):
                stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Write warnings for users as one line within the block, without the line of code."""
    usual = warnings.formatwarning

    def one_line(message: Any, category: type[Warning], *place: Any, **options: Any) -> str:
        if category is UserWarning:
            return f"mrcnn: warning: {printable_lines(message)}\n"
        return usual(message, category, *place, **options)

    warnings.formatwarning = one_line
    try:
        yield
    finally:
        warnings.formatwarning = usual
