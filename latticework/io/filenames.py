"""File names: natural order, and patterns that say where a file belongs.

A pattern is the name with fields in braces, ``"{well}_s{site:d}_w{c:d}_z{z:d}.tif"``, or a compiled
regular expression with named groups. ``{name}`` takes text, ``{name:d}`` a whole number,
``{name:f}`` a number; ``*`` and ``{}`` take anything. A pattern with a ``/`` is held against the
path below the acquisition's folder, others against the file's name. What the names mean:

====================================== ============================================================
``z slice plane zstep``                plane of a tile's pixels along z
``c channel ch w wavelength``          plane of a tile's pixels along c
``tile_z iz layer section``            lattice label along z
``tile_y iy y row``                    lattice label along y
``tile_x ix x col column``             lattice label along x
``z_um y_um x_um``                     position in micrometres
``z_px y_px x_px``                     position in pixels
``tile site field position number``    number in acquisition order, for ``grid=``
``t time timepoint``                   lattice axis ``time``
anything else (``well``, ``sheet``)    a lattice axis of that name
====================================== ============================================================
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from latticework.errors import LatticeError, SourceError
from latticework.lattice import merging

MEANINGS: dict[str, str] = {
    name: role
    for role, names in {
        "z": "z slice plane zstep z_plane",
        "c": "c channel ch w wavelength",
        "tile_z": "tile_z iz layer section",
        "tile_y": "tile_y iy y row r",
        "tile_x": "tile_x ix x col column",
        "number": "tile site field position number fov",
        "time": "t time timepoint time_point",
    }.items()
    for name in names.split()
}
"""What the names of fields mean; `_um` and `_px` names mean themselves."""

POSITION_FIELDS = tuple(f"{axis}_{unit}" for unit in ("um", "px") for axis in "zyx")

KNOWN_PATTERNS = (
    re.compile(
        r".*?tile_?z(?P<tile_z>\d+)[_-]?y(?P<tile_y>\d+)[_-]?x(?P<tile_x>\d+).*", re.IGNORECASE
    ),
    re.compile(
        r"(?:.*[_-])?z(?P<tile_z>\d+)_y(?P<tile_y>\d+)_x(?P<tile_x>\d+)(?:[._-].*)?", re.IGNORECASE
    ),
    re.compile(r"(?:.*[_-])?y(?P<tile_y>\d+)_x(?P<tile_x>\d+)(?:[._-].*)?", re.IGNORECASE),
    re.compile(
        r".*?r(?:ow)?[_-]?(?P<tile_y>\d+)[_-]?c(?:ol(?:umn)?)?[_-]?(?P<tile_x>\d+).*", re.IGNORECASE
    ),
    re.compile(
        r"(?:.*[_-])?z(?P<tile_z>\d+)[_-]?x(?P<tile_x>\d+)[_-]?y(?P<tile_y>\d+)(?:[._-].*)?",
        re.IGNORECASE,
    ),
    re.compile(r"(?:.*[_-])?x(?P<tile_x>\d+)[_-]?y(?P<tile_y>\d+)(?:[._-].*)?", re.IGNORECASE),
    re.compile(r"(?:.*[_-])?y(?P<tile_y>\d+)[_-]?x(?P<tile_x>\d+)(?:[._-].*)?", re.IGNORECASE),
    re.compile(r".*?col(?:umn)?[_-]?(?P<tile_x>\d+)[_-]?row[_-]?(?P<tile_y>\d+).*", re.IGNORECASE),
)
"""Tried, in this order, where nothing else says where the tiles are."""

_DIGITS = re.compile(r"(\d+)")

natural_key = merging.natural_key
"""Sort key in which ``ZStep_10`` follows ``ZStep_9``."""


def compile_pattern(pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    """The regular expression of a pattern.

    Examples
    --------
    >>> compile_pattern("{well}_s{site:d}.tif").match("E07_s2.tif").groupdict()
    {'well': 'E07', 'site': '2'}
    """
    if isinstance(pattern, re.Pattern):
        compiled = pattern
    else:
        text, seen = "", set()
        for literal, star, name, form in re.findall(
            r"([^{}*]+)|(\*)|\{(\w*)(?::(\w*))?\}", pattern
        ):
            kind = {"d": r"[-+]?\d+", "f": r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?"}.get(
                form[-1:] or "", r"[^/]+?"
            )
            if literal:
                text += re.escape(literal)
            elif star or not name:
                text += "[^/]*?"
            else:
                text += f"(?P={name})" if name in seen else f"(?P<{name}>{kind})"
                seen.add(name)
        try:
            compiled = re.compile(text)
        except re.error as error:
            raise LatticeError(f"pattern={pattern!r} is not a pattern: {error}") from error
    if not compiled.groupindex:
        raise LatticeError(
            f"pattern={pattern!r} names no field; expected some such as {{row:d}}, {{col:d}}, "
            f"{{z:d}}, {{c}}"
        )
    return compiled


def match_names(
    names: Sequence[str], pattern: str | re.Pattern[str]
) -> tuple[dict[str, list[Any]], list[int]]:
    """Fields of every name by meaning, and the rows whose name does not match (fields are None).

    Numbers become integers where every name has one there.

    Examples
    --------
    >>> match_names(["a_r1_c2.tif", "a_r1_c10.tif", "notes.tif"], "{}_r{row}_c{col}.tif")
    ({'tile_y': [1, 1, None], 'tile_x': [2, 10, None]}, [2])
    """
    compiled = compile_pattern(pattern)
    whole = "/" in compiled.pattern.replace("[^/]", "")
    suffix = isinstance(pattern, re.Pattern) or re.search(r"\.\w+$", str(pattern)) is not None
    fields: dict[str, list[Any]] = {}
    for group in compiled.groupindex:
        role = MEANINGS.get(group.casefold(), group)
        if role in fields:
            raise LatticeError(
                f"pattern={pattern!r} names {role} twice (as {group!r} too): rename one"
            )
        fields[role] = []
    bad = []
    for row, name in enumerate(names):
        subject = name if whole else name.rpartition("/")[2]
        match = compiled.fullmatch(subject)
        if match is None and not suffix:
            match = compiled.fullmatch(strip_suffix(subject))
        if match is None:
            bad.append(row)
        for group in compiled.groupindex:
            fields[MEANINGS.get(group.casefold(), group)].append(
                None if match is None else match[group]
            )
    return {role: _typed(role, values) for role, values in fields.items()}, bad


def _typed(role: str, values: list[Any]) -> list[Any]:
    given = [value for value in values if value is not None]
    if role in POSITION_FIELDS:
        convert: type = float
    elif given and all(re.fullmatch(r"[-+]?\d+", value) for value in given):
        convert = int
    else:
        return values
    try:
        return [None if value is None else convert(value) for value in values]
    except ValueError as error:
        raise LatticeError(f"the field {role} is not a number in a file name: {error}") from error


def strip_suffix(name: str) -> str:
    """The name without its TIFF or Zarr ending."""
    return re.sub(r"(\.ome)?\.(tiff?|btf|tf[28]|zarr)$", "", name, flags=re.IGNORECASE)


def name_numbers(names: Iterable[str]) -> list[int] | None:
    """The last number in each name, or None where some name has none or two share one.

    Examples
    --------
    >>> name_numbers(["tile_00.tif", "tile_02.tif"]), name_numbers(["a1.tif", "b1.tif"])
    ([0, 2], None)
    """
    numbers = []
    for name in names:
        found = _DIGITS.findall(strip_suffix(name.rpartition("/")[2]))
        if not found:
            return None
        numbers.append(int(found[-1]))
    return numbers if len(set(numbers)) == len(numbers) else None


_LABELLED = re.compile(r"([A-Za-z]*)([ =_-]?)(\d+)")


def pattern_of(names: Sequence[str]) -> str | None:
    """A pattern of the names with their rows and columns, as advice; None if they show none.

    Numbers are taken for what the letters before them say. Where no letters do, and two numbers
    differ from name to name, these are row and column, in this order.

    Examples
    --------
    >>> pattern_of(["scan X1 Y2.tif", "scan X2 Y2.tif"]), pattern_of(["a_01_3.tif", "a_02_4.tif"])
    ('scan X{col:d} Y{row:d}.tif', 'a_{row:d}_{col:d}.tif')
    >>> pattern_of(["tile_00.tif", "tile_01.tif"])
    """
    bases = [name.rpartition("/")[2] for name in names]
    found = [list(_LABELLED.finditer(strip_suffix(base))) for base in bases]
    if not found or not found[0] or len({len(numbers) for numbers in found}) > 1:
        return None
    differ = [len({int(number[3]) for number in at}) > 1 for at in zip(*found, strict=True)]
    roles = [_role_of(number[1]) for number in found[0]]
    if not {"row", "col"} <= set(roles):
        if sum(differ) != 2 or any(number[1] and number[2] == "" for number in found[0]):
            return None
        order = iter(("row", "col"))
        roles = [next(order) if apart else "" for apart in differ]
    text, end = "", 0
    for number, role, apart in zip(found[0], roles, differ, strict=True):
        field = f"{{{role}:d}}" if role and f"{{{role}:d}}" not in text else ""
        kept = bases[0][end : number.start(3)]
        text += kept + (field or ("*" if apart else number[3]))
        end = number.end()
    text += bases[0][end:]
    return text if not match_names(names, text)[1] else None


def _role_of(letters: str) -> str:
    """What a number after these letters is: row, col, z or c; empty for none of them."""
    words = {"tile_y": "row", "tile_x": "col", "z": "z", "c": "c"}
    folded = letters.casefold()
    for start in range(len(folded)):  # as in scanX01
        role = words.get(MEANINGS.get(folded[start:], ""))
        if role and (start == 0 or (role in ("row", "col") and letters[start].isupper())):
            return role
    return ""


def unmatched_error(
    names: Sequence[str], bad: Sequence[int], pattern: Any, folder: Path
) -> SourceError:
    """The error for names that do not fit the pattern."""
    text = pattern.pattern if isinstance(pattern, re.Pattern) else pattern
    examples = ", ".join(repr(names[row]) for row in bad[:3])
    return SourceError(
        f"{len(bad)} of {len(names)} file names in {folder} do not fit pattern={text!r}, such as "
        f"{examples}: "
        'correct the pattern, choose files with files="...", or leave them out with errors="mark"',
        folder / names[bad[0]],
    )
