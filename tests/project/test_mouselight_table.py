"""The acceptance table of MouseLight's pipeline, row by row: what runs, and while tiles arrive.

Its other rows: `test_mouselight_control`, `test_mouselight_programs`, `test_mouselight_looking`.
Not covered by any of them:

====================  =========================================================================
Line fix, DoG, Point  algorithms for images
match, Stitching,
Skeleton
Local then cluster    batch systems: there are no pools of workers yet that work spills over to
Capacity              work units: there is no such option of stages yet (that no more units run at
                      once than there are slots is tested in `test_mouselight_control`)
Thumbnails, Logs      as pages: there is no server yet (as functions, both are tested)
====================  =========================================================================
"""

import json

import numpy as np
import pandas as pd
import pytest

import latticework as lw
from latticework.lattice import State
from latticework.testing import write_mouselight
from tests.project.brain import (
    DAY,
    Gate,
    Microscope,
    Notes,
    brain,
    in_state,
    last_attempt,
    noted,
    pair,
    passed,
    plus,
    ran_since,
    record_of,
    recorded,
    running,
    states,
    until,
)
from tests.project.running import completions, run_here
from tests.project.steps import statistics

AXES = {"x": 1, "y": 3, "z": 9}
"""How far apart the ids of neighbours are in 3 x 3 x 3 tiles."""


# ------------------------------------------------------------------ what is acquired


def test_both_lists_of_tiles_give_the_same_tables(folder):
    """Both inputs."""
    found = []
    for name, options in {"p": {}, "d": {"form": "dashboard", "backslashes": True}}.items():
        write_mouselight(brain(), folder / name / "raw", **options)
        project = lw.create(folder / name / "brain.lw", lw.open_tiles(folder / name / "raw"))
        project.add(statistics)
        assert run_here(project)
        history = project.attempts()[["stage", "tile", "tile_z", "tile_y", "tile_x", "outcome"]]
        assert len(history) == 27
        found.append((project["statistics"].data, history.sort_values("tile", ignore_index=True)))
    for one, other in zip(*found, strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert found[0][0]["mean"].tolist() == [float(t.mean()) for t in pixels_of(brain())]


def pixels_of(lattice):
    return [lattice.source.read(id, lw.Box.whole(lattice.tile(id).shape)) for id in lattice.ids]


@pytest.fixture
def live(folder, local_client):
    """A project that is watched while it runs: `live(microscope, stages)` starts it."""
    runs = []

    def start(scope, add, **options):
        options = {"settle_s": 0, **options}
        project = lw.create_watched(folder / "brain.lw", scope.folder, **options)
        add(project)
        notes = Notes()
        run = project.watch(
            scope.folder, local_client, background=True, interval_s=0.1, progress=notes, **options
        )
        runs.append((project, run))
        return project, notes

    yield start
    for _, run in runs:
        run.stop()
        run.wait(60)


def test_a_tile_that_is_said_to_be_complete_runs_alone_and_at_once(folder, live):
    """Live acquisition."""
    scope = Microscope(folder / "raw", complete=set(range(27)) - {13})
    project, _ = live(scope, lambda project: project.add(plus))
    until(lambda: project.counts["plus"] == {"complete": 26, "waiting": 1})
    last = last_attempt(project)
    scope.image(13)
    scope.say()
    until(lambda: project.counts["plus"] == {"complete": 27}, seconds=10)
    until(lambda: ran_since(project, last))
    assert ran_since(project, last) == {"plus": [13]}
    np.testing.assert_array_equal(project["plus"].tile(13), pixels_of(scope.lattice)[13] + 1)


def test_a_list_that_is_half_written_missing_or_shrunk_changes_nothing_and_is_told(folder, live):
    """Truncated/missing/shrunk input."""
    scope = Microscope(folder / "raw", complete=range(27))
    project, notes = live(scope, lambda project: project.add(plus))
    until(lambda: project.counts["plus"] == {"complete": 27})
    whole = scope.text()

    def unchanged():
        return project.counts == {"plus": {"complete": 27}} and len(project.lattice) == 27

    scope.list.write_text(whole[: len(whole) // 2])
    until(lambda: notes.has("cannot be used, nothing changes", "pipeline-input.json"))
    assert unchanged()
    scope.list.unlink()
    until(lambda: notes.has("cannot be found", "nothing changes"))
    assert unchanged()
    scope.listed = set(range(13))
    scope.say()
    until(lambda: notes.has("14 of 27 tiles left at once", "nothing is withdrawn"))
    assert unchanged()
    scope.listed = set(range(27))
    scope.say()
    until(lambda: notes.has("has most of its tiles again"))
    assert unchanged()
    assert set(completions(project).values()) == {1}


def test_a_tile_that_is_taken_off_the_list_leaves_and_its_neighbours_know(folder, live):
    """Curated tile."""
    scope = Microscope(folder / "raw", complete=range(27))

    def add(project):
        project.add(plus)
        project.add(pair, after="plus", reads=lw.neighbours("+z", missing="absent"))
        project.add(pair, name="loose", after="plus", reads=lw.neighbours("+z", missing="run"))

    project, _ = live(scope, add)
    before = {"plus": {"complete": 27}, "pair": {"absent": 9, "complete": 18}}
    until(lambda: project.counts == {**before, "loose": {"complete": 27}})
    assert record_of(project, "loose")[4]["next"] == [13]
    last = last_attempt(project)
    scope.listed.remove(13)  # above tile 4, below tile 22
    scope.say()
    until(
        lambda: (
            project.counts
            == {
                "plus": {"absent": 1, "complete": 26},
                "pair": {"absent": 11, "complete": 16},
                "loose": {"absent": 1, "complete": 26},
            }
        )
    )
    assert states(project, "source")[13] == State.ABSENT
    assert [states(project, "pair")[unit] for unit in (4, 13)] == [State.ABSENT] * 2
    until(lambda: ran_since(project, last) == {"loose": [4]})
    assert record_of(project, "loose")[4]["next"] == [None]
    assert "withdrawn" in project.why("plus", 13)
    scope.listed.add(13)
    scope.say()
    until(lambda: project.counts == {**before, "loose": {"complete": 27}})
    assert record_of(project, "loose")[4]["next"] == [13]
    assert set(ran_since(project, last)) == {"loose"}  # what it had made is there still
    assert set(ran_since(project, last)["loose"]) == {4}


# ------------------------------------------------------------------ what runs


def test_three_stages_of_27_tiles_are_81_successes_parents_first(folder):
    """Map stage."""
    project = recorded(folder)
    for name, parent in {"fixed": project.source, "probed": "fixed", "traced": "probed"}.items():
        project.add(plus, name=name, after=parent)
    assert project.run(progress="none")  # on a cluster of its own
    table = project.attempts()
    assert table.outcome.tolist() == ["complete"] * 81
    times = table.set_index(["stage", "tile"])
    for parent, child in (("fixed", "probed"), ("probed", "traced")):
        assert (times.loc[parent].ended <= times.loc[child].started[times.loc[parent].index]).all()
    lattice = brain()
    for tile, pixels in enumerate(pixels_of(lattice)):
        np.testing.assert_array_equal(project["traced"].tile(tile), pixels + 3)


@pytest.mark.parametrize("axis", AXES)
def test_a_grid_of_27_has_18_pairs_along_an_axis_and_9_tiles_without(folder, axis):
    """Adjacency."""
    project = recorded(folder)
    project.add(pair, reads=lw.neighbours(f"+{axis}", missing="absent"))
    assert run_here(project)
    assert project.counts["pair"] == {"absent": 9, "complete": 18}
    found = record_of(project, "pair")
    has = [tile for tile in range(27) if tile // AXES[axis] % 3 < 2]
    assert {own: record["next"] for own, record in found.items()} == {
        tile: [tile + AXES[axis]] for tile in has
    }
    pixels = pixels_of(brain())
    for own, record in found.items():
        assert record["sum"] == pixels[own].sum() + pixels[own + AXES[axis]].sum()


def test_pairs_step_over_a_plane_that_the_list_skips(folder, live):
    """Skip plane: z0 pairs z2."""
    scope = Microscope(folder / "raw", complete=range(27), skipped={"z": [1]})
    project, _ = live(scope, lambda p: p.add(pair, reads=lw.neighbours("+z", missing="absent")))
    until(lambda: project.counts == {"pair": {"absent": 18, "complete": 9}})
    found = record_of(project, "pair")
    assert {own: record["next"] for own, record in found.items()} == {
        tile: [tile + 18] for tile in range(9)
    }
    scope.options["skipped"] = {}
    scope.say()
    until(lambda: project.counts == {"pair": {"absent": 9, "complete": 18}})
    assert record_of(project, "pair")[4]["next"] == [13]


def test_skipping_a_plane_while_it_runs_takes_it_out_of_the_queue(folder, local_client):
    """Skip plane: adding it later dequeues."""
    project = recorded(folder)
    gate = Gate(folder)
    project.add(noted, gate=str(gate))
    project.add(pair, after="noted", reads=lw.neighbours("+z", missing="absent"))
    with running(project.start(local_client), gate) as run:
        until(gate.begun)
        project.skip(z=1)
        assert in_state(project, "noted", State.ABSENT) == list(range(9, 18))
        gate.open()
        assert run.wait(60)
    assert sorted(gate.begun()) == [*range(9), *range(18, 27)]
    assert project.counts == {
        "noted": {"absent": 9, "complete": 18},
        "pair": {"absent": 18, "complete": 9},
    }
    assert {own: r["next"] for own, r in record_of(project, "pair").items()} == {
        tile: [tile + 18] for tile in range(9)
    }
    last = last_attempt(project)
    project.unskip(z=1)
    assert run_here(project)
    assert ran_since(project, last) == {"noted": [*range(9, 18)], "pair": [*range(18)]}


def test_a_region_of_two_per_axis_runs_exactly_eight(folder):
    """Region."""
    project = recorded(folder, (4, 4, 4))
    project.add(plus)
    project.add(passed, after="plus")
    assert project.choose_region(z=slice(1, 2), y=slice(1, 2), x=slice(1, 2)) == 8
    assert run_here(project)
    inside = [z * 16 + y * 4 + x for z in (1, 2) for y in (1, 2) for x in (1, 2)]
    assert ran_since(project, 0) == {"passed": inside, "plus": inside}
    assert project.counts == {name: {"absent": 56, "complete": 8} for name in ("plus", "passed")}
    last = last_attempt(project)
    project.choose_region(z=slice(2, None))
    assert run_here(project)
    assert ran_since(project, last)["plus"] == [t for t in range(32, 64) if t not in inside]


def test_a_list_may_say_that_nothing_is_complete_yet(folder):
    """Live acquisition: what is announced only is not run, and not absent either."""
    write_mouselight(brain(), folder / "raw", complete=[3])
    listed = json.loads((folder / "raw" / "pipeline-input.json").read_text())
    assert sum(tile["isComplete"] for tile in listed["tiles"]) == 1
    project = lw.create(folder / "brain.lw", lw.open_tiles(folder / "raw"))
    project.add(plus)
    run_here(project)
    assert project.counts["plus"] == {"waiting": 26, "complete": 1}
    assert ran_since(project, 0) == {"plus": [3]}
    assert project.lattice.tile(3).name == f"{DAY}/00/00003"
