"""Tables of positions: CSV files and DataFrames that say where tiles are."""

import fnmatch
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeError, SourceError
from latticework.io.filenames import name_numbers, natural_key, strip_suffix

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


def find_table(positions: Any, folder: Path) -> "tuple[pd.DataFrame, str]":
    """The table and what to call it in messages.

    Parameters
    ----------
    positions
        DataFrame, mapping of columns, or path of a CSV (or TSV) file, looked for as it is, in
        `folder` and beside it.
    folder
        Folder of the acquisition.
    """
    import pandas as pd

    if isinstance(positions, pd.DataFrame):
        return positions, "the positions table"
    if isinstance(positions, Mapping):
        return pd.DataFrame(positions), "the positions table"
    path = Path(positions)
    places = [path] if path.is_absolute() else [path, folder / path, folder.parent / path]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        looked = ", ".join(str(place) for place in places)
        raise SourceError(f"no positions table {path}; looked for {looked}: give its path", path)
    if (fiji := _tile_configuration(found)) is not None:
        return pd.DataFrame(fiji), str(found)
    try:
        table = pd.read_csv(found, sep=None, engine="python", encoding="utf-8-sig", comment="#")
    except (ValueError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{found} cannot be read as CSV ({error}); expected one row per tile", found
        ) from error
    if table.empty:
        raise SourceError(f"{found} has no rows; expected one row per tile", found)
    return table, str(found)


def _tile_configuration(path: Path) -> dict[str, list[Any]] | None:
    """Columns of a TileConfiguration.txt of Fiji's stitching (``name; ; (x, y)``), else None."""
    if path.suffix.lower() != ".txt":
        return None
    number = r"\s*([-+.\deE]+)\s*"
    line = re.compile(
        rf"^\s*([^;#]+?)\s*;[^;]*;\s*\({number},{number}(?:,{number})?\)\s*$", re.MULTILINE
    )
    rows = line.findall(path.read_text(encoding="utf-8-sig"))
    if not rows:
        return None
    table: dict[str, list[Any]] = {"file": [row[0] for row in rows]}
    for column, axis in enumerate("xyz", start=1):
        if all(row[column] for row in rows):
            table[f"{axis}_px"] = [float(row[column]) for row in rows]
    return table


def read_positions(
    positions: Any,
    names: Sequence[Sequence[str]],
    folder: Path,
    *,
    columns: str | Mapping[str, str] | None = None,
    unit: str | None = None,
) -> "tuple[pd.DataFrame, str | None]":
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
    table, unit
        One row per tile (NaN rows where the table has no row for a tile), and the unit.
    """
    table, called = find_table(positions, folder)
    roles, unit = _roles(list(map(str, table.columns)), columns, unit, called)
    table = table.rename(columns=str)
    placing = table[[roles[role] for role in roles if role not in ("file", "number")]].copy()
    placing.columns = [role for role in roles if role not in ("file", "number")]
    for axis in "zyx":
        if axis in placing:
            placing[axis] = _numbers(placing[axis], f"{called}: column {roles[axis]!r}")
    rows = _match(table, roles, names, called)
    chosen = placing.iloc[np.maximum(rows, 0)].reset_index(drop=True)
    if (rows < 0).any():
        chosen = chosen.astype(object)
        chosen[rows < 0] = np.nan
    return chosen, unit


def _numbers(column: "pd.Series[Any]", where: str) -> "pd.Series[Any]":
    import pandas as pd

    numbers = pd.to_numeric(column, errors="coerce")
    bad = ~np.isfinite(numbers.to_numpy(float))
    if bad.any():
        raise LatticeError(f"{where} holds {column[bad].iloc[0]!r}; expected numbers")
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
