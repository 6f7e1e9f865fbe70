"""What a watcher tells the project, and what a watcher is."""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from latticework.io.growth_store import Growth
from latticework.io.notices import Held, Trouble
from latticework.lattice import Lattice


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What has happened to the tiles of an acquisition since the last look."""

    growth: Growth | None = None
    """Tiles that are new, replaced, withdrawn or back; None where there are none."""
    withdrawn: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """Ids of the tiles that leave; they are in ``growth.presence`` too."""
    ended: bool = False
    """Whether the acquisition is over: all that arrived is finished, no more is expected."""
    notes: tuple[str, ...] = ()
    """Troubles that began or ended, each said once."""
    held: tuple[Held, ...] = ()
    """Files that are seen but not yet part of the lattice, and why."""
    troubles: tuple[Trouble, ...] = ()
    """What is wrong with what is watched, as long as that is so."""

    def __bool__(self) -> bool:
        """Whether the lattice changes."""
        return self.growth is not None


@runtime_checkable
class Watcher(Protocol):
    """What looks at an acquisition that goes on."""

    def poll(self, known: Lattice | None) -> Arrivals:
        """What has happened since the last look.

        What was told but is not in `known` is told again: a growth that was lost, or refused, does
        no harm.

        Parameters
        ----------
        known
            The project's lattice as it is now; None, or one without tiles, at the beginning.
        """
        ...

    def wait(self, seconds: float) -> bool:
        """Wait until something may have changed, at most so long; whether something may have."""
        ...

    def end(self) -> None:
        """The user says that the acquisition is over."""
        ...

    def close(self) -> None:
        """Stop watching."""
        ...
