"""Systems beside Mask R-CNN with their own pipelines: selective search, semantic networks, YOLO.

Exports `selective_search` and `find_proposals`; the packages `mrcnn.family.semantic` and
`mrcnn.family.yolo` have lists of their own. Importing the package loads none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrcnn.startup.lazy import lazy_names

if TYPE_CHECKING:
    from mrcnn.family.proposals import find_proposals
    from mrcnn.family.regions import draw_regions, merge_regions, selective_search

_HOMES = {
    "draw_regions": ".regions",
    "find_proposals": ".proposals",
    "merge_regions": ".regions",
    "selective_search": ".regions",
}

__all__ = ["draw_regions", "find_proposals", "merge_regions", "selective_search"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
