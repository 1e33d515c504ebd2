"""More than one process: detection on millions of images with Ray Data.

    listing       what the sources name: images, or rows of Parquet files
    plan          which images make up which shard, written once and compared by later runs
    shards        detection on the images of one shard, and its three files
    ray_pool      worker processes, each with a model, on one machine or on a cluster
    many          `detect_many`: all of these

Importing the package loads none of them. It needs the extra "ray".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrcnn.startup.lazy import lazy_names

if TYPE_CHECKING:
    from mrcnn.scaling.many import DetectionSummary, detect_many

_HOMES = {"DetectionSummary": ".many", "detect_many": ".many"}

__all__ = ["DetectionSummary", "detect_many"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
