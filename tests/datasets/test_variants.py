"""Further forms of the inputs of `test_cases`, by the same kinds of fault."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from mrcnn.datasets import open_dataset, require_learnable
from mrcnn.datasets.registry import dataset_folder, find_dataset, load_reader
from tests.datasets.made_up import write_pixels
from tests.datasets.test_cases import (
    HEIGHT,
    POINTS,
    SMALL,
    SQUARE,
    WIDTH,
    annotation,
    coco,
    image,
    labelme,
    lm_shape,
    one_coco,
    packed,
    rle,
    via,
    write_files,
)
from tests.datasets.test_cases_files import BOX, TRIANGLE, voc

RUNS = {"counts": [490, 20, 2562], "size": [48, 64]}
FIRST = {"counts": [0, 10, 3062], "size": [48, 64]}
LABEL = "0 0.2 0.2 0.6 0.2 0.6 0.6 0.2 0.6"
BACKGROUNDS = [{"id": 1, "name": "cat"}, {"id": 2, "name": "_background_"}]


def two_names(first, second):
    one = annotation(2, category_id=2, segmentation=[SMALL])
    names = [{"id": 1, "name": first}, {"id": 2, "name": second}]
    return one_coco(annotation(1), one, categories=names)


def one_voc(shape=BOX):
    return {"images/a.png": None, "annotations/a.xml": voc(shape)}


def one_labelme(*shapes, **values):
    return {"a.png": None, "a.json": labelme(*shapes, **values)}


def one_via(shape=None, attributes=None):
    region = {"shape_attributes": shape, "region_attributes": attributes or {"kind": "cat"}}
    return {"a.png": None, "v.json": {"a": {"filename": "a.png", "regions": [region]}}}


def one_yolo(names="names: [cat, dog]", label=LABEL, folder="", **files):
    return {
        f"{folder}images/a.png": None,
        f"{folder}labels/a.txt": label,
        f"{folder}data.yaml": names,
        **files,
    }


def csv(mark=",", start="#"):
    columns = ["filename", "file_size", "file_attributes", "region_count", "region_id",
               "region_shape_attributes", "region_attributes"]  # fmt: skip
    shape = '"{""name"":""rect"",""x"":10,""y"":10,""width"":30,""height"":20}"'
    row = ["a.png", "1", '"{}"', "1", "0", shape, '"{""label"":""cat""}"']
    return f"{start}{mark.join(columns)}\n{mark.join(row)}\n"


def corners(tag, text):
    """A polygon whose corners are elements of this name and form."""
    inner = "".join(text.format(tag=tag, x=x, y=y) for x, y in POINTS)
    return f"<polygon>{inner}</polygon>"


INNER, ATTRIBUTES = "<{tag}><x>{x}</x><y>{y}</y></{tag}>", '<{tag} x="{x}" y="{y}"/>'

# Files, class names, class ids of the only image, pixels of its masks.
READ = {
    "run lengths as text of bytes": (one_coco(rle(f"b'{packed([490, 20, 2562])}'")), ["cat"], [20]),
    "run lengths between blanks": (one_coco(rle("490 20 2562")), ["cat"], [20]),
    "run lengths between commas": (one_coco(rle("[490, 20, 2562]")), ["cat"], [20]),
    "run lengths as JSON text": (
        one_coco(annotation(segmentation=json.dumps(RUNS))),
        ["cat"],
        [20],
    ),
    "two run lengths": (one_coco(annotation(segmentation=[RUNS, FIRST])), ["cat"], [30]),
    "polygons as JSON text": (
        one_coco(annotation(segmentation=json.dumps([SQUARE]))),
        ["cat"],
        [600],
    ),
    "segmentation 0": (one_coco(annotation(segmentation=0)), ["cat"], [600]),
    "segmentation ''": (one_coco(annotation(segmentation="")), ["cat"], [600]),
    "box as JSON text": (
        one_coco(annotation(bbox="[10, 10, 30, 20]", segmentation=[])),
        ["cat"],
        [600],
    ),
    "empty box beside a polygon": (one_coco(annotation(bbox=[])), ["cat"], [600]),
    "flag 'n'": (one_coco(annotation(iscrowd="N")), ["cat"], [600]),
    "flag 'off'": (one_coco(annotation(iscrowd="off")), ["cat"], [600]),
    "points as objects": (
        one_coco(annotation(segmentation=[[{"x": x, "y": y} for x, y in POINTS]])),
        ["cat"],
        [600],
    ),
    "nested four deep": (one_coco(annotation(segmentation=[[[SQUARE]]])), ["cat"], [600]),
    "an image listed twice": (one_coco(images=[image("a.png")] * 2), ["cat"], [600]),
    "a category listed twice": (
        one_coco(categories=[{"id": 1, "name": "cat"}] * 2),
        ["cat"],
        [600],
    ),
    "composed characters": (two_names("caf\u00e9", "cafe\u0301"), ["café"], [600, 36]),
    "a space without width": (two_names("cat", "c\u200bat"), ["cat"], [600, 36]),
    "a mark of direction": (two_names("cat", "cat\u200e"), ["cat"], [600, 36]),
    "a tab": (two_names("big cat", "big\tcat"), ["big cat"], [600, 36]),
    "no object in COCO": (
        one_coco(
            annotation(1),
            annotation(2, category_id=2, segmentation=[SMALL]),
            categories=BACKGROUNDS,
        ),
        ["cat"],
        [600],
    ),
    "annotations before other keys": (
        {
            "images/a.png": None,
            "a.json": {
                "annotations": [annotation(n, segmentation=[SMALL]) for n in range(4000)],
                "categories": [{"id": 1, "name": "cat"}],
                "images": [image("a.png")],
            },
        },
        ["cat"],
        [36] * 4000,
    ),
    "Label Studio of Windows": (
        {
            "images/sub/a.png": None,
            "a.json": coco(images=[image("/data/local-files/?d=me%5Csub%5Ca.png")]),
        },
        ["cat"],
        [600],
    ),
    "VOC: <point> with elements": (one_voc(corners("point", INNER)), ["cat"], [600]),
    "VOC: <point> with attributes": (one_voc(corners("point", ATTRIBUTES)), ["cat"], [600]),
    "VOC: <pt> with attributes": (one_voc(corners("pt", ATTRIBUTES)), ["cat"], [600]),
    "VOC: points in an attribute": (
        one_voc(BOX + '<polygon points="10,10;40,10;10,30"/>'),
        ["cat"],
        [300],
    ),
    "VOC: other letters": (
        {
            "a.png": None,
            "a.xml": voc(BOX.replace("xmin", "Xmin"))
            .replace("object", "Object")
            .replace("annotation", "ANNOTATION"),
        },
        ["cat"],
        [600],
    ),
    "VOC: a namespace": (
        {"a.png": None, "a.xml": voc().replace("<annotation", '<annotation xmlns="http://x.y"')},
        ["cat"],
        [600],
    ),
    "VOC: difficult is not said": (
        one_voc(BOX + "<difficult>Unspecified</difficult>"),
        ["cat"],
        [600],
    ),
    "VOC: no object": (
        one_voc(f"{BOX}</object><object><name>__background__</name>{BOX}"),
        ["cat"],
        [600],
    ),
    "VOC in two folders": (
        {f"VOCdevkit/VOC2012/{name}": content for name, content in one_voc(TRIANGLE).items()},
        ["cat"],
        [300],
    ),
    "LabelMe: Rectangle": (
        one_labelme(lm_shape(points=[[10, 10], [40, 30]], shape_type="Rectangle")),
        ["cat"],
        [600],
    ),
    "LabelMe: shape_type ''": (one_labelme(lm_shape(shape_type="")), ["cat"], [600]),
    "LabelMe: group_id ''": (
        one_labelme(lm_shape(group_id=""), lm_shape(group_id="")),
        ["cat"],
        [600, 600],
    ),
    "LabelMe: no objects": (
        one_labelme(lm_shape("_Background_"), lm_shape("__background__"), lm_shape()),
        ["cat"],
        [600],
    ),
    "LabelMe in two folders": (
        {f"x/data/{name}": content for name, content in one_labelme().items()},
        ["cat"],
        [600],
    ),
    "VIA: no object": (
        {"a.png": None, "v.json": via({"kind": "__ignore__"}, {"kind": "cat"})},
        ["cat"],
        [651],
    ),
    "VIA: CSV with semicolons": ({"a.png": None, "v.csv": csv(";")}, ["cat"], [600]),
    "VIA: CSV without #": ({"a.png": None, "v.csv": csv(start="\ufeff")}, ["cat"], [600]),
    "YOLO: one folder": (one_yolo(folder="data/"), ["cat", "dog"], [475]),
    "YOLO: images in sub-folders": (
        {"images/x/y/a.png": None, "labels/x/y/a.txt": LABEL, "data.yaml": "names: [cat]"},
        ["cat"],
        [475],
    ),
    "YOLO: labels in annotations": (
        {"images/a.png": None, "annotations/a.txt": LABEL, "classes.txt": "cat"},
        ["cat"],
        [475],
    ),
    "YOLO: another computer's path": (
        {
            "set.yaml": "path: /home/me/set\ntrain: ../pics/one\nnames: [cat]",
            "pics/one/a.png": None,
            "pics/one/a.txt": LABEL,
        },
        ["cat"],
        [475],
    ),
    "YOLO: a list of images": (
        {
            "train.txt": "C:\\set\\images\\a.png\n",
            **one_yolo("train: train.txt\nnames: [cat]"),
            "images/b.png": None,
        },
        ["cat"],
        [475],
    ),
}


@pytest.mark.parametrize(("files", "names", "pixels"), READ.values(), ids=READ.keys())
def test_what_is_read(tmp_path, files, names, pixels):
    dataset = open_dataset(write_files(tmp_path, files))
    assert dataset.class_names == ["BG", *names]
    assert dataset.num_images == 1
    masks, class_ids = dataset.load_mask(0)
    assert masks.sum((0, 1)).tolist() == pixels
    assert class_ids.tolist() == [1] * len(pixels)
    assert dataset.check().errors == []
    require_learnable(dataset)


def test_embedded_image_as_a_data_url(tmp_path):
    write_files(tmp_path, {"b.png": None})
    data = base64.b64encode((tmp_path / "b.png").read_bytes()).decode()
    write_files(tmp_path / "set", {"a.json": labelme(imageData=f"data:image/png;base64,{data}")})
    assert open_dataset(tmp_path / "set").load_image(0).shape == (HEIGHT, WIDTH, 3)


CROWD = rle([490, 20], size=[100, 100]) | {"iscrowd": 1}
SAME_ID = [image("a.png"), image("b.png")]
DARWIN = {"version": "2.0", "item": {}, "annotations": []}
# Files, what the message must hold.
REFUSED = {
    "a crowd of another size": (one_coco(CROWD), ["annotation 1", "510", "10000"]),
    "the second of two": (
        one_coco(annotation(segmentation=[RUNS, {"counts": [490], "size": [48, 64]}])),
        ["annotation 1", "490", "3072"],
    ),
    "text that is too short": (one_coco(rle("490,20")), ["annotation 1", "510", "3072"]),
    "negative sides": (
        one_coco(annotation(bbox=[40, 30, -30, -20], segmentation=[])),
        ["annotation 1", "bbox is [40, 30, -30, -20]"],
    ),
    "one id for two images": (
        one_coco(images=SAME_ID),
        ["image 1: id is 1; it must be an id that no other image has, as a.png"],
    ),
    "one id for two categories": (
        one_coco(categories=[{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}]),
        ["category 1: id is 1; it must be an id that no other category has, as 'cat'"],
    ),
    "VIA: negative sides": (
        one_via({"name": "rect", "x": 40, "y": 30, "width": -30, "height": -20}),
        ["a.png region 0", "width is -30"],
    ),
    "YOLO: a key twice": (
        one_yolo("names:\n  0: cat\n  0: dog"),
        ["data.yaml line 3", "the key '0' occurs twice"],
    ),
    "YOLO: an id in two forms": (
        one_yolo("names: {0: cat, '0.0': dog}"),
        ["data.yaml", "class id 0 twice, as '0' and '0.0'"],
    ),
    "YOLO: commas": (
        {"images/a.png": None, "labels/a.txt": "0,0.5,0.5,1,1", "classes.txt": "cat"},
        ["a.txt line 1", "a class id and numbers are needed"],
    ),
    "CVAT without an image": (
        {"annotations.xml": "<annotations><meta/></annotations>"},
        ["annotations.xml", "'CVAT for images' without an image"],
    ),
    "CVAT without classes": (
        {"SegmentationObject/a.png": None, "JPEGImages/a.png": None},
        ["it has SegmentationObject without SegmentationClass"],
    ),
    "several datasets": (
        {f"x/{n}/set/{name}": c for n in (1, 2) for name, c in one_coco().items()},
        ["2 datasets", "x/1, ", "x/2"],
    ),
    "VoTT": ({"x-export.json": {"name": "x", "tags": [], "assets": {}}}, ["x-export.json is VoTT"]),
    "Darwin": ({"a.json": DARWIN}, ["a.json is Darwin"]),
    "SuperAnnotate": ({"a.json": {"metadata": {}, "instances": []}}, ["a.json is SuperAnnotate"]),
    "SA-1B": (
        {"a.json": {"image": {"file_name": "a.jpg"}, "annotations": []}},
        ["a.json is SA-1B"],
    ),
    "Cityscapes": (
        {"gt/train/x/a.json": {"imgHeight": 1, "imgWidth": 1, "objects": []}},
        ["a.json is Cityscapes"],
    ),
    "KITTI": ({"label_2/a.txt": "Car 0.00 0 -1.57 10 10 40 30 1 1 1 1 1 1 1\n"}, ["KITTI"]),
    "boxes in a table": (
        {"train.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\n"},
        ["train.csv is a table of boxes"],
    ),
    "boxes without columns": ({"a.csv": "a.png,10,10,40,30,cat\n"}, ["a.csv is a table of boxes"]),
    "run lengths in a table": (
        {"train.csv": "ImageId,EncodedPixels\na.png,1 3\n"},
        ["train.csv is a table of run lengths"],
    ),
    "an archive": ({"a.zip": b"PK\3\4"}, ["a.zip is an archive", "unpack it"]),
}


@pytest.mark.parametrize(("files", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(tmp_path, files, words):
    write_files(tmp_path, files)
    with pytest.raises(ValueError) as error:
        open_dataset(tmp_path).load_mask(0)
    for word in words:
        assert word in str(error.value)


OUTSIDE = [[100, 100, 140, 100, 140, 130]]
# Files in which nothing can be learned, and what `check` and `train` say.
NOTHING = {
    "outside": (one_coco(annotation(segmentation=OUTSIDE)), "1 of 1 have no pixel"),
    "no area": (
        one_coco(annotation(segmentation=[[10, 10, 40, 10, 20, 10]])),
        "1 of 1 have no pixel",
    ),
    "a crowd and one outside": (
        one_coco(annotation(1, iscrowd=1), annotation(2, segmentation=OUTSIDE)),
        "1 of 2 are crowds and 1 of 2 have no pixel",
    ),
    "other images' annotations": (one_coco(annotation(image_id=7)), "none of 1 image has one"),
    "lines": (one_labelme(lm_shape(shape_type="line")), "none of 1 image has one"),
    "two points": (one_labelme(lm_shape(points=[[1, 1], [2, 2]])), "none of 1 image has one"),
    "VIA: two points": (
        one_via({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]}),
        "none of 1 image has one",
    ),
}


@pytest.mark.parametrize(("files", "words"), NOTHING.values(), ids=NOTHING.keys())
def test_nothing_to_learn(tmp_path, files, words):
    dataset = open_dataset(write_files(tmp_path, files))
    errors = [p for p in dataset.check().errors if p.kind == "nothing_to_learn"]
    assert len(errors) == 1
    assert f"no instance to learn from: {words}" in errors[0].message
    with pytest.raises(ValueError, match=f"no instance to learn from: {words}"):
        require_learnable(dataset)


def test_images_without_instances_are_no_error(tmp_path):
    dataset = open_dataset(write_files(tmp_path, one_yolo(label="")))
    assert dataset.check().ok


YAML_PARTS = {
    "lists": "path: .\ntrain: [images/a, images/b]\nval: images/c\nnames: [cat]",
    "text files": "train: t.txt\nval: v.txt\nnames: [cat]",
    "Windows": "path: C:\\me\ntrain: [images\\a, .\\images\\b]\nval: images\\c\nnames: [cat]",
}


@pytest.mark.parametrize("name", ["data.yaml", "my set.yml"])
@pytest.mark.parametrize("content", YAML_PARTS.values(), ids=YAML_PARTS.keys())
def test_parts_in_the_yaml_file(tmp_path, content, name):
    files = {
        name: content,
        "t.txt": "images/a/x.png\n./images/b/y.png\n",
        "v.txt": "images/c/z.png",
    }
    for image_name in ("a/x", "b/y", "c/z"):
        files |= {f"images/{image_name}.png": None, f"labels/{image_name}.txt": LABEL}
    write_files(tmp_path, files)
    for path in (tmp_path, tmp_path / name):
        assert find_dataset(path) == ("yolo", path)
        assert load_reader("yolo").subsets(path) == ["train", "val"]
        train, val = (open_dataset(path, subset=part) for part in ("train", "validation"))
        assert [info["id"] for info in train.image_info] == ["images/a/x", "images/b/y"]
        assert [info["id"] for info in val.image_info] == ["images/c/z"]
        assert train.load_mask(1)[0].sum() == val.load_mask(0)[0].sum() == 475


@pytest.mark.parametrize(
    "value", ["7", "{a: b}", "[[images]]", "[null]", "''", "a" * 3000, '"\\0"', "../../..", "/"]
)
@pytest.mark.parametrize("key", ["path", "train"])
def test_parts_that_are_no_paths(tmp_path, key, value):
    write_files(tmp_path, one_yolo(f"names: [cat]\n{key}: {value}"))
    assert open_dataset(tmp_path).load_mask(0)[0].sum() == 475


def test_parts_in_the_yaml_file_stay_inside(tmp_path):
    write_files(tmp_path, {"train/a.png": None, "train/a.txt": LABEL})
    folder = write_files(tmp_path / "set", one_yolo("train: ../train\nnames: [cat]"))
    dataset = open_dataset(folder)
    assert [info["path"] for info in dataset.image_info] == [str(folder / "images" / "a.png")]


def test_folders_around_the_parts(tmp_path):
    files = {"README.txt": "x"}
    for part in ("train", "valid"):
        files |= {f"my set/{part}/a.png": None, f"my set/{part}/_annotations.coco.json": coco()}
    write_files(tmp_path, files)
    assert find_dataset(tmp_path) == ("coco", tmp_path / "my set")
    assert dataset_folder(tmp_path, "coco") == tmp_path / "my set"
    for format_name in (None, "coco"):
        assert open_dataset(tmp_path, format_name, subset="val").num_images == 1


def test_options_name_folders_of_the_dataset_itself(tmp_path):
    """A dataset further in is not taken where options say what belongs to this one."""
    for place in ("photos", "old/set/images"):
        write_files(tmp_path / place, {"a.png": None})
    for place in ("segments", "old/set/masks"):
        write_mask(tmp_path / place / "a.png", 255)
    dataset = open_dataset(tmp_path, "masks", image_dir="photos", mask_dir="segments")
    assert dataset.image_info[0]["path"] == str(tmp_path / "photos" / "a.png")
    assert find_dataset(tmp_path) == ("masks", tmp_path / "old")


def test_voc_lists_in_a_folder(tmp_path):
    files = {**one_voc(), "ImageSets/Main/train.txt": "a\n".encode("utf-16")}
    write_files(tmp_path / "VOCdevkit" / "VOC2012", files)
    for place in (tmp_path, tmp_path / "VOCdevkit", tmp_path / "VOCdevkit" / "VOC2012"):
        dataset = open_dataset(place, subset="train")
        assert [info["id"] for info in dataset.image_info] == ["a"]


def test_several_via_files_in_a_folder(tmp_path):
    write_files(
        tmp_path,
        {
            "a.png": None,
            "b.png": None,
            "one.json": via({"kind": "cat"}),
            "two.json": via({"label": "dog"}, name="b.png"),
            "one copy.json": via(),
        },
    )
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ["BG", "cat", "dog"]
    images = [(Path(info["path"]).name, info["annotation_file"]) for info in dataset.image_info]
    assert images == [
        ("a.png", str(tmp_path / "one copy.json")),
        ("b.png", str(tmp_path / "two.json")),
    ]
    assert [dataset.load_mask(number)[1].tolist() for number in (0, 1)] == [[1], [2]]
    assert "1 annotation file left out" in str(dataset.check())
    assert "one.json" in str(dataset.check())
    write_files(tmp_path, {"via_region_data.json": via()})
    assert open_dataset(tmp_path).num_images == 1


def test_user_dataset_that_fails_to_draw(tmp_path):
    """An image that cannot be drawn is no reason to refuse the others."""
    dataset = open_dataset(
        write_files(
            tmp_path,
            one_coco(
                annotation(1, segmentation=[[10, 10, float("nan"), 10, 40, 30]]),
                annotation(2, image_id=2),
                images=[image("a.png"), image("b.png", 2)],
            )
            | {"images/b.png": None},
        )
    )
    require_learnable(dataset)
    with pytest.raises(ValueError, match=r"no instance to learn from: AnnotationError: .*not fin"):
        require_learnable(dataset.subset([0]))
    assert np.array_equal(dataset.load_mask(1)[1], [1])


def test_parts_of_yolo_with_different_names(tmp_path):
    for part, names in (("train", "[cat, dog]"), ("val", "[dog, cat]")):
        write_files(tmp_path, one_yolo(f"names: {names}", folder=f"{part}/"))
    with pytest.raises(ValueError, match=r"train/data\.yaml and .*val/data\.yaml have different"):
        open_dataset(tmp_path, subset="train")


@pytest.mark.parametrize("content", ["", "{", json.dumps(coco())[:-30]])
def test_broken_part_of_coco_is_named(tmp_path, content):
    files = {"train/a.png": None, "train/_annotations.coco.json": coco()}
    write_files(tmp_path, {**files, "valid/_annotations.coco.json": content})
    assert load_reader("coco").subsets(tmp_path) == ["train", "valid"]
    for part in ("train", "valid"):
        with pytest.raises(ValueError, match=r"valid/_annotations\.coco\.json: not valid JSON"):
            open_dataset(tmp_path, subset=part)


def test_part_with_null_categories(tmp_path):
    files = {"train/a.png": None, "train/_annotations.coco.json": coco(), "valid/a.png": None}
    empty = {**coco(), "categories": None, "annotations": []}
    write_files(tmp_path, {**files, "valid/_annotations.coco.json": empty})
    assert open_dataset(tmp_path, subset="valid").class_names == ["BG", "cat"]


def write_mask(path, high):
    mask = np.zeros((HEIGHT, WIDTH), np.uint16 if high > 255 else np.uint8)
    mask[10:30, 10:40] = high
    return write_pixels(path, mask)


@pytest.mark.parametrize("name", ["a.png", "a.png.png", "A.PNG", "a_mask.png", "a.jpg.png"])
@pytest.mark.parametrize("high", [1, 255, 300, 65535])
def test_names_of_masks(tmp_path, name, high):
    write_files(tmp_path, {"images/a.png": None})
    write_mask(tmp_path / "masks" / name, high)
    assert open_dataset(tmp_path).load_mask(0)[0].sum((0, 1)).tolist() == [600]


@pytest.mark.parametrize("high", [255, 65535])
def test_soft_masks_are_refused(tmp_path, high):
    write_files(tmp_path, {"images/a.png": None})
    mask = np.zeros((HEIGHT, WIDTH), np.uint16 if high > 255 else np.uint8)
    mask[10:30, 10:40], mask[10:30, 9] = high, high // 2
    write_pixels(tmp_path / "masks" / "a.png", mask)
    with pytest.raises(ValueError, match=rf"mode is 'auto', but {high} occurs among 2 values"):
        open_dataset(tmp_path).load_mask(0)
    assert open_dataset(tmp_path, mode="binary").load_mask(0)[0].sum() == 620


def test_class_mask_without_instance_mask(tmp_path):
    red = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    red[10:30, 10:40] = (0, 0, 128)
    write_files(tmp_path, {"JPEGImages/a.png": None, "JPEGImages/b.png": None})
    (tmp_path / "labelmap.txt").write_text("cat:128,0,0::")
    for name in ("SegmentationClass/a", "SegmentationClass/b", "SegmentationObject/a"):
        write_pixels(tmp_path / f"{name}.png", red)
    dataset = open_dataset(tmp_path)
    assert dataset.num_images == 2
    assert "SegmentationObject has no mask of theirs (b)" in str(dataset.check())
