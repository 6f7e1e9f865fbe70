"""Planted spots are found where they are, each in exactly one tile."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.spatial import cKDTree

from latticework.errors import StageError
from latticework.stages.ready import count_spots, detect_spots, spot_halo
from latticework.testing import simulate


def planted(shape, n, *, sigma, seed, height=400.0, margin=6):
    """A noisy picture with spots at known places, at least 6 sigma apart."""
    generator = np.random.default_rng(seed)
    places = []
    while len(places) < n:
        place = generator.uniform(margin, np.array(shape) - margin)
        if all(np.linalg.norm(place - other) > 6 * sigma for other in places):
            places.append(place)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    picture = np.full(shape, 200.0)
    for place in places:
        picture += height * np.exp(-((grid - place) ** 2).sum(axis=-1) / (2 * sigma**2))
    return generator.poisson(picture).astype("uint16"), np.array(places)


@pytest.mark.parametrize("shape", [(0, 40), (40, 0), (0, 20, 20)])
def test_a_tile_without_pixels_has_no_spots(shape):
    found = detect_spots(np.zeros(shape, "u2"))
    full = detect_spots(np.zeros([max(n, 8) for n in shape], "u2"))
    assert len(found) == 0
    assert found.dtypes.to_dict() == full.dtypes.to_dict()


@pytest.mark.parametrize("shape", [(200, 240), (30, 90, 110)])
def test_fifty_planted_spots_are_found_within_a_pixel(shape):
    picture, places = planted(shape, 50, sigma=2.0, seed=1)
    table = detect_spots(picture, sigma_px=2.0, threshold=100)
    found = table[["z", "y", "x"][-len(shape) :]].to_numpy()
    distance, _ = cKDTree(found).query(places)
    assert (distance < 1).mean() >= 0.95
    assert np.median(distance) < 0.3
    assert len(found) <= 52  # and hardly anything else
    assert table["score"].median() == pytest.approx(400, rel=0.1)


def test_the_automatic_threshold_finds_them_too():
    picture, places = planted((200, 240), 50, sigma=2.0, seed=2)
    table = detect_spots(picture, sigma_px=2.0)
    distance, _ = cKDTree(table[["y", "x"]]).query(places)
    assert (distance < 1).mean() >= 0.95
    assert len(table) <= 53


def test_somata_of_the_phantom_are_found():
    lattice, truth = simulate(
        {"y": 2, "x": 2}, tile_shape={"z": 40, "y": 160, "x": 160}, seed=5,
        stains=((1.0, 0.0, 1.0),), channels=("nuclei",),
    )  # fmt: skip
    table = detect_spots(lattice.source.read(1)[0], sigma_px=2.5, threshold=250)
    cells = truth.cells(1).query("brightness > 0.5 and 2 < z < 37 and 2 < y < 157 and 2 < x < 157")
    distance, _ = cKDTree(table[["z", "y", "x"]]).query(cells[["z", "y", "x"]])
    assert len(cells) > 20
    assert (distance < 1.5).mean() >= 0.9


@pytest.mark.parametrize(("shape", "sigma"), [((48, 128, 128), 3.0), ((300, 320), 1.5)])
def test_spots_that_a_border_cuts_are_placed_as_well_as_others(shape, sigma):
    rng = np.random.default_rng(21)
    last = np.array(shape) - 1
    places = []
    while len(places) < 40:
        place = rng.uniform(0, last)
        place[rng.integers(len(shape))] = rng.uniform(0, sigma)  # near a border
        place = np.where(rng.random(len(shape)) < 0.5, place, last - place)
        if all(np.linalg.norm(place - other) > 5 * sigma for other in places):
            places.append(place)
    light = np.full(shape, 100.0)
    for place in places:
        spot = 1.0
        for at, size in zip(place, shape, strict=True):
            along = np.exp(-((np.arange(size) - at) ** 2) / (2 * sigma**2))
            spot = np.multiply.outer(spot, along)
        light += rng.uniform(120, 240) * spot
    table = detect_spots(rng.poisson(light).astype("u2"), sigma_px=sigma)
    distance, _ = cKDTree(table[list("zyx")[-len(shape) :]]).query(places)
    assert (distance < 1).mean() >= 0.95  # 0.1 and 0.5 without a fit


def test_with_a_halo_every_spot_is_found_in_exactly_one_tile():
    picture, _ = planted((12, 120, 120), 60, sigma=1.5, seed=3, margin=1)
    whole = detect_spots(picture, sigma_px=1.5, threshold=120)
    halo = spot_halo(1.5)
    padded = np.pad(picture, [(halo[a], halo[a]) for a in "zyx"], mode="symmetric")
    tables = []
    for y in range(0, 120, 40):
        for x in range(0, 120, 40):
            h = halo["y"]
            part = xr.DataArray(
                padded[:, y : y + 40 + 2 * h, x : x + 40 + 2 * h],
                dims=("z", "y", "x"),
                coords={
                    "z": np.arange(-halo["z"], 12 + halo["z"]),
                    "y": np.arange(-h, 40 + h),
                    "x": np.arange(-h, 40 + h),
                },
            )
            table = detect_spots(part, sigma_px=1.5, threshold=120)
            assert table["y"].between(-0.5, 39.5).all()
            assert table["x"].between(-0.5, 39.5).all()
            tables.append(table.assign(y=table["y"] + y, x=table["x"] + x))
    joined = pd.concat(tables).sort_values(["z", "y", "x"], ignore_index=True)
    expected = whole.sort_values(["z", "y", "x"], ignore_index=True)
    pd.testing.assert_frame_equal(joined, expected, atol=1e-9)
    assert len(expected) > 50


def test_where_only_one_side_has_a_halo_the_shape_of_the_tile_says_so():
    picture, _ = planted((60, 80), 12, sigma=1.5, seed=4)
    tile = xr.DataArray(
        picture,
        dims=("y", "x"),
        coords={"y": np.arange(60), "x": np.arange(80)},
        attrs={"tile_shape": {"y": 60, "x": 50}},
    )
    table = detect_spots(tile, sigma_px=1.5, threshold=120)
    everything = detect_spots(picture, sigma_px=1.5, threshold=120)
    assert table["x"].max() < 49.5
    assert len(table) == (everything["x"] < 49.5).sum() < len(everything)


def test_positions_in_micrometres_follow_the_tile():
    picture, _ = planted((80, 80), 10, sigma=2.0, seed=5)
    y, x = np.arange(-5, 75), np.arange(-5, 75)
    by_coords = xr.DataArray(
        picture,
        dims=("y", "x"),
        coords={"y": y, "x": x, "y_um": ("y", 100 + 0.5 * y), "x_um": ("x", 7 + 0.25 * x)},
    )
    by_attrs = xr.DataArray(
        picture,
        dims=("y", "x"),
        coords={"y": y, "x": x},
        attrs={"position_um": {"y": 100, "x": 7}, "pixel_size_um": {"y": 0.5, "x": 0.25}},
    )
    first = detect_spots(by_coords, sigma_px=2.0, threshold=100)
    np.testing.assert_allclose(first["y_um"], 100 + 0.5 * first["y"])
    np.testing.assert_allclose(first["x_um"], 7 + 0.25 * first["x"])
    pd.testing.assert_frame_equal(first, detect_spots(by_attrs, sigma_px=2.0, threshold=100))
    assert "y_um" not in detect_spots(picture, sigma_px=2.0, threshold=100)


@pytest.mark.parametrize("value", [0, 777, 65535])
@pytest.mark.parametrize("threshold", [None, 50.0])
def test_an_empty_tile_gives_no_rows_but_the_same_columns_and_types(value, threshold):
    picture, _ = planted((20, 60, 60), 5, sigma=2.0, seed=6)
    full = detect_spots(picture, sigma_px=2.0, threshold=100)
    empty = detect_spots(
        np.full((20, 60, 60), value, dtype="uint16"), sigma_px=2.0, threshold=threshold
    )
    assert len(empty) == 0
    assert len(full) == 5
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()


def test_channels_are_searched_one_by_one():
    picture, places = planted((100, 100), 8, sigma=2.0, seed=7)
    tile = xr.DataArray(
        np.stack([np.full_like(picture, 200), picture]),
        dims=("c", "y", "x"),
        coords={"c": ["dapi", "gfp"]},
    )
    table = detect_spots(tile, sigma_px=2.0, threshold=100)
    assert list(table.columns) == ["c", "y", "x", "intensity", "score"]
    assert len(table) == len(places)
    assert set(table["c"]) == {"gfp"}
    empty = detect_spots(tile.isel(c=[0]), sigma_px=2.0, threshold=100)
    assert empty.dtypes.to_dict() == table.dtypes.to_dict()


def test_a_saturated_spot_is_one_spot():
    picture = np.full((40, 40), 100, dtype="uint8")
    picture[15:20, 15:20] = 255
    table = detect_spots(picture, sigma_px=2.0, threshold=30)
    assert len(table) == 1
    np.testing.assert_allclose(table[["y", "x"]].to_numpy(), [[17, 17]], atol=0.1)


def test_wrong_parameters_are_refused():
    tile = np.random.default_rng(0).integers(0, 999, (60, 60))
    with pytest.raises(StageError, match="above 0"):
        detect_spots(tile, sigma_px=0)
    with pytest.raises(StageError, match="also has x"):
        detect_spots(tile, sigma_px={"y": 2.0})
    with pytest.raises(StageError, match="raise the threshold"):
        detect_spots(tile, sigma_px=1.0, threshold=1e-3, max_spots=10)


def test_spots_are_counted():
    picture, _ = planted((100, 100), 8, sigma=2.0, seed=8)
    record = count_spots(detect_spots(picture, sigma_px=2.0, threshold=100))
    assert record["spots"] == 8
    assert record["median_score"] == pytest.approx(400, rel=0.1)
    assert count_spots(detect_spots(np.zeros((30, 30)))) == {
        "spots": 0,
        "median_score": 0.0,
        "median_intensity": 0.0,
    }
