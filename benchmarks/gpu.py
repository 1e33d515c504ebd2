"""Images per second on one GPU, training and detecting, beside torchvision's Mask R-CNN.

    python benchmarks/gpu.py [--quick] [--rows WORD ...] [--json FILE] [--peer-python PYTHON]

Needs JAX with CUDA and, for the peer, torch and torchvision. Both ResNet-50 with pyramid, input
1024x1024, 81 classes, random weights, 1000 proposals, an image of noise. torchvision's rows come
first, then ours on Keras with JAX, each package in a process of its own and alone on the GPU; the
most important rows first, and the file is written after each. --rows takes the rows in whose name
one of the words is (--rows "8 bfloat16").

matrix: product of two 8192x8192 matrices. network: batch on the GPU to detections and their 28x28
masks on the host. detect: 8-bit images on the host to whole masks there; ours are pasted by the
CPU, torchvision's by the GPU. train: a step of all layers, batch statistics frozen, 200 ROIs and 10
objects per image, from a batch in the host's memory; our mask head sees the 66 boxes that can be
positive, torchvision's those that are. trunk, proposals: parts of our network.

GFLOP: per image, gradients included, two for each multiplication and addition of convolutions
and matrix products. of rate: share of the best matrix row of that precision. first s: the first
run, which for ours compiles. float32 allows TF32 in both packages; bfloat16 is `Config.PRECISION`
and `torch.autocast`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import numpy as np
from measures import machine, tame_weights

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
CLASSES, OBJECTS, ROIS, POSITIVE = 81, 10, 200, 0.33
FORMS = {"images/s": ".1f", "ms": ".2f", "GFLOP": ".0f", "TFLOP/s": ".2f", "of rate": ".3f"}
FORMS.update({"first s": ".1f", "found": ".1f", "of torchvision's": ".2f"})


def main():
    """Measure the rows of both packages and print them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the largest batch in bfloat16 only")
    parser.add_argument("--rows", nargs="+", default=[""], help="words of the rows to measure")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a row is measured")
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 1], help="in detection")
    parser.add_argument("--train-batch", type=int, nargs="+", default=[8, 2])
    parser.add_argument("--side", type=int, default=1024, help="of the network's input")
    parser.add_argument("--matrix", type=int, default=8192, help="side of the matrices")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--peer-python", default=sys.executable, help="has torch and torchvision")
    parser.add_argument("--json", help="write all figures to this file")
    parser.add_argument("--only", nargs="+", default=list(PACKAGES), choices=list(PACKAGES))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = vars(parser.parse_args())
    if options["worker"]:
        return work(json.loads(options["worker"]))
    report = {"machine": machine(os.cpu_count()), "options": options, "rows": []}
    print(json.dumps(report["machine"]))
    print(f"{'':40}" + "".join(f"{name:>{max(len(name), 7) + 3}}" for name in FORMS), flush=True)
    for package in options["only"]:
        rows = [x for x in wanted_rows(options) if hasattr(PACKAGES[package], x[0])]
        while rows:  # again for the others where a row took the process with it
            rows = rows[run_worker({**options, "package": package, "rows": rows}, report) :]


def wanted_rows(options):
    """Return `(kind, batch, precision)` of the rows, the most important first."""
    (batch, *batches), (train, *trains) = options["batch"], options["train_batch"]
    detection = ("network", "detect")
    plan = [(1, ("matrix",)), (batch, detection), (train, ("train",))]
    if not options["quick"]:
        plan += [(n, detection) for n in batches] + [(n, ("train",)) for n in trains]
    precisions = ("bfloat16",) if options["quick"] else ("bfloat16", "float32")
    rows = [(kind, n, p) for n, kinds in plan for p in precisions for kind in kinds]
    rows += [(kind, batch, "bfloat16") for kind in ("trunk", "proposals")]
    names = {row: " ".join(map(str, row)) for row in rows}
    return [x for x in rows if x[0] == "matrix" or any(w in names[x] for w in options["rows"])]


def run_worker(options, report):
    """Measure rows of one package in a process; return how many of them are finished."""
    package, done = options["package"], 0
    python = options["peer_python"] if package == "torchvision" else sys.executable
    environment = {**os.environ, "KERAS_BACKEND": "jax", "MRCNN_QUIET": "1"}
    environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    if options["device"] == "cpu":
        environment["JAX_PLATFORMS"] = "cpu"
    command = [python, __file__, "--worker", json.dumps(options)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("@["):
            row, is_extra = json.loads(line[1:])
            add_row(report, {"package": package, **row})
            done += not is_extra
        elif line.startswith("@{"):
            report["machine"][package] = json.loads(line[1:])
            print(line[1:], end="", flush=True)
    if process.wait() and done < len(options["rows"]):
        names = ("kind", "batch", "precision")
        failed = {"failed": f"the process ended with status {process.returncode}"}
        for row in options["rows"][done:] if package not in report["machine"] else [None]:
            row = dict(zip(names, row or options["rows"][done]))
            add_row(report, {"package": package, **row, **failed})
            done += 1
    return max(done, 1)


def add_row(report, row):
    """Add a row to the report, print it and write the file."""
    report["rows"].append(row)
    for x in report["rows"]:
        if "failed" in x:
            continue
        x["images/s"], x["ms"] = x["batch"] / x["seconds"], 1000 * x["seconds"]
        x["TFLOP/s"] = x["GFLOP"] * x["images/s"] / 1000 if x["GFLOP"] else None
        alike = [
            y for y in report["rows"] if "failed" not in y and y["precision"] == x["precision"]
        ]
        rates = [y["seconds"] for y in alike if y["kind"] == "matrix"]
        rate = report["options"]["matrix"] ** 3 * 2e-12 / min(rates) if rates else math.inf
        x["of rate"] = x["TFLOP/s"] / rate if x["TFLOP/s"] else None
        for y in alike:
            if y["package"] == "torchvision" != x["package"]:
                if (y["kind"], y["batch"]) == (x["kind"], x["batch"]):
                    x["of torchvision's"] = y["seconds"] / x["seconds"]
    name = f"{row['package']:12}{row['kind']:10}{row['batch']:>3} {row['precision']}"
    cells = ((name, row.get(name), form) for name, form in FORMS.items())
    cells = (
        f"{'' if v is None else format(v, form):>{max(len(n), 7) + 3}}" for n, v, form in cells
    )
    print(f"{name:40}" + (f"  failed: {row.get('failed')}" if "failed" in row else "".join(cells)))
    sys.stdout.flush()
    if report["options"]["json"]:
        Path(report["options"]["json"]).write_text(json.dumps(report, indent=1) + "\n")


def work(options):
    """Measure rows of one package in this process; print each as a line of JSON after an @."""
    package = PACKAGES[options["package"]](options)
    print("@" + json.dumps(package.facts()), flush=True)
    rows = [(*row, False) for row in options["rows"]]
    while rows:
        kind, batch, precision, is_extra = rows.pop(0)
        row = {"kind": kind, "batch": batch, "precision": precision}
        try:
            row.update(getattr(package, kind)(batch, precision))
        except Exception as error:
            traceback.print_exc()
            row["failed"] = f"{type(error).__name__}: {error}".replace("\n", " ")[:160]
            is_full = "out of memory" in str(error).lower() or "RESOURCE_EXHAUSTED" in str(error)
            if kind == "train" and batch > 1 and is_full:
                rows.insert(0, (kind, batch // 2, precision, True))
        print("@" + json.dumps([row, is_extra]), flush=True)


def timed(run, wait, seconds):
    """Return the mean of as many runs as fit into the time, after three that warm up."""
    for _ in range(3):
        once = -time.perf_counter()
        run()
        wait()
        once += time.perf_counter()
    runs = min(max(int(seconds / once), 2), 1000)
    begun = time.perf_counter()
    for _ in range(runs):
        run()
    wait()
    return {"seconds": (time.perf_counter() - begun) / runs, "runs": runs}


def noise_image(side):
    """Return an image of noise, `[side, side, 3]` uint8."""
    return np.random.RandomState(0).randint(0, 256, (side, side, 3)).astype(np.uint8)


class Peer:
    """torchvision's model."""

    def __init__(self, options):
        import torch
        import torchvision

        self._torch, self._side, self._options = torch, options["side"], options
        self._device = "cuda" if options["device"] == "gpu" else "cpu"
        torch.set_float32_matmul_precision("high")  # TF32; convolutions have it by default
        torch.manual_seed(0)
        sizes = {"min_size": self._side, "max_size": self._side, "box_positive_fraction": POSITIVE}
        self._model = model = torchvision.models.detection.maskrcnn_resnet50_fpn(
            weights=None,
            weights_backbone=None,
            num_classes=CLASSES,
            box_batch_size_per_image=ROIS,
            box_detections_per_img=OBJECTS,
            **sizes,
        )
        self._heads, self._paste = model.roi_heads, model.transform.postprocess
        with torch.no_grad():  # as `measures.tame_weights`
            for name, module in model.backbone.named_modules():
                if name.endswith("bn3"):
                    module.weight.fill_(0.1)
            for layer in (self._heads.box_predictor.bbox_pred, model.rpn.head.bbox_pred):
                layer.weight.mul_(0.01)
        model.to(self._device, memory_format=torch.channels_last)

    def facts(self):
        """Return the device and the versions that the figures depend on."""
        cuda, versions = self._device == "cuda", {"torch": self._torch.__version__}
        return {"device": self._torch.cuda.get_device_name() if cuda else "cpu", **versions}

    def _wait(self):
        if self._device == "cuda":
            self._torch.cuda.synchronize()

    def _measure(self, run, batch):
        from torch.utils.flop_counter import FlopCounterMode

        if self._device == "cuda":
            self._torch.cuda.empty_cache()
        begun = time.perf_counter()
        run()
        self._wait()
        first = time.perf_counter() - begun
        with FlopCounterMode(display=False) as counter:
            run()
        row = {"first s": first, "GFLOP": counter.get_total_flops() / batch / 1e9}
        return {**row, **timed(run, self._wait, self._options["seconds"])}

    def _autocast(self, precision):
        dtype, enabled = self._torch.bfloat16, precision == "bfloat16"
        return self._torch.autocast(self._device, dtype=dtype, enabled=enabled)

    def matrix(self, batch, precision):
        """Measure a product of two large matrices."""
        a = self._torch.randn([self._options["matrix"]] * 2, device=self._device)
        a = a.to(getattr(self._torch, precision))
        return self._measure(lambda: a @ a, batch)

    def network(self, batch, precision):
        """Measure the network, from images on the device to small masks on the host."""
        self._model.transform.postprocess = lambda result, *sizes: result  # does not paste
        try:
            return self.detect(batch, precision, from_host=False)
        finally:
            self._model.transform.postprocess = self._paste

    def detect(self, batch, precision, from_host=True):
        """Measure detection, from images on the host to whole masks there."""
        torch, model = self._torch, self._model.eval()
        torch.backends.cudnn.benchmark = True
        on_host = torch.from_numpy(noise_image(self._side))
        on_device = on_host.to(self._device).permute(2, 0, 1) / 255

        def run():
            with torch.inference_mode(), self._autocast(precision):
                images = [on_device] * batch
                if from_host:
                    images = [on_host.to(self._device).permute(2, 0, 1) / 255 for _ in images]
                results = model(images)
                for result in results if from_host else []:
                    result["masks"] = result["masks"] >= 0.5
                self._found = [{k: v.cpu() for k, v in x.items()} for x in results]

        with torch.no_grad():
            self._heads.box_predictor.cls_score.bias[0] = -100
        # All classes of all boxes pass 0; a trained network leaves a few: those that are kept.
        self._heads.score_thresh = 0.0
        run()
        self._heads.score_thresh = min(float(x["scores"].min()) for x in self._found) * 0.99
        row = self._measure(run, batch)
        return {**row, "found": float(np.mean([len(x["boxes"]) for x in self._found]))}

    def train(self, batch, precision):
        """Measure a training step."""
        torch, model = self._torch, self._model.train()
        torch.backends.cudnn.benchmark = False  # shapes differ from step to step
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        with torch.no_grad():
            self._heads.box_predictor.cls_score.bias[0] = 0
        optimizer = torch.optim.SGD(model.parameters(), 1e-5, momentum=0.9, weight_decay=1e-4)
        image = torch.from_numpy(noise_image(self._side)).permute(2, 0, 1) / 255
        random, side = np.random.RandomState(0), self._side
        corners = random.randint(0, side * 3 // 4, (OBJECTS, 2))
        boxes = np.hstack([corners, corners + random.randint(side // 32, side // 4, (OBJECTS, 2))])
        masks = torch.zeros((OBJECTS, side, side), dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes):
            mask[y1:y2, x1:x2] = 1
        target = {"boxes": torch.tensor(boxes).float(), "masks": masks}
        target["labels"] = torch.arange(OBJECTS) + 1

        def run():
            images = [image.to(self._device) for _ in range(batch)]
            targets = [{k: v.to(self._device) for k, v in target.items()} for _ in images]
            with self._autocast(precision):
                loss = sum(model(images, targets).values())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            self._loss = loss.detach()

        try:
            return {**self._measure(run, batch), "loss": float(self._loss)}
        finally:
            model.zero_grad()


class Ours:
    """This package on JAX."""

    def __init__(self, options):
        import jax

        self._options, self._jax, self._models, self._biases = options, jax, {}, {}
        if options["device"] == "gpu" and jax.default_backend() != "gpu":
            raise SystemExit(f"JAX has no GPU, but {jax.devices()}")

    def facts(self):
        """Return the device and the versions that the figures depend on."""
        device, version = self._jax.devices()[0].device_kind, self._jax.__version__
        return {"device": device, "jax": version}

    def _timed(self, run):
        return timed(run, lambda: self._jax.block_until_ready(self._last), self._options["seconds"])

    def _measure(self, function, inputs, batch):
        def run():
            self._last = function(inputs)

        begun = time.perf_counter()
        gflop = operations(self._jax.make_jaxpr(function)(inputs)) / batch / 1e9
        run()
        self._jax.block_until_ready(self._last)
        first = time.perf_counter() - begun
        return {"first s": first, "GFLOP": gflop, **self._timed(run)}

    def matrix(self, batch, precision):
        """Measure a product of two large matrices."""
        a = self._jax.random.normal(self._jax.random.key(0), [self._options["matrix"]] * 2)
        return self._measure(self._jax.jit(lambda x: x @ x), a.astype(precision), batch)

    def _model(self, precision):
        """A model for training, which detects as well."""
        if precision not in self._models:
            from mrcnn.config import Config
            from mrcnn.model import MaskRCNN

            config = Config()
            config.NAME, config.BACKBONE, config.NUM_CLASSES = "benchmark", "resnet50", CLASSES
            config.IMAGE_MIN_DIM = config.IMAGE_MAX_DIM = self._options["side"]
            config.TRAIN_ROIS_PER_IMAGE, config.ROI_POSITIVE_RATIO = ROIS, POSITIVE
            config.DETECTION_MIN_CONFIDENCE, config.PRECISION = 0.0, precision
            # In bfloat16 many scores are equal, so that no threshold leaves exactly OBJECTS.
            config.DETECTION_MAX_INSTANCES = OBJECTS
            config.GPU_COUNT = config.IMAGES_PER_GPU = 1
            self._models[precision] = MaskRCNN("training", config, "logs", engine="keras")
            tame_weights(self._models[precision].keras_model)
        return self._models[precision]

    def _inputs(self, model, batch):
        """Return molded images, metas and anchors on the GPU."""
        molded, metas, _ = model.mold_inputs([noise_image(self._options["side"])])
        parts = (molded[0], metas[0], model.get_anchors(molded[0].shape))
        return [self._jax.device_put(np.stack([x] * batch).astype(np.float32)) for x in parts]

    def _set_background(self, model, bias):
        """Set the logit of the background in every box."""
        layer = model.keras_model.get_layer("mrcnn_class_logits")
        kernel, biases = layer.get_weights()
        kernel[:, 0], biases[0] = 0, bias
        layer.set_weights([kernel, biases])

    def _choose_objects(self, model, inputs):
        """Find the background's logit that leaves OBJECTS detections."""
        low, high = 1e-3, 1e6
        for _ in range(0 if model in self._biases else 18):
            self._biases[model] = middle = math.sqrt(low * high)
            self._set_background(model, middle)
            count = (np.asarray(model.engine._detect(inputs)[0])[0, :, 4] > 0).sum()
            if count == OBJECTS:
                break
            low, high = (middle, high) if count > OBJECTS else (low, middle)
        self._set_background(model, self._biases[model])

    def network(self, batch, precision):
        """Measure the network, from images on the device to small masks on the host."""
        from mrcnn.engines import keras_engine

        model, jax = self._model(precision), self._jax
        inputs, first = self._inputs(model, batch), -time.perf_counter()
        detect, masks = model.engine._detect, model.engine._masks
        gflop = operations(jax.make_jaxpr(detect)(inputs))
        jax.block_until_ready(detect(inputs))
        first += time.perf_counter()
        self._choose_objects(model, inputs)

        def run():  # as `KerasEngine.run`, which takes its batch from the host
            found, *pyramid = detect(inputs)
            found = np.asarray(found)
            self._count = keras_engine.max_detections(found)
            rows = keras_engine._padded_count(max(self._count, 1), found.shape[1])
            mask_inputs = [found[:, :rows], inputs[1], *pyramid]
            self._last = np.asarray(masks(mask_inputs))
            return mask_inputs

        first -= time.perf_counter()
        gflop += operations(jax.make_jaxpr(masks)(run()))
        first += time.perf_counter()
        row = {"first s": first, "GFLOP": gflop / batch / 1e9, **self._timed(run)}
        return {**row, "found": self._count}

    def detect(self, batch, precision):
        """Measure detection, from images on the host to whole masks there."""
        model, images = self._model(precision), [noise_image(self._options["side"])] * batch
        self._choose_objects(model, self._inputs(model, batch))
        model.config.IMAGES_PER_GPU, self._last = batch, ()

        def run():
            self._found = model.detect(images)

        first = -time.perf_counter()
        run()
        row = {"first s": first + time.perf_counter(), "GFLOP": None, **self._timed(run)}
        return {**row, "found": float(np.mean([len(x["rois"]) for x in self._found]))}

    def trunk(self, batch, precision, part="trunk"):
        """Measure a part of the network: backbone, pyramid and RPN, or the proposals."""
        from mrcnn.engines import keras_engine, pieces

        model = self._model(precision)
        made, (images, _, anchors) = pieces.build_pieces(model._shared), self._inputs(model, batch)
        inputs = [images]
        if part == "proposals":
            inputs = [*keras_engine.compile_inference(made["trunk"])(inputs)[-2:], anchors]
        return self._measure(keras_engine.compile_inference(made[part]), inputs, batch)

    def proposals(self, batch, precision):
        """Measure the choice of proposals."""
        return self.trunk(batch, precision, "proposals")

    def train(self, batch, precision):
        """Measure a training step."""
        from loading import Ellipses

        from mrcnn.loading.batches import TrainingBatches

        jax, model = self._jax, self._model(precision)
        net, config, options = model.keras_model, model.config, {"seed": 0, "steps": 1}
        self._set_background(model, 0.0)
        model.set_trainable("all", verbose=0)
        model.compile(1e-5, config.LEARNING_MOMENTUM)
        data = TrainingBatches(Ellipses(OBJECTS), config, batch_size=batch, **options)[0]
        state = (net.trainable_variables, net.non_trainable_variables)
        state = (*state, net.optimizer.variables, net.metrics_variables)
        # As `fit` does, but on copies: a step takes the memory of what it is given.
        state = tuple([jax.numpy.array(x.value, copy=True) for x in part] for part in state)
        first = -time.perf_counter()
        traced = jax.jit(net.train_step, donate_argnums=0).trace(state, data)
        step = traced.lower().compile()
        first += time.perf_counter()

        def run():
            nonlocal state
            self._last, state = step(state, data)

        row = {"first s": first, "GFLOP": operations(traced.jaxpr) / batch / 1e9}
        row["temporary_gb"] = step.memory_analysis().temp_size_in_bytes / 2**30
        return {**row, **self._timed(run), "loss": float(self._last["loss"])}


def operations(jaxpr):
    """Return the operations of the convolutions and matrix products in a program of JAX.

    Every output meets every weight of its window once, except on the gaps of a dilated input.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        options = equation.params
        shapes = [getattr(x.aval, "shape", ()) for x in (*equation.invars, *equation.outvars)]
        if equation.primitive.name == "dot_general":
            (inner, _), _ = options["dimension_numbers"]
            total += 2.0 * math.prod(shapes[2]) * math.prod(shapes[0][axis] for axis in inner)
        elif equation.primitive.name == "conv_general_dilated":
            window = math.prod(shapes[1]) / shapes[1][options["dimension_numbers"].rhs_spec[0]]
            total += 2.0 * math.prod(shapes[2]) * window / math.prod(options["lhs_dilation"])
        else:
            times = options["length"] if equation.primitive.name == "scan" else 1
            for value in options.values():
                for part in value if isinstance(value, list | tuple) else [value]:
                    inside = getattr(part, "jaxpr", part)
                    total += times * operations(inside) if hasattr(inside, "eqns") else 0.0
    return total


PACKAGES = {"torchvision": Peer, "mrcnn": Ours}


if __name__ == "__main__":
    main()
