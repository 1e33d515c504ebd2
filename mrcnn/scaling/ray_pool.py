"""Worker processes of Ray Data, each with a model, on this machine or on a cluster.

Each row of the dataset is the number of a shard. A worker that dies is started again, and its shard
goes to it or to another one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NoReturn, Protocol

from mrcnn.files.names import counted, printable
from mrcnn.scaling.plan import Plan
from mrcnn.scaling.shards import ShardOutcome, detect_shard

# Workers that may die over one shard, for lack of memory for example, before the run ends.
MAX_DEATHS = 6
# The rows are numbers; Ray would take a third of the memory of the machine.
_OBJECT_STORE_BYTES = 100_000_000
# What Ray prints at length about a worker that dies; it is counted in the outcomes.
_REMARKS = "worker died or was killed|task will be retried"
# How the text begins that Ray appends to the message of an exception of a worker.
_ADVICE = "Failed to apply UDF transform"
# Threads of a worker where neither their number nor that of the workers is given.
_THREADS = 2
# The most workers that one machine may start: the first times its CPU cores, or the second if that
# is more.
_WORKERS_PER_CORE, _MOST_WORKERS = 4, 16


class MakesModel(Protocol):
    """What makes the model of a worker; see `mrcnn.scaling.model_source.ModelSource`."""

    def load(self) -> Any:
        """Return the model."""


@dataclass(frozen=True)
class Pool:
    """The worker processes.

    Attributes:
        workers: their number.
        threads: CPU threads of each.
        gpus: GPUs of each; 0.5 lets two share one.
        address: address of a Ray cluster, "auto" for the one that this machine belongs to; None
            for this machine alone.
    """

    workers: int
    threads: int
    gpus: float = 0.0
    address: str | None = None

    def __str__(self) -> str:
        where = "this machine" if self.address is None else f"the cluster {self.address}"
        number = "1 process" if self.workers == 1 else f"{self.workers} processes"
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        gpus = f" and {self.gpus:g} GPUs" if self.gpus else ""
        return f"{number} with {threads}{gpus} each on {where}"


@dataclass(frozen=True)
class Job:
    """What every worker needs to know.

    Attributes:
        plan: the plan.
        source: makes the model.
        classes: ids of the classes to keep; None keeps all.
        batch_size: images that go into the network together.
        max_deaths: number of workers that may die over one shard.
    """

    plan: Plan
    source: MakesModel
    classes: Sequence[int] | None = None
    batch_size: int = 1
    max_deaths: int = MAX_DEATHS


class _Worker:
    """Runs in a process of its own; the model is made with the first shard."""

    def __init__(self, job: Job, threads: int) -> None:
        self._job, self._threads = job, threads
        self._model: Any = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        job, shard = self._job, int(batch["shard"][0])
        # Ray would repeat the work for ever.
        if (deaths := job.plan.note_attempt(shard)) >= job.max_deaths:
            first = printable(os.fsdecode(job.plan.read_shard(shard)[0]["source"]))
            raise RuntimeError(
                f"{deaths} workers died over shard {shard}, whose first image is {first}, probably "
                "for lack of memory: fewer workers, or a smaller MRCNN_MAX_PIXELS, may help"
            )
        if self._model is None:
            from mrcnn.startup.threads import limit_threads

            limit_threads(self._threads)
            os.environ["MRCNN_QUIET"] = "1"
            self._model = job.source.load()
        outcome = detect_shard(
            self._model,
            job.plan,
            shard,
            classes=job.classes,
            batch_size=job.batch_size,
        )
        columns = {**asdict(outcome), "deaths": deaths}
        return {name: [value] for name, value in columns.items()}


def num_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_cores(cores: int, workers: int | None, threads: int | None) -> tuple[int, int]:
    """Return the numbers of workers and of threads of each, chosen where they are not given.

    Args:
        cores: number of cores.
        workers: number of workers, or None.
        threads: number of threads of each, or None.

    Example:
        >>> share_cores(16, None, None), share_cores(16, 3, None), share_cores(2, 4, None)
        ((8, 2), (3, 5), (4, 1))
    """
    if threads is None:
        threads = max(1, min(_THREADS, cores) if workers is None else cores // workers)
    return workers or max(1, cores // threads), threads


def check_workers(workers: int | None, cores: int) -> None:
    """Raise ValueError for more workers than one machine can hold: each has a model in memory.

    Args:
        workers: number of workers; None for as many as the cores allow.
        cores: number of cores.
    """
    most = max(_MOST_WORKERS, _WORKERS_PER_CORE * cores)
    if workers is not None and workers > most:
        raise ValueError(
            f"workers is {workers}; it must be at most {most} on this machine, which has "
            f"{counted(cores, 'CPU core')}: each takes a core and over 1 GB of memory"
        )


@contextlib.contextmanager
def connected(address: str | None, workers: int | None, threads: int | None, gpus: float) -> Any:
    """Start Ray, or connect to a cluster, in the block; yield the `Pool`.

    Where Ray runs in this process already, that is used, and goes on afterwards.

    Raises:
        ConnectionError: there is no cluster at the address.
        ValueError: the cluster has too few cores or GPUs for the workers, or there are far more
            workers than this machine has cores.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # remarks about its own actors
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", _REMARKS)
    import ray
    import ray.data

    # Its errors come out as exceptions.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    if ray.is_initialized():
        yield _pool_within(address, workers, threads, gpus)
        return
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    with _signals_kept(), _without_stderr():
        if address is None:
            check_workers(workers, num_cores())
            workers, threads = share_cores(num_cores(), workers, threads)
            ray.init(
                "local",  # else a cluster of this machine, or of the environment, would be taken
                num_cpus=workers * threads,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                **quiet,
            )
        else:
            try:
                ray.init(address, **quiet)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise ConnectionError(
                    f"address is {address}; it must be that of a Ray cluster ({error})"
                ) from error
    try:
        yield _pool_within(address, workers, threads, gpus)
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Let signals do after the block what they did before; Ray sets handlers of its own."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                if handler is not None:
                    signal.signal(number, handler)


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Let nothing in the block write to stderr, in C++ either; errors are exceptions."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _pool_within(
    address: str | None, workers: int | None, threads: int | None, gpus: float
) -> Pool:
    """Return the workers; ValueError if Ray has not enough for them."""
    import ray

    resources = ray.cluster_resources()
    cores = int(resources.get("CPU", 0))
    workers, threads = share_cores(cores, workers, threads)
    for kind, wanted, there in (
        ("cores", workers * threads, cores),
        ("GPUs", workers * gpus, resources.get("GPU", 0)),
    ):
        if wanted > there:
            raise ValueError(
                f"workers is {workers}, which takes {wanted:g} {kind}; it must fit into the "
                f"{there:g} {kind} that there are"
            )
    return Pool(workers, threads, gpus, address)


def run_shards(job: Job, shards: Sequence[int], pool: Pool) -> Iterator[ShardOutcome]:
    """Detect on shards in the workers; yield what each gave, as soon as it is done.

    Args:
        job: what to do.
        shards: their numbers.
        pool: the workers; Ray is running.

    Raises:
        RuntimeError: `max_deaths` workers died over a shard.
        Exception: what a worker raised: the weights cannot be loaded, the disk is full.
    """
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True
    context.execution_no_progress_timeout_s = -1  # a shard may take hours
    rows = [{"shard": shard} for shard in shards]
    outcomes = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _Worker,
        fn_constructor_args=(job, pool.threads),
        batch_size=1,
        # A shard that waits behind another one would keep an idle worker waiting at the end.
        compute=ray.data.ActorPoolStrategy(
            size=min(pool.workers, len(rows)), max_tasks_in_flight_per_actor=1
        ),
        num_cpus=pool.threads,
        num_gpus=pool.gpus,
    )
    try:
        for row in outcomes.iter_rows():
            yield ShardOutcome(**row)
    except ray.exceptions.RayError as error:
        _raise_cause(error)
    except Exception as error:
        _drop_advice(error)
        raise


def _raise_cause(error: Exception) -> NoReturn:
    """Raise what a worker raised, without what Ray wraps it in."""
    import ray

    cause: BaseException | None = error
    while isinstance(cause, ray.exceptions.RayError):
        cause = getattr(cause, "cause", None) or cause.__cause__
    if cause is not None:
        _drop_advice(cause)
    raise cause or error


def _drop_advice(error: BaseException) -> None:
    """Take out of an exception's message what Ray appends about attempts and its settings."""
    own = [
        one.partition(_ADVICE)[0].rstrip("\n") if isinstance(one, str) else one
        for one in error.args
    ]
    error.args = tuple(new for new, old in zip(own, error.args) if new or not old)
