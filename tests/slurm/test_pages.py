"""The pages of a run on real SLURM jobs, looked at and clicked in a real browser."""

import re

import numpy as np
import pytest

import latticework as lw
from latticework.lattice import State
from latticework.viz.dashboard.control_token import control_token
from tests.project.running import numbered
from tests.slurm.running import jobs, until
from tests.slurm.week import pool
from tests.viz import dashboard_steps as steps
from tests.viz.looking import looked_at
from tests.viz.test_map_page import colour, point_of, wait_for_colour

BAD = (5, 14)


@pytest.fixture
def project(tmp_path):
    """Tiles that take half a second each, of which two fail."""
    made = lw.create(tmp_path / "cortex.lw", numbered((6, 6))[0])
    made.add(steps.smooth, name="clean", seconds=0.5)
    made.add(steps.moody, name="spots", after="clean", bad=list(BAD), seconds=0.5)
    made.set_patience(after=None)
    return made


@pytest.mark.slow
def test_a_run_on_slurm_is_watched_paused_retried_and_resumed_by_clicks(
    browser, idle_slurm, project
):
    token = control_token(project.path)
    run = project.start(pool(), wait=True)
    try:
        root = re.sub(r"/lattice\?.*", "", run.dashboard_link)
        project_of = run.dashboard_link.split("?")[1].split("#")[0]
        until(lambda: project.counts["spots"].get("complete"), what="the first tile")
        with looked_at(browser, f"{root}/lattice?{project_of}") as seen:
            seen.wait_text("clean", "spots", "/ 36", "slurm")
            seen.page.go(f"{root}/lattice-control?{project_of}#token={token}")
            seen.ready()
            seen.button("Pause the project")
            seen.agree("Pause the project?")
            seen.wait_text("The project is paused")
            until(lambda: not still_out(project), what="an end of what ran")
            done = completed(project)
            assert 0 < done < 72
            until(lambda: not jobs(idle_slurm), what="the end of jobs without work")
            assert completed(project) == done
            seen.button("Resume the project")
            seen.agree("Resume the project?")
            seen.wait_text("The project goes on")
            until(lambda: project.counts["spots"] == {"complete": 34, "failed": 2})
            seen.button("Retry all failed")
            seen.agree("Retry 2 failed units?")
            seen.wait_text("2 units will run again")
            until(lambda: len(project.attempts("spots", BAD[0])) > 2, what="another attempt")
            until(lambda: project.counts["spots"] == {"complete": 34, "failed": 2})
            assert len(project.attempts("spots", BAD[0])) == 4  # it is retried once by itself
        with looked_at(browser, f"{root}/lattice-map?{project_of}&stage=spots") as seen:
            wait_for_colour(seen.page, 5.5, 0.5, colour(State.FAILED))
            wait_for_colour(seen.page, 1.2, 1.2, colour(State.COMPLETE))
            seen.page.click_at(*point_of(seen.page, 5.5, 0.5))
            seen.page.wait_for("location.pathname == '/lattice-tile'")
            seen.ready()
            seen.wait_text("ValueError: tile y0_x5 is out of focus", "attempt 2", "Traceback")
        assert run.running
    finally:
        run.stop()
        run.wait(60)
    until(lambda: not jobs(idle_slurm), what="the end of all jobs")
    assert set(np.unique(project.attempts("clean").outcome)) == {"complete"}
    assert project.counts["clean"] == {"complete": 36}


def still_out(project):
    """Whether anything is with a worker."""
    return any(n.get("running") or n.get("queued") for n in project.counts.values())


def completed(project):
    """Units of all stages that are complete or have failed."""
    return sum(n.get("complete", 0) + n.get("failed", 0) for n in project.counts.values())
