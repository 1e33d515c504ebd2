"""Small valid datasets of every format, and mutations of their annotation files."""

from __future__ import annotations

import base64
import copy
import json
import re

import cv2
import numpy as np
from pycocotools import mask as coco_mask

HEIGHT, WIDTH = 24, 32
SQUARE = [5, 5, 20, 5, 20, 15, 5, 15]
POINTS = [[5, 5], [20, 5], [20, 15], [5, 15]]


def png(pixels):
    return cv2.imencode(".png", np.ascontiguousarray(pixels))[1].tobytes()


IMAGE = png(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
MASK = np.zeros((HEIGHT, WIDTH), np.uint8)
MASK[5:15, 5:20] = 255


def coco():
    mask = np.asfortranarray(MASK // 255)
    compressed = coco_mask.encode(mask)["counts"].decode()
    runs = np.diff(np.flatnonzero(np.diff(np.r_[1 - mask.T.ravel()[0], mask.T.ravel(), 2])))
    counts = [5 * HEIGHT + 5, *runs.tolist()]
    counts[-1] += HEIGHT * WIDTH - sum(counts)
    size = [HEIGHT, WIDTH]
    segmentations = [[SQUARE], {"size": size, "counts": compressed}, [],
                     {"size": size, "counts": [0, HEIGHT * WIDTH]}]  # fmt: skip
    annotations = [
        {"id": n, "image_id": 1 + n % 2, "category_id": 1 + n % 2, "bbox": [5, 5, 15, 10],
         "area": 150, "iscrowd": int(n == 3), "segmentation": segmentation}
        for n, segmentation in enumerate(segmentations)
    ]  # fmt: skip
    images = [
        {"id": n, "file_name": f"{name}.png", "width": WIDTH, "height": HEIGHT}
        for n, name in ((1, "a"), (2, "b"))
    ]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog, brown"}]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def via(as_dict=False):
    shapes = [
        {"name": "polygon", "all_points_x": SQUARE[::2], "all_points_y": SQUARE[1::2]},
        {"name": "rect", "x": 2, "y": 2, "width": 9, "height": 9},
        {"name": "circle", "cx": 9, "cy": 9, "r": 5},
        {"name": "ellipse", "cx": 9, "cy": 9, "rx": 5, "ry": 3, "theta": 0.3},
        {"name": "point", "cx": 9, "cy": 9},
    ]
    regions = [
        {"shape_attributes": shape, "region_attributes": {"kind": "cat", "note": ""}}
        for shape in shapes
    ]
    listed = {str(n): region for n, region in enumerate(regions)} if as_dict else regions
    entries = {"a.png9": {"filename": "a.png", "size": 9, "regions": listed, "file_attributes": {}}}
    settings = {"core": {"default_filepath": "./"}}
    return entries if as_dict else {"_via_settings": settings, "_via_img_metadata": entries}


def via_version_3():
    return {
        "project": {"pid": "x"},
        "attribute": {"1": {"aname": "kind", "type": 4, "options": {"0": "cat"}}},
        "file": {"1": {"fid": "1", "fname": "a.png", "src": "a.png"}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": {
            "1_a": {"vid": "1", "z": [], "xy": [7, *SQUARE], "av": {"1": "0"}},
            "1_b": {"vid": "1", "z": [], "xy": [2, 2, 2, 9, 9], "av": {"1": "0"}},
            "1_c": {"vid": "1", "z": [], "xy": [4, 9, 9, 5, 4], "av": {"1": "0"}},
        },
    }


VIA_CSV = (
    "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
    'region_attributes\na.png,1,"{}",1,0,"{""name"":""rect"",""x"":1,""y"":1,""width"":9,'
    '""height"":9}","{""kind"":""cat""}"\n'
)


def labelme():
    part = base64.b64encode(png(np.full((6, 8), 255, np.uint8))).decode()
    shapes = [
        {"label": "cat", "points": POINTS, "shape_type": "polygon", "group_id": 1, "flags": {}},
        {"label": "cat", "points": POINTS[::2], "shape_type": "rectangle", "group_id": 1},
        {"label": "dog", "points": POINTS[:2], "shape_type": "circle", "group_id": None},
        {"label": "dog", "points": POINTS[::2], "shape_type": "mask", "mask": part},
        {"label": "dog", "points": POINTS[:1], "shape_type": "point"},
    ]
    data = base64.b64encode(IMAGE).decode()
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH, "imageData": data}
    return {"version": "5", "flags": {}, "shapes": shapes, "imagePath": "a.png", **size}


VOC = """<annotation><folder>mine</folder><filename>a.png</filename>
<size><width>32</width><height>24</height><depth>3</depth></size><segmented>0</segmented>
<object><name>cat</name><difficult>0</difficult><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>20</xmax>
<ymax>15</ymax></bndbox></object>
<object><name>dog</name><polygon><x1>5</x1><y1>5</y1><x2>20</x2><y2>5</y2><x3>20</x3><y3>15</y3>
</polygon><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>20</xmax><ymax>15</ymax></bndbox></object>
</annotation>
"""
CVAT = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:255,255,255::\ndog:9,9,9::\n"
YOLO = "0 0.2 0.2 0.6 0.2 0.6 0.6 0.2 0.6\n1 0.5 0.5 0.4 0.4\n"
YOLO_YAML = "path: .\ntrain: images\nval: images\nnc: 2\nnames:\n  0: cat\n  1: dog\n"

# Name -> (format, files); None stands for an image. The first file is the one that is mutated.
DATASETS = {
    "coco": ("coco", {"annotations.json": coco(), "images/a.png": IMAGE, "images/b.png": IMAGE}),
    "coco parts": (
        "coco",
        {f"{part}/_annotations.coco.json": coco() for part in ("train", "val")}
        | {f"{part}/{name}.png": IMAGE for part in ("train", "val") for name in "ab"},
    ),
    "via 1": ("via", {"via_region_data.json": via(as_dict=True), "a.png": IMAGE}),
    "via 2": ("via", {"project.json": via(), "a.png": IMAGE}),
    "via 3": ("via", {"project.json": via_version_3(), "a.png": IMAGE}),
    "via csv": ("via", {"via_region_data.csv": VIA_CSV, "a.png": IMAGE}),
    "labelme": ("labelme", {"a.json": labelme(), "a.png": IMAGE}),
    "labelme embedded": ("labelme", {"a.json": labelme()}),
    "voc": ("voc", {"Annotations/a.xml": VOC, "JPEGImages/a.png": IMAGE}),
    "voc masks": (
        "voc",
        {"Annotations/a.xml": VOC, "JPEGImages/a.png": IMAGE,
         "SegmentationObject/a.png": png(MASK // 255)},
    ),
    "voc list": (
        "voc",
        {"ImageSets/Main/train.txt": "a\n", "Annotations/a.xml": VOC, "JPEGImages/a.png": IMAGE},
    ),
    "cvat": (
        "cvat",
        {"labelmap.txt": CVAT, "SegmentationClass/a.png": png(np.dstack([MASK] * 3)),
         "SegmentationObject/a.png": png(np.dstack([MASK] * 3)), "JPEGImages/a.png": IMAGE},
    ),
    "yolo": ("yolo", {"labels/a.txt": YOLO, "images/a.png": IMAGE, "data.yaml": YOLO_YAML}),
    "yolo names": ("yolo", {"data.yaml": YOLO_YAML, "labels/a.txt": YOLO, "images/a.png": IMAGE}),
    "yolo classes": (
        "yolo", {"classes.txt": "cat\ndog\n", "labels/a.txt": YOLO, "images/a.png": IMAGE}
    ),
    "masks": ("masks", {"masks/a.png": png(MASK), "images/a.png": IMAGE}),
    "nucleus": ("nucleus", {"x/masks/m.png": png(MASK), "x/images/x.png": IMAGE}),
}  # fmt: skip

ODD_VALUES = [
    None, True, False, 0, -1, 0.5, 1e9, 1e12, 1e308, float("nan"), float("inf"), -float("inf"),
    2**63, 10**400, [], {}, "", " ", "x", "nan", "1e999", "\x00", "\ud800", "\x1b[2J", "a" * 5000,
    "../../../../etc/passwd", "C:\\x\\a.png", "http://[", "%00", [[]], [None], [1, 2], [[1, "x"]],
    {"a": {}}, {"id": []}, "٣", "1_0", [[[[[[[[[[[[1, 2]]]]]]]]]]]], "polygon", "mask",
    {"size": [10**9, 10**9], "counts": [10**18]}, {"size": [24, 32], "counts": "zzzz"},
    {"size": None, "counts": None}, [[1e12, 1e12, -1e12, 5, 7, 1e12]], [[float("nan")] * 6],
]  # fmt: skip
ODD_NUMBERS = ["-1", "1e12", "nan", "inf", "-inf", "1e999", "", "x", "99999999999999999999", "0.5"]
ODD_WORDS = ["", " ", "\x1b[2J", "a" * 5000, "../..", "%00", "polygon", "٣", "&amp;", "<x>"]


def mutate(content, rng):
    """Return the bytes of a mutated annotation file."""
    if not isinstance(content, bytes | str) and rng.random() < 0.6:
        return odd_node(content, rng)
    if isinstance(content, str) and rng.random() < 0.6:
        return odd_word(content, rng)
    data = content
    if isinstance(content, str):
        data = content.encode()
    elif not isinstance(content, bytes):
        data = json.dumps(content).encode()
    return odd_bytes(data, rng)


def odd_node(content, rng):
    """Replace or delete some values of parsed JSON."""
    content = copy.deepcopy(content)
    for _ in range(int(rng.integers(1, 4))):
        places = list(nodes(content))
        parent, key = places[rng.integers(len(places))]
        if rng.random() < 0.2:
            del parent[key]
        elif rng.random() < 0.1:
            text = json.dumps(content)
            deep = "[" * 3000 + "]" * 3000
            return text.replace(json.dumps(parent[key]), deep, 1).encode()
        else:
            parent[key] = copy.deepcopy(ODD_VALUES[rng.integers(len(ODD_VALUES))])
        if not content:
            break
    return json.dumps(content).encode()


def nodes(value):
    """Yield (parent, key) of every value inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, dict | list):
            yield from nodes(inner)


def odd_word(text, rng):
    """Replace a number or a word of a text."""
    words = list(re.finditer(r"-?\d+(\.\d+)?|\w+", text))
    word = words[rng.integers(len(words))]
    odd = ODD_NUMBERS if rng.random() < 0.7 else ODD_WORDS
    changed = text[: word.start()] + odd[rng.integers(len(odd))] + text[word.end() :]
    return changed.encode("utf-8", "surrogatepass")


def odd_bytes(data, rng):
    """Flip, cut, repeat or re-encode bytes."""
    kind = rng.integers(7)
    place = int(rng.integers(len(data) + 1))
    if kind == 0:
        changed = bytearray(data)
        for spot in rng.integers(len(data), size=int(rng.integers(1, 8))):
            changed[spot] = rng.integers(256)
        return bytes(changed)
    if kind == 1:
        return data[:place]
    if kind == 2:
        return data[:place] + data[place + int(rng.integers(1, 40)) :]
    if kind == 3:
        return data[:place] + data[max(place - 60, 0) : place] + data[place:]
    if kind == 4:
        encoding = ["utf-16", "utf-32", "utf-16-le", "cp500"][rng.integers(4)]
        return data.decode("latin-1").encode(encoding, "replace")
    if kind == 5:
        return (
            data[:place]
            + [b"[" * 100_000, b"\xff\xfe", b"\x00" * 9, b"<a>" * 20_000][rng.integers(4)]
            + data[place:]
        )
    return [b"", b"\n", b"{}", b"[]", b"null", b"{", b'"', b"\xef\xbb\xbf"][rng.integers(8)]
