"""Semantic networks: FCN-32s, FCN-16s, FCN-8s, SegNet and U-Net.

Exports `SemanticModel`, `SemanticConfig` and the table `NETWORKS`. Importing the package loads none
of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrcnn.startup.lazy import lazy_names

if TYPE_CHECKING:
    from mrcnn.family.semantic.model import SemanticConfig, SemanticModel
    from mrcnn.family.semantic.networks import NETWORKS

_HOMES = {
    "NETWORKS": ".networks",
    "SemanticConfig": ".config",
    "SemanticModel": ".model",
}

__all__ = ["NETWORKS", "SemanticConfig", "SemanticModel"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
