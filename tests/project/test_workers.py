"""Runs on real workers: workers that die, clusters of every kind, Ctrl-C, two coordinators."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from distributed import Client

import latticework as lw
from latticework.errors import ProjectError, ProjectLockedError, StageError
from latticework.project.clusters import local_cluster
from tests.project import steps
from tests.project.running import completions, numbered

ROOT = Path(__file__).resolve().parents[2]


def until(true, *, seconds=60, what="that"):
    """Wait for something that another process does."""
    limit = time.monotonic() + seconds
    while not (result := true()):
        assert time.monotonic() < limit, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)
    return result


class Watcher:
    """A `Progress` that shows nothing, and sees everything."""

    def start(self, stages):
        pass

    def update(self, name, counts):
        pass

    def finish(self, summary):
        pass


@pytest.fixture(scope="module")
def own_cluster():
    """A cluster whose workers may be killed."""
    with (
        local_cluster(2, dashboard=False) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(2)
        yield client


# ------------------------------------------------------------------ workers that die


@pytest.mark.parametrize(
    "function", [steps.kill_worker, pytest.param(steps.kill_worker_late, marks=pytest.mark.slow)]
)
def test_a_tile_that_kills_its_worker_fails_alone(folder, own_cluster, function):
    lattice, array = numbered()
    project = lw.create(folder / "p.lw", lattice)
    stage = project.add(function, name="deadly", bad=[3, 11])
    project.add(steps.add, after="deadly", overlap=1, name="child")
    project.add(steps.add)
    summary = project.run(own_cluster, progress="none")
    assert not summary
    assert stage.counts == {"complete": 18, "failed": 2}
    assert project.counts["add"] == {"complete": 20}
    assert set(project.counts["child"]) == {"complete", "blocked"}
    why = project.why("deadly", 3)
    assert why.startswith("failed"), why
    assert "worker" in why
    attempts = project.attempts("deadly")
    lost = attempts[attempts.outcome == "worker lost"]
    assert len(attempts[(attempts.tile_y == 0) & (attempts.tile_x == 3)]) <= 5
    assert set(zip(lost.tile_y, lost.tile_x, strict=True)) >= {(0, 3), (2, 1)}
    last = attempts[attempts.outcome != "complete"].groupby("tile").last()
    words = last.stdout[["y0_x3", "y2_x1"]]  # what one of them took along was in doubt once
    assert [Path(log).read_text() for log in words] == ["these are its last words\n"] * 2
    assert set(completions(project).values()) == {1}
    np.testing.assert_array_equal(project["add"].data.to_numpy(), array + 1)
    began = project.attempts(outcome="worker lost").host.dropna()
    nodes = project.nodes()
    assert nodes["worker lost"].tolist() == nodes["failed"].tolist() == [len(began)]
    assert len(began) >= 2
    assert nodes["set_aside"].isna().all()  # it is the only one
    assert "worker lost" in set(project.events().event)


def test_a_lost_worker_costs_only_what_it_had(folder, own_cluster):
    lattice, array = numbered((10, 10))
    project = lw.create(folder / "p.lw", lattice)
    marks = folder / "marks"
    marks.mkdir()
    stage = project.add(steps.slow, seconds=0.02, mark=str(marks), retries=0)
    project.add(steps.add, after=stage, overlap=1, boundary="reflect")

    killed = []

    class KillOne(Watcher):
        """Kills the worker of the 20th tile when it has begun."""

        def update(self, _name, _counts):
            seen = sorted(marks.iterdir(), key=lambda path: path.stat().st_mtime)
            if len(seen) >= 20 and not killed:
                killed.append(int(seen[-1].name.split("-")[1]))
                os.kill(killed[0], signal.SIGKILL)

    assert project.run(own_cluster, progress=KillOne()), project.counts
    assert killed
    assert set(completions(project).values()) == {1}
    assert len(completions(project)) == 200
    assert "worker lost" in set(project.attempts().outcome)
    np.testing.assert_array_equal(project["add"].data.to_numpy(), array + 1)
    assert list((project.path / "staging").iterdir()) == []


def test_a_run_waits_for_workers_that_are_on_their_way(folder):
    from distributed import LocalCluster

    lattice, _ = numbered()
    project = lw.create(folder / "p.lw", lattice)
    project.add(steps.add)
    options = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        assert not client.nthreads()
        cluster.scale(1)
        assert project.run(client, progress="none")


def test_a_cluster_that_goes_away_is_an_error_and_loses_nothing(folder):
    lattice, array = numbered()
    project = lw.create(folder / "p.lw", lattice)
    project.add(steps.slow, seconds=0.05)
    with (
        local_cluster(1, dashboard=False) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(1)

        class CloseIt(Watcher):
            def update(self, _name, counts):
                if counts.get(lw.State.COMPLETE) and cluster.status.name == "running":
                    cluster.close()

        with pytest.raises(ProjectError, match="scheduler is gone"):
            project.run(client, progress=CloseIt())
    assert project.counts["slow"]["complete"] > 0
    assert not project.is_run()
    with local_cluster(1, dashboard=False) as cluster:
        assert project.run(cluster, progress="none")
    assert set(completions(project).values()) == {1}
    np.testing.assert_array_equal(project["slow"].data.to_numpy(), array)


# ------------------------------------------------------------------ where a run may go


def test_a_run_takes_a_client_a_cluster_an_address_or_the_current_client(folder, own_cluster):
    lattice, array = numbered()
    for k, where in enumerate([own_cluster, own_cluster.cluster, own_cluster.scheduler.address]):
        project = lw.create(folder / f"{k}.lw", lattice)
        stage = project.add(steps.add, amount=k)
        assert project.run(where, progress="none")
        np.testing.assert_array_equal(stage.data.to_numpy(), array + k)
        assert own_cluster.status == "running"
    project = lw.create(folder / "current.lw", lattice)
    project.add(steps.add)
    with own_cluster.as_current():
        assert project.run(progress="none")
    assert set(project.attempts().worker) <= set(own_cluster.nthreads())
    project.add(steps.add, name="more")
    with pytest.raises(ProjectError, match="a Dask client, a cluster or a scheduler's address"):
        project.run(3)


def test_a_distributed_local_cluster_will_do(folder, local_client):
    lattice, array = numbered()
    project = lw.create(folder / "p.lw", lattice)
    stage = project.add(lambda tile: tile + np.uint16(1), name="notebook", overlap=1)
    project.add(steps.grand_total, after=stage, reads=lw.all_tiles())
    assert project.run(local_client.cluster, progress="none")
    np.testing.assert_array_equal(stage.data.to_numpy(), array + 1)


def load_module(file, text):
    file.write_text(text)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def only_here(folder):
    """A module that only this process can import, and one that it imports."""
    load_module(folder / "helper_here.py", "def same(tile):\n    return tile\n")
    text = "import helper_here\ndef step(tile):\n    return tile\ndef helped(tile):\n"
    yield load_module(folder / "only_here.py", f"{text}    return helper_here.same(tile)\n")
    for name in ("only_here", "helper_here"):
        del sys.modules[name]


def test_one_s_own_module_travels_to_workers_that_cannot_import_it(folder, own_cluster, only_here):
    lattice, array = numbered()
    project = lw.create(folder / "p.lw", lattice)
    stage = project.add(only_here.step)
    assert project.run(own_cluster, progress="none")
    np.testing.assert_array_equal(stage.data.to_numpy(), array)


def test_code_that_workers_cannot_import_is_an_error_before_anything_runs(
    folder, own_cluster, only_here
):
    lattice, _ = numbered()
    project = lw.create(folder / "p.lw", lattice)
    project.add(only_here.helped)
    with pytest.raises(
        StageError, match=r"'helped': the workers cannot import its code .*helper_here"
    ):
        project.run(own_cluster, progress="none")
    assert project.counts == {"helped": {"waiting": 20}}
    assert not project.is_run()


def test_what_cannot_travel_to_workers_is_an_error_of_the_stage(folder, own_cluster):
    import threading

    lattice, _ = numbered()
    project = lw.create(folder / "p.lw", lattice)
    lock = threading.Lock()
    with pytest.raises(StageError, match="lock cannot travel to the workers"):
        project.add(steps.add, amount=lock)
    project.add(lambda tile: (lock, tile)[1], name="locked")
    with pytest.raises(StageError, match="'locked' cannot travel to the workers"):
        project.run(own_cluster, progress="none")


# ------------------------------------------------------------------ other processes

SCRIPT = """
import sys, time
import numpy as np
import latticework as lw

def patient(tile, *, seconds):
    time.sleep(seconds)
    return tile + np.uint16(1)

array = np.arange(9600).reshape(80, 120).astype("u2")
tiles = lw.Lattice.from_array(array, block={"y": 8, "x": 12})
project = lw.create(sys.argv[1], tiles, exist_ok=True)
slow = project.add(patient, seconds=float(sys.argv[2]))
project.add(lambda tile: tile * np.uint16(2), name="twice", after=slow, overlap=1)
print("begins", flush=True)
summary = project.run(progress="lines")
print(repr(summary), flush=True)
print("interrupted" if summary.interrupted else "whole", project.counts, flush=True)
"""


@pytest.fixture
def script(tmp_path):
    """Start a user's script in another process."""
    file = tmp_path / "pipeline.py"
    file.write_text(SCRIPT)
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, file, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def complete(path):
    if not (path / "project.json").exists():
        return 0
    return lw.open_project(path).query("select count(*) from attempts where outcome = 1")[0][0]


def complete_in_status(path):
    import xarray as xr

    if not (path / "status.zarr" / "zarr.json").exists():
        return 0
    with xr.open_zarr(path / "status.zarr") as status:
        return int((status.state == 4).sum())


def test_a_project_that_runs_can_be_watched_but_not_run(tmp_path, script):
    path = tmp_path / "p.lw"
    process = script(path, 0.1)
    until(lambda: complete(path) >= 5, what="the first tiles")
    project = lw.open_project(path)
    assert project.is_run()
    with pytest.raises(ProjectLockedError, match=f"process {process.pid} on"):
        project.run(progress="none")
    assert project.retry() == 0  # it asks the process that runs it
    first = project.counts["patient"]["complete"]
    until(
        lambda: project.counts["patient"]["complete"] > first, what="progress as seen from outside"
    )
    assert project.status.state.sel(stage="patient").isin([1, 4]).all()
    assert len(project.attempts("patient")) >= first
    assert project.why("patient", 0).startswith("complete")
    assert "it will be sent when there is room" in project.why("patient", 99)
    assert (project["patient"].tile(0) == np.arange(9600).reshape(80, 120)[:8, :12] + 1).all()
    until(lambda: complete_in_status(path) > 0, what="the status array following")
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert not project.is_run()
    assert "run that again" in project.why("patient", 99)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_run_with_a_summary_and_the_next_one_goes_on(tmp_path, script, number):
    path = tmp_path / "p.lw"
    process = script(path, 0.05)
    until(lambda: complete(path) >= 10, what="the first tiles")
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    # who asked for the end of the program gets it, after the orderly end of the run
    assert process.returncode == (0 if number == signal.SIGINT else -signal.SIGTERM), out
    assert "interrupted" in out
    assert "Traceback" not in out, out
    _, orphans = psutil.wait_procs(family, timeout=10)
    assert not orphans
    project = lw.open_project(path)
    done = project.counts["patient"]["complete"]
    assert 10 <= done < 100
    assert set(project.counts["patient"]) == {"complete", "waiting"}
    assert project.query("select count(*) from batches") == [(0,)]
    assert list((path / "staging").rglob("*.*")) == []
    if number == signal.SIGTERM:
        return
    out, _ = script(path, 0.05).communicate(timeout=120)
    assert "whole" in out, out
    assert set(completions(project).values()) == {1}
    assert len(completions(project)) == 200
    expected = (np.arange(9600).reshape(80, 120).astype("u2") + 1) * 2
    np.testing.assert_array_equal(project["twice"].data.to_numpy(), expected)


def test_a_second_ctrl_c_does_not_wait(tmp_path, script):
    path = tmp_path / "p.lw"
    process = script(path, 30)
    until(
        lambda: (
            path.exists()
            and complete(path) == 0
            and lw.open_project(path).query("select * from batches")
        ),
        what="the first batch",
    )
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    time.sleep(0.5)  # a person's second press
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert time.monotonic() - begun < 15
    assert "interrupted" in out
    assert "waiting" in out


def test_the_same_script_again_attaches_and_runs_nothing(tmp_path, script):
    path = tmp_path / "p.lw"
    for _ in range(2):
        out, _ = script(path, 0).communicate(timeout=120)
        assert "whole" in out, out
    project = lw.open_project(path)
    assert len(project.attempts()) == 200
    assert project.counts == {"patient": {"complete": 100}, "twice": {"complete": 100}}
    facts = json.loads((path / "project.json").read_text())
    assert facts["latticework_project"] == 1
