"""What SLURM says of jobs, as values: its outputs parsed, its states and reasons in words.

Nothing here asks SLURM anything (`slurm_queue` does); times are expected in UTC, because that is
what it is asked for.
"""

import calendar
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from latticework.errors import ProjectError

QUEUE_FORMAT = "%i|%T|%N|%S|%e|%r"
"""Fields of a job in the queue, for ``squeue --format``. The reason is free text, hence last."""
ACCOUNT_FORMAT = "JobID,State,ExitCode,NodeList,Start,End"
"""Fields of a job in the accounts, for ``sacct --format`` with ``--parsable2``."""

FINAL = frozenset(
    (
        *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "NODE_FAIL", "BOOT_FAIL"),
        *("LAUNCH_FAILED", "RECONFIG_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED"),
    )
)
"""States in which a job has ended. One that is put into the queue again is pending after that."""
GONE = "GONE"
"""State, of ours, of a job of which SLURM knows nothing any more: it has ended, somehow."""
WAITING = frozenset(("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD"))
"""States in which a job has nothing to run on yet."""

Cause = Literal["walltime", "preempted", "node failure", "memory", "cancelled", "failed", "ended"]
"""Why a job ended, as far as it matters to what ran in it."""

NO_TIME = frozenset(("", "N/A", "NONE", "None", "Unknown", "INVALID", "(null)"))
NO_WORD = frozenset(("", "None", "(null)", "N/A", "None assigned"))


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """A job as SLURM tells of it.

    Examples
    --------
    >>> [job] = parse_queue("812|PENDING||2026-11-27T15:17:34|N/A|Resources")
    >>> job.state, job.reason, job.ended
    ('PENDING', 'Resources', False)
    >>> describe_job(job)
    'job 812 waits in the queue: Resources (it starts as soon as enough is free)'
    """

    id: str
    """Its number, such as ``"812"``; with its index in an array, such as ``"812_3"``."""
    state: str
    """SLURM's word: ``"PENDING"``, ``"RUNNING"``, ``"TIMEOUT"``, ...; or `GONE`."""
    nodes: str = ""
    """SLURM's list of the nodes that it runs or ran on, such as ``"n[1-3]"``."""
    start: float | None = None
    """When it started, or is expected to start; seconds since 1970."""
    end: float | None = None
    """When it ended, or its walltime will end; seconds since 1970."""
    reason: str = ""
    """Why it waits, or why it ended: ``"Priority"``, ``"TimeLimit"``, ...; may have details."""
    exit_code: int | None = None
    """What its script returned, where SLURM told."""
    signal: int | None = None
    """The signal that ended its script, where SLURM told; 0 for none."""
    log: str = ""
    """File of its errors, on the machines that ran it; where SLURM told."""

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.state in FINAL or self.state == GONE

    @property
    def waiting(self) -> bool:
        """Whether it waits in the queue."""
        return self.state in WAITING


# ------------------------------------------------------------------ parsing


def check_job_id(job_id: str) -> str:
    """The id of a job, if it is one.

    Raises
    ------
    ProjectError
        If it is not; what is no id must not become an option of a command.
    """
    if not isinstance(job_id, str) or not re.fullmatch(r"\d+(?:[_+]\d+)?", job_id):
        raise ProjectError(
            f"{job_id!r} is not the id of a SLURM job: expected a text such as '812' or '812_3'"
        )
    return job_id


def parse_time(text: str) -> float | None:
    """Seconds since 1970 of a time in UTC as SLURM prints it; None where it knows none.

    Examples
    --------
    >>> parse_time("1970-01-02T00:00:01"), parse_time("Unknown")
    (86401.0, None)
    """
    if text.strip() in NO_TIME:
        return None
    try:
        return float(calendar.timegm(time.strptime(text.strip(), "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        return None


def parse_state(text: str) -> str:
    """The state alone, of a state with flags or with who cancelled.

    Examples
    --------
    >>> parse_state("CANCELLED by 1000"), parse_state("COMPLETED,STAGE_OUT")
    ('CANCELLED', 'COMPLETED')
    """
    return re.split(r"[\s,+]", text.strip(), maxsplit=1)[0].upper()


def parse_queue(text: str) -> tuple[SlurmJob, ...]:
    """The jobs that ``squeue --noheader --format=QUEUE_FORMAT`` printed.

    Elements of an array that wait are one job, such as ``"812_[4-9%2]"``; see `find_job`. Lines
    that are no jobs (names of clusters, warnings) are left out.
    """
    jobs = []
    for line in text.splitlines():
        fields = line.strip().split("|", 5)
        if len(fields) == 6 and re.match(r"\d+(?:[_+]|$)", fields[0]):
            job_id, state, nodes, start, end, reason = fields
            jobs.append(
                SlurmJob(
                    job_id,
                    parse_state(state),
                    nodes=_word(nodes),
                    start=parse_time(start),
                    end=parse_time(end),
                    reason=_word(reason),
                )
            )
    return tuple(jobs)


RECORD = re.compile(
    r"^JobId=(?P<id>\d+)(?:[ ]ArrayJobId=(?P<array>\d+)[ ]ArrayTaskId=(?P<task>\S+))?.*$"
    r"[\s\S]*?^\s+JobState=(?P<state>\S+)(?:[ ]Reason=(?P<reason>.*?)(?:[ ]FailedNode=.*?)?"
    r"[ ]Dependency=.*)?$"
    r"[\s\S]*?[ ]ExitCode=(?P<code>\d+):(?P<signal>\d+)"
    r"[\s\S]*?^\s+StartTime=(?P<start>\S+)[ ]EndTime=(?P<end>\S+)"
    r"[\s\S]*?^\s+NodeList=(?P<nodes>\S*)"
    r"(?:[\s\S]*?^\s+StdErr=(?P<log>.*)$)?",
    re.MULTILINE,
)


def parse_records(text: str) -> tuple[SlurmJob, ...]:
    """The jobs that ``scontrol show job`` printed, each over several lines."""
    jobs = []
    for paragraph in re.split(r"^(?=JobId=)", text, flags=re.MULTILINE):
        found = RECORD.match(paragraph)
        if found is None:
            continue
        task = found["task"]
        if task is None:
            job_id = found["id"]
        else:
            job_id = f"{found['array']}_{task if task.isdigit() else f'[{task}]'}"
        jobs.append(
            SlurmJob(
                job_id,
                parse_state(found["state"]),
                nodes=_word(found["nodes"]),
                start=parse_time(found["start"]),
                end=parse_time(found["end"]),
                # scontrol writes '_' for the spaces in a reason that has details
                reason=_word((found["reason"] or "").replace(",_", ", ")),
                exit_code=int(found["code"]),
                signal=int(found["signal"]),
                log=_word(found["log"] or ""),
            )
        )
    return tuple(jobs)


def parse_accounts(text: str) -> tuple[SlurmJob, ...]:
    """The jobs that ``sacct --noheader --parsable2 --format=ACCOUNT_FORMAT`` printed; no steps."""
    jobs = []
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) != 6 or not re.fullmatch(r"\d+(?:[_+]\d+)?", fields[0]):
            continue
        job_id, state, code, nodes, start, end = fields
        exit_code, _, signal = code.partition(":")
        jobs.append(
            SlurmJob(
                job_id,
                parse_state(state),
                nodes=_word(nodes),
                start=parse_time(start),
                end=parse_time(end),
                exit_code=int(exit_code) if exit_code.isdigit() else None,
                signal=int(signal) if signal.isdigit() else None,
            )
        )
    return tuple(jobs)


def find_job(jobs: Iterable[SlurmJob], job_id: str) -> SlurmJob | None:
    """A job by its id, also where it is an element of an array that waits as a whole.

    Examples
    --------
    >>> jobs = parse_queue("812_[4-9%2]|PENDING||N/A|N/A|JobArrayTaskLimit")
    >>> find_job(jobs, "812_5").state
    'PENDING'
    >>> find_job(jobs, "812_3") is None
    True
    """
    number, _, task = job_id.partition("_")
    for job in jobs:
        if job.id == job_id:
            return job
        array, bracket, tasks = job.id.partition("_[")
        if bracket and array == number and (not task or _has_task(tasks, int(task))):
            return job
    return None


def _has_task(tasks: str, task: int) -> bool:
    """Whether ``"1-9:2,12%3]"``, without its opening bracket, has an element."""
    for part in tasks.rstrip("]").partition("%")[0].split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if found is not None:
            first, last = int(found[1]), int(found[2] or found[1])
            if task in range(first, last + 1, int(found[3] or 1)):
                return True
    return False


def _word(text: str) -> str:
    return "" if text.strip() in NO_WORD else text.strip()


# ------------------------------------------------------------------ in words

_CAUSES: dict[str, Cause] = {
    "TIMEOUT": "walltime",
    "DEADLINE": "walltime",
    "PREEMPTED": "preempted",
    "NODE_FAIL": "node failure",
    "BOOT_FAIL": "node failure",
    "LAUNCH_FAILED": "node failure",
    "RECONFIG_FAIL": "node failure",
    "OUT_OF_MEMORY": "memory",
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
    "FAILED": "failed",
}
_CAUSES_BY_REASON: dict[str, Cause] = {
    "TimeLimit": "walltime",
    "NodeDown": "node failure",
    "OutOfMemory": "memory",
}


_CAUSES_IN_LOGS: tuple[tuple[str, Cause], ...] = (
    (r"exceeded (?:job |step |virtual )?memory limit|oom[-_]kill", "memory"),
    (r"DUE TO TIME LIMIT", "walltime"),
    (r"DUE TO PREEMPTION", "preempted"),
    (r"DUE TO NODE FAILURE", "node failure"),
)


def cause_in_log(text: str) -> Cause | None:
    """Why a job ended, if SLURM has written it into the job's log; None if it has not.

    Parameters
    ----------
    text
        The log, or its end. Only what SLURM itself wrote counts.

    Examples
    --------
    >>> cause_in_log("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT ... DUE TO TIME LIMIT ***")
    'walltime'
    >>> cause_in_log("my program: error: exceeded memory limit") is None
    True
    """
    said = "\n".join(re.findall(r"^slurmstepd[^:\n]*: error: (.*)$", text, re.MULTILINE))
    for pattern, cause in _CAUSES_IN_LOGS:
        if re.search(pattern, said, re.IGNORECASE):
            return cause
    return None


def final_state_to_cause(state: str, reason: str = "", log: str = "") -> Cause:
    """Why a job ended, from its final state.

    SLURM's state alone often does not tell a program that ran out of memory from one that failed:
    where it limits memory without cgroups, both are ``FAILED``. What it writes into the log does.

    Parameters
    ----------
    state
        SLURM's word for it.
    reason
        Its reason, which sometimes says more.
    log
        The end of the job's log.

    Examples
    --------
    >>> final_state_to_cause("TIMEOUT"), final_state_to_cause("FAILED", "OutOfMemory")
    ('walltime', 'memory')
    >>> final_state_to_cause("FAILED", log="slurmstepd: error: Exceeded job memory limit")
    'memory'
    >>> final_state_to_cause("COMPLETED")
    'ended'
    """
    cause = _CAUSES.get(parse_state(state), "ended")
    if cause in ("failed", "cancelled"):
        cause = _CAUSES_BY_REASON.get(reason_code(reason), cause)
    # of a cancelled job the log may tell of an earlier mishap that it had survived
    return (cause_in_log(log) or cause) if cause == "failed" else cause


_NEVER = "it will never start as it is"
_LIMIT = "a limit of its user, account or quality of service is reached"
_REASONS = {
    "Priority": "jobs with a higher priority go first",
    "Resources": "it starts as soon as enough is free",
    "ReqNodeNotAvail": "nodes that it needs are down, drained or reserved",
    "NodeDown": "a node that it needs is down",
    "BeginTime": "its earliest start is not yet",
    "Dependency": "it waits for another job",
    "DependencyNeverSatisfied": f"it waits for a job that failed: {_NEVER}",
    "JobHeldUser": "its owner holds it: scontrol release lets it go",
    "JobHeldAdmin": "an administrator holds it",
    "JobArrayTaskLimit": "as many of its array run as may at once",
    "Licenses": "it waits for a licence",
    "Reservation": "its reservation has not begun",
    "Cleaning": "its last run is still being cleaned up",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition takes no jobs at present",
    "PartitionTimeLimit": f"its walltime is longer than the partition allows: {_NEVER}",
    "PartitionNodeLimit": "it asks for more nodes than the partition has or has up",
    "PartitionConfig": f"it asks for what the partition does not have: {_NEVER}",
    "BadConstraints": f"no node has what it asks for: {_NEVER}",
    "InvalidAccount": f"its account is not valid: {_NEVER}",
    "InvalidQOS": f"its quality of service is not valid: {_NEVER}",
    "AccountNotAllowed": f"its account may not use the partition: {_NEVER}",
    "QOSNotAllowed": f"its quality of service may not use the partition: {_NEVER}",
    "QOS*": _LIMIT,
    "Assoc*": _LIMIT,
    "Max*": _LIMIT,
    "Association*": _LIMIT,
}


def reason_code(reason: str) -> str:
    """The word that a reason begins with, without details.

    Examples
    --------
    >>> reason_code("ReqNodeNotAvail, UnavailableNodes:n[1-3]")
    'ReqNodeNotAvail'
    >>> reason_code("Nodes required for job are DOWN, DRAINED or reserved for others")
    'Nodes'
    """
    return re.split(r"[\s,:(]", reason.strip().lstrip("("), maxsplit=1)[0].rstrip(")")


def explain_reason(reason: str) -> str:
    """What a reason to wait means; empty for one that is not known here.

    Examples
    --------
    >>> explain_reason("QOSMaxJobsPerUserLimit")
    'a limit of its user, account or quality of service is reached'
    """
    code = reason_code(reason)
    return next((words for key, words in _REASONS.items() if fnmatchcase(code, key)), "")


def describe_job(job: SlurmJob) -> str:
    """One line on how a job stands.

    Examples
    --------
    >>> describe_job(SlurmJob("7", "TIMEOUT", nodes="n1", reason="TimeLimit"))
    'job 7 on n1 has ended: TIMEOUT (walltime)'
    """
    name = f"job {job.id} on {job.nodes}" if job.nodes else f"job {job.id}"
    if job.state == GONE:
        return f"{name} has ended, and SLURM does not know any more how"
    if job.ended:
        code = f", exit code {job.exit_code}" if job.exit_code else ""
        signal = f", signal {job.signal}" if job.signal and job.state == "FAILED" else ""
        cause = final_state_to_cause(job.state, job.reason)
        return f"{name} has ended: {job.state} ({cause}{code}{signal})"
    if not job.waiting:
        return f"{name} is {job.state}"
    if not job.reason:
        return f"{name} waits in the queue: SLURM has not looked at it yet"
    words = explain_reason(job.reason)
    return f"{name} waits in the queue: {job.reason}" + (f" ({words})" if words else "")
