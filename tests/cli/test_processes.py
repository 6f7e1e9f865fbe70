"""What shows only in processes of their own: Ctrl-C, going on, looking meanwhile, the demo."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import latticework as lw
from latticework.lattice import Box

GATED = """\
import time
from pathlib import Path


def slow(tile, *, gate):
    while tile.tile_y == 1 and not Path(gate).exists():
        time.sleep(0.1)
    return tile + 1


def mean(tile):
    return float(tile.mean())


def pipeline(project):
    project.add(slow, gate={gate!r})
    project.add(mean, after="slow")
"""
"""The first row of tiles is quick, the second waits until there is a file."""


def finish(process, seconds=90):
    """Output and exit code of a process."""
    try:
        output, _ = process.communicate(timeout=seconds)
    except BaseException:
        process.kill()
        raise
    return output, process.returncode


def wait_for(true, seconds=60):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.1)


def test_modules_of_the_current_folder_are_steps_and_are_found_from_others(tmp_path, made):
    project = made()
    script, here, there = tmp_path / "bin" / "latticework", tmp_path / "mine", tmp_path / "other"
    for folder in (script.parent, here / "package", there):
        folder.mkdir(parents=True)
    script.write_text("from latticework.cli import main\nmain()\n")
    (here / "mysteps.py").write_text("def clean(tile, *, by=1):\n    return tile + by\n")
    (here / "package" / "__init__.py").write_text("")
    (here / "package" / "sums.py").write_text("def total(tile):\n    return int(tile.sum())\n")
    (here / "json.py").write_text("raise ImportError('it hides a module that others need')\n")

    def typed(*words, folder=here):
        root = str(Path(__file__).parents[2])
        ran = subprocess.run(
            [sys.executable, str(script), *map(str, words)],
            cwd=folder, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True,
            check=False, timeout=120,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    typed("add", project, "mysteps:clean")
    typed("add", project, "package.sums:total", "--after", "clean")
    typed("change", project, "clean", "by=3", folder=there)
    typed("run", project, "--workers", "1", folder=there)
    found = lw.open_project(project)
    first = found.lattice.source.read(0, Box((0, 0), (16, 20)))
    assert found["total"].tile(0) == int((first.astype(int) + 3).sum())


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


@pytest.fixture
def gated(made, tmp_path, gate):
    """A project whose second row of tiles does not end before the gate is open."""
    file = tmp_path / "gated.py"
    file.write_text(GATED.format(gate=str(gate)))
    return made(file)


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished_and_the_next_run_goes_on(gated, gate, shell):
    first = shell("run", gated, "--workers", "1")
    project = lw.open_project(gated)
    wait_for(lambda: first.poll() is not None or project.counts["slow"].get("complete"))
    assert first.poll() is None, first.communicate()[0]

    # Meanwhile others may look, and nobody else may run.
    output, code = finish(shell("status", gated, "--json"))
    assert code == 1, output
    assert str(first.pid) in json.loads(output)["run_by"]
    output, code = finish(shell("run", gated))
    assert code == 2, output
    assert "run by another coordinator" in output

    first.send_signal(signal.SIGINT)
    output, code = finish(first)
    assert code == 130, output
    assert re.search(r"To go on: .+ -m latticework run ", output)
    assert "Traceback" not in output
    assert 1 <= project.counts["slow"]["complete"] <= 3

    gate.touch()
    output, code = finish(shell("run", gated, "--workers", "2"))
    assert code == 0, output
    for stage in ("slow", "mean"):
        table = project.attempts(stage)
        assert (table.outcome == "complete").sum() == 6  # each exactly once
    assert not any((gated / "staging").rglob("*.*"))


def test_ctrl_c_before_anything_runs_is_clean_too(gated, shell):
    process = shell("run", gated, "--workers", "1")
    project = lw.open_project(gated)
    wait_for(lambda: process.poll() is not None or project.is_run())
    process.send_signal(signal.SIGINT)
    output, code = finish(process)
    assert code == 130, output
    assert "Traceback" not in output


@pytest.mark.slow
def test_watching_ends_with_the_run(gated, gate, shell):
    running = shell("run", gated, "--workers", "2", "--progress", "none")
    project = lw.open_project(gated)
    wait_for(lambda: running.poll() is not None or project.is_run())
    watching = shell("status", gated, "--watch")
    assert "run by process" in watching.stdout.readline()
    gate.touch()
    output, code = finish(watching)
    assert code == 0, output
    assert output.rstrip().endswith("done")
    assert finish(running)[1] == 0


@pytest.mark.slow
def test_the_demo_agrees_with_its_truth_and_can_go_on(tmp_path, shell):
    folder = tmp_path / "Vor führung"
    output, code = finish(shell("demo", folder, "--size", "2x3"), 180)
    assert code == 0, output
    assert "cells" in output
    for name in ("overview.png", "status.png", "mosaic.png", "pipeline.py", "acquisition"):
        assert (folder / name).exists(), name
    assert lw.open_project(folder / "brain.lw")["count"].data["spots"] > 50
    made = (folder / "acquisition" / "tile_000.ome.tif").stat().st_mtime_ns

    output, code = finish(shell("demo", folder, "--keep", "--workers", "1"), 180)
    assert code == 0, output
    assert (folder / "acquisition" / "tile_000.ome.tif").stat().st_mtime_ns == made
    assert lw.open_project(folder / "brain.lw").attempts().attempt.max() == 1

    edited = (folder / "pipeline.py").read_text().replace("threshold=300", "threshold=400")
    (folder / "pipeline.py").write_text(edited)
    output, code = finish(shell("run", folder / "brain.lw"), 180)
    assert code == 0, output
    assert "Changed in pipeline.py: spots" in output
    attempts = lw.open_project(folder / "brain.lw").attempts().groupby("stage").attempt.max()
    assert attempts.to_dict() == {
        "lamp": 1, "even": 1, "smooth": 1, "clean": 1, "spots": 2, "count": 2,
    }  # fmt: skip
