"""Training on several hosts: this process among the others.

Every process runs the same command. JAX joins their devices, Keras holds all weights on each of
them (`keras.distribution.DataParallel`), every process loads its part of each batch, and process 0
alone writes files. Keras on TensorFlow and on torch cannot train so: see
docs/guides/several-hosts.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mrcnn.files.fetch import DIGEST_LENGTH
from mrcnn.files.names import printable
from mrcnn.training.launchers import Place, find_place
from mrcnn.training.meeting import Meeting

TIMEOUT_VARIABLE = "MRCNN_HOSTS_TIMEOUT"
_TIMEOUT = 300.0
# How long a folder that process 0 has made may take to appear on the other hosts, in seconds.
_FOLDER_SECONDS = 30.0
# An error of a computation together may be noticed before the loss of a process that caused it.
_LOSS_SECONDS = 2.0

_meeting: Meeting | None = None


def count() -> int:
    """Return the number of processes that train together: 1 unless in `joined`."""
    return 1 if _meeting is None else _meeting.count


def rank() -> int:
    """Return the number of this process, from 0."""
    return 0 if _meeting is None else _meeting.rank


def is_first() -> bool:
    """Return whether this process writes the files: it is alone, or process 0."""
    return rank() == 0


def share() -> tuple[int, int]:
    """Return `(rank, count)`, which decides what part of a batch this process loads."""
    return rank(), count()


def exchange(value: Any) -> list[Any]:
    """Give a value, for which JSON must have a form, and return those of all processes, by rank."""
    return [value] if _meeting is None else _meeting.exchange(value)


def of_first(value: Any) -> Any:
    """Return the value that process 0 gives."""
    return exchange(value)[0]


@contextlib.contextmanager
def joined(wanted: int | None = None) -> Iterator[None]:
    """Train together with the other processes of a launcher inside the block.

    Where no launcher has started several, nothing happens. Must be entered before Keras computes
    anything. If another process is lost, this one ends with the status 75.

    Args:
        wanted: number of processes; None for as many as the launcher has started, 1 for this alone.

    Raises:
        ValueError: the environment variables are wrong, the processes do not agree, or Keras does
            not run on JAX.
        TimeoutError: not all processes came within MRCNN_HOSTS_TIMEOUT seconds (300).
        ImportError: JAX is not installed.
        OSError: the port cannot be used.
    """
    global _meeting
    place = None if _meeting is not None else find_place(os.environ, wanted)
    if place is None:
        yield
        return
    _require_jax()
    timeout = _timeout()
    meeting = Meeting(place, timeout)
    _meeting = meeting
    try:
        _start_jax(place, meeting, timeout)
        yield
        exchange("end")  # no process leaves while others still compute together
        import jax

        jax.distributed.shutdown()
        meeting.close()
    except Exception:
        meeting.end_if_lost(_LOSS_SECONDS)  # of which the error comes then
        meeting.close(failed=True)
        raise
    except BaseException:
        meeting.close(failed=True)
        raise
    finally:
        _meeting = None


def _require_jax() -> None:
    """Make JAX the backend, or raise if it cannot be."""
    if importlib.util.find_spec("jax") is None:
        raise ImportError(
            "training on several hosts needs JAX, which is not installed: pip install "
            "'mrcnn-keras3[jax]', and jax[cuda12] for GPUs"
        )
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "jax")
    name = os.environ.get("KERAS_BACKEND", "tensorflow")
    if "keras" in sys.modules:
        import keras

        name = keras.backend.backend()
    if name != "jax":
        raise ValueError(
            f"KERAS_BACKEND is {printable(name)}; it must be jax to train on several hosts"
        )


def _timeout() -> float:
    text = os.environ.get(TIMEOUT_VARIABLE, "")
    try:
        seconds = float(text) if text else _TIMEOUT
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise ValueError(
            f"{TIMEOUT_VARIABLE} is {printable(text)!r}; it must be a number of seconds above 0"
        )
    return seconds


def _start_jax(place: Place, meeting: Meeting, timeout: float) -> None:
    """Join the devices of all processes."""
    import jax

    port = meeting.exchange(_free_port() if place.rank == 0 else 0)[0]
    # The only one that JAX has for CPUs of several hosts in all its releases.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # Otherwise JAX takes SIGTERM, with which launchers end a process, for an announcement.
    with contextlib.suppress(AttributeError):  # unknown to older releases, which do not
        jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        f"{place.address}:{port}",
        place.count,
        place.rank,
        # Without it, each process of a host would take all of its GPUs.
        local_device_ids=None if place.local_rank is None else [place.local_rank],
        initialization_timeout=int(np.ceil(timeout)),
    )


def _free_port() -> int:
    with socket.create_server(("", 0)) as server:
        return int(server.getsockname()[1])


def require_agreement(facts: Mapping[str, Any]) -> None:
    """Check that all processes are to do the same.

    Args:
        facts: what must be equal, by name, for which JSON must have a form.

    Raises:
        ValueError: in every process, if one differs from process 0.
    """
    everyone = exchange(dict(facts))
    for number, theirs in enumerate(everyone):
        for name in dict.fromkeys([*everyone[0], *theirs]):
            expected, found = everyone[0].get(name), theirs.get(name)
            if expected != found:
                raise ValueError(
                    f"{printable(name)} of process {number} is {_shown(found)}; it must be that of "
                    f"process 0, {_shown(expected)}"
                )


def _shown(value: Any) -> str:
    text = printable(json.dumps(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def dataset_digest(dataset: Any) -> str | None:
    """Return a short digest of the images and annotations of a dataset; None for None.

    Folders do not count: they may have other names on other hosts.
    """
    if dataset is None:
        return None
    digest = hashlib.sha256(repr(list(dataset.class_names)).encode())
    for info in dataset.image_info:
        for name in sorted(info, key=str):
            value = info[name]
            if name == "path" and value is not None:
                value = os.path.basename(str(value))
            digest.update(f"{name}={_plain(value)};".encode())
    return digest.hexdigest()[:DIGEST_LENGTH]


def _plain(value: Any) -> Any:
    """Return numbers, words and lists of them as such, and only the type of everything else."""
    if isinstance(value, Mapping):
        return [(_plain(name), _plain(value[name])) for name in sorted(value, key=str)]
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, Sequence | set) and not isinstance(value, str | bytes):
        return [_plain(one) for one in (sorted(value) if isinstance(value, set) else value)]
    if value is None or isinstance(value, str | bytes | int | float | np.generic):
        return value
    return type(value).__name__


def wait_for_folder(folder: str, file_name: str) -> None:
    """Wait until a file in a folder that process 0 has made can be seen on this host.

    Raises:
        ValueError: it does not appear.
    """
    end = time.monotonic() + _FOLDER_SECONDS
    while not os.path.exists(os.path.join(folder, file_name)):
        if time.monotonic() >= end:
            raise ValueError(
                f"{printable(folder)}, which process 0 writes to, is not on the host of process "
                f"{rank()}; the folder of log folders (--output) must be one that all hosts share"
            )
        time.sleep(0.2)
        with contextlib.suppress(OSError):
            os.listdir(os.path.dirname(folder) or ".")  # network file systems look again
