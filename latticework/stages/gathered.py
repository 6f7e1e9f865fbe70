"""All tiles at once, for reductions: lazily for arrays, as one table for tables and records."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.io.records import from_json
from latticework.io.tables import TILE_COLUMN, read_tables
from latticework.lattice.geometry import Box
from latticework.lattice.lattice import Lattice

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from latticework.stages.bench import ArrayInput

CHUNK_BYTES = 32 * 2**20
"""Tiles are read in groups of about this size."""


def all_arrays(source: "ArrayInput") -> "xr.DataArray":
    """Every tile of a parent as one lazy array with a leading dim ``tile``.

    Labels, names and positions (``y_um`` ...) are coordinates of ``tile``. Where tiles differ in
    shape, smaller ones are padded with NaN, and integers become floats for that (float32 up to 16
    bits, else float64), so that xarray's reductions leave the padding out. Nothing is read before
    it is computed, and then group by group.
    """
    import dask.array as da
    import xarray as xr

    lattice = source.lattice
    shape = tuple(lattice.tile_shape.values())
    dtype = lattice.dtype
    if lattice.shapes is not None and dtype.kind not in "fc":
        dtype = np.dtype("f4" if dtype.itemsize <= 2 else "f8")
    nbytes = int(np.prod(shape)) * dtype.itemsize
    per_chunk = max(1, min(len(lattice), CHUNK_BYTES // max(nbytes, 1)))
    rows = da.from_array(np.arange(len(lattice)), chunks=per_chunk)

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
        dim: ("tile", lattice.labels[dim][lattice.index[:, k]])
        for k, dim in enumerate(lattice.dims)
    }
    coords["name"] = ("tile", lattice.names.astype(str))
    for k, axis in enumerate(lattice.spatial_dims):
        coords[f"{axis}_um"] = ("tile", lattice.position_um[:, k])
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


def label_columns(lattice: Lattice) -> dict[str, np.ndarray]:
    """Name and labels of every tile, as columns."""
    columns: dict[str, np.ndarray] = {"tile": lattice.names.astype(str)}
    for k, dim in enumerate(lattice.dims):
        columns[dim] = lattice.labels[dim][lattice.index[:, k]]
    return columns


def all_tables(folder: Path, lattice: Lattice) -> "pd.DataFrame":
    """The tables of every tile as one, each row with its tile's name and labels."""
    table = read_tables(folder, lattice.ids.tolist())
    rows = lattice.rows_of(table.pop(TILE_COLUMN).to_numpy())
    for k, (name, column) in enumerate(label_columns(lattice).items()):
        if name not in table:
            table.insert(min(k, table.shape[1]), name, column[rows])
    return table


def all_records(texts: Sequence[str], lattice: Lattice) -> "pd.DataFrame":
    """The records of every tile as a table, a row per tile, with its name and labels.

    A record that is no dict becomes a column ``value``.
    """
    import pandas as pd

    records = [from_json(text) for text in texts]
    rows = [record if isinstance(record, dict) else {"value": record} for record in records]
    table = pd.DataFrame(rows)
    for k, (name, column) in enumerate(label_columns(lattice).items()):
        if name not in table:
            table.insert(min(k, table.shape[1]), name, column)
    return table
