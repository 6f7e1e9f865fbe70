"""Running, looking, retrying and exporting from the command line."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile

import latticework as lw
from latticework.cli.pipelines import remembered

from .conftest import FRAGILE, PIPELINE


def test_a_project_runs_and_runs_no_more(typed, made, pipeline_file, scheduler):
    folder = made(pipeline_file)
    text = typed("run", folder, *scheduler)
    assert "doubled    6/6 100 %" in text
    project = lw.open_project(folder)
    assert np.array_equal(project["doubled"].tile(2), 2 * project["smooth"].tile(2))
    attempts = project.attempts_made()
    typed("run", folder, *scheduler)
    assert project.attempts_made() == attempts
    assert "18/18" not in typed("status", folder)  # complete: exit code 0


def test_functions_of_the_file_are_there_in_any_later_process(made, pipeline_file, scheduler):
    """A project that is opened anew finds its functions: the file is loaded when it is needed."""
    folder = made(pipeline_file)
    project = lw.open_project(folder)
    assert project.pipeline["doubled"].stage is None  # looking runs none of its code
    assert project.run(scheduler[1], progress="none")
    assert project.pipeline["doubled"].stage.function(21) == 42


def test_a_change_of_the_file_makes_again_what_depends_on_it(typed, made, pipeline_file, scheduler):
    folder = made(pipeline_file)
    typed("run", folder, *scheduler)
    pipeline_file.write_text(
        PIPELINE.replace("return helper(tile, of)", "return helper(tile, of + 1)")
    )
    text = typed("run", folder, *scheduler)
    assert "Changed in my pipeline.py: doubled; what they made is made again" in text
    project = lw.open_project(folder)
    assert np.array_equal(project["doubled"].tile(2), 3 * project["smooth"].tile(2))
    assert project.attempts("smooth").attempt.max() == 1
    assert project.attempts("brightest").attempt.max() == 2


def test_a_stage_that_left_the_file_is_left_alone(typed, made, pipeline_file, scheduler):
    folder = made(pipeline_file)
    pipeline_file.write_text(PIPELINE.replace("project.add(brightest, after=twice)", "pass"))
    text = typed("run", folder, *scheduler)
    assert "Not in my pipeline.py, so left as they are: brightest" in text
    assert lw.open_project(folder).counts["brightest"] == {"waiting": 6}


def test_only_some_stages(typed, made, pipeline_file, scheduler):
    folder = made(pipeline_file)
    typed("run", folder, *scheduler, "--stages", "smooth")
    assert lw.open_project(folder).counts["doubled"] == {"waiting": 6}
    assert "there is no stage 'smoth'; there are" in typed(
        "run", folder, *scheduler, "--stages", "smoth", code=2
    )


def test_a_pipeline_file_that_has_vanished(typed, made, pipeline_file, scheduler, tmp_path):
    folder = made(pipeline_file)
    moved = tmp_path / "elsewhere" / "my pipeline.py"
    moved.parent.mkdir()
    pipeline_file.rename(moved)
    text = typed("run", folder, *scheduler, code=2)
    assert f"{pipeline_file} is not there any more" in text
    assert "--pipeline" in text
    assert "is not there any more" in lw.open_project(folder).pipeline["doubled"].missing
    typed("run", folder, *scheduler, "--pipeline", moved)
    assert remembered(folder) == moved
    assert lw.open_project(folder).attempts("smooth").attempt.max() == 1


def test_a_project_may_move_with_its_pipeline_file(typed, made, pipeline_file, scheduler, tmp_path):
    folder = made(pipeline_file)
    typed("run", folder, *scheduler)
    there = tmp_path / "archive"
    there.mkdir()
    shutil.move(folder, there / folder.name)
    shutil.move(pipeline_file, there / pipeline_file.name)
    assert remembered(there / folder.name) == there / pipeline_file.name
    typed("run", there / folder.name, *scheduler)


def test_neighbouring_modules_of_the_file_are_found(typed, made, tmp_path):
    (tmp_path / "optics_of_mine.py").write_text("def dark(tile):\n    return tile - tile.min()\n")
    file = tmp_path / "main.py"
    file.write_text(
        "from optics_of_mine import dark\n\n\ndef pipeline(project):\n    project.add(dark)\n"
    )
    folder = made(file)
    typed("run", folder, "--workers", "1", "--progress", "lines")  # local workers see its folder
    assert int(lw.open_project(folder)["dark"].tile(3).min()) == 0


def test_a_project_without_stages_says_how_to_add_some(typed, made, scheduler):
    assert "--pipeline FILE.py" in typed("run", made(), *scheduler, code=2)


def test_paths_are_relative_to_where_one_is(typed, made, pipeline_file, scheduler, monkeypatch):
    folder = made()
    monkeypatch.chdir(folder.parent)
    typed("run", folder.name, "--pipeline", pipeline_file.name, *scheduler)
    monkeypatch.chdir("/")
    typed("run", os.path.relpath(folder, "/"), *scheduler)


def test_where_it_runs_is_said_once(typed, made, pipeline_file):
    folder = made(pipeline_file)
    text = typed("run", folder, "--workers", "2", "--scheduler", "tcp://nowhere:1", code=2)
    assert "give one of them" in text
    assert "Invalid value" in typed("run", folder, "--workers", "0", code=2)


def test_failures_are_told_explained_and_retried(typed, made, fragile_file, scheduler):
    folder = made(fragile_file)
    text = typed("run", folder, *scheduler, code=1)
    assert "5/6" in text
    assert f"latticework why '{folder}' fragile y=1 x=2" in text

    text = typed("status", folder, code=1)
    assert "1 failed" in text
    assert "ValueError: there is a bubble in this tile" in text
    told = json.loads(typed("status", folder, "--json", "--stage", "fragile", code=1))
    assert told["stages"]["fragile"]["counts"] == {"complete": 5, "failed": 1}
    assert told["failures"][0]["stage"] == "fragile"

    text = typed("why", folder, "fragile", "y=1", "x=2")
    assert text.startswith("failed once: ValueError: there is a bubble in this tile\n")
    assert "Traceback" in text
    assert "in fragile" in text
    assert "project.attempts" not in text
    assert "blocked: it reads 'fragile'" in typed("why", folder, "mean", "5")
    assert "blocked" in typed("why", folder, "total")
    text = typed("why", folder, "mean")
    assert "1 blocked" in text
    assert typed("why", folder, "fragile", "y=0", "x=0").startswith("complete: attempt 1")

    assert "Nothing to retry" in typed("retry", folder, "--stage", "fragile", "y=0")
    text = typed("retry", folder, "y=1", "x=2")
    assert text.startswith("1 tile will run again. Next: latticework run")
    fragile_file.write_text(FRAGILE.replace("tile.tile_x == 2", "False"))
    typed("run", folder, *scheduler)
    assert typed("why", folder, "mean").startswith("complete: all 6 tiles")


def test_complete_tiles_can_be_made_again(typed, made, pipeline_file, scheduler):
    folder = made(pipeline_file)
    typed("run", folder, *scheduler)
    assert "3 tiles will run again" in typed("retry", folder, "--stage", "doubled", "--all", "y=0")
    typed("run", folder, *scheduler)
    project = lw.open_project(folder)
    assert project.attempts("doubled", y=0, x=1).attempt.tolist() == [1, 2]
    assert project.attempts("doubled", y=1, x=1).attempt.tolist() == [1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("why", "clean", "0"), "there is no stage 'clean'; there are source, smooth"),
        (("why", "smooth", "y=7", "x=0"), "no label 7 along tile_y"),
        (("why", "smooth", "y=1"), "which tile?"),
        (("why", "smooth", "77"), "77"),
        (("why", "smooth", "depth=1"), "no lattice axis 'depth'"),
        (("retry", "--stage", "clean"), "there is no stage 'clean'"),
        (("status", "--stage", "clean"), "there is no stage 'clean'"),
        (("export", "smooth", "out"), "nothing to export"),
    ],
)
def test_what_is_not_there_is_said_in_one_message(typed, made, pipeline_file, words, message):
    command, *rest = words
    text = typed(command, made(pipeline_file), *rest, code=2)
    assert message in text
    assert "Traceback" not in text


def test_no_project_is_said_in_one_message(typed, tmp_path):
    for command in (("run",), ("status",), ("why", "x"), ("retry",), ("export", "x", "y")):
        text = typed(command[0], tmp_path / "none.lw", *command[1:], code=2)
        assert "there is no project at" in text


def test_results_are_exported(typed, made, pipeline_file, scheduler, tmp_path):
    folder = made(pipeline_file)
    typed("run", folder, *scheduler)
    out = tmp_path / "Ausgabe für alle"
    assert "Wrote 3 files" in typed("export", folder, "doubled", out, "y=1")
    files = sorted(out.iterdir())
    project = lw.open_project(folder)
    assert np.array_equal(tifffile.imread(files[0]), project["doubled"].tile(y=1, x=0))
    typed("export", folder, "doubled", tmp_path / "one", "4")
    assert len(list((tmp_path / "one").iterdir())) == 1
    assert "Wrote" in typed("export", folder, "brightest", tmp_path / "peaks.csv")
    assert len(pd.read_csv(tmp_path / "peaks.csv")) == 6
    typed("export", folder, "source", tmp_path / "raw", "x=2")
    assert len(list((tmp_path / "raw").iterdir())) == 2


def test_an_export_says_what_it_leaves_out(typed, made, fragile_file, scheduler, tmp_path):
    folder = made(fragile_file)
    typed("run", folder, *scheduler, code=1)
    text = typed("export", folder, "fragile", tmp_path / "out", code=1)
    assert "Wrote 5 files; 1 tile left out: y1_x2 (failed)" in text
    typed("export", folder, "fragile", tmp_path / "row", "y=0")
    assert "exists already" in typed("export", folder, "fragile", tmp_path / "row", "y=0", code=2)
    typed("export", folder, "fragile", tmp_path / "row", "y=0", "--overwrite")
    typed("export", folder, "fragile", tmp_path / "one.tif", "0")
    assert (tmp_path / "one.tif").is_file()
    text = typed("export", folder, "fragile", tmp_path / "none.tif", "y=1", "x=2", code=2)
    assert "no finished tile in this selection: y1_x2 (failed)" in text
    assert "makes images" in typed("export", folder, "fragile", tmp_path / "a.png", code=2)


def test_an_address_without_a_port_is_refused_at_once(typed, made, pipeline_file):
    text = typed("run", made(pipeline_file), "--scheduler", "foo", code=2)
    assert "--scheduler foo: write its address with the port" in text


def test_status_draws_a_picture(typed, made, fragile_file, scheduler, tmp_path):
    folder = made(fragile_file)
    typed("run", folder, *scheduler, code=1)
    picture = tmp_path / "Stand.png"
    typed("status", folder, "--png", picture, code=1)
    assert picture.read_bytes().startswith(b"\x89PNG")
    picture.unlink()
    typed("status", folder, "--stage", "total", "--png", picture, code=1)  # a reduction
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_damaged_note_of_the_pipeline_is_said(typed, made, pipeline_file, scheduler):
    folder = made(pipeline_file)
    (folder / "pipeline.json").write_text("{")
    assert "give --pipeline" in typed("run", folder, *scheduler, code=2)
    typed("run", folder, *scheduler, "--pipeline", pipeline_file)
