"""Download COCO's images and annotations into COCO's own layout."""

from __future__ import annotations

import logging
import shutil
import zipfile
import zlib
from pathlib import Path

from mrcnn.files.fetch import FetchError, fetch

logger = logging.getLogger("mrcnn.datasets")

COCO_URL = "http://images.cocodataset.org"
# The two parts of val 2014 on which the first papers report; not COCO's own files.
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
    """Download {subset}{year}/ and annotations/instances_{subset}{year}.json into `root`.

    Files that exist are not fetched again; an interrupted download is resumed. The archives are
    deleted once they are unpacked.

    Args:
        root: folder of the dataset; it is created if need be.
        subset: "train", "val"; for 2014 also "minival" and "valminusminival".
        year: "2014" or "2017".

    Raises:
        ValueError: there is no such part.
        mrcnn.files.fetch.FetchError: a file could not be fetched, or arrives damaged twice.
    """
    root, year = Path(root), str(year)
    if year not in SUBSETS_BY_YEAR:
        raise ValueError(f"year is {year!r}: it must be one of {list(SUBSETS_BY_YEAR)}")
    if subset not in SUBSETS_BY_YEAR[year]:
        raise ValueError(
            f"subset is {subset!r}: {year} has {', '.join(SUBSETS_BY_YEAR[year])} to download"
        )
    images = f"{'val' if subset in MINIVAL_URLS else subset}{year}"
    if not (root / images).is_dir():
        _fetch_and_unpack(f"{COCO_URL}/zips/{images}.zip", root / f"{images}.zip", root)
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
    """Fetch an archive and move its content into `target`; a damaged one is fetched once more."""
    for attempt in (1, 2):
        logger.info("fetching %s", url)
        fetch(url, archive)
        damage = _unpack(archive, target)
        archive.unlink()
        if damage is None:
            return
        logger.warning("%s is damaged (%s)%s", archive, damage, "; again" if attempt == 1 else "")
    raise FetchError(url, f"the archive arrived damaged twice ({damage})")


def _unpack(archive: Path, target: Path) -> str | None:
    """Unpack an archive; return a description of the damage, or None.

    It is unpacked beside the target first: an interruption leaves no folder that looks complete.
    """
    partial = archive.with_suffix(".unpacking")
    shutil.rmtree(partial, ignore_errors=True)
    member = ""
    try:
        with zipfile.ZipFile(archive) as content:
            for member in content.namelist():
                content.extract(member, partial)  # without absolute and ".." paths
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        return f"{member}: {error}" if member else str(error)
    target.mkdir(parents=True, exist_ok=True)
    for item in sorted(partial.iterdir()) if partial.is_dir() else ():
        if item.is_dir() and (target / item.name).is_dir():
            for file in item.iterdir():
                file.replace(target / item.name / file.name)
            item.rmdir()
        else:
            item.replace(target / item.name)
    shutil.rmtree(partial, ignore_errors=True)
    return None
