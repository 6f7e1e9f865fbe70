"""Where work may go: not to hosts that are set aside, nor where it failed, if there are others."""

import contextlib
import threading
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from latticework.project.node_counts import NodeCounts
from latticework.stages.here import host_name

if TYPE_CHECKING:
    from latticework.project.pools import Pool
    from latticework.project.run_desk import RunDesk

NOWHERE = "an unknown host"
"""Where workers were of which nothing is known."""


class Placing:
    """Knows the workers' hosts, and which of those are set aside.

    A worker is asked for the name of its host when it is seen first, by a thread of its own: one
    that is busy may take a while. Until then it may be given work.

    Parameters
    ----------
    desk
        Whose settings count.
    """

    def __init__(self, desk: "RunDesk") -> None:
        self._desk = desk
        self.counts = NodeCounts()
        self._hosts: dict[str, str] = {}
        self._workers: frozenset[str] = frozenset()
        self._sent: dict[int, frozenset[str]] = {}
        self._asked: frozenset[str] = frozenset()
        self._asking: threading.Thread | None = None

    def learn(self, worker: str, host: str) -> None:
        """A worker, by its address, is on this host."""
        self._hosts[worker] = host

    def see(self, workers: Iterable[str]) -> None:
        """These are the addresses of all workers that there are now."""
        self._workers = frozenset(workers)
        if len(self._hosts) > 4 * len(self._workers) + 1000:  # workers come and go for a week
            self._hosts = {w: host for w, host in self._hosts.items() if w in self._workers}

    def avoided_hosts(self) -> frozenset[str]:
        """Hosts that are to be given no work."""
        return frozenset(self._desk.settings.set_aside)

    def ask_new(self, pools: Iterable["Pool"]) -> None:
        """Ask workers that are new for the names of their hosts, without waiting for the answer.

        Parameters
        ----------
        pools
            All pools.
        """
        new = self._workers - self._asked
        if not new or (self._asking is not None and self._asking.is_alive()):
            return
        self._asked = (self._asked & self._workers) | new
        asked = [(pool.client, sorted(new & pool.addresses)) for pool in pools]
        self._asking = threading.Thread(
            target=self._ask, args=(asked,), name="latticework-hosts", daemon=True
        )
        self._asking.start()

    def _ask(self, asked: list[tuple[Any, list[str]]]) -> None:
        for client, workers in asked:
            with contextlib.suppress(Exception):  # they may have left; the reports tell it, too
                found = client.run(host_name, workers=workers, on_error="ignore") if workers else {}
                for worker, host in dict(found).items():
                    self.learn(worker, str(host))

    def knows(self, worker: str) -> bool:
        """Whether the name of a worker's host is known."""
        return worker in self._hosts

    def host_of(self, worker: str) -> str:
        """The host of a worker: its name where that is known, else its internet address."""
        return self._hosts.get(worker) or address_of(worker) or NOWHERE

    def usable(self, failed_on: AbstractSet[str] = frozenset()) -> list[str] | None:
        """Workers that may be given work; None if all may, or none could otherwise.

        Parameters
        ----------
        failed_on
            Hosts on which that work has failed before: others are preferred.
        """
        avoided = self.avoided_hosts()
        if failed_on - avoided:
            found = self._beside(avoided | failed_on)
            if found is not None:
                return found
        return self._beside(avoided) if avoided else None

    def _beside(self, avoided: AbstractSet[str]) -> list[str] | None:
        """Workers on other hosts than these; None if that are all, or none."""
        found = [worker for worker in sorted(self._workers) if self.host_of(worker) not in avoided]
        return found if 0 < len(found) < len(self._workers) else None

    def has_others(self) -> bool:
        """Whether there are workers on hosts that are not set aside, beside some that are."""
        return self.usable() is not None

    def options(
        self, number: int, stage: int, units: np.ndarray, pool: AbstractSet[str]
    ) -> dict[str, list[str]]:
        """What of a task's submission says where it may run; nothing as long as all is well.

        Parameters
        ----------
        number
            Number of the batch.
        stage, units
            Id of the stage, and its units in the batch.
        pool
            Addresses of the workers of its pool.
        """
        usable = self.usable(self.counts.hosts_of(stage, units))
        if usable is None:
            return {}
        usable = [worker for worker in usable if worker in pool]
        if not 0 < len(usable) < len(pool):
            return {}
        self._sent[number] = frozenset(usable)
        return {"workers": usable}

    def stranded(self, flying: Iterable[int]) -> list[int]:
        """Numbers of batches that wait for workers of which none is left.

        Dask lets them wait for ever: they have to be called back and sent anew.

        Parameters
        ----------
        flying
            Numbers of all batches that are out.
        """
        if not self._sent:
            return []
        out = set(flying)
        self._sent = {number: workers for number, workers in self._sent.items() if number in out}
        return [
            n for n, workers in self._sent.items() if self._workers and not workers & self._workers
        ]

    def outliers(self) -> dict[str, str]:
        """Hosts to be set aside now, and why: never the last one that is left."""
        avoided = self.avoided_hosts()
        left = {self.host_of(worker) for worker in self._workers} - avoided
        found = {}
        for host, why in self.counts.outliers(avoided).items():
            if left - {host}:
                found[host] = why
                left -= {host}
        return found


def address_of(worker: str) -> str:
    """The host part of a worker's address.

    Examples
    --------
    >>> address_of("tcp://10.0.0.3:40321"), address_of("tls://[fe80::1]:9000"), address_of("")
    ('10.0.0.3', 'fe80::1', '')
    """
    try:
        return urlsplit(worker).hostname or ""
    except ValueError:
        return ""
