import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import pytest

from mrcnn.checkpoints import known as known_weights
from mrcnn.checkpoints import save_weights, verify
from tests.checkpoints.fakes import FakeModel, small_mask_rcnn
from tests.local_server import Fault, LocalServer

COCO, IMAGENET = "coco.h5", "resnet50.h5"
HTML = b"<!DOCTYPE html>\n<html><body>Sign in to the network</body></html>"


@pytest.fixture(scope="module")
def weight_bytes(tmp_path_factory):
    """Small files that look like the published ones."""
    folder = tmp_path_factory.mktemp("published")
    save_weights(small_mask_rcnn(num_classes=81, backbone="resnet101"), folder / COCO)
    backbone = small_mask_rcnn().layers[:10]
    save_weights(FakeModel(backbone), folder / IMAGENET)
    return {name: (folder / name).read_bytes() for name in (COCO, IMAGENET)}


@pytest.fixture
def server(weight_bytes, monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with LocalServer(weight_bytes) as server:
        yield server


@pytest.fixture(autouse=True)
def homes(tmp_path, monkeypatch):
    """Caches of its own for every test."""
    monkeypatch.setenv("MRCNN_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


@pytest.fixture
def known(server, weight_bytes, monkeypatch):
    """The manifest with addresses of the local server; tests change its entries."""
    md5 = {name: hashlib.md5(data).hexdigest() for name, data in weight_bytes.items()}
    entries = {
        "coco": known_weights.KnownWeights(
            *("coco", "as COCO", "mask_rcnn_coco.h5", server.url(COCO)),
            md5=md5[COCO],
            expect={"backbone": "resnet101", "num_classes": 81},
        ),
        "imagenet": known_weights.KnownWeights(
            *("imagenet", "as ImageNet", "resnet50_notop.h5", server.url(IMAGENET)),
            md5=md5[IMAGENET],
            expect={"backbone": "resnet50"},
        ),
        "small": known_weights.KnownWeights("small", "ships", "mask_rcnn_small.h5"),
        "bike": known_weights.KnownWeights("bike", "ships", "bike.h5", kind="refiner"),
    }
    monkeypatch.setattr(known_weights, "weights_manifest", lambda: entries)
    monkeypatch.setattr(known_weights, "RETRIES", 1)

    def change(name, **values):
        entries[name] = dataclasses.replace(entries[name], **values)

    return change


def failed(path, **kwargs):
    with pytest.raises(known_weights.DownloadError) as error:
        known_weights.download_trained_weights(path, verbose=0, **kwargs)
    return str(error.value)


def test_manifest_and_matterports_constant():
    manifest = known_weights.weights_manifest()
    assert list(manifest) == ["coco", "balloon", "imagenet", "small", "general"]
    assert manifest["coco"].url == known_weights.COCO_MODEL_URL
    assert "/v2.0/" in known_weights.COCO_MODEL_URL  # v2.1 is the balloon model
    assert manifest["imagenet"].md5 == "a268eb855778b3df3c7506639542a6af"
    for name, entry in manifest.items():
        assert entry.name == name
        assert entry.file.endswith(".h5") and "/" not in entry.file
        assert entry.kind == ("refiner" if entry.file.startswith("mask_refiner_") else "model")
        if entry.url:
            assert urllib.parse.urlsplit(entry.url).scheme == "https"
            assert entry.url.endswith(f"/{entry.file}")


def test_download_writes_the_file_and_nothing_else(known, tmp_path, capsys):
    path = tmp_path / "mask_rcnn_coco.h5"
    known_weights.download_trained_weights(str(path))
    assert verify(path).num_classes == 81
    assert list(tmp_path.iterdir()) == [path]
    out = capsys.readouterr().out
    assert out == (
        f"Downloading pretrained model to {path} ...\n... done downloading pretrained model!\n"
    )


def test_silent(known, tmp_path, capsys):
    known_weights.download_trained_weights(tmp_path / "w.h5", verbose=0)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("reset", [False, True])
def test_a_dropped_connection_goes_on_where_it_was(known, server, weight_bytes, tmp_path, reset):
    size = len(weight_bytes[COCO])
    server.fault = lambda method, path, number: (
        Fault(drop_after=size // 3, reset=reset) if number == 0 else None
    )
    known_weights.download_trained_weights(tmp_path / "w.h5", verbose=0)
    assert (tmp_path / "w.h5").read_bytes() == weight_bytes[COCO]
    first, second = server.log
    assert (first.start, second.status) == (0, 206)
    assert second.start > 0 and second.start + second.sent == size


def test_an_interrupted_program_goes_on_where_it_was(known, server, weight_bytes, tmp_path):
    size = len(weight_bytes[COCO])
    path = tmp_path / "w.h5"
    # The server hangs up at a third, then answers no more: the first program fails.
    server.fault = lambda method, path, number: (
        Fault(drop_after=size // 3) if number == 0 else Fault(status=503)
    )
    assert "503" in failed(path)
    assert not path.exists()
    done = len(server.log)
    server.fault = lambda method, path, number: None
    known_weights.download_trained_weights(path, verbose=0)
    assert path.read_bytes() == weight_bytes[COCO]
    assert [request.start for request in server.log[done:]] == [size // 3]
    assert list(tmp_path.iterdir()) == [path]


def test_an_answer_cut_short_for_good(known, server, tmp_path):
    server.ranges = False
    server.fault = lambda method, path, number: Fault(drop_after=1000)
    assert "connection closed at byte 1000 of" in failed(tmp_path / "w.h5")
    assert not (tmp_path / "w.h5").exists()


def test_bytes_damaged_once_are_fetched_again(known, server, weight_bytes, tmp_path):
    server.published = "none"
    damaged = bytearray(weight_bytes[COCO])
    damaged[-1] ^= 255
    server.files[COCO] = bytes(damaged)

    def mend(method, path, number):
        if number:
            server.files[COCO] = weight_bytes[COCO]

    server.fault = mend
    known_weights.download_trained_weights(tmp_path / "w.h5", verbose=0)
    assert (tmp_path / "w.h5").read_bytes() == weight_bytes[COCO]
    assert len(server.log) == 2


def test_wrong_checksum(known, server, weight_bytes, tmp_path):
    known("coco", md5="0" * 32)
    path = tmp_path / "w.h5"
    path.write_bytes(b"what was there before")
    found = hashlib.md5(weight_bytes[COCO]).hexdigest()
    message = failed(path)
    assert f"its md5 is {found}, expected {'0' * 32}" in message
    assert path.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [path]
    assert len(server.log) == 2


@pytest.mark.parametrize("sha256, size", [("0" * 64, None), (None, 5)])
def test_other_ways_to_tell_a_file(known, tmp_path, sha256, size):
    known("coco", sha256=sha256, size=size)
    reason = "its sha256 is " if sha256 else "bytes, expected 5"
    assert reason in failed(tmp_path / "w.h5")


def test_web_page_instead_of_the_file(known, server, tmp_path):
    server.files[COCO] = HTML
    message = failed(tmp_path / "w.h5")
    assert "what arrived is not a weight file: it is a web page" in message
    assert list(tmp_path.iterdir()) == []
    assert len(server.log) == 1  # asking again would not help


def test_file_of_another_model(known, server, tmp_path):
    # https://github.com/matterport/Mask_RCNN/issues/1515: release v2.1 is the balloon model.
    known("coco", md5=None)
    save_weights(small_mask_rcnn(num_classes=2, backbone="resnet101"), tmp_path / "balloon.h5")
    server.files[COCO] = (tmp_path / "balloon.h5").read_bytes()
    assert "its num_classes is 2, expected 81" in failed(tmp_path / "w.h5")
    assert not (tmp_path / "w.h5").exists()


def test_published_file_that_is_cut_short_itself(known, server, weight_bytes, tmp_path):
    known("coco", md5=None)
    server.files[COCO] = weight_bytes[COCO][:-5000]
    assert "is cut short" in failed(tmp_path / "w.h5")
    assert list(tmp_path.iterdir()) == []


def test_not_found(known, server, tmp_path):
    del server.files[COCO]
    path = tmp_path / "w.h5"
    message = failed(path)
    assert "HTTP 404" in message
    assert len(server.log) == 1
    # The way out: which address, and where to put the file.
    assert server.url(COCO) in message
    assert f"put the file at\n  {path}\n" in message
    assert message.endswith(
        'small needs no download: --weights small, or weights="small" in Python'
    )


def test_offline(known, server, tmp_path):
    url = "http://127.0.0.1:9/coco.h5"  # no server listens on the discard port
    known("coco", url=url)
    message = failed(tmp_path / "w.h5")
    assert url in message
    assert "refused" in message
    assert str(tmp_path / "w.h5") in message


def test_folder_instead_of_a_path(known, tmp_path):
    with pytest.raises(ValueError, match=r"coco_model_path is .* a folder"):
        known_weights.download_trained_weights(tmp_path)


def test_two_at_once_download_once(known, server, weight_bytes, tmp_path, monkeypatch):
    pytest.importorskip("fcntl")
    path = tmp_path / "w.h5"
    both = threading.Barrier(2, timeout=10)
    stamp, looked = known_weights._stamp, threading.local()

    def stamp_together(item):
        found = stamp(item)
        if not hasattr(looked, "before"):  # both look before either begins
            looked.before = True
            both.wait()
        return found

    monkeypatch.setattr(known_weights, "_stamp", stamp_together)
    arguments = {"target": known_weights.download_trained_weights, "args": (path, 0)}
    threads = [threading.Thread(**arguments) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() == weight_bytes[COCO]
    assert server.paths() == [COCO]
    assert list(tmp_path.iterdir()) == [path]


def test_coco_by_name_is_downloaded_once(known, server, tmp_path):
    path = known_weights.resolve_weights("COCO", verbose=0)
    assert path == str(tmp_path / "cache" / "mask_rcnn_coco.h5")
    assert known_weights.resolve_weights("coco", verbose=0) == path
    assert server.paths() == [COCO]


def test_cache_is_in_the_home_folder_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("MRCNN_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert known_weights.cache_dir() == tmp_path / ".mrcnn"


def test_imagenet_lies_where_keras_keeps_it(known, server, weight_bytes, tmp_path):
    path = known_weights.get_imagenet_weights(verbose=0)
    assert path == str(tmp_path / "keras" / "models" / "resnet50_notop.h5")
    assert known_weights.resolve_weights("imagenet", verbose=0) == path
    assert server.paths() == [IMAGENET]
    Path(path).write_bytes(b"half of it")
    known_weights.get_imagenet_weights(verbose=0)
    assert Path(path).read_bytes() == weight_bytes[IMAGENET]


def test_paths_stay_paths(known, tmp_path, monkeypatch):
    path = tmp_path / "mask_rcnn_shapes_0001.h5"
    path.write_bytes(b"")
    assert known_weights.resolve_weights(path) == str(path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert known_weights.resolve_weights(f"~/{path.name}") == str(path)


def test_unknown_name_lists_the_known_ones(known):
    with pytest.raises(FileNotFoundError, match=r"not found: cocoo \(.*: coco, imagenet, small\)"):
        known_weights.resolve_weights("cocoo")


def test_names_of_refiners_are_apart_from_those_of_models(known, tmp_path, monkeypatch):
    monkeypatch.setattr(known_weights, "WEIGHT_FOLDERS", (tmp_path,))
    (tmp_path / "bike.h5").write_bytes(b"")
    assert known_weights.resolve_weights("Bike", kind="refiner") == str(tmp_path / "bike.h5")
    with pytest.raises(FileNotFoundError, match=r"^weight file not found: bike "):
        known_weights.resolve_weights("bike")
    with pytest.raises(FileNotFoundError, match=r"^refiner not found: small \(.*: bike\)"):
        known_weights.resolve_weights("small", kind="refiner")


@pytest.mark.parametrize("folder", [0, 1])
def test_small_comes_with_the_package(known, tmp_path, monkeypatch, folder):
    folders = (tmp_path / "_weights", tmp_path / "weights")
    monkeypatch.setattr(known_weights, "WEIGHT_FOLDERS", folders)
    with pytest.raises(FileNotFoundError, match=r"mask_rcnn_small\.h5, which comes with mrcnn"):
        known_weights.resolve_weights("small")
    folders[folder].mkdir()
    (folders[folder] / "mask_rcnn_small.h5").write_bytes(b"")
    assert known_weights.resolve_weights("small") == str(folders[folder] / "mask_rcnn_small.h5")


def test_manifest_file_is_tidy():
    path = known_weights.PACKAGE.parent / "weights" / "manifest.json"
    if not path.is_file():
        pytest.skip("not a source checkout")
    entries = json.loads(path.read_text(encoding="utf-8"))
    for name, entry in entries.items():
        described = {f for f in known_weights.KnownWeights.__dataclass_fields__ if f != "name"}
        assert set(entry) == described, name
        assert {len(entry["md5"] or "0" * 32), len(entry["sha256"] or "0" * 64)} == {32, 64}


def test_importing_is_light():
    code = "import sys, mrcnn.checkpoints.known; print({'h5py', 'numpy', 'tqdm'} & {*sys.modules})"
    env = {**os.environ, "PYTHONPATH": str(known_weights.PACKAGE.parent)}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert out.stdout.strip() == "set()", out.stderr


def test_a_log_folder_means_its_best_weights_or_the_last(tmp_path, capsys):
    with pytest.raises(FileNotFoundError):
        known_weights.resolve_weights(tmp_path / "none")
    assert known_weights.resolve_weights(tmp_path) == str(tmp_path)  # no log folder
    for name in ("mask_rcnn_a_0009.h5", "mask_rcnn_a_0010.h5", "mask_rcnn_a.h5", "notes.txt"):
        (tmp_path / name).touch()
    assert known_weights.resolve_weights(tmp_path) == str(tmp_path / "mask_rcnn_a_0010.h5")
    (tmp_path / "best.h5").touch()
    assert known_weights.resolve_weights(str(tmp_path)) == str(tmp_path / "best.h5")
    assert capsys.readouterr().err.splitlines() == [
        f"Weights of the log folder {tmp_path}: {name}"
        for name in ("mask_rcnn_a_0010.h5", "best.h5")
    ]
