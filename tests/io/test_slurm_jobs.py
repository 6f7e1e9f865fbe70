"""What SLURM prints, in the formats of several of its versions, is understood."""

from datetime import UTC, datetime

import pytest

from latticework.errors import ProjectError
from latticework.io.slurm_jobs import (
    FINAL,
    GONE,
    SlurmJob,
    cause_in_log,
    check_job_id,
    describe_job,
    explain_reason,
    final_state_to_cause,
    find_job,
    parse_accounts,
    parse_queue,
    parse_records,
    parse_time,
)


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


# Recorded from 22.05 on the testbed.
QUEUE = """\
13|CANCELLED|n2|2026-11-27T15:30:19|2026-11-27T15:30:19|None
3|FAILED|n2|2026-11-27T15:30:14|2026-11-27T15:30:15|NonZeroExitCode
6|NODE_FAIL|n3|2026-11-27T15:30:14|2026-11-27T15:30:17|NodeDown
7|PENDING||2026-11-27T15:32:18|2027-11-27T15:32:18|BeginTime
8|PENDING||N/A|N/A|ReqNodeNotAvail, UnavailableNodes:n3
9_[2,4,6%1]|PENDING||N/A|N/A|JobArrayTaskLimit
12|PENDING||2026-11-27T16:30:19|NONE|BeginTime
9_0|RUNNING|n1|2026-11-27T15:30:19|2027-11-27T15:30:19|None
1|TIMEOUT|n1|2026-11-27T15:30:13|2026-11-27T15:30:42|TimeLimit
"""

PENDING_2205 = """\
JobId=8 JobName=sbatch
   UserId=ada(1000) GroupId=ada(1000) MCS_label=N/A
   Priority=4294901752 Nice=0 Account=(null) QOS=(null)
   JobState=PENDING Reason=ReqNodeNotAvail,_UnavailableNodes:n3 Dependency=(null)
   Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0
   RunTime=00:00:00 TimeLimit=UNLIMITED TimeMin=N/A
   SubmitTime=2026-11-27T15:30:17 EligibleTime=2026-11-27T15:30:17
   AccrueTime=2026-11-27T15:30:17
   StartTime=Unknown EndTime=Unknown Deadline=N/A
   SuspendTime=None SecsPreSuspend=0 LastSchedEval=2026-11-27T15:30:42 Scheduler=Main
   Partition=main AllocNode:Sid=localhost:11494
   ReqNodeList=n3 ExcNodeList=(null)
   NodeList=
   NumNodes=1 NumCPUs=1 NumTasks=1 CPUs/Task=1 ReqB:S:C:T=0:0:*:*
   TRES=cpu=1,mem=512M,node=1,billing=1
   Power=
"""

ARRAY_2205 = """\
JobId=9 ArrayJobId=9 ArrayTaskId=2,4,6%1 ArrayTaskThrottle=1 JobName=sbatch
   UserId=ada(1000) GroupId=ada(1000) MCS_label=N/A
   JobState=PENDING Reason=JobArrayTaskLimit Dependency=(null)
   Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0
   StartTime=Unknown EndTime=Unknown Deadline=N/A
   ReqNodeList=(null) ExcNodeList=(null)
   NodeList=
   Power=

JobId=14 ArrayJobId=9 ArrayTaskId=0 ArrayTaskThrottle=1 JobName=sbatch
   UserId=ada(1000) GroupId=ada(1000) MCS_label=N/A
   JobState=RUNNING Reason=None Dependency=(null)
   Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0
   StartTime=2026-11-27T15:30:19 EndTime=2027-11-27T15:30:19 Deadline=N/A
   ReqNodeList=(null) ExcNodeList=(null)
   NodeList=n1
   BatchHost=n1
   Power=
"""

# As 23.02 and later print it: requested and allocated resources on lines of their own.
MEMORY_2302 = """\
JobId=569966 JobName=JobState=RUNNING Reason=odd name
   UserId=ada(1000) GroupId=ada(1000) MCS_label=N/A
   Priority=4294340955 Nice=0 Account=lab QOS=normal
   JobState=OUT_OF_MEMORY Reason=OutOfMemory Dependency=(null)
   Requeue=0 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:125
   RunTime=00:00:05 TimeLimit=00:15:00 TimeMin=N/A
   SubmitTime=2023-07-19T15:54:36 EligibleTime=2023-07-19T15:54:36
   AccrueTime=2023-07-19T15:54:36
   StartTime=2023-07-19T15:54:37 EndTime=2023-07-19T15:54:42 Deadline=N/A
   PreemptEligibleTime=2023-07-19T15:54:37 PreemptTime=None
   SuspendTime=None SecsPreSuspend=0 LastSchedEval=2023-07-19T15:54:37 Scheduler=Main
   Partition=test AllocNode:Sid=login01:692486
   ReqNodeList=(null) ExcNodeList=(null)
   NodeList=node[009-010,012]
   BatchHost=node009
   NumNodes=3 NumCPUs=3 NumTasks=3 CPUs/Task=1 ReqB:S:C:T=0:0:*:*
   ReqTRES=cpu=3,mem=1M,node=3,billing=3
   AllocTRES=cpu=3,mem=3M,node=3,billing=3
   Socks/Node=* NtasksPerN:B:S:C=0:0:*:* CoreSpec=*
   Power=
"""

# As 24.11 prints it: no Power, StepMgrEnabled, LicensesAlloc, OOMKillStep; a node that failed.
NODE_2411 = """\
JobId=77 JobName=dask-worker
   UserId=ada(1000) GroupId=ada(1000) MCS_label=N/A
   Priority=1 Nice=0 Account=(null) QOS=(null)
   JobState=NODE_FAIL Reason=NodeDown FailedNode=n3 Dependency=(null)
   Requeue=0 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0
   RunTime=00:00:08 TimeLimit=UNLIMITED TimeMin=N/A
   SubmitTime=2025-07-10T15:52:53 EligibleTime=2025-07-10T15:52:53
   AccrueTime=2025-07-10T15:52:53
   StartTime=2025-07-10T15:52:53 EndTime=2025-07-10T15:53:01 Deadline=N/A
   SuspendTime=None SecsPreSuspend=0 LastSchedEval=2025-07-10T15:52:53 Scheduler=Main
   Partition=main AllocNode:Sid=10.244.5.5:1
   ReqNodeList=(null) ExcNodeList=(null)
   NodeList=n3
   BatchHost=n3
   StepMgrEnabled=Yes
   NumNodes=1 NumCPUs=4 NumTasks=1 CPUs/Task=1 ReqB:S:C:T=0:0:*:*
   ReqTRES=cpu=1,mem=96046M,node=1,billing=1
   AllocTRES=cpu=4,mem=96046M,node=1,billing=4
   OverSubscribe=NO Contiguous=0 Licenses=(null) LicensesAlloc=(null) Network=(null)
   Command=(null)
   WorkDir=/scratch/ada
   StdErr=/scratch/ada/my logs/77.err
   StdIn=/dev/null
   StdOut=/scratch/ada/my logs/77.out
   OOMKillStep=0
"""

ACCOUNTS = """\
101|COMPLETED|0:0|n1|2026-11-27T15:30:14|2026-11-27T15:30:15
102|CANCELLED by 1000|0:15|n[1-2]|2026-11-27T15:30:14|2026-11-27T15:30:15
103|CANCELLED by 1000|0:0|None assigned|None|2026-11-27T15:30:15
104_3|TIMEOUT|0:0|n1|2026-11-27T15:30:14|2026-11-27T15:40:14
104_[4-9%2]|PENDING|0:0|None assigned|Unknown|Unknown
105|OUT_OF_MEMORY|0:125|n1|2026-11-27T15:30:14|2026-11-27T15:30:15
106|RUNNING|0:0|n1|2026-11-27T15:30:14|Unknown
106.batch|RUNNING|0:0|n1|2026-11-27T15:30:14|Unknown
"""


def test_the_queue_tells_states_nodes_reasons_and_times():
    jobs = {job.id: job for job in parse_queue(QUEUE)}
    assert len(jobs) == 9
    assert jobs["9_0"] == SlurmJob(
        "9_0", "RUNNING", "n1", at("2026-11-27T15:30:19"), at("2027-11-27T15:30:19")
    )
    assert jobs["12"].start == at("2026-11-27T16:30:19")
    assert jobs["12"].end is None
    assert jobs["6"].reason == "NodeDown"
    assert {job.id for job in jobs.values() if job.ended} == {"13", "3", "6", "1"}
    assert {job.id for job in jobs.values() if job.waiting} == {"7", "8", "9_[2,4,6%1]", "12"}


@pytest.mark.parametrize(
    "reason",
    [
        "ReqNodeNotAvail, UnavailableNodes:n[1-3],gpu[01-16,20]",
        "ReqNodeNotAvail(Unavailable:n3)",
        "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher partitions",
        "(maintenance | please wait)",
        "QOSMaxJobsPerUserLimit",
    ],
)
def test_a_reason_is_kept_whatever_it_is_made_of(reason):
    [job] = parse_queue(f"5|PENDING|| |N/A|{reason}")
    assert job.reason == reason
    assert reason in describe_job(job)


def test_lines_that_are_no_jobs_are_left_out():
    text = f"CLUSTER: testbed\nsqueue: warning: slow\n\n{QUEUE}1|PENDING\n|x|y|z|u|v\n"
    assert len(parse_queue(text)) == 9
    assert parse_queue("") == parse_records("") == parse_accounts("") == ()


def test_an_element_is_found_in_an_array_that_waits_as_a_whole():
    jobs = parse_queue(QUEUE + "20_[1-9:4,12-14,30%7]|PENDING||N/A|N/A|Priority\n")
    assert find_job(jobs, "9_4").reason == "JobArrayTaskLimit"
    assert find_job(jobs, "9_0").state == "RUNNING"
    assert find_job(jobs, "9_3") is None
    found = [k for k in range(40) if find_job(jobs, f"20_{k}") is not None]
    assert found == [1, 5, 9, 12, 13, 14, 30]
    assert find_job(jobs, "20").id == "20_[1-9:4,12-14,30%7]"
    assert find_job(jobs, "2") is None


def test_records_of_all_versions_tell_the_same_things():
    [waiting] = parse_records(PENDING_2205)
    reason = "ReqNodeNotAvail, UnavailableNodes:n3"
    assert waiting == SlurmJob("8", "PENDING", reason=reason, exit_code=0, signal=0)
    [memory] = parse_records(MEMORY_2302)
    assert memory == SlurmJob(
        "569966",
        "OUT_OF_MEMORY",
        "node[009-010,012]",
        at("2023-07-19T15:54:37"),
        at("2023-07-19T15:54:42"),
        "OutOfMemory",
        0,
        125,
    )
    [lost] = parse_records(NODE_2411)
    assert (lost.state, lost.reason, lost.nodes) == ("NODE_FAIL", "NodeDown", "n3")
    assert lost.log == "/scratch/ada/my logs/77.err"


def test_records_of_an_array_have_the_ids_of_its_elements():
    jobs = parse_records(ARRAY_2205)
    assert [(job.id, job.state) for job in jobs] == [
        ("9_[2,4,6%1]", "PENDING"),
        ("9_0", "RUNNING"),
    ]
    assert find_job(jobs, "9_6").reason == "JobArrayTaskLimit"


def test_what_scontrol_breaks_off_is_no_record():
    for end in range(0, len(MEMORY_2302), 40):
        for job in parse_records(MEMORY_2302[:end]):
            assert (job.id, job.state) == ("569966", "OUT_OF_MEMORY")


def test_accounts_tell_how_jobs_ended_long_ago():
    jobs = {job.id: job for job in parse_accounts(ACCOUNTS)}
    assert set(jobs) == {"101", "102", "103", "104_3", "105", "106"}
    assert jobs["102"].state == "CANCELLED"
    assert (jobs["102"].exit_code, jobs["102"].signal) == (0, 15)
    assert (jobs["103"].nodes, jobs["103"].start) == ("", None)
    assert final_state_to_cause(jobs["104_3"].state) == "walltime"
    assert not jobs["106"].ended


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ("COMPLETED", "ended"),
        ("FAILED", "failed"),
        ("CANCELLED", "cancelled"),
        ("CANCELLED by 1000", "cancelled"),
        ("TIMEOUT", "walltime"),
        ("DEADLINE", "walltime"),
        ("PREEMPTED", "preempted"),
        ("NODE_FAIL", "node failure"),
        ("BOOT_FAIL", "node failure"),
        ("OUT_OF_MEMORY", "memory"),
        (GONE, "ended"),
        ("A_STATE_OF_THE_FUTURE", "ended"),
    ],
)
def test_each_final_state_has_a_cause(state, cause):
    assert final_state_to_cause(state) == cause


def test_only_jobs_that_completed_have_merely_ended():
    assert {state for state in FINAL if final_state_to_cause(state) == "ended"} == {"COMPLETED"}


def test_a_reason_says_more_than_failed_but_never_overrules_a_clear_state():
    assert final_state_to_cause("FAILED", "TimeLimit") == "walltime"
    assert final_state_to_cause("CANCELLED", "NodeDown") == "node failure"
    assert final_state_to_cause("FAILED", "NonZeroExitCode") == "failed"
    assert final_state_to_cause("PREEMPTED", "TimeLimit") == "preempted"


LOG = """\
loading
{}: error: StepId=1.batch exceeded memory limit (327938048 > 52428800), being killed
{}: error: Exceeded job memory limit
{}: error: *** JOB 1 ON n1 CANCELLED AT 2026-11-27T15:41:44 ***
"""
TIME = "slurmstepd: error: *** JOB 1 ON n1 CANCELLED AT 2026-11-27T15:41:44 DUE TO TIME LIMIT ***"
CGROUP = (
    "slurmstepd: error: Detected 1 oom_kill event in StepId=1.batch. Some of the step tasks have "
    "been OOM Killed."
)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (LOG.replace("{}", "slurmstepd"), "memory"),
        (LOG.replace("{}", "slurmstepd-n1"), "memory"),
        (CGROUP, "memory"),
        (CGROUP.replace("oom_kill", "oom-kill"), "memory"),
        (f"{CGROUP}\n{TIME}", "memory"),
        (TIME, "walltime"),
        (TIME.replace("TIME LIMIT", "PREEMPTION"), "preempted"),
        (TIME.replace("TIME LIMIT", "NODE FAILURE"), "node failure"),
        (TIME.replace(" DUE TO TIME LIMIT", ""), None),
        (LOG.replace("{}", "dask"), None),
        ("", None),
    ],
)
def test_the_log_tells_the_cause_where_slurm_wrote_it(text, cause):
    assert cause_in_log(text) == cause
    assert final_state_to_cause("FAILED", "JobLaunchFailure", text) == (cause or "failed")


@pytest.mark.parametrize("state", ["TIMEOUT", "CANCELLED", "COMPLETED", "PREEMPTED", "NODE_FAIL"])
def test_the_log_of_an_earlier_mishap_does_not_overrule_a_clear_state(state):
    assert final_state_to_cause(state, log=CGROUP) == final_state_to_cause(state)


@pytest.mark.parametrize("text", ["N/A", "NONE", "Unknown", "", "(null)", "27 Nov 15:30", "Mon 3"])
def test_a_time_that_slurm_does_not_know_is_none(text):
    assert parse_time(text) is None


@pytest.mark.parametrize("wrong", ["", "--all", "8 9", "8;ls", "8_", "x", 8, None, "8_[1-2]"])
def test_what_is_no_id_never_reaches_a_command(wrong):
    with pytest.raises(ProjectError, match="not the id of a SLURM job"):
        check_job_id(wrong)


@pytest.mark.parametrize("right", ["8", "8_0", "8+1", "123456789"])
def test_ids_of_jobs_arrays_and_heterogeneous_jobs_are_taken(right):
    assert check_job_id(right) == right


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Priority", "higher priority go first"),
        ("Resources", "as soon as enough is free"),
        ("QOSMaxJobsPerUserLimit", "a limit"),
        ("AssocGrpCPUMinutesLimit", "a limit"),
        ("MaxCpuPerAccount", "a limit"),
        ("QOSNotAllowed", "never start"),
        ("ReqNodeNotAvail, UnavailableNodes:n3", "down, drained or reserved"),
        ("PartitionTimeLimit", "never start"),
    ],
)
def test_a_reason_is_told_in_words(reason, words):
    assert words in explain_reason(reason)


def test_a_job_is_described_in_a_line():
    down, array = "ReqNodeNotAvail, UnavailableNodes:n3", "job 9_[2,4,6%1]"
    described = [describe_job(job) for job in (*parse_queue(QUEUE), SlurmJob("4", GONE))]
    assert described == [
        "job 13 on n2 has ended: CANCELLED (cancelled)",
        "job 3 on n2 has ended: FAILED (failed)",
        "job 6 on n3 has ended: NODE_FAIL (node failure)",
        "job 7 waits in the queue: BeginTime (its earliest start is not yet)",
        f"job 8 waits in the queue: {down} (nodes that it needs are down, drained or reserved)",
        f"{array} waits in the queue: JobArrayTaskLimit (as many of its array run as may at once)",
        "job 12 waits in the queue: BeginTime (its earliest start is not yet)",
        "job 9_0 on n1 is RUNNING",
        "job 1 on n1 has ended: TIMEOUT (walltime)",
        "job 4 has ended, and SLURM does not know any more how",
    ]
    killed = SlurmJob("5", "FAILED", "n1", exit_code=0, signal=9)
    assert describe_job(killed) == "job 5 on n1 has ended: FAILED (failed, signal 9)"
    assert "exit code 3" in describe_job(SlurmJob("5", "FAILED", exit_code=3))
    assert "not looked at it yet" in describe_job(SlurmJob("5", "PENDING"))
