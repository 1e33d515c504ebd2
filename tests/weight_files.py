"""Small complete weight files, for tests that look for one and do not load it."""

import h5py


def write_weight_file(path, value=1.0):
    """Write an HDF5 file with one array of one value, folders included; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["conv1"] = [value] * 1000
    return path
