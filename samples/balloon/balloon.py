"""Mask R-CNN: train on the balloon dataset, and turn everything but balloons gray.

Import the module, or run it from the command line:

    # Train, starting from COCO's, ImageNet's or this package's small weights
    python3 balloon.py train --dataset=/path/to/balloon --weights=coco
    python3 balloon.py train --dataset=/path/to/balloon --weights=imagenet
    python3 balloon.py train --dataset=/path/to/balloon --weights=small

    # Continue the last training
    python3 balloon.py train --dataset=/path/to/balloon --weights=last

    # Color splash on an image or a video
    python3 balloon.py splash --weights=last --image=<URL or path to file>
    python3 balloon.py splash --weights=last --video=<path to file>

The dataset: https://github.com/matterport/Mask_RCNN/releases/download/v2.1/balloon_dataset.zip
"""

import datetime
import os
import sys

import numpy as np

ROOT_DIR = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.append(ROOT_DIR)  # to find a local version of the library

from mrcnn.cli import sample_parser, start_model
from mrcnn.config import Config
from mrcnn.datasets import ViaDataset
from mrcnn.geometry.images import as_rgb

DEFAULT_LOGS_DIR = os.path.join(ROOT_DIR, "logs")
EPOCHS = 30


############################################################
#  Configurations
############################################################


class BalloonConfig(Config):
    """Settings for training on balloons; the others are the defaults."""

    NAME = "balloon"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 1  # background + balloon
    STEPS_PER_EPOCH = 100
    DETECTION_MIN_CONFIDENCE = 0.9


############################################################
#  Dataset
############################################################


class BalloonDataset(ViaDataset):
    """Images of balloons with polygons drawn in the VGG Image Annotator."""

    def load_balloon(self, dataset_dir, subset):
        """Load a subset.

        Args:
            dataset_dir: folder with train/ and val/, each with via_region_data.json.
            subset: train or val.
        """
        self.load_via(dataset_dir, subset, class_name="balloon", source="balloon")


############################################################
#  Commands
############################################################


def train(model, dataset_dir):
    """Train the heads, which is enough for a small dataset."""
    dataset_train = BalloonDataset()
    dataset_train.load_balloon(dataset_dir, "train")
    dataset_train.prepare()

    dataset_val = BalloonDataset()
    dataset_val.load_balloon(dataset_dir, "val")
    dataset_val.prepare()

    print("Training network heads")
    model.train(
        dataset_train,
        dataset_val,
        learning_rate=model.config.LEARNING_RATE,
        epochs=EPOCHS,
        layers="heads",
    )


def color_splash(image, mask):
    """Turn everything outside the masks gray.

    Args:
        image: [height, width, 3] uint8, RGB.
        mask: [height, width, instances].

    Returns:
        An image of the same shape.
    """
    gray = image @ np.array([0.2125, 0.7154, 0.0721])
    inside = np.asarray(mask, bool).any(axis=-1)[..., None]
    return np.where(inside, image, gray[..., None]).astype(np.uint8)


def detect_and_color_splash(model, image_path=None, video_path=None):
    """Write the color splash of an image or a video to the working directory.

    Args:
        model: a `MaskRCNN` for inference.
        image_path: path or URL of an image, or
        video_path: path of a video.

    Returns:
        The name of the file written.
    """
    if bool(image_path) == bool(video_path):
        raise ValueError(
            f"image_path is {image_path!r} and video_path is {video_path!r}; one must be given"
        )
    stem = f"splash_{datetime.datetime.now():%Y%m%dT%H%M%S}"
    if image_path:
        import skimage.io

        image = as_rgb(skimage.io.imread(image_path))
        file_name = f"{stem}.png"
        skimage.io.imsave(file_name, splash(model, image), check_contrast=False)
    else:
        file_name = f"{stem}.avi"
        splash_video(model, video_path, file_name)
    print("Saved to", file_name)
    return file_name


def splash(model, image):
    """Return the color splash of the balloons that the model detects."""
    return color_splash(image, model.detect([image])[0]["masks"])


def splash_video(model, video_path, file_name):
    """Write a video with the color splash of every frame."""
    import cv2

    capture, writer, count = cv2.VideoCapture(video_path), None, 0
    if not capture.isOpened():
        raise ValueError(f"video is {video_path!r}; it must be a file that OpenCV can open")
    rate = capture.get(cv2.CAP_PROP_FPS) or 25
    while (frame := capture.read()[1]) is not None:
        if writer is None:
            code = cv2.VideoWriter_fourcc(*"MJPG")
            writer = cv2.VideoWriter(file_name, code, rate, frame.shape[1::-1])
        # OpenCV's frames are BGR.
        writer.write(np.ascontiguousarray(splash(model, frame[..., ::-1])[..., ::-1]))
        count += 1
        print("frame:", count)
    capture.release()
    if writer is not None:
        writer.release()


############################################################
#  Command line
############################################################


def main(words=None):
    """Run the command line; `words` are those of the process by default."""
    parser = sample_parser(
        "Train Mask R-CNN to detect balloons.", ("train", "splash"), DEFAULT_LOGS_DIR
    )
    parser.add_argument("--image", metavar="path or URL", help="image for the color splash")
    parser.add_argument("--video", metavar="path", help="video for the color splash")
    args = parser.parse_args(words)
    if args.command == "train" and not args.dataset:
        parser.error("--dataset is required for train")
    if args.command == "splash" and bool(args.image) == bool(args.video):
        parser.error("--image or --video is required for splash, not both")

    print("Weights:", args.weights)
    print("Dataset:", args.dataset)
    print("Logs:   ", args.logs)

    config = BalloonConfig()
    if args.command == "splash":
        # One image at a time.
        config.GPU_COUNT = config.IMAGES_PER_GPU = 1
    mode = "training" if args.command == "train" else "inference"
    model = start_model(mode, config, args.weights, args.logs)
    if args.command == "train":
        train(model, args.dataset)
    else:
        detect_and_color_splash(model, image_path=args.image, video_path=args.video)


if __name__ == "__main__":
    main()
