"""States follow from facts, and the facts in memory are those that are read again from disk."""

import numpy as np
import pytest
from distributed import KilledWorker

import latticework as lw
from latticework.io.growth_store import Growth
from latticework.lattice import State
from latticework.project.growing import grow_project
from tests.project.digests import digest, smear
from tests.project.stepping import Session
from tests.project.test_state_machine import tiles


@pytest.fixture
def begun(folder):
    """A session with a growing project, and a function to add to its stages."""
    sessions = []

    def begin(where, *, slots=1, region=None):
        lw.create(folder / "a.lw", tiles(where, range(1, len(where) + 1)))
        session = Session(folder / "a.lw", slots)
        session.project.ask("open acquisition", {})
        if region is not None:
            session.project.choose_region(**region)
        session.begin()
        sessions.append(session)
        return session

    yield begin
    for session in sessions:
        session.crash()


def states(session, stage):
    return session.pipeline[stage].units.state.tolist()


def fail_once(session):
    session.send()
    for _, future in session.out:
        future.compute({0})
        future.become("finished")
    session.take_in()
    session.commit()


def test_a_reduction_over_nothing_but_absent_units_is_absent(begun):
    session = begun([(0, 0), (2, 2)])
    session.project.add(digest, name="pairs", reads=lw.neighbours("+x", missing="absent"))
    session.project.add(digest, name="total", after="pairs", reads=lw.all_tiles())
    session.project.end_acquisition()
    assert states(session, "total") == [State.ABSENT]


def test_a_halo_that_reaches_further_in_a_grown_lattice_is_read(begun):
    session = begun([(0, 0)])
    session.project.add(smear, overlap=1, reads=lw.same_tile(missing="run"))
    session.finish()
    assert states(session, "smear") == [State.COMPLETE]
    grow_project(session.coordinator, Growth(tiles([(1, 0)], [9])))
    assert states(session, "smear") == [State.STALE, State.WAITING]
    session.check()


def test_the_first_tile_waits_for_neighbours_along_axes_that_nothing_shows_yet(begun):
    session = begun([(0, 0)])
    session.project.add(smear, overlap=1)
    session.finish()
    assert states(session, "smear") == [State.WAITING]
    assert "where there is no tile" in session.project.why("smear", 0)
    session.project.end_acquisition()
    session.finish()
    assert states(session, "smear") == [State.COMPLETE]


def test_readers_of_a_unit_that_joins_know_of_it_though_it_only_waits(begun):
    session = begun([(0, 0), (0, 1)], region={"x": slice(2, None)})
    session.project.add(smear, overlap=1)
    blocks = lw.Lattice.from_grid({"y": 1, "x": 2}, tile_shape={"y": 6, "x": 3}, dtype="u2")
    session.project.add(digest, name="blocks", after="smear", reads=lw.intersecting(blocks))
    assert states(session, "blocks") == [State.ABSENT, State.ABSENT]
    grow_project(session.coordinator, Growth(tiles([(0, 2)], [9])))
    assert states(session, "blocks") == [State.ABSENT, State.WAITING]
    session.check()


def test_a_unit_that_fails_again_with_other_parameters_has_all_its_retries(begun):
    session = begun([(0, 0)])
    session.project.add(digest, name="flat", retries=1)
    fail_once(session)
    fail_once(session)
    assert states(session, "flat") == [State.FAILED]
    session.project.change("flat", salt=1)
    assert states(session, "flat") == [State.WAITING]
    fail_once(session)
    assert states(session, "flat") == [State.WAITING]
    session.check_durable()
    fail_once(session)
    assert states(session, "flat") == [State.FAILED]
    session.check_durable()


def test_a_failure_is_remembered_when_its_parameters_come_back(begun):
    session = begun([(0, 0)])
    session.project.add(digest, name="flat", retries=0, salt=0)
    fail_once(session)
    session.project.change("flat", salt=1)
    assert states(session, "flat") == [State.WAITING]
    session.project.change("flat", salt=0)
    assert states(session, "flat") == [State.FAILED]
    session.check_durable()


def test_more_retries_let_what_has_failed_run_again_and_fewer_do_not(begun):
    session = begun([(0, 0)])
    session.project.add(digest, name="flat", retries=0)
    fail_once(session)
    assert states(session, "flat") == [State.FAILED]
    session.project.change("flat", retries=2)
    assert states(session, "flat") == [State.WAITING]
    session.check()
    session.coordinator._snapshot()
    session.project.change("flat", retries=0)
    assert states(session, "flat") == [State.FAILED]
    session.check_durable()


def test_facts_after_the_death_of_a_worker_are_those_of_the_journal(begun):
    session = begun([(0, 0)])
    session.project.add(digest, name="flat")
    session.finish()
    session.project.change("flat", salt=1)
    for _ in range(4):
        session.send()
        for batch, future in session.out:
            batch.started = True
            future.become("error", KilledWorker("flat", None, 0))
        session.take_in()
        session.commit()
        session.check()
        session.check_durable()
    assert states(session, "flat") == [State.FAILED]
    assert np.all(session.pipeline["flat"].units.published == 1)


def dies_with_its_worker(session):
    session.send()
    for batch, future in session.out:
        batch.started = True
        future.become("error", KilledWorker("flat", None, 0))
    session.take_in()


def test_a_suspect_is_not_tried_before_what_it_reads_is_there_again(begun):
    session = begun([(0, 0)])
    session.project.add(digest, name="flat")
    session.finish()
    session.project.add(digest, name="after", after="flat")
    dies_with_its_worker(session)
    session.project.change("flat", salt=1)
    session.send()  # this sees that nothing goes out too early
    assert states(session, "after") == [State.WAITING]
    session.finish()
    assert states(session, "after") == [State.COMPLETE]


def test_suspects_of_a_stage_that_has_gone_are_forgotten(begun):
    session = begun([(0, 0), (0, 1)])
    session.project.add(digest, name="flat")
    session.project.cancel("flat", 0)
    dies_with_its_worker(session)
    session.project.remove("flat")
    session.project.add(digest, name="flat", reads=lw.all_tiles())
    session.project.end_acquisition()
    session.finish()
    assert states(session, "flat") == [State.COMPLETE]


def test_what_a_removed_stage_left_behind_is_set_aside_for_a_new_one_of_its_name(begun):
    """As after a kill between the removal and the move of its outputs."""
    session = begun([(0, 0)])
    project = session.project
    left = project.path / "stages" / "flat" / "data.zarr"
    left.mkdir(parents=True)
    (left / "precious").write_text("pixels")
    project.add(digest, name="flat")
    assert not left.exists()
    [kept] = (project.path / "removed").glob("flat-*/data.zarr/precious")
    assert kept.read_text() == "pixels"


def test_a_known_grid_releases_its_edges_before_the_acquisition_ends(begun):
    session = begun([(0, 0), (0, 1), (1, 0)])
    project = session.project
    project.ask("open acquisition", {"extents": {"y": (0, 1), "x": (0, 1)}})
    project.add(smear, overlap=1)
    project.add(digest, name="rows", after=project.source, reads=lw.plane("y"))
    project.add(digest, name="all", after=project.source, reads=lw.all_tiles())
    session.finish()
    assert states(session, "smear") == [State.WAITING] * 3
    assert states(session, "rows") == [State.COMPLETE, State.WAITING]
    assert project.waiting_for_end == {"smear": 3, "rows": 1, "all": 1}
    grow_project(session.coordinator, Growth(tiles([(1, 1)], [9])))
    session.finish()
    assert states(session, "smear") == [State.COMPLETE] * 4
    assert states(session, "rows") == [State.COMPLETE] * 2
    assert states(session, "all") == [State.COMPLETE]
    assert project.waiting_for_end == {}
    session.check()
