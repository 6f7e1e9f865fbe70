"""The lattice map as a person sees it in a browser."""

import dataclasses
import itertools
import time

import numpy as np
import pytest

from latticework import Lattice, all_tiles, create
from latticework.lattice.states import State
from latticework.viz.dashboard import serving
from latticework.viz.dashboard.feed import StageNow
from latticework.viz.dashboard.page import Page
from latticework.viz.dashboard.serving import PageServer
from latticework.viz.states import state_colours
from tests.viz.browser import browser  # noqa: F401 - a fixture

NAMES = [f"tile {k}" for k in range(11)] + ["<script>console.error('in')</script> $$x$$"]
STATES = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [4, 4, 4, 1]], np.uint8)
FIGURE = "Bokeh.documents[0].get_model_by_name('lattice-map')"
POINT = """(() => {{
    const view = Bokeh.index.find_one({figure});
    const box = view.canvas_view.el.getBoundingClientRect();
    return [box.x + view.frame.x_scale.compute({x}), box.y + view.frame.y_scale.compute({y})];
}})()"""

COLUMNS = (
    "[...Bokeh.documents[0]._all_models.values()].filter(m => m.type == 'ColumnDataSource')"
    ".map(m => m.get_column('{}')).filter(c => c)"
)
"""All columns of a name that the page has."""


class Tile(Page):
    """Where a click leads."""

    title = "Tile"

    def build(self, _snapshot):
        return self.html(f"stage {self.visit.arguments['stage']}, {self.visit.arguments['tile']}")

    def update(self, _snapshot):
        """Nothing changes."""


class Told:
    """A feed of whatever a test wants to be seen."""

    def __init__(self, feed, lattice, states):
        snapshot = feed.look()
        feed.close()
        self.versions = itertools.count(1000)
        stages = tuple(
            StageNow(
                name, k, "tiles", parents, lattice, states[name], (0,) * 9, next(self.versions)
            )
            for k, (name, parents) in enumerate((("negative", ()), ("spots", ("negative",))))
        )
        self.snapshot = dataclasses.replace(snapshot, stages=stages, lattice=lattice)

    def tell(self, name, states):
        stages = tuple(
            dataclasses.replace(one, states=states, version=next(self.versions))
            if one.name == name
            else one
            for one in self.snapshot.stages
        )
        number = self.snapshot.number + 1
        self.snapshot = dataclasses.replace(self.snapshot, stages=stages, number=number)

    def close(self):
        """It has nothing to close."""


def colour(state, theme="light"):
    text = state_colours[State(int(state))].on(theme)
    return [int(text[k : k + 2], 16) for k in (1, 3, 5)]


def point_of(page, x, y):
    return page.wait_for(POINT.format(figure=FIGURE, x=x, y=y))


def wait_for_colour(page, x, y, wanted, timeout_s=20.0):
    """Wait until a point of the picture has a colour."""
    until, seen = time.monotonic() + timeout_s, None
    while time.monotonic() < until:
        px, py = point_of(page, x, y)
        seen = page.pixels()[round(py), round(px)].tolist()
        if seen == wanted:
            return
        time.sleep(0.1)
    raise AssertionError(f"at {(x, y)} there is {seen}, not {wanted}")


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Pages of a project of 3 x 4 tiles, with states as a test tells them."""
    pages = serving.pages()
    monkeypatch.setattr(serving, "pages", lambda: {**pages, "lattice-tile": Tile})
    plain = Lattice.from_array(np.ones((24, 32), "u1"), block=8)
    lattice = Lattice(
        dims=plain.dims,
        labels={"tile_y": [10, 11, 12], "tile_x": list("abcd")},
        index=plain.index,
        tile_dims=plain.tile_dims,
        tile_shape=(8, 8),
        dtype="u1",
        names=NAMES,
        source=plain.source,
    )
    project = create(tmp_path / "brain.lw", lattice)
    first = project.add(np.negative)
    project.add(np.square, after=first, name="spots")
    with PageServer(project.path) as server:
        waiting = np.where(STATES == 4, 1, 7).astype(np.uint8)
        states = {"negative": STATES, "spots": waiting}
        server.shown.feed = Told(server.shown.feed, lattice, states)
        yield server


def address(server, **arguments):
    more = "".join(f"&{name}={value}" for name, value in arguments.items())
    return server.url.replace("/lattice?", "/lattice-map?") + more


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_every_tile_has_the_colour_of_its_state_and_says_it_too(served, browser, theme):  # noqa: F811
    with browser.open(address(served, stage="negative"), colour_scheme=theme) as page:
        wait_for_colour(page, 3.08, 2.08, colour(State.WAITING, theme))
        pixels = page.pixels()
        for (row, column), state in np.ndenumerate(STATES):
            x, y = point_of(page, column + 0.08, row + 0.08)
            assert pixels[round(y), round(x)].tolist() == colour(state, theme), state
        words = page.wait_for(f"{COLUMNS.format('text')}.find(c => c.length == 12)")
        assert words == [State(int(state)).label for state in STATES.reshape(-1)]
        assert page.errors == []
        # what changes is drawn without the page being loaded again
        states = STATES.copy()
        states[2, 3] = State.FAILED
        served.shown.feed.tell("negative", states)
        wait_for_colour(page, 3.08, 2.08, colour(State.FAILED, theme))
        assert page.errors == []


def test_pointing_names_a_tile_and_says_why_and_a_click_opens_it(served, browser):  # noqa: F811
    with browser.open(address(served, stage="negative")) as page:
        wait_for_colour(page, 3.08, 2.08, colour(State.WAITING))
        page.move_to(*point_of(page, 3.4, 2.4))
        under = (
            "Bokeh.documents[0].roots().length && [...Bokeh.documents[0]._all_models.values()]"
            ".filter(m => m.type == 'Div').map(m => m.text).join('').includes({!r})"
        )
        page.wait_for(under.format("&lt;script&gt;console.error"))
        page.wait_for(under.format("y 12, x d"))
        page.wait_for(under.format("ready to run: nothing runs this project now"))
        assert page.errors == []
        page.click_at(*point_of(page, 1.4, 0.4))
        page.wait_for("location.pathname.endsWith('/lattice-tile')")
        assert "stage=negative&tile=1" in page.evaluate("location.search")
        assert page.errors == []


def test_stages_are_seen_side_by_side_and_combined(served, browser):  # noqa: F811
    with browser.open(address(served)) as page:
        wait_for_colour(page, 0.08, 1.08, colour(State.FAILED))
        wait_for_colour(page, 1.08, 1.08, colour(State.CANCELLED))
        page.evaluate(
            "(() => { const all = [...Bokeh.documents[0]._all_models.values()];"
            " const views = all.find(m => m.type == 'RadioButtonGroup' && m.labels.length > 2);"
            " views.active = views.labels.indexOf('all stages') })()"
        )
        page.wait_for(f"{COLUMNS.format('text')}.some(c => c.includes('spots'))")
        assert page.errors == []


@pytest.mark.slow
def test_a_plane_of_a_million_tiles_zooms_to_a_single_one(served, browser):  # noqa: F811
    lattice = Lattice.from_grid({"y": 1000, "x": 1000}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    states = np.full((1000, 1000), State.COMPLETE, np.uint8)
    states[500, 500] = State.FAILED
    snapshot = served.shown.feed.snapshot
    stages = (dataclasses.replace(snapshot.stages[0], lattice=lattice, states=states, version=9),)
    served.shown.feed.snapshot = dataclasses.replace(snapshot, stages=stages, lattice=lattice)
    with browser.open(address(served, stage="negative")) as page:
        wait_for_colour(page, 501.0, 501.0, colour(State.FAILED))  # two by two tiles share a cell
        wait_for_colour(page, 401.0, 501.0, colour(State.COMPLETE))
        for _ in range(12):
            page.scroll(*point_of(page, 500.5, 500.5), down=-400)
        wait_for_colour(page, 500.1, 500.1, colour(State.FAILED))
        wait_for_colour(page, 501.1, 500.1, colour(State.COMPLETE))
        span = f"{FIGURE}.x_range.end - {FIGURE}.x_range.start"
        near = page.evaluate(span)
        assert 4 <= near < 40
        page.wait_for("new Promise(done => setTimeout(() => done(true), 800))")
        assert page.evaluate(span) == near  # it stays where one has gone
        biggest = page.evaluate(
            f"Math.max(...{COLUMNS.format('image')}.flatMap(c => [...c].map(i => i.length)))"
        )
        assert biggest <= 512 * 512
        assert page.errors == []


@pytest.mark.slow
def test_previews_lie_where_tiles_are_and_say_their_state(tmp_path, browser, local_client):  # noqa: F811
    array = np.kron(np.arange(0, 240, 20, dtype="u1").reshape(3, 4), np.ones((32, 32), "u1"))
    project = create(tmp_path / "brain.lw", Lattice.from_array(array, block=32))
    stage = project.add(np.invert)
    project.add(np.square, after=stage, name="squares")
    project.cancel("squares", y=1, x=1)
    project.run(local_client, progress="none")
    with PageServer(project.path) as server:
        project.add(np.mean, name="mean", after=stage, reads=all_tiles())
        for name in ("invert", "squares", "mean"):  # there are none of a mean: of squares then
            with browser.open(address(server, view="previews", stage=name)) as page:
                page.wait_for(f"{COLUMNS.format('colour')}.some(c => c.length == 12)")
                page.wait_for(f"{COLUMNS.format('image')}.length == 3")
                time.sleep(0.3)
                pixels = page.pixels()
                shades = [
                    pixels[round(y), round(x)].tolist()
                    for y, x in (
                        reversed(point_of(page, column + 0.5, row + 0.25))
                        for row in range(3)
                        for column in range(4)
                    )
                ]
                if name == "invert":
                    assert all(red == green == blue for red, green, blue in shades)
                    reds = [red for red, _, _ in shades]
                    assert reds == sorted(reds, reverse=True)
                    assert reds[0] > 200
                    assert reds[-1] < 50
                else:
                    assert shades[5] == colour(State.CANCELLED)
                assert page.errors == []
