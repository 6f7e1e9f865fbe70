"""Folders of TIFF files: grids, names, tables, and everything that can be wrong with them."""

import re

import numpy as np
import pandas as pd
import pytest
import tifffile

from latticework.errors import LatticeError, SourceError
from latticework.io.open_tiles import open_tiles
from latticework.io.sources import load_source, save_source
from latticework.lattice import Box

GRID = {"y": 2, "x": 3}


@pytest.fixture
def folder(tmp_path):
    """Six tiles, numbered from 1; every pixel of tile i is i."""
    for i in range(6):
        tifffile.imwrite(tmp_path / f"tile {i + 1} µm.tif", np.full((16, 20), i, "u2"))
    return tmp_path


def index(lattice):
    return [tuple(row) for row in lattice.index.tolist()]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]),
        ({"snake": True}, [(0, 0), (0, 1), (0, 2), (1, 2), (1, 1), (1, 0)]),
        ({"order": "column"}, [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]),
        ({"order": "column", "snake": True}, [(0, 0), (1, 0), (1, 1), (0, 1), (0, 2), (1, 2)]),
        ({"start": "bottom-right"}, [(1, 2), (1, 1), (1, 0), (0, 2), (0, 1), (0, 0)]),
    ],
)
def test_a_grid_is_filled_in_the_order_of_acquisition(folder, options, expected):
    lattice = open_tiles(folder, grid=GRID, **options)
    assert index(lattice) == expected
    assert [lattice.source.read(i, Box((0, 0), (1, 1)))[0, 0] for i in range(6)] == list(range(6))
    assert lattice.names[3] == "tile 4 µm.tif"


def test_natural_order_puts_ten_after_nine(tmp_path):
    for i in range(12):
        tifffile.imwrite(tmp_path / f"t{i}.tif", np.full((4, 4), i, "u2"))
    lattice = open_tiles(tmp_path, grid={"y": 3, "x": 4})
    assert lattice.names[10] == "t10.tif"


def test_a_list_of_files_is_an_acquisition_too(folder):
    paths = sorted(folder.glob("*.tif"))[::-1]
    lattice = open_tiles(paths, grid=GRID)
    assert lattice.names[0] == "tile 6 µm.tif"


def test_files_that_are_no_tiles_are_left_alone(folder):
    (folder / "notes.txt").write_text("nothing")
    (folder / "._tile 1 µm.tif").write_bytes(b"resource fork")
    (folder / ".hidden").mkdir()
    assert open_tiles(folder, grid=GRID).n_tiles == 6
    assert open_tiles(folder, grid={"y": 1, "x": 1}, files="tile 1*").n_tiles == 1


# ------------------------------------------------------------------------- names


def planes(tmp_path, *, leave_out=()):
    for well in ("A01", "A02"):
        for x in (1, 2):
            for c in (1, 2):
                for z in range(9, 12):
                    if (well, x, c, z) not in leave_out:
                        value = x * 1000 + c * 100 + z
                        name = f"{well}_s{x}_w{c}_z{z}.tif"
                        tifffile.imwrite(tmp_path / name, np.full((8, 8), value, "u2"))
    return tmp_path


def test_planes_of_one_tile_are_gathered_by_name(tmp_path):
    lattice = open_tiles(planes(tmp_path), pattern="{well}_s{x}_w{c}_z{z}.tif")
    assert lattice.sizes == {"well": 2, "tile_x": 2}
    assert lattice.tile_shape == {"c": 2, "z": 3, "y": 8, "x": 8}
    tile = lattice.tile(well="A02", x=2)
    pixels = lattice.source.read(tile.id, Box((0, 1, 0, 0), (2, 3, 1, 1)))
    assert pixels[:, :, 0, 0].tolist() == [[2110, 2111], [2210, 2211]]


def test_a_regular_expression_does_as_well(tmp_path):
    pattern = re.compile(r"(?P<well>\w+?)_s(?P<tile_x>\d)_w(?P<c>\d)_z(?P<z>\d+)\.tif")
    assert open_tiles(planes(tmp_path), pattern=pattern).tile_shape["z"] == 3


def test_a_gap_among_planes_names_the_plane(tmp_path):
    planes(tmp_path, leave_out=[("A01", 2, 1, 10)])
    with pytest.raises(SourceError, match=r"A01_s2_w1_z9\.tif lacks 1 of 6 planes: c=1 z=10"):
        open_tiles(tmp_path, pattern="{well}_s{x}_w{c}_z{z}.tif")
    lattice = open_tiles(tmp_path, pattern="{well}_s{x}_w{c}_z{z}.tif", errors="mark")
    tile = lattice.tile(well="A01", x=2)
    assert "lacks 1 of 6 planes" in tile.problem
    assert len(lattice.problems) == 1
    with pytest.raises(SourceError, match="no file for plane"):
        lattice.source.read(tile.id, Box((0, 0, 0, 0), (2, 3, 8, 8)))
    assert lattice.source.read(tile.id, Box((1, 0, 0, 0), (2, 3, 8, 8))).shape == (1, 3, 8, 8)


def test_two_files_for_one_plane_are_named(tmp_path):
    planes(tmp_path)
    (tmp_path / "again").mkdir()
    tifffile.imwrite(tmp_path / "again" / "A01_s1_w1_z9.tif", np.zeros((8, 8), "u2"))
    with pytest.raises(
        SourceError, match=r"A01_s1_w1_z9\.tif and .*A01_s1_w1_z9\.tif are the same plane"
    ):
        open_tiles(tmp_path, pattern="{well}_s{x}_w{c}_z{z}.tif")
    lattice = open_tiles(tmp_path, pattern="{well}_s{x}_w{c}_z{z}.tif", errors="mark")
    assert list(lattice.problems) == [0]


def test_names_that_do_not_fit_are_listed(tmp_path):
    planes(tmp_path)
    tifffile.imwrite(tmp_path / "overview.tif", np.zeros((8, 8), "u2"))
    with pytest.raises(SourceError, match=r"1 of 25 file names .* such as 'overview\.tif'"):
        open_tiles(tmp_path, pattern="{well}_s{x}_w{c}_z{z}.tif")
    with pytest.warns(UserWarning, match="left out"):
        lattice = open_tiles(tmp_path, pattern="{well}_s{x}_w{c}_z{z}.tif", errors="mark")
    assert lattice.n_tiles == 4
    assert not lattice.problems


def test_usual_names_need_no_pattern(tmp_path):
    for y in (1, 2, 4):
        for x in range(2):
            tifffile.imwrite(tmp_path / f"brain_row{y}_col{x}.tif", np.zeros((8, 8), "u2"))
    lattice = open_tiles(tmp_path, overlap=0.25)
    assert lattice.labels["tile_y"].tolist() == [1, 2, 3, 4]  # row 3 is a hole
    assert lattice.n_tiles == 6
    assert lattice.position_um[4, 0] == 3 * 6


@pytest.mark.parametrize(
    "name",
    [
        "tile_x{x:03d}_y{y:03d}.tif",
        "x{x:03d}_y{y:03d}.tif",
        "scan_X{x:02d}_Y{y:02d}.tif",
        "img_x{x}y{y}.tif",
        "img_y{y}x{x}.tif",
        "col{x}_row{y}.tif",
        "scan_Y{y:02d}_X{x:02d}.ome.tif",
    ],
)
def test_usual_names_may_say_x_before_y(tmp_path, name):
    for y in (1, 2):
        for x in (1, 2, 3):
            tifffile.imwrite(
                tmp_path / name.format(y=y, x=x), np.full((8, 8), 10 * y + x, "u2"), ome=False
            )
    lattice = open_tiles(tmp_path)
    assert lattice.sizes == {"tile_y": 2, "tile_x": 3}
    for tile in lattice:
        y, x = tile.index
        pixel = lattice.source.read(tile.id, Box((0, 0), (1, 1)))[0, 0]
        assert pixel == 10 * lattice.labels["tile_y"][y] + lattice.labels["tile_x"][x]


def test_a_pattern_of_the_actual_names_is_advised(tmp_path):
    for y in (1, 2):
        for x in (1, 2):
            tifffile.imwrite(tmp_path / f"a X{x} Y{y}.tif", np.zeros((8, 8), "u2"))
    with pytest.raises(SourceError, match=r'give pattern="a X\{col:d\} Y\{row:d\}\.tif"'):
        open_tiles(tmp_path)
    assert open_tiles(tmp_path, pattern="a X{col:d} Y{row:d}.tif").sizes["tile_x"] == 2


def test_a_pattern_that_tells_channels_apart_is_advised(tmp_path):
    for x, c in np.ndindex(2, 2):
        tifffile.imwrite(tmp_path / f"t_x{x}_y0_ch0{c}.tif", np.zeros((8, 8), "u2"))
    with pytest.raises(SourceError, match=r'pattern="t_x\{col:d\}_y\{row:d\}_ch\{c:d\}\.tif"'):
        open_tiles(tmp_path)


def test_positions_in_names(tmp_path):
    for y in (0, 500):
        for x in (-10, 440):
            tifffile.imwrite(tmp_path / f"t_{y}_{x}.tif", np.zeros((512, 512), "u2"))
    lattice = open_tiles(tmp_path, pattern="t_{y_um}_{x_um}.tif", pixel_size_um=1.0)
    assert dict(lattice.step_px) == {"y": 500, "x": 450}


def test_site_numbers_fill_a_grid_in_every_well(tmp_path):
    for well in ("B02", "B10"):
        for site in range(1, 5):
            tifffile.imwrite(tmp_path / f"{well}_{site}.tif", np.zeros((8, 8), "u2"))
    lattice = open_tiles(tmp_path, pattern="{well}_{site}.tif", grid={"y": 2, "x": 2}, snake=True)
    assert lattice.sizes == {"well": 2, "tile_y": 2, "tile_x": 2}
    assert index(lattice)[:4] == [(0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0)]


# ------------------------------------------------------------------------- tables


def test_a_table_by_file_name_in_micrometres(folder):
    table = pd.DataFrame(
        {
            "File": [f"tile {i + 1} µm" for i in range(6)][::-1],
            "x [µm]": [i % 3 * 9.0 for i in range(6)][::-1],
            "y [µm]": [i // 3 * 7.0 for i in range(6)][::-1],
        }
    )
    lattice = open_tiles(folder, positions=table, pixel_size_um=0.5)
    assert index(lattice) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert dict(lattice.step_px) == {"y": 14, "x": 18}


def test_a_table_by_tile_number_and_index(folder):
    (folder / "grid.csv").write_text("tile;iy;ix\n6;1;2\n1;0;0\n2;0;1\n3;0;2\n4;1;0\n5;1;1\n")
    lattice = open_tiles(folder, positions="grid.csv", overlap={"y": 2, "x": 2})
    assert index(lattice)[5] == (1, 2)
    assert dict(lattice.step_px) == {"y": 14, "x": 18}


def test_columns_can_be_named(folder):
    table = {"a": [0, 0, 0, 9, 9, 9], "b": [0, 9, 18, 0, 9, 18]}
    lattice = open_tiles(folder, positions=table, columns={"y": "a", "x": "b"}, unit="px")
    assert index(lattice)[4] == (1, 1)


def test_a_tile_configuration_of_fiji(folder):
    lines = [f"tile {i + 1} µm.tif; ; ({i % 3 * 18}.0, {i // 3 * 14}.5)" for i in range(6)]
    text = "# Define the number of dimensions\ndim = 2\n\n# Define the image coordinates\n"
    (folder / "TileConfiguration.txt").write_text(text + "\n".join(lines))
    lattice = open_tiles(folder, positions="TileConfiguration.txt")
    assert lattice.sizes == {"tile_y": 2, "tile_x": 3}
    assert dict(lattice.step_px) == {"y": 14, "x": 18}


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ({"y_um": [0], "x_um": [0]}, {}, "1 rows for 6 tiles"),
        ({"p": [0] * 6}, {}, "has the columns p; expected positions"),
        ({"y": [0] * 6, "x": [0] * 6}, {}, "pixels or micrometres"),
        ({"y": [0] * 6, "x": [0] * 6}, {"columns": {"why": "y"}}, "is not a role"),
        ({"file": ["a"] * 6, "row": [0] * 6, "col": [0] * 6}, {}, "'a' is there twice"),
        ({"file": list("abcdef"), "row": [0] * 6, "col": [0] * 6}, {}, "names none of the files"),
        ({"y_um": list("abcdef"), "x_um": [0] * 6}, {}, "holds 'a'; expected numbers"),
        (
            {"file": list("abcdef"), "y_um": [0, 1, 2, float("inf"), 4, 5], "x_um": [0] * 6},
            {},
            r"column 'y_um', row 4 \(d\), holds 'inf'; expected numbers",
        ),
        ({"row": [0] * 6, "col": [0, 1, 2, 0, 1, 2]}, {}, "two tiles are at"),
    ],
)
def test_a_table_that_does_not_fit_says_why(folder, table, options, message):
    with pytest.raises(LatticeError, match=message):
        open_tiles(folder, positions=table, **options)


def test_a_table_without_a_row_for_a_tile_names_the_tile(folder):
    table = {"file": [f"tile {i + 1} µm.tif" for i in range(5)], "row": [0] * 5, "col": range(5)}
    with pytest.raises(SourceError, match=r"no row for 1 of 6 tiles, such as 'tile 6 µm\.tif'"):
        open_tiles(folder, positions=table)


# ------------------------------------------------------------------------- what can be wrong


def damage_empty(path):
    path.write_bytes(b"")


def damage_text(path):
    path.write_text("this is no TIFF but has some bytes in it")


def damage_truncated(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 100])


def damage_shape(path):
    tifffile.imwrite(path, np.zeros((16, 21), "u2"))


def damage_dtype(path):
    tifffile.imwrite(path, np.zeros((16, 20), "u1"))


def damage_pages(path):
    tifffile.imwrite(path, np.zeros((3, 16, 20), "u2"), photometric="minisblack")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_empty, "is empty"),
        (damage_text, "expected a TIFF header"),
        (damage_truncated, "is truncated"),
        (damage_shape, "is 16 x 21 uint16; expected 16 x 20 uint16, as 5 of 6"),
        (damage_dtype, "is 16 x 20 uint8; expected 16 x 20 uint16"),
        (damage_pages, "is 3 z x 16 x 20 uint16; expected 16 x 20 uint16"),
    ],
)
def test_a_damaged_file_is_named_or_marked(folder, damage, message):
    path = folder / "tile 3 µm.tif"
    damage(path)
    with pytest.raises(SourceError, match=message) as caught:
        open_tiles(folder, grid=GRID)
    assert "tile 3 µm.tif" in str(caught.value)
    assert caught.value.path == path
    lattice = open_tiles(folder, grid=GRID, errors="mark")
    assert lattice.n_tiles == 6
    assert list(lattice.problems) == [2]
    assert message.split(";")[0].split(" ")[1] in lattice.tile(2).problem
    assert lattice.source.read(3, Box((0, 0), (1, 1)))[0, 0] == 3
    with pytest.raises(SourceError):
        lattice.source.read(2, Box((0, 0), (16, 20)))


def test_every_truncation_of_a_stack_is_noticed(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 60000, (5, 16, 20), dtype="u2")
    for codec in (None, "zlib"):
        whole = tmp_path / "whole.tif"
        tifffile.imwrite(whole, pixels, compression=codec, photometric="minisblack")
        data = whole.read_bytes()
        whole.unlink()
        for keep in range(0, len(data), 97):
            path = tmp_path / "cut.tif"
            path.write_bytes(data[:keep])
            with pytest.raises(SourceError, match=r"cut\.tif"):
                open_tiles(path)


def test_a_missing_file_of_a_numbered_grid_is_named(folder):
    (folder / "tile 3 µm.tif").unlink()
    with pytest.raises(SourceError, match=r"has 6 tiles, but there are 5: number 3 is missing"):
        open_tiles(folder, grid=GRID)
    lattice = open_tiles(folder, grid=GRID, errors="mark")
    assert index(lattice) == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]


def test_too_many_files_for_a_grid(folder):
    with pytest.raises(LatticeError, match="a grid of 1 y x 3 x has 3 tiles, but there are 6"):
        open_tiles(folder, grid={"y": 1, "x": 3})


def test_a_glob_in_the_path_points_to_files(folder):
    with pytest.raises(SourceError, match=r'files="\*\.tif"'):
        open_tiles(folder / "*.tif", grid=GRID)
    with pytest.raises(SourceError, match=r'nowhere/\*\.tif: .*files="\*\.tif"'):
        open_tiles(folder / "nowhere" / "*.tif", grid=GRID)


def test_a_folder_of_another_programs_images_says_what_to_export(tmp_path):
    (tmp_path / "scan.czi").write_bytes(b"ZISRAWFILE")
    with pytest.raises(SourceError, match="CZI files, which are not read: export OME-TIFF"):
        open_tiles(tmp_path)


def test_a_folder_of_nothing(tmp_path):
    with pytest.raises(SourceError, match="there is nothing at"):
        open_tiles(tmp_path / "nowhere", grid=GRID)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(SourceError, match=r"holds no TIFF files or Zarr images; it has a\.png"):
        open_tiles(tmp_path, grid=GRID)
    (tmp_path / "a.tif").write_bytes(b"II")
    with pytest.raises(SourceError, match="none of the 1 files"):
        open_tiles(tmp_path, grid=GRID, errors="mark")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"errors": "ignore"}, "expected 'raise' or 'mark'"),
        ({"grid": GRID, "start": "left"}, "start"),
        ({"grid": {"rows": 2, "columns": 3}}, "expected y and x"),
        ({"grid": GRID, "channels": ["a", "b"]}, "2.*channel|channels="),
        ({"grid": GRID, "block": {"y": 8}}, "block="),
        ({"grid": GRID, "dims": ("z", "y", "x")}, "dims="),
        ({"pattern": "tile*.tif"}, "names no field"),
        ({"flip": "q"}, "flip="),
        ({"grid": GRID, "flip": "y"}, "start="),
        ({"grid": (2, 3)}, r'grid=\{"y": 2, "x": 3\}'),
        ({"grid": 6}, "names no axes"),
        ({"grid": "4x2"}, r'grid=\{"y": 4, "x": 2\}'),
        ({"grid": GRID, "overlap": 1.5}, "overlap=1.5"),
        ({"grid": GRID, "pixel_size_um": (0.5, 0.5)}, "pixel_size_um="),
        ({"block": (8, 8)}, "block=.*whole pixels"),
    ],
)
def test_arguments_are_checked(folder, options, message):
    with pytest.raises(LatticeError, match=message):
        open_tiles(folder, **options)


def test_progress_is_told(folder):
    said = []
    open_tiles(folder, grid=GRID, progress=lambda done, total: said.append((done, total)))
    assert said[-1] == (6, 6)


def test_pages_can_be_channels(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 16, 20), "u2"), photometric="minisblack")
    assert open_tiles(tmp_path).tile_dims == ("z", "y", "x")
    lattice = open_tiles(tmp_path, dims=("c", "y", "x"), channels=["a", "b", "c"])
    assert lattice.tile_dims == ("c", "y", "x")
    assert lattice.channels == ("a", "b", "c")


# ------------------------------------------------------------------------- blocks of one image


@pytest.mark.parametrize("shape", [(50, 70), (7, 50, 70)])
def test_one_tiff_is_divided_into_blocks(tmp_path, shape):
    pixels = np.random.default_rng(3).integers(0, 999, shape, dtype="u2")
    tifffile.imwrite(tmp_path / "image.tif", pixels, rowsperstrip=8, photometric="minisblack")
    dims = ("z", "y", "x")[-len(shape) :]
    given = {"y": 32, "x": 32} if len(shape) == 2 else {"z": 4, "y": 32, "x": 32}
    blocks = open_tiles(tmp_path / "image.tif", block=given, dims=dims, pixel_size_um=0.5)
    assert blocks.volume_shape == dict(zip(dims, shape, strict=True))
    assert blocks.sizes["tile_y"] == 2
    assert blocks.sizes["tile_x"] == 3
    assert blocks.pixel_size_um["x"] == 0.5
    save_source(blocks.source, tmp_path / "saved")
    for source in (blocks.source, load_source(tmp_path / "saved")):
        whole = np.zeros_like(pixels)
        for tile in blocks:
            there = blocks.volume_box(tile.id).start
            box = Box.whole(tile.shape)
            whole[box.shift(there).slices] = source.read(tile.id, box)
        assert np.array_equal(whole, pixels)
        box = Box((30,) * 2, (40, 60)) if len(shape) == 2 else Box((1, 30, 30), (6, 40, 60))
        assert np.array_equal(source.read_volume(box), pixels[box.slices])
        assert np.array_equal(source.fingerprints(), blocks.source.fingerprints())
        assert len(np.unique(source.fingerprints())) == blocks.n_tiles


def test_several_tiffs_are_not_divided_into_blocks(folder):
    with pytest.raises(SourceError, match=r"6 files of .* are not one: open one of them"):
        open_tiles(folder, block=8)
    with pytest.raises(LatticeError, match="holds 6 tiles: open one of them"):
        open_tiles(folder, block=8, grid=GRID)


def test_the_command_line_divides_a_tiff_too(tmp_path):
    from click.testing import CliRunner

    from latticework.cli.commands import commands

    tifffile.imwrite(tmp_path / "image.tif", np.zeros((50, 70), "u2"))
    told = CliRunner().invoke(
        commands, ["info", str(tmp_path / "image.tif"), "--block", "y=32,x=32"]
    )
    assert told.exit_code == 0, told.output
    assert "tile_y 2 × tile_x 3" in told.output
