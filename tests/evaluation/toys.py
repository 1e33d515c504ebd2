"""A dataset of rectangles, and results that fit it, for tests of the evaluation."""

import numpy as np

from mrcnn.datasets.dataset import Dataset

HEIGHT, WIDTH = 40, 60


class Rectangles(Dataset):
    """Images of rectangles.

    Args:
        pictures: for each image a list of `(class_id, (y1, x1, y2, x2))`; negative class ids
            are crowds.
        source_ids: ids of the classes in the source.
    """

    def __init__(self, pictures, source_ids=(10, 20, 30), with_size=True):
        super().__init__()
        self.pictures = pictures
        for name, source_id in zip(("cat", "dog", "cow"), source_ids, strict=True):
            self.add_class("toy", source_id, name)
        size = {"height": HEIGHT, "width": WIDTH} if with_size else {}
        for index in range(len(pictures)):
            self.add_image("toy", image_id=100 + index, path=None, **size)
        self.prepare()
        self.masks_loaded = 0

    def load_image(self, image_id):
        return np.full((HEIGHT, WIDTH, 3), image_id, np.uint8)

    def load_mask(self, image_id):
        self.masks_loaded += 1
        objects = self.pictures[image_id]
        if not objects:
            return np.empty([0, 0, 0], bool), np.empty([0], np.int32)
        class_ids = np.array([class_id for class_id, _ in objects], np.int32)
        return rectangles([box for _, box in objects]), class_ids


def rectangles(boxes):
    """Masks `[H, W, N]` of boxes `(y1, x1, y2, x2)`."""
    masks = np.zeros((HEIGHT, WIDTH, len(boxes)), bool)
    for index, (y1, x1, y2, x2) in enumerate(boxes):
        masks[y1:y2, x1:x2, index] = True
    return masks


def result(*found):
    """A result of `detect` from `(class_id, score, (y1, x1, y2, x2))`."""
    boxes = [box for _, _, box in found]
    return {
        "rois": np.array(boxes, np.int32).reshape(-1, 4),
        "class_ids": np.array([class_id for class_id, _, _ in found], np.int32),
        "scores": np.array([score for _, score, _ in found], np.float32),
        "masks": rectangles(boxes),
    }


class Detector:
    """Stands for a `MaskRCNN`: knows the answer to each image by its first pixel.

    Args:
        results: Results by image id.
        batch_size: `config.BATCH_SIZE`.
    """

    def __init__(self, results, batch_size=2):
        self.results = results
        self.config = type("Config", (), {"BATCH_SIZE": batch_size})()
        self.batches = []

    def detect(self, images, verbose=0):
        ids = [int(image[0, 0, 0]) for image in images]
        self.batches.append(ids)
        return [self.results[image_id] for image_id in ids]
