"""From tiles with labels, positions or just an order to a lattice: what every reader shares."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeError, SourceError
from latticework.io.filenames import name_numbers, pattern_of
from latticework.lattice import Lattice
from latticework.lattice.arguments import pixel_size_argument
from latticework.lattice.grids import (
    TOLERANCE,
    grid_lines,
    median_step,
    overlap_steps,
    scan_order,
)
from latticework.lattice.merging import dense, natural_key
from latticework.lattice.offsets import lattice_dim, spatial_axis
from latticework.lattice.source import TileSource

if TYPE_CHECKING:
    import pandas as pd

GRID_DIMS = ("tile_z", "tile_y", "tile_x")


@dataclass(frozen=True, slots=True)
class Placing:
    """What the caller of `open_tiles` said about where tiles are."""

    grid: Mapping[str, int] | None = None
    start: str = "top-left"
    order: str = "row"
    snake: bool = False
    overlap: Mapping[str, float] | float | None = None
    flip: str = ""
    pixel_size_um: Mapping[str, float] | float | None = None
    channels: Sequence[str] | None = None
    mark: bool = False
    """Put problems on the lattice instead of raising the first."""
    partial: bool = False
    """These are some tiles of an acquisition that goes on: axes with one label are kept, and a
    tile that is alone still needs a place."""
    first: int | None = None
    """Number of the first tile of a `grid`, where it is known."""

    def pixel_size(self, found: Mapping[str, float]) -> dict[str, float]:
        """Pixel size by axis: as given, else as found."""
        return {**found, **pixel_size_argument(self.pixel_size_um)}


@dataclass(slots=True)
class Tiles:
    """Tiles in acquisition order, before they are a lattice.

    ``table`` has one row per tile, and some of the columns ``tile_z tile_y tile_x`` (labels),
    ``z_um y_um x_um`` (positions), ``number`` and any other lattice axes.
    """

    table: "pd.DataFrame"
    names: Sequence[str]
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    pixel_size_um: dict[str, float]
    channels: tuple[str, ...] | None
    source: TileSource
    where: str
    """The acquisition, for messages."""
    problems: dict[int, str] = field(default_factory=dict)
    titles: Sequence[str] | None = None
    """What to call the tiles, where not by `names`, those of their first files."""
    labelled: bool = False
    """Whether a tile is called by its labels: its files have names of their own."""
    layer: bool = False
    """Whether there can be one layer of tiles only: all planes of a place are one tile."""

    @property
    def size(self) -> dict[str, int]:
        """Pixels by tile dim."""
        return dict(zip(self.dims, self.shape, strict=True))

    @property
    def other(self) -> list[str]:
        """Lattice axes that are not spatial."""
        return [
            str(c)
            for c in self.table
            if c not in GRID_DIMS and c != "number" and not str(c).endswith("_um")
        ]


def has_place(columns: Iterable[Any]) -> bool:
    """Whether labels or positions along y or x are among the columns."""
    return bool({"tile_y", "tile_x", "y_um", "x_um"} & set(columns))


def to_lattice(tiles: Tiles, placing: Placing) -> Lattice:
    """The lattice of tiles, by grid, labels or positions, in that order."""
    if placing.channels is not None:
        count = tiles.size.get("c", 1)
        if len(placing.channels) != count:
            raise LatticeError(
                f"channels={list(placing.channels)} for tiles with {count} channels: name each once"
            )
        tiles.channels = tuple(placing.channels)
    pixel = placing.pixel_size(tiles.pixel_size_um)
    tiles.pixel_size_um = pixel
    columns = [str(column) for column in tiles.table]
    labels, index = _other_axes(tiles)
    if placing.grid is not None:
        dims, grid_labels, positions = _by_grid(tiles, placing)
        steps = overlap_steps(placing.overlap, tiles.size, [d.removeprefix("tile_") for d in dims])
    elif any(dim in columns for dim in GRID_DIMS):
        dims, grid_labels, positions, steps = _by_labels(tiles, placing)
    elif has_place(columns):
        dims, grid_labels, positions, steps = _by_positions(tiles, placing)
    elif len(tiles.table) == len(tiles.table[tiles.other].drop_duplicates()) and (
        tiles.other or (len(tiles.table) == 1 and not placing.partial)
    ):
        dims, grid_labels = ("tile_y", "tile_x"), {"tile_y": np.arange(1), "tile_x": np.arange(1)}
        positions, steps = np.zeros((len(tiles.table), 2), np.int64), {}
    else:
        raise SourceError(no_place(tiles.where, tiles.names))
    return Lattice(
        dims=(*tiles.other, *dims),
        labels={**labels, **grid_labels},
        index=np.concatenate([index, positions], axis=1),
        tile_dims=tiles.dims,
        tile_shape=tiles.shape,
        dtype=tiles.dtype,
        pixel_size_um=pixel,
        step_px=steps,
        position_um=_position_array(tiles, dims, positions, steps),
        names=tiles.titles or (None if tiles.labelled else tiles.names),
        problems=tiles.problems,
        channels=tiles.channels,
        source=tiles.source,
    )


def no_place(where: str, names: Sequence[str]) -> str:
    """The message for an acquisition that does not say where its tiles are."""
    said = (
        f"{where} holds {len(names)} tiles ({names[0]!r} ...) but nothing says where they are (no "
        "OME-XML or MetaMorph positions, no row and column in the names)"
    )
    pattern, grid = pattern_of(names), fitting_grid(len(names))
    if pattern is None:
        return f'{said}: give {grid}, positions="table.csv", or pattern="{{row:d}}_{{col:d}}.tif"'
    return (
        f'{said}: give pattern="{pattern}" if that is what these numbers are, '
        f'positions="table.csv", or {grid} if they were acquired in the order of their names'
    )


def fitting_grid(n: int) -> str:
    """A grid of rows and columns that so many tiles fill, the one nearest to a square, as advice.

    Examples
    --------
    >>> fitting_grid(12), fitting_grid(7)
    ('grid={"y": 3, "x": 4} (or other rows and columns that make 12)', 'grid={"y": 1, "x": 7}')
    """
    rows = max(k for k in range(1, math.isqrt(max(n, 1)) + 1) if n % k == 0)
    others = f" (or other rows and columns that make {n})" if rows > 1 else ""
    return f'grid={{"y": {rows}, "x": {n // rows}}}{others}'


def _other_axes(tiles: Tiles) -> tuple[dict[str, np.ndarray], np.ndarray]:
    labels, columns = {}, []
    for dim in tiles.other:
        labels[dim], column = _codes(tiles.table[dim].to_numpy(), dim)
        columns.append(column)
    index = np.stack(columns, axis=1) if columns else np.zeros((len(tiles.table), 0), np.int64)
    return labels, index


def _codes(values: np.ndarray, dim: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels of an axis and each value's place among them; text in natural order."""
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError):
        text = np.array([str(value) for value in values])
        unique = np.array(sorted(set(text.tolist()), key=natural_key))
        place = {label: i for i, label in enumerate(unique.tolist())}
        return unique, np.array([place[value] for value in text.tolist()], np.int64)
    if not np.isfinite(numbers).all() or (numbers != np.rint(numbers)).any():
        raise LatticeError(
            f"{dim} has the label {numbers[numbers != np.rint(numbers)][0]}; expected whole "
            "numbers or text"
        )
    whole = numbers.astype(np.int64)
    unique, inverse = np.unique(whole, return_inverse=True)
    if dim in GRID_DIMS and dense(int(unique[0]), int(unique[-1]), len(unique)):
        unique, inverse = np.arange(unique[0], unique[-1] + 1), whole - unique[0]
    return unique, inverse.astype(np.int64)


def _groups(tiles: Tiles) -> np.ndarray:
    """Which well, time point ... every tile belongs to."""
    if not tiles.other:
        return np.zeros(len(tiles.table), np.int64)
    return np.asarray(tiles.table.groupby(tiles.other, sort=False).ngroup())


def _by_grid(
    tiles: Tiles, placing: Placing
) -> tuple[tuple[str, ...], dict[str, np.ndarray], np.ndarray]:
    assert placing.grid is not None
    dims = tuple(lattice_dim(axis) for axis in placing.grid)
    if any(spatial_axis(dim) is None for dim in dims) or dims[-2:] != ("tile_y", "tile_x"):
        raise LatticeError(
            f"grid={dict(placing.grid)}: expected y and x, or z, y and x, such as "
            f'{{"y": 7, "x": 9}}'
        )
    shape = tuple(int(n) for n in placing.grid.values())
    order = scan_order(shape, order=placing.order, snake=placing.snake, start=placing.start)
    groups, index = _groups(tiles), np.zeros((len(tiles.table), len(dims)), np.int64)
    for group in range(int(groups.max()) + 1):
        rows = np.flatnonzero(groups == group)
        numbers = tiles.table["number"].to_numpy()[rows] if "number" in tiles.table else None
        index[rows] = order[_ranks(rows, numbers, len(order), tiles, placing)]
    labels = {dim: np.arange(n) for dim, n in zip(dims, shape, strict=True)}
    return dims, labels, index


def _ranks(
    rows: np.ndarray, numbers: Any, places: int, tiles: Tiles, placing: Placing
) -> np.ndarray:
    """Place in the acquisition of every tile of one group."""
    if len(rows) == places and numbers is None and placing.first is None:
        return np.arange(places)
    grid = " x ".join(f"{n} {axis}" for axis, n in (placing.grid or {}).items())
    said = f"{tiles.where}: a grid of {grid} has {places} tiles, but there are {len(rows)}"
    if numbers is None:
        numbers = name_numbers([tiles.names[row] for row in rows])
    if len(rows) > places or numbers is None:
        raise LatticeError(
            f"{said} ({tiles.names[rows[0]]!r} to {tiles.names[rows[-1]]!r}): correct grid=, or "
            "choose files="
        )
    ranks = np.asarray(numbers, np.int64)
    first = ranks.min() if ranks.min() <= 1 or ranks.max() - ranks.min() + 1 == places else 1
    ranks = ranks - (first if placing.first is None else placing.first)
    if len(np.unique(ranks)) != len(ranks) or ranks.max() >= places or ranks.min() < 0:
        raise LatticeError(
            f"{said}, numbered {min(numbers)} to {max(numbers)}: correct grid=, or choose files="
        )
    missing = np.setdiff1d(np.arange(places), ranks)
    if len(missing) and not placing.mark:
        first = min(numbers) - ranks.min()
        raise SourceError(
            f"{said}: number "
            f"{', '.join(str(first + m) for m in missing[:5])}{' ...' if len(missing) > 5 else ''} "
            "is missing "
            'beside {!r}; complete the folder, or leave holes with errors="mark"'.format(
                tiles.names[rows[0]]
            )
        )
    return ranks


def _by_labels(
    tiles: Tiles, placing: Placing
) -> tuple[tuple[str, ...], dict[str, np.ndarray], np.ndarray, dict[str, int]]:
    dims = tuple(dim for dim in GRID_DIMS if dim in tiles.table)
    labels, columns = {}, []
    for dim in dims:
        labels[dim], column = _codes(tiles.table[dim].to_numpy(), dim)
        if (spatial_axis(dim) or dim) in placing.flip:
            labels[dim], column = labels[dim][::-1], len(labels[dim]) - 1 - column
        columns.append(column)
    index = np.stack(columns, axis=1)
    axes = [dim.removeprefix("tile_") for dim in dims]
    size = {**dict.fromkeys(axes, 1), **tiles.size}
    steps = overlap_steps(placing.overlap, size, axes)
    if placing.overlap is None:
        for axis, column in zip(axes, columns, strict=True):
            if f"{axis}_um" in tiles.table:
                steps[axis] = median_step(
                    tiles.table[f"{axis}_um"].to_numpy(float),
                    column,
                    tiles.pixel_size_um.get(axis, 1.0),
                    steps[axis],
                )
    return dims, labels, index, steps


def _by_positions(
    tiles: Tiles, placing: Placing
) -> tuple[tuple[str, ...], dict[str, np.ndarray], np.ndarray, dict[str, int]]:
    groups, dims, labels, columns, steps = _groups(tiles), [], {}, [], {}
    for axis in "zyx":
        if f"{axis}_um" not in tiles.table:
            continue
        values = tiles.table[f"{axis}_um"].to_numpy(float).copy()
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise LatticeError(
                f"{tiles.where}: tile {tiles.names[row]!r} has no position along {axis}; expected "
                "a number"
            )
        values *= -1 if axis in placing.flip else 1
        tiles.table[f"{axis}_um"] = values.copy()
        values = _side_by_side(tiles, groups, values)
        pixel = tiles.pixel_size_um.get(axis, 1.0)
        lines, step = grid_lines(values, tiles.size.get(axis, 1) * pixel, TOLERANCE)
        if axis == "z" and (tiles.layer if placing.partial else lines.max() == 0):
            continue
        dim = lattice_dim(axis)
        dims.append(dim)
        labels[dim], steps[axis] = np.arange(lines.max() + 1), max(1, round(step / pixel))
        columns.append(lines)
    return tuple(dims), labels, np.stack(columns, axis=1), steps


def _side_by_side(tiles: Tiles, groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Positions within wells (time points ...), which lie apart and have equal grids.

    The same site of two wells is at the same place; where sites have no numbers, or wells share
    none, the wells' least positions are.
    """
    count = int(groups.max()) + 1
    if count == 1:
        return values
    numbers = tiles.table["number"].to_numpy() if "number" in tiles.table else None
    fullest = groups == int(np.bincount(groups).argmax())
    shifted = values.copy()
    for group in range(count):
        mine = groups == group
        shift = values[mine].min() - values[fullest].min()
        if numbers is not None:
            _, here, there = np.intersect1d(numbers[mine], numbers[fullest], return_indices=True)
            if len(here):
                shift = float(np.median(values[mine][here] - values[fullest][there]))
        shifted[mine] -= shift
    return shifted


def _position_array(
    tiles: Tiles,
    dims: Sequence[str],
    index: np.ndarray,
    steps: Mapping[str, int],
) -> np.ndarray | None:
    """Positions where given, else nominal ones; None where nothing was given."""
    axes = [axis for axis in "zyx" if axis in tiles.dims or f"tile_{axis}" in dims]
    if not any(f"{axis}_um" in tiles.table for axis in axes):
        return None
    position = np.zeros((len(tiles.table), len(axes)))
    for column, axis in enumerate(axes):
        nominal = np.zeros(len(index))
        if f"tile_{axis}" in dims:
            pixel = tiles.pixel_size_um.get(axis, 1.0)
            nominal = (
                index[:, list(dims).index(f"tile_{axis}")]
                * steps.get(axis, tiles.size.get(axis, 1))
                * pixel
            )
        if f"{axis}_um" in tiles.table:
            given = tiles.table[f"{axis}_um"].to_numpy(float)
            nominal = np.where(np.isfinite(given), given, nominal)
        position[:, column] = nominal
    return position
