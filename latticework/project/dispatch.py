"""What is ready, how much of it goes out at once, and how many batches may be out."""

import logging
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

TARGET_S = 1.0
"""Seconds of work in a batch: the scheduler's cost of a task is spread over it."""

LARGEST = 4096
"""Units in a batch, at most."""

DEATHS = 3
"""Workers that a unit may take with it, alone, before it counts as failed."""

ABSENT_S = 10.0
"""Seconds without any worker after which that is said."""

log = logging.getLogger(__name__)


class ReadyUnits:
    """Units of one stage that may run, in the order in which they became ready.

    Examples
    --------
    >>> ready = ReadyUnits(10)
    >>> ready.add(np.array([3, 4, 5]))
    >>> ready.add(np.array([5, 6]))
    >>> ready.take(2).tolist(), ready.take(9).tolist(), len(ready)
    ([3, 4], [5, 6], 0)
    """

    def __init__(self, n: int) -> None:
        self._member = np.zeros(n, dtype=bool)
        self._parts: deque[np.ndarray] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, units: np.ndarray) -> None:
        """Append units; those that are in already stay where they are."""
        new = units[~self._member[units]]
        if len(new):
            self._member[new] = True
            self._parts.append(new)
            self._size += len(new)

    def take(self, n: int) -> np.ndarray:
        """Remove and return the first units, at most `n`."""
        taken: list[np.ndarray] = []
        while n > 0 and self._parts:
            part = self._parts.popleft()
            if len(part) > n:
                self._parts.appendleft(part[n:])
                part = part[:n]
            taken.append(part)
            n -= len(part)
        units = np.concatenate(taken) if taken else np.zeros(0, dtype=np.int64)
        self._member[units] = False
        self._size -= len(units)
        return units


class Suspects:
    """Units that were with a worker when it died: each is tried by itself, to see which it was.

    Examples
    --------
    >>> suspects = Suspects()
    >>> suspects.add("spots", [4, 5])
    >>> suspects.of("spots"), suspects.take("spots"), suspects.of("clean"), bool(suspects)
    (2, 4, 0, True)
    >>> [suspects.blame("spots", 4) for _ in range(DEATHS)]
    [False, False, True]
    """

    def __init__(self) -> None:
        self._units: dict[str, deque[int]] = defaultdict(deque)
        self._deaths: dict[tuple[str, int], int] = defaultdict(int)

    def __bool__(self) -> bool:
        return any(self._units.values())

    def of(self, stage: str) -> int:
        """How many units of a stage have to be tried."""
        return len(self._units[stage])

    def add(self, stage: str, units: Iterable[int]) -> None:
        """These were with a worker that died."""
        self._units[stage].extend(units)

    def take(self, stage: str) -> int:
        """The next unit of a stage to try by itself."""
        return self._units[stage].popleft()

    def blame(self, stage: str, unit: int) -> bool:
        """It took a worker with it when it was by itself; True if that was once too often."""
        self._deaths[stage, unit] += 1
        return self._deaths[stage, unit] >= DEATHS


class Absence:
    """Says once, in the log, that there have been no workers for a while."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def see(self, workers: int) -> None:
        """There are so many workers now."""
        now = time.monotonic()
        if workers:
            self._since = now
        elif now > self._since + ABSENT_S:
            self._since = float("inf")
            log.warning(
                "no workers for %g seconds: the run waits for some to join the scheduler; Ctrl-C "
                "ends it, and everything finished so far is kept",
                ABSENT_S,
            )


@dataclass(slots=True)
class Pace:
    """How long units of a stage take, from the batches that came back."""

    seconds: float | None = None
    """Seconds per unit, recent batches counting most; None before the first."""

    def see(self, seconds: float) -> None:
        """A batch came back, with these seconds per unit on average.

        Slower than before is believed at once, quicker by and by: a batch that is too large keeps
        one worker busy while others wait, one that is too small costs next to nothing.

        Examples
        --------
        >>> pace = Pace(0.01)
        >>> pace.see(1.0), pace.seconds, pace.see(0.5), pace.seconds
        (None, 1.0, None, 0.75)
        """
        known = seconds if self.seconds is None else self.seconds
        self.seconds = max(seconds, 0.5 * known + 0.5 * seconds)

    def batch_size(self, ready: int, slots: int) -> int:
        """Units for the next batch.

        About `TARGET_S` of work, but no more than keeps all slots busy to the end.

        Examples
        --------
        >>> Pace().batch_size(1000, 2), Pace(0.1).batch_size(1000, 2), Pace(1e-5).batch_size(100, 2)
        (1, 10, 25)
        """
        if self.seconds is None:
            return 1
        by_time = int(TARGET_S / max(self.seconds, 1e-6))
        by_share = -(-ready // (2 * max(slots, 1)))
        return max(1, min(by_time, by_share, LARGEST))


@dataclass(slots=True)
class Batch:
    """Units of one stage that are with the workers."""

    number: int
    """Number of the batch."""
    stage: str
    """Name of the stage."""
    units: np.ndarray
    """Unit ids, int64."""
    attempts: np.ndarray
    """Their attempt numbers, uint16."""
    fingerprints: np.ndarray
    """What they read and what makes them, as of now, uint64."""
    dispatched: float
    """When it was sent, seconds since 1970."""
    alone: bool = False
    """Whether it was sent by itself, to see whether it kills its worker."""
    started: bool = field(default=False)
    """Whether a worker has said that it began."""

    def cut(self, n: int) -> np.ndarray:
        """Keep the first `n` units, those that were begun; the others."""
        left = self.units[n:]
        self.units, self.attempts = self.units[:n], self.attempts[:n]
        self.fingerprints = self.fingerprints[:n]
        return left


def window(slots: int) -> int:
    """Batches that may be out at once: enough to keep all slots busy, few enough to lose.

    A dying worker takes with it all that was assigned to it, and Dask's own queueing is not
    relied on.
    """
    return 3 * slots
