"""Detection of changed weights, and a digest of them."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mrcnn.files.fetch import DIGEST_LENGTH


def values_digest(networks: Iterable[Any]) -> str:
    """Return a digest of the values of the weights of Keras models, on any backend."""
    from keras import ops

    digest = hashlib.sha256()
    for network in networks:
        for variable in network.weights:
            digest.update(np.ascontiguousarray(ops.convert_to_numpy(variable.value)).data)
    return digest.hexdigest()[:DIGEST_LENGTH]


class WeightsWatch:
    """Detects whether Keras variables on TensorFlow have changed, by any means.

    A training step, `set_weights` and a weight file do not pass through the engine. But TensorFlow
    never writes into memory that is referenced elsewhere, so a variable whose values are still at
    the address seen last is unchanged. One that has moved is compared by its checksum.

    Args:
        variables: the variables to watch.
    """

    def __init__(self, variables: Sequence[Any]) -> None:
        self._variables = variables
        self._arrays: list[np.ndarray] = []
        self._checksums: list[int] = []

    def arrays(self) -> list[np.ndarray]:
        """Return the current values without copying them."""
        import tensorflow as tf

        tensors = [tf.convert_to_tensor(variable.value) for variable in self._variables]
        return [np.asarray(memoryview(tensor)) for tensor in tensors]

    def changed(self) -> bool:
        """Return whether anything has changed since the last call; True for the first."""
        arrays = self.arrays()
        if [x.ctypes.data for x in arrays] == [x.ctypes.data for x in self._arrays]:
            return False
        checksums = [zlib.crc32(np.ascontiguousarray(x).view(np.uint8).data) for x in arrays]
        same = checksums == self._checksums
        self._arrays, self._checksums = arrays, checksums
        return not same
