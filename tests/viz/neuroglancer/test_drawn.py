"""What Neuroglancer really draws, in a real browser, beside what the arrays say."""

import time

import numpy as np
import pytest

import latticework as lw
from latticework.io.pyramid import Pyramid
from latticework.viz.neuroglancer import Overlay
from tests.viz.neuroglancer.conftest import MOVED_UM, pixels_of_tile
from tests.viz.neuroglancer.test_views import write

READY = "window.viewer !== undefined && viewer.isReady()"
PANEL = """(() => { const box = document.querySelector('.neuroglancer-rendered-data-panel')
  .getBoundingClientRect(); return [box.left, box.top, box.right, box.bottom] })()"""
AWAY_PX = 60
"""From the edge of the panel, where buttons, the scale and the axes are."""


def drawn(browser, view_of, *, centre, scale=1.0, viewport=(520, 420)):
    """Pixels of the panel, with the view's coordinate (y, x) of each; one panel, along z.

    `view_of` makes the view with a state; `centre` is where one looks, in pixels z y x.
    """
    with view_of(None) as view:
        state = view.state
    state |= {
        "position": list(map(float, centre[::-1])),
        "crossSectionScale": scale,
        "layout": "xy",
        "showScaleBar": False,
        "showAxisLines": False,
    }
    with view_of(state) as view, browser.open(view.url, viewport=viewport) as page:
        page.wait_for(READY, timeout_s=90)
        page.wait_for(f"viewer.layerManager.managedLayers.length == {len(view.layers)}")
        left, top, right, bottom = page.evaluate(PANEL)
        until = time.monotonic() + 30
        before = page.pixels()
        while True:  # until two pictures are the same: everything has arrived
            time.sleep(0.3)
            pixels = page.pixels()
            if (pixels == before).all() or time.monotonic() > until:
                break
            before = pixels
        assert page.errors == []
        assert "Cannot" not in page.evaluate("document.body.innerText")
    rows = np.arange(int(top) + AWAY_PX, int(bottom) - AWAY_PX)
    columns = np.arange(int(left) + AWAY_PX, int(right) - AWAY_PX)
    y = centre[1] + (rows + 0.5 - (top + bottom) / 2) * scale
    x = centre[2] + (columns + 0.5 - (left + right) / 2) * scale
    return pixels[rows][:, columns], y, x


def expected(plane, y, x):
    """Grey values of a plane at coordinates, where pixel 0 is from -0.5 to 0.5; black outside."""
    rows, columns = np.floor(y + 0.5).astype(int), np.floor(x + 0.5).astype(int)
    inside = np.logical_and.outer(
        (rows >= 0) & (rows < plane.shape[0]), (columns >= 0) & (columns < plane.shape[1])
    )
    clipped = np.ix_(rows.clip(0, plane.shape[0] - 1), columns.clip(0, plane.shape[1] - 1))
    return np.where(inside, plane[clipped], 0)


def same(picture, grey, *, off=1):
    """Share of pixels that are grey and of the expected value."""
    apart = np.abs(picture.astype(int) - grey.astype(int)[..., None])
    return float((apart.max(axis=2) <= off).mean())


def test_tiles_of_a_stage_are_drawn_pixel_by_pixel(browser, known):
    def view_of(state):
        return known.project.view("brighter", contrast=(0, 255), state=state)

    picture, y, x = drawn(browser, view_of, centre=(0.0, 60.25, 110.25))
    grey = expected(known.mosaic // 2 + 100, y, x)
    assert 0.2 < (grey > 0).mean() < 0.9  # the mosaic and its edge are in sight
    assert same(picture, grey) > 0.999
    assert same(picture, np.roll(grey, 1, axis=1)) < 0.9  # and a pixel beside would be seen


@pytest.mark.slow
def test_a_fused_volume_is_drawn_from_its_own_files(browser, tmp_path):
    rng = np.random.default_rng(0)
    volume = (np.arange(300)[:, None] // 3 + rng.integers(0, 150, (12, 300, 320))).astype("u1")
    pyramid = Pyramid.plan(
        tmp_path / "brain.ome.zarr",
        dims="zyx",
        shape=volume.shape,
        dtype="u1",
        pixel_size_um=(2.0, 0.5, 0.5),
        origin_um=(4.0, 10.0, 20.0),
    ).create()
    write(pyramid, volume)

    def view_of(state):
        if state is not None:
            controls = {"normalized": {"range": [0, 255]}, "colour": "#ffffff"}
            state["layers"][0]["shaderControls"] = controls
        return lw.view(pyramid.path, state=state)

    for z in (0, 7):
        centre = (2.0 + z, 20 + 150.25, 40 + 160.25)
        picture, y, x = drawn(browser, view_of, centre=centre)
        assert same(picture, expected(volume[z], y - 20, x - 40)) > 0.999


@pytest.mark.slow
def test_solved_tiles_are_drawn_where_they_were_found(browser, known):
    def view_of(state):
        return known.project.view(
            "source", positions="solved", contrast=(0, 255), state=state, y=1, x=2
        )

    picture, y, x = drawn(browser, view_of, centre=(0.0, 80.3, 170.3))
    moved = np.array(MOVED_UM) / 0.5 + [56, 140]
    assert same(picture, expected(pixels_of_tile(5), y - moved[0], x - moved[1])) > 0.999


@pytest.mark.slow
def test_coarser_levels_are_means(browser):
    rng = np.random.default_rng(0)
    plane = rng.integers(0, 255, (1, 1200, 1600)).astype("u1")
    array = Overlay(plane)

    def view_of(state):
        if state is not None:
            controls = {"normalized": {"range": [0, 255]}, "colour": "#ffffff"}
            state["layers"][0]["shaderControls"] = controls
        return lw.view({"noise": array}, state=state)

    picture, y, x = drawn(browser, view_of, centre=(0.0, 601.1, 801.1), scale=4.0)
    means = plane[0].reshape(300, 4, 400, 4).mean(axis=(1, 3))
    coarse = expected(means + 0.5, (y + 0.5) / 4 - 0.5, (x + 0.5) / 4 - 0.5)
    assert same(picture, coarse, off=2) > 0.999


@pytest.mark.slow
def test_labels_have_colours_and_points_are_where_they_should_be(browser, known):
    def view_of(state):
        return known.project.view("objects", "corners", state=state)

    picture, y, x = drawn(browser, view_of, centre=(0.0, 60.25, 110.25))
    lit = picture.max(axis=2) > 40
    colours = []
    for number in range(6):
        y0, x0 = 56 * (number // 3), 70 * (number % 3)
        square = np.ix_((y > y0 + 20.6) & (y < y0 + 29), (x > x0 + 12) & (x < x0 + 29))
        assert lit[square].all()
        colours.append(tuple(np.median(picture[square].reshape(-1, 3), axis=0)))
        # a point of "corners", in yellow, and its surroundings
        row, column = np.argmin(abs(y - y0 - 40)), np.argmin(abs(x - x0 - 50))
        yellow = picture[row - 1 : row + 2, column - 1 : column + 2].reshape(-1, 3).mean(axis=0)
        assert yellow[0] > 180 and yellow[1] > 150 and yellow[2] < 60  # noqa: PT018  one colour
        assert not lit[row + 12, column]
    numbers = [int(1 + pixels_of_tile(k)[0, 0]) for k in range(6)]
    assert len(set(colours)) == len(set(numbers))


@pytest.mark.slow
def test_a_view_in_a_notebook_s_frame_works(browser, known, tmp_path):
    """The page of a notebook has another origin than the viewer in its frame."""
    with known.project.view("brighter") as view:
        page_file = tmp_path / "notebook.html"
        page_file.write_text(f"<!doctype html><title>n</title>{view._repr_html_()}")
        with browser.open(page_file.as_uri(), viewport=(900, 760)) as page:
            time.sleep(1)
            until = time.monotonic() + 60
            while page.pixels()[200:500, 200:700].std() < 10:
                assert time.monotonic() < until
                time.sleep(0.5)
            assert page.errors == []
