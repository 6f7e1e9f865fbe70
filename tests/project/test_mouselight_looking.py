"""The acceptance table of MouseLight's pipeline, row by row: what is looked at, copied, and large.

See `test_mouselight_table` for what is not covered.
"""

import re
import time
from pathlib import Path

import numpy as np
import pytest

import latticework as lw
from latticework.io.growth_store import Growth
from latticework.io.tiff_source import TiffSource
from latticework.io.watch_known import subset
from latticework.io.watching import watch_list
from latticework.lattice import Lattice, State
from latticework.project.coordinator import Coordinator
from latticework.project.growing import grow_project
from latticework.project.steering import carry_out
from latticework.viz import mosaic_picture, plot_status, state_colours, status_html
from tests.project.brain import (
    Gate,
    Microscope,
    fail_where_marked,
    in_state,
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
from tests.project.running import HereClient, run_here


@pytest.fixture
def every_state(folder, local_client):
    """A project with units in every state there is, while it runs."""
    project = recorded(folder)
    marks, gate = folder / "marks", Gate(folder)
    marks.mkdir()
    (marks / "0").touch()
    project.add(fail_where_marked, name="fix", marks=str(marks), retries=0)
    project.add(passed, name="probe", after="fix")
    project.withdraw(26)
    project.cancel("probe", 25)
    assert not run_here(project)
    project.add(noted, name="trace", gate=str(gate))
    gate.let(0)  # before one has told what the stage makes, there are no more out than slots
    with running(project.start(local_client), gate):
        until(lambda: len(gate.begun()) == 3 and states(project, "trace")[0] == State.COMPLETE)
        active = {State.WAITING, State.QUEUED, State.RUNNING}
        until(lambda: active < set(states(project, "trace")))
        project.retry("fix", 1, failed=False)
        until(lambda: states(project, "probe")[1] == State.STALE)
        yield project


def test_a_map_shows_each_state_by_its_own_value_and_label(every_state):
    """Plane map."""
    status = every_state.status
    expected = {
        ("fix", 0): State.FAILED,
        ("probe", 0): State.BLOCKED,
        ("probe", 1): State.STALE,
        ("probe", 2): State.COMPLETE,
        ("probe", 25): State.CANCELLED,
        ("probe", 26): State.ABSENT,
        ("trace", in_state(every_state, "trace", State.RUNNING)[0]): State.RUNNING,
        ("trace", in_state(every_state, "trace", State.QUEUED)[0]): State.QUEUED,
        ("trace", in_state(every_state, "trace", State.WAITING)[0]): State.WAITING,
    }
    assert set(expected.values()) == set(State)
    meanings = status.state.attrs["flag_meanings"].split()
    for (stage, unit), state in expected.items():
        z, rest = divmod(unit, 9)
        place = {"tile_z": z, "tile_y": rest // 3, "tile_x": rest % 3}
        value = int(status.state.sel(stage=stage, **place))
        assert value == state
        assert meanings[status.state.attrs["flag_values"].index(value)] == state.label
        assert state_colours[state].label == state.label
    figure = plot_status(status)
    drawn = set()
    for axes in figure.axes:
        for image in axes.images:
            drawn |= set(np.ma.compressed(image.get_array()).astype(int).tolist())
    assert {int(state) for state in State} <= drawn
    words = " ".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))
    assert "cancelled" in words


def test_counts_are_those_of_the_tables_and_sum_to_the_tiles(every_state):
    """Stage view."""
    every_state.pause()
    until(lambda: not any("queued" in found for found in every_state.counts.values()))
    status, counts = every_state.status, every_state.counts
    for stage in every_state.stages:
        values, numbers = np.unique(status.state.sel(stage=stage), return_counts=True)
        table = {State(value).label: int(n) for value, n in zip(values, numbers, strict=True)}
        assert table == counts[stage] == every_state[stage].counts
        assert sum(counts[stage].values()) == len(every_state.lattice) == 27
        page = status_html({stage: every_state.pipeline[stage].units.count()})
        for label, n in table.items():
            assert label == "absent" or re.search(rf"\b{n}\b", page), (label, n)
    attempts = every_state.attempts()
    fixed = attempts[(attempts.stage == "fix") & (attempts.outcome == "complete")]
    assert fixed.tile.nunique() == 25


def thumbnail(tile):
    """Small picture of a tile, 89 x 105 pixels as MouseLight's, all of its number."""
    if int(tile.attrs["tile_id"]) == 4:
        raise ValueError("it is blank")
    return np.full((89, 105), 1 + int(tile.attrs["tile_id"]), "u1")


def test_thumbnails_lie_where_their_tiles_are_and_missing_ones_are_blank(folder):
    """Thumbnails, as a picture."""
    array = np.zeros((2 * 89, 3 * 105), "u2")
    tiles = Lattice.from_array(array, block={"y": 89, "x": 105})
    project = lw.create(folder / "p.lw", tiles)
    project.add(thumbnail, retries=0)
    run_here(project)
    picture = mosaic_picture(project["thumbnail"], scale=False)
    assert picture.shape == array.shape
    for tile in range(6):
        y, x = divmod(tile, 3)
        place = picture[y * 89 : (y + 1) * 89, x * 105 : (x + 1) * 105]
        if tile == 4:
            assert np.isnan(place).all()
        else:
            assert (place == tile + 1).all()


def test_throughput_is_that_of_the_completion_times(folder, local_client):
    """Throughput."""
    project = recorded(folder)
    gate = Gate(folder)
    project.add(noted, gate=str(gate))
    with running(project.start(local_client), gate) as run:
        for tile in range(27):
            gate.let(tile)
            time.sleep(0.02)
        assert run.wait(20)
    series = project.throughput("noted", every=0.2)
    attempts = project.attempts("noted")
    ended = attempts.ended.astype("int64") // 200_000  # microseconds
    counted = attempts.groupby(ended.to_numpy()).size()
    assert series.completed.sum() == 27
    assert len(series) > 1
    assert series.completed.tolist() == counted.tolist()
    assert (series.time.astype("int64") // 200_000).tolist() == counted.index.tolist()
    np.testing.assert_allclose(series.per_minute, series.completed * 300)


def test_a_copy_of_a_project_has_the_same_stages_in_its_own_place_and_is_not_running(folder):
    """Duplicate project."""
    project = recorded(folder)
    project.add(plus, amount=3)
    project.add(pair, after="plus", reads=lw.neighbours("+z", missing="absent"))
    project.add(passed, after="plus")
    assert run_here(project)
    copy = project.copy(folder / "copy.lw")
    assert copy.path != project.path
    assert copy.stages == project.stages
    for stage in project.stages:
        one, other = project.pipeline[stage], copy.pipeline[stage]
        assert (one.parents, one.definition) == (other.parents, other.definition)
    assert ran_since(copy, 0) == {}
    assert copy.counts == {
        "plus": {"waiting": 27},
        "pair": {"absent": 9, "waiting": 18},
        "passed": {"waiting": 27},
    }
    before = {path: path.stat().st_mtime_ns for path in project.path.rglob("*") if path.is_file()}
    assert run_here(copy)
    assert copy.counts == project.counts
    for tile in range(27):
        np.testing.assert_array_equal(copy["plus"].tile(tile), project["plus"].tile(tile))
    after = {path: path.stat().st_mtime_ns for path in project.path.rglob("*") if path.is_file()}
    assert before == after


# ------------------------------------------------------------------ scale


def large(n, *, again=0):
    """Tiles of ten thousands, whose files nobody ever opens; `again` tells later images apart."""
    rows, columns = 10, 20
    z, rest = np.divmod(np.arange(n), rows * columns)
    index = np.stack([z, *np.divmod(rest, columns)], axis=1)
    source = TiffSource(
        root=Path("/acquisition"),
        names=[f"tile_{k:06d}.tif" for k in range(n)],
        sizes=np.full(n, 2 * 64 * 64),
        mtimes=np.arange(n) + 10**18 + again,
        file_of=np.arange(n)[:, None],
        page_of=np.zeros((n, 1), np.int64),
        slot=np.zeros(1, np.int64),
        page=np.zeros(1, np.int64),
        sample=np.zeros(1, np.int64),
        shape=(64, 64),
        dtype=np.dtype("u2"),
    )
    labels = {
        "tile_z": np.arange(z.max() + 1),
        "tile_y": np.arange(rows),
        "tile_x": np.arange(columns),
    }
    return Lattice(
        dims=tuple(labels),
        labels=labels,
        index=index,
        tile_dims=("y", "x"),
        tile_shape=(64, 64),
        dtype="u2",
        names=source.names,
        source=source,
    )


class Nobody(HereClient):
    """A client without workers."""

    def nthreads(self):
        return {}


def test_40_000_tiles_of_four_stages_are_refreshed_without_writing_what_did_not_change(folder):
    """Scale: the states of a project."""
    n = 40_000
    project = lw.create(folder / "p.lw", large(n))
    project.ask("open acquisition", {})
    above = lw.neighbours("+z", missing="absent")
    project.add(passed, name="fix")
    project.add(passed, name="probe", after="fix")
    project.add(pair, name="match", after="probe", reads=above)
    project.add(passed, name="trace", after="probe")
    with project.lock().held():
        coordinator = project.coordinator = Coordinator(project, Nobody())
        for node in coordinator.pipeline:  # everything has been done
            node.units.published[:], node.units.attempts[:] = 1, 1
            node.units.fingerprint[:] = coordinator.pipeline.expected(node, np.arange(n))
            coordinator.states.begin()  # its stages read what is complete
        done = {"complete": n}
        pairs = {"absent": 200, "complete": n - 200}
        assert project.counts == {"fix": done, "probe": done, "match": pairs, "trace": done}
        coordinator.journal.commit()

        begun = time.perf_counter()
        coordinator.states.begin()  # the state of every unit is worked out anew
        assert time.perf_counter() - begun < 2
        assert project.counts == {"fix": done, "probe": done, "match": pairs, "trace": done}

        written = rows_written(coordinator)
        size = sum(path.stat().st_size for path in project.path.rglob("*") if path.is_file())
        begun = time.perf_counter()
        source = subset(large(n, again=1).source, np.array([20_000]))
        grow_project(coordinator, Growth(replaced=(np.array([20_000]), source)))
        coordinator.journal.commit()
        assert time.perf_counter() - begun < 2
        assert {name: found.get("stale") for name, found in project.counts.items()} == {
            "fix": 1,
            "probe": 1,
            "match": 2,
            "trace": 1,
        }
        assert rows_written(coordinator) - written < 10
        now = sum(path.stat().st_size for path in project.path.rglob("*") if path.is_file())
        assert now - size < 64_000

        written = rows_written(coordinator)
        begun = time.perf_counter()
        asked = {"stages": ["fix"], "unit": 7, "states": ["complete"]}
        assert carry_out(coordinator, "retry", asked) == 1
        assert time.perf_counter() - begun < 2
        assert rows_written(coordinator) - written < 10
        project.coordinator = None
        project.close_writer()


def rows_written(coordinator):
    """Rows that the journal has ever changed."""
    return coordinator.journal._db.total_changes


@pytest.mark.slow
def test_a_tile_that_is_complete_on_a_list_of_40_000_is_found_within_two_seconds(folder):
    """Scale: the list of an acquisition."""
    n = 40_000
    scope = Microscope(folder / "raw", complete=range(1000), grid=(n // 400, 20, 20))
    watcher = watch_list(scope.list, settle_s=0, notify="poll")
    tiles = watcher.poll(None).growth.tiles
    assert len(tiles) == n
    scope.image(1000)
    scope.say()
    begun = time.perf_counter()
    found = watcher.poll(tiles)
    assert time.perf_counter() - begun < 2
    ids, values = found.growth.presence
    assert (ids.tolist(), values.tolist()) == ([1000], [State.COMPLETE])
    watcher.close()
