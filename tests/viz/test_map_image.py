"""What the map's images say is what the states say, however they are cut, reduced or combined."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from latticework.lattice.lattice import Lattice
from latticework.lattice.states import ACTIVE, State
from latticework.viz.dashboard.feed import StageNow
from latticework.viz.dashboard.map_axes import MapAxes
from latticework.viz.dashboard.map_colours import combined_look, standing_words, state_look
from latticework.viz.dashboard.map_combined import NOTHING, OUTSIDE, Combination
from latticework.viz.dashboard.map_image import (
    HOLE,
    Cut,
    changes,
    seen_part,
    urgency_ranks,
    worst,
)
from latticework.viz.dashboard.map_legend import entries
from latticework.viz.dashboard.map_painting import Painter, differences
from latticework.viz.dashboard.map_scene import Pane, Sight, one_pane, side_by_side
from latticework.viz.dashboard.map_ticks import ticks_of
from latticework.viz.states import urgency

W, Q, R, C, F, X, B, S = (State(n) for n in range(1, 9))
codes_of_planes = arrays(
    np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, HOLE)
)


def stage(name, lattice, states, parents=(), version=1, key="tiles"):
    states = np.asarray(states, np.uint8)
    return StageNow(name, 1, key, parents, lattice, states, (0,) * len(State), version)


def grid(**sizes):
    shape = {axis: 8 for axis in "zyx" if axis in sizes}
    return Lattice.from_grid(sizes, tile_shape=shape, dtype="u2")


# -------------------------------------------------------------------- reduced


@given(codes_of_planes, st.integers(1, 50))
def test_a_coarse_cell_shows_the_most_urgent_of_its_tiles(codes, factor):
    coarse = worst(codes, factor, urgency_ranks())
    assert coarse.shape == tuple(-(-n // factor) for n in codes.shape)
    order = [HOLE, *urgency]
    for (row, column), code in np.ndenumerate(coarse):
        block = codes[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
        assert code == max(block.reshape(-1).tolist(), key=order.index)


def test_one_failed_tile_of_a_million_is_seen():
    codes = np.full((1000, 1000), C, np.uint8)
    codes[817, 3] = F
    coarse = worst(codes, Cut.whole(codes.shape).factor, urgency_ranks())
    assert coarse.shape == (500, 500)
    assert np.argwhere(coarse == F).tolist() == [[408, 1]]


@given(codes_of_planes, st.data())
def test_changes_turn_the_old_image_into_the_new_one(old, data):
    new = old.copy()
    for _ in range(data.draw(st.integers(0, 5))):
        new[
            data.draw(st.integers(0, old.shape[0] - 1)), data.draw(st.integers(0, old.shape[1] - 1))
        ] = 7
    found = changes(old, new)
    if found is None:  # all of it is sent: more than half of it would be
        assert 2 * (old != new).sum() > 0
        return
    patched = old.copy()
    for change in found:
        patched[change.rows, change.columns] = change.values.reshape(
            patched[change.rows, change.columns].shape
        )
    np.testing.assert_array_equal(patched, new)
    assert sum(len(change.values) for change in found) * 2 <= new.size


def test_images_of_other_shapes_are_sent_as_a_whole():
    assert changes(np.zeros((2, 3), "u1"), np.zeros((3, 2), "u1")) is None
    assert changes(np.zeros((64, 64), "u1"), np.ones((64, 64), "u1")) is None
    assert changes(np.zeros((64, 64), "u1"), np.zeros((64, 64), "u1")) == []


@given(
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    st.floats(-100, 3000),
    st.floats(-100, 3000),
    st.floats(0.5, 3000),
)
def test_what_is_in_view_is_at_hand_and_bounded(shape, top, left, extent):
    cut = seen_part(shape, (top, top + extent), (left, left + extent))
    if cut is None:
        assert top >= shape[0] or left >= shape[1] or top + extent <= 0 or left + extent <= 0
        return
    assert cut.row <= max(0, top)
    assert cut.stop_row >= min(shape[0], top + extent)
    assert cut.column <= max(0, left)
    assert cut.stop_column >= min(shape[1], left + extent)
    image = worst(cut.of(np.zeros(shape, np.uint8)), cut.factor, urgency_ranks())
    assert max(image.shape) <= 512
    assert cut.row % cut.factor == cut.column % cut.factor == 0


# -------------------------------------------------------------------- combined


@pytest.mark.parametrize(
    ("states", "shown", "value"),
    [
        ((W, W, W), (0, W), 1.0),
        ((Q, W, W), (0, Q), 1.0),
        ((R, W, W), (0, R), 1.5),
        ((C, W, W), (1, W), 2.0),
        ((C, Q, W), (1, Q), 2.0),
        ((C, R, W), (1, R), 2.5),
        ((C, C, R), (2, R), 3.5),
        ((C, C, C), (2, C), 4.0),
        ((F, B, B), (0, F), 1.0),
        ((C, C, F), (2, F), 3.0),
        ((R, C, F), (2, F), 3.0),  # failed always wins
        ((F, C, F), (0, F), 1.0),  # the lowest of those
        ((C, R, Q), (1, R), 2.5),  # the lowest that is queued or running
        ((W, C, Q), (2, Q), 3.0),  # before what merely waits
        ((S, C, W), (0, S), 1.0),  # the lowest that is not complete
        ((X, B, B), (0, X), 1.0),  # cancelled is seen
        ((C, X, B), (1, X), 2.0),
        ((C, 0, 0), (0, C), 2.0),  # the deepest that takes part
        ((0, 0, 0), (-1, State.ABSENT), 0.5),
    ],
)
def test_the_combined_view_is_that_of_mouselight(states, shown, value):
    combination = Combination([1, 2, 3])
    codes = combination.combine([np.array([[state]], np.uint8) for state in states])
    said = combination.standings[int(codes[0, 0])]
    assert (said.stage, said.state) == shown
    assert said.value == value


def test_the_combined_legend_names_stages_and_counts_them():
    lattice = grid(y=1, x=5)
    clean = stage("clean", lattice, [[C, C, F, X, R]])
    spots = stage("spots", lattice, [[C, Q, B, B, W]], ("clean",))
    combination = Combination([1, 2])
    scene = one_pane(Pane("all", MapAxes.of(lattice), lattice, (clean, spots)), combination)
    painting = Painter().paint(scene, None, combined_look(combination, "light"))
    found = entries(painting, combined_look(combination, "light"))
    assert [(entry.words, entry.count) for entry in found] == [
        ("spots complete", 1),
        ("spots queued", 1),
        ("clean running", 1),
        ("clean failed", 1),
        ("clean cancelled", 1),
    ]


@given(
    st.lists(arrays(np.uint8, (3, 4), elements=st.integers(0, 8)), min_size=1, max_size=6),
    st.data(),
)
def test_combining_follows_its_rules_for_any_states(states, data):
    depths = sorted(data.draw(st.integers(1, 4)) for _ in states)
    combination = Combination(depths)
    holes = data.draw(arrays(bool, (3, 4)))
    codes = combination.combine(states, holes)
    for where in np.ndindex(3, 4):
        said = combination.standings[int(codes[where])]
        mine = [State(int(one[where])) for one in states]
        if holes[where]:
            assert codes[where] == NOTHING
        elif not any(mine):
            assert codes[where] == OUTSIDE
        elif F in mine:
            assert said.state == F
            assert depths[said.stage] == depths[mine.index(F)]
        elif active := [d for d, state in zip(depths, mine, strict=True) if state in ACTIVE]:
            assert said.state in ACTIVE
            assert depths[said.stage] == min(active)
        elif left := [d for d, state in zip(depths, mine, strict=True) if state not in (0, C)]:
            assert said.state in (W, X, B, S)
            assert depths[said.stage] == min(left)
        else:
            assert said.state == C
            assert depths[said.stage] == max(d for d, s in zip(depths, mine, strict=True) if s)
        if said.stage >= 0:
            assert mine[said.stage] == said.state


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("deep", [1, 3, 40])
def test_what_is_not_well_has_its_own_colour_at_every_depth(theme, deep):
    combination = Combination(range(1, deep + 1))
    colours, states = combined_look(combination, theme), state_look(theme)
    assert len(colours.palette) <= 256
    by_state = {}
    for code, said in enumerate(combination.standings):
        by_state.setdefault(said.state, set()).add(colours.of(code))
    for state in (F, X, B, S):
        assert by_state[state] == {states.of(state)}
        for other in (W, Q, R, C):
            assert by_state[other].isdisjoint(by_state[state])
    done = combination.standings[[s.value for s in combination.standings].index(deep + 1.0)]
    assert standing_words(done, [f"stage {n}" for n in range(deep)]) == f"stage {deep - 1} complete"
    assert colours.of(combination.standings.index(done)) == states.of(C)
    if deep == 3:  # every value has a shade of its own
        assert len(
            {
                (said.value, colours.of(k))
                for k, said in enumerate(combination.standings)
                if said.state in (W, C)
            }
        ) == len(by_state[W] | by_state[C])


# -------------------------------------------------------------------- planes of any lattice


@pytest.mark.parametrize(
    "dims",
    [(), ("tile_x",), ("tile_y", "tile_x"), ("round", "sheet", "tile_z", "tile_y", "tile_x")],
)
def test_every_plane_of_every_lattice_is_shown_as_it_is(dims):
    sizes = tuple(range(2, 2 + len(dims)))
    axes = MapAxes(dims, sizes, None, None, (0,) * len(dims))
    if dims:
        axes = MapAxes.of(
            SimpleNamespace(dims=dims, shape=sizes, labels={d: range(9) for d in dims})
        )
    states = np.arange(int(np.prod(sizes)), dtype=np.uint16).reshape(sizes)
    for down in axes.others[:2]:
        axes = axes.turned(down, axes.across)
    for dim in axes.others:
        axes = axes.moved(dim, 99)
        assert axes.place(dim) == sizes[dims.index(dim)] - 1
        axes = axes.moved(dim, 1)
    plane = axes.plane(states)
    assert plane.shape == axes.shape
    for row, column in np.ndindex(plane.shape):
        assert plane[row, column] == states[axes.index(row, column)]


def test_holes_are_told_from_tiles_that_were_withdrawn():
    full = grid(y=2, x=2)
    lattice = Lattice(
        dims=full.dims,
        labels=full.labels,
        index=full.index[:3],
        tile_dims=("y", "x"),
        tile_shape=(8, 8),
        dtype="u2",
    )
    scene = one_pane(
        Pane("a", MapAxes.of(lattice), lattice, (stage("a", lattice, [[C, 0], [C, 0]]),))
    )
    painting = Painter().paint(scene, None, state_look("light"))
    assert painting.codes[0].tolist() == [[C, State.ABSENT], [C, HOLE]]
    assert [(e.words, e.count) for e in entries(painting, state_look("light"))] == [
        ("complete", 2),
        ("absent", 1),
        ("no tile", 1),
    ]


# -------------------------------------------------------------------- paintings


def test_what_is_looked_at_is_painted_finer_than_the_whole_and_only_that():
    lattice = grid(y=1000, x=1200)
    states = np.full((1000, 1200), C, np.uint8)
    states[500, 600] = R
    scene = one_pane(Pane("a", MapAxes.of(lattice), lattice, (stage("a", lattice, states),)))
    painter, colours = Painter(), state_look("light")
    far = painter.paint(scene, Sight(-10, 1210, -10, 1010, 900, 600), colours)
    assert [image.image.shape for image in far.whole] == [(250, 300)]
    near = painter.paint(scene, Sight(590, 620, 490, 510, 900, 600), colours)
    assert near.whole[0].image is far.whole[0].image  # not painted again
    (part,) = near.part
    assert max(part.image.shape) <= 512
    assert part.image[int(500 - part.y), int(600 - part.x)] == R
    assert near.words.text.count("R") == 1
    assert near.words.text.count("C") == 20 * 30 - 1
    states = states.copy()
    states[500, 601] = F
    later = one_pane(Pane("a", MapAxes.of(lattice), lattice, (stage("a", lattice, states, (), 2),)))
    then = painter.paint(later, Sight(590, 620, 490, 510, 900, 600), colours)
    ((number, change),) = differences(near.part, then.part)
    assert number == 0
    assert [one.values.tolist() for one in change] == [[F]]


def test_no_more_letters_are_drawn_than_can_be_read():
    lattice = grid(y=1000, x=1000)
    pane = Pane("a", MapAxes.of(lattice), lattice, (stage("a", lattice, np.full((1000, 1000), C)),))
    for width in (5, 20, 100, 1000):
        found = Painter().paint(
            one_pane(pane), Sight(0, width, 0, width, 900, 900), state_look("dark")
        )
        assert len(found.words.text) in (0, width * width)
        assert bool(found.words.text) == (900 / width >= 24)


def test_panes_lie_side_by_side_and_every_cell_is_found_again():
    lattice, line = grid(y=3, x=5), Lattice.unit()
    stages = [stage(name, lattice, np.full((3, 5), C)) for name in "abcd"]
    panes = [Pane(one.name, MapAxes.of(lattice), lattice, (one,)) for one in stages]
    unit = stage("volume", line, np.array(4), key="unit")
    panes.append(Pane("volume", MapAxes((), (), None, None, ()), line, (unit,)))
    scene = side_by_side(tuple(panes))
    seen = set()
    for number, pane in enumerate(scene.panes):
        for row, column in np.ndindex(pane.shape):
            x, y = pane.x + (column + 0.5) * pane.width, pane.y + (row + 0.5) * pane.height
            assert scene.at(x, y) == (number, row, column)
            seen.add((x, y))
    assert len(seen) == 4 * 15 + 1
    assert scene.at(-1, -1) is None


@pytest.mark.parametrize("in_um", [False, True])
def test_axes_say_labels_or_micrometres(in_um):
    lattice = Lattice.from_grid(
        {"y": 40, "x": 50}, tile_shape={"y": 100, "x": 100}, dtype="u2", pixel_size_um=0.5
    )
    pane = Pane("a", MapAxes.of(lattice), lattice, ())
    across, down = ticks_of(pane, Sight(10, 20, 5, 15, 640, 400), in_um=in_um)
    assert 4 <= len(across) <= 11
    assert 4 <= len(down) <= 16
    for place, text in across.items():
        assert 10 <= place <= 20
        assert place == pytest.approx(float(text) / 50 if in_um else int(text) + 0.5)
    narrow, _ = ticks_of(pane, Sight(-60, 102.5, 0, 40, 650, 400), in_um=in_um)
    assert len(narrow) >= 3
    places_px = [4 * place for place in narrow]  # 50 tiles fill 200 of the 650 pixels
    assert np.diff(places_px).min() >= (64 if in_um else 26)
