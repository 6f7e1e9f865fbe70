"""Which units of a parent each unit of a stage reads, and back: vectorised, nothing stored.

Every edge of a pipeline has one of these. A new reading pattern is a new class here with two
methods; readiness, blocking, fingerprints and invalidation are computed from them alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np

from latticework.lattice.lattice import Lattice

Units = np.ndarray
"""Unit ids, int64, one-dimensional."""


class Dependency(Protocol):
    """One edge of a pipeline, unit by unit."""

    def inputs(self, units: Units) -> tuple[np.ndarray, Units]:
        """Pairs (position in `units`, unit of the parent that it reads)."""
        ...

    def readers(self, parents: Units) -> Units:
        """Units that read at least one of `parents`; sorted, each once."""
        ...


@dataclass(frozen=True, slots=True)
class SameUnit:
    """The same tile of the parent."""

    def inputs(self, units: Units) -> tuple[np.ndarray, Units]:
        """Each unit reads the one with its own id."""
        return np.arange(len(units)), units

    def readers(self, parents: Units) -> Units:
        """The units with the same ids."""
        return np.unique(parents)


@dataclass(frozen=True, slots=True)
class NearbyUnits:
    """The same tile and those at some offsets, as far as they exist."""

    lattice: Lattice
    """The lattice of both stages."""
    offsets: np.ndarray
    """Resolved offsets, shape (k, lattice dims), without the zero offset."""
    periodic: tuple[bool, ...] = field(default=())
    """For each lattice dim, whether offsets wrap around its end."""

    def _ids(self, units: Units, offsets: np.ndarray) -> np.ndarray:
        index = self.lattice.index[units]
        if not any(self.periodic):
            return self.lattice.neighbours_of(index, offsets)
        where = index[:, None, :] + offsets[None, :, :]
        shape = np.array(self.lattice.shape)
        wrapped = np.where(self.periodic, where % shape, where)
        inside = ((wrapped >= 0) & (wrapped < shape)).all(axis=-1)
        wrapped[~inside] = 0
        ids: np.ndarray = np.where(
            inside, self.lattice.id_grid[tuple(np.moveaxis(wrapped, -1, 0))], -1
        )
        return ids

    def inputs(self, units: Units) -> tuple[np.ndarray, Units]:
        """The unit itself and its neighbours."""
        ids = np.concatenate([units[:, None], self._ids(units, self.offsets)], axis=1)
        which, column = np.nonzero(ids >= 0)
        return which, ids[which, column]

    def readers(self, parents: Units) -> Units:
        """The units themselves and those at the opposite offsets."""
        ids = np.unique(np.concatenate([parents, self._ids(parents, -self.offsets).ravel()]))
        return ids[ids >= 0]


@dataclass(frozen=True, slots=True)
class EveryUnit:
    """All units of the parent."""

    n_parents: int
    """Units of the parent."""
    n_readers: int = 1
    """Units of the stage itself, each of which reads them all."""

    def inputs(self, units: Units) -> tuple[np.ndarray, Units]:
        """All units of the parent, for each unit."""
        which = np.repeat(np.arange(len(units)), self.n_parents)
        return which, np.tile(np.arange(self.n_parents), len(units))

    def readers(self, parents: Units) -> Units:
        """All units of the stage."""
        return np.arange(self.n_readers) if len(parents) else np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class OffsetUnits:
    """The same tile and the neighbours at some offsets, where skipped planes are stepped over.

    ::

        positions along tile_z     0   1   2   3      plane 1 is skipped:
        counted without skipped    0       1   2      "+z" of 0 is 2, "-z" of 2 is 0
    """

    lattice: Lattice
    """The lattice of both stages."""
    offsets: np.ndarray
    """Resolved offsets, shape (k, lattice dims), without the zero offset."""
    kept: tuple[np.ndarray, ...]
    """For each lattice dim, the grid positions that are not skipped."""
    rank: tuple[np.ndarray, ...]
    """For each lattice dim and grid position, its place in `kept`; -1 where it is skipped."""

    @classmethod
    def stepping(
        cls, lattice: Lattice, offsets: np.ndarray, skipped: Mapping[str, Sequence[Any]]
    ) -> Self:
        """Neighbours at some offsets, stepping over planes with these labels by lattice dim."""
        kept, rank = [], []
        for dim in lattice.dims:
            there = ~np.isin(lattice.labels[dim], list(skipped.get(dim, ())))
            kept.append(np.flatnonzero(there))
            rank.append(np.where(there, np.cumsum(there) - 1, -1))
        return cls(lattice, offsets, tuple(kept), tuple(rank))

    def neighbours(self, units: Units, *, sign: int = 1) -> np.ndarray:
        """Ids at every offset, shape (n, k); -1 where there is no tile."""
        index = self.lattice.index[units]
        found = np.ones((len(units), len(self.offsets)), dtype=bool)
        where = []
        for column, (kept, rank) in enumerate(zip(self.kept, self.rank, strict=True)):
            here = rank[index[:, column]][:, None]
            there = here + sign * self.offsets[None, :, column]
            found &= (here >= 0) & (there >= 0) & (there < len(kept))
            safe = np.clip(there, 0, max(len(kept) - 1, 0))
            where.append(kept[safe] if len(kept) else np.zeros_like(safe))
        ids: np.ndarray = np.where(found, self.lattice.id_grid[tuple(where)], -1)
        return ids

    def inputs(self, units: Units) -> tuple[np.ndarray, Units]:
        """The unit itself and the neighbours that there are."""
        ids = np.concatenate([units[:, None], self.neighbours(units)], axis=1)
        which, column = np.nonzero(ids >= 0)
        return which, ids[which, column]

    def readers(self, parents: Units) -> Units:
        """The units themselves and those at the opposite offsets."""
        back = self.neighbours(parents, sign=-1).ravel()
        ids = np.unique(np.concatenate([parents, back]))
        return ids[ids >= 0]


def plane_groups(lattice: Lattice, dim: str) -> np.ndarray:
    """For each tile the number of its plane along a dim, in order of the planes' first tiles.

    Examples
    --------
    >>> lattice = Lattice.from_grid(
    ...     {"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1", start="bottom-left"
    ... )
    >>> lattice.index[:, 0].tolist(), plane_groups(lattice, "tile_y").tolist()
    ([1, 1, 0, 0], [0, 0, 1, 1])
    """
    position = lattice.index[:, lattice.dims.index(dim)]
    first = np.full(len(lattice.labels[dim]), len(position), dtype=np.int64)
    np.minimum.at(first, position, np.arange(len(position)))
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first, kind="stable")] = np.arange(len(first))
    groups: np.ndarray = number[position]
    return groups


@dataclass(frozen=True, slots=True)
class MemberUnits:
    """A plane: all units of the parent that are in a group."""

    groups: np.ndarray
    """For each unit of the parent, its group: the id of the unit that reads it."""
    n_readers: int
    """Units of the stage."""
    order: np.ndarray = field(init=False)
    """Units of the parent sorted by group."""
    starts: np.ndarray = field(init=False)
    """Where each group begins in `order`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", np.argsort(self.groups, kind="stable"))
        counts = np.bincount(self.groups, minlength=self.n_readers)
        object.__setattr__(self, "starts", np.concatenate([[0], np.cumsum(counts)]))

    def inputs(self, units: Units) -> tuple[np.ndarray, Units]:
        """All members of each unit's group."""
        return csr_rows(self.starts, self.order, units)

    def readers(self, parents: Units) -> Units:
        """The units of their groups."""
        return np.unique(self.groups[parents])


@dataclass(frozen=True, slots=True)
class GroupUnit:
    """What was made of a plane, for every tile in it."""

    groups: np.ndarray
    """For each unit of the stage, the unit of the parent that it reads."""

    def inputs(self, units: Units) -> tuple[np.ndarray, Units]:
        """The one unit that was made of each unit's group."""
        return np.arange(len(units)), self.groups[units]

    def readers(self, parents: Units) -> Units:
        """All units in these groups."""
        wanted = np.zeros(int(self.groups.max(initial=-1)) + 1, dtype=bool)
        wanted[parents[parents < len(wanted)]] = True
        return np.flatnonzero(wanted[self.groups])


def csr_rows(
    starts: np.ndarray, values: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Some rows of a compressed table: pairs (position in `rows`, value).

    Examples
    --------
    >>> which, values = csr_rows(np.array([0, 2, 2, 3]), np.array([7, 8, 9]), np.array([2, 0]))
    >>> which.tolist(), values.tolist()
    ([0, 1, 1], [9, 7, 8])
    """
    counts = starts[rows + 1] - starts[rows]
    which = np.repeat(np.arange(len(rows)), counts)
    offset = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    return which, values[np.repeat(starts[rows], counts) + offset]
