"""Which units of a parent each unit of a stage reads, and back: vectorised, nothing stored.

Every edge of a pipeline has one of these. A new reading pattern is a new class here with two
methods; readiness, blocking, fingerprints and invalidation are computed from them alone.
"""

from dataclasses import dataclass, field
from typing import Protocol

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
        return np.where(inside, self.lattice.id_grid[tuple(np.moveaxis(wrapped, -1, 0))], -1)

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
