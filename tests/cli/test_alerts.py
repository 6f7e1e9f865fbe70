"""What happens by itself, from the command line: events, hosts, stages that pause themselves."""

import json

import pytest

import latticework as lw

PIPELINE = """\
def fails(tile):
    raise ValueError("there is a bubble in this tile")


def pipeline(project):
    project.add(fails, retries=0)
"""


@pytest.fixture
def failing(tmp_path, typed, scheduler):
    """A project of 20 tiles whose only stage has paused itself."""
    file = tmp_path / "pipeline.py"
    file.write_text(PIPELINE)
    tiles, _ = lw.simulate({"y": 4, "x": 5}, tile_shape={"y": 16, "x": 16}, seed=1)
    path = tmp_path / "brain.lw"
    lw.create(path, tiles)
    text = typed("run", path, "--pipeline", file, *scheduler, "--progress", "lines", code=1)
    assert "stage 'fails' has paused itself: 10 of its first 10 units failed" in text
    assert f"When the cause is gone: latticework resume {path} fails" in text
    return path


def test_a_stage_that_paused_itself_is_seen_everywhere(typed, failing, scheduler):
    assert "Paused itself: fails, as 10 of its first 10 units failed" in typed(
        "status", failing, code=1
    )
    assert f"latticework resume {failing} fails lets it go on" in typed("why", failing, "fails", 19)
    lines = typed("events", failing).splitlines()
    assert [line.split("  ", 1)[1].split(" ")[0] for line in lines[:2]] == ["a", "stage"]
    (event,) = json.loads(typed("events", failing, "--kind", "stage paused itself", "--json"))
    assert event["stage"] == "fails"
    assert event["counts"] == {"complete": 0, "failed": 10}
    assert "there is no event 'nothing'" in typed("events", failing, "--kind", "nothing", code=2)
    said = typed("patience", failing, "fails", "--never")
    assert said.strip() == "From now on fails pauses itself never."
    typed("resume", failing, "fails")
    typed("run", failing, *scheduler, code=1)
    assert lw.open_project(failing).counts["fails"] == {"failed": 20}


def test_hosts_are_listed_set_aside_and_taken_back(typed, failing):
    (host,) = json.loads(typed("nodes", failing, "--json"))
    assert host["attempts"] == host["failed"] == host["exception"] >= 10
    name = host["host"]
    text = typed("set-aside", failing, name, "--why", "its disk is full")
    assert f"latticework take-back {failing} {name}" in text
    assert "set aside: its disk is full" in typed("nodes", failing)
    assert f"Hosts set aside: {name}: its disk is full" in typed("status", failing, code=1)
    assert "is that its name?" in typed("set-aside", failing, "node7")
    assert f"Taken back: {name}." in typed("take-back", failing, name)
    text = typed("take-back", failing, name, code=2)
    assert f"host '{name}' is not set aside; those that are: 'node7'" in text


def test_budgets_are_typed_as_mappings(typed, failing):
    typed("change", failing, "fails", 'retries={"timeout": 0, "exception": {"times": 3}}')
    budgets = lw.open_project(failing).pipeline["fails"].budgets
    assert (budgets.timeout.times, budgets.exception.times) == (0, 3)
    text = typed("change", failing, "fails", 'retries={"timout": 0}', code=2)
    assert "'timout' is no kind of failure" in text
