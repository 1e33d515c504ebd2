"""Small inputs modeled on what annotation tools and users write, and what they mean.

Images are 64 x 48; the square covers columns 10..39 and rows 10..29, 600 pixels.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mrcnn.datasets import open_dataset
from mrcnn.datasets.registry import find_format, load_reader
from mrcnn.evaluation.ground_truth import DatasetTruth, JsonTruth

HEIGHT, WIDTH = 48, 64
SQUARE = [10, 10, 40, 10, 40, 30, 10, 30]
SMALL = [2, 2, 8, 2, 8, 8, 2, 8]
POINTS = [[10, 10], [40, 10], [40, 30], [10, 30]]
NAN, INF = float("nan"), float("inf")


def write_files(folder, files):
    """Write a dataset: images by None, text by str, bytes as they are, the rest as JSON."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            pixels = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
            pixels[10:30, 10:40] = (0, 0, 255)
            path.write_bytes(cv2.imencode(path.suffix.lower(), pixels)[1])
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            path.write_text(text, encoding="utf-8")
    return folder


def annotation(number=1, **values):
    one = {"id": number, "image_id": 1, "category_id": 1, "bbox": [10, 10, 30, 20],
           "area": 600, "iscrowd": 0, "segmentation": [SQUARE], **values}  # fmt: skip
    return {key: value for key, value in one.items() if value is not Ellipsis}


def coco(*annotations, categories=None, images=None, **values):
    if categories is None:
        categories = [{"id": 1, "name": "cat", "supercategory": "none"}]
    if images is None:
        images = [{"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}]
    annotations = list(annotations) or [annotation()]
    content = {"info": {}, "licenses": [], "categories": categories, "images": images}
    return {**content, "annotations": annotations, **values}


def image(name, number=1):
    return {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}


def one_coco(*annotations, **values):
    return {"images/a.png": None, "annotations.json": coco(*annotations, **values)}


def via(*regions, name="a.png"):
    regions = regions or (({"label": "cat"}),)
    listed = [
        {"shape_attributes": {"name": "polygon", "all_points_x": [10, 40, 40, 10],
                              "all_points_y": [10, 10, 30, 30]}, "region_attributes": attributes}
        for attributes in regions
    ]  # fmt: skip
    return {f"{name}1": {"filename": name, "size": 1, "regions": listed, "file_attributes": {}}}


def labelme(*shapes, image_path="a.png", **values):
    shapes = [shape() if isinstance(shape, type) else shape for shape in shapes] or [lm_shape()]
    content = {"version": "5.0.1", "flags": {}, "shapes": shapes, "imagePath": image_path}
    size = {"imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH}
    return {**content, **size, **values}


def lm_shape(label="cat", points=POINTS, shape_type="polygon", **values):
    shape = {"label": label, "points": points, "shape_type": shape_type, **values}
    return {key: value for key, value in shape.items() if value is not Ellipsis}


LINE = lm_shape(shape_type="linestrip")


def packed(counts):
    runs = {"size": [HEIGHT, WIDTH], "counts": counts}
    return coco_mask.frPyObjects(runs, HEIGHT, WIDTH)["counts"].decode()


def rle(counts, **values):
    return annotation(segmentation={"counts": counts, "size": [HEIGHT, WIDTH], **values})


TWO = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]

# Name, files, class names, class ids of the first image, pixels of its masks.
READ = [
    ("JSON ending", {"images/a.png": None, "annotations.JSON": coco()}, ["cat"], [1], [600]),
    (
        "JSON of UTF-16",
        {"images/a.png": None, "annotations.json": json.dumps(coco()).encode("utf-16")},
        ["cat"],
        [1],
        [600],
    ),
    ("flag '0'", one_coco(annotation(iscrowd="0")), ["cat"], [1], [600]),
    ("flag 0.0", one_coco(annotation(iscrowd=0.0)), ["cat"], [1], [600]),
    ("flag 'false'", one_coco(annotation(iscrowd="false")), ["cat"], [1], [600]),
    ("flag null", one_coco(annotation(iscrowd=None)), ["cat"], [1], [600]),
    ("flag '1'", one_coco(annotation(iscrowd="1")), ["cat"], [-1], [600]),
    ("flag true", one_coco(annotation(iscrowd=True)), ["cat"], [-1], [600]),
    (
        "ids as text",
        one_coco(annotation(category_id="1"), images=[{**image("a.png"), "id": "1"}]),
        ["cat"],
        [1],
        [600],
    ),
    ("ids as 1.0", one_coco(annotation(category_id=1.0, image_id=1.0)), ["cat"], [1], [600]),
    ("category id as text", one_coco(categories=[{"id": "1", "name": "cat"}]), ["cat"], [1], [600]),
    (
        "ids that are names",
        one_coco(
            annotation(category_id="c", image_id="x"),
            images=[{**image("a.png"), "id": "x"}],
            categories=[{"id": "c", "name": "cat"}],
        ),
        ["cat"],
        [1],
        [600],
    ),
    (
        "sizes as text",
        one_coco(images=[{**image("a.png"), "width": "64", "height": "48.0"}]),
        ["cat"],
        [1],
        [600],
    ),
    (
        "sizes of 0",
        one_coco(images=[{**image("a.png"), "width": 0, "height": 0}]),
        ["cat"],
        [1],
        [600],
    ),
    (
        "VIA's COCO export",
        one_coco(annotation(image_id="1", segmentation=SQUARE)),
        ["cat"],
        [1],
        [600],
    ),
    (
        "box as text",
        one_coco(annotation(bbox=["10", "10", "30", "20"], segmentation=[], area="600")),
        ["cat"],
        [1],
        [600],
    ),
    ("box beside null", one_coco(annotation(segmentation=None)), ["cat"], [1], [600]),
    ("box beside [[]]", one_coco(annotation(segmentation=[[]])), ["cat"], [1], [600]),
    ("box beside {}", one_coco(annotation(segmentation={})), ["cat"], [1], [600]),
    ("flat polygon", one_coco(annotation(segmentation=SQUARE)), ["cat"], [1], [600]),
    ("double nesting", one_coco(annotation(segmentation=[[SQUARE]])), ["cat"], [1], [600]),
    (
        "a list of run lengths",
        one_coco(annotation(segmentation=[{"counts": [490, 20, 2562], "size": [48, 64]}])),
        ["cat"],
        [1],
        [20],
    ),
    ("points", one_coco(annotation(segmentation=POINTS)), ["cat"], [1], [600]),
    ("lists of points", one_coco(annotation(segmentation=[POINTS])), ["cat"], [1], [600]),
    (
        "numbers as text",
        one_coco(annotation(segmentation=[[str(n) for n in SQUARE]])),
        ["cat"],
        [1],
        [600],
    ),
    (
        "short polygon beside a good one",
        one_coco(annotation(segmentation=[SQUARE, [1, 1]])),
        ["cat"],
        [1],
        [600],
    ),
    (
        "run lengths of a crowd as text",
        one_coco(rle(["490", "20", "2562"], size=["48", "64"]) | {"iscrowd": 1}),
        ["cat"],
        [-1],
        [20],
    ),
    ("name 7", one_coco(categories=[{"id": 1, "name": 7}]), ["7"], [1], [600]),
    (
        "equal names",
        one_coco(
            annotation(1),
            annotation(2, category_id=2, segmentation=[SMALL]),
            categories=[{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}],
        ),
        ["cat"],
        [1, 1],
        [600, 36],
    ),
    (
        "a blank at the end",
        one_coco(
            annotation(1),
            annotation(2, category_id=2, segmentation=[SMALL]),
            categories=[{"id": 1, "name": "cat"}, {"id": 2, "name": "cat "}],
        ),
        ["cat"],
        [1, 1],
        [600, 36],
    ),
    (
        "names with commas",
        one_coco(
            annotation(1),
            annotation(2, category_id=2, segmentation=[SMALL]),
            categories=[{"id": 1, "name": "bolt, short"}, {"id": 2, "name": "bolt, long"}],
        ),
        ["bolt, short", "bolt, long"],
        [1, 2],
        [600, 36],
    ),
    (
        "unused category 0",
        one_coco(categories=[{"id": 0, "name": "animals"}, {"id": 1, "name": "cat"}]),
        ["cat"],
        [1],
        [600],
    ),
    (
        "category 0 in use",
        one_coco(
            annotation(category_id=0),
            categories=[{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
        ),
        ["cat", "dog"],
        [1],
        [600],
    ),
    (
        "checkpoints of a notebook",
        {
            f"{folder}/{name}": content
            for folder in ("train", ".ipynb_checkpoints")
            for name, content in {"a.png": None, "_annotations.coco.json": coco()}.items()
        },
        ["cat"],
        [1],
        [600],
    ),
    (
        "macOS' hidden copies",
        {
            **one_coco(),
            "._annotations.json": b"\0\5\26\7Mac OS X",
            "__MACOSX/annotations.json": coco(),
        },
        ["cat"],
        [1],
        [600],
    ),
    (
        "LabelMe: shape_type null",
        {"a.png": None, "a.json": labelme(lm_shape(shape_type=None))},
        ["cat"],
        [1],
        [600],
    ),
    (
        "LabelMe: no shape_type",
        {"a.png": None, "a.json": labelme(lm_shape(shape_type=...))},
        ["cat"],
        [1],
        [600],
    ),
    (
        "LabelMe: data first",
        {"a.png": None, "a.json": {"imageData": "A" * 10**6, **labelme()}},
        ["cat"],
        [1],
        [600],
    ),
    ("LabelMe: JSON ending", {"a.png": None, "a.JSON": labelme()}, ["cat"], [1], [600]),
    (
        "LabelMe: number as label",
        {"a.png": None, "a.json": labelme(lm_shape(1), lm_shape("cat"))},
        ["1", "cat"],
        [1, 2],
        [600, 600],
    ),
    (
        "LabelMe: points as text",
        {"a.png": None, "a.json": labelme(lm_shape(points=[[str(x), y] for x, y in POINTS]))},
        ["cat"],
        [1],
        [600],
    ),
    (
        "LabelMe: size as text",
        {"a.png": None, "a.json": labelme(imageHeight="48", imageWidth="64")},
        ["cat"],
        [1],
        [600],
    ),
    (
        "LabelMe: hidden file",
        {"a.png": None, "a.json": labelme(), "._a.json": b"\0\5\26\7"},
        ["cat"],
        [1],
        [600],
    ),
    (
        "LabelMe: stray JSON first",
        {"b.png": None, "a.json": {"1": "cat"}, "b.json": labelme(image_path="b.png")},
        ["cat"],
        [1],
        [600],
    ),
    (
        "LabelMe: no objects",
        {
            "a.png": None,
            "a.json": labelme(lm_shape("_background_"), lm_shape("__ignore__"), lm_shape()),
        },
        ["cat"],
        [1],
        [600],
    ),
    (
        "LabelMe: blanks",
        {"a.png": None, "a.json": labelme(lm_shape("cat "), lm_shape("cat"))},
        ["cat"],
        [1, 1],
        [600, 600],
    ),
    ("VIA", {"a.png": None, "via_region_data.json": via()}, ["cat"], [1], [651]),
    (
        "VIA: project 3",
        {
            "a.png": None,
            "p.json": {
                "project": {"pid": "x"},
                "config": {},
                "attribute": {"1": {"aname": "label", "type": 4, "options": {"0": "cat"}}},
                "file": {"1": {"fid": "1", "fname": "a.png", "src": "a.png"}},
                "view": {"1": {"fid_list": ["1"]}},
                "metadata": {
                    "1_ab": {"vid": "1", "z": [], "xy": [7, *SQUARE], "av": {"1": "0"}},
                    "1_cd": {"vid": "1", "z": [1.5], "xy": [], "av": {"1": "0"}},
                    "1_ef": {"vid": "1", "z": [], "xy": [2, 2, 3, 4, 5], "av": {"1": "0"}},
                },
            },
        },
        ["cat"],
        [1, 1],
        [651, 20],
    ),
    (
        "VIA: CSV",
        {
            "a.png": None,
            "via_region_data.csv": "#filename,file_size,file_attributes,region_count,region_id,"
            "region_shape_attributes,region_attributes\n"
            'a.png,1,"{}",1,0,"{""name"":""rect"",""x"":10,""y"":10,""width"":30,""height"":20}",'
            '"{""label"":""cat""}"\n',
        },
        ["cat"],
        [1],
        [600],
    ),
    (
        "VIA: attributes that agree",
        {"a.png": None, "v.json": via({"name": "phone", "categories": "phone"})},
        ["phone"],
        [1],
        [651],
    ),
    (
        "VIA: an empty attribute",
        {"a.png": None, "v.json": via({"note": "", "kind": "phone"})},
        ["phone"],
        [1],
        [651],
    ),
    (
        "VIA: blanks",
        {"a.png": None, "v.json": via({"kind": "cat"}, {"kind": " cat"})},
        ["cat"],
        [1, 1],
        [651, 651],
    ),
]


@pytest.mark.parametrize(
    ("name", "files", "names", "class_ids", "pixels"), READ, ids=[case[0] for case in READ]
)
def test_what_is_read(tmp_path, name, files, names, class_ids, pixels):
    dataset = open_dataset(write_files(tmp_path, files))
    assert dataset.class_names == ["BG", *names]
    assert dataset.num_images == 1
    masks, found = dataset.load_mask(0)
    assert found.tolist() == class_ids
    assert masks.sum((0, 1)).tolist() == pixels
    assert dataset.load_image(0).shape == (HEIGHT, WIDTH, 3)
    assert sum(count.instances for count in dataset.summary().classes.values()) == len(pixels)
    chosen = open_dataset(tmp_path, classes=names)
    assert chosen.class_names == dataset.class_names
    assert chosen.load_mask(0)[1].tolist() == class_ids
    errors = [p.kind for p in dataset.check().errors]
    assert errors == (["nothing_to_learn"] if class_ids == [-1] else [])


TWO_IMAGES = {"images": [image("s1\\a.png"), image("s2\\a.png", 2)]}
URL = "https://example.org/data/a.png"
# Name, files, where the images are found; None is missing.
FOUND = [
    (
        "first missing",
        {"train/b.png": None, "annotations.json": coco(images=[image("a.png"), image("b.png", 2)])},
        [None, "train/b.png"],
    ),
    (
        "backslashes",
        {"images/s1/a.png": None, "images/s2/a.png": None, "annotations.json": coco(**TWO_IMAGES)},
        ["images/s1/a.png", "images/s2/a.png"],
    ),
    (
        "one file for two names",
        {"images/a.png": None, "annotations.json": coco(**TWO_IMAGES)},
        [None, None],
    ),
    (
        "Label Studio",
        {
            "images/my a.png": None,
            "result.json": coco(images=[image("/data/local-files/?d=images/my%20a.png")]),
        },
        ["images/my a.png"],
    ),
    (
        "%20 in the file",
        {"images/my%20a.png": None, "a.json": coco(images=[image("my%20a.png")])},
        ["images/my%20a.png"],
    ),
    ("letter case", {"images/a.PNG": None, "annotations.json": coco()}, ["images/a.PNG"]),
    (
        "another computer",
        {
            "images/a.png": None,
            "annotations.json": coco(images=[image("C:\\Users\\me\\set\\images\\a.png")]),
        },
        ["images/a.png"],
    ),
    (
        "an absolute path",
        {"images/a.png": None, "annotations.json": coco(images=[image("/home/me/a.png")])},
        ["images/a.png"],
    ),
    ("outside", {"set/annotations.json": coco(images=[image("../a.png")]), "a.png": None}, [None]),
    (
        "a deep folder",
        {"data/part 1/x/a.png": None, "annotations.json": coco()},
        ["data/part 1/x/a.png"],
    ),
    (
        "two in deep folders",
        {"d/1/a.png": None, "d/2/a.png": None, "annotations.json": coco()},
        [None],
    ),
    (
        "hidden folders",
        {".cache/a.png": None, "__MACOSX/a.png": None, "annotations.json": coco()},
        [None],
    ),
    (
        "VIA: default_filepath",
        {
            "imgs/a.png": None,
            "p.json": {
                "_via_settings": {"core": {"default_filepath": "./imgs/", "filepath": {}}},
                "_via_img_metadata": via(),
                "_via_attributes": {},
            },
        },
        ["imgs/a.png"],
    ),
    ("VIA: images folder", {"images/a.png": None, "p.json": via()}, ["images/a.png"]),
    ("VIA: URL", {"a.png": None, "via_region_data.json": via(name=URL)}, ["a.png"]),
    ("LabelMe: sibling", {"images/a.png": None, "json/a.json": labelme()}, ["images/a.png"]),
    (
        "LabelMe: .. in the name",
        {"images/a.png": None, "json/a.json": labelme(image_path="..\\images\\a.png")},
        ["images/a.png"],
    ),
    (
        "LabelMe: case of the ending",
        {"a.jpg": None, "a.json": labelme(image_path="a.JPG")},
        ["a.jpg"],
    ),
    ("LabelMe: outside", {"set/a.json": labelme(image_path="../../b.png"), "b.png": None}, [None]),
]


@pytest.mark.parametrize(("name", "files", "places"), FOUND, ids=[case[0] for case in FOUND])
def test_where_images_are_found(tmp_path, name, files, places):
    write_files(tmp_path, files)
    root = tmp_path / "set" if (tmp_path / "set").is_dir() else tmp_path
    dataset = open_dataset(root)
    paths = [Path(info["path"]) for info in dataset.image_info]
    found = [p.relative_to(tmp_path).as_posix() if p.is_file() else None for p in paths]
    assert found == places
    assert all(root in path.parents for path in paths)
    missing = [p.image_id for p in dataset.check().problems if p.kind == "missing_file"]
    assert missing == [number for number, place in enumerate(places) if place is None]


# Name, files, what the message must hold.
BROKEN = [
    ("run lengths too short", one_coco(rle([490, 20])), ["annotation 1", "510", "3072"]),
    ("packed, too short", one_coco(rle(packed([490, 20]))), ["annotation 1", "510", "3072"]),
    ("run lengths too long", one_coco(rle([490, 20, 9562])), ["annotation 1", "10072", "3072"]),
    ("a negative length", one_coco(rle([490, -20, 2602])), ["annotation 1", "-20"]),
    (
        "run lengths without size",
        one_coco(rle([490, 20, 2562], size=None)),
        ["annotation 1", "size"],
    ),
    (
        "run lengths of another size",
        one_coco(rle([4], size=[2, 2])),
        ["annotation 1", "[2, 2]", "[48, 64]"],
    ),
    (
        "run lengths of 1e18 pixels",
        one_coco(rle([10**18], size=[10**9, 10**9])),
        ["annotation 1", "1000000000"],
    ),
    (
        "NaN",
        one_coco(annotation(segmentation=[[10, 10, NAN, 10, 40, 30]])),
        ["annotation 1", "not finite"],
    ),
    (
        "1e12",
        one_coco(annotation(segmentation=[[10, 10, 1e12, 10, 40, 30]])),
        ["annotation 1", "not finite or beyond"],
    ),
    (
        "a word",
        one_coco(annotation(segmentation=[["a", 10, 1, 10, 40, 30]])),
        ["annotation 1", "no number"],
    ),
    (
        "segmentation of text",
        one_coco(annotation(segmentation="10 10")),
        ["annotation 1", "segmentation is '10 10'"],
    ),
    (
        "no category",
        one_coco(annotation(category_id=...)),
        ["annotation 1", "category_id is missing"],
    ),
    (
        "category list",
        one_coco(annotation(category_id=[1])),
        ["annotation 1", "category_id is [1]"],
    ),
    ("no class name", one_coco(categories=[{"id": 1}]), ["category 1", "name is missing"]),
    (
        "null class name",
        one_coco(categories=[{"id": 1, "name": None}]),
        ["category 1", "name is null"],
    ),
    ("class names as text", one_coco(categories=["cat"]), ["category 0", "'cat'"]),
    (
        "no file name",
        one_coco(images=[{"id": 1, "path": "/data/a.png"}]),
        ["image 1", "file_name is missing"],
    ),
    ("a number as image", one_coco(images=[7]), ["image 0", "is 7"]),
    (
        "width of 1e9",
        one_coco(images=[{**image("a.png"), "width": 1e9}]),
        ["image 1", "width is 1000000000"],
    ),
    (
        "neither box nor mask",
        one_coco(annotation(bbox=..., segmentation=[])),
        ["annotation 1", "bbox is missing"],
    ),
    (
        "an empty box",
        one_coco(annotation(bbox=[], segmentation=[])),
        ["annotation 1", "bbox is []"],
    ),
    (
        "NaN in the box",
        one_coco(annotation(bbox=[10, 10, NAN, 20], segmentation=[])),
        ["annotation 1", "bbox[2] is nan"],
    ),
    ("iscrowd of 2", one_coco(annotation(iscrowd=2)), ["annotation 1", "iscrowd is 2"]),
    (
        "GBK",
        {
            "annotations.json": json.dumps(
                coco(categories=[{"id": 1, "name": "汽车"}]), ensure_ascii=False
            ).encode("gbk")
        },
        ["UTF-8"],
    ),
    ("cut off", {"annotations.json": json.dumps(coco())[:-40]}, ["not valid JSON"]),
    (
        "LabelMe: circle of one point",
        {"a.png": None, "a.json": labelme(lm_shape(points=[[1, 1]], shape_type="circle"))},
        ["shape 0", "points is [[1, 1]]", "circle"],
    ),
    (
        "LabelMe: no label",
        {"a.png": None, "a.json": labelme(lm_shape(label=...))},
        ["shape 0", "label is missing"],
    ),
    (
        "LabelMe: list as label",
        {"a.png": None, "a.json": labelme(lm_shape(label=["cat"]))},
        ["shape 0", "label is ['cat']"],
    ),
    (
        "LabelMe: point of three",
        {"a.png": None, "a.json": labelme(lm_shape(points=[[1, 2, 3]] * 3))},
        ["shape 0", "points is"],
    ),
    (
        "LabelMe: infinite point",
        {"a.png": None, "a.json": labelme(lm_shape(points=[[1, INF]] * 3))},
        ["shape 0", "points is inf"],
    ),
    (
        "LabelMe: mask of text",
        {
            "a.png": None,
            "a.json": labelme(lm_shape(points=[[1, 1], [5, 5]], shape_type="mask", mask="@@")),
        },
        ["shape 0", "mask is '@@'", "base64"],
    ),
    (
        "VIA: several attributes",
        {
            "a.png": None,
            "v.json": via(
                {"name": "bottle", "type": "unknown"}, {"name": "glass", "type": "unknown"}
            ),
        },
        ["'name' ('bottle', 'glass')", "'type'", "attribute=NAME"],
    ),
    (
        "VIA: regions of text",
        {"a.png": None, "v.json": {"a": {"filename": "a.png", "regions": "none"}}},
        ["entry 0", "regions is 'none'"],
    ),
    (
        "VIA: infinite circle",
        {
            "a.png": None,
            "v.json": {
                "a": {
                    "filename": "a.png",
                    "regions": [
                        {
                            "shape_attributes": {"name": "circle", "cx": 1, "cy": 1, "r": INF},
                            "region_attributes": {},
                        }
                    ],
                }
            },
        },
        ["a.png region 0", "r is inf"],
    ),
]


@pytest.mark.parametrize(("name", "files", "words"), BROKEN, ids=[case[0] for case in BROKEN])
def test_what_the_message_names(tmp_path, name, files, words):
    folder = write_files(tmp_path, files)
    with pytest.raises(ValueError) as error:
        open_dataset(folder).load_mask(0)
    file = next(n for n in files if n.endswith(".json"))
    for word in (*words, str(folder / file)):
        assert word in str(error.value)
    # For `check` it is one finding among others.
    report = open_dataset(folder, keep_going=True).check()
    assert any(all(word in str(p) for word in words) for p in report.errors)


@pytest.mark.parametrize("counts", [[490, 20], packed([490, 20])], ids=["list", "packed"])
def test_run_lengths_in_evaluation(tmp_path, counts):
    folder = write_files(tmp_path, one_coco(rle(counts)))
    for truth in (DatasetTruth(open_dataset(folder)), JsonTruth(folder / "annotations.json")):
        with pytest.raises(ValueError, match=r"annotation 1: .*510 .*3072"):
            truth.load(truth.image_ids[0])


def test_a_broken_file_is_one_finding_among_others(tmp_path):
    files = {"a.png": None, "b.png": None, "c.png": None, "a.json": labelme()}
    files |= {"b.json": '{"shapes": [', "c.json": labelme(lm_shape("dog"), image_path="c.png")}
    folder = write_files(tmp_path, files)
    with pytest.raises(ValueError, match=r"b\.json: not valid JSON"):
        open_dataset(folder)
    dataset = open_dataset(folder, keep_going=True)
    assert [info["id"] for info in dataset.image_info] == ["a", "c"]
    report = dataset.check()
    assert [p.kind for p in report.problems] == ["broken_file"]
    assert report.num_instances == 2
    assert not report.ok


def test_a_broken_entry_is_one_finding_among_others(tmp_path):
    entries = [annotation(1), annotation(2, category_id=None), annotation(3, segmentation=[SMALL])]
    dataset = open_dataset(write_files(tmp_path, one_coco(*entries)), keep_going=True)
    assert dataset.load_mask(0)[0].sum((0, 1)).tolist() == [600, 36]
    assert [p.kind for p in dataset.check().problems] == ["broken_file"]
    assert "annotation 2: category_id is null" in str(dataset.check())


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"a.png": None, "a.json": labelme(lm_shape(), LINE)}, "'linestrip'"),
        ({"a.png": None, "a.json": labelme(lm_shape(), lm_shape("__ignore__"))}, "__ignore__"),
        (one_coco(annotation(1), annotation(7, segmentation=[[1, 1, 2, 2]])), "annotation 7"),
        (one_coco(annotation(1), annotation(7, category_id=9)), "annotation 7"),
    ],
)  # fmt: skip
def test_what_is_left_out_is_named_by_check(tmp_path, files, word):
    dataset = open_dataset(write_files(tmp_path, files))
    assert dataset.load_mask(0)[0].sum((0, 1)).tolist() == [600]
    report = dataset.check()
    assert [p.kind for p in report.problems] == ["left_out"]
    assert word in str(report)
    assert "left_out" in {p.kind for p in dataset.subset([0]).check().problems}


def roboflow(part, *annotations, **values):
    return {f"{part}/a.png": None, f"{part}/_annotations.coco.json": coco(*annotations, **values)}


SWAPPED = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
FACADES = [{"id": 0, "name": "facade"}, {"id": 1, "name": "car"}, {"id": 2, "name": "facade"}]
COMMA = [{"id": 1, "name": "bolt, short"}, {"id": 2, "name": "nut"}]
SAME = [annotation(1, category_id=2), annotation(2, category_id=1, segmentation=[SMALL])]
# Name, categories and annotations of train and of valid, names, class ids of both.
PARTS = [
    (
        "ids swapped",
        (TWO, [annotation()]),
        (SWAPPED, [annotation(category_id=2)]),
        ["cat", "dog"],
        [[1], [1]],
    ),
    (
        "superclass of the same name",
        (FACADES, SAME),
        (FACADES, SAME),
        ["car", "facade"],
        [[2, 1], [2, 1]],
    ),
    ("comma", (COMMA, [annotation()]), (COMMA, [annotation()]), ["bolt, short", "nut"], [[1], [1]]),
    (
        "fewer categories",
        (TWO, [annotation(category_id=2)]),
        ([{"id": 1, "name": "dog"}], [annotation()]),
        ["cat", "dog"],
        [[2], [2]],
    ),
    (
        "more categories",
        ([{"id": 1, "name": "dog"}], [annotation()]),
        (TWO, [annotation()]),
        ["dog", "cat"],
        [[1], [2]],
    ),
    (
        "an id in use",
        ([{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}], [annotation()]),
        ([{"id": 1, "name": "dog"}], [annotation()]),
        ["cat", "dog"],
        [[1], [2]],
    ),
    (
        "blank",
        (TWO, [annotation()]),
        ([{"id": 1, "name": " cat"}, {"id": 2, "name": "dog"}], [annotation()]),
        ["cat", "dog"],
        [[1], [1]],
    ),
    ("no category", (TWO, [annotation()]), ([], []), ["cat", "dog"], [[1], []]),
    (
        "unused 0 in one part",
        (FACADES, [annotation(category_id=1)]),
        ([{"id": 0, "name": "x"}, {"id": 1, "name": "car"}], [annotation()]),
        ["car", "facade"],
        [[1], [1]],
    ),
]


@pytest.mark.parametrize(
    ("name", "train", "valid", "names", "class_ids"), PARTS, ids=[case[0] for case in PARTS]
)
def test_parts_share_one_class_table(tmp_path, name, train, valid, names, class_ids):
    for part, (categories, annotations) in (("train", train), ("valid", valid)):
        content = coco(categories=categories)
        content["annotations"] = annotations
        write_files(tmp_path, {f"{part}/a.png": None, f"{part}/_annotations.coco.json": content})
    datasets = [open_dataset(tmp_path, subset=part) for part in ("train", "val")]
    for dataset, numbers in zip(datasets, class_ids, strict=True):
        assert dataset.class_names == ["BG", *names]
        assert dataset.num_images == 1
        assert dataset.load_mask(0)[1].tolist() == numbers
        # Evaluation writes the ids of the file.
        for number, info in zip(numbers, dataset.image_info[0]["annotations"], strict=True):
            assert dataset.map_source_class_id(f"coco.{info['category_id']}") == number
    chosen = open_dataset(tmp_path, subset="val", classes=datasets[0].class_names[1:])
    assert chosen.class_names == ["BG", *names]
    assert chosen.num_images == 1
    both = datasets[0].merge(datasets)
    assert both.class_names == ["BG", *names]
    assert [both.load_mask(i)[1].tolist() for i in (0, 1)] == class_ids


def test_a_part_without_categories_alone_is_broken(tmp_path):
    content = coco()
    del content["categories"]
    write_files(tmp_path, {"annotations.json": content})
    with pytest.raises(ValueError, match="must have a list 'categories'"):
        open_dataset(tmp_path)


def test_only_crowds(tmp_path):
    crowd = annotation(iscrowd=1, segmentation={"counts": [490, 20, 2562], "size": [48, 64]})
    dataset = open_dataset(write_files(tmp_path, one_coco(crowd)))
    report = dataset.check()
    assert [p.kind for p in report.errors] == ["nothing_to_learn"]
    assert "no instance to learn from: 1 of 1 are crowds" in str(report)


@pytest.mark.parametrize(
    ("annotations", "images"),
    [("{}/json", "{}/images"), ("labels/{}", "images/{}"), ("{}", "{}"), ("{}/Annotations", "{}")],
)
def test_folders_of_parts(tmp_path, annotations, images):
    for part in ("train", "val"):
        write_files(tmp_path / annotations.format(part), {"a.json": labelme()})
        write_files(tmp_path / images.format(part), {"a.png": None})
    assert load_reader("labelme").subsets(tmp_path) == ["train", "val"]
    for part in ("train", "val"):
        dataset = open_dataset(tmp_path, subset=part)
        place = tmp_path / images.format(part) / "a.png"
        assert [info["path"] for info in dataset.image_info] == [str(place)]


def test_stray_file_beside_the_parts(tmp_path):
    write_files(
        tmp_path,
        {"via_export_json.json": via(), "train/a.png": None, "train/via_region_data.json": via(),
         "val/a.png": None, "val/via_region_data.json": via()},
    )  # fmt: skip
    assert find_format(tmp_path) == "via"
    assert load_reader("via").subsets(tmp_path) == ["train", "val"]
    dataset = open_dataset(tmp_path, subset="train")
    assert dataset.image_info[0]["path"] == str(tmp_path / "train" / "a.png")
    assert "via_export_json.json" in str(dataset.check())


def test_via_chooses_the_attribute_for_each_file(tmp_path):
    for part, attributes in (("train", {"kind": "cat"}), ("val", {"label": "dog"})):
        write_files(tmp_path / part, {"a.png": None, "via_region_data.json": via(attributes)})
    for part, numbers in (("train", [1]), ("val", [2])):
        dataset = open_dataset(tmp_path, subset=part)
        assert dataset.class_names == ["BG", "cat", "dog"]
        assert dataset.load_mask(0)[1].tolist() == numbers


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("export.json", [{"id": 1, "data": {"image": "a.png"}, "annotations": []}], "Label Studio"),
        ("results.json", [{"image_id": 1, "category_id": 1, "score": 0.5}], "COCO results"),
        ("a.json", {"categories": {}, "info": {}, "items": []}, "Datumaro"),
        ("a.json", {"description": "", "size": {}, "objects": []}, "Supervisely"),
        ("a.json", [{"image": "a.png", "annotations": []}], "CreateML"),
        ("via.csv", "# Exported using VIA\n# CSV_HEADER = metadata_id,file_list\n", "VIA 3's CSV"),
    ],
)
def test_known_formats_that_are_not_read_are_named(tmp_path, file, content, words):
    write_files(tmp_path, {file: content, "a.png": None})
    with pytest.raises(ValueError, match=f"{file} is .*{words}.* not read; "):
        open_dataset(tmp_path)


CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
# Recorded inputs: pixels of the masks of each image of each part, or words of the error.
RECORDED = {
    "coco_JSON_ext": [600], "coco_all_crowd": [40], "coco_backslash_sub": [600, 600],
    "coco_bbox_nan": "annotation 1: bbox", "coco_bbox_null": "annotation 1: bbox",
    "coco_comma_name": [600, 36], "coco_counts_negative": "annotation 1: .*-20",
    "coco_double_nested": [600], "coco_dup_names": [600, 36], "coco_first_missing": [600, 600],
    "coco_flat_polygon": [600], "coco_int_name": [600], "coco_iscrowd_str": [600],
    "coco_ls_url": [600], "coco_nan": "annotation 1", "coco_nobbox_noseg": "annotation 1: bbox",
    "coco_nocat": "annotation 1: category_id", "coco_nofilename": "image 1: file_name",
    "coco_noname": "category 1: name", "coco_null_name": "category 1: name",
    "coco_rle_nosize": "annotation 1: .*size", "coco_rle_overlong": "annotation 1: .*3072",
    "coco_rle_short": "annotation 1: .*510 .*3072", "coco_roboflow_dup": [600, 36, 600, 36],
    "coco_short_poly": [], "coco_space_names": [600, 36], "coco_str_bbox": [600],
    "coco_string_ids": [600], "coco_uppercase": [600], "coco_via_export": [600],
    "ipynb_coco": [600], "labelme_labels_bg": [300], "lm_circle_one_point": "shape 0: points",
    "lm_data_first": [600], "lm_ext_case": [600], "lm_int_label": [600, 600],
    "lm_null_shape_type": [600], "lm_sibling": [600], "lm_upper": [36], "mac_labelme": [300],
    "train_comma": [600, 600], "train_split_ids": [600, 600], "via3": [651], "via_csv": [331],
    "via_default_attrs": "attribute is None", "via_default_filepath": [651], "via_http": [651],
    "via_images_folder": [651], "via_stray_parent": [651, 651], "via_two_attrs_same": [651],
}  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), RECORDED.items())
def test_recorded_inputs(name, expected):
    folder = CASES / name
    if not folder.is_dir():
        pytest.skip("the recorded inputs are not here")
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            open_dataset(folder).load_mask(0)
        return
    pixels = []
    for part in load_reader(find_format(folder)).subsets(folder) or [None]:
        dataset = open_dataset(folder, subset=part)
        for number in dataset.image_ids:
            pixels += dataset.load_mask(number)[0].sum((0, 1)).tolist()
    assert pixels == expected
