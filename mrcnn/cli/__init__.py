"""The `mrcnn` command, one subcommand per file, and helpers of the samples (`start_model`).

Importing this package loads no deep learning library: a subcommand's module imports heavy packages
inside its functions, so that `mrcnn --help` and subcommands without a model start fast. An error is
one message on stderr and exit code 2; `--debug` shows the traceback instead. SIGINT, SIGTERM and
SIGHUP end a command with complete files and exit code 130, 143 and 129.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

import typer

from mrcnn import __version__
from mrcnn.cli import (
    check,
    demo,
    detect,
    detect_many,
    download,
    evaluate,
    export,
    info,
    serve,
    signals,
    terminal,
    train,
)
from mrcnn.cli.flags import Command, Group
from mrcnn.startup.lazy import lazy_names

# Names for the samples; imported on first use.
_HOMES = dict.fromkeys(
    ("INPUT", "NETWORK", "sample_parser", "start_model", "weights_class_names"), "mrcnn.cli.start"
)
__all__ = [
    "INPUT",
    "NETWORK",
    "app",
    "main",
    "sample_parser",
    "start_model",
    "weights_class_names",
]

# The Typer application of the `mrcnn` command.
app = typer.Typer(
    name="mrcnn",
    cls=Group,
    help="Mask R-CNN for Keras 3: detect objects and their masks, train and evaluate models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command("detect", cls=Command)(detect.detect)
app.command("detect-many", cls=Command)(detect_many.detect_many)
app.command("demo", cls=Command)(demo.demo)
app.command("train", cls=Command)(train.train)
app.command("evaluate", cls=Command)(evaluate.evaluate)
app.command("export", cls=Command)(export.export)
app.command("check", cls=Command)(check.check)
app.command("inspect", cls=Command, hidden=True, help="Another name of `check`.")(check.check)
app.command("info", cls=Command)(info.info)
app.command("serve", cls=Command)(serve.serve)
app.add_typer(download.app, name="download")

__getattr__, __dir__ = lazy_names(__name__, _HOMES)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; the entry point of the `mrcnn` script.

    Args:
        arguments: words after the name of the program; those of the process by default.

    Raises:
        SystemExit: always, with the exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Removed here, so that it may be anywhere: users append it to a command that failed.
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    # Variables that the user has set take precedence.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "3")
    os.environ.setdefault("MPLBACKEND", "Agg")
    terminal.accept_any_text()
    try:
        plain = contextlib.nullcontext() if debug else terminal.plain_warnings()
        with signals.raised(), plain:
            app(args=words, prog_name="mrcnn")
    except signals.Stopped as stopped:
        terminal.echo(f"mrcnn: stopped by {stopped.signal_name}", err=True)
        raise
    except Exception as error:
        if debug:
            raise
        terminal.echo(f"mrcnn: error: {describe_error(error)}", err=True)
        sys.exit(2)


def describe_error(error: Exception) -> str:
    """Return the message of an error, with its type where the message alone would not be clear."""
    if isinstance(error, ValueError | OSError | ArithmeticError | ImportError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error} (run again with --debug to see where)"


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mrcnn {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks and library messages."),
) -> None:
    del version, debug  # handled above and in main()
