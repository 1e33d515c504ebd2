"""Names from files, made safe for a terminal."""

from __future__ import annotations

import reprlib
import unicodedata
from collections import Counter

# Control characters, format characters (which include the bidirectional overrides), surrogates
# and line separators: what a terminal acts on instead of showing it.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


class _ShortRepr(reprlib.Repr):
    """The beginning of a `repr`: that of a whole annotation file would take gigabytes."""

    def repr_instance(self, x: object, level: int) -> str:
        return repr(x)


_SHORT = _ShortRepr()
_SHORT.maxlevel = 4
_SHORT.maxlist = _SHORT.maxdict = _SHORT.maxtuple = _SHORT.maxset = 40
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 1000


def printable(text: object) -> str:
    r"""Return a text without characters that a terminal acts on.

    Args:
        text: a name from an untrusted source; anything but a `str` goes through `str` first.

    Returns:
        The text with control and format characters, surrogates and line separators written as
        escapes.

    Example:
        >>> printable("cat\x1b[2J")
        'cat\\x1b[2J'
    """
    return "".join(
        character.encode("unicode_escape", "backslashreplace").decode("ascii")
        if unicodedata.category(character) in _UNPRINTABLE
        else character
        for character in str(text)
    )


def shown(value: object, limit: int = 200) -> str:
    """Return a value of any type as printable text for a message.

    Args:
        value: the value; its `repr` is taken, of large containers only the beginning.
        limit: characters after which the text ends in "...".

    Returns:
        Printable text, also for values whose `repr` fails.
    """
    try:
        text = printable(_SHORT.repr(value))
    except Exception:  # a class of the user's own, or a number too long for a text
        text = f"of type {type(value).__name__}"
    return text if len(text) <= limit else f"{text[:limit]}..."


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return "1 image", "2 images"; `plural` where it is not the noun and an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def found_text(counts: Counter[str]) -> str:
    """Return "person 3, car 1" of numbers by class name; "nothing" without any."""
    return ", ".join(f"{name} {number}" for name, number in counts.most_common()) or "nothing"
