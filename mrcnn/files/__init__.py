"""Files: bounded downloads, atomic writes, careful reading, safe names, the cache folder."""

from __future__ import annotations

from mrcnn.startup.lazy import lazy_names

# `fetch` and `cache_dir` are modules here and functions in them: import those from the modules.
_HOMES = {
    "FetchError": ".fetch",
    "atomic_path": ".atomic",
    "check_regular_file": ".reading",
    "printable": ".names",
    "read_json": ".reading",
    "read_json_object": ".reading",
    "remove_stale": ".atomic",
    "shown": ".names",
    "write_json": ".atomic",
    "write_text": ".atomic",
}
__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
