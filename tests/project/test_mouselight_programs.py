"""The acceptance table of MouseLight's pipeline, row by row: scripts and programs.

See `test_mouselight_table` for what is not covered.
"""

import json
import sys
import time
from pathlib import Path

import psutil
import pytest

import latticework as lw
from latticework.lattice import State
from tests.project.brain import (
    DAY,
    last_attempt,
    passed,
    ran_since,
    recorded,
    running,
    states,
    until,
)
from tests.project.running import run_here

ECHO = "import json, sys; json.dump(sys.argv[2:], open(sys.argv[1], 'w'))"
PYTHON = (sys.executable, "-I", "-S", "-c")
TRY = """
import pathlib, sys
marks, tile, attempt = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print("attempt", attempt, "of", tile)
print("complaint", attempt, file=sys.stderr)
sys.exit(attempt <= 2 and tile.endswith("7"))
"""
WAIT = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"])
path = pathlib.Path(sys.argv[1]) / sys.argv[2]
path.with_suffix(".new").write_text(" ".join([str(os.getpid()), str(child.pid)]))
path.with_suffix(".new").rename(path)
time.sleep(600)
"""


@pytest.fixture
def project(folder):
    """Four tiles, two planes of two, of an acquisition whose path has a space."""
    return recorded(
        folder / "a brain", (2, 1, 2), parameters={"ilastik": "/programs/my tools/run.sh"}
    )


# ------------------------------------------------------------------ scripts


def test_a_script_is_given_all_of_mouselights_variables(project):
    """Script variables: all of them, a user's override, spaces preserved."""
    variables = {
        "PROJECT_NAME": "{project}",
        "PROJECT_ROOT": "{source_root}",
        "LOG_FILE": "{log}",
        "X": "{x}",
        "Y": "{y}",
        "Z": "{z}",
        "STEP_X": "{step_px_x}",
        "STEP_Y": "{step_px_y}",
        "STEP_Z": "{step_px_z}",
        "EXPECTED_EXIT_CODE": "{expected_exit_code}",
        "IS_CLUSTER_JOB": "{is_cluster}",
        "TASK_ID": "{stage}",
        "ADJACENT_TILE_RELATIVE_PATH": "{neighbour}",
        "ADJACENT_TILE_NAME": "{neighbour_name}",
        "input": "{input}",
        "output": "{output}",
        "relative path": "{tile_path}",
        "tile": "{tile}",
        "literal": "two words",
        "parameter": "{sigma}",
        "custom": "{ilastik}",
    }
    echo = lw.command(
        [*PYTHON, ECHO, "{file.said}", *variables.values()],
        name="echo",
        files={"said": "said.json"},
        ok=[0, 3],
        params={"sigma": 2, "ilastik": "of the stage"},
        reads=lw.neighbours("+z", missing="run"),
        absent="none",
    )
    project.set_parameters(sigma="a b 'c'", ilastik="/programs/my tools/run.sh")
    project.add(echo)
    assert run_here(project)
    raw = project.path.parent / "raw"
    for unit, (z, x) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        files = project["echo"].tile(unit)
        got = dict(zip(variables, json.loads(files["said"].read_text()), strict=True))
        name = f"{DAY}/00/0000{unit}"
        above = f"{DAY}/00/0000{unit + 2}" if z == 0 else None
        assert got.pop("LOG_FILE").startswith(str(project.path / "logs" / "echo"))
        assert str(project.path) in got.pop("output")
        assert got == {
            "PROJECT_NAME": "brain",
            "PROJECT_ROOT": str(raw),
            "X": str(x),
            "Y": "0",
            "Z": str(z),
            "STEP_X": "5",
            "STEP_Y": "4",
            "STEP_Z": "2",
            "EXPECTED_EXIT_CODE": "0",
            "IS_CLUSTER_JOB": "0",
            "TASK_ID": "echo",
            "ADJACENT_TILE_RELATIVE_PATH": got["ADJACENT_TILE_RELATIVE_PATH"],
            "ADJACENT_TILE_NAME": above or "none",
            "input": got["input"],
            "relative path": got["relative path"],
            "tile": name,
            "literal": "two words",
            "parameter": "a b 'c'",
            "custom": "/programs/my tools/run.sh",
        }
        assert got["input"].startswith(str(raw / name))
        assert got["relative path"].startswith(name)
        if above is None:
            assert got["ADJACENT_TILE_RELATIVE_PATH"] == "none"
        else:
            assert got["ADJACENT_TILE_RELATIVE_PATH"].startswith(str(raw / above))


@pytest.mark.parametrize("where", ["own cluster", "given client"])
def test_an_expected_exit_code_of_3_is_success_wherever_it_runs(project, local_client, where):
    """Exit codes."""
    project.add(lw.command([*PYTHON, "import sys; sys.exit(3)"], name="three", ok=3))
    project.add(lw.command([*PYTHON, "import sys; sys.exit(0)"], name="zero", ok=3, retries=0))
    client = local_client if where == "given client" else None
    assert not project.run(client, progress="none")
    assert project.counts == {"three": {"complete": 4}, "zero": {"failed": 4}}
    assert project.attempts("three").exit_code.tolist() == [3] * 4
    assert project.attempts("zero").exit_code.tolist() == [0] * 4
    assert project.attempts("zero").outcome.tolist() == ["exit code"] * 4


def test_what_a_program_did_not_make_as_declared_is_a_failure_with_its_reason(project):
    """Output check."""
    make = (
        "import sys, pathlib, tifffile, numpy as np\n"
        "shape = [(2, 4, 5), (2, 4, 4), (2, 4, 5), None][int(sys.argv[2])]\n"
        "dtype = 'u1' if sys.argv[2] == '2' else 'u2'\n"
        "if shape: tifffile.imwrite(sys.argv[1], np.zeros(shape, dtype))"
    )
    stage = lw.command(
        [sys.executable, "-c", make, "{file.made}", "{unit}"],
        name="make",
        files={"made": lw.file("made.tif", shape="tile", dtype="u2")},
        retries=0,
    )
    project.add(stage)
    project.add(passed, name="after", after=project.source)
    assert not run_here(project)
    assert states(project, "make") == [State.COMPLETE] + [State.FAILED] * 3
    table = project.attempts("make").sort_values("tile")
    assert table.exit_code.tolist() == [0] * 4
    assert table.outcome.tolist() == ["complete"] + ["output check"] * 3
    reasons = ["(2, 4, 4)", "uint8", "made.tif"]
    for unit, reason in enumerate(reasons, start=1):
        assert reason in project.why("make", unit)
        assert reason in table.message.tolist()[unit]


def test_a_tile_that_fails_twice_has_three_attempts_in_its_history_and_three_logs(folder):
    """Retry; logs: per attempt."""
    project = recorded(folder)
    stage = lw.command([*PYTHON, TRY, str(folder), "{tile}", "{attempt}"], name="trying", retries=2)
    project.add(stage)
    assert run_here(project)
    assert project.counts["trying"] == {"complete": 27}
    for tile in (7, 17):
        history = project.attempts("trying", tile)
        assert history.attempt.tolist() == [1, 2, 3]
        assert history.outcome.tolist() == ["exit code", "exit code", "complete"]
        assert history.exit_code.tolist() == [1, 1, 0]
        assert history.stdout.nunique() == 3
        for number, (out, err) in enumerate(zip(history.stdout, history.stderr, strict=True), 1):
            assert Path(out).read_text() == f"attempt {number} of {DAY}/00/{tile:05d}\n"
            assert Path(err).read_text() == f"complaint {number}\n"
    assert len(project.attempts("trying")) == 27 + 2 * 2
    last = last_attempt(project)
    project.retry("trying", 7, failed=False)
    assert run_here(project)
    assert ran_since(project, last) == {"trying": [7]}
    assert project.attempts("trying", 7).stdout.nunique() == 4  # none is overwritten


def test_a_program_that_is_cancelled_is_gone_with_its_children(folder, local_client):
    """Cancel: of a program."""
    project = recorded(folder)
    marks = folder / "marks"
    marks.mkdir()
    project.add(lw.command([*PYTHON, WAIT, str(marks), "{unit}"], name="waiting"))
    with running(project.start(local_client)) as run:
        begun = until(lambda: [p for p in marks.iterdir() if not p.suffix])
        processes = [psutil.Process(int(pid)) for pid in begun[0].read_text().split()]
        assert all(process.is_running() for process in processes)
        unit = int(begun[0].name)
        until(lambda: states(project, "waiting")[unit] == State.RUNNING)
        assert project.cancel("waiting", unit) == 1
        until(lambda: states(project, "waiting")[unit] == State.CANCELLED)
        _, alive = psutil.wait_procs(processes, timeout=10)
        assert not alive
        assert project.attempts("waiting", unit).outcome.tolist() == ["cancelled"]
        assert project.cancel("waiting") == 26
        run.wait(20)
    assert project.counts == {"waiting": {"cancelled": 27}}


def test_a_stage_from_the_journal_still_has_its_timeout(project):
    """A program that hangs is ended, also in a project that was opened again."""
    hang = lw.command([*PYTHON, WAIT, str(project.path), "x"], name="hang", timeout=0.5, retries=0)
    project.add(hang)
    project.choose_region(z=0, x=0)
    project = lw.open_project(project.path)
    begun = time.monotonic()
    run_here(project)
    assert time.monotonic() - begun < 15
    assert project.attempts("hang").outcome.tolist() == ["timeout"]
