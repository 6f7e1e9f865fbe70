"""What is ready, how much of it goes out at once, and how many batches may be out."""

import logging
import math
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from latticework.project.pipeline import Node
    from latticework.project.pools import Pool

TARGET_S = 1.0
"""Seconds of work in a batch: the scheduler's cost of a task is spread over it."""

LEAST_S = 0.05
"""Seconds of work below which a batch is not divided: sending one costs about a fifth of that."""

GROWTH = 2
"""A batch has no more than so many times the units that have come back."""

CRUMBS = 1.5
"""A batch takes all that there is if that is no more than so many times its size."""

LARGEST = 4096
"""Units in a batch, at most."""

DEATHS = 3
"""Workers that a unit may take with it, alone, before it counts as failed."""

ABSENT_S = 10.0
"""Seconds without any worker after which that is said."""

MOST_RUNS = 32
"""Sorted runs of ready units that are kept apart, at most."""

log = logging.getLogger(__name__)


class ReadyUnits:
    """Units of one stage that may run, the most urgent first.

    Kept as a few sorted runs, which are merged now and then: adding and taking cost about as much
    as they add and take, however many there are.

    Parameters
    ----------
    n
        Units of the stage.
    rank
        Smaller is more urgent, one number for each unit; acquisition order if not given.

    Examples
    --------
    >>> ready = ReadyUnits(10)
    >>> ready.add(np.array([5, 3, 4]))
    >>> ready.add(np.array([5, 2, 6]))
    >>> ready.remove(np.array([4]))
    >>> ready.take(2).tolist(), ready.take(9).tolist(), len(ready)
    ([2, 3], [5, 6], 0)

    Units that failed may have to wait before they are tried again:

    >>> ready.add(np.array([7, 8]))
    >>> ready.hold(np.array([7, 1]), until=np.array([9.0, 9.0])).tolist(), ready.n_held
    ([True, False], 1)
    >>> ready.add(np.array([7]))
    >>> ready.take(9).tolist(), ready.release(np.array([7])).tolist(), ready.n_held
    ([8], [7], 0)
    """

    def __init__(self, n: int, rank: np.ndarray | None = None) -> None:
        self._member = np.zeros(n, dtype=bool)
        self._rank = rank
        self._runs: list[np.ndarray] = []
        self._size = 0
        self._held: dict[int, float] = {}

    def __len__(self) -> int:
        return self._size

    @property
    def n_held(self) -> int:
        """How many units wait for their time; they are not among the ready ones."""
        return len(self._held)

    def _ranks(self, units: np.ndarray) -> np.ndarray:
        return units if self._rank is None else np.asarray(self._rank[units])

    def add(self, units: np.ndarray) -> None:
        """Take units in; those that are in already stay."""
        new = units[~self._member[units]]
        if self._held:
            new = new[[unit not in self._held for unit in new.tolist()]]
        if not len(new):
            return
        self._member[new] = True
        self._size += len(new)
        self._runs.append(new[np.argsort(self._ranks(new), kind="stable")])
        if len(self._runs) > MOST_RUNS:
            self._runs.sort(key=len, reverse=True)
            several = np.concatenate(self._runs[MOST_RUNS // 4 :])
            several = np.unique(several[self._member[several]])
            merged = several[np.argsort(self._ranks(several), kind="stable")]
            self._runs[MOST_RUNS // 4 :] = [merged]

    def remove(self, units: np.ndarray) -> None:
        """These may not run after all; those that are not in do not matter."""
        if self._held:
            self.release(units)
        out = units[self._member[units]]
        self._member[out] = False
        self._size -= len(out)
        if not self._size:
            self._runs.clear()

    def hold(self, units: np.ndarray, until: np.ndarray) -> np.ndarray:
        """Do not offer these until `release`, though they may run.

        Parameters
        ----------
        units
            Ids.
        until
            For each, the moment before which it is not to be released.

        Returns
        -------
        numpy.ndarray
            For each, whether it was there, and is held now.
        """
        there = self._member[units]
        self.remove(units)
        self._held.update(zip(units[there].tolist(), until[there].tolist(), strict=True))
        return np.asarray(there)

    def release(self, units: np.ndarray, now: float = float("inf")) -> np.ndarray:
        """Hold these no longer, if their moment has come; which were. They are not queued by it."""
        found = [u for u in units.tolist() if u in self._held and self._held[u] <= now]
        for unit in found:
            del self._held[unit]
        return np.array(found, dtype=np.int64)

    def clear(self) -> None:
        """Nothing may run; what is held stays so."""
        self._member[:] = False
        self._runs.clear()
        self._size = 0

    def take(self, n: int) -> np.ndarray:
        """Remove and return the most urgent units, at most `n`."""
        taken: list[np.ndarray] = []
        while n > 0 and self._size:
            heads = [int(self._ranks(run[:1])[0]) for run in self._runs]
            first = min(range(len(heads)), key=heads.__getitem__)
            run = self._runs[first]
            others = heads[:first] + heads[first + 1 :]
            stop = min(n, len(run))
            if others:
                ranks = self._ranks(run[:stop])
                stop = max(1, int(np.searchsorted(ranks, min(others), side="right")))
            part, rest = run[:stop], run[stop:]
            if len(rest):
                self._runs[first] = rest
            else:
                del self._runs[first]
            part = part[self._member[part]]
            self._member[part] = False
            self._size -= len(part)
            n -= len(part)
            taken.append(part)
        if not self._size:
            self._runs.clear()
        return np.concatenate(taken) if taken else np.zeros(0, dtype=np.int64)

    def grow(self, n: int, rank: np.ndarray | None = None) -> None:
        """The stage has so many units now."""
        old = len(self._member)
        if n > old:
            room = self._member.base
            if room is None or len(room) < n:
                room = np.zeros(n + n // 2 + 64, dtype=bool)
                room[:old] = self._member
            self._member = room[:n]
        self.rank_by(rank)

    def rank_by(self, rank: np.ndarray | None) -> None:
        """Another order from now on."""
        if rank is self._rank:
            return
        self._rank = rank
        inside = np.flatnonzero(self._member)
        self._runs = [inside[np.argsort(self._ranks(inside), kind="stable")]] if len(inside) else []


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
    seen: int = 0
    """Units that this is known of."""

    def see(self, seconds: float, units: int = 1) -> None:
        """A batch of some units came back, with these seconds per unit on average.

        Slower than before is believed at once, quicker by and by: a batch that is too large keeps
        one worker busy while others wait, one that is too small costs next to nothing.

        Examples
        --------
        >>> pace = Pace(0.01, seen=50)
        >>> pace.see(1.0), pace.seconds, pace.see(0.5), pace.seconds
        (None, 1.0, None, 0.75)
        """
        self.seen += units
        known = seconds if self.seconds is None else self.seconds
        self.seconds = max(seconds, 0.5 * known + 0.5 * seconds)

    def batch_size(self, ready: int, slots: int, others_s: float = 0.0) -> int:
        """Units for the next batch.

        About `TARGET_S` of work, but no more than keeps all slots busy to the end: towards the end
        of all there is to do, what is left is divided, down to `LEAST_S`. And no more than `GROWTH`
        times as many as have been seen: the first ones may have been unusually quick.

        Parameters
        ----------
        ready
            Units of the stage that may run now.
        slots
            Batches that run side by side.
        others_s
            Seconds of work that may run now in other stages. In a chain of stages these keep the
            slots busy, so a batch of the first passes on down the chain as it is, undivided.

        Examples
        --------
        >>> pace = Pace(0.1, seen=99)
        >>> Pace().batch_size(1000, 2), pace.batch_size(1000, 2), pace.batch_size(8, 2)
        (1, 10, 2)

        Few units of a stage that others keep busy, and units that are hardly any work:

        >>> pace.batch_size(8, 2, others_s=60), Pace(1e-5, seen=99).batch_size(100, 2)
        (8, 100)

        One that was quick says little of the others:

        >>> Pace(1e-5, seen=1).batch_size(100, 2)
        2
        """
        if self.seconds is None:
            return 1
        seconds = max(self.seconds, 1e-6)
        share_s = (ready * seconds + others_s) / (2 * max(slots, 1))
        by_share = math.ceil(max(share_s, LEAST_S) / seconds)
        known = max(1, GROWTH * self.seen)
        size = max(1, min(int(TARGET_S / seconds), by_share, LARGEST, known))
        all_of_them = ready <= min(CRUMBS * size, TARGET_S / seconds, LARGEST, known)
        return max(1, ready if all_of_them else min(size, ready))


def turns_s(started: np.ndarray, ended: np.ndarray) -> np.ndarray:
    """Seconds by which each unit of a batch held up the others: those that ran beside count once.

    Examples
    --------
    The second is written while the third computes:

    >>> turns_s(np.array([0.0, 1.0, 2.5]), np.array([1.0, 3.0, 3.5])).tolist()
    [1.0, 2.0, 0.5]
    """
    before = np.concatenate([started[:1], np.maximum.accumulate(ended)[:-1]])
    return np.asarray(np.maximum(ended - np.maximum(started, before), 0))


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
    node: "Node"
    """The stage as it was when it was sent."""
    definition: int
    """Fingerprint of its definition then."""
    pool: "Pool"
    """Where it is."""
    near: str | None = None
    """Address of the worker that it was sent to because that has its inputs in memory."""
    alone: bool = False
    """Whether it was sent by itself, to see whether it kills its worker."""
    started: bool = field(default=False)
    """Whether a worker has said that it began."""

    def only(self, which: np.ndarray) -> "Batch":
        """The same batch with some of its units, given as a boolean for each."""
        return replace(
            self,
            units=self.units[which],
            attempts=self.attempts[which],
            fingerprints=self.fingerprints[which],
        )

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
