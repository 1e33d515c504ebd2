"""The command as a whole: quick, quiet, and one clear line for an error."""

import os
import subprocess
import sys
import warnings

import pytest

from mrcnn.cli import terminal

HEAVY = ("tensorflow", "keras", "numpy", "scipy", "matplotlib", "skimage", "cv2", "pycocotools")


@pytest.mark.parametrize("words", [["--help"], ["detect", "--help"], ["train", "--help"]])
def test_help_imports_nothing_heavy(words):
    code = (
        "import sys\nfrom mrcnn.cli import main\n"
        f"try: main({words!r})\n"
        f"except SystemExit: print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    begun = _seconds_of_children()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"
    # Half a second; work done, not time passed, which is long on a busy machine.
    assert _seconds_of_children() - begun < 5


def _seconds_of_children():
    times = os.times()
    return times.children_user + times.children_system


def test_help_lists_the_verbs(run):
    code, out, _ = run("--help")
    assert code == 0
    verbs = ("detect", "demo", "train", "evaluate", "export", "check", "info", "serve", "download")
    for verb in verbs:
        assert f" {verb} " in out


def test_version(run):
    from mrcnn import __version__

    assert run("--version") == (0, f"mrcnn {__version__}\n", "")


def test_python_m_mrcnn_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "mrcnn", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("mrcnn 3")


def test_an_error_is_one_line_and_exit_code_2(run):
    code, out, err = run("check", "/no/such/folder")
    assert (code, out) == (2, "")
    assert err == "mrcnn: error: path is '/no/such/folder': no such file or folder\n"


def test_a_warning_is_one_line_without_a_place_in_the_code():
    usual, place = warnings.formatwarning, ("typer/main.py", 1445)
    with terminal.plain_warnings():
        found = warnings.formatwarning("a\x1b: low", UserWarning, *place)
        assert found == "mrcnn: warning: a\\x1b: low\n"
        assert "main.py:1445: RuntimeWarn" in warnings.formatwarning("b", RuntimeWarning, *place)
    assert warnings.formatwarning is usual


def test_debug_shows_the_traceback_wherever_it_stands():
    from mrcnn.cli import main

    for words in (["--debug", "check", "/no/such"], ["check", "/no/such", "--debug"]):
        with pytest.raises(FileNotFoundError):
            main(words)


def test_an_unexpected_error_is_named(run, monkeypatch):
    def broken(*_, **__):
        raise KeyError("x")

    monkeypatch.setattr("mrcnn.datasets.registry.find_dataset", broken)
    code, _, err = run("check", ".", "--subset", "train")
    assert code == 2
    assert err == "mrcnn: error: KeyError: 'x' (run again with --debug to see where)\n"


def test_a_wrong_option_is_a_usage_error(run):
    code, _, err = run("detect", "x.jpg", "--min-confidence", "7")
    assert code == 2
    assert "min-confidence" in err


@pytest.mark.parametrize(
    "words",
    [[], *(line.split() for line in ("train", "info", "download", "download open-images", "demo",
                                     "detect", "evaluate", "check"))],
)  # fmt: skip
def test_no_flag_looks_as_if_it_took_a_value(run, words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    code, out, _ = run(*words, "--help")
    assert code == 0 and "--help" in out and "<bool>" not in out and "BOOLEAN" not in out
    if words and words[0] in ("info", "download", "demo"):
        assert "Example: mrcnn" in out


def test_an_export_says_that_it_takes_long_before_it_begins(run, monkeypatch, tmp_path):
    def stop(*_):
        raise ValueError("the slow part")

    monkeypatch.setattr("mrcnn.cli.options.load_model", stop)
    monkeypatch.setattr("mrcnn.exports.formats.ExportFormat.check_packages", lambda self: None)
    path = tmp_path / "street.onnx"
    code, out, err = run("export", "small", "--output", path)
    assert code == 2 and "the slow part" in err
    line = f"Writing  {path}, and comparing it with mrcnn detect: a minute or more"
    assert out.splitlines()[-1] == line
