"""What stages made is labelled by the lattice that their units lie on, however it is stored."""

import sys

import numpy as np
import pandas as pd
import pytest
import tifffile
import xarray
from distributed import Client

import latticework as lw
from latticework import Lattice
from latticework.errors import ProjectError, TileNotFoundError
from latticework.io.list_conversion import convert_to_list
from latticework.stages.command import command
from latticework.stages.reads import intersecting, plane

SHAPE = (3, 2, 2, 8, 8)


def inverted(tile):
    return (1000 - tile).astype("u2")


def illumination(tiles):
    return tiles.mean("tile").astype("f4")


def brightness(tiles):
    return {"mean": float(tiles.mean())}


def rows(tiles):
    return pd.DataFrame({"n": [tiles.sizes["tile"]] * 2})


def how_many(tiles):
    return np.full(tuple(tiles.unit.shape), len(tiles), "u2")


@pytest.fixture(scope="module")
def volume():
    return np.random.default_rng(3).integers(0, 1000, SHAPE).astype("u2")


@pytest.fixture(scope="module")
def project(tmp_path_factory, volume):
    """Stages on tiles, on planes and on blocks of their own; one makes files."""
    tiles = lw.open_tiles(
        list(volume.reshape(-1, 8, 8)), grid={"z": 3, "y": 2, "x": 2}, pixel_size_um=1.0
    )
    project = lw.create(tmp_path_factory.mktemp("outputs") / "outputs.lw", tiles)
    clean = project.add(inverted)
    for function in (illumination, brightness, rows):
        project.add(function, after=clean, reads=plane("z"))
    blocks = Lattice.from_array(np.zeros((16, 24), "u2"), block={"y": 8, "x": 16})
    project.add(how_many, after=clean, reads=intersecting(blocks))
    code = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
    argv = [sys.executable, "-c", code, "{file.note}", "{unit}"]
    project.add(command(argv, name="notes", files={"note": "note.txt"}), after=clean)
    with Client(
        processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None
    ) as client:
        assert project.run(client, progress="none")
    return project


def test_planes_have_their_own_labels(project, volume):
    made = project["illumination"]
    expected = (1000 - volume).mean((1, 2)).astype("f4")
    assert made.data.dims == ("tile_z", "y", "x")
    np.testing.assert_allclose(made.data.values, expected, rtol=1e-5)
    for z in range(3):
        np.testing.assert_allclose(made.tile(z=z).values, expected[z], rtol=1e-5)
        np.testing.assert_array_equal(made.tile(z).values, made.tile(f"z{z}").values)
    np.testing.assert_array_equal(made.read({"y": (2, 5)}, z=2), made.data[2, 2:5])
    with pytest.raises(TileNotFoundError):
        made.tile(z=3)
    assert made.lattice.sizes == {"tile_z": 3}
    assert "once for each tile_z" in repr(made)


def test_a_picture_of_blocks_of_their_own_is_of_their_lattice(project):
    from latticework.viz.mosaic import mosaic_picture

    picture = mosaic_picture(project["how_many"], scale=False)
    np.testing.assert_array_equal(picture[:, :16], project["how_many"].data[:, :16])


def test_tables_and_records_of_planes_name_the_plane(project, volume):
    records = project["brightness"].data
    assert records.tile_z.tolist() == [0, 1, 2]
    np.testing.assert_allclose(records["mean"], (1000 - volume).mean((1, 2, 3, 4)), rtol=1e-5)
    assert project["brightness"].tile(z=1) == {"mean": records["mean"][1]}
    table = project["rows"].data
    assert table.tile_z.tolist() == [0, 0, 1, 1, 2, 2]
    assert project["rows"].tile(z=2).n.tolist() == [4, 4]


def test_blocks_of_their_own_make_their_own_volume(project):
    made = project["how_many"]
    assert made.data.dims == ("y", "x")
    assert made.data.shape == (16, 24)
    assert made.tile(y=1, x=0).shape == (8, 16)
    assert "on a lattice of its own (tile_y: 2, tile_x: 2)" in repr(made)


def test_files_are_found_by_unit_and_name(project):
    made = project["notes"]
    assert made.kind == "files"
    assert "files" in repr(made)
    for found in (made.files(5), made.files(z=1, y=0, x=1), made.tile("tile_05")):
        assert found["note"].read_text() == "5"
    table = made.data
    assert [path.read_text() for path in table.note] == [str(k) for k in range(12)]
    assert table.tile_z.tolist() == sorted([0, 1, 2] * 4)
    with pytest.raises(ProjectError, match="makes arrays, no files"):
        project["inverted"].files(0)


def test_exports_are_named_after_the_units(project, tmp_path):
    planes = project.export("illumination", tmp_path / "planes")
    assert [file.name for file in planes] == [f"{z:05d}_z{z}.ome.tif" for z in range(3)]
    np.testing.assert_array_equal(tifffile.imread(planes[2]), project["illumination"].tile(z=2))
    assert len(project.export("illumination", tmp_path / "one", z=1)) == 1
    (whole,) = project.export("how_many", tmp_path / "blocks.tif")
    np.testing.assert_array_equal(tifffile.imread(whole), project["how_many"].data)
    (table,) = project.export("brightness", tmp_path / "brightness.csv")
    assert pd.read_csv(table).tile_z.tolist() == [0, 1, 2]


def test_files_are_exported_as_copies(project, tmp_path):
    notes = project.export("notes", tmp_path / "notes")
    assert [file.read_text() for file in notes] == [str(k) for k in range(12)]
    assert notes[3].relative_to(tmp_path / "notes").as_posix() == "00003_tile_03/note.txt"
    with pytest.raises(ProjectError, match="exists already"):
        project.export("notes", tmp_path / "notes")
    for ending in (".csv", ".parquet"):
        (table,) = project.export("notes", tmp_path / f"notes{ending}", z=2)
        read = pd.read_csv if ending == ".csv" else pd.read_parquet
        assert read(table).note.tolist() == [
            str(project["notes"].files(k)["note"]) for k in range(8, 12)
        ]


def test_a_list_is_looked_at_as_tiles_on_the_grid_are(project, tmp_path):
    before = {name: project[name].data.compute() for name in ("inverted", "illumination")}
    files = project.export("inverted", tmp_path / "before")
    for name in before:
        assert convert_to_list(project[name].path, project[name].lattice).kind == "list"
    for name, expected in before.items():
        xarray.testing.assert_identical(project[name].data.compute(), expected)
    np.testing.assert_array_equal(
        project["inverted"].tile(z=2, y=1, x=0), before["inverted"][2, 1, 0]
    )
    again = project.export("inverted", tmp_path / "after")
    assert [file.name for file in again] == [file.name for file in files]
    for new, old in zip(again, files, strict=True):
        np.testing.assert_array_equal(tifffile.imread(new), tifffile.imread(old))
