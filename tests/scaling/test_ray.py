"""Workers of Ray: shares of the work, deaths, and errors. One small Ray for all tests."""

# ruff: noqa: E402 (where a package is missing, nothing more is imported)

import os
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ray = pytest.importorskip("ray", reason="the extra ray is not installed")

from mrcnn.scaling.listing import list_images
from mrcnn.scaling.places import ResultFolder
from mrcnn.scaling.plan import open_plan
from mrcnn.scaling.ray_pool import Job, connected, run_shards
from tests.scaling.conftest import COUNT, make_model

# Ray starts several processes, and each worker imports this package.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def two_cores():
    """Start Ray for all tests of this file."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        "local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100_000_000,
    )
    yield
    ray.shutdown()


def test_no_cluster_at_an_address(monkeypatch):
    """As on a machine where Ray does not run; the search for it would take a minute."""

    def fails(address, **options):
        raise ConnectionError("nothing there")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fails)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ConnectionError) as raised, connected("auto", 1, 1, 0):
        pass
    assert str(raised.value) == "address is auto; it must be that of a Ray cluster (nothing there)"
    assert signal.getsignal(signal.SIGTERM) is before


@dataclass
class Fake:
    """Makes the fake model, or fails.

    Attributes:
        notes: folder in which each worker notes its process and its threads.
        problem: "error" fails to make a model; "dies once" kills the process when a model is made
            for the first time, "dies" always.
    """

    notes: Path
    problem: str = ""

    def load(self):
        name = self.notes / str(os.getpid())
        name.write_text(os.environ["OMP_NUM_THREADS"])
        if self.problem == "error":
            raise ValueError("weights is pets.h5; it must be another file")
        others = len(os.listdir(self.notes))
        if self.problem == "dies" or (self.problem == "dies once" and others == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        return make_model()


@pytest.fixture
def job(folder, tmp_path):
    """Return a function that makes the job of a run over seven images in seven shards."""

    def make(problem=""):
        (tmp_path / "notes").mkdir()
        images, column = list_images([str(folder)])
        plan = open_plan(ResultFolder(tmp_path / "out"), images, column, {}, 1)
        return Job(plan, Fake(tmp_path / "notes", problem), max_deaths=2)

    return make


def work(job, workers, threads=1):
    """Run a job; return the outcomes of its shards by number."""
    with connected(None, workers, threads, 0) as pool:
        outcomes = list(run_shards(job, range(job.plan.num_shards), pool))
    return {outcome.shard: outcome for outcome in outcomes}


def check(job, outcomes):
    """Every image has one row."""
    assert sorted(outcomes) == list(range(COUNT))
    assert sum(outcome.images for outcome in outcomes.values()) == COUNT - 1
    assert len(job.plan.counts()) == COUNT
    place = Path(job.plan.folder.place)
    rows = Counter(row for kind in ("images", "failed")
                   for row in pq.read_table(place / kind)["image_id"].to_pylist())  # fmt: skip
    assert rows == Counter(range(1, COUNT + 1))


def test_two_workers_with_a_thread_each(job, tmp_path):
    one = job()
    check(one, work(one, 2))
    threads = [path.read_text() for path in (tmp_path / "notes").iterdir()]
    assert len(threads) in (1, 2) and set(threads) == {"1"}


def test_a_worker_that_dies_is_replaced(job, tmp_path):
    one = job("dies once")
    outcomes = work(one, 1, 2)
    check(one, outcomes)
    assert [outcomes[shard].deaths for shard in range(COUNT)] == [1, *[0] * (COUNT - 1)]
    threads = [path.read_text() for path in (tmp_path / "notes").iterdir()]
    assert threads == ["2", "2"]


def test_a_shard_over_which_workers_always_die_ends_the_run(job, folder):
    with pytest.raises(RuntimeError) as raised:
        work(job("dies"), 1)
    message = f"2 workers died over shard 0, whose first image is {folder}/p0.jpg, probably for"
    assert message in str(raised.value)


def test_an_error_of_a_worker_comes_out_as_it_is(job):
    with pytest.raises(ValueError) as raised:
        work(job("error"), 2)
    assert str(raised.value) == "weights is pets.h5; it must be another file"


@pytest.mark.parametrize(
    ("workers", "gpus", "message"),
    [
        (3, 0, "workers is 3, which takes 3 cores; it must fit into the 2 cores that there are"),
        (1, 1, "workers is 1, which takes 1 GPUs; it must fit into the 0 GPUs that there are"),
    ],
)
def test_more_workers_than_there_is_room_for(workers, gpus, message):
    with pytest.raises(ValueError) as raised, connected(None, workers, 1, gpus):
        pass
    assert str(raised.value) == message
