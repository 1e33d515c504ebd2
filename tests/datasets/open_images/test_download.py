"""The Open Images download: what it fetches, and that a cut run ends like an uncut one."""

import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mrcnn.cli import main
from mrcnn.datasets.open_images import archives, download, tables
from mrcnn.datasets.open_images.archives import DamagedMemberError, extract_members
from mrcnn.datasets.open_images.download import download_open_images
from mrcnn.datasets.open_images.reader import OpenImagesDataset
from mrcnn.files import fetch as fetching
from mrcnn.files.fetch import ChecksumError, FetchError
from tests.datasets.open_images.fake_site import DIGITS, IMAGES, make_archive, make_site, png
from tests.local_server import Fault, LocalServer

SITE = make_site()
MOTORCYCLE = "/m/04_sv"


@pytest.fixture
def server():
    with LocalServer(SITE) as running:
        yield running


def run(server, folder, classes=("Motorcycle",), splits=("validation", "test"), **options):
    settings = {"workers": 4, "timeout": 5.0, "backoff": 0.001, **options}
    return download_open_images(
        folder,
        classes,
        splits,
        base_url=server.url(),
        image_base_url=server.url(IMAGES),
        **settings,
    )


def tree(folder):
    """Every file below a folder: name -> content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def wanted_masks(split, class_id=MOTORCYCLE, files=SITE):
    """Names of the masks of a class, straight from the text of the table."""
    lines = files[tables.MASK_TABLES[split]].decode().splitlines()[1:]
    return {line.split(",")[0] for line in lines if f",{class_id}," in line}


def expected_tree(splits, class_id=MOTORCYCLE):
    """What must lie in the folder, without the manifest."""
    names = [tables.CLASS_TABLE, tables.MASK_CLASSES]
    names += [
        table[split] for split in splits for table in (tables.MASK_TABLES, tables.IMAGE_TABLES)
    ]
    result = {f"tables/{name.split('/')[-1]}": SITE[name] for name in names}
    result["classes.csv"] = b'/m/04_sv,"Motorcycle"\n'
    for split in splits:
        for name in wanted_masks(split, class_id):
            archive = zipfile.ZipFile(
                io.BytesIO(SITE[f"v5/{split}-masks/{split}-masks-{name[0]}.zip"])
            )
            result[f"masks/{split}/{name}"] = archive.read(name)
            image = f"{split}/{name[:16]}.jpg"
            result[f"images/{image}"] = SITE[f"{IMAGES}/{image}"]
    return result


def test_fetches_what_is_needed_and_nothing_else(server, tmp_path):
    report = run(server, tmp_path / "out")
    files = tree(tmp_path / "out")
    manifest = [json.loads(line) for line in files.pop("manifest.jsonl").decode().splitlines()]
    expected = expected_tree(("validation", "test"))
    assert files == expected
    assert report.failures == report.absent == []
    assert report.masks == {split: len(wanted_masks(split)) for split in ("validation", "test")}
    for split, count in report.images.items():
        assert count == len({name[:16] for name in wanted_masks(split)})
    # One request per file; images and archives of other classes are not asked for.
    paths = server.paths()
    assert len(paths) == len(set(paths))
    archives = {p for p in paths if p.endswith(".zip")}
    assert archives == {
        f"v5/{split}-masks/{split}-masks-{name[0]}.zip"
        for split in ("validation", "test")
        for name in wanted_masks(split)
    }
    pictures = {name for name in files if name.startswith("images/")}
    assert {p for p in paths if p.endswith(".jpg")} == pictures
    assert report.transferred == sum(len(SITE[path]) for path in paths)
    # Nothing left its folder, and the manifest names each table and image once.
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out"]
    assert not Path("/tmp/escaped_absolute.png").exists()
    assert [record["path"] for record in manifest] == sorted(
        name for name in files if name.startswith(("images/", "tables/"))
    )
    assert all(record["size"] == len(files[record["path"]]) for record in manifest)


def test_finished_folder_needs_no_request(server, tmp_path):
    run(server, tmp_path)
    before, requests = tree(tmp_path), len(server.log)
    assert run(server, tmp_path).transferred == 0
    assert len(server.log) == requests
    assert tree(tmp_path) == before


def test_another_class_fetches_only_what_is_new(server, tmp_path):
    run(server, tmp_path, ["Motorcycle"])
    first = server.paths()
    run(server, tmp_path, ["car"])
    second = server.paths()[len(first) :]
    assert not {p for p in second if not p.endswith(".zip")} & set(first)
    assert (tmp_path / "classes.csv").read_text() == '/m/04_sv,"Motorcycle"\n/m/0k4j,"Car"\n'
    assert OpenImagesDataset.from_path(tmp_path, "test").class_names == ["BG", "Motorcycle", "Car"]


def test_damaged_or_deleted_files_come_back(server, tmp_path):
    run(server, tmp_path)
    before = tree(tmp_path)
    pictures = sorted((tmp_path / "images/test").iterdir())
    masks = sorted((tmp_path / "masks/test").iterdir())
    pictures[0].write_bytes(b"short")
    pictures[1].unlink()
    masks[0].unlink()
    masks[1].write_bytes(b"")
    run(server, tmp_path)
    assert tree(tmp_path) == before


# Cuts


class Cut(BaseException):
    """Ends a run where a killed process would have ended."""


class Cutter:
    """Raises Cut at the n-th of the moments at which the folder or the network changes."""

    def __init__(self, monkeypatch):
        self.left = None
        self._lock = threading.Lock()
        for owner, name in (
            (fetching.Answer, "read"),
            (fetching._PartFile, "restart"),
            (fetching._PartFile, "finish"),
            (os, "replace"),
            (download.Manifest, "add"),
            (download.Manifest, "compact"),
            (download, "extract_members"),
            (Path, "unlink"),
        ):
            monkeypatch.setattr(owner, name, self._around(getattr(owner, name)))

    def _around(self, function):
        def counted(*args, **kwargs):
            self._moment()
            result = function(*args, **kwargs)
            self._moment()
            return result

        return counted

    def _moment(self):
        with self._lock:
            if self.left is None:
                return
            self.left -= 1
            if self.left < 0:
                raise Cut


def finished_files(folder):
    """Inode and time of every file under its final name; the lists are written again."""
    return {
        path: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
        and ".part" not in path.name
        and not path.name.startswith(".tmp-")
        and path.name not in ("manifest.jsonl", "classes.csv")
    }


def address(folder, path):
    """The server's path of a table, image or archive in the folder."""
    kind, *rest = path.relative_to(folder).parts
    if kind == "tables":
        return next(name for name in SITE if name.endswith("/" + rest[0]))
    split = rest[0].split("-")[0]
    return f"v5/{split}-masks/{rest[0]}" if kind == "archives" else "/".join((kind, *rest))


def random_faults(rng):
    """One request in four is dropped in its body, refused for now, reset or damaged."""

    def fault(method, path, number):
        kind = rng.randrange(16)
        if kind == 0:
            return Fault(status=rng.choice((429, 500, 503)))
        if kind == 1 and method == "GET":
            return Fault(corrupt=True)
        if kind < 4:
            return Fault(drop_after=rng.randrange(1500), reset=kind == 3)
        return None

    return fault


@pytest.mark.parametrize("seed", range(30))
def test_cut_runs_end_with_the_same_files_and_none_twice(server, tmp_path, monkeypatch, seed):
    rng = random.Random(seed)
    keep = seed % 4 == 0
    server.fault = random_faults(rng)
    cutter = Cutter(monkeypatch)
    for attempt in itertools.count():
        before = finished_files(tmp_path)
        requests = len(server.log)
        # The last runs get as far as they like, for a cut may come before anything was done.
        cutter.left = rng.randrange(150) if attempt < 12 else None
        finished = False
        try:
            report = run(server, tmp_path, keep_archives=keep, workers=rng.randint(1, 6))
            finished = report.failures == []
        except (Cut, ChecksumError):  # a file may come damaged twice in a row
            pass
        cutter.left = None
        later = server.log[requests:]
        bodies = {request.path for request in later if request.sent}
        assert not bodies & {address(tmp_path, p) for p in before if "masks" != p.parts[-3]}
        after = finished_files(tmp_path)
        gone = before.keys() - after.keys()
        assert all(path.suffix == ".zip" for path in gone)
        assert all(after[path] == before[path] for path in before.keys() - gone)
        if finished:
            break
    assert attempt > 0
    files = tree(tmp_path)
    manifest = [json.loads(line)["path"] for line in files.pop("manifest.jsonl").splitlines()]
    archives = {name: files.pop(name) for name in list(files) if name.endswith(".zip")}
    assert files == expected_tree(("validation", "test"))
    assert manifest == sorted(
        name for name in [*files, *archives] if name.startswith(("images/", "tables/", "archives/"))
    )
    assert archives.keys() == (
        {
            f"archives/{split}-masks-{name[0]}.zip"
            for split in ("validation", "test")
            for name in wanted_masks(split)
        }
        if keep
        else set()
    )


COMMAND = "from mrcnn.cli import main; main()"


def start(server, folder):
    """The command in a process of its own."""
    return subprocess.Popen(
        [
            *(sys.executable, "-c", COMMAND, "download", "open-images"),
            *("--classes", "Motorcycle"),
            *("--split", "validation,test", "--output", str(folder), "--workers", "3"),
            *("--base-url", server.url(), "--image-base-url", server.url(IMAGES)),
        ],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_processes_leave_a_resumable_folder(server, tmp_path, how):
    rng = random.Random(int(how))
    cut_after = 0
    server.fault = lambda *_: time.sleep(0.01)
    for _ in range(3):
        cut_after = len(server.log) + rng.randint(3, 9)
        process = start(server, tmp_path)
        while len(server._log) < cut_after and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(how)
        stderr = process.communicate(timeout=60)[1]
        if how == signal.SIGINT and process.returncode != 0:
            assert process.returncode == 130
            assert "Run the same command again" in stderr
    process = start(server, tmp_path)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 0, stderr
    files = tree(tmp_path)
    manifest = [json.loads(line)["path"] for line in files.pop("manifest.jsonl").splitlines()]
    assert files == expected_tree(("validation", "test"))
    assert len(manifest) == len(set(manifest))


def test_half_a_manifest_line_is_dropped(server, tmp_path):
    run(server, tmp_path)
    before = tree(tmp_path)
    lines = before["manifest.jsonl"].splitlines(keepends=True)
    (tmp_path / "manifest.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    assert run(server, tmp_path).transferred == 0
    assert tree(tmp_path) == before


def test_two_downloads_do_not_share_a_folder(server, tmp_path):
    pytest.importorskip("fcntl")
    with download._lock(tmp_path), pytest.raises(BlockingIOError, match="another download"):
        run(server, tmp_path)
    run(server, tmp_path)


def test_work_in_parallel_is_bounded(server, tmp_path):
    server.fault = lambda *_: time.sleep(0.02)
    run(server, tmp_path, workers=3)
    # The server may note the end of an answer after the client has sent its next request.
    assert 3 <= server.busiest <= 6


# Choices


def test_max_images_is_a_seeded_choice(server, tmp_path):
    chosen = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        report = run(server, tmp_path / name, splits=["validation"], max_images=3, seed=seed)
        assert report.images == {"validation": 3}
        chosen[name] = sorted(os.listdir(tmp_path / name / "images/validation"))
    assert chosen["a"] == chosen["b"] != chosen["c"]
    masks = os.listdir(tmp_path / "a/masks/validation")
    assert sorted({f"{name[:16]}.jpg" for name in masks}) == chosen["a"]


def test_box_only_images(server, tmp_path):
    report = run(server, tmp_path, ["Person"], ["test"], box_only_images=True)
    assert report.images == {"test": 12} and report.masks == {"test": 0}
    assert tables.BOX_TABLES["test"] in server.paths()
    assert not [path for path in server.paths() if path.endswith(".zip")]


def test_image_table_may_be_left_out(server, tmp_path):
    run(server, tmp_path, image_table=False)
    assert not [path for path in server.paths() if "rotation" in path]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"classes": ["Motorbike"]}, "did you mean Motorcycle"),
        ({"classes": ["Person"]}, "no masks"),
        ({"classes": []}, "at least one class"),
        ({"classes": "Car"}, "must be a list"),
        ({"splits": ["val"]}, "split is 'val'"),
        ({"max_images": 0}, "max_images is 0"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_wrong_arguments_end_before_the_large_tables(server, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run(server, tmp_path, **options)
    assert set(server.paths()) <= {tables.CLASS_TABLE, tables.MASK_CLASSES}


# Servers that do not do as they should


def test_missing_picture_is_reported_and_tried_again(server, tmp_path):
    gone = f"{IMAGES}/test/{min(wanted_masks('test'))[:16]}.jpg"
    data = server.files.pop(gone)
    report = run(server, tmp_path)
    assert len(report.failures) == 1 and "404" in report.failures[0] and gone in report.failures[0]
    server.files[gone] = data
    assert run(server, tmp_path).failures == []
    assert (tmp_path / gone).read_bytes() == data


def test_gone_server_ends_the_run(tmp_path):
    site = make_site(("test",), images_per_split=80)
    site = {name: data for name, data in site.items() if not name.endswith(".jpg")}
    with LocalServer(site) as server, pytest.raises(FetchError, match="404"):
        run(server, tmp_path, splits=["test"], retries=0)
    requests = [path for path in server.paths() if path.endswith(".jpg")]
    assert download.MAX_FAILURES_IN_A_ROW <= len(requests) < 60


def test_answer_that_is_no_picture(server, tmp_path):
    name = f"{IMAGES}/test/{min(wanted_masks('test'))[:16]}.jpg"
    server.files[name] = b"<html>Please log in</html>"
    for _ in range(2):
        report = run(server, tmp_path)
        assert len(report.failures) == 1 and "not a JPEG" in report.failures[0]
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize("damage", ["not a zip", "short", "member"])
def test_damaged_archive_without_checksum(tmp_path, damage):
    digit = min(wanted_masks("test"))[0]
    name = f"v5/test-masks/test-masks-{digit}.zip"
    data = SITE[name]
    broken = {
        "not a zip": b"<html>",
        "short": data[: len(data) // 2],
        "member": data[:80] + bytes(30) + data[110:],
    }[damage]
    with LocalServer(SITE | {name: broken}, published="none") as server:
        with pytest.raises(FetchError, match="not a sound zip"):
            run(server, tmp_path, splits=["test"])
        assert server.paths().count(name) == 2
        server.files[name] = data
        run(server, tmp_path, splits=["test"])
    files = tree(tmp_path)
    del files["manifest.jsonl"]
    assert files == expected_tree(("test",))


def test_mask_the_archive_lacks_is_told_and_not_asked_for_again(server, tmp_path):
    lacking = min(wanted_masks("test"))
    address = f"v5/test-masks/test-masks-{lacking[0]}.zip"
    archive = zipfile.ZipFile(io.BytesIO(SITE[address]))
    others = {n: archive.read(n) for n in archive.namelist() if n != lacking and n[0] in DIGITS}
    server.files[address] = make_archive(others)
    for _ in range(2):
        report = run(server, tmp_path, splits=["test"])
        assert report.absent == [f"test-masks-{lacking[0]}.zip has no {lacking}"]
        assert report.masks["test"] == len(wanted_masks("test")) - 1
    assert server.paths().count(address) == 1


TEST_TABLES = {
    "class names": tables.CLASS_TABLE,
    "class ids": tables.MASK_CLASSES,
    "masks": tables.MASK_TABLES["test"],
    "boxes": tables.BOX_TABLES["test"],
    "images": tables.IMAGE_TABLES["test"],
}
LOGIN = b"<!DOCTYPE html>\n<html><body>Please log in</body></html>\n"


def half_of_lines(data):
    lines = data.splitlines(keepends=True)
    return b"".join(lines[: len(lines) // 2])


@pytest.mark.parametrize("name", TEST_TABLES)
@pytest.mark.parametrize("how", ["login", "cut in a line", "empty", "binary", "header only"])
def test_what_is_no_table_is_thrown_away(tmp_path, name, how):
    address = TEST_TABLES[name]
    data = SITE[address]
    if how == "header only" and name.startswith("class"):
        pytest.skip("it has no header")
    broken = {
        "login": LOGIN,
        "cut in a line": data[: data.rindex(b",") + 1] if b"," in data else data[:-3],
        "empty": b"",
        "binary": b"\xff\xfe\0" * 50,
        "header only": data[: data.index(b"\n") + 1],
    }[how]
    with LocalServer(SITE | {address: broken}, published="none") as server:
        with pytest.raises(FetchError, match=address.rpartition("/")[2]):
            run(server, tmp_path, splits=["test"], boxes=True)
        assert not (tmp_path / "tables" / address.rpartition("/")[2]).exists()
        server.files[address] = data
        report = run(server, tmp_path, splits=["test"], boxes=True)
    assert report.is_complete
    assert (tmp_path / "tables" / address.rpartition("/")[2]).read_bytes() == data


@pytest.mark.parametrize("name", TEST_TABLES)
def test_page_that_an_earlier_version_stored_is_fetched_again(server, tmp_path, name):
    run(server, tmp_path, splits=["test"], boxes=True)
    path = tmp_path / "tables" / TEST_TABLES[name].rpartition("/")[2]
    path.write_bytes(LOGIN)
    manifest = tmp_path / "manifest.jsonl"
    records = [json.loads(line) for line in manifest.read_text().splitlines()]
    for record in records:
        if record["path"].endswith(path.name):
            record["size"] = len(LOGIN)
    manifest.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert run(server, tmp_path, splits=["test"], boxes=True).is_complete
    assert path.read_bytes() == SITE[TEST_TABLES[name]]


@pytest.mark.parametrize("name", ["masks", "boxes", "images"])
def test_table_cut_at_the_end_of_a_line(tmp_path, name):
    address = TEST_TABLES[name]
    site = SITE | {address: half_of_lines(SITE[address])}
    with LocalServer(site, published="none") as server:
        report = run(server, tmp_path, splits=["test"], boxes=True)
        assert not report.is_complete
        assert any(
            address.rpartition("/")[2] in line and "the table is incomplete" in line
            for line in report.failures
        )
        server.files[address] = SITE[address]
        assert run(server, tmp_path, splits=["test"], boxes=True).is_complete
    files = tree(tmp_path)
    assert files.items() >= expected_tree(("test",)).items()


def test_class_table_cut_at_the_end_of_a_line(tmp_path):
    site = SITE | {tables.CLASS_TABLE: SITE[tables.CLASS_TABLE].split(b"/m/0k4j")[0]}
    with LocalServer(site, published="none") as server:
        with pytest.raises(
            FetchError, match=r"it lacks 1 of the classes with masks in .* \(/m/0k4j\)"
        ):
            run(server, tmp_path, splits=["test"])
        assert server.paths().count(tables.CLASS_TABLE) == 2
        server.files[tables.CLASS_TABLE] = SITE[tables.CLASS_TABLE]
        assert run(server, tmp_path, splits=["test"]).is_complete


def test_archive_that_lacks_masks_without_checksum(tmp_path):
    """It is fetched once more; what it lacks then is told."""
    lacking = min(wanted_masks("test"))
    address = f"v5/test-masks/test-masks-{lacking[0]}.zip"
    archive = zipfile.ZipFile(io.BytesIO(SITE[address]))
    others = {n: archive.read(n) for n in archive.namelist() if n != lacking and n[0] in DIGITS}
    with LocalServer(SITE | {address: make_archive(others)}, published="none") as server:
        report = run(server, tmp_path, splits=["test"])
        assert report.absent == [f"test-masks-{lacking[0]}.zip has no {lacking}"]
        assert report.failures == [
            f"test-masks-{lacking[0]}.zip: the archive lacks 1 masks of the table ({lacking}); the "
            "next run fetches it again"
        ]
        assert server.paths().count(address) == 2
        server.files[address] = SITE[address]
        assert run(server, tmp_path, splits=["test"]).is_complete
    assert (tmp_path / "masks" / "test" / lacking).is_file()


def test_damaged_member_is_named(tmp_path):
    name = min(wanted_masks("test"))
    address = f"v5/test-masks/test-masks-{name[0]}.zip"
    at = SITE[address].index(name.encode()) + len(name) + 20
    data = SITE[address]
    broken = data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]
    with LocalServer(SITE | {address: broken}, published="none") as server:
        with pytest.raises(FetchError, match=f"not a sound zip archive: {name}: "):
            run(server, tmp_path, splits=["test"])
        assert server.paths().count(address) == 2
        server.files[address] = data
        assert run(server, tmp_path, splits=["test"]).is_complete


@pytest.mark.parametrize(
    "column, value", [(0, "../../escaped.png"), (0, "/etc/x.png"), (1, "../x")]
)
def test_table_that_points_elsewhere_is_refused(server, tmp_path, column, value):
    lines = SITE[tables.MASK_TABLES["test"]].decode().splitlines()
    fields = lines[1].split(",")
    fields[2], fields[column] = MOTORCYCLE, value
    server.files[tables.MASK_TABLES["test"]] = "\n".join([lines[0], ",".join(fields), ""]).encode()
    with pytest.raises(ValueError, match=r"MaskPath|ImageID"):
        run(server, tmp_path / "out", splits=["test"])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out"]


# Archives


def write_archive(path, members):
    path.write_bytes(make_archive(members))


def test_extracts_by_name_only(tmp_path):
    mask = png(np.eye(4))
    write_archive(tmp_path / "a.zip", {"one.png": mask, "sub/two.png": mask})
    out = tmp_path / "out"
    out.mkdir()
    names = {"one.png", "two.png", "escaped.png"}
    assert extract_members(tmp_path / "a.zip", out, names) == names - {"one.png"}
    assert tree(out) == {"one.png": mask}


def test_damaged_members_are_named_and_the_others_unpacked(tmp_path):
    mask = png(np.eye(4))
    write_archive(tmp_path / "a.zip", {"one.png": mask, "text.png": b"no image", "two.png": mask})
    data = (tmp_path / "a.zip").read_bytes()
    at = data.index(b"one.png") + len(b"one.png") + 20
    (tmp_path / "a.zip").write_bytes(data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :])
    out = tmp_path / "out"
    out.mkdir()
    names = {"one.png", "two.png", "text.png", "link.png"}
    with pytest.raises(DamagedMemberError, match=r"text\.png: it is not a PNG file") as caught:
        extract_members(tmp_path / "a.zip", out, names)
    assert caught.value.members.keys() == {"one.png", "text.png", "link.png"}
    assert tree(out) == {"two.png": mask}


@pytest.mark.parametrize("name", ["../escaped.png", "/tmp/escaped_absolute.png", "sub/a.png", ".."])
def test_names_with_paths_are_refused(tmp_path, name):
    write_archive(tmp_path / "a.zip", {"sub/a.png": png(np.eye(4))})
    with pytest.raises(ValueError, match="plain file name"):
        extract_members(tmp_path / "a.zip", tmp_path, {name})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.zip"]


def test_oversized_member_is_not_unpacked(tmp_path, monkeypatch):
    write_archive(
        tmp_path / "a.zip", {"a.png": png(np.eye(4)), "b.png": png(np.eye(4)) + bytes(9000)}
    )
    monkeypatch.setattr(archives, "MAX_MASK_BYTES", 5000)
    with pytest.raises(DamagedMemberError, match=r"^b\.png: its size is \d+ bytes$"):
        extract_members(tmp_path / "a.zip", tmp_path, {"a.png", "b.png"})
    assert (tmp_path / "a.png").is_file() and not (tmp_path / "b.png").exists()


# The command


@pytest.fixture
def command(server, capfd):
    """Runs the command; returns its exit code, what it printed and what it complained."""

    def invoke(folder, *extra, classes="Motorcycle"):
        words = ["download", "open-images", "--classes", classes, "--output", str(folder)]
        words += ["--base-url", server.url(), "--image-base-url", server.url(IMAGES)]
        with pytest.raises(SystemExit) as ended:
            main([*words, "--retries", "1", *extra])
        return ended.value.code, *capfd.readouterr()

    return invoke


def test_command_fetches_and_tells(command, tmp_path):
    code, out, err = command(tmp_path, "--split", "validation,test", "--max-images", "2")
    assert code == 0, err
    assert "validation: 2 images" in out
    assert "test images: 2/2" in err
    assert len(OpenImagesDataset.from_path(tmp_path, "test").image_info) == 2


@pytest.mark.parametrize(
    "classes, removed, code, message",
    [
        ("Motorbike", "", 2, "did you mean"),
        ("Motorcycle", tables.MASK_TABLES["validation"], 1, "Run the same command again"),
        ("Motorcycle", ".jpg", 1, "files could not be downloaded"),
    ],
)
def test_command_fails_with_a_reason(server, command, tmp_path, classes, removed, code, message):
    if removed:
        server.files = {n: data for n, data in SITE.items() if not n.endswith(removed)}
    found, _, err = command(tmp_path, classes=classes)
    assert found == code
    assert message in err and "Traceback" not in err
