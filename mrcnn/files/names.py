"""Names from files, made safe for a terminal."""

from __future__ import annotations

import unicodedata

# Control characters, format characters (which include the bidirectional overrides), surrogates
# and line separators: what a terminal acts on instead of showing it.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


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
