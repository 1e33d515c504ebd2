"""Files, folders and patterns; results that overwrite nothing."""

from pathlib import Path

import pytest

from mrcnn.cli.image_paths import find_images, image_numbers, plan_outputs


@pytest.fixture
def folder(tmp_path):
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.jpg", "sub/c.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["."], ["a.png", "b.JPG"]),
        (["a.png"], ["a.png"]),
        (["notes.txt"], ["notes.txt"]),
        (["*.png"], ["a.png"]),
        (["**/*.jpg"], ["sub/c.jpg"]),
        (["b.JPG", ".", "sub"], ["b.JPG", "a.png", "sub/c.jpg"]),
    ],
    ids=["folder", "file", "named file", "pattern", "deep pattern", "each once"],
)
def test_find_images(folder, words, expected):
    found = find_images([str(folder / word) for word in words])
    assert found == [folder / name for name in expected]


@pytest.mark.parametrize("word", ["none.jpg", "*.gif", "empty"])
def test_words_that_stand_for_nothing_are_refused(folder, word):
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no such file or folder|without images"):
        find_images([str(folder / "a.png"), str(folder / word)])


def test_plan_outputs_numbers_equal_names():
    images = [Path("x/a.jpg"), Path("y/a.png"), Path("z/a.bmp"), Path("b.jpg")]
    planned = plan_outputs(images, Path("out"))
    assert [p.name for p in planned] == ["a.jpg", "a_2.jpg", "a_3.jpg", "b.jpg"]


def test_plan_outputs_never_overwrites_an_image():
    images = [Path("p/a.jpg"), Path("p/a.png"), Path("p/a_2.jpg"), Path("p/b.png")]
    planned = plan_outputs(images, Path("p"))
    assert not set(planned) & set(images)
    assert len(set(planned)) == 4
    assert planned[0] == Path("p/a_instances.jpg")
    assert planned[3] == Path("p/b.jpg")


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["000000397133.jpg", "7.jpg"], [397133, 7]),
        (["7.jpg", "x/007.jpg"], [1, 2]),
        (["7.jpg", "a.jpg"], [1, 2]),
    ],
    ids=["numbers", "equal numbers", "names"],
)
def test_image_numbers(names, numbers):
    assert image_numbers([Path(name) for name in names]) == numbers
