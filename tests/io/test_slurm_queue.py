"""SLURM is asked rarely, and what it does not answer changes nothing."""

import itertools
import os
import stat
import threading

import pytest

from latticework.errors import ProjectError
from latticework.io import slurm_queue
from latticework.io.slurm_jobs import GONE, SlurmJob
from latticework.io.slurm_queue import (
    FORGET_S,
    LONGEST_INTERVAL_S,
    Said,
    SlurmQueue,
    cause_of_end,
    run_command,
    shared_queue,
)

INVALID = Said(1, error="slurm_load_jobs error: Invalid job id specified")
DISABLED = Said(1, error="Slurm accounting storage is disabled")


def line(job, state, reason="None", nodes="n1"):
    return f"{job}|{state}|{nodes}|2026-11-27T15:30:14|2026-11-27T15:30:15|{reason}\n"


def record(job, state, code="0:0", reason="None"):
    return Said(
        0,
        f"JobId={job} JobName=x\n   JobState={state} Reason={reason} Dependency=(null)\n"
        f"   Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode={code}\n"
        "   StartTime=2026-11-27T15:30:14 EndTime=2026-11-27T15:30:15 Deadline=N/A\n"
        "   NodeList=n1\n",
    )


class FakeSlurm:
    """Answers as told, and counts what it was asked."""

    def __init__(self):
        self.now = 1000.0
        self.queue = Said(0, "")
        self.records = {}
        self.accounts = DISABLED
        self.asked = []

    def run(self, arguments, timeout_s):
        assert timeout_s > 0
        self.asked.append(arguments)
        if arguments[0] == "squeue":
            return self.queue
        if arguments[0] == "scontrol":
            return self.records.get(arguments[-1], INVALID)
        return self.accounts

    def count(self, name):
        return sum(arguments[0] == name for arguments in self.asked)

    def made(self, **options):
        return SlurmQueue(
            clock=lambda: self.now, run=self.run, start=lambda task: task(), **options
        )


@pytest.fixture
def slurm():
    return FakeSlurm()


def test_however_often_it_is_looked_at_slurm_is_asked_once_an_interval(slurm):
    slurm.queue = Said(0, line("1", "PENDING", "Priority") + line("2", "RUNNING"))
    queue = slurm.made(interval_s=30)
    for second in range(90):
        slurm.now = 1000.0 + second
        poll = queue.look(["1"])  # one pool
        assert poll.jobs["1"].reason == "Priority"
        assert queue.look(["2"]).jobs["2"].state == "RUNNING"  # another
        assert poll.age_s == second % 30
    assert slurm.count("squeue") == len(slurm.asked) == 3


def test_only_our_own_jobs_are_asked_for_without_a_shell(slurm):
    slurm.made().look(["1"])
    assert slurm.asked[0] == (
        "squeue",
        "--noheader",
        "--states=all",
        f"--user={os.getuid()}",
        "--format=%i|%T|%N|%S|%e|%r",
    )


def test_before_the_first_answer_nothing_is_known_and_that_is_told(slurm):
    slurm.queue = Said(None, error="squeue did not answer within 20 s")
    poll = slurm.made().look(["1"])
    assert (dict(poll.jobs), poll.age_s) == ({}, None)
    assert poll.error == "squeue did not answer within 20 s"


@pytest.mark.parametrize(
    "trouble",
    [
        Said(1, error="slurm_load_jobs error: Socket timed out on send/recv operation"),
        Said(1, error="slurm_load_jobs error: Unable to contact slurm controller"),
        Said(0, error="squeue: error: slurm_receive_msg: Zero Bytes were transmitted"),
        Said(None, error="squeue did not answer within 20 s"),
        Said(127, error="squeue is not installed on this machine"),
        Said(1, output=line("1", "COMPLETED")),
    ],
    ids=["timed out", "no controller", "no bytes", "hangs", "not there", "half an answer"],
)
def test_what_slurm_does_not_answer_changes_nothing(slurm, trouble):
    slurm.queue = Said(0, line("1", "RUNNING"))
    queue = slurm.made(interval_s=30)
    before = queue.look(["1"])
    slurm.queue, slurm.now = trouble, 1040.0
    after = queue.look(["1"])
    assert after.jobs == before.jobs
    assert after.age_s == 40
    assert after.error == (trouble.error or "squeue ended with exit code 1")
    assert slurm.count("scontrol") == 0
    slurm.queue, slurm.now = Said(0, line("1", "COMPLETING")), 1200.0
    recovered = queue.look(["1"])
    assert (recovered.jobs["1"].state, recovered.age_s, recovered.error) == ("COMPLETING", 0, "")


def test_who_fails_is_asked_less_and_less_often_and_normally_again_afterwards(slurm):
    slurm.queue = Said(1, error="slurm_load_jobs error: Socket timed out")
    queue = slurm.made(interval_s=30)
    asked_at, seen = [], 0
    for second in range(0, 3000, 5):
        slurm.now = 1000.0 + second
        queue.look(["1"])
        if slurm.count("squeue") > seen:
            seen = slurm.count("squeue")
            asked_at.append(second)
    gaps = [b - a for a, b in itertools.pairwise(asked_at)]
    assert gaps == [60, 120, 240, 480, LONGEST_INTERVAL_S, LONGEST_INTERVAL_S, LONGEST_INTERVAL_S]
    slurm.queue, slurm.now = Said(0, ""), 9000.0
    queue.look(["1"])
    slurm.now = 9030.0
    queue.look(["1"])
    assert slurm.count("squeue") == seen + 2


def test_the_end_of_a_job_is_asked_for_once_with_its_exit_code(slurm):
    slurm.queue = Said(0, line("1", "FAILED", "NonZeroExitCode"))
    slurm.records["1"] = record("1", "FAILED", "3:0")
    queue = slurm.made(interval_s=30)
    for second in (0, 30, 60):
        slurm.now = 1000.0 + second
        job = queue.look(["1"]).jobs["1"]
        assert (job.state, job.exit_code, job.reason) == ("FAILED", 3, "NonZeroExitCode")
    assert slurm.count("scontrol") == 1
    assert slurm.count("sacct") == 0


def test_a_job_that_has_left_the_queue_is_looked_up(slurm):
    slurm.queue = Said(0, line("1", "RUNNING"))
    queue = slurm.made(interval_s=30)
    queue.look(["1"])
    slurm.queue, slurm.now = Said(0, ""), 1030.0
    slurm.records["1"] = record("1", "TIMEOUT", "0:15", "TimeLimit")
    job = queue.look(["1"]).jobs["1"]
    assert (job.state, job.reason, job.ended) == ("TIMEOUT", "TimeLimit", True)


def test_what_slurm_has_forgotten_is_in_the_accounts(slurm):
    slurm.accounts = Said(
        0,
        "1|PREEMPTED|0:0|n1|2026-11-27T15:30:14|2026-11-27T15:30:15\n"
        "2_3|CANCELLED by 1000|0:0|None assigned|Unknown|2026-11-27T15:30:15\n",
    )
    queue = slurm.made(interval_s=30)
    for second in (0, 30, 60):
        slurm.now = 1000.0 + second
        jobs = queue.look(["1", "2_3"]).jobs
        assert {k: job.state for k, job in jobs.items()} == {"1": "PREEMPTED", "2_3": "CANCELLED"}
    assert slurm.count("scontrol") == 2
    assert [a[4] for a in slurm.asked if a[0] == "sacct"] == ["--jobs=1,2_3"]


def test_accounts_may_be_late_and_are_asked_twice_before_a_job_is_gone(slurm):
    slurm.accounts = Said(0, "")
    queue = slurm.made(interval_s=30)
    assert dict(queue.look(["1", "2"]).jobs) == {}
    slurm.accounts, slurm.now = Said(0, "1|COMPLETED|0:0|n1|Unknown|Unknown\n"), 1030.0
    jobs = queue.look(["1", "2"]).jobs
    assert (jobs["1"].state, jobs["2"].state) == ("COMPLETED", GONE)


def test_without_accounts_a_forgotten_job_is_gone_and_they_are_not_asked_again(slurm):
    queue = slurm.made(interval_s=30)
    assert queue.look(["1"]).jobs["1"].state == GONE
    slurm.now = 1030.0
    poll = queue.look(["1", "2"])
    assert poll.jobs["2"].state == GONE
    assert poll.error == ""
    assert slurm.count("sacct") == 1


def test_a_job_is_not_gone_while_the_accounts_do_not_answer(slurm):
    slurm.accounts = Said(1, error="sacct: error: slurm_persist_conn_open: No route to host")
    queue = slurm.made(interval_s=30)
    poll = queue.look(["1"])
    assert "1" not in poll.jobs
    assert "No route to host" in poll.error
    slurm.accounts, slurm.now = Said(0, "1|COMPLETED|0:0|n1|Unknown|Unknown\n"), 1100.0
    assert queue.look(["1"]).jobs["1"].state == "COMPLETED"


def test_accounts_that_are_away_for_hours_keep_nobody_from_asking_for_the_queue(slurm):
    slurm.accounts = Said(1, error="sacct: error: slurm_persist_conn_open: No route to host")
    slurm.queue = Said(0, line("2", "RUNNING"))
    queue = slurm.made(interval_s=30)
    asked_at, seen = [], 0
    for second in range(0, 3600, 30):
        slurm.now = 1000.0 + second
        poll = queue.look(["1", "2"])
        assert "No route to host" in poll.error
        assert (set(poll.jobs), poll.age_s) == ({"2"}, 0)
        if slurm.count("sacct") > seen:
            seen = slurm.count("sacct")
            asked_at.append(second)
    assert slurm.count("squeue") == 120
    gaps = [b - a for a, b in itertools.pairwise(asked_at)]
    assert gaps[:4] == [60, 120, 240, 480]
    assert set(gaps[4:]) == {LONGEST_INTERVAL_S}
    slurm.accounts, slurm.now = Said(0, "1|COMPLETED|0:0|n1|Unknown|Unknown\n"), 9000.0
    poll = queue.look(["1", "2"])
    assert (poll.jobs["1"].state, poll.error) == ("COMPLETED", "")


@pytest.mark.parametrize(
    "words",
    [
        "Slurm accounting storage is disabled",
        (
            "You are not running a supported accounting_storage plugin\n"
            "Only 'accounting_storage/slurmdbd' is supported."
        ),
    ],
)
def test_a_site_without_accounts_is_no_error(slurm, words):
    slurm.accounts = Said(1, error=words)
    queue = slurm.made(interval_s=30)
    poll = queue.look(["1"])
    assert (poll.jobs["1"].state, poll.error) == (GONE, "")


def test_a_job_is_not_gone_while_scontrol_does_not_answer(slurm):
    slurm.records["1"] = Said(1, error="slurm_load_jobs error: Unable to contact slurm controller")
    poll = slurm.made().look(["1"])
    assert "1" not in poll.jobs
    assert "Unable to contact" in poll.error
    assert slurm.count("sacct") == 0


def test_a_job_that_is_put_into_the_queue_again_has_not_ended(slurm):
    slurm.queue = Said(0, line("1", "NODE_FAIL", "NodeDown"))
    slurm.records["1"] = record("1", "NODE_FAIL")
    queue = slurm.made(interval_s=30)
    assert queue.look(["1"]).jobs["1"].ended
    slurm.queue, slurm.now = Said(0, line("1", "PENDING", "BeginTime", "")), 1030.0
    assert queue.look(["1"]).jobs["1"].reason == "BeginTime"
    slurm.queue, slurm.now = Said(0, line("1", "TIMEOUT", "TimeLimit")), 1060.0
    slurm.records["1"] = record("1", "TIMEOUT", "0:15")
    assert queue.look(["1"]).jobs["1"].state == "TIMEOUT"


def test_an_element_of_an_array_that_waits_is_known(slurm):
    slurm.queue = Said(0, line("9_[2-4%1]", "PENDING", "JobArrayTaskLimit", ""))
    assert slurm.made().look(["9_3"]).jobs["9_3"].reason == "JobArrayTaskLimit"


def test_many_ends_at_once_are_spread_over_several_questions(slurm):
    ids = [str(k) for k in range(1, 121)]
    slurm.queue = Said(0, "".join(line(job, "COMPLETED") for job in ids))
    slurm.records = {job: record(job, "COMPLETED") for job in ids}
    queue = slurm.made(interval_s=30)
    for second, asked in ((0, 50), (30, 100), (60, 120), (90, 120)):
        slurm.now = 1000.0 + second
        jobs = queue.look(ids).jobs
        assert {job.state for job in jobs.values()} == {"COMPLETED"}
        assert len(jobs) == 120
        assert slurm.count("scontrol") == asked


def test_jobs_that_nobody_looks_at_are_forgotten(slurm):
    queue = slurm.made(interval_s=30)
    queue.look(["1"])
    slurm.now += FORGET_S + 1
    queue.look(["2"])
    assert set(queue._wanted) == set(queue._ended) == {"2"}


def test_the_cause_of_an_end_is_read_from_the_end_of_the_log(tmp_path):
    log = tmp_path / "1.err"
    log.write_bytes(b"\xff" * 200_000 + b"\nslurmstepd: error: Exceeded job memory limit\n")
    job = SlurmJob("1", "FAILED", reason="JobLaunchFailure", log=str(log))
    assert cause_of_end(job) == "memory"
    assert cause_of_end(job, log_bytes=10) == "failed"
    log.unlink()
    assert cause_of_end(job) == "failed"


def test_looking_never_waits_for_slurm_and_one_question_is_out_at_a_time():
    begun, go_on, counted = threading.Event(), threading.Event(), []

    def run(arguments, _timeout_s):
        counted.append(arguments)
        begun.set()
        assert go_on.wait(60)
        return Said(0, line("1", "RUNNING"))

    queue = SlurmQueue(run=run, interval_s=0.0)
    assert queue.look(["1"]).age_s is None
    assert begun.wait(60)
    for _ in range(20):
        assert dict(queue.look(["1"]).jobs) == {}
    assert not queue.refresh()
    assert len(counted) == 1
    queue.interval_s = 1000.0
    go_on.set()
    for _ in range(6000):
        poll = queue.look(["1"])
        if poll.jobs:
            break
        threading.Event().wait(0.01)
    assert poll.jobs["1"].state == "RUNNING"


def test_what_cannot_be_understood_is_told_and_asked_again(slurm, monkeypatch, caplog):
    queue = slurm.made(interval_s=30)
    with monkeypatch.context() as patch, caplog.at_level("ERROR", "latticework"):
        patch.setattr(slurm_queue, "parse_queue", lambda _text: 1 / 0)
        assert "ZeroDivisionError" in queue.look(["1"]).error
    assert "could not be understood" in caplog.text
    slurm.queue, slurm.now = Said(0, line("1", "RUNNING")), 1100.0
    assert queue.look(["1"]).error == ""


def test_what_is_no_id_is_refused_before_anything_is_asked(slurm):
    with pytest.raises(ProjectError, match="'--all' is not the id"):
        slurm.made().look(["1", "--all"])
    assert slurm.asked == []


def test_all_pools_of_a_process_share_the_queue_of_their_slurm(monkeypatch):
    monkeypatch.setenv("SLURM_CONF", "one.conf")
    one = shared_queue()
    assert shared_queue(interval_s=60) is one
    assert one.interval_s == 60
    monkeypatch.setenv("SLURM_CONF", "two.conf")
    assert shared_queue() is not one


# ------------------------------------------------------------------ running commands


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Makes a program of that name the first on the path."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def make(name, script):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return make


def test_commands_are_asked_in_english_and_utc_whatever_the_user_has_set(program, monkeypatch):
    program(
        "squeue", 'echo "$LC_ALL|$TZ|$SQUEUE_STATES|$SLURM_TIME_FORMAT|$SLURM_CONF"; echo no >&2'
    )
    monkeypatch.setenv("SQUEUE_STATES", "PENDING")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    monkeypatch.setenv("SLURM_CONF", "mine.conf")
    said = run_command(["squeue"], 60)
    assert said == Said(0, "C|UTC0|||mine.conf\n", "no")


def test_a_command_that_hangs_is_ended(program):
    program("squeue", "exec sleep 600")
    assert run_command(["squeue"], 0.2) == Said(None, error="squeue did not answer within 0.2 s")


def test_a_command_that_is_not_there_or_cannot_run_says_so(program, tmp_path, monkeypatch):
    missing = run_command(["squeue-of-nobody"], 60)
    assert missing.code == 127
    assert "squeue-of-nobody is not installed on this machine" in missing.error
    program("squeue", "")
    (tmp_path / "squeue").write_bytes(b"\x7fELF nonsense")
    monkeypatch.setenv("PATH", str(tmp_path))
    broken = run_command(["squeue"], 60)
    assert broken.code == 126
    assert "squeue cannot be run" in broken.error


def test_output_that_is_no_text_is_read_all_the_same(program):
    program("squeue", r"printf '1|PENDING||N/A|N/A|caf\351\n'")
    assert run_command(["squeue"], 60).output == "1|PENDING||N/A|N/A|caf\ufffd\n"


def test_the_programs_of_a_site_with_accounts_are_asked_in_turn(program, tmp_path):
    asked = tmp_path / "asked"
    note = f'echo "$@" >> "{asked}"'
    program("squeue", f'{note}; echo "2|RUNNING|n1|N/A|N/A|None"')
    program("scontrol", f'{note}; echo "{INVALID.error}" >&2; exit 1')
    program(
        "sacct",
        f"{note}; cat <<END\n"
        "1|OUT_OF_MEMORY|0:125|n[1-2]|2026-11-27T15:30:14|2026-11-27T15:30:15\n"
        "3|NODE_FAIL|1:0|n7|2026-11-27T15:30:14|2026-11-27T15:40:15\n"
        "END",
    )
    queue = SlurmQueue(start=lambda task: task())
    jobs = queue.look(["1", "2", "3"]).jobs
    assert [cause_of_end(jobs[job]) for job in "13"] == ["memory", "node failure"]
    assert (jobs["1"].signal, jobs["2"].state) == (125, "RUNNING")
    assert asked.read_text().splitlines()[1:] == [
        "show job 1",
        "show job 3",
        (
            "--noheader --parsable2 --allocations --jobs=1,3 "
            "--format=JobID,State,ExitCode,NodeList,Start,End"
        ),
    ]
