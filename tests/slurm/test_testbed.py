"""The testbed is a SLURM like any other, fails as told, and leaves nothing behind."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from tests.slurm.belonging import processes_of
from tests.slurm.configuration import Layout, cgroup_conf, free_ports, slurm_conf
from tests.slurm.fixtures import NEEDED, skip_without_slurm
from tests.slurm.testbed import ROOT, Testbed, TestbedError


def wait_until(condition, timeout_s=60):
    limit = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < limit, condition
        time.sleep(0.05)


@pytest.fixture
def short_folder():
    """A folder with a name short enough for sockets, wherever pytest keeps its own."""
    with tempfile.TemporaryDirectory(prefix="lw-", ignore_cleanup_errors=True) as folder:
        yield folder


def test_a_job_runs_on_a_node_of_the_testbed(idle_slurm):
    job = idle_slurm.submit("sh", "-c", "echo this is $SLURMD_NODENAME")
    said = idle_slurm.wait_for(job, "COMPLETED")
    assert said["ExitCode"] == "0:0"
    wait_until((idle_slurm.layout.logs / f"job-{job}.out").exists)
    log = (idle_slurm.layout.logs / f"job-{job}.out").read_text()
    assert log == f"this is {said['NodeList']}\n"


def test_jobs_share_nodes_by_the_cpus_and_memory_that_they_ask_for(idle_slurm):
    jobs = [idle_slurm.submit("sleep", "600", options=["--mem=5000"]) for _ in range(4)]
    running = [idle_slurm.wait_for(job, "RUNNING")["NodeList"] for job in jobs[:3]]
    assert sorted(running) == ["n1", "n2", "n3"]
    assert idle_slurm.job(jobs[3])["JobState"] == "PENDING"
    idle_slurm.cancel(jobs[0])
    assert idle_slurm.wait_for(jobs[3], "RUNNING")["NodeList"] == running[0]


def test_a_cancelled_job_ends(idle_slurm):
    job = idle_slurm.submit("sleep", "600")
    idle_slurm.wait_for(job, "RUNNING")
    idle_slurm.cancel(job)
    idle_slurm.wait_for(job, "CANCELLED")
    wait_until(lambda: not processes_of(idle_slurm.layout, "job"))


def test_a_node_without_power_takes_its_jobs_with_it_and_comes_back(idle_slurm):
    lost, moved, kept = (
        idle_slurm.submit("sleep", "600", options=["--nodelist=n1", "--no-requeue"]),
        idle_slurm.submit("sleep", "600", options=["--nodelist=n1"]),
        idle_slurm.submit("sleep", "600", options=["--nodelist=n2"]),
    )
    for job in (lost, moved, kept):
        idle_slurm.wait_for(job, "RUNNING")
    wait_until(lambda: len(processes_of(idle_slurm.layout, "job")) == 3)
    idle_slurm.cut_power("n1")
    assert idle_slurm.node_state("n1") in ("down", "down*")
    [left] = processes_of(idle_slurm.layout, "job")
    assert left.environ()["SLURMD_NODENAME"] == "n2"
    idle_slurm.wait_for(lost, "NODE_FAIL")
    idle_slurm.wait_for(moved, "PENDING")
    assert idle_slurm.job(kept)["JobState"] == "RUNNING"
    idle_slurm.repair("n1")
    idle_slurm.start_now(moved)
    assert idle_slurm.wait_for(moved, "RUNNING")["Restarts"] == "1"


def test_a_requeued_job_runs_again_under_its_id(idle_slurm):
    job = idle_slurm.submit("sleep", "600")
    idle_slurm.wait_for(job, "RUNNING")
    idle_slurm.requeue(job)
    assert idle_slurm.wait_for(job, "RUNNING")["Restarts"] == "1"


def test_an_urgent_job_takes_the_place_of_another(idle_slurm):
    whole = ["--exclusive", "--nodes=3"]
    job = idle_slurm.submit("sleep", "600", options=[*whole, "--no-requeue"])
    idle_slurm.wait_for(job, "RUNNING")
    urgent = idle_slurm.submit("sleep", "600", options=[*whole, "--partition=urgent"])
    idle_slurm.wait_for(job, "PREEMPTED")
    idle_slurm.wait_for(urgent, "RUNNING")


@pytest.mark.slow
def test_a_job_whose_walltime_ends_is_ended(idle_slurm):
    job = idle_slurm.submit("sleep", "600", options=["--time=10"])
    idle_slurm.wait_for(job, "RUNNING")
    idle_slurm.end_walltime(job)
    idle_slurm.wait_for(job, "TIMEOUT")


def test_clearing_leaves_an_empty_queue_and_idle_nodes(idle_slurm):
    jobs = [idle_slurm.submit("sleep", "600", options=["--mem=5000"]) for _ in range(4)]
    idle_slurm.wait_for(jobs[0], "RUNNING")
    idle_slurm.cut_power("n1")
    idle_slurm.clear()
    assert idle_slurm.command("squeue", "--noheader") == ""
    assert [idle_slurm.node_state(node) for node in idle_slurm.nodes] == ["idle"] * 3


@pytest.mark.slow
def test_two_testbeds_run_side_by_side(idle_slurm, short_folder):
    with Testbed(short_folder, nodes=1) as other:
        job = other.submit("sleep", "600")
        other.wait_for(job, "RUNNING")
        assert idle_slurm.command("squeue", "--noheader") == ""
        assert len(processes_of(other.layout, "daemon")) >= 3
    assert processes_of(other.layout) == []
    assert {idle_slurm.node_state(node) for node in idle_slurm.nodes} == {"idle"}


PROGRAM = """
import sys, time
from tests.slurm.testbed import Testbed
with Testbed(sys.argv[1], nodes=1) as slurm:
    slurm.wait_for(slurm.submit("sleep", "600"), "RUNNING")
    print("ready", flush=True)
    time.sleep(600)
"""


def test_a_testbed_ends_with_its_process_even_if_that_is_killed(slurm, short_folder):
    layout = Layout(Path(short_folder).resolve())
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, short_folder], cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            wait_until(lambda: processes_of(layout, "job"))
        finally:
            process.kill()
    wait_until(lambda: not processes_of(layout))
    with Testbed(short_folder, nodes=1) as later:
        assert later.node_state("n1") == "idle"
    assert processes_of(slurm.layout, "daemon")  # the other one lives


@pytest.mark.usefixtures("slurm")
def test_a_start_ends_what_an_earlier_testbed_left(short_folder):
    earlier = Testbed(short_folder, nodes=1)
    earlier._take_lock()
    earlier.start()
    os.close(earlier._lock)  # as if it had died, and its guard too
    daemons = processes_of(earlier.layout)
    with Testbed(short_folder, nodes=2) as later:
        assert not [p for p in daemons if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        assert later.command("sinfo", "--noheader", "--format=%D", "--partition=main") == "2"
    for process in earlier._started:
        process.wait()


def test_a_folder_has_one_testbed(slurm):
    second = Testbed(slurm.layout.folder, patience_s=0.1)
    with pytest.raises(TestbedError, match="a testbed runs in"), second:
        pass
    assert slurm.node_state("n1") == "idle"


def test_a_folder_with_other_files_is_refused(short_folder):
    (Path(short_folder) / "thesis.txt").write_text("mine")
    with pytest.raises(TestbedError, match="files that are no testbed's"), Testbed(short_folder):
        pass
    assert [path.name for path in Path(short_folder).iterdir()] == ["thesis.txt"]


def test_a_folder_too_long_for_sockets_is_refused(tmp_path):
    with pytest.raises(TestbedError, match="shorter name"), Testbed(tmp_path / ("x" * 80)):
        pass


@pytest.mark.usefixtures("slurm")
def test_it_is_started_and_stopped_by_command(short_folder):
    layout = Layout(Path(short_folder).resolve())
    command = [sys.executable, "-m", "tests.slurm.testbed"]
    done = subprocess.run(
        [*command, "start", short_folder], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout == f"export SLURM_CONF={layout.conf}\n"
    assert processes_of(layout, "daemon")
    subprocess.run([*command, "stop", short_folder], cwd=ROOT, check=True)
    assert processes_of(layout) == []


def test_where_slurm_is_missing_tests_are_skipped_or_fail_as_told(monkeypatch):
    monkeypatch.setattr("tests.slurm.testbed.PATH", "")
    monkeypatch.delenv(NEEDED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install slurmctld"):
        skip_without_slurm()
    monkeypatch.setenv(NEEDED, "1")
    with pytest.raises(pytest.fail.Exception, match="apt-get install slurmctld"):
        skip_without_slurm()


def test_it_listens_on_loopback_only_where_slurm_lets_it(tmp_path):
    given = {"host": "here", "user": "me", "nodes": ["n1"], "cpus": 2, "memory_mib": 100}
    ports = free_ports(2)
    assert len(set(ports)) == 2
    text = slurm_conf(Layout(tmp_path), ports=ports, loopback=True, **given)
    assert "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny" in text
    assert f"Port={ports[1]} CPUs=2 RealMemory=100 State=UNKNOWN Gres=gpu:1" in text
    assert "InAddrAny" not in slurm_conf(Layout(tmp_path), ports=ports, loopback=False, **given)


@pytest.mark.parametrize(
    ("version", "plugin"),
    [
        ("slurm-wlm 22.05.8", "cgroup/v1"),
        ("slurm 23.11.4", "disabled"),
        ("slurm 24.05.2", "disabled"),
    ],
)
def test_slurmd_does_not_look_for_cgroups(version, plugin):
    assert cgroup_conf(version) == f"CgroupPlugin={plugin}\n"
