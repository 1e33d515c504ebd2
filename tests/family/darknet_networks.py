"""Networks with seeded values, and what the original Darknet program finds with them.

`darknet_boxes.json` was written by

    python -m tests.family.darknet_networks

on a machine with Debian's package `darknet` (0.0.0+git20180914.61c9d02e). For each network it
holds the best boxes of `darknet detector valid` that have more than two rows and columns within
the image: class id from 0, score, x1, y1, x2, y2 in pixels from 1.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import skimage.data

from mrcnn.family.yolo.darknet_weights import _parts, save_darknet_weights
from mrcnn.family.yolo.descriptions import NETWORKS, YoloNetwork
from mrcnn.family.yolo.networks import build_network

BOXES = Path(__file__).with_name("darknet_boxes.json")
NUM_BOXES = 60
NUM_CLASSES = {"yolov1": 20, "yolov2": 80, "yolov3": 80, "yolov3-tiny": 80}
# YOLOv1 has one size; the others are run at a small one.
SIZES = {"yolov1": 448, "yolov2": 160, "yolov3": 128, "yolov3-tiny": 160}
# The layers of v1 in kind and order, with few channels: the true network has 272 million values.
THIN_V1 = """
conv 8 7 /2
pool
conv 8 3
pool
1 x [conv 8 1; conv 8 3]
pool
conv 12 3
pool
conv 12 3
conv 16 3 /2
dense 64
dropout 0.5
detect
"""


def network(name: str) -> YoloNetwork:
    """Return the network that is compared: the published one; of v1 a thin one."""
    return replace(NETWORKS[name], layers=THIN_V1) if name == "yolov1" else NETWORKS[name]


def image(name: str) -> np.ndarray:
    """Return an image that is neither square nor of the network's size; for v1 a square one.

    Darknet's `detector` fits every image in with borders, which YOLOv1 was not used with. With
    sizes that lead to a rounding error in its last row (512 is one) Darknet makes this row black;
    these do not.
    """
    astronaut = skimage.data.astronaut()
    return astronaut[:500, :500] if name == "yolov1" else astronaut[40:340, 20:]


def set_seeded_values(model: keras.Model, num_classes: int) -> None:
    """Give every variable values that keep the activations near 1, also through 23 residuals."""
    rng = np.random.default_rng(3)
    for part in _parts(model):
        *vectors, kernel = part.variables
        shape = tuple(kernel.shape)
        fan_in = int(np.prod(shape[:-1]))
        is_output = len(vectors) == 1 and (shape[-1] % (5 + num_classes) == 0 or shape[-1] > 500)
        scale = 0.5 if is_output else 0.7
        kernel.assign(rng.normal(0, scale * (2 / fan_in) ** 0.5, shape).astype(np.float32))
        for index, vector in enumerate(vectors):
            # beta or bias, gamma, moving mean, moving variance
            value = (
                rng.uniform(0.7, 1.3, shape[-1])
                if index in (1, 3)
                else rng.normal(0, 0.1, shape[-1])
            )
            vector.assign(value.astype(np.float32))


def write_configuration(name: str, path: Path) -> None:
    """Write the network as Darknet's configuration file."""
    if name == "yolov1":
        text = _v1_configuration(SIZES[name])
    else:
        lines = (Path("/usr/share/darknet/cfg") / f"{name}.cfg").read_text().splitlines()
        values = {"width": SIZES[name], "height": SIZES[name], "batch": 1, "subdivisions": 1}
        text = "\n".join(
            f"{line.partition('=')[0]}={values[line.partition('=')[0].strip()]}"
            if line.partition("=")[0].strip() in values
            else line
            for line in lines
        )
        if name == "yolov3-tiny":  # the anchors that the published weights were trained with
            before, found, after = text.rpartition("mask = 0,1,2")
            assert found
            text = f"{before}mask = 1,2,3{after}"
    path.write_text(text)


def _v1_configuration(size: int) -> str:
    parts = [f"[net]\nbatch=1\nheight={size}\nwidth={size}\nchannels=3"]
    for line in filter(None, THIN_V1.splitlines()):
        for layer in line.removeprefix("1 x [").removesuffix("]").split(";"):
            kind, *words = layer.split()
            if kind == "conv":
                stride = words[2][1:] if len(words) > 2 else "1"
                parts.append(
                    f"[convolutional]\nfilters={words[0]}\nsize={words[1]}\nstride={stride}\n"
                    "pad=1\nactivation=leaky"
                )
            elif kind == "pool":
                parts.append("[maxpool]\nsize=2\nstride=2")
            elif kind == "dense":
                parts.append(f"[connected]\noutput={words[0]}\nactivation=leaky")
    parts.append("[connected]\noutput=1470\nactivation=linear")
    parts.append("[detection]\nclasses=20\ncoords=4\nrescore=1\nside=7\nnum=2\nsoftmax=0\nsqrt=1")
    return "\n\n".join(parts)


def run_darknet(name: str) -> list[list[float]]:
    """Return the best boxes that the program finds."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = build_network(network(name), NUM_CLASSES[name], SIZES[name])
        set_seeded_values(model, NUM_CLASSES[name])
        save_darknet_weights(model, root / "n.weights")
        write_configuration(name, root / "n.cfg")
        paths = [root / f"image{index}.png" for index in range(4)]  # it loads four at once
        for path in paths:
            cv2.imwrite(str(path), image(name)[:, :, ::-1])
        (root / "list.txt").write_text("".join(f"{path}\n" for path in paths))
        (root / "names.txt").write_text("".join(f"c{i}\n" for i in range(NUM_CLASSES[name])))
        (root / "results").mkdir()
        (root / "n.data").write_text(
            f"classes={NUM_CLASSES[name]}\nvalid={root}/list.txt\nnames={root}/names.txt\n"
            f"results={root}/results\neval=voc\n"
        )
        command = ["darknet", "detector", "valid", "n.data", "n.cfg", "n.weights"]
        subprocess.run(command, cwd=root, check=True, capture_output=True)
        boxes = []
        for class_id in range(NUM_CLASSES[name]):
            lines = (root / "results" / f"comp4_det_test_c{class_id}.txt").read_text().splitlines()
            boxes += [
                [class_id, *map(float, line.split()[1:])]
                for line in lines
                if line.startswith("image0 ")
            ]
        boxes = [box for box in boxes if box[4] - box[2] > 2 and box[5] - box[3] > 2]
    return sorted(boxes, key=lambda box: -box[1])[:NUM_BOXES]


if __name__ == "__main__":
    found = {name: run_darknet(name) for name in NETWORKS}
    lines = [
        f"{json.dumps(name)}: [\n" + ",\n".join(map(json.dumps, boxes)) + "\n]"
        for name, boxes in found.items()
    ]
    BOXES.write_text("{\n" + ",\n".join(lines) + "\n}\n")
