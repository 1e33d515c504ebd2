"""Weight files in Matterport's layout, read and written, and the known ones by name.

`save_weights` writes what Keras 2.2.5 wrote: a group per layer, layers without weights
included, and arrays `<layer>/<layer>/<weight>:0`; the region proposal network is one group.
`load_weights` matches layers by name and checks everything before the first value is set.
`verify` returns what a file is. `describe_weights` finds the settings and class names that belong
to a file, `resolve_weights` the file that belongs to a name such as "coco".

Models are used through `layers`, `name`, `weights`, `assign` alone: no Keras is imported here,
and h5py only by the names that need it, which load on first use.
"""

from __future__ import annotations

from mrcnn.startup.lazy import lazy_names

_HOMES = {
    "COCO_CLASS_NAMES": ".coco_names",
    "DescribedWeights": ".description",
    "DownloadError": ".known",
    "HeldOut": ".held_out",
    "IncompleteWeightsError": ".description",
    "LoadReport": ".load",
    "WeightsInfo": ".weights_info",
    "describe_weights": ".description",
    "is_keras3_weights_file": ".weight_file",
    "load_class_rows": ".class_rows",
    "load_weights": ".load",
    "matterport_layer_names": ".names",
    "non_finite_layers": ".weight_file",
    "read_squeezenet": ".load",
    "resolve_weights": ".known",
    "save_weights": ".save",
    "verify": ".weight_file",
}
__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
