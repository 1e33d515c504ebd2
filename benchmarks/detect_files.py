"""Many images through `mrcnn detect`, killed and continued, beside a plain loop over `detect`.

    python benchmarks/detect_files.py --images 10000 --photos PHOTOS --folder /tmp/many

PHOTOS holds photographs, of which images of random sizes are cut: JPEG files with sides of 96 to
480 pixels. The command runs with the small model, without annotated images. It is killed
(SIGKILL) at random moments, `--kills` times, and started again with `--skip-existing` until it
ends. Then the records are compared with the files: every image must have exactly one.

Memory is the resident size of the process after a tenth of the images of its last start, and at
its end. Rates are of the command and of a loop `model.detect([read_image(path)])`, both under way
at the same time and stopped in turns of a few seconds (SIGSTOP), so that other work on the machine
changes both alike; the time of their start does not count. `--folder` is removed at the end unless
`--keep` is given.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from measures import machine

# Images that both programs have done before the first turn, and the length of a turn.
WARM_UP = 30
TURN_SECONDS = 4.0
# Writes a byte for each image.
LOOP = """
import sys
from pathlib import Path
from mrcnn.datasets.image_files import read_image
from mrcnn.model import MaskRCNN
model = MaskRCNN.from_weights("small")
with open(sys.argv[2], "wb", buffering=0) as done:
    for path in sorted(Path(sys.argv[1]).iterdir()):
        model.detect([read_image(path)])
        done.write(b".")
"""


def main() -> None:
    """Make the images, run the command, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--folder", type=Path, required=True, help="for images and results")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--turns", type=int, default=20, help="of command and plain loop")
    parser.add_argument("--options", nargs="*", default=["--save", "coco"], help="of the command")
    parser.add_argument("--keep", action="store_true", help="leave images and results")
    arguments = parser.parse_args()
    images, output = arguments.folder / "images", arguments.folder / "found"
    begun = time.perf_counter()
    make_images(arguments.photos, images, arguments.images)
    print(f"{arguments.images} images, made in {time.perf_counter() - begun:.0f} s", flush=True)
    print(machine(os.cpu_count() or 1), flush=True)
    command = Command(images, output, arguments.options)
    chance = random.Random(0)
    for kill in range(arguments.kills):
        share = chance.uniform(0.1, 0.3) * arguments.images
        command.start(until=int(command.records() + share))
        print(f"killed {kill + 1}: {command.records()} records", flush=True)
    command.start(until=None)
    check(images, output)
    first, last = command.memory
    print(f"memory        {first / 2**20:.0f} MB after a tenth, {last / 2**20:.0f} MB at the end")
    shutil.rmtree(output)
    rates = compare(command, images, arguments.folder / "loop", arguments.turns)
    print(f"mrcnn detect  {rates[0]:.1f} images/s")
    print(f"plain loop    {rates[1]:.1f} images/s, ratio {rates[0] / rates[1]:.2f}")
    if not arguments.keep:
        shutil.rmtree(arguments.folder)


def make_images(photos: Path, folder: Path, count: int) -> None:
    """Write crops of photographs, of random sizes and scales."""
    paths = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    if not paths:
        raise FileNotFoundError(f"photos is {photos}; it must hold JPEG or PNG files")
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"image_{number:05}.jpg"
        height, width = (int(side) for side in chance.integers(96, 480, 2))
        photo = cv2.imread(str(paths[number % len(paths)]))
        scale = max(height / photo.shape[0], width / photo.shape[1]) * chance.uniform(1, 1.5)
        photo = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        y, x = (int(chance.integers(0, max(a - b, 0) + 1)) for a, b in
                zip(photo.shape, (height, width)))  # fmt: skip
        if not path.exists():
            cv2.imwrite(str(path), photo[y : y + height, x : x + width])


def compare(command: Command, images: Path, done: Path, turns: int) -> tuple[float, float]:
    """Return images a second of the command and of a plain loop, which work in turns."""
    loop = [sys.executable, "-c", LOOP, str(images), str(done)]
    processes = [
        subprocess.Popen(words, stdout=subprocess.DEVNULL) for words in (command.words, loop)
    ]
    counts = (command.records, lambda: done.stat().st_size if done.exists() else 0)
    try:
        while min(count() for count in counts) < WARM_UP:
            time.sleep(0.5)
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        number, seconds = [0, 0], [0.0, 0.0]
        for _ in range(turns):
            for i, process in enumerate(processes):
                before, begun = counts[i](), time.perf_counter()
                process.send_signal(signal.SIGCONT)
                time.sleep(TURN_SECONDS)
                process.send_signal(signal.SIGSTOP)
                seconds[i] += time.perf_counter() - begun
                number[i] += counts[i]() - before
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return number[0] / seconds[0], number[1] / seconds[1]


class Command:
    """`mrcnn detect`, started as often as needed.

    Attributes:
        memory: resident bytes of the last start, at a tenth of its images and at its end.
    """

    def __init__(self, images: Path, output: Path, options: list[str]) -> None:
        self.log = output / "detections.jsonl"
        self.words = [sys.executable, "-m", "mrcnn", "detect", str(images), "--output", str(output)]
        self.words += ["--weights", "small", "--skip-existing", *options]
        self.total = len(list(images.iterdir()))
        self.memory = (0, 0)

    def records(self) -> int:
        """Return the number of whole records."""
        return max(self.log.read_bytes().count(b"\n") - 1, 0) if self.log.exists() else 0

    def start(self, until: int | None) -> None:
        """Run the command, and kill it when there are `until` records."""
        before = self.records()
        process = subprocess.Popen(self.words, stdout=subprocess.DEVNULL)
        status = Path(f"/proc/{process.pid}/statm")
        early = now = 0
        while process.poll() is None:
            time.sleep(0.5)
            count = self.records()
            with contextlib.suppress(OSError):  # it has just ended
                now = int(status.read_text().split()[1]) * resource.getpagesize() or now
            if not early and count >= before + (self.total - before) / 10:
                early = now
            if until is not None and count >= until:
                process.kill()
                process.wait()
                return
        if process.returncode:
            raise RuntimeError(f"mrcnn detect ended with exit code {process.returncode}")
        self.memory = early, now


def check(images: Path, output: Path) -> None:
    """Raise unless every image has exactly one record and one entry in `images.json`."""
    files = sorted(str(path.resolve()) for path in images.iterdir())
    lines = (output / "detections.jsonl").read_text().splitlines()[1:]
    records = [json.loads(line) for line in lines]
    listed = json.loads((output / "images.json").read_text())["images"]
    entries = Counter(e["image_id"] for e in json.loads((output / "detections.json").read_text()))
    expected = {record["image_id"]: len(record["objects"]) for record in records}
    if sorted(record["source"] for record in records) != files:
        raise RuntimeError("records and files differ")
    if sorted(image["source"] for image in listed) != files or len(expected) != len(files):
        raise RuntimeError("images.json and files differ")
    if any(entries[number] != count for number, count in expected.items()):
        raise RuntimeError("detections.json and records differ")
    print(f"every image has one record; {sum(entries.values())} objects", flush=True)


if __name__ == "__main__":
    main()
