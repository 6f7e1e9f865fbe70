"""What tests that run projects on SLURM have in common."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

import latticework as lw

ROOT = Path(__file__).resolve().parents[2]


def jobs(slurm, state=""):
    """Ids of the jobs in the queue."""
    lines = slurm.command("squeue", "--noheader", "--format=%i %T").splitlines()
    return [job for job, now in map(str.split, lines) if not state or now == state]


def until(true, *, seconds=120, what="that"):
    """What a function returns, as soon as that is true."""
    limit = time.monotonic() + seconds
    while not (result := true()):
        assert time.monotonic() < limit, f"{what} did not happen within {seconds} s"
        time.sleep(0.1)
    return result


def complete(path):
    """Attempts of a project that completed, as its journal says."""
    if not (path / "project.json").exists():
        return 0
    return lw.open_project(path).query("select count(*) from attempts where outcome = 1")[0][0]


def schedulers(path):
    """Processes of schedulers that outlive the coordinators of a project."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd", "status"]):
        facts = process.info
        ours = "latticework.project.lasting_scheduler" in (facts["cmdline"] or ())
        if ours and facts["cwd"] == str(path) and facts["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def begin_week(folder, seconds, **options):
    """A coordinator of the week's project, in a process of its own."""
    command = [sys.executable, "-m", "tests.slurm.week", str(folder), str(seconds)]
    return subprocess.Popen(
        [*command, json.dumps(options)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def kill(process):
    """End a process and its children at once."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Looking:
    """A progress display that calls a function at every update."""

    def __init__(self, look):
        self.look = look

    def start(self, stages):
        pass

    def update(self, _name, counts):
        self.look(counts)

    def say(self, text):
        pass

    def finish(self, summary):
        pass
