"""Units that had too little memory in the pool of their stage: they go to a larger one."""

from collections import defaultdict

import numpy as np

MARGIN = 1.2
"""How much more memory than it had reached a unit is given, at least."""


class Outgrown:
    """Units that need a larger pool, by stage.

    Examples
    --------
    >>> outgrown = Outgrown()
    >>> outgrown.add("spots", 7, 2**30)
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

    def add(self, stage: str, unit: int, memory_bytes: int) -> None:
        """For a unit, so many bytes of memory are too few."""
        self._had[stage][unit] = max(memory_bytes, self._had[stage].get(unit, 0))

    def needs(self, stage: str, unit: int) -> int:
        """Bytes of memory that were too little for a unit; 0 if it has outgrown nothing."""
        return self._had[stage].get(unit, 0) if stage in self._had else 0

    def split(self, stage: str, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Units that have outgrown nothing, and those that have."""
        known = self._had.get(stage)
        if not known:
            return units, units[:0]
        heavy = np.isin(units, np.fromiter(known, dtype=np.int64))
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


__all__ = ["Outgrown"]
