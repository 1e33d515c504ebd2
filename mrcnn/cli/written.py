"""What `mrcnn detect` has written, as text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mrcnn.files.names import counted

if TYPE_CHECKING:
    from mrcnn.detection.runs import DetectionRun


def written_text(run: DetectionRun, joined: Sequence[Path]) -> str:
    """Return the folder of the results and the files in it.

    Args:
        run: the run, after `close`.
        joined: the files that hold the results of all images.

    Returns:
        "found/  2 annotated images, detections.json", the folder alone where no file was written.
    """
    numbers = run.num_files
    parts = []
    if numbers["image"]:
        parts.append(counted(numbers["image"], "annotated image"))
    parts += [os.path.relpath(path, run.options.output) for path in run.video_files]
    parts += [path.name for path in joined]
    parts += [
        f"{kind}{os.sep} ({counted(numbers[kind], 'file' if kind == 'polygons' else 'image')})"
        for kind in ("masks", "polygons", "labels", "before")
        if numbers[kind]
    ]
    folder = os.path.join(run.options.output, "")
    return f"{folder}  {', '.join(parts)}" if parts else folder
