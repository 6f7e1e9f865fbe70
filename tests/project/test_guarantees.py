"""What docs/guarantees.md promises of duplicates, stalled workers, clocks and file systems."""

import os
import re
import signal
import sqlite3
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

import latticework as lw
from latticework.stages import meter
from tests.project import steps
from tests.project.running import HereClient, completions, numbered, run_here

ROOT = Path(__file__).resolve().parents[2]
DAY_S = 86_400.0


class RunsTwice(HereClient):
    """Every batch is run by two workers; what the second one makes differs, and comes late."""

    def __init__(self):
        super().__init__()
        self.late = []

    def submit(self, function, *arguments, **options):
        done = super().submit(function, *arguments, **options)
        self.late.append(lambda: function(*arguments))
        if len(self.late) > 1:
            self.late[-2]()  # its report was taken in before this batch was sent
        return done


class ReportsTwice(HereClient):
    """Dask says of every batch twice that it is done."""

    def submit(self, function, *arguments, **options):
        done = super().submit(function, *arguments, **options)
        once = done.add_done_callback
        done.add_done_callback = lambda callback: (once(callback), once(callback))
        return done


def published(project, stage):
    files = sorted((project.path / "stages" / stage).rglob("c.*"))
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def how_often(tile, *, log):
    """A result that tells how many have made one before."""
    with Path(log).open("ab") as file:
        file.write(b"x")
    return np.full_like(tile, Path(log).stat().st_size)


def test_two_workers_with_the_same_unit_publish_it_once(folder, tmp_path):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(how_often, params={"log": str(tmp_path / "log")})
    client = RunsTwice()
    assert run_here(project, client=client)
    before = published(project, "how_often"), project["how_often"].data.to_numpy()
    for late in client.late:
        late()  # after the end, too
    assert published(project, "how_often") == before[0]
    np.testing.assert_array_equal(project["how_often"].data.to_numpy(), before[1])
    assert set(completions(project).values()) == {1}
    assert lw.open_project(project.path).counts == {"how_often": {"complete": 20}}


def test_a_batch_that_is_reported_twice_counts_once(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(steps.statistics)
    assert run_here(project, client=ReportsTwice())
    assert set(completions(project).values()) == {1}


def slow_with_pid(tile, *, folder):
    """Says which process makes it, and takes a moment."""
    (Path(folder) / f"{os.getpid()}").touch()
    time.sleep(0.3)
    return tile + np.uint16(1)


@pytest.mark.slow
def test_a_worker_that_was_stopped_and_comes_back_does_no_harm(tmp_path):
    lattice, pixels = numbered()
    (tmp_path / "pids").mkdir()
    project = lw.create(tmp_path / "p.lw", lattice)
    project.add(slow_with_pid, params={"folder": str(tmp_path / "pids")})
    quick = {"distributed.scheduler.worker-ttl": "2s", "distributed.worker.profile.enabled": False}
    options = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with (
        dask.config.set(quick),
        LocalCluster(n_workers=2, **options) as cluster,
        Client(cluster) as client,
    ):
        run = threading.Thread(target=lambda: project.run(client, progress="none"))
        run.start()
        while not (pids := list((tmp_path / "pids").iterdir())):
            time.sleep(0.05)
        stopped = int(pids[0].name)
        os.kill(stopped, signal.SIGSTOP)
        time.sleep(6.0)  # by now it was given up, and its units run elsewhere
        os.kill(stopped, signal.SIGCONT)
        run.join(120)
        assert not run.is_alive()
        time.sleep(1.0)
    assert project.counts == {"slow_with_pid": {"complete": 20}}
    assert set(completions(project).values()) == {1}
    found = project["slow_with_pid"].data.to_numpy()
    np.testing.assert_array_equal(found.reshape(pixels.shape), pixels + 1)


class Clock:
    """The time of day, set wrong."""

    def __init__(self):
        self.off = 0.0
        self._time = time.time

    def __call__(self):
        return self._time() + self.off


@pytest.mark.parametrize("off", [-DAY_S, DAY_S])
def test_workers_whose_clocks_are_a_day_off_change_nothing_but_times_in_the_history(
    folder, monkeypatch, off
):
    wrong = Clock()
    wrong.off = off

    others = SimpleNamespace(perf_counter=time.perf_counter, process_time=time.process_time)
    others.time = wrong
    monkeypatch.setattr(meter, "time", others)
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(steps.add)
    project.add(steps.same, name="after", after="add")
    assert run_here(project)
    project.change("add", amount=2)
    assert run_here(project)
    assert set(completions(project).values()) == {2}
    again = lw.open_project(folder / "p.lw")
    assert again.counts == {stage: {"complete": 20} for stage in ("add", "after")}
    assert run_here(project)  # nothing is left to do, whatever the time is
    assert set(completions(again).values()) == {2}


@pytest.mark.parametrize("jump", [-DAY_S, DAY_S])
def test_a_clock_that_jumps_in_the_middle_of_a_run_changes_nothing(folder, monkeypatch, jump):
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)

    class Jumps(HereClient):
        def submit(self, *arguments, **options):
            clock.off = jump * (self.batches % 2)
            return super().submit(*arguments, **options)

    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(steps.fail_once, params={"marks": str(folder)}, retries=1)
    project.add(steps.same, name="after", after="fail_once")
    began = time.monotonic()
    assert run_here(project, client=Jumps())
    assert time.monotonic() - began < 60
    assert lw.open_project(folder / "p.lw").counts == {
        stage: {"complete": 20} for stage in ("fail_once", "after")
    }


def test_the_journal_asks_nothing_of_a_file_system_that_network_ones_lack(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(steps.same)
    seen = set()

    class Looks(HereClient):
        def submit(self, *arguments, **options):
            seen.update(path.name for path in project.path.iterdir())
            return super().submit(*arguments, **options)

    assert run_here(project, client=Looks())
    assert not {name for name in seen if name.endswith(("-wal", "-shm"))}
    with sqlite3.connect(project.path / "journal.sqlite") as db:
        assert db.execute("pragma journal_mode").fetchone() != ("wal",)
        assert db.execute("pragma mmap_size").fetchone() in [(0,), None]
    # a write-ahead log would be kept in the header: bytes 18 and 19 are 2
    assert (project.path / "journal.sqlite").read_bytes()[18:20] == b"\x01\x01"


def test_every_test_that_the_page_of_guarantees_names_is_there():
    text = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 15
    for path, test in named:
        assert (ROOT / path).is_file(), path
        assert not test or f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), test
