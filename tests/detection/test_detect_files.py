"""`detect_files` with a fake model: files, records, videos, and runs that are continued."""

# ruff: noqa: F811 (fixtures are imported)

import json
import os

import cv2
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.detection import detect_files
from mrcnn.detection.files import refiner_identity
from mrcnn.detection.results import Detections
from mrcnn.detection.video import VideoReader, VideoWriter
from mrcnn.files.fetch import content_digest
from tests.fake_model import NAMES, FakeMaskRCNN, photos  # noqa: F401
from tests.local_server import LocalServer


@pytest.fixture
def model():
    config = Config()
    config.NUM_CLASSES = 3
    model = FakeMaskRCNN("inference", config, "logs")
    model.class_names = NAMES
    return model


def make_clip(path, count):
    """A video of frames of 0.1 seconds, each brighter than the one before."""
    with VideoWriter(path, fps=10) as video:
        for index in range(count):
            shade = 240 * index // count
            video.write(np.full((48, 64, 3), shade, np.uint8), index / 10)
    return path


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "clip.mp4", 6)


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def records(output):
    lines = (output / "detections.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[1:]]


def test_outcomes_come_in_order_with_their_records(model, photos, tmp_path):
    outcomes = list(detect_files(model, photos, tmp_path / "out", batch_size=2))
    assert [(o.path, o.size, list(o.class_ids)) for o in outcomes] == [
        (str(photos / "a.jpg"), (40, 60), [1, 2]),
        (str(photos / "b.jpg"), None, []),
        (str(photos / "c.png"), (32, 32), [1, 2]),
    ]
    assert [o.error is None for o in outcomes] == [True, False, True]
    assert [dict(o.record) for o in outcomes] == records(tmp_path / "out")
    first = outcomes[0].record
    assert first["source"] == str(photos / "a.jpg") and first["milliseconds"] >= 0
    assert first["objects"] == read_json(tmp_path / "out" / "detections.json")[:2]
    images = read_json(tmp_path / "out" / "images.json")
    assert [(i["id"], i["file_name"], i["width"]) for i in images["images"]] == [
        (1, "a.jpg", 60),
        (3, "c.png", 32),
    ]
    assert [i["file_name"] for i in images["failed"]] == ["b.jpg"]
    assert images["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


@pytest.mark.parametrize("tile", [None, 64])
def test_all_kinds_of_files(model, photos, tmp_path, tile):
    pytest.importorskip("pyarrow")
    kinds = "image,coco,csv,masks,polygons,video,parquet"
    output = tmp_path / "out"
    list(detect_files(model, [photos / "a.jpg"], output, save=kinds, tile=tile, classes="dog"))
    files = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}
    assert files == {
        *("a.jpg", "detections.json", "detections.jsonl", "images.json", "detections.csv"),
        *("detections.parquet", "masks/a.png", "masks/a.json", "polygons/a.json"),
    }
    (entry,) = read_json(output / "detections.json")
    assert entry["category_name"] == "dog"
    path = read_json(output / "polygons" / "a.json")["imagePath"]
    assert os.path.samefile(output / "polygons" / path, photos / "a.jpg")


def test_polygons_in_the_records_are_simplified(model, photos, tmp_path):
    options = {"segmentation": "polygon", "save": "coco"}
    rows, columns = np.ogrid[:40, :60]
    disk = ((rows - 20) ** 2 + (columns - 30) ** 2 < 200)[..., None]
    model._detect = lambda image: Detections([[5, 15, 35, 45]], [1], [0.9], disk).to_result()
    sizes = []
    for tolerance in (None, 0.0, 2.0):
        output = tmp_path / str(tolerance)
        list(detect_files(model, photos / "a.jpg", output, tolerance=tolerance, **options))
        sizes.append(len(read_json(output / "detections.json")[0]["segmentation"][0]))
    assert sizes[0] == sizes[1] > 2 * sizes[2]


def test_images_of_one_name_from_folders_of_a_folder(model, tmp_path):
    for folder in ("x", "y", "y/z"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "in" / folder / "a.png"), np.zeros((20, 30), np.uint8))
    output = tmp_path / "in" / "out"
    for _ in range(2):  # its own results are no images
        list(detect_files(model, tmp_path / "in", output, recursive=True))
        assert sorted(p.name for p in output.glob("*.jpg")) == ["a.jpg", "a_2.jpg", "a_3.jpg"]
        assert [(r["file_name"], r["image_id"], r["output"]) for r in records(output)] == [
            ("x/a.png", 1, "a"),
            ("y/a.png", 2, "a_2"),
            ("y/z/a.png", 3, "a_3"),
        ]


def test_an_address(model, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("MRCNN_HOME", str(tmp_path / "home"))
    content = (photos / "c.png").read_bytes()
    with LocalServer({"dir/c.png": content, "broken.png": b"no image"}) as server:
        urls = [server.url(name) for name in ("dir/c.png", "broken.png", "missing.png")]
        outcomes = list(detect_files(model, urls, tmp_path / "out"))
    assert [o.size for o in outcomes] == [(32, 32), None, None]
    assert outcomes[0].record["source"] == urls[0]
    assert (tmp_path / "out" / "c.jpg").exists()
    assert "404" in outcomes[2].error


# ---- continued runs ----------------------------------------------------------------------------


class Seen(list):
    """The names of images that were read."""

    def __init__(self, monkeypatch):
        from mrcnn.datasets import image_files

        read = image_files.read_image

        def note(path, **options):
            self.append(os.path.basename(path))
            return read(path, **options)

        monkeypatch.setattr(image_files, "read_image", note)


def test_a_run_is_continued_where_it_stopped(model, tmp_path, monkeypatch):
    folder, whole, parts = (tmp_path / name for name in ("in", "whole", "parts"))
    folder.mkdir()
    for number in range(12):
        cv2.imwrite(str(folder / f"{number}_.png"), np.full((20, 30), number, np.uint8))
    seen = Seen(monkeypatch)
    list(detect_files(model, folder, whole))
    for _ in range(20):
        run = detect_files(model, folder, parts, skip_existing=True)
        for _, outcome in zip(range(2), run):
            assert outcome.error is None
        run.close()  # as an error in the loop, or Ctrl-C
        if len(records(parts)) == 12:
            break
    assert (parts / "detections.json").read_bytes() == (whole / "detections.json").read_bytes()
    assert (parts / "images.json").read_bytes() == (whole / "images.json").read_bytes()
    del seen[:]
    assert list(detect_files(model, folder, parts, skip_existing=True)) == []
    assert seen == []


def test_failed_images_are_tried_again_and_empty_ones_are_not(model, photos, tmp_path, monkeypatch):
    empty = Detections(np.zeros((0, 4)), [], [], [])
    model._detect = lambda image: empty.to_result()
    output = tmp_path / "out"
    list(detect_files(model, photos, output))
    assert [len(r.get("objects", "x")) for r in records(output)] == [0, 1, 0]
    seen = Seen(monkeypatch)
    list(detect_files(model, photos, output, skip_existing=True))
    assert seen == ["b.jpg"] and len(records(output)) == 3
    cv2.imwrite(str(photos / "b.jpg"), np.zeros((9, 9), np.uint8))
    cv2.imwrite(str(photos / "aa.jpg"), np.zeros((9, 9), np.uint8))
    list(detect_files(model, photos, output, skip_existing=True))
    assert seen == ["b.jpg", "aa.jpg", "b.jpg"]
    ids = {r["file_name"]: r["image_id"] for r in records(output)}
    assert ids == {"a.jpg": 1, "c.png": 3, "aa.jpg": 2, "b.jpg": 4}
    assert len(read_json(output / "images.json")["images"]) == 4
    assert read_json(output / "images.json")["failed"] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"save": "coco"}, "save was 'image,coco,video' and is 'coco'"),
        ({"tile": 64}, "tile was nothing and is 64"),
        ({"classes": ["cat"]}, r"classes was nothing and is \[1\]"),
        ({"segmentation": "none"}, "segmentation was 'rle' and is 'none'"),
    ],
)
def test_other_options_are_refused(model, photos, tmp_path, options, message):
    list(detect_files(model, photos / "a.jpg", tmp_path / "out"))
    with pytest.raises(ValueError, match=message):
        detect_files(model, photos, tmp_path / "out", skip_existing=True, **options)
    model.config.DETECTION_MIN_CONFIDENCE = 0.1
    with pytest.raises(ValueError, match=r"DETECTION_MIN_CONFIDENCE was the default and is 0.1"):
        detect_files(model, photos, tmp_path / "out", skip_existing=True)
    assert len(records(tmp_path / "out")) == 1
    assert len(list(detect_files(model, photos / "a.jpg", tmp_path / "out"))) == 1


def test_batch_size_and_machine_make_no_difference(model, photos, tmp_path):
    list(detect_files(model, photos / "a.jpg", tmp_path / "out"))
    model.config.GPU_COUNT = 3
    again = detect_files(model, photos, tmp_path / "out", skip_existing=True, batch_size=2)
    assert [o.source.file_name for o in again] == ["b.jpg", "c.png"]


def test_other_weights_of_a_keras_model_are_refused(model, photos, tmp_path):
    keras = pytest.importorskip("keras")
    model.keras_model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    list(detect_files(model, photos / "a.jpg", tmp_path / "out"))
    options = {"skip_existing": True}
    assert list(detect_files(model, photos / "a.jpg", tmp_path / "out", **options)) == []
    model.keras_model.weights[0].assign([[1.0], [2.0]])
    with pytest.raises(ValueError, match=r"weights was '.*' and is '"):
        detect_files(model, photos / "a.jpg", tmp_path / "out", **options)


def test_another_refiner_is_refused_by_its_content(model, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("mrcnn.refinement.results.open_refiner", lambda refiner: refiner)
    refiner = tmp_path / "refiner.h5"
    refiner.write_bytes(b"first")
    options = {"skip_existing": True, "refiner": str(refiner)}
    list(detect_files(model, photos / "a.jpg", tmp_path / "out", refiner=str(refiner)))
    assert list(detect_files(model, photos / "a.jpg", tmp_path / "out", **options)) == []
    refiner.write_bytes(b"second")
    with pytest.raises(ValueError, match=r"refiner was '\w{16}' and is '\w{16}'"):
        detect_files(model, photos / "a.jpg", tmp_path / "out", **options)


def test_a_refiner_of_a_file_is_known_by_the_file(tmp_path):
    path = tmp_path / "refiner.h5"
    path.write_bytes(b"weights")

    class Loaded:
        source = path

        @property
        def networks(self):
            raise AssertionError("the compiled networks are lost")

    assert refiner_identity(Loaded()) == {"refine": "Loaded", "refiner": content_digest(path)}


def test_a_refiner_is_known_by_its_weights():
    keras = pytest.importorskip("keras")

    class Toy:
        def __init__(self):
            self.networks = [keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])]

    first, second = Toy(), Toy()
    second.networks[0].set_weights(first.networks[0].get_weights())
    assert refiner_identity(first) == refiner_identity(second)
    assert refiner_identity(first)["refine"] == "Toy"
    second.networks[0].weights[0].assign([[1.0], [2.0]])
    assert refiner_identity(first) != refiner_identity(second)
    assert refiner_identity(None) == {"refine": None}
    assert refiner_identity(object()) == {"refine": "object"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"save": "png"}, "save is 'png'; it must name some of"),
        ({"color_by": "track"}, "it must be auto, class or instance without track"),
        ({"color_by": "name"}, "it must be one of auto, class, instance, track"),
        ({"segmentation": "box"}, "segmentation is 'box'; it must be one of rle, polygon, none"),
        ({"batch_size": 0}, "batch_size is 0; it must be a whole number above 0"),
        ({"batch_size": 1.5}, "batch_size is 1.5; it must be a whole number above 0"),
        ({"tile": 0}, "tile is 0; it must be a whole number above 0"),
        ({"tolerance": -1.0}, "tolerance is -1.0; it must be a number of at least 0"),
        ({"tolerance": float("nan")}, "tolerance is nan; it must be"),
        ({"tolerance": float("inf")}, "tolerance is inf; it must be"),
        ({"classes": ["owl"]}, "classes is 'owl'; it must name classes of the weights: cat, dog"),
    ],
)
def test_options_that_are_refused(model, photos, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        detect_files(model, photos, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_model_without_class_names(model, photos, tmp_path):
    model.class_names = None
    with pytest.raises(ValueError, match="class_names is None; it must be given"):
        detect_files(model, photos, tmp_path / "out")
    outcomes = list(detect_files(model, photos, tmp_path / "out", class_names=NAMES))
    assert len(outcomes) == 3


# ---- videos ------------------------------------------------------------------------------------


def test_a_video(model, clip, photos, tmp_path):
    output = tmp_path / "out"
    outcomes = list(
        detect_files(
            model, [clip, photos / "a.jpg"], output, track=True, save="coco,video,image,csv"
        )
    )
    assert [o.record.get("frame") for o in outcomes] == [0, 1, 2, 3, 4, 5, None]
    assert [o.record["image_id"] for o in outcomes] == [2, 3, 4, 5, 6, 7, 1]
    assert [o.record["seconds"] for o in outcomes[:6]] == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    entries = read_json(output / "detections.json")
    assert {(e["category_name"], e["track_id"]) for e in entries if "frame" in e} == {
        ("cat", 1),
        ("dog", 2),
    }
    assert all("track_id" not in e for e in entries if "frame" not in e)
    assert sorted(p.name for p in output.iterdir()) == [
        *("a.jpg", "clip.mp4", "detections.csv", "detections.json", "detections.jsonl"),
        "images.json",
    ]
    drawn = [frame for _, _, frame in VideoReader(output / "clip.mp4")]
    assert len(drawn) == 6 and drawn[0].shape == (48, 64, 3)
    assert int(np.ptp(drawn[3])) > 60  # the frames themselves are of one shade
    assert (output / "detections.csv").read_text().splitlines()[1].endswith(",0,0.0,1")
    assert records(output)[-2] == {
        **{"source": str(clip), "file_name": "clip.mp4", "output": "clip", "frames": 6}
    }


def test_frames_as_images_and_masks(model, clip, tmp_path):
    output = tmp_path / "out"
    list(detect_files(model, clip, output, save=["image", "masks", "polygons"]))
    assert [p.name for p in sorted((output / "clip").iterdir())] == [
        f"00000{i}.jpg" for i in range(6)
    ]
    assert len(list((output / "masks" / "clip").iterdir())) == 12
    assert not (output / "clip.mp4").exists() and not (output / "detections.json").exists()


def test_a_video_that_was_not_finished_is_done_again(model, photos, tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", 30)
    output = tmp_path / "out"
    run = detect_files(model, [photos / "a.jpg", clip], output, skip_existing=True)
    for _, _ in zip(range(3), run):
        pass
    run.close()
    done = records(output)
    assert 3 <= len(done) < 31 and "frames" not in done[-1]
    assert len(list(VideoReader(output / "clip.mp4"))) == len(done) - 1  # a shorter video
    run = list(detect_files(model, [photos / "a.jpg", clip], output, skip_existing=True))
    assert [o.record["frame"] for o in run] == list(range(30))
    ids = [r["image_id"] for r in records(output) if "image_id" in r]
    assert len(ids) == len(set(ids)) == 31
    assert list(detect_files(model, [photos / "a.jpg", clip], output, skip_existing=True)) == []
    assert len(read_json(output / "images.json")["images"]) == 31


def test_a_broken_video_is_a_failure_among_others(model, clip, photos, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    words = [tmp_path / "broken.mp4", photos / "a.jpg", clip]
    outcomes = list(detect_files(model, words, tmp_path / "out"))
    assert [o.error is None for o in outcomes] == [False] + [True] * 7
    assert not (tmp_path / "out" / "broken.mp4").exists()
    again = list(detect_files(model, words, tmp_path / "out", skip_existing=True))
    assert [o.path for o in again] == [str(tmp_path / "broken.mp4")]


def test_a_frame_that_fails_stays_in_the_video_and_the_video_is_done_again(model, clip, tmp_path):
    find = model._detect

    def fails_on_one(image):
        if 100 < image.mean() < 140:
            raise ValueError("out of order")
        return find(image)

    model._detect = fails_on_one
    outcomes = list(detect_files(model, clip, tmp_path / "out"))
    assert [o.error for o in outcomes] == [None, None, None, "out of order", None, None]
    assert len(list(VideoReader(tmp_path / "out" / "clip.mp4"))) == 6
    model._detect = find
    again = list(detect_files(model, clip, tmp_path / "out", skip_existing=True))
    assert [o.error for o in again] == [None] * 6
    ids = [r["image_id"] for r in records(tmp_path / "out") if "image_id" in r]
    assert len(set(ids)) == len(ids) == 6


def test_a_webcam_cannot_be_continued(model, tmp_path):
    with pytest.raises(ValueError, match="source is a webcam; it must be a file or an address"):
        detect_files(model, "0", tmp_path / "out", skip_existing=True)


def test_a_webcam_until_it_is_stopped(model, clip, tmp_path, monkeypatch):
    class Webcam(VideoReader):
        def __init__(self, source):
            assert source == 0
            super().__init__(clip)

    monkeypatch.setattr("mrcnn.detection.video_run.VideoReader", Webcam)
    output = tmp_path / "out"
    run = detect_files(model, "0", output)
    first = next(run)
    assert (first.path, first.record["source"], first.record["frame"]) == ("0", "webcam 0", 0)
    run.close()
    done = records(output)
    assert len(list(VideoReader(output / "webcam 0.mp4"))) == len(done) >= 1
    assert len(read_json(output / "images.json")["images"]) == len(done)


def test_a_video_that_breaks_off(model, clip, photos, tmp_path, monkeypatch):
    class Broken(VideoReader):
        def __iter__(self):
            for index, seconds, frame in super().__iter__():
                if index == 2:
                    raise OSError("Input/output error")
                yield index, seconds, frame

    monkeypatch.setattr("mrcnn.detection.video_run.VideoReader", Broken)
    words, output = [clip, photos / "a.jpg"], tmp_path / "out"
    outcomes = list(detect_files(model, words, output))
    assert [o.error for o in outcomes] == [None, None, "Input/output error", None]
    assert [o.record.get("frame") for o in outcomes] == [0, 1, 2, None]
    monkeypatch.undo()
    again = list(detect_files(model, words, output, skip_existing=True))
    assert [o.record["frame"] for o in again] == [0, 1, 2, 3, 4, 5]


def test_an_annotated_video_that_cannot_be_written(model, clip, tmp_path, monkeypatch):
    def full(self, frame, seconds=None):
        raise OSError("No space left on device")

    monkeypatch.setattr(VideoWriter, "write", full)
    outcomes = list(detect_files(model, clip, tmp_path / "out"))
    assert [o.error for o in outcomes] == ["No space left on device"] * 6
    entries = read_json(tmp_path / "out" / "detections.json")
    assert len(entries) == 12  # found, if not drawn


def test_the_address_of_a_video(model, clip, tmp_path, monkeypatch):
    monkeypatch.setenv("MRCNN_HOME", str(tmp_path / "home"))
    with LocalServer({"dir/clip.mp4": clip.read_bytes()}) as server:
        urls = [server.url("dir/clip.mp4"), server.url("none.mp4")]
        outcomes = list(detect_files(model, urls, tmp_path / "out"))
    assert [o.error is None for o in outcomes] == [True] * 6 + [False]
    assert (tmp_path / "out" / "clip.mp4").exists()


@pytest.fixture
def drawn(monkeypatch):
    """The options that `draw_instances` was given, one entry for each call."""
    from mrcnn.drawing import rendering

    drawn = []
    draw = rendering.draw_instances

    def note(*args, **options):
        drawn.append(options)
        return draw(*args, **options)

    monkeypatch.setattr(rendering, "draw_instances", note)
    return drawn


@pytest.mark.parametrize(
    ("file", "classes", "track", "expected"),
    [
        ("a.jpg", None, False, "class"),  # a cat and a dog
        ("a.jpg", "dog", False, "instance"),
        ("a.jpg", "dog", True, "instance"),
        ("clip.mp4", "dog", False, "class"),  # colors would flicker
        ("clip.mp4", None, True, None),
    ],
)
def test_automatic_colors(model, photos, clip, tmp_path, drawn, file, classes, track, expected):
    source = clip if file == clip.name else photos / file
    list(detect_files(model, source, tmp_path / "out", classes=classes, track=track))
    assert {options.get("color_by") for options in drawn} == {expected}
    assert all(("colors" in options) == (expected is None) for options in drawn)


@pytest.mark.parametrize("track", [False, True])
def test_automatic_colors_continue_a_run_of_class_colors(model, photos, tmp_path, track):
    (photos / "b.jpg").unlink()
    options = {"skip_existing": True, "track": track}
    list(detect_files(model, photos / "a.jpg", tmp_path / "out", color_by="class", **options))
    (outcome,) = detect_files(model, photos, tmp_path / "out", **options)
    assert outcome.path == str(photos / "c.png")
    with pytest.raises(ValueError, match="color_by was 'class' and is 'instance'"):
        list(detect_files(model, photos, tmp_path / "out", color_by="instance", **options))


@pytest.mark.parametrize("color_by", ["class", "instance", "track"])
def test_colors_of_tracks(model, clip, tmp_path, color_by, drawn):
    list(detect_files(model, clip, tmp_path / "out", track=True, color_by=color_by))
    assert len(drawn) == 6
    for options in drawn:
        assert options["captions"] == ["cat 1", "dog 2"]
        assert options.get("color_by") == (None if color_by == "track" else color_by)
        assert ("colors" in options) == (color_by == "track")
    if color_by == "track":
        assert drawn[0]["colors"] == drawn[5]["colors"] and len(set(drawn[0]["colors"])) == 2


@pytest.mark.parametrize("source", [9, np.int64(9), [9], ["9"]])
def test_a_webcam_is_a_number(model, tmp_path, source):
    with pytest.raises(ValueError, match="webcam 9"):
        list(detect_files(model, source, tmp_path / "out"))
