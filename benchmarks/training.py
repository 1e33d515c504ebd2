"""How long a training step takes, beside the floor that its arithmetic sets.

    python benchmarks/training.py [--quick] [--train-bn] [--json FILE]   (8 minutes; --quick 2)
    python benchmarks/training.py --peer-python PYTHON_WITH_TORCHVISION

Images of 640x480 with 10 objects, made in memory, loaded by `MaskRCNN.train` itself in two
threads; network input 512x512, batch 1, 200 ROIs, 81 classes, random weights. Every row is a
process of its own: one epoch that compiles, one that is measured.

step: median seconds. floor: the multiplications of all convolutions and matrix products of the
compiled step, gradients included, over the rate of a large matrix product of the same type in this
run. wait: share of the epoch that the step waited for data. first: the first step, which traces
and compiles. Matterport's: what its package took for the row on two cores with AVX-512.

With --peer-python instead: ResNet-50, all layers, beside torchvision's on the same threads, both in
float32 and bfloat16 (--precision: in one of them). The processes, two for each precision, take
turns, step by step, so that other load on the machine affects all of them equally: compare the
ratios. Data is loaded between the steps. Each process takes about 3 GB.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measures import machine, matrix_rate, tame_weights
from workers import Worker

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SIDE, OBJECTS, ROIS = 512, 10, 200
# Seconds a step of Matterport's package 2.1 on TensorFlow 1.15, two Xeon cores with AVX-512.
MATTERPORT = {
    ("resnet50", "all"): 15.4,
    ("resnet50", "heads"): 13.4,
    ("resnet101", "all"): 15.5,
    ("resnet101", "heads"): 12.4,
}
CASES = [
    (network, layers, precision)
    for network in ("resnet50", "resnet101")
    for layers in ("all", "heads")
    for precision in ("float32", "bfloat16")
]


def main() -> None:
    """Measure every case and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="ResNet-50 in float32 only")
    parser.add_argument("--only", help="one network: resnet50 or resnet101")
    parser.add_argument("--precision", help="float32 or bfloat16 alone")
    parser.add_argument("--layers", help="all or heads alone")
    parser.add_argument("--steps", type=int, default=5, help="steps that are measured")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--train-bn", action="store_true", help="train batch normalization (TRAIN_BN = None)"
    )
    parser.add_argument("--warm-steps", type=int, default=3, help="of --peer-python, left out")
    parser.add_argument("--peer-python", help="one with torchvision: compare with it")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    arguments = parser.parse_args()
    if arguments.peer_python:
        compare(arguments)
        return
    wanted = (arguments.only, arguments.layers, arguments.precision)
    if arguments.quick:
        wanted = ("resnet50", arguments.layers, "float32")
    cases = [
        case
        for case in CASES
        if all(wish in (None, value) for wish, value in zip(wanted, case, strict=True))
    ]
    report: dict[str, Any] = {"machine": machine(arguments.threads), "train_bn": arguments.train_bn}
    print(json.dumps(report["machine"]))
    print_heading()
    report["steps"] = []
    for case in cases:
        row = measure(case, arguments)
        print_row(row)
        report["steps"].append(row)
    report["machine"]["load_at_the_end"] = os.getloadavg()[0]
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def measure(case, arguments) -> dict[str, Any]:
    """Return the figures of one case, measured in a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    options = (there, *case, arguments.steps, arguments.threads, arguments.train_bn)
    process = context.Process(target=work, args=options)
    process.start()
    there.close()
    try:
        row = here.recv()
    except EOFError:
        raise SystemExit(f"the process of {' '.join(case)} ended without an answer") from None
    process.join()
    return row


def compare(arguments) -> None:
    """Time steps of ResNet-50 in turns with torchvision's; print a row for each precision."""
    report: dict[str, Any] = {"machine": machine(arguments.threads)}
    print(json.dumps(report["machine"]))
    with tempfile.TemporaryDirectory() as folder:
        precisions = [arguments.precision] if arguments.precision else ["float32", "bfloat16"]
        count, threads, steppers = arguments.warm_steps + arguments.steps, arguments.threads, {}
        for precision in precisions:
            steppers[f"mrcnn {precision}"] = OwnSteps(precision, count, threads)
            log = Path(folder) / f"{precision}.log"
            steppers[f"torchvision {precision}"] = PeerSteps(
                arguments.peer_python, precision, threads, log
            )
        seconds: dict[str, list[float]] = {name: [] for name in steppers}
        for number in range(count):
            for name, step in steppers.items():
                seconds[name].append(step())
            last = ", ".join(f"{name} {times[-1]:.2f} s" for name, times in seconds.items())
            print(f"step {number + 1} of {count}: {last}", flush=True)
        for step in steppers.values():
            step.stop()
    report["steps"] = compared_rows(seconds, arguments.warm_steps)
    report["machine"]["load_at_the_end"] = os.getloadavg()[0]
    for row in report["steps"]:
        peers = ", ".join(
            f"{name} takes {row[name]:.2f} times as long"
            for name in row
            if name.startswith("torchvision")
        )
        print(f"{row['name']:24} {row['seconds']:6.2f} s, least {row['least']:6.2f}; {peers}")
    print(f"load average at the end {report['machine']['load_at_the_end']:.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def compared_rows(seconds, warm_steps) -> list[dict[str, Any]]:
    """Return a row for each name: median and least seconds, and how long torchvision takes.

    Args:
        seconds: seconds of all steps by name, of which step i ran in the same turn.
        warm_steps: number of first steps to leave out.
    """
    rows = []
    for name, times in seconds.items():
        measured = np.array(times[warm_steps:])
        row = {"name": name, "seconds": float(np.median(measured)), "least": min(measured)}
        for peer in (name for name in seconds if name.startswith("torchvision")):
            row[peer] = float(np.median(np.array(seconds[peer][warm_steps:]) / measured))
        rows.append({**row, "all_steps_seconds": times})
    return rows


class OwnSteps:
    """Steps of this package in a process of its own; a call runs one and returns its seconds."""

    def __init__(self, precision, steps, threads):
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        options = (there, precision, steps, threads)
        self._process = context.Process(target=work_in_turns, args=options, daemon=True)
        self._process.start()
        there.close()

    def __call__(self) -> float:
        """Run a step."""
        self._pipe.send(None)
        try:
            return self._pipe.recv()
        except EOFError:
            raise SystemExit("the process of a training ended without an answer") from None

    def stop(self) -> None:
        """Wait for the end of the process, which follows its last step."""
        self._process.join()


class PeerSteps:
    """Steps of torchvision in a process of its own; a call runs one and returns its seconds."""

    def __init__(self, python, precision, threads, log):
        command = [python, Path(__file__).with_name("torchvision_training.py")]
        command += [precision, SIDE, ROIS, OBJECTS, threads]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self._worker = Worker(command, environment, log)
        self.stop = self._worker.stop

    def __call__(self) -> float:
        """Run a step."""
        answer = self._worker.ask("step")
        if "failed" in answer:
            raise SystemExit(f"torchvision failed: {answer['failed']}")
        return answer["seconds"]


def work_in_turns(pipe, precision, steps, threads) -> None:
    """Train one epoch in this process, a step for each request; answer with its seconds."""
    prepare_process(threads)
    with tempfile.TemporaryDirectory() as folder:
        train(folder, "resnet50", "all", precision, steps, False, 1, step_clock(pipe))


def work(pipe, network, layers, precision, steps, threads, train_bn) -> None:
    """Train two short epochs in this process and send the figures."""
    prepare_process(threads)
    import resource

    clock = step_clock()
    with tempfile.TemporaryDirectory() as folder:
        model, build_seconds, history = train(
            folder, network, layers, precision, steps, train_bn, epochs=2, clock=clock
        )
    config = model.config
    peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds = clock.seconds[-steps:]
    row = {
        **{"network": network, "layers": layers, "precision": precision},
        "step_seconds": float(np.median(seconds)),
        "all_steps_seconds": seconds,
        "first_step_seconds": clock.seconds[0],
        "build_seconds": build_seconds,
        "images_per_second": 1 / float(np.mean(seconds)) * (1 - history["wait"][-1]),
        "wait": history["wait"][-1],
        "peak_memory_gb": peak_memory,
        "loss": history["loss"][-1],
        "gflop": gflop(model.keras_model, config),
        "peak_gflops": matrix_rate(precision),
        "matterport_seconds": None if train_bn else MATTERPORT[network, layers],
    }
    row["floor_seconds"] = row["gflop"] / row["peak_gflops"]
    pipe.send(row)


def prepare_process(threads) -> None:
    """Set the number of threads and import the backend."""
    os.environ.update(
        OMP_NUM_THREADS=str(threads),
        TF_NUM_INTRAOP_THREADS=str(threads),
        MRCNN_QUIET="1",
        TF_CPP_MIN_LOG_LEVEL="3",
    )
    from mrcnn.startup.backend import import_backend

    import_backend()


def train(folder, network, layers, precision, steps, train_bn, epochs, clock):
    """Train epochs of a number of steps; return the model, its build seconds and the history."""
    from mrcnn.model import MaskRCNN

    config = network_config(network, precision, steps, train_bn)
    begun = time.perf_counter()
    model = MaskRCNN("training", config, folder)
    build_seconds = time.perf_counter() - begun
    tame_weights(model.keras_model)
    options = {"workers": 2, "seed": 0, "verbose": 0, "custom_callbacks": [clock]}
    history = model.train(ellipses_dataset(), None, 1e-5, epochs=epochs, layers=layers, **options)
    return model, build_seconds, history.history


def network_config(network, precision, steps, train_bn):
    """Return the settings of a network for training."""
    from mrcnn.config import Config

    config = Config()
    config.NAME, config.BACKBONE, config.NUM_CLASSES = "benchmark", network, 81
    config.GPU_COUNT = config.IMAGES_PER_GPU = 1
    config.IMAGE_MIN_DIM = config.IMAGE_MAX_DIM = SIDE
    config.TRAIN_ROIS_PER_IMAGE = ROIS
    config.STEPS_PER_EPOCH, config.PRECISION = steps, precision
    config.TRAIN_BN = None if train_bn else False
    return config


def ellipses_dataset():
    """Return a dataset of one image with ellipses as objects."""
    from loading import Ellipses

    return Ellipses(OBJECTS)


def step_clock(pipe=None):
    """Return a Keras callback that records the seconds of every step.

    Args:
        pipe: each step waits for a message from it, and answers with its seconds.
    """
    import keras

    class StepClock(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.seconds = []

        def on_train_batch_begin(self, batch, logs=None):
            if pipe:
                pipe.recv()
            self.begun = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            self.seconds.append(time.perf_counter() - self.begun)
            if pipe:
                pipe.send(self.seconds[-1])

    return StepClock()


def gflop(model, config) -> float:
    """Return billions of operations per step, two for each multiplication and addition.

    Those of the convolutions and matrix products, and of their gradients, in TensorFlow's graph.
    """
    import tensorflow as tf

    from mrcnn.graphs import normalized_anchors

    shapes = [(1, *x.shape[1:]) for x in model.inputs]
    shapes[0] = (1, *map(int, config.IMAGE_SHAPE))
    shapes[2] = (1, len(normalized_anchors(config, config.IMAGE_SHAPE)[0]), 1)
    inputs = [tf.TensorSpec(s, x.dtype) for s, x in zip(shapes, model.inputs, strict=True)]
    step = tf.function(lambda *inputs: model.train_step((inputs,)))
    return sum(map(operations, step.get_concrete_function(*inputs).graph.get_operations())) / 1e9


def operations(op) -> float:
    """Return the operations of a node of TensorFlow's graph: a convolution or product, else 0."""
    if op.type == "MatMul":
        inner = op.inputs[0].shape[0 if op.get_attr("transpose_a") else 1]
        return 2.0 * inner * np.prod(op.outputs[0].shape.as_list())
    if op.type in ("BatchMatMul", "BatchMatMulV2"):
        inner = op.inputs[0].shape[-2 if op.get_attr("adj_x") else -1]
        return 2.0 * inner * np.prod(op.outputs[0].shape.as_list(), dtype=float)
    # All three of a convolution meet every output with every weight of its window once.
    if op.type == "Conv2D":
        return 2.0 * np.prod([*op.outputs[0].shape, *op.inputs[1].shape[:3]], dtype=float)
    if op.type == "Conv2DBackpropInput":
        return 2.0 * np.prod([*op.inputs[2].shape, *op.inputs[1].shape[:3]], dtype=float)
    if op.type == "Conv2DBackpropFilter":
        return 2.0 * np.prod([*op.inputs[2].shape, *op.outputs[0].shape[:3]], dtype=float)
    return 0.0


def print_heading() -> None:
    """Print the names of the columns."""
    names = (
        "step s",
        "floor s",
        "step/floor",
        "images/s",
        "wait",
        "first s",
        "GB",
        "Matterport's s",
    )
    print(f"{'':28}" + "".join(f"{name:>{len(name) + 3}}" for name in names))


def print_row(row) -> None:
    """Print the figures of a case."""
    reference = row["matterport_seconds"]
    cells = (
        (9, f"{row['step_seconds']:.2f}"),
        (10, f"{row['floor_seconds']:.2f}"),
        (13, f"{row['step_seconds'] / row['floor_seconds']:.2f}"),
        (11, f"{row['images_per_second']:.3f}"),
        (7, f"{row['wait']:.3f}"),
        (10, f"{row['first_step_seconds']:.1f}"),
        (5, f"{row['peak_memory_gb']:.1f}"),
        (17, f"{reference:.1f}" if reference else ""),
    )
    name = f"{row['network']} {row['layers']:5} {row['precision']}"
    print(f"{name:28}" + "".join(f"{text:>{width}}" for width, text in cells), flush=True)


if __name__ == "__main__":
    main()
