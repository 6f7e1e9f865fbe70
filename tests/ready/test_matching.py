"""Spots of a tile and its neighbours, matched by a stage of a project."""

import numpy as np
import pandas as pd
import pytest

import latticework as lw
from latticework.errors import StageError
from latticework.lattice import Lattice
from latticework.stages.collections import Tiles
from latticework.stages.ready import detect_spots, match_spots
from tests.stitch.scenes import image_of, smooth


def test_spots_of_the_plane_above_are_matched_in_a_project(tmp_path, local_client):
    rng = np.random.default_rng(6)
    scene = rng.uniform(0, 1, (260, 3)) * [44, 170, 170]
    moves = rng.uniform(-4, 4, (4, 3)) * [0.3, 1, 1]
    stack = []
    for number, (layer, column) in enumerate(np.ndindex(2, 2)):
        bent = scene + smooth(scene, np.array([0.3, 2, 2]) * number / 3, 200)
        own = rng.uniform(0, 1, (100, 3)) * [44, 170, 170]
        corner = np.array([16.0 * layer, 0, 60 * column]) + moves[number]
        stack.append(image_of(np.concatenate([bent, own]) - corner, (28, 110, 110), rng, sigma=1.6))
    tiles = lw.open_tiles(
        stack, grid={"z": 2, "y": 1, "x": 2}, overlap={"z": 12, "x": 50}, pixel_size_um=1.0
    )
    project = lw.create(tmp_path / "spots.lw", tiles)
    spots = project.add(lw.stages.detect_spots, sigma_px=1.6)
    project.add(lw.stages.match_spots, after=spots, reads=lw.neighbours("+z"), name="pairs")
    project.run(local_client)
    table = project["pairs"].data
    assert set(table["neighbour"]) == {"+z"}
    assert set(table["tile_z"]) == {0}
    for column, of in table.groupby("tile_x"):
        assert len(of) > 20
        apart = (of[["neighbour_z", "neighbour_y", "neighbour_x"]].to_numpy()
                 - of[["z", "y", "x"]].to_numpy())  # fmt: skip
        true = np.array([-16, 0, 0]) + moves[column] - moves[2 + column]
        np.testing.assert_allclose(np.median(apart, axis=0), true, atol=2)  # bent by up to 2
        assert of["residual_px"].median() < 1
        assert of["match_rate"].iloc[0] > of["by_chance"].iloc[0]


def unit():
    lattice = Lattice.from_grid({"y": 1, "x": 2}, tile_shape={"y": 90, "x": 90}, dtype="u1")
    return lattice.tile(y=0, x=0)


def test_without_neighbours_the_table_is_empty_with_the_same_columns():
    spots = detect_spots(np.zeros((40, 40)))
    none = match_spots(spots, Tiles.of(unit(), {"+x": None}))
    rng = np.random.default_rng(0)
    here = pd.DataFrame(rng.uniform(0, 90, (40, 2)), columns=["y", "x"])
    some = match_spots(here, Tiles.of(unit(), {"+x": here + 3.0}))
    assert none.columns.tolist() == some.columns.tolist()
    assert none.dtypes.tolist() == some.dtypes.tolist()
    assert len(none) == 0
    assert len(some) == 40
    assert len(match_spots(here, Tiles.of(unit(), {"+x": here.iloc[:3]}))) == 0


def test_one_channel_decides():
    rng = np.random.default_rng(0)
    here = pd.DataFrame(rng.uniform(0, 90, (40, 2)), columns=["y", "x"])
    here.insert(0, "c", ["nuclei"] * 20 + ["cells"] * 20)
    there = here.copy()
    there.loc[here.c == "nuclei", ["y", "x"]] += 9.0
    there.loc[here.c == "cells", ["y", "x"]] -= 4.0
    tiles = Tiles.of(unit(), {"+x": there})
    for channel, move in ((None, -4.0), ("nuclei", 9.0), ("cells", -4.0)):
        found = match_spots(here, tiles, channel=channel)
        assert np.allclose(found["neighbour_x"] - found["x"], move)
        assert len(found) == 20
    assert match_spots(here, tiles, channel="axons").empty


def test_what_is_no_table_of_spots_is_refused():
    with pytest.raises(StageError, match="takes tables of spots with columns y and x"):
        match_spots(pd.DataFrame({"a": [1]}), Tiles.of(unit(), {"+x": None}))
    flat = pd.DataFrame({"y": [1.0], "x": [2.0]})
    with pytest.raises(StageError, match="have the axes"):
        match_spots(flat, Tiles.of(unit(), {"+x": flat.assign(z=1.0)}))
