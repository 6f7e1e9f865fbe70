"""Tables of positions: CSV files, DataFrames, and files of other stitching programs."""

import csv
import fnmatch
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeError, SourceError
from latticework.io.bigstitcher import read_bigstitcher
from latticework.io.fiji import read_fiji
from latticework.io.filenames import name_numbers, strip_suffix
from latticework.io.position_table import PositionTable
from latticework.io.terastitcher import read_terastitcher
from latticework.io.tiff_tiles import Parts
from latticework.io.xml_files import read_xml
from latticework.lattice.merging import natural_key

if TYPE_CHECKING:
    import pandas as pd

_FILE = (
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "path",
    "image",
    "image_name",
    "name",
)
_NUMBER = ("tile", "number", "tile_number", "tile_id", "id", "site", "field")
_INDEX = {
    "tile_z": ("tile_z", "iz", "z_index", "layer"),
    "tile_y": ("tile_y", "iy", "y_index", "row"),
    "tile_x": ("tile_x", "ix", "x_index", "col", "column"),
}
_ROLES = ("file", "number", *_INDEX, "z", "y", "x")


def find_table(positions: Any, folder: Path) -> PositionTable:
    """The table, what to call it in messages, and what else its file says.

    Parameters
    ----------
    positions
        What this gave before, a DataFrame, a mapping of columns, or the path of a file, looked
        for as it is, in `folder` and beside it: CSV or TSV, Fiji's ``TileConfiguration.txt``, or
        XML of TeraStitcher or BigStitcher.
    folder
        Folder of the acquisition.
    """
    import pandas as pd

    if isinstance(positions, PositionTable):
        return positions
    if isinstance(positions, pd.DataFrame):
        return PositionTable(positions, "the positions table")
    if isinstance(positions, Mapping):
        return PositionTable(pd.DataFrame(positions), "the positions table")
    path = Path(positions)
    places = [path] if path.is_absolute() else [path, folder / path, folder.parent / path]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        looked = ", ".join(str(place) for place in places)
        raise SourceError(f"no positions table {path}; looked for {looked}: give its path", path)
    if found.suffix.lower() == ".xml":
        return _read_xml_table(found, folder)
    if found.suffix.lower() == ".txt" and (fiji := read_fiji(found, folder)) is not None:
        return fiji
    try:
        table = pd.read_csv(found, sep=None, engine="python", encoding="utf-8-sig", comment="#")
    except (ValueError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(
            f"{found} cannot be read as CSV ({error}); expected one row per tile", found
        ) from error
    if table.empty:
        raise SourceError(f"{found} has no rows; expected one row per tile", found)
    return PositionTable(table, str(found))


def _read_xml_table(path: Path, folder: Path) -> PositionTable:
    root = read_xml(path)
    readers = {"TeraStitcher": read_terastitcher, "SpimData": read_bigstitcher}
    if root.tag not in readers:
        raise SourceError(
            f"{path} is XML of <{root.tag}>; expected <TeraStitcher>, or <SpimData> of BigStitcher "
            "and BigDataViewer",
            path,
        )
    return readers[root.tag](root, path, folder)


def add_file_facts(parts: Parts, names: Sequence[str], positions: Any, folder: Path) -> None:
    """What a file of positions says of files themselves: pixel sizes, and planes of tiles.

    Parameters
    ----------
    parts
        Pieces of tiles, a file each; pixel sizes of the file of positions go before those of
        the images, as its positions are multiples of them.
    names
        The files, relative to `folder`.
    positions, folder
        See `find_table`.

    Raises
    ------
    SourceError
        If planes are files of their own, and some belong to no tile.
    """
    found = find_table(positions, folder)
    parts.pixel_size_um = {**parts.pixel_size_um, **found.pixel_size_um}
    if found.plane is None or found.match is None or "z" in parts.dims or "z" in parts.table:
        return
    named = [names[row] for row in parts.table["file"]]
    rows = found.match(named)
    if (rows < 0).any():
        lost = [named[i] for i in np.flatnonzero(rows < 0).tolist()]
        raise SourceError(
            f"{found.called} has no stack for {len(lost):,} of {len(named):,} files, such as "
            f"{some(lost)}: correct it, or choose files with files="
        )
    parts.table["z"] = found.plane(named, rows)
    parts.table["stack"] = rows
    parts.key = ("stack",)


def some(names: Sequence[str], most: int = 3) -> str:
    """The first of several names, for messages.

    Examples
    --------
    >>> some(["a.tif", "b.tif", "c.tif", "d.tif"])
    "'a.tif', 'b.tif', 'c.tif' ..."
    """
    return ", ".join(map(repr, names[:most])) + (" ..." if len(names) > most else "")


def read_positions(
    positions: Any,
    names: Sequence[Sequence[str]],
    folder: Path,
    *,
    columns: str | Mapping[str, str] | None = None,
    unit: str | None = None,
) -> "tuple[pd.DataFrame, str | None, Mapping[str, float]]":
    """Placing of every tile from a table: some of ``tile_z tile_y tile_x`` and ``z y x``.

    Parameters
    ----------
    positions
        See `find_table`.
    names
        Names of the files of every tile, in acquisition order.
    folder
        Folder of the acquisition.
    columns
        Which columns hold the positions: ``"true_*"``, where ``*`` stands for z, y and x; or a
        mapping of role (``file number tile_z tile_y tile_x z y x``) to column.
    unit
        ``"um"`` or ``"px"``; read from the columns' names (``x_um``, ``y [px]``) where not given.

    Returns
    -------
    table, unit, pixel_size_um
        One row per tile (NaN rows where the table has no row for a tile), the unit, and the
        pixel sizes that the file says.

    Warns
    -----
    UserWarning
        If a file that lists all tiles has some of which there are no files.
    """
    found = find_table(positions, folder)
    table, called = found.table, found.called
    roles, unit = _roles(list(map(str, table.columns)), columns, unit, called)
    table = table.rename(columns=str)
    placing = table[[roles[role] for role in roles if role not in ("file", "number")]].copy()
    placing.columns = [role for role in roles if role not in ("file", "number")]
    files = table[roles["file"]].tolist() if "file" in roles else None
    for axis in "zyx":
        if axis in placing:
            placing[axis] = _numbers(placing[axis], f"{called}: column {roles[axis]!r}", files)
    if found.match is not None:
        rows = found.match([files[0] for files in names])
        if (rows < 0).all():
            raise LatticeError(
                f"{called} names none of the files: it has {(found.tiles or [''])[0]}, the "
                f"acquisition {names[0][0]!r}; expected the same names"
            )
    else:
        rows = _match(table, roles, names, called)
    if found.tiles is not None:
        _say_missing(found.tiles, rows, called)
    chosen = placing.iloc[np.maximum(rows, 0)].reset_index(drop=True)
    if (rows < 0).any():
        chosen = chosen.astype(object)
        chosen[rows < 0] = np.nan
    return chosen, unit, found.pixel_size_um


def _say_missing(tiles: Sequence[str], rows: np.ndarray, called: str) -> None:
    """Warn of tiles of a file of which no file of pixels is there."""
    there = {tiles[row] for row in rows[rows >= 0].tolist()}
    missing = list(dict.fromkeys(tile for tile in tiles if tile not in there))
    if missing:
        warnings.warn(
            f"{called} has positions of {len(set(tiles)):,} tiles, and of {len(missing):,} of them "
            f"there are no files: {some(missing)}",
            UserWarning,
            stacklevel=4,
        )


def listing(
    found: PositionTable,
    *,
    columns: str | Mapping[str, str] | None = None,
    unit: str | None = None,
) -> Callable[[str], bool] | None:
    """Whether a table lists a file, by its name below the folder; None where it names no files.

    Parameters
    ----------
    found
        What `find_table` gave.
    columns, unit
        As for `read_positions`.
    """
    if (match := found.match) is not None:
        return lambda name: bool(match([name])[0] >= 0)
    roles, _ = _roles(list(map(str, found.table.columns)), columns, unit, found.called)
    if "file" not in roles:
        return None
    listed = found.table.rename(columns=str)[roles["file"]].astype(str)
    forms = {form for name in listed for form in _forms(name.strip().replace("\\", "/"))}
    return lambda name: any(form in forms for form in _forms(name))


def _forms(name: str) -> tuple[str, str, str]:
    """A file's path, its name, and its name without an ending: how a table may call it."""
    base = name.rpartition("/")[2]
    return name, base, strip_suffix(base)


def _numbers(
    column: "pd.Series[Any]", where: str, files: Sequence[Any] | None = None
) -> "pd.Series[Any]":
    import pandas as pd

    numbers = pd.to_numeric(column, errors="coerce")
    bad = ~np.isfinite(numbers.to_numpy(float))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        of = "" if files is None else f" ({files[row]})"
        raise LatticeError(
            f"{where}, row {row + 1}{of}, holds {str(column.iloc[row])!r}; expected numbers"
        )
    return numbers


def _roles(
    found: list[str], columns: str | Mapping[str, str] | None, unit: str | None, called: str
) -> tuple[dict[str, str], str | None]:
    lower = {name.casefold().strip(): name for name in reversed(found)}
    roles: dict[str, str] = {}
    for role, names in {"file": _FILE, "number": _NUMBER, **_INDEX}.items():
        match = next((lower[name] for name in names if name in lower), None)
        if match is not None:
            roles[role] = match
    spatial = _position_columns(found)
    if isinstance(columns, Mapping):
        wrong = {
            role: name for role, name in columns.items() if role not in _ROLES or name not in found
        }
        if wrong:
            raise LatticeError(
                f"columns={dict(columns)}: {wrong} is not a role ({', '.join(_ROLES)}) with a "
                f"column of {called}, "
                f"which has {', '.join(found)}"
            )
        roles |= columns
        if not any(axis in columns for axis in "zyx"):
            spatial = {} if any(role in columns for role in _INDEX) else spatial
        else:
            spatial = {}
    elif columns is not None:
        template = columns if "*" in columns else f"{columns}*"
        chosen = {
            a: n for a in "zyx" for n in found if fnmatch.fnmatchcase(n, template.replace("*", a))
        }
        if not chosen:
            raise LatticeError(
                f"columns={columns!r} fits no column of {called}, which has {', '.join(found)}"
            )
        roles |= chosen
        spatial = {}
    if len(spatial) > 1:
        choices = " or ".join(f'columns="{template}"' for template in spatial)
        raise LatticeError(
            f"{called} has {len(spatial)} sets of positions: say which with {choices}"
        )
    for template, named in spatial.items():
        roles |= named
        unit = unit or _unit(template)
    axes = [axis for axis in "zyx" if axis in roles]
    if axes and unit is None:
        unit = _unit(roles[axes[-1]])
    if axes and unit not in ("um", "px"):
        raise LatticeError(
            f"{called}: are the positions in {[roles[axis] for axis in axes]} pixels or "
            "micrometres? "
            f'say unit="px" or unit="um"{"" if unit is None else f", not {unit!r}"}'
        )
    if not axes and not any(role in roles for role in _INDEX):
        raise LatticeError(
            f"{called} has the columns {', '.join(found)}; expected positions (x_um, y_um ...), "
            "grid indices "
            '(row, col ...), or columns={"y": ..., "x": ...} that say which they are'
        )
    return roles, unit if axes else None


def _position_columns(found: Sequence[str]) -> dict[str, dict[str, str]]:
    """Sets of columns that differ only in a lone z, y or x, by template."""
    sets: dict[str, dict[str, str]] = {}
    for name in found:
        match = re.fullmatch(
            r"(?i)(?P<before>.*[^a-z])?(?P<axis>[zyx])(?P<after>[^a-z].*)?", name.strip()
        )
        if match and name.casefold() not in {alias for names in _INDEX.values() for alias in names}:
            template = f"{match['before'] or ''}*{match['after'] or ''}"
            sets.setdefault(template, {})[match["axis"].casefold()] = name
    return {template: axes for template, axes in sets.items() if "y" in axes and "x" in axes}


def _unit(name: str) -> str | None:
    words = set(re.split(r"[^a-zµμ]+", name.casefold()))
    if words & {"um", "µm", "μm", "micron", "microns", "micrometer", "micrometre"}:
        return "um"
    return "px" if words & {"px", "pixel", "pixels", "pix"} else None


def _match(
    table: "pd.DataFrame", roles: Mapping[str, str], names: Sequence[Sequence[str]], called: str
) -> np.ndarray:
    if "file" in roles:
        return _match_files(table[roles["file"]].astype(str).tolist(), names, called)
    if "number" in roles:
        numbers = table[roles["number"]].tolist()
        if len(set(numbers)) != len(numbers):
            twice = next(number for number in numbers if numbers.count(number) > 1)
            raise LatticeError(
                f"{called}: {roles['number']}={twice} is there twice; expected each tile once"
            )
        own = name_numbers([files[0] for files in names])
        if own is not None and set(own) <= set(numbers):
            row = {number: i for i, number in enumerate(numbers)}
            return np.array([row[number] for number in own])
        if len(numbers) == len(names):
            return np.array(sorted(range(len(numbers)), key=lambda i: natural_key(str(numbers[i]))))
    if len(table) != len(names):
        raise LatticeError(
            f"{called} has {len(table)} rows for {len(names)} tiles ({names[0][0]} ...): give one "
            "row per tile, "
            "or a column with the file names"
        )
    return np.arange(len(names))


def _match_files(listed: list[str], names: Sequence[Sequence[str]], called: str) -> np.ndarray:
    listed = [name.strip().replace("\\", "/") for name in listed]
    keys: list[dict[str, int]] = []
    for form in (str, lambda s: s.rpartition("/")[2], lambda s: strip_suffix(s.rpartition("/")[2])):
        forms = [form(name) for name in listed]
        keys.append(
            {name: row for row, name in enumerate(forms)} if len(set(forms)) == len(forms) else {}
        )
        if form is str and not keys[0]:
            twice = next(name for name in listed if listed.count(name) > 1)
            raise LatticeError(f"{called}: {twice!r} is there twice; expected each file once")
    rows = np.full(len(names), -1)
    for tile, files in enumerate(names):
        for file in files:
            base = file.rpartition("/")[2]
            hits = [
                key[form]
                for key, form in zip(keys, (file, base, strip_suffix(base)), strict=True)
                if form in key
            ]
            if hits:
                rows[tile] = hits[0]
                break
    if (rows < 0).all():
        raise LatticeError(
            f"{called} names none of the files: it has {listed[0]!r}, the acquisition "
            f"{names[0][0]!r}; expected "
            "the same names"
        )
    return rows
