"""The output of a stage, ``data.zarr``, as a lattice to begin from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latticework.errors import LatticeError, SourceError
from latticework.io.labels import Label
from latticework.io.layout import ArrayLayout
from latticework.io.list_group import read_list
from latticework.io.placing import Placing
from latticework.io.plain_zarr import read_array
from latticework.io.sources import mix
from latticework.io.stage_group import stored_layout
from latticework.io.zarr_source import ZarrBlockSource
from latticework.lattice import Lattice
from latticework.lattice.grids import median_step
from latticework.lattice.offsets import SPATIAL, spatial_axis


def stage_group(path: Path) -> Path | None:
    """The group of a stage, from its path or that of the array in it; None for anything else."""
    for folder, node in ((path, "group"), (path.parent, "array")):
        found, said = _node(path), _attributes(folder)
        if "ome" in said:  # an image that was stitched says what made it, too
            continue
        if found.get("node_type") == node and isinstance(said.get("latticework"), Mapping):
            return folder
    return None


def _node(path: Path) -> Mapping[str, object]:
    try:
        value = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, Mapping) else {}


def _attributes(path: Path) -> Mapping[str, object]:
    node = _node(path)
    value = node.get("attributes") if node.get("node_type") == "group" else None
    return value if isinstance(value, Mapping) else {}


def open_stage(path: Path, block: Mapping[str, int] | None, placing: Placing) -> Lattice:
    """The lattice of a stage's output: its tiles, or the blocks of its volume.

    Parameters
    ----------
    path
        The group, ``data.zarr``.
    block
        Pixels of a block, where a volume is to be divided otherwise than it is stored.
    placing
        Pixel sizes and channels; whether tiles that are not there are marked.

    Raises
    ------
    SourceError
        Where tiles were not computed yet, or the output has no y and x.
    """
    layout = stored_layout(path)
    if not {"y", "x"} <= set(layout.dims) <= {"c", *SPATIAL}:
        raise SourceError(
            f"the output of stage {layout.name!r} has the dims {layout.dims}; expected some of "
            f'c, z, y, x, with y and x: open it with xarray.open_zarr("{path}")',
            path,
        )
    if layout.kind != "volume" and block is not None:
        raise LatticeError(
            f"block={dict(block)} divides one volume, but the output of stage {layout.name!r} is "
            "separate tiles: leave it out"
        )
    tiles = _tiles_of(path, layout)
    if tiles.position is not None:  # places without one are holes
        tiles = tiles.some(np.isfinite(tiles.position).all(axis=1))
    stamps, found = _stamps(path, layout, tiles.place)
    why = f"stage {layout.name!r} has no output for this tile: run its project, and open it again"
    missing = dict.fromkeys(np.flatnonzero(~found).tolist(), why)
    if tiles.position is None and layout.kind != "volume":
        tiles, stamps, missing = tiles.some(found), stamps[found], {}
    if missing and not placing.mark:
        raise SourceError(
            f"stage {layout.name!r} has no output for {len(missing):,} of {len(tiles.index):,} "
            f'tiles at {path}: run its project first, or go on without them with errors="mark"',
            path,
        )
    if layout.kind == "volume":
        lattice = _blocks(path, layout, block, stamps, placing)
    else:
        lattice = _tiles(path, layout, tiles, stamps, placing)
    same = len(lattice) == len(tiles.index)
    return lattice.replace(channels=placing.channels, problems=missing if same else {})


@dataclass(frozen=True, slots=True)
class _Tiles:
    """What a group says of its tiles, a row each."""

    index: np.ndarray
    """Positions on the grid."""
    place: np.ndarray
    """Places in the array."""
    labels: Mapping[str, Sequence[Label]]
    """Labels of the grid by lattice dim."""
    position: np.ndarray | None
    """Positions in micrometres, where they are known."""
    names: np.ndarray | None = None
    """Names, where they are known."""

    def some(self, which: np.ndarray) -> "_Tiles":
        """These tiles alone."""
        position, names = (
            None if column is None else column[which] for column in (self.position, self.names)
        )
        return _Tiles(self.index[which], self.place[which], self.labels, position, names)


def _tiles_of(path: Path, layout: ArrayLayout) -> _Tiles:
    if layout.kind != "list":
        index = np.indices(layout.grid).reshape(len(layout.grid), int(np.prod(layout.grid))).T
        labels = dict(zip(layout.lattice_dims, layout.labels, strict=True))
        return _Tiles(index, index, labels, _positions(path, layout, index))
    listed = read_list(path)
    grid = listed.grid(layout.lattice_dims)
    if grid is None:
        raise SourceError(
            f"the store of stage {layout.name!r} at {path} does not say where its tiles are: open "
            "its project and run it, which writes that again",
            path,
        )
    columns = [listed.columns.get(f"{axis}_um") for axis in _axes(layout)]
    known = [column for column in columns if column is not None]
    position = np.stack(known, axis=1) if len(known) == len(columns) else None
    ids = np.arange(len(grid[1]))[:, None]
    return _Tiles(grid[1], ids, grid[0], position, listed.columns.get("tile_name"))


def _positions(path: Path, layout: ArrayLayout, index: np.ndarray) -> np.ndarray | None:
    names = [f"{axis}_um" for axis in _axes(layout)]
    if layout.kind == "volume" or not all((path / n / "zarr.json").is_file() for n in names):
        return None
    return np.stack([read_array(path, name)[tuple(index.T)] for name in names], axis=1)


def _axes(layout: ArrayLayout) -> list[str]:
    on_lattice = {spatial_axis(dim) for dim in layout.lattice_dims}
    return [axis for axis in SPATIAL if axis in layout.dims or axis in on_lattice]


def _stamps(path: Path, layout: ArrayLayout, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A number per tile that changes with its files, and whether they are there."""
    facts = np.zeros((len(index), 2), np.int64)
    for row, where in enumerate(index.tolist()):
        try:
            stats = [(path / key).stat() for key in layout.keys(where)]
        except OSError:
            continue
        facts[row] = sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats)
    return mix(*index.T, *facts.T), facts[:, 0] > 0


def _blocks(
    path: Path,
    layout: ArrayLayout,
    block: Mapping[str, int] | None,
    stamps: np.ndarray,
    placing: Placing,
) -> Lattice:
    assert layout.volume_shape is not None
    stored = dict(zip(layout.dims, layout.tile_shape, strict=True))
    stored.pop("c", None)
    lattice = Lattice.from_array(
        np.broadcast_to(np.zeros((), layout.dtype), layout.volume_shape),
        block=stored if block is None else block,
        dims=layout.dims,
        pixel_size_um=placing.pixel_size(dict(layout.pixel_size_um)),
    )
    starts: np.ndarray = lattice.source.starts  # type: ignore[union-attr]
    if block is not None:
        stamps = mix(*starts.T, np.full(len(starts), np.bitwise_xor.reduce(stamps), np.uint64))
    source = ZarrBlockSource(path / layout.name, starts, layout.volume_shape, stamps)
    return lattice.replace(source=source)


def _tiles(
    path: Path,
    layout: ArrayLayout,
    tiles: _Tiles,
    stamps: np.ndarray,
    placing: Placing,
) -> Lattice:
    index, position = tiles.index, tiles.position
    sizes = placing.pixel_size(dict(layout.pixel_size_um))
    shape = dict(zip(layout.dims, layout.tile_shape, strict=True))
    steps = {}
    for column, dim in enumerate(layout.lattice_dims):
        axis = spatial_axis(dim)
        if axis is not None and position is not None and len(index):
            along = position[:, _axes(layout).index(axis)]
            pixel, default = sizes.get(axis, 1.0), shape.get(axis, 1)
            steps[axis] = median_step(along, index[:, column], pixel, default)
    starts = np.concatenate([tiles.place, np.zeros((len(index), len(shape)), np.int64)], axis=1)
    lead = len(layout.lead_dims)
    return Lattice(
        dims=layout.lattice_dims or ("tile_y", "tile_x"),
        labels=tiles.labels or {"tile_y": [0], "tile_x": [0]},
        index=index if lead else np.zeros((1, 2), np.int64),
        tile_dims=layout.dims,
        tile_shape=layout.tile_shape,
        dtype=layout.dtype,
        pixel_size_um=sizes,
        step_px=steps,
        position_um=position,
        names=tiles.names,
        source=ZarrBlockSource(path / layout.name, starts, layout.array_shape, stamps, lead=lead),
    )
