"""SmartSPIM: folders whose names are positions."""

import numpy as np
import pytest
import tifffile

from latticework.errors import LatticeError, SourceError
from latticework.io import open_smartspim, open_tiles
from latticework.io.memory import MemorySource
from latticework.lattice import Box, Lattice
from latticework.testing import write_smartspim

PIXEL = {"y": 1.866, "x": 1.866}


def acquisition(channels=2, planes=5):
    """Tiles of 20 x 30 pixels with 10 % overlap; every pixel of a plane says which plane it is."""
    shape = {"c": channels, "z": planes, "y": 20, "x": 30}
    arrays = []
    for i in range(6):
        values = np.arange(channels * planes).reshape(channels, planes, 1, 1) + 100 * i
        arrays.append(np.broadcast_to(values, tuple(shape.values())).astype("u2"))
    return Lattice.from_grid(
        {"y": 2, "x": 3},
        tile_shape=shape,
        dtype="u2",
        overlap={"y": 2, "x": 3},
        pixel_size_um={"z": 2.0, **PIXEL},
        channels=[f"Ex_{wl}_Em_{i}" for i, wl in enumerate((488, 561, 642)[:channels])],
        source=MemorySource(arrays),
    )


def test_a_tree_is_the_lattice_that_wrote_it(tmp_path):
    simulated = acquisition()
    write_smartspim(simulated, tmp_path)
    lattice = open_tiles(tmp_path, pixel_size_um=PIXEL)
    assert lattice.sizes == simulated.sizes
    assert dict(lattice.step_px) == dict(simulated.step_px)
    assert lattice.channels == ("Ex_488_Em_0", "Ex_561_Em_1")
    assert dict(lattice.pixel_size_um) == {"z": 2.0, **PIXEL}
    assert np.abs(lattice.position_um - simulated.position_um).max() <= 0.05 + 1e-9
    for tile in range(6):
        box = Box((0, 0, 0, 0), (2, 5, 20, 30))
        np.testing.assert_array_equal(
            lattice.source.read(tile, box), simulated.source.read(tile, box)
        )
    assert lattice.tile(y=1, x=2).name == "001008_000336"


def test_positions_are_tenths_of_a_micrometre(tmp_path):
    for x, y in ((123456, 654321), (123956, 654321)):
        home = tmp_path / f"Ex_488_Em_0/{x:06d}/{x:06d}_{y:06d}"
        home.mkdir(parents=True)
        tifffile.imwrite(home / "000040.tif", np.zeros((20, 30), "u2"))
        tifffile.imwrite(home / "000060.tif", np.zeros((20, 30), "u2"))
    lattice = open_tiles(tmp_path, pixel_size_um=PIXEL)
    np.testing.assert_allclose(
        lattice.position_um, [[4.0, 65432.1, 12345.6], [4.0, 65432.1, 12395.6]], atol=1e-6
    )
    assert lattice.pixel_size_um["z"] == 2.0
    assert lattice.names.tolist() == ["123456_654321", "123956_654321"]


def test_planes_that_are_counted_need_a_distance(tmp_path):
    write_smartspim(acquisition(), tmp_path, counted=True)
    assert "z" not in open_tiles(tmp_path, pixel_size_um=PIXEL).known_pixel_size_um
    lattice = open_tiles(tmp_path, pixel_size_um={"z": 4.0, **PIXEL})
    assert lattice.pixel_size_um["z"] == 4.0


def test_pixel_sizes_are_never_guessed(tmp_path):
    write_smartspim(acquisition(), tmp_path)
    with pytest.raises(
        LatticeError, match=r"how large a pixel is along y and x.*give pixel_size_um"
    ):
        open_tiles(tmp_path)


def test_one_channels_folder_is_an_acquisition_too(tmp_path):
    write_smartspim(acquisition(), tmp_path)
    lattice = open_tiles(tmp_path / "Ex_561_Em_1", pixel_size_um=PIXEL)
    assert lattice.sizes == {"tile_y": 2, "tile_x": 3}
    assert dict(lattice.tile_shape) == {"z": 5, "y": 20, "x": 30}
    assert lattice.source.read(1, Box((0, 0, 0), (1, 1, 1))).item() == 105


def test_products_beside_the_channels_are_left_alone(tmp_path):
    write_smartspim(acquisition(), tmp_path)
    (tmp_path / "Ex_488_Em_0_stitched").mkdir()
    tifffile.imwrite(tmp_path / "Ex_488_Em_0_stitched/000000.tif", np.zeros((9, 9), "u2"))
    assert open_tiles(tmp_path, pixel_size_um=PIXEL).n_tiles == 6


def test_a_missing_plane_is_named_and_other_tiles_stay(tmp_path):
    write_smartspim(acquisition(), tmp_path)
    home = sorted((tmp_path / "Ex_561_Em_1").glob("*/*"))[3]
    (home / "000060.tif").unlink()
    said = (
        f"5 planes expected, 4 found: z=000060 of tile {home.name} channel Ex_561_Em_1 is missing"
    )
    expected = f"Ex_561_Em_1/{home.parent.name}/{home.name}/000060.tif"
    with pytest.raises(SourceError, match=f"{said}; expected a file {expected}"):
        open_tiles(tmp_path, pixel_size_um=PIXEL)
    lattice = open_tiles(tmp_path, pixel_size_um=PIXEL, errors="mark")
    (bad,) = lattice.problems
    assert lattice.names[bad] == home.name
    assert lattice.source.read(bad, Box((0, 0, 0, 0), (1, 5, 20, 30))).shape == (1, 5, 20, 30)


def test_a_tile_that_one_channel_lacks_is_named(tmp_path):
    write_smartspim(acquisition(), tmp_path)
    home = sorted((tmp_path / "Ex_488_Em_0").glob("*/*"))[2]
    for path in home.iterdir():
        path.unlink()
    with pytest.raises(SourceError, match=f"5 planes expected, 0 found: z=000000.*and 2 more of "
                       f"tile {home.name} channel Ex_488_Em_0 are missing"):  # fmt: skip
        open_tiles(tmp_path, pixel_size_um=PIXEL)


def test_a_plane_that_no_tile_has_is_missed_too(tmp_path):
    write_smartspim(acquisition(), tmp_path)
    for path in tmp_path.rglob("000040.tif"):
        path.unlink()
    with pytest.raises(SourceError, match="5 planes expected, 4 found: z=000040"):
        open_tiles(tmp_path, pixel_size_um=PIXEL)
    with pytest.raises(SourceError, match="7 planes expected, but the files go from 0 to 80"):
        open_smartspim(tmp_path, pixel_size_um=PIXEL, planes=7)


def test_extra_files_are_counted_and_named(tmp_path):
    write_smartspim(acquisition(), tmp_path)
    tifffile.imwrite(tmp_path / "Ex_488_Em_0/flat.tif", np.zeros((20, 30), "u2"))
    with pytest.raises(SourceError, match=r"60 files are planes.*1 in its.*Ex_488_Em_0/flat\.tif"):
        open_tiles(tmp_path, pixel_size_um=PIXEL)
    with pytest.warns(UserWarning, match="left out.*flat"):
        assert open_tiles(tmp_path, pixel_size_um=PIXEL, errors="mark").n_tiles == 6


def test_a_plane_off_the_raster_is_named(tmp_path):
    write_smartspim(acquisition(), tmp_path)
    path = next(tmp_path.rglob("000040.tif"))
    path.rename(path.with_name("000043.tif"))
    with pytest.raises(SourceError, match=r"000043\.tif is plane 43, but most planes are 20 apart"):
        open_tiles(tmp_path, pixel_size_um=PIXEL)


def test_planes_that_are_not_tiff_are_refused_with_a_reason(tmp_path):
    home = tmp_path / "Ex_488_Em_0/000000/000000_000000"
    home.mkdir(parents=True)
    (home / "000000.png").write_bytes(b"\x89PNG")
    with pytest.raises(SourceError, match=r"of \.png files such as .*000000\.png; expected TIFF"):
        open_tiles(tmp_path)
    with pytest.raises(SourceError, match="expected TIFF planes"):
        open_smartspim(tmp_path)


def test_holes_of_the_grid_stay_holes(tmp_path):
    write_smartspim(acquisition(), tmp_path)
    lost = min((tmp_path / "Ex_488_Em_0").glob("*/*")).name
    for path in tmp_path.rglob(f"{lost}/*.tif"):
        path.unlink()
    lattice = open_tiles(tmp_path, pixel_size_um=PIXEL)
    assert lattice.n_tiles == 5
    assert lattice.sizes == {"tile_y": 2, "tile_x": 3}


def test_pictures_beside_the_planes_do_no_harm(tmp_path):
    write_smartspim(acquisition(), tmp_path)
    (tmp_path / "Ex_488_Em_0/preview.png").write_bytes(b"\x89PNG")
    assert open_tiles(tmp_path, pixel_size_um=PIXEL).n_tiles == 6
