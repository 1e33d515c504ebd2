"""Open Images (V4 to V7): reader, downloader and the official tables."""

from __future__ import annotations

from mrcnn.startup.lazy import lazy_names

_HOMES = {
    "BOX_RULES": ".reader",
    "OpenImagesDataset": ".reader",
    "download_open_images": ".download",
    "resize_frame_mask": ".reader",
}
__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
