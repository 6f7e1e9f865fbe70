"""A stage most of whose first units fail pauses itself, before it has tried a million of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from latticework.errors import ProjectError


@dataclass(frozen=True, slots=True)
class Patience:
    """How many units of a stage may fail before it pauses itself.

    Units count when they have come to an end: complete, or failed for good. Those that were lost
    with a worker do not count. As the counts begin with the first units, a stage that has worked
    for long does not pause itself.

    Examples
    --------
    >>> usual = Patience()
    >>> usual.is_lost(complete=2, failed=7), usual.is_lost(complete=3, failed=7)
    (False, True)
    >>> usual.is_lost(complete=8, failed=8), Patience(after=None).is_lost(complete=0, failed=99)
    (False, False)
    """

    after: int | None = 10
    """Units that must have come to an end first; None: it never pauses itself."""
    share: float = 0.5
    """It pauses itself when more than this share of them have failed."""

    def __post_init__(self) -> None:
        whole = isinstance(self.after, int) and not isinstance(self.after, bool)
        if self.after is not None and not (whole and self.after >= 1):
            raise ProjectError(
                f"after={self.after!r}: give a number of units from 1 on, or None so that a stage "
                "never pauses itself"
            )
        if not isinstance(self.share, int | float) or not 0 <= self.share < 1:
            raise ProjectError(f"share={self.share!r}: give a share of units from 0 to below 1")

    def is_lost(self, *, complete: int, failed: int) -> bool:
        """Whether so many failures are too many."""
        ended = complete + failed
        return self.after is not None and ended >= self.after and failed > self.share * ended

    def to_json(self) -> list[Any]:
        """As plain values."""
        return [self.after, self.share]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> Self:
        """From `to_json`."""
        return cls(*values)


EVERY_STAGE = ""
"""Instead of a stage's name: what holds for all that have nothing of their own."""


def patience_with(kept: Mapping[str, Sequence[Any]], stage: str) -> Patience:
    """What holds for a stage.

    Examples
    --------
    >>> kept = {"": [30, 0.5], "spots": [None, 0.5]}
    >>> patience_with(kept, "clean").after, patience_with(kept, "spots").after
    (30, None)
    >>> patience_with({}, "clean") == Patience()
    True
    """
    values = kept.get(stage, kept.get(EVERY_STAGE))
    return Patience() if values is None else Patience.from_json(values)


class Trials:
    """Counts how the units of each stage end, from its fresh start on.

    Examples
    --------
    >>> trials = Trials()
    >>> trials.see("spots", complete=1, failed=4), trials.see("spots", complete=0, failed=7)
    ((1, 4), (1, 11))
    >>> trials.start_afresh("spots")
    >>> trials.see("spots", complete=0, failed=1)
    (0, 1)
    """

    def __init__(self) -> None:
        self._ended: dict[str, tuple[int, int]] = {}

    def see(self, stage: str, *, complete: int, failed: int) -> tuple[int, int]:
        """So many units more have come to an end; complete and failed ones since the start."""
        before = self._ended.get(stage, (0, 0))
        self._ended[stage] = now = before[0] + complete, before[1] + failed
        return now

    def start_afresh(self, stage: str) -> None:
        """Nothing of a stage counts any more."""
        self._ended.pop(stage, None)
