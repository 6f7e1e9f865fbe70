"""A mosaic shows each tile where the stage says it is."""

import numpy as np
import pytest
import xarray as xr

from latticework.errors import StageError
from latticework.stages.ready import mosaic
from latticework.testing import Phantom, simulate


def test_a_mosaic_of_exact_tiles_is_the_reduced_volume():
    lattice, truth = simulate(
        {"y": 3, "x": 2},
        tile_shape={"y": 64, "x": 64},
        overlap=0.25,
        jitter_px=0,
        phantom=Phantom(1),
    )
    tiles = np.stack([truth.tile(tile) for tile in lattice.ids])
    picture = mosaic(tiles, position_px=lattice.position_um, downsample=8)
    volume = truth.volume((0, 0, 0), (1, 160, 112))[0]
    expected = volume.reshape(20, 8, 14, 8).mean(axis=(1, 3))
    np.testing.assert_allclose(picture, expected, rtol=1e-5)
    assert picture.y.values[0] == 3.5


def test_holes_are_nan_and_z_is_projected():
    tiles = xr.DataArray(
        np.arange(8, dtype="uint16").reshape(2, 4, 1, 1) * np.ones((1, 1, 10, 10), "uint16"),
        dims=("tile", "z", "y", "x"),
        coords={"y_um": ("tile", [0.0, 10.0]), "x_um": ("tile", [0.0, 10.0])},
        attrs={"pixel_size_um": {"y": 0.5, "x": 0.5}},
    )
    picture = mosaic(tiles, downsample=5)
    assert picture.shape == (6, 6)
    assert picture.values[0, 0] == 3
    assert picture.values[5, 5] == 7
    assert np.isnan(picture.values[0, 5])
    assert np.isnan(picture.values[2, 2])
    assert mosaic(tiles, downsample=5, project="mean").values[0, 0] == 1.5


def test_labels_and_steps_say_where_tiles_are():
    tiles = xr.DataArray(
        np.ones((2, 8, 8)),
        dims=("tile", "y", "x"),
        coords={"tile_y": ("tile", [3, 3]), "tile_x": ("tile", [1, 2])},
        attrs={"step_px": {"y": 8, "x": 6}},
    )
    picture = mosaic(tiles.chunk(tile=1), downsample=2)
    assert picture.shape == (4, 7)
    assert picture.x.values[0] == 6.5


def test_unknown_positions_are_refused():
    with pytest.raises(StageError, match="position_px"):
        mosaic(np.zeros((2, 8, 8)))
    with pytest.raises(StageError, match="shape"):
        mosaic(np.zeros((2, 8, 8)), position_px=[[0, 0]])
