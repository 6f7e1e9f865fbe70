"""XML files of other programs: read without entities, written whole."""

import os
import re
import xml.etree.ElementTree as ET
from math import isfinite
from pathlib import Path

from latticework.errors import SourceError

_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_NAMED_DOCTYPE = re.compile(
    r"""<!DOCTYPE\s+[\w.-]+(\s+SYSTEM\s+("[^"<>\[]*"|'[^'<>\[]*'))?\s*>""", re.ASCII
)
"""A DOCTYPE that only names a DTD, as TeraStitcher writes; the DTD is never looked at."""


def read_xml(path: Path) -> ET.Element:
    """The root element of an XML file.

    A DOCTYPE that names a DTD is skipped, one that declares anything is refused, so no entity is
    ever expanded and nothing is ever fetched.

    Raises
    ------
    SourceError
        If the file is no XML, is damaged, not UTF-8, or declares entities.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{path} is not UTF-8 text ({error}); expected an XML file in UTF-8: save it so", path
        ) from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}", path) from error
    text = _NAMED_DOCTYPE.sub(_blank, _DECLARATION.sub(_blank, text), count=1)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise SourceError(
            f"{path} declares entities or a document type of its own; expected plain XML: remove "
            "the declaration",
            path,
        )
    try:
        return ET.fromstring(text.encode())  # noqa: S314 (no DOCTYPE, no entities)
    except ET.ParseError as error:
        raise SourceError(
            f"{path} is damaged XML ({error}); expected a whole document: write it again", path
        ) from error


def _blank(found: re.Match[str]) -> str:
    """As many lines, so that an error's line is the file's."""
    return "\n" * found[0].count("\n")


def child(element: ET.Element, name: str, path: Path) -> ET.Element:
    """The first child of that name.

    Raises
    ------
    SourceError
        If there is none.
    """
    found = element.find(name)
    if found is None:
        raise SourceError(f"{path}: <{element.tag}> has no <{name}>; expected one", path)
    return found


def number(element: ET.Element, name: str, path: Path, *, called: str | None = None) -> float:
    """An attribute that is a finite number.

    Raises
    ------
    SourceError
        If it is missing, or is something else.
    """
    text = element.get(name)
    try:
        value = float("nan" if text is None else text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        said = "is missing" if text is None else f"is {text!r}"
        raise SourceError(
            f"{path}: {name} of {called or f'<{element.tag}>'} {said}; expected a number", path
        )
    return value


def numbers(element: ET.Element | None, count: int, path: Path, *, called: str) -> list[float]:
    """`count` finite numbers, apart by blanks, as an element's text.

    Raises
    ------
    SourceError
        If there are more, fewer, or others.
    """
    text = "" if element is None or element.text is None else element.text
    try:
        values = [float(word) for word in text.split()]
    except ValueError:
        values = []
    if len(values) != count or not all(map(isfinite, values)):
        said = "is missing" if element is None else f"is {text.strip()[:80]!r}"
        raise SourceError(f"{path}: {called} {said}; expected {count} numbers", path)
    return values


def whole_number(text: str | None, path: Path, *, called: str) -> int:
    """A whole number, as an id is.

    Raises
    ------
    SourceError
        If it is missing, or is something else.
    """
    try:
        return int((text or "").strip())
    except ValueError as error:
        said = "is missing" if text is None else f"is {text.strip()[:80]!r}"
        raise SourceError(f"{path}: {called} {said}; expected a whole number", path) from error


def add(parent: ET.Element, name: str, text: object = None, /, **attributes: str) -> ET.Element:
    """A new last child."""
    element = ET.SubElement(parent, name, attributes)
    element.text = None if text is None else str(text)
    return element


def write_xml(root: ET.Element, path: Path, *, doctype: str = "") -> None:
    """Write a document with indents; it appears whole or not at all."""
    ET.indent(root)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n' + (f"{doctype}\n" if doctype else "")
    write_whole(path, head + ET.tostring(root, encoding="unicode") + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a text file; whoever looks finds the old text or the new one.

    Raises
    ------
    SourceError
        If the folder does not exist or cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SourceError(
            f"cannot write {path}: {error.strerror or error}; expected a folder that exists and "
            "can be written to",
            path,
        ) from error
