"""Placing: what is trusted was used and nothing else, people have the last word, rounds and
channels share one frame."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import latticework as lw
from latticework.errors import LatticeError
from latticework.lattice import Lattice
from latticework.lattice.loops import in_no_loop
from latticework.stitch import place, register
from latticework.stitch.solving import solve
from tests.stitch.scenes import lattice_of


def grid_lattice(rows, columns, step=90.0):
    places = list(np.ndindex(rows, columns))
    return Lattice(
        dims=("tile_y", "tile_x"),
        labels={"tile_y": np.arange(rows), "tile_x": np.arange(columns)},
        index=np.array(places),
        tile_dims=("y", "x"),
        tile_shape=(100, 100),
        dtype="u2",
        pixel_size_um=0.5,
        position_um=np.array(places) * step * 0.5,
    )


def links_of(lattice, truth, *, noise=0.05, correlation=0.9, rng=None):
    """Links between all neighbours, as `register` would give them."""
    rng = rng or np.random.default_rng(0)
    records = []
    nominal = lattice.position_um / 0.5
    for axis in "yx":
        other = lattice.neighbours(f"+{axis}")[:, 0]
        for first in np.flatnonzero(other >= 0):
            second = int(other[first])
            offset = truth[second] - truth[first] + rng.normal(0, noise, 2)
            model = nominal[second] - nominal[first]
            records.append(
                {
                    "first": int(first), "second": second, "axis": axis, "trusted": True, "why": "",
                    "correlation": correlation, "runner_up": 0.1, "overlap": 1.0,
                    "nominal_y_px": model[0], "nominal_x_px": model[1],
                    "offset_y_px": offset[0], "offset_x_px": offset[1],
                    "model_y_px": model[0], "model_x_px": model[1],
                }
            )  # fmt: skip
    return pd.DataFrame(records)


def jittered(lattice, rng, by=3.0):
    return lattice.position_um / 0.5 + rng.normal(0, by, (len(lattice), 2))


def errors(placement, truth):
    apart = placement.lattice.position_um / 0.5 - truth
    return np.linalg.norm(apart - np.median(apart, axis=0), axis=1)


# ------------------------------------------------------------------ what is trusted was used


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 2**31), st.floats(0, 0.4))
def test_positions_are_solved_with_exactly_the_links_that_are_reported_as_trusted(
    rows, columns, seed, share
):
    rng = np.random.default_rng(seed)
    lattice = grid_lattice(rows, columns)
    truth = jittered(lattice, rng)
    links = links_of(lattice, truth, rng=rng)
    wrong = rng.random(len(links)) < share
    links.loc[wrong, ["offset_y_px", "offset_x_px"]] += rng.uniform(-40, 40, (wrong.sum(), 2))
    found = place(lattice, links)
    use = found.links.trusted.to_numpy()
    first, second = (found.links[name].to_numpy()[use] for name in ("first", "second"))
    offsets = found.links[["offset_y_px", "offset_x_px"]].to_numpy()[use]
    model = found.links[["model_y_px", "model_x_px"]].to_numpy()
    weights = np.full(use.sum(), 0.9**2 / (1.05 - 0.9**2))
    everything = links["first"].to_numpy(), links["second"].to_numpy(), model
    # Where links contradict each other, several positions may explain most of them: what comes from
    # these links, begun here, has to stay here.
    at = found.lattice.position_um / 0.5
    left = found.links.residual_px.to_numpy()[use]
    alone = solve(
        len(lattice), first, second, offsets, weights, everything, unlikely=left, start=at
    )
    moved = found.lattice.position_um / 0.5 - alone.positions_px
    head = np.unique(alone.group, return_index=True)[1][alone.group]
    np.testing.assert_allclose(moved - moved[head], 0, atol=0.05)  # in each group of tiles
    limit = max(1.5, 6 * 1.4826 * np.median(found.links.residual_px[use])) if use.any() else 0
    assert (found.links.residual_px[use] <= limit).all()


def test_wrong_links_leave_one_after_the_other():
    rng = np.random.default_rng(4)
    lattice = grid_lattice(8, 8)
    truth = jittered(lattice, rng)
    links = links_of(lattice, truth, rng=rng)
    wrong = rng.permutation(len(links))[:22]
    links.loc[wrong, "offset_x_px"] += np.geomspace(3, 400, 22)  # the small ones show at last
    found = place(lattice, links)
    # of the two links of a corner, nobody can tell which one is wrong
    assert found.links.trusted[wrong].mean() < 0.25
    assert found.links.trusted.drop(wrong).mean() > 0.93
    assert np.median(errors(found, truth)) < 1  # 50 and more with the links that were left out
    assert (found.links.residual_px[found.links.trusted] < 1.5).all()


def test_a_leaf_that_nothing_confirms_is_placed_by_the_model():
    rng = np.random.default_rng(1)
    lattice = grid_lattice(4, 4)
    truth = jittered(lattice, rng, by=1.5)
    links = links_of(lattice, truth, rng=rng)
    of_last = links.index[links.second == 15]
    links.loc[of_last[0], "trusted"] = False
    weak = of_last[1]
    links.loc[weak, ["offset_y_px", "offset_x_px"]] += [6.0, -7.0]  # wrong, within the gate
    links.loc[weak, ["correlation", "runner_up"]] = [0.15, 0.12]
    found = place(lattice, links)
    assert found.tiles.placed_by[15] == "stage model"
    assert found.links.why[weak] == "no loop confirms it, and it does not stand out"
    assert errors(found, truth)[15] < 6  # the jitter, not the 9 px of the link
    links.loc[weak, ["correlation", "runner_up"]] = [0.6, 0.1]  # what stands out is believed
    assert place(lattice, links).tiles.placed_by[15] == "links"
    near = links.copy()
    near.loc[weak, ["correlation", "runner_up"]] = [0.15, 0.12]
    near.loc[weak, ["offset_y_px", "offset_x_px"]] = near.loc[
        weak, ["model_y_px", "model_x_px"]
    ].to_numpy()
    assert place(lattice, near).tiles.placed_by[15] == "links"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(0, 2**31), st.floats(0.05, 0.6))
def test_links_in_no_loop_are_those_without_which_something_falls_apart(n, seed, share):
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rng = np.random.default_rng(seed)
    pairs = np.array([(i, j) for i in range(n) for j in range(i)]).reshape(-1, 2)
    pairs = pairs[rng.random(len(pairs)) < share]
    pairs = np.concatenate([pairs, pairs[:1]]) if rng.random() < 0.3 else pairs  # twice

    def parts(of):
        return connected_components(coo_matrix((np.ones(len(of)), tuple(of.T)), (n, n)))[0]

    alone = [parts(np.delete(pairs, k, axis=0)) > parts(pairs) for k in range(len(pairs))]
    assert in_no_loop(n, pairs[:, 0], pairs[:, 1]).tolist() == alone


# ------------------------------------------------------------------ people have the last word


def test_a_link_that_a_person_trusts_is_never_doubted():
    rng = np.random.default_rng(3)
    lattice = grid_lattice(3, 3)
    truth = jittered(lattice, rng)
    links = links_of(lattice, truth, rng=rng)
    links.loc[0, "offset_y_px"] += 30
    assert not place(lattice, links).links.trusted[0]
    for how in ("fixed", "why", "reason"):
        mine = links.copy()
        if how == "fixed":
            mine["fixed"] = False
            mine.loc[0, "fixed"] = True
        else:
            mine.loc[0, "why"] = "by hand" if how == "why" else "contradicts its loops"
        mine.loc[0, "correlation"] = np.nan
        found = place(lattice, mine)
        assert found.links.trusted[0], how
        assert found.links.why[0] == "by hand"


def test_a_link_that_a_person_distrusts_stays_so_and_it_is_said():
    lattice = grid_lattice(2, 2)
    links = links_of(lattice, jittered(lattice, np.random.default_rng(0)))
    links.loc[1, "trusted"] = False
    found = place(lattice, links)
    assert not found.links.trusted[1]
    assert found.links.why[1] == "by hand"
    assert links.why[1] == ""  # what was given is as it was


def test_what_was_placed_can_be_corrected_and_placed_again():
    rng = np.random.default_rng(3)
    lattice = grid_lattice(3, 3)
    truth = jittered(lattice, rng)
    links = links_of(lattice, truth, rng=rng)
    links.loc[2, "offset_x_px"] += 50
    once = place(lattice, links)
    twice = place(lattice, once.links)
    np.testing.assert_allclose(twice.lattice.position_um, once.lattice.position_um, atol=1e-3)
    corrected = once.links.copy()
    corrected.loc[2, "trusted"] = True
    assert place(lattice, corrected).links.trusted[2]


# ------------------------------------------------------------------ anchors


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 5), st.integers(2, 5), st.integers(1, 4), st.integers(0, 2**31))
def test_anchors_stay_and_all_others_lie_in_their_frame(rows, columns, count, seed):
    rng = np.random.default_rng(seed)
    lattice = grid_lattice(rows, columns)
    truth = jittered(lattice, rng) + np.array([500.0, -70.0])
    links = links_of(lattice, truth, noise=0, rng=rng)
    chosen = rng.permutation(len(lattice))[:count]
    anchors = {int(tile): tuple(truth[tile] * 0.5) for tile in chosen}
    found = place(lattice, links, anchors=anchors)
    np.testing.assert_allclose(found.lattice.position_um, truth * 0.5, atol=1e-6)
    assert (found.tiles.placed_by[chosen] == "anchor").all()


def test_anchors_hold_against_links_and_groups_follow_the_model():
    rng = np.random.default_rng(2)
    lattice = grid_lattice(1, 6)
    truth = jittered(lattice, rng)
    links = links_of(lattice, truth, noise=0, rng=rng)
    links.loc[2, "trusted"] = False  # two groups of three
    anchors = {0: {"y": 10.0, "x": 20.0}}
    found = place(lattice, links, anchors=anchors)
    at = found.lattice.position_um / 0.5
    np.testing.assert_allclose(at[0], [20, 40])
    np.testing.assert_allclose(np.diff(at[:3], axis=0), np.diff(truth[:3], axis=0), atol=1e-6)
    np.testing.assert_allclose(np.diff(at[3:], axis=0), np.diff(truth[3:], axis=0), atol=1e-6)
    off = at - np.arange(6)[:, None] * [0, 90]  # the model
    assert np.abs(off[3:].mean(axis=0) - off[:3].mean(axis=0)).max() < 1.5
    both = place(lattice, links, anchors={0: (10.0, 20.0), 2: (11.0, 130.0)})
    np.testing.assert_allclose(both.lattice.position_um[[0, 2]], [[10, 20], [11, 130]])
    with pytest.raises(LatticeError, match="anchor of tile 3 is"):
        place(lattice, links, anchors={3: (1.0,)})
    with pytest.raises(LatticeError):
        place(lattice, links, anchors={77: (1.0, 2.0)})


# ------------------------------------------------------------------ rounds and channels


def rounds_of_tiles(rng, missing=()):
    """Two rounds of 2 x 2 tiles of one scene, each with a stage of its own."""
    from scipy import ndimage

    scene = ndimage.gaussian_filter(rng.normal(size=(330, 330)), 1.5)
    scene = 800 + 400 * scene / scene.std()
    arrays, places, nominal, truth = [], [], [], []
    for turn, row, column in np.ndindex(2, 2, 2):
        if (turn, row, column) in missing:
            continue
        at = np.array([20.0 + 120 * row, 20.0 + 120 * column])
        true = at + rng.integers(-5, 6, 2) + turn * np.array([7, -4])
        y, x = true.astype(int)
        pixels = scene[y : y + 150, x : x + 150] * (1 + 0.3 * turn) + rng.normal(0, 20, (150, 150))
        arrays.append(np.clip(pixels, 0, 65535).astype("u2"))
        places.append((turn, row, column))
        nominal.append(at)
        truth.append(true)
    dims = ("round", "tile_y", "tile_x")
    return lattice_of(arrays, places, nominal, dims=dims), np.array(truth)


def test_rounds_are_placed_in_one_frame_tile_by_tile():
    rng = np.random.default_rng(5)
    lattice, truth = rounds_of_tiles(rng, missing=[(1, 0, 1)])
    apart = place(lattice, register(lattice))
    assert len(set(apart.tiles.group)) == 2  # each round for itself
    links = register(lattice, across="round")
    across = links[links["axis"] == "round"]
    assert across[["first", "second"]].to_numpy().tolist() == [[0, 4], [2, 5], [3, 6]]
    assert across.trusted.all()
    found = place(lattice, links)
    assert len(set(found.tiles.group)) == 1
    error = found.lattice.position_um - truth
    assert np.abs(error - error[0]).max() < 0.3
    other_way = register(lattice, across="round", reference=1)
    assert set(other_way["first"][other_way["axis"] == "round"]) == {4, 5, 6}


def test_what_a_lattice_has_not_is_no_dim_to_register_across():
    lattice, _ = rounds_of_tiles(np.random.default_rng(5))
    with pytest.raises(LatticeError, match=r"across='cycle' is no lattice dim.*there are round"):
        register(lattice, across="cycle")
    with pytest.raises(LatticeError, match=r"round has no label 9; there are \[0, 1\]"):
        register(lattice, across="round", reference=9)


def test_one_channel_or_projection_places_all():
    rng = np.random.default_rng(5)
    both, _ = rounds_of_tiles(rng)
    first = both.sel(round=0)
    found = place(first, register(first))
    positions = found.positions_for(both)
    np.testing.assert_allclose(positions[:4], found.lattice.position_um)
    np.testing.assert_allclose(positions[4:], positions[:4])  # they are nominally alike
    assert found.applied_to(both).n_tiles == 8
    # tiles of a lattice with z move along y and x
    deep = Lattice.from_grid(
        {"z": 2, "y": 2, "x": 2}, tile_shape={"z": 5, "y": 150, "x": 150}, dtype="u2",
        overlap={"y": 30, "x": 30}, pixel_size_um={"z": 3.0, "y": 1.0, "x": 1.0},
    )  # fmt: skip
    moved = found.positions_for(deep) - deep.position_um
    np.testing.assert_allclose(moved[:, 0], 0)
    expected = found.lattice.position_um - first.position_um
    np.testing.assert_allclose(moved[:4, 1:], expected)
    np.testing.assert_allclose(moved[4:, 1:], expected)
    with pytest.raises(LatticeError, match=r"several tiles where the other has one.*round"):
        place(both, register(both)).positions_for(deep)
    with pytest.raises(LatticeError, match="no tile was placed at tile_y=2, tile_x=0"):
        found.positions_for(grid_lattice(3, 2))


@pytest.mark.slow
def test_a_hundred_thousand_links_are_placed_in_seconds():
    rng = np.random.default_rng(1)
    lattice = grid_lattice(220, 230)
    truth = jittered(lattice, rng)
    links = links_of(lattice, truth, rng=rng)
    wrong = rng.random(len(links)) < 0.05
    links.loc[wrong, "offset_x_px"] += rng.uniform(5, 60, wrong.sum())
    assert len(links) > 100_000
    began = time.monotonic()
    found = place(lattice, links, anchors={0: (0.0, 0.0)})
    assert time.monotonic() - began < 60
    assert found.links.trusted[wrong].mean() < 0.01


def test_a_model_without_points_is_refused():
    tiles, _ = lw.simulate({"y": 1, "x": 2}, tile_shape={"y": 96, "x": 96}, seed=2)
    links = register(tiles)
    with pytest.raises(LatticeError, match="needs matched points"):
        place(tiles, links, model="affine")
    with pytest.raises(LatticeError, match="model='bent' is none of"):
        place(tiles, links, model="bent")


def test_stacks_of_one_plane_lie_as_their_planes_do():
    planes, _ = lw.simulate({"y": 3, "x": 3}, tile_shape={"y": 160, "x": 160}, seed=3)
    pixels = [planes.source.read(k, lw.Box.whole((160, 160)))[None] for k in range(9)]
    spacing = {"z": 2.0, **planes.pixel_size_um}
    stacks = lw.open_tiles(pixels, grid={"y": 3, "x": 3}, dims="zyx", pixel_size_um=spacing)
    stacks = stacks.replace(position_um=np.insert(planes.position_um, 0, 7.0, axis=1))
    found, wanted = (place(of, register(of)) for of in (stacks, planes))
    assert wanted.links.trusted.all()
    assert found.links.trusted.all()
    moved = found.lattice.position_um
    np.testing.assert_allclose(np.ptp(moved[:, 0]), 0, atol=1e-9)
    both = [of - of[0] for of in (moved[:, 1:], wanted.lattice.position_um)]
    np.testing.assert_allclose(*both, atol=1e-9)
