"""Numbers of images and names of their result files, the same in a run that is continued."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mrcnn.detection.sources import Source

# The longest file name that common file systems allow, in bytes.
MAX_NAME_BYTES = 255
# The longest suffix of a result: `.json`.
_SUFFIX_BYTES = 5
# Digits of the numbers that every reader of JSON keeps exactly.
_MAX_DIGITS = 15
RESULT_SUFFIXES = {"image": ".jpg", "video": ".mp4", "webcam": ".mp4"}


def image_numbers(sources: Sequence[Source], known: Mapping[str, int] | None = None) -> list[int]:
    """Return an `image_id` for each image.

    Where all stems are different numbers (COCO's 000000397133.jpg), these are the ids; otherwise
    images count 1, 2, ... in their order. Images that have a record keep its id, and the others
    take the smallest that are free: if the list is the same, a continued run gives every image the
    id that a run without interruption gives.

    Args:
        sources: images.
        known: ids by place, from the records of earlier runs.
    """
    known = known or {}
    numbers = numbers_in_stems(source.stem for source in sources)
    if numbers is not None:
        ids = {source.place: number for source, number in zip(sources, numbers)}
        both = {**ids, **known}
        if ids == {place: both[place] for place in ids} and len({*both.values()}) == len(both):
            return numbers
    taken = set(known.values())
    free = (number for number in itertools.count(1) if number not in taken)
    return [known[s.place] if s.place in known else next(free) for s in sources]


def numbers_in_stems(stems: Iterable[str]) -> list[int] | None:
    """Return the numbers that the stems of file names are, such as COCO's 000000397133.

    Returns:
        The numbers; None where a stem is none, or two are the same.
    """
    numbers = []
    for stem in stems:
        if not stem.isdecimal() or len(stem) > _MAX_DIGITS:
            return None
        numbers.append(int(stem))
    return numbers if len({*numbers}) == len(numbers) else None


def plan_names(
    sources: Sequence[Source], folder: Path, known: Mapping[str, str] | None = None
) -> list[str]:
    """Return the name, without suffix, of the result files of each source.

    No two are the same, also where file systems ignore case, and none of the annotated images or
    videos has the path of a source. Sources of one name get a number; a result that would overwrite
    its own source gets `_instances` after its name. Names that would be too long are cut.

    Args:
        sources: images and videos.
        folder: folder of the annotated images.
        known: names by place, from the records of earlier runs.
    """
    known = known or {}
    real = _RealPaths()
    files = {real.of(source.path) for source in sources if source.is_local}
    taken = {name.casefold() for name in known.values()}

    def is_source(name: str, suffix: str) -> bool:
        return real.of(os.path.join(folder, f"{name}{suffix}")) in files

    planned = []
    for source in sources:
        name, suffix = known.get(source.place), RESULT_SUFFIXES[source.kind]
        if name is None:
            ending, number = "", 1
            name = _shortened(source.stem, ending)
            if is_source(name, suffix):
                ending = "_instances"
                name = _shortened(source.stem, ending)
            while name.casefold() in taken or is_source(name, suffix):
                number += 1
                name = _shortened(source.stem, f"{ending}_{number}")
            taken.add(name.casefold())
        planned.append(name)
    return planned


def without_results(
    sources: Iterable[Source], folder: Path, known: Mapping[str, str]
) -> list[Source]:
    """Leave out annotated images of an earlier run, which lie in the folder of the images."""
    real = _RealPaths()
    written = {
        real.of(os.path.join(folder, f"{name}{suffix}"))
        for name in known.values()
        for suffix in set(RESULT_SUFFIXES.values())
    }
    return [s for s in sources if not s.is_local or real.of(s.path) not in written]


class _RealPaths:
    """Paths without symbolic links; each folder is looked up once, as there are many files."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def of(self, path: str) -> str:
        """Return `os.path.realpath` of a file."""
        if os.path.islink(path):
            return os.path.realpath(path)
        folder, name = os.path.split(path)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], name)


def _shortened(stem: str, ending: str) -> str:
    """Return stem and ending, the stem cut to what a file name can hold."""
    room = MAX_NAME_BYTES - _SUFFIX_BYTES - len(os.fsencode(ending))
    short = os.fsencode(stem)[:room]
    # Not in the middle of a character.
    while short and not stem.startswith(os.fsdecode(short)):
        short = short[:-1]
    return f"{os.fsdecode(short)}{ending}"
