"""All tiles at once, for reductions: lazily for arrays, as one table for tables and records."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.io.records import from_json
from latticework.io.tables import TILE_COLUMN, read_tables
from latticework.lattice.geometry import Box
from latticework.lattice.lattice import Lattice
from latticework.stages.produced import read_files

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from latticework.stages.bench import ArrayInput

CHUNK_BYTES = 32 * 2**20
"""Tiles are read in groups of about this size."""


def in_grid_order(lattice: Lattice, units: np.ndarray) -> np.ndarray:
    """Units by where they are on the lattice, a row along the last dim after the other.

    Ids tell in which order tiles came, and that differs from one acquisition to the next.

    Examples
    --------
    >>> came = [(0, 0), (0, 8), (8, 8), (8, 0)]  # there and back
    >>> snake = Lattice.from_positions(came, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> in_grid_order(snake, np.arange(4))
    array([0, 1, 3, 2])
    """
    if not lattice.dims:
        return units
    return units[np.lexsort(lattice.index[units].T[::-1])]


def all_arrays(source: "ArrayInput", units: np.ndarray | None = None) -> "xr.DataArray":
    """Tiles of a parent as one lazy array with a leading dim ``tile``, in the order of the grid.

    Labels, names and positions (``y_um`` ...) are coordinates of ``tile``. Where tiles differ in
    shape, smaller ones are padded with NaN, and integers become floats for that (float32 up to 16
    bits, else float64), so that xarray's reductions leave the padding out. Nothing is read before
    it is computed, and then group by group.

    Parameters
    ----------
    source
        The parent.
    units
        Which of its units; every one if not given.
    """
    import dask.array as da
    import xarray as xr

    lattice = source.lattice
    units = in_grid_order(lattice, np.arange(len(lattice)) if units is None else units)
    shape = tuple(lattice.tile_shape.values())
    dtype = lattice.dtype
    if lattice.shapes is not None and dtype.kind not in "fc":
        dtype = np.dtype("f4" if dtype.itemsize <= 2 else "f8")
    nbytes = int(np.prod(shape)) * dtype.itemsize
    per_chunk = max(1, min(len(units), CHUNK_BYTES // max(nbytes, 1)))
    rows = da.from_array(units, chunks=per_chunk)

    def read(rows: np.ndarray) -> np.ndarray:
        blank = np.nan if dtype.kind in "fc" else 0
        group = np.full((len(rows), *shape), blank, dtype=dtype)
        for k, row in enumerate(rows.tolist()):
            tile = source.read_box(row, None)
            group[k][Box.whole(tile.shape).slices] = tile
        return group

    stack = rows.map_blocks(
        read,
        dtype=dtype,
        chunks=(rows.chunks[0], *((n,) for n in shape)),
        new_axis=list(range(1, len(shape) + 1)),
        meta=np.zeros((0,) * (len(shape) + 1), dtype=dtype),
        name=f"{source.spec.parent}-{id(source)}",
    )
    coords: dict[str, Any] = {
        dim: ("tile", lattice.labels[dim][lattice.index[units, k]])
        for k, dim in enumerate(lattice.dims)
    }
    coords["name"] = ("tile", lattice.names[units].astype(str))
    for k, axis in enumerate(lattice.spatial_dims):
        coords[f"{axis}_um"] = ("tile", lattice.position_um[units, k])
    attrs = {"pixel_size_um": dict(lattice.pixel_size_um), "step_px": dict(lattice.step_px)}
    return xr.DataArray(stack, coords, ("tile", *lattice.tile_dims), source.spec.parent, attrs)


def whole_volume(source: "ArrayInput") -> "xr.DataArray":
    """The volume that the tiles are blocks of, lazily, a chunk per block."""
    import dask.array as da
    import xarray as xr

    lattice = source.lattice
    assert lattice.volume_shape is not None
    dims = lattice.tile_dims
    shape = [lattice.volume_shape[dim] for dim in dims]
    blocks = [lattice.tile_shape[dim] for dim in dims]
    chunks = tuple(
        tuple(min(b, n - a) for a in range(0, n, b)) for n, b in zip(shape, blocks, strict=True)
    )

    def read(block_info: Any = None) -> np.ndarray:
        where = block_info[None]["array-location"]
        box = Box(tuple(a for a, _ in where), tuple(b for _, b in where))
        return np.asarray(source.reader.read_volume(box))

    volume = da.map_blocks(
        read,
        chunks=chunks,
        dtype=lattice.dtype,
        meta=np.zeros((0,) * len(dims), dtype=lattice.dtype),
        name=f"{source.spec.parent}-{id(source)}",
    )
    coords = {
        f"{axis}_um": (axis, np.arange(n) * lattice.pixel_size_um[axis])
        for axis, n in zip(dims, shape, strict=True)
        if axis in lattice.pixel_size_um
    }
    attrs = {"pixel_size_um": dict(lattice.pixel_size_um)}
    return xr.DataArray(volume, coords, dims, source.spec.parent, attrs)


def label_columns(lattice: Lattice, units: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Name and labels of tiles (every one, or some), as columns."""
    some: Any = slice(None) if units is None else units
    columns: dict[str, np.ndarray] = {"tile": lattice.names[some].astype(str)}
    for k, dim in enumerate(lattice.dims):
        columns[dim] = lattice.labels[dim][lattice.index[some, k]]
    return columns


def all_tables(folder: Path, lattice: Lattice, units: np.ndarray | None = None) -> "pd.DataFrame":
    """The tables of tiles (every one, or some) as one, each row with its tile's name and labels.

    Tiles come in the order of the grid; the rows of one stay as they are.
    """
    units = in_grid_order(lattice, np.arange(len(lattice)) if units is None else units)
    table = read_tables(folder, lattice.ids[units].tolist())
    rows = lattice.rows_of(table.pop(TILE_COLUMN).to_numpy())
    return labelled_rows(table, lattice, rows)


def all_records(
    texts: Sequence[str], lattice: Lattice, units: np.ndarray | None = None
) -> "pd.DataFrame":
    """The records of tiles as a table, a row per tile in the order of the grid, with its labels.

    A record that is no dict becomes a column ``value``.

    Parameters
    ----------
    texts
        The records as JSON, as they go with `units`.
    lattice
        The tiles' lattice.
    units
        Whose records these are; every tile's in order if not given.
    """
    import pandas as pd

    places = np.arange(len(lattice)) if units is None else units
    units = in_grid_order(lattice, places)
    text_of = dict(zip(places.tolist(), texts, strict=True))
    records = [from_json(text_of[unit]) for unit in units.tolist()]
    named = any(isinstance(record, dict) for record in records)
    rows = [
        record
        if isinstance(record, dict)
        else {}
        if named and record is None
        else {"value": record}
        for record in records
    ]
    table = pd.DataFrame(rows, index=pd.RangeIndex(len(rows)))
    return labelled_rows(table, lattice, units)


def labelled_rows(
    table: "pd.DataFrame", lattice: Lattice, rows: np.ndarray | None = None
) -> "pd.DataFrame":
    """A table with the names and labels of tiles in front: a tile for each row."""
    for k, (name, column) in enumerate(label_columns(lattice, rows).items()):
        if name not in table:
            table.insert(min(k, table.shape[1]), name, column)
    return table


def all_files(project: Path, stage: str, lattice: Lattice, units: np.ndarray) -> "pd.DataFrame":
    """The files that a stage made of tiles, a row per tile: a column ``folder`` and one per file.

    Tiles come in the order of the grid.

    Parameters
    ----------
    project, stage
        The project folder, and the stage that made them.
    lattice
        Of that stage's units.
    units
        Which units.
    """
    import pandas as pd

    units = in_grid_order(lattice, units)
    found = [read_files(project, stage, lattice, unit) for unit in units.tolist()]
    rows = [{"folder": files.folder, **files} for files in found]
    table = pd.DataFrame(rows, index=pd.RangeIndex(len(rows)))
    return labelled_rows(table, lattice, units)
