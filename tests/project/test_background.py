"""Runs in the background: when they have ended, and who waits for that."""

import threading
import time

import latticework as lw
from tests.project import steps
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
