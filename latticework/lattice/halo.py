"""Halos: which pixels of which neighbours surround a tile, as pure geometry.

A tile's halo is a margin around it, read from its neighbours (dask calls it depth)::

            before        tile         after
          +--------+---------------+--------+
    before| corner |     face      | corner |     every piece is a box of one neighbour;
          +--------+---------------+--------+     where tiles overlap, the pixels beyond a
          |  face  |   the tile    |  face  |     tile's edge are found deeper inside the
          +--------+---------------+--------+     neighbour, by the nominal step; halos wider
     after| corner |     face      | corner |     than a tile reach the next but one.
          +--------+---------------+--------+

What no tile covers is filled by the boundary mode of its axis, as in `dask.array.map_overlap`:

=============  ===========================================================================
``"none"``     nothing is added at the lattice's edge: the array handed out is smaller there
``"reflect"``  mirrored about the edge, the edge pixel included
``"nearest"``  the edge pixel repeated
``"periodic"`` the far side of the lattice (abutting tiles only)
a number       that value
=============  ===========================================================================

In a hole, every mode but ``"none"`` and a number mirrors or repeats what is next to the hole
(``"periodic"`` repeats). With ``"none"``, a missing face neighbour ends the array there, and a
missing edge or corner neighbour is filled with the nearest pixels.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice.geometry import Box
from latticework.lattice.lattice import Lattice
from latticework.lattice.offsets import spatial_axis

Mode = str | float
MODES = ("none", "reflect", "nearest", "periodic")


@dataclass(frozen=True, slots=True)
class Halo:
    """Margin around every tile, in pixels, by tile dim."""

    before: tuple[int, ...]
    """Pixels before the tile, in order of tile dims."""
    after: tuple[int, ...]
    """Pixels after the tile."""
    modes: tuple[Mode, ...]
    """Boundary mode of each tile dim."""

    @property
    def empty(self) -> bool:
        """Whether there is no margin at all."""
        return not any(self.before) and not any(self.after)


@dataclass(frozen=True, slots=True)
class Piece:
    """A box of one tile and where it goes in the assembled array."""

    tile: int
    """Tile id; -1 in a hole."""
    source: Box
    """Pixels within that tile."""
    target: Box
    """The same pixels in the assembled array."""
    side: tuple[int, ...]
    """-1, 0 or 1 by tile dim: before, within or after the tile itself."""


@dataclass(frozen=True, slots=True)
class HaloPlan:
    """How to assemble one tile with its halo: read the pieces, fill the holes, pad the edges."""

    shape: tuple[int, ...]
    """Shape of the assembled array, before padding."""
    pieces: tuple[Piece, ...]
    """Pieces to read."""
    holes: tuple[Piece, ...]
    """Pieces to fill, those nearest to the tile first."""
    pad: tuple[tuple[int, int], ...]
    """Pixels to add beyond the lattice's edge, by tile dim."""
    modes: tuple[Mode, ...]
    """Boundary mode by tile dim."""
    keep: Box
    """What to keep of the assembled and padded array (mirrors may need more than the halo)."""
    inner: Box
    """The tile itself within what is kept."""

    @property
    def complete(self) -> bool:
        """Whether there is neither a hole nor an edge."""
        return not self.holes and not any(map(any, self.pad))


@dataclass(frozen=True, slots=True)
class Segment:
    """Along one axis: pixels of one grid position that a halo needs."""

    step: int
    """Grid positions away from the tile itself."""
    start: int
    """First pixel within that tile."""
    size: int
    """Number of pixels."""


def halo(
    lattice: Lattice,
    overlap: Mapping[str, int | tuple[int, int]] | int | None,
    boundary: Mapping[str, Mode] | Mode = "none",
) -> Halo:
    """A halo from what a user gives: pixels by axis, one number for every spatial axis, or pairs.

    Raises
    ------
    LatticeError
        For unknown axes or modes, negative margins, or margins that tiles cannot have.

    Examples
    --------
    >>> lattice = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> halo(lattice, {"y": 2, "x": (0, 1)}, "reflect")
    Halo(before=(2, 0), after=(2, 1), modes=('reflect', 'reflect'))
    """
    dims = lattice.tile_dims
    spatial = [dim for dim in dims if dim in lattice.spatial_dims]
    if overlap is None or isinstance(overlap, int | np.integer):
        overlap = {axis: int(overlap or 0) for axis in spatial}
    if not isinstance(boundary, Mapping):
        boundary = dict.fromkeys(spatial, boundary)
    for what, given in {"overlap": overlap, "boundary": boundary}.items():
        unknown = [axis for axis in given if axis not in spatial]
        if unknown:
            raise LatticeError(f"{what} names {unknown}, but these tiles have the axes {spatial}")
    pairs = [_pair(overlap.get(dim, 0), dim) for dim in dims]
    modes = tuple(_mode(boundary.get(dim, "none"), dim) for dim in dims)
    result = Halo(tuple(a for a, _ in pairs), tuple(b for _, b in pairs), modes)
    _check(lattice, result)
    return result


def _pair(given: int | tuple[int, int], dim: str) -> tuple[int, int]:
    pair = (given, given) if isinstance(given, int | np.integer) else tuple(given)
    if len(pair) != 2 or any(not isinstance(n, int | np.integer) or n < 0 for n in pair):
        raise LatticeError(f"overlap along {dim} is {given!r}: give pixels, or (before, after)")
    return int(pair[0]), int(pair[1])


def _mode(mode: Mode, dim: str) -> Mode:
    if isinstance(mode, str) and mode not in MODES:
        raise LatticeError(f"boundary along {dim} is {mode!r}: use a number or one of {MODES}")
    return mode


def _check(lattice: Lattice, margins: Halo) -> None:
    for dim, before, after, mode in zip(
        lattice.tile_dims, margins.before, margins.after, margins.modes, strict=True
    ):
        overlap = lattice.overlap_px.get(dim, 0)
        if (before or after) and overlap < 0:
            raise LatticeError(
                f"tiles lie {-overlap} px apart along {dim}: there is no halo across the gap"
            )
        if mode == "periodic" and overlap != 0 and (before or after):
            raise LatticeError(
                f"tiles overlap by {overlap} px along {dim}: 'periodic' needs abutting tiles"
            )


class HaloGeometry:
    """Halo plans for the tiles of one lattice.

    Parameters
    ----------
    lattice
        The full lattice: neighbours are looked up in it.
    margins
        The halo.

    Examples
    --------
    >>> lattice = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> plan = HaloGeometry(lattice, halo(lattice, 1)).plan(0)
    >>> plan.shape, plan.inner.start, [piece.tile for piece in plan.pieces]
    ((9, 9), (0, 0), [0, 1, 2, 3])
    """

    def __init__(self, lattice: Lattice, margins: Halo) -> None:
        self.lattice = lattice
        self.margins = margins
        dim_of = {spatial_axis(dim): column for column, dim in enumerate(lattice.dims)}
        self._columns = [dim_of.get(dim) for dim in lattice.tile_dims]
        self._sizes = [self._axis_sizes(k) for k in range(len(lattice.tile_dims))]

    def _axis_sizes(self, k: int) -> list[int]:
        """Pixels of each grid position along tile dim `k`."""
        lattice, column = self.lattice, self._columns[k]
        full = list(lattice.tile_shape.values())[k]
        if column is None:
            return [full]
        sizes = np.full(lattice.shape[column], full)
        if lattice.shapes is not None:
            sizes[lattice.index[:, column]] = lattice.shapes[:, k]
        return [int(size) for size in sizes]

    def reach(self, k: int, *, beyond: bool = False) -> tuple[int, int]:
        """Grid positions that halos along tile dim `k` can touch, before and after.

        No more than there are, unless `beyond`: for a lattice that is still growing.

        Only the last position of an axis can be smaller than the others: a halo that meets it
        ends there, unless it goes around (``"periodic"``).
        """
        if self._columns[k] is None:
            return 0, 0
        sizes, n = self._sizes[k], len(self._sizes[k])
        new = sizes[0] - self.lattice.overlap_px[self.lattice.tile_dims[k]]
        mode = self.margins.modes[k]
        need = [self.margins.before[k], self.margins.after[k]]
        if mode == "reflect":
            need = [max(need)] * 2
        around = 1 + max(need) // sum(sizes) if mode == "periodic" and sizes[-1] < sizes[0] else 0
        most = 1 << 30 if beyond and mode != "periodic" else n - 1
        before, after = (min(-(-margin // new) + around, most) if margin else 0 for margin in need)
        return before, after

    def plan(self, tile: int, absent: Collection[int] = ()) -> HaloPlan:
        """How to assemble tile `tile` (an id) with its halo.

        Parameters
        ----------
        tile
            Its id.
        absent
            Ids of tiles that are holes, whatever the lattice says.
        """
        lattice, margins = self.lattice, self.margins
        index = lattice.index[int(lattice.rows_of([tile])[0])]
        segments, pads, extras = [], [], []
        for k in range(len(lattice.tile_dims)):
            limits = self._none_limits(k, index, absent)
            before, short_before = self._walk(k, index, -1, margins.before[k], limits[0])
            after, short_after = self._walk(k, index, 1, margins.after[k], limits[1])
            here = 0 if self._columns[k] is None else int(index[self._columns[k]])
            own = Segment(0, 0, self._sizes[k][here])
            extra = (0, 0)
            if margins.modes[k] == "reflect":  # a mirror needs as many pixels as it adds
                after, more_after = self._deepen(k, index, 1, after, short_before - own.size)
                before, more_before = self._deepen(k, index, -1, before, short_after - own.size)
                extra = (more_before, more_after)
            segments.append([*reversed(before), own, *after])
            padded = margins.modes[k] != "none"
            pads.append((short_before, short_after) if padded else (0, 0))
            extras.append(extra)
        return self._assemble(index, segments, pads, extras, absent)

    def _deepen(
        self, k: int, index: np.ndarray, sign: int, segments: list[Segment], need: int
    ) -> tuple[list[Segment], int]:
        """Segments that reach `need` pixels outwards, and how many pixels that added."""
        had = sum(segment.size for segment in segments)
        if had >= need:
            return segments, 0
        segments, _ = self._walk(k, index, sign, need, 1 << 30)
        return segments, sum(segment.size for segment in segments) - had

    def _none_limits(self, k: int, index: np.ndarray, absent: Collection[int]) -> tuple[int, int]:
        """Grid positions that a ``"none"`` halo may reach before a face neighbour is missing."""
        column = self._columns[k]
        if self.margins.modes[k] != "none" or column is None:
            return (1 << 30, 1 << 30)
        line = self.lattice.id_grid[
            tuple(slice(None) if c == column else i for c, i in enumerate(index))
        ]
        here = int(index[column])
        if absent:  # only those within reach can matter
            line = line.copy()
            before, after = self.reach(k)
            near = range(max(here - before, 0), min(here + after + 1, len(line)))
            line[[i for i in near if int(line[i]) in absent]] = -1
        gap_before = np.flatnonzero(line[:here][::-1] < 0)
        gap_after = np.flatnonzero(line[here + 1 :] < 0)
        return (
            int(gap_before[0]) if len(gap_before) else 1 << 30,
            int(gap_after[0]) if len(gap_after) else 1 << 30,
        )

    def _walk(
        self, k: int, index: np.ndarray, sign: int, need: int, limit: int
    ) -> tuple[list[Segment], int]:
        """Segments outwards along tile dim `k`, and the pixels that no grid position covers."""
        column, sizes = self._columns[k], self._sizes[k]
        found: list[Segment] = []
        if column is None:
            if self.margins.modes[k] == "periodic":
                raise LatticeError("'periodic' needs a lattice axis along the same direction")
            return found, need
        here, shared = int(index[column]), self.lattice.overlap_px[self.lattice.tile_dims[k]]
        periodic = self.margins.modes[k] == "periodic"
        step = 0
        while need > 0 and abs(step) < limit:
            step += sign
            position = here + step
            if not 0 <= position < len(sizes) and not periodic:
                break
            size = sizes[position % len(sizes)]
            new = size - shared
            take = min(need, new)
            start = shared if sign > 0 else new - take
            found.append(Segment(step, start, take))
            need -= take
        return found, need

    def _assemble(
        self,
        index: np.ndarray,
        segments: list[list[Segment]],
        pads: list[tuple[int, int]],
        extras: list[tuple[int, int]],
        absent: Collection[int],
    ) -> HaloPlan:
        offsets = [np.cumsum([0, *(s.size for s in line)]).tolist() for line in segments]
        pieces: list[Piece] = []
        holes: list[Piece] = []
        for combination in product(*(range(len(line)) for line in segments)):
            parts = [segments[k][i] for k, i in enumerate(combination)]
            start = tuple(offsets[k][i] for k, i in enumerate(combination))
            target = Box(start, tuple(a + s.size for a, s in zip(start, parts, strict=True)))
            source = Box(tuple(s.start for s in parts), tuple(s.start + s.size for s in parts))
            side = tuple(int(np.sign(s.step)) for s in parts)
            tile = self._tile_at(index, parts)
            if absent and tile in absent and any(part.step for part in parts):
                tile = -1
            (holes if tile < 0 else pieces).append(Piece(tile, source, target, side))
        holes.sort(key=lambda hole: (sum(map(abs, hole.side)), _distance(hole, segments)))
        own = [next(i for i, s in enumerate(line) if s.step == 0) for line in segments]
        start = tuple(offsets[k][i] + pads[k][0] - extras[k][0] for k, i in enumerate(own))
        whole = [int(line[-1]) + sum(pad) for line, pad in zip(offsets, pads, strict=True)]
        keep = Box(
            tuple(extra[0] for extra in extras),
            tuple(n - extra[1] for n, extra in zip(whole, extras, strict=True)),
        )
        size = [segments[k][i].size for k, i in enumerate(own)]
        return HaloPlan(
            shape=tuple(int(line[-1]) for line in offsets),
            pieces=tuple(pieces),
            holes=tuple(holes),
            pad=tuple(pads),
            modes=self.margins.modes,
            keep=keep,
            inner=Box(start, tuple(a + n for a, n in zip(start, size, strict=True))),
        )

    def _tile_at(self, index: np.ndarray, parts: list[Segment]) -> int:
        where = index.copy()
        for column, part in zip(self._columns, parts, strict=True):
            if column is not None:
                where[column] = (where[column] + part.step) % self.lattice.shape[column]
        return int(self.lattice.id_grid[tuple(where)])


def _distance(hole: Piece, segments: list[list[Segment]]) -> int:
    """Pixels from the tile to a hole, so that holes are filled outwards."""
    total = 0
    for k, side in enumerate(hole.side):
        if side:
            own = sum(s.size for s in segments[k] if s.step < 0)
            end = own + next(s.size for s in segments[k] if s.step == 0)
            total += own - hole.target.stop[k] if side < 0 else hole.target.start[k] - end
    return total


def fill(array: np.ndarray, plan: HaloPlan) -> np.ndarray:
    """The assembled array with its holes filled and its edges padded.

    Parameters
    ----------
    array
        Array of shape ``plan.shape`` into which all pieces have been read; holes are filled in
        place.
    plan
        The plan it was assembled by.
    """
    for hole in plan.holes:
        axis = next(k for k, side in enumerate(hole.side) if side)
        _fill_hole(array, hole, axis, plan.modes[axis])
    for axis, (before, after) in enumerate(plan.pad):
        if before or after:
            widths = [(0, 0)] * array.ndim
            widths[axis] = (before, after)
            array = _pad(array, widths, plan.modes[axis])
    return array[plan.keep.slices]


def _pad(array: np.ndarray, widths: list[tuple[int, int]], mode: Mode) -> np.ndarray:
    if mode == "reflect":
        return np.pad(array, widths, mode="symmetric")
    if mode == "nearest":
        return np.pad(array, widths, mode="edge")
    return np.pad(array, widths, mode="constant", constant_values=mode)


def _fill_hole(array: np.ndarray, hole: Piece, axis: int, mode: Mode) -> None:
    target = array[hole.target.slices]
    if not isinstance(mode, str):
        target[...] = mode
        return
    size, n = hole.target.shape[axis], array.shape[axis]
    distance = np.arange(size) if mode == "reflect" else np.zeros(size, dtype=np.int64)
    if hole.side[axis] > 0:
        source = np.clip(hole.target.start[axis] - 1 - distance, 0, n - 1)
    else:
        source = np.clip(hole.target.stop[axis] + distance[::-1], 0, n - 1)
    slices = list(hole.target.slices)
    slices[axis] = slice(None)
    target[...] = np.take(array[tuple(slices)], source, axis=axis)
