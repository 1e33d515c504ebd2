"""The OpenCV renderer: exact pixels, nothing outside the boxes, odd images."""

import numpy as np
import pytest

from mrcnn.drawing.rendering import _Style, draw_instances, save_instances, write_image
from mrcnn.geometry import rle
from mrcnn.geometry.boxes import extract_bboxes
from mrcnn.geometry.rle import encode_rle

NAMES = ["BG", "cat", "dog"]
QUIET = {"show_label": False, "show_bbox": False}


def plain_image(height=60, width=80, value=100):
    return np.full((height, width, 3), value, dtype=np.uint8)


def square_mask(height=60, width=80):
    mask = np.zeros((height, width, 1), dtype=bool)
    mask[20:40, 30:50] = True
    return mask


BOX = np.array([[20, 30, 40, 50]])


def test_mask_fill_blends_inside_and_leaves_the_outside_alone():
    out = draw_instances(
        plain_image(), BOX, square_mask(), [1], NAMES, colors=[(1, 0, 0)], alpha=0.5, **QUIET
    )
    np.testing.assert_array_equal(out[30, 40], [178, 50, 50])
    changed = (out != 100).any(axis=2)
    assert changed[20:40, 30:50].all()
    # The anti-aliased outline may reach two pixels over the edge, no further.
    changed[18:42, 28:52] = False
    assert not changed.any()


def test_input_is_not_changed():
    image = plain_image()
    draw_instances(image, BOX, square_mask(), [1], NAMES, [0.9])
    assert (image == 100).all()


def test_result_dict_and_arrays_draw_the_same():
    result = {
        "rois": BOX,
        "masks": square_mask(),
        "class_ids": np.array([2]),
        "scores": np.array([0.5]),
    }
    np.testing.assert_array_equal(
        draw_instances(plain_image(), result, class_names=NAMES),
        draw_instances(plain_image(), BOX, square_mask(), [2], NAMES, [0.5]),
    )


def test_boxes_come_from_masks_when_none_are_given():
    np.testing.assert_array_equal(
        draw_instances(plain_image(), None, square_mask(), [1], NAMES),
        draw_instances(plain_image(), BOX, square_mask(), [1], NAMES),
    )


def test_class_keeps_its_color_whatever_else_is_in_the_image():
    box2 = np.array([[20, 30, 40, 50], [0, 0, 5, 5]])
    masks2 = np.concatenate([square_mask(), np.zeros((60, 80, 1), bool)], axis=2)
    alone = draw_instances(plain_image(), BOX, square_mask(), [2], NAMES, **QUIET)
    both = draw_instances(plain_image(), box2, masks2, [2, 1], NAMES, **QUIET)
    np.testing.assert_array_equal(alone[25:35, 35:45], both[25:35, 35:45])
    by_instance = draw_instances(
        plain_image(), BOX, square_mask(), [2], NAMES, color_by="instance", **QUIET
    )
    assert (alone[30, 40] != by_instance[30, 40]).any()


def test_small_instance_is_drawn_over_a_large_one():
    masks = np.zeros((60, 80, 2), dtype=bool)
    masks[20:40, 30:50, 0] = True
    masks[:, :, 1] = True
    out = draw_instances(
        plain_image(),
        None,
        masks,
        colors=[(1, 0, 0), (0, 0, 1)],
        alpha=1.0,
        **QUIET,
    )
    np.testing.assert_array_equal(out[30, 40], [255, 0, 0])
    np.testing.assert_array_equal(out[10, 10], [0, 0, 255])


def run_length_scene(height, width, count):
    generator = np.random.default_rng(0)
    masks = np.zeros((height, width, count), bool)
    rows, columns = np.mgrid[:height, :width]
    for i in range(count):
        y, x = generator.integers(0, height), generator.integers(0, width)
        a, b = generator.integers(2, height // 2), generator.integers(2, width // 2)
        masks[..., i] = ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < 1
    return {
        "rois": extract_bboxes(masks),
        "masks": masks,
        "class_ids": 1 + np.arange(count) % 2,
        "scores": np.linspace(0.5, 1, count),
    }


@pytest.mark.parametrize("size", [(60, 80), (300, 50), (2, 9)])
def test_run_lengths_are_drawn_as_masks_are(size):
    dense = (
        run_length_scene(*size, 12)
        if min(size) > 2
        else {
            "rois": [[0, 0, 2, 9]],
            "masks": np.ones((2, 9, 1), bool),
            "class_ids": [1],
            "scores": [1],
        }
    )
    rles = {key: value for key, value in dense.items() if key != "masks"}
    rles["rles"] = encode_rle(dense["masks"])
    image = np.random.default_rng(1).integers(0, 255, (*size, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        draw_instances(image, rles, class_names=NAMES),
        draw_instances(image, dense, class_names=NAMES),
    )


def test_only_the_boxes_of_run_lengths_are_decoded(monkeypatch):
    asked = []
    decode = rle.decode_part
    monkeypatch.setattr(rle, "decode_part", lambda one, box: asked.append(box) or decode(one, box))
    dense = run_length_scene(60, 80, 4)
    draw_instances(
        plain_image(),
        {"rois": dense["rois"], "rles": encode_rle(dense["masks"])},
    )
    assert sorted(asked) == sorted(tuple(box) for box in dense["rois"].tolist())


def widths(image, box):
    """Return the height in pixels of the upper line of a box drawn into a plain image."""
    drawn = draw_instances(image, np.array([box]), show_label=False)
    column = (drawn[:, (box[1] + box[3]) // 2] != image[0, 0]).any(axis=1)
    return int(np.argmin(column[np.argmax(column) :]))


@pytest.mark.parametrize(
    ("side", "extent", "expected"),
    [(100, 50, 1), (1000, 500, 2), (4000, 2000, 6), (4000, 100, 1), (4000, 300, 4)],
)
def test_lines_follow_the_image_and_the_objects(side, extent, expected):
    box = [side // 4, side // 4, side // 4 + extent, side // 4 + extent]
    assert abs(widths(plain_image(side, side), box) - expected) <= 1


@pytest.mark.parametrize(
    ("side", "extents", "letters"),
    [
        (600, [200], [13, 10, 9]),  # as in a photograph
        (600, [30] * 50, [9]),
        (10000, [9000], [210, 158, 105]),
        (10000, [300] * 100, [48, 36, 24]),  # aerial photographs
        (10000, [20] * 100, [9]),
    ],
)
def test_letters_follow_the_image_and_the_objects(side, extents, letters):
    boxes = np.array([[0, 0, extent, extent] for extent in extents])
    assert _Style.of((side, side, 3), boxes).letters_for(boxes[0]) == letters


def test_box_only():
    out = draw_instances(plain_image(), BOX, colors=[(0, 1, 0)], show_label=False)
    np.testing.assert_array_equal(out[20, 40], [0, 255, 0])
    np.testing.assert_array_equal(out[39, 40], [0, 255, 0])
    np.testing.assert_array_equal(out[30, 40], [100, 100, 100])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((60, 80), np.uint8),
        np.zeros((60, 80, 1), np.uint8),
        np.zeros((60, 80, 4), np.uint8),
        np.zeros((60, 80, 3), np.uint16),
    ],
    ids=["gray", "one channel", "alpha", "16 bit"],
)
def test_any_image_becomes_rgb(image):
    out = draw_instances(image, BOX, square_mask(), [1], NAMES, [0.9])
    assert out.shape == (60, 80, 3)
    assert out.dtype == np.uint8


@pytest.mark.parametrize("size", [(1, 1), (12, 9), (30, 2000), (3000, 40)])
def test_labels_fit_any_image_size(size):
    height, width = size
    image = plain_image(height, width)
    out = draw_instances(image, np.array([[0, 0, height, width]]), None, [1], NAMES, [0.9])
    assert out.shape == image.shape


def test_label_hides_neither_its_small_instance_nor_another_label():
    image = plain_image(200, 300)
    boxes = np.array([[100, 100, 112, 112], [100, 118, 112, 130]])
    out = draw_instances(image, boxes, None, [1, 1], NAMES, [0.9, 0.8], show_bbox=False)
    assert (out[100:112, 100:112] == 100).all()
    assert (out[100:112, 118:130] == 100).all()
    assert (out != 100).any()


def test_captions_replace_labels_and_empty_ones_draw_nothing():
    plain = draw_instances(plain_image(), BOX, show_label=False)
    np.testing.assert_array_equal(draw_instances(plain_image(), BOX, captions=[""]), plain)
    assert (draw_instances(plain_image(), BOX, captions=["x"]) != plain).any()


@pytest.mark.parametrize(
    "empty",
    [
        {"rois": np.zeros((0, 4)), "masks": np.zeros((60, 80, 0)), "class_ids": [], "scores": []},
        np.zeros((0, 4)),
        [],
        None,
    ],
    ids=["result", "array", "list", "none"],
)
def test_nothing_to_draw_returns_the_image(empty):
    np.testing.assert_array_equal(draw_instances(plain_image(), empty), plain_image())


def test_boxes_over_the_edge_and_empty_boxes_are_clipped():
    boxes = np.array([[-5, -5, 200, 200], [0, 0, 0, 0], [70, 90, 80, 99]])
    masks = np.ones((60, 80, 3), dtype=bool)
    out = draw_instances(plain_image(), boxes, masks, [1, 1, 1], NAMES, [0.9, 0.9, 0.9])
    assert out.shape == (60, 80, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"masks": np.ones((60, 80, 2))}, r"masks has 2 entries; it must have one per box \(1\)"),
        (
            {"masks": np.ones((60, 81, 1))},
            r"masks have the shape \(60, 81, 1\); it must be \[H, W, N\] .* \(60, 80\)",
        ),
        ({"class_ids": [1, 2]}, r"class_ids has 2 entries; it must have one per box \(1\)"),
        ({"scores": []}, r"scores has 0 entries; it must have one per box \(1\)"),
        ({"colors": []}, r"colors has 0 entries; it must have one per box \(1\)"),
        ({"captions": ["a", "b"]}, r"captions has 2 entries; it must have one per box \(1\)"),
        ({"color_by": "name"}, "color_by is 'name'; it must be 'class' or 'instance'"),
        ({"alpha": 2}, "alpha is 2; it must be in 0..1"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_instances(plain_image(), BOX, **arguments)


def test_bad_boxes_are_refused():
    with pytest.raises(ValueError, match=r"it must be \[N, \(y1, x1, y2, x2\)\]"):
        draw_instances(plain_image(), np.zeros((2, 5)))
    with pytest.raises(ValueError, match="must have 'rois'"):
        draw_instances(plain_image(), {"boxes": BOX})


def test_save_instances_writes_what_draw_instances_draws(tmp_path):
    import cv2

    path = save_instances(tmp_path / "new" / "é.png", plain_image(), BOX, square_mask(), [1], NAMES)
    read = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(
        read, draw_instances(plain_image(), BOX, square_mask(), [1], NAMES)
    )


@pytest.mark.parametrize("name", ["a.xyz", "a"])
def test_unknown_image_formats_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="it must end in an image format"):
        write_image(tmp_path / name, plain_image())
    assert list(tmp_path.iterdir()) == []


def test_names_and_captions_with_control_characters_are_drawn(tmp_path):
    names = ["BG", "two\nlines \x1b[2J"]
    drawn = draw_instances(plain_image(), BOX, square_mask(), [1], names)
    escaped = draw_instances(plain_image(), BOX, square_mask(), [1], ["BG", r"two\nlines \x1b[2J"])
    np.testing.assert_array_equal(drawn, escaped)
    drawn = draw_instances(plain_image(), BOX, captions=["a\nb"])
    np.testing.assert_array_equal(drawn, draw_instances(plain_image(), BOX, captions=[r"a\nb"]))


def test_a_failed_write_leaves_the_earlier_file(tmp_path, monkeypatch):
    path = write_image(tmp_path / "a.jpg", plain_image())
    before = path.read_bytes()

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_image(path, plain_image(value=3))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.jpg"]


def test_an_image_whose_masks_have_no_size():
    image, none = plain_image(), np.zeros((0, 0, 0), bool)
    drawn = draw_instances(image, np.zeros((0, 4)), none, [], NAMES, [])
    np.testing.assert_array_equal(drawn, image)
