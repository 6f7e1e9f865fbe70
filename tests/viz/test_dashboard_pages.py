"""Pages of a project that runs: what they show in a real browser, and what they let one do."""

import time

import numpy as np
import pytest

import latticework as lw
from latticework.viz.dashboard.control_page import WRONG_S
from latticework.viz.dashboard.control_token import control_token
from latticework.viz.dashboard.serving import PageServer
from tests.viz import dashboard_steps as steps
from tests.viz.looking import looked_at

EVIL = "<script>alert(1)</script>"
BAD = (1, 5)
"""Tiles that fail; the second one has an evil name."""


class Running:
    """A project that runs, and its pages."""

    def __init__(self, project, server):
        self.project, self.server = project, server

    def url(self, page, *, token="", **arguments):
        root, _, project = self.server.url.partition("/lattice?")
        more = "".join(f"&{name}={value}" for name, value in arguments.items())
        return f"{root}/{page}?{project}{more}" + f"#token={token}" * bool(token)

    def wait(self, done, timeout_s=60.0):
        until = time.monotonic() + timeout_s
        while not done(self.project.counts):
            assert time.monotonic() < until, self.project.counts
            time.sleep(0.1)

    def commands(self):
        return [row[0] for row in self.project.query("select command from commands order by id")]


@pytest.fixture(scope="module")
def running(local_client, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    tiles = lw.Lattice.from_array(
        np.arange(8 * 64 * 64, dtype="u2").reshape(8, 128, 32), block={"z": 4, "y": 32, "x": 32}
    )
    names = [str(name) for name in tiles.names]
    names[5] = EVIL
    project = lw.create(folder / "cortex.lw", tiles.replace(names=names))
    project.add(steps.smooth, name="clean")
    project.add(steps.moody, name="spots", after="clean", bad=list(BAD), flaky=str(folder))
    project.add(steps.describe, name="measure", after="spots")
    project.add(steps.plane_mean, name="planes", after="clean", reads=lw.plane("z"))
    project.set_patience(after=None)
    run = project.start(local_client, wait=True)
    with PageServer(project.path) as server:
        found = Running(lw.open_project(project.path), server)
        try:
            found.wait(lambda n: n["spots"] == {"complete": 6, "failed": 2})
            found.wait(lambda n: n["measure"].get("complete") == 6 and "complete" in n["planes"])
            yield found
        finally:
            run.stop()


def test_a_tile_s_page_tells_its_states_attempts_and_what_it_looks_like(browser, running):
    with looked_at(browser, running.url("lattice-tile", stage="spots", tile=3)) as seen:
        seen.wait_text("z0_y3_x0", "attempt 2 took", "RuntimeError: the disk was busy for 3 ms")
        seen.wait_text("In every stage", "Neighbours", "z0_y2_x0", "z1_y3_x0", "4 attempts")
        seen.wait_text("tests.viz.dashboard_steps.moody", "flaky=")
        seen.page.wait_for("deepShown('img').length == 3")  # source, clean, spots
        assert seen.page.evaluate("deepShown('img').every(i => i.naturalWidth == 32)")
        seen.wait_text("'largest':")  # the record of `measure`
        seen.link("z0_y2_x0")
        seen.page.wait_for("location.search.includes('tile=2')")
        seen.ready()
        seen.wait_text("z0_y2_x0", "3 attempts")


def test_a_tile_named_as_a_script_is_shown_and_does_nothing(browser, running):
    with looked_at(browser, running.url("lattice-tile", stage="spots", tile=5)) as seen:
        seen.wait_text(EVIL, f"ValueError: tile {EVIL} is out of focus: sharpness 0.005")
        seen.wait_text("Traceback (most recent call last)", "blocked", "retry…")
        assert not seen.page.evaluate("deepAll('script').some(s => s.textContent == 'alert(1)')")
        seen.page.go(running.url("lattice-failures"))
        seen.ready()
        seen.wait_text("<script>alert(1)</script> is out of focus")
        assert not seen.page.evaluate("deepAll('script').some(s => /alert/.test(s.textContent))")


@pytest.mark.slow
def test_a_tile_is_found_by_its_labels_and_what_is_not_there_is_said(browser, running):
    with looked_at(browser, running.url("lattice-tile", tile="nobody")) as seen:
        seen.wait_text("there is no tile 'nobody': give an id from 0 to 7, a name, or labels")
        seen.enter("input[type=text]", "z=9 y=0 x=0")
        seen.wait_text("tile_z")
        seen.enter("input[type=text]", "z=1 y=2 x=0")
        seen.page.wait_for("location.search.includes('tile=6')")
        seen.ready()
        seen.wait_text("z1_y2_x0")


@pytest.mark.slow
def test_planes_have_pages_too(browser, running):
    with looked_at(browser, running.url("lattice-tile", stage="planes", tile=1)) as seen:
        seen.wait_text("z1", "planes, attempt 1: complete", "clean/4#1")
        seen.page.wait_for("deepShown('img').length == 1")
        assert "pixels" not in seen.text.lower()  # those of one of its tiles


@pytest.mark.slow
def test_failures_are_grouped_and_mended_ones_told_apart(browser, running):
    with looked_at(browser, running.url("lattice-failures")) as seen:
        seen.wait_text("2 failed now", "1 failed, then complete", "5 failed attempts")
        seen.wait_text("ValueError: tile z0_y1_x0 is out of focus: sharpness 0.001", "in spots, on")
        seen.wait_text("RuntimeError: the disk was busy for 3 ms", "1 complete since")
        seen.click("deepShown('summary')[0]")
        seen.wait_text("raise ValueError(")
        seen.link("spots z0_y1_x0")
        seen.page.wait_for("location.search.includes('tile=1')")
        seen.ready()
        seen.wait_text("z0_y1_x0", "is out of focus: sharpness 0.001")


@pytest.mark.slow
def test_the_work_page_shows_rates_durations_workers_and_slow_units(browser, running):
    with looked_at(browser, running.url("lattice-work", span="all")) as seen:
        seen.wait_text("Stages", "clean", "measured", "Workers", "Slowest units")
        seen.page.wait_for("deepShown('canvas').length >= 3")
        seen.button("10 min")
        seen.wait_text("done", "2 failed", "2 blocked", "rates: over the last 10 minutes")


@pytest.mark.slow
def test_a_wrong_token_is_answered_slowly_and_never_shuts_the_right_one_out(browser, running):
    token = control_token(running.project.path)
    with looked_at(browser, running.url("lattice-control", do="retry", states="failed")) as seen:
        seen.wait_text("Locked", "Asked for: retry all failed units", "cortex.lw --token")
        assert "Pause the project" not in seen.text
    with looked_at(browser, running.url("lattice-control", token="of-a-link")) as seen:
        seen.wait_text("Locked", "That is not the token of this project")
        assert "Pause the project" not in seen.text
        for number in range(12):
            begun = time.monotonic()
            seen.page.evaluate("window.before = deepAll('p.bad').length, true")
            seen.enter("input[type=password]", f"guess{number}")
            seen.wait_text("Looking")
            seen.wait_text("That is not the token of this project")
            assert time.monotonic() - begun >= WRONG_S
        seen.enter("input[type=password]", "one more, and then the right one at once")
        seen.enter("input[type=password]", token)
        seen.wait_text("Pause the project")


@pytest.mark.slow
def test_a_tab_keeps_the_token_and_nothing_else_sees_it(browser, running):
    token = control_token(running.project.path)
    with looked_at(browser, running.url("lattice-failures", token=token)) as seen:
        assert token not in seen.page.evaluate("location.href")
        seen.link("retry all 2 failed units…")
        seen.page.wait_for("location.search.includes('do=retry')")
        seen.ready()
        seen.wait_text("Retry 2 failed units?")  # unlocked, and asked
        seen.page.go(running.url("lattice-tile", stage="spots", tile=1))
        seen.ready()
        seen.link("retry…")
        seen.page.wait_for("location.pathname.endsWith('control')")
        seen.ready()
        seen.wait_text("Retry 1 complete unit of 'clean' at 1? What was made from what")
        assert not any(token in address for address in seen.page.requests)
        assert token not in seen.page.evaluate("document.documentElement.outerHTML")
        assert token not in seen.page.evaluate("document.cookie")
    with looked_at(browser, running.url("lattice-control")) as other:
        other.wait_text("Locked")
        time.sleep(1)
        assert "Pause the project" not in other.text


def test_pause_retry_and_resume_by_clicks(browser, running):
    with looked_at(browser, running.url("lattice-control")) as seen:
        seen.wait_text("Locked")
        seen.enter("input[type=password]", control_token(running.project.path))
        seen.button("Pause the project")
        seen.agree("Pause the project?")
        seen.wait_text("The project is paused")
        assert running.project.settings.paused
        seen.button("Retry all failed")
        seen.agree("Retry 2 failed units?")
        seen.wait_text("2 units will run again")
        assert running.project.counts["spots"] == {"complete": 6, "waiting": 2}
        seen.button("Resume the project")
        seen.agree("Resume the project?")
        seen.wait_text("The project goes on")
        running.wait(lambda n: n["spots"] == {"complete": 6, "failed": 2})
        seen.wait_text("resume", "states: failed")
        assert running.commands()[-3:] == ["pause", "retry", "resume"]
        seen.page.go(running.url("lattice-control"))
        seen.ready()
        seen.wait_text("Pause the project")  # the tab has kept the token


@pytest.mark.slow
def test_what_is_not_agreed_to_is_not_done(browser, running):
    before = running.commands()
    token = control_token(running.project.path)
    with looked_at(browser, running.url("lattice-control", token=token)) as seen:
        seen.button("Stop the run")
        seen.wait_text("Stop the run?")
        seen.button("No")
        seen.page.wait_for("!deepText().includes('Stop the run?')")
        assert running.commands() == before


@pytest.mark.slow
def test_a_link_fills_in_what_is_to_be_cancelled(browser, running):
    token = control_token(running.project.path)
    running.project.pause("spots")
    running.project.retry("spots", 1)
    link = running.url("lattice-control", token=token, do="cancel", stage="spots", tile=1)
    with looked_at(browser, link) as seen:
        seen.agree("Cancel 1 unit of 'spots' at 1 that waits or runs?")
        seen.wait_text("1 unit of 'spots' at 1 cancelled")
        running.wait(lambda n: n["spots"].get("cancelled") == 1)
        seen.button("Resume")
        seen.agree("Resume stage 'spots'?")
        seen.wait_text("Stage 'spots' goes on")
    running.project.retry("spots", 1, states="cancelled")


@pytest.mark.slow
def test_a_token_that_is_changed_locks_open_pages(browser, running):
    file = running.project.path / "control-token"
    token = control_token(running.project.path)
    before = running.commands()
    with looked_at(browser, running.url("lattice-control", token=token)) as seen:
        seen.button("Pause the project")
        seen.wait_text("Pause the project?")
        file.unlink()
        seen.button("Yes")
        seen.wait_text("nothing was done", "Locked")
        assert running.commands() == before
        seen.page.go(running.url("lattice-control"))
        seen.ready()
        seen.wait_text("Locked")
        time.sleep(1.5)
        assert "not the token" not in seen.text  # the tab has forgotten it
