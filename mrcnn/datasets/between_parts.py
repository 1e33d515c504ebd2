"""Findings about the images of all parts of a dataset: copies, and images without annotation."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from mrcnn.datasets.image_files import list_images
from mrcnn.datasets.problems import Problem
from mrcnn.files.names import counted

__all__ = ["find_copies", "find_shared", "find_unannotated", "parts_in_order", "shared_with"]

_NUM_NAMES = 5


def parts_in_order(names: Iterable[str]) -> list[str]:
    """Return the names of parts, those that join others ("trainval") last."""
    return sorted(names, key=lambda name: "trainval" in name.lower())


def shared_with(images: set[Any], others: Mapping[str, set[Any]]) -> list[str]:
    """Return the parts that together hold all images of a part; none if an image is new.

    Args:
        images: what tells the images of the part apart.
        others: the same of the parts that were looked at before, by name.
    """
    missing = set(images)
    sharing = [name for name, inner in others.items() if not missing.isdisjoint(inner)]
    for name in sharing:
        missing.difference_update(others[name])
    return sharing if not missing else []


def find_copies(digests: Mapping[str, str]) -> list[Problem]:
    """Find images that occur twice in a part.

    Args:
        digests: path of each image -> digest of the file's content.

    Returns:
        A warning of the kind same_content, if there are copies.
    """
    originals: dict[str, str] = {}
    copies = [
        (path, original)
        for path, digest in digests.items()
        if (original := originals.setdefault(digest, path)) != path
    ]
    if not copies:
        return []
    verb = "is a copy" if len(copies) == 1 else "are copies"
    message = f"{counted(len(copies), 'image')} {verb} of another: {_pairs(copies)}"
    return [Problem("warning", "same_content", message)]


def find_shared(digests: Mapping[str, Mapping[str, str]]) -> list[Problem]:
    """Find images that occur in two parts.

    Args:
        digests: part -> path of each image -> digest of the file's content.

    Returns:
        A warning of the kind shared_between_parts for each two parts that share images. A model
        that is measured on images that it was trained on looks better than it is.
    """
    problems = []
    paths = {
        part: {digest: path for path, digest in files.items()} for part, files in digests.items()
    }
    for first, second in combinations(paths, 2):
        shared = [digest for digest in paths[second] if digest in paths[first]]
        if shared:
            verb = "is" if len(shared) == 1 else "are"
            pairs = [(paths[second][digest], paths[first][digest]) for digest in shared]
            message = (
                f"{counted(len(shared), 'image')} of {second} {verb} also in {first}: "
                f"{_pairs(pairs)}"
            )
            problems.append(Problem("warning", "shared_between_parts", message))
    return problems


def find_unannotated(paths: Iterable[str]) -> list[Problem]:
    """Find image files beside those of the dataset to which no annotation refers.

    Args:
        paths: the images of all parts of the dataset.

    Returns:
        A note for each folder with such files, of the kind unannotated_files.
    """
    known: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        folder, name = os.path.split(path)
        known[folder].add(name)
    problems = []
    for folder, names in sorted(known.items()):
        if not Path(folder).is_dir():
            continue
        others = [file.name for file in list_images(folder) if file.name not in names]
        if others:
            listed = ", ".join(others[:_NUM_NAMES]) + (", ..." if len(others) > _NUM_NAMES else "")
            is_one = len(others) == 1
            message = (
                f"{counted(len(others), 'image file')} in {folder} "
                f"{'has' if is_one else 'have'} no annotation and "
                f"{'is' if is_one else 'are'} not in the dataset: {listed}"
            )
            problems.append(Problem("note", "unannotated_files", message))
    return problems


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    """Return the first of some pairs of paths as text."""
    texts = [
        copy if copy == original else f"{copy} = {original}"
        for copy, original in pairs[:_NUM_NAMES]
    ]
    return "; ".join(texts) + ("; ..." if len(pairs) > _NUM_NAMES else "")
