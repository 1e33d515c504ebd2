"""Ids and names of results: unique, never those of a source, the same in a continued run."""

from pathlib import Path

import pytest

from mrcnn.detection.result_names import image_numbers, plan_names, without_results
from mrcnn.detection.sources import Source


def sources(*paths):
    kinds = {".mp4": "video"}
    return [Source(kinds.get(Path(p).suffix, "image"), p, Path(p).name) for p in paths]


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["000000397133.jpg", "7.jpg"], [397133, 7]),
        (["7.jpg", "x/007.jpg"], [1, 2]),
        (["7.jpg", "a.jpg"], [1, 2]),
        (["9" * 16 + ".jpg", "7.jpg"], [1, 2]),
        (["0.jpg"], [0]),
        ([], []),
    ],
    ids=["numbers", "equal numbers", "names", "beyond JSON", "zero", "none"],
)
def test_image_numbers(names, numbers):
    assert image_numbers(sources(*names)) == numbers


LIST = ["/a.jpg", "/b.jpg", "/c.jpg", "/d.jpg"]


@pytest.mark.parametrize("paths", [LIST, ["/7.jpg", "/3.jpg", "/4.jpg", "/1.jpg"]])
@pytest.mark.parametrize("done", [[], [0], [1, 3], [3], [0, 1, 2, 3]])
def test_a_continued_run_gives_the_same_ids(paths, done):
    images = sources(*paths)
    whole = image_numbers(images)
    known = {images[i].place: whole[i] for i in done}
    assert image_numbers(images, known) == whole


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"/b.jpg": 1}, [2, 1, 3, 4]),
        ({"/gone.jpg": 2}, [1, 3, 4, 5]),
        ({"/gone.jpg": 1, "/c.jpg": 3}, [2, 4, 3, 5]),
    ],
)
def test_ids_stay_unique_where_the_list_has_changed(known, expected):
    assert image_numbers(sources(*LIST), known) == expected


def test_a_number_that_is_taken_is_not_given_again():
    assert image_numbers(sources("/5.jpg", "/6.jpg"), {"/x.jpg": 5}) == [1, 2]
    assert image_numbers(sources("/5.jpg", "/6.jpg"), {"/5.jpg": 1}) == [1, 2]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["x/a.jpg", "y/a.png", "z/a.bmp", "b.jpg"], ["a", "a_2", "a_3", "b"]),
        (["x/a.jpg", "y/A.jpg"], ["a", "A_2"]),
        (["a.jpg", "a.mp4"], ["a", "a_2"]),
        (["x/a_2.jpg", "x/a.jpg", "y/a.jpg"], ["a_2", "a", "a_3"]),
        (["x/" + "n" * 251 + ".png"], ["n" * 250]),
        (["x/" + "é" * 125 + "x.png"], ["é" * 125]),
        (["x/" + "é" * 127 + ".p"], ["é" * 125]),
    ],
    ids=["equal", "case", "video", "numbered", "long", "fits", "not within a letter"],
)
def test_plan_names(paths, names):
    assert plan_names(sources(*paths), Path("out")) == names


def test_results_never_overwrite_a_source():
    planned = plan_names(sources("p/a.jpg", "p/a.png", "p/a_2.jpg", "p/b.png"), Path("p"))
    assert planned == ["a_instances", "a_instances_2", "a_2_instances", "b"]
    assert plan_names(sources("p/v.mp4"), Path("p")) == ["v_instances"]


def test_names_of_a_continued_run():
    images = sources("/x/a.jpg", "/y/a.jpg", "/z/a.jpg")
    assert plan_names(images, Path("out"), {"/y/a.jpg": "a_2"}) == ["a", "a_2", "a_3"]
    assert plan_names(images, Path("out"), {"/z/a.jpg": "a"}) == ["a_2", "a_3", "a"]


def test_results_in_the_folder_of_the_images_are_no_sources():
    images = sources("/p/a.jpg", "/p/a_instances.jpg", "/p/b.jpg")
    left = without_results(images, Path("/p"), {"/p/a.jpg": "a_instances"})
    assert [s.file_name for s in left] == ["a.jpg", "b.jpg"]


def test_links_lead_to_the_same_files(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    (tmp_path / "out").symlink_to("photos")
    photo = sources(str(tmp_path / "photos" / "a.jpg"))
    assert plan_names(photo, tmp_path / "out") == ["a_instances"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.jpg").symlink_to(tmp_path / "photos" / "a.jpg")
    assert plan_names(photo, tmp_path / "other") == ["a_instances"]
    assert plan_names(sources(str(tmp_path / "other" / "a.jpg")), tmp_path / "photos") == [
        "a_instances"
    ]
    assert without_results(photo, tmp_path / "out", {"/x/a.png": "a"}) == []
