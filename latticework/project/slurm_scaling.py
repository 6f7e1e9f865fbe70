"""Workers that are SLURM jobs: submitted when there is work, ended when there is none.

Dask's own cluster submits and ends jobs; how many there are, and which, is decided here: by the
work there is, at a bounded rate, and by what SLURM says has become of them.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from distributed import Client

from latticework.errors import ProjectError
from latticework.io.slurm_jobs import SlurmJob, explain_reason
from latticework.io.slurm_queue import SlurmQueue, cause_of_end
from latticework.project.slurm_cluster import PoolCluster
from latticework.project.slurm_pool import SlurmPool

BURST = 10
"""Jobs that may be submitted at once, after a quiet time."""
BACK_OFF_S = (15.0, 600.0)
"""Seconds to wait after SLURM refused a job: at first, and at most."""
ADOPT_S = 30.0
"""Seconds between two looks for jobs that an earlier coordinator has left, at least."""
HURRY_S = 2.0
"""Seconds between two questions to SLURM, at least, when a worker has died."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tokens:
    """How many jobs may be submitted now, at a bounded rate.

    Examples
    --------
    >>> now = [0.0]
    >>> tokens = Tokens(per_minute=60, clock=lambda: now[0])
    >>> tokens.take(100), tokens.take(100)
    (10, 0)
    >>> now[0] = 3.0
    >>> tokens.take(100)
    3
    """

    per_minute: float
    """Jobs in a minute."""
    clock: Callable[[], float] = time.monotonic
    """Seconds that only grow."""
    _have: float = BURST
    _at: float | None = None

    def take(self, n: int) -> int:
        """So many are wanted; so many may be."""
        now = self.clock()
        since = 0.0 if self._at is None else now - self._at
        self._at = now
        self._have = min(BURST, self._have + since * self.per_minute / 60)
        taken = min(n, int(self._have))
        self._have -= taken
        return taken


@dataclass(slots=True)
class _Known:
    """What there is of a job."""

    id: str
    asked: float
    idle_since: float | None = None
    began: bool = False
    fate: SlurmJob | None = field(default=None)


class SlurmScaler:
    """Submits and ends the jobs of one pool.

    Parameters
    ----------
    spec
        The pool, as the user wants it.
    cluster
        Dask's cluster.
    client
        A client of it.
    queue
        What SLURM says.
    clock
        Seconds that only grow.
    """

    def __init__(
        self,
        spec: SlurmPool,
        cluster: PoolCluster,
        client: Client,
        queue: SlurmQueue,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec, self.cluster, self.client, self.queue = spec, cluster, client, queue
        self._clock = clock
        self._tokens = Tokens(spec.submit_per_minute, clock)
        self._jobs: dict[str, _Known] = {}
        self._trouble = ""
        self._not_before = 0.0
        self._pause_s = BACK_OFF_S[0]
        self._wanted = 0
        self._causes: dict[str, str] = {}
        self._adopted = not cluster.joined
        self._adopt_next = 0.0
        self._keep_until = -float("inf")

    # ---------------------------------------------------------------- how many

    def scale(self, slots: int) -> None:
        """Submit or end jobs, as there is work for so many slots."""
        want = max(self.spec.minimum, min(self.spec.maximum, -(-slots // self.spec.processes)))
        self._wanted = want
        if not self._adopt():
            return
        self._take_stock()
        have = len(self.cluster.worker_spec)
        if have < want and self._clock() >= self._not_before:
            n = self._tokens.take(want - have)
            if n:
                self.cluster.scale(jobs=have + n)  # type: ignore[no-untyped-call]
        elif have > want:
            if self._clock() >= self._keep_until:
                self._end_idle(have - want)
        else:
            for job in self._jobs.values():
                job.idle_since = None

    def _adopt(self) -> bool:
        """Count jobs that an earlier coordinator has left, once SLURM has said which these are."""
        if self._adopted:
            return True
        if self._clock() < self._not_before:
            return False
        try:
            found = self.cluster.find_jobs()
        except ProjectError as error:
            self._refused(f"it does not say which jobs are there: {error}", self._clock())
            return False
        jobs = {name: job for name, job in found.items() if name not in self.cluster.workers}
        self.cluster.adopt(jobs)
        if jobs:
            self._keep_until = (
                self._clock() + self.spec.idle_s
            )  # for it is not known yet what to do
        self._adopted, self._trouble, self._not_before = True, "", 0.0
        self._adopt_next = self._clock() + ADOPT_S
        return True

    @property
    def jobs(self) -> dict[str, str]:
        """Ids of the jobs that wait or run, by names."""
        return {name: job.id for name, job in self._jobs.items()}

    def _take_stock(self) -> None:
        """See what has become of the jobs."""
        now, gone = self._clock(), []
        for name, job in list(self.cluster.workers.items()):
            if getattr(job, "refused", None):
                gone.append(name)
                self._refused(str(job.refused), now)
            elif job.job_id and name not in self._jobs:
                self._jobs[name] = _Known(str(job.job_id), now)
        here = self._names()
        if self.cluster.joined and now >= self._adopt_next and here - set(self.cluster.worker_spec):
            self._adopted = False  # one was being submitted when we looked
        poll = self.queue.look([job.id for job in self._jobs.values()])
        for name, known in list(self._jobs.items()):
            fate = poll.jobs.get(known.id)
            if fate is not None and (known.fate is None or not known.fate.ended):
                known.fate = fate
            known.began = known.began or name in here
            if known.began:
                self._trouble, self._pause_s = "", BACK_OFF_S[0]
            if known.fate is not None and known.fate.ended:
                gone.append(name)
                self._ended(name, known, now)
            elif known.began and name not in here:
                self.queue.hurry(HURRY_S)  # its worker is gone, and perhaps the job with it
        if gone:
            self.cluster.forget(gone)

    def _names(self) -> set[str]:
        """Names of the jobs of which workers are there."""
        found = self.cluster.scheduler_info.get("workers", {}).values()
        return {self._job_of(str(worker["name"])) for worker in found}

    def _job_of(self, worker: str) -> str:
        """Name of the job of a worker: those of several processes have a number behind."""
        return worker if self.spec.processes == 1 else worker.rpartition("-")[0]

    def _refused(self, message: str, now: float) -> None:
        if message != self._trouble:
            log.warning("SLURM does not take a job of pool %r: %s", self.spec.name, message)
        self._trouble = message
        if now >= self._not_before:
            self._not_before = now + self._pause_s
            self._pause_s = min(2 * self._pause_s, BACK_OFF_S[1])

    def _ended(self, name: str, known: _Known, now: float) -> None:
        fate = known.fate
        assert fate is not None
        cause = cause_of_end(fate)
        self._causes[name] = cause
        del self._jobs[name]
        while len(self._causes) > 10 * self.spec.maximum + 100:
            self._causes.pop(next(iter(self._causes)))
        if not known.began and cause in ("failed", "memory"):
            where = f"; its log is in {self.cluster.logs}"
            self._refused(f"job {known.id} ended before it was a worker ({fate.state}){where}", now)

    def _end_idle(self, n: int) -> None:
        """End up to `n` jobs that have had nothing to do for a while; those that wait first."""
        now, here = self._clock(), self._names()
        waiting = [name for name in self.cluster.worker_spec if name not in here]
        ended = waiting[-n:] if n <= len(waiting) else waiting
        if len(ended) < n:
            busy = {self._job_of(name) for name in self._busy()}
            for name, job in self._jobs.items():
                if name not in here or name in busy:
                    job.idle_since = None
                elif job.idle_since is None:
                    job.idle_since = now
            idle = [
                name
                for name, job in self._jobs.items()
                if job.idle_since is not None and now - job.idle_since >= self.spec.idle_s
            ]
            ended = [*ended, *idle[: n - len(ended)]]
        if ended:
            self.cluster.end(ended)
            for name in ended:
                self._jobs.pop(name, None)
                self._causes[name] = "ended"

    def _busy(self) -> list[str]:
        """Names of the workers that have something to do."""
        processing = self.client.processing()
        workers: Mapping[str, Any] = self.cluster.scheduler_info.get("workers", {})
        return [
            str(workers[a]["name"]) for a, tasks in processing.items() if tasks and a in workers
        ]

    # ---------------------------------------------------------------- in words

    def pending(self) -> str:
        """Why workers that were asked for are not there; empty if all are."""
        reasons = Counter(
            job.fate.reason or "not looked at yet"
            for job in list(self._jobs.values())
            if job.fate is not None and job.fate.waiting
        )
        parts = []
        for reason, n in reasons.most_common(3):
            words = explain_reason(reason)
            jobs = "1 job waits" if n == 1 else f"{n} jobs wait"
            parts.append(f"{jobs} in SLURM: {reason}" + (f" ({words})" if words else ""))
        if self._trouble:
            parts.append(f"SLURM takes no job: {self._trouble}")
        if not parts and self._wanted > len(self._names()):
            one = "1 job wanted, which has not started"
            many = f"{self._wanted} jobs wanted, not all of them have started"
            parts.append(one if self._wanted == 1 else many)
        return "; ".join(parts)

    def refused(self) -> str:
        """Why SLURM takes no job; empty if it does."""
        return self._trouble

    def cause(self, worker: str) -> str | None:
        """Why a worker has gone: ``"preempted"``, ``"walltime"``, ...; None if not known (yet)."""
        name = self._job_of(worker)
        if name in self._causes:
            return self._causes[name]
        self.queue.hurry(HURRY_S)
        return None


__all__ = ["SlurmScaler", "Tokens"]
