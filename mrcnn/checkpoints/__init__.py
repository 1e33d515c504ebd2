"""Reads and writes weight files in Matterport's layout, so that they go both ways.

`save_weights` writes what Keras 2.2.5 wrote: a group per layer, layers without weights
included, and datasets `<layer>/<layer>/<weight>:0`; the region proposal network is one group.
`load_weights` matches layers by name and checks everything before the first value is set.
`verify` says what a file is.

Models are used through `layers`, `name`, `weights`, `assign` alone: no Keras is imported here,
and h5py only by the names that need it, which load on first use.
"""

from __future__ import annotations

from mrcnn.startup.lazy import lazy_names

_HOMES = {
    "LoadReport": ".load",
    "WeightsInfo": ".files",
    "is_keras3_weights_file": ".files",
    "load_class_rows": ".class_rows",
    "load_weights": ".load",
    "matterport_layer_names": ".names",
    "read_squeezenet": ".load",
    "save_weights": ".save",
    "verify": ".files",
}
__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
