"""What SLURM knows of our jobs, asked for rarely, from one place.

Sites count how often they are asked, and some shut out whoever asks too often. So all pools of a
process share one `SlurmQueue`, which asks for all jobs at once, not oftener than its interval, in
a thread of its own. Whoever looks gets the last answer immediately, with its age::

    pools ──look(ids)──> SlurmQueue ──(each 30 s)──> squeue    what waits, runs, has just ended
                                    └──(once a job)─> scontrol  how it ended
                                    └──(and if need)> sacct     how, when that is long ago

A `squeue` that fails or hangs changes nothing: the last answer stays and grows older, the error is
told beside it, and the next question waits longer. So do questions to `sacct` that fail, without
keeping those to `squeue` waiting: a site's database may be away for hours while its queue is not.
"""

import functools
import io
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from latticework.io.slurm_jobs import (
    ACCOUNT_FORMAT,
    GONE,
    QUEUE_FORMAT,
    Cause,
    SlurmJob,
    check_job_id,
    final_state_to_cause,
    find_job,
    parse_accounts,
    parse_queue,
    parse_records,
)

log = logging.getLogger(__name__)

INTERVAL_S = 30.0
"""Seconds between two questions, unless said otherwise."""
LONGEST_INTERVAL_S = 600.0
"""Seconds between two questions, at most, however often they fail."""
FORGET_S = 3600.0
"""Seconds after which a job that nobody looks at is forgotten."""
MOST_RECORDS = 50
"""Jobs whose end is asked for at once, at most; the others follow next time."""
OTHERS = ("SQUEUE_", "SACCT_", "SCONTROL_")
"""How variables begin that would change what the commands print."""
NO_ACCOUNTS = (
    "accounting storage is disabled",
    "not running a supported accounting_storage plugin",
    "sacct is not installed",
)
"""What is said where there are no accounts, and will not be soon."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said."""

    code: int | None
    """Its exit code; None if it was ended because it took too long."""
    output: str = ""
    """What it printed."""
    error: str = ""
    """What it complained of, or what kept it from running."""


@dataclass(frozen=True, slots=True)
class QueuePoll:
    """What SLURM last said of some jobs."""

    jobs: Mapping[str, SlurmJob]
    """By id. Jobs that it has not been asked about yet are missing."""
    age_s: float | None
    """How old that is, in seconds; None where SLURM has never answered."""
    error: str = ""
    """Why the last question had no answer; empty if it had one."""


def run_command(arguments: Sequence[str], timeout_s: float) -> Said:
    """Run a command of SLURM, in English, with times in UTC.

    Parameters
    ----------
    arguments
        The program and its arguments; no shell reads them.
    timeout_s
        Seconds after which it is ended.
    """
    name = arguments[0]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(OTHERS)}
    kept.pop("SLURM_TIME_FORMAT", None)
    fixed = {"LC_ALL": "C", "TZ": "UTC0", "SLURM_BITSTR_LEN": "0"}  # 0: arrays in full
    try:
        done = subprocess.run(
            list(arguments),
            env=kept | fixed,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Said(None, error=f"{name} did not answer within {timeout_s:g} s")
    except FileNotFoundError:
        return Said(127, error=f"{name} is not installed on this machine: run where SLURM's are")
    except OSError as error:
        return Said(126, error=f"{name} cannot be run: {error}")
    return Said(done.returncode, done.stdout, done.stderr.strip())


def _in_background(task: Callable[[], object]) -> None:
    threading.Thread(target=task, name="slurm queue", daemon=True).start()


class SlurmQueue:
    """The one place of a process that asks SLURM.

    Parameters
    ----------
    interval_s
        Seconds between two questions, at least.
    timeout_s
        Seconds after which a command that does not answer is ended.
    clock
        Seconds that only grow.
    run
        Runs a command; see `run_command`.
    start
        Starts a task in the background.

    Examples
    --------
    >>> def run(arguments, timeout_s):
    ...     return Said(0, "812|PENDING||N/A|N/A|Priority")
    >>> queue = SlurmQueue(run=run, start=lambda task: task())
    >>> poll = queue.look(["812"])
    >>> poll.jobs["812"].reason, poll.error
    ('Priority', '')
    """

    def __init__(
        self,
        *,
        interval_s: float = INTERVAL_S,
        timeout_s: float = 20.0,
        clock: Callable[[], float] = time.monotonic,
        run: Callable[[Sequence[str], float], Said] = run_command,
        start: Callable[[Callable[[], object]], None] = _in_background,
    ) -> None:
        self.interval_s = interval_s
        self.timeout_s = timeout_s
        self._clock, self._run, self._start = clock, run, start
        self._lock = threading.Lock()
        self._queue: tuple[SlurmJob, ...] = ()
        self._by_id: dict[str, SlurmJob] = {}
        self._ended: dict[str, SlurmJob] = {}
        self._wanted: dict[str, float] = {}
        self._answered: float | None = None
        self._due = -float("inf")
        self._failures = 0
        self._error = ""
        self._asking = False
        self._has_accounts = True
        self._accounts_due = -float("inf")
        self._accounts_failures = 0
        self._accounts_error = ""
        self._missed: set[str] = set()

    def look(self, job_ids: Iterable[str]) -> QueuePoll:
        """What SLURM last said of these jobs; at once, also while it is being asked.

        Asks in the background where that is due.

        Raises
        ------
        ProjectError
            For what is not the id of a job.
        """
        ids = [check_job_id(job_id) for job_id in job_ids]
        with self._lock:
            now = self._clock()
            self._wanted.update(dict.fromkeys(ids, now))
            due = now >= self._due and not self._asking
        if due:
            self._start(self.refresh)
        with self._lock:
            found = {job_id: self._known(job_id) for job_id in ids}
            age = None if self._answered is None else self._clock() - self._answered
            jobs = {job_id: job for job_id, job in found.items() if job is not None}
            return QueuePoll(jobs, age, self._error or self._accounts_error)

    def hurry(self, least_s: float) -> None:
        """Ask soon, as something has happened: as soon as the last answer is so old, in seconds.

        After a question that failed, nothing is hurried.
        """
        with self._lock:
            if self._answered is not None and not self._failures:
                self._due = min(self._due, self._answered + least_s)

    def refresh(self) -> bool:
        """Ask SLURM now, if that is due and nobody is asking; whether it was asked."""
        with self._lock:
            now = self._clock()
            if self._asking or now < self._due:
                return False
            self._asking = True
            self._due = now + self.interval_s  # whatever happens
            self._forget(now)
            wanted = list(self._wanted)
        try:
            error = self._ask(now, wanted)
        except Exception as caught:
            log.exception("what SLURM said could not be understood")
            error = f"what SLURM said could not be understood: {caught!r}"
        with self._lock:
            self._asking = False
            self._error = error
            self._failures = self._failures + 1 if error else 0
            longer = self.interval_s * 2.0 ** min(self._failures, 30)
            self._due = now + min(longer, max(self.interval_s, LONGEST_INTERVAL_S))
        return True

    def _known(self, job_id: str) -> SlurmJob | None:
        """The lock is held."""
        queued = self._by_id.get(job_id)
        if queued is None and "_" in job_id:
            queued = find_job((job for job in self._queue if "_[" in job.id), job_id)
        if queued is not None and not queued.ended:
            return queued
        return self._ended.get(job_id, queued)

    def _forget(self, now: float) -> None:
        """The lock is held."""
        for job_id in [key for key, at in self._wanted.items() if now - at > FORGET_S]:
            del self._wanted[job_id]
            self._ended.pop(job_id, None)
            self._missed.discard(job_id)

    # ---------------------------------------------------------------- asking

    def _ask(self, now: float, wanted: list[str]) -> str:
        """Ask for the queue, and for the end of jobs that are not in it; what went wrong."""
        said = self._run(
            (
                *("squeue", "--noheader", "--states=all", f"--user={os.getuid()}"),
                f"--format={QUEUE_FORMAT}",
            ),
            self.timeout_s,
        )
        queue = parse_queue(said.output)
        if said.code != 0 or (said.error and not queue):
            return said.error or f"squeue ended with exit code {said.code}"
        by_id = {job.id: job for job in queue}
        with self._lock:
            self._queue, self._by_id, self._answered = queue, by_id, now
            for job_id in wanted:
                job = self._known(job_id)
                if job is not None and not job.ended:
                    self._ended.pop(job_id, None)  # it was put into the queue again
            unclear = [job_id for job_id in wanted if job_id not in self._ended]
            unclear = [i for i in unclear if (job := self._known(i)) is None or job.ended]
        return self._ask_for_ends(unclear[:MOST_RECORDS], by_id)

    def _ask_for_ends(self, job_ids: list[str], queue: Mapping[str, SlurmJob]) -> str:
        """How jobs ended: from SLURM's memory, then from its accounts; what went wrong."""
        unknown = []
        for job_id in job_ids:
            said = self._run(("scontrol", "show", "job", job_id), self.timeout_s)
            job = find_job(parse_records(said.output), job_id)
            if said.code is None:
                return said.error
            if job is not None and job.ended:
                self._keep(job)
            elif job_id in queue:  # without its exit code, as SLURM has just forgotten it
                self._keep(queue[job_id])
            elif job is None and "Invalid job id" in said.error + said.output:
                unknown.append(job_id)
            elif job is None:
                return said.error or f"scontrol ended with exit code {said.code}"
        self._accounts_error = self._ask_accounts(unknown) if unknown else ""
        return ""

    def _ask_accounts(self, job_ids: list[str]) -> str:
        """How jobs ended that SLURM has forgotten; what went wrong."""
        text, now = "", self._clock()
        if self._has_accounts:
            if self._accounts_error and now < self._accounts_due:
                return self._accounts_error
            longer = self.interval_s * 2.0 ** min(self._accounts_failures + 1, 30)
            self._accounts_due = now + min(longer, max(self.interval_s, LONGEST_INTERVAL_S))
            said = self._run(
                (
                    *("sacct", "--noheader", "--parsable2", "--allocations"),
                    *(f"--jobs={','.join(job_ids)}", f"--format={ACCOUNT_FORMAT}"),
                ),
                self.timeout_s,
            )
            text = said.output
            complaint = said.error + said.output
            if any(words in complaint for words in NO_ACCOUNTS):
                self._has_accounts = False
            elif said.code != 0:
                self._accounts_failures += 1
                return said.error or f"sacct ended with exit code {said.code}"
            self._accounts_failures = 0
        jobs = parse_accounts(text)
        for job_id in job_ids:
            job = find_job(jobs, job_id)
            if job is not None and job.ended:
                self._keep(job)
            elif job is None and (job_id in self._missed or not self._has_accounts):
                self._keep(SlurmJob(job_id, GONE))
            elif job is None:  # accounts are some seconds late
                self._missed.add(job_id)
        return ""

    def _keep(self, job: SlurmJob) -> None:
        with self._lock:
            seen = self._by_id.get(job.id)
            reason = job.reason or (seen.reason if seen is not None and seen.ended else "")
            self._ended[job.id] = replace(job, reason=reason)


def cause_of_end(job: SlurmJob, *, log_bytes: int = 65536) -> Cause:
    """Why a job ended, from its state and from what SLURM wrote at the end of its log.

    Parameters
    ----------
    job
        A job that has ended.
    log_bytes
        How much of its log is read, at most, where it can be read from here.

    Examples
    --------
    >>> cause_of_end(SlurmJob("7", "NODE_FAIL"))
    'node failure'
    """
    text = ""
    if job.log:
        try:
            with Path(job.log).open("rb") as log_file:
                size = log_file.seek(0, io.SEEK_END)
                log_file.seek(max(0, size - log_bytes))
                text = log_file.read(log_bytes).decode("utf-8", "replace")
        except OSError:
            text = ""  # on a disk of the node, or removed
    return final_state_to_cause(job.state, job.reason, text)


@functools.cache
def _queue_of(_conf: str, _clusters: str) -> SlurmQueue:
    return SlurmQueue()


def shared_queue(interval_s: float = INTERVAL_S) -> SlurmQueue:
    """The queue that all pools of this process share.

    One for each SLURM, as the environment names it (``SLURM_CONF``, ``SLURM_CLUSTERS``).

    Parameters
    ----------
    interval_s
        Seconds between two questions, at least; what the last pool says holds for all.
    """
    queue = _queue_of(os.environ.get("SLURM_CONF", ""), os.environ.get("SLURM_CLUSTERS", ""))
    queue.interval_s = interval_s
    return queue
