"""`latticework verify` and `recover`, as a user types them."""

import json

import pytest

import latticework as lw
from latticework.project.pool_facts import PoolFacts, write_pools
from latticework.testing import simulate
from tests.project import steps
from tests.project.running import run_here


@pytest.fixture
def folder(tmp_path):
    """A small project that is complete."""
    tiles, _ = simulate({"y": 2, "x": 2}, tile_shape={"y": 16, "x": 16}, seed=1)
    project = lw.create(tmp_path / "brain.lw", tiles)
    project.add(steps.same)
    assert run_here(project)
    return project.path


def test_what_is_damaged_is_listed_and_made_again(typed, folder):
    assert "is there and whole" in typed("verify", folder)
    next((folder / "stages/same/data.zarr/same").glob("c.1.0*")).unlink()
    [told] = json.loads(typed("verify", folder, "--only-tell", "--json", code=1))
    assert (told["stage"], told["unit"], told["problem"]) == ("same", 2, "it is not there")
    text = typed("verify", folder, "same", "--thorough", code=1)
    assert "it is not there" in text
    assert "1 unit damaged" in text
    assert "latticework run" in text
    assert lw.open_project(folder).counts["same"] == {"complete": 3, "stale": 1}
    text = typed("verify", folder, "--thorough", code=1)
    assert "1 damaged unit waits to be made again; 'latticework run" in text


def test_a_journal_that_is_gone_is_told_and_made_anew(typed, folder):
    (folder / "journal.sqlite").unlink()
    text = typed("status", folder, code=2)
    assert "is missing" in text
    assert "latticework recover" in text
    assert "same: 4 complete" in typed("recover", folder)
    assert lw.open_project(folder).counts["same"] == {"complete": 4}


def test_status_says_that_a_run_waits_for_room(typed, folder):
    project = lw.open_project(folder)
    with project.lock().held():
        (folder / "outage.json").write_text(json.dumps({"text": "the disk is full: free some"}))
        assert "Paused by itself: the disk is full" in typed("status", folder)
        assert json.loads(typed("status", folder, "--json"))["outage"]
    assert "Paused by itself" not in typed("status", folder)


def test_while_a_run_goes_on_status_and_why_say_what_its_pools_lack(typed, folder):
    project = lw.open_project(folder)
    project.retry("same", 1, failed=False)
    waiting = "3 jobs wait in SLURM: Priority (jobs with a higher priority go first)"
    with project.lock().held():
        write_pools(folder, [PoolFacts("cpu", 0, 0, 0, None, 0, waiting)])
        text = typed("status", folder)
        assert f"Pool cpu: 0 workers, {waiting}" in text
        [pool] = json.loads(typed("status", folder, "--json"))["pools"]
        assert pool["pending"] == waiting
        assert lw.open_project(folder).why("same", 1) == (
            f"stale: it was told to run again; pool 'cpu' has no workers yet: {waiting}"
        )
    text = typed("status", folder, code=1)
    assert "SLURM" not in text
    assert "Stale, complete once and to be made again: same 1" in text
