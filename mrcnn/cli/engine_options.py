"""The options of every verb that runs a network: engine, precision and calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Engine = Annotated[
    str, typer.Option(help="What runs the network: auto (the fastest here), keras or openvino.")
]
Precision = Annotated[
    str | None,
    typer.Option(help="float32, bfloat16 or int8 (openvino); the settings' own if left out."),
]
Calibration = Annotated[
    Path | None,
    typer.Option(help="Folder of typical pictures for int8; needed once for each weight file."),
]
