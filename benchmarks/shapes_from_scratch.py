"""Train a ResNet-50 Mask R-CNN from random weights on synthetic shapes, and measure it.

    python benchmarks/shapes_from_scratch.py --data SHAPES.py --steps 1877
    python benchmarks/shapes_from_scratch.py --data SHAPES.py --recipe matterport
    python benchmarks/shapes_from_scratch.py --data SHAPES.py --weights FILE --min-confidence 0.3

Images of 128 x 128 with squares, circles and triangles, batches of 4, batch statistics trained:
the set-up in which Matterport's package reached a mAP at IoU 0.5 of 0.639 on 50 fresh images
after 1877 steps of SGD at a constant learning rate of 0.01 (recipe "matterport"). The recipe
"adamw" takes AdamW, whose rate rises for 100 steps and then follows half a cosine, and lets the
mask head see only the ROIs that can be positive.
"""

import argparse
import importlib.util
import json
import os
import sys
import time

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from mrcnn.config import Config
from mrcnn.config_rules import PRECISIONS
from mrcnn.datasets import Dataset
from mrcnn.evaluation.matching import compute_ap

NUM_TRAIN = 5000
NUM_EVAL = 50


class ShapesConfig(Config):
    """The settings of Matterport's recorded training."""

    NAME = "shapes"
    BACKBONE = "resnet50"
    NUM_CLASSES = 4
    IMAGES_PER_GPU = 4
    IMAGE_MIN_DIM = 128
    IMAGE_MAX_DIM = 128
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    RPN_TRAIN_ANCHORS_PER_IMAGE = 128
    TOP_DOWN_PYRAMID_SIZE = 64
    FPN_CLASSIF_FC_LAYERS_SIZE = 128
    TRAIN_ROIS_PER_IMAGE = 32
    POST_NMS_ROIS_TRAINING = 300
    POST_NMS_ROIS_INFERENCE = 200
    MASK_POOL_SIZE = 7
    MASK_SHAPE = (14, 14)
    MAX_GT_INSTANCES = 8
    DETECTION_MAX_INSTANCES = 20
    DETECTION_MIN_CONFIDENCE = 0.5
    TRAIN_BN = None
    LEARNING_RATE = 0.01
    STEPS_PER_EPOCH = 200
    VALIDATION_STEPS = 1


class DrawnShapes(Dataset):
    """Images drawn from seeds by the module `drawing` with `example(seed)`."""

    def __init__(self, drawing, first_seed, count):
        super().__init__()
        self.drawing = drawing
        for class_id, name in enumerate(drawing.CLASS_NAMES[1:], start=1):
            self.add_class("shapes", class_id, name)
        for i in range(count):
            self.add_image("shapes", image_id=i, path=None, seed=first_seed + i)
        self.prepare()

    def load_image(self, image_id):
        """Draw an image."""
        return self.drawing.example(self.image_info[image_id]["seed"])[0]

    def load_mask(self, image_id):
        """Draw the masks of an image."""
        _, masks, class_ids = self.drawing.example(self.image_info[image_id]["seed"])
        return masks, class_ids


def mean_average_precision(model, dataset):
    """Return the mean over images of the average precision at mask IoU 0.5, and at 0.75."""
    found = {0.5: [], 0.75: []}
    for image_id in dataset.image_ids:
        image = dataset.load_image(image_id)
        masks, class_ids = dataset.load_mask(image_id)
        boxes = np.array([_box(masks[:, :, i]) for i in range(masks.shape[-1])])
        result = model.detect([image])[0]
        for threshold, values in found.items():
            ap, *_ = compute_ap(
                boxes,
                class_ids,
                masks,
                *(result[key] for key in ("rois", "class_ids", "scores", "masks")),
                iou_threshold=threshold,
            )
            values.append(ap)
    return {f"mAP{int(100 * threshold)}": float(np.mean(v)) for threshold, v in found.items()}


def _box(mask):
    rows, columns = np.where(mask.any(axis=1))[0], np.where(mask.any(axis=0))[0]
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


def optimizer_of(recipe, steps):
    """Return the optimizer of a recipe; None for SGD at `LEARNING_RATE`."""
    import keras

    if recipe == "matterport":
        return None
    warmup, peak = min(100, steps // 4), 5e-4
    schedule = keras.optimizers.schedules.CosineDecay(
        peak / 20, steps - warmup, warmup_target=peak, warmup_steps=warmup, alpha=0.001
    )
    return keras.optimizers.AdamW(
        schedule, weight_decay=1e-4, global_clipnorm=ShapesConfig.GRADIENT_CLIP_NORM
    )


def main():
    """Train and measure, or measure given weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="Python file with example(seed)")
    parser.add_argument("--steps", type=int, default=1877)
    parser.add_argument("--recipe", choices=("adamw", "matterport"), default="adamw")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--logs", default="logs")
    parser.add_argument("--weights", help="measure this file instead of training")
    parser.add_argument("--min-confidence", type=float, default=0.5, help="of what is measured")
    parser.add_argument("--output", help="JSON file for the figures")
    args = parser.parse_args()

    import keras

    from mrcnn.layers.detection_targets import max_positives
    from mrcnn.model import MaskRCNN

    keras.utils.set_random_seed(args.seed)
    spec = importlib.util.spec_from_file_location("shapes_data", args.data)
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    config = ShapesConfig()
    config.DETECTION_MIN_CONFIDENCE = args.min_confidence
    fresh = DrawnShapes(drawing, drawing.EVAL_SEED0, NUM_EVAL)
    if args.weights:
        model = MaskRCNN("inference", config, args.logs)
        model.load_weights(args.weights)
        print(json.dumps(mean_average_precision(model, fresh)))
        return
    epochs = max(round(args.steps / config.STEPS_PER_EPOCH), 1)
    config.STEPS_PER_EPOCH = args.steps // epochs
    config.PRECISION = args.precision
    if args.recipe == "adamw":
        config.MASK_ROIS_PER_IMAGE = max_positives(
            config.TRAIN_ROIS_PER_IMAGE, config.ROI_POSITIVE_RATIO
        )
    model = MaskRCNN("training", config, args.logs)
    started = time.time()
    model.train(
        DrawnShapes(drawing, drawing.TRAIN_SEED0, NUM_TRAIN),
        None,
        learning_rate=config.LEARNING_RATE,
        epochs=epochs,
        layers="all",
        optimizer=optimizer_of(args.recipe, epochs * config.STEPS_PER_EPOCH),
        seed=args.seed,
        verbose=2,
    )
    figures = {
        "recipe": args.recipe,
        "precision": args.precision,
        "steps": epochs * config.STEPS_PER_EPOCH,
        "batch": config.BATCH_SIZE,
        "minutes": round((time.time() - started) / 60, 1),
        **mean_average_precision(model, fresh),
    }
    print(json.dumps(figures))
    if args.output:
        with open(args.output, "w") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()
