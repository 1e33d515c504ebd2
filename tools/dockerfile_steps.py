"""Run the steps of the Dockerfile where no Docker is: in a folder and a virtual environment.

    python tools/dockerfile_steps.py FOLDER [--shared]

Makes FOLDER with a copy of what COPY names and an environment in place of the base image, runs each
RUN line in it, starts ENTRYPOINT on a free port as the user of USER (if this process may change
users), and waits until HEALTHCHECK succeeds. Then it uploads an image, stops the server and prints
the time of each step. Absolute paths of the image, `/app`, become paths in FOLDER.

What this does not test: the base image itself, and its system packages.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import site
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# A 64 x 64 image in the PPM format.
IMAGE = b"P6 64 64 255\n" + bytes(range(256)) * 48
START_SECONDS = 180
INSTRUCTIONS = ("FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "HEALTHCHECK",
                "ENTRYPOINT")  # fmt: skip


def read_steps(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile and their arguments.

    Raises:
        ValueError: a line has an instruction that this program does not know.
    """
    steps = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, rest = line.strip().partition(" ")
        if name not in INSTRUCTIONS:
            raise ValueError(f"instruction is {name}; it must be one of {', '.join(INSTRUCTIONS)}")
        steps.append((name, rest.strip()))
    return steps


@dataclass
class Container:
    """What the steps have made so far.

    Attributes:
        root: the folder that stands for `/`.
        environment: variables of its processes.
        folder: the working folder.
        user: the number of the user; None for the one of this process.
        healthcheck: the command that tells whether it works.
        port: the port of EXPOSE.
    """

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path = Path()
    user: int | None = None
    healthcheck: list[str] = field(default_factory=list)
    port: str = ""

    def path(self, name: str) -> Path:
        """Return the place of a path of the image."""
        return self.root / name.lstrip("/") if name.startswith("/") else self.folder / name

    def run(self, instruction: str, rest: str) -> None:
        """Run one step other than FROM and ENTRYPOINT."""
        if instruction == "ENV":
            for word in shlex.split(rest):
                name, _, value = word.partition("=")
                self.environment[name] = str(self.path(value)) if value[:1] == "/" else value
        elif instruction == "WORKDIR":
            self.folder = self.path(rest)
            self.folder.mkdir(parents=True, exist_ok=True)
        elif instruction == "COPY":
            *names, target = rest.split()
            self.copy(names, self.path(target))
        elif instruction == "RUN":
            command = ["/bin/sh", "-ec", rest]
            subprocess.run(command, cwd=self.folder, env=self.environment, check=True)
        elif instruction == "USER":
            self.user = int(rest)
        elif instruction == "EXPOSE":
            self.port = rest
        elif instruction == "HEALTHCHECK":
            self.healthcheck = json.loads(rest.partition("CMD ")[2])

    def copy(self, names: list[str], target: Path) -> None:
        """Copy files, and the content of folders, from the repository."""
        for name in names:
            source = ROOT / name
            target.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, target, dirs_exist_ok=True, ignore=ignored)
            else:
                shutil.copy(source, target)

    def start(self, command: list[str]) -> subprocess.Popen[bytes]:
        """Start the server as the user of the image."""
        as_user = (
            {} if os.geteuid() or self.user is None else {"user": self.user, "group": self.user}
        )
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, **as_user)

    def is_healthy(self, port: int) -> bool:
        """Run the health check on another port than that of EXPOSE."""
        command = [word.replace(f":{self.port}/", f":{port}/") for word in self.healthcheck]
        done = subprocess.run(command, env=self.environment, stderr=subprocess.DEVNULL)
        return done.returncode == 0


def make_environment(root: Path, shared: bool) -> dict[str, str]:
    """Make a virtual environment in place of the base image; return the variables for it.

    Args:
        root: the folder of the container.
        shared: let it see the packages of this environment, so that little is downloaded.
    """
    folder = root / "python"
    venv.create(folder, with_pip=True)
    if shared:
        paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
        others = [sysconfig.get_paths()["purelib"], *site.getsitepackages()]
        Path(paths["purelib"], "shared.pth").write_text("\n".join(dict.fromkeys(others)))
    kept = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "http", "SSL", "LANG"))}
    return {**kept, "PATH": f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin"}


def free_port() -> int:
    """Return a port that no server has."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def serve(container: Container, command: list[str]) -> None:
    """Start the server, wait for its health, upload an image and stop it."""
    port = free_port()
    process = container.start([*command, "--port", str(port)])
    try:
        end = time.monotonic() + START_SECONDS
        while not container.is_healthy(port):
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit("the server does not become healthy")
            time.sleep(0.5)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/detect", IMAGE) as answer:
            print("answer:", answer.read().decode())
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=60)
    if code:
        raise SystemExit(f"the server ended with code {code}; it must end with 0 after SIGTERM")


def main() -> None:
    """Run the steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder that does not exist yet")
    parser.add_argument("--shared", action="store_true", help="use the packages of this Python")
    arguments = parser.parse_args()
    root = arguments.folder.resolve()
    root.mkdir(parents=True)
    container = Container(root, make_environment(root, arguments.shared))
    for instruction, rest in read_steps((ROOT / "Dockerfile").read_text(encoding="utf-8")):
        begun = time.monotonic()
        if instruction in ("RUN", "ENTRYPOINT"):  # the steps that take minutes
            print(f"begins    {instruction} {rest[:70]}", flush=True)
        if instruction == "ENTRYPOINT":
            serve(container, json.loads(rest))
        elif instruction != "FROM":
            container.run(instruction, rest)
        seconds = time.monotonic() - begun
        print(f"{seconds:6.1f} s  {instruction} {rest[:70]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
