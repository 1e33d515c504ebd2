"""Matterport's `visualize` names: what they draw, print and return."""

import inspect
import random
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from mrcnn import visualize

NAMES = ["BG", "cat", "dog"]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def scene():
    masks = np.zeros((40, 60, 2), dtype=bool)
    masks[5:15, 10:30, 0] = True
    masks[20:40, 30:60, 1] = True
    return {
        "image": np.full((40, 60, 3), 100, dtype=np.uint8),
        "boxes": np.array([[5, 10, 15, 30], [20, 30, 40, 60]]),
        "masks": masks,
        "class_ids": np.array([1, 2]),
        "class_names": NAMES,
    }


def drawn(ax):
    """Return (number of rectangles, number of outlines, texts) in an axes."""
    kinds = [type(p).__name__ for p in ax.patches]
    return kinds.count("Rectangle"), kinds.count("Polygon"), [t.get_text() for t in ax.texts]


SIGNATURES = {
    "display_images": "images titles cols cmap norm interpolation",
    "random_colors": "N bright",
    "apply_mask": "image mask color alpha",
    "display_instances": "image boxes masks class_ids class_names scores title figsize ax "
    "show_mask show_bbox colors captions",
    "display_differences": "image gt_box gt_class_id gt_mask pred_box pred_class_id pred_score "
    "pred_mask class_names title ax show_mask show_box iou_threshold score_threshold",
    "draw_rois": "image rois refined_rois mask class_ids class_names limit",
    "draw_box": "image box color",
    "display_top_masks": "image mask class_ids class_names limit",
    "plot_precision_recall": "AP precisions recalls",
    "plot_overlaps": "gt_class_ids pred_class_ids pred_scores overlaps class_names threshold",
    "draw_boxes": "image boxes refined_boxes masks captions visibilities title ax",
    "display_table": "table",
    "display_weight_stats": "model",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_matterports(name):
    parameters = inspect.signature(getattr(visualize, name)).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == SIGNATURES[name].split()


def test_helper_names_of_the_old_module_are_there():
    assert visualize.patches.Rectangle and visualize.lines.Line2D
    assert visualize.Polygon.__name__ == "Polygon"
    assert len(visualize.find_contours(np.eye(3), 0.5)) > 0
    assert visualize.plt is plt
    for name in ("colorsys", "cv2", "itertools", "np", "os", "random", "skimage", "sys", "utils"):
        assert getattr(visualize, name).__name__.removeprefix("mrcnn.") in (name, "numpy")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = visualize.nothing


def test_import_is_light():
    code = (
        "import sys, mrcnn.visualize; print([m for m in "
        "('tensorflow', 'keras', 'matplotlib', 'skimage', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_random_colors_are_distinct_and_shuffled():
    random.seed(0)
    colors = visualize.random_colors(12)
    assert len(set(colors)) == 12
    assert set(colors) == set(visualize.random_colors(12))
    assert colors != visualize.random_colors(12)
    assert max(max(c) for c in visualize.random_colors(5, bright=False)) == pytest.approx(0.7)
    assert visualize.random_colors(0) == []


def test_apply_mask_blends_in_place():
    image = np.full((4, 4, 3), 100, dtype=np.uint8)
    mask = np.zeros((4, 4))
    mask[1:3, 2] = 1
    out = visualize.apply_mask(image, mask, (1.0, 0.0, 0.5), alpha=0.5)
    assert out is image
    np.testing.assert_array_equal(image[1, 2], [177, 50, 113])
    assert (image[mask == 0] == 100).all()
    np.testing.assert_array_equal(visualize.apply_mask(image, mask * 0, (1, 1, 1)), image)


def test_draw_box_is_two_pixels_wide_and_in_place():
    image = np.zeros((20, 20, 3), dtype=np.uint8)
    assert visualize.draw_box(image, np.array([4, 5, 12, 15]), (9, 8, 7)) is image
    assert (image[4:6, 5:15] == (9, 8, 7)).all()
    assert (image[12:14, 5:15] == (9, 8, 7)).all()
    assert (image[4:12, 15:17] == (9, 8, 7)).all()
    assert (image[7:11, 8:14] == 0).all()


def test_display_instances_draws_boxes_outlines_and_captions():
    _, ax = plt.subplots()
    visualize.display_instances(**scene(), scores=np.array([0.9, 0.5]), ax=ax, title="T")
    assert drawn(ax) == (2, 2, ["cat 0.900", "dog 0.500"])
    assert ax.get_title() == "T"
    shown = ax.images[0].get_array()
    assert (shown[0, 0] == 100).all() and (shown[10, 20] != 100).any()


def test_display_instances_options():
    _, ax = plt.subplots()
    visualize.display_instances(
        **scene(), ax=ax, show_mask=False, show_bbox=False, captions=["one", ""]
    )
    assert drawn(ax) == (0, 2, ["one"])
    assert (ax.images[0].get_array() == 100).all()


def test_display_instances_skips_zero_boxes():
    given = scene()
    given["boxes"] = np.array([[5, 10, 15, 30], [0, 0, 0, 0]])
    _, ax = plt.subplots()
    visualize.display_instances(**given, ax=ax)
    assert drawn(ax) == (1, 1, ["cat"])


def test_display_instances_without_ax_makes_one_figure_and_shows_it(monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.get_fignums()))
    visualize.display_instances(**scene())
    assert shown == [[1]]
    _, ax = plt.subplots()
    visualize.display_instances(**scene(), ax=ax)
    assert len(shown) == 1


def test_display_instances_says_so_when_there_is_nothing(capsys):
    given = scene()
    given.update(
        boxes=np.zeros((0, 4), np.int32), masks=np.zeros((40, 60, 0)), class_ids=np.zeros(0, int)
    )
    _, ax = plt.subplots()
    visualize.display_instances(**given, ax=ax)
    printed = capsys.readouterr().out
    assert "\n*** No instances to display *** \n" in printed
    assert "DETECTION_MIN_CONFIDENCE" in printed
    assert len(ax.images) == 1


@pytest.mark.parametrize(
    "draw",
    [
        lambda image, names: visualize.display_top_masks(
            image, np.ones((8, 8, 1), bool), np.array([3]), names
        ),
        lambda image, names: visualize.draw_rois(
            image,
            np.array([[1, 1, 5, 5]]),
            np.array([[1, 1, 5, 5]]),
            np.ones((1, 4, 4)),
            [3],
            names,
        ),
        lambda image, names: visualize.plot_overlaps([1], [3], [0.5], np.ones((1, 1)), names),
        lambda image, names: visualize.plot_overlaps([3], [1], [0.5], np.ones((1, 1)), names),
    ],
)
def test_a_class_id_without_a_name(draw):
    with pytest.raises(ValueError, match=r"class_ids holds 3; it must be an index of class_names"):
        draw(np.zeros((8, 8, 3), np.uint8), ["BG", "a", "b"])


def test_display_instances_names_a_class_id_without_a_name():
    message = r"class_ids holds 3; it must be an index of class_names, which has 3 names"
    with pytest.raises(ValueError, match=message):
        visualize.display_instances(**{**scene(), "class_ids": np.array([1, 3])})


def test_display_instances_refuses_counts_that_differ():
    given = scene()
    given["class_ids"] = np.array([1])
    with pytest.raises(ValueError, match="boxes has 2 entries, masks 2 and class_ids 1; they must"):
        visualize.display_instances(**given)


def edges(**changes):
    """Return the RGB of the boxes in a figure of two instances of class 2."""
    _, ax = plt.subplots()
    given = {**scene(), "class_ids": np.array([2, 2]), **changes}
    visualize.display_instances(**given, ax=ax)
    return [p.get_edgecolor()[:3] for p in ax.patches if type(p).__name__ == "Rectangle"]


@pytest.mark.parametrize(
    ("changes", "palette"),
    [
        ({}, [1, 1]),
        ({"class_ids": np.array([1, 2])}, [0, 1]),
        ({"color_by": "class"}, [1, 1]),
        ({"color_by": "instance"}, [0, 1]),
        ({"class_names": ["BG", "nucleus"], "class_ids": np.array([1, 1])}, [0, 1]),
        ({"class_names": ["BG", "nucleus"], "class_ids": np.ones(2), "color_by": "class",
          "captions": ["", ""]}, [0, 0]),
    ],
    ids=["several classes", "other ids", "by class", "by instance", "one class", "one, by class"],
)  # fmt: skip
def test_display_instances_colors(changes, palette):
    colors = visualize.fixed_colors(2)
    assert edges(**changes) == [colors[k] for k in palette]
    with pytest.raises(ValueError, match="color_by is 'score'; it must be 'class' or 'instance'"):
        edges(color_by="score")


def caption_rectangles(ax):
    """Return (y1, x1, y2, x2) of the captions in pixels of the figure."""
    extents = [text.get_bbox_patch().get_window_extent() for text in ax.texts]
    return [(one.y0, one.x0, one.y1, one.x1) for one in extents]


@pytest.mark.parametrize("inches", [2, 4, 16])
def test_captions_do_not_cover_each_other(inches):
    generator = np.random.default_rng(0)
    corners = generator.integers(0, 400, (15, 2))
    boxes = np.concatenate([corners, corners + generator.integers(30, 110, (15, 2))], axis=1)
    masks = np.zeros((512, 512, 15), bool)
    figure, ax = plt.subplots(figsize=(inches, inches))
    image = np.zeros((512, 512, 3), np.uint8)
    visualize.display_instances(image, boxes, masks, np.ones(15, int), NAMES, ax=ax)
    figure.canvas.draw()
    rectangles = caption_rectangles(ax)
    assert len(rectangles) == 15
    assert not overlapping(rectangles)


def overlapping(rectangles, tolerance=0.5):
    """Return the pairs that share more than `tolerance` pixels in both directions."""
    return [
        (one, other)
        for k, one in enumerate(rectangles)
        for other in rectangles[:k]
        if min(one[2], other[2]) - max(one[0], other[0]) > tolerance
        and min(one[3], other[3]) - max(one[1], other[1]) > tolerance
    ]


def test_letters_and_lines_shrink_with_the_axes():
    sizes = []
    for inches in (0.5, 2, 3, 16):
        _, ax = plt.subplots(figsize=(inches, inches))
        ax.set_position([0, 0, 1, 1])
        visualize.display_instances(**scene(), captions=["a", "b"], ax=ax)
        assert ax.patches[0].get_linewidth() == pytest.approx(2 / 11 * ax.texts[0].get_fontsize())
        sizes.append(ax.texts[0].get_fontsize())
    assert sizes == sorted(sizes)
    assert sizes[0] == 4 and sizes[-1] == 11
    assert 4 < sizes[2] < 6


def test_dollars_and_control_characters_in_captions_are_written_as_they_are():
    given = {**scene(), "class_names": ["BG", "$a_b$", "two\nlines"]}
    figure, ax = plt.subplots()
    visualize.display_instances(**given, ax=ax)
    figure.canvas.draw()
    assert [text.get_text() for text in ax.texts] == ["$a_b$", r"two\nlines"]
    assert not any(text.get_parse_math() for text in ax.texts)


def test_a_large_image_is_shrunk_for_the_figure():
    _, ax = plt.subplots()
    image = np.zeros((10, 9000, 3), np.uint8)
    boxes, masks = np.array([[2, 8000, 8, 8990]]), np.ones((10, 9000, 1), bool)
    visualize.display_instances(image, boxes, masks, np.array([1]), NAMES, ax=ax)
    assert ax.images[0].get_array().shape[1] == 3000
    assert list(ax.images[0].get_extent()) == [-0.5, 8999.5, 9.5, -0.5]


def test_display_instances_takes_floats_and_gray_images():
    given = scene()
    for image in (given["image"].astype(np.float64), given["image"][..., 0]):
        _, ax = plt.subplots()
        visualize.display_instances(**{**given, "image": image}, ax=ax)
        assert (ax.images[0].get_array()[0, 0] == 100).all()


def test_display_images_lays_out_rows(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: None)
    images = [np.full((4, 4), k, np.uint8) for k in range(5)]
    visualize.display_images(images, titles=list("abcde"), cols=4, cmap="gray")
    axes = plt.gcf().axes
    assert [a.get_title() for a in axes] == list("abcde")
    assert axes[0].get_subplotspec().get_gridspec().get_geometry() == (2, 4)


def test_display_top_masks_orders_classes_by_area(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: None)
    given = scene()
    visualize.display_top_masks(given["image"], given["masks"], given["class_ids"], NAMES, limit=3)
    titles = [a.get_title() for a in plt.gcf().axes]
    assert titles == ["H x W=40x60", "dog", "cat", "-"]


def test_display_differences_captions_are_score_and_iou():
    given = scene()
    _, ax = plt.subplots()
    shifted = np.roll(given["masks"], 10, axis=1)
    visualize.display_differences(
        given["image"],
        given["boxes"],
        given["class_ids"],
        given["masks"],
        given["boxes"][::-1] + np.array([0, 10, 0, 10]),
        given["class_ids"][::-1],
        np.array([0.6, 0.8]),
        shifted[..., ::-1],
        NAMES,
        ax=ax,
    )
    rectangles, outlines, texts = drawn(ax)
    # The first shifted mask covers half of its own: IoU 1/3; the second, cut, 400 / 800.
    assert rectangles == 4
    assert texts == ["0.80 / 0.33", "0.60 / 0.50"]
    assert outlines >= 4
    assert "score / IoU" in ax.get_title()


def test_display_differences_tell_matches_from_misses():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 0, 0], [20, 20, 30, 30], [0, 40, 10, 50]])
    masks = np.zeros((40, 60, 4), bool)
    for i, (y1, x1, y2, x2) in enumerate(boxes):
        masks[y1:y2, x1:x2, i] = True
    wrong = np.zeros((40, 60, 1), bool)
    wrong[32:38, 5:15] = True
    _, ax = plt.subplots()
    visualize.display_differences(
        np.zeros((40, 60, 3), np.uint8),
        boxes,  # found, padding, missed, of another class
        np.array([1, 0, 1, 1]),
        masks,
        np.array([[32, 5, 38, 15], [0, 0, 10, 10], [0, 40, 10, 50]]),
        np.array([1, 1, 2]),
        np.array([0.9, 0.9, 0.8]),
        np.concatenate([wrong, masks[..., [0, 3]]], axis=-1),
        NAMES,
        ax=ax,
    )
    frames = [p for p in ax.patches if type(p).__name__ == "Rectangle"]
    colors = {(p.get_y(), p.get_x()): p.get_edgecolor()[:3] for p in frames[:3]}
    assert colors == {
        (0, 0): visualize._FOUND,
        (20, 20): visualize._MISSED,
        (0, 40): visualize._MISSED,
    }
    colors = {(p.get_y(), p.get_x()): p.get_edgecolor()[:3] for p in frames[3:]}
    assert colors == {
        (32, 5): visualize._WRONG,
        (0, 0): visualize._MATCH,
        (0, 40): visualize._WRONG,
    }
    assert sorted(t.get_text() for t in ax.texts) == ["0.80 / 1.00", "0.90 / 0.00", "0.90 / 1.00"]
    palette = {visualize._FOUND, visualize._MISSED, visualize._MATCH, visualize._WRONG}
    assert len(palette) == 4


def test_display_differences_without_predictions_or_truth():
    given = scene()
    nothing = (np.zeros((0, 4)), np.zeros(0, int), np.zeros(0), np.zeros((40, 60, 0), bool))
    truth = (given["boxes"], given["class_ids"], given["masks"])
    _, ax = plt.subplots()
    visualize.display_differences(given["image"], *truth, *nothing, NAMES, ax=ax)
    assert drawn(ax)[0] == 2
    _, ax = plt.subplots()
    visualize.display_differences(
        given["image"],
        nothing[0],
        nothing[1],
        nothing[3],
        truth[0],
        truth[1],
        np.array([0.9, 0.8]),
        truth[2],
        NAMES,
        ax=ax,
    )
    assert drawn(ax)[2] == ["0.90 / 0.00", "0.80 / 0.00"]


def test_draw_rois_counts_and_limits(monkeypatch, capsys):
    monkeypatch.setattr(plt, "show", lambda: None)
    rois = np.array([[5, 10, 15, 30], [20, 30, 40, 60], [0, 0, 9, 9]])
    masks = np.ones((3, 28, 28), np.float32)
    image = scene()["image"]
    visualize.draw_rois(image, rois, rois + 1, masks, np.array([1, 0, 2]), NAMES)
    printed = capsys.readouterr().out
    assert "Positive ROIs:  2" in printed
    assert "Negative ROIs:  1" in printed
    assert "Positive Ratio: 0.67" in printed
    rectangles, _, texts = drawn(plt.gca())
    assert rectangles == 5  # two with their refined boxes, one negative
    assert sorted(texts) == ["cat", "dog"]
    visualize.draw_rois(image, rois, rois, masks, np.array([1, 0, 2]), NAMES, limit=1)
    assert plt.gca().get_title() == "Showing 1 random ROIs out of 3"


def test_draw_boxes_visibility_refinement_and_masks():
    given = scene()
    _, ax = plt.subplots()
    visualize.draw_boxes(
        given["image"],
        boxes=given["boxes"],
        refined_boxes=given["boxes"] + 2,
        masks=given["masks"],
        captions=["a", "b"],
        visibilities=[0, 2],
        title="T",
        ax=ax,
    )
    rectangles, outlines, texts = drawn(ax)
    assert (rectangles, outlines, texts) == (3, 2, ["a", "b"])
    assert len(ax.lines) == 1
    assert ax.patches[0].get_linestyle() == "dotted"
    _, ax = plt.subplots()
    visualize.draw_boxes(given["image"], refined_boxes=given["boxes"].astype(np.float32), ax=ax)
    assert drawn(ax)[0] == 2
    with pytest.raises(
        ValueError, match="boxes and refined_boxes are None; one of them must be given"
    ):
        visualize.draw_boxes(given["image"])


def test_plot_overlaps_marks_matches():
    overlaps = np.array([[0.9, 0.1], [0.6, 0.2]])
    visualize.plot_overlaps(
        np.array([1, 2, 0]), np.array([1, 2]), np.array([0.9, 0.8]), overlaps, NAMES
    )
    texts = [t.get_text() for t in plt.gca().texts]
    assert texts == ["0.900\nmatch", "0.100\n", "0.600\nwrong", "0.200\n"]
    assert [t.get_text() for t in plt.gca().get_yticklabels()] == ["cat (0.90)", "dog (0.80)"]


def test_plot_precision_recall():
    visualize.plot_precision_recall(0.8126, np.array([1, 0.5]), np.array([0.2, 0.9]))
    ax = plt.gca()
    assert ax.get_title() == "Precision-Recall Curve. AP@50 = 0.813"
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[0.2, 1], [0.9, 0.5]])


def test_display_table_prints_aligned_columns_outside_notebooks(capsys):
    visualize.display_table([["NAME", "N"], ["a", 10], ["longer", 2]])
    assert capsys.readouterr().out == "NAME    N\na       10\nlonger  2\n"


class FakeWeight:
    def __init__(self, name):
        self.name = name


class FakeLayer:
    def __init__(self, name, **values):
        self.name = name
        self.weights = [FakeWeight(k) for k in values]
        self.values = list(values.values())

    def get_weights(self):
        return self.values


class FakeModel:
    def get_trainable_layers(self):
        return [
            FakeLayer("conv1", kernel=np.zeros((3, 3)), bias=np.zeros(3)),
            FakeLayer("fc", kernel=np.array([-2000.0, 1.0])),
        ]


def test_display_weight_stats_marks_dead_and_overflowing_weights(capsys):
    visualize.display_weight_stats(FakeModel())
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["WEIGHT", "NAME", "SHAPE", "MIN", "MAX", "STD"]
    assert rows[1].startswith("conv1/kernel*** dead?")
    assert rows[2].startswith("conv1/bias ")
    assert rows[3].startswith("fc/kernel*** Overflow?")
    assert "-2000.0000" in rows[3]


def test_display_images_scales_16_bits_and_shows_images_without_titles(monkeypatch):
    shown = []
    monkeypatch.setattr(plt.Axes, "imshow", lambda self, image, **options: shown.append(image))
    images = [np.full((4, 4, 3), 65535, np.uint16), np.ones((4, 4), bool), np.zeros((4, 4))]
    visualize.display_images(images, titles=["one"])
    assert [ax.get_title() for ax in plt.gcf().axes] == ["one", "", ""]
    assert shown[0].dtype == np.uint8 and shown[0].min() == 255


def test_display_instances_of_boxes_alone():
    _, ax = plt.subplots()
    visualize.display_instances(**{**scene(), "masks": None}, ax=ax)
    assert drawn(ax)[:2] == (2, 0)


@pytest.mark.parametrize("name", ["scores", "colors", "captions"])
def test_display_instances_names_a_list_that_is_too_short(name):
    with pytest.raises(ValueError, match=f"{name} has 1 entries; it must have 2, as boxes has"):
        visualize.display_instances(**scene(), **{name: [0.5]})


def test_display_differences_without_objects():
    given, none = scene(), np.empty((0, 0, 0), bool)
    _, ax = plt.subplots()
    predictions = (given["boxes"], given["class_ids"], np.array([0.9, 0.8]), given["masks"])
    nothing = (np.zeros((0, 4)), np.zeros(0, int))
    visualize.display_differences(given["image"], *nothing, none, *predictions, NAMES, ax=ax)
    assert drawn(ax)[0] == 2
    _, ax = plt.subplots()
    truth = (given["boxes"], given["class_ids"], given["masks"])
    visualize.display_differences(given["image"], *truth, *nothing, np.zeros(0), none, NAMES, ax=ax)
    assert drawn(ax)[0] == 2
