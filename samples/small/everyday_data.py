"""The datasets of `everyday.py`: the 80 classes of COCO, and balloons.

Few of the images have masks of everything. Most have boxes that a small detector found, with scores
(pseudo labels), and some of these have the true mask of one person. `box_masks.py` draws masks in
the boxes. `mrcnn` learns from all of them with `PARTIAL_LABELS`.
"""

import json
import lzma
import os
import re
from functools import partial

import numpy as np

from mrcnn.datasets import CocoDataset, Dataset, MaskImageDataset, ViaDataset, open_dataset
from mrcnn.datasets.views import merge
from mrcnn.geometry.boxes import compute_overlaps

# Boxes that score lower than this are ignored: they are neither objects nor background.
LEAST_SCORE = 0.35
# The weight of a label is its score times this, at most 1.
WEIGHT_OF_SCORE = 1.6
# Boxes that overlap a better one by this are another detection of the same object.
SAME_OBJECT = 0.6
# A person's box that overlaps that of the true mask by this is replaced by it.
SAME_PERSON = 0.45
# Masks drawn in boxes count if the network that drew them expects this IoU with the object. Those
# drawn in true boxes have a mean IoU of 0.77 with the true masks then, and all masks 0.73.
LEAST_PREDICTED_IOU = 0.8
# Sets with masks of all 80 classes: folder and part. The first is of val2017 of COCO, the others
# of train2017.
MASKED_SETS = (
    ("coco_tiny", "val"),
    ("coco_tiny", "train"),
    ("coco_mini", None),
    ("coco128_seg", None),
)
FOLDER = os.path.dirname(os.path.abspath(__file__))
SPLIT_FILE = os.path.join(FOLDER, "everyday_measuring.txt")
# The masks that `box_masks.py` draws in the boxes of the everyday photographs.
BOX_MASKS = os.path.join(FOLDER, "box_masks.json.xz")
NUM_MEASURING = 60


def single_sets(folder, subset, fold=0, folds=0, person_source="person", exhaustive=True):
    """Return the sets of one class each: balloons, motorcycles and people.

    Args:
        folder: folder of `balloon/`, `motorcycles/` and `penn_fudan/`.
        subset: "train" or "val".
        fold: which part of the motorcycles and people is held out.
        folds: number of parts; 0 for none, and all images are in both.
        person_source: the source of the people.
        exhaustive: whether images have no other objects without annotation.
    """
    sets = {
        "balloon": ViaDataset(),
        "motorcycle": MaskImageDataset(),
        "person": MaskImageDataset(),
    }
    sets["balloon"].load_via(
        os.path.join(folder, "balloon"), subset, classes=["balloon"], source="balloon"
    )
    sets["motorcycle"].load_masks(
        os.path.join(folder, "motorcycles"), "val", "motorcycle", source="motorcycle"
    )
    people = os.path.join(folder, "penn_fudan")
    sets["person"].load_masks(people, None, "person", source=person_source)
    for name, dataset in sets.items():
        dataset.prepare()
        for info in dataset.image_info:
            info["exhaustive"] = exhaustive
        if folds and name != "balloon":
            is_val = np.arange(dataset.num_images) % folds == fold
            sets[name] = dataset.subset(np.where(is_val == (subset == "val"))[0])
    return sets


# The sets of one class each. No person beside a motorcycle is annotated, for instance.
partial_sets = partial(single_sets, person_source="people", exhaustive=False)


class PseudoLabels(CocoDataset):
    """Everyday photographs with the boxes and scores of a detector, and true masks of persons."""

    def load_everyday(self, folder, box_masks=None):
        """Load the photographs.

        Args:
            folder: of `images/`, `images.json`, `nanodet_boxes.json` and `persons.json`.
            box_masks: file of `box_masks.py` with masks of the detector's boxes.
        """
        content = {
            name: read_json(os.path.join(folder, name + ".json"))
            for name in ("images", "nanodet_boxes", "persons")
        }
        for category in sorted(content["images"]["categories"], key=lambda c: c["id"]):
            self.add_class("everyday", category["id"], category["name"])
        boxes, persons = {}, {}
        drawn = read_box_masks(box_masks) if box_masks else {}
        for box in content["nanodet_boxes"]:
            mask = drawn.get((box["image_id"], *box["bbox"]), {})
            box = {**box, "class_id": box["category_id"], **mask}
            boxes.setdefault(box["image_id"], []).append(box)
        for person in content["persons"]["annotations"]:
            person = {**person, "class_id": person["category_id"]}
            persons.setdefault(person["image_id"], []).append(person)
        self.ignore_below = LEAST_SCORE * WEIGHT_OF_SCORE
        for image in content["images"]["images"]:
            found, true = boxes.get(image["id"], []), persons.get(image["id"], [])
            self.add_image(
                "everyday",
                image["id"],
                os.path.join(folder, "images", image["file_name"]),
                height=image["height"],
                width=image["width"],
                annotations=[*true, *choose_boxes(found, true)],
            )


def read_box_masks(path):
    """Return {"segmentation": run lengths} by (image id, x, y, width, height) of the box."""
    return {
        (one["image_id"], *one["bbox"]): {"segmentation": one["segmentation"]}
        for one in read_json(path)["annotations"]
        if one["predicted_iou"] >= LEAST_PREDICTED_IOU
    }


def choose_boxes(found, persons):
    """Return the detections to learn from, with weights as their scores.

    Args:
        found: detections of an image, COCO results.
        persons: its true annotations; persons detected there are left out.

    Returns:
        The detections without those of an object that another one or a person has already. Those
        below `LEAST_SCORE` are kept, to be ignored, unless they lie on an object.
    """
    kept, corners = [], [box_corners(person) for person in persons]
    is_person = [True] * len(persons)
    for detection in sorted(found, key=lambda d: -d["score"]):
        box = box_corners(detection)
        if corners:
            overlaps = compute_overlaps(box[None], np.array(corners))[0]
            limits = np.where(
                np.array(is_person) & (detection["category_id"] == 1), SAME_PERSON, SAME_OBJECT
            )
            if (overlaps >= limits).any():
                continue
        kept.append({**detection, "score": min(detection["score"] * WEIGHT_OF_SCORE, 1.0)})
        corners.append(box)
        is_person.append(False)
    return kept


def box_corners(annotation):
    """Return (y1, x1, y2, x2) of a COCO annotation."""
    x, y, width, height = annotation["bbox"]
    return np.array([y, x, y + height, x + width])


def read_json(path):
    """Return the content of a JSON file, compressed if its name ends in .xz."""
    opened = lzma.open if os.fspath(path).endswith(".xz") else open
    with opened(path, "rt", encoding="utf-8") as file:
        return json.load(file)


def class_table(folder):
    """Return a dataset without images that has all classes in their order: COCO's, then balloon."""
    table = Dataset()
    categories = read_json(os.path.join(folder, "everyday", "images.json"))["categories"]
    for category in sorted(categories, key=lambda c: c["id"]):
        table.add_class("coco", category["id"], category["name"])
    table.add_class("balloon", 1, "balloon")
    table.prepare()
    return table


def masked_sets(folder):
    """Return the four sets with masks of all classes: "folder/part" -> dataset."""
    return {
        f"{name}/{part}" if part else name: open_dataset(os.path.join(folder, name), subset=part)
        for name, part in MASKED_SETS
    }


def image_names(name, dataset):
    """Return "set/file" for each image of a dataset."""
    return [f"{name}/{os.path.basename(info['path'])}" for info in dataset.image_info]


def choose_measuring(folder, seed=0):
    """Return the names of the images to measure on: all of val2017, and others at random."""
    sets = masked_sets(folder)
    first, *others = (image_names(name, dataset) for name, dataset in sets.items())
    pool = [name for names in others for name in names]
    chosen = np.random.RandomState(seed).permutation(len(pool))[: NUM_MEASURING - len(first)]
    return sorted([*first, *(pool[number] for number in chosen)])


def read_measuring():
    """Return the set of names in `SPLIT_FILE`."""
    with open(SPLIT_FILE, encoding="utf-8") as file:
        return {line.strip() for line in file if line.strip() and not line.startswith("#")}


def split_masked(folder):
    """Return the datasets with masks of all classes: (to train on, to measure on)."""
    measuring, train, val = read_measuring(), [], []
    for name, dataset in masked_sets(folder).items():
        held_out = np.array([n in measuring for n in image_names(name, dataset)])
        train.append(dataset.subset(np.where(~held_out)[0]))
        val.append(dataset.subset(np.where(held_out)[0]))
    return train, val


def join(parts):
    """Return datasets as one, in which every source teaches that its images show no other class."""
    merged = merge(parts)
    for source in merged.source_class_ids:
        merged.source_class_ids[source] = list(range(merged.num_classes))
    return merged


def training_parts(folder, fold=0, folds=2, leave_out=(), box_masks=None):
    """Return the parts to train on.

    Args:
        folder: the data folder.
        fold: as for `single_sets`.
        folds: as for `single_sets`.
        leave_out: names of the sets of one class to leave out.
        box_masks: as for `PseudoLabels.load_everyday`.

    Returns:
        "pseudo": the photographs with pseudo labels; "masked": those with masks of all classes;
        "single": those with masks of one class. All have the same classes.
    """
    table = class_table(folder)
    pseudo = PseudoLabels()
    pseudo.load_everyday(os.path.join(folder, "everyday"), box_masks)
    pseudo.prepare()
    singles = partial_sets(folder, "train", fold, folds)
    return {
        "pseudo": join([table, pseudo]),
        "masked": join([table, *split_masked(folder)[0]]),
        "single": join([table, *(s for name, s in singles.items() if name not in leave_out)]),
    }


def measuring_parts(folder, fold=0, folds=2):
    """Return the datasets to measure on: "everyday", and the three of one class each."""
    table = class_table(folder)
    parts = {"everyday": join([table, *split_masked(folder)[1]])}
    for name, dataset in partial_sets(folder, "val", fold, folds).items():
        parts[name] = join([table, dataset])
    return parts


def is_val2017(info):
    """Return whether an image of the masked sets is of val2017, which no pretraining has seen."""
    return bool(re.search(r"val2017", str(info["path"])))
