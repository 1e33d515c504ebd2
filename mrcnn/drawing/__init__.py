"""Drawing: instances into arrays and files, parts of figures, and tables."""

from __future__ import annotations

from mrcnn.startup.lazy import lazy_names

_HOMES = {
    "display_table": ".tables",
    "display_weight_stats": ".tables",
    "draw_instances": ".rendering",
    "draw_labels": ".label_maps",
    "fixed_colors": ".colors",
    "save_instances": ".rendering",
    "side_by_side": ".comparison",
    "write_image": ".rendering",
}

__all__ = [
    "display_table",
    "display_weight_stats",
    "draw_instances",
    "draw_labels",
    "fixed_colors",
    "save_instances",
    "side_by_side",
    "write_image",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
