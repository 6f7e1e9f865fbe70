"""Positions in the files of TeraStitcher, BigStitcher and Fiji, in and out."""

import re
import warnings
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latticework.errors import LatticeError, SourceError
from latticework.io import open_tiles, write_positions
from latticework.io.position_files import _format
from latticework.lattice import Lattice

# Every number below is another one, so that swapped axes cannot hide.

TERASTITCHER = """<?xml version="1.0" encoding="UTF-8" ?>
<!DOCTYPE TeraStitcher SYSTEM "TeraStitcher.DTD">
<TeraStitcher volume_format="TiledXY|{kind}series">
    <stacks_dir value="/not/here" />
    <ref_sys ref1="1" ref2="2" ref3="3" />
    <voxel_dims V="0.5" H="{h}" D="3" />
    <origin V="0.002" H="0.01" D="0.03" />
    <mechanical_displacements V="7" H="4.25" />
    <dimensions stack_rows="2" stack_columns="2" stack_slices="3" />
    <STACKS>{stacks}</STACKS>
</TeraStitcher>
"""
STACK = (
    '<Stack N_CHANS="1" N_BYTESxCHAN="2" ROW="{row}" COL="{col}" ABS_V="{v}" ABS_H="{h}" '
    'ABS_D="{d}" STITCHABLE="yes" DIR_NAME="{folder}" Z_RANGES="{z}" IMG_REGEX="{regex}">'
    "<NORTH_displacements /><EAST_displacements /><SOUTH_displacements /><WEST_displacements />"
    "</Stack>"
)
PLACES = {(0, 0): (0, 0, 0), (0, 1): (1, 17, 1), (1, 0): (14, 2, 0), (1, 1): (15, 18, 2)}
"""ABS_V, ABS_H, ABS_D by row and column."""


def stacks(folder, regex, *, places=PLACES, empty=()):
    return "".join(
        STACK.format(
            row=row, col=col, v=v, h=h, d=d,
            folder=folder.format(row=row, col=col), regex=regex.format(row=row, col=col),
            z="" if (row, col) in empty else "[0,3)",
        )
        for (row, col), (v, h, d) in places.items()
    )  # fmt: skip


def image(value, planes=3):
    return np.full((planes, 16, 20)[-3 if planes > 1 else -2 :], value, "u2")


@pytest.fixture
def volumes(tmp_path):
    """Four 3-D files in one folder; names do not say where they are."""
    for i, name in enumerate(("a", "b", "c", "d")):
        tifffile.imwrite(tmp_path / f"{name}.tif", image(i), photometric="minisblack")
    return tmp_path


def expect(lattice, position_um, index):
    np.testing.assert_allclose(lattice.position_um, position_um, atol=1e-9)
    assert lattice.index.tolist() == index


# ------------------------------------------------------------------------- TeraStitcher in


def test_terastitcher_pixels_are_v_h_d_and_sizes_come_from_the_file(tmp_path):
    for i, (row, col) in enumerate(PLACES):
        folder = tmp_path / f"00{row}" / f"00{row}_00{col}"
        folder.mkdir(parents=True)
        tifffile.imwrite(folder / "block.tif", image(i), photometric="minisblack")
    text = TERASTITCHER.format(
        kind="3D", h="0.25", stacks=stacks("00{row}/00{row}_00{col}", ".*\\.tif")
    )
    (tmp_path / "xml_import.xml").write_text(text)
    lattice = open_tiles(tmp_path, positions="xml_import.xml")
    assert lattice.spatial_dims == ("z", "y", "x")
    assert dict(lattice.pixel_size_um) == {"z": 3, "y": 0.5, "x": 0.25}
    assert lattice.sizes == {"tile_y": 2, "tile_x": 2}
    um = [[30 + 3 * d, 2 + 0.5 * v, 10 + 0.25 * h] for v, h, d in PLACES.values()]
    expect(lattice, um, [[0, 0], [0, 1], [1, 0], [1, 1]])
    assert dict(lattice.step_px) == {"y": 14, "x": 16}


def test_a_size_that_the_caller_gives_goes_before_the_files(volumes):
    places = dict(zip("abcd", PLACES, strict=True))
    text = "".join(
        STACK.format(
            row=at[0], col=at[1], v=PLACES[at][0], h=PLACES[at][1], d=PLACES[at][2],
            folder=".", z="[0,3)", regex=f"{name}\\.tif",
        )
        for name, at in places.items()
    )  # fmt: skip
    (volumes / "xml_merging.xml").write_text(TERASTITCHER.format(kind="3D", h="0.25", stacks=text))
    given = {"z": 3, "y": 1, "x": 0.25}
    lattice = open_tiles(volumes, positions="xml_merging.xml", pixel_size_um=given)
    assert dict(lattice.pixel_size_um) == given
    np.testing.assert_allclose(np.diff(lattice.position_um[[0, 3]], axis=0), [[6, 15, 4.5]])


def test_where_the_stage_runs_against_the_image_pixels_still_grow(volumes):
    text = "".join(
        STACK.format(row=0, col=i, v=i, h=17 * i, d=0, folder="", z="[0,3)", regex=f"{name}.tif")
        for i, name in enumerate("abcd")
    )
    (volumes / "p.xml").write_text(TERASTITCHER.format(kind="3D", h="-0.25", stacks=text))
    lattice = open_tiles(volumes, positions="p.xml")
    assert lattice.pixel_size_um["x"] == 0.25
    assert lattice.index[:, -1].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(lattice.position_um[:, 2], -10 + 17 * 0.25 * np.arange(4))


def test_planes_in_files_of_their_own_become_tiles(tmp_path):
    for i, (row, col) in enumerate(PLACES):
        folder = tmp_path / f"{row}_{col}"
        folder.mkdir()
        for z in range(3):
            tifffile.imwrite(folder / f"img_{z:02d}.tif", image(10 * i + z, planes=1))
        (folder / "notes.txt").write_text("no plane")
    text = TERASTITCHER.format(kind="2D", h="0.25", stacks=stacks("{row}_{col}", "img_[0-9]+.tif"))
    (tmp_path / "xml_import.xml").write_text(text)
    lattice = open_tiles(tmp_path, positions="xml_import.xml")
    assert lattice.n_tiles == 4
    assert dict(lattice.tile_shape) == {"z": 3, "y": 16, "x": 20}
    pixels = lattice.source.read(3, whole(lattice))
    assert pixels[:, 0, 0].tolist() == [30, 31, 32]
    assert lattice.position_um[3].tolist() == [36, 9.5, 14.5]


def whole(lattice):
    from latticework.lattice import Box

    return Box.whole(tuple(lattice.tile_shape.values()))


def test_a_missing_plane_is_named(tmp_path):
    for row, col in PLACES:
        (tmp_path / f"{row}_{col}").mkdir()
        for z in range(3 - (row + col == 2)):
            tifffile.imwrite(tmp_path / f"{row}_{col}" / f"{z}.tif", image(0, planes=1))
    text = TERASTITCHER.format(kind="2D", h="0.25", stacks=stacks("{row}_{col}", ".*"))
    (tmp_path / "xml_import.xml").write_text(text)
    with pytest.raises(SourceError, match=r"1_1.*z"):
        open_tiles(tmp_path, positions="xml_import.xml")


def test_stacks_without_files_are_counted_and_named(volumes):
    text = "".join(
        STACK.format(row=0, col=i, v=0, h=17 * i, d=0, folder="", z=z, regex=f"{name}.tif")
        for i, (name, z) in enumerate([*((n, "[0,3)") for n in "abcdef"), ("g", "")])
    )
    (volumes / "p.xml").write_text(TERASTITCHER.format(kind="3D", h="1", stacks=text))
    with pytest.warns(UserWarning, match=r"positions of 6 tiles, and of 2 .*COL=4.*COL=5"):
        lattice = open_tiles(volumes, positions="p.xml")
    assert lattice.n_tiles == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('V="0.5"', 'V="wide"', r"p\.xml: V of <voxel_dims> is 'wide'; expected a number"),
        ('ABS_H="17"', "", r"ABS_H of Stack 1 \(ROW=0, COL=1\) is missing; expected a number"),
        ('ROW="1" COL="0"', 'ROW="x" COL="0"', r"ROW of Stack 2 .* is 'x'; expected a whole"),
        ('IMG_REGEX="b', 'IMG_REGEX="(b', r"IMG_REGEX of Stack 1 .* expected a regular expr"),
        ("</STACKS>", "", r"p\.xml is damaged XML \(mismatched tag: line 11"),
        ("TiledXY|3D", "Blob|3D", r"volume_format is 'Blob\|3Dseries'; expected TiledXY"),
        ("voxel_dims", "voxels", r"<TeraStitcher> has no <voxel_dims>"),
        ("TeraStitcher", "Other", r"XML of <Other>; expected <TeraStitcher>, or <SpimData>"),
        ('"TeraStitcher.DTD"', '"x" [<!ENTITY a "b">]', r"declares entities"),
        ("b.tif", "a.tif", r"'a\.tif' belongs to 2 stacks"),
        ("c.tif", "q.tif", r"no row for 1 of 4 tiles, such as 'c\.tif'"),
    ],
)
def test_terastitcher_files_that_are_wrong_say_where(volumes, old, new, message):
    text = "".join(
        STACK.format(row=r, col=c, v=v, h=h, d=d, folder="", z="[0,3)", regex=f"{name}.tif")
        for name, ((r, c), (v, h, d)) in zip("abcd", PLACES.items(), strict=True)
    )
    text = TERASTITCHER.format(kind="3D", h="0.25", stacks=text)
    assert old in text
    (volumes / "p.xml").write_text(text.replace(old, new))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((SourceError, LatticeError), match=message):
            open_tiles(volumes, positions="p.xml")


# ------------------------------------------------------------------------- BigStitcher in

MOVES = {"a": (3, 5, 1), "b": (20, 6, 0), "c": (4, 19, 2), "d": (21, 18, 1)}
"""True positions in pixels: x, y, z."""


def spim_data(chain, *, voxel="0.5 0.25 2.0", unit="µm", loader=None, extra=""):
    """A dataset of the four files; `chain(x, y, z)` gives the affines, last applied first."""
    files = "".join(
        f'<FileMapping view_setup="{i}" timepoint="0" series="0" channel="0">'
        f'<file type="relative">{name}.tif</file></FileMapping>'
        for i, name in enumerate(MOVES)
    )
    setups = "".join(
        f"<ViewSetup><id>{i}</id><name>{i}</name><size>20 16 3</size><voxelSize><unit>{unit}</unit>"
        f"<size>{voxel}</size></voxelSize><attributes><illumination>0</illumination>"
        f"<channel>0</channel><tile>{i + 1}</tile><angle>0</angle></attributes></ViewSetup>"
        for i in range(4)
    )
    views = "".join(
        f'<ViewRegistration timepoint="0" setup="{i}">'
        + "".join(
            f'<ViewTransform type="affine"><Name>n</Name><affine>{affine}</affine></ViewTransform>'
            for affine in chain(*MOVES[name])
        )
        + "</ViewRegistration>"
        for i, name in enumerate(MOVES)
    )
    loader = (
        loader
        or f'<ImageLoader format="spimreconstruction.filemap2"><ZGrouped>false'
        f"</ZGrouped><files>{files}</files></ImageLoader>"
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<SpimData version="0.2"><BasePath '
        f'type="relative">.</BasePath><SequenceDescription>{loader}<ViewSetups>{setups}'
        f'</ViewSetups><Timepoints type="pattern"><integerpattern>0</integerpattern></Timepoints>'
        f"<MissingViews>{extra}</MissingViews></SequenceDescription><ViewRegistrations>{views}"
        f"</ViewRegistrations></SpimData>"
    )  # fmt: skip


def diagonal(x, y, z, move=(0, 0, 0)):
    return f"{x} 0 0 {move[0]} 0 {y} 0 {move[1]} 0 0 {z} {move[2]}"


CONVENTIONS = {
    # calibration to the smallest side (0.25 um), then a translation, then a correction of it
    "bigstitcher": lambda x, y, z: [
        diagonal(1, 1, 1, (0.5, -1, 2)),
        diagonal(1, 1, 1, (2 * x - 0.5, y + 1, 8 * z - 2)),
        diagonal(2, 1, 8),
    ],
    "micrometres": lambda x, y, z: [diagonal(0.5, 0.25, 2, (x * 0.5, y * 0.25, z * 2))],
    "pixels": lambda x, y, z: [diagonal(1, 1, 1, (x, y, z))],
    # the first of the chain is applied last, so it scales the translation that follows it
    "scaled": lambda x, y, z: [diagonal(2, 3, 4), diagonal(1, 1, 1, (x, y, z))],
}


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_bigstitcher_positions_in_every_convention_of_the_world(volumes, convention):
    (volumes / "dataset.xml").write_text(spim_data(CONVENTIONS[convention]), encoding="utf-8")
    lattice = open_tiles(volumes, positions="dataset.xml")
    assert dict(lattice.pixel_size_um) == {"z": 2, "y": 0.25, "x": 0.5}
    um = [[z * 2, y * 0.25, x * 0.5] for x, y, z in MOVES.values()]
    expect(lattice, um, [[0, 0], [0, 1], [1, 0], [1, 1]])


def test_bigstitcher_units_are_read(volumes):
    text = spim_data(CONVENTIONS["pixels"], voxel="500 250 2000", unit="nm")
    (volumes / "dataset.xml").write_text(text)
    assert open_tiles(volumes, positions="dataset.xml").pixel_size_um["x"] == 0.5
    text = spim_data(CONVENTIONS["pixels"], voxel="1 1 1", unit="pixels")
    (volumes / "dataset.xml").write_text(text)
    assert open_tiles(volumes, positions="dataset.xml").known_pixel_size_um == {}


def test_a_dataset_without_files_goes_by_the_number_of_the_tile(tmp_path):
    for i in range(4):
        tifffile.imwrite(tmp_path / f"scan{i + 1}.tif", image(i), photometric="minisblack")
    loader = '<ImageLoader format="bdv.hdf5"><hdf5 type="relative">d.h5</hdf5></ImageLoader>'
    (tmp_path / "dataset.xml").write_text(
        spim_data(CONVENTIONS["pixels"], loader=loader), encoding="utf-8"
    )
    lattice = open_tiles(tmp_path, positions="dataset.xml")
    assert lattice.index.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_a_dataset_of_zarr_images_goes_by_their_paths(tmp_path):
    import zarr

    for name in MOVES:
        array = zarr.create_array(
            tmp_path / "d.zarr" / f"{name}.zarr", shape=(3, 16, 20), dtype="u2", chunks=(3, 16, 20)
        )
        array[:] = image(7)
    groups = "".join(
        f'<zgroup setup="{i}" tp="0" path="{name}.zarr" indicies="0 0" />'
        for i, name in enumerate(MOVES)
    )
    loader = (
        '<ImageLoader format="bdv.multimg.zarr" version="3.0"><zarr type="relative">d.zarr</zarr>'
        f"<zgroups>{groups}</zgroups></ImageLoader>"
    )
    text = spim_data(CONVENTIONS["bigstitcher"], loader=loader, unit="um")
    (tmp_path / "dataset.xml").write_text(text)
    lattice = open_tiles(tmp_path / "d.zarr", positions="dataset.xml")
    um = [[z * 2, y * 0.25, x * 0.5] for x, y, z in MOVES.values()]
    expect(lattice, um, [[0, 0], [0, 1], [1, 0], [1, 1]])


def test_a_file_per_channel_and_one_that_is_missing(tmp_path):
    for name in "abc":
        for c in range(2):
            tifffile.imwrite(tmp_path / f"{name}{c}.tif", image(c), photometric="minisblack")
    text = spim_data(CONVENTIONS["pixels"], unit="um").replace(".tif", "1.tif")
    root = ET.fromstring(text)
    setups, views = root.find(".//ViewSetups"), root.find("ViewRegistrations")
    for i, name in enumerate(MOVES):  # the same tiles in another channel
        setup = ET.fromstring(ET.tostring(setups[i]))
        setup.find("id").text = str(i + 4)
        setup.find("attributes/channel").text = "1"
        setups.append(setup)
        view = ET.fromstring(ET.tostring(views[i]))
        view.set("setup", str(i + 4))
        views.append(view)
        mapping = ET.SubElement(root.find(".//files"), "FileMapping", timepoint="0")
        mapping.set("view_setup", str(i + 4))
        ET.SubElement(mapping, "file", type="absolute").text = str(tmp_path / f"{name}0.tif")
    (tmp_path / "dataset.xml").write_bytes(ET.tostring(root))
    with pytest.warns(UserWarning, match=r"positions of 4 tiles, and of 1 .*: 'd1\.tif'"):
        lattice = open_tiles(tmp_path, pattern="{name}{c:d}.tif", positions="dataset.xml")
    assert dict(lattice.tile_shape) == {"c": 2, "z": 3, "y": 16, "x": 20}


def test_missing_views_and_turned_views_are_told(volumes):
    text = spim_data(
        CONVENTIONS["pixels"], extra='<MissingView timepoint="0" setup="1" />', unit="um"
    )
    (volumes / "dataset.xml").write_text(text)
    with pytest.raises(SourceError, match=r"no row for 1 of 4 tiles, such as 'b\.tif'"):
        open_tiles(volumes, positions="dataset.xml")
    turned = spim_data(
        lambda x, y, z: [diagonal(1, 1, 1, (x, y, z)), "1 -0.2 0 0 0.2 1 0 0 0 0 1 0"], unit="um"
    )
    (volumes / "dataset.xml").write_text(turned)
    with pytest.warns(UserWarning, match=r"4 of 4 views are turned.* by up to 4\.0 px"):
        open_tiles(volumes, positions="dataset.xml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<affine>1 0 0 3 ", "<affine>1 0 0 ", r"affine of ViewTransform 0 \(timepoint 0, setup 0"),
        ("<size>20 16 3</size>", "<size>20 16</size>", r"ViewSetup 0 is '20 16'; expected 3 numb"),
        ("<unit>um</unit>", "<unit>feet</unit>", r"voxelSize of ViewSetup 0 .* one of the units"),
        ("<affine>1 0 0 3", "<affine>-1 0 0 3", r"setup 0 mirrors its axes"),
        ('setup="2">', 'setup="9">', r"of setup 9, which no ViewSetup has; expected one of 0, 1"),
        ("<angle>0</angle>", "<angle>0</angle>", None),
        ("filemap2", "filemap2", None),
    ],
)
def test_bigstitcher_files_that_are_wrong_say_where(volumes, old, new, message):
    text = spim_data(CONVENTIONS["pixels"], unit="um")
    assert old in text
    (volumes / "dataset.xml").write_text(text.replace(old, new, 1))
    if message is None:
        open_tiles(volumes, positions="dataset.xml")
        return
    with pytest.raises(SourceError, match=message):
        open_tiles(volumes, positions="dataset.xml")


def test_several_angles_and_several_tiles_in_one_file_are_refused(volumes):
    text = spim_data(CONVENTIONS["pixels"], unit="um")
    (volumes / "dataset.xml").write_text(text.replace("<angle>0</angle>", "<angle>7</angle>", 1))
    with pytest.raises(SourceError, match="from 2 angles"):
        open_tiles(volumes, positions="dataset.xml")
    twice = text.replace("b.tif", "a.tif").replace(
        'setup="1" timepoint="0" series="0"', 'setup="1" timepoint="0" series="1"'
    )
    (volumes / "dataset.xml").write_text(twice)
    with pytest.raises(SourceError, match=r"'a\.tif' holds several tiles \(series 0 is setup 0"):
        open_tiles(volumes, positions="dataset.xml")


# ------------------------------------------------------------------------- Fiji in


def test_a_registered_tile_configuration_has_x_first(volumes):
    lines = [f"{name}.tif; ; ({x}.25, {y}.5, {z}.0)" for name, (x, y, z) in MOVES.items()]
    (volumes / "TileConfiguration.registered.txt").write_text(
        "# Define the number of dimensions\ndim = 3\n\n" + "\n".join(lines)
    )
    lattice = open_tiles(
        volumes,
        positions="TileConfiguration.registered.txt",
        pixel_size_um={"z": 3, "y": 0.5, "x": 2},
    )
    um = [[3 * z, (y + 0.5) / 2, 2 * (x + 0.25)] for x, y, z in MOVES.values()]
    expect(lattice, um, [[0, 0], [0, 1], [1, 0], [1, 1]])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b.tif; ; (1.0, 2.0, 3.0)", r"line 3: .*expected name; ; \(x, y\) with numbers"),
        ("b.tif; ; (1.0, two)", r"line 3: 'b\.tif; ; \(1\.0, two\)'"),
        ("b.tif, 1, 2", r"line 3: 'b\.tif, 1, 2'"),
        ("dim = 4", r"line 3: 'dim = 4'; expected 2 or 3"),
    ],
)
def test_a_wrong_line_of_a_tile_configuration_is_named(volumes, line, message):
    (volumes / "T.txt").write_text(f"dim = 2\na.tif; ; (0.0, 0.0)\n{line}\n")
    with pytest.raises(SourceError, match=message):
        open_tiles(volumes, positions="T.txt")


def test_images_of_a_tile_configuration_that_are_not_there_are_named(volumes):
    lines = [f"{name}.tif; ; ({18 * i}, 0)" for i, name in enumerate("abcdef")]
    (volumes / "T.txt").write_text("\n".join(lines))
    with pytest.warns(UserWarning, match=r"6 tiles, and of 2 .* no files: 'e\.tif', 'f\.tif'"):
        assert open_tiles(volumes, positions="T.txt").n_tiles == 4


# ------------------------------------------------------------------------- out and in again

NAMES = {
    "fiji": "TileConfiguration.txt",
    "terastitcher": "xml_import.xml",
    "bigstitcher": "dataset.xml",
    "csv": "positions.csv",
}
PIXEL = {"z": 1.5, "y": 0.3871, "x": 0.25}


def acquisition(folder, *, planes=3, rows=2, columns=3):
    folder.mkdir(exist_ok=True)
    for i in range(rows * columns):
        tifffile.imwrite(
            folder / f"tile (é) {i:02d}.tif", image(i, planes), photometric="minisblack"
        )
    return open_tiles(
        folder, grid={"y": rows, "x": columns}, overlap={"y": 3, "x": 4}, pixel_size_um=PIXEL
    )


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("program", NAMES)
def test_positions_come_back_from_every_format(tmp_path, program, planes, elsewhere):
    lattice = acquisition(tmp_path / "tiles", planes=planes)
    axes = np.array([PIXEL[axis] for axis in lattice.spatial_dims])
    noise = np.random.default_rng(3).normal(0, 0.8, lattice.position_um.shape)
    noise[:, :-2] /= 10  # tiles are three planes thin
    solved = lattice.position_um + (noise + 12345.6) * axes
    path = tmp_path / ("" if elsewhere else "tiles") / NAMES[program]
    assert write_positions(lattice, path, positions_um=solved) == path
    again = open_tiles(tmp_path / "tiles", positions=path, pixel_size_um=PIXEL)
    assert again.index.tolist() == lattice.index.tolist()
    assert again.names.tolist() == lattice.names.tolist()
    assert np.abs((again.position_um - solved) / axes).max() < 1e-3
    if program in ("terastitcher", "bigstitcher"):  # these know the size of a pixel
        bare = open_tiles(tmp_path / "tiles", positions=path)
        assert {a: bare.pixel_size_um[a] for a in lattice.spatial_dims} == {
            a: PIXEL[a] for a in lattice.spatial_dims
        }
        assert np.abs((bare.position_um - solved) / axes).max() < 1e-3


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shift=st.lists(st.floats(-1.5, 1.5), min_size=18, max_size=18),
    away=st.floats(-1e5, 1e5),
    program=st.sampled_from(sorted(NAMES)),
)
def test_any_positions_come_back(tmp_path, shift, away, program):
    folder = tmp_path / "tiles"
    lattice = acquisition(folder)
    px = lattice.position_um / [1.5, 0.3871, 0.25] + np.reshape(shift, (6, 3)) + away
    path = write_positions(lattice, tmp_path / NAMES[program], positions_px=px)
    again = open_tiles(folder, positions=path, pixel_size_um=PIXEL)
    assert np.abs(again.position_um / [1.5, 0.3871, 0.25] - px).max() < 1e-3


def test_what_terastitcher_reads_are_whole_pixels_and_micrometres(tmp_path):
    lattice = acquisition(tmp_path / "tiles")
    px = lattice.position_um / [1.5, 0.3871, 0.25] + [[2, 100, 40]]
    px[1, 1] += 0.7
    path = write_positions(lattice, tmp_path / "xml_import.xml", positions_px=px)
    assert path.read_text().splitlines()[1] == '<!DOCTYPE TeraStitcher SYSTEM "TeraStitcher.DTD">'
    root = ET.parse(path).getroot()
    assert root.get("volume_format") == "TiledXY|3Dseries"
    assert root.find("stacks_dir").get("value") == str((tmp_path / "tiles").resolve())
    assert root.find("voxel_dims").attrib == {"V": "0.3871", "H": "0.25", "D": "1.5"}
    assert float(root.find("origin").get("H")) == pytest.approx(40 * 0.25e-3)
    assert float(root.find("mechanical_displacements").get("V")) == pytest.approx(13 * 0.3871)
    assert root.find("dimensions").attrib == {
        "stack_rows": "2", "stack_columns": "3", "stack_slices": "3"
    }  # fmt: skip
    found = root.findall("STACKS/Stack")
    assert [(s.get("ROW"), s.get("COL")) for s in found] == [
        (str(row), str(col)) for row in range(2) for col in range(3)
    ]
    assert [(s.get("ABS_V"), s.get("ABS_H"), s.get("ABS_D")) for s in found] == [
        (v, h, "0") for v, h in [("0", "0"), ("1", "16"), ("0", "32"),
                                 ("13", "0"), ("13", "16"), ("13", "32")]
    ]  # fmt: skip
    assert float(found[1].get("ABS_V_EXACT")) == pytest.approx(0.7)
    assert found[1].get("DIR_NAME") == "."
    assert re.fullmatch(found[1].get("IMG_REGEX"), "tile (é) 01.tif")
    assert found[1].get("Z_RANGES") == "[0,3)"
    # TeraStitcher places tiles anew: then its whole pixels count, not our exact ones
    found[1].set("ABS_V", "5")
    path.write_text(ET.tostring(root, encoding="unicode"), encoding="utf-8")
    again = open_tiles(tmp_path / "tiles", positions=path)
    assert again.position_um[1, 1] - again.position_um[0, 1] == pytest.approx(5 * 0.3871)


def test_planes_and_holes_go_to_terastitcher_and_back(tmp_path):
    for row, col in ((0, 0), (0, 1), (1, 1)):
        for z in range(3):
            for c in range(2):
                folder = tmp_path / f"row{row}"
                folder.mkdir(exist_ok=True)
                name = f"col{col}_z{z:02d}_ch{c}.tif"
                tifffile.imwrite(folder / name, image(100 * row + 10 * col + z, planes=1))
    lattice = open_tiles(
        tmp_path, pattern="row{row:d}/col{col:d}_z{z:d}_ch{c:d}.tif", pixel_size_um=PIXEL
    )
    path = write_positions(lattice, tmp_path / "xml_import.xml", channel=1)
    found = ET.parse(path).getroot().findall("STACKS/Stack")
    assert [s.get("DIR_NAME") for s in found] == ["row0", "row0", ".", "row1"]
    assert found[3].get("IMG_REGEX") == r"col1_z[0-9]+_ch1\.tif"
    assert [s.get("Z_RANGES") for s in found] == ["[0,3)", "[0,3)", "", "[0,3)"]
    again = open_tiles(tmp_path, positions=path, files="*_ch1.tif")
    assert again.index.tolist() == lattice.index.tolist()
    np.testing.assert_allclose(again.position_um, lattice.position_um)
    assert again.source.read(2, whole(again))[:, 0, 0].tolist() == [110, 111, 112]


def test_bigstitcher_gets_every_channel_and_composes_to_the_position(tmp_path):
    for i in range(2):
        for c in ("red", "green"):
            tifffile.imwrite(tmp_path / f"t{i}_{c}.tif", image(i), photometric="minisblack")
    lattice = open_tiles(
        tmp_path, pattern="t{tile:d}_{c}.tif", grid={"y": 1, "x": 2}, pixel_size_um=PIXEL
    )
    path = write_positions(lattice, tmp_path / "dataset.xml")
    root = ET.parse(path).getroot()
    mappings = root.findall(".//FileMapping")
    assert [m.find("file").text for m in mappings] == [
        "t0_green.tif", "t1_green.tif", "t0_red.tif", "t1_red.tif"
    ]  # fmt: skip
    assert {m.get("channel") for m in mappings} == {"0"}
    setup = root.findall(".//ViewSetup")[3]
    assert setup.findtext("size") == "20 16 3"
    assert setup.findtext("voxelSize/size") == "0.25 0.3871 1.5"
    assert (setup.findtext("attributes/channel"), setup.findtext("attributes/tile")) == ("1", "1")
    chain = [
        np.vstack([np.array(a.text.split(), float).reshape(3, 4), [0, 0, 0, 1]])
        for a in root.findall(".//ViewRegistration[@setup='3']//affine")
    ]
    composed = np.linalg.multi_dot(chain) if len(chain) > 1 else chain[0]
    np.testing.assert_allclose(composed[:3, 3] * 0.25, lattice.position_um[1, ::-1])
    np.testing.assert_allclose(np.diag(composed)[:3] * 0.25, [0.25, 0.3871, 1.5])
    again = open_tiles(tmp_path, pattern="t{tile:d}_{c}.tif", positions=path, pixel_size_um=PIXEL)
    np.testing.assert_allclose(again.position_um, lattice.position_um)


def test_tiles_that_cannot_be_read_are_left_out(tmp_path):
    acquisition(tmp_path / "tiles")
    bad = tmp_path / "tiles" / "tile (é) 02.tif"
    bad.write_bytes(bad.read_bytes()[:300])
    lattice = open_tiles(
        tmp_path / "tiles", grid={"y": 2, "x": 3}, pixel_size_um=PIXEL, errors="mark"
    )
    assert list(lattice.problems) == [2]
    path = write_positions(lattice, tmp_path / "dataset.xml")
    missing = ET.parse(path).getroot().findall(".//MissingView")
    assert [view.get("setup") for view in missing] == ["2"]
    path = write_positions(lattice, tmp_path / "xml_import.xml")
    assert ET.parse(path).getroot().findall(".//Stack")[2].get("Z_RANGES") == ""
    path = write_positions(lattice, tmp_path / "TileConfiguration.txt")
    assert "02.tif" not in path.read_text()


# ------------------------------------------------------------------------- what cannot be written


def test_what_a_program_cannot_open_is_refused(tmp_path):
    lattice = acquisition(tmp_path / "tiles")
    memory = Lattice.from_grid({"y": 1, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u2")
    with pytest.raises(LatticeError, match="TeraStitcher opens TIFF files"):
        write_positions(memory, tmp_path / "xml_import.xml")
    with pytest.raises(LatticeError, match="BigStitcher is told of TIFF files"):
        write_positions(memory, tmp_path / "dataset.xml")
    with pytest.raises(LatticeError, match=r"whose file is tiles\.xml\? say format="):
        write_positions(lattice, tmp_path / "tiles.xml")
    with pytest.raises(LatticeError, match=r"format='imaris': expected one of auto, fiji"):
        write_positions(lattice, tmp_path / "tiles.xml", format="imaris")
    with pytest.raises(LatticeError, match=r"shape \(6, 2\); expected \(6, 3\): z, y, x"):
        write_positions(lattice, tmp_path / "a.csv", positions_um=np.zeros((6, 2)))
    broken = lattice.position_um.copy()
    broken[4, 1] = np.nan
    with pytest.raises(LatticeError, match=r"of 1 tiles is no number, such as of tile 4"):
        write_positions(lattice, tmp_path / "a.csv", positions_um=broken)
    with pytest.raises(LatticeError, match="both given"):
        write_positions(lattice, tmp_path / "a.csv", positions_um=broken, positions_px=broken)
    with pytest.raises(LatticeError, match="channel=3: the tiles have 1 channel"):
        write_positions(lattice, tmp_path / "a.csv", channel=3)
    with pytest.raises(SourceError, match=r"cannot write .*expected a folder that exists"):
        write_positions(lattice, tmp_path / "nowhere" / "a.csv")
    unsized = open_tiles(tmp_path / "tiles", grid={"y": 2, "x": 3})
    with pytest.raises(LatticeError, match="size of a pixel, and that along z, y, x is not known"):
        write_positions(unsized, tmp_path / "xml_import.xml")
    assert not list(tmp_path.glob(".*"))


def test_axes_and_planes_that_a_program_does_not_know_are_refused(tmp_path):
    for well in "AB":
        for site in (1, 2):
            for z in (1, 2):
                tifffile.imwrite(tmp_path / f"{well}_{site}_{z}.tif", image(0, planes=1))
    lattice = open_tiles(
        tmp_path, pattern="{well}_{site}_{z}.tif", grid={"y": 1, "x": 2}, pixel_size_um=PIXEL
    )
    for name in ("xml_import.xml", "dataset.xml", "TileConfiguration.txt"):
        with pytest.raises(LatticeError, match=r"no axis 'well'.*2 labels.*sel\(well='A'\)"):
            write_positions(lattice, tmp_path / name)
    one = lattice.sel(well="B")
    for name in ("dataset.xml", "TileConfiguration.txt"):
        with pytest.raises(LatticeError, match=r"planes of 2 tiles are files of their own"):
            write_positions(one, tmp_path / name)
    path = write_positions(one, tmp_path / "xml_import.xml")
    assert 'DIR_NAME="."' in path.read_text()
    assert r'IMG_REGEX="B_1_[0-9]+\.tif"' in path.read_text()


def test_the_name_says_the_format():
    from pathlib import Path

    formats = {
        "positions.csv": "csv",
        "TileConfiguration.registered.txt": "fiji",
        "xml_placetiles.xml": "terastitcher",
        "my_terastitcher.XML": "terastitcher",
        "dataset.xml": "bigstitcher",
        "bdv.xml": "bigstitcher",
    }
    assert {name: _format(Path(name), "auto") for name in formats} == formats


# ------------------------------------------------------------------------- real data


@pytest.mark.parametrize("program", NAMES)
def test_a_real_section_comes_back(shared_data, tmp_path, program):
    import pandas as pd

    folder = shared_data / "wsi_brain_2d"
    lattice = open_tiles(folder / "tiles", grid={"y": 7, "x": 9}, start="top-right", snake=True)
    reference = pd.read_csv(folder / "positions_reference.csv")
    px = reference[["ref_y", "ref_x"]].to_numpy()
    path = write_positions(lattice, tmp_path / NAMES[program], positions_px=px)
    again = open_tiles(folder / "tiles", positions=path)
    assert again.index.tolist() == lattice.index.tolist()
    size = [again.pixel_size_um["y"], again.pixel_size_um["x"]]
    assert np.abs(again.position_um / size - px).max() < 1e-3
