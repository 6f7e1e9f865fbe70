"""A microscope that is running, a project that runs with it: at the end all is as if done after."""

import numpy as np
import pytest

import latticework as lw
from latticework.testing import write_pattern
from latticework.testing.live import LiveMicroscope
from tests.project import live_steps

OPTIONS = {"settle_s": 0.4, "end": "FINISHED", "removed": "withdraw"}


def add_stages(project):
    """Every pattern in which tiles are read."""
    project.add(live_steps.doubled)
    project.add(live_steps.with_next, after="doubled", reads=lw.neighbours("+x"))
    project.add(live_steps.smoothed, after="doubled", overlap={"x": 1}, boundary="reflect")
    project.add(live_steps.digest, after="with_next")
    project.add(live_steps.row_sum, after="smoothed", reads=lw.plane("y"))
    project.add(live_steps.total, after="digest", reads=lw.all_tiles())


def microscope(tmp_path, *, rows, columns, seed, **faults):
    """A running microscope and the folder into which it writes."""
    rng = np.random.default_rng(seed)
    lattice, _ = lw.simulate({"y": rows, "x": columns}, tile_shape={"y": 16, "x": 16}, seed=seed)
    prepared = write_pattern(lattice, tmp_path / "prepared", pattern="y{tile_y}_x{tile_x}.tif")
    folder = tmp_path / "acquisition"
    return LiveMicroscope(
        prepared, folder, rng=rng, order="random", end="FINISHED", **faults
    ), folder


def results(project):
    """What every stage made, by tile name or label, whatever the tiles' numbers are."""
    found = {}
    here = [tile.id for tile in project.lattice if project.why("source", tile.id)[:6] != "absent"]
    for tile in map(project.lattice.tile, here):
        key = tile.name
        found["with_next", key] = np.asarray(project["with_next"].tile(tile.id)).tolist()
        found["smoothed", key] = np.asarray(project["smoothed"].tile(tile.id)).tolist()
    rows = project["row_sum"].data
    for row, value in zip(rows["tile_y"].tolist(), rows["sum"].tolist(), strict=True):
        found["row", row] = round(value, 3)
    found["total"] = dict(project["total"].data)
    return found


def runs(project, stage):
    """Completed attempts by unit."""
    query = (
        "select unit, count(*) from attempts a join stages s on s.id = a.stage "
        "where s.name = ? and outcome = 1 group by unit"
    )
    return dict(project.query(query, (stage,)))


def check_no_needless_runs(project, replaced, withdrawn):
    """Each unit ran once, and once more for each change of what it read."""
    lattice = project.lattice
    names = lattice.names.tolist()
    of_tile = runs(project, "doubled")
    assert sum(of_tile.values()) <= len(lattice) + replaced
    beside = lattice.neighbours("+x")[:, 0]
    for unit, count in runs(project, "with_next").items():
        read = [unit, *([int(beside[unit])] if beside[unit] >= 0 else [])]
        changes = sum(of_tile.get(k, 1) - 1 for k in read) + sum(
            names[k] in withdrawn for k in read
        )
        assert count <= 1 + changes, (names[unit], count, changes)


def compare_with_an_offline_run(project, folder, tmp_path):
    """The same tiles, opened and run when everything is there."""
    offline = lw.create(tmp_path / "offline.lw", lw.open_tiles(folder))
    add_stages(offline)
    assert offline.run(progress="none")
    expected, found = results(offline), results(project)
    assert found.keys() == expected.keys()
    assert all(found[key] == pytest.approx(expected[key]) for key in expected if key[0] == "row")
    different = [key for key in expected if key[0] != "row" and found[key] != expected[key]]
    assert not different


def watch(tmp_path, *, rows, columns, seed, delay_s, **faults):
    """Run a project while a microscope writes; both, and what was withdrawn, when all is done."""
    scope, folder = microscope(tmp_path, rows=rows, columns=columns, seed=seed, **faults)
    scope.start(delay_s=delay_s)
    try:
        project = lw.create_watched(
            tmp_path / "live.lw", folder, interval_s=0.2, timeout=60, **OPTIONS
        )
        add_stages(project)
        project.watch(folder, interval_s=0.2, progress="none", **OPTIONS)
    finally:
        scope.join(60)
    withdrawn = {event.name for event in scope.events if event.kind == "remove"}
    return project, folder, withdrawn


def test_what_a_running_microscope_writes_ends_as_if_it_had_been_run_afterwards(tmp_path):
    project, folder, withdrawn = watch(
        tmp_path,
        rows=5,
        columns=8,
        seed=3,
        delay_s=0.05,
        slow=3,
        truncated=2,
        replaced=3,
        removed=2,
    )
    assert len(withdrawn) == 2
    check_no_needless_runs(project, 3, withdrawn)
    compare_with_an_offline_run(project, folder, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_300_tiles_in_random_order_with_every_fault(tmp_path, seed):
    project, folder, withdrawn = watch(
        tmp_path,
        rows=15,
        columns=20,
        seed=seed,
        delay_s=0.05,
        slow=20,
        truncated=5,
        replaced=10,
        removed=3,
    )
    assert len(withdrawn) == 3
    check_no_needless_runs(project, 10, withdrawn)
    compare_with_an_offline_run(project, folder, tmp_path)
