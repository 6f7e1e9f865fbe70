"""Pages that are open while tiles and stages come and go: what a person chose stays."""

import asyncio
import time

import numpy as np
import pytest
from bokeh.document import Document

import latticework as lw
from latticework.io.growth_store import Growth
from latticework.project.desk import Desk
from latticework.project.growing import grow_project
from latticework.viz.dashboard.hub import Hub
from latticework.viz.dashboard.page import Frame, Visit
from latticework.viz.dashboard.serving import pages
from tests.project.test_state_machine import tiles
from tests.viz.looking import Looking, looked_at
from tests.viz.test_dashboard_parts import write_attempts
from tests.viz.test_map_page import FIGURE, colour, point_of, wait_for_colour

GRID = [(y, x) for y in range(6) for x in range(6)]


def grow(project, where):
    """Tiles join a project that nobody runs."""
    with project.lock().held():
        grow_project(Desk(project), Growth(tiles(where, list(range(len(where))))))
        project.close_writer()
        project.seen_now()


@pytest.fixture
def project(tmp_path):
    """A project of 6 x 6 tiles that may grow, of which one has failed."""
    made = lw.create(tmp_path / "p.lw", tiles(GRID, list(range(36))))
    made.add(np.negative, name="clean")
    made.cancel("clean", 14)
    write_attempts(
        made,
        [(1, 7, k, 2, time.time(), 1, k) for k in (1, 2)],
        errors=[(1, "tile 7 is dark"), (2, "tile 7 is dim")],
        workers=[(1, "node1")],
    )
    return made


def test_tiles_that_come_build_no_page_anew(project):
    async def follow():
        hub = Hub()
        shown = hub.put(project.path)
        shown.feed.close()  # it looks when it is told to
        await asyncio.sleep(0.1)
        first = shown.feed.look()
        frames = {}
        for place, kind in pages().items():
            visit = Visit(shown, Document(), "light", {"stage": "clean", "tile": "7"})
            frames[place] = Frame(visit, kind(visit))
        bodies = {place: body_of(frame) for place, frame in frames.items()}
        grow(project, [(6, 0), (2, -1)])
        grown = shown.feed.look()
        assert grown.structure > first.structure
        assert grown.outline == first.outline
        assert [p for p, frame in frames.items() if body_of(frame) is not bodies[p]] == []
        project.add(np.square, name="later", after="clean")
        assert shown.feed.look().outline > first.outline
        anew = [place for place, frame in frames.items() if body_of(frame) is not bodies[place]]
        assert anew == ["lattice-work", "lattice-control"]  # they have a part for each stage
        assert [frame._note.text for frame in frames.values() if frame._note.visible] == []
        await asyncio.sleep(0.3)
        for frame in frames.values():
            frame.visit.leave()
        hub.close()

    asyncio.run(follow())


def body_of(frame):
    """What the page has been built of, after another look."""
    frame.tick()
    return frame.root.children[-1]


@pytest.mark.slow
def test_a_map_stays_where_one_has_gone_while_tiles_and_stages_come(project, browser):
    with project.dashboard() as server:
        url = server.url.replace("/lattice?", "/lattice-map?") + "&stage=clean"
        with looked_at(browser, url) as seen:
            page = seen.page
            wait_for_colour(page, 2.1, 2.1, colour(6))
            page.scroll(*point_of(page, 2.5, 2.5), down=-300)
            span = f"[{FIGURE}.x_range.start, {FIGURE}.x_range.end, {FIGURE}.y_range.end]"
            page.wait_for(f"{FIGURE}.x_range.end - {FIGURE}.x_range.start < 6")
            time.sleep(0.5)
            before, same = page.evaluate(span), page.evaluate(f"{FIGURE}.id")
            grow(project, [(-1, 2), (6, 6)])  # a row above, a row and a column behind
            page.wait_for(f"Math.abs({FIGURE}.y_range.end - {before[2] + 1}) < 1e-6")
            assert page.evaluate(span) == pytest.approx([before[0], before[1], before[2] + 1])
            wait_for_colour(page, 2.1, 3.1, colour(6))  # the same tile is a row lower now
            project.add(np.square, name="later", after="clean")
            page.wait_for("deepAll('option').some(o => o.textContent == 'later')")
            time.sleep(1)
            assert page.evaluate(f"{FIGURE}.id") == same
            assert page.evaluate(span)[:2] == pytest.approx(before[:2])
            seen.button("whole")
            page.wait_for(f"{FIGURE}.y_range.start > 7.9 && {FIGURE}.y_range.end < 0.1")


@pytest.mark.slow
def test_what_is_typed_chosen_and_opened_stays_while_tiles_come(project, browser):
    with project.dashboard() as server:
        url = server.url.replace("/lattice?", "/lattice-tile?") + "&stage=clean&tile=7"
        failures = server.url.replace("/lattice?", "/lattice-failures?")
        with looked_at(browser, url) as seen, looked_at(browser, failures) as beside:
            seen.wait_text("at 1 1", "attempt 2", "ValueError: tile 7 is dim")
            seen.page.evaluate(
                "(() => { const s = deepShown('select').at(-1);"
                " s.value = [...s.options].find(o => o.text.includes('attempt 1')).value;"
                " s.dispatchEvent(new Event('change')) })()"
            )
            seen.wait_text("ValueError: tile 7 is dark")
            seen.click("deepShown('input')[0]")
            seen.page.type_text("z=3 and so")
            beside.wait_text("a traceback")
            beside.click("deepShown('summary')[0]")
            beside.page.wait_for("deepShown('details[open]').length == 1")
            grow(project, [(1, 6), (0, -1)])
            project.add(np.square, name="later", after="clean")
            seen.page.wait_for("deepAll('option').some(o => o.textContent == 'later')")
            seen.page.wait_for("deepShown('td').some(t => t.textContent.trim() == 'later')")
            assert seen.page.evaluate("deepShown('input')[0].value") == "z=3 and so"
            assert "ValueError: tile 7 is dark" in seen.text
            time.sleep(1.5)
            assert beside.page.evaluate("deepShown('details[open]').length") == 1


@pytest.mark.slow
def test_the_answer_to_a_search_stays_while_stages_come(project, browser):
    with project.dashboard() as server:
        url = server.url.replace("/lattice?", "/lattice-tile?") + "&tile=nobody"
        with looked_at(browser, url) as seen:
            seen.wait_text("there is no tile 'nobody'")
            seen.enter("input[type=text]", "y=99 x=0")
            seen.wait_text("99")
            assert "nobody" not in seen.text
            project.add(np.square, name="later", after="clean")
            seen.page.wait_for("deepAll('option').some(o => o.textContent == 'later')")
            time.sleep(1.5)
            assert "99" in seen.text
            assert "nobody" not in seen.text


@pytest.mark.slow
def test_a_page_whose_server_was_started_again_is_loaded_again(project, browser):
    server = project.dashboard()
    with browser.open(server.url.replace("/lattice?", "/lattice-map?") + "&stage=clean") as page:
        seen = Looking(page)
        wait_for_colour(page, 2.1, 2.1, colour(6))
        server.close()
        seen.wait_text("Nothing is new on this page: its server does not answer.")
        project.retry("clean", 14, states="cancelled")
        with project.dashboard(port=server.port):
            wait_for_colour(page, 2.1, 2.1, colour(1))
            seen.ready()
            assert "Nothing is new" not in seen.text
