"""The first page, in a real browser: what it shows, that it follows changes, and its graph."""

import shutil
import time

import numpy as np
import pytest

import latticework as lw
from latticework.lattice import Lattice
from latticework.lattice.states import State
from latticework.viz.dashboard.graph import ACROSS, DOWN, EDGE, HEIGHT, WIDTH, places, wire
from latticework.viz.dashboard.look import PALETTES
from latticework.viz.states import state_colours
from tests.viz.looking import looked_at


def fail_on_odd(tile):
    if int(tile.max()) % 2:
        raise ValueError("<img src=x onerror=alert(1)> is odd")
    return tile


@pytest.fixture
def project(tmp_path):
    image = np.kron(np.arange(16, dtype="u1").reshape(4, 4), np.ones((4, 4), "u1"))
    tiles = Lattice.from_array(image, block={"y": 4, "x": 4})
    project = lw.create(tmp_path / "brain.lw", tiles)
    project.add(np.negative, name="clean")
    project.add(fail_on_odd, name="even", after=project.source, retries=0)
    project.add(lambda a: {"m": float(a.mean())}, name="means", after="clean", reads=lw.plane("y"))
    return project


def test_it_shows_states_and_failures_as_they_are(project, browser):
    project.set_patience(after=None)
    project.run(lw.local(workers=1), progress="none")
    with project.dashboard() as server, looked_at(browser, server.url) as seen:
        seen.wait_text("8 failed")
        text = seen.text
        assert "16 / 16" in text
        assert "8 / 16" in text
        assert "not running" in text
        assert "units of 'even' failed" in text or "'even'" in text
        assert "<img src=x" in text or "onerror" in text  # as text
        assert seen.count("img[src=x]") == 0
        drawn = seen.page.pixels()[..., :3].reshape(-1, 3)
        for state in (State.COMPLETE, State.FAILED):
            colour = state_colours[state].light.lstrip("#")
            wanted = np.array([int(colour[k : k + 2], 16) for k in (0, 2, 4)])
            assert (np.abs(drawn.astype(int) - wanted).max(axis=1) <= 2).sum() > 200


def test_it_follows_what_changes(project, browser):
    with project.dashboard() as server, looked_at(browser, server.url) as seen:
        seen.wait_text("means")
        assert "later" not in seen.text
        project.add(np.square, name="later", after="clean")
        seen.wait_text("later")
        project.pause("clean")
        seen.wait_text("paused")


def test_it_is_drawn_in_the_browsers_theme(project, browser):
    with (
        project.dashboard() as server,
        looked_at(browser, server.url, colour_scheme="dark") as seen,
    ):
        seen.wait_text("means")
        behind = seen.page.pixels()[-2, 2, :3]
        colour = PALETTES["dark"].page.lstrip("#")
        assert [int(colour[k : k + 2], 16) for k in (0, 2, 4)] == behind.tolist()
        seen.page.click("header button")
        time.sleep(1)
        seen.ready()
        seen.wait_text("means")
        colour = PALETTES["light"].page.lstrip("#")
        assert [int(colour[k : k + 2], 16) for k in (0, 2, 4)] == (
            seen.page.pixels()[-2, 2, :3].tolist()
        )


def test_a_project_that_goes_away_is_told_and_comes_back(project, browser):
    with project.dashboard() as server, looked_at(browser, server.url) as seen:
        seen.wait_text("means")
        away = project.path.with_name("away.lw")
        project.path.rename(away)
        told = "(deepText().includes('there is no project') || deepText().includes('No such file'))"
        seen.page.wait_for(told)
        away.rename(project.path)
        seen.page.wait_for(f"!{told} && deepText().includes('means')")
        shutil.rmtree(project.path)  # and another one is made at the same place
        other = lw.create(project.path, project.lattice)
        other.add(np.square, name="squares")
        seen.page.wait_for(f"!{told} && deepText().includes('squares')")
        assert "means" not in seen.text


def test_stages_stand_right_of_what_they_read():
    parents = {"source": (), "a": ("source",), "b": ("a",), "c": ("a",), "d": ("source", "b", "c")}
    found = places(parents)
    for name, above in parents.items():
        assert all(found[parent].column < found[name].column for parent in above)
    taken = [(place.column, place.row) for place in found.values()]
    assert len(set(taken)) == len(taken)


def test_lines_of_the_graph_keep_clear_of_boxes():
    parents = {"source": (), "a": ("source",), "b": ("a",), "c": ("a", "source"), "d": ("b",)}
    parents |= {"e": ("source", "d", "c"), "f": ("a", "e"), "g": ("source", "f")}
    where = places(parents)
    for name, above in parents.items():
        for parent in above:
            points = wire(where, parent, name)
            for place in where.values():
                x, y = EDGE + place.column * (WIDTH + ACROSS), EDGE + place.row * (HEIGHT + DOWN)
                inner = [py for px, py in points[1:-1] if x <= px <= x + WIDTH]
                assert not [py for py in inner if y <= py <= y + HEIGHT], (parent, name)
