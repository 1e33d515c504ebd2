"""The folders of the package; everything else is in pyproject.toml.

`python setup.py install` and `develop` run pip: setuptools no longer installs dependencies
reliably that way, and old versions cannot read pyproject.toml.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PIP_ARGUMENTS = {"install": [str(ROOT)], "develop": ["--editable", str(ROOT)]}

if __name__ == "__main__" and len(sys.argv) == 2 and sys.argv[1] in PIP_ARGUMENTS:
    command = [sys.executable, "-m", "pip", "install", *PIP_ARGUMENTS[sys.argv[1]]]
    print("setup.py: running", " ".join(command[1:]), flush=True)
    sys.exit(subprocess.call(command))

from setuptools import find_packages, setup  # noqa: E402

packages = find_packages(include=["mrcnn", "mrcnn.*"])
package_dir = {"mrcnn": "mrcnn"}
package_data = {"mrcnn": ["py.typed", "evaluation/templates/*", "service/page/*"]}

# The manifest of known weights and the small model are in weights/ in the repository, and in
# mrcnn/_weights once installed.
if (ROOT / "weights").is_dir():
    packages.append("mrcnn._weights")
    package_dir["mrcnn._weights"] = "weights"
    package_data["mrcnn._weights"] = ["*.json", "*.h5"]

setup(packages=packages, package_dir=package_dir, package_data=package_data)
