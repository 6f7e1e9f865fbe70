"""What a run leaves for others to read about its pools of workers."""

import contextlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latticework.stages.needs import Needs

if TYPE_CHECKING:
    from latticework.project.folder import ProjectFolder
    from latticework.project.pools import Pools

FILE = "pools.json"
WRITE_S = 1.0
"""Seconds between two writes, at least."""


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """How a pool of workers stands at one moment."""

    name: str
    """Its name."""
    workers: int
    """Workers that are there."""
    slots: int
    """Units that they can run at once."""
    out: int
    """Batches that are with them."""
    memory_bytes: int | None
    """Memory of a worker; None if it is not known."""
    gpus: int
    """Graphics cards of a worker."""
    pending: str
    """Why workers that were asked for are not there; empty if all are."""

    def __str__(self) -> str:
        workers = "1 worker" if self.workers == 1 else f"{self.workers:,} workers"
        return f"{self.name}: {workers}" + (f", {self.pending}" if self.pending else "")


class PoolTelling:
    """Leaves how the pools stand, when that has changed, and says why workers are missing.

    Parameters
    ----------
    project
        The project's folder.
    """

    def __init__(self, project: Path) -> None:
        self._project = project
        self._told: tuple[PoolFacts, ...] = ()
        self._due = 0.0
        self._pending: dict[str, str] = {}
        self._tight: set[str] = set()

    def update(self, pools: "Pools") -> list[str]:
        """What is new about the pools, in words; empty if nothing is."""
        now = time.monotonic()
        if now < self._due:
            return []
        self._due = now + WRITE_S
        facts = tuple(pool.facts() for pool in pools)
        if facts == self._told:
            return []
        self._told = facts
        write_pools(self._project, facts)
        said = []
        for pool in pools:
            if pool.tight() and pool.name not in self._tight:
                self._tight.add(pool.name)
                said.append(pool.tight())
        for one in facts:
            pending = "" if one.workers else one.pending
            if pending and pending != self._pending.get(one.name, ""):
                said.append(f"pool {one.name!r} has no workers yet: {pending}")
            self._pending[one.name] = pending
        return said

    def close(self) -> None:
        """The run is over."""
        with contextlib.suppress(OSError):
            (self._project / FILE).unlink(missing_ok=True)


def write_pools(project: Path, pools: Iterable[PoolFacts]) -> None:
    """Leave how pools stand; where that cannot be, nobody is told."""
    target = project / FILE
    partial = target.with_suffix(".partial")
    with contextlib.suppress(OSError):
        content = {"at": time.time(), "pools": [asdict(one) for one in pools]}
        partial.write_text(json.dumps(content), encoding="utf-8")
        partial.replace(target)


def read_pools(project: Path) -> tuple[PoolFacts, ...]:
    """How the pools of the run stand that goes on; empty if none does.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_pools(folder, [PoolFacts("cpu", 0, 0, 0, None, 0, "1 job waits in SLURM: Priority")])
    >>> print(read_pools(folder)[0])
    cpu: 0 workers, 1 job waits in SLURM: Priority
    """
    try:
        found = json.loads((project / FILE).read_text(encoding="utf-8"))
        return tuple(PoolFacts(**one) for one in found["pools"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def what_it_waits_for(project: "ProjectFolder", needs: Needs) -> str:
    """What a unit that is ready to run waits for, in words."""
    pools = pools_now(project)
    fit = [one for one in pools if needs.pool in (None, one.name)]
    enough = [one for one in fit if (one.memory_bytes or needs.memory_bytes) >= needs.memory_bytes]
    enough = [one for one in enough if one.gpus >= needs.gpus]
    if pools and not enough:
        return f"it needs {needs}, but no pool has that; there is {_some(pools)}"
    if enough and not any(one.workers for one in enough):
        first = enough[0]
        pending = first.pending or "none has joined its scheduler"
        return f"pool {first.name!r} has no workers yet: {pending}"
    return "it will be sent when there is room"


def pools_now(project: "ProjectFolder") -> tuple[PoolFacts, ...]:
    """The pools of the run that goes on, in this process or another; empty if none does."""
    coordinator = getattr(project, "coordinator", None)
    if coordinator is not None:
        return tuple(pool.facts() for pool in coordinator.pools)
    return read_pools(project.path) if project.is_run() else ()


def _some(pools: Sequence[PoolFacts]) -> str:
    return ", ".join(repr(one.name) for one in pools)


__all__ = ["PoolFacts", "PoolTelling", "pools_now", "read_pools", "what_it_waits_for"]
