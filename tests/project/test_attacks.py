"""What breaks runs: slow tiles after quick ones, strange exceptions and texts, mixed outputs."""

import asyncio
import logging
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import latticework as lw
from latticework.errors import ProjectError, StoreError
from latticework.io.records import to_json
from latticework.lattice.states import State
from latticework.project import clusters, dispatch
from latticework.project.coordinator import Coordinator
from latticework.project.units import Units
from latticework.stages import worker
from latticework.stages.black_box import REPORT
from latticework.stages.budgets import Retries
from latticework.stages.failures import EXCEPTION, NO_CODE
from tests.project.running import HereClient, attempts_since, numbered, run_here


def number(tile):
    return tile.attrs["tile_id"]


# ------------------------------------------------------------------ batches that take too long


def slow_from(tile, first, seconds):
    if number(tile) >= first:
        time.sleep(seconds)
    return tile


def test_slow_tiles_after_quick_ones_are_handed_back(folder, monkeypatch):
    monkeypatch.setattr(worker, "HAND_BACK_S", 0.1)
    sizes = []

    class Counting(HereClient):
        def submit(self, *arguments, **options):
            done = super().submit(*arguments, **options)
            rows = np.frombuffer(done.value.rows, dtype=REPORT)
            sizes.append((len(rows), done.value.left, float(np.ptp(rows["ended"]))))
            return done

    lattice, array = numbered((16, 16))
    project = lw.create(folder / "p.lw", lattice)
    project.add(slow_from, first=200, seconds=0.02)
    assert run_here(project, client=Counting())
    assert any(left for _, left, _ in sizes)
    assert max(seconds for _, _, seconds in sizes) < 0.5
    assert attempts_since(project, 0) == [("slow_from", k) for k in range(256)]
    assert project.query("select max(attempt), min(attempt) from attempts") == [(1, 1)]
    assert project.query("select count(*) from batches") == [(0,)]
    np.testing.assert_array_equal(project["slow_from"].data.to_numpy(), array)


def test_slower_is_believed_at_once():
    pace = dispatch.Pace(0.001)
    pace.see(0.5)
    assert pace.batch_size(10_000, 2) == 2


# ------------------------------------------------------------------ exceptions and texts


class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


class OwnBase(BaseException):
    pass


ERRORS = {
    "speechless": Speechless,
    "base": lambda: OwnBase("mine"),
    "interrupt": KeyboardInterrupt,
    "exit": lambda: SystemExit(3),
    "cancelled": asyncio.CancelledError,
    "surrogate": lambda: ValueError("cannot open bad\udcff.bin"),
}


def raise_at(tile, bad, error):
    if number(tile) == bad:
        raised = ERRORS[error]()
        raise raised
    return tile


@pytest.mark.parametrize("error", ERRORS)
def test_whatever_a_tile_raises_it_fails_alone(folder, error):
    project = lw.create(folder / "p.lw", numbered()[0])
    stage = project.add(raise_at, bad=7, error=error)
    run_here(project)
    assert stage.counts == {"complete": 19, "failed": 1}
    assert project.why("raise_at", 7).encode("utf-8").startswith(b"failed")


def named(tile):
    return {"name": "bad\udcff" if number(tile) == 3 else "good"}


def test_half_a_character_in_a_record_fails_its_tile(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    stage = project.add(named)
    run_here(project)
    assert stage.counts == {"complete": 19, "failed": 1}
    assert "record['name']" in project.why("named", 3)
    run_here(project)


@pytest.mark.parametrize("record", ["\ud800", {"a": ["\udcff"]}, {"\udcff": 1}])
def test_records_refuse_half_characters(record):
    with pytest.raises(StoreError, match="surrogate"):
        to_json(record)


# ------------------------------------------------------------------ tries


def test_tries_do_not_wrap():
    units = Units.waiting(2)
    units.tries[:] = 254
    for _ in range(3):
        how = np.full(2, EXCEPTION), np.full(2, NO_CODE)
        units.charge(np.array([0, 1]), np.zeros(2, dtype="u8"), Retries.of(100), *how)
        assert units.tries.tolist() == [255, 255]
        assert units.mark.tolist() == [State.FAILED, State.FAILED]


# ------------------------------------------------------------------ halos


def project_y(block):
    return np.asarray(block).max(axis=0)


def test_a_projection_without_names_does_not_keep_its_halo(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.set_patience(after=None)
    stage = project.add(project_y, overlap=2, boundary="reflect", numpy=True)
    run_here(project)
    assert stage.counts == {"failed": 20}
    assert "DataArray" in project.why("project_y", 0)
    assert "trim=False" in project.why("project_y", 0)


def project_labelled(tile):
    return tile.max("y")


def test_a_projection_with_names_is_trimmed(folder):
    lattice, _ = numbered()
    project = lw.create(folder / "p.lw", lattice)
    stage = project.add(project_labelled, overlap=2, boundary="reflect")
    assert run_here(project)
    assert stage.data.sizes["x"] == 8


def five(block):
    return np.full(5, block.mean())


def test_an_array_of_other_lengths_is_kept_with_a_halo(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(five, overlap=2, boundary="reflect", numpy=True)
    assert run_here(project)


# ------------------------------------------------------------------ tiles that make nothing


def table_from(tile, first):
    return None if number(tile) < first else pd.DataFrame({"a": [1]})


def array_from(tile, first):
    return None if number(tile) < first else tile


def record_from(tile, first):
    return None if number(tile) < first else {"a": 1}


def count_rows(table):
    return len(table)


@pytest.mark.parametrize("function", [table_from, array_from, record_from])
@pytest.mark.parametrize("first", [1, 3, 11])
def test_first_tiles_that_make_nothing_do_not_fail_the_others(folder, function, first):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.set_patience(after=None)
    stage = project.add(function, first=first, name="make", retries=0)
    run_here(project)
    assert project.pipeline["make"].output.kind == function.__name__.split("_")[0]
    if function is record_from:  # None is a record like others
        assert stage.counts == {"complete": 20}
        assert stage.data["a"].isna().sum() == first
    else:
        assert stage.counts == {"complete": 20 - first, "failed": first}
        assert "nothing instead of" in project.why("make", 0)
    again = lw.open_project(project.path)
    assert again.counts["make"] == stage.counts


def test_readers_of_tiles_that_made_nothing_are_blocked_after_all(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(table_from, first=6, retries=0)
    project.add(count_rows, after="table_from", retries=0)
    run_here(project)
    assert project.counts["table_from"] == {"complete": 14, "failed": 6}
    assert project.counts["count_rows"] == {"complete": 14, "blocked": 6}


def make_nothing(tile):  # noqa: ARG001
    return None


def test_a_stage_of_which_no_tile_makes_anything_is_complete(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    assert project.add(make_nothing) is not None
    assert run_here(project)
    assert project.counts["make_nothing"] == {"complete": 20}


def test_units_of_an_unsettled_stage_that_disagree_fail():
    rows = np.zeros(2, dtype=REPORT)
    rows["outcome"] = worker.COMPLETE
    found, known = lw.array_output("u1", shape={"y": 3}), lw.table_output()
    report = worker.BatchReport(1, rows.tobytes(), "", found, (), (), "w", "h")
    failed = worker.disagreeing(report, known)
    assert (np.frombuffer(failed.rows, dtype=REPORT)["outcome"] == 2).all()
    assert "kind array instead of table" in failed.failures[1].message


# ------------------------------------------------------------------ how many try a stage


def test_a_stage_that_fails_everywhere_is_tried_on_every_slot(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(make_nothing)
    project.add(make_nothing, name="declared", output=lw.record_output())
    with project.lock().held():
        coordinator = Coordinator(project, HereClient(slots=4))
        coordinator._look_at_pools()
        assert coordinator.sender._scouts(project.pipeline["make_nothing"]) == 1
        assert coordinator.sender._scouts(project.pipeline["declared"]) == 4
        coordinator.failed.add("make_nothing")
        assert coordinator.sender._scouts(project.pipeline["make_nothing"]) == 4
        project.close_writer()


# ------------------------------------------------------------------ clients


def test_it_is_said_once_that_there_are_no_workers(monkeypatch, caplog):
    monkeypatch.setattr(dispatch, "ABSENT_S", -1.0)
    absence = dispatch.Absence()
    with caplog.at_level(logging.WARNING):
        absence.see(2)
        assert not caplog.records
        absence.see(0)
        absence.see(0)
    assert len(caplog.records) == 1
    assert "no workers" in caplog.text


def test_a_scheduler_that_is_gone_does_not_keep_a_run_from_landing(folder):
    class Gone(HereClient):
        def unsubscribe_topic(self, topic):  # noqa: ARG002  as Dask's
            raise OSError("gone")

    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(make_nothing)
    assert run_here(project, client=Gone())
    assert project.query("select count(*) from sessions where ended is null") == [(0,)]


def test_an_asynchronous_default_client_is_refused(monkeypatch):
    import distributed

    client = SimpleNamespace(asynchronous=True)
    monkeypatch.setattr(distributed, "default_client", lambda: client)
    with pytest.raises(ProjectError, match="asynchronous"), clusters.client_for(None):
        pass
