"""The acceptance table of MouseLight's pipeline, row by row: control, and what may go wrong.

See `test_mouselight_table` for what is not covered.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from distributed import Client

import latticework as lw
from latticework.lattice import State
from latticework.project.clusters import local_cluster
from latticework.project.coordinator import Coordinator
from tests.project.brain import (
    Gate,
    Microscope,
    brain,
    fail_where_marked,
    in_state,
    last_attempt,
    noted,
    pair,
    passed,
    plus,
    ran_since,
    recorded,
    running,
    states,
    until,
)
from tests.project.running import completions, run_here
from tests.project.steps import statistics

ROOT = Path(__file__).resolve().parents[2]
WORKER = (sys.executable, "-m", "distributed.cli.dask_worker")
RUN = "import sys, latticework as lw; lw.open_project(sys.argv[1]).run(progress='none')"


@pytest.fixture
def one_slot():
    """A client of a cluster with a single worker of one thread."""
    with (
        local_cluster(1, dashboard=False) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(1)
        yield client


# ------------------------------------------------------------------ running again


def test_five_failures_that_are_resubmitted_at_once_become_27_successes(folder):
    """Resubmit: all; a row; what was done stays."""
    project = recorded(folder)
    marks = folder / "marks"
    marks.mkdir()
    bad = [3, 7, 8, 20, 26]
    for tile in bad:
        (marks / str(tile)).touch()
    project.add(fail_where_marked, marks=str(marks), retries=0)
    project.add(plus, after="fail_where_marked")
    assert not run_here(project)
    assert project.counts == {
        "fail_where_marked": {"complete": 22, "failed": 5},
        "plus": {"blocked": 5, "complete": 22},
    }
    for tile in bad:
        (marks / str(tile)).unlink()
    last = last_attempt(project)
    assert project.retry("fail_where_marked", 20) == 1
    assert not run_here(project)
    assert ran_since(project, last) == {"fail_where_marked": [20], "plus": [20]}
    last = last_attempt(project)
    assert project.retry() == 4
    assert run_here(project)
    assert project.counts == {"fail_where_marked": {"complete": 27}, "plus": {"complete": 27}}
    left = [3, 7, 8, 26]
    assert ran_since(project, last) == {"fail_where_marked": left, "plus": left}
    assert len(project.attempts("fail_where_marked", 20)) == 2  # the history is kept


def neighbourhood(project):
    """Stages of which some read a tile as a neighbour."""
    project.add(plus)
    project.add(pair, after="plus", reads=lw.neighbours("+z", missing="absent"))
    project.add(passed, after="plus")
    project.add(statistics, after="passed")
    project.add(pair, name="around", after="passed", reads=lw.neighbours("faces", missing="run"))


def test_redoing_a_root_tile_reruns_what_read_it_and_nothing_else(folder, local_client):
    """Invalidation: a tile that was imaged again."""
    scope = Microscope(folder / "raw", complete=range(27))
    project = lw.create_watched(folder / "brain.lw", scope.folder, settle_s=0)
    neighbourhood(project)
    with running(
        project.watch(
            scope.folder,
            local_client,
            settle_s=0,
            recheck_s=0.2,
            interval_s=0.1,
            background=True,
            progress="none",
        )
    ):
        until(lambda: sum(map(len, ran_since(project, 0).values())) == 27 * 4 + 18)
        before, last = project["around"].data, last_attempt(project)
        scope.image(13, value=9)
        scope.say()
        until(lambda: len(ran_since(project, last).get("around", ())) == 7)
    assert ran_since(project, last) == {
        "plus": [13],
        "pair": [4, 13],
        "passed": [13],
        "statistics": [13],
        "around": [4, 10, 12, 13, 14, 16, 22],
    }
    assert project["statistics"].data["mean"][13] == 10
    after = project["around"].data
    same = [tile for tile in range(27) if tile not in (4, 10, 12, 13, 14, 16, 22)]
    pd.testing.assert_frame_equal(before.iloc[same], after.iloc[same])
    assert set(project.counts["around"]) == {"complete"}


def test_running_a_unit_of_a_root_stage_again_reruns_its_descendants_only(folder):
    """Invalidation: a unit that a user runs again."""
    project = recorded(folder)
    neighbourhood(project)
    assert run_here(project)
    last = last_attempt(project)
    assert project.retry("plus", 0, failed=False) == 1
    assert project.counts["pair"] == {"absent": 9, "complete": 17, "stale": 1}
    assert run_here(project)
    assert ran_since(project, last) == {
        "plus": [0],
        "pair": [0],
        "passed": [0],
        "statistics": [0],
        "around": [0, 1, 3, 9],
    }


# ------------------------------------------------------------------ pausing


def test_a_paused_stage_finishes_what_runs_and_queues_the_rest(folder, local_client):
    """Stage pause."""
    project = recorded(folder)
    gate = Gate(folder)
    project.add(plus)
    project.add(noted, after="plus", gate=str(gate))
    with running(project.start(local_client), gate) as run:
        until(lambda: len(gate.begun()) == 2)
        project.pause("noted")
        begun = gate.begun()
        for tile in begun:
            gate.let(tile)
        until(lambda: project.counts["plus"] == {"complete": 27})
        until(lambda: project.counts["noted"] == {"complete": 2, "waiting": 25})
        time.sleep(0.3)  # enough for one to begin, if it could
        assert gate.begun() == begun
        assert "paused" in project.why("noted", in_state(project, "noted", State.WAITING)[0])
        assert run.running
        gate.open()
        project.resume("noted")
        assert run.wait(60)
    assert sorted(gate.begun()) == list(range(27))


def test_what_runs_is_finished_though_its_worker_s_word_of_it_is_late(
    folder, local_client, monkeypatch
):
    """Stage pause, in the moment in which a unit begins."""
    monkeypatch.setattr(Coordinator, "_on_event", lambda _self, _event: None)
    project = recorded(folder)
    gate = Gate(folder)
    project.add(noted, gate=str(gate))
    with running(project.start(local_client), gate) as run:
        gate.let(0)  # the first tile tells what the stage makes, and two go on side by side
        until(lambda: len(gate.begun()) == 3)
        project.pause("noted")
        for tile in gate.begun():
            gate.let(tile)
        until(lambda: project.counts["noted"] == {"complete": 3, "waiting": 24})
        gate.open()
        project.resume("noted")
        assert run.wait(60)
    assert sorted(gate.begun()) == list(range(27))


def test_a_project_that_is_resumed_has_its_stages_as_they_were(folder, local_client):
    """Project pause: restores the stages' own states; other projects are unaffected."""
    project = recorded(folder)
    gate, other_folder = Gate(folder), folder / "other"
    other_folder.mkdir()
    other = recorded(other_folder)
    for one in (project, other):
        one.add(noted, gate=str(gate))
        one.add(plus)
        one.add(passed, after="plus")
    project.pause("passed")
    with (
        running(project.start(local_client, wait=True), gate) as run,
        running(other.start(local_client), gate) as beside,
    ):
        until(lambda: len(gate.begun()) == 2)
        project.pause()
        gate.open()
        assert beside.wait(60)
        until(lambda: not in_state(project, "noted", State.RUNNING))
        done = project.counts
        assert "waiting" in done["plus"] or "waiting" in done["noted"]
        time.sleep(0.3)
        assert project.counts == done
        project.resume()
        until(
            lambda: (
                project.counts
                == {
                    "noted": {"complete": 27},
                    "plus": {"complete": 27},
                    "passed": {"waiting": 27},
                }
            )
        )
        assert project.settings.paused_stages == ("passed",)
        project.resume("passed")
        until(lambda: project.counts["passed"] == {"complete": 27})
        assert run.running


# ------------------------------------------------------------------ order and capacity


def test_with_one_slot_tiles_start_in_the_order_of_their_paths(folder, one_slot):
    """Order, whatever the order of the list."""
    scope = Microscope(folder / "raw", complete=range(27))
    listed = json.loads(scope.text())
    np.random.default_rng(1).shuffle(listed["tiles"])
    scope.list.write_text(json.dumps(listed))
    project = lw.create(folder / "brain.lw", lw.open_tiles(scope.folder))
    gate = Gate(folder)
    gate.open()
    project.add(noted, gate=str(gate))
    assert project.run(one_slot, progress="none")
    names = [project.lattice.tile(tile).name for tile in gate.begun()]
    assert len(names) == 27
    assert names == sorted(names)
    table = project.attempts().sort_values("started")
    assert table.tile.tolist() == names
    assert gate.most_at_once() == 1


def test_no_more_units_run_at_once_than_there_are_slots(folder, local_client):
    """Capacity, without work units."""
    project = recorded(folder)
    gate = Gate(folder)
    project.add(noted, gate=str(gate))
    with running(project.start(local_client), gate) as run:
        until(lambda: len(gate.begun()) == 2)
        time.sleep(0.3)
        assert len(gate.begun()) == 2
        gate.open()
        assert run.wait(60)
    assert gate.most_at_once() == 2


# ------------------------------------------------------------------ what may go wrong


@pytest.mark.slow
def test_a_tile_whose_worker_is_killed_runs_once_more_and_is_there_once(folder):
    """Worker loss."""
    project = recorded(folder)
    gate = Gate(folder)
    project.add(noted, gate=str(gate), retries=0)
    project.add(pair, after="noted", reads=lw.neighbours("+z", missing="absent"))
    with (
        local_cluster(2, dashboard=False) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(2)
        with running(project.start(client), gate) as run:
            until(lambda: len(gate.begun()) == 2)
            lost = gate.begun()[0]
            os.kill(gate.processes(lost)[0], signal.SIGKILL)
            until(lambda: gate.begun().count(lost) == 2)
            gate.open()
            assert run.wait(60)
    begun = gate.begun()
    assert {tile: begun.count(tile) for tile in range(27)} == {
        tile: 2 if tile == lost else 1 for tile in range(27)
    }
    assert set(completions(project).values()) == {1}
    assert project.attempts("noted", lost).outcome.tolist()[-1] == "complete"
    assert list((project.path / "staging").iterdir()) == []
    lattice = brain()
    for tile in range(27):
        box = lw.Box.whole(lattice.tile(tile).shape)
        np.testing.assert_array_equal(project["noted"].tile(tile), lattice.source.read(tile, box))


def started_program(project):
    """A process of its own that runs a project."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(project.path)], cwd=ROOT, start_new_session=True
    )


def test_what_was_sent_near_a_worker_that_has_left_goes_to_the_next(folder):
    """Dask keeps it for the worker that has gone, though others may take it."""
    project = recorded(folder)
    gate = Gate(folder)
    project.add(plus)
    project.add(noted, after="plus", gate=str(gate))
    with (
        local_cluster(1, dashboard=False) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(1)
        with running(project.start(client), gate) as run:
            project.pause("noted")
            until(lambda: project.counts["plus"] == {"complete": 27})
            client.retire_workers(list(client.nthreads()))
            project.resume("noted")  # at once: that it has left is not known yet
            until(lambda: project.counts["noted"].get("queued"))
            gate.open()
            joining = [*WORKER, cluster.scheduler_address, "--nthreads=1", "--no-dashboard"]
            worker = subprocess.Popen(joining, cwd=ROOT)
            try:
                assert run.wait(60)
            finally:
                run.stop()
                worker.terminate()
                worker.wait()
    assert project.counts == {"plus": {"complete": 27}, "noted": {"complete": 27}}
    assert set(completions(project).values()) == {1}


def killed(process):
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    psutil.wait_procs(children, timeout=20)


def test_a_run_that_is_killed_goes_on_and_repeats_nothing_that_was_finished(folder, local_client):
    """Coordinator restart; stuck tiles: none is left queued without work."""
    project = recorded(folder)
    gate = Gate(folder)
    project.add(plus)
    project.add(noted, after="plus", gate=str(gate))
    project.add(passed, after="noted")
    run_here(project, stages=["plus"])
    for tile in range(10):
        gate.let(tile)
    process = started_program(project)
    try:
        until(lambda: len([tile for tile in gate.begun() if tile >= 10]) == 2)
        until(lambda: any(stage == "passed" for stage, _ in completions(project)))
        queued = next(unit for unit in range(27) if unit not in gate.begun())
        # what another process asks for is durable: the parent of a queued unit is to run again
        assert project.retry("plus", queued, failed=False) == 1
    finally:
        killed(process)
    project = lw.open_project(project.path)
    assert not any({"queued", "running"} & set(found) for found in project.counts.values())
    assert states(project, "plus")[queued] != State.COMPLETE
    finished = {(stage, unit) for stage, unit in completions(project)}
    last = last_attempt(project)
    gate.open()
    assert project.run(local_client, progress="none")
    assert project.counts == {name: {"complete": 27} for name in ("plus", "noted", "passed")}
    again = {(stage, unit) for stage, units in ran_since(project, last).items() for unit in units}
    assert again & finished == {("plus", queued)}
    assert {n for unit, n in completions(project).items() if unit != ("plus", queued)} == {1}


def test_a_queued_tile_whose_input_is_imaged_again_is_not_stuck(folder, local_client):
    """Stuck tiles: regress a queued tile, restart."""
    project = recorded(folder)
    gate = Gate(folder)
    project.add(plus)
    project.add(noted, after="plus", gate=str(gate))
    run_here(project, stages=["plus"])
    gate.let(0)
    with running(project.start(local_client), gate) as run:
        until(lambda: len(in_state(project, "noted", State.QUEUED)) >= 2)
        queued = in_state(project, "noted", State.QUEUED)
        for tile in queued:
            assert project.retry("plus", tile, failed=False) == 1
        run.stop(wait=False)
        gate.open()
        run.wait(60)
    project = lw.open_project(project.path)
    assert not {"queued", "running"} & {*project.counts["plus"], *project.counts["noted"]}
    assert project.run(local_client, progress="none")
    assert project.counts == {name: {"complete": 27} for name in ("plus", "noted")}


def test_a_running_python_stage_that_is_cancelled_ends_and_its_worker_goes_on(folder, local_client):
    """Cancel: of a Python stage."""
    project = recorded(folder)
    gate = Gate(folder)
    project.add(noted, gate=str(gate))
    project.add(plus, after="noted")
    with running(project.start(local_client), gate) as run:
        until(lambda: len(gate.begun()) == 2)
        tile, other = gate.begun()
        until(lambda: states(project, "noted")[tile] == State.RUNNING)
        assert project.cancel("noted", tile) == 1
        until(lambda: states(project, "noted")[tile] == State.CANCELLED)
        until(lambda: len(gate.begun()) == 3)  # its slot is free
        until(lambda: project.counts["noted"].get("running") == 2)
        waiting = in_state(project, "noted", State.WAITING)[-1]
        assert project.cancel("noted", waiting) == 1
        gate.open()
        run.wait(60)
    assert project.counts == {
        "noted": {"cancelled": 2, "complete": 25},
        "plus": {"blocked": 2, "complete": 25},
    }
    assert project.attempts("noted", tile).outcome.tolist() == ["cancelled"]
    assert len(project.attempts("noted", waiting)) == 0
    assert other in gate.begun()
    assert project.retry(states="cancelled") == 2
    assert run_here(project)
