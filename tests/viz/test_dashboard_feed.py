"""What the pages look at when the project under them is another one, damaged, or gone."""

import asyncio
import gc
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from bokeh.document import Document

import latticework as lw
from latticework.errors import LatticeworkError
from latticework.io.status_array import write_status
from latticework.lattice.states import State
from latticework.viz.dashboard.failure_tally import tally_of
from latticework.viz.dashboard.feed import ProjectFeed
from latticework.viz.dashboard.hub import Hub
from latticework.viz.dashboard.page import Visit
from latticework.viz.dashboard.questions import Questions
from latticework.viz.dashboard.status_files import StatusFiles
from tests.viz.test_dashboard_parts import write_attempts


def tiles(n=4):
    return lw.Lattice.from_array(np.ones((4 * n, 8), "u1"), block={"y": 4, "x": 8})


@pytest.fixture
def project(tmp_path):
    """A project of 4 tiles that nobody runs, of which one has failed."""
    made = lw.create(tmp_path / "p.lw", tiles())
    made.add(np.negative, name="clean")
    write_attempts(
        made,
        [(1, 0, 1, 1, time.time(), 1, None), (1, 1, 1, 2, time.time(), 1, 1)],
        errors=[(1, "tile 1 is dark")],
        workers=[(1, "node1")],
    )
    return made


def another(path):
    """Another project where one was, with as many tiles and attempts."""
    shutil.rmtree(path)
    made = lw.create(path, tiles())
    made.add(np.square, name="clean")
    return made


def test_another_project_at_the_same_path_is_looked_at_from_its_beginning(project):
    feed = ProjectFeed(project.path)
    old = feed.look()
    assert old.stage("clean").count(State.STALE) == 1
    assert len(feed.recent.rows) == 2
    other = another(project.path)
    new = feed.look()
    assert new.stage("clean").by_state == {State.WAITING: 4}
    assert not len(feed.recent.rows)
    assert new.events == ()
    assert new.number > old.number
    assert new.life > old.life
    assert new.stage("clean").version > old.stage("clean").version
    write_attempts(other, [(1, 2, 1, 1, time.time(), 1, None)], workers=[(1, "node2")])
    assert feed.look().stage("clean").count(State.STALE) == 1
    assert feed.recent.rows["unit"].tolist() == [2]
    feed.close()


def test_questions_and_actions_reach_the_project_that_is_there_now(project):
    questions = Questions(project.path)
    ask = lambda question: asyncio.run(questions.ask(question))  # noqa: E731
    assert ask(lambda p: len(tally_of(p).rows)) == 1
    other = another(project.path)
    assert ask(lambda p: (p.key, len(tally_of(p).rows))) == (other.key, 0)
    assert "ready to run" in ask(lambda p: p.why("clean", y=0))
    asyncio.run(questions.change(lambda p: p.pause("clean")))
    assert other.settings.paused_stages == ("clean",)
    questions.close()


def test_a_journal_that_was_recovered_is_another_one(project):
    feed, questions = ProjectFeed(project.path), Questions(project.path)
    before = feed.look()
    asyncio.run(questions.ask(lambda p: tally_of(p).look(p)))
    lw.recover(project.path)
    after = feed.look()
    assert after.life > before.life
    told = asyncio.run(questions.ask(lambda p: p.attempts_made()))
    assert told == lw.open_project(project.path).attempts_made()
    questions.close()


def test_a_project_put_again_is_looked_at_as_it_is_now(project):
    hub = Hub()
    shown = hub.put(project.path)
    shown.feed.look()
    other = another(project.path)
    again = hub.put(project.path)
    assert again.feed.look().stage("clean").count(State.STALE) == 0
    assert asyncio.run(again.questions.ask(lambda p: p.key)) == other.key
    hub.close()


def open_files(folder):
    """Descriptors of this process to files in a folder."""
    return [one for one in map(_target, Path("/proc/self/fd").iterdir()) if str(folder) in one]


def _target(link):
    try:
        return str(link.readlink())
    except OSError:
        return ""


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc")  # noqa: PTH112
@pytest.mark.parametrize("damage", [b"not a journal " * 400, b"", None])
def test_no_files_stay_open_while_the_journal_is_damaged(project, damage):
    feed, questions = ProjectFeed(project.path), Questions(project.path)
    feed.look()
    journal = project.path / "journal.sqlite"
    whole = journal.read_bytes()
    del project
    gc.collect()
    new = journal.with_name("new")
    new.write_bytes(whole[:6000] + b"\xff" * 3000 + whole[9000:] if damage is None else damage)
    new.replace(journal)
    before = len(open_files(journal.parent))
    gc.disable()
    try:
        for _ in range(10):
            with pytest.raises((LatticeworkError, OSError)):
                feed.look()
            feed._trouble("it is damaged")
            with pytest.raises(LatticeworkError):
                asyncio.run(questions.ask(lambda p: (p.pipeline, p.attempts("clean"))))
        assert len(open_files(journal.parent)) <= before
    finally:
        gc.enable()
    new.write_bytes(whole)
    new.replace(journal)
    assert feed.look().stage("clean").count(State.STALE) == 1
    feed.close()
    questions.close()


def test_a_closed_server_lets_go_of_the_project_s_files(project):
    folder, server = project.path, project.dashboard()
    until = time.monotonic() + 20
    while server.shown.feed.snapshot is None and time.monotonic() < until:
        time.sleep(0.02)
    assert asyncio.run(server.shown.questions.ask(lambda p: p.key)) == project.key
    project.let_go()
    gc.disable()
    try:
        assert open_files(folder)
        server.close()
        until = time.monotonic() + 10
        while open_files(folder) and time.monotonic() < until:
            time.sleep(0.05)
        assert not open_files(folder)
    finally:
        gc.enable()


@pytest.mark.parametrize("torn", [b"", b"\x04\x04", b"\xff" * 4, b"\x04\x09\x04\x04"])
def test_torn_states_are_not_taken_for_states(tmp_path, torn):
    lattice = tiles()
    path = tmp_path / "status.zarr"
    write_status(path, lattice, {"clean": {"state": np.array([4, 4, 5, 1], "u1")}})
    files = StatusFiles(path, lattice)
    assert files.look()["clean"].reshape(-1).tolist() == [4, 4, 5, 1]
    file = path / "state" / "c.0.0.0"
    whole = file.read_bytes()
    file.write_bytes(torn)
    assert files.look() == {}
    file.write_bytes(whole)
    assert files.look()["clean"].reshape(-1).tolist() == [4, 4, 5, 1]
    (path / "zarr.json").write_text("{")
    assert files.look() == {}


def test_a_tab_that_has_gone_asks_nothing_and_leaves_nothing_waiting(project):
    async def visit():
        hub = Hub()
        tab = Visit(hub.put(project.path), Document(), "light", {})
        asked = []
        tab.ask(asked.append, asked.append)
        tab.leave()  # before it has begun
        tab.ask(asked.append, asked.append)
        await asyncio.sleep(0.1)
        gc.collect()  # what was begun and never awaited would warn here
        hub.close()
        return asked

    assert asyncio.run(visit()) == []
