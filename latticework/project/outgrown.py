"""Units that had too little memory in the pool of their stage: they go to a larger one."""

from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np

MARGIN = 1.2
"""How much more memory than it had reached a unit is given, at least."""


class Outgrown:
    """Units that need a larger pool, by stage.

    Examples
    --------
    >>> outgrown = Outgrown()
    >>> outgrown.add("spots", 7, 2**30)
    True
    >>> light, heavy = outgrown.split("spots", np.array([6, 7, 8]))
    >>> light.tolist(), heavy.tolist()
    ([6, 8], [7])
    >>> outgrown.put("spots", heavy)
    >>> outgrown.waiting("spots"), outgrown.needs("spots", 7) == 2**30
    ([7], True)
    >>> outgrown.take("spots", 7), outgrown.waiting("spots")
    (None, [])
    """

    def __init__(self) -> None:
        self._had: dict[str, dict[int, int]] = defaultdict(dict)
        self._waiting: dict[str, dict[int, None]] = defaultdict(dict)

    def add(self, stage: str, unit: int, memory_bytes: int) -> bool:
        """For a unit, so many bytes of memory are too few; whether that is news."""
        known = self.needs(stage, unit)
        self._had[stage][unit] = max(memory_bytes, known)
        return memory_bytes > known

    def needs(self, stage: str, unit: int) -> int:
        """Bytes of memory that were too little for a unit; 0 if it has outgrown nothing."""
        return self._had[stage].get(unit, 0) if stage in self._had else 0

    def split(
        self, stage: str, units: np.ndarray, fits: Callable[[int], bool] = lambda _bytes: True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Units that have outgrown nothing, and those that have.

        Parameters
        ----------
        stage, units
            Name of the stage, and some of its units.
        fits
            Whether any pool has more memory than so many bytes. Where none has, a unit takes its
            chance with the others.
        """
        known = self._had.get(stage)
        if not known:
            return units, units[:0]
        room = {needs: fits(needs) for needs in {known.get(unit, 0) for unit in units.tolist()}}
        heavy = np.array([u in known and room[known[u]] for u in units.tolist()], dtype=bool)
        return units[~heavy], units[heavy]

    def put(self, stage: str, units: np.ndarray) -> None:
        """These are ready to run, where there is enough memory."""
        self._waiting[stage].update(dict.fromkeys(units.tolist()))

    def waiting(self, stage: str) -> list[int]:
        """Units that are ready to run, where there is enough memory."""
        return list(self._waiting[stage]) if stage in self._waiting else []

    def take(self, stage: str, unit: int) -> None:
        """It is on its way."""
        self._waiting[stage].pop(unit, None)

    def forget(self, stage: str) -> None:
        """The stage is gone, or another: what its units need is not known any more."""
        self._had.pop(stage, None)
        self._waiting.pop(stage, None)

    def recall(self, stage: str, changes: Iterable[tuple[str, bytes]]) -> None:
        """What earlier runs have learned of a stage: see `too_few`.

        Parameters
        ----------
        stage
            Its name.
        changes
            What was written to the journal of the stage as it is defined now, and of which units.
        """
        self.forget(stage)
        for what, units in changes:
            for unit in np.frombuffer(units, dtype="<i8").tolist():
                self.add(stage, unit, int(what.split()[2]))


def too_few(definition: int, memory_bytes: int | None = None) -> str:
    """What the journal says of units for which so many bytes were too few.

    A stage with other parameters, or other code, may need less: so its fingerprint comes first.

    Examples
    --------
    >>> too_few(0xBEEF, 4_000), too_few(0xBEEF)
    ('outgrew beef 4000', 'outgrew beef ')
    """
    return f"outgrew {definition:x} {'' if memory_bytes is None else memory_bytes}"


__all__ = ["MARGIN", "Outgrown", "too_few"]
