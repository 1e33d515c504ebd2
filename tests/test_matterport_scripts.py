"""Scripts as people wrote them for Matterport's package, run as they are.

The lines between the triple quotes are in the style of public scripts and notebooks: the same
imports, the same habits, small networks. They are executed, and then their variables are checked.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from mrcnn import utils

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def eager():
    """Without the minute it takes to trace graphs; the long test below runs them traced."""
    tf = pytest.importorskip("tensorflow")
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(before)
    plt.close("all")


def execute(code, names=None):
    """Run a script; returns its variables."""
    names = {} if names is None else names
    names.setdefault("__name__", "script")
    exec(compile(code, "<script>", "exec"), names)
    return names


# ---- a dataset of one's own: polygons in a JSON file, drawn with scikit-image -----------------

CUSTOM_DATASET = '''
import os
import sys
import json
import os
import numpy as np
import skimage.draw
import skimage.io

ROOT_DIR = os.path.abspath("./")
sys.path.append(ROOT_DIR)

from mrcnn.config import Config
from mrcnn import utils


class CustomConfig(Config):
    """Configuration for training on the toy dataset."""
    NAME = "damage"
    IMAGES_PER_GPU = 1
    GPU_COUNT = 1
    NUM_CLASSES = 1 + 2  # Background + scratch + dent
    BACKBONE = "squeezenet"
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    TRAIN_ROIS_PER_IMAGE = 8
    POST_NMS_ROIS_TRAINING = 32
    POST_NMS_ROIS_INFERENCE = 16
    FPN_CLASSIF_FC_LAYERS_SIZE = 32
    TOP_DOWN_PYRAMID_SIZE = 16
    STEPS_PER_EPOCH = 1
    VALIDATION_STEPS = 1
    DETECTION_MIN_CONFIDENCE = 0.9


class CustomDataset(utils.Dataset):

    def load_custom(self, dataset_dir, subset):
        self.add_class("damage", 1, "scratch")
        self.add_class("damage", 2, "dent")
        assert subset in ["train", "val"]
        dataset_dir = os.path.join(dataset_dir, subset)
        annotations = json.load(open(os.path.join(dataset_dir, "via_region_data.json")))
        annotations = list(annotations.values())
        annotations = [a for a in annotations if a['regions']]
        for a in annotations:
            polygons = [r['shape_attributes'] for r in a['regions'].values()]
            names = [r['region_attributes']['name'] for r in a['regions'].values()]
            name_dict = {"scratch": 1, "dent": 2}
            num_ids = [name_dict[n] for n in names]
            image_path = os.path.join(dataset_dir, a['filename'])
            image = skimage.io.imread(image_path)
            height, width = image.shape[:2]
            self.add_image(
                "damage",
                image_id=a['filename'],
                path=image_path,
                width=width, height=height,
                polygons=polygons,
                num_ids=num_ids)

    def load_mask(self, image_id):
        image_info = self.image_info[image_id]
        if image_info["source"] != "damage":
            return super(self.__class__, self).load_mask(image_id)
        info = self.image_info[image_id]
        mask = np.zeros([info["height"], info["width"], len(info["polygons"])],
                        dtype=np.uint8)
        for i, p in enumerate(info["polygons"]):
            rr, cc = skimage.draw.polygon(p['all_points_y'], p['all_points_x'])
            mask[rr, cc, i] = 1
        num_ids = np.array(info["num_ids"], dtype=np.int32)
        return mask.astype(bool), num_ids

    def image_reference(self, image_id):
        info = self.image_info[image_id]
        if info["source"] == "damage":
            return info["path"]
        else:
            super(self.__class__, self).image_reference(image_id)


config = CustomConfig()
config.display()

dataset_train = CustomDataset()
dataset_train.load_custom("data", "train")
dataset_train.prepare()

dataset_val = CustomDataset()
dataset_val.load_custom("data", "val")
dataset_val.prepare()
'''

POLYGONS = {
    "scratch": {"all_points_x": [4, 24, 24, 4], "all_points_y": [6, 6, 21, 21]},
    "dent": {"all_points_x": [30, 50, 40], "all_points_y": [30, 30, 45]},
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Where a script runs: data/train and data/val with two images of 48 x 60 each."""
    import cv2

    folder = tmp_path_factory.mktemp("workspace")
    rng = np.random.default_rng(0)
    for subset in ("train", "val"):
        (folder / "data" / subset).mkdir(parents=True)
        table = {}
        for name in ("a.png", "b.png"):
            picture = rng.integers(0, 256, (48, 60, 3), np.uint8)
            cv2.imwrite(str(folder / "data" / subset / name), picture)
            regions = {
                str(i): {
                    "shape_attributes": {"name": "polygon", **points},
                    "region_attributes": {"name": kind},
                }
                for i, (kind, points) in enumerate(POLYGONS.items())
            }
            table[name] = {"filename": name, "regions": regions}
        table["empty"] = {"filename": "empty.png", "regions": {}}
        (folder / "data" / subset / "via_region_data.json").write_text(json.dumps(table))
    return folder


@pytest.fixture
def in_workspace(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    return workspace


def test_custom_dataset(in_workspace, capsys):
    names = execute(CUSTOM_DATASET)
    dataset = names["dataset_train"]
    assert dataset.class_names == ["BG", "scratch", "dent"]
    assert (len(dataset.image_ids), dataset.num_classes) == (2, 3)
    masks, class_ids = dataset.load_mask(0)
    assert masks.shape == (48, 60, 2) and class_ids.tolist() == [1, 2]
    assert masks[..., 0].sum() == 21 * 16  # polygon corners are inside
    assert dataset.image_reference(0).endswith("a.png")
    out = capsys.readouterr().out
    assert "Configurations:" in out
    assert "NAME                           damage" in out


LOOK_AT_DATA = """
import random
import matplotlib.pyplot as plt
from mrcnn import visualize
import mrcnn.model as modellib
from mrcnn.model import log

image_ids = np.random.choice(dataset_train.image_ids, 2)
for image_id in image_ids:
    image = dataset_train.load_image(image_id)
    mask, class_ids = dataset_train.load_mask(image_id)
    visualize.display_top_masks(image, mask, class_ids, dataset_train.class_names)

bbox = utils.extract_bboxes(mask)
print("image_id ", image_id, dataset_train.image_reference(image_id))
log("image", image)
log("mask", mask)
log("class_ids", class_ids)
log("bbox", bbox)
visualize.display_instances(image, bbox, mask, class_ids, dataset_train.class_names)

original_shape = image.shape
image, window, scale, padding, crop = utils.resize_image(
    image,
    min_dim=config.IMAGE_MIN_DIM,
    max_dim=config.IMAGE_MAX_DIM,
    mode=config.IMAGE_RESIZE_MODE)
mask = utils.resize_mask(mask, scale, padding)

image, image_meta, class_ids, mini_bbox, mini_mask = modellib.load_image_gt(
    dataset_train, config, image_id, use_mini_mask=True)
expanded = utils.expand_mask(mini_bbox, mini_mask, image.shape)
mrcnn_image = modellib.unmold_image(modellib.mold_image(image, config), config)

backbone_shapes = modellib.compute_backbone_shapes(config, config.IMAGE_SHAPE)
anchors = utils.generate_pyramid_anchors(config.RPN_ANCHOR_SCALES,
                                         config.RPN_ANCHOR_RATIOS,
                                         backbone_shapes,
                                         config.BACKBONE_STRIDES,
                                         config.RPN_ANCHOR_STRIDE)
random_rois = 20
g = modellib.data_generator(
    dataset_train, config, shuffle=True, random_rois=random_rois,
    batch_size=2,
    detection_targets=True)
[normalized_images, image_meta, rpn_match, rpn_bbox, gt_class_ids, gt_boxes, gt_masks, \\
    rpn_rois, rois], \\
    [mrcnn_class_ids, mrcnn_bbox, mrcnn_mask] = next(g)
positive_anchor_ids = np.where(rpn_match[0] == 1)[0]
refined_anchors = utils.apply_box_deltas(anchors[positive_anchor_ids],
                                         rpn_bbox[0][:len(positive_anchor_ids)]
                                         * config.RPN_BBOX_STD_DEV)
fig, ax = plt.subplots(1, figsize=(4, 4))
visualize.draw_boxes(modellib.unmold_image(normalized_images[0], config),
                     boxes=anchors[positive_anchor_ids], refined_boxes=refined_anchors, ax=ax)
"""


def test_look_at_data(in_workspace, capsys):
    names = execute(LOOK_AT_DATA, execute(CUSTOM_DATASET))
    assert names["bbox"].tolist() == [[6, 4, 22, 25], [30, 30, 46, 51]]
    assert names["original_shape"] == (48, 60, 3) and names["image"].shape == (64, 64, 3)
    assert names["mask"].shape == names["expanded"].shape == (64, 64, 2)
    overlap = (names["mask"] & names["expanded"]).sum() / (names["mask"] | names["expanded"]).sum()
    assert overlap > 0.8
    # unmold_image cuts off fractions, as Matterport's does.
    np.testing.assert_allclose(names["mrcnn_image"].astype(int), names["image"], atol=1)
    assert names["anchors"].shape == (3 * (16**2 + 8**2 + 4**2 + 2**2 + 1), 4)
    assert names["normalized_images"].shape == (2, 64, 64, 3)
    assert names["rpn_match"].shape == (2, len(names["anchors"]), 1)
    assert names["mrcnn_mask"].shape == (2, 8, 28, 28, 3)
    # Anchors moved by their targets are the ground truth.
    gt = names["gt_boxes"][0][names["gt_class_ids"][0] > 0]
    distance = np.abs(names["refined_anchors"][:, None] - gt[None]).max(axis=-1).min(axis=1)
    assert len(distance) >= 1 and distance.max() < 1e-3
    assert "shape: (48, 60, 3)" in capsys.readouterr().out


TRAIN = """
import imgaug
from mrcnn import model as modellib

DEFAULT_LOGS_DIR = os.path.join(ROOT_DIR, "logs")
model = modellib.MaskRCNN(mode="training", config=config, model_dir=DEFAULT_LOGS_DIR)
weights_path = os.path.join(ROOT_DIR, "other_classes.h5")
model.load_weights(weights_path, by_name=True, exclude=[
    "mrcnn_class_logits", "mrcnn_bbox_fc",
    "mrcnn_bbox", "mrcnn_mask"])
loaded = model.keras_model.get_layer("mrcnn_class_conv1").get_weights()[0].copy()
augmentation = imgaug.augmenters.Sometimes(0.5, [
    imgaug.augmenters.Fliplr(0.5),
    imgaug.augmenters.GaussianBlur(sigma=(0.0, 5.0)),
])
print("Training network heads")
model.train(dataset_train, dataset_val,
            learning_rate=config.LEARNING_RATE,
            epochs=1,
            layers='heads',
            augmentation=augmentation)
model.train(dataset_train, dataset_val,
            learning_rate=config.LEARNING_RATE / 10,
            epochs=2,
            layers="all")
model_path = os.path.join(ROOT_DIR, "mask_rcnn_damage.h5")
model.keras_model.save_weights(model_path)
history = model.keras_model.history.history


class InferenceConfig(CustomConfig):
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1
    DETECTION_MIN_CONFIDENCE = 0


inference_config = InferenceConfig()
inference = modellib.MaskRCNN(mode="inference", config=inference_config,
                              model_dir=DEFAULT_LOGS_DIR)
last = inference.find_last()
inference.load_weights(last, by_name=True)
r = inference.detect([dataset_val.load_image(0)], verbose=1)[0]
"""

OTHER_CLASSES = """
import sys
from mrcnn import model as modellib
config.NUM_CLASSES = 7
modellib.MaskRCNN(mode="training", config=config, model_dir="logs") \\
    .keras_model.save_weights("other_classes.h5")
config.NUM_CLASSES = 3
"""


def test_train(in_workspace):
    names = execute(CUSTOM_DATASET)
    names = execute(TRAIN, execute(OTHER_CLASSES, names))
    folder = Path(names["model"].log_dir)
    assert folder.parent == in_workspace / "logs" and folder.name.startswith("damage2")
    written = sorted(path.name for path in folder.glob("*.h5"))
    assert written == ["mask_rcnn_damage_0001.h5", "mask_rcnn_damage_0002.h5"]
    assert names["last"] == str(folder / written[1])
    assert names["model"].epoch == 2 and len(names["history"]["loss"]) == 1
    assert np.isfinite(names["history"]["val_loss"]).all()

    import h5py

    with h5py.File(names["model_path"]) as file:
        trained = file["mrcnn_class_conv1/mrcnn_class_conv1/kernel:0"][()]
        logits = file["mrcnn_class_logits/mrcnn_class_logits/kernel:0"]
        assert logits.shape == (32, 3)
    loaded = names["loaded"]
    # Begun where the other weights were, and moved from there.
    assert 0 < np.abs(trained - loaded).max() < 0.5 * np.abs(loaded).max()
    count = len(names["r"]["scores"])
    assert names["r"]["masks"].shape == (48, 60, count) and names["r"]["rois"].shape == (count, 4)


# ---- detection with trained weights: the cells of a notebook -----------------------------------

INFERENCE = """
import os
import sys
import random
import math
import numpy as np
import skimage.io
import matplotlib
import matplotlib.pyplot as plt

ROOT_DIR = os.path.abspath("../")
sys.path.append(ROOT_DIR)
from mrcnn import utils
import mrcnn.model as modellib
from mrcnn import visualize
from mrcnn.config import Config
from mrcnn.model import log

MODEL_DIR = os.path.join(ROOT_DIR, "logs")


class ShapesConfig(Config):
    NAME = "shapes"
    GPU_COUNT = 1
    IMAGES_PER_GPU = 8
    NUM_CLASSES = 1 + 3
    BACKBONE = "resnet50"
    IMAGE_MIN_DIM = 128
    IMAGE_MAX_DIM = 128
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    FPN_CLASSIF_FC_LAYERS_SIZE = 128
    TOP_DOWN_PYRAMID_SIZE = 64
    POST_NMS_ROIS_INFERENCE = 200
    MASK_POOL_SIZE = 7
    MASK_SHAPE = [14, 14]
    DETECTION_MAX_INSTANCES = 20
    DETECTION_MIN_CONFIDENCE = 0.5


config = ShapesConfig()


class InferenceConfig(config.__class__):
    # Run detection on one image at a time
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1


config = InferenceConfig()
config.display()
model = modellib.MaskRCNN(mode="inference", model_dir=MODEL_DIR, config=config)
model.load_weights(SHAPES_MODEL_PATH, by_name=True)
class_names = ['BG', 'square', 'circle', 'triangle']
"""


@pytest.fixture(scope="module")
def recorded(parity_dir):
    """Ten images and what Matterport's package found in them."""
    return np.load(parity_dir / "shapes_trained_10_images.npz")


@pytest.fixture(scope="module")
def notebook(parity_dir, recorded):
    """The variables after the first cell, and a dataset of the recorded images."""
    names = {"SHAPES_MODEL_PATH": str(parity_dir / "shapes_resnet50_trained.h5")}
    execute(INFERENCE, names)
    names["recorded"] = recorded
    return execute(RECORDED_DATASET, names)


# What was found stands for the truth: then a perfect score is what must come out.
RECORDED_DATASET = """
class RecordedDataset(utils.Dataset):
    def load_recorded(self, count):
        for i, name in enumerate(class_names[1:], 1):
            self.add_class("shapes", i, name)
        for i in range(count):
            self.add_image("shapes", image_id=i, path=None)

    def load_image(self, image_id):
        return recorded["image_%d" % image_id]

    def load_mask(self, image_id):
        image = self.load_image(image_id)
        rois = recorded["detect_rois_%d" % image_id]
        masks = np.zeros(image.shape[:2] + (len(rois),), bool)
        for i, (y1, x1, y2, x2) in enumerate(rois):
            masks[y1:y2, x1:x2, i] = True
        return masks, recorded["detect_class_ids_%d" % image_id].astype(np.int32)


dataset = RecordedDataset()
dataset.load_recorded(10)
dataset.prepare()
"""

DETECT = """
image = dataset.load_image(0)
results = model.detect([image], verbose=1)
r = results[0]
fig, ax = plt.subplots(1, figsize=(4, 4))
visualize.display_instances(image, r['rois'], r['masks'], r['class_ids'],
                            class_names, r['scores'], ax=ax, title="Predictions")
several = model.detect([dataset.load_image(i) for i in range(3)])
"""


def test_detect_and_display(notebook, recorded, capsys):
    names = execute(DETECT, notebook)
    assert "Processing 1 images" in capsys.readouterr().out
    assert names["config"].BATCH_SIZE == 1
    for i, result in enumerate([names["r"], *names["several"][1:]]):
        assert sorted(result["class_ids"]) == sorted(recorded[f"detect_class_ids_{i}"])
        np.testing.assert_allclose(
            sorted(result["rois"].tolist()), sorted(recorded[f"detect_rois_{i}"].tolist()), atol=1
        )
        assert result["masks"].dtype == bool
    assert names["ax"].get_title() == "Predictions"
    assert len(names["ax"].texts) == len(names["r"]["scores"])


EVALUATE = """
image_ids = np.random.choice(dataset.image_ids, 3, replace=False)
APs = []
for image_id in image_ids:
    image, image_meta, gt_class_id, gt_bbox, gt_mask =\\
        modellib.load_image_gt(dataset, config,
                               image_id, use_mini_mask=False)
    molded_images = np.expand_dims(modellib.mold_image(image, config), 0)
    results = model.detect([image], verbose=0)
    r = results[0]
    AP, precisions, recalls, overlaps =\\
        utils.compute_ap(gt_bbox, gt_class_id, gt_mask,
                         r["rois"], r["class_ids"], r["scores"], r['masks'])
    APs.append(AP)
print("mAP: ", np.mean(APs))
visualize.plot_precision_recall(AP, precisions, recalls)
visualize.plot_overlaps(gt_class_id, r['class_ids'], r['scores'], overlaps, dataset.class_names)
visualize.display_differences(image, gt_bbox, gt_class_id, gt_mask,
                              r['rois'], r['class_ids'], r['scores'], r['masks'], class_names,
                              iou_threshold=0.3, score_threshold=0.5)
info = dataset.image_info[image_id]
meta = modellib.parse_image_meta(image_meta[None])
"""


def test_evaluate(notebook):
    names = execute(EVALUATE, notebook)
    assert names["molded_images"].shape == (1, 128, 128, 3)
    assert names["molded_images"].min() < 0
    # Boxes that are drawn as masks: triangles cover half of theirs, so 0.5 is not always reached.
    assert len(names["APs"]) == 3 and 0 < np.mean(names["APs"]) <= 1
    assert names["overlaps"].shape == (len(names["r"]["scores"]), len(names["gt_bbox"]))
    assert names["overlaps"].max(axis=1).min() > 0.35
    assert names["meta"]["image_id"][0] == names["image_id"]


INSPECT = """
image = dataset.load_image(1)
pillar = model.keras_model.get_layer("ROI").output
# TF 1.4 and 1.9 introduce new versions of NMS. Search for all names to support TF 1.3~1.10
nms_node = model.ancestor(pillar, "ROI/rpn_non_max_suppression:0")
if nms_node is None:
    nms_node = model.ancestor(pillar, "ROI/rpn_non_max_suppression/NonMaxSuppressionV2:0")
rpn = model.run_graph([image], [
    ("rpn_class", model.keras_model.get_layer("rpn_class").output),
    ("pre_nms_anchors", model.ancestor(pillar, "ROI/pre_nms_anchors:0")),
    ("refined_anchors", model.ancestor(pillar, "ROI/refined_anchors:0")),
    ("refined_anchors_clipped", model.ancestor(pillar, "ROI/refined_anchors_clipped:0")),
    ("post_nms_anchor_ix", nms_node),
    ("proposals", model.keras_model.get_layer("ROI").output),
    ("res2c_out", model.keras_model.get_layer("res2c_out").output),
])
limit = 50
sorted_anchor_ids = np.argsort(rpn['rpn_class'][:,:,1].flatten())[::-1]
visualize.draw_boxes(image, boxes=model.anchors[sorted_anchor_ids[:limit]])
pre_nms_anchors = utils.denorm_boxes(rpn["pre_nms_anchors"][0], image.shape[:2])
refined_anchors_clipped = utils.denorm_boxes(rpn["refined_anchors_clipped"][0], image.shape[:2])
ixs = rpn["post_nms_anchor_ix"][:limit]
visualize.draw_boxes(image, refined_boxes=refined_anchors_clipped[ixs])
mrcnn = model.run_graph([image], [
    ("detections", model.keras_model.get_layer("mrcnn_detection").output),
    ("masks", model.keras_model.get_layer("mrcnn_mask").output),
])
h, w = config.IMAGE_SHAPE[:2]
det_class_ids = mrcnn['detections'][0, :, 4].astype(np.int32)
det_count = np.where(det_class_ids == 0)[0][0]
det_class_ids = det_class_ids[:det_count]
det_boxes = utils.denorm_boxes(mrcnn["detections"][0, :det_count, :4], image.shape[:2])
det_mask_specific = np.array([mrcnn["masks"][0, i, :, :, c]
                              for i, c in enumerate(det_class_ids)])
det_masks = np.array([utils.unmold_mask(m, det_boxes[i], image.shape)
                      for i, m in enumerate(det_mask_specific)])
visualize.draw_boxes(image, boxes=det_boxes, captions=[str(c) for c in det_class_ids])
weight_names = [layer.name for layer in model.get_trainable_layers()]
model.keras_model.summary(print_fn=lambda line, **kwargs: None)
molded_images, image_metas, windows = model.mold_inputs([image])
molded = model.detect_molded(molded_images, image_metas)[0]
model.keras_model.save_weights(COPY_PATH)
"""


def test_inspect(notebook, recorded, tmp_path):
    notebook["COPY_PATH"] = str(tmp_path / "copy.h5")
    names = execute(INSPECT, notebook)
    best = names["model"].anchors[names["sorted_anchor_ids"]]
    np.testing.assert_allclose(names["pre_nms_anchors"][:20], best[:20], atol=1)
    kept = names["refined_anchors_clipped"][names["rpn"]["post_nms_anchor_ix"]]
    proposals = utils.denorm_boxes(names["rpn"]["proposals"][0], (128, 128))
    np.testing.assert_array_equal(kept, proposals[: len(kept)])
    assert names["rpn"]["rpn_class"].shape[2] == 2
    assert names["rpn"]["res2c_out"].shape == (1, 32, 32, 256)
    np.testing.assert_allclose(names["rpn"]["rpn_class"].sum(axis=2), 1, atol=1e-5)
    expected = recorded["detect_rois_1"]
    np.testing.assert_allclose(
        sorted(names["det_boxes"].tolist()), sorted(expected.tolist()), atol=1
    )
    assert names["det_masks"].shape == (len(expected), 128, 128)
    assert {"conv1", "rpn_conv_shared", "mrcnn_mask"} <= set(names["weight_names"])
    assert len(names["molded"]["rois"]) == len(expected)

    import h5py

    with h5py.File(names["COPY_PATH"]) as copy, h5py.File(names["SHAPES_MODEL_PATH"]) as original:
        key = "mrcnn_mask/mrcnn_mask/kernel:0"
        np.testing.assert_array_equal(copy[key], original[key])


# The evaluation of a tutorial that is copied a lot: `detect` on molded images.
MOLDED = """
from numpy import expand_dims
from mrcnn.model import mold_image, load_image_gt
from mrcnn.utils import compute_ap
image, image_meta, gt_class_id, gt_bbox, gt_mask = load_image_gt(dataset, config, 2)
scaled_image = mold_image(image, config)
sample = expand_dims(scaled_image, 0)
yhat = model.detect(sample, verbose=0)
r = yhat[0]
AP, _, _, _ = compute_ap(gt_bbox, gt_class_id, gt_mask, r["rois"], r["class_ids"], r["scores"],
                         r['masks'])
"""


def test_evaluate_on_molded_images(notebook):
    with pytest.warns(UserWarning, match="was molded before") as caught:
        names = execute(MOLDED, notebook)
    assert [warning.filename for warning in caught] == ["<script>"]
    # What the network says about an image whose mean was subtracted twice.
    twice = names["scaled_image"].astype(np.float64) - names["config"].MEAN_PIXEL
    meta = names["image_meta"]
    (expected,) = names["model"].detect_molded(twice[None], meta[None])
    np.testing.assert_array_equal(names["r"]["rois"], expected["rois"])
    np.testing.assert_array_equal(names["r"]["masks"], expected["masks"])


# ---- classes derived from MaskRCNN -------------------------------------------------------------

# `__init__` and `train` are Matterport's lines, as people copied them into classes of their own.
OWN_CLASS = """
import multiprocessing
import keras
import mrcnn.model as modellib
from mrcnn.model import data_generator, log


class CustomMaskRCNN(modellib.MaskRCNN):

    def __init__(self, mode, config, model_dir):
        assert mode in ['training', 'inference']
        self.mode = mode
        self.config = config
        self.model_dir = model_dir
        self.set_log_dir()
        self.keras_model = self.build(mode=mode, config=config)

    def train(self, train_dataset, val_dataset, learning_rate, epochs, layers):
        train_generator = data_generator(train_dataset, self.config, shuffle=True,
                                         batch_size=self.config.BATCH_SIZE)
        val_generator = data_generator(val_dataset, self.config, shuffle=True,
                                       batch_size=self.config.BATCH_SIZE)
        log("\\nStarting at epoch {}. LR={}\\n".format(self.epoch, learning_rate))
        self.set_trainable(layers)
        self.compile(learning_rate, self.config.LEARNING_MOMENTUM)
        workers = multiprocessing.cpu_count()
        self.keras_model.fit_generator(
            train_generator,
            initial_epoch=self.epoch,
            epochs=epochs,
            steps_per_epoch=self.config.STEPS_PER_EPOCH,
            callbacks=[keras.callbacks.History()],
            validation_data=val_generator,
            validation_steps=self.config.VALIDATION_STEPS,
            max_queue_size=100,
            workers=workers,
            use_multiprocessing=True,
        )
        self.epoch = max(self.epoch, epochs)


model = CustomMaskRCNN(mode="training", config=config, model_dir="logs")
model.keras_model.metrics_tensors = []
model.train(dataset_train, dataset_val, learning_rate=config.LEARNING_RATE, epochs=1,
            layers=r"(mrcnn\\_.*)|(rpn\\_.*)|(fpn\\_.*)")
history = model.keras_model.history.history
losses = model.keras_model.evaluate_generator(
    data_generator(dataset_val, config, batch_size=config.BATCH_SIZE), steps=1, workers=2)
losses = dict(zip(model.keras_model.metrics_names, losses))
inference = CustomMaskRCNN(mode="inference", config=config, model_dir="logs")
r = inference.detect([dataset_val.load_image(0)])[0]
"""


def test_a_class_with_matterports_init_and_train(in_workspace):
    names = execute(OWN_CLASS, execute(CUSTOM_DATASET))
    parts = {
        "rpn_class_loss",
        "rpn_bbox_loss",
        "mrcnn_class_loss",
        "mrcnn_bbox_loss",
        "mrcnn_mask_loss",
    }
    assert set(names["losses"]) == {"loss", *parts}
    weights = sum(names["losses"][part] for part in parts)
    assert names["losses"]["loss"] >= weights > 0
    assert set(names["history"]) == {f"{val}{n}" for n in names["losses"] for val in ("", "val_")}
    assert names["model"].epoch == 1
    assert len(names["history"]["loss"]) == 1
    assert names["r"]["masks"].shape[:2] == (48, 60)
    assert names["inference"].class_names is None and names["inference"].engine is not None


# The second model measures with the weights of the epoch that has just ended.
MAP_CALLBACK = """
import keras
import mrcnn.model as modellib


class MeanAveragePrecisionCallback(keras.callbacks.Callback):
    def __init__(self, train_model, inference_model):
        super().__init__()
        self.train_model = train_model
        self.inference_model = inference_model
        self.loaded = []

    def on_epoch_end(self, epoch, logs=None):
        last = self.train_model.find_last()
        self.inference_model.load_weights(last, by_name=True)
        self.loaded.append(os.path.basename(last))
        logs["val_mean_average_precision"] = 0.25


class MapConfig(CustomConfig):
    NAME = "map"


model = modellib.MaskRCNN(mode="training", config=MapConfig(), model_dir="logs")
inference = modellib.MaskRCNN(mode="inference", config=MapConfig(), model_dir="logs")
callback = MeanAveragePrecisionCallback(model, inference)
model.train(dataset_train, dataset_val, learning_rate=0.001, epochs=2, layers="heads",
            custom_callbacks=[callback])
history = model.keras_model.history.history
trained = model.keras_model.get_layer("mrcnn_class_conv1").get_weights()[0]
loaded = inference.keras_model.get_layer("mrcnn_class_conv1").get_weights()[0]
"""


def test_a_callback_that_loads_the_weights_of_its_epoch(in_workspace):
    names = execute(MAP_CALLBACK, execute(CUSTOM_DATASET))
    assert names["callback"].loaded == ["mask_rcnn_map_0001.h5", "mask_rcnn_map_0002.h5"]
    assert names["history"]["val_mean_average_precision"] == [0.25, 0.25]
    np.testing.assert_array_equal(names["loaded"], names["trained"])


# ---- the habits around it ----------------------------------------------------------------------


def test_imgaug_may_be_imported_after_mrcnn():
    code = (
        "import sys, mrcnn\n"
        "print([m for m in ('numpy', 'keras', 'imgaug') if m in sys.modules])\n"
        "import imgaug\nprint(imgaug.augmenters.Fliplr(0.5).name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    light, name = done.stdout.splitlines()
    assert light == "[]" and name.startswith("Unnamed")


@pytest.mark.long
def test_a_training_script_from_the_shell(workspace, tmp_path):
    (tmp_path / "data").symlink_to(workspace / "data")
    script = tmp_path / "custom.py"
    script.write_text(CUSTOM_DATASET + OTHER_CLASSES + TRAIN + 'print("found", len(r["scores"]))\n')
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    assert "Training network heads" in done.stdout and "found " in done.stdout
    assert (tmp_path / "mask_rcnn_damage.h5").stat().st_size > 1e5
