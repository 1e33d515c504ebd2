"""The networks of YOLO v1 to v3, one description each.

A description is text, one layer per line, in the order of Darknet's configuration files:

- `conv FILTERS SIZE [/STRIDE]`: convolution, batch normalization, leaky ReLU 0.1;
- `residual FIRST SECOND`: a 1x1 and a 3x3 convolution, added to their input;
- `pool`: max pooling 2x2 with stride 2; `pool /1`: the same with stride 1, size kept;
- `dense UNITS`: flattened in the order channels, rows, columns; leaky ReLU;
- `dropout RATE`;
- `upsample`: twice the rows and columns, by repetition;
- `reorg`: half the rows and columns, four times the channels;
- `from NAME`: continue from a stored layer; `concat NAME`: append its channels;
- `detect`: the output layer of one grid.

`N x [...; ...]` repeats layers separated by semicolons; `as NAME` at the end of a line stores its
output.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_DARKNET19 = """
conv 32 3
pool
conv 64 3
pool
1 x [conv 128 3; conv 64 1; conv 128 3]
pool
1 x [conv 256 3; conv 128 1; conv 256 3]
pool
1 x [conv 512 3; conv 256 1; conv 512 3; conv 256 1; conv 512 3] as c4
pool
1 x [conv 1024 3; conv 512 1; conv 1024 3; conv 512 1; conv 1024 3]
"""

_DARKNET53 = """
conv 32 3
conv 64 3 /2
residual 32 64
conv 128 3 /2
2 x [residual 64 128]
conv 256 3 /2
8 x [residual 128 256] as c3
conv 512 3 /2
8 x [residual 256 512] as c4
conv 1024 3 /2
4 x [residual 512 1024]
"""

_V1 = """
conv 64 7 /2
pool
conv 192 3
pool
1 x [conv 128 1; conv 256 3; conv 256 1; conv 512 3]
pool
4 x [conv 256 1; conv 512 3]
1 x [conv 512 1; conv 1024 3]
pool
2 x [conv 512 1; conv 1024 3]
conv 1024 3
conv 1024 3 /2
conv 1024 3
conv 1024 3
dense 4096
dropout 0.5
detect
"""

_V2 = f"""
{_DARKNET19}
conv 1024 3
conv 1024 3 as top
from c4
conv 64 1
reorg
concat top
conv 1024 3
detect
"""

_V3 = f"""
{_DARKNET53}
2 x [conv 512 1; conv 1024 3]
conv 512 1 as p5
conv 1024 3
detect
from p5
conv 256 1
upsample
concat c4
2 x [conv 256 1; conv 512 3]
conv 256 1 as p4
conv 512 3
detect
from p4
conv 128 1
upsample
concat c3
3 x [conv 128 1; conv 256 3]
detect
"""

_V3_TINY = """
conv 16 3
pool
conv 32 3
pool
conv 64 3
pool
conv 128 3
pool
conv 256 3 as c4
pool
conv 512 3
pool /1
conv 1024 3
conv 256 1 as p5
conv 512 3
detect
from p5
conv 128 1
upsample
concat c4
conv 256 3
detect
"""


@dataclass(frozen=True)
class YoloNetwork:
    """A YOLO network as published.

    Attributes:
        name: "yolov1", "yolov2", "yolov3" or "yolov3-tiny".
        version: 1, 2 or 3: how the outputs are decoded and trained.
        layers: the description, see the module.
        image_size: side of the square input in pixels, as published.
        strides: input pixels per cell of each grid, in the order of the outputs.
        anchors: for each grid, (width, height) of its anchors in input pixels. None for v1, whose
            cells predict `num_boxes` boxes without anchors.
        num_boxes: boxes per cell.
        batch_norm: whether the convolutions have batch normalization and no bias.
        any_size: whether the input may have another side, a multiple of the largest stride.
        header_bytes: size of the header of the published weight file.
    """

    name: str
    version: int
    layers: str
    image_size: int
    strides: tuple[int, ...]
    anchors: tuple[tuple[tuple[float, float], ...], ...] | None
    num_boxes: int
    batch_norm: bool = True
    any_size: bool = True
    header_bytes: int = 20


# In the paper of YOLOv2 anchors are in cells of 32 pixels.
_V2_ANCHORS = tuple(
    (32 * width, 32 * height)
    for width, height in (
        (0.57273, 0.677385),
        (1.87446, 2.06253),
        (3.33843, 5.47434),
        (7.88282, 3.52778),
        (9.77052, 9.16828),
    )
)

# The published networks by name.
NETWORKS = {
    network.name: network
    for network in (
        YoloNetwork("yolov1", 1, _V1, 448, (64,), None, 2, batch_norm=False, any_size=False),
        YoloNetwork("yolov2", 2, _V2, 416, (32,), (_V2_ANCHORS,), 5, header_bytes=16),
        YoloNetwork(
            "yolov3",
            3,
            _V3,
            416,
            (32, 16, 8),
            (
                ((116, 90), (156, 198), (373, 326)),
                ((30, 61), (62, 45), (59, 119)),
                ((10, 13), (16, 30), (33, 23)),
            ),
            3,
        ),
        # The published weights were trained with the anchors 1, 2, 3 of six on the fine grid,
        # although the configuration file that accompanies them lists 0, 1, 2.
        YoloNetwork(
            "yolov3-tiny",
            3,
            _V3_TINY,
            416,
            (32, 16),
            (((81, 82), (135, 169), (344, 319)), ((23, 27), (37, 58), (81, 82))),
            3,
        ),
    )
}


def find_network(name: str) -> YoloNetwork:
    """Return a network by name.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in NETWORKS:
        raise ValueError(f"model is {name!r}; it must be one of {', '.join(NETWORKS)}")
    return NETWORKS[name]


def count_values(network: YoloNetwork, num_classes: int) -> int:
    """Return the number of values in a weight file of a network; nothing is built.

    Args:
        network: which one.
        num_classes: number of classes, without a background.
    """
    total, channels, size = 0, 3, network.image_size
    stored: dict[str, tuple[int, int]] = {}

    def add(filters: int, side: int, is_normalized: bool) -> None:
        nonlocal total, channels
        total += filters * (channels * side * side + (4 if is_normalized else 1))
        channels = filters

    for (kind, *arguments), name in parse_layers(network.layers):
        if kind == "conv":
            add(int(arguments[0]), int(arguments[1]), network.batch_norm)
            size //= int(arguments[2][1:]) if len(arguments) > 2 else 1
        elif kind == "residual":
            add(int(arguments[0]), 1, network.batch_norm)
            add(int(arguments[1]), 3, network.batch_norm)
        elif kind == "pool":
            size //= int(arguments[0][1:]) if arguments else 2
        elif kind == "upsample":
            size *= 2
        elif kind == "reorg":
            size, channels = size // 2, 4 * channels
        elif kind == "from":
            channels, size = stored[arguments[0]]
        elif kind == "concat":
            channels += stored[arguments[0]][0]
        elif kind == "dense":
            channels *= size * size
            add(int(arguments[0]), 1, False)
        elif kind == "detect" and network.version == 1:
            cells = (network.image_size // network.strides[0]) ** 2
            add(cells * (num_classes + 5 * network.num_boxes), 1, False)
        elif kind == "detect":
            add(network.num_boxes * (5 + num_classes), 1, False)
        if name is not None:
            stored[name] = channels, size
    return total


def find_by_values(num_values: int) -> list[tuple[YoloNetwork, int]]:
    """Return the networks, and their numbers of classes, that have a number of values."""
    found = []
    for network in NETWORKS.values():
        first, second = count_values(network, 1), count_values(network, 2)
        number, rest = divmod(num_values - first, second - first)
        if not rest and number >= 0:
            found.append((network, number + 1))
    return found


_REPEATED = re.compile(r"(\d+) x \[(.*)\]")


def parse_layers(text: str) -> list[tuple[list[str], str | None]]:
    """Return the layers of a description, repetitions written out.

    Returns:
        For each layer its words, such as `["conv", "64", "3", "/2"]`, and the name that its output
        is stored under, or None.

    Example:
        >>> parse_layers("2 x [conv 8 1; pool] as c2")
        [(['conv', '8', '1'], None), (['pool'], None), (['conv', '8', '1'], None), (['pool'], 'c2')]
    """
    parsed: list[tuple[list[str], str | None]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        layers, _, stored = line.partition(" as ")
        repeated = _REPEATED.fullmatch(layers.strip())
        words = [layers]
        if repeated:
            words = int(repeated[1]) * repeated[2].split(";")
        parsed += [(layer.split(), None) for layer in words[:-1]]
        parsed.append((words[-1].split(), stored.strip() or None))
    return parsed
