"""Memory and seconds of an epoch of loading, by number of images and of threads.

    python benchmarks/large_dataset.py FOLDER [--images 1000 100000] [--workers 2 8]

Writes COCO datasets of small JPEG images (hard links of one file) with two polygons each to FOLDER,
and loads every image once, as `MaskRCNN.train` does: `TrainingBatches` in threads, through Keras'
`fit`, with a model that computes nothing. Each row is a process of its own. Prints the resident
memory in MB before the dataset is opened, with it open, and after a tenth, half and all of the
epoch: what depends on the number of images, and whether memory grows while they are read. "CPU ms"
is the CPU time for each image, of all threads, which depends less on other work than "epoch s".

Network input 64 x 64, batches of 8. --epoch-images ends the epoch earlier. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from measures import machine

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

WIDTH, HEIGHT, BATCH = 80, 60, 8
# A file system may limit the links to one file: ext4 to 65,000.
LINKS = 10_000


def main() -> None:
    """Make the datasets and print a row for each of them and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--epoch-images", type=int, help="images of the epoch; all if not given")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    arguments = parser.parse_args()
    report: dict[str, Any] = {"machine": machine(os.cpu_count()), "rows": []}
    print(json.dumps(report["machine"]))
    columns = ("images", "workers", "start MB", "open MB", "10 %", "50 %", "100 %", "open s")
    print("".join(f"{name:>10}" for name in (*columns, "epoch s", "CPU ms")))
    context = multiprocessing.get_context("spawn")
    for count in arguments.images:
        folder = arguments.folder / f"images{count}"
        write_dataset(folder, count)
        for workers in arguments.workers:
            here, there = context.Pipe(duplex=False)
            options = (there, str(folder), min(arguments.epoch_images or count, count), workers)
            process = context.Process(target=load_epoch, args=options)
            process.start()
            there.close()
            row = {"images": count, "workers": workers, **here.recv()}
            process.join()
            report["rows"].append(row)
            print_row(row)
    report["machine"]["load_at_the_end"] = os.getloadavg()[0]
    print(f"load average at the end {report['machine']['load_at_the_end']:.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def write_dataset(folder: Path, count: int) -> None:
    """Write a COCO dataset of `count` images, unless it is there."""
    import cv2

    annotations = folder / "annotations.json"
    if annotations.exists():
        return
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    noise = np.random.RandomState(0).randint(0, 256, (HEIGHT // 4, WIDTH // 4, 3), np.uint8)
    _, jpeg = cv2.imencode(".jpg", cv2.resize(noise, (WIDTH, HEIGHT)))
    content: dict[str, list[Any]] = {"images": [], "annotations": []}
    content["categories"] = [{"id": 1, "name": "box"}, {"id": 2, "name": "bag"}]
    for number in range(count):
        path = images / f"{number:07}.jpg"
        if number % LINKS == 0:
            first = path
            path.write_bytes(jpeg.tobytes())
        elif not path.exists():
            os.link(first, path)
        content["images"].append(
            {"id": number, "file_name": path.name, "width": WIDTH, "height": HEIGHT}
        )
        for index in range(2):
            x, y = 5 + 40 * index, 5 + number % 20
            outline = [x, y, x + 30, y, x + 30, y + 30, x + 15, y + 20, x, y + 30]
            content["annotations"].append(
                {
                    "id": 2 * number + index,
                    "image_id": number,
                    "category_id": 1 + index,
                    "segmentation": [outline],
                    "bbox": [x, y, 30, 30],
                    "area": 750,
                    "iscrowd": 0,
                }
            )
    annotations.write_text(json.dumps(content))


def load_epoch(pipe, folder, epoch_images, workers) -> None:
    """Load an epoch in this process and send memory and seconds."""
    os.environ.update(MRCNN_QUIET="1", TF_CPP_MIN_LOG_LEVEL="3")
    from mrcnn.startup.backend import import_backend

    import_backend()
    import keras

    from mrcnn.config import Config
    from mrcnn.datasets import open_dataset
    from mrcnn.loading.batches import TrainingBatches

    class Reader(keras.Model):
        """A model that takes batches and computes nothing."""

        def train_step(self, data):
            return {"loss": keras.ops.zeros(())}

    class Watch(keras.callbacks.Callback):
        """Record the memory after parts of the epoch."""

        def on_train_batch_end(self, batch, logs=None):
            if batch + 1 in (steps // 10, steps // 2, steps):
                memory.append(resident_mb())

    memory = [resident_mb()]
    begun = time.perf_counter()
    dataset = open_dataset(folder)
    open_seconds = time.perf_counter() - begun
    memory.append(resident_mb())
    config = Config()
    config.NUM_CLASSES = dataset.num_classes
    config.IMAGE_MIN_DIM = config.IMAGE_MAX_DIM = 64
    config.RPN_ANCHOR_SCALES = (4, 8, 16, 32, 64)
    config.MAX_GT_INSTANCES, config.MINI_MASK_SHAPE = 10, (28, 28)
    steps = epoch_images // BATCH
    batches = TrainingBatches(
        dataset, config, batch_size=BATCH, steps=steps, seed=0, workers=workers
    )
    model = Reader()
    model.compile(jit_compile=False)
    begun, cpu_begun = time.perf_counter(), time.process_time()
    model.fit(batches, shuffle=False, verbose=0, callbacks=[Watch()])
    seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu_begun
    row = {"memory_mb": memory, "open_seconds": open_seconds, "epoch_seconds": seconds}
    pipe.send({**row, "cpu_ms_per_image": 1e3 * cpu_seconds / (steps * BATCH)})


def resident_mb() -> float:
    """Return the resident memory of this process in megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def print_row(row) -> None:
    """Print the figures of a process."""
    cells = [f"{row['images']}", f"{row['workers']}", *(f"{mb:.0f}" for mb in row["memory_mb"])]
    cells += [f"{row['open_seconds']:.1f}", f"{row['epoch_seconds']:.1f}"]
    print("".join(f"{cell:>10}" for cell in (*cells, f"{row['cpu_ms_per_image']:.2f}")), flush=True)


if __name__ == "__main__":
    main()
