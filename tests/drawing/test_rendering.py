"""The OpenCV renderer: exact pixels, nothing outside the boxes, odd images."""

import numpy as np
import pytest

from mrcnn.drawing import rendering
from mrcnn.drawing.rendering import draw_instances, fixed_colors, save_instances, write_image

NAMES = ["BG", "cat", "dog"]
QUIET = {"show_label": False, "show_bbox": False}


def plain_image(height=60, width=80, value=100):
    return np.full((height, width, 3), value, dtype=np.uint8)


def square_mask(height=60, width=80):
    mask = np.zeros((height, width, 1), dtype=bool)
    mask[20:40, 30:50] = True
    return mask


BOX = np.array([[20, 30, 40, 50]])


def test_fixed_colors_do_not_depend_on_count():
    assert fixed_colors(5) == fixed_colors(90)[:5]
    assert len(set(fixed_colors(90))) == 90
    assert all(0 <= c <= 1 for color in fixed_colors(90) for c in color)
    assert fixed_colors(0) == []
    with pytest.raises(ValueError, match="count is -1; it must be at least 0"):
        fixed_colors(-1)


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


def test_letters_that_the_label_face_lacks_come_from_another():
    # A script g that matplotlib's STIX faces have and its DejaVu Sans Bold has not.
    found = rendering._letters("\u210a", 20)
    assert found.shape[0] == rendering._letters("g", 20).shape[0]
    assert found.max() > 0.5
    face = rendering._face_with(frozenset([0x210A]))
    assert face != rendering._plain_face() and 0x210A in rendering._glyphs_of(face)


def test_a_script_without_a_face_is_told_once(monkeypatch):
    from matplotlib import font_manager

    rendering._face_with.cache_clear()
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    with pytest.warns(UserWarning, match="no installed font has '\u732b'.*fonts-noto-cjk") as told:
        for score in ("0.93", "0.94"):
            assert rendering._letters(f"\u732b {score}", 12).any()
    assert len(told) == 1
    rendering._face_with.cache_clear()


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
