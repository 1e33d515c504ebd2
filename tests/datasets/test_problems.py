"""How findings are listed."""

import pytest

from mrcnn.datasets.problems import Problem, count_problems, problem_lines
from mrcnn.files.names import counted


@pytest.mark.parametrize(
    ("number", "nouns", "text"),
    [
        (0, ("image",), "0 images"),
        (1, ("image",), "1 image"),
        (2, ("image",), "2 images"),
        (1, ("class", "classes"), "1 class"),
        (3, ("class", "classes"), "3 classes"),
    ],
)
def test_counted(number, nouns, text):
    assert counted(number, *nouns) == text


def test_numbers_of_problems():
    found = [Problem(s, "k", "m") for s in ("note", "error", "warning", "error")]
    assert count_problems(found) == "2 errors, 1 warning, 1 note"
    assert count_problems([]) == "no problem"


def test_errors_come_first_and_repetitions_are_one_line():
    found = [
        Problem("note", "negative", "no object", 0, "a.png"),
        Problem("warning", "small_box", "instance 1 is only 1x9 pixels", 1, "b.png"),
        Problem("note", "negative", "no object", 2, "c.png"),
        Problem("error", "missing_file", "the image is missing", 3, "d.png"),
        *(Problem("error", "missing_file", "the image is missing", n, f"{n}.png") for n in "567"),
    ]
    assert problem_lines(found) == [
        "error: 4 images: the image is missing (d.png, 5.png, 6.png, ...) [missing_file]",
        "warning: b.png: instance 1 is only 1x9 pixels [small_box]",
        "note: 2 images: no object (a.png, c.png) [negative]",
    ]


def test_many_lines_of_a_kind_are_cut():
    found = [Problem("error", "mask_failed", f"failed at {n}", n, f"{n}.png") for n in range(12)]
    found.append(Problem("note", "left_out", "1 annotation left out"))
    lines = problem_lines(found)
    assert lines[4:] == [
        "error: 4.png: failed at 4 [mask_failed]",
        "error: 7 more of this kind [mask_failed]",
        "note: 1 annotation left out [left_out]",
    ]


def test_names_cannot_act_on_a_terminal():
    found = [Problem("note", "negative", "no object", n, f"{n}\x1b[2J.png") for n in range(2)]
    assert problem_lines(found) == [
        r"note: 2 images: no object (0\x1b[2J.png, 1\x1b[2J.png) [negative]"
    ]
