"""Seconds until `mrcnn detect` has an answer for one photograph, and of each further one.

    python benchmarks/start.py PHOTO.jpg --before /path/of/an/older/version

Every start is a process of its own, in turns of the two versions: the first one with an empty
cache, then `--rounds` with the network in the cache. Beside the time on the clock stands that of
the CPU, which other work on the machine changes less. `further` is the time from reading the file
to the result of `detect` in a process that has done it before. The report is the median and, in
brackets, the least of the rounds. `--before` may be left out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measures import machine

HERE = Path(__file__).resolve().parents[1]
# A script of a user's; it prints the seconds of `further` images.
SCRIPT = """
import json, sys, time
import mrcnn
from mrcnn.datasets.image_files import read_image
model = mrcnn.load("small")
model.detect([read_image(sys.argv[1])])
seconds = []
for _ in range(int(sys.argv[2])):
    begun = time.perf_counter()
    model.detect([read_image(sys.argv[1])])
    seconds.append(time.perf_counter() - begun)
print(json.dumps({"seconds": seconds, "keras": "keras" in sys.modules}))
"""
IMAGES = 20


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photo", type=Path)
    parser.add_argument("--before", type=Path, help="source tree of an older version")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    trees = {"this version": HERE}
    if args.before is not None:
        trees = {"before": args.before.resolve(), **trees}
    print(json.dumps(machine(os.cpu_count() or 1)))
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.rounds + 1):
            for name, tree in trees.items():
                home = Path(folder) / name
                for what, times in measure(tree, home, args.photo.resolve(), number == 0):
                    found.setdefault((what, name), []).append(times)
                    print(f"{what}, {name}: {times[0]:.2f} s", file=sys.stderr)
    print(f"load at the end: {os.getloadavg()[0]:.1f}")
    print("| start | version | s | CPU s |")
    print("| --- | --- | ---: | ---: |")
    for (what, name), times in sorted(found.items()):
        print(f"| {what} | {name} | {' | '.join(map(summary, zip(*times)))} |")


def measure(tree: Path, home: Path, photo: Path, is_first: bool) -> list:
    """Return `(what, (seconds, CPU seconds))` of one round."""
    output = home / "out"
    command = ["-m", "mrcnn", "detect", str(photo), "--output", str(output)]
    if is_first:
        return [("1 detect, first of all", run(tree, home, command)[0])]
    results = [("2 detect", run(tree, home, command)[0])]
    times, text = run(tree, home, ["-c", SCRIPT, str(photo), str(IMAGES)])
    report = json.loads(text.splitlines()[-1])
    results.append((f"3 script of {IMAGES + 1} images", times))
    seconds = statistics.median(report["seconds"])
    return [*results, ("4 further image", (seconds, float("nan")))]


def run(tree: Path, home: Path, words: list[str]) -> tuple[tuple[float, float], str]:
    """Run Python on a source tree; return its seconds, its CPU seconds and what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "MRCNN_HOME": str(home / "cache")}
    before, begun = cpu_seconds(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words],
        env=environment,
        cwd=tree,
        capture_output=True,
        text=True,
    )
    times = time.perf_counter() - begun, cpu_seconds() - before
    if done.returncode:
        raise RuntimeError(done.stderr)
    return times, done.stdout


def cpu_seconds() -> float:
    """Return the CPU seconds of all processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def summary(values) -> str:
    """Return "median (least)"; an empty text where nothing was measured."""
    values = list(values)
    if values[0] != values[0]:
        return ""
    return f"{statistics.median(values):.2f} ({min(values):.2f})"


if __name__ == "__main__":
    main()
