"""Which units run again, and which do not: fingerprints, changes, failures, retries."""

from dataclasses import replace

import numpy as np
import pytest

import latticework as lw
from latticework.errors import ProjectError
from latticework.io.layout import ArrayLayout
from latticework.lattice import Lattice, State
from tests.project import steps
from tests.project.running import attempts_since, completions, numbered, run_here


def all_units(*names, n=20):
    return sorted((name, unit) for name in names for unit in range(n))


def build(folder, **amounts):
    """source -> first -> second -> sum;  source -> other"""
    lattice, _ = numbered()
    project = lw.create(folder / "p.lw", lattice, exist_ok=True)
    add_stages(project, **amounts)
    return project


def add_stages(project, *, first=1, second=1, other=1):
    project.add(steps.add, name="first", amount=first)
    project.add(
        steps.add, name="second", amount=second, after="first", overlap=1, boundary="nearest"
    )
    project.add(steps.grand_total, name="sum", after="second", reads=lw.all_tiles())
    project.add(steps.add, name="other", amount=other)


def ran(project, **amounts):
    """What ran again after a change, as (stage, unit)."""
    add_stages(project, **amounts)
    last = project.attempts_made()
    assert run_here(project)
    return attempts_since(project, last)


def test_running_again_runs_nothing(folder):
    project = build(folder)
    assert run_here(project)
    assert project.attempts_made() == 61
    summary = run_here(project)
    assert summary
    assert summary.attempts == 0
    again = lw.open_project(project.path)
    assert run_here(again)
    assert again.attempts_made() == 61


def test_a_changed_parameter_runs_that_stage_and_what_reads_it(folder):
    project = build(folder)
    run_here(project)
    assert ran(project, second=5) == sorted([*all_units("second"), ("sum", 0)])
    assert ran(project, second=5, other=3) == all_units("other")
    assert ran(project, first=2, second=5, other=3) == sorted(
        [*all_units("first", "second"), ("sum", 0)]
    )
    array = numbered()[1]
    np.testing.assert_array_equal(project["second"].data.to_numpy(), array + 7)
    assert project["sum"].tile() == int((array + 7).sum(dtype="i8"))
    assert project.counts["sum"] == {"complete": 1}


def test_a_changed_parameter_is_stale_until_it_has_run(folder):
    project = build(folder)
    run_here(project)
    add_stages(project, first=2)
    assert project.counts["first"] == {"stale": 20}
    assert project.counts["other"] == {"complete": 20}
    assert project.why("first", 0).startswith("stale: its code, its parameters")
    assert lw.open_project(project.path).counts == project.counts


def test_a_change_that_is_taken_back_before_a_run_runs_nothing(folder):
    project = build(folder)
    run_here(project)
    add_stages(project, first=2, second=9)
    assert ran(project) == []
    assert lw.open_project(project.path).counts["first"] == {"complete": 20}


def test_retries_are_no_reason_to_run_again(folder):
    project = build(folder)
    run_here(project)
    project.add(steps.add, name="first", amount=1, retries=5)
    last = project.attempts_made()
    assert run_here(project)
    assert attempts_since(project, last) == []


@pytest.mark.parametrize(
    "change",
    [
        {"overlap": 2, "boundary": "nearest"},
        {"overlap": 1, "boundary": "reflect"},
        {"overlap": 1, "boundary": "nearest", "output": lw.array_output("float32")},
        {"overlap": 1, "boundary": "nearest", "after": "other"},
        {"overlap": 1, "boundary": "nearest", "function": steps.plain_add},
        {"overlap": 1, "boundary": "nearest", "params": {"amount": 2}},
    ],
)
def test_any_part_of_a_definition_counts(folder, change):
    project = build(folder)
    run_here(project)
    change = {"after": "first", "params": {"amount": 1}, **change}
    function = change.pop("function", steps.add)
    project.add(function, name="second", **change)
    last = project.attempts_made()
    assert run_here(project), project.attempts().message.tolist()
    assert attempts_since(project, last) == sorted([*all_units("second"), ("sum", 0)])


def test_a_stage_that_makes_something_else_after_a_change_starts_afresh(folder):
    project = build(folder)
    run_here(project)
    project.add(steps.thirds, name="first")
    assert run_here(project), project.attempts().message.tolist()
    assert project["first"].data.dtype == "f8"
    array = numbered()[1]
    np.testing.assert_allclose(project["second"].data.to_numpy(), array / 3 + 1)
    project.add(steps.total, name="other")
    assert run_here(project)
    assert project["other"].kind == "record"


def test_outputs_that_were_dropped_are_not_taken_for_complete(folder):
    """A change of dtype whose run is interrupted, then taken back."""
    project = build(folder)
    run_here(project)
    project.add(steps.thirds, name="other")
    interrupt_after(project, batches=1)
    assert project["other"].kind == "array"
    project.add(steps.add, name="other", amount=1)
    assert run_here(project), project.attempts().message.tolist()
    array = numbered()[1]
    np.testing.assert_array_equal(project["other"].data.to_numpy(), array + 1)


def test_a_half_run_change_that_is_taken_back_is_undone_exactly(folder):
    project = build(folder)
    run_here(project)
    add_stages(project, first=4)
    interrupt_after(project, batches=3)
    add_stages(project)
    assert run_here(project)
    array = numbered()[1]
    np.testing.assert_array_equal(project["first"].data.to_numpy(), array + 1)
    np.testing.assert_array_equal(project["second"].data.to_numpy(), array + 2)
    assert project["sum"].tile() == int((array + 2).sum(dtype="i8"))


def interrupt_after(project, *, batches):
    """Run, and press Ctrl-C, so to speak, when some batches are out."""
    from latticework.project import running
    from latticework.project.coordinator import Coordinator
    from tests.project.running import HereClient

    class Interrupting(HereClient):
        def submit(self, *arguments, **options):
            if self.batches + 1 >= batches:
                coordinator.stop()
            return super().submit(*arguments, **options)

    with project.lock().held():
        running.refresh_code(project)
        coordinator = Coordinator(project, Interrupting(slots=1))
        project.coordinator = coordinator
        coordinator.run()
        project.coordinator = None
        project.close_writer()
        project.seen_now()


# ------------------------------------------------------------------ failures

SIDE = 19
BAD = [0, 5, 100, 101, 180, 300, 360]


def neighbours_of(ids):
    """Tiles within one step of these on the grid, themselves included."""
    near = set()
    for i in ids:
        y, x = divmod(i, SIDE)
        near |= {
            (y + dy) * SIDE + x + dx
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if 0 <= y + dy < SIDE and 0 <= x + dx < SIDE
        }
    return near


def add_failing(project, bad):
    project.add(steps.fail_at, name="sharp", bad=list(bad))
    project.add(steps.add, name="after", after="sharp")
    project.add(steps.add, name="haloed", after="sharp", overlap=1)
    project.add(steps.add, name="grandchild", after="haloed")
    project.add(steps.grand_total, name="sum", after="after", reads=lw.all_tiles())
    project.add(steps.add, name="independent")
    project.add(steps.difference, name="both", after=["independent", "sharp"])


def units_in(project, stage, state):
    return set(np.flatnonzero(project.pipeline[stage].units.state == state).tolist())


FEW = [0, 5, 24, 25]


def failing_project(folder, side=7, bad=FEW):
    array = np.arange((side * 4) ** 2).reshape(side * 4, side * 4).astype("u2")
    project = lw.create(folder / "p.lw", Lattice.from_array(array, block={"y": 4, "x": 4}))
    add_failing(project, bad)
    return project


def test_seven_of_361_tiles_fail_and_block_only_what_reads_them(folder, local_client):
    project = failing_project(folder, SIDE, BAD)
    summary = project.run(local_client, progress="none")
    assert not summary
    assert summary.n_failures == 7
    assert not summary.interrupted
    for view in (project, lw.open_project(project.path)):
        counts = view.counts
        assert counts["sharp"] == {"complete": 354, "failed": 7}
        assert counts["after"] == {"complete": 354, "blocked": 7}
        assert counts["both"] == {"complete": 354, "blocked": 7}
        assert counts["independent"] == {"complete": 361}
        assert counts["sum"] == {"blocked": 1}
        assert units_in(view, "sharp", State.FAILED) == set(BAD)
        assert units_in(view, "haloed", State.BLOCKED) == neighbours_of(BAD)
        assert units_in(view, "grandchild", State.BLOCKED) == neighbours_of(BAD)
        check_reasons(view)
    attempts = project.attempts("sharp")
    failed = attempts[attempts.outcome == "exception"]
    assert len(failed) == 14  # each is tried once more
    assert (failed.error == "ValueError").all()
    assert failed.traceback.str.contains("the user's line").all()
    assert not failed.traceback.str.contains("run_unit").any()
    assert len(attempts) == 354 + 14
    assert sorted(set(failed.tile_y * SIDE + failed.tile_x)) == BAD


def check_reasons(project):
    assert project.why("sharp", 5).startswith(
        "failed twice: ValueError: tile y0_x5 is out of focus. See project.attempts('sharp', 5)"
    )
    for stage in ("after", "both"):
        why = project.why(stage, 5)
        assert why.startswith(
            "blocked: it reads 'sharp' at y0_x5 (tile_y=0, tile_x=5), which failed"
        )
        assert "ValueError: tile y0_x5 is out of focus" in why
    y, x = divmod(100, SIDE)
    why = project.why("haloed", y=y + 1, x=x)  # below two failed tiles
    assert f"y{y}_x{x}" in why
    assert f"y{y}_x{x + 1}" in why
    assert "haloed" in project.why("grandchild", y=y + 1, x=x)
    assert "out of focus" in project.why("grandchild", y=y + 1, x=x)
    assert project.why("sum").startswith("blocked: it reads 'after' at y0_x0")
    assert "4 more" in project.why("sum")
    assert project.why("sharp", 1).startswith("complete")
    assert project.why("independent", 5).startswith("complete")


def test_failed_tiles_run_again_once_the_code_is_mended(folder):
    project = failing_project(folder)
    run_here(project)
    add_failing(project, [])
    last = project.attempts_made()
    assert run_here(project), project.counts
    again = attempts_since(project, last)
    stages = ("sharp", "after", "haloed", "grandchild", "both")
    assert again == sorted([*all_units(*stages, n=49), ("sum", 0)])


def test_a_retry_runs_what_failed_and_what_it_blocked(folder):
    """The cause was outside of the code: a disk, a network."""
    project = failing_project(folder)
    marks = folder / "marks"
    marks.mkdir()
    project.set_patience(after=None)
    project.add(steps.fail_once, name="sharp", marks=str(marks), retries=0)
    run_here(project)
    assert project.counts["sharp"] == {"failed": 49}
    last = project.attempts_made()
    assert not run_here(project)
    assert attempts_since(project, last) == []  # failed is failed until told otherwise
    assert project.retry("sharp", y=3, x=4) == 1
    run_here(project)
    assert attempts_since(project, last) == [("after", 25), ("both", 25), ("sharp", 25)]
    assert project.retry() == 48
    assert run_here(project)
    assert set(completions(project).values()) == {1}
    assert project.why("sharp", 0).startswith("complete: attempt 2")


def test_a_retry_of_complete_tiles_runs_them_and_their_readers(folder):
    project = build(folder)
    run_here(project)
    assert project.retry("first", failed=False, y=0, x=0) == 1
    last = project.attempts_made()
    assert run_here(project)
    again = attempts_since(project, last)
    assert again == [
        ("first", 0),
        ("second", 0),
        ("second", 1),
        ("second", 5),
        ("second", 6),
        ("sum", 0),
    ]


def test_a_change_that_fails_and_is_taken_back_restores_everything(folder):
    project = failing_project(folder)
    add_failing(project, [])
    assert run_here(project)
    before = project["both"].data.to_numpy()
    add_failing(project, FEW)
    assert not run_here(project)
    assert project.counts["after"] == {"complete": 45, "blocked": 4}
    add_failing(project, [])
    assert run_here(project), project.counts
    np.testing.assert_array_equal(project["both"].data.to_numpy(), before)


def test_a_child_that_failed_runs_again_when_what_it_reads_has_changed(folder):
    lattice, _ = numbered()
    project = lw.create(folder / "p.lw", lattice)

    def picky(tile):
        if int(tile.sum()) % 2:
            raise ValueError("odd")
        return tile

    project.add(steps.add, name="first", amount=0)
    project.add(steps.largest, name="sum", after="first", reads=lw.all_tiles())
    project.add(lambda tile: tile[:1, :1] * 2 + 1, name="odd", after="first")
    project.set_patience(after=None)
    project.add(picky, after="odd", retries=0)
    run_here(project)
    assert project.counts["picky"] == {"failed": 20}
    project.add(lambda tile: tile[:1, :1] * 2, name="odd", after="first")
    assert run_here(project), project.counts


def test_units_are_tried_as_often_as_retries_say(folder):
    lattice, _ = numbered()
    for retries, name in [(0, "never"), (3, "thrice")]:
        project = lw.create(folder / f"{name}.lw", lattice)
        project.add(steps.fail_at, bad=[3], retries=retries, name=name)
        assert not run_here(project)
        assert len(project.attempts(name, 3)) == retries + 1


def test_memory_errors_and_exits_in_a_stage_are_failures_of_the_tile(folder):
    lattice, _ = numbered()
    project = lw.create(folder / "p.lw", lattice)
    project.add(steps.greedy, bad=[3])
    project.add(steps.leave, bad=[4])
    assert not run_here(project)
    assert project.counts == {
        "greedy": {"complete": 19, "failed": 1},
        "leave": {"complete": 19, "failed": 1},
    }
    assert "MemoryError: not enough for this tile" in project.why("greedy", 3)
    assert set(project.attempts("greedy", 3).outcome) == {"memory"}
    assert "SystemExit: that was the last slice" in project.why("leave", 4)


def test_a_stage_that_always_fails_stops_nothing_else(folder):
    lattice, _ = numbered()
    project = lw.create(folder / "p.lw", lattice)
    project.set_patience(after=None)
    project.add(steps.fail_at, bad=list(range(20)))
    project.add(steps.add, after="fail_at", overlap=1, name="child")
    project.add(steps.add)
    summary = run_here(project)
    assert project.counts == {
        "fail_at": {"failed": 20},
        "child": {"blocked": 20},
        "add": {"complete": 20},
    }
    assert summary.n_failures == 20
    assert "ValueError" in repr(summary)
    with pytest.raises(ProjectError, match="has made nothing yet"):
        _ = project["child"].data


# ------------------------------------------------------------------ tiles that cannot be read


def problem_lattice(bad):
    from latticework.io.memory import MemorySource

    lattice = Lattice.from_grid({"y": 4, "x": 5}, tile_shape={"y": 6, "x": 8}, dtype="u2")
    tiles = [np.full((6, 8), i, "u2") for i in range(20)]
    problems = dict.fromkeys(bad, "the file ends after 60 of 96 bytes")
    return lattice.replace(source=MemorySource(tiles), problems=problems)


def test_tiles_with_problems_block_their_readers_and_say_why(folder):
    project = lw.create(folder / "p.lw", problem_lattice([7]))
    project.add(steps.add)
    project.add(steps.add, name="haloed", overlap=1, boundary="reflect")
    project.add(steps.add, name="child", after="add")
    project.add(steps.address, reads=lw.nothing())
    assert not run_here(project)
    for view in (project, lw.open_project(project.path)):
        assert view.counts["add"] == {"complete": 19, "blocked": 1}
        assert view.counts["haloed"] == {"complete": 11, "blocked": 9}
        assert view.counts["child"] == {"complete": 19, "blocked": 1}
        assert "the file ends after 60 of 96 bytes" in view.why("source", 7)
        for stage, unit in [("add", 7), ("haloed", 1), ("child", 7)]:
            why = view.why(stage, unit)
            assert "y1_x2" in why
            assert "the file ends after 60 of 96 bytes" in why


def test_a_file_that_breaks_after_opening_fails_its_own_readers(folder, local_client):
    import tifffile

    files = folder / "tiles"
    files.mkdir()
    rng = np.random.default_rng(1)
    for y in range(3):
        for x in range(4):
            pixels = rng.integers(0, 1000, (16, 16), dtype="u2")
            tifffile.imwrite(files / f"tile_y{y}_x{x}.tif", pixels)
    lattice = lw.open_tiles(files, pattern="tile_y{y}_x{x}.tif")
    project = lw.create(folder / "p.lw", lattice)
    project.set_patience(after=None)
    project.add(steps.add)
    project.add(steps.add, name="haloed", overlap=1)
    broken = files / "tile_y1_x1.tif"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:200])
    assert not project.run(local_client, progress="none")
    assert project.counts["add"] == {"complete": 11, "failed": 1}
    assert project.counts["haloed"] == {"complete": 3, "failed": 9}
    why = project.why("add", y=1, x=1)
    assert "tile_y1_x1.tif" in why
    assert set(project.attempts("add", y=1, x=1).outcome) == {"unreadable input"}
    broken.write_bytes(whole)
    project.retry()
    assert project.run(local_client, progress="none"), project.counts


def test_a_damaged_shard_of_a_parent_names_its_file(folder):
    project = build(folder)
    run_here(project, stages=["first"])
    shards = [p for p in project["first"].path.rglob("c.*.*") if p.is_file()]
    shards[0].write_bytes(b"\0" * 7)
    assert not run_here(project)
    failed = units_in(project, "second", State.FAILED)
    assert failed
    assert str(shards[0].name) in project.why("second", min(failed))


# ------------------------------------------------------------------ stages that become others


def test_a_map_may_become_a_reduction_and_back(folder):
    project = build(folder)
    project.add(steps.statistics, name="child", after="other")
    assert run_here(project)
    before = project["other"].data.to_numpy()
    project.add(steps.grand_total, name="other", reads=lw.all_tiles())
    project.add(steps.minus_number, name="child", after=["source", "other"])
    assert run_here(project), project.attempts().message.tolist()
    array = numbered()[1]
    assert project["other"].tile() == array.sum()
    number = np.uint16(array.sum() % 2**16)
    again = lw.open_project(project.path)
    np.testing.assert_array_equal(again["child"].data.to_numpy(), array - number)
    assert again.counts == project.counts
    project.add(steps.statistics, name="child", after="source")
    project.add(steps.add, name="other", amount=1)
    assert run_here(project)
    np.testing.assert_array_equal(lw.open_project(project.path)["other"].data.to_numpy(), before)


def test_a_stage_may_read_one_that_was_added_later(folder):
    project = build(folder)
    project.add(steps.add, name="last", amount=5)
    project.add(steps.add, name="first", after="last")
    again = lw.open_project(project.path)
    for view in (project, again):
        assert view.stages.index("last") < view.stages.index("first")
        assert run_here(view)
    np.testing.assert_array_equal(again["second"].data.to_numpy(), numbered()[1] + 7)


def test_what_a_killed_run_left_of_an_unfinished_stage_is_no_obstacle(folder):
    """A store was made, but the journal knows nothing of it yet."""
    project = build(folder)
    run_here(project)
    data = project["first"].path
    project.add(steps.thirds, name="new")
    import shutil

    target = project.path / "stages" / "new" / "data.zarr"
    shutil.copytree(data, target)
    (target / "first").rename(target / "new")
    assert run_here(project), project.attempts().message.tolist()
    np.testing.assert_array_equal(project["new"].data.to_numpy(), numbered()[1] / 3)


def test_volumes_of_older_projects_keep_their_files_in_folders(folder, monkeypatch):
    """Before, the numbers in a file's name were folders: such a project goes on as it is."""
    plan = ArrayLayout.plan.__func__

    def older(cls, *arguments, **options):
        layout = plan(cls, *arguments, **options)
        return replace(layout, separator="/" if layout.kind == "volume" else ".")

    monkeypatch.setattr(ArrayLayout, "plan", classmethod(older))
    project = build(folder)
    run_here(project, stages=["first"])
    wanted = project["first"].data.to_numpy()
    files = sorted(p for p in project["first"].path.rglob("*") if p.is_file())
    assert any(p.parent.parent.name == "c" for p in files)
    monkeypatch.undo()
    again = build(folder)
    again.retry("first", failed=False)
    assert run_here(again)
    np.testing.assert_array_equal(again["first"].data.to_numpy(), wanted)
    assert sorted(p for p in again["first"].path.rglob("*") if p.is_file()) == files
