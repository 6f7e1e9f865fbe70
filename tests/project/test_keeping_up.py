"""The keep-up gauge: rates over a window, who falls behind, when all is done or the disk full."""

import json
import math

import pytest

import latticework as lw
from latticework.lattice.states import State
from latticework.project.desk import Desk
from latticework.project.flow import GRAINS, Flow
from latticework.project.gauging import gauge
from latticework.project.growing import grow_project
from latticework.project.keeping_up import keeping_up
from latticework.project.watching import create_watched, watcher_of
from latticework.testing import simulate
from latticework.testing.seed_formats import write_mouselight
from tests.project import steps
from tests.project.running import numbered, run_here


def steady(per_minute, *, minutes=30, each=1000, window_s=600.0, start=0.0):
    """A flow at a constant rate from `start` on."""
    flow = Flow(window_s)
    for number in range(int(per_minute * minutes)):
        flow.add(start + 60.0 * number / per_minute, 1, each)
    return flow


NOW = 1800.0


def test_a_rate_is_that_of_the_window_not_of_all_time():
    flow = steady(6, minutes=20)
    for number in range(600):
        flow.add(1200.0 + number, 1, 0)
    assert flow.per_minute(NOW) == pytest.approx(60, rel=0.02)
    assert flow.per_minute(NOW + 10_000) == 0
    assert len(flow._recent) <= GRAINS + 2


def test_nothing_is_known_before_the_second_moment():
    flow = Flow()
    assert flow.per_minute(5.0) is None
    flow.add(10.0, 300)
    assert flow.per_minute(10.0) is None
    assert flow.per_minute(20.0) is None  # a heap that was there at once is no rate
    flow.add(40.0, 5)
    assert flow.per_minute(70.0) == 5


def test_a_stage_at_the_rate_of_arrivals_keeps_up_and_a_slower_one_does_not():
    counts = {
        "clean": {State.COMPLETE: 178, State.RUNNING: 2},
        "spots": {State.COMPLETE: 90, State.WAITING: 90},
    }
    flows = {"clean": steady(6), "spots": steady(3)}
    found = keeping_up(NOW, 180, steady(6), flows, counts)
    clean, spots = found.stages
    assert found.arriving_per_minute == pytest.approx(6, rel=0.02)
    assert clean.keeps_up
    assert spots.keeps_up is False
    assert found.keeps_up is False
    assert spots.time_left_s == pytest.approx(60 * 90 / 3, rel=0.05)
    assert spots.catches_up_s == math.inf
    assert found.time_left_s == spots.time_left_s


def test_a_quicker_stage_with_a_backlog_catches_up():
    counts = {"clean": {State.COMPLETE: 100, State.WAITING: 80}}
    found = keeping_up(NOW, 180, steady(6), {"clean": steady(10)}, counts).stages[0]
    assert found.keeps_up
    assert found.catches_up_s == pytest.approx(60 * 80 / 4, rel=0.05)


def test_a_stage_of_planes_needs_to_do_fewer_units_than_tiles_arrive():
    counts = {"planes": {State.COMPLETE: 16, State.WAITING: 2}}
    found = keeping_up(NOW, 180, steady(60), {"planes": steady(6)}, counts).stages[0]
    assert found.needed_per_minute == pytest.approx(6, rel=0.02)
    assert found.keeps_up


def test_it_is_too_early_to_tell_of_a_stage_that_has_completed_nothing():
    counts = {"clean": {State.WAITING: 180}}
    found = keeping_up(NOW, 180, steady(6), {"clean": Flow()}, counts)
    assert found.stages[0].keeps_up is None
    assert found.keeps_up is None
    assert found.time_left_s is None
    assert "too early to tell" in str(found)


def test_a_stage_that_stopped_falls_behind():
    stopped = steady(6, minutes=10)
    counts = {"clean": {State.COMPLETE: 60, State.WAITING: 120}}
    found = keeping_up(NOW, 180, steady(6), {"clean": stopped}, counts).stages[0]
    assert found.per_minute == 0
    assert found.keeps_up is False


def test_without_arrivals_only_the_time_left_matters():
    counts = {"clean": {State.COMPLETE: 60, State.STALE: 30, State.FAILED: 4, State.ABSENT: 9}}
    found = keeping_up(NOW, 103, Flow(), {"clean": steady(6)}, counts)
    pace = found.stages[0]
    assert (pace.units, pace.backlog, pace.stuck) == (94, 30, 4)
    assert found.keeps_up
    assert found.time_left_s == pytest.approx(300, rel=0.02)
    assert "none seen to arrive" in str(found)
    assert "4 failed or blocked" in str(found)


def test_the_disk_fills_with_what_stages_write_and_with_what_arrives_if_it_is_the_same():
    counts = {"clean": {State.COMPLETE: 60, State.WAITING: 500}}
    flows = {"clean": steady(6, each=10_000)}
    apart = keeping_up(NOW, 560, steady(6, each=90_000), flows, counts, disk_free_bytes=6_000_000)
    assert apart.disk_full_s == pytest.approx(100 * 60, rel=0.02)
    assert apart.disk_needed_bytes == 5_000_000
    assert apart.fits
    together = keeping_up(
        *(NOW, 560, steady(6, each=90_000), flows, counts),
        disk_free_bytes=4_000_000,
        arrivals_on_disk=True,
    )
    assert together.disk_full_s == pytest.approx(4_000_000 / 600_000 * 60, rel=0.02)
    assert not together.fits
    assert "free some space" in str(together)
    idle = keeping_up(NOW, 0, Flow(), {}, {}, disk_free_bytes=5)
    assert idle.disk_full_s is None


def test_the_gauge_in_a_notebook_has_what_the_text_has_and_escapes_names():
    counts = {"a<b": {State.COMPLETE: 3, State.WAITING: 177}}
    found = keeping_up(NOW, 180, steady(6), {"a<b": steady(3)}, counts, disk_free_bytes=10**9)
    page = found._repr_html_()
    assert "a&lt;b" in page
    assert "falls behind" in page
    assert "3 of 180 complete" in page
    assert "full in" in page


# ------------------------------------------------------------------ of a project


@pytest.fixture
def project(folder):
    lattice, _ = numbered()
    project = lw.create(folder / "p.lw", lattice)
    project.add(steps.add)
    return project


def test_the_gauge_of_a_project_that_does_not_run_is_that_of_its_last_moment(project):
    number = project.pipeline["add"].id
    with project.lock().held():
        journal = project.writable_journal()
        for tile in range(12):
            journal.add_arrivals(1000.0 + 10 * tile, 1, 500)
        rows = [
            (number, tile, 1, 1, 1, 1000.0 + 20 * tile, 1010.0 + 20 * tile, 1, 1, 1, 700, 1, None)
            for tile in range(6)
        ]
        journal.add_attempts(rows)
        project.close_writer()
    found = gauge(lw.open_project(project.path), window="1min")
    assert found.at == 1110.0
    assert found.arriving_per_minute == pytest.approx(6, abs=1.1)
    assert found.stages[0].per_minute == pytest.approx(3, abs=1.1)
    assert found.stages[0].bytes_per_unit == 700
    assert found.disk_free_bytes > 0
    later = gauge(lw.open_project(project.path), now=99_999.0)
    assert later.stages[0].per_minute == 0
    assert later.arriving_per_minute == 0
    assert later.stages[0].bytes_per_unit == 700


def test_the_gauge_of_a_new_project_says_that_nothing_arrives(project):
    found = gauge(project)
    assert found.arriving_per_minute is None
    assert found.stages[0].backlog == 20
    assert "waits" in str(found)


def test_tiles_that_are_announced_have_not_come_and_are_no_work_yet(folder):
    lattice, _ = simulate({"z": 2, "y": 2, "x": 3}, tile_shape={"z": 2, "y": 8, "x": 8}, seed=2)
    write_mouselight(lattice, folder / "raw")
    listed = folder / "raw" / "pipeline-input.json"

    def announce(complete):
        found = json.loads(listed.read_text())
        for k, tile in enumerate(found["tiles"]):
            tile["isComplete"] = k in complete
        listed.write_text(json.dumps(found))

    announce([0, 1, 3])
    project = create_watched(folder / "p.lw", folder / "raw", timeout=20)
    project.add(steps.add)
    project.add(steps.add, name="more", after="add")
    found = gauge(project)
    assert (found.tiles, found.announced) == (3, 9)
    assert [(pace.backlog, pace.held) for pace in found.stages] == [(3, 9), (3, 9)]
    assert "(3 tiles so far, 9 announced)" in str(found)
    assert "3 to do, 9 wait for more tiles" in str(found)
    run_here(project)
    found = gauge(project)
    assert [(pace.complete, pace.backlog, pace.held) for pace in found.stages] == [(3, 0, 9)] * 2
    assert found.keeps_up
    assert found.time_left_s == 0
    announce([0, 1, 3, 4, 5])
    with project.lock().held():
        growth = watcher_of(folder / "raw", {"settle_s": 0}).poll(project.lattice).growth
        grow_project(Desk(project), growth)
        project.close_writer()
    assert gauge(lw.open_project(project.path)).tiles == 5
    assert project.query("select sum(units) from arrivals")[0][0] == 2
