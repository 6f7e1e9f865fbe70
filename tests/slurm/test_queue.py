"""What the queue says of real jobs of a real SLURM."""

import sys
import time

import pytest

from latticework.io.slurm_jobs import GONE, describe_job, final_state_to_cause, parse_records
from latticework.io.slurm_queue import SlurmQueue, cause_of_end, run_command

pytestmark = pytest.mark.usefixtures("idle_slurm")


@pytest.fixture
def queue():
    """A queue that is asked at each look, at once."""
    return SlurmQueue(interval_s=0.0, timeout_s=60.0, start=lambda task: task())


def seen(queue, job, *states, reason=None, timeout_s=120):
    """Look at a job until it is in one of these states, or waits for a reason."""
    limit = time.monotonic() + timeout_s
    while True:
        poll = queue.look([job])
        found = poll.jobs.get(job)
        if found is not None and (
            found.state in states or (reason is not None and found.reason.startswith(reason))
        ):
            return found
        assert time.monotonic() < limit, poll
        time.sleep(0.1)


def test_why_jobs_wait(queue, slurm):
    large = ["--mem=5000", "--time=10"]
    running = [slurm.submit("sleep", "600", options=large) for _ in range(3)]
    first = slurm.submit("sleep", "600", options=large)
    second = slurm.submit("sleep", "600", options=large)
    held = slurm.submit("true", options=["--hold"])
    bound = slurm.submit("true", options=[f"--dependency=afterok:{held}"])
    later = slurm.submit("true", options=["--begin=now+1hour"])
    assert seen(queue, first, reason="Resources").waiting
    assert seen(queue, second, reason="Priority").waiting
    assert seen(queue, held, reason="JobHeldUser").waiting
    assert seen(queue, bound, reason="Dependency").waiting
    start = seen(queue, later, reason="BeginTime").start
    assert abs(start - time.time() - 3600) < 120  # in spite of time zones
    job = seen(queue, running[0], "RUNNING")
    assert job.nodes in slurm.nodes
    assert abs(job.start - time.time()) < 120
    assert 500 < job.end - job.start < 700
    assert "Resources (it starts as soon as" in describe_job(queue.look([first]).jobs[first])


def test_a_node_that_is_down_is_a_reason_and_named(queue, slurm):
    slurm.cut_power("n2")
    job = slurm.submit("sleep", "600", options=["--nodelist=n2"])
    assert "n2" in seen(queue, job, reason="ReqNodeNotAvail").reason


def test_how_jobs_end(queue, slurm):
    fine = slurm.submit("true")
    bad = slurm.submit("sh", "-c", "exit 3")
    killed = slurm.submit("sh", "-c", "kill -9 $$")
    recalled = slurm.submit("sleep", "600")
    lost = slurm.submit("sleep", "600", options=["--nodelist=n3", "--no-requeue"])
    assert seen(queue, fine, "COMPLETED").exit_code == 0
    assert seen(queue, bad, "FAILED").exit_code == 3
    assert seen(queue, killed, "FAILED").signal == 9
    seen(queue, recalled, "RUNNING")
    slurm.cancel(recalled)
    seen(queue, recalled, "CANCELLED")
    seen(queue, lost, "RUNNING")
    slurm.cut_power("n3")
    ended = seen(queue, lost, "NODE_FAIL")
    assert (ended.nodes, final_state_to_cause(ended.state)) == ("n3", "node failure")


def test_a_job_that_takes_more_memory_than_it_asked_for_is_told_from_one_that_was_killed(
    queue, slurm
):
    hungry = slurm.submit(
        sys.executable,
        "-c",
        "import time; taken = bytearray(300 << 20); time.sleep(600)",
        options=["--mem=50"],
    )
    killed = slurm.submit("sh", "-c", "kill -9 $$")
    assert cause_of_end(seen(queue, hungry, "FAILED", "OUT_OF_MEMORY")) == "memory"
    assert cause_of_end(seen(queue, killed, "FAILED")) == "failed"


def test_a_preempted_job_is_told_from_one_that_was_cancelled(queue, slurm):
    whole = ["--exclusive", "--nodes=3"]
    job = slurm.submit("sleep", "600", options=[*whole, "--no-requeue"])
    seen(queue, job, "RUNNING")
    slurm.submit("sleep", "600", options=[*whole, "--partition=urgent"])
    assert final_state_to_cause(seen(queue, job, "PREEMPTED").state) == "preempted"


def test_a_job_that_runs_again_has_not_ended(queue, slurm):
    job = slurm.submit("sleep", "600")
    seen(queue, job, "RUNNING")
    slurm.requeue(job)
    assert not seen(queue, job, "RUNNING").ended


def test_elements_of_an_array_are_told_apart(queue, slurm):
    array = slurm.submit("sleep", "600", options=["--array=0-6:2%1"])
    seen(queue, f"{array}_0", "RUNNING")
    assert seen(queue, f"{array}_6", reason="JobArrayTaskLimit").state == "PENDING"
    assert {job.id for job in parse_records(slurm.command("scontrol", "show", "job", array))} == {
        f"{array}_0",
        f"{array}_[2,4,6%1]",
    }


def test_a_job_that_slurm_does_not_know_is_gone(queue):
    assert queue.look(["99999999"]).jobs["99999999"].state == GONE


def test_without_a_controller_the_last_answer_stays(queue, slurm, monkeypatch, tmp_path):
    job = slurm.submit("sleep", "600")
    seen(queue, job, "RUNNING")
    conf = tmp_path / "slurm.conf"
    conf.write_text(slurm.layout.conf.read_text().replace("SlurmctldPort=", "SlurmctldPort=1 #"))
    monkeypatch.setenv("SLURM_CONF", str(conf))
    queue.timeout_s = 2.0
    poll = queue.look([job])
    assert poll.jobs[job].state == "RUNNING"
    assert "squeue" in poll.error or "slurm" in poll.error
    assert run_command(["squeue"], 2.0).code != 0


@pytest.mark.slow
def test_a_walltime_that_ends_is_told(queue, slurm):
    job = slurm.submit("sleep", "600", options=["--time=10"])
    seen(queue, job, "RUNNING")
    slurm.end_walltime(job)
    ended = seen(queue, job, "TIMEOUT")
    assert (ended.reason, final_state_to_cause(ended.state)) == ("TimeLimit", "walltime")
