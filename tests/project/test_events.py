"""Events: once each, with what happened and where; and hooks that can do no harm."""

import logging
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import latticework as lw
from latticework.errors import ProjectError
from latticework.io.journal import Journal
from latticework.io.memory import MemorySource
from latticework.project import events, hooks
from latticework.project.events import KINDS, Event, EventLog
from latticework.project.hooks import Hook
from latticework.project.steering import carry_out
from latticework.stages.paths import journal_file
from tests.project import steps
from tests.project.running import numbered, run_here
from tests.project.servers import web_server
from tests.project.stepping import Session


def heard(project, kinds=None):
    """A list that gets every event."""
    found = []
    project.on(kinds, found.append)
    return found


def run(project):
    """As `Project.run`, without a cluster."""
    summary = run_here(project)
    project.hooks.wait()
    return summary


def kinds(told):
    return [event.kind for event in told]


def test_a_run_that_goes_well_tells_of_its_begin_its_stages_and_its_end(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(steps.add)
    project.add(steps.total, after="add")
    told = heard(project)
    assert run(project)
    assert kinds(told)[0] == "run begun"
    assert sorted(kinds(told)[1:-1]) == ["stage complete"] * 2
    assert {event.stage for event in told[1:-1]} == {"add", "total"}
    assert told[-1].kind == "run ended"
    assert told[-1].message == "the run has ended: 40 complete"
    assert told[-1].counts == {"complete": 40}
    assert {event.project for event in told} == {str(project.path)}


def test_nothing_is_told_twice(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(steps.add)
    run(project)
    told = heard(project)
    run(project)
    assert kinds(told) == ["run begun", "run ended"]
    project.change("add", amount=5)
    run(project)
    assert kinds(told)[2:] == ["run begun", "stage complete", "run ended"]


def test_failures_are_told_of_first_one_by_one_and_then_together(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(steps.fail_at, name="sharp", bad=[3, 11], retries=1)
    told = heard(project)
    run(project)
    (first,) = [event for event in told if event.kind == "first failure"]
    names = project.lattice.names.tolist()
    assert first.tiles == (names[3],)
    assert f"stage 'sharp' failed at {names[3]} (it is tried again): ValueError" in first.message
    together = [event for event in told if event.kind == "units failed"]
    assert sum(event.counts["failed"] for event in together) == 2
    assert {tile for event in together for tile in event.tiles} == {names[3], names[11]}
    assert "failed in stage 'sharp', the last with ValueError" in together[0].message
    assert "stage complete" not in kinds(told)


def test_hundreds_of_failures_are_few_events(folder):
    project = lw.create(folder / "p.lw", numbered((15, 20), (2, 2))[0])
    project.set_patience(after=None)
    project.add(steps.fail_at, name="sharp", bad=list(range(300)), retries=0)
    told = heard(project, "units failed")
    run(project)
    assert sum(event.counts["failed"] for event in told) == 300
    assert len(told) < 5
    assert all(len(event.tiles) <= events.MOST_TILES for event in told)


def test_a_lost_worker_and_the_unit_that_killed_it_are_told_of(folder):
    from distributed import KilledWorker

    lw.create(folder / "p.lw", numbered((1, 2))[0])
    session = Session(folder / "p.lw", slots=1)
    session.project.add(steps.add)
    told = heard(session.project)
    session.begin()
    for _ in range(4):
        session.send()
        for batch, future in session.out:
            batch.started = True
            future.become("error", KilledWorker("task", None, 0))
        session.take_in()
    session.coordinator.care.end()
    session.project.hooks.wait()
    lost = [event for event in told if event.kind == "worker lost"]
    assert sum(event.counts["lost"] for event in lost) == 4
    assert "units failed" in kinds(told)
    session.crash()


@pytest.mark.parametrize(
    ("cause", "outcome"),
    [("cancelled", "worker lost"), ("walltime", "walltime"), ("node failure", "node failure")],
)
def test_a_worker_whose_job_slurm_has_ended_is_told_of_and_nobody_is_charged(
    folder, cause, outcome
):
    lost, told, project = _after_a_job_ended(folder, cause)
    assert len(lost) == 1
    assert f"SLURM ended the job ({cause})" in lost[0].message
    assert lost[0].counts == {"lost": 1}
    assert "first failure" not in kinds(told)
    assert project.attempts().outcome.tolist()[0] == outcome
    assert not project.pipeline["add"].units.tries.any()


def test_a_worker_that_the_run_itself_has_ended_is_no_news(folder):
    assert _after_a_job_ended(folder, "ended")[0] == []


def test_a_pool_that_slurm_refuses_is_told_of_once_for_each_reason(folder):
    lw.create(folder / "p.lw", numbered((1, 2))[0])
    session = Session(folder / "p.lw", slots=1)
    told = heard(session.project, "pool refused")
    session.begin()
    care, now, why = session.coordinator.care, [1000.0], [""]
    care._clock = lambda: now[0]
    [pool] = session.coordinator.pools
    pool.scaler = SimpleNamespace(refused=lambda: why[0], pending=lambda: why[0])
    for reason in ("", "invalid partition: gpu", "invalid partition: gpu", "", "job 7", "job 8"):
        why[0], now[0] = reason, now[0] + 1
        care.look()
    session.project.hooks.wait()
    assert [event.message for event in told] == [
        "SLURM takes no job of pool 'workers': invalid partition: gpu; it is asked again",
        "SLURM takes no job of pool 'workers': job 7; it is asked again",
    ]
    session.crash()


def _after_a_job_ended(folder, cause):
    """Events of lost workers and all events, and the project, when a job has ended so."""
    from distributed import KilledWorker

    lw.create(folder / "p.lw", numbered((1, 2))[0])
    session = Session(folder / "p.lw", slots=1)
    session.project.add(steps.add)
    told = heard(session.project)
    session.begin()
    session.send()
    [(batch, future)] = session.out
    batch.pool.scaler = SimpleNamespace(cause=lambda _worker: cause, pending=lambda: "")
    batch.started = True
    worker = SimpleNamespace(address="tcp://10.0.0.1:1", name="cpu-0")
    future.become("error", KilledWorker("task", worker, 0))
    session.take_in()
    session.coordinator.care.end()
    session.project.hooks.wait()
    session.commit()
    session.crash()
    return [event for event in told if event.kind == "worker lost"], told, session.project


def test_the_end_of_an_acquisition_is_told_and_stages_are_complete_only_then(folder):
    tiles = lw.Lattice.from_positions(
        [[0, 0], [0, 8]],
        tile_shape={"y": 6, "x": 8},
        pixel_size_um=1.0,
        dtype="u2",
        source=MemorySource([np.zeros((6, 8), "u2")] * 2),
    )
    lw.create(folder / "p.lw", tiles)
    session = Session(folder / "p.lw")
    project = session.project
    project.ask("open acquisition", {})
    project.add(steps.add)
    told = heard(project)
    session.begin()
    session.coordinator.care.begin()
    session.finish()
    session.coordinator.care._see_ends()
    project.hooks.wait()
    assert kinds(told) == ["run begun"]
    project.end_acquisition()
    session.finish()
    session.coordinator.care._see_ends()
    project.hooks.wait()
    assert kinds(told) == ["run begun", "acquisition ended", "stage complete"]
    session.crash()


# -------------------------------------------------------------------- the journal


def test_events_are_a_table_for_every_process(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    assert len(project.events()) == 0
    project.add(steps.fail_at, name="sharp", bad=[3], retries=0)
    run(project)
    table = lw.open_project(project.path).events()
    assert table.event.tolist() == ["run begun", "first failure", "units failed", "run ended"]
    assert str(table.time.dt.tz) == "UTC"
    assert table.time.is_monotonic_increasing
    assert table.tiles[1] == [project.lattice.names[3]]
    assert table.counts[3] == {"complete": 19, "failed": 1}
    assert project.events("run ended").index.tolist() == [0]
    assert project.events(stage="sharp").event.tolist() == ["first failure", "units failed"]
    assert project.events(limit=1).event.tolist() == ["run ended"]
    assert len(project.events(since="1h")) == 4
    assert len(project.events(since=-3600)) == 0
    with pytest.raises(ProjectError, match="there is no event 'end'; there are run begun"):
        project.events("end")


def test_that_a_user_pauses_and_resumes_the_project_is_told_once_each(folder):
    lw.create(folder / "p.lw", numbered((1, 2))[0])
    session = Session(folder / "p.lw", slots=1)
    session.project.add(steps.add)
    told = heard(session.project, ["project paused", "project resumed"])
    session.begin()
    carry_out(session.coordinator, "pause", {})
    carry_out(session.coordinator, "pause", {})
    carry_out(session.coordinator, "resume", {})
    carry_out(session.coordinator, "resume", {})
    session.project.hooks.wait()
    assert kinds(told) == ["project paused", "project resumed"]
    assert told[0].message == "the project was paused by a user"
    session.crash()


def test_a_run_that_is_killed_leaves_the_events_that_were_committed(folder):
    lw.create(folder / "p.lw", numbered()[0])
    session = Session(folder / "p.lw")
    session.project.add(steps.add)
    session.begin()
    session.coordinator.care.begin()
    session.commit()
    session.coordinator.care.emit("project paused", "the disk is full")
    with pytest.raises(ProjectError, match="there is no event 'disk full'"):
        session.coordinator.care.emit("disk full", "the disk is full")
    session.crash()
    assert session.project.events().event.tolist() == ["run begun"]


def test_a_journal_keeps_the_last_events_only(folder, monkeypatch):
    monkeypatch.setattr(events, "MOST_KEPT", 1000)
    project = lw.create(folder / "p.lw", numbered((1, 1))[0])
    with project.lock().held():
        journal = Journal(journal_file(project.path))
        log = EventLog(journal)
        for number in range(3300):
            log.keep(Event("run begun", f"number {number}", "p.lw", at=float(number)))
        journal.close()
    table = project.events()
    assert 1000 <= len(table) <= 1000 + events._SWEEP
    assert table.message.iloc[-1] == "number 3299"
    assert table.message.is_unique


def test_every_kind_of_event_that_is_told_is_known():
    with pytest.raises(ProjectError, match="there is no event 'finished'"):
        Hook(print, ["finished"])
    assert all(Hook(print, [kind]).kinds == {kind} for kind in KINDS)


# -------------------------------------------------------------------- hooks


def test_a_hook_that_raises_is_logged_once_and_harms_nobody(folder, caplog):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(steps.fail_at, name="sharp", bad=[3], retries=0)

    def broken(_event):
        raise RuntimeError("my token is s3cret")

    def leaves(_event):
        raise SystemExit(3)

    project.on(None, broken)
    project.on(None, leaves)
    told = heard(project)
    with caplog.at_level(logging.WARNING):
        run(project)
    assert project.counts == {"sharp": {"complete": 19, "failed": 1}}
    assert len(told) == 4
    said = [record.getMessage() for record in caplog.records]
    assert len([text for text in said if "broken raised RuntimeError" in text]) == 1
    assert len([text for text in said if "leaves raised SystemExit" in text]) == 1
    assert "s3cret" not in caplog.text


def test_a_hook_that_hangs_costs_a_run_a_moment_at_its_end(folder, caplog, monkeypatch):
    monkeypatch.setattr(hooks.Hooks.wait, "__defaults__", (0.3,))
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(steps.add)
    go_on, ended = threading.Event(), threading.Event()

    def hangs(_event):
        go_on.wait(120)
        ended.set()

    project.on("run begun", hangs)
    told = heard(project)
    with caplog.at_level(logging.WARNING):
        assert run(project)
    assert not ended.is_set()
    assert kinds(told) == ["run begun", "stage complete", "run ended"]
    assert "hangs has not come to an end within 0.3 s" in caplog.text
    go_on.set()
    assert ended.wait(30)


def test_a_hook_that_is_too_slow_loses_events_and_says_so(caplog, monkeypatch):
    monkeypatch.setattr(hooks, "MOST_WAITING", 5)
    go_on = threading.Event()
    told = []

    def slow(event):
        go_on.wait(60)
        told.append(event)

    hook = Hook(slow)
    with caplog.at_level(logging.WARNING):
        for number in range(100):
            hook.tell(Event("run begun", str(number), "p.lw"))
    assert told == []
    assert caplog.text.count("slow is too slow: 5 events wait for it") == 1
    go_on.set()
    assert hook.wait(30)
    assert 5 <= len(told) <= 6
    hook.close()


def test_a_hook_is_told_what_it_asked_for_until_it_is_taken_off(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(steps.add)
    told = []
    project.on(["run begun", "run ended"], told.append)
    run(project)
    assert kinds(told) == ["run begun", "run ended"]
    assert project.off(told.append) == 1
    assert project.off(told.append) == 0
    run(project)
    assert len(told) == 2
    with pytest.raises(ProjectError, match="cannot be called"):
        project.on("run ended", "https://example.org")


def test_a_hook_may_ask_the_project_for_something(folder):
    """It runs in a thread of its own, so that it may wait for the coordinator."""
    project = lw.create(folder / "p.lw", numbered((8, 8))[0])
    project.add(steps.fail_at, name="sharp", bad=list(range(64)), retries=0)
    project.on("stage paused itself", lambda _event: project.set_parameters(asked="yes"))
    run(project)
    assert project.settings.parameters == {"asked": "yes"}


def test_a_hook_may_ask_for_something_when_the_run_has_ended(folder, local_client):
    project = lw.create(folder / "p.lw", numbered((1, 2))[0])
    project.add(steps.add)
    project.on("run ended", lambda _event: project.set_parameters(asked="yes"))
    assert project.run(local_client, progress="none")
    assert project.settings.parameters == {"asked": "yes"}


def test_a_webhook_hears_of_a_run(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(steps.add)
    with web_server() as server:
        project.on("run ended", lw.webhook(server.url))
        run(project)
    ((_, _, document),) = server.got
    assert document["message"] == "the run has ended: 20 complete"
