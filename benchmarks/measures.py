"""Shared by the benchmarks: facts about the machine, its matrix rate, stable random weights."""

from __future__ import annotations

import datetime
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np


def machine(threads: int) -> dict[str, Any]:
    """Return what the figures depend on besides the code."""
    from importlib.metadata import PackageNotFoundError, version

    def installed(name):
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), cpu)
    packages = (
        *("tensorflow", "tensorflow-cpu", "keras", "openvino", "nncf", "torch", "torchvision"),
        *("onnxruntime", "ai-edge-litert"),
    )
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu,
        "threads": threads,
        "load_at_the_start": os.getloadavg()[0],
        **{name: installed(name) for name in packages},
    }


def matrix_rate(precision: str = "float32") -> float:
    """Return billions of operations per second in a large matrix product, the best of six."""
    import tensorflow as tf

    size = 2048
    a = tf.cast(tf.random.normal((size, size)), precision)
    rates = []
    for _ in range(6):
        begun = time.perf_counter()
        tf.linalg.matmul(a, a).numpy()
        rates.append(2 * size**3 / (time.perf_counter() - begun) / 1e9)
    return max(rates)


def tame_weights(model) -> None:
    """Set random weights, the same in every process, that stay finite and predict no background."""
    random = np.random.RandomState(0)
    for layer in [*model.layers, *model.get_layer("rpn_model").layers]:
        for variable in layer.weights:
            shape = tuple(variable.shape)
            if variable.name == "gamma":
                values = np.full(shape, 0.1 if layer.name.endswith("2c") else 1.0)
            elif variable.name == "kernel":
                limit = np.sqrt(6 / (np.prod(shape[:-1]) + shape[-1]))
                values = random.uniform(-limit, limit, shape)
                # Small steps of boxes, and scores of proposals that are not all 1.
                values *= 0.01 if "bbox" in layer.name or layer.name == "rpn_class_raw" else 1.0
            else:
                continue
            variable.assign(values.astype(np.float32))
        if layer.name == "mrcnn_class_logits":
            kernel, bias = layer.get_weights()
            bias[0] = -100
            layer.set_weights([kernel, bias])


def separate_scores(model) -> None:
    """Scale random logits down: they are so large that many scores are 1, and then not distinct."""
    layer = model.get_layer("mrcnn_class_logits")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel * 0.01, bias])
