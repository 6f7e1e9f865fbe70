"""kill -9 of the coordinating process, again and again: nothing is lost, nothing is done twice."""

import random

import psutil
import pytest

from tests.project import kills


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The same run, left alone."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run.lw"
    log = folder.with_suffix(".log")
    with log.open("w") as out:
        assert kills.start(folder, 0, out).wait(300) == 0, log.read_text()
    return folder


def survive(folder, undisturbed, *, times, seconds, seed):
    """Kill so often, then let it finish; every kill must have hit a run that was under way."""
    chance = random.Random(seed)
    log = folder.with_suffix(".log")
    hits, processes = 0, []
    with log.open("w") as out:
        while hits < times:
            # one in four at any moment from the start on, the others among the work
            anywhere = chance.random() < 0.25
            delay = chance.uniform(0, 4) if anywhere else chance.uniform(0, 0.4)
            alive, children = kills.kill_at(
                folder, seconds, out, delay=delay, after_progress=not anywhere
            )
            hits += alive
            processes += children
            assert alive, "it finished before it was killed often enough: make its tiles slower"
        assert kills.start(folder, seconds, out).wait(300) == 0, log.read_text()
    _, orphans = psutil.wait_procs(processes, timeout=20)
    assert not orphans, [p.cmdline() for p in orphans]
    kills.check(folder, undisturbed)


@pytest.mark.slow
def test_a_run_that_is_killed_five_times_ends_as_if_it_had_not(tmp_path, undisturbed):
    survive(tmp_path / "run.lw", undisturbed, times=5, seconds=0.01, seed=1)


@pytest.mark.slow
def test_a_run_that_is_killed_twenty_times_ends_as_if_it_had_not(tmp_path, undisturbed):
    survive(tmp_path / "run.lw", undisturbed, times=20, seconds=0.1, seed=2)
