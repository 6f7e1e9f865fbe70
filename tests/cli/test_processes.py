"""What shows only in processes of their own: Ctrl-C, going on, looking meanwhile, the demo."""

import json
import signal
import time

import pytest

import latticework as lw

from .conftest import shell

SLOW = """\
import time


def slow(tile):
    time.sleep(1.2)
    return tile + 1


def pipeline(project):
    project.add(slow)
    project.add(float_mean, after="slow")


def float_mean(tile):
    return float(tile.mean())
"""


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


@pytest.fixture
def slow_project(made, tmp_path):
    file = tmp_path / "slow.py"
    file.write_text(SLOW)
    return made(file)


def test_ctrl_c_keeps_what_is_finished_and_the_next_run_goes_on(slow_project, tmp_path):
    first = shell("run", slow_project, "--workers", "1", folder=tmp_path)
    project = lw.open_project(slow_project)
    wait_for(lambda: first.poll() is not None or project.counts["slow"].get("complete", 0) >= 1)
    assert first.poll() is None, first.communicate()[0]

    # Meanwhile others may look, and nobody else may run.
    output, code = finish(shell("status", slow_project, "--json", folder=tmp_path))
    assert code == 1, output
    assert str(first.pid) in json.loads(output)["run_by"]
    output, code = finish(shell("retry", slow_project, folder=tmp_path))
    assert (code, "is run by another coordinator" in output) == (2, True)

    first.send_signal(signal.SIGINT)
    output, code = finish(first)
    assert code == 130, output
    assert "To go on: latticework run" in output
    assert "Traceback" not in output
    done = project.counts["slow"]["complete"]
    assert 1 <= done < 6

    output, code = finish(shell("run", slow_project, "--workers", "2", folder=tmp_path))
    assert code == 0, output
    table = project.attempts("slow")
    assert (table.outcome == "complete").sum() == 6  # each exactly once
    assert not any((slow_project / "staging").rglob("*.*"))


def test_ctrl_c_before_anything_runs_is_clean_too(slow_project, tmp_path):
    process = shell("run", slow_project, "--workers", "1", folder=tmp_path)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    output, code = finish(process)
    assert code == 130, output
    assert "Traceback" not in output


def test_watching_ends_with_the_run(slow_project, tmp_path):
    running = shell("run", slow_project, "--workers", "2", "--progress", "none", folder=tmp_path)
    project = lw.open_project(slow_project)
    wait_for(project.is_run)
    output, code = finish(shell("status", slow_project, "--watch", folder=tmp_path))
    assert code == 0, output
    assert "run by process" in output
    assert output.rstrip().endswith("done")
    finish(running)


@pytest.mark.slow
def test_the_demo_agrees_with_its_truth_and_can_go_on(tmp_path):
    folder = tmp_path / "Vor führung"
    output, code = finish(shell("demo", folder, "--size", "2x3", folder=tmp_path), 180)
    assert code == 0, output
    assert "cells" in output
    for name in ("overview.png", "status.png", "mosaic.png", "pipeline.py", "acquisition"):
        assert (folder / name).exists(), name
    assert lw.open_project(folder / "brain.lw")["count"].data["spots"] > 50
    made = (folder / "acquisition" / "tile_000.ome.tif").stat().st_mtime_ns

    output, code = finish(shell("demo", folder, "--keep", "--workers", "1", folder=tmp_path), 180)
    assert code == 0, output
    assert (folder / "acquisition" / "tile_000.ome.tif").stat().st_mtime_ns == made
    assert lw.open_project(folder / "brain.lw").attempts().attempt.max() == 1

    edited = (folder / "pipeline.py").read_text().replace("threshold=300", "threshold=400")
    (folder / "pipeline.py").write_text(edited)
    output, code = finish(shell("run", folder / "brain.lw", folder=tmp_path), 180)
    assert code == 0, output
    assert "Changed in pipeline.py: spots" in output
    attempts = lw.open_project(folder / "brain.lw").attempts().groupby("stage").attempt.max()
    assert attempts.to_dict() == {
        "lamp": 1, "even": 1, "smooth": 1, "clean": 1, "spots": 2, "count": 2,
    }  # fmt: skip
