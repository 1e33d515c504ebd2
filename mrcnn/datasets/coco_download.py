"""Fetches and unpacks COCO's pictures and annotations into COCO's own layout."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

from mrcnn.files.fetch import fetch

logger = logging.getLogger("mrcnn.datasets")

COCO_URL = "http://images.cocodataset.org"
# The two parts of val 2014 that the first papers use; not COCO's own files.
MINIVAL_URLS = {
    "minival": "https://dl.dropboxusercontent.com/s/o43o90bna78omob/"
    "instances_minival2014.json.zip?dl=0",
    "valminusminival": "https://dl.dropboxusercontent.com/s/s3tw5zcg7395368/"
    "instances_valminusminival2014.json.zip?dl=0",
}
SUBSETS_BY_YEAR = {
    "2014": ("train", "val", "minival", "valminusminival"),
    "2017": ("train", "val"),
}


def download_coco(root: str | Path, subset: str, year: str | int) -> None:
    """Brings {subset}{year}/ and annotations/instances_{subset}{year}.json into `root`.

    What is there already is kept; a fetch that was cut is resumed. The archives are deleted
    once they are unpacked.

    Args:
        root: folder of the data set; it is made if need be.
        subset: "train", "val"; for 2014 also "minival" and "valminusminival".
        year: "2014" or "2017".

    Raises:
        ValueError: there is no such part.
        mrcnn.files.fetch.FetchError: a file could not be fetched.
    """
    root, year = Path(root), str(year)
    if year not in SUBSETS_BY_YEAR:
        raise ValueError(f"year is {year!r}: it must be one of {list(SUBSETS_BY_YEAR)}")
    if subset not in SUBSETS_BY_YEAR[year]:
        raise ValueError(
            f"subset is {subset!r}: {year} has {', '.join(SUBSETS_BY_YEAR[year])} to download"
        )
    pictures = f"{'val' if subset in MINIVAL_URLS else subset}{year}"
    if not (root / pictures).is_dir():
        _fetch_and_unpack(f"{COCO_URL}/zips/{pictures}.zip", root / f"{pictures}.zip", root)
    annotation_dir = root / "annotations"
    if (annotation_dir / f"instances_{subset}{year}.json").is_file():
        return
    if subset in MINIVAL_URLS:
        archive = root / f"instances_{subset}{year}.json.zip"
        _fetch_and_unpack(MINIVAL_URLS[subset], archive, annotation_dir)
    else:
        name = f"annotations_trainval{year}.zip"
        _fetch_and_unpack(f"{COCO_URL}/annotations/{name}", root / name, root)


def _fetch_and_unpack(url: str, archive: Path, target: Path) -> None:
    """Unpacks beside the target first: a cut unpacking leaves no folder that looks complete."""
    logger.info("fetching %s", url)
    fetch(url, archive)
    partial = archive.with_suffix(".unpacking")
    with zipfile.ZipFile(archive) as content:
        content.extractall(partial)  # zipfile takes absolute and ".." paths out of the names
    target.mkdir(parents=True, exist_ok=True)
    for item in sorted(partial.iterdir()):
        if item.is_dir() and (target / item.name).is_dir():
            for file in item.iterdir():
                file.replace(target / item.name / file.name)
            item.rmdir()
        else:
            item.replace(target / item.name)
    partial.rmdir()
    archive.unlink()
