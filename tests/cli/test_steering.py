"""Steering from the command line: a project that nothing runs, and one that a process runs."""

import json
import shlex

import pandas as pd
import pytest

import latticework as lw

from .test_processes import finish, wait_for

STAGES = """\
import time
from pathlib import Path


def bright(tile, *, by=1):
    return tile + by


def gated(tile, *, gate):
    while tile.tile_y == 1 and tile.tile_x == 2 and not Path(gate).exists():
        time.sleep(0.05)
    return tile * 2


def mean(tile, *, digits=2):
    return round(float(tile.mean()), digits)


def fails(tile):
    print("looks at tile", tile.attrs["tile_id"])
    raise ValueError("there is a bubble in this tile")
"""
PIPELINE = (
    STAGES
    + """

def pipeline(project):
    project.add(bright)
    project.add(mean, after="bright")
"""
)
GATED = (
    STAGES
    + """

def pipeline(project):
    project.add(bright)
    project.add(gated, after="bright", gate={gate!r})
    project.add(mean, after="gated")
"""
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my stages.py"
    path.write_text(PIPELINE)
    return path


@pytest.fixture
def done(typed, made, file, scheduler):
    """A project of two stages whose six tiles are complete."""
    folder = made(file)
    typed("run", folder, *scheduler)
    return folder


def counts(folder):
    return lw.open_project(folder).counts


# ------------------------------------------------------------------ nothing runs


def test_a_change_is_explained_made_and_stays_when_the_file_is_read_again(
    typed, done, file, scheduler
):
    text = typed("explain", done, "bright", "by=3")
    assert "12 complete units would run again" in text
    assert counts(done)["bright"] == {"complete": 6}  # nothing has changed
    assert "0 complete units" in typed("explain", done)

    assert "Changed: bright. Next: " in typed("change", done, "bright", "by=3")
    assert counts(done)["bright"] == {"stale": 6}
    text = typed("run", done, *scheduler)
    assert "Changed by commands since my stages.py was read, so left as they are: bright" in text
    project = lw.open_project(done)
    assert (project["bright"].tile(0) == project["source"].tile(0) + 3).all()

    # Code that is edited counts, and leaves the parameter as it is.
    file.write_text(PIPELINE.replace("return tile + by", "return tile + 10 * by"))
    typed("run", done, *scheduler)
    project = lw.open_project(done)
    assert (project["bright"].tile(0) == project["source"].tile(0) + 30).all()

    # A file that says something else of the stage counts, and so does one that is given again.
    file.write_text(PIPELINE.replace("project.add(bright)", "project.add(bright, by=5)"))
    assert "Changed in my stages.py: bright" in typed("run", done, *scheduler)
    typed("change", done, "bright", "by=7")
    text = typed("run", done, "--pipeline", file, *scheduler)
    assert "Changed in my stages.py: bright" in text
    assert lw.open_project(done).pipeline["bright"].definition["params"] == {"by": 5}


def test_a_stage_is_added_and_removed_and_stays_so(typed, done, file, scheduler):
    text = typed("add", done, f"{file}:mean", "digits=0", "--name", "rough", "--after", "bright")
    assert text.startswith("Stage rough reads bright.")
    typed("run", done, *scheduler)
    assert counts(done)["rough"] == {"complete": 6}

    text = typed("remove", done, "bright", code=2)
    assert "--children" in text
    text = typed("remove", done, "bright", "--children", "reparent")
    assert "Removed: bright" in text
    assert "is kept in" in text
    assert lw.open_project(done).pipeline["mean"].parents == ("source",)
    text = typed("run", done, *scheduler)
    assert "left as they are: bright, mean" in text
    assert counts(done) == {"mean": {"complete": 6}, "rough": {"complete": 6}}

    typed("remove", done, "rough", "--delete-outputs")
    typed("run", done, "--pipeline", file, *scheduler)
    assert counts(done) == {"bright": {"complete": 6}, "mean": {"complete": 6}}


def test_stages_read_as_they_are_told(typed, done, file):
    typed("add", done, f"{file}:mean", "--name", "rows", "--after", "bright", "--reads", "plane:y")
    assert list(lw.open_project(done).pipeline["rows"].lattice.dims) == ["tile_y"]
    for words, message in [
        ((f"{file}:nothing",), "has no callable 'nothing'; it has Path, bright"),
        (("no.such:thing",), "there is no module 'no.such'"),
        (("bright",), "write file.py:function"),
        ((f"{file}:mean", "digits=2", "colour=3"), "colour"),
        ((f"{file}:mean", "--after", "nobody"), "there is no such stage"),
        ((f"{file}:mean", "--reads", ""), "--reads"),
    ]:
        text = typed("add", done, *words, code=2)
        assert message in text
        assert "Traceback" not in text


def test_pauses_skips_regions_and_priorities_show_in_the_status(typed, done):
    typed("pause", done, "mean")
    typed("pause", done)
    assert "Paused: the whole project, mean" in typed("status", done)
    text = typed("resume", done)
    assert "Still paused by themselves: mean" in text
    assert "Skipped: y=1" in typed("skip", done, "y=1")
    assert "3 tiles of 6 take part" in typed("region", done, "y=0")
    assert "First: x=0,2, then every 3rd tile, then plane by plane along y" in typed(
        "prioritise", done, "x=0,2", "--preview", "3", "--planes", "y"
    )
    text = typed("status", done)
    for line in ("Paused: mean", "Skipped: y=1", "Only: y=0", "First: x=0,2"):
        assert line in text
    found = json.loads(typed("status", done, "--json"))["settings"]
    assert found["paused_stages"] == ["mean"]
    assert found["skipped"] == {"tile_y": [1]}

    typed("resume", done, "mean")
    assert "Skipped: none" in typed("unskip", done, "--all")
    assert "6 tiles of 6 take part" in typed("region", done, "--all")
    assert "as tiles were taken" in typed("prioritise", done, "--acquisition")
    assert "Paused" not in typed("status", done)
    assert "3 gone" in typed("explain", done, "--skip", "y=1")
    assert "3 gone" in typed("explain", done, "--region", "y=0")


def test_planes_that_are_not_there_yet_are_skipped_with_a_note(typed, done):
    assert "There is no plane y=99 yet: skipped when it comes." in typed("skip", done, "y=99")
    assert "no planes of y in this range yet" in typed("skip", done, "y=50:60", code=2)


def test_what_was_cancelled_can_be_let_run_again_with_the_same_words(typed, done):
    typed("retry", done, "--stage", "mean", "--all", "y=1")
    text = typed("cancel", done, "--stage", "mean", "y=1", "x=0")
    again = text.split("Once more: latticework ")[1]
    words = shlex.split(again)
    assert words == ["retry", str(done), "--stage", "mean", "y=1", "x=0"]
    why = typed("why", done, "mean", "y=1", "x=0")
    assert f"latticework retry '{done}' --stage mean y=1 x=0 lets it run again" in why
    assert "1 tile will run again" in typed(*words)


def test_a_stage_is_put_between_others(typed, done, file):
    wrong = typed("add", done, f"{file}:bright", "before=mean", code=2)
    assert "did you mean --before mean?" in wrong
    wrong = typed("change", done, "mean", "after=brighter", code=2)
    assert "did you mean --after brighter?" in wrong
    words = ("--name", "brighter", "--after", "bright", "--before", "mean")
    text = typed("add", done, f"{file}:bright", *words)
    assert "Stage brighter reads bright, and mean reads it." in text
    assert lw.open_project(done).pipeline["mean"].parents == ("brighter",)


def test_tiles_leave_and_come_back(typed, done):
    assert "2 tiles left" in typed("withdraw", done, "tile1.tif", "5")
    assert counts(done)["bright"] == {"complete": 4, "absent": 2}
    assert "1 tile came back" in typed("reinstate", done, "y=0")
    assert "none of these tiles were withdrawn" in typed("reinstate", done, "y=0", code=2)
    typed("reinstate", done, "5")
    assert "No more tiles were expected" in typed("end", done)


def test_units_are_chosen_by_stage_state_tile_and_labels(typed, done):
    assert "Nothing to retry" in typed("retry", done)
    assert "4 tiles will run again" in typed("retry", done, "--all", "x=0:1", "--stage", "mean")
    assert "2 tiles will run again" in typed(
        "retry", done, "--state", "complete", "--where", "y=1", "--where", "x=2"
    )
    assert counts(done)["bright"] == {"complete": 5, "stale": 1}
    assert "Cancelled 1 tile." in typed("cancel", done, "--stage", "bright", "--tile", "tile6.tif")
    assert counts(done)["mean"] == {"blocked": 1, "complete": 1, "stale": 4}
    assert "1 tile will run again" in typed("retry", done, "--state", "cancelled")
    for words, message in [
        (("retry", done, "--state", "blue"), "there are failed, cancelled"),
        (("retry", done, "--stage", "nobody"), "nobody"),
        (("retry", done, "c=1"), "no lattice axis 'c'"),
        (("cancel", done), "say what to cancel"),
        (("cancel", done, "y=99"), "no label 99 along tile_y: there are 0, 1"),
        (("retry", done, "--stage", "bright", "x=0,7"), "no label 7 along tile_x: there are 0, 1"),
        (("retry", done, "--where", "y=5:9"), "no labels 5 to 9 along tile_y: there are 0, 1"),
        (("withdraw", done, "y=99"), "no label 99 along tile_y"),
        (("stop", done), "nothing runs"),
        (("pause", done, "nobody"), "nobody"),
        (("skip", done, "q=1"), "no lattice axis 'q'"),
        (("change", done, "mean"), "say what to change"),
        (("change", done, "mean", "digits"), "name=value"),
        (("change", done, "mean", "trim=maybe"), "trim=true"),
        (("change", done, "bright", "overlap=text"), "overlap='text' is no halo"),
        (("change", done, "bright", "--after", "nobody"), "--after nobody: there is no such stage"),
        (("change", done, "mean", "digits=[1"), "begins like a list"),
        (("explain", done, "mean", "--skip", "y=1"), "name no stage"),
        (("withdraw", done, "99"), "99"),
        (("prioritise", done), "say what goes first"),
    ]:
        text = typed(*words, code=2)
        assert message in text, words
        assert "Traceback" not in text


def test_parameters_are_set_shown_and_removed(typed, done):
    assert "No parameters." in typed("parameters", done)
    typed("parameters", done, "sample=brain 7", "gain=2.5", "size=[1, 3]")
    assert json.loads(typed("parameters", done, "--json")) == {
        "sample": "brain 7", "gain": 2.5, "size": [1, 3],
    }  # fmt: skip
    text = typed("parameters", done, "gain=null")
    assert 'sample  "brain 7"' in text
    assert "gain" not in text


def test_the_past_is_told(typed, done, file, scheduler, tmp_path):
    typed("add", done, f"{file}:fails", "retries=0", "--after", "bright")
    typed("run", done, *scheduler, code=1)
    lines = typed("history", done, "fails", "y=1").splitlines()
    assert lines[0].split() == [
        "ended",
        "stage",
        "tile",
        "attempt",
        "outcome",
        "took",
        "memory",
        "host",
        "error",
    ]
    assert len(lines) == 4
    assert "ValueError: there is a bubble in this tile" in lines[1]
    assert len(typed("history", done, "--outcome", "failed", "--last", "2").splitlines()) == 3
    table = tmp_path / "attempts.csv"
    slowest = lw.open_project(done).attempts().nlargest(3, "duration_s")
    lines = typed("history", done, "--slowest", "3").splitlines()[1:]
    assert [line.split()[2:4] for line in lines] == slowest[["stage", "tile"]].to_numpy().tolist()
    typed("history", done, "--csv", table)
    assert len(pd.read_csv(table)) == 18
    assert "per minute" in typed("history", done, "--throughput", "1h")

    text = typed("log", done, "fails", "y=1", "x=2")
    assert "Attempt 1: exception" in text
    assert "there is a bubble in this tile" in text
    assert "stdout:\nlooks at tile 5\n" in typed("log", done, "fails", "5")
    assert "made no attempt 7" in typed("log", done, "fails", "5", "--attempt", "7", code=2)
    assert "It wrote nothing" in typed("log", done, "mean", "5", code=1)

    found = json.loads(typed("provenance", done, "mean", "tile3.tif"))
    assert {made["stage"] for made in found["made"].values()} == {"bright", "mean"}
    typed("provenance", done, "mean", "2", "--out", tmp_path / "origin.json")
    assert json.loads((tmp_path / "origin.json").read_text())["output"] == found["output"]

    made = lw.open_project(done)["mean"].data
    assert typed("replay", done, "mean", "2").strip() == repr(float(made["value"].iloc[2]))
    typed("replay", done, "fails", "2", code=1)
    text = typed("copy", done, tmp_path / "trial.lw", "y=0", "--stages", "bright,mean")
    assert "3 tiles, stages bright, mean" in text
    assert counts(tmp_path / "trial.lw")["mean"] == {"waiting": 3}


# ------------------------------------------------------------------ another process runs it


def test_a_run_in_another_process_is_steered(typed, made, tmp_path, shell):
    gate, file = tmp_path / "gate", tmp_path / "gated.py"
    file.write_text(GATED.format(gate=str(gate)))
    folder = made(file)
    running = shell("run", folder, "--workers", "2", "--wait", "--progress", "lines")
    project = lw.open_project(folder)
    wait_for(lambda: project.is_run() and project.counts["bright"] == {"complete": 6})

    assert "The run does it now." in typed("resume", folder)
    typed("pause", folder, "mean")
    typed("add", folder, f"{file}:mean", "--name", "rough", "digits=0", "--after", "bright")
    wait_for(lambda: project.counts["rough"] == {"complete": 6})
    typed("change", folder, "rough", "digits=1")
    wait_for(lambda: project.attempts("rough", 0).attempt.max() == 2)
    text = typed("change", folder, "rough", "digits=1", "colour=3", code=2)
    assert "colour" in text

    assert "Cancelled 1 tile" in typed("cancel", folder, "--stage", "gated", "y=1", "x=2")
    wait_for(lambda: project.counts["gated"] == {"complete": 5, "cancelled": 1})
    gate.touch()
    assert "1 tile will run again. The run does it now." in typed("retry", folder)
    wait_for(lambda: project.counts["gated"] == {"complete": 6})
    assert "complete" not in project.counts["mean"] or project.counts["mean"]["complete"] < 6
    typed("resume", folder, "mean")
    wait_for(lambda: project.counts["mean"] == {"complete": 6})
    typed("remove", folder, "rough", "--delete-outputs")
    assert "rough" not in project.stages

    assert running.poll() is None  # it waits for more
    assert str(running.pid) in typed("stop", folder, "--wait")
    output, code = finish(running)
    assert code == 0, output
    assert "paused: mean" in output
    assert "Traceback" not in output
    assert "nothing runs" in typed("stop", folder, code=2)
