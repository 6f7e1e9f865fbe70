"""What the map says in words, and what people choose on it."""

import dataclasses

import numpy as np
import pytest
from bokeh.models import PlainText

from latticework.lattice.lattice import Lattice
from latticework.lattice.states import State
from latticework.viz.dashboard.figures import new_figure
from latticework.viz.dashboard.look import PALETTES
from latticework.viz.dashboard.map_axes import MapAxes
from latticework.viz.dashboard.map_colours import combined_look, state_look
from latticework.viz.dashboard.map_combined import Combination
from latticework.viz.dashboard.map_controls import Choice, PlaneControls, ViewControls
from latticework.viz.dashboard.map_figure import MapFigure
from latticework.viz.dashboard.map_hover import pointed_at, pointed_html
from latticework.viz.dashboard.map_legend import legend_html
from latticework.viz.dashboard.map_mosaic import can_show, wanted_mosaic
from latticework.viz.dashboard.map_painting import Painter, cell_words
from latticework.viz.dashboard.map_scene import Pane, Sight, one_pane
from latticework.viz.dashboard.map_troubles import failed_places, troubles_html
from tests.viz.test_map_image import stage

EVIL = "<script>alert('tile')</script>"


def sheets():
    """A lattice of rounds, sheets and planes, with names from outside."""
    index = np.argwhere(np.ones((2, 2, 3, 2, 4), bool))
    return Lattice(
        dims=("round", "sheet", "tile_z", "tile_y", "tile_x"),
        labels={
            "round": ["<b>a", "b"],
            "sheet": ["left", "right"],
            "tile_z": [5, 6, 7],
            "tile_y": [0, 1],
            "tile_x": range(4),
        },
        index=index,
        tile_dims=("y", "x"),
        tile_shape=(8, 8),
        dtype="u2",
        names=[f"{EVIL} {k}" for k in range(len(index))],
    )


def counted(one):
    counts = np.bincount(one.states.reshape(-1), minlength=len(State))
    return dataclasses.replace(one, counts=tuple(counts.tolist()))


@pytest.fixture
def painting():
    lattice = sheets()
    states = np.full(lattice.shape, State.COMPLETE, np.uint8)
    states[0, 0, 0, 1, 2] = states[0, 1, 2, 0, 0] = states[1, 0, 0, 0, 0] = State.FAILED
    clean = counted(stage(EVIL, lattice, states))
    spots = counted(stage("spots", lattice, np.full(lattice.shape, 1), (EVIL,)))
    combination = Combination([1, 2])
    pane = Pane("all", MapAxes.of(lattice), lattice, (clean, spots))
    look = combined_look(combination, "light")
    return Painter().paint(one_pane(pane, combination), None, look), look


def test_the_cell_under_the_pointer_is_told_in_plain_words(painting):
    found = pointed_at(painting[0], 0, 1, 2)
    assert found.labels == (
        ("round", "<b>a"),
        ("sheet", "left"),
        ("z", "5"),
        ("y", "1"),
        ("x", "2"),
    )
    assert found.shown == (EVIL, 6, State.FAILED)
    text = pointed_html(found, state_look("light"), f"because of {EVIL}", "lattice-tile?a=1")
    assert "round &lt;b&gt;a, sheet left, z 5, y 1, x 2" in text
    assert text.count("&lt;script&gt;") == 3
    assert "<script" not in text
    assert "<b>a" not in text
    assert "failed" in text


def test_the_legend_and_the_list_of_troubles_escape_what_comes_from_outside(painting):
    told, look = painting
    text = legend_html(told, look, title=EVIL, note=EVIL)
    text += troubles_html(
        told, state_look("dark"), lambda cell: f"tile={cell.unit}", lambda dim, _label: dim
    )
    assert "<script" not in text
    assert "<b>a" not in text
    assert "href='tile=6'" in text
    # planes elsewhere on which something has failed, along each other dim
    assert "failed at round <a href='round'>b</a>" in text
    assert "failed at sheet <a href='sheet'>right</a>" in text
    assert "failed at z <a href='tile_z'>7</a>" in text


def test_planes_on_which_something_failed_are_found_along_every_dim(painting):
    pane = painting[0].scene.panes[0]
    found = {dim: failed_places(pane.stages, pane.axes, dim) for dim in pane.axes.dims}
    assert found == {
        "round": [0, 1],
        "sheet": [0, 1],
        "tile_z": [0, 2],
        "tile_y": [0, 1],
        "tile_x": [0, 2],
    }


def test_planes_are_chosen_by_steps_and_dims_change_places():
    lattice, told = sheets(), []
    controls = PlaneControls(MapAxes.of(lattice), lattice, told.append)
    controls.move("tile_z", 1)
    controls.move("tile_z", 99)
    controls.move("tile_z", 99)  # there already: nothing is told
    assert [axes.place("tile_z") for axes in told] == [1, 2]
    controls._across.value = "tile_y"  # where y is down: they change places
    assert (told[-1].down, told[-1].across) == ("tile_x", "tile_y")


def test_views_are_chosen_and_stages_where_there_is_a_choice():
    told = []
    views = ViewControls(Choice("combined", "clean"), ["clean", "spots"], [], told.append)
    assert "previews" not in views._view.labels
    assert not views._stage.visible
    views._view.active = 1
    assert views._stage.visible
    views._stage.value = "spots"
    assert told[-1] == Choice("stage", "spots")
    views.offer(["clean", "spots"], ["source", "clean"])  # there are previews by now
    views._view.active = views._view.labels.index("previews")
    assert views._pictured.visible
    assert not views._stage.visible
    assert [name for name, _ in views._pictured.options] == ["source", "clean"]
    views._pictured.value = "source"
    assert told[-1] == Choice("previews", "spots", "source")


def test_words_in_cells_are_whole_or_letters_stand_for_them(painting):
    scene = painting[0].scene
    names = [EVIL, "detect_spots"]
    stages = [
        dataclasses.replace(s, name=n) for s, n in zip(scene.panes[0].stages, names, strict=True)
    ]
    scene = dataclasses.replace(
        scene, panes=(dataclasses.replace(scene.panes[0], stages=tuple(stages)),)
    )
    for wide in range(24, 200, 8):
        said = cell_words(scene, wide, wide)
        assert not any("…" in text for text in said)
        assert all(len(row) * 6.4 <= wide for text in said for row in text.split("\n"))
    assert "detect_\nspots\nfailed" in cell_words(scene, 72, 72)
    assert "D-F" in cell_words(scene, 72, 20)


def test_axes_say_nothing_until_they_can_say_what_is_so(painting):
    told, look = painting
    figure = MapFigure(told.scene, look, "light")
    assert all(axis.ticker.ticks == [] for axis in figure.figure.axis)
    figure.put(told, look, in_um=False)
    assert list(figure.figure.xaxis[0].major_label_overrides.values()) == ["0", "1", "2", "3"]


def test_previews_are_asked_for_what_is_in_view_as_fine_as_the_screen():
    lattice = Lattice.from_grid(
        {"z": 3, "y": 100, "x": 100}, tile_shape={"z": 1, "y": 8, "x": 8}, dtype="u2"
    )
    one = stage("clean", lattice, np.full(lattice.shape, 4), (), 7)
    pane = Pane("clean", MapAxes.of(lattice).moved("tile_z", 2), lattice, (one,))
    assert can_show(pane)
    wanted = wanted_mosaic(pane, Sight(10, 30, 20, 40, 600, 600), solved=False)
    top, bottom, left, right = wanted.region
    assert 15 <= top <= 20
    assert 40 <= bottom <= 45
    assert 5 <= left <= 10
    assert 30 <= right <= 35
    assert wanted.plane == (("tile_z", 2),)
    assert 600 <= wanted.most_px <= 1400
    assert wanted_mosaic(pane, Sight(200, 300, 0, 100, 600, 600), solved=True) is None
    assert not can_show(dataclasses.replace(pane, axes=pane.axes.turned("tile_z", "tile_x")))


def test_labels_are_drawn_letter_by_letter_not_as_formulas():
    labels = ["$$x^2$$", "$$$y$$$", "\\frac 1 2", "\\(a\\)", "\\[b\\]", "$1"]
    lattice = Lattice(
        dims=("$$round$$", "tile_x"),
        labels={"$$round$$": range(2), "tile_x": labels},
        index=np.argwhere(np.ones((2, len(labels)), bool)),
        tile_dims=("y", "x"),
        tile_shape=(8, 8),
        dtype="u2",
    )
    one = counted(stage("clean", lattice, np.full((2, len(labels)), State.WAITING)))
    scene = one_pane(Pane("clean", MapAxes.of(lattice), lattice, (one,)))
    colours = state_look("light")
    drawn = MapFigure(scene, colours, "light")
    drawn.eye.sight = [0, len(labels), 2, 0, 900, 600]
    painting = Painter().paint(scene, drawn.sight, colours)
    for _ in range(2):
        drawn.put(painting, colours, in_um=False)
    shown = drawn.figure.xaxis[0].major_label_overrides.values()
    assert [getattr(one, "text", one) for one in shown] == labels
    assert [isinstance(one, PlainText) for one in shown] == [True, True, False, True, True, False]
    assert drawn.figure.yaxis[0].axis_label.text == "$$round$$"
    titled = new_figure(PALETTES["light"], "failed by $$round$$")
    assert isinstance(titled.title.text, PlainText)
