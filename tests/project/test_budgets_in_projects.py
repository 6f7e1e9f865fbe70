"""Units that fail: tried again as often, and after as long, as the budget of their kind says."""

import re
import threading
import time

import numpy as np
import pytest

import latticework as lw
from latticework.io.journal import Journal
from latticework.lattice.states import State
from latticework.project.delays import Delays, wait_left_s
from latticework.project.units import COLUMNS, FIRST_COLUMNS, Units
from latticework.stages.budgets import Retries, add_failures
from latticework.stages.paths import journal_file
from tests.project import steps
from tests.project.running import numbered, run_here
from tests.project.stepping import Session

NOW = [1000.0]


def ways(tile, *, bad):
    """Fails in one way or another, as the tile's id says."""
    how = bad.get(str(int(tile.attrs["tile_id"])))
    if how == "memory":
        raise MemoryError("too little")
    if how == "exception":
        raise ValueError("too dark")
    return tile


def exits(code):
    return lw.command(["sh", "-c", f"exit {code}"], name="program")


def attempts(project, stage):
    """Attempts made of each unit."""
    return project.pipeline[stage].units.attempts.tolist()


def test_each_kind_of_failure_has_its_own_budget(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    retries = {"memory": 0, "exception": 2}
    project.add(ways, bad={"3": "memory", "4": "exception"}, retries=retries)
    assert not run_here(project)
    expected = [1] * 20
    expected[4] = 3
    assert attempts(project, "ways") == expected
    assert project.why("ways", 4).startswith("failed 3 times: ValueError: too dark")
    again = lw.open_project(project.path)
    assert again.counts == project.counts
    assert again.pipeline["ways"].budgets == Retries.of(retries)


def test_budgets_may_change_and_what_had_failed_for_good_goes_on(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(ways, bad={"3": "memory", "4": "exception"}, retries=0)
    run_here(project)
    project.change("ways", retries={"memory": 0, "exception": 3})
    for seen in (project, lw.open_project(project.path)):
        units = seen.pipeline["ways"].units
        assert [units.state[3], units.state[4]] == [State.FAILED, State.WAITING]
    run_here(project)
    assert attempts(project, "ways")[3:5] == [1, 4]


@pytest.mark.parametrize(("code", "expected"), [(1, 1), (137, 3)])
def test_only_some_exit_codes_are_worth_another_attempt(folder, code, expected):
    project = lw.create(folder / "p.lw", numbered((1, 2))[0])
    retries = {"exit_code": lw.Again(2, codes=range(130, 146))}
    project.add(exits(code).with_options(retries=retries))
    assert not run_here(project)
    assert attempts(project, "program") == [expected] * 2
    assert lw.open_project(project.path).counts == {"program": {"failed": 2}}


def test_a_signal_counts_as_the_exit_code_that_a_shell_gives_it(folder):
    project = lw.create(folder / "p.lw", numbered((1, 1))[0])
    stage = lw.command(["sh", "-c", "kill -9 $$"], name="program")
    project.add(stage.with_options(retries={"exit_code": lw.Again(1, codes=(137,))}))
    assert not run_here(project)
    assert attempts(project, "program") == [2]


def test_the_run_waits_for_what_waits_and_does_the_rest_meanwhile(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    (folder / "marks").mkdir()
    retries = {"exception": lw.Again(1, wait_s=0.3)}
    project.add(steps.fail_once, name="shy", marks=str(folder / "marks"), retries=retries)
    assert run_here(project)
    assert attempts(project, "shy") == [2] * 20
    table = project.attempts("shy")
    for _, tile in table.groupby("tile"):
        first, second = tile.itertuples()
        assert (second.queued - first.ended).total_seconds() > 0.25
    outcomes = table.sort_values("queued").outcome.tolist()
    assert outcomes[:20].count("exception") > 10  # others went while the first ones waited


def test_a_unit_that_waits_says_until_when(folder):
    project = lw.create(folder / "p.lw", numbered((1, 2))[0])
    project.add(ways, bad={"1": "exception"}, retries={"exception": lw.Again(1, wait_s=3600)})
    project.add(steps.add, after="ways")
    run = threading.Thread(target=run_here, args=(project,))
    run.start()
    try:
        limit = time.monotonic() + 60
        while project.counts["add"].get("complete") != 1 and time.monotonic() < limit:
            time.sleep(0.02)
        other = lw.open_project(project.path)
        while not other.attempts_made() >= 3 and time.monotonic() < limit:
            time.sleep(0.05)
        said = r"failed once: ValueError: too dark; tried again in (59 min|1 h)"
        assert re.match(said, other.why("ways", 1))
        assert "'ways' at" in other.why("add", 1)
    finally:
        project.stop()
        run.join(60)
    assert not run.is_alive()
    assert project.counts["ways"] == {"complete": 1, "waiting": 1}


def test_another_run_waits_for_the_rest_of_the_time(folder):
    session = waiting_session(folder)
    session.end()
    failed_at = float(session.project.pipeline["ways"].units.ended[1])
    NOW[0] = failed_at + 25
    session.begin()
    assert held(session) == (0, 1)
    NOW[0] = failed_at + 59
    session.coordinator.care.delays.release()
    assert held(session) == (0, 1)
    NOW[0] = failed_at + 61
    session.coordinator.care.delays.release()
    assert held(session) == (1, 0)
    session.crash()


def waiting_session(folder):
    """A session in which unit 1 of stage 'ways' has just failed and waits for 60 s."""
    lw.create(folder / "p.lw", numbered((1, 2))[0])
    session = Session(folder / "p.lw")
    retries = {"exception": lw.Again(3, wait_s=60)}
    session.project.add(ways, bad={"1": "exception"}, retries=retries)
    session.clock = lambda: NOW[0]
    session.begin()
    for _ in range(3):  # the first tile goes alone: it settles what the stage makes
        session.send()
        for _, future in session.out:
            future.compute()
            future.become("finished")
        session.take_in()
    assert session.coordinator.ready["ways"].n_held == 1
    return session


def held(session):
    queue = session.coordinator.ready["ways"]
    return len(queue), queue.n_held


def test_a_unit_is_tried_again_when_its_time_has_come_and_waits_longer_each_time(folder):
    session = waiting_session(folder)
    for wait in (60, 120, 240):
        assert held(session) == (0, 1)
        NOW[0] += wait - 1
        session.coordinator.care.delays.release()
        assert held(session) == (0, 1)
        NOW[0] += 2
        session.coordinator.care.delays.release()
        assert held(session) == (1, 0)
        session.send()
        for _, future in session.out:
            future.compute()
            future.become("finished")
        session.take_in()
    assert held(session) == (0, 0)
    assert session.project.counts["ways"] == {"complete": 1, "failed": 1}
    session.crash()


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda project: project.cancel("ways", 1), (0, 0)),
        (lambda project: project.retry("ways", 1, states="waiting"), (1, 0)),
        (lambda project: project.withdraw(1), (0, 0)),
        (lambda project: project.set_parameters(gain=3), (0, 1)),
        (lambda project: project.pause("ways"), (0, 1)),
    ],
    ids=["cancelled", "told to run", "withdrawn", "something else", "paused"],
)
def test_what_users_do_to_a_unit_that_waits(folder, act, expected):
    session = waiting_session(folder)
    act(session.project)
    assert held(session) == expected
    NOW[0] += 1000
    session.coordinator.care.delays.release()
    assert held(session)[1] == 0
    assert held(session)[0] == sum(expected)
    session.crash()


def test_nothing_is_kept_where_no_stage_waits(folder):
    lw.create(folder / "p.lw", numbered()[0])
    session = Session(folder / "p.lw")
    session.project.add(ways, bad={"1": "exception"}, retries=5)
    session.begin()
    session.finish()
    assert len(session.coordinator.care.delays) == 0
    assert session.project.counts["ways"] == {"complete": 19, "failed": 1}
    session.crash()


def test_many_units_that_wait_come_back_in_the_order_of_their_moments(folder):
    lw.create(folder / "p.lw", numbered((20, 20))[0])
    session = Session(folder / "p.lw")
    session.project.add(ways, bad={}, retries={"exception": lw.Again(1, wait_s=10)})
    session.begin()
    node, queue = session.pipeline["ways"], session.coordinator.ready["ways"]
    delays = Delays(session.coordinator, lambda: NOW[0])
    begun, order = NOW[0], np.random.default_rng(1).permutation(400)
    for k, unit in enumerate(order.tolist()):
        NOW[0] = begun + k
        node.units.charge(
            *(np.array([unit]), np.zeros(1, "u8"), node.budgets),
            *(np.array([2]), np.array([0])),
        )
        delays.failed(node, np.array([unit]))
    assert (len(queue), queue.n_held, len(delays)) == (0, 400, 400)
    for k in range(400):
        NOW[0] = begun + 10 + k
        delays.release()
        assert (len(queue), len(delays)) == (k + 1, 399 - k)
        assert queue._member[order[k]]
    session.crash()


def test_clocks_out_of_step_make_nobody_wait_longer():
    node = Session.__new__(Session)  # anything with units and budgets
    node.units = Units.waiting(1)
    node.budgets = Retries.of({"exception": lw.Again(1, wait_s=10)})
    node.units.tries[0], node.units.ended[0] = 1, 5000.0
    node.units.spent[:] = add_failures(np.zeros(1, "u8"), np.array([2]), np.array([0]))
    assert wait_left_s(node, 0, now=1000.0) == 10.0
    assert wait_left_s(node, 0, now=5004.0) == 6.0
    assert wait_left_s(node, 0, now=9000.0) == 0.0


def test_snapshots_of_an_earlier_version_are_read_as_failures_of_one_kind():
    units = Units.waiting(3)
    units.tries[:] = [0, 1, 2]
    packed = units.to_bytes()
    sizes = np.frombuffer(packed, "<i8", 1 + len(COLUMNS)).tolist()
    start, kept = 8 * len(sizes), sum(sizes[1 : 1 + FIRST_COLUMNS])
    header = np.array(sizes[: 1 + FIRST_COLUMNS], "<i8").tobytes()
    old = Units.from_bytes(header + packed[start : start + kept])
    assert old.tries.tolist() == [0, 1, 2]
    assert Retries.of(1).used_up(old.spent).tolist() == [False, False, True]
    assert Retries.of({"timeout": 0, "exception": 2}).used_up(old.spent).tolist() == [False] * 3


def test_a_snapshot_keeps_what_was_spent_of_each_budget(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(ways, bad={"3": "memory", "4": "exception"}, retries={"memory": 0, "exception": 2})
    run_here(project)
    journal = Journal(journal_file(project.path), read_only=True)
    (packed,) = journal.query("select states from snapshots where length(states) > 0")[0]
    journal.close()
    again = Units.from_bytes(packed)
    np.testing.assert_array_equal(again.spent, project.pipeline["ways"].units.spent)
    assert np.count_nonzero(again.spent) == 2
