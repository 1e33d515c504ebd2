"""Print the requirements of this project for a machine without GPU and without screen.

`make` installs these lines and then the project itself with `--no-deps`. Two packages differ from
what `pip install .` would choose:

- `tensorflow` becomes `tensorflow-cpu` where that exists: half the download.
- `imgaug` requires `opencv-python`, whose files overwrite those of `opencv-python-headless` and
  need libGL. Only its other requirements are printed; the caller installs imgaug with `--no-deps`.

Usage:
    python tools/requirements.py [--oldest] [EXTRA ...]
"""

from __future__ import annotations

import argparse
import platform
import re
import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib

HAS_TENSORFLOW_CPU = platform.machine().lower() in {"x86_64", "amd64"} and sys.platform != "darwin"
IMGAUG_NEEDS = ["imageio", "shapely", "six"]


def requirements(pyproject: Path, extras: list[str], oldest: bool = False) -> list[str]:
    """Return the requirement lines of a project and its extras, with the two changes above.

    Args:
        pyproject: the project's pyproject.toml.
        extras: names of extras.
        oldest: require exactly the lower bound of every package ("==" in the place of ">=").
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    result = []
    for line in lines:
        name = re.split(r"[<>=!~\[; ]", line, maxsplit=1)[0]
        if name == "tensorflow" and HAS_TENSORFLOW_CPU:
            line = "tensorflow-cpu" + line[len(name) :]
        result += IMGAUG_NEEDS if name == "imgaug" else [lower_bound(line) if oldest else line]
    return result


def lower_bound(line: str) -> str:
    """Return the requirement of exactly the lower bound of a requirement: "a>=1,<2" to "a==1".

    Raises:
        ValueError: the requirement has no lower bound.
    """
    match = re.fullmatch(r"([\w.\-\[\]]+)\s*>=\s*([\w.]+)\s*(?:,[^;]*)?(;.*)?", line)
    if match is None:
        raise ValueError(f"requirement is {line!r}; it must have a lower bound, as in 'name>=1.2'")
    name, version, marker = match.groups()
    return f"{name}=={version}{marker or ''}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--oldest", action="store_true", help="pin every lower bound")
    parser.add_argument("extras", nargs="*", metavar="EXTRA")
    options = parser.parse_args()
    root = Path(__file__).resolve().parents[1]
    print("\n".join(requirements(root / "pyproject.toml", options.extras, options.oldest)))
