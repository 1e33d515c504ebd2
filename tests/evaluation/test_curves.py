"""Curves and confusion matrices counted by hand, and their images."""

import csv

import numpy as np
import pytest

from mrcnn.evaluation.coco import CocoEvaluator
from mrcnn.evaluation.curves import (
    ConfusionMatrix,
    PrecisionRecallCurve,
    confusion_matrix,
    overall_curve,
    precision_recall_curves,
    save_curves_csv,
)
from mrcnn.evaluation.plots import (
    plot_confusion_matrix,
    plot_precision_recall_curves,
    plot_scores,
    plot_thresholds,
)
from tests.evaluation.toys import Rectangles, result

BOX, OTHER, THIRD = (0, 0, 20, 20), (10, 30, 30, 50), (30, 0, 40, 10)


@pytest.fixture
def evaluator():
    """Cats: scores .9 right, .8 wrong, .7 right, .7 wrong; of 3. Dog: found. A crowd of cows."""
    dataset = Rectangles(
        [
            [(1, BOX), (1, OTHER), (2, THIRD)],
            [(1, BOX), (-3, (0, 25, 40, 60))],
        ]
    )
    evaluator = CocoEvaluator(dataset)
    evaluator.add(
        0, result((1, 0.9, BOX), (1, 0.8, BOX), (1, 0.7, OTHER), (2, 0.6, THIRD), (1, 0.1, THIRD))
    )
    evaluator.add(1, result((1, 0.7, THIRD), (2, 0.9, BOX), (3, 0.9, (5, 30, 15, 40))))
    return evaluator


def test_curve_by_hand(evaluator):
    curves = precision_recall_curves(evaluator)
    assert list(curves) == [1, 2]  # crowds alone define no curve
    cat = curves[1]
    assert (cat.class_name, cat.num_objects, cat.kind) == ("cat", 3, "mask")
    np.testing.assert_allclose(cat.scores, [0.9, 0.8, 0.7, 0.7, 0.1])
    np.testing.assert_allclose(cat.precision, [1, 1 / 2, 2 / 3, 2 / 4, 2 / 5])
    np.testing.assert_allclose(cat.recall, [1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(cat.f1, [1 / 2, 2 / 5, 2 / 3, 4 / 7, 1 / 2])
    # Recalls 0 .. 0.33 have precision 1, 0.34 .. 0.66 have 2/3.
    assert cat.average_precision == pytest.approx((34 + 33 * 2 / 3) / 101)
    # F1 2/3 needs a threshold between two equal scores; the best real one is 4/7.
    best = cat.best()
    assert (best.score_threshold, best.precision) == (pytest.approx(0.4), 0.5)
    assert best.f1 == pytest.approx(4 / 7)


@pytest.mark.parametrize(
    "scores, num_right, threshold",
    [
        ([0.996, 0.994, 0.71, 0.2], 2, 0.852),  # the gap between right and wrong detections
        ([0.9, 0.8], 2, 0.4),  # nothing below
        ([0.9, 0.5, 0.5, 0.3], 3, 0.4),
        ([0.0], 1, 0.0),
        ([0.5, np.nextafter(0.5, 0)], 1, 0.5),  # no number lies between
    ],
)
def test_the_best_threshold_lies_in_the_middle_of_the_gap(scores, num_right, threshold):
    found = np.minimum(np.arange(1, len(scores) + 1), num_right)
    precision, recall = found / np.arange(1, len(scores) + 1), found / num_right
    curve = PrecisionRecallCurve(
        1, "cat", "mask", 0.5, np.array(scores), precision, recall, num_right, 1.0
    )
    best = curve.best()
    assert best.score_threshold == pytest.approx(threshold)
    assert (best.precision, best.recall, best.f1) == (1, 1, 1)


@pytest.mark.parametrize(
    "threshold, expected",
    [(0.95, (1, 0, 0)), (0.85, (1, 1 / 3, 1 / 2)), (0.0, (2 / 5, 2 / 3, 1 / 2))],
)
def test_operating_points(evaluator, threshold, expected):
    point = precision_recall_curves(evaluator)[1].at(threshold)
    assert (point.precision, point.recall, point.f1) == pytest.approx(expected)


def test_curves_agree_with_the_report(evaluator):
    report = evaluator.summarize()
    for kind in ("box", "mask"):
        curves = precision_recall_curves(evaluator, 0.5, kind)
        mean = np.mean([curve.average_precision for curve in curves.values()])
        assert mean == pytest.approx(report[f"{kind}_AP50"], abs=1e-12)


def test_class_without_detections():
    evaluator = CocoEvaluator(Rectangles([[(1, BOX)]]))
    curve = precision_recall_curves(evaluator)[1]
    assert curve.scores.size == 0 and curve.average_precision == 0.0
    assert (curve.best().recall, curve.best().f1) == (0.0, 0.0)
    plot_precision_recall_curves({1: curve})


def test_curve_of_all_classes_by_hand(evaluator):
    curves = precision_recall_curves(evaluator)
    overall = overall_curve(curves, evaluator)
    # Objects: 3 cats, 1 dog. A cow without a true object of its own is a wrong detection.
    assert (overall.class_id, overall.class_name, overall.num_objects) == (0, "all classes", 4)
    np.testing.assert_allclose(overall.scores, [0.9, 0.9, 0.9, 0.8, 0.7, 0.7, 0.6, 0.1])
    assert overall.hits.sum() == 3
    np.testing.assert_allclose(
        overall.precision[[2, 3, 5, 6, 7]], [1 / 3, 1 / 4, 2 / 6, 3 / 7, 3 / 8]
    )
    assert overall.average_precision == pytest.approx(
        (curves[1].average_precision + curves[2].average_precision) / 2
    )
    best = overall.best()  # 3 of 7 correct, 3 of 4 found
    assert best.score_threshold == pytest.approx(0.35)
    assert (best.precision, best.recall, best.f1) == pytest.approx((3 / 7, 3 / 4, 6 / 11))


def test_hits_and_the_curve_of_no_class(evaluator):
    cat = precision_recall_curves(evaluator)[1]
    assert cat.hits.tolist() == [True, False, True, False, False]
    assert overall_curve({}, evaluator) is None


def test_the_classes_with_the_most_errors():
    counts = np.diag([0, 50, 50, 50, 50, 50])
    counts[0, 1] = 30  # class 1 where there is nothing
    counts[2, 3], counts[3, 2], counts[5, 2] = 4, 1, 2
    names = ["background", "a", "b", "c", "d", "e"]
    matrix = ConfusionMatrix(counts, list(range(6)), names, 0.5, 0.5)
    assert matrix.confusions() == [(2, 3), (5, 2), (3, 2)]
    assert matrix.most_errors(3).class_names == ["background", "b", "c", "e"]
    assert matrix.most_errors(3).counts[1].tolist() == [0, 50, 4, 0]
    assert matrix.most_errors(4).class_names == ["background", "a", "b", "c", "e"]
    assert matrix.most_errors(9).class_names == names


def test_confusion_by_hand(evaluator):
    matrix = confusion_matrix(evaluator, score_threshold=0.5)
    assert matrix.class_names == ["background", "cat", "dog", "cow"]
    expected = [
        [0, 2, 0, 0],  # the second detection of a cat; a cat where nothing is
        [0, 2, 1, 0],  # a cat taken for a dog
        [0, 0, 1, 0],
        [0, 0, 0, 0],  # the cow in the crowd counts for nothing
    ]
    np.testing.assert_array_equal(matrix.counts, expected)
    np.testing.assert_allclose(matrix.precision, [np.nan, 2 / 4, 1 / 2, np.nan])
    np.testing.assert_allclose(matrix.recall, [np.nan, 2 / 3, 1, np.nan])
    np.testing.assert_allclose(matrix.f1, [np.nan, 4 / 7, 2 / 3, np.nan])
    np.testing.assert_allclose(matrix.normalized()[1], [0, 2 / 3, 1 / 3, 0])
    assert matrix.present().class_names == ["background", "cat", "dog"]

    strict = confusion_matrix(evaluator, score_threshold=0.85, kind="box")
    np.testing.assert_array_equal(strict.counts[:3, :3], [[0, 0, 0], [1, 1, 1], [1, 0, 0]])


def test_detections_take_the_highest_overlap():
    evaluator = CocoEvaluator(Rectangles([[(1, (0, 0, 20, 20)), (2, (0, 4, 20, 24))]]))
    evaluator.add(0, result((2, 0.9, (0, 3, 20, 23)), (1, 0.8, (0, 3, 20, 23))))
    np.testing.assert_array_equal(
        confusion_matrix(evaluator).counts[:3, :3], [[0, 0, 0], [0, 1, 0], [0, 0, 1]]
    )


def test_unlisted_classes_get_a_row():
    evaluator = CocoEvaluator(Rectangles([[(1, BOX)]]))
    evaluator.add(0, result((7, 0.9, BOX)))
    matrix = confusion_matrix(evaluator)
    assert matrix.class_ids == [0, 1, 2, 3, 7]
    assert matrix.counts[1, 4] == 1 and matrix.class_names[4] == "class_7"


@pytest.mark.parametrize("iou_threshold", [0, -0.5, 1.01])
def test_bad_thresholds(evaluator, iou_threshold):
    with pytest.raises(ValueError, match="it must be above 0 and at most 1"):
        confusion_matrix(evaluator, iou_threshold)
    with pytest.raises(ValueError, match="it must be above 0 and at most 1"):
        precision_recall_curves(evaluator, iou_threshold)
    with pytest.raises(ValueError, match=r"score_threshold is 1.5; it must be in 0\.\.1"):
        confusion_matrix(evaluator, score_threshold=1.5)
    with pytest.raises(ValueError, match="kind is 'segm'; it must be 'box'"):
        confusion_matrix(evaluator, kind="segm")


def test_tables(evaluator, tmp_path):
    matrix = confusion_matrix(evaluator)
    matrix.save_csv(tmp_path / "confusion.csv")
    with open(tmp_path / "confusion.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["true \\ detected", "background", "cat", "dog", "cow"]
    assert rows[1] == ["cat", "0", "2", "1", "0"]

    save_curves_csv(precision_recall_curves(evaluator), tmp_path / "curves.csv")
    with open(tmp_path / "curves.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["cat"] * 5 + ["dog"] * 2
    assert rows[2] == {
        "class_id": "1",
        "class": "cat",
        "score": "0.7",
        "precision": "0.666667",
        "recall": "0.666667",
        "f1": "0.666667",
    }


def test_picture_of_curves(evaluator, tmp_path):
    curves = precision_recall_curves(evaluator)
    ax = plot_precision_recall_curves(curves, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5000
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    # The dog of a wrong image scores higher than the right one: precision 1/2.
    assert labels == ["cat 0.554", "dog 0.500", "mean of 2 0.527"]
    recall, precision = ax.lines[0].get_data()
    np.testing.assert_allclose(recall, [0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(precision, [1, 1, 2 / 3, 2 / 3, 1 / 2, 2 / 5, 0])
    with pytest.raises(ValueError, match="curves is empty"):
        plot_precision_recall_curves({})


def test_many_curves_name_the_best_and_the_worst(evaluator):
    one = precision_recall_curves(evaluator)[1]
    many = {i: type(one)(**{**vars(one), "average_precision": i / 20}) for i in range(15)}
    ax = plot_precision_recall_curves(many)
    assert len(ax.lines) == 16
    assert len(ax.get_legend().get_texts()) == 11


def test_picture_of_a_confusion_matrix(evaluator, tmp_path):
    ax = plot_confusion_matrix(confusion_matrix(evaluator), tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 5000
    assert [label.get_text() for label in ax.get_yticklabels()] == ["background", "cat", "dog"]
    counts = {text.get_position(): text.get_text() for text in ax.texts}
    assert counts == {(1, 0): "2", (1, 1): "2", (2, 1): "1", (2, 2): "1"}
    colors = ax.images[0].get_array()
    np.testing.assert_allclose(colors, [[0, 2 / 4, 0], [0, 2 / 3, 1 / 3], [0, 0, 1]])
    names = ["background", *map(str, range(1, 41))]
    big = ConfusionMatrix(np.eye(41, dtype=np.int64), list(range(41)), names, 0.5, 0.5)
    assert len(plot_confusion_matrix(big).texts) == 0


def test_plots_of_thresholds_and_scores(evaluator, tmp_path):
    curves = precision_recall_curves(evaluator)
    cat = curves[1]
    ax = plot_thresholds(cat, tmp_path / "thresholds.svg")
    precision, recall, f1, best = ax.lines
    np.testing.assert_allclose(precision.get_xdata(), [0.9, 0.8, 0.7, 0.1])  # 0.7 twice
    np.testing.assert_allclose(precision.get_ydata(), [1, 1 / 2, 1 / 2, 2 / 5])
    np.testing.assert_allclose(recall.get_ydata(), [1 / 3, 1 / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(f1.get_ydata(), [1 / 2, 2 / 5, 4 / 7, 1 / 2])
    np.testing.assert_allclose(best.get_xdata(), [0.4, 0.4], rtol=1e-6)
    ax = plot_scores(cat, tmp_path / "scores.svg")
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["2 correct", "3 wrong"]
    assert (tmp_path / "scores.svg").stat().st_size > 5000


@pytest.mark.parametrize("name", ["_hidden", r"$\frac{", "a\nb", "x" * 300])
def test_plots_of_odd_class_names(evaluator, tmp_path, name):
    curve = precision_recall_curves(evaluator)[1]
    odd = type(curve)(**{**vars(curve), "class_name": name})
    ax = plot_precision_recall_curves({1: odd}, tmp_path / "curve.png")
    (label,) = ax.get_legend().get_texts()
    assert label.get_text().strip().startswith(name.split("\n")[0][:7])
    assert len(label.get_text()) < 40
    matrix = ConfusionMatrix(np.eye(2, dtype=np.int64), [0, 1], ["background", name], 0.5, 0.5)
    plot_confusion_matrix(matrix, tmp_path / "matrix.png")
