"""Lattices that grow: new tiles, new labels, the same ids.

A tile joins in time that hardly depends on how many there are: what is known of the old tiles is
not looked at again, and arrays with a row per tile grow at their end (`GrowingRows`). Only the grid
of ids is copied, and where labels move, the grid positions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice import views
from latticework.lattice.building import LARGEST_GRID, check_places, nominal_positions
from latticework.lattice.grids import median_step
from latticework.lattice.lines import GridLines
from latticework.lattice.merging import Merged, merge_labels
from latticework.lattice.offsets import lattice_dim, spatial_axis
from latticework.lattice.rows import GrowingRows, GrownNames

if TYPE_CHECKING:
    from latticework.lattice.lattice import Lattice

PLACED_BY = ("labels", "positions")

FACTS = ("tile_dims", "tile_shape", "dtype", "pixel_size_um", "channels")
"""What new tiles have in common with the old ones."""

PARTS = (
    "dims", "tile_dims", "labels", "index", "ids", "dtype", "tile_shape", "spatial_dims",
    "known_pixel_size_um", "pixel_size_um", "step_px", "shapes", "channels", "problems",
    "volume_shape", "source", "given_names", "given_position_um",
)  # fmt: skip
"""Attributes that make a lattice; all others follow from them."""

DERIVED = ("growing", "id_grid", "position_um", "names", "shuffled", "id_order")
"""What follows from a lattice's parts other than its source, once it was asked for."""


@dataclass(frozen=True, slots=True)
class Growing:
    """What a grown lattice keeps for the next tiles: its arrays, with the room behind them."""

    index: GrowingRows
    ids: GrowingRows
    position_um: GrowingRows | None
    shapes: GrowingRows | None
    lines: Mapping[str, GridLines] | None
    """Grid lines by axis, where the positions alone decide."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the tiles of both lattices are on the grid of the grown one."""

    dims: tuple[str, ...]
    merged: Mapping[str, Merged]
    """By dim; `Merged.moved` says where old grid positions went."""
    index: np.ndarray | None
    """Grid positions of all tiles, where they cannot be had by moving the old ones."""
    step_px: Mapping[str, int]
    lines: Mapping[str, GridLines] | None = None


def made(lattice: "Lattice", kept: tuple[str, ...] = (), **changes: Any) -> "Lattice":
    """A lattice with other parts, which are taken as they are: nothing is checked.

    `kept` names what was worked out for `lattice` and holds for the new one too.
    """
    mine = lattice.__dict__
    again = object.__new__(type(lattice))
    again.__dict__.update({part: mine[part] for part in PARTS})
    again.__dict__.update({name: mine[name] for name in kept if name in mine})
    again.__dict__.update(changes)
    return again


def grown(old: "Lattice", new: "Lattice", *, placed_by: str) -> "Lattice":
    """The lattice with new tiles, which get the next ids; the old ones keep theirs.

    Parameters
    ----------
    old
        The lattice as it was; it stays as it is.
    new
        Tiles to join, in order of acquisition.
    placed_by
        ``"labels"``: a tile is where its labels say, and new labels are put in order among those
        that there are. ``"positions"``: the grid is worked out again from the positions of all
        tiles, as `Lattice.from_positions` does.

    Raises
    ------
    LatticeError
        If new tiles are of another kind, or two tiles claim one place on the grid.

    Notes
    -----
    With labels, the step between tiles is that of the lattice which has more than one tile along
    an axis; where only positions tell, they are measured once, when there are two grid lines, and
    kept. Where only some tiles have positions, those of the others are nominal, counted from the
    first tile that has one. The source is that of `old`.

    Examples
    --------
    >>> from latticework import Lattice
    >>> kind = {"tile_shape": {"y": 64, "x": 64}, "dtype": "u2"}
    >>> old = Lattice.from_grid({"y": 1, "x": 2}, **kind)
    >>> row = Lattice.from_grid({"y": 1, "x": 2}, **kind).replace(
    ...     labels={"tile_y": [1], "tile_x": [0, 1]}
    ... )
    >>> grown(old, row, placed_by="labels").id_grid.tolist()
    [[0, 1], [2, 3]]
    """
    if placed_by not in PLACED_BY:
        raise LatticeError(f"placed_by={placed_by!r}: expected one of {', '.join(PLACED_BY)}")
    if not len(new):
        return old
    _check_kind(old, new, placed_by)
    if not len(old):
        return new.replace(ids=None, source=old.source, problems=_problems(new, old, 0))
    placed = (_by_labels if placed_by == "labels" else _by_positions)(old, new)
    _check_size(placed)
    return _joined(old, new, placed)


def merged_labels(old: np.ndarray, new: np.ndarray, axis: str | None) -> np.ndarray:
    """Labels of both, sorted; whole-numbered spatial ones without gaps, so that +1 is next door."""
    merged = np.unique(np.concatenate([old, new]))
    if axis is not None and merged.dtype.kind in "iu" and len(merged):
        return np.arange(merged[0], merged[-1] + 1)
    return merged


# ------------------------------------------------------------------------ checks


def _plain(fact: Any) -> Any:
    return dict(fact) if isinstance(fact, Mapping) else fact


def _check_kind(old: "Lattice", new: "Lattice", placed_by: str) -> None:
    def differ(what: str, mine: Any, theirs: Any) -> None:
        if mine != theirs:
            raise LatticeError(
                f"new tile {new.names[0]!r} has {what} {theirs}, but the tiles of this lattice "
                f"have {mine}: expected tiles of one acquisition; open others as a lattice of "
                "their own"
            )

    if placed_by == "labels":
        differ("dims", old.dims, new.dims)
    else:
        differ("spatial dims", old.spatial_dims, new.spatial_dims)
        differ(
            "further dims", *(tuple(d for d in p.dims if not spatial_axis(d)) for p in (old, new))
        )
    for fact in FACTS:
        differ(fact, _plain(getattr(old, fact)), _plain(getattr(new, fact)))
    if not old.dims and placed_by == "labels":
        raise LatticeError("a lattice without dims has one unit: no tile can join it")
    for dim in old.dims if placed_by == "labels" else ():
        if len(old) and (old.labels[dim].dtype.kind == "U") != (new.labels[dim].dtype.kind == "U"):
            raise LatticeError(
                f"labels along {dim} are strings in one lattice, numbers in the other"
            )


def _check_size(placed: Placed) -> None:
    sizes = {dim: len(placed.merged[dim].labels) for dim in placed.dims}
    if np.prod(np.array(list(sizes.values()), dtype=float)) > LARGEST_GRID:
        raise LatticeError(f"a grid of {sizes} is too large: are the labels grid labels?")


def _check_free(
    old: "Lattice", new: "Lattice", grid: np.ndarray, index: np.ndarray, merged: list[Merged]
) -> None:
    """Refuse new tiles at places that are taken, also by one another."""

    def refuse(a: str, b: str, row: int, count: int) -> None:
        where = {
            dim: part.labels[i].item()
            for dim, part, i in zip(old.dims, merged, index[row].tolist(), strict=True)
        }
        raise LatticeError(
            f"two tiles are at {where}: {a!r} and {b!r} ({count} such places): keep one of each, "
            "or tell them apart by a further axis"
        )

    there = grid[tuple(index.T)]
    taken = np.flatnonzero(there >= 0)
    if len(taken):
        row, first = int(taken[0]), int(old.rows_of([there[taken[0]]])[0])
        refuse(_name(old, first), _name(new, row), row, len(taken))
    if len(index) > 1:
        flat = np.ravel_multi_index(tuple(index.T), grid.shape)
        order = np.argsort(flat, kind="stable")
        twice = np.flatnonzero(np.diff(flat[order]) == 0)
        if len(twice):
            a, b = int(order[twice[0]]), int(order[twice[0] + 1])
            refuse(_name(new, a), _name(new, b), a, len(twice))


def _name(lattice: "Lattice", row: int) -> str:
    named = lattice.given_names is not None
    return str(lattice.given_names[row]) if named else views.made_name(lattice, row)


# ------------------------------------------------------------------------ placing


def _merged(old: "Lattice", new: "Lattice", dim: str) -> Merged:
    column = old.dims.index(dim)
    return merge_labels(
        old.labels[dim],
        new.labels[dim][new.index[:, new.dims.index(dim)]],
        spatial=spatial_axis(dim) is not None,
        used=lambda: int(np.count_nonzero(np.bincount(old.index[:, column]))),
    )


def _by_labels(old: "Lattice", new: "Lattice") -> Placed:
    merged = {dim: _merged(old, new, dim) for dim in old.dims}
    steps = {axis: _step(old, new, axis, merged[lattice_dim(axis)]) for axis in old.step_px}
    return Placed(old.dims, merged, None, MappingProxyType(steps))


def _step(old: "Lattice", new: "Lattice", axis: str, merged: Merged) -> int:
    """Step along an axis: known where there are two grid lines, or where it is not the default."""
    dim, default = lattice_dim(axis), old.tile_shape.get(axis, 1)
    mine, theirs = old.step_px[axis], new.step_px[axis]
    measured = old.given_position_um is not None and new.given_position_um is not None
    mine_known = len(old.labels[dim]) > 1 or mine != default
    theirs_known = len(new.labels[dim]) > 1 or theirs != default
    if mine_known and theirs_known and mine != theirs and not measured:
        raise LatticeError(
            f"new tile {_name(new, 0)!r} has step_px {dict(new.step_px)}, but this lattice has "
            f"{dict(old.step_px)}: open new tiles with the overlap of the old ones"
        )
    if mine_known or theirs_known or not measured or len(merged.labels) == 1:
        return mine if mine_known or not theirs_known else theirs
    row, column = old.spatial_dims.index(axis), old.dims.index(dim)
    where = old.index[:, column]
    where = where if merged.moved is None else merged.moved[where]
    return median_step(
        np.concatenate([old.position_um[:, row], new.position_um[:, row]]),
        np.concatenate([where, merged.at]),
        old.pixel_size_um[axis],
        default,
    )


def _by_positions(old: "Lattice", new: "Lattice") -> Placed:
    if new.given_position_um is None:
        raise LatticeError(
            f"new tile {_name(new, 0)!r} has no position, but positions place the tiles of this "
            'lattice: give it one, or use placed_by="labels"'
        )
    known = None if old.growing is None else old.growing.lines
    axes = [axis for axis in old.spatial_dims if axis == "z" or lattice_dim(axis) in old.dims]
    if known is not None:
        lines: dict[str, GridLines] = {}
        merged: dict[str, Merged] = {}
        for axis in axes:
            values = new.given_position_um[:, old.spatial_dims.index(axis)]
            lines[axis], of_line = known[axis].with_values(values)
            before, after = known[axis].number, lines[axis].number[of_line]
            moved = np.full(int(before[-1]) + 1, -1, dtype=np.int64)
            moved[before] = after
            merged[lattice_dim(axis)] = Merged(
                np.arange(int(lines[axis].number[-1]) + 1),
                None if np.array_equal(before, after) else moved,
                lines[axis].positions_of(values),
            )
            if len(np.unique(after)) != len(after):
                break  # lines became one: tiles may meet
        else:
            if _dims(old, axes, lines) == old.dims:
                return Placed(old.dims, merged, None, _steps(old, lines), lines)
    return _placed_anew(old, new, axes)


def _dims(old: "Lattice", axes: list[str], lines: Mapping[str, GridLines]) -> tuple[str, ...]:
    """Dims of the grid: one layer of tiles has no z, unless it always had."""
    several = [a for a in axes if a != "z" or "tile_z" in old.dims or lines[a].number[-1] > 0]
    if all(lattice_dim(axis) in old.dims for axis in several):
        return old.dims
    other = [dim for dim in old.dims if spatial_axis(dim) is None]
    return (*other, *(lattice_dim(axis) for axis in several))


def _steps(old: "Lattice", lines: Mapping[str, GridLines]) -> Mapping[str, int]:
    steps = {
        axis: max(1, round(part.step / old.pixel_size_um[axis]))
        for axis, part in lines.items()
        if axis in old.step_px or part.number[-1] > 0
    }
    return MappingProxyType(steps)


def _placed_anew(old: "Lattice", new: "Lattice", axes: list[str]) -> Placed:
    """The grid from the positions of all tiles."""
    merged, columns = {}, {}
    for dim in old.dims:
        if spatial_axis(dim) is None:
            merged[dim] = part = _merged(old, new, dim)
            mine = old.index[:, old.dims.index(dim)]
            mine = mine if part.moved is None else part.moved[mine]
            columns[dim] = np.concatenate([mine, part.at])
    assert new.given_position_um is not None
    position_um = np.concatenate([old.position_um, new.given_position_um])
    position_um = position_um[:, [old.spatial_dims.index(axis) for axis in axes]]
    extents = [old.tile_shape.get(axis, 1) * old.pixel_size_um[axis] for axis in axes]
    if columns:
        sizes = [len(part.labels) for part in merged.values()]
        groups = np.ravel_multi_index(tuple(columns.values()), sizes)
        position_um = _side_by_side(position_um, groups, axes, np.array(extents))
    lines = {
        axis: GridLines.of(values, extent)
        for axis, values, extent in zip(axes, position_um.T, extents, strict=True)
    }
    dims = _dims(old, axes, lines)
    for axis, values in zip(axes, position_um.T, strict=True):
        dim, n = lattice_dim(axis), len(old)
        columns[dim] = lines[axis].positions_of(values)
        labels = np.arange(int(lines[axis].number[-1]) + 1)
        merged[dim] = Merged(labels, None, columns[dim][n:])
    index = np.stack([columns[dim] for dim in dims], axis=1)
    alone = not any(spatial_axis(dim) is None for dim in dims)
    return Placed(dims, merged, index, _steps(old, lines), lines if alone else None)


def _side_by_side(
    position_um: np.ndarray, groups: np.ndarray, axes: list[str], extent: np.ndarray
) -> np.ndarray:
    """Positions within wells (sheets ...) that lie apart, as if they lay on top of each other.

    Wells lie apart if they do not overlap with the fullest one: in y or x, or, on their own, in z.
    """
    _, group = np.unique(groups, return_inverse=True)
    order = np.argsort(group, kind="stable")
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    low = np.minimum.reduceat(position_um[order], first, axis=0)
    high = np.maximum.reduceat(position_um[order], first, axis=0) + extent
    fullest = int(np.bincount(group).argmax())
    apart = (low >= high[fullest]) | (high <= low[fullest])
    plane = [column for column, axis in enumerate(axes) if axis != "z"]
    apart[:, plane] = apart[:, plane].any(axis=1, keepdims=True)
    return np.asarray(position_um - np.where(apart, low - low[fullest], 0.0)[group])


# ------------------------------------------------------------------------ joining


def _joined(old: "Lattice", new: "Lattice", placed: Placed) -> "Lattice":
    """The grown lattice, once it is known where its tiles are."""
    n, k = len(old), len(new)
    first = int(old.ids.max()) + 1 if old.shuffled else n
    growing = old.growing
    merged = [placed.merged[dim] for dim in placed.dims]
    if placed.index is not None:
        index = GrowingRows(placed.index.astype(np.int64, copy=False))
    else:
        index = GrowingRows(old.index) if growing is None else growing.index
        moved = [(column, part.moved) for column, part in enumerate(merged)]
        if any(table is not None for _, table in moved):
            again = old.index.copy()
            for column, table in moved:
                if table is not None:
                    again[:, column] = table[again[:, column]]
            index = GrowingRows(again)
        index = index.with_rows(np.stack([part.at for part in merged], axis=1))
    ids = (GrowingRows(old.ids) if growing is None else growing.ids).with_rows(first + np.arange(k))
    shapes = _shapes(old, new)
    lattice = made(
        old,
        dims=placed.dims,
        labels=MappingProxyType({dim: placed.merged[dim].labels for dim in placed.dims}),
        index=index.rows,
        ids=ids.rows,
        step_px=placed.step_px,
        shapes=None if shapes is None else shapes.rows,
        problems=_problems(old, new, first),
        volume_shape=None,
        given_names=_names(old, new),
        shuffled=old.shuffled,
    )
    if placed.index is None:
        grid = _grid(old, lattice, moved=any(part.moved is not None for part in merged))
        _check_free(old, new, grid, index.rows[n:], merged)
        grid[tuple(index.rows[n:].T)] = ids.rows[n:]
        grid.setflags(write=False)
        lattice.__dict__["id_grid"] = grid
    else:
        check_places(lattice)
    position_um = _positions(old, new, lattice)
    lattice.given_position_um = None if position_um is None else position_um.rows
    lattice.growing = Growing(index, ids, position_um, shapes, placed.lines)
    return lattice


def _grid(old: "Lattice", lattice: "Lattice", *, moved: bool) -> np.ndarray:
    """Ids of the old tiles on the grid of the grown lattice, to be written to."""
    if not moved and lattice.shape == old.shape:
        return old.id_grid.copy()
    grid = np.full(lattice.shape, -1, dtype=np.int64)
    if moved:
        grid[tuple(lattice.index[: len(old)].T)] = old.ids
    else:
        grid[tuple(slice(size) for size in old.shape)] = old.id_grid
    return grid


def _names(old: "Lattice", new: "Lattice") -> Any:
    """Names, if any were given; those made from labels are made anew."""
    if old.given_names is None and new.given_names is None:
        return None
    mine = old.names if old.given_names is None else old.given_names
    mine = mine if isinstance(mine, GrownNames) else GrownNames(mine)
    return mine.with_names([_name(new, row) for row in range(len(new))])


def _problems(old: "Lattice", new: "Lattice", first: int) -> Mapping[int, str]:
    if not new.problems:
        return old.problems
    rows = new.rows_of(list(new.problems)).tolist()
    theirs = {first + row: why for row, why in zip(rows, new.problems.values(), strict=True)}
    return MappingProxyType({**old.problems, **theirs})


def _shapes(old: "Lattice", new: "Lattice") -> GrowingRows | None:
    if old.shapes is None and new.shapes is None:
        return None
    whole = np.array(list(old.tile_shape.values()), dtype=np.int64)
    if old.growing is not None and old.growing.shapes is not None:
        mine = old.growing.shapes
    else:
        mine = GrowingRows(np.tile(whole, (len(old), 1)) if old.shapes is None else old.shapes)
    return mine.with_rows(np.tile(whole, (len(new), 1)) if new.shapes is None else new.shapes)


def _positions(old: "Lattice", new: "Lattice", lattice: "Lattice") -> GrowingRows | None:
    """Positions; None where all are nominal. Given ones win, nominal ones go by the first given."""
    mine, theirs, n = old.given_position_um, new.given_position_um, len(old)
    if theirs is None:
        if mine is None:
            return None
        theirs = nominal_positions(lattice, slice(n, None))
        theirs += mine[0] - nominal_positions(lattice, slice(1))[0]
    if mine is None:
        mine = nominal_positions(lattice, slice(n))
        mine += theirs[0] - nominal_positions(lattice, slice(n, n + 1))[0]
    growing = old.growing
    if growing is not None and growing.position_um is not None:
        return growing.position_um.with_rows(theirs)
    return GrowingRows(mine).with_rows(theirs)
