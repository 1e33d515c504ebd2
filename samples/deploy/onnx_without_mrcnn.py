"""Detect objects with an exported model, in ONNX Runtime and without the package mrcnn.

    mrcnn export small --format onnx
    python onnx_without_mrcnn.py mask_rcnn_small.onnx photo.jpg --output found.png

It needs onnxruntime, numpy and pillow. Boxes and masks are in pixels of the photograph.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageOps

COLORS = [(230, 25, 75), (60, 180, 75), (0, 130, 200), (245, 130, 48), (145, 30, 180)]


def main() -> None:
    """Print what is found in a photograph, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="file of `mrcnn export --format onnx`")
    parser.add_argument("photo")
    parser.add_argument("--output", help="image to write, with the objects drawn")
    arguments = parser.parse_args()

    session = onnxruntime.InferenceSession(arguments.model)
    # Names and settings lie in the file.
    metadata = session.get_modelmeta().custom_metadata_map
    names = json.loads(metadata["mrcnn"])["class_names"]

    photo = ImageOps.exif_transpose(Image.open(arguments.photo)).convert("RGB")
    images = np.asarray(photo)[None]  # [batch, height, width, 3] uint8, any size
    wanted = ["num_detections", "boxes", "class_ids", "scores", "masks"]
    outputs = dict(zip(wanted, session.run(wanted, {"images": images})))

    # Rows after the number of detections are zeros.
    count = int(outputs["num_detections"][0])
    boxes, class_ids, scores, masks = (outputs[name][0, :count] for name in wanted[1:])
    drawn = np.array(photo)
    for i in range(count):
        y1, x1, y2, x2 = boxes[i].tolist()
        name = names[class_ids[i]] if names else f"class {class_ids[i]}"
        pixels = int(masks[i].sum())
        print(f"{name} {scores[i]:.3f}  x {x1}-{x2}  y {y1}-{y2}  {pixels} pixels")
        inside = masks[i] == 1
        drawn[inside] = drawn[inside] // 2 + np.array(COLORS[i % len(COLORS)], np.uint8) // 2
    if arguments.output:
        result = Image.fromarray(drawn)
        width = max(2, round(max(photo.size) / 400))
        for i, (y1, x1, y2, x2) in enumerate(boxes.tolist()):
            color = COLORS[i % len(COLORS)]
            ImageDraw.Draw(result).rectangle((x1, y1, x2 - 1, y2 - 1), outline=color, width=width)
        result.save(arguments.output)


if __name__ == "__main__":
    main()
