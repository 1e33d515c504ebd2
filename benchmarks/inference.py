"""How long detection takes, and what it needs, beside torchvision and the floor of its arithmetic.

    python benchmarks/inference.py [--json FILE]                  (all tables)
    python benchmarks/inference.py --only resnet101 start         (some of them)
    python benchmarks/inference.py --peer-python /path/to/a/python/with/torchvision

resnet101, resnet50, small: latency by stage. batch, area, objects: growth, with ResNet-50. memory:
peak of a process that detects. start: `mrcnn detect PHOTO` from the shell, with the small model.

Every engine works in a process of its own, and the processes take turns, image by image, so
that other load on the machine affects all of them equally: compare the ratios. Times are medians;
"least" is the shortest "all" of the rounds. The load average of the rounds is printed below each
table; a run is called disturbed if it exceeds the number of threads by 1 or more, or if a median is
more than 1.15 times the least of its rounds. Repeat a disturbed run before its times are compared.
The image is a photograph of 640x480 pixels, the network's input 1024x1024 (384x384 for the small
model). torchvision gets the same input size, number of detections and threads; beside the small
model it runs `maskrcnn_resnet50_fpn` at 384x384.

The networks have random weights, whose speed is that of trained ones, scaled where a random
ResNet diverges: residual branches by a tenth and box deltas by a hundredth. The classifier never
predicts background, and the minimum confidence is the tenth-best score: ten objects, of the
many that a random network finds.

all: reading the photograph and `detect`. bare: backbone, pyramid and RPN alone in the same engine;
"all" has the two heads besides. reference: the bare network in plain TensorFlow float32, with
direct convolutions and glibc's default allocation; for ResNet-101 it took 2.78 s where
Matterport's package took 3.66. /ref: over it. /peer: over torchvision's "all". floor: operations of
all convolutions and matrix products, as this precision computes them, over the rate of a large
matrix product of the same precision in this run. /direct: over the same with all convolutions
direct, of which float32 does some by Winograd's algorithm. "detections" is box arithmetic:
proposals, suppression.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measures import machine
from workers import Worker

HERE = Path(__file__).resolve().parent
OBJECTS = 10
STAGES = ("decode", "mold", "network", "detections", "paste")
REFERENCE = "reference:float32"
PEER = "torchvision:float32"
FEW_ENGINES = ("keras:float32", "openvino:float32", "openvino:bfloat16", PEER)
ALL_ENGINES = (*FEW_ENGINES, "keras:bfloat16", REFERENCE)
LATENCY = ("resnet101", "resnet50", "small")
SECTIONS = (*LATENCY, "batch", "area", "objects", "memory", "start")
PHOTO = (640, 480)
# A run is disturbed by other work where the load average exceeds the threads by the first number,
# or a median the least of its rounds by the second factor.
EXCESS_LOAD, EXCESS_TIME = 1.0, 1.15


def main() -> None:
    """Measure the tables of the command line and print them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="TABLE")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each engine")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--size", type=int, default=1024, help="of the ResNets' input; try out: 256"
    )
    parser.add_argument("--engines", nargs="+", help="ENGINE:PRECISION, openvino:int8 for instance")
    parser.add_argument(
        "--networks", nargs="+", default=["resnet101", "resnet50"], help="of memory"
    )
    parser.add_argument("--peer-python", default=sys.executable, help="one that has torchvision")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Benchmark(arguments, Path(folder)).run()


class Benchmark:
    """The sections, and what they share: options, photographs, the report."""

    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        self.report: dict[str, Any] = {"machine": machine(arguments.threads)}
        self._photos: dict[tuple, Path] = {}
        self._loads: list[float] = []  # at the beginning of each round of the last table
        self._logs = itertools.count()

    def run(self):
        """Measure and print every section; write the report."""
        print(json.dumps(self.report["machine"]))
        for section in self.arguments.only:
            try:
                if section in LATENCY:
                    self._latency(section)
                else:
                    getattr(self, f"_{section}")(section)
            except Exception as error:  # the other tables are worth having
                self.report[section] = {"failed": repr(error)}
                print(f"\n{section} failed: {error!r}")
            self._write()

    def _write(self):
        self.report["machine"]["load_at_the_end"] = os.getloadavg()[0]
        if self.arguments.json:
            self.arguments.json.write_text(json.dumps(self.report, indent=1) + "\n")

    # ---- tables of detection ---------------------------------------------------------------------

    def _latency(self, network):
        with self._workers(network, ALL_ENGINES) as workers:
            floor = Floor(workers)
            job = {"photo": self._photo(PHOTO), "objects": OBJECTS}
            rows = self._measure(workers, job, floor=floor)
            title = f"{network}, milliseconds per image"
            self._table(network, title, rows, floor)
            for label in (default_engine(workers), floor.describe()):
                if label:
                    print(label)

    def _batch(self, section):
        self._growth(section, [{"batch": batch} for batch in (1, 2, 4)])

    def _area(self, section):
        sizes = [PHOTO, (1280, 960), (4000, 3000)]
        self._growth(section, [{"photo": self._photo(size)} for size in sizes])

    def _objects(self, section):
        self._growth(section, [{"objects": objects} for objects in (0, 10, 100)])

    def _growth(self, section, changes):
        """A table for each change of the usual job; the ratios are to that of the first."""
        first: dict[str, float] = {}
        with self._workers("resnet50", FEW_ENGINES) as workers:
            for change in changes:
                job = {"photo": self._photo(PHOTO), "objects": OBJECTS, **change}
                rows = self._measure(workers, job, bare=False)
                batch = job.get("batch", 1)
                for row in rows:
                    all_seconds = row["seconds"]["all"]
                    row["images_per_second"] = batch / all_seconds
                    row["growth"] = all_seconds / first.setdefault(row["engine"], all_seconds)
                (what,) = change.values()
                what = Path(what).stem if section == "area" else what
                title = f"{section} {what}, resnet50, milliseconds"
                self._table(section, title, rows, change=what)
                self._write()

    def _measure(self, workers, job, floor=None, bare=True) -> list[dict[str, Any]]:
        """A row for each engine: medians of rounds in which they take turns."""
        rows, runs = {}, {}
        for label, worker in workers.items():
            answer = worker.ask("prepare", **job)
            if bare and "failed" not in answer:
                answer.update(worker.ask("run"))  # makes the bare network
            if "failed" in answer:
                print(f"left out: {label}: {answer['failed']}", flush=True)
                continue
            self.report["machine"].update(answer.get("versions", {}))
            rows[label] = {"engine": label, "objects": answer["objects"]}
            runs[label] = []
        self._loads = []
        for _ in range(self.arguments.rounds):
            self._loads.append(os.getloadavg()[0])
            for label in list(rows):
                answer = workers[label].ask("run", bare=bare)
                if "failed" in answer:
                    print(f"left out: {label}: {answer['failed']}", flush=True)
                    del rows[label]
                    continue
                runs[label].append(answer)
            if floor:
                floor.measure()
        self._loads.append(os.getloadavg()[0])
        for label, row in rows.items():
            row["rounds"] = runs[label]
            row["least_seconds"] = min(run["all"] for run in runs[label])
            row["seconds"] = {
                name: float(np.median([run[name] for run in runs[label]]))
                for name in runs[label][0]
            }
        reference = rows.get(REFERENCE, {}).get("seconds", {}).get("all")
        peer = rows.get(PEER, {}).get("seconds", {}).get("all")
        for row in rows.values():
            seconds = row["seconds"]
            # Of each round by itself: what else the machine does changes from round to round.
            if "bare" in seconds:
                pairs = [run["all"] / run["bare"] for run in row["rounds"]]
                row["all_over_bare"] = float(np.median(pairs))
            row["all_over_reference"] = seconds["all"] / reference if reference else None
            row["all_over_peer"] = seconds["all"] / peer if peer else None
        return list(rows.values())

    def _table(self, section, title, rows, floor=None, **facts):
        for row in rows:
            row.update(facts)
            if floor:
                row["floor_seconds"] = floor.seconds(row["engine"])
                row["all_over_floor"] = over(row["seconds"]["all"], row["floor_seconds"])
                row["all_over_direct"] = over(
                    row["seconds"]["all"], floor.seconds(row["engine"], "direct")
                )
        run = {"loads": self._loads}
        run["disturbed"] = disturbances(rows, self._loads, self.arguments.threads)
        report = self.report.setdefault(section, {"rows": [], "runs": []})
        report["rows"] += rows
        report["runs"].append(run)
        if floor:
            report.update(gflop=floor.gflop, peak_gflops=floor.peaks)
        print_table(title, rows)
        print(f"load average {min(self._loads):.1f} to {max(self._loads):.1f}")
        if run["disturbed"]:
            print(f"disturbed: {', '.join(run['disturbed'])}", flush=True)

    # ---- tables of processes ---------------------------------------------------------------------

    def _memory(self, section):
        """Each engine alone: first where nothing is in the cache, then where it is."""
        rows = self.report[section] = []
        job = {"photo": self._photo(PHOTO), "objects": OBJECTS}
        print("\nmemory: peak of a process that detects, GB")
        print(f"{'':34}{'first':>9}{'then':>9}{'/peer':>9}{'objects':>9}")
        for network in self.arguments.networks:
            peer = None
            for label in sorted(self._labels(FEW_ENGINES), key=lambda label: label != PEER):
                answers: list[dict[str, Any]] = []
                for confidence in (None, "as found"):
                    worker = self._worker(network, label)
                    if confidence:
                        confidence = answers[0].get("confidence")
                    answer = worker.ask("prepare", **job, confidence=confidence)
                    answers.append({**worker.ask("memory"), **answer})
                    worker.stop()
                    if "failed" in answer:
                        break
                if "failed" in answers[-1]:
                    print(f"left out: {network} {label}: {answers[-1]['failed']}", flush=True)
                    continue
                first = answers[0].get("first_peak_gb", answers[0]["peak_memory_gb"])
                then = answers[1]["peak_memory_gb"]
                peer = then if label == PEER else peer
                row = {"network": network, "engine": label, "objects": answers[1]["objects"]}
                row.update(first_gb=first, then_gb=then, over_peer=over(then, peer))
                rows.append(row)
                cells = [f"{first:.2f}", f"{then:.2f}", ratio(row["over_peer"]), row["objects"]]
                print(
                    f"{network} {label}".ljust(34) + "".join(f"{c:>9}" for c in cells), flush=True
                )
                self._write()

    def _start(self, section):
        """Seconds and memory of one image from the shell, with an empty cache and with a full."""
        photo = self._photo(PHOTO)
        detect = ["-m", "mrcnn", "detect", photo]
        importing = "from mrcnn.startup.backend import import_backend; import_backend()"
        peer = [HERE / "torchvision_peer.py", "resnet50", 384, self.arguments.threads, photo]
        commands = {"imports alone": [sys.executable, "-c", importing]}
        for engine in ("keras", "openvino"):
            out = ["--engine", engine, "--output", self.folder / engine]
            commands[engine] = [sys.executable, *detect, *out]
        commands["torchvision"] = [self.arguments.peer_python, *peer]
        rows = {name: {"engine": name, "runs": []} for name in commands}
        print("\nstart: mrcnn detect on one image with the small model, from the shell")
        for _ in range(1 + self.arguments.rounds):
            for name, command in commands.items():
                if "failed" in rows[name]:
                    continue
                run = self._time_command(command, home=self.folder / f"home {name}")
                if "failed" in run:
                    rows[name]["failed"] = run["failed"]
                    print(f"left out: {name}: {run['failed']}", flush=True)
                    continue
                rows[name]["runs"].append(run)
        rows = [row for row in rows.values() if "failed" not in row]
        print(f"{'':22}{'first s':>9}{'then s':>9}{'/peer':>9}{'GB':>9}")
        for row in rows:
            first, *then = row.pop("runs")
            row["first_seconds"] = first["seconds"]
            row["then_seconds"] = float(np.median([run["seconds"] for run in then]))
            row["peak_memory_gb"] = max(run["peak_memory_gb"] for run in then)
        peer_seconds = rows[-1]["then_seconds"] if rows[-1]["engine"] == "torchvision" else None
        for row in rows:
            row["over_peer"] = over(row["then_seconds"], peer_seconds)
            cells = [f"{row['first_seconds']:.1f}", f"{row['then_seconds']:.1f}"]
            cells += [ratio(row["over_peer"]), f"{row['peak_memory_gb']:.2f}"]
            print(f"{row['engine']:22}" + "".join(f"{cell:>9}" for cell in cells))
        self.report[section] = rows

    def _time_command(self, command, home):
        # A user's Python keeps what it has compiled, whatever the shell of this one says.
        environment = {**self._environment(home), "PYTHONDONTWRITEBYTECODE": ""}
        log = self.folder / "command.log"
        pipes = {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
        words = [str(word) for word in command]
        begun = time.perf_counter()
        try:
            with open(log, "wb") as file:
                process = subprocess.Popen(
                    words, env=environment, cwd=HERE.parent, stdout=file, **pipes
                )
        except OSError as error:  # there is no such Python
            return {"failed": str(error)}
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            return {"failed": (log.read_text(errors="replace").strip().splitlines() or [""])[-1]}
        return {"seconds": seconds, "peak_memory_gb": usage.ru_maxrss / 2**20}

    # ---- processes and photographs ---------------------------------------------------------------

    def _labels(self, usual):
        """Return the usual engines, or those of the command line with the usual peers."""
        beside = [label for label in usual if not is_ours(label)]
        chosen = self.arguments.engines
        return list(dict.fromkeys([*chosen, *beside])) if chosen else usual

    def _workers(self, network, usual):
        return Workers({label: self._worker(network, label) for label in self._labels(usual)})

    def _worker(self, network, label):
        engine, precision = label.split(":")
        size, threads = self.arguments.size, self.arguments.threads
        if engine == "torchvision":
            # It has no such small network; the input is as small.
            size = 384 if network == "small" else size
            command = [self.arguments.peer_python, HERE / "torchvision_peer.py"]
            command += [network, size, threads]
        else:
            command = [sys.executable, HERE / "mrcnn_worker.py", network, engine, precision, size]
        log = self.folder / f"worker-{next(self._logs)}.log"
        environment = self._environment(self.folder / "home")
        if label == REFERENCE:
            environment["MRCNN_KEEP_MEMORY"] = "0"
        return Worker(command, environment, log)

    def _environment(self, home):
        threads = str(self.arguments.threads)
        return {
            **os.environ,
            "KERAS_BACKEND": "tensorflow",
            "MRCNN_ENGINE": "auto",
            "MRCNN_HOME": str(home),
            "MRCNN_QUIET": "1",
            "OMP_NUM_THREADS": threads,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_NUM_INTRAOP_THREADS": threads,
        }

    def _photo(self, size) -> str:
        """Return the path of a JPEG of this size of a photograph that comes with scikit-image."""
        if size not in self._photos:
            import cv2
            import skimage.data

            path = self.folder / f"{size[0]}x{size[1]}.jpg"
            image = cv2.resize(skimage.data.astronaut()[:384], size)
            cv2.imwrite(str(path), image[..., ::-1])
            self._photos[size] = path
        return str(self._photos[size])


class Workers(dict):
    """Workers by label that are stopped at the end of the block."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in self.values():
            worker.stop()


class Floor:
    """The shortest possible time: operations over the best rate of this run."""

    def __init__(self, workers):
        self._workers = workers
        self._rater = next((w for label, w in workers.items() if is_ours(label)), None)
        self.peaks: dict[str, float] = {}
        self.gflop: dict[str, float] = {}

    def measure(self):
        """Measure the rates again and keep the best: other load on the machine varies."""
        rates = self._rater.ask("rates") if self._rater else {}
        if "failed" not in rates:
            for precision, rate in rates.items():
                self.peaks[precision] = max(rate, self.peaks.get(precision, 0.0))
        for label, worker in self._workers.items():
            if not self.gflop and label in ("openvino:float32", "openvino:bfloat16"):
                gflop = worker.ask("gflop", objects=OBJECTS)
                self.gflop = {} if "failed" in gflop else gflop

    def seconds(self, label, way=None):
        """Return the floor of an engine; `way` is "direct", or None for its own convolutions."""
        precision = label.split(":")[1]
        peak = self.peaks.get(precision)
        if not (peak and self.gflop) or not is_ours(label):
            return None  # torchvision's network is another
        way = way or ("float32" if precision == "float32" else "direct")
        return self.gflop[way] / peak

    def describe(self):
        """Return the numbers behind the floor as a line of text."""
        if not self.gflop or not self.peaks:
            return "no floor: it needs OpenVINO to count operations"
        rates = ", ".join(f"{rate:.0f} in {name}" for name, rate in self.peaks.items())
        return (
            f"{self.gflop['direct']:.0f} billion operations, {self.gflop['trunk']:.0f} of them in "
            f"the bare network; {self.gflop['float32']:.0f} in float32; billions a second: {rates}"
        )


def is_ours(label):
    """Return whether the label is `MaskRCNN.detect` with one of its engines."""
    return label not in (PEER, REFERENCE)


def default_engine(workers):
    """Return which engine `auto` selects, as a line of text; None where no worker says."""
    for label, worker in workers.items():
        if is_ours(label):
            answer = worker.ask("default_engine")
            if "failed" not in answer:
                return f"the default here: {answer['engine']} {answer['precision']}"
    return None


# ---- printing ------------------------------------------------------------------------------------


def print_table(title, rows):
    """Print rows with the columns that have values."""
    columns = {stage: lambda row, s=stage: ms(row["seconds"].get(s)) for stage in (*STAGES, "all")}
    columns |= {
        "least": lambda row: ms(row["least_seconds"]),
        "growth": lambda row: ratio(row.get("growth")),
        "a second": lambda row: ratio(row.get("images_per_second")),
        "bare": lambda row: ms(row["seconds"].get("bare")),
        "all/bare": lambda row: ratio(row.get("all_over_bare")),
        "all/ref": lambda row: ratio(row["all_over_reference"]),
        "all/peer": lambda row: ratio(row["all_over_peer"]),
        "floor": lambda row: ms(row.get("floor_seconds")),
        "/floor": lambda row: ratio(row.get("all_over_floor")),
        "/direct": lambda row: ratio(row.get("all_over_direct")),
        "objects": lambda row: str(row["objects"]),
    }
    cells = {name: [cell(row) for row in rows] for name, cell in columns.items()}
    cells = {name: column for name, column in cells.items() if any(column)}
    widths = {name: max(9, len(name) + 1) for name in cells}
    print(f"\n{title} (medians)")
    print(" " * 20 + "".join(name.rjust(widths[name]) for name in cells))
    for i, row in enumerate(rows):
        line = "".join(column[i].rjust(widths[name]) for name, column in cells.items())
        print(f"{row['engine']:20}{line}", flush=True)


def disturbances(rows, loads, threads) -> list[str]:
    """Return the signs of other work on the machine during the rounds of a table."""
    signs = []
    if max(loads) >= threads + EXCESS_LOAD:
        signs.append(f"load average {max(loads):.1f} with {threads} threads")
    for row in rows:
        factor = row["seconds"]["all"] / row["least_seconds"]
        if factor > EXCESS_TIME:
            signs.append(f"{row['engine']} {factor:.2f} times its least")
    return signs


def over(one, other):
    """Return the quotient; None where a value is missing."""
    return one / other if one and other else None


def ratio(value) -> str:
    """Return a ratio as text."""
    return "" if value is None else f"{value:.2f}"


def ms(seconds) -> str:
    """Return seconds as text in milliseconds."""
    return "" if seconds is None else f"{seconds * 1e3:.1f}"


if __name__ == "__main__":
    main()
