"""Where this process stands among those of a training on several hosts, from the environment.

Three kinds of launchers set variables: Keras's own names, which a user may set by hand; `torchrun`,
and what imitates it (Kubernetes' PyTorchJob, many clusters); `srun` of SLURM.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mrcnn.files.names import printable

# (number of processes, number of this one, address of the first) of each launcher.
_KERAS = (
    "KERAS_DISTRIBUTION_NUM_PROCESSES",
    "KERAS_DISTRIBUTION_PROCESS_ID",
    "KERAS_DISTRIBUTION_JOB_ADDRESSES",
)
_TORCHRUN = ("WORLD_SIZE", "RANK", "MASTER_ADDR")
# `SLURM_NTASKS` is also set in a batch script, which is no part of a step.
_SLURM = ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_STEP_NODELIST")
LAUNCHERS = (_KERAS, _TORCHRUN, _SLURM)
# The number of a process among those of its own host, and how many these are.
_LOCAL = {
    _TORCHRUN: ("LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    _SLURM: ("SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"),
}
_TORCH_PORT = 29500
_FIRST_SLURM_PORT, _NUM_SLURM_PORTS = 60001, 4096


@dataclass(frozen=True)
class Place:
    """The place of a process in a training on several hosts.

    Attributes:
        rank: its number, from 0.
        count: number of processes, at least 2.
        address: name or address of the host of process 0.
        port: port on which process 0 meets the others.
        local_rank: its number among the processes on its host, if there are several.
    """

    rank: int
    count: int
    address: str
    port: int
    local_rank: int | None = None


def find_place(environment: Mapping[str, str], wanted: int | None = None) -> Place | None:
    """Return the place that a launcher has given to this process, or None if it is alone.

    Args:
        environment: environment variables.
        wanted: number of processes that the user asked for: 1 to train alone in any case. None for
            as many as a launcher has started.

    Raises:
        ValueError: variables are missing or contradict each other or `wanted`.
    """
    if wanted == 1:
        return None
    names = next((names for names in LAUNCHERS if environment.get(names[0], "")), None)
    if names is None:
        if wanted is None:
            return None
        choices = "; ".join(", ".join(names) for names in LAUNCHERS)
        raise ValueError(
            f"--hosts is {wanted}; it must be 1 where no launcher has set the variables of one of "
            f"these lines: {choices}"
        )
    count_name, rank_name, address_name = names
    count = _whole(environment, count_name, 1)
    if wanted not in (None, count):
        raise ValueError(f"--hosts is {wanted}; it must be {count}, as {count_name} is")
    if count == 1:
        return None
    for name in (rank_name, address_name):
        if not environment.get(name, ""):
            raise ValueError(f"{name} is not set; it must be, since {count_name} is {count}")
    rank = _whole(environment, rank_name, 0)
    if rank >= count:
        raise ValueError(
            f"{rank_name} is {rank}; it must be from 0 to {count - 1}, since {count_name} is "
            f"{count}"
        )
    address, port = _address(environment, names)
    return Place(rank, count, address, port, _local_rank(environment, names))


def _whole(environment: Mapping[str, str], name: str, least: int) -> int:
    """Return the value of a variable that is a whole number.

    Raises:
        ValueError: it is none of at least `least`.
    """
    text = environment[name]
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or int(text) < least:
        raise ValueError(
            f"{name} is {printable(text)!r}; it must be a whole number of at least {least}"
        )
    return int(text)


def _address(environment: Mapping[str, str], names: tuple[str, str, str]) -> tuple[str, int]:
    """Return the address and the port of process 0.

    torchrun itself uses MASTER_PORT, so the next one is taken.
    """
    text = environment[names[2]]
    if names == _KERAS:
        address, _, port = text.split(",")[0].rpartition(":")
        if not address or not re.fullmatch(r"\d{1,5}", port, re.ASCII):
            raise ValueError(
                f"{names[2]} is {printable(text)!r}; it must be HOST:PORT of process 0, or a list "
                "that begins with it"
            )
        return address, _checked_port(int(port), names[2])
    has_port = bool(environment.get("MASTER_PORT", ""))
    if names == _TORCHRUN:
        port_number = _whole(environment, "MASTER_PORT", 1) if has_port else _TORCH_PORT
        return text, _checked_port(port_number + 1, "MASTER_PORT + 1")
    if has_port:
        port_number = _checked_port(_whole(environment, "MASTER_PORT", 1), "MASTER_PORT")
    else:  # one that other jobs on the same host are unlikely to have
        job = _whole(environment, "SLURM_JOB_ID", 0) if environment.get("SLURM_JOB_ID") else 0
        port_number = _FIRST_SLURM_PORT + job % _NUM_SLURM_PORTS
    return first_node(text), port_number


def _checked_port(port: int, name: str) -> int:
    if not 1 <= port <= 65535:
        raise ValueError(f"{name} has the port {port}; it must be from 1 to 65535")
    return port


def first_node(nodes: str) -> str:
    """Return the first host of a node list of SLURM.

    Example:
        >>> first_node("gpu[007-012,020],cpu3"), first_node("rack[1-2]node[3,5]")
        ('gpu007', 'rack1node3')
    """
    first = re.match(r"(?:[^\[,]|\[[^\]]*\])*", nodes)
    return nodes if first is None else re.sub(r"\[(\d+)[^\]]*\]", r"\1", first[0])


def _local_rank(environment: Mapping[str, str], names: tuple[str, str, str]) -> int | None:
    """Return the number of this process on its host if there are several, otherwise None."""
    rank_name, count_name = _LOCAL.get(names, ("", ""))
    counts = _expanded(environment.get(count_name, ""))
    node = environment.get("SLURM_NODEID", "") if names == _SLURM else ""
    if node.isdecimal() and int(node) < len(counts):
        counts = [counts[int(node)]]
    if max(counts, default=1) < 2 or not environment.get(rank_name, ""):
        return None
    return _whole(environment, rank_name, 0)


def _expanded(counts: str) -> list[int]:
    """Return the number of processes of each host: SLURM writes 2(x3),1 for 2, 2, 2 and 1."""
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", counts)
    return [int(count) for count, times in found for _ in range(int(times or 1))]
