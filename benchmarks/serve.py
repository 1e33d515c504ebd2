"""`mrcnn serve` under load: time of an answer, 20 and 40 uploads at once, refusals, memory.

    python benchmarks/serve.py --requests 2000

A server with the small model runs in a process of its own on the cores that this process may use.
The photograph is the middle of scikit-image's motorcycle (640 x 480 pixels, a JPEG of 0.15 MB).
Times are those of a client on the same machine, from the first byte of the upload to the last byte
of the answer. Memory is the server's resident size, as /metrics states it, after each tenth of the
requests; with `--fake` those requests go to a server whose model finds two rectangles, so that they
measure the service alone. Where Chromium is installed, the time from choosing the file to the masks
on the page is measured too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measures import machine

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# The server takes 32 at a time: of 40, it refuses some.
TOGETHER = (20, 40)
SEQUENTIAL = 20
CLIENTS = 8


def main() -> None:
    """Start the server and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=2000, help="for the figure of memory")
    parser.add_argument("--fake", action="store_true", help="measure memory without a network")
    parser.add_argument("--options", nargs="*", default=[], help="of mrcnn serve")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(machine(cores or 1), flush=True)
    data = photograph()
    with server("mrcnn", "--weights", "small", *arguments.options) as address:
        upload(address, data)
        seconds = [upload(address, data)[1] for _ in range(SEQUENTIAL)]
        print(f"one at a time    {summary(seconds)}", flush=True)
        for number in TOGETHER:
            measure_together(address, data, number)
        measure_page(address, data)
        measure_refusals(address)
        if not arguments.fake:
            measure_memory(address, data, arguments.requests)
    if arguments.fake:
        with tempfile.TemporaryDirectory() as folder:
            weights = fake_weights(Path(folder))
            with server("tests.service.fakes", "--weights", weights) as address:
                measure_memory(address, data, arguments.requests)


def photograph() -> bytes:
    """Return the middle of the motorcycle, 640 x 480 pixels, as a JPEG file."""
    import cv2
    import skimage.data

    image = cv2.imread(str(Path(skimage.data.__file__).with_name("motorcycle_left.png")))
    top, left = (image.shape[0] - 480) // 2, (image.shape[1] - 640) // 2
    return cv2.imencode(".jpg", image[top : top + 480, left : left + 640])[1].tobytes()


def fake_weights(folder: Path) -> str:
    """Write the description of a model that finds nothing by itself."""
    from tests.fake_model import describe
    from tests.weight_files import write_weight_file

    path = folder / "pets.h5"
    write_weight_file(path)
    describe(path.with_suffix(".json"))
    return str(path)


@contextlib.contextmanager
def server(module: str, *words: str) -> Iterator[str]:
    """Run `mrcnn serve` on a free port; yields the address of the page."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, "serve", "--port", "0", "--upload-timeout", "2", *words],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        for line in process.stdout or ():
            if match := re.match(r"Serving +(\S+)", line):
                yield match[1]
                break
        else:
            raise SystemExit("the server has not started")
    finally:
        process.terminate()
        process.wait()


def upload(address: str, data: bytes, query: str = "") -> tuple[int, float, str]:
    """Return status, seconds and text of one upload."""
    begun = time.perf_counter()
    try:
        with urllib.request.urlopen(f"{address}detect{query}", data, timeout=120) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    return status, time.perf_counter() - begun, text


def summary(seconds: list[float]) -> str:
    """Return median and maximum."""
    return f"median {statistics.median(seconds):.2f} s, longest {max(seconds):.2f} s"


def measure_together(address: str, data: bytes, number: int) -> None:
    """Print how uploads that arrive at the same time are answered."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(number) as pool:
        answers = list(pool.map(lambda _: upload(address, data), range(number)))
    seconds = time.perf_counter() - begun
    statuses = dict(Counter(status for status, _, _ in answers))
    print(
        f"{number} at once       statuses {statuses}, all in {seconds:.2f} s, those with 200: "
        + summary([each for status, each, _ in answers if status == 200]),
        flush=True,
    )
    refused = Counter((status, text) for status, _, text in answers if status != 200)
    for (status, text), count in refused.items():
        print(f"    {count} times {status}: {text}", flush=True)


def measure_page(address: str, data: bytes) -> None:
    """Print the time from choosing a file to its masks on the page."""
    from tests.service.chromium import Chromium, find_chromium

    program = find_chromium()
    if program is None:
        print("page             Chromium is not installed")
        return
    seconds = []
    with tempfile.TemporaryDirectory() as folder, Chromium(program, folder) as browser:
        path = Path(folder, "photograph.jpg")
        path.write_bytes(data)
        for _ in range(5):
            browser.open(address)
            begun = time.perf_counter()
            browser.choose_file(path)
            browser.wait("document.querySelector('#objects button')")
            seconds.append(time.perf_counter() - begun)
    print(f"page             {summary(seconds)}", flush=True)


def measure_refusals(address: str) -> None:
    """Print how bad uploads are answered."""
    from tests.service.fakes import png_of_size, zip_file

    slow = socket.create_connection(("127.0.0.1", int(address.rstrip("/").rsplit(":", 1)[1])))
    slow.sendall(b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n123")
    cases = {
        "200 megapixels": png_of_size(20_000, 10_000),
        "zip as .jpg": zip_file(),
        "30 MB": b"\0" * 30_000_000,
    }
    for name, data in cases.items():
        status, seconds, text = upload(address, data)
        print(f"{name:16} {status} after {seconds * 1e3:.0f} ms: {text}")
    begun = time.perf_counter()
    received = b""
    while part := slow.recv(4096):
        received += part
    head, _, text = received.decode().partition("\r\n\r\n")
    seconds = time.perf_counter() - begun
    print(f"slow client      {head.split()[1]} after {seconds:.1f} s: {text}", flush=True)


def measure_memory(address: str, data: bytes, count: int) -> None:
    """Print the server's memory after each tenth of many uploads."""
    sizes, statuses, part = [], Counter[int](), max(1, count // 10)
    begun = time.perf_counter()
    for _ in range(10):
        with ThreadPoolExecutor(CLIENTS) as pool:
            statuses.update(pool.map(lambda _: upload(address, data)[0], range(part)))
        with urllib.request.urlopen(f"{address}metrics") as answer:
            text = answer.read().decode()
        sizes.append(float(re.search(r"^process_resident_memory_bytes (\S+)", text, re.M)[1]))
    rate = sum(statuses.values()) / (time.perf_counter() - begun)
    print(
        f"memory           {', '.join(f'{size / 2**20:.0f}' for size in sizes)} MB after each "
        f"{part} requests; statuses {dict(statuses)}, {rate:.1f} a second"
    )


if __name__ == "__main__":
    main()
