"""What the writers leave on disk, read back with the libraries everybody has."""

import csv
import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings

from latticework.errors import LatticeError
from latticework.io.open_tiles import open_tiles
from latticework.lattice import Box
from latticework.testing import (
    simulate,
    write_ome_tiff,
    write_pattern,
    write_tiff_csv,
    write_truth,
    write_zarr,
)
from latticework.testing.simulated import SimulatedSource
from latticework.testing.strategies import tile_lattices


@pytest.fixture(scope="module")
def acquisition():
    return simulate(
        {"z": 2, "y": 1, "x": 2},
        tile_shape={"z": 3, "y": 20, "x": 30},
        pixel_size_um={"z": 2.0, "y": 0.5, "x": 0.5},
        channels=("nuclei", "fibres"),
        seed=1,
    )


def whole(lattice, tile):
    return lattice.source.read(tile.id, Box.whole(tile.shape))


def test_ome_tiff_has_pixels_positions_and_sizes(acquisition, tmp_path):
    lattice, _ = acquisition
    write_ome_tiff(lattice, tmp_path)
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 4
    for tile, path in zip(lattice, paths, strict=True):
        with tifffile.TiffFile(path) as file:
            assert file.is_ome
            assert file.series[0].axes == "CZYX"
            np.testing.assert_array_equal(file.asarray(), whole(lattice, tile))
            pixels = ET.fromstring(file.ome_metadata).find(".//{*}Pixels")
        assert float(pixels.get("PhysicalSizeZ")) == 2.0
        assert [c.get("Name") for c in pixels.findall("{*}Channel")] == ["nuclei", "fibres"]
        planes = pixels.findall("{*}Plane")
        assert len(planes) == 6
        for plane in planes:
            z = tile.position_um["z"] + 2.0 * int(plane.get("TheZ"))
            assert float(plane.get("PositionZ")) == pytest.approx(z)
            assert float(plane.get("PositionX")) == pytest.approx(tile.position_um["x"])


def test_plain_tiff_has_its_positions_in_a_table(acquisition, tmp_path):
    lattice, _ = acquisition
    write_tiff_csv(lattice, tmp_path)
    with (tmp_path / "positions.csv").open() as file:
        rows = list(csv.DictReader(file))
    for tile, row in zip(lattice, rows, strict=True):
        np.testing.assert_array_equal(tifffile.imread(tmp_path / row["file"]), whole(lattice, tile))
        assert float(row["x_um"]) == tile.position_um["x"]


def test_a_pattern_may_split_tiles_into_planes(acquisition, tmp_path):
    lattice, _ = acquisition
    write_pattern(lattice, tmp_path, pattern="layer{tile_z}/x{tile_x}_w{c}_z{z:03d}.tif")
    assert len(list(tmp_path.rglob("*.tif"))) == 4 * 6
    tile = lattice.tile(z=1, y=0, x=1)
    plane = tifffile.imread(tmp_path / "layer1" / "x1_w1_z002.tif")
    np.testing.assert_array_equal(plane, whole(lattice, tile)[1, 2])


def test_zarr_images_have_scale_and_translation(acquisition, tmp_path):
    lattice, _ = acquisition
    write_zarr(lattice, tmp_path)
    for tile, path in zip(lattice, sorted(tmp_path.iterdir()), strict=True):
        group = zarr.open_group(path, mode="r")
        np.testing.assert_array_equal(group["0"][...], whole(lattice, tile))
        (image,) = group.attrs["ome"]["multiscales"]
        scale, shift = image["datasets"][0]["coordinateTransformations"]
        assert [axis["name"] for axis in image["axes"]] == list(tile.dims)
        assert scale["scale"] == [1.0, 2.0, 0.5, 0.5]
        assert shift["translation"] == [0.0, *tile.position_um.values()]


def test_truth_can_be_kept_beside_the_files(acquisition, tmp_path):
    lattice, truth = acquisition
    facts = json.loads(write_truth(truth, tmp_path / "truth.json").read_text())
    np.testing.assert_array_equal(facts["position_px"], truth.position_px)
    assert SimulatedSource.from_spec(facts["source"]) == lattice.source


def test_a_lattice_without_pixels_is_refused(acquisition, tmp_path):
    with pytest.raises(LatticeError, match="no source"):
        write_zarr(acquisition.lattice.replace(source=None), tmp_path)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lattice=tile_lattices(pixels=True, ragged=True))
def test_any_lattice_can_be_written_and_read_back(lattice, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiles")
    write_zarr(lattice, folder, ome=False)
    paths = sorted(folder.iterdir())
    for tile, path in zip(lattice, paths, strict=True):
        np.testing.assert_array_equal(zarr.open_array(path, mode="r")[...], whole(lattice, tile))


@pytest.mark.parametrize("form", ["ome-tiff", "tiff and table", "pattern", "ome-zarr"])
def test_our_own_reader_finds_the_same_acquisition(acquisition, tmp_path, form):
    lattice, _ = acquisition
    options = {"pixel_size_um": {"z": 2.0, "y": 0.5, "x": 0.5}}
    if form == "ome-tiff":
        opened = open_tiles(write_ome_tiff(lattice, tmp_path))
    elif form == "ome-zarr":
        opened = open_tiles(write_zarr(lattice, tmp_path))
    elif form == "tiff and table":
        opened = open_tiles(write_tiff_csv(lattice, tmp_path), positions="positions.csv", **options)
    else:
        pattern = "l{tile_z}_r{tile_y}_s{tile_x}_w{c}_z{z}.tif"
        write_pattern(lattice, tmp_path, pattern=pattern)
        opened = open_tiles(tmp_path, pattern=pattern, overlap=lattice.overlap_px, **options)
    assert opened.tile_dims == lattice.tile_dims
    assert opened.n_tiles == lattice.n_tiles
    for tile in lattice:
        same = opened.tile(**{axis: tile.labels[f"tile_{axis}"] for axis in ("z", "y", "x")})
        assert dict(same.pixel_size_um) == dict(tile.pixel_size_um)
        assert dict(same.position_um) == pytest.approx(dict(tile.position_um))
        np.testing.assert_array_equal(whole(opened, same), whole(lattice, tile))
