"""XML annotation files: any declared encoding, no entities, every fault with the file's name."""

from __future__ import annotations

import codecs
import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from mrcnn.datasets.entries import AnnotationError
from mrcnn.files.names import printable

_MAX_BYTES = 64 << 20
_MAX_DEPTH = 200
_DECLARATION = re.compile(r"\s*<\?xml[^>]*?\?>")
_ENCODING = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})["']""")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
# Names of encodings whose files hold characters of a larger one.
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "iso8859-1": "cp1252", "ascii": "utf-8"}


def parse_xml(path: str | os.PathLike[str]) -> ElementTree.Element:
    """Parse an XML file.

    Declarations of entities are refused: a few lines of them can expand to gigabytes, and
    external ones name other files.

    Args:
        path: a file in UTF-8, UTF-16, UTF-32 or the encoding that it declares.

    Returns:
        The outermost element.

    Raises:
        AnnotationError: the file is too large, not text of its encoding, no XML, declares
            entities or is nested too deeply.
    """
    name = printable(os.fspath(path))
    size = os.stat(path).st_size
    if size > _MAX_BYTES:
        raise AnnotationError(f"{name}: its size is {size} bytes; it must be at most {_MAX_BYTES}")
    text = _decode(Path(path).read_bytes(), name)
    if "<!ENTITY" in text:
        raise AnnotationError(f"{name}: it declares entities, which are not expanded")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise AnnotationError(f"{name}: not valid XML ({printable(error)})") from error
    _check_depth(root, name)
    return root


def xml_root_tag(path: str | os.PathLike[str], size: int = 1 << 16) -> str:
    """Return the name of the outermost element, of the file's beginning alone; "" if unknown."""
    with open(path, "rb") as file:
        head = file.read(size).replace(b"\0", b"")
    text = re.sub(r"<!--.*?-->", "", head.decode("latin-1"), flags=re.DOTALL)
    found = re.search(r"<([A-Za-z_][\w.-]*)[\s/>]", text)
    return found[1] if found else ""


def element_content(element: ElementTree.Element, levels: int = 4) -> Any:
    """Return an element as its text, or as a dictionary of its inner elements.

    Args:
        element: the element. Of inner elements of one name the first counts.
        levels: how deep inner elements are followed.

    Returns:
        None for an element without text and inner elements.
    """
    if not len(element) or not levels:
        return (element.text or "").strip() or None
    content: dict[str, Any] = {}
    for inner in element:
        if isinstance(inner.tag, str):
            content.setdefault(inner.tag, element_content(inner, levels - 1))
    return content


def _decode(data: bytes, name: str) -> str:
    """Return the text without its declaration, whose encoding is no longer true."""
    encoding = next((codec for mark, codec in _MARKS if data.startswith(mark)), None)
    if encoding is None:
        encoding = _declared_encoding(data)
    try:
        text = data.decode(encoding)
    except LookupError as error:
        raise AnnotationError(
            f"{name}: encoding is {encoding!r}; it must be a known one"
        ) from error
    except (UnicodeError, ValueError) as error:
        start = getattr(error, "start", 0)
        raise AnnotationError(
            f"{name}: byte {start} is {data[start : start + 1]!r}, which is not {encoding}; save "
            "it as UTF-8 or declare its encoding"
        ) from error
    return _DECLARATION.sub("", text, count=1)


def _declared_encoding(data: bytes) -> str:
    declared = _ENCODING.match(data.lstrip()[:300])
    if declared is None:
        return "utf-8"
    name = declared[1].decode("ascii").lower()
    try:
        name = codecs.lookup(name).name
    except (LookupError, ValueError):
        return name
    # UTF-16 was recognized by its bytes; a converted text may still declare it.
    return "utf-8" if name.startswith(("utf-16", "utf-32")) else _WIDER.get(name, name)


def _check_depth(root: ElementTree.Element, name: str) -> None:
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > _MAX_DEPTH:
            raise AnnotationError(f"{name}: not valid XML (nested too deeply)")
        level = [inner for element in level for inner in element]
