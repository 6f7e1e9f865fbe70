"""`open_tiles`: an acquisition, whatever its format, as a lattice."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from latticework.errors import LatticeError, SourceError
from latticework.io import memory, ome_tiles, seeds, tiff_tiles, zarr_images
from latticework.io.placing import Placing, Tiles, has_place, to_lattice
from latticework.io.positions import add_file_facts, read_positions, some
from latticework.io.scan import Progress, Scan, TiffFacts, list_files, scan_tiffs
from latticework.io.stage_tiles import open_stage, stage_group
from latticework.io.tiff_tiles import Parts
from latticework.io.tile_blocks import divided
from latticework.lattice import Lattice
from latticework.lattice.arguments import (
    block_argument,
    grid_argument,
    overlap_argument,
    pixel_size_argument,
)

if TYPE_CHECKING:
    import pandas as pd


def open_tiles(
    path: Any,
    *,
    grid: Mapping[str, int] | None = None,
    start: str = "top-left",
    order: str = "row",
    snake: bool = False,
    overlap: Mapping[str, Any] | str | float | None = None,
    positions: "str | Path | pd.DataFrame | Mapping[str, Any] | None" = None,
    columns: str | Mapping[str, str] | None = None,
    unit: str | None = None,
    pattern: str | re.Pattern[str] | None = None,
    files: str | None = None,
    dims: Sequence[str] | None = None,
    block: Mapping[str, int] | int | None = None,
    pixel_size_um: Mapping[str, float] | float | None = None,
    channels: Sequence[str] | None = None,
    flip: str = "",
    sheet: str | None = None,
    errors: Literal["raise", "mark"] = "raise",
    progress: Progress | None = None,
) -> Lattice:
    """The lattice of an acquisition; only metadata are read.

    Where the tiles are is taken from the first of these that is there:

    1. ``grid=``, the tiles in natural order of their names (or of a number in ``pattern=``);
    2. ``positions=``, a table of positions or of rows and columns;
    3. ``pattern=`` with rows and columns, or with positions;
    4. what the files say: OME-XML plane positions, MetaMorph/ImageXpress stage positions,
       OME-Zarr translations, names such as ``y03_x12.tif`` or ``row3_col12.tif``.

    Lattice axes that a table or a pattern names are kept, also when they have one label. Folders of
    MouseLight, LaVision UltraMicroscope and SmartSPIM need no arguments; see `read_mouselight`,
    `open_lavision` and `open_smartspim`.

    Parameters
    ----------
    path
        Folder of TIFF or OME-TIFF files (looked into to any depth) or of Zarr images; one such
        file or image; a list of files; a stage's ``data.zarr``; or arrays: a sequence or a
        mapping of names to NumPy, dask, zarr or xarray arrays, or one array with ``block=``.
    grid, start, order, snake, overlap
        ``{"y": 7, "x": 9}``: rows and columns (``z`` first for layers), the corner of the first
        tile (``"top-left"`` ...), whether rows or columns are acquired one after another, whether
        every other one runs backwards, and the overlap in pixels ``{"y": 51, "x": 51}`` or as a
        fraction (0.1 or ``"10%"``; of y and x).
    positions, columns, unit
        CSV file, table, Fiji's ``TileConfiguration.txt``, or XML of TeraStitcher or BigStitcher
        (see `latticework.io.write_positions`); ``columns="true_*"`` (``*`` for z, y, x) or a
        mapping of roles
        (``file number tile_z tile_y tile_x z y x``) to columns; ``"um"`` or ``"px"``.
        Rows are matched by file name, by tile number, or by order.
    pattern
        ``"{well}_s{site:d}_w{c:d}_z{z:d}.tif"`` or a compiled regular expression; what names mean
        is in `latticework.io.filenames`. Files that differ in ``c`` or ``z`` only are one tile.
    files
        Glob for the names of the files that belong to the acquisition.
    dims
        Dims of each file or array, such as ``("c", "y", "x")``, where it does not say.
    block
        Pixels of a block by axis, or one number for y and x: one array or image as a lattice of
        blocks.
    pixel_size_um
        Size of a pixel by axis (or one number for y and x); overrides the metadata's.
    channels
        Names of the channels.
    flip
        Axes (``"y"``, ``"x"`` or ``"yx"``) whose positions run against the image.
    sheet
        What to call a LaVision UltraMicroscope's lone light sheet: ``"left"`` or ``"right"``.
    errors
        ``"mark"`` keeps tiles that cannot be read on the lattice, with the reason in
        ``lattice.problems``, and leaves out (with a warning) files that cannot be placed.
    progress
        Called with the number of files looked at and of all files.

    Returns
    -------
    Lattice
        With a source that reads pixels lazily and in parts.

    Raises
    ------
    SourceError
        For files that are truncated, of another shape or type, missing, double, or unplaceable.
    LatticeError
        For arguments that contradict each other or the files.

    Examples
    --------
    >>> import tempfile, numpy as np, tifffile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for i in range(6):
    ...     tifffile.imwrite(folder / f"tile{i + 1}.tif", np.zeros((32, 32), "u2"))
    >>> lattice = open_tiles(folder, grid={"y": 2, "x": 3}, snake=True, overlap=0.25)
    >>> lattice.sizes, dict(lattice.step_px), lattice.tile(y=1, x=2).name
    ({'tile_y': 2, 'tile_x': 3}, {'y': 24, 'x': 24}, 'tile4.tif')
    """
    if errors not in ("raise", "mark"):
        raise LatticeError(f"errors={errors!r}: expected 'raise' or 'mark'")
    placing = placing_of(
        grid=grid, start=start, order=order, snake=snake, overlap=overlap, flip=flip,
        pixel_size_um=pixel_size_um, channels=channels, mark=errors == "mark",
    )  # fmt: skip
    block = None if block is None else block_argument(block)
    where = {"positions": positions, "columns": columns, "unit": unit}
    if not isinstance(path, str | Path) and not _is_paths(path):
        if block is not None:
            return memory.open_blocks(path, block, dims, placing)
        return to_lattice(
            place_by_table(memory.array_tiles(path, dims, pattern, placing), where, Path()), placing
        )
    stage = stage_group(Path(path).absolute()) if isinstance(path, str | Path) else None
    if stage is not None:
        given = {"grid": grid, "positions": positions, "pattern": pattern, "files": files}
        if extra := [f"{name}=" for name, value in given.items() if value is not None]:
            raise LatticeError(
                f"{stage} is the output of a stage, which says where its tiles are: leave out "
                f"{', '.join(extra)}"
            )
        return open_stage(stage, block, placing)
    plain = all(one is None for one in (grid, positions, pattern, dims, block))
    if plain and files is None and isinstance(path, str | Path):
        listed = seeds.open_listed(Path(path).absolute(), placing, progress)
        if listed is not None:
            seeds.refuse_sheet(sheet, Path(path))
            return listed
    root, names = _files(path, files)
    if names is not None and plain:
        named = seeds.open_named(root, names, placing, progress, sheet=sheet)
        if named is not None:
            return named
    seeds.refuse_sheet(sheet, root)
    if names is None:
        if block is not None:
            return zarr_images.open_blocks(root, block, dims, placing)
        tiles = zarr_images.zarr_tiles(
            root, files, dims, pattern, placing, table=positions is not None
        )
        return to_lattice(place_by_table(tiles, where, root), placing)
    scan = scan_tiffs(root, names, progress)
    try:
        facts = scan.common()
        parts = tiff_parts(scan, facts, dims, pattern, placing, table=positions is not None)
        if positions is not None:
            add_file_facts(parts, scan.names, positions, root)
        tiles = tiff_tiles.assemble(parts, scan, facts, placing)
    except SourceError as error:
        if block is None or len(names) == 1:
            raise
        raise SourceError(
            f"block={block} divides one image, and the {len(names):,} files of {root} are not "
            f"one: open one of them, or leave block out ({error})",
            root,
        ) from error
    tiles = place_by_table(tiles, where, root)
    if block is not None and len(tiles.names) > 1:
        raise LatticeError(
            f"block={block} divides one image, but {root} holds {len(tiles.names):,} tiles: open "
            "one of them, or leave block out"
        )
    lattice = to_lattice(tiles, placing)
    return lattice if block is None else divided(lattice, block, tiles.pixel_size_um, str(root))


def placing_of(
    *,
    grid: Mapping[str, int] | None = None,
    start: str = "top-left",
    order: str = "row",
    snake: bool = False,
    overlap: Mapping[str, Any] | str | float | None = None,
    pixel_size_um: Mapping[str, float] | float | None = None,
    channels: Sequence[str] | None = None,
    flip: str = "",
    mark: bool = False,
    partial: bool = False,
) -> Placing:
    """What the caller said about places, checked; parameters as for `open_tiles` and `Placing`."""
    if set(flip) - set("zyx"):
        raise LatticeError(f"flip={flip!r}: expected some of z, y, x")
    if flip and grid is not None:
        raise LatticeError(f"flip={flip!r} turns positions; with grid= say where it begins: start=")
    return Placing(
        None if grid is None else grid_argument(grid),
        start,
        order,
        snake,
        overlap_argument(overlap),
        flip,
        pixel_size_argument(pixel_size_um),
        channels,
        mark,
        partial,
    )


def _is_paths(path: Any) -> bool:
    return (
        isinstance(path, Sequence)
        and len(path) > 0
        and all(isinstance(one, str | Path) for one in path)
    )


def _files(path: Any, files: str | None) -> tuple[Path, list[str] | None]:
    """Root and names of TIFF files; None for names where the path is Zarr."""
    if not isinstance(path, str | Path):
        paths = [Path(one).absolute() for one in path]
        parents = {one.parent for one in paths}
        root = Path(*_common([one.parts for one in parents]))
        return root, [one.relative_to(root).as_posix() for one in paths]
    root = Path(path).absolute()
    if root.is_file():
        return root.parent, [root.name]
    if not root.is_dir():
        raise SourceError(_nothing_at(root), root)
    if zarr_images.is_zarr(root):
        return root, None
    names = list_files(root, files)
    if not names and zarr_images.image_folders(root):
        return root, None
    if not names:
        others = sorted(entry.name for entry in root.iterdir())[:5]
        chosen = f" that fit files={files!r}" if files else ""
        if not files and (kind := _unread_kind(root)):
            raise SourceError(
                f"{root} holds {kind} files, which are not read: export OME-TIFF or OME-Zarr with "
                "the microscope's software or Bio-Formats, and open that",
                root,
            )
        raise SourceError(
            f"{root} holds no TIFF files or Zarr images{chosen}; it has "
            f"{', '.join(others) or 'nothing'}: check the path",
            root,
        )
    return root, names


UNREAD = (".czi", ".lif", ".nd2", ".oib", ".oir", ".vsi", ".ims", ".lsm", ".h5", ".n5")
"""Endings of other programs' images."""


def _unread_kind(root: Path) -> str:
    """The kind of other programs' images in a folder, such as ``"CZI"``; empty where none are."""
    kinds = {entry.suffix.lower() for entry in root.iterdir()} & set(UNREAD)
    return min(kinds).removeprefix(".").upper() if kinds else ""


def _nothing_at(root: Path) -> str:
    if not any(mark in str(root) for mark in "*?["):
        return f"there is nothing at {root}; expected a folder of tiles: check the path"
    folder = next(one for one in root.parents if one.is_dir())
    glob = root.relative_to(folder).name
    return (
        f"there is nothing at {root}: a path names one folder, and files= chooses among its files; "
        f'write open_tiles("{folder}", files="{glob}")'
    )


def _common(parts: list[tuple[str, ...]]) -> tuple[str, ...]:
    shared = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return tuple(shared)


def tiff_parts(
    scan: Scan,
    facts: TiffFacts,
    dims: Sequence[str] | None,
    pattern: str | re.Pattern[str] | None,
    placing: Placing,
    *,
    table: bool,
) -> Parts:
    """Pieces of the tiles of TIFF files, with all that pattern, metadata or names say of them.

    Parameters
    ----------
    scan, facts
        The files, and what they have in common.
    dims, pattern
        As for `open_tiles`.
    placing
        What the caller said.
    table
        Whether a table of positions says where the tiles are.
    """
    parts = tiff_tiles.file_parts(scan, facts, dims)
    given = placing.grid is not None or table
    if pattern is not None:
        tiff_tiles.add_name_fields(parts, scan, pattern, mark=placing.mark)
    if not given and not has_place(parts.table):
        from_ome = None
        if pattern is None:
            from_ome = ome_tiles.ome_parts(scan, mark=placing.mark, quiet=placing.partial)
        if from_ome is not None and has_place(from_ome.table):
            parts = from_ome
        elif not tiff_tiles.add_metamorph(parts, scan, facts, named=pattern is not None):
            known = tiff_tiles.known_pattern(scan.names) if pattern is None else None
            if known is not None:
                tiff_tiles.add_name_fields(parts, scan, known, mark=placing.mark)
            elif pattern is None:
                tiff_tiles.placed(parts, scan, placing)
        tiff_tiles.drop_unplaceable(parts, scan, placing)
    return parts


def place_by_table(tiles: Tiles, where: Mapping[str, Any], folder: Path) -> Tiles:
    """Tiles with what a table of positions (``positions``, ``columns``, ``unit``) says."""
    if where["positions"] is None:
        return tiles
    table, unit, pixel_size_um = read_positions(
        where["positions"],
        [[name] for name in tiles.names],
        folder,
        columns=where["columns"],
        unit=where["unit"],
    )
    lost = table.isna().any(axis=1).to_numpy()
    if lost.any():
        names = [tiles.names[row] for row in np.flatnonzero(lost).tolist()]
        raise SourceError(
            f"the positions table has no row for {len(names):,} of {len(tiles.names):,} tiles, "
            f"such as {some(names)}: add it, or choose files with files="
        )
    pixel = tiles.pixel_size_um = {**pixel_size_um, **tiles.pixel_size_um}
    for column in table:
        if column in ("z", "y", "x"):
            scale = pixel.get(str(column), 1.0) if unit == "px" else 1.0
            tiles.table[f"{column}_um"] = table[column].to_numpy(float) * scale
        else:
            tiles.table[str(column)] = table[column].to_numpy()
    if "number" in tiles.table:
        tiles.table = tiles.table.drop(columns="number")
    return tiles
