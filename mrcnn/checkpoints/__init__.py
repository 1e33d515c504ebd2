"""Reads and writes weight files in Matterport's layout, so that they go both ways.

`save_weights` writes what Keras 2.2.5 wrote: a group per layer, layers without weights
included, and datasets `<layer>/<layer>/<weight>:0`; the region proposal network is one group.
`load_weights` matches layers by name and checks everything before the first value is set.
`verify` says what a file is.

Models are used through `layers`, `name`, `weights`, `assign` alone: no Keras is imported here.
"""

from mrcnn.checkpoints.class_rows import load_class_rows
from mrcnn.checkpoints.files import WeightsInfo, is_keras3_weights_file, verify
from mrcnn.checkpoints.load import LoadReport, load_weights, read_squeezenet
from mrcnn.checkpoints.names import matterport_layer_names
from mrcnn.checkpoints.save import save_weights

__all__ = [
    "LoadReport",
    "WeightsInfo",
    "is_keras3_weights_file",
    "load_class_rows",
    "load_weights",
    "matterport_layer_names",
    "read_squeezenet",
    "save_weights",
    "verify",
]
