"""Read a weight file in the steps in which Keras 2 does, on which Matterport's package relies.

Keras 2 with h5py 2 takes names as bytes and decodes them, looks up nothing but the groups that
`layer_names` lists, and compares numbers of weights and shapes with those of the model.
"""

import h5py
import numpy as np


def stored_names(group, attribute):
    """The names of an attribute that may be split into NAME0, NAME1, ..."""
    if attribute in group.attrs:
        return [name.decode("utf8") for name in group.attrs[attribute]]
    names, chunk = [], 0
    while f"{attribute}{chunk}" in group.attrs:
        names += [name.decode("utf8") for name in group.attrs[f"{attribute}{chunk}"]]
        chunk += 1
    return names


def open_root(file):
    """The group with the layers, after the checks of versions that Keras 2 makes."""
    if "layer_names" not in file.attrs and "model_weights" in file:
        file = file["model_weights"]
    assert file.attrs["keras_version"].decode("utf8").startswith("2.")
    assert file.attrs["backend"].decode("utf8") == "tensorflow"
    return file


def load_by_name(path, shapes):
    """Return the arrays of each layer of a model that the file has too.

    Args:
        path: the file.
        shapes: the shapes of the weights of each layer of the model, by layer name.
    """
    loaded = {}
    with h5py.File(path, "r") as file:
        root = open_root(file)
        for name in stored_names(root, "layer_names"):
            group = root[name]
            values = [np.asarray(group[weight]) for weight in stored_names(group, "weight_names")]
            if name in shapes:
                assert [value.shape for value in values] == shapes[name], name
                loaded[name] = values
    return loaded


def load_in_order(path, shapes):
    """Return the arrays of each layer of a model whose layers with weights are the file's."""
    with h5py.File(path, "r") as file:
        root = open_root(file)
        names = [
            n for n in stored_names(root, "layer_names") if stored_names(root[n], "weight_names")
        ]
        wanted = {name: expected for name, expected in shapes.items() if expected}
        assert len(names) == len(wanted)
        loaded = {}
        for name, (own, expected) in zip(names, wanted.items()):
            values = [np.asarray(root[name][w]) for w in stored_names(root[name], "weight_names")]
            assert [value.shape for value in values] == expected, own
            loaded[own] = values
    return loaded
