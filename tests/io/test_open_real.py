"""Real acquisitions open with the lattice that their READMEs describe."""

import csv
import re

import numpy as np
import pytest
import tifffile

from latticework.errors import LatticeError, SourceError
from latticework.io.open_tiles import open_tiles
from latticework.lattice import Box


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_snake_of_63_tiles(shared_data):
    folder = shared_data / "wsi_brain_2d"
    lattice = open_tiles(
        folder / "tiles",
        grid={"y": 7, "x": 9},
        start="top-right",
        snake=True,
        overlap={"y": 51, "x": 51},
    )
    reference = rows(folder / "positions_reference.csv")
    assert lattice.sizes == {"tile_y": 7, "tile_x": 9}
    assert lattice.names.tolist() == [row["file"] for row in reference]
    assert lattice.index.tolist() == [[int(row["row"]), int(row["col"])] for row in reference]
    assert dict(lattice.step_px) == {"y": 461, "x": 461}
    assert lattice.pixel_size_um == pytest.approx({"y": 1 / 0.3871, "x": 1 / 0.3871})
    nominal = [[float(row["nominal_y"]), float(row["nominal_x"])] for row in reference]
    np.testing.assert_allclose(lattice.position_um * 0.3871, nominal)
    tile = lattice.tile(y=3, x=4)
    part = lattice.source.read(tile.id, Box((500, 0), (512, 512)))
    np.testing.assert_array_equal(part, tifffile.imread(folder / "tiles" / tile.name)[500:])


def test_ten_per_cent_is_51_pixels(shared_data):
    folder = shared_data / "wsi_brain_2d" / "tiles"
    lattice = open_tiles(folder, grid={"y": 7, "x": 9}, start="top-right", snake=True, overlap=0.1)
    assert dict(lattice.overlap_px) == {"y": 51, "x": 51}


def test_measured_positions_give_the_same_grid(shared_data):
    folder = shared_data / "wsi_brain_2d"
    table = folder / "positions_reference.csv"
    by_label = open_tiles(folder / "tiles", positions=table, columns="ref_*", unit="px")
    columns = {"y": "ref_y", "x": "ref_x", "file": "file"}
    import pandas as pd

    only_positions = pd.read_csv(table)[list(columns.values())]
    by_position = open_tiles(folder / "tiles", positions=only_positions, unit="px")
    np.testing.assert_array_equal(by_label.index, by_position.index)
    assert by_position.step_px["x"] == pytest.approx(461, abs=1)


def test_two_sets_of_positions_must_be_told_apart(shared_data):
    folder = shared_data / "wsi_brain_2d" / "tiles"
    with pytest.raises(LatticeError, match=r'columns="nominal_\*" or columns="ref_\*"'):
        open_tiles(folder, positions="positions_reference.csv")
    with pytest.raises(LatticeError, match="pixels or micrometres"):
        open_tiles(folder, positions="positions_reference.csv", columns="ref_*")


def test_eight_tiles_with_known_positions(shared_data):
    folder = shared_data / "lattice3d_truth"
    lattice = open_tiles(
        folder / "tiles", positions="positions_true.csv", columns="true_*", unit="px"
    )
    truth = rows(folder / "positions_true.csv")
    assert lattice.sizes == {"tile_z": 1, "tile_y": 4, "tile_x": 2}
    assert lattice.tile_shape == {"z": 20, "y": 306, "x": 340}
    expected = [[float(row[f"true_{axis}"]) for axis in "zyx"] for row in truth]
    np.testing.assert_array_equal(lattice.position_um, expected)
    nominal = open_tiles(
        folder / "tiles", positions="positions_true.csv", columns="nominal_*", unit="px"
    )
    assert {axis: nominal.step_px[axis] for axis in "yx"} == {"y": 266, "x": 276}
    box = Box((3, 290, 5), (9, 306, 340))
    tile = lattice.tile(z=0, y=2, x=1)
    pixels = tifffile.imread(folder / "tiles" / "tile_05.tif")
    np.testing.assert_array_equal(lattice.source.read(tile.id, box), pixels[box.slices])


def test_the_same_tiles_by_grid(shared_data):
    folder = shared_data / "lattice3d_truth" / "tiles"
    lattice = open_tiles(folder, grid={"y": 4, "x": 2}, overlap={"y": 40, "x": 64}, pixel_size_um=2)
    assert lattice.sizes == {"tile_y": 4, "tile_x": 2}
    assert dict(lattice.step_px) == {"y": 266, "x": 276}
    assert lattice.pixel_size_um["x"] == 2


def test_a_plate_with_stage_positions(shared_data):
    folder = shared_data / "imagexpress_3d_zero_overlap"
    lattice = open_tiles(folder)
    assert lattice.dims == ("well", "tile_y", "tile_x")
    assert lattice.labels["well"].tolist() == ["E07", "E08"]
    assert lattice.sizes == {"well": 2, "tile_y": 1, "tile_x": 2}
    assert lattice.tile_shape == {"c": 2, "z": 10, "y": 512, "x": 512}
    assert lattice.channels == ("FITC_05", "FITC_05-2")
    assert lattice.step_px["x"] == 512
    assert lattice.pixel_size_um == pytest.approx({"z": 5, "y": 1.3668, "x": 1.3668}, rel=0.01)
    assert lattice.n_tiles == 4
    assert not lattice.problems
    for tile in lattice:
        stem = f"*_{tile.labels['well']}_s{tile.labels['tile_x'] + 1}_w2*.tif"
        file = next((folder / "ZStep_10").glob(stem))
        part = lattice.source.read(tile.id, Box((1, 9, 100, 0), (2, 10, 140, 512)))
        np.testing.assert_array_equal(part[0, 0], tifffile.imread(file)[100:140])


def test_the_plate_by_names_alone(shared_data):
    folder = shared_data / "imagexpress_3d_zero_overlap"
    pattern = re.compile(r"ZStep_(?P<z>\d+)/.*_(?P<well>E\d+)_s(?P<x>\d)_w(?P<c>\d).*\.tif")
    lattice = open_tiles(folder, pattern=pattern)
    assert lattice.sizes == {"well": 2, "tile_x": 2}
    assert lattice.tile_shape == {"c": 2, "z": 10, "y": 512, "x": 512}


def test_a_stack_without_neighbours_is_one_tile(shared_data):
    lattice = open_tiles(shared_data / "cells_3d_cellfinder" / "signal.tif")
    assert lattice.n_tiles == 1
    assert lattice.tile_shape == {"z": 26, "y": 1116, "x": 627}


def test_nothing_says_where_the_tiles_are(shared_data):
    with pytest.raises(SourceError, match=r'nothing says where they are.*give grid=\{"y"'):
        open_tiles(shared_data / "wsi_brain_2d" / "tiles")
