"""Class names that may mean the same class."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

__all__ = ["similar_names"]

# Shorter names are too often different words one letter apart, such as "cat" and "car".
_MIN_LETTERS = 6


def similar_names(names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Find pairs of names that differ in a way that labeling by hand brings about.

    Args:
        names: class names. Equal names are no pair.

    Returns:
        (name, other name, how they differ: "case or spaces", "plural" or "one letter") in the
        order of the first one.

    Example:
        >>> similar_names(["Car", "car", "trees", "tree", "carrots", "carots"])
        [('Car', 'car', 'case or spaces'), ('trees', 'tree', 'plural'), \
('carrots', 'carots', 'one letter')]
    """
    unique = list(dict.fromkeys(names))
    folded = [_folded(name) for name in unique]
    found: dict[tuple[int, int], str] = {}
    rules = (
        ("case or spaces", [{text} for text in folded]),
        ("plural", [{_singular(text)} for text in folded]),
        ("one letter", [_with_a_letter_less(text) for text in folded]),
    )
    for difference, keys in rules:
        for first, second in _sharing(keys):
            if difference == "one letter" and not _is_typo(folded[first], folded[second]):
                continue
            found.setdefault((first, second), difference)
    return [(unique[a], unique[b], how) for (a, b), how in sorted(found.items())]


def _sharing(keys: Sequence[set[str]]) -> set[tuple[int, int]]:
    """Return the pairs of positions whose sets share a key other than ""."""
    owners = defaultdict(list)
    for number, own in enumerate(keys):
        for key in own:
            owners[key].append(number)
    return {pair for key, same in owners.items() if key for pair in combinations(same, 2)}


def _folded(name: str) -> str:
    """Return the name without case, accents of composition, spaces and punctuation."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())


def _singular(text: str) -> str:
    """Return a common form of an English word and its plural."""
    for ending, other in (("ies", "y"), ("ves", "f"), ("ses", "s"), ("xes", "x"), ("hes", "h")):
        if len(text) > 4 and text.endswith(ending):
            return text[: -len(ending)] + other
    return text[:-1] if len(text) > 3 and text.endswith("s") and text[-2] != "s" else text


def _with_a_letter_less(text: str) -> set[str]:
    if len(text) < _MIN_LETTERS:
        return set()
    return {text, *(text[:i] + text[i + 1 :] for i in range(len(text)))}


def _is_typo(first: str, second: str) -> bool:
    """Return whether one letter was left out, added, replaced, or exchanged with the next."""
    if re.findall(r"\d+", first) != re.findall(r"\d+", second):
        return False  # "grade 1" and "grade 2" are meant to differ
    short, long = sorted((first, second), key=len)
    differing = [i for i, (a, b) in enumerate(zip(short, long)) if a != b]
    if len(short) < len(long):
        at = differing[0] if differing else len(short)
        return short[at:] == long[at + 1 :]
    if len(differing) == 1:
        # The last letter may be a name of its own: "type a", "type b".
        return differing[0] < len(short) - 1
    if len(differing) != 2 or differing[1] != differing[0] + 1:
        return False
    i, j = differing
    return short[i] == long[j] and short[j] == long[i]
