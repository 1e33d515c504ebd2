"""What JAX has compiled, kept on disk for the next start.

A first start of the small model takes 50 seconds of CPU time, 15 where all that XLA has compiled is
on disk (AMD EPYC, Zen 1).
"""

from __future__ import annotations

import importlib.util
from typing import Any

import keras

from mrcnn.files.cache_dir import cache_dir

# Total size above which the least recently used functions are removed.
MAX_BYTES = 1 << 30
# Functions that take less time to compile, in seconds, are not kept.
_LEAST_SECONDS = 0.1


def keep_compiled() -> None:
    """Let JAX keep what it compiles from now on, in the folder of `cache_dir`.

    Nothing happens with another backend, where JAX has a folder already
    (JAX_COMPILATION_CACHE_DIR), and without the package filelock, which JAX needs to limit the size
    of the folder.
    """
    if keras.backend.backend() != "jax" or importlib.util.find_spec("filelock") is None:
        return
    import jax

    config: Any = jax.config
    if config.jax_compilation_cache_dir:
        return
    config.update("jax_compilation_cache_dir", str(cache_dir() / "jax"))
    config.update("jax_compilation_cache_max_size", MAX_BYTES)
    config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
