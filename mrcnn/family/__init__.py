"""Systems beside Mask R-CNN with their own pipelines: selective search, semantic networks, YOLO.

Exports `build` and `load`, which make any model by its name or from its weight file, the table
`MODELS`, `selective_search` and `find_proposals`. The packages `mrcnn.family.semantic` and
`mrcnn.family.yolo` have lists of their own. Importing the package loads none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrcnn.startup.lazy import lazy_names

if TYPE_CHECKING:
    from mrcnn.family.models import MODELS, build, find_model
    from mrcnn.family.proposals import find_proposals
    from mrcnn.family.regions import draw_regions, merge_regions, selective_search
    from mrcnn.family.weights import describe, load, read_names

_HOMES = {
    "MODELS": ".models",
    "build": ".models",
    "find_model": ".models",
    "draw_regions": ".regions",
    "describe": ".weights",
    "find_proposals": ".proposals",
    "load": ".weights",
    "merge_regions": ".regions",
    "read_names": ".weights",
    "selective_search": ".regions",
}

__all__ = [
    "MODELS",
    "build",
    "describe",
    "draw_regions",
    "find_model",
    "find_proposals",
    "load",
    "merge_regions",
    "read_names",
    "selective_search",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
