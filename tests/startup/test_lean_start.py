"""A command's process starts without what no command uses; everybody else's stays as it is."""

import gc
import subprocess
import sys

import pytest

from mrcnn.startup import lean_start
from mrcnn.startup.lean_start import without_packages


def test_packages_are_hidden_and_come_back(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with without_packages(["colorsys", "no_such_package"]):
        with pytest.raises(ImportError):
            import colorsys
        with pytest.raises(ImportError):
            from colorsys import rgb_to_hsv  # noqa: F401
    import colorsys

    assert colorsys.rgb_to_hsv(0, 0, 0) == (0, 0, 0)
    assert "no_such_package" not in sys.modules


def test_a_package_that_is_loaded_already_stays():
    with without_packages(["pytest"]):
        import pytest as same

    assert same is pytest is sys.modules["pytest"]


def test_packages_come_back_after_an_error():
    with pytest.raises(RuntimeError), without_packages(["no_such_package"]):
        raise RuntimeError
    assert "no_such_package" not in sys.modules


def test_a_process_that_has_keras_stays_as_it_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", sys)
    monkeypatch.setattr(gc, "freeze", lambda: pytest.fail("frozen"))
    lean_start.start_backend()


@pytest.mark.slow
def test_a_command_imports_keras_without_the_packages_it_never_uses():
    program = (
        "import gc, sys\n"
        "from mrcnn.startup.lean_start import UNUSED_PACKAGES, start_backend\n"
        "start_backend()\n"
        "print('keras' in sys.modules, [n for n in UNUSED_PACKAGES if n in sys.modules],"
        " gc.isenabled(), gc.get_freeze_count() > 100_000)\n"
        "import logging\n"
        "logging.getLogger('tensorflow').warning('5 calls triggered tf.function retracing')\n"
        "logging.getLogger('tensorflow').warning('something else')\n"
        "import mrcnn.model, matplotlib\n"
        "print(matplotlib is sys.modules['matplotlib'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["True [] True True", "True"]
    assert "something else" in done.stderr and "retracing" not in done.stderr
