"""Simulated tiles: crops of one volume, seen by an imperfect microscope."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latticework.errors import LatticeError
from latticework.io.sources import load_source, save_source
from latticework.lattice import Box, TileSource
from latticework.testing import Microscope, Phantom, SimulatedSource, simulate

SMALL = {"z": 10, "y": 48, "x": 64}


@pytest.fixture(scope="module")
def acquisition():
    return simulate(
        {"z": 2, "y": 2, "x": 3},
        tile_shape=SMALL,
        overlap={"z": 3, "y": 8, "x": 12},
        seed=11,
        snake=True,
    )


def test_tiles_are_crops_of_the_clean_volume(acquisition):
    lattice, truth = acquisition
    bounds = truth.bounds_px()
    volume = truth.volume(bounds.start, bounds.shape)
    for tile in lattice:
        start = truth.position_px[tile.id].astype(int) - bounds.start
        box = Box(tuple(start), tuple(start + tile.shape))
        np.testing.assert_array_equal(truth.tile(tile.id), volume[box.slices])


def test_tiles_agree_where_they_overlap(acquisition):
    lattice, truth = acquisition
    seen = 0
    neighbours = lattice.neighbours("faces")
    for a, offset in np.argwhere(neighbours >= 0):
        b = neighbours[a, offset]
        shift = (truth.position_px[b] - truth.position_px[a]).astype(int)
        common = Box((0, 0, 0), tuple(SMALL.values())).intersect(
            Box(tuple(shift), tuple(shift + list(SMALL.values())))
        )
        if not common.size:  # the stage missed by more than the overlap
            continue
        seen += 1
        np.testing.assert_array_equal(
            truth.tile(a, common), truth.tile(b, common.shift(tuple(-shift)))
        )
    assert seen > 20


@settings(max_examples=20)
@given(data=st.data(), tile=st.integers(0, 5), channels=st.booleans())
def test_part_of_a_tile_is_the_crop_of_the_whole(data, tile, channels):
    lattice, _ = simulate(
        {"y": 2, "x": 3},
        tile_shape={"z": 6, "y": 30, "x": 40},
        channels=("a", "b") if channels else None,
        subpixel=True,
        bad_pixels=0.02,
        seed=3,
    )
    shape = tuple(lattice.tile_shape.values())
    start = [data.draw(st.integers(0, n)) for n in shape]
    box = Box(
        tuple(start), tuple(data.draw(st.integers(a, n)) for a, n in zip(start, shape, strict=True))
    )
    part = lattice.source.read(tile, box)
    assert part.dtype == np.uint16
    np.testing.assert_array_equal(part, lattice.source.read(tile, Box.whole(shape))[box.slices])


def test_a_source_is_the_same_in_another_process_and_in_many_threads(acquisition, tmp_path):
    lattice, _ = acquisition
    source = lattice.source
    assert isinstance(source, TileSource)
    whole = Box.whole(tuple(SMALL.values()))
    pixels = source.read(4, whole)
    save_source(source, tmp_path)
    for copy in (
        SimulatedSource.from_spec(json.loads(json.dumps(source.spec()))),
        pickle.loads(pickle.dumps(source)),
        load_source(tmp_path),
    ):
        np.testing.assert_array_equal(copy.read(4, whole), pixels)
        np.testing.assert_array_equal(copy.fingerprints(), source.fingerprints())
    with ThreadPoolExecutor(4) as pool:
        for again in pool.map(lambda _: source.read(4, whole), range(8)):
            np.testing.assert_array_equal(again, pixels)


def test_fingerprints_tell_tiles_and_acquisitions_apart():
    one = simulate({"y": 4, "x": 4}, seed=1).lattice.source.fingerprints()
    other = simulate({"y": 4, "x": 4}, seed=2).lattice.source.fingerprints()
    assert one.dtype == np.uint64
    assert len(np.unique(np.concatenate([one, other]))) == 32


def test_noise_has_the_mean_and_variance_of_photons_and_readout():
    lattice, truth = simulate(
        {"y": 1, "x": 1}, tile_shape={"z": 64, "y": 96, "x": 96}, overlap=0, jitter_px=0,
        phantom=Phantom(3), stains=((0.0, 0.0, 1.0),), channels=("t",), electrons=2000,
        counts_per_electron=1.5, read_noise=6.0, offset=200,
    )  # fmt: skip
    noise = lattice.source.read(0, Box((0, 0, 0, 0), (1, 64, 96, 96))) - truth.expected(0)
    electrons = (truth.expected(0) - 200) / 1.5
    variance = 1.5**2 * (electrons + 6.0**2) + 1 / 12  # the last from rounding
    score = noise / np.sqrt(variance)
    assert abs(score.mean()) < 4 / np.sqrt(score.size)
    assert abs(score.var() - 1) < 0.01
    dim, bright = electrons < np.median(electrons), electrons > np.percentile(electrons, 90)
    assert abs(score[dim].var() - 1) < 0.02
    assert abs(score[bright].var() - 1) < 0.03
    for axis in (1, 2, 3):  # neighbours in no direction share their noise
        a, b = np.delete(score, 0, axis), np.delete(score, -1, axis)
        assert abs((a * b).mean()) < 0.01


def test_two_tiles_of_one_place_have_different_noise():
    lattice, truth = simulate(
        {"y": 1, "x": 2},
        tile_shape={"y": 64, "x": 64},
        overlap={"x": 63},
        jitter_px=0,
        vignetting=0,
    )
    a = lattice.source.read(0, Box((0, 1), (64, 64))).astype(float)
    b = lattice.source.read(1, Box((0, 0), (64, 63))).astype(float)
    np.testing.assert_array_equal(truth.tile(0)[:, 1:], truth.tile(1)[:, :-1])
    assert (a != b).mean() > 0.9


def test_the_stage_misses_by_no_more_than_its_jitter():
    _, exact = simulate({"z": 2, "y": 5, "x": 6}, tile_shape=SMALL, jitter_px=0)
    _, moved = simulate({"z": 2, "y": 5, "x": 6}, tile_shape=SMALL, jitter_px={"y": 4, "x": 2})
    _, finer = simulate({"z": 2, "y": 5, "x": 6}, tile_shape=SMALL, jitter_px=3, subpixel=True)
    miss = moved.position_px - exact.position_px
    assert (np.abs(miss).max(axis=0) == [0, 4, 2]).all()
    assert (miss == np.round(miss)).all()
    miss = finer.position_px - exact.position_px
    assert np.abs(miss).max() <= 3
    assert (miss != np.round(miss)).mean() > 0.9
    np.testing.assert_array_equal(
        exact.position_px * 1.0, np.argwhere(np.ones((2, 5, 6))) * [9, 43, 58]
    )


def test_a_turned_camera_shears_rows_and_columns():
    _, truth = simulate(
        {"y": 2, "x": 2}, tile_shape={"y": 100, "x": 100}, overlap=0, jitter_px=0,
        stage_angle_deg=3.0, subpixel=True,
    )  # fmt: skip
    origin, right, down, _ = truth.position_px
    np.testing.assert_allclose(
        right - origin, [0, 100 * np.sin(np.pi / 60), 100 * np.cos(np.pi / 60)]
    )
    np.testing.assert_allclose(
        down - origin, [0, 100 * np.cos(np.pi / 60), -100 * np.sin(np.pi / 60)]
    )


@pytest.mark.parametrize("order", ["row", "column"])
@pytest.mark.parametrize("snake", [False, True])
def test_the_order_of_acquisition_changes_ids_but_not_the_specimen(order, snake):
    plain, plain_truth = simulate({"y": 3, "x": 4}, tile_shape={"y": 40, "x": 40}, seed=2)
    lattice, truth = simulate(
        {"y": 3, "x": 4}, tile_shape={"y": 40, "x": 40}, seed=2, order=order, snake=snake
    )
    assert sorted(map(tuple, lattice.index)) == sorted(map(tuple, plain.index))
    steps = np.abs(np.diff(lattice.index, axis=0)).sum(axis=1)
    assert (steps.max() == 1) == snake
    assert np.flatnonzero(np.diff(lattice.index[:2], axis=0)[0]).tolist() == [int(order == "row")]
    for y, x in [(0, 0), (1, 3), (2, 1)]:
        a, b = lattice.tile(y=y, x=x).id, plain.tile(y=y, x=x).id
        np.testing.assert_array_equal(truth.tile(a), plain_truth.tile(b))


def test_dtype_saturation_and_bad_pixels():
    scope = {"tile_shape": {"y": 128, "x": 128}, "phantom": Phantom(1), "jitter_px": 0}
    eight = simulate({"y": 1, "x": 1}, dtype="uint8", **scope).lattice
    pixels = eight.source.read(0, Box((0, 0), (128, 128)))
    assert pixels.dtype == np.uint8
    assert 15 < np.median(pixels) < 120
    full = simulate({"y": 1, "x": 1}, saturation=400, **scope).lattice.source.read(0)
    assert full.max() == 400
    assert (full == 400).mean() > 0.01
    bad = simulate({"y": 1, "x": 2}, bad_pixels=0.01, **scope).lattice.source
    a, b = bad.read(0), bad.read(1)
    assert 0.003 < (a == 0).mean() < 0.007
    assert 0.003 < (a == 65535).mean() < 0.007
    assert ((a == 0) == (b == 0)).all()


def test_empty_tiles_hold_only_glass():
    lattice, truth = simulate(
        {"y": 8, "x": 8}, tile_shape={"y": 32, "x": 32}, phantom=Phantom(1), empty=0.5
    )
    empty = lattice.source.is_empty(lattice.ids)
    assert 0.3 < empty.mean() < 0.7
    for tile in lattice.ids[empty][:3]:
        assert (truth.tile(tile) == np.float32(0.01)).all()
        assert len(truth.cells(tile)) == 0
    assert truth.tile(lattice.ids[~empty][0]).mean() > 0.05


def test_channels_show_different_things_under_different_light():
    lattice, truth = simulate(
        {"y": 1, "x": 1},
        tile_shape={"z": 8, "y": 96, "x": 96},
        channels=("nuclei", "fibres"),
        phantom=Phantom(1),
    )
    assert lattice.tile_dims == ("c", "z", "y", "x")
    assert lattice.channels == ("nuclei", "fibres")
    nuclei, fibres = truth.tile(0)
    assert np.corrcoef(nuclei.ravel(), fibres.ravel())[0, 1] < 0.8
    assert truth.flatfield.shape == (2, 96, 96)
    np.testing.assert_allclose(truth.flatfield.mean(axis=(1, 2)), 1, rtol=1e-5)
    assert np.abs(truth.flatfield[0] - truth.flatfield[1]).max() > 0.01


def test_2d_tiles_on_several_planes_show_different_sections():
    lattice, truth = simulate(
        {"z": 3, "y": 1, "x": 1},
        tile_shape={"y": 64, "x": 64},
        pixel_size_um={"z": 20.0},
        phantom=Phantom(1),
        jitter_px=0,
    )
    assert lattice.tile_dims == ("y", "x")
    assert lattice.dims == ("tile_z", "tile_y", "tile_x")
    np.testing.assert_allclose(truth.position_um[:, 0], [0, 20, 40])
    assert not np.array_equal(truth.tile(0), truth.tile(1))


def test_the_lattice_reports_nominal_positions_and_truth_the_true_ones(acquisition):
    lattice, truth = acquisition
    assert lattice.overlap_px == {"z": 3, "y": 8, "x": 12}
    nominal = lattice.index * [7, 40, 52]
    np.testing.assert_array_equal(lattice.position_um, nominal)
    assert 0 < np.abs(truth.position_px - nominal).max() <= 3


def test_cells_of_a_tile_lie_in_it_and_are_bright_there(acquisition):
    _, truth = acquisition
    cells = truth.cells(1)
    assert len(cells) > 0
    inside = cells[["z", "y", "x"]].to_numpy()
    assert (inside >= -0.5).all()
    assert (inside < np.array(list(SMALL.values())) - 0.5).all()
    at = tuple(np.clip(np.round(inside).astype(int), 0, np.array(list(SMALL.values())) - 1).T)
    assert np.median(truth.tile(1)[at]) > 2 * np.median(truth.tile(1))


def test_a_million_tiles_cost_nothing_until_they_are_read():
    lattice, _ = simulate({"z": 100, "y": 100, "x": 100}, tile_shape={"y": 64, "x": 64})
    assert lattice.n_tiles == 1_000_000
    assert lattice.source.read(999_999).shape == (64, 64)
    assert len(lattice.source.spec()) < 20


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tile_shape": {"z": 4}}, "needs y and x"),
        ({"dtype": "float32"}, "uint8 or uint16"),
        ({"overlap": {"y": 300}}, "not smaller than the tile"),
        ({"stains": ((1, 1, 1),) * 2}, "2 stains"),
        ({"order": "spiral"}, "'row' or 'column'"),
    ],
)
def test_wrong_settings_are_refused_at_once(wrong, message):
    with pytest.raises(LatticeError, match=message):
        simulate({"y": 2, "x": 2}, **wrong)


def test_microscope_specs_are_plain_json():
    scope = Microscope(
        overlap={"y": 0.2}, jitter_px={"x": 2.0}, channels=("a",), stains=((1, 0, 1),)
    )
    assert Microscope.from_spec(json.loads(json.dumps(scope.spec()))).spec() == scope.spec()
