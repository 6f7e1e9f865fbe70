"""LaVision UltraMicroscope: planes told apart by their names."""

import hashlib
import re

import numpy as np
import pytest
import tifffile

from latticework.errors import LatticeError, SourceError
from latticework.io import open_lavision, open_tiles
from latticework.io.memory import MemorySource
from latticework.lattice import Box, Lattice
from latticework.testing import write_lavision
from latticework.testing.seed_formats import LAVISION


def acquisition(rows=3, columns=3, *, sheets=("left", "right"), shape=None):
    """A lattice in memory; every pixel of a plane says which plane it is."""
    shape = shape or {"c": 1, "z": 25, "y": 6, "x": 8}
    index = np.stack(
        np.meshgrid(range(len(sheets)), range(rows), range(columns), indexing="ij"), -1
    ).reshape(-1, 3)
    arrays = []
    for i in range(len(index)):
        planes = np.arange(shape["c"] * shape["z"]).reshape(shape["c"], shape["z"], 1, 1)
        arrays.append(np.broadcast_to(1000 * i + planes, tuple(shape.values())).astype("u2"))
    return Lattice(
        dims=("sheet", "tile_y", "tile_x"),
        labels={"sheet": list(sheets), "tile_y": np.arange(rows), "tile_x": np.arange(columns)},
        index=index,
        tile_dims=("c", "z", "y", "x"),
        tile_shape=tuple(shape.values()),
        dtype="u2",
        pixel_size_um={"z": 5.0, "y": 1.63, "x": 1.63},
        source=MemorySource(arrays),
    )


def name(tile="[01 x 02]", sheet=0, z=0, c=0):
    return LAVISION.format(tile=tile, sheet=sheet, z=z, c=c)


def contents(folder):
    """Names of the files, and what is in them."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_450_files_are_two_sheets_of_three_by_three_stacks(tmp_path):
    simulated = acquisition()
    write_lavision(simulated, tmp_path)
    before = contents(tmp_path)
    assert len(before) == 450
    lattice = open_tiles(tmp_path)
    assert lattice.sizes == {"sheet": 2, "tile_y": 3, "tile_x": 3}
    assert lattice.labels["sheet"].tolist() == ["left", "right"]
    assert dict(lattice.tile_shape) == {"z": 25, "y": 6, "x": 8}
    assert dict(lattice.known_pixel_size_um) == pytest.approx({"z": 5.0, "y": 1.63, "x": 1.63})
    for tile in range(18):
        np.testing.assert_array_equal(
            lattice.source.read(tile, Box((0, 0, 0), (25, 1, 1))).ravel(),
            1000 * tile + np.arange(25),
        )
    assert lattice.tile(sheet="right", y=1, x=2).name == "[01 x 02] right"
    assert contents(tmp_path) == before


def test_grids_of_more_than_ten_have_their_size(tmp_path):
    shape = {"c": 1, "z": 1, "y": 4, "x": 4}
    write_lavision(acquisition(12, 12, sheets=("left",), shape=shape), tmp_path)
    lattice = open_tiles(tmp_path)
    assert lattice.sizes == {"tile_y": 12, "tile_x": 12}
    assert lattice.tile(y=11, x=10).name == "[11 x 10]"


def test_filters_are_channels(tmp_path):
    write_lavision(acquisition(1, 2, shape={"c": 2, "z": 3, "y": 4, "x": 4}), tmp_path)
    lattice = open_tiles(tmp_path)
    assert dict(lattice.tile_shape) == {"c": 2, "z": 3, "y": 4, "x": 4}
    assert lattice.channels == ("Filter0000", "Filter0001")
    values = lattice.source.read(1, Box((0, 0, 0, 0), (2, 3, 1, 1))).ravel()
    assert values.tolist() == [1000, 1001, 1002, 1003, 1004, 1005]
    assert open_tiles(tmp_path, channels=["488", "647"]).channels == ("488", "647")


def test_a_lone_sheet_is_what_the_caller_says(tmp_path):
    write_lavision(acquisition(2, 2, sheets=("right",)), tmp_path)
    assert open_tiles(tmp_path).sizes == {"tile_y": 2, "tile_x": 2}
    lattice = open_tiles(tmp_path, sheet="right")
    assert lattice.sizes == {"sheet": 1, "tile_y": 2, "tile_x": 2}
    assert lattice.labels["sheet"].tolist() == ["right"]
    write_lavision(acquisition(2, 2), tmp_path / "both")
    with pytest.raises(LatticeError, match=r"sheet='right' names a lone.*C00, C01"):
        open_tiles(tmp_path / "both", sheet="right")


def test_untiled_acquisitions_have_one_tile(tmp_path):
    write_lavision(acquisition(1, 1), tmp_path, tiled=False)
    lattice = open_tiles(tmp_path)
    assert lattice.sizes == {"sheet": 2, "tile_y": 1, "tile_x": 1}
    assert lattice.tile(sheet="left").name == "10-59-43_UltraII_raw_RawDataStack left"
    assert len(list(tmp_path.glob("*[[]*"))) == 0


def test_pixel_sizes_are_those_of_the_files_or_given(tmp_path):
    write_lavision(acquisition(1, 2), tmp_path, ome=False)
    assert not dict(open_tiles(tmp_path).known_pixel_size_um)
    lattice = open_tiles(tmp_path, pixel_size_um={"z": 2, "y": 1.5, "x": 1.5}, overlap=0.25)
    assert dict(lattice.known_pixel_size_um) == {"z": 2, "y": 1.5, "x": 1.5}
    assert dict(lattice.step_px) == {"y": 4, "x": 6}
    write_lavision(acquisition(1, 2), tmp_path / "ome")
    row = tmp_path / "ome" / name("[00 x 01]", z=3)
    tifffile.imwrite(row, np.zeros((6, 8), "u2"), metadata={"axes": "YX", "PhysicalSizeY": 9.0})
    with pytest.raises(SourceError, match=r"Z0003.*9 um along y.*1.63"):
        open_tiles(tmp_path / "ome")


def test_a_missing_plane_is_named_and_other_tiles_stay(tmp_path):
    simulated = acquisition(shape={"c": 2, "z": 25, "y": 4, "x": 4}, sheets=("left",))
    write_lavision(simulated, tmp_path)
    (tmp_path / name(z=13, c=1)).unlink()
    said = "25 planes expected, 24 found: z=0013 of tile [01 x 02] sheet C00 channel 1 is missing"
    with pytest.raises(SourceError, match=re.escape(said)) as caught:
        open_tiles(tmp_path)
    assert name(z=13, c=1) in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    lattice = open_tiles(tmp_path, errors="mark")
    bad = lattice.tile(y=1, x=2).id
    assert list(lattice.problems) == [bad]
    assert said in lattice.problems[bad]
    whole = Box((0, 0, 0, 0), (2, 25, 4, 4))
    np.testing.assert_array_equal(lattice.source.read(0, whole), simulated.source.read(0, whole))
    other = Box((0, 0, 0, 0), (1, 25, 4, 4))
    np.testing.assert_array_equal(
        lattice.source.read(bad, other), simulated.source.read(bad, other)
    )
    with pytest.raises(SourceError, match="no file for plane"):
        lattice.source.read(bad, whole)


def test_the_last_plane_of_one_tile_is_missed_too(tmp_path):
    write_lavision(acquisition(2, 2), tmp_path)
    (tmp_path / name("[00 x 01]", sheet=1, z=24)).unlink()
    with pytest.raises(SourceError, match=r"24 found: z=0024 of tile \[00 x 01\] sheet C01"):
        open_tiles(tmp_path)


def test_a_plane_that_no_tile_has_is_missed_too(tmp_path):
    write_lavision(acquisition(2, 2), tmp_path)
    for path in tmp_path.glob("*Z0007*"):
        path.unlink()
    with pytest.raises(SourceError, match=r"25 planes expected, 24 found: z=0007.*7 more tiles"):
        open_tiles(tmp_path)
    for path in tmp_path.glob("*Z0024*"):
        path.unlink()
    with pytest.raises(SourceError, match=r"25 planes expected.*to z=0023, 24 planes"):
        open_lavision(tmp_path, planes=25)


def test_a_missing_tile_is_named(tmp_path):
    write_lavision(acquisition(), tmp_path)
    for path in tmp_path.glob("*01 x 02]_C01*"):
        path.unlink()
    with pytest.raises(SourceError, match=r"18 tiles expected .2 x 3 x 3 .*17 found: "
                       r"tile \[01 x 02\] sheet C01 missing, with 25 files"):  # fmt: skip
        open_tiles(tmp_path)
    assert open_tiles(tmp_path, errors="mark").n_tiles == 17


def test_extra_files_are_counted_and_named(tmp_path):
    write_lavision(acquisition(1, 2), tmp_path)
    tifffile.imwrite(tmp_path / "overview.tif", np.zeros((3, 3), "u1"))
    with pytest.raises(SourceError, match=r"100 files are named.*1 are not: overview\.tif"):
        open_tiles(tmp_path)
    with pytest.warns(UserWarning, match=r"left out.*overview\.tif"):
        assert open_tiles(tmp_path, errors="mark").n_tiles == 4
    assert open_tiles(tmp_path, files="*.ome.tif").n_tiles == 4


def test_two_files_for_one_plane_are_named(tmp_path):
    write_lavision(acquisition(1, 2), tmp_path)
    twin = name("[00 x 01]", z=3).replace("10-59-43", "11-00-00")
    tifffile.imwrite(tmp_path / twin, np.zeros((6, 8), "u2"))
    with pytest.raises(SourceError, match=r"10-59-43.*Z0003.*11-00-00.*Z0003.*the same plane"):
        open_tiles(tmp_path)
    assert list(open_tiles(tmp_path, errors="mark").problems) == [1]


def test_a_truncated_file_is_named_and_other_tiles_stay(tmp_path):
    write_lavision(acquisition(2, 2), tmp_path)
    path = tmp_path / name("[01 x 00]", z=4)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SourceError, match=r"\[01 x 00\].*Z0004"):
        open_tiles(tmp_path)
    lattice = open_tiles(tmp_path, errors="mark")
    assert list(lattice.problems) == [lattice.tile(sheet="left", y=1, x=0).id]


def test_pages_are_foci(tmp_path):
    for column in range(2):
        for z in range(3):
            pages = np.stack([np.full((4, 5), 100 * column + 10 * z + f, "u2") for f in range(2)])
            tifffile.imwrite(tmp_path / name(f"[00 x {column:02d}]", z=z), pages, ome=False,
                             photometric="minisblack")  # fmt: skip
    lattice = open_tiles(tmp_path)
    assert lattice.sizes == {"focus": 2, "tile_y": 1, "tile_x": 2}
    tile = lattice.tile(focus=1, x=1)
    values = lattice.source.read(tile.id, Box((0, 0, 0), (3, 1, 1))).ravel()
    assert values.tolist() == [101, 111, 121]
    assert tile.name == "[00 x 01] focus 1"


def test_stage_positions_of_the_metadata_give_the_steps(tmp_path):
    for row, column in np.ndindex(2, 2):
        metadata = {
            "axes": "YX", "PhysicalSizeX": 2.0, "PhysicalSizeY": 2.0,
            "Plane": {"PositionX": [column * 14.0 + 100], "PositionY": [row * 10.0]},
        }  # fmt: skip
        tifffile.imwrite(tmp_path / name(f"[{row:02d} x {column:02d}]"), np.zeros((6, 8), "u2"),
                         metadata=metadata)  # fmt: skip
    lattice = open_tiles(tmp_path)
    assert dict(lattice.step_px) == {"y": 5, "x": 7}
    assert lattice.position_um[3].tolist() == [0.0, 10.0, 114.0]


def test_names_without_filter_and_with_long_numbers(tmp_path):
    for z in (9998, 9999, 10000):
        stem = f"10-22_Blaze[00 x 00]_C00_xyz-Table Z{z:04d}.ome.tif"
        tifffile.imwrite(tmp_path / stem, np.full((4, 5), z, "u2"))
    lattice = open_tiles(tmp_path)
    values = lattice.source.read(0, Box((0, 0, 0), (3, 1, 1))).ravel()
    assert values.tolist() == [9998, 9999, 10000]


def test_tiled_and_untiled_files_do_not_mix(tmp_path):
    write_lavision(acquisition(1, 2), tmp_path)
    tifffile.imwrite(tmp_path / name(""), np.zeros((6, 8), "u2"))
    with pytest.raises(SourceError, match=r"RawDataStack_C00.*names no tile"):
        open_tiles(tmp_path)


def test_a_folder_without_such_files(tmp_path):
    with pytest.raises(SourceError, match="holds no files of an UltraMicroscope"):
        open_lavision(tmp_path)


def test_a_sheet_elsewhere_is_refused(tmp_path):
    write_lavision(acquisition(1, 2), tmp_path)
    pattern = re.compile(r".*\[(?P<row>\d+) x (?P<col>\d+)\]_C(?P<sheet>\d+).*Z(?P<z>\d+).*")
    assert open_tiles(tmp_path, pattern=pattern).sizes == {"sheet": 2, "tile_y": 1, "tile_x": 2}
    with pytest.raises(LatticeError, match="sheet='left' names the light sheet"):
        open_tiles(tmp_path, pattern=pattern, sheet="left")
