"""From looked-at TIFF files to tiles: which planes of which files make which tile."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from latticework.errors import LatticeError, SourceError
from latticework.io.filenames import (
    KNOWN_PATTERNS,
    POSITION_FIELDS,
    match_names,
    pattern_of,
    unmatched_error,
)
from latticework.io.metamorph import plane_address
from latticework.io.placing import Placing, Tiles, has_place, no_place
from latticework.io.scan import Scan, TiffFacts
from latticework.io.tiff_source import TiffSource
from latticework.lattice.grids import grid_lines

if TYPE_CHECKING:
    import pandas as pd


@dataclass(slots=True)
class Parts:
    """Pieces of tiles: each a run of pages of one file.

    ``table`` has the columns ``file`` and ``page``, perhaps ``c`` and ``z`` (which plane of the
    tile the piece is, where tiles are spread over files), and what else is known of the tile.
    """

    table: "pd.DataFrame"
    dims: tuple[str, ...]
    """Dims within a piece, slowest first; some of ``c z``."""
    sizes: tuple[int, ...]
    pixel_size_um: dict[str, float]
    channels: tuple[str, ...] | None = None
    key: tuple[str, ...] = ()
    """Columns that tell tiles apart without being lattice axes."""
    levels: Mapping[str, np.ndarray] | None = None
    """Labels along ``c`` and ``z`` of a whole tile, sorted, where pieces may be missing of all."""

    @property
    def outer(self) -> list[str]:
        """Dims along which the pieces of a tile differ."""
        return [dim for dim in ("c", "z") if dim in self.table]

    def level(self, dim: str) -> np.ndarray:
        """Labels of a whole tile along one of the `outer` dims."""
        if self.levels is not None:
            return self.levels[dim]
        return np.unique(self.table[dim].to_numpy())

    def tile_numbers(self) -> np.ndarray:
        """Which tile each piece belongs to, counted from 0 in order of their first pieces."""
        table, outer = self.table, self.outer
        facets = [
            str(c)
            for c in table
            if c not in ("file", "page", "c", "z", "title") and not str(c).endswith("_um")
        ]
        if (
            has_place(table)
            and not any(c.startswith("tile_") for c in facets)
            and not outer
            and not self.key
        ):
            return np.arange(len(table))
        if facets:
            return np.asarray(table.groupby(facets, sort=False, dropna=False).ngroup())
        return np.zeros(len(table), np.int64) if outer else np.arange(len(table))


def file_parts(scan: Scan, facts: TiffFacts, dims: Sequence[str] | None) -> Parts:
    """One piece per file (or per file and time point)."""
    import pandas as pd

    inner = list(zip(facts.dims, facts.sizes, strict=True))
    if dims is not None and (lead := [dim for dim in dims if dim not in "yx"]):
        if facts.samples > 1 and "c" in lead and len(lead) > len(inner):
            lead.remove("c")
        if len(lead) != len(inner) or set(lead) - {"c", "z", "t", "time"}:
            raise LatticeError(
                f"dims={tuple(dims)}, but the files hold {facts.text}: expected {len(inner)} of c, "
                "z, t and then y, x"
            )
        inner = [
            ("time" if dim == "t" else dim, n) for dim, (_, n) in zip(lead, inner, strict=True)
        ]
    table = pd.DataFrame({"file": np.arange(len(scan.names)), "page": 0})
    times = [n for dim, n in inner if dim == "time"]
    if times:
        if inner[0][0] != "time":
            raise LatticeError(
                f"{scan.path(0)} has time inside z or c; expected time points one after another"
            )
        planes = facts.pages // times[0]
        table = table.loc[table.index.repeat(times[0])].reset_index(drop=True)
        table["time"] = np.tile(np.arange(times[0]), len(scan.names))
        table["page"] = table["time"] * planes
        inner = inner[1:]
    return Parts(
        table, tuple(d for d, _ in inner), tuple(n for _, n in inner), dict(facts.pixel_size_um)
    )


def add_name_fields(
    parts: Parts, scan: Scan, pattern: str | re.Pattern[str], *, mark: bool
) -> None:
    """Columns from the files' names; files that do not fit are refused or left out."""
    fields, bad = match_names(scan.names, pattern)
    if bad:
        error = unmatched_error(scan.names, bad, pattern, scan.root)
        if not mark or len(bad) == len(scan.names):
            raise error
        warnings.warn(f"left out: {error}", UserWarning, stacklevel=4)
    rows = parts.table["file"].to_numpy()
    for role, values in fields.items():
        if role in parts.table and role != "time":
            raise LatticeError(
                f"pattern names {role!r}, which is not a name for an axis: choose another"
            )
        column = np.array(values, dtype=object)[rows]
        scale = (
            parts.pixel_size_um.get(role[0], 1.0)
            if role in POSITION_FIELDS and role.endswith("px")
            else None
        )
        if scale is not None:
            parts.table[f"{role[0]}_um"] = np.array(
                [np.nan if v is None else v * scale for v in column]
            )
        else:
            parts.table[role] = column
    parts.table = parts.table[~np.isin(rows, bad)].reset_index(drop=True)
    parts.table = parts.table.infer_objects()


def known_pattern(names: Sequence[str]) -> re.Pattern[str] | None:
    """The first usual pattern that fits every name."""
    for pattern in KNOWN_PATTERNS:
        if all(pattern.fullmatch(name.rpartition("/")[2]) for name in names):
            return pattern
    return None


def add_metamorph(parts: Parts, scan: Scan, facts: TiffFacts, *, named: bool) -> bool:
    """Stage positions, and addresses from names unless given; False where a file has none."""
    planes = [None if f is None else f.plane for f in scan.facts]
    rows = parts.table["file"].to_numpy()
    usable = [
        plane for plane in planes if plane is not None and {"y", "x"} <= set(plane.position_um)
    ]
    if not usable:
        return False
    if not named:
        addresses = [plane_address(scan.names[row], planes[row]) for row in rows]
        parts.table = parts.table[[address is not None for address in addresses]].reset_index(
            drop=True
        )
        kept = [address for address in addresses if address is not None]
        for key in ("well", "site", "time", "z", "c"):
            values = [address.get(key) for address in kept]
            if any(value is not None for value in values):
                parts.table[key] = values
        if "c" not in parts.table and len({plane.channel for plane in usable}) > 1:
            parts.table["c"] = [
                plane.channel if (plane := planes[row]) else "" for row in parts.table["file"]
            ]
        if "site" in parts.table:
            parts.key = ("site",)
            parts.table["title"] = [
                f"{address.get('well', '')}_s{address.get('site', '')}".lstrip("_")
                for address in kept
            ]
    rows = parts.table["file"].to_numpy()
    for axis in "zyx":
        column = [p.position_um.get(axis, np.nan) if (p := planes[row]) else np.nan for row in rows]
        if not np.isnan(column).all():
            parts.table[f"{axis}_um"] = column
    if not parts.key and not named:
        _tell_apart(parts, facts)
    _name_channels(parts, [plane.channel if plane else "" for plane in planes])
    return True


def _tell_apart(parts: Parts, facts: TiffFacts) -> None:
    """Tiles by where they are, and their planes along z by their focus."""
    table = parts.table
    parts.key = ("at_y", "at_x")
    for axis, size in (("y", facts.length), ("x", facts.width)):
        extent = parts.pixel_size_um.get(axis, 1.0) * size
        position = table[f"{axis}_um"].fillna(np.inf).to_numpy(float)
        table[f"at_{axis}"] = -1
        known = np.isfinite(position)
        table.loc[known, f"at_{axis}"] = grid_lines(position[known], extent, 0.02)[0]
    if "z" not in table and "z_um" in table:
        same = [c for c in ("time", "well", "c", *parts.key) if c in table]
        focus = table.groupby(same, sort=False)["z_um"].rank(method="dense")
        if focus.max() > 1:
            table["z"] = focus.fillna(1).astype(int)


def _name_channels(parts: Parts, names: Sequence[str]) -> None:
    if "c" in parts.table:
        parts.channels = tuple(
            next((names[row] for row in group["file"] if names[row]), str(label))
            for label, group in parts.table.groupby("c", sort=True)
        )
        if len(set(parts.channels)) < len(parts.channels):
            parts.channels = None


def assemble(parts: Parts, scan: Scan, facts: TiffFacts, placing: Placing) -> Tiles:
    """Tiles of pieces: grouped, checked for gaps and duplicates, in order of their first file."""
    table = parts.table
    if table.empty:
        raise SourceError(
            f"{scan.root} holds no file that belongs to a tile: choose others with files=",
            scan.root,
        )
    outer = parts.outer
    twice = set(outer) & set(parts.dims) | (
        {"c"} if facts.samples > 1 and "c" in (*outer, *parts.dims) else set()
    )
    if twice:
        raise LatticeError(
            f"{scan.path(0)} holds {facts.text}, and {' and '.join(twice)} is in the files' names "
            "or pages too: "
            "name one of them differently in pattern="
        )
    tile = parts.tile_numbers()
    levels = [parts.level(dim) for dim in outer]
    slot = np.zeros(len(table), np.int64)
    for dim, labels in zip(outer, levels, strict=True):
        slot = slot * len(labels) + np.searchsorted(labels, table[dim].to_numpy())
    slots = int(np.prod([len(labels) for labels in levels]))
    problems: dict[int, str] = {}
    n = int(tile.max()) + 1
    file_of, page_of = np.full((n, slots), -1, np.int32), np.zeros((n, slots), np.int32)
    files = table["file"].to_numpy()
    _find_duplicates(tile * slots + slot, tile, files, scan, problems)
    bad_files = np.isin(files, list(scan.problems))
    file_of[tile[::-1], slot[::-1]] = np.where(bad_files, -2 - files, files)[::-1]  # first of two
    page_of[tile[::-1], slot[::-1]] = table["page"].to_numpy()[::-1]
    for row in np.flatnonzero(bad_files):
        problems.setdefault(int(tile[row]), scan.problems[int(files[row])])
    first = np.full(n, len(table))
    np.minimum.at(first, tile, np.arange(len(table)))
    _find_gaps(file_of, outer, levels, scan, files[first], problems)
    if problems and not placing.mark:
        raise _first_problem(problems, scan, files[first])
    dims, shape, planes = _planes(parts, outer, levels, facts)
    dtype = facts.dtype.newbyteorder("=")
    source = TiffSource(
        scan.root, scan.names, scan.sizes, scan.mtimes, file_of, page_of, *planes, shape, dtype
    )
    columns = [c for c in table if c not in ("file", "page", "c", "z", "title", *parts.key)]
    tiles = table[columns].iloc[first].reset_index(drop=True)
    _mean_positions(tiles, table, tile)
    if parts.key == ("site",):
        tiles["number"] = table["site"].to_numpy()[first]
    pixel = placing.pixel_size(parts.pixel_size_um)
    if "z" in outer and "z" not in pixel and (step := _z_step(table, tile)) is not None:
        pixel["z"] = step
    titles = table["title"].iloc[first].tolist() if "title" in table else None
    return Tiles(
        tiles,
        [scan.names[row] for row in files[first]],
        dims,
        shape,
        dtype,
        pixel,
        parts.channels,
        source,
        str(scan.root),
        problems,
        titles,
        labelled=slots > 1,
        layer="z" in outer,
    )


def _find_duplicates(
    key: np.ndarray, tile: np.ndarray, files: np.ndarray, scan: Scan, problems: dict[int, str]
) -> None:
    order = np.argsort(key, kind="stable")
    pairs = np.flatnonzero(np.diff(key[order]) == 0)
    advised = pattern_of(scan.names) if len(pairs) else None
    pattern = "" if advised is None else f'"{advised}"'
    for at in pairs:
        a, b = order[at], order[at + 1]
        problems.setdefault(
            int(tile[a]),
            f"{scan.path(files[a])} and {scan.path(files[b])} are the same plane of one tile; "
            "expected one file for "
            f"each: remove one, or tell them apart in pattern={pattern}",
        )


def _find_gaps(
    file_of: np.ndarray, outer: list[str], levels: list[np.ndarray], scan: Scan, first: np.ndarray,
    problems: dict[int, str],
) -> None:  # fmt: skip
    for tile in np.flatnonzero((file_of == -1).any(axis=1)):
        missing = np.flatnonzero(file_of[tile] == -1)
        at = np.unravel_index(missing[:3], [len(labels) for labels in levels])
        said = [
            " ".join(
                f"{dim}={labels[i[k]]}" for dim, labels, i in zip(outer, levels, at, strict=True)
            )
            for k in range(len(missing[:3]))
        ]
        problems.setdefault(
            int(tile),
            f"the tile of {scan.path(first[tile])} lacks {len(missing)} of {file_of.shape[1]} "
            f"planes: {', '.join(said)}"
            f"{' ...' if len(missing) > 3 else ''}; expected a file for each: complete the folder, "
            "or go on with "
            'errors="mark"',
        )


def _first_problem(problems: dict[int, str], scan: Scan, first: np.ndarray) -> SourceError:
    tile = min(problems)
    more = (
        f' ({len(problems) - 1} more tiles have problems; see them all with errors="mark")'
        if len(problems) > 1
        else ""
    )
    rows = [row for row, text in scan.problems.items() if text == problems[tile]]
    return SourceError(problems[tile] + more, scan.path(rows[0] if rows else int(first[tile])))


def _planes(
    parts: Parts, outer: list[str], levels: list[np.ndarray], facts: TiffFacts
) -> tuple[tuple[str, ...], tuple[int, ...], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Dims and shape of a tile, and slot, page and sample of its planes."""
    sizes = dict(zip(outer, map(len, levels), strict=True)) | dict(
        zip(parts.dims, parts.sizes, strict=True)
    )
    if facts.samples > 1:
        sizes["c"] = facts.samples
    lead: tuple[str, ...] = tuple(dim for dim in ("c", "z") if dim in sizes)
    grids = np.meshgrid(*(np.arange(sizes[dim]) for dim in lead), indexing="ij") if lead else []
    at = {dim: grid.ravel() for dim, grid in zip(lead, grids, strict=True)}
    count = int(np.prod([sizes[dim] for dim in lead]))
    slot: np.ndarray = np.zeros(count, np.int64)
    page: np.ndarray = np.zeros(count, np.int64)
    for dim in outer:
        slot = slot * sizes[dim] + at[dim]
    for dim in parts.dims:
        page = page * sizes[dim] + at[dim]
    sample = at["c"] if facts.samples > 1 else np.zeros(count, np.int64)
    shape = (*(sizes[dim] for dim in lead), facts.length, facts.width)
    return (*lead, "y", "x"), shape, (slot, page, sample)


def _mean_positions(tiles: "pd.DataFrame", table: "pd.DataFrame", tile: np.ndarray) -> None:
    """A tile is where its planes are on the average; along z, where its first plane is."""
    for axis in "zyx":
        if f"{axis}_um" in table:
            grouped = table[f"{axis}_um"].astype(float).groupby(tile)
            tiles[f"{axis}_um"] = (grouped.min() if axis == "z" else grouped.median()).to_numpy()


def _z_step(table: "pd.DataFrame", tile: np.ndarray) -> float | None:
    if "z_um" not in table:
        return None
    z = table["z_um"].astype(float).groupby([tile, table["z"]]).mean()
    steps = z.groupby(level=0).diff().dropna().abs()
    return float(steps.median()) if len(steps) and steps.median() > 0 else None


def placed(parts: Parts, scan: Scan, placing: Placing) -> None:
    """Raise where nothing says where several tiles are."""
    if not has_place(parts.table) and (len(parts.table) > 1 or placing.partial):
        raise SourceError(no_place(str(scan.root), scan.names), scan.root)


def drop_unplaceable(parts: Parts, scan: Scan, placing: Placing) -> None:
    """Refuse, or leave out, files whose position was in metadata that cannot be read."""
    files = parts.table["file"].to_numpy()
    lost = np.zeros(len(files), bool)
    if parts.key != ("site",):  # other planes of a site know where it is
        for axis in "yx":
            if f"{axis}_um" in parts.table:
                lost |= parts.table[f"{axis}_um"].isna().to_numpy()
    rows = np.union1d(np.setdiff1d(list(scan.problems), files), files[lost]).astype(np.int64)
    if not len(rows):
        return
    first = int(rows[0])
    text = scan.problems.get(
        first, f"{scan.path(first)} has no position; expected one as in the other files"
    )
    if not placing.mark:
        raise SourceError(text, scan.path(first))
    if not placing.partial:
        warnings.warn(
            f"left out {len(rows)} files that cannot be placed, first: {text}",
            UserWarning,
            stacklevel=4,
        )
    parts.table = parts.table[~lost].reset_index(drop=True)
