"""Measure mask refinement: mean IoU before and after, by recipe, and seconds per image.

    python benchmarks/refinement.py cross DATA --recipes study default   # cross-validation
    python benchmarks/refinement.py train DATA --out refiner.h5          # one refiner
    python benchmarks/refinement.py apply REFINER DATA --out DIR         # held-out images
    python benchmarks/refinement.py pretrain COCO:train BALLOON:train ... --out start.h5
    python benchmarks/refinement.py speed REFINER                        # 1024-pixel image

DATA is a folder with `images/ID_image.jpg`, `masks/ID_mask.png` and `float_masks/ID_.jpg`
(probability x 255); `apply` does without masks. IoU is hard: both masks at 0.5, the mean over
images. REFINER is a file, or the name of a refiner that comes with the package.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mrcnn.refinement import (
    crop_pair,
    cross_validate,
    get_recipe,
    load_motorcycle_pairs,
    measure,
    open_refiner,
    pairs_from_dataset,
    summarize,
    train_refiner,
)


def print_table(results: dict[str, dict]) -> None:
    """Print one line per recipe."""
    print("| recipe | images | before | after | median before | median after | better | worse |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, row in results.items():
        print(
            f"| {name} | {row['images']} | {row['before']:.4f} | {row['after']:.4f} "
            f"| {row['median_before']:.4f} | {row['median_after']:.4f} "
            f"| {row['improved']} | {row['worsened']} |"
        )


def write_json(path: str | Path | None, content: dict) -> None:
    """Write the figures where asked for."""
    if path:
        Path(path).write_text(json.dumps(content, indent=1) + "\n")


def start_of(arguments: argparse.Namespace, recipe: str) -> dict:
    """Return where a recipe's training starts: only the "squeeze" network can be started."""
    if get_recipe(recipe).architecture != "squeeze":
        return {}
    return {"start": arguments.start, "encoder_weights": arguments.encoder}


def extra_pairs(arguments: argparse.Namespace, recipe: str) -> list:
    """Read the additional (binary) masks to train on; the study's recipe gets none."""
    if not arguments.extra or recipe == "study":
        return []
    return load_motorcycle_pairs(arguments.data, probabilities=arguments.extra, soften=0.8)


def run_cross(arguments: argparse.Namespace) -> None:
    """Cross-validate recipes by image."""
    pairs = load_motorcycle_pairs(arguments.data)
    results, details = {}, {}
    for name in arguments.recipes:
        began = time.time()

        def report(fold: int, rows: list[dict], name: str = name, began: float = began) -> None:
            part = summarize(rows)
            print(
                f"{name} fold {fold}: {part['before']:.4f} -> {part['after']:.4f} "
                f"after {time.time() - began:.0f} s",
                flush=True,
            )

        rows = cross_validate(
            pairs,
            name,
            arguments.folds,
            seed=arguments.seed,
            on_fold=report,
            extra=extra_pairs(arguments, name),
            **start_of(arguments, name),
        )
        results[name] = {**summarize(rows), "seconds": round(time.time() - began)}
        details[name] = rows
        write_json(arguments.json, {"summary": results, "images": details})
    print_table(results)


def run_train(arguments: argparse.Namespace) -> None:
    """Train one refiner on every image of the folder."""
    pairs = load_motorcycle_pairs(arguments.data) + extra_pairs(arguments, arguments.recipe)
    refiner = train_refiner(
        pairs,
        arguments.recipe,
        seed=arguments.seed,
        verbose=2,
        **start_of(arguments, arguments.recipe),
    )
    refiner.save(arguments.out)
    size = Path(arguments.out).stat().st_size / 2**20
    print(f"{arguments.out}: {size:.1f} MB, {refiner.notes}")


def general_pairs(sources: list[str], max_a_class: int, seed: int) -> list:
    """Cut every object out of any datasets: at its box, and with surroundings."""
    from mrcnn.datasets import open_dataset

    pairs, counts, rng = [], {}, np.random.default_rng(seed)
    for source in sources:
        path, _, subset = source.partition(":")
        dataset = open_dataset(path, subset=subset or None)
        for image_id in rng.permutation(dataset.image_ids):
            found = pairs_from_dataset(dataset, image_ids=[int(image_id)], min_size=48)
            _, class_ids = dataset.load_mask(int(image_id))
            for pair in found:
                name = dataset.class_names[int(class_ids[int(pair.name.split("/")[1])])]
                counts[name] = counts.get(name, 0) + 1
                if counts[name] <= max_a_class and pair.mask.sum() >= 600:
                    pairs += [crop_pair(pair), crop_pair(pair, margin=0.6)]
    return pairs


def run_pretrain(arguments: argparse.Namespace) -> None:
    """Train a class-agnostic refiner from true masks alone: a start for `train`."""
    pairs = general_pairs(arguments.sources, arguments.max_a_class, arguments.seed)
    recipe = get_recipe("default").replace(
        name="general", epochs=arguments.epochs, learning_rate=1e-3, networks=1
    )
    refiner = train_refiner(
        pairs, recipe, encoder_weights=arguments.encoder, seed=arguments.seed, verbose=2
    )
    refiner.save(arguments.out)
    print(f"{arguments.out}: {refiner.notes}")


def run_apply(arguments: argparse.Namespace) -> None:
    """Refine a folder's masks, write them, and measure where true masks are."""
    refiner, data, out = open_refiner(arguments.refiner), Path(arguments.data), Path(arguments.out)
    pairs = load_motorcycle_pairs(data, probabilities=arguments.masks, need_masks=False)
    pairs = pairs[:: 2 if arguments.every_second else 1]
    for part in ("refined_masks", "refined_float_masks"):
        (out / part).mkdir(parents=True, exist_ok=True)
    rows = []
    for pair in pairs:
        refined = refiner.refine(pair.image, pair.probability[..., None])[..., 0]
        binary = (refined >= 0.5).astype(np.uint8) * 255
        grey = np.rint(refined * 255).astype(np.uint8)
        cv2.imwrite(str(out / "refined_masks" / f"{pair.name}_mask.png"), binary)
        cv2.imwrite(str(out / "refined_float_masks" / f"{pair.name}_.png"), grey)
        if pair.mask is not None:
            rows.append(measure(pair, refined))
    print(f"{len(pairs)} masks refined, {len(rows)} of them with a true mask; in {out}")
    if not rows:
        return
    results = {"all": summarize(rows)}
    # The study's figures are over the images in which COCO's weights found a motorcycle.
    first = [row for row in rows if (data / "first_masks" / f"{row['name']}_.jpg").is_file()]
    if first and len(first) < len(rows):
        results["with a first mask"] = summarize(first)
    content = {"refiner": arguments.refiner, "summary": results, "images": rows}
    write_json(arguments.json or out / "refinement.json", content)
    print_table(results)


def run_speed(arguments: argparse.Namespace) -> None:
    """Time one object of 800 pixels in a 1024-pixel image."""
    refiner = open_refiner(arguments.refiner)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    rows, columns = np.mgrid[0:1024, 0:1024]
    distance = np.hypot(rows - 512, columns - 512)
    for count in (1, 10):
        probs = [1 / (1 + np.exp((distance - 400 + 8 * i) / 20)) for i in range(count)]
        masks = np.dstack(probs).astype(np.float32)
        refiner.refine(image, masks, precision=arguments.precision)
        began = time.perf_counter()
        for _ in range(3):
            refiner.refine(image, masks, precision=arguments.precision)
        print(f"{count} object(s): {(time.perf_counter() - began) / 3:.3f} s")


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    cross = verbs.add_parser("cross", help="cross-validate recipes by image")
    cross.add_argument("data")
    cross.add_argument("--recipes", nargs="+", default=["study", "default"])
    cross.add_argument("--folds", type=int, default=5)
    cross.set_defaults(run=run_cross)
    train = verbs.add_parser("train", help="train one refiner on all images")
    train.add_argument("data")
    train.add_argument("--recipe", default="default")
    train.add_argument("--out", required=True)
    train.set_defaults(run=run_train)
    pretrain = verbs.add_parser("pretrain", help="train a general refiner to start from")
    pretrain.add_argument("sources", nargs="+", help="datasets, PATH or PATH:SUBSET")
    pretrain.add_argument("--out", required=True)
    pretrain.add_argument("--epochs", type=int, default=16)
    pretrain.add_argument("--max-a-class", type=int, default=160, help="objects of one class")
    pretrain.set_defaults(run=run_pretrain)
    for verb in (cross, train):
        verb.add_argument("--start", help="refiner to continue from")
        verb.add_argument("--extra", help="folder of more masks of the same images (binary)")
    for verb in (cross, train, pretrain):
        verb.add_argument("--encoder", help="SqueezeNet ImageNet file")
        verb.add_argument("--seed", type=int, default=0)
    apply = verbs.add_parser("apply", help="refine a folder's masks; measure where they are known")
    apply.add_argument("refiner", help="file, or general")
    apply.add_argument("data")
    apply.add_argument("--out", required=True, help="folder for the refined masks")
    apply.add_argument(
        "--every-second",
        action="store_true",
        help="only the images that the everyday model was not trained on",
    )
    apply.add_argument("--masks", default="float_masks", help="folder of the masks to refine")
    apply.set_defaults(run=run_apply)
    for verb in (cross, apply):
        verb.add_argument("--json", help="write the figures there (apply: OUT/refinement.json)")
    speed = verbs.add_parser("speed", help="seconds for a 1024-pixel image")
    speed.add_argument("refiner")
    speed.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    speed.set_defaults(run=run_speed)
    return parser


if __name__ == "__main__":
    parsed = build_parser().parse_args()
    parsed.run(parsed)
