"""Lattices from a given grid, and from measured positions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice.arguments import grid_argument, overlap_argument, pixel_size_argument
from latticework.lattice.building import Parts, pixel_parts, pixel_sizes
from latticework.lattice.offsets import SPATIAL, lattice_dim, spatial_axis

TOLERANCE = 0.35
"""Fraction of a tile's extent within which positions share a row."""


def overlap_steps(
    overlap: Mapping[str, Any] | str | float | None,
    tile_shape: Mapping[str, int],
    axes: Sequence[str],
) -> dict[str, int]:
    """Steps in pixels from an overlap in pixels (whole) or as a fraction (below 1, ``"10%"``)."""
    overlap = overlap_argument(overlap)
    if not isinstance(overlap, Mapping):
        value = overlap or 0
        overlap = {axis: value for axis in axes if axis in tile_shape and axis != "z"}
    unknown = [axis for axis in overlap if axis not in axes or axis not in tile_shape]
    if unknown:
        raise LatticeError(f"overlap names {unknown}, but the tiles lie along {list(axes)}")
    resolved = {}
    for axis in axes:
        size, given = tile_shape.get(axis, 1), overlap.get(axis, 0)
        pixels = round(given * size) if isinstance(given, float) and given < 1 else int(given)
        if not 0 <= pixels < size:
            raise LatticeError(
                f"an overlap of {given} along {axis} does not fit tiles of {size} px"
            )
        resolved[axis] = size - pixels
    return resolved


def scan_order(shape: Sequence[int], *, order: str, snake: bool, start: str) -> np.ndarray:
    """Grid positions in acquisition order, shape (n, len(shape)); the last two are y and x.

    ``order="row"`` scans along x first; ``snake`` turns around at each row's (column's) end.
    """
    corners = {"top-left", "top-right", "bottom-left", "bottom-right"}
    if start not in corners or order not in ("row", "column"):
        raise LatticeError(
            f"order={order!r}, start={start!r}: order is 'row' or 'column', start {sorted(corners)}"
        )
    rows, columns = shape[-2:]
    y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    if order == "column":
        y, x = y.T.copy(), x.T.copy()
    fast = x if order == "row" else y
    if snake:
        fast[1::2] = fast[1::2, ::-1]
    if "right" in start:
        x = columns - 1 - x
    if "bottom" in start:
        y = rows - 1 - y
    plane = np.stack([y.ravel(), x.ravel()], axis=1)
    outer = np.stack(
        np.unravel_index(np.arange(int(np.prod(shape[:-2]))), tuple(shape[:-2]) or (1,)), axis=1
    )
    outer = outer[:, : len(shape) - 2]
    return np.concatenate(
        [np.repeat(outer, len(plane), axis=0), np.tile(plane, (len(outer), 1))], axis=1
    )


def grid_parts(
    grid: Mapping[str, int],
    *,
    tile_shape: Mapping[str, int],
    dtype: Any,
    overlap: Mapping[str, Any] | str | float | None = None,
    order: str = "row",
    snake: bool = False,
    start: str = "top-left",
    pixel_size_um: Mapping[str, float] | float | None = None,
    **rest: Any,
) -> Parts:
    """Parts of a full grid; see `Lattice.from_grid`."""
    grid = grid_argument(grid)
    dims = tuple(lattice_dim(axis) for axis in grid)
    if any(size < 1 for size in grid.values()) or dims[-2:] != ("tile_y", "tile_x"):
        raise LatticeError(
            f"a grid has at least one tile along each axis and ends in y, x: not {dict(grid)}"
        )
    pixels = pixel_parts(tile_shape, dtype)
    axes = [axis for axis in map(spatial_axis, dims) if axis is not None]
    return {
        "dims": dims,
        "labels": {dim: np.arange(size) for dim, size in zip(dims, grid.values(), strict=True)},
        "index": scan_order(tuple(grid.values()), order=order, snake=snake, start=start),
        "step_px": overlap_steps(overlap, tile_shape, axes),
        "pixel_size_um": pixel_size_um,
        **pixels,
        **rest,
    }


def grid_lines(values: np.ndarray, extent: float, tolerance: float) -> tuple[np.ndarray, float]:
    """Grid position of each coordinate and the step between grid lines.

    Coordinates closer than ``tolerance * extent`` to their neighbour (sorted) are one line;
    the step is the median distance between adjacent lines, and larger gaps count as holes.
    """
    order = np.argsort(values, kind="stable")
    gaps = np.diff(values[order])
    line = np.concatenate([[0], np.cumsum(gaps > tolerance * extent)])
    centres = np.bincount(line, values[order]) / np.bincount(line)
    numbers, step = line_numbers(centres, extent)
    position = np.empty(len(values), dtype=np.int64)
    position[order] = numbers[line]
    return position, step


def line_numbers(centres: np.ndarray, extent: float) -> tuple[np.ndarray, float]:
    """Grid position of each grid line (ascending centres), and the step between positions."""
    if len(centres) == 1:
        return np.zeros(1, dtype=np.int64), extent
    distances = np.diff(centres)
    step = float(np.median(distances[distances < 1.5 * distances.min()]))
    numbers = np.concatenate([[0], np.cumsum(np.maximum(np.rint(distances / step), 1))])
    return numbers.astype(np.int64), step


def median_step(position_um: np.ndarray, column: np.ndarray, pixel_um: float, default: int) -> int:
    """Median distance of neighbouring grid lines, pixels."""
    lines = np.unique(column)
    if len(lines) < 2:
        return default
    centres = np.array([np.nanmedian(position_um[column == line]) for line in lines])
    step = np.median(np.diff(centres) / np.diff(lines)) / pixel_um
    if not step >= 0.5:
        raise LatticeError(
            f"positions grow against the grid labels (step {step:.1f} px): the table contradicts "
            "itself, or an axis runs "
            'backwards; turn it with flip="y" or "x"'
        )
    return max(1, round(float(step)))


def position_parts(
    position_um: Any,
    *,
    tile_shape: Mapping[str, int],
    dtype: Any,
    axes: Sequence[str] | None = None,
    other: Mapping[str, Any] | None = None,
    pixel_size_um: Mapping[str, float] | float | None = None,
    tolerance: float = TOLERANCE,
    **rest: Any,
) -> Parts:
    """Parts of a lattice from measured positions; see `Lattice.from_positions`."""
    position_um = np.atleast_2d(np.asarray(position_um, dtype=np.float64))
    axes = tuple(axes) if axes is not None else SPATIAL[3 - position_um.shape[1] :]
    if not position_um.size:
        raise LatticeError("there are no positions: a lattice from positions has at least one tile")
    if len(set(axes)) != len(axes) or not set(axes) <= set(SPATIAL):
        raise LatticeError(f"axes are some of z, y, x, each once, not {axes}")
    if position_um.ndim != 2 or position_um.shape[1] != len(axes):
        raise LatticeError(f"positions have the shape {position_um.shape} for the axes {axes}")
    if not np.isfinite(position_um).all():
        row = int(np.flatnonzero(~np.isfinite(position_um).all(axis=1))[0])
        raise LatticeError(f"the position of tile {row} is {position_um[row].tolist()}: not finite")
    pixels = pixel_parts(tile_shape, dtype)
    spatial = [axis for axis in SPATIAL if axis in tile_shape or axis in axes]
    known = pixel_size_argument(pixel_size_um)
    sizes = pixel_sizes(known, spatial)
    full = np.zeros((len(position_um), len(spatial)))
    dims, columns, labels, step_px = [], [], {}, {}
    for dim, values in (other or {}).items():
        if len(values) != len(position_um):
            raise LatticeError(f"{len(values)} labels of {dim} for {len(position_um)} positions")
        unique, inverse = np.unique(np.asarray(values), return_inverse=True)
        dims.append(dim)
        columns.append(inverse)
        labels[dim] = unique
    for column, axis in enumerate(axes):
        full[:, spatial.index(axis)] = position_um[:, column]
        extent = tile_shape.get(axis, 1) * sizes[axis]
        lines, step = grid_lines(position_um[:, column], extent, tolerance)
        if axis == "z" and lines.max() == 0:
            continue  # one layer of tiles: the lattice is two-dimensional
        dims.append(lattice_dim(axis))
        columns.append(lines)
        labels[lattice_dim(axis)] = np.arange(lines.max() + 1)
        step_px[axis] = max(1, round(step / sizes[axis]))
    return {
        "dims": dims,
        "labels": labels,
        "index": np.stack(columns, axis=1) if columns else np.zeros((len(full), 0)),
        "position_um": full,
        "step_px": step_px,
        "pixel_size_um": known,
        **pixels,
        **rest,
    }
