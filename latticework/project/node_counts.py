"""Which host fails much more than the others: counts of attempts by host, and a rule for them.

A host (a node of a cluster) whose disk is full, whose GPU has died or that lacks a mount fails
every unit that it is given, and takes the next one at once: it eats the whole queue. Its failures
say nothing about the units, as these complete elsewhere; that is how it is told from units that are
bad themselves.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

MOST_REMEMBERED = 10_000
"""Units that failed of which it is known where, at most."""
MOST_COUNTED = 200_000
"""Attempts that are counted; then all counts are halved, so that what was long ago fades."""


@dataclass(frozen=True, slots=True)
class HostCount:
    """What attempts on one host came to."""

    attempts: int
    """Attempts that ended there, or were lost there."""
    failures: int
    """Those that failed, or were lost."""
    mended: int
    """Units that failed there and completed on another host."""


@dataclass(frozen=True, slots=True)
class HostRule:
    """When a host is set aside.

    All must hold: enough failures, a failure rate several times that of all others together (which
    made some attempts, too), no accident, and units that failed there have completed elsewhere.
    That it made more attempts than the others is no excuse: who fails at once gets the most work.

    Examples
    --------
    >>> rule = HostRule()
    >>> good = HostCount(100, 2, 0)
    >>> rule.why({"node1": good, "node2": good, "node3": HostCount(12, 9, 6)}, "node3")
    '9 of 12 attempts failed, elsewhere 4 of 200; 6 units that failed there completed elsewhere'

    A tile that fails everywhere is no reason, and neither is a stage that always fails:

    >>> rule.why({"node1": good, "node2": HostCount(12, 9, 0)}, "node2")
    >>> rule.why({"node1": HostCount(50, 40, 3), "node2": HostCount(12, 10, 3)}, "node2")
    """

    least: int = 5
    """Failures on the host, at least."""
    others: int = 10
    """Attempts on all other hosts together, at least."""
    times: float = 4.0
    """By how much its rate of failures is above that of all others together, at least."""
    mended: int = 3
    """Units that failed there and completed elsewhere, at least."""
    chance: float = 0.001
    """How likely so uneven a share of all failures may be where all hosts are alike."""

    def why(self, counts: Mapping[str, HostCount], host: str) -> str | None:
        """Why a host is to be set aside, in words; None if it is not."""
        mine = counts[host]
        others = [count for name, count in counts.items() if name != host]
        attempts = sum(count.attempts for count in others)
        failures = sum(count.failures for count in others)
        if mine.failures < self.least or mine.mended < self.mended or attempts < self.others:
            return None
        if mine.failures * attempts < self.times * failures * mine.attempts:
            return None
        if self.likelihood(mine, attempts, failures) * len(counts) > self.chance:
            return None
        return (
            f"{mine.failures} of {mine.attempts} attempts failed, elsewhere {failures} of "
            f"{attempts}; {mine.mended} units that failed there completed elsewhere"
        )

    @staticmethod
    def likelihood(mine: HostCount, attempts: int, failures: int) -> float:
        """How likely a host has so many of all failures, or more, if it is like the others.

        Each failure falls on a host with a probability that is its share of all attempts.

        Parameters
        ----------
        mine
            The host's counts.
        attempts, failures
            Those of all other hosts.

        Examples
        --------
        >>> round(HostRule.likelihood(HostCount(100, 5, 0), 100, 0), 5)
        0.03125
        """
        from scipy.special import bdtrc

        share = mine.attempts / (mine.attempts + attempts)
        return float(bdtrc(mine.failures - 1, mine.failures + failures, share))


@dataclass(slots=True)
class _Tally:
    attempts: int = 0
    failures: int = 0
    mended: int = 0


class NodeCounts:
    """Counts attempts and failures by host while a project runs.

    Parameters
    ----------
    rule
        When a host fails too much.

    Examples
    --------
    >>> counts = NodeCounts()
    >>> for unit in range(6):
    ...     counts.failed("node3", 1, np.array([unit]))
    ...     counts.completed("node1", 1, np.arange(8 * unit, 8 * unit + 8))
    >>> counts.completed("node1", 1, np.arange(6))
    >>> list(counts.outliers())
    ['node3']
    >>> counts.failed_on("node3")
    {}
    """

    def __init__(self, rule: HostRule = HostRule()) -> None:
        self.rule = rule
        self._hosts: dict[str, _Tally] = {}
        self._failed: OrderedDict[tuple[int, int], set[str]] = OrderedDict()
        self._total = 0

    def completed(self, host: str, stage: int, units: np.ndarray) -> None:
        """These units of a stage (its id) completed on a host."""
        self._count(host, len(units))
        if not self._failed:
            return
        for unit in units.tolist():
            for other in self._failed.pop((stage, unit), set()) - {host}:
                self._hosts.setdefault(other, _Tally()).mended += 1

    def failed(self, host: str, stage: int, units: np.ndarray) -> None:
        """These failed there, or were lost with a worker of it."""
        tally = self._count(host, len(units))
        tally.failures += len(units)
        for unit in units.tolist():
            self._failed.setdefault((stage, unit), set()).add(host)
            self._failed.move_to_end((stage, unit))
        while len(self._failed) > MOST_REMEMBERED:
            self._failed.popitem(last=False)

    def _count(self, host: str, n: int) -> _Tally:
        tally = self._hosts.setdefault(host, _Tally())
        tally.attempts += n
        self._total += n
        if self._total > MOST_COUNTED:
            self._total = 0
            for each in self._hosts.values():
                each.attempts //= 2
                each.failures //= 2
                each.mended //= 2
                self._total += each.attempts
        return tally

    @property
    def counts(self) -> dict[str, HostCount]:
        """Counts by host."""
        return {
            host: HostCount(tally.attempts, tally.failures, tally.mended)
            for host, tally in self._hosts.items()
        }

    def outliers(self, known: AbstractSet[str] = frozenset()) -> dict[str, str]:
        """Hosts that fail too much, and why; not those that are `known` already."""
        counts = {host: count for host, count in self.counts.items() if host not in known}
        found = {host: self.rule.why(counts, host) for host in counts}
        return {host: why for host, why in found.items() if why is not None}

    def failed_on(self, host: str) -> dict[int, np.ndarray]:
        """Units that failed on a host and have not completed since, by the id of their stage."""
        found: dict[int, list[int]] = {}
        for (stage, unit), hosts in self._failed.items():
            if host in hosts:
                found.setdefault(stage, []).append(unit)
        return {stage: np.array(units, dtype=np.int64) for stage, units in found.items()}

    def hosts_of(self, stage: int, units: np.ndarray) -> set[str]:
        """Hosts on which some of these units failed, and have not completed since."""
        found: set[str] = set()
        if self._failed:
            for unit in units.tolist():
                found |= self._failed.get((stage, unit), set())
        return found

    def forget(self, hosts: Iterable[str]) -> None:
        """These begin anew."""
        for host in hosts:
            self._hosts.pop(host, None)
