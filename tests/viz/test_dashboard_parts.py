"""What the pages stand on: tallies of failures, work over time, data of figures, control."""

import re
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from bokeh.models import ColumnDataSource
from hypothesis import given
from hypothesis import strategies as st

import latticework as lw
from latticework.errors import LatticeworkError
from latticework.lattice.states import State
from latticework.project.following import Following
from latticework.viz.dashboard import control_actions as actions
from latticework.viz.dashboard.changing_data import send
from latticework.viz.dashboard.control_page import carried_out, made_of
from latticework.viz.dashboard.control_token import control_token
from latticework.viz.dashboard.failure_groups import failures
from latticework.viz.dashboard.failure_tally import FailureTally, same_message
from latticework.viz.dashboard.failures_page import MOST_BARS, _bars
from latticework.viz.dashboard.feed import ProjectFeed
from latticework.viz.dashboard.map_previews import best_pictured
from latticework.viz.dashboard.naming import read_labels, unit_of
from latticework.viz.dashboard.overview import rate_matters, run_state
from latticework.viz.dashboard.recent import ATTEMPT
from latticework.viz.dashboard.tile_pictures import MOST_PX, projected
from latticework.viz.dashboard.work_data import work_of
from latticework.viz.dashboard.work_page import time_left_of


@pytest.fixture
def project(tmp_path):
    """A project of 12 tiles in 3 planes that nobody runs."""
    tiles = lw.Lattice.from_array(np.ones((12, 16, 8), "u1"), block={"z": 4, "y": 4, "x": 8})
    made = lw.create(tmp_path / "p.lw", tiles)
    made.add(np.negative, name="clean")
    made.add(np.square, name="spots", after="clean")
    return made


def write_attempts(project, rows, *, errors=(), workers=()):
    """Put attempts into the journal: (stage, unit, attempt, outcome, ended, worker, error)."""
    with project._lock.held():
        journal = project.writable_journal()
        with journal.transaction():
            for number, message in errors:
                journal.write(
                    "insert into errors values (?, 'ValueError', ?, ?)",
                    (number, message, f"Traceback\n{message}"),
                )
            for number, host in workers:
                sql = "insert into workers values (?, ?, ?)"
                journal.write(sql, (number, f"tcp://{host}:1", host))
            journal.write_many(
                "insert into attempts (stage, unit, attempt, outcome, session, started, ended, "
                "peak_memory, worker, error, fingerprint) values (?, ?, ?, ?, 1, ?, ?, ?, ?, ?, 0)",
                (
                    (stage, unit, attempt, outcome, ended - 2, ended, 10**6, worker, error)
                    for stage, unit, attempt, outcome, ended, worker, error in rows
                ),
            )
        project.close_writer()


def with_states(snapshot, states):
    """A snapshot in which some units of the first stage are in other states."""
    first, *others = snapshot.stages
    grid = first.states.copy()
    for unit, state in states.items():
        grid[first.lattice.tile(unit).index] = state
    counts = tuple(np.bincount(grid.reshape(-1), minlength=9).tolist())
    return replace(snapshot, stages=(replace(first, states=grid, counts=counts), *others))


# -------------------------------------------------------------------- failures


def test_failures_are_grouped_by_message_and_read_on(project):
    now = time.time()
    errors = [(1, "tile 3 is dark (0.1)"), (2, "tile 14 is dark (0.25)"), (3, "no such file 17")]
    write_attempts(
        project,
        [
            (1, 3, 1, 2, now - 50, 1, 1),
            (1, 3, 2, 2, now - 40, 1, 1),
            (1, 4, 1, 2, now - 30, 2, 2),
            (1, 5, 1, 2, now - 20, 2, 3),
            (1, 5, 2, 1, now - 10, 1, None),  # the other attempt was good
            (1, 6, 1, 11, now - 5, None, None),  # lost with its worker
        ],
        errors=errors,
        workers=[(1, "node1"), (2, "node2")],
    )
    feed, tally = ProjectFeed(project.path), FailureTally()
    looking = lw.open_project(project.path)
    snapshot = with_states(feed.look(), {3: State.FAILED, 4: State.FAILED, 5: State.COMPLETE})
    assert tally.look(looking)
    assert not tally.look(looking)
    found = failures(snapshot, tally, feed.recent.rows)
    dark, file, lost = found.groups
    assert dark.message == "ValueError: tile # is dark (#)"
    assert file.message == "ValueError: no such file 17"  # all are equal: nothing is left out
    assert (dark.attempts, dict(dark.hosts)) == (3, {"node1": 2, "node2": 1})
    assert (dark.first, dark.last) == (now - 50, now - 30)
    assert (file.mended, lost.kind) == (1, "worker lost")
    assert (found.attempts, found.mended, found.lost) == (5, 1, 1)
    assert dark.units == 2
    assert dark.tiles == (("clean", 3), ("clean", 4))
    assert found.failed == 2
    dim, labels, counts = found.planes[1]
    assert (dim, labels.tolist(), counts.tolist()) == ("tile_y", [0, 1, 2, 3], [1, 0, 0, 1])
    write_attempts(project, [(2, 0, 1, 3, now, 1, None)])
    assert tally.look(looking)
    again = failures(feed.look(), tally, feed.recent.rows)
    assert (again.attempts, again.memory) == (6, 1)
    only = failures(feed.look(), tally, feed.recent.rows, "spots")
    assert (only.attempts, only.memory, [group.kind for group in only.groups]) == (1, 1, ["memory"])


@pytest.mark.slow
def test_a_hundred_thousand_failures_are_quick(project):
    now = time.time()
    n = 100_000
    errors = [(k + 1, f"tile {k} is dark") for k in range(n)]
    rows = [(1, k % 12, k // 12 + 1, 2, now - n + k, k % 50 + 1, k + 1) for k in range(n)]
    workers = [(k + 1, f"node{k}") for k in range(50)]
    write_attempts(project, rows, errors=errors, workers=workers)
    looking = lw.open_project(project.path)
    snapshot = ProjectFeed(project.path).look()
    tally = FailureTally()
    begun = time.process_time()
    tally.look(looking)
    first = time.process_time() - begun
    found = failures(snapshot, tally, np.zeros(0, ATTEMPT))
    grouped = time.process_time() - begun - first
    assert [group.attempts for group in found.groups] == [n]
    assert first < 4
    assert grouped < 0.5
    begun = time.process_time()
    write_attempts(project, [(1, 0, 99, 2, now, 1, 7)])
    begun = time.process_time()
    tally.look(looking)
    assert time.process_time() - begun < 0.2


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=2, unique=True))
def test_messages_that_differ_in_numbers_and_paths_are_the_same(numbers):
    first, second = (
        same_message(f"cannot read /data/run{n}/tile_{n}.tif: {n} bytes at 0x{n:x}, z{n}_y{n / 7}")
        for n in numbers
    )
    assert first == second
    assert "cannot read" in first


def test_planes_share_bars_where_there_are_very_many():
    few = _bars(np.array([3, 0, 1]))
    assert (few["label"].tolist(), few["n"].tolist()) == ([0, 1, 2], [3, 0, 1])
    counts = np.zeros(1_000_001, int)
    counts[[0, 5, 1_000_000]] = 1
    many = _bars(counts)
    assert len(many["n"]) <= MOST_BARS
    assert many["n"].sum() == 3
    assert many["label"][-1] <= 1_000_000


# -------------------------------------------------------------------- what there is to look at


def test_previews_are_offered_of_what_has_some_and_begin_with_what_was_made_last(project):
    project.add(lambda tile: {"mean": float(tile.mean())}, name="record", after="clean")
    project.add(np.mean, name="all", after="clean", reads=lw.all_tiles())
    snapshot = ProjectFeed(project.path).look()
    assert [one.name for one in snapshot.pictured][:1] == ["source"]
    assert best_pictured(snapshot) == "source"  # nothing is made yet


def test_a_run_without_anything_to_do_says_what_it_waits_for(project):
    snapshot = replace(ProjectFeed(project.path).look(), running=True)
    assert run_state(snapshot) == "running"
    done = with_states(snapshot, dict.fromkeys(range(12), State.COMPLETE))
    paces = tuple(replace(pace, backlog=0) for pace in snapshot.gauge.stages)
    done = replace(done, gauge=replace(snapshot.gauge, stages=paces))
    assert run_state(done) == "waiting for work"
    more = replace(done, following=Following(going_on=True, held=(), n_held=0, notes=()))
    assert run_state(more) == "waiting for tiles"
    assert run_state(replace(done, running=False)) == "not running"


def test_stages_that_are_over_have_no_rate_and_failed_units_are_not_done(project):
    snapshot = ProjectFeed(project.path).look()
    pace = replace(snapshot.gauge.stages[0], backlog=0, stuck=2, per_minute=7.0)
    assert not rate_matters(pace)
    assert rate_matters(replace(pace, backlog=1))
    broken = with_states(snapshot, {0: State.FAILED, 1: State.BLOCKED}).stages[0]
    visit = SimpleNamespace(link=lambda page, **_: page)
    said = re.sub("<[^>]*>", "", time_left_of(visit, pace, broken))
    assert said == "1 failed, 1 blocked"
    assert time_left_of(visit, pace, snapshot.stages[0]) == "done"


# -------------------------------------------------------------------- work


def test_work_is_counted_where_it_was_done(project):
    now = time.time()
    write_attempts(
        project,
        [(1, k, 1, 1, now - 120 + 10 * k, k % 2 + 1, None) for k in range(12)],
        workers=[(1, "node1"), (2, "node2")],
    )
    feed = ProjectFeed(project.path)
    snapshot = feed.look()
    looking = lw.open_project(project.path)
    work = work_of(looking, snapshot, feed.recent.rows, None)
    clean, spots = work.stages
    completed = clean.per_minute * work.step_s / 60
    assert 11 <= completed.sum() <= 12  # the step that is not over is left out
    assert not spots.per_minute.any()
    assert clean.quantiles_s == pytest.approx((2, 2, 2))
    assert clean.memory_bytes == (10**6, 10**6)
    assert [one.host for one in work.workers] == ["node1", "node2"]
    assert sum(one.attempts for one in work.workers) == len(
        feed.recent.rows[feed.recent.rows["ended"] >= work.at[0] - work.step_s]
    )
    assert not work.from_journal
    # of a long past the journal counts, and it says the same
    part = feed.recent.rows[5:]
    longer = work_of(looking, snapshot, part, 3600.0)
    assert longer.from_journal
    assert (longer.stages[0].per_minute * longer.step_s / 60).sum() == pytest.approx(12, abs=1)


# -------------------------------------------------------------------- data of figures


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 12), st.integers(0, 3)), min_size=1),
)
def test_a_source_always_holds_what_was_sent(steps):
    source = ColumnDataSource({"at": [], "n": []})
    for begin, n, seed in steps:
        at = np.arange(begin, begin + n) * 5.0
        values = np.random.default_rng(seed).integers(0, 3, n).astype(float)
        values[values == 2] = np.nan
        send(source, {"at": at, "n": values}, by="at")
        np.testing.assert_array_equal(np.asarray(source.data["at"]), at)
        np.testing.assert_array_equal(np.asarray(source.data["n"]), values)


def test_only_what_changed_is_sent():
    at = np.arange(100.0)
    n = at % 7
    source = ColumnDataSource({"at": [], "n": []})
    assert send(source, {"at": at, "n": n}, by="at") == "all"
    assert send(source, {"at": at, "n": n}, by="at") == "nothing"
    changed = n.copy()
    changed[-1] = 50
    assert send(source, {"at": at, "n": changed}, by="at") == "patch"
    moved = {"at": at + 2, "n": np.concatenate([changed[2:], [1.0, 2.0]])}
    assert send(source, moved, by="at") == "stream"
    assert len(source.data["at"]) == 100


# -------------------------------------------------------------------- names


@given(st.data())
def test_every_tile_is_found_by_id_name_and_labels(data):
    sizes = data.draw(st.tuples(*[st.integers(1, 4)] * 3))
    lattice = lw.Lattice.from_grid(
        dict(zip("zyx", sizes, strict=True)), tile_shape={"y": 4, "x": 4}, dtype="u1"
    )
    tile = lattice.tile(data.draw(st.integers(0, len(lattice) - 1)))
    z, y, x = tile.labels.values()
    for text in (
        str(tile.id),
        tile.name,
        f"z={z} y={y} x={x}",
        f"x={x},y={y},z={z}",
        f"{z} {y} {x}",
    ):
        assert unit_of(lattice, text) == tile.id


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("w=1", "there is no axis 'w'; there are y, x"),
        ("y=a", "'a' is no label along y: those are numbers"),
        ("y=1 y=2", "given twice"),
        ("rubbish", "is no selection"),
    ],
)
def test_what_cannot_be_read_is_said(text, said):
    lattice = lw.Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 4, "x": 4}, dtype="u1")
    with pytest.raises(LatticeworkError, match=said):
        read_labels(lattice, text)


# -------------------------------------------------------------------- pictures


@given(
    st.integers(1, 3), st.integers(1, 3 * MOST_PX), st.integers(1, 3 * MOST_PX), st.integers(0, 9)
)
def test_pictures_are_small_and_keep_their_range(depth, height, width, seed):
    values = np.random.default_rng(seed).integers(0, 1000, (depth, height, width)).astype("u2")
    small = projected(values)
    assert max(small.shape) <= MOST_PX
    assert values.max(axis=0).min() <= small.min() <= small.max() <= values.max()


# -------------------------------------------------------------------- who may, and what


def test_an_action_is_not_carried_out_in_another_project(project):
    token = control_token(project.path)
    action = made_of(project, make=lambda _project: actions.pause(None))
    other = replace(action, project="of another one")
    with pytest.raises(LatticeworkError, match="another project has taken the place"):
        carried_out(project, action=other, token=token)
    with pytest.raises(LatticeworkError, match="nothing was done"):
        carried_out(project, action=action, token=token[:-1])
    assert not project.settings.paused
    assert carried_out(project, action=action, token=token) == "the project is paused"


def test_actions_say_what_they_would_do_and_do_that(project):
    chosen = actions.Selection("clean", "z=0..1")
    action = actions.cancel(project, chosen)
    assert action.question == "Cancel 8 units of 'clean' at z=0..1 that wait or run?"
    assert action.do(project) == "8 units of 'clean' at z=0..1 cancelled"
    assert project.counts["clean"] == {"waiting": 4, "cancelled": 8}
    again = actions.retry(project, actions.Selection("clean", "3", "cancelled"))
    assert again.question == "Retry 1 cancelled unit of 'clean' at 3?"
    again.do(project)
    assert project.counts["clean"] == {"waiting": 5, "cancelled": 7}
    actions.pause("clean").do(project)
    order = actions.prioritise(project.lattice, "planes", "tile_z", "3", "y=0..1")
    assert order.question.endswith(
        "y=0..1, then one of every 3 tiles, then plane by plane along z?"
    )
    order.do(project)
    assert project.settings.paused_stages == ("clean",)
    assert (project.settings.priority.axis, project.settings.priority.preview) == ("tile_z", 3)
    told = actions.last_commands(project)
    assert (told[-1].command, told[-1].answer) == ("add", "")  # it would repeat the name
    assert "clean" in told[-1].arguments
    assert [one.command for one in told[:4]] == ["prioritise", "pause", "retry", "cancel"]
    assert told[3].answer == "8"
    assert told[3].arguments == "stages: clean, bounds: z=0..1"
    assert told[0].arguments == "order: planes, axis: z, preview: 3, region: y=0..1"
    actions.cancel(project, actions.Selection("clean", "z=0 y=1..")).do(project)
    project.set_patience(after=None)
    told = actions.last_commands(project)
    assert told[1].arguments == "stages: clean, bounds: z=0 y=1.."
    assert told[0].arguments == "after: none, share: 0.5"


@pytest.mark.parametrize("where", ["nobody", "z=9", "w=1", "99"])
def test_actions_on_what_is_not_there_are_refused(project, where):
    with pytest.raises(LatticeworkError):
        actions.cancel(project, actions.Selection("clean", where))
