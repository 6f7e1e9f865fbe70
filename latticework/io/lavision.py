"""LaVision UltraMicroscope: an OME-TIFF for every plane, told apart by its name.

::

    10-59-43_UltraII_raw_RawDataStack[01 x 02]_C00_xyz-Table Z0001_UltraII Filter0001.ome.tif
                                      |    |    |             |                  |
                                     row column sheet       plane              channel

Untiled acquisitions have no brackets. ``C00`` is the left light sheet and ``C01`` the right one
where both were used; a lone sheet is ``C00`` whichever it is, so only the caller can name it.
Pages of one file are foci of the sheet and become a lattice axis ``focus``. Names are read, never
changed; numbers may have any number of digits.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from latticework.errors import LatticeError, SourceError
from latticework.io.placing import Placing, Tiles, to_lattice
from latticework.io.plane_files import (
    PlaneFiles,
    first_problem,
    renumbered,
    same_pixel_size,
    some,
    stack_source,
)
from latticework.io.scan import Progress, Scan, list_files, scan_tiffs
from latticework.lattice import Lattice
from latticework.lattice.arguments import overlap_argument, pixel_size_argument

if TYPE_CHECKING:
    import pandas as pd

NAME = re.compile(
    r"(?P<stem>.*?)(?:\[(?P<row>\d+) ?x ?(?P<column>\d+)\])?_C(?P<sheet>\d+)"
    r"_(?:[^_/]*? )?Z(?P<z>\d+)(?:_(?:[^_/]*? )?Filter(?P<c>\d+))?\.ome\.tiff?",
    re.IGNORECASE,
)
"""What a file's name says; rows, sheet, plane and channel are numbers."""

SHEETS = {0: "left", 1: "right"}
"""The light sheets, where both were used."""


def is_lavision(names: Sequence[str]) -> bool:
    """Whether most files are named as the UltraMicroscope names them.

    Examples
    --------
    >>> is_lavision(["10-22_UltraII[00 x 01]_C00_xyz-Table Z0000_UltraII Filter0000.ome.tif"])
    True
    >>> is_lavision(["tile_y00_x01.tif"])
    False
    """
    if not any("_C0" in name and ".ome." in name for name in names):
        return False
    return 2 * sum(NAME.fullmatch(_base(name)) is not None for name in names) > len(names)


def open_lavision(
    path: Path | str,
    *,
    sheet: str | None = None,
    planes: int | None = None,
    files: str | None = None,
    overlap: Mapping[str, Any] | str | float | None = None,
    pixel_size_um: Mapping[str, float] | float | None = None,
    channels: Sequence[str] | None = None,
    flip: str = "",
    errors: Literal["raise", "mark"] = "raise",
    progress: Progress | None = None,
) -> Lattice:
    """The lattice of an acquisition of a LaVision UltraMicroscope.

    `open_tiles` does the same for a folder of such files.

    Parameters
    ----------
    path
        The folder.
    sheet
        What to call a lone light sheet, such as ``"right"``: its files say ``C00`` either way.
    planes
        How many planes were acquired; without it, gaps between the first and the last are found.
    files, overlap, pixel_size_um, channels, flip, errors, progress
        As for `open_tiles`. Pixel sizes are those of the OME metadata unless given.

    Returns
    -------
    Lattice
        Over ``tile_y`` and ``tile_x``, and ``sheet`` and ``focus`` where there are several.

    Raises
    ------
    SourceError
        For planes that are missing or there twice, files that do not belong, tiles that the grid
        lacks.
    """
    root = Path(path).absolute()
    names = list_files(root, files)
    placing = Placing(
        overlap=overlap_argument(overlap),
        flip=flip,
        pixel_size_um=pixel_size_argument(pixel_size_um),
        channels=channels,
        mark=errors == "mark",
    )
    tiles = lavision_tiles(root, names, placing, sheet=sheet, planes=planes, progress=progress)
    return to_lattice(tiles, placing)


@dataclass(slots=True)
class _Names:
    """What the names say, one row per file that belongs."""

    matches: list[re.Match[str]]
    rows: np.ndarray
    z: np.ndarray
    c: np.ndarray
    sheet: np.ndarray
    row: np.ndarray
    column: np.ndarray
    tiled: bool


def lavision_tiles(
    root: Path,
    names: Sequence[str],
    placing: Placing,
    *,
    sheet: str | None = None,
    planes: int | None = None,
    progress: Progress | None = None,
) -> Tiles:
    """Tiles of files with LaVision's names; see `open_lavision`."""
    said = _names(root, names, placing)
    scan = scan_tiffs(root, list(names), progress)
    facts = scan.common()
    foci = facts.pages
    z_numbers = np.arange(said.z.min(), said.z.max() + 1)
    c_numbers = np.unique(said.c)
    if planes is not None and len(z_numbers) != planes:
        raise SourceError(
            f"{root}: {planes} planes expected, but the files go from z={said.z.min():04d} to "
            f"z={said.z.max():04d}, {len(z_numbers)} planes: complete the folder, or correct "
            "planes=",
            root,
        )
    keys = np.stack([said.sheet, said.row, said.column], axis=1)
    unique, tile = np.unique(keys, axis=0, return_inverse=True)
    tile = tile.reshape(-1)
    _check_grid(root, unique, len(z_numbers) * len(c_numbers), placing, tiled=said.tiled)
    slot = np.searchsorted(c_numbers, said.c) * len(z_numbers) + (said.z - z_numbers[0])
    files = PlaneFiles(
        np.repeat(said.rows, foci),
        np.tile(np.arange(foci), len(said.rows)),
        (tile[:, None] * foci + np.arange(foci)).ravel(),
        np.repeat(slot, foci),
        len(unique) * foci,
        len(c_numbers) * len(z_numbers),
    )

    def gap(number: int, missing: np.ndarray) -> str:
        return _gap(scan, said, tile == number // foci, unique[number // foci], missing, z_numbers,
                    c_numbers)  # fmt: skip

    file_of, page_of, problems = files.arrange(scan, gap)
    if problems and not placing.mark:
        raise first_problem(problems, scan)
    dims, shape, source = stack_source(
        scan, facts, file_of, page_of, channels=len(c_numbers), planes=len(z_numbers), paged=False
    )
    first = np.full(len(unique), len(tile))
    np.minimum.at(first, tile, np.arange(len(tile)))
    table, titles = _lattice_table(unique, foci, sheet, [said.matches[i] for i in first])
    _add_positions(table, scan, said.rows[first], foci)
    return Tiles(
        table,
        titles,
        dims,
        shape,
        source.dtype,
        same_pixel_size(scan),
        tuple(f"Filter{number:04d}" for number in c_numbers) if len(c_numbers) > 1 else None,
        source,
        str(root),
        problems,
        titles,
    )


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _names(root: Path, names: Sequence[str], placing: Placing) -> _Names:
    matches = [NAME.fullmatch(_base(name)) for name in names]
    extra = [name for name, match in zip(names, matches, strict=True) if match is None]
    if len(extra) == len(names):
        raise SourceError(
            f"{root} holds no files of an UltraMicroscope; expected names such as "
            "'..._RawDataStack[00 x 00]_C00_xyz-Table Z0000_UltraII Filter0000.ome.tif', found "
            f"{some(extra) or 'nothing'}: check the path",
            root,
        )
    if extra:
        text = (
            f"{root}: {len(names) - len(extra)} files are named as the UltraMicroscope names "
            f"planes, and {len(extra)} are not: {some(extra)}; expected planes only: move "
            "them away, or choose files with files="
        )
        if not placing.mark:
            raise SourceError(text, root / extra[0])
        warnings.warn(f"left out: {text}", UserWarning, stacklevel=4)
    kept = [match for match in matches if match is not None]
    tiled = {match["row"] is not None for match in kept}
    if len(tiled) > 1:
        stray = next(
            name
            for name, match in zip(names, matches, strict=True)
            if match is not None and match["row"] is None
        )
        raise SourceError(
            f"{root}: {stray} names no tile, but other files do ([row x column]); expected "
            "all files to be tiled, or none: open them apart with files=",
            root / stray,
        )
    numbers = np.array(
        [
            [int(match[group] or 0) for group in ("z", "c", "sheet", "row", "column")]
            for match in kept
        ],
        np.int64,
    )
    rows = np.array([i for i, match in enumerate(matches) if match is not None])
    z, c, sheet, row, column = numbers.T
    return _Names(kept, rows, z, c, sheet, row, column, tiled.pop())


def _address(key: np.ndarray, *, tiled: bool = True) -> str:
    sheet, row, column = key.tolist()
    return f"tile [{row:02d} x {column:02d}] sheet C{sheet:02d}" if tiled else f"sheet C{sheet:02d}"


def _check_grid(
    root: Path, unique: np.ndarray, count: int, placing: Placing, *, tiled: bool
) -> None:
    """Refuse a mosaic that is no rectangle; with marking, its holes stay holes."""
    levels = [np.unique(column) for column in unique.T]
    levels[1:] = [np.arange(level[0], level[-1] + 1) for level in levels[1:]]
    expected = int(np.prod([len(level) for level in levels]))
    if len(unique) == expected or placing.mark:
        return
    there = {tuple(key) for key in unique.tolist()}
    grid = np.stack(np.meshgrid(*levels, indexing="ij"), axis=-1).reshape(-1, 3)
    holes = [_address(key, tiled=tiled) for key in grid if tuple(key.tolist()) not in there]
    raise SourceError(
        f"{root}: {expected} tiles expected ({' x '.join(str(len(level)) for level in levels)} "
        f"sheets, rows and columns), {len(unique)} found: {some(holes)} missing, with {count} "
        'files for each: complete the folder, or leave holes with errors="mark"',
        root,
    )


def _gap(
    scan: Scan,
    said: _Names,
    mine: np.ndarray,
    key: np.ndarray,
    missing: np.ndarray,
    z_numbers: np.ndarray,
    c_numbers: np.ndarray,
) -> str:
    """What to say of a tile without some planes."""
    channel, plane = divmod(missing, len(z_numbers))
    first = int(channel[0])
    lost = z_numbers[plane[channel == first]]
    address = _address(key, tiled=said.tiled)
    others = np.flatnonzero(mine & (said.c == c_numbers[first]))
    like = said.matches[int((others if len(others) else np.flatnonzero(mine))[0])]
    name = renumbered(like.string, like.span("z"), int(lost[0]))
    if not len(others) and like["c"] is not None:
        name = renumbered(name, like.span("c"), int(c_numbers[first]))
    more = len(missing) - len(lost)
    return (
        f"{scan.root}: {len(z_numbers)} planes expected, {len(z_numbers) - len(lost)} found: "
        f"{some([f'z={z:04d}' for z in lost])} of {address} channel {c_numbers[first]} "
        f"{'is' if len(lost) == 1 else 'are'} missing"
        f"{f' (and {more} planes of other channels)' if more else ''}; expected a file {name!r}: "
        'complete the folder, or go on with errors="mark"'
    )


def _lattice_table(
    unique: np.ndarray, foci: int, sheet: str | None, like: list[re.Match[str]]
) -> tuple["pd.DataFrame", list[str]]:
    """Labels of the tiles and what to call them."""
    import pandas as pd

    codes = np.unique(unique[:, 0])
    if sheet is not None and len(codes) > 1:
        raise LatticeError(
            f"sheet={sheet!r} names a lone light sheet, but the files are of {len(codes)}: "
            f"{', '.join(f'C{code:02d}' for code in codes)}: leave it out, or choose the files of "
            'one with files="*_C00_*"'
        )
    columns: dict[str, Any] = {}
    titles = [
        match.string[match.start("row") - 1 : match.end("column") + 1]
        if match["row"] is not None
        else match["stem"] or match.string
        for match in like
    ]
    label = [
        sheet if sheet is not None else SHEETS.get(code, f"C{code:02d}") for code, *_ in unique
    ]
    if len(codes) > 1 or sheet is not None:
        columns["sheet"] = np.repeat(label, foci)
        titles = [f"{title} {name}" for title, name in zip(titles, label, strict=True)]
    if foci > 1:
        columns["focus"] = np.tile(np.arange(foci), len(unique))
        titles = [f"{title} focus {focus}" for title in titles for focus in range(foci)]
    columns["tile_y"], columns["tile_x"] = (np.repeat(unique[:, i], foci) for i in (1, 2))
    return pd.DataFrame(columns), titles


def _add_positions(table: "pd.DataFrame", scan: Scan, rows: np.ndarray, foci: int) -> None:
    """Stage positions, where every tile's OME metadata have them and they tell lines apart."""
    import pandas as pd

    found: list[Mapping[str, float]] = []
    for row in rows:
        facts = scan.facts[int(row)]
        images = facts.ome.images if facts is not None and facts.ome is not None else ()
        found.append(images[0].position_um if len(images) == 1 else {})
    for axis in "yx":
        if not all(axis in position for position in found):
            continue
        values = np.repeat([position[axis] for position in found], foci)
        lines = pd.Series(values).groupby(table[f"tile_{axis}"]).median()
        ordered = lines.is_monotonic_increasing or lines.is_monotonic_decreasing
        if len(lines) > 1 and ordered and lines.is_unique:
            table[f"{axis}_um"] = values
