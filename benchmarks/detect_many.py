"""`mrcnn detect-many`: kills at random moments, throughput beside one process, and memory.

    python benchmarks/detect_many.py ../shared/data/everyday/images --kills 10
    python benchmarks/detect_many.py ../shared/data/everyday/images --count 400 --throughput

With `--kills`, a run over the images is disturbed at random moments: one of its workers is killed
with SIGKILL, or the whole command, which is then started again. At the end every image must have
exactly one row, in images/ or in failed/. With `--throughput`, the same images go through one
process that uses all cores (`detect_files`), and through workers that share them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Seconds between two kills, at least and at most.
PAUSES = (5.0, 25.0)


def main() -> None:
    """Read the options and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", help="folder of images")
    parser.add_argument("--count", type=int, default=2000, help="number of images")
    parser.add_argument("--weights", default="small")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--throughput", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(CHILDREN[options.child](options)))
        return
    with tempfile.TemporaryDirectory(prefix="mrcnn-bench-") as folder:
        listed = write_list(Path(options.images), options.count, Path(folder) / "images.txt")
        print(f"{listed} images, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        if options.kills:
            disturbed(options, Path(folder))
        if options.throughput:
            throughput(options, Path(folder))


def write_list(images: Path, count: int, target: Path) -> int:
    """Write a list of the first images of a folder; return their number."""
    found = sorted(images.resolve().glob("*.jpg"))[:count]
    target.write_text("".join(f"{path}\n" for path in found))
    return len(found)


# ---- kills ---------------------------------------------------------------------------------------


def disturbed(options: argparse.Namespace, folder: Path) -> None:
    """Kill workers and commands at random moments until all kills are done, then let it end."""
    rng, output = random.Random(options.seed), folder / "found"
    words = ["detect-many", str(folder / "images.txt"), "--output", str(output), "--quiet"]
    words += ["--weights", options.weights, "--workers", str(options.workers)]
    words += ["--shard-size", "20"]
    # The kind of each kill: half of them take one worker, half the whole command.
    kinds = ["worker", "command"] * (options.kills // 2) + ["worker"] * (options.kills % 2)
    rng.shuffle(kinds)
    killed: Counter[str] = Counter()
    begun, starts, process = time.time(), 0, None
    while True:
        if process is None:
            process = subprocess.Popen([sys.executable, "-m", "mrcnn", *words], cwd=ROOT)
            starts += 1
        try:
            code = process.wait(rng.uniform(*PAUSES) if kinds else None)
            break
        except subprocess.TimeoutExpired:
            pass
        if kinds[0] == "command":
            process.kill()
            process.wait()
            process = None
        else:
            workers = workers_of(process.pid)
            if not workers:  # still starting
                continue
            os.kill(rng.choice(workers), signal.SIGKILL)
        killed[kinds.pop(0)] += 1
        done = len(list(output.glob("images/part-*")))
        print(f"  {time.time() - begun:5.0f} s  killed: {dict(killed)}  {done} shards", flush=True)
    print(
        f"{sum(killed.values())} kills ({dict(killed)}), {starts} starts, exit code {code}, "
        f"{time.time() - begun:.0f} s; left to kill: {len(kinds)}"
    )
    print(compare(folder / "images.txt", output))


def workers_of(parent: int) -> list[int]:
    """Return the processes with a model among the descendants of a process."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text()
                names[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = []
    for pid, name in names.items():
        ancestor = pid
        while ancestor in parents and ancestor != parent:
            ancestor = parents[ancestor]
        if ancestor == parent and "_Worker" in name:
            found.append(pid)
    return sorted(found)


def compare(listed: Path, output: Path) -> str:
    """Return how the rows of the results fit the list of images."""
    import pyarrow.parquet as pq

    wanted = Counter(listed.read_text().split("\n")[:-1])
    images = pq.read_table(output / "images").to_pylist()
    failed = pq.read_table(output / "failed").to_pylist() if any(output.glob("failed/*")) else []
    objects = Counter(pq.read_table(output / "objects")["image_id"].to_pylist())
    rows = Counter(row["source"] for row in (*images, *failed))
    fits = all(objects[row["image_id"]] == row["num_objects"] for row in images)
    return (
        f"images {wanted.total()}, rows {rows.total()} ({len(failed)} failed), exactly once: "
        f"{rows == wanted}; objects {objects.total()}, those of every image: "
        f"{fits and set(objects) <= {row['image_id'] for row in images}}"
    )


# ---- throughput ----------------------------------------------------------------------------------


def throughput(options: argparse.Namespace, folder: Path) -> None:
    """Print images a second of one process and of workers, and compare what they find."""
    print("| | processes x threads | images/s | with the start | memory of one, GB |")
    print("| --- | --- | ---: | ---: | ---: |")
    cores = os.cpu_count() or 1
    shape = f"{options.workers} x {max(1, cores // options.workers)}"
    modes = {"one": ("detect_files", f"1 x {cores}"), "many": ("detect_many", shape)}
    rates = {}
    for mode, (name, shape) in modes.items():
        words = [__file__, str(folder), "--weights", options.weights, "--child", mode]
        words += ["--workers", str(options.workers)]
        found: dict[str, Any] = json.loads(
            subprocess.run(
                [sys.executable, *words], cwd=ROOT, check=True, capture_output=True, text=True
            ).stdout.splitlines()[-1]
        )
        rates[mode] = found["rate"]
        print(
            f"| {name} | {shape} | {found['rate']:.2f} | {found['rate_in_all']:.2f} | "
            f"{found['peak_gb']:.2f} |",
            flush=True,
        )
    print(f"workers over one process: {rates['many'] / rates['one']:.2f}")
    one = json.loads((folder / "one" / "detections.json").read_text())
    many = json.loads((folder / "many" / "detections.json").read_text())
    same = sum(
        a["image_id"] == b["image_id"] and a["category_id"] == b["category_id"]
        and max(abs(p - q) for p, q in zip(a["bbox"], b["bbox"])) <= 1
        for a, b in zip(sorted(one, key=_order), sorted(many, key=_order))
    )  # fmt: skip
    print(f"objects {len(one)} and {len(many)}, the same: {same}")


def _order(entry: dict[str, Any]) -> tuple[Any, ...]:
    return entry["image_id"], entry["category_id"], entry["bbox"]


def child_one(options: argparse.Namespace) -> dict[str, float]:
    """Detect in this process; the rate is that from the first result to the last."""
    import resource

    import mrcnn
    from mrcnn.detection import detect_files

    folder, begun = Path(options.images), time.perf_counter()
    model = mrcnn.load(options.weights)
    count, first = 0, 0.0
    for _ in detect_files(model, folder / "images.txt", folder / "one", save="coco"):
        count += 1
        first = first or time.perf_counter()
    now = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rate = (count - 1) / (now - first)
    return {"rate": rate, "rate_in_all": count / (now - begun), "peak_gb": peak}


def child_many(options: argparse.Namespace) -> dict[str, float]:
    """Detect in workers; the rate is that after each worker's first shard."""
    from mrcnn.scaling.many import ManyRun
    from mrcnn.scaling.model_source import ModelSource

    folder, workers = Path(options.images), options.workers
    begun = time.perf_counter()
    source = ModelSource(options.weights)
    run = ManyRun([folder / "images.txt"], folder / "many", source, shard_size=10)
    done = [(time.perf_counter(), outcome) for outcome in run.process(workers=workers)]
    now = time.perf_counter()
    run.write_coco()
    images = [outcome.images + outcome.failed for _, outcome in done]
    rate = sum(images[workers:]) / (done[-1][0] - done[workers - 1][0])
    peak = max(outcome.peak_mb for _, outcome in done) / 1000
    return {"rate": rate, "rate_in_all": sum(images) / (now - begun), "peak_gb": peak}


CHILDREN = {"one": child_one, "many": child_many}

if __name__ == "__main__":
    main()
