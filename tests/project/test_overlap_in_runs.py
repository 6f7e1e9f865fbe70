"""Workers that die while a unit computes and the output of the last one is being written."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

import latticework as lw
from latticework.project.clusters import local_cluster
from latticework.stages import running_units
from latticework.stages.execute import Pixels
from tests.project.running import completions, numbered

WRITE_S = 0.05


@pytest.fixture
def one_worker():
    """A cluster that may be hurt."""
    with (
        local_cluster(1, dashboard=False) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(1)
        yield client


def on_a_slow_server(stuck=""):
    """In this process, writing takes that long from now on; what is being written is known."""
    if hasattr(Pixels, "on_their_way"):
        return
    Pixels.on_their_way, stage = [], Pixels.stage

    def slowly(pixels):
        Pixels.on_their_way.append(pixels.index[0])
        time.sleep(WRITE_S)
        if stuck and len(Pixels.on_their_way) == 1 and not Path(stuck).exists() and beside():
            Path(stuck).write_text(str(pixels.index[0]))
            time.sleep(60)  # no Python is run meanwhile, so no exception is raised
        written = stage(pixels)
        Pixels.on_their_way.remove(pixels.index[0])
        return written

    Pixels.stage = slowly


def beside():
    return threading.current_thread().name.startswith("latticework-writes")


def hang_once(tile, *, mark):
    running_units.GRACE_S = 0.9  # in this worker
    on_a_slow_server(mark)
    return tile + 1


def die_once(tile, *, mark):
    """End the process while the output of the unit before is being written."""
    on_a_slow_server()
    mark = Path(mark)
    if Pixels.on_their_way and not mark.exists():
        mark.write_text(f"{int(tile.tile_y)} {Pixels.on_their_way[0]}")
        os.kill(os.getpid(), signal.SIGKILL)
    return tile + 1


def test_a_unit_whose_output_was_being_written_runs_again_and_is_not_to_blame(folder, one_worker):
    lattice, array = numbered((30, 1), (4, 8))
    project = lw.create(folder / "p.lw", lattice)
    stage = project.add(die_once, mark=str(folder / "mark"), retries=0)
    assert project.run(one_worker, progress="none"), project.attempts().to_string()
    np.testing.assert_array_equal(project["die_once"].data.to_numpy(), array + 1)
    assert stage.counts == {"complete": 30}
    assert set(completions(project).values()) == {1}
    outcomes = project.attempts().groupby("tile_y").outcome.apply(list).to_dict()
    computing, written = map(int, (folder / "mark").read_text().split())
    assert outcomes.pop(computing) == ["worker lost", "complete"]
    assert outcomes.pop(written) == ["worker lost", "complete"]
    assert set(map(tuple, outcomes.values())) == {("complete",)}
    assert not project.pipeline["die_once"].units.tries.any()
    assert list((project.path / "staging").iterdir()) == []


def test_a_unit_whose_output_is_never_written_ends_its_worker_and_no_other(folder, one_worker):
    lattice, array = numbered((30, 1), (4, 8))
    project = lw.create(folder / "p.lw", lattice)
    project.add(hang_once, mark=str(folder / "mark"), timeout=1.5, retries=1)
    assert project.run(one_worker, progress="none"), project.attempts().to_string()
    np.testing.assert_array_equal(project["hang_once"].data.to_numpy(), array + 1)
    outcomes = project.attempts().groupby("tile_y").outcome.apply(list).to_dict()
    stuck = int((folder / "mark").read_text())
    assert outcomes.pop(stuck) == ["timeout", "complete"]
    assert set(map(tuple, outcomes.values())) == {("complete",)}
