"""Small files under the names that the documentation uses, and shortened trainings."""

from __future__ import annotations

import glob
import json
import os
import sys

import cv2
import numpy as np
import pytest
import skimage.data
import tifffile

from mrcnn.datasets import ShapesDataset

SIDE = 128
CLASS_NAMES = {"square": "bottle", "circle": "cup", "triangle": "person"}


def write_photos(folder, count=10):
    """Write images with LabelMe annotations; the last one has no object."""
    folder.mkdir()
    dataset = ShapesDataset.from_path(count, height=SIDE, width=SIDE)
    for image_id in dataset.image_ids:
        stem = folder / f"photo_{image_id}"
        cv2.imwrite(f"{stem}.png", dataset.load_image(image_id)[..., ::-1])
        shapes = []
        for shape in dataset.image_info[image_id]["shapes"]:
            y1, x1, y2, x2 = shape.box
            corners = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
            label = CLASS_NAMES[shape.kind]
            shapes.append({"label": label, "points": corners, "shape_type": "polygon"})
        content = {
            "imagePath": f"photo_{image_id}.png",
            "imageHeight": SIDE,
            "imageWidth": SIDE,
            "shapes": shapes if image_id < count - 1 else [],
        }
        stem.with_suffix(".json").write_text(json.dumps(content))


def write_boxes(folder, count=4):
    """Write images with Pascal VOC boxes."""
    for name in ("Annotations", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    dataset = ShapesDataset.from_path(count, height=SIDE, width=SIDE)
    for image_id in dataset.image_ids:
        image = dataset.load_image(image_id)
        cv2.imwrite(str(folder / "JPEGImages" / f"{image_id}.jpg"), image[..., ::-1])
        objects = "".join(
            f"<object><name>{CLASS_NAMES[shape.kind]}</name><bndbox><xmin>{shape.box[1]}</xmin>"
            f"<ymin>{shape.box[0]}</ymin><xmax>{shape.box[3]}</xmax><ymax>{shape.box[2]}</ymax>"
            "</bndbox></object>"
            for shape in dataset.image_info[image_id]["shapes"]
        )
        (folder / "Annotations" / f"{image_id}.xml").write_text(
            f"<annotation><filename>{image_id}.jpg</filename><size><width>{SIDE}</width>"
            f"<height>{SIDE}</height><depth>3</depth></size>{objects}</annotation>"
        )


def write_stacks(folder, count=4):
    """Write TIFF files of six channels, with masks."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    dataset = ShapesDataset.from_path(count, height=SIDE, width=SIDE)
    for image_id in dataset.image_ids:
        image = dataset.load_image(image_id)
        stack = np.dstack([image, 255 - image])
        tifffile.imwrite(folder / "images" / f"{image_id}.tif", stack, photometric="minisblack")
        masks, _ = dataset.load_mask(image_id)
        numbers = (masks * np.arange(1, masks.shape[2] + 1)).max(axis=2).astype(np.uint8)
        cv2.imwrite(str(folder / "masks" / f"{image_id}.png"), numbers)


def write_files(folder):
    """Write everything that the pages name into a folder."""
    astronaut = skimage.data.astronaut()
    write_photos(folder / "photos")
    write_boxes(folder / "boxes")
    write_stacks(folder / "stacks")
    (folder / "new_photos").mkdir()
    cv2.imwrite(str(folder / "new_photos" / "a.jpg"), astronaut[..., ::-1])
    cv2.imwrite(str(folder / "street.jpg"), astronaut[..., ::-1])
    small = cv2.resize(astronaut, (256, 256))
    cv2.imwrite(str(folder / "aerial.tif"), np.tile(small, (2, 3, 1))[..., ::-1])
    video = cv2.VideoWriter(
        str(folder / "street.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (256, 256)
    )
    for shift in range(4):
        video.write(np.roll(small, 4 * shift, axis=1)[..., ::-1])
    video.release()


# Options that make a training one step of a small image; the last of an option counts.
SHORT = ["--epochs", "1", "--steps", "1", "--ap-images", "1"]


def run_command(words):
    """Run an `mrcnn` command of the documentation, with a short training.

    Returns:
        The exit code.
    """
    from mrcnn.cli import main

    words = [found for word in words[1:] for found in (sorted(glob.glob(word)) or [word])]
    if words[0] == "train":
        stored = words.index("--weights") + 1 if "--weights" in words else None
        if stored and words[stored] in ("imagenet", "coco"):  # these are downloads
            words[stored] = "none" if words[stored] == "imagenet" else "small"
        words += [*SHORT, "--image-size", str(SIDE)]
        words += [] if "--model" in words else ["--layers", "heads"]
    if words[0] == "evaluate":
        words += ["--limit", "4"]
    with pytest.raises(SystemExit) as end:
        main(words)
    return end.value.code or 0


def shorten_trainings(monkeypatch):
    """Make every training one step long, of few regions.

    So few steps and images are quicker without compilation.
    """
    import copy

    import keras
    import tensorflow as tf

    import mrcnn
    from mrcnn import refinement
    from mrcnn.engines import keras_engine
    from mrcnn.family.semantic import SemanticModel
    from mrcnn.family.yolo import Yolo
    from mrcnn.refinement.recipes import get_recipe

    def shortened(function, **changes):
        def call(*arguments, **options):
            config = getattr(arguments[0], "config", None)
            if config is not None:
                config.STEPS_PER_EPOCH = 1
            return function(*arguments, **{**options, **changes})

        return call

    compile_model = keras.Model.compile
    monkeypatch.setattr(
        keras.Model,
        "compile",
        lambda self, *arguments, **options: compile_model(
            self, *arguments, **{**options, "run_eagerly": True, "jit_compile": False}
        ),
    )
    monkeypatch.setattr(
        keras_engine,
        "compile_inference",
        lambda model: lambda inputs: model(list(map(tf.convert_to_tensor, inputs)), training=False),
    )
    layer_config = mrcnn.MaskRCNN._layer_config

    def few_regions(self, mode, config):
        config = layer_config(self, mode, config)
        if mode == "training":
            config = copy.copy(config)
            config.TRAIN_ROIS_PER_IMAGE = 8
        return config

    monkeypatch.setattr(mrcnn.MaskRCNN, "_layer_config", few_regions)
    long_train, long_refiner = mrcnn.train, refinement.train_refiner

    def short_refiner(pairs, recipe="default", **options):
        import dataclasses

        recipe = dataclasses.replace(get_recipe(recipe), epochs=1)
        return long_refiner(pairs[:2], recipe, **options)

    monkeypatch.setattr(
        mrcnn, "train", shortened(long_train, epochs=1, steps=1, image_size=SIDE, ap_images=1)
    )
    monkeypatch.setattr(refinement, "train_refiner", short_refiner)
    for family in (Yolo, SemanticModel, mrcnn.MaskRCNN):
        monkeypatch.setattr(family, "train", shortened(family.train, epochs=1))


def run_python(block, names):
    """Execute a block in the names of those before it; its lines are those of the page."""
    code = compile("\n" * block.line + block.text, block.page, "exec")
    exec(code, names)


def fresh_folder(folder, monkeypatch):
    """Write the files into a folder and make it the working directory."""
    write_files(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MRCNN_HOME", os.path.join(folder, ".cache"))
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
