"""Pools of workers: which stage runs in which, and how much may be out in each.

A pool is a set of Dask workers of one kind behind one scheduler. Each has a window of its own. A
stage runs in the smallest pool that has what it needs; a unit for which that was too small, in the
next larger one.
"""

import contextlib
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from latticework.errors import ProjectError
from latticework.project.dispatch import Absence, window
from latticework.project.pool_facts import PoolFacts
from latticework.stages.needs import Needs

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)


FULL = 0.90
"""Share of its memory that an idle worker takes, beyond which it ends whatever runs in it."""
TIGHT = 0.70
"""Share of its memory that an idle worker takes, beyond which users are told."""
STEP = 64 * 2**20
"""Amounts of memory that are proposed are multiples of it."""


@dataclass(frozen=True, slots=True)
class Idle:
    """Memory of a worker that does nothing."""

    taken: int = 0
    """What it takes, bytes; 0 if that is not known."""
    limit: int = 0
    """What it has, bytes; 0 if it may have all."""

    @property
    def share(self) -> float:
        """Share of its memory that it takes."""
        return self.taken / self.limit if self.limit else 0.0


class Scaler(Protocol):
    """Has workers started and ended."""

    def scale(self, slots: int) -> None:
        """There is work for so many slots now; called about once a second."""

    def pending(self) -> str:
        """Why workers that were asked for are not there, in words; empty if all are."""

    def refused(self) -> str:
        """Why the last workers that were asked for were refused; empty if they were not."""

    def cause(self, worker: str) -> str | None:
        """Why a worker has gone, by its name: None if it is not known."""


class Pool:
    """Workers of one kind, behind one scheduler.

    Parameters
    ----------
    name
        Its name, for stages that ask for it.
    client
        A Dask client of its scheduler.
    memory_bytes
        Memory of one worker; as the workers say if not given.
    gpus
        Graphics cards of one worker.
    scaler
        What starts and ends its workers; they come and go by themselves if not given.
    """

    def __init__(
        self,
        name: str,
        client: "Client",
        *,
        memory_bytes: int | None = None,
        gpus: int = 0,
        scaler: Scaler | None = None,
    ) -> None:
        self.name, self.client, self.gpus, self.scaler = name, client, gpus, scaler
        self.memory_bytes = memory_bytes
        self.addresses: frozenset[str] = frozenset()
        self.workers = self.slots = 0
        self.out = 0
        self.alone = 0
        self.idle = Idle()
        """What its workers take before they are given anything."""
        self._told_memory = memory_bytes is not None
        self._met = False
        self._absence = Absence()

    @property
    def gone(self) -> bool:
        """Whether its scheduler is not there any more."""
        return bool(self.client.status != "running")

    @property
    def free(self) -> int:
        """Batches that can be sent now."""
        return window(self.slots) - self.out

    @property
    def threads(self) -> int:
        """Units that one of its workers runs at a time, at most."""
        return -(-self.slots // max(self.workers, 1))

    @property
    def single(self) -> bool:
        """Whether each of its workers runs one unit at a time."""
        return self.slots == self.workers

    def look(self) -> None:
        """Count the workers."""
        threads = {} if self.gone else self.client.nthreads()
        self.addresses = frozenset(threads)
        self.workers, self.slots = len(threads), sum(threads.values())
        if self.workers and not (self._told_memory and self._met):
            self._ask_for_memory()
        if self.scaler is None or not self.scaler.pending():
            self._absence.see(self.workers)

    def _ask_for_memory(self) -> None:
        """Have the limits of the workers, and what they take when they are seen first."""
        known = []
        with contextlib.suppress(Exception):  # a client of tests, or a scheduler that just went
            for worker in self.client.scheduler_info(n_workers=-1)["workers"].values():
                if worker["memory_limit"]:
                    has = int(worker["memory_limit"])
                    known.append(Idle(int(worker.get("metrics", {}).get("memory", 0)), has))
        if not self._told_memory:
            self.memory_bytes = min((one.limit for one in known), default=None)
        if known and not self._met:
            self._met = True
            self.see_idle(min(known, key=lambda one: one.share))

    def see_idle(self, idle: "Idle") -> None:
        """An idle worker takes so much; where that is nearly all that it has, nothing can run.

        Raises
        ------
        ProjectError
            With what it has and what it needs.
        """
        self.idle = idle
        if idle.share > FULL:
            raise ProjectError(f"no tile can run: {self.tight()}")

    def tight(self) -> str:
        """What is to be told where idle workers take most of their memory; empty if they do not."""
        if self.idle.share <= TIGHT:
            return ""
        has, takes = (f"{n / 2**20:,.0f} MiB" for n in (self.idle.limit, self.idle.taken))
        ample = -(-2 * self.idle.taken // STEP) * STEP // 2**20
        return (
            f"a worker of pool {self.name!r} has {has} of memory, and takes {takes} before it is "
            f'given a tile; give it more, such as memory="{ample} MiB" and what a tile takes'
        )

    def scale(self, slots: int) -> None:
        """There is work for so many slots now."""
        if self.scaler is not None:
            self.scaler.scale(slots)

    def refused(self) -> str:
        """Why it is refused workers; empty if it is not."""
        return "" if self.scaler is None else self.scaler.refused()

    def facts(self) -> PoolFacts:
        """How it stands."""
        pending = "" if self.scaler is None else self.scaler.pending()
        numbers = self.workers, self.slots, self.out, self.memory_bytes, self.gpus
        return PoolFacts(self.name, *numbers, pending)

    def __repr__(self) -> str:
        return f"<Pool {self.facts()}>"


class Pools:
    """All pools of a run, small ones first.

    Parameters
    ----------
    pools
        At least one, each with another name.
    """

    def __init__(self, pools: Iterable[Pool]) -> None:
        self._pools = sorted(pools, key=_size)
        names = [pool.name for pool in self._pools]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ProjectError(
                f"two pools have the name {twice[0]!r}: give each its own (name=...)"
            )
        if not names:
            raise ProjectError("no pool to run in: give at least one")

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools)

    def __len__(self) -> int:
        return len(self._pools)

    @property
    def workers(self) -> int:
        """Workers in all."""
        return sum(pool.workers for pool in self._pools)

    @property
    def slots(self) -> int:
        """Units that can run at once, in all."""
        return sum(pool.slots for pool in self._pools)

    def look(self) -> None:
        """Count workers.

        Raises
        ------
        ProjectError
            If no scheduler is there any more, or workers have no memory for anything.
        """
        for pool in self._pools:
            before = pool.workers
            pool.look()
            if pool.gone and before:
                log.warning("the Dask scheduler of pool %r is gone", pool.name)
        if all(pool.gone for pool in self._pools):
            status = self._pools[0].client.status
            raise ProjectError(
                f"the Dask scheduler is gone (client {status}): start a cluster and "
                "run again; everything finished so far is kept"
            )
        self._pools.sort(key=_size)

    def home(self, needs: Needs) -> Sequence[Pool]:
        """The pools in which a stage runs: the smallest ones that have what it needs."""
        fit = [pool for pool in self._pools if _has(pool, needs) and not pool.gone]
        return [pool for pool in fit if _size(pool) == _size(fit[0])]

    def check(self, stage: str, needs: Needs) -> None:
        """Refuse a stage that can run nowhere.

        Raises
        ------
        ProjectError
            If no pool has what it needs.
        """
        if not self.home(needs):
            have = "; ".join(_described(pool) for pool in self._pools)
            raise ProjectError(
                f"stage {stage!r} needs {needs}, but no pool has that: there is {have}. Add a pool "
                "that has it, or change what the stage needs (needs=...)"
            )

    def larger(self, needs: Needs, memory_bytes: int) -> Sequence[Pool]:
        """The smallest pools that have more memory than this, and what else a stage needs."""
        fit = [
            pool
            for pool in self._pools
            if _has(pool, Needs(None, needs.memory_bytes, needs.gpus))
            and not pool.gone
            and (pool.memory_bytes or 0) > memory_bytes
            and bool(pool.gpus) == bool(needs.gpus)
        ]
        return [pool for pool in fit if _size(pool) == _size(fit[0])]


def _size(pool: Pool) -> tuple[int, float]:
    return pool.gpus, math.inf if pool.memory_bytes is None else pool.memory_bytes


def _has(pool: Pool, needs: Needs) -> bool:
    enough = pool.memory_bytes is None or pool.memory_bytes >= needs.memory_bytes
    named = needs.pool is None or needs.pool == pool.name
    return named and enough and pool.gpus >= needs.gpus


def _described(pool: Pool) -> str:
    from dask.utils import format_bytes

    memory = "" if pool.memory_bytes is None else f" with {format_bytes(pool.memory_bytes)}"
    gpus = f" and {pool.gpus} graphics cards" if pool.gpus else ""
    return f"{pool.name!r}{memory}{gpus}"


def pools_of(where: Any) -> Pools:
    """Pools from a client, a pool or several; for those who have one client only."""
    if isinstance(where, Pools):
        return where
    if isinstance(where, Pool):
        return Pools([where])
    return Pools([Pool("workers", where)])


__all__ = ["Idle", "Pool", "Pools", "Scaler", "pools_of"]
