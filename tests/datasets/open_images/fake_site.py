"""A made-up Open Images server in a dict: the official layout, tiny images and masks."""

import csv
import io
import random
import stat
import zipfile

import cv2
import numpy as np

from mrcnn.datasets.open_images import tables

CLASSES = {"/m/04_sv": "Motorcycle", "/m/0k4j": "Car", "/m/01g317": "Person"}
MASK_CLASSES = ("/m/04_sv", "/m/0k4j")
DIGITS = "07af"
IMAGES = "images"  # the images' bucket, a folder of the same server
MASK_COLUMNS = (
    "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks"
)
BOX_COLUMNS = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,"
    "IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
)
IMAGE_COLUMNS = (
    "ImageID,Subset,OriginalURL,OriginalLandingURL,License,AuthorProfileURL,Author,Title,"
    "OriginalSize,OriginalMD5,Thumbnail300KURL,Rotation"
)


def jpeg(height, width, seed):
    """A JPEG image of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def png(mask):
    """A PNG of 0 and 255."""
    return cv2.imencode(".png", np.asarray(mask, np.uint8) * 255)[1].tobytes()


def table(columns, rows):
    """A CSV file; values with commas are quoted."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([columns.split(","), *rows])
    return stream.getvalue().encode()


def make_site(splits=("validation", "test"), images_per_split=12, seed=0):
    """Builds the files of a server: address -> content.

    Every image is 24 x 32 and has one to three masks of 12 x 16. The archives also hold
    members that try to leave the folder.
    """
    rng = random.Random(seed)
    files = {
        tables.CLASS_TABLE: table("LabelName,DisplayName", CLASSES.items()),
        tables.MASK_CLASSES: "".join(f"{name}\n" for name in MASK_CLASSES).encode(),
    }
    for split in splits:
        masks, boxes, pictures = [], [], []
        archives = {digit: {} for digit in DIGITS}
        for number in range(images_per_split):
            image_id = DIGITS[number % len(DIGITS)] + f"{rng.getrandbits(60):015x}"
            files[f"{IMAGES}/{split}/{image_id}.jpg"] = jpeg(24, 32, number)
            pictures.append(_image_row(image_id, split, number))
            boxes.append(
                _box_row(image_id, "/m/01g317", (0.0, 0.25, 0.0, 0.5), is_group=number % 2)
            )
            for _ in range(rng.randint(1, 3)):
                class_id = rng.choice(MASK_CLASSES)
                box_id = f"{rng.getrandbits(32):08x}"
                name = f"{image_id}_{class_id.replace('/', '')}_{box_id}.png"
                mask = np.zeros((12, 16), bool)
                mask[
                    rng.randint(0, 5) : rng.randint(6, 12), rng.randint(0, 7) : rng.randint(8, 16)
                ] = 1
                ys, xs = np.nonzero(mask)
                box = (xs[0] / 16, (xs[-1] + 1) / 16, ys[0] / 12, (ys[-1] + 1) / 12)
                archives[image_id[0]][name] = png(mask)
                clicks = "0.5 0.5 1;0.1 0.1 0"
                masks.append([name, image_id, class_id, box_id, *box, 0.8, clicks])
                boxes.append(_box_row(image_id, class_id, box))
        files[tables.MASK_TABLES[split]] = table(MASK_COLUMNS, masks)
        files[tables.BOX_TABLES[split]] = table(BOX_COLUMNS, boxes)
        files[tables.IMAGE_TABLES[split]] = table(IMAGE_COLUMNS, pictures)
        for digit, members in archives.items():
            address = f"v5/{split}-masks/{split}-masks-{digit}.zip"
            files[address] = make_archive(members)
    return files


def make_archive(members):
    """A zip file of the members, and of some that no one should unpack."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.writestr("../escaped.png", png(np.ones((2, 2))))
        archive.writestr("/tmp/escaped_absolute.png", png(np.ones((2, 2))))
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/hostname")
    return stream.getvalue()


def _image_row(image_id, split, number):
    page = f"https://pictures.example/{image_id}"
    rotation = ["", "0.0", "90.0", "270.0"][number % 4]
    author, title = 'Ng, A. "Andy"', "one, two,\nthree"
    licence = "https://creativecommons.org/licenses/by/2.0/"
    return [
        image_id, split, page + ".jpg", page, licence, page, author, title,
        1000 + number, "KFukvivpCM5QXl5SqKe41g==", page + "_z.jpg", rotation,
    ]  # fmt: skip


def _box_row(image_id, class_id, box, is_group=0):
    rounded = [round(float(edge), 6) for edge in box]
    return [image_id, "xclick", class_id, 1, *rounded, 0, 0, is_group, 0, -1]
