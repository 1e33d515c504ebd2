"""The script that draws masks in the boxes of the everyday photographs."""

import json
import types

import cv2
import numpy as np
import pytest

from mrcnn.geometry.rle import decode_rle
from samples.small import box_masks
from samples.small.everyday_data import BOX_MASKS, read_box_masks, read_json


class FilledBoxes:
    """A network that fills the boxes, and remembers the images that it read."""

    def __init__(self, fail_at=None):
        self.read_images, self._fail_at = [], fail_at

    def read(self, image):
        if len(self.read_images) == self._fail_at:
            raise KeyboardInterrupt
        self.read_images.append(image)

    def draw(self, boxes):
        masks = np.zeros((*self.read_images[-1].shape[:2], len(boxes)), bool)
        for number, (y1, x1, y2, x2) in enumerate(np.array(boxes, int)):
            masks[y1:y2, x1:x2, number] = True
        return masks, np.full(len(boxes), 0.9, np.float32)


@pytest.fixture
def args(tmp_path):
    """The arguments for two photographs with a box each, and one without."""
    folder = tmp_path / "everyday"
    (folder / "images").mkdir(parents=True)
    images = [{"id": i, "file_name": f"{i}.png", "height": 30, "width": 40} for i in (3, 4, 5)]
    for image in images:
        cv2.imwrite(str(folder / "images" / image["file_name"]), np.zeros((30, 40, 3), np.uint8))
    boxes = [
        {"image_id": 3, "category_id": 1, "bbox": [2, 5, 10, 20], "score": 0.5},
        {"image_id": 4, "category_id": 1, "bbox": [2, 5, 10, 20], "score": 0.29},
        {"image_id": 5, "category_id": 3, "bbox": [0, 0, 8, 4], "score": 0.9},
    ]
    (folder / "images.json").write_text(json.dumps({"images": images, "categories": []}))
    (folder / "nanodet_boxes.json").write_text(json.dumps(boxes))
    return types.SimpleNamespace(data=str(tmp_path), output=str(tmp_path / "masks.json"))


def test_masks_are_written_as_annotations(args):
    box_masks.draw_everyday(args, FilledBoxes())
    with open(args.output) as file:
        annotations = json.load(file)["annotations"]
    assert [(one["id"], one["image_id"], one["area"]) for one in annotations] == [
        (1, 3, 200),
        (2, 5, 32),
    ]
    assert decode_rle(annotations[0]["segmentation"])[5:25, 2:12].all()
    assert annotations[1]["bbox"] == [0, 0, 8, 4] and annotations[1]["predicted_iou"] == 0.9


def test_a_file_can_be_compressed(args):
    args.output += ".xz"
    box_masks.draw_everyday(args, FilledBoxes())
    assert [one["id"] for one in read_json(args.output)["annotations"]] == [1, 2]


def test_the_masks_beside_the_script():
    """14,768 of 19,288 masks, in as many boxes, are good enough to learn from."""
    content = read_json(BOX_MASKS)
    assert len(content["images"]) == 2360 and len(content["annotations"]) == 19288
    assert len(read_box_masks(BOX_MASKS)) == 14768
    first = content["annotations"][0]
    assert decode_rle(first["segmentation"]).sum() == first["area"]


@pytest.mark.parametrize("cut_line", [None, '[3, [{"image_id"'])
def test_an_interrupted_run_continues(args, cut_line):
    """After a run that was killed, with or without a line that it has cut."""
    if cut_line:
        with open(args.output + ".part", "w") as file:
            file.write(cut_line)
    with pytest.raises(KeyboardInterrupt):
        box_masks.draw_everyday(args, FilledBoxes(fail_at=1))
    network = FilledBoxes()
    box_masks.draw_everyday(args, network)
    assert len(network.read_images) == 1
    with open(args.output) as file:
        assert [one["image_id"] for one in json.load(file)["annotations"]] == [3, 5]
