"""Pairs of objects and detections, and the scores of single images, counted by hand."""

import math

import pytest

from mrcnn.evaluation.coco import CocoEvaluator
from mrcnn.evaluation.content import describe_content
from mrcnn.evaluation.pairs import Pair, image_scores, pair_objects
from tests.evaluation.toys import Rectangles, rectangles, result

BOX, OTHER = (0, 0, 20, 20), (10, 30, 30, 50)


def evaluator_of(pictures, results):
    evaluator = CocoEvaluator(Rectangles(pictures))
    for image_id, found in results.items():
        evaluator.add(image_id, found)
    return evaluator


def test_pairs_by_hand():
    evaluator = evaluator_of(
        [[(1, BOX), (2, OTHER), (2, (30, 0, 40, 10))]],
        {0: result((1, 0.9, (0, 0, 20, 16)), (1, 0.8, OTHER), (2, 0.7, (0, 50, 9, 60)))},
    )
    assert pair_objects(evaluator, 0, 0.5, 0.5, "mask") == [
        Pair(1, 1, 0.8),
        Pair(2, 1, 1.0),  # a dog that is taken for a cat
        Pair(0, 2),
        Pair(2, 0),
    ]
    assert pair_objects(evaluator, 0, 0.9, 0.85, "box") == [
        Pair(0, 1), Pair(1, 0), Pair(2, 0), Pair(2, 0)
    ]  # fmt: skip
    (score,) = image_scores(evaluator)
    assert (score.num_objects, score.num_detections, score.num_right) == (3, 3, 1)
    assert (score.f1, score.mean_iou) == (pytest.approx(2 / 6), pytest.approx(0.8))


def test_images_are_ranked_by_f1_then_overlap_then_errors():
    two = [(1, BOX), (1, OTHER)]
    evaluator = evaluator_of(
        [[(1, BOX)], [(1, BOX)], two, [(1, BOX)], [], [], two],
        {
            0: result((1, 0.9, BOX)),
            1: result((1, 0.9, (0, 0, 20, 16))),
            2: result((1, 0.9, BOX)),
            3: result((1, 0.4, BOX)),  # below the threshold
            4: result((1, 0.9, BOX)),  # where nothing is
            5: result(),
        },
    )
    scores = image_scores(evaluator)
    assert [score.image_id for score in scores] == [6, 3, 4, 2, 1, 0]
    assert [score.f1 for score in scores] == pytest.approx([0, 0, 0, 2 / 3, 1, 1])
    assert math.isnan(scores[0].mean_iou) and scores[4].mean_iou == pytest.approx(0.8)


def test_content_by_hand():
    big = (0, 0, 40, 60)  # 2400 pixels, the others are small
    content = describe_content(
        evaluator_of([[(1, BOX), (1, big), (2, OTHER)], [(-2, BOX)], []], {})
    )
    assert (content.num_images, content.num_empty) == (3, 2)
    spread = content.objects_per_image
    assert (spread.low, spread.median, spread.high) == (0, 0, 3)
    assert (content.width.median, content.height.median) == (60, 40)
    cat, dog = content.classes
    assert (cat.name, cat.num_images, cat.num_objects, cat.num_crowds) == ("cat", 1, 2, 0)
    assert (cat.num_small, cat.num_medium, cat.num_large) == (1, 1, 0)
    assert (cat.side.low, cat.side.high) == pytest.approx((20, 2400**0.5))
    assert (dog.num_images, dog.num_objects, dog.num_crowds, dog.num_small) == (2, 1, 1, 1)


def test_content_without_objects_or_sizes():
    content = describe_content(CocoEvaluator(Rectangles([[], []], with_size=False)))
    assert content.width is None and content.classes == []
    assert rectangles([]).shape[2] == 0


@pytest.mark.parametrize(
    ("area", "expected"),
    [(1023, (1, 0, 0)), (1024, (0, 1, 0)), (9216, (0, 1, 0)), (9217, (0, 0, 1))],
)
def test_limits_between_sizes(area, expected):
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": area}
    content = describe_content(
        CocoEvaluator(
            {
                "images": [{"id": 1, "width": 200, "height": 200}],
                "categories": [{"id": 1, "name": "cat"}],
                "annotations": [annotation],
            }
        )
    )
    (cat,) = content.classes
    assert (cat.num_small, cat.num_medium, cat.num_large) == expected


@pytest.mark.parametrize("kind", ["mask", "boxes"])
def test_a_kind_that_was_not_collected(kind):
    evaluator = CocoEvaluator(Rectangles([[(1, BOX)]]), masks=False)
    with pytest.raises(ValueError, match=rf"kind is '{kind}'; it must be 'box', or 'mask' where"):
        image_scores(evaluator, kind=kind)
    assert len(image_scores(evaluator, kind="box")) == 1
