"""How long detection takes, stage by stage, beside the bare network, torchvision and the floor.

    python benchmarks/inference.py [--quick] [--json FILE]     (8 minutes; --quick 2)

Every engine works in a process of its own, and the processes take turns, picture by picture, so
that whatever else the machine does falls on all of them alike: read the ratios. The picture is a
photograph of 640x480 pixels, the network's input 1024x1024 (384x384 for the small model).

The networks have random weights, whose speed is that of trained ones, made tame where a random
ResNet explodes: residual branches weigh a tenth and box deltas a hundredth. The classifier never
says "background", and DETECTION_MIN_CONFIDENCE lies at the tenth-best detection's score: ten
objects, from the many that a random network finds. torchvision gets the same input size, its
`box_detections_per_img` is 10. int8 is calibrated on two pictures, which is enough to time it.

bare: backbone, pyramid and RPN alone in the same engine. floor: the multiplications of all
convolutions and matrix products over the rate of a large float32 matrix product in this run.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measures import machine, matrix_rate, tame_weights

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

OBJECTS = 10
STAGES = ("decode", "mold", "network", "boxes", "paste")
# What runs: (network, engine, precision).
CASES = [
    ("resnet50", "torchvision", "float32"),
    *(
        (network, *how)
        for network in ("resnet50", "resnet101", "small")
        for how in (("openvino", "float32"), ("keras", "float32"), ("openvino", "int8"))
    ),
]
QUICK = [case for case in CASES if case[0] != "resnet101" and case[2] != "int8"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="ResNet-50 and small, float32 only")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, help="pictures for each engine (5; --quick 3)")
    parser.add_argument("--only", help="one network: resnet50, resnet101 or small")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (3 if arguments.quick else 5)
    cases = [
        case for case in (QUICK if arguments.quick else CASES) if arguments.only in (None, case[0])
    ]
    report: dict[str, Any] = {"machine": machine(arguments.threads), "latency": []}
    print(json.dumps(report["machine"]))
    with tempfile.TemporaryDirectory() as folder:
        photo = make_photo(Path(folder))
        for network in dict.fromkeys(case[0] for case in cases):
            group = [case for case in cases if case[0] == network]
            rows = measure_group(group, photo, folder, arguments.threads, rounds)
            print_latency(network, rows)
            report["latency"] += rows
        report["starts"] = [
            measure_start(engine, photo, folder, arguments.threads)
            for engine in ("keras", "openvino")
            if arguments.only in (None, "small")
        ]
    print_starts(report["starts"])
    report["machine"]["load_at_the_end"] = os.getloadavg()[0]
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def make_photo(folder: Path) -> Path:
    """A JPEG of 640x480 pixels, of a photograph that comes with scikit-image."""
    import cv2
    import skimage.data

    path = folder / "photo.jpg"
    picture = cv2.resize(skimage.data.astronaut()[:384], (640, 480))
    cv2.imwrite(str(path), picture[..., ::-1])
    return path


# ---- one process for each engine -----------------------------------------------------------------


def measure_group(group, photo, folder, threads, rounds) -> list[dict[str, Any]]:
    """Figures of several engines on one network, which take turns."""
    context = multiprocessing.get_context("spawn")
    workers, rows, threshold = [], [], None
    for network, engine, precision in group:
        row = {"network": network, "engine": engine, "precision": precision}
        here, there = context.Pipe()
        options = (there, network, engine, precision, str(photo), folder, threads, threshold)
        process = context.Process(target=work, args=options, daemon=True)
        process.start()
        there.close()
        ready = receive(here)
        if "missing" in ready:
            print(f"left out: {engine} {precision}: {ready['missing']}")
            continue
        threshold = ready.pop("threshold", threshold)
        workers.append((process, here))
        rows.append({**row, **ready, "runs": []})
    for _ in range(rounds):
        for row, (_, pipe) in zip(rows, workers):
            pipe.send("run")
            row["runs"].append(receive(pipe))
    for row, (process, pipe) in zip(rows, workers):
        pipe.send("stop")
        row.update(receive(pipe))
        process.join()
        runs = row.pop("runs")
        row["seconds"] = {key: float(np.median([run[key] for run in runs])) for key in runs[0]}
    peak = max((row.pop("peak_gflops", 0) for row in rows), default=0)
    for row in rows:
        if peak and row.get("gflop"):
            row["floor_seconds"] = row["gflop"] / peak
            row["peak_gflops"] = peak
    return rows


def receive(pipe) -> dict[str, Any]:
    try:
        answer = pipe.recv()
    except EOFError:
        return {"missing": "its process ended"}
    return answer


def work(pipe, network, engine, precision, photo, folder, threads, threshold) -> None:
    """A process: sets up, says what it is, then runs whenever it is told to."""
    os.environ.update(
        OMP_NUM_THREADS=str(threads),
        TF_NUM_INTRAOP_THREADS=str(threads),
        MRCNN_HOME=folder,
        MRCNN_QUIET="1",
        TF_CPP_MIN_LOG_LEVEL="3",
    )
    try:
        if engine == "torchvision":
            run, facts = torchvision_runner(photo, threads)
        else:
            run, facts = our_runner(network, engine, precision, photo, threshold)
        run()  # compiles what is left to compile
    except ImportError as error:
        pipe.send({"missing": str(error)})
        return
    pipe.send(facts)
    while pipe.recv() == "run":
        pipe.send(run())
    import resource

    pipe.send({"peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20})


def torchvision_runner(photo, threads):
    """`run() -> seconds by stage` of torchvision's Mask R-CNN at 1024x1024, ten detections."""
    import cv2
    import torch
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        min_size=1024,
        max_size=1024,
        box_detections_per_img=OBJECTS,
        box_score_thresh=0.0,
    )
    model = model.eval().to(memory_format=torch.channels_last)

    def run():
        clock = Clock()
        image = cv2.imread(photo)[..., ::-1]
        clock.lap("decode")
        # Square, as our input is; its own transform changes the size no more then.
        image = cv2.resize(image, (1024, 1024))
        tensor = torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255
        clock.lap("mold")
        with torch.inference_mode():
            (result,) = model([tensor])
        clock.lap("network")
        run.objects = len(result["boxes"])
        return clock.seconds

    run()
    return run, {"objects": run.objects}


def our_runner(network, engine, precision, photo, threshold):
    """`run() -> seconds by stage` of this package, and facts about it."""
    from mrcnn.quiet import import_backend

    import_backend()
    import keras

    from mrcnn import detecting
    from mrcnn.datasets.image_files import read_image
    from mrcnn.engines import pieces
    from mrcnn.engines.keras_engine import compiled
    from mrcnn.model import MaskRCNN

    def build(threshold):
        config = network_config(network)
        config.DETECTION_MIN_CONFIDENCE = threshold
        calibration = [photo, photo] if precision == "int8" else None
        model = MaskRCNN(
            *("inference", config, "logs"),
            engine=engine,
            precision=precision,
            calibration=calibration,
        )
        tame_weights(model.keras_model)
        return model

    image = read_image(photo)
    if threshold is None:
        scores = build(0.0).detect([image], rle=True)[0]["scores"]
        threshold = float(np.sort(scores)[::-1][:OBJECTS][-1]) * 0.99999
    model = build(threshold)
    (molded,), _, _ = detecting.mold_inputs([image], model.config)
    anchors = model.get_anchors(molded.shape)
    if engine == "keras":
        trunk = compiled(pieces.trunk_graph(model._shared))
        facts = {"peak_gflops": matrix_rate()}
    else:
        model.engine.prepare()
        trunk = functools.partial(model.engine._infer, "trunk")
        facts = {"gflop": gflop(model, molded.shape)}

    def bare():
        output = trunk([molded[None]]) if engine == "keras" else trunk(molded[None])
        return keras.ops.convert_to_numpy(output[0]).shape if engine == "keras" else None

    clock = Clock()
    if engine == "openvino":
        # Everything between the pieces is box arithmetic.
        for name in ("_proposals", "_detections"):
            setattr(model.engine, name, clock.around("boxes", getattr(model.engine, name)))

    def run():
        clock.start()
        image = read_image(photo)
        clock.lap("decode")
        (molded,), metas, _ = detecting.mold_inputs([image], model.config)
        clock.lap("mold")
        detections, masks = model.engine.run(molded[None], metas, anchors)
        clock.lap("network")
        result = detecting.unmold(detections[0], masks[0], detecting.places_of(metas[0]))
        clock.lap("paste")
        run.objects = len(result["rois"])
        seconds = clock.seconds
        clock.start()
        bare()
        clock.lap("bare")
        return {**seconds, **clock.seconds}

    bare()
    run()
    return run, {"objects": run.objects, "threshold": threshold, **facts}


class Clock:
    """Adds up seconds by name."""

    def __init__(self):
        self.start()

    def start(self):
        self.seconds = {}
        self.inside = 0.0
        self.last = time.perf_counter()

    def lap(self, name):
        """The time since the last lap belongs to `name`, but for what `around` has counted."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0) + now - self.last - self.inside
        self.last, self.inside = now, 0.0

    def around(self, name, function):
        def timed(*arguments):
            begun = time.perf_counter()
            result = function(*arguments)
            result = result.numpy() if hasattr(result, "numpy") else result
            spent = time.perf_counter() - begun
            self.seconds[name] = self.seconds.get(name, 0) + spent
            self.inside += spent
            return result

        return timed


def network_config(network):
    from mrcnn.config import Config

    if network == "small":
        from mrcnn.cli.weights import describe_weights

        config = describe_weights("small").config
    else:
        config = Config()
        config.NAME, config.BACKBONE, config.NUM_CLASSES = "benchmark", network, 81
    config.GPU_COUNT = config.IMAGES_PER_GPU = 1
    return config


def gflop(model, shape) -> float:
    """Billions of operations of a detection: two for each multiplication and addition."""
    from mrcnn.engines.openvino_package import import_openvino

    ov = import_openvino()
    total = 0
    sizes = {
        "trunk": [1, *shape],
        "classifier": [1, model.config.POST_NMS_ROIS_INFERENCE],
        "mask": [1, OBJECTS],
    }
    models = model.engine._float_models(model.engine._key())
    for name, size in sizes.items():
        runtime = models[name]
        parameter = runtime.input(0).partial_shape
        fixed = [*size, *(int(str(d)) for d in list(parameter)[len(size) :])]
        runtime.reshape({0: ov.PartialShape(fixed)})
        for op in runtime.get_ordered_ops():
            kind = op.get_type_name()
            if kind in ("Convolution", "ConvolutionBackpropData"):
                kernel = list(op.input(1).get_shape())
                # Each output, or for the transposed one each input, meets the kernel once.
                ends = op.output(0) if kind == "Convolution" else op.input(0)
                total += 2 * np.prod(list(ends.get_shape()), dtype=float) * np.prod(kernel[1:])
            elif kind == "MatMul":
                inner = list(op.input(0).get_shape())[-1]
                total += 2 * np.prod(list(op.output(0).get_shape()), dtype=float) * inner
    return total / 1e9


# ---- starts of the command line ------------------------------------------------------------------


def measure_start(engine, photo, folder, threads) -> dict[str, Any]:
    """Seconds and memory of `mrcnn detect` on one picture, without and with its cache."""
    home = Path(folder) / f"start-{engine}"
    row: dict[str, Any] = {"engine": engine}
    environment = {
        **os.environ,
        "MRCNN_HOME": str(home),
        "OMP_NUM_THREADS": str(threads),
        "TF_NUM_INTRAOP_THREADS": str(threads),
    }
    words = ["detect", photo, "--engine", engine, "--output", home / "out"]
    command = [sys.executable, "-m", "mrcnn", *map(str, words)]
    for name in ("cold", "warm"):
        begun = time.perf_counter()
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=Path(__file__).resolve().parents[1],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        _, status, usage = os.wait4(process.pid, 0)
        row[f"{name}_seconds"] = time.perf_counter() - begun
        row[f"{name}_peak_memory_gb"] = usage.ru_maxrss / 2**20
        if status:
            row["failed"] = process.stderr.read().decode().strip().splitlines()[-1:]
            break
    return row


# ---- tables --------------------------------------------------------------------------------------


def print_latency(network, rows) -> None:
    print(f"\n{network}, milliseconds a picture (median)")
    names = (*STAGES, "all", "bare", "all/bare", "floor", "objects", "GB")
    print(f"{'':22}" + "".join(f"{name:>9}" for name in names))
    for row in rows:
        seconds = row["seconds"]
        row["all_seconds"] = sum(seconds.get(stage, 0) for stage in STAGES)
        cells = [milliseconds(seconds.get(stage)) for stage in STAGES]
        cells += [milliseconds(row["all_seconds"]), milliseconds(seconds.get("bare"))]
        bare = seconds.get("bare")
        cells.append(f"{row['all_seconds'] / bare:.2f}" if bare else "")
        cells.append(milliseconds(row.get("floor_seconds")))
        cells += [str(row["objects"]), f"{row['peak_memory_gb']:.1f}"]
        print(
            f"{row['engine']} {row['precision']:<10}".ljust(22) + "".join(f"{c:>9}" for c in cells)
        )
    first = rows[0] if rows else None
    for row in rows[1:]:
        ratio = first["all_seconds"] / row["all_seconds"]
        print(
            f"  {row['engine']} {row['precision']}: {ratio:.2f} times the speed of "
            f"{first['engine']} {first['precision']}"
        )


def milliseconds(seconds) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.1f}"


def print_starts(rows) -> None:
    if rows:
        print("\nmrcnn detect on one picture, small model")
    for row in rows:
        if "failed" in row:
            print(f"  {row['engine']}: failed: {row['failed']}")
            continue
        print(
            f"  {row['engine']:10} first {row['cold_seconds']:.1f} s "
            f"({row['cold_peak_memory_gb']:.1f} GB), then {row['warm_seconds']:.1f} s "
            f"({row['warm_peak_memory_gb']:.1f} GB)"
        )


if __name__ == "__main__":
    main()
