"""Files as annotation tools write them: VOC, YOLO, masks and CVAT's exports, by kind of fault.

The first table runs over ../shared/cases and is skipped where that is absent; the others make
their files themselves.
"""

import numpy as np
import pytest

from mrcnn.datasets import open_dataset
from tests.datasets.made_up import write_picture, write_pixels

# (folder, subset, class names, class ids, pixels of each mask)
READ = [
    ("voc_polygon", None, ["cat"], [1], [300]),
    ("voc_roboflow", "train", ["cat"], [1], [300]),
    ("voc_roboflow", "val", ["cat"], [1], [300]),
    ("voc_robndbox", None, ["cat"], [1], [200]),
    ("voc_utf16", None, ["cat"], [1], [600]),
    ("voc_gb2312", None, ["cat"], [1], [600]),
    ("voc_upper_ext", None, ["cat"], [1], [600]),
    ("voc_split_dirs", "train", ["cat"], [1], [600]),
    ("voc_split_dirs", "val", ["cat"], [1], [600]),
    ("voc_names_space", "train", ["cat"], [1], [600]),
    ("voc_list_with_ext", "train", ["cat"], [1], [600]),
    ("voc_list_with_ext", "val", ["cat"], [1], [600]),
    ("mac_voc", None, ["cat"], [1], [600]),
    ("mac_yolo", None, ["cat"], [1], [120]),
    ("yolo_float_id", None, ["cat", "dog"], [1], [475]),
    ("yolo_part_of/train", None, ["cat", "dog"], [1], [475]),
    ("yolo_part_of", "train", ["cat", "dog"], [1], [475]),
    ("yolo_custom_yaml", None, ["cat", "dog"], [1], [475]),
    ("yolo_labels_uppercase", None, ["cat", "dog"], [1], [475]),
    ("yolo_labelstudio", None, ["cat", "dog"], [1], [475]),
    ("yolo_roboflow", "train", ["cat", "dog"], [1], [475]),
    ("yolo_roboflow", "test", ["cat", "dog"], [], []),
    ("yolo_cvat11", None, ["cat", "dog"], [1], [120]),
    ("cvat_segmask", None, ["cat"], [1, 1], [300, 300]),
    ("cvat_segmask", "default", ["cat"], [1, 1], [300, 300]),
    ("mask_labels_folder", None, ["object"], [1], [600]),
    ("mask_alpha_only", None, ["object"], [1], [600]),
]
# (folder, what the message holds)
REFUSED = [
    ("voc_badnumber", r"a\.xml, object 1, bndbox: xmax is 'NaN'; it must be a finite number"),
    ("voc_cvat_images", r"annotations\.xml: .*export the task from CVAT as 'COCO 1\.0'"),
    ("yolo_yaml_tab", r"data\.yaml line 2: not valid YAML"),
    ("yolo_odd", r"a\.txt line 1: .*it has 7 numbers"),
    ("yolo_conf_seg", r"a\.txt line 1: .*it has 7 numbers; a number too many may be a confidence"),
    ("yolo_five_pred", r"a\.txt line 1: .*it has 5 numbers; a number too many may be a confidence"),
    ("yolo_pixels", r"a\.txt line 1: coordinates must be fractions of the image"),
]


@pytest.fixture(scope="module")
def cases(shared_dir):
    folder = shared_dir / "cases"
    if not folder.is_dir():
        pytest.skip(f"no cases at {folder}")
    return folder


@pytest.mark.parametrize(("name", "subset", "classes", "class_ids", "pixels"), READ)
def test_case_is_read(cases, name, subset, classes, class_ids, pixels):
    dataset = open_dataset(cases / name, subset=subset)
    assert dataset.num_images == 1
    assert dataset.class_names == ["BG", *classes]
    masks, found = dataset.load_mask(0)
    assert found.tolist() == class_ids
    assert masks.sum((0, 1)).tolist() == pixels
    assert dataset.image_class_ids(0).tolist() == class_ids
    assert dataset.load_image(0).shape == (48, 64, 3)


@pytest.mark.parametrize(("name", "message"), REFUSED)
def test_case_is_refused(cases, name, message):
    with pytest.raises(ValueError, match=message):
        open_dataset(cases / name).load_mask(0)


def test_soft_mask(cases):
    auto = open_dataset(cases / "mask_soft")
    with pytest.raises(ValueError, match=r"a\.png: mode is 'auto', but 255 occurs among 2 values"):
        auto.load_mask(0)
    binary = open_dataset(cases / "mask_soft", mode="binary")
    assert binary.load_mask(0)[0].sum((0, 1)).tolist() == [600 + 30]
    assert [p.kind for p in auto.check().errors] == ["mask_failed"]


# VOC

BOX = "<bndbox><xmin>10</xmin><ymin>10</ymin><xmax>40</xmax><ymax>30</ymax></bndbox>"


def voc(shape=BOX, name="cat", head='<?xml version="1.0"?>'):
    return (
        f"{head}<annotation><filename>a.png</filename><object><name>{name}</name>{shape}</object>"
        "</annotation>"
    )


def write_voc(folder, content, encoding="utf-8", name="a.xml"):
    write_picture(folder / "images" / "a.png", 48, 64)
    path = folder / "annotations" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return folder


@pytest.mark.parametrize("name", ["猫", "Straße", "cat"])
@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        (None, "utf-8"),
        ("UTF-8", "utf-8-sig"),
        ("utf-8", "utf-16"),  # the byte order mark counts
        ("utf-16", "utf-16"),
        ("utf-16", "utf-16-le"),
        ("UTF-16", "utf-16-be"),
        ("utf-16", "utf-8"),  # a text that was converted after it was declared
        ("utf-32", "utf-32"),
        ("GB2312", "gbk"),
        ("gb18030", "gb18030"),
        ("big5", "big5"),
        ("ISO-8859-1", "latin-1"),
        ("windows-1252", "cp1252"),
        ("Shift_JIS", "shift_jis"),
    ],
)
def test_encodings_of_xml(tmp_path, name, declared, encoding):
    head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    try:
        content = voc(name=name, head=head).encode(encoding)
    except UnicodeEncodeError:
        pytest.skip(f"{encoding} has no {name}")
    dataset = open_dataset(write_voc(tmp_path, content))
    assert dataset.class_names == ["BG", name]
    assert dataset.load_mask(0)[0].sum() == 600


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (voc(name="猫狗").encode("gbk"), r"byte \d+ is .*, which is not utf-8; save it"),
        (voc(head='<?xml version="1.0" encoding="klingon"?>'), "encoding is 'klingon'; it must"),
        (voc(head='<?xml version="1.0" encoding="hex"?>'), "encoding is 'hex'; it must"),
        (voc(head='<!DOCTYPE a [<!ENTITY x "xxxx">]>', name="&x;"), "declares entities"),
        (
            voc(head='<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>', name="&x;"),
            "declares entities",
        ),
        (
            voc(head='<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:9/">%x;]>'),
            "declares entities",
        ),
        ("<annotation>" + "<a>" * 9999 + "</a>" * 9999 + "</annotation>", "nested too deeply"),
        (voc(name="&unknown;"), "not valid XML"),
        (voc(name="\x01"), "not valid XML"),
        ("<annotation><object>" + BOX + "</object></annotation>", "object 1: name is"),
        ("<annotation><object/></annotation>", "object 1: name is missing"),
        ("<annotation><object>cat</object></annotation>", "object 1: name is missing"),
        (voc(BOX.replace("40", "inf")), "xmax is 'inf'; it must be a finite number"),
        (voc(BOX.replace("40", "1e12")), "xmax is '1e12'; it must be a number from"),
        (voc(BOX.replace("40", "wide")), "xmax is 'wide'; it must be a finite number"),
        (voc(BOX.replace("<xmax>40</xmax>", "")), "xmax is missing"),
        (voc("<polygon><x1>1</x1><y1>2</y1></polygon>"), "polygon has 1 points; it must have"),
        (voc("<polygon><x1>1</x1><y1>2</y1><x2>3</x2></polygon>"), "y2 is missing"),
        (voc("<polygon>1 2 3 4</polygon>"), "polygon has 2 points; it must have at least 3"),
        (voc("<polygon>1 2 3 4 5</polygon>"), "polygon has 5 numbers; they must be pairs"),
        (voc("<polygon>1 2 3 4 5 x</polygon>"), "polygon is 'x'; it must be a finite number"),
        (voc("<robndbox><cx>9</cx></robndbox>"), "robndbox: cy is missing"),
        (voc(BOX + "<difficult>maybe</difficult>"), "difficult is 'maybe'; it must be true"),
        (voc(name="<b>cat</b>"), "name is .*; it must be a text"),
    ],
)
def test_broken_xml(tmp_path, content, message):
    write_voc(tmp_path, content)
    with pytest.raises(ValueError, match=rf"a\.xml.*{message}"):
        open_dataset(tmp_path, format="voc")


def polygon(*points):
    inner = "".join(f"<x{n}>{x}</x{n}><y{n}>{y}</y{n}>" for n, (x, y) in enumerate(points, 1))
    return f"<polygon>{inner}</polygon>"


TRIANGLE = polygon((10, 10), (40, 10), (10, 30))
SQUARE = polygon((10, 10), (40, 10), (40, 30), (10, 30))
MIT = "<polygon>" + "".join(
    f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((10, 10), (40, 10), (40, 30), (10, 30))
)
TEN_POINTS = polygon((10, 10), *((10 + 3 * n, 10) for n in range(1, 10)), (40, 10), (40, 30),
                     (10, 30))  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "pixels"),
    [
        (TRIANGLE, 300),
        (BOX + TRIANGLE, 300),
        (BOX + SQUARE, 600),
        (MIT + "</polygon>", 600),
        ("<polygon>10,10 40,10 40,30 10,30</polygon>", 600),
        (BOX + "<polygon>10.0,10.0;40.0,10.0;10.0,30.0</polygon>", 300),
        ("<polygon>[[10, 10], [40, 10], [10, 30]]</polygon>", 300),
        (TEN_POINTS, 600),  # x10 comes after x9, not after x1
        (TRIANGLE + polygon((50, 0), (60, 0), (60, 10), (50, 10)), 400),
        (BOX + "<polygon/>", 600),
        ("<robndbox><cx>25</cx><cy>20</cy><w>20</w><h>10</h><angle>0</angle></robndbox>", 200),
        (
            "<robndbox><cx>25</cx><cy>20</cy><w>20</w><h>10</h><angle>1.5707963</angle></robndbox>",
            200,
        ),
        (BOX.replace("10</xmin>", " 10.0 </xmin>"), 600),
        (BOX + "<part><name>head</name>" + BOX + "</part>", 600),
        (BOX + "<deleted>0</deleted>", 600),
        (BOX + "<difficult/>", 600),
    ],
)
def test_shapes_of_voc(tmp_path, shape, pixels):
    dataset = open_dataset(write_voc(tmp_path, voc(shape)))
    assert dataset.load_mask(0)[0].sum((0, 1)).tolist() == [pixels]


def test_unknown_shapes_of_voc_are_named(tmp_path):
    ellipse = "<ellipse><cx>9</cx><cy>9</cy></ellipse>"
    items = (
        f"<object><name>cat</name>{ellipse}</object><object><name>cat</name>{BOX}{ellipse}</object>"
    )
    dataset = open_dataset(write_voc(tmp_path, f"<annotation>{items}</annotation>"))
    assert dataset.load_mask(0)[0].sum((0, 1)).tolist() == [600]
    found = "\n".join(str(problem) for problem in dataset.findings)
    assert "the shape <ellipse> is not read (a.xml object 1, a.xml object 2)" in found
    assert "they have no box and no polygon (a.xml object 1)" in found


@pytest.mark.parametrize("tag", ["segmentation", "mask", "rle", "Points"])
def test_texts_that_are_shapes_are_named(tmp_path, tag):
    dataset = open_dataset(write_voc(tmp_path, voc(f"{BOX}<{tag}>1 2 3</{tag}>")))
    assert [p.message for p in dataset.findings] == [
        f"the shape <{tag}> is not read (a.xml object 1)"
    ]


@pytest.mark.parametrize("place", ["", "annotations.xml"])
@pytest.mark.parametrize("item", ["<image id='0'/>", "<track id='0'/>"])
def test_cvat_for_images_and_video(tmp_path, place, item):
    (tmp_path / "annotations.xml").write_text(f"<annotations>{item}</annotations>")
    with pytest.raises(ValueError, match=r"'CVAT for images'.*; export the task .*'COCO 1\.0'"):
        open_dataset(tmp_path / place)


def test_first_xml_file_does_not_decide(tmp_path):
    write_voc(tmp_path, "<project/>", name="A.xml")
    write_voc(tmp_path, b"\xff\xfe\0", name="B.xml")
    write_voc(tmp_path, "<!-- " + "x" * 9000 + " -->" + voc(head=""), name="a.XML")
    with pytest.raises(ValueError, match=r"A\.xml: not a VOC file, the outermost element is <proj"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    "line", ["my a", "my a.png", "my a 1", "my a -1", "sub/my a.png", "  my a  ", "my a.png 1"]
)
def test_lines_of_voc_lists(tmp_path, line):
    write_voc(tmp_path, voc(), name="my a.xml")
    write_voc(tmp_path, voc(), name="other.xml")
    lists = tmp_path / "imagesets" / "main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n\r\n")
    dataset = open_dataset(tmp_path, subset="train")
    assert [info["id"] for info in dataset.image_info] == ["my a"]


def test_one_broken_file_does_not_end_check(tmp_path):
    write_voc(tmp_path, voc())
    write_voc(tmp_path, voc(BOX.replace("40", "NaN")), name="b.xml")
    dataset = open_dataset(tmp_path, keep_going=True)
    assert dataset.num_images == 1
    assert [p.kind for p in dataset.findings] == ["broken_file"]


def test_instance_masks_as_colors(tmp_path):
    """CVAT writes SegmentationObject in VOC's colors, not as palette indices."""
    write_voc(tmp_path, voc())
    mask = np.zeros((48, 64, 3), np.uint8)
    mask[10:30, 10:25] = (0, 0, 128)  # BGR: color 1
    mask[10:30, 25:40] = (0, 128, 0)  # color 2, which no object has
    write_pixels(tmp_path / "SegmentationObject" / "a.png", mask)
    assert open_dataset(tmp_path).load_mask(0)[0].sum() == 300
    mask[0, 0] = (1, 2, 3)
    write_pixels(tmp_path / "SegmentationObject" / "a.png", mask)
    with pytest.raises(ValueError, match=r"row 0, column 0 is \[3, 2, 1\]; it must be one of VOC"):
        open_dataset(tmp_path).load_mask(0)


# YOLO

LABEL = "0 0.2 0.2 0.6 0.2 0.6 0.6 0.2 0.6"


def write_yolo(folder, label=LABEL, names=("data.yaml", "names: [cat, dog]")):
    write_picture(folder / "images" / "a.png", 48, 64)
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / "a.txt").write_bytes(label if isinstance(label, bytes) else label.encode())
    if names:
        (folder / names[0]).parent.mkdir(parents=True, exist_ok=True)
        (folder / names[0]).write_bytes(
            names[1] if isinstance(names[1], bytes) else names[1].encode()
        )
    return folder


@pytest.mark.parametrize("number", ["0", "0.0", "00", "0.", "+0", "0e0", "1", "1.0"])
def test_class_ids_of_yolo(tmp_path, number):
    dataset = open_dataset(write_yolo(tmp_path, LABEL.replace("0", number, 1)))
    assert dataset.load_mask(0)[1].tolist() == [2 if number[0] == "1" else 1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LABEL.replace("0", "1.5", 1), "class id is '1.5'; it must be a whole number"),
        (LABEL.replace("0", "-1", 1), "class id is '-1'; it must be a whole number from 0"),
        (LABEL.replace("0", "nan", 1), "class id is 'nan'; it must be a whole number"),
        (LABEL.replace("0", "1e30", 1), "class id is '1e30'; it must be a whole number"),
        (LABEL.replace("0", "7", 1), r"class id 7 has no name; names has \[0, 1\]"),
        ("0 0.5 0.5 -0.2 0.2", "width and height are -0.2 and 0.2; they must not be negative"),
        ("0 0.5 0.5 1e12 0.2", "they reach from 0.2 to 1000000000000.0"),
        ("0 0.5 0.5 inf 0.2", "coordinates must be fractions"),
        ("0,0.5,0.5,0.2,0.2", "a class id and numbers are needed"),
        ("0", "it has 0 numbers"),
        (b"0 0.5 0.5 0.2 0.2\n\xff\xfe\x80", "it is not UTF-8"),
    ],
)
def test_broken_labels(tmp_path, line, message):
    write_yolo(tmp_path, line)
    number = 2 if isinstance(line, bytes) else 1
    with pytest.raises(ValueError, match=rf"a\.txt line {number}: .*{message}"):
        open_dataset(tmp_path, format="yolo")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.yaml", "names: [cat, dog]"),
        ("Data.YAML", "names: [cat, dog]"),
        ("data.yaml", b"\xef\xbb\xbfnames:\r\n- cat\r\n- dog\r\n"),
        ("data.yaml", "names: [cat, dog]".encode("utf-16")),
        ("dataset.yml", "names: {0: cat, 1: dog}"),
        ("data.yaml", "names: {'0': cat, '1': dog}"),
        ("data.yaml", "names: [' cat ', \"dog\"]"),
        ("coco8-seg.yaml", "names: [cat, dog]"),
        ("my set.yml", "nc: 2\nnames:\n  0: cat\n  1: dog\n"),
        ("classes.txt", "cat\r\ndog\r\n"),
        ("obj.names", "cat\ndog"),
        ("voc.names", "cat\ndog"),
        ("labels/classes.txt", "cat\ndog\n"),
        ("../data.yaml", "names: [cat, dog]"),
        ("../classes.txt", "cat\ndog"),
        ("../coco8.yaml", "names: [cat, dog]"),
        ("names.json", '{"0": "cat", "1": "dog"}'),
    ],
)
def test_names_of_yolo(tmp_path, name, content):
    dataset = open_dataset(write_yolo(tmp_path / "inner", names=(name, content)))
    assert dataset.class_names == ["BG", "cat", "dog"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("names:\n\t- cat", r"data\.yaml line 2: not valid YAML"),
        ("names: [cat", r"data\.yaml line \d: not valid YAML"),
        ("names: cat", r"data\.yaml: names is 'cat'; it must be a list of names"),
        ("names: [[a], b]", r"data\.yaml: name 0 is .*; it must be a text"),
        ("names: ['', b]", r"data\.yaml: name 0 is ''; it must be a name that is not empty"),
        ("names: {x: cat}", r"data\.yaml: a class id is 'x'; it must be a whole number"),
        ("names: []", r'data\.yaml: it has no "names"'),
        ("- 1", r'data\.yaml: it has no "names"'),
        ("names: [cat]\nkpt_shape: [17, 3]", r"kpt_shape is .*; it must be a dataset of boxes"),
        (b"names: [\xff\xfe]", r"data\.yaml line 1: it is not UTF-8"),
        ("x: " + "[" * 5000, r"data\.yaml.*: not valid YAML"),
    ],
)
def test_broken_yaml(tmp_path, content, message):
    write_yolo(tmp_path, names=("data.yaml", content))
    with pytest.raises(ValueError, match=message):
        open_dataset(tmp_path)


def test_names_that_yaml_takes_for_other_types(tmp_path):
    dataset = open_dataset(write_yolo(tmp_path, names=("data.yaml", "names: [no, 7, 1e3, null]")))
    assert dataset.class_names == ["BG", "no", "7", "1e3", "null"]


def test_equal_names_are_one_class(tmp_path):
    write_yolo(tmp_path, LABEL + "\n1" + LABEL[1:], ("data.yaml", "names: [cat, 'cat ']"))
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ["BG", "cat"]
    assert dataset.load_mask(0)[1].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("part", "subset"), [("obj_train_data", "train"), ("obj_Validation_data", "val")]
)
def test_folders_of_darknet(tmp_path, part, subset):
    write_picture(tmp_path / part / "a.png", 48, 64)
    (tmp_path / part / "a.txt").write_text("1 0.5 0.5 0.2 0.2")
    (tmp_path / "obj.names").write_text("cat\ndog\n")
    for chosen in (None, subset):
        dataset = open_dataset(tmp_path, subset=chosen)
        assert dataset.class_names == ["BG", "cat", "dog"]
        assert dataset.load_mask(0)[1].tolist() == [2]


def test_sub_folders_of_darknet(tmp_path):
    for name in ("a", "one/a", "one/two/b"):
        write_picture(tmp_path / "obj_train_data" / f"{name}.png", 48, 64)
        (tmp_path / "obj_train_data" / f"{name}.txt").write_text("0 0.5 0.5 0.2 0.2")
    (tmp_path / "obj.names").write_text("cat")
    dataset = open_dataset(tmp_path)
    assert sorted(info["id"] for info in dataset.image_info) == ["a", "one/a", "one/two/b"]
    assert [dataset.load_mask(n)[1].tolist() for n in range(3)] == [[1]] * 3


def test_labels_without_image_are_named(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "labels" / "b.txt").write_text(LABEL)
    (tmp_path / "labels" / "._c.txt").write_text(LABEL)
    dataset = open_dataset(tmp_path)
    assert [str(p) for p in dataset.findings] == [
        "warning: 1 annotation left out: these label files have no image (b.txt) [left_out]"
    ]


def test_empty_first_label_files_do_not_decide(tmp_path):
    write_yolo(tmp_path / "test", "", names=None)
    write_yolo(tmp_path / "train", names=None)
    (tmp_path / "data.yaml").write_text("names: [cat, dog]")
    assert open_dataset(tmp_path, subset="train").load_mask(0)[1].tolist() == [1]
    assert open_dataset(tmp_path, subset="test").load_mask(0)[1].tolist() == []


# Masks


def rgba(color, ground, alpha=255, ground_alpha=0):
    pixels = np.full((48, 64, 4), (*ground, ground_alpha), np.uint8)
    pixels[10:30, 10:40] = (*color, alpha)
    return pixels


@pytest.mark.parametrize(
    ("pixels", "counts"),
    [
        (rgba((255, 255, 255), (255, 255, 255)), [600]),
        (rgba((255, 255, 255), (0, 0, 0)), [600]),
        (rgba((0, 0, 0), (0, 0, 0)), [600]),
        (rgba((0, 0, 0), (255, 255, 255)), [600]),
        (rgba((9, 0, 200), (255, 255, 255)), [600]),
        (rgba((255, 255, 255), (255, 255, 255), alpha=90), [600]),
        (rgba((255, 255, 255), (0, 0, 0), ground_alpha=255), [600]),
    ],
)
@pytest.mark.parametrize("mode", ["auto", "binary", "index"])
def test_masks_with_alpha(tmp_path, pixels, counts, mode):
    write_picture(tmp_path / "images" / "a.png", 48, 64)
    write_pixels(tmp_path / "masks" / "a.png", pixels)
    dataset = open_dataset(tmp_path, mode=mode)
    noted = [problem.kind for problem in dataset.check().problems]
    assert noted == ([] if pixels[..., 3].min() == 255 else ["alpha"])
    assert dataset.load_mask(0)[0].sum((0, 1)).tolist() == counts


@pytest.mark.parametrize("folder", ["masks", "labels", "Labels", "label", "gt", "mask"])
def test_folders_of_masks(tmp_path, folder):
    write_picture(tmp_path / "images" / "a.png", 48, 64)
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 10:40] = 255
    write_pixels(tmp_path / folder / "a.png", mask)
    write_pixels(tmp_path / folder / "._a.png", mask)
    assert open_dataset(tmp_path).load_mask(0)[0].sum((0, 1)).tolist() == [600]


def test_photograph_as_a_label_image(tmp_path):
    write_picture(tmp_path / "images" / "a.png", 150, 150)
    write_picture(tmp_path / "masks" / "a.png", 150, 150)
    with pytest.raises(ValueError, match=r"a\.png: it has \d+ values .* at most 10000"):
        open_dataset(tmp_path).load_mask(0)


# CVAT's masks


def write_cvat(folder, label_map="cat:128,0,0::\ndog:0,128,0::\n"):
    write_picture(folder / "JPEGImages" / "a.png", 48, 64)
    classes, objects = np.zeros((2, 48, 64, 3), np.uint8)
    classes[10:30, 10:40] = (0, 0, 128)  # BGR: cat
    classes[40:44, 0:10] = (0, 128, 0)  # dog
    objects[10:30, 10:25] = (0, 0, 128)
    objects[10:30, 25:40] = (0, 128, 0)
    objects[40:44, 0:10] = (0, 128, 128)
    write_pixels(folder / "SegmentationClass" / "a.png", classes)
    write_pixels(folder / "SegmentationObject" / "a.png", objects)
    if label_map is not None:
        (folder / "labelmap.txt").write_text(label_map)
    return folder


@pytest.mark.parametrize(
    ("label_map", "names", "ids"),
    [
        ("cat:128,0,0::\ndog:0,128,0::\n", ["cat", "dog"], [1, 1, 2]),
        ("# comment\nbackground:0,0,0::\ndog:0,128,0::\ncat:128,0,0::", ["dog", "cat"], [2, 2, 1]),
        ("a:b:128,0,0::x,y\ndog:0,128,0::\n", ["a:b", "dog"], [1, 1, 2]),
        ("cat:128,0,0::\ncat:0,128,0::\n", ["cat"], [1, 1, 1]),
    ],
)
def test_masks_of_cvat(tmp_path, label_map, names, ids):
    dataset = open_dataset(write_cvat(tmp_path, label_map))
    assert dataset.class_names == ["BG", *names]
    masks, class_ids = dataset.load_mask(0)
    order = np.argsort(-masks.sum((0, 1)), kind="stable")
    assert masks.sum((0, 1))[order].tolist() == [300, 300, 40]
    assert class_ids[order].tolist() == ids
    assert dataset.image_class_ids(0).tolist() == class_ids.tolist()


def test_masks_of_voc_without_xml(tmp_path):
    dataset = open_dataset(write_cvat(tmp_path, None))
    assert dataset.num_classes == 21
    found = dataset.load_mask(0)[1]
    assert sorted(dataset.class_names[n] for n in found) == ["aeroplane", "aeroplane", "bicycle"]
    cats = open_dataset(tmp_path, classes=["bicycle"])
    assert cats.load_mask(0)[0].sum((0, 1)).tolist() == [40]


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        ("cat:128,0,0::\n", r"a color is \[0, 128, 0\]; it must be one of those in labelmap"),
        ("cat:128,0\n", r"labelmap\.txt line 1: it is 'cat:128,0'; it must be label:"),
        ("cat:128,0,999::\n", r"labelmap\.txt line 1: it is"),
        ("cat:1,1,1::\ndog:1,1,1::\n", r"line 2: the color 1,1,1 is that of 'dog'; it must not"),
    ],
)
def test_broken_label_maps(tmp_path, label_map, message):
    with pytest.raises(ValueError, match=message):
        open_dataset(write_cvat(tmp_path, label_map)).load_mask(0)
