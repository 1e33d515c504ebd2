"""Limits, batches and the served model on their own, and the command without a server."""

import asyncio
import importlib.util
import socket
import types

import numpy as np
import pytest

from mrcnn.service.batching import Batcher
from mrcnn.service.detection import ServedModel
from mrcnn.service.limits import Admission, Limits, Refusal
from tests.fake_model import run  # noqa: F401
from tests.service.fakes import FakeModel


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_bytes": 0}, "max_bytes is 0; it must be a whole number from 1"),
        ({"max_pixels": 2.5}, "max_pixels is 2.5; it must be a whole number from 1"),
        ({"batch_size": True}, "batch_size is True; it must be a whole number from 1"),
        ({"upload_seconds": 0}, "upload_seconds is 0; it must be a number above 0"),
        ({"answer_seconds": float("inf")}, "answer_seconds is inf; it must be a number above 0"),
        ({"batch_wait": -1}, "batch_wait is -1; it must be a number of at least 0"),
        ({"batch_wait": float("nan")}, "batch_wait is nan; it must be a number of at least 0"),
    ],
)
def test_limits(limits, message):
    with pytest.raises(ValueError) as raised:
        Limits(**limits)
    assert str(raised.value) == message


def test_admission_counts_also_after_errors():
    admission = Admission(1)
    for _ in range(3):
        with pytest.raises(KeyError), admission.admitted():
            with pytest.raises(Refusal) as refused, admission.admitted():
                raise AssertionError
            raise KeyError
        assert (refused.value.status, admission.under_way) == (429, 0)


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_the_threshold_of_a_model(threshold):
    with pytest.raises(ValueError, match=r"threshold is .*; it must be a number from 0 to 1"):
        ServedModel(FakeModel(), "pets", threshold)


def test_a_model_without_class_names():
    served = ServedModel(types.SimpleNamespace(class_names=None), "a\x1b[2J")
    assert (served.class_names, served.name) == (["BG"], "a\\x1b[2J")


def run_batches(function, work, batch_size=2, wait_seconds=0.0):
    async def main():
        batcher = Batcher(function, batch_size, wait_seconds)
        await batcher.start()
        try:
            return await work(batcher)
        finally:
            await batcher.close()

    return asyncio.run(main())


def test_results_go_to_their_images():
    def double(images, options):
        return [2 * image for image in images]

    async def work(batcher):
        return await asyncio.gather(*[batcher.submit(i, i % 2) for i in range(9)])

    assert run_batches(double, work, wait_seconds=0.001) == [2 * i for i in range(9)]


def test_an_image_whose_request_has_ended_is_not_run():
    ran = []
    begun = asyncio.Event()

    def slow(images, options):
        ran.extend(images)
        return images

    async def work(batcher):
        begun.set()
        one = asyncio.ensure_future(batcher.submit("one", "a"))
        two = asyncio.ensure_future(batcher.submit("two", "b"))
        await asyncio.sleep(0)
        two.cancel()
        assert await one == "one"
        assert len(batcher) == 0
        with pytest.raises(asyncio.CancelledError):
            await two
        return await batcher.submit("three", "b")

    assert run_batches(slow, work) == "three"
    assert ran == ["one", "three"]


def test_an_error_of_the_run_itself_is_that_of_every_image():
    def broken(images, options):
        raise KeyError("broken")

    async def work(batcher):
        return await asyncio.gather(
            *[batcher.submit(i, None) for i in range(2)], return_exceptions=True
        )

    assert [type(error) for error in run_batches(broken, work, wait_seconds=0.1)] == [KeyError] * 2


def test_arrays_can_wait_with_different_options():
    image = np.zeros((4, 4, 3))

    def shape(images, options):
        return [(one.shape, options) for one in images]

    async def work(batcher):
        return await asyncio.gather(*[batcher.submit(image, i % 2) for i in range(4)])

    found = run_batches(shape, work, wait_seconds=0.05)
    assert found == [((4, 4, 3), i % 2) for i in range(4)]


# ---- the command -----------------------------------------------------------------------------


def test_a_missing_package_names_the_extra(run, monkeypatch):  # noqa: F811
    find = importlib.util.find_spec
    hidden = ("uvicorn", "python_multipart")
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *rest: None if name in hidden else find(name, *rest),
    )
    code, out, err = run("serve")
    assert (code, out) == (2, "")
    assert err == (
        "mrcnn: error: mrcnn serve requires uvicorn, python-multipart: "
        "pip install 'mrcnn-keras3[serve]'\n"
    )


def test_a_port_in_use_and_a_foreign_host():
    from mrcnn.service.server import run_server

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port is {port}; it must be free on 127.0.0.1 and"):
            run_server(None, "127.0.0.1", port)
    with pytest.raises(ValueError, match=r"host is 'no such host'; it must be an address of this"):
        run_server(None, "no such host", 0)
    with pytest.raises(ValueError, match=r"port is 70000; it must be a number from 0 to 65535"):
        run_server(None, "127.0.0.1", 70000)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--port", "70000"], "Invalid value for '--port'"),
        (["--threshold", "2"], "Invalid value for '--threshold'"),
        (["--workers", "0"], "Invalid value for '--workers'"),
        (["--max-mb", "0"], "Invalid value for '--max-mb'"),
        (["--weights", "/no/such.h5"], "/no/such.h5"),
        (["--refine", "/no/such.h5"], "/no/such.h5"),
    ],
)
def test_wrong_options_of_the_command(run, words, text):  # noqa: F811
    code, _, err = run("serve", *words)
    assert code == 2 and text in err
