"""COCO figures: small cases by hand, and raw pycocotools on a part of COCO."""

import contextlib
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mrcnn.detection.results import to_coco
from mrcnn.evaluation.coco import CocoEvaluator, evaluate_coco, results_to_coco
from mrcnn.evaluation.ground_truth import JsonTruth
from mrcnn.evaluation.report import CocoMetrics
from tests.evaluation.toys import Detector, Rectangles, rectangles, result

BOX, OTHER = (0, 0, 20, 20), (10, 30, 30, 50)
# pycocotools divides by (count + a tiny number), so its one is not quite one.
ONE = pytest.approx(1.0, abs=1e-9)


def report_of(pictures, results, **kwargs):
    evaluator = CocoEvaluator(Rectangles(pictures), **kwargs)
    for image_id, found in results.items():
        evaluator.add(image_id, found)
    return evaluator.summarize()


# One cat in each of two images. COCO samples precision at recalls 0, 0.01 .. 1; half of the
# cats means 51 of the 101.
@pytest.mark.parametrize(
    "label, results, ap, ar",
    [
        ("all", {0: [(1, 0.9, BOX)], 1: [(1, 0.8, OTHER)]}, 1.0, 1.0),
        ("half", {0: [(1, 0.9, BOX)]}, 51 / 101, 0.5),
        ("nothing", {}, 0.0, 0.0),
        ("wrong class", {0: [(2, 0.9, BOX)], 1: [(2, 0.9, OTHER)]}, 0.0, 0.0),
        ("duplicate", {0: [(1, 0.9, BOX), (1, 0.8, BOX)]}, 51 / 101, 0.5),
        ("false first", {0: [(1, 0.9, OTHER), (1, 0.8, BOX)]}, 51 / 101 / 2, 0.5),
    ],
)
def test_by_hand(label, results, ap, ar):
    results = {image_id: result(*found) for image_id, found in results.items()}
    report = report_of([[(1, BOX)], [(1, OTHER)]], results)
    for metrics in (report.box, report.mask):
        assert metrics.AP == metrics.AP50 == pytest.approx(ap, abs=1e-9), label
        assert metrics.AR100 == pytest.approx(ar)
        # 400 pixels are a small object; there are none of other sizes.
        assert metrics.APs == pytest.approx(ap, abs=1e-9)
        assert np.isnan(metrics.APm) and np.isnan(metrics.ARl)


def test_iou_thresholds():
    # 20 x 20 against 20 x 16: IoU 0.8 passes 0.50 .. 0.80, 7 of 10 thresholds.
    report = report_of([[(1, BOX)]], {0: result((1, 0.9, (0, 0, 20, 16)))})
    assert report.mask.AP == report.box.AP == pytest.approx(0.7)
    assert report.mask.AP75 == ONE


def test_box_and_mask_are_told_apart():
    found = result((1, 0.9, BOX))
    found["masks"][:, 10:] = False
    report = report_of([[(1, BOX)]], {0: found})
    assert report.box.AP == ONE
    assert (report.mask.AP50, report.mask.AP75) == (ONE, 0.0)  # IoU is 0.5


def test_crowds_neither_help_nor_hurt():
    pictures = [[(1, BOX), (-1, (0, 25, 40, 60))]]
    inside = [(1, 0.95, (5, 30, 15, 40)), (1, 0.94, (20, 40, 30, 50))]
    report = report_of(pictures, {0: result((1, 0.5, BOX), *inside)})
    assert report.mask.AP == ONE and report.box.AP == ONE
    assert (report.num_objects, report.num_crowds, report.num_detections) == (1, 1, 3)


def test_classes_are_averaged_and_listed():
    report = report_of(
        [[(1, BOX), (2, OTHER)]], {0: result((1, 0.9, BOX), (3, 0.9, OTHER), (9, 0.9, OTHER))}
    )
    assert report.mask.AP == pytest.approx(0.5)
    listed = [(c.name, c.num_objects, c.num_detections, c.mask_AP) for c in report.classes]
    assert listed[:2] == [("cat", 1, 1, ONE), ("dog", 1, 0, 0.0)]
    assert [c[:3] for c in listed[2:]] == [("cow", 0, 1), ("class_9", 0, 1)]
    assert all(np.isnan(c.box_AP) for c in report.classes[2:])


def test_nothing_at_all():
    report = report_of([[], []], {0: result((1, 0.9, BOX))})
    assert all(np.isnan(value) for value in report.metrics().values())
    assert (report.num_images, report.num_objects, report.num_detections) == (2, 0, 1)
    report = report_of([[], []], {0: result()})
    assert np.isnan(report.mask.AP) and report.classes == []


def test_boxes_only():
    found = result((1, 0.9, BOX))
    del found["masks"]
    report = report_of([[(1, BOX)]], {0: found}, masks=False)
    assert report.mask is None and report.box.AP == ONE
    assert "mask_AP" not in report.metrics()
    evaluator = CocoEvaluator(Rectangles([[(1, BOX)]]), masks=False)
    with pytest.raises(ValueError, match="masks=False"):
        evaluator.run("mask")
    with pytest.raises(ValueError, match="'box' or 'mask'"):
        evaluator.run("segm")


def test_chosen_pictures_and_replacing():
    evaluator = CocoEvaluator(Rectangles([[(1, BOX)]] * 3), image_ids=np.array([2, 0]))
    evaluator.add(0, result())
    evaluator.add(np.int64(0), result((1, 0.9, BOX)))
    evaluator.add(2, result((1, 0.9, BOX)))
    report = evaluator.summarize()
    assert (report.num_images, report.num_detections, report.mask.AP) == (2, 2, ONE)
    evaluator.reset()
    assert evaluator.summarize().mask.AP == 0.0


@pytest.mark.parametrize(
    "image_id, changes, message",
    [
        (1, {}, "image_id 1 is not one of the chosen"),
        (5, {}, "image_id 5 is not one of the dataset's 2"),
        (
            0,
            {"class_ids": [0]},
            "result of image 0: class_ids is .0.; it must hold whole numbers from 1",
        ),
        (0, {"scores": [np.nan]}, r"scores\[0\] is nan; it must hold finite numbers"),
        (
            0,
            {"scores": [0.5, 0.4]},
            "scores has 2 entries; it must have one for each of the 1 rois",
        ),
        (0, {"masks": None}, "has no masks"),
        (
            0,
            {"masks": np.zeros((60, 40, 1), bool)},
            r"are of \(60, 40\) .* they must be of \(40, 60\)",
        ),
    ],
)
def test_bad_results(image_id, changes, message):
    evaluator = CocoEvaluator(Rectangles([[(1, BOX)], []]), image_ids=[0])
    with pytest.raises(ValueError, match=message):
        evaluator.add(image_id, {**result((1, 0.9, BOX)), **changes})


def test_results_to_coco_uses_the_sources_ids():
    dataset = Rectangles([[(1, BOX)], [(3, OTHER)]])
    found = result((3, 0.75, OTHER))
    (entry,) = results_to_coco(dataset, [1], [found])
    assert json.loads(json.dumps(entry)) == entry
    assert (entry["image_id"], entry["category_id"]) == (101, 30)
    assert (entry["bbox"], entry["score"]) == ([30, 10, 20, 20], 0.75)
    np.testing.assert_array_equal(
        mask_utils.decode(entry["segmentation"]), rectangles([OTHER])[..., 0]
    )
    del found["masks"]
    assert "segmentation" not in results_to_coco(dataset, np.array([1]), [found])[0]
    with pytest.raises(ValueError, match="class_ids has 9; it must be a class of category_ids"):
        results_to_coco(dataset, [1], [result((9, 0.5, BOX))])
    with pytest.raises(
        ValueError, match="image_ids has 2 entries; it must have one for each of the 1 results"
    ):
        results_to_coco(dataset, [0, 1], [found])


def test_results_json_there_and_back(tmp_path):
    pictures = [[(1, BOX)], [(3, OTHER), (1, BOX)], []]
    evaluator = CocoEvaluator(Rectangles(pictures))
    evaluator.add(0, result((1, 0.9, (0, 0, 20, 17)), (2, 0.3, OTHER)))
    evaluator.add(1, result((3, 0.6, OTHER)))
    evaluator.save_results(tmp_path / "results.json")
    again = CocoEvaluator(Rectangles(pictures))
    again.add_coco_results(tmp_path / "results.json")
    assert again.to_coco() == evaluator.to_coco()
    assert again.summarize().to_dict() == evaluator.summarize().to_dict()
    with pytest.raises(ValueError, match="category_id is 11; it must be"):
        again.add_coco_results([{**evaluator.to_coco()[0], "category_id": 11}])
    with pytest.raises(ValueError, match=r"lacks \['segmentation'\]"):
        again.add_coco_results([{"image_id": 100, "category_id": 10, "score": 1}])


def test_evaluate_coco_runs_over_all_pictures(tmp_path):
    dataset = Rectangles([[(1, BOX)], [(1, OTHER)], []])
    detector = Detector([result((1, 0.9, BOX)), result(), result((1, 0.8, BOX))])
    path = tmp_path / "results.json"
    report = evaluate_coco(detector, dataset, progress=False, results_path=path)
    assert detector.batches == [[0, 1], [2]]
    assert (report.num_images, report.num_detections) == (3, 2)
    assert report.mask.AP == pytest.approx(51 / 101)
    assert report.seconds_per_image > 0
    assert [entry["image_id"] for entry in json.loads(path.read_text())] == [100, 102]


@pytest.mark.parametrize(
    "kwargs, batches",
    [
        ({"limit": 1}, [[0]]),
        ({"limit": 0, "batch_size": 5}, [[0, 1, 2]]),
        ({"image_ids": [2, 0, 1], "limit": 2, "batch_size": 1}, [[2], [0]]),
    ],
)
def test_evaluate_coco_chooses_pictures(kwargs, batches):
    detector = Detector([result()] * 3)
    report = evaluate_coco(detector, Rectangles([[(1, BOX)]] * 3), progress=False, **kwargs)
    assert detector.batches == batches
    assert report.num_images == sum(len(batch) for batch in batches)


def test_evaluate_coco_refuses_bad_arguments_and_passes_errors_on():
    dataset = Rectangles([[(1, BOX)]] * 3)
    detector = Detector([result(), result((0, 0.5, BOX)), result()], batch_size=1)
    for kwargs, message in (
        ({"limit": -1}, "limit is -1; it must be at least 0"),
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"image_ids": [3]}, "image_id 3"),
        ({}, "result of image 1: class_ids is"),  # from the storing thread
    ):
        with pytest.raises(ValueError, match=message):
            evaluate_coco(detector, dataset, progress=False, **kwargs)


def perturbed_results(coco, seed):
    """Moved, eroded, doubled and misnamed copies of the truth, of few distinct scores.

    Equal scores make the order of images matter, which is part of being equal.
    """
    rng = np.random.default_rng(seed)
    categories = sorted(coco.cats)
    for number, (image_id, image) in enumerate(sorted(coco.imgs.items())):
        masks, class_ids = [np.zeros((image["height"], image["width"]), bool)], []
        for annotation in coco.imgToAnns[image_id] if number % 7 else []:
            for _ in range(rng.integers(0, 3)):
                mask = np.roll(coco.annToMask(annotation), rng.integers(-4, 5, 2), (0, 1))
                if rng.random() < 0.3:
                    mask = cv2.erode(mask, np.ones((5, 5), np.uint8))
                masks.append(mask.astype(bool))
                category = annotation["category_id"]
                category = category if rng.random() < 0.9 else rng.choice(categories)
                class_ids.append(categories.index(category) + 1)
        masks = np.stack(masks, axis=2)[:, :, 1:]
        encoded = mask_utils.encode(np.asfortranarray(masks.astype(np.uint8)))
        x, y, width, height = mask_utils.toBbox(encoded).reshape(-1, 4).T
        yield (
            image_id,
            {
                "rois": np.stack([y, x, y + height, x + width], axis=1).astype(np.int32),
                "class_ids": np.array(class_ids, np.int32),
                "scores": rng.integers(0, 11, len(class_ids)).astype(np.float32) / 10,
                "masks": masks,
            },
        )


def raw_figures(coco, entries, iou_type):
    if iou_type == "segm":
        entries = [{k: v for k, v in e.items() if k != "bbox"} for e in entries]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(coco, coco.loadRes([dict(e) for e in entries]), iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [value if value > -1 else np.nan for value in evaluation.stats]


@pytest.mark.parametrize("subset", ["train", "val"])
def test_equals_raw_pycocotools(shared_dir, subset):
    folder = shared_dir / "data" / "coco_tiny"
    path = folder / "annotations" / f"instances_{subset}2017.json"
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    results = dict(perturbed_results(coco, seed=3))
    from_json = CocoEvaluator(path)
    for image_id, found in results.items():
        from_json.add(image_id, found)

    from mrcnn.datasets.coco import CocoDataset

    dataset = CocoDataset()
    dataset.load_coco(folder, subset)
    dataset.prepare()
    from_dataset = CocoEvaluator(dataset)
    for image_id in dataset.image_ids:
        from_dataset.add(image_id, results[dataset.image_info[image_id]["id"]])

    assert sum(one["iscrowd"] for one in coco.anns.values()) > 0
    assert any(not len(found["scores"]) for found in results.values())
    for evaluator in (from_json, from_dataset):
        report = evaluator.summarize()
        for metrics, iou_type in ((report.box, "bbox"), (report.mask, "segm")):
            figures = [getattr(metrics, name) for name in CocoMetrics.names()]
            expected = raw_figures(coco, evaluator.to_coco(), iou_type)
            assert 0.1 < expected[0] < 0.9
            np.testing.assert_allclose(figures, expected, rtol=0, atol=1e-9)


def test_perfect_results_on_coco(shared_dir):
    """The truth given back as results: AP 1, except where pixels cannot hold a polygon."""
    path = shared_dir / "data" / "coco_tiny" / "annotations" / "instances_val2017.json"
    truth = JsonTruth(path)
    evaluator = CocoEvaluator(truth)
    entries = []
    for image_id in truth.image_ids:
        for one in truth.load(image_id).objects:
            if not one["iscrowd"]:
                entries.append(
                    {
                        "image_id": image_id,
                        "category_id": truth.category_ids[one["class_id"]],
                        "score": 1.0,
                        "bbox": one["bbox"],
                        "segmentation": one["segmentation"],
                    }
                )
    evaluator.add_coco_results(entries)
    report = evaluator.summarize()
    assert report.box.AP == report.mask.AP == pytest.approx(1.0)
    assert report.num_objects == len(entries) == 168


def test_classes_that_are_not_evaluated_are_left_out_of_everything():
    pictures = [[(1, BOX), (2, OTHER), (-3, BOX)]]
    evaluator = CocoEvaluator(Rectangles(pictures), class_ids=[1])
    evaluator.add(0, result((1, 0.9, BOX), (2, 0.8, BOX)))
    report = evaluator.summarize()
    assert report.mask.AP == ONE
    assert (report.num_objects, report.num_crowds, report.num_detections) == (1, 0, 1)
    assert [entry.name for entry in report.classes] == ["cat"]
    assert evaluator.class_names == {1: "cat"}
    assert [entry["category_id"] for entry in evaluator.to_coco()] == [10]
    read = CocoEvaluator(Rectangles(pictures), class_ids=[2])
    read.add_coco_results([*evaluator.to_coco(), {**evaluator.to_coco()[0], "category_id": 20}])
    assert read.detections(0).class_ids.tolist() == [2]
    with pytest.raises(ValueError, match="class_ids has 4; it must hold classes of the dataset"):
        CocoEvaluator(Rectangles(pictures), class_ids=[1, 4])


def test_figures_of_a_class_alone_are_those_of_the_report():
    pictures = [[(1, BOX), (1, (0, 0, 40, 60)), (2, OTHER)]]
    found = {0: result((1, 0.9, (0, 0, 20, 16)), (1, 0.8, (0, 0, 40, 50)), (2, 0.7, BOX))}
    cat, dog = report_of(pictures, found).classes
    for entry, class_id in ((cat, 1), (dog, 2)):
        alone = report_of(pictures, found, class_ids=[class_id])
        for kind in ("box", "mask"):
            for name in CocoMetrics.names():
                value = getattr(getattr(entry, kind), name)
                assert value == pytest.approx(alone[f"{kind}_{name}"], nan_ok=True), (kind, name)
    assert cat.mask_AP == cat.mask.AP and dog.box_AP50 == dog.box.AP50 == 0.0


class Broken(Rectangles):
    """The image 1 cannot be read, and the annotations of 2 are for another size."""

    def load_image(self, image_id):
        if image_id == 1:
            raise OSError("no such file")
        if image_id == 2:
            return np.full((10, 10, 3), image_id, np.uint8)
        return super().load_image(image_id)


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_images_that_cannot_be_read_are_left_out_if_asked_for(batch_size):
    dataset = Broken([[(1, BOX)]] * 4)
    small = {**result((1, 0.9, BOX)), "masks": np.ones((10, 10, 1), bool)}
    model = Detector({0: result((1, 0.9, BOX)), 2: small, 3: result()}, batch_size)
    evaluator = CocoEvaluator(dataset)
    done = []
    report = evaluate_coco(
        model, dataset, evaluator=evaluator, keep_going=True,
        progress=lambda *numbers: done.append(numbers),
    )  # fmt: skip
    assert (report.num_images, report.num_unreadable, report.num_objects) == (2, 2, 2)
    assert report.mask.AP == pytest.approx(51 / 101)
    assert evaluator.unreadable[1] == "no such file"
    assert "masks of image 2 are of (10, 10)" in evaluator.unreadable[2]
    assert done == [(n, 4) for n in range(batch_size, 5, batch_size)]
    with pytest.raises(OSError, match="no such file"):
        evaluate_coco(model, dataset, progress=False)


def test_no_image_can_be_read():
    dataset = Broken([[(1, BOX)]] * 3)
    with pytest.raises(ValueError, match="none of the 1 images can be read; the first: no such"):
        evaluate_coco(Detector({}), dataset, [1], progress=False, keep_going=True)


def test_the_progress_bar_is_removed_at_the_end(capsys):
    dataset = Rectangles([[(1, BOX)]] * 3)
    evaluate_coco(Detector(dict.fromkeys(range(3), result()), 2), dataset)
    shown = capsys.readouterr().err
    assert "2/3" in shown and "\n" not in shown and shown.endswith(" \r")


@pytest.mark.parametrize(("count", "expected"), [(1, 10.0), (3, 1.0), (5, 1.0)])
def test_seconds_per_image_are_without_the_first_batch(monkeypatch, count, expected):
    from mrcnn.evaluation import detection_pass

    # 20 s for the first batch of two, then 2 s for each of two, or of one.
    times = iter([0, 20 if count > 1 else 10, 20, 22 if count > 3 else 21, 22, 23])
    monkeypatch.setattr(detection_pass.time, "perf_counter", lambda: next(times))
    model = Detector(dict.fromkeys(range(count), result()), 2)
    report = evaluate_coco(model, Rectangles([[(1, BOX)]] * count), progress=False)
    assert report.seconds_per_image == expected


def test_results_are_written_whatever_the_ids_are(tmp_path):
    dataset = Rectangles([[(1, BOX)]], source_ids=("n01", "n02", "n03"))
    found = {0: result((1, 0.9, BOX), (7, 0.8, OTHER))}  # the dataset has no class 7
    path = tmp_path / "results.json"
    report = evaluate_coco(Detector(found), dataset, progress=False, results_path=path)
    assert report["box_AP"] == pytest.approx(1)
    assert [entry["category_id"] for entry in json.loads(path.read_text())] == ["n01"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 1}, "limit is given; it must not be"),
        ({"image_ids": [0]}, "image_ids is given; it must not be"),
        ({"results_path": "."}, "results_path is ., a folder; it must be a file"),
    ],
)
def test_arguments_that_would_be_ignored_or_fail_at_the_end(options, message):
    dataset = Rectangles([[(1, BOX)]])
    with pytest.raises(ValueError, match=message):
        evaluate_coco(Detector({}), dataset, evaluator=CocoEvaluator(dataset), **options)


def test_results_with_numpy_ids():
    dataset = Rectangles([[(1, BOX)]])
    (entry,) = to_coco(result((1, 0.9, BOX)), np.int64(100), Path("a.jpg"), category_ids=[0, 10])
    assert json.loads(json.dumps(entry))["image_id"] == 100 and entry["file_name"] == "a.jpg"
    evaluator = CocoEvaluator(dataset)
    evaluator.add_coco_results([{**entry, "image_id": np.int64(100)}])
    assert len(evaluator.detections(0)) == 1
