"""The pipeline of `detect_stream`: order, bounds, errors, and stopping early."""

import threading
import time

import numpy as np
import pytest

from mrcnn.detection.streaming import ImageError, stream


def image(value):
    return np.full((2, 2, 3), value, np.uint8)


def run(items, *, batch_size=1, ahead=3, errors="raise", infer=None, mold=None):
    """Values of images through the stages: 10 for 1, 20 for 2."""
    return stream(
        items,
        mold or (lambda picture, name: int(picture[0, 0, 0])),
        infer or (lambda values: [10 * value for value in values]),
        lambda value, output: (value, output),
        batch_size=batch_size,
        ahead=ahead,
        errors=errors,
    )


@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
@pytest.mark.parametrize("ahead", [1, 4])
def test_every_image_in_its_order(batch_size, ahead):
    def slow_when_even(picture, name):
        value = int(picture[0, 0, 0])
        time.sleep(0.003 * (value % 2 == 0))
        return value

    results = run(map(image, range(7)), batch_size=batch_size, ahead=ahead, mold=slow_when_even)
    assert [result for _, result in results] == [(i, 10 * i) for i in range(7)]


def test_images_paths_and_callables(tmp_path):
    import cv2

    path = tmp_path / "two.png"
    cv2.imwrite(str(path), image(2))
    results = list(run([image(1), path, str(path), lambda: image(3)]))
    assert [result for _, result in results] == [(1, 10), (2, 20), (2, 20), (3, 30)]
    assert [picture[0, 0, 0] for picture, _ in results] == [1, 2, 2, 3]


def test_batches_and_their_stragglers():
    sizes = []

    def infer(values):
        sizes.append(len(values))
        return values

    assert len(list(run(map(image, range(5)), batch_size=2, infer=infer))) == 5
    assert sizes == [2, 2, 1]


def test_no_more_is_read_than_fits():
    taken = []

    def source():
        for i in range(100):
            taken.append(i)
            yield image(i)

    results = run(source(), batch_size=2, ahead=3)
    next(results)
    assert len(taken) == 6
    next(results)
    next(results)
    assert len(taken) <= 8
    results.close()


def broken():
    raise OSError("no picture")


def bad_network(values):
    if 2 in values:
        raise RuntimeError("out of order")
    return values


def test_errors_end_the_stream_where_they_happened():
    results = run([image(1), broken, image(2)])
    assert next(results)[1] == (1, 10)
    with pytest.raises(OSError, match="no picture"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_errors_in_place_of_results():
    results = list(run([image(1), broken, image(2), image(3)], errors="return", infer=bad_network))
    assert [type(result).__name__ for _, result in results] == [
        *("tuple", "OSError", "RuntimeError", "tuple")
    ]
    assert results[1][0] is None and results[2][0][0, 0, 0] == 2


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4])
def test_an_image_that_fails_in_a_batch_fails_alone(batch_size):
    items = [image(value) for value in (1, 2, 3, 4)]
    results = list(run(items, errors="return", infer=bad_network, batch_size=batch_size))
    assert [result for _, result in results[:1] + results[2:]] == [(1, 1), (3, 3), (4, 4)]
    failed, error = results[1]
    assert failed[0, 0, 0] == 2 and type(error) is RuntimeError


def fails_on(value, error):
    """A stage that raises for an image, or for what was made of it."""

    def stage(first, second):
        if int(np.max(first)) == value:
            raise error
        return int(np.max(first))

    return stage


@pytest.mark.parametrize(
    "error, message",
    [
        (KeyError("x"), "^images\\[1\\]: 'x'$"),
        (ZeroDivisionError(), "^images\\[1\\]: ZeroDivisionError$"),
        (ValueError("cannot reshape array of size 0"), "^images\\[1\\]: cannot reshape"),
        (ValueError("images[1] is odd"), "^images\\[1\\] is odd$"),
    ],
)
@pytest.mark.parametrize("stage", ["mold", "finish"])
@pytest.mark.parametrize("errors", ["raise", "return"])
def test_errors_of_one_image_name_it(error, message, stage, errors):
    stages = {"mold": lambda image, name: int(image.max()), "finish": lambda *pair: pair}
    stages[stage] = fails_on(2, error)
    results = stream(
        [image(1), image(2), image(3)],
        stages["mold"],
        lambda values: values,
        stages["finish"],
        batch_size=3,
        ahead=2,
        errors=errors,
    )
    if errors == "raise":
        next(results)
        with pytest.raises(ValueError, match=message):
            next(results)
        return
    first, (picture, found), third = results
    assert not any(isinstance(result, Exception) for _, result in (first, third))
    assert picture.max() == 2 and isinstance(found, ValueError)
    with pytest.raises(ValueError, match=message):
        raise found
    if isinstance(found, ImageError):
        assert found.__cause__ is error


def test_names_of_images(tmp_path):
    import cv2

    path = tmp_path / "tall\x1b.png"
    cv2.imwrite(str(path), image(2))
    results = run([path], errors="return", mold=fails_on(2, TypeError("odd")))
    ((_, error),) = results
    assert str(error) == f"{tmp_path}/tall\\x1b.png: odd"
    results = stream(
        [image(2)], fails_on(2, TypeError("odd")), list, None, batch_size=1, ahead=1,
        errors="return", name_of=lambda index, item: f"tile {index}",
    )  # fmt: skip
    assert [str(error) for _, error in results] == ["tile 0: odd"]


def test_errors_told_to_the_caller():
    told = []
    items = [image(1), broken, image(3)]
    results = run(items, errors=lambda *error: told.append(error), batch_size=3)
    assert [result for _, result in results] == [(1, 10), (3, 30)]
    ((index, item, error),) = told
    assert (index, item, str(error)) == (1, broken, "no picture")


def test_what_came_before_a_broken_iterable_is_finished():
    def source():
        yield image(1)
        yield image(2)
        raise OSError("camera unplugged")

    results = run(source(), batch_size=4)
    assert [next(results)[1][0] for _ in range(2)] == [1, 2]
    with pytest.raises(OSError, match="camera unplugged"):
        next(results)


def test_stopping_early_leaves_no_thread():
    release = threading.Event()

    def slow(values):
        release.wait(0.2)
        return values

    results = run(map(image, range(50)), infer=slow, ahead=4)
    next(results)
    begun = time.perf_counter()
    results.close()
    assert time.perf_counter() - begun < 5
    assert not [t for t in threading.enumerate() if t.name.startswith("mrcnn-")]


def test_nothing():
    assert list(run([])) == []


def test_stages_work_at_the_same_time():
    # The network takes the second image only when the third is being read.
    third_is_read = threading.Event()

    def mold(picture, name):
        value = int(picture[0, 0, 0])
        if value == 3:
            third_is_read.set()
        return value

    def infer(values):
        if 2 in values:
            assert third_is_read.wait(20)
        return values

    results = run(map(image, (1, 2, 3)), mold=mold, infer=infer)
    assert [result for _, result in results] == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_the_time_of_each_image_in_each_stage(batch_size):
    times = {}

    def infer(values):
        time.sleep(0.03 * len(values))
        return values

    def note(index, stage, seconds):
        assert (index, stage) not in times
        times[index, stage] = seconds

    results = stream(
        map(image, range(5)),
        lambda picture, name: 0,
        infer,
        lambda value, output: time.sleep(0.02),
        batch_size=batch_size,
        ahead=2,
        errors="raise",
        on_stage=note,
    )
    begun = time.perf_counter()
    assert len(list(results)) == 5
    elapsed = time.perf_counter() - begun
    assert sorted(times) == sorted((i, s) for i in range(5) for s in ("read", "network", "masks"))
    for (_, stage), seconds in times.items():
        assert seconds >= {"read": 0, "network": 0.03, "masks": 0.02}[stage]
    network = [times[index, "network"] for index in range(5)]
    assert sum(network) <= elapsed  # the images of a batch share its time
    assert len(set(network[:batch_size])) == 1


def test_images_that_fail_have_no_time_in_the_stages_they_did_not_reach():
    stages = []

    def infer(values):
        if 2 in values:
            raise ValueError("two")
        return values

    results = stream(
        [image(1), lambda: 1 / 0, image(2)],
        lambda picture, name: int(picture[0, 0, 0]),
        infer,
        lambda value, output: value,
        batch_size=3,
        ahead=1,
        errors="return",
        on_stage=lambda index, stage, seconds: stages.append((index, stage)),
    )
    assert [isinstance(result, Exception) for _, result in results] == [False, True, True]
    assert sorted(stages) == [
        *[(0, "masks"), (0, "network"), (0, "read"), (1, "read"), (2, "network"), (2, "read")]
    ]
