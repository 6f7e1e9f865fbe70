"""Tiles of real and made grids are found where they lie; what is not known is not claimed."""

import csv

import numpy as np
import pytest
import tifffile
from scipy import ndimage

import latticework as lw
from latticework.errors import LatticeError
from latticework.stitch import place, register
from latticework.stitch.pairs import Candidate
from latticework.stitch.refining import _seen, refine
from latticework.stitch.registration import judge
from latticework.stitch.stage_model import fit_step, fit_steps
from latticework.stitch.tiles import overlapping
from latticework.stitch.unsure import where_no_others
from tests.stitch.acquisitions import lattice_of


def errors(placement, truth, known=None):
    """How far each tile is from where it should be, in pixels."""
    apart = placement.lattice.position_um - truth
    known = np.ones(len(truth), bool) if known is None else known
    return np.linalg.norm(apart - np.median(apart[known], axis=0), axis=1)


def wrong_ones(placement, truth, limit=2.0):
    """Trusted links that are wrong."""
    links = placement.links[placement.links.trusted]
    dims = placement.lattice.spatial_dims
    offsets = links[[f"offset_{dim}_px" for dim in dims]].to_numpy()
    true = truth[links["second"]] - truth[links["first"]]
    return links[np.linalg.norm(offsets - true, axis=1) > limit]


def cut(scene, grid, size, step, jitter, rng, *, noise=6.0, gains=None, between=False):
    """Tiles cut out of a scene with known jitter, each with noise of its own."""
    arrays, nominal, truth, places = [], [], [], []
    for row, column in np.ndindex(*grid):
        place = np.array(jitter, float)
        place[-2:] += np.array([row, column]) * step
        move = rng.uniform(-1, 1, scene.ndim) * jitter
        at = place + (move if between else np.round(move))
        whole = np.floor(at).astype(int)
        margin = 3 * between
        box = tuple(
            slice(max(a - margin, 0), a + n + margin) for a, n in zip(whole, size, strict=True)
        )
        piece = scene[box].astype("f4")
        if between:
            start = np.array([s.start for s in box])
            piece = ndimage.shift(piece, start - at, order=5, mode="mirror")
            piece = piece[tuple(slice(0, n) for n in size)]
        gain = 1.0 if gains is None else gains[row, column]
        pixels = gain * piece + rng.normal(0, noise, piece.shape) + 100
        arrays.append(np.clip(np.rint(pixels), 0, 65535).astype("u2"))
        nominal.append(place)
        truth.append(at)
        places.append((row, column))
    return lattice_of(arrays, places, nominal), np.array(truth)


def scene_of(shape, rng, *, blur=1.5, contrast=400):
    fine = ndimage.gaussian_filter(rng.normal(size=shape), blur)
    return np.clip(800 + contrast * fine / fine.std(), 0, None)


# ------------------------------------------------------------------ real ones


@pytest.fixture
def section(shared_data):
    folder = shared_data / "wsi_brain_2d"
    with (folder / "positions_reference.csv").open() as file:
        rows = list(csv.DictReader(file))
    arrays = [tifffile.imread(folder / "tiles" / row["file"]) for row in rows]
    nominal, truth = (
        np.array([[float(row[f"{what}_{dim}"]) for dim in "yx"] for row in rows])
        for what in ("nominal", "ref")
    )
    known = np.array([int(row["n_measured_links"]) >= 2 for row in rows])
    places = [(int(row["row"]), int(row["col"])) for row in rows]
    return lattice_of(arrays, places, nominal), truth, known


def test_no_well_linked_tile_of_a_real_section_is_misplaced(section):
    lattice, truth, known = section
    found = place(lattice, register(lattice))
    error = errors(found, truth, known)
    assert (error[known] > 2).sum() == 0, error[known]
    assert np.sqrt(np.square(error[known]).mean()) < 0.7
    assert wrong_ones(found, truth).empty


def test_a_real_volume_with_known_truth_is_placed_to_a_twentieth_of_a_pixel(shared_data):
    folder = shared_data / "lattice3d_truth"
    with (folder / "positions_true.csv").open() as file:
        rows = list(csv.DictReader(file))
    arrays = [tifffile.imread(folder / "tiles" / f"tile_{int(r['tile']):02d}.tif") for r in rows]
    nominal, truth = (
        np.array([[float(row[f"{what}_{dim}"]) for dim in "zyx"] for row in rows])
        for what in ("nominal", "true")
    )
    lattice = lattice_of(arrays, [(int(r["iy"]), int(r["ix"])) for r in rows], nominal)
    found = place(lattice, register(lattice))
    assert np.sqrt(np.square(errors(found, truth)).mean()) < 0.05


# ------------------------------------------------------------------ made ones


@pytest.mark.parametrize("overlap", [0.06, 0.15, 0.4])
def test_a_grid_with_different_gains_is_placed_between_the_pixels(overlap):
    rng = np.random.default_rng(3)
    size = (160, 160)
    step = int(160 * (1 - overlap))
    gains = rng.uniform(0.8, 1.2, (3, 3))
    scene = scene_of((3 * step + 80, 3 * step + 80), rng)
    lattice, truth = cut(scene, (3, 3), size, step, (3, 3), rng, gains=gains, between=True)
    found = place(lattice, register(lattice))
    assert np.sqrt(np.square(errors(found, truth)).mean()) < 0.1
    assert wrong_ones(found, truth, 0.5).empty


def test_tiles_of_noise_lie_as_the_stage_model_says_and_it_is_said():
    rng = np.random.default_rng(11)
    scene = scene_of((36, 520, 520), rng)
    lattice, truth = cut(scene, (3, 3), (24, 180, 180), 150, (2, 4, 4), rng)
    for tile in (0, 4, 5):
        lattice.source.arrays[tile] = rng.normal(900, 30, (24, 180, 180)).astype("u2")
    found = place(lattice, register(lattice))
    placed = (found.tiles.placed_by == "links").to_numpy()
    assert set(np.flatnonzero(~placed)) >= {0, 4, 5}
    apart = found.lattice.position_um - truth
    for group in set(found.tiles.group[placed]):  # noise may lie between them
        members = (found.tiles.group == group).to_numpy()
        assert np.abs(apart[members] - apart[members][0]).max() < 0.2
    assert wrong_ones(found, truth).empty
    assert (errors(found, truth) < 15).all()


def test_tiles_that_do_not_overlap_keep_their_nominal_positions():
    rng = np.random.default_rng(2)
    arrays = [rng.integers(100, 900, (64, 64)).astype("u2") for _ in range(4)]
    places = [(0, 0), (0, 1), (1, 0), (1, 1)]
    nominal = [(64.0 * row, 64.0 * column) for row, column in places]
    lattice = lattice_of(arrays, places, nominal)
    links = register(lattice)
    assert set(links.why) == {"the tiles do not overlap"}
    found = place(lattice, links)
    np.testing.assert_allclose(found.lattice.position_um, nominal, atol=1e-9)
    assert set(found.tiles.placed_by) == {"stage model"}


def test_a_texture_that_repeats_is_not_claimed_to_be_known():
    rng = np.random.default_rng(5)
    y, x = np.indices((420, 420))
    scene = 1000 + 300 * np.sin(2 * np.pi * y / 9) * np.sin(2 * np.pi * x / 9)
    lattice, truth = cut(scene, (2, 2), (180, 180), 150, (4, 4), rng)
    found = place(lattice, register(lattice))
    assert wrong_ones(found, truth).empty


def test_a_single_tile_is_its_own_volume():
    lattice = lattice_of([np.ones((8, 8), "u2")], [(0, 0)], [(5.0, 7.0)])
    found = place(lattice, register(lattice))
    np.testing.assert_allclose(found.lattice.position_um, [[5.0, 7.0]])


def test_rows_driven_to_and_fro_have_a_model_each():
    rng = np.random.default_rng(8)
    offsets = [
        np.array([[0.1 * rng.normal(), 90 + (6 if k % 2 else 0) + 0.1 * rng.normal()]])
        for k in range(20)
    ]
    models = fit_steps(
        ["x"] * 20,
        [k % 2 for k in range(20)],
        offsets,
        [np.array([0.9])] * 20,
        np.full((20, 2), [0, 90.0]),
    )
    steps = {round(model.step_px[1]) for model in models}
    assert steps == {90, 96}


def test_links_can_be_corrected_by_hand():
    tiles, _ = lw.simulate({"y": 1, "x": 3}, tile_shape={"y": 96, "x": 96}, seed=2)
    links = register(tiles)
    links.loc[0, "trusted"] = False
    found = place(tiles, links)
    assert found.tiles.placed_by.tolist() == ["stage model", "links", "links"]


@pytest.mark.parametrize("n", [2, 3, 4])
def test_tiles_of_nothing_but_noise_stay_where_they_are(n):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        arrays = [rng.poisson(100, (128, 128)).astype("u2") for _ in range(n * n)]
        places = list(np.ndindex(n, n))
        nominal = [(108.0 * row, 108.0 * column) for row, column in places]
        lattice = lattice_of(arrays, places, nominal)
        links = register(lattice)
        assert not links.trusted.any()
        np.testing.assert_allclose(place(lattice, links).lattice.position_um, nominal, atol=1e-9)


def test_pixels_that_are_not_known_do_not_count():
    rng = np.random.default_rng(3)
    scene = scene_of((200, 300), rng)
    arrays = [scene[:160, :160].astype("f4"), scene[3:163, 118:278].astype("f4")]
    arrays[0][40:44, 130:150] = np.nan
    arrays[1][100, 5:9] = np.inf
    lattice = lattice_of(arrays, [(0, 0), (0, 1)], [(0, 0), (0, 120)])
    links = register(lattice)
    assert links.trusted.all()
    np.testing.assert_allclose(links[["offset_y_px", "offset_x_px"]], [[3, 118]], atol=0.05)
    blank = [np.full((160, 160), np.nan, "f4"), arrays[1]]
    links = register(lattice_of(blank, [(0, 0), (0, 1)], [(0, 0), (0, 120)]))
    assert links.why.tolist() == ["nothing to compare: no contrast, or saturated"]


def test_a_link_that_is_trusted_by_hand_needs_an_offset():
    lattice = lattice_of([np.ones((64, 64), "u2")] * 2, [(0, 0), (0, 1)], [(0, 0), (0, 50)])
    links = register(lattice)
    links["trusted"] = True
    with pytest.raises(LatticeError, match="no offset or no correlation"):
        place(lattice, links)


def test_a_wrong_corner_is_doubted():
    tiles, _ = lw.simulate({"y": 3, "x": 3}, tile_shape={"y": 96, "x": 96}, seed=4)
    arrays = [tiles.source.read(k, lw.Box.whole((96, 96))) for k in range(9)]
    places = [(row, 2 - column) for row, column in np.ndindex(3, 3)]
    nominal = [(80.0 * row, 80.0 * column) for row, column in places]
    mirrored = lattice_of([np.asarray(a) for a in arrays], places, nominal)
    assert "are order and corner of the grid right (start=" in repr(
        place(mirrored, register(mirrored))
    )


def test_an_offset_that_is_hardly_seen_says_so():
    """Noise has steep slopes: they must not pass for what holds faint views in place."""
    scene = np.zeros((300, 60))
    y, x = np.ogrid[:300, :60]
    for row, column in ((40, 70), (120, -8), (210, 66), (280, -6)):  # only their flanks are seen
        scene += 300 * np.exp(-((y - row) ** 2 / 400 + (x - column) ** 2 / 60) / 2)
    apart, said = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        views = [(scene + rng.normal(0, 15, scene.shape)).astype("f4") for _ in range(2)]
        found = refine(views[0][:, 15:40], views[1][:, 15:40], (0.4, -0.4), "yx")
        if found is not None:
            apart.append(np.abs(found.shift))
            said.append(found.error_px)
    assert not apart or (np.array(apart) < 4 * np.array(said)).all(), (apart, said)
    sharp = scene_of((300, 60), np.random.default_rng(1), blur=2.0)
    views = [sharp + np.random.default_rng(k).normal(0, 15, sharp.shape) for k in range(2)]
    found = refine(views[0].astype("f4"), views[1].astype("f4"), (0.4, -0.4), "yx")
    assert max(found.error_px) < 0.05
    assert np.abs(found.shift).max() < 4 * max(found.error_px)


def test_lines_tell_nothing_along_themselves():
    y, x = np.indices((256, 40))
    lines = 100 * np.sin(2 * np.pi * (np.cos(0.35) * x + np.sin(0.35) * y) / 20)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        views = [(lines + rng.normal(0, 10, lines.shape)).astype("f4") for _ in range(2)]
        found = refine(*views, (0.3, -0.2), "yx")
        assert found.likeness > 0.9
        assert np.isinf(found.error_px).all()  # they run askew: neither axis is known by itself


def test_where_one_cell_is_all_there_is_to_see_the_noise_elsewhere_does_not_blur_it():
    y, x = np.ogrid[:400, :36]
    far = np.hypot(y - 130, x - 18)
    cell = 12 * np.exp(-((far - 8) ** 2) / 8) - 12 * np.exp(-((far - 4) ** 2) / 8)
    apart, said = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        views = [(cell + rng.normal(0, 5, cell.shape)).astype("f4") for _ in range(2)]
        found = refine(*views, (0.6, -0.5), "yx")
        apart.append(np.abs(found.shift).max())
        said.append(max(found.error_px))
    assert max(said) < 0.3, said
    assert (np.array(apart) < 4 * np.array(said)).all(), (apart, said)


def test_pairs_that_all_agree_have_a_model_however_little_else_is_found():
    rng = np.random.default_rng(0)
    pairs = [np.array([[0.0, 90.0]]) + rng.uniform(-1, 1, (1, 2)) for _ in range(20)]
    alone = fit_step(pairs, [np.array([0.45])] * 20, (0, 90), reach=(16, 16))
    assert alone.votes == 20
    others = [np.concatenate([of, rng.uniform((-16, 74), (16, 106), (4, 2))]) for of in pairs]
    beside = fit_step(others, [np.array([0.45, 0, 0, 0, 0])] * 20, (0, 90))
    assert beside.votes == 20
    few = fit_step(others[:3], [np.array([0.45, 0, 0, 0, 0])] * 3, (0, 90), reach=(1, 1))
    assert few.votes == 0  # so near, they had to agree


@pytest.mark.parametrize("seed", range(4))
def test_a_pattern_that_stays_on_the_camera_tells_nothing_of_the_stage(seed):
    rng = np.random.default_rng(seed)
    y, x = np.indices((128, 128))
    dust = np.ones((128, 128))
    for row, column, size, depth in rng.uniform((0, 0, 2, 0.1), (128, 128, 6, 0.5), (15, 4)):
        dust -= depth * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * size**2))
    arrays = [(rng.poisson(500 * dust.clip(0.2)) + 100).astype("u2") for _ in range(9)]
    places = list(np.ndindex(3, 3))
    lattice = lattice_of(arrays, places, [(90.0 * row, 90.0 * column) for row, column in places])
    links = register(lattice)
    assert not links.trusted.any()
    models = links[["model_y_px", "model_x_px"]].to_numpy()
    np.testing.assert_allclose(models, links[["nominal_y_px", "nominal_x_px"]], atol=1e-9)


def judged(x_offsets, *others, errors=None):
    """Links of a row of tiles, from one place for each pair, and others (pair, x, correlation)."""
    tiles = lw.Lattice.from_grid(
        {"y": 1, "x": len(x_offsets) + 1},
        tile_shape={"y": 256, "x": 256},
        overlap={"x": 56},
        dtype="u2",
    )
    errors = errors or [0.03] * len(x_offsets)
    found = [
        [Candidate((0.0, x), 0.9, 1.0, 0.05, 0.95, (0.03, error))]
        for x, error in zip(x_offsets, errors, strict=True)
    ]
    for k, x, correlation in others:
        of = Candidate((0.0, x), correlation, 1.0, 0.05, 0.95, (0.03, 0.03))
        found[k] = sorted([*found[k], of], key=lambda of: -of.correlation)
    return judge(tiles, overlapping(tiles), found)


def test_three_pairs_that_agree_by_chance_do_not_overrule_a_fourth_that_is_plain_to_see():
    links = judged([201.0, 201.2, 200.9, 207.5])
    assert links.trusted.all()
    many = judged([*[200.9, 201.0, 201.1] * 20, 209.0])
    assert many.why.tolist() == [""] * 60 + ["contradicts the other pairs"]


def test_what_is_plain_to_see_is_not_dropped_for_a_worse_match_where_the_others_lie():
    links = judged([*[200.9, 201.0, 201.1] * 20, 214.0], (60, 200.0, 0.09))
    assert links.why.iloc[60] == "contradicts the other pairs"
    assert links.offset_x_px.iloc[60] == 214.0


def test_a_place_whose_pixels_were_not_compared_is_not_believed_for_lying_where_the_others_do():
    tiles = lw.Lattice.from_grid(
        {"y": 1, "x": 8}, tile_shape={"y": 256, "x": 256}, overlap={"x": 56}, dtype="u2"
    )
    wrong = [Candidate((0.0, 170.0 + k), 0.1, 1.0, 0.05) for k in range(25)]
    sure = [[Candidate((0.0, 201.0), 0.9, 1.0, 0.05, 0.95, (0.03, 0.03)), *wrong] for _ in range(6)]
    nothing = [Candidate((0.0, 180.0), 0.3, 1.0, 0.05, 0.0, (np.inf, np.inf))]
    rest = Candidate((0.0, 200.0), 0.28, 1.0, 0.05)
    links = judge(tiles, overlapping(tiles), [*sure, [*nothing, rest]])
    assert links.why.tolist() == [""] * 6 + ["not looked at closely: other places match better"]
    narrow = [Candidate((0.0, 180.0), 0.3, 1.0, 0.05), rest]  # nothing was looked at closely
    assert judge(tiles, overlapping(tiles), [*sure, narrow]).trusted.all()


def test_of_two_places_as_good_where_the_stage_may_be_neither_is_believed():
    offsets = [195.0, 199.0, 203.0, 207.0, 191.0, 211.0, 197.0, 205.0]
    links = judged(offsets, (2, 179.0, 0.89), (3, 187.0, 0.1))
    assert links.index[~links.trusted].tolist() == [2]
    assert links.why[2] == "ambiguous: what is seen repeats"


def test_an_unsure_link_is_believed_where_nothing_better_is_known_and_the_stage_is_less_sure():
    uneven = [195.0, 199.0, 203.0, 207.0, 193.0, 201.0]
    errors = [0.03, 0.03, 0.8, 0.03, 0.03, 1.4]
    links = judged(uneven, errors=errors)
    assert links.why.tolist() == [*[""] * 5, "where exactly is not to be seen"]
    even = [201.0, 201.1, 200.9, 201.0, 201.05, 200.95]
    links = judged(even, errors=errors)  # the stage knows better
    assert links.index[~links.trusted].tolist() == [2, 5]


def test_unsure_links_do_not_close_loops_with_sure_ones():
    rows = np.array([[0, 1], [1, 2], [0, 2], [3, 4], [4, 5], [3, 5], [2, 3], [0, 5]])
    trusted = np.array([True, True, False, False, False, False, False, False])
    error = np.array([np.inf, np.inf, 0.6, 0.7, 0.8, 0.9, 0.9, 0.8])
    needed = where_no_others(6, rows, trusted, error)
    assert needed.tolist() == [False, False, False, True, True, True, False, True]


def test_light_that_flickers_from_plane_to_plane_is_no_structure_along_z():
    rng = np.random.default_rng(6)
    scene = scene_of((30, 110, 200), rng, blur=2.0, contrast=100) - 200
    arrays = [
        (piece * rng.uniform(0.7, 1.3, (24, 1, 1)) + rng.normal(0, 6, piece.shape)).astype("u2")
        for piece in (scene[2:26, :100, :100], scene[4:28, 3:103, 78:178])
    ]
    links = register(lattice_of(arrays, [(0, 0), (0, 1)], [(0, 0, 0), (0, 0, 80)]))
    assert links.trusted.all()
    found = links[["offset_z_px", "offset_y_px", "offset_x_px"]].to_numpy()
    np.testing.assert_allclose(found, [[2, 3, 78]], atol=0.1)


def alone(at, correlation, likeness, error, *, chance=0.05, other=0.1):
    """The link of two tiles, said to be 100 pixels apart, that there are no others beside."""
    tiles = lattice_of(np.zeros((2, 20, 40, 120), "u1"), [(0, 0), (0, 1)], [(0, 0, 0), (0, 0, 100)])
    found = [
        Candidate(at, correlation, 1.0, chance, likeness, error),
        Candidate((4.0, -9.0, 90.0), other, 1.0, chance),
    ]
    return judge(tiles, overlapping(tiles), [found]).iloc[0]


def test_pixels_that_leave_no_doubt_need_no_other_pairs():
    at, error = (1.0, 2.0, 102.0), (0.1, 0.05, 0.05)
    assert alone(at, 0.35, 0.9, error).trusted
    assert not alone(at, 0.35, 0.9, error, chance=0.2).trusted  # noise may do as well
    assert not alone(at, 0.35, 0.9, error, other=0.3).trusted
    assert not alone(at, 0.35, 0.7, error).trusted  # one cell may look like another


def test_a_strip_too_narrow_to_be_looked_at_closely_has_to_match_very_well_alone():
    at = (1.0, 2.0, 102.0)
    assert alone(at, 0.7, 0.9, (0.1, 0.05, 0.05)).trusted
    assert alone(at, 0.9, float("nan"), ()).trusted
    assert alone(at, 0.7, float("nan"), ()).why == "ambiguous: no other pairs to go by"


def rings(places, rng):
    """A tile with a cell at each place, all alike."""
    y, x = np.ogrid[:128, :128]
    tile = 40 + rng.normal(0, 1, (128, 128))
    for row, column in places:
        tile += 60 * np.exp(-((np.hypot(y - row, x - column) - 6) ** 2) / 4)
    return np.rint(tile).astype("u1")


def test_a_cell_that_looks_like_another_is_no_proof_where_two_tiles_are_all_there_is():
    rng = np.random.default_rng(4)
    for places, trusted in (([(60, 114)], False), ([(60, 114), (20, 118), (105, 110)], True)):
        tiles = [rings(np.add(places, at), rng) for at in ((0, 0), (3, -100))]
        links = register(lattice_of(tiles, [(0, 0), (0, 1)], [(0, 0), (0, 98)]))
        assert links.trusted.tolist() == [trusted]


def test_exactly_even_ground_beside_bright_cells_shows_nothing_and_stays_a_number():
    for seed in range(8, 12):
        rng = np.random.default_rng(seed)
        views = np.zeros((2, 60, 80), "f4")
        views[:, 20:30, 20:30] = rng.normal(0, 30, (2, 10, 10))
        views = ndimage.gaussian_filter(views, (0, 1.5, 1.5))
        seen = _seen(views[0].ravel(), views[1].ravel(), (60, 80), "yx")
        assert np.isfinite(seen).all()


@pytest.mark.parametrize("mark", [-np.inf, -3.4e38, -1e25, -1e6, np.inf, np.nan])
def test_marks_of_missing_data_end_nothing_and_hide_little(mark):
    rng = np.random.default_rng(0)
    scene = ndimage.gaussian_filter(rng.normal(size=(330, 330)), 2).astype("f4")
    scene = 1000 * (scene - scene.min()) / np.ptp(scene)
    scene[rng.random(scene.shape) < 1e-4] = mark
    tiles = [scene[y : y + 130, x : x + 130] for y in (0, 100, 200) for x in (0, 100, 200)]
    links = register(lw.open_tiles(tiles, grid={"y": 3, "x": 3}, overlap=30 / 130), threads=1)
    assert links.trusted.all()
    for dim in "yx":
        assert (links[f"offset_{dim}_px"] - links[f"nominal_{dim}_px"]).abs().max() < 0.01


@pytest.mark.parametrize("planes", [2, 3, 5, 7])
def test_stacks_of_a_few_planes_stay_where_they_are_if_that_is_right(planes):
    rng = np.random.default_rng(planes)
    scene = ndimage.gaussian_filter(rng.normal(size=(20, 200, 200)), 1.5)[:planes]
    scene = (1000 * (scene - scene.min()) / np.ptp(scene)).astype("u2")
    parts = [slice(0, 100), slice(80, 180)]
    tiles = lw.open_tiles(
        [scene[:, y, x] for y in parts for x in parts], grid={"y": 2, "x": 2}, overlap=20
    )
    links = register(tiles)
    assert links.trusted.all()
    moved = place(tiles, links).tiles[["moved_z_px", "moved_y_px", "moved_x_px"]]
    assert moved.abs().to_numpy().max() < 0.02
