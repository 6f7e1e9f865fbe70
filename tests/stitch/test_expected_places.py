"""Tiles that no link reaches: no worse than nominal, near the truth where stage or camera are not
as told, and nothing moves where nothing was measured."""

import numpy as np
import pandas as pd
import pytest

import latticework as lw
from latticework.lattice import Lattice
from latticework.stitch import place
from latticework.stitch.expected_places import expected_places
from latticework.stitch.pairs import Candidate
from latticework.stitch.registration import judge
from latticework.stitch.report_facts import Findings
from latticework.stitch.report_words import verdict, warnings
from latticework.stitch.tiles import overlapping
from tests.stitch.scenes import lattice_of

SIZE, STEP = 256, 230
LATTICES = 20


def grid(rows, columns):
    overlap = dict.fromkeys("yx", SIZE - STEP)
    return Lattice.from_grid(
        {"y": rows, "x": columns}, tile_shape={"y": SIZE, "x": SIZE}, overlap=overlap, dtype="u2"
    )


def judged(lattice, truth, shown, rng, *, across=None):
    """Links of pairs of tiles that show something, nearly exact; the others are untrusted."""
    pairs = overlapping(lattice, across=across)
    found = []
    for a, b in pairs.rows:
        offset = truth[b] - truth[a] + rng.normal(0, 0.02, 2)
        right = Candidate(tuple(offset), 0.9, 1.0, 0.05, 0.95, (0.02, 0.02))
        found.append([right] if shown[a] and shown[b] else [])
    return judge(lattice, pairs, found)


def misplaced(at, truth, group):
    """How far groups of tiles lie from where they should, against the largest one."""
    apart = at - truth
    apart = np.stack([apart[group == g].mean(axis=0) for g in range(group.max() + 1)])[group]
    main = group == np.bincount(group).argmax()
    return np.linalg.norm((apart - apart[main][0])[~main], axis=1)


def rms(values):
    return float(np.sqrt(np.square(np.concatenate(values)).mean()))


def outcome(shape, blank, jitter, wrong, *, times=LATTICES):
    """What is left by placing, by nominal positions, and by jitter alone, over several lattices."""
    rng = np.random.default_rng(1)
    left = []
    for _ in range(times):
        lattice = grid(*shape)
        nominal = lattice.position_um
        ideal = WRONG[wrong](nominal, lattice.index[:, 0])
        truth = ideal + rng.uniform(-jitter, jitter, ideal.shape)
        shown = np.ones(len(lattice), bool)
        shown[rng.choice(len(lattice), blank, replace=False)] = False
        found = place(lattice, judged(lattice, truth, shown, rng))
        group = found.tiles.group.to_numpy()
        at = (found.lattice.position_um, nominal, ideal)
        left.append([misplaced(of, truth, group) for of in at])
    return [rms(of) for of in zip(*left, strict=True)]


def with_backlash(nominal, row):
    return nominal + np.outer(row % 2, [0, 12])


C, S = np.cos(np.deg2rad(1)), np.sin(np.deg2rad(1))
WRONG = {
    "nothing": lambda nominal, _: nominal,
    "camera": lambda nominal, _: nominal @ np.array([[C, -S], [S, C]]),
    "step": lambda nominal, _: nominal * 1.05,
    "step along x": lambda nominal, _: nominal * [1.0, 1.1],
    "backlash": with_backlash,
}


# ------------------------------------------------------------------ groups that links do not join


@pytest.mark.parametrize(("shape", "blank"), [((3, 3), 1), ((3, 3), 3), ((4, 4), 6), ((5, 5), 10)])
def test_jitter_of_linked_tiles_does_not_move_the_others(shape, blank):
    times = 5 * LATTICES if shape == (3, 3) else LATTICES
    ours, nominal, _ = outcome(shape, blank, 4.0, "nothing", times=times)
    assert ours < 1.06 * nominal  # 1.3 to 2.3 times as far by the median of a few steps


@pytest.mark.parametrize("wrong", [name for name in WRONG if name != "nothing"])
@pytest.mark.parametrize(("shape", "blank"), [((4, 4), 4), ((5, 5), 8)])
def test_what_is_wrong_with_all_tiles_is_made_good_for_those_that_no_link_reaches(
    shape, blank, wrong
):
    ours, nominal, ideal = outcome(shape, blank, 1.0, wrong)
    assert nominal > 4 * ideal
    assert ours < 1.3 * ideal


def test_a_shift_between_two_rows_is_not_taken_for_a_slant_of_all():
    """Where only two rows are linked nobody can tell; a slant would carry the others away."""
    rng = np.random.default_rng(2)
    lattice = grid(6, 5)
    nominal = lattice.position_um
    row = lattice.index[:, 0]
    truth = with_backlash(nominal, row) + rng.uniform(-1, 1, nominal.shape)
    group = np.where(row < 2, 0, np.arange(len(row)) + 1)
    group = np.unique(group, return_inverse=True)[1]
    expected = expected_places(lattice, nominal, truth, group)
    assert misplaced(expected, truth, group).max() < 4  # 60 by a slant


def test_rounds_that_lie_shifted_are_told_from_the_pairs_that_are_linked():
    rng = np.random.default_rng(4)
    places = list(np.ndindex(2, 4, 4))
    nominal = np.array([[y * STEP, x * STEP] for _, y, x in places], "f8")
    tiles = [np.zeros((SIZE, SIZE), "u2")] * len(places)
    lattice = lattice_of(tiles, places, nominal, dims=("round", "tile_y", "tile_x"))
    second = lattice.index[:, 0] == 1
    truth = nominal + np.outer(second, [9, -14]) + rng.uniform(-1, 1, nominal.shape)
    shown = ~(second & (lattice.index[:, 1] == 3))
    links = judged(lattice, truth, shown, rng, across="round")
    found = place(lattice, links)
    alone = (found.tiles.placed_by == "stage model").to_numpy()
    assert alone.sum() == 4
    apart = found.lattice.position_um - truth
    apart -= np.median(apart[~alone], axis=0)
    assert np.abs(apart[alone]).max() < 3


# ------------------------------------------------------------------ where nothing was measured


def voted(lattice, by):
    """Links of which none is trusted, with a model that all of them voted for."""
    links = judged(
        lattice, lattice.position_um, np.ones(len(lattice), bool), np.random.default_rng(0)
    )
    links["trusted"], links["why"] = False, "no better than chance"
    for name, value in zip(("y", "x"), by, strict=True):
        links[f"model_{name}_px"] += value
        links[f"offset_{name}_px"] += value
    return links


@pytest.mark.parametrize("model", ["translation", "affine"])
def test_without_a_trusted_link_nothing_moves_whatever_pairs_have_in_common(model):
    lattice = grid(3, 4)
    none = {f"{end}_{dim}_px": [] for end in ("first", "second") for dim in "yx"}
    points = pd.DataFrame({"first": [], "second": [], "score": [], **none})
    found = place(lattice, voted(lattice, (4.0, 18.0)), model=model, points=points)
    np.testing.assert_allclose(found.lattice.position_um, lattice.position_um, atol=1e-9)
    np.testing.assert_allclose(found.tiles[["moved_y_px", "moved_x_px"]], 0, atol=1e-9)


def test_what_is_said_without_a_trusted_link_is_true():
    lattice = grid(3, 4)
    found = Findings("dust", lattice, place(lattice, voted(lattice, (4.0, 18.0))))
    assert "nominal positions kept" in verdict(found).text
    assert "nominal positions kept" in warnings(found)[0]
    np.testing.assert_allclose(found.tiles[["moved_y_px", "moved_x_px"]], 0, atol=1e-9)
    anchors = {4: lattice.position_um[4] + 30}
    held = Findings("dust", lattice, place(lattice, voted(lattice, (4.0, 18.0)), anchors=anchors))
    np.testing.assert_allclose(held.tiles[["moved_y_px", "moved_x_px"]], 30)
    for said in (verdict(held).text, warnings(held)[0]):
        assert "nominal positions kept" not in said
        assert "whose places were given" in said


def test_links_along_one_axis_move_tiles_along_that_axis_alone():
    rng = np.random.default_rng(3)
    lattice = grid(4, 6)
    nominal = lattice.position_um
    truth = nominal * [1.0, 1.06] + rng.uniform(-1, 1, nominal.shape)
    links = judged(lattice, truth, np.ones(len(lattice), bool), rng)
    other = (links["axis"] == "y").to_numpy()
    links.loc[other, "trusted"], links.loc[other, "why"] = False, "no better than chance"
    links.loc[other, ["model_y_px", "model_x_px"]] += [15.0, -12.0]
    found = place(lattice, links)
    moved = found.tiles[["moved_y_px", "moved_x_px"]].to_numpy().reshape(4, 6, 2)
    rows = moved.mean(axis=1)
    assert np.abs(rows - rows[0]).max() < 0.01  # rows lie to each other as they nominally do
    assert 60 < np.ptp(moved[..., 1]) < 80  # 6 % of five steps of 230 pixels
    assert np.ptp(moved[..., 0]) < 4


def test_a_single_link_says_nothing_of_the_other_tiles():
    tiles, _ = lw.simulate({"y": 3, "x": 3}, tile_shape={"y": 96, "x": 96}, seed=2)
    links = judged(tiles, tiles.position_um * 1.1, np.ones(9, bool), np.random.default_rng(0))
    links.loc[1:, "trusted"], links.loc[1:, "why"] = False, "no better than chance"
    found = place(tiles, links)
    of = found.tiles.placed_by == "stage model"
    assert of.sum() == 7
    moved = found.tiles.loc[of, ["moved_y_px", "moved_x_px"]]
    np.testing.assert_allclose(moved, np.tile(moved.iloc[0], (7, 1)), atol=1e-6)
