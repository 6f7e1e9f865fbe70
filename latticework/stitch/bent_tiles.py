"""How tiles are bent, from points that two of them show: turned, sheared, or smoothly displaced.

Every matched point says that a place in one tile and a place in another are the same place of the
volume. What is added to the positions of the tiles to make that so is sought, as a sum of few
functions for each tile: a plane (affine), a turn (rigid), or control points with linear
interpolation in between (warp; a vector field of control points as in J. Winnubst et al.,
"Reconstruction of 1,000 projection neurons ...", 2019). Points that contradict the others lose
their weight. Where a tile has few points or none, it is bent as its neighbours are, or not at all,
and smoothly: what no point asks for costs something.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from latticework.errors import LatticeError
from latticework.lattice.lattice import Lattice
from latticework.stitch.least_squares import Row, penalties, robust
from latticework.stitch.tiles import places_of
from latticework.stitch.warps import Warp

if TYPE_CHECKING:
    import pandas as pd

USUAL_CONTROL, USUAL_CONTROL_Z = 5, 4
"""Control points along y and x, and along z, if none are given."""
STEPS = 4
"""Times that a turn is found anew: it is no linear function of its angles."""
MOVE_PX, PAIR_PX, EDGE_PX, ALIKE_PX = 10.0, 1.0, 1.0, 2.0
"""What costs little (standard deviations): how far a tile moves from where links alone put it, and
two neighbours against each other; by how much it is bent at its edge, and by how much more or less
than its neighbour. All tiles together can be stretched at hardly any cost in contradiction: that
they are not, these see to. Against what some points say about a tile they have no weight."""
STEP_PX, KINK_PX = 2.0, 1.5
"""The same for the difference of two neighbouring control points, and how much this changes."""


@dataclass(frozen=True, slots=True)
class Bent:
    """Tiles that are bent."""

    positions_px: np.ndarray
    """Positions of their first pixels, if they were not bent; shape (tiles, dims)."""
    warps: tuple[Warp, ...]
    """How each is bent."""
    points: "pd.DataFrame"
    """The points, with ``left_px``: how far the two places are apart now."""
    rows: tuple[np.ndarray, np.ndarray]
    """Rows of the two tiles of each point."""

    def by_tile(self) -> dict[str, np.ndarray]:
        """What there is to say about each tile: ``points``, ``points_residual_px``, ``bent_px``."""
        n = len(self.warps)
        rows = np.concatenate(self.rows)
        left = np.tile(self.points.left_px.to_numpy("f8"), 2)
        order = np.argsort(rows, kind="stable")
        ends = np.searchsorted(rows[order], np.arange(n + 1))
        ordered = left[order]
        typical = [float(np.median(ordered[a:b])) if b > a else np.nan for a, b in pairwise(ends)]
        return {
            "points": np.diff(ends),
            "points_residual_px": np.array(typical),
            "bent_px": np.array([_farthest(warp) for warp in self.warps]),
        }


def bend(
    lattice: Lattice,
    positions_px: np.ndarray,
    points: "pd.DataFrame",
    *,
    model: str,
    held: np.ndarray | None = None,
    control: int | Mapping[str, int] | None = None,
) -> Bent:
    """How tiles have to be bent, and moved, so that points that are the same lie at one place.

    Parameters
    ----------
    lattice
        The tiles.
    positions_px
        Where they lie if they are not bent, (tiles, dims).
    points
        As `latticework.stitch.point_links.register_points` gives them.
    model
        ``"rigid"``, ``"affine"`` or ``"warp"``.
    held
        Rows of tiles that must not move.
    control
        Control points along each dim; see `latticework.stitch.placement.place`.

    Raises
    ------
    LatticeError
        If columns of the points are missing, or numbers are not finite.
    """
    dims, _, _, _, shapes = places_of(lattice)
    matched = _Matched.of(lattice, points, dims, positions_px, shapes)
    still = np.zeros(0, np.int64) if held is None else held
    if model == "warp":
        moved, warps = _warped(matched, _counts(dims, shapes, control), still)
    elif model == "affine":
        moved, warps = _affine(matched, still)
    else:
        moved, warps = _rigid(matched, still)
    positions = positions_px + moved
    if model != "rigid":
        positions, warps = _without_common(matched, positions, warps, still)
    table = points.copy()
    table["left_px"] = _left(matched, positions, warps)
    return Bent(positions, warps, table, matched.rows)


@dataclass(frozen=True, slots=True)
class _Matched:
    """Matched points, as arrays."""

    rows: tuple[np.ndarray, np.ndarray]
    """Rows of the two tiles; (points,) each."""
    places: tuple[np.ndarray, np.ndarray]
    """Places in the two tiles, in their pixels; (points, dims) each."""
    weight: np.ndarray
    positions: np.ndarray
    """Of the tiles; (tiles, dims)."""
    shapes: np.ndarray
    """(tiles, dims)."""

    @classmethod
    def of(
        cls,
        lattice: Lattice,
        points: "pd.DataFrame",
        dims: Sequence[str],
        positions: np.ndarray,
        shapes: np.ndarray,
    ) -> "_Matched":
        names = [[f"{which}_{dim}_px" for dim in dims] for which in ("first", "second")]
        missing = [c for c in ("first", "second", *names[0], *names[1]) if c not in points]
        if missing:
            raise LatticeError(
                f"the table of points has no {', '.join(missing)}; it has "
                f"{', '.join(map(str, points.columns))}: take it from register_points"
            )
        rows = lattice.rows_of(points["first"]), lattice.rows_of(points["second"])
        at = points[names[0]].to_numpy("f8"), points[names[1]].to_numpy("f8")
        if not (np.isfinite(at[0]).all() and np.isfinite(at[1]).all()):
            raise LatticeError("the table of points has places that are not finite: leave them out")
        weight = np.clip(points.quality.to_numpy("f8"), 0.1, 1) if "quality" in points else None
        return cls(rows, at, np.ones(len(points)) if weight is None else weight, positions, shapes)

    @property
    def centre(self) -> np.ndarray:
        """Middle of each tile; (tiles, dims)."""
        return np.asarray((self.shapes - 1) / 2)

    @property
    def half(self) -> np.ndarray:
        """Half of the length of each tile; (tiles, dims)."""
        return np.asarray(np.maximum(self.centre, 1.0))

    @property
    def apart(self) -> np.ndarray:
        """What is missing from the first place to the second, as tiles lie; (points, dims)."""
        first, second = (self.positions[r] + p for r, p in zip(self.rows, self.places, strict=True))
        return np.asarray(second - first)

    @property
    def pairs(self) -> np.ndarray:
        """Pairs of tiles that have points; (pairs, 2)."""
        return np.asarray(np.unique(np.stack(self.rows, axis=1), axis=0))


# ------------------------------------------------------------------ the models


def _affine(matched: _Matched, held: np.ndarray) -> tuple[np.ndarray, tuple[Warp, ...]]:
    n, dims = matched.shapes.shape
    per = dims + 1  # a move, and a slope along each axis

    def values(side: int) -> tuple[np.ndarray, np.ndarray]:
        row, at = matched.rows[side], matched.places[side]
        away = (at - matched.centre[row]) / matched.half[row]
        basis = np.concatenate([np.ones((len(row), 1)), away], axis=1)
        return row[:, None] * per + np.arange(per), basis

    rows: list[Row] = [(np.arange(n)[:, None] * per, [1.0], MOVE_PX)]
    rows.append((held[:, None] * per, [1.0], 1e-3))
    rows.append((matched.pairs * per, [1.0, -1.0], PAIR_PX))
    for slope in range(1, per):
        rows.append((np.arange(n)[:, None] * per + slope, [1.0], EDGE_PX))
        rows.append((matched.pairs * per + slope, [1.0, -1.0], ALIKE_PX))
    found = robust(
        _differences(values(0), values(1), n * per),
        matched.apart,
        matched.weight,
        penalties(rows, n * per),
        block=per,
    ).reshape(n, per, dims)
    matrices = np.swapaxes(found[:, 1:] / matched.half[:, :, None], 1, 2) + np.eye(dims)
    return found[:, 0], _with_matrices(matched.shapes, matrices)


def _rigid(matched: _Matched, held: np.ndarray) -> tuple[np.ndarray, tuple[Warp, ...]]:
    from scipy.linalg import expm

    n, dims = matched.shapes.shape
    turns = _generators(dims)
    per = dims + len(turns)
    length = np.linalg.norm(matched.half, axis=1)
    matrices, total = np.tile(np.eye(dims), (n, 1, 1)), np.zeros((n, per))
    rows: list[Row] = [(held[:, None] * per + axis, [1.0], 1e-3) for axis in range(dims)]
    rows += [(np.arange(n)[:, None] * per + axis, [1.0], MOVE_PX) for axis in range(dims)]
    rows += [(matched.pairs * per + axis, [1.0, -1.0], PAIR_PX) for axis in range(dims)]
    for turn in range(dims, per):
        rows.append((np.arange(n)[:, None] * per + turn, [1.0], EDGE_PX))
        rows.append((matched.pairs * per + turn, [1.0, -1.0], ALIKE_PX))
    calm = penalties(rows, n * per)
    for _ in range(STEPS):
        sides, places = [], []
        for row, at in zip(matched.rows, matched.places, strict=True):
            away = np.einsum("pij,pj->pi", matrices[row], at - matched.centre[row])
            turned = np.einsum("tij,pj->pit", turns, away) / length[row, None, None]
            basis = np.concatenate([np.tile(np.eye(dims), (len(row), 1, 1)), turned], axis=2)
            index = np.repeat(row * per, dims)[:, None] + np.arange(per)
            sides.append((index, basis.reshape(-1, per)))
            moved = matched.positions[row] + total[row, :dims] + matched.centre[row]
            places.append(moved + away)
        step = robust(
            _differences(sides[0], sides[1], n * per),
            (places[1] - places[0]).reshape(-1, 1),
            matched.weight,
            calm,
            start=total.reshape(-1, 1),
            block=per,
        ).reshape(n, per)
        total += step
        angles = step[:, dims:] / length[:, None]
        matrices = expm(np.einsum("nt,tij->nij", angles, turns)) @ matrices
        if np.abs(step).max(initial=0) < 1e-3:
            break
    return total[:, :dims], _with_matrices(matched.shapes, matrices)


def _warped(
    matched: _Matched, counts: tuple[int, ...], held: np.ndarray
) -> tuple[np.ndarray, tuple[Warp, ...]]:
    n, dims = matched.shapes.shape
    per = int(np.prod(counts))

    def values(side: int) -> tuple[np.ndarray, np.ndarray]:
        row, at = matched.rows[side], matched.places[side]
        index, share = _interpolated(at, matched.shapes[row], counts)
        return row[:, None] * per + index, share

    grid = np.arange(n * per).reshape(n, *counts)
    rows: list[Row] = [
        (grid.reshape(n, per), np.full(per, 1 / per), MOVE_PX),
        (grid.reshape(n, per)[held], np.full(per, 1 / per), 1e-3),
    ]
    both = grid.reshape(n, per)[matched.pairs].reshape(-1, 2 * per)
    rows.append((both, np.repeat([1 / per, -1 / per], per), PAIR_PX))
    for axis in range(1, dims + 1):
        moved = np.moveaxis(grid, axis, 0)
        steps = np.stack([moved[:-1].ravel(), moved[1:].ravel()], axis=1)
        rows.append((steps, [1.0, -1.0], STEP_PX))
        kinks = [moved[:-2].ravel(), moved[1:-1].ravel(), moved[2:].ravel()]
        rows.append((np.stack(kinks, axis=1), [1.0, -2.0, 1.0], KINK_PX))
    found = robust(
        _differences(values(0), values(1), n * per),
        matched.apart,
        matched.weight,
        penalties(rows, n * per),
        block=per,
    ).reshape(n, per, dims)
    moved = found.mean(axis=1)
    grids = np.swapaxes(found - moved[:, None], 1, 2).reshape(n, dims, *counts)
    has_points = np.zeros(n, bool)
    has_points[np.concatenate(matched.rows)] = True
    grids[~has_points] = 0
    warps = tuple(
        Warp(tuple(shape), grid_px=grid if there else None)
        for shape, grid, there in zip(matched.shapes.tolist(), grids, has_points, strict=True)
    )
    return moved, warps


def _without_common(
    matched: _Matched, positions: np.ndarray, warps: Sequence[Warp], held: np.ndarray
) -> tuple[np.ndarray, tuple[Warp, ...]]:
    """The same without what all tiles that points join are stretched and sheared by on average.

    Of that points say nothing: it would be as if the volume were another one. (Least squares would
    even shrink it, as that makes all contradictions smaller.) Where several tiles are held, these
    say how large the volume is.
    """
    n = len(positions)
    pairs = matched.pairs
    graph = sparse.coo_matrix((np.ones(len(pairs)), tuple(pairs.T)), (n, n))
    _, group = connected_components(graph, directed=False)
    anchors = np.bincount(group[held], minlength=n)
    positions, result = positions.copy(), list(warps)
    for number in np.unique(group[pairs.ravel()]):
        rows = np.flatnonzero(group == number)
        if anchors[number] > 1:
            continue
        common = np.mean([_slope(warps[row]) for row in rows.tolist()], axis=0)
        back = np.linalg.inv(common)
        centres = positions[rows] + matched.centre[rows]
        fixed = held[group[held] == number]
        middle = positions[fixed[0]] + matched.centre[fixed[0]] if len(fixed) else centres.mean(0)
        positions[rows] = middle + (centres - middle) @ back.T - matched.centre[rows]
        for row in rows.tolist():
            grid = warps[row].grid_px
            turned = None if grid is None else np.einsum("ij,j...->i...", back, grid)
            result[row] = Warp(warps[row].shape, back @ warps[row].matrix, turned)
    return positions, tuple(result)


def _slope(warp: Warp) -> np.ndarray:
    """The matrix that is nearest to a warp; (dims, dims)."""
    if warp.grid_px is None:
        return warp.matrix
    ends = [
        np.linspace(0, n - 1, count)
        for n, count in zip(warp.shape, warp.grid_px.shape[1:], strict=True)
    ]
    nodes = np.stack([a.ravel() for a in np.meshgrid(*ends, indexing="ij")], axis=1)
    away = nodes - nodes.mean(axis=0)
    there = warp.forward(nodes)
    slopes = np.linalg.lstsq(away, there - there.mean(axis=0), rcond=None)[0].T
    flat = np.array([n < 2 for n in warp.shape])
    slopes[flat, flat] = 1.0  # along an axis of one pixel nothing has a slope
    return np.asarray(slopes)


# ------------------------------------------------------------------ parts of these


def _differences(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray], unknowns: int
) -> Any:
    """For each point what its two tiles displace it by, the first minus the second: (points, n)."""
    indices = np.concatenate([first[0], second[0]], axis=1)
    values = np.concatenate([first[1], -second[1]], axis=1)
    starts = np.arange(len(indices) + 1) * indices.shape[1]
    return sparse.csr_matrix((values.ravel(), indices.ravel(), starts), (len(indices), unknowns))


def _interpolated(
    at: np.ndarray, shapes: np.ndarray, counts: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Which control points surround each place, and the share of each: (points, 2 ** dims) both."""
    most = np.array(counts) - 1
    place = np.clip(at / np.maximum(shapes - 1, 1) * most, 0, most)
    cell = np.minimum(np.floor(place).astype(np.int64), np.maximum(most - 1, 0))
    inside = place - cell
    index, share = [], []
    for corner in product((0, 1), repeat=len(counts)):
        node = np.minimum(cell + corner, most)
        index.append(np.ravel_multi_index(tuple(node.T), counts))
        share.append(np.prod(np.where(corner, inside, 1 - inside), axis=1))
    return np.stack(index, axis=1), np.stack(share, axis=1)


def _counts(
    dims: Sequence[str], shapes: np.ndarray, control: int | Mapping[str, int] | None
) -> tuple[int, ...]:
    """Control points along each dim; no more than there are pixels."""
    usual = {dim: USUAL_CONTROL_Z if dim == "z" else USUAL_CONTROL for dim in dims}
    if isinstance(control, Mapping):
        usual |= {dim: control[dim] for dim in dims if dim in control}
    elif control is not None:
        usual = dict.fromkeys(dims, control)
    if min(usual.values()) < 2:
        raise LatticeError(f"a warp needs at least 2 control points along each dim, not {usual}")
    least = shapes.min(axis=0).tolist() if len(shapes) else [2] * len(dims)
    return tuple(min(int(usual[dim]), n) for dim, n in zip(dims, least, strict=True))


def _generators(dims: int) -> np.ndarray:
    """What a small turn does, for each plane of two axes: (planes, dims, dims)."""
    planes = [(a, b) for a in range(dims) for b in range(a + 1, dims)]
    turns = np.zeros((len(planes), dims, dims))
    for k, (a, b) in enumerate(planes):
        turns[k, a, b], turns[k, b, a] = -1.0, 1.0
    return turns


def _with_matrices(shapes: np.ndarray, matrices: np.ndarray) -> tuple[Warp, ...]:
    return tuple(
        Warp(tuple(shape), matrix) for shape, matrix in zip(shapes.tolist(), matrices, strict=True)
    )


def _left(matched: _Matched, positions: np.ndarray, warps: Sequence[Warp]) -> np.ndarray:
    """How far the two places of each point are apart once tiles are bent, in pixels."""
    places = []
    for row, at in zip(matched.rows, matched.places, strict=True):
        found = np.zeros_like(at)
        order = np.argsort(row, kind="stable")
        ends = np.searchsorted(row[order], np.arange(len(warps) + 1))
        for tile, (a, b) in enumerate(pairwise(ends)):
            if b > a:
                own = order[a:b]
                found[own] = positions[tile] + warps[tile].forward(at[own])
        places.append(found)
    return np.asarray(np.linalg.norm(places[1] - places[0], axis=1))


def _farthest(warp: Warp) -> float:
    """By how much a warp displaces a pixel, at most: at a corner or a control point."""
    counts = (2,) * warp.dims if warp.grid_px is None else warp.grid_px.shape[1:]
    ends = [
        np.linspace(0, n - 1, max(count, 2)) for n, count in zip(warp.shape, counts, strict=True)
    ]
    nodes = np.stack([a.ravel() for a in np.meshgrid(*ends, indexing="ij")], axis=1)
    return float(np.linalg.norm(warp.forward(nodes) - nodes, axis=1).max())


__all__ = ["Bent", "bend"]
