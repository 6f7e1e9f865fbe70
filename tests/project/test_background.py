"""Runs in the background: when they have ended, and who waits for that."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import latticework as lw
from latticework.errors import StageError
from tests.project import steps
from tests.project.brain import until
from tests.project.running import numbered


def started(folder, client):
    """A project that runs in the background until it is stopped."""
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(steps.add)
    return project, project.start(client, wait=True, progress="none")


def test_a_run_that_was_stopped_does_not_run_any_more(folder, local_client):
    project, run = started(folder, local_client)
    assert run.running
    run.stop()
    assert not run.running
    assert not project.running
    run.stop()  # once more does no harm
    run.wait(0)
    project.add(steps.fail_at, bad=[3])
    fails = project.start(local_client, progress="none")
    fails.wait()
    assert "1 failed" in repr(fails)  # as a summary it is false, and yet one
    project.remove("fail_at")
    assert project.run(local_client, progress="none")


def test_stopping_without_waiting_returns_at_once_and_it_ends_all_the_same(folder, local_client):
    _, run = started(folder, local_client)
    run.stop(wait=False)
    run.wait(60)
    assert not run.running


def test_a_hook_may_stop_the_run_that_calls_it(folder, local_client):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(steps.add)
    runs, begun, told = [], threading.Event(), []

    def stop(event):
        begun.wait(30)
        since = time.monotonic()
        runs[0].stop()
        told.append((event.kind, time.monotonic() - since))

    project.on("stage complete", stop)
    runs.append(project.start(local_client, wait=True, progress="none"))
    begun.set()
    assert runs[0].wait(60)
    assert told
    assert max(seconds for _, seconds in told) < 1


SCRIPT = """\
import sys
import latticework as lw


def scaled(tile, *, by=1):
    return tile * by


project = lw.open_project(sys.argv[1])
project.add(scaled)
project.start(lw.local(1), wait=True).wait()
"""


def test_code_of_a_script_is_changed_and_explained_from_another_process(folder):
    lattice, array = numbered((2, 2))
    project = lw.create(folder / "p.lw", lattice)
    (folder / "script.py").write_text(SCRIPT)
    script = subprocess.Popen([sys.executable, str(folder / "script.py"), str(project.path)])
    try:
        until(lambda: project.counts.get("scaled") == {"complete": 4})
        assert project.explain_changes("scaled", by=3)["scaled"].again == 4
        with pytest.raises(StageError, match=r"scaled takes \(tile, by=1\)"):
            project.change("scaled", bye=3)
        project.change("scaled", by=3)
        until(lambda: project.counts["scaled"] == {"complete": 4} and project.attempts_made() == 8)
        np.testing.assert_array_equal(project["scaled"].data.to_numpy(), 3 * array)
        project.stop()
        assert script.wait(30) == 0
    finally:
        script.kill()
        script.wait()
    project = lw.open_project(project.path)
    assert project.explain_changes("scaled", by=4)["scaled"].again == 4
    with pytest.raises(StageError, match="defined in a notebook or script"):
        project.change("scaled", by=4)
